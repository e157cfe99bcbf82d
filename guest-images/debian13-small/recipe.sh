# What debian13-small is made of. Sourced by build.sh.
# shellcheck shell=bash disable=SC2034
release=trixie
default_user=user
disk_mib=2048
esp_mib=48
# Debian 12's kernel: under emulation it comes to the agent 1.1 s earlier than Debian 13's 6.12, and
# its guests of two CPUs survive QEMU 7.2 (node/vm/command_line.cpp). The cloud flavour unpacks in a
# fraction of the generic one's time (XZ there: +3.4 s of CPU), and has no AHCI, e1000 and VMGENID:
# see ../README.md.
kernel_release=bookworm
kernel_package=linux-image-cloud-amd64
packages=(
  qemu-guest-agent busybox-static kmod
  bash procps util-linux adduser passwd python3 findutils grep mawk gzip tar ca-certificates
  nftables iputils-ping
)
# Loaded at once, in this order; then, where no root disk came, the others.
boot_modules=(virtio_pci virtio_scsi virtio_blk sd_mod virtio_console)
fallback_modules=(ata_piix)
# No delays: nothing is waited for that a virtual machine does not have, and the kernel's self-tests
# of its ciphers (0.3 s under emulation) are left out.
command_line="root=LABEL=pxroot rw quiet loglevel=3 console=tty0 console=ttyS0,115200 net.ifnames=0"
command_line+=" tsc=reliable no_timer_check cryptomgr.notests"

configure() {
  local root=$1
  chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash "$default_user"
  chroot "$root" passwd --delete root >/dev/null
  chmod 1777 "$root/var/tmp" "$root/tmp"
  # Made at each clone's first boot.
  rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
  : >"$root/etc/machine-id"
  echo debian >"$root/etc/hostname"
  printf '127.0.0.1 localhost debian\n::1 localhost\n' >"$root/etc/hosts"
  local applet
  for applet in init getty udhcpc poweroff reboot halt acpid uevent ifconfig route; do
    ln -sf ../bin/busybox "$root/usr/sbin/$applet"
  done
  # What guests do with networks: busybox's own programs take no room.
  for applet in udhcpc6 udhcpd dumpleases httpd; do
    ln -sf ../bin/busybox "$root/usr/sbin/$applet"
  done
  for applet in ip arping traceroute nc wget; do
    ln -sf busybox "$root/usr/bin/$applet"
  done
  mkdir -p "$root/etc/udhcpc" "$root/var/lib/misc"
  # Where busybox looks by itself, so that `udhcpc -i eth0 -n -q` asks again.
  ln -sf /usr/lib/guest/udhcpc "$root/etc/udhcpc/default.script"
  ln -sf /usr/lib/guest/udhcpc6 "$root/etc/udhcpc/default6.script"
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/zoneinfo \
    "$root"/var/log/*.log "$root"/usr/lib/modules/*/kernel/{sound,drivers/{infiniband,media,gpu/drm/amd}}
  chroot "$root" depmod "$(basename "$(ls -d "$root"/lib/modules/*)")"
}

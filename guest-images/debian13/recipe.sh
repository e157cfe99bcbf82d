# What debian13 is made of: Debian as its cloud images are, with the guest agent. Sourced by build.sh.
# shellcheck shell=bash disable=SC2034
release=trixie
default_user=debian
disk_mib=3072
esp_mib=96
# The generic kernel, for AHCI, e1000 and VMGENID, which the cloud one lacks: see ../README.md.
kernel_release=trixie
kernel_package=linux-image-amd64
packages=(
  systemd systemd-sysv systemd-resolved udev dbus libpam-systemd netplan.io iproute2
  cloud-init cloud-guest-utils e2fsprogs gdisk qemu-guest-agent openssh-server sudo
  bash procps util-linux adduser passwd python3 findutils grep mawk gzip tar xz-utils
  ca-certificates curl iputils-ping less vim-tiny apt-utils
)
# All disks' and CD-ROM drives' before systemd starts: ds-identify looks for cloud-init's seed then,
# and it may lie on another bus than the root.
boot_modules=(
  virtio_pci ext4 sr_mod sd_mod virtio_console virtio_scsi virtio_blk ata_piix ahci
)
fallback_modules=(sym53c8xx megaraid_sas vmw_pvscsi mptspi mptsas)
command_line="root=LABEL=pxroot rw quiet loglevel=3 console=tty0 console=ttyS0,115200 net.ifnames=0"
command_line+=" tsc=reliable no_timer_check cryptomgr.notests"

configure() {
  local root=$1
  rm -f "$root"/etc/ssh/ssh_host_*
  # Made at each clone's first boot.
  rm -f "$root/var/lib/dbus/machine-id"
  : >"$root/etc/machine-id"
  echo debian >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n' \
    >"$root/etc/hosts"
  chmod 600 "$root/etc/netplan/90-default.yaml"
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved ssh qemu-guest-agent \
    serial-getty@ttyS0
  # Files in memory would take a small VM's; and the agent may write there before it is mounted.
  chroot "$root" systemctl --quiet mask tmp.mount
  # Nothing to update at the first start: it is all of this build.
  touch "$root/etc/.updated" "$root/var/.updated"
  # What a VM of a few minutes does not need costs seconds of its start.
  chroot "$root" systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
  chroot "$root" systemctl --quiet mask systemd-binfmt sys-kernel-debug.mount \
    sys-kernel-tracing.mount dev-hugepages.mount
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log \
    "$root"/usr/lib/modules/*/kernel/{sound,drivers/{infiniband,media,gpu/drm/{amd,i915,nouveau,radeon,xe},net/wireless,bluetooth},net/{wireless,mac80211,bluetooth}}
  chroot "$root" depmod "$(basename "$(ls -d "$root"/lib/modules/*)")"
}

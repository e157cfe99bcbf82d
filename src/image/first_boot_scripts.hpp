#pragma once
#include <string>
#include <string_view>

/// What runs in a cloud image at its first boot. Debian, Ubuntu, Kali: apt and systemd.
namespace px::image {

/// By cloud-init, as its last stage. Without an agent nobody could read why it failed, so it comes
/// first, and where it can't be installed the guest switches itself off.
/// PACKAGES: wanted where something is missing.
inline constexpr std::string_view install_script = R"sh(#!/bin/sh
# KEY
export DEBIAN_FRONTEND=noninteractive
missing() {
  for pair in qemu-ga:qemu-guest-agent python3:python3 curl:curl sudo:sudo tar:tar gzip:gzip \
    xz:xz-utils ps:procps ip:iproute2 ping:iputils-ping setpriv:util-linux ssh-keygen:openssh-client \
    growpart:cloud-guest-utils script:bsdutils; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
  done
}
install() {
  apt-get -o DPkg::Lock::Timeout=600 -y -q --no-install-recommends install "$@"
}
wanted=$(missing)
[ -n "$wanted" ] || exit 0
echo "missing:" $wanted
n=0
# The network may be coming up, and another apt may be at work.
until apt-get -q update -o APT::Update::Error-Mode=any; do
  n=$((n + 1))
  [ $n -lt 6 ] || break
  sleep 10
done
if ! command -v qemu-ga >/dev/null; then
  install qemu-guest-agent || {
    echo "the guest agent can't be installed" >/dev/console
    poweroff
    exit 1
  }
  systemctl enable qemu-guest-agent
  systemctl start qemu-guest-agent
fi
install $wanted PACKAGES
)sh";

/// As root through the agent, before the VM becomes a template.
///
/// What makes a clone itself again: cloud-init where the clone has a seed. Without one it stays off
/// (ds-identify), so that a unit of ours makes the SSH host keys and grows the root to its disk.
inline constexpr std::string_view clean_script = R"sh(
set -e
cat >/usr/local/sbin/inspect-first-boot <<'END'
#!/bin/sh
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A
root=$(findmnt -n -o SOURCE /)
name=${root#/dev/}
if [ -r "/sys/class/block/$name/partition" ]; then
  disk=/dev/$(basename "$(readlink -f "/sys/class/block/$name/..")")
  growpart "$disk" "$(cat "/sys/class/block/$name/partition")" && resize2fs "$root"
fi
rm -f /var/lib/inspect-first-boot
END
chmod 755 /usr/local/sbin/inspect-first-boot
cat >/etc/systemd/system/inspect-first-boot.service <<'END'
[Unit]
Description=What a clone makes anew: SSH host keys, the size of its root
ConditionPathExists=/var/lib/inspect-first-boot
Before=ssh.service ssh.socket sshd.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/inspect-first-boot
[Install]
WantedBy=multi-user.target
END
systemctl -q enable inspect-first-boot
touch /var/lib/inspect-first-boot
cloud-init clean --logs
apt-get clean
systemctl stop systemd-random-seed 2>/dev/null || true
rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -rf /var/lib/apt/lists/* /var/log/journal/* /var/lib/dhcp/*.leases /var/lib/systemd/network/*
rm -f /root/.bash_history /home/*/.bash_history
find /var/log -type f -exec truncate -s 0 {} +
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
fstrim / 2>/dev/null || true
sync
)sh";

}  // namespace px::image

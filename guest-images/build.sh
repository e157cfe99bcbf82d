#!/usr/bin/env bash
# Builds a guest image from Debian packages: no loop mounts, nothing of the host's kernel.
#
#   build.sh NAME --out DIR      NAME is a folder beside this script (debian13-small, debian13)
#
# Writes DIR/NAME.qcow2 and DIR/NAME.json. Does nothing when both are there and the recipe is the
# same. Needs root, for the files of the image belong to root and others.
# PROXMOX_SANDBOX_DEBIAN_MIRROR names another mirror than deb.debian.org.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mirror=${PROXMOX_SANDBOX_DEBIAN_MIRROR:-http://deb.debian.org/debian}
started=$SECONDS

say() { printf '[%3d s] %s\n' $((SECONDS - started)) "$*" >&2; }
fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

name=${1:-}
out=
[ "${2:-}" = --out ] && out=${3:-}
if [ -z "$name" ] || [ -z "$out" ]; then fail "usage: build.sh NAME --out DIR"; fi
recipe=$here/$name
[ -f "$recipe/recipe.sh" ] || fail "there is no recipe $name; there are: $(cd "$here" && echo */)"
# shellcheck source=debian13-small/recipe.sh
. "$recipe/recipe.sh"

recipe_hash=$(cd "$here" && find build.sh init.c agent "$name" -type f -print0 | sort -z |
  xargs -0 sha256sum | sha256sum | cut -c1-16)
image=$out/$name.qcow2
if [ -f "$image" ] && grep -qs "\"recipe\": \"$recipe_hash\"" "$out/$name.json"; then
  say "$image is up to date"
  exit 0
fi

[ "$(id -u)" = 0 ] || fail "needs root: sudo $0 $*"
missing=()
while read -r package; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done <"$here/packages.txt"
[ ${#missing[@]} = 0 ] || fail "install first: apt-get install ${missing[*]}"

mkdir -p "$out"
# Leftovers of a build that was killed.
find "$out" -maxdepth 1 -name ".$name.*" -mmin +120 -exec rm -rf {} +
work=$(mktemp -d "$out/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

say "installing Debian $release, with the kernel of $kernel_release ($mirror)"
sources=()
# Named, for an Ubuntu does not trust Debian's keys by itself.
keys=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in $(printf '%s\n' "$release" "$kernel_release" | sort -u); do
  sources+=("deb [signed-by=$keys] $mirror $suite main")
done
packages+=("$kernel_package/$kernel_release")
# shellcheck disable=SC2016 # mmdebstrap's shell expands it
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt=force-confold \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools"' \
  --essential-hook='echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
  "$release" "$root" "${sources[@]}" >&2
echo "deb $mirror $release main" >"$root/etc/apt/sources.list"

say "configuring"
cp -a "$recipe/files/." "$root/"
install -D -o root -g root "$here/agent" "$root/usr/lib/guest/agent"
# The checkout may belong to anyone; what it gives to the image belongs to root.
(cd "$recipe/files" && find . -mindepth 1 -print0) | (cd "$root" && xargs -0 chown -h root:root)
configure "$root"
kernel=$(basename "$(ls -d "$root"/lib/modules/*)")

say "making the initial RAM disk (kernel $kernel)"
initrd=$work/initrd
mkdir -p "$initrd"/{dev,proc,sys,root,modules}
cc -O2 -D_FORTIFY_SOURCE=2 -Wall -Wextra -Werror -static -s -o "$initrd/init" "$here/init.c"
# /modules/LIST names the modules that one list of the recipe needs, in the order they load in.
add_modules() {
  local list=$initrd/modules/$1 module
  shift
  : >"$list"
  for module in "$@"; do modprobe -d "$root" -S "$kernel" --show-depends "$module"; done |
    awk '$1 == "insmod" { print $2 }' | while read -r file; do
      module=$(basename "$file" .xz)
      [ ! -f "$initrd/modules/$module" ] || continue
      case $file in
        *.xz) xz -dc "$file" >"$initrd/modules/$module" ;;
        *) cp "$file" "$initrd/modules/" ;;
      esac
      echo "/modules/$module" >>"$list"
    done
}
add_modules first "${boot_modules[@]}"
add_modules rest "${fallback_modules[@]}"
# Uncompressed: unpacking costs more than loading under emulation.
(cd "$initrd" && find . | cpio --quiet -o -H newc) >"$work/initrd.img"
cp "$root/boot/vmlinuz-$kernel" "$work/vmlinuz"
rm -rf "${root:?}"/boot/* "${root:?}"/vmlinuz* "${root:?}"/initrd.img*

say "laying out the disk"
root_mib=$((disk_mib - esp_mib - 2))
truncate -s "${esp_mib}M" "$work/esp.img"
mkfs.fat -F 16 -h 2048 -n PXESP "$work/esp.img" >/dev/null
cat >"$work/syslinux.cfg" <<EOF
DEFAULT linux
PROMPT 0
TIMEOUT 0
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.img
  APPEND $command_line
EOF
printf 'timeout 0\ndefault linux.conf\n' >"$work/loader.conf"
printf 'title Debian\nlinux /vmlinuz\ninitrd /initrd.img\noptions %s\n' "$command_line" >"$work/linux.conf"
export MTOOLS_SKIP_CHECK=1
mmd -i "$work/esp.img" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
mcopy -i "$work/esp.img" "$work/vmlinuz" "$work/initrd.img" "$work/syslinux.cfg" ::/
mcopy -i "$work/esp.img" /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$work/esp.img" "$work/loader.conf" ::/loader/
mcopy -i "$work/esp.img" "$work/linux.conf" ::/loader/entries/
syslinux --install "$work/esp.img"

mke2fs -q -t ext4 -L pxroot -m 0 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0 \
  -d "$root" "$work/root.img" "${root_mib}M"

truncate -s "${disk_mib}M" "$work/disk.raw"
sgdisk --clear --new="1:2048:+${esp_mib}M" --typecode=1:ef00 --attributes=1:set:2 \
  --new="2:0:+${root_mib}M" --typecode=2:8300 "$work/disk.raw" >/dev/null
dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$work/disk.raw" bs=440 count=1 conv=notrunc status=none
dd if="$work/esp.img" of="$work/disk.raw" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/root.img" of="$work/disk.raw" bs=1M seek=$((esp_mib + 1)) conv=notrunc,sparse status=none

say "compressing"
qemu-img convert -c -O qcow2 -o compression_type=zstd "$work/disk.raw" "$work/$name.qcow2"
sum=$(sha256sum "$work/$name.qcow2" | cut -d' ' -f1)
cat >"$work/$name.json" <<EOF
{"name": "$name", "recipe": "$recipe_hash", "sha256": "$sum", "virtual_mib": $disk_mib,
 "debian": "$release", "kernel": "$kernel", "user": "$default_user"}
EOF
mv "$work/$name.qcow2" "$image"
mv "$work/$name.json" "$out/$name.json"
say "done: $image, $(du -m "$image" | cut -f1) MB"

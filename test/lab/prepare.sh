#!/usr/bin/env bash
# Prepares the laboratory: kernel, initial RAM file system and a disk with Node, cached by what they are made of.
# Prints the folder on its last line. A missing program or package is a failure, never a skip.
set -euo pipefail

need() {
  command -v "$1" >/dev/null || { echo "lab: $1 is missing; apt-get install $2" >&2; exit 1; }
}
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio
need zstd zstd
need xz xz-utils
need depmod kmod
need mkfs.ext4 e2fsprogs
need flash_erase mtd-utils
need setfattr attr
need strip binutils

package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$package" ] || { echo "lab: no linux-image-amd64 in the package lists; run apt-get update" >&2; exit 1; }
version=$(apt-cache policy "$package" | sed -n 's/.*Candidate: //p')
here=$(cd "$(dirname "$0")" && pwd)
tools=$(dpkg-query -W busybox-static mtd-utils attr e2fsprogs libc6)
key=$(printf '%s %s %s %s %s' "$package" "$version" "$(node --version)" "$tools" "$(cat "$here/prepare.sh" "$here/init" | sha256sum)" | sha256sum | cut -c1-16)
cache=${OTAFORGE_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/otaforge-lab}
done_folder=$cache/$key
if [ -f "$done_folder/complete" ]; then
  echo "$done_folder"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "lab: unpacking $package $version" >&2
(cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb kernel)
release=${package#linux-image-}
image=$work/kernel/boot/vmlinuz-$release

# The compressed kernel costs seconds of every boot under emulation; the bare ELF boots through PVH.
node - "$image" "$work/vmlinux.xz" <<'JS'
const fs = require("node:fs");
const [image, out] = process.argv.slice(2);
const bytes = fs.readFileSync(image);
const at = bytes.indexOf(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]));
if (at < 0) throw new Error("no xz payload in the kernel image");
fs.writeFileSync(out, bytes.subarray(at));
JS
mkdir -p "$work/out"
# The payload is followed by other parts of the image, which xz reports and leaves.
xz -dc --single-stream "$work/vmlinux.xz" >"$work/out/vmlinux" 2>/dev/null || [ -s "$work/out/vmlinux" ]
cp "$image" "$work/out/bzImage"

root=$work/root
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,tmp,mnt,lab,app,node,etc,run,var/lib}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
  [ "$applet" = busybox ] || ln -sf /bin/busybox "$root/bin/$applet"
done
ln -sf /bin/busybox "$root/sbin/modprobe"

copy_program() { # program: with the libraries it loads
  local file
  file=$(command -v "$1" || echo "/usr/sbin/$1")
  cp -L "$file" "$root/usr/sbin/$(basename "$file")"
  ldd "$file" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -Lu "$library" "$root$library"
  done
}
for program in flash_erase nandwrite nanddump nandtest ubiformat ubiattach ubidetach ubimkvol ubirmvol ubiupdatevol ubirename ubinfo ubiblock flashcp mtdinfo setfattr getfattr mkfs.ext4; do
  # mtd-utils' own names replace busybox's applets of the same name, which know fewer options.
  rm -f "$root/bin/$program"
  copy_program "$program"
done
copy_program node
rm "$root/usr/sbin/node" # Node itself comes from a disk; its libraries stay here.

depmod -b "$work/kernel" "$release"
modules="virtio_pci virtio_blk ext4 crc32c_generic mtdram mtdblock nandsim ubi ubifs sdhci-pci mmc_block bochs cirrus virtio-gpu vfb squashfs loop"
for module in $modules; do
  modprobe -d "$work/kernel" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p' 
done | sort -u | while read -r file; do
  file=${file%% *}
  target=$root/${file#"$work"/kernel/}
  mkdir -p "$(dirname "$target")"
  cp "$file" "$target"
done
mkdir -p "$root/lib/modules/$release"
cp "$work/kernel/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$release/"
depmod -b "$root" "$release"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | sort | cpio --quiet -o -H newc --owner 0:0 | zstd -q -10 -o "$work/out/initrd.zst")

mkdir "$work/node"
cp -L "$(command -v node)" "$work/node/node"
strip "$work/node/node"
truncate -s 160M "$work/out/node.ext4"
mkfs.ext4 -q -O ^has_journal -L node -d "$work/node" "$work/out/node.ext4"

printf '%s %s\n' "$package" "$version" >"$work/out/complete"
mkdir -p "$cache"
rm -rf "$done_folder"
mv "$work/out" "$done_folder"
echo "$done_folder"

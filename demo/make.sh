#!/bin/sh
# Makes the demo's data: two versions of a small camera root file system as folders and as squashfs images.
# Needs gcc and squashfs-tools. The results are committed, so that the demo itself needs nothing but Node.
set -eu
cd "$(dirname "$0")"
epoch=1767225600

tuning=$(mktemp)
trap 'rm -f "$tuning"' EXIT
gcc -O2 -o "$tuning" source/tuning.c -lm

build() { # version, gamma times 100, compiler flags
  version=$1 gamma=$2
  shift 2
  root=rootfs-$version
  rm -rf "$root"
  mkdir -p "$root/etc/init.d" "$root/usr/bin" "$root/usr/share/www"
  gcc -Os -s -fno-pie -no-pie -fno-ident -Wl,--build-id=none -DNDEBUG "$@" -o "$root/usr/bin/recorder" source/recorder.c
  mkdir -p "$root/usr/share/isp"
  "$tuning" "$gamma" >"$root/usr/share/isp/sensor.tuning"
  printf 'camera %s\n' "$version" >"$root/etc/version"
  cat >"$root/etc/init.d/rcS" <<SCRIPT
#!/bin/sh
# Started by init once the root file system is mounted.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
ifconfig lo 127.0.0.1
[ -x /usr/bin/recorder ] && /usr/bin/recorder 100000 >/dev/null &
SCRIPT
  chmod 755 "$root/etc/init.d/rcS" "$root/usr/bin/recorder"
}

build 1.0 220
cat >rootfs-1.0/etc/recorder.conf <<'CONF'
segment_seconds=60
quality=70
motion=on
CONF
printf 'legacy upload server\n' >rootfs-1.0/etc/upload.conf
cat >rootfs-1.0/usr/share/www/index.html <<'HTML'
<!doctype html><title>Camera</title><h1>Camera</h1><p>Version 1.0</p>
HTML

build 2.0 222 -DVERSION_2
cat >rootfs-2.0/etc/recorder.conf <<'CONF'
segment_seconds=30
quality=80
motion=on
seal=crc32
CONF
printf 'seal=crc32\nkeep_days=14\n' >rootfs-2.0/etc/storage.conf
cat >rootfs-2.0/usr/share/www/index.html <<'HTML'
<!doctype html><title>Camera</title><h1>Camera</h1><p>Version 2.0</p><p>Segments are sealed.</p>
HTML

for version in 1.0 2.0; do
  find "rootfs-$version" -exec touch -h -d "@$epoch" {} +
  rm -f "rootfs-$version.sqfs"
  mksquashfs "rootfs-$version" "rootfs-$version.sqfs" -comp gzip -noappend -all-root -no-progress -quiet \
    -mkfs-time "$epoch" -all-time "$epoch" -b 65536
done

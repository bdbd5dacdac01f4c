#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# First process of the testbed's machine (busybox sh in the initramfs): loads
# the modules, builds the root and hands over to stage2.sh inside it.
# testbed.sh puts beside it: modules/ with its list, stage2.sh, settings.
export PATH=/bin
# shellcheck source=/dev/null
. /settings # TB_REPO, TB_CWD, TB_END, TB_COMMAND

say() { echo "<4>testbed: $1" >/dev/kmsg; }
fail() {
  say "$1"
  poweroff -f
}

mkdir -p /proc /sys /dev /lower /upper /root /stash
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

while read -r module; do
  insmod "/modules/$module" || fail "cannot load $module"
done </modules/list
say 'modules loaded'

# The outer machine's root, never written: the overlay keeps writes in memory.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower || fail 'no root over 9p'
mount -t tmpfs tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /root || fail 'no overlay'

# An empty /tmp must not hide a checkout that lives there.
mount -o bind "/root$TB_REPO" /stash || fail "no $TB_REPO"
mount -t tmpfs -o mode=1777 tmpfs /root/tmp
case $TB_REPO in
/tmp/*)
  mkdir -p "/root$TB_REPO"
  mount -o bind /stash "/root$TB_REPO" || fail "no $TB_REPO"
  ;;
esac
umount /stash

mount -t tmpfs tmpfs /root/run
mkdir -p /root/run/testbed /root/out
mount -t tmpfs tmpfs /root/out
cp /settings /stage2.sh /root/run/testbed/
say 'root mounted'
for m in proc sys dev; do mount -o move "/$m" "/root/$m"; done
exec switch_root /root /bin/sh /run/testbed/stage2.sh

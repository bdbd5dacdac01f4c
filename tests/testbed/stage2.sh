#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Second stage of the testbed's machine, on the outer machine's programs: the
# remaining mounts, then the command, its output and status, and power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
# shellcheck source=/dev/null
. /run/testbed/settings
cd /run/testbed || exit 1

mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+cpu +cpuset +memory +io +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -snf /proc/self/fd /dev/fd
ln -snf fd/0 /dev/stdin
ln -snf fd/1 /dev/stdout
ln -snf fd/2 /dev/stderr
busybox ip link set lo up
mkdir -p /lib/modules
ln -snf "$TB_KERNEL/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"

# port NAME: the device of the virtio-serial port of that name
port() {
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}" && return
  done
}

# A port can be opened once only, a pipe by everyone who says /dev/stderr.
mkfifo stdout stderr
cat stdout >"$(port stdout)" &
copiers=$!
cat stderr >"$(port stderr)" &
copiers="$copiers $!"

# The command must end early enough for its output to get out.
seconds=$((TB_END - $(date +%s) - 5))
[ "$seconds" -ge 1 ] || seconds=1
echo '<4>testbed: command starts' >/dev/kmsg
(
  cd "$TB_CWD" 2>/dev/null || cd "$TB_REPO" || exit 1
  eval "exec timeout -k 2 $seconds $TB_COMMAND"
) </dev/null >stdout 2>stderr
status=$?
echo "<4>testbed: command ended, code $status" >/dev/kmsg

# A process left behind may hold the pipes: two seconds, then the copiers end.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  # shellcheck disable=SC2086  # a list of process ids
  kill -0 $copiers 2>/dev/null || break
  sleep 0.2
done
if [ -n "$TB_OUT" ]; then
  mkdir -p /run/testbed/share
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 out share &&
    cp -R /out/. share/ && umount share || status=125
fi
echo "$status" >"$(port status)"
sync
busybox poweroff -f

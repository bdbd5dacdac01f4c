#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later
# First process of a guest (busybox sh in the initramfs): loads modules, starts
# vtime-agent, and then runs shell lines that come over the control channel.
# guest.sh puts beside it: modules/NAME.list, modules/, vtime-agent, loop, chatter, tscpage.
#
# Kernel command line:
#   vt.name=NAME          the host name
#   vt.agent=TRANSPORT    where vtime-agent speaks to; without it none is started
#   vt.options=--a,--b=c  its further options
#   vt.modules=a,b        further lists of modules to load: blk, vsock, net
#   vt.control=tty:/dev/X the control channel; else the virtio port named control
#
# Control channel: a line "TOKEN COMMAND" is run by sh, at once and beside others;
# the answer is "TOKEN begin", its output, and "TOKEN end STATUS". "guest ready"
# is said once when all is up, with the uptime in seconds.
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -e /dev/kmsg ] || mount -t devtmpfs dev /dev
mkdir -p /tmp /run /dev/shm
mount -t tmpfs tmpfs /run

say() { echo "<3>guest: $1" >/dev/kmsg; }

# setting NAME: of the kernel command line
setting() {
  tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"
}

# load LIST: modules in their order; lists have modules in common
load() {
  local module
  while read -r module; do
    [ -e "/sys/module/${module%.ko}" ] || insmod "/modules/$module" || say "cannot load $module"
  done <"/modules/$1.list"
}

# port NAME: the device of the virtio-serial port of that name
port() {
  local p
  for p in /sys/class/virtio-ports/*; do
    [ "$(cat "$p/name")" != "$1" ] || echo "/dev/${p##*/}"
  done
}

# answer TOKEN LINE: the output is kept until the end, and who answers takes the line in
# descriptor 4 and puts it back, so that answers do not mix
answer() {
  local status=0
  sh -c "$2" </dev/null >"/run/$1" 2>&1 3>&- 4>&- || status=$?
  read -r _ <&4
  echo "$1 begin" >&3
  cat "/run/$1" >&3
  printf '\n%s end %s\n' "$1" "$status" >&3
  echo >&4
  rm -f "/run/$1"
}

control=$(setting vt.control)
control=${control#tty:}
lists=$(setting vt.modules | tr , ' ')
[ -n "$control" ] || lists="console $lists"
for list in $lists; do load "$list"; done
ip link set lo up
case $lists in
*net*) ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2 ;;
esac
case $control in
'') control=$(port control) ;;
*) stty -F "$control" raw -echo ;;
esac
hostname "$(setting vt.name)"
agent=$(setting vt.agent)
# shellcheck disable=SC2046  # a list of words
[ -z "$agent" ] || vtime-agent run --to "$agent" $(setting vt.options | tr , ' ') >/run/agent.log 2>&1 &

mkfifo /run/turn
exec 3<>"$control" 4<>/run/turn
echo >&4
read -r up _ </proc/uptime
echo "guest ready $up" >&3
while read -r token line; do
  answer "$token" "$line" &
done <&3
say 'the control channel ended'
poweroff -f

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian Linux guests under QEMU with -accel kvm, on a host with a real KVM back end.
# One CPU: with more, QEMU's emulation stops such guests now and then (README.md).
bats_require_minimum_version 1.5.0
load testbed
load ../guests/guests

# Runs inside.
inside() {
  GUESTS_DIR=/tmp/guests
  . "$1/tests/guests/guests.bash"
  cd /out || exit 1
  busybox modprobe vhost_vsock
  start_kvm_guest one && start_kvm_guest two --transport vsock:3 --smp 2 || exit 1
  for name in one two; do
    sed -n 's/^guest ready //p' $GUESTS_DIR/$name/control.out >$name.boot
    guest_do $name 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource' >$name.clocksource
    guest_do $name 'head -n 1 /proc/stat; nproc; dmesg | grep -i "kvm-clock\|hypervisor"' >$name.dmesg
    guest_do $name 'vtime-agent bench --name loop -- sh -c "loop 1000000; exit 3"' >$name.bench 2>&1
    echo $? >$name.code
    guest_do $name 'cat /run/agent.log' >$name.agent
  done
  # among rivals
  start_rivals 3 0
  used=$(cpu_used one)
  guest_do one 'grep "^cpu " /proc/stat; time -p loop 100000000; grep "^cpu " /proc/stat' >one.starved
  echo $(($(cpu_used one) - used)) >one.used
  end_guests
}

setup_file() {
  guests_image
  [ ! -e "$GUESTS_DIR/image.err" ] || return 0
  testbed_run --smp 1 --timeout 180 -- bash -c "$(declare -f inside); inside '$testbed_repo'"
}

setup() {
  guests_needed
  testbed_needed
}

@test "they boot, with the clock of KVM, and pass a command's status on" {
  for name in one two; do
    cat "$result/out/$name".{dmesg,bench,agent}
    echo "# $name booted in $(cat "$result/out/$name.boot") s" >&3
    [ "$(cat "$result/out/$name.code")" -eq 3 ]
    [ "$(cat "$result/out/$name.clocksource")" = kvm-clock ]
    grep -q 'Hypervisor detected: KVM' "$result/out/$name.dmesg"
  done
}

@test "vtime-agent has its channel" {
  grep -q 'to virtio' "$result/out/one.agent"
  grep -q 'to vsock' "$result/out/two.agent"
}

@test "starved by three rivals one takes them for its own, although KVM tells it of steal" {
  local used charged stolen
  used=$(cat "$result/out/one.used")
  # user and system: which of them a tick is charged to depends on where in the kernel's work it falls
  charged=$(awk '$1 == "user" || $1 == "sys" { s += $2 } END { print s }' "$result/out/one.starved")
  stolen=$(awk '$1 == "cpu" { stolen = $9 - stolen } END { print stolen }' "$result/out/one.starved")
  echo "# the guest: $charged s of CPU time, $stolen ticks stolen; the host: $used ms of CPU" >&3
  awk -v used="$used" -v charged="$charged" 'BEGIN { exit !(used > 100 && charged > 1.5 * used / 1000) }'
  [ "$stolen" -gt 0 ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian Linux guests under QEMU with -accel kvm, on a host with a real KVM back end.
bats_require_minimum_version 1.5.0
load testbed
load ../guests/guests

# Runs inside.
inside() {
  GUESTS_DIR=/tmp/guests
  . "$1/tests/guests/guests.bash"
  cd /out || exit 1
  busybox modprobe vhost_vsock
  start_kvm_guest one --cpu 1 && start_kvm_guest two --transport vsock:3 --smp 2 --cpu 0,1 || exit 1
  for name in one two; do
    sed -n 's/^guest ready //p' $GUESTS_DIR/$name/control.out >$name.boot
    guest_do $name 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource' >$name.clocksource
    guest_do $name 'head -n 1 /proc/stat; nproc; dmesg | grep -i "kvm-clock\|hypervisor"' >$name.dmesg
    guest_do $name 'vtime-agent bench --name loop -- sh -c "loop 1000000; exit 3"' >$name.bench 2>&1
    echo $? >$name.code
    guest_do $name 'cat /run/agent.log' >$name.agent
  done
  for task in /proc/"$(cat $GUESTS_DIR/two/pid)"/task/*; do
    grep -q '^CPU ' "$task/comm" && echo "$(cat "$task/comm") $(taskset -pc "${task##*/}")" >>two.pinned
  done
  end_guests
}

setup_file() {
  guests_image
  [ ! -e "$GUESTS_DIR/image.err" ] || return 0
  testbed_run --timeout 150 -- bash -c "$(declare -f inside); inside '$testbed_repo'"
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

@test "vCPUs are pinned where they belong" {
  sort "$result/out/two.pinned" | sed 's/pid [0-9]*/pid/' >"$BATS_TEST_TMPDIR/pinned"
  diff "$BATS_TEST_TMPDIR/pinned" - <<'EOT'
CPU 0/KVM pid's current affinity list: 0
CPU 1/KVM pid's current affinity list: 1
EOT
}

@test "vtime-agent has its channel" {
  grep -q 'to virtio' "$result/out/one.agent"
  grep -q 'to vsock' "$result/out/two.agent"
}

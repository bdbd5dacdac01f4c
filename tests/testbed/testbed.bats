#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The testbed itself, and that vtime's own guests run on a real KVM path in it.
bats_require_minimum_version 1.5.0
load testbed

# Runs inside. Each answer is a file in /out, judged by a test below.
inside() {
  vtime=$1 repo=$2
  cd /out || exit 1
  uname -r >release
  cat /sys/devices/system/clocksource/clocksource0/current_clocksource >clocksource
  cat /sys/kernel/tracing/events/kvm/kvm_entry/format >format
  stat -f -c %T /tmp /sys/fs/cgroup >filesystems
  cat /sys/fs/cgroup/cgroup.controllers >controllers
  bpftool btf list >btf
  bpftool -B /sys/kernel/btf/vmlinux btf dump file /sys/kernel/btf/kvm_amd format c >kvm_amd.h
  echo scratch >"$repo/written-inside" && cat "$repo/written-inside" >written
  (exec 3<>/dev/tcp/127.0.0.1/1) 2>loopback
  [ -c /dev/kvm ] && echo yes >kvm
  [ ! -x "$vtime" ] ||
    timeout 60 perf stat -x, -a -o events -e kvm:kvm_entry,kvm:kvm_exit,kvm:kvm_userspace_exit \
      "$vtime" run --name spin --workload spin --seconds 1 >run.out 2>run.err
  echo $? >run.code
  echo 'said to stdout'
  echo 'said to stderr' >/dev/stderr
  exit 7
}

setup_file() {
  rm -f "$testbed_repo/written-inside"
  testbed_run --timeout 120 -- bash -c "$(declare -f inside); inside '$vtime' '$testbed_repo'" || [ $? -eq 7 ]
}

setup() { testbed_needed; }

@test "output, error output and exit code come out of the machine" {
  [ "$(cat "$result/code")" -eq 7 ]
  [ "$(cat "$result/stdout")" = 'said to stdout' ]
  [ "$(cat "$result/stderr")" = 'said to stderr' ]
}

@test "the kernel is Debian's 6.1" {
  [[ $(cat "$result/out/release") =~ ^6\.1\.[0-9]+-[0-9]+-amd64$ ]]
}

@test "the machine keeps time by its TSC" {
  [ "$(cat "$result/out/clocksource")" = tsc ]
}

@test "KVM is there, with types of its own for BPF" {
  [ "$(cat "$result/out/kvm")" = yes ]
  grep -q 'name \[vmlinux\]' "$result/out/btf"
  grep -q 'name \[kvm\]' "$result/out/btf"
  grep -q '^struct vcpu_svm {' "$result/out/kvm_amd.h"
}

@test "/tmp is in memory, cgroup v2 has its cpu controller, the loopback answers" {
  [ "$(paste -sd ' ' "$result/out/filesystems")" = 'tmpfs cgroup2fs' ]
  grep -qw cpu "$result/out/controllers"
  grep -q 'Connection refused' "$result/out/loopback"
}

@test "what is written inside does not reach this machine" {
  [ "$(cat "$result/out/written")" = scratch ]
  [ ! -e "$testbed_repo/written-inside" ]
}

@test "a spin guest runs to its end on kvm-amd" {
  [ -x "$vtime" ] || skip "no $vtime"
  cat "$result/out/run.err"
  [ "$(cat "$result/out/run.code")" -eq 0 ]
}

# events NAME: how often it fired
events() { awk -F, -v n="$1" '$3 == n { print $1 }' "$result/out/events"; }

@test "guest entries and exits are seen, one exit for each entry" {
  [ -x "$vtime" ] || skip "no $vtime"
  cat "$result/out/events"
  [ "$(events kvm:kvm_entry)" -gt 50 ]
  [ "$(events kvm:kvm_entry)" -eq "$(events kvm:kvm_exit)" ]
}

@test "a machine that does not end in time is ended, and says so" {
  run -125 --separate-stderr "$testbed_dir/testbed.sh" run --memory 1237 --timeout 2 -- true
  [[ ${stderr_lines[-1]} == 'testbed: not finished after 2 s'* ]]
  run -1 pgrep -f -- 'qemu-system-x86_64 .* -m 1237 '
}

@test "without QEMU the testbed says so and is skipped" {
  empty=$BATS_TEST_TMPDIR/bin
  mkdir "$empty"
  ln -s "$(command -v dirname)" "$empty/dirname"
  run -77 --separate-stderr env PATH="$empty" "$BASH" "$testbed_dir/testbed.sh" run -- true
  [ "$stderr" = 'testbed: cannot run here: no qemu-system-x86_64' ]
}

@test "wrong usage is told in one line" {
  run -2 "$testbed_dir/testbed.sh" run --memory lots -- true
  [ "${#lines[@]}" -eq 1 ]
  run -2 "$testbed_dir/testbed.sh" run
  [ "${#lines[@]}" -eq 1 ]
}

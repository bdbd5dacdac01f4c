#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vtime doctor on a host with a real KVM back end, where all that the machine of
# the live tests may lack is there; and what it says once a thing is taken away.
bats_require_minimum_version 1.5.0
load testbed

# Runs inside.
inside() {
  cd /out || exit 1
  "$1" doctor --json >all.json
  echo $? >all.code
  umount /sys/kernel/debug && "$1" doctor --json >no-debugfs.json
  # the modules of KVM go: no KVM events, no types of its own
  busybox modprobe -r kvm-amd kvm 2>unload.err
  [ ! -e /dev/kvm ] && "$1" doctor --json >no-kvm.json
  echo $? >no-kvm.code
}

setup_file() {
  [ -x "$vtime" ] || return 0
  testbed_run --timeout 120 -- bash -c "$(declare -f inside); inside '$vtime'"
}

setup() {
  [ -x "$vtime" ] || skip "no $vtime"
  testbed_needed
}

# status FILE NAME
status() { jq -r --arg n "$2" '.checks[] | select(.name == $n).status' "$result/out/$1.json"; }

@test "all that a KVM host offers is found" {
  [ "$(cat "$result/out/all.code")" -eq 0 ]
  for name in ledger 'probe kvm-run' 'probe entry-exit' 'probe halt' 'probe addresses' 'halted vCPUs' quota fentry /dev/kvm \
    'KVM back end' 'guest TSC' 'KVM statistics' 'KVM debugfs' 'cgroup cpu' 'host clock'; do
    echo "$name: $(status all "$name")"
    [ "$(status all "$name")" = ok ]
  done
}

@test "the guest's TSC offset is a real one" {
  jq -e '.checks[] | select(.name == "guest TSC").found | test("offset -[1-9][0-9]+, ratio 4294967296 ")' \
    "$result/out/all.json"
}

@test "without debugfs its check says how to mount it" {
  [ "$(status no-debugfs 'KVM debugfs')" = limited ]
  jq -e '.checks[] | select(.name == "KVM debugfs").mend | contains("mount -t debugfs")' \
    "$result/out/no-debugfs.json"
}

@test "without the KVM modules nothing can be recorded, and doctor says which to load" {
  cat "$result/out/unload.err"
  [ "$(cat "$result/out/no-kvm.code")" -eq 1 ]
  [ "$(status no-kvm /dev/kvm)" = missing ]
  [ "$(status no-kvm ledger)" = missing ]
  jq -e '.checks[] | select(.name == "ledger").mend | contains("modprobe")' "$result/out/no-kvm.json"
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The same binaries on a KVM host with real entry and exit events (6.1, SVM).
bats_require_minimum_version 1.5.0
load testbed

# Runs inside. Two guests share a CPU, one of them with exits served by its
# monitor; a third idles on the other CPU, with KVM's halt polling made long
# enough to be hit under emulation.
inside() {
  vtime=$1
  cd /out || exit 1
  echo 5000000 >/sys/module/kvm/parameters/halt_poll_ns
  "$vtime" doctor >doctor.txt
  "$vtime" record -q -o all.vt -- bash -c "
    setsid $vtime run --name spin --cpu 1 --workload spin --seconds 4 &
    setsid $vtime run --name io --cpu 1 --workload io --service-us 500 --tick 0 --seconds 4 &
    setsid $vtime run --name idle --cpu 0 --workload idle --tick 250 --seconds 4 &
    wait" >record.out 2>&1
  echo $? >record.code
  "$vtime" report --json all.vt >all.json
  "$vtime" report all.vt >all.txt
  for class in entry-exit wakeup halt; do
    "$vtime" record -q -o "no-$class.vt" --without $class -- \
      "$vtime" run --name mix --cpu 1 --workload mix --seconds 2
    "$vtime" report --json "no-$class.vt" >"no-$class.json"
  done
}

setup_file() {
  testbed_run --timeout 150 -- bash -c "$(declare -f inside); inside '$vtime'"
}

setup() { testbed_needed; }

# holds FILE FILTER: the JSON report says so
holds() {
  run jq -e "$2" "$result/out/$1"
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "the recording of three guests ended well" {
  cat "$result/out/record.out"
  [ "$(cat "$result/out/record.code")" -eq 0 ]
  cat "$result/out/all.txt"
  holds all.json '[.guests[].name] | sort == ["idle", "io", "spin"]'
}

@test "GUEST, KVM and VMM are told apart, and nothing is merged into RUN" {
  holds all.json '.host.entry_exit'
  holds all.json '[.guests[].vcpus[].states | .GUEST.ns > 0 and .KVM.ns > 0 and .VMM.ns > 0] | all'
  holds all.json '[.guests[].vcpus[].states.RUN.ns] | add == 0'
}

@test "halt polling appears as POLL, which is idle" {
  holds all.json '.guests[] | select(.name == "idle") | .vcpus[0].states.POLL.ns > 0'
}

@test "conservation holds to the nanosecond, by both accounts" {
  holds all.json '[.guests[].vcpus[] | .residual_ns == 0 and .ledger_residual_ns == 0] | all'
}

@test "no edge was refused and nothing is LOST" {
  holds all.json '[.guests[].vcpus[].states.LOST.ns] | add == 0'
  holds all.json '[.guests[].vcpus[].desync] | add == 0'
}

@test "the monitor's service shows as VMM, most of what the io guest did" {
  holds all.json '.guests[] | select(.name == "io") | .vcpus[0].states | .VMM.ns > .GUEST.ns and .VMM.ns > 300000000'
}

@test "the two on one CPU were pre-empted by one another" {
  holds all.json '[.guests[] | select(.name != "idle") | .vcpus[0].states.PREEMPTED.ns > 500000000] | all'
  holds all.json '[.blame[] | select(.victim == "spin" and .culprit == "io") | .ns] | add > 500000000'
}

@test "without entry and exit events GUEST and KVM merge into RUN" {
  holds no-entry-exit.json '.guests[0].vcpus[0] | .residual_ns == 0 and .states.RUN.ns > 0 and .states.GUEST.ns == 0'
}

@test "without wake-up events waits are repaired from the kernel's own account, and say so" {
  holds no-wakeup.json '.guests[0].vcpus[0] | .residual_ns == 0 and .states.WAKING.ns > 0 and
    .states.WAKING.accuracy != "exact" and .states.WAKING.bound_ns > 0'
}

@test "without halt events polling can't be told, and no POLL is claimed" {
  holds no-halt.json '.guests[0].vcpus[0] | .residual_ns == 0 and .states.POLL.ns == 0'
}

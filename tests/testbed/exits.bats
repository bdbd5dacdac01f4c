#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# VM exits by reason, against perf kvm stat over the same run (6.1, SVM).
bats_require_minimum_version 1.5.0
load testbed

# Runs inside: perf starts the guest itself, so that neither misses an exit.
inside() {
  vtime=$1
  cd /out || exit 1
  for workload in io mix; do
    "$vtime" record -q -o $workload.vt -- perf kvm --host stat record -a -o /tmp/$workload.data \
      "$vtime" run --name guest --cpu 1 --workload $workload --seconds 1 >$workload.out 2>&1
    perf kvm --host -i /tmp/$workload.data stat report >$workload.perf 2>&1
    "$vtime" report --json $workload.vt >$workload.json
    "$vtime" report $workload.vt >$workload.txt
  done
}

setup_file() {
  command -v perf >/dev/null || return 0
  testbed_run --timeout 150 -- bash -c "$(declare -f inside); inside '$vtime'"
}

setup() {
  command -v perf >/dev/null || skip "no perf"
  testbed_needed
}

# ours WORKLOAD, theirs WORKLOAD: reason and count, sorted
ours() {
  jq -r '[.guests[].vcpus[].exits[]] | group_by(.reason)[] | "\(.[0].reason) \(map(.count) | add)"' "$result/out/$1.json" | sort
}

theirs() {
  awk '$2 ~ /^[0-9]+$/ && $3 ~ /%$/ { print $1, $2 }' "$result/out/$1.perf" | sort
}

@test "exits by reason are counted as perf kvm stat counts them" {
  for workload in io mix; do
    theirs $workload >"$BATS_TEST_TMPDIR/theirs"
    ours $workload >"$BATS_TEST_TMPDIR/ours"
    diff "$BATS_TEST_TMPDIR/ours" "$BATS_TEST_TMPDIR/theirs"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/theirs")" -ge 4 ]
    echo "# $workload: $(tr '\n' ',' <"$BATS_TEST_TMPDIR/ours")" >&3
  done
}

@test "each exit is counted once, for one reason, and in one bucket" {
  for workload in io mix; do
    # the last exit of a guest that ends in it is never over
    jq -e '.guests[].vcpus[] | (.exits_total - ([.exits[].count] | add)) as $under_way |
      ($under_way == 0 or $under_way == 1) and ([.exits[] | .count == (.kernel_ns_log2 | add)] | all)' \
      "$result/out/$workload.json"
  done
}

@test "an exit's time is KVM's and the monitor's, without the sleep of HLT" {
  # mix sleeps 8 ms at a time in HLT; its exits may take a small part of that only
  jq -e '[.guests[].vcpus[].exits[] | select(.reason == "hlt")][0] | .count > 50 and .kernel.ns / .count < 2000000' \
    "$result/out/mix.json"
  # all reasons together are what the ledger has as KVM, but for the way to the first entry and the last exit
  for workload in io mix; do
    jq -e '.guests[].vcpus[] | ([.exits[].kernel.ns] | add) as $by | .states.KVM.ns as $all |
      $by <= $all and $by > 0.8 * $all' "$result/out/$workload.json"
  done
}

@test "the text report names them" {
  grep -q '^Exits: ' "$result/out/io.txt"
  grep -Eq '^  guest +io +0 ' "$result/out/io.txt"
}

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
  # a monitor that tells what the kernel told it of its own vCPUs
  for i in 1 2 3 4 5; do
    ODDVMM_STATS=odd$i.own "$vtime" record -q -o odd$i.vt -- "${vtime%/bin/vtime}/tests/live/oddvmm" back >odd$i.out 2>&1
    "$vtime" report --json odd$i.vt >odd$i.json
  done
}

setup_file() {
  command -v perf >/dev/null || return 0
  testbed_run --timeout 180 -- bash -c "$(declare -f inside); inside '$vtime'"
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

# counter WORKLOAD NAME: KVM's own; events WORKLOAD REASON: by its exit events
counter() {
  jq "[.guests[].vcpus[].kvm_stats.$2.count] | add" "$result/out/$1.json"
}

events() {
  jq "[.guests[].vcpus[].exits[] | select(.reason == \"$2\").count] | add // 0" "$result/out/$1.json"
}

@test "KVM's own counters agree with its exit events, in all and by what they count of each reason" {
  local exact=0
  for workload in io mix; do
    # the port exit that ends the guest is never over: without a reason's sum, but counted
    under_way=$(jq '[.guests[].vcpus[] | .exits_total - ([.exits[].count] | add)] | add' "$result/out/$workload.json")
    total=$(jq '[.guests[].vcpus[].exits_total] | add' "$result/out/$workload.json")
    echo "# $workload: exits $(counter $workload exits) of $total; io $(counter $workload io_exits) of $(events $workload io) + $under_way," \
      "hlt $(counter $workload halt_exits) of $(events $workload hlt), irq $(counter $workload irq_exits) of $(events $workload interrupt)" >&3
    # a VM that is gone before its thread takes with it what came since the last look: said, and less
    if jq -e 'any(.guests[].vcpus[]; .kvm_stats.exits.accuracy == "estimated")' "$result/out/$workload.json" >"$result/gone"; then
      [ "$(counter $workload exits)" -lt "$total" ]
      continue
    fi
    exact=$((exact + 1))
    [ "$(counter $workload exits)" -eq "$total" ]
    [ "$(counter $workload io_exits)" -eq $(($(events $workload io) + under_way)) ]
    [ "$(counter $workload halt_exits)" -eq "$(events $workload hlt)" ]
  done
  [ "$exact" -gt 0 ]
  [ "$(counter io io_exits)" -gt 100 ]
  [ "$(counter mix halt_exits)" -gt 0 ] # how many depends on how slow the testbed is
}

@test "they are what the kernel tells the monitor itself" {
  local i lives='[.guests[] | select(.name | startswith("oddvmm/")).vcpus[]]'
  for i in 1 2 3 4 5; do
    jq -e "$lives | length > 0 and all(.kvm_stats != null)" "$result/out/odd$i.json"
    jq -r "[$lives[].kvm_stats | to_entries[]] | group_by(.key)[] | \"\(.[0].key) \(map(.value.count) | add)\"" \
      "$result/out/odd$i.json" | sort >"$BATS_TEST_TMPDIR/recorded"
    sort "$result/out/odd$i.own" | join - "$BATS_TEST_TMPDIR/recorded" >"$BATS_TEST_TMPDIR/both"
    echo "# $(wc -l <"$BATS_TEST_TMPDIR/both") counters, $(awk '$1 == "exits" { print $2 }' "$BATS_TEST_TMPDIR/both") exits" >&3
    awk '$2 != $3 { print "differs:", $0; bad = 1 } END { exit bad }' "$BATS_TEST_TMPDIR/both"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/both")" -ge 30 ]
    [ "$(awk '$1 == "io_exits" { print $2 }' "$BATS_TEST_TMPDIR/both")" -gt 100 ]
  done
}

@test "the text report names them" {
  grep -q '^Exits: ' "$result/out/io.txt"
  grep -Eq '^  guest +io +0 ' "$result/out/io.txt"
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What the vCPUs of a guest do together, on real guests of two vCPUs.

load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# record_two CPUS [COMMAND…]: a guest of two busy vCPUs on these CPUs, run by COMMAND; the figures of two
# seconds of it are in $json
record_two() {
  local cpus=$1
  shift
  "$VTIME" record -q -f -o "$run_vt" -- "$@" "$VTIME" run --name two --vcpus 2 --cpu "$cpus" --workload spin --seconds 3
  json=$BATS_TEST_TMPDIR/json
  # well inside, when both are there and busy
  "$VTIME" report --json --window 0.5,2.5 "$run_vt" | jq '.guests[] | select(.name == "two")' >"$json"
}

# states_sum: to the window, to the nanosecond
states_sum() {
  jq -e '(.vm_states | del(.residual_ns) | [.[].ns] | add) == 2000000000 and .vm_states.residual_ns == 0' "$json"
}

@test "two busy vCPUs on one CPU: one runs while the other waits, all the time that one of them runs" {
  record_two "$LAST_CPU,$LAST_CPU" chrt -r 1
  states_sum
  read -r hazard full wait bound on_cpu < <(jq -r '[.vm_states.concurrency_hazard.ns, .vm_states.full_run.ns,
    .vm_states.full_contention.ns, .vm_states.concurrency_hazard.bound_ns,
    ([.vcpus[].states | .RUN, .GUEST, .KVM, .VMM, .IRQ | .ns] | add)] | @tsv' "$json")
  echo "# hazard $hazard +- $bound, full run $full, both wait $wait, both together on CPU $on_cpu ns" >&3
  # others may take the CPU from both; but both are never on it, and never idle
  within "$((hazard + wait))" 2000000000 2000000
  within "$hazard" "$on_cpu" 1000000
  [ "$full" -lt 1000000 ]
  [ "$hazard" -gt 1500000000 ]
}

# A real-time guest, or what else there is on the machine would decide. The time in which both ran is what inclusion and exclusion make of their times on CPU, independently added.
@test "two busy vCPUs on two CPUs: full run, and hazard only while others hold one of them" {
  [ "$(nproc)" -ge 2 ] || skip "one CPU"
  record_two "$((LAST_CPU - 1)),$LAST_CPU" chrt -r 1
  states_sum
  read -r full hazard wait on_cpu waited < <(jq -r '[.vm_states.full_run.ns, .vm_states.concurrency_hazard.ns,
    .vm_states.full_contention.ns, ([.vcpus[].states | .RUN, .GUEST, .KVM, .VMM, .IRQ | .ns] | add),
    ([.vcpus[].states | .PREEMPTED, .WAKING, .THROTTLED, .BLOCKED | .ns] | add)] | @tsv' "$json")
  echo "# full run $full, hazard $hazard, both wait $wait; on CPU $on_cpu, waited $waited ns" >&3
  within "$((2 * full + hazard))" "$on_cpu" 1000000
  within "$((2 * wait + hazard))" "$waited" 1000000
  [ "$full" -gt 1500000000 ]
}

@test "an idle guest of two vCPUs is blocked" {
  "$VTIME" record -q -f -o "$run_vt" -- "$VTIME" run --name two --vcpus 2 --cpu "$LAST_CPU" --workload idle --tick 100 --seconds 3
  json=$BATS_TEST_TMPDIR/json
  "$VTIME" report --json --window 0.5,2.5 "$run_vt" | jq '.guests[] | select(.name == "two")' >"$json"
  states_sum
  jq -e '.vm_states.blocked.ns > 1400000000 and .vm_states.full_run.ns < 100000000' "$json"
}

@test "the CPUs, their cores and nodes are recorded as lscpu tells them" {
  record_two "$LAST_CPU,$LAST_CPU"
  lscpu -p=cpu,socket,node | grep -v '^#' | tr , ' ' | sort >"$BATS_TEST_TMPDIR/theirs"
  sqlite3 -separator ' ' "$run_vt" 'select cpu, package, max(node, 0) from cpu' | sort >"$BATS_TEST_TMPDIR/ours"
  diff "$BATS_TEST_TMPDIR/theirs" "$BATS_TEST_TMPDIR/ours"
  # as many cores as lscpu counts
  [ "$(sqlite3 "$run_vt" 'select count(distinct sibling) from cpu')" -eq "$(lscpu -p=core,socket | grep -v '^#' | sort -u | wc -l)" ]
  # pinned from before its first entry on, it went nowhere
  jq -e '[.vcpus[].migrations_by[]] | add == 0' "$json"
}

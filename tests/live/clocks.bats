#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The clock map by messages beside the exact one: an agent reads the TSC that KVM maps.

load helpers

AGENT=${VTIME%/*}/vtime-agent

setup() {
  needs_kvm
  [ -x "$AGENT" ] || skip "vtime-agent is not built"
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# map FILTER [REPORT-OPTION…]: of the guest's row of clocks
map() {
  local filter=$1
  shift
  "$VTIME" report --json "$@" "$run_vt" | jq -e ".guests[] | select(.name == \"clocked\") | .clocks[-1] | $filter"
}

@test "the map by messages keeps its bound, also while the agent is starved" {
  local sock=$BATS_TEST_TMPDIR/a.sock i
  start_guest clocked --workload idle --seconds 60
  "$VTIME" record -o "$run_vt" --for 20 --agent "clocked=unix-listen:$sock" >"$BATS_TEST_TMPDIR/record" 2>&1 3>&- &
  local recorder=$!
  for i in $(seq 100); do [ -S "$sock" ] && break; sleep 0.1; done
  taskset -c "$LAST_CPU" "$AGENT" run --to "unix:$sock" --name clocked 3>&- &
  sleep 8
  for i in 1 2 3; do
    setsid taskset -c "$LAST_CPU" sh -c 'while :; do :; done' 3>&- & # ended by pid: a timeout that is killed leaves it
  done
  wait "$recorder"
  map '.method == "kvm-offset" and .exchanges.count >= 20 and .agent.views >= 100'
  map '.residual.samples >= 100 and .residual.inside >= 0.99 * .residual.samples'
  # no wider than the round trip of an exchange that nothing held up
  map '.exchanges.fastest_ns as $fastest | .methods[] | select(.method == "messages") | .usable and
    .bound_median_ns <= $fastest' --window 0,8
  map '(.epochs | length) == 1 and .system_clocks.monotonic.steps == 0 and
    (.system_clocks.monotonic.drift_ppm | fabs) < 1 + .system_clocks.monotonic.drift_bound_ppm'
  map '.channel.claimed.times == 0 and .channel.damaged.times == 0'
  "$VTIME" report --clocks "$run_vt" | grep -q 'the map by messages is off from kvm-offset by'
}

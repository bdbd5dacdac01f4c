#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The clock map by messages beside the exact one: an agent reads the TSC that KVM maps.

bats_require_minimum_version 1.5.0
load helpers
load ../guests/guests

AGENT=${VTIME%/*}/vtime-agent

setup() {
  needs_root
  [ -x "$AGENT" ] || skip "vtime-agent is not built"
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

teardown() {
  end_guests
  end_children
}

# map FILTER [REPORT-OPTION…]: of the guest's row of clocks
map() {
  local filter=$1
  shift
  "$VTIME" report --json "$@" "$run_vt" | jq -er ".guests[] | select(.name == \"clocked\") | .clocks[-1] | $filter"
}

@test "the map by messages keeps its bound, also while the agent is starved" {
  local sock=$BATS_TEST_TMPDIR/a.sock i
  needs_kvm
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
  map '.methods[] | select(.method == "kvm-offset") | .samples >= 100 and .bound_max_ns <= 1000'
  # no wider than the round trip of an exchange that nothing held up
  map '.exchanges.fastest_ns as $fastest | .methods[] | select(.method == "messages") | .usable and
    .bound_median_ns <= $fastest' --window 0,8
  map '(.epochs | length) == 1 and .system_clocks.monotonic.steps == 0 and
    (.system_clocks.monotonic.drift_ppm | fabs) < 1 + .system_clocks.monotonic.drift_bound_ppm'
  map '.channel.claimed.times == 0 and .channel.damaged.times == 0'
  "$VTIME" report --clocks "$run_vt" | grep -q 'the map by messages is off from kvm-offset by'
}

@test "the clocks of a payload guest have their place in time to a microsecond, by what KVM says" {
  needs_kvm
  start_record "$run_vt"
  start_guest clocked --workload spin --seconds 3
  wait "$guest_pid"
  stop_record
  map '"# by the offset +-\(.bound_ns) ns"' >&3
  "$VTIME" report --json "$run_vt" | jq -e '.guests[] | select(.name == "clocked").clocks | length == 1 and
    all(.method == "kvm-offset" and .bound_ns > 0 and .bound_ns <= 1000 and .violations == 0)'
}

# Nobody tells the TSC of a guest under QEMU's emulation. It is the host's and a constant,
# which memory that both see shows to a fraction of a microsecond (tscpage): that is put into the
# recording in place of KVM's word, once the recording is made.
@test "over virtio-serial the map by messages keeps its bound, starved or not, and that is 200 us where it is not" {
  local least most asked agent
  guests_image
  guests_needed
  [ "$LAST_CPU" -gt 0 ] || skip "one CPU: guest and host cannot spin at the same time"
  start_tcg_guest clocked --cpu "$LAST_CPU" --shared
  start_record "$run_vt"
  guest_do clocked 'tscpage 3' &
  agent=$!
  read -r least most asked < <(taskset -c 0 "$guests_repo/build/guests/bin/tscpage" 3 "$GUESTS_DIR/clocked/memory")
  wait $agent
  sleep 8
  start_rivals 3 "$LAST_CPU"
  sleep 8
  end_rivals
  stop_record
  map '.method == "messages"'
  sqlite3 "$run_vt" "insert into tsc_epoch (vcpu, at_ns, offset_ticks, ratio, frac_bits)
    select vcpu.id, 0, $least + ($most - $least) / 2, 0, 0 from vcpu join vm on vm.id = vcpu.vm where vm.name = 'clocked'"
  echo "# the guest's TSC is known to $((most - least)) ticks from $asked questions" >&3
  map '.residual | "# off by \(.median_ns / 1000) us in the median, \(.max_ns / 1000) us at most, inside the bound in \(.inside) of \(.samples)"' >&3
  map '.methods[] | select(.method == "messages") | "# not starved: bound \(.bound_median_ns / 1000) us in the median, \(.bound_max_ns / 1000) us at most"' --window 3,11 >&3
  [ $((most - least)) -lt 20000 ]
  map '.method == "kvm-offset" and .exchanges.count >= 40'
  map '.residual.samples >= 100 and .residual.inside >= 0.99 * .residual.samples'
  map '.methods[] | select(.method == "messages") | .usable and .bound_median_ns <= 200000' --window 3,11
}

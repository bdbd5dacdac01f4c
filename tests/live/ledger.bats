#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# record --mode ledger: no slices, the same truth.
load helpers

setup() {
  needs_kvm
}

# states FILE: vCPU of guest, state, ns
states() {
  "$VTIME" report --json "$1" | jq -r '.guests[] | select(.name == "spin" or .name == "mix") | .name as $n | .vcpus[] |
    .states | to_entries[] | select(.key != "ABSENT") | [$n + "/" + .key, .value.ns] | @tsv' | sort
}

@test "sums without slices are those with slices, recorded side by side" {
  start_record "$BATS_TEST_TMPDIR/slices.vt"
  slices_pid=$record_pid
  start_record "$BATS_TEST_TMPDIR/ledger.vt" --mode ledger --agent-socket "$BATS_TEST_TMPDIR/agent2"
  start_guest spin --workload spin --seconds 2
  spin=$guest_pid
  start_guest mix --workload mix --seconds 2
  wait "$spin" "$guest_pid"
  stop_record
  record_pid=$slices_pid
  stop_record
  [ "$(sqlite3 "$BATS_TEST_TMPDIR/ledger.vt" 'select (select count(*) from chunk) + (select count(*) from occupancy)')" -eq 0 ]
  states "$BATS_TEST_TMPDIR/slices.vt" >"$BATS_TEST_TMPDIR/a"
  states "$BATS_TEST_TMPDIR/ledger.vt" >"$BATS_TEST_TMPDIR/b"
  # both see the same edges, each a little earlier or later: some 100 ns an edge, and the other's programs run inside
  join "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" | awk '{ d = $2 - $3; if (d < 0) d = -d
    if (d > 5000000) { print; bad = 1 } if ($2 > 100000000) n++ } END { exit bad || n < 3 }'
  run report "$BATS_TEST_TMPDIR/ledger.vt" '[.guests[].vcpus[] | .residual_ns] | length >= 2 and all(. == 0)'
  [ "$output" = true ]
  # by class only, and it says so
  "$VTIME" report "$BATS_TEST_TMPDIR/ledger.vt" | tr -s ' \n' ' ' | grep -q 'blame by class only'
  "$VTIME" report "$BATS_TEST_TMPDIR/ledger.vt" | grep -q 'idle elsewhere *not recorded'
  run report "$BATS_TEST_TMPDIR/ledger.vt" '.host.elsewhere_cpus == null and (.blame | length > 0 and all(.idle_elsewhere == null))'
  [ "$output" = true ]
  run report "$BATS_TEST_TMPDIR/ledger.vt" '[.blame[] | select(.victim == "mix" or .victim == "spin").kind] | unique - ["host", "interrupts", "idle", "quota"] | length == 0'
  [ "$output" = true ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Monitors that run their vCPUs in unusual ways are accounted all the same.

load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# record_odd ARGS…: and every book must balance
record_odd() {
  "$VTIME" record -q -f -o "$run_vt" -- taskset -c "$LAST_CPU" "$BATS_TEST_DIRNAME/../../build/tests/live/oddvmm" "$@"
  "$VTIME" report --json "$run_vt" >"$BATS_TEST_TMPDIR/run.json"
  mine="[.guests[] | select(.name | startswith(\"oddvmm/\")).vcpus[]]"
  run jq -e "$mine | all(.residual_ns == 0 and .ledger_residual_ns == 0)" "$BATS_TEST_TMPDIR/run.json"
  [ "$output" = true ]
}

# present: seconds of each life that are not ABSENT, in order of birth
present() {
  jq -r "$mine | sort_by(.states.ABSENT.ns) | map((.window_ns - .states.ABSENT.ns) / 1e9) | @tsv" "$BATS_TEST_TMPDIR/run.json"
}

@test "one thread that runs one vCPU and then another: two lives, neither in the other's time" {
  record_odd seq
  [ "$(jq "$mine | length" "$BATS_TEST_TMPDIR/run.json")" -eq 2 ]
  for seconds in $(present); do
    within "$seconds" 0.4 0.1
  done
}

@test "a vCPU that returns to an earlier thread is accounted there again" {
  record_odd back
  [ "$(jq "$mine | length" "$BATS_TEST_TMPDIR/run.json")" -eq 3 ]
  [ "$(present | awk '{ print ($1 + $2 + $3 > 1.1) }')" -eq 1 ]
}

@test "two vCPUs in turn in one thread: every life has its slot, and slots come back" {
  record_odd alt 1000
  [ "$(jq "$mine | length" "$BATS_TEST_TMPDIR/run.json")" -eq 2000 ]
  [ "$(jq '.lost.no_slot' "$BATS_TEST_TMPDIR/run.json")" -eq 0 ]
}

# From its first reading of schedstat to its last; what it did before and after is some microseconds.
@test "a helper thread's time on CPU and its waiting are the VM's, and agree with schedstat" {
  record_odd helper >"$BATS_TEST_TMPDIR/told"
  cat "$BATS_TEST_TMPDIR/told"
  read -r run delay < <(awk 'NF == 3 { run[++n] = $1; delay[n] = $2 }
    END { printf "%d %d\n", run[2] - run[1], delay[2] - delay[1] }' "$BATS_TEST_TMPDIR/told")
  helper='.guests[] | select(.name | startswith("oddvmm/")).helpers[] | select(.name == "worker")'
  on_cpu=$(jq "$helper | .on_cpu.ns" "$BATS_TEST_TMPDIR/run.json")
  waited=$(jq "$helper | .waited.ns" "$BATS_TEST_TMPDIR/run.json")
  echo "# on CPU $on_cpu, schedstat $run; waited $waited, run_delay $delay" >&3
  [ "$run" -gt 30000000 ]
  # 1 ms, or 1 %: some hundred wake-ups, of each of which schedstat leaves out some microseconds
  within "$on_cpu" "$run" "$((run / 100 + 1000000))"
  within "$waited" "$delay" "$((delay / 50 + 2000000))"
}

@test "what a blocked vCPU waits for is told apart: the monitor's own sleep, and its I/O" {
  record_odd wait "$BATS_TEST_TMPDIR/file"
  by=$(jq -r '.guests[] | select(.name | startswith("oddvmm/")).vcpus[0].blocked_by | [.monitor, .io + .kernel, .not_told] | @tsv' "$BATS_TEST_TMPDIR/run.json")
  echo "# monitor, I/O and kernel, not told: $by" >&3
  read -r monitor kernel not_told <<<"$by"
  within "$monitor" 300000000 20000000
  [ "$not_told" -eq 0 ]
  # where the file's disk makes a writer wait at all
  blocked=$(jq '.guests[] | select(.name | startswith("oddvmm/")).vcpus[0].states.BLOCKED.ns' "$BATS_TEST_TMPDIR/run.json")
  [ "$((monitor + kernel))" -eq "$blocked" ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Every accounting figure against an independent source, on real guests.

load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# The monitors are stopped for a moment at both ends, so that no thread is
# running when the kernel's own counters are read: those lag by up to a tick. What an
# outer host stole from this machine the kernel leaves out of a run time; we tell it apart, and the
# parts are no more than a witness has of the whole CPU.
@test "waiting and running agree with the kernel's schedstat" {
  start_record "$run_vt" --interval 100
  pids=()
  for i in 1 2 3; do
    start_guest "g$i" --workload spin --seconds 6
    pids+=("$guest_pid")
  done
  sleep 1
  kill -STOP "${pids[@]}"
  sleep 0.5
  start_witness ownsteal $((LAST_CPU + 1))
  kill -CONT "${pids[@]}"
  sleep 2
  kill -STOP "${pids[@]}"
  sleep 0.5
  ask_witness
  stop_record
  kill -CONT "${pids[@]}"
  kill "${pids[@]}"
  wait "${pids[@]}" || true
  stopped_sums >"$BATS_TEST_TMPDIR/figures"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/figures")" -eq 3 ]
  all=0
  while read -r waited delay ran run switches outer; do
    [ "$waited" -gt 1000000000 ]
    agrees "$waited" "$delay" "$switches"
    agrees "$((ran - outer))" "$run" "$switches" 2000 "$(untold_outer)"
    all=$((all + outer))
  done <"$BATS_TEST_TMPDIR/figures"
  echo "# of this host's own steal, $all ns were the guests' by our account; the witness has ${sums[0]} ns" >&3
  [ "$all" -le $((sums[0] + 30000)) ]
  # the report has of the whole recording what its rows add up to
  rows=$(sqlite3 "$run_vt" 'select coalesce(sum(steal_ns), 0) from outer_steal')
  report "$run_vt" "if .host.tells_outer_steal then [.guests[].account.outer_steal] |
    ((map(.ns) | add) - $rows | fabs) <= (map(.bound_ns) | add) else $rows == 0 end"
}

# After a wake-up that pre-empts at once the kernel's arrival carries the stamp of the
# queueing (rq_clock_skip_update()): the time in between is in its run time, and not
# in run_delay. rqclock.bpf.c finds these wake-ups by that very stamp, and sums up what
# the tracepoints have of them: the whole difference, then.
@test "of a guest that wakes often, schedstat differs by what its clock leaves out" {
  start_record "$run_vt" --interval 100
  start_guest mix --workload mix --burst-us 300 --sleep-us 400 --seconds 30
  sleep 0.5
  kill -STOP "$guest_pid"
  sleep 0.3
  start_witness rqclock "$guest_pid"
  kill -CONT "$guest_pid"
  sleep 2
  kill -STOP "$guest_pid"
  sleep 0.3
  ask_witness
  wakeups=${sums[0]} same=${sums[1]} omitted=${sums[2]}
  stop_record
  kill -CONT "$guest_pid"
  kill "$guest_pid"
  wait "$guest_pid" || true
  read -r waited delay ran run switches outer < <(stopped_sums)
  echo "# $same of $wakeups wake-ups carry one stamp twice; ours $waited, run_delay $delay, left out $omitted ns" >&3
  [ "$wakeups" -gt 1000 ]
  [ "$same" -gt 0 ]
  agrees "$((waited - omitted))" "$delay" "$switches"
  # one who goes to sleep is charged by the kernel up to there; the tracepoint comes after
  # the kernel has looked for another task to run, on other CPUs too: 2 to 4 us later
  agrees "$((ran - outer + omitted))" "$run" "$switches" 5000
}

@test "truth by schedule: a real-time hog's intervals are recovered, total and edges" {
  start_guest victim --workload gap --gap-us 500 --tick 0 --seconds 30
  "$SCHEDULE" make "$RANDOM" 4000 >"$BATS_TEST_TMPDIR/plan"
  start_record "$run_vt"
  "$SCHEDULE" hog "$BATS_TEST_TMPDIR/plan" "$LAST_CPU" >"$BATS_TEST_TMPDIR/log"
  sleep 0.3
  kill -STOP "$guest_pid" # ends its last slice
  sleep 0.2
  stop_record
  kill -CONT "$guest_pid"
  kill "$guest_pid"
  wait "$guest_pid" || true
  "$VTIME" export "$run_vt" >"$BATS_TEST_TMPDIR/slices.csv"
  # the guest's gaps on the host's clock, by a straight line through the recording's clock pairs
  sqlite3 -separator ' ' "$run_vt" "
    with a as (select * from clock_pair order by id limit 1), b as (select * from clock_pair order by id desc limit 1),
         k as (select a.at_ns as n, a.tsc_ticks as t, (b.at_ns - a.at_ns) * 1.0 / (b.tsc_ticks - a.tsc_ticks) as ns
                 from a, b),
         e as (select offset_ticks from tsc_epoch limit 1)
    select distinct k.n + cast((at_tsc - e.offset_ticks - k.t) * k.ns as int), cast(len_ticks * k.ns as int)
      from gap, k, e" >"$BATS_TEST_TMPDIR/gaps"
  run "$SCHEDULE" check "$BATS_TEST_TMPDIR/log" "$BATS_TEST_TMPDIR/slices.csv" "$BATS_TEST_TMPDIR/gaps"
  echo "# $output" >&3
  [ "$status" -eq 0 ]
}

# A gap is a wait and the way out of the guest and back in, some tens of
# microseconds; so the waits are made long, by three rivals.
@test "the guest's own gap detector and its steal counter agree with host truth" {
  start_record "$run_vt"
  pids=()
  for i in 1 2 3; do
    start_guest "rival$i" --workload spin --seconds 6
    pids+=("$guest_pid")
  done
  start_guest gap --workload gap --gap-us 500 --tick 0 --seconds 5
  wait "$guest_pid"
  stop_record
  kill "${pids[@]}"
  wait "${pids[@]}" || true
  figures=$("$VTIME" report --json "$run_vt" | jq -r '.guests[] | select(.name == "gap") | .benchmarks[0] |
    (.true.states | .PREEMPTED.ns + .WAKING.ns + .THROTTLED.ns) as $waited |
    [.gaps.sum_ns, $waited + .true.lost.ns, .believed.steal.ns, $waited, .gaps.count] | @tsv')
  echo "# gaps, stolen; steal, stolen; count: $figures" >&3
  read -r gaps away steal stolen waits <<<"$figures"
  [ "$stolen" -gt 1000000000 ]
  # what was stolen from this machine itself the guest saw, and its host did not
  outer=$(sqlite3 "$run_vt" 'select max(host_steal_ns) from observer')
  within "$gaps" "$away" "$((away / 100 + outer))"
  agrees "$steal" "$stolen" "$waits"
}

@test "an idle guest is HALTED, not stolen" {
  "$VTIME" record -q -f -o "$run_vt" -- "$VTIME" run --name idle --cpu "$LAST_CPU" --workload idle --tick 100 --seconds 2
  run report "$run_vt" '.guests[] | select(.name == "idle") | .benchmarks[0].true as $t | $t.states.HALTED.ns / $t.elapsed.ns > 0.8 and
    $t.stolen.ns / $t.elapsed.ns < 0.05'
  [ "$output" = true ]
}

@test "an io guest shows the monitor's service time as VMM" {
  start_record "$run_vt"
  start_guest io --workload io --service-us 1000 --tick 0 --seconds 3 --json
  wait "$guest_pid"
  stop_record
  cat "$BATS_TEST_TMPDIR/io.out"
  served=$(jq -e '.monitor.service_ns' "$BATS_TEST_TMPDIR/io.out")
  vmm=$(report "$run_vt" '.guests[] | select(.name == "io") | .benchmarks[0].true.states.VMM.ns')
  echo "served $served ns, VMM $vmm ns"
  within "$vmm" "$served" "$((served / 20))"
}

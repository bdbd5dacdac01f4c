#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Who held a guest back: by the ledger, and once more from a raw perf recording of the same run.
load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# start_hog CPU: a process that only computes there; its pid is in $hog_pid
start_hog() {
  setsid taskset -c "$1" awk 'BEGIN { while (1) n++ }' 3>&- &
  hog_pid=$!
}

end_hog() {
  kill "$1"
  wait "$1" || true
}

# ours FILE: victim, culprit, ns
ours() {
  "$VTIME" report --json "$1" | jq -r '.blame[] | [.victim, .culprit, .ns] | @tsv'
}

# cpus_sum FILE: on each CPU the occupants, and what was not watched, are the window; nothing is booked twice
cpus_sum() {
  "$VTIME" report --json "$1" | jq -e '.window_ns as $w | [.cpus[] | .overlap_ns == 0 and
    .vcpus.ns + .helpers.ns + .processes.ns + .kernel_threads.ns + .idle.ns + .unwatched.ns == $w] | length > 0 and all'
}

# stolen_is_owed FILE: each victim's debtors sum to what was stolen from its vCPUs
stolen_is_owed() {
  "$VTIME" report --json "$1" | jq -e '.blame as $b | [.guests[] | .name as $g |
    ([.vcpus[].states | .IRQ.ns + .PREEMPTED.ns + .WAKING.ns + .THROTTLED.ns] | add // 0) -
    ([$b[] | select(.victim == $g).ns] | add // 0)] | length > 0 and all(. == 0)'
}

# intervals_sum FILE WIDTH: the exported intervals lie side by side, and sum to the report's matrix, row by row
intervals_sum() {
  "$VTIME" export --blame="$2" "$1" >"$BATS_TEST_TMPDIR/intervals.csv"
  "$VTIME" report --json "$1" | jq -r '.blame[] | [.victim, .kind, .culprit, .ns] | @tsv' >"$BATS_TEST_TMPDIR/matrix"
  # shellcheck disable=SC2016  # awk's
  run awk -v width="$2" '
    NR == FNR { split($0, c, "\t"); want[c[1] "," c[2] "," c[3]] = c[4]; rows++; next }
    FNR == 1 { header = $0; next }
    {
      if (gsub(/"/, "") != 4 || split($0, c, ",") != 7 || c[7] == "" || c[7] + 0 > c[6] + 0) bad++
      if (c[1] < begin || c[2] - c[1] > width * 1e9 || c[6] <= 0) bad++
      if (c[1] != begin) intervals++
      begin = c[1]
      got[c[3] "," c[4] "," c[5]] += c[6]
    }
    END {
      for (r in want) if (got[r] != want[r]) { print r, "is", want[r], "in the matrix,", got[r] + 0, "by interval"; bad++ }
      for (r in got) if (!(r in want)) { print r, "is not in the matrix"; bad++ }
      print rows, "rows,", intervals, "intervals of", width, "s"
      exit !(rows > 0 && intervals > 1 && !bad && header == "begin_ns,end_ns,victim,kind,culprit,ns,elsewhere_ns")
    }' "$BATS_TEST_TMPDIR/matrix" "$BATS_TEST_TMPDIR/intervals.csv"
  echo "$output" | sed 's/^/# /' >&3
  [ "$status" -eq 0 ]
}

@test "three guests of unequal weight and a hog: the matrix is that of a raw perf sched record" {
  command -v perf >/dev/null || skip "no perf"
  start_record "$run_vt"
  perf sched record -o "$BATS_TEST_TMPDIR/perf.data" -- sleep 6 >/dev/null 2>&1 3>&- &
  perf_pid=$!
  sleep 1
  start_hog "$LAST_CPU"
  hog=$hog_pid
  pids=()
  nice=0
  for g in heavy middle light; do
    start_guest $g --workload spin --seconds 3
    weight "$guest_pid" $nice
    pids+=("$guest_pid")
    nice=$((nice + 3))
  done
  wait "${pids[@]}"
  end_hog "$hog"
  wait "$perf_pid"
  stop_record
  perf script --ns -i "$BATS_TEST_TMPDIR/perf.data" >"$BATS_TEST_TMPDIR/events" 2>/dev/null ||
    skip "perf cannot read its own recording here"
  [ -s "$BATS_TEST_TMPDIR/events" ] || skip "perf recorded no scheduler events here"
  victims=$("$VTIME" report --json "$run_vt" | jq -r '[.guests[] | .name as $n | .vcpus[] | "\(.tid)=\($n)"] | join(" ")')
  awk -v victims="$victims" -f "$BATS_TEST_DIRNAME/blame.awk" "$BATS_TEST_TMPDIR/events" >"$BATS_TEST_TMPDIR/theirs"
  ours "$run_vt" >"$BATS_TEST_TMPDIR/ours"
  run awk -F '\t' '
    NR == FNR { theirs[$1 "\t" $2] += $3; all[$1] += $3; next }
    { ours[$1 "\t" $2] += $3 }
    END {
      for (e in theirs) {
        split(e, name, "\t")
        if (name[1] !~ /^(heavy|middle|light)$/ || theirs[e] < 0.02 * all[name[1]]) continue
        d = (ours[e] - theirs[e]) / theirs[e]
        printf "%-8s %-10s ours %8.3f ms, perf %8.3f ms, %+.3f %%\n", name[1], name[2], ours[e] / 1e6, theirs[e] / 1e6, 100 * d
        n++
        if (d > 0.01 || d < -0.01) bad++
      }
      exit !(n >= 9 && !bad)
    }' "$BATS_TEST_TMPDIR/theirs" "$BATS_TEST_TMPDIR/ours"
  echo "$output" | head -n 20 | sed 's/^/# /' >&3
  [ "$status" -eq 0 ]
  stolen_is_owed "$run_vt"
  cpus_sum "$run_vt"
  intervals_sum "$run_vt" 1
  intervals_sum "$run_vt" 0.0137
}

@test "who holds a guest back by his rank is named: a real-time hog" {
  start_record "$run_vt"
  start_guest victim --workload spin --seconds 3
  sleep 0.5
  "$SCHEDULE" make 7 1000 >"$BATS_TEST_TMPDIR/plan"
  "$SCHEDULE" hog "$BATS_TEST_TMPDIR/plan" "$LAST_CPU" >"$BATS_TEST_TMPDIR/log"
  kill "$guest_pid"
  wait "$guest_pid" || true
  stop_record
  run report "$run_vt" '[.blame[] | select(.victim == "victim" and .culprit == "schedule" and .kind == "process").ns] | add'
  echo "# the hog owes $output ns" >&3
  took=$(awk '{ s += $4 - $3 } END { printf "%d", s }' "$BATS_TEST_TMPDIR/log")
  within "$output" "$took" "$((took / 100))"
  stolen_is_owed "$run_vt"
  cpus_sum "$run_vt"
}

@test "a wait that is not over has its debtor: of a recording under way, and at its end" {
  [ "$LAST_CPU" -gt 0 ] || skip "one CPU only"
  start_record "$run_vt" --interval 100
  start_guest victim --workload spin --seconds 20
  sleep 0.5
  setsid chrt -f 50 taskset -c "$LAST_CPU" awk 'BEGIN { while (1) n++ }' 3>&- & # no switch until it is throttled
  hog_pid=$!
  sleep 0.6
  "$VTIME" report --json "$run_vt" >"$BATS_TEST_TMPDIR/under-way.json"
  sleep 0.1
  stop_record
  "$VTIME" report --json "$run_vt" >"$BATS_TEST_TMPDIR/end.json"
  kill "$hog_pid"
  for at in under-way end; do
    read -r state preempted hog vms host < <(jq -r '(.guests[] | select(.name == "victim").vcpus[0]) as $v |
      [.blame[] | select(.victim == "victim")] as $b | def owed(k): [$b[] | select(.kind == k).ns] | add // 0;
      [$v.now, $v.states.PREEMPTED.ns, owed("process"), owed("vm"), owed("host")] | @tsv' "$BATS_TEST_TMPDIR/$at.json")
    echo "# $at: now $state, waited $preempted ns, owed to processes $hog, to VMs that others run $vms, to nobody known $host" >&3
    [ "$preempted" -gt 300000000 ]
    [ "$hog" -gt 300000000 ]
    [ $((hog + vms)) -gt $((preempted - 20000000)) ]
    [ "$host" -lt 20000000 ]
  done
  stolen_is_owed "$run_vt"
  cpus_sum "$run_vt"
}

@test "a victim that is moved while it waits is followed" {
  [ "$LAST_CPU" -gt 0 ] || skip "one CPU only"
  start_record "$run_vt"
  start_hog "$LAST_CPU"
  here=$hog_pid
  start_hog 0
  start_guest moved --workload spin --seconds 2
  cpu=0
  for _ in $(seq 30); do
    taskset -a -c -p $cpu "$guest_pid" >/dev/null
    cpu=$((LAST_CPU - cpu))
    sleep 0.05
  done
  wait "$guest_pid"
  end_hog "$here"
  end_hog "$hog_pid"
  stop_record
  [ "$(sqlite3 "$run_vt" 'select count(*) from move')" -gt 3 ]
  stolen_is_owed "$run_vt"
  # what nobody was seen to hold is little
  run report "$run_vt" '([.blame[] | select(.victim == "moved" and .kind == "host").ns] | add // 0) as $h |
    $h < 0.03 * ([.blame[] | select(.victim == "moved").ns] | add)'
  [ "$output" = true ]
}

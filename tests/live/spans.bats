#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Benchmarks in Linux guests that do more than compute: two processes by turns, sleeps, a
# disk, two vCPUs that meet. Each runs alone and among rivals; what the starved run would have
# taken alone is an interval, which must hold the run alone. VT_PAIRS for more than two pairs,
# VT_CPU for another CPU than the last. Idle CPUs are kept from sleeping if they can be, for what a sleep costs who wakes
# depends, on a host that is a guest itself, on the guests beside it, and the run alone with it; VT_SLEEP=1: they may.
# What is asked for is 95 % of 40 pairs and a median width of 25 %: README has the figures. Two pairs on a busy machine
# may be wider: some 30 %, and up to 58 % of a disk's were seen when campaigns had 40.
bats_require_minimum_version 1.5.0
load starving

pairs=${VT_PAIRS:-2}
cpu=${VT_CPU:-$LAST_CPU}
# shellcheck disable=SC2034  # bats reads it
[ -z "${VT_PAIRS:-}" ] || BATS_TEST_RETRIES=0 # a campaign tells all that it saw

# favour NAME POLICY: all of the guest's threads before others' work, which this machine may have, or like it
favour() {
  chrt --all-tasks "$2" --pid "$([ "$2" = --fifo ] && echo 1 || echo 0)" "$(cat "$GUESTS_DIR/$1/pid")"
}

# starve NAME: three rivals; beside them and the guest others' work, where sessions are weighed, counts little
starve() {
  local pid
  start_rivals 3 "$cpu"
  for pid in "$(cat "$GUESTS_DIR/$1/pid")" "${rivals[@]}"; do
    [ ! -w "/proc/$pid/autogroup" ] || echo -10 >"/proc/$pid/autogroup"
  done
}

# waited NAME: how long its vCPUs have waited for a CPU until now, in ns, by the host's own account
waited() {
  local task sum=0 delay
  for task in /proc/"$(cat "$GUESTS_DIR/$1/pid")"/task/*; do
    [[ $(cat "$task/comm") != 'CPU '*/* ]] || {
      read -r _ delay _ <"$task/schedstat"
      sum=$((sum + delay))
    }
  done
  echo "$sum"
}

# run_alone NAME RUN COMMAND PER_CENT: three times, for no run is like another; others use this machine: once more for each
# in which the guest waited for more than PER_CENT of the time
run_alone() {
  local before from good=0
  favour "$1" --fifo
  for _ in 1 2 3 4 5 6; do
    before=$(waited "$1") from=$(date +%s%N)
    guest_do "$1" "vtime-agent bench --name $2 -- $3" 120
    [ $((100 * ($(waited "$1") - before))) -gt $(($4 * ($(date +%s%N) - from))) ] || good=$((good + 1))
    [ "$good" -lt 3 ] || break
  done
  [ "$good" -eq 3 ] || echo "# $2: the machine was busy: $good of 6 runs alone are good" >&3
  favour "$1" --other
}

# record_guest NAME COMMAND: returns once the guest's agent is heard; the command was run once, so that
# nothing of it is new to the guest
record_guest() {
  local tries
  [ -n "${VT_SLEEP:-}" ] || keep_awake
  start_record "$run_vt" --vm "$(cat "$GUESTS_DIR/$1/pid")"
  [ "$(stays_awake)" = "${awake:-0}" ]
  guest_do "$1" "$2" 120
  for tries in $(seq 100); do
    [ "$(sqlite3 "$run_vt" "select count(*) from exchange join vm on vm.id = vm where tgid = $(cat "$GUESTS_DIR/$1/pid")" 2>/dev/null || echo 0)" -lt 5 ] || break
    sleep 0.2
  done
  [ "$tries" -lt 100 ]
}

# run_pairs NAME COMMAND [PER_CENT]: alone, starved and alone again, in turns: a machine's speed drifts. Alone the guest
# may wait for 1 %, or PER_CENT, of the time
run_pairs() {
  local i most=${3:-1}
  record_guest "$1" "$2"
  for i in $(seq "$pairs"); do
    run_alone "$1" "before-$i" "$2" "$most"
    starve "$1"
    guest_do "$1" "vtime-agent bench --name starved-$i -- $2" 240
    end_rivals
    run_alone "$1" "after-$i" "$2" "$most"
  done
}

# spans_of FILE NAME: a line per pair, in ns: the run alone (the mean of before and after, of each the median of
# the three that were held least); the starved run, its interval, what was stolen of the guest, the residual; 1 if it was
# played again; what was stolen of the runs alone, and how long they took
spans_of() {
  "$VTIME" report --json "$1" | jq -r --arg name "$2" '
    [.guests[] | select(.name == $name).benchmarks[]] as $all |
    $all[] | select(.name | startswith("starved-")) | . as $s | (.name | ltrimstr("starved-")) as $i |
    ["before-", "after-" | (. + $i) as $run | [$all[] | select(.name == $run)] | sort_by(.true.stolen.ns)[:3] |
       sort_by(.true.elapsed.ns) | .[length / 2 | floor].true] as $a |
    [([$a[].elapsed.ns] | add / 2), $s.true.elapsed.ns, $s.undilated.low_ns, $s.undilated.high_ns,
     $s.true.stolen.ns, $s.true.residual_ns,
     (if ($s.undilated.assumptions // "") | contains("are woken by") then 1 else 0 end),
     ([$a[].stolen.ns] | add), $a[].elapsed.ns] | @tsv'
}

# judge FILE NAME WHAT MISSES WIDTH: of so many per cent of the pairs (of fewer than 20: of one) the interval
# does not hold the run alone; in the median it is no wider than so many per cent of the run alone. Of those whose runs
# alone before and after are within 5 % of each other it is told apart: elsewhere the machine's own speed changed, and
# the interval is told for the same frequency and host load.
judge() {
  [ -z "${VT_KEEP:-}" ] || cp "$1" "$VT_KEEP/$3.vt"
  [ "$(stays_awake)" = "${awake:-0}" ] # to the end
  spans_of "$1" "$2" >"$BATS_TEST_TMPDIR/pairs"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/pairs")" -eq "$pairs" ]
  awk -v name="$3" -v misses="$4" -v most="$5" '
    function median(v, n,    i, j, t) {
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    function apart(a, b) { return a > b ? a / b - 1 : b / a - 1 }
    { bad += $6 != 0 || $2 < 1.2 * $1 || !$7
      inside = $3 <= $1 && $1 <= $4; held += inside; n++
      width[n] = 100 * ($4 - $3) / $1; bias[n] = 100 * (($3 + $4) / 2 / $1 - 1)
      steady = apart($9, $10) <= 0.05
      nr_steady += steady; held_steady += steady && inside
      printf "# %s %d: alone %.3f s (%.3f, %.3f; %.1f ms stolen), starved %.3f s: %.3f to %.3f s%s%s%s\n", name, NR, $1 / 1e9, $9 / 1e9, $10 / 1e9, $8 / 1e6, $2 / 1e9,
        $3 / 1e9, $4 / 1e9, inside ? "" : ", MISSED", steady ? "" : ", the machine changed", $7 ? "" : ", not played" }
    END {
      w = median(width, n); b = median(bias, n)
      printf "# %s: the run alone is contained in %d of %d (in %d of the %d before and after which the machine was the same); median width %.1f %%, median bias %+.1f %%\n", name, held, n, held_steady, nr_steady, w, b
      if (bad) exit 1
      exit !(n - held <= (n < 20 ? 1 : misses * n / 100) && w <= most)
    }' "$BATS_TEST_TMPDIR/pairs" >&3
}

# turn NAME: until that process has done its work once
turn() { guest_do spans "echo go >/run/$1.go; read -r _ </run/$1.done" 120; }

# start_turns ITERATIONS: two processes of one benchmark, each with pipes by which it is told to work
start_turns() {
  local name
  for name in first second; do
    guest_do spans "ln -s /bin/loop /run/$name; mkfifo /run/$name.go /run/$name.done"
  done
  guest_do spans "vtime-agent bench --name turns -- sh -c '/run/first turns 2 $1 /run/first.go /run/first.done >/run/first.out & /run/second turns 1 $(($1 * 2)) /run/second.go /run/second.done >/run/second.out; wait'" 240 >"$BATS_TEST_TMPDIR/bench.out" &
  bench_pid=$!
}

# judge_turns DELAY: against what the processes saw themselves (worked, in gaps, CPU charged) and what the
# host says that the vCPU waited in the second one's turn
judge_turns() {
  local name
  for name in first second; do
    "$VTIME" report --json "$run_vt" | jq -r --arg name $name '.guests[] | select(.name == "spans").benchmarks[] |
      select(.name == "turns").processes[] | select(.name == $name) |
      [.by, .of_benchmark, .true.used.ns + .true.overhead.ns, .true.stolen.ns, .on_vcpu_ns, .waited_ns] | @tsv' |
      paste - "$BATS_TEST_TMPDIR/$name.out"
  done >"$BATS_TEST_TMPDIR/processes"
  cat "$BATS_TEST_TMPDIR/processes"
  awk -v delay="$1" '
    function near(a, b, part, more) { return (a > b ? a - b : b - a) <= part * b + more }
    $1 != "bpf" || $2 != "true" { bad++ }
    { used[NR] = $3; stolen[NR] = $4; told[NR] = $5 + $6; worked[NR] = $7; gaps[NR] = $8; charged[NR] = $9
      waited[NR] = $6
      printf "# turns: the %s says %.0f ms, in gaps %.0f, CPU %.0f; vtime: on its vCPU or waiting %.0f, used %.0f, stolen %.0f ms\n",
        NR == 1 ? "first" : "second", $7 / 1e6, $8 / 1e6, $9 / 1e6, told[NR] / 1e6, $3 / 1e6, $4 / 1e6 }
    END {
      printf "# turns: the vCPU waited %.0f ms in the second one'\''s turn\n", delay / 1e6
      if (NR != 2 || bad) { print "no stretches of both"; exit 1 }
      for (i = 1; i <= 2; i++) if (!near(told[i], worked[i], 0.02, 2e7)) { print "elapsed", i; exit 1 }
      if (charged[2] < 2 * used[2]) { print "it was not starved"; exit 1 }
      # the rest was stolen while other tasks of the guest had its vCPU: that it saw as gaps, too
      if (stolen[2] > 1.02 * delay + 1e7 || stolen[2] < 0.6 * delay) { print "stolen is not what the vCPU waited"; exit 1 }
      if (!near(stolen[2] + waited[2], gaps[2], 0.05, 2e7)) { print "what it saw is not what it lost"; exit 1 }
      if (stolen[1] > 0.03 * stolen[2] || gaps[1] > 0.05 * gaps[2]) { print "the first one lost time"; exit 1 }
      if (!near(used[2], used[1], 0.2, 0)) { print "not the same work"; exit 1 }
    }' "$BATS_TEST_TMPDIR/processes" >&3
}

@test "TCG: two processes by turns, of which only one is starved, lose what each has lost" {
  local before delay
  start_tcg_guest spans --cpu "$cpu" --agent '--tasks'
  record_guest spans 'loop 10000000'
  start_turns 150000000
  favour spans --fifo
  turn first
  favour spans --other
  starve spans
  before=$(waited spans)
  turn second
  delay=$(($(waited spans) - before))
  end_rivals
  favour spans --fifo
  turn first
  favour spans --other
  wait "$bench_pid"
  for name in first second; do guest_do spans "cat /run/$name.out" >"$BATS_TEST_TMPDIR/$name.out"; done
  stop_record
  [ -z "${VT_KEEP:-}" ] || cp "$run_vt" "$VT_KEEP/turns.vt"
  judge_turns "$delay"
}

@test "TCG: work and sleep" {
  start_tcg_guest spans --cpu "$cpu" --agent '--tasks'
  run_pairs spans 'loop sleepwork 100 1500000 5000'
  stop_record
  judge "$run_vt" spans sleepwork 5 25
}

@test "TCG: work and a disk" {
  start_tcg_guest spans --cpu "$cpu" --agent '--tasks' --disk 64
  # its monitor's own threads, and its CPU if that slept, hold it alone, too: for 1 to 2.5 %
  run_pairs spans 'loop disk 150 1000000 /dev/vda' 3
  stop_record
  judge "$run_vt" spans disk 5 45
}

@test "TCG: two vCPUs that meet, one of which is starved" {
  [ "$(nproc)" -gt 1 ] || skip "needs two CPUs"
  start_tcg_guest spans --smp 2 --cpu "$cpu,$(((cpu + 1) % $(nproc)))" --agent '--tasks'
  run_pairs spans 'loop barrier 150 1500000'
  stop_record
  judge "$run_vt" spans barrier 5 30
}

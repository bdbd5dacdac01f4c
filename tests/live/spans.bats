#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Benchmarks in Linux guests that do more than compute: two processes by turns, sleeps, a
# disk, two vCPUs that meet. Each runs alone and among rivals; what the starved run would have
# taken alone is an interval, which must hold the run alone. VT_PAIRS for more than two pairs,
# VT_CPU for another CPU than the last.
bats_require_minimum_version 1.5.0
load helpers
load ../guests/guests

pairs=${VT_PAIRS:-2}
cpu=${VT_CPU:-$LAST_CPU}
[ -z "${VT_PAIRS:-}" ] || BATS_TEST_RETRIES=0 # a campaign tells all that it saw

setup_file() {
  guests_image
}

teardown_file() { end_guests; }

setup() {
  needs_root
  guests_needed
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

teardown() {
  end_rivals
  end_guests
  end_children
}

# favour NAME POLICY: all of the guest's threads before others' work, which this machine may have, or like it
favour() {
  chrt --all-tasks "$2" --pid "$([ "$2" = --fifo ] && echo 1 || echo 0)" "$(cat "$GUESTS_DIR/$1/pid")"
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

# run_alone NAME I COMMAND: others use this machine: once more, and again, where they held the guest
# for more than 1 % of the run
run_alone() {
  local before from
  favour "$1" --fifo
  for _ in 1 2 3; do
    before=$(waited "$1") from=$(date +%s%N)
    guest_do "$1" "vtime-agent bench --name alone-$2 -- $3" 120
    [ $((100 * ($(waited "$1") - before))) -gt $(($(date +%s%N) - from)) ] || break
  done
  favour "$1" --other
}

# record_guest NAME COMMAND: returns once the guest's agent is heard; the command was run once, so that
# nothing of it is new to the guest
record_guest() {
  local tries
  start_record "$run_vt"
  guest_do "$1" "$2" 120
  for tries in $(seq 100); do
    [ "$(sqlite3 "$run_vt" 'select count(*) from exchange' 2>/dev/null || echo 0)" -lt 5 ] || break
    sleep 0.2
  done
  [ "$tries" -lt 100 ]
}

# run_pairs NAME COMMAND: alone and starved, in turns
run_pairs() {
  local i
  record_guest "$1" "$2"
  for i in $(seq "$pairs"); do
    run_alone "$1" "$i" "$2"
    start_rivals 3 "$cpu"
    guest_do "$1" "vtime-agent bench --name starved-$i -- $2" 240
    end_rivals
  done
}

# spans_of FILE NAME: a line per pair, in ns: the run alone (of several the one that was held least);
# the starved run, its interval, what was stolen of the guest, the residual; 1 if it was played again
spans_of() {
  "$VTIME" report --json "$1" | jq -r --arg name "$2" '
    [.guests[] | select(.name == $name).benchmarks[]] as $all |
    $all[] | select(.name | startswith("starved-")) | . as $s | (.name | ltrimstr("starved-")) as $i |
    ([$all[] | select(.name == "alone-" + $i)] | min_by(.true.stolen.ns)) as $a |
    [$a.true.elapsed.ns, $s.true.elapsed.ns, $s.undilated.low_ns, $s.undilated.high_ns,
     $s.true.stolen.ns, $s.true.residual_ns,
     (if ($s.undilated.assumptions // "") | contains("are woken by") then 1 else 0 end), $a.true.stolen.ns] | @tsv'
}

# judge FILE NAME WHAT MISSES WIDTH: at most so many of 40 intervals do not hold the run alone, and their
# median is no wider than so much of the run alone
judge() {
  [ -z "${VT_KEEP:-}" ] || cp "$1" "$VT_KEEP/$3.vt"
  spans_of "$1" "$2" >"$BATS_TEST_TMPDIR/pairs"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/pairs")" -eq "$pairs" ]
  awk -v name="$3" -v misses="$4" -v most="$5" '
    function median(v, n,    i, j, t) {
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    { inside = $3 <= $1 && $1 <= $4; held += inside; bad += $6 != 0 || $2 < 1.2 * $1 || !$7
      width[NR] = 100 * ($4 - $3) / $1; bias[NR] = 100 * (($3 + $4) / 2 / $1 - 1)
      printf "# %s %d: alone %.3f s (%.1f ms stolen), starved %.3f s: %.3f to %.3f s%s%s\n", name, NR, $1 / 1e9, $8 / 1e6, $2 / 1e9,
        $3 / 1e9, $4 / 1e9, inside ? "" : ", MISSED", $7 ? "" : ", not played" }
    END {
      w = median(width, NR); b = median(bias, NR)
      printf "# %s: the run alone is contained in %d of %d; median width %.1f %%, median bias %+.1f %%\n", name, held, NR, w, b
      exit !(bad == 0 && 40 * (NR - held) <= misses * (NR > 40 ? NR : 40) && w <= most)
    }' "$BATS_TEST_TMPDIR/pairs" >&3
}

@test "TCG: work and sleep" {
  start_tcg_guest tcg --cpu "$cpu" --agent '--tasks'
  run_pairs tcg 'loop sleepwork 100 1500000 5000'
  stop_record
  judge "$run_vt" tcg sleepwork 2 25
}

@test "TCG: work and a disk" {
  start_tcg_guest tcg --cpu "$cpu" --agent '--tasks' --disk 64
  run_pairs tcg 'loop disk 150 1000000 /dev/vda'
  stop_record
  judge "$run_vt" tcg disk 2 25
}

@test "TCG: two vCPUs that meet, one of which is starved" {
  [ "$(nproc)" -gt 1 ] || skip "needs two CPUs"
  start_tcg_guest tcg --smp 2 --cpu "$cpu,$(((cpu + 1) % $(nproc)))" --agent '--tasks'
  run_pairs tcg 'loop barrier 150 1500000'
  stop_record
  judge "$run_vt" tcg barrier 2 25
}

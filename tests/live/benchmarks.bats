#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The user's moment of truth: a fixed loop in a Linux guest, alone and beside three rivals on
# its CPU. The guest believes that it used several times as much; vtime says what it really
# used and what it would have taken alone. VT_PAIRS for more than three pairs, VT_RUNS for
# more than one run alone before and after each, VT_CONTROL=1 for the same loop outside any guest in
# between, by the kernel's own account: so much more it uses when it is held, and so far this
# machine's speed drifts.
# What is asked for is 1 % of the CPU used and 3 % of the time alone, in the median of five runs on a quiet
# machine. Here are three, beside whatever else the machine does: what the others do to its caches and its
# clock the loop really uses, alone and starved, and no account can tell it from work (a loop outside any guest takes
# up to 2 % more or less from one run to the next).
bats_require_minimum_version 1.5.0
load starving

pairs=${VT_PAIRS:-3}
runs=${VT_RUNS:-1}

# start_tcg_guest_in_time NAME OPTION…: whose clock keeps step. On a busy machine its kernel may measure the TSC
# wrongly under emulation (13 times too slow was seen): all its timers come so much too often then.
start_tcg_guest_in_time() {
  for _ in $(seq 5); do
    start_tcg_guest "$@"
    ! keeps_step "$1" || return 0
    echo "# $1: its clock does not keep step: booted again" >&3
    end_guest "$1"
  done
  return 1
}

# keeps_step NAME: by a quarter, as commands take their time, too
keeps_step() {
  local from to begin=$EPOCHREALTIME
  from=$(guest_do "$1" 'cut -d" " -f1 /proc/uptime')
  sleep 2
  to=$(guest_do "$1" 'cut -d" " -f1 /proc/uptime')
  awk -v guest="$to $from" -v host="$EPOCHREALTIME $begin" '
    BEGIN { split(guest, g); split(host, h); r = (g[1] - g[2]) / (h[1] - h[2]); exit !(r > 0.75 && r < 1.25) }'
}

# control NAME: the loop outside any guest: "NAME USER SYSTEM", in s
control() {
  local TIMEFORMAT="$1 %U %S"
  [ -z "${VT_CONTROL:-}" ] ||
    { time setsid -w taskset -c "$LAST_CPU" "$guests_repo/build/guests/bin/loop" 800000000 2>/dev/null; } 2>>"$BATS_TEST_TMPDIR/control"
}

# run_alone NAME ITERATIONS I
run_alone() {
  local i
  for i in $(seq "$runs"); do
    guest_do "$1" "vtime-agent bench --name alone-$3 -- loop $2" 120
    control "alone-$3"
  done
}

# run_pairs NAME ITERATIONS: the loop alone and starved, in turns, and alone at the end: a machine's speed drifts
run_pairs() {
  local i
  run_alone "$1" "$2" 0
  for i in $(seq "$pairs"); do
    start_rivals 3 "$LAST_CPU"
    guest_do "$1" "vtime-agent bench --name starved-$i -- loop $2" 240
    control "starved-$i"
    end_rivals
    run_alone "$1" "$2" "$i"
  done
}

# pairs_of FILE NAME: a line per pair, in ns: what the guest charged alone (the median of before and after) and
# starved; what the benchmark really used, alone and starved (its own: the guest's other programs, its ticks and
# the agent have as much more to do as it takes longer); undilated low and high, alone and starved; residual
pairs_of() {
  "$VTIME" report --json "$1" | jq -r --arg name "$2" --argjson runs "$runs" '
    def middle(of): [.[] | of] | sort | (.[length / 2 | floor] + .[(length - 1) / 2 | floor]) / 2;
    [.guests[] | select(.name == $name).benchmarks[]] as $all |
    $all[] | select(.name | startswith("starved-")) | . as $s | (.name | ltrimstr("starved-") | tonumber) as $i |
    [$all[] | select(.name == "alone-\($i - 1)" or .name == "alone-\($i)")] | select(length == 2 * $runs) |
    [middle(.run.user_ns + .run.system_ns), $s.run.user_ns + $s.run.system_ns, middle(.true.own_used.ns), $s.true.own_used.ns,
     middle(.undilated.low_ns), middle(.undilated.high_ns), $s.undilated.low_ns, $s.undilated.high_ns, $s.true.residual_ns] | @tsv'
}

# judge_control: how much more the loop outside used among rivals than alone, before and after
judge_control() {
  [ ! -s "$BATS_TEST_TMPDIR/control" ] || awk -v pairs="$pairs" -v runs="$runs" '
    { used[$1] += ($2 + $3) / ($1 ~ /alone/ ? runs : 1) }
    END {
      for (i = 1; i <= pairs; i++)
        printf "# outside, %d: used %+.2f %%\n", i, 200 * used["starved-" i] / (used["alone-" i - 1] + used["alone-" i]) - 100
    }' "$BATS_TEST_TMPDIR/control" >&3
}

# judge FILE NAME: medians over the pairs: by how much the guest's own word grew, and ours
judge() {
  [ -z "${VT_KEEP:-}" ] || cp "$1" "$VT_KEEP/$2.vt"
  pairs_of "$1" "$2" >"$BATS_TEST_TMPDIR/pairs"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/pairs")" -eq "$pairs" ]
  judge_control
  awk -v name="$2" '
    function median(v, n,    i, j, t) {
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    { alone = ($5 + $6) / 2; starved = ($7 + $8) / 2
      believed[NR] = $2 / $1; used[NR] = $4 / $3; undilated[NR] = starved / alone; width[NR] = ($8 - $7) / starved
      bad += $9 != 0
      printf "# %s %d: charged x %.2f, used %+.2f %%, undilated %+.2f %%, interval +-%.2f %%\n", name, NR, believed[NR],
        100 * (used[NR] - 1), 100 * (undilated[NR] - 1), 50 * width[NR] }
    END {
      b = median(believed, NR); u = 100 * (median(used, NR) - 1); e = 100 * (median(undilated, NR) - 1); w = 100 * median(width, NR)
      printf "# %s: in the median the guest charged %.2f times as much; used %+.2f %%, undilated %+.2f %%, interval %.2f %% wide\n",
        name, b, u, e, w
      exit !(bad == 0 && b > 2 && u < 3 && u > -3 && e < 5 && e > -5 && w < 8)
    }' "$BATS_TEST_TMPDIR/pairs" >&3
}

@test "TCG: a starved loop used what it used alone, and would have taken as long" {
  start_tcg_guest_in_time tcg --cpu "$LAST_CPU" --agent '--tasks'
  pin_guest tcg "$LAST_CPU"
  start_record "$run_vt"
  run_pairs tcg 700000000
  stop_record
  judge "$run_vt" tcg
}

@test "UML: the same" {
  start_uml_guest uml --cpu "$LAST_CPU"
  start_record "$run_vt" --agent "uml=unix:$GUESTS_DIR/uml/agent"
  run_pairs uml 800000000
  stop_record
  judge "$run_vt" uml
}

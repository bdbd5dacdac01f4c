#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What a benchmark would have taken alone, against the same work alone: one guest
# does it over and over, its rivals are stopped and let go in turn, and each
# disturbed run is held against the undisturbed ones just before and after it.
# This machine's own pace changes by per cents within seconds: hence many pairs,
# medians, and an error bar of the pairs themselves.
load helpers

setup_file() {
  [ "$(id -u)" -eq 0 ] && [ -e /dev/kvm ] || return 0
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
  export RUN=$BATS_FILE_TMPDIR/run.vt PAIRS=$BATS_FILE_TMPDIR/pairs
  start_record "$RUN"
  local rivals=() i subject
  for i in 1 2 3; do
    start_guest "rival-$i" --seconds 600 --log-hz 0
    rivals+=("$guest_pid")
  done
  start_guest subject --work 60000000 --repeat 130
  subject=$guest_pid
  while kill -0 "$subject" 2>/dev/null; do
    kill -STOP "${rivals[@]}"
    sleep 0.2
    kill -CONT "${rivals[@]}"
    sleep 0.55
  done
  kill -TERM "${rivals[@]}"
  wait "${rivals[@]}" "$subject"
  stop_record
  # each run: its dilation by others, time without delays (interrupts hit it alone as well), and the interval without what
  # may have been this machine's own steal: that hits the runs alone as well
  "$VTIME" report --json "$RUN" | jq -r '.guests[] | select(.name == "subject").benchmarks[] |
    (.true.elapsed.ns - .true.stolen.ns + .true.states.IRQ.ns - .true.stalled.ns) as $own |
    [.true.elapsed.ns / $own, $own, .undilated.low_ns + .undilated.outer_steal_ns, .undilated.high_ns] | @tsv' >"$PAIRS.runs"
  pairs "$PAIRS.runs" >"$PAIRS"
  echo "# $(median 1) to $(median 2) % of the run alone, no correction: $(median 3) %; ± $(spread) % of $(wc -l <"$PAIRS") pairs" >&3
}

setup() {
  needs_kvm
}

# pairs FILE: of each disturbed run, in per cent of the mean of the nearest runs alone
# before and after it: low, high, and what is left without the delays
pairs() {
  awk '{ dilation[NR] = $1; own[NR] = $2; low[NR] = $3; high[NR] = $4 }
    END {
      for (i = 1; i <= NR; i++) {
        if (dilation[i] < 3) continue
        for (b = i - 1; b >= 1 && dilation[b] >= 1.02; b--);
        for (a = i + 1; a <= NR && dilation[a] >= 1.02; a++);
        if (b < 1 || a > NR) continue
        alone = (own[b] + own[a]) / 2
        print 100 * low[i] / alone - 100, 100 * high[i] / alone - 100, 100 * own[i] / alone - 100
      }
    }' "$1"
}

# median COLUMN: of the pairs
median() {
  awk -v c="$1" '{ print $c }' "$PAIRS" | sort -g | awk '{ v[NR] = $1 } END { printf "%.2f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# spread: the standard error of such a median
spread() {
  awk '{ n++; s += $3; q += $3 * $3 } END { printf "%.2f", (n > 1) ? 1.25 * sqrt((q - s * s / n) / (n - 1) / n) : 100 }' "$PAIRS"
}

@test "runs alone and runs with three rivals alternate" {
  [ "$(wc -l <"$PAIRS")" -ge 15 ]
  awk '$1 >= 3 { n++ } $1 < 1.02 { alone++ } END { exit !(n >= 15 && alone >= 15) }' "$PAIRS.runs"
}

@test "the undilated interval holds the run alone, its middle within 2 %, at most 2 % wide" {
  [ "$(wc -l <"$PAIRS")" -ge 15 ]
  awk -v s="$(spread)" 'BEGIN { exit !(s <= 1) }' ||
    skip "this machine's pace is not steady enough: $(spread) % is the error of $(wc -l <"$PAIRS") pairs"
  echo "$(median 1) to $(median 2) % of the run alone, ± $(spread) %"
  awk -v l="$(median 1)" -v h="$(median 2)" -v s="$(spread)" 'BEGIN {
    m = (l + h) / 2; if (m < 0) m = -m
    exit !(l <= 2 * s && h >= -2 * s && m <= 2 && h - l <= 2) }'
}

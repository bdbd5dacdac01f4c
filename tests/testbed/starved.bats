#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# A Debian Linux guest under QEMU with -accel kvm, alone and starved by three rivals on its
# CPU: its benchmarks put right, and its clock by messages beside KVM's own word.
# On a machine whose time is what its CPU has done (--icount): what else runs outside
# changes nothing. VT_PAIRS for more than three pairs.
bats_require_minimum_version 1.5.0
load testbed
load ../guests/guests

pairs=${VT_PAIRS:-3}

# Runs inside. Limits are the testbed's own: idle, its time passes much faster than ours.
inside() {
  local i recorder
  GUESTS_DIR=/tmp/guests
  GUEST_BOOT_SECONDS=3600
  . "$1/tests/guests/guests.bash"
  cd /out || exit 1
  start_kvm_guest one --agent --tasks || exit 1
  mkfifo /tmp/ready
  "$1/build/bin/vtime" record -q -o one.vt --ready-fd 9 9>/tmp/ready &
  recorder=$!
  read -r -n 1 _ </tmp/ready
  sleep 12
  for i in $(seq "$2"); do
    guest_do one "vtime-agent bench --name alone-$i -- loop 50000000" 3600
    start_rivals 3 0
    guest_do one "vtime-agent bench --name starved-$i -- loop 50000000" 3600
    end_rivals
  done
  kill -INT $recorder
  wait $recorder
  end_guests
}

setup_file() {
  guests_image
  [ ! -e "$GUESTS_DIR/image.err" ] || return 0
  testbed_run --icount --timeout $((600 + 60 * pairs)) -- bash -c "$(declare -f inside); inside '$testbed_repo' $pairs"
  [ ! -e "$result/out/one.vt" ] || "$vtime" report --json "$result/out/one.vt" >"$result/report"
}

setup() {
  guests_needed
  testbed_needed
}

# runs_of: a line per pair, in ns, alone and starved each: CPU time that the guest charged; what the
# loop's process really used, overhead included; undilated low, high; and the residuals
runs_of() {
  jq -r '
    def loop: [.processes[] | select(.name == "loop" and .by == "bpf").true | .used.ns + .overhead.ns] | add;
    [.guests[] | select(.name == "one").benchmarks[]] as $all |
    $all[] | select(.name | startswith("alone")) | . as $a | (.name | ltrimstr("alone-")) as $i |
    ($all[] | select(.name == "starved-" + $i)) as $s |
    [$a, $s | .run.user_ns + .run.system_ns, loop, .undilated.low_ns, .undilated.high_ns, .true.residual_ns] | @tsv' "$result/report"
}

@test "starved by three rivals a loop used what it used alone, and would have taken as long, within 5 %" {
  runs_of >"$BATS_TEST_TMPDIR/pairs"
  cat "$BATS_TEST_TMPDIR/pairs"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/pairs")" -eq "$pairs" ]
  [ "$(awk 'NF != 10 || $5 != 0 || $10 != 0' "$BATS_TEST_TMPDIR/pairs")" = '' ]
  awk '
    function median(v, n,    i, j, t) {
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
      return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    { charged[NR] = $6 / $1; used[NR] = 100 * ($7 / $2 - 1); undilated[NR] = 100 * (($8 + $9) / ($3 + $4) - 1)
      width[NR] = 100 * ($9 - $8) / ($8 + $9) }
    END {
      c = median(charged, NR); u = median(used, NR); e = median(undilated, NR); w = median(width, NR)
      printf "# medians of %d pairs: charged x %.2f, used %+.2f %% (%+.2f to %+.2f), undilated %+.2f %% (%+.2f to %+.2f), interval +-%.2f %%\n",
        NR, c, u, used[1], used[NR], e, undilated[1], undilated[NR], w
      exit !(c > 2 && u < 5 && u > -5 && e < 5 && e > -5 && w < 10)
    }' "$BATS_TEST_TMPDIR/pairs" >&3
}

# clocks FILTER [REPORT-OPTION…]: of what the report says of the guest's clocks
clocks() {
  local filter=$1
  shift
  "$vtime" report --json "$@" "$result/out/one.vt" | jq -er ".guests[] | select(.name == \"one\").clocks[-1] | $filter"
}

by_messages='.methods[] | select(.method == "messages")'

@test "the map by messages over virtio-serial keeps its bound beside KVM's own, starved too" {
  clocks '.method == "kvm-offset" and .exchanges.count >= 60 and .residual.samples >= 150'
  clocks '.residual | "# off by \(.median_ns / 1000) us in the median, \(.max_ns / 1000) us at most, inside the bound in \(.inside) of \(.samples)"' >&3
  clocks '.residual.inside >= 0.99 * .residual.samples'
}

@test "its bound is 200 us at most when the guest is not starved, and that of KVM's own 1 us" {
  clocks "$by_messages | \"# by messages +-\\(.bound_median_ns / 1000) us in the median, +-\\(.bound_max_ns / 1000) us at most\"" --window 2,12 >&3
  clocks "$by_messages | .usable and .bound_median_ns <= 200000" --window 2,12
  clocks '.methods[] | select(.method == "kvm-offset") | "# by the offset +-\(.bound_median_ns) ns in the median, +-\(.bound_max_ns) ns at most"' >&3
  clocks '.methods[] | select(.method == "kvm-offset") | .samples > 0 and .bound_max_ns <= 1000'
}

# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For *.bats here: one boot per file, in setup_file; the tests look at its results.
testbed_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
testbed_repo=$(cd "$testbed_dir/../.." && pwd -P)
# shellcheck disable=SC2034  # for the tests
vtime=${VTIME:-$testbed_repo/build/bin/vtime}

# testbed_run [OPTION…] -- COMMAND…: boots once and runs COMMAND. Its streams are
# then in $result/stdout and $result/stderr, what it put into /out is in $result/out.
# Returns its code; where no testbed is to be had, notes why and returns 0, and
# testbed_needed skips the tests.
testbed_run() {
  local code try
  # 125 is a failure of the testbed itself, such as a machine that stops dead with its
  # own time limit for the command. The one cause known, in QEMU's threads, is kept out
  # (README.md); a shared machine may still be too slow to end in time. So 125 is tried
  # again, and each such boot shown.
  # A command that hangs or fails has a code of its own and is not run again.
  for try in 1 2 3; do
    code=0
    rm -rf "$result/out"
    mkdir -p "$result/out"
    "$testbed_dir/testbed.sh" run --out "$result/out" "$@" >"$result/stdout" 2>"$result/stderr" 3>&- || code=$?
    if [ $code -ne 125 ] || [ $try -eq 3 ]; then break; fi
    sed 's/^/# failed boot: /' "$result/stderr" >&3
  done
  if [ $code -eq 77 ]; then
    tail -n 1 "$result/stderr" >"$result/skip"
    return 0
  fi
  [ $code -ne 125 ] || cat "$result/stderr" >&2
  echo $code >"$result/code"
  return $code
}

# held_by_quota VTIME [RIVAL]: inside. Three recordings of a guest that gets 30 % of its CPU: held while it runs, for
# what the monitor's own begin and end cost is not the vCPU's; RIVAL: beside another guest. Three: where
# the emulation lets a period slip, cpu.stat may count one more.
held_by_quota() {
  local i
  for i in 1 2 3; do
    mkdir /sys/fs/cgroup/held$i
    echo '30000 100000' >/sys/fs/cgroup/held$i/cpu.max
    "$1" record -q -o held$i.vt -- bash -c "
      ${2:+$1 run --name rival --cpu 1 --workload spin --seconds 60 & rival=\$!}
      taskset -c 1 $1 run --name held --workload spin --seconds 60 &
      guest=\$!
      sleep 1.5
      echo \$guest >/sys/fs/cgroup/held$i/cgroup.procs
      sleep 4
      kill -STOP \$guest
      sleep 0.5
      grep throttled_usec /sys/fs/cgroup/held$i/cpu.stat >throttled$i
      kill -KILL \$guest \$rival
      wait" >held$i.out 2>&1
    "$1" report --json held$i.vt >held$i.json
  done
}

# throttled_as_told LEAST: of those three, the THROTTLED of two is cpu.stat's to 2 %, each of more than LEAST ns
throttled_as_told() {
  local i ours theirs near=0
  for i in 1 2 3; do
    cat "$result/out/held$i.out"
    ours=$(jq '[.guests[] | select(.name == "held").vcpus[].states.THROTTLED.ns] | add' "$result/out/held$i.json")
    theirs=$(awk '{ printf "%.0f", $2 * 1000 }' "$result/out/throttled$i")
    [ "$theirs" -gt "$1" ] || return
    ! close "$ours" "$theirs" $((theirs / 50)) || near=$((near + 1))
  done
  [ "$near" -ge 2 ]
}

# close A B TOLERANCE
close() {
  echo "# ours $1 ns, theirs $2 ns, $3 allowed" >&3
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a > b ? a - b : b - a; exit d > t }'
}

# testbed_needed: for setup()
testbed_needed() {
  [ ! -e "$result/skip" ] || skip "$(cat "$result/skip")"
}

result=$BATS_FILE_TMPDIR

# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Shared by the live tests: real guests on this machine.

VTIME=${VTIME:-$BATS_TEST_DIRNAME/../../build/bin/vtime}
SCHEDULE=$BATS_TEST_DIRNAME/../../build/tests/live/schedule
# shellcheck disable=SC2034  # for the tests
RQCLOCK=$BATS_TEST_DIRNAME/../../build/tests/live/rqclock
LAST_CPU=$(($(nproc) - 1))

needs_root() {
  [ "$(id -u)" -eq 0 ] || skip "needs root"
}

needs_kvm() {
  needs_root
  [ -e /dev/kvm ] || skip "no /dev/kvm"
}

# start_guest NAME ARGS…: a guest in its own session; its pid is in $guest_pid
start_guest() {
  local name=$1
  shift
  VTIME_AGENT=unix:$BATS_TEST_TMPDIR/agent setsid "$VTIME" run --name "$name" --cpu "$LAST_CPU" "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>&1 3>&- &
  guest_pid=$!
}

# weight PID NICE: of a guest just started, and of its session where autogroup weighs
# sessions; before it has one of its own, that would be ours
weight() {
  local tries
  for tries in $(seq 100); do
    [ "$(ps -o sid= -p "$1" | tr -d ' ')" != "$1" ] || break
    sleep 0.02
  done
  [ "$tries" -lt 100 ]
  renice -n "$2" -p "$1" >/dev/null
  [ ! -w "/proc/$1/autogroup" ] || echo "$2" >"/proc/$1/autogroup"
}

# start_record FILE ARGS…: returns once recording; its pid is in $record_pid
start_record() {
  local file=$1 fifo=$BATS_TEST_TMPDIR/ready.$RANDOM
  shift
  mkfifo "$fifo"
  "$VTIME" record -f -q -o "$file" --agent-socket "$BATS_TEST_TMPDIR/agent" --ready-fd 9 "$@" 9>"$fifo" 3>&- &
  record_pid=$!
  read -r -n 1 _ <"$fifo"
  rm -f "$fifo"
}

stop_record() {
  kill -INT "$record_pid"
  wait "$record_pid"
}

# report FILE FILTER: a figure of the JSON report
report() {
  "$VTIME" report --json "$1" | jq -e "$2"
}

# within A B TOLERANCE: |A - B| <= TOLERANCE
within() {
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; if (d > t) { print a, "is not within", t, "of", b; exit 1 } }'
}

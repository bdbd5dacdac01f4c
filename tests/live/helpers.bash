# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Shared by the live tests: real guests on this machine.

VTIME=${VTIME:-$BATS_TEST_DIRNAME/../../build/bin/vtime}
SCHEDULE=$BATS_TEST_DIRNAME/../../build/tests/live/schedule
LIVE=${SCHEDULE%/*}
LAST_CPU=$(($(nproc) - 1))

# They measure on a machine that others share, who may start VMs and collectors of
# their own: what fails is measured again, and it is said.
# shellcheck disable=SC2034  # bats reads it
BATS_TEST_RETRIES=2

# tell_failed_try: bats itself shows what the last one said, and nothing of those before it
tell_failed_try() {
  echo "# try ${BATS_TEST_TRY_NUMBER:-1} of $((BATS_TEST_RETRIES + 1)) failed: $BATS_TEST_DESCRIPTION"
  [ ! -r "${BATS_OUT:-}" ] || tail -n 12 "$BATS_OUT" | sed 's/^/#   /'
}

# end_children: whatever the test left in the background, stopped or not; a failed one leaves much
end_children() {
  local pid
  [ -n "${BATS_TEST_COMPLETED:-}" ] || tell_failed_try >&3
  for pid in $(jobs -p); do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

teardown() { end_children; }

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

# vcpu_thread PID: the thread of its only vCPU, once it is there
vcpu_thread() {
  local comm tries
  for tries in $(seq 250); do
    comm=$(grep -ls '\(:\|/\)vcpu0$' "/proc/$1"/task/*/comm) && break
    sleep 0.02
  done
  [ "$tries" -lt 250 ]
  comm=${comm%/comm}
  echo "${comm##*/}"
}

# start_witness NAME WHOM: NAME.bpf.c over a process, thread or CPU, attached on return
start_witness() {
  mkfifo "$BATS_TEST_TMPDIR/witness.stop" "$BATS_TEST_TMPDIR/witness.sums"
  "$LIVE/witness" "$LIVE/$1.bpf.o" "$2" <"$BATS_TEST_TMPDIR/witness.stop" >"$BATS_TEST_TMPDIR/witness.sums" 3>&- &
  witness_pid=$!
  exec 7>"$BATS_TEST_TMPDIR/witness.stop" 8<"$BATS_TEST_TMPDIR/witness.sums"
  read -r -u 8 _
}

# ask_witness: ends it; its three sums are in $sums
ask_witness() {
  exec 7>&-
  # shellcheck disable=SC2034  # for the tests
  read -r -a sums -u 8
  exec 8<&-
  wait "$witness_pid"
}

# report FILE FILTER: a figure of the JSON report
report() {
  "$VTIME" report --json "$1" | jq -e "$2"
}

# within A B TOLERANCE: |A - B| <= TOLERANCE
within() {
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; if (d > t) { print a, "is not within", t, "of", b; exit 1 } }'
}

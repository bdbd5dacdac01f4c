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
  rm -f "$BATS_TEST_TMPDIR"/witness.{stop,sums}
}

# report FILE FILTER: a figure of the JSON report
report() {
  "$VTIME" report --json "$1" | jq -e "$2"
}

# within A B TOLERANCE: |A - B| <= TOLERANCE
within() {
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; if (d > t) { print a, "is not within", t, "of", b; exit 1 } }'
}

# agrees OURS THEIRS SWITCHES [NS [MORE]]: within 0.1 %, 1 ms or 2 us (NS) per switch, whichever
# is largest, and MORE
agrees() {
  awk -v a="$1" -v b="$2" -v n="$3" -v each="${4:-2000}" -v more="${5:-0}" 'BEGIN {
    t = 0.001 * b; if (t < 1e6) t = 1e6; if (t < each * n) t = each * n
    t += more
    d = a > b ? a - b : b - a
    printf "ours %.6f s, theirs %.6f s, off by %.1f us, allowed %.1f us\n", a / 1e9, b / 1e9, d / 1e3, t / 1e3
    exit d > t }'
}

# stopped_sums [GUEST]: a line per vCPU, of all guests or that one, between the first and the last checkpoint in which it was
# stopped: waited, run_delay, ran, schedstat's run time, switches, this host's own steal in what it ran
stopped_sums() {
  sqlite3 -separator ' ' "$run_vt" "
    with s as (select c.*, preempted_ns + waking_ns + throttled_ns as waited,
                      guest_ns + kvm_ns + vmm_ns + run_ns + poll_ns + irq_ns as ran
                 from checkpoint c join code on code.kind = 'state' and code.value = c.state
                 join vcpu v on v.id = c.vcpu join vm on vm.id = v.vm
                where code.name = 'STOPPED' and proc_at_ns > 0 and vm.name like '${1:-%}')
    select max(waited) - min(waited), max(proc_run_delay_ns) - min(proc_run_delay_ns),
           max(ran) - min(ran), max(proc_run_ns) - min(proc_run_ns), max(switches) - min(switches),
           (select coalesce(sum(steal_ns), 0) from outer_steal o
             where o.vcpu = s.vcpu and o.from_ns >= min(s.at_ns) and o.to_ns <= max(s.at_ns))
      from s group by vcpu"
}

# untold_outer: of this host's own steal, how much each vCPU's may lack: what is not told yet, or where it is
# told of none, all that the witness ownsteal has
untold_outer() {
  if [ "$(sqlite3 "$run_vt" "select value from meta where key = 'tells_outer_steal'")" = 1 ]; then
    echo 10000
  else
    echo "${sums[0]}"
  fi
}

# quota_group: a cgroup with 30 ms of CPU in each 100 ms
quota_group() {
  local v1
  v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)cpu(,|$)/ { print $2; exit }' /proc/mounts)
  if [ -n "$v1" ]; then
    group=$v1/vtime-live-$$
    mkdir "$group"
    echo 100000 >"$group/cpu.cfs_period_us"
    echo 30000 >"$group/cpu.cfs_quota_us"
  else
    grep -qw cpu /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || skip "no cgroup with the cpu controller"
    group=/sys/fs/cgroup/vtime-live-$$
    mkdir "$group"
    echo 30000 100000 >"$group/cpu.max"
  fi
}

# throttled_ns: by the cgroup's own account
throttled_ns() {
  awk '$1 == "throttled_time" { print $2 } $1 == "throttled_usec" { print $2 * 1000 }' "$group/cpu.stat"
}

# keep_awake: idle CPUs do not sleep (Documentation/power/pm_qos_interface.rst) until $awake_fd is closed here and in what
# was started since; $awake: 1, or not set: it can't be had
# shellcheck disable=SC2034  # tests read it
keep_awake() {
  local sys=/sys/devices/system/cpu
  [ -c /dev/cpu_dma_latency ] && grep -qx 'menu\|haltpoll\|ladder' "$sys/cpuidle/current_governor" || return 0
  [ "$(cat "$sys/cpu0/cpuidle/state0/name")" = POLL ] || return 0
  exec {awake_fd}>/dev/cpu_dma_latency
  printf '\0\0\0\0' >&"$awake_fd"
  awake=1
}

# stays_awake: what the recording says of it
stays_awake() { sqlite3 "$run_vt" "select value from meta where key = 'stays_awake'"; }

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Guests that are not KVM's, against the kernel's own accounts of their threads.

load helpers

setup() {
  needs_root
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# boot_sector FILE BYTES: a disk whose first sector is that code, in printf's words
boot_sector() {
  printf '%b' "$2" >"$1"
  truncate -s 510 "$1"
  printf '\x55\xaa' >>"$1"
}

# start_qemu CODE ARGS…: an emulated guest on the last CPU; its pid is in $qemu_pid
start_qemu() {
  command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
  boot_sector "$BATS_TEST_TMPDIR/disk" "$1"
  shift
  setsid taskset -c "$LAST_CPU" qemu-system-x86_64 -display none -nodefaults -snapshot -m 32 \
    -drive "file=$BATS_TEST_TMPDIR/disk,format=raw,if=ide" "$@" >"$BATS_TEST_TMPDIR/qemu.out" 2>&1 3>&- &
  qemu_pid=$!
}

SPIN='\xeb\xfe' # jmp .
HALT='\xfa\xf4' # cli; hlt

# busiest_thread PID: of all its threads the one that has run longest, but for the main one
busiest_thread() {
  local task
  for task in "/proc/$1"/task/*; do
    [ "${task##*/}" = "$1" ] || echo "$(cut -d ' ' -f 1 "$task/schedstat") ${task##*/}"
  done | sort -n | tail -n 1 | cut -d ' ' -f 2
}

# ran_for PID SECONDS: until a thread of it has run that long
ran_for() {
  local tries thread
  for tries in $(seq 300); do
    thread=$(busiest_thread "$1")
    [ -z "$thread" ] || [ "$(cut -d ' ' -f 1 "/proc/$1/task/$thread/schedstat")" -lt "${2}000000000" ] || break
    sleep 0.1
  done
  [ "$tries" -lt 300 ]
}

# start_rivals N: processes that burn the last CPU, each in a session of its own; pids in $rivals
start_rivals() {
  rivals=()
  for _ in $(seq "$1"); do
    setsid taskset -c "$LAST_CPU" sh -c 'while :; do :; done' 3>&- &
    rivals+=($!)
  done
}

end_process() {
  [ "$#" -gt 0 ] || return 0
  kill -KILL "$@"
  wait "$@" 2>/dev/null || true
}

# books_balance GUEST: no residual of any of its vCPUs, window and kernel, and nothing lost
books_balance() {
  "$VTIME" report --json "$run_vt" | jq -r --arg guest "$1" '.guests[] | select(.name == $guest) | .vcpus[] |
    [.id, .residual_ns, .ledger_residual_ns, .states.LOST.ns, .desync] | @tsv' >"$BATS_TEST_TMPDIR/books"
  cat "$BATS_TEST_TMPDIR/books"
  [ -s "$BATS_TEST_TMPDIR/books" ]
  awk '$2 != 0 || $3 != 0 || $4 != 0 { exit 1 }' "$BATS_TEST_TMPDIR/books"
}

@test "QEMU/TCG beside two rivals: run time and waiting are the kernel's own" {
  start_record "$run_vt" --interval 100
  start_qemu "$SPIN" -accel tcg -name guest=foo,debug-threads=on
  start_rivals 2
  ran_for "$qemu_pid" 1
  kill -STOP "$qemu_pid"
  sleep 0.5
  start_witness ownsteal $((LAST_CPU + 1))
  kill -CONT "$qemu_pid"
  sleep 3
  kill -STOP "$qemu_pid"
  sleep 0.5
  ask_witness
  stop_record
  end_process "$qemu_pid" "${rivals[@]}"
  read -r waited delay ran run switches outer < <(stopped_sums foo)
  echo "# waited $waited, run_delay $delay; ran $ran, schedstat $run; $switches switches" >&3
  [ "$waited" -gt 1500000000 ]
  agrees "$waited" "$delay" "$switches"
  # the kernel's stamp is from before it looked for another task, ours from after: 2 to 4 us where it slept
  agrees "$((ran - outer))" "$run" "$switches" 5000 "$(untold_outer)"
  books_balance foo
  # from before its first instruction on: what it ran before it had its name is not in its life
  read -r born before < <(sqlite3 -separator ' ' "$run_vt" "select born_ns - v.start_time_ns,
    max(proc_run_ns - run_ns - irq_ns) from vcpu v join vm on vm.id = v.vm join checkpoint c on c.vcpu = v.id
    where name = 'foo' and proc_at_ns > 0 group by v.id")
  echo "# born $born ns after its thread, which had run for at most $before ns" >&3
  [ "$before" -lt 10000000 ]
  run report "$run_vt" '.guests[] | select(.name == "foo") | .kind == "tcg" and (.note | test("IDLE")) and
    (.vcpus | length) == 1 and .vcpus[0].id == 0 and .account.used.accuracy == "estimated" and
    .account.states.VMM.ns == 0 and .account.states.GUEST.ns == 0'
  [ "$output" = true ]
  # its debts are what was stolen from it, and the greatest debtor are the rivals
  run report "$run_vt" '[.guests[] | select(.name == "foo")][0].account.stolen.ns as $stolen |
    [.blame[] | select(.victim == "foo")] | (map(.ns) | add) == $stolen and .[0].culprit == "sh"'
  [ "$output" = true ]
}

@test "QEMU/TCG that was there before: each vCPU, and one that halts is idle and not stalled" {
  start_qemu "$HALT" -accel tcg -name guest=bar,debug-threads=on -smp 2
  sleep 2
  start_record "$run_vt"
  sleep 1.5
  stop_record
  end_process "$qemu_pid"
  books_balance bar
  run report "$run_vt" '.guests[] | select(.name == "bar") | .kind == "tcg" and (.vcpus | map(.id)) == [0, 1] and
    (.vcpus | all(.states["IDLE?"].ns / .window_ns > 0.95)) and .account.stalled.ns == 0 and
    .account.idle.accuracy == "estimated"'
  [ "$output" = true ]
}

@test "QEMU/TCG in one thread for all vCPUs is one vCPU" {
  start_record "$run_vt"
  start_qemu "$SPIN" -name guest=rr,debug-threads=on -smp 2 -accel tcg,thread=single
  ran_for "$qemu_pid" 1
  stop_record
  end_process "$qemu_pid"
  books_balance rr
  run report "$run_vt" '.guests[] | select(.name == "rr") | [.kind, (.vcpus | length), .vcpus[0].id] == ["tcg", 1, 0] and
    .account.used.ns > 5e8'
  [ "$output" = true ]
}

@test "QEMU/TCG without thread names: the busy thread is taken, and it is said that this is a guess" {
  start_record "$run_vt"
  start_qemu "$SPIN" -accel tcg -name plain,debug-threads=off -smp 2
  ran_for "$qemu_pid" 2
  thread=$(busiest_thread "$qemu_pid")
  stop_record
  end_process "$qemu_pid"
  books_balance plain
  run report "$run_vt" '.guests[] | select(.name == "plain") | .kind == "tcg" and (.vcpus | length) == 2 and
    (.note | test("guess")) and .account.used.ns > 5e8'
  [ "$output" = true ]
  [ "$(sqlite3 "$run_vt" "select tid from vcpu v join vm on vm.id = v.vm where name = 'plain' and vcpu_index = 0")" -eq "$thread" ]
  "$VTIME" report "$run_vt" | grep 'without thread names'
}

# start_uml WORK: User Mode Linux on the last CPU, whose guest runs that; its pid is in $uml_pid
start_uml() {
  command -v linux.uml >/dev/null || skip "no User Mode Linux (package user-mode-linux)"
  local root=$BATS_TEST_TMPDIR/root
  mkdir -p "$root"/{bin,proc,dev,tmp}
  cp "$(command -v busybox)" "$root/bin/busybox"
  printf '#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\necho UP\n%s\n' "$1" >"$root/init"
  chmod +x "$root/init"
  HOME=$BATS_TEST_TMPDIR setsid taskset -c "$LAST_CPU" linux.uml rootfstype=hostfs "rootflags=$root" rw mem=48M init=/init con=null \
    con0=null,fd:1 quiet "umid=vtime-test" "uml_dir=$BATS_TEST_TMPDIR" </dev/null >"$BATS_TEST_TMPDIR/uml.out" 2>&1 3>&- &
  uml_pid=$!
  uml_says UP
}

# uml_says WORD: until the guest has said it
uml_says() {
  local tries
  for tries in $(seq 900); do
    ! grep -q "$1" "$BATS_TEST_TMPDIR/uml.out" || break
    sleep 0.1
  done
  [ "$tries" -lt 900 ]
}

# Two stretches of the same work, all in the shell: no process of the guest ends meanwhile, and it sleeps in between.
# shellcheck disable=SC2016  # the guest's variables
WORK='/bin/busybox mount -t tmpfs none /tmp; /bin/busybox mkfifo /tmp/never; exec 3<>/tmp/never
pause() { read -t "$1" nothing <&3; }
burn() { i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; }
pause 2; burn; echo FIRST; pause 4; burn; echo SECOND; pause 1000'

# traced_by PID: the processes that it traces
traced_by() {
  grep -ls "^TracerPid:[[:space:]]*$1\$" /proc/[0-9]*/status | cut -d / -f 3
}

# end_uml: all of its session, for its helpers outlive it else
end_uml() {
  local pid
  for pid in $(ps -o pid= --sid "$uml_pid"); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait "$uml_pid" 2>/dev/null || true
  uml_pid=
}

teardown() {
  [ -z "${uml_pid:-}" ] || end_uml
  end_children
  [ -z "${group:-}" ] || [ ! -d "$group" ] || { rmdir "$group/below" 2>/dev/null || true; remove_groups; }
}

# members_ran: run time and waiting of the kernel's process and all that it traces, by schedstat
members_ran() {
  local pid
  for pid in "$uml_pid" $(traced_by "$uml_pid"); do
    cat "/proc/$pid/schedstat"
  done | awk '{ run += $1; delay += $2 } END { printf "%.0f %.0f\n", run, delay }'
}

# since_begin: seconds since the recording's begin
since_begin() {
  awk -v begin="$(sqlite3 "$run_vt" "select value from meta where key = 'begin_ns'")" \
    '{ printf "%.2f", $1 - begin / 1e9 }' /proc/uptime
}

# look_at_uml: while all of it sleeps: when, and what its processes have used
look_at_uml() {
  sleep 0.7
  looks+=("$(since_begin) $(members_ran)")
}

@test "User Mode Linux: one vCPU, whose run time is that of its processes, alone and beside two rivals" {
  start_record "$run_vt" --interval 100
  start_uml "$WORK"
  looks=()
  look_at_uml
  uml_says FIRST
  look_at_uml
  start_rivals 2
  uml_says SECOND
  end_process "${rivals[@]}"
  look_at_uml
  end_uml
  stop_record
  books_balance vtime-test
  outer=$(sqlite3 "$run_vt" 'select max(host_steal_ns) from observer')
  for i in 0 1; do
    read -r from ran_before waited_before <<<"${looks[i]}"
    read -r to ran waited <<<"${looks[i + 1]}"
    ran=$((ran - ran_before)) waited=$((waited - waited_before))
    read -r used stolen switches < <("$VTIME" report --json --window "$from,$to" "$run_vt" | jq -r '.guests[] |
      select(.name == "vtime-test") | .account.states as $s | [$s.RUN.ns + $s.IRQ.ns,
      $s.PREEMPTED.ns + $s.WAKING.ns + $s.THROTTLED.ns, .vcpus[0].switches] | @tsv')
    echo "# $from to $to s: used $used, its processes ran $ran; stolen $stolen, they waited $waited; $switches switches" >&3
    agrees "$used" "$ran" "$switches" 5000 "$outer"
    # one of them may wait while another runs: no more was stolen than they waited
    awk -v a="$stolen" -v b="$waited" -v n="$switches" 'BEGIN { exit a > b + 1e6 + 5000 * n }'
    [ "$used" -gt 200000000 ]
  done
  # the last was the one beside rivals
  [ "$stolen" -gt "$used" ]
  run report "$run_vt" '.guests[] | select(.name == "vtime-test") | .kind == "uml" and (.vcpus | length) == 1 and
    .vcpus[0].id == 0 and .vcpus[0].tid == .pid and (.note | test("User Mode Linux")) and .account.used.accuracy == "estimated"'
  [ "$output" = true ]
  run report "$run_vt" '[.guests[] | select(.name == "vtime-test")][0].account.stolen.ns as $stolen |
    [.blame[] | select(.victim == "vtime-test")] | (map(.ns) | add) == $stolen and .[0].culprit == "sh"'
  [ "$output" = true ]
}

@test "User Mode Linux that was there before, and idles: idle and not stalled" {
  start_uml 'exec /bin/busybox sleep 1000'
  start_record "$run_vt"
  sleep 2
  end_uml
  stop_record
  books_balance vtime-test
  run report "$run_vt" '.guests[] | select(.name == "vtime-test") | .vcpus[0] | .states["IDLE?"].ns > 1.5e9 and
    .states.STOPPED.ns == 0 and .states.LOST.ns == 0'
  [ "$output" = true ]
}

# usage_group: another name of the group, where CPU usage is summed up: version 1 may have it apart
usage_group() {
  local v1
  v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)cpuacct(,|$)/ { print $2; exit }' /proc/mounts)
  usage=$group
  [ -z "$v1" ] || usage=$v1/${group##*/}
  [ -d "$usage" ] || mkdir "$usage"
}

# usage_ns: by the cgroup's own account
usage_ns() {
  cat "$usage/cpuacct.usage" 2>/dev/null || awk '$1 == "usage_usec" { print $2 * 1000 }' "$usage/cpu.stat"
}

# grouped COMMAND…: in the group and on the last CPU; its pid is in $pid
grouped() {
  (
    [ "$usage" = "$group" ] || echo "$BASHPID" >"$usage/cgroup.procs"
    echo "$BASHPID" >"$group/cgroup.procs"
    exec setsid taskset -c "$LAST_CPU" "$@"
  ) 3>&- &
  pid=$!
}

remove_groups() {
  local tries
  for tries in $(seq 50); do
    rmdir "$group" 2>/dev/null && break
    sleep 0.1
  done
  [ ! -d "$usage" ] || rmdir "$usage"
  [ "$tries" -lt 50 ]
}

# gaps_recorded COMMAND…: runs gaps in a group that is recorded, beside COMMAND. What it missed, and in how many
# gaps, is in $theirs and $count; what the host says in $irq, $waited and $run.
gaps_recorded() {
  local late=$1
  shift
  quota_group
  echo -1 2>/dev/null >"$group/cpu.cfs_quota_us" || echo max >"$group/cpu.max"
  usage_group
  start_record "$run_vt" --cgroup "$group"
  # shellcheck disable=SC2086 # none, or one
  grouped "$LIVE/gaps" 2 $late >"$BATS_TEST_TMPDIR/gaps"
  "$@" 7>&- 8<&- 3>&-
  wait "$pid"
  stop_record
  remove_groups
  read -r theirs count <"$BATS_TEST_TMPDIR/gaps"
  read -r irq waited run < <("$VTIME" report --json "$run_vt" | jq -r --arg g "${group##*/}" '.guests[] |
    select(.name == $g) | .vcpus[0].states | [.IRQ.ns, .PREEMPTED.ns + .WAKING.ns, .RUN.ns] | @tsv')
  echo "# IRQ $irq ns, waited $waited ns, run $run ns; it missed $theirs ns in $count gaps" >&3
}

# The way to an interrupt and back is a part of it: where this machine is a virtual one, the greater part.
@test "a program's own gaps, beside timers that go off on its CPU, are what the host calls IRQ and PREEMPTED" {
  gaps_recorded '' "$LIVE/storm" "$LAST_CPU" 2500 250
  [ "$count" -gt 7000 ]
  # it looks for 2 s of some 2.1; the way back, and what interrupts the host of this machine, nobody tells
  within $((irq + waited)) "$theirs" $((theirs / 4 + 10000000))
}

@test "what a program does after its timer was due, which it armed later, is no interrupt's" {
  gaps_recorded 50 true
  [ "$count" -gt 7000 ]
  # no more than it missed, for 2 s of some 2.1: some 500 ms of its own are between due and armed
  [ $((irq + waited)) -lt $((theirs + theirs / 10 + 5000000)) ]
  [ $((irq + waited)) -gt $((theirs / 4)) ]
}

@test "a cgroup as a guest: its processes' CPU time and quota are what the cgroup has" {
  quota_group
  usage_group
  # whoever else is busy on this machine, it must come to its quota
  echo 100000 2>/dev/null >"$group/cpu.shares" || echo 10000 >"$group/cpu.weight"
  start_record "$run_vt" --cgroup "$group"
  # a process, one after the other that it makes, and threads of one
  grouped sh -c 'for n in 1 2 3 4 5 6 7 8 9 10; do i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; /bin/true; done'
  wait "$pid"
  theirs=$(usage_ns) held=$(throttled_ns)
  stop_record
  remove_groups
  name=${group##*/}
  books_balance "$name" >"$BATS_TEST_TMPDIR/lives"
  read -r used throttled threads switches < <("$VTIME" report --json "$run_vt" | jq -r --arg g "$name" '.guests[] | select(.name == $g) |
    [.account.states.RUN.ns + .account.states.IRQ.ns, .account.states.THROTTLED.ns, (.vcpus | length), ([.vcpus[].switches] | add)] | @tsv')
  outer=$(sqlite3 "$run_vt" 'select max(host_steal_ns) from observer')
  echo "# used $used, cgroup $theirs; THROTTLED $throttled, cpu.stat $held; $threads threads, $switches switches" >&3
  agrees "$used" "$theirs" "$switches" 5000 "$outer"
  within "$throttled" "$held" $((held / 20 + 10000000))
  [ "$held" -gt 100000000 ]
  [ "$threads" -ge 11 ]
  run report "$run_vt" ".guests[] | select(.name == \"$name\") | .kind == \"cgroup\" and (.note | test(\"cgroup\")) and
    (.vcpus | all(.id == .tid))"
  [ "$output" = true ]
  [ "$(report "$run_vt" "[.blame[] | select(.victim == \"$name\" and .kind == \"quota\").ns] | add")" -eq "$throttled" ]
}

@test "a cgroup as a guest: who is in it at the start, comes later, leaves, or is in one below it" {
  quota_group
  usage_group
  mkdir "$group/below"
  grouped sleep 100
  early=$pid
  sleep 0.5
  start_record "$run_vt" --cgroup "$group" --interval 100
  setsid sleep 100 3>&- &
  late=$!
  sleep 0.3
  echo "$late" >"$group/cgroup.procs"
  setsid sleep 100 3>&- &
  lower=$!
  echo "$lower" >"$group/below/cgroup.procs"
  sleep 0.7
  echo "$early" >"${group%/*}/cgroup.procs"
  sleep 0.7
  stop_record
  end_process "$early" "$late" "$lower"
  rmdir "$group/below"
  remove_groups
  books_balance "${group##*/}"
  run report "$run_vt" ".guests[] | select(.name == \"${group##*/}\") | [.vcpus[] | select(.states[\"IDLE?\"].ns > 4e8) | .tid] | sort ==
    ([$early, $late, $lower] | sort)"
  [ "$output" = true ]
  # gone from it while it sleeps: absent from then on, and not idle
  run report "$run_vt" ".guests[] | select(.name == \"${group##*/}\") | .vcpus[] | select(.tid == $early) | .states.ABSENT.ns > 3e8 and .now == \"ABSENT\""
  [ "$output" = true ]
  run report "$run_vt" ".guests[] | select(.name == \"${group##*/}\") | .vcpus[] | select(.tid == $late) | .now == \"IDLE?\""
  [ "$output" = true ]
}

@test "a folder that is no cgroup is refused" {
  run "$VTIME" record -f -o "$run_vt" --cgroup "$BATS_TEST_TMPDIR" --for 1
  [ "$status" -eq 1 ]
  [[ $output == *"is no folder of a cgroup"* ]]
  [ ! -e "$run_vt" ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The collector on this machine: what it finds, what survives, what it refuses.

load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

@test "a guest that ran before the recording and one that starts later are both found by name" {
  start_guest early --workload spin --seconds 4
  early=$guest_pid
  sleep 0.5
  start_record "$run_vt"
  start_guest late --workload spin --seconds 1
  wait "$guest_pid"
  sleep 0.3
  stop_record
  wait "$early"
  [ "$(sqlite3 "$run_vt" "select group_concat(name) from (select name from vm order by name)")" = early,late ]
  run report "$run_vt" '[.guests[].vcpus[].residual_ns] | all(. == 0)'
  [ "$output" = true ]
}

@test "a guest whose monitor is killed in the middle is accounted to its end, and absent after it" {
  start_record "$run_vt"
  start_guest victim --workload spin --seconds 60
  sleep 1
  kill -KILL "$guest_pid"
  wait "$guest_pid" || true
  sleep 1
  stop_record
  run report "$run_vt" '.guests[] | select(.name == "victim") | .vcpus[0] | .residual_ns == 0 and .states.ABSENT.ns > 900000000 and .states.RUN.ns + .states.PREEMPTED.ns + .states.VMM.ns + .states.WAKING.ns > 500000000'
  [ "$output" = true ]
}

@test "kill -9 of the collector leaves a recording that opens and reports" {
  start_guest steady --workload spin --seconds 5
  start_record "$run_vt" --interval 100
  sleep 1.5
  kill -KILL "$record_pid"
  wait "$record_pid" || true
  run report "$run_vt" '.guests[] | select(.name == "steady") | .vcpus[0] | .residual_ns == 0 and .window_ns > 1000000000'
  [ "$output" = true ]
  wait "$guest_pid"
}

@test "record -- COMMAND stops with it and tells its failure" {
  run "$VTIME" record -q -f -o "$run_vt" -- sh -c 'exit 3'
  [ "$status" -eq 1 ]
  [[ $output == *"ended with status 3"* ]]
  run "$VTIME" record -q -f -o "$run_vt" -- true
  [ "$status" -eq 0 ]
}

@test "an end of COMMAND that record caused is no failure, and is told" {
  run "$VTIME" record -f -o "$run_vt" --for 0.3 -- sleep 30
  [ "$status" -eq 0 ]
  [[ $output == *"sleep still ran and was ended by SIGTERM"* ]]
  "$VTIME" record -q -f -o "$run_vt" -- sleep 30 3>&- &
  sleep 1
  kill -TERM $!
  wait $!
}

@test "a COMMAND that ignores SIGTERM doesn't keep record from ending, nor do signals meanwhile" {
  "$VTIME" record -q -f -o "$run_vt" --for 0.2 -- sh -c 'trap "" TERM; echo $$ >"$1"; while :; do sleep 0.1; done' sh "$BATS_TEST_TMPDIR/pid" 3>&- &
  record_pid=$!
  sleep 2
  kill -TERM "$record_pid"
  kill -HUP "$record_pid"
  before=$SECONDS
  wait "$record_pid"
  [ $((SECONDS - before)) -le 8 ]
  run kill -0 "$(cat "$BATS_TEST_TMPDIR/pid")"
  [ "$status" -ne 0 ]
}

@test "a COMMAND that can't be started: one clear line, exit 1, no recording" {
  run "$VTIME" record -o "$run_vt" -- no-such-command
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"cannot start no-such-command"* ]]
  [ ! -e "$run_vt" ]
  printf '#!/no/such/interpreter\n' >"$BATS_TEST_TMPDIR/broken"
  chmod +x "$BATS_TEST_TMPDIR/broken"
  run "$VTIME" record -o "$run_vt" -- "$BATS_TEST_TMPDIR/broken"
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [ ! -e "$run_vt" ]
  "$VTIME" record -q -o "$run_vt" --for 0.2
  before=$(cksum <"$run_vt")
  run "$VTIME" record -f -o "$run_vt" -- no-such-command
  [ "$status" -eq 1 ]
  [ "$(cksum <"$run_vt")" = "$before" ]
}

@test "COMMAND ends with a killed record, and hasn't its --ready-fd" {
  mkfifo "$BATS_TEST_TMPDIR/ready"
  "$VTIME" record -q -f -o "$run_vt" --ready-fd 9 -- sh -c 'echo $$ >"$1"; exec sleep 60' sh "$BATS_TEST_TMPDIR/pid" 9>"$BATS_TEST_TMPDIR/ready" 3>&- &
  record_pid=$!
  exec 8<"$BATS_TEST_TMPDIR/ready"
  read -r -n 1 -u 8 _
  sleep 0.5
  command=$(cat "$BATS_TEST_TMPDIR/pid")
  [ "$(cat "/proc/$command/comm")" = sleep ]
  [ ! -e "/proc/$command/fd/9" ]
  kill -KILL "$record_pid"
  wait "$record_pid" || true
  [ "$(cat <&8)" = "" ]
  exec 8<&-
  sleep 0.3
  [ ! -e "/proc/$command" ] || grep -q '^State:.Z' "/proc/$command/status"
}

@test "the recorder goes before ordinary tasks, its COMMAND does not, and --no-realtime leaves it" {
  policies() {
    # shellcheck disable=SC2016  # for the inner shell
    "$VTIME" record -q -o "$1.vt" "${@:2}" -- sh -c 'sleep 0.3; chrt -p $PPID; chrt -p $$' | awk -F': ' '/policy/ { print $2 }' | paste -sd' '
  }
  [ "$(policies "$run_vt.first")" = 'SCHED_RR|SCHED_RESET_ON_FORK SCHED_OTHER' ]
  [ "$(policies "$run_vt.like-others" --no-realtime)" = 'SCHED_OTHER SCHED_OTHER' ]
  run env -u LC_ALL setpriv --bounding-set -sys_nice --inh-caps -sys_nice "$VTIME" record -o "$run_vt" --for 0.1
  [ "$status" -eq 0 ]
  [[ $output == *'no real-time priority'* ]]
}

@test "an existing recording is not overwritten by accident" {
  "$VTIME" record -q -o "$run_vt" --for 0.2
  run "$VTIME" record -q -o "$run_vt" --for 0.2
  [ "$status" -eq 1 ]
  [[ $output == *exist* ]]
}

@test "no root: one clear line and exit 1" {
  run setpriv --reuid 65534 --regid 65534 --clear-groups "$VTIME" record -q -o "$BATS_TEST_TMPDIR/no.vt" --for 0.1
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *root* ]]
}

@test "an output that can't be written: one clear line and exit 1" {
  run "$VTIME" record -q -o /nonexistent/run.vt --for 0.1
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
}

@test "no BTF: one clear line and exit 1" {
  run unshare -m sh -c "mount -t tmpfs none /sys/kernel/btf && '$VTIME' record -q -f -o '$run_vt' --for 0.1"
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *BTF* ]]
}

@test "a full disk ends the recording with a clear line; what was committed stays" {
  mkdir "$BATS_TEST_TMPDIR/small"
  mount -t tmpfs -o size=400k none "$BATS_TEST_TMPDIR/small"
  start_guest busy --workload mix --burst-us 50 --sleep-us 50 --seconds 20
  run timeout 30 "$VTIME" record -q -o "$BATS_TEST_TMPDIR/small/run.vt" --interval 50
  kill "$guest_pid"
  wait "$guest_pid" || true
  cp "$BATS_TEST_TMPDIR"/small/run.vt* "$BATS_TEST_TMPDIR/"
  umount "$BATS_TEST_TMPDIR/small"
  [ "$status" -eq 1 ]
  [[ $output == *"disk"* ]]
  run report "$run_vt" '.guests[] | select(.name == "busy") | .vcpus[0] | .residual_ns == 0 and .window_ns > 100000000'
  [ "$output" = true ]
}

@test "a damaged recording is refused with a clear line" {
  "$VTIME" record -q -f -o "$run_vt" --for 0.3
  dd if=/dev/urandom of="$run_vt" bs=512 count=4 conv=notrunc status=none
  run "$VTIME" report "$run_vt"
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
}

@test "bad options are usage errors" {
  run "$VTIME" record --for soon
  [ "$status" -eq 2 ]
  run "$VTIME" record --without nonsense
  [ "$status" -eq 2 ]
  run "$VTIME" record --interval 5
  [ "$status" -eq 2 ]
  [[ $output == *"from 10 to 60000"* ]]
  for name in '' :memory:; do
    run "$VTIME" record -o "$name" --for 0.1
    [ "$status" -eq 2 ]
  done
  run "$VTIME" record --no-such-option
  [ "$status" -eq 2 ]
}

# says_so: the recording admits what it could not see, by a residual or by a state
# that lasted and is only an estimate; sharing an edge with the window is no admission
says_so() {
  report "$run_vt" '[.guests[].vcpus[] | (.residual_ns != 0) or
    ([.states[] | select(.ns > 0 and .accuracy == "estimated")] | length > 0)] | any'
}

@test "a class of probes switched off gives a residual or a merged state; never silence, and never without cause" {
  start_guest a --workload mix --seconds 14
  a=$guest_pid
  start_guest b --workload spin --seconds 14
  "$VTIME" record -q -f -o "$run_vt" --for 1
  run says_so
  [ "$output" = false ]
  for class in switch wakeup kvm-run halt irq; do
    "$VTIME" record -q -f -o "$run_vt" --without "$class" --for 1
    run says_so
    echo "$class: $output"
    [ "$output" = true ]
  done
  kill "$a" "$guest_pid"
  wait || true
}

# sleeps_of_cpus: how often any CPU was in an idle state other than the one that polls
sleeps_of_cpus() {
  cat /sys/devices/system/cpu/cpu*/cpuidle/state[1-9]*/usage | awk '{ n += $1 } END { print n + 0 }'
}

@test "that idle CPUs do not sleep is told, unless they may again before it ends" {
  keep_awake
  [ -n "${awake:-}" ] || skip "CPUs can't be kept from sleeping here"
  sleep 0.2
  before=$(sleeps_of_cpus)
  "$VTIME" record -q -f -o "$run_vt" -- sleep 1.5
  [ "$(stays_awake)" -eq 1 ]
  [ "$(sleeps_of_cpus)" -eq "$before" ] # by cpuidle's own account
  "$VTIME" report "$run_vt" | grep -q 'idle CPUs do not sleep'
  "$VTIME" record -q -f -o "$run_vt" -- sleep 3 3>&- {awake_fd}>&- &
  record_pid=$!
  for _ in $(seq 100); do
    [ "$(stays_awake 2>/dev/null)" != 1 ] || break
    sleep 0.02
  done
  [ "$(stays_awake)" -eq 1 ]
  exec {awake_fd}>&-
  wait "$record_pid"
  [ "$(stays_awake)" -eq 0 ]
  [ "$(sleeps_of_cpus)" -gt "$before" ]
}

@test "record --vm shows one VM and still blames the other" {
  start_record "$run_vt" --vm shown
  start_guest other --workload spin --seconds 1.5
  other=$guest_pid
  start_guest shown --workload spin --seconds 1.5
  wait "$guest_pid" "$other"
  stop_record
  run report "$run_vt" '[.guests[].name] == ["shown"] and .host.only == "shown"'
  [ "$output" = true ]
  run report "$run_vt" '([.blame[] | select(.culprit == "other").ns] | add) > 0.9 * .guests[0].account.stolen.ns'
  [ "$output" = true ]
  run "$VTIME" report "$run_vt"
  [[ $output == *"1 other not shown"* ]]
}

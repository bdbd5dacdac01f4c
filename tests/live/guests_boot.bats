#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Linux guests on this machine, and what they believe when they are starved: that is
# what vtime corrects.
bats_require_minimum_version 1.5.0
load helpers
load ../guests/guests

setup_file() {
  guests_image
  [ ! -e "$GUESTS_DIR/image.err" ] || return 0
  start_tcg_guest tcg --cpu "$LAST_CPU" --no-wait
  start_uml_guest uml --cpu "$LAST_CPU" --no-wait
  await_guest tcg
  await_guest uml
}

teardown_file() { end_guests; }

setup() { guests_needed; }

teardown() {
  end_rivals
  end_children
}

# believed NAME ITERATIONS: what the guest says of a fixed loop: seconds elapsed, user
# time of its process, and steal in ticks. (/proc/stat's user time is no less false, but
# of a kernel that counts ticks: those that came while it was set aside are not made up.)
believed() {
  guest_do "$1" "head -n 1 /proc/stat; time -p loop $2; head -n 1 /proc/stat" 120 |
    awk '$1 == "cpu" && n++ { stolen = $9 - steal } $1 == "cpu" { steal = $9 }
      $1 == "real" { real = $2 } $1 == "user" { user = $2 } END { print real, user, stolen }'
}

@test "guests run commands and give back what they say and their status" {
  local name
  for name in tcg uml; do
    run guest_do "$name" 'echo one; printf two >&2; exit 3'
    [ "$status" -eq 3 ]
    [ "$output" = $'one\ntwo' ]
    [ "$(guest_do "$name" 'cut -d " " -f 1,3 /proc/version')" = 'Linux '"$(guest_do "$name" 'uname -r')" ]
    echo "# $name: Linux $(guest_do "$name" 'uname -r'), booted in $(sed -n 's/^guest ready //p' "$GUESTS_DIR/$name/control.out") s of its own" >&3
  done
}

@test "vtime-agent runs in each guest, and passes a benchmark's status on" {
  local name
  for name in tcg uml; do
    guest_do "$name" 'pidof vtime-agent'
    run guest_do "$name" 'vtime-agent bench --name three -- sh -c "exit 3"'
    echo "$output"
    [ "$status" -eq 3 ]
  done
}

@test "two commands run at the same time and their answers do not mix" {
  local name listener
  for name in tcg uml; do
    guest_do "$name" 'until [ -e /run/meet ]; do sleep 0.1; done; read -r word </run/meet; echo heard $word' >"$BATS_TEST_TMPDIR/heard" &
    listener=$!
    guest_do "$name" 'mkfifo /run/meet 2>/dev/null; echo hello >/run/meet; echo said'
    wait "$listener"
    [ "$(cat "$BATS_TEST_TMPDIR/heard")" = 'heard hello' ]
  done
}

@test "vCPUs are pinned where they belong" {
  local task
  start_tcg_guest pair --smp 2 --cpu "0,$LAST_CPU" --transport tty
  [ "$(guest_do pair nproc)" -eq 2 ]
  for task in /proc/"$guest_pid"/task/*; do
    case $(cat "$task/comm") in
    'CPU 0/TCG') [ "$(taskset -pc "${task##*/}" | sed 's/.*: //')" = 0 ] ;;
    'CPU 1/TCG') [ "$(taskset -pc "${task##*/}" | sed 's/.*: //')" = "$LAST_CPU" ] ;;
    esac
  done
  guest_do pair 'loop barrier 10 1000000'
  end_guest pair
}

@test "a guest that is gone does not answer" {
  start_uml_guest gone
  run guest_do gone 'poweroff -f'
  [ "$status" -eq 125 ]
  run guest_do gone true
  [ "$status" -eq 125 ]
  end_guest gone
}

@test "nothing is left of a UML guest whose main process is killed" {
  start_uml_guest killed
  [ "$(pgrep -c -s "$guest_pid")" -gt 1 ]
  kill -KILL "$guest_pid"
  for _ in $(seq 100); do
    [ -n "$(pgrep -s "$guest_pid" -r R,S,D,T)" ] || break
    sleep 0.05
  done
  run pgrep -s "$guest_pid" -r R,S,D,T
  [ -z "$output" ]
  run pgrep -f "$GUESTS_DIR/killed/agent"
  [ -z "$output" ]
}

@test "starved by three rivals a guest believes that it used the CPU all the while" {
  local name used real user steal alone
  for name in tcg uml; do
    read -r _ alone _ < <(believed $name 500000000)
    start_rivals 3 "$LAST_CPU"
    used=$(cpu_used $name)
    read -r real user steal < <(believed $name 500000000)
    used=$(($(cpu_used $name) - used))
    end_rivals
    echo "# $name: the loop said $alone s of user time before, among rivals $user s in $real s, steal $steal; the host: $used ms of CPU" >&3
    # one CPU among four is four times what was used; others may be here too, which makes it more
    awk -v used="$used" -v user="$user" 'BEGIN { exit !(used > 200 && user > 2.5 * used / 1000) }'
    awk -v real="$real" -v user="$user" 'BEGIN { exit !(user > 0.9 * real) }'
    [ "$steal" -eq 0 ]
  done
}

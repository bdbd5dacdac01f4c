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

# least NAME ITERATIONS: user time of the quickest of three: others use this machine too
least() {
  for _ in 1 2 3; do believed "$1" "$2"; done | sort -n | awk 'NR == 1 { print $2 }'
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

@test "a guest that is gone does not answer" {
  start_uml_guest gone
  run guest_do gone 'poweroff -f'
  [ "$status" -eq 125 ]
  run guest_do gone true
  [ "$status" -eq 125 ]
  end_guest gone
}

@test "starved by three rivals a guest believes that it used the CPU all the while" {
  local name alone real user steal
  for name in tcg uml; do
    alone=$(least $name 500000000)
    start_rivals 3 "$LAST_CPU"
    read -r real user steal < <(believed $name 500000000)
    end_rivals
    echo "# $name: the same loop, by the guest: $alone s of user time alone; among rivals $real s elapsed, $user s user, steal $steal" >&3
    # one CPU among four is four times; who else runs here makes it more or less
    awk -v alone="$alone" -v user="$user" 'BEGIN { exit !(alone > 0.2 && user > 2 * alone) }'
    awk -v real="$real" -v user="$user" 'BEGIN { exit !(user > 0.9 * real) }'
    [ "$steal" -eq 0 ]
  done
}

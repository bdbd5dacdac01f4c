#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Agents' channels by vsock, which wants a kernel whose modules may be loaded: its loopback.
bats_require_minimum_version 1.5.0
load testbed

# Runs inside. Each process of `sim` is the VM that its agent is of.
inside() {
  vtime=$1 sim=$2
  cd /out || exit 1
  busybox modprobe vsock_loopback
  "$sim" vsock-listen:5000 12 >listens.out &
  sleep 1
  "$vtime" record -q -o listens.vt --agent "$(head -n 1 listens.out)=vsock:1:5000" --for 6
  wait
  sleep 100 &
  vm=$!
  mkfifo ready
  "$vtime" record -q -o connects.vt --agent "$vm=vsock-listen:5001" --for 9 --ready-fd 9 9>ready &
  recorder=$!
  read -r -n 1 _ <ready
  "$sim" vsock:1:5001 3 >connects.out
  wait $recorder
  kill $vm
  rm ready # a pipe does not go through the machine's share
}

setup_file() {
  testbed_run --timeout 240 -- bash -c "$(declare -f inside); inside $vtime $testbed_repo/build/tests/live/agentsim"
}

setup() { testbed_needed; }

# asked FILE: at least five answers, each between its question and its arrival
asked() {
  [ "$(sqlite3 "$result/out/$1.vt" 'select count(*) >= 5 from exchange')" = 1 ]
  [ "$(sqlite3 "$result/out/$1.vt" 'select count(*) from exchange where not (sent_tsc <= guest_received_tsc and
    guest_received_tsc <= guest_sent_tsc and guest_sent_tsc <= received_tsc)')" = 0 ]
}

@test "an agent that listens at a vsock is asked and heard" {
  asked listens
  [ "$(sqlite3 "$result/out/listens.vt" 'select count(*) >= 5 from os_view')" = 1 ]
}

@test "an agent that connects to our vsock is let in, and heard to its end" {
  asked connects
  [ "$(sqlite3 "$result/out/connects.vt" 'select count(*) from mark')" = 2 ]
}

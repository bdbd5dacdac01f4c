#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# record --exit-addresses: which ports, MMIO addresses and MSRs guests access, to the last access.

load helpers

setup() {
  needs_kvm
  "$VTIME" doctor --json | jq -e '.checks[] | select(.name == "probe addresses").status == "ok"' >/dev/null ||
    skip "kvm_pio, kvm_mmio or kvm_msr do not fire here"
  run_vt=$BATS_TEST_TMPDIR/run.vt
  json=$BATS_TEST_TMPDIR/run.json
}

teardown() { end_children; }

# count GUEST KIND HEX ACCESS FILE: over all its vCPUs
count() {
  "$VTIME" report --json "$5" | jq --arg g "$1" --arg k "$2" --arg a "$3" --arg w "$4" '[.guests[] | select(.name == $g).vcpus[]
    .addresses[] | select(.kind == $k and .hex == $a and .access == $w).count] | add // 0'
}

@test "each access to the monitor's port and to its MMIO address is counted, once" {
  for how in 'pio port 0x5658' 'mmio MMIO 0xd0000000'; do
    read -r io kind address <<<"$how"
    "$VTIME" record -q -f --exit-addresses -o "$run_vt" -- bash -c \
      "'$VTIME' run --name counted --cpu $LAST_CPU --vcpus 2 --workload io --io-kind $io --work 3000 --json >'$json'"
    served=$(jq .monitor.service_count "$json")
    [ "$served" -eq 6000 ]
    [ "$(count counted "$kind" "$address" write "$run_vt")" -eq "$served" ]
    [ "$(count counted "$kind" "$address" read "$run_vt")" -eq 0 ]
    # each vCPU its own
    "$VTIME" report --json "$run_vt" | jq -e --arg a "$address" '[.guests[] | select(.name == "counted").vcpus[]
      | [.addresses[] | select(.hex == $a).count] == [3000]] | length == 2 and all'
    # what it does once a vCPU: its system time is set up
    [ "$(count counted MSR 0x4b564d01 write "$run_vt")" -eq 2 ]
  done
  "$VTIME" report "$run_vt" >"$BATS_TEST_TMPDIR/text"
  grep -Eq '^  counted +MMIO +0xd0000000 +write +6000 .* work \(vtime run\)$' "$BATS_TEST_TMPDIR/text"
}

@test "a read that the monitor serves is counted once, though KVM tells it twice" {
  "$VTIME" record -q -f --exit-addresses -o "$run_vt" -- "$LIVE/oddvmm" reads
  "$VTIME" report --json "$run_vt" | jq -e '[.guests[] | select(.name | startswith("oddvmm/")).vcpus[]] | length == 1 and
    ([.[0].addresses[] | [.kind, .hex, .access, .count]] == [["port", "0x80", "read", 1000], ["MMIO", "0x3000", "read", 1000]])
    and .[0].user_exits == 2001'
}

@test "what a recording did not see is not in it: a guest that ran before counts from its begin on" {
  start_guest early --workload io --work 100000 --service-us 30 --json
  sleep 1
  start_record "$run_vt" --exit-addresses
  sleep 1
  stop_record
  kill -TERM "$guest_pid"
  wait "$guest_pid" || true
  seen=$(count early port 0x5658 write "$run_vt")
  served=$(jq .monitor.service_count "$BATS_TEST_TMPDIR/early.out")
  echo "# $seen of $served" >&3
  [ "$seen" -gt 1000 ]
  [ "$seen" -lt $((served * 8 / 10)) ]
}

@test "recordings that follow each other have each access in one of them" {
  mkdir "$BATS_TEST_TMPDIR/dir"
  mkfifo "$BATS_TEST_TMPDIR/ready"
  "$VTIME" record --daemon -o "$BATS_TEST_TMPDIR/dir" --agent-socket "$BATS_TEST_TMPDIR/agent" --ready-fd 9 \
    --exit-addresses --rotate-every 1s --interval 100 9>"$BATS_TEST_TMPDIR/ready" 3>&- &
  daemon_pid=$!
  read -r -n 1 _ <"$BATS_TEST_TMPDIR/ready"
  start_guest turned --workload io --seconds 3.5 --service-us 50 --json
  wait "$guest_pid"
  sleep 0.3
  kill -TERM "$daemon_pid"
  wait "$daemon_pid"
  sum=0 with=0
  for file in "$BATS_TEST_TMPDIR"/dir/vtime-*Z.vt; do
    n=$(count turned port 0x5658 write "$file")
    sum=$((sum + n))
    with=$((with + (n > 1000)))
  done
  served=$(jq .monitor.service_count "$BATS_TEST_TMPDIR/turned.out")
  echo "# $sum of $served in $with recordings" >&3
  [ "$with" -ge 3 ]
  [ "$sum" -eq "$served" ]
}

@test "a guest that touches all ports takes no more than its room, and what found none is shown" {
  "$VTIME" record -q -f --exit-addresses -o "$run_vt" -- "$LIVE/oddvmm" ports
  "$VTIME" report --json "$run_vt" >"$json"
  jq -e '[.guests[] | select(.name | startswith("oddvmm/")).vcpus[]] | length == 1 and (.[0]
    | (.addresses | length) == 512 and (.addresses | all(.count == 1)) and
      .addresses_unsummed == 65536 - 512 and .user_exits == 65536 + 1)' "$json"
  "$VTIME" report "$run_vt" >"$BATS_TEST_TMPDIR/text"
  grep -Eq 'unsummed +65024 +99.22 % +their addresses found no room' "$BATS_TEST_TMPDIR/text"
}

# programs PID: how many BPF programs it holds
programs() {
  grep -l '^prog_type' /proc/"$1"/fdinfo/* 2>/dev/null | wc -l
}

@test "if it is not asked for, its programs are not even loaded" {
  start_record "$run_vt"
  without=$(programs "$record_pid")
  stop_record
  [ "$(sqlite3 "$run_vt" "select value from meta where key = 'exit_addresses'")" -eq 0 ]
  report "$run_vt" '.host.exit_addresses == false and .host.probes_off == []'
  start_record "$run_vt" --exit-addresses
  with=$(programs "$record_pid")
  stop_record
  echo "# $without programs, with addresses $with" >&3
  [ "$without" -gt 10 ]
  [ "$with" -eq $((without + 4)) ]
  # asked for and left out: said, and no figure is made up
  run "$VTIME" record -f --exit-addresses --without addresses --for 0.2 -o "$run_vt"
  [ "$status" -eq 0 ]
  grep -q -- '--exit-addresses: ' <<<"$output"
  report "$run_vt" '.host.exit_addresses == false and .host.probes_off == ["addresses"]'
}

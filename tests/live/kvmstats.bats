#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Exits by KVM's own counters, against what the monitor itself counted and what the kernel tells the monitor.

load helpers

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
  own=$BATS_TEST_TMPDIR/own
  odd="taskset -c $LAST_CPU $LIVE/oddvmm"
}

# stat FILE GUEST NAME: its sum over the lives of that guest's vCPUs
stat() {
  report "$1" "[.guests[] | select(.name == \"$2\").vcpus[].kvm_stats.$3.count // 0] | add"
}

# recorded FILE: of the odd monitor, "NAME SUM" over its lives, sorted
recorded() {
  "$VTIME" report --json "$1" | jq -r '[.guests[] | select(.name | startswith("oddvmm/")).vcpus[].kvm_stats // {} | to_entries[]] |
    group_by(.key)[] | "\(.[0].key) \(map(.value.count) | add)"' | sort
}

@test "the exits that a guest makes by port or MMIO are those that the monitor served" {
  for kind in pio mmio; do
    "$VTIME" record -q -f -o "$run_vt" -- "$VTIME" run --name io --cpu "$LAST_CPU" --workload io \
      --io-kind "$kind" --work 2000 --service-us 200 --json >"$BATS_TEST_TMPDIR/out.json"
    served=$(jq .monitor.service_count "$BATS_TEST_TMPDIR/out.json")
    returns=$(jq .monitor.exits "$BATS_TEST_TMPDIR/out.json")
    exits=$(stat "$run_vt" io exits)
    io=$(stat "$run_vt" io io_exits)
    mmio=$(stat "$run_vt" io mmio_exits)
    emulated=$(stat "$run_vt" io insn_emulation)
    echo "# $kind: $returns returns to the monitor, exits $exits, io_exits $io, mmio_exits $mmio, insn_emulation $emulated" >&3
    [ "$served" -eq 2000 ]
    [ "$exits" -ge "$returns" ]
    # each return to the monitor gives its FPU back
    [ "$(stat "$run_vt" io fpu_reload)" -eq "$returns" ]
    if [ "$kind" = mmio ]; then
      [ "$mmio" -eq 2000 ]
    elif [ "$io" -ne 0 ]; then # besides the work there are the ports of boot, marks and end: all else that returned
      [ "$io" -ge 2000 ]
      [ "$io" -le "$returns" ]
    else # this host's back end emulates the port's instruction, and counts that
      [ "$emulated" -ge 2000 ]
    fi
  done
}

@test "every one of them is what the kernel tells the monitor, over all lives of its vCPUs" {
  for mode in seq back 'alt 200'; do
    # shellcheck disable=SC2086
    ODDVMM_STATS=$own "$VTIME" record -q -f -o "$run_vt" -- $odd $mode
    recorded "$run_vt" >"$BATS_TEST_TMPDIR/recorded"
    # what the kernel says besides are states, not counts
    sort "$own" | join - "$BATS_TEST_TMPDIR/recorded" >"$BATS_TEST_TMPDIR/both"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/both")" -eq "$(wc -l <"$BATS_TEST_TMPDIR/recorded")" ]
    awk '$2 != $3 { print "differs:", $0; bad = 1 } END { exit bad }' "$BATS_TEST_TMPDIR/both"
    echo "# $mode: $(wc -l <"$BATS_TEST_TMPDIR/both") counters equal, $(awk '$1 == "exits" { print $2 }' "$BATS_TEST_TMPDIR/both") exits" >&3
    [ "$(awk '$1 == "exits" { print $2 }' "$BATS_TEST_TMPDIR/both")" -ge 400 ]
  done
}

@test "of a VM that goes while its thread lives on, no more is lost than came after the last look" {
  # a look every 4 ticks: 0.2 s of each VM's second
  ODDVMM_STATS=$own "$VTIME" record -q -f --interval 50 -o "$run_vt" -- $odd again 3
  theirs=$(awk '$1 == "exits" { print $2 }' "$own")
  ours=$(recorded "$run_vt" | awk '$1 == "exits" { print $2 }')
  echo "# $ours of $theirs exits" >&3
  [ "$ours" -le "$theirs" ]
  [ "$ours" -ge $((theirs * 7 / 10)) ]
  report "$run_vt" '[.guests[] | select(.name | startswith("oddvmm/")).vcpus[].kvm_stats.exits.accuracy] | index("estimated") != null' | grep true
}

@test "windows that meet share no exit and lose none; each says how many it may owe the other" {
  "$VTIME" record -q -f --interval 50 -o "$run_vt" -- "$VTIME" run --name io --cpu "$LAST_CPU" --workload io \
    --io-kind mmio --work 5000 --service-us 200 --json >"$BATS_TEST_TMPDIR/out.json"
  exits='[.guests[] | select(.name == "io").vcpus[].kvm_stats.mmio_exits] | .[0]'
  [ "$(report "$run_vt" "$exits.count")" -eq 5000 ]
  [ "$(report "$run_vt" "$exits.accuracy")" = '"exact"' ]
  a=$("$VTIME" report --json --window 0,0.6 "$run_vt" | jq "$exits")
  b=$("$VTIME" report --json --window 0.6, "$run_vt" | jq "$exits")
  echo "# $(jq -c . <<<"$a") $(jq -c . <<<"$b")" >&3
  [ "$(jq -s '.[0].count + .[1].count' <<<"$a $b")" -eq 5000 ]
  jq -e '.count > 0 and .accuracy == "bounded" and .bound > 0 and .bound < 2000' <<<"$a"
  jq -e '.count > 0' <<<"$b"
}

@test "a daemon's recordings share them out: no exit is lost at a cut, and none is told twice" {
  local file sum=0 files
  mkfifo "$BATS_TEST_TMPDIR/ready"
  "$VTIME" record --daemon -o "$BATS_TEST_TMPDIR/dir" --agent-socket "$BATS_TEST_TMPDIR/agent" --ready-fd 9 \
    --rotate-every 1s --interval 100 9>"$BATS_TEST_TMPDIR/ready" 2>"$BATS_TEST_TMPDIR/log" 3>&- &
  daemon=$!
  read -r -n 1 _ <"$BATS_TEST_TMPDIR/ready"
  "$VTIME" run --name io --cpu "$LAST_CPU" --workload io --io-kind mmio --work 20000 \
    --service-us 200 --json >"$BATS_TEST_TMPDIR/out.json"
  sleep 0.3
  kill -TERM "$daemon"
  wait "$daemon"
  mapfile -t files < <(ls "$BATS_TEST_TMPDIR"/dir/vtime-*Z.vt)
  [ ${#files[@]} -ge 4 ]
  for file in "${files[@]}"; do
    part=$(stat "$file" io mmio_exits || true)
    echo "# ${file##*/}: $part" >&3
    sum=$((sum + ${part:-0}))
  done
  [ "$(jq .monitor.service_count "$BATS_TEST_TMPDIR/out.json")" -eq 20000 ]
  [ "$sum" -eq 20000 ]
}

@test "no descriptor of a guest is held, so nothing of it stays when it goes" {
  start_record "$run_vt" --interval 50
  start_guest held --workload mix --seconds 2
  sleep 1
  [ "$(stat "$run_vt" held exits)" -gt 0 ]
  [ "$(find "/proc/$record_pid/fd" -lname '*kvm*' | wc -l)" -eq 0 ]
  wait "$guest_pid"
  stop_record
}

@test "where exit events do not fire, the exits section is theirs" {
  "$VTIME" record -q -f -o "$run_vt" -- "$VTIME" run --name io --cpu "$LAST_CPU" --workload io --work 500 >/dev/null
  if [ "$(report "$run_vt" .host.entry_exit || true)" = true ]; then
    "$VTIME" report "$run_vt" | grep "^KVM's own counters of the same vCPUs"
  else
    "$VTIME" report "$run_vt" | grep "^Exits by KVM's own counters, for its exit events do not fire here"
  fi
  "$VTIME" report "$run_vt" | grep -E '^  io 0 .*'
  [ "$(sqlite3 "$run_vt" "select count(*) from kvm_stat where name in ('exits', 'io_exits', 'halt_wait_ns')")" -eq 3 ]
}

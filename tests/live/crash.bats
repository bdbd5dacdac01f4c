#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The collector is killed at moments that nobody chose, or its disk fails it: what
# was committed is whole, and the next recording goes on.

load helpers

rounds=${VT_CRASH_ROUNDS:-50}

setup() {
  needs_kvm
  PATH=$PATH:/usr/sbin:/sbin
  run_vt=$BATS_TEST_TMPDIR/run.vt
  guests=()
}

teardown() {
  end_children
  ! mountpoint -q "$BATS_TEST_TMPDIR/disk" || umount -l "$BATS_TEST_TMPDIR/disk"
}

# two_guests SECONDS: they compete for one CPU
two_guests() {
  local name
  for name in left right; do
    start_guest $name --workload spin --seconds "$1"
    guests+=("$guest_pid")
  done
}

# of_bpf: how many programs, maps and links the kernel holds
of_bpf() {
  echo "$(bpftool prog show -j | jq length) $(bpftool map show -j | jq length) $(bpftool link show -j | jq length)"
}

# settled WANT: the kernel frees them a moment after their last user
settled() {
  local i
  for ((i = 0; i < 50; i++)); do
    [ "$(of_bpf)" != "$1" ] || return 0
    sleep 0.1
  done
  echo "BPF programs, maps, links: $(of_bpf), before: $1"
  return 1
}

# in_order FILE: what would show a torn commit, one figure a line, all 0
in_order() {
  sqlite3 "$1" "
    select count(*) from (select at_ns - lag(at_ns) over (partition by vcpu order by id) as d,
                                 last_ns - lag(last_ns) over (partition by vcpu order by id) as e from checkpoint)
      where d < 0 or e < 0;
    select count(*) from (select first_seq - lag(first_seq + slices) over (partition by vcpu order by id) as gap,
                                 begin_ns - lag(end_ns) over (partition by vcpu order by id) as hole from chunk)
      where gap != 0 or hole != 0;
    select count(*) from checkpoint where vcpu not in (select id from vcpu);
    select count(*) from chunk where vcpu not in (select id from vcpu);
    select count(*) from vcpu where vm not in (select id from vm);
    select coalesce(sum(count), 0) from loss;"
}

# whole FILE: it opens, reports, sums up; what is in it is in order
whole() {
  "$VTIME" report --json "$1" >"$BATS_TEST_TMPDIR/report.json"
  [ "$(jq '([.guests[].name] | contains(["left", "right"])) and ([.guests[].vcpus[].residual_ns == 0] | all)' "$BATS_TEST_TMPDIR/report.json")" = true ]
  [ "$(sqlite3 "$1" 'pragma integrity_check')" = ok ]
  [ "$(in_order "$1" | tr '\n' ' ')" = '0 0 0 0 0 0 ' ]
}

@test "kill -9 of the collector at random moments: what was committed is whole, and nothing stays behind" {
  before=$(of_bpf)
  two_guests $((rounds * 3))
  told=0
  for ((round = 1; round <= rounds; round++)); do
    rm -f "$run_vt"*
    start_record "$run_vt" --interval 20
    sleep "0.$((RANDOM % 400 + 100))"
    kill -KILL "$record_pid"
    wait "$record_pid" || true
    # a recording killed before its first round of all vCPUs has nothing to tell yet, and says so
    if [ "$(sqlite3 "$run_vt" "select count(distinct vcpu) from checkpoint
          where vcpu in (select vcpu.id from vcpu join vm on vm.id = vm where name in ('left', 'right'))")" -eq 2 ]; then
      whole "$run_vt"
      told=$((told + 1))
    else
      [ "$(sqlite3 "$run_vt" 'pragma integrity_check')" = ok ]
    fi
  done
  echo "$told of $rounds had something to tell"
  [ "$told" -ge $((rounds * 8 / 10)) ]
  settled "$before"
  # the restart goes on
  "$VTIME" record -q -f -o "$run_vt" --for 0.5
  whole "$run_vt"
  [ "$(jq '.cut_off' "$BATS_TEST_TMPDIR/report.json")" = false ]
  settled "$before"
}

slow=$BATS_TEST_DIRNAME/../../build/tests/live/slowdisk.so

# Each slice is there, by its number. LOST is also what the kernel gave us no event of (desync; a cycle each, of
# some 0.7 ms): one was seen that runs no BPF program in the context of its init, and so tells not who comes
# after that on a CPU.
@test "a slow disk costs no slice while the ring has room, and the recording ends" {
  start_guest busy --workload mix --burst-us 200 --sleep-us 400 --seconds 40
  guests=("$guest_pid")
  LD_PRELOAD=$slow SLOW_US=5000 timeout 30 "$VTIME" record -q -f -o "$run_vt" --interval 100 --for 3
  report "$run_vt" '.lost, (.guests[] | select(.name == "busy") | .vcpus[0] |
    {window_ns, residual_ns, ledger_residual_ns, desync, switches, LOST: .states.LOST.ns})'
  run report "$run_vt" '(.guests[] | select(.name == "busy") | .vcpus[0] | .residual_ns == 0 and .ledger_residual_ns == 0 and
      .switches > 300 and .states.LOST.ns <= .desync * 2000000) and ([.lost[]] | add) == 0'
  [ "$output" = true ]
  "$VTIME" export "$run_vt" | awk -F, '$1 == "\"busy\"" { if (n++ && $4 != last + 1) { print "not told: before", $4; bad = 1 } last = $4 }
    END { exit bad || n < 300 }'
}

@test "a disk too slow for the ring: what didn't fit is counted, is LOST, and the books balance" {
  start_guest busy --workload mix --burst-us 100 --sleep-us 400 --seconds 60
  guests=("$guest_pid")
  LD_PRELOAD=$slow SLOW_US=20000 timeout 60 "$VTIME" record -q -f -o "$run_vt" --interval 100 --ring-kib 16 --for 4
  run report "$run_vt" '.guests[] | select(.name == "busy") | .vcpus[0] | .residual_ns == 0 and .states.LOST.ns > 0'
  [ "$output" = true ]
  run report "$run_vt" '.lost.ring_full > 0'
  [ "$output" = true ]
}

@test "a disk that is full all at once: one clear line, what was committed stays, and a new recording goes on" {
  two_guests 8
  LD_PRELOAD=$slow FULL_AFTER=400 run timeout 30 "$VTIME" record -q -f -o "$run_vt" --interval 50
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"disk full"* ]]
  whole "$run_vt"
  "$VTIME" record -q -f -o "$run_vt" --for 0.5
  whole "$run_vt"
}

@test "a read-only disk: one clear line; a recording on one is read, its uncommitted end included" {
  mkdir "$BATS_TEST_TMPDIR/disk"
  mount -t tmpfs none "$BATS_TEST_TMPDIR/disk"
  two_guests 6
  start_record "$BATS_TEST_TMPDIR/disk/run.vt" --interval 50
  sleep 1
  kill -KILL "$record_pid"
  wait "$record_pid" || true
  mount -o remount,ro "$BATS_TEST_TMPDIR/disk"
  run "$VTIME" record -q -f -o "$BATS_TEST_TMPDIR/disk/run.vt" --for 0.5
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"ead-only"* ]]
  run report "$BATS_TEST_TMPDIR/disk/run.vt" '([.guests[].vcpus[].residual_ns == 0] | all) and .guests[0].vcpus[0].window_ns > 500000000'
  [ "$output" = true ]
}

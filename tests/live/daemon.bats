#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vtime record --daemon: one recording after the other, whatever happens, and not a nanosecond between them.

load helpers

VTIME=${VTIME_BIN:-$BATS_TEST_DIRNAME/../../build/bin}/vtime
MANAGER=${VTIME_LIVE:-$BATS_TEST_DIRNAME/../../build/tests/live}/manager

setup() {
  needs_kvm
  dir=$BATS_TEST_TMPDIR/recordings
}

teardown() {
  end_children
  ! mountpoint -q "$BATS_TEST_TMPDIR/disk" || umount -l "$BATS_TEST_TMPDIR/disk"
}

# start_daemon ARGS…: returns once recording; its pid is in $daemon_pid
start_daemon() {
  local fifo=$BATS_TEST_TMPDIR/ready.$RANDOM
  mkfifo "$fifo"
  "$VTIME" record --daemon -o "$dir" --agent-socket "$BATS_TEST_TMPDIR/agent" --ready-fd 9 "$@" 9>"$fifo" 2>>"$BATS_TEST_TMPDIR/log" 3>&- &
  daemon_pid=$!
  read -r -n 1 _ <"$fifo"
  rm -f "$fifo"
}

stop_daemon() {
  kill -TERM "$daemon_pid"
  wait "$daemon_pid"
}

guest() {
  start_guest "$@"
}

recordings() { ls "$dir"/vtime-*Z.vt; }
fact() { sqlite3 "$1" "select value from meta where key = '$2'"; }

# joined FILE…: each begins at the very nanosecond where the one before it ended
joined() {
  local file end=
  for file; do
    [ -z "$end" ] || [ "$(fact "$file" begin_ns)" = "$end" ]
    end=$(fact "$file" end_ns)
  done
}

# conserved FILE…: the states of every vCPU sum to the window, and to the kernel's integrals
conserved() {
  local file
  for file; do
    report "$file" '[.guests[].vcpus[] | .residual_ns, .ledger_residual_ns, ([.states[].ns] | add) - .window_ns] | all(. == 0)'
  done
}

# seconds_of NAME STATES FILE…: of a guest, summed over files
seconds_of() {
  local name=$1 states=$2
  shift 2
  for file; do
    "$VTIME" report --json "$file" | jq "[.guests[] | select(.name == \"$name\") | .vcpus[].states | $states] | add // 0"
  done | awk '{ s += $1 } END { printf "%.9f\n", s / 1e9 }'
}

# differences FILE: per vCPU and state what the slices say between the two cuts, less the growth of the
# kernel's integrals between the checkpoints of the cuts; POLL, known afterwards, with what it was taken for
differences() {
  sqlite3 -json "$1" "
    with cut as (select i.* from integral as i, meta as m where m.key in ('begin_ns', 'end_ns') and i.at_ns = m.value)
    select v.tid, b.run_ns + b.kvm_ns + b.poll_ns - a.run_ns - a.kvm_ns - a.poll_ns as RUN, b.vmm_ns - a.vmm_ns as VMM,
      b.irq_ns - a.irq_ns as IRQ, b.preempted_ns - a.preempted_ns as PREEMPTED, b.waking_ns - a.waking_ns as WAKING,
      b.halted_ns - a.halted_ns as HALTED, b.blocked_ns - a.blocked_ns as BLOCKED, b.lost_ns - a.lost_ns as LOST
    from cut as a join cut as b on b.vcpu = a.vcpu and b.at_ns > a.at_ns join vcpu as v on v.id = a.vcpu
    group by a.vcpu" >"$BATS_TEST_TMPDIR/cuts.json"
  "$VTIME" report --json "$1" | jq -r --slurpfile cuts "$BATS_TEST_TMPDIR/cuts.json" '
    [.guests[].vcpus[] | {key: (.tid | tostring), value: (.states | map_values(.ns))}] | from_entries as $told
    | $cuts[0][] | . as $cut | $told[.tid | tostring] as $s | del(.tid) | keys[]
    | (if . == "RUN" then $s.RUN + $s.KVM + $s.POLL else $s[.] end) - $cut[.]'
}

# exactly_cut FILE…: between two cuts the slices grow as the kernel's integrals do, to the nanosecond
exactly_cut() {
  local file
  for file in "${@:2:$#-2}"; do
    differences "$file" >"$BATS_TEST_TMPDIR/differences"
    [ -s "$BATS_TEST_TMPDIR/differences" ]
    if grep -vx 0 "$BATS_TEST_TMPDIR/differences"; then
      false
    fi
  done
}

@test "recordings follow each other to the nanosecond, and together are one that was never cut" {
  local whole=$BATS_TEST_TMPDIR/whole.vt file from to state
  guest even --workload spin --seconds 30
  guest other --workload spin --seconds 30
  guest bursts --workload mix --seconds 30
  start_daemon --rotate-every 1s --interval 100
  start_record "$whole" --agent-socket "$BATS_TEST_TMPDIR/agent2" --interval 100
  sleep 5.3
  stop_daemon
  sleep 0.2
  stop_record
  mapfile -t files < <(recordings)
  [ ${#files[@]} -ge 5 ]
  joined "${files[@]}"
  conserved "${files[@]}"
  exactly_cut "${files[@]}"
  # the host is described in each
  for file in "${files[@]}"; do
    [ "$(sqlite3 "$file" 'select count(*) from cpu')" -eq "$(nproc)" ]
  done
  # and beside a recorder that did not turn: its own probes see each edge a moment earlier or later
  files=("${files[@]:1}")
  from=$(($(fact "${files[0]}" begin_ns) - $(fact "$whole" begin_ns)))
  to=$(($(fact "${files[-1]}" end_ns) - $(fact "$whole" begin_ns)))
  [ "$from" -gt 0 ]
  for state in .PREEMPTED.ns .HALTED.ns '.RUN.ns + .VMM.ns + .IRQ.ns + .POLL.ns' .WAKING.ns; do
    for name in even other bursts; do
      "$VTIME" report --json --window "$(awk -v a=$from -v b=$to 'BEGIN { printf "%.9f,%.9f", a / 1e9, b / 1e9 }')" "$whole" |
        jq "[.guests[] | select(.name == \"$name\") | .vcpus[].states | $state] | add / 1e9" >"$BATS_TEST_TMPDIR/once"
      within "$(seconds_of $name "$state" "${files[@]}")" "$(cat "$BATS_TEST_TMPDIR/once")" 0.01
    done
  done
}

@test "sums alone (--mode ledger) are cut as exactly" {
  guest even --workload spin --seconds 30
  guest bursts --workload mix --seconds 30
  start_daemon --mode ledger --rotate-every 1s --interval 100
  sleep 3.5
  stop_daemon
  mapfile -t files < <(recordings)
  [ ${#files[@]} -ge 3 ]
  joined "${files[@]}"
  conserved "${files[@]}"
  exactly_cut "${files[@]}"
}

@test "SIGHUP begins a new recording, live.vt leads to it, SIGTERM ends it cleanly" {
  guest steady --workload spin --seconds 30
  start_daemon --interval 100
  first=$(readlink "$dir/live.vt")
  sleep 1
  kill -HUP "$daemon_pid"
  sleep 0.6
  second=$(readlink "$dir/live.vt")
  [ "$first" != "$second" ]
  report "$dir/live.vt" '.guests[] | select(.name == "steady") | .vcpus[0].residual_ns == 0'
  stop_daemon
  [ ! -e "$dir/$second-wal" ]
  mapfile -t files < <(recordings)
  [ ${#files[@]} -eq 2 ]
  [ "$(basename "${files[0]}")" = "$first" ]
  joined "${files[@]}"
  [ "$(fact "${files[1]}" end_ns)" -gt "$(fact "${files[1]}" begin_ns)" ]
  conserved "${files[@]}"
}

@test "a new recording by size; the oldest go, but nothing that the service did not make" {
  mkdir -m 700 "$dir"
  echo diary >"$dir/vtime-20200101T000000.000Z.vt"
  guest left --workload spin --seconds 30
  guest right --workload spin --seconds 30
  start_daemon --rotate-size 100K --keep 2 --interval 50
  for ((i = 0; i < 100 && $(recordings | wc -l) < 3; i++)); do sleep 0.1; done
  first=$(recordings | sed -n 2p)
  for ((i = 0; i < 150; i++)); do
    [ -e "$first" ] || break
    sleep 0.1
  done
  [ ! -e "$first" ]
  stop_daemon
  [ "$(cat "$dir/vtime-20200101T000000.000Z.vt")" = diary ]
  mapfile -t files < <(recordings | sed 1d)
  [ ${#files[@]} -ge 2 ] && [ ${#files[@]} -le 3 ]
  joined "${files[@]}"
  [ "$(stat -c %s "${files[0]}")" -ge 102400 ]
  [ "$(stat -c %s "${files[0]}")" -lt 300000 ]
}

@test "only CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE stay, and new VMs are still found by name" {
  start_daemon --rotate-every 1s --interval 100
  status=/proc/$daemon_pid/status
  # bits 39, 38 and 19 of include/uapi/linux/capability.h
  [ "$(awk '$1 == "CapEff:" { print $2 }' "$status")" = 000000c000080000 ]
  [ "$(awk '$1 == "CapPrm:" { print $2 }' "$status")" = 000000c000080000 ]
  [ "$(awk '$1 == "CapBnd:" { print $2 }' "$status")" = 0000000000000000 ]
  [ "$(awk '$1 == "CapAmb:" { print $2 }' "$status")" = 0000000000000000 ]
  [ "$(awk '$1 == "NoNewPrivs:" { print $2 }' "$status")" = 1 ]
  # and the child that switches the kernel's timing on has that one capability (bit 21), and no file
  child=$(ps -o pid= --ppid "$daemon_pid" | tr -d ' ')
  [ "$(awk '$1 == "CapEff:" { print $2 }' "/proc/$child/status")" = 0000000000200000 ]
  [ "$(find "/proc/$child/fd" -type l | wc -l)" -eq 1 ]
  # another user's too, as libvirt's guests are (who may open /dev/kvm, whomever it belongs to)
  setpriv --reuid 65534 --clear-groups --inh-caps +dac_override --ambient-caps +dac_override "$VTIME" run --name nobodys --workload spin --seconds 1.5 >/dev/null 2>"$BATS_TEST_TMPDIR/run.log" 3>&- &
  guest_pid=$!
  guest late --workload spin --seconds 1.5
  sleep 2.5
  stop_daemon
  mapfile -t files < <(recordings)
  [ ${#files[@]} -ge 2 ]
  for name in late nobodys; do
    awk -v s="$(seconds_of $name '.RUN.ns + .PREEMPTED.ns' "${files[@]}")" 'BEGIN { exit s < 1 }'
  done
  [ ! -e "/proc/$child" ]
  [ "$(sqlite3 "${files[0]}" 'select max(bpf_runs) from observer')" -gt 0 ]
  # schedstat of the other user's thread could be read
  [ "$(sqlite3 "${files[0]}" "select count(*) from checkpoint as c join vcpu as v on v.id = c.vcpu join vm on vm.id = v.vm where vm.name = 'nobodys' and proc_run_ns > 0")" -gt 0 ]
}

@test "the service manager hears that it is ready, lives and stops; the watchdog only after a commit" {
  "$MANAGER" "$BATS_TEST_TMPDIR/notify" >"$BATS_TEST_TMPDIR/words" 3>&- &
  sleep 0.3
  NOTIFY_SOCKET=$BATS_TEST_TMPDIR/notify WATCHDOG_USEC=2000000 start_daemon --interval 200
  sleep 2
  kill -STOP "$daemon_pid"
  before=$(grep -c WATCHDOG=1 "$BATS_TEST_TMPDIR/words")
  sleep 1
  [ "$(grep -c WATCHDOG=1 "$BATS_TEST_TMPDIR/words")" -eq "$before" ]
  kill -CONT "$daemon_pid"
  sleep 0.5
  stop_daemon
  sleep 0.2
  cat "$BATS_TEST_TMPDIR/words"
  [ "$(cut -d' ' -f2- "$BATS_TEST_TMPDIR/words" | grep -n -x READY=1 | cut -d: -f1)" -le 2 ]
  grep -q "STATUS=recording into $dir/vtime-" "$BATS_TEST_TMPDIR/words"
  [ "$before" -ge 7 ]
  [ "$(tail -n 1 "$BATS_TEST_TMPDIR/words" | cut -d' ' -f2-)" = STOPPING=1 ]
  # a watchdog quicker than the ticks would end us: that is told at once
  run env NOTIFY_SOCKET="$BATS_TEST_TMPDIR/notify" WATCHDOG_USEC=300000 "$VTIME" record --daemon -o "$dir" --interval 200
  [ "$status" -eq 1 ]
  [[ $output == *WatchdogSec* ]]
}

@test "others are kept out; a group that may read, reads while it is written" {
  local group
  group=$(getent group 65534 | cut -d: -f1)
  chmod 711 "$BATS_TEST_TMPDIR"
  guest seen --workload spin --seconds 20
  start_daemon --interval 100
  sleep 0.5
  [ "$(stat -c %a "$dir")" = 700 ]
  [ "$(stat -L -c %a "$dir/live.vt")" = 600 ]
  run setpriv --reuid 65534 --regid 65534 --clear-groups "$VTIME" report --json "$dir/live.vt"
  [ "$status" -eq 1 ]
  stop_daemon
  rm -r "$dir"
  start_daemon --interval 100 --group "$group"
  sleep 1
  [ "$(stat -c %a:%G "$dir")" = "2750:$group" ]
  [ "$(stat -L -c %a:%G "$dir/live.vt")" = "640:$group" ]
  setpriv --reuid 65534 --regid 65534 --clear-groups "$VTIME" report --json "$dir/live.vt" |
    jq -e '.guests[] | select(.name == "seen") | .vcpus[0].residual_ns == 0'
  run setpriv --reuid 65533 --regid 65533 --clear-groups "$VTIME" report --json "$dir/live.vt"
  [ "$status" -eq 1 ]
  run "$VTIME" record --daemon -o "$dir"
  [ "$status" -eq 1 ]
  [[ $output == *"in use by another"* ]]
  stop_daemon
  chmod 777 "$dir"
  run "$VTIME" record --daemon -o "$dir"
  [ "$status" -eq 1 ]
  [[ $output == *"others must not write"* ]]
}

@test "disk full: what was committed is intact, the ledger goes on, the gap is LOST, nothing falls between" {
  dir=$BATS_TEST_TMPDIR/disk/recordings
  mkdir "$BATS_TEST_TMPDIR/disk"
  mount -t tmpfs -o size=4m,mode=755 none "$BATS_TEST_TMPDIR/disk"
  guest steady --workload spin --seconds 60
  guest other --workload spin --seconds 60
  start_daemon --interval 100
  sleep 1
  dd if=/dev/zero of="$BATS_TEST_TMPDIR/disk/ballast" bs=4k 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do
    grep -q 'disk full' "$BATS_TEST_TMPDIR/log" && break
    sleep 0.1
  done
  grep -q 'disk full' "$BATS_TEST_TMPDIR/log"
  sleep 1.5
  kill -0 "$daemon_pid"
  rm "$BATS_TEST_TMPDIR/disk/ballast"
  sleep 2
  stop_daemon
  cat "$BATS_TEST_TMPDIR/log"
  grep -q 'recording goes on in' "$BATS_TEST_TMPDIR/log"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/log")" -eq 2 ]
  mapfile -t files < <(recordings)
  [ ${#files[@]} -eq 2 ]
  joined "${files[@]}"
  for file in "${files[@]}"; do
    report "$file" '[.guests[].vcpus[].residual_ns] | all(. == 0)'
  done
  # the gap is in the second, and as long as it was
  lost=$(seconds_of steady .LOST.ns "${files[1]}")
  awk -v lost="$lost" 'BEGIN { exit !(lost > 1.4 && lost < 30) }'
  [ "$(seconds_of steady .LOST.ns "${files[0]}")" = 0.000000000 ]
  report "${files[1]}" '.lost.store > 0'
  told=$(sed -n 's/.*; \([0-9.]*\) s are LOST.*/\1/p' "$BATS_TEST_TMPDIR/log")
  within "$lost" "$told" 0.2
}

@test "a full disk takes the oldest recordings first, if any may go" {
  dir=$BATS_TEST_TMPDIR/disk/recordings
  mkdir "$BATS_TEST_TMPDIR/disk"
  mount -t tmpfs -o size=4m,mode=755 none "$BATS_TEST_TMPDIR/disk"
  guest steady --workload spin --seconds 60
  guest other --workload spin --seconds 60
  start_daemon --interval 100 --keep 100 --rotate-every 1s
  sleep 3.3
  [ "$(recordings | wc -l)" -ge 3 ]
  first=$(recordings | head -n 1)
  dd if=/dev/zero of="$BATS_TEST_TMPDIR/disk/ballast" bs=4k 2>/dev/null || true
  for ((i = 0; i < 200; i++)); do
    [ -e "$first" ] || break
    sleep 0.1
  done
  [ ! -e "$first" ]
  kill -0 "$daemon_pid"
  stop_daemon || true
  grep -q 'the oldest recording was removed' "$BATS_TEST_TMPDIR/log"
}

@test "killed, it leaves what it had committed, and starts again" {
  guest steady --workload spin --seconds 30
  start_daemon --interval 100
  sleep 1
  kill -KILL "$daemon_pid"
  wait "$daemon_pid" || true
  start_daemon --interval 100
  sleep 1
  stop_daemon
  mapfile -t files < <(recordings)
  [ ${#files[@]} -eq 2 ]
  for file in "${files[@]}"; do
    report "$file" '.guests[] | select(.name == "steady") | .vcpus[0] | .residual_ns == 0 and .window_ns > 500000000'
  done
}

@test "vtop follows live.vt from one recording to the next, and misses no time" {
  guest steady --workload spin --seconds 30
  start_daemon --rotate-every 1s --interval 100
  timeout 30 "$VTIME" top --json -d 0.3 -f "$dir/live.vt" >"$BATS_TEST_TMPDIR/top" 3>&- &
  vtop=$!
  sleep 4
  stop_daemon
  wait "$vtop"
  mapfile -t files < <(recordings)
  [ ${#files[@]} -ge 3 ]
  joined "${files[@]}"
  # its windows, added up, are the time from the first recording's begin to the last one's end
  told=$(jq -s '[.[] | select(.guests | length > 0) | .window_ns] | add / 1e9' "$BATS_TEST_TMPDIR/top")
  within "$told" "$(awk -v a="$(fact "${files[0]}" begin_ns)" -v b="$(fact "${files[-1]}" end_ns)" 'BEGIN { printf "%.9f", (b - a) / 1e9 }')" 0.000001
  jq -s -e '[.[].guests[].residual_ns] | all(. == 0)' "$BATS_TEST_TMPDIR/top"
}

@test "the unit that is installed is one that systemd takes" {
  command -v systemd-analyze >/dev/null || skip "no systemd-analyze"
  make -C "$BATS_TEST_DIRNAME/../.." -s BUILD="$(dirname "$(dirname "$VTIME")")" install DESTDIR="$BATS_TEST_TMPDIR/root" PREFIX=/usr >/dev/null
  unit=$BATS_TEST_TMPDIR/root/usr/lib/systemd/system/vtime.service
  grep -q '^ExecStart=/usr/bin/vtime record --daemon' "$unit"
  run grep @ "$unit"
  [[ $output != *@BINDIR@* ]]
  sed -i "s,/usr/bin/vtime,$VTIME," "$unit"
  run systemd-analyze verify --man=no "$unit"
  echo "$output"
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

@test "with no more than the unit's capabilities it does its work" {
  caps=$(sed -n 's/^CapabilityBoundingSet=//p' "$BATS_TEST_DIRNAME/../../packaging/vtime.service.in" |
    tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
  guest steady --workload spin --seconds 10
  setpriv --bounding-set "-all,$caps" --inh-caps "-all" "$VTIME" record --daemon -o "$dir" --for 2.5 --rotate-every 1s --interval 100 3>&-
  mapfile -t files < <(recordings)
  [ ${#files[@]} -ge 2 ]
  joined "${files[@]}"
  conserved "${files[@]}"
  awk -v s="$(seconds_of steady '.RUN.ns + .PREEMPTED.ns' "${files[@]}")" 'BEGIN { exit s < 2 }'
}

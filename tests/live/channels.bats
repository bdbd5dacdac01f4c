#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Agents' channels: how they are reached, what is measured over them, and what a hostile one can do.

load helpers

SIM=$LIVE/agentsim

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# start_sim WHERE SECONDS WHAT…: the guest's end; its process is the VM, $sim_pid
start_sim() {
  "$SIM" "$@" >"$BATS_TEST_TMPDIR/sim.out" 2>&1 3>&- &
  sim_pid=$!
}

sql() { sqlite3 "$run_vt" "$1"; }

# events NAME-LIKE: the kinds of channel events of a VM
events() {
  sql "select group_concat(name) from (select distinct c.name from channel_event e join vm on vm.id = e.vm
    join code c on c.kind = 'channel' and c.value = e.kind where vm.name like '$1' order by c.name)"
}

# check_agent: what an honest agent on this host must leave behind; its TSC is the host's
check_agent() {
  [ "$(sql 'select count(*) >= 8 from exchange')" = 1 ]
  [ "$(sql 'select count(*) from exchange where not (sent_tsc <= guest_received_tsc and
    guest_received_tsc <= guest_sent_tsc and guest_sent_tsc <= received_tsc and sent_ns <= received_ns)')" = 0 ]
  [ "$(sql 'select count(*) >= 10 from os_view')" = 1 ]
  [ "$(sql 'select count(*) from (select id from os_view group by tsc_0 having count(*) > 1)')" = 0 ]
  [ "$(sql 'select count(*) >= 1 from hello')$(sql 'select count(*) >= 1 from system')" = 11 ]
  [ "$(sql "select count(*) from exchange where session not in (select session from system)")" = 0 ]
  [ "$(events 'agentsim/%')" = "$1" ]
}

@test "an agent behind a unix socket, a TCP port or a terminal is asked, and heard in order" {
  local where
  for where in unix-listen:$BATS_TEST_TMPDIR/s tcp-listen:127.0.0.1:34571 pty:$BATS_TEST_TMPDIR/p; do
    start_sim "$where" 4
    sleep 0.3
    where=${where/-listen/}
    start_record "$run_vt" --agent "$sim_pid=${where/pty/tty}"
    sleep 2.5
    stop_record
    wait "$sim_pid"
    check_agent OPENED,SESSION || [[ $where == pty* ]] # a terminal echoes until it is told not to
  done
}

@test "an agent that connects to us is let in once its VM is known" {
  local where
  for where in unix-listen:$BATS_TEST_TMPDIR/l tcp-listen:127.0.0.1:34572; do
    mkfifo "$BATS_TEST_TMPDIR/go"
    # the process that will be the agent, known by its pid before it connects
    sh -c "read -r _ <'$BATS_TEST_TMPDIR/go'; exec '$SIM' '${where/-listen/}' 3" >"$BATS_TEST_TMPDIR/sim.out" 2>&1 3>&- &
    sim_pid=$!
    start_record "$run_vt" --agent "$sim_pid=$where"
    echo go >"$BATS_TEST_TMPDIR/go"
    wait "$sim_pid"
    sleep 0.6
    stop_record
    rm "$BATS_TEST_TMPDIR/go"
    [ "$(sql 'select count(*) from mark')" = 2 ]
    [ "$(sql 'select count(*) >= 8 from exchange')" = 1 ]
  done
  [ ! -e "$BATS_TEST_TMPDIR/l" ] # the socket goes with the recorder
}

@test "an agent at the recorder's own socket is asked, too" {
  start_record "$run_vt"
  start_sim "unix:$BATS_TEST_TMPDIR/agent" 3
  wait "$sim_pid"
  sleep 0.6
  stop_record
  check_agent CLOSED,SESSION
  [ "$(sql 'select count(*) from mark')" = 2 ]
}

@test "an agent that begins anew is another session, and nothing is taken twice" {
  start_sim "unix-listen:$BATS_TEST_TMPDIR/s" 4 anew
  sleep 0.3
  start_record "$run_vt" --agent "$sim_pid=unix:$BATS_TEST_TMPDIR/s"
  sleep 2.5
  stop_record
  wait "$sim_pid"
  [ "$(sql 'select count(distinct session) >= 4 from exchange')" = 1 ]
  [ "$(sql 'select count(distinct session) >= 4 from system')" = 1 ]
  [ "$(sql "select sum(count(*)) over () from channel_event join code c on c.kind = 'channel' and c.value = channel_event.kind
    where c.name = 'SESSION' limit 1")" -ge 3 ]
  [ "$(sql 'select count(*) from (select id from os_view group by tsc_0 having count(*) > 1)')" = 0 ]
}

@test "an agent that does not answer is told as silent, and costs nobody anything" {
  start_sim "unix-listen:$BATS_TEST_TMPDIR/s" 4 deaf
  sleep 0.3
  start_record "$run_vt" --agent "$sim_pid=unix:$BATS_TEST_TMPDIR/s"
  sleep 2.5
  stop_record
  wait "$sim_pid"
  [ "$(events 'agentsim/%')" = OPENED,SILENT ]
  [ "$(sql 'select count(*) from exchange')" = 0 ]
}

@test "what cannot be reached is said once, and a VM that is not there at the end" {
  sleep 30 3>&- &
  run "$VTIME" record -f -o "$run_vt" --for 1.5 --agent "$!=unix:$BATS_TEST_TMPDIR/none" --agent "nobody=tcp:127.0.0.1:9" --vm nosuch
  [ "$status" -eq 0 ]
  [[ $output == *"--agent nobody: there was no such VM"* ]]
  [[ $output == *"--vm nosuch: there was no such VM"* ]]
  [ "$(events 'sleep/%')" = FAILED ]
  [ "$(sql 'select count(*) from channel_event')" = 1 ]
}

# start_port: a QEMU whose firmware has no agent, $qemu; its port's socket is there
start_port() {
  command -v qemu-system-x86_64 >/dev/null || skip "no qemu-system-x86_64"
  qemu-system-x86_64 -name guest=found -accel kvm -m 64 -display none -nodefaults -device virtio-serial \
    -chardev "socket,id=ch0,path=$BATS_TEST_TMPDIR/q,server=on,wait=off" \
    -device virtserialport,chardev=ch0,name=org.vtime.agent.0 >"$BATS_TEST_TMPDIR/qemu.out" 2>&1 3>&- &
  qemu=$!
  for _ in $(seq 100); do
    [ ! -S "$BATS_TEST_TMPDIR/q" ] || break
    sleep 0.05
  done
}

# import_into NAME FILE…: a copy of the recording, and these files of owner's in it
import_into() {
  local copy=$BATS_TEST_TMPDIR/$1.vt file
  local files=()
  shift
  for file; do
    files+=(--agent "owner=file:$file")
  done
  cp "$run_vt" "$copy"
  "$VTIME" import "$copy" "${files[@]}" 2>&1
}

# bench_in COPY NAME: true elapsed ns, accuracy and bound of that benchmark
bench_in() {
  "$VTIME" report --json "$BATS_TEST_TMPDIR/$1.vt" |
    jq -r --arg name "$2" '[.guests[] | select(.name == "owner") | .benchmarks[] | select(.name == $name) |
      .true.elapsed | "\(.ns) \(.accuracy) \(.bound_ns)"] | join(";")'
}

@test "a file's benchmark has its true length, with what was written after the recording's end or without" {
  local tmp=$BATS_TEST_TMPDIR offset='' elapsed accuracy bound
  start_record "$run_vt"
  start_guest owner --workload spin --seconds 12
  for _ in $(seq 100); do
    offset=$(sql 'select offset_ticks from tsc_epoch limit 1' 2>/dev/null || true)
    [ -z "$offset" ] || break
    sleep 0.1
  done
  [ -n "$offset" ]
  "$SIM" "file:$tmp/short" 1 "offset=$offset" claim=short >"$tmp/short.out"
  "$SIM" "file:$tmp/long" 1 "offset=$offset" claim=long tail=5 >"$tmp/long.out" 3>&- &
  sim_pid=$!
  sleep 2
  stop_record
  local stopped ahead
  stopped=$(date +%s%N)
  wait "$sim_pid"
  wait "$guest_pid"
  # booted after the end, with a TSC that began anew: what it would have shown 1.6 s before the end
  ahead=$(sql "select cast((max(tsc_ticks) - min(tsc_ticks)) * 1e0 / (max(at_ns) - min(at_ns)) *
    ($(date +%s%N) - $stopped + 1600000000) as integer) from clock_pair")
  "$SIM" "file:$tmp/again" 1 "offset=$((offset - ahead))" claim=again >"$tmp/again.out"
  cat "$tmp/long" "$tmp/again" >"$tmp/booted"

  run import_into short "$tmp/short"
  [[ $output == *" records of owner, 0 frames missing, 0 damaged, 0 bytes of garbage" ]]
  run import_into long "$tmp/long"
  [[ $output == *" records of owner left out: made after the end of "* ]]
  run import_into both "$tmp/short" "$tmp/long"
  [ "$status" -eq 0 ]
  cat "$tmp/short" "$tmp/short" >"$tmp/twice"
  run import_into twice "$tmp/twice"
  [[ $output == *" records of owner left out: the file has them twice" ]]
  for in in short:short long:long both:short both:long twice:short; do
    read -r elapsed accuracy bound < <(bench_in "${in%:*}" "${in#*:}")
    [ "$accuracy" = bounded ]
    [ "$bound" -le 100000 ]
    within "$elapsed" "$(awk '$1 == "benchmark" { print $2 }' "$tmp/${in#*:}.out")" 1000000
  done
  [ "$(sqlite3 "$tmp/twice.vt" 'select count(*) from os_view')" = "$(sqlite3 "$tmp/short.vt" 'select count(*) from os_view')" ]
  # what was made after the end is told of by name, and does not hide that it can't be judged
  run report "$tmp/long.vt" '[.guests[] | select(.name == "owner") | .marks[] | select(.name == "tail") | .lacks] == ["recording"]'
  [ "$output" = true ]
  "$VTIME" report --fail-if 'paused>50%' "$tmp/long.vt" >/dev/null
  # the earlier boot's map is none of the later one's: told by itself it can't be known
  run import_into again "$tmp/again"
  [ "$(bench_in again again)" != "" ]
  run import_into booted "$tmp/booted"
  [ "$(bench_in booted again)" = "" ]
  [ "$(bench_in booted long)" = "$(bench_in long long)" ]
  # all of them or none
  run import_into none "$tmp/short" "$tmp/missing"
  [ "$status" -eq 1 ]
  [ "$(sqlite3 "$tmp/none.vt" 'select count(*) from system')" = 0 ]
  run "$VTIME" import "$tmp/none.vt" --agent "owner=file:$tmp/short"
  [ "$status" -eq 0 ]
  run "$VTIME" import "$tmp/none.vt" --agent "owner=file:$tmp/short"
  [ "$status" -eq 1 ]
  [[ $output == *"never replaced: take a copy"* ]]
}

@test "QEMU's port for an agent is found" {
  start_record "$run_vt" --interval 20 # soon: another recorder on this machine may look for it, too
  start_port
  sleep 4
  stop_record
  kill "$qemu"
  wait "$qemu" || true
  [ "$(events found)" = OPENED,SILENT ] # nobody answers
}

@test "QEMU's port that somebody else holds is left to him, and that is said: once, at the end and in the report" {
  start_port
  "$SIM" "unix:$BATS_TEST_TMPDIR/q" 6 deaf >"$BATS_TEST_TMPDIR/sim.out" 2>&1 3>&- &
  sim_pid=$!
  sleep 0.5
  "$VTIME" record -f -o "$run_vt" --for 4 --vm found 2>"$BATS_TEST_TMPDIR/record.err"
  kill "$qemu"
  wait "$qemu" || true
  wait "$sim_pid"
  [ "$(sql "select count(*) from channel_event")$(events found)" = 1HELD ]
  grep -q "found: another has its agent's port" "$BATS_TEST_TMPDIR/record.err"
  "$VTIME" report --clocks "$run_vt" >"$BATS_TEST_TMPDIR/report.txt"
  tr -s ' \n' ' ' <"$BATS_TEST_TMPDIR/report.txt" | grep -q "the agent's port was held by another once"
}

@test "what an agent wrote to a file is put into a recording that has ended, once" {
  start_record "$run_vt"
  start_guest owner --workload spin --seconds 2
  "$SIM" "file:$BATS_TEST_TMPDIR/words" 2 >"$BATS_TEST_TMPDIR/sim.out"
  run "$VTIME" import "$run_vt" --agent "owner=file:$BATS_TEST_TMPDIR/words"
  [ "$status" -eq 1 ] # it is being written
  wait "$guest_pid"
  stop_record
  run "$VTIME" import "$run_vt" --agent "nobody=file:$BATS_TEST_TMPDIR/words"
  [ "$status" -eq 1 ]
  [[ $output == *"no VM called nobody"* ]]
  head -c 3000 "$BATS_TEST_TMPDIR/words" >"$BATS_TEST_TMPDIR/mixed"
  head -c 700 /dev/urandom >>"$BATS_TEST_TMPDIR/mixed"
  cat "$BATS_TEST_TMPDIR/words" >>"$BATS_TEST_TMPDIR/mixed"
  cp "$run_vt" "$BATS_TEST_TMPDIR/other.vt"
  run "$VTIME" import "$run_vt" --agent "owner=file:$BATS_TEST_TMPDIR/words"
  [ "$status" -eq 0 ]
  [[ $output == *" records of owner, 0 frames missing, 0 damaged, 0 bytes of garbage" ]]
  [ "$(sql 'select count(*) >= 15 from os_view')" = 1 ]
  [ "$(sql "select count(*) from mark where host_tsc = 0 and host_ns = (select value from meta where key = 'end_ns')")" = 2 ]
  [ -z "$(events owner)" ]
  run "$VTIME" import "$run_vt" --agent "owner=file:$BATS_TEST_TMPDIR/words"
  [ "$status" -eq 1 ]
  [[ $output == *"already"* ]]
  run "$VTIME" report "$run_vt"
  [ "$status" -eq 0 ]
  run_vt=$BATS_TEST_TMPDIR/other.vt
  "$VTIME" import -q "$run_vt" --agent "owner=file:$BATS_TEST_TMPDIR/mixed"
  [[ $(events owner) == *GARBAGE* ]]
}

# most_memory: of the recorder until now, in KiB
most_memory() { awk '$1 == "VmHWM:" { print $2 }' "/proc/$record_pid/status"; }

# The store's own cache grows with the first rows, and no more than that is allowed, KiB.
MEMORY_ALLOWED=$((16 << 10))

# named KIND…: each stands in the report's list of events of the hostile guest, in words too
named() {
  local kind
  "$VTIME" report --json "$run_vt" >"$BATS_TEST_TMPDIR/named"
  for kind in "$@"; do
    jq -e --arg k "$kind" '[.guests[] | select(.name | startswith("agentsim")).events[] | select(.kind == $k)] | length >= 1' \
      "$BATS_TEST_TMPDIR/named" >/dev/null || { echo "not named: $kind" && return 1; }
  done
  "$VTIME" report "$run_vt" | grep -q '^Events: '
}

# beside_a_guest SECONDS WHAT…: a payload guest that marks its work, and the hostile one
beside_a_guest() {
  local seconds=$1
  shift
  start_sim "unix-listen:$BATS_TEST_TMPDIR/s" $((seconds + 3)) "$@"
  sleep 0.3
  start_record "$run_vt" --agent "$sim_pid=unix:$BATS_TEST_TMPDIR/s"
  local before
  before=$(most_memory)
  start_guest victim --workload spin --seconds "$seconds"
  wait "$guest_pid"
  sleep 0.6
  echo "# $*: the recorder had at most $before KiB before, $(most_memory) KiB after"
  [ $(($(most_memory) - before)) -lt $MEMORY_ALLOWED ]
  stop_record
  wait "$sim_pid"
  check_victim
}

# check_victim: a guest beside a hostile one
check_victim() {
  # the other guest: all its frames, exactly accounted, and nothing is said of its channel
  [ "$(sql "select group_concat(kind) from (select mark.kind from mark join vm on vm.id = mark.vm where vm.name = 'victim' order by mark.id)")" = 1,2 ]
  [ -z "$(events victim)" ]
  run report "$run_vt" '[.guests[] | select(.name == "victim") | .vcpus[].residual_ns == 0] | all and length == 1'
  [ "$output" = true ]
  # its clock and ours agree, and nothing befell it
  run report "$run_vt" '.guests[] | select(.name == "victim") | (.benchmarks | length == 1) and .events == [] and
    (.benchmarks[0] | .true.residual_ns == 0 and .true.elapsed.bound_ns < 1000 and
     (.believed.kvmclock.ns - .true.elapsed.ns | fabs) < 1e5)'
  [ "$output" = true ]
}

@test "a hostile agent is named for what it does, and another guest's marks and figures are whole" {
  beside_a_guest 4 lengths crc replay backwards escapes unasked tasks
  [ "$(events 'agentsim/%')" = ABSURD,DAMAGED,GARBAGE,OPENED,REPLAYED,SESSION ]
  named absurd damaged garbage replayed
  # at most one row of a kind and tick: half a second each
  [ "$(sql 'select max(n) <= 14 from (select count(*) as n from channel_event group by vm, kind)')" = 1 ]
  # nothing that a terminal would obey
  [ "$("$VTIME" report "$run_vt" | tr -d '[:print:]\n' | LC_ALL=C tr -d '\200-\377' | wc -c)" = 0 ]
  [ "$(sql "select count(*) from hello where name glob '*' || char(27) || '*'")" = 0 ]
  [ "$(sql "select count(*) > 0 from hello where name_hex is not null")" = 1 ]
}

@test "a guest that claims another's name is told, and stays who it is" {
  beside_a_guest 3 claim=victim anew # it says its name again and again, also once the other one is there
  [ "$(sql "select count(distinct text) || max(text) from channel_event e join code c on c.kind = 'channel' and c.value = e.kind where c.name = 'CLAIMED'")" = 1victim ]
  named claimed restarted
  [ "$("$VTIME" report "$run_vt" | grep -c 'channel: claimed to be victim, and is not')" = 1 ]
  [ "$(sql "select count(distinct vm) from os_view")" = 1 ]
  [ "$(sql "select vm.name like 'agentsim/%' from os_view join vm on vm.id = os_view.vm limit 1")" = 1 ]
}

@test "a flood of garbage waits; the collector's memory is bounded, and the other guest is served" {
  beside_a_guest 6 garbage
  [[ $(events 'agentsim/%') == *FLOODED*GARBAGE* ]]
  named flooded garbage
  run cat "$BATS_TEST_TMPDIR/sim.out"
  garbage=$(sed -n 's/.*garbage //p' "$BATS_TEST_TMPDIR/sim.out")
  # a mebibyte each tick, and what the socket holds
  ticks=$(sql 'select count(*) from observer')
  [ "$garbage" -gt $((2 << 20)) ]
  [ "$garbage" -le $(((ticks + 3) << 20)) ]
  # what it takes of memory beside the first writing: the store's own cache, and no more
  [ "$(sql 'select max(rss_bytes) - min(rss_bytes) < 16 << 20 from observer')" = 1 ]
}

@test "answers from the future, twice, and to what was not asked yet; tasks that overlap: named, and nobody else's" {
  beside_a_guest 4 future overlaps
  named absurd damaged overlaps epoch
  # no answer counts twice
  [ "$(sql 'select count(*) from (select 1 from exchange group by sent_ns having count(*) > 1)')" = 0 ]
  # and none of its figures is more than there was time
  run report "$run_vt" '[.guests[] | select(.name | startswith("agentsim")).benchmarks[] | .true.elapsed.ns] | all(. < 2e10)'
  [ "$output" = true ]
}

@test "another guest's session and boot id are believed of nobody but who has that channel" {
  local honest honest_vm
  "$SIM" "unix-listen:$BATS_TEST_TMPDIR/honest" 7 known >"$BATS_TEST_TMPDIR/honest.out" 2>&1 3>&- &
  honest=$!
  start_sim "unix-listen:$BATS_TEST_TMPDIR/s" 7 known future replay claim=inside
  sleep 0.3
  start_record "$run_vt" --agent "$honest=unix:$BATS_TEST_TMPDIR/honest" --agent "$sim_pid=unix:$BATS_TEST_TMPDIR/s"
  sleep 4
  stop_record
  wait "$honest" "$sim_pid"
  honest_vm=$(sql "select id from vm where tgid = $honest")
  [ "$(sql 'select count(distinct session) from system')" = 1 ] # both say the same
  [ "$(sql "select group_concat(kind) from channel_event where vm = $honest_vm and kind not in
    (select value from code where code.kind = 'channel' and name in ('OPENED', 'SESSION'))")" = "" ]
  run report "$run_vt" ".guests[] | select(.pid == $honest) | .events == [] and (.clocks[-1] | .boots == 1 and
    .sessions == 1 and .exchanges.count >= 8 and .exchanges.absurd == 0 and .agent.views >= 20 and
    .agent.views_unmapped == 0 and .system_clocks.monotonic.steps == 0)"
  [ "$output" = true ]
  named absurd
}

@test "sound frames at more than ten times what is allowed: the rest waits" {
  beside_a_guest 4 rate
  named flooded
  local ticks views
  ticks=$(sql 'select count(*) from observer')
  views=$(sql 'select count(*) from os_view')
  echo "# $views views in $ticks ticks, $(tail -n 1 "$BATS_TEST_TMPDIR/sim.out")"
  # 4096 each tick; a read that is under way is finished
  [ "$views" -le $(((ticks + 3) * 4500)) ]
}

@test "who reads nothing is told as silent; questions don't pile up" {
  beside_a_guest 4 noread
  named silent
  [ "$(sql 'select count(*) < 10 from exchange')" = 1 ]
}

@test "a thousand connections leave no trace in memory, descriptors or another guest" {
  local before fds
  start_record "$run_vt"
  start_guest victim --workload spin --seconds 4
  sleep 1
  before=$(most_memory)
  fds=$(find "/proc/$record_pid/fd" | wc -l)
  start_sim "unix:$BATS_TEST_TMPDIR/agent" 2 connects
  wait "$sim_pid"
  wait "$guest_pid"
  sleep 1.2
  echo "# at most $before KiB before, $(most_memory) KiB after; $fds descriptors, $(find "/proc/$record_pid/fd" | wc -l)"
  [ $(($(most_memory) - before)) -lt $MEMORY_ALLOWED ]
  [ "$(find "/proc/$record_pid/fd" | wc -l)" -le $((fds + 4)) ]
  stop_record
  check_victim
  [ "$(sql "select count(*) from mark join vm on vm.id = mark.vm where vm.name like 'agentsim/%'")" = 2 ] # the last one was heard
}

@test "a file of a gigabyte of garbage is passed over, in bounded memory" {
  start_record "$run_vt"
  start_guest owner --workload spin --seconds 2
  "$SIM" "file:$BATS_TEST_TMPDIR/words" 1 >"$BATS_TEST_TMPDIR/sim.out"
  wait "$guest_pid"
  stop_record
  head -c 20000000 /dev/urandom >"$BATS_TEST_TMPDIR/junk"
  truncate -s 1G "$BATS_TEST_TMPDIR/junk" # the rest is zeros, which take no room
  cat "$BATS_TEST_TMPDIR/words" >>"$BATS_TEST_TMPDIR/junk"
  # no more than so much of address space: what is not bounded fails
  (ulimit -v $((256 << 10)) && "$VTIME" import "$run_vt" --agent "owner=file:$BATS_TEST_TMPDIR/junk") >"$BATS_TEST_TMPDIR/said" 2>&1
  rm "$BATS_TEST_TMPDIR/junk"
  grep -q '107[0-9]\{7\} bytes of garbage' "$BATS_TEST_TMPDIR/said"
  [ "$(sql 'select count(*) >= 8 from os_view')" = 1 ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# VMs that come and go, some of them killed: nothing leaks, nothing is left over,
# nobody is taken for another. 60 s; VT_SOAK_SECONDS for longer, VT_SOAK_RECORDER for
# another build of vtime that records (a sanitized one).

load helpers

soak_seconds=${VT_SOAK_SECONDS:-60}
prefix=churn$$-

setup() {
  needs_kvm
  run_vt=$BATS_TEST_TMPDIR/run.vt
  log=$BATS_TEST_TMPDIR/log
  soak_db=$BATS_TEST_TMPDIR/soak.db
  : >"$log"
}

# CLOCK_MONOTONIC in ms, near enough: the same but for suspends, and to 10 ms
now_ms() {
  local up
  read -r up _ </proc/uptime
  echo $((${up/./} * 10))
}

declare -A name_of=() threads_of=() start_of=() born_after=() kill_at=() killed=() vcpus_of=() seen_at=()

# begin_vm N: a VM of one or two vCPUs for 0.4 to 2.5 s; every fourth is to be killed
begin_vm() {
  local n=$1 vcpus=$((1 + $1 % 5 / 4)) workload=mix ms=$((400 + RANDOM % 2100))
  [ $((n % 3)) -ne 0 ] || workload=spin
  local before
  before=$(now_ms)
  start_guest "$prefix$n" --workload $workload --vcpus $vcpus --seconds "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
  name_of[$guest_pid]=$prefix$n
  born_after[$guest_pid]=$before
  vcpus_of[$guest_pid]=$vcpus
  kill_at[$guest_pid]=$([ $((n % 4)) -eq 0 ] && echo $((before + 200 + RANDOM % 600)) || echo 0)
  killed[$guest_pid]=0
}

# learn PID: its start time and its vCPUs' threads, as /proc has them, once they are there
learn() {
  local pid=$1 task comm tids=() stat
  for task in "/proc/$pid/task"/*; do
    read -r comm 2>/dev/null <"$task/comm" && [[ $comm == vt:churn* ]] && tids+=("${task##*/}")
  done
  [ "${#tids[@]}" -eq "${vcpus_of[$pid]}" ] || return 0
  read -r stat 2>/dev/null <"/proc/$pid/stat" || return 0
  stat=${stat##*) }
  # shellcheck disable=SC2086  # words
  set -- $stat
  start_of[$pid]=${20}
  threads_of[$pid]=${tids[*]}
}

# end_vm PID LATEST: what the starter knows of it, a line per vCPU
end_vm() {
  local pid=$1 tid
  for tid in ${threads_of[$pid]:-}; do
    echo "${name_of[$pid]} $pid ${start_of[$pid]} $tid ${vcpus_of[$pid]} ${born_after[$pid]} ${killed[$pid]} ${seen_at[$pid]} $2" >>"$log"
  done
  [ -n "${threads_of[$pid]:-}" ] || echo "${name_of[$pid]}" >>"$log.unseen"
  unset "name_of[$pid]" "threads_of[$pid]" "start_of[$pid]" "born_after[$pid]" "kill_at[$pid]" "killed[$pid]" "vcpus_of[$pid]" "seen_at[$pid]"
}

# look_round: kills whose time has come, and notes who is gone
look_round() {
  local pid now
  for pid in "${!name_of[@]}"; do
    [ -n "${threads_of[$pid]:-}" ] || learn "$pid"
    now=$(now_ms)
    if [ "${kill_at[$pid]}" -gt 0 ] && [ "$now" -ge "${kill_at[$pid]}" ] && [ -n "${threads_of[$pid]:-}" ]; then
      seen_at[$pid]=$now
      if kill -KILL "$pid" 2>/dev/null; then killed[$pid]=1; fi
      wait "$pid" || true
      end_vm "$pid" $(($(now_ms) + 10))
    elif kill -0 "$pid" 2>/dev/null; then
      seen_at[$pid]=$now
    else
      wait "$pid" || true
      end_vm "$pid" $(($(now_ms) + 10))
    fi
  done
}

# churn SECONDS: a new VM every third of a second, five at a time at the most
churn() {
  local end=$((SECONDS + $1)) n=0
  while [ $SECONDS -lt "$end" ] || [ ${#name_of[@]} -gt 0 ]; do
    if [ $SECONDS -lt "$end" ] && [ ${#name_of[@]} -lt 5 ]; then
      n=$((n + 1))
      begin_vm $n
    fi
    sleep 0.15
    look_round
    sleep 0.15
    look_round
  done
  echo "$n VMs"
}

# map_id NAME: the recorder's BPF map of this name
map_id() {
  local id
  for id in $(bpftool map show -j | jq ".[] | select(.name == \"$1\").id"); do
    grep -qs "^map_id:[[:space:]]*$id\$" "/proc/$record_pid/fdinfo/"* && echo "$id" && return
  done
}

# slots_of_the_dead: the slots whose thread is no more, of those that have a life (in use) or
# that a vCPU is looked up in
slots_of_the_dead() {
  local tgid tid comm
  bpftool map dump id "$(map_id slots)" -j >"$BATS_TEST_TMPDIR/slots.json"
  bpftool map dump id "$(map_id slot_of_vcpu)" -j >"$BATS_TEST_TMPDIR/vcpus.json"
  jq -n -r --slurpfile slots "$BATS_TEST_TMPDIR/slots.json" --slurpfile vcpus "$BATS_TEST_TMPDIR/vcpus.json" '
    [$slots[0][].formatted.value] as $s |
    ($s[] | select(.tid != 0 and .sched != 4)), ($s[$vcpus[0][].formatted.value.slot]) |
    "\(.tgid) \(.tid) \(.comm)"' |
    while read -r tgid tid comm; do
      [ -e "/proc/$tgid/task/$tid" ] || echo "$tgid $tid $comm"
    done
}

@test "VMs come and go: no leak, no stale entry, no confusion" {
  PATH=$PATH:/usr/sbin:/sbin
  VTIME=${VT_SOAK_RECORDER:-$VTIME} start_record "$run_vt" --interval 200
  # more lives than there are slots: they must come back
  (for _ in {1..10}; do
    "$BATS_TEST_DIRNAME/../../build/tests/live/oddvmm" alt 250
    sleep 0.7
  done && : >"$BATS_TEST_TMPDIR/odd") 3>&- &
  odd=$!
  churn "$soak_seconds"
  wait "$odd" || [ $? -eq 127 ] # after thousands of children the shell has forgotten it
  [ -e "$BATS_TEST_TMPDIR/odd" ]
  sleep 1
  # twice: others' VMs may end while we look
  slots_of_the_dead | sort -u >"$BATS_TEST_TMPDIR/dead"
  sleep 1
  slots_of_the_dead | sort -u >"$BATS_TEST_TMPDIR/dead-still"
  [ -s "$BATS_TEST_TMPDIR/vcpus.json" ]
  run comm -12 "$BATS_TEST_TMPDIR/dead" "$BATS_TEST_TMPDIR/dead-still"
  echo "left over: $output"
  [ "$output" = "" ]
  stop_record
  # on a busy machine one may be over before its starter had looked: it is looked for by its name only
  touch "$log.unseen"
  echo "ended before they were looked at: $(wc -l <"$log.unseen")"
  [ "$(wc -l <"$log.unseen")" -le $(($(wc -l <"$log") / 100)) ]

  # each VM and each of its threads is in the recording once, by its own process, start and name; a VM that
  # was over before the recorder looked once can't be asked for its name, and has its process's
  sqlite3 "$soak_db" "attach '$run_vt' as r" \
    "create table log (name text, pid int, start_ticks int, tid int, vcpus int, born_after_ms int, killed int, seen_ms int, gone_ms int)" \
    'create table unseen (name text)' \
    '.mode list' '.separator " "' ".import $log log" ".import $log.unseen unseen" \
    "create table found as select log.name, log.tid, v.id as vcpu, vm.id as vm, vm.name as called from log
       join r.vm as vm on vm.tgid = log.pid and abs(vm.start_time_ns / 1000000 - log.start_ticks * 10) <= 10
       join r.vcpu as v on v.vm = vm.id and v.tid = log.tid
      where vm.name = log.name or not exists (select 1 from r.observer as o
        where o.at_ns between v.born_ns and log.seen_ms * 1000000)" \
    "select 'named by their process: ' || count(*) from found where name != called" >"$BATS_TEST_TMPDIR/imported"
  tail -n 1 "$BATS_TEST_TMPDIR/imported"
  run sqlite3 "$soak_db" "attach '$run_vt' as r" "
    select 'VMs', (select count(*) from r.vm where name like '$prefix%') +
                  (select count(distinct vm) from found where name != called) -
                  (select count(distinct name) from log) - (select count(*) from unseen)
    union all select 'not as they were', count(*) from (
      select log.name, count(found.vcpu) as n from log left join found on found.name = log.name and found.tid = log.tid
      group by log.name, log.tid having n != 1)
    union all select 'vCPUs', (select count(*) from r.vcpu join r.vm on vm.id = vcpu.vm where name like '$prefix%'
                  and name not in (select name from unseen)) + (select count(*) from found where name != called) -
                  (select count(*) from log)
    union all select 'names twice', count(*) - count(distinct name) from r.vm
    union all select 'without an end', count(*) from r.checkpoint as c
      join (select max(id) as newest from r.checkpoint group by vcpu) on newest = c.id
      join r.vcpu as v on v.id = c.vcpu join r.vm on vm.id = v.vm
      where (name like '$prefix%' or v.id in (select vcpu from found)) and state != 1
    union all select 'lost', coalesce(sum(count), 0) from r.loss"
  echo "$output"
  [ "$output" = $'VMs|0\nnot as they were|0\nvCPUs|0\nnames twice|0\nwithout an end|0\nlost|0' ]

  # born after its monitor was started; over when the starter saw it go, and not before it was killed
  # (a thread that is reaped already may be pre-empted once more before its last switch, and then waits: what it
  # waited since it was last looked at before is let go)
  run sqlite3 "$soak_db" "attach '$run_vt' as r" "
    select log.name, v.born_ns / 1000000 - born_after_ms, e.end_ms - seen_ms, gone_ms - e.end_ms, killed from log
      join found on found.name = log.name and found.tid = log.tid join r.vcpu as v on v.id = found.vcpu
      join (select vcpu, max(end_ns) / 1000000 as end_ms from r.chunk group by vcpu) as e on e.vcpu = v.id
      join (select vcpu, max(preempted_ns + waking_ns) / 1000000 as waited_ms from r.integral group by vcpu) as w
        on w.vcpu = v.id
     where v.born_ns / 1000000 < born_after_ms - 10 or (killed and e.end_ms < seen_ms - 10)
        or e.end_ms > gone_ms + 200 + waited_ms - coalesce((select max(preempted_ns + waking_ns) / 1000000
             from r.integral as i where i.vcpu = v.id and i.at_ns / 1000000 <= gone_ms), 0)"
  echo "$output"
  [ "$output" = "" ]

  run report "$run_vt" '[.guests[].vcpus[] | .residual_ns == 0 and .ledger_residual_ns == 0] | length >= 5000 and all'
  [ "$output" = true ]

  # the recorder's memory: the last quarter against the second
  run sqlite3 "$run_vt" "
    with o as (select rss_bytes / 1024 as kib, (at_ns - (select min(at_ns) from observer)) * 4 /
                      ((select max(at_ns) from observer) - (select min(at_ns) from observer) + 1) as quarter from observer)
    select (select max(kib) from o where quarter = 1), (select max(kib) from o where quarter = 3)"
  echo "RSS of the second and of the last quarter, KiB: $output"
  # a sanitizer keeps what was freed
  [ -n "${VT_SOAK_RECORDER:-}" ] || [ "${output#*|}" -le $((${output%|*} + 1024)) ]
}

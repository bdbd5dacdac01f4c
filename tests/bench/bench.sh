#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The cost of the measurement, as ratios in one run. Needs root; see --help.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
vtime=$build/bin/vtime
export LC_ALL=C

usage() {
  cat <<'END'
usage: bench.sh [--json] [--rounds N]

  context switch   `perf bench sched pipe` on one CPU, CPU time per switch with nothing
                   attached, with empty BPF programs at the ledger's tracepoints, under
                   `vtime record` and under `perf sched record`, in turn (the last in each third), N rounds (25);
                   then the same ping-pong between two threads that are vCPUs
  VM exit          run time of the programs of an exit and an entry, as the kernel counts it
                   (N rounds); and in the testbed, against perf kvm stat record (7 rounds)
  store            bytes per slice of a recording of four spin guests on one CPU
  guest            its way to CPL 3, and the monitor's memory beyond guest RAM
  agent            vtime-agent's CPU time at 10 and 1000 views a second, of one CPU, and its
                   memory, while it talks to a host that asks as the recorder does; beside it a
                   program that wakes as often and does nothing
  tasks            what vtime-agent --tasks adds to programs that do little but switch between
                   tasks: CPU time of a pipe and of crowds of senders and receivers, and of the
                   agent, with --tasks and without in turn; this machine is the guest
  collector        its own CPU while it records
  scale            2000 vCPUs on 256 CPUs, synthetic, 1 000 000 slices a second:
                   the recorder and the correlator on it, CPU time and memory

Prints median, lowest and highest, and whether an aim is met; an aim missed is no
failure. CPU time, not elapsed: what else runs on the CPU is not counted.
END
}

complain() { echo "bench: $1" >&2; }
note() { [ ! -t 2 ] || printf '\r\033[K%s' "$1" >&2; }

json='' rounds=25
while [ $# -gt 0 ]; do
  case $1 in
  --json) json=1; shift ;;
  --rounds) rounds=${2:-}; shift 2 || shift; [[ $rounds =~ ^[1-9][0-9]?$ ]] || { complain '--rounds wants 1 to 99'; exit 2; } ;;
  -h | --help) usage; exit 0 ;;
  *) complain "unknown option $1 (see --help)"; exit 2 ;;
  esac
done
[ "$(id -u)" -eq 0 ] || { complain 'needs root, as recording does'; exit 1; }
for need in "$vtime" "$build/bench/empty" "$build/bench/pingpong" "$build/bench/slicesize" "$build/bench/replay" \
  "$build/bench/exitcost" "$build/bin/vtime-agent" "$build/tests/live/agentpeer" "$build/guests/bin/chatter"; do
  [ -x "$need" ] || { complain "no $need: run make bench"; exit 1; }
done

# On tmpfs, so that a disk is not what is measured.
tmp=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/vtime-bench.XXXXXX") || exit 1
attached=
trap '[ -z "$attached" ] || kill "$attached" 2>/dev/null
  echo "$stats_before" >/proc/sys/kernel/bpf_stats_enabled
  rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
mkfifo "$tmp/ready" "$tmp/stop"
stats_before=$(cat /proc/sys/kernel/bpf_stats_enabled)
PATH=$PATH:/usr/sbin:/sbin
: >"$tmp/samples"
samples=$tmp/samples

# The bench has the last CPU, the observers the others.
cpus=$(nproc)
cpu=$((cpus - 1))
others=0
[ "$cpu" -lt 2 ] || others=0-$((cpu - 1))

# ---- samples: lines "name round value" ----

round=0
sample() { [ -z "$2" ] || echo "$1 $round $2" >>"$samples"; }

# column NAME: its values
column() { awk -v n="$1" '$1 == n { print $3 }' "$samples"; }

# difference OF MINUS INTO: round by round
difference() {
  awk -v a="$1" -v b="$2" -v n="$3" '
    $1 == a { of[$2] = $3 }
    $1 == b { minus[$2] = $3 }
    END { for (r in of) if (r in minus) print n, r, of[r] - minus[r] }' "$samples" >"$tmp/difference"
  cat "$tmp/difference" >>"$samples"
}

# quantile NAME Q: 0 lowest, 0.5 median, 1 highest; nothing if there are no samples
quantile() {
  column "$1" | sort -g | awk -v q="$2" '{ v[NR] = $1 } END {
    if (!NR) exit
    p = 1 + q * (NR - 1); i = int(p); print v[i] + (p - i) * ((i < NR ? v[i + 1] : v[i]) - v[i]) }'
}

# ---- what is attached while a sample is taken ----

attach_empty() {
  taskset -c "$others" "$build/bench/empty" "$build/bench/empty.bpf.o" \
    <"$tmp/stop" >"$tmp/ready" 2>"$tmp/empty.err" &
  attached=$!
  exec {stop}>"$tmp/stop"
  read -r _ <"$tmp/ready"
}
detach_empty() {
  exec {stop}>&-
  wait "$attached"
  attached=
}

# A short interval: the collector counts its BPF programs' run time in a few of
# its intervals; a round is to have its fair share of them.
attach_ledger() {
  taskset -c "$others" "$vtime" record -q -f --interval 20 -o "$tmp/ledger.vt" --ready-fd 9 9>"$tmp/ready" &
  attached=$!
  read -r -n 1 _ <"$tmp/ready"
}
detach_ledger() {
  kill -INT "$attached"
  wait "$attached"
  attached=
}

# ---- the cost of a context switch ----

# pipe LOOPS [WRAPPER…]: CPU seconds of perf bench, its own start included
# shellcheck disable=SC2016  # for the inner shell
timed='TIMEFORMAT="%3U %3S"; { time taskset -c "$0" perf bench -f simple sched pipe -l "$1" >/dev/null 2>&1; } 2>&1'
pipe() {
  local loops=$1
  shift
  "$@" bash -c "$timed" "$cpu" "$loops" 2>/dev/null | awk 'NF == 2 { print $1 + $2 }'
}

pipe_loops=60000
# pipe_sample NAME [WRAPPER…]: nanoseconds per switch; a round trip is two
pipe_sample() {
  local name=$1 seconds
  shift
  seconds=$(pipe $pipe_loops "$@")
  sample "$name" "$(awk -v s="$seconds" -v o="$start" -v n=$pipe_loops \
    'BEGIN { if (s != "") printf "%.1f", (s - o) * 1e9 / (2 * n) }')"
}

measure_pipe() {
  local i
  if ! command -v perf >/dev/null || [ -z "$(pipe 10)" ]; then
    complain 'no perf bench sched pipe here: its rows are left out'
    return
  fi
  for i in 1 2 3 4 5; do sample perf-start "$(pipe 1)"; done
  start=$(quantile perf-start 0.5)
  for ((round = 1; round <= rounds; round++)); do
    note "context switch, round $round of $rounds"
    # what is first in a round may find another machine than what is last
    for ((i = 0; i < 3; i++)); do
      case $(((round + i) % 3)) in
      0) pipe_sample pipe-none ;;
      1) attach_empty && pipe_sample pipe-empty && detach_empty ;;
      2) attach_ledger && pipe_sample pipe-ledger && detach_ledger ;;
      esac
    done
    # it takes longer, and differs by more
    [ $((round % 3)) -ne 1 ] || pipe_sample pipe-perf perf sched record -o "$tmp/perf.data" --
    rm -f "$tmp/perf.data"
  done
  difference pipe-empty pipe-none added-empty
  difference pipe-ledger pipe-none added-ledger
  difference pipe-perf pipe-none added-perf
}

vcpu_sample() { sample "$1" "$("$build/bench/pingpong" --vcpu "$cpu" 40000)"; }

measure_vcpus() {
  local i
  "$build/bench/pingpong" --vcpu "$cpu" 10 >/dev/null 2>&1 || {
    complain 'no vCPU can be run here: its rows are left out'
    return
  }
  for ((round = 1; round <= rounds; round++)); do
    note "context switch between vCPUs, round $round of $rounds"
    for ((i = 0; i < 3; i++)); do
      case $(((round + i) % 3)) in
      0) vcpu_sample vcpu-none ;;
      1) attach_empty && vcpu_sample vcpu-empty && detach_empty ;;
      2) attach_ledger && vcpu_sample vcpu-ledger && detach_ledger ;;
      esac
    done
  done
  difference vcpu-empty vcpu-none vcpu-added-empty
  difference vcpu-ledger vcpu-none vcpu-added-ledger
}

# counted_sample NAME: run time of the BPF programs of what is attached, per switch, as
# the kernel counts it; that includes the counting, the same for all
counted_sample() {
  local switches=80000 mine
  mine=$(bpftool prog show -j | jq -c --argjson before "$before" '[.[].id] - $before')
  echo 1 >/proc/sys/kernel/bpf_stats_enabled
  "$build/bench/pingpong" "$cpu" $((switches / 2)) >/dev/null
  sample "$1" "$(bpftool prog show -j | jq --argjson mine "$mine" --argjson n "$switches" \
    '[.[] | select(.id as $i | $mine | index($i)) | .run_time_ns // 0] | add / $n')"
  echo "$stats_before" >/proc/sys/kernel/bpf_stats_enabled
}

measure_counted() {
  bpftool prog show -j >/dev/null 2>&1 || {
    complain 'no bpftool: run times of the programs are left out'
    return
  }
  for ((round = 1; round <= 9; round++)); do
    note "run time of the programs, round $round of 9"
    before=$(bpftool prog show -j | jq -c '[.[].id]')
    attach_empty && counted_sample counted-empty && detach_empty
    before=$(bpftool prog show -j | jq -c '[.[].id]')
    attach_ledger && counted_sample counted-ledger && detach_ledger
  done
  difference counted-ledger counted-empty counted-beyond
  # what an empty program costs, and what the kernel counts beyond it
  awk -v e="$(quantile added-empty 0.5)" '$1 == "counted-beyond" && e != "" { print "exact-ledger", $2, e + $3 }' \
    "$samples" >"$tmp/exact"
  cat "$tmp/exact" >>"$samples"
}

# ---- the cost of an exit of a guest ----

measure_exits() {
  local ns
  note 'exits and entries of a guest'
  if ! ns=$(taskset -c "$cpu" "$build/bench/exitcost" "$rounds"); then
    complain 'no vCPU can be run here: the cost of an exit is left out'
    return
  fi
  round=0
  while read -r ns; do
    round=$((round + 1))
    sample exit-pair "$ns"
  done <<<"$ns"
}

# Where guests do exit: a KVM host under emulation, so that only ratios mean anything.
measure_testbed() {
  local n=$((rounds < 7 ? rounds : 7)) code=0
  note "exits in the testbed, $n rounds"
  mkdir "$tmp/testbed"
  tests/testbed/testbed.sh run --timeout 500 --out "$tmp/testbed" -- \
    "$PWD/tests/bench/exits-inside.sh" "$(realpath "$build")" "$n" >"$tmp/testbed.out" 2>&1 || code=$?
  if [ $code -ne 0 ]; then
    complain "the testbed failed ($code), its rows are left out: $(tail -n 1 "$tmp/testbed.out")"
    return
  fi
  cat "$tmp/testbed/samples" >>"$samples"
  difference testbed-empty testbed-none testbed-added-empty
  difference testbed-ledger testbed-none testbed-added-ledger
  difference testbed-perf testbed-none testbed-added-perf
  difference testbed-bpftrace testbed-none testbed-added-bpftrace
}

# ---- store, guest, collector ----

sql() { sqlite3 -readonly "$@" 2>/dev/null; }

# cpu_percent RECORDING: of the collector's process, over the recording
cpu_percent() {
  sql "$1" 'SELECT round(100.0 * (max(cpu_ns) - min(cpu_ns)) / (max(at_ns) - min(at_ns)), 3) FROM observer'
}

four_guests() {
  local i
  for i in 1 2 3 4; do
    setsid "$vtime" run --name "bench$i" --workload spin --seconds 5 --cpu "$cpu" >/dev/null 2>&1 &
  done
  wait
}

measure_store() {
  local slices bytes
  note 'recording four guests on one CPU'
  export -f four_guests
  export vtime cpu
  "$vtime" record -q -f -o "$tmp/four.vt" -- bash -c four_guests 2>/dev/null
  read -r slices bytes < <("$build/bench/slicesize" "$tmp/four.vt" 2>/dev/null)
  if [ "${slices:-0}" -lt 100 ]; then
    complain 'four guests left no recording: its rows are left out'
    return
  fi
  sample slices "$slices"
  sample bytes-per-slice "$(awk -v b="$bytes" -v s="$slices" 'BEGIN { printf "%.2f", b / s }')"
  sample collector-percent "$(cpu_percent "$tmp/four.vt")"
}

measure_storm() {
  local slices bytes
  note 'recording a storm of switches'
  "$vtime" record -q -f -o "$tmp/storm.vt" -- "$build/bench/pingpong" --vcpu "$cpu" 300000 >/dev/null 2>&1 || return
  read -r slices bytes < <("$build/bench/slicesize" "$tmp/storm.vt" 2>/dev/null)
  [ "${slices:-0}" -gt 0 ] || return
  sample storm-slices "$slices"
  sample storm-bytes "$(awk -v b="$bytes" -v s="$slices" 'BEGIN { printf "%.2f", b / s }')"
  sample storm-lost "$(sql "$tmp/storm.vt" 'SELECT coalesce(sum(count), 0) FROM loss')"
  sample storm-collector "$(sql "$tmp/storm.vt" "SELECT (max(cpu_ns) - min(cpu_ns)) / $slices FROM observer")"
}

measure_guest() {
  local out
  for ((round = 1; round <= 15; round++)); do
    note "starting a guest, $round of 15"
    out=$("$vtime" run --name bench --workload spin --work 1 --cpu "$cpu" --json 2>/dev/null) || continue
    sample boot-ms "$(jq -r '.monitor.boot_to_cpl3_ns / 1e6' <<<"$out")"
    sample memory-mib "$(jq -r '.monitor.beyond_guest_ram_bytes / 1048576' <<<"$out")"
  done
  [ -n "$(column boot-ms)" ] || complain 'no guest could be started: its rows are left out'
}

# cost_of NAME COMMAND...: run time of five seconds by the kernel's own account; most memory: most_kib
cost_of() {
  local name=$1 pid before
  shift
  taskset -c "$cpu" "$@" 2>/dev/null &
  pid=$!
  sleep 1
  before=$(cut -d' ' -f1 "/proc/$pid/schedstat")
  sleep 5
  sample "$name-percent" "$(awk -v b="$before" '{ print ($1 - b) / 5e7 }' "/proc/$pid/schedstat")"
  most_kib=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$pid/status")
  kill "$pid"
  wait "$pid"
}

measure_agent() {
  local peer fd hz most_kib
  mkfifo "$tmp/words"
  "$build/tests/live/agentpeer" "unix:$tmp/agent" 200 <"$tmp/words" >/dev/null &
  peer=$!
  exec {fd}>"$tmp/words"
  for ((round = 1; round <= 5; round++)); do
    note "vtime-agent, round $round of 5"
    for hz in 10 1000; do
      cost_of "timer-$hz" "$build/bench/timer" "$hz"
      cost_of "agent-$hz" "$build/bin/vtime-agent" run --to "unix:$tmp/agent" --rate "$hz" --socket "@vtime-bench-$$"
      sample agent-kib "$most_kib"
    done
  done
  exec {fd}>&-
  wait "$peer"
}

# replay_samples: what bench-replay says, each key a sample of its name
replay_samples() {
  local key value
  while read -r key value; do sample "replay-$key" "$value"; done
}

# ---- what --tasks costs, this machine taken for the guest ----

# tasks_agent OPTION…: on the CPU of what it watches, as in a guest with one
tasks_agent() {
  taskset -c "$cpu" "$build/bin/vtime-agent" run --to "unix:$tmp/tasks" --socket "@vtime-bench-$$" "$@" 2>"$tmp/tasks.err" &
  agent=$!
  sleep 1
}

# chatter_sample NAME WORDS PER: ns of CPU each of the PER things that it does takes, of the agent too
# shellcheck disable=SC2016  # for the inner shell
chatter='TIMEFORMAT="%3U %3S"; time taskset -c "$0" "$@"'
chatter_sample() {
  local before seconds
  before=$(cut -d' ' -f1 "/proc/$agent/schedstat")
  # shellcheck disable=SC2086  # a list of words
  seconds=$(bash -c "$chatter" "$cpu" "$build/guests/bin/chatter" $2 2>&1 | awk 'NF == 2 { print $1 + $2 }')
  sleep 0.3 # for what it has still to fetch
  awk -v s="$seconds" -v b="$before" -v n="$3" 'BEGIN { getline; printf "%.1f %.1f\n", (s * 1e9 + $1 - b) / n, ($1 - b) / n }' \
    "/proc/$agent/schedstat" >"$tmp/chatter"
  sample "$1" "$(cut -d' ' -f1 "$tmp/chatter")"
  sample "$1-agent" "$(cut -d' ' -f2 "$tmp/chatter")"
}

# tasks_round KIND: with --tasks (on) or without
tasks_round() {
  if [ "$1" = on ]; then tasks_agent --tasks; else tasks_agent; fi
  chatter_sample "tasks-pipe-$1" 'pipe 100000' 200000
  chatter_sample "tasks-crowd-$1" 'crowd 2000' 200000 # messages
  [ "$1" = off ] || sample tasks-kib "$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$agent/status")"
  kill "$agent"
  wait "$agent"
}

measure_tasks() {
  local peer fd agent
  mkfifo "$tmp/task-words"
  "$build/tests/live/agentpeer" "unix:$tmp/tasks" 200 <"$tmp/task-words" >"$tmp/tasks.out" &
  peer=$!
  exec {fd}>"$tmp/task-words"
  for ((round = 1; round <= 9; round++)); do
    note "vtime-agent --tasks, round $round of 9"
    # in turns, so that what drifts meanwhile hits both
    if [ $((round % 2)) -eq 0 ]; then tasks_round on && tasks_round off; else tasks_round off && tasks_round on; fi
  done
  exec {fd}>&-
  wait "$peer"
  # by BPF, and each stretch of them: else something else was measured
  grep -q '^system .* tasks 1 ' "$tmp/tasks.out" ||
    complain "tasks were not told by BPF: $(tail -n 1 "$tmp/tasks.err")"
  round=0
  sample tasks-untold "$(awk '$1 == "sum" { for (i = 2; i < NF; i += 2) v[$i] = $(i + 1) } END {
    if (v["stretches"]) print 100 * v["untold"] / (v["stretches"] + v["untold"]) }' "$tmp/tasks.out")"
}

measure_scale() {
  for ((round = 1; round <= 5; round++)); do
    note "2000 vCPUs on 256 CPUs, round $round of 5"
    if ! "$build/bench/replay" record "$tmp/replay.vt" 2000 256 4 >"$tmp/replay" ||
      ! "$build/bench/replay" view "$tmp/replay.vt" >>"$tmp/replay"; then
      complain 'the replay failed, or lost slices, or its books do not balance: its rows are left out'
      return
    fi
    replay_samples <"$tmp/replay"
  done
}

# Others' programs are run by every switch here too, attached or not by us.
strangers() {
  local n
  n=$(bpftool prog show -j 2>/dev/null | jq '[.[] | select(.type == "tracing" and (.name | test("sched")))] | length')
  [ "${n:-0}" -eq 0 ] || complain "$n BPF programs of others are at the scheduler's tracepoints: the figures include them"
}

# ---- telling ----

# The table: key, what, unit, comparison and aim (or -)
# A ratio NAME/NAME is of the medians; its range is that of the quartiles.
table() {
  cat <<'END'
pipe-none|pipe: nothing attached|ns/switch|-
pipe-empty|pipe: empty programs|ns/switch|-
pipe-ledger|pipe: vtime record|ns/switch|-
pipe-perf|pipe: perf sched record|ns/switch|-
added-empty|pipe: added by empty programs|ns/switch|-
added-ledger|pipe: added by vtime record|ns/switch|-
added-perf|pipe: added by perf sched record|ns/switch|-
counted-beyond|BPF: ledger beyond empty, as counted|ns/switch|-
exact-ledger/added-empty|added: the same by the BPF count|×|<= 1.5
added-ledger/added-empty|added: vtime record / empty programs|×|<= 1.5
added-perf/added-ledger|added: perf sched record / vtime record|×|>= 10
pipe-ledger/pipe-empty|whole: vtime record / empty programs|×|-
vcpu-none|vCPUs: nothing attached|ns/switch|-
vcpu-empty|vCPUs: empty programs|ns/switch|-
vcpu-ledger|vCPUs: vtime record, every slice kept|ns/switch|-
vcpu-added-ledger/vcpu-added-empty|added: vtime record / empty programs|×|<= 2.5
vcpu-ledger/vcpu-empty|whole: vtime record / empty programs|×|-
exit-pair|exit and entry: the ledger's programs|ns/pair|<= 150
testbed-ledger/testbed-none|testbed, an exit: vtime record / nothing|×|-
testbed-perf/testbed-none|testbed, an exit: perf kvm / nothing|×|-
testbed-added-ledger/testbed-added-empty|testbed, added: vtime / empty programs|×|-
testbed-added-perf/testbed-added-ledger|testbed, added: perf kvm / vtime record|×|-
testbed-bpftrace/testbed-none|testbed, an exit: bpftrace one-liner / nothing|×|-
testbed-added-bpftrace/testbed-added-ledger|testbed, added: bpftrace one-liner / vtime record|×|-
bytes-per-slice|four guests: stored|bytes/slice|<= 16
collector-percent|four guests: CPU of the collector|%|-
storm-bytes|switch storm: stored|bytes/slice|-
storm-collector|switch storm: CPU of the collector|ns/slice|-
storm-lost|switch storm: slices lost|events|-
replay-record-rate|scale: recorder and store|slices/s|>= 1000000
replay-drain-ns|scale: the ring's reader|ns/slice|-
replay-commit-ns|scale: ticks, commits included|ns/slice|-
replay-record-late-ms|scale: behind real time in the end|ms|<= 100
replay-record-lost|scale: slices lost|slices|<= 0
replay-record-growth-kib|scale: growth of the recorder|KiB|<= 256
replay-record-rss-kib|scale: the recorder's memory|KiB|-
replay-tick-ms|scale: a tick of 2000 idle vCPUs|ms|-
replay-record-bytes|scale: stored|bytes/slice|<= 16
replay-file-bytes|scale: stored, the file with all|bytes/slice|-
replay-read-rate|scale: read back from the store|slices/s|-
replay-feed-rate|scale: fed to the correlator|slices/s|>= 1000000
replay-refresh-ms|scale: a refresh, of one second|ms|<= 1000
replay-report-ms|scale: a report of all 4 s|ms|-
replay-view-bytes|scale: memory of the correlator|bytes/slice|-
replay-view-rss-kib|scale: memory of a view of 4 s|KiB|-
boot-ms|guest: start of vtime run to CPL 3|ms|<= 10
memory-mib|guest: monitor beyond guest RAM|MiB|<= 3
timer-10-percent|a timer alone: CPU at 10 a second|%|-
timer-1000-percent|a timer alone: CPU at 1000 a second|%|-
agent-10-percent|agent: CPU at 10 views a second|%|<= 0.1
agent-1000-percent|agent: CPU at 1000 views a second|%|<= 3
agent-kib|agent: memory|KiB|<= 1536
tasks-pipe-off|--tasks: pipe without it|ns/switch|-
tasks-pipe-on|--tasks: pipe with it|ns/switch|-
tasks-pipe-on-agent|--tasks: of that the agent|ns/switch|-
tasks-pipe-on/tasks-pipe-off|--tasks: pipe, with / without|×|-
tasks-crowd-on/tasks-crowd-off|--tasks: crowds, with / without|×|-
tasks-untold|--tasks: stretches not told|%|-
tasks-kib|--tasks: memory of the agent|KiB|<= 1536
END
}

# values KEY: "median low high samples"
values() {
  local a=${1%/*} b=${1#*/}
  if [ "$a" = "$1" ]; then
    echo "$(quantile "$1" 0.5) $(quantile "$1" 0) $(quantile "$1" 1) $(column "$1" | wc -l)"
  else
    echo "$(quantile "$a" 0.5) $(quantile "$a" 0.25) $(quantile "$a" 0.75)" \
      "$(quantile "$b" 0.5) $(quantile "$b" 0.25) $(quantile "$b" 0.75) $(column "$a" | wc -l)" |
      awk 'NF == 7 && $4 > 0 {
        high = "inf"
        if ($5 > 0) high = sprintf("%.3f", $3 / $5)
        printf "%.3f %.3f %s %d\n", $1 / $4, $2 / $6, high, $7 }'
  fi
}

verdict() { awk -v v="$1" -v c="$2" -v a="$3" 'BEGIN { print (c == "<=" ? v <= a : v >= a) ? "met" : "not met" }'; }

tell() {
  local key what unit aim median low high n met
  [ -n "$json" ] || printf '%-40s %10s %21s  %-12s %-8s %s\n' '' median 'range' unit aim ''
  while IFS='|' read -r key what unit aim; do
    read -r median low high n < <(values "$key")
    [ "${n:-0}" -gt 0 ] || continue
    met=
    # shellcheck disable=SC2086  # comparison and number
    [ "$aim" = - ] || met=$(verdict "$median" $aim)
    if [ -n "$json" ]; then
      jq -n --arg key "$key" --arg what "$what" --arg unit "$unit" --arg aim "$aim" --arg met "$met" \
        --argjson median "$median" --arg low "$low" --arg high "$high" --argjson n "$n" \
        '{$key, $what, $unit, $median, low: ($low | tonumber? // null), high: ($high | tonumber? // null), samples: $n,
          aim: (if $aim == "-" then null else $aim end), met: (if $met == "" then null else $met == "met" end)}'
    else
      awk -v w="$what" -v m="$median" -v l="$low" -v h="$high" -v u="$unit" -v a="$aim" -v v="$met" 'BEGIN {
        f = m + 0 >= 100 ? "%.0f" : "%.2f"
        h = h == "inf" ? h : sprintf(f, h)
        printf "%-40s %10s %21s  %-12s %-8s %s\n", w, sprintf(f, m), sprintf(f, l) " - " h, u, a == "-" ? "" : a, v }'
    fi
  done < <(table)
}

strangers
measure_pipe
measure_counted
measure_vcpus
measure_exits
measure_testbed
measure_store
measure_storm
measure_scale
measure_guest
measure_agent
measure_tasks
note ''
if [ -n "$json" ]; then
  tell | jq -s --arg kernel "$(uname -r)" --argjson rounds "$rounds" '{schema: 1, $kernel, $rounds, rows: .}'
else
  echo "kernel $(uname -r), $cpus CPUs, $rounds rounds; ranges: lowest to highest, of ratios: by the quartiles"
  tell
fi

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# exits-inside.sh BUILD ROUNDS: inside the testbed, whose guests do exit: CPU time of a vCPU thread for each
# of its exits, with nothing attached, with empty programs, under vtime record, under perf kvm stat
# record and under a one-liner of bpftrace, in turn. Leaves lines "name round ns" in /out/samples.
set -eu
build=$1 rounds=$2 accesses=4000
cd /tmp
mkfifo ready stop

# exit_ns NAME ROUND [WRAPPER…]: each access to the monitor's port is an exit
exit_ns() {
  local name=$1 round=$2
  shift 2
  "$@" "$build/bin/vtime" run --cpu 1 --workload io --work $accesses --tick 0 --log-hz 0 --json >run.json 2>wrapper.out
  jq -r --arg n "$name" --argjson r "$round" --argjson k $accesses \
    '"\($n) \($r) \(.vcpus[0].host.run_ns / $k)"' run.json >>/out/samples
}

none() { exit_ns testbed-none "$1"; }

empty() {
  local pid fd
  "$build/bench/empty" "$build/bench/empty.bpf.o" <stop >ready 2>empty.err &
  pid=$!
  exec {fd}>stop
  read -r _ <ready
  exit_ns testbed-empty "$1"
  exec {fd}>&-
  wait $pid
}

ledger() {
  local pid
  "$build/bin/vtime" record -q -f -o run.vt --ready-fd 9 9>ready &
  pid=$!
  read -r -n 1 _ <ready
  exit_ns testbed-ledger "$1"
  kill -INT $pid
  wait $pid
}

perf_kvm() {
  command -v perf >/dev/null || return 0
  exit_ns testbed-perf "$1" perf kvm --host stat record -a -o perf.data
}

# counts by reason, and how long until the next entry: the least of what the ledger keeps of an exit
one_liner='
tracepoint:kvm:kvm_exit { @count[tid, args->exit_reason] = count(); @at[tid] = nsecs; }
tracepoint:kvm:kvm_entry /@at[tid]/ { @ns = hist(nsecs - @at[tid]); delete(@at[tid]); }'

under_bpftrace() { bpftrace -o bpftrace.out -e "$one_liner" -c "$*"; }

bpftrace_line() {
  command -v bpftrace >/dev/null || return 0
  exit_ns testbed-bpftrace "$1" under_bpftrace
}

for ((round = 1; round <= rounds; round++)); do
  # what is first in a round may find another machine than what is last
  for ((i = 0; i < 5; i++)); do
    case $(((round + i) % 5)) in
    0) none "$round" ;;
    1) empty "$round" ;;
    2) ledger "$round" ;;
    3) perf_kvm "$round" ;;
    4) bpftrace_line "$round" ;;
    esac
  done
done

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Who had which vCPU when (guest-agent/tasks.h) in a Linux guest with Debian's kernel:
# that every source works there, and that nothing is missing.
bats_require_minimum_version 1.5.0
load testbed

peer=$testbed_repo/build/tests/live/taskpeer

# Runs inside.
inside() {
  local source
  for source in bpf perf sampled; do
    VTIME_TASKS=$source "$1" 3 >/out/$source 2>/out/$source.err
  done
  VTIME_TASKS=bpf VTIME_TASKS_STAMPS=tsc "$1" 3 >/out/tsc 2>/out/tsc.err
}

setup_file() {
  [ -x "$peer" ] || return 0
  testbed_run --timeout 120 -- bash -c "$(declare -f inside); inside '$peer'"
}

setup() {
  [ -x "$peer" ] || skip "no $peer"
  testbed_needed
}

# total FILE FIELD
total() { awk -v n="$2" '$1 == "total" { print $n }' "$result/out/$1"; }
source_of() { awk '$1 == "source" { print $2 }' "$result/out/$1"; }

# nothing_is_missing FILE: no loss, no gap, no overlap, nobody nameless, no frame that makes no sense
nothing_is_missing() {
  cat "$result/out/$1" "$result/out/$1.err"
  [ "$(total "$1" 7)" -gt 50 ]
  [ "$(total "$1" 9) $(total "$1" 11) $(total "$1" 13)" = '0 0 0' ]
  awk '$1 == "cpu" { n++; if ($4 || $6 || $8 != $10) exit 1 } END { if (n != 2) exit 1 }' "$result/out/$1"
}

@test "BPF loads by its light skeleton, and every tick of every vCPU is somebody's" {
  nothing_is_missing bpf
  [ "$(source_of bpf)" -eq 1 ]
}

@test "what woke a task is known there, too" {
  awk '
    $1 == "wakes" { for (i = 3; i < NF; i += 2) if ($i != "none" && $i != "kin") sum[$2] += $(i + 1) }
    $1 == "wakes" && ($2 == "sleepy" || $2 == "polling") { told[$2] = $8 }
    $1 == "wakes" && $2 == "until" { told[$2] = $10 }
    $1 == "wakes" && $2 == "parent" { told[$2] = $16 }
    END {
      for (role in told) {
        n++
        print role, told[role], "of", sum[role]
        if (told[role] < 3 || told[role] < sum[role] - 3) bad = 1
      }
      exit bad || n != 4
    }' "$result/out/bpf"
}

@test "stamps by the TSC itself are exact there" {
  nothing_is_missing tsc
  [ "$(awk '$1 == "source" { print $4 }' "$result/out/tsc")" -eq 0 ]
}

@test "perf_event's records leave nothing out" {
  nothing_is_missing perf
  [ "$(source_of perf)" -eq 2 ]
}

@test "samples sum to the kernel's own run time" {
  cat "$result/out/sampled"
  [ "$(source_of sampled)" -eq 3 ]
  # what it ran between the last drain and its end is not told
  awk '$1 == "task" && $2 ~ /busy/ { n++; if ($3 > $5 || $3 < $5 * 0.8) exit 1 } END { if (n != 2) exit 1 }' "$result/out/sampled"
}

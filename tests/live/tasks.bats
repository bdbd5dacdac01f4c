#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Who had which CPU when (guest-agent/tasks.h), on this machine's own tasks, against
# the kernel's account of them.

load helpers

setup() {
  needs_root
  out=$BATS_TEST_TMPDIR/out
}

# tell SOURCE [SECONDS]: what taskpeer says is in $out
tell() {
  VTIME_TASKS=$1 timeout 60 "$LIVE/taskpeer" "${2:-4}" >"$out"
  cat "$out"
}

# field LINE NUMBER: the field of the line that begins so
field() { awk -v line="$1" -v n="$2" 'index($0, line " ") == 1 { print $n; exit }' "$out"; }

# run_times_agree ROLE…: within 1 %.  Time that was taken from this machine the kernel
# leaves out, and a switch that no probe saw leaves a gap.
run_times_agree() {
  awk -v roles=" $* " '
    $1 == "cpu" { gaps += $6 }
    $1 == "stolen" { stolen = $2 + 10e6 } # it is told in units of 10 ms
    $1 == "task" && index(roles, " " $2 " ") { told[$2] = $3; least[$2] = $4; most[$2] = $5 }
    END {
      for (role in told) {
        n++
        if (told[role] < least[role] * 0.99 - gaps || told[role] > most[role] * 1.01 + stolen) {
          print role, told[role], "is not within 1 % of", least[role], most[role], "gaps", gaps, "stolen", stolen
          bad = 1
        }
      }
      exit bad || n == 0
    }' "$out"
}

# waits_agree ROLE…: within 2 %, but for the waits (of up to 20 ms) whose end was lost
waits_agree() {
  awk -v roles=" $* " '
    $1 == "total" { lost = $9 }
    $1 == "task" && index(roles, " " $2 " ") { told[$2] = $6; kernel[$2] = $7 }
    END {
      for (role in told) {
        n++
        if (told[role] > kernel[role] * 1.02 || told[role] < kernel[role] * 0.98 - lost * 20e6) {
          print role, told[role], "is not within 2 % of", kernel[role], "lost", lost
          bad = 1
        }
      }
      exit bad || n == 0
    }' "$out"
}

# frames_are_sound SOURCE: of that source, no stretch over another, none of nobody but
# what was born of a parent whose fork no probe saw
frames_are_sound() {
  [ "$(field source 2)" -eq "$1" ]
  [ "$(field total 13)" -eq 0 ]
  [ "$(field total 7)" -gt 50 ]
  [ "$(field total 11)" -le "$(field total 9)" ]
  awk '$1 == "cpu" { n++; if ($4) exit 1 } END { if (!n) exit 1 }' "$out"
}

# woken_by ROLE KIND: nine of ten of its wake-ups (it was started by one of another kind, and
# the wake-up whose switch no probe saw is unknown), and 20 at least in all
woken_by() {
  awk -v role="$1" -v kind="$2" '
    $1 == "wakes" && $2 == role {
      for (i = 3; i < NF; i += 2) if ($i != "none" && $i != "kin") sum += $(i + 1)
      for (i = 3; i < NF; i += 2) if ($i == kind) it = $(i + 1)
    }
    END { print role, kind, it + 0, "of", sum + 0; exit !(sum >= 20 && it >= 0.9 * sum) }' "$out"
}

# marks_are_told: each on its own process
marks_are_told() {
  local role mark=0
  for role in busy1 busy2 sleepy parent; do
    mark=$((mark + 1))
    [ "$(field "task $role" 8)" -eq $mark ]
  done
  [ "$(field 'task early' 8)" -eq 0 ]
}

@test "BPF tells each task's time on CPU and its waits as the kernel has them" {
  tell bpf
  frames_are_sound 1
  run_times_agree early busy1 busy2 sleepy
  waits_agree busy1 busy2 sleepy
  marks_are_told
  # every nanosecond of each CPU is a task's, or the idle task's, or missing and counted
  awk '$1 == "cpu" && $8 + $6 - $10 > 1 { exit 1 } $1 == "cpu" { gaps += $6 } $1 == "total" && gaps && !$9 { exit 1 }' "$out"
}

@test "BPF tells what woke a task: a timer of which kind, or another task" {
  tell bpf
  woken_by sleepy relative
  woken_by polling relative
  woken_by until absolute
  woken_by parent task
  # its own children
  awk '$1 == "wakes" && $2 == "parent" { exit !($16 >= 0.9 * $12) }' "$out"
  # who never sleeps is not woken but for his start
  awk '$1 == "wakes" && $2 ~ /busy/ { n++; if ($8 + $10 + $14) exit 1 } END { exit n != 2 }' "$out"
}

@test "BPF stamps by the TSC itself are exact, and say the same" {
  VTIME_TASKS_STAMPS=tsc tell bpf
  frames_are_sound 1
  [ "$(field source 4)" -eq 0 ]
  run_times_agree early busy1 busy2 sleepy
  waits_agree busy1 busy2 sleepy
  VTIME_TASKS_STAMPS=ns tell bpf 1
  [ "$(field source 4)" -gt 0 ]
}

@test "perf_event tells each task's time on CPU as the kernel has it" {
  tell perf
  frames_are_sound 2
  run_times_agree early busy1 busy2 sleepy
  marks_are_told
}

@test "children of a marked process belong to its benchmark, and their time does" {
  for source in bpf perf; do
    tell $source 3
    [ "$(field 'mark 4' 5)" -gt 20 ]
    # 3 ms of work each, and some of its parent's own
    awk '$1 == "mark" && $2 == 4 { sum = $3 } $1 == "task" && $2 == "parent" { own = $3 } END { exit !(sum > 5 * own) }' "$out"
  done
}

@test "of thousands of tasks, one after the other, each has its name" {
  local agent i
  "${VTIME%/*}/vtime-agent" run --tasks --to "file:$out" --socket "@vtime-names-$$" 2>/dev/null &
  agent=$!
  for i in $(seq 100); do
    [ ! -s "$out" ] || break
    sleep 0.1
  done
  for i in $(seq 3000); do (printf 'named%04d' "$i" >"/proc/$BASHPID/comm"); done
  sleep 0.5
  kill "$agent"
  wait "$agent"
  # Each is two records, its birth and its name, of 48 bytes in a ring of 131072: the 2731st wraps in its name,
  # and so does the 5462nd; one of them is a birth, whose name is nothing.
  [ "$(grep -aoE 'named[0-9]{4}' "$out" | sort -u | wc -l)" -eq 3000 ]
}

@test "samples tell the marked tasks' run time, and nothing of others" {
  tell sampled
  [ "$(field source 2)" -eq 3 ]
  run_times_agree busy1 busy2 sleepy
  waits_agree busy1 busy2 sleepy
  marks_are_told
  [ "$(field 'task early' 3)" -eq 0 ]
  awk '$1 == "cpu" && $4 { exit 1 }' "$out"
}

@test "samples need no privileges, the better sources say why they are not there" {
  command -v setpriv >/dev/null || skip "no setpriv"
  cp "$LIVE/taskpeer" "$BATS_TEST_TMPDIR/taskpeer"
  chmod 755 "$BATS_TEST_TMPDIR/taskpeer"
  # by its descriptor: the folder is not open to everybody
  exec 9<"$BATS_TEST_TMPDIR/taskpeer"
  timeout 60 setpriv --reuid=65534 --clear-groups /proc/self/fd/9 2 >"$out" 2>"$out.err"
  exec 9<&-
  cat "$out" "$out.err"
  grep -q 'passed over: bpf: load: .*; perf: perf_event_open: ' "$out.err"
  [ "$(field source 2)" -eq 3 ]
  [ "$(field total 7)" -gt 10 ]
  VTIME_TASKS=magic run timeout 10 "$LIVE/taskpeer" 1
  [ "$status" -eq 1 ]
  [[ $output == *'neither bpf, perf nor sampled'* ]]
}

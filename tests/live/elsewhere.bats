#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# A wait that begins while another CPU that the vCPU may use is idle is marked, and no other is: against a
# witness that follows who was switched in on each CPU.
load helpers

setup() {
  needs_kvm
  [ "$LAST_CPU" -gt 0 ] || skip "one CPU only"
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

# bursts FIRST_MS COUNT: 3 ms of every 20, from then on
bursts() {
  awk -v first="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++) printf "%d 3000000\n", (first + 20 * i) * 1e6 }'
}

# held_back NAME CPUS: a guest that may use these CPUs loses the one it has to a real-time thread time and
# again, which comes to both in turn; the witness's sums are in $sums
held_back() {
  local thread here there
  taskset -c 0 "$VTIME" run --name "$1" --workload spin --seconds 300 >"$BATS_TEST_TMPDIR/$1.out" 2>&1 3>&- &
  guest_pid=$!
  thread=$(vcpu_thread "$guest_pid")
  start_witness idlecpu "$thread"
  taskset -c -p "$2" "$thread" >/dev/null
  bursts 100 "${VT_ELSEWHERE_BURSTS:-80}" >"$BATS_TEST_TMPDIR/here"
  bursts 110 "${VT_ELSEWHERE_BURSTS:-80}" >"$BATS_TEST_TMPDIR/there"
  "$SCHEDULE" hog "$BATS_TEST_TMPDIR/here" 0 >/dev/null 3>&- &
  here=$!
  "$SCHEDULE" hog "$BATS_TEST_TMPDIR/there" "$LAST_CPU" >/dev/null 3>&- &
  there=$!
  wait "$here" "$there"
  taskset -c -p 0 "$thread" >/dev/null
  ask_witness
  kill "$guest_pid"
  wait "$guest_pid" || true
}

# start_busy CPU: a process of the lowest weight that leaves the CPU never idle; its pid is in $busy_pid
start_busy() {
  setsid nice -n 19 taskset -c "$1" awk 'BEGIN { while (1) n++ }' 3>&- &
  busy_pid=$!
}

# ours NAME: how many of its waits are marked, their time, and what the blame has of it and of the rival's
ours() {
  local slices
  slices=$("$VTIME" export "$run_vt" | awk -F , -v name="\"$1\"" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $1 == name && int($at["flags"] / 64) % 2 { n++; ns += $at["in_ns"] - $at["wake_ns"] } END { printf "%d %.0f", n, ns }')
  echo "$slices $("$VTIME" report --json "$run_vt" | jq -r --arg name "$1" '[.blame[] | select(.victim == $name)] |
    [(map(.idle_elsewhere.ns) | add // 0)] + (map(select(.culprit == "schedule")) |
    [(map(.idle_elsewhere.ns) | add // 0), (map(.ns) | add // 0)]) | join(" ")')"
}

@test "waits that begin while another permitted CPU is idle are marked: as many as a witness has" {
  start_record "$run_vt"
  held_back free "0,$LAST_CPU"
  free=("${sums[@]}")
  held_back pinned 0
  pinned=("${sums[@]}")
  start_busy 0
  busy=$busy_pid
  start_busy "$LAST_CPU"
  held_back crowded "0,$LAST_CPU"
  crowded=("${sums[@]}")
  kill "$busy" "$busy_pid"
  wait "$busy" "$busy_pid" || true
  stop_record
  for name in pinned crowded free; do
    declare -n witness=$name
    read -r n ns blamed rival_marked rival < <(ours $name)
    echo "# $name: $n waits marked, $ns ns; the witness has ${witness[1]} of ${witness[0]}, ${witness[2]} ns; of $rival ns by the rival $rival_marked" >&3
    [ "$ns" -eq "$blamed" ] # it is all stolen time
    # a CPU that is about to leave idle is idle for the witness only; such a wait may be as long as any
    apart=$((n < witness[1] ? witness[1] - n : n - witness[1]))
    [ "$apart" -le $((3 + witness[1] / 20)) ]
    within "$ns" "${witness[2]}" "$((1000000 + witness[2] / 100 + 20000000 * apart))"
    [ "$rival" -gt 50000000 ]
    [ "$name" != free ] || [ "${witness[1]}" -ge 10 ] || skip "the machine is too busy: its other CPU was hardly ever idle"
    case $name in
      free) [ "$n" -gt 0 ] ;;
      pinned) [ "$n" -eq 0 ] ;;
      crowded) [ "$rival_marked" -lt $((rival / 20)) ] ;;
    esac
  done
  [ "$(report "$run_vt" .host.elsewhere_cpus)" -eq 8 ]
  # the same by interval
  "$VTIME" export --blame=0.1 "$run_vt" | awk -F , 'NR > 1 { sum[$3] += $7 } END { printf "%.0f\n", sum["\"free\""] }' >"$BATS_TEST_TMPDIR/cells"
  [ "$(cat "$BATS_TEST_TMPDIR/cells")" -eq "$(ours free | cut -d ' ' -f 3)" ]
}

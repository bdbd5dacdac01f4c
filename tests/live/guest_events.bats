#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What befalls a guest, its clocks, its agent and its channel while benchmarks run: each is named
# as what it is, with its amount, and spoils no other figure: neither the benchmark's own, nor
# those of the guests beside it.
bats_require_minimum_version 1.5.0
load helpers
load ../guests/guests

CLOCKSOURCE=/sys/devices/system/clocksource/clocksource0/current_clocksource

setup_file() {
  guests_image
}

teardown_file() { end_guests; }

setup() {
  needs_kvm
  guests_needed
  run_vt=$BATS_TEST_TMPDIR/run.vt
}

teardown() {
  [ -z "${qemu_pid:-}" ] || kill -CONT "$qemu_pid" 2>/dev/null || true
  end_guests
  end_children
}

now_ns() { awk '{ printf "%.0f\n", $1 * 1e9 }' /proc/uptime; }

# booted NAME TIMES: until it has said so often that it is ready
booted() {
  local tries
  for tries in $(seq 450); do
    [ "$(grep -c '^guest ready' "$GUESTS_DIR/$1/control.out")" -lt "$2" ] || break
    sleep 0.2
  done
  [ "$tries" -lt 450 ]
}

# in_guest NAME BENCHMARK COMMAND: what the guest says of it is of no interest here
in_guest() {
  guest_do "$1" "vtime-agent bench --name $2 -- sh -c '$3' >/dev/null" 120
}

# disturb_clocks: REALTIME set, its frequency changed, another clocksource: in one benchmark. The rate is to
# have been seen before: an agent tells of another clocksource up to a second late.
disturb_clocks() {
  in_guest one quiet 'loop 200000000'
  in_guest one disturbed "date -s @\$((\$(date +%s) + 3600)) >/dev/null; adjtimex -f 13107200 >/dev/null; sleep 3; echo hpet >$CLOCKSOURCE; sleep 1; loop 200000000"
  sleep 1
  guest_do one "echo tsc >$CLOCKSOURCE; adjtimex -f 0 >/dev/null; date -s @\$((\$(date +%s) - 60)) >/dev/null"
}

# stop_it: for 3 s in a benchmark; how long it was in $stopped, ns
stop_it() {
  local bench from
  in_guest one stopped 'loop 300000000' &
  bench=$!
  sleep 0.4
  kill -STOP "$qemu_pid"
  from=$(now_ns)
  sleep 3
  stopped=$(($(now_ns) - from))
  kill -CONT "$qemu_pid"
  wait "$bench"
}

# restart_agent: it is killed, and another one begins
restart_agent() {
  guest_do one 'kill -9 $(pidof vtime-agent); sleep 1; vtime-agent run --to virtio --tasks >/run/agent.again 2>&1 &'
  sleep 2
  in_guest one restarted 'loop 100000000'
}

reboot_it() {
  guest_do one 'reboot -f' 1 || true
  booted one 2
  pin_vcpus one
  in_guest one again 'loop 100000000'
}

# cut_it: the other guest's channel, for 10 s of its benchmark; how long it was in the file cut, ns
cut_it() {
  local bench from
  in_guest two cut 'loop 100000000; sleep 11; loop 100000000' &
  bench=$!
  sleep 1
  from=$(now_ns)
  cut_channel two
  sleep 10
  join_channel two
  echo $(($(now_ns) - from)) >"$BATS_TEST_TMPDIR/cut"
  wait "$bench"
}

# await_exchanges NAME: a clock map has something to stand on. (Another recorder on this machine
# may have the guest's channel: then there are none.)
await_exchanges() {
  local tries
  for tries in $(seq 100); do
    [ "$(sqlite3 -readonly "$run_vt" "select count(*) >= 5 from exchange e join vm on vm.id = e.vm where vm.name = '$1'" 2>/dev/null)" != 1 ] || break
    sleep 0.2
  done
  [ "$tries" -lt 100 ] || { echo "no answers of $1's agent" && return 1; }
}

# play: all of it in one recording; the payload guest runs for all that befalls the others
play() {
  local cut
  start_record "$run_vt" --agent "two=unix:$GUESTS_DIR/two/agent"
  start_tcg_guest one --cpu 0 --agent --tasks --no-wait
  start_uml_guest two --cpu "$LAST_CPU" --agent '--buffer 16' --no-wait
  qemu_pid=$(cat "$GUESTS_DIR/one/pid")
  await_guest one
  await_guest two
  await_exchanges one
  await_exchanges two
  start_guest other --workload spin --seconds 20
  payload_pid=$guest_pid
  cut_it 3>&- &
  cut=$!
  disturb_clocks
  stop_it
  restart_agent
  wait "$cut"
  reboot_it
  sleep 1
  wait "$payload_pid"
  stop_record
}

# says GUEST KIND PATTERN [LEAST MOST]: an event of that kind in the report, whose words match, and
# whose amount lies between
says() {
  if ! jq -e --arg g "$1" --arg k "$2" --arg p "$3" --argjson least "${4:-null}" --argjson most "${5:-null}" '
    [.guests[] | select(.name == $g).events[] | select(.kind == $k) | select(.says | test($p)) |
     select($least == null or (.a >= $least and .a <= $most))] | length >= 1' "$report" >/dev/null; then
    echo "not told of $1: $2 $3 ${4:-} ${5:-}"
    return 1
  fi
}

# holds WORDS FILTER: of the report
holds() {
  jq -e "${@:3}" "$2" "$report" >/dev/null || { echo "does not hold: $1" && return 1; }
}

# bench NAME FILTER: of a benchmark
bench() { holds "$1: $2" ".guests[].benchmarks[] | select(.name == \"$1\") | $2"; }

@test "steps, slews, another clocksource, a stop, a restart, a boot and a cut channel are named and spoil nothing" {
  report=$BATS_TEST_TMPDIR/report.json
  play
  "$VTIME" report --json "$run_vt" >"$report"
  "$VTIME" report "$run_vt" >"$BATS_TEST_TMPDIR/report"
  "$VTIME" report --clocks "$run_vt" >"$BATS_TEST_TMPDIR/clocks"
  sed -n '/^Events/,/^Blame/p' "$BATS_TEST_TMPDIR/report" | sed 's/^/# /' | tee /dev/fd/3
  local cut
  cut=$(cat "$BATS_TEST_TMPDIR/cut")

  # as what it is, and by how much
  # a starved guest takes its time from asking for the date to setting it
  says one realtime 'REALTIME stepped by \+3[56]' 3580000000000 3601100000000
  says one realtime 'REALTIME stepped by .[678][0-9]\.' -81000000000 -59000000000
  says one ntp 'frequency to \+200.000 ppm'
  says one slew 'frequency slewed by \+(19[89]|20[01])\.' 199000 201000
  says one slew 'frequency slewed by [+-]0\.' -1000 1000
  says one clocksource 'clocksource tsc (->|→) hpet'
  says one clocksource 'clocksource hpet (->|→) tsc'
  says one stopped 'STOPPED 3\.' $((stopped - 200000000)) $((stopped + 200000000))
  says one restarted 'agent restarted' 900000000 6000000000
  says one booted 'booted again'
  says two away 'channel was away 1[0-3]\..* frames buffered, [1-9][0-9]* dropped' $((cut - 500000000)) $((cut + 3000000000))
  says two closed 'closed by the other side'
  # once each; a starved guest loses some ms of all its clocks while it changes its clocksource: less is not asked
  holds "each once" '[.guests[] | select(.name == "one").events[]] |
    [map(select(.kind == "realtime" and (.a | fabs) > 1e9)), map(select(.kind == "stopped")),
     map(select(.kind == "restarted")), map(select(.kind == "booted"))] | map(length) == [2, 1, 1, 1]'
  holds "two had none of these" '[.guests[] | select(.name == "two").events[].kind] -
    ["away", "closed", "failed", "silent", "dropped", "missing"] == []'
  holds "nothing is told of the third" '.guests[] | select(.name == "other").events == []'
  # the agent itself told both steps, whichever came first, its view or its timer, and by as much
  holds "the agent's steps" '.guests[] | select(.name == "one").clocks[-1].events |
    [[.[] | select(.source == "agent" and .kind == "step" and (.a | fabs) > 1e9).a],
     [.[] | select(.source == "view" and .kind == "realtime" and (.a | fabs) > 1e9).a]] | transpose |
    length == 2 and all((.[0] - .[1] | fabs) < 1e7)'
  grep -q 'host: STOPPED 3' "$BATS_TEST_TMPDIR/clocks"
  grep -q 'the guest booted again' "$BATS_TEST_TMPDIR/clocks"
  grep -q 'channel was away 1' "$BATS_TEST_TMPDIR/clocks"

  # the same guest's benchmarks: nothing is missing or said twice, all time is told, and what
  # the clocks went through is not in the truth
  holds "all benchmarks" '["quiet", "disturbed", "stopped", "restarted", "again", "cut"] - [.guests[].benchmarks[].name] == []'
  local name
  for name in quiet disturbed stopped restarted again cut; do
    bench $name '.true.residual_ns == 0'
    # the guest's TSC and the host's clock agree, in whatever state its other clocks are
    bench $name '(.believed.tsc.ns - .true.elapsed.ns | fabs) < 0.001 * .true.elapsed.ns + .true.elapsed.bound_ns'
    bench $name '.run.status == 0'
  done
  bench disturbed '(.believed.monotonic.ns - .true.elapsed.ns | fabs) < 0.001 * .true.elapsed.ns + .true.elapsed.bound_ns and
    .true.paused.ns == 0'
  bench stopped "(.true.paused.ns - $stopped | fabs) < 2e8"
  bench stopped '.undilated.high_ns <= .true.elapsed.ns - .true.paused.ns'
  bench cut '.true.elapsed.ns > 11e9 and .true.paused.ns == 0 and .true.idle.ns > 0.5 * .true.elapsed.ns'

  # the guests beside it
  holds "books" '[.guests[] | select(.name == "one" or .name == "two" or .name == "other").vcpus[] |
    .residual_ns == 0 and .ledger_residual_ns == 0] | all and length >= 3'
  holds "the third was not stopped" '.guests[] | select(.name == "other").account.paused.ns == 0'
  bench spin '.true.elapsed.bound_ns < 1000 and (.believed.kvmclock.ns - .true.elapsed.ns | fabs) < 1e5 and
    .true.residual_ns == 0'
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The monitor and its payload on this machine: each workload, and each way to end.

load helpers

setup() {
  needs_kvm
  out=$BATS_TEST_TMPDIR/out.json
}

# guest ARGS…: runs one, pinned; its JSON is in $out
guest() {
  timeout 60 "$VTIME" run --cpu "$LAST_CPU" --json "$@" >"$out"
}

# get FILTER: a figure of the last run, else of FILE
get() {
  jq -r "$1" "${2:-$out}"
}

@test "spin does all of its work, at nearly the speed of a bare process" {
  ratio=0
  for _ in 1 2 3; do
    timeout 60 "$VTIME" run --bare --cpu "$LAST_CPU" --work 400000000 --json >"$out"
    bare=$(get '.vcpus[0].host.run_ns')
    guest --work 400000000
    [ "$(get '.vcpus[0].work_done')" -eq 400000000 ]
    ratio=$(awk -v b="$bare" -v g="$(get '.vcpus[0].host.run_ns')" 'BEGIN { print g / b }')
    echo "# guest / bare: $ratio" >&3
    awk -v r="$ratio" 'BEGIN { exit !(r > 0.9 && r < 1.1) }' && return 0
  done
  false
}

@test "every vCPU of a guest does the work" {
  guest --vcpus 3 --work 20000000
  [ "$(get '[.vcpus[].work_done] | @csv')" = 20000000,20000000,20000000 ]
}

@test "four guests on one CPU believe four times the elapsed and CPU time; steal is the host's run_delay" {
  guest --work 400000000
  alone=$(get '.vcpus[0].host.run_ns')
  mkfifo "$BATS_TEST_TMPDIR/gate"
  for i in 1 2 3 4; do
    setsid timeout 60 "$VTIME" run --name "g$i" --cpu "$LAST_CPU" --work 400000000 --json --start-fd 9 \
      9<"$BATS_TEST_TMPDIR/gate" >"$BATS_TEST_TMPDIR/g$i" 3>&- &
  done
  exec 8>"$BATS_TEST_TMPDIR/gate"
  sleep 0.5
  exec 8>&-
  wait
  for i in 1 2 3 4; do
    f=$BATS_TEST_TMPDIR/g$i
    elapsed=$(get '.vcpus[0].believed.tsc_ns' "$f")
    within "$(get '.vcpus[0].believed.kvmclock_ns' "$f")" "$elapsed" $((elapsed / 10000))
    within "$(get '.vcpus[0].believed.charged_ns' "$f")" "$elapsed" $((elapsed / 1000))
    # more than four times where others want that CPU too; never less than equal shares make it
    awk -v e="$elapsed" -v a="$alone" 'BEGIN { print "# stretch " e / a; exit !(e / a > 3.4) }' >&3
    # ticks coalesce while it waits: its tick clock falls behind
    [ "$(get '.vcpus[0].believed.tick_clock_ns' "$f")" -lt $((elapsed * 95 / 100)) ]
    delay=$(get '.vcpus[0].host.run_delay_ns' "$f")
    within "$(get '.vcpus[0].believed.steal_ns' "$f")" "$delay" $((delay / 1000 + 1000000))
  done
}

@test "an idle guest uses nearly no CPU and charges itself nearly none" {
  for tick in 0 100; do
    guest --workload idle --seconds 1 --tick "$tick"
    [ "$(get '.vcpus[0].host.run_ns')" -lt 50000000 ]
    [ "$(get '.vcpus[0].believed.charged_ns')" -lt 20000000 ]
    within "$(get '.vcpus[0].believed.tsc_ns')" 1000000000 50000000
  done
  # a tick that is due while another waits to be taken is lost: at most one in 10 ms of waiting
  lost=$(get '.vcpus[0].host.run_delay_ns / 10000000 | ceil')
  ticks=$(get '.vcpus[0].believed.ticks')
  [ "$ticks" -le 105 ]
  [ "$ticks" -ge $((95 - lost)) ]
}

@test "io is served for the set time, by port and by MMIO" {
  for kind in pio mmio; do
    guest --workload io --io-kind "$kind" --work 2000 --service-us 200
    [ "$(get .monitor.service_count)" -eq 2000 ]
    within "$(get .monitor.service_ns)" 400000000 20000000
  done
}

@test "mix is on the CPU for its share" {
  guest --workload mix --burst-us 3000 --sleep-us 7000 --seconds 2
  elapsed=$(get '.vcpus[0].believed.tsc_ns')
  delay=$(get '.vcpus[0].host.run_delay_ns')
  charged=$(get '.vcpus[0].believed.charged_ns')
  # what others take of its CPU it charges itself; wake-ups come late by that
  [ "$charged" -ge $(((elapsed - delay) * 27 / 100)) ]
  [ "$charged" -le $((elapsed * 33 / 100 + delay)) ]
  [ "$(get '.vcpus[0].host.run_ns')" -le $((elapsed * 36 / 100)) ]
}

@test "gap sees what a rival takes" {
  setsid timeout 60 "$VTIME" run --bare --name rival --cpu "$LAST_CPU" --workload spin --seconds 3 >/dev/null 3>&- &
  sleep 0.3
  guest --workload gap --seconds 2
  wait
  delay=$(get '.vcpus[0].host.run_delay_ns')
  [ "$delay" -gt 500000000 ]
  # each gap is a wait and the way out of the guest and back in
  within "$(get '.vcpus[0].gaps.sum_ns')" "$delay" $((delay / 50 + $(get '.vcpus[0].gaps.count') * 100000))
}

@test "what the agent channel carries is whole, and a file and a socket carry the same kinds" {
  guest --work 100000000 --log-hz 100 --agent "file:$BATS_TEST_TMPDIR/frames"
  frames=$(get .agent.frames)
  [ "$frames" -ge 10 ]
  [ "$(get '.agent.dropped + .agent.violations + .agent.bad_frames + .agent.unframed_bytes')" -eq 0 ]
  # each frame has a RELAY frame of 32 bytes before it; HELLO is 64 bytes, a mark 168, clocks 128
  [ "$(stat -c %s "$BATS_TEST_TMPDIR/frames")" -eq $((frames * 32 + 64 + 2 * 168 + (frames - 3) * 128)) ]
}

@test "a listener that is not there costs records, not the guest's time" {
  guest --work 100000000 --log-hz 1000 --agent "unix:$BATS_TEST_TMPDIR/nobody"
  [ "$(get .end)" = finished ]
  [ "$(get .agent.dropped)" -gt 0 ]
  [ "$(get .agent.dropped)" -eq "$(get .agent.frames)" ]
}

@test "no abuse of the agent device stops the guest, and none passes for a host's word" {
  for way in 1 2 3 4 5 6 7 8 9 10; do
    guest --hostile "$way" --work 1000000 --agent "file:$BATS_TEST_TMPDIR/h$way" 2>"$BATS_TEST_TMPDIR/err"
    [ "$(get .end)" = finished ]
    [ "$(get '.agent.violations + .agent.bad_frames + .agent.unframed_bytes')" -gt 0 ]
    # said once, if the device went off
    [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -eq "$(get 'if .agent.disabled then 1 else 0 end')" ]
    frames=$(get .agent.frames)
    size=$(stat -c %s "$BATS_TEST_TMPDIR/h$way")
    [ "$size" -eq $((frames ? 3 * 32 + 64 + 2 * 168 : 0)) ]
  done
}

@test "SIGINT, SIGTERM and SIGHUP end a guest, a gated guest and a bare run cleanly" {
  mkfifo "$BATS_TEST_TMPDIR/never"
  exec 8<>"$BATS_TEST_TMPDIR/never"
  for signal in INT TERM HUP; do
    for args in "" "--bare" "--start-fd 8"; do
      # shellcheck disable=SC2086  # words
      "$VTIME" run --workload idle --seconds 50 --json $args >"$out" 3>&- &
      pid=$!
      sleep 0.3
      kill -"$signal" "$pid"
      wait "$pid"
      [ "$(get .end)" = signal ]
    done
  done
  exec 8>&-
}

@test "boot to CPL 3 and footprint" {
  guest --work 1000000
  echo "# boot to CPL 3: $(get .monitor.boot_to_cpl3_ns) ns, beyond guest RAM: $(get .monitor.beyond_guest_ram_bytes) bytes" >&3
  [ "$(get .monitor.boot_to_cpl3_ns)" -gt 0 ]
  [ "$(get .monitor.beyond_guest_ram_bytes)" -gt 0 ]
}

@test "wrong usage is one clear line and exit code 2; a failure is 1" {
  for args in "--workload nosuch" "--vcpus 0" "--vcpus 65" "--memory 1M" "--cpu 1-" "--cpu x" "--tick -1" \
    "--seconds 0" "--work 0" "--name a/b" "--bare --hostile 1" "stray" "--nosuch"; do
    # shellcheck disable=SC2086  # words
    run "$VTIME" run $args
    [ "$status" -eq 2 ]
    [ "${#lines[@]}" -eq 2 ]
  done
  run "$VTIME" run --work 1 --agent file:/nonexistent/x
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  run "$VTIME" run --work 1 --cpu 1023
  [ "$status" -eq 1 ]
  [ "${#lines[@]}" -eq 1 ]
  run "$VTIME" run --work 1 --json
  [ "$status" -eq 0 ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vtop on this machine: in a terminal (tmux), as batch, as replay; how it ends.

load helpers

VTIME=${VTIME_BIN:-$BATS_TEST_DIRNAME/../../build/bin}/vtime
VTOP=${VTIME%vtime}vtop

setup() {
  needs_kvm
  guests=()
  socket=$BATS_TEST_TMPDIR/tmux
  export TMPDIR=$BATS_TEST_TMPDIR/tmp # vtop's directory must be gone from it at the end
  mkdir "$TMPDIR"
}

teardown() {
  end_children
  tmux -S "$socket" kill-server 2>/dev/null || true
}

four_guests() {
  for i in 1 2 3 4; do
    start_guest "g$i" --workload spin --seconds 60
    guests+=("$guest_pid")
  done
}

# open_vtop COLUMNS LINES ARGS…: vtop in a terminal of its own
open_vtop() {
  local size=(-x "$1" -y "$2") dir=$BATS_TEST_TMPDIR
  shift 2
  cat >"$dir/pane" <<END
stty -g >"$dir/before"
(echo \$BASHPID >"$dir/pid"; LC_ALL=C.UTF-8 exec "$VTOP" $* 2>"$dir/stderr")
echo \$? >"$dir/rc"
stty -g >"$dir/after"
sleep 60
END
  tmux -u -S "$socket" -f /dev/null new-session -d "${size[@]}" "bash $dir/pane" 3>&-
}

keys() { tmux -S "$socket" send-keys "$@"; }

# shows COMMAND…: within 15 s a screen (in $screen) for which COMMAND succeeds
shows() {
  for _ in $(seq 60); do
    screen=$(tmux -S "$socket" capture-pane -p)
    if "$@"; then return 0; fi
    sleep 0.25
  done
  echo "waited in vain for: $*"
  echo "$screen"
  cat "$BATS_TEST_TMPDIR/stderr"
  return 1
}

has() { grep -qF -- "$1" <<<"$screen"; }

# The four guests and nobody else are on the CPU: contention dilation 3.8 to 4.2.
four_times() {
  awk '/^ *g[1-4] / && $2 == 1 && $3 >= 3.8 && $3 <= 4.2 && $4 == "!!!" { n++ } END { exit n != 4 }' <<<"$screen"
}

# otherwise GUESTS: a check of shares failed. With other people's guests on the host that says nothing.
otherwise() {
  if [ "$1" -gt 4 ]; then skip "other virtual machines run on this host: $1 in all"; fi
  return 1
}

order() { awk '/^ *g[1-4] / { printf "%s ", $1 }' <<<"$screen"; }
order_is() { [ "$(order)" = "$1" ]; }

# ended CODE: vtop ended with CODE, gave the terminal back, and left nothing
ended() {
  for _ in $(seq 40); do
    [ -s "$BATS_TEST_TMPDIR/after" ] && break
    sleep 0.25
  done
  [ "$(cat "$BATS_TEST_TMPDIR/rc")" = "$1" ]
  cmp "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
  leaves_nothing
}

leaves_nothing() {
  [ -z "$(ls -A "$TMPDIR")" ]
  run pgrep -f -- "-o $TMPDIR"
  [ "$status" -eq 1 ]
}

@test "four guests on one CPU: vtop shows four rows with a dilation of about 4; q leaves nothing behind" {
  four_guests
  open_vtop 120 30
  shows four_times || otherwise "$(sed -n 's/^ *\([0-9]*\) guests,.*/\1/p' <<<"$screen")"
  has 'lost 0 events'
  recorder=$(pgrep -P "$(cat "$BATS_TEST_TMPDIR/pid")")
  [ -d "/proc/$recorder" ]
  keys q
  ended 0
  [ ! -d "/proc/$recorder" ]
}

@test "keys sort, reverse, open vCPUs, pause, change the delay, and explain themselves" {
  four_guests
  open_vtop 120 40 -d 0.5
  shows has g4
  keys N
  shows order_is 'g1 g2 g3 g4 '
  keys r
  shows order_is 'g4 g3 g2 g1 '
  keys a
  shows has 'vCPU 0 '
  [ "$(grep -c '└ vCPU 0' <<<"$screen")" -ge 4 ]
  keys Space
  shows has '[PAUSED]'
  frozen=$screen
  sleep 1.5
  shows has '[PAUSED]'
  [ "$screen" = "$frozen" ]
  keys Space
  keys d 2 Enter
  shows has 'delay 2 s'
  keys h
  shows has 'any other key goes back'
  keys q
  shows has 'NAME'
  keys q
  ended 0
}

@test "SIGTERM, SIGHUP and Ctrl-C give the terminal back and leave nothing behind" {
  for way in TERM HUP C-c; do
    rm -f "$BATS_TEST_TMPDIR"/{after,rc,pid}
    open_vtop 80 24
    shows has 'window'
    if [ "$way" = C-c ]; then keys C-c; else kill -s "$way" "$(cat "$BATS_TEST_TMPDIR/pid")"; fi
    ended 0
    tmux -S "$socket" kill-server
  done
}

@test "a recorder that dies is reported in its own words or by its signal" {
  open_vtop 80 24
  shows has 'host steal'
  kill -KILL "$(pgrep -P "$(cat "$BATS_TEST_TMPDIR/pid")")"
  ended 1
  grep -q 'recorder was ended by signal 9' "$BATS_TEST_TMPDIR/stderr"
}

@test "a terminal may be small, and may change its size" {
  start_guest g1 --workload spin --seconds 60
  guests+=("$guest_pid")
  open_vtop 80 24
  shows has 'g1 '
  for size in '40 8' '20 3' '300 60' '80 24'; do
    # shellcheck disable=SC2086 # two words
    set -- $size
    tmux -S "$socket" resize-window -x "$1" -y "$2"
    sleep 0.3
    [ -d "/proc/$(cat "$BATS_TEST_TMPDIR/pid")" ]
  done
  shows has 'g1 '
  has 'STATES'
  keys q
  ended 0
}

@test "batch: N blocks, dilation about 4, books balanced, nothing left behind" {
  four_guests
  sleep 1
  "$VTOP" --json -d 2 -n 3 >"$BATS_TEST_TMPDIR/out"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/out")" -eq 3 ]
  # windows after the first are the delay long, give or take a quarter
  jq -es '.[1:] | all(.window_ns > 1.5e9 and .window_ns < 2.6e9)' "$BATS_TEST_TMPDIR/out"
  jq -es 'all(.lost_events == 0) and all(.guests[] | .residual_ns == 0 and .ledger_residual_ns == 0)' "$BATS_TEST_TMPDIR/out"
  leaves_nothing
  jq -es '.[-1].guests | map(select(.name | test("^g[1-4]$")).contention_dilation.value) | length == 4 and all(. > 3.8 and . < 4.2)' \
    "$BATS_TEST_TMPDIR/out" || otherwise "$(jq -s 'map(.guests | length) | max' "$BATS_TEST_TMPDIR/out")"
}

@test "batch: a reader that goes away ends it, and its recorder" {
  "$VTOP" -b -d 0.2 2>"$BATS_TEST_TMPDIR/stderr" | head -n 1
  leaves_nothing
}

@test "replay: windows join and cover the recording to the nanosecond" {
  start_guest g1 --workload mix --seconds 30
  guests+=("$guest_pid")
  "$VTIME" record -q -o "$BATS_TEST_TMPDIR/run.vt" --for 2.2
  run timeout 20 "$VTOP" --json -d 0.5 -f "$BATS_TEST_TMPDIR/run.vt"
  [ "$status" -eq 0 ]
  [ "${#lines[@]}" -ge 4 ]
  whole=$(report "$BATS_TEST_TMPDIR/run.vt" .window_ns)
  [ "$(jq -s 'map(.window_ns) | add' <<<"$output")" = "$whole" ]
  jq -es 'all(.[].guests[]; .residual_ns == 0 and .ledger_residual_ns == 0)' <<<"$output"
  # the states of each row sum to its vCPUs times the window
  jq -es 'all(.[].guests[]; .whole_ns == ([.states[].ns] | add))' <<<"$output"
}

@test "replay: a recording that still grows is followed to its end" {
  start_guest g1 --workload spin --seconds 30
  guests+=("$guest_pid")
  start_record "$BATS_TEST_TMPDIR/run.vt" --for 3
  run timeout 20 "$VTOP" --json -d 1 -f "$BATS_TEST_TMPDIR/run.vt"
  wait "$record_pid"
  [ "$status" -eq 0 ]
  jq -es '(map(.window_ns) | add) > 2.7e9' <<<"$output"
}

@test "no root, no terminal, a wrong option, a damaged recording: one clear line and the right code" {
  run setpriv --reuid 65534 --regid 65534 --clear-groups "$VTOP" -b -n 1
  [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ] && [[ $output == *root* ]]
  run "$VTOP" </dev/null
  [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ] && [[ $output == *terminal* ]]
  run "$VTOP" --sort nonsense
  [ "$status" -eq 2 ]
  run "$VTOP" -d 0
  [ "$status" -eq 2 ]
  echo rubbish >"$BATS_TEST_TMPDIR/bad.vt"
  run "$VTOP" -b -f "$BATS_TEST_TMPDIR/bad.vt"
  [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ]
  run unshare -m sh -c "mount -t tmpfs none /sys/kernel/btf && '$VTOP' -b -n 1"
  [ "$status" -eq 1 ] && [ "${#lines[@]}" -eq 1 ] && [[ $output == *BTF* ]]
  leaves_nothing
}

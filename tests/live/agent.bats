#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vtime-agent on this machine, and the host's side played by agentpeer, which has the same
# clocks: what the agent says is held to what is so.
bats_require_minimum_version 1.5.0
load helpers

AGENT=${VTIME%/*}/vtime-agent
PEER=$LIVE/agentpeer

setup() {
  cd "$BATS_TEST_TMPDIR"
  export VTIME_AGENT_SOCKET=@vtime-test-$BATS_TEST_NUMBER-$$
}

# start_peer ADDRESS [PING_MS]: what it says goes to peer.out; words to it by `tell`
start_peer() {
  rm -f words
  mkfifo words
  "$PEER" "$@" <words >peer.out 3>&- &
  peer_pid=$!
  exec 5>words
  wait_until grep -q '^ready' peer.out
}

tell() { echo "$*" >&5; }

end_peer() {
  exec 5>&-
  wait "$peer_pid"
}

# start_agent OPTION…: returns once programs can tell it marks
start_agent() {
  rm -f agent.err
  "$AGENT" run "$@" 2>agent.err 3>&- 5>&- &
  agent_pid=$!
  wait_until grep -qs session agent.err
}

# stop_agent: it delivers what it keeps; how many frames it made is in $made, dropped in $gone
stop_agent() {
  kill "$agent_pid"
  wait "$agent_pid"
  read -r made gone < <(sed -n 's/.*: \([0-9]*\) frames, \([0-9]*\) dropped.*/\1 \2/p' agent.err)
}

# wait_until COMMAND…: what has no bound here is bounded by the test's patience, not its verdict
wait_until() {
  local tries
  for tries in $(seq 300); do
    ! "$@" || return 0
    sleep 0.05
  done
  echo "never came: $*"
  tail -n 5 peer.out agent.err || true
  return 1
}

# sum NAME: of the peer's last sums
sum() { awk -v name="$1" '$1 == "sum" { for (i = 2; i < NF; i += 2) if ($i == name) v = $(i + 1) } END { print v }' peer.out; }

# sum_is_at_least NAME N, asked anew
sum_is_at_least() {
  tell sum
  sleep 0.05
  [ "$(sum "$1")" -ge "$2" ]
}

frames_said() { grep -c "^$1" peer.out; }

# none of what the host's side can prove to be wrong, nothing damaged, nothing missing
all_is_right() {
  local name
  for name in lost bad skipped wrong-order wrong-clock wrong-answer; do
    [ "$(sum $name)" -eq 0 ] || { echo "$name: $(sum $name)"; return 1; }
  done
}

# Each transport that this machine has: every reading is where the TSCs around it say.
speaks_over() {
  start_peer "$1" 20
  start_agent --to "$2" --rate 100
  wait_until sum_is_at_least views 100
  stop_agent
  wait_until sum_is_at_least frames "$made"
  end_peer
  all_is_right
  [ "$(sum frames)" -eq "$made" ]
  [ "$(sum sessions)" -eq 1 ]
  [ "$(sum pongs)" -gt 0 ]
  grep -q '^hello kind 3 ' peer.out
  grep -q "^system session $(awk '$1 == "session" { print $2 }' peer.out) .* kernel $(uname -r) " peer.out
  grep -q "boot $(tr -d - </proc/sys/kernel/random/boot_id)" peer.out
  grep -q '^event 1 ' peer.out
  grep -q '^event 2 ' peer.out
}

@test "over a unix socket, every clock is where the TSC readings around it say" {
  speaks_over unix:"$PWD/s" unix:"$PWD/s"
}

@test "over a line, every clock is where the TSC readings around it say" {
  speaks_over pty:"$PWD/line" tty:"$PWD/line"
}

@test "over TCP, every clock is where the TSC readings around it say" {
  local port=$((20000 + RANDOM % 10000))
  speaks_over tcp:$port tcp:127.0.0.1:$port
}

@test "into a file, for later, nothing is missing" {
  start_agent --to file:"$PWD/f" --rate 100
  sleep 1
  "$AGENT" mark here
  stop_agent
  "$PEER" file:"$PWD/f" >peer.out
  all_is_right
  [ "$(sum frames)" -eq "$made" ]
  [ "$gone" -eq 0 ]
  grep -q '^mark 3 .* name here ' peer.out
}

# user_ns FILE: of time -p
field_ns() { awk -v f="$1" '$1 == f { printf "%d\n", $2 * 1e9 }' time.out; }

busy='i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'

@test "a benchmark's marks and its run are what time and wait4 say of it" {
  start_peer unix:"$PWD/s"
  start_agent --to unix:"$PWD/s"
  # time's own figures are of bench and its command: within what bench itself takes
  bash -c 'TIMEFORMAT="real %6R
user %6U
sys %6S"; time "$@" 2>bench.err' - "$AGENT" bench --name loop -- sh -c "$busy" 2>time.out
  wait_until grep -q '^mark 2 ' peer.out
  stop_agent
  end_peer
  all_is_right
  local id elapsed user sys begin end
  read -r id elapsed user sys < <(awk '$1 == "run" { for (i = 1; i < NF; i++) v[$i] = $(i + 1); print v["mark"], v["elapsed"], v["user"], v["sys"] }' peer.out)
  read -r begin end < <(awk -v id="$id" '$1 == "mark" && $4 == id { m[$2] = $8 } END { print m[1], m[2] }' peer.out)
  [ "$((end - begin))" -eq "$elapsed" ]
  echo "elapsed $elapsed user $user sys $sys; time: $(paste -sd' ' time.out)"
  [ "$elapsed" -le "$(field_ns real)" ]
  [ "$user" -gt 0 ]
  within "$((user + sys))" "$(($(field_ns user) + $(field_ns sys)))" 20000000
  grep -q "^mark 2 id $id name loop mono [0-9]* cpu $((user + sys)) " peer.out
  # RUN comes before the END mark
  [ "$(grep -n "^run 1 of 1 mark $id" peer.out | cut -d: -f1)" -lt "$(grep -n "^mark 2 id $id" peer.out | cut -d: -f1)" ]
  # the command's process, before it did anything and when it had ended
  grep -q "^process .* mark $id user 0 sys 0 " peer.out
  local last
  last=$(awk -v id="$id" '$1 == "process" && $0 ~ "mark " id { for (i = 1; i < NF; i++) if ($i == "run") r = $(i + 1) } END { print r }' peer.out)
  within "$last" "$((user + sys))" "$(((user + sys) / 10 + 20000000))"
  grep -q '^ *1 .* s ' bench.err
  grep -q 'vtime report' bench.err
}

@test "repeated runs have marks of their own, and a median" {
  start_peer unix:"$PWD/s"
  start_agent --to unix:"$PWD/s"
  "$AGENT" bench --repeat 3 --name thrice -- true 2>bench.err
  wait_until grep -q '^run 3 of 3 ' peer.out
  stop_agent
  end_peer
  [ "$(frames_said 'mark 1')" -eq 3 ]
  [ "$(awk '$1 == "mark" && $2 == 1 { print $4 }' peer.out | sort -u | wc -l)" -eq 3 ]
  grep -q '^ *median ' bench.err
}

@test "the command's exit status and signals pass through" {
  local pid
  run "$AGENT" bench --to unix:"$PWD/nobody" -- sh -c 'exit 37'
  [ "$status" -eq 37 ]
  [[ $output == *"not delivered to the host"* ]]
  run "$AGENT" bench --to unix:"$PWD/nobody" -- sh -c 'kill -9 $$'
  [ "$status" -eq 137 ]
  run -127 "$AGENT" bench --to unix:"$PWD/nobody" -- "$PWD/no-such-program"
  run -126 "$AGENT" bench --to unix:"$PWD/nobody" -- "$PWD"
  "$AGENT" bench --to unix:"$PWD/nobody" -- sh -c 'trap "echo got it; exit 5" TERM; echo up; while :; do sleep 0.05; done' >out 2>&1 3>&- &
  pid=$!
  wait_until grep -q up out
  kill -TERM "$pid"
  status=0
  wait "$pid" || status=$?
  [ "$status" -eq 5 ]
  grep -q 'got it' out
}

@test "without a daemon, bench and mark deliver by themselves" {
  start_peer unix:"$PWD/s"
  "$AGENT" bench --to unix:"$PWD/s" --name alone -- sh -c 'sleep 0.3; exit 3' 2>bench.err || [ $? -eq 3 ]
  grep -q 'vtime report' bench.err
  "$AGENT" mark begun --begin --to unix:"$PWD/s"
  "$AGENT" mark begun --end --to unix:"$PWD/s"
  tell sum
  end_peer
  all_is_right
  [ "$(sum sessions)" -eq 3 ]
  grep -q '^mark 1 .* name alone ' peer.out
  grep -q '^run 1 of 1 .* status 768 ' peer.out
  grep -q '^mark 2 .* name alone ' peer.out
  [ "$(awk '$1 == "mark" && $6 == "begun" { print $2 }' peer.out | paste -sd' ')" = "1 2" ]
  [ "$(awk '$1 == "mark" && $6 == "begun" { print $4 }' peer.out | sort -u | wc -l)" -eq 1 ]
}

@test "a channel cut for seconds in the middle of a benchmark loses nothing" {
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s" --rate 100
  wait_until sum_is_at_least views 20
  "$AGENT" bench --name over -- sh -c 'sleep 5' 2>bench.err 3>&- 5>&- &
  local bench_pid=$! cut
  sleep 1
  cut=$(date +%s%N)
  tell cut
  sleep 3
  tell join
  wait_until sum_is_at_least connections 2
  local back=$(($(date +%s%N) - cut))
  wait "$bench_pid"
  wait_until grep -q '^mark 2 ' peer.out
  stop_agent
  wait_until sum_is_at_least frames "$made"
  end_peer
  all_is_right
  [ "$gone" -eq 0 ]
  [ "$(sum frames)" -eq "$made" ]
  [ "$(sum sessions)" -eq 1 ]
  # the absence is told: as long as it was, counted from the last question before
  local away
  away=$(awk '$1 == "event" && $2 == 8 { if ($4 > a) a = $4 } END { print a }' peer.out)
  echo "away $away of $back"
  [ "$away" -ge 2500000000 ]
  [ "$away" -le "$((back + 500000000))" ]
}

@test "a line without a listener swallows nothing that was said" {
  start_peer pty:"$PWD/line" 20
  start_agent --to tty:"$PWD/line" --rate 100
  wait_until sum_is_at_least views 20
  tell deaf
  tell mute
  sleep 4
  tell speak
  tell hear
  "$AGENT" mark after
  wait_until grep -q 'name after' peer.out
  stop_agent
  wait_until sum_is_at_least frames "$made"
  end_peer
  all_is_right
  [ "$gone" -eq 0 ]
  [ "$(sum frames)" -eq "$made" ]
}

@test "what a full buffer drops is counted to the frame" {
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s" --rate 200 --buffer 16
  wait_until sum_is_at_least views 20
  tell cut
  sleep 2
  "$AGENT" mark kept # where views have no room any more
  sleep 1
  tell join
  wait_until grep -q '^event 7 ' peer.out
  wait_until grep -q 'name kept' peer.out
  stop_agent
  wait_until sum_is_at_least frames 1
  end_peer
  all_is_right
  [ "$gone" -gt 100 ]
  [ "$(sum dropped)" -eq "$gone" ]
  # DROPPED events are beside the frames that were to be said
  [ "$(sum frames)" -eq "$((made - gone + $(frames_said 'event 7')))" ]
}

@test "damaged bytes are sent again" {
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s" --rate 200
  wait_until sum_is_at_least views 50
  tell damage 10
  sleep 3
  stop_agent
  wait_until sum_is_at_least frames "$made"
  end_peer
  [ "$(sum bad)" -gt 0 ]
  [ "$(sum lost)" -eq 0 ]
  [ "$(sum frames)" -eq "$made" ]
  [ "$(sum wrong-order)" -eq 0 ]
  [ "$(sum wrong-clock)" -eq 0 ]
}

@test "killed and started again it is another session" {
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s"
  wait_until grep -q '^hello' peer.out
  kill -KILL "$agent_pid"
  wait "$agent_pid" || true
  start_agent --to unix:"$PWD/s"
  wait_until sum_is_at_least sessions 2
  "$AGENT" mark again
  wait_until grep -q 'name again' peer.out
  stop_agent
  end_peer
  [ "$(sum sessions)" -eq 2 ]
  [ "$(awk '$1 == "system" { print $3 }' peer.out | sort -u | wc -l)" -eq 2 ]
  [ "$(sum wrong-order)" -eq 0 ]
}

@test "another recorder is told who speaks" {
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s"
  wait_until sum_is_at_least views 5
  tell forget
  hellos_are_two() { [ "$(frames_said hello)" -eq 2 ]; }
  wait_until hellos_are_two
  stop_agent
  end_peer
  [ "$(frames_said hello)" -eq 2 ]
  [ "$(awk '$1 == "system" { print $3 }' peer.out | sort -u | wc -l)" -eq 1 ]
}

# Names are told once to each: without them a recorder does not know whose the stretches are.
@test "another recorder is told who the tasks are" {
  needs_root
  start_peer unix:"$PWD/s" 20
  start_agent --tasks --to unix:"$PWD/s"
  named() { [ "$(grep -c "^task $agent_pid " peer.out)" -ge "$1" ]; }
  wait_until named 1
  wait_until sum_is_at_least views 20
  [ "$(grep -c "^task $agent_pid " peer.out)" -eq 1 ]
  tell forget
  wait_until named 2
  stop_agent
  end_peer
  # after it was greeted
  awk -v pid="$agent_pid" '$1 == "hello" { hellos++ } $1 == "task" && $2 == pid { at = hellos } END { exit at != 2 }' peer.out
}

# Two of the same command: what the host or the agent does can't be seen in how long it takes.
@test "a host that is stuck, or an agent, never makes the command wait" {
  local begin end
  start_peer unix:"$PWD/s" 20
  start_agent --to unix:"$PWD/s" --rate 1000
  wait_until sum_is_at_least views 20
  kill -STOP "$peer_pid"
  # the command itself is done when it says so, whatever comes after
  "$AGENT" bench --name stuck -- sh -c 'date +%s%N >done' 2>bench.err
  [ -s done ]
  grep -q '^ *1 ' bench.err
  kill -STOP "$agent_pid"
  rm done
  begin=$(date +%s%N)
  "$AGENT" bench --name stopped -- sh -c 'date +%s%N >done' 2>bench.err 3>&- 5>&- &
  wait_until test -s done
  wait $!
  end=$(date +%s%N)
  grep -q 'the agent does not answer' bench.err
  # it is the agent's answer that was waited for, after the command, and boundedly
  [ "$(($(cat done) - begin))" -lt "$((end - $(cat done)))" ]
  kill -CONT "$agent_pid" "$peer_pid"
  wait_until grep -q 'name stopped' peer.out
  stop_agent
  end_peer
  grep -q 'name stuck' peer.out
  all_is_right
}

@test "chosen processes are told: by pid, by name, by cgroup, and those they start" {
  start_peer unix:"$PWD/s" 20
  cp "$(command -v sleep)" vt-chosen
  ./vt-chosen 60 3>&- 5>&- &
  local by_name=$!
  sleep 60 3>&- 5>&- &
  local by_pid=$!
  mkdir cgroup
  echo $$ >cgroup/cgroup.procs # the file is all that is read of a cgroup
  start_agent --to unix:"$PWD/s" --pid "$by_pid" --comm vt-chosen --cgroup "$PWD/cgroup"
  wait_until grep -q "^process $by_name .* mark 00000000 .* comm vt-chosen" peer.out
  wait_until grep -q "^process $by_pid .* comm sleep" peer.out
  wait_until grep -q "^process $$ " peer.out
  "$AGENT" bench --name tree -- sh -c 'sleep 0.7 & wait' 2>bench.err
  local id
  id=$(awk '$1 == "mark" && $6 == "tree" { print $4 }' peer.out | tail -n 1)
  wait_until grep -q "^process .* mark $id .* comm sleep" peer.out
  stop_agent
  end_peer
  all_is_right
}

@test "two daemons do not share a socket, and a path is taken over from a dead one" {
  start_agent --to file:"$PWD/f"
  run "$AGENT" run --to file:"$PWD/g"
  [ "$status" -eq 1 ]
  [[ $output == *"another agent"* ]]
  stop_agent
  export VTIME_AGENT_SOCKET=$PWD/local
  start_agent --to file:"$PWD/f"
  wait_until test -S local
  kill -KILL "$agent_pid"
  wait "$agent_pid" || true
  start_agent --to file:"$PWD/f"
  wait_until "$AGENT" mark here
  stop_agent
  [ ! -e local ]
}

@test "without a host it estimates from inside, and says so" {
  run "$AGENT" report --seconds 1
  [ "$status" -eq 0 ]
  [[ $output == *"everything here is estimated"* ]]
  [[ $output == *"Bound:"* ]]
  [ "$(grep -c '^ *[0-9]* .* s ' <<<"$output")" -ge "$(nproc)" ]
  run "$AGENT" report -- sh -c 'sleep 0.2; exit 9'
  [ "$status" -eq 9 ]
  [[ $output == *"undisturbed it would have taken"* ]]
}

@test "why nothing goes out is said once, and a file that cannot be written ends it" {
  local to
  for to in /proc/nosuch /dev/full; do
    run -1 timeout 5 "$AGENT" run --socket "$PWD/sock" --to "file:$to"
    [ "$(grep -c "file:$to: " <<<"$output")" -eq 1 ]
    run timeout 5 "$AGENT" bench --to "file:$to" -- true
    [ "$status" -eq 0 ]
    [[ $output == *"not delivered to the host: file:$to: "* ]]
  done
  run -124 timeout 1.5 "$AGENT" run --socket "$PWD/sock" --to unix:"$PWD/nobody"
  [ "$(grep -c 'unix:.*No such file' <<<"$output")" -eq 1 ] # tried some six times
}

@test "bench says where its words are: with the agent, in a file, or with the host" {
  start_agent --to unix:"$PWD/nobody"
  "$AGENT" bench --tasks -- true 2>bench.err
  grep -Eq 'kept by the agent; [1-9][0-9]* frames not yet heard' bench.err
  grep -q 'tells none; start it with --tasks' bench.err
  ! grep -q 'known on the host' bench.err || false
  stop_agent
  "$AGENT" bench --to file:"$PWD/words" -- true 2>bench.err
  grep -q "kept in the file $PWD/words: vtime import" bench.err
  ! grep -q 'known on the host' bench.err || false
  start_agent --to file:"$PWD/others"
  "$AGENT" bench -- true 2>bench.err
  grep -q "kept in the file $PWD/others: vtime import" bench.err
  stop_agent
}

@test "of a crowd of processes it says that there is no room for all" {
  local i
  for i in $(seq 270); do
    sleep 30 3>&- &
    crowd[i]=$!
  done
  "$AGENT" run --socket "$PWD/sock" --to file:"$PWD/words" --comm sleep 2>run.err 3>&- &
  agent_pid=$!
  sleep 1.5
  kill "$agent_pid" "${crowd[@]}"
  wait "$agent_pid" || true
  [ "$(grep -c 'more processes than 256' run.err)" -eq 1 ]
}

@test "usage errors are said, with exit code 2" {
  run -2 "$AGENT" mark x --begin --end
  [[ $output == *"one of --begin, --end and --point"* ]]
  run "$AGENT"
  [ "$status" -eq 2 ]
  run "$AGENT" run --to http:x
  [ "$status" -eq 2 ]
  run "$AGENT" run --rate 2000
  [ "$status" -eq 2 ]
  run "$AGENT" run --buffer 1
  [ "$status" -eq 2 ]
  run "$AGENT" bench
  [ "$status" -eq 2 ]
  run "$AGENT" mark
  [ "$status" -eq 2 ]
  run "$AGENT" --help
  [ "$status" -eq 0 ]
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# vtime doctor: its words against what the host does.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  export answer=$BATS_FILE_TMPDIR/doctor.json
  "$BATS_TEST_DIRNAME/../../build/bin/vtime" doctor --json >"$answer" || true
}

# status NAME, found NAME: of one check
status() { jq -r --arg n "$1" '.checks[] | select(.name == $n).status' "$answer"; }
found() { jq -r --arg n "$1" '.checks[] | select(.name == $n).found' "$answer"; }

@test "the JSON has every check with a status, and advice where something is wanting" {
  jq -e '.schema == 1 and (.checks | length) >= 25' "$answer"
  jq -e '.checks | all((.status | IN("ok", "limited", "missing", "untried")) and .found != "")' "$answer"
  jq -e '[.checks[] | select(.status == "limited" or .status == "missing")] | all(.means != "" and .mend != "")' "$answer"
  jq -e '([.checks[].name] | unique | length) == (.checks | length)' "$answer"
}

@test "recording is possible where doctor says so, and it is root's to say" {
  needs_root
  jq -e .recording_possible "$answer"
  "$VTIME" doctor >/dev/null
  "$VTIME" record -q -f -o "$BATS_TEST_TMPDIR/run.vt" --for 0.1
}

@test "a test guest is accounted without residual or loss, and seen halted" {
  needs_kvm
  [ "$(status ledger)" = ok ]
  [[ $(found ledger) =~ accounts\ [0-9.]+\ ms.*residual\ 0\ ns,\ lost\ 0\ ns ]]
  [ "$(status 'halted vCPUs')" = ok ]
}

@test "the scheduler's probes are seen to fire" {
  needs_root
  for probe in switch wakeup exit; do
    [[ $(found "probe $probe") =~ fires:\ [1-9] ]]
  done
  [ "$(nproc)" -eq 1 ] || [[ $(found 'probe migrate') =~ fires:\ [1-9] ]]
}

@test "doctor and a recording agree whether guest entry and exit can be seen" {
  needs_kvm
  "$VTIME" record -q -f -o "$BATS_TEST_TMPDIR/run.vt" --for 0.1
  seen=$(sqlite3 "$BATS_TEST_TMPDIR/run.vt" "SELECT value FROM meta WHERE key = 'has_entry_exit'")
  if [ "$seen" = 1 ]; then
    [ "$(status 'probe entry-exit')" = ok ]
  else
    [ "$(status 'probe entry-exit')" = limited ]
  fi
}

@test "a module of another name than Intel's or AMD's is a limited back end" {
  [ -e /dev/kvm ] || skip "no /dev/kvm"
  if [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; then
    [ "$(status 'KVM back end')" = ok ]
  else
    [ "$(status 'KVM back end')" = limited ]
  fi
}

@test "the host's clock, autogroup and perf events are told as the kernel has them" {
  clock=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
  [ "$clock" = tsc ] && expected=ok || expected=limited
  [ "$(status 'host clock')" = "$expected" ]
  if [ "$(cat /proc/sys/kernel/sched_autogroup_enabled 2>/dev/null || echo 0)" = 0 ]; then
    [ "$(status autogroup)" = ok ]
  else
    [ "$(status autogroup)" = limited ]
  fi
  perf stat -x, -e task-clock true 2>&1 | grep -q '^[0-9]' && expected=ok || expected=missing
  [ "$(status 'software events')" = "$expected" ]
}

@test "the text keeps to 100 columns and ends with the verdict" {
  run "$VTIME" doctor
  for line in "${lines[@]}"; do [ "${#line}" -le 100 ]; done
  [[ ${lines[-1]} == *'recording is '* ]]
}

@test "without privilege it runs, exits with 1 and says what it could not try" {
  needs_root
  cp -L "$VTIME" "$BATS_FILE_TMPDIR/vtime"
  chmod 755 "$BATS_FILE_TMPDIR/vtime" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
  cd /
  run -1 --separate-stderr setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$BATS_FILE_TMPDIR/vtime" doctor --json
  [ -z "$stderr" ]
  jq -e '.recording_possible | not' <<<"$output"
  jq -e '.checks[] | select(.name == "privilege").status == "missing"' <<<"$output"
  jq -e '.checks[] | select(.name == "probe wakeup").status == "untried"' <<<"$output"
  jq -e '.checks[] | select(.name == "host clock").status != "untried"' <<<"$output"
  jq -e '.checks[] | select(.name == "storage").status == "limited"' <<<"$output"
}

@test "without /dev/kvm recording is still possible, and what needs a guest is untried" {
  needs_kvm
  run -0 --separate-stderr unshare -m sh -c \
    'mount -t tmpfs none /dev && exec "$0" doctor --json' "$(realpath "$VTIME")"
  jq -e .recording_possible <<<"$output"
  jq -e '.checks[] | select(.name == "/dev/kvm").status == "missing"' <<<"$output"
  jq -e '.checks[] | select(.name == "probe halt").status == "untried"' <<<"$output"
  jq -e '.checks[] | select(.name == "probe switch").status == "ok"' <<<"$output"
}

@test "without BTF nothing can be recorded, and doctor says why" {
  needs_root
  # libbpf looks in other places too, where a kernel package may have put an image
  [ ! -e "/boot/vmlinux-$(uname -r)" ] || skip "a kernel image in /boot has BTF"
  run -1 --separate-stderr unshare -m sh -c \
    'mount -t tmpfs none /sys/kernel/btf && exec "$0" doctor --json' "$(realpath "$VTIME")"
  jq -e '.recording_possible | not' <<<"$output"
  jq -e '.checks[] | select(.name == "BTF") | .status == "missing" and (.mend | contains("CONFIG_DEBUG_INFO_BTF"))' <<<"$output"
}

@test "nothing is left behind: no process, no program, no file" {
  needs_root
  cd "$BATS_TEST_TMPDIR"
  "$VTIME" doctor >/dev/null
  [ -z "$(ls -A)" ]
  run pgrep -P "$$" -x vtime
  [ -z "$output" ]
}

@test "wrong usage is told in two lines and exits with 2" {
  run -2 --separate-stderr "$VTIME" doctor --verbose
  run -2 --separate-stderr "$VTIME" doctor now
  [ "${#stderr_lines[@]}" -eq 2 ]
}

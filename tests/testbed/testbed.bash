# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For *.bats here: one boot per file, in setup_file; the tests look at its results.
testbed_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
testbed_repo=$(cd "$testbed_dir/../.." && pwd -P)
# shellcheck disable=SC2034  # for the tests
vtime=${VTIME:-$testbed_repo/build/bin/vtime}

# testbed_run [OPTION…] -- COMMAND…: boots once and runs COMMAND. Its streams are
# then in $result/stdout and $result/stderr, what it put into /out is in $result/out.
# Returns its code; where no testbed is to be had, notes why and returns 0, and
# testbed_needed skips the tests.
testbed_run() {
  local code try
  # 125 is a failure of the testbed itself, such as a machine that stops dead with its
  # own time limit for the command. The one cause known, in QEMU's threads, is kept out
  # (README.md); a shared machine may still be too slow to end in time. So 125 is tried
  # again, and each such boot shown.
  # A command that hangs or fails has a code of its own and is not run again.
  for try in 1 2 3; do
    code=0
    rm -rf "$result/out"
    mkdir -p "$result/out"
    "$testbed_dir/testbed.sh" run --out "$result/out" "$@" >"$result/stdout" 2>"$result/stderr" 3>&- || code=$?
    if [ $code -ne 125 ] || [ $try -eq 3 ]; then break; fi
    sed 's/^/# failed boot: /' "$result/stderr" >&3
  done
  if [ $code -eq 77 ]; then
    tail -n 1 "$result/stderr" >"$result/skip"
    return 0
  fi
  [ $code -ne 125 ] || cat "$result/stderr" >&2
  echo $code >"$result/code"
  return $code
}

# testbed_needed: for setup()
testbed_needed() {
  [ ! -e "$result/skip" ] || skip "$(cat "$result/skip")"
}

result=$BATS_FILE_TMPDIR

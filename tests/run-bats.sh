#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run-bats.sh live|testbed: runs a folder's *.bats and says what was skipped and why.
set -u
cd "$(dirname "$0")/.." || exit 1
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bats --tap "tests/$1" 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
passed=$(grep -c '^ok ' "$out")
skipped=$(grep -c '^ok .*# skip' "$out")
failed=$(grep -c '^not ok ' "$out")
grep '^ok .*# skip' "$out" | sed 's/^ok [0-9]* \(.*\) # skip/skipped: \1:/'
echo "$((passed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"

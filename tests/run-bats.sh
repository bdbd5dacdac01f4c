#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run-bats.sh live|testbed: runs a folder's *.bats and says what was skipped and why, and what took longest.
set -u
cd "$(dirname "$0")/.." || exit 1
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bats --tap --timing "tests/$1" 2>&1 | tee "$out"
status=${PIPESTATUS[0]}
passed=$(grep -c '^ok ' "$out")
skipped=$(grep -c '^ok .*# skip' "$out")
failed=$(grep -c '^not ok ' "$out")
sed -n 's/^ok [0-9]* \(.*\) in [0-9]*ms # skip/skipped: \1:/p' "$out"
sed -n 's/^\(not \)\?ok [0-9]* \(.*\) in \([0-9]*\)ms.*/\3 \2/p' "$out" | sort -rn |
  awk '{ all += $1 } NR <= 8 { $1 = sprintf("slow: %d s:", $1 / 1000); print } END { printf "all of them: %d s\n", all / 1000 }'
echo "$((passed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"

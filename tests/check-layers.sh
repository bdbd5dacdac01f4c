#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Dependencies point one way: programs -> correlator -> lib -> include.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
complain() { echo "layers: $1"; bad=1; }

# deny WHO-MAY-NOT(pathspec…) -- PATTERN  EXPLANATION
deny() {
  local pattern=$1 why=$2; shift 2
  local hits
  hits=$(git grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]+[<\"]$pattern" -- "$@") &&
    complain "$why"$'\n'"$hits"
}

deny 'sqlite3\.h' 'only lib/store speaks SQLite' '*.c' '*.h' ':!lib/store' ':!tests'
deny '(n?curses|term\.h)' 'only the screen speaks curses' '*.c' '*.h' ':!tui/screen*'
deny '(perf|internal)/' 'only collector/counters.c speaks libperf' '*.c' '*.h' ':!collector/counters.c'
deny '(bpf/|linux/bpf)' 'only the collector speaks libbpf' '*.c' '*.h' ':!collector' ':!guest-agent/bpf' ':!tests'
deny '(store/|cli/|base/|wire/|collector/|correlator/|tui/|reports/|vmm-core/)' \
  'include/ holds contracts and depends on nothing' include
deny '(collector/|correlator/|tui/|reports/|vmm-core/|guest-agent/)' 'lib/ does not know programs' lib
deny '(store/|collector/|tui/|reports/|vmm-core/|guest-agent/|stdio\.h|unistd\.h|fcntl\.h)' \
  'the correlator is pure: only feed.c reads the store' correlator ':!correlator/feed.c' ':!correlator/feed.h'
for program in collector guest-agent tui reports vmm-core; do
  others=$(printf '%s\n' collector guest-agent tui reports vmm-core | grep -vx "$program" | paste -sd'|')
  deny "($others)/" "$program/ includes another program's headers" "$program"
done
git grep -nE '#include' -- 'collector/bpf/*.bpf.c' |
  grep -vE '"((kernel|machine|permitted)\.h|vt/(cells|ledger|slice_pack|state)\.h)"|<bpf/bpf_(helpers|tracing|core_read)\.h>' &&
  complain 'BPF code sees the wire headers, libbpf and its one kernel header'
git grep -nE '#include' -- 'guest-agent/bpf/*.bpf.c' |
  grep -vE '"(kernel|tasks)\.h"|<bpf/bpf_(helpers|tracing|core_read)\.h>' &&
  complain 'BPF code of the agent sees what it shares with it, libbpf and its one kernel header'
[ $bad -eq 0 ] && echo 'layers: ok'
exit $bad

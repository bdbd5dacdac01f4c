# SPDX-License-Identifier: GPL-2.0-or-later
# The blame matrix from perf script's lines of a raw `perf sched record`:
#   awk -v victims="TID=NAME TID=NAME" -f blame.awk
# prints: victim, culprit, ns. A second way, by other events' texts and other code:
# whoever leaves a CPU is charged for each victim that waits there, from the switch
# before, or from when that victim's wait began.
function ns(text,    part) {
  sub(/:$/, "", text)
  split(text, part, ".")
  return part[1] * 1000000000 + part[2]
}

function field(name,    m) {
  return match($0, " " name "=[^ ]+") ? substr($0, RSTART + length(name) + 2, RLENGTH - length(name) - 2) : ""
}

function comm(name, after,    from, to) { # may hold blanks
  from = index($0, " " name "=") + length(name) + 2
  to = index($0, " " after "=")
  return substr($0, from, to - from)
}

function culprit(pid, name) { return pid in victim ? victim[pid] : pid == 0 ? "idle CPU" : name }

BEGIN {
  n = split(victims, pair, " ")
  for (i = 1; i <= n; i++) {
    split(pair[i], part, "=")
    victim[part[1]] = part[2]
  }
}

{
  cpu = ""
  for (i = 1; i <= NF && cpu == ""; i++)
    if ($i ~ /^\[[0-9]+\]$/) {
      cpu = substr($i, 2, length($i) - 2) + 0
      now = ns($(i + 1))
    }
}

/ sched:sched_switch: / {
  prev = field("prev_pid")
  next_pid = field("next_pid")
  who = culprit(prev, comm("prev_comm", "prev_pid"))
  for (tid in waits_on)
    if (waits_on[tid] == cpu) {
      from = last[cpu] > since[tid] ? last[cpu] : since[tid]
      debt[victim[tid] "\t" who] += now - from
    }
  delete waits_on[next_pid]
  last[cpu] = now
  if (prev in victim && field("prev_state") ~ /^R/) {
    waits_on[prev] = cpu
    since[prev] = now
  }
  running[cpu] = next_pid
}

/ sched:sched_wakeup: | sched:sched_wakeup_new: / {
  pid = field("pid")
  target = field("target_cpu") + 0
  if (pid in victim && !(pid in waits_on) && running[target] != pid) {
    waits_on[pid] = target
    since[pid] = now
  }
}

END {
  for (d in debt)
    printf "%s\t%d\n", d, debt[d]
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/counter.h"

const struct vt_counter_info vt_counters[VT_NR_COUNTERS] = {
    [VT_COUNTER_CYCLES] = { "cycles", true, "cycles at the frequency of the moment" },
    [VT_COUNTER_INSTRUCTIONS] = { "instructions", true, "instructions retired" },
    [VT_COUNTER_REF_CYCLES] = { "ref-cycles", true, "cycles at a constant frequency, while not halted" },
    [VT_COUNTER_LLC_MISSES] = { "LLC-load-misses", true, "loads that the last level cache missed" },
    [VT_COUNTER_TASK_CLOCK] = { "task-clock", false, "ns on a CPU" },
    [VT_COUNTER_CONTEXT_SWITCHES] = { "context-switches", false, "times it left the CPU" },
    [VT_COUNTER_CPU_MIGRATIONS] = { "cpu-migrations", false, "moves to another CPU" },
    [VT_COUNTER_PAGE_FAULTS] = { "page-faults", false, "page faults of the monitor's own memory" },
};

const char *vt_counter_side_name(enum vt_counter_side side)
{
    static const char *const names[VT_NR_SIDES] = {
        [VT_SIDE_BOTH] = "both", [VT_SIDE_GUEST] = "guest", [VT_SIDE_HOST] = "host"
    };
    return names[side];
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of the counters: one table. */
#ifndef VT_BASE_COUNTER_H
#define VT_BASE_COUNTER_H

#include <stdbool.h>

#include "vt/counter.h"

struct vt_counter_info {
    const char *name; /* as perf(1) has it: "context-switches" */
    bool hardware;    /* needs a PMU */
    const char *meaning;
};

extern const struct vt_counter_info vt_counters[VT_NR_COUNTERS];

/** "both", "guest", "host". */
const char *vt_counter_side_name(enum vt_counter_side side);

#endif

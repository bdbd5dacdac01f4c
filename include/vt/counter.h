/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counters of a vCPU's thread, by perf_event: what it got done beside the time
 * that the ledger accounts for.  They are never part of that account.
 * The numbers are stored in recordings: append, never reorder.
 */
#ifndef VT_COUNTER_H
#define VT_COUNTER_H

#include "vt/time.h"

enum vt_counter {
    VT_COUNTER_CYCLES,       /* at the frequency of the moment */
    VT_COUNTER_INSTRUCTIONS, /* retired */
    VT_COUNTER_REF_CYCLES,   /* at a constant frequency, while not halted */
    VT_COUNTER_LLC_MISSES,   /* loads that the last level cache missed */
    VT_COUNTER_TASK_CLOCK,   /* ns on CPU */
    VT_COUNTER_CONTEXT_SWITCHES,
    VT_COUNTER_CPU_MIGRATIONS,
    VT_COUNTER_PAGE_FAULTS,
    VT_NR_COUNTERS
};

/** Where the thread is while it counts: exclude_host, exclude_guest of perf_event_open(2). */
enum vt_counter_side {
    VT_SIDE_BOTH,  /* not told apart */
    VT_SIDE_GUEST, /* in guest mode */
    VT_SIDE_HOST,  /* in the kernel or the monitor */
    VT_NR_SIDES
};

/** An attempt to open an event, alone: the first thing known of each that was asked for. */
struct vt_counter_event {
    int64_t vcpu; /* vt_vcpu.id, only where it failed; 0: tried on the collector itself, before */
    host_ns at;
    enum vt_counter event;
    enum vt_counter_side side;
    uint32_t error;  /* errno of perf_event_open(2), 0: it opened */
    char reason[64]; /* the kernel's word for it */
};

/** A reading, cumulated since the event was opened; the values are raw, not scaled. */
struct vt_counter_reading {
    int64_t vcpu;
    host_ns at; /* the same for all events of one round over the vCPU */
    enum vt_counter event;
    enum vt_counter_side side;
    uint64_t count;
    uint64_t enabled_ns; /* the thread was on a CPU */
    uint64_t running_ns; /* and the event was on the PMU: less where events took turns */
};

#endif

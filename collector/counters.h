/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * perf_event counters of the vCPUs' threads, through libperf (whose only user
 * this is).  Each event is tried alone, for one that is refused fails its whole
 * group; what is absent is told, with the kernel's reason, and left out.
 */
#ifndef VT_COUNTERS_H
#define VT_COUNTERS_H

#include <stddef.h>

#include "base/counter.h"
#include "store/store.h"
#include "vt/ledger.h"

struct vt_counters;

/** Bit per enum vt_counter. Software events tell what the ledger knows anyway: they cross-check it. */
#define VT_COUNTERS_ALL      ((1u << VT_NR_COUNTERS) - 1)
#define VT_COUNTERS_HARDWARE ((1u << VT_COUNTER_TASK_CLOCK) - 1)

/** "none", "all", "hardware", "software" or names, by commas. 0 or -EINVAL. */
int vt_counters_parse(const char *list, uint32_t *ret_wanted, struct vt_err *err);

/** An event tried on the calling thread. */
struct vt_counter_trial {
    enum vt_counter event;
    enum vt_counter_side side;
    int error; /* errno, ENODATA: it opened and stood still; 0: it is there */
};
#define VT_MAX_TRIALS (2 * VT_NR_COUNTERS)

/**
 * Tries each of the events, alone: on both sides where the kernel tells guest
 * from host, else once.  Returns the number of trials.
 */
size_t vt_counters_try(uint32_t wanted, struct vt_counter_trial ret[VT_MAX_TRIALS]);

/** "ENOENT: No such file or directory" */
#define VT_COUNTER_REASON_LEN 64
const char *vt_counter_reason(int error, char ret[VT_COUNTER_REASON_LEN]);

/**
 * Tries what is wanted and notes it in the store; raises the limit of open
 * files as far as it may. Borrows the store. -ENOMEM, or the store's error.
 */
int vt_counters_open(uint32_t wanted, struct vt_store *store, struct vt_counters **ret, struct vt_err *err);

/** The same, where the trials have been made. */
int vt_counters_open_tried(const struct vt_counter_trial *trials, size_t n, struct vt_store *store,
                           struct vt_counters **ret, struct vt_err *err);

/** What was tried; valid as long as c is. */
size_t vt_counters_trials(const struct vt_counters *c, const struct vt_counter_trial **ret);

/**
 * Another look at the vCPU in a slot: its life is new: opens what there is;
 * then reads it and stores what has changed; its life is over: closes.
 * A thread that can't be counted is no failure: it is noted in the store.
 */
int vt_counters_follow(struct vt_counters *c, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
                       struct vt_err *err);

/**
 * From now on into another recording: what was tried is noted there too, and
 * each life's next look writes there first what the last one here had read.
 */
int vt_counters_move(struct vt_counters *c, struct vt_store *store, struct vt_err *err);

/** Lives that are not counted for want of descriptors. */
unsigned vt_counters_short_of_files(const struct vt_counters *c);

/**
 * NULL is fine. Puts the limit of open files back. In a forked child: lets go
 * of the descriptors, which libperf opens so that an exec would pass them on.
 */
void vt_counters_close(struct vt_counters *c);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where all frames of a run go out, whether a guest's or a bare process's: to
 * the channel, and past a witness that keeps what the marks said, for the
 * summary.  Locked: any thread may put.
 */
#ifndef VMM_OUTLET_H
#define VMM_OUTLET_H

#include <pthread.h>
#include <sys/types.h>

#include "vmm-core/channel.h"

/* One mark: what the guest said, and what the host knew when it came. */
struct outlet_mark {
    bool seen;
    struct vtg_clocks clocks;
    uint64_t host_ns;
    uint64_t run_ns, run_delay_ns; /* of the thread: /proc schedstat */
};

struct outlet_gaps {
    uint64_t count, sum_tsc, longest_tsc;
};

struct outlet_vcpu {
    pid_t tid;                            /* set before its first frame */
    struct outlet_mark begin, end;        /* the first and the last */
    struct outlet_gaps gaps_before, gaps; /* up to the newest begin mark, and as last reported */
};

struct outlet {
    pthread_mutex_t lock;
    struct channel channel;
    uint64_t first_ns; /* when the first frame came, 0: none yet */
    unsigned nr_vcpus;
    struct outlet_vcpu *vcpus;
};

int outlet_init(struct outlet *o, unsigned nr_vcpus, const char *where, struct vt_err *err);

/** A whole frame, checksum known to be right; its words are not believed. */
void outlet_put(struct outlet *o, const uint8_t *frame, size_t n);

/** Sends what waits; true: there is more. */
bool outlet_flush(struct outlet *o);

/** Gives the rest a second to go. The witness stays readable. */
void outlet_close(struct outlet *o);

void outlet_release(struct outlet *o);

#endif

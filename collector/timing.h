/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's timing of BPF programs (BPF_ENABLE_STATS) wants CAP_SYS_ADMIN,
 * which a service gives up.  So that its bill stays known, a child keeps this
 * capability, and no other, and does one thing: it switches the timing on and
 * hands the descriptor over that keeps it on.
 */
#ifndef VT_TIMING_H
#define VT_TIMING_H

#include <sys/types.h>

struct vt_timing {
    int fd;    /* to the child, -1: there is none, and we ask the kernel ourselves */
    pid_t pid; /* 0: none */
};

#define VT_TIMING_OWN ((struct vt_timing){ -1, 0 })

/** Starts the child, if we have what it needs; else nothing: then the cost will not be known. */
void vt_timing_start(struct vt_timing *ret);

/** A descriptor that keeps the timing on until it is closed; -1 if it can't be had. */
int vt_timing_on(const struct vt_timing *t);

void vt_timing_stop(struct vt_timing *t);

#endif

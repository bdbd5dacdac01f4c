/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest may say in the long run: bytes of its channels that are read, and so written to
 * disk.  By VM, whatever channels it opens.  A tick's allowance (channel.c) bounds a moment; this
 * bounds a day.
 */
#ifndef VT_BUDGET_H
#define VT_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "vt/record.h"

enum { VT_BUDGETS = 256 };

/*
 * What the busiest honest agent needs: 1000 views a second, the most there are, are 176 kB/s on the wire, and
 * 10 of them with the stretches of 20 000 switches a second some 200 kB/s.  What an agent kept while the host
 * was away (256 KiB as a rule) may come at once, many times over.
 */
#define VT_BUDGET_RATE (UINT64_C(256) << 10) /* bytes a second: 0.9 GiB an hour */
#define VT_BUDGET_MOST (UINT64_C(64) << 20)  /* saved, and at the begin */

struct vt_budget {
    uint32_t tgid; /* 0: free */
    uint64_t start_ns;
    uint64_t left; /* bytes, at `at` */
    host_ns at;
};

struct vt_budgets {
    struct vt_budget of[VT_BUDGETS];
};

/** Its own, or a fresh one: in place of the one that has most left where all are taken. */
struct vt_budget *vt_budget_of(struct vt_budgets *all, uint32_t tgid, uint64_t start_ns, host_ns now);
/** How many bytes may be read now. */
uint64_t vt_budget_left(struct vt_budget *b, host_ns now);
void vt_budget_spend(struct vt_budget *b, size_t bytes);

#endif

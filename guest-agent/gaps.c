/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/gaps.h"

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void vta_gap_look(struct vta_gap_sum *g, uint64_t late_ns, uint64_t waited_ns)
{
    g->looks++;
    if (late_ns <= g->threshold_ns)
        return;
    g->most_ns += late_ns + g->period_ns;
    if (less(late_ns, waited_ns) <= g->threshold_ns)
        return;
    g->count++;
    g->least_ns += less(late_ns, waited_ns);
    if (late_ns > g->longest_ns)
        g->longest_ns = late_ns;
}

struct vta_estimate vta_gap_estimate(const struct vta_gap_sum *g, uint64_t steal_ns, uint64_t granule_ns,
                                     uint64_t window_ns)
{
    struct vta_estimate e = { g->least_ns, g->most_ns };
    if (steal_ns) {
        e.least_ns = smaller(e.least_ns, less(steal_ns, granule_ns));
        if (steal_ns + granule_ns > e.most_ns)
            e.most_ns = steal_ns + granule_ns;
    }
    e.least_ns = smaller(e.least_ns, window_ns);
    e.most_ns = smaller(e.most_ns, window_ns);
    return e;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/task_time.h"

#include <stdbool.h>

enum { TRIES = 16 };

struct vta_pair vta_pair_read(clockid_t clock)
{
    struct vta_pair best = { .slack = UINT64_MAX };
    for (int i = 0; i < TRIES; i++) {
        struct timespec ts = { 0 };
        const uint64_t low = vta_tsc();
        clock_gettime(clock, &ts);
        const uint64_t width = vta_tsc() - low;
        if (width / 2 + 1 < best.slack) {
            best.tsc = low + width / 2;
            best.slack = width / 2 + 1; /* ticks, rounded up */
            best.ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
        }
    }
    return best;
}

/* ticks * ns / per, of a product that may have more than 64 bits */
static uint64_t scale(uint64_t ns, uint64_t ticks, uint64_t per)
{
    __extension__ typedef unsigned __int128 wide;
    const wide v = per ? (wide)ns * ticks / per : 0;
    return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

uint64_t vta_span_ticks(const struct vta_span *s, uint64_t ns)
{
    return scale(ns, s->after.tsc - s->before.tsc, s->after.ns - s->before.ns);
}

uint64_t vta_span_tsc(const struct vta_span *s, uint64_t ns)
{
    if (ns >= s->before.ns)
        return s->before.tsc + vta_span_ticks(s, ns - s->before.ns);
    const uint64_t back = vta_span_ticks(s, s->before.ns - ns);
    return back < s->before.tsc ? s->before.tsc - back : 0;
}

uint64_t vta_span_bound(const struct vta_span *s, const struct vta_span *before)
{
    /* and a nanosecond of rounding on either side */
    const uint64_t slack = s->before.slack > s->after.slack ? s->before.slack : s->after.slack;
    const uint64_t bound = slack + vta_span_ticks(s, 2) + 1;
    if (before->before.ns == 0 || before->after.ns <= before->before.ns)
        return bound;
    /* where the clock would have read s->after.ns at the rate of the span before */
    const uint64_t straight = s->before.tsc + vta_span_ticks(before, s->after.ns - s->before.ns);
    const uint64_t bend = straight > s->after.tsc ? straight - s->after.tsc : s->after.tsc - straight;
    return bound + bend / 4;
}

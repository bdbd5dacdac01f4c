/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This host's own steal, where the host is a guest itself: how much of the time in which a vCPU
 * had a CPU was taken from the host.  It is told by stretches: so much of each, and not where in it.
 */
#include <errno.h>
#include <string.h>

#include "correlator/internal.h"

int vt_correlator_outer_steal(void *context, const struct vt_outer_steal *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || row->from.v > row->to.v)
        return -EUCLEAN;
    struct vt_outer_steal kept = *row;
    if (life->nr_outer) /* told from two CPUs, whose clocks may differ by a little */
        kept.from.v = vt_max(kept.from.v, life->outer[life->nr_outer - 1].to.v);
    if (kept.from.v >= kept.to.v)
        return 0;
    kept.ns = vt_min(kept.ns, kept.to.v - kept.from.v);
    int r = vt_grow((void **)&life->outer, &life->room_outer, life->nr_outer, sizeof(*life->outer));
    if (!r)
        life->outer[life->nr_outer++] = kept;
    return r;
}

size_t vt_outer_after(const struct vt_life *life, uint64_t at)
{
    size_t low = 0, high = life->nr_outer;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (life->outer[middle].to.v <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct vt_outer_range vt_outer_part(const struct vt_outer_steal *o, uint64_t from, uint64_t to)
{
    from = vt_max(o->from.v, from);
    to = vt_min(o->to.v, to);
    if (from >= to)
        return (struct vt_outer_range){ 0 };
    const uint64_t rest = o->to.v - o->from.v - (to - from);
    return (struct vt_outer_range){ o->ns - vt_min(o->ns, rest), vt_min(o->ns, to - from) };
}

struct vt_outer_range vt_outer_in(const struct vt_life *life, uint64_t from, uint64_t to)
{
    struct vt_outer_range sum = { 0 };
    for (size_t i = vt_outer_after(life, from); i < life->nr_outer && life->outer[i].from.v < to; i++) {
        const struct vt_outer_range part = vt_outer_part(&life->outer[i], from, to);
        sum.least += part.least;
        sum.most += part.most;
    }
    return sum;
}

void vt_outer_forget(struct vt_life *life, uint64_t before)
{
    const size_t n = vt_outer_after(life, before);
    life->nr_outer -= n;
    if (n)
        memmove(life->outer, life->outer + n, life->nr_outer * sizeof(*life->outer));
}

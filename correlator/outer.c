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
    const struct vt_outer_stretch *last = life->nr_outer ? &life->outer[life->nr_outer - 1] : NULL;
    struct vt_outer_stretch kept = { row->from.v, row->to.v, row->ns, last ? last->before + last->ns : 0 };
    if (last) /* told from two CPUs, whose clocks may differ by a little */
        kept.from = vt_max(kept.from, last->to);
    if (kept.from >= kept.to)
        return 0;
    kept.ns = vt_min(kept.ns, kept.to - kept.from);
    int r = vt_grow((void **)&life->outer, &life->room_outer, life->nr_outer, sizeof(*life->outer));
    if (!r)
        life->outer[life->nr_outer++] = kept;
    return r;
}

/* The first that ends after `at`. */
static size_t outer_after(const struct vt_life *life, uint64_t at)
{
    size_t low = 0, high = life->nr_outer;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (life->outer[middle].to <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How much of it fell outside from..to: at least, and at most. */
static struct vt_outer_range outside(const struct vt_outer_stretch *o, uint64_t from, uint64_t to)
{
    const uint64_t within = vt_min(o->to, to) - vt_max(o->from, from), rest = o->to - o->from - within;
    return (struct vt_outer_range){ o->ns - vt_min(o->ns, within), vt_min(o->ns, rest) };
}

struct vt_outer_range vt_outer_in(const struct vt_life *life, uint64_t from, uint64_t to)
{
    const size_t first = outer_after(life, from);
    size_t next = outer_after(life, to);
    if (next < life->nr_outer && life->outer[next].from < to)
        next++;
    if (from >= to || first >= next)
        return (struct vt_outer_range){ 0 };
    const struct vt_outer_stretch *ends[2] = { &life->outer[first], &life->outer[next - 1] };
    const uint64_t all = ends[1]->before + ends[1]->ns - ends[0]->before; /* those between are inside */
    struct vt_outer_range sum = { all, all };
    for (unsigned int i = 0; i < (ends[0] == ends[1] ? 1u : 2u); i++) {
        const struct vt_outer_range out = outside(ends[i], from, to);
        sum.least -= out.most;
        sum.most -= out.least;
    }
    return sum;
}

void vt_outer_forget(struct vt_life *life, uint64_t before)
{
    const size_t n = outer_after(life, before);
    life->nr_outer -= n;
    if (n)
        memmove(life->outer, life->outer + n, life->nr_outer * sizeof(*life->outer));
}

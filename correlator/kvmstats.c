/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's own statistics of a vCPU: growth between the edges of a window. */
#include <errno.h>
#include <stdlib.h>

#include "correlator/internal.h"

/* Ids count from 1 without a gap: they are indices. */
int vt_correlator_kvm_stat(void *context, const struct vt_kvm_stat *row)
{
    struct vt_correlator *c = context;
    if (row->id > VT_KVM_STATS_MAX || row->id != (int64_t)c->nr_kvm_stats + 1)
        return -EUCLEAN;
    int r = vt_grow((void **)&c->kvm_stats, &c->room_kvm_stats, c->nr_kvm_stats, sizeof(*c->kvm_stats));
    if (!r)
        c->kvm_stats[c->nr_kvm_stats++] = *row;
    return r;
}

int vt_correlator_kvm_count(void *context, const struct vt_kvm_count *row)
{
    struct vt_correlator *c = context;
    struct vt_life *life = vt_find_life(c, row->vcpu);
    if (!life || row->stat < 1 || row->stat > (int64_t)c->nr_kvm_stats)
        return -EUCLEAN;
    int r = vt_grow((void **)&life->kvm_counts, &life->room_kvm_counts, life->nr_kvm_counts,
                    sizeof(*life->kvm_counts));
    if (!r)
        life->kvm_counts[life->nr_kvm_counts++] = *row;
    return r;
}

/* Of each stat the newest before the limit is what growth is counted from. */
void vt_kvm_counts_forget(struct vt_life *life, uint64_t before)
{
    size_t newest[VT_KVM_STATS_MAX + 1] = { 0 }, kept = 0;
    struct vt_kvm_count *rows = life->kvm_counts;
    for (size_t i = 0; i < life->nr_kvm_counts; i++)
        if (rows[i].at.v <= before)
            newest[rows[i].stat] = i + 1;
    for (size_t i = 0; i < life->nr_kvm_counts; i++)
        if (rows[i].at.v > before || newest[rows[i].stat] == i + 1)
            rows[kept++] = rows[i];
    life->nr_kvm_counts = kept;
}

int vt_kvm_stats_fill(const struct vt_correlator *c, struct vt_snapshot *s)
{
    s->kvm_stats = calloc(c->nr_kvm_stats + 1, sizeof(*s->kvm_stats));
    if (!s->kvm_stats)
        return -ENOMEM;
    s->nr_kvm_stats = c->nr_kvm_stats;
    for (size_t i = 0; i < c->nr_kvm_stats; i++)
        s->kvm_stats[i] = c->kvm_stats[i];
    return 0;
}

/* ---- figures ---- */

/* An edge of the window: a look at the stats was just then, or when the next one was. */
struct edge {
    uint64_t at, next; /* UINT64_MAX: there is none */
    bool looked;       /* or nothing can grow any more, or yet */
};

/* Its last edge, once it is over. */
static uint64_t over_since(const struct vt_life *life)
{
    if (!life->nr_checkpoints)
        return UINT64_MAX;
    const struct vt_checkpoint *newest = &life->checkpoints[life->nr_checkpoints - 1];
    return newest->state == VT_ABSENT ? newest->last.v : UINT64_MAX;
}

/* All that grew between two looks has a row of the second one. */
static struct edge edge_at(const struct vt_life *life, host_ns at)
{
    const uint64_t over = over_since(life);
    struct edge e = { at.v, UINT64_MAX, at.v <= life->row.born.v };
    for (size_t i = 0; i < life->nr_kvm_counts; i++) {
        const uint64_t row = life->kvm_counts[i].at.v;
        e.looked |= row == at.v || (row >= over && row <= at.v);
        if (row > at.v)
            e.next = vt_min(e.next, row);
    }
    return e;
}

/* A stat there: at the last look before it, and what it grew by until the next one. */
struct reading {
    uint64_t count, after;
};

static void see(struct reading *r, const struct edge *e, const struct vt_kvm_count *row)
{
    if (row->at.v <= e->at)
        r->count = row->count;
    else if (row->at.v == e->next && !e->looked)
        r->after = row->count;
}

/* How much of its growth may be on the other side of the edge. */
static uint64_t unsure(const struct reading *r)
{
    return r->after > r->count ? r->after - r->count : 0;
}

/* Nobody looked at the end of the window, nor later. */
static bool is_open(const struct edge *end)
{
    return !end->looked && end->next == UINT64_MAX;
}

static struct vt_kvm_figure growth(const struct reading *from, const struct reading *to, bool open)
{
    struct vt_kvm_figure f = { .bound = vt_max(unsure(from), unsure(to)) };
    if (to->count > from->count) /* a damaged recording may have sums that fall: those are not had */
        f.count = to->count - from->count;
    f.accuracy = open ? VT_ESTIMATED : f.bound ? VT_BOUNDED : VT_EXACT;
    return f;
}

int vt_kvm_counts_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                       struct vt_vcpu_figures *f)
{
    const struct edge begin = edge_at(life, window.from), end = edge_at(life, window.to);
    struct reading from[VT_KVM_STATS_MAX + 1] = { 0 }, to[VT_KVM_STATS_MAX + 1] = { 0 };
    if (!life->nr_kvm_counts)
        return 0;
    f->kvm_stats = calloc(c->nr_kvm_stats, sizeof(*f->kvm_stats));
    if (!f->kvm_stats)
        return -ENOMEM;
    for (size_t i = 0; i < life->nr_kvm_counts; i++) {
        const struct vt_kvm_count *row = &life->kvm_counts[i];
        see(&from[row->stat], &begin, row);
        see(&to[row->stat], &end, row);
    }
    for (size_t i = 0; i < c->nr_kvm_stats; i++)
        f->kvm_stats[i] = growth(&from[i + 1], &to[i + 1], is_open(&end));
    return 0;
}

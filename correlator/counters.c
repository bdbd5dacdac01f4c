/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Growth of the vCPUs' perf_event counters. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

/* Rows of one life: then every second round is dropped. Growth is not lost, only where a window cuts it. */
#define MAX_READINGS 65536u
/*
 * Events that take turns are off the PMU for a millisecond or more at a time
 * (perf_event_mux_interval_ms).  Below this it is the kernel, which brings the
 * two clocks of an event up to date one after the other.
 */
#define TOGETHER_NS UINT64_C(10000)

__extension__ typedef unsigned __int128 wide;

static uint64_t clamp(wide v)
{
    return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* Keeps every second round of those whose numbers are multiples of stride; there are no others. */
static void thin(struct vt_readings *r)
{
    size_t kept = 0, rounds = 1;
    for (size_t i = 1; i < r->nr; i++)
        rounds += r->rows[i].at.v != r->rows[i - 1].at.v;
    uint64_t number = r->round - (rounds - 1) * r->stride, at = r->rows[0].at.v;
    r->stride *= 2;
    for (size_t i = 0; i < r->nr; i++) {
        if (r->rows[i].at.v != at)
            number += r->stride / 2;
        at = r->rows[i].at.v;
        if (number % r->stride == 0)
            r->rows[kept++] = r->rows[i];
    }
    r->nr = kept;
}

/* The newest round is always kept, until there is a newer one. */
static void begin_round(struct vt_readings *r)
{
    if (r->stride == 0)
        r->stride = 1;
    if (r->round % r->stride)
        r->nr = r->newest;
    else if (r->nr >= MAX_READINGS)
        thin(r);
    r->newest = r->nr;
    r->round++;
}

int vt_readings_add(struct vt_readings *r, const struct vt_counter_reading *row)
{
    struct vt_counter_reading *last = &r->last[row->event][row->side];
    if (r->nr && row->at.v < r->rows[r->nr - 1].at.v)
        return -EUCLEAN;
    if (row->count < last->count || row->enabled_ns < last->enabled_ns || row->running_ns < last->running_ns)
        return -EUCLEAN;
    if (r->nr && row->at.v != r->rows[r->nr - 1].at.v)
        begin_round(r);
    int e = vt_grow((void **)&r->rows, &r->room, r->nr, sizeof(*r->rows));
    if (!e)
        r->rows[r->nr++] = *last = *row;
    return e;
}

void vt_readings_forget(struct vt_readings *r, uint64_t before)
{
    size_t n = 0;
    while (n < r->nr && r->rows[n].at.v < before)
        n++;
    r->nr -= n;
    r->newest = r->newest > n ? r->newest - n : 0;
    if (n && r->nr)
        memmove(r->rows, r->rows + n, r->nr * sizeof(*r->rows));
}

void vt_readings_release(struct vt_readings *r)
{
    free(r->rows);
}

/* ---- figures ---- */

static void fill_figure(const struct vt_counter_reading *a, const struct vt_counter_reading *b,
                        struct vt_counter_figure *f)
{
    *f = (struct vt_counter_figure){
        .event = a->event,
        .side = a->side,
        .known = true,
        .raw = b->count - a->count,
        .enabled_ns = b->enabled_ns - a->enabled_ns,
        .running_ns = b->running_ns - a->running_ns,
    };
    f->count = f->raw;
    if (f->running_ns + TOGETHER_NS >= f->enabled_ns)
        return;
    f->accuracy = VT_ESTIMATED;
    f->known = f->running_ns > 0;
    if (f->known)
        f->count = clamp((wide)f->raw * f->enabled_ns / f->running_ns);
}

const struct vt_counter_figure *vt_counter_find(const struct vt_counter_set *set, enum vt_counter event,
                                                enum vt_counter_side side)
{
    for (size_t i = 0; i < set->nr; i++)
        if (set->of[i].event == event && set->of[i].side == side)
            return &set->of[i];
    return NULL;
}

/* All its cycles or none: the guest's without the host's would weigh another time. False: not known. */
static bool sum_cycles(const struct vt_counter_set *set, wide *ret, enum vt_accuracy *ret_accuracy)
{
    const struct vt_counter_figure *both = vt_counter_find(set, VT_COUNTER_CYCLES, VT_SIDE_BOTH);
    const struct vt_counter_figure *guest =
        both ? both : vt_counter_find(set, VT_COUNTER_CYCLES, VT_SIDE_GUEST);
    const struct vt_counter_figure *host =
        both ? both : vt_counter_find(set, VT_COUNTER_CYCLES, VT_SIDE_HOST);
    if (!guest || !host || !guest->known || !host->known)
        return false;
    *ret = (wide)guest->count + (both ? 0 : host->count);
    *ret_accuracy = guest->accuracy == VT_ESTIMATED ? VT_ESTIMATED : host->accuracy;
    return true;
}

static void fill_capacity(const struct vt_correlator *c, struct vt_counter_set *set)
{
    enum vt_accuracy accuracy;
    wide cycles;
    if (!sum_cycles(set, &cycles, &accuracy) || !c->host.tsc_stable || c->nr_pairs < 2)
        return;
    const struct vt_clock_pair *a = &c->pairs[0], *b = &c->pairs[c->nr_pairs - 1];
    const uint64_t ns = b->ns.v - a->ns.v, ticks = b->tsc.v - a->tsc.v;
    if (cycles >> 64) /* the product below must fit */
        return;
    set->has_capacity = true;
    set->nominal_khz = (double)ticks * 1e6 / (double)ns;
    set->capacity.ns = clamp(cycles * ns / ticks);
    set->capacity.accuracy = accuracy == VT_ESTIMATED ? VT_ESTIMATED : VT_BOUNDED;
    if (accuracy == VT_EXACT)
        set->capacity.bound_ns = clamp((wide)set->capacity.ns * (a->bound_ns + b->bound_ns) / ns + 1);
}

void vt_counters_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                      struct vt_counter_set *ret)
{
    const struct vt_counter_reading *first[VT_NR_COUNTERS][VT_NR_SIDES] = { 0 };
    const struct vt_counter_reading *last[VT_NR_COUNTERS][VT_NR_SIDES] = { 0 };
    struct vt_sums sums = { 0 };
    *ret = (struct vt_counter_set){ .stretch = { { UINT64_MAX }, { 0 } } };
    for (size_t i = 0; i < life->readings.nr; i++) {
        const struct vt_counter_reading *row = &life->readings.rows[i];
        if (row->at.v < window.from.v || row->at.v > window.to.v)
            continue;
        last[row->event][row->side] = row;
        if (!first[row->event][row->side])
            first[row->event][row->side] = row;
    }
    for (unsigned int event = 0; event < VT_NR_COUNTERS; event++)
        for (unsigned int side = 0; side < VT_NR_SIDES; side++) {
            const struct vt_counter_reading *a = first[event][side], *b = last[event][side];
            if (a == b)
                continue;
            fill_figure(a, b, &ret->of[ret->nr++]);
            ret->stretch.from.v = vt_min(ret->stretch.from.v, a->at.v);
            ret->stretch.to.v = vt_max(ret->stretch.to.v, b->at.v);
        }
    if (!ret->nr) {
        ret->stretch.from.v = 0;
        return;
    }
    vt_walk(c, life, ret->stretch, vt_sums_add_piece, &sums, NULL);
    ret->on_cpu_ns = sums.on_cpu_ns;
    fill_capacity(c, ret);
}

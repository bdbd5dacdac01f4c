/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that help a VM: growth of the kernel's sums in a window. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

static struct vt_helper_log *find(const struct vt_correlator *c, int64_t id)
{
    size_t low = 0, high = c->nr_helpers;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->helpers[middle].row.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->nr_helpers && c->helpers[low].row.id == id ? &c->helpers[low] : NULL;
}

int vt_correlator_helper(void *context, const struct vt_helper *row)
{
    struct vt_correlator *c = context;
    if (!vt_find_machine(c, row->vm) || (c->nr_helpers && c->helpers[c->nr_helpers - 1].row.id >= row->id))
        return -EUCLEAN;
    int r = vt_grow((void **)&c->helpers, &c->room_helpers, c->nr_helpers, sizeof(*c->helpers));
    if (!r)
        c->helpers[c->nr_helpers++] = (struct vt_helper_log){ .row = *row };
    return r;
}

int vt_correlator_helper_time(void *context, const struct vt_helper_time *row)
{
    struct vt_helper_log *h = find(context, row->helper);
    const struct vt_helper_time *last = h && h->nr_times ? &h->times[h->nr_times - 1] : NULL;
    if (!h)
        return -EUCLEAN;
    /*
     * A sum may fall: the stretch under way was told as one state, and turned out to
     * be another.  So may the time: a thread may end between the look at its sums and
     * the look at the clock.
     */
    struct vt_helper_time reading = *row;
    reading.at.v = last ? vt_max(row->at.v, last->at.v) : row->at.v;
    int r = vt_grow((void **)&h->times, &h->room_times, h->nr_times, sizeof(*h->times));
    if (!r)
        h->times[h->nr_times++] = reading;
    return r;
}

int vt_correlator_helper_wait(void *context, const struct vt_helper_wait *row)
{
    struct vt_helper_log *h = find(context, row->helper);
    if (!h || row->from.v > row->to.v)
        return -EUCLEAN;
    /* told from two CPUs, whose clocks may differ by a little */
    const uint64_t from = vt_max(row->from.v, h->nr_waits ? h->waits[h->nr_waits - 1].to.v : 0);
    if (from >= row->to.v)
        return 0;
    int r = vt_grow((void **)&h->waits, &h->room_waits, h->nr_waits, sizeof(*h->waits));
    if (!r)
        h->waits[h->nr_waits++] = (struct vt_window){ { from }, row->to };
    return r;
}

/* The first of its waits that ends after `at`. */
static size_t wait_after(const struct vt_helper_log *h, uint64_t at)
{
    size_t low = 0, high = h->nr_waits;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (h->waits[middle].to.v <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void forget_waits(struct vt_helper_log *h, uint64_t before)
{
    const size_t n = wait_after(h, before);
    h->nr_waits -= n;
    if (n)
        memmove(h->waits, h->waits + n, h->nr_waits * sizeof(*h->waits));
}

void vt_helpers_forget(struct vt_correlator *c, uint64_t before)
{
    for (size_t i = 0; i < c->nr_helpers; i++) {
        struct vt_helper_log *h = &c->helpers[i];
        size_t n = 0;
        while (n + 1 < h->nr_times && h->times[n + 1].at.v <= before)
            n++;
        h->nr_times -= n;
        if (n)
            memmove(h->times, h->times + n, h->nr_times * sizeof(*h->times));
        forget_waits(h, h->nr_times ? vt_min(before, h->times[0].at.v) : before);
    }
}

void vt_helpers_release(struct vt_correlator *c)
{
    for (size_t i = 0; i < c->nr_helpers; i++) {
        free(c->helpers[i].times);
        free(c->helpers[i].waits);
    }
    free(c->helpers);
}

/* ---- figures ---- */

/* The last readings not after the window's edges, and the first one after its end, NULL: none. */
struct readings {
    const struct vt_helper_time *from, *to, *after;
};

static struct readings readings_of(const struct vt_helper_log *h, struct vt_window w)
{
    struct readings r = { NULL, NULL, NULL };
    for (size_t i = 0; i < h->nr_times; i++) {
        const struct vt_helper_time *t = &h->times[i];
        if (t->at.v <= w.from.v)
            r.from = t;
        else if (t->at.v <= w.to.v)
            r.to = t;
        else if (!r.after)
            r.after = t;
    }
    return r;
}

static uint64_t apart(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* What it took between the reading before the window's end and the one after may be of either side. */
static struct vt_figure figure(const struct readings *r, size_t offset)
{
    uint64_t v[3] = { 0 };
    const struct vt_helper_time *of[3] = { r->from, r->to, r->after };
    for (int i = 0; i < 3; i++)
        if (of[i])
            memcpy(&v[i], (const char *)of[i] + offset, sizeof(v[i]));
    struct vt_figure f = { .ns = v[1] > v[0] ? v[1] - v[0] : 0 };
    f.bound_ns = (v[1] < v[0] ? v[0] - v[1] : 0) + (r->after ? apart(v[2], v[1]) : 0);
    f.accuracy = f.bound_ns ? VT_BOUNDED : VT_EXACT;
    return f;
}

static int by_cpu_time(const void *a, const void *b)
{
    const struct vt_helper_figures *x = a, *y = b;
    if (x->on_cpu.ns != y->on_cpu.ns)
        return x->on_cpu.ns < y->on_cpu.ns ? 1 : -1;
    return (x->row.id > y->row.id) - (x->row.id < y->row.id);
}

uint64_t vt_helpers_waited(const struct vt_correlator *c, int64_t vm, struct vt_window window)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->nr_helpers; i++) {
        if (c->helpers[i].row.vm != vm)
            continue;
        const struct readings r = readings_of(&c->helpers[i], window);
        if (!r.to && !r.after)
            continue;
        const struct vt_figure f = figure(&r, offsetof(struct vt_helper_time, waited_ns));
        sum += f.ns + f.bound_ns;
    }
    return sum;
}

static uint64_t growth(const struct readings *r, size_t field)
{
    const struct vt_helper_time *last = r->after ? r->after : r->to;
    const uint64_t to = last ? *(const uint64_t *)(const void *)((const char *)last + field) : 0;
    const uint64_t from = r->from ? *(const uint64_t *)(const void *)((const char *)r->from + field) : 0;
    return to - vt_min(to, from);
}

/*
 * Between the readings around the window: what is not known of it may have been waiting, and if records
 * were lost, so may be what it waited beyond what was told.
 */
static uint64_t untold_of(const struct vt_helper_log *h, struct vt_window window, bool lost)
{
    const struct readings r = readings_of(h, window);
    const struct vt_helper_time *last = r.after ? r.after : r.to;
    const uint64_t unknown = growth(&r, offsetof(struct vt_helper_time, lost_ns));
    uint64_t told = 0;
    if (!last || !lost)
        return unknown;
    const uint64_t from = r.from ? r.from->at.v : 0;
    for (size_t i = wait_after(h, from); i < h->nr_waits && h->waits[i].from.v < last->at.v; i++)
        told += vt_min(h->waits[i].to.v, last->at.v) - vt_max(h->waits[i].from.v, from);
    const uint64_t waited = growth(&r, offsetof(struct vt_helper_time, waited_ns));
    return vt_sum(unknown, waited - vt_min(waited, told));
}

/* Was any record lost about then?  Losses are told once a tick, as the observer is. */
static bool records_lost(const struct vt_correlator *c, struct vt_window window)
{
    uint64_t until = UINT64_MAX;
    for (size_t i = 0; i + 1 < c->nr_observers && until == UINT64_MAX; i++)
        if (c->observers[i].at.v > window.to.v)
            until = c->observers[i + 1].at.v;
    for (size_t i = 0; i < c->nr_losses; i++)
        if (c->losses[i].reason != VT_LOST_AGENT && c->losses[i].at.v > window.from.v &&
            c->losses[i].at.v <= until)
            return true;
    return false;
}

int vt_helpers_waits(const struct vt_correlator *c, int64_t vm, struct vt_window window,
                     struct vt_helper_waits *ret)
{
    const bool lost = records_lost(c, window);
    size_t room = 0;
    int r = 0;
    *ret = (struct vt_helper_waits){ 0 };
    for (size_t i = 0; i < c->nr_helpers && !r; i++) {
        const struct vt_helper_log *h = &c->helpers[i];
        if (h->row.vm != vm)
            continue;
        ret->untold_ns = vt_sum(ret->untold_ns, untold_of(h, window, lost));
        for (size_t n = wait_after(h, window.from.v); n < h->nr_waits && !r; n++) {
            if (h->waits[n].from.v >= window.to.v)
                break;
            r = vt_grow((void **)&ret->wait, &room, ret->nr, sizeof(*ret->wait));
            if (!r)
                ret->wait[ret->nr++] = h->waits[n];
        }
    }
    return r;
}

int vt_helpers_fill(const struct vt_correlator *c, struct vt_window window, struct vt_guest *g)
{
    size_t n = 0;
    for (size_t i = 0; i < c->nr_helpers; i++)
        n += c->helpers[i].row.vm == g->vm.id;
    g->helpers = calloc(n + 1, sizeof(*g->helpers));
    if (!g->helpers)
        return -ENOMEM;
    for (size_t i = 0; i < c->nr_helpers; i++) {
        const struct vt_helper_log *h = &c->helpers[i];
        if (h->row.vm != g->vm.id)
            continue;
        struct readings r = readings_of(h, window);
        if (!r.to)
            continue;
        g->helpers[g->nr_helpers++] = (struct vt_helper_figures){
            .row = h->row,
            .on_cpu = figure(&r, offsetof(struct vt_helper_time, on_cpu_ns)),
            .waited = figure(&r, offsetof(struct vt_helper_time, waited_ns)),
            .blocked = figure(&r, offsetof(struct vt_helper_time, blocked_ns)),
        };
    }
    qsort(g->helpers, g->nr_helpers, sizeof(*g->helpers), by_cpu_time);
    return 0;
}

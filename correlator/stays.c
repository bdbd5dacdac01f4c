/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who had which CPU: vCPUs by their slices, others by what was recorded of them
 * while a vCPU waited.  The window is told in parts of some 65 000 slices, for
 * a stay takes 24 bytes and a recording may hold many millions of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

uint64_t vt_part_of(struct vt_window w, uint64_t slices)
{
    return (w.to.v - w.from.v) / (slices / VT_SLICES_AT_ONCE + 1) + 1;
}

uint64_t vt_slices_in(const struct vt_life *life, struct vt_window w)
{
    const struct vt_slicelog *log = &life->slices;
    const size_t from = vt_slicelog_seek(log, w.from.v).chunk, to = vt_slicelog_seek(log, w.to.v).chunk;
    return vt_min((to - from + 1) * VT_SLICELOG_CHUNK, log->nr_slices);
}

/* ---- occupants that are no vCPUs: by the part in which they came ---- */

static bool clip(const struct vt_stretch *s, struct vt_window w, uint64_t *ret_from, uint64_t *ret_to)
{
    *ret_from = vt_max(s->from, w.from.v);
    *ret_to = vt_min(s->to, w.to.v);
    return *ret_from < *ret_to;
}

/* A counting sort, since they come in order only CPU by CPU. */
static int sort_stretches(struct vt_stays *s)
{
    const struct vt_correlator *c = s->c;
    const size_t parts = (size_t)((s->window.to.v - s->window.from.v - 1) / s->step) + 1;
    uint64_t from, to;
    s->come = calloc(parts + 2, sizeof(*s->come));
    s->stretch = calloc(c->nr_stretches + 1, sizeof(*s->stretch));
    if (!s->come || !s->stretch)
        return -ENOMEM;
    size_t *end = s->come + 1; /* of each part's, once all are in place; before, where its next goes */
    for (size_t i = 0; i < c->nr_stretches; i++)
        if (clip(&c->stretches[i], s->window, &from, &to))
            end[(from - s->window.from.v) / s->step + 1]++;
    for (size_t i = 1; i <= parts; i++)
        end[i] += end[i - 1];
    for (size_t i = 0; i < c->nr_stretches; i++)
        if (clip(&c->stretches[i], s->window, &from, &to))
            s->stretch[end[(from - s->window.from.v) / s->step]++] = (uint32_t)i;
    return 0;
}

int vt_stays_begin(struct vt_stays *s, const struct vt_correlator *c, struct vt_window w, bool occupants)
{
    uint64_t slices = 0;
    *s = (struct vt_stays){ .c = c, .window = w, .part = { w.from, w.from } };
    for (size_t i = 0; i < c->nr_lives; i++)
        slices += vt_slices_in(&c->lives[i], w);
    s->step = vt_part_of(w, slices);
    return occupants ? sort_stretches(s) : 0;
}

void vt_stays_release(struct vt_stays *s)
{
    free(s->stay);
    free(s->first);
    free(s->come);
    free(s->stretch);
    free(s->open);
    *s = (struct vt_stays){ 0 };
}

/* ---- one part ---- */

static void put(struct vt_stays *s, const struct vt_stay *stay)
{
    if (!s->error)
        s->error = vt_grow((void **)&s->stay, &s->room_stay, s->nr_stay, sizeof(*s->stay));
    if (s->error)
        return;
    s->stay[s->nr_stay++] = *stay;
    if (stay->cpu >= s->nr_cpus)
        s->nr_cpus = stay->cpu + 1;
}

static void collect(void *context, const struct vt_piece *p)
{
    struct vt_stays *s = context;
    struct vt_stay *last = s->nr_stay ? &s->stay[s->nr_stay - 1] : NULL;
    if (!p->on_cpu || p->cpu == VT_NO_CPU || p->from == p->to)
        return;
    if (last && last->who == s->life && last->cpu == p->cpu && last->to == p->from)
        last->to = p->to; /* a slice cut in pieces is one stay */
    else
        put(s, &(struct vt_stay){ p->from, p->to, p->cpu, s->life });
}

/* Those that come in this part, and those that were there before it and still are. */
static void collect_stretches(struct vt_stays *s)
{
    const size_t part = (size_t)((s->part.from.v - s->window.from.v) / s->step);
    const uint32_t first = (uint32_t)s->c->nr_lives;
    size_t still = 0;
    for (size_t i = s->come[part]; i < s->come[part + 1] && !s->error; i++) {
        s->error = vt_grow((void **)&s->open, &s->room_open, s->nr_open, sizeof(*s->open));
        if (!s->error)
            s->open[s->nr_open++] = s->stretch[i];
    }
    for (size_t i = 0; i < s->nr_open; i++) {
        const struct vt_stretch *o = &s->c->stretches[s->open[i]];
        uint64_t from, to;
        if (clip(o, s->part, &from, &to))
            put(s, &(struct vt_stay){ from, to, o->cpu, first + o->who });
        if (o->to > s->part.to.v)
            s->open[still++] = s->open[i];
    }
    s->nr_open = still;
}

static int by_cpu_and_time(const void *a, const void *b)
{
    const struct vt_stay *x = a, *y = b;
    if (x->cpu != y->cpu)
        return x->cpu < y->cpu ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->who > y->who) - (x->who < y->who);
}

static int sort_stays(struct vt_stays *s)
{
    if (s->nr_stay)
        qsort(s->stay, s->nr_stay, sizeof(*s->stay), by_cpu_and_time);
    free(s->first);
    s->first = calloc((size_t)s->nr_cpus + 1, sizeof(*s->first));
    if (!s->first)
        return -ENOMEM;
    size_t i = 0;
    for (uint32_t cpu = 0; cpu <= s->nr_cpus; cpu++) {
        while (i < s->nr_stay && s->stay[i].cpu < cpu)
            i++;
        s->first[cpu] = i;
    }
    return 0;
}

int vt_stays_next(struct vt_stays *s)
{
    const struct vt_correlator *c = s->c;
    if (s->part.to.v >= s->window.to.v)
        return 0;
    s->part.from = s->part.to;
    s->part.to.v += vt_min(s->step, s->window.to.v - s->part.from.v);
    s->nr_stay = 0;
    for (s->life = 0; s->life < c->nr_lives; s->life++)
        vt_walk_member(c, &c->lives[s->life], s->part, collect, s, NULL);
    if (s->come)
        collect_stretches(s);
    const int r = s->error ? s->error : sort_stays(s);
    return r ? r : 1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What kept a guest's vCPUs, and the threads that serve them, from running while a benchmark ran. */
#include <errno.h>
#include <stdlib.h>

#include "base/state.h"
#include "correlator/replay.h"

static void add_delay(void *context, const struct vt_piece *p)
{
    struct vcpu_delays *v = context;
    const enum vt_class class = p->on_cpu ? VT_CLASS_USED : vt_states[p->state].class;
    if (v->error || (class != VT_CLASS_STOLEN && class != VT_CLASS_STALLED && class != VT_CLASS_PAUSED))
        return;
    if (!p->on_cpu && (p->state == VT_PREEMPTED || p->state == VT_WAKING))
        v->waited_ns += p->to - p->from;
    struct delay *last = v->nr ? &v->delay[v->nr - 1] : NULL;
    if (last && last->to == p->from) {
        last->to = p->to;
        return;
    }
    v->error = vt_grow((void **)&v->delay, &v->room, v->nr, sizeof(*v->delay));
    if (v->error)
        return;
    last = v->nr ? &v->delay[v->nr - 1] : NULL; /* it may have moved */
    v->delay[v->nr++] = (struct delay){ .from = p->from,
                                        .to = p->to,
                                        .sum = last ? last->sum + (last->to - last->from) : 0,
                                        .holds = last ? last->holds + vt_is_hold(last) : 0 };
}

struct vcpu_delays *vt_replay_delays_of(const struct replay *r, uint32_t cpu)
{
    for (size_t i = 0; i < r->nr_vcpu; i++)
        if (r->vcpu[i].cpu == cpu)
            return &r->vcpu[i];
    return NULL;
}

static int find_delays_of_vcpus(struct replay *r)
{
    size_t from, to;
    vt_lives_around(r->c, r->m, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct vt_life *life = &r->c->lives[i];
        if (!vt_is_vcpu_of(r->c, r->m, life))
            continue;
        struct vcpu_delays *v = vt_replay_delays_of(r, life->row.index);
        if (!v) {
            int e = vt_grow((void **)&r->vcpu, &r->room_vcpu, r->nr_vcpu, sizeof(*r->vcpu));
            if (e)
                return e;
            v = &r->vcpu[r->nr_vcpu++];
            /* of several threads at once nothing is left out: whose it was at the time is not looked for */
            *v = (struct vcpu_delays){ .cpu = life->row.index,
                                       .life = vt_is_composed(r->c, life) ? NULL : life };
        }
        vt_walk(r->c, life, r->window, add_delay, v, NULL);
        if (v->error)
            return v->error;
    }
    return 0;
}

static int by_delay_begin(const void *a, const void *b)
{
    const struct delay *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

/* In order, and apart. */
static void unite(struct vcpu_delays *v)
{
    size_t n = 0;
    if (v->nr)
        qsort(v->delay, v->nr, sizeof(*v->delay), by_delay_begin);
    for (size_t i = 0; i < v->nr; i++) {
        struct delay *last = n ? &v->delay[n - 1] : NULL, d = v->delay[i];
        if (last && d.from <= last->to) {
            last->to = vt_max(last->to, d.to);
            continue;
        }
        d.sum = last ? last->sum + (last->to - last->from) : 0;
        d.holds = last ? last->holds + vt_is_hold(last) : 0;
        v->delay[n++] = d;
    }
    v->nr = n;
}

static int find_delays_of_any(struct replay *r, uint64_t *budget)
{
    struct vt_helper_waits waits = { 0 };
    struct vcpu_delays *any = &r->any;
    size_t n = 0;
    const uint64_t told_from = r->c->host.helper_wait_ns;
    r->places_helpers = told_from > 0 && told_from <= VT_HELPER_WAIT_NS;
    int e = r->places_helpers ? vt_helpers_waits(r->c, r->m->row.id, r->window, &waits) : 0;
    for (size_t i = 0; i < r->nr_vcpu; i++)
        n += r->vcpu[i].nr;
    any->delay = e ? NULL : calloc(n + waits.nr + 1, sizeof(*any->delay));
    if (!e && !any->delay)
        e = -ENOMEM;
    for (size_t i = 0; i < r->nr_vcpu && !e; i++)
        for (n = 0; n < r->vcpu[i].nr; n++)
            any->delay[any->nr++] = r->vcpu[i].delay[n];
    for (size_t i = 0; i < waits.nr && !e; i++)
        any->delay[any->nr++] = (struct delay){ .from = vt_max(waits.wait[i].from.v, r->window.from.v),
                                                .to = vt_min(waits.wait[i].to.v, r->window.to.v) };
    if (r->places_helpers)
        r->helpers_waited = waits.untold_ns;
    free(waits.wait);
    vt_spend(budget, any->nr);
    unite(any);
    return e;
}

int vt_replay_find_delays(struct replay *r, uint64_t *budget)
{
    int e = find_delays_of_vcpus(r);
    return e ? e : find_delays_of_any(r, budget);
}

uint64_t vt_delay_before(const struct vcpu_delays *v, uint64_t at, const struct delay **ret_last)
{
    size_t low = 0, high = v ? v->nr : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (v->delay[middle].from < at)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_last = low ? &v->delay[low - 1] : NULL;
    return low ? v->delay[low - 1].sum + (vt_min(v->delay[low - 1].to, at) - v->delay[low - 1].from) : 0;
}

uint64_t vt_delay_in(const struct vcpu_delays *v, uint64_t from, uint64_t to)
{
    const struct delay *unused;
    return to > from ? vt_delay_before(v, to, &unused) - vt_delay_before(v, from, &unused) : 0;
}

uint64_t vt_outer_steal_in(const struct vcpu_delays *v, enum play play, uint64_t from, uint64_t to)
{
    if (!v || !v->life)
        return 0;
    const struct vt_outer_range outer = vt_outer_in(v->life, from, to);
    return play == EARLIEST ? outer.most : outer.least;
}

uint64_t vt_delay_of_any(const struct replay *r, uint64_t from, uint64_t to)
{
    return vt_delay_in(&r->any, from, to);
}

static uint64_t holds_before(const struct vcpu_delays *v, uint64_t at)
{
    const struct delay *last;
    vt_delay_before(v, at, &last);
    return last ? last->holds + (last->to <= at && vt_is_hold(last)) : 0;
}

uint64_t vt_holds_in(const struct vcpu_delays *v, uint64_t from, uint64_t to)
{
    return holds_before(v, to) - holds_before(v, from);
}

uint64_t vt_tail_delay(const struct vcpu_delays *v, uint64_t from, uint64_t at)
{
    const struct delay *last;
    vt_delay_before(v, at, &last);
    if (!last || last->to > at || at - last->to > TAIL_SLACK_NS || last->to <= from)
        return 0;
    return last->to - vt_max(last->from, from);
}

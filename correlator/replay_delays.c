/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What kept a guest's vCPUs, and the threads that serve them, from running while a benchmark ran. */
#include <errno.h>
#include <stdlib.h>

#include "base/state.h"
#include "correlator/replay.h"

int vt_add_delay(struct vcpu_delays *v, uint64_t from, uint64_t to)
{
    struct delay *last = v->nr ? &v->delay[v->nr - 1] : NULL;
    if (last && last->to == from) {
        last->to = to;
        return 0;
    }
    int e = vt_grow((void **)&v->delay, &v->room, v->nr, sizeof(*v->delay));
    if (!e)
        v->delay[v->nr++] = (struct delay){ .from = from, .to = to };
    return e;
}

static int add_sleep(struct vcpu_delays *v, uint64_t from, uint64_t to)
{
    int e = vt_grow((void **)&v->sleep, &v->room_sleep, v->nr_sleep, sizeof(*v->sleep));
    if (!e)
        v->sleep[v->nr_sleep++] = (struct vt_window){ { from }, { to } };
    return e;
}

static void add_piece(void *context, const struct vt_piece *p)
{
    struct vcpu_delays *v = context;
    if (v->error || p->on_cpu)
        return;
    if (p->state == VT_PREEMPTED || p->state == VT_WAKING)
        v->waited_ns += p->to - p->from;
    const enum vt_class class = vt_states[p->state].class;
    if (class == VT_CLASS_STOLEN || class == VT_CLASS_STALLED || class == VT_CLASS_PAUSED)
        v->error = vt_add_delay(v, p->from, p->to);
    else if (p->state == VT_IDLEQ)
        v->error = add_sleep(v, p->from, p->to);
}

static int by_delay_begin(const void *a, const void *b)
{
    const struct delay *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

void vt_unite_delays(struct vcpu_delays *v)
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

struct vcpu_delays *vt_replay_delays_of(const struct replay *r, uint32_t cpu)
{
    for (size_t i = 0; i < r->nr_vcpu; i++)
        if (r->vcpu[i].cpu == cpu)
            return &r->vcpu[i];
    return NULL;
}

static int by_sleep_begin(const void *a, const void *b)
{
    const struct vt_window *x = a, *y = b;
    return (x->from.v > y->from.v) - (x->from.v < y->from.v);
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
        vt_walk(r->c, life, r->window, add_piece, v, NULL);
        if (v->error)
            return v->error;
    }
    for (size_t i = 0; i < r->nr_vcpu; i++) {
        struct vcpu_delays *v = &r->vcpu[i];
        vt_unite_delays(v);
        if (v->nr_sleep)
            qsort(v->sleep, v->nr_sleep, sizeof(*v->sleep), by_sleep_begin);
    }
    return 0;
}

static int find_delays_of_helpers(struct replay *r)
{
    struct vt_helper_waits waits = { 0 };
    const uint64_t told_from = r->c->host.helper_wait_ns;
    r->places_helpers = told_from > 0 && told_from <= VT_HELPER_WAIT_NS;
    if (!r->places_helpers)
        return 0;
    int e = vt_helpers_waits(r->c, r->m->row.id, r->window, &waits);
    r->helpers_waited = waits.untold_ns;
    for (size_t i = 0; i < waits.nr && !e; i++)
        e = vt_add_delay(&r->helpers, vt_max(waits.wait[i].from.v, r->window.from.v),
                         vt_min(waits.wait[i].to.v, r->window.to.v));
    free(waits.wait);
    vt_unite_delays(&r->helpers);
    return e;
}

static int add_to_any(struct replay *r, const struct vcpu_delays *v)
{
    int e = 0;
    for (size_t i = 0; i < v->nr && !e; i++)
        e = vt_add_delay(&r->any, v->delay[i].from, v->delay[i].to);
    return e;
}

static int find_delays_of_any(struct replay *r, uint64_t *budget)
{
    int e = find_delays_of_helpers(r);
    if (!e)
        e = add_to_any(r, &r->helpers);
    for (size_t i = 0; i < r->nr_vcpu && !e; i++)
        e = add_to_any(r, &r->vcpu[i]);
    vt_spend(budget, r->any.nr);
    vt_unite_delays(&r->any);
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

size_t vt_held_since(const struct vcpu_delays *v, size_t n)
{
    for (unsigned int looked = 0; n && looked < MOST_HOLDS; looked++, n--)
        if (v->delay[n].from - v->delay[n - 1].to > MOMENT_NS)
            break;
    return n;
}

uint64_t vt_tail_delay(const struct vcpu_delays *v, uint64_t from, uint64_t at)
{
    const struct delay *last;
    vt_delay_before(v, at, &last);
    if (!last || last->to > at || at - last->to > TAIL_SLACK_NS || last->to <= from)
        return 0;
    return last->to - vt_max(last->from, from);
}

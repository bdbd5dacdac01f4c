/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who waits in the monitor.  A vCPU on which the guest has something to run does not sleep by the guest's
 * wish: it waits for a lock of the monitor's (QEMU's big one), and if that is held by a thread that the host
 * keeps from its CPU, it waits for the host.  Without KVM that sleep looks as if the guest were idle.
 */
#include <stdlib.h>

#include "correlator/replay.h"

struct stall {
    struct vcpu_delays *of;
    struct vt_window window;
};

struct stalls {
    struct stall *stall;
    size_t nr, room;
};

/* The sleep, from when that thread was held on, if it ended just after the other had come back. */
static struct vt_window waited_for(const struct vcpu_delays *other, const struct vt_window *sleep)
{
    const struct vt_window none = { { 0 }, { 0 } };
    const struct delay *last;
    vt_delay_before(other, sleep->to.v, &last);
    if (!last || last->to <= sleep->from.v || last->to > sleep->to.v || sleep->to.v - last->to > RELEASE_NS)
        return none;
    const uint64_t since = other->delay[vt_held_since(other, (size_t)(last - other->delay))].from;
    if (last->to - since < HOLD_NS)
        return none;
    return (struct vt_window){ { vt_max(sleep->from.v, since) }, sleep->to };
}

/* The longest, if there are several who may have been waited for. */
static struct vt_window stall_of(const struct replay *r, const struct vcpu_delays *v,
                                 const struct vt_window *sleep)
{
    struct vt_window longest = waited_for(&r->helpers, sleep);
    for (size_t i = 0; i < r->nr_vcpu; i++) {
        if (&r->vcpu[i] == v)
            continue;
        const struct vt_window w = waited_for(&r->vcpu[i], sleep);
        if (w.to.v - w.from.v > longest.to.v - longest.from.v)
            longest = w;
    }
    return longest;
}

/* The first that does not begin before `at`. */
static size_t sleep_from(const struct vcpu_delays *v, uint64_t at)
{
    size_t low = 0, high = v->nr_sleep;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (v->sleep[middle].from.v < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/*
 * Sleeps wholly inside the step: at its ends the clock map may be off, and the guest be idle. Each is found
 * once, however many steps are said to have been there.
 */
static int find_stalls_in(const struct replay *r, const struct step *s, struct stalls *found,
                          uint64_t *budget)
{
    struct vcpu_delays *v = s->delays;
    int e = 0;
    for (size_t i = sleep_from(v, s->from + r->bound);
         i < v->nr_sleep && v->sleep[i].to.v + r->bound <= s->to && !e && *budget; i++) {
        const struct vt_window w = stall_of(r, v, &v->sleep[i]);
        vt_spend(budget, 1 + r->nr_vcpu);
        if (w.to.v <= w.from.v)
            continue;
        e = vt_grow((void **)&found->stall, &found->room, found->nr, sizeof(*found->stall));
        if (e)
            break;
        found->stall[found->nr++] = (struct stall){ v, w };
        v->sleep[i].to = v->sleep[i].from;
    }
    return e;
}

/* Of r->any that is no news: one was held in it. */
int vt_replay_find_stalls(struct replay *r, uint64_t *budget)
{
    struct stalls found = { 0 };
    int e = 0;
    for (size_t i = 0; i < r->nr_step && !e; i++)
        if (r->step[i].delays)
            e = find_stalls_in(r, &r->step[i], &found, budget);
    for (size_t i = 0; i < found.nr && !e; i++)
        e = vt_add_delay(found.stall[i].of, found.stall[i].window.from.v, found.stall[i].window.to.v);
    for (size_t i = 0; i < r->nr_vcpu && found.nr; i++)
        vt_unite_delays(&r->vcpu[i]);
    free(found.stall);
    return e;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest's tasks did while a benchmark ran, on the host's clock: who came after whom, and why. */
#include <errno.h>
#include <stdlib.h>

#include "correlator/replay.h"
#include "vt/task_pack.h"

/* A guest that works is interrupted by its tick that often at least (CONFIG_HZ 100). */
#define LONGEST_TICK_NS UINT64_C(10000000)

/* So many ticks, at the rate of the stretch itself, or of no time at all. */
static uint64_t length_ns(const struct vt_task_stretch *s, const host_ns at[2], uint64_t ticks)
{
    const unsigned __int128 ns = (unsigned __int128)ticks * (at[1].v - at[0].v);
    return s->to > s->from ? (uint64_t)(ns / (s->to - s->from)) : 0;
}

static int add_step(struct replay *r, const struct vt_task_batch *batch, const struct vt_task_stretch *s)
{
    const guest_tsc tsc[2] = { { s->from }, { s->to } };
    host_ns at[2];
    uint64_t bound;
    for (unsigned int i = 0; i < 2; i++) {
        if (r->time->to_ns(r->time->context, batch->cpu, tsc[i], batch->host, &at[i], &bound))
            return 0;
        r->bound = vt_max(r->bound, bound);
    }
    if (at[1].v <= r->window.from.v || at[0].v >= r->window.to.v || at[0].v >= at[1].v ||
        s->who >= r->m->tasks.nr_task)
        return 0;
    const uint64_t ready = length_ns(s, at, s->waited);
    int e = vt_grow((void **)&r->step, &r->room_step, r->nr_step, sizeof(*r->step));
    if (e)
        return e;
    r->step[r->nr_step++] = (struct step){ .from = vt_max(at[0].v, r->window.from.v),
                                           .to = vt_min(at[1].v, r->window.to.v),
                                           .ready = at[0].v - vt_min(at[0].v, ready),
                                           .late = s->late ? length_ns(s, at, s->late - 1) : NOT_KNOWN,
                                           .cpu = batch->cpu,
                                           .thread = r->m->tasks.task[s->who].tid,
                                           .waker = s->wake == VTG_WAKE_TASK ? s->waker : 0,
                                           .wake = s->wake,
                                           .is_own = r->m->tasks.task[s->who].mark == r->mark,
                                           .is_hit = r->m->tasks.task[s->who].tid == VTG_TID_INTERRUPTS };
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

/* Where that stretch ends, or begins, at the earliest (sign -1) or the latest (1); `otherwise`: it is not
 * known. */
static uint64_t edge_of(const struct replay *r, const struct vt_task_batch *batch, guest_tsc edge, int sign,
                        uint64_t otherwise)
{
    host_ns at;
    uint64_t bound;
    if (r->time->to_ns(r->time->context, batch->cpu, edge, batch->host, &at, &bound))
        return otherwise;
    return sign < 0 ? at.v - vt_min(bound, at.v) : at.v + vt_min(bound, UINT64_MAX - at.v);
}

/* Stretches of its CPU are missing before the i-th batch: after the one before it of that CPU. In the window?
 */
static bool misses_some(const struct replay *r, size_t i, uint64_t *budget)
{
    const struct vt_task_log *log = &r->m->tasks;
    const struct vt_task_batch *batch = &log->batch[i], *before = NULL;
    if (!batch->lost)
        return false;
    for (size_t n = i; n-- > 0 && !before && *budget && log->batch[n].host.v >= r->window.from.v;) {
        vt_spend(budget, 1);
        if (log->batch[n].cpu == batch->cpu && log->batch[n].nr)
            before = &log->batch[n];
    }
    uint64_t from = 0, to = batch->host.v;
    if (before)
        from = edge_of(r, before, (guest_tsc){ log->stretch[before->first + before->nr - 1].to }, -1, from);
    if (batch->nr)
        to = edge_of(r, batch, (guest_tsc){ log->stretch[batch->first].from }, 1, to);
    return from < r->window.to.v && to > r->window.from.v;
}

int vt_replay_find_steps(struct replay *r, uint64_t *budget, bool *ret_whole)
{
    const struct vt_task_log *log = &r->m->tasks;
    int e = 0;
    *ret_whole = true;
    for (size_t i = 0; i < log->nr_batch && !e && *budget; i++) {
        const struct vt_task_batch *batch = &log->batch[i];
        if (batch->host.v < r->window.from.v)
            continue;
        if (*ret_whole && misses_some(r, i, budget))
            *ret_whole = false;
        if (!vt_task_batch_touches(log, batch, r->time, r->window, budget))
            continue;
        if (batch->source == VTG_TASKS_SAMPLED)
            *ret_whole = false;
        for (uint32_t n = 0; n < batch->nr && !e && *budget; n++, --*budget)
            e = add_step(r, batch, &log->stretch[batch->first + n]);
    }
    if (!*budget)
        *ret_whole = false;
    if (r->nr_step)
        qsort(r->step, r->nr_step, sizeof(*r->step), by_begin);
    return e;
}

/* ---- threads ---- */

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t thread_of(const struct replay *r, uint32_t tid)
{
    size_t low = 0, high = r->nr_thread;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r->thread[middle].tid < tid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->nr_thread && r->thread[low].tid == tid ? (uint32_t)low : UINT32_MAX;
}

static int name_threads(struct replay *r)
{
    uint32_t *tid = calloc(r->nr_step, sizeof(*tid));
    r->thread = calloc(r->nr_step, sizeof(*r->thread));
    r->order = calloc(r->nr_step, sizeof(*r->order));
    if (!tid || !r->thread || !r->order) {
        free(tid);
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->nr_step; i++)
        tid[i] = r->step[i].thread;
    qsort(tid, r->nr_step, sizeof(*tid), by_number);
    for (size_t i = 0; i < r->nr_step; i++) {
        if (!r->nr_thread || r->thread[r->nr_thread - 1].tid != tid[i])
            r->thread[r->nr_thread++] = (struct thread){ .tid = tid[i], .first = i };
        r->thread[r->nr_thread - 1].nr++;
    }
    free(tid);
    return 0;
}

static int link_to_threads(struct replay *r)
{
    size_t *last = calloc(r->nr_vcpu + 1, sizeof(*last)), *seen = calloc(r->nr_thread + 1, sizeof(*seen));
    if (!last || !seen) {
        free(last);
        free(seen);
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->nr_step; i++) {
        struct step *s = &r->step[i];
        struct vcpu_delays *v = s->delays = vt_replay_delays_of(r, s->cpu);
        size_t *before = v ? &last[v - r->vcpu] : &last[r->nr_vcpu];
        s->thread = thread_of(r, s->thread);
        s->waker = s->wake == VTG_WAKE_TASK ? thread_of(r, s->waker) : UINT32_MAX;
        const struct thread *t = &r->thread[s->thread];
        s->on_cpu = *before ? *before - 1 : NONE;
        s->on_thread = seen[s->thread] ? r->order[t->first + seen[s->thread] - 1] : NONE;
        r->order[t->first + seen[s->thread]++] = i;
        *before = i + 1;
    }
    free(last);
    free(seen);
    return 0;
}

int vt_replay_link_steps(struct replay *r)
{
    int e = name_threads(r);
    return e ? e : link_to_threads(r);
}

size_t vt_step_at(const struct replay *r, uint32_t thread, uint64_t at)
{
    const struct thread *t = &r->thread[thread];
    size_t low = 0, high = t->nr;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r->step[r->order[t->first + middle]].from <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? r->order[t->first + low - 1] : NONE;
}

size_t vt_waker_of(const struct replay *r, const struct step *s)
{
    return s->wake == VTG_WAKE_TASK && s->waker != UINT32_MAX ? vt_step_at(r, s->waker, s->ready) : NONE;
}

size_t vt_replay_last_step(const struct replay *r, uint32_t cpu)
{
    for (size_t i = r->nr_step; i-- > 0;)
        if (r->step[i].cpu == cpu && !r->step[i].is_hit)
            return r->step[i].to + TAIL_SLACK_NS >= r->window.to.v ? i : NONE;
    return NONE;
}

bool vt_is_device_wait(const struct replay *r, const struct step *s, uint64_t *ret_since)
{
    if (!s->is_own || s->on_thread == NONE || s->wake == VTG_WAKE_NONE || s->late != NOT_KNOWN)
        return false;
    const size_t j = vt_waker_of(r, s);
    *ret_since = r->step[s->on_thread].to;
    return s->ready > *ret_since && (j == NONE || !r->step[j].is_own);
}

bool vt_is_timer_wait(const struct step *s)
{
    return s->is_own && s->on_thread != NONE && s->late != NOT_KNOWN;
}

/* ---- what drives a step ---- */

/* An interrupt that was pending when its vCPU was resumed: what lies between is no work of whom it hit. */
static void begin_when_resumed(struct replay *r)
{
    if (r->bound > VT_PENDING_NS / 2)
        return;
    for (size_t i = 0; i < r->nr_step; i++) {
        struct step *s = &r->step[i], *hit = s->on_cpu == NONE ? NULL : &r->step[s->on_cpu];
        const struct delay *last;
        if (!s->is_hit || !hit || hit->to != s->from)
            continue;
        vt_delay_before(s->delays, s->from, &last);
        if (!last || s->from > last->to + VT_PENDING_NS || last->to < hit->from)
            continue;
        s->is_late = true;
        hit->to = s->from = vt_min(last->to, s->from);
    }
}

static void include(struct vt_window *w, struct vt_window more)
{
    if (w->to.v <= w->from.v) {
        *w = more;
        return;
    }
    w->from.v = vt_min(w->from.v, more.from.v);
    w->to.v = vt_max(w->to.v, more.to.v);
}

/* Was the vCPU kept from running then? */
static bool is_delayed(const struct vcpu_delays *v, uint64_t at)
{
    const struct delay *last;
    vt_delay_before(v, at, &last);
    return last && last->to > at;
}

/* It ran for so long during that hold, and no tick cut it: interrupts were switched off. */
static bool is_unticked(const struct replay *r, const struct step *s, const struct delay *d)
{
    const uint64_t from = vt_max(d->from, s->from);
    return r->tells_interrupts && d->to - from - vt_delay_in(s->delays, from, d->to) > LONGEST_TICK_NS;
}

/*
 * Holds of that other vCPU after whose end the step ran on for a moment only, or during which it was
 * not to be interrupted: what lies from the first to the last of them. If the step's vCPU was held itself
 * when a hold ended, the two may have had nothing to do with each other. There may be too many to look at:
 * then all of the step is.
 */
static void outlasted_of(const struct replay *r, const struct vcpu_delays *other, const struct step *s,
                         struct vt_window *spun, uint64_t *budget)
{
    const struct delay *last;
    vt_delay_before(other, s->to, &last);
    size_t left = last ? (size_t)(last - other->delay) + 1 : 0;
    unsigned int looked = 0;
    for (; left && other->delay[left - 1].to > s->from; left--) {
        const struct delay *d = &other->delay[left - 1];
        if (looked++ >= MOST_HOLDS) {
            *spun = (struct vt_window){ { s->from }, { s->to } };
            break;
        }
        if (d->to > s->to || !vt_is_hold(d))
            continue;
        if (!is_unticked(r, s, d) && (is_delayed(s->delays, d->to) ||
                                      s->to - d->to - vt_delay_in(s->delays, d->to, s->to) > RELEASE_NS))
            continue;
        const size_t since = vt_held_since(other, left - 1);
        looked += (unsigned int)(left - 1 - since);
        left = since + 1;
        include(spun, (struct vt_window){ { other->delay[since].from }, { d->to } });
    }
    vt_spend(budget, looked + 1);
}

/*
 * Who wants what a held vCPU has locked, in the guest's kernel or in the monitor, gets no further until
 * that runs again, and shortly after that he is through: from when it was held he may have spun, or slept as
 * a vCPU without the guest knowing.  Interrupts that hit him meanwhile cut his step.
 */
static void find_spinning(struct replay *r, uint64_t *budget)
{
    for (size_t n = 0; n < r->nr_step; n++)
        r->tells_interrupts |= r->step[n].is_hit;
    for (size_t n = r->nr_step; n-- > 0 && *budget;) {
        struct step *s = &r->step[n];
        for (size_t i = 0; i < r->nr_vcpu; i++)
            if (&r->vcpu[i] != s->delays)
                outlasted_of(r, &r->vcpu[i], s, &s->spun, budget);
        struct step *before = s->on_thread == NONE ? NULL : &r->step[s->on_thread];
        if (before && !s->is_hit && s->wake == VTG_WAKE_NONE && s->spun.from.v < before->to &&
            s->from < s->spun.to.v)
            include(&before->spun, s->spun);
    }
}

uint64_t vt_spun_until(const struct step *s, uint64_t at)
{
    const uint64_t from = vt_max(s->spun.from.v, s->from), to = vt_min(s->spun.to.v, at);
    return from < to ? to - from - vt_delay_in(s->delays, from, to) : 0;
}

/* Steps come in order of time: who woke it, and what it did before, is known. */
static enum driver driver_of(const struct replay *r, const struct step *s)
{
    const size_t j = vt_waker_of(r, s);
    if (s->is_own)
        return BY_BENCHMARK;
    if (s->is_hit)
        return BY_INTERRUPT;
    if (s->wake == VTG_WAKE_NONE && s->on_thread != NONE)
        return r->step[s->on_thread].driver;
    if (j == NONE)
        return BY_TIME;
    return r->step[j].is_own ? BY_ITS_WAKING : r->step[j].driver;
}

void vt_replay_judge_steps(struct replay *r, uint64_t *budget)
{
    begin_when_resumed(r);
    find_spinning(r, budget);
    for (size_t i = 0; i < r->nr_step; i++)
        r->step[i].driver = driver_of(r, &r->step[i]);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A benchmark played again without what the host took: each stretch of each task of
 * the guest takes as long as its vCPU really ran in it, begins when what woke the task
 * would then have happened, and when its vCPU is through with what it ran before.
 * Tasks keep their order on their vCPUs.  Played twice: what is not known is decided
 * for the earliest end, and for the latest.
 *
 * Tasks that are not the benchmark's (daemons, kernel threads) keep no appointment in the
 * play: how often they come depends on how long it takes.  What timers, devices and other such
 * tasks woke takes as large a part of the time that the play takes as it took of the time that
 * it really took; what the benchmark woke takes what it took (latest), or nothing (earliest).
 * Interrupts: as large a part (earliest); what they took, but for those that had piled up while
 * the vCPU was held (latest): a tick that is taken as soon as it is due has less to do.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/state.h"
#include "correlator/internal.h"
#include "vt/task_pack.h"

#define NONE      SIZE_MAX
#define NOT_KNOWN UINT64_MAX
/* A wake-up's time stamp and the switch to who then woke are not one instant: so far after a delay it is due
 * to it. */
#define TAIL_SLACK_NS UINT64_C(200000)
/* To wake an idle CPU takes up to so much, on a host that does nothing else as well (measured on a virtual
 * one: 0.1 to 0.2 ms; among rivals it does not sleep, and wakes at once). */
#define WAKE_NS UINT64_C(200000)
/* Waits that tell what is usual. */
#define USUAL_LEAST 8u
/* A wait so many times as long as the long ones is of another kind. */
#define OTHER_WAIT 8u
/* Did the monitor's threads, which serve devices, wait for a CPU for more than this part, no wait is short.
 */
#define HELPERS_PART 20u
/* Who was held for so long, or slept so much longer, is cold: others ran meanwhile. */
#define HOLD_NS  UINT64_C(100000)
#define SLEPT_NS UINT64_C(1000000)
/*
 * And it slept at all: the vCPU went idle and had to be woken, and what would have been in the caches of both
 * is gone.  Measured 0.1 to 0.15 ms in the mean of emulated guests (two threads at a barrier, one of which is
 * starved; reads of a disk); at most three times that.
 */
#define LONG_SLEEP_NS UINT64_C(450000)
/*
 * A CPU that goes idle for a millisecond alone, and does not where others run, is slower when it wakes:
 * measured 0.1 to 0.5 ms of CPU more in the mean of emulated guests that sleep, on a virtual host. Others
 * were there if the vCPU waited for its CPU for more than this part of the time; who comes only while it
 * sleeps is not seen.
 */
#define IDLE_WAKE_NS UINT64_C(500000)
#define RIVALS_PART  20u
/* Work on cold caches takes so many times as long, at most. */
#define COLD_TIMES 5u
/* A guest that works is interrupted by its tick that often at least (CONFIG_HZ 100). */
#define LONGEST_TICK_NS UINT64_C(10000000)
/* A vCPU that was held serves its pending interrupts before it releases what it had locked (seen: 0.4 ms). */
#define RELEASE_NS UINT64_C(500000)
/* No more holds of another vCPU are looked at for one step. */
#define MOST_HOLDS 64u
/* Stretches may leave out so much of the vCPUs' time: ends of the window, and tasks too short to be told. */
#define UNTOLD_PARTS 100u

enum play { EARLIEST, LATEST, NR_PLAYS };

/* What makes a step as long as it is: the benchmark itself, or else... */
enum driver { BY_BENCHMARK, BY_ITS_WAKING, BY_TIME, BY_INTERRUPT };

#define SCALE_ONE UINT64_C(1048576)
/* The parts that others take of the play depend on its length, which depends on them. */
#define MOST_ROUNDS 24

struct vcpu_delays;

/* A stretch of a task on the host's clock. */
struct step {
    uint64_t from, to, ready;
    uint64_t late;            /* the timer that woke it went off so long after it was due; NOT_KNOWN */
    uint64_t begin[NR_PLAYS]; /* when it is played */
    uint32_t cpu, thread;     /* thread: into replay.thread[] */
    uint32_t waker;           /* thread, or UINT32_MAX */
    uint32_t wake;            /* enum vtg_wake */
    bool is_own;              /* of the benchmark */
    bool is_cold;             /* it slept longer than it would have, by the earliest play */
    bool is_hit;              /* an interrupt */
    bool is_late;             /* which was pending when the vCPU was resumed */
    struct vt_window spun;    /* it may have waited, running, for what a held vCPU had locked; empty: none */
    enum driver driver;
    bool wakes_idle;            /* a CPU that others kept awake, latest */
    struct vcpu_delays *delays; /* of its vCPU; NULL: none is known */
    size_t on_thread;           /* the step of the same thread before it, NONE: the first */
    size_t on_cpu;              /* the same of its vCPU */
};

/* A thread's steps are order[first] to order[first + nr - 1]. */
struct thread {
    uint32_t tid;
    size_t first, nr;
};

/* What kept a vCPU from running, in order of time; sum: of those before it. */
struct delay {
    uint64_t from, to, sum;
    uint64_t holds; /* of those before it that were long enough to matter */
};

struct vcpu_delays {
    uint32_t cpu;
    struct delay *delay;
    size_t nr, room;
    uint64_t waited_ns;         /* for a CPU */
    uint64_t worked_until;      /* for the benchmark, in the latest play as far as it is */
    const struct vt_life *life; /* whose own steal of this host's is left out; NULL: nobody's */
    int error;
};

struct replay {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    const struct vt_guest_time *time;
    struct vt_window window;
    uint32_t mark;
    struct step *step; /* by `from` */
    size_t nr_step, room_step;
    struct thread *thread; /* by tid */
    size_t nr_thread;
    size_t *order;
    struct vcpu_delays *vcpu;
    size_t nr_vcpu, room_vcpu;
    struct vcpu_delays any; /* where any vCPU was kept from running, or any of the monitor's threads, if... */
    bool places_helpers;    /* ...it was told when those waited */
    bool tells_interrupts;  /* the guest does */
    uint64_t resume_ns;     /* what a resumption cost at most */
    uint64_t helpers_waited; /* for a CPU: all together; if told when, what was not placed */
    bool knows_waits; /* the next two: what waits for devices took in the mean, but for the longest quarter
                         (0: even those may have been the host's doing), and but for the shortest, */
    uint64_t short_wait, long_wait; /* of those in which nothing was held */
    bool knows_ways_in;             /* there are enough before which nothing was held */
    uint64_t usual_way_in;          /* from a wake-up to an idle vCPU at most */
    uint64_t usual_late;            /* timers went off so late at most for reasons that are not the host's */
    uint64_t bound;                 /* of the steps' place on the host's clock, at most */
    uint64_t scale[NR_PLAYS];       /* what the play takes of what it really took, SCALE_ONE: all of it */
};

/* ---- delays ---- */

/* Held for so long others ran on its CPU, and it is cold. */
static bool is_hold(const struct delay *d)
{
    return d->to - d->from >= HOLD_NS;
}

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
                                        .holds = last ? last->holds + is_hold(last) : 0 };
}

static struct vcpu_delays *delays_of(const struct replay *r, uint32_t cpu)
{
    for (size_t i = 0; i < r->nr_vcpu; i++)
        if (r->vcpu[i].cpu == cpu)
            return &r->vcpu[i];
    return NULL;
}

static int find_delays(struct replay *r)
{
    size_t from, to;
    vt_lives_around(r->c, r->m, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct vt_life *life = &r->c->lives[i];
        if (!vt_is_vcpu_of(r->c, r->m, life))
            continue;
        struct vcpu_delays *v = delays_of(r, life->row.index);
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
        d.holds = last ? last->holds + is_hold(last) : 0;
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

/* Delay of the vCPU before `at`. */
static uint64_t delay_before(const struct vcpu_delays *v, uint64_t at, const struct delay **ret_last)
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

static uint64_t delay_in(const struct vcpu_delays *v, uint64_t from, uint64_t to)
{
    const struct delay *unused;
    return to > from ? delay_before(v, to, &unused) - delay_before(v, from, &unused) : 0;
}

/* What this host itself was kept from the vCPU's CPU, at most (earliest) or at least. */
static uint64_t outer_in(const struct vcpu_delays *v, enum play play, uint64_t from, uint64_t to)
{
    if (!v || !v->life)
        return 0;
    const struct vt_outer_range outer = vt_outer_in(v->life, from, to);
    return play == EARLIEST ? outer.most : outer.least;
}

/*
 * Of any: who serves a device, or is asked, may sit on another vCPU than who waits, or be a thread of the
 * monitor's.  What waits makes no less headway while none of them is kept from running.
 */
static uint64_t delay_of_any(const struct replay *r, uint64_t from, uint64_t to)
{
    return delay_in(&r->any, from, to);
}

static uint64_t holds_before(const struct vcpu_delays *v, uint64_t at)
{
    const struct delay *last;
    delay_before(v, at, &last);
    return last ? last->holds + (last->to <= at && is_hold(last)) : 0;
}

/* What resuming cost the step until `at`, at most. */
static uint64_t resume_cost(const struct replay *r, const struct step *s, uint64_t at)
{
    return (holds_before(s->delays, at) - holds_before(s->delays, s->from)) * r->resume_ns;
}

/* The delay that ended just before `at`, and not before `from`: what was then due came so much later. */
static uint64_t tail_delay(const struct vcpu_delays *v, uint64_t from, uint64_t at)
{
    const struct delay *last;
    delay_before(v, at, &last);
    if (!last || last->to > at || at - last->to > TAIL_SLACK_NS || last->to <= from)
        return 0;
    return last->to - vt_max(last->from, from);
}

/* ---- steps ---- */

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

static int find_steps(struct replay *r, uint64_t *budget, bool *ret_whole)
{
    const struct vt_task_log *log = &r->m->tasks;
    int e = 0;
    *ret_whole = true;
    for (size_t i = 0; i < log->nr_batch && !e && *budget; i++) {
        const struct vt_task_batch *batch = &log->batch[i];
        if (batch->host.v < r->window.from.v)
            continue;
        if (batch->lost || batch->source == VTG_TASKS_SAMPLED)
            *ret_whole = false;
        if (!vt_task_batch_touches(log, batch, r->time, r->window, budget))
            continue;
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

/* Each step's thread and vCPU, and the steps before it there. */
static int link_steps(struct replay *r)
{
    size_t *last = calloc(r->nr_vcpu + 1, sizeof(*last)), *seen = calloc(r->nr_thread + 1, sizeof(*seen));
    if (!last || !seen) {
        free(last);
        free(seen);
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->nr_step; i++) {
        struct step *s = &r->step[i];
        struct vcpu_delays *v = s->delays = delays_of(r, s->cpu);
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

static int by_length(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* ---- what drives a step ---- */

/* The thread's step that was under way at `at`, or the last before it. NONE: there is none. */
static size_t step_at(const struct replay *r, uint32_t thread, uint64_t at)
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
        delay_before(s->delays, s->from, &last);
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
    delay_before(v, at, &last);
    return last && last->to > at;
}

/* It ran for so long during that hold, and no tick cut it: interrupts were switched off. */
static bool is_unticked(const struct replay *r, const struct step *s, const struct delay *d)
{
    const uint64_t from = vt_max(d->from, s->from);
    return r->tells_interrupts && d->to - from - delay_in(s->delays, from, d->to) > LONGEST_TICK_NS;
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
    delay_before(other, s->to, &last);
    size_t left = last ? (size_t)(last - other->delay) + 1 : 0;
    unsigned int looked = 0;
    for (; left && other->delay[left - 1].to > s->from; left--) {
        const struct delay *d = &other->delay[left - 1];
        if (looked++ == MOST_HOLDS) {
            *spun = (struct vt_window){ { s->from }, { s->to } };
            break;
        }
        if (d->to > s->to || !is_hold(d))
            continue;
        if (is_unticked(r, s, d) || (!is_delayed(s->delays, d->to) &&
                                     s->to - d->to - delay_in(s->delays, d->to, s->to) <= RELEASE_NS))
            include(spun, (struct vt_window){ { d->from }, { d->to } });
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
        for (size_t i = 0; i < r->nr_vcpu && !s->is_hit; i++)
            if (&r->vcpu[i] != s->delays)
                outlasted_of(r, &r->vcpu[i], s, &s->spun, budget);
        struct step *before = s->on_thread == NONE ? NULL : &r->step[s->on_thread];
        if (before && s->wake == VTG_WAKE_NONE && s->spun.from.v < before->to && s->from < s->spun.to.v)
            include(&before->spun, s->spun);
    }
}

/* Steps come in order of time: who woke it, and what it did before, is known. */
static enum driver driver_of(const struct replay *r, const struct step *s)
{
    const size_t j =
        s->wake == VTG_WAKE_TASK && s->waker != UINT32_MAX ? step_at(r, s->waker, s->ready) : NONE;
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

/* ---- the play ---- */

static uint64_t scaled(const struct replay *r, enum play play, uint64_t ns)
{
    return (uint64_t)((unsigned __int128)ns * r->scale[play] / SCALE_ONE);
}

/* What a step takes in the play of `ns` that its vCPU ran. */
static uint64_t taken(const struct replay *r, const struct step *s, enum play play, uint64_t ns)
{
    switch (s->driver) {
    case BY_ITS_WAKING:
        return play == EARLIEST ? 0 : ns;
    case BY_TIME:
        return scaled(r, play, ns);
    case BY_INTERRUPT:
        return play == EARLIEST || s->is_late ? scaled(r, play, ns) : ns;
    default:
        return ns;
    }
}

/* What of the step until `at` its vCPU ran, and may have spun. */
static uint64_t spun_until(const struct step *s, uint64_t at)
{
    const uint64_t from = vt_max(s->spun.from.v, s->from), to = vt_min(s->spun.to.v, at);
    return from < to ? to - from - delay_in(s->delays, from, to) : 0;
}

/* When the step is where it was at `at`. */
static uint64_t played(const struct replay *r, const struct step *s, enum play play, uint64_t at)
{
    at = vt_max(at, s->from);
    const uint64_t ran = at - s->from - delay_in(s->delays, s->from, at),
                   left_out =
                       outer_in(s->delays, play, s->from, at) + (play == EARLIEST ? spun_until(s, at) : 0);
    const uint64_t takes = taken(r, s, play, ran - vt_min(ran, left_out));
    const uint64_t cold = s->is_cold ? r->resume_ns + LONG_SLEEP_NS : 0;
    return s->begin[play] + takes -
           (play == EARLIEST ? vt_min(takes - takes / COLD_TIMES, cold + resume_cost(r, s, at)) : 0);
}

/* The timer was due, and the vCPU was kept from serving it. */
static uint64_t late_by_host(const struct step *s)
{
    return vt_min(s->late, delay_in(s->delays, s->ready - vt_min(s->late, s->ready), s->ready));
}

/*
 * It slept from `end` on (played: `end_played`), until a timer that was late: that part of the sleep
 * which it was set to goes from where it was armed, whatever kept the vCPU or the monitor's
 * threads from serving it; a little late it would have been anyway.
 */
static uint64_t woken_by_timer(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                               uint64_t end_played, uint64_t ready)
{
    const uint64_t due = ready - vt_min(s->late, ready - end);
    const uint64_t late = play == EARLIEST ? 0 : vt_min(s->late - late_by_host(s), r->usual_late) + WAKE_NS;
    const bool relative = s->wake == VTG_WAKE_RELATIVE || (s->wake != VTG_WAKE_ABSOLUTE && play == EARLIEST);
    return late + (relative ? end_played + (due - end) : vt_max(end_played, due));
}

/* What kept a wait for a device from going on, as far as it is known when. */
static uint64_t held_in_wait(const struct replay *r, const struct step *s, uint64_t from, uint64_t to)
{
    return r->places_helpers ? delay_of_any(r, from, to) : delay_in(s->delays, from, to);
}

/*
 * A wait for a device in which the vCPU was held: it may have been done at any time in it.  It took
 * what such waits take in the mean where nothing was kept from its CPU, the longest quarter left out, or the
 * shortest.
 */
static uint64_t device_wait(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                            uint64_t ready)
{
    const uint64_t wait = ready - end, held = held_in_wait(r, s, end, ready),
                   tail = tail_delay(s->delays, end, ready);
    const uint64_t least = wait - delay_of_any(r, end, ready), most = wait - (tail - vt_min(tail, WAKE_NS));
    if (held < HOLD_NS || !r->knows_waits || wait - held > OTHER_WAIT * r->long_wait)
        return play == EARLIEST ? least : most;
    if (play == EARLIEST)
        return vt_min(least, r->short_wait ? r->short_wait : r->long_wait);
    return vt_max(least, vt_min(most, r->long_wait));
}

/* It slept from `end` on (played: `end_played`), and was woken by no task. */
static uint64_t woken(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                      uint64_t end_played)
{
    const uint64_t ready = vt_max(s->ready, end), all = delay_of_any(r, end, ready);
    if (s->late != NOT_KNOWN)
        return woken_by_timer(r, s, play, end, end_played, ready);
    switch ((enum vtg_wake)s->wake) {
    case VTG_WAKE_RELATIVE:
    case VTG_WAKE_DEVICE:
    case VTG_WAKE_TASK: /* of another's, as a kernel thread that had waited for a device */
        return end_played + device_wait(r, s, play, end, ready);
    case VTG_WAKE_ABSOLUTE:
        return vt_max(end_played, play == EARLIEST ? ready - all : ready);
    default: /* either */
        return play == EARLIEST ? end_played + (ready - end) - all : vt_max(end_played, ready);
    }
}

static uint64_t ready_played(const struct replay *r, const struct step *s, enum play play)
{
    const struct step *before = s->on_thread == NONE ? NULL : &r->step[s->on_thread];
    const uint64_t end = before ? before->to : r->window.from.v;
    const uint64_t end_played = before ? played(r, before, play, before->to) : r->window.from.v;
    const size_t j =
        s->wake == VTG_WAKE_TASK && s->waker != UINT32_MAX ? step_at(r, s->waker, s->ready) : NONE;

    if (!s->is_own)
        return r->window.from.v;
    if (s->wake == VTG_WAKE_NONE || (before && s->ready <= end)) /* it did not sleep */
        return end_played;
    if (j != NONE && r->step[j].is_own && s->ready >= r->window.from.v &&
        r->step[j].to + TAIL_SLACK_NS >= s->ready)
        return vt_max(end_played, played(r, &r->step[j], play, vt_min(s->ready, r->step[j].to)));
    return woken(r, s, play, end, end_played);
}

/* The benchmark's slept until no task of it and no timer that told woke it: from when on? */
static bool is_device_wait(const struct replay *r, const struct step *s, uint64_t *ret_since)
{
    if (!s->is_own || s->on_thread == NONE || s->wake == VTG_WAKE_NONE || s->late != NOT_KNOWN)
        return false;
    const size_t j =
        s->wake == VTG_WAKE_TASK && s->waker != UINT32_MAX ? step_at(r, s->waker, s->ready) : NONE;
    *ret_since = r->step[s->on_thread].to;
    return s->ready > *ret_since && (j == NONE || !r->step[j].is_own);
}

static bool is_timer_wait(const struct step *s)
{
    return s->is_own && s->on_thread != NONE && s->late != NOT_KNOWN;
}

/* From its wake-up to its first instruction on a vCPU that was idle: that takes a while alone, too. */
static uint64_t way_in(const struct replay *r, const struct step *s, const struct step *before)
{
    const uint64_t since = vt_max(s->ready, r->window.from.v);
    if (!s->is_own || s->wake == VTG_WAKE_NONE || since >= s->from || (before && before->to > since))
        return 0;
    return s->from - since - delay_in(s->delays, since, s->from);
}

/* The ways in before which nothing was held, or all; there is room for one a step. Returns how many. */
static size_t find_ways_in(const struct replay *r, bool all, uint64_t *way)
{
    size_t n = 0;
    for (size_t i = 0; i < r->nr_step; i++) {
        const struct step *s = &r->step[i];
        const uint64_t ns = way_in(r, s, s->on_cpu == NONE ? NULL : &r->step[s->on_cpu]);
        const uint64_t since = s->on_thread == NONE ? s->ready : vt_min(r->step[s->on_thread].to, s->ready);
        if (ns && (all || delay_of_any(r, since, s->from) < HOLD_NS))
            way[n++] = ns;
    }
    return n;
}

/* Twice what the better quarter of the benchmark's ways in took. */
static int find_usual_way_in(struct replay *r)
{
    uint64_t *way = calloc(r->nr_step, sizeof(*way));
    size_t n;
    if (!way)
        return -ENOMEM;
    n = find_ways_in(r, false, way);
    r->knows_ways_in = n >= USUAL_LEAST;
    if (!r->knows_ways_in)
        n = find_ways_in(r, true, way);
    qsort(way, n, sizeof(*way), by_length);
    r->usual_way_in = n ? 2 * way[n / 4] : 0;
    free(way);
    return 0;
}

/* Who does not wait for a device alone may not have slept at all, undisturbed. */
static uint64_t usual_way_in(const struct replay *r, const struct step *s, enum play play)
{
    uint64_t since;
    if (play == LATEST)
        return r->usual_way_in;
    return r->knows_ways_in && is_device_wait(r, s, &since) ? r->usual_way_in / 4 : 0;
}

/* What others' delays made wait is cold as well when it runs again. */
static bool slept_longer(const struct replay *r, const struct step *s)
{
    const struct step *before = s->on_thread == NONE ? NULL : &r->step[s->on_thread];
    if (!before || s->wake == VTG_WAKE_NONE)
        return false;
    const uint64_t begin = s->begin[EARLIEST], end = played(r, before, EARLIEST, before->to);
    return s->from > before->to && s->from - before->to > begin - vt_min(begin, end) + SLEPT_NS;
}

/*
 * It was woken by a timer or a device, and played from `begin` on, its CPU had been idle, where rivals kept
 * it awake in truth.
 */
static bool wakes_idle(const struct replay *r, const struct step *s, uint64_t begin)
{
    const struct vcpu_delays *v = s->delays;
    uint64_t since;
    return v && v->waited_ns > (r->window.to.v - r->window.from.v) / RIVALS_PART &&
           (is_device_wait(r, s, &since) || is_timer_wait(s)) && begin > v->worked_until + SLEPT_NS;
}

/* Once it does, it does in all rounds: a longer play may not come out shorter. Never later than it was. */
static uint64_t begin_on_idle(const struct replay *r, struct step *s, uint64_t begin)
{
    s->wakes_idle |= wakes_idle(r, s, begin);
    return s->wakes_idle ? vt_min(begin + IDLE_WAKE_NS, s->from) : begin;
}

static void play_all(struct replay *r, enum play play)
{
    for (size_t i = 0; i < r->nr_vcpu; i++)
        r->vcpu[i].worked_until = r->window.from.v;
    for (size_t i = 0; i < r->nr_step; i++) {
        struct step *s = &r->step[i];
        const struct step *before = s->on_cpu == NONE ? NULL : &r->step[s->on_cpu];
        uint64_t begin = s->from;
        if (s->from > r->window.from.v) {
            begin = ready_played(r, s, play) + vt_min(way_in(r, s, before), usual_way_in(r, s, play));
            if (before)
                begin = vt_max(begin, played(r, before, play, before->to));
            begin = vt_min(vt_max(begin, r->window.from.v), s->from);
            if (play == LATEST)
                begin = begin_on_idle(r, s, begin);
        }
        s->begin[play] = begin;
        if (play == EARLIEST)
            s->is_cold = slept_longer(r, s);
        if (play == LATEST && s->is_own && s->delays)
            s->delays->worked_until = played(r, s, LATEST, s->to);
    }
}

/* Twice what the better quarter of the benchmark's timers were late: those that nothing kept. */
static int find_usual_lateness(struct replay *r)
{
    uint64_t *late = calloc(r->nr_step, sizeof(*late));
    size_t n = 0;
    if (!late)
        return -ENOMEM;
    for (size_t i = 0; i < r->nr_step; i++)
        if (r->step[i].is_own && r->step[i].late != NOT_KNOWN)
            late[n++] = r->step[i].late - late_by_host(&r->step[i]);
    qsort(late, n, sizeof(*late), by_length);
    r->usual_late = n ? 2 * late[n / 4] : 0;
    free(late);
    return 0;
}

static uint64_t mean_of(const uint64_t *ns, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ns[i];
    return sum / n;
}

/*
 * Of waits in which nothing was held; by how much all are longer than the short ones, held time left
 * out: as far as the monitor's threads may have been the cause, and it is not known when they waited.
 */
static int find_usual_waits(struct replay *r, uint64_t *ret_longer)
{
    uint64_t *wait = calloc(r->nr_step, sizeof(*wait)), since;
    size_t n = 0;
    if (!wait)
        return -ENOMEM;
    for (size_t i = 0; i < r->nr_step; i++)
        if (is_device_wait(r, &r->step[i], &since) &&
            held_in_wait(r, &r->step[i], since, r->step[i].ready) < HOLD_NS)
            wait[n++] = r->step[i].ready - since;
    qsort(wait, n, sizeof(*wait), by_length);
    r->knows_waits = n >= USUAL_LEAST;
    if (r->knows_waits) {
        const bool undisturbed = r->helpers_waited <= (r->window.to.v - r->window.from.v) / HELPERS_PART;
        r->short_wait = undisturbed ? mean_of(wait, n - n / 4) : 0;
        r->long_wait = mean_of(wait + n / 4, n - n / 4);
    }
    free(wait);
    *ret_longer = 0;
    for (size_t i = 0; i < r->nr_step; i++)
        if (is_device_wait(r, &r->step[i], &since)) {
            const uint64_t least = device_wait(r, &r->step[i], EARLIEST, since, r->step[i].ready);
            *ret_longer += least - vt_min(least, r->short_wait);
        }
    *ret_longer = vt_min(*ret_longer, r->helpers_waited);
    return 0;
}

/* The step in which the end mark was set: the last of its vCPU. NONE: it was not told. */
static size_t last_step(const struct replay *r, uint32_t cpu)
{
    for (size_t i = r->nr_step; i-- > 0;)
        if (r->step[i].cpu == cpu && !r->step[i].is_hit)
            return r->step[i].to + TAIL_SLACK_NS >= r->window.to.v ? i : NONE;
    return NONE;
}

/* How long the play takes, whose end mark comes `rest` after the step `end`. */
static uint64_t play_until_it_fits(struct replay *r, enum play play, size_t end, uint64_t rest,
                                   uint64_t *budget)
{
    const uint64_t real = r->window.to.v - r->window.from.v;
    uint64_t length = play == EARLIEST ? 0 : real; /* each round is a bound from that side */
    for (int i = 0; i < MOST_ROUNDS && *budget; i++) {
        vt_spend(budget, r->nr_step);
        r->scale[play] = (uint64_t)((unsigned __int128)length * SCALE_ONE / real);
        play_all(r, play);
        const uint64_t before = length;
        length = played(r, &r->step[end], play, r->step[end].to) + rest - r->window.from.v;
        if ((before > length ? before - length : length - before) < real / 10000)
            break;
    }
    return length;
}

static int play_again(struct replay *r, uint32_t end_cpu, uint64_t *budget, struct vt_replayed *ret)
{
    int e = r->nr_step ? find_delays(r) : 0;
    if (!e && r->nr_step)
        e = find_delays_of_any(r, budget);
    if (!e && r->nr_step)
        e = name_threads(r);
    if (!e && r->nr_step)
        e = link_steps(r);
    const size_t end = e ? NONE : last_step(r, end_cpu);
    if (end == NONE)
        return e;
    const uint64_t rest = r->window.to.v - r->step[end].to;
    for (size_t i = 0; i < r->nr_step; i++) /* who sets the marks waits for the benchmark's end */
        r->step[i].is_own |= r->step[i].thread == r->step[end].thread;
    begin_when_resumed(r);
    find_spinning(r, budget);
    for (size_t i = 0; i < r->nr_step; i++)
        r->step[i].driver = driver_of(r, &r->step[i]);
    e = find_usual_lateness(r);
    if (!e)
        e = find_usual_way_in(r);
    if (!e)
        e = find_usual_waits(r, &ret->waits_ns);
    if (e)
        return e;
    ret->low_ns = play_until_it_fits(r, EARLIEST, end, rest, budget);
    ret->high_ns = play_until_it_fits(r, LATEST, end, rest, budget);
    ret->known = *budget && ret->low_ns <= ret->high_ns;
    return 0;
}

/* NULL: it may be tried. */
static const char *unplayable(const struct vt_benchmark *b)
{
    if (b->takes_turns)
        return "its CPUs take turns on one thread of the host, and at which task that was is not known";
    if (b->unplaced_ns)
        return "its tasks ran on CPUs of which the host saw no vCPU";
    if (b->untold_ns > b->elapsed.ns / UNTOLD_PARTS)
        return "of too much of its vCPUs' time no task was told";
    return NULL;
}

int vt_replay(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_guest_time *time,
              const struct vt_play *play, const struct vt_benchmark *b, uint64_t *budget,
              struct vt_replayed *ret)
{
    struct replay r = { .c = c,
                        .m = m,
                        .time = time,
                        .window = play->window,
                        .mark = play->mark,
                        .resume_ns = play->resume_ns,
                        .helpers_waited = play->helpers_waited };
    bool whole;
    *ret = (struct vt_replayed){ 0 };
    ret->why_not = unplayable(b);
    if (ret->why_not || c->host.ledger_only)
        return 0;
    int e = find_steps(&r, budget, &whole);
    if (!e && whole)
        e = play_again(&r, b->vcpu_index, budget, ret);
    if (!*budget)
        ret->why_not = "more was told of its tasks than is looked at";
    else if (!whole)
        ret->why_not = "not all that its tasks did was told";
    else if (!ret->known)
        ret->why_not = "its tasks at the end mark were not told";
    /* a stranger is not in the play: in who waited for it is its time, but not in who came after it */
    ret->high_ns = vt_min(ret->high_ns + b->strangers_ns, b->elapsed.ns);
    for (size_t i = 0; i < r.nr_vcpu; i++)
        free(r.vcpu[i].delay);
    free(r.vcpu);
    free(r.any.delay);
    free(r.step);
    free(r.thread);
    free(r.order);
    return e;
}

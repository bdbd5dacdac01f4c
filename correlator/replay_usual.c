/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a benchmark's waits, ways and bursts of work took where the host held nobody: by them is judged what
 * the others would have taken.
 */
#include <errno.h>
#include <stdlib.h>

#include "correlator/replay.h"
#include "vt/task_pack.h"

/* So many tell what is usual. */
#define USUAL_LEAST 8u
/* A wait so many times as long as the long ones is of another kind. */
#define OTHER_WAIT 8u
/* Did the monitor's threads, which serve devices, wait for a CPU for more than this part, no wait is short.
 */
#define HELPERS_PART 20u
/*
 * Who took so many times as long does other work, and is no measure.  And those that are one must be alike:
 * their upper quartile is no more than 3 / 2 of the lower one.
 */
#define OTHER_BURST 3u
#define ALIKE_NUM   3u
#define ALIKE_DEN   2u

static int by_length(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint64_t mean_of(const uint64_t *ns, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ns[i];
    return sum / n;
}

/* ---- timers ---- */

uint64_t vt_late_by_host(const struct step *s)
{
    return vt_min(s->late, vt_delay_in(s->delays, s->ready - vt_min(s->late, s->ready), s->ready));
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
            late[n++] = r->step[i].late - vt_late_by_host(&r->step[i]);
    qsort(late, n, sizeof(*late), by_length);
    r->usual.late = n ? 2 * late[n / 4] : 0;
    free(late);
    return 0;
}

/* ---- ways in ---- */

/* From its wake-up to its first instruction on a vCPU that was idle: that takes a while alone, too. */
static uint64_t way_in(const struct replay *r, const struct step *s)
{
    const struct step *before = s->on_cpu == NONE ? NULL : &r->step[s->on_cpu];
    const uint64_t since = vt_max(s->ready, r->window.from.v);
    if (!s->is_own || s->wake == VTG_WAKE_NONE || since >= s->from || (before && before->to > since))
        return 0;
    return s->from - since - vt_delay_in(s->delays, since, s->from);
}

/* Those before which nothing was held, or all; there is room for one a step. Returns how many. */
static size_t find_ways_in(const struct replay *r, bool all, uint64_t *way)
{
    size_t n = 0;
    for (size_t i = 0; i < r->nr_step; i++) {
        const struct step *s = &r->step[i];
        const uint64_t ns = way_in(r, s);
        const uint64_t since = s->on_thread == NONE ? s->ready : vt_min(r->step[s->on_thread].to, s->ready);
        if (ns && (all || vt_delay_of_any(r, since, s->from) < HOLD_NS))
            way[n++] = ns;
    }
    return n;
}

/* Twice what the better quarter of the benchmark's took. */
static int find_usual_way_in(struct replay *r)
{
    uint64_t *way = calloc(r->nr_step, sizeof(*way));
    size_t n;
    if (!way)
        return -ENOMEM;
    n = find_ways_in(r, false, way);
    r->usual.knows_ways_in = n >= USUAL_LEAST;
    if (!r->usual.knows_ways_in)
        n = find_ways_in(r, true, way);
    qsort(way, n, sizeof(*way), by_length);
    r->usual.way_in = n ? 2 * way[n / 4] : 0;
    free(way);
    return 0;
}

/* Who does not wait for a device alone may not have slept at all, undisturbed. */
uint64_t vt_way_in(const struct replay *r, const struct step *s, enum play play)
{
    uint64_t since, usual = r->usual.way_in;
    if (play == EARLIEST)
        usual = r->usual.knows_ways_in && vt_is_device_wait(r, s, &since) ? r->usual.way_in / 4 : 0;
    return vt_min(way_in(r, s), usual);
}

/* ---- waits for devices ---- */

/* What kept a wait for a device from going on, as far as it is known when. */
static uint64_t held_in_wait(const struct replay *r, const struct step *s, uint64_t from, uint64_t to)
{
    return r->places_helpers ? vt_delay_of_any(r, from, to) : vt_delay_in(s->delays, from, to);
}

/* Something was held in it, and else it is no longer than such waits are. */
static bool is_held_wait(const struct replay *r, const struct step *s, uint64_t end, uint64_t ready)
{
    const uint64_t held = held_in_wait(r, s, end, ready);
    return held >= HOLD_NS && ready - end - held <= OTHER_WAIT * r->usual.long_wait;
}

/* What was not held of it, and what its end may have waited for besides. */
static uint64_t least_wait(const struct replay *r, uint64_t end, uint64_t ready)
{
    return ready - end - vt_delay_of_any(r, end, ready);
}

static uint64_t most_wait(const struct step *s, uint64_t end, uint64_t ready)
{
    const uint64_t tail = vt_tail_delay(s->delays, end, ready);
    return ready - end - (tail - vt_min(tail, WAKE_NS));
}

/*
 * A wait for a device in which the vCPU was held: it may have been done at any time in it.  It took
 * what such waits take in the mean where nothing was kept from its CPU, the longest quarter left out
 * (earliest), or the shortest (latest), and latest no less than what was not held of it.
 */
uint64_t vt_device_wait(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                        uint64_t ready)
{
    const struct usual *u = &r->usual;
    const uint64_t least = least_wait(r, end, ready), most = most_wait(s, end, ready);
    if (!u->knows_waits || !is_held_wait(r, s, end, ready))
        return play == EARLIEST ? least : most;
    if (play == EARLIEST)
        return vt_min(least, u->short_wait ? u->short_wait : u->long_wait);
    const uint64_t others = vt_min(most, u->long_wait);
    return least >= others ? least : others - vt_scaled(others - least, u->offset);
}

/* Those in which nothing was held; there is room for one a step. Returns how many. */
static size_t find_free_waits(const struct replay *r, uint64_t *wait)
{
    size_t n = 0;
    uint64_t since;
    for (size_t i = 0; i < r->nr_step; i++) {
        const struct step *s = &r->step[i];
        if (vt_is_device_wait(r, s, &since) && held_in_wait(r, s, since, s->ready) < HOLD_NS)
            wait[n++] = s->ready - since;
    }
    return n;
}

/*
 * Some were longer than that for certain, others may have been shorter: if they are enough it is taken for
 * chance, and what the ones lack is taken off the others. Which part, of SCALE_ONE, of what these may have
 * been shorter.
 */
static uint64_t offset(const struct replay *r)
{
    uint64_t since, longer = 0, shorter = 0, n = 0;
    for (size_t i = 0; i < r->nr_step; i++) {
        const struct step *s = &r->step[i];
        if (!vt_is_device_wait(r, s, &since) || !is_held_wait(r, s, since, s->ready))
            continue;
        const uint64_t least = least_wait(r, since, s->ready),
                       others = vt_min(most_wait(s, since, s->ready), r->usual.long_wait);
        longer += least - vt_min(least, others);
        shorter += others - vt_min(least, others);
        n++;
    }
    if (n < USUAL_LEAST || !shorter)
        return 0;
    return longer >= shorter ? SCALE_ONE : vt_scale_of(longer, shorter);
}

static int find_usual_waits(struct replay *r)
{
    struct usual *u = &r->usual;
    uint64_t *wait = calloc(r->nr_step, sizeof(*wait));
    if (!wait)
        return -ENOMEM;
    const size_t n = find_free_waits(r, wait);
    qsort(wait, n, sizeof(*wait), by_length);
    u->knows_waits = n >= USUAL_LEAST;
    if (u->knows_waits) {
        const bool undisturbed = r->helpers_waited <= (r->window.to.v - r->window.from.v) / HELPERS_PART;
        u->short_wait = undisturbed ? mean_of(wait, n - n / 4) : 0;
        u->long_wait = mean_of(wait + n / 4, n - n / 4);
        u->offset = offset(r);
    }
    free(wait);
    return 0;
}

/*
 * By how much all waits are longer, earliest, than the short ones: as far as the monitor's threads may have
 * been the cause, and it is not known when they waited.
 */
static uint64_t longer_waits(const struct replay *r)
{
    uint64_t since, longer = 0;
    for (size_t i = 0; i < r->nr_step; i++)
        if (vt_is_device_wait(r, &r->step[i], &since)) {
            const uint64_t least = vt_device_wait(r, &r->step[i], EARLIEST, since, r->step[i].ready);
            longer += least - vt_min(least, r->usual.short_wait);
        }
    return vt_min(longer, r->helpers_waited);
}

/* ---- bursts of work ---- */

/* What a thread did from one sleep to the next: who took its vCPU meanwhile only cut it. */
struct burst {
    size_t from, to; /* in the thread's steps */
    uint64_t ran;
    bool is_held; /* in it, or in the sleep before it: it is cold */
    bool may_spin;
};

/* A thread's bursts that nothing held, by length; sum[n]: of the first n. */
struct free_bursts {
    uint64_t *ran, *sum;
    size_t nr;
};

static struct step *nth_step(const struct replay *r, const struct thread *t, size_t n)
{
    return &r->step[r->order[t->first + n]];
}

static bool begins_burst(const struct step *s)
{
    return s->wake != VTG_WAKE_NONE || s->on_thread == NONE;
}

/* There is room for one a step. Returns how many. */
static size_t find_bursts(const struct replay *r, const struct thread *t, struct burst *burst)
{
    size_t nr = 0;
    for (size_t i = 0; i < t->nr; i++) {
        const struct step *s = nth_step(r, t, i);
        if (begins_burst(s)) {
            const uint64_t since = s->on_thread == NONE ? s->from : r->step[s->on_thread].to;
            burst[nr++] = (struct burst){
                .from = i, .is_held = s->on_thread == NONE || held_in_wait(r, s, since, s->from) >= HOLD_NS
            };
        }
        struct burst *b = &burst[nr - 1];
        b->to = i + 1;
        b->ran += s->to - s->from - vt_delay_in(s->delays, s->from, s->to);
        b->is_held |= vt_holds_in(s->delays, s->from, s->to) > 0;
        b->may_spin |= vt_spun_until(s, s->to) > 0;
    }
    return nr;
}

static void find_free_bursts(const struct burst *burst, size_t nr, struct free_bursts *ret)
{
    ret->nr = 0;
    for (size_t i = 0; i < nr; i++)
        if (!burst[i].is_held && !burst[i].may_spin)
            ret->ran[ret->nr++] = burst[i].ran;
    qsort(ret->ran, ret->nr, sizeof(*ret->ran), by_length);
    for (size_t i = 0; i < ret->nr; i++)
        ret->sum[i + 1] = ret->sum[i] + ret->ran[i];
}

/* How many took less than that. */
static size_t shorter_than(const struct free_bursts *f, uint64_t ns)
{
    size_t low = 0, high = f->nr;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (f->ran[middle] < ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t mean_between(const struct free_bursts *f, size_t from, size_t to)
{
    return (f->sum[to] - f->sum[from]) / (to - from);
}

/*
 * A burst that was held took what those of its thread take that nothing held and that were no longer, if they
 * are enough and alike: what it took more is what being held cost.  The longer one is the sooner it is held,
 * so latest it took what the longer half of them did in the mean, earliest the shorter half.
 */
static bool usual_burst(const struct free_bursts *f, uint64_t ran, uint64_t ret[NR_PLAYS])
{
    const size_t from = shorter_than(f, ran / OTHER_BURST), to = shorter_than(f, ran + 1), n = to - from;
    if (n < USUAL_LEAST || ALIKE_DEN * f->ran[from + 3 * n / 4] > ALIKE_NUM * f->ran[from + n / 4])
        return false;
    ret[EARLIEST] = mean_between(f, from, to - n / 4);
    ret[LATEST] = mean_between(f, from + n / 4, to);
    return true;
}

static void judge_burst(struct replay *r, const struct thread *t, const struct burst *b,
                        const struct free_bursts *f)
{
    const enum driver driver = nth_step(r, t, b->from)->driver;
    uint64_t usual[NR_PLAYS];
    if (!b->is_held || b->may_spin || !b->ran || (driver != BY_BENCHMARK && driver != BY_ITS_WAKING) ||
        !usual_burst(f, b->ran, usual))
        return;
    for (size_t i = b->from; i < b->to; i++)
        for (enum play play = EARLIEST; play < NR_PLAYS; play++)
            nth_step(r, t, i)->usual[play] = vt_scale_of(usual[play], b->ran);
}

static int find_usual_bursts(struct replay *r)
{
    struct burst *burst = calloc(r->nr_step, sizeof(*burst));
    struct free_bursts f = { .ran = calloc(r->nr_step, sizeof(*f.ran)),
                             .sum = calloc(r->nr_step + 1, sizeof(*f.sum)) };
    const bool has_room = burst && f.ran && f.sum;
    for (size_t i = 0; i < r->nr_thread && has_room; i++) {
        const struct thread *t = &r->thread[i];
        const size_t nr = t->tid == VTG_TID_INTERRUPTS ? 0 : find_bursts(r, t, burst);
        find_free_bursts(burst, nr, &f);
        for (size_t n = 0; n < nr; n++)
            judge_burst(r, t, &burst[n], &f);
    }
    free(burst);
    free(f.ran);
    free(f.sum);
    return has_room ? 0 : -ENOMEM;
}

int vt_replay_find_usual(struct replay *r, uint64_t *ret_longer)
{
    int e = find_usual_lateness(r);
    if (!e)
        e = find_usual_way_in(r);
    if (!e)
        e = find_usual_waits(r);
    if (!e)
        e = find_usual_bursts(r);
    *ret_longer = e ? 0 : longer_waits(r);
    return e;
}

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
/* Lengths of which one is no more than so many times the next are of one kind. */
#define KIND_NUM 5u
#define KIND_DEN 4u
/* What is alike: means without the shortest and without the longest quarter are no further apart. */
#define ALIKE_NUM 3u
#define ALIKE_DEN 2u

static bool are_alike(uint64_t shorter, uint64_t longer)
{
    return ALIKE_DEN * longer <= ALIKE_NUM * shorter;
}

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
 * Some were longer than that for certain, others may have been shorter: if they are enough, and the others
 * are alike, it is taken for chance, and what the ones lack is taken off the others. Which part, of
 * SCALE_ONE, of what these may have been shorter.
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
        const uint64_t shorter = mean_of(wait, n - n / 4), longer = mean_of(wait + n / 4, n - n / 4);
        u->short_wait = undisturbed ? shorter : 0;
        /* beside rivals what serves them finds its caches cold; an idle CPU that does not sleep keeps them */
        u->long_wait = r->c->host.stays_awake ? mean_of(wait, n) : longer;
        u->offset = are_alike(shorter, longer) ? offset(r) : 0;
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
    uint64_t ran;    /* this host's own steal left out, as far as it is certain */
    bool is_held;    /* something was held in it, or in the sleep before it: caches may be cold */
    bool is_odd;     /* it begins before the window, or it may have spun: it tells nothing */
};

static struct step *nth_step(const struct replay *r, const struct thread *t, size_t n)
{
    return &r->step[r->order[t->first + n]];
}

static struct burst begin_burst(const struct replay *r, const struct step *s, size_t n)
{
    const struct step *before = s->on_thread == NONE ? NULL : &r->step[s->on_thread];
    return (struct burst){ .from = n,
                           .is_odd = !before,
                           .is_held = before && held_in_wait(r, s, before->to, s->from) >= HOLD_NS };
}

static size_t without_odd(struct burst *burst, size_t nr)
{
    size_t n = 0;
    for (size_t i = 0; i < nr; i++)
        if (!burst[i].is_odd)
            burst[n++] = burst[i];
    return n;
}

/* There is room for one a step. Returns how many. */
static size_t find_bursts(const struct replay *r, const struct thread *t, struct burst *burst)
{
    size_t nr = 0;
    for (size_t i = 0; i < t->nr; i++) {
        const struct step *s = nth_step(r, t, i);
        uint64_t since = s->from;
        if (s->wake != VTG_WAKE_NONE || s->on_thread == NONE)
            burst[nr++] = begin_burst(r, s, i);
        else
            since = r->step[s->on_thread].to;
        struct burst *b = &burst[nr - 1];
        const uint64_t ran = s->to - s->from - vt_delay_in(s->delays, s->from, s->to);
        b->to = i + 1;
        b->ran += ran - vt_min(ran, vt_outer_steal_in(s->delays, LATEST, s->from, s->to));
        b->is_held |= vt_holds_in(s->delays, since, s->to) > 0;
        b->is_odd |= vt_spun_until(s, s->to) > 0;
    }
    return without_odd(burst, nr);
}

static int by_ran(const void *a, const void *b)
{
    const struct burst *x = a, *y = b;
    return (x->ran > y->ran) - (x->ran < y->ran);
}

/* How many, from the first on, are of one kind: of the next one's length there would be a gap. */
static size_t of_one_kind(const struct burst *burst, size_t nr)
{
    size_t n = 1;
    while (n < nr && KIND_DEN * burst[n].ran <= KIND_NUM * burst[n - 1].ran)
        n++;
    return n;
}

static void set_usual(const struct replay *r, const struct thread *t, const struct burst *b,
                      const uint64_t usual[NR_PLAYS])
{
    for (size_t i = b->from; i < b->to; i++)
        for (enum play play = EARLIEST; play < NR_PLAYS; play++)
            nth_step(r, t, i)->usual[play] = usual[play];
}

/*
 * Bursts of one kind, by length. Those that were held worked together as long as so many others do, in the
 * mean of these without the longest quarter (earliest) or the shortest (latest), but no longer than they did:
 * what they took more is what being held cost. If there are enough of both, the others are alike, and those
 * that were held took longer. All are shortened by the same part, for which of them would have been the
 * longer ones nobody knows.
 */
static void judge_kind(const struct replay *r, const struct thread *t, const struct burst *burst, size_t nr,
                       uint64_t *others)
{
    size_t n = 0;
    uint64_t held = 0, nr_held = 0, usual[NR_PLAYS];
    for (size_t i = 0; i < nr; i++)
        if (burst[i].is_held) {
            held += burst[i].ran;
            nr_held++;
        } else {
            others[n++] = burst[i].ran;
        }
    if (n < USUAL_LEAST || nr_held < USUAL_LEAST)
        return;
    const uint64_t mean[NR_PLAYS] = { mean_of(others, n - n / 4), mean_of(others + n / 4, n - n / 4) };
    if (!are_alike(mean[EARLIEST], mean[LATEST]) || held <= nr_held * mean[EARLIEST])
        return;
    for (enum play play = EARLIEST; play < NR_PLAYS; play++)
        usual[play] = vt_scale_of(vt_min(nr_held * mean[play], held), held);
    for (size_t i = 0; i < nr; i++)
        if (burst[i].is_held)
            set_usual(r, t, &burst[i], usual);
}

/* The benchmark's thread, or one that works for it; interrupts and what comes by time is of any length. */
static bool works_for_it(const struct replay *r, const struct thread *t)
{
    for (size_t i = 0; i < t->nr; i++) {
        const enum driver driver = nth_step(r, t, i)->driver;
        if (driver != BY_BENCHMARK && driver != BY_ITS_WAKING)
            return false;
    }
    return true;
}

static int find_usual_bursts(struct replay *r)
{
    struct burst *burst = calloc(r->nr_step, sizeof(*burst));
    uint64_t *others = calloc(r->nr_step, sizeof(*others));
    const bool has_room = burst && others;
    for (size_t i = 0; i < r->nr_thread && has_room; i++) {
        const struct thread *t = &r->thread[i];
        const size_t nr = works_for_it(r, t) ? find_bursts(r, t, burst) : 0;
        if (nr)
            qsort(burst, nr, sizeof(*burst), by_ran);
        for (size_t at = 0, n; at < nr; at += n) {
            n = of_one_kind(burst + at, nr - at);
            judge_kind(r, t, burst + at, n, others);
        }
    }
    free(burst);
    free(others);
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

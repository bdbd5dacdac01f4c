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
 * it really took; what the benchmark woke comes as often, and takes what it took.
 * Interrupts: as large a part (earliest); what they took, but for those that had piled up while
 * the vCPU was held (latest): a tick that is taken as soon as it is due has less to do.
 */
#include <stdlib.h>

#include "correlator/replay.h"
#include "vt/task_pack.h"

/* Who slept so much longer than he would have is cold. */
#define SLEPT_NS UINT64_C(1000000)
/*
 * The vCPU went idle and had to be woken, and what would have been in its caches and the task's is gone.
 * Measured 0.1 to 0.3 ms in the mean of emulated guests (reads of a disk; two threads at a barrier, one of
 * which is starved); at most so much.
 */
#define LONG_SLEEP_NS UINT64_C(500000)
/*
 * A CPU that goes idle alone, and does not where others run, is slower when it wakes: on a virtual host 0.3
 * to 0.7 ms in the mean of emulated guests that sleep for 5 ms, and some 0.03 of those that wait for a disk
 * for 0.3. It is a part of how long it idled, for who chooses how deep a CPU sleeps sees to it that it sleeps
 * for longer than it needs to wake. Others were there if the vCPU waited for its CPU for more than this part
 * of the time; who comes only while it sleeps is not seen.
 */
#define IDLE_WAKE_NS    UINT64_C(750000)
#define IDLE_WAKE_PART  8u
#define IDLE_SHALLOW_NS UINT64_C(100000)
#define RIVALS_PART     20u
/* One that polls is not asleep, but who comes after a long while is slower, too: 0.16 ms were measured on a
 * virtual host, when the guests beside it were busy. */
#define IDLE_POLL_NS      UINT64_C(1000000)
#define IDLE_POLL_COST_NS UINT64_C(200000)
/* Work on cold caches takes so many times as long, at most. */
#define COLD_TIMES 5u
/* Stretches may leave out so much of the vCPUs' time: ends of the window, and tasks too short to be told. */
#define UNTOLD_PARTS 100u
/* The parts that others take of the play depend on its length, which depends on them. */
#define MOST_ROUNDS 24

/* What a step takes in the play of `ns` that its vCPU ran. */
static uint64_t taken(const struct replay *r, const struct step *s, enum play play, uint64_t ns)
{
    switch (s->driver) {
    case BY_TIME:
        return vt_scaled(ns, r->scale[play]);
    case BY_INTERRUPT:
        return play == EARLIEST || s->is_late ? vt_scaled(ns, r->scale[play]) : ns;
    default:
        return ns;
    }
}

static bool had_rivals(const struct replay *r, const struct vcpu_delays *v)
{
    return v && v->waited_ns > (r->window.to.v - r->window.from.v) / RIVALS_PART;
}

/*
 * It slept beside rivals, who had its CPU: it begins on caches that are theirs. Where idle CPUs may sleep,
 * which makes it late alone, too, nothing was seen to be missing.
 */
static uint64_t cold_start(const struct replay *r, const struct step *s)
{
    const bool slept =
        s->is_own && s->wake != VTG_WAKE_NONE && s->on_thread != NONE && s->ready > r->step[s->on_thread].to;
    return slept && r->c->host.stays_awake && had_rivals(r, s->delays) ? VT_COLD_NS : 0;
}

/* What it takes less, at most, where it is not cold. */
static uint64_t cold_cost(const struct replay *r, const struct step *s, uint64_t at, uint64_t takes)
{
    uint64_t cost = cold_start(r, s);
    if (!s->usual[EARLIEST])
        cost = (s->is_cold ? r->resume_ns + LONG_SLEEP_NS : cost) +
               vt_holds_in(s->delays, s->from, at) * r->resume_ns;
    return vt_min(takes - takes / COLD_TIMES, cost);
}

/* When the step is where it was at `at`. */
static uint64_t played(const struct replay *r, const struct step *s, enum play play, uint64_t at)
{
    at = vt_max(at, s->from);
    const uint64_t ran = at - s->from - vt_delay_in(s->delays, s->from, at);
    const uint64_t spun = play == EARLIEST ? vt_spun_until(s, at) : 0,
                   left_out = vt_outer_steal_in(s->delays, play, s->from, at) + spun;
    uint64_t takes = taken(r, s, play, ran - vt_min(ran, left_out));
    if (s->usual[play])
        takes = vt_scaled(takes, s->usual[play]);
    return s->begin[play] + takes - (play == EARLIEST ? cold_cost(r, s, at, takes) : 0);
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
    const uint64_t late =
        play == EARLIEST ? 0 : vt_min(s->late - vt_late_by_host(s), r->usual.late) + WAKE_NS;
    const bool relative = s->wake == VTG_WAKE_RELATIVE || (s->wake != VTG_WAKE_ABSOLUTE && play == EARLIEST);
    return late + (relative ? end_played + (due - end) : vt_max(end_played, due));
}

/* It slept from `end` on (played: `end_played`), and was woken by no task. */
static uint64_t woken(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                      uint64_t end_played)
{
    const uint64_t ready = vt_max(s->ready, end), all = vt_delay_of_any(r, end, ready);
    if (s->late != NOT_KNOWN)
        return woken_by_timer(r, s, play, end, end_played, ready);
    switch ((enum vtg_wake)s->wake) {
    case VTG_WAKE_RELATIVE:
    case VTG_WAKE_DEVICE:
    case VTG_WAKE_TASK: /* of another's, as a kernel thread that had waited for a device */
        return end_played + vt_device_wait(r, s, play, end, ready);
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
    const size_t j = vt_waker_of(r, s);

    if (!s->is_own)
        return r->window.from.v;
    if (s->wake == VTG_WAKE_NONE || (before && s->ready <= end)) /* it did not sleep */
        return end_played;
    if (j != NONE && r->step[j].is_own && s->ready >= r->window.from.v &&
        r->step[j].to + TAIL_SLACK_NS >= s->ready)
        return vt_max(end_played, played(r, &r->step[j], play, vt_min(s->ready, r->step[j].to)));
    return woken(r, s, play, end, end_played);
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
 * It was woken by a timer or a device, and played from `begin` on: for how long had its CPU been idle, where
 * rivals kept it awake in truth?
 */
static uint64_t idle_before(const struct replay *r, const struct step *s, uint64_t begin)
{
    uint64_t since;
    if (!had_rivals(r, s->delays) || (!vt_is_device_wait(r, s, &since) && !vt_is_timer_wait(s)))
        return 0;
    return begin - vt_min(begin, s->delays->worked_until);
}

static uint64_t idle_cost(const struct replay *r, uint64_t idle)
{
    const uint64_t shallow = r->c->host.stays_awake ? IDLE_POLL_NS : IDLE_SHALLOW_NS,
                   most = r->c->host.stays_awake ? IDLE_POLL_COST_NS : IDLE_WAKE_NS;
    return vt_min((idle - vt_min(idle, shallow)) / IDLE_WAKE_PART, most);
}

/* What it once takes to wake, it takes in all rounds: a longer play may not come out shorter. Never later
 * than it was. */
static uint64_t begin_on_idle(const struct replay *r, struct step *s, uint64_t begin)
{
    s->wake_ns = vt_max(s->wake_ns, idle_cost(r, idle_before(r, s, begin)));
    return vt_min(begin + s->wake_ns, s->from);
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
            begin = ready_played(r, s, play) + vt_way_in(r, s, play);
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

/* How long the play takes, whose end mark comes `rest` after the step `end`. */
static uint64_t play_until_it_fits(struct replay *r, enum play play, size_t end, uint64_t rest,
                                   uint64_t *budget)
{
    const uint64_t real = r->window.to.v - r->window.from.v;
    uint64_t length = play == EARLIEST ? 0 : real; /* each round is a bound from that side */
    for (int i = 0; i < MOST_ROUNDS && *budget; i++) {
        vt_spend(budget, r->nr_step);
        r->scale[play] = vt_scale_of(length, real);
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
    int e = vt_replay_find_delays(r, budget);
    if (!e)
        e = vt_replay_link_steps(r);
    if (!e)
        e = vt_replay_find_stalls(r, budget);
    const size_t end = e ? NONE : vt_replay_last_step(r, end_cpu);
    if (end == NONE)
        return e;
    const uint64_t rest = r->window.to.v - r->step[end].to;
    for (size_t i = 0; i < r->nr_step; i++) /* who sets the marks waits for the benchmark's end */
        r->step[i].is_own |= r->step[i].thread == r->step[end].thread;
    vt_replay_judge_steps(r, budget);
    e = vt_replay_find_usual(r, &ret->waits_ns);
    if (e)
        return e;
    ret->low_ns = play_until_it_fits(r, EARLIEST, end, rest, budget);
    ret->high_ns = play_until_it_fits(r, LATEST, end, rest, budget);
    ret->known = *budget && ret->low_ns <= ret->high_ns;
    return 0;
}

static const char too_much[] = "more was told of its tasks than is looked at";

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
    ret->why_not = *budget ? unplayable(b) : too_much;
    if (ret->why_not || c->host.ledger_only)
        return 0;
    int e = vt_replay_find_steps(&r, budget, &whole);
    if (!e && whole && r.nr_step)
        e = play_again(&r, b->vcpu_index, budget, ret);
    if (!*budget)
        ret->why_not = too_much;
    else if (!whole)
        ret->why_not = "not all that its tasks did was told";
    else if (ret->low_ns > ret->high_ns)
        ret->why_not = "what is known of its tasks contradicts itself";
    else if (!ret->known)
        ret->why_not = "its tasks at the end mark were not told";
    /* a stranger is not in the play: in who waited for it is its time, but not in who came after it */
    ret->high_ns = vt_min(ret->high_ns + b->strangers_ns, b->elapsed.ns);
    for (size_t i = 0; i < r.nr_vcpu; i++) {
        free(r.vcpu[i].delay);
        free(r.vcpu[i].sleep);
    }
    free(r.vcpu);
    free(r.any.delay);
    free(r.helpers.delay);
    free(r.step);
    free(r.thread);
    free(r.order);
    return e;
}

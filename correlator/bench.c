/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks: what the guest believed between two of its marks, what was true
 * on the host's clock, and what it would have taken undisturbed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/state.h"
#include "correlator/agentclocks.h"
#include "correlator/guestclock.h"
#include "correlator/internal.h"

/* Of one VM in one snapshot, the newest: a guest may send marks without end. */
#define MAX_BENCHMARKS 1024u
#define MAX_CLOCKS     512u
#define MAX_LOOKS      (UINT64_C(1) << 26) /* at what an agent told of tasks, for all benchmarks together */
#define MAX_EXITS      4096u               /* of one vCPU, to learn what an exit costs */

/*
 * What being held costs beyond the wait itself; assumptions, printed.
 *
 * To be held is an exit to the host and an entry from it that would not have
 * been, or longer ones than would have been (the host's own tick that ended the
 * slice is due anyway); caches and translations are cold after it.  And a held
 * guest takes more timer ticks than it would have taken alone: one is pending at
 * each resumption, an exit of its own.
 *
 * How long an exit takes here, there and back, is known from the guest's own
 * records: twice the way from its reading of the TSC to the monitor's serving of
 * the record (the lowest tenth of them: an exit that nothing disturbed).
 */
#define TICK_LEAST     6u /* an extra tick, in eighths of an exit */
#define TICK_MOST      10u
#define RESUME_LEAST   5u /* a resumption, in eighths of an exit */
#define RESUME_MOST    11u
#define EXIT_MAX_NS    UINT64_C(80000) /* also where it is not known */
#define COLD_CACHES_NS UINT64_C(10000)

/* /proc/stat counts in units of 1 / USER_HZ: that much may be missing in its growth. */
#define STEAL_UNIT_NS 10000000u

/* clang-format off */
#define ASSUMED_OF_ALL                                            \
    "; this host's own steal, where it is not told of each vCPU, may all have hit it" \
    "; time of unknown state may have been delay"
#define ASSUMED_OF_IDLE                                                           \
    "same frequency and host load; the work itself does not depend on timing"     \
    "; every idle stretch absorbs the delays before it, or none of them"

static const char assumptions[] = ASSUMED_OF_IDLE
    "; each timer tick taken beyond those due undisturbed cost 0.75 to 1.25 exits to the host, each resumption "
    "0.6 to 1.4, and up to 10 us for cold caches" ASSUMED_OF_ALL;

static const char assumptions_emulated[] = ASSUMED_OF_IDLE
    "; to be held cost as long as it lasted, 0.2 ms at most, and a sleep 0.2 ms, in cold caches, and 0.1 ms for "
    "each timer tick, 1000 a second at most, that was due meanwhile" ASSUMED_OF_ALL;

static const char assumptions_apart[] = ASSUMED_OF_IDLE
    "; the guest's kernel, a process of its own, used its time for ticks and the like, which take the same part "
    "of the time whatever that is, and for the work what the guest charged it as system time, or nothing; "
    "programs that were there before did the like, or worked for it"
    "; each resumption cost up to 10 us for cold caches" ASSUMED_OF_ALL;

/* idle: what an idle CPU costs; latest: which waits for a device are left out of the mean. */
#define ASSUMED_OF_PLAY(idle, latest) \
    "same frequency and host load; the guest's tasks run in the same order on the same vCPUs and are woken by " \
    "the same tasks, timers and devices, each after the same work; what timers and devices woke beside them, " \
    "and interrupts, take the same part of the time; bursts of work, from one sleep of a thread to the next, in " \
    "which or before which something was held worked as long as the thread's others of that length, if there are " \
    "8 of both and the others are alike, in the mean without their longest or their shortest quarter; else each " \
    "hold cost up to 2.6 exits of at most 80 us and 50 us for cold caches, each sleep too long 0.5 ms more; " idle \
    "; timers go off as late as the best quarter did, or twice; a device was as quick when the vCPU, or a thread of " \
    "the monitor, was kept from it as in the mean of the other waits without " latest ", unless it took 8 times as " \
    "long, latest no quicker than what was not held of it, and of 8 or more in the mean; a vCPU that slept amid its " \
    "guest's work until just after the hold of another thread of the monitor waited for that one; who ran on until " \
    "just after another vCPU's hold waited for that one, or worked; to wake an idle vCPU takes up to " \
    "0.2 ms" ASSUMED_OF_ALL

static const char assumptions_played[] =
    ASSUMED_OF_PLAY("to wake a CPU that nobody else kept awake costs, alone, up to an eighth of the time it idled, "
                    "0.75 ms at most", "their longest or their shortest quarter");

static const char assumptions_awake[] =
    ASSUMED_OF_PLAY("idle CPUs of this host do not sleep: one that was idle for more than 1 ms costs, alone, up to an "
                    "eighth of what is beyond that, 0.2 ms at most; and where a vCPU had rivals each burst after a sleep "
                    "cost up to 50 us for cold caches", "their longest quarter or with all");
/* clang-format on */

/* Of an exit to the host, there and back. */
struct exit_cost {
    bool worked_out;
    uint64_t least_ns, most_ns;
};

struct bench_pass {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    const struct vt_clockmap *map;
    const struct vt_machine_clock *whole;
    struct vt_vcpu_clock *clocks;
    size_t nr_clocks, room_clocks;
    struct exit_cost *exits; /* by clock */
    struct vt_window window;
    uint64_t looks_left;
    bool bare;
    struct vt_marks marks; /* that are part of no benchmark */
};

/* ---- believed ---- */

static uint64_t scaled(uint64_t a, uint64_t b)
{
    unsigned __int128 v = (unsigned __int128)a * b;
    return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* A clock that went backwards is not had. */
static uint64_t growth(uint64_t from, uint64_t to, uint32_t bit, uint32_t *have)
{
    if (!(*have & bit))
        return 0;
    if (to < from) {
        *have &= ~bit;
        return 0;
    }
    return to - from;
}

static void believe(struct vt_belief *b, const struct vt_vcpu_clock *clock, const struct vtg_clocks *from,
                    const struct vtg_clocks *to, uint64_t true_ns)
{
    *b = (struct vt_belief){ .have = from->have & to->have };
    uint64_t ticks = growth(from->tsc_after, to->tsc_before, VTG_HAVE_TSC, &b->have);
    if (b->have & VTG_HAVE_TSC && !vt_vcpu_clock_length_ns(clock, from, ticks, &b->tsc_ns))
        b->have &= ~(uint32_t)VTG_HAVE_TSC;
    b->kvmclock_ns = growth(from->kvmclock_ns, to->kvmclock_ns, VTG_HAVE_KVMCLOCK, &b->have);
    b->steal_ns = growth(from->steal_ns, to->steal_ns, VTG_HAVE_STEAL, &b->have);
    b->ticks = growth(from->ticks, to->ticks, VTG_HAVE_TICKS, &b->have);
    b->charged_ns = growth(from->charged_ns, to->charged_ns, VTG_HAVE_CHARGED, &b->have);
    b->monotonic_ns = growth(from->monotonic_ns, to->monotonic_ns, VTG_HAVE_MONOTONIC, &b->have);
    b->cputime_ns = growth(from->cputime_ns, to->cputime_ns, VTG_HAVE_CPUTIME, &b->have);
    if (b->have & VTG_HAVE_TICKS) {
        b->tick_clock_ns = scaled(b->ticks, to->tick_ns);
        b->ticks_expected = to->tick_ns ? true_ns / to->tick_ns : 0;
    }
}

/* ---- undilated ---- */

/* Stretches of delay of the vCPUs with demand, as edges: +1 begins, -1 ends. */
struct edge {
    uint64_t at;
    int step;
};

struct delays {
    struct edge *edge;
    size_t nr_edge, room_edge;
    uint64_t sum;              /* all delay */
    uint64_t since_idle;       /* of it after the last idle stretch */
    uint64_t outer_since_idle; /* this host's own steal, at least */
    uint64_t cold;             /* what all that may have cost in cold caches (see without_exits()) */
    uint64_t lost;
    const struct vt_machine *m;
    host_ns begin;         /* of the benchmark */
    uint64_t guest_kernel; /* on a CPU, of a guest whose kernel is a process of its own */
    uint64_t begun;        /* the same of its programs that began since */
    int error;
};

/*
 * Who is away for so long finds its caches cold.  What others can drive out of a cache in some time
 * takes no longer to be had again; and a second-level cache of 1 to 2 MB is filled in 0.2 ms, at
 * 10 GB/s (0.21 ms were measured for each hold of milliseconds, in emulated guests).
 */
#define COLD_MOST_NS UINT64_C(200000)

static void put_delay(struct delays *d, uint64_t from, uint64_t to)
{
    d->cold += vt_min(to - from, COLD_MOST_NS);
    const struct edge both[2] = { { from, 1 }, { to, -1 } };
    for (unsigned int i = 0; i < 2 && !d->error; i++) {
        d->error = vt_grow((void **)&d->edge, &d->room_edge, d->nr_edge, sizeof(*d->edge));
        if (!d->error)
            d->edge[d->nr_edge++] = both[i];
    }
    d->sum += to - from;
    d->since_idle += to - from;
}

static void delay_piece(void *context, const struct vt_piece *p)
{
    struct delays *d = context;
    if (p->on_cpu) {
        if (p->split[VT_ON_POLL])
            d->since_idle = d->outer_since_idle = 0;
        else
            d->outer_since_idle += p->outer.least;
        d->lost += p->split[VT_ON_LOST];
        if (p->life && vt_is_guest_kernel(d->m, p->life))
            d->guest_kernel += p->split[VT_ON_RUN];
        else if (p->life && p->life->row.start_time.v >= d->begin.v)
            d->begun += p->split[VT_ON_RUN];
        return;
    }
    switch (vt_states[p->state].class) {
    case VT_CLASS_STOLEN:
    case VT_CLASS_STALLED:
    case VT_CLASS_PAUSED:
        put_delay(d, p->from, p->to);
        break;
    case VT_CLASS_IDLE:
        d->since_idle = d->outer_since_idle = 0;
        d->cold += COLD_MOST_NS; /* longer than alone, and others ran meanwhile */
        break;
    case VT_CLASS_UNKNOWN:
        d->lost += p->to - p->from;
        break;
    default:
        break;
    }
}

static int by_time(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->step - y->step; /* ends first: neighbours do not overlap */
}

/* Time in which any, and in which all of n vCPUs were delayed. */
static void overlap(struct delays *d, int n, uint64_t *ret_any, uint64_t *ret_all)
{
    int depth = 0;
    uint64_t any = 0, all = 0;
    if (d->nr_edge)
        qsort(d->edge, d->nr_edge, sizeof(*d->edge), by_time);
    for (size_t i = 0; i < d->nr_edge; i++) {
        uint64_t step = i ? d->edge[i].at - d->edge[i - 1].at : 0;
        if (depth > 0)
            any += step;
        if (depth == n)
            all += step;
        depth += d->edge[i].step;
    }
    *ret_any = any;
    *ret_all = all;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/*
 * At most this much of the host's own steal fell into the window.  A kernel
 * accounts it at its next tick; where it was not seen to, it may be missing.
 */
static uint64_t outer_steal(const struct vt_correlator *c, struct vt_window w)
{
    uint64_t before = 0, after = 0, missing = c->host.tick_ns;
    for (size_t i = 0; i < c->nr_observers; i++) {
        const struct vt_observer *o = &c->observers[i];
        if (o->at.v <= w.from.v)
            before = o->host_steal_ns;
        after = o->host_steal_ns;
        if (o->at.v >= w.to.v + c->host.tick_ns) {
            missing = 0;
            break;
        }
    }
    return less(after, before) + (c->host.hypervisor[0] && c->nr_observers ? missing + STEAL_UNIT_NS : 0);
}

/*
 * How much of it fell on the vCPUs, by `all` where it is told of each, and how much of that made the window
 * longer for certain.
 */
static struct vt_outer_range outer_range(const struct vt_correlator *c, struct vt_window w,
                                         const struct vt_sums *all, uint64_t since_idle)
{
    if (c->host.tells_outer_steal)
        return (struct vt_outer_range){ since_idle, all->outer.most };
    return (struct vt_outer_range){ 0, vt_min(outer_steal(c, w), all->on_cpu_ns) };
}

/* What fell on other CPUs may have kept who serves an idle guest, or a CPU that was to wake up. */
static uint64_t outer_elsewhere(const struct vt_correlator *c, const struct vt_benchmark *b,
                                const struct vt_sums *all)
{
    if (!c->host.tells_outer_steal)
        return 0;
    return vt_min(less(outer_steal(c, b->window), all->outer.least), b->truth.idle.ns + b->truth.stalled.ns);
}

/* What the guest's CPU time holds that it would not have used undisturbed: between the two. */
struct excess {
    uint64_t least, most;
    uint64_t resume_ns;          /* of `most`: what each resumption cost */
    uint64_t other;              /* of `most`: what was no resumption's doing */
    struct vt_outer_range outer; /* not in them: this host's own steal */
    uint64_t delay;              /* that is not in it: of all vCPUs */
    uint64_t helpers_waited;     /* for a CPU, all together */
};

static void undilate(struct vt_undilated *u, const struct vt_figure *elapsed, uint64_t most, uint64_t least,
                     struct excess x)
{
    u->known = true;
    u->assumptions = assumptions;
    u->low_ns = less(less(elapsed->ns, most), x.most + x.outer.most + elapsed->bound_ns);
    u->high_ns = less(elapsed->ns, least + x.least + x.outer.least) + elapsed->bound_ns;
}

/* ---- true ---- */

/* Is this life one of those whose time the benchmark's truth is? */
static bool takes_part(const struct bench_pass *p, const struct vt_life *life, const struct vt_benchmark *b,
                       bool by_demand, struct vt_sums *sums)
{
    if (!vt_is_vcpu_of(p->c, p->m, life))
        return false;
    *sums = (struct vt_sums){ .window_ns = b->elapsed.ns };
    vt_walk(p->c, life, b->window, vt_sums_add_piece, sums, NULL);
    return by_demand ? vt_sums_has_demand(sums, b->elapsed.ns) : life->row.index == b->vcpu_index;
}

static const struct vt_vcpu_clock *clock_of(const struct bench_pass *p, uint32_t index)
{
    for (size_t i = 0; i < p->nr_clocks; i++)
        if (p->clocks[i].index == index)
            return &p->clocks[i];
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool tells_exit(const struct bench_pass *p, const struct vt_sample *s, uint32_t index)
{
    return s->clocks.vcpu == index && s->host_tsc.v && s->host.v >= p->window.from.v &&
           s->host.v <= p->window.to.v;
}

static int measure_exits(const struct bench_pass *p, const struct vt_vcpu_clock *clock, struct exit_cost *ret)
{
    size_t total = 0, seen = 0, n = 0;
    for (size_t i = 0; i < p->m->nr_samples; i++)
        total += tells_exit(p, &p->m->samples[i], clock->index);
    const size_t every = total / MAX_EXITS + 1;
    uint64_t *delay = calloc(total / every + 1, sizeof(*delay));
    if (!delay)
        return -ENOMEM;
    for (size_t i = 0; i < p->m->nr_samples; i++) {
        const struct vt_sample *s = &p->m->samples[i];
        const guest_tsc read = { s->clocks.tsc_after };
        host_ns at;
        uint64_t bound;
        if (!tells_exit(p, s, clock->index) || seen++ % every ||
            vt_vcpu_clock_to_ns(clock, read, s->host, &at, &bound))
            continue;
        delay[n++] = less(s->host.v, at.v);
    }
    qsort(delay, n, sizeof(*delay), by_value);
    *ret = (struct exit_cost){ .worked_out = true, .most_ns = EXIT_MAX_NS };
    if (n)
        ret->least_ns = ret->most_ns = vt_min(2 * delay[n / 10], EXIT_MAX_NS);
    free(delay);
    return 0;
}

/* Once for each vCPU, however many benchmarks the guest says it ran. */
static int exit_cost(const struct bench_pass *p, const struct vt_benchmark *b, struct exit_cost *ret)
{
    const struct vt_vcpu_clock *clock = clock_of(p, b->vcpu_index);
    struct exit_cost *known = &p->exits[clock - p->clocks];
    if (p->m->row.kind != VT_VM_KVM) { /* there are none: the host switches threads */
        *ret = (struct exit_cost){ .worked_out = true };
        return 0;
    }
    int r = known->worked_out ? 0 : measure_exits(p, clock, known);
    *ret = *known;
    return r;
}

/*
 * Ticks beyond those due in the time it would have taken alone: at most one a
 * resumption, for a guest that counts them; else that many are possible.
 */
static struct excess held_excess(const struct vt_benchmark *b, uint64_t delay_ns, uint64_t resumptions,
                                 const struct exit_cost *exit)
{
    uint64_t least = 0, most = resumptions;
    if (b->believed.have & VTG_HAVE_TICKS && b->believed.ticks_expected && b->elapsed.ns) {
        uint64_t due = (uint64_t)((unsigned __int128)b->believed.ticks_expected *
                                  less(b->elapsed.ns, delay_ns) / b->elapsed.ns);
        least = most = vt_min(less(b->believed.ticks, due), resumptions);
    }
    return (struct excess){
        .least = (least * TICK_LEAST + resumptions * RESUME_LEAST) * exit->least_ns / 8,
        .most =
            (most * TICK_MOST + resumptions * RESUME_MOST) * exit->most_ns / 8 + resumptions * COLD_CACHES_NS,
        .resume_ns = (TICK_MOST + RESUME_MOST) * exit->most_ns / 8 + VT_COLD_NS,
    };
}

/*
 * A thread that is no KVM vCPU makes no exits: it is taken off its CPU, and put back.  (Not of User
 * Mode Linux, whose kernel's time is known apart: see undilate_kernel().)  What that
 * costs is cold caches, and the ticks that were due meanwhile: one for each resumption, of a Linux
 * guest 1000 a second at most (CONFIG_HZ), each 20 to 100 us of QEMU's emulation (measured).
 */
#define GUEST_TICK_LEAST_NS UINT64_C(1000000)
#define EMULATED_TICK_NS    UINT64_C(100000)

static bool has_no_exits(const struct vt_machine *m)
{
    return m->row.kind != VT_VM_KVM && m->row.kind != VT_VM_UML && m->has_hello &&
           m->hello.kind == VTG_KIND_LINUX;
}

static uint64_t without_exits(const struct delays *d, int vcpus, uint64_t resumptions)
{
    const uint64_t ticks = vt_min(d->sum / GUEST_TICK_LEAST_NS + (uint64_t)vcpus, resumptions);
    return d->cold + ticks * EMULATED_TICK_NS;
}

static int account_true(const struct bench_pass *p, struct vt_benchmark *b, uint64_t edge_ns,
                        struct excess *ret_excess)
{
    struct vt_sums all = { 0 }, sums;
    struct delays d = { .m = p->m, .begin = { less(b->window.from.v, edge_ns) } };
    uint64_t any = 0, every = 0;
    int n = 0;
    size_t from, to;
    vt_lives_around(p->c, p->m, &from, &to);
    for (int by_demand = 1; by_demand >= 0 && n == 0; by_demand--) {
        for (size_t i = from; i < to; i++) {
            const struct vt_life *life = &p->c->lives[i];
            if (!takes_part(p, life, b, by_demand, &sums))
                continue;
            vt_sums_blur_edge(&sums, p->c, life, b->window.from, edge_ns);
            vt_sums_blur_edge(&sums, p->c, life, b->window.to, edge_ns);
            vt_sums_add(&all, &sums);
            d.since_idle = d.outer_since_idle = 0;
            vt_walk(p->c, life, b->window, delay_piece, &d, NULL);
            n++;
        }
    }
    vt_account_fill(&b->truth, &all, b->elapsed.ns, &p->c->host,
                    b->elapsed.accuracy == VT_ESTIMATED || vt_is_pro_rated(&p->c->host, b->window));
    b->residual_ns = vt_sums_residual(&all);
    overlap(&d, n, &any, &every);
    free(d.edge);
    struct exit_cost exit;
    if (!d.error)
        d.error = exit_cost(p, b, &exit);
    if (d.error || n == 0)
        return d.error;
    if (p->c->host.ledger_only) {
        b->undilated.assumptions = "recorded without slices: when it was held is not known";
        return 0;
    }
    struct excess x = held_excess(b, d.sum, all.resumptions, &exit);
    if (has_no_exits(p->m))
        x.most = without_exits(&d, n, all.resumptions);
    x.outer = outer_range(p->c, b->window, &all, d.outer_since_idle);
    if (n > 1)
        x.least = x.outer.least = 0; /* several vCPUs may have paid at the same time */
    b->undilated.outer_ns = x.outer.most;
    x.other = d.lost + outer_elsewhere(p->c, b, &all);
    /* what the monitor's threads waited may have kept an idle guest waiting for a device */
    x.helpers_waited = vt_helpers_waited(p->c, p->m->row.id, b->window);
    x.most += x.other + vt_min(x.helpers_waited, b->truth.idle.ns);
    undilate(&b->undilated, &b->elapsed, n == 1 ? d.sum : any, n == 1 ? d.since_idle : every, x);
    b->has_guest_kernel = p->m->row.kind == VT_VM_UML;
    b->guest_kernel_ns = d.guest_kernel;
    b->begun = (struct vt_figure){ d.begun, d.lost + b->elapsed.bound_ns, VT_ESTIMATED };
    x.delay = d.sum;
    if (has_no_exits(p->m))
        b->undilated.assumptions = assumptions_emulated;
    *ret_excess = x;
    return 0;
}

/* ---- one benchmark ---- */

static bool is_imported(const struct bench_pass *p, const struct vt_mark *mark)
{
    return vt_is_imported(p->c, mark->sample.host, mark->sample.host_tsc);
}

/*
 * From when to when on the host's clock: by the clock map; for a host process
 * by its own CLOCK_MONOTONIC; else by when the host had the marks, which is an
 * estimate, and not to be had of a file's.
 */
static enum vt_mark_lack place(const struct bench_pass *p, const struct vt_vcpu_clock *clock,
                               const struct vt_mark *begin, const struct vt_mark *end, struct vt_benchmark *b,
                               uint64_t *ret_edge)
{
    const struct vtg_clocks *from = &begin->sample.clocks, *to = &end->sample.clocks;
    const guest_tsc first = { from->tsc_after }, last = { to->tsc_before };
    uint64_t bound[2] = { 0 };
    b->elapsed.accuracy = VT_BOUNDED;
    if (p->bare && from->have & to->have & VTG_HAVE_MONOTONIC) {
        b->window.from.v = from->monotonic_ns;
        b->window.to.v = to->monotonic_ns;
        b->elapsed.accuracy = VT_EXACT;
    } else if (!(from->have & to->have & VTG_HAVE_TSC) ||
               vt_vcpu_clock_to_ns(clock, first, begin->sample.host, &b->window.from, &bound[0]) ||
               vt_vcpu_clock_to_ns(clock, last, end->sample.host, &b->window.to, &bound[1])) {
        if (is_imported(p, begin) || is_imported(p, end))
            return clock->method || clock->by_whole ? VT_MARK_OUTSIDE : VT_MARK_LACKS_CLOCK;
        b->window.from = begin->sample.host;
        b->window.to = end->sample.host;
        b->elapsed.accuracy = VT_ESTIMATED;
    }
    if (b->window.from.v >= b->window.to.v)
        return VT_MARK_BACKWARDS;
    b->elapsed.ns = b->window.to.v - b->window.from.v;
    b->elapsed.bound_ns = bound[0] + bound[1];
    *ret_edge = vt_max(bound[0], bound[1]);
    return VT_MARK_LACKS_NOTHING;
}

/* What the gap workload said last before its next begin mark. */
static void fill_gaps(const struct bench_pass *p, const struct vt_vcpu_clock *clock,
                      const struct vt_mark *begin, const struct vt_mark *end, const struct vt_mark *next,
                      struct vt_benchmark *b)
{
    const struct vt_gap_sum *found = NULL;
    for (size_t i = 0; i < p->m->nr_gaps; i++) {
        const struct vt_gap_sum *g = &p->m->gaps[i];
        if (g->vcpu == b->vcpu_index && g->host.v >= begin->sample.host.v &&
            (!next || g->host.v < next->sample.host.v))
            found = g;
    }
    if (!found)
        return;
    uint64_t sum, threshold;
    const struct vtg_clocks *by = &end->sample.clocks;
    if (!vt_vcpu_clock_length_ns(clock, by, found->sum, &sum) ||
        !vt_vcpu_clock_length_ns(clock, by, found->threshold, &threshold))
        return;
    b->gap_sum_ns = sum;
    b->gap_threshold_ns = threshold;
    b->gap_count = found->count;
}

static const struct vt_mark *next_begin(const struct vt_machine *m, size_t end)
{
    for (size_t i = end + 1; i < m->nr_marks; i++)
        if (m->marks[i].kind == VTG_MARK_BEGIN &&
            m->marks[i].sample.clocks.vcpu == m->marks[end].sample.clocks.vcpu)
            return &m->marks[i];
    return NULL;
}

/* In an operating system: its tasks go from one vCPU to another, and so does the agent. */
static bool is_system(const struct vt_machine *m)
{
    return m->has_hello && m->hello.kind == VTG_KIND_LINUX;
}

/* The BEGIN that this END closes: the newest of its id, and vCPU, since the last such END. */
static const struct vt_mark *begin_of(const struct vt_machine *m, size_t end)
{
    const struct vt_mark *e = &m->marks[end];
    for (size_t i = end; i-- > 0;) {
        const struct vt_mark *mark = &m->marks[i];
        if (mark->id != e->id || (!is_system(m) && mark->sample.clocks.vcpu != e->sample.clocks.vcpu))
            continue;
        return mark->kind == VTG_MARK_BEGIN ? mark : NULL;
    }
    return NULL;
}

/* Any reading of the guest's TSC, by the clock of the CPU on which it was read. */
static int guest_time(const void *context, uint32_t cpu, guest_tsc tsc, host_ns host, host_ns *ret,
                      uint64_t *ret_bound)
{
    const struct bench_pass *p = context;
    const struct vt_vcpu_clock *clock = clock_of(p, cpu);
    return vt_vcpu_clock_to_ns(clock ? clock : &p->clocks[0], tsc, host, ret, ret_bound);
}

/* The same, moved to where the vCPU ran. */
struct fitted_time {
    const struct bench_pass *p;
    struct vt_fit fit;
};

static int fitted_guest_time(const void *context, uint32_t cpu, guest_tsc tsc, host_ns host, host_ns *ret,
                             uint64_t *ret_bound)
{
    const struct fitted_time *f = context;
    int r = guest_time(f->p, cpu, tsc, host, ret, ret_bound);
    if (r || !f->fit.found)
        return r;
    ret->v += (uint64_t)f->fit.shift_ns;
    *ret_bound = vt_min(*ret_bound, f->fit.bound_ns);
    return 0;
}

static bool has_told(const struct vt_benchmark *b)
{
    return b->strangers_ns || (b->nr_processes && b->processes[0].source != VTG_TASKS_NONE);
}

/* Where the marks are then: they moved with all else, if a map placed them. */
static struct vt_window fitted_window(const struct fitted_time *f, const struct vt_benchmark *b)
{
    struct vt_window w = b->window;
    if (f->fit.found && b->elapsed.accuracy != VT_ESTIMATED) {
        w.from.v += (uint64_t)f->fit.shift_ns;
        w.to.v += (uint64_t)f->fit.shift_ns;
    }
    return w;
}

/*
 * The play leaves out more than the delays that nothing absorbed, or it is not believed.  It may leave out
 * more than all of them: what other tasks did, and timers that were late.
 */
static void narrow(struct vt_undilated *u, const struct vt_figure *elapsed, const struct vt_replayed *played,
                   struct excess x, const char *assumed)
{
    /* the play leaves this host's own steal out of who was hit; others may have waited for him */
    const uint64_t others = x.other + x.outer.most + played->waits_ns;
    const uint64_t low = less(played->low_ns, others + elapsed->bound_ns);
    const uint64_t high = vt_min(u->high_ns, less(played->high_ns, x.least) + elapsed->bound_ns);
    if (low > high) {
        u->unplayed = "what its tasks did contradicts when the host held it";
        return;
    }
    u->low_ns = low;
    u->high_ns = high;
    u->played = true;
    u->assumptions = assumed;
}

/* What the window would have taken if `part` of what took `rest` and it took the same part of all time. */
static uint64_t with_part(uint64_t rest, uint64_t part, uint64_t elapsed)
{
    return part < elapsed ? (uint64_t)((unsigned __int128)rest * elapsed / (elapsed - part)) : rest;
}

/* What the kernel did for it is not more than what the guest charged it as system time, with waiting. */
static uint64_t kernel_work(const struct vt_benchmark *b)
{
    return b->run.known ? vt_min(b->guest_kernel_ns, b->run.sys_ns + STEAL_UNIT_NS) : b->guest_kernel_ns;
}

/*
 * The guest's kernel is a process of its own, and what it used is known.  Ticks and all that timers
 * wake come as often in time, held or not, and take the same part of what it would have taken alone:
 * all that the kernel used, and the programs that were there before, an agent of ours among them; or all
 * that the kernel did but not for the benchmark.
 */
static void undilate_kernel(struct vt_benchmark *b, struct excess x)
{
    struct vt_undilated *u = &b->undilated;
    const uint64_t least = x.least + x.outer.least;
    const uint64_t kernel = b->guest_kernel_ns, work = kernel_work(b), used = less(b->elapsed.ns, x.delay);
    const uint64_t before = b->knows_begun ? less(b->truth.used.ns, kernel + b->begun.ns) : 0;
    if (!u->known || kernel + before > used)
        return;
    const uint64_t low = with_part(used - kernel - before, kernel + before, b->elapsed.ns),
                   high = with_part(used - (kernel - work), kernel - work, b->elapsed.ns);
    const uint64_t absorbed = less(u->high_ns, less(b->elapsed.ns + b->elapsed.bound_ns, x.delay + least));
    u->low_ns = less(low, x.most + x.outer.most + b->elapsed.bound_ns);
    u->high_ns = vt_min(u->high_ns, less(high, least) + b->elapsed.bound_ns + absorbed);
    u->assumptions = assumptions_apart;
}

/* What its agent told beyond the marks. */
static int fill_system(struct bench_pass *p, const struct vt_mark *begin, const struct vt_mark *end,
                       struct excess x, struct vt_benchmark *b)
{
    struct vt_replayed replayed;
    struct fitted_time fitted = { .p = p };
    const struct vt_guest_time by_map = { guest_time, p }, time = { fitted_guest_time, &fitted };
    const struct vt_run_row *row =
        vt_task_log_run(&p->m->tasks, end->id, begin->sample.host, end->sample.host);
    b->of_system = true;
    if (row)
        b->run = (struct vt_run_belief){ .known = true,
                                         .repeat = row->run.repeat,
                                         .of = row->run.of,
                                         .status = row->run.status,
                                         .elapsed_ns = row->run.elapsed_ns,
                                         .user_ns = row->run.utime_ns,
                                         .sys_ns = row->run.stime_ns };
    if (b->has_guest_kernel) {
        b->knows_begun = b->run.known && b->elapsed.accuracy != VT_ESTIMATED;
        b->begun.bound_ns += kernel_work(b);
        undilate_kernel(b, x);
    }
    int r = vt_fit_tasks(p->c, p->m, &by_map, b->window, &p->looks_left, &fitted.fit);
    if (!r)
        r = vt_processes_fill(p->c, p->m, &time, end->id, &p->looks_left, b);
    if (!r)
        r = vt_replay(p->c, p->m, &time,
                      &(struct vt_play){ fitted_window(&fitted, b), end->id, x.resume_ns, x.helpers_waited },
                      b, &p->looks_left, &replayed);
    if (!r && (has_told(b) || (p->m->tasks.nr_batch && !p->looks_left))) /* or who told was not looked at */
        b->undilated.unplayed = replayed.why_not;
    if (!r && replayed.known && b->undilated.known)
        narrow(&b->undilated, &b->elapsed, &replayed, x,
               p->c->host.stays_awake ? assumptions_awake : assumptions_played);
    return r;
}

/* 1: filled; 0: not a benchmark, its mark is told alone; or -ENOMEM. */
static int fill_one(struct bench_pass *p, size_t end_index, struct vt_benchmark *b)
{
    const struct vt_mark *end = &p->m->marks[end_index], *begin = begin_of(p->m, end_index);
    uint64_t edge_ns;
    if (!begin)
        return vt_marks_add(&p->marks, end, NULL, VT_MARK_LACKS_BEGIN);
    const struct vt_vcpu_clock *clock = clock_of(p, end->sample.clocks.vcpu);
    if (!clock)
        return vt_marks_add(&p->marks, end, begin, VT_MARK_LACKS_CLOCK);
    *b = (struct vt_benchmark){ .vcpu_index = end->sample.clocks.vcpu, .from_host_process = p->bare };
    const enum vt_mark_lack lack = place(p, clock, begin, end, b, &edge_ns);
    if (lack)
        return vt_marks_add(&p->marks, end, begin, lack);
    vt_name_clean(b->name, sizeof(b->name), begin->name, sizeof(begin->name));
    believe(&b->believed, clock, &begin->sample.clocks, &end->sample.clocks, b->elapsed.ns);
    b->work_done = less(end->sample.clocks.work_done, begin->sample.clocks.work_done);
    fill_gaps(p, clock, begin, end, next_begin(p->m, end_index), b);
    if (p->bare)
        return 1;
    struct excess x = { 0 };
    int r = account_true(p, b, edge_ns, &x);
    if (!r && is_system(p->m))
        r = fill_system(p, begin, end, x, b);
    if (r)
        free(b->processes);
    return r ? r : 1;
}

static int fill_benchmarks(struct bench_pass *p, struct vt_window window, struct vt_guest *g)
{
    size_t room = 0;
    for (size_t i = p->m->nr_marks; i-- > 0;) {
        const struct vt_mark *mark = &p->m->marks[i];
        const host_ns at = vt_mark_time(&p->marks, mark);
        if (mark->kind != VTG_MARK_END || at.v <= window.from.v || at.v > window.to.v)
            continue;
        if (g->nr_benchmarks == MAX_BENCHMARKS) {
            p->marks.left_out++;
            continue;
        }
        int r = vt_grow((void **)&g->benchmarks, &room, g->nr_benchmarks, sizeof(*g->benchmarks));
        if (!r)
            r = fill_one(p, i, &g->benchmarks[g->nr_benchmarks]);
        if (r < 0)
            return r;
        g->nr_benchmarks += (size_t)r;
    }
    for (size_t i = 0; i < g->nr_benchmarks / 2; i++) { /* back into the order of time */
        struct vt_benchmark swap = g->benchmarks[i];
        g->benchmarks[i] = g->benchmarks[g->nr_benchmarks - 1 - i];
        g->benchmarks[g->nr_benchmarks - 1 - i] = swap;
    }
    return 0;
}

/* ---- clocks and perceived time ---- */

static int add_clock(struct bench_pass *p, uint32_t index, struct vt_window window)
{
    if (clock_of(p, index) || p->nr_clocks >= MAX_CLOCKS)
        return 0;
    int r = vt_grow((void **)&p->clocks, &p->room_clocks, p->nr_clocks, sizeof(*p->clocks));
    if (r)
        return r;
    struct vt_vcpu_clock *clock = &p->clocks[p->nr_clocks++];
    *clock = (struct vt_vcpu_clock){
        .c = p->c, .map = p->map, .whole = p->whole, .vm = p->m->row.id, .index = index, .bare = p->bare
    };
    vt_vcpu_clock_choose(clock, p->m, window);
    return 0;
}

static int find_clocks(struct bench_pass *p, struct vt_window window, struct vt_guest *g)
{
    int r = 0;
    for (size_t i = 0; i < p->m->nr_samples && !r; i++)
        r = add_clock(p, p->m->samples[i].clocks.vcpu, window);
    if (r || p->nr_clocks == 0)
        return r;
    g->clocks = calloc(p->nr_clocks, sizeof(*g->clocks));
    if (!g->clocks)
        return -ENOMEM;
    g->nr_clocks = p->nr_clocks;
    p->exits = calloc(p->nr_clocks, sizeof(*p->exits));
    if (!p->exits)
        return -ENOMEM;
    for (size_t i = 0; i < p->nr_clocks; i++)
        g->clocks[i] = p->clocks[i].report;
    return 0;
}

/* First to last record in the window, of the vCPU that spoke first. */
static void perceive(const struct bench_pass *p, struct vt_window window, struct vt_guest *g)
{
    const struct vt_sample *first = NULL, *last = NULL;
    for (size_t i = 0; i < p->m->nr_samples; i++) {
        const struct vt_sample *s = &p->m->samples[i];
        if (s->host.v < window.from.v || s->host.v > window.to.v)
            continue;
        if (!first)
            first = s;
        if (s->clocks.vcpu == first->clocks.vcpu)
            last = s;
    }
    const struct vt_vcpu_clock *clock = first ? clock_of(p, first->clocks.vcpu) : NULL;
    if (!clock || first == last)
        return;
    const guest_tsc from = { first->clocks.tsc_after }, to = { last->clocks.tsc_before };
    host_ns a = first->host, b = last->host;
    uint64_t bound;
    if (vt_vcpu_clock_to_ns(clock, from, first->host, &a, &bound) ||
        vt_vcpu_clock_to_ns(clock, to, last->host, &b, &bound)) {
        a = first->host;
        b = last->host;
    }
    believe(&g->perceived, clock, &first->clocks, &last->clocks, less(b.v, a.v));
}

static const struct vt_vcpu_clock *clock_of_mark(const void *context, uint32_t index)
{
    return clock_of(context, index);
}

int vt_bench_fill(const struct vt_correlator *c, const struct vt_machine *m, struct vt_window window,
                  struct vt_guest *g)
{
    struct vt_clockmap map;
    vt_clockmap_init(&map, &c->host, c->pairs, c->nr_pairs);
    struct bench_pass p = { .c = c, .m = m, .map = &map, .window = window, .looks_left = MAX_LOOKS };
    p.bare = m->has_hello && m->hello.kind == VTG_KIND_BARE && g->nr_vcpus == 0;
    p.marks = (struct vt_marks){ .c = c,
                                 .m = m,
                                 .window = window,
                                 .clock_of = clock_of_mark,
                                 .context = &p,
                                 .bare = p.bare,
                                 .by_vcpu = !is_system(m) };
    struct vt_machine_clock whole;
    p.whole = &whole;
    int r = vt_machine_clock_init(&whole, c, m, &map);
    if (!r)
        r = vt_agent_clocks_fill(&whole, window, &g->agent_clocks);
    if (!r)
        r = find_clocks(&p, window, g);
    if (!r) {
        perceive(&p, window, g);
        r = fill_benchmarks(&p, window, g);
    }
    if (!r)
        r = vt_marks_fill(&p.marks, g);
    free(p.marks.list);
    free(p.clocks);
    free(p.exits);
    vt_machine_clock_release(&whole);
    return r;
}

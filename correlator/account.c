/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sums of states, and the figures that DESIGN.md section 2 makes of them. */
#include "base/state.h"
#include "correlator/internal.h"

/* Demand below both is not worth a ratio. */
#define DEMAND_MIN_NS    UINT64_C(10000000)
#define DEMAND_MIN_PARTS 100u

/* The edges of a repaired slice are known only so well; what one state lost another gained. */
static void blur_recovered(struct vt_sums *s, const struct vt_piece *p)
{
    if (!p->slice || !(p->slice->flags & VT_SLICE_RECOVERED))
        return;
    s->bound[p->state] += VT_RECOVERY_BOUND_NS;
    s->class_bound[vt_states[p->state].class] += VT_RECOVERY_BOUND_NS;
}

void vt_sums_add_piece(void *context, const struct vt_piece *p)
{
    struct vt_sums *s = context;
    blur_recovered(s, p);
    if (!p->on_cpu) {
        s->state[p->state] += p->to - p->from;
        if (p->wake_idle)
            s->wake_idle_ns += p->to - p->from;
        return;
    }
    s->on_cpu_ns += p->to - p->from;
    s->outer.least += p->outer.least;
    s->outer.most += p->outer.most;
    s->resumptions += p->resumed;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        s->state[vt_on_cpu_state[i]] += p->split[i];
        s->bound[vt_on_cpu_state[i]] += p->bound[i];
    }
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        s->class_bound[i] += p->class_bound[i];
}

void vt_sums_add(struct vt_sums *to, const struct vt_sums *from)
{
    to->window_ns += from->window_ns;
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        to->state[i] += from->state[i];
        to->bound[i] += from->bound[i];
    }
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        to->class_bound[i] += from->class_bound[i];
    to->wake_idle_ns += from->wake_idle_ns;
    to->on_cpu_ns += from->on_cpu_ns;
    to->outer.least += from->outer.least;
    to->outer.most += from->outer.most;
    to->resumptions += from->resumptions;
}

int64_t vt_sums_residual(const struct vt_sums *s)
{
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        sum += s->state[i];
    return (int64_t)(s->window_ns - sum);
}

static uint64_t of_class(const struct vt_sums *s, enum vt_class class)
{
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        if (vt_states[i].class == class)
            sum += s->state[i];
    return sum;
}

bool vt_is_demand(enum vt_class class)
{
    return class == VT_CLASS_USED || class == VT_CLASS_OVERHEAD || class == VT_CLASS_STOLEN ||
           class == VT_CLASS_STALLED;
}

uint64_t vt_sums_demand(const struct vt_sums *s)
{
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        if (vt_is_demand(vt_states[i].class))
            sum += s->state[i];
    return sum;
}

bool vt_sums_has_demand(const struct vt_sums *s, uint64_t window_ns)
{
    uint64_t d = vt_sums_demand(s);
    return d >= DEMAND_MIN_NS && d >= window_ns / DEMAND_MIN_PARTS;
}

/*
 * What a missing class of probes does to the states: which can then hold time
 * that belongs to another state.
 */
static const struct {
    uint32_t states;
} blurred_by[VT_NR_PROBE_CLASSES] = {
    [VT_PROBE_WAKEUP] = { 1u << VT_WAKING | 1u << VT_PREEMPTED | 1u << VT_HALTED | 1u << VT_BLOCKED },
    [VT_PROBE_EXIT] = { 1u << VT_ABSENT | 1u << VT_STOPPED | 1u << VT_BLOCKED },
    [VT_PROBE_KVM_RUN] = { 1u << VT_RUN | 1u << VT_VMM | 1u << VT_KVM },
    [VT_PROBE_HALT] = { 1u << VT_RUN | 1u << VT_KVM | 1u << VT_POLL },
    [VT_PROBE_IRQ] = { 1u << VT_IRQ | 1u << VT_RUN | 1u << VT_KVM | 1u << VT_VMM | 1u << VT_POLL },
};

static uint32_t blurred_states(const struct vt_host *host)
{
    uint32_t states = 1u << VT_IDLEQ;
    for (unsigned int i = 0; i < VT_NR_PROBE_CLASSES; i++)
        if (host->probes_off & 1u << i)
            states |= blurred_by[i].states;
    return states;
}

static void lower(struct vt_figure *f, enum vt_accuracy accuracy)
{
    if (f->accuracy < accuracy)
        f->accuracy = accuracy;
}

static void add_state(struct vt_figure *class, const struct vt_figure *state)
{
    class->ns += state->ns;
    if (state->accuracy == VT_ESTIMATED && state->ns)
        lower(class, VT_ESTIMATED);
}

static void bound_class(struct vt_figure *f, uint64_t bound)
{
    f->bound_ns = bound;
    if (bound)
        lower(f, VT_BOUNDED);
}

static struct vt_figure *class_figure(struct vt_account *a, enum vt_class class)
{
    switch (class) {
    case VT_CLASS_USED:
        return &a->used;
    case VT_CLASS_OVERHEAD:
        return &a->overhead;
    case VT_CLASS_STOLEN:
        return &a->stolen;
    case VT_CLASS_STALLED:
        return &a->stalled;
    case VT_CLASS_IDLE:
        return &a->idle;
    case VT_CLASS_PAUSED:
        return &a->paused;
    case VT_CLASS_UNKNOWN:
        return &a->unknown;
    case VT_CLASS_NONE:
    case VT_NR_CLASSES:
        break;
    }
    return NULL;
}

/* top / bottom, with the worst that their bounds allow. */
static struct vt_ratio ratio(uint64_t top, uint64_t top_bound, uint64_t bottom, uint64_t bottom_bound)
{
    struct vt_ratio r = { .known = bottom > bottom_bound };
    if (!r.known)
        return r;
    r.value = (double)top / (double)bottom;
    double low_bottom = (double)(bottom - bottom_bound);
    double high = ((double)top + (double)top_bound) / low_bottom;
    double low = ((double)top - (double)top_bound) / ((double)bottom + (double)bottom_bound);
    r.bound = high - r.value > r.value - low ? high - r.value : r.value - low;
    return r;
}

void vt_account_fill(struct vt_account *a, const struct vt_sums *s, uint64_t window_ns,
                     const struct vt_host *host, bool estimated)
{
    uint32_t blurred = blurred_states(host);
    *a = (struct vt_account){ 0 };
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        struct vt_figure *f = &a->state[i], *class = class_figure(a, vt_states[i].class);
        f->ns = s->state[i];
        f->bound_ns = s->bound[i];
        if (f->bound_ns)
            f->accuracy = VT_BOUNDED;
        if (estimated || blurred & 1u << i)
            f->accuracy = VT_ESTIMATED;
        if (class)
            add_state(class, f);
    }
    /* The throttled flag alone overcounts at the expense of PREEMPTED: both are stolen. */
    if (s->state[VT_THROTTLED]) {
        struct vt_figure *f = &a->state[VT_THROTTLED];
        f->bound_ns = vt_max(f->bound_ns, f->ns);
        lower(f, VT_BOUNDED);
    }
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        if (class_figure(a, (enum vt_class)i))
            bound_class(class_figure(a, (enum vt_class)i), s->class_bound[i]);
    /* KVM's own work is in RUN: the border between the two classes isn't seen */
    if (s->state[VT_RUN]) {
        lower(&a->used, VT_ESTIMATED);
        lower(&a->overhead, VT_ESTIMATED);
    }
    a->outer.ns = s->outer.least + (s->outer.most - s->outer.least) / 2;
    /* the last of it may not be told yet */
    a->outer.bound_ns = s->outer.most - a->outer.ns + (s->on_cpu_ns ? VT_OUTER_NS : 0);
    a->outer.accuracy = VT_BOUNDED;
    if (!vt_sums_has_demand(s, window_ns))
        return;
    uint64_t run = a->used.ns + a->overhead.ns, run_bound = a->used.bound_ns + a->overhead.bound_ns;
    uint64_t all = run + a->stolen.ns + a->stalled.ns;
    uint64_t all_bound = run_bound + a->stolen.bound_ns + a->stalled.bound_ns;
    a->dilation = ratio(all, all_bound, run, run_bound);
    a->contention_dilation = ratio(all - vt_min(s->wake_idle_ns, all), all_bound, run, run_bound);
}

void vt_sums_blur_edge(struct vt_sums *sums, const struct vt_correlator *c, const struct vt_life *life,
                       host_ns edge, uint64_t edge_ns)
{
    struct vt_sums side[2] = { 0 };
    uint64_t before = vt_min(edge.v, edge_ns), after = vt_min(UINT64_MAX - edge.v, edge_ns);
    struct vt_window w[2] = { { { edge.v - before }, edge }, { edge, { edge.v + after } } };
    for (unsigned int i = 0; i < 2; i++)
        vt_walk(c, life, w[i], vt_sums_add_piece, &side[i], NULL);
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        sums->bound[i] += vt_max(side[0].state[i], side[1].state[i]);
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        sums->class_bound[i] +=
            vt_max(of_class(&side[0], (enum vt_class)i), of_class(&side[1], (enum vt_class)i));
}

/* ---- double entry: the kernel's integrals against the slices ---- */

/* Over slices [a->open.seq, b->open.seq), less what a already holds, plus what b already holds. */
static void sum_between(const struct vt_life *life, const struct vt_checkpoint *a,
                        const struct vt_checkpoint *b, int64_t ns[VT_NR_STATES])
{
    uint64_t all[VT_NR_STATES] = { 0 }, had[VT_NR_STATES] = { 0 };
    struct vt_slice s;
    struct vt_slicelog_place place = vt_slicelog_seek(&life->slices, a->open.t_out);
    uint64_t end = a->open.t_out;
    vt_slice_sum(&a->open, a->last.v, had);
    bool more;
    do {
        more = vt_slicelog_next(&place, &s) && s.seq < b->open.seq;
        if (!more)
            s = b->open;
        if (s.seq < a->open.seq)
            continue;
        if (s.t_out > end)
            all[VT_LOST] += s.t_out - end;
        vt_slice_sum(&s, more ? UINT64_MAX : b->last.v, all);
        uint64_t poll = s.tail_poll_ns - (s.seq == a->open.seq ? a->open.tail_poll_ns : 0);
        if (poll) {
            ns[s.tail_state] -= (int64_t)poll;
            ns[VT_POLL] += (int64_t)poll;
        }
        end = s.t_end;
    } while (more);
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        ns[i] += (int64_t)(all[i] - had[i]);
}

/* Without slices, what an interval between checkpoints holds is shared out where a window cuts it. */
bool vt_is_pro_rated(const struct vt_host *host, struct vt_window w)
{
    return host->ledger_only && !(w.from.v <= host->begin.v && host->end.v && w.to.v >= host->end.v);
}

static int64_t ledger_residual(const struct vt_life *life, struct vt_window window)
{
    const struct vt_checkpoint *a = NULL, *b = NULL;
    int64_t ns[VT_NR_STATES] = { 0 }, residual = 0;
    for (size_t i = 0; i < life->nr_checkpoints; i++) {
        const struct vt_checkpoint *cp = &life->checkpoints[i];
        if (cp->last.v < window.from.v || cp->last.v > window.to.v)
            continue;
        if (life->slices.has_last ? cp->open.seq > life->slices.last_seq + 1 : cp != life->checkpoints)
            continue; /* slices up to it have not come yet */
        if (!a)
            a = cp;
        b = cp;
    }
    if (a == b)
        return 0;
    sum_between(life, a, b, ns);
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        int64_t d = ns[i] - (int64_t)(b->ns[i] - a->ns[i]);
        residual += d < 0 ? -d : d;
    }
    return residual;
}

/* ---- one vCPU ---- */

struct vcpu_pass {
    const struct vt_correlator *c;
    struct vt_sums *sums;
    struct vt_vcpu_figures *f;
    bool seen;
    bool follows;          /* on what came before, without a gap: it was on last_cpu */
    struct vt_window stop; /* under way; empty: none */
};

/* It is on this CPU now: a hop, if it was on another before. */
static void arrive(struct vcpu_pass *pass, uint32_t cpu)
{
    struct vt_vcpu_figures *f = pass->f;
    if (!pass->seen)
        f->first_cpu = cpu;
    if (pass->follows && f->last_cpu != cpu)
        f->hops[vt_hop_of(pass->c, (uint32_t)f->last_cpu, cpu)]++;
    f->last_cpu = cpu;
    pass->seen = pass->follows = true;
}

static enum vt_off_cause cause_of(const struct vt_piece *p)
{
    return p->slice && p->slice->off_cause < VT_NR_CAUSES ? (enum vt_off_cause)p->slice->off_cause
                                                          : VT_CAUSE_NONE;
}

static void end_stop(struct vcpu_pass *pass)
{
    struct vt_vcpu_figures *f = pass->f;
    const struct vt_window stop = pass->stop;
    pass->stop = (struct vt_window){ 0 };
    if (pass->c->host.ledger_only || stop.to.v - stop.from.v < VT_STOP_LEAST_NS)
        return;
    if (f->nr_stops < VT_MAX_STOPS)
        f->stops[f->nr_stops++] = stop;
    else
        f->more_stops++;
}

/* A stop that is told in several pieces is one. */
static void note_stop(struct vcpu_pass *pass, const struct vt_piece *p)
{
    struct vt_window *stop = &pass->stop;
    if (!p->on_cpu && p->state == VT_STOPPED) {
        if (stop->to.v != p->from || stop->to.v == stop->from.v)
            stop->from.v = p->from;
        stop->to.v = p->to;
        return;
    }
    end_stop(pass);
}

static void vcpu_piece(void *context, const struct vt_piece *p)
{
    struct vcpu_pass *pass = context;
    vt_sums_add_piece(pass->sums, p);
    pass->f->now = p->state;
    if (!p->on_cpu && p->state == VT_LOST)
        pass->follows = false;
    if (!p->on_cpu && p->state == VT_BLOCKED)
        pass->f->blocked_by[cause_of(p)] += p->to - p->from;
    note_stop(pass, p);
    if (p->on_cpu && p->cpu != VT_NO_CPU)
        arrive(pass, p->cpu);
}

/* schedstat's growth between two readings, and ours over the same stretch. */
static void compare_member(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                           struct vt_vcpu_figures *f)
{
    const struct vt_checkpoint *a = NULL, *b = NULL;
    struct vt_sums sums = { 0 };
    for (size_t i = 0; i < life->nr_checkpoints; i++) {
        const struct vt_checkpoint *cp = &life->checkpoints[i];
        if (!cp->proc_at.v || cp->proc_at.v < window.from.v || cp->proc_at.v > window.to.v)
            continue;
        if (!a)
            a = cp;
        b = cp;
    }
    if (a == b)
        return;
    f->proc_run_ns += b->proc_run_ns - a->proc_run_ns;
    f->proc_run_delay_ns += b->proc_run_delay_ns - a->proc_run_delay_ns;
    struct vt_window w = { a->proc_at, b->proc_at };
    vt_walk_member(c, life, w, vt_sums_add_piece, &sums, NULL);
    f->on_cpu_ns += sums.on_cpu_ns;
    f->run_delay_ns += sums.state[VT_PREEMPTED] + sums.state[VT_WAKING] + sums.state[VT_THROTTLED];
}

static uint64_t desyncs(const struct vt_life *life, struct vt_window window)
{
    const struct vt_checkpoint *a = NULL, *b = NULL;
    uint64_t sum = 0;
    for (size_t i = 0; i < life->nr_checkpoints; i++) {
        if (life->checkpoints[i].at.v <= window.from.v)
            a = &life->checkpoints[i];
        if (life->checkpoints[i].at.v <= window.to.v)
            b = &life->checkpoints[i];
    }
    for (unsigned int i = 0; b && i < VT_NR_DESYNC; i++)
        sum += b->desync[i] - (a ? a->desync[i] : 0);
    return sum;
}

void vt_account_vcpu(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                     struct vt_vcpu_figures *f, struct vt_sums *sums)
{
    struct vt_walk_counts n;
    struct vcpu_pass pass = { .c = c, .sums = sums, .f = f };
    f->vcpu = life->row;
    f->window_ns = sums->window_ns = window.to.v - window.from.v;
    f->now = VT_LOST;
    f->has_hops = !c->host.ledger_only;
    vt_walk(c, life, window, vcpu_piece, &pass, &n);
    end_stop(&pass);
    f->residual_ns = vt_sums_residual(sums);
    vt_account_fill(&f->account, sums, f->window_ns, &c->host, vt_is_pro_rated(&c->host, window));
    f->switches = n.switches;
    f->migrations = n.migrations;
    f->exits = n.exits;
    f->user_exits = n.user_exits;
    f->halts = n.halts;
    f->desync = n.violations;
    /* each thread against its own accounts */
    for (const struct vt_life *l = vt_next_member(c, life, NULL); l; l = vt_next_member(c, life, l)) {
        f->ledger_residual_ns += c->host.ledger_only ? 0 : ledger_residual(l, window);
        f->desync += desyncs(l, window);
        compare_member(c, l, window, f);
    }
    if (!vt_is_composed(c, life))
        vt_counters_fill(c, life, window, &f->counters);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From rows to states.  Time is covered by what slices and checkpoints say,
 * stretch by stretch; where they say nothing or contradict each other it is
 * LOST.  Nothing is made by subtraction from the window.
 */
#include <stdlib.h>
#include <string.h>

#include "base/state.h"
#include "correlator/internal.h"

const enum vt_state vt_on_cpu_state[VT_NR_ON_CPU] = {
    [VT_ON_GUEST] = VT_GUEST, [VT_ON_KVM] = VT_KVM,   [VT_ON_VMM] = VT_VMM, [VT_ON_RUN] = VT_RUN,
    [VT_ON_POLL] = VT_POLL,   [VT_ON_LOST] = VT_LOST, [VT_ON_IRQ] = VT_IRQ,
};

struct walk {
    const struct vt_life *life;
    uint64_t from, to; /* the window */
    struct vt_intervals intervals;
    uint64_t at;                 /* everything before is visited */
    size_t poll;                 /* first poll that may still matter */
    struct vt_poll told_by_open; /* by the slice under way; empty if none */
    vt_piece_visitor *visitor;
    void *context;
    struct vt_walk_counts *counts;
    /* from step to step */
    enum { BEFORE, IN_SLICES, OVER } stage;
    struct vt_slicelog_place place;
    struct vt_slice slice; /* the one that is visited */
};

uint64_t vt_interval_end(const struct vt_intervals *i, uint64_t at, uint64_t to)
{
    if (!i->width)
        return to;
    const uint64_t left = i->width - (at - i->origin) % i->width;
    return to - at > left ? at + left : to;
}

static void visit(struct walk *w, struct vt_piece *p, uint64_t from, uint64_t to)
{
    from = vt_max(from, w->from);
    to = vt_min(to, w->to);
    while (from < to) {
        p->from = from;
        p->to = from = vt_interval_end(&w->intervals, from, to);
        w->visitor(w->context, p);
    }
}

static void visit_state(struct walk *w, enum vt_state state, uint64_t to)
{
    if (to <= w->at)
        return;
    struct vt_piece p = { .state = state, .cpu = VT_NO_CPU };
    visit(w, &p, w->at, to);
    w->at = to;
}

static enum vt_state longest(const uint64_t split[VT_NR_ON_CPU])
{
    unsigned int best = VT_ON_LOST;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        if (split[i] > split[best])
            best = i;
    return vt_on_cpu_state[best];
}

/* ---- the split of a stretch on CPU, cut at edges of windows and intervals ---- */

__extension__ typedef unsigned __int128 wide;

void vt_share(const uint64_t part[], size_t n, uint64_t from, uint64_t to, uint64_t whole, uint64_t ret[])
{
    wide left = 0, a = from, b = to;
    for (size_t i = 0; i < n; i++)
        left += part[i];
    if (left != whole) {
        wide length = (left * (to - from) + (left > whole ? whole - 1 : 0)) / whole;
        a = left * from / whole;
        a = a + length > left ? left - length : a;
        b = a + length;
    }
    for (size_t i = 0; i < n; i++) {
        wide before = part[i] ? a * part[i] / left : 0, upto = part[i] ? b * part[i] / left : 0;
        ret[i] = (uint64_t)(upto - before);
        a -= before;
        b -= upto;
        left -= part[i];
    }
}

/* A stretch on CPU whose split is known only as a whole. */
struct span {
    uint64_t from, to;
    uint64_t split[VT_NR_ON_CPU];
};

/*
 * The share of v that may lie in `part` of `whole` is anything between `low`
 * and `high`; it was taken to be `taken`.
 */
static uint64_t misplaced(uint64_t v, uint64_t part, uint64_t whole, uint64_t taken)
{
    uint64_t rest = whole - part;
    uint64_t low = v > rest ? v - rest : 0, high = vt_min(v, part);
    uint64_t down = taken > low ? taken - low : 0, up = high > taken ? high - taken : 0;
    return vt_max(down, up);
}

static void cut_span(const struct span *s, uint64_t from, uint64_t to, struct vt_piece *p)
{
    uint64_t whole = s->to - s->from, part = to - from, share[VT_NR_ON_CPU];
    uint64_t class_all[VT_NR_CLASSES] = { 0 }, class_cut[VT_NR_CLASSES] = { 0 };
    vt_share(s->split, VT_NR_ON_CPU, from - s->from, to - s->from, whole, share);
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        enum vt_class class = vt_states[vt_on_cpu_state[i]].class;
        p->split[i] += share[i];
        p->bound[i] += misplaced(s->split[i], part, whole, share[i]);
        class_all[class] += s->split[i];
        class_cut[class] += share[i];
    }
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        p->class_bound[i] += misplaced(class_all[i], part, whole, class_cut[i]);
}

static void add_span(const struct span *s, uint64_t from, uint64_t to, struct vt_piece *p)
{
    from = vt_max(from, s->from);
    to = vt_min(to, s->to);
    if (from >= to)
        return;
    if (from > s->from || to < s->to) {
        cut_span(s, from, to, p);
        return;
    }
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        p->split[i] += s->split[i];
}

/* The span up to `to` whose split is `upto`, leaving what comes after in *rest; false if it contradicts. */
static bool split_span(struct span *rest, uint64_t to, const uint64_t upto[VT_NR_ON_CPU], struct span *ret)
{
    uint64_t sum = 0;
    if (to <= rest->from || to >= rest->to)
        return false;
    ret->from = rest->from;
    ret->to = to;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        if (upto[i] > rest->split[i])
            return false;
        sum += ret->split[i] = upto[i];
    }
    if (sum != to - rest->from)
        return false;
    rest->from = to;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        rest->split[i] -= upto[i];
    return true;
}

static size_t first_checkpoint_of(const struct vt_life *life, uint64_t seq)
{
    size_t low = 0, high = life->nr_checkpoints;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (life->checkpoints[middle].open.seq >= seq)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Visits [p->from, to) as far as `known` goes: a piece for each interval that it ends. */
static void visit_known(struct walk *w, const struct span *known, struct vt_piece *p, uint64_t to)
{
    while (p->from < to) {
        p->to = vt_interval_end(&w->intervals, p->from, to);
        add_span(known, p->from, p->to, p);
        if (known->to < p->to)
            return; /* the rest of this piece is in the next */
        p->state = longest(p->split);
        p->outer = vt_outer_in(w->life, p->from, p->to);
        w->visitor(w->context, p);
        *p = (struct vt_piece){ .from = p->to, .on_cpu = true, .cpu = p->cpu, .slice = p->slice };
    }
}

/* A stretch that is cut: checkpoints taken while it was open narrow the place of the split. */
static void visit_cut(struct walk *w, struct span rest, struct vt_piece *p, uint64_t to)
{
    const struct vt_life *life = w->life;
    const struct vt_slice *s = p->slice;
    uint64_t done[VT_NR_ON_CPU] = { 0 };
    for (size_t i = first_checkpoint_of(life, s->seq); i < life->nr_checkpoints; i++) {
        const struct vt_checkpoint *cp = &life->checkpoints[i];
        uint64_t upto[VT_NR_ON_CPU];
        struct span known;
        if (cp->open.seq != s->seq)
            break;
        if (cp->open.t_in != s->t_in || cp->last.v <= rest.from)
            continue;
        for (unsigned int j = 0; j < VT_NR_ON_CPU; j++)
            upto[j] = cp->open.on_cpu[j] - done[j];
        if (!split_span(&rest, cp->last.v, upto, &known))
            continue;
        memcpy(done, cp->open.on_cpu, sizeof(done));
        visit_known(w, &known, p, to);
    }
    visit_known(w, &rest, p, to);
}

/* [w->at, to) on CPU with this split. */
static void visit_on_cpu(struct walk *w, const struct vt_slice *s, const struct span *span)
{
    struct vt_piece p = { .on_cpu = true, .cpu = s->t_in ? s->cpu : VT_NO_CPU, .slice = s };
    const uint64_t to = vt_min(span->to, w->to);
    p.from = vt_max(span->from, w->from);
    w->at = vt_max(w->at, span->to);
    if (p.from >= to)
        return;
    p.resumed = p.from == s->t_in && s->wait_state == VT_PREEMPTED && s->t_wake < s->t_in;
    if (p.from > span->from || vt_interval_end(&w->intervals, p.from, to) < span->to)
        visit_cut(w, *span, &p, to);
    else
        visit_known(w, span, &p, to);
}

/* The first poll that ends after `from`, ahead of the walk. */
static const struct vt_poll *next_poll(struct walk *w, uint64_t from, uint64_t to)
{
    const struct vt_life *life = w->life;
    while (w->poll < life->nr_polls && life->polls[w->poll].to <= from)
        w->poll++;
    const struct vt_poll *p = w->poll < life->nr_polls ? &life->polls[w->poll] : &w->told_by_open;
    return p->from < to && p->to > from ? p : NULL;
}

/* [t_in, end) of a slice; a stretch that turned out to be polling is relabelled in its place. */
static void visit_run(struct walk *w, const struct vt_slice *s, uint64_t end)
{
    struct span all = { .from = s->t_in, .to = end };
    memcpy(all.split, s->on_cpu, sizeof(all.split));
    if (s->t_in == end) { /* no time, but a split would be a contradiction to show */
        struct vt_piece p = { .on_cpu = true, .cpu = s->cpu, .slice = s };
        memcpy(p.split, s->on_cpu, sizeof(p.split));
        p.from = p.to = s->t_in;
        if (s->t_in >= w->from && s->t_in < w->to)
            w->visitor(w->context, &p);
        return;
    }
    const struct vt_poll *poll = next_poll(w, s->t_in, end);
    if (!poll) {
        visit_on_cpu(w, s, &all);
        return;
    }
    struct span polled = { .from = vt_max(poll->from, all.from), .to = vt_min(poll->to, end) };
    uint64_t ns = polled.to - polled.from, moved = vt_min(ns, all.split[poll->was]);
    if (moved < ns && w->counts)
        w->counts->violations++;
    all.split[poll->was] -= moved;
    polled.split[VT_ON_POLL] = ns;
    /* before the poll, the poll, and after it (nothing in a sound recording) */
    struct span after = { .from = polled.to, .to = end };
    all.to = polled.from;
    if (after.from < after.to) { /* one split for two stretches */
        uint64_t whole = all.to - all.from + after.to - after.from;
        struct span both = { .from = 0, .to = whole };
        struct vt_piece p = { 0 };
        memcpy(both.split, all.split, sizeof(both.split));
        add_span(&both, all.to - all.from, whole, &p);
        for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
            after.split[i] = vt_min(p.split[i], all.split[i]);
            all.split[i] -= after.split[i];
        }
    }
    if (all.from < all.to)
        visit_on_cpu(w, s, &all);
    visit_on_cpu(w, s, &polled);
    if (after.from < after.to)
        visit_on_cpu(w, s, &after);
}

/* ---- slices ---- */

/* Where it was given a CPU in the end, or waits still; VT_NO_CPU: not told. */
static uint32_t waits_on(const struct vt_slice *s)
{
    return s->t_in || s->flags & VT_SLICE_WAITS ? s->cpu : VT_NO_CPU;
}

/* [w->at, to) waiting: THROTTLED first. */
static void visit_wait(struct walk *w, const struct vt_slice *s, uint64_t to)
{
    uint64_t throttled = vt_min(s->throttled_ns, to - s->t_wake);
    struct vt_piece p = { .cpu = waits_on(s), .slice = s };
    p.state = VT_THROTTLED;
    visit(w, &p, s->t_wake, s->t_wake + throttled);
    p.state = s->wait_state;
    p.wake_idle = p.state == VT_WAKING && s->flags & VT_SLICE_WAKE_IDLE;
    visit(w, &p, s->t_wake + throttled, to);
    w->at = to;
}

static bool is_sound(const struct vt_slice *s)
{
    return s->t_out <= s->t_wake && s->t_wake <= s->t_in && s->t_in <= s->t_end &&
           s->throttled_ns <= s->t_in - s->t_wake;
}

static void count_slice(struct walk *w, const struct vt_slice *s)
{
    struct vt_walk_counts *n = w->counts;
    if (!n || s->t_end <= w->from || s->t_end > w->to)
        return;
    n->slices++;
    n->switches++;
    n->migrations += s->migrations;
    n->exits += s->exits;
    n->user_exits += s->user_exits;
    n->halts += s->off_state == VT_HALTED && s->t_out < s->t_wake;
}

static void refuse(struct walk *w, uint64_t to)
{
    if (w->counts)
        w->counts->violations++;
    visit_state(w, VT_LOST, to);
}

/* [t_out, t_wake) blocked. */
static void visit_off(struct walk *w, const struct vt_slice *s)
{
    struct vt_piece p = { .state = s->off_state, .cpu = VT_NO_CPU, .slice = s };
    if (s->t_wake <= w->at)
        return;
    visit(w, &p, w->at, s->t_wake);
    w->at = s->t_wake;
}

static void visit_slice(struct walk *w, const struct vt_slice *s)
{
    if (!is_sound(s) || s->t_out < w->at) {
        refuse(w, s->t_end);
        return;
    }
    visit_state(w, VT_LOST, s->t_out);
    visit_off(w, s);
    visit_wait(w, s, s->t_in);
    visit_run(w, s, s->t_end);
    w->at = s->t_end;
    count_slice(w, s);
}

/* ---- after the last slice: the slice under way, as checkpoints saw it ---- */

static void visit_open(struct walk *w, const struct vt_checkpoint *cp)
{
    const struct vt_slice *s = &cp->open;
    uint64_t last = cp->last.v, at = cp->at.v;
    struct vt_slice seen = *s; /* closed at `last`, to be judged like the others */
    seen.t_wake = s->t_wake ? s->t_wake : last;
    seen.t_in = s->t_in ? s->t_in : last;
    seen.t_end = last;
    seen.throttled_ns = vt_min(s->throttled_ns, seen.t_in - seen.t_wake);
    if (!is_sound(&seen) || at < last || s->t_out < w->at) {
        refuse(w, at);
        return;
    }
    visit_state(w, VT_LOST, s->t_out);
    visit_off(w, &seen);
    if (s->t_wake)
        visit_wait(w, s, seen.t_in);
    if (s->t_in)
        visit_run(w, s, last);
    w->at = last;
    if (last == at)
        return;
    for (unsigned int i = 0; s->t_in && i < VT_NR_ON_CPU; i++) {
        if (vt_on_cpu_state[i] != cp->state)
            continue;
        struct span under_way = { .from = last, .to = at };
        under_way.split[i] = at - last;
        visit_on_cpu(w, s, &under_way);
        return;
    }
    struct vt_piece p = { .state = cp->state, .cpu = waits_on(s), .slice = s };
    visit(w, &p, last, at);
    w->at = at;
}

static void visit_tail(struct walk *w)
{
    const struct vt_life *life = w->life;
    const struct vt_slicelog *log = &life->slices;
    if (life->ended) {
        visit_state(w, VT_ABSENT, w->to);
        return;
    }
    if (life->nr_checkpoints == 0) {
        visit_state(w, VT_LOST, w->to);
        return;
    }
    const struct vt_checkpoint *newest = &life->checkpoints[life->nr_checkpoints - 1];
    uint64_t next = log->has_last ? log->last_seq + 1 : newest->open.seq;
    /* slices may be missing before the newest checkpoint: an older one may continue the last slice */
    size_t after = first_checkpoint_of(life, next + 1);
    if (after > 0 && life->checkpoints[after - 1].open.seq == next)
        visit_open(w, &life->checkpoints[after - 1]);
    if (newest->open.seq > next)
        visit_open(w, newest);
    visit_state(w, newest->state == VT_ABSENT ? VT_ABSENT : VT_LOST, w->to);
}

static void seek_poll(struct walk *w, uint64_t from)
{
    size_t low = 0, high = w->life->nr_polls;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->life->polls[middle].to > from)
            high = middle;
        else
            low = middle + 1;
    }
    w->poll = low;
    const struct vt_life *life = w->life;
    const struct vt_checkpoint *newest =
        life->nr_checkpoints ? &life->checkpoints[life->nr_checkpoints - 1] : NULL;
    if (newest && !(life->slices.has_last && newest->open.seq <= life->slices.last_seq))
        vt_poll_of(&newest->open, &w->told_by_open);
}

/* Up to the first slice. */
static void begin(const struct vt_correlator *c, struct walk *w)
{
    w->stage = IN_SLICES;
    visit_state(w, VT_ABSENT, vt_min(w->life->start, w->to));
    if (c->host.probes_off & 1u << VT_PROBE_SWITCH) {
        w->stage = OVER; /* no slices can come: the time stays unexplained */
        return;
    }
    w->place = vt_slicelog_seek(&w->life->slices, w->from);
    w->at = vt_max(w->at, w->place.has_prev ? w->place.latest : w->life->start);
    seek_poll(w, w->from);
}

/* Visits some more pieces; false: that was all. */
static bool step(const struct vt_correlator *c, struct walk *w)
{
    if (w->stage == BEFORE) {
        begin(c, w);
    } else if (w->at < w->to && vt_slicelog_next(&w->place, &w->slice)) {
        visit_slice(w, &w->slice);
    } else {
        w->stage = OVER;
        if (w->at < w->to)
            visit_tail(w);
    }
    return w->stage != OVER;
}

static void walk(const struct vt_correlator *c, struct walk *w)
{
    if (w->counts)
        *w->counts = (struct vt_walk_counts){ 0 };
    if (c->host.ledger_only) {
        const struct vt_window window = { { w->from }, { w->to } };
        vt_walk_ledger(c, w->life, window, w->intervals, w->visitor, w->context, w->counts);
        return;
    }
    while (step(c, w))
        ;
}

static void init(struct walk *w, const struct vt_life *life, struct vt_window window,
                 struct vt_intervals intervals, vt_piece_visitor *visitor, void *context,
                 struct vt_walk_counts *counts)
{
    *w = (struct walk){ .life = life, .from = window.from.v, .to = window.to.v, .intervals = intervals };
    w->visitor = visitor;
    w->context = context;
    w->counts = counts;
}

void vt_walk_member(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                    vt_piece_visitor *visitor, void *context, struct vt_walk_counts *counts)
{
    struct walk w;
    init(&w, life, window, (struct vt_intervals){ 0 }, visitor, context, counts);
    walk(c, &w);
}

void vt_walk(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
             vt_piece_visitor *visitor, void *context, struct vt_walk_counts *counts)
{
    if (vt_is_composed(c, life))
        vt_walk_composed(c, life, window, (struct vt_intervals){ 0 }, visitor, context, counts);
    else
        vt_walk_member(c, life, window, visitor, context, counts);
}

void vt_walk_intervals(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                       struct vt_intervals intervals, vt_piece_visitor *visitor, void *context)
{
    struct walk w;
    if (vt_is_composed(c, life)) {
        vt_walk_composed(c, life, window, intervals, visitor, context, NULL);
        return;
    }
    init(&w, life, window, intervals, visitor, context, NULL);
    walk(c, &w);
}

/* ---- a walk step by step ---- */

struct vt_walker {
    const struct vt_correlator *c;
    struct walk walk;
    struct vt_walk_counts counts;
};

struct vt_walker *vt_walker_new(const struct vt_correlator *c, const struct vt_life *life,
                                struct vt_window window, struct vt_intervals intervals,
                                vt_piece_visitor *visitor, void *context)
{
    struct vt_walker *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->c = c;
    init(&w->walk, life, window, intervals, visitor, context, &w->counts);
    return w;
}

bool vt_walker_step(struct vt_walker *w)
{
    return w->walk.stage != OVER && step(w->c, &w->walk);
}

const struct vt_walk_counts *vt_walker_counts(const struct vt_walker *w)
{
    return &w->counts;
}

void vt_cut_piece(const struct vt_piece *whole, uint64_t from, uint64_t to, struct vt_piece *ret)
{
    struct span s = { .from = whole->from, .to = whole->to };
    *ret = *whole;
    ret->from = from;
    ret->to = to;
    if (!whole->on_cpu || (from == whole->from && to == whole->to))
        return;
    memset(ret->split, 0, sizeof(ret->split));
    memcpy(s.split, whole->split, sizeof(s.split));
    cut_span(&s, from, to, ret); /* to the bounds that there are */
    ret->outer = vt_outer_in(whole->life, from, to);
    ret->state = longest(ret->split);
    ret->resumed = whole->resumed && from == whole->from;
}

void vt_slice_sum(const struct vt_slice *s, uint64_t last, uint64_t ns[VT_NR_STATES])
{
    uint64_t end = vt_min(last, s->flags & VT_SLICE_OPEN ? last : s->t_end);
    uint64_t wake = s->t_wake ? s->t_wake : end, in = s->t_in ? s->t_in : end;
    if (wake < s->t_out || in < wake)
        return;
    uint64_t throttled = vt_min(s->throttled_ns, in - wake);
    ns[s->off_state] += wake - s->t_out;
    ns[VT_THROTTLED] += throttled;
    if (s->t_wake)
        ns[s->wait_state] += in - wake - throttled;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        ns[vt_on_cpu_state[i]] += s->on_cpu[i];
}

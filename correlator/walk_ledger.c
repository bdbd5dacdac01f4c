/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A recording without slices: the kernel's integrals at each checkpoint are all
 * there is.  What a vCPU did between two of them is known in sum, to the
 * nanosecond, but not when: the pieces of an interval come in an order of our
 * own, and an interval that the window cuts gives its share.
 */
#include <string.h>

#include "correlator/internal.h"

struct ledger_walk {
    struct vt_window window;
    struct vt_intervals intervals;
    vt_piece_visitor *visitor;
    void *context;
};

/* Time by state since the life began, and how much of WAKING was on an idle CPU. */
struct integral {
    uint64_t at;
    uint64_t ns[VT_NR_STATES];
    uint64_t wake_idle_ns;
};

static struct integral integral_of(const struct vt_correlator *c, const struct vt_checkpoint *cp)
{
    struct integral i = { .at = cp->at.v, .wake_idle_ns = cp->wake_idle_ns };
    const uint64_t end = c->host.end.v;
    memcpy(i.ns, cp->ns, sizeof(i.ns));
    if (end && i.at > end && cp->last.v <= end) /* it was read right after the end: no edge came in between */
        i.at = end;
    if (i.at > cp->last.v)
        i.ns[cp->state] += i.at - cp->last.v;
    return i;
}

static uint64_t visit_off(const struct ledger_walk *w, uint64_t at, enum vt_state state, bool wake_idle,
                          uint64_t ns)
{
    struct vt_piece p = {
        .from = at, .to = at + ns, .state = state, .cpu = VT_NO_CPU, .wake_idle = wake_idle
    };
    if (ns)
        w->visitor(w->context, &p);
    return at + ns;
}

/* Before the first checkpoint, or after the last. */
static void visit_rest(const struct ledger_walk *w, uint64_t at, enum vt_state state, uint64_t to)
{
    while (at < to)
        at = visit_off(w, at, state, false, vt_interval_end(&w->intervals, at, to) - at);
}

static void visit_on(const struct ledger_walk *w, uint64_t at, const uint64_t by_state[VT_NR_STATES])
{
    struct vt_piece p = { .from = at, .to = at, .on_cpu = true, .state = VT_RUN, .cpu = VT_NO_CPU };
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        if (vt_on_cpu_state[i] == VT_LOST)
            continue; /* not to be told from LOST off the CPU */
        p.split[i] = by_state[vt_on_cpu_state[i]];
        p.to += p.split[i];
    }
    if (p.to > p.from)
        w->visitor(w->context, &p);
}

static bool is_on_cpu(enum vt_state state)
{
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        if (vt_on_cpu_state[i] == state && state != VT_LOST)
            return true;
    return false;
}

enum { WAKE_IDLE = VT_NR_STATES, PARTS };

static void visit_parts(const struct ledger_walk *w, uint64_t at, const uint64_t part[PARTS])
{
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        if (!is_on_cpu((enum vt_state)i))
            at = visit_off(w, at, (enum vt_state)i, false, part[i]);
    at = visit_off(w, at, VT_WAKING, true, part[WAKE_IDLE]);
    visit_on(w, at, part);
}

static void visit_growth(const struct ledger_walk *w, const struct integral *a, const struct integral *b)
{
    const uint64_t to = vt_min(b->at, w->window.to.v);
    uint64_t part[PARTS], share[PARTS], at = vt_max(a->at, w->window.from.v), end;
    const uint64_t fell = a->ns[VT_RUN] > b->ns[VT_RUN] ? a->ns[VT_RUN] - b->ns[VT_RUN] : 0;
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        part[i] = b->ns[i] > a->ns[i] ? b->ns[i] - a->ns[i] : 0; /* else it shows as a residual */
    /* an interrupt was under way in a, and since when it was due came to light after */
    part[VT_IRQ] -= vt_min(part[VT_IRQ], fell);
    part[WAKE_IDLE] = b->wake_idle_ns > a->wake_idle_ns ? b->wake_idle_ns - a->wake_idle_ns : 0;
    part[WAKE_IDLE] = vt_min(part[WAKE_IDLE], part[VT_WAKING]);
    part[VT_WAKING] -= part[WAKE_IDLE];
    for (; at < to; at = end) {
        end = vt_interval_end(&w->intervals, at, to);
        if (end - at < b->at - a->at)
            vt_share(part, PARTS, at - a->at, end - a->at, b->at - a->at, share);
        else
            memcpy(share, part, sizeof(share));
        visit_parts(w, at, share);
    }
}

static void count(struct vt_walk_counts *n, const struct vt_checkpoint *a, const struct vt_checkpoint *b)
{
    n->switches += b->switches - (a ? a->switches : 0);
    n->migrations += b->migrations - (a ? a->migrations : 0);
    n->exits += b->exits - (a ? a->exits : 0);
    n->user_exits += b->user_exits - (a ? a->user_exits : 0);
    n->halts += b->halts - (a ? a->halts : 0);
}

void vt_walk_ledger(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                    struct vt_intervals intervals, vt_piece_visitor *visitor, void *context,
                    struct vt_walk_counts *counts)
{
    const struct ledger_walk w = { window, intervals, visitor, context };
    const struct vt_checkpoint *first = NULL, *last = NULL;
    struct integral before = { .at = life->start };
    visit_rest(&w, window.from.v, VT_ABSENT, vt_min(life->start, window.to.v));
    for (size_t i = 0; i < life->nr_checkpoints; i++) {
        const struct vt_checkpoint *cp = &life->checkpoints[i];
        struct integral now = integral_of(c, cp);
        if (now.at <= before.at)
            continue;
        visit_growth(&w, &before, &now);
        before = now;
        if (now.at <= window.from.v)
            first = cp;
        else if (cp->last.v <= window.to.v)
            last = cp;
    }
    if (counts && last)
        count(counts, first, last);
    visit_rest(&w, vt_max(before.at, window.from.v), vt_life_is_over(life) ? VT_ABSENT : VT_LOST,
               window.to.v);
}

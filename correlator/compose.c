/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU that several threads make up.  User Mode Linux has one vCPU: its kernel
 * is the main process, which runs the guest's programs in processes of their own,
 * one at a time, and traces them.  At every instant the vCPU is in the first state
 * that fits:
 *   on CPU       any of them is (two overlap while one hands over to another)
 *   LOST         of one it is not known
 *   waiting      any is runnable: who waited first
 *   BLOCKED      any sleeps uninterruptibly: it is its turn
 *   STOPPED      the main process is stopped
 *   IDLE?        the main process sleeps
 *   ABSENT       the main process is not there
 * A traced process that is stopped or sleeps is merely not at its turn.
 *
 * The states are swept from the members' pieces, which keep slices, integrals and
 * residuals of their own.
 */
#include <stdlib.h>

#include "base/state.h"
#include "correlator/internal.h"

/* ---- who is a part of what ---- */

static const struct vt_machine *composed_machine(const struct vt_correlator *c, const struct vt_life *life)
{
    const struct vt_machine *m = vt_find_machine(c, life->row.vm);
    return m && m->row.kind == VT_VM_UML ? m : NULL;
}

bool vt_is_composed(const struct vt_correlator *c, const struct vt_life *life)
{
    return composed_machine(c, life) != NULL;
}

static bool is_main(const struct vt_machine *m, const struct vt_life *life)
{
    return life->row.tid == m->row.tgid;
}

bool vt_is_guest_kernel(const struct vt_machine *m, const struct vt_life *member)
{
    return m->row.kind == VT_VM_UML && is_main(m, member);
}

/* The main process, if it is known; else the first of them. */
static const struct vt_life *head_of(const struct vt_correlator *c, const struct vt_machine *m)
{
    const struct vt_life *head = NULL;
    size_t from, to;
    vt_lives_around(c, m, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct vt_life *life = &c->lives[i];
        if (life->row.vm == m->row.id && (!head || is_main(m, life)))
            head = life;
        if (head && is_main(m, head))
            break;
    }
    return head;
}

bool vt_is_vcpu(const struct vt_correlator *c, const struct vt_life *life)
{
    const struct vt_machine *m = composed_machine(c, life);
    return !m || head_of(c, m) == life;
}

bool vt_is_vcpu_of(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_life *life)
{
    return life->row.vm == m->row.id && vt_is_vcpu(c, life);
}

const struct vt_life *vt_next_member(const struct vt_correlator *c, const struct vt_life *life,
                                     const struct vt_life *last)
{
    const struct vt_machine *m = composed_machine(c, life);
    size_t from, to;
    if (!m)
        return last ? NULL : life;
    vt_lives_around(c, m, &from, &to);
    for (size_t i = last ? (size_t)(last - c->lives) + 1 : from; i < to; i++)
        if (c->lives[i].row.vm == m->row.id)
            return &c->lives[i];
    return NULL;
}

/* ---- members ---- */

struct kept {
    struct vt_piece piece;
    struct vt_slice slice; /* whose part it is */
    bool has_slice;
};

struct member {
    const struct vt_life *life;
    bool is_main;
    struct vt_walker *walker; /* NULL: it is not its time yet */
    bool over;                /* no more pieces will come */
    struct kept *kept;        /* pieces that were visited and not yet swept */
    size_t nr_kept, room_kept, next;
    int error;
};

struct sweep {
    const struct vt_correlator *c;
    struct vt_window window;
    struct vt_intervals intervals;
    vt_piece_visitor *visitor;
    void *context;
    struct member *members; /* by the begin of their lives */
    size_t nr, room;
    size_t nr_begun;
    size_t *live; /* indices of those that have begun and are not over */
    size_t nr_live;
    bool has_main; /* it was recorded, at whatever time */
    bool error;
    /* what is told next: grows while it is of the same piece */
    const struct member *owner;
    struct kept whole;
    enum vt_state state;
    bool untold; /* no state: it stays a residual */
    uint64_t from, to;
};

static void keep(void *context, const struct vt_piece *p)
{
    struct member *m = context;
    if (!m->error)
        m->error = vt_grow((void **)&m->kept, &m->room_kept, m->nr_kept, sizeof(*m->kept));
    if (m->error)
        return;
    struct kept *k = &m->kept[m->nr_kept++];
    k->piece = *p;
    k->piece.life = m->life;
    k->has_slice = p->slice != NULL;
    if (p->slice)
        k->slice = *p->slice;
}

/* A split without time contradicts itself: it goes on as it is, for the residual to show it. */
static void show_contradiction(const struct sweep *s, struct kept *k)
{
    k->piece.slice = k->has_slice ? &k->slice : NULL;
    s->visitor(s->context, &k->piece);
}

/* The member's piece that ends after `at`, if there is one. */
static const struct kept *present(struct sweep *s, struct member *m, uint64_t at)
{
    for (;;) {
        for (; m->next < m->nr_kept; m->next++) {
            struct kept *k = &m->kept[m->next];
            if (k->piece.to > at)
                return k;
            if (k->piece.from == k->piece.to && k->piece.on_cpu)
                show_contradiction(s, k);
        }
        m->next = m->nr_kept = 0;
        if (m->over || m->error)
            return NULL;
        m->over = !vt_walker_step(m->walker);
        s->error = s->error || m->error;
    }
}

/* ---- what the vCPU is in ---- */

enum rank { ON_CPU, UNKNOWN, WAITS, STALLED, HELD, SLEEPS, NOTHING };

/* What a member's piece makes of its vCPU; `untold`: none of its pieces is of that time. */
static enum rank rank_of(const struct member *m, const struct kept *k, bool untold)
{
    if (untold)
        return UNKNOWN;
    if (k->piece.on_cpu)
        return ON_CPU;
    switch (k->piece.state) {
    case VT_LOST:
        return UNKNOWN;
    case VT_PREEMPTED:
    case VT_WAKING:
    case VT_THROTTLED:
        return WAITS;
    case VT_BLOCKED:
        return STALLED;
    case VT_STOPPED:
        return m->is_main ? HELD : NOTHING;
    case VT_ABSENT:
        return NOTHING;
    default:
        return m->is_main ? SLEEPS : NOTHING;
    }
}

/* The best of all at one instant. */
struct choice {
    enum rank rank;
    const struct member *owner;
    const struct kept *kept; /* NULL: the owner's time is untold */
    uint64_t to;             /* it holds up to there */
    bool any;                /* member is there */
};

static bool is_better(const struct sweep *s, const struct choice *best, enum rank rank,
                      const struct member *m, const struct kept *k)
{
    if (rank != best->rank || rank == NOTHING)
        return rank < best->rank;
    if (m == s->owner || best->owner == s->owner) /* who has it keeps it */
        return m == s->owner;
    return k && best->kept && k->piece.from < best->kept->piece.from;
}

static struct choice choose(struct sweep *s, uint64_t at)
{
    struct choice best = { .rank = NOTHING, .to = s->window.to.v };
    for (size_t i = 0; i < s->nr_live; i++) {
        struct member *m = &s->members[s->live[i]];
        const struct kept *k = present(s, m, at);
        const bool untold = !k || k->piece.from > at;
        const enum rank rank = rank_of(m, k, untold);
        best.to = vt_min(best.to, !k ? best.to : untold ? k->piece.from : k->piece.to);
        best.any = best.any || untold || k->piece.state != VT_ABSENT || k->piece.on_cpu;
        if (is_better(s, &best, rank, m, k)) {
            best.rank = rank;
            best.owner = m;
            best.kept = untold ? NULL : k;
        }
    }
    if (s->nr_begun < s->nr)
        best.to = vt_min(best.to, vt_max(s->members[s->nr_begun].life->start, at + 1));
    return best;
}

/* ---- telling ---- */

static void tell(struct sweep *s)
{
    struct vt_piece p = { .from = s->from, .to = s->to, .state = s->state, .cpu = VT_NO_CPU };
    if (s->from < s->to && !s->untold) {
        if (s->owner) {
            s->whole.piece.slice = s->whole.has_slice ? &s->whole.slice : NULL;
            vt_cut_piece(&s->whole.piece, s->from, s->to, &p);
        }
        while (p.from < s->to && !s->owner) { /* pieces of members lie in one interval each */
            p.to = vt_interval_end(&s->intervals, p.from, s->to);
            s->visitor(s->context, &p);
            p.from = p.to;
        }
        if (s->owner)
            s->visitor(s->context, &p);
    }
    s->owner = NULL;
    s->from = s->to;
}

static bool is_same(const struct sweep *s, const struct choice *c, enum vt_state state)
{
    if (c->rank == NOTHING || !c->kept)
        return !s->owner && s->untold == (c->rank != NOTHING) && s->state == state;
    return s->owner == c->owner && s->whole.piece.from == c->kept->piece.from &&
           s->whole.piece.to == c->kept->piece.to;
}

/* The vCPU is as chosen up to c->to. */
static void add(struct sweep *s, const struct choice *c)
{
    const enum vt_state none = s->has_main || !c->any ? VT_ABSENT : VT_LOST;
    const enum vt_state state = c->rank == NOTHING || !c->kept ? none : c->kept->piece.state;
    if (!is_same(s, c, state)) {
        tell(s);
        s->untold = c->rank != NOTHING && !c->kept;
        s->state = state;
        if (c->rank != NOTHING && c->kept) {
            s->owner = c->owner;
            s->whole = *c->kept;
        }
    }
    s->to = c->to;
}

/* ---- the sweep ---- */

static void begin_lives(struct sweep *s, uint64_t at)
{
    for (; s->nr_begun < s->nr && s->members[s->nr_begun].life->start <= at; s->nr_begun++) {
        struct member *m = &s->members[s->nr_begun];
        const struct vt_window w = { { vt_max(s->window.from.v, m->life->start) }, s->window.to };
        m->walker = vt_walker_new(s->c, m->life, w, s->intervals, keep, m);
        s->error = s->error || !m->walker;
        s->live[s->nr_live++] = s->nr_begun;
    }
}

/* Those that are over for good are looked at no more. */
static void end_lives(struct sweep *s, uint64_t at)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->nr_live; i++) {
        struct member *m = &s->members[s->live[i]];
        const struct kept *k = present(s, m, at);
        const bool gone = m->over && m->next + 1 == m->nr_kept && k && !k->piece.on_cpu &&
                          k->piece.state == VT_ABSENT && vt_life_is_over(m->life);
        if (!gone)
            s->live[kept++] = s->live[i];
    }
    s->nr_live = kept;
}

static void sweep(struct sweep *s)
{
    uint64_t at = s->from = s->to = s->window.from.v;
    while (at < s->window.to.v && !s->error) {
        begin_lives(s, at);
        if (s->nr_live > 16)
            end_lives(s, at);
        const struct choice c = choose(s, at);
        if (!s->error)
            add(s, &c);
        at = c.to;
    }
    tell(s);
}

static int by_start(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->life->start != y->life->start)
        return x->life->start < y->life->start ? -1 : 1;
    return (x->life->row.id > y->life->row.id) - (x->life->row.id < y->life->row.id);
}

/* Over before the window began. */
static bool is_before(const struct vt_life *life, uint64_t from)
{
    return vt_life_is_over(life) && life->start < from && vt_life_known_to(life) <= from;
}

static int collect_members(struct sweep *s, const struct vt_life *life, const struct vt_machine *machine)
{
    for (const struct vt_life *l = vt_next_member(s->c, life, NULL); l; l = vt_next_member(s->c, life, l)) {
        s->has_main = s->has_main || is_main(machine, l);
        if (l->start >= s->window.to.v || is_before(l, s->window.from.v))
            continue;
        int r = vt_grow((void **)&s->members, &s->room, s->nr, sizeof(*s->members));
        if (r)
            return r;
        s->members[s->nr++] = (struct member){ .life = l, .is_main = is_main(machine, l) };
    }
    if (s->nr)
        qsort(s->members, s->nr, sizeof(*s->members), by_start);
    s->live = calloc(s->nr + 1, sizeof(*s->live));
    return s->live ? 0 : -1;
}

static void add_counts(const struct sweep *s, struct vt_walk_counts *to)
{
    *to = (struct vt_walk_counts){ 0 };
    for (size_t i = 0; i < s->nr; i++) {
        if (!s->members[i].walker)
            continue;
        const struct vt_walk_counts *n = vt_walker_counts(s->members[i].walker);
        to->slices += n->slices;
        to->violations += n->violations;
        to->switches += n->switches;
        to->migrations += n->migrations;
        to->exits += n->exits;
        to->user_exits += n->user_exits;
        to->halts += n->halts;
    }
}

/* From sums alone it is not known when each ran. */
static void walk_unknown(struct sweep *s)
{
    s->from = s->window.from.v;
    s->to = s->window.to.v;
    s->state = VT_LOST;
    tell(s);
}

void vt_walk_composed(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                      struct vt_intervals intervals, vt_piece_visitor *visitor, void *context,
                      struct vt_walk_counts *counts)
{
    struct sweep s = { .c = c, .window = window, .intervals = intervals };
    s.visitor = visitor;
    s.context = context;
    if (counts)
        *counts = (struct vt_walk_counts){ 0 };
    if (c->host.ledger_only) {
        walk_unknown(&s);
        return;
    }
    if (collect_members(&s, life, composed_machine(c, life)) == 0) {
        sweep(&s);
        if (counts)
            add_counts(&s, counts);
    }
    for (size_t i = 0; i < s.nr; i++) {
        free(s.members[i].walker);
        free(s.members[i].kept);
    }
    free(s.members);
    free(s.live);
}

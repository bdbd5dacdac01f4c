/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the vCPUs of a VM do together (DESIGN.md section 2, "VM level"): a sweep
 * over the edges of all their pieces.  Each vCPU's pieces come in order, so
 * that a heap of one cursor for each vCPU merges them in O(edges log vCPUs);
 * the window is swept in parts, so that memory is bounded.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/state.h"
#include "correlator/internal.h"

/* What one vCPU does, as its VM sees it. */
enum doing {
    DOING_RUN,
    DOING_WAIT,
    DOING_IDLE,
    DOING_NOTHING, /* idle all the window: there, but not of the rest */
    DOING_PAUSED,
    DOING_ABSENT,
    DOING_LOST,
    DOING_UNTOLD, /* no piece covers it: charged to nothing, which the residual shows */
    NR_DOING
};

struct stretch {
    uint64_t from, to;
    enum doing doing;
};

/* One vCPU's place in the sweep. */
struct cursor {
    uint64_t at; /* of its next edge */
    size_t next, end;
    enum doing doing;
};

/* Time on CPU whose place in its stretch is not known: so much may belong to other states. */
struct blur {
    uint64_t all, idle, lost;
};

struct sweep {
    const struct vt_correlator *c;
    const struct vt_life **lives;
    const bool *has_demand; /* by life */
    size_t nr_lives;
    struct stretch *stretch; /* of one vCPU after the other */
    size_t nr_stretch, room_stretch;
    size_t first; /* of the vCPU that is being collected */
    bool demand;  /* that of the vCPU */
    struct cursor *cursors, **heap;
    size_t count[NR_DOING];
    uint64_t ns[VT_NR_JOINTS];
    struct blur blur;
    int error;
};

/* ---- what a piece of a vCPU's time is ---- */

static enum doing doing_off_cpu(const struct sweep *s, enum vt_state state)
{
    switch (vt_states[state].class) {
    case VT_CLASS_USED:
    case VT_CLASS_OVERHEAD:
        return DOING_RUN;
    case VT_CLASS_STOLEN:
    case VT_CLASS_STALLED:
        return DOING_WAIT;
    case VT_CLASS_IDLE:
        return s->demand ? DOING_IDLE : DOING_NOTHING;
    case VT_CLASS_PAUSED:
        return DOING_PAUSED;
    case VT_CLASS_NONE:
        return DOING_ABSENT;
    case VT_CLASS_UNKNOWN:
    case VT_NR_CLASSES:
        break;
    }
    return DOING_LOST;
}

/* Nothing but its own, as most are. */
static bool runs_throughout(const struct vt_piece *p)
{
    return p->split[VT_ON_GUEST] + p->split[VT_ON_KVM] + p->split[VT_ON_VMM] + p->split[VT_ON_RUN] ==
               p->to - p->from &&
           !(p->class_bound[VT_CLASS_STOLEN] | p->class_bound[VT_CLASS_IDLE] |
             p->class_bound[VT_CLASS_UNKNOWN]);
}

/*
 * On CPU it runs, if any of it may have been its own.  Interrupts, successful
 * polls and lost time are in there somewhere: they blur.
 */
static enum doing doing_on_cpu(struct sweep *s, const struct vt_piece *p)
{
    uint64_t of[NR_DOING] = { 0 };
    enum doing doing = DOING_LOST;
    uint64_t best = 0, other = 0;
    if (runs_throughout(p))
        return DOING_RUN;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        of[doing_off_cpu(s, vt_on_cpu_state[i])] += p->split[i] + p->bound[i];
    for (unsigned int i = 0; i < NR_DOING; i++) {
        if (of[i] > best) {
            best = of[i];
            doing = (enum doing)i;
        }
    }
    if (of[DOING_RUN])
        doing = DOING_RUN;
    for (unsigned int i = 0; i < NR_DOING; i++)
        other += i == doing ? 0 : of[i];
    const uint64_t whole = p->to - p->from;
    s->blur.all += vt_min(other, whole);
    const bool idle = doing == DOING_IDLE || doing == DOING_NOTHING;
    s->blur.idle += vt_min(idle ? other : of[DOING_IDLE] + of[DOING_NOTHING], whole);
    s->blur.lost += vt_min(doing == DOING_LOST ? other : of[DOING_LOST], whole);
    return doing;
}

static void blur_recovered(struct sweep *s, const struct vt_piece *p)
{
    if (!p->slice || !(p->slice->flags & VT_SLICE_RECOVERED))
        return;
    s->blur.all += VT_RECOVERY_BOUND_NS;
    s->blur.idle += VT_RECOVERY_BOUND_NS;
}

static void collect(void *context, const struct vt_piece *p)
{
    struct sweep *s = context;
    if (p->from == p->to)
        return;
    blur_recovered(s, p);
    const struct stretch next = { p->from, p->to,
                                  p->on_cpu ? doing_on_cpu(s, p) : doing_off_cpu(s, p->state) };
    struct stretch *last = s->nr_stretch > s->first ? &s->stretch[s->nr_stretch - 1] : NULL;
    if (last && last->doing == next.doing && last->to == next.from) {
        last->to = next.to;
        return;
    }
    if (!s->error)
        s->error = vt_grow((void **)&s->stretch, &s->room_stretch, s->nr_stretch, sizeof(*s->stretch));
    if (!s->error)
        s->stretch[s->nr_stretch++] = next;
}

/* ---- the sweep ---- */

static void sift(struct cursor **heap, size_t n, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (heap[child]->at < heap[least]->at)
                least = child;
        if (least == i)
            return;
        struct cursor *swap = heap[i];
        heap[i] = heap[least];
        heap[least] = swap;
        i = least;
    }
}

static enum vt_joint joint_of(const size_t count[NR_DOING])
{
    const bool rest = count[DOING_IDLE] || count[DOING_PAUSED];
    if (count[DOING_LOST])
        return VT_JOINT_LOST;
    if (count[DOING_RUN] && count[DOING_WAIT])
        return VT_JOINT_HAZARD;
    if (count[DOING_RUN])
        return rest ? VT_JOINT_PARTIAL_RUN : VT_JOINT_FULL_RUN;
    if (count[DOING_WAIT])
        return rest ? VT_JOINT_PARTIAL_CONTENTION : VT_JOINT_FULL_CONTENTION;
    if (count[DOING_PAUSED])
        return VT_JOINT_PAUSED;
    return count[DOING_IDLE] || count[DOING_NOTHING] ? VT_JOINT_BLOCKED : VT_JOINT_ABSENT;
}

/* The cursor is at an edge: what it does from there on, and up to where. A stretch that overlaps is untold.
 */
static void pass_edge(struct sweep *s, struct cursor *c, uint64_t end)
{
    while (c->next < c->end && s->stretch[c->next].from < c->at)
        c->next++;
    s->count[c->doing]--;
    if (c->next < c->end && s->stretch[c->next].from == c->at) {
        c->doing = s->stretch[c->next].doing;
        c->at = s->stretch[c->next++].to;
    } else {
        c->doing = DOING_UNTOLD;
        c->at = c->next < c->end ? s->stretch[c->next].from : end;
    }
    s->count[c->doing]++;
}

/* Charges [w.from, w.to) to what the vCPUs do together there. */
static void merge(struct sweep *s, struct vt_window w)
{
    uint64_t at = w.from.v;
    for (size_t i = 0; i < s->nr_lives; i++)
        s->heap[i] = &s->cursors[i];
    while (s->nr_lives && at < w.to.v) {
        while (s->heap[0]->at == at) {
            pass_edge(s, s->heap[0], w.to.v);
            sift(s->heap, s->nr_lives, 0);
        }
        const uint64_t to = vt_min(s->heap[0]->at, w.to.v);
        if (!s->count[DOING_UNTOLD])
            s->ns[joint_of(s->count)] += to - at;
        at = to;
    }
}

static void sweep_part(struct sweep *s, struct vt_window w)
{
    s->nr_stretch = 0;
    for (size_t i = 0; i < NR_DOING; i++)
        s->count[i] = 0;
    s->count[DOING_UNTOLD] = s->nr_lives;
    for (size_t i = 0; i < s->nr_lives; i++) {
        s->first = s->nr_stretch;
        s->demand = s->has_demand[i];
        vt_walk(s->c, s->lives[i], w, collect, s, NULL);
        s->cursors[i] = (struct cursor){ w.from.v, s->first, s->nr_stretch, DOING_UNTOLD };
    }
    if (!s->error)
        merge(s, w);
}

static void sweep_all(struct sweep *s, struct vt_window w)
{
    uint64_t slices = 0;
    for (size_t i = 0; i < s->nr_lives; i++)
        slices += vt_slices_in(s->lives[i], w);
    const uint64_t step = vt_part_of(w, slices);
    for (uint64_t at = w.from.v; at < w.to.v && !s->error; at += step) {
        const struct vt_window part = { { at }, { at + vt_min(step, w.to.v - at) } };
        sweep_part(s, part);
    }
}

/* ---- figures ---- */

/* Probes without which it is not known whether a vCPU ran, waited or was idle. */
static const uint32_t needed = 1u << VT_PROBE_WAKEUP | 1u << VT_PROBE_EXIT | 1u << VT_PROBE_HALT;

/* By so much may the figure be wrong. */
static uint64_t bound_of(const struct blur *blur, enum vt_joint joint, const struct vt_account *account)
{
    switch (joint) {
    case VT_JOINT_ABSENT:
        return 0;
    case VT_JOINT_LOST:
        return blur->lost;
    case VT_JOINT_BLOCKED:
        return blur->idle;
    case VT_JOINT_PAUSED:
        return account->paused.ns ? blur->idle : 0;
    default:
        return blur->all;
    }
}

static void fill_figures(const struct sweep *s, struct vt_window w, const struct vt_account *account,
                         struct vt_joint_figures *ret)
{
    const bool estimated = s->c->host.probes_off & needed || account->state[VT_IDLEQ].ns;
    const uint64_t whole = w.to.v - w.from.v;
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_JOINTS; i++) {
        struct vt_figure *f = &ret->state[i];
        f->ns = s->ns[i];
        f->bound_ns = vt_min(bound_of(&s->blur, (enum vt_joint)i, account), whole);
        f->accuracy = estimated ? VT_ESTIMATED : f->bound_ns ? VT_BOUNDED : VT_EXACT;
        sum += f->ns;
    }
    ret->known = true;
    ret->residual_ns = (int64_t)(whole - sum);
}

static uint64_t demand_of(const struct vt_account *a)
{
    return a->used.ns + a->overhead.ns + a->stolen.ns + a->stalled.ns;
}

/* What demand it seems to have had may all have been idle or lost time, or the other way round. */
static bool is_doubtful(const struct vt_account *a)
{
    const uint64_t bound = a->idle.bound_ns + a->unknown.bound_ns;
    return bound && demand_of(a) <= bound;
}

int vt_joint_fill(const struct vt_correlator *c, struct vt_window window, struct vt_guest *g)
{
    struct sweep s = { .c = c };
    if (c->host.ledger_only)
        return 0;
    bool *has_demand = calloc(g->nr_vcpus + 1, sizeof(*has_demand));
    s.lives = calloc(g->nr_vcpus + 1, sizeof(*s.lives));
    s.cursors = calloc(g->nr_vcpus + 1, sizeof(*s.cursors));
    s.heap = calloc(g->nr_vcpus + 1, sizeof(*s.heap));
    s.has_demand = has_demand;
    if (!has_demand || !s.lives || !s.cursors || !s.heap)
        s.error = -ENOMEM;
    for (size_t i = 0; i < g->nr_vcpus && !s.error; i++) {
        const struct vt_account *a = &g->vcpus[i].account;
        has_demand[i] = demand_of(a) > 0;
        if (is_doubtful(a)) /* whether it is one of the rest, then, too */
            s.blur.all = window.to.v - window.from.v;
        s.lives[s.nr_lives++] = vt_find_life(c, g->vcpus[i].vcpu.id);
    }
    if (!s.error)
        sweep_all(&s, window);
    if (!s.error && !s.nr_lives)
        s.ns[VT_JOINT_ABSENT] = window.to.v - window.from.v;
    if (!s.error)
        fill_figures(&s, window, &g->account, &g->joint);
    free(has_demand);
    free(s.lives);
    free(s.cursors);
    free(s.heap);
    free(s.stretch);
    return s.error;
}

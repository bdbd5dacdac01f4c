/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Law 1 against a naive model: a vCPU's life is painted nanosecond by
 * nanosecond, slices and checkpoints are derived from the paint as the ledger
 * would, some are lost or spoiled, and the correlator's sums over random
 * windows must equal what counting the paint gives.  The model shares no code
 * with the correlator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/joint.h"
#include "base/state.h"
#include "correlator/correlate.h"

#define ROUNDS     100000
#define T0         UINT64_C(1000000)
#define LENGTH     1200 /* ns of a recording */
#define MAX_SLICES 48
#define NO_SEQ     UINT64_MAX

struct rng {
    uint64_t x;
    bool no_polls; /* inside of slices, where their place in time is not recorded */
};

static uint64_t draw(struct rng *r, uint64_t n)
{
    r->x ^= r->x << 13;
    r->x ^= r->x >> 7;
    r->x ^= r->x << 17;
    return r->x % n;
}

/* One life, painted. */
struct life {
    int64_t id;
    uint32_t born, died;      /* offsets from T0; died == LENGTH: alive at the end */
    uint8_t seen[LENGTH];     /* what the ledger saw at that time */
    uint8_t shown[LENGTH];    /* what the correlator has to show */
    uint8_t cuttable[LENGTH]; /* number of the stretch whose split has no place in time, 0: none */
    uint32_t nr;
    struct vt_slice slice[MAX_SLICES]; /* the last one may be unfinished: t_end beyond LENGTH */
    uint64_t report_at[MAX_SLICES];    /* when its tail_poll was told */
    bool lost[MAX_SLICES];
    uint32_t delivered; /* slices that ended in time */
    struct vt_checkpoint cp[8];
    uint32_t nr_cp;
};

static const uint8_t off_states[] = { VT_HALTED, VT_BLOCKED, VT_STOPPED, VT_HALTED };
static const uint8_t merged_modes[] = { VT_RUN, VT_VMM }, split_modes[] = { VT_GUEST, VT_KVM, VT_VMM };

static void paint(uint8_t *p, uint64_t from, uint64_t to, uint8_t v)
{
    for (uint64_t t = from; t < to && t < LENGTH; t++)
        p[t] = v;
}

static void count(const uint8_t *p, uint64_t from, uint64_t to, uint64_t n[VT_NR_STATES])
{
    memset(n, 0, VT_NR_STATES * sizeof(*n));
    for (uint64_t t = from; t < to && t < LENGTH; t++)
        n[p[t]]++;
}

static unsigned int on_index(uint8_t state)
{
    switch (state) {
    case VT_GUEST:
        return VT_ON_GUEST;
    case VT_KVM:
        return VT_ON_KVM;
    case VT_VMM:
        return VT_ON_VMM;
    case VT_RUN:
        return VT_ON_RUN;
    case VT_POLL:
        return VT_ON_POLL;
    }
    return VT_ON_LOST;
}

/* ---- a random life ---- */

/* The on-CPU stretch in modes; polls that succeed are known at once. */
static void paint_modes(struct rng *r, struct life *l, uint64_t from, uint64_t to, bool split)
{
    for (uint64_t t = from; t < to;) {
        uint64_t run = 1 + draw(r, 40);
        uint8_t mode = split ? split_modes[draw(r, 3)] : merged_modes[draw(r, 2)];
        if (draw(r, 12) == 0 && !r->no_polls)
            mode = VT_POLL;
        paint(l->seen, t, t + run < to ? t + run : to, mode);
        t += run;
    }
}

/* A poll that ended in a block is told by this slice, though it lies at the end of an earlier one. */
static void add_tail_poll(struct rng *r, struct life *l, uint32_t i, bool split)
{
    uint8_t was = split ? VT_KVM : VT_RUN;
    uint32_t back = (uint32_t)draw(r, 2), j = i - 1 - back;
    struct vt_slice *s = &l->slice[i], *earlier;
    if (i < 1 + back)
        return;
    earlier = &l->slice[j];
    uint64_t end = earlier->t_end, n = 0;
    while (end - n > earlier->t_in && l->seen[end - n - 1] == was)
        n++;
    for (uint32_t k = j + 1; k < i; k++) /* each stretch is told once */
        if (l->slice[k].tail_poll_ns)
            return;
    if (n == 0 || s->t_in >= s->t_end)
        return;
    s->tail_poll_ns = 1 + draw(r, n);
    s->tail_back_ns = s->t_out - end;
    s->tail_state = was;
    l->report_at[i] = s->t_in + draw(r, s->t_end - s->t_in);
}

static void make_slice(struct rng *r, struct life *l, uint64_t at, bool split)
{
    uint32_t i = l->nr++;
    struct vt_slice *s = &l->slice[i];
    *s = (struct vt_slice){ .seq = 7 + i, .t_out = at, .cpu = (uint16_t)draw(r, 2) };
    s->flags = i == 0 ? VT_SLICE_FIRST : 0;
    bool blocked = draw(r, 2);
    s->off_state = blocked ? off_states[draw(r, 4)] : 0;
    s->t_wake = at + (blocked ? draw(r, 60) : 0);
    s->wait_state = blocked ? VT_WAKING : draw(r, 10) ? VT_PREEMPTED : VT_POLL;
    s->t_in = s->t_wake + draw(r, 50);
    if (draw(r, 6) == 0 && s->wait_state == VT_PREEMPTED)
        s->throttled_ns = draw(r, s->t_in - s->t_wake + 1);
    s->t_end = s->t_in + (draw(r, 15) ? draw(r, 120) : 0);
    if (l->died < LENGTH && s->t_end > l->died) { /* its last: it dies on the CPU */
        s->t_end = l->died;
        if (s->t_in > l->died)
            s->t_in = l->died;
        if (s->t_wake > l->died)
            s->t_wake = l->died;
        if (s->throttled_ns > s->t_in - s->t_wake)
            s->throttled_ns = s->t_in - s->t_wake;
    }
    if (l->died < LENGTH && s->t_end == l->died)
        s->flags |= VT_SLICE_LAST;
    paint(l->seen, s->t_out, s->t_wake, s->off_state);
    paint(l->seen, s->t_wake, s->t_wake + s->throttled_ns, VT_THROTTLED);
    paint(l->seen, s->t_wake + s->throttled_ns, s->t_in, s->wait_state);
    paint_modes(r, l, s->t_in, s->t_end, split);
    for (uint64_t t = s->t_in; t < s->t_end && t < LENGTH; t++) {
        s->on_cpu[on_index(l->seen[t])]++;
        l->cuttable[t] = (uint8_t)(i + 1);
    }
    if (s->t_end <= LENGTH && draw(r, 3) == 0)
        add_tail_poll(r, l, i, split);
}

/* ---- checkpoints, as the ledger's slot would be read ---- */

static bool is_edge(const struct life *l, const struct vt_slice *s, uint64_t t)
{
    return t == s->t_out || t == s->t_wake || t == s->t_in || (t > s->t_out && l->seen[t] != l->seen[t - 1]);
}

static void fill_open(const struct life *l, const struct vt_slice *s, uint32_t i, uint64_t last,
                      struct vt_checkpoint *cp)
{
    struct vt_slice *o = &cp->open;
    *o = *s;
    o->t_end = 0;
    o->flags |= VT_SLICE_OPEN;
    memset(o->on_cpu, 0, sizeof(o->on_cpu));
    for (uint64_t t = s->t_in; t < last; t++)
        o->on_cpu[on_index(l->seen[t])]++;
    if (last < s->t_in)
        o->t_in = 0;
    if (last < s->t_wake)
        o->t_wake = 0;
    if (last < s->t_wake + s->throttled_ns)
        o->throttled_ns = last > s->t_wake ? last - s->t_wake : 0;
    if (!s->tail_poll_ns || l->report_at[i] > last)
        o->tail_poll_ns = o->tail_back_ns = o->tail_state = 0;
}

static void add_checkpoint(struct life *l, uint64_t at)
{
    uint32_t i = 0;
    if (l->nr_cp == 8 || at < l->born || (l->nr_cp && l->cp[l->nr_cp - 1].state == VT_ABSENT))
        return; /* a life that is over is read once */
    struct vt_checkpoint *cp = &l->cp[l->nr_cp++];
    *cp = (struct vt_checkpoint){ .vcpu = l->id, .at = { at } };
    if (l->died < LENGTH && at >= l->died) {
        cp->state = VT_ABSENT;
        cp->last.v = l->died;
        cp->open.t_out = l->died;
        cp->open.off_state = VT_ABSENT;
        cp->open.seq = 7 + l->nr;
        cp->open.flags = VT_SLICE_OPEN;
    } else {
        while (i + 1 < l->nr && l->slice[i + 1].t_out <= at)
            i++;
        const struct vt_slice *s = &l->slice[i];
        uint64_t last = at;
        if (at == LENGTH)
            last = at - 1;
        while (last > s->t_out && !is_edge(l, s, last))
            last--;
        if (s->tail_poll_ns && l->report_at[i] <= at && l->report_at[i] > last)
            last = l->report_at[i];
        cp->last.v = last;
        cp->state = (enum vt_state)l->seen[last < LENGTH ? last : LENGTH - 1];
        fill_open(l, s, i, last, cp);
    }
    count(l->seen, l->born, cp->last.v, cp->ns);
    for (uint32_t k = 0; k < l->nr; k++) /* polls told by then */
        if (l->slice[k].tail_poll_ns && l->report_at[k] <= cp->last.v && l->slice[k].t_out <= cp->last.v) {
            cp->ns[l->slice[k].tail_state] -= l->slice[k].tail_poll_ns;
            cp->ns[VT_POLL] += l->slice[k].tail_poll_ns;
        }
}

/* ---- what has to be shown ---- */

static void show_poll(struct life *l, const struct vt_slice *s)
{
    uint64_t end = s->t_out - s->tail_back_ns;
    for (uint64_t t = end - s->tail_poll_ns; t < end; t++)
        if (l->shown[t] == s->tail_state) { /* else the slice it lies in was lost */
            l->shown[t] = VT_POLL;
            l->cuttable[t] = 0;
        }
}

static void show(struct life *l)
{
    uint64_t known = NO_SEQ;
    const struct vt_checkpoint *newest = &l->cp[l->nr_cp - 1];
    paint(l->shown, 0, l->born, VT_ABSENT);
    paint(l->shown, l->born, LENGTH, VT_LOST);
    bool over = newest->state == VT_ABSENT;
    uint64_t told = l->born;
    for (uint32_t i = 0; i < l->delivered; i++) {
        const struct vt_slice *s = &l->slice[i];
        if (l->lost[i])
            continue;
        memcpy(l->shown + s->t_out, l->seen + s->t_out, s->t_end - s->t_out);
        known = s->seq;
        told = s->t_end;
        over = over || s->flags & VT_SLICE_LAST;
    }
    for (uint32_t i = 0; i < l->nr_cp; i++) { /* after the last slice: what continues it, and the newest */
        const struct vt_checkpoint *cp = &l->cp[i];
        bool continues = known != NO_SEQ && cp->open.seq == known + 1;
        uint64_t from = cp->open.t_out > told ? cp->open.t_out : told;
        if ((continues || (cp == newest && (known == NO_SEQ || cp->open.seq > known))) && cp->at.v > from)
            memcpy(l->shown + from, l->seen + from, cp->at.v - from);
    }
    if (over)
        paint(l->shown, l->died, LENGTH, VT_ABSENT);
    for (uint64_t t = 0; t < LENGTH; t++)
        if (vt_states[l->shown[t]].class == VT_CLASS_UNKNOWN)
            l->cuttable[t] = 0;
    for (uint32_t i = 0; i < l->delivered; i++)
        if (!l->lost[i] && l->slice[i].tail_poll_ns)
            show_poll(l, &l->slice[i]);
    if (newest->open.tail_poll_ns && (known == NO_SEQ || newest->open.seq > known))
        show_poll(l, &newest->open);
}

static void make_life(struct rng *r, struct life *l, int64_t id, uint32_t born, bool may_die,
                      unsigned int loss)
{
    bool split = draw(r, 2);
    memset(l, 0, sizeof(*l));
    l->id = id;
    l->born = born;
    l->died = may_die && draw(r, 3) == 0 ? born + 20 + (uint32_t)draw(r, LENGTH - born - 20) : LENGTH;
    paint(l->seen, 0, LENGTH, VT_ABSENT);
    uint64_t at = born;
    while (at < l->died) {
        if (l->nr == MAX_SLICES - 1 && l->died < LENGTH) /* the last one that fits is its death */
            l->died = (uint32_t)at + 1;
        make_slice(r, l, at, split);
        struct vt_slice *s = &l->slice[l->nr - 1];
        if (l->nr == MAX_SLICES && s->t_end < LENGTH && l->died == LENGTH) {
            paint_modes(r, l, s->t_end, LENGTH, split);
            for (uint64_t t = s->t_end; t < LENGTH; t++) {
                s->on_cpu[on_index(l->seen[t])]++;
                l->cuttable[t] = (uint8_t)l->nr;
            }
            s->t_end = LENGTH + 1;
        }
        at = s->t_end;
    }
    for (uint32_t i = 0; i < l->nr; i++)
        if (l->slice[i].t_end <= LENGTH)
            l->delivered++;
    for (uint32_t i = 0; i < l->delivered; i++)
        l->lost[i] = loss && draw(r, loss) == 0;
    for (uint64_t t = 100; t < LENGTH; t += 100 + draw(r, 400))
        add_checkpoint(l, t);
    add_checkpoint(l, LENGTH);
    show(l);
}

/* ---- to the correlator ---- */

static struct vt_slice shifted(const struct vt_slice *s)
{
    struct vt_slice r = *s;
    r.t_out += T0;
    r.t_wake += s->t_wake || !(s->flags & VT_SLICE_OPEN) ? T0 : 0;
    r.t_in += s->t_in || !(s->flags & VT_SLICE_OPEN) ? T0 : 0;
    r.t_end += s->flags & VT_SLICE_OPEN ? 0 : T0;
    return r;
}

static void feed_life(struct vt_correlator *c, const struct life *l, uint32_t index)
{
    struct vt_vcpu row = {
        .id = l->id, .vm = 1 + (l->id & 1), .index = index, .tid = 42, .born = { T0 + l->born }
    };
    assert_int_equal(vt_correlator_vcpu(c, &row), 0);
    for (uint32_t i = 0; i < l->nr_cp; i++) {
        struct vt_checkpoint cp = l->cp[i];
        cp.at.v += T0;
        cp.last.v += T0;
        cp.open = shifted(&cp.open);
        assert_int_equal(vt_correlator_checkpoint(c, &cp), 0);
    }
    for (uint32_t i = 0; i < l->delivered; i++) {
        struct vt_slice s = shifted(&l->slice[i]);
        if (!l->lost[i])
            assert_int_equal(vt_correlator_slices(c, l->id, &s, 1), 0);
    }
}

static struct vt_correlator *new_correlator(void)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { T0 }, .end = { T0 + LENGTH }, .nr_cpus = 2 };
    struct vt_vm a = { .id = 1, .name = "a" }, b = { .id = 2, .name = "b" };
    assert_non_null(c);
    vt_correlator_host(c, &host);
    assert_int_equal(vt_correlator_vm(c, &a), 0);
    assert_int_equal(vt_correlator_vm(c, &b), 0);
    return c;
}

static const struct vt_vcpu_figures *find(const struct vt_snapshot *s, int64_t id)
{
    for (size_t i = 0; i < s->nr_guests; i++)
        for (size_t j = 0; j < s->guests[i].nr_vcpus; j++)
            if (s->guests[i].vcpus[j].vcpu.id == id)
                return &s->guests[i].vcpus[j];
    fail_msg("vCPU %d is missing", (int)id);
    return NULL;
}

/* Does the window cut a stretch whose split has no place in time? */
static bool cuts(const struct life *l, uint64_t from, uint64_t to)
{
    uint8_t before = from > 0 ? l->cuttable[from - 1] : 0, after = to < LENGTH ? l->cuttable[to] : 0;
    return (before && before == l->cuttable[from]) || (after && after == l->cuttable[to - 1]);
}

static void check_class(const uint64_t painted[VT_NR_STATES], enum vt_class class, const struct vt_figure *f)
{
    uint64_t n = 0;
    for (unsigned int v = 0; v < VT_NR_STATES; v++)
        n += vt_states[v].class == class ? painted[v] : 0;
    uint64_t d = n > f->ns ? n - f->ns : f->ns - n;
    if (d > f->bound_ns)
        fail_msg("%s: %d ns, painted %d, bound %d", vt_class_name(class), (int)f->ns, (int)n,
                 (int)f->bound_ns);
}

static void check(const struct life *l, const struct vt_snapshot *s, uint64_t from, uint64_t to,
                  uint64_t round)
{
    const struct vt_vcpu_figures *f = find(s, l->id);
    uint64_t painted[VT_NR_STATES];
    count(l->shown, from, to, painted);
    bool any_lost = false, cut = cuts(l, from, to);
    for (uint32_t i = 0; i < l->delivered; i++)
        any_lost = any_lost || l->lost[i];
    if (f->residual_ns != 0 || (!any_lost && f->ledger_residual_ns != 0))
        fail_msg("round %d vCPU %d [%d,%d): residual %d, ledger's %d", (int)round, (int)l->id, (int)from,
                 (int)to, (int)f->residual_ns, (int)f->ledger_residual_ns);
    for (uint8_t v = 0; v < VT_NR_STATES; v++) {
        uint64_t n = painted[v], ns = f->account.state[v].ns;
        uint64_t bound = v == VT_THROTTLED ? 0 : f->account.state[v].bound_ns, d = n > ns ? n - ns : ns - n;
        if (d > bound || (!cut && bound))
            fail_msg("round %d vCPU %d [%d,%d) %s: %d ns, painted %d, bound %d%s", (int)round, (int)l->id,
                     (int)from, (int)to, vt_states[v].name, (int)ns, (int)n, (int)bound,
                     cut ? "" : ", nothing is cut");
    }
    check_class(painted, VT_CLASS_USED, &f->account.used);
    check_class(painted, VT_CLASS_OVERHEAD, &f->account.overhead);
    check_class(painted, VT_CLASS_STOLEN, &f->account.stolen);
    check_class(painted, VT_CLASS_IDLE, &f->account.idle);
    check_class(painted, VT_CLASS_UNKNOWN, &f->account.unknown);
}

/* Every stolen nanosecond has one debtor. */
static void check_blame(const struct vt_snapshot *s, uint64_t round)
{
    uint64_t stolen = 0, blamed = 0;
    for (size_t i = 0; i < s->nr_guests; i++)
        stolen += s->guests[i].account.stolen.ns;
    for (size_t i = 0; i < s->nr_blame; i++)
        blamed += s->blame[i].ns;
    for (size_t i = 0; i < s->nr_blame; i++) /* no debt below nothing */
        if (s->blame[i].ns > stolen)
            fail_msg("round %d: one debt exceeds all that was stolen", (int)round);
    if (stolen != blamed)
        fail_msg("round %d: stolen %d, blamed %d", (int)round, (int)stolen, (int)blamed);
}

static struct vt_snapshot *snapshot(const struct vt_correlator *c, uint64_t from, uint64_t to)
{
    struct vt_window w = { { T0 + from }, { T0 + to } };
    struct vt_snapshot *s = vt_correlate(c, &w, NULL);
    assert_non_null(s);
    return s;
}

/* Windows side by side show what the window of both shows, a cut stretch's split included. */
static void check_sum(const struct vt_correlator *c, int64_t id, uint64_t from, uint64_t cut, uint64_t to)
{
    struct vt_snapshot *s[] = { snapshot(c, from, cut), snapshot(c, cut, to), snapshot(c, from, to) };
    for (unsigned int v = 0; v < VT_NR_STATES; v++) {
        uint64_t ns[3];
        for (unsigned int i = 0; i < 3; i++)
            ns[i] = find(s[i], id)->account.state[v].ns;
        if (ns[0] + ns[1] != ns[2])
            fail_msg("[%d,%d,%d) %s: %d + %d is not %d", (int)from, (int)cut, (int)to, vt_states[v].name,
                     (int)ns[0], (int)ns[1], (int)ns[2]);
    }
    for (unsigned int i = 0; i < 3; i++)
        vt_snapshot_free(s[i]);
}

static void states_sum_to_the_window_and_equal_the_painted_ones(void **state)
{
    struct rng r = { .x = 88172645463325252u };
    static struct life l[3];
    uint64_t sequences = 0, windows = 0;
    (void)state;
    for (uint64_t round = 0; sequences < ROUNDS; round++) {
        struct vt_correlator *c = new_correlator();
        unsigned int loss = draw(&r, 2) ? 6 : 0, n = 1;
        make_life(&r, &l[0], 1, 1 + (uint32_t)draw(&r, 300), true, loss);
        feed_life(c, &l[0], 0);
        if (l[0].died < LENGTH - 100) { /* id reuse: the same thread id, vCPU and VM, another life */
            make_life(&r, &l[n], 3, l[0].died + (uint32_t)draw(&r, 20), true, loss);
            feed_life(c, &l[n++], 0);
        }
        make_life(&r, &l[n], 4, 1, true, loss);
        feed_life(c, &l[n++], 0);
        sequences += n;
        for (unsigned int k = 0; k < 3; k++, windows++) {
            uint64_t from = k ? draw(&r, LENGTH - 1) : 0,
                     to = k ? from + 1 + draw(&r, LENGTH - from) : LENGTH;
            if (to > LENGTH)
                to = LENGTH;
            struct vt_window extent = vt_correlator_extent(c);
            if (extent.to.v < T0 + to) /* slices lost near the end shorten what can be told */
                to = extent.to.v - T0;
            if (from >= to)
                continue;
            struct vt_snapshot *s = snapshot(c, from, to);
            for (unsigned int i = 0; i < n; i++)
                check(&l[i], s, from, to, round);
            check_blame(s, round);
            vt_snapshot_free(s);
            if (to - from > 1)
                check_sum(c, l[0].id, from, from + 1 + draw(&r, to - from - 1), to);
        }
        vt_correlator_free(c);
    }
    print_message("%d sequences, %d windows\n", (int)sequences, (int)windows);
}

/* ---- what the vCPUs of a VM do together ---- */

static bool is_class(uint8_t state, enum vt_class class)
{
    return vt_states[state].class == class;
}

static bool runs(uint8_t state)
{
    return is_class(state, VT_CLASS_USED) || is_class(state, VT_CLASS_OVERHEAD);
}

static bool waits(uint8_t state)
{
    return is_class(state, VT_CLASS_STOLEN) || is_class(state, VT_CLASS_STALLED);
}

/* Of n vCPUs at one instant; wishes: had it any demand in the window? */
static enum vt_joint paint_joint(const struct life *l, unsigned int n, const bool *wishes, uint64_t t)
{
    unsigned int run = 0, wait = 0, idle = 0, paused = 0, there = 0;
    for (unsigned int i = 0; i < n; i++) {
        const uint8_t state = l[i].shown[t];
        if (state == VT_LOST)
            return VT_JOINT_LOST;
        run += runs(state);
        wait += waits(state);
        paused += is_class(state, VT_CLASS_PAUSED);
        idle += is_class(state, VT_CLASS_IDLE) && wishes[i];
        there += state != VT_ABSENT;
    }
    if (run && wait)
        return VT_JOINT_HAZARD;
    if (run)
        return idle + paused ? VT_JOINT_PARTIAL_RUN : VT_JOINT_FULL_RUN;
    if (wait)
        return idle + paused ? VT_JOINT_PARTIAL_CONTENTION : VT_JOINT_FULL_CONTENTION;
    return paused ? VT_JOINT_PAUSED : there ? VT_JOINT_BLOCKED : VT_JOINT_ABSENT;
}

static void check_joint(const struct life *l, unsigned int n, const struct vt_snapshot *s, uint64_t from,
                        uint64_t to, bool exact)
{
    const struct vt_joint_figures *j = &s->guests[1].joint;
    uint64_t painted[VT_NR_JOINTS] = { 0 }, sum = 0;
    bool wishes[3] = { false };
    for (unsigned int i = 0; i < n; i++)
        for (uint64_t t = from; t < to; t++)
            wishes[i] |= runs(l[i].shown[t]) || waits(l[i].shown[t]);
    for (uint64_t t = from; t < to; t++)
        painted[paint_joint(l, n, wishes, t)]++;
    for (unsigned int v = 0; v < VT_NR_JOINTS; v++) {
        uint64_t ns = j->state[v].ns, d = ns > painted[v] ? ns - painted[v] : painted[v] - ns;
        sum += ns;
        if (d > j->state[v].bound_ns || (exact && j->state[v].bound_ns))
            fail_msg("[%d,%d) %s: %d ns, painted %d, bound %d%s", (int)from, (int)to, vt_joints[v].key,
                     (int)ns, (int)painted[v], (int)j->state[v].bound_ns,
                     exact ? ", nothing is without a place" : "");
    }
    assert_int_equal(j->residual_ns, 0);
    assert_int_equal(sum, to - from);
}

static void states_of_a_vm_equal_the_painted_ones(void **state)
{
    struct rng r = { .x = 2463534242u };
    static struct life l[3];
    uint64_t windows = 0;
    (void)state;
    for (uint64_t round = 0; round < ROUNDS / 10; round++) {
        struct vt_correlator *c = new_correlator();
        const unsigned int n = 1 + (unsigned int)draw(&r, 3), loss = draw(&r, 2) ? 6 : 0;
        r.no_polls = draw(&r, 2);
        for (unsigned int i = 0; i < n; i++) {
            make_life(&r, &l[i], 1 + 2 * i, 1 + (uint32_t)draw(&r, 300), true, loss);
            feed_life(c, &l[i], i);
        }
        const uint64_t end = vt_correlator_extent(c).to.v - T0;
        for (unsigned int k = 0; k < 4; k++, windows++) {
            const uint64_t from = k ? draw(&r, end) : 0, to = k ? from + 1 + draw(&r, end - from) : end;
            struct vt_snapshot *s = snapshot(c, from, to);
            check_joint(l, n, s, from, to, r.no_polls);
            vt_snapshot_free(s);
        }
        vt_correlator_free(c);
    }
    print_message("%d windows\n", (int)windows);
}

/* ---- it must be able to fail: spoiled recordings are detected ---- */

static uint64_t of_states(const struct vt_snapshot *s, int64_t id, enum vt_state state)
{
    return find(s, id)->account.state[state].ns;
}

/* A split that does not add up to its stretch shows as a residual, in any window that touches it. */
static void spoil_split(struct rng *r, struct life *l, struct vt_correlator *c, uint32_t i)
{
    struct vt_slice *s = &l->slice[i];
    unsigned int part = on_index(l->seen[s->t_in]);
    int64_t error = draw(r, 2) ? 1 + (int64_t)draw(r, 5) : -1 - (int64_t)draw(r, s->on_cpu[part]);
    s->on_cpu[part] += (uint64_t)error;
    feed_life(c, l, 0);
    uint64_t run = s->t_end - s->t_in, from = s->t_in + draw(r, run),
             to = from + 1 + draw(r, s->t_end - from);
    struct vt_snapshot *whole = snapshot(c, 0, vt_correlator_extent(c).to.v - T0);
    struct vt_snapshot *part_of = snapshot(c, from, to);
    assert_int_equal(find(whole, l->id)->residual_ns, -error);
    assert_int_not_equal(find(whole, l->id)->ledger_residual_ns, 0);
    int64_t seen = find(part_of, l->id)->residual_ns;
    if (seen == 0 || (seen > 0) != (error < 0))
        fail_msg("an error of %d in [%d,%d) hides from [%d,%d): residual %d", (int)error, (int)s->t_in,
                 (int)s->t_end, (int)from, (int)to, (int)seen);
    vt_snapshot_free(whole);
    vt_snapshot_free(part_of);
}

/* A slice that reaches back into the one before, or ends before it begins, is LOST and counted. */
static void spoil_order(struct rng *r, struct life *l, struct vt_correlator *c, uint32_t i)
{
    struct vt_slice *s = &l->slice[i];
    uint64_t lost = s->t_end - s->t_out;
    if (draw(r, 2))
        s->t_out -= 1 + draw(r, l->slice[i - 1].t_end - l->slice[i - 1].t_out);
    else
        s->t_wake = s->t_in + 1 + draw(r, 100);
    feed_life(c, l, 0);
    struct vt_snapshot *whole = snapshot(c, 0, vt_correlator_extent(c).to.v - T0);
    assert_int_equal(find(whole, l->id)->residual_ns, 0);
    assert_int_equal(of_states(whole, l->id, VT_LOST), lost);
    assert_int_equal(find(whole, l->id)->desync, 1);
    vt_snapshot_free(whole);
}

/* A slice that never came is LOST, to the nanosecond, and the integrals tell that it is missing. */
static void spoil_loss(struct life *l, struct vt_correlator *c, uint32_t i)
{
    const struct vt_slice *s = &l->slice[i];
    l->lost[i] = true;
    feed_life(c, l, 0);
    struct vt_snapshot *whole = snapshot(c, 0, vt_correlator_extent(c).to.v - T0);
    assert_int_equal(find(whole, l->id)->residual_ns, 0);
    assert_int_equal(of_states(whole, l->id, VT_LOST), s->t_end - s->t_out);
    assert_int_equal(find(whole, l->id)->ledger_residual_ns, 2 * (s->t_end - s->t_out));
    vt_snapshot_free(whole);
}

static bool spoilable(const struct life *l, uint32_t i)
{
    const struct vt_slice *s = &l->slice[i], *next = &l->slice[i + 1], *before = &l->slice[i - 1];
    for (uint32_t k = 0; k < l->nr; k++) /* polls would move the errors about */
        if (l->slice[k].tail_poll_ns)
            return false;
    for (uint32_t k = 0; k < l->nr_cp; k++) /* nor is the spoiled slice a comparison's end */
        if (l->cp[k].open.seq == s->seq || l->cp[k].open.seq + 1 == s->seq)
            return false;
    bool compared = l->nr_cp > 1 && l->cp[0].open.seq < s->seq && l->cp[l->nr_cp - 1].open.seq > s->seq;
    return compared && s->t_in < s->t_end && before->t_out < before->t_end && next->t_end <= LENGTH;
}

static void spoiled_recordings_are_detected(void **state)
{
    struct rng r = { .x = 362436069u };
    static struct life l;
    unsigned int spoiled[3] = { 0 };
    (void)state;
    for (unsigned int round = 0; round < ROUNDS / 5; round++) {
        make_life(&r, &l, 1, 1, false, 0);
        uint32_t i = 2 + (uint32_t)draw(&r, l.delivered > 4 ? l.delivered - 4 : 1);
        if (l.delivered < 6 || !spoilable(&l, i))
            continue;
        struct vt_correlator *c = new_correlator();
        unsigned int kind = (unsigned int)draw(&r, 3);
        spoiled[kind]++;
        if (kind == 0)
            spoil_split(&r, &l, c, i);
        else if (kind == 1)
            spoil_order(&r, &l, c, i);
        else
            spoil_loss(&l, c, i);
        vt_correlator_free(c);
    }
    print_message("spoiled and detected: %u splits, %u orders, %u losses\n", spoiled[0], spoiled[1],
                  spoiled[2]);
    assert_true(spoiled[0] > 100 && spoiled[1] > 100 && spoiled[2] > 100);
}

static void without_switches_all_time_is_residual(void **state)
{
    struct rng r = { .x = 521288629u };
    static struct life l;
    (void)state;
    make_life(&r, &l, 1, 1, false, 0);
    struct vt_correlator *c = new_correlator();
    struct vt_host host = { .begin = { T0 }, .end = { T0 + LENGTH }, .probes_off = 1u << VT_PROBE_SWITCH };
    vt_correlator_host(c, &host);
    l.delivered = 0;
    feed_life(c, &l, 0);
    struct vt_snapshot *s = snapshot(c, 1, LENGTH);
    assert_int_equal(find(s, 1)->residual_ns, LENGTH - 1);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_sum_to_the_window_and_equal_the_painted_ones),
        cmocka_unit_test(states_of_a_vm_equal_the_painted_ones),
        cmocka_unit_test(spoiled_recordings_are_detected),
        cmocka_unit_test(without_switches_all_time_is_residual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

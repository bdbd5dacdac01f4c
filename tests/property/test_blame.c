/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Law 2 against a naive model: who has each of two CPUs is painted nanosecond by
 * nanosecond, who waits on which run queue as well.  Slices, moves and what is
 * recorded of a CPU's other occupants are derived from the paint as the ledger
 * would, and the correlator's blame over random windows must equal what counting
 * the paint gives.  The model shares no code with the correlator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "correlator/correlate.h"

#define T0     UINT64_C(1000000)
#define LENGTH 1200 /* ns of a recording */

struct rng {
    uint64_t x;
};

static uint64_t draw(struct rng *r, uint64_t n)
{
    r->x ^= r->x << 13;
    r->x ^= r->x >> 7;
    r->x ^= r->x << 17;
    return r->x % n;
}

enum { CPUS = 2, RIVALS = 4 }; /* vCPUs: 0 and 1 are of VM "a" and "b", 2 and 3 of "a" and "b" again */

/* Who else may have a CPU: two processes of one name, a kernel thread, helpers of either VM, nobody. */
static const struct vt_occupancy others[] = {
    { .kind = VT_OCCUPANT_TASK, .tid = 901, .tgid = 900, .comm = "hog" },
    { .kind = VT_OCCUPANT_TASK, .tid = 950, .tgid = 950, .comm = "hog" },
    { .kind = VT_OCCUPANT_KTHREAD, .tid = 30, .tgid = 30, .comm = "kworker/0:1" },
    { .kind = VT_OCCUPANT_TASK, .tid = 11, .tgid = 10, .comm = "iothread" },
    { .kind = VT_OCCUPANT_KTHREAD, .tid = 21, .tgid = 21, .comm = "vhost-20" },
    { .kind = VT_OCCUPANT_IDLE, .comm = "swapper/0" },
    { .kind = VT_OCCUPANT_FORCED_IDLE, .comm = "swapper/1" },
};
enum { OTHERS = sizeof(others) / sizeof(*others), HELPS_A = RIVALS + 3, HELPS_B = RIVALS + 4, UNKNOWN = -1 };

struct bill {
    int8_t owner[CPUS][LENGTH];            /* of a CPU: a rival, RIVALS + one of the others, UNKNOWN */
    int8_t sits[RIVALS][LENGTH];           /* the CPU on whose run queue it waits, -1: it doesn't wait */
    uint64_t from, to;                     /* the window */
    uint64_t owed[2][VT_NR_CULPRIT_KINDS]; /* by VM "a" and "b" */
    int8_t owes[RIVALS][LENGTH];           /* whom, by kind; -1: it doesn't wait, or not in the window */
    bool elsewhere[RIVALS][LENGTH];        /* of what is owed: the wait began while another CPU was idle */
    unsigned int moves;
};

static int runs_on(const struct bill *b, unsigned int who, uint64_t t)
{
    for (int cpu = 0; cpu < CPUS; cpu++)
        if (b->owner[cpu][t] == (int)who)
            return cpu;
    return -1;
}

static void paint_owners(struct rng *r, struct bill *b)
{
    for (unsigned int cpu = 0; cpu < CPUS; cpu++)
        for (uint64_t t = 0; t < LENGTH;) {
            uint64_t end = t + 1 + draw(r, 80);
            int who = (int)draw(r, RIVALS + OTHERS + 1) - 1;
            if (draw(r, 2))
                who = (int)draw(r, RIVALS);
            for (; t < end && t < LENGTH; t++) /* nobody is on both */
                b->owner[cpu][t] = (int8_t)(cpu && who < RIVALS && b->owner[0][t] == who ? UNKNOWN : who);
        }
}

/* A wait ends in a run, and may begin anywhere before; it may be moved any number of times. */
static void paint_waits(struct rng *r, struct bill *b, unsigned int who)
{
    int queue = -1;
    for (uint64_t t = LENGTH; t-- > 0;) {
        int cpu = runs_on(b, who, t);
        if (cpu >= 0)
            queue = cpu;
        else if (draw(r, 30) == 0)
            queue = -1;
        else if (queue >= 0 && draw(r, 25) == 0)
            queue = !queue;
        b->sits[who][t] = (int8_t)(cpu >= 0 ? -1 : queue);
    }
}

static enum vt_culprit_kind culprit_of(unsigned int victim, int owner, bool woken_onto_idle)
{
    if (owner == UNKNOWN)
        return woken_onto_idle ? VT_CULPRIT_IDLE_CPU : VT_CULPRIT_HOST;
    if (owner < RIVALS)
        return (owner & 1) == (int)(victim & 1) ? VT_CULPRIT_OWN : VT_CULPRIT_VM;
    if (owner == HELPS_A || owner == HELPS_B)
        return (owner == HELPS_B) == (victim & 1) ? VT_CULPRIT_OWN_HELPER : VT_CULPRIT_VM_HELPER;
    switch (others[owner - RIVALS].kind) {
    case VT_OCCUPANT_IDLE:
        return VT_CULPRIT_IDLE_CPU;
    case VT_OCCUPANT_FORCED_IDLE:
        return VT_CULPRIT_FORCED_IDLE;
    case VT_OCCUPANT_KTHREAD:
        return VT_CULPRIT_KTHREAD;
    }
    return VT_CULPRIT_PROCESS;
}

/* What this slice owes in the window (s is on the paint's clock), and its moves. */
static void bill_slice(struct rng *r, struct bill *b, struct vt_correlator *c, unsigned int who,
                       struct vt_slice *s)
{
    uint64_t *owed = b->owed[who & 1];
    if (s->wait_state == VT_PREEMPTED && draw(r, 3) == 0)
        s->throttled_ns = draw(r, s->t_in - s->t_wake + 1);
    if (s->wait_state == VT_WAKING && draw(r, 3) == 0)
        s->flags |= VT_SLICE_WAKE_IDLE;
    if (draw(r, 3) == 0)
        s->flags |= VT_SLICE_ELSEWHERE;
    if (b->from <= s->t_in && s->t_end <= b->to &&
        draw(r, 2)) { /* of a stretch that is cut only a bound is known */
        s->on_cpu[VT_ON_IRQ] = draw(r, s->t_end - s->t_in + 1);
        owed[VT_CULPRIT_IRQ] += s->on_cpu[VT_ON_IRQ];
    }
    s->on_cpu[VT_ON_RUN] = s->t_end - s->t_in - s->on_cpu[VT_ON_IRQ];
    for (uint64_t t = s->t_wake; t <= s->t_in && t < LENGTH;
         t++) { /* the last move may come as late as the run */
        int queue = t < s->t_in ? b->sits[who][t] : s->cpu;
        if (t > s->t_wake && b->sits[who][t - 1] != queue) {
            struct vt_vcpu_move move = { 1 + who, { T0 + t }, (uint32_t)!queue, (uint32_t)queue };
            assert_int_equal(vt_correlator_move(c, &move), 0);
            b->moves++;
        }
        if (t < b->from || t >= b->to || t == s->t_in)
            continue;
        b->owes[who][t] = t < s->t_wake + s->throttled_ns
                              ? VT_CULPRIT_QUOTA
                              : (int8_t)culprit_of(who, b->owner[queue][t], s->flags & VT_SLICE_WAKE_IDLE);
        owed[b->owes[who][t]]++;
        b->elsewhere[who][t] = s->flags & VT_SLICE_ELSEWHERE && b->owes[who][t] != VT_CULPRIT_QUOTA;
    }
}

static void put_rival(struct rng *r, struct bill *b, struct vt_correlator *c, unsigned int who)
{
    struct vt_vcpu row = { .id = 1 + who, .vm = 1 + (who & 1), .index = who / 2, .born = { T0 } };
    uint64_t t = 0;
    assert_int_equal(vt_correlator_vcpu(c, &row), 0);
    for (uint64_t seq = 0; t < LENGTH; seq++) {
        struct vt_slice s = { .seq = seq, .t_out = t, .off_state = VT_HALTED };
        s.flags = seq ? 0 : VT_SLICE_FIRST;
        while (t < LENGTH && runs_on(b, who, t) < 0 && b->sits[who][t] < 0)
            t++;
        s.t_wake = t;
        s.wait_state = s.t_wake == s.t_out ? VT_PREEMPTED : VT_WAKING;
        while (t < LENGTH && runs_on(b, who, t) < 0)
            t++;
        s.t_in = t;
        s.cpu = (uint16_t)(t < LENGTH ? runs_on(b, who, t) : 0);
        while (t < LENGTH && b->owner[s.cpu][t] == (int)who)
            t++;
        s.t_end = t;
        bill_slice(r, b, c, who, &s);
        s.t_out += T0;
        s.t_wake += T0;
        s.t_in += T0;
        s.t_end += T0;
        assert_int_equal(vt_correlator_slices(c, row.id, &s, 1), 0);
    }
}

/* Told of one CPU after the other; a stretch may be told in pieces. */
static void put_others(struct rng *r, const struct bill *b, struct vt_correlator *c)
{
    for (uint32_t cpu = 0; cpu < CPUS; cpu++)
        for (uint64_t t = 0; t < LENGTH;) {
            int who = b->owner[cpu][t];
            uint64_t from = t;
            while (t < LENGTH && b->owner[cpu][t] == who && (t == from || draw(r, 100)))
                t++;
            if (who < RIVALS)
                continue;
            struct vt_occupancy row = others[who - RIVALS];
            row.cpu = cpu;
            row.from.v = T0 + from;
            row.to.v = T0 + t;
            assert_int_equal(vt_correlator_occupancy(c, &row), 0);
        }
}

/* What the paint has of a victim's waits that began while another CPU was idle, by debtor. */
static uint64_t painted_elsewhere(const struct bill *b, unsigned int victim, unsigned int kind)
{
    uint64_t ns = 0;
    for (unsigned int who = victim; who < RIVALS; who += 2)
        for (uint64_t t = b->from; t < b->to; t++)
            ns += b->elsewhere[who][t] && b->owes[who][t] == (int8_t)kind;
    return ns;
}

/* One row for each debtor, by his name, for exactly what the paint has. */
static void check_bill(const struct bill *b, const struct vt_snapshot *s, unsigned int round)
{
    static const char *const names[2][VT_NR_CULPRIT_KINDS] = {
        { "b", "a", "quota", "idle CPU", "forced idle", "b", "a", "hog", "kworker/0:1", "interrupts",
          "host" },
        { "a", "b", "quota", "idle CPU", "forced idle", "a", "b", "hog", "kworker/0:1", "interrupts",
          "host" },
    };
    uint64_t paid[2][VT_NR_CULPRIT_KINDS] = { 0 };
    for (size_t i = 0; i < s->nr_blame; i++) {
        const struct vt_blame *row = &s->blame[i];
        unsigned int victim = row->victim[0] == 'b';
        assert_string_equal(row->culprit, names[victim][row->kind]);
        assert_int_equal(paid[victim][row->kind], 0);
        paid[victim][row->kind] = row->ns;
        assert_int_equal(row->elsewhere_ns, painted_elsewhere(b, victim, row->kind));
    }
    for (unsigned int victim = 0; victim < 2; victim++)
        for (unsigned int kind = 0; kind < VT_NR_CULPRIT_KINDS; kind++)
            if (paid[victim][kind] != b->owed[victim][kind])
                fail_msg("round %u [%d,%d): %c by kind %u: %d ns, counted %d", round, (int)b->from,
                         (int)b->to, 'a' + victim, kind, (int)paid[victim][kind], (int)b->owed[victim][kind]);
    for (size_t i = 0; i < s->nr_guests; i++) {
        const struct vt_guest *g = &s->guests[i];
        uint64_t owed = 0;
        for (unsigned int kind = 0; kind < VT_NR_CULPRIT_KINDS; kind++)
            owed += paid[g->vm.name[0] == 'b'][kind];
        assert_int_equal(g->account.stolen.ns, owed);
    }
}

static struct vt_correlator *new_correlator(void)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { T0 }, .end = { T0 + LENGTH }, .nr_cpus = CPUS };
    struct vt_vm a = { .id = 1, .name = "a", .tgid = 10 }, b = { .id = 2, .name = "b", .tgid = 20 };
    assert_non_null(c);
    vt_correlator_host(c, &host);
    assert_int_equal(vt_correlator_vm(c, &a), 0);
    assert_int_equal(vt_correlator_vm(c, &b), 0);
    return c;
}

static struct vt_correlator *make_recording(struct rng *r, struct bill *b)
{
    struct vt_correlator *c = new_correlator();
    memset(b, 0, sizeof(*b));
    memset(b->owes, -1, sizeof(b->owes));
    b->from = draw(r, LENGTH - 1);
    b->to = b->from + 1 + draw(r, LENGTH - b->from - 1);
    paint_owners(r, b);
    for (unsigned int who = 0; who < RIVALS; who++) {
        paint_waits(r, b, who);
        put_rival(r, b, c, who);
    }
    put_others(r, b, c);
    return c;
}

static struct vt_snapshot *snapshot(const struct vt_correlator *c, uint64_t from, uint64_t to)
{
    const struct vt_window w = { { T0 + from }, { T0 + to } };
    struct vt_snapshot *s = vt_correlate(c, &w, NULL);
    assert_non_null(s);
    return s;
}

static struct vt_snapshot *timeline(const struct vt_correlator *c, uint64_t from, uint64_t to, uint64_t width)
{
    const struct vt_window w = { { T0 + from }, { T0 + to } };
    struct vt_snapshot *s = vt_correlate_timeline(c, &w, width, NULL);
    assert_non_null(s);
    return s;
}

static void each_stolen_nanosecond_has_the_debtor_of_the_paint(void **state)
{
    struct rng r = { .x = 2463534242u };
    static struct bill b;
    uint64_t owed[VT_NR_CULPRIT_KINDS] = { 0 };
    unsigned int moves = 0;
    (void)state;
    for (unsigned int round = 0; round < 5000; round++) {
        struct vt_correlator *c = make_recording(&r, &b);
        struct vt_snapshot *s = snapshot(c, b.from, b.to);
        check_bill(&b, s, round);
        for (unsigned int kind = 0; kind < VT_NR_CULPRIT_KINDS; kind++)
            owed[kind] += b.owed[0][kind] + b.owed[1][kind];
        moves += b.moves;
        vt_snapshot_free(s);
        vt_correlator_free(c);
    }
    for (unsigned int kind = 0; kind < VT_NR_CULPRIT_KINDS; kind++)
        assert_true(owed[kind] > 10000);
    assert_true(moves > 10000);
}

/* ---- by interval ---- */

static bool same_row(const struct vt_blame *a, const struct vt_blame *b)
{
    return a->kind == b->kind && !strcmp(a->victim, b->victim) && !strcmp(a->culprit, b->culprit);
}

struct sums {
    uint64_t ns, elsewhere_ns;
};

static bool same_sums(struct sums a, struct sums b)
{
    return a.ns == b.ns && a.elsewhere_ns == b.elsewhere_ns;
}

static struct sums row_sums(const struct vt_snapshot *s, const struct vt_blame *like)
{
    struct sums sums = { 0 };
    for (size_t i = 0; i < s->nr_blame; i++)
        if (same_row(&s->blame[i], like)) {
            sums.ns += s->blame[i].ns;
            sums.elsewhere_ns += s->blame[i].elsewhere_ns;
        }
    return sums;
}

enum { ALL_INTERVALS = -1 };

static struct sums cell_sums(const struct vt_snapshot *t, int64_t interval, size_t row)
{
    struct sums sums = { 0 };
    for (size_t i = 0; i < t->nr_blame_cells; i++) {
        const struct vt_blame_cell *cell = &t->blame_cells[i];
        if (cell->row != row || (interval != ALL_INTERVALS && cell->interval != interval))
            continue;
        sums.ns += cell->ns;
        sums.elsewhere_ns += cell->elsewhere_ns;
    }
    return sums;
}

/* Rows of the timeline that are not those of the whole window, or that their cells don't sum to. */
static unsigned int wrong_rows(const struct vt_snapshot *t, const struct vt_snapshot *whole)
{
    unsigned int wrong = t->nr_blame != whole->nr_blame;
    for (size_t row = 0; row < t->nr_blame && !wrong; row++) {
        const struct vt_blame *a = &t->blame[row], *b = &whole->blame[row];
        const struct sums sums = cell_sums(t, ALL_INTERVALS, row);
        wrong += !same_row(a, b) || !same_sums(sums, (struct sums){ a->ns, a->elsewhere_ns }) ||
                 !same_sums(sums, (struct sums){ b->ns, b->elsewhere_ns });
    }
    for (size_t i = 1; i < t->nr_blame_cells; i++) {
        const struct vt_blame_cell *a = &t->blame_cells[i - 1], *b = &t->blame_cells[i];
        wrong += a->interval > b->interval || (a->interval == b->interval && a->row >= b->row);
    }
    return wrong;
}

/* Of one interval: rows that its own window has otherwise, victims who owe what was not stolen. */
static unsigned int wrong_cells(const struct vt_snapshot *t, uint32_t interval, const struct vt_snapshot *own)
{
    unsigned int wrong = 0;
    for (size_t row = 0; row < t->nr_blame; row++)
        wrong += !same_sums(cell_sums(t, interval, row), row_sums(own, &t->blame[row]));
    for (size_t i = 0; i < own->nr_guests; i++) {
        uint64_t owed = 0;
        for (size_t row = 0; row < t->nr_blame; row++)
            owed += strcmp(t->blame[row].victim, own->guests[i].vm.name) ? 0 : cell_sums(t, interval, row).ns;
        wrong += owed != own->guests[i].account.stolen.ns;
    }
    return wrong;
}

/* Of one interval [from, to): kinds of debtors of which the paint has another sum; interrupts have no place
 * in it. */
static unsigned int wrong_kinds(const struct vt_snapshot *t, uint32_t interval, const struct bill *b,
                                uint64_t from, uint64_t to)
{
    uint64_t painted[2][VT_NR_CULPRIT_KINDS] = { 0 }, told[2][VT_NR_CULPRIT_KINDS] = { 0 };
    unsigned int wrong = 0;
    for (unsigned int who = 0; who < RIVALS; who++)
        for (uint64_t at = from; at < to; at++)
            if (b->owes[who][at] >= 0)
                painted[who & 1][b->owes[who][at]]++;
    for (size_t row = 0; row < t->nr_blame; row++)
        told[t->blame[row].victim[0] == 'b'][t->blame[row].kind] += cell_sums(t, interval, row).ns;
    for (unsigned int kind = 0; kind < VT_NR_CULPRIT_KINDS; kind++)
        if (kind != VT_CULPRIT_IRQ)
            wrong += painted[0][kind] != told[0][kind] || painted[1][kind] != told[1][kind];
    return wrong;
}

/* All that is wrong with a timeline. */
static unsigned int judge(const struct vt_correlator *c, const struct bill *b, const struct vt_snapshot *t)
{
    struct vt_snapshot *s = snapshot(c, b->from, b->to);
    unsigned int wrong = wrong_rows(t, s);
    uint32_t interval = 0;
    vt_snapshot_free(s);
    for (uint64_t at = b->from, end; at < b->to; at = end, interval++) {
        end = b->to - at > t->interval_ns ? at + t->interval_ns : b->to;
        s = snapshot(c, at, end);
        wrong += wrong_cells(t, interval, s) + wrong_kinds(t, interval, b, at, end);
        vt_snapshot_free(s);
    }
    return wrong;
}

static void intervals_are_what_their_own_windows_show_and_sum_to_the_whole(void **state)
{
    struct rng r = { .x = 521288629u };
    static struct bill b;
    size_t cells = 0, interrupts = 0;
    (void)state;
    for (unsigned int round = 0; round < 400; round++) {
        struct vt_correlator *c = make_recording(&r, &b);
        struct vt_snapshot *t = timeline(c, b.from, b.to, 1 + draw(&r, round % 2 ? 60 : 600));
        if (judge(c, &b, t))
            fail_msg("round %u: %u wrong in [%d,%d) by %d ns", round, judge(c, &b, t), (int)b.from, (int)b.to,
                     (int)t->interval_ns);
        cells += t->nr_blame_cells;
        for (size_t i = 0; i < t->nr_blame_cells; i++)
            interrupts += t->blame[t->blame_cells[i].row].kind == VT_CULPRIT_IRQ;
        vt_snapshot_free(t);
        vt_correlator_free(c);
    }
    print_message("%d cells, %d of interrupts\n", (int)cells, (int)interrupts);
    assert_true(cells > 5000 && interrupts > 1000);
}

/* The control: one nanosecond too many, in the wrong interval, or with the wrong debtor is seen. */
static void a_nanosecond_in_the_wrong_cell_is_seen(void **state)
{
    struct rng r = { .x = 362436069u };
    static struct bill b;
    unsigned int spoiled = 0;
    (void)state;
    for (unsigned int round = 0; round < 100; round++) {
        struct vt_correlator *c = make_recording(&r, &b);
        struct vt_snapshot *t = timeline(c, b.from, b.to, 1 + draw(&r, 200));
        const size_t n = t->nr_blame_cells;
        const size_t i = n > 1 ? draw(&r, n - 1) : 0;
        if (n > 1) {
            if (round % 3) {
                t->blame_cells[i].ns--;
                t->blame_cells[i + 1].ns += draw(&r, 4) > 0;
            } else {
                t->blame_cells[i].elsewhere_ns++;
            }
            assert_int_not_equal(judge(c, &b, t), 0);
            spoiled++;
        }
        vt_snapshot_free(t);
        vt_correlator_free(c);
    }
    assert_true(spoiled > 50);
}

/* ---- without slices: what grew between two checkpoints is shared out to the intervals between them ---- */

static void put_checkpoints(struct rng *r, struct vt_correlator *c, int64_t id)
{
    struct vt_vcpu row = { .id = id, .vm = 1 + id % 2, .born = { T0 } };
    struct vt_checkpoint cp = { .vcpu = id };
    assert_int_equal(vt_correlator_vcpu(c, &row), 0);
    for (uint64_t at = 0; at < LENGTH;) {
        const uint64_t grown = 1 + draw(r, 300);
        at += grown;
        for (uint64_t i = 0; i < grown; i++) {
            static const uint8_t states[] = { VT_GUEST,  VT_KVM,    VT_IRQ,      VT_PREEMPTED,
                                              VT_WAKING, VT_HALTED, VT_THROTTLED };
            const uint8_t s = states[draw(r, sizeof(states))];
            cp.ns[s]++;
            cp.wake_idle_ns += s == VT_WAKING && draw(r, 2);
        }
        cp.at.v = cp.last.v = T0 + at;
        cp.state = VT_GUEST;
        cp.open.seq++;
        assert_int_equal(vt_correlator_checkpoint(c, &cp), 0);
    }
}

static void without_slices_intervals_sum_to_the_whole_as_well(void **state)
{
    struct rng r = { .x = 88675123u };
    (void)state;
    for (unsigned int round = 0; round < 200; round++) {
        struct vt_correlator *c = new_correlator();
        struct vt_host host = {
            .begin = { T0 }, .end = { T0 + LENGTH }, .nr_cpus = CPUS, .ledger_only = true
        };
        vt_correlator_host(c, &host);
        for (int64_t id = 1; id <= RIVALS; id++)
            put_checkpoints(&r, c, id);
        const uint64_t from = draw(&r, LENGTH - 1), to = from + 1 + draw(&r, LENGTH - from - 1);
        struct vt_snapshot *t = timeline(c, from, to, 1 + draw(&r, 200)), *s = snapshot(c, from, to);
        assert_int_equal(wrong_rows(t, s), 0);
        vt_snapshot_free(s);
        uint32_t interval = 0;
        for (uint64_t at = from, end; at < to; at = end, interval++) {
            end = to - at > t->interval_ns ? at + t->interval_ns : to;
            s = snapshot(c, at, end);
            assert_int_equal(wrong_cells(t, interval, s), 0);
            assert_int_equal(s->guests[0].vcpus[0].residual_ns, 0);
            vt_snapshot_free(s);
        }
        vt_snapshot_free(t);
        vt_correlator_free(c);
    }
}

/* ---- more slices than are swept at once ---- */

enum { MANY = 160000, MANY_WINDOWS = 10, TURN = 100 }; /* slices of each CPU; a window of them is one part */

static void add_cpu(struct vt_cpu_figures *to, const struct vt_cpu_figures *f)
{
    to->vcpu_ns += f->vcpu_ns;
    to->helper_ns += f->helper_ns;
    to->process_ns += f->process_ns;
    to->kthread_ns += f->kthread_ns;
    to->idle_ns += f->idle_ns;
    to->unwatched_ns += f->unwatched_ns;
    to->overlap_ns += f->overlap_ns;
}

/* Two vCPUs take turns on each CPU, and a process comes in between; who waits is interrupted now and then. */
static void put_many(struct rng *r, struct vt_correlator *c)
{
    uint64_t out[RIVALS], at[CPUS] = { T0, T0 };
    for (int64_t id = 1; id <= RIVALS; id++) {
        struct vt_vcpu row = { .id = id, .vm = 1 + (id & 1), .born = { T0 } };
        assert_int_equal(vt_correlator_vcpu(c, &row), 0);
        out[id - 1] = T0;
    }
    for (uint64_t n = 0; n < MANY; n++)
        for (uint16_t cpu = 0; cpu < CPUS; cpu++) {
            const unsigned int who = cpu * 2u + (unsigned int)(n & 1);
            struct vt_slice s = { .seq = n / 2, .t_out = out[who], .t_wake = out[who], .cpu = cpu };
            struct vt_occupancy o = others[draw(r, OTHERS)];
            s.wait_state = VT_PREEMPTED;
            s.flags = n < 2 ? VT_SLICE_FIRST : 0;
            o.cpu = cpu;
            o.from.v = at[cpu];
            o.to.v = s.t_in = at[cpu] + 1 + draw(r, n % 1000 ? TURN : 50000 * TURN);
            at[cpu] = out[who] = s.t_end = s.t_in + 1 + draw(r, TURN);
            s.on_cpu[VT_ON_IRQ] = draw(r, s.t_end - s.t_in);
            s.on_cpu[VT_ON_RUN] = s.t_end - s.t_in - s.on_cpu[VT_ON_IRQ];
            assert_int_equal(vt_correlator_occupancy(c, &o), 0);
            assert_int_equal(vt_correlator_slices(c, 1 + who, &s, 1), 0);
        }
    struct vt_host host = { .begin = { T0 }, .nr_cpus = CPUS };
    host.end.v = at[0] < at[1] ? at[0] : at[1];
    vt_correlator_host(c, &host);
}

static void a_window_that_is_swept_in_parts_is_the_sum_of_its_parts(void **state)
{
    struct rng r = { .x = 123456789u };
    struct vt_correlator *c = new_correlator();
    (void)state;
    put_many(&r, c);
    struct vt_window all = vt_correlator_extent(c);
    const uint64_t length = all.to.v - all.from.v, step = length / MANY_WINDOWS + 1;
    struct vt_snapshot *t = timeline(c, 0, length, step), *whole = snapshot(c, 0, length);
    struct vt_cpu_figures sums[CPUS] = { { .cpu = 0 }, { .cpu = 1 } };
    assert_int_equal(wrong_rows(t, whole), 0);
    assert_true(whole->nr_blame > 12);
    for (uint32_t i = 0; i < MANY_WINDOWS; i++) {
        const uint64_t end = (i + 1) * step;
        struct vt_snapshot *s = snapshot(c, i * step, end < length ? end : length);
        assert_int_equal(wrong_cells(t, i, s), 0);
        for (unsigned int cpu = 0; cpu < CPUS; cpu++)
            add_cpu(&sums[cpu], &s->cpus[cpu]);
        vt_snapshot_free(s);
    }
    for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
        const struct vt_cpu_figures *f = &whole->cpus[cpu];
        assert_memory_equal(&sums[cpu], f, sizeof(*f));
        assert_int_equal(
            f->vcpu_ns + f->helper_ns + f->process_ns + f->kthread_ns + f->idle_ns + f->unwatched_ns, length);
        assert_int_equal(f->overlap_ns, 0);
    }
    vt_snapshot_free(t);
    vt_snapshot_free(whole);
    vt_correlator_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_stolen_nanosecond_has_the_debtor_of_the_paint),
        cmocka_unit_test(intervals_are_what_their_own_windows_show_and_sum_to_the_whole),
        cmocka_unit_test(a_nanosecond_in_the_wrong_cell_is_seen),
        cmocka_unit_test(without_slices_intervals_sum_to_the_whole_as_well),
        cmocka_unit_test(a_window_that_is_swept_in_parts_is_the_sum_of_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

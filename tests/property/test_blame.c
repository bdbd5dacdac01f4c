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
};
enum { OTHERS = sizeof(others) / sizeof(*others), HELPS_A = RIVALS + 3, HELPS_B = RIVALS + 4, UNKNOWN = -1 };

struct bill {
    int8_t owner[CPUS][LENGTH];            /* of a CPU: a rival, RIVALS + one of the others, UNKNOWN */
    int8_t sits[RIVALS][LENGTH];           /* the CPU on whose run queue it waits, -1: it doesn't wait */
    uint64_t from, to;                     /* the window */
    uint64_t owed[2][VT_NR_CULPRIT_KINDS]; /* by VM "a" and "b" */
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
        if (t < s->t_wake + s->throttled_ns)
            owed[VT_CULPRIT_QUOTA]++;
        else
            owed[culprit_of(who, b->owner[queue][t], s->flags & VT_SLICE_WAKE_IDLE)]++;
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

/* One row for each debtor, by his name, for exactly what the paint has. */
static void check_bill(const struct bill *b, const struct vt_snapshot *s, unsigned int round)
{
    static const char *const names[2][VT_NR_CULPRIT_KINDS] = {
        { "b", "a", "quota", "idle CPU", "b", "a", "hog", "kworker/0:1", "interrupts", "host" },
        { "a", "b", "quota", "idle CPU", "a", "b", "hog", "kworker/0:1", "interrupts", "host" },
    };
    uint64_t paid[2][VT_NR_CULPRIT_KINDS] = { 0 };
    for (size_t i = 0; i < s->nr_blame; i++) {
        const struct vt_blame *row = &s->blame[i];
        unsigned int victim = row->victim[0] == 'b';
        assert_string_equal(row->culprit, names[victim][row->kind]);
        assert_int_equal(paid[victim][row->kind], 0);
        paid[victim][row->kind] = row->ns;
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

static void each_stolen_nanosecond_has_the_debtor_of_the_paint(void **state)
{
    struct rng r = { .x = 2463534242u };
    static struct bill b;
    uint64_t owed[VT_NR_CULPRIT_KINDS] = { 0 };
    unsigned int moves = 0;
    (void)state;
    for (unsigned int round = 0; round < 5000; round++) {
        struct vt_correlator *c = new_correlator();
        memset(&b, 0, sizeof(b));
        b.from = draw(&r, LENGTH - 1);
        b.to = b.from + 1 + draw(&r, LENGTH - b.from - 1);
        paint_owners(&r, &b);
        for (unsigned int who = 0; who < RIVALS; who++) {
            paint_waits(&r, &b, who);
            put_rival(&r, &b, c, who);
        }
        put_others(&r, &b, c);
        struct vt_window window = { { T0 + b.from }, { T0 + b.to } };
        struct vt_snapshot *s = vt_correlate(c, &window, NULL);
        assert_non_null(s);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_stolen_nanosecond_has_the_debtor_of_the_paint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

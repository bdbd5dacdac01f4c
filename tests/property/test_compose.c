/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU that several threads make up, against a naive model: the members' lives
 * are painted nanosecond by nanosecond, their slices and checkpoints derived from
 * the paint, some are lost; then the composed vCPU's time by class in random
 * windows must equal what counting the paint gives, rule by rule.  The model
 * shares no code with the correlator.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdint.h>
#include <string.h>

#include "base/state.h"
#include "correlator/correlate.h"

#define ROUNDS      20000
#define T0          UINT64_C(1000000)
#define LENGTH      1000 /* ns of a recording */
#define MAX_MEMBERS 6
#define MAX_SLICES  64
#define MAIN_TID    100

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

/* One member; times are offsets from T0. */
struct member {
    bool is_main;
    uint64_t born, died;               /* died == LENGTH: it lives on */
    uint8_t painted[LENGTH];           /* its true state */
    uint8_t shown[LENGTH];             /* LOST where a slice is */
    struct vt_slice slice[MAX_SLICES]; /* the last one may be unfinished */
    bool lost[MAX_SLICES], any_lost;
    size_t nr;
};

static void paint(uint8_t *p, uint64_t from, uint64_t to, uint8_t v)
{
    for (uint64_t t = from; t < to && t < LENGTH; t++)
        p[t] = v;
}

static void paint_slice(struct member *m, const struct vt_slice *s)
{
    paint(m->painted, s->t_out, s->t_wake, s->off_state);
    paint(m->painted, s->t_wake, s->t_wake + s->throttled_ns, VT_THROTTLED);
    paint(m->painted, s->t_wake + s->throttled_ns, s->t_in, s->wait_state);
    paint(m->painted, s->t_in, s->t_end, VT_RUN);
}

static uint64_t make_slice(struct rng *r, struct member *m, uint64_t at)
{
    static const uint8_t off[] = { VT_BLOCKED, VT_STOPPED, VT_STOPPED, VT_IDLEQ, VT_IDLEQ };
    struct vt_slice *s = &m->slice[m->nr];
    const bool sleeps = draw(r, 3) > 0;
    *s = (struct vt_slice){ .seq = m->nr, .t_out = at, .cpu = (uint16_t)draw(r, 2) };
    s->flags = m->nr == 0 ? VT_SLICE_FIRST : 0;
    s->off_state = sleeps ? off[draw(r, 5)] : VT_LOST;
    s->t_wake = at + (sleeps ? 1 + draw(r, 80) : 0);
    s->wait_state = sleeps ? VT_WAKING : VT_PREEMPTED;
    s->t_in = s->t_wake + draw(r, 30);
    s->throttled_ns = draw(r, 5) ? 0 : draw(r, s->t_in - s->t_wake + 1);
    s->t_end = s->t_in + 1 + draw(r, 40);
    if (m->died < LENGTH && (s->t_end >= m->died || m->nr == MAX_SLICES - 1)) { /* it dies on a CPU */
        m->died = s->t_end < LENGTH ? s->t_end : m->died;
        s->t_wake = s->t_wake < m->died ? s->t_wake : m->died;
        s->t_in = s->t_in < m->died ? s->t_in : m->died;
        s->t_end = m->died;
        s->throttled_ns = 0;
        s->flags |= VT_SLICE_LAST;
    } else if (m->nr == MAX_SLICES - 1) {
        s->t_end = LENGTH + 1;
    }
    s->on_cpu[VT_ON_RUN] = s->t_end - s->t_in;
    paint_slice(m, s);
    m->nr++;
    return s->t_end;
}

static void make_member(struct rng *r, struct member *m, bool is_main, unsigned loss)
{
    memset(m, 0, sizeof(*m));
    m->is_main = is_main;
    m->born = draw(r, is_main ? 50 : LENGTH - 200);
    m->died = draw(r, is_main ? 8 : 2) ? LENGTH : m->born + 20 + draw(r, LENGTH - 20 - m->born);
    paint(m->painted, 0, LENGTH, VT_ABSENT);
    for (uint64_t at = m->born; at < m->died;)
        at = make_slice(r, m, at);
    memcpy(m->shown, m->painted, sizeof(m->shown));
    for (size_t i = 0; i < m->nr; i++) {
        const struct vt_slice *s = &m->slice[i];
        /* not the last that came: until the next did, the recording would end before it */
        m->lost[i] = loss && i + 1 < m->nr && m->slice[i + 1].t_end <= LENGTH && draw(r, loss) == 0;
        m->any_lost = m->any_lost || m->lost[i];
        if (m->lost[i])
            paint(m->shown, s->t_out, s->t_end, VT_LOST);
    }
}

/* ---- to the correlator ---- */

static struct vt_slice shifted(struct vt_slice s)
{
    s.t_out += T0;
    s.t_wake += T0;
    s.t_in += T0;
    s.t_end += T0;
    return s;
}

/* The ledger's look at the end. */
static struct vt_checkpoint last_look(const struct member *m, int64_t id)
{
    const struct vt_slice *s = &m->slice[m->nr - 1];
    struct vt_checkpoint cp = { .vcpu = id, .at = { T0 + LENGTH }, .open.flags = VT_SLICE_OPEN };
    uint64_t last = m->died;
    if (s->t_end <= LENGTH) { /* between two slices: over, or just switched out */
        cp.open.seq = s->seq + 1;
        cp.open.t_out = T0 + s->t_end;
        cp.open.off_state = cp.state = m->died < LENGTH ? VT_ABSENT : VT_IDLEQ;
        last = s->t_end;
    } else {
        cp.open = shifted(*s);
        cp.open.flags |= VT_SLICE_OPEN;
        cp.open.t_end = 0;
        cp.open.on_cpu[VT_ON_RUN] = 0;
        last = s->t_in <= LENGTH ? s->t_in : s->t_wake <= LENGTH ? s->t_wake : s->t_out;
        cp.state = (enum vt_state)(last == s->t_in     ? VT_RUN
                                   : last == s->t_wake ? s->wait_state
                                                       : s->off_state);
        if (last < s->t_in) {
            cp.open.t_in = 0;
            if (last == s->t_wake && s->throttled_ns) { /* how it goes on is not known yet */
                cp.open.throttled_ns = 0;
                cp.state = VT_THROTTLED;
            }
        }
        if (last < s->t_wake)
            cp.open.t_wake = 0;
    }
    cp.last.v = T0 + last;
    for (uint64_t t = m->born; t < last && t < LENGTH; t++)
        cp.ns[m->painted[t]]++;
    return cp;
}

static void feed(struct vt_correlator *c, struct member *m, int64_t id)
{
    const struct vt_vcpu row = {
        .id = id, .vm = 1, .tid = m->is_main ? MAIN_TID : MAIN_TID + (uint32_t)id, .born = { T0 + m->born }
    };
    assert_int_equal(vt_correlator_vcpu(c, &row), 0);
    for (size_t i = 0; i < m->nr; i++) {
        const struct vt_slice s = shifted(m->slice[i]);
        if (m->slice[i].t_end <= LENGTH && !m->lost[i])
            assert_int_equal(vt_correlator_slices(c, id, &s, 1), 0);
    }
    const struct vt_checkpoint cp = last_look(m, id);
    if (cp.state == VT_THROTTLED) /* and is then told as such up to the end */
        paint(m->shown, cp.last.v - T0, LENGTH, VT_THROTTLED);
    assert_int_equal(vt_correlator_checkpoint(c, &cp), 0);
}

/* ---- the rules, nanosecond by nanosecond ---- */

static bool any_in(const struct member *members, size_t n, uint64_t t, enum vt_class class)
{
    for (size_t i = 0; i < n; i++)
        if (vt_states[members[i].shown[t]].class == class)
            return true;
    return false;
}

static enum vt_class expected(const struct member *members, size_t n, uint64_t t)
{
    static const enum vt_class order[] = { VT_CLASS_USED, VT_CLASS_UNKNOWN, VT_CLASS_STOLEN,
                                           VT_CLASS_STALLED };
    bool present = false;
    const struct member *kernel = NULL;
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
        if (any_in(members, n, t, order[i]))
            return order[i];
    for (size_t i = 0; i < n; i++) {
        kernel = members[i].is_main ? &members[i] : kernel;
        present = present || members[i].shown[t] != VT_ABSENT;
    }
    if (kernel && kernel->shown[t] == VT_STOPPED)
        return VT_CLASS_PAUSED;
    if (kernel && kernel->shown[t] == VT_IDLEQ)
        return VT_CLASS_IDLE;
    return kernel || !present ? VT_CLASS_NONE : VT_CLASS_UNKNOWN;
}

static uint64_t class_ns(const struct vt_account *a, enum vt_class class)
{
    uint64_t ns = 0;
    for (unsigned i = 0; i < VT_NR_STATES; i++)
        ns += vt_states[i].class == class ? a->state[i].ns : 0;
    return ns;
}

static void check_window(const struct vt_correlator *c, const struct member *members, size_t n, uint64_t from,
                         uint64_t to, unsigned round)
{
    const struct vt_window w = { { T0 + from }, { T0 + to } };
    struct vt_err err;
    struct vt_snapshot *s = vt_correlate(c, &w, &err);
    uint64_t count[VT_NR_CLASSES] = { 0 }, blamed = 0;
    bool any_lost = false;
    assert_non_null(s);
    assert_int_equal(s->nr_guests, 1);
    assert_int_equal(s->guests[0].nr_vcpus, 1);
    const struct vt_vcpu_figures *f = &s->guests[0].vcpus[0];
    for (uint64_t t = from; t < to; t++)
        count[expected(members, n, t)]++;
    for (size_t i = 0; i < n; i++)
        any_lost = any_lost || members[i].any_lost;
    if (f->residual_ns || (!any_lost && f->ledger_residual_ns) || s->guests[0].joint.residual_ns)
        fail_msg("round %u [%d,%d): residual %d, ledger's %d, joint %d", round, (int)from, (int)to,
                 (int)f->residual_ns, (int)f->ledger_residual_ns, (int)s->guests[0].joint.residual_ns);
    for (unsigned i = 0; i < VT_NR_CLASSES; i++)
        if (class_ns(&f->account, (enum vt_class)i) != count[i])
            fail_msg("round %u [%d,%d) %s: %d ns, painted %d", round, (int)from, (int)to,
                     vt_class_name((enum vt_class)i), (int)class_ns(&f->account, (enum vt_class)i),
                     (int)count[i]);
    for (size_t i = 0; i < s->nr_blame; i++)
        blamed += s->blame[i].ns;
    assert_int_equal(blamed, f->account.stolen.ns);
    vt_snapshot_free(s);
}

static void test_a_composed_vcpu_is_what_the_rules_make_of_its_members(void **state)
{
    struct rng r = { .x = 88172645463325252u };
    static struct member members[MAX_MEMBERS];
    uint64_t seen[VT_NR_CLASSES] = { 0 };
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const struct vt_host host = { .begin = { T0 }, .end = { T0 + LENGTH }, .nr_cpus = 2 };
        const struct vt_vm vm = { .id = 1, .kind = VT_VM_UML, .tgid = MAIN_TID, .name = "uml" };
        struct vt_correlator *c = vt_correlator_new();
        const size_t n = 1 + draw(&r, MAX_MEMBERS), missing = draw(&r, 10);
        vt_correlator_host(c, &host);
        assert_int_equal(vt_correlator_vm(c, &vm), 0);
        for (size_t i = 0; i < n; i++) {
            make_member(&r, &members[i], i == 0 && missing, draw(&r, 2) ? 0 : 10);
            feed(c, &members[i], (int64_t)i + 1);
        }
        for (uint64_t t = 0; t < LENGTH; t++)
            seen[expected(members, n, t)]++;
        check_window(c, members, n, 0, LENGTH, round);
        const uint64_t from = draw(&r, LENGTH - 1);
        check_window(c, members, n, from, from + 1 + draw(&r, LENGTH - from), round);
        vt_correlator_free(c);
    }
    for (unsigned i = 0; i < VT_NR_CLASSES; i++) /* the model is not blind to any */
        if (i != VT_CLASS_OVERHEAD)
            assert_true(seen[i] > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_composed_vcpu_is_what_the_rules_make_of_its_members),
    };
    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}

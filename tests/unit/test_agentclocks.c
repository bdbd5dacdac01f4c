/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is told of a guest's clocks stays bounded, and says what it left out. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "correlator/correlate.h"

#define S UINT64_C(1000000000)

static struct vt_err err;

/* A guest of KVM whose TSC is the host's, for `seconds`. */
static struct vt_correlator *new_recording(uint64_t seconds)
{
    struct vt_correlator *c = vt_correlator_new();
    const struct vt_host host = {
        .begin = { 0 }, .end = { (seconds + 1) * S }, .nr_cpus = 1, .tsc_stable = true
    };
    const struct vt_vm vm = { .id = 1, .kind = VT_VM_KVM, .name = "a" };
    const struct vt_vcpu vcpu = { .id = 1, .vm = 1, .tid = 10 };
    const struct vt_tsc_epoch epoch = { .vcpu = 1 };
    assert_non_null(c);
    assert_int_equal(vt_correlator_host(c, &host), 0);
    assert_int_equal(vt_correlator_vm(c, &vm), 0);
    assert_int_equal(vt_correlator_vcpu(c, &vcpu), 0);
    assert_int_equal(vt_correlator_tsc_epoch(c, &epoch), 0);
    for (uint64_t i = 0; i <= seconds + 1; i += 10) {
        const struct vt_clock_pair pair = { .ns = { i * S }, .tsc = { i * S }, .bound_ns = 10 };
        assert_int_equal(vt_correlator_clock_pair(c, &pair), 0);
    }
    struct vt_slice slice = { .t_end = (seconds + 1) * S, .flags = VT_SLICE_FIRST };
    slice.on_cpu[VT_ON_RUN] = slice.t_end;
    assert_int_equal(vt_correlator_slices(c, 1, &slice, 1), 0);
    return c;
}

/* Every second a view, and its CLOCK_REALTIME has been set forth or back by a minute. */
static void step_at(struct vt_correlator *c, uint64_t second)
{
    struct vt_guest_record row = { .vm = 1, .host = { second * S + 1000 }, .type = VTG_VIEW };
    row.view.have = 1u << VTG_OS_REALTIME;
    for (size_t i = 0; i <= VTG_NR_OS_CLOCKS; i++)
        row.view.tsc[i] = second * S + i;
    row.view.ns[VTG_OS_REALTIME] = second * S + (second % 2 ? 60 * S : 0);
    assert_int_equal(vt_correlator_guest_record(c, &row), 0);
}

static void the_newest_steps_are_told_and_the_others_counted(void **state)
{
    enum { VIEWS = 5000 };
    struct vt_correlator *c = new_recording(VIEWS);
    (void)state;
    for (uint64_t i = 1; i <= VIEWS; i++)
        step_at(c, i);
    struct vt_snapshot *s = vt_correlate(c, NULL, &err);
    assert_non_null(s);
    const struct vt_agent_clocks *k = s->guests[0].agent_clocks;
    assert_non_null(k);
    assert_int_equal(k->method, VT_CLOCK_KVM);
    assert_int_equal(k->os[VTG_OS_REALTIME].steps, VIEWS - 1);
    assert_int_equal(k->nr_events, VT_MAX_CLOCK_EVENTS);
    assert_int_equal(k->nr_events + k->events_left_out, VIEWS - 1);
    /* of each second one: the last 1024 */
    assert_true(k->events[VT_MAX_CLOCK_EVENTS - 1].at.v / S == VIEWS);
    assert_true(k->events[0].at.v / S == VIEWS - VT_MAX_CLOCK_EVENTS + 1);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* A view ten times a second: what MONOTONIC is ahead of MONOTONIC_RAW is known to +- u. */
static void view_at(struct vt_correlator *c, uint64_t at, uint64_t ahead, uint64_t u)
{
    struct vt_guest_record row = { .vm = 1, .host = { at + 10000 }, .type = VTG_VIEW };
    row.view.have = 1u << VTG_OS_MONOTONIC | 1u << VTG_OS_RAW;
    for (size_t i = 0; i <= VTG_NR_OS_CLOCKS; i++)
        row.view.tsc[i] = at + (i > VTG_OS_MONOTONIC ? (i - VTG_OS_MONOTONIC) * (u - 1) : 0);
    row.view.ns[VTG_OS_RAW] = at + u;
    row.view.ns[VTG_OS_MONOTONIC] = at + ahead;
    assert_int_equal(vt_correlator_guest_record(c, &row), 0);
}

/*
 * NTP's +200 ppm from 2 s on; at 4 s another clocksource takes 1.3 us of it, of which the agent tells
 * 0.9 s later. All differences until then allow the rate, and all until some time later allow 199.2 ppm.
 */
static void a_rate_ends_before_another_clocksource(void **state)
{
    struct vt_correlator *c = new_recording(9);
    struct vt_guest_record source = { .vm = 1, .host = { 49 * S / 10 }, .type = VTG_EVENT };
    (void)state;
    source.event.kind = VTG_EVENT_CLOCKSOURCE;
    source.event.tsc = 49 * S / 10;
    memcpy(source.event.text, "tsc hpet", 9);
    for (uint64_t i = 1; i < 90; i++) {
        const uint64_t at = i * S / 10, slewed = at > 2 * S ? (at - 2 * S) / 5000 : 0;
        if (i == 50)
            assert_int_equal(vt_correlator_guest_record(c, &source), 0);
        view_at(c, at, slewed - (at > 4 * S ? 1300 : 0), i > 21 && i <= 40 ? 1900 : 100);
    }
    struct vt_snapshot *s = vt_correlate(c, NULL, &err);
    assert_non_null(s);
    const struct vt_agent_clocks *k = s->guests[0].agent_clocks;
    size_t slews = 0;
    for (size_t i = 0; i < k->nr_events; i++) {
        const struct vt_clock_event *e = &k->events[i];
        if (e->source != VT_CLOCK_EVENT_SLEW)
            continue;
        slews++;
        assert_true(e->a - e->b <= 200000 && e->a + e->b >= 200000); /* ppb */
    }
    assert_int_equal(slews, 1);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* ---- marks ---- */

static void mark_at(struct vt_correlator *c, uint64_t ns, enum vtg_mark_kind kind, uint32_t id)
{
    struct vt_guest_record row = { .vm = 1, .host = { ns + 1000 }, .type = VTG_MARK };
    row.mark.clocks.have = VTG_HAVE_TSC;
    row.mark.clocks.tsc_before = row.mark.clocks.tsc_after = ns;
    row.mark.kind = kind;
    row.mark.id = id;
    assert_int_equal(vt_correlator_guest_record(c, &row), 0);
}

static void marks_without_end_are_bounded_and_counted(void **state)
{
    enum { MARKS = 10000 };
    struct vt_correlator *c = new_recording(100);
    (void)state;
    for (uint32_t i = 0; i < MARKS; i++)
        mark_at(c, S + i * UINT64_C(1000000), i % 2 ? VTG_MARK_POINT : VTG_MARK_BEGIN, i);
    struct vt_snapshot *s = vt_correlate(c, NULL, &err);
    assert_non_null(s);
    const struct vt_guest *g = &s->guests[0];
    assert_int_equal(g->nr_benchmarks, 0);
    assert_int_equal(g->nr_marks, 1024);
    assert_int_equal(g->nr_marks + g->marks_left_out, MARKS);
    assert_true(g->marks_lacking > 1000);
    assert_true(g->marks[1023].at.v == S + (MARKS - 1) * UINT64_C(1000000));
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_steps_are_told_and_the_others_counted),
        cmocka_unit_test(a_rate_ends_before_another_clocksource),
        cmocka_unit_test(marks_without_end_are_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

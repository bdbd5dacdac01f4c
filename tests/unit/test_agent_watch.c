/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A view that looks as if REALTIME had been set: the kernel is asked, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest-agent/watch.h"

#define SECOND UINT64_C(1000000000)
#define WIDTH  100u /* ticks, of 1 ns, from one clock to the next */

/* What is seen `at` ns after the boot when REALTIME is so far beyond. */
static struct vtg_view view_at(uint64_t at, uint64_t beyond)
{
    struct vtg_view v = { .have = (1u << VTG_NR_OS_CLOCKS) - 1 };
    for (unsigned int i = 0; i <= VTG_NR_OS_CLOCKS; i++)
        v.tsc[i] = at + i * WIDTH;
    for (unsigned int i = 0; i < VTG_NR_OS_CLOCKS; i++)
        v.ns[i] = at + (i == VTG_OS_REALTIME || i == VTG_OS_TAI ? beyond : 0);
    return v;
}

static unsigned int steps;

static void count(void *context, const struct vtg_event *event)
{
    *(int64_t *)context = event->a;
    steps += event->kind == VTG_EVENT_STEP;
}

static void asked_only_where_it_moved(void **state)
{
    struct vta_watch w = { .has_view = false };
    struct vtg_view v = view_at(SECOND, 10 * SECOND);
    int64_t step = 0;
    (void)state;
    assert_false(vta_watch_may_be_set(&w, &v)); /* there is nothing to compare with */
    assert_false(vta_watch_view(&w, &v, true, count, &step));
    v = view_at(2 * SECOND, 10 * SECOND);
    assert_false(vta_watch_may_be_set(&w, &v));
    vta_watch_view(&w, &v, false, count, &step);
    v = view_at(3 * SECOND, 10 * SECOND + 500); /* less than the readings are apart */
    assert_false(vta_watch_may_be_set(&w, &v));
    vta_watch_view(&w, &v, false, count, &step);
    v = view_at(4 * SECOND, 8 * SECOND);
    assert_true(vta_watch_may_be_set(&w, &v));
    v.have = 1u << VTG_OS_MONOTONIC; /* who has no BOOTTIME can't tell a step from a suspend */
    assert_false(vta_watch_may_be_set(&w, &v));
}

static void told_where_the_kernel_says_so(void **state)
{
    struct vta_watch w = { .has_view = false };
    struct vtg_view v = view_at(SECOND, 10 * SECOND);
    int64_t step = 0;
    (void)state;
    vta_watch_view(&w, &v, false, count, &step);
    v = view_at(2 * SECOND, 10 * SECOND + 20000);
    assert_true(vta_watch_may_be_set(&w, &v));
    assert_false(vta_watch_view(&w, &v, false, count, &step)); /* it had only begun, or was read unluckily */
    v = view_at(3 * SECOND, 7 * SECOND);
    assert_true(vta_watch_may_be_set(&w, &v));
    assert_true(vta_watch_view(&w, &v, true, count, &step));
    assert_int_equal(steps, 1);
    assert_int_equal(step, -3 * (int64_t)SECOND); /* with what the view before had seen of it */
}

/* The view had the step before the kernel spoke of it. */
static void told_when_the_kernel_is_late(void **state)
{
    struct vta_watch w = { .has_view = false };
    struct vtg_view v = view_at(SECOND, 10 * SECOND);
    int64_t step = 0;
    (void)state;
    vta_watch_view(&w, &v, false, count, &step);
    v = view_at(2 * SECOND, 12 * SECOND);
    assert_false(vta_watch_view(&w, &v, false, count, &step));
    v = view_at(3 * SECOND, 12 * SECOND);
    assert_true(vta_watch_may_be_set(&w, &v)); /* once more */
    assert_true(vta_watch_view(&w, &v, true, count, &step));
    assert_int_equal(step, 2 * (int64_t)SECOND);
    v = view_at(4 * SECOND, 12 * SECOND + 20000); /* slewed: the kernel does not speak of that */
    assert_false(vta_watch_view(&w, &v, false, count, &step));
    v = view_at(5 * SECOND, 12 * SECOND + 20000);
    assert_false(vta_watch_view(&w, &v, false, count, &step));
    assert_false(vta_watch_may_be_set(&w, &v)); /* it is not waited for for ever */
    v = view_at(6 * SECOND, 12 * SECOND + 20000);
    assert_false(vta_watch_view(&w, &v, true, count, &step)); /* set to what it was */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_only_where_it_moved),
        cmocka_unit_test(told_where_the_kernel_says_so),
        cmocka_unit_test(told_when_the_kernel_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

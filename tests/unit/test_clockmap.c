/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#include <cmocka.h>

#include <errno.h>

#include "correlator/clockmap.h"

static const struct vt_host stable = { .tsc_stable = true }, unstable = { .tsc_stable = false };

static uint64_t draw(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static void a_straight_line_maps_exactly(void **state)
{
    const struct vt_clock_pair pairs[] = { { { 1000 }, { 5000 }, 0 },
                                           { { 2000 }, { 8000 }, 0 },
                                           { { 3000 }, { 11000 }, 0 } };
    struct vt_clockmap m;
    host_ns ns;
    uint64_t bound;
    (void)state;
    vt_clockmap_init(&m, &stable, pairs, 3);
    assert_null(m.refused);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 6500 }, &ns, &bound), 0);
    assert_int_equal(ns.v, 1500);
    assert_int_equal(bound, 1); /* rounding to whole ns */
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 11000 }, &ns, &bound), 0);
    assert_int_equal(ns.v, 3000);
    assert_int_equal(vt_clockmap_length_ns(&m, 6000), 2000);
    assert_true(vt_clockmap_khz(&m) == 3e6);
}

static void beyond_the_ends_the_bound_grows_until_it_is_refused(void **state)
{
    const struct vt_clock_pair pairs[] = { { { 100000 }, { 500000 }, 10 }, { { 200000 }, { 800000 }, 30 } };
    struct vt_clockmap m;
    host_ns ns;
    uint64_t near, far;
    (void)state;
    vt_clockmap_init(&m, &stable, pairs, 2);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 830000 }, &ns, &near), 0);
    assert_int_equal(ns.v, 210000);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 1100000 }, &ns, &far), 0);
    assert_int_equal(ns.v, 300000);
    assert_true(far > near && far >= 30 + 40);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 1100001 }, &ns, &far), -ERANGE);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 199999 }, &ns, &far), -ERANGE);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 200000 }, &ns, &far), 0);
    assert_int_equal(ns.v, 0);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ UINT64_MAX }, &ns, &far), -ERANGE);
}

static void an_unstable_or_unread_clock_is_refused_with_the_reason(void **state)
{
    const struct vt_clock_pair pairs[] = { { { 1 }, { 1 }, 0 }, { { 2 }, { 2 }, 0 } };
    struct vt_clockmap m;
    host_ns ns = { 77 };
    uint64_t bound;
    (void)state;
    vt_clockmap_init(&m, &unstable, pairs, 2);
    assert_non_null(strstr(m.refused, "unstable"));
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 1 }, &ns, &bound), -ENODATA);
    vt_clockmap_init(&m, &stable, pairs, 1);
    assert_non_null(m.refused);
    assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 1 }, &ns, &bound), -ENODATA);
    assert_int_equal(ns.v, 77); /* untouched on failure */
    assert_int_equal(vt_clockmap_length_ns(&m, 5), 0);
}

/* ---- a clock that is slewed now and then, as NTP does, read with a known error ---- */

#define STEPS      400
#define STEP_TSC   UINT64_C(10000000) /* 5 ms at 2 GHz */
#define PAIR_EVERY 20

static void the_truth_is_within_the_bound_while_the_clock_is_slewed(void **state)
{
    uint64_t x = 4101842887655102017u, inside = 0, widest = 0;
    (void)state;
    for (int round = 0; round < 200; round++) {
        static uint64_t truth[STEPS + 1];
        struct vt_clock_pair pairs[STEPS / PAIR_EVERY + 1];
        struct vt_clockmap m;
        size_t n = 0;
        const uint64_t tsc0 = draw(&x) >> 3;
        int64_t ppb = 0;
        uint64_t slewed = PAIR_EVERY * (2 + draw(&x) % 16); /* one change of slope, at a reading */
        truth[0] = draw(&x) >> 3;
        for (uint64_t i = 0; i < STEPS; i++) {
            if (i == slewed)
                ppb = (int64_t)(draw(&x) % 1000000) - 500000; /* up to 500 ppm, adjtimex's limit */
            truth[i + 1] = truth[i] + (uint64_t)(5000000 + 5 * ppb / 1000);
        }
        for (uint64_t i = 0; i <= STEPS; i += PAIR_EVERY) {
            uint64_t bound = 20 + draw(&x) % 100, error = draw(&x) % (2 * bound + 1);
            pairs[n++] =
                (struct vt_clock_pair){ { truth[i] + error - bound }, { tsc0 + i * STEP_TSC }, bound };
        }
        vt_clockmap_init(&m, &stable, pairs, n);
        for (uint64_t i = 0; i <= STEPS; i++) {
            host_ns ns;
            uint64_t bound;
            assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ tsc0 + i * STEP_TSC }, &ns, &bound), 0);
            if (distance(ns.v, truth[i]) > bound)
                fail_msg("round %d step %d: off by %d, bound %d", round, (int)i,
                         (int)distance(ns.v, truth[i]), (int)bound);
            inside += bound < 1000;
            widest = bound > widest ? bound : widest;
        }
    }
    /* a bound that is always wide proves nothing */
    assert_true(inside > 200 * STEPS * 3 / 4);
    assert_true(widest < 200000);
}

static void a_kink_between_two_readings_stays_within_the_bound(void **state)
{
    uint64_t x = 88172645463325252u;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct vt_clock_pair pairs[6];
        struct vt_clockmap m;
        const uint64_t run = 2000000000; /* 1 s at 2 GHz */
        uint64_t kink = 2 * run + draw(&x) % run;
        int64_t ppm = (int64_t)(draw(&x) % 1000) - 500;
        for (uint64_t i = 0; i < 6; i++) {
            uint64_t tsc = i * run;
            int64_t late = tsc > kink ? (int64_t)(tsc - kink) / 2 * ppm / 1000000 : 0;
            pairs[i] = (struct vt_clock_pair){ { 1000000000 + tsc / 2 + (uint64_t)late }, { 1 + tsc }, 1 };
        }
        vt_clockmap_init(&m, &stable, pairs, 6);
        uint64_t tsc = 2 * run + draw(&x) % run, bound;
        int64_t late = tsc > kink ? (int64_t)(tsc - kink) / 2 * ppm / 1000000 : 0;
        host_ns ns;
        assert_int_equal(vt_clockmap_to_ns(&m, (host_tsc){ 1 + tsc }, &ns, &bound), 0);
        if (distance(ns.v, 1000000000 + tsc / 2 + (uint64_t)late) > bound)
            fail_msg("round %d: off by %d, bound %d", round,
                     (int)distance(ns.v, 1000000000 + tsc / 2 + (uint64_t)late), (int)bound);
    }
}

/* There and back, between readings and within a stretch beyond the ends. */
static void the_way_back_is_within_both_bounds(void **state)
{
    uint64_t x = 521288629u;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct vt_clock_pair pairs[5] = { { { draw(&x) >> 3 }, { draw(&x) >> 3 }, 30 } };
        struct vt_clockmap m;
        for (int i = 1; i < 5; i++)
            pairs[i] = (struct vt_clock_pair){ { pairs[i - 1].ns.v + 1000000000 },
                                               { pairs[i - 1].tsc.v + 2100000000 + draw(&x) % 100000 },
                                               draw(&x) % 100 };
        vt_clockmap_init(&m, &stable, pairs, 5);
        host_tsc tsc = { pairs[0].tsc.v - 2000000000 + draw(&x) % 12000000000 }, again;
        host_ns ns;
        uint64_t bound, ticks;
        assert_int_equal(vt_clockmap_to_ns(&m, tsc, &ns, &bound), 0);
        assert_int_equal(vt_clockmap_to_tsc(&m, ns, &again, &ticks), 0);
        if (distance(tsc.v, again.v) > ticks || ticks > 3 * bound + 10)
            fail_msg("round %d: off by %d, bound %d", round, (int)distance(tsc.v, again.v), (int)ticks);
    }
    struct vt_clockmap none;
    host_tsc tsc;
    uint64_t bound;
    vt_clockmap_init(&none, &unstable, NULL, 0);
    assert_int_equal(vt_clockmap_to_tsc(&none, (host_ns){ 5 }, &tsc, &bound), -ENODATA);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* The clock between two reads of the TSC: the tightest of some tries. */
static struct vt_clock_pair read_pair(void)
{
    uint64_t best = UINT64_MAX;
    struct vt_clock_pair p = { 0 };
    for (int i = 0; i < 20; i++) {
        uint64_t a = __rdtsc(), ns = now_ns(), b = __rdtsc();
        if (b - a >= best)
            continue;
        best = b - a;
        p = (struct vt_clock_pair){ { ns }, { a + (b - a) / 2 }, b - a }; /* ticks: at least ns at >= 1 GHz */
    }
    return p;
}

static bool clock_is_tsc(void)
{
    char source[32] = "";
    FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
    if (!f)
        return false;
    bool is = fgets(source, sizeof(source), f) && strcmp(source, "tsc\n") == 0;
    fclose(f);
    return is;
}

static void this_machines_clock_is_within_the_bound(void **state)
{
    struct vt_clock_pair pairs[10], between[9];
    struct vt_clockmap m;
    (void)state;
    if (!clock_is_tsc()) {
        print_message("skipped: this machine's clock source is not tsc\n");
        skip();
    }
    const struct timespec nap = { .tv_nsec = 5000000 };
    for (int i = 0; i < 10; i++) {
        pairs[i] = read_pair();
        nanosleep(&nap, NULL);
        if (i < 9)
            between[i] = read_pair();
        nanosleep(&nap, NULL);
    }
    vt_clockmap_init(&m, &stable, pairs, 10);
    for (int i = 0; i < 9; i++) {
        host_ns ns;
        uint64_t bound;
        assert_int_equal(vt_clockmap_to_ns(&m, between[i].tsc, &ns, &bound), 0);
        if (distance(ns.v, between[i].ns.v) > bound + between[i].bound_ns)
            fail_msg("off by %d, bound %d + %d", (int)distance(ns.v, between[i].ns.v), (int)bound,
                     (int)between[i].bound_ns);
    }
}

/* ---- guest TSC ---- */

static void every_offset_and_ratio_is_inverted(void **state)
{
    uint64_t x = 2463534242u;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct vt_tsc_epoch e = { .offset = draw(&x), .frac = draw(&x) & 1 ? 48 : 32 };
        uint64_t one = UINT64_C(1) << e.frac;
        e.ratio = draw(&x) & 1 ? one / 4 + draw(&x) % (4 * one) : 0; /* a quarter to more than four times */
        host_tsc host = { draw(&x) >> 4 }, found;
        uint64_t span;
        unsigned __int128 scaled = e.ratio ? (unsigned __int128)host.v * e.ratio >> e.frac : host.v;
        if (scaled >> 64)
            continue;
        guest_tsc guest = { e.offset + (uint64_t)scaled };
        assert_true(vt_tsc_methods[0].invert(&e, guest, &found, &span));
        if (host.v < found.v || host.v - found.v > span || span > 4)
            fail_msg("host %llx found %llx span %llu", (unsigned long long)host.v,
                     (unsigned long long)found.v, (unsigned long long)span);
    }
}

static void an_epoch_change_is_never_interpolated(void **state)
{
    const struct vt_clock_pair pairs[] = { { { 1000000 }, { 2000000 }, 0 }, { { 2000000 }, { 4000000 }, 0 } };
    const struct vt_tsc_epoch epochs[] = { { .at = { 1000000 }, .offset = 0 },
                                           { .at = { 1500000 }, .offset = 1000000 } };
    struct vt_clockmap m;
    host_ns ns;
    uint64_t bound;
    (void)state;
    vt_clockmap_init(&m, &stable, pairs, 2);
    struct vt_guest_clock g = { &m, &vt_tsc_methods[0], epochs, 2 };
    const host_ns late = { 2000000 };
    assert_int_equal(vt_guest_clock_to_ns(&g, (guest_tsc){ 2900000 }, late, &ns, &bound), 0);
    assert_int_equal(ns.v, 1450000);
    assert_int_equal(vt_guest_clock_to_ns(&g, (guest_tsc){ 4200000 }, late, &ns, &bound), 0);
    assert_int_equal(ns.v, 1600000);
    /* a reading that lies in neither epoch's own time was never taken */
    assert_int_equal(vt_guest_clock_to_ns(&g, (guest_tsc){ 3500000 }, late, &ns, &bound), -ERANGE);
    /* nor can it be later than the moment it was relayed */
    assert_int_equal(vt_guest_clock_to_ns(&g, (guest_tsc){ 4200000 }, (host_ns){ 1550000 }, &ns, &bound),
                     -ERANGE);
    g.nr_epochs = 0;
    assert_int_equal(vt_guest_clock_to_ns(&g, (guest_tsc){ 2900000 }, late, &ns, &bound), -ENODATA);
}

static void pvclock_scales_and_refuses_absurd_figures(void **state)
{
    uint64_t ns;
    (void)state;
    assert_true(vt_pvclock_length_ns(0x80000000u, 0, 2000000000, &ns)); /* 2 GHz: half a ns each */
    assert_int_equal(ns, 1000000000);
    assert_true(vt_pvclock_length_ns(0x80000000u, -1, 4000000000, &ns));
    assert_int_equal(ns, 1000000000);
    assert_true(vt_pvclock_khz(0x80000000u, 0) == 2e6);
    assert_true(vt_pvclock_khz(0x80000000u, -1) == 4e6);
    assert_false(vt_pvclock_length_ns(0, 0, 5, &ns));
    assert_false(vt_pvclock_length_ns(1, 99, 5, &ns));
    assert_false(vt_pvclock_length_ns(0xffffffffu, 31, UINT64_MAX, &ns));
    assert_true(vt_pvclock_khz(0, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_straight_line_maps_exactly),
        cmocka_unit_test(beyond_the_ends_the_bound_grows_until_it_is_refused),
        cmocka_unit_test(an_unstable_or_unread_clock_is_refused_with_the_reason),
        cmocka_unit_test(the_truth_is_within_the_bound_while_the_clock_is_slewed),
        cmocka_unit_test(a_kink_between_two_readings_stays_within_the_bound),
        cmocka_unit_test(the_way_back_is_within_both_bounds),
        cmocka_unit_test(this_machines_clock_is_within_the_bound),
        cmocka_unit_test(every_offset_and_ratio_is_inverted),
        cmocka_unit_test(an_epoch_change_is_never_interpolated),
        cmocka_unit_test(pvclock_scales_and_refuses_absurd_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

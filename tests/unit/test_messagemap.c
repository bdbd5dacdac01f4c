/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The map by message exchange against made-up clocks whose truth is known: guests with any
 * offset and drift, channels that queue, vCPUs that are not run for long.  Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "correlator/messagemap.h"

#define HZ UINT64_C(2100000000) /* of the host's TSC */
#define US (HZ / 1000000)
#define MS (HZ / 1000)

static uint64_t draw(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static double uniform(uint64_t *x)
{
    return (double)(draw(x) >> 11) / 9007199254740992.0;
}

/* ---- a guest ---- */

struct world {
    uint64_t seed;
    uint64_t host0, guest0;
    double ratio;      /* guest ticks per host tick, in the middle of the run */
    double wander;     /* change of the ratio per host tick */
    uint64_t length;   /* host ticks */
    uint64_t interval; /* between exchanges */
    uint64_t quick;    /* the least delay of a message */
    double heavy;      /* share of messages that queue; for how long is drawn with a heavy tail */
    double starved;    /* share of the time in which the guest doesn't run, in stretches of `gap` */
    uint64_t gap;
    double to_guest, to_host; /* more delay on one way, times quick */
    uint64_t step_at;         /* the guest's TSC steps by step_by; 0: never */
    int64_t step_by;
};

static struct world usual(uint64_t seed)
{
    struct world w = { .seed = seed * 2654435761u + 88172645463325252u };
    for (int i = 0; i < 8; i++)
        draw(&w.seed);
    w.host0 = draw(&w.seed) >> 4;
    w.guest0 = draw(&w.seed); /* may wrap */
    w.ratio = 1 + (uniform(&w.seed) - 0.5) * 400e-6;
    /* up to what is declared, either way */
    w.wander = (uniform(&w.seed) - 0.5) * 2 * VT_WANDER_PPB * 1e-9 / (double)HZ;
    w.length = 60 * HZ;
    w.interval = HZ / 10;
    w.quick = 50 * US;
    w.heavy = 0.1;
    return w;
}

static uint64_t guest_at(const struct world *w, uint64_t host)
{
    const double t = (double)(host - w->host0), m = t - (double)w->length / 2;
    /* the differences only, so that nothing is lost to rounding: below 2^53 */
    const double more = t * (w->ratio - 1) + w->wander * (m * m) / 2;
    uint64_t g = w->guest0 + (host - w->host0) + (uint64_t)(int64_t)more;
    return w->step_at && host >= w->step_at ? g + (uint64_t)w->step_by : g;
}

static uint64_t delay(struct world *w, double more)
{
    double d = (double)w->quick * (1 + 0.2 * uniform(&w->seed) + more);
    if (uniform(&w->seed) < w->heavy) /* Pareto: now and then a thousand times as long */
        d += (double)w->quick / (uniform(&w->seed) + 1e-3);
    return (uint64_t)d;
}

/* Not run in the first part of each period: when it goes on. */
static uint64_t when_run(const struct world *w, uint64_t host)
{
    if (w->starved <= 0)
        return host;
    const uint64_t period = (uint64_t)((double)w->gap / w->starved), at = (host - w->host0) % period;
    return at < w->gap ? host + (w->gap - at) : host;
}

struct exchanges {
    struct vt_fix low[8192], high[8192];
    size_t n;
};

static void exchange_all(struct world *w, struct exchanges *e)
{
    uint64_t sent = w->host0 + w->quick;
    e->n = 0;
    while (sent < w->host0 + w->length && e->n < 8192) {
        const uint64_t in = when_run(w, sent + delay(w, w->to_guest));
        const uint64_t out = when_run(w, in + w->quick / 10); /* set aside in between, it may be */
        const uint64_t received = out + delay(w, w->to_host);
        e->low[e->n] = (struct vt_fix){ guest_at(w, in), sent };
        e->high[e->n++] = (struct vt_fix){ guest_at(w, out), received };
        sent += w->interval + draw(&w->seed) % (w->interval / 4 + 1);
        if (sent < received) /* one at a time */
            sent = received;
    }
}

struct score {
    uint64_t samples, inside, mapped, widest;
    double sum;
};

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint64_t apart(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* Maps guest times from all over the run; the median bound. */
static uint64_t judge(const struct world *w, const struct vt_message_map *m, struct score *s)
{
    enum { SAMPLES = 400 };
    static uint64_t bounds[SAMPLES];
    size_t n = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        const uint64_t host = w->host0 + w->length / SAMPLES * i + w->length / SAMPLES / 2;
        uint64_t found, bound;
        s->samples++;
        if (!vt_message_map_at(m, guest_at(w, host), host + HZ, &found, &bound))
            continue;
        s->mapped++;
        bounds[n++] = bound;
        s->inside += apart(found, host) <= bound;
        s->widest = bound > s->widest ? bound : s->widest;
    }
    if (!n)
        return UINT64_MAX;
    qsort(bounds, n, sizeof(*bounds), by_value);
    s->sum += (double)bounds[n / 2];
    return bounds[n / 2];
}

static struct vt_message_input input_of(const struct exchanges *e)
{
    return (struct vt_message_input){
        .low = e->low, .high = e->high, .n = e->n, .y_hz = HZ, .step_reason = "stepped"
    };
}

static void build(struct vt_message_map *m, const struct exchanges *e)
{
    const struct vt_message_input in = input_of(e);
    assert_int_equal(vt_message_map_build(m, &in), 0);
}

static struct exchanges ex;

#define ROUNDS 100

struct expectation {
    double most_us; /* the median bound, as the median over the rounds' mean */
    double mapped;
};

static void expect_in(const char *name, struct world (*make)(uint64_t), struct expectation want)
{
    struct score s = { 0 };
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct world w = make(round);
        struct vt_message_map m;
        exchange_all(&w, &ex);
        build(&m, &ex);
        if (m.n != 1 || m.absurd)
            fail_msg("%s, round %d: %d epochs, %d absurd", name, (int)round, (int)m.n, (int)m.absurd);
        judge(&w, &m, &s);
        vt_message_map_release(&m);
    }
    const double mean_us = s.sum / ROUNDS / (double)US;
    print_message("%s: inside the bound %.4f %% of %d, median bound %.1f us, widest %.1f us\n", name,
                  100.0 * (double)s.inside / (double)s.mapped, (int)s.mapped, mean_us,
                  (double)s.widest / (double)US);
    assert_true((double)s.mapped >= want.mapped * (double)s.samples);
    assert_true((double)s.inside >= 0.999 * (double)s.mapped);
    assert_true(mean_us <= want.most_us);
}

/* ---- tests ---- */

static struct world quiet(uint64_t seed)
{
    struct world w = usual(seed);
    w.heavy = 0;
    return w;
}

static struct world hundred_us(uint64_t seed)
{
    struct world w = usual(seed);
    w.quick = 100 * US;
    w.heavy = 0.3;
    return w;
}

static struct world starved(uint64_t seed)
{
    struct world w = usual(seed);
    w.starved = 0.75; /* one of four on its CPU */
    w.gap = 12 * MS;
    return w;
}

static struct world starved_for_long(uint64_t seed)
{
    struct world w = usual(seed);
    w.starved = 0.9;
    w.gap = 300 * MS;
    w.heavy = 0.3;
    return w;
}

static struct world congested(uint64_t seed)
{
    struct world w = usual(seed);
    *(seed & 1 ? &w.to_guest : &w.to_host) = 40; /* 2 ms more on one way */
    return w;
}

static struct world rare(uint64_t seed)
{
    struct world w = usual(seed);
    w.interval = 2 * HZ;
    w.length = 300 * HZ;
    return w;
}

static void on_a_quiet_channel_the_bound_is_half_the_round_trip(void **state)
{
    (void)state;
    /* best possible: each way takes 50 us at least, so ±50 us */
    expect_in("quiet", quiet, (struct expectation){ 60, 1 });
}

static void queueing_hardly_widens_it(void **state)
{
    (void)state;
    expect_in("queueing", usual, (struct expectation){ 65, 1 });
    expect_in("100 us and queueing", hundred_us, (struct expectation){ 130, 1 });
}

static void a_starved_guest_stays_inside_the_bound(void **state)
{
    (void)state;
    expect_in("12 ms of 16 not run", starved, (struct expectation){ 200, 1 });
    expect_in("300 ms of 333 not run", starved_for_long, (struct expectation){ 2000, 1 });
}

static void congestion_of_one_way_widens_it_by_half_of_it(void **state)
{
    (void)state;
    expect_in("one way 2 ms slower", congested, (struct expectation){ 1200, 1 });
}

static void rare_exchanges_still_do(void **state)
{
    (void)state;
    expect_in("one in 2 s", rare, (struct expectation){ 90, 1 });
}

/* No map can do better than the least width that any line through the nearest exchanges leaves. */
static void a_step_breaks_the_map_and_nothing_is_said_across_it(void **state)
{
    struct score s = { 0 };
    size_t found = 0;
    (void)state;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct world w = usual(round);
        struct vt_message_map m;
        w.step_at = w.host0 + 10 * HZ + draw(&w.seed) % (40 * HZ);
        /* 2 ms to some hours, forward or back */
        w.step_by = (int64_t)(2 * MS) << draw(&w.seed) % 22;
        if (round & 1)
            w.step_by = -w.step_by;
        exchange_all(&w, &ex);
        build(&m, &ex);
        found += m.n == 2;
        if (m.n < 2 || m.n > 3)
            fail_msg("round %d: %d epochs for a step by %lld", (int)round, (int)m.n, (long long)w.step_by);
        assert_string_equal(m.epochs[1].reason, "stepped");
        assert_true(m.epochs[1].from <= w.step_at);
        assert_true(m.epochs[0].to >= w.step_at);
        judge(&w, &m, &s);
        vt_message_map_release(&m);
    }
    print_message("steps: %d of %d are one break, inside the bound %.4f %% of %d\n", (int)found, ROUNDS,
                  100.0 * (double)s.inside / (double)s.mapped, (int)s.mapped);
    assert_true(found >= ROUNDS * 98 / 100);
    assert_true((double)s.mapped >= 0.98 * (double)s.samples);
    assert_true((double)s.inside >= 0.999 * (double)s.mapped);
}

/* A reboot that is known: the guest's TSC begins anew, and no reading is mapped into the life before. */
static void a_known_break_is_kept(void **state)
{
    (void)state;
    for (uint64_t round = 1; round <= 20; round++) {
        struct world w = usual(round);
        struct vt_message_map m;
        struct score s = { 0 };
        w.step_at = w.host0 + 30 * HZ;
        w.step_by = -(int64_t)(29 * HZ); /* began at 1 s, and again */
        exchange_all(&w, &ex);
        struct vt_message_input in = input_of(&ex);
        const struct vt_map_break reboot = { w.step_at, "rebooted" };
        in.breaks = &reboot;
        in.nr_breaks = 1;
        assert_int_equal(vt_message_map_build(&m, &in), 0);
        assert_int_equal(m.n, 2);
        assert_string_equal(m.epochs[1].reason, "rebooted");
        judge(&w, &m, &s);
        assert_true((double)s.mapped >= 0.98 * (double)s.samples);
        assert_int_equal(s.inside, s.mapped);
        vt_message_map_release(&m);
    }
}

static void where_nothing_was_exchanged_the_bound_grows(void **state)
{
    struct world w = usual(7);
    struct vt_message_map m;
    uint64_t y, at_once, later, much_later;
    (void)state;
    exchange_all(&w, &ex);
    build(&m, &ex);
    const uint64_t end = w.host0 + w.length;
    assert_true(vt_message_map_at(&m, guest_at(&w, end), UINT64_MAX, &y, &at_once));
    assert_true(vt_message_map_at(&m, guest_at(&w, end + 10 * HZ), UINT64_MAX, &y, &later));
    assert_true(apart(y, end + 10 * HZ) <= later);
    assert_true(vt_message_map_at(&m, guest_at(&w, end + 100 * HZ), UINT64_MAX, &y, &much_later));
    assert_true(apart(y, end + 100 * HZ) <= much_later);
    assert_true(later > at_once && much_later > 2 * later);
    vt_message_map_release(&m);
}

/* The channel is cut for 10 s, nothing stepped. */
static void a_gap_is_bridged_with_a_bound_that_holds(void **state)
{
    struct score s = { 0 };
    uint64_t widest = 0;
    (void)state;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct world w = usual(round);
        struct vt_message_map m;
        size_t kept = 0;
        exchange_all(&w, &ex);
        for (size_t i = 0; i < ex.n; i++) {
            const uint64_t at = ex.low[i].y - w.host0;
            if (at > 25 * HZ && at < 35 * HZ)
                continue;
            ex.low[kept] = ex.low[i];
            ex.high[kept++] = ex.high[i];
        }
        ex.n = kept;
        build(&m, &ex);
        assert_int_equal(m.n, 1);
        judge(&w, &m, &s);
        uint64_t y, bound;
        assert_true(vt_message_map_at(&m, guest_at(&w, w.host0 + 30 * HZ), UINT64_MAX, &y, &bound));
        widest = bound > widest ? bound : widest;
        vt_message_map_release(&m);
    }
    print_message("a gap of 10 s: bound in its middle at most %.1f us\n", (double)widest / (double)US);
    assert_int_equal(s.mapped, s.samples);
    assert_true((double)s.inside >= 0.999 * (double)s.mapped);
    assert_true(widest < 300 * US);
}

/* Arrivals of records help where exchanges are rare, and are left out where they can't be true. */
static void bounds_from_one_side_help_or_are_left_out(void **state)
{
    struct world w = rare(3);
    static struct vt_fix extra[4096];
    struct vt_message_map without, with, wrong;
    struct score a = { 0 }, b = { 0 }, c = { 0 };
    size_t n = 0;
    (void)state;
    exchange_all(&w, &ex);
    for (uint64_t at = w.host0; at < w.host0 + w.length && n < 4096; at += HZ / 10)
        extra[n++] = (struct vt_fix){ guest_at(&w, at), at + delay(&w, 0) };
    struct vt_message_input in = input_of(&ex);
    assert_int_equal(vt_message_map_build(&without, &in), 0);
    in.extra = extra;
    in.n_extra = n;
    assert_int_equal(vt_message_map_build(&with, &in), 0);
    assert_int_equal(with.ignored, 0);
    assert_true(judge(&w, &with, &b) <= judge(&w, &without, &a));
    assert_int_equal(b.inside, b.samples);
    for (size_t i = 0; i < n; i++) /* of a vCPU whose TSC is ahead by 5 ms */
        extra[i].x += 5 * MS;
    assert_int_equal(vt_message_map_build(&wrong, &in), 0);
    assert_true(wrong.ignored >= n);
    judge(&w, &wrong, &c);
    assert_int_equal(c.inside, c.samples);
    vt_message_map_release(&without);
    vt_message_map_release(&with);
    vt_message_map_release(&wrong);
}

/* Arrivals only: what is told is near the truth. */
static void arrivals_alone_give_an_estimate(void **state)
{
    static struct vt_fix extra[4096];
    uint64_t worst = 0;
    (void)state;
    for (uint64_t round = 1; round <= 20; round++) {
        struct world w = usual(round);
        struct vt_message_map m;
        size_t n = 0;
        for (uint64_t at = w.host0; at < w.host0 + w.length && n < 4096; at += HZ / 10)
            extra[n++] = (struct vt_fix){ guest_at(&w, at), at + delay(&w, 0) };
        const struct vt_message_input in = { .extra = extra,
                                             .n_extra = n,
                                             .nominal = { VT_SLOPE_ONE - VT_SLOPE_ONE / 1000,
                                                          VT_SLOPE_ONE + VT_SLOPE_ONE / 1000 },
                                             .y_hz = HZ };
        assert_int_equal(vt_message_map_build(&m, &in), 0);
        for (uint64_t at = w.host0 + HZ; at < w.host0 + 59 * HZ; at += HZ) {
            uint64_t y, bound;
            assert_true(vt_message_map_at(&m, guest_at(&w, at), UINT64_MAX, &y, &bound));
            assert_int_equal(bound, 0);
            worst = apart(y, at) > worst ? apart(y, at) : worst;
        }
        vt_message_map_release(&m);
    }
    print_message("arrivals only: at most %.1f us off\n", (double)worst / (double)US);
    assert_true(worst < 200 * US);
}

/* ---- hostile ---- */

static uint64_t wild(uint64_t *x, uint64_t sane)
{
    switch (draw(x) % 8) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return draw(x);
    case 3:
        return UINT64_C(1) << 63;
    case 4:
        return sane - draw(x) % (100 * HZ);
    default:
        return sane;
    }
}

static void absurd_clocks_break_nothing(void **state)
{
    uint64_t x = 362436069362436069u;
    (void)state;
    for (uint64_t round = 1; round <= 200; round++) {
        struct world w = usual(round);
        struct vt_message_map m;
        uint64_t y, bound;
        exchange_all(&w, &ex);
        ex.n = ex.n < 300 ? ex.n : 300;
        for (size_t i = 0; i < ex.n; i++) {
            ex.low[i].x = wild(&x, ex.low[i].x);
            ex.high[i].x = wild(&x, ex.high[i].x);
        }
        struct vt_message_input in = input_of(&ex);
        in.extra = ex.high;
        in.n_extra = ex.n;
        assert_int_equal(vt_message_map_build(&m, &in), 0);
        assert_true(m.n <= 512);
        for (int i = 0; i < 100; i++)
            vt_message_map_at(&m, wild(&x, guest_at(&w, w.host0 + HZ)), draw(&x), &y, &bound);
        vt_message_map_release(&m);
    }
}

static void nothing_is_known_of_nothing(void **state)
{
    struct vt_message_map m;
    uint64_t y = 5, bound = 6;
    (void)state;
    const struct vt_message_input none = { .y_hz = HZ };
    assert_int_equal(vt_message_map_build(&m, &none), 0);
    assert_false(vt_message_map_at(&m, 1, UINT64_MAX, &y, &bound));
    assert_int_equal(y, 5);
    assert_int_equal(bound, 6);
    vt_message_map_release(&m);
    vt_message_map_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_a_quiet_channel_the_bound_is_half_the_round_trip),
        cmocka_unit_test(queueing_hardly_widens_it),
        cmocka_unit_test(a_starved_guest_stays_inside_the_bound),
        cmocka_unit_test(congestion_of_one_way_widens_it_by_half_of_it),
        cmocka_unit_test(rare_exchanges_still_do),
        cmocka_unit_test(a_step_breaks_the_map_and_nothing_is_said_across_it),
        cmocka_unit_test(a_known_break_is_kept),
        cmocka_unit_test(where_nothing_was_exchanged_the_bound_grows),
        cmocka_unit_test(a_gap_is_bridged_with_a_bound_that_holds),
        cmocka_unit_test(bounds_from_one_side_help_or_are_left_out),
        cmocka_unit_test(arrivals_alone_give_an_estimate),
        cmocka_unit_test(absurd_clocks_break_nothing),
        cmocka_unit_test(nothing_is_known_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

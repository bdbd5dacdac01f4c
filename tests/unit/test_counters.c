/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counters: what is made of readings, what the store keeps of them, and real threads that are counted. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/counters.h"
#include "collector/hostinfo.h"
#include "correlator/correlate.h"
#include "reports/view.h"

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static struct vt_err err;

/* ---- arithmetic ---- */

/* A vCPU that is on a CPU from 1 s to 2 s; a TSC of 2.5 GHz. */
static struct vt_correlator *a_second(bool tsc_stable)
{
    struct vt_correlator *c = vt_correlator_new();
    const struct vt_host host = { .begin = { S }, .end = { 2 * S }, .tsc_stable = tsc_stable };
    const struct vt_vm vm = { .id = 1, .name = "a" };
    const struct vt_vcpu vcpu = { .id = 1, .vm = 1, .born = { S } };
    const struct vt_clock_pair pairs[] = { { { S }, { 2500000000 }, 10 }, { { 2 * S }, { 5000000000 }, 10 } };
    const struct vt_slice s = { .t_out = S,
                                .t_wake = S,
                                .t_in = S,
                                .t_end = 2 * S,
                                .on_cpu = { [VT_ON_RUN] = S },
                                .flags = VT_SLICE_FIRST };

    assert_non_null(c);
    assert_int_equal(vt_correlator_host(c, &host), 0);
    assert_int_equal(vt_correlator_vm(c, &vm), 0);
    assert_int_equal(vt_correlator_vcpu(c, &vcpu), 0);
    assert_int_equal(vt_correlator_clock_pair(c, &pairs[0]), 0);
    assert_int_equal(vt_correlator_clock_pair(c, &pairs[1]), 0);
    assert_int_equal(vt_correlator_slices(c, 1, &s, 1), 0);
    return c;
}

static int read_at(struct vt_correlator *c, uint64_t at, enum vt_counter event, enum vt_counter_side side,
                   uint64_t count, uint64_t enabled, uint64_t running)
{
    const struct vt_counter_reading row = { 1, { at }, event, side, count, enabled, running };

    return vt_correlator_counter(c, &row);
}

/* Of the whole extent; freed with the snapshot. */
static const struct vt_counter_set *counters_of(struct vt_correlator *c, struct vt_snapshot **ret)
{
    *ret = vt_correlate(c, NULL, &err);
    assert_non_null(*ret);
    assert_int_equal((*ret)->guests[0].nr_vcpus, 1);
    return &(*ret)->guests[0].vcpus[0].counters;
}

static void counts_are_what_grew_between_the_readings(void **state)
{
    struct vt_correlator *c = a_second(true);
    struct vt_snapshot *s;
    (void)state;

    assert_int_equal(read_at(c, S + 100 * MS, VT_COUNTER_CONTEXT_SWITCHES, VT_SIDE_BOTH, 5, 7, 7), 0);
    assert_int_equal(read_at(c, S + 500 * MS, VT_COUNTER_CONTEXT_SWITCHES, VT_SIDE_BOTH, 9, 11, 11), 0);
    assert_int_equal(read_at(c, S + 900 * MS, VT_COUNTER_CONTEXT_SWITCHES, VT_SIDE_BOTH, 25, 17, 17), 0);
    const struct vt_counter_set *set = counters_of(c, &s);
    assert_int_equal(set->nr, 1);
    assert_int_equal(set->of[0].event, VT_COUNTER_CONTEXT_SWITCHES);
    assert_int_equal(set->of[0].count, 20);
    assert_int_equal(set->of[0].raw, 20);
    assert_int_equal(set->of[0].enabled_ns, 10);
    assert_int_equal(set->of[0].accuracy, VT_EXACT);
    assert_int_equal(set->stretch.from.v, S + 100 * MS);
    assert_int_equal(set->stretch.to.v, S + 900 * MS);
    assert_int_equal(set->on_cpu_ns, 800 * MS);
    assert_false(set->has_capacity);
    vt_snapshot_free(s);

    const struct vt_window window = { { S + 400 * MS }, { S + 950 * MS } };
    s = vt_correlate(c, &window, &err);
    assert_int_equal(s->guests[0].vcpus[0].counters.of[0].count, 16);
    assert_int_equal(s->guests[0].vcpus[0].counters.on_cpu_ns, 400 * MS);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

static void events_that_took_turns_are_scaled_and_estimated(void **state)
{
    static const struct {
        uint64_t count, enabled, running, expect;
        enum vt_accuracy accuracy;
        bool known;
    } cases[] = {
        { 1000, 500 * MS, 500 * MS, 1000, VT_EXACT, true },
        { 1000, 500 * MS, 250 * MS, 2000, VT_ESTIMATED, true },
        { 1000, 500 * MS, 500 * MS - 300, 1000, VT_EXACT, true }, /* the kernel's two clocks */
        { 1000, 500 * MS, 500 * MS - 10001, 1000, VT_ESTIMATED, true },
        { 0, 500 * MS, 0, 0, VT_ESTIMATED, false }, /* never on the PMU: no count, not even 0 */
        { 0, 0, 0, 0, VT_EXACT, true },             /* never on a CPU: truly 0 */
        { UINT64_C(1) << 62, UINT64_C(1) << 62, 1, UINT64_MAX, VT_ESTIMATED, true },
        { UINT64_C(1) << 60, UINT64_C(3) << 59, UINT64_C(1) << 59, UINT64_C(3) << 60, VT_ESTIMATED, true },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vt_correlator *c = a_second(true);
        struct vt_snapshot *s;
        assert_int_equal(read_at(c, S, VT_COUNTER_INSTRUCTIONS, VT_SIDE_GUEST, 0, 0, 0), 0);
        assert_int_equal(read_at(c, 2 * S, VT_COUNTER_INSTRUCTIONS, VT_SIDE_GUEST, cases[i].count,
                                 cases[i].enabled, cases[i].running),
                         0);
        const struct vt_counter_figure *f = &counters_of(c, &s)->of[0];
        assert_int_equal(f->known, cases[i].known);
        assert_int_equal(f->count, cases[i].expect);
        assert_int_equal(f->raw, cases[i].count);
        assert_int_equal(f->accuracy, cases[i].accuracy);
        vt_snapshot_free(s);
        vt_correlator_free(c);
    }
}

/* 1.5e9 cycles of the guest and 1e9 of the host are 1 s of a CPU of 2.5 GHz. */
static void capacity_is_all_the_cycles_at_the_rate_of_the_tsc(void **state)
{
    (void)state;
    for (int stable = 0; stable < 2; stable++)
        for (int sides = 0; sides < 4; sides++) {
            struct vt_correlator *c = a_second(stable);
            struct vt_snapshot *s;
            read_at(c, S, VT_COUNTER_CYCLES, VT_SIDE_GUEST, 0, 0, 0);
            read_at(c, S, VT_COUNTER_CYCLES, VT_SIDE_HOST, 0, 0, 0);
            if (sides & 1)
                read_at(c, 2 * S, VT_COUNTER_CYCLES, VT_SIDE_GUEST, 1500000000, S, S);
            if (sides & 2)
                read_at(c, 2 * S, VT_COUNTER_CYCLES, VT_SIDE_HOST, 500000000, S, S / 2);
            const struct vt_counter_set *set = counters_of(c, &s);
            assert_int_equal(set->has_capacity, stable && sides == 3);
            if (set->has_capacity) {
                assert_int_equal(set->capacity.ns, S);
                assert_int_equal(set->capacity.accuracy, VT_ESTIMATED); /* the host's half was scaled */
                assert_float_equal(set->nominal_khz, 2500000, 0.001);
            }
            vt_snapshot_free(s);
            vt_correlator_free(c);
        }
}

static void capacity_is_bounded_where_nothing_was_scaled(void **state)
{
    struct vt_correlator *c = a_second(true);
    struct vt_snapshot *s;
    (void)state;

    read_at(c, S, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 0, 0, 0);
    read_at(c, 2 * S, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 1250000000, S, S);
    const struct vt_counter_set *set = counters_of(c, &s);
    assert_true(set->has_capacity);
    assert_int_equal(set->capacity.ns, S / 2);
    assert_int_equal(set->capacity.accuracy, VT_BOUNDED);
    assert_in_range(set->capacity.bound_ns, 1, 100);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

static void the_account_does_not_know_of_counters(void **state)
{
    struct vt_correlator *without = a_second(true), *with = a_second(true);
    struct vt_snapshot *a, *b;
    (void)state;

    read_at(with, S, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 0, 0, 0);
    read_at(with, S, VT_COUNTER_TASK_CLOCK, VT_SIDE_BOTH, 0, 0, 0);
    read_at(with, 2 * S, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 12, S, S / 3);
    read_at(with, 2 * S, VT_COUNTER_TASK_CLOCK, VT_SIDE_BOTH, S / 2, S / 2, S / 2);
    assert_int_equal(counters_of(without, &a)->nr, 0);
    assert_int_equal(counters_of(with, &b)->nr, 2);
    const struct vt_vcpu_figures *f = &a->guests[0].vcpus[0], *g = &b->guests[0].vcpus[0];
    assert_memory_equal(f->account.state, g->account.state, sizeof(f->account.state));
    assert_int_equal(f->account.used.ns, S);
    assert_int_equal(g->account.used.ns, S);
    assert_int_equal(g->residual_ns, 0);
    vt_snapshot_free(a);
    vt_snapshot_free(b);
    vt_correlator_free(without);
    vt_correlator_free(with);
}

static void readings_that_contradict_are_refused(void **state)
{
    struct vt_correlator *c = a_second(true);
    struct vt_counter_reading row = { .vcpu = 2, .at = { S } };
    (void)state;

    assert_int_equal(vt_correlator_counter(c, &row), -EUCLEAN); /* of no vCPU */
    assert_int_equal(read_at(c, S + 5, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 10, 10, 10), 0);
    assert_int_equal(read_at(c, S + 4, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 10, 10, 10), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 9, 10, 10), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 10, 9, 10), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 10, 10, 9), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_NR_COUNTERS, VT_SIDE_BOTH, 10, 10, 10), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_COUNTER_CYCLES, VT_NR_SIDES, 10, 10, 10), -EUCLEAN);
    assert_int_equal(read_at(c, S + 6, VT_COUNTER_CYCLES, VT_SIDE_GUEST, 9, 9, 9), 0); /* another */
    vt_correlator_free(c);
}

/* A day of readings: growth is told whole, and forgetting leaves what comes after. */
static void many_readings_are_thinned_without_loss_of_growth(void **state)
{
    struct vt_correlator *c = a_second(true);
    struct vt_snapshot *s;
    const uint64_t rounds = 200000;
    (void)state;

    for (uint64_t i = 0; i <= rounds; i++) {
        assert_int_equal(read_at(c, S + i * 1000, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 3 * i, i, i), 0);
        assert_int_equal(read_at(c, S + i * 1000, VT_COUNTER_PAGE_FAULTS, VT_SIDE_BOTH, i, i, i), 0);
    }
    const struct vt_counter_set *set = counters_of(c, &s);
    assert_int_equal(set->nr, 2);
    assert_int_equal(set->of[0].count, 3 * rounds);
    assert_int_equal(set->of[1].count, rounds);
    vt_snapshot_free(s);
    const struct vt_window early = { { S }, { S + rounds * 100 } }; /* as exact as any: every 16th is kept */
    s = vt_correlate(c, &early, &err);
    assert_in_range(s->guests[0].vcpus[0].counters.of[0].count, 3 * rounds / 10 - 3 * 16, 3 * rounds / 10);
    vt_snapshot_free(s);
    vt_correlator_forget(c, (host_ns){ S + rounds * 500 });
    set = counters_of(c, &s);
    assert_in_range(set->of[0].count, 3 * rounds / 2 - 3 * 16, 3 * rounds / 2);
    vt_snapshot_free(s);
    assert_int_equal(
        read_at(c, S + rounds * 1000 + 1, VT_COUNTER_CYCLES, VT_SIDE_BOTH, 3 * rounds + 7, rounds, rounds),
        0);
    set = counters_of(c, &s);
    assert_in_range(set->of[0].count, 3 * rounds / 2 - 3 * 16 + 7, 3 * rounds / 2 + 7);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* ---- what is shown ---- */

/* Both sides, the host's half of the time on the PMU. */
static void what_a_pmu_tells_is_shown_with_its_accuracy(void **state)
{
    struct vt_correlator *c = a_second(true);
    const struct vt_counter_event absent = {
        0, { S }, VT_COUNTER_LLC_MISSES, VT_SIDE_GUEST, EOPNOTSUPP, "so"
    };
    const struct vt_counter_event failed = { 1, { S }, VT_COUNTER_CYCLES, VT_SIDE_GUEST, EMFILE, "no room" };
    struct vt_snapshot *s;
    char *text = NULL;
    size_t n = 0;
    (void)state;

    for (uint64_t i = 0; i < 2; i++) {
        read_at(c, S + i * S, VT_COUNTER_CYCLES, VT_SIDE_GUEST, i * 1500000000, i * S, i * S);
        read_at(c, S + i * S, VT_COUNTER_INSTRUCTIONS, VT_SIDE_GUEST, i * 3000000000, i * S, i * S);
        read_at(c, S + i * S, VT_COUNTER_CYCLES, VT_SIDE_HOST, i * 250000000, i * S, i * S / 2);
        read_at(c, S + i * S, VT_COUNTER_REF_CYCLES, VT_SIDE_HOST, i * 7, i * S, 0);
    }
    assert_int_equal(vt_correlator_counter_event(c, &absent), 0);
    assert_int_equal(vt_correlator_counter_event(c, &failed), 0);
    assert_int_equal(counters_of(c, &s)->nr, 4);
    const struct report_view view = { .snapshot = s, .epoch = { S } };
    FILE *out = open_memstream(&text, &n);
    report_text(&view, out);
    fflush(out);
    assert_non_null(strstr(text, "guest  1500000000    3000000000       2.00"));
    assert_non_null(strstr(text, "host   ~500000000             -          -       never  50.0 %"));
    assert_non_null(strstr(text, "  ~800.000 ms\n")); /* at nominal */
    assert_non_null(strstr(text, "not counted: guest LLC-load-misses (so)"));
    assert_non_null(strstr(text, "1 vCPU not counted, or not all of it"));
    rewind(out);
    assert_int_equal(report_json(&view, out, &err), 0);
    fclose(out);
    assert_non_null(strstr(text, "\"count\":\t500000000"));
    assert_non_null(strstr(text, "\"raw\":\t250000000"));
    assert_non_null(strstr(text, "\"nominal_khz\":\t2500000"));
    free(text);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* ---- the store ---- */

struct heard {
    size_t events, readings;
    struct vt_counter_event event[64];
    struct vt_counter_reading reading[4096];
};

static int hear_event(void *context, const struct vt_counter_event *row)
{
    struct heard *h = context;
    assert_in_range(h->events, 0, 63);
    h->event[h->events++] = *row;
    return 0;
}

static int hear_reading(void *context, const struct vt_counter_reading *row)
{
    struct heard *h = context;
    assert_in_range(h->readings, 0, 4095);
    h->reading[h->readings++] = *row;
    return 0;
}

/* What was committed since the last time. */
static int listen(struct vt_store *store, struct vt_store_cursor *cursor, struct heard *h)
{
    const struct vt_store_reader reader = { .context = h,
                                            .counter_event = hear_event,
                                            .counter = hear_reading };
    int e = vt_store_commit(store, &err);
    return e ? e : vt_store_read(store, cursor, &reader, &err);
}

static struct vt_store *a_store(void)
{
    struct vt_store *store;
    const struct vt_vm vm = { .id = 1, .name = "a" };
    const struct vt_vcpu vcpu = { .id = 1, .vm = 1 };

    assert_int_equal(vt_store_create(":memory:", false, &store, &err), 0);
    assert_int_equal(vt_store_put_vm(store, &vm, &err), 0);
    assert_int_equal(vt_store_put_vcpu(store, &vcpu, &err), 0);
    return store;
}

static void rows_come_back_as_they_went_in(void **state)
{
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    const struct vt_counter_event event = { 0,  { 5 },           VT_COUNTER_LLC_MISSES, VT_SIDE_HOST,
                                            95, "EOPNOTSUPP: so" };
    const struct vt_counter_reading reading = { 1, { 6 }, VT_COUNTER_PAGE_FAULTS, VT_SIDE_BOTH, INT64_MAX,
                                                8, 7 };
    struct vt_counter_reading bad = reading;
    (void)state;

    assert_int_equal(vt_store_put_counter_event(store, &event, &err), 0);
    assert_int_equal(vt_store_put_counter(store, &reading, &err), 0);
    bad.count = UINT64_MAX;
    assert_int_equal(vt_store_put_counter(store, &bad, &err), -EINVAL);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->events, 1);
    assert_int_equal(h->readings, 1);
    assert_int_equal(h->event[0].vcpu, 0);
    assert_int_equal(h->event[0].at.v, 5);
    assert_int_equal(h->event[0].event, VT_COUNTER_LLC_MISSES);
    assert_int_equal(h->event[0].side, VT_SIDE_HOST);
    assert_int_equal(h->event[0].error, 95);
    assert_string_equal(h->event[0].reason, event.reason);
    assert_memory_equal(&h->reading[0], &reading, sizeof(reading));
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->readings, 1);
    free(h);
    vt_store_close(store);
}

/* ---- what may be asked for ---- */

static void a_list_names_events_and_sets(void **state)
{
    uint32_t wanted = 77;
    (void)state;

    assert_int_equal(vt_counters_parse("none", &wanted, &err), 0);
    assert_int_equal(wanted, 0);
    assert_int_equal(vt_counters_parse("all", &wanted, &err), 0);
    assert_int_equal(wanted, VT_COUNTERS_ALL);
    assert_int_equal(vt_counters_parse("hardware", &wanted, &err), 0);
    assert_int_equal(wanted, VT_COUNTERS_HARDWARE);
    assert_int_equal(vt_counters_parse("cycles,software", &wanted, &err), 0);
    assert_int_equal(wanted, (VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE) | 1u << VT_COUNTER_CYCLES);
    assert_int_equal(vt_counters_parse("cycles,none", &wanted, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'none' is none of cycles"));
    assert_int_equal(vt_counters_parse("", &wanted, &err), -EINVAL);
    assert_int_equal(vt_counters_parse(",", &wanted, &err), -EINVAL);
    assert_int_equal(vt_counters_parse("cache", &wanted, &err), -EINVAL);
}

/* ---- real events ---- */

static int raw_open(uint32_t type, uint64_t config, bool exclude_host, bool exclude_guest)
{
    struct perf_event_attr attr = { .type = type,
                                    .size = sizeof(attr),
                                    .config = config,
                                    .exclude_host = exclude_host,
                                    .exclude_guest = exclude_guest };
    int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    int e = fd < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return e;
}

static bool software_is_here(void)
{
    if (raw_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, false, false) == 0)
        return true;
    print_message("perf_event_open is refused here: not tested\n");
    return false;
}

static void a_trial_says_what_the_kernel_says(void **state)
{
    struct vt_counter_trial trials[VT_MAX_TRIALS];
    char reason[VT_COUNTER_REASON_LEN];
    const size_t n = vt_counters_try(VT_COUNTERS_ALL, trials);
    uint32_t seen = 0;
    (void)state;

    for (size_t i = 0; i < n; i++) {
        const struct vt_counter_trial *t = &trials[i];
        int expect = t->error;
        seen |= 1u << t->event;
        if (t->event == VT_COUNTER_CYCLES)
            expect = raw_open(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, t->side == VT_SIDE_GUEST,
                              t->side == VT_SIDE_HOST);
        if (t->event == VT_COUNTER_TASK_CLOCK)
            expect = raw_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, false, false);
        if (t->error != ENODATA)
            assert_int_equal(t->error, expect);
    }
    assert_int_equal(seen, VT_COUNTERS_ALL);
    assert_string_equal(vt_counter_reason(ENOENT, reason), "ENOENT: No such file or directory");
    assert_string_equal(vt_counter_reason(0, reason), "");
}

/* A thread that burns CPU while told to, and ends when told to. */
struct worker {
    pthread_t thread;
    _Atomic int phase; /* 0 sleeps, 1 burns, 2 ends */
    _Atomic uint32_t tid;
    _Atomic uint64_t cpu_ns; /* its own clock, when it last stopped burning */
    _Atomic int at_rest;
};

static void *work(void *context)
{
    struct worker *w = context;
    struct timespec t;

    w->tid = (uint32_t)gettid();
    while (w->phase != 2) {
        while (w->phase == 1)
            ;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        w->cpu_ns = (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
        w->at_rest = 1;
        while (w->phase == 0)
            usleep(2000);
        w->at_rest = 0;
    }
    return NULL;
}

static struct vt_slot start_worker(struct worker *w)
{
    memset(w, 0, sizeof(*w));
    assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
    while (!w->tid || !w->at_rest)
        usleep(1000);
    return (struct vt_slot){ .generation = 1,
                             .tid = w->tid,
                             .tgid = (uint32_t)getpid(),
                             .sched = VT_SCHED_ON_CPU,
                             .start_time = vt_thread_start((uint32_t)getpid(), w->tid) };
}

static unsigned count_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static uint64_t newest(const struct heard *h, enum vt_counter event)
{
    for (size_t i = h->readings; i-- > 0;)
        if (h->reading[i].event == event)
            return h->reading[i].count;
    fail_msg("%s was not read", vt_counters[event].name);
    return 0;
}

/* Two clocks of the kernel's own on one thread, around a burn of 200 ms: within 2 ms and 5 %. */
static void a_thread_is_counted_to_its_end(void **state)
{
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    struct vt_counters *c = NULL;
    struct worker w;
    (void)state;

    if (!software_is_here())
        skip();
    const unsigned files = count_files();
    assert_int_equal(vt_counters_open(VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE, store, &c, &err), 0);
    struct vt_slot slot = start_worker(&w);
    const uint64_t before = w.cpu_ns;
    assert_int_equal(vt_counters_follow(c, 3, &slot, 1, &err), 0);
    assert_int_equal(count_files(), files + 4);
    w.phase = 1;
    usleep(200000);
    w.phase = 0;
    while (!w.at_rest)
        usleep(1000);
    assert_int_equal(vt_counters_follow(c, 3, &slot, 1, &err), 0);
    assert_int_equal(listen(store, &cursor, h), 0);
    const uint64_t own = w.cpu_ns - before, counted = newest(h, VT_COUNTER_TASK_CLOCK);
    assert_true(own > 20 * MS);
    assert_in_range(counted, own - own / 20 - 2 * MS, own + own / 20 + 2 * MS);
    w.phase = 2;
    pthread_join(w.thread, NULL);
    slot.sched = VT_SCHED_GONE;
    const uint64_t switches = newest(h, VT_COUNTER_CONTEXT_SWITCHES);
    assert_int_equal(vt_counters_follow(c, 3, &slot, 1, &err), 0);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_true(newest(h, VT_COUNTER_TASK_CLOCK) > counted); /* what it did in between is counted */
    assert_true(newest(h, VT_COUNTER_CONTEXT_SWITCHES) >= switches);
    assert_int_equal(count_files(), files);
    assert_int_equal(vt_counters_follow(c, 3, &slot, 1, &err), 0); /* it stays gone */
    assert_int_equal(count_files(), files);
    vt_counters_close(c);
    free(h);
    vt_store_close(store);
}

/* Readings of a thread that is held are not written, but when they go on, their standstill's end is. */
static void a_standstill_costs_no_rows(void **state)
{
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    struct vt_counters *c = NULL;
    const pid_t child = software_is_here() ? fork() : -1;
    (void)state;

    if (child < 0)
        skip();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, NULL, WUNTRACED);
    assert_int_equal(vt_counters_open(1u << VT_COUNTER_TASK_CLOCK, store, &c, &err), 0);
    struct vt_slot slot = { .generation = 1, .tid = (uint32_t)child, .tgid = (uint32_t)child };
    slot.sched = VT_SCHED_SEED; /* the ledger does not know yet: it is read each time */
    slot.start_time = vt_process_start((uint32_t)child);
    for (int i = 0; i < 50; i++)
        assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    slot.sched = VT_SCHED_OFF; /* and now it knows: it is not read */
    for (int i = 0; i < 50; i++) {
        slot.last = vt_host_now().v;
        assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    }
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->readings, 1);
    kill(child, SIGCONT);
    waitpid(child, NULL, 0);
    slot.switches++;
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->readings, 3);
    assert_int_equal(h->reading[1].at.v, slot.last); /* the last that was known of its standstill */
    assert_int_equal(h->reading[1].count, h->reading[0].count);
    assert_true(h->reading[2].count > h->reading[1].count);
    vt_counters_close(c);
    free(h);
    vt_store_close(store);
}

static void a_thread_that_is_gone_or_another_is_not_counted(void **state)
{
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    struct vt_counters *c = NULL;
    struct worker w;
    (void)state;

    if (!software_is_here())
        skip();
    const unsigned files = count_files();
    assert_int_equal(vt_counters_open(1u << VT_COUNTER_TASK_CLOCK, store, &c, &err), 0);
    struct vt_slot slot = start_worker(&w);
    slot.start_time += S; /* not this one: its tid was reused */
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    w.phase = 2;
    pthread_join(w.thread, NULL);
    slot.generation = 2;
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->readings, 0);
    assert_int_equal(h->events, 3); /* the trial, and each failure */
    assert_int_equal(h->event[0].error, 0);
    assert_int_equal(h->event[1].error, ESRCH);
    assert_int_equal(h->event[1].vcpu, 1);
    assert_int_equal(h->event[2].error, ESRCH);
    assert_int_equal(count_files(), files);
    assert_int_equal(vt_counters_short_of_files(c), 0);
    vt_counters_close(c);
    free(h);
    vt_store_close(store);
}

static void drop_sys_resource(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    assert_int_equal(syscall(SYS_capget, &head, data), 0);
    data[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    data[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
    assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

/* Room for one thread's counters, and two threads. */
static void run_short_of_files(void)
{
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    struct vt_counters *c = NULL;
    struct worker w[2];
    struct rlimit limit = { 512 + 5, 512 + 5 }, after;

    drop_sys_resource();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(vt_counters_open(VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE, store, &c, &err), 0);
    for (uint32_t i = 0; i < 2; i++) {
        const struct vt_slot slot = start_worker(&w[i]);
        assert_int_equal(vt_counters_follow(c, i, &slot, 1, &err), 0);
    }
    assert_int_equal(vt_counters_short_of_files(c), 1);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->readings, 4);
    assert_int_equal(h->events, 8);
    for (size_t i = 4; i < 8; i++)
        assert_int_equal(h->event[i].error, EMFILE);
    for (uint32_t i = 0; i < 2; i++) {
        w[i].phase = 2;
        pthread_join(w[i].thread, NULL);
    }
    vt_counters_close(c);
    getrlimit(RLIMIT_NOFILE, &after);
    assert_int_equal(after.rlim_cur, limit.rlim_cur);
    free(h);
    vt_store_close(store);
}

static void without_descriptors_a_thread_is_not_counted_and_that_is_told(void **state)
{
    int status = 0;
    (void)state;

    if (!software_is_here())
        skip();
    const pid_t child = fork();
    if (child == 0) {
        run_short_of_files(); /* a failed assertion is an exit by cmocka's jump: never 42 */
        _exit(42);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

/* libperf's descriptors would survive an exec. */
static void a_forked_child_can_let_go_of_them(void **state)
{
    struct vt_store *store = a_store();
    struct vt_counters *c = NULL;
    struct worker w;
    int status = 0;
    (void)state;

    if (!software_is_here())
        skip();
    const unsigned files = count_files();
    assert_int_equal(vt_counters_open(1u << VT_COUNTER_TASK_CLOCK, store, &c, &err), 0);
    const struct vt_slot slot = start_worker(&w);
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    const pid_t child = fork();
    if (child == 0) {
        vt_counters_close(c);
        _exit(count_files() == files ? 42 : 1);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(count_files(), files + 1);
    w.phase = 2;
    pthread_join(w.thread, NULL);
    vt_counters_close(c);
    assert_int_equal(count_files(), files);
    vt_store_close(store);
}

/*
 * As if there had been a PMU when it was tried: every event of both sides is
 * then either read or noted, whatever this host has, and no descriptor stays.
 */
static void a_group_that_fails_is_opened_event_by_event(void **state)
{
    static const struct vt_counter_trial trials[] = {
        { VT_COUNTER_CYCLES, VT_SIDE_GUEST, 0 },       { VT_COUNTER_CYCLES, VT_SIDE_HOST, 0 },
        { VT_COUNTER_INSTRUCTIONS, VT_SIDE_GUEST, 0 }, { VT_COUNTER_INSTRUCTIONS, VT_SIDE_HOST, 0 },
        { VT_COUNTER_REF_CYCLES, VT_SIDE_GUEST, 0 },   { VT_COUNTER_LLC_MISSES, VT_SIDE_HOST, EOPNOTSUPP },
        { VT_COUNTER_TASK_CLOCK, VT_SIDE_BOTH, 0 },
    };
    enum { TRIALS = sizeof(trials) / sizeof(trials[0]), GOOD = TRIALS - 1 };
    struct vt_store *store = a_store();
    struct vt_store_cursor cursor = { 0 };
    struct heard *h = calloc(1, sizeof(*h));
    struct vt_counters *c = NULL;
    struct worker w;
    size_t found = 0;
    (void)state;

    if (!software_is_here())
        skip();
    const unsigned files = count_files();
    assert_int_equal(vt_counters_open_tried(trials, TRIALS, store, &c, &err), 0);
    const struct vt_slot slot = start_worker(&w);
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    assert_int_equal(listen(store, &cursor, h), 0);
    assert_int_equal(h->events + h->readings, TRIALS + GOOD);
    assert_int_equal(count_files(), files + h->readings);
    for (size_t i = 0; i < TRIALS; i++) {
        for (size_t k = 0; k < h->readings; k++)
            found += h->reading[k].event == trials[i].event && h->reading[k].side == trials[i].side;
        for (size_t k = TRIALS; k < h->events; k++)
            found += h->event[k].event == trials[i].event && h->event[k].side == trials[i].side &&
                     h->event[k].vcpu == 1 && h->event[k].error != 0;
    }
    assert_int_equal(found, GOOD);
    assert_int_equal(newest(h, VT_COUNTER_TASK_CLOCK), 0); /* it sleeps, and the others don't spoil it */
    w.phase = 2;
    pthread_join(w.thread, NULL);
    vt_counters_close(c);
    assert_int_equal(count_files(), files);
    free(h);
    vt_store_close(store);
}

/* The readings go on where they were, and what failed is told again, under the new recording's ids. */
static void another_recording_begins_with_what_was_read(void **state)
{
    struct vt_store *first = a_store(), *second = a_store();
    struct vt_store_cursor cursor[2] = { 0 };
    struct heard *h = calloc(2, sizeof(*h));
    struct vt_counters *c = NULL;
    struct worker w[2];
    (void)state;

    if (!software_is_here())
        skip();
    assert_int_equal(vt_counters_open(1u << VT_COUNTER_TASK_CLOCK, first, &c, &err), 0);
    const struct vt_slot slot = start_worker(&w[0]);
    struct vt_slot wrong = start_worker(&w[1]);
    wrong.start_time += S;
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    assert_int_equal(vt_counters_follow(c, 1, &wrong, 1, &err), 0);
    assert_int_equal(listen(first, &cursor[0], &h[0]), 0);
    assert_int_equal(vt_counters_move(c, second, &err), 0);
    assert_int_equal(vt_counters_follow(c, 0, &slot, 1, &err), 0);
    assert_int_equal(vt_counters_follow(c, 1, &wrong, 1, &err), 0);
    assert_int_equal(listen(second, &cursor[1], &h[1]), 0);
    assert_int_equal(h[1].events, 2);
    assert_int_equal(h[1].event[0].error, 0);
    assert_int_equal(h[1].event[1].error, ESRCH);
    assert_true(h[1].readings >= 1);
    assert_int_equal(h[1].reading[0].at.v, h[0].reading[0].at.v);
    for (int i = 0; i < 2; i++) {
        w[i].phase = 2;
        pthread_join(w[i].thread, NULL);
    }
    vt_counters_close(c);
    free(h);
    vt_store_close(first);
    vt_store_close(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_what_grew_between_the_readings),
        cmocka_unit_test(events_that_took_turns_are_scaled_and_estimated),
        cmocka_unit_test(capacity_is_all_the_cycles_at_the_rate_of_the_tsc),
        cmocka_unit_test(capacity_is_bounded_where_nothing_was_scaled),
        cmocka_unit_test(the_account_does_not_know_of_counters),
        cmocka_unit_test(readings_that_contradict_are_refused),
        cmocka_unit_test(many_readings_are_thinned_without_loss_of_growth),
        cmocka_unit_test(what_a_pmu_tells_is_shown_with_its_accuracy),
        cmocka_unit_test(rows_come_back_as_they_went_in),
        cmocka_unit_test(a_list_names_events_and_sets),
        cmocka_unit_test(a_trial_says_what_the_kernel_says),
        cmocka_unit_test(a_thread_is_counted_to_its_end),
        cmocka_unit_test(a_standstill_costs_no_rows),
        cmocka_unit_test(a_thread_that_is_gone_or_another_is_not_counted),
        cmocka_unit_test(without_descriptors_a_thread_is_not_counted_and_that_is_told),
        cmocka_unit_test(a_forked_child_can_let_go_of_them),
        cmocka_unit_test(a_group_that_fails_is_opened_event_by_event),
        cmocka_unit_test(another_recording_begins_with_what_was_read),
    };
    return cmocka_run_group_tests_name("counters", tests, NULL, NULL);
}

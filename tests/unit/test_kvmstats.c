/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's own statistics: described by the kernel, summed up, recorded, told of a window. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "collector/kvmstats.h"
#include "correlator/feed.h"

#define MS UINT64_C(1000000)

static struct vt_err err;

/* ---- what the kernel describes ---- */

static bool has(const struct vt_kvm_stat_list *list, const char *name, const char *unit)
{
    for (size_t i = 0; i < list->nr; i++)
        if (strcmp(list->of[i].name, name) == 0)
            return strcmp(list->of[i].unit, unit) == 0;
    return false;
}

static void a_vcpu_of_our_own_tells_names_units_and_places(void **state)
{
    struct vt_kvm_stat_list list;
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    (void)state;
    if (kvm < 0)
        skip();
    const int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    const int r = vt_kvm_stats_describe(vcpu, &list);
    if (r == -EOPNOTSUPP) /* before 5.14 */
        skip();
    assert_int_equal(r, 0);
    assert_true(has(&list, "exits", ""));
    assert_true(has(&list, "io_exits", ""));
    assert_true(has(&list, "halt_wait_ns", "ns"));
    assert_false(has(&list, "guest_mode", "")); /* not a count, but a state */
    assert_false(has(&list, "halt_wait_hist", "ns"));
    for (size_t i = 0; i < list.nr; i++) {
        assert_int_equal(list.of[i].id, i + 1);
        assert_true(list.at[i] % 8 == 0 && (i == 0 || list.at[i] > list.at[i - 1]));
    }
    close(vcpu);
    close(vm);
    close(kvm);
}

static void what_is_no_vcpu_describes_none(void **state)
{
    struct vt_kvm_stat_list list = { .nr = 7 };
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(vt_kvm_stats_describe(null, &list), -EOPNOTSUPP);
    assert_int_equal(list.nr, 0);
    close(null);
    assert_int_equal(vt_kvm_stats_describe(-1, &list), -EBADF);
}

/* ---- sums ---- */

static void sums_count_from_the_lifes_begin(void **state)
{
    const uint64_t birth[VT_KVM_STATS_MAX] = { 100, 5 };
    struct vt_kvm_sums s = { 0 };
    (void)state;
    vt_kvm_sums_begin(&s, 3, (host_ns){ MS }, birth);
    assert_int_equal(s.sum[0], 0);
    assert_true(vt_kvm_sums_add(&s, 2, (uint64_t[VT_KVM_STATS_MAX]){ 130, 5 }, (host_ns){ 2 * MS }));
    assert_true(vt_kvm_sums_add(&s, 2, (uint64_t[VT_KVM_STATS_MAX]){ 131, 9 }, (host_ns){ 3 * MS }));
    assert_int_equal(s.sum[0], 31);
    assert_int_equal(s.sum[1], 4);
}

static void one_that_was_cleared_counts_on(void **state)
{
    const uint64_t birth[VT_KVM_STATS_MAX] = { 100 };
    struct vt_kvm_sums s = { 0 };
    (void)state;
    vt_kvm_sums_begin(&s, 1, (host_ns){ MS }, birth);
    assert_true(vt_kvm_sums_add(&s, 1, (uint64_t[VT_KVM_STATS_MAX]){ 150 }, (host_ns){ 2 * MS }));
    assert_true(vt_kvm_sums_add(&s, 1, (uint64_t[VT_KVM_STATS_MAX]){ 7 }, (host_ns){ 3 * MS }));
    assert_int_equal(s.sum[0], 57);
}

static void a_reading_that_no_vcpu_can_have_is_not_added(void **state)
{
    const uint64_t birth[VT_KVM_STATS_MAX] = { 100 };
    struct vt_kvm_sums s = { 0 };
    (void)state;
    vt_kvm_sums_begin(&s, 1, (host_ns){ MS }, birth);
    /* a pointer, found where a count was */
    assert_false(vt_kvm_sums_add(&s, 2, (uint64_t[VT_KVM_STATS_MAX]){ 101, UINT64_C(0xffff888012345678) },
                                 (host_ns){ 2 * MS }));
    assert_int_equal(s.sum[0], 0);
    assert_true(vt_kvm_sums_add(&s, 2, (uint64_t[VT_KVM_STATS_MAX]){ 101, 0 }, (host_ns){ 3 * MS }));
    assert_int_equal(s.sum[0], 1);
}

/* ---- recorded and told ---- */

/* Stat 1 (exits) and 2 (halt_wait_ns) of two lives: of one that was there, and one born at 50 ms. */
static struct vt_store *recording(void)
{
    const struct vt_host host = { .begin = { 10 * MS }, .end = { 110 * MS }, .nr_cpus = 1 };
    const struct vt_vm vm = { .id = 1, .tgid = 7, .name = "guest" };
    const struct vt_vcpu lives[] = { { .id = 1, .vm = 1, .tid = 8, .born = { 5 * MS } },
                                     { .id = 2, .vm = 1, .index = 1, .tid = 9, .born = { 50 * MS } } };
    const struct vt_kvm_stat stats[] = { { 1, "exits", "" }, { 2, "halt_wait_ns", "ns" } };
    const struct vt_kvm_count counts[] = {
        { 1, { 10 * MS }, 1, 1000 }, { 1, { 30 * MS }, 1, 1200 },    { 1, { 70 * MS }, 1, 1500 },
        { 1, { 70 * MS }, 2, 4000 }, { 1, { 110 * MS }, 1, 1600 },   { 2, { 70 * MS }, 1, 40 },
        { 2, { 110 * MS }, 1, 90 },  { 2, { 110 * MS }, 2, 3 * MS },
    };
    struct vt_store *store = NULL;
    assert_int_equal(vt_store_create(":memory:", false, &store, &err), 0);
    assert_int_equal(vt_store_put_host(store, &host, &err), 0);
    assert_int_equal(vt_store_put_vm(store, &vm, &err), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(vt_store_put_vcpu(store, &lives[i], &err), 0);
        assert_int_equal(vt_store_put_kvm_stat(store, &stats[i], &err), 0);
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        assert_int_equal(vt_store_put_kvm_count(store, &counts[i], &err), 0);
    assert_int_equal(vt_store_commit(store, &err), 0);
    return store;
}

static struct vt_correlator *fed(struct vt_store *store)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_store_cursor cursor = { 0 };
    assert_int_equal(vt_feed(c, store, &cursor, &err), 0);
    vt_store_close(store);
    return c;
}

static void expect_growth(const struct vt_correlator *c, uint64_t from, uint64_t to, size_t vcpu, size_t stat,
                          uint64_t count, uint64_t bound)
{
    const struct vt_window w = { { from }, { to } };
    struct vt_snapshot *s = vt_correlate(c, &w, &err);
    assert_non_null(s);
    const struct vt_kvm_figure *f = &s->guests[0].vcpus[vcpu].kvm_stats[stat];
    assert_int_equal(f->count, count);
    assert_int_equal(f->bound, bound);
    assert_int_equal(f->accuracy, bound ? VT_BOUNDED : VT_EXACT);
    vt_snapshot_free(s);
}

static void a_whole_recordings_growth_is_exact(void **state)
{
    struct vt_correlator *c = fed(recording());
    struct vt_snapshot *s = vt_correlate(c, NULL, &err);
    (void)state;
    assert_int_equal(s->nr_kvm_stats, 2);
    assert_string_equal(s->kvm_stats[1].name, "halt_wait_ns");
    assert_string_equal(s->kvm_stats[1].unit, "ns");
    vt_snapshot_free(s);
    expect_growth(c, 10 * MS, 110 * MS, 0, 0, 600, 0);
    expect_growth(c, 10 * MS, 110 * MS, 0, 1, 4000, 0);
    /* born in it: all of it */
    expect_growth(c, 10 * MS, 110 * MS, 1, 0, 90, 0);
    expect_growth(c, 10 * MS, 110 * MS, 1, 1, 3 * MS, 0);
    vt_correlator_free(c);
}

static void a_windows_growth_is_bounded_by_what_grew_around_its_edges(void **state)
{
    struct vt_correlator *c = fed(recording());
    (void)state;
    /* 300 came between 30 and 70 ms, and 100 between 70 and 110: which before 40, and which before 80? */
    expect_growth(c, 40 * MS, 80 * MS, 0, 0, 300, 300);
    expect_growth(c, 80 * MS, 90 * MS, 0, 0, 0, 100);
    /* the look at 110 ms found it as it was at 70 */
    expect_growth(c, 80 * MS, 90 * MS, 0, 1, 0, 0);
    expect_growth(c, 70 * MS, 110 * MS, 0, 0, 100, 0);
    vt_correlator_free(c);
}

static void windows_that_meet_share_no_count_and_lose_none(void **state)
{
    struct vt_correlator *c = fed(recording());
    (void)state;
    for (uint64_t cut = 11; cut < 110; cut++) {
        const struct vt_window a = { { 10 * MS }, { cut * MS } }, b = { { cut * MS }, { 110 * MS } };
        struct vt_snapshot *before = vt_correlate(c, &a, &err), *after = vt_correlate(c, &b, &err);
        assert_int_equal(before->guests[0].vcpus[0].kvm_stats[0].count +
                             after->guests[0].vcpus[0].kvm_stats[0].count,
                         600);
        vt_snapshot_free(before);
        vt_snapshot_free(after);
    }
    vt_correlator_free(c);
}

/* A vCPU that is in that state since 60 ms, as a checkpoint at 65 says; looked at for the last time at `look`
 * ms. */
static struct vt_correlator *one_that_is(enum vt_state now, uint64_t look, uint64_t count)
{
    const struct vt_checkpoint end = { .vcpu = 1, .at = { 65 * MS }, .last = { 60 * MS }, .state = now };
    const struct vt_host host = { .begin = { 10 * MS }, .end = { 110 * MS }, .nr_cpus = 1 };
    const struct vt_vm vm = { .id = 1, .tgid = 7, .name = "guest" };
    const struct vt_vcpu life = { .id = 1, .vm = 1, .tid = 8, .born = { 20 * MS } };
    const struct vt_kvm_stat stat = { 1, "exits", "" };
    const struct vt_kvm_count row = { 1, { look * MS }, 1, count };
    struct vt_correlator *c = vt_correlator_new();
    assert_int_equal(vt_correlator_host(c, &host), 0);
    assert_int_equal(vt_correlator_vm(c, &vm), 0);
    assert_int_equal(vt_correlator_vcpu(c, &life), 0);
    assert_int_equal(vt_correlator_kvm_stat(c, &stat), 0);
    assert_int_equal(vt_correlator_kvm_count(c, &row), 0);
    assert_int_equal(vt_correlator_checkpoint(c, &end), 0);
    return c;
}

static void expect_accuracy(struct vt_correlator *c, uint64_t to, uint64_t count, enum vt_accuracy accuracy)
{
    const struct vt_window w = { { 10 * MS }, { to } };
    struct vt_snapshot *s = vt_correlate(c, &w, &err);
    assert_non_null(s);
    assert_int_equal(s->guests[0].vcpus[0].kvm_stats[0].count, count);
    assert_int_equal(s->guests[0].vcpus[0].kvm_stats[0].accuracy, accuracy);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

static void what_came_after_the_last_look_is_not_told_as_exact(void **state)
{
    (void)state;
    expect_accuracy(one_that_is(VT_ABSENT, 65, 90), 110 * MS, 90, VT_EXACT); /* looked at when it was over */
    expect_accuracy(one_that_is(VT_ABSENT, 65, 90), 62 * MS, 0, VT_BOUNDED);
    expect_accuracy(one_that_is(VT_ABSENT, 50, 90), 110 * MS, 90, VT_ESTIMATED); /* it went unseen */
    expect_accuracy(one_that_is(VT_ABSENT, 50, 90), 50 * MS, 90, VT_EXACT);
    expect_accuracy(one_that_is(VT_RUN, 65, 90), 65 * MS, 90, VT_EXACT);
    expect_accuracy(one_that_is(VT_RUN, 50, 90), 65 * MS, 90, VT_ESTIMATED); /* a recording under way */
}

static void forgetting_keeps_what_growth_is_counted_from(void **state)
{
    struct vt_correlator *c = fed(recording());
    (void)state;
    vt_correlator_forget(c, (host_ns){ 75 * MS });
    expect_growth(c, 75 * MS, 110 * MS, 0, 0, 100, 100);
    expect_growth(c, 75 * MS, 110 * MS, 0, 1, 0, 0);
    vt_correlator_free(c);
}

static void a_count_of_nothing_known_is_refused(void **state)
{
    const struct vt_kvm_count of_no_stat = { 1, { 20 * MS }, 3, 1 }, of_no_vcpu = { 3, { 20 * MS }, 1, 1 };
    const struct vt_kvm_stat late = { 9, "exits", "" };
    struct vt_correlator *c = fed(recording());
    (void)state;
    assert_int_equal(vt_correlator_kvm_count(c, &of_no_stat), -EUCLEAN);
    assert_int_equal(vt_correlator_kvm_count(c, &of_no_vcpu), -EUCLEAN);
    assert_int_equal(vt_correlator_kvm_stat(c, &late), -EUCLEAN);
    vt_correlator_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vcpu_of_our_own_tells_names_units_and_places),
        cmocka_unit_test(what_is_no_vcpu_describes_none),
        cmocka_unit_test(sums_count_from_the_lifes_begin),
        cmocka_unit_test(one_that_was_cleared_counts_on),
        cmocka_unit_test(a_reading_that_no_vcpu_can_have_is_not_added),
        cmocka_unit_test(a_whole_recordings_growth_is_exact),
        cmocka_unit_test(a_windows_growth_is_bounded_by_what_grew_around_its_edges),
        cmocka_unit_test(windows_that_meet_share_no_count_and_lose_none),
        cmocka_unit_test(what_came_after_the_last_look_is_not_told_as_exact),
        cmocka_unit_test(forgetting_keeps_what_growth_is_counted_from),
        cmocka_unit_test(a_count_of_nothing_known_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

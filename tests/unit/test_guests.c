/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which threads of a QEMU without thread names are its vCPUs. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdint.h>
#include <string.h>

#include "collector/guests_internal.h"

#define MS UINT64_C(1000000)

static void programs_of_qemu_are_known_by_their_names(void **state)
{
    (void)state;
    assert_true(guests_is_qemu("/usr/bin/qemu-system-x86_64"));
    assert_true(guests_is_qemu("/opt/q/bin/qemu-system-aarch64 (deleted)"));
    assert_true(guests_is_qemu("/usr/libexec/qemu-kvm"));
    assert_false(guests_is_qemu("/usr/bin/qemu-img"));
    assert_false(guests_is_qemu("/srv/qemu-system-x86_64/other"));
    assert_false(guests_is_qemu("linux"));
}

#define VCPUS(args) guests_tcg_vcpus(args, sizeof(args))

static void the_number_of_vcpus_is_what_qemu_was_asked_for(void **state)
{
    (void)state;
    assert_int_equal(VCPUS("qemu-system-x86_64\0-m\0512"), 1);
    assert_int_equal(VCPUS("qemu-system-x86_64\0-smp\0004"), 4);
    assert_int_equal(VCPUS("q\0--smp\0004,sockets=2,cores=2"), 4);
    assert_int_equal(VCPUS("q\0-smp\0cpus=3,maxcpus=8"), 3);
    assert_int_equal(VCPUS("q\0-smp\0sockets=2,cores=3,threads=2"), 12);
    assert_int_equal(VCPUS("q\0-smp\0maxcpus=8"), 1);
    assert_int_equal(VCPUS("q\0-smp\0004\0-accel\0tcg,thread=single"), 1);
    assert_int_equal(VCPUS("q\0-icount\0shift=0\0-smp\0002"), 1);
    assert_int_equal(VCPUS("q\0-smp\0000"), 1);
    assert_int_equal(VCPUS("q\0-smp\099999999999999999999"), 4096);
    assert_int_equal(VCPUS("q\0-smp\0sockets=99999,cores=4096,threads=4096"), 4096);
    assert_int_equal(VCPUS("q\0-smp"), 1);
    assert_int_equal(guests_tcg_vcpus("", 0), 1);
}

/* As read from a running QEMU 7.2 with -smp 2: main, call_rcu, two vCPUs, a worker. */
static void vcpus_are_the_neighbours_that_used_most(void **state)
{
    const struct guests_thread seen[] = {
        { 100, 35 * MS }, { 101, 2 * MS }, { 102, 641 * MS }, { 103, 7 * MS }, { 104, MS }
    };
    unsigned n = 2;
    (void)state;
    assert_int_equal(guests_tcg_choose(seen, 5, &n), 2);
    assert_int_equal(n, 2);
}

/* A worker that opened the disk was there before the vCPUs. */
static void a_worker_before_the_vcpus_is_none_of_them(void **state)
{
    const struct guests_thread seen[] = { { 100, 90 * MS }, { 101, 2 * MS },   { 102, 3 * MS },
                                          { 103, 20 * MS }, { 104, 400 * MS }, { 105, MS } };
    unsigned n = 2;
    (void)state;
    assert_int_equal(guests_tcg_choose(seen, 6, &n), 3);
    assert_int_equal(n, 2);
}

static void the_main_thread_and_the_first_it_made_are_no_vcpus(void **state)
{
    const struct guests_thread seen[] = { { 100, 900 * MS }, { 101, 800 * MS }, { 102, 60 * MS } };
    unsigned n = 1;
    (void)state;
    assert_int_equal(guests_tcg_choose(seen, 3, &n), 2);
}

static void before_it_has_used_cpu_time_nothing_is_told(void **state)
{
    const struct guests_thread seen[] = {
        { 100, 90 * MS }, { 101, 2 * MS }, { 102, 3 * MS }, { 103, 2 * MS }
    };
    unsigned n = 2;
    (void)state;
    assert_int_equal(guests_tcg_choose(seen, 4, &n), -1);
    assert_int_equal(guests_tcg_choose(seen, 2, &n), -1);
    assert_int_equal(guests_tcg_choose(seen, 0, &n), -1);
}

/* One thread turns from vCPU to vCPU where the guest's memory order does not allow more. */
static void fewer_threads_than_vcpus_are_one_for_all(void **state)
{
    const struct guests_thread seen[] = { { 100, 90 * MS }, { 101, 2 * MS }, { 102, 300 * MS }, { 103, MS } };
    unsigned n = 4;
    (void)state;
    assert_int_equal(guests_tcg_choose(seen, 4, &n), 2);
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_of_qemu_are_known_by_their_names),
        cmocka_unit_test(the_number_of_vcpus_is_what_qemu_was_asked_for),
        cmocka_unit_test(vcpus_are_the_neighbours_that_used_most),
        cmocka_unit_test(a_worker_before_the_vcpus_is_none_of_them),
        cmocka_unit_test(the_main_thread_and_the_first_it_made_are_no_vcpus),
        cmocka_unit_test(before_it_has_used_cpu_time_nothing_is_told),
        cmocka_unit_test(fewer_threads_than_vcpus_are_one_for_all),
    };
    return cmocka_run_group_tests_name("guests", tests, NULL, NULL);
}

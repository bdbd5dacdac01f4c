/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guests that are not KVM's: which threads of a QEMU without thread names are its vCPUs, and whose is what.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "collector/bpf/machine.h"
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

static void a_status_tells_whose_process_it_is(void **state)
{
    struct guests_status s;
    (void)state;
    assert_true(guests_status("Name:\tlinux\nTgid:\t12\nPid:\t12\nPPid:\t7\nTracerPid:\t7\n", &s));
    assert_int_equal(s.tgid, 12);
    assert_int_equal(s.parent, 7);
    assert_int_equal(s.tracer, 7);
    assert_true(guests_read_status((uint32_t)getpid(), &s));
    assert_int_equal(s.tgid, getpid());
    assert_int_equal(s.parent, getppid());
    assert_false(guests_status("Name:\tTgid:\n", &s));
    assert_false(guests_read_status(UINT32_MAX, &s));
}

static void a_program_that_is_no_uml_kernel_is_none(void **state)
{
    (void)state;
    assert_false(guests_is_uml("/proc/self/exe"));
    assert_false(guests_is_uml("/proc/self/status"));
    assert_false(guests_is_uml("/nowhere"));
}

static void a_cgroup_is_called_what_its_folder_is(void **state)
{
    char name[VT_VM_NAME_LEN], path[200];
    (void)state;
    guests_cgroup_name("/sys/fs/cgroup/system.slice/db.service", name);
    assert_string_equal(name, "db.service");
    guests_cgroup_name("/sys/fs/cgroup/cpu/a//", name);
    assert_string_equal(name, "a");
    guests_cgroup_name("/", name);
    assert_string_equal(name, "/");
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 2] = 'y';
    path[sizeof(path) - 1] = 0;
    guests_cgroup_name(path, name);
    assert_int_equal(strlen(name), VT_VM_NAME_LEN - 1);
    assert_int_equal(name[VT_VM_NAME_LEN - 2], 'y');
}

static void a_folder_that_is_no_cgroup_is_refused(void **state)
{
    struct guests_cgroup g;
    struct vt_err err = { "" };
    (void)state;
    assert_int_equal(guests_cgroup_open("/proc", &g, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/proc"));
}

/* What a thread that the iterator found asleep did until it was no more in its cgroup. */
static void a_sleeper_that_no_event_told_of_slept(void **state)
{
    struct vt_slot s = { 0 };
    (void)state;
    machine_init(&s, 1000, VT_SCHED_SEED, VT_RUN);
    s.seed_state = VT_IDLEQ;
    machine_end_life(&s, 1700);
    assert_int_equal(s.ns[VT_IDLEQ], 700);
    assert_int_equal(s.ns[VT_LOST], 0);
    assert_int_equal(s.open.off_state, VT_IDLEQ);
    s = (struct vt_slot){ 0 };
    machine_init(&s, 1000, VT_SCHED_SEED, VT_RUN);
    s.seed_state = VT_RUN; /* it ran, and must have done something since */
    machine_end_life(&s, 1700);
    assert_int_equal(s.ns[VT_LOST], 700);
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
        cmocka_unit_test(a_status_tells_whose_process_it_is),
        cmocka_unit_test(a_program_that_is_no_uml_kernel_is_none),
        cmocka_unit_test(a_cgroup_is_called_what_its_folder_is),
        cmocka_unit_test(a_folder_that_is_no_cgroup_is_refused),
        cmocka_unit_test(a_sleeper_that_no_event_told_of_slept),
    };
    return cmocka_run_group_tests_name("guests", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where CPUs are: read from folders made like /sys/devices/system/cpu, and from this host's own. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/hostinfo.h"

/* A machine of 8 hardware threads on 4 cores, 2 packages and nodes; core_id repeats; CPU 7 is off. */
static const char make_it[] =
    "set -e; cd \"$1\"; echo 0-7 >possible\n"
    "for i in 0 1 2 3 4 5 6 7; do mkdir -p cpu$i/topology; c=$((i % 4)); n=$((c / 2))\n"
    "  echo $((c % 2)) >cpu$i/topology/core_id; echo $n >cpu$i/topology/physical_package_id\n"
    "  echo $c,$((c + 4)) >cpu$i/topology/core_cpus_list; mkdir cpu$i/node$n; test $i = 0 || echo 1 "
    ">cpu$i/online\n"
    "done\n"
    "echo 512 >cpu2/cpu_capacity; echo 0 >cpu7/online; rm -r cpu7/topology; echo 3 "
    ">cpu3/topology/core_cpus_list\n"
    "mv cpu6/topology/core_cpus_list cpu6/topology/thread_siblings_list; echo -1 >cpu6/topology/core_id\n";

static char *make_machine(char path[64])
{
    char script[2048];
    strcpy(path, "/tmp/vt-topology-XXXXXX");
    assert_non_null(mkdtemp(path));
    snprintf(script, sizeof(script), "sh -c '%s' sh %s", make_it, path);
    assert_int_equal(system(script), 0);
    return path;
}

static void drop_machine(const char *path)
{
    char script[128];
    snprintf(script, sizeof(script), "rm -r %s", path);
    assert_int_equal(system(script), 0);
}

static void cores_nodes_and_siblings_are_read(void **state)
{
    char path[64];
    struct vt_cpu cpu[8];
    (void)state;
    make_machine(path);
    assert_int_equal(vt_cpu_limit(path), 8);
    for (uint32_t i = 0; i < 7; i++) {
        assert_true(vt_cpu_describe(path, i, &cpu[i]));
        assert_int_equal(cpu[i].cpu, i);
        assert_int_equal(cpu[i].sibling, i % 4);
        assert_int_equal(cpu[i].node, i % 4 / 2);
        assert_int_equal(cpu[i].package, i % 4 / 2);
        assert_int_equal(cpu[i].core_id, i == 6 ? -1 : (int)(i % 2));
        assert_int_equal(cpu[i].capacity, i == 2 ? 512 : 0);
    }
    assert_false(vt_cpu_describe(path, 7, &cpu[7])); /* offline */
    assert_false(vt_cpu_describe(path, 8, &cpu[7])); /* not there */
    drop_machine(path);
}

static void this_host_has_as_many_as_are_online(void **state)
{
    const uint32_t limit = vt_cpu_limit(NULL);
    struct vt_cpu cpu;
    long n = 0;
    (void)state;
    for (uint32_t i = 0; i < limit; i++)
        n += vt_cpu_describe(NULL, i, &cpu);
    assert_int_equal(n, sysconf(_SC_NPROCESSORS_ONLN));
}

/* It has idle states to poll in, but for the CPU that is off. */
static const char lay_idle[] = "set -e; cd \"$1\"; mkdir cpuidle; echo menu >cpuidle/current_governor\n"
                               "for i in 0 1 2 3 4 5 6; do mkdir -p cpu$i/cpuidle/state0\n"
                               "  echo POLL >cpu$i/cpuidle/state0/name; done\n";

static void set_limit(const char *path, int32_t us)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(&us, sizeof(us), 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void write_in(const char *machine, const char *file, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", machine, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void a_cpu_that_may_only_poll_does_not_sleep(void **state)
{
    char path[64], limit[80], script[2048];
    (void)state;
    make_machine(path);
    snprintf(limit, sizeof(limit), "%s/limit", path);
    set_limit(limit, 0);
    assert_false(vt_host_stays_awake(path, limit)); /* nothing is known of idle states */
    snprintf(script, sizeof(script), "sh -c '%s' sh %s", lay_idle, path);
    assert_int_equal(system(script), 0);
    assert_true(vt_host_stays_awake(path, limit));
    set_limit(limit, 1); /* there may be a state that is as quick */
    assert_false(vt_host_stays_awake(path, limit));
    set_limit(limit, 2000000000); /* nobody asks for any */
    assert_false(vt_host_stays_awake(path, limit));
    assert_int_equal(truncate(limit, 2), 0);
    assert_false(vt_host_stays_awake(path, limit));
    unlink(limit);
    assert_false(vt_host_stays_awake(path, limit));
    set_limit(limit, 0);
    write_in(path, "cpuidle/current_governor", "teo\n");
    assert_false(vt_host_stays_awake(path, limit));
    write_in(path, "cpuidle/current_governor", "haltpoll\n");
    assert_true(vt_host_stays_awake(path, limit));
    write_in(path, "cpu6/cpuidle/state0/name", "WFI\n"); /* it has nothing to poll in */
    assert_false(vt_host_stays_awake(path, limit));
    drop_machine(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cores_nodes_and_siblings_are_read),
        cmocka_unit_test(a_cpu_that_may_only_poll_does_not_sleep),
        cmocka_unit_test(this_host_has_as_many_as_are_online),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

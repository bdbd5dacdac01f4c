/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent reads: transports as people write them, /proc, and what gaps say. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "guest-agent/gaps.h"
#include "guest-agent/procfs.h"
#include "guest-agent/spec.h"

static struct vta_spec good(const char *text, const char *printed)
{
    struct vta_spec spec = { 0 };
    char err[256] = "", out[160];
    if (vta_spec_parse(&spec, text, err, sizeof(err)))
        fail_msg("%s: %s", text, err);
    vta_spec_print(&spec, out, sizeof(out));
    assert_string_equal(out, printed);
    return spec;
}

static void bad(const char *text)
{
    struct vta_spec spec = { .number = 77 };
    char err[256] = "";
    if (!vta_spec_parse(&spec, text, err, sizeof(err)))
        fail_msg("%s was taken", text);
    assert_non_null(strstr(err, "wanted"));
    assert_int_equal(spec.number, 77);
}

static void transports_are_understood(void **state)
{
    (void)state;
    good("virtio", "virtio:org.vtime.agent.0");
    good("virtio:com.example.1", "virtio:com.example.1");
    assert_int_equal(good("vsock", "vsock:30324").number, 30324);
    assert_int_equal(good("vsock:9", "vsock:9").number, 9);
    const struct vta_spec tcp = good("tcp:10.0.2.2:7000", "tcp:10.0.2.2:7000");
    assert_int_equal(tcp.number, 7000);
    assert_string_equal(tcp.address, "10.0.2.2");
    assert_string_equal(good("tcp:[fe80::1]:7", "tcp:[fe80::1]:7").address, "fe80::1");
    good("unix:/run/a:b", "unix:/run/a:b");
    good("tty:/dev/ttyS1", "tty:/dev/ttyS1");
    assert_int_equal(good("fd:12", "fd:12").number, 12);
    good("file:x", "file:x");
}

static void nonsense_is_no_transport(void **state)
{
    char path[200] = "unix:";
    (void)state;
    memset(path + 5, 'x', 108);
    const char *const texts[] = { "",
                                  "virt",
                                  "virtio:",
                                  "virtio:a/b",
                                  "vsock:",
                                  "vsock:x",
                                  "vsock:-1",
                                  "vsock:4294967295",
                                  "tcp:host",
                                  "tcp::1",
                                  "tcp:1.2.3.4:0",
                                  "tcp:1.2.3.4:65536",
                                  "tcp:fe80::1:7",
                                  "tcp:[]:7",
                                  "tcp:host:7",
                                  "tcp:[1.2.3.4]:7",
                                  "unix:",
                                  "tty",
                                  "fd:",
                                  "fd:1x",
                                  "fd:99999999999",
                                  "file:",
                                  "http://x",
                                  path };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        bad(texts[i]);
    path[5 + 107] = 0;
    good(path, path);
}

static void cpu_times_are_in_ns(void **state)
{
    struct vtg_cpu_time t;
    (void)state;
    assert_true(vta_parse_cpu_time("cpu3 1 2 3 4 5 6 7 8 9 10", 100, &t));
    assert_int_equal(t.cpu, 3);
    assert_int_equal(t.user, 10000000);
    assert_int_equal(t.idle, 40000000);
    assert_int_equal(t.steal, 80000000);
    assert_int_equal(t.guest, 90000000);
    assert_true(vta_parse_cpu_time("cpu  5 0 0 1", 250, &t)); /* an old kernel's */
    assert_int_equal(t.cpu, UINT32_MAX);
    assert_int_equal(t.user, 20000000);
    assert_int_equal(t.steal, 0);
    /* three centuries of ticks do not overflow */
    assert_true(vta_parse_cpu_time("cpu0 946080000000 0 0 0", 100, &t));
    assert_int_equal(t.user, UINT64_C(9460800000000000000));
    assert_false(vta_parse_cpu_time("intr 1 2 3 4 5", 100, &t));
    assert_false(vta_parse_cpu_time("cpu0 1 2", 100, &t));
    assert_false(vta_parse_cpu_time("cpux 1 2 3 4", 100, &t));
    assert_false(vta_parse_cpu_time("", 100, &t));
}

static void uptime_has_two_decimals(void **state)
{
    uint64_t up = 1, idle = 1;
    (void)state;
    assert_true(vta_parse_uptime("12.34 56.07\n", &up, &idle));
    assert_int_equal(up, UINT64_C(12340000000));
    assert_int_equal(idle, UINT64_C(56070000000));
    assert_false(vta_parse_uptime("12.34", &up, &idle));
    assert_false(vta_parse_uptime("x", &up, &idle));
    assert_int_equal(up, UINT64_C(12340000000));
}

static void a_process_may_be_called_anything(void **state)
{
    struct vtg_process p = { .mark = 5 };
    (void)state;
    assert_true(vta_parse_process(
        "42 (a) R 1 (b) S 7 1 1 0 -1 4194560 1 2 3 4 100 50 10 5 20 0 3 0 777 1 2 3\n", 100, &p));
    assert_int_equal(p.pid, 42);
    assert_int_equal(p.ppid, 7);
    assert_int_equal(p.threads, 3);
    assert_int_equal(p.start_ticks, 777);
    assert_int_equal(p.utime_ns, UINT64_C(1100000000));
    assert_int_equal(p.stime_ns, UINT64_C(550000000));
    assert_string_equal(p.comm, "a) R 1 (b");
    assert_int_equal(p.mark, 5);
    assert_true(
        vta_parse_process("1 (0123456789abcdef) S 0 1 1 0 -1 0 0 0 0 0 1 1 1 1 20 0 1 0 9 1 2", 100, &p));
    assert_memory_equal(p.comm, "0123456789abcdef", 16);
    assert_false(vta_parse_process("1 (x) S 0 1 1 0 -1 0 0 0 0 0 1 1", 100, &p));
    assert_false(vta_parse_process("1 )x( S 0", 100, &p));
    assert_false(vta_parse_process("", 100, &p));
}

static void schedstat_has_two_numbers(void **state)
{
    uint64_t run, delay;
    (void)state;
    assert_true(vta_parse_schedstat("123 45 6\n", &run, &delay));
    assert_int_equal(run, 123);
    assert_int_equal(delay, 45);
    assert_false(vta_parse_schedstat("123", &run, &delay));
    assert_false(vta_parse_schedstat("99999999999999999999999 1 1", &run, &delay));
}

static void lists_of_cpus_are_bounded(void **state)
{
    struct vta_cpu_set set;
    (void)state;
    assert_true(vta_parse_cpu_list("0-3,8,10-11\n", &set));
    assert_int_equal(vta_cpu_count(&set), 7);
    assert_true(vta_cpu_isset(&set, 8));
    assert_false(vta_cpu_isset(&set, 9));
    assert_false(vta_cpu_isset(&set, 5000));
    assert_true(vta_parse_cpu_list("", &set));
    assert_int_equal(vta_cpu_count(&set), 0);
    assert_true(vta_parse_cpu_list("0-99999999999", &set));
    assert_int_equal(vta_cpu_count(&set), VTA_CPUS_MOST);
    assert_false(vta_parse_cpu_list("3-1", &set));
    assert_false(vta_parse_cpu_list("0;1", &set));
}

static void a_boot_id_is_two_numbers(void **state)
{
    uint64_t id[2] = { 0, 0 };
    (void)state;
    assert_true(vta_parse_uuid("01234567-89ab-cdef-fedc-ba9876543210\n", id));
    assert_int_equal(id[0], UINT64_C(0x0123456789abcdef));
    assert_int_equal(id[1], UINT64_C(0xfedcba9876543210));
    assert_false(vta_parse_uuid("01234567-89ab-cdef-fedc-ba98765432", id));
    assert_false(vta_parse_uuid("0123456789abcdeffedcba9876543210", id));
}

static void marks_of_one_name_share_an_id(void **state)
{
    (void)state;
    assert_int_equal(vta_name_id("build"), vta_name_id("build"));
    assert_int_not_equal(vta_name_id("build"), vta_name_id("built"));
    assert_int_not_equal(vta_name_id(""), 0);
}

static void a_gap_may_have_begun_a_period_before_it_was_due(void **state)
{
    struct vta_gap_sum g = { .period_ns = 1000, .threshold_ns = 300 };
    (void)state;
    vta_gap_look(&g, 200, 0); /* a wake-up */
    vta_gap_look(&g, 5000, 0);
    vta_gap_look(&g, 4000, 3900); /* the guest's own queue */
    vta_gap_look(&g, 4000, 1000);
    assert_int_equal(g.looks, 4);
    assert_int_equal(g.count, 2);
    assert_int_equal(g.least_ns, 5000 + 3000);
    assert_int_equal(g.most_ns, 6000 + 5000 + 5000);
    assert_int_equal(g.longest_ns, 5000);
}

static void neither_source_is_believed_alone(void **state)
{
    const struct vta_gap_sum g = { .least_ns = 400, .most_ns = 600 };
    struct vta_estimate e =
        vta_gap_estimate(&g, 0, 10, 10000); /* the counter stands still: it does not tell */
    (void)state;
    assert_int_equal(e.least_ns, 400);
    assert_int_equal(e.most_ns, 600);
    e = vta_gap_estimate(&g, 700, 10, 10000);
    assert_int_equal(e.least_ns, 400);
    assert_int_equal(e.most_ns, 710);
    e = vta_gap_estimate(&g, 100, 10, 10000);
    assert_int_equal(e.least_ns, 90);
    assert_int_equal(e.most_ns, 600);
    e = vta_gap_estimate(&g, 700, 10, 500);
    assert_int_equal(e.most_ns, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transports_are_understood),
        cmocka_unit_test(nonsense_is_no_transport),
        cmocka_unit_test(cpu_times_are_in_ns),
        cmocka_unit_test(uptime_has_two_decimals),
        cmocka_unit_test(a_process_may_be_called_anything),
        cmocka_unit_test(schedstat_has_two_numbers),
        cmocka_unit_test(lists_of_cpus_are_bounded),
        cmocka_unit_test(a_boot_id_is_two_numbers),
        cmocka_unit_test(marks_of_one_name_share_an_id),
        cmocka_unit_test(a_gap_may_have_begun_a_period_before_it_was_due),
        cmocka_unit_test(neither_source_is_believed_alone),
    };
    return cmocka_run_group_tests_name("agent: text", tests, NULL, NULL);
}

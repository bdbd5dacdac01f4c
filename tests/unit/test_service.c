/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The service's parts that need no kernel: its options, names, retention, and words to the manager. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/number.h"
#include "collector/notify.h"
#include "collector/options.h"
#include "collector/retention.h"
#include "store/store.h"

#define MIB (UINT64_C(1) << 20)

static struct vt_err err;

/* ---- options ---- */

static void times_and_sizes_have_units(void **state)
{
    uint64_t v = 0;
    (void)state;
    assert_int_equal(vt_parse_duration("x", "45s", 1, &v, &err), 0);
    assert_int_equal(v, 45 * VT_NSEC_PER_SEC);
    assert_int_equal(vt_parse_duration("x", "1.5h", 1, &v, &err), 0);
    assert_int_equal(v, 5400 * VT_NSEC_PER_SEC);
    assert_int_equal(vt_parse_duration("x", "2d", 1, &v, &err), 0);
    assert_int_equal(v, 172800 * VT_NSEC_PER_SEC);
    assert_int_equal(vt_parse_duration("x", "7", 1, &v, &err), 0);
    assert_int_equal(v, 7 * VT_NSEC_PER_SEC);
    assert_int_equal(vt_parse_bytes("x", "64M", 1, &v, &err), 0);
    assert_int_equal(v, 64 * MIB);
    assert_int_equal(vt_parse_bytes("x", "0.5G", 1, &v, &err), 0);
    assert_int_equal(v, 512 * MIB);
    assert_int_equal(vt_parse_bytes("x", "123456", 1, &v, &err), 0);
    assert_int_equal(v, 123456);
}

static void nonsense_is_no_time_and_no_size(void **state)
{
    static const char *const times[] = { "", "s", "1w", "1hh", "-1h", "0s", "nan", "inf", "1e30d", "1 h" };
    static const char *const sizes[] = { "", "M", "1m", "1MB", "-1G", "0", "nan", "infK", "9e9T", "64 M" };
    uint64_t v = 42;
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
        assert_int_equal(vt_parse_duration("rotate-every", times[i], VT_NSEC_PER_SEC, &v, &err), -EINVAL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        assert_int_equal(vt_parse_bytes("rotate-size", sizes[i], 1, &v, &err), -EINVAL);
    assert_int_equal(v, 42);
    assert_non_null(strstr(err.text, "--rotate-size"));
}

static int parse(struct vt_record_options *o, const char *a, const char *b, const char *c, const char *d)
{
    char *argv[] = { (char *)"record", (char *)a, (char *)b, (char *)c, (char *)d, NULL };
    int argc = 1;
    while (argv[argc])
        argc++;
    return vt_record_options_parse(argc, argv, o);
}

static void what_is_the_services_alone_is_refused_without_it(void **state)
{
    struct vt_record_options o;
    (void)state;
    assert_int_equal(parse(&o, "--daemon", "--rotate-every", "1h", NULL), -1);
    assert_true(o.daemon);
    assert_string_equal(o.output, VT_SERVICE_DIR);
    assert_int_equal(o.service.rotate_ns, 3600 * VT_NSEC_PER_SEC);
    assert_int_equal(parse(&o, NULL, NULL, NULL, NULL), -1);
    assert_false(o.daemon);
    assert_string_equal(o.output, "vtime.vt");
    assert_int_equal(parse(&o, "--keep", "3", NULL, NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--rotate-size", "1M", NULL, NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--daemon", "--", "true", NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--daemon", "-f", NULL, NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--daemon", "--keep", "0", NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--daemon", "--keep", "1.5", NULL), VT_EXIT_USAGE);
    assert_int_equal(parse(&o, "--daemon", "--rotate-every=1s", "--interval=600", NULL), VT_EXIT_USAGE);
}

/* ---- names ---- */

static void a_name_is_the_time_and_back(void **state)
{
    char name[VT_RECORDING_NAME_LEN];
    const uint64_t t = UINT64_C(1795252515) * VT_NSEC_PER_SEC + 123456789;
    (void)state;
    vt_recording_name(t, name);
    assert_string_equal(name, "vtime-20261121T091515.123Z.vt");
    assert_int_equal(vt_recording_time(name), t / 1000000 * 1000000);
}

static void other_names_are_not_ours(void **state)
{
    static const char *const names[] = {
        "",
        "live.vt",
        "vtime.vt",
        "vtime-20261121T091515.123Z.vt-wal",
        "vtime-20261121T091515.123Z.vt.gz",
        "vtime-20261121T091515Z.vt",
        "vtime-20261132T091515.123Z.vt",
        "vtime-20261121T251515.123Z.vt",
        "vtime- 0261121T091515.123Z.vt",
        "vtime-+261121T091515.123Z.vt",
        "vtime-19691231T235959.999Z.vt",
        "xvtime-20261121T091515.123Z.vt",
        "../vtime-20261121T091515.123Z.vt",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (vt_recording_time(names[i]))
            fail_msg("'%s' is taken for ours", names[i]);
}

/* ---- which have to go ---- */

static void the_oldest_go_until_both_limits_are_kept(void **state)
{
    struct vt_kept files[5] = { { "1", 10 }, { "2", 20 }, { "3", 30 }, { "4", 40 }, { "5", 50 } };
    struct vt_service_options o = { 0 };
    (void)state;
    assert_int_equal(vt_retention_choose(files, 5, &o), 0);
    o.keep = 5;
    assert_int_equal(vt_retention_choose(files, 5, &o), 0);
    o.keep = 2;
    assert_int_equal(vt_retention_choose(files, 5, &o), 3);
    o.keep_bytes = 90; /* 4 and 5 */
    assert_int_equal(vt_retention_choose(files, 5, &o), 3);
    o.keep_bytes = 89;
    assert_int_equal(vt_retention_choose(files, 5, &o), 4);
    o.keep_bytes = 1; /* the present one stays, however large */
    assert_int_equal(vt_retention_choose(files, 5, &o), 4);
    o.keep = 1;
    assert_int_equal(vt_retention_choose(files, 1, &o), 0);
    assert_int_equal(vt_retention_choose(files, 0, &o), 0);
}

struct site {
    char dir[32];
    char names[5][VT_RECORDING_NAME_LEN];
};

/* A recording that began when its name says, plus `late` ns. */
static void make_recording(const struct site *s, const char *name, uint64_t late)
{
    char path[128];
    struct vt_store *store = NULL;
    struct vt_host host = { .begin = { 1000 }, .nr_cpus = 1 };
    host.realtime_offset_ns = vt_recording_time(name) - 1000 + late;
    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    assert_int_equal(vt_store_create(path, false, &store, &err), 0);
    assert_int_equal(vt_store_put_host(store, &host, &err), 0);
    assert_int_equal(vt_store_commit(store, &err), 0);
    vt_store_close(store);
}

static bool is_there(const struct site *s, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    return access(path, F_OK) == 0;
}

static void put_file(const struct site *s, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    strcpy(s->dir, "/tmp/vt-service-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    for (unsigned i = 0; i < 5; i++) {
        vt_recording_name((UINT64_C(1795252515) + 3600 * i) * VT_NSEC_PER_SEC, s->names[i]);
        make_recording(s, s->names[i], 3000000);
    }
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", s->dir);
    assert_int_equal(system(command), 0); // NOLINT: the name is ours
    free(s);
    return 0;
}

static void old_recordings_go_with_all_their_files(void **state)
{
    struct site *s = *state;
    const struct vt_service_options o = { .keep = 2 };
    char wal[64];
    snprintf(wal, sizeof(wal), "%s-wal", s->names[0]);
    put_file(s, wal, "");
    assert_int_equal(vt_retention_apply(s->dir, s->names[4], &o, false, &err), 3);
    assert_false(is_there(s, s->names[0]) || is_there(s, wal) || is_there(s, s->names[2]));
    assert_true(is_there(s, s->names[3]) && is_there(s, s->names[4]));
    assert_int_equal(vt_retention_apply(s->dir, s->names[4], &o, false, &err), 0);
}

static void without_a_limit_nothing_goes_even_from_a_full_disk(void **state)
{
    struct site *s = *state;
    const struct vt_service_options none = { 0 }, wide = { .keep = 100 };
    assert_int_equal(vt_retention_apply(s->dir, s->names[4], &none, true, &err), 0);
    assert_true(is_there(s, s->names[0]));
    assert_int_equal(vt_retention_apply(s->dir, s->names[4], &wide, true, &err), 1);
    assert_false(is_there(s, s->names[0]));
    assert_true(is_there(s, s->names[1]));
}

/* Names alone prove nothing: another program's file, a copy under a wrong name, a link. */
static void what_the_service_did_not_make_stays_and_does_not_count(void **state)
{
    struct site *s = *state;
    const struct vt_service_options o = { .keep = 1 };
    char foreign[VT_RECORDING_NAME_LEN], copied[VT_RECORDING_NAME_LEN], linked[VT_RECORDING_NAME_LEN];
    char to[128];
    struct vt_err why = { "" };
    vt_recording_name(VT_NSEC_PER_SEC, foreign);
    put_file(s, foreign, "a diary");
    vt_recording_name(2 * VT_NSEC_PER_SEC, copied);
    make_recording(s, copied, 3600 * VT_NSEC_PER_SEC);
    vt_recording_name(3 * VT_NSEC_PER_SEC, linked);
    snprintf(to, sizeof(to), "%s/%s", s->dir, linked);
    assert_int_equal(symlink(s->names[0], to), 0);
    put_file(s, "notes.txt", "mine");
    assert_int_equal(vt_retention_apply(s->dir, s->names[4], &o, false, &why), 4);
    assert_true(is_there(s, foreign) && is_there(s, copied) && is_there(s, "notes.txt"));
    struct stat st;
    assert_int_equal(lstat(to, &st), 0);
    assert_true(is_there(s, s->names[4]));
    assert_non_null(strstr(why.text, "stays"));
}

static void recordings_after_the_present_one_stay(void **state) /* the wall clock was set back */
{
    struct site *s = *state;
    const struct vt_service_options o = { .keep = 1 };
    assert_int_equal(vt_retention_apply(s->dir, s->names[1], &o, false, &err), 1);
    assert_false(is_there(s, s->names[0]));
    assert_true(is_there(s, s->names[1]) && is_there(s, s->names[2]) && is_there(s, s->names[4]));
}

/* ---- words to the service manager ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const size_t n = strlen(path);
    memcpy(addr.sun_path, path, n);
    if (path[0] == '@')
        addr.sun_path[0] = 0;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(
        bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
    return fd;
}

static void hears(int fd, const char *want)
{
    char text[600];
    const ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = 0;
    assert_string_equal(text, want);
}

static void talks_by_a_path_and_by_an_abstract_name(void **state)
{
    char path[64], name[64];
    (void)state;
    snprintf(path, sizeof(path), "/tmp/vt-notify-%d", getpid());
    snprintf(name, sizeof(name), "@vt-notify-%d", getpid());
    const char *const both[] = { path, name };
    for (int i = 0; i < 2; i++) {
        struct vt_notify n;
        const int fd = listen_at(both[i]);
        setenv("NOTIFY_SOCKET", both[i], 1);
        assert_int_equal(vt_notify_open(&n, &err), 0);
        assert_null(getenv("NOTIFY_SOCKET"));
        vt_notify(&n, "READY=1");
        vt_notify(&n, "STATUS=%d and %s", 7, "more");
        hears(fd, "READY=1");
        hears(fd, "STATUS=7 and more");
        close(fd); /* it is gone: our words are lost, and no signal kills us */
        vt_notify(&n, "WATCHDOG=1");
        vt_notify_close(&n);
    }
    unlink(path);
}

static void nobody_listens_or_the_address_is_bad(void **state)
{
    static const char *const bad[] = { "relative", "@", "/", "/no/such/socket" };
    struct vt_notify n;
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(vt_notify_open(&n, &err), 0);
    assert_int_equal(n.fd, -1);
    vt_notify(&n, "READY=1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_true(vt_notify_open(&n, &err) < 0);
    }
    unsetenv("NOTIFY_SOCKET");
}

static void the_watchdog_is_ours_or_another_process_s(void **state)
{
    struct vt_notify n;
    char pid[16];
    (void)state;
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(vt_notify_open(&n, &err), 0);
    assert_int_equal(n.watchdog_ns, 30 * VT_NSEC_PER_SEC);
    assert_null(getenv("WATCHDOG_USEC"));
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(vt_notify_open(&n, &err), 0);
    assert_int_equal(n.watchdog_ns, 0);
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("WATCHDOG_USEC", "2000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(vt_notify_open(&n, &err), 0);
    assert_int_equal(n.watchdog_ns, 2000000);
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(vt_notify_open(&n, &err), 0);
    assert_int_equal(n.watchdog_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_and_sizes_have_units),
        cmocka_unit_test(nonsense_is_no_time_and_no_size),
        cmocka_unit_test(what_is_the_services_alone_is_refused_without_it),
        cmocka_unit_test(a_name_is_the_time_and_back),
        cmocka_unit_test(other_names_are_not_ours),
        cmocka_unit_test(the_oldest_go_until_both_limits_are_kept),
        cmocka_unit_test_setup_teardown(old_recordings_go_with_all_their_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_limit_nothing_goes_even_from_a_full_disk, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_the_service_did_not_make_stays_and_does_not_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(recordings_after_the_present_one_stay, set_up, tear_down),
        cmocka_unit_test(talks_by_a_path_and_by_an_abstract_name),
        cmocka_unit_test(nobody_listens_or_the_address_is_bad),
        cmocka_unit_test(the_watchdog_is_ours_or_another_process_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

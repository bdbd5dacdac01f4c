/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtime demo: the same work as a bare process, in one guest alone, and in
 * several guests that share the CPU; then who believed what, and what was true.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command.h"
#include "demo.h"
#include "format.h"

/*
 * The guests' tick: well below the 12 ms that one of four waits at a time, so
 * that ticks are merged; and a prime, or it would keep falling on the edges of
 * the slices, which are multiples of the host's tick.
 */
#define TICK_HZ "211"

struct demo {
    const struct demo_options *o;
    sigset_t mask;
    bool progress;
    char dir[PATH_MAX - 32]; /* of our own, removed at the end; "" before it exists */
    char run[PATH_MAX], socket[PATH_MAX], agent[PATH_MAX + 8];
    uint64_t work;
    struct demo_child recorder, guest[DEMO_MAX_GUESTS];
};

static const char help_text[] =
    "usage: vtime demo [OPTION…]\n"
    "\n"
    "Does the same work as a bare process, in one guest alone on a CPU, and in four\n"
    "guests at once on that CPU; then says what each believed and what was true.\n"
    "Needs root. Without /dev/kvm it runs the same inside the testbed.\n"
    "\n"
    "  --work-seconds S   CPU time of the work (default: 2.5; 10 makes the 40-second\n"
    "                     example)\n"
    "  --guests N         how many share the CPU (default: 4)\n"
    "  --cpu N            which CPU (default: the last we may use)\n"
    "  --json             the report as JSON instead of the verdict\n"
    "  --keep FILE.vt     keep the recording\n"
    "  --chart FILE       also draw the time ledger (.svg or .png)\n"
    "  --help             this\n";

static void say(const struct demo *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct demo *d, const char *format, ...)
{
    va_list args;
    if (!d->progress)
        return;
    va_start(args, format);
    fputs("vtime demo: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* ---- options ---- */

static int parse_decimal(const char *name, double low, double high, double *ret)
{
    char *end;
    double v = strtod(optarg, &end);
    if (end != optarg && !*end && v >= low && v <= high) {
        *ret = v;
        return 0;
    }
    vt_complain("--%s is a number from %g to %g, not '%s'", name, low, high, optarg);
    return VT_EXIT_USAGE;
}

static int parse_count(const char *name, unsigned low, unsigned high, unsigned *ret)
{
    double v = 0;
    int r = parse_decimal(name, low, high, &v);
    if (r == 0 && v != floor(v)) {
        vt_complain("--%s is a whole number, not '%s'", name, optarg);
        r = VT_EXIT_USAGE;
    }
    if (r == 0)
        *ret = (unsigned)v;
    return r;
}

static int parse_one(int option, struct demo_options *o)
{
    switch (option) {
    case 's':
        return parse_decimal("work-seconds", 0.1, 600, &o->work_seconds);
    case 'n':
        return parse_count("guests", 1, DEMO_MAX_GUESTS, &o->guests);
    case 'c':
        return parse_count("cpu", 0, (unsigned)sysconf(_SC_NPROCESSORS_CONF) - 1, &o->cpu);
    case 'j':
        o->json = true;
        return 0;
    case 'k':
        o->keep = optarg;
        return 0;
    case 'p':
        o->chart = optarg;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    default:
        return vt_usage_error("demo");
    }
}

static int parse(int argc, char **argv, struct demo_options *o)
{
    static const struct option longs[] = { { "work-seconds", required_argument, NULL, 's' },
                                           { "guests", required_argument, NULL, 'n' },
                                           { "cpu", required_argument, NULL, 'c' },
                                           { "json", no_argument, NULL, 'j' },
                                           { "keep", required_argument, NULL, 'k' },
                                           { "chart", required_argument, NULL, 'p' },
                                           { "help", no_argument, NULL, 'h' },
                                           { 0 } };
    int option;
    while ((option = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        int r = parse_one(option, o);
        if (r)
            return r;
    }
    if (optind != argc) {
        vt_complain("demo takes no '%s'", argv[optind]);
        return vt_usage_error("demo");
    }
    struct vt_err err;
    bool svg;
    if (o->chart && report_chart_kind(o->chart, &svg, &err) < 0) {
        vt_complain("%s", err.text);
        return VT_EXIT_USAGE;
    }
    return 0;
}

/* ---- the experiment ---- */

static int prepare(struct demo *d, struct vt_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char dir[sizeof(d->dir)];
    int n = snprintf(dir, sizeof(dir), "%s/vtime-demo-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof(dir))
        return vt_fail(err, ENAMETOOLONG, "TMPDIR is too long");
    if (!mkdtemp(dir))
        return vt_fail(err, errno, "no temporary directory under %s: %m", tmp && *tmp ? tmp : "/tmp");
    strcpy(d->dir, dir);
    snprintf(d->socket, sizeof(d->socket), "%s/agent", d->dir);
    snprintf(d->agent, sizeof(d->agent), "unix:%s", d->socket);
    if (d->o->keep)
        n = snprintf(d->run, sizeof(d->run), "%s", d->o->keep);
    else
        n = snprintf(d->run, sizeof(d->run), "%s/demo.vt", d->dir);
    if (n < 0 || (size_t)n >= sizeof(d->run))
        return vt_fail(err, ENAMETOOLONG, "the recording's path is too long");
    if (d->o->keep && access(d->o->keep, F_OK) == 0)
        return vt_fail(err, EEXIST, "%s exists already; choose another name for --keep", d->o->keep);
    return 0;
}

static double limit(const struct demo *d, unsigned rivals)
{
    return 60 + 20 * d->o->work_seconds * rivals; /* a busy host may well be that slow */
}

/* Where a guest says that it is ready, and what it then waits for the end of; -1: neither. */
struct gate {
    int ready, start;
};
static const struct gate no_gate = { -1, -1 };

static int start_one(struct demo *d, struct demo_child *child, const char *name, bool bare, uint64_t work,
                     struct gate gate, const char *agent, struct vt_err *err)
{
    char work_text[24], cpu[16], ready[16], start[16];
    snprintf(work_text, sizeof(work_text), "%" PRIu64, work);
    snprintf(cpu, sizeof(cpu), "%u", d->o->cpu);
    snprintf(ready, sizeof(ready), "%d", gate.ready);
    snprintf(start, sizeof(start), "%d", gate.start);
    const char *args[DEMO_MAX_ARGS + 1] = { "run",     "--name",     name,   "--cpu",  cpu,    "--work",
                                            work_text, "--workload", "spin", "--tick", TICK_HZ };
    size_t n = 11;
    if (bare)
        args[n++] = "--bare";
    if (gate.start >= 0) {
        args[n++] = "--ready-fd";
        args[n++] = ready;
        args[n++] = "--start-fd";
        args[n++] = start;
    }
    return demo_spawn(child, name, args, (const int[2]){ gate.ready, gate.start }, agent, &d->mask, err);
}

/* How many iterations make one CPU-second here: short bare runs, longer until their start-up no longer
 * counts. */
static int calibrate(struct demo *d, struct vt_err *err)
{
    uint64_t work = 1000000;
    for (int i = 0; i < 24; i++) {
        struct demo_child *c = &d->guest[0];
        int r = start_one(d, c, "calibration", true, work, no_gate, NULL, err);
        r = r < 0 ? r : demo_wait(c, 1, NULL, limit(d, 1), err);
        if (r < 0)
            return r;
        if (c->cpu_seconds >= 0.25) {
            d->work = (uint64_t)((double)work / c->cpu_seconds * d->o->work_seconds);
            return 0;
        }
        double factor = c->cpu_seconds > 0.02 ? 0.3 / c->cpu_seconds : 8;
        work = (uint64_t)((double)work * factor);
    }
    return vt_fail(err, EIO, "the work takes no time: it could not be calibrated");
}

/* Reads n bytes, one from each that is ready; fails when the last writer is gone or after a minute. */
static int await_ready(int fd, unsigned n, const char *who, struct vt_err *err)
{
    while (n) {
        char bytes[DEMO_MAX_GUESTS];
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, 60000) <= 0)
            return vt_fail(err, ETIMEDOUT, "%s was not ready within 60 s", who);
        ssize_t got = read(fd, bytes, n);
        if (got <= 0)
            return vt_fail(err, ECHILD, "%s ended before it began", who);
        n -= (unsigned)got;
    }
    return 0;
}

/* Its own last words say more than that it was not ready. */
static int words_of(struct demo_child *children, size_t n, int r, struct vt_err *err)
{
    struct vt_err better;
    if (r != -ECHILD || demo_wait(children, n, NULL, 2, &better) != -ECHILD)
        return r;
    *err = better;
    return r;
}

static int start_recorder(struct demo *d, struct vt_err *err)
{
    int ready[2];
    char fd[16];
    if (pipe2(ready, O_CLOEXEC) < 0)
        return vt_fail(err, errno, "no pipe: %m");
    snprintf(fd, sizeof(fd), "%d", ready[1]);
    const char *args[DEMO_MAX_ARGS + 1] = { "record",         "-q",      "-o",         d->run,
                                            "--agent-socket", d->socket, "--ready-fd", fd };
    int r =
        demo_spawn(&d->recorder, "vtime record", args, (const int[2]){ ready[1], -1 }, NULL, &d->mask, err);
    close(ready[1]);
    if (r == 0)
        r = words_of(&d->recorder, 1, await_ready(ready[0], 1, "vtime record", err), err);
    close(ready[0]);
    return r;
}

static int run_one(struct demo *d, const char *name, bool bare, struct vt_err *err)
{
    int r = start_one(d, &d->guest[0], name, bare, d->work, no_gate, d->agent, err);
    return r < 0 ? r : demo_wait(d->guest, 1, &d->recorder, limit(d, 1), err);
}

/* All are made ready first, then released at once by the end of one pipe. */
static int run_together(struct demo *d, struct vt_err *err)
{
    int ready[2], start[2], r = 0;
    if (pipe2(ready, O_CLOEXEC) < 0)
        return vt_fail(err, errno, "no pipe: %m");
    if (pipe2(start, O_CLOEXEC) < 0) {
        r = vt_fail(err, errno, "no pipe: %m");
        close(ready[0]);
        close(ready[1]);
        return r;
    }
    for (unsigned i = 0; i < d->o->guests && r == 0; i++) {
        char name[24];
        snprintf(name, sizeof(name), "guest-%u", i + 1);
        r = start_one(d, &d->guest[i], name, false, d->work, (struct gate){ ready[1], start[0] }, d->agent,
                      err);
    }
    close(ready[1]);
    close(start[0]);
    if (r == 0)
        r = words_of(d->guest, d->o->guests, await_ready(ready[0], d->o->guests, "a guest", err), err);
    close(ready[0]);
    close(start[1]);
    return r < 0 ? r : demo_wait(d->guest, d->o->guests, &d->recorder, limit(d, d->o->guests), err);
}

static int stop_recorder(struct demo *d, struct vt_err *err)
{
    if (kill(d->recorder.pid, SIGINT) < 0)
        return vt_fail(err, errno, "vtime record could not be stopped: %m");
    return demo_wait(&d->recorder, 1, NULL, 60, err);
}

static int experiment(struct demo *d, struct vt_err *err)
{
    const struct demo_options *o = d->o;
    say(d, "calibrating the work");
    int r = prepare(d, err);
    r = r < 0 ? r : calibrate(d, err);
    r = r < 0 ? r : start_recorder(d, err);
    if (r < 0)
        return r;
    say(d, "%.3g CPU-seconds of work as a bare process on CPU %u", o->work_seconds, o->cpu);
    r = run_one(d, "bare", true, err);
    if (r < 0)
        return r;
    say(d, "the same in one guest alone");
    r = run_one(d, "alone", false, err);
    if (r < 0)
        return r;
    say(d, "the same in %u guests at once, about %.0f s", o->guests, o->work_seconds * o->guests);
    r = run_together(d, err);
    if (r < 0)
        return r;
    say(d, "once more in one guest alone: is this machine still as fast as before?");
    r = run_one(d, "again", false, err);
    return r < 0 ? r : stop_recorder(d, err);
}

/* Whatever happened: no process and no file stays behind. */
static void clean_up(struct demo *d)
{
    for (size_t i = 0; i < DEMO_MAX_GUESTS; i++)
        demo_end(&d->guest[i], SIGTERM);
    demo_end(&d->recorder, SIGINT);
    if (!d->dir[0])
        return;
    static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
    char path[PATH_MAX + 16];
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        snprintf(path, sizeof(path), "%s/demo.vt%s", d->dir, suffixes[i]);
        unlink(path);
    }
    unlink(d->socket);
    if (rmdir(d->dir) < 0)
        vt_complain("%s could not be removed: %m", d->dir);
}

static int show(const struct demo *d, struct vt_err *err)
{
    struct report_choice all = { 0 };
    struct report_view view;
    int r = report_load(d->run, &all, &view, err);
    if (r < 0)
        return r;
    view.utf8 = format_locale_is_utf8();
    view.path = d->o->keep;
    if (d->o->json)
        r = report_json(&view, stdout, err);
    else
        demo_verdict(&view, stdout);
    if (r == 0 && d->o->chart)
        r = report_chart(&view, d->o->chart, err);
    report_view_release(&view);
    return r;
}

static int run_here(const struct demo_options *o, const sigset_t *mask)
{
    struct vt_err err = { "" };
    struct demo *d = calloc(1, sizeof(*d));
    if (!d) {
        vt_complain("out of memory");
        return VT_EXIT_FAILURE;
    }
    d->o = o;
    d->mask = *mask;
    d->progress = isatty(STDERR_FILENO);
    int r = experiment(d, &err);
    r = r < 0 ? r : show(d, &err);
    clean_up(d);
    free(d);
    if (r < 0)
        vt_complain("demo: %s", err.text);
    return r < 0 ? VT_EXIT_FAILURE : VT_EXIT_OK;
}

/* The last that we may run on: CPUs in between may be offline, or not ours. */
static unsigned last_cpu(void)
{
    cpu_set_t ours;
    unsigned last = 0;
    if (sched_getaffinity(0, sizeof(ours), &ours) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &ours))
                last = cpu;
    return last;
}

static int demo_main(int argc, char **argv)
{
    struct demo_options o = { .work_seconds = 2.5, .guests = 4, .cpu = last_cpu() };
    sigset_t mask;
    setlocale(LC_CTYPE, "");
    int code = parse(argc, argv, &o);
    if (code)
        return code;
    if (o.help) {
        fputs(help_text, stdout);
        return VT_EXIT_OK;
    }
    if (geteuid() != 0) {
        vt_complain("demo needs root: it loads BPF programs and opens /dev/kvm");
        return VT_EXIT_FAILURE;
    }
    demo_block_signals(&mask);
    code = access("/dev/kvm", R_OK | W_OK) == 0 ? run_here(&o, &mask) : demo_in_testbed(&o, &mask);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return code;
}

VT_COMMAND(demo, 80, "demo", "the four-guest experiment, from boot to verdict", demo_main);

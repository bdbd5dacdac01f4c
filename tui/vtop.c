/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtop, or vtime top: options, signals and the loop. */
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "correlator/correlate.h"
#include "tui/actions.h"
#include "tui/batch.h"
#include "tui/screen.h"
#include "tui/source.h"

static const char help_text[] =
    "usage: vtop [OPTION...]\n\n"
    "Shows which guests are held back, by how much and by what, as it happens. It\n"
    "records meanwhile, which needs root; or it replays a recording.\n\n"
    "  -f, --file RUN.vt     replay a recording, and follow it while it grows\n"
    "  -d, --delay SECONDS   between refreshes (default: 1)\n"
    "  -n, --count N         end after N refreshes\n"
    "  -b, --batch           plain text, a block per refresh; a replay does not wait\n"
    "      --json            as -b, a line of JSON per refresh\n"
    "  -s, --sort COLUMN     name, vcpus, contention (default), dilation, used,\n"
    "                        overhead, stolen, preempted, waking, throttled, irq,\n"
    "                        stalled, idle, paused, lost, residual\n"
    "  -r, --reverse         the other way round\n"
    "  -t, --vcpus           a row for each vCPU too\n"
    "      --ascii           no characters beyond ASCII\n"
    "      --no-color        marks alone\n"
    "  -h, --help            this text; in vtop, h explains keys and columns\n";

/* After this many ms without a full window one more look. */
enum { RETRY_MS = 50 };

static volatile sig_atomic_t got_signal;

struct options {
    const char *file;
    double delay;
    unsigned long count; /* 0: no limit */
    bool batch, json, vcpus, ascii, plain;
    struct vtop_sort sort;
};

struct vtop {
    const struct options *options;
    struct vtop_source *source;
    struct vtop_screen *screen;
    struct vtop_model model;
    struct vtop_ui ui;
    sigset_t old_mask; /* signals come while we wait, and only then */
    unsigned long shown;
};

/* ---- options ---- */

enum { OPT_JSON = 256, OPT_ASCII, OPT_NO_COLOR };

static const struct option long_options[] = {
    { "file", required_argument, NULL, 'f' },  { "delay", required_argument, NULL, 'd' },
    { "count", required_argument, NULL, 'n' }, { "batch", no_argument, NULL, 'b' },
    { "json", no_argument, NULL, OPT_JSON },   { "sort", required_argument, NULL, 's' },
    { "reverse", no_argument, NULL, 'r' },     { "vcpus", no_argument, NULL, 't' },
    { "ascii", no_argument, NULL, OPT_ASCII }, { "no-color", no_argument, NULL, OPT_NO_COLOR },
    { "help", no_argument, NULL, 'h' },        { 0 },
};

static bool parse_seconds(const char *text, double *ret)
{
    char *end;
    const double v = strtod(text, &end);
    if (end == text || *end || !(v >= VTOP_DELAY_MIN && v <= VTOP_DELAY_MAX))
        return false;
    *ret = v;
    return true;
}

static bool parse_count(const char *text, unsigned long *ret)
{
    char *end;
    errno = 0;
    const unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end || *text == '-' || errno || v == 0)
        return false;
    *ret = v;
    return true;
}

static bool parse_option(int c, const char *arg, struct options *o)
{
    switch (c) {
    case 'f':
        o->file = arg;
        return true;
    case 'd':
        return parse_seconds(arg, &o->delay);
    case 'n':
        return parse_count(arg, &o->count);
    case 's':
        return (o->sort.column = vtop_column_by_id(arg)) != NULL;
    case 'r':
        return o->sort.reverse = true;
    case 't':
        return o->vcpus = true;
    case 'b':
        return o->batch = true;
    case OPT_JSON:
        return o->batch = o->json = true;
    case OPT_ASCII:
        return o->ascii = true;
    case OPT_NO_COLOR:
        return o->plain = true;
    }
    return false;
}

/* Returns -1 to go on, else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
    int c;
    optind = 1;
    while ((c = getopt_long(argc, argv, "f:d:n:s:rtbh", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return VT_EXIT_OK;
        }
        if (c == '?')
            return vt_usage_error("top");
        if (!parse_option(c, optarg, o)) {
            vt_complain("top: bad value '%s'", optarg);
            return vt_usage_error("top");
        }
    }
    if (optind == argc)
        return -1;
    vt_complain("top: '%s' is not an option; a recording is given with -f", argv[optind]);
    return vt_usage_error("top");
}

/* ---- signals and time ---- */

static void on_signal(int number)
{
    got_signal = number;
}

static void take_signals(sigset_t *ret_old)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        sigaddset(&mask, ends[i]);
        sigaction(ends[i], &action, NULL);
    }
    /* a reader that went away is a failed write: the recorder must be ended all the same */
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &mask, ret_old);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t step_ns(double delay)
{
    return (uint64_t)(delay * 1e9);
}

/* Until the deadline, a key (if there is a screen), or a signal. */
static void wait_until(const struct vtop *v, uint64_t deadline)
{
    const uint64_t now = clock_ns(CLOCK_MONOTONIC), left = deadline > now ? deadline - now : 0;
    const struct timespec timeout = { (time_t)(left / VT_NSEC_PER_SEC), (long)(left % VT_NSEC_PER_SEC) };
    struct pollfd keys = { .fd = STDIN_FILENO, .events = POLLIN };
    ppoll(&keys, v->screen ? 1 : 0, &timeout, &v->old_mask);
    if (keys.revents & (POLLHUP | POLLERR | POLLNVAL)) /* the terminal is gone */
        got_signal = SIGHUP;
}

/* ---- a refresh ---- */

static int take(struct vtop *v, struct vt_snapshot *snapshot, struct vt_err *err)
{
    struct vtop_own_cost own = { 0 };
    if (vtop_source_is_live(v->source)) /* a replay's own cost says nothing of then */
        own = (struct vtop_own_cost){ clock_ns(CLOCK_PROCESS_CPUTIME_ID), clock_ns(CLOCK_MONOTONIC) };
    int e = vtop_model_update(&v->model, snapshot, own);
    vt_snapshot_free(snapshot);
    if (!e && v->screen)
        e = vtop_ui_arrange(&v->ui);
    return e ? vt_fail(err, -e, "out of memory") : 0;
}

/* 1: there is something new to show; 0: not yet; or -errno. */
static int fetch(struct vtop *v, struct vt_err *err)
{
    struct vt_snapshot *snapshot = NULL;
    int r = vtop_source_next(v->source, step_ns(v->ui.delay), &snapshot, err);
    if (r <= 0)
        return r;
    if (v->ui.paused) { /* live: time goes on, unseen */
        vt_snapshot_free(snapshot);
        return 1;
    }
    r = take(v, snapshot, err);
    v->shown += r == 0;
    return r < 0 ? r : 1;
}

static bool is_done(const struct vtop *v)
{
    return got_signal || (v->options->count && v->shown >= v->options->count);
}

/* ---- batch ---- */

static int run_batch(struct vtop *v, struct vt_err *err)
{
    const struct options *o = v->options;
    const bool live = vtop_source_is_live(v->source);
    uint64_t due = clock_ns(CLOCK_MONOTONIC) + (live ? step_ns(o->delay) : 0);
    while (!is_done(v) && !vtop_source_is_over(v->source)) {
        wait_until(v, due);
        if (got_signal)
            break;
        int r = fetch(v, err);
        if (r < 0)
            return r;
        due = clock_ns(CLOCK_MONOTONIC) + (r == 0 ? RETRY_MS * UINT64_C(1000000)
                                           : live ? step_ns(o->delay)
                                                  : 0);
        if (r == 0)
            continue;
        r = o->json ? vtop_batch_json(stdout, &v->model, &o->sort, o->vcpus)
                    : vtop_batch_text(stdout, &v->model, &o->sort, o->vcpus, v->ui.utf8);
        if (r < 0)
            return vt_fail(err, -r, "the output could not be written: %s", strerror(-r));
    }
    return 0;
}

/* ---- the screen ---- */

/* Keys typed so far. VTOP_QUIT ends. */
static unsigned int take_keys(struct vtop *v)
{
    unsigned int follow = VTOP_NOTHING;
    int key;
    while (!(follow & VTOP_QUIT) && (key = vtop_screen_key(v->screen)) != VTOP_KEY_NONE) {
        const unsigned int now = vtop_act(&v->ui, key);
        if (now & VTOP_ARRANGE)
            vtop_ui_arrange(&v->ui);
        follow |= now;
    }
    return follow;
}

/* Is there anything to be fetched? */
static bool fetches(const struct vtop *v)
{
    return vtop_source_is_live(v->source) || (!v->ui.paused && !v->ui.over);
}

static int refresh_if_due(struct vtop *v, uint64_t *due, bool *draw, struct vt_err *err)
{
    const uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now < *due || !fetches(v))
        return 0;
    const int r = fetch(v, err);
    if (r < 0)
        return r;
    /* as regular as a clock, but never in a hurry to catch up */
    *due += r == 0 ? RETRY_MS * UINT64_C(1000000) : step_ns(v->ui.delay);
    if (*due < now)
        *due = now + RETRY_MS * UINT64_C(1000000);
    v->ui.over = vtop_source_is_over(v->source);
    *draw |= r > 0;
    return 0;
}

static int run_screen(struct vtop *v, struct vt_err *err)
{
    const struct options *o = v->options;
    int e = vtop_screen_open(!o->plain, &v->screen, err);
    uint64_t due = clock_ns(CLOCK_MONOTONIC);
    bool draw = true;
    while (!e && !is_done(v)) {
        if (draw)
            vtop_screen_draw(v->screen, &v->ui);
        wait_until(v, fetches(v) ? due : clock_ns(CLOCK_MONOTONIC) + VT_NSEC_PER_SEC);
        const unsigned int follow = take_keys(v);
        if (follow & VTOP_QUIT)
            break;
        draw = follow != VTOP_NOTHING;
        if (follow & VTOP_FETCH)
            due = clock_ns(CLOCK_MONOTONIC);
        e = refresh_if_due(v, &due, &draw, err);
    }
    vtop_screen_close(v->screen);
    v->screen = NULL;
    return e;
}

/* ---- all together ---- */

static int open_source(struct vtop *v, struct vt_err *err)
{
    const struct options *o = v->options;
    if (o->file)
        return vtop_source_open_file(o->file, &v->source, err);
    if (geteuid() != 0)
        return vt_fail(err, EPERM,
                       "a live view records, which needs root: run as root, or see a recording with -f");
    return vtop_source_open_live(step_ns(o->delay), &v->old_mask, &v->source, err);
}

static int run(struct vtop *v, struct vt_err *err)
{
    int e = open_source(v, err);
    if (!e && vtop_source_note(v->source))
        snprintf(v->ui.message, sizeof(v->ui.message), "%s", vtop_source_note(v->source));
    if (!e)
        e = v->options->batch ? run_batch(v, err) : run_screen(v, err);
    vtop_source_close(v->source);
    vtop_ui_release(&v->ui);
    vtop_model_release(&v->model);
    return e;
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

static int main_top(int argc, char **argv)
{
    struct options o = { .delay = 1.0, .sort.column = vtop_column_by_id("contention") };
    struct vtop v = { .options = &o };
    struct vt_err err = { "" };
    const int code = parse_options(argc, argv, &o);
    if (code >= 0)
        return code;
    setlocale(LC_CTYPE, "");
    v.ui =
        (struct vtop_ui){ .model = &v.model, .sort = o.sort, .delay = o.delay, .source = base_name(o.file) };
    v.ui.utf8 = !o.ascii && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    v.ui.all_open = o.vcpus;
    take_signals(&v.old_mask);
    const int e = run(&v, &err);
    if (e) {
        vt_complain("top: %s", err.text);
        return VT_EXIT_FAILURE;
    }
    return VT_EXIT_OK;
}

VT_COMMAND(top, 30, "top", "show live which guests are held back, and by what (vtop)", main_top);

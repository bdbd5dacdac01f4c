/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What befell guests, their clocks, agents and channels: each named as what it is, with its amount. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "view.h"

#define MAX_CLOCK_EVENTS 40 /* shown of one guest by --clocks; all are in --json */
#define MAX_EVENTS       16 /* and by the report; --clocks has more */
#define FREQ_SCALE       65536.0

/* ---- stops ---- */

static int by_begin(const void *a, const void *b)
{
    const struct vt_window *x = a, *y = b;
    return (x->from.v > y->from.v) - (x->from.v < y->from.v);
}

/* When any of its vCPUs was STOPPED: those that overlap are one. NULL: out of memory. */
static struct vt_window *stops_of(const struct vt_guest *g, size_t *ret_n)
{
    struct vt_window *all = calloc(g->nr_vcpus * VT_MAX_STOPS + 1, sizeof(*all));
    size_t n = 0, kept = 0;
    for (size_t i = 0; all && i < g->nr_vcpus; i++)
        for (size_t j = 0; j < g->vcpus[i].nr_stops; j++)
            all[n++] = g->vcpus[i].stops[j];
    if (n)
        qsort(all, n, sizeof(*all), by_begin);
    for (size_t i = 0; i < n; i++) {
        if (kept && all[i].from.v <= all[kept - 1].to.v) {
            if (all[kept - 1].to.v < all[i].to.v)
                all[kept - 1].to = all[i].to;
        } else {
            all[kept++] = all[i];
        }
    }
    *ret_n = kept;
    return all;
}

/* Was the guest STOPPED for most of the ns before or after `at`? Then silence has its cause. */
static bool is_stop(const struct vt_window *stops, size_t n, host_ns at, int64_t ns, bool ends)
{
    const uint64_t length = ns > 0 ? (uint64_t)ns : 0;
    const uint64_t from = ends ? (at.v > length ? at.v - length : 0) : at.v, to = ends ? at.v : at.v + length;
    uint64_t stopped = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t a = stops[i].from.v > from ? stops[i].from.v : from;
        const uint64_t b = stops[i].to.v < to ? stops[i].to.v : to;
        stopped += b > a ? b - a : 0;
    }
    return length && stopped >= length / 4 * 3;
}

/* ---- one event, in words ---- */

static const char *words_of(char out[REPORT_NAME_LEN], const struct vt_clock_event *e)
{
    char text[sizeof(e->text)] = "";
    memcpy(text, e->text, strnlen(e->text, sizeof(text) - 1));
    return report_name(out, text);
}

/* "tsc hpet": from, to. */
static void say_clocksource(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    char text[REPORT_NAME_LEN];
    const char *space;
    words_of(text, e);
    space = strchr(text, ' ');
    if (space)
        snprintf(out, n, "agent: clocksource %.*s %s %s", (int)(space - text), text, utf8 ? "→" : "->",
                 space + 1);
    else
        snprintf(out, n, "agent: clocksource %s", text);
}

static void say_away(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    char a[FORMAT_LEN];
    format_ns(a, e->a > 0 ? (uint64_t)e->a : 0, utf8);
    if (e->b > 0)
        snprintf(out, n, "agent: channel was away %s; %" PRId64 " frames buffered, %" PRId64 " dropped", a,
                 e->b, e->c);
    else
        snprintf(out, n, "agent: channel was away %s", a);
}

static void say_agent_event(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    char a[FORMAT_LEN], text[REPORT_NAME_LEN];
    format_signed_ns(a, e->a, utf8);
    words_of(text, e);
    switch (e->kind) {
    case VTG_EVENT_START:
        snprintf(out, n, "agent: started");
        break;
    case VTG_EVENT_STOP:
        snprintf(out, n, "agent: ended");
        break;
    case VTG_EVENT_CLOCKSOURCE:
        say_clocksource(out, n, e, utf8);
        break;
    case VTG_EVENT_STEP:
        snprintf(out, n, "agent: REALTIME stepped by %s", a);
        break;
    case VTG_EVENT_SUSPEND:
        snprintf(out, n, "agent: the guest was suspended for %s", a);
        break;
    case VTG_EVENT_CPU:
        snprintf(out, n, "agent: CPU %" PRId64 " went %s", e->c, e->a ? "online" : "offline");
        break;
    case VTG_EVENT_DROPPED:
        snprintf(out, n, "agent: %" PRId64 " frames dropped for want of room", e->a);
        break;
    case VTG_EVENT_AWAY:
        say_away(out, n, e, utf8);
        break;
    case VTG_EVENT_NTP:
        snprintf(out, n, "agent: NTP set the frequency to %+.3f ppm, status %#" PRIx64 "%s%s%s",
                 (double)e->b / FREQ_SCALE, (uint64_t)e->a, text[0] ? ", tick " : "", text,
                 text[0] ? " us" : "");
        break;
    case VTG_EVENT_MISSED:
        snprintf(out, n, "agent: %" PRId64 " views due and not made: it did not run", e->a);
        break;
    case VTG_EVENT_REFUSED:
        snprintf(out, n,
                 "agent: more processes chosen than the %" PRId64
                 " that it has room for: of the rest nothing is told",
                 e->a);
        break;
    default:
        snprintf(out, n, "agent: unknown %" PRId64 " %" PRId64 " %s", e->a, e->b, text);
    }
}

/* What has a text of its own; all else is said as `--clocks` says it. */
static void say_channel_event(char *out, size_t n, uint32_t kind, int64_t count, const char *text, bool utf8)
{
    char words[REPORT_NAME_LEN];
    const char *colon = text[0] ? ": " : "";
    switch (kind) {
    case VT_CHANNEL_OPENED:
        snprintf(out, n, "channel: opened %s", text);
        break;
    case VT_CHANNEL_CLOSED:
        snprintf(out, n, "channel: closed by the other side%s%s", colon, text);
        break;
    case VT_CHANNEL_FAILED:
        snprintf(out, n, "channel: failed to open%s%s", colon, text);
        break;
    case VT_CHANNEL_SESSION:
        snprintf(out, n, "channel: another agent, or the same anew, after %" PRId64 " frames", count);
        break;
    case VT_CHANNEL_CLAIMED:
        snprintf(out, n, "channel: claimed to be %s, and is not", text);
        break;
    case VT_CHANNEL_HELD:
        snprintf(out, n, "channel: %s is held by another (a recorder?): what its agent says is not here",
                 text);
        break;
    default:
        snprintf(out, n, "channel: %s",
                 report_channel_words(words, kind, count > 0 ? (uint64_t)count : 0, utf8));
    }
}

static void say_slew(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    const double ppm = (double)e->a / 1e3, half = (double)e->b / 1e3;
    snprintf(out, n, "seen: frequency slewed by %+.3f ppm %s%.3f from here on (MONOTONIC by MONOTONIC_RAW)",
             ppm, utf8 ? "±" : "+-", half);
}

static void say_system_event(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    char a[FORMAT_LEN];
    format_ns(a, e->a < 0 ? 0 : (uint64_t)e->a, utf8);
    if (e->kind == VT_SYSTEM_OVERLAPS)
        snprintf(out, n, "agent: %" PRId64 " frames tell of two tasks on one vCPU at one time", e->a);
    else
        snprintf(out, n, "%s%s%s", e->kind == VT_SYSTEM_BOOTED ? "the guest booted again" : "agent restarted",
                 e->a ? ", nothing from the old one for " : "", e->a ? a : "");
}

const char *report_clock_event(char *out, size_t n, const struct vt_clock_event *e, bool utf8)
{
    char a[FORMAT_LEN], b[FORMAT_LEN], text[REPORT_NAME_LEN];
    words_of(text, e);
    format_signed_ns(a, e->a, utf8);
    format_ns(b, e->b < 0 ? 0 : (uint64_t)e->b, utf8);
    switch (e->source) {
    case VT_CLOCK_EVENT_MAP:
        snprintf(out, n, "map: %s%s%s", text, e->a ? ", its TSC by " : "", e->a ? a : "");
        break;
    case VT_CLOCK_EVENT_VIEW:
        snprintf(out, n, "seen: %s stepped by %s %s%s", report_os_titles[e->kind % VTG_NR_OS_CLOCKS], a,
                 utf8 ? "±" : "+-", b);
        break;
    case VT_CLOCK_EVENT_AGENT:
        say_agent_event(out, n, e, utf8);
        break;
    case VT_CLOCK_EVENT_CHANNEL:
        say_channel_event(out, n, e->kind, e->a, text, utf8);
        break;
    case VT_CLOCK_EVENT_SYSTEM:
        say_system_event(out, n, e, utf8);
        break;
    case VT_CLOCK_EVENT_SLEW:
        say_slew(out, n, e, utf8);
        break;
    }
    return out;
}

static const char *const system_kinds[] = {
    [VT_SYSTEM_BOOTED] = "booted", [VT_SYSTEM_RESTARTED] = "restarted", [VT_SYSTEM_OVERLAPS] = "overlaps"
};

const char *report_clock_event_kind(const struct vt_clock_event *e)
{
    switch (e->source) {
    case VT_CLOCK_EVENT_VIEW:
        return report_os_clocks[e->kind % VTG_NR_OS_CLOCKS];
    case VT_CLOCK_EVENT_AGENT:
        return report_agent_events[e->kind < VTG_NR_EVENTS ? e->kind : 0];
    case VT_CLOCK_EVENT_CHANNEL:
        return report_channel_events[e->kind % VT_NR_CHANNEL_EVENTS];
    case VT_CLOCK_EVENT_SYSTEM:
        return system_kinds[e->kind];
    case VT_CLOCK_EVENT_SLEW:
        return "slew";
    case VT_CLOCK_EVENT_MAP:
        break;
    }
    return "epoch";
}

/* ---- which of them are told by the report itself ---- */

struct list {
    struct report_event *rows;
    size_t n;
    bool utf8;
    const struct vt_guest *g;
    struct vt_window *stops;
    size_t nr_stops;
};

static struct report_event *add(struct list *l, host_ns at, const char *kind, int64_t a, int64_t b)
{
    struct report_event *e = &l->rows[l->n++];
    *e = (struct report_event){ .at = at, .kind = kind, .a = a, .b = b };
    return e;
}

/* A clock whose step moves others as much: MONOTONIC all of them, REALTIME TAI and what the agent tells. */
static bool leads(enum vtg_os_clock clock, const struct vt_clock_event *e)
{
    if (e->source != VT_CLOCK_EVENT_VIEW)
        return clock == VTG_OS_REALTIME;
    return clock == VTG_OS_MONOTONIC ? e->kind != VTG_OS_MONOTONIC
                                     : clock == VTG_OS_REALTIME && e->kind == VTG_OS_TAI;
}

static bool is_told_by_another(const struct vt_agent_clocks *k, const struct vt_clock_event *e)
{
    const bool seen =
        e->source == VT_CLOCK_EVENT_VIEW; /* in the same view; the agent's word has another time */
    for (size_t i = 0; i < k->nr_events; i++) {
        const struct vt_clock_event *o = &k->events[i];
        const uint64_t apart = o->at.v > e->at.v ? o->at.v - e->at.v : e->at.v - o->at.v;
        const double more = (double)e->a - (double)o->a, most = (double)o->b + (seen ? (double)e->b : 1e7);
        if (o->source == VT_CLOCK_EVENT_VIEW && leads((enum vtg_os_clock)o->kind, e) &&
            apart < (seen ? VT_NSEC_PER_SEC / 50 : VT_NSEC_PER_SEC) && more < most && more > -most)
            return true;
    }
    return false;
}

/* What was dropped while the channel was away stands beside that. */
static bool is_told_by_away(const struct vt_agent_clocks *k, const struct vt_clock_event *e)
{
    for (size_t i = 0; i < k->nr_events; i++) {
        const struct vt_clock_event *o = &k->events[i];
        if (o->source == VT_CLOCK_EVENT_AGENT && o->kind == VTG_EVENT_AWAY && o->at.v == e->at.v &&
            o->b > 0 && o->c == e->a)
            return true;
    }
    return false;
}

static bool agent_event_is_told(const struct list *l, const struct vt_clock_event *e)
{
    switch (e->kind) {
    case VTG_EVENT_STEP:
        return !is_told_by_another(l->g->agent_clocks, e);
    case VTG_EVENT_AWAY:
        return !is_stop(l->stops, l->nr_stops, e->at, e->a, true);
    case VTG_EVENT_DROPPED:
        return !is_told_by_away(l->g->agent_clocks, e);
    case VTG_EVENT_START: /* RESTARTED and BOOTED tell */
    case VTG_EVENT_MISSED:
        return false;
    default:
        return true;
    }
}

static bool is_told(const struct list *l, const struct vt_clock_event *e)
{
    switch (e->source) {
    case VT_CLOCK_EVENT_MAP:
        return strcmp(e->text, "the guest booted anew") != 0;
    case VT_CLOCK_EVENT_VIEW:
        return !is_told_by_another(l->g->agent_clocks, e);
    case VT_CLOCK_EVENT_AGENT:
        return agent_event_is_told(l, e);
    case VT_CLOCK_EVENT_CHANNEL: /* others by kind */
        return e->kind == VT_CHANNEL_SILENT && e->a >= (int64_t)VT_NSEC_PER_SEC &&
               !is_stop(l->stops, l->nr_stops, e->at, e->a, false);
    case VT_CLOCK_EVENT_SYSTEM:
    case VT_CLOCK_EVENT_SLEW:
        break;
    }
    return true;
}

/*
 * A clock that runs at another rate altogether, such as one that was calibrated while the guest
 * was starved, steps at each view: told once, from the first of them.
 */
#define RUN_LEAST 4
#define RUN_GAP   VT_NSEC_PER_SEC

/* The clock that stepped; NULL: it is no step. */
static const char *stepped_clock(const struct report_event *e)
{
    for (unsigned int i = 0; i < VTG_NR_OS_CLOCKS; i++)
        if (e->kind == report_os_clocks[i])
            return report_os_titles[i];
    return NULL;
}

/* Steps of one clock to one side, each soon after the one before, whatever else happens in between. */
struct run {
    size_t n, last;
    double sum;
};

static struct run run_of_steps(const struct report_event *rows, size_t first, size_t n)
{
    struct run r = { 1, first, (double)rows[first].a };
    for (size_t i = first + 1; i < n && rows[i].at.v - rows[r.last].at.v < RUN_GAP; i++)
        if (rows[i].kind == rows[first].kind && (rows[i].a < 0) == (rows[first].a < 0)) {
            r.n++;
            r.last = i;
            r.sum += (double)rows[i].a;
        }
    return r;
}

static void say_run(struct report_event *first, const struct run *r, host_ns last, bool utf8)
{
    char text[FORMAT_LEN], by[FORMAT_LEN];
    first->a = r->sum < 9e18 && r->sum > -9e18 ? (int64_t)r->sum : first->a;
    snprintf(first->text, sizeof(first->text),
             "seen: %s stepped %zu times in %s, by %s in all: it does not run at its rate",
             stepped_clock(first), r->n, format_ns(text, last.v - first->at.v, utf8),
             format_signed_ns(by, first->a, utf8));
}

/* Those of a run that its first tells of. */
static void silence(struct report_event *rows, size_t first, size_t last)
{
    for (size_t i = first + 1; i <= last; i++)
        if (rows[i].kind == rows[first].kind && (rows[i].a < 0) == (rows[first].a < 0))
            rows[i].text[0] = 0;
}

/* In order of time; only steps stand in runs. */
static void join_runs(struct list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->rows[i].text[0])
            continue;
        if (stepped_clock(&l->rows[i])) {
            const struct run r = run_of_steps(l->rows, i, l->n);
            if (r.n >= RUN_LEAST) {
                silence(l->rows, i, r.last);
                say_run(&l->rows[i], &r, l->rows[r.last].at, l->utf8);
            }
        }
        l->rows[kept++] = l->rows[i];
    }
    l->n = kept;
}

/* All of a kind in one line: there may be one in each half second. */
static void add_channel_kind(struct list *l, enum vt_channel_event_kind kind)
{
    const struct vt_agent_clocks *k = l->g->agent_clocks;
    struct report_event *row = NULL;
    char text[REPORT_NAME_LEN] = "", span[2 * FORMAT_LEN] = "", length[FORMAT_LEN];
    int64_t count = 0, times = 0;
    host_ns last = { 0 };
    for (size_t i = 0; i < k->nr_events; i++) {
        const struct vt_clock_event *e = &k->events[i];
        if (e->source != VT_CLOCK_EVENT_CHANNEL || e->kind != kind)
            continue;
        if (!row) {
            row = add(l, e->at, report_channel_events[kind], 0, 0);
            words_of(text, e);
        }
        count = e->a > INT64_MAX - count ? INT64_MAX : count + e->a;
        times++;
        last = e->at;
    }
    if (!row)
        return;
    if (k->events_left_out) { /* only the newest rows are kept, all are counted */
        count = k->channel_counts[kind] > INT64_MAX ? INT64_MAX : (int64_t)k->channel_counts[kind];
        times = (int64_t)k->channel_events[kind];
    }
    row->a = count;
    row->b = times;
    if (times > 1)
        snprintf(span, sizeof(span), ", told %" PRId64 " times in %s", times,
                 format_ns(length, last.v - row->at.v, l->utf8));
    say_channel_event(row->text, sizeof(row->text), kind, count, text, l->utf8);
    strncat(row->text, span, sizeof(row->text) - strlen(row->text) - 1);
}

static void add_channel(struct list *l)
{
    for (int kind = 0; kind < VT_NR_CHANNEL_EVENTS; kind++)
        if (kind != VT_CHANNEL_OPENED && kind != VT_CHANNEL_SESSION && kind != VT_CHANNEL_SILENT)
            add_channel_kind(l, (enum vt_channel_event_kind)kind);
}

static int by_time(const void *a, const void *b)
{
    const struct report_event *x = a, *y = b;
    return (x->at.v > y->at.v) - (x->at.v < y->at.v);
}

int report_guest_events(const struct vt_guest *g, bool utf8, struct report_event **ret, size_t *ret_n)
{
    const struct vt_agent_clocks *k = g->agent_clocks;
    struct list l = { .utf8 = utf8, .g = g, .stops = NULL };
    l.stops = stops_of(g, &l.nr_stops);
    l.rows = calloc(l.nr_stops + (k ? k->nr_events : 0) + VT_NR_CHANNEL_EVENTS + 1, sizeof(*l.rows));
    if (!l.stops || !l.rows) {
        free(l.stops);
        free(l.rows);
        return -ENOMEM;
    }
    for (size_t i = 0; i < l.nr_stops; i++) {
        const uint64_t ns = l.stops[i].to.v - l.stops[i].from.v;
        struct report_event *e = add(&l, l.stops[i].from, "stopped", (int64_t)ns, 0);
        char text[FORMAT_LEN];
        snprintf(e->text, sizeof(e->text), "host: STOPPED %s", format_ns(text, ns, utf8));
    }
    for (size_t i = 0; k && i < k->nr_events; i++)
        if (is_told(&l, &k->events[i])) {
            const struct vt_clock_event *from = &k->events[i];
            struct report_event *e = add(&l, from->at, report_clock_event_kind(from), from->a, from->b);
            report_clock_event(e->text, sizeof(e->text), from, utf8);
        }
    if (k)
        add_channel(&l);
    if (l.n)
        qsort(l.rows, l.n, sizeof(*l.rows), by_time);
    join_runs(&l);
    free(l.stops);
    *ret = l.rows;
    *ret_n = l.n;
    return 0;
}

/* ---- text ---- */

static double seconds_in(const struct report_view *v, host_ns at)
{
    return ((double)at.v - (double)v->epoch.v) / 1e9;
}

/* The newest: the oldest of a guest that talks without end are in --json. */
static void put_guest_events(const struct report_view *v, const struct vt_guest *g, bool *any, FILE *out)
{
    struct report_event *events = NULL;
    size_t n = 0;
    char name[REPORT_NAME_LEN];
    if (report_guest_events(g, v->utf8, &events, &n) || !n) {
        free(events);
        return;
    }
    if (!*any)
        fputs("\nEvents: what befell guests, their clocks, agents and channels\n", out);
    *any = true;
    const size_t skip = n > MAX_EVENTS ? n - MAX_EVENTS : 0;
    fprintf(out, "  %s\n", report_name(name, g->vm.name));
    if (skip)
        fprintf(out, "    (and %zu before: see --clocks or --json)\n", skip);
    if (g->agent_clocks && g->agent_clocks->events_left_out)
        fprintf(out, "    (%" PRIu64 " older ones of its clocks and agent were not kept)\n",
                g->agent_clocks->events_left_out);
    for (size_t i = skip; i < n; i++)
        fprintf(out, "    %10.3f s  %s\n", seconds_in(v, events[i].at), events[i].text);
    free(events);
}

void report_text_events(const struct report_view *v, FILE *out)
{
    bool any = false;
    for (size_t i = 0; i < v->snapshot->nr_guests; i++)
        put_guest_events(v, &v->snapshot->guests[i], &any, out);
}

/* The host's own among them: when it was STOPPED, what the agent saw has its cause. */
static void put_stops_until(const struct report_view *v, const struct vt_window *stops, size_t n, size_t *at,
                            uint64_t until, FILE *out)
{
    char text[FORMAT_LEN];
    for (; *at < n && stops[*at].from.v <= until; (*at)++)
        fprintf(out, "      %10.3f s  host: STOPPED %s\n", seconds_in(v, stops[*at].from),
                format_ns(text, stops[*at].to.v - stops[*at].from.v, v->utf8));
}

void report_text_clock_events(const struct report_view *v, const struct vt_guest *g, FILE *out)
{
    const struct vt_agent_clocks *k = g->agent_clocks;
    const size_t skip = k->nr_events > MAX_CLOCK_EVENTS ? k->nr_events - MAX_CLOCK_EVENTS : 0;
    size_t nr_stops = 0, stop = 0;
    struct vt_window *stops = stops_of(g, &nr_stops);
    if (k->nr_events || nr_stops)
        fputs("\n    events\n", out);
    if (skip || k->events_left_out)
        fprintf(out, "      (and %" PRIu64 " before)\n", skip + k->events_left_out);
    for (size_t i = skip; i < k->nr_events; i++) {
        char text[2 * REPORT_NAME_LEN + FORMAT_LEN];
        put_stops_until(v, stops, nr_stops, &stop, k->events[i].at.v, out);
        report_clock_event(text, sizeof(text), &k->events[i], v->utf8);
        fprintf(out, "      %10.3f s  %s\n", seconds_in(v, k->events[i].at), text);
    }
    put_stops_until(v, stops, nr_stops, &stop, UINT64_MAX, out);
    free(stops);
}

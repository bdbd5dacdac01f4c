/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clocks of guests with an agent, as text: how each was mapped, what its system's clocks said. */
#include <inttypes.h>
#include <string.h>

#include "format.h"
#include "view.h"

#define LABEL      11
#define MAX_EPOCHS 16     /* shown of one guest; all are in --json */
#define NTP_UNSYNC 0x0040 /* STA_UNSYNC, adjtimex(2) */
#define FREQ_SCALE 65536.0

const char *const report_clock_methods[VT_NR_CLOCK_METHODS] = {
    [VT_CLOCK_KVM] = "kvm-offset",  [VT_CLOCK_IDENTITY] = "identity", [VT_CLOCK_MESSAGES] = "messages",
    [VT_CLOCK_PVCLOCK] = "pvclock", [VT_CLOCK_ARRIVALS] = "arrivals",
};

const char *const report_os_clocks[VTG_NR_OS_CLOCKS] = { "monotonic", "monotonic_raw", "realtime", "boottime",
                                                         "tai" };

const char *const report_os_titles[VTG_NR_OS_CLOCKS] = { "MONOTONIC", "MONOTONIC_RAW", "REALTIME", "BOOTTIME",
                                                         "TAI" };

const char *const report_agent_events[VTG_NR_EVENTS] = { "unknown", "start",   "stop",   "clocksource",
                                                         "step",    "suspend", "cpu",    "dropped",
                                                         "away",    "ntp",     "missed", "refused" };

const char *const report_channel_events[VT_NR_CHANNEL_EVENTS] = {
    [VT_CHANNEL_OPENED] = "opened",   [VT_CHANNEL_CLOSED] = "closed",     [VT_CHANNEL_FAILED] = "failed",
    [VT_CHANNEL_SESSION] = "session", [VT_CHANNEL_SILENT] = "silent",     [VT_CHANNEL_DAMAGED] = "damaged",
    [VT_CHANNEL_GARBAGE] = "garbage", [VT_CHANNEL_REPLAYED] = "replayed", [VT_CHANNEL_MISSING] = "missing",
    [VT_CHANNEL_FLOODED] = "flooded", [VT_CHANNEL_CLAIMED] = "claimed",   [VT_CHANNEL_ABSURD] = "absurd",
    [VT_CHANNEL_HELD] = "held",       [VT_CHANNEL_PACED] = "paced",
};

/*
 * In words, with what the rows of a kind count (rows themselves where that is nothing else, or no sum).
 * One and many.
 */
static const struct {
    const char *one, *many;
    bool of_rows;
} channel_words[VT_NR_CHANNEL_EVENTS] = {
    [VT_CHANNEL_OPENED] = { "opened once", "opened %" PRIu64 " times", true },
    [VT_CHANNEL_CLOSED] = { "closed once by the other side", "closed %" PRIu64 " times by the other side",
                            true },
    [VT_CHANNEL_FAILED] = { "could not be opened once", "could not be opened %" PRIu64 " times", true },
    [VT_CHANNEL_SESSION] = { "1 session of an agent began", "%" PRIu64 " sessions of agents began", true },
    [VT_CHANNEL_DAMAGED] = { "1 frame damaged", "%" PRIu64 " frames damaged", false },
    [VT_CHANNEL_GARBAGE] = { "1 byte of garbage", "%" PRIu64 " bytes of garbage", false },
    [VT_CHANNEL_REPLAYED] = { "1 frame replayed", "%" PRIu64 " frames replayed", false },
    [VT_CHANNEL_MISSING] = { "1 frame missing", "%" PRIu64 " frames missing", false },
    [VT_CHANNEL_FLOODED] = { "flooded once: more than is read at a time",
                             "flooded %" PRIu64 " times: more than is read at a time", false },
    [VT_CHANNEL_CLAIMED] = { "claimed another VM's name once", "claimed another VM's name %" PRIu64 " times",
                             false },
    [VT_CHANNEL_ABSURD] = { "1 absurd answer, to nothing asked",
                            "%" PRIu64 " absurd answers, to nothing asked", false },
    [VT_CHANNEL_HELD] = { "the agent's port was held by another once: what it then said is not here",
                          "the agent's port was held by another %" PRIu64
                          " times: what it then said is not here",
                          true },
    [VT_CHANNEL_PACED] = { "it said more than a VM may in the long run, and waited once: what its agent had "
                           "no "
                           "room for is not here",
                           "it said more than a VM may in the long run, and waited %" PRIu64
                           " times: what its agent had no room for is not here",
                           false },
};

const char *report_channel_words(char out[REPORT_NAME_LEN], unsigned int kind, uint64_t n, bool utf8)
{
    char text[FORMAT_LEN];
    if (kind == VT_CHANNEL_SILENT)
        snprintf(out, REPORT_NAME_LEN, "silent for %s", format_ns(text, n, utf8));
    else if (kind >= VT_NR_CHANNEL_EVENTS)
        snprintf(out, REPORT_NAME_LEN, "unknown %" PRIu64, n);
    else if (n == 1)
        snprintf(out, REPORT_NAME_LEN, "%s", channel_words[kind].one);
    else
        snprintf(out, REPORT_NAME_LEN, channel_words[kind].many, n);
    return out;
}

static const char *plus_minus(const struct report_view *v)
{
    return v->utf8 ? "±" : "+-";
}

/* "±52 µs", "~3 ms": so far from the truth at most, or by estimate. */
static const char *bound_text(char out[2 * FORMAT_LEN], const struct report_view *v, uint64_t ns,
                              bool bounded)
{
    char text[FORMAT_LEN];
    snprintf(out, 2 * FORMAT_LEN, "%s%s", bounded ? plus_minus(v) : "~", format_ns(text, ns, v->utf8));
    return out;
}

static const char *ppm_text(char out[FORMAT_LEN], const struct report_view *v, double ppm, double bound)
{
    if (bound > 0)
        snprintf(out, FORMAT_LEN, "%+.3f ppm %s%.3f", ppm, plus_minus(v), bound);
    else
        snprintf(out, FORMAT_LEN, "%+.3f ppm", ppm);
    return out;
}

static double seconds_in(const struct report_view *v, host_ns at)
{
    return ((double)at.v - (double)v->epoch.v) / 1e9;
}

static const char *fixed(char out[REPORT_NAME_LEN], const char *raw, size_t n)
{
    char text[65] = "";
    memcpy(text, raw, strnlen(raw, n < sizeof(text) - 1 ? n : sizeof(text) - 1));
    return report_name(out, text);
}

/* ---- head ---- */

static void put_system(const struct vt_agent_clocks *k, FILE *out)
{
    const struct vtg_system *s = &k->system;
    char clean[3][REPORT_NAME_LEN];
    struct wrap w = wrap_begin(out, "  system", LABEL + 2);
    if (!s->session) {
        wrap_item(&w, "its agent never said");
        wrap_end(&w);
        return;
    }
    wrap_item(&w, "Linux %s", fixed(clean[0], s->kernel, sizeof(s->kernel)));
    wrap_item(&w, "%u of %u CPUs online", s->nr_online, s->nr_possible);
    wrap_item(&w, "clocksource %s", fixed(clean[1], s->clocksource, sizeof(s->clocksource)));
    if (s->tsc_khz)
        wrap_item(&w, "believes in a TSC of %.3f MHz", (double)s->tsc_khz / 1000);
    if (s->hypervisor[0])
        wrap_item(&w, "under %s", fixed(clean[2], s->hypervisor, sizeof(s->hypervisor)));
    wrap_item(&w, "agent %u.%u", s->release >> 16, s->release & 0xffff);
    wrap_item(&w, "%" PRIu64 " boot%s and %" PRIu64 " agent%s begun in the window", k->boots,
              k->boots == 1 ? "" : "s", k->sessions, k->sessions == 1 ? "" : "s");
    wrap_end(&w);
}

static void put_map(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    char text[2 * FORMAT_LEN], more[FORMAT_LEN];
    struct wrap w = wrap_begin(out, "  map", LABEL + 2);
    if (k->method == VT_NR_CLOCK_METHODS) {
        wrap_item(&w, "none: %s", k->refused[0] ? k->refused : "no method is usable");
    } else {
        const struct vt_clock_method_report *r = &k->methods[k->method];
        wrap_item(&w, "%s", report_clock_methods[k->method]);
        if (r->samples) {
            wrap_item(&w, "%s in the median", bound_text(text, v, r->median_ns, r->bounded));
            wrap_item(&w, "%s at most", bound_text(text, v, r->max_ns, r->bounded));
        }
        if (!r->bounded)
            wrap_item(&w, "estimated");
    }
    if (k->apart)
        wrap_item(&w, "the TSCs of its vCPUs differ: mapped by vCPU");
    if (k->exchanges) {
        wrap_item(&w, "%" PRIu64 " exchanges", k->exchanges);
        wrap_item(&w, "round trips of %s at least", format_ns(more, k->fastest_ns, v->utf8));
        wrap_item(&w, "%s in the median", format_ns(more, k->typical_ns, v->utf8));
    }
    if (k->absurd)
        wrap_item(&w, "%" PRIu64 " exchanges contradict themselves: left out", k->absurd);
    if (k->ignored)
        wrap_item(&w, "%" PRIu64 " arrivals contradict the exchanges: left out", k->ignored);
    if (k->unmapped)
        wrap_item(&w, "%" PRIu64 " of %" PRIu64 " views have no place in time", k->unmapped, k->views);
    wrap_end(&w);
}

static void put_residual(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    char text[FORMAT_LEN];
    if (!k->residual.samples)
        return;
    struct wrap w = wrap_begin(out, "  residual", LABEL + 2);
    wrap_item(&w, "the map by messages is off from %s by %s in the median", report_clock_methods[k->method],
              format_ns(text, k->residual.median_ns, v->utf8));
    wrap_item(&w, "%s in 99 %%", format_ns(text, k->residual.p99_ns, v->utf8));
    wrap_item(&w, "%s at most", format_ns(text, k->residual.max_ns, v->utf8));
    wrap_item(&w, "inside its bound in %.2f %% of %" PRIu64,
              100.0 * (double)k->residual.inside / (double)k->residual.samples, k->residual.samples);
    wrap_end(&w);
}

/* ---- tables ---- */

static struct table *new_table(const struct report_view *v, const char *const heads[], size_t n, size_t left)
{
    struct table *t = table_new(v->utf8);
    for (size_t i = 0; t && i < n; i++)
        table_column(t, heads[i], i < left || i + 1 == n, false);
    return t;
}

static void cell_number(struct table *t, uint64_t n)
{
    char text[FORMAT_LEN];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    table_cell(t, text);
}

static void put_methods(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    static const char *const heads[] = { "method", "bound", "at most", "readings", "violations", "why not" };
    struct table *t = new_table(v, heads, 6, 1);
    for (unsigned int i = 0; t && i < VT_NR_CLOCK_METHODS; i++) {
        const struct vt_clock_method_report *r = &k->methods[i];
        char text[2 * FORMAT_LEN];
        table_cell(t, report_clock_methods[i]);
        table_cell(t, r->samples ? bound_text(text, v, r->median_ns, r->bounded) : "-");
        table_cell(t, r->samples ? bound_text(text, v, r->max_ns, r->bounded) : "-");
        cell_number(t, r->samples);
        cell_number(t, r->violations);
        table_cell(t, r->usable ? (i == k->method ? "used" : "usable, too") : r->reason);
    }
    table_print(t, 1, "    ", out);
    table_free(t);
}

static void row_epoch(const struct report_view *v, struct table *t, const struct vt_clock_epoch *e)
{
    char text[2 * FORMAT_LEN];
    snprintf(text, sizeof(text), "%.3f s", seconds_in(v, e->window.from));
    table_cell(t, text);
    snprintf(text, sizeof(text), "%.3f s", seconds_in(v, e->window.to));
    table_cell(t, text);
    cell_number(t, e->exchanges);
    snprintf(text, sizeof(text), "%+" PRId64, e->offset_ticks);
    table_cell(t, e->has_offset ? text : "-");
    table_cell(t, e->has_rate ? ppm_text(text, v, e->drift_ppm, e->drift_bound_ppm) : "-");
    table_cell(t, e->has_step ? format_signed_ns(text, e->step_ns, v->utf8) : "-");
    table_cell(t, e->reason[0] ? e->reason : "as it was when first seen");
}

static void put_epochs(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    static const char *const heads[] = {
        "from", "to", "exchanges", "TSC - host's", "drift", "stepped", "why"
    };
    const size_t skip = k->nr_epochs > MAX_EPOCHS ? k->nr_epochs - MAX_EPOCHS : 0;
    if (!k->nr_epochs)
        return;
    struct table *t = new_table(v, heads, 7, 0);
    for (size_t i = skip; t && i < k->nr_epochs; i++)
        row_epoch(v, t, &k->epochs[i]);
    fputs("\n    its TSC: between epochs nothing is interpolated\n", out);
    if (skip)
        fprintf(out, "    (the last %d of %zu)\n", MAX_EPOCHS, k->nr_epochs);
    table_print(t, 2, "    ", out);
    table_free(t);
}

static void signed_bound(const struct report_view *v, struct table *t, int64_t ns, uint64_t bound)
{
    char text[3 * FORMAT_LEN], a[FORMAT_LEN], b[FORMAT_LEN];
    snprintf(text, sizeof(text), "%s %s%s", format_signed_ns(a, ns, v->utf8), plus_minus(v),
             format_ns(b, bound, v->utf8));
    table_cell(t, text);
}

static void put_os_clocks(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    static const char *const heads[] = { "clock", "views", "off at first", "off at last", "drift",
                                         "steps", "by" };
    struct table *t = new_table(v, heads, 7, 1);
    bool any = false;
    for (unsigned int i = 0; t && i < VTG_NR_OS_CLOCKS; i++) {
        const struct vt_os_clock_figures *f = &k->os[i];
        char text[FORMAT_LEN];
        if (!f->views)
            continue;
        any = true;
        table_cell(t, report_os_titles[i]);
        cell_number(t, f->views);
        signed_bound(v, t, f->first_ns, f->first_bound_ns);
        signed_bound(v, t, f->last_ns, f->last_bound_ns);
        table_cell(t, f->has_drift ? ppm_text(text, v, f->drift_ppm, f->drift_bound_ppm) : "-");
        cell_number(t, f->steps);
        table_cell(t, f->steps ? format_signed_ns(text, f->stepped_ns, v->utf8) : "-");
    }
    if (any) {
        fputs("\n    its system's clocks against the host's MONOTONIC (REALTIME, TAI: its REALTIME); drift "
              "without steps\n",
              out);
        table_print(t, 1, "    ", out);
    }
    table_free(t);
}

static void cell_offset(const struct report_view *v, struct table *t, const struct vt_clock_interval *i,
                        unsigned int clock)
{
    char text[FORMAT_LEN];
    table_cell(t, i->known[clock] ? format_signed_ns(text, i->offset_ns[clock], v->utf8) : "-");
    table_cell(t, i->has_drift[clock] ? ppm_text(text, v, i->drift_ppm[clock], 0) : "-");
}

static void put_intervals(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    static const char *const heads[] = { "from",          "readings", "bound",        "at most",
                                         "MONOTONIC off", "drift",    "REALTIME off", "drift" };
    struct table *t = new_table(v, heads, 8, 0);
    const bool bounded = k->method != VT_NR_CLOCK_METHODS && k->methods[k->method].bounded;
    bool any = false;
    for (size_t i = 0; t && i < k->nr_intervals; i++) {
        const struct vt_clock_interval *n = &k->intervals[i];
        char text[2 * FORMAT_LEN];
        any |= n->samples > 0;
        snprintf(text, sizeof(text), "%.3f s", seconds_in(v, n->window.from));
        table_cell(t, text);
        cell_number(t, n->samples);
        table_cell(t, n->samples ? bound_text(text, v, n->median_ns, bounded) : "-");
        table_cell(t, n->samples ? bound_text(text, v, n->max_ns, bounded) : "-");
        cell_offset(v, t, n, VTG_OS_MONOTONIC);
        cell_offset(v, t, n, VTG_OS_REALTIME);
    }
    if (any) {
        fputs("\n    over time\n", out);
        table_print(t, 1, "    ", out);
    }
    table_free(t);
}

/* ---- lines ---- */

static void put_ntp(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    const struct vtg_view *l = &k->last_view;
    char text[FORMAT_LEN];
    if (!k->views)
        return;
    struct wrap w = wrap_begin(out, "  NTP", LABEL + 2);
    wrap_item(&w, "%s (status %#x, state %u)",
              l->ntp_status & NTP_UNSYNC ? "not synchronised" : "synchronised", l->ntp_status, l->ntp_state);
    wrap_item(&w, "offset %s", l->ntp_offset_ns ? format_signed_ns(text, l->ntp_offset_ns, v->utf8) : "0");
    wrap_item(&w, "frequency %+.3f ppm", (double)l->ntp_freq / FREQ_SCALE);
    wrap_item(&w, "%" PRIu64 " change%s told", k->agent_events[VTG_EVENT_NTP],
              k->agent_events[VTG_EVENT_NTP] == 1 ? "" : "s");
    wrap_item(&w, "it thinks it is off by %s at most", format_ns(text, l->ntp_maxerror_ns, v->utf8));
    wrap_end(&w);
}

static void put_stat(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    const struct vtg_cpu_time *s = &k->stat;
    const struct {
        const char *name;
        uint64_t ns;
    } parts[] = { { "user", s->user },       { "nice", s->nice },     { "system", s->system },
                  { "idle", s->idle },       { "iowait", s->iowait }, { "irq", s->irq },
                  { "softirq", s->softirq }, { "steal", s->steal },   { "guest", s->guest } };
    char text[FORMAT_LEN];
    if (!k->stat_ns)
        return;
    struct wrap w = wrap_begin(out, "  stat", LABEL + 2);
    wrap_item(&w, "%u CPU%s in %s of /proc/stat, as the guest believes", k->stat_cpus,
              k->stat_cpus == 1 ? "" : "s", format_ns(text, k->stat_ns, v->utf8));
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (parts[i].ns || strcmp(parts[i].name, "steal") == 0)
            wrap_item(&w, "%s %s", parts[i].name, format_ns(text, parts[i].ns, v->utf8));
    wrap_end(&w);
}

static void channel_kind(struct wrap *w, const struct report_view *v, const struct vt_agent_clocks *k,
                         unsigned int kind)
{
    const uint64_t rows = k->channel_events[kind];
    char text[REPORT_NAME_LEN];
    if (rows)
        wrap_item(w, "%s",
                  report_channel_words(
                      text, kind, channel_words[kind].of_rows ? rows : k->channel_counts[kind], v->utf8));
}

static void put_channel(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    struct wrap w = wrap_begin(out, "  channel", LABEL + 2);
    for (unsigned int i = 0; i < VT_NR_CHANNEL_EVENTS; i++)
        channel_kind(&w, v, k, i);
    if (w.empty)
        wrap_item(&w, "nothing befell it");
    wrap_end(&w);
}

static void put_agent(const struct report_view *v, const struct vt_agent_clocks *k, FILE *out)
{
    char text[FORMAT_LEN];
    struct wrap w = wrap_begin(out, "  agent", LABEL + 2);
    wrap_item(&w, "%" PRIu64 " views", k->views);
    wrap_item(&w, "%" PRIu64 " due and not made", k->missed_views);
    wrap_item(&w, "%" PRIu64 " frames dropped for want of room", k->dropped_frames);
    if (k->away_ns)
        wrap_item(&w, "without a host for %s", format_ns(text, k->away_ns, v->utf8));
    wrap_end(&w);
    put_channel(v, k, out);
}

static void put_guest(const struct report_view *v, const struct vt_guest *g, FILE *out)
{
    const struct vt_agent_clocks *k = g->agent_clocks;
    char name[REPORT_NAME_LEN];
    fprintf(out, "\n  %s\n", report_name(name, g->vm.name));
    put_system(k, out);
    put_map(v, k, out);
    put_residual(v, k, out);
    put_ntp(v, k, out);
    put_stat(v, k, out);
    put_agent(v, k, out);
    fputc('\n', out);
    put_methods(v, k, out);
    put_epochs(v, k, out);
    put_os_clocks(v, k, out);
    put_intervals(v, k, out);
    report_text_clock_events(v, g, out);
}

void report_text_agent_clocks(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    bool any = false;
    for (size_t i = 0; i < s->nr_guests; i++) {
        if (!s->guests[i].agent_clocks)
            continue;
        if (!any)
            fputs("\nClocks of guests with an agent: what they said, against the host's\n", out);
        any = true;
        put_guest(v, &s->guests[i], out);
    }
    if (!any)
        fputs("\nNo guest with an agent (vtime-agent) spoke in this window\n", out);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clocks of a guest with an agent, as JSON: a row of guests[].clocks whose "vcpu" is null. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <string.h>

#include "view.h"

struct builder {
    const struct report_view *view;
    bool failed;
};

static void u64(struct builder *b, cJSON *o, const char *key, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    b->failed |= !cJSON_AddRawToObject(o, key, text);
}

static void i64(struct builder *b, cJSON *o, const char *key, int64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, n);
    b->failed |= !cJSON_AddRawToObject(o, key, text);
}

static void number(struct builder *b, cJSON *o, const char *key, double n)
{
    b->failed |= !cJSON_AddNumberToObject(o, key, n);
}

static void null(struct builder *b, cJSON *o, const char *key)
{
    b->failed |= !cJSON_AddNullToObject(o, key);
}

static void truth(struct builder *b, cJSON *o, const char *key, bool is)
{
    b->failed |= !cJSON_AddBoolToObject(o, key, is);
}

static void text(struct builder *b, cJSON *o, const char *key, const char *s)
{
    b->failed |= !cJSON_AddStringToObject(o, key, s);
}

/* A guest's, not necessarily terminated. */
static void words(struct builder *b, cJSON *o, const char *key, const char *raw, size_t n)
{
    char copy[65] = "", clean[REPORT_NAME_LEN];
    memcpy(copy, raw, strnlen(raw, n < sizeof(copy) - 1 ? n : sizeof(copy) - 1));
    text(b, o, key, report_name(clean, copy));
}

static cJSON *object(struct builder *b, cJSON *o, const char *key)
{
    cJSON *item = cJSON_AddObjectToObject(o, key);
    b->failed |= !item;
    return item;
}

static cJSON *array(struct builder *b, cJSON *o, const char *key)
{
    cJSON *item = cJSON_AddArrayToObject(o, key);
    b->failed |= !item;
    return item;
}

static cJSON *row_of(struct builder *b, cJSON *list)
{
    cJSON *row = cJSON_CreateObject();
    if (row && !cJSON_AddItemToArray(list, row)) {
        cJSON_Delete(row);
        row = NULL;
    }
    b->failed |= !row;
    return row;
}

static void instant(struct builder *b, cJSON *o, const char *key, host_ns at)
{
    i64(b, o, key, (int64_t)(at.v - b->view->epoch.v));
}

static void put_system(struct builder *b, cJSON *row, const struct vtg_system *s)
{
    char hex[40];
    if (!s->session) {
        null(b, row, "system");
        return;
    }
    cJSON *o = object(b, row, "system");
    words(b, o, "kernel", s->kernel, sizeof(s->kernel));
    words(b, o, "clocksource", s->clocksource, sizeof(s->clocksource));
    words(b, o, "hypervisor", s->hypervisor, sizeof(s->hypervisor));
    snprintf(hex, sizeof(hex), "%016" PRIx64 "%016" PRIx64, s->boot_id[0], s->boot_id[1]);
    text(b, o, "boot", hex);
    u64(b, o, "session", s->session);
    u64(b, o, "tsc_khz", s->tsc_khz);
    u64(b, o, "cpus_online", s->nr_online);
    u64(b, o, "cpus_possible", s->nr_possible);
    u64(b, o, "views_per_1000_s", s->view_mhz);
    u64(b, o, "agent_release", s->release);
}

static void put_methods(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    cJSON *list = array(b, row, "methods");
    for (unsigned int i = 0; i < VT_NR_CLOCK_METHODS; i++) {
        const struct vt_clock_method_report *m = &k->methods[i];
        cJSON *o = row_of(b, list);
        text(b, o, "method", report_clock_methods[i]);
        truth(b, o, "usable", m->usable);
        text(b, o, "accuracy", m->bounded ? "bounded" : "estimated");
        text(b, o, "reason", m->reason ? m->reason : "");
        u64(b, o, "violations", m->violations);
        u64(b, o, "samples", m->samples);
        u64(b, o, "bound_median_ns", m->median_ns);
        u64(b, o, "bound_max_ns", m->max_ns);
    }
}

static void put_epoch(struct builder *b, cJSON *o, const struct vt_clock_epoch *e)
{
    instant(b, o, "from_ns", e->window.from);
    instant(b, o, "to_ns", e->window.to);
    text(b, o, "reason", e->reason);
    u64(b, o, "exchanges", e->exchanges);
    if (e->has_offset) {
        i64(b, o, "offset_ticks", e->offset_ticks);
        u64(b, o, "offset_bound_ticks", e->offset_bound);
    } else {
        null(b, o, "offset_ticks");
    }
    if (e->has_rate) {
        number(b, o, "drift_ppm", e->drift_ppm);
        number(b, o, "drift_bound_ppm", e->drift_bound_ppm);
    } else {
        null(b, o, "drift_ppm");
    }
    if (e->has_step) {
        i64(b, o, "step_ns", e->step_ns);
        u64(b, o, "step_bound_ns", e->step_bound_ns);
    } else {
        null(b, o, "step_ns");
    }
}

static void put_os(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    cJSON *o = object(b, row, "system_clocks");
    for (unsigned int i = 0; i < VTG_NR_OS_CLOCKS; i++) {
        const struct vt_os_clock_figures *f = &k->os[i];
        if (!f->views) {
            null(b, o, report_os_clocks[i]);
            continue;
        }
        cJSON *c = object(b, o, report_os_clocks[i]);
        u64(b, c, "views", f->views);
        i64(b, c, "first_offset_ns", f->first_ns);
        u64(b, c, "first_bound_ns", f->first_bound_ns);
        i64(b, c, "last_offset_ns", f->last_ns);
        u64(b, c, "last_bound_ns", f->last_bound_ns);
        u64(b, c, "steps", f->steps);
        i64(b, c, "stepped_ns", f->stepped_ns);
        if (f->has_drift) {
            number(b, c, "drift_ppm", f->drift_ppm);
            number(b, c, "drift_bound_ppm", f->drift_bound_ppm);
        } else {
            null(b, c, "drift_ppm");
        }
    }
}

static void put_interval(struct builder *b, cJSON *o, const struct vt_clock_interval *v)
{
    instant(b, o, "from_ns", v->window.from);
    instant(b, o, "to_ns", v->window.to);
    u64(b, o, "samples", v->samples);
    u64(b, o, "bound_median_ns", v->median_ns);
    u64(b, o, "bound_max_ns", v->max_ns);
    for (unsigned int i = 0; i < VTG_NR_OS_CLOCKS; i++) {
        if (!v->known[i])
            continue;
        cJSON *c = object(b, o, report_os_clocks[i]);
        i64(b, c, "offset_ns", v->offset_ns[i]);
        if (v->has_drift[i])
            number(b, c, "drift_ppm", v->drift_ppm[i]);
        else
            null(b, c, "drift_ppm");
    }
}

static void put_event(struct builder *b, cJSON *o, const struct vt_clock_event *e)
{
    static const char *const sources[] = { "map", "view", "agent", "channel" };
    const char *kind = "epoch";
    if (e->source == VT_CLOCK_EVENT_VIEW)
        kind = report_os_clocks[e->kind % VTG_NR_OS_CLOCKS];
    else if (e->source == VT_CLOCK_EVENT_AGENT)
        kind = report_agent_events[e->kind < VTG_NR_EVENTS ? e->kind : 0];
    else if (e->source == VT_CLOCK_EVENT_CHANNEL)
        kind = report_channel_events[e->kind % VT_NR_CHANNEL_EVENTS];
    instant(b, o, "at_ns", e->at);
    text(b, o, "source", sources[e->source]);
    text(b, o, "kind", kind);
    i64(b, o, "a", e->a);
    i64(b, o, "b", e->b);
    words(b, o, "text", e->text, sizeof(e->text));
}

static void put_stat(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    const struct vtg_cpu_time *s = &k->stat;
    if (!k->stat_ns) {
        null(b, row, "stat");
        return;
    }
    cJSON *o = object(b, row, "stat");
    u64(b, o, "cpus", k->stat_cpus);
    u64(b, o, "over_ns", k->stat_ns);
    u64(b, o, "user_ns", s->user);
    u64(b, o, "nice_ns", s->nice);
    u64(b, o, "system_ns", s->system);
    u64(b, o, "idle_ns", s->idle);
    u64(b, o, "iowait_ns", s->iowait);
    u64(b, o, "irq_ns", s->irq);
    u64(b, o, "softirq_ns", s->softirq);
    u64(b, o, "steal_ns", s->steal);
    u64(b, o, "guest_ns", s->guest);
}

static void put_ntp(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    const struct vtg_view *l = &k->last_view;
    if (!k->views) {
        null(b, row, "ntp");
        return;
    }
    cJSON *o = object(b, row, "ntp");
    u64(b, o, "status", l->ntp_status);
    u64(b, o, "state", l->ntp_state);
    i64(b, o, "offset_ns", l->ntp_offset_ns);
    number(b, o, "frequency_ppm", (double)l->ntp_freq / 65536);
    u64(b, o, "maxerror_ns", l->ntp_maxerror_ns);
    u64(b, o, "esterror_ns", l->ntp_esterror_ns);
    i64(b, o, "tai_offset_s", l->tai_offset_s);
}

static void put_channel(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    cJSON *o = object(b, row, "channel");
    for (unsigned int i = 0; i < VT_NR_CHANNEL_EVENTS; i++) {
        cJSON *c = object(b, o, report_channel_events[i]);
        u64(b, c, "times", k->channel_events[i]);
        u64(b, c, "count", k->channel_counts[i]);
    }
    o = object(b, row, "agent");
    u64(b, o, "views", k->views);
    u64(b, o, "views_unmapped", k->unmapped);
    u64(b, o, "views_missed", k->missed_views);
    u64(b, o, "frames_dropped", k->dropped_frames);
    u64(b, o, "away_ns", k->away_ns);
}

static void put_residual(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    if (!k->residual.samples) {
        null(b, row, "residual");
        return;
    }
    cJSON *o = object(b, row, "residual");
    u64(b, o, "samples", k->residual.samples);
    u64(b, o, "inside", k->residual.inside);
    u64(b, o, "median_ns", k->residual.median_ns);
    u64(b, o, "p99_ns", k->residual.p99_ns);
    u64(b, o, "max_ns", k->residual.max_ns);
}

static void put_map(struct builder *b, cJSON *row, const struct vt_agent_clocks *k)
{
    const bool any = k->method != VT_NR_CLOCK_METHODS;
    null(b, row, "vcpu");
    text(b, row, "method", any ? report_clock_methods[k->method] : "none");
    text(b, row, "accuracy", any && k->methods[k->method].bounded ? "bounded" : "estimated");
    u64(b, row, "bound_ns", any ? k->methods[k->method].max_ns : 0);
    u64(b, row, "bound_median_ns", any ? k->methods[k->method].median_ns : 0);
    u64(b, row, "violations", any ? k->methods[k->method].violations : 0);
    text(b, row, "reason", k->refused);
    truth(b, row, "vcpus_apart", k->apart);
    u64(b, row, "boots", k->boots);
    u64(b, row, "sessions", k->sessions);
    cJSON *o = object(b, row, "exchanges");
    u64(b, o, "count", k->exchanges);
    u64(b, o, "fastest_ns", k->fastest_ns);
    u64(b, o, "median_ns", k->typical_ns);
    u64(b, o, "absurd", k->absurd);
    u64(b, o, "arrivals_ignored", k->ignored);
}

bool report_json_agent_clocks(cJSON *list, const struct vt_agent_clocks *k, const struct report_view *v)
{
    struct builder b = { .view = v };
    cJSON *row = row_of(&b, list), *rows;
    put_map(&b, row, k);
    put_system(&b, row, &k->system);
    put_methods(&b, row, k);
    put_residual(&b, row, k);
    put_os(&b, row, k);
    put_ntp(&b, row, k);
    put_stat(&b, row, k);
    put_channel(&b, row, k);
    rows = array(&b, row, "epochs");
    for (size_t i = 0; i < k->nr_epochs; i++)
        put_epoch(&b, row_of(&b, rows), &k->epochs[i]);
    rows = array(&b, row, "intervals");
    for (size_t i = 0; i < k->nr_intervals; i++)
        put_interval(&b, row_of(&b, rows), &k->intervals[i]);
    rows = array(&b, row, "events");
    for (size_t i = 0; i < k->nr_events; i++)
        put_event(&b, row_of(&b, rows), &k->events[i]);
    u64(&b, row, "events_left_out", k->events_left_out);
    return !b.failed;
}

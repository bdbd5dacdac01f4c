/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/agentclocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A kernel's clock is slewed by 500 ppm at most, and its frequency is set within 500 ppm. */
#define SLEW_PPM 1100u
/* What any clock may stand off beside that between two views. */
#define STEP_LEAST_NS 10000u
/* At so many places the map's bound is measured. */
#define MAX_PROBES 4096u

struct pass {
    const struct vt_machine_clock *k;
    const struct vt_view_log *log;
    struct vt_window window;
    struct vt_agent_clocks *ret;
    size_t room_events, room_epochs;
    uint64_t width; /* of an interval */
};

static bool within(const struct pass *p, host_ns at)
{
    return at.v >= p->window.from.v && at.v <= p->window.to.v;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct vt_clock_interval *interval_of(const struct pass *p, host_ns at)
{
    if (!within(p, at) || !p->ret->nr_intervals)
        return NULL;
    const size_t i = (size_t)((at.v - p->window.from.v) / p->width);
    return &p->ret->intervals[i < p->ret->nr_intervals ? i : p->ret->nr_intervals - 1];
}

/* ---- events ---- */

static int by_time(const void *a, const void *b)
{
    const struct vt_clock_event *x = a, *y = b;
    return (x->at.v > y->at.v) - (x->at.v < y->at.v);
}

/* In the order of time; the newest stay, what is left out is counted. */
static void cut_events(struct vt_agent_clocks *r)
{
    if (r->nr_events)
        qsort(r->events, r->nr_events, sizeof(*r->events), by_time);
    if (r->nr_events <= VT_MAX_CLOCK_EVENTS)
        return;
    const size_t old = r->nr_events - VT_MAX_CLOCK_EVENTS;
    memmove(r->events, r->events + old, VT_MAX_CLOCK_EVENTS * sizeof(*r->events));
    r->events_left_out += old;
    r->nr_events = VT_MAX_CLOCK_EVENTS;
}

/* They come from several logs, each by time: room for as many again as are kept. */
static int add_event(struct pass *p, const struct vt_clock_event *e)
{
    struct vt_agent_clocks *r = p->ret;
    if (r->nr_events >= 2 * VT_MAX_CLOCK_EVENTS)
        cut_events(r);
    int error = vt_grow((void **)&r->events, &p->room_events, r->nr_events, sizeof(*r->events));
    if (!error)
        r->events[r->nr_events++] = *e;
    return error;
}

/* When it happened: by the map, where the guest's TSC says; else when it was told. */
static host_ns when(const struct pass *p, const struct vt_event_row *row)
{
    host_ns at;
    uint64_t bound;
    const guest_tsc tsc = { row->event.tsc };
    if (vt_machine_clock_to_ns(p->k, row->event.cpu, tsc, row->host, &at, &bound) || at.v > row->host.v)
        return row->host;
    return at;
}

static uint64_t plus(uint64_t sum, int64_t more)
{
    return more < 0 || sum > UINT64_MAX - (uint64_t)more ? sum : sum + (uint64_t)more;
}

/* An agent tells of what it dropped in the same breath: right before or after it says that the host was away.
 */
static int64_t dropped_meanwhile(const struct vt_view_log *log, size_t i)
{
    int64_t dropped = 0;
    for (size_t j = i ? i - 1 : i; j < log->nr_events && j <= i + 1; j++) {
        const struct vtg_event *e = &log->events[j].event;
        if (e->kind == VTG_EVENT_DROPPED && e->tsc == log->events[i].event.tsc && e->a > 0)
            dropped = e->a;
    }
    return dropped;
}

static int add_agent_events(struct pass *p)
{
    struct vt_agent_clocks *r = p->ret;
    for (size_t i = 0; i < p->log->nr_events; i++) {
        const struct vtg_event *e = &p->log->events[i].event;
        const uint32_t kind = e->kind < VTG_NR_EVENTS ? e->kind : 0;
        struct vt_clock_event row = {
            when(p, &p->log->events[i]), VT_CLOCK_EVENT_AGENT, kind, e->a, e->b, 0, ""
        };
        if (!within(p, row.at))
            continue;
        memcpy(row.text, e->text, sizeof(e->text));
        if (kind == VTG_EVENT_CPU)
            row.c = e->cpu;
        if (kind == VTG_EVENT_AWAY)
            row.c = dropped_meanwhile(p->log, i);
        r->agent_events[kind]++;
        if (kind == VTG_EVENT_MISSED)
            r->missed_views = plus(r->missed_views, e->a);
        if (kind == VTG_EVENT_DROPPED)
            r->dropped_frames = plus(r->dropped_frames, e->a);
        if (kind == VTG_EVENT_AWAY)
            r->away_ns = plus(r->away_ns, e->a);
        int error = add_event(p, &row);
        if (error)
            return error;
    }
    return 0;
}

static int add_channel_events(struct pass *p)
{
    struct vt_agent_clocks *r = p->ret;
    for (size_t i = 0; i < p->log->nr_channel; i++) {
        const struct vt_channel_event *e = &p->log->channel[i];
        if (!within(p, e->at))
            continue;
        struct vt_clock_event row = { e->at, VT_CLOCK_EVENT_CHANNEL, e->kind, 0, 0, 0, "" };
        row.a = e->count > INT64_MAX ? INT64_MAX : (int64_t)e->count;
        memcpy(row.text, e->text, sizeof(e->text));
        r->channel_events[e->kind]++;
        r->channel_counts[e->kind] = plus(r->channel_counts[e->kind], row.a);
        int error = add_event(p, &row);
        if (error)
            return error;
    }
    return 0;
}

/* ---- epochs ---- */

static host_ns ns_of(const struct pass *p, uint64_t tsc, host_ns otherwise)
{
    host_ns ns;
    uint64_t bound;
    return vt_clockmap_to_ns(p->k->map, (host_tsc){ tsc }, &ns, &bound) ? otherwise : ns;
}

static int add_epoch(struct pass *p, const struct vt_clock_epoch *e)
{
    struct vt_agent_clocks *r = p->ret;
    const struct vt_clock_event event = { e->window.from,
                                          VT_CLOCK_EVENT_MAP,
                                          0,
                                          e->has_step ? e->step_ns : 0,
                                          e->has_step && e->step_bound_ns < INT64_MAX
                                              ? (int64_t)e->step_bound_ns
                                              : 0,
                                          0,
                                          "" };
    if (e->window.to.v <= p->window.from.v || e->window.from.v >= p->window.to.v)
        return 0;
    int error = vt_grow((void **)&r->epochs, &p->room_epochs, r->nr_epochs, sizeof(*r->epochs));
    if (error)
        return error;
    struct vt_clock_epoch *to = &r->epochs[r->nr_epochs++];
    *to = *e;
    to->window.from.v = vt_max(to->window.from.v, p->window.from.v);
    to->window.to.v = vt_min(to->window.to.v, p->window.to.v);
    if (!e->reason[0] || !within(p, event.at))
        return 0;
    struct vt_clock_event named = event;
    strncpy(named.text, e->reason, sizeof(named.text) - 1);
    return add_event(p, &named);
}

/* Slopes are host ticks per guest tick: what the guest's clock does is the inverse. */
static void drift_of(struct vt_slopes s, struct vt_clock_epoch *e)
{
    const double most = (double)VT_SLOPE_ONE / (double)s.least, least = (double)VT_SLOPE_ONE / (double)s.most;
    e->has_rate = most - least < 0.5; /* else nothing is known of it */
    e->drift_ppm = ((most + least) / 2 - 1) * 1e6;
    e->drift_bound_ppm = (most - least) / 2 * 1e6;
}

/* How far the guest's TSC went on more than time did, where the new epoch begins. */
static void step_of(const struct pass *p, const struct vt_message_epoch *old,
                    const struct vt_message_epoch *e, struct vt_clock_epoch *to)
{
    uint64_t was, is, a, b;
    if (!vt_message_epoch_at(old, e->base_x, &was, &a) || !vt_message_epoch_at(e, e->base_x, &is, &b))
        return;
    const uint64_t ns = vt_clockmap_length_ns(p->k->map, was > is ? was - is : is - was);
    if (ns > INT64_MAX)
        return;
    to->has_step = true;
    to->step_ns = was > is ? (int64_t)ns : -(int64_t)ns;
    to->step_bound_ns = vt_clockmap_length_ns(p->k->map, vt_sum(a, b));
}

static int message_epochs(struct pass *p, const struct vt_message_map *map)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct vt_message_epoch *e = &map->epochs[i];
        struct vt_clock_epoch to = { .window = p->window, .reason = e->reason ? e->reason : "" };
        uint64_t y, bound;
        if (i > 0)
            to.window.from = ns_of(p, e->sure_from, p->window.from);
        if (i + 1 < map->n)
            to.window.to = ns_of(p, e->sure_to, p->window.to);
        to.exchanges = e->exchanges;
        drift_of(e->slopes, &to);
        if (vt_message_epoch_at(e, e->base_x, &y, &bound)) {
            to.has_offset = true;
            to.offset_ticks = (int64_t)(e->base_x - y);
            to.offset_bound = bound;
        }
        if (i > 0)
            step_of(p, e - 1, e, &to);
        int error = add_epoch(p, &to);
        if (error)
            return error;
    }
    return 0;
}

/* KVM's own word, of the vCPU that has most of it. */
static const struct vt_life *life_with_epochs(const struct pass *p)
{
    const struct vt_life *found = NULL;
    size_t i, to;
    vt_lives_around(p->k->c, p->k->m, &i, &to);
    for (; i < to; i++) {
        const struct vt_life *life = &p->k->c->lives[i];
        if (life->row.vm == p->k->m->row.id && (!found || life->nr_epochs > found->nr_epochs))
            found = life;
    }
    return found;
}

static double ratio_of(const struct vt_tsc_epoch *e)
{
    return e->ratio && e->frac < 64 ? (double)e->ratio / (double)(UINT64_C(1) << e->frac) : 1;
}

static int kvm_epochs(struct pass *p)
{
    const struct vt_life *life = life_with_epochs(p);
    for (size_t i = 0; life && i < life->nr_epochs; i++) {
        const struct vt_tsc_epoch *e = &life->epochs[i];
        struct vt_clock_epoch to = {
            .window = p->window, .reason = "", .has_offset = true, .has_rate = true
        };
        to.offset_ticks = (int64_t)e->offset;
        to.drift_ppm = (ratio_of(e) - 1) * 1e6;
        if (i > 0) {
            const int64_t more = (int64_t)(e->offset - e[-1].offset);
            const uint64_t ns =
                vt_clockmap_length_ns(p->k->map, more < 0 ? 0 - (uint64_t)more : (uint64_t)more);
            to.reason = "KVM's TSC offset or ratio changed";
            to.window.from = e->at;
            to.has_step = e->ratio == e[-1].ratio && ns <= INT64_MAX;
            to.step_ns = more < 0 ? -(int64_t)ns : (int64_t)ns;
        }
        if (i + 1 < life->nr_epochs)
            to.window.to = life->epochs[i + 1].at;
        for (size_t j = 0; j < p->log->nr_exchanges; j++)
            to.exchanges += p->log->exchanges[j].sent.v >= to.window.from.v &&
                            p->log->exchanges[j].received.v <= to.window.to.v;
        int error = add_epoch(p, &to);
        if (error)
            return error;
    }
    return 0;
}

static int fill_epochs(struct pass *p)
{
    switch (p->k->method) {
    case VT_CLOCK_KVM:
        return kvm_epochs(p);
    case VT_CLOCK_ARRIVALS:
        return message_epochs(p, &p->k->arrivals);
    case VT_CLOCK_IDENTITY:
    case VT_CLOCK_MESSAGES:
        return message_epochs(p, &p->k->messages);
    default:
        return 0;
    }
}

/* ---- the bound, measured ---- */

struct probe {
    host_ns host;
    guest_tsc tsc;
    uint32_t cpu;
};

/* Readings in the window: views, else exchanges, else samples; thinned to MAX_PROBES. */
static size_t find_probes(const struct pass *p, struct probe *to)
{
    const struct vt_view_log *log = p->log;
    const struct vt_machine *m = p->k->m;
    const size_t total = log->nr_views       ? log->nr_views
                         : log->nr_exchanges ? log->nr_exchanges
                                             : m->nr_samples;
    const size_t every = total / MAX_PROBES + 1;
    size_t n = 0;
    for (size_t i = 0; i < total; i += every) {
        struct probe one;
        if (log->nr_views)
            one = (struct probe){ log->views[i].host, { log->views[i].view.tsc[0] }, log->views[i].view.cpu };
        else if (log->nr_exchanges)
            one = (struct probe){ log->exchanges[i].received, log->exchanges[i].tsc_received, 0 };
        else
            one = (struct probe){ m->samples[i].host,
                                  { m->samples[i].clocks.tsc_after },
                                  m->samples[i].clocks.vcpu };
        if (within(p, one.host))
            to[n++] = one;
    }
    return n;
}

static void measure_method(const struct pass *p, enum vt_clock_method method, const struct probe *probe,
                           size_t n, uint64_t *scratch)
{
    struct vt_clock_method_report *r = &p->ret->methods[method];
    size_t got = 0;
    host_ns at;
    for (size_t i = 0; i < n; i++)
        got +=
            !vt_machine_clock_by(p->k, method, probe[i].cpu, probe[i].tsc, probe[i].host, &at, &scratch[got]);
    r->samples = got;
    if (!got)
        return;
    qsort(scratch, got, sizeof(*scratch), by_value);
    r->median_ns = scratch[got / 2];
    r->max_ns = scratch[got - 1];
}

static void measure_intervals(const struct pass *p, const struct probe *probe, size_t n, uint64_t *scratch)
{
    for (size_t i = 0; i < n;) {
        struct vt_clock_interval *v = interval_of(p, probe[i].host);
        size_t got = 0;
        host_ns at;
        for (; i < n && interval_of(p, probe[i].host) == v; i++)
            got +=
                !vt_machine_clock_to_ns(p->k, probe[i].cpu, probe[i].tsc, probe[i].host, &at, &scratch[got]);
        if (!got || v->samples) /* probes are in order of time but for a hostile recording */
            continue;
        qsort(scratch, got, sizeof(*scratch), by_value);
        v->samples = got;
        v->median_ns = scratch[got / 2];
        v->max_ns = scratch[got - 1];
    }
}

/* The exact map is the truth: how far from it is the middle of the one by messages? */
static void measure_residual(const struct pass *p, const struct probe *probe, size_t n, uint64_t *scratch)
{
    struct vt_agent_clocks *r = p->ret;
    size_t got = 0;
    if (!p->k->usable[VT_CLOCK_MESSAGES] || p->k->method >= VT_CLOCK_MESSAGES)
        return;
    for (size_t i = 0; i < n; i++) {
        host_ns exact, middle;
        uint64_t a, b;
        if (vt_machine_clock_to_ns(p->k, probe[i].cpu, probe[i].tsc, probe[i].host, &exact, &a) ||
            vt_machine_clock_by(p->k, VT_CLOCK_MESSAGES, probe[i].cpu, probe[i].tsc, probe[i].host, &middle,
                                &b))
            continue;
        scratch[got] = exact.v > middle.v ? exact.v - middle.v : middle.v - exact.v;
        r->residual.inside += scratch[got++] <= vt_sum(a, b);
    }
    r->residual.samples = got;
    if (!got)
        return;
    qsort(scratch, got, sizeof(*scratch), by_value);
    r->residual.median_ns = scratch[got / 2];
    r->residual.p99_ns = scratch[got - 1 - got / 100];
    r->residual.max_ns = scratch[got - 1];
}

static int measure(const struct pass *p)
{
    struct probe *probe = calloc(MAX_PROBES + 1, sizeof(*probe));
    uint64_t *scratch = calloc(MAX_PROBES + 1, sizeof(*scratch));
    if (!probe || !scratch) {
        free(probe);
        free(scratch);
        return -ENOMEM;
    }
    const size_t n = find_probes(p, probe);
    for (unsigned int i = 0; i < VT_NR_CLOCK_METHODS; i++) {
        struct vt_clock_method_report *r = &p->ret->methods[i];
        r->usable = p->k->usable[i];
        r->bounded = vt_clock_method_is_bounded(p->k, (enum vt_clock_method)i);
        r->reason = p->k->reason[i];
        r->violations = p->k->violations[i];
        measure_method(p, (enum vt_clock_method)i, probe, n, scratch);
    }
    measure_intervals(p, probe, n, scratch);
    measure_residual(p, probe, n, scratch);
    free(probe);
    free(scratch);
    return 0;
}

/* ---- the views ---- */

struct follow { /* one clock of the system, from view to view */
    bool has_last, has_base;
    uint64_t boots; /* changes of boot id so far, at the last view */
    uint64_t at, base_at, interval_at;
    int64_t off, base_off; /* guest's - host's, steps since the base taken off */
    uint64_t bound, base_bound;
    int64_t steps; /* sum since the base */
    struct vt_clock_interval *interval;
    int64_t interval_off;
    uint64_t interval_bound;
    bool interval_stepped;
};

struct reading {
    uint64_t at, bound; /* when, host ns */
    int64_t off;        /* guest's - host's */
};

/* When and how far from the host's clock: the TSC on both sides of the reading, and each one's bound. */
static bool read_clock(const struct pass *p, const struct vt_view_row *row, unsigned int clock,
                       struct reading *ret)
{
    const struct vtg_view *v = &row->view;
    host_ns a, b;
    uint64_t before, after;
    if (!(v->have & 1u << clock) || v->ns[clock] >> 63 ||
        vt_machine_clock_to_ns(p->k, v->cpu, (guest_tsc){ v->tsc[clock] }, row->host, &a, &before) ||
        vt_machine_clock_to_ns(p->k, v->cpu, (guest_tsc){ v->tsc[clock + 1] }, row->host, &b, &after))
        return false;
    if (b.v < a.v || b.v >> 62 || before >> 62 || after >> 62)
        return false;
    uint64_t host = a.v + (b.v - a.v) / 2;
    ret->at = host;
    ret->bound = (b.v - a.v) / 2 + 1 + vt_max(before, after);
    if (clock == VTG_OS_REALTIME || clock == VTG_OS_TAI)
        host += p->k->c->host.realtime_offset_ns;
    ret->off = (int64_t)(v->ns[clock] - host);
    return true;
}

static int step_event(struct pass *p, unsigned int clock, const struct reading *r, int64_t by, uint64_t bound)
{
    const struct vt_clock_event e = {
        { r->at }, VT_CLOCK_EVENT_VIEW, clock, by, bound > INT64_MAX ? INT64_MAX : (int64_t)bound, 0, ""
    };
    return add_event(p, &e);
}

static double slope_ppm(int64_t rise, uint64_t run)
{
    return run ? (double)rise / (double)run * 1e6 : 0;
}

static void begin_following(struct follow *f, const struct reading *r)
{
    *f = (struct follow){
        .has_last = true, .has_base = true, .at = r->at, .base_at = r->at, .boots = f->boots
    };
    f->off = f->base_off = r->off;
    f->bound = f->base_bound = r->bound;
}

/* 1: stepped since the last view by *ret_by; 0: not. */
static bool stepped(const struct follow *f, const struct reading *r, int64_t *ret_by, uint64_t *ret_bound)
{
    const uint64_t dt = r->at > f->at ? r->at - f->at : 0, slew = dt / 1000000 * SLEW_PPM + SLEW_PPM;
    *ret_by = (int64_t)((uint64_t)r->off - (uint64_t)f->off);
    *ret_bound = vt_sum(vt_sum(r->bound, f->bound), slew);
    const uint64_t size = *ret_by < 0 ? 0 - (uint64_t)*ret_by : (uint64_t)*ret_by;
    return size > vt_sum(*ret_bound, STEP_LEAST_NS);
}

static void follow_interval(const struct pass *p, struct follow *f, unsigned int clock,
                            const struct reading *r, bool step)
{
    struct vt_clock_interval *v = interval_of(p, (host_ns){ r->at });
    if (!v)
        return;
    if (f->interval != v) {
        f->interval = v;
        f->interval_at = r->at;
        f->interval_off = r->off;
        f->interval_bound = r->bound;
        f->interval_stepped = false;
    }
    f->interval_stepped |= step && f->interval_at != r->at;
    v->known[clock] = true;
    v->offset_ns[clock] = r->off;
    v->has_drift[clock] = !f->interval_stepped && r->at > f->interval_at + p->width / 4;
    v->drift_ppm[clock] =
        slope_ppm((int64_t)((uint64_t)r->off - (uint64_t)f->interval_off), r->at - f->interval_at);
}

static int follow_clock(struct pass *p, struct follow *f, unsigned int clock, const struct reading *r)
{
    struct vt_os_clock_figures *to = &p->ret->os[clock];
    int64_t by = 0;
    uint64_t bound;
    int error = 0;
    const bool first = !f->has_last, step = !first && stepped(f, r, &by, &bound);
    if (first)
        begin_following(f, r);
    if (step) {
        to->steps++;
        to->stepped_ns = (int64_t)((uint64_t)to->stepped_ns + (uint64_t)by);
        f->steps = (int64_t)((uint64_t)f->steps + (uint64_t)by);
        error = step_event(p, clock, r, by, bound);
    }
    if (!to->views++) {
        to->first_ns = r->off;
        to->first_bound_ns = r->bound;
    }
    to->last_ns = f->off = r->off;
    to->last_bound_ns = f->bound = r->bound;
    f->at = r->at;
    if (r->at > f->base_at) { /* of the guest's last boot in the window */
        const uint64_t run = r->at - f->base_at;
        to->has_drift = true;
        to->drift_ppm =
            slope_ppm((int64_t)((uint64_t)r->off - (uint64_t)f->base_off - (uint64_t)f->steps), run);
        to->drift_bound_ppm = (double)vt_sum(r->bound, f->base_bound) / (double)run * 1e6;
    }
    follow_interval(p, f, clock, r, step);
    return error;
}

/* ---- how MONOTONIC is slewed: against MONOTONIC_RAW, which never is ---- */

/*
 * Both are read in one view, so that the map's bound does not matter: their difference is known to the width
 * of the two readings. While the rate stays what it is, all differences since `base` allow a rate in common;
 * where one allows none, the rate is another from there on.
 */
struct slew {
    bool has_base, has_told;
    uint64_t boots, base_raw, last_raw, base_u;
    int64_t base_d;
    host_ns from;
    double least, most; /* what all allow, in parts of one */
    double told, told_half;
    size_t source; /* the next event that may tell of another clocksource */
};

/* Less is what the kernel's own rounding of a clock's rate may do. */
#define SLEW_LEAST_PPM 5.0
/* A rate of a shorter stretch is known too badly to be told. */
#define SLEW_LEAST_NS (VT_NSEC_PER_SEC / 4)
#define MAX_SLEWS     64u

/*
 * An agent looks for another clocksource each second (guest-agent/agent.c: slow_round()), so it came up
 * to so long before it was told. With it MONOTONIC runs without NTP's rate until the next tick
 * (tk_setup_internals(), kernel/time/timekeeping.c, 6.18): a step of a microsecond, too small for
 * any view to show, which would be taken for a part of the rate.
 */
#define SOURCE_LOOK_NS (VT_NSEC_PER_SEC * 3 / 2)

/* Did another clocksource come within that time after the view?  Views and events come by time. */
static bool source_changes_after(const struct pass *p, const struct vt_view_row *row, size_t *cursor)
{
    const struct vt_view_log *log = p->log;
    for (; *cursor < log->nr_events; (*cursor)++) {
        const struct vt_event_row *e = &log->events[*cursor];
        if (e->event.kind == VTG_EVENT_CLOCKSOURCE && e->host.v >= row->host.v)
            return e->host.v - row->host.v < SOURCE_LOOK_NS;
    }
    return false;
}

/* The difference at one instant lies within ± *ret_u of *ret_d. */
static bool read_slew(const struct pass *p, const struct vt_view_row *row, host_ns *ret_at, int64_t *ret_d,
                      uint64_t *ret_u)
{
    const struct vtg_view *v = &row->view;
    const uint32_t need = 1u << VTG_OS_MONOTONIC | 1u << VTG_OS_RAW;
    host_ns b;
    uint64_t bound;
    _Static_assert(VTG_OS_RAW == VTG_OS_MONOTONIC + 1, "one is read right after the other");
    if ((v->have & need) != need || v->ns[VTG_OS_MONOTONIC] >> 62 || v->ns[VTG_OS_RAW] >> 62 ||
        vt_machine_clock_to_ns(p->k, v->cpu, (guest_tsc){ v->tsc[VTG_OS_MONOTONIC] }, row->host, ret_at,
                               &bound) ||
        vt_machine_clock_to_ns(p->k, v->cpu, (guest_tsc){ v->tsc[VTG_OS_RAW + 1] }, row->host, &b, &bound) ||
        b.v < ret_at->v || b.v - ret_at->v > VT_NSEC_PER_SEC)
        return false;
    *ret_u = (b.v - ret_at->v) / 2 + 1;
    *ret_d = (int64_t)(v->ns[VTG_OS_MONOTONIC] - v->ns[VTG_OS_RAW] + *ret_u);
    return true;
}

static void begin_slew(struct slew *s, host_ns at, uint64_t raw, int64_t d, uint64_t u)
{
    s->has_base = true;
    s->from = at;
    s->base_raw = s->last_raw = raw;
    s->base_d = d;
    s->base_u = u;
    s->least = -1;
    s->most = 1;
}

/* The rate since the base is over: if it is another than the one before, that is an event. */
static int end_slew(struct pass *p, struct slew *s, unsigned int *told)
{
    const double middle = (s->least + s->most) / 2, half = s->most > s->least ? (s->most - s->least) / 2 : 0;
    const double apart = middle > s->told ? middle - s->told : s->told - middle;
    if (!s->has_base || s->last_raw - s->base_raw < SLEW_LEAST_NS || half > 0.5)
        return 0;
    const bool other = s->has_told && apart > half + s->told_half + SLEW_LEAST_PPM / 1e6;
    if (s->has_told && !other)
        return 0;
    s->has_told = true; /* the first one is how it was found */
    s->told = middle;
    s->told_half = half;
    if (!other || *told == MAX_SLEWS)
        return 0;
    (*told)++;
    const struct vt_clock_event e = {
        s->from, VT_CLOCK_EVENT_SLEW, VTG_OS_MONOTONIC, (int64_t)(middle * 1e9), (int64_t)(half * 1e9), 0, ""
    };
    return add_event(p, &e);
}

static int follow_rate(struct pass *p, struct slew *s, const struct vt_view_row *row, uint64_t boots,
                       unsigned int *told)
{
    const uint64_t raw = row->view.ns[VTG_OS_RAW];
    host_ns at;
    int64_t d;
    uint64_t u;
    if (!read_slew(p, row, &at, &d, &u))
        return 0;
    if (s->boots != boots || (s->has_base && raw <= s->last_raw)) {
        int error = end_slew(p, s, told);
        if (error)
            return error;
        *s = (struct slew){ .source = s->source };
    }
    s->boots = boots;
    if (!s->has_base) {
        begin_slew(s, at, raw, d, u);
        return 0;
    }
    const double run = (double)(raw - s->base_raw), rise = (double)(d - s->base_d);
    const double least = (rise - (double)u - (double)s->base_u) / run;
    const double most = (rise + (double)u + (double)s->base_u) / run;
    if (least > s->most || most < s->least) {
        int error = end_slew(p, s, told);
        begin_slew(s, at, raw, d, u);
        return error;
    }
    s->least = least > s->least ? least : s->least;
    s->most = most < s->most ? most : s->most;
    s->last_raw = raw;
    return 0;
}

static int follow_slew(struct pass *p, struct slew *s, const struct vt_view_row *row, uint64_t boots,
                       unsigned int *told)
{
    if (!source_changes_after(p, row, &s->source))
        return follow_rate(p, s, row, boots, told);
    const int error = end_slew(p, s, told); /* the rate until here; the next begins after the change */
    s->has_base = false;
    return error;
}

/* How often the guest has booted anew until then, as far as its agents said. */
static uint64_t boots_until(const struct vt_view_log *log, host_ns at, size_t *cursor, uint64_t *boots)
{
    while (*cursor < log->nr_systems && (log->systems[*cursor].host.v <= at.v ||
                                         vt_machine_heard(log, &log->systems[*cursor]).v <= at.v)) {
        const size_t i = (*cursor)++;
        if (i && memcmp(log->systems[i].system.boot_id, log->systems[i - 1].system.boot_id,
                        sizeof(log->systems[i].system.boot_id)) != 0)
            (*boots)++;
    }
    return *boots;
}

static int fill_views(struct pass *p)
{
    struct follow follow[VTG_NR_OS_CLOCKS] = { 0 };
    size_t cursor = 0;
    uint64_t boots = 0;
    struct slew slew = { 0 };
    unsigned int slews = 0;
    for (size_t i = 0; i < p->log->nr_views; i++) {
        const struct vt_view_row *row = &p->log->views[i];
        bool mapped = false;
        const uint64_t boot = boots_until(p->log, row->host, &cursor, &boots);
        if (!within(p, row->host))
            continue;
        p->ret->views++;
        p->ret->last_view = row->view;
        int error = follow_slew(p, &slew, row, boot, &slews);
        if (error)
            return error;
        for (unsigned int c = 0; c < VTG_NR_OS_CLOCKS; c++) {
            struct reading r;
            if (!read_clock(p, row, c, &r))
                continue;
            mapped = true;
            if (follow[c].boots != boot) /* another boot: its clocks began anew, that is no step */
                follow[c] = (struct follow){ .boots = boot };
            error = follow_clock(p, &follow[c], c, &r);
            if (error)
                return error;
        }
        p->ret->unmapped += !mapped;
    }
    return end_slew(p, &slew, &slews);
}

/* ---- /proc/stat ---- */

static int by_cpu(const void *a, const void *b)
{
    const struct vt_cpu_row *const *x = a, *const *y = b;
    if ((*x)->time.cpu != (*y)->time.cpu)
        return (*x)->time.cpu < (*y)->time.cpu ? -1 : 1;
    return (*x > *y) - (*x < *y); /* as they came */
}

static uint64_t grew(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

static void add_growth(struct vtg_cpu_time *all, const struct vtg_cpu_time *from,
                       const struct vtg_cpu_time *to)
{
    all->user = vt_sum(all->user, grew(from->user, to->user));
    all->nice = vt_sum(all->nice, grew(from->nice, to->nice));
    all->system = vt_sum(all->system, grew(from->system, to->system));
    all->idle = vt_sum(all->idle, grew(from->idle, to->idle));
    all->iowait = vt_sum(all->iowait, grew(from->iowait, to->iowait));
    all->irq = vt_sum(all->irq, grew(from->irq, to->irq));
    all->softirq = vt_sum(all->softirq, grew(from->softirq, to->softirq));
    all->steal = vt_sum(all->steal, grew(from->steal, to->steal));
    all->guest = vt_sum(all->guest, grew(from->guest, to->guest));
}

/* From reading to reading, so that a reboot between two costs that stretch only. */
static int fill_stat(struct pass *p)
{
    const struct vt_cpu_row **rows = calloc(p->log->nr_cpus + 1, sizeof(*rows));
    size_t n = 0, first = 0;
    if (!rows)
        return -ENOMEM;
    for (size_t i = 0; i < p->log->nr_cpus; i++)
        if (within(p, p->log->cpus[i].host))
            rows[n++] = &p->log->cpus[i];
    if (n)
        qsort(rows, n, sizeof(*rows), by_cpu);
    for (size_t i = 0; i < n; i++) {
        if (!i || rows[i]->time.cpu != rows[i - 1]->time.cpu) {
            first = i;
            p->ret->stat_cpus++;
            continue;
        }
        add_growth(&p->ret->stat, &rows[i - 1]->time, &rows[i]->time);
        p->ret->stat_ns = vt_max(p->ret->stat_ns, rows[i]->host.v - rows[first]->host.v);
    }
    free(rows);
    return 0;
}

/* ---- all of it ---- */

/* For how long nothing had come of a session when the next one was heard of. */
static int64_t silence_before(const struct vt_view_log *log, uint64_t session, host_ns at)
{
    uint64_t last = 0;
    for (size_t i = 0; i < log->nr_exchanges; i++)
        if (log->exchanges[i].session == session && log->exchanges[i].received.v <= at.v)
            last = vt_max(last, log->exchanges[i].received.v);
    return last ? (int64_t)(at.v - last) : 0;
}

/* When the first word of a session was there: its answer to a question, or what it said. */
static host_ns first_word(const struct vt_view_log *log, const struct vt_system_row *s)
{
    host_ns first = s->host;
    for (size_t i = 0; i < log->nr_exchanges; i++)
        if (log->exchanges[i].session == s->system.session && log->exchanges[i].received.v < first.v)
            first = log->exchanges[i].received;
    return first;
}

/* Another agent than before: of the same boot, or of another. */
static int add_system_events(struct pass *p)
{
    const struct vt_view_log *log = p->log;
    for (size_t i = 1; i < log->nr_systems; i++) {
        const struct vtg_system *was = &log->systems[i - 1].system, *is = &log->systems[i].system;
        const bool booted = memcmp(was->boot_id, is->boot_id, sizeof(is->boot_id)) != 0;
        const host_ns at = first_word(log, &log->systems[i]);
        if (is->session == was->session || !within(p, at) || p->ret->nr_events >= 2 * VT_MAX_CLOCK_EVENTS)
            continue;
        const struct vt_clock_event e = { at,
                                          VT_CLOCK_EVENT_SYSTEM,
                                          booted ? VT_SYSTEM_BOOTED : VT_SYSTEM_RESTARTED,
                                          silence_before(log, was->session, at),
                                          0,
                                          0,
                                          "" };
        int error = add_event(p, &e);
        if (error)
            return error;
    }
    if (!p->k->m->tasks.overlaps || !within(p, p->k->m->tasks.overlapped))
        return 0;
    const uint64_t n = p->k->m->tasks.overlaps;
    const struct vt_clock_event e = { p->k->m->tasks.overlapped,
                                      VT_CLOCK_EVENT_SYSTEM,
                                      VT_SYSTEM_OVERLAPS,
                                      n > INT64_MAX ? INT64_MAX : (int64_t)n,
                                      0,
                                      0,
                                      "" };
    return add_event(p, &e);
}

static void fill_sessions(struct pass *p)
{
    struct vt_agent_clocks *r = p->ret;
    const struct vtg_system *last = NULL;
    for (size_t i = 0; i < p->log->nr_systems && p->log->systems[i].host.v <= p->window.to.v; i++) {
        const struct vtg_system *s = &p->log->systems[i].system;
        const bool shown = within(p, p->log->systems[i].host);
        r->sessions += shown && (!last || last->session != s->session);
        r->boots += shown && (!last || memcmp(last->boot_id, s->boot_id, sizeof(s->boot_id)) != 0);
        last = s;
    }
    if (last)
        r->system = *last;
}

static int fill_exchanges(struct pass *p)
{
    const struct vt_view_log *log = p->log;
    uint64_t *trip = calloc(log->nr_exchanges + 1, sizeof(*trip));
    size_t n = 0;
    if (!trip)
        return -ENOMEM;
    for (size_t i = 0; i < log->nr_exchanges; i++)
        if (within(p, log->exchanges[i].received))
            trip[n++] = log->exchanges[i].received.v - log->exchanges[i].sent.v;
    p->ret->exchanges = n;
    if (n) {
        qsort(trip, n, sizeof(*trip), by_value);
        p->ret->fastest_ns = trip[0];
        p->ret->typical_ns = trip[n / 2];
    }
    free(trip);
    return 0;
}

static int make_intervals(struct pass *p)
{
    struct vt_agent_clocks *r = p->ret;
    const uint64_t length = p->window.to.v - p->window.from.v;
    p->width = vt_max(length / VT_MAX_CLOCK_INTERVALS + 1, VT_NSEC_PER_SEC);
    r->nr_intervals = (size_t)vt_max(length / p->width, 1); /* the last one is longer */
    r->intervals = calloc(r->nr_intervals + 1, sizeof(*r->intervals));
    for (size_t i = 0; r->intervals && i < r->nr_intervals; i++) {
        r->intervals[i].window.from.v = p->window.from.v + i * p->width;
        r->intervals[i].window.to.v =
            i + 1 < r->nr_intervals ? r->intervals[i].window.from.v + p->width : p->window.to.v;
    }
    return r->intervals ? 0 : -ENOMEM;
}

static int fill(struct pass *p)
{
    static int (*const parts[])(struct pass *) = {
        make_intervals,   fill_exchanges,     fill_epochs,       fill_views,
        add_agent_events, add_channel_events, add_system_events, fill_stat,
    };
    fill_sessions(p);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        int error = parts[i](p);
        if (error)
            return error;
    }
    cut_events(p->ret);
    return measure(p);
}

int vt_agent_clocks_fill(const struct vt_machine_clock *k, struct vt_window window,
                         struct vt_agent_clocks **ret)
{
    *ret = NULL;
    if (vt_view_log_is_empty(&k->m->said))
        return 0;
    struct pass p = { .k = k, .log = &k->m->said, .window = window };
    p.ret = calloc(1, sizeof(*p.ret));
    if (!p.ret)
        return -ENOMEM;
    p.ret->method = k->method;
    p.ret->refused = k->refused ? k->refused : "";
    p.ret->apart = k->apart;
    p.ret->absurd = k->messages.absurd;
    p.ret->ignored = k->messages.ignored;
    int error = fill(&p);
    if (error) {
        vt_agent_clocks_free(p.ret);
        return error;
    }
    *ret = p.ret;
    return 0;
}

void vt_agent_clocks_free(struct vt_agent_clocks *clocks)
{
    if (!clocks)
        return;
    free(clocks->epochs);
    free(clocks->intervals);
    free(clocks->events);
    free(clocks);
}

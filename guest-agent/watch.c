/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/watch.h"

#include <stdio.h>
#include <string.h>

#include "guest-agent/clocks.h"
#include "guest-agent/readtext.h"

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define ONLINE      "/sys/devices/system/cpu/online"

/* A clock that moved by less is one that NTP holds, or was read unluckily. */
#define STEP_LEAST_NS    1000u
#define SUSPEND_LEAST_NS 1000000u

static bool read_line(const char *path, char *out, size_t n)
{
    if (vta_read_text(path, out, n) <= 0)
        return false;
    out[strcspn(out, "\n")] = 0;
    return true;
}

void vta_watch_begin(struct vta_watch *w)
{
    char text[1024];
    memset(w, 0, sizeof(*w));
    read_line(CLOCKSOURCE, w->clocksource, sizeof(w->clocksource));
    if (read_line(ONLINE, text, sizeof(text)))
        vta_parse_cpu_list(text, &w->online);
}

/* Between its two readings of the TSC, how long did the reading of this clock take? */
static double width_ns(const struct vta_watch *w, const struct vtg_view *v, enum vtg_os_clock a,
                       enum vtg_os_clock b)
{
    const enum vtg_os_clock low = a < b ? a : b, high = a < b ? b : a;
    const double ticks = (double)(w->last.tsc[0] - w->first.tsc[0]);
    const double ns = (double)(w->last.ns[VTG_OS_MONOTONIC] - w->first.ns[VTG_OS_MONOTONIC]);
    return ticks > 0 ? (double)(v->tsc[high + 1] - v->tsc[low]) * ns / ticks : 0;
}

int64_t vta_watch_growth(const struct vta_watch *w, const struct vtg_view *a, const struct vtg_view *b,
                         enum vtg_os_clock fast, enum vtg_os_clock slow, uint64_t *ret_bound)
{
    *ret_bound = (uint64_t)(width_ns(w, a, fast, slow) + width_ns(w, b, fast, slow));
    return (int64_t)(b->ns[fast] - b->ns[slow]) - (int64_t)(a->ns[fast] - a->ns[slow]);
}

static void say(vta_event_sink *sink, void *context, enum vtg_event_kind kind, int64_t a, int64_t b)
{
    const struct vtg_event event = { .tsc = vta_tsc(), .kind = kind, .a = a, .b = b };
    sink(context, &event);
}

/* The frequency is what adjtimex(2) was told of it; a tick of another length is a frequency, too. */
static void say_ntp(const struct vta_watch *w, const struct vtg_view *v, vta_event_sink *sink, void *context)
{
    struct vtg_event event = {
        .tsc = v->tsc[0], .kind = VTG_EVENT_NTP, .a = v->ntp_status, .b = v->ntp_freq
    };
    if (v->ntp_status == w->last.ntp_status && v->ntp_freq == w->last.ntp_freq &&
        v->ntp_tick_us == w->last.ntp_tick_us)
        return;
    snprintf(event.text, sizeof(event.text), "%u", v->ntp_tick_us);
    sink(context, &event);
}

/* BOOTTIME goes on in a suspend and is slewed like REALTIME: what is left is a step. 0: too
 * small to tell, or nothing to compare with. */
static int64_t step_until(const struct vta_watch *w, const struct vtg_view *view)
{
    uint64_t bound;
    if (!w->has_view || !vta_view_has(view, VTG_OS_BOOTTIME))
        return 0;
    const int64_t step = vta_watch_growth(w, &w->last, view, VTG_OS_REALTIME, VTG_OS_BOOTTIME, &bound);
    const uint64_t size = step < 0 ? (uint64_t)-step : (uint64_t)step;
    return size <= bound + STEP_LEAST_NS ? 0 : step;
}

bool vta_watch_may_be_set(const struct vta_watch *w, const struct vtg_view *view)
{
    return step_until(w, view) != 0 || w->unsaid;
}

static bool look_for_steps(struct vta_watch *w, const struct vtg_view *view, bool was_set,
                           vta_event_sink *sink, void *context)
{
    uint64_t bound;
    if (!vta_view_has(view, VTG_OS_BOOTTIME))
        return false;
    const int64_t slept = vta_watch_growth(w, &w->last, view, VTG_OS_BOOTTIME, VTG_OS_MONOTONIC, &bound);
    if (slept > (int64_t)(bound + SUSPEND_LEAST_NS))
        say(sink, context, VTG_EVENT_SUSPEND, slept, 0);
    /* a view may come between the step and the kernel's word of it: then the next one has that */
    const int64_t seen = step_until(w, view), step = seen + w->unsaid;
    w->unsaid = was_set ? 0 : seen;
    if (!was_set || !step)
        return false;
    say(sink, context, VTG_EVENT_STEP, step, 0);
    return true;
}

bool vta_watch_view(struct vta_watch *w, const struct vtg_view *view, bool was_set, vta_event_sink *sink,
                    void *context)
{
    bool stepped = false;
    if (!w->has_view) {
        w->first = *view;
    } else {
        stepped = look_for_steps(w, view, was_set, sink, context);
        say_ntp(w, view, sink, context);
    }
    w->has_view = true;
    w->last = *view;
    return stepped;
}

static bool clocksource_changed(struct vta_watch *w, vta_event_sink *sink, void *context)
{
    char now[sizeof(w->clocksource)] = "";
    struct vtg_event event = { .kind = VTG_EVENT_CLOCKSOURCE };
    if (!read_line(CLOCKSOURCE, now, sizeof(now)) || strcmp(now, w->clocksource) == 0)
        return false;
    event.tsc = vta_tsc();
    snprintf(event.text, sizeof(event.text), "%s %s", w->clocksource, now);
    sink(context, &event);
    memcpy(w->clocksource, now, sizeof(now));
    return true;
}

static bool cpus_changed(struct vta_watch *w, vta_event_sink *sink, void *context)
{
    char text[1024];
    struct vta_cpu_set online;
    bool changed = false;
    if (!read_line(ONLINE, text, sizeof(text)) || !vta_parse_cpu_list(text, &online))
        return false;
    for (uint32_t cpu = 0; cpu < VTA_CPUS_MOST; cpu++) {
        const bool is = vta_cpu_isset(&online, cpu);
        const struct vtg_event event = { .tsc = vta_tsc(), .kind = VTG_EVENT_CPU, .cpu = cpu, .a = is };
        if (is == vta_cpu_isset(&w->online, cpu))
            continue;
        sink(context, &event);
        changed = true;
    }
    w->online = online;
    return changed;
}

bool vta_watch_files(struct vta_watch *w, vta_event_sink *sink, void *context)
{
    const bool clocksource = clocksource_changed(w, sink, context);
    const bool cpus = cpus_changed(w, sink, context);
    return clocksource || cpus;
}

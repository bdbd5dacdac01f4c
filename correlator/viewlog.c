/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/viewlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

/* Of one VM: a guest that floods its channel hurts its own rows only. */
#define MAX_EXCHANGES 32768u
#define MAX_ARRIVALS  65536u
#define MAX_SYSTEMS   256u
#define MAX_VIEWS     16384u
#define MAX_CPUS      16384u
#define MAX_EVENTS    4096u

/* Segments of the map are 60 s long: what is just before the limit still tells of what is after. */
#define MAP_REACH (60 * VT_NSEC_PER_SEC)

#define GROW(s, x) vt_grow((void **)&(s)->x, &(s)->room_##x, (s)->nr_##x, sizeof(*(s)->x))

/* The oldest half goes. */
#define HALVE(s, x)                                                                                          \
    do {                                                                                                     \
        const size_t half_ = (s)->nr_##x / 2;                                                                \
        memmove((s)->x, (s)->x + half_, ((s)->nr_##x - half_) * sizeof(*(s)->x));                            \
        (s)->nr_##x -= half_;                                                                                \
    } while (0)

/* Every second one goes, the first stays. */
#define THIN(s, x)                                                                                           \
    do {                                                                                                     \
        for (size_t i_ = 0; 2 * i_ < (s)->nr_##x; i_++)                                                      \
            (s)->x[i_] = (s)->x[2 * i_];                                                                     \
        (s)->nr_##x = ((s)->nr_##x + 1) / 2;                                                                 \
    } while (0)

#define FORGET(s, x, time, before)                                                                           \
    do {                                                                                                     \
        size_t n_ = 0;                                                                                       \
        while (n_ < (s)->nr_##x && (s)->x[n_].time.v < (before))                                             \
            n_++;                                                                                            \
        (s)->nr_##x -= n_;                                                                                   \
        if (n_)                                                                                              \
            memmove((s)->x, (s)->x + n_, (s)->nr_##x * sizeof(*(s)->x));                                     \
    } while (0)

static int keep_arrival(struct vt_view_log *log, const struct vt_guest_record *row, uint64_t tsc)
{
    if (log->nr_arrivals >= MAX_ARRIVALS)
        THIN(log, arrivals);
    int r = GROW(log, arrivals);
    if (!r)
        log->arrivals[log->nr_arrivals++] = (struct vt_arrival){ row->host, row->host_tsc, { tsc } };
    return r;
}

static int keep_system(struct vt_view_log *log, const struct vt_guest_record *row)
{
    if (log->nr_systems >= MAX_SYSTEMS)
        HALVE(log, systems);
    int r = GROW(log, systems);
    if (!r)
        log->systems[log->nr_systems++] = (struct vt_system_row){ row->host, row->system };
    return r;
}

static int keep_view(struct vt_view_log *log, const struct vt_guest_record *row)
{
    if (log->nr_views >= MAX_VIEWS)
        THIN(log, views);
    int r = GROW(log, views);
    if (!r)
        log->views[log->nr_views++] = (struct vt_view_row){ row->host, row->view };
    return r ? r : keep_arrival(log, row, row->view.tsc[VTG_NR_OS_CLOCKS]);
}

/* As thin_samples() in rows.c: of each CPU every second one, and about half whatever the guest calls them. */
static void thin_cpus(struct vt_view_log *log)
{
    bool drop_next[1024] = { false };
    size_t kept = 0;
    for (size_t i = 0; i < log->nr_cpus; i++) {
        bool *drop = &drop_next[log->cpus[i].time.cpu % 1024];
        if (!*drop)
            log->cpus[kept++] = log->cpus[i];
        *drop = !*drop;
    }
    log->nr_cpus = kept;
}

static int keep_cpus(struct vt_view_log *log, const struct vt_guest_record *row)
{
    const struct vtg_cpus *c = &row->cpus;
    for (uint32_t i = 0; i < c->nr && i < VTG_CPUS_MAX; i++) {
        if (log->nr_cpus >= MAX_CPUS)
            thin_cpus(log);
        int r = GROW(log, cpus);
        if (r)
            return r;
        log->cpus[log->nr_cpus++] = (struct vt_cpu_row){ row->host, c->cpus[i] };
    }
    return keep_arrival(log, row, c->tsc_after);
}

static int keep_event(struct vt_view_log *log, const struct vt_guest_record *row)
{
    if (log->nr_events >= MAX_EVENTS)
        HALVE(log, events);
    int r = GROW(log, events);
    if (!r)
        log->events[log->nr_events++] = (struct vt_event_row){ row->host, row->event };
    return r ? r : keep_arrival(log, row, row->event.tsc);
}

int vt_view_log_record(struct vt_view_log *log, const struct vt_guest_record *row)
{
    switch (row->type) {
    case VTG_SYSTEM:
        return keep_system(log, row);
    case VTG_VIEW:
        return keep_view(log, row);
    case VTG_CPUS:
        return keep_cpus(log, row);
    case VTG_EVENT:
        return keep_event(log, row);
    default:
        return 0;
    }
}

static uint64_t round_trip(const struct vt_exchange *e)
{
    return e->received.v - e->sent.v;
}

/* Of two neighbours the quicker one stays: it bounds more. */
static void thin_exchanges(struct vt_view_log *log)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->nr_exchanges; i += 2) {
        const struct vt_exchange *e = &log->exchanges[i];
        const bool second = i + 1 < log->nr_exchanges && round_trip(&e[1]) < round_trip(&e[0]);
        log->exchanges[kept++] = e[second];
    }
    log->nr_exchanges = kept;
}

int vt_view_log_exchange(struct vt_view_log *log, const struct vt_exchange *row)
{
    if (row->received.v < row->sent.v || row->received_tsc.v < row->sent_tsc.v)
        return -EUCLEAN;
    if (log->nr_exchanges >= MAX_EXCHANGES)
        thin_exchanges(log);
    int r = GROW(log, exchanges);
    if (!r)
        log->exchanges[log->nr_exchanges++] = *row;
    return r;
}

int vt_view_log_channel_event(struct vt_view_log *log, const struct vt_channel_event *row)
{
    if ((unsigned int)row->kind >= VT_NR_CHANNEL_EVENTS)
        return -EUCLEAN;
    if (log->nr_channel >= MAX_EVENTS)
        HALVE(log, channel);
    int r = GROW(log, channel);
    if (!r)
        log->channel[log->nr_channel++] = *row;
    return r;
}

void vt_view_log_forget(struct vt_view_log *log, uint64_t before)
{
    const uint64_t map = before > MAP_REACH ? before - MAP_REACH : 0;
    FORGET(log, exchanges, sent, map);
    FORGET(log, arrivals, host, map);
    FORGET(log, views, host, before);
    FORGET(log, cpus, host, before);
    FORGET(log, events, host, before);
    FORGET(log, channel, at, before);
    /* the last one said before tells whose time it still is */
    size_t n = 0;
    while (n + 1 < log->nr_systems && log->systems[n + 1].host.v <= before)
        n++;
    log->nr_systems -= n;
    if (n)
        memmove(log->systems, log->systems + n, log->nr_systems * sizeof(*log->systems));
}

bool vt_view_log_is_empty(const struct vt_view_log *log)
{
    return !log->nr_exchanges && !log->nr_arrivals && !log->nr_systems && !log->nr_channel;
}

void vt_view_log_release(struct vt_view_log *log)
{
    free(log->exchanges);
    free(log->arrivals);
    free(log->systems);
    free(log->views);
    free(log->cpus);
    free(log->events);
    free(log->channel);
    *log = (struct vt_view_log){ 0 };
}

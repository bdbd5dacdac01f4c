/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an agent in a guest's system said, and what was exchanged with it.  Bounded
 * whatever it sends: the longer ago, the thinner.
 */
#ifndef VT_VIEWLOG_H
#define VT_VIEWLOG_H

#include <stddef.h>

#include "vt/record.h"

struct vt_arrival { /* the host had it: the TSC was read before */
    host_ns host;
    host_tsc host_tsc; /* 0: no trusted relay */
    guest_tsc tsc;
};

struct vt_system_row {
    host_ns host;
    struct vtg_system system;
};

struct vt_view_row {
    host_ns host;
    struct vtg_view view;
};

struct vt_cpu_row {
    host_ns host;
    struct vtg_cpu_time time;
};

struct vt_event_row {
    host_ns host;
    struct vtg_event event;
};

struct vt_view_log { /* all in order of arrival */
    struct vt_exchange *exchanges;
    size_t nr_exchanges, room_exchanges;
    struct vt_arrival *arrivals;
    size_t nr_arrivals, room_arrivals;
    struct vt_system_row *systems;
    size_t nr_systems, room_systems;
    struct vt_view_row *views;
    size_t nr_views, room_views;
    struct vt_cpu_row *cpus;
    size_t nr_cpus, room_cpus;
    struct vt_event_row *events;
    size_t nr_events, room_events;
    struct vt_channel_event *channel;
    size_t nr_channel, room_channel;
};

/** SYSTEM, VIEW, CPUS, EVENT are kept, others passed over. 0 or -ENOMEM. */
int vt_view_log_record(struct vt_view_log *log, const struct vt_guest_record *row);
/** 0, -ENOMEM, or -EUCLEAN if it was answered before it was asked. */
int vt_view_log_exchange(struct vt_view_log *log, const struct vt_exchange *row);
int vt_view_log_channel_event(struct vt_view_log *log, const struct vt_channel_event *row);
void vt_view_log_forget(struct vt_view_log *log, uint64_t before);
bool vt_view_log_is_empty(const struct vt_view_log *log);
void vt_view_log_release(struct vt_view_log *log);

#endif

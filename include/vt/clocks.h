/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of the clocks of a guest in which an agent ran: how its TSC became host
 * time, with which bound, and what its operating system's clocks said meanwhile.
 */
#ifndef VT_CLOCKS_H
#define VT_CLOCKS_H

#include "vt/record.h"

/** Ways from a guest's TSC to host time, best first. */
enum vt_clock_method {
    VT_CLOCK_KVM,      /* KVM's own offset and ratio: exact */
    VT_CLOCK_IDENTITY, /* the guest reads the host's TSC, and no exchange contradicts it */
    VT_CLOCK_MESSAGES, /* exchanges: bounded from two sides */
    VT_CLOCK_PVCLOCK,  /* pace by the pvclock page, offset by arrivals: an estimate without exchanges */
    VT_CLOCK_ARRIVALS, /* when the host had the records: an estimate */
    VT_NR_CLOCK_METHODS
};

struct vt_clock_method_report {
    bool usable;
    bool bounded;        /* the bound is certain; false: an estimate */
    const char *reason;  /* static: why it is not usable; "" if it is */
    uint64_t violations; /* of causality */
    uint64_t samples;    /* readings in the window at which its bound was measured */
    uint64_t median_ns, max_ns;
};

/** Between the changes that break the map. */
struct vt_clock_epoch {
    struct vt_window window;
    const char *reason; /* static: why it began; "": with the recording */
    uint64_t exchanges;
    bool has_offset;
    int64_t offset_ticks; /* guest TSC - host TSC at its begin, modulo 2^64 */
    uint64_t offset_bound;
    bool has_rate;
    double drift_ppm, drift_bound_ppm; /* of the guest's TSC against the host's */
    bool has_step;
    int64_t step_ns; /* at its begin: how far the guest's TSC went on more than time did */
    uint64_t step_bound_ns;
};

/** One clock of the guest's system against the host's: MONOTONIC, or REALTIME (for REALTIME, TAI). */
struct vt_os_clock_figures {
    uint64_t views;            /* 0: nothing is known */
    int64_t first_ns, last_ns; /* guest's - host's at the first and the last view */
    uint64_t first_bound_ns, last_bound_ns;
    bool has_drift;
    double drift_ppm, drift_bound_ppm; /* its steps left out */
    uint64_t steps;
    int64_t stepped_ns; /* sum of its steps */
};

#define VT_MAX_CLOCK_INTERVALS 32
struct vt_clock_interval {
    struct vt_window window;
    uint64_t samples, median_ns, max_ns; /* the map's bound */
    bool known[VTG_NR_OS_CLOCKS];
    int64_t offset_ns[VTG_NR_OS_CLOCKS]; /* at the last view in it */
    bool has_drift[VTG_NR_OS_CLOCKS];
    double drift_ppm[VTG_NR_OS_CLOCKS];
};

enum vt_clock_event_source {
    VT_CLOCK_EVENT_MAP,
    VT_CLOCK_EVENT_VIEW,
    VT_CLOCK_EVENT_AGENT,
    VT_CLOCK_EVENT_CHANNEL,
    VT_CLOCK_EVENT_SYSTEM, /* kind: enum vt_system_event; a: nothing had come from the old one for ns */
    VT_CLOCK_EVENT_SLEW,   /* MONOTONIC against MONOTONIC_RAW from here on: a parts in 10^9, within ± b */
};

enum vt_system_event {
    VT_SYSTEM_BOOTED,    /* another boot id */
    VT_SYSTEM_RESTARTED, /* the same boot, another agent */
    VT_SYSTEM_OVERLAPS,  /* a: so many frames tell of tasks on a vCPU on which others told were, too */
};

#define VT_MAX_CLOCK_EVENTS 1024 /* of one guest, the newest */
struct vt_clock_event {
    host_ns at;
    enum vt_clock_event_source source;
    uint32_t
        kind; /* AGENT: enum vtg_event_kind; CHANNEL: enum vt_channel_event_kind; VIEW: enum vtg_os_clock */
    int64_t a, b;  /* VIEW, MAP: stepped by ns, within ± b; CHANNEL: a is the count; AGENT: as it said */
    int64_t c;     /* AGENT's CPU: which; its AWAY: frames dropped meanwhile */
    char text[65]; /* hostile */
};

struct vt_agent_clocks {
    uint64_t sessions, boots;    /* agents' lives and guest boots in the window */
    struct vtg_system system;    /* the last one that was said; session 0: none */
    enum vt_clock_method method; /* VT_NR_CLOCK_METHODS: none */
    const char *refused;         /* static: why there is none */
    struct vt_clock_method_report methods[VT_NR_CLOCK_METHODS];
    bool apart;                      /* its vCPUs' TSCs are not one: KVM's offsets differ */
    uint64_t exchanges;              /* in the window */
    uint64_t absurd, ignored;        /* exchanges and arrivals that contradict others and were left out */
    uint64_t fastest_ns, typical_ns; /* round trips: the least and the median */
    size_t nr_epochs;
    struct vt_clock_epoch *epochs;
    size_t nr_intervals;
    struct vt_clock_interval *intervals;
    uint64_t views, unmapped; /* those whose TSC has no place in host time */
    struct vt_os_clock_figures os[VTG_NR_OS_CLOCKS];
    struct vtg_view last_view; /* NTP, uptime */
    /* The exact map beside the one by messages: how far apart, and is the bound kept? */
    struct {
        uint64_t samples, inside;
        uint64_t median_ns, p99_ns, max_ns;
    } residual;
    /* Growth of /proc/stat between the first and the last reading of each CPU in the window */
    uint32_t stat_cpus;
    uint64_t stat_ns; /* over which, of the CPU read longest */
    struct vtg_cpu_time stat;
    uint64_t agent_events[VTG_NR_EVENTS]; /* by enum vtg_event_kind */
    uint64_t missed_views, dropped_frames, away_ns;
    uint64_t channel_events[VT_NR_CHANNEL_EVENTS]; /* rows; and what they count */
    uint64_t channel_counts[VT_NR_CHANNEL_EVENTS];
    size_t nr_events;
    uint64_t events_left_out;
    struct vt_clock_event *events; /* by time */
};

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks as types.  A number read from one clock can't be added to, compared
 * with, or stored as a number of another: that is a compile error.  Only the
 * clock map (correlator/clockmap.h) converts.
 */
#ifndef VT_TIME_H
#define VT_TIME_H

#include <stdint.h>

/** CLOCK_MONOTONIC of this host, in ns; what bpf_ktime_get_ns() returns. */
typedef struct {
    uint64_t v;
} host_ns;

/** A guest's own clock (kvmclock, its MONOTONIC, its tick clock), in ns. */
typedef struct {
    uint64_t v;
} guest_ns;

/** The host's time stamp counter, in ticks. */
typedef struct {
    uint64_t v;
} host_tsc;

/** A guest's time stamp counter as the guest reads it, in ticks. */
typedef struct {
    uint64_t v;
} guest_tsc;

/** A half-open window [from, to) of host time. */
struct vt_window {
    host_ns from;
    host_ns to;
};

#define VT_NSEC_PER_SEC UINT64_C(1000000000)

#endif

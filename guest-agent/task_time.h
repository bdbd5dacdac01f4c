/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a clock of the guest's kernel to its TSC, by pairs of both that are read
 * before and after what is to be converted.
 */
#ifndef VTA_TASK_TIME_H
#define VTA_TASK_TIME_H

#include <stdint.h>
#include <time.h>

/* In order: not before what precedes it, not after what follows. */
static inline uint64_t vta_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* The clock read `ns` at `tsc`, to +- slack ticks. */
struct vta_pair {
    uint64_t tsc, ns;
    uint64_t slack;
};

/** Reads until the two reads of the TSC around the clock are near each other, at most some dozen times. */
struct vta_pair vta_pair_read(clockid_t clock);

/* A stretch of time between two pairs (after.ns > before.ns). */
struct vta_span {
    struct vta_pair before, after;
};

/**
 * The TSC when the clock read ns, along the straight line through both pairs; beyond
 * them it goes on.  It is off by no more than the greater slack, where the
 * clock's rate against the TSC is one and the same in the span (CLOCK_MONOTONIC_RAW);
 * CLOCK_MONOTONIC's changes by up to 500 ppm where NTP slews it: by a quarter of
 * the span's length times the change more.
 */
uint64_t vta_span_tsc(const struct vta_span *s, uint64_t ns);

/** A duration: ticks. */
uint64_t vta_span_ticks(const struct vta_span *s, uint64_t ns);

/** How far off vta_span_tsc() may be, ticks; `before` is the span before it, for the change of rate; zeroed:
 * there is none. */
uint64_t vta_span_bound(const struct vta_span *s, const struct vta_span *before);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A corridor between two clocks x and y: all straight lines y(x) that causality
 * allows.  A point of LOW says that the line is not below it, one of HIGH that it is
 * not above it.  Only the hull of each side matters (lower bounds: their upper hull),
 * which is what makes it robust: a late message is just a weak bound.
 *
 * The true curve need not be straight: its slope may change by VT_WANDER_PPB each
 * second of y.  The tangent in the middle of the segment then misses it by no more
 * than the wander at that distance, by which each point is eased when it comes and
 * each answer widened: the interval is certain wherever it is asked for.
 *
 * Integers only, rounded outward; any x and y may come, what lies too far from the
 * origin is refused.
 */
#ifndef VT_CORRIDOR_H
#define VT_CORRIDOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Slopes are y per x in units of 2^-40: one of them, over the longest reach, is 64 ticks. */
#define VT_SLOPE_BITS 40
#define VT_SLOPE_ONE  (INT64_C(1) << VT_SLOPE_BITS)
/* A clock of a sixty-fourth to 64 times the other's frequency. */
#define VT_SLOPE_LEAST (VT_SLOPE_ONE >> 6)
#define VT_SLOPE_MOST  (VT_SLOPE_ONE << 6)
/* Ticks from the origin: 2^46 are hours at any frequency; products stay below 2^126. */
#define VT_REACH (INT64_C(1) << 46)

/*
 * How fast the ratio of two hardware counters may change, parts in 10^9 per second.
 * Counters of one machine share an oscillator and don't; of two, quartz moves by about
 * 0.1 ppm/K, and a board by about 1 K a minute.
 */
#define VT_WANDER_PPB 2u

struct vt_fix { /* x was read, and y bounds when */
    uint64_t x, y;
};

struct vt_vertex { /* from the segment's origin */
    int64_t x, y;
};

struct vt_hull { /* of upper bounds by x; lower bounds are kept with -y */
    struct vt_vertex *v;
    size_t n;
};

struct vt_corridor {
    struct vt_fix origin;
    struct vt_hull low, high;
    int64_t slope_least, slope_most; /* of the lines that fit */
    int64_t from, to;                /* x of the outermost points */
    uint64_t y_hz;
    bool empty; /* no line fits: the points contradict each other */
};

struct vt_slopes {
    int64_t least, most;
};

/**
 * The lines through n_low and n_high points (sorted by x; either may be none), seen from
 * origin, whose slope is within limits.  What is beyond reach is left out: then, and if
 * no line fits, the segment is empty.  0 or -ENOMEM.
 */
int vt_corridor_build(struct vt_corridor *s, struct vt_fix origin, const struct vt_fix *low, size_t n_low,
                      const struct vt_fix *high, size_t n_high, struct vt_slopes limits, uint64_t y_hz);
void vt_corridor_release(struct vt_corridor *s);

struct vt_interval { /* of y, from the segment's origin */
    int64_t low, high;
    bool has_low, has_high; /* a side of which there is no point isn't bounded */
};

/** False: too far away to tell. */
bool vt_corridor_at(const struct vt_corridor *s, uint64_t x, struct vt_interval *ret);

/** How far the tangent at the segment's origin may have left the curve, `d` ticks of y away. */
int64_t vt_wander(int64_t d, uint64_t y_hz);

#endif

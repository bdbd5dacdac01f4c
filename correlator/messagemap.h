/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One clock as a function of another from bounds alone: corridors (corridor.h) over
 * segments that overlap, within epochs between which nothing is known.
 *
 * An epoch ends where the caller says, and where the bounds contradict each other: the
 * clock stepped.  From either side the longest run of exchanges through which a line fits
 * is found by bisection; those between the two runs may belong to either side.
 */
#ifndef VT_MESSAGEMAP_H
#define VT_MESSAGEMAP_H

#include "correlator/corridor.h"

/* Within an epoch the ratio of the clocks stays this close to its mean: quartz over its range of temperature.
 */
#define VT_DRIFT_PPM 20

struct vt_map_break {
    uint64_t y;
    const char *reason; /* static */
};

struct vt_message_input { /* borrowed while the map is built */
    /* Exchange i: x was low[i].x not before low[i].y, and high[i].x not after high[i].y. Ascending low[].y.
     */
    const struct vt_fix *low, *high;
    size_t n;
    const struct vt_fix *extra; /* upper bounds without a lower one, ascending y */
    size_t n_extra;
    const struct vt_map_break *breaks; /* ascending */
    size_t nr_breaks;
    struct vt_slopes nominal; /* of an epoch that has too few exchanges to tell; 0, 0: nobody knows */
    uint64_t y_hz;            /* at least 10^6 */
    const char *step_reason;  /* static: of a break found by contradiction */
};

#define VT_MAP_LEVELS 2

struct vt_map_level {
    struct vt_corridor *segment; /* by origin */
    size_t n;
};

struct vt_message_epoch {
    uint64_t from, to;           /* y that may belong to it */
    uint64_t sure_from, sure_to; /* y that does */
    const char *reason;          /* static: why it began; NULL: the first */
    size_t exchanges;
    uint64_t base_x;         /* of its first point */
    struct vt_slopes slopes; /* y per x: between these at any time */
    struct vt_map_level level[VT_MAP_LEVELS];
};

struct vt_message_map {
    struct vt_message_epoch *epochs;
    size_t n;
    uint64_t y_hz;
    size_t absurd;  /* exchanges that contradict themselves: left out */
    size_t ignored; /* extra bounds that contradict the exchanges around them: left out */
    bool overrun;   /* more epochs than are believed: the rest is not mapped */
};

/** 0 or -ENOMEM; release either way. */
int vt_message_map_build(struct vt_message_map *map, const struct vt_message_input *in);
void vt_message_map_release(struct vt_message_map *map);

/**
 * y at x, within ± *ret_bound, of the newest epoch that has it not after `not_after`.
 * False: in none.  With upper bounds only, y is the highest that they allow and
 * *ret_bound 0: an estimate.
 */
bool vt_message_map_at(const struct vt_message_map *map, uint64_t x, uint64_t not_after, uint64_t *ret,
                       uint64_t *ret_bound);
/** The same of one epoch, whatever its y: what its lines say of x. */
bool vt_message_epoch_at(const struct vt_message_epoch *e, uint64_t x, uint64_t *ret, uint64_t *ret_bound);

#endif

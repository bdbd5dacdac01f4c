/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clock maps: the only place where one clock's reading becomes another's.
 * Integer arithmetic throughout; every conversion states its bound.
 */
#ifndef VT_CLOCKMAP_H
#define VT_CLOCKMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/record.h"

/**
 * Host TSC to CLOCK_MONOTONIC: linear between neighbouring readings of both.
 * Borrows the pairs, which must ascend in both clocks.
 */
struct vt_clockmap {
    const struct vt_clock_pair *pairs;
    size_t n;
    const char *refused; /* static: why there is no map; NULL: there is one */
};

void vt_clockmap_init(struct vt_clockmap *map, const struct vt_host *host, const struct vt_clock_pair *pairs,
                      size_t n);

/**
 * The host's time at `tsc`, within ± *ret_bound: the two readings' own bounds,
 * and how far the neighbouring stretches' slopes, extended, disagree with this
 * one's at this place.  Up to one stretch beyond the ends the last slope is
 * extended and the bound grows.  -ENODATA: refused; -ERANGE: too far outside.
 */
int vt_clockmap_to_ns(const struct vt_clockmap *map, host_tsc tsc, host_ns *ret, uint64_t *ret_bound);

/** The other way: the TSC at `ns`, within ± *ret_bound ticks. -ENODATA, -ERANGE as above. */
int vt_clockmap_to_tsc(const struct vt_clockmap *map, host_ns ns, host_tsc *ret, uint64_t *ret_bound);

/** A length in host TSC ticks, at the frequency measured over the whole map; 0 without a map. */
uint64_t vt_clockmap_length_ns(const struct vt_clockmap *map, uint64_t ticks);

/** Host TSC frequency in kHz as measured; 0 without a map. */
double vt_clockmap_khz(const struct vt_clockmap *map);

/** How a guest's TSC may follow from the host's: a table, best first. */
struct vt_tsc_method {
    const char *name;
    /* All instants at which this guest TSC was read under epoch e: [*ret, *ret + *ret_span]. False: never. */
    bool (*invert)(const struct vt_tsc_epoch *e, guest_tsc tsc, host_tsc *ret, uint64_t *ret_span);
    bool needs_epochs;
};

extern const struct vt_tsc_method vt_tsc_methods[];
extern const size_t vt_nr_tsc_methods;

/** One vCPU's guest TSC to host time: borrows map and epochs (ascending by `at`). */
struct vt_guest_clock {
    const struct vt_clockmap *map;
    const struct vt_tsc_method *method;
    const struct vt_tsc_epoch *epochs;
    size_t nr_epochs;
};

/**
 * Never interpolates across an epoch change: the newest epoch under which the
 * reading falls into its own stretch of time and not after `not_after`.
 * -ENODATA: no map or no epochs; -ERANGE: no such instant.
 */
int vt_guest_clock_to_ns(const struct vt_guest_clock *clock, guest_tsc tsc, host_ns not_after, host_ns *ret,
                         uint64_t *ret_bound);

/**
 * A length of a guest's TSC in ns by the scale the guest was told (pvclock:
 * ns = (ticks << shift) * mul >> 32). False: the page was not there, or the
 * figure is absurd.
 */
bool vt_pvclock_length_ns(uint32_t mul, int32_t shift, uint64_t ticks, uint64_t *ret);
/** The frequency that scale stands for, kHz; 0 if none. */
double vt_pvclock_khz(uint32_t mul, int32_t shift);

#endif

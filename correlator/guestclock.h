/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which map fits one vCPU's guest TSC: each method of the table is tried
 * against causality, the first without a violation is used.
 */
#ifndef VT_GUESTCLOCK_H
#define VT_GUESTCLOCK_H

#include "correlator/machineclock.h"

struct vt_vcpu_clock {
    const struct vt_correlator *c;
    const struct vt_clockmap *map;
    const struct vt_machine_clock
        *whole; /* of a guest with an agent: where the table below has nothing exact; may be NULL */
    int64_t vm;
    uint32_t index;
    bool bare;                          /* a host process: its TSC is the host's */
    const struct vt_tsc_method *method; /* NULL: none fits */
    bool by_whole;                      /* the whole machine's clock is used in its place */
    struct vt_clock_report report;
};

/** Chooses by the samples that came in window. */
void vt_vcpu_clock_choose(struct vt_vcpu_clock *clock, const struct vt_machine *m, struct vt_window window);

/** When the guest read this TSC; `host` is when the host had the record. -ENODATA, -ERANGE. */
int vt_vcpu_clock_to_ns(const struct vt_vcpu_clock *clock, guest_tsc tsc, host_ns host, host_ns *ret,
                        uint64_t *ret_bound);

/** A length in guest TSC ticks at the scale in the sample, else at the host's frequency; false: neither. */
bool vt_vcpu_clock_length_ns(const struct vt_vcpu_clock *clock, const struct vtg_clocks *by, uint64_t ticks,
                             uint64_t *ret);

#endif

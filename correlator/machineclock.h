/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TSC of a whole guest: an agent in its operating system goes from vCPU to vCPU, and
 * normal guests keep the TSCs of their vCPUs the same.  A table of methods; each is tried
 * against causality, the first that is usable is chosen.  None needs KVM or a vCPU.
 */
#ifndef VT_MACHINECLOCK_H
#define VT_MACHINECLOCK_H

#include "correlator/internal.h"
#include "correlator/messagemap.h"

struct vt_machine_clock {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    const struct vt_clockmap *map;
    const char *refused;         /* static: no method can do; NULL */
    enum vt_clock_method method; /* VT_NR_CLOCK_METHODS: none */
    bool usable[VT_NR_CLOCK_METHODS];
    const char *reason[VT_NR_CLOCK_METHODS]; /* static: why not */
    uint64_t violations[VT_NR_CLOCK_METHODS];
    bool apart;                            /* KVM's offsets of its vCPUs differ */
    struct vt_message_map messages;        /* guest TSC to host TSC */
    struct vt_message_map arrivals;        /* the same, from upper bounds only */
    struct vt_message_map pvclock;         /* the guest's kvmclock to host ns */
    uint64_t late_ns[VT_NR_CLOCK_METHODS]; /* of an estimate: typical delay of a record after it */
};

/** What a method is, and what its bound claims: static text, lower case. */
extern const char *const vt_clock_method_names[VT_NR_CLOCK_METHODS];

/** Borrows all; release either way. 0 or -ENOMEM. */
int vt_machine_clock_init(struct vt_machine_clock *k, const struct vt_correlator *c,
                          const struct vt_machine *m, const struct vt_clockmap *map);
void vt_machine_clock_release(struct vt_machine_clock *k);

/**
 * When the guest read this TSC on its CPU `cpu`; `host` is when the host had it.
 * *ret_bound is certain but for the methods that estimate. -ENODATA, -ERANGE.
 */
int vt_machine_clock_to_ns(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                           host_ns *ret, uint64_t *ret_bound);
/** The same by a method that is usable. */
int vt_machine_clock_by(const struct vt_machine_clock *k, enum vt_clock_method method, uint32_t cpu,
                        guest_tsc tsc, host_ns host, host_ns *ret, uint64_t *ret_bound);
/** Its bound is certain. */
bool vt_clock_method_is_bounded(const struct vt_machine_clock *k, enum vt_clock_method method);

/** When the agent that says so was first heard of: its words may have waited longer than its answers. */
host_ns vt_machine_heard(const struct vt_view_log *log, const struct vt_system_row *s);
/** What the guest was at that host time, as its agent said; NULL: not known. */
const struct vtg_system *vt_machine_system_at(const struct vt_machine *m, host_ns at);

#endif

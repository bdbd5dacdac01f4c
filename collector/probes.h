/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The BPF ledger seen from user space: load, attach, seed, read. */
#ifndef VT_PROBES_H
#define VT_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cells.h"
#include "kvmstats.h"
#include "vt/ledger.h"
#include "vt/record.h"

struct vt_probes;

struct vt_probes_options {
    uint32_t off;        /* bit per enum vt_probe_class to leave out */
    bool ledger_only;    /* no slices: integrals at each checkpoint only */
    bool addresses;      /* count what exits accessed: else its class is not even loaded, and not off */
    bool cgroups;        /* some are guests: else the program that sees who comes is not loaded */
    uint32_t ring_bytes; /* of the ring of cells, a power of two; 0: default */
};

/**
 * Loads and attaches what this kernel has.  Optional classes that it lacks end
 * up in vt_probes_off(); without sched_switch, BTF or the privilege it fails:
 * -EPERM, -ENOENT (no BTF), -ENODEV (no KVM), -ENOTSUP (an unknown sched_switch).
 */
int vt_probes_open(const struct vt_probes_options *options, struct vt_probes **ret, struct vt_err *err);

/** Finds the vCPUs that exist already.  Call once, when ready to drain. */
int vt_probes_seed(struct vt_probes *p, struct vt_err *err);

/**
 * Gives those n threads a life each, by their tids; those that have one keep it.
 * Takes a look at every task of the host.
 */
int vt_probes_want(struct vt_probes *p, const uint32_t *tids, const struct vt_wanted *wanted, size_t n,
                   struct vt_err *err);

/** The cgroup of that id is a guest: who comes into it from now on has a life. Only with options.cgroups. */
int vt_probes_cgroup(const struct vt_probes *p, uint64_t id, struct vt_err *err);

/** The next process that has begun a program; false: none that was not told. Of very many some are left out.
 */
bool vt_probes_next_exec(const struct vt_probes *p, uint32_t *ret_tgid);

/** Finds the other threads of VMs' processes and vhost workers. Call again when a VM was found, and now and
 * then. */
int vt_probes_find_helpers(struct vt_probes *p, struct vt_err *err);

bool vt_probes_ledger_only(const struct vt_probes *p);

uint32_t vt_probes_off(const struct vt_probes *p);

/** kvm_entry and kvm_exit were seen to fire for a test guest. */
bool vt_probes_split(const struct vt_probes *p);

/** How many slots a reader must look at. */
uint32_t vt_probes_slots(const struct vt_probes *p);

/** The slot's present generation, without a copy: which life has it. */
uint32_t vt_probes_generation(const struct vt_probes *p, uint32_t slot);

/** A consistent copy of a slot: false if it kept changing (a writer died half-way: never seen). */
bool vt_probes_read(const struct vt_probes *p, uint32_t slot, struct vt_slot *ret);

/** A consistent copy of a sum of exits, by its index in a copy of that slot; false as for vt_probes_read().
 */
bool vt_probes_exits(const struct vt_probes *p, uint32_t slot, uint32_t index, struct vt_exit_sum *ret);

/** KVM's own statistics that are read of each vCPU; empty where they can't be. */
const struct vt_kvm_stat_list *vt_probes_kvm_stats(const struct vt_probes *p);

/** What they grew by since the life in that slot began: one look at them. */
struct vt_kvm_look vt_probes_kvm_look(struct vt_probes *p, uint32_t slot, const struct vt_slot *s);

/** Among how many other CPUs an idle one is looked for when a wait begins; 0: slices are not marked. */
uint32_t vt_probes_elsewhere_cpus(const struct vt_probes *p);
/** Is this host's own steal told of each vCPU (struct vt_outer_steal)? */
bool vt_probes_tell_outer_steal(const struct vt_probes *p);

/** Is what exits accessed being counted? */
bool vt_probes_addresses_on(const struct vt_probes *p);

/** One count of it. */
struct vt_address {
    struct vt_address_key key; /* kind may be VT_ACCESS_UNSUMMED */
    uint64_t count;
};

/** Compares two struct vt_address by their keys, for qsort(). */
int vt_address_order(const void *a, const void *b);

/**
 * All counts as they are just now, those of lives that are over included, and
 * of each slot what found no room, in order of their keys.  *ret is p's until the
 * next call.  How many, or -errno; only while vt_probes_addresses_on().
 */
int vt_probes_addresses(struct vt_probes *p, const struct vt_address **ret, struct vt_err *err);

/** Makes room: no event will count there any more. */
void vt_probes_forget_address(const struct vt_probes *p, const struct vt_address_key *key);

/**
 * Of each CPU on which a vCPU waits just now, and whose occupant is no vCPU: who
 * has had it so far becomes a segment in the ring, which he else does when he
 * leaves.  One interrupt of that CPU.
 */
void vt_probes_tell_occupants(const struct vt_probes *p);

/** Gives the slot of a GONE life back, once its last slice was drained and its last checkpoint written. */
int vt_probes_release(struct vt_probes *p, uint32_t slot);

/** A pollable descriptor: readable when the ring wants draining. */
int vt_probes_fd(const struct vt_probes *p);

/** Calls a sink for each record that waits. */
int vt_probes_drain(struct vt_probes *p, const struct vt_cell_sinks *sinks);

/** Events lost so far, by reason. */
void vt_probes_lost(const struct vt_probes *p, uint64_t ret_lost[VT_NR_LOST_REASONS]);

/** Run time and runs of the programs, as far as the kernel counted them (bpf_enable_stats). */
void vt_probes_cost(const struct vt_probes *p, uint64_t *ret_ns, uint64_t *ret_runs);

/**
 * A descriptor that makes the kernel count the above until it is closed; -1:
 * it may not.  After vt_probes_keep_timing() also without CAP_SYS_ADMIN.
 */
int vt_probes_time(const struct vt_probes *p);
void vt_probes_keep_timing(struct vt_probes *p);

/** Runs of a class's programs, the least of those attached but the seldom ones (of interrupts the most);
 * counted while bpf_enable_stats is on. */
uint64_t vt_probes_class_runs(const struct vt_probes *p, unsigned class);

void vt_probes_close(struct vt_probes *p);

/** "switch", "wakeup", …; NULL past the end. */
const char *vt_probe_class_name(unsigned class);

#endif

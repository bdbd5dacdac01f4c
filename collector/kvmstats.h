/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's own statistics of the vCPUs.  What they are called, their units and
 * where each is the kernel tells of a vCPU of our own (KVM_GET_STATS_FD, 5.14+);
 * a BPF program reads the same places of others' vCPUs.  Not by their own
 * descriptors: KVM answers no ioctl of a process that the VM is not (-EIO).
 */
#ifndef VT_KVMSTATS_H
#define VT_KVMSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/ledger.h"
#include "vt/record.h"

struct vt_kvm_stat_list {
    size_t nr;
    struct vt_kvm_stat of[VT_KVM_STATS_MAX]; /* with ids from 1 on */
    uint32_t at[VT_KVM_STATS_MAX];           /* where in struct kvm_vcpu_stat */
};

/**
 * Fills the list from a vCPU's own statistics: all that count up, no histograms.
 * 0 or -errno, then the list is empty; -EOPNOTSUPP: this kernel describes none.
 */
int vt_kvm_stats_describe(int vcpu_fd, struct vt_kvm_stat_list *ret);

/** What they grew by since a vCPU's life began. */
struct vt_kvm_sums {
    uint32_t generation; /* of the slot whose life it is */
    host_ns at;          /* of the last reading taken */
    uint64_t last[VT_KVM_STATS_MAX], sum[VT_KVM_STATS_MAX];
};

void vt_kvm_sums_begin(struct vt_kvm_sums *s, uint32_t generation, host_ns at,
                       const uint64_t first[VT_KVM_STATS_MAX]);

/**
 * Adds a reading's growth.  One that fell was cleared (debugfs lets root do so)
 * and counts from 0 again.  A reading with one that grew faster than once a
 * nanosecond is not KVM's, for the vCPU's memory was given away: false, and
 * nothing is added.
 */
bool vt_kvm_sums_add(struct vt_kvm_sums *s, size_t nr, const uint64_t now[VT_KVM_STATS_MAX], host_ns at);

/** The ledger's side of it. */
struct vt_kvm_source {
    int lives_fd;  /* map of struct vt_kvm_life by slot */
    int reader_fd; /* program: reads a slot's into now[] */
    const uint64_t *now;
};

struct vt_kvm_reader;

/** Borrows the source's parts. NULL: they can't be read here, or out of memory. */
struct vt_kvm_reader *vt_kvm_reader_new(const struct vt_kvm_stat_list *list,
                                        const struct vt_kvm_source *source);
void vt_kvm_reader_free(struct vt_kvm_reader *r);

/** What a look at a vCPU found. */
struct vt_kvm_look {
    const uint64_t *sums; /* valid until the next look; NULL: they were never known */
    bool is_new;          /* false: those of the look before it, for the vCPU is no more */
};

struct vt_kvm_look vt_kvm_reader_look(struct vt_kvm_reader *r, uint32_t slot, const struct vt_slot *s);

#endif

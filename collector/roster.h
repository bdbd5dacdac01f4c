/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is who: which VM and vCPU of the recording a ledger slot, a process or
 * an agent's channel belongs to.  Writes the vm, vcpu and tsc_epoch rows.
 */
#ifndef VT_ROSTER_H
#define VT_ROSTER_H

#include "guests.h"
#include "probes.h"
#include "store/store.h"

struct vt_roster;

struct vt_roster *vt_roster_new(struct vt_store *store);
/** For the recording that follows: VMs keep the names that they have in `before`. NULL: out of memory. */
struct vt_roster *vt_roster_next(const struct vt_roster *before, struct vt_store *store);
void vt_roster_free(struct vt_roster *r);

/** Who knows the names of cgroups; of recordings that follow, too. Borrows. */
void vt_roster_name_cgroups(struct vt_roster *r, const struct vt_guests *guests);

/**
 * The recording's id of the vCPU or helper in this slot (each counts for itself),
 * registering it when new; -errno.
 */
int64_t vt_roster_life(struct vt_roster *r, uint32_t slot, const struct vt_slot *s, struct vt_err *err);

/** The id if this slot's life is known already, else 0: no look at the slot needed. */
int64_t vt_roster_known(const struct vt_roster *r, uint32_t slot, uint32_t generation);

/** The VM that a process is (an agent's peer; start_ns: vt_process_start), registering it when new;
 * -errno. */
int64_t vt_roster_process(struct vt_roster *r, uint32_t tgid, uint64_t start_ns, struct vt_err *err);

/** One of the VMs that are known, in this recording or in the one before. */
struct vt_known_vm {
    uint32_t tgid;
    uint64_t start_ns;
    int64_t id; /* 0: not in this recording yet */
};

/** The VM of that name, or pid; of several the newest whose process lives. False: there is none. */
bool vt_roster_find(const struct vt_roster *r, const char *name, struct vt_known_vm *ret);

/** Was one of that name, or pid, seen in this recording, whether it lives or not? */
bool vt_roster_saw(const struct vt_roster *r, const char *name);

/** What the VM that this process is is called; NULL: it is not known. Valid until the roster changes. */
const char *vt_roster_name(const struct vt_roster *r, uint32_t tgid, uint64_t start_ns);

/** Is it called so, or is this its pid? */
bool vt_roster_means(const struct vt_roster *r, const char *name, uint32_t tgid, uint64_t start_ns);

/** The i-th that is known, from 0. False: there are no more. */
bool vt_roster_at(const struct vt_roster *r, size_t i, struct vt_known_vm *ret);

/** A VM that the ledger may not see: as vt_roster_process(), but told what it is and is called (NULL: it is
 * asked). */
int64_t vt_roster_guest(struct vt_roster *r, uint32_t tgid, uint64_t start_ns, enum vt_vm_kind kind,
                        const char *name, struct vt_err *err);

/** Another VM that bears this name, of at most n bytes: its name. NULL: nobody does. */
const char *vt_roster_namesake(const struct vt_roster *r, int64_t vm, const char *name, size_t n);

/** Notes the slot's TSC offset and ratio; writes an epoch when they changed. */
int vt_roster_tsc(struct vt_roster *r, uint32_t slot, const struct vt_slot *s, host_ns at,
                  struct vt_err *err);

unsigned vt_roster_vms(const struct vt_roster *r);
unsigned vt_roster_vcpus(const struct vt_roster *r);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests that are not KVM's, as far as the kernel's events alone do not tell
 * them: which processes are VMs, and which of their threads are vCPUs.
 *
 * QEMU/TCG: threads with names ("CPU n/TCG") the ledger finds by itself.  Without
 * (debug-threads=off, QEMU's default) it is a guess, and said to be one: QEMU
 * makes its vCPUs' threads one right after the other, and it is they that burn
 * CPU time.  So, once it has used some: of as many threads as there are vCPUs
 * (-smp), next to each other in the order of their making, those that used most,
 * the first two aside (the main thread, and the one that call_rcu() has made).
 *
 * User Mode Linux: told by its program's file.  The kernel's process is met here,
 * and whom it made before; the ledger follows those that it forks from then on.
 *
 * Cgroups, if asked for: every task of it and of those in it.  The ledger follows
 * forks and those that come; who is in it or has left it otherwise is seen at ticks.
 */
#ifndef VT_GUESTS_H
#define VT_GUESTS_H

#include "probes.h"

struct vt_guests;

/** Borrows all. cgroups: folders of those that are guests. 0 or -errno. */
int vt_guests_open(struct vt_probes *probes, const char *const *cgroups, size_t nr_cgroups,
                   struct vt_guests **ret, struct vt_err *err);

/** The name of the cgroup of that id, if it is a guest; else NULL. */
const char *vt_guests_cgroup(const struct vt_guests *g, uint64_t id);

/** Looks for new ones, and tells the ledger of them. Once after the seeding, then at each tick. */
int vt_guests_tick(struct vt_guests *g, struct vt_err *err);

void vt_guests_close(struct vt_guests *g);

#endif

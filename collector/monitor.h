/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which process is a guest's monitor, where the ledger does not tell. */
#ifndef VT_MONITOR_H
#define VT_MONITOR_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/record.h"

struct vt_monitor {
    uint32_t tgid;
    uint64_t start_ns;
    enum vt_vm_kind kind;
    bool by_pid; /* what it is called was not asked */
};

/**
 * The process that is called so (QEMU's -name, --name, User Mode Linux's umid=), or has this pid;
 * of several the oldest: the others are its children.  False: there is none.
 */
bool vt_monitor_find(const char *name, struct vt_monitor *ret);

/** args: as /proc/PID/cmdline has them. False: it is not called so. */
bool vt_monitor_is(const char *args, size_t n, const char *name, enum vt_vm_kind *ret);

#endif

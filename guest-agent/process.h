/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes that are looked at: chosen ones, and those of a benchmark's command. */
#ifndef VTA_PROCESS_H
#define VTA_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

/** mark stays 0.  0 or -errno: -ESRCH, it is gone. */
int vta_process_read(uint32_t pid, struct vtg_process *ret);

#define VTA_CHOICES 16
#define VTA_TREES   16
#define VTA_MEMBERS 256

struct vta_member {
    uint64_t start_ticks;
    uint32_t pid;
    uint32_t mark; /* 0: chosen */
};

struct vta_tree {
    uint32_t mark; /* 0: free */
    uint32_t parent;
};

struct vta_processes {
    const char *comms[VTA_CHOICES], *cgroups[VTA_CHOICES];
    unsigned nr_comms, nr_cgroups;
    struct vta_member members[VTA_MEMBERS];
    unsigned nr_members;
    struct vta_tree trees[VTA_TREES];
    uint64_t refused;  /* how often there was no room for a process or a benchmark */
    bool has_children; /* the kernel lists a thread's children */
};

void vta_processes_init(struct vta_processes *p);
/** -ESRCH: there is none; -ENOSPC: too many. */
int vta_processes_add(struct vta_processes *p, uint32_t pid, uint32_t mark);
bool vta_processes_empty(const struct vta_processes *p);

/** Looks for new ones by comm and cgroup; a slow business, once a second. */
void vta_processes_find(struct vta_processes *p);

/** The command of a `bench`: child pid of parent, or all children but ourselves if pid is not one. */
int vta_processes_watch(struct vta_processes *p, uint32_t mark, uint32_t parent, uint32_t pid);
void vta_processes_unwatch(struct vta_processes *p, uint32_t mark);
/** All that parent had asked for: it left. */
void vta_processes_unwatch_all(struct vta_processes *p, uint32_t parent);

/** Reads those of mark, or all (mark 0); finds their new children before. */
void vta_processes_sample(struct vta_processes *p, uint32_t mark,
                          void (*emit)(void *context, const struct vtg_process *process), void *context);

#endif

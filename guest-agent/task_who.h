/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who a thread id is, and which benchmark it belongs to.  Pure; memory is bounded.
 */
#ifndef VTA_TASK_WHO_H
#define VTA_TASK_WHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vta_who {
    uint32_t tid; /* 0: the place is free */
    uint32_t tgid, parent_tid, parent_tgid;
    uint32_t mark;
    bool told;    /* to the host */
    bool claimed; /* marked before its fork was told */
    char comm[16];
};

/* An open hash table.  Zeroed: empty. */
struct vta_whos {
    struct vta_who *places;
    size_t room, nr; /* room: a power of two */
};
#define VTA_WHO_MAX 65536 /* places: 3 MiB, twice Debian's default of threads on a small machine */

struct vta_who *vta_who_find(const struct vta_whos *w, uint32_t tid);

/**
 * A task was born or found: `seen` has its ids and name.  It belongs to its parent's
 * benchmark.  Pointers into the table are void after that.  NULL: no memory.
 */
struct vta_who *vta_who_add(struct vta_whos *w, const struct vta_who *seen);

/** It has another name. */
void vta_who_rename(struct vta_whos *w, uint32_t tid, const char comm[16]);

/** Nobody was told to the host. */
void vta_who_tell_again(struct vta_whos *w);

void vta_who_remove(struct vta_whos *w, uint32_t tid);

/** The process and its descendants as far as they are known; 0: all of that process's benchmark. */
void vta_who_mark(struct vta_whos *w, uint32_t pid, uint32_t mark);

void vta_who_release(struct vta_whos *w);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The slices of one vCPU in memory: appended in the order they came, coded to
 * some 20 bytes each, read forward from any instant, dropped from the old end.
 * Keeps what it is given, contradictions included: judging is the walk's job.
 */
#ifndef VT_SLICELOG_H
#define VT_SLICELOG_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/ledger.h"

#define VT_SLICELOG_CHUNK 32u /* slices per chunk: so many are read to find one */

struct vt_slice_chunk {
    uint64_t to;       /* latest t_end up to here, so that chunks can be searched */
    uint64_t prev_end; /* t_end and seq of the slice before the chunk's first */
    uint64_t prev_seq;
    uint64_t prev_latest; /* latest t_end before it: differs from prev_end if time went backwards */
    uint32_t n, bytes, room;
    bool has_prev; /* there was one, even if it has been dropped since */
    uint8_t *data;
};

struct vt_slicelog {
    struct vt_slice_chunk *chunks;
    size_t nr_chunks, room;
    uint64_t nr_slices; /* kept now */
    bool has_last;
    uint64_t last_seq, last_end, latest; /* of all ever appended */
};

/** 0 or -ENOMEM. Each state must be < VT_NR_STATES. */
int vt_slicelog_append(struct vt_slicelog *log, const struct vt_slice *slice);
void vt_slicelog_forget(struct vt_slicelog *log, uint64_t before);
void vt_slicelog_release(struct vt_slicelog *log);

/** A reader's place; prev_* are of the slice before the next one. */
struct vt_slicelog_place {
    const struct vt_slicelog *log;
    size_t chunk;
    uint32_t index, offset;
    bool has_prev;
    uint64_t prev_seq, prev_end;
    uint64_t latest; /* latest t_end before the place, as of vt_slicelog_seek() */
};

/** The chunk in which the first slice that ends after `from` is found. */
struct vt_slicelog_place vt_slicelog_seek(const struct vt_slicelog *log, uint64_t from);
/** The next slice, or false at the end. */
bool vt_slicelog_next(struct vt_slicelog_place *place, struct vt_slice *ret);

#endif

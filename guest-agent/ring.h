/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that were said and are not yet known to have arrived (vt/guest_wire.h, struct
 * vtg_ping): encoded, with the seq that they keep, oldest first.  Pure.
 */
#ifndef VTA_RING_H
#define VTA_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

struct vta_ring {
    uint8_t *bytes; /* the caller's */
    size_t size;
    /* Bytes since the start: kept are [tail, head), of which [tail, sent) are on their way. */
    uint64_t tail, sent, head;
    uint32_t tail_seq, sent_seq, head_seq; /* of the frame that begins there */
    uint32_t high_seq;                     /* none from here on was ever sent */
    uint64_t made;                         /* frames that were to be kept */
    uint64_t dropped;                      /* of them, those for which there was no room */
    uint64_t untold;                       /* of the dropped, those that no event has told of */
};

#define VTA_RING_LEAST (8u << 10) /* bytes that any frame and the spare for precious ones fit in */

void vta_ring_init(struct vta_ring *r, void *bytes, size_t size);

/**
 * Keeps a frame; false: no room, it is dropped, gets no seq and is counted.  An event tells
 * of what was dropped, with this tsc, before the next frame that finds room.  The last
 * eighth is for what can't be said again: marks, runs and events; and of it the end for
 * HELLO and SYSTEM.
 */
bool vta_ring_put(struct vta_ring *r, enum vtg_type type, const void *payload, uint32_t len, uint64_t tsc);

/** What comes all the time might find no room. */
bool vta_ring_is_tight(const struct vta_ring *r);

/** Tells of dropped frames as soon as there is room. */
void vta_ring_tell(struct vta_ring *r, uint64_t tsc);

/** Copies whole frames, next to be sent first, to out; returns their bytes. */
size_t vta_ring_take(struct vta_ring *r, uint8_t *out, size_t room);

/** All before next_seq have arrived.  False: that frees nothing (also: it was never sent). */
bool vta_ring_acknowledge(struct vta_ring *r, uint32_t next_seq);

/** Begin again with the oldest. */
void vta_ring_rewind(struct vta_ring *r);

static inline uint64_t vta_ring_kept(const struct vta_ring *r)
{
    return r->head - r->tail;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said over a channel and what is heard (vt/guest_wire.h, struct vtg_ping),
 * without the channel: bytes, times and TSCs are arguments.  Pure; the host's bytes are
 * as hostile as any.
 */
#ifndef VTA_LINK_H
#define VTA_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-agent/ring.h"
#include "wire/frame.h"

/* A host that asks nothing for so long is away. */
#define VTA_SILENCE_NS UINT64_C(3000000000)
/* Nothing arrives for so long, although the host asks: sent again; each further time twice as long. */
#define VTA_PATIENCE_NS      UINT64_C(500000000)
#define VTA_PATIENCE_MOST_NS UINT64_C(8000000000)
#define VTA_QUESTIONS        4

struct vta_question {
    uint64_t id, tsc_received;
};

struct vta_link {
    struct vta_ring *ring;
    struct vt_frame_decoder decoder;
    uint64_t session;
    bool one_way; /* nobody acknowledges: what is written has arrived */
    bool lossy;   /* a line that nobody holds swallows bytes: nothing is sent to a silent host */
    bool open;    /* the host has asked since the channel began: it listens */
    bool met;     /* it has ever asked: */
    uint64_t host, last_ping_ns;
    uint64_t stalled_ns;  /* since when what is on its way waits for an acknowledgement */
    uint64_t patience_ns; /* and how long it may */
    struct vta_question questions[VTA_QUESTIONS];
    unsigned nr_questions;
    /* HELLO and SYSTEM are wanted: the caller says them and calls vta_link_greeted(). */
    bool greeting_wanted;
    uint32_t greeting_seq; /* where the newest stands */
    uint64_t greeted_ns;
    uint8_t out[4096]; /* bytes under way to the channel: [out_at, out_n) */
    size_t out_at, out_n;
    bool out_is_answer;
    uint64_t resent; /* times */
};

void vta_link_init(struct vta_link *l, struct vta_ring *ring, uint64_t session, bool one_way, bool lossy);

/** The channel begins anew: halves of frames are void, the host has to ask first. */
void vta_link_begin(struct vta_link *l);

/** These bytes came; tsc: read right after they did. */
void vta_link_received(struct vta_link *l, const void *bytes, size_t n, uint64_t now_ns, uint64_t tsc);

/** What is to be written now: bytes at *ret, 0 for nothing.  tsc: read just before. */
size_t vta_link_output(struct vta_link *l, uint64_t now_ns, uint64_t tsc, const uint8_t **ret);
/** n of them were written. */
void vta_link_wrote(struct vta_link *l, size_t n);

/** Time passes: notices silence. */
void vta_link_tick(struct vta_link *l, uint64_t now_ns);

/** The caller is about to put HELLO and SYSTEM into the ring. */
void vta_link_greeted(struct vta_link *l, uint64_t now_ns);

/** All that was said has arrived (one way: was written). */
bool vta_link_is_done(const struct vta_link *l);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's end of the agent ring (vt/guest_wire.h): takes whole, sound
 * frames out of guest memory.  Knows no KVM and no files.
 *
 * What goes on to the host is interleaved with RELAY frames that the host
 * trusts.  So nothing may pass that a decoder could mistake for one: only
 * frames whose checksum holds and that are not RELAY frames themselves.
 */
#ifndef VMM_AGENT_RING_H
#define VMM_AGENT_RING_H

#include "vmm-core/memory.h"
#include "vt/guest_wire.h"

#define AGENT_RING_MIN 4096u

struct agent_ring {
    bool set;
    const char *disabled; /* static text: why, for good; NULL: in service */
    uint64_t gpa;
    uint32_t size; /* as it was when the ring was set: later changes don't count */
    uint32_t tail; /* ours; the guest's copy is only told */
    uint64_t frames;
    uint64_t violations;     /* of the ring's rules; the first disables */
    uint64_t bad_frames;     /* wrong checksum, or a RELAY frame */
    uint64_t unframed_bytes; /* dropped: no frame begins there */
};

/** Called with each frame: header and payload, copied. */
typedef void agent_ring_sink(void *context, const uint8_t *frame, size_t n);

/** The guest says where its ring is. Setting it anew begins with its present tail. */
void agent_ring_set(struct agent_ring *r, const struct vmm_memory *m, uint32_t page);

/** The guest rang: passes on what is there. */
void agent_ring_drain(struct agent_ring *r, const struct vmm_memory *m, agent_ring_sink *sink, void *context);

#endif

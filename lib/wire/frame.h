/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one decoder of guest frames (include/vt/guest_wire.h).  Bytes are
 * hostile.  Used by the agent device's consumers, the collector and imports.
 */
#ifndef VT_WIRE_FRAME_H
#define VT_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

/** crc of data so far (0 at the start) continued over n bytes: by SSE 4.2 where the CPU has it. */
uint32_t vt_crc32c(uint32_t crc, const void *data, size_t n);
/** The same without special instructions. */
uint32_t vt_crc32c_portable(uint32_t crc, const void *data, size_t n);

/* A stream's decoder: holds at most one frame; memory is bounded by its size. */
struct vt_frame_decoder {
    uint8_t buf[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    size_t have;
    int synced; /* a frame has been seen: `next_seq` is meaningful */
    uint32_t next_seq;
    uint64_t skipped_bytes; /* garbage passed over while searching a header */
    uint64_t bad_crc;
    uint64_t lost_frames; /* gaps in seq */
    uint64_t bad_length;  /* a payload that does not fit its type */
    uint64_t unknown;     /* good frames of types that we don't know */
    /*
     * Of a sender that keeps its frames until they are acknowledged (vtime-agent): only the
     * frame that is due is taken.  What is not is no loss: it comes again.
     */
    bool in_order;
    uint32_t acked; /* with has_acked: the sender knows that what is before it has arrived */
    bool has_acked;
    uint64_t replayed; /* had already, and the sender knew */
    uint64_t repeated; /* had already */
    uint64_t early;    /* one before it is still to come */
};

union vt_frame_body {
    struct vtg_hello hello;
    struct vtg_clocks clocks;
    struct vtg_mark mark;
    struct vtg_gaps gaps;
    struct vtg_relay relay;
    struct vtg_system system;
    struct vtg_view view;
    struct vtg_cpus cpus;
    struct vtg_process process;
    struct vtg_run run;
    struct vtg_task task;
    struct vtg_tasks tasks;
    struct vtg_event event;
    struct vtg_pong pong;
    struct vtg_ping ping;
};

/** Called for each good frame, body copied and checked for its type. */
typedef void vt_frame_sink(void *context, enum vtg_type type, const union vt_frame_body *body);

void vt_frame_decode(struct vt_frame_decoder *d, const void *data, size_t n, vt_frame_sink *sink,
                     void *context);

/** Writes header + payload into out (room for both); returns the bytes. */
size_t vt_frame_encode(void *out, enum vtg_type type, uint32_t seq, const void *payload, uint32_t len);

#endif

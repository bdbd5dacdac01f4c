/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way from the monitor to whoever records: a stream socket or a file.
 * Never waits: what can't be sent now is kept, up to a bound, then dropped and
 * counted.  Not locked: the caller is.
 */
#ifndef VMM_CHANNEL_H
#define VMM_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vt/guest_wire.h"

#define CHANNEL_ROOM (256u * 1024)

struct channel {
    int fd; /* -1: not open (yet) */
    bool is_file;
    bool broken; /* said so already */
    char path[108];
    uint64_t retry_at; /* CLOCK_MONOTONIC ns */
    uint8_t *queue;    /* whole units, each after its length (uint32_t) */
    size_t used;
    size_t sent; /* bytes of the first unit's body that have gone already */
    uint64_t units, dropped;
};

/**
 * where: "unix:PATH", "file:PATH", or NULL: nothing is sent.  A socket that is
 * not there yet is tried again later; a file that can't be written is an error.
 */
int channel_open(struct channel *c, const char *where, struct vt_err *err);

/** Takes a RELAY frame with the present time, and the frame behind it: they go together or not at all. */
void channel_put(struct channel *c, const uint8_t *frame, size_t n);

/** Sends what can be sent without waiting. true: there is more. */
bool channel_flush(struct channel *c);

/** Waits up to timeout_ns for the rest to go, then closes. */
void channel_close(struct channel *c, uint64_t timeout_ns);

#endif

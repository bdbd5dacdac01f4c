/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A link over a descriptor: opened again, with patience, when it breaks; never blocks. */
#ifndef VTA_CHANNEL_H
#define VTA_CHANNEL_H

#include <poll.h>

#include "guest-agent/link.h"
#include "guest-agent/spec.h"

enum vta_channel_state {
    VTA_CLOSED,     /* tried again at retry_ns */
    VTA_CONNECTING, /* once it can be written it is there */
    VTA_CONNECTED,
    VTA_NOBODY, /* a virtio port whose other end is closed: looked at again at retry_ns */
    VTA_GONE    /* an inherited descriptor that ended, a file that cannot be written: it is given up */
};

struct vta_channel {
    struct vta_spec spec;
    struct vta_link link;
    enum vta_channel_state state;
    int fd;
    bool is_full; /* the last write found no room */
    uint64_t retry_ns, backoff_ns;
    int error; /* why it is not open */
};

void vta_channel_init(struct vta_channel *c, const struct vta_spec *spec, struct vta_ring *ring,
                      uint64_t session, bool one_way);

/** What poll() is to wait for; a negative fd: nothing. */
struct pollfd vta_channel_poll(const struct vta_channel *c);
/** When it wants a turn although nothing happened: CLOCK_MONOTONIC ns, UINT64_MAX: never. */
uint64_t vta_channel_deadline(const struct vta_channel *c);

/** Opens, reads and writes what can be at once. */
void vta_channel_turn(struct vta_channel *c, short revents);

void vta_channel_close(struct vta_channel *c);

#endif

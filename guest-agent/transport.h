/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How each kind of channel is opened. */
#ifndef VTA_TRANSPORT_H
#define VTA_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "guest-agent/spec.h"

/**
 * A descriptor that never blocks, or -errno.  *connecting: a connection that is under way
 * is there once the descriptor can be written.
 */
int vta_transport_open(const struct vta_spec *spec, bool *connecting);

/** Says what a failure to open this means. */
void vta_transport_explain(const struct vta_spec *spec, int error, char *out, size_t n);

/** virtio where there is such a port, else vsock where there is such a device; else -ENODEV, and err says so.
 */
int vta_transport_default(struct vta_spec *ret, char *err, size_t n);

/** The other end can't go away without a trace (a socket) or can (a line). */
bool vta_transport_is_lossy(const struct vta_spec *spec);

#endif

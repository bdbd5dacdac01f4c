/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Words to the service manager: the protocol of sd_notify(3), one datagram to
 * $NOTIFY_SOCKET.  libsystemd would do the same; the dependency of the whole
 * collector on it, also where there is no systemd, isn't worth 30 lines.
 */
#ifndef VT_NOTIFY_H
#define VT_NOTIFY_H

#include <stdint.h>

#include "base/err.h"

struct vt_notify {
    int fd;               /* -1: nobody listens */
    uint64_t watchdog_ns; /* how often it wants to hear of us, 0: it does not */
};

/** Reads and unsets NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; -errno if the socket is there but not
 * usable. */
int vt_notify_open(struct vt_notify *ret, struct vt_err *err);

/** "READY=1", "WATCHDOG=1", "STATUS=…", newline-separated; never waits, a word that is lost is lost. */
void vt_notify(const struct vt_notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

void vt_notify_close(struct vt_notify *n);

#endif

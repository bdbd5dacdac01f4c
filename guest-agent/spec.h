/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an agent speaks to, as a person writes it: kind:address.  Pure. */
#ifndef VTA_SPEC_H
#define VTA_SPEC_H

#include <stddef.h>
#include <stdint.h>

enum vta_kind {
    VTA_VIRTIO, /* virtio[:PORTNAME] */
    VTA_VSOCK,  /* vsock[:PORT], of the host */
    VTA_TCP,    /* tcp:HOST:PORT, HOST in digits; IPv6 in brackets */
    VTA_UNIX,   /* unix:PATH, unix:@NAME for an abstract one */
    VTA_TTY,    /* tty:PATH */
    VTA_FD,     /* fd:N, inherited */
    VTA_FILE,   /* file:PATH, appended to */
    VTA_NR_KINDS
};

#define VTA_PORT_NAME  "org.vtime.agent.0"
#define VTA_VSOCK_PORT 30324u /* VTG_MAGIC */

struct vta_spec {
    enum vta_kind kind;
    uint32_t number;   /* port, or descriptor */
    char address[108]; /* path, name or host; fits sun_path */
};

/** 0; or -EINVAL, and err says what is wanted. */
int vta_spec_parse(struct vta_spec *ret, const char *text, char *err, size_t n);

/** As it would be written. */
void vta_spec_print(const struct vta_spec *spec, char *out, size_t n);

#endif

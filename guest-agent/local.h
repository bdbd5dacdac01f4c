/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What programs of this system tell the agent: packets over a local SOCK_SEQPACKET
 * socket.  Any program may; the agent takes no more than it can check.
 */
#ifndef VTA_LOCAL_H
#define VTA_LOCAL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

#define VTA_LOCAL_NAME    "@vtime-agent" /* @: an abstract name */
#define VTA_LOCAL_MAGIC   0x6c617476u    /* "vtal" */
#define VTA_LOCAL_CLIENTS 16

enum vta_request {
    VTA_SAY = 1,     /* a frame of the given type: MARK, RUN or PROCESS */
    VTA_WATCH = 2,   /* the command pid and its descendants, until unwatched or the client leaves */
    VTA_UNWATCH = 3, /* after a last look */
    VTA_FINISH = 4   /* answered: at once by a daemon, once all has gone by a private agent */
};

struct vta_packet {
    uint32_t magic;
    uint16_t request; /* enum vta_request */
    uint16_t type;    /* SAY: enum vtg_type */
    uint32_t mark, pid;
    union {
        struct vtg_mark said_mark;
        struct vtg_run said_run;
        struct vtg_process said_process;
    };
};

enum vta_delivery {
    VTA_ARRIVED, /* the host has it all */
    VTA_COMING,  /* a daemon has it, and the host asks for it */
    VTA_KEPT,    /* a daemon has it, and nobody asks */
    VTA_FILED,   /* it is in a file, or a daemon is about to write it there */
    VTA_SENT,    /* --one-way: it went out, and nobody says that it arrived */
    VTA_UNHEARD  /* the time is over and the host did not take it */
};

struct vta_answer {
    uint32_t magic;
    uint32_t delivery;    /* enum vta_delivery */
    uint64_t kept;        /* frames that did not go, or are not known to have arrived */
    uint64_t dropped;     /* frames */
    uint32_t task_source; /* enum vtg_task_source: NONE, it tells nothing of tasks */
    uint32_t zero;
    char text[256]; /* where it is filed; of what is not delivered, why */
};

/** Address of @NAME or PATH; returns its length, or -EINVAL. */
struct sockaddr_un;
int vta_local_address(const char *name, struct sockaddr_un *ret);

/** Bytes of a packet of this request and type; 0: there is no such packet. */
size_t vta_packet_size(const struct vta_packet *packet);

struct vta_client_end {
    int fd; /* -1: free */
    uint32_t pid;
};

struct vta_local {
    int listener; /* -1: private, or none */
    char path[108];
    struct vta_client_end clients[VTA_LOCAL_CLIENTS];
};

void vta_local_init(struct vta_local *l);
/** -EADDRINUSE: another agent has it. */
int vta_local_listen(struct vta_local *l, const char *name);
/** A connected descriptor, which it takes. */
void vta_local_adopt(struct vta_local *l, int fd);
void vta_local_accept(struct vta_local *l);
/** The next packet of a client, checked: 1, 0 for none yet, -EPIPE: it left or talks nonsense. */
int vta_local_read(struct vta_client_end *client, struct vta_packet *ret);
void vta_local_drop(struct vta_client_end *client);
void vta_local_close(struct vta_local *l);

#endif

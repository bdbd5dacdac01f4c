/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How `bench` and `mark` reach an agent: the daemon of this system, else a private one in
 * a process of its own.  Nothing here waits, but for vta_client_finish().
 */
#ifndef VTA_CLIENT_H
#define VTA_CLIENT_H

#include <sys/types.h>

#include "guest-agent/agent.h"

#define VTA_CLIENT_QUEUE 16

struct vta_client {
    int fd;                                    /* -1: nobody hears */
    pid_t helper;                              /* the private agent; 0: it is the daemon */
    struct vta_packet queue[VTA_CLIENT_QUEUE]; /* for which the socket had no room */
    unsigned queued, lost;
    char why[256]; /* why nobody hears */
    struct vta_answer answer;
};

/** to: NULL: the daemon at socket, else the usual way to the host. */
void vta_client_open(struct vta_client *c, const char *socket, const char *to, const struct vta_options *o);
void vta_client_say(struct vta_client *c, enum vtg_type type, const void *payload, size_t n);
void vta_client_watch(struct vta_client *c, enum vta_request request, uint32_t mark, pid_t pid);

/**
 * All was said: waits, 2.5 s at most, until it is delivered or in a daemon's hands.  What became of it is
 * in c->answer, too; VTA_UNHEARD: c->why says why.
 */
enum vta_delivery vta_client_finish(struct vta_client *c);

#endif

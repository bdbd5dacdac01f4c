/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels from guests: a listening unix socket, and what connects to it.  An
 * agent is bound to a VM by the process at the other end (SO_PEERCRED), never
 * by what it claims, and only once it has sent a good frame; its bytes are
 * hostile, its rate and memory are bounded: what is too much waits in the
 * socket until the next tick.
 */
#ifndef VT_AGENTS_H
#define VT_AGENTS_H

#include "roster.h"

struct vt_agents;

/**
 * Listens on path, readable and writable by its owner only.  There must be
 * nothing but a socket that a killed recorder left: EADDRINUSE.
 */
int vt_agents_open(const char *path, int epoll_fd, struct vt_store *store, struct vt_roster *roster,
                   struct vt_agents **ret, struct vt_err *err);

/** True if an epoll event's data.ptr is one of ours; then it was handled. *ret_error: 0 or -errno of the
 * store. */
bool vt_agents_event(struct vt_agents *a, void *ptr, int *ret_error, struct vt_err *err);

/** A tick: renews the channels' allowances, and reads what they still hold. */
int vt_agents_tick(struct vt_agents *a, struct vt_err *err);

/** Frames lost so far: damaged, missing in the sequence, or refused; bounded per channel and tick. */
uint64_t vt_agents_lost(const struct vt_agents *a);

/**
 * From now on into another recording, by its roster.  What each guest said of
 * itself (HELLO) is said again there.  NULL, NULL: there is none for now, what
 * comes is lost, and counted.
 */
int vt_agents_move(struct vt_agents *a, struct vt_store *store, struct vt_roster *roster, struct vt_err *err);

/** Removes the socket. NULL is fine. */
void vt_agents_close(struct vt_agents *a);

#endif

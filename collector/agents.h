/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels from guests.  A guest is bound to a VM by the channel that it came through, never by
 * what it claims:
 *   by the process at the other end (SO_PEERCRED) of who connects to our own unix socket, and
 *     only once it has sent a good frame; or to one that --agent names without a VM;
 *   by the name or pid given with the address (--agent NAME=...);
 *   by the QEMU process that listens at the socket of its agent's port (SO_PEERCRED), or has that CID.
 * Where several guests may come to one socket, each has one channel.
 * Bytes are hostile, rate and memory are bounded: channel.h.
 */
#ifndef VT_AGENTS_H
#define VT_AGENTS_H

#include "connect.h"
#include "roster.h"

struct vt_agents;

/**
 * Listens on path, readable and writable by its owner only.  There must be
 * nothing but a socket that a killed recorder left: EADDRINUSE.
 */
int vt_agents_open(const char *path, int epoll_fd, struct vt_store *store, struct vt_roster *roster,
                   struct vt_agents **ret, struct vt_err *err);

/** Agents named by the user: those that connect to us are listened for from now on, the others tried at
 * ticks. */
int vt_agents_name(struct vt_agents *a, const struct vt_agent_address *addresses, size_t n,
                   struct vt_err *err);

/**
 * From now on, QEMUs with a port for an agent are connected to, unless somebody else is: then that is
 * written, once.  only: of the VM of this name or pid alone, NULL: of all; borrowed.
 */
void vt_agents_find(struct vt_agents *a, const char *only);

/** The i-th VM, from 0, whose agent's port another holds: its name. NULL: there are no more. */
const char *vt_agents_held(const struct vt_agents *a, size_t i);

/** True if an epoll event's data.ptr is one of ours; then it was handled. *ret_error: 0 or -errno of the
 * store. */
bool vt_agents_event(struct vt_agents *a, void *ptr, int *ret_error, struct vt_err *err);

/** A tick: connects, renews the channels' allowances, reads what they still hold, and tells what befell them.
 */
int vt_agents_tick(struct vt_agents *a, struct vt_err *err);

/** The last one: what is under way is told, too. */
int vt_agents_end(struct vt_agents *a, struct vt_err *err);

/** Frames lost so far: damaged, missing in the sequence, or refused; bounded per channel and tick. */
uint64_t vt_agents_lost(const struct vt_agents *a);

/** The i-th named agent, from 0, of which nothing was ever seen: its VM's name. NULL: there are no more. */
const char *vt_agents_unseen(const struct vt_agents *a, size_t i);

/**
 * From now on into another recording, by its roster.  What each guest said of
 * itself (HELLO, SYSTEM) is said again there.  NULL, NULL: there is none for now; what
 * comes is lost, and counted, or waits where the sender keeps it.
 */
int vt_agents_move(struct vt_agents *a, struct vt_store *store, struct vt_roster *roster, struct vt_err *err);

/** Removes the socket. NULL is fine. */
void vt_agents_close(struct vt_agents *a);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a guest's agent is to be had: addresses as --agent names them, and descriptors to
 * them.  Nothing here waits: every descriptor is non-blocking and closed on exec.
 */
#ifndef VT_CONNECT_H
#define VT_CONNECT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "vt/record.h"

enum vt_way { VT_WAY_UNIX, VT_WAY_TCP, VT_WAY_VSOCK, VT_WAY_TTY, VT_WAY_FILE };

/** NAME=unix:PATH, tcp:HOST:PORT, vsock:CID:PORT, tty:PATH, file:PATH; unix-listen:, tcp-listen:,
 * vsock-listen:PORT */
struct vt_agent_address {
    char name[VT_VM_NAME_LEN]; /* the VM's name or pid; empty: its CID or process tells (vsock-listen,
                                  unix-listen) */
    enum vt_way way;
    bool listens; /* the guest's end connects */
    struct sockaddr_storage to;
    socklen_t to_len; /* 0 where it is no socket */
    char where[256];  /* all after NAME=, to be shown */
    unsigned path_at; /* into `where`: of a unix socket, tty or file */
};

/** Names of hosts are looked up here, once. -EINVAL, and err says what is wrong with it. */
int vt_agent_address_parse(const char *text, struct vt_agent_address *ret, struct vt_err *err);

static inline const char *vt_agent_path(const struct vt_agent_address *address)
{
    return address->where + address->path_at;
}

/** The address of a unix socket, for one that was found. False: the path is too long. */
bool vt_agent_address_unix(const char *path, struct vt_agent_address *ret);

/** A descriptor, or -errno. *ret_pending: it is connecting; when it can be written, vt_agent_connected()
 * tells. */
int vt_agent_connect(const struct vt_agent_address *address, bool *ret_pending);
/** 0 or -errno. */
int vt_agent_connected(int fd);

/** A listening socket, or -errno. A unix socket that was left by a killed recorder is replaced. */
int vt_agent_listen(const struct vt_agent_address *address, struct vt_err *err);
/** Its path goes with it. */
void vt_agent_unlisten(const struct vt_agent_address *address, int fd);

/** The process at the other end of a unix socket. */
bool vt_agent_peer_process(int fd, uint32_t *ret_tgid);

/** The CID of who is at the other end of a vsock; 0: it is none. */
uint32_t vt_agent_peer_cid(int fd);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a QEMU's command line tells of its channels.  It is foreign text, as is all of /proc
 * that others can shape: bounded, and believed only where the kernel confirms it.
 */
#ifndef VT_QEMU_H
#define VT_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** The virtio-serial port behind which vtime-agent waits. */
#define VT_AGENT_PORT "org.vtime.agent.0"

enum { VT_UNIX_PATH = 108 }; /* of sockaddr_un */

/** A listening socket: by path, or by the number that its descriptor has in QEMU. */
struct vt_qemu_socket {
    char path[VT_UNIX_PATH]; /* empty: fd tells */
    int fd;
};

/** args: as /proc/PID/cmdline has them. False: there is no such port, or no socket of QEMU's behind it. */
bool vt_qemu_find_socket(const char *args, size_t n, struct vt_qemu_socket *ret);

/** The CID of its vsock device; 0: none. */
uint32_t vt_qemu_find_cid(const char *args, size_t n);

/** Does it ask for KVM? Of several accelerators ("kvm:tcg") the first that is not missing counts: KVM, if it
 * is named before TCG. */
bool vt_qemu_asks_kvm(const char *args, size_t n);

/** What /proc/net/unix says of a socket that listens. */
struct vt_unix_place {
    char path[VT_UNIX_PATH];
    uint64_t inode;
    bool held; /* somebody is connected */
};

/** Inodes of sockets. */
struct vt_inodes {
    const uint64_t *at;
    size_t n;
};

/** The process's own socket that listens there, by path, or where that is empty by inode. Others may have the
 * same relative path. False: it listens to none. Reads the table from its begin. */
bool vt_unix_find(FILE *table, const char *path, uint64_t inode, const struct vt_inodes *own,
                  struct vt_unix_place *ret);

/** The socket behind a QEMU's port. */
struct vt_qemu_port {
    struct vt_unix_place place; /* as the process calls it */
    int fd;                     /* O_PATH: its file, opened inside the process's own root */
    bool handed;                /* it was given the listening socket, by whoever started it */
};

/**
 * The port of a QEMU process that itself has the listening socket.  0: to be closed; -ENODEV: there is
 * none; -EBUSY: another is connected; else -errno of its file, ret->place says which.
 */
int vt_qemu_open_port(uint32_t tgid, struct vt_qemu_port *ret);
void vt_qemu_close_port(struct vt_qemu_port *port);
/** How connect() reaches it. */
void vt_qemu_port_path(const struct vt_qemu_port *port, char ret[VT_UNIX_PATH]);

/**
 * Who listens at the other end of fd, by the kernel's word: that process itself, or of a socket that it was
 * handed, root or its own user.  False: a path was made to lead elsewhere.
 */
bool vt_qemu_serves(const struct vt_qemu_port *port, uint32_t tgid, int fd);
uint32_t vt_qemu_cid_of(uint32_t tgid);

/** All of /proc/PID/cmdline, up to 256 KiB; to be freed. NULL: gone, or no memory. */
char *vt_command_line(uint32_t tgid, size_t *ret_n);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/local.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int vta_local_address(const char *name, struct sockaddr_un *ret)
{
    const size_t n = strlen(name);
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (n < 2 || n >= sizeof(ret->sun_path))
        return -EINVAL;
    memcpy(ret->sun_path, name, n);
    if (name[0] == '@')
        ret->sun_path[0] = 0;
    return (int)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '@' ? 0 : 1));
}

size_t vta_packet_size(const struct vta_packet *packet)
{
    const size_t head = offsetof(struct vta_packet, said_mark);
    switch (packet->request) {
    case VTA_WATCH:
    case VTA_UNWATCH:
    case VTA_FINISH:
        return head;
    case VTA_SAY:
        break;
    default:
        return 0;
    }
    switch (packet->type) {
    case VTG_MARK:
        return head + sizeof(struct vtg_mark);
    case VTG_RUN:
        return head + sizeof(struct vtg_run);
    case VTG_PROCESS:
        return head + sizeof(struct vtg_process);
    default:
        return 0;
    }
}

void vta_local_init(struct vta_local *l)
{
    memset(l, 0, sizeof(*l));
    l->listener = -1;
    for (int i = 0; i < VTA_LOCAL_CLIENTS; i++)
        l->clients[i].fd = -1;
}

/* A path that nobody listens to any more was left by one that was killed. */
static bool is_stale(const struct sockaddr_un *address, int n)
{
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    const bool refused =
        connect(fd, (const struct sockaddr *)address, (socklen_t)n) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

int vta_local_listen(struct vta_local *l, const char *name)
{
    struct sockaddr_un address;
    const int n = vta_local_address(name, &address);
    int r = 0;
    if (n < 0)
        return n;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (address.sun_path[0] && is_stale(&address, n))
        unlink(name);
    if (bind(fd, (const struct sockaddr *)&address, (socklen_t)n) < 0 || listen(fd, VTA_LOCAL_CLIENTS) < 0)
        r = -errno;
    if (!r && address.sun_path[0]) {
        memcpy(l->path, address.sun_path, sizeof(l->path));
        if (chmod(l->path, 0666) < 0) /* any program may mark */
            r = -errno;
    }
    if (r)
        close(fd);
    else
        l->listener = fd;
    return r;
}

void vta_local_adopt(struct vta_local *l, int fd)
{
    struct ucred peer = { .pid = 0 };
    socklen_t n = sizeof(peer);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
    for (int i = 0; i < VTA_LOCAL_CLIENTS; i++)
        if (l->clients[i].fd < 0) {
            l->clients[i] = (struct vta_client_end){ fd, (uint32_t)peer.pid };
            return;
        }
    close(fd);
}

void vta_local_accept(struct vta_local *l)
{
    const int fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        vta_local_adopt(l, fd);
}

static bool makes_sense(const struct vta_packet *p, size_t n)
{
    const size_t head = offsetof(struct vta_packet, said_mark);
    if (n < head || p->magic != VTA_LOCAL_MAGIC || n != vta_packet_size(p))
        return false;
    if (p->request == VTA_WATCH || p->request == VTA_UNWATCH)
        return p->mark != 0;
    return p->request != VTA_SAY || p->type != VTG_MARK ||
           (p->said_mark.kind >= VTG_MARK_BEGIN && p->said_mark.kind <= VTG_MARK_POINT);
}

int vta_local_read(struct vta_client_end *client, struct vta_packet *ret)
{
    memset(ret, 0, sizeof(*ret));
    const ssize_t n = recv(client->fd, ret, sizeof(*ret), MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
    return makes_sense(ret, (size_t)n) ? 1 : -EPIPE;
}

void vta_local_drop(struct vta_client_end *client)
{
    close(client->fd);
    client->fd = -1;
}

void vta_local_close(struct vta_local *l)
{
    for (int i = 0; i < VTA_LOCAL_CLIENTS; i++)
        if (l->clients[i].fd >= 0)
            vta_local_drop(&l->clients[i]);
    if (l->listener >= 0)
        close(l->listener);
    if (l->path[0])
        unlink(l->path);
    l->listener = -1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest-agent/clocks.h"
#include "guest-agent/transport.h"

#define BACKOFF_LEAST_NS UINT64_C(100000000)
#define BACKOFF_MOST_NS  UINT64_C(2000000000)
/* One turn reads so often at most: a host that floods may not keep us from our views. */
#define READS_PER_TURN 8

void vta_channel_init(struct vta_channel *c, const struct vta_spec *spec, struct vta_ring *ring,
                      uint64_t session, bool one_way)
{
    memset(c, 0, sizeof(*c));
    c->spec = *spec;
    c->fd = -1;
    c->backoff_ns = BACKOFF_LEAST_NS;
    vta_link_init(&c->link, ring, session, one_way || spec->kind == VTA_FILE, vta_transport_is_lossy(spec));
}

static void retry_later(struct vta_channel *c)
{
    c->retry_ns = vta_now_ns() + c->backoff_ns;
    c->backoff_ns = c->backoff_ns * 2 < BACKOFF_MOST_NS ? c->backoff_ns * 2 : BACKOFF_MOST_NS;
}

void vta_channel_close(struct vta_channel *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = VTA_CLOSED;
    c->is_full = false;
}

static void fail(struct vta_channel *c, int error)
{
    vta_channel_close(c);
    vta_link_begin(&c->link);
    c->error = error;
    if (c->spec.kind == VTA_FD || c->spec.kind == VTA_FILE)
        c->state = VTA_GONE;
    else
        retry_later(c);
}

static void nobody_there(struct vta_channel *c)
{
    c->state = VTA_NOBODY;
    c->error = ENOTCONN;
    c->is_full = false;
    vta_link_begin(&c->link);
    retry_later(c);
}

static void connected(struct vta_channel *c)
{
    c->state = VTA_CONNECTED;
    c->error = 0;
    vta_link_begin(&c->link);
}

static void try_open(struct vta_channel *c)
{
    bool connecting;
    const int fd = vta_transport_open(&c->spec, &connecting);
    if (fd < 0) {
        fail(c, -fd);
        return;
    }
    c->fd = fd;
    if (connecting)
        c->state = VTA_CONNECTING;
    else
        connected(c);
}

static void finish_connecting(struct vta_channel *c)
{
    int error = 0;
    socklen_t n = sizeof(error);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (error)
        fail(c, error);
    else
        connected(c);
}

static void look_again(struct vta_channel *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    if (poll(&p, 1, 0) >= 0 && !(p.revents & (POLLHUP | POLLERR)))
        connected(c);
    else
        retry_later(c);
}

static bool is_passing(int error)
{
    return error == EAGAIN || error == EINTR;
}

static void read_some(struct vta_channel *c)
{
    uint8_t bytes[512];
    for (int i = 0; i < READS_PER_TURN && c->state == VTA_CONNECTED; i++) {
        const ssize_t n = read(c->fd, bytes, sizeof(bytes));
        const uint64_t tsc = vta_tsc();
        if (n > 0)
            vta_link_received(&c->link, bytes, (size_t)n, vta_now_ns(), tsc);
        if (n == (ssize_t)sizeof(bytes))
            continue;
        if (n == 0 && c->spec.kind == VTA_VIRTIO)
            nobody_there(c);
        else if (n == 0 || (n < 0 && !is_passing(errno)))
            fail(c, n == 0 ? ECONNRESET : errno);
        break;
    }
    if (c->link.open)
        c->backoff_ns = BACKOFF_LEAST_NS;
}

static void write_all(struct vta_channel *c)
{
    const uint8_t *bytes;
    size_t n;
    c->is_full = false;
    while (c->state == VTA_CONNECTED &&
           (n = vta_link_output(&c->link, vta_now_ns(), vta_tsc(), &bytes)) > 0) {
        const ssize_t written = write(c->fd, bytes, n);
        if (written > 0) {
            vta_link_wrote(&c->link, (size_t)written);
        } else if (written == 0 || is_passing(errno)) {
            c->is_full = true;
            break;
        } else {
            fail(c, errno);
        }
    }
}

void vta_channel_turn(struct vta_channel *c, short revents)
{
    const uint64_t now = vta_now_ns();
    if (c->state == VTA_CLOSED && now >= c->retry_ns)
        try_open(c);
    else if (c->state == VTA_NOBODY && now >= c->retry_ns)
        look_again(c);
    else if (c->state == VTA_CONNECTING && revents)
        finish_connecting(c);
    if (c->state != VTA_CONNECTED)
        return;
    if (revents & (POLLIN | POLLHUP | POLLERR) && c->spec.kind != VTA_FILE)
        read_some(c);
    vta_link_tick(&c->link, vta_now_ns());
    if (!c->is_full || revents & POLLOUT)
        write_all(c);
}

struct pollfd vta_channel_poll(const struct vta_channel *c)
{
    struct pollfd p = { .fd = -1 };
    if (c->state == VTA_CONNECTING || c->state == VTA_CONNECTED)
        p.fd = c->fd;
    if (c->spec.kind == VTA_FILE && !c->is_full)
        p.fd = -1;
    p.events = c->state == VTA_CONNECTING || c->is_full ? POLLIN | POLLOUT : POLLIN;
    return p;
}

uint64_t vta_channel_deadline(const struct vta_channel *c)
{
    return c->state == VTA_CLOSED || c->state == VTA_NOBODY ? c->retry_ns : UINT64_MAX;
}

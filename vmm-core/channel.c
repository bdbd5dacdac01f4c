/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm-core/clock.h"
#include "vmm-core/payload/cpu.h"
#include "vt/frame_encode.h"

#define RETRY_NS 100000000u

static void try_connect(struct channel *c)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    uint64_t now = vmm_now_ns();

    if (c->is_file || c->fd >= 0 || !c->path[0] || now < c->retry_at)
        return;
    c->retry_at = now + RETRY_NS;
    memcpy(to.sun_path, c->path, sizeof(to.sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        c->fd = fd;
        c->sent = 0; /* a new listener gets the interrupted unit from its begin */
    } else if (fd >= 0) {
        close(fd);
    }
}

int channel_open(struct channel *c, const char *where, struct vt_err *err)
{
    *c = (struct channel){ .fd = -1 };
    if (!where || !*where)
        return 0;
    c->is_file = strncmp(where, "file:", 5) == 0;
    if (!c->is_file && strncmp(where, "unix:", 5) != 0)
        return vt_fail(err, EINVAL, "agent channel '%s': it must be unix:PATH or file:PATH", where);
    if (strlen(where + 5) >= sizeof(c->path))
        return vt_fail(err, ENAMETOOLONG, "agent channel '%s': the path is too long", where);
    memcpy(c->path, where + 5, strlen(where + 5) + 1);
    if (c->is_file) {
        c->fd = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (c->fd < 0)
            return vt_fail(err, errno, "agent file %s can't be written: %s", c->path, strerror(errno));
    }
    c->queue = malloc(CHANNEL_ROOM);
    if (!c->queue) {
        channel_close(c, 0);
        return vt_fail(err, ENOMEM, "out of memory");
    }
    try_connect(c);
    return 0;
}

void channel_put(struct channel *c, const uint8_t *frame, size_t n)
{
    struct vtg_relay relay = { .host_ns = vmm_now_ns() };
    relay.host_tsc = cpu_tsc();
    struct vtg_frame header = vtg_frame_header(VTG_RELAY, 0, &relay, sizeof(relay));
    uint32_t unit = (uint32_t)(sizeof(header) + sizeof(relay) + n);

    if (!c->queue)
        return;
    if (c->used + sizeof(unit) + unit > CHANNEL_ROOM) {
        c->dropped++;
        return;
    }
    uint8_t *at = c->queue + c->used;
    memcpy(at, &unit, sizeof(unit));
    memcpy(at + 4, &header, sizeof(header));
    memcpy(at + 4 + sizeof(header), &relay, sizeof(relay));
    memcpy(at + 4 + sizeof(header) + sizeof(relay), frame, n);
    c->used += sizeof(unit) + unit;
    c->units++;
}

static ssize_t send_some(struct channel *c, const uint8_t *data, size_t n)
{
    return c->is_file ? write(c->fd, data, n) : send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void lose_connection(struct channel *c)
{
    if (c->is_file && !c->broken) {
        c->broken = true;
        vt_complain("agent file %s: %s; its records are lost from here", c->path, strerror(errno));
    }
    if (c->is_file) {
        c->dropped++;
        c->used = 0;
        return;
    }
    close(c->fd);
    c->fd = -1;
}

bool channel_flush(struct channel *c)
{
    size_t at = 0;

    try_connect(c);
    while (c->fd >= 0 && at < c->used) {
        uint32_t unit;
        memcpy(&unit, c->queue + at, sizeof(unit));
        ssize_t n = send_some(c, c->queue + at + sizeof(unit) + c->sent, unit - c->sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            lose_connection(c);
            break;
        }
        if (n < 0)
            break;
        c->sent += (size_t)n;
        if (c->sent == unit) {
            c->sent = 0;
            at += sizeof(unit) + unit;
        }
    }
    if (c->used < at)
        at = c->used;
    if (at)
        memmove(c->queue, c->queue + at, c->used - at);
    c->used -= at;
    return c->used > 0;
}

void channel_close(struct channel *c, uint64_t timeout_ns)
{
    uint64_t until = vmm_now_ns() + timeout_ns;
    while (c->queue && channel_flush(c) && vmm_now_ns() < until)
        poll(NULL, 0, 5);
    while (c->used) {
        uint32_t unit;
        memcpy(&unit, c->queue, sizeof(unit));
        memmove(c->queue, c->queue + sizeof(unit) + unit, c->used - sizeof(unit) - unit);
        c->used -= sizeof(unit) + unit;
        c->dropped++;
    }
    if (c->fd >= 0)
        close(c->fd);
    free(c->queue);
    c->queue = NULL;
    c->fd = -1;
}

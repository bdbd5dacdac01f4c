/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* 0 unless it is for this process and makes sense. */
static uint64_t watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    char *end;

    if (!usec || *usec < '0' || *usec > '9' || (pid && strtoul(pid, NULL, 10) != (unsigned long)getpid()))
        return 0;
    const unsigned long long v = strtoull(usec, &end, 10);
    return *end || v > UINT64_MAX / 1000 ? 0 : v * 1000;
}

static int connect_to(const char *path, struct vt_err *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const size_t n = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof(addr.sun_path))
        return vt_fail(err, EINVAL, "NOTIFY_SOCKET=%s is no address of a Unix socket", path);
    memcpy(addr.sun_path, path, n);
    if (path[0] == '@') /* an abstract one */
        addr.sun_path[0] = 0;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 &&
        connect(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0)
        return fd;
    const int number = errno;
    if (fd >= 0)
        close(fd);
    return vt_fail(err, number, "cannot speak to the service manager at NOTIFY_SOCKET=%s: %s", path,
                   strerror(number));
}

int vt_notify_open(struct vt_notify *ret, struct vt_err *err)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct vt_notify n = { .fd = -1, .watchdog_ns = watchdog_ns() };

    if (path && *path) {
        n.fd = connect_to(path, err);
        if (n.fd < 0)
            return n.fd;
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    *ret = n;
    return 0;
}

void vt_notify(const struct vt_notify *n, const char *format, ...)
{
    char text[512];
    va_list args;

    if (n->fd < 0)
        return;
    va_start(args, format);
    const int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len > 0)
        send(n->fd, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1, MSG_NOSIGNAL);
}

void vt_notify_close(struct vt_notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/transport.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "guest-agent/clocks.h"
#include "guest-agent/readtext.h"

#define PORTS "/sys/class/virtio-ports"

/* Any descriptor that was opened: failed is closed. */
static int keep(int fd, int result)
{
    if (result < 0 && errno != EINPROGRESS) {
        const int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* The port's device by the name that the host gave it; udev's link is not everywhere. */
static int find_port(const char *name, char *path, size_t n)
{
    DIR *dir = opendir(PORTS);
    struct dirent *entry;
    int r = -ENODEV;
    if (!dir)
        return -ENODEV;
    while (r && (entry = readdir(dir))) {
        char file[sizeof(PORTS) + 280], text[128];
        snprintf(file, sizeof(file), PORTS "/%s/name", entry->d_name);
        if (entry->d_name[0] == '.' || vta_read_text(file, text, sizeof(text)) <= 0)
            continue;
        text[strcspn(text, "\n")] = 0;
        if (strcmp(text, name) != 0)
            continue;
        snprintf(path, n, "/dev/%s", entry->d_name);
        r = 0;
    }
    closedir(dir);
    return r;
}

static int open_virtio(const struct vta_spec *spec)
{
    char path[300];
    const int flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
    int r = find_port(spec->address, path, sizeof(path));
    if (r)
        return r;
    r = open(path, flags);
    if (r < 0 && errno == ENOENT) {
        snprintf(path, sizeof(path), "/dev/virtio-ports/%s", spec->address);
        r = open(path, flags);
    }
    return r < 0 ? -errno : r;
}

static int connect_to(int family, const struct sockaddr *address, socklen_t n)
{
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : keep(fd, connect(fd, address, n));
}

static int open_vsock(const struct vta_spec *spec)
{
    const struct sockaddr_vm to = { .svm_family = AF_VSOCK,
                                    .svm_cid = VMADDR_CID_HOST,
                                    .svm_port = spec->number };
    return connect_to(AF_VSOCK, (const struct sockaddr *)&to, sizeof(to));
}

static int open_tcp(const struct vta_spec *spec)
{
    struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)spec->number) };
    struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)spec->number) };
    const int one = 1;
    int fd;
    if (inet_pton(AF_INET, spec->address, &to4.sin_addr) == 1)
        fd = connect_to(AF_INET, (const struct sockaddr *)&to4, sizeof(to4));
    else if (inet_pton(AF_INET6, spec->address, &to6.sin6_addr) == 1)
        fd = connect_to(AF_INET6, (const struct sockaddr *)&to6, sizeof(to6));
    else
        return -EINVAL;
    if (fd >= 0) /* an answer must not wait for more */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static int open_unix(const struct vta_spec *spec)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const size_t n = strlen(spec->address);
    memcpy(to.sun_path, spec->address, n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = 0;
    return connect_to(AF_UNIX, (const struct sockaddr *)&to,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
}

/* Neither side's bytes may be changed, echoed, or taken for control characters. */
static int make_raw(int fd)
{
    struct termios t;
    if (tcgetattr(fd, &t) < 0)
        return -1;
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    if (tcsetattr(fd, TCSANOW, &t) < 0)
        return -1;
    return tcflush(fd, TCIFLUSH);
}

static int open_tty(const struct vta_spec *spec)
{
    const int fd = open(spec->address, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 ? -errno : keep(fd, make_raw(fd));
}

/* A copy: the channel closes what it opened. */
static int open_fd(const struct vta_spec *spec)
{
    const int fd = fcntl((int)spec->number, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return keep(fd, -1);
    return keep(fd, isatty(fd) ? make_raw(fd) : 0);
}

static int open_file(const struct vta_spec *spec)
{
    const int fd = open(spec->address, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int vta_transport_open(const struct vta_spec *spec, bool *connecting)
{
    *connecting = spec->kind == VTA_VSOCK || spec->kind == VTA_TCP || spec->kind == VTA_UNIX;
    switch (spec->kind) {
    case VTA_VIRTIO:
        return open_virtio(spec);
    case VTA_VSOCK:
        return open_vsock(spec);
    case VTA_TCP:
        return open_tcp(spec);
    case VTA_UNIX:
        return open_unix(spec);
    case VTA_TTY:
        return open_tty(spec);
    case VTA_FD:
        return open_fd(spec);
    case VTA_FILE:
        return open_file(spec);
    default:
        return -EINVAL;
    }
}

void vta_transport_explain(const struct vta_spec *spec, int error, char *out, size_t n)
{
    char name[160];
    vta_spec_print(spec, name, sizeof(name));
    if (spec->kind == VTA_VIRTIO && error == ENODEV)
        snprintf(out, n, "%s: no such virtio port; give the VM a virtserialport of this name", name);
    else if (spec->kind == VTA_VIRTIO && error == EBUSY)
        snprintf(out, n, "%s: another program has the port open", name);
    else if (spec->kind == VTA_VIRTIO && error == ENOTCONN)
        snprintf(out, n, "%s: nobody has the host's end of the port open", name);
    else if (spec->kind == VTA_FD && error == ECONNRESET)
        snprintf(out, n, "%s: the inherited descriptor was closed by the other side", name);
    else if (spec->kind == VTA_VSOCK && (error == ENODEV || error == EAFNOSUPPORT || error == ENETUNREACH))
        snprintf(out, n, "%s: no vsock device in this guest", name);
    else if (spec->kind == VTA_TCP && error == EINVAL)
        snprintf(out, n, "%s: the address has to be in digits", name);
    else
        snprintf(out, n, "%s: %s", name, strerror(error));
}

/* A guest's vsock device knows its own CID; on a host that is 2, or there is none. */
static bool has_vsock(void)
{
    unsigned int cid = 0;
    const int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool known = ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) == 0;
    close(fd);
    return known && cid > VMADDR_CID_HOST && cid != VMADDR_CID_ANY;
}

int vta_transport_default(struct vta_spec *ret, char *err, size_t n)
{
    char path[300];
    if (find_port(VTA_PORT_NAME, path, sizeof(path)) == 0)
        return vta_spec_parse(ret, "virtio", err, n);
    if (has_vsock())
        return vta_spec_parse(ret, "vsock", err, n);
    snprintf(err, n,
             "no way to the host: neither a virtio port " VTA_PORT_NAME " nor a vsock device is here;\n"
             "  give the VM one, or say --to tcp:, unix:, tty: or file:");
    return -ENODEV;
}

bool vta_transport_is_lossy(const struct vta_spec *spec)
{
    return spec->kind == VTA_TTY || spec->kind == VTA_FD || spec->kind == VTA_VIRTIO;
}

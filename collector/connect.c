/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "connect.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
/* after sys/socket.h */
#include <linux/vm_sockets.h>

enum { BACKLOG = 64 };

/* ---- addresses ---- */

static const struct scheme {
    const char *prefix;
    enum vt_way way;
    bool listens;
} schemes[] = {
    { "unix:", VT_WAY_UNIX, false },   { "unix-listen:", VT_WAY_UNIX, true },
    { "tcp:", VT_WAY_TCP, false },     { "tcp-listen:", VT_WAY_TCP, true },
    { "vsock:", VT_WAY_VSOCK, false }, { "vsock-listen:", VT_WAY_VSOCK, true },
    { "tty:", VT_WAY_TTY, false },     { "file:", VT_WAY_FILE, false },
};

static const struct scheme *scheme_of(const char *where)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
        if (strncmp(where, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
            return &schemes[i];
    return NULL;
}

/* The first = behind which a way begins: names may hold one. NULL: there is none. */
static const char *find_where(const char *text)
{
    if (scheme_of(text))
        return text;
    for (const char *eq = strchr(text, '='); eq; eq = strchr(eq + 1, '='))
        if (scheme_of(eq + 1))
            return eq + 1;
    return NULL;
}

/* A number and nothing else. */
static bool parse_number(const char *text, uint64_t most, uint32_t *ret)
{
    char *end;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || v > most)
        return false;
    *ret = (uint32_t)v;
    return true;
}

static int parse_unix(struct vt_agent_address *a, const char *rest, struct vt_err *err)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    if (strlen(rest) >= sizeof(un.sun_path))
        return vt_fail(err, EINVAL, "--agent: a socket's path has at most %zu bytes: %s",
                       sizeof(un.sun_path) - 1, rest);
    strcpy(un.sun_path, rest);
    memcpy(&a->to, &un, sizeof(un));
    a->to_len = sizeof(un);
    return 0;
}

static int parse_tcp(struct vt_agent_address *a, const char *rest, struct vt_err *err)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    const char *colon = strrchr(rest, ':');
    char host[256];
    uint32_t port;

    if (!colon || !parse_number(colon + 1, 65535, &port) || port == 0)
        return vt_fail(err, EINVAL, "--agent: tcp:HOST:PORT is wanted, not tcp:%s", rest);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - rest), rest);
    char *name = host;
    const size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') { /* [::1] */
        host[n - 1] = 0;
        name++;
    }
    want.ai_flags = AI_NUMERICSERV | (a->listens ? AI_PASSIVE : 0);
    const int e = getaddrinfo(*name ? name : NULL, colon + 1, &want, &found);
    if (e)
        return vt_fail(err, EINVAL, "--agent: %s is not found: %s", name, gai_strerror(e));
    memcpy(&a->to, found->ai_addr, found->ai_addrlen);
    a->to_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int parse_vsock(struct vt_agent_address *a, const char *rest, struct vt_err *err)
{
    struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
    const char *port = rest;
    char cid[16];

    if (!a->listens) {
        const char *colon = strchr(rest, ':');
        snprintf(cid, sizeof(cid), "%.*s", colon ? (int)(colon - rest) : 0, rest);
        if (!colon || !parse_number(cid, UINT32_MAX - 1, &vm.svm_cid))
            return vt_fail(err, EINVAL, "--agent: vsock:CID:PORT is wanted, not vsock:%s", rest);
        port = colon + 1;
    }
    if (!parse_number(port, UINT32_MAX - 1, &vm.svm_port))
        return vt_fail(err, EINVAL, "--agent: vsock has no port '%s'", port);
    memcpy(&a->to, &vm, sizeof(vm));
    a->to_len = sizeof(vm);
    return 0;
}

static int parse_where(struct vt_agent_address *a, const char *rest, struct vt_err *err)
{
    if (!*rest)
        return vt_fail(err, EINVAL, "--agent: %s names nothing", a->where);
    switch (a->way) {
    case VT_WAY_UNIX:
        return parse_unix(a, rest, err);
    case VT_WAY_TCP:
        return parse_tcp(a, rest, err);
    case VT_WAY_VSOCK:
        return parse_vsock(a, rest, err);
    default:
        return 0;
    }
}

int vt_agent_address_parse(const char *text, struct vt_agent_address *ret, struct vt_err *err)
{
    struct vt_agent_address a = { .to_len = 0 };
    const char *where = find_where(text);
    const struct scheme *scheme = where ? scheme_of(where) : NULL;

    if (!scheme)
        return vt_fail(err, EINVAL,
                       "--agent %s: it must be NAME=unix:PATH, tcp:HOST:PORT, vsock:CID:PORT, tty:PATH, "
                       "or unix-listen:, tcp-listen:, vsock-listen:PORT",
                       text);
    const size_t n = where > text ? (size_t)(where - text) - 1 : 0;
    a.way = scheme->way;
    a.listens = scheme->listens;
    if (n >= sizeof(a.name) || strlen(where) >= sizeof(a.where))
        return vt_fail(err, EINVAL, "--agent %s: it is too long", text);
    if (!n && !(a.listens && (a.way == VT_WAY_VSOCK || a.way == VT_WAY_UNIX)))
        return vt_fail(err, EINVAL, "--agent %s: whose agent is it? NAME=%s", text, where);
    memcpy(a.name, text, n);
    strcpy(a.where, where);
    const int e = parse_where(&a, a.where + strlen(scheme->prefix), err);
    if (e)
        return e;
    *ret = a;
    ret->path_at = (unsigned)strlen(scheme->prefix);
    return 0;
}

bool vt_agent_address_unix(const char *path, struct vt_agent_address *ret)
{
    struct vt_agent_address a = { .way = VT_WAY_UNIX };

    if (parse_unix(&a, path, NULL))
        return false;
    snprintf(a.where, sizeof(a.where), "unix:%s", path);
    *ret = a;
    ret->path_at = (unsigned)strlen("unix:");
    return true;
}

/* ---- descriptors ---- */

/* A line whose bytes go through as they are; not ours to be hung up on. */
static int open_tty(const char *path)
{
    const int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    struct termios t;

    if (fd < 0)
        return -errno;
    if (tcgetattr(fd, &t) == 0) {
        cfmakeraw(&t);
        t.c_cflag |= CLOCAL;
        if (tcsetattr(fd, TCSANOW, &t) == 0)
            return fd;
    }
    const int e = errno; /* ENOTTY: it is no terminal */
    close(fd);
    return -e;
}

static int open_socket(const struct vt_agent_address *a)
{
    const int fd = socket(a->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;

    if (fd >= 0 && a->way == VT_WAY_TCP) /* a question is not to wait for more to say */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd < 0 ? -errno : fd;
}

int vt_agent_connect(const struct vt_agent_address *a, bool *ret_pending)
{
    *ret_pending = false;
    if (a->way == VT_WAY_TTY)
        return open_tty(vt_agent_path(a));
    const int fd = a->to_len ? open_socket(a) : -EINVAL;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a->to, a->to_len) == 0)
        return fd;
    if (errno == EINPROGRESS) {
        *ret_pending = true;
        return fd;
    }
    const int e = errno; /* EAGAIN: so many wait at that unix socket already */
    close(fd);
    return -e;
}

int vt_agent_connected(int fd)
{
    int e = 0;
    socklen_t len = sizeof(e);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) ? -errno : -e;
}

/* A socket at which nobody listens: a killed recorder left it. A file that is no socket refuses too. */
static bool is_abandoned(const struct vt_agent_address *a)
{
    struct stat st;
    bool abandoned = false, pending;

    if (lstat(vt_agent_path(a), &st) || !S_ISSOCK(st.st_mode))
        return false;
    const int fd = vt_agent_connect(a, &pending);
    if (fd >= 0)
        close(fd);
    else
        abandoned = fd == -ECONNREFUSED;
    return abandoned;
}

/* bind(), also where a killed recorder was: 0, or -1 with bind's errno. */
static int take_place(const struct vt_agent_address *a, int fd)
{
    const struct sockaddr *to = (const struct sockaddr *)&a->to;
    const int one = 1;

    if (a->way == VT_WAY_TCP)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, to, a->to_len) == 0)
        return 0;
    if (a->way == VT_WAY_UNIX && errno == EADDRINUSE) {
        if (is_abandoned(a) && unlink(vt_agent_path(a)) == 0)
            return bind(fd, to, a->to_len);
        errno = EADDRINUSE;
    }
    return -1;
}

int vt_agent_listen(const struct vt_agent_address *a, struct vt_err *err)
{
    const int fd = open_socket(a);
    const mode_t mask = umask(0077); /* a unix socket is its owner's */
    const int failed = fd < 0 || take_place(a, fd) || listen(fd, BACKLOG);
    const int number = fd < 0 ? -fd : errno;

    umask(mask);
    if (!failed)
        return fd;
    if (fd >= 0)
        close(fd);
    return vt_fail(err, number, "cannot listen for agents at %s: %s", a->where, strerror(number));
}

void vt_agent_unlisten(const struct vt_agent_address *a, int fd)
{
    if (fd < 0)
        return;
    close(fd);
    if (a->way == VT_WAY_UNIX)
        unlink(vt_agent_path(a));
}

bool vt_agent_peer_process(int fd, uint32_t *ret_tgid)
{
    struct ucred who = { 0 };
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.pid <= 0)
        return false;
    *ret_tgid = (uint32_t)who.pid;
    return true;
}

uint32_t vt_agent_peer_cid(int fd)
{
    struct sockaddr_vm who = { 0 };
    socklen_t len = sizeof(who);

    if (getpeername(fd, (struct sockaddr *)&who, &len) || who.svm_family != AF_VSOCK)
        return 0;
    return who.svm_cid;
}

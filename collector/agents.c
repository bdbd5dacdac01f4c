/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agents.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostinfo.h"
#include "wire/frame.h"

enum {
    MAX_CHANNELS = 256,
    ACCEPTS_PER_TICK = MAX_CHANNELS,
    BYTES_PER_READ = 65536,
    READS_PER_EVENT = 16,
    /* A channel's allowances: when one is spent, nothing is read until the next tick, and the sender waits.
     */
    BYTES_PER_TICK = 1 << 20,
    FRAMES_PER_TICK = 4096,
    /* More losses than frames allowed are not believed. */
    LOSSES_PER_TICK = FRAMES_PER_TICK,
};

struct channel {
    struct vt_agents *owner;
    int fd;     /* -1: free */
    bool armed; /* in the epoll set */
    uint32_t tgid;
    uint64_t start_ns; /* of the process */
    int64_t vm;        /* 0 until the first good frame */
    struct vtg_hello hello;
    bool has_hello;
    struct vt_frame_decoder decoder;
    struct vtg_relay relay; /* of the next frame; host_ns 0 if none */
    size_t bytes_left;
    unsigned frames_left, losses_left;
    uint64_t told; /* losses that the decoder told so far */
    uint64_t lost; /* those believed */
};

struct vt_agents {
    int fd, epoll_fd;
    bool armed;
    unsigned accepts_left;
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_err *err; /* of the call under way */
    int error;
    uint64_t lost_elsewhere; /* by channels closed since, or refused */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct channel channels[MAX_CHANNELS];
};

/* A socket at which nobody listens: a killed recorder left it. A file that is no socket refuses too. */
static bool is_abandoned(const struct sockaddr_un *addr)
{
    struct stat st;
    bool abandoned = false;
    int fd;

    if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        abandoned = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED;
        close(fd);
    }
    return abandoned;
}

/* bind(), also where a killed recorder was: 0, or -1 with bind's errno. */
static int take_path(int fd, const struct sockaddr_un *addr)
{
    const struct sockaddr *generic = (const struct sockaddr *)addr;

    if (bind(fd, generic, sizeof(*addr)) == 0)
        return 0;
    if (errno == EADDRINUSE) {
        if (is_abandoned(addr) && unlink(addr->sun_path) == 0)
            return bind(fd, generic, sizeof(*addr));
        errno = EADDRINUSE;
    }
    return -1;
}

int vt_agents_open(const char *path, int epoll_fd, struct vt_store *store, struct vt_roster *roster,
                   struct vt_agents **ret, struct vt_err *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct vt_agents *a;

    if (strlen(path) >= sizeof(addr.sun_path))
        return vt_fail(err, ENAMETOOLONG, "agent socket path is too long: %s", path);
    a = calloc(1, sizeof(*a));
    if (!a)
        return vt_fail(err, ENOMEM, "out of memory");
    strcpy(addr.sun_path, path);
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        a->channels[i] = (struct channel){ .owner = a, .fd = -1 };
    a->epoll_fd = epoll_fd;
    a->store = store;
    a->roster = roster;
    a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = a };
    mode_t mask = umask(0077);
    int failed = a->fd < 0 || take_path(a->fd, &addr) || listen(a->fd, 64) ||
                 epoll_ctl(epoll_fd, EPOLL_CTL_ADD, a->fd, &ev);
    int number = errno;
    umask(mask);
    if (failed) {
        vt_agents_close(a);
        return vt_fail(err, number, "cannot listen for agents at %s: %s", path, strerror(number));
    }
    a->armed = true;
    a->accepts_left = ACCEPTS_PER_TICK;
    strcpy(a->path, path);
    *ret = a;
    return 0;
}

/* Out of the epoll set, not its events cleared: a hangup would be told all the same, and again at once. */
static bool arm(struct vt_agents *a, int fd, void *ptr, bool *armed)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = ptr };

    if (!*armed)
        *armed = epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
    return *armed;
}

static void disarm(struct vt_agents *a, int fd, bool *armed)
{
    if (*armed)
        epoll_ctl(a->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    *armed = false;
}

static void drop_channel(struct channel *c)
{
    c->owner->lost_elsewhere += c->lost;
    close(c->fd);
    c->fd = -1;
}

static void renew(struct channel *c)
{
    c->bytes_left = BYTES_PER_TICK;
    c->frames_left = FRAMES_PER_TICK;
    c->losses_left = LOSSES_PER_TICK;
}

static void accept_channel(struct vt_agents *a)
{
    int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = { 0 };
    socklen_t len = sizeof(who);
    struct channel *c = NULL;
    uint64_t start;

    if (fd < 0)
        return;
    if (--a->accepts_left == 0)
        disarm(a, a->fd, &a->armed);
    for (size_t i = 0; i < MAX_CHANNELS && !c; i++)
        if (a->channels[i].fd < 0)
            c = &a->channels[i];
    if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) ||
        !(start = vt_process_start((uint32_t)who.pid))) {
        a->lost_elsewhere++; /* at least one frame: nobody connects to say nothing */
        close(fd);
        return;
    }
    *c = (struct channel){ .owner = a, .fd = fd, .tgid = (uint32_t)who.pid, .start_ns = start };
    renew(c);
    if (!arm(a, fd, c, &c->armed)) {
        c->lost++;
        drop_channel(c);
    }
}

/* A relay's time is believed only where it is possible: not ahead of us, not long ago. */
static host_ns relayed_time(const struct channel *c, host_ns now)
{
    const host_ns t = { c->relay.host_ns };

    return t.v && t.v <= now.v && now.v - t.v < 10 * VT_NSEC_PER_SEC ? t : now;
}

/* Whoever connects is a VM only once it has sent a good frame. False: its frames are not kept. */
static bool bind_vm(struct channel *c)
{
    struct vt_agents *a = c->owner;

    if (c->vm == 0) {
        int64_t vm = vt_roster_process(a->roster, c->tgid, c->start_ns, a->err);
        if (vm < 0)
            a->error = (int)vm;
        else
            c->vm = vm;
    }
    return c->vm > 0;
}

static void on_frame(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct channel *c = context;
    struct vt_guest_record rec = { .type = type };

    if (type == VTG_RELAY) {
        c->relay = body->relay;
        return;
    }
    rec.host = relayed_time(c, vt_host_now());
    rec.host_tsc.v = rec.host.v == c->relay.host_ns ? c->relay.host_tsc : 0;
    c->relay.host_ns = 0;
    if (c->frames_left)
        c->frames_left--; /* what one read brings beyond the allowance is still taken */
    if (!c->owner->store) {
        c->owner->lost_elsewhere++;
        return;
    }
    if (!bind_vm(c))
        return;
    rec.vm = c->vm;
    switch (type) {
    case VTG_HELLO:
        rec.hello = c->hello = body->hello;
        c->has_hello = true;
        break;
    case VTG_CLOCKS:
        rec.clocks = body->clocks;
        break;
    case VTG_MARK:
        rec.mark = body->mark;
        break;
    case VTG_GAPS:
        rec.gaps = body->gaps;
        break;
    default:
        return;
    }
    int r = vt_store_put_guest_record(c->owner->store, &rec, c->owner->err);
    if (r)
        c->owner->error = r;
}

/*
 * The decoder's counters are the sender's word: one frame may claim 2^31 lost
 * before it.  What n bytes tell is believed up to one loss per smallest frame,
 * so that one liar cannot deface a recording of many.
 */
static void count_losses(struct channel *c, size_t n)
{
    const struct vt_frame_decoder *d = &c->decoder;
    const uint64_t told = d->bad_crc + d->bad_length + d->lost_frames;
    const uint64_t room = (n + sizeof(struct vtg_frame) - 1) / sizeof(struct vtg_frame);
    uint64_t fresh = told - c->told;

    if (fresh > room)
        fresh = room;
    if (fresh > c->losses_left)
        fresh = c->losses_left;
    c->told = told;
    c->losses_left -= (unsigned)fresh;
    c->lost += fresh;
}

static void read_channel(struct channel *c)
{
    char buf[BYTES_PER_READ];

    for (int i = 0; i < READS_PER_EVENT; i++) {
        if (!c->bytes_left || !c->frames_left) {
            disarm(c->owner, c->fd, &c->armed);
            return;
        }
        ssize_t n = read(c->fd, buf, c->bytes_left < sizeof(buf) ? c->bytes_left : sizeof(buf));
        if (n > 0) {
            c->bytes_left -= (size_t)n;
            vt_frame_decode(&c->decoder, buf, (size_t)n, on_frame, c);
            count_losses(c, (size_t)n);
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            drop_channel(c);
        return;
    }
}

static void tick_channel(struct channel *c)
{
    renew(c);
    if (arm(c->owner, c->fd, c, &c->armed)) {
        read_channel(c);
    } else {
        c->lost++;
        drop_channel(c);
    }
}

bool vt_agents_event(struct vt_agents *a, void *ptr, int *ret_error, struct vt_err *err)
{
    struct channel *c = ptr;

    if (!a)
        return false;
    a->err = err;
    a->error = 0;
    *ret_error = 0;
    if (ptr == a) {
        accept_channel(a);
        return true;
    }
    if (c < a->channels || c >= a->channels + MAX_CHANNELS)
        return false;
    if (c->fd >= 0)
        read_channel(c);
    *ret_error = a->error;
    return true;
}

int vt_agents_tick(struct vt_agents *a, struct vt_err *err)
{
    if (!a)
        return 0;
    a->err = err;
    a->error = 0;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            tick_channel(&a->channels[i]);
    a->accepts_left = ACCEPTS_PER_TICK;
    arm(a, a->fd, a, &a->armed);
    return a->error;
}

static int say_again(struct channel *c, struct vt_err *err)
{
    struct vt_guest_record rec = { .type = VTG_HELLO, .host = vt_host_now(), .hello = c->hello };

    if (c->fd < 0 || !c->has_hello)
        return 0;
    c->owner->error = 0;
    if (!bind_vm(c))
        return c->owner->error;
    rec.vm = c->vm;
    return vt_store_put_guest_record(c->owner->store, &rec, err);
}

int vt_agents_move(struct vt_agents *a, struct vt_store *store, struct vt_roster *roster, struct vt_err *err)
{
    int e = 0;

    a->store = store;
    a->roster = roster;
    a->err = err;
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        a->channels[i].vm = 0; /* ids are a recording's own */
        if (store && !e)
            e = say_again(&a->channels[i], err);
    }
    return e;
}

uint64_t vt_agents_lost(const struct vt_agents *a)
{
    uint64_t lost;

    if (!a)
        return 0;
    lost = a->lost_elsewhere;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            lost += a->channels[i].lost;
    return lost;
}

void vt_agents_close(struct vt_agents *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            drop_channel(&a->channels[i]);
    if (a->fd >= 0)
        close(a->fd);
    if (a->path[0])
        unlink(a->path);
    free(a);
}

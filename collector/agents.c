/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The set of channels: who may come, whom we go to, and when. */
#include "agents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "hostinfo.h"
#include "monitor.h"
#include "qemu.h"

enum {
    MAX_CHANNELS = 256,
    ACCEPTS_PER_TICK = MAX_CHANNELS,
    MAX_ENDS = 256, /* named and found */
    /* Connections that one listener takes up in a tick, let in or not: who comes again at once is not to hold
       us up. */
    COMERS_PER_TICK = 16,
};

#define CONNECT_WITHIN (5 * VT_NSEC_PER_SEC)
#define LOOK_AGAIN     (2 * VT_NSEC_PER_SEC) /* at a QEMU's command line, and for a process by name */

/* Where an agent is to be had. */
struct end {
    struct vt_agent_address address;
    bool found; /* on a QEMU's command line: the VM is its process for good */
    bool seen;  /* its VM was there */
    uint32_t tgid;
    uint64_t start_ns;
    int listen_fd; /* -1: we connect */
    bool armed;
    unsigned comers_left;
    struct vt_channel *channel; /* of a named or found one: there is one at a time */
    host_ns look_at;            /* not before */
    int told;                   /* the failure that was told last, errno */
};

struct vt_agents {
    struct vt_channel_sink sink;
    int fd, timer_fd;
    bool armed, finds;
    const char *only; /* found are ports of this VM alone; NULL: of all */
    size_t looked_at; /* VMs of the roster that were considered */
    unsigned accepts_left;
    struct vt_agent_address address; /* of our own socket */
    struct vt_channel channels[MAX_CHANNELS];
    struct vt_budgets budgets;
    size_t nr_ends;
    struct end ends[MAX_ENDS];
};

/* ---- the epoll set ---- */

static bool watch(const struct vt_agents *a, int fd, void *ptr, bool *armed)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = ptr };

    if (!*armed)
        *armed = epoll_ctl(a->sink.epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
    return *armed;
}

static void unwatch(const struct vt_agents *a, int fd, bool *armed)
{
    if (*armed)
        epoll_ctl(a->sink.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    *armed = false;
}

/* Wakes us when the next question is due. */
static void set_timer(const struct vt_agents *a)
{
    const host_ns now = vt_host_now();
    struct itimerspec t = { 0 };
    uint64_t soonest = UINT64_MAX;

    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        const uint64_t wants = vt_channel_wants(&a->channels[i], now);
        if (wants < soonest)
            soonest = wants;
    }
    if (soonest != UINT64_MAX) {
        t.it_value.tv_sec = (time_t)(soonest / VT_NSEC_PER_SEC);
        t.it_value.tv_nsec = (long)(soonest % VT_NSEC_PER_SEC) + (soonest == 0);
    }
    timerfd_settime(a->timer_fd, 0, &t, NULL);
}

/* ---- begin and end ---- */

int vt_agents_open(const char *path, int epoll_fd, struct vt_store *store, struct vt_roster *roster,
                   struct vt_agents **ret, struct vt_err *err)
{
    struct vt_agents *a = calloc(1, sizeof(*a));
    bool timed = false;

    if (!a)
        return vt_fail(err, ENOMEM, "out of memory");
    a->fd = a->timer_fd = -1;
    a->sink = (struct vt_channel_sink){
        .epoll_fd = epoll_fd, .store = store, .roster = roster, .budgets = &a->budgets
    };
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        a->channels[i] = (struct vt_channel){ .sink = &a->sink, .fd = -1 };
    if (!vt_agent_address_unix(path, &a->address)) {
        vt_agents_close(a);
        return vt_fail(err, ENAMETOOLONG, "agent socket path is too long: %s", path);
    }
    a->fd = vt_agent_listen(&a->address, err);
    if (a->fd < 0) {
        const int e = a->fd;
        vt_agents_close(a);
        return e;
    }
    a->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (a->timer_fd < 0 || !watch(a, a->timer_fd, &a->timer_fd, &timed) || !watch(a, a->fd, a, &a->armed)) {
        const int number = errno;
        vt_agents_close(a);
        return vt_fail(err, number, "cannot wait for agents: %s", strerror(number));
    }
    a->accepts_left = ACCEPTS_PER_TICK;
    *ret = a;
    return 0;
}

static void remove_end(struct vt_agents *a, struct end *end);

void vt_agents_close(struct vt_agents *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            vt_channel_drop(&a->channels[i]);
    for (size_t i = 0; i < a->nr_ends; i++)
        vt_agent_unlisten(&a->ends[i].address, a->ends[i].listen_fd);
    vt_agent_unlisten(&a->address, a->fd);
    if (a->timer_fd >= 0)
        close(a->timer_fd);
    free(a);
}

/* ---- channels ---- */

static struct vt_channel *free_channel(struct vt_agents *a)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd < 0)
            return &a->channels[i];
    return NULL;
}

/* Who connects to our own socket: a monitor of ours, or an agent in a process of this host. */
static void accept_channel(struct vt_agents *a)
{
    int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred who = { 0 };
    socklen_t len = sizeof(who);
    struct vt_channel *c = free_channel(a);
    uint64_t start;

    if (fd < 0)
        return;
    if (--a->accepts_left == 0)
        unwatch(a, a->fd, &a->armed);
    if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) ||
        !(start = vt_process_start((uint32_t)who.pid))) {
        a->sink.lost_elsewhere++; /* at least one frame: nobody connects to say nothing */
        close(fd);
        return;
    }
    vt_channel_init(c, &a->sink, fd, (uint32_t)who.pid, start, "agent socket");
    c->trusted = true;
    if (!vt_channel_arm(c)) {
        c->lost++;
        vt_channel_close(c);
    }
}

/* ---- ends: whose they are ---- */

static bool is_open(const struct end *end)
{
    return end->channel && end->channel->of == end && end->channel->fd >= 0;
}

/* The VM it is for, as it is now: one that was started anew has another process. */
static bool find_vm(struct vt_agents *a, struct end *end)
{
    struct vt_known_vm vm;
    struct vt_monitor p;
    const host_ns now = vt_host_now();

    if (end->found)
        return true;
    if (!a->sink.store)
        return false;
    if (vt_roster_find(a->sink.roster, end->address.name, &vm)) {
        end->tgid = vm.tgid;
        end->start_ns = vm.start_ns;
        return end->seen = true;
    }
    if (now.v < end->look_at.v)
        return false;
    end->look_at.v = now.v + LOOK_AGAIN;
    if (!vt_monitor_find(end->address.name, &p))
        return false;
    const char *name = p.by_pid ? NULL : end->address.name;
    const int64_t id = vt_roster_guest(a->sink.roster, p.tgid, p.start_ns, p.kind, name, a->sink.err);
    if (id < 0)
        a->sink.error = (int)id;
    end->tgid = p.tgid;
    end->start_ns = p.start_ns;
    return end->seen = id > 0;
}

static struct vt_known_vm vm_of(const struct end *end)
{
    return (struct vt_known_vm){ .tgid = end->tgid, .start_ns = end->start_ns };
}

static void tell(struct vt_agents *a, const struct vt_known_vm *vm, enum vt_channel_event_kind kind,
                 const char *text)
{
    struct vt_channel_event row = { .at = vt_host_now(), .kind = kind, .count = 1 };

    row.vm = vt_roster_process(a->sink.roster, vm->tgid, vm->start_ns, a->sink.err);
    memcpy(row.text, text, strnlen(text, sizeof(row.text)));
    const int e = row.vm < 0 ? (int)row.vm : vt_store_put_channel_event(a->sink.store, &row, a->sink.err);
    if (e)
        a->sink.error = e;
}

/* Once, however often it is tried. */
static void tell_failure(struct vt_agents *a, struct end *end, int number)
{
    const struct vt_known_vm vm = vm_of(end);

    if (!a->sink.store || end->told == number)
        return;
    end->told = number;
    if (number == EBUSY)
        tell(a, &vm, VT_CHANNEL_HELD, end->address.where);
    else
        tell(a, &vm, VT_CHANNEL_FAILED, number == EPERM ? "another process listens there" : strerror(number));
}

/* NULL: it could not be begun, and fd is closed. */
static struct vt_channel *begin_channel(struct vt_agents *a, const struct end *end,
                                        const struct vt_known_vm *vm, int fd, bool pending)
{
    struct vt_channel *c = free_channel(a);

    if (!c) {
        close(fd);
        return NULL;
    }
    vt_channel_init(c, &a->sink, fd, vm->tgid, vm->start_ns, end->address.where);
    c->of = end;
    c->connecting = pending;
    vt_channel_ask(c);
    if (!pending)
        vt_channel_happens(c, VT_CHANNEL_OPENED, 1, c->where);
    if (!vt_channel_arm(c))
        vt_channel_close(c);
    return c;
}

/* The one channel of an end that is for one VM. */
static void begin_own(struct vt_agents *a, struct end *end, int fd, bool pending)
{
    const struct vt_known_vm vm = vm_of(end);

    end->channel = begin_channel(a, end, &vm, fd, pending);
    if (!end->channel)
        tell_failure(a, end, ENFILE);
    else if (!pending)
        end->told = 0;
}

/* ---- ends that we go to ---- */

static void connect_end(struct vt_agents *a, struct end *end)
{
    bool pending = false;
    const int fd = vt_agent_connect(&end->address, &pending);

    if (fd >= 0)
        begin_own(a, end, fd, pending);
    else
        tell_failure(a, end, -fd);
}

static int connect_port(struct end *end, const struct vt_qemu_port *port)
{
    struct vt_agent_address address;
    char path[VT_UNIX_PATH];
    bool pending;

    vt_qemu_port_path(port, path);
    if (!vt_agent_address_unix(path, &address))
        return -ENAMETOOLONG;
    const int fd = vt_agent_connect(&address, &pending);
    if (fd < 0 || vt_qemu_serves(port, end->tgid, fd))
        return fd;
    close(fd);
    return -EPERM;
}

/* A QEMU's socket is looked for anew each time: whether it has one, and whether it is free. */
static void connect_found(struct vt_agents *a, struct end *end)
{
    const host_ns now = vt_host_now();
    struct vt_qemu_port port;

    if (now.v < end->look_at.v)
        return;
    end->look_at.v = now.v + LOOK_AGAIN;
    int fd = vt_qemu_open_port(end->tgid, &port);
    if (fd == -ENODEV) /* a QEMU without a port is no failure */
        return;
    snprintf(end->address.where, sizeof(end->address.where), "unix:%s", port.place.path);
    if (fd == 0) {
        fd = connect_port(end, &port);
        vt_qemu_close_port(&port);
    }
    if (fd >= 0)
        begin_own(a, end, fd, false);
    else
        tell_failure(a, end, -fd);
}

static void tick_channel_of(struct vt_agents *a, struct end *end)
{
    struct vt_channel *c = end->channel;

    if (c->connecting && vt_host_now().v - c->opened.v > CONNECT_WITHIN) {
        vt_channel_close(c);
        tell_failure(a, end, ETIMEDOUT);
    } else if (!c->connecting) {
        end->told = 0;
    }
}

/* ---- ends that come to us ---- */

static bool same_process(const struct vt_known_vm *vm, uint32_t tgid, uint64_t start_ns)
{
    return vm->tgid == tgid && vt_same_start(vm->start_ns, start_ns);
}

/* The VM whose device has this CID. */
static bool find_cid(const struct vt_agents *a, uint32_t cid, struct vt_known_vm *ret)
{
    for (size_t i = 0; a->sink.store && vt_roster_at(a->sink.roster, i, ret); i++)
        if (vt_process_start(ret->tgid) && vt_qemu_cid_of(ret->tgid) == cid)
            return true;
    return false;
}

/* A vsock's CID is the kernel's word for the VM: the name must not say otherwise. */
static bool is_its_vsock(const struct vt_agents *a, const struct end *end, int fd)
{
    struct vt_known_vm vm;

    if (end->address.way != VT_WAY_VSOCK)
        return true;
    if (!find_cid(a, vt_agent_peer_cid(fd), &vm)) /* of another monitor than QEMU: the name tells */
        return vt_qemu_cid_of(end->tgid) == 0;
    return same_process(&vm, end->tgid, end->start_ns);
}

/* Whose is it, where no name says so? By the kernel's word: a vsock's CID, or a unix socket's process. */
static bool find_guest(const struct vt_agents *a, const struct end *end, int fd, struct vt_known_vm *ret)
{
    if (end->address.way == VT_WAY_VSOCK)
        return find_cid(a, vt_agent_peer_cid(fd), ret);
    return end->address.way == VT_WAY_UNIX && vt_agent_peer_process(fd, &ret->tgid) &&
           (ret->start_ns = vt_process_start(ret->tgid)) != 0;
}

static struct vt_channel *channel_of(struct vt_agents *a, const struct end *end, const struct vt_known_vm *vm)
{
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        struct vt_channel *c = &a->channels[i];
        if (c->fd >= 0 && c->of == end && same_process(vm, c->tgid, c->start_ns))
            return c;
    }
    return NULL;
}

static bool may_accept(struct vt_agents *a, struct end *end)
{
    if (end->comers_left == 0)
        return false;
    if (end->address.name[0] == 0)
        return a->sink.store;
    return find_vm(a, end) && (!is_open(end) || end->channel->silent);
}

/* Where all guests may come, each has one channel: it cannot take the others' room, only their turn in a
 * tick. */
static bool accept_guest(struct vt_agents *a, struct end *end, int fd)
{
    struct vt_known_vm vm = { .tgid = 0 };
    struct vt_channel *before;

    if (!find_guest(a, end, fd, &vm))
        return false;
    before = channel_of(a, end, &vm);
    if (before && !before->silent)
        return false;
    if (before)
        vt_channel_close(before);
    end->seen = true;
    if (!begin_channel(a, end, &vm, fd, false) && end->told != ENFILE) {
        end->told = ENFILE;
        tell(a, &vm, VT_CHANNEL_FAILED, strerror(ENFILE));
    }
    return true;
}

static bool accept_named(struct vt_agents *a, struct end *end, int fd)
{
    if (!is_its_vsock(a, end, fd))
        return false;
    if (is_open(end))
        vt_channel_close(end->channel);
    begin_own(a, end, fd, false);
    return true;
}

/* One at a time, and one that no longer answers gives way: it may be the guest's life before. */
static void accept_end(struct vt_agents *a, struct end *end)
{
    if (!may_accept(a, end)) {
        unwatch(a, end->listen_fd, &end->armed);
        return;
    }
    const int fd = accept4(end->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    end->comers_left--; /* let in or not: each costs a look at who it is, and rows of its own */
    if (end->address.name[0] ? accept_named(a, end, fd) : accept_guest(a, end, fd))
        return;
    a->sink.lost_elsewhere++;
    close(fd);
}

/* ---- ends: all of them ---- */

/* It was under way when it was begun. */
static void tell_failed_connect(struct vt_agents *a, struct end *end)
{
    struct vt_channel *c = end->channel;

    if (!c || c->of != end || c->fd >= 0 || !c->failed)
        return;
    tell_failure(a, end, c->failed);
    c->failed = 0;
}

static void tick_end(struct vt_agents *a, struct end *end)
{
    if (is_open(end))
        tick_channel_of(a, end);
    end->comers_left = COMERS_PER_TICK;
    if (end->listen_fd >= 0) {
        if (may_accept(a, end))
            watch(a, end->listen_fd, end, &end->armed);
        return;
    }
    if (is_open(end) || !a->sink.store || !find_vm(a, end))
        return;
    tell_failed_connect(a, end);
    if (end->found)
        connect_found(a, end);
    else
        connect_end(a, end);
}

static int add_end(struct vt_agents *a, const struct end *end, struct vt_err *err)
{
    if (a->nr_ends == MAX_ENDS)
        return vt_fail(err, ENOSPC, "there are more agents than %d", MAX_ENDS);
    a->ends[a->nr_ends++] = *end;
    return 0;
}

int vt_agents_name(struct vt_agents *a, const struct vt_agent_address *addresses, size_t n,
                   struct vt_err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct end end = { .address = addresses[i], .listen_fd = -1 };
        if (addresses[i].listens && (end.listen_fd = vt_agent_listen(&addresses[i], err)) < 0)
            return end.listen_fd;
        const int e = add_end(a, &end, err);
        if (e) {
            vt_agent_unlisten(&addresses[i], end.listen_fd);
            return e;
        }
    }
    return 0;
}

void vt_agents_find(struct vt_agents *a, const char *only)
{
    a->finds = true;
    a->only = only;
}

static bool has_end(const struct vt_agents *a, const struct vt_known_vm *vm)
{
    for (size_t i = 0; i < a->nr_ends; i++)
        if (same_process(vm, a->ends[i].tgid, a->ends[i].start_ns))
            return true;
    return false;
}

/* Ends of processes that are gone make room. */
static void remove_gone(struct vt_agents *a)
{
    for (size_t i = a->nr_ends; i-- > 0;) {
        const uint64_t start_ns = vt_process_start(a->ends[i].tgid); /* a pid may come again */
        if (a->ends[i].found && !is_open(&a->ends[i]) &&
            !(start_ns && vt_same_start(start_ns, a->ends[i].start_ns)))
            remove_end(a, &a->ends[i]);
    }
}

/* The last one takes its place, and its channels are told. */
static void remove_end(struct vt_agents *a, struct end *end)
{
    struct end *last = &a->ends[--a->nr_ends];

    if (end == last)
        return;
    unwatch(a, last->listen_fd, &last->armed); /* the epoll set knows it by its place; until the next tick */
    *end = *last;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].of == last)
            a->channels[i].of = end;
}

/* VMs that nobody named an agent for: their QEMU may have one. Each is considered once, and has its end then.
 */
static void find_ends(struct vt_agents *a)
{
    struct vt_known_vm vm;

    remove_gone(a);
    for (; a->sink.store && a->nr_ends < MAX_ENDS && vt_roster_at(a->sink.roster, a->looked_at, &vm);
         a->looked_at++) {
        const struct end end = { .found = true, .tgid = vm.tgid, .start_ns = vm.start_ns, .listen_fd = -1 };
        if (!has_end(a, &vm) && vt_process_start(vm.tgid) &&
            (!a->only || vt_roster_means(a->sink.roster, a->only, vm.tgid, vm.start_ns)))
            add_end(a, &end, NULL);
    }
}

const char *vt_agents_unseen(const struct vt_agents *a, size_t i)
{
    for (size_t k = 0; a && k < a->nr_ends; k++)
        if (!a->ends[k].found && !a->ends[k].seen && a->ends[k].address.name[0] && i-- == 0)
            return a->ends[k].address.name;
    return NULL;
}

const char *vt_agents_held(const struct vt_agents *a, size_t i)
{
    for (size_t k = 0; a && a->sink.store && k < a->nr_ends; k++) {
        const struct end *end = &a->ends[k];
        if (end->found && end->told == EBUSY && i-- == 0)
            return vt_roster_name(a->sink.roster, end->tgid, end->start_ns);
    }
    return NULL;
}

/* ---- events and ticks ---- */

static void on_timer(struct vt_agents *a)
{
    uint64_t expirations;
    const host_ns now = vt_host_now();

    if (read(a->timer_fd, &expirations, sizeof(expirations)) != sizeof(expirations))
        return;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            vt_channel_time(&a->channels[i], now);
}

static bool is_channel(const struct vt_agents *a, const void *ptr)
{
    return (const char *)ptr >= (const char *)a->channels &&
           (const char *)ptr < (const char *)(a->channels + MAX_CHANNELS);
}

static bool is_end(const struct vt_agents *a, const void *ptr)
{
    return (const char *)ptr >= (const char *)a->ends &&
           (const char *)ptr < (const char *)(a->ends + MAX_ENDS);
}

bool vt_agents_event(struct vt_agents *a, void *ptr, int *ret_error, struct vt_err *err)
{
    if (!a)
        return false;
    a->sink.err = err;
    a->sink.error = 0;
    *ret_error = 0;
    if (ptr == a)
        accept_channel(a);
    else if (ptr == &a->timer_fd)
        on_timer(a);
    else if (is_end(a, ptr))
        accept_end(a, ptr);
    else if (!is_channel(a, ptr))
        return false;
    else if (((struct vt_channel *)ptr)->fd >= 0)
        vt_channel_read(ptr);
    set_timer(a);
    *ret_error = a->sink.error;
    return true;
}

int vt_agents_tick(struct vt_agents *a, struct vt_err *err)
{
    if (!a)
        return 0;
    a->sink.err = err;
    a->sink.error = 0;
    for (size_t i = 0; i < a->nr_ends; i++)
        tick_end(a, &a->ends[i]);
    if (a->finds)
        find_ends(a);
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            vt_channel_tick(&a->channels[i]);
    a->accepts_left = ACCEPTS_PER_TICK;
    watch(a, a->fd, a, &a->armed);
    set_timer(a);
    return a->sink.error;
}

int vt_agents_end(struct vt_agents *a, struct vt_err *err)
{
    int e = vt_agents_tick(a, err);

    for (size_t i = 0; a && !e && i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            vt_channel_flush(&a->channels[i], true);
    return e || !a ? e : a->sink.error;
}

int vt_agents_move(struct vt_agents *a, struct vt_store *store, struct vt_roster *roster, struct vt_err *err)
{
    a->sink.err = err;
    a->sink.error = 0;
    for (size_t i = 0; i < MAX_CHANNELS && store;
         i++) /* where there is no next one, this one can't be written */
        if (a->channels[i].fd >= 0)
            vt_channel_flush(&a->channels[i], true);
    a->sink.store = store;
    a->sink.roster = roster;
    a->looked_at = 0;
    for (size_t i = 0; i < a->nr_ends; i++)
        a->ends[i].told = 0; /* each recording says why it has nothing */
    for (size_t i = 0; i < MAX_CHANNELS; i++) {
        a->channels[i].vm = 0; /* ids are a recording's own */
        if (a->channels[i].fd >= 0 && store && !a->sink.error)
            vt_channel_say_again(&a->channels[i]);
    }
    set_timer(a);
    return a->sink.error;
}

uint64_t vt_agents_lost(const struct vt_agents *a)
{
    uint64_t lost;

    if (!a)
        return 0;
    lost = a->sink.lost_elsewhere;
    for (size_t i = 0; i < MAX_CHANNELS; i++)
        if (a->channels[i].fd >= 0)
            lost += a->channels[i].lost;
    return lost;
}

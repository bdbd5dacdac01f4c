/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "timing.h"

#include <bpf/bpf.h>
#include <cap-ng.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_US = 200000 };

/* One descriptor, or none, beside one byte. */
union parcel {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void hand_over(int socket, int fd)
{
    char byte = 't';
    struct iovec iov = { &byte, 1 };
    union parcel parcel = { .room = { 0 } };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        msg.msg_control = parcel.room;
        msg.msg_controllen = sizeof(parcel.room);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    sendmsg(socket, &msg, MSG_NOSIGNAL);
}

/* Until the other end is closed. */
static _Noreturn void serve(int socket, pid_t parent)
{
    char byte;

    prctl(PR_SET_NAME, "vtime-timing");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    capng_clear(CAPNG_SELECT_ALL);
    if (getppid() != parent || dup2(socket, 0) != 0 || close_range(1, ~0U, 0) ||
        capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN) ||
        capng_apply(CAPNG_SELECT_ALL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _exit(1);
    while (recv(0, &byte, 1, 0) == 1) {
        const int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
        hand_over(0, fd);
        if (fd >= 0)
            close(fd);
    }
    _exit(0);
}

void vt_timing_start(struct vt_timing *ret)
{
    const struct timeval patience = { .tv_usec = PATIENCE_US };
    const pid_t parent = getpid();
    int pair[2];

    if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return;
    const pid_t pid = fork();
    if (pid == 0)
        serve(pair[1], parent);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return;
    }
    /* it answers at once, or is gone: our loop must not wait for it */
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    *ret = (struct vt_timing){ pair[0], pid };
}

int vt_timing_on(const struct vt_timing *t)
{
    char byte = 't';
    struct iovec iov = { &byte, 1 };
    union parcel parcel = { .room = { 0 } };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = parcel.room, .msg_controllen = sizeof(parcel.room)
    };
    int fd = -1;

    if (t->fd < 0)
        return bpf_enable_stats(BPF_STATS_RUN_TIME);
    if (send(t->fd, &byte, 1, MSG_NOSIGNAL) != 1 || recvmsg(t->fd, &msg, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

void vt_timing_stop(struct vt_timing *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->pid > 0)
        waitpid(t->pid, NULL, 0);
    *t = VT_TIMING_OWN;
}

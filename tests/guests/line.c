/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * line SOCKET FD -- COMMAND…: runs COMMAND with descriptor FD as one end of a line;
 * the other end is whoever connects to the unix socket, one at a time. Nobody there:
 * what comes over the line is dropped, as QEMU's serial ports do it. For User Mode
 * Linux (ssl0=fd:FD), which has no such channel of its own.
 * SIGUSR1 to the process whose pid is in SOCKET.pid cuts the line: who is there is hung up, nobody
 * is let in, and what comes is dropped; another one joins it again.
 * COMMAND keeps this process's pid; the line is served by a process of its own session
 * that is nobody's child. When COMMAND is gone it ends what that left in its process
 * group: of User Mode Linux, threads with the memory of its main process outlive that one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "line: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* What was read from one side and not yet written to the other. */
struct way {
    char bytes[4096];
    size_t at, n;
};

/* way_fill: false at the end of the source */
static bool way_fill(struct way *w, int from)
{
    ssize_t r = read(from, w->bytes, sizeof(w->bytes));

    w->at = 0;
    w->n = r > 0 ? (size_t)r : 0;
    return r > 0 || (r < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool way_drain(struct way *w, int to)
{
    ssize_t r = send(to, w->bytes + w->at, w->n - w->at, MSG_NOSIGNAL);

    if (r > 0)
        w->at += (size_t)r;
    if (w->at == w->n)
        w->at = w->n = 0;
    return r > 0 || (r < 0 && (errno == EAGAIN || errno == EINTR));
}

struct line {
    int door, guest, client; /* client: -1 while nobody is there */
    int command;             /* descriptor of COMMAND's process */
    int signals;
    const char *path;
    struct way out, in; /* of the guest, to the guest */
};

static void hang_up(struct line *l)
{
    close(l->client);
    l->client = -1;
    l->in.at = l->in.n = 0;
}

/* Waits until something can be done, for as long as it takes; false: COMMAND has ended. */
static bool wait_for(const struct line *l, struct pollfd *guest, struct pollfd *client, bool *told)
{
    struct pollfd p[4] = { { .fd = l->guest },
                           { .fd = l->client < 0 ? l->door : l->client },
                           { .fd = l->command, .events = POLLIN },
                           { .fd = l->signals, .events = POLLIN } };

    if (l->out.n == 0)
        p[0].events |= POLLIN;
    else if (l->client >= 0)
        p[1].events |= POLLOUT;
    if (l->in.n == 0)
        p[1].events |= POLLIN;
    else
        p[0].events |= POLLOUT;
    if (poll(p, 4, -1) < 0 && errno != EINTR)
        die("poll");
    *guest = p[0];
    *client = p[1];
    *told = p[3].revents != 0;
    return p[2].revents == 0;
}

static int open_door(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1) != 0)
        die(path);
    return fd;
}

static void cut_or_join(struct line *l)
{
    struct signalfd_siginfo info;

    if (read(l->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (l->client >= 0)
        hang_up(l);
    if (l->door < 0) {
        l->door = open_door(l->path);
        return;
    }
    close(l->door);
    l->door = -1;
    unlink(l->path);
}

/* serve: returns when the guest is gone */
static void serve(struct line *l)
{
    for (;;) {
        struct pollfd guest, client;
        bool there = true, told = false;

        if (!wait_for(l, &guest, &client, &told))
            return;
        if (told) {
            cut_or_join(l);
            continue;
        }
        if ((guest.revents & POLLOUT) && !way_drain(&l->in, l->guest))
            return;
        if ((guest.revents & POLLIN) ? !way_fill(&l->out, l->guest) : (guest.revents & POLLHUP))
            return;
        if (l->client < 0) {
            l->out.at = l->out.n = 0;
            if (client.revents & POLLIN)
                l->client = accept4(l->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            continue;
        }
        if (client.revents & POLLOUT)
            there = way_drain(&l->out, l->client);
        if (there)
            there = (client.revents & POLLIN) ? way_fill(&l->in, l->client)
                                              : !(client.revents & (POLLHUP | POLLERR));
        if (!there)
            hang_up(l);
    }
}

/* Once COMMAND, the leader of its process group, has ended: the rest of the group. */
static void end_rest(const struct line *l, pid_t command)
{
    struct pollfd p = { .fd = l->command, .events = POLLIN };

    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    kill(-command, SIGKILL);
}

/* SIGUSR1 by a descriptor; and where it is to be sent to. */
static void take_signals(struct line *l)
{
    char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    sigset_t set;
    FILE *f;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        die("sigprocmask");
    l->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    snprintf(name, sizeof(name), "%s.pid", l->path);
    f = fopen(name, "w");
    if (l->signals < 0 || !f)
        die(name);
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
}

/* Of two forks the first ends at once: the second belongs to nobody. */
static void serve_apart(struct line *l, int guests_end)
{
    const pid_t command = getpid();
    const bool leads = getpgrp() == command;
    pid_t pid;

    l->command = (int)syscall(SYS_pidfd_open, command, 0);
    if (l->command < 0)
        die("pidfd_open");
    fcntl(l->command, F_SETFD, FD_CLOEXEC);
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid > 0) {
        waitpid(pid, NULL, 0);
        return;
    }
    setsid();
    if (fork() != 0)
        _exit(0);
    close(guests_end);
    take_signals(l);
    /* What the caller's other descriptors lead to must not be held open. */
    for (int fd = 0; fd < 1024; fd++)
        if (fd != l->door && fd != l->guest && fd != l->command && fd != l->signals)
            close(fd);
    fcntl(l->guest, F_SETFL, O_NONBLOCK);
    serve(l);
    if (leads)
        end_rest(l, command);
    _exit(0);
}

int main(int argc, char **argv)
{
    int ends[2], fd = argc > 2 ? atoi(argv[2]) : -1;
    static struct line line = { .client = -1 };

    if (argc < 5 || fd < 3 || strcmp(argv[3], "--") != 0) {
        fputs("usage: line SOCKET FD -- COMMAND...\n", stderr);
        return 2;
    }
    line.path = argv[1];
    line.door = open_door(argv[1]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        die("socketpair");
    line.guest = ends[0];
    serve_apart(&line, ends[1]);
    if (ends[1] == fd)
        fcntl(fd, F_SETFD, 0);
    else if (dup2(ends[1], fd) < 0)
        die(argv[2]);
    execvp(argv[4], argv + 4);
    die(argv[4]);
}

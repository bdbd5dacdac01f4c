/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-agent/transport.h"

/* The agent's own bound, and some time to be scheduled in. */
#define ANSWER_NS (VTA_FINISH_NS + UINT64_C(500000000))
/* Descriptors below this one are not left open in the private agent. */
#define CLOSE_BELOW 256

static int connect_daemon(const char *name)
{
    struct sockaddr_un address;
    const int n = vta_local_address(name, &address);
    if (n < 0)
        return n;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, (socklen_t)n) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

/* Whoever waits for the end of our caller's pipes may not wait for this process. */
static void leave_descriptors(int socket, const struct vta_spec *to)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 3; fd < CLOSE_BELOW; fd++)
        if (fd != socket && fd != null && !(to->kind == VTA_FD && (int)to->number == fd))
            close(fd);
    for (int fd = 0; fd < 3; fd++)
        if (!(to->kind == VTA_FD && (int)to->number == fd))
            dup2(null, fd);
}

/* Ends with its client's socket; not by a signal that is meant for the command. */
static void become_agent(int socket, const struct vta_options *options)
{
    static struct vta_agent agent;
    struct vta_options o = *options;
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        signal(ignored[i], SIG_IGN);
    leave_descriptors(socket, &o.to);
    o.socket = NULL;
    o.adopt = socket;
    vta_processes_init(&agent.processes);
    int r = vta_agent_open(&agent, &o);
    if (!r)
        r = vta_agent_run(&agent);
    vta_agent_close(&agent);
    _exit(r);
}

static void start_private(struct vta_client *c, const struct vta_options *options)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        snprintf(c->why, sizeof(c->why), "socketpair: %s", strerror(errno));
        return;
    }
    c->helper = fork();
    if (c->helper == 0) {
        close(pair[0]);
        become_agent(pair[1], options);
    }
    close(pair[1]);
    if (c->helper > 0) {
        c->fd = pair[0];
        return;
    }
    snprintf(c->why, sizeof(c->why), "fork: %s", strerror(errno));
    close(pair[0]);
    c->helper = 0;
}

void vta_client_open(struct vta_client *c, const char *socket, const char *to, const struct vta_options *o)
{
    struct vta_options options = *o;
    memset(c, 0, sizeof(*c));
    c->fd = to ? -1 : connect_daemon(socket);
    if (c->fd >= 0)
        return;
    c->fd = -1;
    if (!to && vta_transport_default(&options.to, c->why, sizeof(c->why)))
        return;
    start_private(c, &options);
}

static bool flush(struct vta_client *c)
{
    unsigned sent = 0;
    while (sent < c->queued &&
           send(c->fd, &c->queue[sent], vta_packet_size(&c->queue[sent]), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        sent++;
    c->queued -= sent;
    memmove(c->queue, c->queue + sent, c->queued * sizeof(*c->queue));
    return c->queued == 0;
}

static void post(struct vta_client *c, const struct vta_packet *packet)
{
    if (c->fd < 0)
        return;
    flush(c);
    if (c->queued == VTA_CLIENT_QUEUE) {
        c->lost++;
        return;
    }
    c->queue[c->queued++] = *packet;
    flush(c);
}

void vta_client_say(struct vta_client *c, enum vtg_type type, const void *payload, size_t n)
{
    struct vta_packet packet = { .magic = VTA_LOCAL_MAGIC, .request = VTA_SAY, .type = (uint16_t)type };
    memcpy((uint8_t *)&packet + offsetof(struct vta_packet, said_mark), payload, n);
    post(c, &packet);
}

void vta_client_watch(struct vta_client *c, enum vta_request request, uint32_t mark, pid_t pid)
{
    const struct vta_packet packet = {
        .magic = VTA_LOCAL_MAGIC, .request = (uint16_t)request, .mark = mark, .pid = (uint32_t)pid
    };
    post(c, &packet);
}

/* True: the socket can be used for `events` before until. */
static bool wait_for(int fd, short events, uint64_t until)
{
    struct pollfd p = { .fd = fd, .events = events };
    for (;;) {
        const uint64_t now = vta_now_ns();
        if (now >= until)
            return false;
        const int r = poll(&p, 1, (int)((until - now) / 1000000u) + 1);
        if (r > 0)
            return (p.revents & events) != 0;
        if (r < 0 && errno != EINTR)
            return false;
    }
}

static enum vta_delivery take_answer(struct vta_client *c, uint64_t until)
{
    struct vta_answer answer = { 0 };
    if (!wait_for(c->fd, POLLIN, until) ||
        recv(c->fd, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer) ||
        answer.magic != VTA_LOCAL_MAGIC) {
        snprintf(c->why, sizeof(c->why), "the agent does not answer");
        return VTA_UNHEARD;
    }
    answer.text[sizeof(answer.text) - 1] = 0;
    c->answer = answer;
    if (answer.delivery < VTA_UNHEARD)
        return (enum vta_delivery)answer.delivery;
    snprintf(c->why, sizeof(c->why), "%s",
             answer.text[0] ? answer.text : "the host has not confirmed that it has it");
    return VTA_UNHEARD;
}

enum vta_delivery vta_client_finish(struct vta_client *c)
{
    const uint64_t until = vta_now_ns() + ANSWER_NS;
    const struct vta_packet packet = { .magic = VTA_LOCAL_MAGIC, .request = VTA_FINISH };
    enum vta_delivery delivery = VTA_UNHEARD;
    if (c->fd < 0)
        return VTA_UNHEARD;
    post(c, &packet);
    while (!flush(c) && wait_for(c->fd, POLLOUT, until))
        ;
    if (c->queued == 0 && !c->lost)
        delivery = take_answer(c, until);
    if (delivery == VTA_UNHEARD && !c->why[0])
        snprintf(c->why, sizeof(c->why), "the agent did not take all marks");
    close(c->fd);
    c->fd = -1;
    if (c->helper > 0)
        waitpid(c->helper, NULL, 0);
    return delivery;
}

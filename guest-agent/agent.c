/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "guest-agent/transport.h"

#define SECOND_NS UINT64_C(1000000000)
/* Processes are looked at no more often: each look is some ten system calls. */
#define PROCESS_LEAST_NS (SECOND_NS / 100)
/* A stopping daemon tries so long to be rid of what it keeps. */
#define STOP_NS SECOND_NS
/* One turn serves so many packets of one client: views come before those. */
#define PACKETS_PER_TURN 32
/*
 * Views wait so long for each other, for so many bytes, or for the next question: each
 * write wakes somebody, and is an exit of the VM where the channel is a device.
 */
#define COMPANY_NS    (SECOND_NS / 4)
#define COMPANY_BYTES 3072
/* In the year 2255: no guest's clock is set to later than the kernel's KTIME_SEC_MAX, in 2262. */
#define NEVER_S INT64_C(9000000000)

/* False: there was no room for it. */
static bool say(struct vta_agent *a, enum vtg_type type, const void *payload, uint32_t len)
{
    const bool kept = vta_ring_put(&a->ring, type, payload, len, vta_tsc());
    if (type != VTG_VIEW)
        a->is_urgent = true;
    return kept;
}

static void say_event(void *context, const struct vtg_event *event)
{
    say(context, VTG_EVENT, event, sizeof(*event));
}

static void say_simple_event(struct vta_agent *a, enum vtg_event_kind kind, int64_t n)
{
    const struct vtg_event event = { .tsc = vta_tsc(), .kind = kind, .a = n };
    say_event(a, &event);
}

static void say_process(void *context, const struct vtg_process *process)
{
    say(context, VTG_PROCESS, process, sizeof(*process));
}

static void read_system(struct vta_agent *a)
{
    const uint64_t session = a->system.session;
    const uint32_t source = a->system.task_source;
    vta_system_read(&a->system);
    a->system.session = session;
    a->system.task_source = source;
    a->system.view_mhz = a->options->rate_mhz;
}

static void say_system(struct vta_agent *a)
{
    read_system(a);
    say(a, VTG_SYSTEM, &a->system, sizeof(a->system));
}

/* Who is new has not heard who the tasks are. */
static void greet(struct vta_agent *a)
{
    read_system(a);
    if (a->tasks)
        vta_tasks_tell_again(a->tasks);
    struct vtg_hello hello = { .kind = VTG_KIND_LINUX, .nr_vcpus = a->system.nr_online };
    memcpy(hello.name, a->options->name, sizeof(hello.name));
    vta_link_greeted(&a->channel.link, vta_now_ns());
    say(a, VTG_HELLO, &hello, sizeof(hello));
    say(a, VTG_SYSTEM, &a->system, sizeof(a->system));
}

/* Never expires: it is cancelled when REALTIME is set. */
static int arm_steps(int fd)
{
    const struct itimerspec spec = { .it_value = { .tv_sec = NEVER_S } };
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL);
}

/* The last view may be from just before, or from just after: both that come are looked at. */
static void look_if_set(struct vta_agent *a)
{
    uint64_t due;
    if (a->step_timer < 0 || read(a->step_timer, &due, sizeof(due)) >= 0 || errno != ECANCELED)
        return;
    a->was_set = 2;
    vta_viewer_forget(&a->viewer);
    arm_steps(a->step_timer);
}

static void say_view(struct vta_agent *a)
{
    struct vtg_view view;
    vta_viewer_read(&a->viewer, &view);
    say(a, VTG_VIEW, &view, sizeof(view));
    if (vta_watch_may_be_set(&a->watch, &view))
        look_if_set(a); /* the view may have it before its timer's turn comes */
    if (vta_watch_view(&a->watch, &view, a->was_set > 0, say_event, a))
        a->was_set = 0;
    else if (a->was_set)
        a->was_set--;
}

static void flush_cpus(struct vta_agent *a)
{
    struct vtg_cpus *c = &a->cpus;
    if (!c->nr)
        return;
    c->tsc_after = vta_tsc();
    say(a, VTG_CPUS, c, (uint32_t)(offsetof(struct vtg_cpus, cpus) + c->nr * sizeof(*c->cpus)));
    c->nr = 0;
}

static void add_cpu(void *context, const struct vtg_cpu_time *cpu)
{
    struct vta_agent *a = context;
    if (cpu->cpu == UINT32_MAX)
        return;
    a->cpus.cpus[a->cpus.nr++] = *cpu;
    if (a->cpus.nr == VTG_CPUS_MAX)
        flush_cpus(a);
}

/* The kernel makes up the whole text when it is first read: one bracket holds for all frames. */
static void say_cpus(struct vta_agent *a)
{
    memset(&a->cpus, 0, sizeof(a->cpus));
    a->cpus.tsc_before = vta_tsc();
    vta_each_cpu_time(add_cpu, a);
    flush_cpus(a);
}

/* ---- tasks ---- */

static bool say_frame(void *context, enum vtg_type type, const void *payload, uint32_t len)
{
    return say(context, type, payload, len);
}

static void open_tasks(struct vta_agent *a)
{
    if (!a->options->tasks)
        return;
    char err[256] = "";
    enum vtg_task_source source = VTG_TASKS_NONE;
    if (vta_tasks_open(&a->tasks, &source, err, sizeof(err)))
        fprintf(stderr, "vtime-agent: no intervals of tasks: %s\n", err);
    else if (err[0])
        fprintf(stderr, "vtime-agent: intervals of tasks by a lesser source: %s\n", err);
    a->system.task_source = source;
}

static void drain_tasks(struct vta_agent *a)
{
    if (a->tasks)
        vta_tasks_drain(a->tasks, say_frame, a);
}

static int tasks_fd(const struct vta_agent *a)
{
    return a->tasks ? vta_tasks_fd(a->tasks) : -1;
}

/* ---- rounds ---- */

/* At a high rate and on a busy CPU that is often: one event for all of a second. */
static void say_missed(struct vta_agent *a)
{
    if (!a->missed || vta_ring_is_tight(&a->ring))
        return;
    say_simple_event(a, VTG_EVENT_MISSED, (int64_t)a->missed);
    a->missed = 0;
}

/* More than there is room for: once, for a crowd comes again in each round. */
static void say_refused(struct vta_agent *a)
{
    if (!a->processes.refused || a->refused_said)
        return;
    a->refused_said = true;
    say_simple_event(a, VTG_EVENT_REFUSED, VTA_MEMBERS);
    fprintf(stderr,
            "vtime-agent: more processes than %d, or more benchmarks than %d at once: of the others "
            "nothing is told\n",
            VTA_MEMBERS, VTA_TREES);
}

static void slow_round(struct vta_agent *a)
{
    say_missed(a);
    say_refused(a);
    if (vta_watch_files(&a->watch, say_event, a))
        say_system(a);
    say_cpus(a);
    drain_tasks(a);
    vta_processes_find(&a->processes);
}

static void view_round(struct vta_agent *a)
{
    uint64_t due = 0;
    if (read(a->view_timer, &due, sizeof(due)) != (ssize_t)sizeof(due) || due == 0)
        return;
    const uint64_t now = vta_now_ns();
    say_view(a);
    a->missed += due - 1;
    if (now >= a->process_ns && !vta_processes_empty(&a->processes)) {
        vta_processes_sample(&a->processes, 0, say_process, a);
        a->process_ns = now + PROCESS_LEAST_NS;
    }
    if (tasks_fd(a) < 0)
        drain_tasks(a);
    if (now >= a->second_ns) {
        slow_round(a);
        a->second_ns = now + SECOND_NS - SECOND_NS / 100; /* a round of its own does not slip by one view */
    }
}

/* ---- timers and signals ---- */

static int arm_views(int fd, uint32_t rate_mhz)
{
    const uint64_t period = SECOND_NS * 1000 / rate_mhz;
    const struct timespec t = { .tv_sec = (time_t)(period / SECOND_NS),
                                .tv_nsec = (long)(period % SECOND_NS) };
    const struct itimerspec spec = { .it_interval = t, .it_value = t };
    return timerfd_settime(fd, 0, &spec, NULL);
}

/* At once: the step is to be known as closely as can be. */
static void step_round(struct vta_agent *a)
{
    look_if_set(a);
    if (a->was_set)
        say_view(a);
}

static int open_timers(struct vta_agent *a)
{
    sigset_t set;
    sigemptyset(&set);
    if (a->options->socket) { /* a private agent ends with its client, not at ^C */
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
    }
    a->view_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    a->step_timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
        a->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    if (a->view_timer < 0 || a->signals < 0 || arm_views(a->view_timer, a->options->rate_mhz) < 0)
        return -errno;
    if (a->step_timer >= 0)
        arm_steps(a->step_timer);
    return 0;
}

/* ---- programs of this system ---- */

static void finish_later(struct vta_agent *a, int client)
{
    a->finisher = client;
    a->finish_seq = a->ring.head_seq;
    a->finish_ns = vta_now_ns() + VTA_FINISH_NS;
}

/* What becomes of what is said, as far as is known now. all_went: of what was said until now. */
static enum vta_delivery delivery_of(const struct vta_agent *a, bool all_went)
{
    const struct vta_channel *c = &a->channel;
    if (c->state == VTA_GONE || (!all_went && !a->options->socket))
        return VTA_UNHEARD;
    if (c->spec.kind == VTA_FILE)
        return VTA_FILED;
    if (!all_went)
        return c->state == VTA_CONNECTED && c->link.open ? VTA_COMING : VTA_KEPT;
    return c->link.one_way ? VTA_SENT : VTA_ARRIVED;
}

static void answer_client(struct vta_agent *a, int client, bool all_went)
{
    struct vta_answer answer = { .magic = VTA_LOCAL_MAGIC,
                                 .delivery = delivery_of(a, all_went),
                                 .kept = a->ring.head_seq - a->ring.tail_seq,
                                 .dropped = a->ring.dropped,
                                 .task_source = a->system.task_source };
    if (a->channel.error)
        vta_transport_explain(&a->channel.spec, a->channel.error, answer.text, sizeof(answer.text));
    else if (answer.delivery == VTA_FILED)
        snprintf(answer.text, sizeof(answer.text), "%s", a->channel.spec.address);
    send(a->local.clients[client].fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Whose stretches belong to a mark, now that its processes are known; 0: nobody's any more. */
static void mark_tasks(struct vta_agent *a, uint32_t mark, uint32_t as)
{
    for (unsigned i = 0; a->tasks && i < a->processes.nr_members; i++)
        if (a->processes.members[i].mark == mark)
            vta_tasks_mark(a->tasks, a->processes.members[i].pid, as);
}

static void watch_command(struct vta_agent *a, int client, const struct vta_packet *p)
{
    vta_processes_watch(&a->processes, p->mark, a->local.clients[client].pid, p->pid);
    mark_tasks(a, p->mark, p->mark);
    vta_processes_sample(&a->processes, p->mark, say_process, a);
}

/* A last look: what it did to its end is to be told. */
static void unwatch_command(struct vta_agent *a, const struct vta_packet *p)
{
    vta_processes_sample(&a->processes, p->mark, say_process, a);
    drain_tasks(a);
    mark_tasks(a, p->mark, 0);
    vta_processes_unwatch(&a->processes, p->mark);
}

static void obey(struct vta_agent *a, int client, const struct vta_packet *p)
{
    const size_t head = offsetof(struct vta_packet, said_mark);
    switch (p->request) {
    case VTA_SAY:
        say(a, (enum vtg_type)p->type, &p->said_mark, (uint32_t)(vta_packet_size(p) - head));
        break;
    case VTA_WATCH:
        watch_command(a, client, p);
        break;
    case VTA_UNWATCH:
        unwatch_command(a, p);
        break;
    case VTA_FINISH:
        if (a->options->socket)
            answer_client(a, client, a->ring.head_seq == a->ring.tail_seq);
        else
            finish_later(a, client);
        break;
    }
}

static void serve(struct vta_agent *a, int client)
{
    struct vta_client_end *end = &a->local.clients[client];
    struct vta_packet packet;
    int r = 0;
    for (int i = 0; i < PACKETS_PER_TURN && (r = vta_local_read(end, &packet)) > 0; i++)
        obey(a, client, &packet);
    if (r >= 0)
        return;
    vta_processes_unwatch_all(&a->processes, end->pid);
    vta_local_drop(end);
    if (!a->options->socket)
        a->stopping = true;
}

static void check_finish(struct vta_agent *a)
{
    if (!a->finish_ns)
        return;
    const uint32_t beyond = a->ring.tail_seq - a->finish_seq; /* views go on meanwhile */
    const bool done = beyond < UINT32_MAX / 2;
    if (!done && vta_now_ns() < a->finish_ns && a->channel.state != VTA_GONE)
        return;
    answer_client(a, a->finisher, done);
    a->finish_ns = 0;
}

/* ---- the loop ---- */

enum { POLL_VIEW, POLL_STEP, POLL_SIGNAL, POLL_CHANNEL, POLL_TASKS, POLL_LISTENER, POLL_CLIENTS };
enum { NR_POLL = POLL_CLIENTS + VTA_LOCAL_CLIENTS };

/* How many of p are to be looked at. */
static nfds_t fill_poll(const struct vta_agent *a, struct pollfd p[NR_POLL])
{
    nfds_t nr = POLL_CLIENTS;
    p[POLL_VIEW] = (struct pollfd){ .fd = a->view_timer, .events = POLLIN };
    p[POLL_STEP] = (struct pollfd){ .fd = a->step_timer, .events = POLLIN };
    p[POLL_SIGNAL] = (struct pollfd){ .fd = a->signals, .events = POLLIN };
    p[POLL_CHANNEL] = vta_channel_poll(&a->channel);
    p[POLL_TASKS] = (struct pollfd){ .fd = tasks_fd(a), .events = POLLIN };
    p[POLL_LISTENER] = (struct pollfd){ .fd = a->local.listener, .events = POLLIN };
    for (nfds_t i = 0; i < VTA_LOCAL_CLIENTS; i++) {
        p[POLL_CLIENTS + i] = (struct pollfd){ .fd = a->local.clients[i].fd, .events = POLLIN };
        if (a->local.clients[i].fd >= 0)
            nr = POLL_CLIENTS + i + 1;
    }
    return nr;
}

static int time_left_ms(const struct vta_agent *a)
{
    uint64_t until = vta_channel_deadline(&a->channel);
    const uint64_t now = vta_now_ns();
    if (a->finish_ns && a->finish_ns < until)
        until = a->finish_ns;
    if (until == UINT64_MAX)
        return -1;
    return until <= now ? 0 : (int)((until - now) / 1000000u) + 1;
}

/* The next view is there before those that wait are late. */
static bool arrives_soon(const struct vta_agent *a)
{
    return SECOND_NS * 1000 / a->options->rate_mhz <= COMPANY_NS;
}

/* A question's answer takes along what waits: that is the channel's own turn. */
static void write_in_company(struct vta_agent *a)
{
    const uint64_t now = vta_now_ns();
    if (!a->is_urgent && a->channel.state == VTA_CONNECTED && now - a->written_ns < COMPANY_NS &&
        a->ring.head - a->ring.sent < COMPANY_BYTES && arrives_soon(a))
        return;
    a->is_urgent = false;
    a->written_ns = now;
    vta_channel_turn(&a->channel, 0);
}

static void turn(struct vta_agent *a)
{
    struct pollfd p[NR_POLL];
    const nfds_t nr = fill_poll(a, p);
    if (poll(p, nr, time_left_ms(a)) < 0)
        memset(p, 0, sizeof(p));
    if (p[POLL_CHANNEL].revents) { /* first: questions are about time */
        vta_channel_turn(&a->channel, p[POLL_CHANNEL].revents);
        a->written_ns = vta_now_ns();
    }
    if (p[POLL_VIEW].revents)
        view_round(a);
    if (p[POLL_STEP].revents)
        step_round(a);
    if (p[POLL_TASKS].revents)
        drain_tasks(a);
    if (p[POLL_LISTENER].revents)
        vta_local_accept(&a->local);
    for (int i = 0; i < VTA_LOCAL_CLIENTS; i++)
        if (p[POLL_CLIENTS + i].revents)
            serve(a, i);
    if (p[POLL_SIGNAL].revents)
        a->stopping = true;
    if (a->channel.link.greeting_wanted)
        greet(a);
    write_in_company(a);
    check_finish(a);
}

int vta_agent_open(struct vta_agent *a, const struct vta_options *options)
{
    void *bytes = mmap(NULL, options->buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    a->options = options;
    a->view_timer = a->step_timer = a->signals = -1;
    vta_local_init(&a->local);
    if (bytes == MAP_FAILED) {
        fprintf(stderr, "vtime-agent: no memory for a buffer of %u bytes\n", options->buffer);
        return 1;
    }
    vta_ring_init(&a->ring, bytes, options->buffer);
    a->system.session = vta_random();
    vta_channel_init(&a->channel, &options->to, &a->ring, a->system.session, options->one_way);
    const int r = options->socket ? vta_local_listen(&a->local, options->socket) : 0;
    if (r) {
        fprintf(stderr, "vtime-agent: %s: %s\n", options->socket,
                r == -EADDRINUSE ? "another agent serves it" : strerror(-r));
        return 1;
    }
    if (!options->socket)
        vta_local_adopt(&a->local, options->adopt);
    open_tasks(a);
    vta_viewer_open(&a->viewer);
    vta_watch_begin(&a->watch);
    if (open_timers(a)) {
        perror("vtime-agent: timers");
        return 1;
    }
    greet(a);
    say_simple_event(a, VTG_EVENT_START, 0);
    say_view(a);
    slow_round(a);
    a->second_ns = vta_now_ns() + SECOND_NS;
    return 0;
}

/* What is kept goes as far as it does in a bounded time. */
static void flush_to_the_end(struct vta_agent *a)
{
    const uint64_t until = vta_now_ns() + STOP_NS;
    while (!vta_link_is_done(&a->channel.link) && vta_now_ns() < until && a->channel.state != VTA_GONE) {
        struct pollfd p = vta_channel_poll(&a->channel);
        const int r = poll(&p, 1, 50);
        vta_channel_turn(&a->channel, r > 0 ? p.revents : 0);
    }
}

/* Why nothing goes out: at the first time, and when it is for another reason. */
static void tell_failure(struct vta_agent *a)
{
    const struct vta_channel *c = &a->channel;
    char why[256];
    if (!c->error || c->error == a->error_told)
        return;
    a->error_told = c->error;
    vta_transport_explain(&c->spec, c->error, why, sizeof(why));
    fprintf(stderr, "vtime-agent: %s%s\n", why,
            c->state == VTA_GONE ? "" : "; tried again until it is there");
}

int vta_agent_run(struct vta_agent *a)
{
    const bool is_private = !a->options->socket; /* it stays to answer its client */
    vta_channel_turn(&a->channel, 0);
    tell_failure(a);
    while (!a->stopping && (is_private || a->channel.state != VTA_GONE)) {
        turn(a);
        tell_failure(a);
    }
    if (a->channel.state == VTA_GONE)
        return 1;
    if (is_private)
        return 0;
    drain_tasks(a);
    say_missed(a);
    say_simple_event(a, VTG_EVENT_STOP, 0);
    flush_to_the_end(a);
    return 0;
}

void vta_agent_close(struct vta_agent *a)
{
    if (a->tasks)
        vta_tasks_close(a->tasks);
    vta_local_close(&a->local);
    vta_channel_close(&a->channel);
    if (a->ring.bytes)
        munmap(a->ring.bytes, a->ring.size);
}

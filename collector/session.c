/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostinfo.h"
#include "service.h"

/* ---- one recording ---- */

int vt_recording_create(struct vt_recording *ret, const char *path, bool replace, struct vt_probes *probes,
                        const struct vt_recording *before, struct vt_err *err)
{
    struct vt_recording r = { 0 };
    int e;

    if ((size_t)snprintf(r.path, sizeof(r.path), "%s", path) >= sizeof(r.path))
        return vt_fail(err, ENAMETOOLONG, "the name of the recording is too long: %s", path);
    if ((e = vt_store_create(path, replace, &r.store, err)))
        return e;
    r.roster = before ? vt_roster_next(before->roster, r.store) : vt_roster_new(r.store);
    r.recorder = r.roster ? vt_recorder_new(probes, r.store, r.roster) : NULL;
    if (!r.recorder) {
        vt_recording_close(&r, true);
        return vt_fail(err, ENOMEM, "out of memory");
    }
    *ret = r;
    return 0;
}

void vt_recording_close(struct vt_recording *r, bool unwanted)
{
    vt_recorder_free(r->recorder);
    vt_roster_free(r->roster);
    if (r->store) {
        vt_store_close(r->store);
        if (unwanted)
            unlink(r->path);
    }
    *r = (struct vt_recording){ 0 };
}

/* ---- opening ---- */

static int watch(struct vt_session *s, int fd, void *ptr)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = ptr };

    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_descriptors(struct vt_session *s, struct vt_err *err)
{
    const uint64_t i = s->options->interval_ns;
    struct timespec t = { (time_t)(i / VT_NSEC_PER_SEC), (long)(i % VT_NSEC_PER_SEC) };
    struct itimerspec every = { t, t };
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, &s->old_mask);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->epoll_fd < 0 || s->signal_fd < 0 || s->timer_fd < 0 || watch(s, s->signal_fd, &s->signal_fd) ||
        watch(s, s->timer_fd, &s->timer_fd) || watch(s, vt_probes_fd(s->probes), s->probes) ||
        timerfd_settime(s->timer_fd, 0, &every, NULL))
        return vt_fail(err, errno, "cannot wait for events: %s", strerror(errno));
    return 0;
}

static int make_agent_path(struct vt_session *s, struct vt_err *err)
{
    const char *given = s->options->agent_socket, *tmp = getenv("TMPDIR");

    if (given && strlen(given) >= sizeof(s->agent_path))
        return vt_fail(err, ENAMETOOLONG, "agent socket path is too long: %s", given);
    if (given) {
        strcpy(s->agent_path, given);
        return 0;
    }
    if (s->service) {
        vt_service_agent_path(s->service, s->agent_path, sizeof(s->agent_path));
        return 0;
    }
    int n = snprintf(s->temp_dir, sizeof(s->temp_dir), "%s/vtime-XXXXXX", tmp ? tmp : "/tmp");
    if (n >= (int)sizeof(s->temp_dir) || !mkdtemp(s->temp_dir)) {
        s->temp_dir[0] = 0;
        return vt_fail(err, errno, "cannot make a temporary directory under %s: %s", tmp ? tmp : "/tmp",
                       strerror(errno));
    }
    snprintf(s->agent_path, sizeof(s->agent_path), "%s/agent", s->temp_dir);
    return 0;
}

static int create_first(struct vt_session *s, struct vt_err *err)
{
    const int e = s->service ? vt_service_create(s->service, s, err)
                             : vt_recording_create(&s->now, s->options->output, s->options->force, s->probes,
                                                   NULL, err);

    if (!e)
        vt_roster_name_cgroups(s->now.roster, s->guests);
    return e;
}

/* Those asked for by name or set that are not here are told at once; the report tells of all. */
static int open_counters(struct vt_session *s, struct vt_err *err)
{
    const struct vt_record_options *o = s->options;
    const struct vt_counter_trial *trials;
    char reason[VT_COUNTER_REASON_LEN];
    int e = o->counters ? vt_counters_open(o->counters, s->now.store, &s->counters, err) : 0;

    if (e || !s->counters)
        return e;
    vt_recorder_count(s->now.recorder, s->counters);
    const size_t n = vt_counters_trials(s->counters, &trials);
    for (size_t i = 0; i < n && o->named_counters && !o->quiet; i++)
        if (trials[i].error)
            fprintf(stderr, "vtime: counter %s is absent: %s\n", vt_counters[trials[i].event].name,
                    vt_counter_reason(trials[i].error, reason));
    return 0;
}

/* Asked for, and not to be had: said at once; the report tells too. */
static void tell_absent_addresses(const struct vt_session *s)
{
    const struct vt_record_options *o = s->options;

    if (o->probes.addresses && !vt_probes_addresses_on(s->probes) && !o->quiet)
        fprintf(stderr, "vtime: --exit-addresses: this kernel lacks kvm_pio, kvm_mmio, kvm_fast_mmio or "
                        "kvm_msr, or --without leaves them out: no addresses\n");
}

static int open_session(struct vt_session *s, struct vt_err *err)
{
    const struct vt_record_options *o = s->options;
    int e;

    if ((o->daemon && (e = vt_service_open(o, &s->service, err))) ||
        (e = vt_probes_open(&o->probes, &s->probes, err)) ||
        (e = vt_guests_open(s->probes, o->cgroups, o->nr_cgroups, &s->guests, err)) ||
        (e = create_first(s, err)) || (e = open_counters(s, err)) || (e = open_descriptors(s, err)) ||
        (e = make_agent_path(s, err)) ||
        (e = vt_agents_open(s->agent_path, s->epoll_fd, s->now.store, s->now.roster, &s->agents, err)) ||
        (e = vt_agents_name(s->agents, o->agents.named, o->agents.nr, err)) ||
        (e = vt_probes_seed(s->probes, err)) || (e = vt_guests_tick(s->guests, err)))
        return e;
    if (!o->agents.dont_find)
        vt_agents_find(s->agents, o->vm);
    tell_absent_addresses(s);
    return vt_recorder_begin(s->now.recorder, o->vm, err);
}

/* ---- the loop ---- */

static void on_signal(struct vt_session *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP && s->service)
            s->hangup = true;
        else if (info.ssi_signo != SIGCHLD)
            s->stop = s->stopped_by_signal = true;
    }
    if (vt_child_reap(&s->child, WNOHANG))
        s->stop = true;
}

static int tick(struct vt_session *s, struct vt_err *err)
{
    int e;

    if ((e = vt_guests_tick(s->guests, err)))
        return e;
    if (s->service)
        return vt_service_tick(s->service, s, err);
    e = vt_agents_tick(s->agents, err);
    return e ? e : vt_recorder_tick(s->now.recorder, vt_agents_lost(s->agents), err);
}

static int on_event(struct vt_session *s, void *ptr, struct vt_err *err)
{
    uint64_t expirations;
    int e = 0;

    if (ptr == &s->signal_fd) {
        on_signal(s);
        return 0;
    }
    if (ptr == s->probes)
        return s->service ? vt_service_drain(s->service, s, err) : vt_recorder_drain(s->now.recorder, err);
    if (ptr == &s->timer_fd) {
        if (read(s->timer_fd, &expirations, sizeof(expirations)) != sizeof(expirations))
            return 0;
        return tick(s, err);
    }
    vt_agents_event(s->agents, ptr, &e, err);
    return e;
}

static int loop(struct vt_session *s, struct vt_err *err)
{
    const uint64_t for_ns = s->options->for_ns;
    uint64_t start = vt_host_now().v, now = start;
    int e;

    while (!s->stop && !(for_ns && now - start >= for_ns)) {
        struct epoll_event events[32];
        int timeout = for_ns ? (int)((start + for_ns - now + 999999) / 1000000) : -1;
        int n = epoll_wait(s->epoll_fd, events, 32, timeout);
        for (int i = 0; i < n; i++) {
            e = on_event(s, events[i].data.ptr, err);
            if (e && s->service)
                e = vt_service_failed(s->service, s, e, err);
            if (e)
                return e;
        }
        now = vt_host_now().v;
    }
    if (s->service)
        return vt_service_end(s->service, s, err);
    if ((e = vt_agents_end(s->agents, err)))
        return e;
    return vt_recorder_end(s->now.recorder, vt_agents_lost(s->agents), err);
}

/* Known to be good before anything is made; COMMAND must not hold it open: a reader may wait for its end. */
static int prepare_ready_fd(const struct vt_record_options *o, struct vt_err *err)
{
    if (o->ready_fd < 0)
        return 0;
    const int flags = fcntl(o->ready_fd, F_GETFD);
    if (flags < 0 || (o->ready_fd > STDERR_FILENO && fcntl(o->ready_fd, F_SETFD, flags | FD_CLOEXEC) < 0))
        return vt_fail(err, errno, "cannot use --ready-fd %d: %s", o->ready_fd, strerror(errno));
    return 0;
}

/*
 * The ring must be drained above all when every CPU is wanted by more than one: the recorder goes
 * before ordinary tasks and after everything else that is real-time. A nice level would not do: it
 * counts only within the session's autogroup or cgroup.
 */
static void go_first(const struct vt_record_options *o)
{
    const struct sched_param lowest = { .sched_priority = sched_get_priority_min(SCHED_RR) };
    const int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;

    if (o->not_first || policy == SCHED_RR || policy == SCHED_FIFO)
        return;
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) && !o->quiet)
        fprintf(
            stderr,
            "vtime: no real-time priority (%s): records may be lost while all CPUs are busy; CAP_SYS_NICE "
            "helps, or --no-realtime leaves it\n",
            strerror(errno));
}

int vt_session_run(struct vt_session *s, const struct vt_record_options *o, struct vt_err *err)
{
    int e;

    *s = (struct vt_session){ .options = o, .epoll_fd = -1, .signal_fd = -1, .timer_fd = -1 };
    s->child.argv = o->command;
    sigprocmask(SIG_BLOCK, NULL, &s->old_mask);
    if ((e = prepare_ready_fd(o, err)) || (e = vt_child_find(o->command, err)) || (e = open_session(s, err)))
        return e;
    if (s->service) /* while it may */
        go_first(o);
    if ((s->service && (e = vt_service_begun(s->service, s, err))) ||
        (e = vt_child_start(&s->child, s->agent_path, s->counters, &s->old_mask, err)))
        return e;
    if (!s->service) /* COMMAND has the caller's policy and nice level */
        go_first(o);
    if (o->ready_fd >= 0 && write(o->ready_fd, "r", 1) != 1)
        return vt_fail(err, errno, "cannot write to --ready-fd %d: %s", o->ready_fd, strerror(errno));
    s->begun = true;
    return loop(s, err);
}

/* ---- closing ---- */

/* Those that came while we were ending anyway must not end us halfway, once let through. */
static void drain_signals(struct vt_session *s)
{
    struct signalfd_siginfo info;

    while (s->signal_fd >= 0 && read(s->signal_fd, &info, sizeof(info)) == sizeof(info))
        ;
}

void vt_session_close(struct vt_session *s)
{
    vt_child_end(&s->child);
    vt_agents_close(s->agents);
    vt_recording_close(&s->now, !s->begun); /* it was made anew: one that did not begin is ours to remove */
    vt_counters_close(s->counters);
    vt_guests_close(s->guests);
    vt_service_close(s->service);
    vt_probes_close(s->probes);
    if (s->temp_dir[0])
        rmdir(s->temp_dir);
    drain_signals(s);
    const int fds[] = { s->epoll_fd, s->signal_fd, s->timer_fd };
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

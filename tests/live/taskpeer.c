/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Holds what guest-agent/tasks.h tells against the kernel's own account
 * (/proc/PID/schedstat) on this machine: two busy processes and one that works and
 * sleeps, one that sleeps until an instant, one that polls and one that has children,
 * all on one CPU, and one that is busy on another CPU before anything is opened.
 *   taskpeer SECONDS [CPU]     VTIME_TASKS chooses the source
 * Prints, to be judged by who runs it:
 *   source N bound TICKS
 *   task ROLE TOLD_NS LEAST_NS MOST_NS WAITED_NS DELAY_NS MARK    the kernel's run time of what was told:
 *                                      two numbers where it was not asked at the very beginning
 *   mark N TOLD_NS tasks NR
 *   wakes ROLE unknown NR none NR relative NR absolute NR task NR device NR kin NR
 *   cpu N overlaps NR gaps NS covered NS window NS
 *   total frames NR bytes NR stretches NR lost NR nameless NR bad NR
 *   ends preempted NR slept NR exited NR goes-on NR
 *   stolen NS                          from this machine, of all CPUs: the kernel's run time omits it
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest-agent/task_time.h"
#include "guest-agent/tasks.h"
#include "vt/task_pack.h"

enum { MAX_TIDS = 1 << 22, MAX_CPUS = 64, NR_ENDS = 4 };

struct peer_task {
    uint64_t run, waited;                       /* ticks */
    uint64_t wakes[VTG_NR_WAKES], wakes_by_kin; /* by a task of the same mark */
    uint32_t mark, tgid;
    bool named;
};
struct peer_cpu {
    uint64_t first, last, sum, gaps, overlaps;
    uint32_t tid; /* who runs, or was hit by an interrupt: the kernel charges him with it */
    bool is_hit;
};
struct seen {
    struct peer_task *tasks; /* by tid */
    struct peer_cpu cpus[MAX_CPUS];
    uint64_t frames, stretches, lost, nameless, bad, ends[NR_ENDS], bytes;
};

static uint64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- what is told ---- */

static void take_stretch(struct seen *seen, uint32_t number, const struct vtg_stretch *s)
{
    struct peer_cpu *cpu = &seen->cpus[number % MAX_CPUS];
    const bool is_interrupt = s->tid == VTG_TID_INTERRUPTS, goes_on = cpu->is_hit && s->tid == cpu->tid;
    if (!is_interrupt)
        cpu->tid = s->tid;
    cpu->is_hit = is_interrupt;
    struct peer_task *task = &seen->tasks[cpu->tid % MAX_TIDS];
    if (!cpu->last)
        cpu->first = cpu->last = s->from;
    if (s->from < cpu->last)
        cpu->overlaps++;
    else
        cpu->gaps += s->from - cpu->last;
    cpu->last = s->to;
    cpu->sum += s->to - s->from;
    task->run += s->to - s->from;
    seen->stretches++;
    seen->ends[s->end]++;
    if (is_interrupt || goes_on)
        return;
    task->waited += s->waited;
    task->wakes[s->wake]++;
    if (s->wake == VTG_WAKE_TASK && task->mark && seen->tasks[s->waker % MAX_TIDS].mark == task->mark)
        task->wakes_by_kin++;
    if (s->tid && !task->named) {
        fprintf(stderr, "taskpeer: nobody said who %u is (cpu %u, %" PRIu64 " ticks, end %d)\n", s->tid,
                number, s->to - s->from, (int)s->end);
        seen->nameless++;
    }
}

static void take_stretches(struct seen *seen, const struct vtg_tasks *t, uint32_t len)
{
    struct vtg_task_cursor cursor = vtg_task_begin(t);
    struct vtg_stretch s;
    if (len != offsetof(struct vtg_tasks, data) + t->bytes)
        seen->bad++;
    seen->lost += t->lost;
    for (uint32_t i = 0; i < t->nr; i++) {
        if (!vtg_unpack_stretch(t, &cursor, &s)) {
            seen->bad++;
            return;
        }
        take_stretch(seen, t->cpu, &s);
    }
    if (cursor.at != t->bytes)
        seen->bad++;
}

static bool take_frame(void *context, enum vtg_type type, const void *payload, uint32_t len)
{
    struct seen *seen = context;
    seen->frames++;
    seen->bytes += len;
    if (type == VTG_TASK) {
        const struct vtg_task *t = payload;
        seen->tasks[t->tid % MAX_TIDS].named = true;
        seen->tasks[t->tid % MAX_TIDS].mark = t->mark;
        seen->tasks[t->tid % MAX_TIDS].tgid = t->tgid;
    } else if (type == VTG_TASKS) {
        take_stretches(seen, payload, len);
    } else {
        seen->bad++;
    }
    return true;
}

/* ---- who works ---- */

static volatile uint64_t sink;

static void work_until(uint64_t end)
{
    while (monotonic_ns() < end)
        for (int i = 0; i < 20000; i++)
            sink = sink * 3 + 1;
}

static void busy(uint64_t end)
{
    work_until(end);
}

static void sleepy(uint64_t end)
{
    while (monotonic_ns() < end) {
        const struct timespec pause = { .tv_nsec = 7000000 };
        work_until(monotonic_ns() + 1000000);
        nanosleep(&pause, NULL);
    }
}

static void until(uint64_t end)
{
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (monotonic_ns() < end) {
        next.tv_nsec += 9000000;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}

/* Waits for what never comes. */
static void polling(uint64_t end)
{
    int pipes[2];
    if (pipe(pipes))
        _exit(1);
    while (monotonic_ns() < end) {
        struct pollfd fd = { .fd = pipes[0], .events = POLLIN };
        poll(&fd, 1, 9);
    }
}

/* Its children's work is in its descendants' account only. */
static void parent(uint64_t end)
{
    while (monotonic_ns() < end) {
        const pid_t pid = fork();
        if (pid == 0) {
            work_until(monotonic_ns() + 3000000);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
}

struct role {
    const char *name;
    void (*work)(uint64_t end);
    bool early; /* runs before anything is opened */
    bool apart; /* on another CPU */
    uint32_t mark;
    pid_t pid;
    int go;
    uint64_t before_run, base_run; /* of the kernel's account, before and after opening */
    uint64_t before_delay, base_delay;
};

static struct role roles[] = {
    { .name = "early", .work = busy, .early = true, .apart = true },
    { .name = "busy1", .work = busy, .mark = 1 },
    { .name = "busy2", .work = busy, .mark = 2 },
    { .name = "sleepy", .work = sleepy, .mark = 3 },
    { .name = "parent", .work = parent, .mark = 4 },
    { .name = "until", .work = until, .mark = 5 },
    { .name = "polling", .work = polling, .mark = 6 },
};
enum { NR_ROLES = sizeof(roles) / sizeof(roles[0]) };

static void pin(unsigned cpu)
{
    unsigned long set[MAX_CPUS / (8 * sizeof(long))] = { 0 };
    set[cpu / (8 * sizeof(long))] |= 1ul << cpu % (8 * sizeof(long));
    sched_setaffinity(0, sizeof(set), (cpu_set_t *)set);
}

static void start(struct role *role, int cpu, int apart, uint64_t ns)
{
    int pipes[2];
    char byte;
    if (pipe(pipes) || (role->pid = fork()) < 0) {
        perror("taskpeer");
        exit(1);
    }
    if (role->pid == 0) {
        close(pipes[1]);
        setsid(); /* a scheduling group of its own each */
        pin((unsigned)(role->apart ? apart : cpu));
        if (read(pipes[0], &byte, 1) != 1)
            _exit(1);
        role->work(monotonic_ns() + ns);
        _exit(0);
    }
    close(pipes[0]);
    role->go = pipes[1];
}

static bool schedstat(pid_t pid, uint64_t *run, uint64_t *delay)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
    FILE *f = fopen(path, "r");
    const bool ok = f && fscanf(f, "%" SCNu64 " %" SCNu64, run, delay) == 2;
    if (f)
        fclose(f);
    return ok;
}

/* Have all ended? Their accounts stay until they are waited for. */
static bool all_ended(void)
{
    for (int i = 0; i < NR_ROLES; i++) {
        siginfo_t info = { 0 };
        if (waitid(P_PID, (id_t)roles[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0)
            return false;
    }
    return true;
}

/* ---- the report ---- */

static void print_tasks(const struct seen *seen, double ns_per_tick)
{
    for (int i = 0; i < NR_ROLES; i++) {
        const struct peer_task *t = &seen->tasks[roles[i].pid % MAX_TIDS];
        uint64_t run = 0, delay = 0;
        schedstat(roles[i].pid, &run, &delay);
        printf("task %s %.0f %" PRIu64 " %" PRIu64 " %.0f %" PRIu64 " %u\n", roles[i].name,
               (double)t->run * ns_per_tick, run - roles[i].base_run, run - roles[i].before_run,
               (double)t->waited * ns_per_tick, delay - roles[i].base_delay, t->mark);
    }
}

static void print_wakes(const struct seen *seen)
{
    for (int i = 0; i < NR_ROLES; i++) {
        const struct peer_task *t = &seen->tasks[roles[i].pid % MAX_TIDS];
        printf("wakes %s unknown %" PRIu64 " none %" PRIu64 " relative %" PRIu64 " absolute %" PRIu64
               " task %" PRIu64 " device %" PRIu64 " kin %" PRIu64 "\n",
               roles[i].name, t->wakes[VTG_WAKE_UNKNOWN], t->wakes[VTG_WAKE_NONE],
               t->wakes[VTG_WAKE_RELATIVE], t->wakes[VTG_WAKE_ABSOLUTE], t->wakes[VTG_WAKE_TASK],
               t->wakes[VTG_WAKE_DEVICE], t->wakes_by_kin);
    }
}

/* A benchmark's tasks, descendants included. */
static void print_marks(const struct seen *seen, double ns_per_tick)
{
    for (uint32_t mark = 1; mark < NR_ROLES; mark++) {
        uint64_t run = 0, nr = 0;
        for (uint32_t tid = 0; tid < MAX_TIDS; tid++)
            if (seen->tasks[tid].mark == mark) {
                run += seen->tasks[tid].run;
                nr++;
            }
        printf("mark %u %.0f tasks %" PRIu64 "\n", mark, (double)run * ns_per_tick, nr);
    }
}

static void print_cpus(const struct seen *seen, double ns_per_tick)
{
    for (int i = 0; i < MAX_CPUS; i++) {
        const struct peer_cpu *c = &seen->cpus[i];
        if (c->last)
            printf("cpu %d overlaps %" PRIu64 " gaps %.0f covered %.0f window %.0f\n", i, c->overlaps,
                   (double)c->gaps * ns_per_tick, (double)c->sum * ns_per_tick,
                   (double)(c->last - c->first) * ns_per_tick);
    }
    printf("total frames %" PRIu64 " bytes %" PRIu64 " stretches %" PRIu64 " lost %" PRIu64
           " nameless %" PRIu64 " bad %" PRIu64 "\n",
           seen->frames, seen->bytes, seen->stretches, seen->lost, seen->nameless, seen->bad);
    printf("ends preempted %" PRIu64 " slept %" PRIu64 " exited %" PRIu64 " goes-on %" PRIu64 "\n",
           seen->ends[0], seen->ends[1], seen->ends[2], seen->ends[3]);
}

/* /proc/stat's first line: steal, in ns. */
static uint64_t stolen_ns(void)
{
    unsigned long long steal = 0;
    FILE *f = fopen("/proc/stat", "r");
    if (f && fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
        steal = 0;
    if (f)
        fclose(f);
    return steal * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void begin_roles(struct vta_tasks *tasks)
{
    for (int i = 0; i < NR_ROLES; i++) {
        struct role *r = &roles[i];
        schedstat(r->pid, &r->base_run, &r->base_delay);
        if (r->mark)
            vta_tasks_mark(tasks, (uint32_t)r->pid, r->mark);
    }
    for (int i = 0; i < NR_ROLES; i++)
        if (!roles[i].early && write(roles[i].go, "", 1) != 1)
            exit(1);
}

/* `taskpeer watch SECONDS`: nothing of its own runs; what it costs is told. */
static void watch(struct vta_tasks *tasks, struct seen *seen, uint64_t end, bool alone)
{
    while (alone ? monotonic_ns() < end : !all_ended()) {
        struct pollfd fd = { .fd = vta_tasks_fd(tasks), .events = POLLIN };
        poll(&fd, 1, 100);
        vta_tasks_drain(tasks, take_frame, seen);
    }
    vta_tasks_drain(tasks, take_frame, seen);
}

int main(int argc, char **argv)
{
    const bool alone = argc > 2 && strcmp(argv[1], "watch") == 0;
    const double seconds = argc > 1 ? atof(argv[alone ? 2 : 1]) : 2;
    const uint64_t ns = (uint64_t)(seconds * 1e9);
    const int cpu = argc > 2 && !alone ? atoi(argv[2]) : 0;
    const int apart = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? !cpu : cpu;
    static struct seen seen;
    struct vta_tasks *tasks;
    enum vtg_task_source source;
    char err[512];

    seen.tasks = calloc(MAX_TIDS, sizeof(*seen.tasks));
    if (!seen.tasks)
        return 1;
    for (int i = 0; !alone && i < NR_ROLES; i++)
        start(&roles[i], cpu, apart, ns);
    if (!alone && write(roles[0].go, "", 1) != 1)
        return 1;
    usleep(50000);
    const uint64_t stolen = stolen_ns();
    for (int i = 0; !alone && i < NR_ROLES; i++)
        schedstat(roles[i].pid, &roles[i].before_run, &roles[i].before_delay);
    if (vta_tasks_open(&tasks, &source, err, sizeof(err))) {
        fprintf(stderr, "taskpeer: %s\n", err);
        return 1;
    }
    if (*err)
        fprintf(stderr, "taskpeer: passed over: %s\n", err);
    struct vta_span span = { .before = vta_pair_read(CLOCK_MONOTONIC) };
    if (!alone)
        begin_roles(tasks);
    watch(tasks, &seen, monotonic_ns() + ns, alone);
    span.after = vta_pair_read(CLOCK_MONOTONIC);
    const double ns_per_tick =
        (double)(span.after.ns - span.before.ns) / (double)(span.after.tsc - span.before.tsc);

    printf("source %u bound %" PRIu64 " ns_per_tick %.6f\n", source, vta_tasks_bound(tasks), ns_per_tick);
    if (!alone) {
        print_tasks(&seen, ns_per_tick);
        print_marks(&seen, ns_per_tick);
        print_wakes(&seen);
    }
    print_cpus(&seen, ns_per_tick);
    printf("stolen %" PRIu64 "\n", stolen_ns() - stolen);
    vta_tasks_close(tasks);
    while (wait(NULL) > 0)
        ;
    free(seen.tasks);
    return 0;
}

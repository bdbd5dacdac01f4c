/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-agent/client.h"
#include "guest-agent/clocks.h"
#include "guest-agent/process.h"
#include "guest-agent/procfs.h"

#define REPEAT_MOST 10000

static const char help[] = "usage: vtime-agent bench [OPTION...] -- COMMAND [ARGUMENT...]\n"
                           "Runs COMMAND between two marks and prints what this guest believes of it.\n"
                           "  --name NAME     of the marks (the command's)\n"
                           "  --repeat K      so many runs (1)\n"
                           "  --to TRANSPORT  speak to the host by an agent of its own, not by the daemon\n"
                           "  --one-way       the host does not acknowledge\n"
                           "  --rate HZ       views each second of an agent of its own (10)\n"
                           "  --tasks         an agent of its own tells which task was on which CPU when\n"
                           "  --socket NAME   of the daemon (@vtime-agent)\n"
                           "Its exit status is that of COMMAND: of the first run that failed.\n";

struct bench {
    char **command;
    char name[VTG_NAME_LEN + 1];
    uint32_t repeat;
    struct vta_client client;
    struct vtg_clocks *begin; /* shared with the child, which reads it just before its exec */
    sigset_t signals, before;
    bool wants_tasks;
};

struct run {
    uint32_t mark;
    struct vtg_run believed;
    uint64_t steal_ns;
    bool has_steal;
};

/* A child that waits for a byte, then becomes the command; what its exec fails with comes back. */
static pid_t start_command(const struct bench *b, int *ret_go, int *ret_failure)
{
    int go[2], failure[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        return -1;
    if (pipe2(failure, O_CLOEXEC) < 0) {
        close(go[0]);
        close(go[1]);
        return -1;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(go[1]);
        if (read(go[0], &byte, 1) != 1)
            _exit(127);
        sigprocmask(SIG_SETMASK, &b->before, NULL);
        signal(SIGPIPE, SIG_DFL);
        vta_clocks_read(b->begin);
        execvp(b->command[0], b->command);
        const int error = errno;
        if (write(failure[1], &error, sizeof(error)) < 0)
            _exit(127);
        _exit(error == ENOENT ? 127 : 126);
    }
    close(go[0]);
    close(failure[1]);
    *ret_go = go[1];
    *ret_failure = failure[0];
    return pid;
}

static void mark(struct bench *b, const struct run *run, enum vtg_mark_kind kind,
                 const struct vtg_clocks *clocks)
{
    struct vtg_mark m = { .clocks = *clocks, .kind = kind, .id = run->mark };
    memcpy(m.name, b->name, sizeof(m.name));
    vta_client_say(&b->client, VTG_MARK, &m, sizeof(m));
}

static void say_process(struct bench *b, const struct run *run, pid_t pid)
{
    struct vtg_process process;
    if (vta_process_read((uint32_t)pid, &process))
        return;
    process.mark = run->mark;
    vta_client_say(&b->client, VTG_PROCESS, &process, sizeof(process));
}

/* Until the command ended, which is not reaped: its figures can still be read. */
static void wait_for_end(const struct bench *b, pid_t pid)
{
    for (;;) {
        siginfo_t signal_info = { 0 }, end = { 0 };
        const int number = sigwaitinfo(&b->signals, &signal_info);
        /* ^C reaches the command by itself; what another process sends is passed on */
        if (number > 0 && number != SIGCHLD && signal_info.si_code <= 0)
            kill(pid, number);
        if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) < 0 || end.si_pid == pid)
            return;
    }
}

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static void fill_run(struct run *run, pid_t pid, int status, const struct rusage *usage, uint64_t elapsed_ns)
{
    struct vtg_run *r = &run->believed;
    r->mark = run->mark;
    r->status = status;
    r->pid = (uint32_t)pid;
    r->elapsed_ns = elapsed_ns;
    r->utime_ns = timeval_ns(usage->ru_utime);
    r->stime_ns = timeval_ns(usage->ru_stime);
    r->maxrss_kib = (uint64_t)usage->ru_maxrss;
    r->minor_faults = (uint64_t)usage->ru_minflt;
    r->major_faults = (uint64_t)usage->ru_majflt;
    r->voluntary = (uint64_t)usage->ru_nvcsw;
    r->involuntary = (uint64_t)usage->ru_nivcsw;
}

/* 0, or -errno: it could not be started. */
static int run_once(struct bench *b, struct run *run)
{
    int go, failure, error = 0, status = 0;
    uint32_t have = 0;
    struct vtg_clocks end;
    struct rusage usage = { 0 };
    const pid_t pid = start_command(b, &go, &failure);
    if (pid < 0)
        return -errno;
    say_process(b, run, pid);
    vta_client_watch(&b->client, VTA_WATCH, run->mark, pid);
    const uint64_t steal_before = vta_steal_ns(&have);
    if (write(go, "", 1) != 1)
        kill(pid, SIGKILL);
    close(go);
    const bool failed = read(failure, &error, sizeof(error)) == (ssize_t)sizeof(error);
    close(failure);
    b->begin->have |= have | VTG_HAVE_CPUTIME;
    b->begin->steal_ns = steal_before;
    if (!failed)
        mark(b, run, VTG_MARK_BEGIN, b->begin);
    wait_for_end(b, pid);
    vta_clocks_read(&end);
    end.steal_ns = vta_steal_ns(&end.have);
    if (!failed)
        say_process(b, run, pid);
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    fill_run(run, pid, status, &usage, end.monotonic_ns - b->begin->monotonic_ns);
    end.have |= VTG_HAVE_CPUTIME;
    end.cputime_ns = run->believed.utime_ns + run->believed.stime_ns;
    run->has_steal = have && end.have & VTG_HAVE_STEAL;
    run->steal_ns = end.steal_ns - steal_before;
    if (!failed) {
        vta_client_say(&b->client, VTG_RUN, &run->believed, sizeof(run->believed));
        mark(b, run, VTG_MARK_END, &end);
    }
    vta_client_watch(&b->client, VTA_UNWATCH, run->mark, pid);
    return failed ? -error : 0;
}

static int exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void print_row(const char *label, uint64_t elapsed, uint64_t user, uint64_t sys, bool has_steal,
                      uint64_t steal)
{
    const double cpu = elapsed ? 100.0 * (double)(user + sys) / (double)elapsed : 0;
    fprintf(stderr, "%8s %12.6f s %12.6f s %12.6f s %7.1f %%", label, (double)elapsed / 1e9,
            (double)user / 1e9, (double)sys / 1e9, cpu);
    if (has_steal)
        fprintf(stderr, " %9.2f s\n", (double)steal / 1e9);
    else
        fprintf(stderr, " %11s\n", "unknown");
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return n % 2 ? values[n / 2] : values[n / 2 - 1] / 2 + values[n / 2] / 2;
}

/* One column's median; `of` picks it. */
static uint64_t column(const struct run *runs, size_t n, uint64_t (*of)(const struct run *),
                       uint64_t *scratch)
{
    for (size_t i = 0; i < n; i++)
        scratch[i] = of(&runs[i]);
    return median(scratch, n);
}

static uint64_t elapsed_of(const struct run *r)
{
    return r->believed.elapsed_ns;
}

static uint64_t user_of(const struct run *r)
{
    return r->believed.utime_ns;
}

static uint64_t system_of(const struct run *r)
{
    return r->believed.stime_ns;
}

static uint64_t steal_of(const struct run *r)
{
    return r->steal_ns;
}

static void print_beliefs(const struct bench *b, const struct run *runs, size_t n)
{
    if (n == 0)
        return;
    fprintf(stderr, "vtime-agent: what this guest believes of %s\n", b->name);
    fprintf(stderr, "%8s %14s %14s %14s %9s %11s\n", "run", "elapsed", "user", "sys", "CPU", "steal");
    for (size_t i = 0; i < n; i++) {
        char label[16];
        snprintf(label, sizeof(label), "%zu", i + 1);
        print_row(label, elapsed_of(&runs[i]), user_of(&runs[i]), system_of(&runs[i]), runs[i].has_steal,
                  runs[i].steal_ns);
    }
    uint64_t *scratch = n > 1 ? malloc(n * sizeof(*scratch)) : NULL;
    if (scratch)
        print_row("median", column(runs, n, elapsed_of, scratch), column(runs, n, user_of, scratch),
                  column(runs, n, system_of, scratch), runs[0].has_steal, column(runs, n, steal_of, scratch));
    free(scratch);
}

/* One after the other; *ret_code: of the first that failed.  How many were made. */
static size_t run_all(struct bench *b, struct run *runs, int *ret_code)
{
    for (uint32_t i = 0; i < b->repeat; i++) {
        runs[i] = (struct run){ .mark = (uint32_t)vta_random() | 1,
                                .believed = { .repeat = i + 1, .of = b->repeat } };
        const int r = run_once(b, &runs[i]);
        if (r) {
            fprintf(stderr, "vtime-agent: %s: %s\n", b->command[0], strerror(-r));
            *ret_code = r == -ENOENT ? 127 : 126;
            return i;
        }
        const int code = exit_code(runs[i].believed.status);
        if (!*ret_code)
            *ret_code = code;
        if (WIFSIGNALED(runs[i].believed.status)) /* it was stopped from outside: no further runs */
            return i + 1;
    }
    return b->repeat;
}

static void block_signals(struct bench *b)
{
    static const int forwarded[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
    sigemptyset(&b->signals);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(*forwarded); i++)
        sigaddset(&b->signals, forwarded[i]);
    sigprocmask(SIG_BLOCK, &b->signals, &b->before);
}

/* What came of telling the host. */
static void tell_delivery(const struct bench *b, enum vta_delivery delivery)
{
    const struct vta_answer *a = &b->client.answer;
    switch (delivery) {
    case VTA_ARRIVED:
        fprintf(stderr, "What it really took is known on the host: vtime report\n");
        break;
    case VTA_COMING:
        fprintf(stderr,
                "What it really took is known on the host once it has the last %" PRIu64
                " frames: vtime report\n",
                a->kept);
        break;
    case VTA_KEPT:
        fprintf(stderr,
                "vtime-agent: kept by the agent; %" PRIu64 " frames not yet heard: no vtime record "
                "asks for them\n",
                a->kept);
        break;
    case VTA_FILED:
        fprintf(stderr, "vtime-agent: kept in the file %s: vtime import, on the host\n", a->text);
        break;
    case VTA_SENT:
        fprintf(stderr,
                "vtime-agent: sent one way; whether a vtime record on the host heard it is not known\n");
        break;
    case VTA_UNHEARD:
        fprintf(stderr, "vtime-agent: not delivered to the host: %s\n", b->client.why);
        break;
    }
    if (b->wants_tasks && delivery != VTA_UNHEARD && a->task_source == VTG_TASKS_NONE)
        fprintf(stderr, "vtime-agent: --tasks: %s\n",
                b->client.helper ? "there is no source of tasks' intervals here (root?)"
                                 : "the agent that runs here tells none; start it with --tasks");
}

static int run_bench(struct bench *b, const struct vta_speaker *s)
{
    int code = 0;
    struct run *runs = calloc(b->repeat, sizeof(*runs));
    b->begin = mmap(NULL, sizeof(*b->begin), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!runs || b->begin == MAP_FAILED) {
        fprintf(stderr, "vtime-agent: no memory\n");
        free(runs);
        return 1;
    }
    b->wants_tasks = s->own.tasks;
    vta_client_open(&b->client, s->socket, s->to, &s->own);
    block_signals(b);
    const size_t made = run_all(b, runs, &code);
    const enum vta_delivery delivery = vta_client_finish(&b->client);
    print_beliefs(b, runs, made);
    if (made)
        tell_delivery(b, delivery);
    free(runs);
    return code;
}

enum { NAME = 1000, REPEAT, RATE, TASKS };

struct bench_options {
    struct vta_speaker speaker;
    const char *name;
    uint32_t repeat;
};

static int take_own(void *context, int c, const char *arg)
{
    struct bench_options *o = context;
    switch (c) {
    case NAME:
        o->name = arg;
        return 0;
    case REPEAT:
        return vta_take_count("repeat", arg, 1, REPEAT_MOST, &o->repeat);
    case RATE:
        return vta_take_rate(arg, &o->speaker.own.rate_mhz);
    case TASKS:
        o->speaker.own.tasks = true;
        return 0;
    default:
        return 2;
    }
}

int vta_bench_main(int argc, char **argv)
{
    static const struct option options[] = { { "name", required_argument, NULL, NAME },
                                             { "repeat", required_argument, NULL, REPEAT },
                                             { "rate", required_argument, NULL, RATE },
                                             { "tasks", no_argument, NULL, TASKS },
                                             VTA_SPEAKER_OPTIONS };
    static struct bench b;
    struct bench_options o = { .repeat = 1 };
    const int r = vta_take_speaker(argc, argv, "+", options, &o.speaker, take_own, &o, help);
    if (r >= 0)
        return r;
    if (optind == argc) {
        fputs(help, stderr);
        return 2;
    }
    b.command = argv + optind;
    b.repeat = o.repeat;
    const char *slash = strrchr(b.command[0], '/');
    snprintf(b.name, sizeof(b.name), "%s", o.name ? o.name : slash ? slash + 1 : b.command[0]);
    return run_bench(&b, &o.speaker);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Without a host: what the steal counters say, and what sleepers on each CPU see.  A
 * sleeper that wakes a thousand times a second costs a percent or two and disturbs a
 * command little; a tight loop sees short gaps, too, and takes the CPU: on request only.
 */
#include "guest-agent/commands.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-agent/clocks.h"
#include "guest-agent/gaps.h"
#include "guest-agent/procfs.h"
#include "guest-agent/readtext.h"

#define PERIOD_NS          UINT64_C(1000000)
#define SLEEPER_THRESHOLD  UINT64_C(300000) /* a busy guest's wake-ups stay below */
#define LOOP_THRESHOLD     UINT64_C(50000)  /* interrupts of a guest take less */
#define LOOKS_PER_BASELINE 100
#define SECOND_NS          UINT64_C(1000000000)
#define STACK              (64u << 10)

static const char help[] =
    "usage: vtime-agent report [--seconds N] [--cpu N] [--tight] [-- COMMAND [ARGUMENT...]]\n"
    "Estimates, without a host, what was stolen from this guest: for N seconds (10) or while\n"
    "COMMAND runs.\n"
    "  --seconds N  for so long\n"
    "  --cpu N      look at this CPU only (all)\n"
    "  --tight      look in a tight loop, which takes all of the CPU\n";

struct sampler {
    pthread_t thread;
    uint32_t cpu;
    bool tight, running;
    atomic_bool *stop;
    struct vta_gap_sum gaps;
    uint64_t steal_before_ns, steal_ns;
};

struct report {
    struct sampler *samplers;
    unsigned nr;
    bool tight;
    uint64_t seconds;
    char **command;
    atomic_bool stop;
    uint64_t begin_ns, end_ns;
    bool has_steal;
    int status;
    struct rusage usage;
};

/* What this thread has waited on run queues of this system. */
static uint64_t own_wait_ns(void)
{
    char path[64], text[96];
    uint64_t run, wait = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", syscall(SYS_gettid));
    if (vta_read_text(path, text, sizeof(text)) > 0)
        vta_parse_schedstat(text, &run, &wait);
    return wait;
}

static void sleep_until(uint64_t ns)
{
    const struct timespec t = { .tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void sleep_and_look(struct sampler *s)
{
    uint64_t due = vta_now_ns(), waited = own_wait_ns();
    s->gaps = (struct vta_gap_sum){ .period_ns = PERIOD_NS, .threshold_ns = SLEEPER_THRESHOLD };
    for (uint64_t i = 0; !atomic_load(s->stop); i++) {
        due += PERIOD_NS;
        sleep_until(due);
        const uint64_t now = vta_now_ns(), late = now - due;
        uint64_t wait = 0;
        if (late > SLEEPER_THRESHOLD || i % LOOKS_PER_BASELINE == 0) {
            const uint64_t sum = own_wait_ns();
            wait = sum - waited;
            waited = sum;
        }
        vta_gap_look(&s->gaps, late, wait);
        if (late > PERIOD_NS) /* those looks that fell into the gap are seen already */
            due = now;
    }
}

static void loop_and_look(struct sampler *s)
{
    uint64_t last = vta_now_ns(), waited = own_wait_ns();
    s->gaps = (struct vta_gap_sum){ .threshold_ns = LOOP_THRESHOLD };
    while (!atomic_load(s->stop)) {
        const uint64_t now = vta_now_ns(), late = now - last;
        last = now;
        if (late <= LOOP_THRESHOLD) {
            s->gaps.looks++;
            continue;
        }
        const uint64_t sum = own_wait_ns();
        vta_gap_look(&s->gaps, late, sum - waited);
        waited = sum;
        last = vta_now_ns();
    }
}

/* Where it may, a sleeper goes before all others: then none of its lateness is a queue's.  musl has no call.
 */
static void go_first(void)
{
    const struct sched_param first = { .sched_priority = 1 };
    syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first);
}

static void *sample(void *context)
{
    struct sampler *s = context;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(s->cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        return NULL;
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    s->running = true;
    if (s->tight) {
        loop_and_look(s);
    } else {
        go_first();
        sleep_and_look(s);
    }
    return NULL;
}

struct steal_reading {
    struct report *r;
    bool is_end;
};

static void read_steal(void *context, const struct vtg_cpu_time *cpu)
{
    const struct steal_reading *reading = context;
    struct report *r = reading->r;
    for (unsigned i = 0; i < r->nr; i++) {
        struct sampler *s = &r->samplers[i];
        if (s->cpu != cpu->cpu)
            continue;
        if (reading->is_end)
            s->steal_ns = cpu->steal - s->steal_before_ns;
        else
            s->steal_before_ns = cpu->steal;
    }
}

static void read_steals(struct report *r, bool is_end)
{
    struct steal_reading reading = { r, is_end };
    r->has_steal = vta_each_cpu_time(read_steal, &reading) == 0;
}

static int choose_cpus(struct report *r, long only)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return -errno;
    r->samplers = calloc((size_t)CPU_COUNT(&allowed), sizeof(*r->samplers));
    if (!r->samplers)
        return -ENOMEM;
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && (only < 0 || only == (long)cpu))
            r->samplers[r->nr++] = (struct sampler){ .cpu = cpu, .tight = r->tight, .stop = &r->stop };
    return r->nr ? 0 : -EINVAL;
}

static int start_samplers(struct report *r)
{
    pthread_attr_t attributes;
    int error = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (unsigned i = 0; i < r->nr && !error; i++) {
        error = pthread_create(&r->samplers[i].thread, &attributes, sample, &r->samplers[i]);
        if (error)
            r->nr = i;
    }
    pthread_attr_destroy(&attributes);
    return -error;
}

static void stop_samplers(struct report *r)
{
    atomic_store(&r->stop, true);
    for (unsigned i = 0; i < r->nr; i++)
        pthread_join(r->samplers[i].thread, NULL);
}

/* The command, to its end; ^C is for it. */
static int run_command(struct report *r)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    const pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        execvp(r->command[0], r->command);
        fprintf(stderr, "vtime-agent: %s: %s\n", r->command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    while (wait4(pid, &r->status, 0, &r->usage) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int watch(struct report *r)
{
    read_steals(r, false);
    int error = start_samplers(r);
    r->begin_ns = vta_now_ns();
    if (!error && r->command)
        error = run_command(r);
    else if (!error)
        sleep_until(r->begin_ns + r->seconds * SECOND_NS);
    r->end_ns = vta_now_ns();
    stop_samplers(r);
    read_steals(r, true);
    return error;
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static struct vta_estimate print_cpus(const struct report *r, uint64_t window)
{
    struct vta_estimate sum = { 0, 0 };
    const uint64_t granule = SECOND_NS / vta_user_hz();
    fprintf(stderr, "%5s %15s %7s %12s   %s\n", "CPU", "steal counter", "gaps", "longest",
            "stolen (estimated)");
    for (unsigned i = 0; i < r->nr; i++) {
        const struct sampler *s = &r->samplers[i];
        const struct vta_estimate e = vta_gap_estimate(&s->gaps, s->steal_ns, granule, window);
        if (!s->running) {
            fprintf(stderr, "%5u   not looked at: it could not be pinned to\n", s->cpu);
            sum.most_ns += window;
            continue;
        }
        fprintf(stderr, "%5u %13.2f s %7llu %9.3f ms   %.3f to %.3f s\n", s->cpu, seconds(s->steal_ns),
                (unsigned long long)s->gaps.count, (double)s->gaps.longest_ns / 1e6, seconds(e.least_ns),
                seconds(e.most_ns));
        sum.least_ns += e.least_ns;
        sum.most_ns += e.most_ns;
    }
    return sum;
}

static void print_command(const struct report *r, struct vta_estimate sum, uint64_t window)
{
    const uint64_t user =
        (uint64_t)r->usage.ru_utime.tv_sec * SECOND_NS + (uint64_t)r->usage.ru_utime.tv_usec * 1000;
    const uint64_t system =
        (uint64_t)r->usage.ru_stime.tv_sec * SECOND_NS + (uint64_t)r->usage.ru_stime.tv_usec * 1000;
    const uint64_t most = sum.most_ns < window ? sum.most_ns : window;
    /* which of several CPUs it was on when they were stolen is not known */
    const uint64_t least = r->nr == 1 ? sum.least_ns : 0;
    fprintf(stderr, "%s: %.3f s elapsed, %.3f s user, %.3f s sys as this guest believes\n", r->command[0],
            seconds(window), seconds(user), seconds(system));
    fprintf(stderr, "undisturbed it would have taken %.3f to %.3f s (estimated)\n", seconds(window - most),
            seconds(window - least));
}

static void print(const struct report *r)
{
    const uint64_t window = r->end_ns - r->begin_ns;
    uint64_t steal = 0, gaps = 0;
    fprintf(stderr, "vtime-agent: %.3f s, seen from inside only: everything here is estimated\n",
            seconds(window));
    const struct vta_estimate sum = print_cpus(r, window);
    for (unsigned i = 0; i < r->nr; i++) {
        steal += r->samplers[i].steal_ns;
        gaps += r->samplers[i].gaps.count;
    }
    if (r->command)
        print_command(r, sum, window);
    if (steal == 0 && gaps)
        fprintf(stderr, "The steal counters stand still: this hypervisor does not tell, or the gaps are the "
                        "guest's own.\n");
    fprintf(
        stderr,
        "Bound: a gap is known to %s; one that is shorter than %.2f ms is not seen, and not in the bound.\n",
        r->tight ? "the microsecond" : "1 ms (one look)",
        r->tight ? (double)LOOP_THRESHOLD / 1e6 : (double)(PERIOD_NS + SLEEPER_THRESHOLD) / 1e6);
}

static int report(struct report *r, long only_cpu)
{
    int error = choose_cpus(r, only_cpu);
    if (error) {
        fprintf(stderr, "vtime-agent: %s\n",
                error == -EINVAL ? "no such CPU for this process" : strerror(-error));
        return 1;
    }
    error = watch(r);
    if (error)
        fprintf(stderr, "vtime-agent: %s\n", strerror(-error));
    else
        print(r);
    free(r->samplers);
    if (error || !r->command)
        return error ? 1 : 0;
    return WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status) : WEXITSTATUS(r->status);
}

int vta_report_main(int argc, char **argv)
{
    enum { SECONDS = 1000, CPU, TIGHT, HELP };
    static const struct option options[] = { { "seconds", required_argument, NULL, SECONDS },
                                             { "cpu", required_argument, NULL, CPU },
                                             { "tight", no_argument, NULL, TIGHT },
                                             { "help", no_argument, NULL, HELP },
                                             { 0 } };
    static struct report r;
    uint32_t number = 10;
    long only_cpu = -1;
    int c, error = 0;
    r.seconds = number;
    while (!error && (c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (c) {
        case SECONDS:
            error = vta_take_count("seconds", optarg, 1, 86400, &number);
            r.seconds = number;
            break;
        case CPU:
            error = vta_take_count("cpu", optarg, 0, CPU_SETSIZE - 1, &number);
            only_cpu = (long)number;
            break;
        case TIGHT:
            r.tight = true;
            break;
        case HELP:
            fputs(help, stdout);
            return 0;
        default:
            error = 2;
        }
    }
    if (error) {
        fputs("vtime-agent report --help tells more\n", stderr);
        return 2;
    }
    r.command = optind < argc ? argv + optind : NULL;
    return report(&r, only_cpu);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Truth by schedule.
 *   schedule make SEED TOTAL_MS          a random schedule: "offset_ns length_ns" lines
 *   schedule hog FILE CPU                follows it with SCHED_FIFO on CPU; prints, per interval, when
 *                                        it was to begin and end, and when it really had the CPU
 *   schedule check LOG SLICES.csv GAPS   holds the PREEMPTED intervals of the guest "victim" against it:
 *                                        against when the hog had the CPU, or, where other work of this
 *                                        host ran right before or behind it, against the guest's own gap
 *                                        ("from length" lines)
 */
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_INTERVALS = 4096 };

struct interval {
    uint64_t from, to;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Busy 20 to 150 ms, free 30 to 150 ms: below the kernel's limit for real-time tasks (95 %). */
static int make(uint64_t seed, uint64_t total_ms)
{
    uint64_t at = 200000000, busy = 0;

    srandom((unsigned)seed);
    while (busy < total_ms * 1000000) {
        uint64_t length = 20000000 + (uint64_t)random() % 130000000;
        if (busy + length + 20000000 > total_ms * 1000000)
            length = total_ms * 1000000 - busy;
        printf("%" PRIu64 " %" PRIu64 "\n", at, length);
        at += length + 30000000 + (uint64_t)random() % 120000000;
        busy += length;
    }
    return 0;
}

/* Lines of two numbers: begin and length. */
static size_t load(const char *path, struct interval *list)
{
    FILE *f = fopen(path, "re");
    size_t n = 0;
    uint64_t at, length;

    while (f && n < MAX_INTERVALS && fscanf(f, "%" SCNu64 " %" SCNu64, &at, &length) == 2)
        list[n++] = (struct interval){ at, at + length };
    if (f)
        fclose(f);
    return n;
}

static int hog(const char *path, int cpu)
{
    static struct interval plan[MAX_INTERVALS], seen[MAX_INTERVALS];
    size_t n = load(path, plan);
    struct sched_param fifo = { .sched_priority = 50 };
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) || sched_setscheduler(0, SCHED_FIFO, &fifo)) {
        perror("schedule: SCHED_FIFO");
        return 1;
    }
    uint64_t base = now_ns();
    for (size_t i = 0; i < n; i++) {
        plan[i].from += base;
        plan[i].to += base;
        struct timespec t = { (time_t)(plan[i].from / 1000000000u), (long)(plan[i].from % 1000000000u) };
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
            ;
        seen[i].from = now_ns();
        do
            seen[i].to = now_ns();
        while (seen[i].to < plan[i].to);
    }
    for (size_t i = 0; i < n; i++)
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", plan[i].from, plan[i].to, seen[i].from,
               seen[i].to);
    return 0;
}

static size_t load_log(const char *path, struct interval *plan, struct interval *seen)
{
    FILE *f = fopen(path, "re");
    size_t n = 0;

    while (f && n < MAX_INTERVALS &&
           fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &plan[n].from, &plan[n].to,
                  &seen[n].from, &seen[n].to) == 4)
        n++;
    if (f)
        fclose(f);
    return n;
}

/* The PREEMPTED intervals longer than 5 ms: the hog's shortest is 20 (but for its last). */
static size_t load_waits(const char *path, struct interval *list, uint64_t *ret_sum)
{
    FILE *f = fopen(path, "re");
    char line[1024], guest[256], off[32], wait[32];
    uint64_t out, wake, in;
    size_t n = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%255[^,],%*u,%*u,%*u,%" SCNu64 ",%31[^,],%" SCNu64 ",%31[^,],%" SCNu64, guest, &out,
                   off, &wake, wait, &in) == 6 &&
            strcmp(guest, "\"victim\"") == 0 && strcmp(wait, "PREEMPTED") == 0 && in > wake) {
            *ret_sum += in - wake;
            if (in - wake > 1000000 && n < MAX_INTERVALS)
                list[n++] = (struct interval){ wake, in };
        }
    if (f)
        fclose(f);
    return n;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

static size_t nearest(const struct interval *list, size_t n, uint64_t from)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (distance(list[i].from, from) < distance(list[best].from, from))
            best = i;
    return best;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int check(const char *log, const char *slices, const char *gap_file)
{
    static struct interval plan[MAX_INTERVALS], hogged[MAX_INTERVALS], waits[MAX_INTERVALS],
        gaps[MAX_INTERVALS];
    static uint64_t errors[2 * MAX_INTERVALS];
    uint64_t planned = 0, recovered = 0, all = 0, others = 0;
    size_t n = load_log(log, plan, hogged), m = load_waits(slices, waits, &all), g = load(gap_file, gaps),
           e = 0;

    if (n == 0 || m == 0 || g == 0)
        return printf("%zu intervals in the log, %zu PREEMPTED ones recorded, %zu gaps\n", n, m, g), 1;
    for (size_t i = 0; i < n; i++) {
        const struct interval *w = &waits[nearest(waits, m, hogged[i].from)];
        const struct interval *gap = &gaps[nearest(gaps, g, w->from)];
        planned += plan[i].to - plan[i].from;
        recovered += w->to - w->from;
        errors[e++] = least(distance(w->from, hogged[i].from), distance(w->from, gap->from));
        errors[e++] = least(distance(w->to, hogged[i].to), distance(w->to, gap->to));
        if (gap->from + 100000 < hogged[i].from) /* the guest itself saw that it waited before */
            others += hogged[i].from - gap->from;
        if (gap->to > hogged[i].to + 100000) /* or that it had to wait on */
            others += gap->to - hogged[i].to;
    }
    qsort(errors, e, sizeof(*errors), by_value);
    /* `others` is what the guest saw beyond the hog: at most that much may be added */
    uint64_t excess = recovered > planned ? recovered - planned : 0;
    uint64_t wrong = recovered < planned ? planned - recovered : excess > others ? excess - others : 0;
    double off = 100.0 * (double)wrong / (double)planned;
    printf("intervals %zu, scheduled %.6f s, recovered %.6f s, of it %.6f s other work beside the hog: off "
           "by %.4f %%; "
           "all PREEMPTED %.6f s; edges off by median %.1f us, worst %.1f us\n",
           n, (double)planned / 1e9, (double)recovered / 1e9, (double)others / 1e9, off, (double)all / 1e9,
           (double)errors[e / 2] / 1e3, (double)errors[e - 1] / 1e3);
    return off <= 0.1 && errors[e / 2] <= 50000 && errors[e - 1] <= 200000 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "make") == 0)
        return make(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "hog") == 0)
        return hog(argv[2], atoi(argv[3]));
    if (argc == 5 && strcmp(argv[1], "check") == 0)
        return check(argv[2], argv[3], argv[4]);
    fputs("usage: schedule make SEED TOTAL_MS | hog FILE CPU | check LOG SLICES.csv GAPS\n", stderr);
    return 2;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks of known work for guests: the same work in each run, so that a run
 * alone tells what a run among rivals should have taken. Only turns prints, what it saw
 * of being held.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096 };

/* turns: looks at the clock after so many iterations (some 0.1 ms); whatever made it take so
 * much longer was no work of its own */
enum { LOOK = 30000, GAP_NS = 1000000 };

struct work {
    uint64_t iterations; /* of one burst */
    uint64_t rounds;
    uint64_t pause_us;     /* sleepwork */
    const char *file;      /* disk */
    const char *go, *done; /* turns */
};

static void die(const char *what, int error)
{
    fprintf(stderr, "loop: %s: %s\n", what, strerror(error));
    exit(1);
}

/* Marsaglia's xorshift64 (13, 7, 17): each step needs the last, and no compiler folds it. */
static uint64_t turn(uint64_t x)
{
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void burst(uint64_t iterations)
{
    uint64_t x = 88172645463325252u;

    for (uint64_t i = 0; i < iterations; i++)
        x = turn(x);
    __asm__ volatile("" : : "r"(x));
}

static void sleepwork(const struct work *w)
{
    struct timespec pause = { (time_t)(w->pause_us / 1000000), (long)(w->pause_us % 1000000) * 1000 };

    for (uint64_t i = 0; i < w->rounds; i++) {
        burst(w->iterations);
        nanosleep(&pause, NULL);
    }
}

/* open_direct: past the page cache where the file's system can, else made so by fdatasync */
static int open_direct(const char *file)
{
    int fd = open(file, O_RDWR | O_DIRECT | O_CLOEXEC);

    if (fd < 0 && errno == EINVAL)
        fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die(file, errno);
    return fd;
}

/* Each round reads a block, works, and writes it back, all the way to the disk. */
static void disk(const struct work *w)
{
    int fd = open_direct(w->file);
    off_t blocks = lseek(fd, 0, SEEK_END) / BLOCK;
    uint64_t x = 88172645463325252u;
    void *block;

    if (blocks <= 0)
        die(w->file, ENOSPC);
    if (posix_memalign(&block, BLOCK, BLOCK) != 0)
        die("memory", ENOMEM);
    for (uint64_t i = 0; i < w->rounds; i++) {
        off_t at = (off_t)((x = turn(x)) % (uint64_t)blocks) * BLOCK;

        if (pread(fd, block, BLOCK, at) != BLOCK)
            die("read", errno);
        burst(w->iterations);
        if (pwrite(fd, block, BLOCK, at) != BLOCK || fdatasync(fd) != 0)
            die("write", errno);
    }
    free(block);
    close(fd);
}

struct side {
    const struct work *work;
    pthread_barrier_t *meet;
    size_t cpu;
};

static void *run_side(void *arg)
{
    const struct side *s = arg;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(s->cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
        die("pin", errno);
    for (uint64_t i = 0; i < s->work->rounds; i++) {
        burst(s->work->iterations);
        pthread_barrier_wait(s->meet);
    }
    return NULL;
}

/* Two threads on vCPUs 0 and 1 meet after each burst: the slower one holds both up. */
static void barrier(const struct work *w)
{
    pthread_barrier_t meet;
    struct side sides[2] = { { w, &meet, 0 }, { w, &meet, 1 } };
    pthread_t threads[2];
    int r = pthread_barrier_init(&meet, NULL, 2);

    for (int i = 0; r == 0 && i < 2; i++)
        r = pthread_create(&threads[i], NULL, run_side, &sides[i]);
    if (r != 0)
        die("threads", r);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&meet);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Work that looks at the clock: the time in gaps, less the work that is in each. */
static uint64_t watched_burst(uint64_t iterations)
{
    uint64_t gaps = 0, least = UINT64_MAX, from = now_ns(CLOCK_MONOTONIC);

    for (uint64_t done = 0; done < iterations; done += LOOK) {
        burst(LOOK);
        const uint64_t to = now_ns(CLOCK_MONOTONIC), took = to - from;

        if (took < least)
            least = took;
        if (took > GAP_NS)
            gaps += took - least;
        from = to;
    }
    return gaps;
}

/* A line from the one pipe, work, a line into the other: who writes says whose turn it is. */
static void turns(const struct work *w)
{
    uint64_t gaps = 0, worked = 0;
    char line[16];

    for (uint64_t i = 0; i < w->rounds; i++) {
        int go = open(w->go, O_RDONLY | O_CLOEXEC), done;

        if (go < 0 || read(go, line, sizeof(line)) < 0)
            die(w->go, errno);
        close(go);
        const uint64_t from = now_ns(CLOCK_MONOTONIC);
        gaps += watched_burst(w->iterations);
        worked += now_ns(CLOCK_MONOTONIC) - from;
        done = open(w->done, O_WRONLY | O_CLOEXEC);
        if (done < 0 || write(done, "done\n", 5) != 5)
            die(w->done, errno);
        close(done);
    }
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", worked, gaps, now_ns(CLOCK_PROCESS_CPUTIME_ID));
}

static int usage(void)
{
    fputs("usage: loop ITERATIONS\n"
          "       loop sleepwork ROUNDS ITERATIONS PAUSE_US\n"
          "       loop disk ROUNDS ITERATIONS FILE\n"
          "       loop barrier ROUNDS ITERATIONS\n"
          "       loop turns ROUNDS ITERATIONS GO DONE   (pipes; prints ns: worked, in gaps, CPU charged)\n",
          stderr);
    return 2;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoumax(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0')
        exit(usage());
    return n;
}

int main(int argc, char **argv)
{
    struct work w = { 0 };

    if (argc == 2) {
        burst(number(argv[1]));
        return 0;
    }
    if (argc < 4)
        return usage();
    w.rounds = number(argv[2]);
    w.iterations = number(argv[3]);
    if (strcmp(argv[1], "sleepwork") == 0 && argc == 5) {
        w.pause_us = number(argv[4]);
        sleepwork(&w);
    } else if (strcmp(argv[1], "disk") == 0 && argc == 5) {
        w.file = argv[4];
        disk(&w);
    } else if (strcmp(argv[1], "barrier") == 0 && argc == 4) {
        barrier(&w);
    } else if (strcmp(argv[1], "turns") == 0 && argc == 6) {
        w.go = argv[4];
        w.done = argv[5];
        turns(&w);
    } else {
        return usage();
    }
    return 0;
}

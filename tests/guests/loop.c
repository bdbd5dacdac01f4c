/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks of known work for guests: the same work in each run, so that a run
 * alone tells what a run among rivals should have taken. Prints nothing.
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

struct work {
    uint64_t iterations; /* of one burst */
    uint64_t rounds;
    uint64_t pause_us; /* sleepwork */
    const char *file;  /* disk */
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

static int usage(void)
{
    fputs("usage: loop ITERATIONS\n"
          "       loop sleepwork ROUNDS ITERATIONS PAUSE_US\n"
          "       loop disk ROUNDS ITERATIONS FILE\n"
          "       loop barrier ROUNDS ITERATIONS\n",
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
    } else {
        return usage();
    }
    return 0;
}

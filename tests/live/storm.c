/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * storm CPU MS [US]: timer interrupts on CPU, one every US (20) microseconds for MS milliseconds.
 * Each of many timers fires once; they are set again in rounds, by
 * a thread that has the CPU for a small part of the time.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>

enum { TIMERS = 500, EVERY_US = 20 };

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
}

int main(int argc, char **argv)
{
    static int timer[TIMERS];
    uint64_t at, end, every = EVERY_US * 1000;
    cpu_set_t set;

    if (argc != 3 && argc != 4) {
        fputs("usage: storm CPU MS [US]\n", stderr);
        return 2;
    }
    if (argc == 4)
        every = strtoull(argv[3], NULL, 10) * 1000;
    CPU_ZERO(&set);
    CPU_SET((size_t)atoi(argv[1]), &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        perror("storm");
    for (int i = 0; i < TIMERS; i++)
        if ((timer[i] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) < 0)
            return perror("storm"), 1;
    at = now_ns();
    end = at + strtoull(argv[2], NULL, 10) * 1000000;
    while (at < end) {
        at = now_ns() + 1000000; /* they are all set before the first is due */
        for (int i = 0; i < TIMERS; i++, at += every)
            if (timerfd_settime(timer[i], TFD_TIMER_ABSTIME,
                                &(struct itimerspec){ .it_value = timespec_of(at) }, NULL))
                return perror("storm"), 1;
        const struct timespec until = timespec_of(at);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return 0;
}

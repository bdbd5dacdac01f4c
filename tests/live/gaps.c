/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gaps SECONDS [LATE_US]: looks at the TSC for so long, and says how long it could not, in all its looks that
 * took longer than 1 us, and how many these were: "NS COUNT".  LATE_US: five thousand times a second it arms
 * a timer that was due so long before.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <x86intrin.h>

enum { GAP_NS = 1000, ARM_NS = 200000 };

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double ticks_per_ns(void)
{
    uint64_t ns = now_ns(), tsc = __rdtsc();

    while (now_ns() - ns < 100000000)
        ;
    return (double)(__rdtsc() - tsc) / (double)(now_ns() - ns);
}

static void arm_late(int timer, uint64_t late_ns)
{
    const uint64_t at = now_ns() - late_ns;

    timerfd_settime(
        timer, TFD_TIMER_ABSTIME,
        &(struct itimerspec){ .it_value = { (time_t)(at / 1000000000u), (long)(at % 1000000000u) } }, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fputs("usage: gaps SECONDS [LATE_US]\n", stderr);
        return 2;
    }
    const uint64_t late_ns = argc == 3 ? strtoull(argv[2], NULL, 10) * 1000 : 0;
    const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const double rate = ticks_per_ns();
    const uint64_t arm = (uint64_t)(ARM_NS * rate);
    const uint64_t least = (uint64_t)(GAP_NS * rate);
    uint64_t last = __rdtsc(), armed = last, end = last + (uint64_t)(atof(argv[1]) * 1e9 * rate), gaps = 0,
             n = 0;

    while (last < end) {
        const uint64_t now = __rdtsc();
        if (now - last > least) {
            gaps += now - last;
            n++;
        }
        last = now;
        if (late_ns && now - armed > arm) {
            arm_late(timer, late_ns);
            armed = now;
        }
    }
    printf("%.0f %" PRIu64 "\n", (double)gaps / rate, n);
    return 0;
}

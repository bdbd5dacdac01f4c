/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's clocks, in ns. */
#ifndef VMM_CLOCK_H
#define VMM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t vmm_clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t vmm_now_ns(void)
{
    return vmm_clock_ns(CLOCK_MONOTONIC);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clocks that an operating system shows, and what it says of itself. */
#ifndef VTA_CLOCKS_H
#define VTA_CLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "vt/guest_wire.h"

/** The TSC, read after all before it in the program and before all behind it. */
static inline uint64_t vta_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

uint64_t vta_clock_ns(clockid_t clock);

/** CLOCK_MONOTONIC. */
static inline uint64_t vta_now_ns(void)
{
    return vta_clock_ns(CLOCK_MONOTONIC);
}

static inline bool vta_view_has(const struct vtg_view *v, enum vtg_os_clock clock)
{
    return v->have >> clock & 1;
}

/* Reads views; keeps files open and knows how narrow a view can be. */
struct vta_viewer {
    int uptime_fd;
    uint64_t narrowest;     /* ticks of the quickest view so far */
    struct vtg_view coarse; /* whose /proc/uptime and NTP state still hold; coarse.have 0: none */
};
void vta_viewer_open(struct vta_viewer *v);
void vta_viewer_read(struct vta_viewer *v, struct vtg_view *ret);
/** REALTIME was set: NTP's state is another one. */
void vta_viewer_forget(struct vta_viewer *v);

/**
 * For a mark: TSC, CLOCK_MONOTONIC, TSC and the CPU it is on.  The rest of ret (steal,
 * CPU time) is the caller's: what takes long to read may not widen the bracket.
 */
void vta_clocks_read(struct vtg_clocks *ret);

/** Sum of all CPUs' steal by /proc/stat; have: gets VTG_HAVE_STEAL if there is one. */
uint64_t vta_steal_ns(uint32_t *have);

/** Calls row for each CPU of /proc/stat (cpu UINT32_MAX: the sum of all, first); 0 or -errno. */
int vta_each_cpu_time(void (*row)(void *context, const struct vtg_cpu_time *cpu), void *context);

uint32_t vta_user_hz(void);

/** All but session, view_mhz and task_source. */
void vta_system_read(struct vtg_system *ret);

/** Random and never 0. */
uint64_t vta_random(void);

#endif

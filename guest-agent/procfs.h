/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel writes in /proc and /sys, read from text.  Pure. */
#ifndef VTA_PROCFS_H
#define VTA_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

/** A line of /proc/stat, in ns of user_hz.  cpu: UINT32_MAX for the sum of all.  False: no line of a CPU. */
bool vta_parse_cpu_time(const char *line, uint32_t user_hz, struct vtg_cpu_time *ret);

/** /proc/uptime. */
bool vta_parse_uptime(const char *text, uint64_t *ret_uptime_ns, uint64_t *ret_idle_ns);

/**
 * /proc/PID/stat: pid, ppid, threads, start_ticks, utime, stime (with those of children
 * waited for) and comm, which may hold anything.  The rest of ret stays.
 */
bool vta_parse_process(const char *text, uint32_t user_hz, struct vtg_process *ret);

/** schedstat of a task: time run, time waited for a CPU. */
bool vta_parse_schedstat(const char *text, uint64_t *ret_run_ns, uint64_t *ret_delay_ns);

#define VTA_CPUS_MOST 1024u
struct vta_cpu_set {
    uint64_t bits[VTA_CPUS_MOST / 64];
};
/** "0-3,8": a list of CPUs as /sys has them; false: something else.  CPUs from 1024 on are left out. */
bool vta_parse_cpu_list(const char *text, struct vta_cpu_set *ret);
static inline bool vta_cpu_isset(const struct vta_cpu_set *set, uint32_t cpu)
{
    return cpu < VTA_CPUS_MOST && set->bits[cpu / 64] >> cpu % 64 & 1;
}
uint32_t vta_cpu_count(const struct vta_cpu_set *set);

/** 8-4-4-4-12 hexadecimal digits, the first the most significant of ret[0]. */
bool vta_parse_uuid(const char *text, uint64_t ret[2]);

/** FNV-1a, never 0: the id that marks of one name share. */
uint32_t vta_name_id(const char *name);

#endif

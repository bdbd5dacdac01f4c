/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Do this host's CPUs sleep when they are idle? */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hostinfo.h"

/*
 * PM QoS: what a CPU may take to wake, in us, by what all ask for; a reader asks for nothing
 * (Documentation/power/pm_qos_interface.rst; cpu_latency_qos_read(), kernel/power/qos.c, Linux 6.18).
 */
bool vt_host_bars_sleep(const char *latency)
{
    int32_t us = -1;
    const int fd = open(latency ? latency : "/dev/cpu_dma_latency", O_RDONLY | O_CLOEXEC);
    const bool is_read = fd >= 0 && read(fd, &us, sizeof(us)) == (ssize_t)sizeof(us);

    if (fd >= 0)
        close(fd);
    return is_read && us == 0;
}

static bool has(const char *sys, const char *file, const char *text)
{
    char path[256], buf[64];

    snprintf(path, sizeof(path), "%s/%s", sys, file);
    return vt_slurp(path, buf, sizeof(buf)) > 0 && strcmp(buf, text) == 0;
}

/*
 * With a limit of 0 these choose state 0 and look no further (drivers/cpuidle/governors/, Linux 6.18). Teo
 * did not, of two states, in some versions; without a governor, or with idle states of per-CPU limits or
 * switched off by hand, nothing is concluded.
 */
static bool heeds_the_limit(const char *sys)
{
    return has(sys, "cpuidle/current_governor", "menu\n") ||
           has(sys, "cpuidle/current_governor", "haltpoll\n") ||
           has(sys, "cpuidle/current_governor", "ladder\n");
}

bool vt_host_stays_awake(const char *sys, const char *latency)
{
    const char *folder = sys ? sys : VT_CPU_FOLDER;
    const uint32_t end = vt_cpu_limit(sys);
    bool any = false;
    struct vt_cpu unused;
    char name[64];

    if (!vt_host_bars_sleep(latency) || !heeds_the_limit(folder))
        return false;
    for (uint32_t cpu = 0; cpu < end; cpu++) {
        if (!vt_cpu_describe(sys, cpu, &unused)) /* offline */
            continue;
        snprintf(name, sizeof(name), "cpu%u/cpuidle/state0/name", cpu);
        if (!has(folder, name, "POLL\n"))
            return false;
        any = true;
    }
    return any;
}

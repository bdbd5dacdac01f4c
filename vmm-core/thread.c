/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "vmm-core/clock.h"
#include "vmm-core/vmm.h"

void thread_name(char out[16], const char *name, const char *what, unsigned index)
{
    char tail[12];
    int n = snprintf(tail, sizeof(tail), "/%s%u", what, index);
    snprintf(out, 16, "vt:%.*s%s", 15 - 3 - n, name, tail);
}

/* Pinned from its first instruction. */
static int pin(pthread_attr_t *attr, const struct vmm_config *config, unsigned index)
{
    cpu_set_t set;
    if (!config->nr_cpus)
        return 0;
    CPU_ZERO(&set);
    CPU_SET(config->cpus[index % config->nr_cpus], &set);
    return pthread_attr_setaffinity_np(attr, sizeof(set), &set);
}

int thread_start(pthread_t *thread, const struct vmm_config *config, unsigned index, void *(*start)(void *),
                 void *context, struct vt_err *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    int rc = pin(&attr, config, index);
    if (rc == 0)
        rc = pthread_create(thread, &attr, start, context);
    pthread_attr_destroy(&attr);
    if (rc == EINVAL && config->nr_cpus)
        return vt_fail(err, rc, "vCPU %u can't be pinned: this process may not use CPU %u", index,
                       config->cpus[index % config->nr_cpus]);
    return rc ? vt_fail(err, rc, "thread of vCPU %u: %s", index, strerror(rc)) : 0;
}

void thread_busy(uint64_t cpu_ns)
{
    uint64_t until = vmm_clock_ns(CLOCK_THREAD_CPUTIME_ID) + cpu_ns;
    while (vmm_clock_ns(CLOCK_THREAD_CPUTIME_ID) < until)
        ;
}

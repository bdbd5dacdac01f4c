/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of this host's own steal: what the run queue's task clock of one CPU
 * left out because an outer host had the CPU (kernel/sched/core.c,
 * update_rq_clock_task()), from the first switch there to the last. So much
 * may be missing in schedstat's run time, which is by that clock.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct rq___steal {
    __u64 prev_steal_time_rq; /* CONFIG_PARAVIRT_TIME_ACCOUNTING */
};
struct cfs_rq___rq { /* CONFIG_FAIR_GROUP_SCHED */
    struct rq___steal *rq;
};
#pragma clang attribute pop

const volatile __u32 cpu_plus_1;

__u64 stolen_ns, switches;
__u64 first;

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    const struct cfs_rq___rq *of = (void *)next->se.cfs_rq;
    struct rq___steal *rq = (void *)0;

    (void)preempt, (void)prev;
    if (bpf_get_smp_processor_id() + 1 != cpu_plus_1 || !next->pid)
        return 0;
    if (!bpf_core_field_exists(rq->prev_steal_time_rq) || !bpf_core_field_exists(of->rq))
        return 0;
    rq = BPF_CORE_READ(of, rq);
    __u64 ns = BPF_CORE_READ(rq, prev_steal_time_rq);
    if (!switches++)
        first = ns;
    stolen_ns = ns - first;
    return 0;
}

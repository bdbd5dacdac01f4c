/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of delayed dequeue (EEVDF, 6.12 and later): of the threads of one
 * process, how often one went to sleep and stayed on its run queue, how often
 * one went to sleep at all, and how often a sleeper was there still when he was
 * woken.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 tgid;

__u64 delayed, sleeps, woken_there;

static __always_inline bool is_delayed(struct task_struct *task)
{
    struct sched_entity___delayed *se = (void *)&task->se;

    return bpf_core_field_exists(se->sched_delayed) && se->sched_delayed;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next, __u32 prev_state)
{
    (void)next;
    if ((__u32)prev->tgid != tgid || preempt || !prev_state || (prev->on_rq && !is_delayed(prev)))
        return 0;
    __sync_fetch_and_add(&sleeps, 1);
    if (is_delayed(prev))
        __sync_fetch_and_add(&delayed, 1);
    return 0;
}

/* Before the wake-up does anything. */
SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
    if ((__u32)task->tgid == tgid && task->on_rq && is_delayed(task))
        __sync_fetch_and_add(&woken_there, 1);
    return 0;
}

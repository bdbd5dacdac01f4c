/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of idle CPUs: of one thread's waits, how many began while another of the
 * CPUs that it may use was idle, and how long those were.  Which CPUs are idle it
 * knows from who was switched in there last, not from the kernel's run queues.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 thread;

__u64 waits, marked, marked_ns;
__u64 since; /* of a marked wait under way, 0: of none */

enum { CPUS = 64 };
__u8 idle[CPUS];

static __always_inline void wait_begins(struct task_struct *task, __u32 here)
{
    __u64 mask = 0;

    bpf_probe_read_kernel(&mask, sizeof(mask), BPF_CORE_READ(task, cpus_ptr));
    waits++;
    since = 0;
    for (__u32 cpu = 0; cpu < CPUS; cpu++)
        if (cpu != here && mask >> cpu & 1 && idle[cpu])
            since = bpf_ktime_get_ns();
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    __u32 cpu = bpf_get_smp_processor_id();

    if (cpu < CPUS)
        idle[cpu] = next->pid == 0;
    if ((__u32)next->pid == thread && since) {
        marked++;
        marked_ns += bpf_ktime_get_ns() - since;
        since = 0;
    }
    if ((__u32)prev->pid == thread && (preempt || !prev->__state))
        wait_begins(prev, cpu);
    return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
    if ((__u32)task->pid == thread && !task->on_cpu)
        wait_begins(task, task->thread_info.cpu);
    return 0;
}

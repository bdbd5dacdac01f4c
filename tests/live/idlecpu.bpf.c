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
bool is_waiting;
__u64 idle; /* a bit for each CPU, of the first 64 */

static __always_inline void wait_begins(struct task_struct *task, __u32 here)
{
    __u64 mask = 0;

    if (is_waiting) /* one that is queued may be woken again */
        return;
    is_waiting = true;
    bpf_probe_read_kernel(&mask, sizeof(mask), BPF_CORE_READ(task, cpus_ptr));
    waits++;
    since = mask & idle & ~(1ull << (here & 63)) ? bpf_ktime_get_ns() : 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    __u32 cpu = bpf_get_smp_processor_id();
    __u64 own = cpu < 64 ? 1ull << cpu : 0;

    if (next->pid == 0)
        __sync_fetch_and_or(&idle, own);
    else
        __sync_fetch_and_and(&idle, ~own);
    if ((__u32)next->pid == thread)
        is_waiting = false;
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

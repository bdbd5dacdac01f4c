/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of what the kernel's own account leaves out: for the threads of one
 * process, the wait that the tracepoints show after a wake-up, where
 * sched_info's arrival carries the very time stamp of the queueing
 * (rq_clock_skip_update(): the run queue's clock is not read again between a
 * wake-up that pre-empts and the switch that follows), so that run_delay has
 * grown by nothing.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 tgid;

/* Of a wake-up: how many were seen, how many with the same stamp twice, and what the tracepoints have of
 * those. */
__u64 wakeups, same_stamp, omitted_ns;

struct cycle {
    __u64 woken, in, queued;
};
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, struct cycle);
} cycles SEC(".maps");

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
    struct cycle c = { .woken = bpf_ktime_get_ns() };
    __u32 tid = (__u32)task->pid;

    if ((__u32)task->tgid == tgid && !task->on_cpu)
        bpf_map_update_elem(&cycles, &tid, &c, BPF_ANY);
    return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    __u32 tid = (__u32)next->pid;
    struct cycle *c;

    (void)preempt;
    if ((__u32)next->tgid == tgid && (c = bpf_map_lookup_elem(&cycles, &tid))) {
        c->in = bpf_ktime_get_ns();
        c->queued = next->sched_info.last_queued; /* the tracepoint comes before the arrival */
    }
    tid = (__u32)prev->pid;
    if ((__u32)prev->tgid != tgid || !(c = bpf_map_lookup_elem(&cycles, &tid)) || !c->in)
        return 0;
    __sync_fetch_and_add(&wakeups, 1);
    if (prev->sched_info.last_arrival == c->queued) {
        __sync_fetch_and_add(&same_stamp, 1);
        __sync_fetch_and_add(&omitted_ns, c->in - c->woken);
    }
    bpf_map_delete_elem(&cycles, &tid);
    return 0;
}

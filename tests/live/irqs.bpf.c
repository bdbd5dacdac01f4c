/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of interrupts: how many came while one thread had the CPU, and how
 * long they took, from the outermost begin to the outermost end; of a timer's from
 * when it was due, should that be less than 0.1 ms before, and not before what
 * else the CPU did.  It knows nothing of states: only who was interrupted, by the
 * very tracepoints, and the timers' own instants.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 thread; /* pinned: one CPU's sums need no lock */

enum { WAY_NS = 100000 };

__u64 interrupts, ns, since;
__u64 depth;
__u64 free_since; /* the last interrupt's end, or when it got the CPU */
__u64 timer;      /* it began as a timer's */
__u64 begun;      /* its handler */

static __always_inline int begins(bool by_timer)
{
    if ((__u32)bpf_get_current_pid_tgid() == thread && depth++ == 0) {
        since = begun = bpf_ktime_get_ns();
        timer = by_timer;
    }
    return 0;
}

static __always_inline int ends(void)
{
    if ((__u32)bpf_get_current_pid_tgid() != thread || !depth || --depth)
        return 0;
    interrupts++;
    free_since = bpf_ktime_get_ns();
    ns += free_since - since;
    return 0;
}

SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(on_expiry, struct hrtimer *expired)
{
    __u64 due = (__u64)expired->node.expires;

    if ((__u32)bpf_get_current_pid_tgid() != thread || depth != 1 || !timer || expired->base->offset ||
        due + WAY_NS < begun || due >= since)
        return 0;
    if (due < free_since)
        due = free_since;
    since = due;
    return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    (void)preempt;
    (void)prev;
    if ((__u32)next->pid == thread)
        free_since = bpf_ktime_get_ns();
    return 0;
}

#define PROGRAM(name, edge, does)                                                                            \
    SEC("tp_btf/" #name "_" #edge) int on_##name##_##edge(void *ctx)                                         \
    {                                                                                                        \
        return does;                                                                                         \
    }
#define EACH(edge, does, does_of_timer)                                                                      \
    PROGRAM(irq_handler, edge, does)                                                                         \
    PROGRAM(softirq, edge, does)                                                                             \
    PROGRAM(local_timer, edge, does_of_timer)                                                                \
    PROGRAM(reschedule, edge, does)                                                                          \
    PROGRAM(call_function, edge, does)                                                                       \
    PROGRAM(call_function_single, edge, does)                                                                \
    PROGRAM(irq_work, edge, does)

/* Attached in this order: an interrupt that begins with a program must not end without one. */
EACH(exit, ends(), ends())
EACH(entry, begins(false), begins(true))

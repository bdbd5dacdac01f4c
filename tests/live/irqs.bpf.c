/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A witness of interrupts: how many came while one thread had the CPU, and how
 * long they took, from the outermost begin to the outermost end.  It knows
 * nothing of states: only who was interrupted, by the very tracepoints.
 */
#include "collector/bpf/kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 thread; /* pinned: one CPU's sums need no lock */

__u64 interrupts, ns, since;
__u64 depth;

static __always_inline int begins(void)
{
    if ((__u32)bpf_get_current_pid_tgid() == thread && depth++ == 0)
        since = bpf_ktime_get_ns();
    return 0;
}

static __always_inline int ends(void)
{
    if ((__u32)bpf_get_current_pid_tgid() != thread || !depth || --depth)
        return 0;
    interrupts++;
    ns += bpf_ktime_get_ns() - since;
    return 0;
}

#define PROGRAM(name, edge, does)                                                                            \
    SEC("tp_btf/" #name "_" #edge) int on_##name##_##edge(void *ctx)                                         \
    {                                                                                                        \
        return does();                                                                                       \
    }
#define EACH(edge, does)                                                                                     \
    PROGRAM(irq_handler, edge, does)                                                                         \
    PROGRAM(softirq, edge, does)                                                                             \
    PROGRAM(local_timer, edge, does)                                                                         \
    PROGRAM(reschedule, edge, does)                                                                          \
    PROGRAM(call_function, edge, does)                                                                       \
    PROGRAM(call_function_single, edge, does)                                                                \
    PROGRAM(irq_work, edge, does)

/* Attached in this order: an interrupt that begins with a program must not end without one. */
EACH(exit, ends)
EACH(entry, begins)

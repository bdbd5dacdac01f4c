/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floor of the bench: the ledger's tracepoints with programs that do
 * nothing.  What these cost, no BPF program at these tracepoints can save.
 */
#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

#define EMPTY(tracepoint)                                                                                    \
    SEC("tp_btf/" #tracepoint) int on_##tracepoint(void *ctx)                                                \
    {                                                                                                        \
        (void)ctx;                                                                                           \
        return 0;                                                                                            \
    }

EMPTY(sched_switch)
EMPTY(sched_wakeup)
EMPTY(sched_wakeup_new)
EMPTY(sched_migrate_task)
EMPTY(sched_process_exit)
EMPTY(kvm_fpu)
EMPTY(kvm_entry)
EMPTY(kvm_exit)
EMPTY(kvm_vcpu_wakeup)

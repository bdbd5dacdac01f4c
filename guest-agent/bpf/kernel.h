/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few kernel types that the tasks program reads, and every difference between
 * kernels, in one place; CO-RE finds the offsets (by the kernel itself, 5.17+).
 * Checked against 6.1 (Debian 12) and 6.18.
 */
#ifndef VTA_BPF_KERNEL_H
#define VTA_BPF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
enum { false = 0, true = 1 };

/* uapi/linux/bpf.h, enum values that never change */
enum {
    BPF_MAP_TYPE_HASH = 1,
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
    BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_MMAPABLE = 1 << 10 };
#define BPF_F_CURRENT_CPU 0xffffffffull
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };

#define PF_KTHREAD    0x00200000u
#define TASK_DEAD_BIT 0x00000080u /* include/linux/sched.h: the same from 4.14 to 6.18 */

/* include/linux/interrupt.h: vectors of softirqs, the same since 2.6.36 */
enum { NET_TX_SOFTIRQ = 2, NET_RX_SOFTIRQ = 3, BLOCK_SOFTIRQ = 4, TIMER_SOFTIRQ = 1, HRTIMER_SOFTIRQ = 8 };

/* Part of struct pt_regs (uapi/asm/ptrace.h): what a task had in its registers when it entered the kernel. */
struct entry_regs {
    __u64 si, di, orig_ax, ip, cs;
};
#define ENTRY_REGS_AT 104
#define USER_CS       0x33 /* 64-bit code */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_entity___delayed { /* 6.12+: a sleeper may stay queued, its dequeue delayed */
    unsigned char sched_delayed;
};
struct sched_entity {
    unsigned int on_rq;
};
struct sched_info { /* CONFIG_SCHED_INFO: every distribution has it */
    unsigned long long last_arrival;
};
struct hrtimer { /* _softexpires: the instant that was asked for, in ns, without the slack */
    __s64 _softexpires;
};
struct task_struct {
    unsigned int __state;
    unsigned int flags;
    int on_rq;
    struct sched_entity se;
    struct sched_info sched_info;
    int pid;
    int tgid;
    char comm[16];
};

/*
 * The way from a map of perf events to the counter of one of them: its last raw
 * reading (kernel/bpf/arraymap.c, include/linux/bpf.h, include/linux/perf_event.h:
 * the same from 4.9 to 6.18).
 */
struct bpf_array {
    void *ptrs[1];
};
struct bpf_event_entry {
    struct perf_event *event;
};
struct local64 {
    long a;
};
struct hw_perf_event {
    struct local64 prev_count;
};
struct perf_event {
    struct hw_perf_event hw;
};

/*
 * sched_switch's arguments (include/trace/events/sched.h) begin with
 * (preempt, prev, next) in every release; what was added later stands behind them.
 */

#pragma clang attribute pop

#endif

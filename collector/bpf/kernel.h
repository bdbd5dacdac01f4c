/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few kernel types that the ledger reads, and every difference between
 * kernels, in one place.  Only the fields used are declared; CO-RE finds their
 * offsets on the running kernel (vmlinux's BTF or the kvm modules').
 * Checked against 6.1 (Debian 12) and 6.18.
 */
#ifndef VT_BPF_KERNEL_H
#define VT_BPF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 __sum8;
typedef _Bool bool;
enum { false = 0, true = 1 };

/* uapi/linux/bpf.h, enum values that never change */
enum {
    BPF_MAP_TYPE_HASH = 1,
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_QUEUE = 22,
    BPF_MAP_TYPE_STACK = 23,
    BPF_MAP_TYPE_RINGBUF = 27,
    BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1 << 10 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_FORCE_WAKEUP = 2 };

/* include/linux/sched.h: the same values from 5.14 to 6.18 */
#define TASK_INTERRUPTIBLE_BIT 0x00000001u
#define TASK_STOPPED_BIT       0x00000004u
#define TASK_TRACED_BIT        0x00000008u
#define TASK_DEAD_BIT          0x00000080u
#define TASK_FROZEN_BIT        0x00008000u /* from 6.1 on; before, the bit was unused */
#define TASK_HELD_BITS         (TASK_STOPPED_BIT | TASK_TRACED_BIT | TASK_FROZEN_BIT)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct timerqueue_node {
    __s64 expires;
};
struct hrtimer_cpu_base {
    unsigned int hres_active : 1; /* timers go off when they are due, not at the next tick */
};
struct hrtimer_clock_base {
    struct hrtimer_cpu_base *cpu_base;
    __s64 offset; /* of its clock from CLOCK_MONOTONIC */
};
struct hrtimer {
    struct timerqueue_node node;
    struct hrtimer_clock_base *base;
};

struct hlist_node {
    struct hlist_node *next;
};
struct hlist_head {
    struct hlist_node *first;
};
struct preempt_notifier {
    struct hlist_node link;
};

struct upid {
    int nr;
};
struct pid {
    struct upid numbers[1];
};

struct task_struct;
struct rq {                  /* kernel/sched/sched.h */
    unsigned int nr_running; /* without those that a quota holds */
    unsigned int ttwu_pending;
    struct task_struct *curr, *idle;
    int online; /* else a CPU's idle task has it for good */
    /* CONFIG_PARAVIRT_TIME_ACCOUNTING: of this host's own steal, what its clock left out so far
     * (update_rq_clock_task()) */
    __u64 prev_steal_time_rq;
};
struct cpumask;
struct cfs_rq {
    struct rq *rq; /* with CONFIG_FAIR_GROUP_SCHED */
    int throttle_count;
};
struct cfs_rq___self { /* 6.6+ */
    __u64 throttled_clock_self, throttled_clock_self_time;
};
struct task_group {         /* with CONFIG_FAIR_GROUP_SCHED */
    struct cfs_rq **cfs_rq; /* by CPU, of all there may be; user space looks whether it is such an array */
};
struct sched_entity {
    struct cfs_rq *cfs_rq;
};
struct sched_entity___delayed { /* 6.12+: delayed dequeue (EEVDF) */
    unsigned char sched_delayed;
};

struct sched_info { /* CONFIG_SCHED_INFO: SCHEDSTATS or TASK_DELAY_ACCT; every distribution has it */
    unsigned long long run_delay;
    unsigned long long last_arrival;
    unsigned long long last_queued;
};
struct thread_info {
    unsigned int cpu;
};
struct task_struct {
    struct thread_info thread_info; /* with the CPU from 5.16 on */
    unsigned int __state;
    unsigned int flags;
    int on_rq;
    int on_cpu;
    unsigned int in_iowait : 1;
    struct sched_entity se;
    struct task_group *sched_task_group;
    int nr_cpus_allowed;
    const struct cpumask *cpus_ptr; /* a bit for each, from its begin on */
    struct sched_info sched_info;
    int pid;
    int tgid;
    unsigned long long start_time;
    struct task_struct *group_leader;
    struct task_struct *parent; /* who traces it, if any does */
    struct hlist_head preempt_notifiers;
    char comm[16];
};
struct task_struct___before_516 {
    unsigned int cpu;
};
struct task_struct___storage { /* 5.11+ */
    void *bpf_storage;
};
struct task_struct___throttled { /* 6.18+: quota holds tasks, not run queues */
    bool throttled;
};

struct atomic {
    int counter;
};
struct refcount_struct {
    struct atomic refs;
};
struct kvm {
    struct refcount_struct users_count;
};
struct kernfs_node {
    __u64 id;
};
struct cgroup {
    struct kernfs_node *kn;
};
struct kvm_vcpu_stat_generic {
    unsigned long long blocking;
};
struct kvm_vcpu_stat {
    struct kvm_vcpu_stat_generic generic;
};
struct kvm_vcpu_arch {
    unsigned long long l1_tsc_offset;
    unsigned long long l1_tsc_scaling_ratio;
};
struct kvm_vcpu {
    struct kvm *kvm;
    struct preempt_notifier preempt_notifier;
    int vcpu_id;
    int mode;
    struct pid *pid;
    struct kvm_vcpu_arch arch;
    struct kvm_vcpu_stat stat;
};

union vmx_exit_reason {
    unsigned int full;
};
struct vcpu_vmx { /* arch/x86/kvm/vmx/vmx.h, begins with the kvm_vcpu */
    union vmx_exit_reason exit_reason;
};
struct vcpu_vt {
    union vmx_exit_reason exit_reason;
};
struct vcpu_vmx___616 { /* 6.16+: what TDX shares with it is in vcpu_vt */
    struct vcpu_vt vt;
};
struct vmcb_control_area {
    unsigned int exit_code;
};
struct vmcb {
    struct vmcb_control_area control;
};
struct vcpu_svm { /* arch/x86/kvm/svm/svm.h, begins with the kvm_vcpu */
    struct vmcb *vmcb;
};

struct qstr {
    const unsigned char *name;
};
struct dentry {
    struct qstr d_name;
};
struct path {
    struct dentry *dentry;
};
struct file {
    void *private_data;
    struct path f_path;
};

struct bpf_iter_meta;
struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};
struct bpf_iter__task_file {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
    __u32 fd;
    struct file *file;
};

/*
 * sched_switch's arguments, by kernel (include/trace/events/sched.h):
 *   before 5.18  (preempt, prev, next)
 *   5.18-rc      (preempt, prev_state, prev, next)
 *   5.18+        (preempt, prev, next, prev_state)
 * Which it is can be read from the BTF of the tracepoint's own function type;
 * user space does that and loads the one program of three that fits.
 */

#pragma clang attribute pop

#endif

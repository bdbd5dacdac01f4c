/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel-to-user contract of the BPF ledger.  Shared by collector/bpf and the
 * collector; no libc types (BPF sees this header and collector/bpf/kernel.h only).
 *
 * Each life of a vCPU in a thread owns a slot in a mapped array.  All writers of
 * a slot are ordered by the kernel (run-queue lock, or the thread itself with
 * preemption off), so one sequence count is enough for readers in user space:
 * odd = being written, read again.  Only moved_at is written by others.
 *
 * Two accounts are kept side by side, on purpose, by different arithmetic:
 *   - ns[]:  integrals, charged at every edge from the edge before;
 *   - slices: time stamps of scheduling edges, and the split of the on-CPU
 *     stretch summed per slice.
 * An edge that contradicts the state it finds (a switch-in of a blocked vCPU
 * that nobody woke, an exit without entry) is charged to LOST in both, and
 * counted in desync[]: nothing is guessed.
 */
#ifndef VT_LEDGER_H
#define VT_LEDGER_H

#include "vt/state.h"

#ifndef __bpf__
#include <stdint.h>
typedef uint64_t vt_u64;
typedef uint32_t vt_u32;
typedef int32_t vt_s32;
typedef int64_t vt_s64;
typedef uint16_t vt_u16;
typedef uint8_t vt_u8;
#else
typedef unsigned long long vt_u64;
typedef unsigned int vt_u32;
typedef int vt_s32;
typedef long long vt_s64;
typedef unsigned short vt_u16;
typedef unsigned char vt_u8;
#endif

#define VT_MAX_SLOTS 4096
#define VT_COMM_LEN  16
#define VT_SLOT_IRQS 16 /* a power of two */

/*
 * One wait-then-run cycle.  t_out <= t_wake <= t_in <= t_end, host ns:
 *   [t_out,  t_wake)  off_state   HALTED, BLOCKED, STOPPED, LOST; empty if it
 *                                 stayed runnable
 *   [t_wake, t_in)    wait_state  PREEMPTED, WAKING, POLL (pre-empted while
 *                                 polling), LOST; its first throttled_ns are
 *                                 THROTTLED
 *   [t_in,   t_end)   on CPU `cpu`, on_cpu[] is its split
 * Slices of a vCPU are contiguous: t_out equals the previous slice's t_end,
 * seq is the previous seq + 1; a gap in seq is loss.
 * tail_poll_ns: KVM reported, after the fact, that this much time ending
 * tail_back_ns before t_out was POLL, though an earlier slice has it as KVM or
 * RUN (whichever on_cpu state tail_state says).
 */
enum vt_on_cpu {
    VT_ON_GUEST,
    VT_ON_KVM,
    VT_ON_VMM,
    VT_ON_RUN,
    VT_ON_POLL,
    VT_ON_LOST,
    VT_ON_IRQ,
    VT_NR_ON_CPU
};

enum vt_slice_flags {
    VT_SLICE_FIRST = 1 << 0,     /* t_out is the vCPU's (or the recording's) begin */
    VT_SLICE_LAST = 1 << 1,      /* the thread ended at t_end: ABSENT from there */
    VT_SLICE_OPEN = 1 << 2,      /* checkpoint of a slice still under way */
    VT_SLICE_WAKE_IDLE = 1 << 3, /* woken onto an idle CPU: [t_wake, t_in) is wake latency */
    VT_SLICE_RECOVERED = 1 << 4, /* an event was missed; t_wake and t_in are from the kernel's own
                                    account (task_struct.sched_info): ± VT_RECOVERY_BOUND_NS */
    VT_SLICE_WAITS = 1 << 5,     /* of VT_SLICE_OPEN, in its wait: `cpu` is on whose run queue */
    VT_SLICE_ELSEWHERE = 1 << 6, /* when its wait began, another CPU that it may use was idle: see below */
};

/*
 * Looked for when a wait begins (not when it goes on elsewhere, nor if a quota holds the vCPU, nor if its
 * begin is only known from the kernel's account), among so many permitted CPUs, those that follow by number
 * the one it waits for, cyclically; of one with nothing to run at that moment. Of those that were online when
 * the recorder began: where these are one more, that is all of them, else the mark may be
 * missing where it is due. Masks of more words than that are not gone through to their end.
 */
#define VT_ELSEWHERE_CPUS  8
#define VT_ELSEWHERE_WORDS 4 /* of 64 CPUs, besides what follows the CPU in its own */

/*
 * What a blocked vCPU waits for, as far as the kernel tells: task_struct.in_iowait,
 * and whether the sleep can be interrupted; inside KVM_RUN or in the monitor.
 */
enum vt_off_cause {
    VT_CAUSE_NONE,
    VT_CAUSE_IO,      /* block I/O, page-in included */
    VT_CAUSE_KERNEL,  /* uninterruptible: a lock, memory, the device driver */
    VT_CAUSE_KVM,     /* interruptible, inside KVM_RUN */
    VT_CAUSE_MONITOR, /* interruptible, in the monitor: its own wait, or its pause of the guest */
    VT_NR_CAUSES
};

struct vt_slice {
    vt_u64 seq;
    vt_u64 t_out, t_wake, t_in, t_end;
    vt_u64 on_cpu[VT_NR_ON_CPU];
    vt_u64 throttled_ns;
    vt_u64 tail_poll_ns, tail_back_ns;
    vt_u32 exits;      /* kvm_exit events in the on-CPU stretch */
    vt_u32 user_exits; /* returns of KVM_RUN to the monitor in it */
    vt_u16 cpu;
    vt_u8 off_state, wait_state; /* enum vt_state */
    vt_u8 tail_state;            /* VT_KVM or VT_RUN */
    vt_u8 flags;                 /* enum vt_slice_flags */
    vt_u8 migrations;            /* of the wait: saturates at 255 */
    vt_u8 off_cause;             /* of BLOCKED: enum vt_off_cause */
};

/*
 * How far sched_info's times can be from the tracepoints'.  It uses rq_clock,
 * read when __schedule() begins, or at the wake-up itself (rq_clock_skip_update,
 * kernel/sched/core.c); the tracepoint fires some microseconds later. Measured
 * on 6.18: 99 % within 50 us.
 */
#define VT_RECOVERY_BOUND_NS 100000

/*
 * Who had a CPU while a vCPU waited on its run queue, and was no vCPU himself
 * (those tell by their slices).  Segments of a CPU follow each other in time;
 * none are told of a CPU on which nobody waits.
 */
struct vt_segment {
    vt_u64 from, to; /* host ns */
    vt_u32 tid, tgid;
    vt_u16 cpu;
    vt_u8 kind; /* enum vt_occupant */
    vt_u8 pad_;
    char comm[VT_COMM_LEN];
};

/* Of each CPU, written by the ledger and read by any. */
struct vt_running {
    vt_u32 slot, generation, tid; /* the vCPU thread that runs there, tid 0: none; by the last switch */
    vt_u32 irq_depth;             /* interrupts under way in it */
    vt_s32 waiters;               /* vCPUs on this CPU's run queue that wait; any CPU writes it */
    vt_u32 forced_idle;           /* the idle task has it, by choice */
    vt_u64 since;                 /* who has the CPU while one waits is told from here on; 0: nobody waits */
    vt_u64 outer, outer_at;       /* this host's own steal there by the last look in that thread, and when */
    vt_u64 armed_late;            /* when, in that thread, a timer was armed last that was due before */
} __attribute__((aligned(64)));
#define VT_MAX_RUNNING 4096 /* CPUs */

enum vt_occupant {
    VT_OCCUPANT_IDLE,
    VT_OCCUPANT_TASK,
    VT_OCCUPANT_KTHREAD,
    VT_OCCUPANT_FORCED_IDLE, /* idle was chosen though tasks could run there: core scheduling */
    VT_NR_OCCUPANTS
};

/* A vCPU that waited was moved from the run queue of one CPU to that of another. */
struct vt_move {
    vt_u64 at;
    vt_u16 from_cpu, to_cpu;
    vt_u32 pad_;
};

/* A helper waited for a CPU; slot + generation name it. */
struct vt_wait {
    vt_u64 from, to;
};

/*
 * Of helpers no shorter wait is told: what the scheduler itself takes to bring a thread onto a CPU is
 * shorter, and threads that hand work to each other do so many thousand times a second.
 */
#define VT_HELPER_WAIT_NS 50000

/* Of from..to, in which a vCPU had a CPU, this host itself was kept from that CPU; slot + generation name it.
 */
struct vt_outer {
    vt_u64 from, to, ns;
};

/* No less is told before the vCPU is switched out. */
#define VT_OUTER_NS 10000

/* Why an edge was refused; each counter is per slot. */
enum vt_desync {
    VT_DESYNC_IN_NO_WAKE,  /* switched in while blocked, no wake-up was seen */
    VT_DESYNC_IN_ON_CPU,   /* switched in while on CPU */
    VT_DESYNC_OUT_OFF_CPU, /* acts, or is switched out, while not on CPU */
    VT_DESYNC_OUT_GUEST,   /* switched out in guest mode: an exit was missed */
    VT_DESYNC_MODE,        /* entry, exit or KVM_RUN edge in the wrong mode */
    VT_DESYNC_BACKWARDS,   /* host clock went backwards between two edges */
    VT_NR_DESYNC
};

/*
 * VM exits by reason.  `reason` is the hardware's own number, brought into one
 * byte: VMX the basic exit reason (SDM vol. 3, appendix C), SVM the exit code
 * (APM vol. 2, appendix C), whose 0x400 and up are VT_EXIT_SVM_400 and up;
 * arm64 of a trap the exception class of ESR_EL2 (DDI 0487), else
 * VT_EXIT_ARM64_RET and up by why the hypervisor returned (ARM_EXCEPTION_…,
 * arch/arm64/include/asm/kvm_asm.h).
 * kernel_ns and user_ns are what was charged to KVM and to VMM between this
 * exit and the next entry: no sleep in HLT, no polling, no pre-emption, no
 * interrupt is in them.  log2[i] counts exits with kernel_ns in [2^i, 2^(i+1)),
 * the first and the last bucket what is beyond them.
 */
#define VT_EXIT_REASONS          192
#define VT_EXIT_OTHER            175 /* a number that does not fit */
#define VT_EXIT_SVM_400          176
#define VT_EXIT_ARM64_RET        64
#define VT_EXIT_ARM64_TRAP       2           /* ARM_EXCEPTION_TRAP */
#define VT_EXIT_ARM64_SERROR_BIT 0x80000000u /* ARM_EXIT_WITH_SERROR_BIT: an SError was pending besides */
#define VT_EXIT_BUCKETS          32
#define VT_MAX_EXIT_SUMS         32768 /* over all slots */

/* Whose numbers the reasons are. */
enum vt_exit_isa { VT_ISA_NONE, VT_ISA_VMX, VT_ISA_SVM, VT_ISA_ARM64, VT_NR_ISAS };

struct vt_exit_sum {
    vt_u32 generation; /* of the slot: sums of another life are none of its */
    vt_u32 pad_;
    vt_u64 count, kernel_ns, user_ns;
    vt_u32 log2[VT_EXIT_BUCKETS];
};

/*
 * KVM's own statistics of a vCPU (struct kvm_vcpu_stat), as many as are had of
 * them; which is which the collector knows from the kernel's description.  They
 * are cumulated since the vCPU was made, so those at its life's begin and end in
 * a thread are noted, by slot.
 */
#define VT_KVM_STATS_MAX 64

struct vt_kvm_life {
    vt_u32 begun, ended; /* generation of the slot whose life's these are */
    vt_u64 birth[VT_KVM_STATS_MAX];
    vt_u64 end[VT_KVM_STATS_MAX];
};

/*
 * What a guest accessed that KVM or its monitor had to serve, counted by vCPU,
 * kind, address and direction; only if asked for.  A port by its number, MMIO by
 * the exact guest-physical address, an MSR by its index.
 */
enum vt_access { VT_ACCESS_PORT, VT_ACCESS_MMIO, VT_ACCESS_MSR, VT_NR_ACCESSES };
#define VT_MAX_ADDRESSES  16384 /* over all slots */
#define VT_SLOT_ADDRESSES 512   /* of one kind in one slot: no guest takes the room of all */

struct vt_address_key {
    vt_u32 slot, generation;
    vt_u64 address;
    vt_u32 kind; /* enum vt_access */
    vt_u32 is_write;
};

/* Scheduling half of the state; the mode half is an enum vt_state value. */
enum vt_sched { VT_SCHED_SEED, VT_SCHED_ON_CPU, VT_SCHED_WAITING, VT_SCHED_OFF, VT_SCHED_GONE };

/*
 * A life is a vCPU's in a thread; or a helper's: a thread of the VM's process
 * that is no vCPU, or a vhost worker.  A helper has no slices: its integrals
 * tell (VMM: on a CPU), and its longer waits for a CPU, each.  VT_SLOT_THREAD is a thread that is a vCPU, or
 * a part of one, without KVM: by the same edges of the scheduler, but its only mode is RUN, and interruptible
 * sleep is IDLEQ.
 */
enum vt_slot_kind { VT_SLOT_VCPU, VT_SLOT_HELPER, VT_SLOT_THREAD };

/* What a VM is; the numbers are stored in recordings. */
enum vt_vm_kind { VT_VM_KVM, VT_VM_TCG, VT_VM_UML, VT_VM_CGROUP, VT_NR_VM_KINDS };

/* How it was told which threads are its vCPUs; stored in recordings. */
enum vt_vm_found {
    VT_FOUND_BY_KVM,    /* the kernel's own structures */
    VT_FOUND_BY_NAME,   /* threads named "CPU n/TCG" or "ALL CPUs/TCG" */
    VT_FOUND_BY_USE,    /* QEMU's threads have no names: those that used most CPU time, see guests.h */
    VT_FOUND_BY_TRACE,  /* the process that traces, and those that it traces */
    VT_FOUND_BY_CGROUP, /* every task of the cgroup */
    VT_NR_VM_FOUND
};

/*
 * A thread that user space wants to have a life, by its tid; the iterator over
 * tasks gives it one.
 */
struct vt_wanted {
    vt_u64 vm_start_time; /* of the VM's process, where the ledger does not know it: to 10 ms */
    vt_u64 cgroup;        /* its id; 0: none */
    vt_u32 tgid;          /* of the thread: a tid may come again */
    vt_u32 vm_tgid;       /* of the VM; 0: a cgroup */
    vt_u32 vm_kind;       /* enum vt_vm_kind */
    vt_u32 vm_found;      /* enum vt_vm_found */
    vt_u32 index;         /* of the vCPU */
    vt_u32 kind; /* VT_SLOT_THREAD or VT_SLOT_HELPER; VT_WANTED_OUT: its life of that cgroup is over */
};
#define VT_WANTED_OUT  255
#define VT_MAX_CGROUPS 64 /* that are guests */

/*
 * Slots for the processes of UML instances and for tasks of cgroups, which may
 * fork without end: the rest is for others.
 */
#define VT_MAX_MEMBERS (VT_MAX_SLOTS / 2)

struct vt_slot {
    vt_u32 sequence; /* odd while written */
    vt_u32 generation;
    vt_u32 tid, tgid; /* initial pid namespace */
    vt_u32 vcpu_id;
    vt_u8 sched;          /* enum vt_sched */
    vt_u8 mode;           /* VT_GUEST, VT_KVM, VT_VMM, VT_RUN; of VT_SLOT_THREAD always RUN, or IRQ */
    vt_u8 state;          /* enum vt_state since `last` (LOST while SEED) */
    vt_u8 seed_state;     /* what the iterator saw; used if no event ever came */
    vt_u64 moved_at;      /* another thread runs the vCPU since then: this life ended; 0: none */
    vt_u64 vcpu;          /* struct kvm_vcpu *, identity only */
    vt_u64 kvm;           /* struct kvm *, identity only; of VT_VM_CGROUP the cgroup's id */
    vt_u64 born;          /* first edge accounted, host ns */
    vt_u64 start_time;    /* task_struct.start_time (ns, CLOCK_MONOTONIC): with tid, a unique key */
    vt_u64 vm_start_time; /* the same of its process */
    vt_u64 last;          /* last edge charged, host ns */
    vt_u64 ns[VT_NR_STATES];
    vt_u64 switches, migrations, exits, user_exits, halts;
    vt_u64 wake_idle_ns; /* WAKING spent while the target CPU was idle: wake latency */
    vt_u32 desync[VT_NR_DESYNC];
    vt_u64 halt_out;              /* first HALTED switch-out of the present HLT, 0 if none */
    vt_u64 halt_in;               /* t_in of the stretch that halt_out ended */
    vt_u64 prev_in;               /* t_in of the slice before the open one */
    vt_u64 tsc_at;                /* when the next two were read */
    vt_u64 tsc_offset, tsc_ratio; /* kvm_vcpu_arch.l1_tsc_offset, .l1_tsc_scaling_ratio */
    vt_u32 exit_due;              /* the exit event of a GUEST stretch already closed is still to come */
    vt_u32 recovered;             /* slices repaired from sched_info */
    vt_u64 run_delay;             /* sched_info.run_delay at the last switch-out */
    vt_u64 skew;                  /* host ns - sched_info's clock, at the last switch-out; modulo 2^64 */
    vt_u32 skew_known;
    vt_u32 waits_on;             /* 1 + the CPU on whose run queue it is counted as waiting, 0: on none */
    vt_u32 kind;                 /* enum vt_slot_kind */
    vt_u32 index;                /* its own, in the array of slots */
    vt_u32 vm_kind, vm_found;    /* enum vt_vm_kind, enum vt_vm_found */
    vt_u64 quota_rq, quota_ns;   /* of a THROTTLED wait: its cfs_rq, and how long that was throttled before */
    vt_u64 outer_from, outer_ns; /* of this host's own steal: what is not told yet, and since when */

    vt_u32 irq_mode;     /* mode that the interrupt under way interrupted */
    vt_u32 irq_next;     /* into irqs[], modulo its length */
    vt_u64 irq_since;    /* of the interrupt under way */
    vt_u64 irq_earliest; /* it can't be since before then */
    struct {
        vt_u64 from, ns;
    } irqs[VT_SLOT_IRQS]; /* the newest: those inside a poll are not polling */
    char comm[VT_COMM_LEN];
    struct vt_slice open;              /* the slice under way */
    vt_u64 exit_kvm_ns, exit_vmm_ns;   /* ns[] of KVM and VMM at the exit under way */
    vt_u32 exit_reason;                /* of the exit under way; VT_EXIT_REASONS: none */
    vt_u32 addresses[VT_NR_ACCESSES];  /* how many different ones of each kind are counted */
    vt_u64 exits_unsummed;             /* no room was left for their reason, or their end was not seen */
    vt_u64 addresses_unsummed;         /* accesses whose address found no room */
    vt_u16 exit_sums[VT_EXIT_REASONS]; /* 1 + index of the sum of each reason, 0: none yet; kept for the next
                                          life */
};

/* Events the BPF side could not account, per reason; global. */
enum vt_lost_reason {
    VT_LOST_RING_FULL,  /* slice, segment, move, wait or outer steal dropped: ring buffer full */
    VT_LOST_NO_SLOT,    /* more vCPUs than VT_MAX_SLOTS */
    VT_LOST_NO_STORAGE, /* task storage could not be had */
    VT_LOST_RECURSION,  /* bpf_prog_info.recursion_misses, filled by the collector */
    VT_LOST_AGENT,      /* guest frames dropped: bad, or over the rate limit */
    VT_LOST_STORE,      /* slices dropped: the recording could not be written, filled by the collector */
    VT_NR_LOST_REASONS
};

_Static_assert(sizeof(struct vt_address_key) == 24, "no holes: it is hashed");
_Static_assert(VT_MAX_EXIT_SUMS < 65536, "exit_sums[] holds 16 bits");

#endif

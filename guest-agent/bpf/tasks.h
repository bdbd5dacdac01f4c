/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the BPF program of guest-agent/tasks_bpf.c and the agent share: one ring
 * of switches for each CPU, in an array that both map, and the names of tasks.
 * Not on any wire: both sides are of one build.
 */
#ifndef VT_BPF_TASKS_H
#define VT_BPF_TASKS_H

/*
 * A switch: at `at`, who ran left for the reason `end`, and `tid` came, who had been
 * runnable for `waited` after `wake`.  Packed: Linux has no more than 2^22 ids
 * (PID_MAX_LIMIT), and waits of 2^40 units and more are told as that less one.
 * end = VTA_RESUME: no switch; `tid` has had the CPU since `at` (0: since before the
 * programs were there, or from an unknown instant on); with tid VTA_NOBODY: `at`
 * switches are missing here.
 */
struct vta_switch {
    unsigned long long at;
    unsigned long long word; /* tid | end << 22 | waited << 24 */
    unsigned long long wake; /* enum vtg_wake | waker << 32, or of a timer VTA_LATE() << 32 */
};
#define VTA_TID_BITS   22
#define VTA_END_BITS   2
#define VTA_MAX_WAITED ((1ull << 40) - 1)
#define VTA_RESUME     3u /* else enum vtg_task_end */
#define VTA_NOBODY     ((1u << VTA_TID_BITS) - 1)
/* How late a timer went off, in units of stamps, in 32 bits; 0: not known. */
#define VTA_LATE_SHIFT 10
#define VTA_LATE(n)    ((n) >> VTA_LATE_SHIFT < 0xfffffffeull ? ((n) >> VTA_LATE_SHIFT) + 1 : 0)
#define VTA_INTERRUPTS ((1u << VTA_TID_BITS) - 2) /* no task: an interrupt hit who runs */

/*
 * One for each CPU.  The CPU alone writes what stands before tail, the reader what follows.
 * seq is odd while a switch is being told; it is raised by a full barrier before
 * the time stamp is taken.
 */
struct vta_cpu {
    unsigned long long seq, head;
    unsigned long long since;  /* of who runs now; 0: not known */
    unsigned long long missed; /* switches that were not told since the last that was */
    unsigned long long tsc_at; /* address of the counter to stamp with; 0: there is none */
    unsigned long long probe;  /* the stamp that tell_stamp() read */
    unsigned long long told;   /* who runs now is known to the reader */
    unsigned long long task;   /* address of who runs now; 0: no event yet */
    /* a switch-in by our clock and by the scheduler's, for the next repair; the CPU's, too */
    unsigned long long pair_at, pair_ns;
    unsigned long long repaired; /* switches of which the scheduler's account told when they were */
    unsigned long long late_wait, late_wake;   /* of who runs now, where his coming was not told */
    unsigned int in_timer, in_irq, in_softirq; /* what it is at; in_softirq: vector + 1 */
    unsigned int hit_depth;                    /* interrupts and softirqs under way, one in the other */
    unsigned int hit_tid; /* whom the outermost hit; 0: it is not told, or there is none */
    unsigned int pad;
    unsigned long long timer_late; /* of the timer that goes off: VTA_LATE() */
    unsigned long long hit_end; /* it ended then, which is not in the ring yet; 0: it goes on, or is told */
    unsigned long long pad1[6];
    unsigned long long tail;
    unsigned long long pad2[7];
};

#define VTA_NAMES_BYTES (1 << 17)
#define VTA_BELL_BYTES  (1 << 12)

enum vta_name_kind { VTA_NAME_FORK = 1, VTA_NAME_RENAME = 2 };
struct vta_name {
    unsigned int kind; /* enum vta_name_kind */
    unsigned int tid, tgid;
    unsigned int parent_tid, parent_tgid; /* FORK */
    char comm[16];
};

_Static_assert(sizeof(struct vta_switch) == 24, "shared");
_Static_assert(sizeof(struct vta_cpu) == 256, "shared");
_Static_assert(sizeof(struct vta_name) == 36, "shared");

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The states of a vCPU: at every instant it is in exactly one.
 * This header is also read by the BPF programs: no includes, no functions.
 * The numbers are stored in recordings: append, never reorder.
 */
#ifndef VT_STATE_H
#define VT_STATE_H

enum vt_state {
    VT_LOST,      /* unknown: records were lost or contradict each other */
    VT_ABSENT,    /* before creation, after exit */
    VT_STOPPED,   /* stopped, traced or frozen; withheld by its monitor */
    VT_IRQ,       /* on CPU, but a host interrupt runs in its slice, or a timer's is due */
    VT_POLL,      /* on CPU, KVM polls after HLT before it blocks: idle */
    VT_GUEST,     /* on CPU in guest mode */
    VT_KVM,       /* on CPU in KVM_RUN, host kernel serving an exit */
    VT_VMM,       /* on CPU outside KVM_RUN: the monitor */
    VT_RUN,       /* GUEST and KVM merged, where entry/exit can't be seen; on CPU, of others than KVM's */
    VT_THROTTLED, /* runnable, held by a CPU quota */
    VT_WAKING,    /* runnable after a wake-up, not yet on a CPU */
    VT_PREEMPTED, /* runnable, lost the CPU */
    VT_HALTED,    /* blocked in KVM's vCPU block after HLT: the guest is idle */
    VT_BLOCKED,   /* blocked in the host on anything else */
    VT_IDLEQ,     /* "IDLE?": interruptible sleep of a guest that isn't KVM */
    VT_NR_STATES
};

enum vt_class {
    VT_CLASS_UNKNOWN,
    VT_CLASS_NONE, /* ABSENT */
    VT_CLASS_PAUSED,
    VT_CLASS_STOLEN,
    VT_CLASS_IDLE,
    VT_CLASS_USED,
    VT_CLASS_OVERHEAD,
    VT_CLASS_STALLED,
    VT_NR_CLASSES
};

#endif

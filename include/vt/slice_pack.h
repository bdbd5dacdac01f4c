/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The short form of a slice: one cell.  What is written there is most of what a slice costs.
 * Nearly all slices fit: a wait or a run of 4.29 s, a quota, or polling make one that does not.
 * Pure, without libc: the BPF programs pack, user space unpacks.
 */
#ifndef VT_SLICE_PACK_H
#define VT_SLICE_PACK_H

#include "vt/cells.h"

/* The words of a VT_CELL_SHORT. */
struct vt_slice_short {
    vt_u64 t_out;
    vt_u32 seq;
    vt_u32 off_ns, wait_ns, run_ns; /* t_wake - t_out, t_in - t_wake, t_end - t_in */
    vt_u32 guest_ns, kvm_ns, vmm_ns, run_only_ns, irq_ns;
    vt_u16 exits, user_exits;
    vt_u16 cpu;
    vt_u8 off_state, wait_state;
    vt_u8 flags, migrations, off_cause, tail_state;
};

_Static_assert(sizeof(struct vt_slice_short) == 8 * VT_CELL_WORDS, "fills its cell");

/** Does it fit?  Time that runs backwards does not, and so comes whole. */
static inline __attribute__((always_inline)) int vt_slice_is_short(const struct vt_slice *s)
{
    const vt_u64 *on = s->on_cpu;
    const vt_u64 words = s->seq | (s->t_wake - s->t_out) | (s->t_in - s->t_wake) | (s->t_end - s->t_in) |
                         on[VT_ON_GUEST] | on[VT_ON_KVM] | on[VT_ON_VMM] | on[VT_ON_RUN] | on[VT_ON_IRQ];
    const vt_u64 none = on[VT_ON_POLL] | on[VT_ON_LOST] | s->throttled_ns | s->tail_poll_ns | s->tail_back_ns;

    return !(words >> 32) && !none && !((s->exits | s->user_exits) >> 16);
}

/** One that fits. */
static inline __attribute__((always_inline)) void vt_slice_pack(struct vt_slice_short *r,
                                                                const struct vt_slice *s)
{
    r->seq = (vt_u32)s->seq;
    r->cpu = s->cpu;
    r->off_state = s->off_state;
    r->wait_state = s->wait_state;
    r->t_out = s->t_out;
    r->off_ns = (vt_u32)(s->t_wake - s->t_out);
    r->wait_ns = (vt_u32)(s->t_in - s->t_wake);
    r->run_ns = (vt_u32)(s->t_end - s->t_in);
    r->guest_ns = (vt_u32)s->on_cpu[VT_ON_GUEST];
    r->kvm_ns = (vt_u32)s->on_cpu[VT_ON_KVM];
    r->vmm_ns = (vt_u32)s->on_cpu[VT_ON_VMM];
    r->run_only_ns = (vt_u32)s->on_cpu[VT_ON_RUN];
    r->irq_ns = (vt_u32)s->on_cpu[VT_ON_IRQ];
    r->exits = (vt_u16)s->exits;
    r->user_exits = (vt_u16)s->user_exits;
    r->flags = s->flags;
    r->migrations = s->migrations;
    r->off_cause = s->off_cause;
    r->tail_state = s->tail_state;
}

#ifndef __bpf__
/** What was packed. */
static inline struct vt_slice vt_slice_unpack(const struct vt_slice_short *r)
{
    struct vt_slice s = { .seq = r->seq,
                          .t_out = r->t_out,
                          .exits = r->exits,
                          .user_exits = r->user_exits,
                          .cpu = r->cpu,
                          .off_state = r->off_state,
                          .wait_state = r->wait_state,
                          .tail_state = r->tail_state,
                          .flags = r->flags,
                          .migrations = r->migrations,
                          .off_cause = r->off_cause };

    s.t_wake = s.t_out + r->off_ns;
    s.t_in = s.t_wake + r->wait_ns;
    s.t_end = s.t_in + r->run_ns;
    s.on_cpu[VT_ON_GUEST] = r->guest_ns;
    s.on_cpu[VT_ON_KVM] = r->kvm_ns;
    s.on_cpu[VT_ON_VMM] = r->vmm_ns;
    s.on_cpu[VT_ON_RUN] = r->run_only_ns;
    s.on_cpu[VT_ON_IRQ] = r->irq_ns;
    return s;
}
#endif

#endif

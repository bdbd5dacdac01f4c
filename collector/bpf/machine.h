/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger's state machine: what each edge does to a vCPU's slot.  Plain C
 * without calls, compiled into the BPF programs and into the unit tests.
 *
 * Every function is strict: an edge that cannot follow from the state it finds
 * charges the time since the last edge to LOST, counts in desync[], and goes on
 * from what the edge itself tells.
 */
#ifndef VT_BPF_MACHINE_H
#define VT_BPF_MACHINE_H

#include "vt/ledger.h"

#define MACHINE static inline __attribute__((always_inline))
/* What hardly ever happens stays out of the way: a switch pays for each line of code that it passes. */
#define MACHINE_COLD static __attribute__((noinline, cold, unused, section(".text")))

/* Readers in user space see either all of an edge or none of it (x86: TSO). */
#define machine_barrier() __asm__ volatile("" ::: "memory")

MACHINE void machine_lock(struct vt_slot *s)
{
    s->sequence++;
    machine_barrier();
}

MACHINE void machine_unlock(struct vt_slot *s)
{
    machine_barrier();
    s->sequence++;
}

/* Edges of one vCPU are ordered; should the clock disagree, count it and use the last edge. */
MACHINE vt_u64 machine_now(struct vt_slot *s, vt_u64 now)
{
    if (__builtin_expect(now >= s->last, 1))
        return now;
    s->desync[VT_DESYNC_BACKWARDS]++;
    return s->last;
}

/*
 * The verifier must see each index checked where it is used: the compiler, which
 * knows from an earlier comparison that it fits, would leave the check out.
 */
#define machine_check_again(index) __asm__ volatile("" : "+r"(index))

MACHINE void machine_charge(struct vt_slot *s, vt_u64 now, vt_u32 state)
{
    machine_check_again(state);
    if (state < VT_NR_STATES)
        s->ns[state] += now - s->last;
    s->last = now;
}

MACHINE vt_u32 machine_on_index(vt_u32 mode)
{
    switch (mode) {
    case VT_GUEST:
        return VT_ON_GUEST;
    case VT_KVM:
        return VT_ON_KVM;
    case VT_VMM:
        return VT_ON_VMM;
    case VT_RUN:
        return VT_ON_RUN;
    case VT_POLL:
        return VT_ON_POLL;
    case VT_IRQ:
        return VT_ON_IRQ;
    }
    return VT_ON_LOST;
}

/* Time on CPU: into the integrals and, separately, into the open slice. */
MACHINE void machine_charge_on_cpu(struct vt_slot *s, vt_u64 now, vt_u32 mode)
{
    vt_u32 i = machine_on_index(mode);

    if (i < VT_NR_ON_CPU)
        s->open.on_cpu[i] += now - s->last;
    machine_charge(s, now, mode);
}

/* A new life: on CPU or not, from now on.  Slot fields of identity are the caller's. */
MACHINE void machine_init(struct vt_slot *s, vt_u64 now, vt_u32 sched, vt_u32 mode)
{
    s->born = s->last = now;
    s->sched = (vt_u8)sched;
    s->mode = (vt_u8)mode;
    s->state = (vt_u8)(sched == VT_SCHED_ON_CPU ? mode : VT_LOST);
    s->open.t_out = s->open.t_wake = s->open.t_in = now;
    s->open.off_state = VT_LOST;
    s->open.wait_state = VT_LOST;
    s->open.flags = VT_SLICE_FIRST;
}

/*
 * The state of a thread found by the iterator follows from its first event:
 * the whole stretch from `born` on was in it.
 */
MACHINE_COLD void machine_seed_on_cpu(struct vt_slot *s, vt_u32 mode, vt_u32 cpu)
{
    s->sched = VT_SCHED_ON_CPU;
    s->mode = s->state = (vt_u8)mode;
    s->open.t_wake = s->open.t_in = s->born;
    s->open.cpu = (vt_u16)cpu;
}

MACHINE_COLD void machine_seed_waiting(struct vt_slot *s, vt_u32 mode)
{
    s->sched = VT_SCHED_WAITING;
    s->mode = (vt_u8)mode;
    s->state = VT_PREEMPTED;
    s->open.t_wake = s->born;
    s->open.wait_state = VT_PREEMPTED;
}

MACHINE void machine_seed_off(struct vt_slot *s, vt_u32 mode, vt_u32 state)
{
    s->sched = VT_SCHED_OFF;
    s->mode = (vt_u8)mode;
    s->state = s->open.off_state = (vt_u8)state;
}

/* The kernel's own account of a task: task_struct.sched_info, in its own clock; and where it acts. */
struct machine_sched_info {
    vt_u64 last_arrival; /* when it last got a CPU */
    vt_u64 last_queued;  /* since when it waits, 0 if it does not */
    vt_u64 run_delay;    /* time waited so far */
    vt_u32 cpu;
};

/* The wait under way can't be believed: it becomes LOST, up to now. */
MACHINE void machine_lose_wait(struct vt_slot *s, vt_u64 now)
{
    if (s->sched == VT_SCHED_OFF) {
        s->open.off_state = VT_LOST;
        s->open.t_wake = now;
    } else {
        s->open.wait_state = VT_LOST;
        s->open.throttled_ns = 0;
    }
    machine_charge(s, now, VT_LOST);
    s->open.t_in = now;
    s->sched = VT_SCHED_ON_CPU;
    s->state = s->mode;
}

/* What the kernel's account places a little before what was seen, as its clock may, came right after that. */
MACHINE vt_u64 machine_not_before(vt_u64 last, vt_u64 at)
{
    return at < last && last - at <= VT_RECOVERY_BOUND_NS ? last : at;
}

/*
 * A switch-in was missed, perhaps the wake-up too: the task acts, so it is on
 * a CPU.  The kernel's own account tells since when, and how long it waited
 * before; marked, and bounded by VT_RECOVERY_BOUND_NS.  LOST if that account
 * makes no sense.
 */
MACHINE_COLD void machine_recover_wait(struct vt_slot *s, vt_u64 now, const struct machine_sched_info *info)
{
    const vt_u64 waited = info->run_delay - s->run_delay;
    const vt_u64 t_in = machine_not_before(s->last, info->last_arrival + s->skew);
    const vt_u64 t_wake = machine_not_before(s->last, t_in - waited);

    s->open.cpu = (vt_u16)info->cpu;
    if (!s->skew_known || t_in > now || t_in < s->last || (s->sched == VT_SCHED_OFF && t_wake < s->last) ||
        t_wake > t_in) {
        machine_lose_wait(s, now);
        return;
    }
    if (s->sched == VT_SCHED_OFF) {
        machine_charge(s, t_wake, s->state);
        s->open.t_wake = t_wake;
        s->open.wait_state = s->state = VT_WAKING;
    } else if (s->state == VT_THROTTLED) {
        s->open.throttled_ns += t_in - s->last;
    }
    machine_charge(s, t_in, s->state);
    s->open.t_in = t_in;
    s->open.flags |= VT_SLICE_RECOVERED;
    s->recovered++;
    s->sched = VT_SCHED_ON_CPU;
    s->state = s->mode;
}

/* Only the wake-up was missed: the kernel knows since when it is queued. */
MACHINE_COLD void machine_recover_wakeup(struct vt_slot *s, vt_u64 now, const struct machine_sched_info *info)
{
    vt_u64 t_wake = info->last_queued + s->skew;

    if (!s->skew_known || !info->last_queued || t_wake > now || t_wake < s->last) {
        machine_lose_wait(s, now);
        return;
    }
    machine_charge(s, t_wake, s->state);
    s->open.t_wake = t_wake;
    s->open.wait_state = VT_WAKING;
    machine_charge(s, now, VT_WAKING);
    s->open.t_in = now;
    s->open.flags |= VT_SLICE_RECOVERED;
    s->recovered++;
    s->sched = VT_SCHED_ON_CPU;
    s->state = s->mode;
}

/* At a switch-out: how the kernel's account relates to ours, for the next repair. */
MACHINE void machine_note_sched_info(struct vt_slot *s, const struct machine_sched_info *info)
{
    s->run_delay = info->run_delay;
    if (s->open.flags & (VT_SLICE_RECOVERED | VT_SLICE_FIRST))
        return;
    s->skew = s->open.t_in - info->last_arrival;
    s->skew_known = 1;
}

/*
 * Of the THROTTLED wait that ends now only the first ns were the quota's: from
 * there on it waited for its turn.
 */
MACHINE_COLD void machine_unthrottled(struct vt_slot *s, vt_u64 now, vt_u64 ns)
{
    if (s->sched != VT_SCHED_WAITING || s->state != VT_THROTTLED || now < s->last || ns >= now - s->last)
        return;
    s->open.throttled_ns += ns;
    machine_charge(s, s->last + ns, VT_THROTTLED);
    s->state = VT_PREEMPTED;
}

MACHINE void machine_switch_in(struct vt_slot *s, vt_u64 now, vt_u32 cpu, vt_u32 cpu_was_idle,
                               const struct machine_sched_info *info)
{
    now = machine_now(s, now);
    if (s->sched == VT_SCHED_GONE)
        return;
    if (s->sched == VT_SCHED_ON_CPU) {
        s->desync[VT_DESYNC_IN_ON_CPU]++;
        machine_charge_on_cpu(s, now, VT_LOST);
        s->open.cpu = (vt_u16)cpu;
        return;
    }
    if (s->sched == VT_SCHED_OFF) {
        s->desync[VT_DESYNC_IN_NO_WAKE]++;
        machine_recover_wakeup(s, now, info);
    } else {
        if (s->state == VT_THROTTLED)
            s->open.throttled_ns += now - s->last;
        if (s->state == VT_WAKING && cpu_was_idle) {
            s->wake_idle_ns += now - s->last;
            s->open.flags |= VT_SLICE_WAKE_IDLE;
        }
        machine_charge(s, now, s->state);
        s->open.t_in = now;
        s->sched = VT_SCHED_ON_CPU;
        s->state = s->mode;
    }
    s->open.cpu = (vt_u16)cpu;
    s->switches++;
}

/*
 * The vCPU left guest mode before this switch-out, though its exit event is
 * still to come: what it ran since the entry is GUEST (with the interrupt that
 * made it exit), and the event, when it comes, changes nothing.
 */
MACHINE void machine_late_exit(struct vt_slot *s, vt_u64 now)
{
    now = machine_now(s, now);
    machine_charge_on_cpu(s, now, VT_GUEST);
    s->mode = s->state = VT_KVM;
    s->exit_due = 1;
    s->exit_kvm_ns = s->ns[VT_KVM];
    s->exit_vmm_ns = s->ns[VT_VMM];
}

/* First half of a switch-out: the open slice is complete and may be emitted. */
MACHINE vt_u64 machine_close_slice(struct vt_slot *s, vt_u64 now, const struct machine_sched_info *info)
{
    now = machine_now(s, now);
    if (__builtin_expect(s->sched != VT_SCHED_ON_CPU, 0)) {
        s->desync[VT_DESYNC_OUT_OFF_CPU]++;
        machine_recover_wait(s, now, info);
    }
    if (__builtin_expect(s->mode == VT_GUEST, 0)) {
        s->desync[VT_DESYNC_OUT_GUEST]++;
        machine_charge_on_cpu(s, now, VT_LOST);
        s->mode = VT_KVM;
    } else if (s->mode == VT_IRQ) { /* its end was missed */
        s->desync[VT_DESYNC_MODE]++;
        machine_charge_on_cpu(s, now, VT_LOST);
        s->mode = (vt_u8)s->irq_mode;
    } else {
        machine_charge_on_cpu(s, now, s->mode);
    }
    s->open.t_end = now;
    machine_note_sched_info(s, info);
    return now;
}

/*
 * Second half: a new slice begins off the CPU.  off_state is the blocked state
 * (HALTED, BLOCKED, STOPPED), or PREEMPTED or THROTTLED where it stays
 * runnable, or ABSENT where the thread is dead.
 */
MACHINE void machine_open_slice(struct vt_slot *s, vt_u64 now, vt_u32 off_state)
{
    vt_u64 seq = s->open.seq + 1, t_in = s->open.t_in;

    s->prev_in = t_in;
    __builtin_memset(&s->open, 0, sizeof(s->open));
    s->open.seq = seq;
    s->open.t_out = now;
    s->state = (vt_u8)off_state;
    if (off_state == VT_PREEMPTED || off_state == VT_THROTTLED) {
        s->sched = VT_SCHED_WAITING;
        s->open.t_wake = now;
        s->open.wait_state = VT_PREEMPTED;
        return;
    }
    s->sched = off_state == VT_ABSENT ? VT_SCHED_GONE : VT_SCHED_OFF;
    s->open.off_state = (vt_u8)off_state;
    if (off_state == VT_HALTED && !s->halt_out) {
        s->halt_out = now;
        s->halt_in = t_in;
    }
}

/* Only a blocked vCPU can be woken; a wake-up of a running or waiting one changes nothing. */
MACHINE void machine_wakeup(struct vt_slot *s, vt_u64 now, vt_u32 on_cpu)
{
    if (s->sched != VT_SCHED_OFF || on_cpu)
        return;
    now = machine_now(s, now);
    machine_charge(s, now, s->state);
    s->open.t_wake = now;
    s->open.wait_state = VT_WAKING;
    s->sched = VT_SCHED_WAITING;
    s->state = VT_WAKING;
}

/* No event came of a thread that the iterator found asleep: it sleeps still. */
MACHINE void machine_settle_seed(struct vt_slot *s)
{
    if (s->sched == VT_SCHED_SEED && (s->seed_state == VT_IDLEQ || s->seed_state == VT_BLOCKED ||
                                      s->seed_state == VT_STOPPED || s->seed_state == VT_HALTED))
        machine_seed_off(s, s->mode, s->seed_state);
}

/* The thread and the vCPU part: this life ends at t, and with it its slice. */
MACHINE void machine_end_life(struct vt_slot *s, vt_u64 t)
{
    machine_settle_seed(s);
    t = machine_now(s, t);
    if (s->sched == VT_SCHED_ON_CPU) {
        machine_charge_on_cpu(s, t, s->mode);
    } else {
        if (s->sched != VT_SCHED_WAITING)
            s->open.t_wake = t;
        s->open.t_in = t;
        machine_charge(s, t, s->state);
    }
    s->open.t_end = t;
    s->sched = VT_SCHED_GONE;
    s->state = VT_ABSENT;
}

MACHINE void machine_migrate(struct vt_slot *s)
{
    s->migrations++;
    if (s->open.migrations < 255)
        s->open.migrations++;
}

/*
 * A host interrupt begins and ends in the middle of a stretch on CPU: no edge of
 * the scheduler or of KVM can come in between.  The mode is what it was before.
 * None but a timer's can have been due before it began: since the last edge at most.
 */
MACHINE void machine_irq_begin(struct vt_slot *s, vt_u64 now, vt_u32 of_timer)
{
    if (s->sched != VT_SCHED_ON_CPU || s->state == VT_IRQ)
        return;
    now = machine_now(s, now);
    s->irq_since = now;
    s->irq_earliest = of_timer ? s->last : now;
    machine_charge_on_cpu(s, now, s->mode);
    s->irq_mode = s->mode;
    s->mode = s->state = VT_IRQ;
}

/*
 * A timer whose interrupt is under way was armed for `due`: since then the CPU was on its way there.
 * If any was due so much before the handler began, something else kept the interrupt back: then not.
 * Where guest entry and exit are seen, these are the edges, and what KVM and the monitor do is exact.
 */
#define MACHINE_IRQ_WAY_NS 100000

MACHINE void machine_irq_was_due(struct vt_slot *s, vt_u64 due)
{
    if (s->sched != VT_SCHED_ON_CPU || s->mode != VT_IRQ || s->irq_mode != VT_RUN || due >= s->irq_since)
        return;
    if (s->last - due > MACHINE_IRQ_WAY_NS) /* `last`: the handler's begin */
        s->irq_earliest = s->last;
    vt_u64 ns = s->irq_since - (due > s->irq_earliest ? due : s->irq_earliest); /* less than 0: back */
    s->irq_since -= ns;
    s->ns[VT_RUN] -= ns;
    s->ns[VT_IRQ] += ns;
    s->open.on_cpu[VT_ON_RUN] -= ns;
    s->open.on_cpu[VT_ON_IRQ] += ns;
}

MACHINE void machine_irq_end(struct vt_slot *s, vt_u64 now)
{
    if (s->sched != VT_SCHED_ON_CPU || s->mode != VT_IRQ)
        return;
    now = machine_now(s, now);
    vt_u32 i = s->irq_next++ % VT_SLOT_IRQS;
    s->irqs[i].from = s->irq_since;
    s->irqs[i].ns = now - s->irq_since;
    machine_charge_on_cpu(s, now, VT_IRQ);
    s->mode = s->state = (vt_u8)s->irq_mode;
}

/* Of the newest interrupts, what fell into [from, to). */
MACHINE vt_u64 machine_irq_within(const struct vt_slot *s, vt_u64 from, vt_u64 to)
{
    vt_u64 ns = 0;

    for (vt_u32 i = 0; i < VT_SLOT_IRQS; i++) {
        const vt_u64 begin = s->irqs[i].from > from ? s->irqs[i].from : from;
        const vt_u64 end = s->irqs[i].from + s->irqs[i].ns;

        if (begin < end && begin < to)
            ns += (end < to ? end : to) - begin;
    }
    return ns;
}

/*
 * An edge of the mode: from one of two modes (RUN stands for GUEST and KVM
 * until entry and exit are known to fire) to another.
 */
MACHINE void machine_mode(struct vt_slot *s, vt_u64 now, vt_u32 from, vt_u32 or_from, vt_u32 to,
                          const struct machine_sched_info *info)
{
    now = machine_now(s, now);
    if (s->sched == VT_SCHED_GONE)
        return;
    if (s->sched != VT_SCHED_ON_CPU) { /* it acts, so it is on a CPU: a switch-in was missed */
        s->desync[VT_DESYNC_OUT_OFF_CPU]++;
        machine_recover_wait(s, now, info);
    }
    if (s->mode == from || s->mode == or_from) {
        machine_charge_on_cpu(s, now, s->mode);
    } else {
        s->desync[VT_DESYNC_MODE]++;
        machine_charge_on_cpu(s, now, VT_LOST);
    }
    if ((to == VT_GUEST || to == VT_VMM) && s->exit_due) { /* what was to follow a late exit never came */
        s->desync[VT_DESYNC_MODE]++;
        s->exit_due = 0;
    }
    s->mode = s->state = (vt_u8)to;
}

/* Moves ns from one integral to POLL; never more than is there. */
MACHINE vt_u64 machine_relabel(struct vt_slot *s, vt_u32 from, vt_u64 ns)
{
    machine_check_again(from);
    if (from >= VT_NR_STATES)
        return 0;
    if (ns > s->ns[from])
        ns = s->ns[from];
    s->ns[from] -= ns;
    s->ns[VT_POLL] += ns;
    return ns;
}

/*
 * The HLT that began halted_ns ago is over (tracepoint kvm_vcpu_wakeup,
 * virt/kvm/kvm_main.c kvm_vcpu_halt(): start = ktime_get() before polling).
 * What it spent on CPU before it first blocked, or until now, was POLL.
 */
MACHINE void machine_halt_over(struct vt_slot *s, vt_u64 now, vt_u64 halted_ns,
                               const struct machine_sched_info *info)
{
    vt_u32 mode = s->mode, i = machine_on_index(mode);
    vt_u64 begin, poll;

    now = machine_now(s, now);
    if (s->sched == VT_SCHED_OFF || s->sched == VT_SCHED_WAITING) {
        s->desync[VT_DESYNC_OUT_OFF_CPU]++;
        machine_recover_wait(s, now, info);
    }
    if (s->sched != VT_SCHED_ON_CPU || (mode != VT_KVM && mode != VT_RUN) || halted_ns > now) {
        s->halt_out = 0;
        return;
    }
    machine_charge_on_cpu(s, now, mode);
    begin = now - halted_ns;
    s->halts++;
    if (s->halt_out) {
        if (begin < s->halt_in)
            begin = s->halt_in;
        poll = s->halt_out > begin ? s->halt_out - begin - machine_irq_within(s, begin, s->halt_out) : 0;
        poll = machine_relabel(s, mode, poll);
        if (poll) {
            s->open.tail_poll_ns = poll;
            s->open.tail_back_ns = s->open.t_out - s->halt_out;
            s->open.tail_state = (vt_u8)mode;
        }
        s->halt_out = 0;
        return;
    }
    if (begin < s->open.t_in && s->open.wait_state == VT_PREEMPTED && !s->open.throttled_ns &&
        s->open.t_wake == s->open.t_out) { /* pre-empted while polling: idle too */
        if (begin <= s->open.t_out) {
            s->open.wait_state = VT_POLL;
            machine_relabel(s, VT_PREEMPTED, s->open.t_in - s->open.t_wake);
            if (begin < s->prev_in)
                begin = s->prev_in;
            poll =
                machine_relabel(s, mode, s->open.t_out - begin - machine_irq_within(s, begin, s->open.t_out));
            s->open.tail_poll_ns = poll;
            s->open.tail_state = (vt_u8)mode;
        }
    }
    if (begin < s->open.t_in)
        begin = s->open.t_in;
    poll = now - begin - machine_irq_within(s, begin, now);
    if (i < VT_NR_ON_CPU) {
        if (poll > s->open.on_cpu[i])
            poll = s->open.on_cpu[i];
        poll = machine_relabel(s, mode, poll);
        s->open.on_cpu[i] -= poll;
        s->open.on_cpu[VT_ON_POLL] += poll;
    }
}

/* ---- exits by reason ---- */

/*
 * After the edge into KVM was charged, or at the event that follows a late exit.
 * All exits are those summed, those unsummed, and the one under way.
 */
MACHINE void machine_exit(struct vt_slot *s, vt_u32 reason)
{
    s->exits++;
    s->open.exits++;
    if (s->exit_reason < VT_EXIT_REASONS) /* the entry that ended the one before was missed */
        s->exits_unsummed++;
    s->exit_reason = reason;
    if (s->exit_due) { /* the exit itself was earlier */
        s->exit_due = 0;
        return;
    }
    s->exit_kvm_ns = s->ns[VT_KVM];
    s->exit_vmm_ns = s->ns[VT_VMM];
}

MACHINE vt_u32 machine_log2(vt_u64 v)
{
    vt_u32 n = 0;

    for (vt_u32 step = 16; step; step /= 2) {
        if (v >> step) {
            v >>= step;
            n += step;
        }
    }
    return n;
}

/* Its time into the sum of its reason. */
MACHINE void machine_sum_exit(struct vt_slot *s, struct vt_exit_sum *sum)
{
    /* polling known only afterwards leaves the KVM integral again */
    vt_u64 kernel = s->ns[VT_KVM] > s->exit_kvm_ns ? s->ns[VT_KVM] - s->exit_kvm_ns : 0;
    vt_u32 bucket = kernel >> 32 ? VT_EXIT_BUCKETS - 1 : machine_log2(kernel);

    if (sum->generation != s->generation) {
        __builtin_memset(sum, 0, sizeof(*sum));
        sum->generation = s->generation;
    }
    sum->count++;
    sum->kernel_ns += kernel;
    sum->user_ns += s->ns[VT_VMM] - s->exit_vmm_ns;
    machine_check_again(bucket);
    if (bucket < VT_EXIT_BUCKETS)
        sum->log2[bucket]++;
}

/* After the edge into the guest was charged: the exit under way is over; sum is that of its reason, 0: no
 * room. */
MACHINE void machine_exit_over(struct vt_slot *s, struct vt_exit_sum *sum)
{
    if (sum)
        machine_sum_exit(s, sum);
    else
        s->exits_unsummed++;
    s->exit_reason = VT_EXIT_REASONS;
}

#endif

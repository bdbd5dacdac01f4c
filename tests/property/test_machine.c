/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger's state machine against an oracle.  A generator lives the life of
 * a vCPU and keeps the true time in each state while it tells the machine only
 * the events; then the integrals, the slices and the truth must agree to the
 * nanosecond.  With a class of events withheld they must not agree in silence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collector/bpf/machine.h"
#include "vt/slice_pack.h"

enum event_class {
    EV_SWITCH_IN,
    EV_SWITCH_OUT,
    EV_WAKEUP,
    EV_RUN,
    EV_ENTRY,
    EV_EXIT,
    EV_HALT,
    EV_IRQ_BEGIN,
    EV_IRQ_END,
    EV_NR
};

enum { MAX_SLICES = 4096, REASONS = 5 };

/* What the oracle knows of the exits of one reason. */
struct exits {
    uint64_t count, kernel_ns, user_ns;
    uint32_t log2[VT_EXIT_BUCKETS];
};

static const struct machine_sched_info no_info = { 0 };

struct life {
    uint64_t random;
    uint64_t now;
    bool split;
    unsigned withheld;                   /* bit per event_class */
    unsigned entries, interrupts, whole; /* of the slices those that came whole */
    bool busy_interrupts;                /* more within a poll than the slot remembers */
    /* truth */
    enum vt_sched sched;
    enum vt_state mode, state;
    uint64_t truth[VT_NR_STATES];
    uint64_t irq_in_polls;
    struct exits exits[REASONS];
    unsigned reason; /* of the exit under way, REASONS: none */
    uint64_t exit_kvm_ns, exit_vmm_ns;
    uint64_t exits_told;
    /* the kernel's own account, on a clock of its own; not kept in every life */
    bool has_info;
    uint64_t info_offset, queued_at;
    uint64_t poll_began;
    uint64_t quota_back; /* when it was, in the wait under way; 0: not */
    struct machine_sched_info info;
    unsigned drop_one_in; /* withhold only some events of the class; 0: all */
    /* what the machine was told, and said */
    unsigned irq_depth; /* as the BPF program's own */
    struct vt_slot slot;
    struct vt_slice slices[MAX_SLICES];
    size_t nr_slices;
};

struct world {
    struct life life;
    struct vt_exit_sum sums[REASONS]; /* kept from life to life, as the kernel's are */
    uint32_t generation;
    bool busy_interrupts; /* in the lives to come */
    unsigned no_room;     /* bit per reason: in them its exits find no sum */
};

static uint64_t dice(struct life *l, uint64_t sides)
{
    l->random ^= l->random << 13; /* xorshift64: G. Marsaglia, 2003 */
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random % sides;
}

static bool told(struct life *l, enum event_class class)
{
    return !(l->withheld & 1u << class) || (l->drop_one_in && dice(l, l->drop_one_in) != 0);
}

static void spend(struct life *l, enum vt_state state, uint64_t most)
{
    uint64_t ns = dice(l, 8) == 0 ? 0 : dice(l, most);

    l->truth[state] += ns;
    l->now += ns;
}

/* Which began not at an edge, unless it polls. */
static void turns_out_irq(struct life *l, uint64_t from)
{
    uint64_t begin = l->state == VT_POLL && l->poll_began > from ? l->poll_began : from;

    l->truth[l->state] -= l->now - begin;
    l->truth[l->mode] -= begin - from;
    l->truth[VT_IRQ] += l->now - from;
    if (l->state == VT_POLL)
        l->irq_in_polls += l->now - begin;
}

/*
 * When the first timer was due, before its interrupt begins: the CPU is on its way there since, unless that
 * takes too long.  A guest's last stretch holds the way out of it.
 */
static uint64_t be_due(struct life *l, bool of_timer)
{
    bool on_cpu = l->slot.sched == VT_SCHED_ON_CPU, in_guest = on_cpu && l->slot.mode == VT_GUEST;
    bool too_late = dice(l, 4) == 0;
    uint64_t since_edge = l->now - l->slot.last;
    uint64_t before = dice(l, since_edge < MACHINE_IRQ_WAY_NS / 2 ? since_edge + 1 : MACHINE_IRQ_WAY_NS / 2);
    uint64_t due = l->now - before;

    spend(l, in_guest ? VT_GUEST : l->state, MACHINE_IRQ_WAY_NS / 2);
    if (too_late)
        return l->now - MACHINE_IRQ_WAY_NS - 1 - dice(l, 1000000);
    if (of_timer && on_cpu && l->slot.mode == VT_RUN)
        turns_out_irq(l, due);
    /* while the edge before it was under way */
    return l->slot.last == due ? due - dice(l, MACHINE_IRQ_WAY_NS - (l->now - due) + 1) : due;
}

/* It is one of several that go off, in whatever order; the others were due after it. */
static void tell_timers(struct life *l, uint64_t due)
{
    unsigned n = (unsigned)dice(l, 4), first = (unsigned)dice(l, n + 1);

    for (unsigned i = 0; i <= n; i++)
        machine_irq_was_due(&l->slot, i == first ? due : due + dice(l, l->now - due + 1));
}

/* A softirq may follow, or another interrupt come, within the first: only the outermost edges are told. */
static void interrupt(struct life *l, uint64_t most)
{
    /* of a stretch whose switch-in was missed the probes don't know whom they interrupt */
    bool unknown = l->slot.sched != VT_SCHED_ON_CPU, of_timer = dice(l, 2) == 0;
    unsigned nested = (unsigned)dice(l, 3);
    uint64_t due = be_due(l, of_timer), begin = l->now;

    l->interrupts++;
    for (unsigned i = 0; i <= nested; i++) {
        if (told(l, EV_IRQ_BEGIN) && l->irq_depth++ == 0 && !unknown) {
            if (l->slot.mode == VT_GUEST)
                machine_late_exit(&l->slot, l->now);
            machine_irq_begin(&l->slot, l->now, of_timer);
            tell_timers(l, due);
        }
        spend(l, unknown ? l->state : VT_IRQ, most);
    }
    for (unsigned i = 0; i <= nested; i++) {
        if (told(l, EV_IRQ_END) && l->irq_depth && --l->irq_depth == 0 && !unknown)
            machine_irq_end(&l->slot, l->now);
        spend(l, unknown || i == nested ? l->state : VT_IRQ, most);
    }
    if (l->state == VT_POLL)
        l->irq_in_polls += l->now - begin;
}

static void pass(struct life *l, uint64_t most)
{
    /* within a poll no more than the slot remembers: the longest has two passes here, and one follows it */
    unsigned times = l->busy_interrupts ? 2 * VT_SLOT_IRQS : 1;

    spend(l, l->state, most);
    for (; l->sched == VT_SCHED_ON_CPU && times && (l->busy_interrupts ? dice(l, 16) != 0 : dice(l, 4) == 0);
         times--) {
        interrupt(l, 60000);
        spend(l, l->state, most / 8 + 1);
    }
}

/* What the kernel's sched_info does when a task is queued, and when it arrives on a CPU. */
static void queue(struct life *l)
{
    l->queued_at = l->now;
    if (l->has_info)
        l->info.last_queued = l->now - l->info_offset;
}

static void arrive(struct life *l)
{
    if (!l->has_info)
        return;
    l->info.run_delay += l->now - l->queued_at;
    l->info.last_arrival = l->now - l->info_offset;
    l->info.last_queued = 0;
}

static enum vt_state in_kvm(const struct life *l)
{
    return l->split ? VT_KVM : VT_RUN;
}

static void set_mode(struct life *l, enum vt_state mode)
{
    l->mode = l->state = mode;
}

/* As the BPF programs send it, and the collector has it. */
static struct vt_slice through_the_ring(struct life *l, const struct vt_slice *s)
{
    struct vt_slice_short r;

    if (!vt_slice_is_short(s)) {
        l->whole++;
        return *s;
    }
    memset(&r, 0xff, sizeof(r)); /* what the ring had before */
    vt_slice_pack(&r, s);
    const struct vt_slice back = vt_slice_unpack(&r);
    assert_memory_equal(&back, s, sizeof(back));
    return back;
}

static void out(struct life *l, enum vt_state off)
{
    if (told(l, EV_SWITCH_OUT)) {
        uint64_t t = machine_close_slice(&l->slot, l->now, &l->info);
        assert_true(l->nr_slices < MAX_SLICES);
        l->slices[l->nr_slices++] = through_the_ring(l, &l->slot.open);
        machine_open_slice(&l->slot, t, off);
    }
    l->irq_depth = 0;
    if (off == VT_PREEMPTED || off == VT_THROTTLED)
        queue(l);
    l->state = off;
    l->sched = off == VT_PREEMPTED || off == VT_THROTTLED ? VT_SCHED_WAITING
               : off == VT_ABSENT                         ? VT_SCHED_GONE
                                                          : VT_SCHED_OFF;
}

static void in(struct life *l)
{
    if (told(l, EV_SWITCH_IN)) {
        if (l->quota_back)
            machine_unthrottled(&l->slot, l->now, l->quota_back - l->queued_at);
        machine_switch_in(&l->slot, l->now, (unsigned)dice(l, 4), dice(l, 2) == 0, &l->info);
    }
    l->quota_back = 0;
    arrive(l); /* after the tracepoint, as in prepare_task_switch() */
    l->sched = VT_SCHED_ON_CPU;
    l->state = l->mode;
}

static void wake(struct life *l)
{
    queue(l); /* before the tracepoint, as in ttwu_do_activate() */
    if (told(l, EV_WAKEUP))
        machine_wakeup(&l->slot, l->now, 0);
    l->sched = VT_SCHED_WAITING;
    l->state = VT_WAKING;
}

/* HLT: polls, and then an interrupt came in time, or it blocks, wakes and is told. */
static void halt(struct life *l)
{
    uint64_t begin = l->now;
    enum vt_state mode = l->mode;

    l->state = VT_POLL;
    l->poll_began = begin;
    pass(l, 200000);
    if (dice(l, 2)) {
        if (dice(l, 8) == 0) { /* pre-empted while polling: idle too */
            out(l, VT_PREEMPTED);
            l->state = VT_POLL;
            pass(l, 4000000);
            in(l);
            l->state = VT_POLL;
            pass(l, 100000);
        }
    } else {
        out(l, VT_HALTED);
        pass(l, 10000000);
        wake(l);
        pass(l, 100000);
        in(l);
        l->state = mode;
        pass(l, 3000);
    }
    l->state = mode;
    if (told(l, EV_HALT))
        machine_halt_over(&l->slot, l->now, l->now - begin, &l->info);
}

/* The exit under way ends with this entry: what the oracle has of it. */
static void note_exit(struct life *l)
{
    struct exits *e = &l->exits[l->reason];
    uint64_t kernel = l->truth[VT_KVM] - l->exit_kvm_ns;
    unsigned bucket = 0;

    while (bucket + 1 < VT_EXIT_BUCKETS && kernel >= UINT64_C(2) << bucket)
        bucket++;
    e->count++;
    e->kernel_ns += kernel;
    e->user_ns += l->truth[VT_VMM] - l->exit_vmm_ns;
    e->log2[bucket]++;
}

static void entry(struct world *w)
{
    struct life *l = &w->life;

    if (told(l, EV_ENTRY)) {
        machine_mode(&l->slot, l->now, VT_KVM, VT_RUN, VT_GUEST, &l->info);
        if (l->slot.exit_reason < REASONS)
            machine_exit_over(&l->slot,
                              w->no_room & 1u << l->slot.exit_reason ? NULL : &w->sums[l->slot.exit_reason]);
    }
    if (l->reason < REASONS)
        note_exit(l);
    l->reason = REASONS;
    l->entries++;
    set_mode(l, VT_GUEST);
    spend(l, VT_GUEST, 1000000);
}

/* The guest has left, and the event is yet to come (SVM before 6.10): an interrupt, or a pre-emption is
 * first. */
static void late_exit(struct life *l)
{
    set_mode(l, VT_KVM);
    if (dice(l, 2)) {
        interrupt(l, 60000);
        pass(l, 2000);
    } else {
        machine_late_exit(&l->slot, l->now);
        out(l, VT_PREEMPTED);
        pass(l, 12000000);
        in(l);
        pass(l, 2000);
    }
}

static void guest_exit(struct life *l)
{
    l->exit_kvm_ns = l->truth[VT_KVM];
    l->exit_vmm_ns = l->truth[VT_VMM];
    if (dice(l, 3) == 0 && l->slot.mode == VT_GUEST && l->slot.sched == VT_SCHED_ON_CPU)
        late_exit(l);
    if (told(l, EV_EXIT)) {
        if (!l->slot.exit_due)
            machine_mode(&l->slot, l->now, VT_GUEST, VT_RUN, VT_KVM, &l->info);
        machine_exit(&l->slot, l->reason = (unsigned)dice(l, REASONS));
        l->exits_told++;
    }
    set_mode(l, VT_KVM);
}

static void toggle_run(struct life *l)
{
    enum vt_state to = l->mode == VT_VMM ? in_kvm(l) : VT_VMM;

    if (told(l, EV_RUN)) {
        if (to == VT_VMM)
            machine_mode(&l->slot, l->now, VT_KVM, VT_RUN, VT_VMM, &l->info);
        else
            machine_mode(&l->slot, l->now, VT_VMM, VT_VMM, to, &l->info);
    }
    set_mode(l, to);
}

/* It waits on, as pre-empted; which is known only when that is over. */
static void quota_is_back(struct life *l)
{
    l->quota_back = l->now;
    l->state = VT_PREEMPTED;
    pass(l, 12000000);
}

static void step(struct world *w)
{
    struct life *l = &w->life;

    if (l->sched == VT_SCHED_OFF) {
        wake(l);
    } else if (l->sched == VT_SCHED_WAITING) {
        if (dice(l, 4) == 0)
            machine_migrate(&l->slot);
        /* where the switch-in may be missed, all of the wait stays THROTTLED */
        if (l->state == VT_THROTTLED && !(l->withheld & 1u << EV_SWITCH_IN) && dice(l, 2))
            quota_is_back(l);
        in(l);
    } else {
        static const enum vt_state offs[] = { VT_PREEMPTED, VT_PREEMPTED, VT_BLOCKED, VT_STOPPED,
                                              VT_THROTTLED };
        uint64_t d = dice(l, 10);
        if (d < 3)
            out(l, offs[dice(l, 5)]);
        else if (d < 5 || l->mode == VT_VMM)
            toggle_run(l);
        else if (d >= 8)
            halt(l);
        else if (l->split) {
            entry(w);
            guest_exit(l);
        }
        if (dice(l, 6) == 0 && l->sched == VT_SCHED_ON_CPU && told(l, EV_WAKEUP))
            machine_wakeup(&l->slot, l->now, 1); /* a wake-up of a running thread says nothing */
    }
    pass(l, l->sched == VT_SCHED_ON_CPU ? 4000000 : 12000000);
}

/* drop_one_in: withhold some events only, and let the kernel's own account be there. */
static struct life *live(struct world *w, uint64_t seed, unsigned withheld, unsigned drop_one_in)
{
    struct life *l = &w->life;

    memset(l, 0, sizeof(*l));
    l->slot.generation = ++w->generation;
    l->slot.exit_reason = VT_EXIT_REASONS;
    l->reason = REASONS;
    l->busy_interrupts = w->busy_interrupts;
    l->random = seed * 0x9e3779b97f4a7c15u + 1;
    l->drop_one_in = drop_one_in;
    l->has_info = drop_one_in > 0;
    l->info_offset = dice(l, 1000000000);
    l->now = 1 + dice(l, UINT64_C(1) << 40);
    l->split = dice(l, 2) == 0;
    l->withheld = withheld;
    l->sched = VT_SCHED_ON_CPU;
    set_mode(l, VT_VMM);
    machine_init(&l->slot, l->now, VT_SCHED_ON_CPU, VT_VMM);
    for (uint64_t n = 1 + dice(l, 60); n > 0; n--)
        step(w);
    while (l->sched != VT_SCHED_ON_CPU)
        step(w);
    if (l->mode != VT_VMM)
        toggle_run(l);
    out(l, VT_ABSENT);
    return l;
}

/* The slices' own sums: time stamps for the scheduling, split sums on CPU. */
static int64_t sum_slices(const struct life *l, uint64_t ret[VT_NR_STATES])
{
    static const enum vt_state on[VT_NR_ON_CPU] = {
        VT_GUEST, VT_KVM, VT_VMM, VT_RUN, VT_POLL, VT_LOST, VT_IRQ
    };
    int64_t residual = 0;

    for (size_t i = 0; i < l->nr_slices; i++) {
        const struct vt_slice *s = &l->slices[i];
        uint64_t split = 0;
        assert_true(s->t_out <= s->t_wake && s->t_wake <= s->t_in && s->t_in <= s->t_end);
        assert_int_equal(s->seq, i);
        if (i > 0)
            assert_int_equal(s->t_out, l->slices[i - 1].t_end);
        ret[s->off_state] += s->t_wake - s->t_out;
        assert_true(s->throttled_ns <= s->t_in - s->t_wake);
        ret[VT_THROTTLED] += s->throttled_ns;
        ret[s->wait_state] += s->t_in - s->t_wake - s->throttled_ns;
        for (unsigned j = 0; j < VT_NR_ON_CPU; j++) {
            ret[on[j]] += s->on_cpu[j];
            split += s->on_cpu[j];
        }
        residual += (int64_t)(s->t_end - s->t_in - split);
        if (s->tail_poll_ns) {
            assert_true(ret[s->tail_state] >= s->tail_poll_ns);
            ret[s->tail_state] -= s->tail_poll_ns;
            ret[VT_POLL] += s->tail_poll_ns;
        }
    }
    return residual;
}

static uint64_t desyncs(const struct life *l)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < VT_NR_DESYNC; i++)
        n += l->slot.desync[i];
    return n;
}

/* A slice for a slice, a nanosecond for a nanosecond. */
static void check_life(const struct life *l)
{
    uint64_t slices[VT_NR_STATES] = { 0 };

    assert_int_equal(sum_slices(l, slices), 0);
    assert_int_equal(desyncs(l), 0);
    for (unsigned i = 0; i < VT_NR_STATES; i++) {
        assert_int_equal(slices[i], l->slot.ns[i]);
        assert_int_equal(slices[i], l->truth[i]);
    }
}

/* Each exit once, with its own time, in its own bucket. */
static uint64_t check_exits(const struct world *w)
{
    uint64_t n = 0;

    for (unsigned r = 0; r < REASONS; r++) {
        const struct exits *e = &w->life.exits[r];
        const struct vt_exit_sum *sum = &w->sums[r];
        if (sum->generation != w->life.slot.generation) { /* no exit for that reason in this life */
            assert_int_equal(e->count, 0);
            continue;
        }
        assert_int_equal(sum->count, e->count);
        assert_int_equal(sum->kernel_ns, e->kernel_ns);
        assert_int_equal(sum->user_ns, e->user_ns);
        assert_memory_equal(sum->log2, e->log2, sizeof(e->log2));
        n += e->count;
    }
    return n;
}

static void integrals_slices_and_truth_agree_to_the_nanosecond(void **state)
{
    struct world *w = *state;
    uint64_t exits = 0, interrupts = 0, in_polls = 0;

    for (uint64_t seed = 1; seed <= 100000; seed++) {
        live(w, seed, 0, 0);
        check_life(&w->life);
        exits += check_exits(w);
        interrupts += w->life.interrupts;
        in_polls += w->life.irq_in_polls > 0;
    }
    assert_true(exits > 100000 && interrupts > 100000 && in_polls > 10000);
}

/* Those in the sums of this life; none may be where there was no room. */
static uint64_t summed_exits(const struct world *w)
{
    uint64_t n = 0;

    for (unsigned r = 0; r < REASONS; r++) {
        const struct vt_exit_sum *sum = &w->sums[r];
        if (sum->generation != w->life.slot.generation)
            continue;
        assert_false(w->no_room & 1u << r);
        n += sum->count;
    }
    return n;
}

/* Whether there is room or not, and though entries or exits are missed: none is nowhere, none is twice. */
static void exits_are_summed_or_unsummed_or_under_way(void **state)
{
    struct world *w = *state;
    static const unsigned withheld[] = { 0, 1u << EV_ENTRY, 1u << EV_EXIT, 1u << EV_SWITCH_IN };
    uint64_t no_room = 0, no_entry = 0, summed = 0;

    for (uint64_t seed = 1; seed <= 20000; seed++)
        for (size_t i = 0; i < sizeof(withheld) / sizeof(*withheld); i++) {
            w->no_room = (unsigned)seed % (1u << REASONS);
            const struct life *l = live(w, seed, withheld[i], 3);
            const uint64_t under_way = l->slot.exit_reason < VT_EXIT_REASONS, sums = summed_exits(w);
            assert_int_equal(l->slot.exits, l->exits_told);
            assert_int_equal(sums + l->slot.exits_unsummed + under_way, l->slot.exits);
            summed += sums;
            if (!withheld[i] && w->no_room)
                no_room += l->slot.exits_unsummed;
            if (withheld[i] == 1u << EV_ENTRY && !w->no_room)
                no_entry += l->slot.exits_unsummed;
        }
    w->no_room = 0;
    assert_true(summed > 10000 && no_room > 10000 && no_entry > 100);
}

/* More interrupts in a poll than a slot remembers: only the split of that poll suffers, by no more than they
 * took. */
static void of_many_interrupts_in_a_poll_the_oldest_may_pass_for_polling(void **state)
{
    struct world *w = *state;
    unsigned differ = 0;

    w->busy_interrupts = true;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        uint64_t slices[VT_NR_STATES] = { 0 };
        const struct life *l = live(w, seed, 0, 0);
        uint64_t beyond = l->slot.ns[VT_POLL] - l->truth[VT_POLL];
        assert_int_equal(sum_slices(l, slices), 0);
        assert_int_equal(desyncs(l), 0);
        assert_memory_equal(slices, l->slot.ns, sizeof(slices));
        assert_true(l->slot.ns[VT_POLL] >= l->truth[VT_POLL] && beyond <= l->irq_in_polls);
        assert_int_equal(l->slot.ns[in_kvm(l)] + beyond, l->truth[in_kvm(l)]);
        for (unsigned i = 0; i < VT_NR_STATES; i++)
            if (i != VT_POLL && i != in_kvm(l))
                assert_int_equal(slices[i], l->truth[i]);
        differ += beyond > 0;
    }
    w->busy_interrupts = false;
    assert_true(differ > 100);
}

/* Some edges alone contradict nothing: there the recording says that a state is merged into others. */
static bool merges(const struct life *l, enum event_class class)
{
    return class == EV_HALT || class == EV_IRQ_BEGIN || (class == EV_RUN && !l->entries);
}

/* Without a class of events, whenever the figures differ from the truth, LOST or a counter says so. */
static void a_withheld_class_never_passes_in_silence(void **state)
{
    struct world *w = *state;
    static const enum event_class classes[] = { EV_SWITCH_IN, EV_WAKEUP, EV_RUN,       EV_ENTRY,
                                                EV_EXIT,      EV_HALT,   EV_IRQ_BEGIN, EV_IRQ_END };
    unsigned noticed[EV_NR] = { 0 };

    for (uint64_t seed = 1; seed <= 20000; seed++)
        for (size_t c = 0; c < sizeof(classes) / sizeof(*classes); c++) {
            uint64_t slices[VT_NR_STATES] = { 0 };
            bool differs = false;
            const struct life *l = live(w, seed, 1u << classes[c], 0);
            int64_t residual = sum_slices(l, slices);
            for (unsigned i = 0; i < VT_NR_STATES; i++) {
                assert_int_equal(slices[i], l->slot.ns[i]);
                differs |= slices[i] != l->truth[i];
            }
            if (!differs)
                continue;
            noticed[classes[c]]++;
            if (!merges(l, classes[c]))
                assert_true(residual != 0 || l->slot.ns[VT_LOST] > 0 || desyncs(l) > 0);
        }
    for (size_t c = 0; c < sizeof(classes) / sizeof(*classes); c++)
        assert_true(noticed[classes[c]] > 1000);
}

static void a_missed_switch_or_wakeup_is_repaired_and_marked(void **state)
{
    struct world *w = *state;
    unsigned repaired = 0, lives_with_loss = 0;

    for (uint64_t seed = 1; seed <= 20000; seed++) {
        uint64_t slices[VT_NR_STATES] = { 0 };
        unsigned marked = 0;
        bool lost = false; /* a wait, be it of no time: then it is not known what came before it */
        const struct life *l = live(w, seed, 1u << EV_SWITCH_IN | 1u << EV_WAKEUP, 8);
        assert_int_equal(sum_slices(l, slices), 0);
        for (size_t i = 0; i < l->nr_slices; i++)
            marked += (l->slices[i].flags & VT_SLICE_RECOVERED) != 0;
        for (size_t i = 1; i < l->nr_slices; i++)
            lost |= l->slices[i].wait_state == VT_LOST;
        assert_int_equal(marked, l->slot.recovered);
        for (unsigned i = 0; i < VT_NR_STATES; i++) {
            assert_int_equal(slices[i], l->slot.ns[i]);
            if (!lost)
                assert_int_equal(slices[i], l->truth[i]);
        }
        assert_true(marked == 0 || desyncs(l) > 0);
        repaired += marked;
        lives_with_loss += lost; /* before the two clocks were compared */
    }
    assert_true(repaired > 20000);
    assert_true(lives_with_loss < 5000);
}

/* It was woken at 0.5 ms; the kernel's account says that it got its CPU so long before. */
static struct vt_slot missed_arrival(uint64_t before)
{
    struct vt_slot s = { 0 };
    const struct machine_sched_info info = { .last_arrival = 500000 - before, .cpu = 1 };

    machine_init(&s, 100000, VT_SCHED_ON_CPU, VT_RUN);
    machine_close_slice(&s, 200000, &no_info);
    machine_open_slice(&s, 200000, VT_IDLEQ);
    s.skew_known = 1;
    s.skew = 0;
    s.run_delay = 0;
    machine_wakeup(&s, 500000, 0);
    machine_close_slice(&s, 900000, &info);
    return s;
}

/* Its clock was read a little before the wake-up's, though the switch came after. */
static void an_account_that_lags_a_little_is_believed(void **state)
{
    (void)state;
    const struct vt_slot little = missed_arrival(VT_RECOVERY_BOUND_NS),
                         much = missed_arrival(VT_RECOVERY_BOUND_NS + 1);

    assert_int_equal(little.recovered, 1);
    assert_int_equal(little.ns[VT_LOST], 0);
    assert_int_equal(little.ns[VT_WAKING], 0);
    assert_int_equal(little.ns[VT_RUN], 100000 + 400000);
    assert_int_equal(much.recovered, 0);
    assert_int_equal(much.ns[VT_LOST], 400000);
}

static void a_clock_that_goes_backwards_is_counted_not_wrapped(void **state)
{
    (void)state;
    struct vt_slot s = { 0 };

    machine_init(&s, 1000, VT_SCHED_ON_CPU, VT_VMM);
    machine_mode(&s, 900, VT_VMM, VT_VMM, VT_RUN, &no_info);
    machine_mode(&s, 1100, VT_KVM, VT_RUN, VT_VMM, &no_info);
    assert_int_equal(s.desync[VT_DESYNC_BACKWARDS], 1);
    assert_int_equal(s.ns[VT_VMM], 0);
    assert_int_equal(s.ns[VT_RUN], 100);
}

static void a_seeded_thread_takes_its_state_from_its_first_event(void **state)
{
    (void)state;
    struct vt_slot s = { 0 };

    machine_init(&s, 1000, VT_SCHED_SEED, VT_VMM);
    machine_seed_off(&s, VT_RUN, VT_HALTED);
    machine_wakeup(&s, 3000, 0);
    machine_switch_in(&s, 3500, 1, 0, &no_info);
    assert_int_equal(s.ns[VT_HALTED], 2000);
    assert_int_equal(s.ns[VT_WAKING], 500);

    memset(&s, 0, sizeof(s));
    machine_init(&s, 1000, VT_SCHED_SEED, VT_VMM);
    machine_seed_waiting(&s, VT_RUN);
    machine_switch_in(&s, 1700, 1, 0, &no_info);
    assert_int_equal(s.ns[VT_PREEMPTED], 700);
}

/* At each limit: the last that fits, and the first that does not. */
static void a_slice_comes_short_or_whole_and_never_cut(void **state)
{
    const uint64_t most = UINT32_MAX;
    const struct vt_slice fits = { .seq = most,
                                   .t_out = 1,
                                   .t_wake = 1 + most,
                                   .t_in = 1 + 2 * most,
                                   .t_end = 1 + 3 * most,
                                   .on_cpu = { [VT_ON_GUEST] = most,
                                               [VT_ON_KVM] = most,
                                               [VT_ON_VMM] = most,
                                               [VT_ON_RUN] = most,
                                               [VT_ON_IRQ] = most },
                                   .exits = UINT16_MAX,
                                   .user_exits = UINT16_MAX,
                                   .cpu = UINT16_MAX,
                                   .off_state = 1,
                                   .wait_state = 2,
                                   .tail_state = 3,
                                   .flags = 4,
                                   .migrations = 5,
                                   .off_cause = 6 };
    struct vt_slice s = fits;
    struct life l = { 0 };

    (void)state;
    through_the_ring(&l, &fits);
    assert_int_equal(l.whole, 0);
#define DOES_NOT_FIT(change)                                                                                 \
    do {                                                                                                     \
        s = fits;                                                                                            \
        change;                                                                                              \
        assert_false(vt_slice_is_short(&s));                                                                 \
    } while (0)
    DOES_NOT_FIT(s.seq++);
    DOES_NOT_FIT(s.t_wake++);
    DOES_NOT_FIT(s.t_in++);
    DOES_NOT_FIT(s.t_end++);
    DOES_NOT_FIT(s.t_wake = s.t_out - 1);
    for (unsigned i = 0; i < VT_NR_ON_CPU; i++)
        DOES_NOT_FIT(s.on_cpu[i] += i == VT_ON_POLL || i == VT_ON_LOST ? 1 : most);
    DOES_NOT_FIT(s.exits++);
    DOES_NOT_FIT(s.user_exits++);
    DOES_NOT_FIT(s.throttled_ns = 1);
    DOES_NOT_FIT(s.tail_poll_ns = 1);
    DOES_NOT_FIT(s.tail_back_ns = 1);
#undef DOES_NOT_FIT
}

static int give_life(void **state)
{
    *state = calloc(1, sizeof(struct world));
    return *state ? 0 : -1;
}

static int take_life(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integrals_slices_and_truth_agree_to_the_nanosecond),
        cmocka_unit_test(exits_are_summed_or_unsummed_or_under_way),
        cmocka_unit_test(of_many_interrupts_in_a_poll_the_oldest_may_pass_for_polling),
        cmocka_unit_test(a_withheld_class_never_passes_in_silence),
        cmocka_unit_test(a_missed_switch_or_wakeup_is_repaired_and_marked),
        cmocka_unit_test(an_account_that_lags_a_little_is_believed),
        cmocka_unit_test(a_clock_that_goes_backwards_is_counted_not_wrapped),
        cmocka_unit_test(a_slice_comes_short_or_whole_and_never_cut),
        cmocka_unit_test(a_seeded_thread_takes_its_state_from_its_first_event),
    };
    return cmocka_run_group_tests(tests, give_life, take_life);
}

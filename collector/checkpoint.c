/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tick writes of each vCPU and helper: its state, and what was summed up of it. */
#include <string.h>

#include "bpf/machine.h"
#include "hostinfo.h"
#include "recorder_internal.h"

static void fill_checkpoint(struct vt_checkpoint *cp, const struct vt_slot *s)
{
    memset(cp, 0, sizeof(*cp));
    cp->last.v = s->last;
    cp->state = s->sched == VT_SCHED_SEED ? s->seed_state : s->state;
    memcpy(cp->ns, s->ns, sizeof(cp->ns));
    cp->switches = s->switches;
    cp->migrations = s->migrations;
    cp->exits = s->exits;
    cp->user_exits = s->user_exits;
    cp->halts = s->halts;
    cp->wake_idle_ns = s->wake_idle_ns;
    memcpy(cp->desync, s->desync, sizeof(cp->desync));
    cp->open = s->open;
    cp->open.t_end = 0;
    cp->open.flags |= VT_SLICE_OPEN;
    if (s->waits_on) {
        cp->open.cpu = (uint16_t)(s->waits_on - 1);
        cp->open.flags |= VT_SLICE_WAITS;
    }
}

/* In the open slice, phases not yet reached are 0. */
static void clear_unreached(struct vt_slice *open, uint8_t sched)
{
    switch (sched) {
    case VT_SCHED_SEED:
    case VT_SCHED_OFF:
        open->t_wake = 0;
        open->t_in = 0;
        break;
    case VT_SCHED_WAITING:
        open->t_in = 0;
        break;
    }
}

/* What is known of the slot at t: it was in one state since its last edge. */
static void bring_to(struct vt_slot *s, host_ns t)
{
    if (s->last >= t.v || s->sched == VT_SCHED_SEED || s->sched == VT_SCHED_GONE)
        return;
    if (s->sched == VT_SCHED_ON_CPU) {
        machine_charge_on_cpu(s, t.v, s->mode);
        return;
    }
    if (s->state == VT_THROTTLED)
        s->open.throttled_ns += t.v - s->last;
    machine_charge(s, t.v, s->state);
}

/*
 * What is cumulated since a life was born is written for the first time as of
 * the recording's begin, if the life is older: growth is counted from there.
 */
static host_ns cumulated_at(const struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns at)
{
    if (r->based[slot] != s->generation && s->born < r->host.begin.v)
        return r->host.begin;
    return r->host.end.v && at.v > r->host.end.v ? r->host.end : at; /* read right after */
}

enum { SUMS_EVERY = 4 }; /* ticks */

/* Sums are written seldomer than checkpoints, but at every end and beginning, and not after the end. */
static bool sums_are_due(const struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns cut)
{
    if (rec_has_parted(r))
        return false;
    return cut.v || r->host.end.v || s->sched == VT_SCHED_GONE || r->based[slot] != s->generation ||
           r->cost.ticks % SUMS_EVERY == 0;
}

/* If they have grown since they were last written. */
static int put_exit(struct vt_recorder *r, uint32_t i, const struct vt_exit_sum *sum,
                    const struct vt_exit_row *row, struct vt_err *err)
{
    if (row->vcpu <= 0 || (r->exits[i].generation == sum->generation && r->exits[i].count == sum->count))
        return 0;
    r->exits[i].generation = sum->generation;
    r->exits[i].count = sum->count;
    return vt_store_put_exits(r->store, row, err);
}

/* At each reason one look, so that a recording counts on from where the one before it ended. */
static int put_exits(struct vt_recorder *due, uint32_t slot, const struct vt_slot *s, host_ns at,
                     struct vt_err *err)
{
    struct vt_exit_sum sum;
    int e = 0;

    for (uint32_t reason = 0; reason < VT_EXIT_REASONS && !e; reason++) {
        uint32_t i = s->exit_sums[reason];
        if (!i || !vt_probes_exits(due->probes, slot, --i, &sum) || sum.generation != s->generation)
            continue;
        struct vt_exit_row row = { 0, at, reason, sum.count, sum.kernel_ns, sum.user_ns, { 0 } };
        memcpy(row.log2, sum.log2, sizeof(row.log2));
        for (struct vt_recorder *to = due; to && !e; to = to->next) {
            row.vcpu = vt_roster_known(to->roster, slot, s->generation);
            row.at = cumulated_at(to, slot, s, at);
            e = put_exit(to, i, &sum, &row, err);
        }
    }
    for (struct vt_recorder *to = due; to && !e && s->exits_unsummed; to = to->next) {
        const struct vt_exit_sum unsummed = { .generation = s->generation, .count = s->exits_unsummed };
        const struct vt_exit_row row = { .vcpu = vt_roster_known(to->roster, slot, s->generation),
                                         .at = cumulated_at(to, slot, s, at),
                                         .reason = VT_EXIT_UNSUMMED,
                                         .count = s->exits_unsummed };
        e = put_exit(to, VT_MAX_EXIT_SUMS + slot, &unsummed, &row, err);
    }
    return e;
}

/* A look of which a reader shall know even if nothing grew: there is no later one, or another recording's. */
static bool look_is_told(const struct vt_recorder *r, const struct vt_slot *s, bool cut,
                         const struct vt_kvm_look *look)
{
    return look->is_new && (cut || r->host.end.v || s->sched == VT_SCHED_GONE);
}

/*
 * Those that have grown since they were last written to this recording; as of a
 * cut all that are not 0.  Of a look that is to be told of, and of a begin that
 * growth is counted from, the first in any case.
 */
static int put_grown(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns at, bool cut,
                     const struct vt_kvm_look *look, struct vt_err *err)
{
    const size_t nr = vt_probes_kvm_stats(r->probes)->nr;
    const bool first = r->based[slot] != s->generation;
    const bool told = look_is_told(r, s, cut, look) || (first && s->born < r->host.begin.v);
    uint64_t *written = &r->kvm_written[(size_t)slot * VT_KVM_STATS_MAX];
    struct vt_kvm_count row = { .vcpu = vt_roster_known(r->roster, slot, s->generation),
                                .at = cumulated_at(r, slot, s, at) };
    int e = 0;

    if (row.vcpu <= 0)
        return 0;
    if (first)
        memset(written, 0, nr * sizeof(*written));
    for (size_t i = 0; i < nr && !e; i++) {
        if (look->sums[i] == written[i] && !(cut && look->is_new && look->sums[i]) && !(told && i == 0))
            continue;
        row.stat = (int64_t)i + 1;
        row.count = written[i] = look->sums[i];
        e = vt_store_put_kvm_count(r->store, &row, err);
    }
    return e;
}

/* One look for all recordings, as above. */
static int put_kvm_stats(struct vt_recorder *due, uint32_t slot, const struct vt_slot *s, host_ns at,
                         host_ns cut, struct vt_err *err)
{
    const struct vt_kvm_look look = vt_probes_kvm_look(due->probes, slot, s);
    int e = 0;

    for (struct vt_recorder *to = due; look.sums && to && !e; to = to->next)
        e = put_grown(to, slot, s, at, cut.v, &look, err);
    return e;
}

/* What is summed up of a vCPU, into every recording that is due. */
static int put_sums(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns at, host_ns cut,
                    struct vt_err *err)
{
    struct vt_recorder *const due = sums_are_due(r, slot, s, cut) ? r : r->next;
    int e;

    if (s->kind != VT_SLOT_VCPU || !due || !sums_are_due(due, slot, s, cut))
        return 0;
    e = put_exits(due, slot, s, at, err);
    if (!e)
        e = put_kvm_stats(due, slot, s, at, cut, err);
    for (struct vt_recorder *to = due; to; to = to->next)
        to->based[slot] = s->generation;
    return e;
}

/* Sums of a helper's states at `at`; since its last edge it was in one of them. */
static struct vt_helper_time helper_sums(const struct vt_slot *s, host_ns at)
{
    uint64_t ns[VT_NR_STATES];

    memcpy(ns, s->ns, sizeof(ns));
    if (s->sched != VT_SCHED_GONE && at.v > s->last)
        ns[s->sched == VT_SCHED_SEED ? s->seed_state : s->state] += at.v - s->last;
    return (struct vt_helper_time){
        .at = at,
        .on_cpu_ns = ns[VT_VMM] + ns[VT_KVM] + ns[VT_RUN],
        .waited_ns = ns[VT_PREEMPTED] + ns[VT_WAKING] + ns[VT_THROTTLED],
        .blocked_ns = ns[VT_BLOCKED] + ns[VT_HALTED],
        .stopped_ns = ns[VT_STOPPED],
        .lost_ns = ns[VT_LOST],
    };
}

static int put_helper(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns cut,
                      struct vt_err *err)
{
    if (rec_is_later(r, s) || (s->sched == VT_SCHED_GONE && s->last <= r->host.begin.v) ||
        !sums_are_due(r, slot, s, cut))
        return 0;
    host_ns now = cut.v ? cut : vt_host_now();
    if (s->sched == VT_SCHED_GONE)
        now.v = s->last;
    struct vt_helper_time row = helper_sums(s, now);
    row.helper = vt_roster_life(r->roster, slot, s, err);
    if (row.helper <= 0)
        return (int)row.helper;
    row.at = cumulated_at(r, slot, s, now);
    r->based[slot] = s->generation;
    return vt_store_put_helper_time(r->store, &row, err);
}

static int put_checkpoint(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s,
                          struct vt_checkpoint *cp, struct vt_err *err)
{
    int e;

    if (rec_is_later(r, s) || (s->sched == VT_SCHED_GONE && s->last <= r->host.begin.v))
        return 0;
    cp->vcpu = vt_roster_life(r->roster, slot, s, err);
    if (cp->vcpu <= 0)
        return (int)cp->vcpu;
    e = s->kind == VT_SLOT_VCPU ? vt_roster_tsc(r->roster, slot, s, cp->at, err) : 0;
    if (!e)
        e = vt_store_put_checkpoint(r->store, cp, err);
    return e ? e : rec_follow(r, slot, s, cp->vcpu, err);
}

/*
 * The kernel's own account of the thread.  Of one who sleeps it is read once: a
 * look into /proc was most of a tick where many vCPUs idle.
 */
static void read_schedstat(struct schedstat_seen *seen, const struct vt_slot *s, uint64_t edge,
                           struct vt_checkpoint *cp)
{
    if (seen->generation != s->generation || seen->last != edge || s->sched != VT_SCHED_OFF) {
        *seen = (struct schedstat_seen){ .generation = s->generation, .last = edge };
        if (vt_schedstat_read(s->tid, s->tid, &seen->run_ns, &seen->run_delay_ns) == 0)
            seen->at = vt_host_now();
    }
    cp->proc_run_ns = seen->run_ns;
    cp->proc_run_delay_ns = seen->run_delay_ns;
    cp->proc_at = seen->at;
}

/* cut: the instant that the checkpoint shall be of, if no edge came since; 0: that of its last edge. */
int rec_checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_slot *s, host_ns cut, struct vt_err *err)
{
    const uint64_t edge = s->last;
    struct vt_checkpoint cp;
    int e = 0;

    if (!s->tid) { /* being taken, or taken and not used after all: then it is free again */
        if (s->sched == VT_SCHED_GONE)
            r->closed[slot] = s->generation;
        return 0;
    }
    if (s->sched == VT_SCHED_GONE)
        r->closed[slot] = s->generation;
    else if (s->moved_at) /* its thread did not act since: what it will do at its next event */
        machine_end_life(s, s->moved_at);
    if (s->kind == VT_SLOT_HELPER) {
        for (struct vt_recorder *to = r; to && !e; to = to->next)
            e = put_helper(to, slot, s, cut, err);
        return e;
    }
    bring_to(s, cut);
    fill_checkpoint(&cp, s);
    clear_unreached(&cp.open, s->sched);
    if (s->sched != VT_SCHED_GONE)
        read_schedstat(&r->schedstat[slot], s, edge, &cp);
    cp.at = cut.v ? cut : vt_host_now();
    if (cp.at.v < cp.last.v) /* an edge on another CPU, a moment ahead of our clock read */
        cp.at = cp.last;
    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = put_checkpoint(to, slot, s, &cp, err);
    return e ? e : put_sums(r, slot, s, cp.at, cut, err);
}

int rec_read_checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_err *err)
{
    struct vt_slot s;

    if (r->closed[slot] == vt_probes_generation(r->probes, slot) || !vt_probes_read(r->probes, slot, &s))
        return 0;
    return rec_checkpoint(r, slot, &s, (host_ns){ 0 }, err);
}

/* Those who are there already: their counters run, and their sums are counted, from the begin on. */
int rec_meet(struct vt_recorder *r, struct vt_err *err)
{
    const uint32_t slots = vt_probes_slots(r->probes);
    struct vt_slot s;
    int e = 0;

    for (uint32_t slot = 0; slot < slots && !e; slot++) {
        if (!vt_probes_read(r->probes, slot, &s) || !s.tid || s.sched == VT_SCHED_GONE)
            continue;
        if (s.kind == VT_SLOT_HELPER) {
            e = put_helper(r, slot, &s, (host_ns){ 0 }, err);
            continue;
        }
        const int64_t vcpu = vt_roster_life(r->roster, slot, &s, err);
        e = vcpu > 0 ? rec_follow(r, slot, &s, vcpu, err) : (int)vcpu;
        if (!e)
            e = put_sums(r, slot, &s, r->host.begin, r->host.begin, err);
    }
    return e ? e : rec_put_addresses(r, r->host.begin, err);
}

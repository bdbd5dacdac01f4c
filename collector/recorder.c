/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "recorder.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/machine.h"
#include "hostinfo.h"

/*
 * The kernel's timing of BPF programs costs two clock reads per run, so it is
 * sampled: on for one tick in COST_EVERY; cost and runs are then scaled.
 */
enum { COST_EVERY = 16 };

struct cost {
    int fd; /* of bpf_enable_stats, -1 when off */
    unsigned ticks;
    host_ns since;
    uint64_t sampled_ns; /* of wall time */
    uint64_t start_ns, start_runs;
};

struct written {
    uint32_t generation;
    uint64_t count;
};

struct vt_recorder {
    struct vt_recorder *next; /* the recording that begins where this one ends, while both are written */
    struct vt_probes *probes;
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_counters *counters; /* NULL: none */
    struct vt_host host;
    struct vt_observer base;
    struct cost cost;
    uint64_t lost[VT_NR_LOST_REASONS];
    uint64_t lost_told[VT_NR_LOST_REASONS]; /* of them, committed */
    uint64_t slices;
    host_ns written_to;    /* everything before is committed */
    uint64_t dropped;      /* slices that came when nothing could be written */
    uint32_t *closed;      /* by slot: generation whose last checkpoint is written: released a tick later */
    uint32_t *freed;       /* by slot: generation that was released */
    struct written *exits; /* by sum: what was last written */
    uint32_t *based;       /* by slot: generation of which sums were written */
    unsigned known_vms;    /* when helpers were looked for */
    struct vt_err *err;
};

struct vt_recorder *vt_recorder_new(struct vt_probes *probes, struct vt_store *store,
                                    struct vt_roster *roster)
{
    struct vt_recorder *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->freed = calloc(VT_MAX_SLOTS, sizeof(*r->freed));
    r->closed = calloc(VT_MAX_SLOTS, sizeof(*r->closed));
    r->exits = calloc(VT_MAX_EXIT_SUMS, sizeof(*r->exits));
    r->based = calloc(VT_MAX_SLOTS, sizeof(*r->based));
    r->cost.fd = -1;
    if (!r->freed || !r->closed || !r->exits || !r->based) {
        vt_recorder_free(r);
        return NULL;
    }
    r->probes = probes;
    r->store = store;
    r->roster = roster;
    return r;
}

void vt_recorder_free(struct vt_recorder *r)
{
    if (!r)
        return;
    if (r->cost.fd >= 0)
        close(r->cost.fd);
    free(r->freed);
    free(r->exits);
    free(r->based);
    free(r->closed);
    free(r);
}

void vt_recorder_count(struct vt_recorder *r, struct vt_counters *counters)
{
    r->counters = counters;
}

static int follow(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
                  struct vt_err *err)
{
    return r->counters ? vt_counters_follow(r->counters, slot, s, vcpu, err) : 0;
}

/* It has ended, and is written on only for what spans its end: what it counts is told. */
static bool has_parted(const struct vt_recorder *r)
{
    return r->next && r->host.end.v;
}

/* A life that began after this recording ended. */
static bool is_later(const struct vt_recorder *r, const struct vt_slot *s)
{
    return r->host.end.v && s->born >= r->host.end.v;
}

static int64_t vcpu_of(struct vt_recorder *r, const struct vt_ring_head *head, struct vt_err *err)
{
    const uint32_t slot = head->slot;
    struct vt_slot s;
    int64_t id = slot < VT_MAX_SLOTS ? vt_roster_known(r->roster, slot, head->generation) : 0;

    if (id || slot >= VT_MAX_SLOTS)
        return id;
    if (!vt_probes_read(r->probes, slot, &s) || s.generation != head->generation || is_later(r, &s))
        return 0;
    id = vt_roster_life(r->roster, slot, &s, err);
    const int e = id > 0 ? follow(r, slot, &s, id, err) : 0; /* not only at the next tick */
    return e ? e : id;
}

static int put_slice(struct vt_recorder *r, const struct vt_ring_slice *rec, struct vt_err *err)
{
    int64_t vcpu;

    if (rec->slice.t_end <= r->host.begin.v)
        return 0;
    vcpu = vcpu_of(r, &rec->head, err);
    if (vcpu <= 0)
        return (int)vcpu;
    r->slices++;
    return vt_store_put_slices(r->store, vcpu, &rec->slice, 1, err);
}

static int on_slice(void *context, const struct vt_ring_slice *rec)
{
    struct vt_recorder *r = context;
    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = put_slice(to, rec, r->err);
    return e;
}

static int on_segment(void *context, const struct vt_ring_segment *rec)
{
    struct vt_recorder *r = context;
    const struct vt_segment *s = &rec->segment;
    struct vt_occupancy row = { { s->from }, { s->to }, s->cpu, s->kind, s->tid, s->tgid, "" };

    int e = 0;

    memcpy(row.comm, s->comm, strnlen(s->comm, sizeof(row.comm) - 1));
    for (struct vt_recorder *to = r; to && !e; to = to->next)
        if (row.to.v > to->host.begin.v)
            e = vt_store_put_occupancy(to->store, &row, r->err);
    return e;
}

static int on_move(void *context, const struct vt_ring_move *rec)
{
    struct vt_recorder *r = context;
    struct vt_vcpu_move row = { 0, { rec->move.at }, rec->move.from_cpu, rec->move.to_cpu };

    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next) {
        row.vcpu = vcpu_of(to, &rec->head, r->err);
        e = row.vcpu <= 0 ? (int)row.vcpu : vt_store_put_move(to->store, &row, r->err);
    }
    return e;
}

int vt_recorder_drain(struct vt_recorder *r, struct vt_err *err)
{
    const struct vt_ring_sinks sinks = { r, on_slice, on_segment, on_move };

    r->err = err;
    return vt_probes_drain(r->probes, &sinks);
}

static void describe(struct vt_recorder *r, const char *only)
{
    vt_host_describe(&r->host);
    r->host.probes_off = vt_probes_off(r->probes);
    r->host.has_entry_exit = vt_probes_split(r->probes);
    r->host.ledger_only = vt_probes_ledger_only(r->probes);
    if (only)
        memcpy(r->host.only, only, strnlen(only, sizeof(r->host.only) - 1));
}

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
    if (has_parted(r))
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
static int put_exits(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, host_ns at, host_ns cut,
                     struct vt_err *err)
{
    struct vt_recorder *const due = sums_are_due(r, slot, s, cut) ? r : r->next;
    struct vt_exit_sum sum;
    int e = 0;

    if (!due || !sums_are_due(due, slot, s, cut))
        return 0;
    for (uint32_t reason = 0; reason < VT_EXIT_REASONS && !e; reason++) {
        uint32_t i = s->exit_sums[reason];
        if (!i || !vt_probes_exits(r->probes, slot, --i, &sum) || sum.generation != s->generation)
            continue;
        struct vt_exit_row row = { 0, at, reason, sum.count, sum.kernel_ns, sum.user_ns, { 0 } };
        memcpy(row.log2, sum.log2, sizeof(row.log2));
        for (struct vt_recorder *to = due; to && !e; to = to->next) {
            row.vcpu = vt_roster_known(to->roster, slot, s->generation);
            row.at = cumulated_at(to, slot, s, at);
            e = put_exit(to, i, &sum, &row, err);
        }
    }
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
    if (is_later(r, s) || (s->sched == VT_SCHED_GONE && s->last <= r->host.begin.v) ||
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

    if (is_later(r, s) || (s->sched == VT_SCHED_GONE && s->last <= r->host.begin.v))
        return 0;
    cp->vcpu = vt_roster_life(r->roster, slot, s, err);
    if (cp->vcpu <= 0)
        return (int)cp->vcpu;
    e = vt_roster_tsc(r->roster, slot, s, cp->at, err);
    if (!e)
        e = vt_store_put_checkpoint(r->store, cp, err);
    return e ? e : follow(r, slot, s, cp->vcpu, err);
}

/* cut: the instant that the checkpoint shall be of, if no edge came since; 0: that of its last edge. */
static int checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_slot *s, host_ns cut,
                      struct vt_err *err)
{
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
    if (s->sched != VT_SCHED_GONE &&
        vt_schedstat_read(s->tgid, s->tid, &cp.proc_run_ns, &cp.proc_run_delay_ns) == 0)
        cp.proc_at = vt_host_now();
    cp.at = cut.v ? cut : vt_host_now();
    if (cp.at.v < cp.last.v) /* an edge on another CPU, a moment ahead of our clock read */
        cp.at = cp.last;
    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = put_checkpoint(to, slot, s, &cp, err);
    return e ? e : put_exits(r, slot, s, cp.at, cut, err);
}

static int read_checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_err *err)
{
    struct vt_slot s;

    if (r->closed[slot] == vt_probes_generation(r->probes, slot) || !vt_probes_read(r->probes, slot, &s))
        return 0;
    return checkpoint(r, slot, &s, (host_ns){ 0 }, err);
}

/* Those who are there already: their counters run, and their sums are counted, from the begin on. */
static int meet(struct vt_recorder *r, struct vt_err *err)
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
        e = vcpu > 0 ? follow(r, slot, &s, vcpu, err) : (int)vcpu;
        if (!e)
            e = put_exits(r, slot, &s, r->host.begin, r->host.begin, err);
    }
    return e;
}

static int put_cpus(struct vt_recorder *r, struct vt_err *err)
{
    const uint32_t limit = vt_cpu_limit(NULL);
    struct vt_cpu row;
    int e = 0;

    for (uint32_t cpu = 0; cpu < limit && !e; cpu++)
        if (vt_cpu_describe(NULL, cpu, &row))
            e = vt_store_put_cpu(r->store, &row, err);
    return e;
}

int vt_recorder_begin(struct vt_recorder *r, const char *only, struct vt_err *err)
{
    struct vt_clock_pair pair = vt_clock_pair_read();
    int e;

    describe(r, only);
    r->host.begin = r->written_to = vt_host_now();
    vt_observer_read(&r->base);
    if ((e = vt_store_put_host(r->store, &r->host, err)) || (e = put_cpus(r, err)) ||
        (e = vt_store_put_clock_pair(r->store, &pair, err)) || (e = meet(r, err)))
        return e;
    return vt_store_commit(r->store, err);
}

/*
 * A life that ended before the last tick: its last slice was drained and its
 * last checkpoint written, so its slot may have another.
 */
static void release_gone(struct vt_recorder *r, uint32_t slot)
{
    uint32_t generation = vt_probes_generation(r->probes, slot);

    if (r->closed[slot] == generation && r->freed[slot] != generation &&
        vt_probes_release(r->probes, slot) == 0)
        r->freed[slot] = generation;
}

static int write_losses(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err)
{
    uint64_t lost[VT_NR_LOST_REASONS];

    vt_probes_lost(r->probes, lost);
    lost[VT_LOST_AGENT] = agents_lost;
    for (unsigned i = 0; i < VT_NR_LOST_REASONS; i++) {
        if (lost[i] == r->lost[i])
            continue;
        struct vt_loss row = { vt_host_now(), (enum vt_lost_reason)i, lost[i] - r->lost[i] };
        int e = vt_store_put_loss(r->store, &row, err);
        if (e)
            return e;
        r->lost[i] = lost[i];
    }
    return 0;
}

static void sample_cost(const struct vt_probes *p, struct cost *c, host_ns now)
{
    if (c->fd >= 0) {
        c->sampled_ns += now.v - c->since.v;
        close(c->fd);
        c->fd = -1;
    } else if (c->ticks % COST_EVERY == 0) {
        c->fd = vt_probes_time(p);
        c->since = now;
    }
    c->ticks++;
}

/* What a counter gained; /proc's may fall back a little (steal, interrupt time), which is no gain. */
static uint64_t gained(uint64_t now, uint64_t base)
{
    return now > base ? now - base : 0;
}

static int write_observer(struct vt_recorder *r, struct vt_err *err)
{
    struct vt_observer row = { 0 };
    uint64_t sampled = r->cost.sampled_ns, ns, runs;

    vt_observer_read(&row);
    if (r->cost.fd >= 0)
        sampled += row.at.v - r->cost.since.v;
    vt_probes_cost(r->probes, &ns, &runs);
    if (sampled) {
        double scale = (double)(row.at.v - r->host.begin.v) / (double)sampled;
        row.bpf_ns = (uint64_t)((double)(ns - r->cost.start_ns) * scale);
        row.bpf_runs = (uint64_t)((double)(runs - r->cost.start_runs) * scale);
    }
    row.cpu_ns = gained(row.cpu_ns, r->base.cpu_ns);
    row.host_steal_ns = gained(row.host_steal_ns, r->base.host_steal_ns);
    row.host_irq_ns = gained(row.host_irq_ns, r->base.host_irq_ns);
    return vt_store_put_observer(r->store, &row, err);
}

static int commit(struct vt_recorder *r, struct vt_err *err)
{
    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next)
        if (!(e = vt_store_commit(to->store, err)))
            memcpy(to->lost_told, to->lost, sizeof(to->lost));
    return e;
}

static int put_clock_pair(struct vt_recorder *r, const struct vt_clock_pair *pair, struct vt_err *err)
{
    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = vt_store_put_clock_pair(to->store, pair, err);
    return e;
}

/* Who tells what was lost and what it cost. */
static struct vt_recorder *billed(struct vt_recorder *r)
{
    return has_parted(r) ? r->next : r;
}

enum { HELPERS_EVERY = 10 }; /* ticks: a vhost worker may come late */

static int find_helpers(struct vt_recorder *r, struct vt_err *err)
{
    const unsigned vms = vt_roster_vms(r->roster);

    if (vms == r->known_vms && (vms == 0 || r->cost.ticks % HELPERS_EVERY))
        return 0;
    r->known_vms = vms;
    return vt_probes_find_helpers(r->probes, err);
}

int vt_recorder_tick(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err)
{
    struct vt_clock_pair pair = vt_clock_pair_read();
    uint32_t slots = vt_probes_slots(r->probes);
    host_ns now;
    int e;

    if ((e = vt_recorder_drain(r, err)))
        return e;
    if ((e = find_helpers(r, err)))
        return e;
    now = vt_host_now();
    for (uint32_t slot = 0; slot < slots; slot++) {
        release_gone(r, slot);
        if ((e = read_checkpoint(r, slot, err)))
            return e;
    }
    vt_probes_tell_occupants(r->probes); /* up to the checkpoints, and beyond */
    if ((e = vt_recorder_drain(r, err)) || (e = put_clock_pair(r, &pair, err)) ||
        (e = write_losses(billed(r), agents_lost, err)) || (e = write_observer(billed(r), err)))
        return e;
    sample_cost(r->probes, &billed(r)->cost, vt_host_now());
    if ((e = commit(r, err)))
        return e;
    r->written_to = now;
    return 0;
}

int vt_recorder_end(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err)
{
    int e;

    r->host.end = vt_host_now();
    if ((e = vt_recorder_tick(r, agents_lost, err)) || (e = vt_recorder_drain(r, err)) ||
        (e = vt_store_put_host(r->store, &r->host, err)))
        return e;
    return vt_store_commit(r->store, err);
}

uint64_t vt_recorder_slices(const struct vt_recorder *r)
{
    return r->slices;
}

/* ---- one recording after the other ---- */

/* All slots as they were at one instant: true if no edge came between it and our look. */
static bool look_at_all(struct vt_recorder *r, struct vt_slot *copies, uint32_t slots, host_ns *ret_at)
{
    bool still = true;

    *ret_at = vt_host_now();
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (!vt_probes_read(r->probes, slot, &copies[slot]))
            copies[slot] = (struct vt_slot){ 0 };
        still = still && copies[slot].last <= ret_at->v;
    }
    return still;
}

/*
 * A checkpoint of every vCPU at one instant, which is where the one recording
 * ends and the other begins.  An edge may come in between it and our look: then
 * another instant is tried, and after some, for vCPUs too busy for that, the
 * split of the stretch on CPU around it is known only as a whole: bounded.
 */
static int cut(struct vt_recorder *r, struct vt_slot *copies, uint32_t slots, host_ns *ret_at,
               struct vt_err *err)
{
    enum { TRIES = 50 };
    int e = 0;

    for (int i = 0; i < TRIES && !look_at_all(r, copies, slots, ret_at); i++)
        ;
    for (uint32_t slot = 0; slot < slots && !e; slot++)
        if (r->closed[slot] != copies[slot].generation)
            e = checkpoint(r, slot, &copies[slot], *ret_at, err);
    vt_probes_tell_occupants(r->probes);
    return e ? e : vt_recorder_drain(r, err);
}

static int hand_counters(struct vt_recorder *from, struct vt_recorder *to, struct vt_err *err)
{
    to->counters = from->counters;
    from->counters = NULL;
    return to->counters ? vt_counters_move(to->counters, to->store, err) : 0;
}

/* What the next one counts from. */
static void hand_over(struct vt_recorder *r, struct vt_recorder *next, host_ns at)
{
    r->host.end = next->host.begin = next->written_to = at;
    memcpy(next->lost, r->lost, sizeof(next->lost));
    vt_observer_read(&next->base);
    next->cost.fd = r->cost.fd;
    next->cost.since = at;
    r->cost.fd = -1;
    vt_probes_cost(r->probes, &next->cost.start_ns, &next->cost.start_runs);
}

static int cut_and_hand_over(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err)
{
    const uint32_t slots = vt_probes_slots(r->probes);
    struct vt_slot *copies = calloc(slots + 1, sizeof(*copies));
    host_ns at;
    int e;

    if (!copies)
        return vt_fail(err, ENOMEM, "out of memory");
    e = cut(r, copies, slots, &at, err);
    free(copies);
    if (e || (e = write_losses(r, agents_lost, err)) || (e = write_observer(r, err)))
        return e;
    hand_over(r, r->next, at);
    if ((e = vt_store_put_host(r->store, &r->host, err)) ||
        (e = vt_store_put_host(r->next->store, &r->next->host, err)) ||
        (e = hand_counters(r, r->next, err)) || (e = commit(r, err)))
        return e;
    r->written_to = at;
    return 0;
}

int vt_recorder_turn(struct vt_recorder *r, struct vt_recorder *next, const char *only, uint64_t agents_lost,
                     struct vt_err *err)
{
    enum { LONGER_THAN_A_POLL_MS = 2 }; /* KVM polls for at most 200 us unless told otherwise */
    int e;

    describe(next, only);
    next->host.begin = vt_host_now(); /* for now: what ended before is none of its business */
    r->next = next;
    /* both have this checkpoint: where a poll spans the cut, both know the same of what was before it */
    e = put_cpus(next, err);
    if (!e)
        e = vt_recorder_tick(r, agents_lost, err);
    if (!e) {
        poll(NULL, 0, LONGER_THAN_A_POLL_MS);
        e = cut_and_hand_over(r, agents_lost, err);
    }
    if (!e)
        return 0;
    r->next = NULL;
    r->host.end.v = 0;
    if (next->counters)
        hand_counters(next, r, NULL);
    vt_store_put_host(r->store, &r->host, NULL); /* if even that fails, the next commit tells */
    return e;
}

host_ns vt_recorder_written_to(const struct vt_recorder *r)
{
    return r->written_to;
}

static int drop_slice(void *context, const struct vt_ring_slice *rec)
{
    struct vt_recorder *r = context;

    (void)rec;
    r->dropped++;
    return 0;
}

void vt_recorder_skip(struct vt_recorder *r)
{
    const struct vt_ring_sinks sinks = { .context = r, .slice = drop_slice };
    const uint32_t slots = vt_probes_slots(r->probes);
    struct vt_slot s;

    vt_probes_drain(r->probes, &sinks);
    for (uint32_t slot = 0; slot < slots; slot++) {
        release_gone(r, slot);
        if (r->closed[slot] != vt_probes_generation(r->probes, slot) && vt_probes_read(r->probes, slot, &s) &&
            s.sched == VT_SCHED_GONE)
            r->closed[slot] = s.generation;
    }
}

int vt_recorder_close(struct vt_recorder *r, struct vt_err *err)
{
    int e;

    vt_store_commit(r->store, NULL); /* says once more what failed, and then it is ready again */
    r->host.end = r->written_to;
    e = vt_store_put_host(r->store, &r->host, err);
    return e ? e : vt_store_commit(r->store, err);
}

static void swap_slots(struct vt_recorder *r, struct vt_recorder *next)
{
    uint32_t *closed = next->closed, *freed = next->freed;

    next->closed = r->closed;
    next->freed = r->freed;
    r->closed = closed;
    r->freed = freed;
}

int vt_recorder_resume(struct vt_recorder *r, struct vt_recorder *next, const char *only,
                       uint64_t agents_lost, struct vt_err *err)
{
    const struct vt_loss dropped = { vt_host_now(), VT_LOST_STORE, r->dropped };
    int e;

    describe(next, only);
    hand_over(r, next, r->written_to);
    memcpy(next->lost, r->lost_told, sizeof(next->lost));
    swap_slots(r, next);
    if ((e = vt_store_put_host(next->store, &next->host, err)) || (e = put_cpus(next, err)) ||
        (e = vt_store_put_loss(next->store, &dropped, err)) || (e = hand_counters(r, next, err)) ||
        (e = vt_recorder_tick(next, agents_lost, err))) {
        swap_slots(r, next);
        r->counters = next->counters ? next->counters : r->counters;
    }
    return e;
}

void vt_recorder_part(struct vt_recorder *r)
{
    struct vt_recorder *next = r->next;

    swap_slots(r, next);
    next->written_to = r->written_to;
    r->next = NULL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "recorder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostinfo.h"
#include "recorder_internal.h"

/*
 * The kernel's timing of BPF programs costs two clock reads per run, so it is
 * sampled: on for one tick in COST_EVERY; cost and runs are then scaled.
 */
enum { COST_EVERY = 16 };

struct vt_recorder *vt_recorder_new(struct vt_probes *probes, struct vt_store *store,
                                    struct vt_roster *roster)
{
    struct vt_recorder *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->freed = calloc(VT_MAX_SLOTS, sizeof(*r->freed));
    r->closed = calloc(VT_MAX_SLOTS, sizeof(*r->closed));
    r->exits = calloc(VT_MAX_EXIT_SUMS + VT_MAX_SLOTS, sizeof(*r->exits));
    r->based = calloc(VT_MAX_SLOTS, sizeof(*r->based));
    r->kvm_written = calloc((size_t)VT_MAX_SLOTS * VT_KVM_STATS_MAX, sizeof(*r->kvm_written));
    r->schedstat = calloc(VT_MAX_SLOTS, sizeof(*r->schedstat));
    r->cost.fd = -1;
    if (!r->freed || !r->closed || !r->exits || !r->based || !r->kvm_written || !r->schedstat) {
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
    free(r->addresses);
    free(r->based);
    free(r->kvm_written);
    free(r->schedstat);
    free(r->closed);
    free(r);
}

void vt_recorder_count(struct vt_recorder *r, struct vt_counters *counters)
{
    r->counters = counters;
}

/* It has ended, and is written on only for what spans its end: what it counts is told. */
bool rec_has_parted(const struct vt_recorder *r)
{
    return r->next && r->host.end.v;
}

/* A life that began after this recording ended. */
bool rec_is_later(const struct vt_recorder *r, const struct vt_slot *s)
{
    return r->host.end.v && s->born >= r->host.end.v;
}

int rec_follow(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
               struct vt_err *err)
{
    /* of processes that come and go by the thousands, opening events would cost more than it tells */
    if (s->vm_kind == VT_VM_UML || s->vm_kind == VT_VM_CGROUP)
        return 0;
    return r->counters ? vt_counters_follow(r->counters, slot, s, vcpu, err) : 0;
}

/* The id of that life, a vCPU's or a helper's; 0: it is not of this recording. */
static int64_t life_of(struct vt_recorder *r, uint32_t slot, uint32_t generation, struct vt_err *err)
{
    struct vt_slot s;
    int64_t id = slot < VT_MAX_SLOTS ? vt_roster_known(r->roster, slot, generation) : 0;

    if (id || slot >= VT_MAX_SLOTS)
        return id;
    if (!vt_probes_read(r->probes, slot, &s) || s.generation != generation || rec_is_later(r, &s))
        return 0;
    id = vt_roster_life(r->roster, slot, &s, err);
    if (id <= 0 || s.kind == VT_SLOT_HELPER)
        return id;
    const int e = rec_follow(r, slot, &s, id, err); /* not only at the next tick */
    return e ? e : id;
}

static int put_slice(struct vt_recorder *r, uint32_t slot, uint32_t generation, const struct vt_slice *slice,
                     struct vt_err *err)
{
    int64_t vcpu;

    if (slice->t_end <= r->host.begin.v)
        return 0;
    vcpu = life_of(r, slot, generation, err);
    if (vcpu <= 0)
        return (int)vcpu;
    r->slices++;
    return vt_store_put_slices(r->store, vcpu, slice, 1, err);
}

static int on_slice(void *context, uint32_t slot, uint32_t generation, const struct vt_slice *slice)
{
    struct vt_recorder *r = context;
    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = put_slice(to, slot, generation, slice, r->err);
    return e;
}

static int on_segment(void *context, const struct vt_segment *s)
{
    struct vt_recorder *r = context;
    struct vt_occupancy row = { { s->from }, { s->to }, s->cpu, s->kind, s->tid, s->tgid, "" };

    int e = 0;

    memcpy(row.comm, s->comm, strnlen(s->comm, sizeof(row.comm) - 1));
    for (struct vt_recorder *to = r; to && !e; to = to->next)
        if (row.to.v > to->host.begin.v)
            e = vt_store_put_occupancy(to->store, &row, r->err);
    return e;
}

static int on_move(void *context, uint32_t slot, uint32_t generation, const struct vt_move *move)
{
    struct vt_recorder *r = context;
    struct vt_vcpu_move row = { 0, { move->at }, move->from_cpu, move->to_cpu };

    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next) {
        row.vcpu = life_of(to, slot, generation, r->err);
        e = row.vcpu <= 0 ? (int)row.vcpu : vt_store_put_move(to->store, &row, r->err);
    }
    return e;
}

static int on_wait(void *context, uint32_t slot, uint32_t generation, const struct vt_wait *wait)
{
    struct vt_recorder *r = context;
    struct vt_helper_wait row = { 0, { wait->from }, { wait->to } };

    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next) {
        if (row.to.v <= to->host.begin.v)
            continue;
        row.helper = life_of(to, slot, generation, r->err);
        e = row.helper <= 0 ? (int)row.helper : vt_store_put_helper_wait(to->store, &row, r->err);
    }
    return e;
}

static int on_outer(void *context, uint32_t slot, uint32_t generation, const struct vt_outer *outer)
{
    struct vt_recorder *r = context;
    struct vt_outer_steal row = { 0, { outer->from }, { outer->to }, outer->ns };

    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next) {
        if (row.to.v <= to->host.begin.v)
            continue;
        row.vcpu = life_of(to, slot, generation, r->err);
        e = row.vcpu <= 0 ? (int)row.vcpu : vt_store_put_outer_steal(to->store, &row, r->err);
    }
    return e;
}

int vt_recorder_drain(struct vt_recorder *r, struct vt_err *err)
{
    const struct vt_cell_sinks sinks = { r, on_slice, on_segment, on_move, on_wait, on_outer };

    r->err = err;
    return vt_probes_drain(r->probes, &sinks);
}

void rec_describe(struct vt_recorder *r, const char *only)
{
    vt_host_describe(&r->host);
    r->host.probes_off = vt_probes_off(r->probes);
    r->host.has_entry_exit = vt_probes_split(r->probes);
    r->host.ledger_only = vt_probes_ledger_only(r->probes);
    r->host.helper_wait_ns = r->host.ledger_only ? 0 : VT_HELPER_WAIT_NS;
    r->host.exit_addresses = vt_probes_addresses_on(r->probes);
    r->host.elsewhere_cpus = vt_probes_elsewhere_cpus(r->probes);
    r->host.tells_outer_steal = vt_probes_tell_outer_steal(r->probes);
    r->host.stays_awake = vt_host_stays_awake(NULL, NULL);
    if (only)
        memcpy(r->host.only, only, strnlen(only, sizeof(r->host.only) - 1));
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

int rec_put_facts(struct vt_recorder *r, struct vt_err *err)
{
    const struct vt_kvm_stat_list *list = vt_probes_kvm_stats(r->probes);
    int e = put_cpus(r, err);

    for (size_t i = 0; i < list->nr && !e; i++)
        e = vt_store_put_kvm_stat(r->store, &list->of[i], err);
    return e;
}

int vt_recorder_begin(struct vt_recorder *r, const char *only, struct vt_err *err)
{
    struct vt_clock_pair pair = vt_clock_pair_read();
    int e;

    rec_describe(r, only);
    r->host.begin = r->written_to = vt_host_now();
    vt_observer_read(&r->base);
    if ((e = vt_store_put_host(r->store, &r->host, err)) || (e = rec_put_facts(r, err)) ||
        (e = vt_store_put_clock_pair(r->store, &pair, err)) || (e = rec_meet(r, err)))
        return e;
    return vt_store_commit(r->store, err);
}

/*
 * A life that ended before the last tick: its last slice was drained and its
 * last checkpoint written, so its slot may have another.
 */
void rec_release_gone(struct vt_recorder *r, uint32_t slot)
{
    uint32_t generation = vt_probes_generation(r->probes, slot);

    if (r->closed[slot] == generation && r->freed[slot] != generation &&
        vt_probes_release(r->probes, slot) == 0)
        r->freed[slot] = generation;
}

int rec_write_losses(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err)
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

int rec_write_observer(struct vt_recorder *r, struct vt_err *err)
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

int rec_commit(struct vt_recorder *r, struct vt_err *err)
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
    return rec_has_parted(r) ? r->next : r;
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

/* From now on an idle CPU may sleep: so it may have at any time since it was last looked at. */
static int watch_sleep(struct vt_recorder *r, struct vt_err *err)
{
    int e = 0;

    for (struct vt_recorder *to = r; to && !e; to = to->next)
        if (to->host.stays_awake && !vt_host_bars_sleep(NULL)) {
            to->host.stays_awake = false;
            e = vt_store_put_host(to->store, &to->host, err);
        }
    return e;
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
        rec_release_gone(r, slot);
        if ((e = rec_read_checkpoint(r, slot, err)))
            return e;
    }
    if ((e = rec_put_addresses(r, (host_ns){ 0 }, err)))
        return e;
    vt_probes_tell_occupants(r->probes); /* up to the checkpoints, and beyond */
    if ((e = vt_recorder_drain(r, err)) || (e = put_clock_pair(r, &pair, err)) || (e = watch_sleep(r, err)) ||
        (e = rec_write_losses(billed(r), agents_lost, err)) || (e = rec_write_observer(billed(r), err)))
        return e;
    sample_cost(r->probes, &billed(r)->cost, vt_host_now());
    if ((e = rec_commit(r, err)))
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One recording after the other: at one instant, or after a disk that was full. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hostinfo.h"
#include "recorder_internal.h"

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
            e = rec_checkpoint(r, slot, &copies[slot], *ret_at, err);
    if (!e)
        e = rec_put_addresses(r, *ret_at, err);
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
    if (e || (e = rec_write_losses(r, agents_lost, err)) || (e = rec_write_observer(r, err)))
        return e;
    hand_over(r, r->next, at);
    if ((e = vt_store_put_host(r->store, &r->host, err)) ||
        (e = vt_store_put_host(r->next->store, &r->next->host, err)) ||
        (e = hand_counters(r, r->next, err)) || (e = rec_commit(r, err)))
        return e;
    r->written_to = at;
    return 0;
}

int vt_recorder_turn(struct vt_recorder *r, struct vt_recorder *next, const char *only, uint64_t agents_lost,
                     struct vt_err *err)
{
    enum { LONGER_THAN_A_POLL_MS = 2 }; /* KVM polls for at most 200 us unless told otherwise */
    int e;

    rec_describe(next, only);
    next->host.begin = vt_host_now(); /* for now: what ended before is none of its business */
    r->next = next;
    /* both have this checkpoint: where a poll spans the cut, both know the same of what was before it */
    e = rec_put_facts(next, err);
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

static int drop_slice(void *context, uint32_t slot, uint32_t generation, const struct vt_slice *slice)
{
    struct vt_recorder *r = context;

    (void)slot;
    (void)generation;
    (void)slice;
    r->dropped++;
    return 0;
}

void vt_recorder_skip(struct vt_recorder *r)
{
    const struct vt_cell_sinks sinks = { .context = r, .slice = drop_slice };
    const uint32_t slots = vt_probes_slots(r->probes);
    struct vt_slot s;

    vt_probes_drain(r->probes, &sinks);
    for (uint32_t slot = 0; slot < slots; slot++) {
        rec_release_gone(r, slot);
        if (r->closed[slot] != vt_probes_generation(r->probes, slot) && vt_probes_read(r->probes, slot, &s) &&
            s.sched == VT_SCHED_GONE)
            r->closed[slot] = s.generation;
    }
    rec_drop_addresses(r);
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

    rec_describe(next, only);
    hand_over(r, next, r->written_to);
    memcpy(next->lost, r->lost_told, sizeof(next->lost));
    swap_slots(r, next);
    if ((e = vt_store_put_host(next->store, &next->host, err)) || (e = rec_put_facts(next, err)) ||
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

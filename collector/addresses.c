/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vCPUs accessed: from the ledger's counts into every recording that is being written. */
#include <errno.h>
#include <stdlib.h>

#include "hostinfo.h"
#include "recorder_internal.h"

enum { ADDRESSES_EVERY = 4 }; /* ticks, as for exits by reason (checkpoint.c) */

/* As for exits: seldomer than checkpoints, but at every end and beginning, and not after the end. */
static bool is_due(const struct vt_recorder *to, const struct vt_slot *s, host_ns cut)
{
    if (rec_has_parted(to))
        return false;
    return cut.v || to->host.end.v || s->sched == VT_SCHED_GONE || to->cost.ticks % ADDRESSES_EVERY == 0;
}

/* The first look at a life that is older than the recording is as of its begin: growth is counted from there.
 */
static host_ns counted_at(const struct vt_recorder *to, const struct vt_slot *s, host_ns at)
{
    if (!to->met_addresses && s->born < to->host.begin.v)
        return to->host.begin;
    return to->host.end.v && at.v > to->host.end.v ? to->host.end : at; /* read right after */
}

/* What was written of it; *at goes on through to->addresses, for all is asked in order of the keys. */
static uint64_t written_of(const struct vt_recorder *to, const struct vt_address *a, size_t *at)
{
    while (*at < to->nr_addresses && vt_address_order(&to->addresses[*at], a) < 0)
        ++*at;
    return *at < to->nr_addresses && vt_address_order(&to->addresses[*at], a) == 0 ? to->addresses[*at].count
                                                                                   : 0;
}

/* One count, if it has grown; what is then written of it: -errno in *ret_e. */
static uint64_t put_one(struct vt_recorder *to, const struct vt_address *a, uint64_t written,
                        const struct vt_slot *s, host_ns at, int *ret_e, struct vt_err *err)
{
    const struct vt_exit_address row = {
        .vcpu = vt_roster_known(to->roster, a->key.slot, a->key.generation),
        .at = counted_at(to, s, at),
        .kind = a->key.kind,
        .is_write = a->key.is_write,
        .address = a->key.address,
        .count = a->count,
    };

    if (a->count == written || row.vcpu <= 0)
        return written;
    *ret_e = vt_store_put_exit_address(to->store, &row, err);
    return *ret_e ? written : a->count;
}

static int put_all(struct vt_recorder *to, const struct vt_address *all, size_t n, host_ns at, host_ns cut,
                   struct vt_err *err)
{
    struct vt_address *written = calloc(n + 1, sizeof(*written));
    struct vt_slot s = { 0 };
    uint32_t slot = UINT32_MAX;
    size_t known = 0;
    int e = 0;

    if (!written)
        return vt_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < n && !e; i++) {
        if (all[i].key.slot != slot && !vt_probes_read(to->probes, all[i].key.slot, &s))
            s.generation = 0;
        slot = all[i].key.slot;
        written[i] = (struct vt_address){ all[i].key, written_of(to, &all[i], &known) };
        if (all[i].key.generation == s.generation && is_due(to, &s, cut))
            written[i].count = put_one(to, &all[i], written[i].count, &s, at, &e, err);
    }
    free(to->addresses);
    to->addresses = written;
    to->nr_addresses = n;
    to->met_addresses = true;
    return e;
}

/* The last checkpoint of those lives is written, or nothing will be: no event counts there any more. */
static void forget_closed(struct vt_recorder *r, const struct vt_address *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct vt_address_key *k = &all[i].key;
        if (r->closed[k->slot] == k->generation || vt_probes_generation(r->probes, k->slot) != k->generation)
            vt_probes_forget_address(r->probes, k);
    }
}

int rec_put_addresses(struct vt_recorder *r, host_ns cut, struct vt_err *err)
{
    const struct vt_address *all = NULL;
    int n, e = 0;

    if (!vt_probes_addresses_on(r->probes))
        return 0;
    n = vt_probes_addresses(r->probes, &all, err);
    if (n < 0)
        return n;
    const host_ns at = cut.v ? cut : vt_host_now();
    for (struct vt_recorder *to = r; to && !e; to = to->next)
        e = put_all(to, all, (size_t)n, at, cut, err);
    if (!e)
        forget_closed(r, all, (size_t)n);
    return e;
}

void rec_drop_addresses(struct vt_recorder *r)
{
    const struct vt_address *all = NULL;
    int n = vt_probes_addresses_on(r->probes) ? vt_probes_addresses(r->probes, &all, NULL) : 0;

    if (n > 0)
        forget_closed(r, all, (size_t)n);
}

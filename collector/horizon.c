/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "horizon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more. */
static int grow(void **array, size_t *room, size_t n, size_t size)
{
    if (n < *room)
        return 0;
    const size_t more = *room ? 2 * *room : 64;
    void *p = reallocarray(*array, more, size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *room = more;
    return 0;
}

static int see_pair(void *context, const struct vt_clock_pair *row)
{
    struct vt_horizon *h = context;
    const struct vt_clock_pair *last = h->nr_pairs ? &h->pairs[h->nr_pairs - 1] : NULL;

    if (last && (row->ns.v <= last->ns.v || row->tsc.v <= last->tsc.v)) /* the map must ascend */
        return 0;
    const int e = grow((void **)&h->pairs, &h->room_pairs, h->nr_pairs, sizeof(*h->pairs));
    if (!e)
        h->pairs[h->nr_pairs++] = *row;
    return e;
}

static int see_vcpu(void *context, const struct vt_vcpu *row)
{
    struct vt_horizon *h = context;

    if (row->vm != h->vm)
        return 0;
    const int e = grow((void **)&h->vcpus, &h->room_vcpus, h->nr_vcpus, sizeof(*h->vcpus));
    if (!e)
        h->vcpus[h->nr_vcpus++] = row->id;
    return e;
}

static int see_epoch(void *context, const struct vt_tsc_epoch *row)
{
    struct vt_horizon *h = context;
    const int e = grow((void **)&h->epochs, &h->room_epochs, h->nr_epochs, sizeof(*h->epochs));

    if (!e)
        h->epochs[h->nr_epochs++] = *row;
    return e;
}

static bool is_of_vm(const struct vt_horizon *h, int64_t vcpu)
{
    for (size_t i = 0; i < h->nr_vcpus; i++)
        if (h->vcpus[i] == vcpu)
            return true;
    return false;
}

static int by_vcpu(const void *a, const void *b)
{
    const struct vt_tsc_epoch *x = a, *y = b;

    if (x->vcpu != y->vcpu)
        return x->vcpu < y->vcpu ? -1 : 1;
    return (x->at.v > y->at.v) - (x->at.v < y->at.v);
}

static void keep_own_epochs(struct vt_horizon *h)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->nr_epochs; i++)
        if (is_of_vm(h, h->epochs[i].vcpu))
            h->epochs[kept++] = h->epochs[i];
    h->nr_epochs = kept;
    if (kept)
        qsort(h->epochs, kept, sizeof(*h->epochs), by_vcpu);
}

int vt_horizon_init(struct vt_horizon *h, struct vt_store *store, int64_t vm, host_ns end, struct vt_err *err)
{
    const struct vt_store_reader reader = {
        .context = h, .clock_pair = see_pair, .vcpu = see_vcpu, .tsc_epoch = see_epoch
    };
    struct vt_store_cursor cursor = { 0 };

    *h = (struct vt_horizon){ .vm = vm, .end = end };
    int e = vt_store_get_host(store, &h->host, err);
    if (!e)
        e = vt_store_read(store, &cursor, &reader, err);
    if (e)
        return e;
    keep_own_epochs(h);
    vt_clockmap_init(&h->map, &h->host, h->pairs, h->nr_pairs);
    return 0;
}

void vt_horizon_release(struct vt_horizon *h)
{
    free(h->pairs);
    free(h->vcpus);
    free(h->epochs);
    *h = (struct vt_horizon){ 0 };
}

/* Under the newest epoch of one vCPU, whose epochs these are: beyond what the host's TSC was then. */
static bool is_beyond(const struct vt_horizon *h, const struct vt_tsc_epoch *newest, uint64_t tsc)
{
    host_tsc end, at;
    uint64_t bound, span;

    if (vt_clockmap_to_tsc(&h->map, h->end, &end, &bound) ||
        !vt_tsc_methods[0].invert(newest, (guest_tsc){ tsc }, &at, &span))
        return false;
    const uint64_t ahead = at.v - end.v; /* modulo 2^64: a reading from before is far ahead */
    return ahead > bound && ahead < UINT64_MAX / 2;
}

bool vt_horizon_is_behind(const struct vt_horizon *h, uint64_t tsc)
{
    bool behind = false;

    for (size_t first = 0, next; first < h->nr_epochs; first = next) {
        for (next = first + 1; next < h->nr_epochs && h->epochs[next].vcpu == h->epochs[first].vcpu; next++)
            ;
        const struct vt_guest_clock clock = { &h->map, &vt_tsc_methods[0], &h->epochs[first], next - first };
        host_ns at;
        uint64_t bound;
        if (vt_guest_clock_to_ns(&clock, (guest_tsc){ tsc }, h->end, &at, &bound) == 0 ||
            !is_beyond(h, &h->epochs[next - 1], tsc))
            return false;
        behind = true;
    }
    return behind;
}

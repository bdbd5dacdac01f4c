/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's TCG runs all CPUs of a guest on one thread where it is told to (thread=single), or has
 * to (icount): then several tasks had "their" CPU at the same time by the guest's clock, and
 * which of them the thread was at is not known.
 */
#include <errno.h>
#include <stdlib.h>

#include "correlator/internal.h"

/* Only of TCG: of KVM's vCPUs, each a thread, one that never ran may not have been found. */
bool vt_takes_turns(const struct vt_machine *m, const struct vt_life *const *vcpu, size_t n)
{
    if (n == 0 || m->row.kind != VT_VM_TCG || !m->has_hello || m->hello.nr_vcpus < 2)
        return false;
    for (size_t i = 1; i < n; i++)
        if (vcpu[i]->row.index != vcpu[0]->row.index)
            return false;
    return true;
}

int vt_turns_add(struct vt_turns *t, struct vt_window stretch)
{
    int r = vt_grow((void **)&t->shared, &t->room, t->nr, sizeof(*t->shared));
    if (!r)
        t->shared[t->nr++] = stretch;
    return r;
}

static int by_begin(const void *a, const void *b)
{
    const struct vt_window *x = a, *y = b;
    return (x->from.v > y->from.v) - (x->from.v < y->from.v);
}

/* By begin, what of each the ones before it reach into; neighbours of these are put together. */
void vt_turns_settle(struct vt_turns *t)
{
    uint64_t reach = 0;
    size_t n = 0;
    if (t->nr)
        qsort(t->shared, t->nr, sizeof(*t->shared), by_begin);
    for (size_t i = 0; i < t->nr; i++) {
        const struct vt_window w = t->shared[i];
        const uint64_t to = vt_min(w.to.v, reach);
        reach = vt_max(reach, w.to.v);
        if (to <= w.from.v)
            continue;
        if (n && t->shared[n - 1].to.v >= w.from.v)
            t->shared[n - 1].to.v = vt_max(t->shared[n - 1].to.v, to);
        else
            t->shared[n++] = (struct vt_window){ w.from, { to } };
    }
    t->nr = n;
}

size_t vt_turns_after(const struct vt_turns *t, host_ns at)
{
    size_t low = 0, high = t->nr;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (t->shared[middle].to.v <= at.v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void vt_turns_release(struct vt_turns *t)
{
    free(t->shared);
    *t = (struct vt_turns){ 0 };
}

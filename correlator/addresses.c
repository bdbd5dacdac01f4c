/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What exits accessed: growth of the kernel's counts between the edges of a window. */
#include <errno.h>
#include <stdlib.h>

#include "correlator/internal.h"

int vt_correlator_exit_address(void *context, const struct vt_exit_address *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || row->kind > VT_ACCESS_UNSUMMED)
        return -EUCLEAN;
    int r = vt_grow((void **)&life->addresses, &life->room_addresses, life->nr_addresses,
                    sizeof(*life->addresses));
    if (!r)
        life->addresses[life->nr_addresses++] = *row;
    return r;
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_address(const struct vt_exit_address *x, const struct vt_exit_address *y)
{
    int order = compare(x->kind, y->kind);
    order = order ? order : compare(x->address, y->address);
    return order ? order : compare(x->is_write, y->is_write);
}

/* Rows of one address beside each other, in order of arrival: x and y point into the array of rows. */
static int by_address(const void *a, const void *b)
{
    const struct vt_exit_address *x = *(const struct vt_exit_address *const *)a;
    const struct vt_exit_address *y = *(const struct vt_exit_address *const *)b;
    int order = compare_address(x, y);
    return order ? order : (x > y) - (x < y);
}

/* NULL: out of memory. The caller's to free. */
static const struct vt_exit_address **sort_rows(const struct vt_life *life)
{
    const struct vt_exit_address **sorted = calloc(life->nr_addresses + 1, sizeof(*sorted));
    for (size_t i = 0; sorted && i < life->nr_addresses; i++)
        sorted[i] = &life->addresses[i];
    if (sorted)
        qsort(sorted, life->nr_addresses, sizeof(*sorted), by_address);
    return sorted;
}

/* Of each address the newest before the limit is what growth is counted from. */
void vt_addresses_forget(struct vt_life *life, uint64_t before)
{
    const size_t n = life->nr_addresses;
    const struct vt_exit_address **sorted = n && life->addresses[0].at.v <= before ? sort_rows(life) : NULL;
    bool *old = sorted ? calloc(n, sizeof(*old)) : NULL;
    if (old) { /* else the next time will do */
        for (size_t i = 0; i + 1 < n; i++)
            old[sorted[i] - life->addresses] =
                sorted[i + 1]->at.v <= before && !compare_address(sorted[i], sorted[i + 1]);
        life->nr_addresses = 0;
        for (size_t i = 0; i < n; i++)
            if (!old[i])
                life->addresses[life->nr_addresses++] = life->addresses[i];
    }
    free(old);
    free(sorted);
}

/* A damaged recording may have counts that fall: those are not had. */
static uint64_t growth(const struct vt_exit_address *from, const struct vt_exit_address *to)
{
    const uint64_t base = from ? from->count : 0;
    return to && to->count > base ? to->count - base : 0;
}

static int by_count(const void *a, const void *b)
{
    const struct vt_address_figure *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    int order = compare(x->kind, y->kind);
    order = order ? order : compare(x->address, y->address);
    return order ? order : compare(x->is_write, y->is_write);
}

/* Growth of the address whose rows are sorted[i] and on; returns where the next one's begin. */
static size_t fill_one(const struct vt_exit_address **sorted, size_t n, size_t i, struct vt_window window,
                       struct vt_vcpu_figures *f)
{
    const struct vt_exit_address *const first = sorted[i], *from = NULL, *to = NULL;
    for (; i < n && compare_address(sorted[i], first) == 0; i++) {
        if (sorted[i]->at.v <= window.from.v)
            from = sorted[i];
        else if (sorted[i]->at.v <= window.to.v)
            to = sorted[i];
    }
    const uint64_t count = growth(from, to);
    if (first->kind == VT_ACCESS_UNSUMMED)
        f->addresses_unsummed = count;
    else if (count)
        f->addresses[f->nr_addresses++] = (struct vt_address_figure){
            .kind = first->kind, .is_write = first->is_write, .address = first->address, .count = count
        };
    return i;
}

int vt_addresses_fill(const struct vt_life *life, struct vt_window window, struct vt_vcpu_figures *f)
{
    const size_t n = life->nr_addresses;
    const struct vt_exit_address **sorted = sort_rows(life);
    f->addresses = calloc(n + 1, sizeof(*f->addresses));
    for (size_t i = 0; sorted && f->addresses && i < n;)
        i = fill_one(sorted, n, i, window, f);
    free(sorted);
    if (!f->addresses || !sorted)
        return -ENOMEM;
    qsort(f->addresses, f->nr_addresses, sizeof(*f->addresses), by_count);
    return 0;
}

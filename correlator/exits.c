/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exits by reason: growth of the kernel's sums between the edges of a window. */
#include "base/exits.h"

#include <errno.h>
#include <stdlib.h>

#include "correlator/internal.h"

int vt_correlator_exits(void *context, const struct vt_exit_row *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || row->reason > VT_EXIT_UNSUMMED)
        return -EUCLEAN;
    int r = vt_grow((void **)&life->exits, &life->room_exits, life->nr_exits, sizeof(*life->exits));
    if (!r)
        life->exits[life->nr_exits++] = *row;
    return r;
}

/* Of each reason the newest before the limit is what growth is counted from. */
void vt_exits_forget(struct vt_life *life, uint64_t before)
{
    size_t newest[VT_EXIT_UNSUMMED + 1] = { 0 }, kept = 0;
    for (size_t i = 0; i < life->nr_exits; i++)
        if (life->exits[i].at.v <= before)
            newest[life->exits[i].reason] = i + 1;
    for (size_t i = 0; i < life->nr_exits; i++)
        if (life->exits[i].at.v > before || newest[life->exits[i].reason] == i + 1)
            life->exits[kept++] = life->exits[i];
    life->nr_exits = kept;
}

static void add_growth(struct vt_exit_figure *f, const struct vt_exit_row *from, const struct vt_exit_row *to)
{
    f->count = to->count - (from ? from->count : 0);
    f->kernel_ns = to->kernel_ns - (from ? from->kernel_ns : 0);
    f->user_ns = to->user_ns - (from ? from->user_ns : 0);
    for (unsigned int i = 0; i < VT_EXIT_BUCKETS; i++)
        f->log2[i] = to->log2[i] - (from ? from->log2[i] : 0);
}

/* A damaged recording may have sums that fall: those are not had. */
static bool grew(const struct vt_exit_row *from, const struct vt_exit_row *to)
{
    if (!to || !from)
        return to;
    return to->count > from->count && to->kernel_ns >= from->kernel_ns && to->user_ns >= from->user_ns;
}

static int by_time(const void *a, const void *b)
{
    const struct vt_exit_figure *x = a, *y = b;
    uint64_t s = x->kernel_ns + x->user_ns, t = y->kernel_ns + y->user_ns;
    if (s != t)
        return s < t ? 1 : -1;
    return (x->reason > y->reason) - (x->reason < y->reason);
}

int vt_exits_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                  struct vt_vcpu_figures *f)
{
    const struct vt_exit_row *from[VT_EXIT_UNSUMMED + 1] = { NULL };
    const struct vt_exit_row *to[VT_EXIT_UNSUMMED + 1] = { NULL };
    size_t n = 0;
    for (size_t i = 0; i < life->nr_exits; i++) {
        const struct vt_exit_row *row = &life->exits[i];
        if (row->at.v <= window.from.v)
            from[row->reason] = row;
        else if (row->at.v <= window.to.v)
            to[row->reason] = row;
    }
    for (uint32_t i = 0; i <= VT_EXIT_UNSUMMED; i++)
        n += grew(from[i], to[i]);
    f->exits_by = calloc(n + 1, sizeof(*f->exits_by));
    if (!f->exits_by)
        return -ENOMEM;
    for (uint32_t i = 0; i <= VT_EXIT_UNSUMMED; i++) {
        if (!grew(from[i], to[i]))
            continue;
        struct vt_exit_figure *e = &f->exits_by[f->nr_exits++];
        e->reason = i;
        e->name = vt_exit_name(c->host.exit_isa, i);
        add_growth(e, from[i], to[i]);
    }
    qsort(f->exits_by, f->nr_exits, sizeof(*f->exits_by), by_time);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Marks that are part of no benchmark: points, and those of benchmarks that can't be told. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "correlator/guestclock.h"
#include "correlator/internal.h"

#define MAX_LONE_MARKS 1024u /* of one guest in one snapshot, the newest */

/* By the clock map; for a host process by its own CLOCK_MONOTONIC; else, as an estimate, by its arrival. */
static bool place(const struct vt_marks *in, const struct vt_mark *mark, struct vt_lone_mark *to)
{
    const struct vtg_clocks *read = &mark->sample.clocks;
    const struct vt_vcpu_clock *clock = in->clock_of(in->context, read->vcpu);
    to->bound_ns = 0;
    to->accuracy = VT_BOUNDED;
    if (in->bare && read->have & VTG_HAVE_MONOTONIC) {
        to->at.v = read->monotonic_ns;
        to->accuracy = VT_EXACT;
        return true;
    }
    const guest_tsc tsc = { read->tsc_after };
    if (read->have & VTG_HAVE_TSC && clock &&
        vt_vcpu_clock_to_ns(clock, tsc, mark->sample.host, &to->at, &to->bound_ns) == 0)
        return true;
    to->at = mark->sample.host;
    to->accuracy = VT_ESTIMATED;
    return !vt_is_imported(in->c, mark->sample.host, mark->sample.host_tsc);
}

host_ns vt_mark_time(const struct vt_marks *in, const struct vt_mark *mark)
{
    struct vt_lone_mark made;
    if (vt_is_imported(in->c, mark->sample.host, mark->sample.host_tsc) && place(in, mark, &made))
        return made.at;
    return mark->sample.host;
}

int vt_marks_add(struct vt_marks *in, const struct vt_mark *mark, const struct vt_mark *instead,
                 enum vt_mark_lack lack)
{
    int r = vt_grow((void **)&in->list, &in->room, in->nr, sizeof(*in->list));
    if (r)
        return r;
    struct vt_lone_mark to = { .vcpu_index = mark->sample.clocks.vcpu, .id = mark->id, .lack = lack };
    to.placed = place(in, mark, &to);
    if (!to.placed && instead && place(in, instead, &to)) {
        to.placed = true;
        mark = instead;
    }
    to.kind = (enum vtg_mark_kind)mark->kind;
    if (!to.placed)
        to.at.v = 0;
    if (!in->end)
        in->end = vt_correlator_extent(in->c).to.v;
    if (to.placed && to.kind == VTG_MARK_BEGIN && to.at.v < in->end)
        to.so_far_ns = in->end - to.at.v;
    vt_name_clean(to.name, sizeof(to.name), mark->name, sizeof(mark->name));
    in->list[in->nr++] = to;
    return 0;
}

/* ---- begins without an end ---- */

struct turn { /* marks of one benchmark's id stand together, in their order */
    uint32_t id, vcpu;
    size_t index;
};

static int by_id(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->vcpu != y->vcpu)
        return x->vcpu < y->vcpu ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool is_shown(const struct vt_marks *in, const struct vt_mark *mark)
{
    const host_ns at = vt_mark_time(in, mark);
    return at.v >= in->window.from.v && at.v <= in->window.to.v;
}

static int add_begins(struct vt_marks *in)
{
    const struct vt_machine *m = in->m;
    struct turn *turns = calloc(m->nr_marks + 1, sizeof(*turns));
    size_t n = 0;
    int r = turns ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < m->nr_marks; i++)
        if (m->marks[i].kind == VTG_MARK_BEGIN || m->marks[i].kind == VTG_MARK_END)
            turns[n++] = (struct turn){ m->marks[i].id, in->by_vcpu ? m->marks[i].sample.clocks.vcpu : 0, i };
    if (!r)
        qsort(turns, n, sizeof(*turns), by_id);
    for (size_t i = 0; !r && i < n; i++) {
        const struct vt_mark *mark = &m->marks[turns[i].index];
        const bool ended = i + 1 < n && turns[i + 1].id == turns[i].id &&
                           turns[i + 1].vcpu == turns[i].vcpu &&
                           m->marks[turns[i + 1].index].kind == VTG_MARK_END;
        if (mark->kind == VTG_MARK_BEGIN && !ended && is_shown(in, mark))
            r = vt_marks_add(in, mark, NULL, VT_MARK_LACKS_END);
    }
    free(turns);
    return r;
}

/* ---- all of them ---- */

static int add_points(struct vt_marks *in)
{
    int r = 0;
    for (size_t i = 0; !r && i < in->m->nr_marks; i++)
        if (in->m->marks[i].kind == VTG_MARK_POINT && is_shown(in, &in->m->marks[i]))
            r = vt_marks_add(in, &in->m->marks[i], NULL, VT_MARK_LACKS_NOTHING);
    for (size_t i = 0; i < in->nr; i++) { /* a point without a place lacks it, too */
        struct vt_lone_mark *mark = &in->list[i];
        const struct vt_vcpu_clock *clock = in->clock_of(in->context, mark->vcpu_index);
        if (mark->lack == VT_MARK_LACKS_NOTHING && !mark->placed)
            mark->lack = clock && (clock->method || clock->by_whole) ? VT_MARK_OUTSIDE : VT_MARK_LACKS_CLOCK;
    }
    return r;
}

static int by_time(const void *a, const void *b)
{
    const struct vt_lone_mark *x = a, *y = b;
    return (x->at.v > y->at.v) - (x->at.v < y->at.v);
}

int vt_marks_fill(struct vt_marks *in, struct vt_guest *guest)
{
    int r = add_begins(in);
    if (!r)
        r = add_points(in);
    if (r)
        return r;
    if (in->nr)
        qsort(in->list, in->nr, sizeof(*in->list), by_time);
    for (size_t i = 0; i < in->nr; i++)
        guest->marks_lacking += in->list[i].kind != VTG_MARK_POINT;
    const size_t old = in->nr > MAX_LONE_MARKS ? in->nr - MAX_LONE_MARKS : 0;
    guest->nr_marks = in->nr - old;
    guest->marks_left_out = in->left_out + in->m->marks_dropped + old;
    guest->marks = calloc(guest->nr_marks + 1, sizeof(*guest->marks));
    if (!guest->marks)
        return -ENOMEM;
    if (guest->nr_marks)
        memcpy(guest->marks, in->list + old, guest->nr_marks * sizeof(*guest->marks));
    return 0;
}

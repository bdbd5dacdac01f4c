/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/task_line.h"

#include <string.h>

void vta_line_begin(struct vta_line *l, uint64_t at)
{
    *l = (struct vta_line){ .since = at, .told_to = at, .knows_since = true };
}

void vta_line_lose(struct vta_line *l, uint32_t missed)
{
    l->lost += missed;
    l->knows_who = l->knows_since = false;
}

void vta_line_resume(struct vta_line *l, uint64_t at, const struct vta_coming *who)
{
    l->who = *who;
    l->knows_who = true;
    if (at == 0)
        return; /* since the beginning, if that is known */
    l->knows_since = at >= l->told_to;
    l->since = at;
}

/* The stretch from l->since to `at`, if it is known and not empty. */
static bool stretch(const struct vta_line *l, uint64_t at, enum vtg_task_end end, struct vtg_stretch *ret)
{
    if (!l->knows_who || !l->knows_since || at <= l->since)
        return false;
    *ret = (struct vtg_stretch){ .from = l->since,
                                 .to = at,
                                 .waited = l->who.waited,
                                 .tid = l->who.tid,
                                 .end = end,
                                 .wake = l->who.wake,
                                 .waker = l->who.waker,
                                 .late = l->who.late };
    return true;
}

bool vta_line_switch(struct vta_line *l, uint64_t at, enum vtg_task_end end, const struct vta_coming *next,
                     struct vtg_stretch *ret)
{
    const bool told = stretch(l, at, end, ret);
    /* What ended before the beginning, or where the cut just before it was, is no loss. */
    const bool nothing = at <= l->told_to;
    if (!told && !nothing)
        l->lost++;
    if (told)
        l->told_to = at;
    l->since = at > l->told_to ? at : l->told_to;
    l->knows_since = l->knows_who = true;
    l->who = *next;
    return told;
}

bool vta_line_cut(struct vta_line *l, uint64_t at, struct vtg_stretch *ret)
{
    if (!stretch(l, at, VTG_TASK_UNKNOWN, ret))
        return false;
    l->since = l->told_to = at;
    l->who = (struct vta_coming){ .tid = l->who.tid, .wake = VTG_WAKE_NONE };
    return true;
}

bool vta_pack(struct vta_packer *p, enum vtg_task_source source, uint32_t cpu, uint32_t *lost,
              const struct vtg_stretch *s)
{
    if (p->frame.nr && (*lost || p->frame.cpu != cpu || s->from < p->cursor.tsc))
        return false;
    if (p->frame.nr == 0) {
        memset(p, 0, sizeof(*p));
        p->frame.base_tsc = s->from;
        p->frame.cpu = cpu;
        p->frame.source = source;
        p->cursor = vtg_task_begin(&p->frame);
    }
    if (!vtg_pack_stretch(&p->frame, &p->cursor, s))
        return false;
    p->frame.lost += *lost;
    *lost = 0;
    return true;
}

void vta_pack_clear(struct vta_packer *p)
{
    p->frame.nr = 0;
}

uint32_t vta_pack_size(const struct vta_packer *p)
{
    return (uint32_t)offsetof(struct vtg_tasks, data) + p->frame.bytes;
}

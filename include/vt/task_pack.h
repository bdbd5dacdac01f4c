/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How stretches of tasks are packed into struct vtg_tasks (vt/guest_wire.h):
 * unsigned LEB128 numbers, five for each stretch, about eight bytes in all.
 *   begin - the end of the stretch before it (the first: base_tsc)
 *   length
 *   tid, zigzag of the difference from the stretch before it (the first: from 0)
 *   waited: begin - when it became runnable
 *   enum vtg_task_end
 * Header-only, pure and freestanding: the agent packs, lib/wire unpacks.
 */
#ifndef VT_TASK_PACK_H
#define VT_TASK_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/guest_wire.h"

/* Why a task left the vCPU. */
enum vtg_task_end { VTG_TASK_PREEMPTED, VTG_TASK_SLEPT, VTG_TASK_EXITED, VTG_TASK_UNKNOWN };

struct vtg_stretch {
    uint64_t from, to; /* guest TSC */
    uint64_t waited;   /* ticks before `from` in which it was runnable; 0: not known */
    uint32_t tid;      /* 0: the idle task */
    enum vtg_task_end end;
};

#define VTG_STRETCH_MAX 37 /* bytes of one: three numbers of 64 bits, one of 33, one of 2 */

/* Where a packer or unpacker stands in `data`. */
struct vtg_task_cursor {
    uint64_t tsc; /* end of the stretch before */
    uint32_t tid;
    uint32_t at; /* byte */
};

static inline void vtg_put_number(struct vtg_tasks *t, struct vtg_task_cursor *c, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        t->data[c->at++] = (uint8_t)(v | 0x80);
    t->data[c->at++] = (uint8_t)v;
}

/* False: it ends within the number, or the number has more than 64 bits. */
static inline bool vtg_get_number(const struct vtg_tasks *t, struct vtg_task_cursor *c, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && c->at < t->bytes; shift += 7) {
        const uint8_t byte = t->data[c->at++];
        if (shift == 63 && byte > 1)
            return false;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static inline struct vtg_task_cursor vtg_task_begin(const struct vtg_tasks *t)
{
    return (struct vtg_task_cursor){ .tsc = t->base_tsc };
}

/** Appends s, which does not begin before the end of the one before it. False: no room, begin another frame.
 */
static inline bool vtg_pack_stretch(struct vtg_tasks *t, struct vtg_task_cursor *c,
                                    const struct vtg_stretch *s)
{
    const int64_t step = (int64_t)s->tid - (int64_t)c->tid;
    if (c->at + VTG_STRETCH_MAX > VTG_TASKS_BYTES)
        return false;
    vtg_put_number(t, c, s->from - c->tsc);
    vtg_put_number(t, c, s->to - s->from);
    vtg_put_number(t, c, ((uint64_t)step << 1) ^ (uint64_t)(step >> 63));
    vtg_put_number(t, c, s->waited);
    vtg_put_number(t, c, (uint64_t)s->end);
    c->tsc = s->to;
    c->tid = s->tid;
    t->bytes = c->at;
    t->nr++;
    return true;
}

/** The next of t->nr stretches. False: the bytes make no sense; bytes are hostile and need not be checked
 * before. */
static inline bool vtg_unpack_stretch(const struct vtg_tasks *t, struct vtg_task_cursor *c,
                                      struct vtg_stretch *ret)
{
    uint64_t gap, length, step, waited, end;
    if (t->bytes > VTG_TASKS_BYTES || !vtg_get_number(t, c, &gap) || !vtg_get_number(t, c, &length) ||
        !vtg_get_number(t, c, &step) || !vtg_get_number(t, c, &waited) || !vtg_get_number(t, c, &end))
        return false;
    if (gap > UINT64_MAX - c->tsc || length > UINT64_MAX - c->tsc - gap || step > UINT64_C(0x1ffffffff) ||
        end > VTG_TASK_UNKNOWN)
        return false;
    ret->from = c->tsc + gap;
    ret->to = ret->from + length;
    ret->waited = waited;
    ret->tid = c->tid + (uint32_t)((step >> 1) ^ (UINT64_C(0) - (step & 1)));
    ret->end = (enum vtg_task_end)end;
    c->tsc = ret->to;
    c->tid = ret->tid;
    return true;
}

#endif

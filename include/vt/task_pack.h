/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How stretches of tasks are packed into struct vtg_tasks (vt/guest_wire.h):
 * unsigned LEB128 numbers, six or seven for each stretch, about nine bytes in all.
 *   begin - the end of the stretch before it (the first: base_tsc)
 *   length
 *   tid, zigzag of the difference from the stretch before it (the first: from 0)
 *   waited: begin - when it became runnable
 *   enum vtg_task_end
 *   enum vtg_wake; of VTG_WAKE_TASK then the waker's tid, zigzag of the difference from its own;
 *     with VTG_WAKE_LATE then by how much later than set the timer went off
 * Header-only, pure and freestanding: the agent packs, lib/wire unpacks.
 */
#ifndef VT_TASK_PACK_H
#define VT_TASK_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/guest_wire.h"

/* Why a task left the vCPU. */
enum vtg_task_end { VTG_TASK_PREEMPTED, VTG_TASK_SLEPT, VTG_TASK_EXITED, VTG_TASK_UNKNOWN };

/*
 * What made it runnable after its last sleep: what it would have waited for without any delay.
 * A timer that it set to go off so long after now starts later if the task was delayed before
 * (RELATIVE); one set for an instant does not (ABSOLUTE).
 */
enum vtg_wake {
    VTG_WAKE_UNKNOWN,
    VTG_WAKE_NONE, /* it did not sleep: it was pre-empted */
    VTG_WAKE_RELATIVE,
    VTG_WAKE_ABSOLUTE,
    VTG_WAKE_TASK,   /* another task: its tid is `waker` */
    VTG_WAKE_DEVICE, /* an interrupt that is no timer: I/O is done */
    VTG_NR_WAKES
};
#define VTG_WAKE_LATE 8u /* beside it, packed: what woke it was a timer, and how late is told */

/*
 * An interrupt: the timer's or a device's, with its softirqs. It hit the task before it and after it.
 * Linux has no such id (PID_MAX_LIMIT). Told of VTG_TASKS_BPF, while no idle task runs.
 */
#define VTG_TID_INTERRUPTS (UINT32_C(1) << 22)

struct vtg_stretch {
    uint64_t from, to; /* guest TSC */
    uint64_t waited;   /* ticks before `from` in which it was runnable; 0: not known */
    uint32_t tid;      /* 0: the idle task */
    enum vtg_task_end end;
    enum vtg_wake wake;
    uint32_t waker; /* of VTG_WAKE_TASK, else 0 */
    uint64_t late;  /* a timer woke it, so many ticks later than it was set to, plus 1; 0: not known */
};

#define VTG_STRETCH_MAX 52 /* bytes of one: four numbers of 64 bits, two of 33, two below 128 */

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

/* The way from one tid to another, as an unsigned number that is small if it is short. */
static inline uint64_t vtg_tid_step(uint32_t from, uint32_t to)
{
    const int64_t step = (int64_t)to - (int64_t)from;
    return ((uint64_t)step << 1) ^ (step < 0 ? UINT64_MAX : 0);
}

static inline uint32_t vtg_tid_after(uint32_t from, uint64_t step)
{
    return from + (uint32_t)((step >> 1) ^ (UINT64_C(0) - (step & 1)));
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
    if (c->at + VTG_STRETCH_MAX > VTG_TASKS_BYTES)
        return false;
    vtg_put_number(t, c, s->from - c->tsc);
    vtg_put_number(t, c, s->to - s->from);
    vtg_put_number(t, c, vtg_tid_step(c->tid, s->tid));
    vtg_put_number(t, c, s->waited);
    vtg_put_number(t, c, (uint64_t)s->end);
    vtg_put_number(t, c, (uint64_t)s->wake | (s->late ? VTG_WAKE_LATE : 0));
    if (s->wake == VTG_WAKE_TASK)
        vtg_put_number(t, c, vtg_tid_step(s->tid, s->waker));
    if (s->late)
        vtg_put_number(t, c, s->late - 1);
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
    uint64_t gap, length, step, waited, end, wake, waker = 0, late = UINT64_MAX;
    if (t->bytes > VTG_TASKS_BYTES || !vtg_get_number(t, c, &gap) || !vtg_get_number(t, c, &length) ||
        !vtg_get_number(t, c, &step) || !vtg_get_number(t, c, &waited) || !vtg_get_number(t, c, &end) ||
        !vtg_get_number(t, c, &wake) ||
        ((wake & ~(uint64_t)VTG_WAKE_LATE) == VTG_WAKE_TASK && !vtg_get_number(t, c, &waker)) ||
        ((wake & VTG_WAKE_LATE) && (!vtg_get_number(t, c, &late) || late == UINT64_MAX)))
        return false;
    wake &= ~(uint64_t)VTG_WAKE_LATE;
    if (gap > UINT64_MAX - c->tsc || length > UINT64_MAX - c->tsc - gap || step > UINT64_C(0x1ffffffff) ||
        waker > UINT64_C(0x1ffffffff) || end > VTG_TASK_UNKNOWN || wake >= VTG_NR_WAKES)
        return false;
    ret->from = c->tsc + gap;
    ret->to = ret->from + length;
    ret->waited = waited;
    ret->tid = vtg_tid_after(c->tid, step);
    ret->end = (enum vtg_task_end)end;
    ret->wake = (enum vtg_wake)wake;
    ret->waker = wake == VTG_WAKE_TASK ? vtg_tid_after(ret->tid, waker) : 0;
    ret->late = late + 1;
    c->tsc = ret->to;
    c->tid = ret->tid;
    return true;
}

#endif

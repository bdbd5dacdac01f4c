/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: */
/*
 * Any bytes as a guest's stretches: they are refused or make sense, and what makes sense
 * is packed again into the same stretches.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vt/task_pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pack_again(const struct vtg_stretch *s, const struct vtg_task_cursor *before)
{
    struct vtg_tasks t = { .base_tsc = before->tsc };
    struct vtg_task_cursor c = { .tsc = before->tsc, .tid = before->tid };
    struct vtg_stretch out;
    if (!vtg_pack_stretch(&t, &c, s) || t.bytes > VTG_STRETCH_MAX)
        abort();
    c = (struct vtg_task_cursor){ .tsc = before->tsc, .tid = before->tid };
    if (!vtg_unpack_stretch(&t, &c, &out) || out.from != s->from || out.to != s->to || out.tid != s->tid ||
        out.waited != s->waited || out.end != s->end || out.wake != s->wake || out.waker != s->waker ||
        out.late != s->late)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* of its own exact size: a read beyond the frame is found */
    struct vtg_tasks *t = calloc(1, sizeof(*t));
    if (!t)
        return 0;
    memcpy(t, data, size < sizeof(*t) ? size : sizeof(*t));
    struct vtg_task_cursor c = vtg_task_begin(t), before = c;
    struct vtg_stretch s;
    for (uint32_t i = 0; i < t->nr && vtg_unpack_stretch(t, &c, &s); i++) {
        if (s.from < before.tsc || s.to < s.from || s.end > VTG_TASK_UNKNOWN || s.wake >= VTG_NR_WAKES ||
            c.at > t->bytes || c.at > VTG_TASKS_BYTES || c.at <= before.at)
            abort();
        pack_again(&s, &before);
        before = c;
    }
    free(t);
    return 0;
}

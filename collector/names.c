/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "names.h"

#include <stdlib.h>

void vt_names_note(struct vt_names *n, const struct vtg_task *task)
{
    if (!task->tid)
        return;
    if (!n->place)
        n->place = calloc(VT_NAMES, sizeof(*n->place));
    struct vtg_task *place = n->place ? &n->place[task->tid % VT_NAMES] : NULL;
    n->displaced |= !place || (place->tid && place->tid != task->tid);
    if (place)
        *place = *task;
}

const struct vtg_task *vt_names_next(const struct vt_names *n, size_t *at)
{
    while (n->place && *at < VT_NAMES) {
        const struct vtg_task *task = &n->place[(*at)++];
        if (task->tid)
            return task;
    }
    return NULL;
}

void vt_names_release(struct vt_names *n)
{
    free(n->place);
    *n = (struct vt_names){ 0 };
}

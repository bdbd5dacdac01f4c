/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the tasks of a guest are, as its agent said last: for a recording that begins later.
 * A guest's word: memory is bounded, a name may have to give way to another's.
 */
#ifndef VT_NAMES_H
#define VT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/guest_wire.h"

struct vt_names {
    struct vtg_task *place; /* VT_NAMES of them, by tid; tid 0: free. NULL: none was said */
    bool displaced;         /* one gave way */
};
#define VT_NAMES 4096u /* 128 KiB, once a guest says any */

/** Without memory it is as if the name gave way. */
void vt_names_note(struct vt_names *n, const struct vtg_task *task);
/** The next from *at on, which begins at 0; NULL: that were all. */
const struct vtg_task *vt_names_next(const struct vt_names *n, size_t *at);
/** Forgets all; also before the end. */
void vt_names_release(struct vt_names *n);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only bridge between the store and the correlator. */
#ifndef VT_FEED_H
#define VT_FEED_H

#include "correlator/correlate.h"
#include "store/store.h"

/** Feeds the host row and all that is new since *cursor (start it zeroed). 0 or -errno. */
int vt_feed(struct vt_correlator *c, struct vt_store *store, struct vt_store_cursor *cursor,
            struct vt_err *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and classes of the states: DESIGN vocabulary, one table. */
#ifndef VT_BASE_STATE_H
#define VT_BASE_STATE_H

#include "vt/state.h"

struct vt_state_info {
    const char *name; /* as printed: "PREEMPTED" */
    enum vt_class class;
    const char *meaning; /* one line */
};

extern const struct vt_state_info vt_states[VT_NR_STATES];

/** "stolen", "used", ... */
const char *vt_class_name(enum vt_class class);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and classes of the states: DESIGN vocabulary, one table. */
#ifndef VT_BASE_STATE_H
#define VT_BASE_STATE_H

#include "vt/ledger.h"
#include "vt/state.h"

struct vt_state_info {
    const char *name; /* as printed: "PREEMPTED" */
    enum vt_class class;
    const char *meaning; /* one line */
};

extern const struct vt_state_info vt_states[VT_NR_STATES];

struct vt_vm_kind_info {
    const char *key;  /* "tcg", as in JSON */
    const char *name; /* "QEMU/TCG", as printed */
};

extern const struct vt_vm_kind_info vt_vm_kinds[VT_NR_VM_KINDS];

/** "stolen", "used", ... */
const char *vt_class_name(enum vt_class class);

#endif

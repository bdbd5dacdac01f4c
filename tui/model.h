/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vtop knows: rows made of a snapshot, and in which order they show. Pure. */
#ifndef VT_TUI_MODEL_H
#define VT_TUI_MODEL_H

#include <stddef.h>

#include "vt/snapshot.h"

/** A VM, whatever its id in the recording: its process. */
struct vtop_key {
    uint32_t tgid;
    uint64_t start_time;
};

/** A guest, or one of its vCPUs. */
struct vtop_row {
    struct vtop_key key;
    bool is_vcpu;
    uint32_t index; /* of the vCPU */
    uint32_t tid;
    char name[VT_VM_NAME_LEN];
    enum vt_vm_kind kind;
    enum vt_vm_found found;
    unsigned int vcpus; /* of the guest in this window */
    uint64_t whole_ns;  /* vCPUs x window: 100 % */
    struct vt_account account;
    bool has_hazard;         /* of a guest of several vCPUs, recorded with slices */
    struct vt_figure hazard; /* of a guest: some of its vCPUs ran while some waited; of window_ns */
    uint64_t window_ns;
    int64_t residual_ns;
    uint64_t ledger_residual_ns; /* sum of magnitudes */
    uint64_t switches, migrations, exits, halts, desync;
    enum vt_state now; /* of a vCPU */
    uint64_t cpu;      /* of a vCPU: the last it ran on */
};

/** The head of the screen. */
struct vtop_head {
    struct vt_window window;
    struct vt_host host;
    bool cut_off;
    uint64_t lost_events;  /* since the recording began */
    uint64_t lost_agent;   /* guest frames: they cost no host truth */
    double recorder_share; /* CPUs used by the collector's process, and by its BPF programs */
    double bpf_share;      /* 0 if the kernel does not count it */
    double own_share;      /* by vtop itself; 0 if not told */
    double steal_share;    /* of this host's CPUs, by its own host */
    unsigned int guests, vcpus;
    struct vt_account all; /* sum over the guests; without ratios */
    uint64_t whole_ns;
};

struct vtop_model {
    bool filled;
    struct vtop_head head;
    struct vtop_row *rows; /* a guest, then its vCPUs by index; guests by key */
    size_t nr_rows;
    struct vt_blame *blame; /* by victim's name, the greatest first */
    size_t nr_blame;
    /* for shares: the readings before */
    struct vt_observer before;
    uint64_t own_ns_before, at_before;
};

/** What vtop itself has used of the CPU so far, and the host's clock then; zeros where unknown. */
struct vtop_own_cost {
    uint64_t cpu_ns;
    uint64_t at_ns;
};

/** Takes all it needs out of the snapshot. 0, or -ENOMEM with the model as before. */
int vtop_model_update(struct vtop_model *model, const struct vt_snapshot *snapshot, struct vtop_own_cost own);
void vtop_model_release(struct vtop_model *model);

bool vtop_key_equal(struct vtop_key a, struct vtop_key b);

/** Orders two rows; see columns.h. */
typedef int vtop_compare(const void *context, const struct vtop_row *a, const struct vtop_row *b);
/** Are this guest's vCPUs to be shown? */
typedef bool vtop_is_open(const void *context, struct vtop_key key);

/**
 * The rows to show: guests ordered by compare, the vCPUs of the open ones
 * under them by index.  *ret is malloc'ed, NULL if there are none. 0 or -ENOMEM.
 */
int vtop_model_arrange(const struct vtop_model *model, vtop_compare *compare, const void *compare_context,
                       vtop_is_open *is_open, const void *open_context, const struct vtop_row ***ret,
                       size_t *ret_n);

#endif

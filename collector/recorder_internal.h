/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the three files of a recording share: recorder.c, checkpoint.c, handover.c. */
#ifndef VT_RECORDER_INTERNAL_H
#define VT_RECORDER_INTERNAL_H

#include "recorder.h"

/* Sampling of what the programs cost. */
struct cost {
    int fd; /* of bpf_enable_stats, -1 when off */
    unsigned ticks;
    host_ns since;
    uint64_t sampled_ns; /* of wall time */
    uint64_t start_ns, start_runs;
};

struct written {
    uint32_t generation;
    uint64_t count;
};

/* schedstat of a thread that has been off the CPU since: it can't have changed. */
struct schedstat_seen {
    uint32_t generation;
    uint64_t last; /* the slot's newest edge when it was read */
    uint64_t run_ns, run_delay_ns;
    host_ns at;
};

struct vt_recorder {
    struct vt_recorder *next; /* the recording that begins where this one ends, while both are written */
    struct vt_probes *probes;
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_counters *counters; /* NULL: none */
    struct vt_host host;
    struct vt_observer base;
    struct cost cost;
    uint64_t lost[VT_NR_LOST_REASONS];
    uint64_t lost_told[VT_NR_LOST_REASONS]; /* of them, committed */
    uint64_t slices;
    host_ns written_to;    /* everything before is committed */
    uint64_t dropped;      /* slices that came when nothing could be written */
    uint32_t *closed;      /* by slot: generation whose last checkpoint is written: released a tick later */
    uint32_t *freed;       /* by slot: generation that was released */
    struct written *exits; /* by sum, then by slot for what has none: what was last written */
    struct vt_address *addresses; /* what was last written of each, in order of their keys */
    size_t nr_addresses;
    bool met_addresses;               /* some were looked at */
    uint64_t *kvm_written;            /* by slot, and by KVM's statistic: what was last written */
    uint32_t *based;                  /* by slot: generation of which sums were written */
    struct schedstat_seen *schedstat; /* by slot */
    unsigned known_vms;               /* when helpers were looked for */
    struct vt_err *err;
};

/** It has ended, and is written on only for what spans its end: what it counts is told. */
bool rec_has_parted(const struct vt_recorder *r);

/** A life that began after this recording ended. */
bool rec_is_later(const struct vt_recorder *r, const struct vt_slot *s);

/** A vCPU was met: its thread's perf counters are opened, if any are wanted. */
int rec_follow(struct vt_recorder *r, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
               struct vt_err *err);

/** Fills the host row. */
void rec_describe(struct vt_recorder *r, const char *only);
/** What is the same all along: the CPUs, and which of KVM's statistics are read. */
int rec_put_facts(struct vt_recorder *r, struct vt_err *err);

/**
 * Of one slot, into every recording that is being written: its state and sums.
 * cut: the instant that the checkpoint shall be of, if no edge came since; 0: that of its last edge.
 */
int rec_checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_slot *s, host_ns cut, struct vt_err *err);
int rec_read_checkpoint(struct vt_recorder *r, uint32_t slot, struct vt_err *err);

/**
 * Into every recording that is being written: what vCPUs accessed, if that is counted.  cut: as
 * above, for all slots at once, after their checkpoints.
 */
int rec_put_addresses(struct vt_recorder *r, host_ns cut, struct vt_err *err);
/** Nothing is written: the counts of lives that are over are only forgotten. */
void rec_drop_addresses(struct vt_recorder *r);

/** Those who are there already: their counters run, and their sums are counted, from the begin on. */
int rec_meet(struct vt_recorder *r, struct vt_err *err);

void rec_release_gone(struct vt_recorder *r, uint32_t slot);
int rec_write_losses(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err);
int rec_write_observer(struct vt_recorder *r, struct vt_err *err);
int rec_commit(struct vt_recorder *r, struct vt_err *err);

#endif

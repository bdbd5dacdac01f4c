/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recording under way: what is read from the ledger and written to the store at each tick. */
#ifndef VT_RECORDER_H
#define VT_RECORDER_H

#include "counters.h"
#include "probes.h"
#include "roster.h"
#include "store/store.h"

struct vt_recorder;

/** Borrows all three. */
struct vt_recorder *vt_recorder_new(struct vt_probes *probes, struct vt_store *store,
                                    struct vt_roster *roster);
void vt_recorder_free(struct vt_recorder *r);

/** Counts every vCPU's thread too: call before vt_recorder_begin(). Borrows. */
void vt_recorder_count(struct vt_recorder *r, struct vt_counters *counters);

/** Writes the host row: call once before the first tick, after seeding. */
/* only: the VM that views shall show, by name or pid; NULL: all. */
int vt_recorder_begin(struct vt_recorder *r, const char *only, struct vt_err *err);

/**
 * Drains the slices, registers new vCPUs, writes checkpoints, a clock pair,
 * losses (agents_lost: counted by the caller) and the observer's bill, and
 * commits.
 */
int vt_recorder_tick(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err);

/** Only empties the ring: when it fills between two ticks. */
int vt_recorder_drain(struct vt_recorder *r, struct vt_err *err);

/** The last tick: the recording ends here. */
int vt_recorder_end(struct vt_recorder *r, uint64_t agents_lost, struct vt_err *err);

/**
 * Ends r and begins next (a new one, with its own store and roster) at the same
 * instant.  Until vt_recorder_part() r's ticks write both: the slices that span
 * the cut are in both, whole, so that what one recording has of them the other
 * lacks, to the nanosecond.  On failure r goes on as if nothing had been, and
 * next is of no use.
 */
int vt_recorder_turn(struct vt_recorder *r, struct vt_recorder *next, const char *only, uint64_t agents_lost,
                     struct vt_err *err);

/** At least one tick after the turn: r is complete and is to be freed; next goes on. */
void vt_recorder_part(struct vt_recorder *r);

/** Up to when everything is committed. */
host_ns vt_recorder_written_to(const struct vt_recorder *r);

/**
 * When the store fails (disk full): in place of a tick, keeps the ledger going
 * and drops what it says.
 */
void vt_recorder_skip(struct vt_recorder *r);

/** After that: r ends at what was committed last; r's store takes rows again. Else -errno, to be tried again.
 */
int vt_recorder_close(struct vt_recorder *r, struct vt_err *err);

/** After that: next begins where r ended; what was dropped in between is LOST in it. */
int vt_recorder_resume(struct vt_recorder *r, struct vt_recorder *next, const char *only,
                       uint64_t agents_lost, struct vt_err *err);

/** Slices written so far. */
uint64_t vt_recorder_slices(const struct vt_recorder *r);

#endif

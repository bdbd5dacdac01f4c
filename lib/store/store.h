/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The recording: a SQLite database (schema: lib/store/schema.sql, documented
 * in docs/SCHEMA.md).  The collector is its only writer; views open it
 * read-only and may do so while it is being written (WAL).
 *
 * Every function returns 0 or -errno and fills err: ENOSPC disk full, EROFS or
 * EACCES not writable, EUCLEAN damaged or not a recording, ENOTSUP another
 * schema version.
 */
#ifndef VT_STORE_H
#define VT_STORE_H

#include <stddef.h>

#include "base/err.h"
#include "vt/counter.h"
#include "vt/record.h"
#include "vt/topology.h"

struct vt_store;

/* ---- writing ---- */

/** Creates path (an existing recording is refused: EEXIST, unless replace); ":memory:" in tests. */
int vt_store_create(const char *path, bool replace, struct vt_store **ret, struct vt_err *err);

/**
 * Opens a recording that has ended, to put more into it; one of an older schema is brought up
 * first.  EBUSY: a recorder or a view has it open.
 */
int vt_store_append(const char *path, struct vt_store **ret, struct vt_err *err);

/**
 * All puts since the last commit become durable and visible to readers
 * together.  On failure everything committed before stays intact.
 */
int vt_store_commit(struct vt_store *store, struct vt_err *err);

int vt_store_put_host(struct vt_store *store, const struct vt_host *host,
                      struct vt_err *err); /* insert or update */
int vt_store_put_cpu(struct vt_store *store, const struct vt_cpu *row, struct vt_err *err); /* each once */
int vt_store_put_vm(struct vt_store *store, const struct vt_vm *vm,
                    struct vt_err *err); /* insert or rename */
int vt_store_put_vcpu(struct vt_store *store, const struct vt_vcpu *vcpu, struct vt_err *err);
int vt_store_put_tsc_epoch(struct vt_store *store, const struct vt_tsc_epoch *epoch, struct vt_err *err);
int vt_store_put_clock_pair(struct vt_store *store, const struct vt_clock_pair *pair, struct vt_err *err);
int vt_store_put_checkpoint(struct vt_store *store, const struct vt_checkpoint *cp, struct vt_err *err);
/** -EINVAL: a record whose parts don't fit each other (a guest's may well be so), and nothing was written. */
int vt_store_put_guest_record(struct vt_store *store, const struct vt_guest_record *rec, struct vt_err *err);
int vt_store_put_exchange(struct vt_store *store, const struct vt_exchange *row, struct vt_err *err);
int vt_store_put_channel_event(struct vt_store *store, const struct vt_channel_event *row,
                               struct vt_err *err);
int vt_store_put_loss(struct vt_store *store, const struct vt_loss *loss, struct vt_err *err);
int vt_store_put_occupancy(struct vt_store *store, const struct vt_occupancy *row, struct vt_err *err);
int vt_store_put_move(struct vt_store *store, const struct vt_vcpu_move *row, struct vt_err *err);
int vt_store_put_counter_event(struct vt_store *store, const struct vt_counter_event *row,
                               struct vt_err *err);
int vt_store_put_counter(struct vt_store *store, const struct vt_counter_reading *row, struct vt_err *err);
int vt_store_put_exits(struct vt_store *store, const struct vt_exit_row *row, struct vt_err *err);
int vt_store_put_kvm_stat(struct vt_store *store, const struct vt_kvm_stat *row, struct vt_err *err);
int vt_store_put_kvm_count(struct vt_store *store, const struct vt_kvm_count *row, struct vt_err *err);
int vt_store_put_exit_address(struct vt_store *store, const struct vt_exit_address *row, struct vt_err *err);
int vt_store_put_helper(struct vt_store *store, const struct vt_helper *row, struct vt_err *err);
int vt_store_put_helper_time(struct vt_store *store, const struct vt_helper_time *row, struct vt_err *err);
int vt_store_put_helper_wait(struct vt_store *store, const struct vt_helper_wait *row, struct vt_err *err);
int vt_store_put_outer_steal(struct vt_store *store, const struct vt_outer_steal *row, struct vt_err *err);
int vt_store_put_observer(struct vt_store *store, const struct vt_observer *obs, struct vt_err *err);
/**
 * Appends n slices of one vCPU in seq order.  Buffered and coded into chunks;
 * a chunk ends at a gap in seq, at its size limit, and at every commit.
 */
int vt_store_put_slices(struct vt_store *store, int64_t vcpu, const struct vt_slice *slices, size_t n,
                        struct vt_err *err);

/* ---- reading ---- */

int vt_store_open(const char *path, struct vt_store **ret, struct vt_err *err);

/** What a view should say about how the recording was opened, or NULL. Static text. */
const char *vt_store_note(const struct vt_store *store);

int vt_store_get_host(struct vt_store *store, struct vt_host *ret, struct vt_err *err);

/**
 * What a reader does with each row; a non-zero return stops the walk and is
 * returned.  NULL callbacks are skipped.  Order: cpus, vms, vcpus, tsc_epochs,
 * clock_pairs, losses, observers, occupancies, moves, exits, exit_addresses, kvm_stats and their counts,
 * helpers, their times and waits, outer_steals, guest_records, exchanges, channel_events, checkpoints (by
 * at), then slices (by vCPU, then seq).
 */
struct vt_store_reader {
    void *context;
    int (*cpu)(void *context, const struct vt_cpu *row);
    int (*vm)(void *context, const struct vt_vm *row); /* `found` is told by a row of its own */
    int (*vm_found)(void *context, const struct vt_vm_how *row);
    int (*vcpu)(void *context, const struct vt_vcpu *row);
    int (*tsc_epoch)(void *context, const struct vt_tsc_epoch *row);
    int (*clock_pair)(void *context, const struct vt_clock_pair *row);
    int (*loss)(void *context, const struct vt_loss *row);
    int (*observer)(void *context, const struct vt_observer *row);
    int (*occupancy)(void *context, const struct vt_occupancy *row);
    int (*move)(void *context, const struct vt_vcpu_move *row);
    int (*exits)(void *context, const struct vt_exit_row *row);
    int (*kvm_stat)(void *context, const struct vt_kvm_stat *row);
    int (*kvm_count)(void *context, const struct vt_kvm_count *row);
    int (*exit_address)(void *context, const struct vt_exit_address *row);
    int (*helper)(void *context, const struct vt_helper *row);
    int (*helper_time)(void *context, const struct vt_helper_time *row);
    int (*helper_wait)(void *context, const struct vt_helper_wait *row);
    int (*outer_steal)(void *context, const struct vt_outer_steal *row);
    int (*guest_record)(void *context, const struct vt_guest_record *row);
    int (*exchange)(void *context, const struct vt_exchange *row);
    int (*channel_event)(void *context, const struct vt_channel_event *row);
    int (*checkpoint)(void *context, const struct vt_checkpoint *row);
    int (*counter_event)(void *context, const struct vt_counter_event *row); /* after the checkpoints */
    int (*counter)(void *context, const struct vt_counter_reading *row);
    int (*slices)(void *context, int64_t vcpu, const struct vt_slice *slices, size_t n);
};

/** How far a reader has read; start zeroed. Later calls deliver what is new. */
struct vt_store_cursor {
    int64_t cpu, vm, vm_found, vcpu, tsc_epoch, clock_pair, loss, observer, occupancy, move, exits, helper,
        helper_time, helper_wait, outer_steal, guest_record, checkpoint, chunk;
    int64_t counter_event, counter, exit_address, kvm_stat, kvm_count;
    int64_t exchange, channel_event;
};

/** One consistent read transaction over everything after *cursor, which it advances. */
int vt_store_read(struct vt_store *store, struct vt_store_cursor *cursor,
                  const struct vt_store_reader *reader, struct vt_err *err);

/** How large the recording is, what is not yet committed included. */
int vt_store_bytes(struct vt_store *store, uint64_t *ret, struct vt_err *err);

/** Sizes for the bench: rows of slices and bytes of their chunks. */
int vt_store_slice_size(struct vt_store *store, uint64_t *ret_slices, uint64_t *ret_bytes,
                        struct vt_err *err);

/** Closes; uncommitted puts are dropped. NULL is fine. */
void vt_store_close(struct vt_store *store);

#endif

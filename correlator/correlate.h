/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The correlator: recorded rows in, a snapshot of any window out.  Pure: no
 * files, no clocks, no store; the same for a finished recording and for one
 * that is still growing.
 */
#ifndef VT_CORRELATE_H
#define VT_CORRELATE_H

#include "base/err.h"
#include "vt/snapshot.h"

struct vt_correlator;

struct vt_correlator *vt_correlator_new(void); /* NULL: out of memory */
void vt_correlator_free(struct vt_correlator *c);

/*
 * Rows, in the order of struct vt_store_reader; the signatures fit it.
 * 0, or -ENOMEM, or -EUCLEAN for a row that contradicts the recording.
 */
int vt_correlator_host(void *c, const struct vt_host *row);
int vt_correlator_cpu(void *c, const struct vt_cpu *row); /* once for each CPU */
int vt_correlator_vm(void *c, const struct vt_vm *row);
int vt_correlator_vm_found(void *c, const struct vt_vm_how *row);
int vt_correlator_vcpu(void *c, const struct vt_vcpu *row);
int vt_correlator_tsc_epoch(void *c, const struct vt_tsc_epoch *row);
int vt_correlator_clock_pair(void *c, const struct vt_clock_pair *row);
int vt_correlator_loss(void *c, const struct vt_loss *row);
int vt_correlator_observer(void *c, const struct vt_observer *row);
int vt_correlator_occupancy(void *c, const struct vt_occupancy *row);
int vt_correlator_move(void *c, const struct vt_vcpu_move *row);
int vt_correlator_exits(void *c, const struct vt_exit_row *row);
int vt_correlator_kvm_stat(void *c, const struct vt_kvm_stat *row);
int vt_correlator_kvm_count(void *c, const struct vt_kvm_count *row);
int vt_correlator_exit_address(void *c, const struct vt_exit_address *row);
int vt_correlator_helper(void *c, const struct vt_helper *row);
int vt_correlator_helper_time(void *c, const struct vt_helper_time *row);
int vt_correlator_helper_wait(void *c, const struct vt_helper_wait *row);
int vt_correlator_outer_steal(void *c, const struct vt_outer_steal *row);
int vt_correlator_guest_record(void *c, const struct vt_guest_record *row);
int vt_correlator_exchange(void *c, const struct vt_exchange *row);
int vt_correlator_channel_event(void *c, const struct vt_channel_event *row);
int vt_correlator_checkpoint(void *c, const struct vt_checkpoint *row);
int vt_correlator_counter_event(void *c, const struct vt_counter_event *row);
int vt_correlator_counter(void *c, const struct vt_counter_reading *row);
int vt_correlator_slices(void *c, int64_t vcpu, const struct vt_slice *slices, size_t n);

/** Drops slices and rows that end before `before`: bounded memory for live views. */
void vt_correlator_forget(struct vt_correlator *c, host_ns before);

/** The stretch that the rows so far can tell about. from >= to: nothing yet. */
struct vt_window vt_correlator_extent(const struct vt_correlator *c);

/**
 * Accounts for window (NULL: the whole extent). Returns NULL and fills err if
 * there is nothing to tell. Free with vt_snapshot_free().
 */
struct vt_snapshot *vt_correlate(const struct vt_correlator *c, const struct vt_window *window,
                                 struct vt_err *err);
/** Only the blame whose victim is this VM (and the CPUs): a fraction of the work, no guests. */
struct vt_snapshot *vt_correlate_blame(const struct vt_correlator *c, const struct vt_window *window,
                                       int64_t victim, struct vt_err *err);
/** How many intervals one timeline may have. */
#define VT_MAX_INTERVALS (UINT32_C(1) << 24)
/**
 * Only the blame (and the CPUs), of all that are shown, and that of each interval
 * of width_ns (at least 1; the last one may be shorter) from the window's begin on, in one pass.
 * An interval's rows are what its own window would have; those of a row sum to it.
 */
struct vt_snapshot *vt_correlate_timeline(const struct vt_correlator *c, const struct vt_window *window,
                                          uint64_t width_ns, struct vt_err *err);
void vt_snapshot_free(struct vt_snapshot *snapshot);

/** Of debts' elsewhere_ns: an idle CPU may have been among those that were not looked at. */
enum vt_accuracy vt_elsewhere_accuracy(const struct vt_host *host);

/** The set's figure of that event and side; NULL: it has none. */
const struct vt_counter_figure *vt_counter_find(const struct vt_counter_set *set, enum vt_counter event,
                                                enum vt_counter_side side);

#endif

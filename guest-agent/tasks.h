/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which task had which vCPU, from when to when, in ticks of the guest's TSC: what
 * `vtime-agent --tasks` tells.  Three sources, of which the best that is there is
 * taken; the environment variable VTIME_TASKS=bpf|perf|sampled asks for one, and
 * VTIME_TASKS_STAMPS=tsc|ns for one kind of stamps of the first.
 *
 * VTG_TASKS_BPF (root, kernel 5.17+ with BTF).  All tasks of all vCPUs, the idle task
 *   included; the wait before each stretch and what ended the sleep before; why it ended.  A stamp is taken
 * within sched_switch, a microsecond or less before the next task goes on; the same instant ends one stretch
 * and begins the next.  Where the kernel's clock is the TSC, or kvm-clock, which is made of it, stamps are
 * CLOCK_MONOTONIC, converted between pairs of TSC and clock that are read at each drain: off by some 30 ns,
 * and vta_tasks_bound() says how much at most.  Elsewhere they are the TSC itself, read by the perf event
 *   msr/tsc/: exact to the tick, 0.1 us dearer.  Interrupts, but for those of the idle task, are stretches of
 *   VTG_TID_INTERRUPTS, cut out of that of whom they hit.  A switch that no probe saw is a loss;
 *   where the scheduler's own account tells when the task that is next seen to leave had
 *   come, his stretch begins then, to some microseconds.
 * VTG_TASKS_PERF (perf_event_paranoid < 0 or root, kernel 4.3+).  All tasks of all
 *   vCPUs, from PERF_RECORD_SWITCH.  `waited` is known of tasks that were pre-empted
 *   only (4.17+ tells who was).  Stamps are CLOCK_MONOTONIC_RAW, converted
 *   likewise; vta_tasks_bound().  CPUs that come online later are not told of.
 * VTG_TASKS_SAMPLED (anyone).  Only the tasks that vta_tasks_mark() chose: one
 *   stretch for each task and drain on the vCPU that it used last, as long as its run
 *   time grew (schedstat; else utime + stime, in ticks of user_hz) and laid before the
 *   drain's instant one after the other.  Lengths are measured, places are not.
 *
 * A task that runs on at a drain has the stretch so far told, with the end
 * VTG_TASK_UNKNOWN; the rest follows from there, has waited 0 and did not sleep (VTG_WAKE_NONE).
 */
#ifndef VTA_TASKS_H
#define VTA_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

struct vta_tasks;

/** Writes a frame's payload; called from within vta_tasks_drain() only.  False: there was no room for it. */
typedef bool vta_frame_sink(void *context, enum vtg_type type, const void *payload, uint32_t len);

/**
 * Opens the best source that there is; to be closed by vta_tasks_close().  0, or
 * -errno with the reason of each source that failed in err; ret_x are untouched then.
 * On success err has the reasons for which better sources were passed over, if any.
 */
int vta_tasks_open(struct vta_tasks **ret, enum vtg_task_source *ret_source, char *err, size_t n);

/** Readable when a drain is due before much is lost; -1: drain at each view. */
int vta_tasks_fd(const struct vta_tasks *t);

/**
 * Tells what is new: VTG_TASK before the first stretch of a task (and again when its
 * name or mark has changed, or there was no room), and VTG_TASKS.  Frames of one vCPU are in
 * order of time.
 */
void vta_tasks_drain(struct vta_tasks *t, vta_frame_sink *frame, void *context);

/** Somebody else listens from now on, who has heard no VTG_TASK. */
void vta_tasks_tell_again(struct vta_tasks *t);

/** The process `pid`, all that descend from it, and all that ever will, belong to `mark`; 0: to none again.
 */
void vta_tasks_mark(struct vta_tasks *t, uint32_t pid, uint32_t mark);

/** By how many ticks of the TSC a stamp may be off, at most, so far; 0: exact (see above). */
uint64_t vta_tasks_bound(const struct vta_tasks *t);

/** Accepts NULL. */
void vta_tasks_close(struct vta_tasks *t);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an agent in a guest's system said of its tasks, processes and benchmark
 * runs; not trusted, and bounded: a guest that floods hurts its own rows only.
 */
#ifndef VT_TASKLOG_H
#define VT_TASKLOG_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/record.h"

/** A thread of the guest under one name: a new name, or a reused tid, is another one. */
struct vt_guest_task {
    uint32_t tid, tgid;
    uint32_t mark;          /* of the benchmark that it belongs to, 0: none */
    char comm[VT_COMM_LEN]; /* hostile, padded with zeros */
};

/** What one VTG_TASKS frame said: stretch[first] and the nr - 1 that follow, in order of time. */
struct vt_task_batch {
    host_ns host; /* when the host had it */
    uint32_t cpu; /* of the guest */
    uint32_t source;
    uint32_t lost; /* stretches missing before it */
    uint32_t nr;
    size_t first;
};

/** A task on a guest's CPU, in guest TSC. */
struct vt_task_stretch {
    uint64_t from, to;
    uint64_t waited; /* ticks before `from` in which it was runnable */
    uint64_t late;   /* as in struct vtg_stretch */
    uint32_t who;    /* into task[]; VT_TASK_IDLE, or VT_TASK_STRANGER: nobody said who that tid is */
    uint32_t waker;  /* tid, of VTG_WAKE_TASK */
    uint16_t end;    /* enum vtg_task_end */
    uint16_t wake;   /* enum vtg_wake */
};
#define VT_TASK_IDLE     UINT32_MAX
#define VT_TASK_STRANGER (UINT32_MAX - 1)

struct vt_process_reading {
    host_ns host;
    struct vtg_process process;
};

struct vt_run_row {
    host_ns host;
    struct vtg_run run;
};

#define VT_TASK_LOG_CPUS 64 /* of those beyond, what overlaps is not looked for */
struct vt_guest_time;
struct vt_task_log {
    struct vt_guest_task *task;
    size_t nr_task, room_task;
    uint32_t *newest; /* hash by tid of the newest task so called: 1 + index, 0: free */
    size_t slots;     /* a power of two */
    struct vt_task_batch *batch;
    size_t nr_batch, room_batch;
    struct vt_task_stretch *stretch;
    size_t nr_stretch, room_stretch;
    uint64_t bad_stretches; /* that made no sense */
    /* That lie over the frame before of the same vCPU: two tasks at one time. They are kept: who lies
     * spoils his own figures. */
    uint64_t overlaps;
    host_ns overlapped; /* the first */
    struct {
        uint64_t from, to;
    } told[VT_TASK_LOG_CPUS];
    struct vt_process_reading *reading;
    size_t nr_reading, room_reading;
    struct vt_run_row *run;
    size_t nr_run, room_run;
};

/** Keeps a TASK, TASKS, PROCESS or RUN record; others are none of its. 0 or -ENOMEM. */
int vt_task_log_add(struct vt_task_log *log, const struct vt_guest_record *row);
/** Drops what came before `before`. */
void vt_task_log_forget(struct vt_task_log *log, uint64_t before);
void vt_task_log_release(struct vt_task_log *log);

/** May the window hold a stretch of it?  One look, of the budget, spares as many as there are in it. */
bool vt_task_batch_touches(const struct vt_task_log *log, const struct vt_task_batch *batch,
                           const struct vt_guest_time *time, struct vt_window window, uint64_t *budget);

/** What wait4 said of this mark's run, the newest that came in [from, to]; NULL: nothing. */
const struct vt_run_row *vt_task_log_run(const struct vt_task_log *log, uint32_t mark, host_ns from,
                                         host_ns to);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/tasklog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"
#include "vt/task_pack.h"

/* Of one VM. The oldest half goes when there are more. */
#define MAX_TASKS     (UINT32_C(1) << 18)
#define MAX_STRETCHES (UINT32_C(1) << 22)
#define MAX_BATCHES   (MAX_STRETCHES / 4)
#define MAX_READINGS  (UINT32_C(1) << 18)
#define MAX_RUNS      4096u

enum { FIRST_SLOTS = 64 };

#define GROW(log, x) vt_grow((void **)&(log)->x, &(log)->room_##x, (log)->nr_##x, sizeof(*(log)->x))

/* ---- who is who ---- */

/* The slot of this tid, or the free one where it belongs. Fibonacci hashing (Knuth 6.4). */
static uint32_t *slot_of(const struct vt_task_log *log, uint32_t tid)
{
    size_t i = (tid * UINT32_C(2654435769)) & (log->slots - 1);
    while (log->newest[i] && log->task[log->newest[i] - 1].tid != tid)
        i = (i + 1) & (log->slots - 1);
    return &log->newest[i];
}

static int rehash(struct vt_task_log *log, size_t slots)
{
    uint32_t *table = calloc(slots, sizeof(*table));
    if (!table)
        return -ENOMEM;
    free(log->newest);
    log->newest = table;
    log->slots = slots;
    for (size_t i = 0; i < log->nr_task; i++)
        *slot_of(log, log->task[i].tid) = (uint32_t)i + 1;
    return 0;
}

static int add_task(struct vt_task_log *log, const struct vtg_task *t)
{
    struct vt_guest_task task = { .tid = t->tid, .tgid = t->tgid, .mark = t->mark };
    memcpy(task.comm, t->comm, strnlen(t->comm, sizeof(task.comm) - 1));
    if (log->nr_task >= MAX_TASKS) /* it is a stranger from here on */
        return 0;
    int r = 2 * (log->nr_task + 1) > log->slots ? rehash(log, log->slots ? 2 * log->slots : FIRST_SLOTS) : 0;
    if (r)
        return r;
    uint32_t *slot = slot_of(log, task.tid);
    if (*slot && memcmp(&log->task[*slot - 1], &task, sizeof(task)) == 0)
        return 0;
    r = GROW(log, task);
    if (r)
        return r;
    log->task[log->nr_task++] = task;
    *slot = (uint32_t)log->nr_task;
    return 0;
}

static uint32_t who_is(const struct vt_task_log *log, uint32_t tid)
{
    if (tid == 0)
        return VT_TASK_IDLE;
    const uint32_t slot = log->slots ? *slot_of(log, tid) : 0;
    return slot ? slot - 1 : VT_TASK_STRANGER;
}

/* ---- stretches ---- */

static void drop_batches(struct vt_task_log *log, size_t n)
{
    if (n == 0)
        return;
    const size_t stretches = n < log->nr_batch ? log->batch[n].first : log->nr_stretch;
    log->nr_stretch -= stretches;
    if (log->nr_stretch) /* frames may have told of losses only */
        memmove(log->stretch, log->stretch + stretches, log->nr_stretch * sizeof(*log->stretch));
    log->nr_batch -= n;
    memmove(log->batch, log->batch + n, log->nr_batch * sizeof(*log->batch));
    for (size_t i = 0; i < log->nr_batch; i++)
        log->batch[i].first -= stretches;
}

static int add_stretch(struct vt_task_log *log, struct vt_task_batch *b, const struct vtg_stretch *s)
{
    int r = GROW(log, stretch);
    if (r)
        return r;
    log->stretch[log->nr_stretch++] = (struct vt_task_stretch){ .from = s->from,
                                                                .to = s->to,
                                                                .waited = s->waited,
                                                                .late = s->late,
                                                                .who = who_is(log, s->tid),
                                                                .waker = s->waker,
                                                                .end = (uint16_t)s->end,
                                                                .wake = (uint16_t)s->wake };
    b->nr++;
    return 0;
}

/* So many ticks are an agent's own two views of one switch. */
#define OVERLAP_LEAST 1000000u

/* Against the frame before: another boot's TSCs lie elsewhere and are no overlap. */
static void look_for_overlap(struct vt_task_log *log, const struct vt_task_batch *b)
{
    if (b->cpu >= VT_TASK_LOG_CPUS || !b->nr)
        return;
    const uint64_t from = log->stretch[b->first].from, to = log->stretch[b->first + b->nr - 1].to;
    const uint64_t begin = vt_max(from, log->told[b->cpu].from), end = vt_min(to, log->told[b->cpu].to);
    if (end > begin && end - begin > OVERLAP_LEAST && !log->overlaps++)
        log->overlapped = b->host;
    log->told[b->cpu].from = from;
    log->told[b->cpu].to = to;
}

static int add_tasks(struct vt_task_log *log, host_ns host, const struct vtg_tasks *t)
{
    struct vt_task_batch b = { .host = host,
                               .cpu = t->cpu,
                               .source = t->source <= VTG_TASKS_SAMPLED ? t->source : VTG_TASKS_SAMPLED,
                               .lost = t->lost };
    struct vtg_task_cursor at = vtg_task_begin(t);
    struct vtg_stretch s;
    if (log->nr_stretch >= MAX_STRETCHES || log->nr_batch >= MAX_BATCHES)
        drop_batches(log, log->nr_batch / 2);
    b.first = log->nr_stretch;
    int r = GROW(log, batch);
    for (uint32_t i = 0; i < t->nr && !r; i++) {
        if (!vtg_unpack_stretch(t, &at, &s)) {
            log->bad_stretches += t->nr - i;
            break;
        }
        r = add_stretch(log, &b, &s);
    }
    if (r)
        return r;
    if (!b.nr && !b.lost) /* it says nothing */
        return 0;
    look_for_overlap(log, &b);
    log->batch[log->nr_batch++] = b;
    return 0;
}

/* A batch is told when all of it has happened, and its stretches are in order; by a clock that was set back
 * meanwhile the last may lie before the first. */
bool vt_task_batch_touches(const struct vt_task_log *log, const struct vt_task_batch *batch,
                           const struct vt_guest_time *time, struct vt_window window, uint64_t *budget)
{
    if (!batch->nr || batch->host.v < window.from.v)
        return false;
    const guest_tsc edges[2] = { { log->stretch[batch->first].from },
                                 { log->stretch[batch->first + batch->nr - 1].from } };
    vt_spend(budget, 1);
    for (int i = 0; i < 2; i++) {
        host_ns at;
        uint64_t bound;
        if (time->to_ns(time->context, batch->cpu, edges[i], batch->host, &at, &bound) || at.v < window.to.v)
            return true;
    }
    return false;
}

/* ---- the rest ---- */

static void drop_oldest(void *array, size_t *n, size_t drop, size_t size)
{
    *n -= drop;
    memmove(array, (char *)array + drop * size, *n * size);
}

static int add_reading(struct vt_task_log *log, host_ns host, const struct vtg_process *p)
{
    if (log->nr_reading >= MAX_READINGS)
        drop_oldest(log->reading, &log->nr_reading, MAX_READINGS / 2, sizeof(*log->reading));
    int r = GROW(log, reading);
    if (!r)
        log->reading[log->nr_reading++] = (struct vt_process_reading){ host, *p };
    return r;
}

static int add_run(struct vt_task_log *log, host_ns host, const struct vtg_run *run)
{
    if (log->nr_run >= MAX_RUNS)
        drop_oldest(log->run, &log->nr_run, MAX_RUNS / 2, sizeof(*log->run));
    int r = GROW(log, run);
    if (!r)
        log->run[log->nr_run++] = (struct vt_run_row){ host, *run };
    return r;
}

int vt_task_log_add(struct vt_task_log *log, const struct vt_guest_record *row)
{
    switch (row->type) {
    case VTG_TASK:
        return add_task(log, &row->task);
    case VTG_TASKS:
        return add_tasks(log, row->host, &row->tasks);
    case VTG_PROCESS:
        return add_reading(log, row->host, &row->process);
    case VTG_RUN:
        return add_run(log, row->host, &row->run);
    default:
        return 0;
    }
}

void vt_task_log_forget(struct vt_task_log *log, uint64_t before)
{
    size_t n = 0;
    while (n < log->nr_batch && log->batch[n].host.v < before)
        n++;
    drop_batches(log, n);
    n = 0;
    while (n < log->nr_reading && log->reading[n].host.v < before)
        n++;
    if (n)
        drop_oldest(log->reading, &log->nr_reading, n, sizeof(*log->reading));
    n = 0;
    while (n < log->nr_run && log->run[n].host.v < before)
        n++;
    if (n)
        drop_oldest(log->run, &log->nr_run, n, sizeof(*log->run));
}

void vt_task_log_release(struct vt_task_log *log)
{
    free(log->task);
    free(log->newest);
    free(log->batch);
    free(log->stretch);
    free(log->reading);
    free(log->run);
    *log = (struct vt_task_log){ 0 };
}

const struct vt_run_row *vt_task_log_run(const struct vt_task_log *log, uint32_t mark, host_ns from,
                                         host_ns to)
{
    for (size_t i = log->nr_run; i-- > 0;) {
        const struct vt_run_row *row = &log->run[i];
        if (row->run.mark == mark && row->host.v >= from.v && row->host.v <= to.v)
            return row;
    }
    return NULL;
}

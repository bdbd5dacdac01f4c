/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source: the context-switch records of perf_event, one buffer for each CPU. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest-agent/readtext.h"
#include "guest-agent/task_source.h"
#include "guest-agent/task_time.h"

enum { DATA_PAGES = 128 }; /* a power of two; two records of 40 bytes for each switch: 6500 switches */

/* sample_id of sample_type TID | TIME, at the end of each record (linux/perf_event.h) */
struct sample_id {
    uint32_t pid, tid;
    uint64_t time;
};
struct switch_record {
    uint32_t other_pid, other_tid;
    struct sample_id id;
};
struct task_record { /* FORK, EXIT */
    uint32_t pid, ppid, tid, ptid;
    uint64_t time;
    struct sample_id id;
};
struct comm_record {
    uint32_t pid, tid;
    char comm[16]; /* or shorter, with zeroes up to a multiple of 8 */
};
struct lost_record {
    uint64_t id, lost;
};

/* A task that was pre-empted waits since then; direct-mapped: one that is pushed out has waited "not known".
 */
struct wait {
    uint64_t since;
    uint32_t tid;
};
enum { NR_WAITS = 4096 };

struct cpu {
    int fd;
    struct perf_event_mmap_page *page;
    struct vta_line line;
    uint64_t head;    /* of the present drain */
    uint32_t exiting; /* tid of who is about to leave for good */
    uint32_t dead;    /* and of who has left last: should he come again, he has the id -1 */
};

struct reader {
    uint32_t nr_cpus;
    int epoll;
    size_t page_size;
    struct cpu *cpus;
    struct wait waits[NR_WAITS];
    struct vta_span span;
    uint64_t bound;
};

static void perf_close(void *state)
{
    struct reader *r = state;
    if (!r)
        return;
    for (uint32_t i = 0; r->cpus && i < r->nr_cpus; i++) {
        if (r->cpus[i].page)
            munmap(r->cpus[i].page, (DATA_PAGES + 1) * r->page_size);
        if (r->cpus[i].fd >= 0)
            close(r->cpus[i].fd);
    }
    if (r->epoll >= 0)
        close(r->epoll);
    free(r->cpus);
    free(r);
}

static int open_event(uint32_t cpu)
{
    struct perf_event_attr attr = { .size = sizeof(attr),
                                    .type = PERF_TYPE_SOFTWARE,
                                    .config = PERF_COUNT_SW_DUMMY,
                                    .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
                                    .sample_id_all = 1,
                                    .context_switch = 1,
                                    .task = 1,
                                    .comm = 1,
                                    .watermark = 1,
                                    .wakeup_watermark = DATA_PAGES * 4096u / 2,
                                    .use_clockid = 1,
                                    .clockid = CLOCK_MONOTONIC_RAW };
    const long fd = syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

static int open_cpu(struct reader *r, uint32_t cpu)
{
    struct cpu *c = &r->cpus[cpu];
    struct epoll_event event = { .events = EPOLLIN };
    c->fd = open_event(cpu);
    if (c->fd < 0)
        return c->fd;
    void *page = mmap(NULL, (DATA_PAGES + 1) * r->page_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    c->page = page;
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &event))
        return -errno;
    vta_line_begin(&c->line, vta_tsc());
    return 0;
}

/* CPUs that are offline now are not told of when they come: ENODEV is no failure. */
static int open_cpus(struct reader *r)
{
    char online[256];
    if (vta_read_text("/sys/devices/system/cpu/online", online, sizeof(online)) <= 0)
        strcpy(online, "0");
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++) {
        const int err = vta_in_list(online, cpu) ? open_cpu(r, cpu) : 0;
        if (err)
            return err;
    }
    return 0;
}

static int perf_open(void **ret, struct vta_out *out, char *err, size_t n)
{
    struct reader *r = calloc(1, sizeof(*r));
    int result = -ENOMEM;
    (void)out;
    if (!r)
        goto fail;
    r->page_size = (size_t)sysconf(_SC_PAGESIZE);
    r->nr_cpus = vta_nr_cpus();
    r->cpus = calloc(r->nr_cpus, sizeof(*r->cpus));
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!r->cpus || r->epoll < 0)
        goto fail;
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        r->cpus[cpu].fd = -1;
    r->span.after = vta_pair_read(CLOCK_MONOTONIC_RAW);
    result = open_cpus(r);
    if (result)
        goto fail;
    *ret = r;
    return 0;
fail:
    snprintf(err, n, "perf_event_open: %s", strerror(-result));
    perf_close(r);
    return result;
}

/* ---- waits ---- */

static void wait_begins(struct reader *r, uint32_t tid, uint64_t at)
{
    r->waits[tid % NR_WAITS] = (struct wait){ .since = at, .tid = tid };
}

/* What is known of the wait of who comes: if he was pre-empted, all; else nothing. */
static struct vta_coming wait_ends(struct reader *r, uint32_t tid, uint64_t at)
{
    struct wait *w = &r->waits[tid % NR_WAITS];
    struct vta_coming coming = { .tid = tid };
    if (tid == 0 || w->tid != tid)
        return coming;
    w->tid = 0;
    coming.wake = VTG_WAKE_NONE;
    coming.waited = at > w->since ? at - w->since : 0;
    return coming;
}

/* ---- records ---- */

static void take_out(struct reader *r, struct vta_out *out, uint32_t cpu, bool preempted,
                     const struct switch_record *s)
{
    struct cpu *c = &r->cpus[cpu];
    const uint64_t at = vta_span_tsc(&r->span, s->id.time);
    /* of who is dead already the id is gone: -1 */
    const uint32_t tid = s->id.tid == UINT32_MAX && c->line.knows_who ? c->line.who.tid : s->id.tid;
    const bool exited = s->id.tid == UINT32_MAX || (tid && tid == c->exiting && !preempted);
    const enum vtg_task_end end = exited ? VTG_TASK_EXITED : preempted ? VTG_TASK_PREEMPTED : VTG_TASK_SLEPT;
    const uint32_t next = s->other_tid == UINT32_MAX ? c->dead : s->other_tid;
    struct vta_coming coming;
    struct vtg_stretch stretch;
    if (!c->line.knows_who)
        vta_line_resume(&c->line, 0, &(struct vta_coming){ .tid = tid });
    if (c->line.who.tid != tid)
        c->line.knows_since = false;
    if (preempted && tid)
        wait_begins(r, tid, at);
    coming = wait_ends(r, next, at);
    if (vta_line_switch(&c->line, at, end, &coming, &stretch))
        vta_tell(out, cpu, &c->line.lost, &stretch);
    c->exiting = 0;
    if (!exited)
        return;
    c->dead = tid;
    vta_who_remove(&out->whos, tid);
}

/* Only after a loss: it tells who has the CPU since when. */
static void take_in(struct reader *r, uint32_t cpu, const struct switch_record *s)
{
    struct vta_line *line = &r->cpus[cpu].line;
    if (!line->knows_since)
        vta_line_resume(line, vta_span_tsc(&r->span, s->id.time), &(struct vta_coming){ .tid = s->id.tid });
}

static void take_fork(struct vta_whos *whos, const struct task_record *f)
{
    struct vta_who who = { .tid = f->tid, .tgid = f->pid, .parent_tid = f->ptid, .parent_tgid = f->ppid };
    const struct vta_who *parent = vta_who_find(whos, f->ptid);
    if (parent) /* until it has a name of its own */
        memcpy(who.comm, parent->comm, sizeof(who.comm));
    vta_who_add(whos, &who);
}

/* Births and names: of all CPUs before the switches, so that nobody runs before he was born. */
static void take_names(struct vta_whos *whos, const struct perf_event_header *head, const void *body)
{
    if (head->type == PERF_RECORD_FORK) {
        take_fork(whos, body);
    } else if (head->type == PERF_RECORD_COMM) {
        const struct comm_record *c = body;
        const size_t len = strnlen(c->comm, sizeof(c->comm) - 1);
        char comm[16] = { 0 };
        memcpy(comm, c->comm, len);
        vta_who_rename(whos, c->tid, comm);
    }
}

static void take_loss(struct vta_line *line, const struct lost_record *l)
{
    vta_line_lose(line,
                  (uint32_t)l->lost / 2); /* two records for each switch; the one cut off is counted later */
}

static void take_switches(struct reader *r, struct vta_out *out, uint32_t cpu,
                          const struct perf_event_header *head, const void *body)
{
    if (head->type == PERF_RECORD_SWITCH_CPU_WIDE && head->misc & PERF_RECORD_MISC_SWITCH_OUT)
        take_out(r, out, cpu, head->misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT, body);
    else if (head->type == PERF_RECORD_SWITCH_CPU_WIDE)
        take_in(r, cpu, body);
    else if (head->type == PERF_RECORD_EXIT)
        r->cpus[cpu].exiting = ((const struct task_record *)body)->tid;
    else if (head->type == PERF_RECORD_LOST)
        take_loss(&r->cpus[cpu].line, body);
}

enum { ROOM = 16 }; /* words: none of ours has as many */

/* The record at `at`, made whole in `room` where it goes over the buffer's end. */
static const struct perf_event_header *record_at(const struct reader *r, const struct cpu *c, uint64_t at,
                                                 uint64_t *room)
{
    const size_t size = DATA_PAGES * r->page_size;
    const uint8_t *data = (const uint8_t *)c->page + r->page_size;
    const struct perf_event_header *head = (const void *)(data + at % size);
    const size_t first = size - at % size;
    if (head->size <= first || head->size > ROOM * sizeof(*room))
        return head;
    memcpy(room, head, first);
    memcpy((uint8_t *)room + first, data, head->size - first);
    return (const void *)room;
}

enum pass { NAMES, SWITCHES };

static void take_records(struct reader *r, struct vta_out *out, uint32_t cpu, enum pass pass)
{
    uint64_t room[ROOM];
    struct cpu *c = &r->cpus[cpu];
    for (uint64_t at = c->page->data_tail; at < c->head;) {
        const struct perf_event_header *head = record_at(r, c, at, room);
        if (head->size < sizeof(*head))
            break;
        if (pass == NAMES)
            take_names(&out->whos, head, head + 1);
        else
            take_switches(r, out, cpu, head, head + 1);
        at += head->size;
    }
}

static void next_span(struct reader *r)
{
    const struct vta_span before = r->span;
    r->span.before = before.after;
    r->span.after = vta_pair_read(CLOCK_MONOTONIC_RAW);
    const uint64_t bound = vta_span_bound(&r->span, &before);
    if (bound > r->bound)
        r->bound = bound;
}

/*
 * Who has a CPU has had it until the last drain at least: what was stamped before that is in
 * the buffer by now, unless the host held the vCPU in the midst of a record for as long.
 * Then the stretch that ended is told too long, and the next too short, by no more than that.
 */
static void cut(const struct reader *r, struct vta_out *out, uint32_t cpu)
{
    struct vta_line *line = &r->cpus[cpu].line;
    struct vtg_stretch so_far;
    if (vta_line_cut(line, r->span.before.tsc, &so_far))
        vta_tell(out, cpu, &line->lost, &so_far);
}

static void perf_drain(void *state, struct vta_out *out)
{
    struct reader *r = state;
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        if (r->cpus[cpu].page)
            r->cpus[cpu].head =
                atomic_load_explicit((_Atomic uint64_t *)&r->cpus[cpu].page->data_head, memory_order_acquire);
    next_span(r);
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        if (r->cpus[cpu].page)
            take_records(r, out, cpu, NAMES);
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++) {
        struct cpu *c = &r->cpus[cpu];
        if (!c->page)
            continue;
        take_records(r, out, cpu, SWITCHES);
        cut(r, out, cpu);
        atomic_store_explicit((_Atomic uint64_t *)&c->page->data_tail, c->head, memory_order_release);
    }
}

static int perf_fd(const void *state)
{
    const struct reader *r = state;
    return r->epoll;
}

static uint64_t perf_bound(const void *state)
{
    const struct reader *r = state;
    return r->bound;
}

const struct vta_source vta_source_perf = { .name = "perf",
                                            .source = VTG_TASKS_PERF,
                                            .open = perf_open,
                                            .fd = perf_fd,
                                            .drain = perf_drain,
                                            .bound = perf_bound,
                                            .close = perf_close };

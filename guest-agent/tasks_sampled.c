/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Source: /proc, of the marked processes and their descendants.  What a task runs
 * after the last drain that sees it is not told.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest-agent/readtext.h"
#include "guest-agent/task_source.h"
#include "guest-agent/task_time.h"

enum { TASKS_MOST = 4096 };

struct task {
    uint32_t tid, tgid, cpu;
    uint64_t start; /* since the boot, user_hz: with tid, a unique key */
    uint64_t run_ns, delay_ns;
    uint64_t ran, waited; /* ticks, in the present interval */
    bool seen;            /* in the present drain */
};

/* A piece of a task's run time, laid on a CPU. */
struct piece {
    uint32_t cpu, tid;
    uint64_t ticks, waited;
};

struct reader {
    struct task *tasks;
    size_t nr, room;
    uint32_t nr_cpus;
    uint64_t *used;       /* of the present interval, ticks, by CPU */
    struct piece *pieces; /* room for a rest on every CPU beside one for each task */
    size_t nr_pieces;
    struct vta_span span;
    uint64_t ns_per_tick; /* of utime and stime */
    struct vta_whos *whos;
};

static void sampled_close(void *state)
{
    struct reader *r = state;
    if (!r)
        return;
    free(r->tasks);
    free(r->used);
    free(r->pieces);
    free(r);
}

static int sampled_open(void **ret, struct vta_out *out, char *err, size_t n)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (r) {
        r->whos = &out->whos;
        r->nr_cpus = vta_nr_cpus();
        r->used = calloc(r->nr_cpus, sizeof(*r->used));
    }
    if (!r || !r->used) {
        snprintf(err, n, "%s", strerror(ENOMEM));
        sampled_close(r);
        return -ENOMEM;
    }
    r->ns_per_tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    r->span.after = vta_pair_read(CLOCK_MONOTONIC);
    *ret = r;
    return 0;
}

/* ---- a task's account ---- */

/* The number-th field (from 3) of a stat line, whose second is "(comm)" and may hold anything; 0: none. */
static uint64_t field(const char *stat, int number)
{
    const char *at = strrchr(stat, ')');
    for (int i = 2; at && i < number; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

enum { UTIME = 14, STIME = 15, STARTTIME = 22, PROCESSOR = 39 }; /* proc(5) */

static bool read_task(const struct reader *r, uint32_t tgid, uint32_t tid, struct task *ret)
{
    char path[64], text[1024];
    unsigned long long run, delay;
    snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", tgid, tid);
    if (vta_read_text(path, text, sizeof(text)) <= 0)
        return false;
    *ret = (struct task){ .tid = tid,
                          .tgid = tgid,
                          .cpu = (uint32_t)field(text, PROCESSOR),
                          .start = field(text, STARTTIME),
                          .run_ns = (field(text, UTIME) + field(text, STIME)) * r->ns_per_tick };
    snprintf(path, sizeof(path), "/proc/%u/task/%u/schedstat", tgid, tid);
    if (vta_read_text(path, text, sizeof(text)) > 0 && sscanf(text, "%llu %llu", &run, &delay) == 2) {
        ret->run_ns = run;
        ret->delay_ns = delay;
    }
    if (ret->cpu >= r->nr_cpus)
        ret->cpu = 0;
    return true;
}

static struct task *find(struct reader *r, uint32_t tid)
{
    for (size_t i = 0; i < r->nr; i++)
        if (r->tasks[i].tid == tid)
            return &r->tasks[i];
    return NULL;
}

static struct task *grow(struct reader *r)
{
    if (r->nr == r->room) {
        const size_t room = r->room ? r->room * 2 : 64;
        struct task *tasks = room > TASKS_MOST ? NULL : realloc(r->tasks, room * sizeof(*tasks));
        struct piece *pieces = tasks ? realloc(r->pieces, (room + r->nr_cpus) * sizeof(*pieces)) : NULL;
        r->tasks = tasks ? tasks : r->tasks;
        r->pieces = pieces ? pieces : r->pieces;
        if (!pieces)
            return NULL;
        r->room = room;
    }
    return &r->tasks[r->nr++];
}

/* Who is new counts from now on, or, having been born since the last drain, from his beginning. */
static void take_task(struct reader *r, uint32_t tgid, uint32_t tid, bool from_now)
{
    struct task now, *t = find(r, tid);
    struct vta_who who;
    if (!read_task(r, tgid, tid, &now))
        return;
    if (!t || t->start != now.start) {
        t = t ? t : grow(r);
        if (!t)
            return;
        *t = now;
        if (vta_proc_who(tid, &who))
            vta_who_add(r->whos, &who);
        if (!from_now)
            t->run_ns = t->delay_ns = 0;
    }
    t->ran += vta_span_ticks(&r->span, now.run_ns > t->run_ns ? now.run_ns - t->run_ns : 0);
    t->waited += vta_span_ticks(&r->span, now.delay_ns > t->delay_ns ? now.delay_ns - t->delay_ns : 0);
    t->run_ns = now.run_ns;
    t->delay_ns = now.delay_ns;
    t->cpu = now.cpu;
    t->seen = true;
}

/* ---- whose tasks ---- */

static void take_process(struct reader *r, uint32_t pid, bool from_now, int depth);

/* Its children by /proc/PID/task/TID/children. */
static void take_children(struct reader *r, uint32_t pid, uint32_t tid, bool from_now, int depth)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%u/task/%u/children", pid, tid);
    if (vta_read_text(path, text, sizeof(text)) <= 0)
        return;
    for (char *at = text; isdigit((unsigned char)*at); at += *at == ' ')
        take_process(r, (uint32_t)strtoul(at, &at, 10), from_now, depth);
}

/* A process, its threads and its children; the depth of a tree of processes is bounded. */
static void take_process(struct reader *r, uint32_t pid, bool from_now, int depth)
{
    char path[40];
    const struct dirent *entry;
    const struct task *t = find(r, pid);
    if (depth > 32 || (t && t->seen))
        return;
    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    DIR *folder = opendir(path);
    while (folder && (entry = readdir(folder))) {
        const uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);
        if (tid == 0)
            continue;
        take_task(r, pid, tid, from_now);
        take_children(r, pid, tid, from_now, depth + 1);
    }
    if (folder)
        closedir(folder);
}

static void begin_drain(struct reader *r)
{
    for (size_t i = 0; i < r->nr; i++) {
        r->tasks[i].seen = false;
        r->tasks[i].ran = r->tasks[i].waited = 0;
    }
}

/* Also those whose parents are gone: each known task's process is looked at. */
static void take_all(struct reader *r)
{
    for (size_t i = 0; i < r->nr; i++)
        if (!r->tasks[i].seen)
            take_process(r, r->tasks[i].tgid, false, 0);
}

static void forget_gone(struct reader *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->nr; i++) {
        if (r->tasks[i].seen)
            r->tasks[kept++] = r->tasks[i];
        else
            vta_who_remove(r->whos, r->tasks[i].tid);
    }
    r->nr = kept;
}

/* ---- laying out ---- */

/* The CPU it used last, or one that has room in the interval (a task may have run on several). */
static uint32_t cpu_with_room(const struct reader *r, uint32_t first, uint64_t interval)
{
    uint32_t cpu = first;
    for (uint32_t i = 0; i < r->nr_cpus && r->used[cpu] >= interval; i++)
        cpu = (cpu + 1) % r->nr_cpus;
    return cpu;
}

static void lay(struct reader *r, const struct task *t, uint64_t interval)
{
    uint64_t left = t->ran, waited = t->waited;
    while (left && r->nr_pieces < r->room + r->nr_cpus) {
        const uint32_t cpu = cpu_with_room(r, t->cpu, interval);
        const uint64_t room = interval - r->used[cpu], ticks = left < room ? left : room;
        if (ticks == 0)
            return; /* all CPUs are full: readings were not of one instant */
        r->pieces[r->nr_pieces++] = (struct piece){ cpu, t->tid, ticks, waited };
        r->used[cpu] += ticks;
        left -= ticks;
        waited = 0;
    }
}

static void tell_cpu(struct reader *r, struct vta_out *out, uint32_t cpu)
{
    uint64_t at = r->span.after.tsc - r->used[cpu];
    uint32_t lost = 0;
    for (size_t i = 0; i < r->nr_pieces; i++) {
        const struct piece *p = &r->pieces[i];
        if (p->cpu != cpu)
            continue;
        const struct vtg_stretch s = {
            .from = at, .to = at + p->ticks, .waited = p->waited, .tid = p->tid, .end = VTG_TASK_UNKNOWN
        };
        vta_tell(out, cpu, &lost, &s);
        at += p->ticks;
    }
}

static void sampled_drain(void *state, struct vta_out *out)
{
    struct reader *r = state;
    r->span.before = r->span.after;
    r->span.after = vta_pair_read(CLOCK_MONOTONIC);
    begin_drain(r);
    take_all(r);
    memset(r->used, 0, r->nr_cpus * sizeof(*r->used));
    r->nr_pieces = 0;
    for (size_t i = 0; i < r->nr; i++)
        lay(r, &r->tasks[i], r->span.after.tsc - r->span.before.tsc);
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        tell_cpu(r, out, cpu);
    forget_gone(r);
}

static void sampled_mark(void *state, uint32_t pid, uint32_t mark)
{
    struct reader *r = state;
    if (mark)
        take_process(r, pid, true, 0);
}

static int sampled_fd(const void *state)
{
    (void)state;
    return -1;
}

/* The place of a stretch is not known at all. */
static uint64_t sampled_bound(const void *state)
{
    const struct reader *r = state;
    return r->span.after.tsc - r->span.before.tsc;
}

const struct vta_source vta_source_sampled = { .name = "sampled",
                                               .source = VTG_TASKS_SAMPLED,
                                               .open = sampled_open,
                                               .fd = sampled_fd,
                                               .drain = sampled_drain,
                                               .mark = sampled_mark,
                                               .bound = sampled_bound,
                                               .close = sampled_close };

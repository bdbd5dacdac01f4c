/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest-agent/clocks.h"
#include "guest-agent/procfs.h"
#include "guest-agent/readtext.h"

#define PATH_ROOM 64

/* The number that a directory's entry is, or 0. */
static uint32_t entry_number(const struct dirent *entry)
{
    char *end;
    const unsigned long v = strtoul(entry->d_name, &end, 10);
    return *end || entry->d_name[0] < '0' || entry->d_name[0] > '9' ? 0 : (uint32_t)v;
}

static void each_number(const char *path, void (*found)(void *context, uint32_t number), void *context)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        const uint32_t number = entry_number(entry);
        if (number)
            found(context, number);
    }
    closedir(dir);
}

struct schedstat_sum {
    uint32_t pid;
    uint64_t run_ns, delay_ns;
};

static void add_schedstat(void *context, uint32_t tid)
{
    struct schedstat_sum *sum = context;
    char path[PATH_ROOM], text[96];
    uint64_t run, delay;
    snprintf(path, sizeof(path), "/proc/%u/task/%u/schedstat", sum->pid, tid);
    if (vta_read_text(path, text, sizeof(text)) <= 0 || !vta_parse_schedstat(text, &run, &delay))
        return;
    sum->run_ns += run;
    sum->delay_ns += delay;
}

int vta_process_read(uint32_t pid, struct vtg_process *ret)
{
    struct vtg_process process = { .tsc_before = vta_tsc() };
    struct schedstat_sum sum = { .pid = pid };
    char path[PATH_ROOM], text[1024];
    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    if (vta_read_text(path, text, sizeof(text)) <= 0 || !vta_parse_process(text, vta_user_hz(), &process))
        return -ESRCH;
    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    if (process.threads <= 1)
        add_schedstat(&sum, pid);
    else
        each_number(path, add_schedstat, &sum);
    process.run_ns = sum.run_ns;
    process.delay_ns = sum.delay_ns;
    process.tsc_after = vta_tsc();
    *ret = process;
    return 0;
}

void vta_processes_init(struct vta_processes *p)
{
    char path[PATH_ROOM];
    memset(p, 0, sizeof(*p));
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    p->has_children = access(path, R_OK) == 0;
}

bool vta_processes_empty(const struct vta_processes *p)
{
    return p->nr_members == 0;
}

static bool is_member(const struct vta_processes *p, uint32_t pid, uint32_t mark)
{
    for (unsigned i = 0; i < p->nr_members; i++)
        if (p->members[i].pid == pid && p->members[i].mark == mark)
            return true;
    return false;
}

int vta_processes_add(struct vta_processes *p, uint32_t pid, uint32_t mark)
{
    struct vtg_process process;
    if (is_member(p, pid, mark))
        return 0;
    if (p->nr_members == VTA_MEMBERS) {
        p->refused++;
        return -ENOSPC;
    }
    const int r = vta_process_read(pid, &process);
    if (r)
        return r;
    p->members[p->nr_members++] = (struct vta_member){ process.start_ticks, pid, mark };
    return 0;
}

/* In this text of numbers, of a thread's children or of a cgroup's processes. */
static void each_pid(const char *text, void (*found)(void *context, uint32_t pid), void *context)
{
    char *end;
    for (;; text = end) {
        const unsigned long pid = strtoul(text, &end, 10);
        if (end == text)
            break;
        found(context, (uint32_t)pid);
    }
}

struct adding {
    struct vta_processes *p;
    uint32_t mark, pid, except;
};

static void add_found(void *context, uint32_t pid)
{
    struct adding *a = context;
    if (pid != a->except)
        vta_processes_add(a->p, pid, a->mark);
}

static void add_thread_children(void *context, uint32_t tid)
{
    struct adding *a = context;
    char path[PATH_ROOM], text[4096];
    snprintf(path, sizeof(path), "/proc/%u/task/%u/children", a->pid, tid);
    if (vta_read_text(path, text, sizeof(text)) > 0)
        each_pid(text, add_found, a);
}

static void add_children(struct vta_processes *p, uint32_t pid, uint32_t mark, uint32_t except)
{
    struct adding a = { p, mark, pid, except };
    char path[PATH_ROOM];
    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    each_number(path, add_thread_children, &a);
}

static void match_process(void *context, uint32_t pid)
{
    struct vta_processes *p = context;
    char path[PATH_ROOM], comm[32];
    snprintf(path, sizeof(path), "/proc/%u/comm", pid);
    if (vta_read_text(path, comm, sizeof(comm)) <= 0)
        return;
    comm[strcspn(comm, "\n")] = 0;
    for (unsigned i = 0; i < p->nr_comms; i++)
        if (strcmp(p->comms[i], comm) == 0)
            vta_processes_add(p, pid, 0);
}

/* A kernel that does not list children: who has a member for parent is one, too. */
static void match_parent(void *context, uint32_t pid)
{
    struct vta_processes *p = context;
    struct vtg_process process;
    if (vta_process_read(pid, &process))
        return;
    for (unsigned i = 0, n = p->nr_members; i < n; i++)
        if (p->members[i].mark && p->members[i].pid == process.ppid)
            vta_processes_add(p, pid, p->members[i].mark);
    for (unsigned i = 0; i < VTA_TREES; i++)
        if (p->trees[i].mark && p->trees[i].parent == process.ppid && pid != (uint32_t)getpid())
            vta_processes_add(p, pid, p->trees[i].mark);
}

static bool watches(const struct vta_processes *p)
{
    for (unsigned i = 0; i < VTA_TREES; i++)
        if (p->trees[i].mark)
            return true;
    return false;
}

void vta_processes_find(struct vta_processes *p)
{
    if (p->nr_comms)
        each_number("/proc", match_process, p);
    for (unsigned i = 0; i < p->nr_cgroups; i++) {
        char path[280], text[4096];
        struct adding a = { .p = p };
        snprintf(path, sizeof(path), "%s/cgroup.procs", p->cgroups[i]);
        if (vta_read_text(path, text, sizeof(text)) > 0)
            each_pid(text, add_found, &a);
    }
    if (!p->has_children && watches(p))
        each_number("/proc", match_parent, p);
}

int vta_processes_watch(struct vta_processes *p, uint32_t mark, uint32_t parent, uint32_t pid)
{
    struct vtg_process process;
    unsigned i = 0;
    while (i < VTA_TREES && p->trees[i].mark)
        i++;
    if (i == VTA_TREES) {
        p->refused++;
        return -ENOSPC;
    }
    p->trees[i] = (struct vta_tree){ mark, parent };
    /* who asks from another pid namespace tells numbers of his own */
    if (vta_process_read(pid, &process) == 0 && process.ppid == parent)
        return vta_processes_add(p, pid, mark);
    if (p->has_children)
        add_children(p, parent, mark, (uint32_t)getpid());
    else
        each_number("/proc", match_parent, p);
    return 0;
}

void vta_processes_unwatch(struct vta_processes *p, uint32_t mark)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < p->nr_members; i++)
        if (p->members[i].mark != mark)
            p->members[kept++] = p->members[i];
    p->nr_members = kept;
    for (unsigned i = 0; i < VTA_TREES; i++)
        if (p->trees[i].mark == mark)
            p->trees[i] = (struct vta_tree){ 0, 0 };
}

void vta_processes_unwatch_all(struct vta_processes *p, uint32_t parent)
{
    for (unsigned i = 0; i < VTA_TREES; i++)
        if (p->trees[i].mark && p->trees[i].parent == parent)
            vta_processes_unwatch(p, p->trees[i].mark);
}

void vta_processes_sample(struct vta_processes *p, uint32_t mark,
                          void (*emit)(void *context, const struct vtg_process *process), void *context)
{
    /* members grow while their children are found: those are read in the same round */
    for (unsigned i = 0; i < p->nr_members;) {
        const struct vta_member member = p->members[i];
        struct vtg_process process;
        if (mark && member.mark != mark) {
            i++;
            continue;
        }
        if (vta_process_read(member.pid, &process) || process.start_ticks != member.start_ticks) {
            p->members[i] = p->members[--p->nr_members];
            continue;
        }
        if (member.mark && p->has_children)
            add_children(p, member.pid, member.mark, 0);
        process.mark = member.mark;
        emit(context, &process);
        i++;
    }
}

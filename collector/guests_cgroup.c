/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cgroups as guests (record --cgroup): which tasks are in one, and which were. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guests_internal.h"
#include "hostinfo.h"

enum { MAX_DEPTH = 32 }; /* of cgroups in cgroups */

/* The file that lists all threads: version 1's, version 2's. */
static FILE *open_tasks(const char *path)
{
    static const char *const names[] = { "tasks", "cgroup.threads" };
    char file[PATH_MAX];
    FILE *f = NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !f; i++)
        if ((size_t)snprintf(file, sizeof(file), "%s/%s", path, names[i]) < sizeof(file))
            f = fopen(file, "re");
    return f;
}

/* Of a long one the end. */
void guests_cgroup_name(const char *path, char ret[VT_VM_NAME_LEN])
{
    size_t n = strlen(path), begin;

    while (n > 1 && path[n - 1] == '/')
        n--;
    for (begin = n; begin > 0 && path[begin - 1] != '/' && n - begin < VT_VM_NAME_LEN - 1; begin--)
        ;
    snprintf(ret, VT_VM_NAME_LEN, "%.*s", (int)(n - begin), path + begin);
    if (!ret[0])
        strcpy(ret, "/");
}

int guests_cgroup_open(const char *path, struct guests_cgroup *ret, struct vt_err *err)
{
    struct stat st;
    FILE *f = open_tasks(path);

    if (!f || stat(path, &st)) {
        const int e = errno;
        if (f)
            fclose(f);
        return vt_fail(err, e ? e : ENOENT, "--cgroup %s is no folder of a cgroup with threads: %s", path,
                       strerror(e ? e : ENOENT));
    }
    fclose(f);
    ret->path = path;
    ret->id = st.st_ino; /* kernfs: a 64-bit inode number is the node's id, 5.5+ */
    guests_cgroup_name(path, ret->name);
    return 0;
}

static int add_tid(struct guests_tids *to, uint32_t tid)
{
    if (to->n == to->room) {
        const size_t room = to->room ? 2 * to->room : 256;
        uint32_t *more = realloc(to->tid, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        to->tid = more;
        to->room = room;
    }
    to->tid[to->n++] = tid;
    return 0;
}

/* Its tasks, and those of the cgroups in it. One that has gone meanwhile has none. */
static int read_tasks(const char *path, unsigned depth, struct guests_tids *to)
{
    char below[PATH_MAX];
    const struct dirent *e;
    unsigned long tid;
    int r = 0;
    FILE *f = open_tasks(path);

    while (f && !r && fscanf(f, "%lu", &tid) == 1)
        r = add_tid(to, (uint32_t)tid);
    if (f)
        fclose(f);
    DIR *dir = depth < MAX_DEPTH ? opendir(path) : NULL;
    while (dir && !r && (e = readdir(dir)))
        if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
            (size_t)snprintf(below, sizeof(below), "%s/%s", path, e->d_name) < sizeof(below))
            r = read_tasks(below, depth + 1, to);
    if (dir)
        closedir(dir);
    return r;
}

static int by_tid(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void sort(struct guests_tids *t)
{
    if (t->n)
        qsort(t->tid, t->n, sizeof(*t->tid), by_tid);
}

static bool has(const struct guests_tids *t, uint32_t tid)
{
    return t->n && bsearch(&tid, t->tid, t->n, sizeof(*t->tid), by_tid);
}

/* Of all threads that have a life: whether it is of this cgroup. ret_members: of those that are bounded. */
static int read_lives(const struct vt_probes *p, uint64_t cgroup, struct guests_tids *its,
                      struct guests_tids *others, size_t *ret_members)
{
    const uint32_t slots = vt_probes_slots(p);
    struct vt_slot s;
    int r = 0;

    for (uint32_t slot = 0; slot < slots && !r; slot++) {
        if (!vt_probes_read(p, slot, &s) || !s.tid || s.sched == VT_SCHED_GONE || s.moved_at)
            continue;
        r = add_tid(s.vm_kind == VT_VM_CGROUP && s.kvm == cgroup ? its : others, s.tid);
        *ret_members += s.vm_kind == VT_VM_CGROUP || s.vm_kind == VT_VM_UML;
    }
    sort(its);
    sort(others);
    return r;
}

static int tell(struct guests_list *list, const struct guests_cgroup *g, uint32_t tid, uint32_t kind)
{
    struct guests_status s;
    const struct vt_wanted w = {
        .vm_start_time = g->id,
        .cgroup = g->id,
        .tgid = guests_read_status(tid, &s) ? s.tgid : 0, /* gone meanwhile: it is nobody's */
        .vm_kind = VT_VM_CGROUP,
        .vm_found = VT_FOUND_BY_CGROUP,
        .index = tid,
        .kind = kind,
    };

    return guests_want(list, tid, &w);
}

/* For want of slots it was refused: that was counted as lost, once. */
static bool was_refused(const struct guests_cgroup *g, uint32_t tid, size_t members)
{
    return members >= VT_MAX_MEMBERS && has(&g->told, tid);
}

int guests_cgroup_look(struct guests_cgroup *g, const struct vt_probes *p, struct guests_list *list)
{
    struct guests_tids in = { 0 }, its = { 0 }, others = { 0 }, told = { 0 };
    size_t members = 0;
    int r = read_tasks(g->path, 0, &in);

    sort(&in);
    if (!r)
        r = read_lives(p, g->id, &its, &others, &members);
    for (size_t i = 0; i < in.n && !r; i++) {
        if (has(&its, in.tid[i]) || has(&others, in.tid[i]))
            continue;
        r = add_tid(&told, in.tid[i]);
        if (!r && !was_refused(g, in.tid[i], members))
            r = tell(list, g, in.tid[i], VT_SLOT_THREAD);
    }
    for (size_t i = 0; i < its.n && !r; i++)
        if (!has(&in, its.tid[i]))
            r = tell(list, g, its.tid[i], VT_WANTED_OUT);
    free(in.tid);
    free(its.tid);
    free(others.tid);
    free(g->told.tid);
    g->told = told;
    return r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guests.h"

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

enum { SCAN_EVERY = 10, MAX_SUSPECTS = 1024 }; /* ticks; processes that may turn out to be a VM */

/* What a program's file is: looked into once. */
struct program {
    dev_t device;
    ino_t inode;
    bool is_uml;
};
enum { KNOWN_PROGRAMS = 256 };

/* A process that is looked at again. */
struct suspect {
    uint32_t tgid;
    uint64_t start_ns;
};

struct vt_guests {
    struct vt_probes *probes;
    unsigned ticks;
    uint8_t *seen; /* a bit for each pid that was looked at */
    size_t seen_bytes;
    struct suspect *suspects;
    size_t nr_suspects, room_suspects;
    struct program programs[KNOWN_PROGRAMS];
    uint32_t *kernels; /* processes of UML kernels that were met in this round */
    size_t nr_kernels, room_kernels;
    struct guests_cgroup cgroups[VT_MAX_CGROUPS];
    size_t nr_cgroups;
    struct guests_list list;
};

int guests_want(struct guests_list *list, uint32_t tid, const struct vt_wanted *wanted)
{
    if (list->n == list->room) {
        const size_t room = list->room ? 2 * list->room : 16;
        uint32_t *tids = realloc(list->tids, room * sizeof(*tids));
        if (!tids)
            return -ENOMEM;
        list->tids = tids;
        struct vt_wanted *more = realloc(list->wanted, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        list->wanted = more;
        list->room = room;
    }
    list->tids[list->n] = tid;
    list->wanted[list->n++] = *wanted;
    return 0;
}

/* ---- which processes there are ---- */

/* Was this pid looked at already? From now on it was. */
static int note_seen(struct vt_guests *g, uint32_t pid, bool *ret_seen)
{
    const size_t byte = pid / 8;
    const uint8_t bit = (uint8_t)(1u << pid % 8);

    if (byte >= g->seen_bytes) {
        const size_t bytes = 2 * byte + 4096;
        uint8_t *seen = realloc(g->seen, bytes);
        if (!seen)
            return -ENOMEM;
        memset(seen + g->seen_bytes, 0, bytes - g->seen_bytes);
        g->seen = seen;
        g->seen_bytes = bytes;
    }
    *ret_seen = g->seen[byte] & bit;
    g->seen[byte] |= bit;
    return 0;
}

static bool is_still(const struct suspect *s)
{
    const uint64_t start = vt_process_start(s->tgid);

    return start && vt_same_start(start, s->start_ns);
}

static int suspect(struct vt_guests *g, uint32_t tgid)
{
    for (size_t i = 0; i < g->nr_suspects; i++)
        if (g->suspects[i].tgid == tgid && is_still(&g->suspects[i]))
            return 0;
    if (g->nr_suspects >= MAX_SUSPECTS)
        return 0;
    if (g->nr_suspects == g->room_suspects) {
        const size_t room = g->room_suspects ? 2 * g->room_suspects : 16;
        struct suspect *more = realloc(g->suspects, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        g->suspects = more;
        g->room_suspects = room;
    }
    g->suspects[g->nr_suspects++] = (struct suspect){ tgid, vt_process_start(tgid) };
    return 0;
}

/* A file's look is remembered: most processes run the programs of others. */
static bool runs_uml(struct vt_guests *g, const char *exe)
{
    struct stat st;

    if (stat(exe, &st))
        return false;
    struct program *p = &g->programs[(st.st_ino ^ st.st_dev) % KNOWN_PROGRAMS];
    if (p->inode != st.st_ino || p->device != st.st_dev)
        *p = (struct program){ st.st_dev, st.st_ino, guests_is_uml(exe) };
    return p->is_uml;
}

/*
 * The kernel of a UML instance: it has just begun its program, or was there and
 * traces others, and is none that another UML process made.
 */
static int meet_uml(struct vt_guests *g, uint32_t tgid, bool begins)
{
    char path[64];
    struct guests_status s;

    if (!guests_read_status(tgid, &s) || s.tracer)
        return 0;
    snprintf(path, sizeof(path), "/proc/%u/exe", s.parent);
    if (runs_uml(g, path) || !(begins || guests_uml_traces(tgid)))
        return 0;
    if (g->nr_kernels == g->room_kernels) {
        const size_t room = g->room_kernels ? 2 * g->room_kernels : 16;
        uint32_t *more = realloc(g->kernels, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        g->kernels = more;
        g->room_kernels = room;
    }
    g->kernels[g->nr_kernels++] = tgid;
    return guests_uml_main(tgid, &g->list);
}

/* A process that runs a program not seen before; begins: since this recording began. */
static int meet(struct vt_guests *g, uint32_t tgid, bool begins)
{
    char path[64], exe[PATH_MAX];

    snprintf(path, sizeof(path), "/proc/%u/exe", tgid);
    const ssize_t n = readlink(path, exe, sizeof(exe) - 1);
    if (n <= 0)
        return 0;
    exe[n] = 0;
    if (guests_is_qemu(exe))
        return suspect(g, tgid);
    return runs_uml(g, path) ? meet_uml(g, tgid, begins) : 0;
}

/* Those that are there and were not yet looked at: forked, or from before the recording. */
static int scan(struct vt_guests *g)
{
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    bool seen = false;
    int r = dir ? 0 : -errno;

    while (!r && (e = readdir(dir))) {
        const unsigned long pid = strtoul(e->d_name, NULL, 10);
        if (!pid || pid > INT32_MAX)
            continue;
        r = note_seen(g, (uint32_t)pid, &seen);
        if (!r && !seen)
            r = meet(g, (uint32_t)pid, false);
    }
    if (dir)
        closedir(dir);
    return r;
}

/* Those that have begun a program since. */
static int meet_new(struct vt_guests *g)
{
    uint32_t pid;
    bool seen;
    int r = 0;

    while (!r && vt_probes_next_exec(g->probes, &pid)) {
        r = note_seen(g, pid, &seen);
        if (!r)
            r = meet(g, pid, true);
    }
    return r;
}

/* ---- what they are ---- */

static int look_at_suspects(struct vt_guests *g)
{
    size_t kept = 0;
    int r = 0;

    for (size_t i = 0; i < g->nr_suspects; i++) {
        const struct suspect s = g->suspects[i];
        int answer = GUESTS_DONE;
        if (!r && is_still(&s))
            answer = guests_tcg_look(s.tgid, &g->list);
        r = answer < 0 ? answer : r;
        if (answer == GUESTS_NOT_YET)
            g->suspects[kept++] = s;
    }
    g->nr_suspects = kept;
    return r;
}

static int tell_ledger(struct vt_guests *g, int r, struct vt_err *err)
{
    const size_t n = g->list.n;

    g->list.n = 0;
    if (r)
        return vt_fail(err, -r, "guests without KVM could not be looked for: %s", strerror(-r));
    return n ? vt_probes_want(g->probes, g->list.tids, g->list.wanted, n, err) : 0;
}

int vt_guests_tick(struct vt_guests *g, struct vt_err *err)
{
    int r = meet_new(g);

    if (!r && g->ticks++ % SCAN_EVERY == 0)
        r = scan(g);
    if (!r)
        r = look_at_suspects(g);
    for (size_t i = 0; i < g->nr_cgroups && !r; i++)
        r = guests_cgroup_look(&g->cgroups[i], g->probes, &g->list);
    r = tell_ledger(g, r, err);
    if (r || !g->nr_kernels)
        return r;
    /* whom a kernel makes from now on, the ledger sees */
    for (size_t i = 0; i < g->nr_kernels && !r; i++)
        r = guests_uml_children(g->kernels[i], &g->list);
    g->nr_kernels = 0;
    return tell_ledger(g, r, err);
}

int vt_guests_open(struct vt_probes *probes, const char *const *cgroups, size_t nr_cgroups,
                   struct vt_guests **ret, struct vt_err *err)
{
    struct vt_guests *g = calloc(1, sizeof(*g));
    int r = 0;

    if (!g)
        return vt_fail(err, ENOMEM, "out of memory");
    g->probes = probes;
    for (size_t i = 0; i < nr_cgroups && i < VT_MAX_CGROUPS && !r; i++) {
        r = guests_cgroup_open(cgroups[i], &g->cgroups[i], err);
        if (!r)
            r = vt_probes_cgroup(probes, g->cgroups[i].id, err);
        g->nr_cgroups += r == 0;
    }
    if (r) {
        vt_guests_close(g);
        return r;
    }
    *ret = g;
    return 0;
}

const char *vt_guests_cgroup(const struct vt_guests *g, uint64_t id)
{
    for (size_t i = 0; i < g->nr_cgroups; i++)
        if (g->cgroups[i].id == id)
            return g->cgroups[i].name;
    return NULL;
}

void vt_guests_close(struct vt_guests *g)
{
    if (!g)
        return;
    free(g->seen);
    free(g->suspects);
    free(g->kernels);
    for (size_t i = 0; i < g->nr_cgroups; i++)
        free(g->cgroups[i].told.tid);
    free(g->list.tids);
    free(g->list.wanted);
    free(g);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/task_who.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 256 };

static size_t place_of(const struct vta_whos *w, uint32_t tid)
{
    return (tid * 0x9e3779b1u) & (w->room - 1);
}

struct vta_who *vta_who_find(const struct vta_whos *w, uint32_t tid)
{
    if (w->room == 0 || tid == 0)
        return NULL;
    for (size_t i = place_of(w, tid);; i = (i + 1) & (w->room - 1)) {
        if (w->places[i].tid == tid)
            return &w->places[i];
        if (w->places[i].tid == 0)
            return NULL;
    }
}

/* Into a table that has room and not that tid. */
static struct vta_who *put(struct vta_whos *w, const struct vta_who *who)
{
    size_t i = place_of(w, who->tid);
    while (w->places[i].tid)
        i = (i + 1) & (w->room - 1);
    w->places[i] = *who;
    w->nr++;
    return &w->places[i];
}

/* A table of that room with all, or with those of a benchmark only. */
static bool rebuild(struct vta_whos *w, size_t room, bool marked_only)
{
    struct vta_whos fresh = { .places = calloc(room, sizeof(*fresh.places)), .room = room };
    if (!fresh.places)
        return false;
    for (size_t i = 0; i < w->room; i++)
        if (w->places[i].tid && (!marked_only || w->places[i].mark))
            put(&fresh, &w->places[i]);
    free(w->places);
    *w = fresh;
    return true;
}

/*
 * At most three quarters are taken.  Once it may not grow, those of no benchmark are
 * forgotten: who of them still runs is looked up again.
 */
static bool make_room(struct vta_whos *w)
{
    if ((w->nr + 1) * 4 <= w->room * 3)
        return true;
    if (w->room < VTA_WHO_MAX)
        return rebuild(w, w->room ? w->room * 2 : FIRST_ROOM, false);
    return rebuild(w, w->room, true) && (w->nr + 1) * 4 <= w->room * 3;
}

static uint32_t mark_of_parent(const struct vta_whos *w, const struct vta_who *who)
{
    const struct vta_who *parent = vta_who_find(w, who->parent_tid);
    if (!parent && who->tgid != who->tid) /* a thread of a process that is known already */
        parent = vta_who_find(w, who->tgid);
    if (!parent)
        parent = vta_who_find(w, who->parent_tgid);
    return parent ? parent->mark : 0;
}

struct vta_who *vta_who_add(struct vta_whos *w, const struct vta_who *seen)
{
    struct vta_who who = *seen;
    struct vta_who *old = vta_who_find(w, who.tid);
    who.mark = old && old->claimed ? old->mark : mark_of_parent(w, &who);
    who.told = who.claimed = false;
    if (old) {
        *old = who;
        return old;
    }
    return who.tid && make_room(w) ? put(w, &who) : NULL;
}

void vta_who_rename(struct vta_whos *w, uint32_t tid, const char comm[16])
{
    struct vta_who *who = vta_who_find(w, tid);
    if (!who || strncmp(who->comm, comm, sizeof(who->comm)) == 0)
        return;
    memcpy(who->comm, comm, sizeof(who->comm));
    who->told = false;
}

/* Those behind it move up, unless that would put them before their own place. */
void vta_who_remove(struct vta_whos *w, uint32_t tid)
{
    struct vta_who *who = vta_who_find(w, tid);
    if (!who)
        return;
    size_t hole = (size_t)(who - w->places);
    for (size_t i = (hole + 1) & (w->room - 1); w->places[i].tid; i = (i + 1) & (w->room - 1)) {
        const size_t home = place_of(w, w->places[i].tid);
        if (((i - home) & (w->room - 1)) < ((i - hole) & (w->room - 1)))
            continue;
        w->places[hole] = w->places[i];
        hole = i;
    }
    memset(&w->places[hole], 0, sizeof(w->places[hole]));
    w->nr--;
}

static bool set_mark(struct vta_who *who, uint32_t mark)
{
    if (who->mark == mark)
        return false;
    who->mark = mark;
    who->told = false;
    return true;
}

static void unmark(struct vta_whos *w, uint32_t pid)
{
    const struct vta_who *who = vta_who_find(w, pid);
    const uint32_t old = who ? who->mark : 0;
    for (size_t i = 0; old && i < w->room; i++)
        if (w->places[i].tid && w->places[i].mark == old)
            set_mark(&w->places[i], 0);
}

/* True: it belongs to the process, or to a parent that is marked already. */
static bool descends(const struct vta_whos *w, const struct vta_who *who, uint32_t pid, uint32_t mark)
{
    const struct vta_who *parent = vta_who_find(w, who->parent_tgid);
    return who->tgid == pid || (parent && parent->mark == mark);
}

void vta_who_mark(struct vta_whos *w, uint32_t pid, uint32_t mark)
{
    struct vta_who *who = vta_who_find(w, pid);
    if (mark == 0) {
        unmark(w, pid);
        return;
    }
    if (who)
        who->claimed = true;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < w->room; i++)
            if (w->places[i].tid && descends(w, &w->places[i], pid, mark))
                changed |= set_mark(&w->places[i], mark);
    }
}

void vta_who_tell_again(struct vta_whos *w)
{
    for (size_t i = 0; i < w->room; i++)
        w->places[i].told = false;
}

void vta_who_release(struct vta_whos *w)
{
    free(w->places);
    *w = (struct vta_whos){ 0 };
}

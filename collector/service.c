/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hostinfo.h"
#include "notify.h"
#include "privileges.h"
#include "retention.h"

struct vt_service {
    const struct vt_record_options *options;
    const char *dir;
    int dir_fd; /* locked: no other service writes there */
    struct vt_notify notify;
    host_ns begun;            /* the present recording */
    struct vt_recording next; /* while a turn is under way: the session's own is ending */
    bool stuck;               /* the store failed: nothing is written for now */
    bool closed;              /* then: the recording that it failed in has its end */
    host_ns try_again;        /* a turn failed: the next one not before */
    struct vt_err said;       /* the last complaint: not said again at each tick */
};

/* ---- the directory ---- */

static int share_with(const struct vt_service *v, const char *name, struct vt_err *err)
{
    const struct group *g = getgrnam(name);

    if (!g)
        return vt_fail(err, EINVAL, "--group %s: there is no such group", name);
    /* with the set-group-ID bit, files made there belong to the group */
    if (fchown(v->dir_fd, (uid_t)-1, g->gr_gid) || fchmod(v->dir_fd, 02750))
        return vt_fail(err, errno, "%s can't be given to the group %s: %s", v->dir, name, strerror(errno));
    return 0;
}

static int open_dir(struct vt_service *v, struct vt_err *err)
{
    const char *group = v->options->service.group;
    struct stat st;

    umask(group ? 0027 : 0077);
    if (mkdir(v->dir, group ? 0750 : 0700) && errno != EEXIST)
        return vt_fail(err, errno, "cannot make %s: %s", v->dir, strerror(errno));
    v->dir_fd = open(v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->dir_fd < 0 || fstat(v->dir_fd, &st))
        return vt_fail(err, errno, "cannot open %s: %s", v->dir, strerror(errno));
    if (st.st_uid != geteuid() || st.st_mode & 022)
        return vt_fail(err, EPERM, "%s must belong to us, and others must not write there", v->dir);
    if (flock(v->dir_fd, LOCK_EX | LOCK_NB))
        return vt_fail(err, errno, "%s is in use by another vtime record --daemon", v->dir);
    return group ? share_with(v, group, err) : 0;
}

int vt_service_open(const struct vt_record_options *options, struct vt_service **ret, struct vt_err *err)
{
    struct vt_service *v = calloc(1, sizeof(*v));
    int e;

    if (!v)
        return vt_fail(err, ENOMEM, "out of memory");
    v->options = options;
    v->dir = options->output;
    v->dir_fd = v->notify.fd = -1;
    e = vt_notify_open(&v->notify, err);
    if (!e && v->notify.watchdog_ns && v->notify.watchdog_ns < 2 * options->interval_ns)
        e = vt_fail(err, EINVAL,
                    "the service manager's watchdog is too quick for --interval: we would be "
                    "ended; WatchdogSec= should be two times as long, at least");
    if (!e)
        e = open_dir(v, err);
    if (e) {
        vt_service_close(v);
        return e;
    }
    *ret = v;
    return 0;
}

void vt_service_close(struct vt_service *v)
{
    if (!v)
        return;
    vt_recording_close(&v->next, false);
    if (v->dir_fd >= 0)
        close(v->dir_fd);
    vt_notify_close(&v->notify);
    free(v);
}

void vt_service_agent_path(const struct vt_service *v, char *ret, size_t size)
{
    snprintf(ret, size, "%s/agent", v->dir);
}

/* ---- recordings ---- */

static const char *name_of(const struct vt_recording *r)
{
    const char *slash = strrchr(r->path, '/');

    return slash ? slash + 1 : r->path;
}

/* One that begins at that instant: its name is the wall clock's word for it. */
static int create(struct vt_service *v, struct vt_session *s, host_ns begin, struct vt_recording *ret,
                  struct vt_err *err)
{
    char name[VT_RECORDING_NAME_LEN], path[PATH_MAX];
    struct timespec t;
    int e = -EEXIST;

    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t at = (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec - (vt_host_now().v - begin.v);
    for (int i = 0; i < 10 && e == -EEXIST; i++, at += VT_NSEC_PER_SEC / 1000) {
        vt_recording_name(at, name);
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", v->dir, name) >= sizeof(path))
            return vt_fail(err, ENAMETOOLONG, "the name of the directory is too long: %s", v->dir);
        e = vt_recording_create(ret, path, false, s->probes, s->now.store ? &s->now : NULL, err);
    }
    return e;
}

int vt_service_create(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    return create(v, s, vt_host_now(), &s->now, err);
}

/* live.vt: where readers find the present recording. */
static void tell_readers(const struct vt_service *v, const struct vt_recording *r)
{
    static const char link[] = "live.vt", fresh[] = ".live.vt.new";

    unlinkat(v->dir_fd, fresh, 0);
    if (symlinkat(name_of(r), v->dir_fd, fresh) || renameat(v->dir_fd, fresh, v->dir_fd, link))
        vt_complain("record: %s/%s can't be made to point to %s: %s", v->dir, link, name_of(r),
                    strerror(errno));
    vt_notify(&v->notify, "STATUS=recording into %s", r->path);
}

static void complain(struct vt_service *v, const struct vt_err *err)
{
    if (strcmp(v->said.text, err->text) != 0)
        vt_complain("record: %s", err->text);
    v->said = *err;
}

static void remove_old(struct vt_service *v, const struct vt_recording *present, bool press)
{
    struct vt_err err = { "" };
    const int r = vt_retention_apply(v->dir, name_of(present), &v->options->service, press, &err);

    if (err.text[0])
        complain(v, &err);
    if (r > 0 && press)
        vt_complain("record: disk full: the oldest recording was removed");
}

int vt_service_begun(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    vt_probes_keep_timing(s->probes);
    const int e = vt_privileges_drop(err);
    if (e)
        return e;
    v->begun = vt_host_now();
    remove_old(v, &s->now, false);
    tell_readers(v, &s->now);
    vt_notify(&v->notify, "READY=1");
    return 0;
}

/* ---- turning to a new one ---- */

static bool is_due(const struct vt_service *v, const struct vt_session *s)
{
    const struct vt_service_options *o = &v->options->service;
    uint64_t bytes = 0;

    if (vt_host_now().v < v->try_again.v)
        return false;
    if (s->hangup)
        return true;
    /* at the tick that is nearest */
    if (o->rotate_ns && vt_host_now().v - v->begun.v + v->options->interval_ns / 2 >= o->rotate_ns)
        return true;
    return o->rotate_bytes && vt_store_bytes(s->now.store, &bytes, NULL) == 0 && bytes >= o->rotate_bytes;
}

#define TRY_AGAIN_NS (10 * VT_NSEC_PER_SEC)

/* A new one that can't be made leaves us with the present one, which may be longer than asked for. */
static int turn(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    struct vt_err why = { "" };
    int e = create(v, s, vt_host_now(), &v->next, &why);

    if (e) {
        v->try_again.v = vt_host_now().v + TRY_AGAIN_NS;
        complain(v, &why); /* and the present one goes on */
        if (e == -ENOSPC)
            remove_old(v, &s->now, true);
        return 0;
    }
    e = vt_recorder_turn(s->now.recorder, v->next.recorder, v->options->vm, vt_agents_lost(s->agents), err);
    if (e) {
        vt_recording_close(&v->next, true);
        return e;
    }
    s->hangup = false;
    v->begun = vt_recorder_written_to(v->next.recorder);
    tell_readers(v, &v->next);
    return vt_agents_move(s->agents, v->next.store, v->next.roster, err);
}

/* The one that ended is complete, or as complete as it will be. */
static void part(struct vt_service *v, struct vt_session *s)
{
    vt_recorder_part(s->now.recorder);
    vt_recording_close(&s->now, false);
    s->now = v->next;
    v->next = (struct vt_recording){ 0 };
}

/* ---- when nothing can be written ---- */

static int resume(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    const host_ns begin = vt_recorder_written_to(s->now.recorder);
    struct vt_recording next = { 0 };
    int e = v->closed ? 0 : vt_recorder_close(s->now.recorder, err);

    v->closed = e == 0;
    if (e || (e = create(v, s, begin, &next, err)))
        return e;
    e = vt_recorder_resume(s->now.recorder, next.recorder, v->options->vm, vt_agents_lost(s->agents), err);
    if (e) {
        vt_recording_close(&next, true);
        return e;
    }
    vt_recording_close(&s->now, false);
    s->now = next;
    v->stuck = false;
    v->begun = begin;
    vt_complain("record: recording goes on in %s; %.3f s are LOST in it", s->now.path,
                (double)(vt_host_now().v - begin.v) / 1e9);
    tell_readers(v, &s->now);
    return vt_agents_move(s->agents, s->now.store, s->now.roster, err);
}

/* The ledger goes on in the kernel: what it says now is dropped, and tried is whether it can be kept again.
 */
static int tick_stuck(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    struct vt_err why = { "" };
    int e;

    vt_recorder_skip(s->now.recorder);
    vt_agents_tick(s->agents, NULL);
    e = resume(v, s, &why);
    if (e && !v->stuck) { /* it goes on, and failed anew */
        *err = why;
        return e;
    }
    if (e == -ENOSPC)
        remove_old(v, &s->now, true);
    return 0;
}

int vt_service_failed(struct vt_service *v, struct vt_session *s, int e, const struct vt_err *err)
{
    if (e != -ENOSPC && e != -EIO && e != -EROFS)
        return e;
    if (v->next.recorder)
        part(v, s);
    vt_agents_move(s->agents, NULL, NULL, NULL);
    v->stuck = true;
    v->closed = false;
    vt_complain("record: %s; until it can be written again, time is LOST", err->text);
    vt_notify(&v->notify, "STATUS=nothing is recorded: %s", err->text);
    return 0;
}

/* ---- the session's calls ---- */

static int tick(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    int e = vt_agents_tick(s->agents, err);

    if (e || (e = vt_recorder_tick(s->now.recorder, vt_agents_lost(s->agents), err)))
        return e;
    if (v->next.recorder) {
        part(v, s);
        remove_old(v, &s->now, false);
        return 0;
    }
    return is_due(v, s) ? turn(v, s, err) : 0;
}

/*
 * The watchdog hears of us only when the store has committed, or was tried
 * and is known to fail: a restart wouldn't mend that, and would lose the ledger.
 */
int vt_service_tick(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    const int e = v->stuck ? tick_stuck(v, s, err) : tick(v, s, err);

    if (!e && v->notify.watchdog_ns)
        vt_notify(&v->notify, "WATCHDOG=1");
    return e;
}

int vt_service_drain(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    if (!v->stuck)
        return vt_recorder_drain(s->now.recorder, err);
    vt_recorder_skip(s->now.recorder);
    return 0;
}

int vt_service_end(struct vt_service *v, struct vt_session *s, struct vt_err *err)
{
    int e;

    vt_notify(&v->notify, "STOPPING=1");
    if (v->stuck)
        return v->closed ? 0 : vt_recorder_close(s->now.recorder, err);
    if (v->next.recorder && (e = tick(v, s, err)))
        return e;
    e = vt_agents_end(s->agents, err);
    return e ? e : vt_recorder_end(s->now.recorder, vt_agents_lost(s->agents), err);
}

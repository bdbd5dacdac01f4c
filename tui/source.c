/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "correlator/correlate.h"
#include "correlator/feed.h"
#include "store/store.h"
#include "tui/recorder.h"

#define MS UINT64_C(1000000)
/* The recorder writes four times per step, within these. */
#define INTERVAL_MIN_MS 50u
#define INTERVAL_MAX_MS 250u
/* A recording without end that has not grown for so long was cut off. */
#define GROWS_WITHIN (3 * VT_NSEC_PER_SEC)
/* What the correlator keeps behind the last window: a slice under way may be long. */
#define KEPT_BEHIND VT_NSEC_PER_SEC

struct vtop_source {
    bool live;
    bool over;
    bool begun; /* a window has been told */
    struct vtop_recorder recorder;
    const char *path;
    dev_t device; /* of the file that path led to when it was opened */
    ino_t inode;
    bool is_link; /* path is a symbolic link: it may lead to another recording later */
    struct vt_store *store;
    struct vt_store_cursor cursor;
    struct vt_correlator *correlator;
    uint64_t shown_to; /* end of the last window, 0: none yet */
    uint64_t known_to; /* end of what the rows tell */
    uint64_t grew_at;  /* when known_to last grew */
    uint64_t heard_at; /* when the recorder last wrote anything, guests or not */
    struct vt_host host;
    /* for windows without a guest, which the correlator does not tell about */
    struct vt_store_cursor bill_cursor;
    struct vt_observer observer;
    uint64_t lost[VT_NR_LOST_REASONS];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static struct vtop_source *new_source(struct vt_err *err)
{
    struct vtop_source *s = calloc(1, sizeof(*s));
    if (s) {
        s->recorder = (struct vtop_recorder)VTOP_RECORDER_NONE;
        s->correlator = vt_correlator_new();
    }
    if (!s || !s->correlator) {
        free(s);
        vt_fail(err, ENOMEM, "out of memory");
        return NULL;
    }
    return s;
}

int vtop_source_open_live(uint64_t step_ns, const sigset_t *child_mask, struct vtop_source **ret,
                          struct vt_err *err)
{
    struct vtop_source *s = new_source(err);
    uint64_t interval = step_ns / 4 / MS;
    if (!s)
        return -ENOMEM;
    s->live = true;
    interval = interval < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : interval;
    interval = interval > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : interval;
    const int e = vtop_recorder_start(&s->recorder, (unsigned int)interval, child_mask, err);
    if (e) {
        vtop_source_close(s);
        return e;
    }
    s->path = s->recorder.path;
    *ret = s;
    return 0;
}

/* A service's live.vt leads from one recording to the next: which one this is must be known for certain. */
static int open_at_path(struct vtop_source *s, struct vt_err *err)
{
    struct stat before = { 0 }, after = { 0 };
    int e;
    do {
        vt_store_close(s->store);
        s->store = NULL;
        s->is_link = lstat(s->path, &before) == 0 && S_ISLNK(before.st_mode);
        stat(s->path, &before);
        e = vt_store_open(s->path, &s->store, err);
    } while (!e && stat(s->path, &after) == 0 && after.st_ino != before.st_ino);
    s->device = before.st_dev;
    s->inode = before.st_ino;
    return e;
}

/* The path leads to another recording by now. */
static bool is_succeeded(const struct vtop_source *s)
{
    struct stat st;
    return s->is_link && stat(s->path, &st) == 0 && (st.st_ino != s->inode || st.st_dev != s->device);
}

/* All of this recording has been told: on to the next, which begins where this one ended. */
static int succeed(struct vtop_source *s, struct vt_err *err)
{
    struct vt_correlator *c = vt_correlator_new();
    if (!c)
        return vt_fail(err, ENOMEM, "out of memory");
    vt_correlator_free(s->correlator);
    s->correlator = c;
    memset(&s->cursor, 0, sizeof(s->cursor));
    memset(&s->bill_cursor, 0, sizeof(s->bill_cursor));
    memset(s->lost, 0, sizeof(s->lost));
    s->shown_to = s->known_to = s->grew_at = 0;
    return open_at_path(s, err);
}

int vtop_source_open_file(const char *path, struct vtop_source **ret, struct vt_err *err)
{
    struct vtop_source *s = new_source(err);
    if (!s)
        return -ENOMEM;
    s->path = path;
    const int e = open_at_path(s, err);
    if (e) {
        vtop_source_close(s);
        return e;
    }
    *ret = s;
    return 0;
}

/* 1: the recording can be read; 0: not yet; or -errno. */
static int have_store(struct vtop_source *s, struct vt_err *err)
{
    if (s->live) {
        const int r = vtop_recorder_check(&s->recorder, err);
        if (r <= 0)
            return r;
    }
    if (s->store)
        return 1;
    const int e = vt_store_open(s->path, &s->store, err);
    return e ? e : 1;
}

static int take_loss(void *context, const struct vt_loss *row)
{
    struct vtop_source *s = context;
    s->lost[row->reason] += row->count;
    return 0;
}

static int take_observer(void *context, const struct vt_observer *row)
{
    struct vtop_source *s = context;
    s->observer = *row;
    s->heard_at = now_ns();
    return 0;
}

/* Takes what is new; the host's row has the end. */
static int take_news(struct vtop_source *s, struct vt_err *err)
{
    const struct vt_store_reader bill = { .context = s, .loss = take_loss, .observer = take_observer };
    int e = vt_feed(s->correlator, s->store, &s->cursor, err);
    if (!e)
        e = vt_store_get_host(s->store, &s->host, err);
    if (!e)
        e = vt_store_read(s->store, &s->bill_cursor, &bill, err);
    if (e)
        return e;
    const struct vt_window extent = vt_correlator_extent(s->correlator);
    const uint64_t to = extent.from.v < extent.to.v ? extent.to.v : 0;
    if (to > s->known_to || s->grew_at == 0)
        s->grew_at = now_ns();
    s->known_to = to > s->known_to ? to : s->known_to;
    if (s->shown_to == 0 && to) /* the first window begins with the recording */
        s->shown_to = extent.from.v;
    return 0;
}

static bool grows(const struct vtop_source *s)
{
    /* after the end of a service's recording, its link will lead on in a moment */
    const uint64_t last = s->heard_at > s->grew_at ? s->heard_at : s->grew_at;
    return (s->host.end.v == 0 || s->is_link) && now_ns() - last < GROWS_WITHIN;
}

/* No vCPU is there any more to tell about the time that goes on. */
static bool is_deserted(const struct vtop_source *s, uint64_t step_ns)
{
    const bool live = s->live || (s->is_link && s->host.end.v == 0 && grows(s));
    return live && now_ns() - s->grew_at >= step_ns + 2 * INTERVAL_MAX_MS * MS;
}

/* The window to show next; false: not enough is known for one. */
static bool next_window(struct vtop_source *s, uint64_t step_ns, struct vt_window *ret)
{
    const uint64_t known = s->known_to > s->shown_to ? s->known_to - s->shown_to : 0;
    *ret = (struct vt_window){ { s->shown_to }, { s->known_to } };
    if (s->live) {
        /* the first one soon, however long the delay; what comes in quarters of a step may be late */
        const uint64_t want = s->begun || step_ns < VT_NSEC_PER_SEC ? step_ns : VT_NSEC_PER_SEC;
        if (known > 3 * step_ns) /* we slept, or were paused: show what is */
            ret->from.v = s->known_to - step_ns;
        /* the last words of the last guest, however short */
        return known >= want - want / 8 || (known > 0 && is_deserted(s, step_ns));
    }
    const bool goes_on = is_succeeded(s) || grows(s);
    if (known >= step_ns)
        ret->to.v = s->shown_to + step_ns;
    else if (goes_on && !(is_succeeded(s) && s->host.end.v))
        return false;
    s->over = known <= step_ns && !goes_on;
    return known > 0;
}

/*
 * Time that no vCPU is there to tell about.  CLOCK_MONOTONIC is the host's
 * clock of a live recording.
 */
static struct vt_snapshot *empty_snapshot(const struct vtop_source *s, uint64_t step_ns)
{
    struct vt_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return NULL;
    snapshot->window.to.v = now_ns();
    snapshot->window.from.v = snapshot->window.to.v - step_ns;
    snapshot->host = s->host;
    snapshot->cut_off = true;
    snapshot->observer = s->observer;
    for (size_t i = 0; i < VT_NR_LOST_REASONS; i++)
        snapshot->lost[i] = s->lost[i];
    return snapshot;
}

int vtop_source_next(struct vtop_source *s, uint64_t step_ns, struct vt_snapshot **ret, struct vt_err *err)
{
    struct vt_window window;
    int r = have_store(s, err);
    if (r <= 0)
        return r;
    r = take_news(s, err);
    if (r == 0 && s->known_to <= s->shown_to && is_succeeded(s) && (s->host.end.v || !grows(s))) {
        r = succeed(s, err);
        r = r ? r : take_news(s, err);
    }
    if (r < 0)
        return r;
    if (is_deserted(s, step_ns) && s->known_to <= s->shown_to) {
        *ret = empty_snapshot(s, step_ns);
        return *ret ? 1 : vt_fail(err, ENOMEM, "out of memory");
    }
    if (!next_window(s, step_ns, &window))
        return 0;
    struct vt_snapshot *snapshot = vt_correlate(s->correlator, &window, err);
    if (!snapshot)
        return -ENOMEM;
    s->shown_to = window.to.v;
    s->begun = true;
    if (window.from.v > KEPT_BEHIND)
        vt_correlator_forget(s->correlator, (host_ns){ window.from.v - KEPT_BEHIND });
    *ret = snapshot;
    return 1;
}

bool vtop_source_is_over(const struct vtop_source *s)
{
    return s->over;
}

bool vtop_source_is_live(const struct vtop_source *s)
{
    return s->live;
}

const char *vtop_source_note(const struct vtop_source *s)
{
    return s->store ? vt_store_note(s->store) : NULL;
}

void vtop_source_close(struct vtop_source *s)
{
    if (!s)
        return;
    vt_store_close(s->store); /* before the recorder's: its files go with it */
    vtop_recorder_stop(&s->recorder);
    vt_correlator_free(s->correlator);
    free(s);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "retention.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

#define MS UINT64_C(1000000)
/* A recording begins a moment after it got its name; the wall clock may be set meanwhile. */
#define NAMED_BEFORE (60 * VT_NSEC_PER_SEC)

static const char *const parts[] = { "", "-wal", "-shm", "-journal" };
enum { NR_PARTS = sizeof(parts) / sizeof(*parts) };

void vt_recording_name(uint64_t realtime_ns, char ret[VT_RECORDING_NAME_LEN])
{
    const time_t seconds = (time_t)(realtime_ns / VT_NSEC_PER_SEC);
    char text[24];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &tm);
    snprintf(ret, VT_RECORDING_NAME_LEN, "vtime-%s.%03uZ.vt", text,
             (unsigned)(realtime_ns % VT_NSEC_PER_SEC / MS));
}

uint64_t vt_recording_time(const char *name)
{
    char again[VT_RECORDING_NAME_LEN];
    struct tm tm = { 0 };
    unsigned ms = 0;
    int n = 0;

    if (sscanf(name, "vtime-%4d%2d%2dT%2d%2d%2d.%3uZ.vt%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &ms, &n) != 7 ||
        !n)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    const time_t seconds = timegm(&tm);
    if (seconds <= 0)
        return 0;
    const uint64_t t = (uint64_t)seconds * VT_NSEC_PER_SEC + ms * MS;
    vt_recording_name(t, again); /* signs, blanks, a 32nd of the month: not as we write it */
    return strcmp(again, name) == 0 ? t : 0;
}

size_t vt_retention_choose(const struct vt_kept *files, size_t n, const struct vt_service_options *o)
{
    uint64_t sum = 0;
    size_t gone = 0;

    for (size_t i = 0; i < n; i++)
        sum += files[i].bytes;
    while (gone + 1 < n && ((o->keep && n - gone > o->keep) || (o->keep_bytes && sum > o->keep_bytes)))
        sum -= files[gone++].bytes;
    return gone;
}

static int by_name(const void *a, const void *b)
{
    const struct vt_kept *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static uint64_t size_of(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    uint64_t sum = 0;

    for (int i = 0; i < NR_PARTS; i++) {
        snprintf(path, sizeof(path), "%s/%s%s", dir, name, parts[i]);
        if (lstat(path, &st) == 0)
            sum += (uint64_t)st.st_blocks * 512;
    }
    return sum;
}

/* Those that bear such a name and are older than the present one; it comes last. */
static int list(const char *dir, const char *present, struct vt_kept **ret, size_t *ret_n, struct vt_err *err)
{
    struct vt_kept *files = NULL;
    size_t n = 0, room = 0;
    DIR *d = opendir(dir);

    if (!d)
        return vt_fail(err, errno, "cannot read %s: %s", dir, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(d));) {
        if (!vt_recording_time(entry->d_name) || strcmp(entry->d_name, present) > 0)
            continue;
        if (n == room) {
            room = room ? 2 * room : 64;
            struct vt_kept *more = realloc(files, room * sizeof(*more));
            if (!more) {
                free(files);
                closedir(d);
                return vt_fail(err, ENOMEM, "out of memory");
            }
            files = more;
        }
        memccpy(files[n].name, entry->d_name, 0, sizeof(files[n].name));
        files[n].bytes = size_of(dir, entry->d_name);
        n++;
    }
    closedir(d);
    if (n)
        qsort(files, n, sizeof(*files), by_name);
    *ret = files;
    *ret_n = n;
    return 0;
}

/* Ours: a recording that began when its name says, or never began. */
static bool is_ours(const char *path, uint64_t named)
{
    struct vt_store *store = NULL;
    struct vt_host host;
    struct stat st;

    if (lstat(path, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        vt_store_open(path, &store, NULL))
        return false;
    const int r = vt_store_get_host(store, &host, NULL);
    vt_store_close(store);
    if (r)
        return r == -ENODATA;
    const uint64_t began = host.begin.v + host.realtime_offset_ns;
    return (began > named ? began - named : named - began) <= NAMED_BEFORE;
}

static int remove_recording(const char *dir, const char *name, struct vt_err *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (!is_ours(path, vt_recording_time(name)))
        return vt_fail(err, EUCLEAN, "%s is damaged or was not made by this service: it stays", path);
    for (int i = 0; i < NR_PARTS; i++) {
        snprintf(path, sizeof(path), "%s/%s%s", dir, name, parts[i]);
        if (unlink(path) && errno != ENOENT)
            return vt_fail(err, errno, "cannot remove %s: %s", path, strerror(errno));
    }
    return 0;
}

int vt_retention_apply(const char *dir, const char *present, const struct vt_service_options *o, bool press,
                       struct vt_err *err)
{
    struct vt_kept *files = NULL;
    size_t n = 0;
    int gone = 0;

    if (!o->keep && !o->keep_bytes)
        return 0;
    int r = list(dir, present, &files, &n, err);
    if (r)
        return r;
    /* what can't be removed is none of ours and does not count */
    for (size_t first = 0; first + 1 < n; first++) {
        if (!vt_retention_choose(files + first, n - first, o) && !(press && !gone))
            break;
        const int e = remove_recording(dir, files[first].name, err);
        if (e)
            r = e;
        gone += e == 0;
    }
    free(files);
    return gone ? gone : r;
}

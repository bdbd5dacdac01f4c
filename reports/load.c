/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recording's window, correlated, and the debts of each benchmark in it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/feed.h"
#include "view.h"

const char *report_parse_seconds(const char *s, uint64_t *ret_ns)
{
    uint64_t whole = 0, part = 0, unit = VT_NSEC_PER_SEC;
    const char *begin = s;
    for (; *s >= '0' && *s <= '9'; s++) {
        whole = whole * 10 + (uint64_t)(*s - '0');
        if (whole > UINT64_C(1000000000))
            return NULL;
    }
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++) {
            unit /= 10;
            part += unit * (uint64_t)(*s - '0');
        }
    if (s == begin || (s == begin + 1 && *begin == '.'))
        return NULL;
    *ret_ns = whole * VT_NSEC_PER_SEC + part;
    return s;
}

int report_parse_window(const char *text, struct report_choice *ret, struct vt_err *err)
{
    uint64_t from = 0, to = UINT64_MAX;
    const char *s = text;
    if (*s != ',')
        s = report_parse_seconds(s, &from);
    if (s && *s == ',') {
        if (*++s)
            s = report_parse_seconds(s, &to);
        if (s && !*s && from < to) {
            ret->has_window = true;
            ret->from_ns = from;
            ret->to_ns = to;
            return 0;
        }
    }
    return vt_fail(err, EINVAL, "a window is A,B: seconds since the recording's begin, A before B; not '%s'",
                   text);
}

/* The stretch from the first to the last benchmark so named. */
static int window_of_mark(const struct vt_snapshot *s, const char *mark, struct vt_window *ret,
                          struct vt_err *err)
{
    struct vt_window hull = { .from = { UINT64_MAX } };
    for (size_t g = 0; g < s->nr_guests; g++) {
        const struct vt_guest *guest = &s->guests[g];
        size_t prefix = strlen(guest->vm.name);
        bool mine = strncmp(mark, guest->vm.name, prefix) == 0 && mark[prefix] == '/';
        for (size_t i = 0; i < guest->nr_benchmarks; i++) {
            const struct vt_benchmark *b = &guest->benchmarks[i];
            if (strcmp(b->name, mark) != 0 && !(mine && strcmp(b->name, mark + prefix + 1) == 0))
                continue;
            if (b->from_host_process || b->window.from.v >= b->window.to.v)
                continue;
            hull.from.v = b->window.from.v < hull.from.v ? b->window.from.v : hull.from.v;
            hull.to.v = b->window.to.v > hull.to.v ? b->window.to.v : hull.to.v;
        }
    }
    if (hull.from.v >= hull.to.v)
        return vt_fail(err, ENOENT,
                       "no guest has marked a benchmark '%s'; `vtime report` without --mark lists them",
                       mark);
    *ret = hull;
    return 0;
}

/* The window asked for; NULL in *ret: all of it. */
static int choose_window(const struct vt_correlator *c, const struct report_choice *choice, host_ns epoch,
                         struct vt_window *ret, struct vt_err *err)
{
    struct vt_window extent = vt_correlator_extent(c);
    *ret = extent;
    if (choice->mark) {
        struct vt_snapshot *all = vt_correlate(c, NULL, err);
        int r = all ? window_of_mark(all, choice->mark, ret, err) : -ENODATA;
        vt_snapshot_free(all);
        return r;
    }
    if (!choice->has_window)
        return 0;
    if (choice->from_ns > UINT64_MAX - epoch.v || epoch.v + choice->from_ns >= extent.to.v)
        return vt_fail(err, EINVAL, "the window begins after the recording's end");
    uint64_t from = epoch.v + choice->from_ns;
    uint64_t to = choice->to_ns > extent.to.v - epoch.v ? extent.to.v : epoch.v + choice->to_ns;
    ret->from.v = from > extent.from.v ? from : extent.from.v;
    ret->to.v = to;
    if (ret->from.v >= ret->to.v)
        return vt_fail(err, EINVAL, "the window ends before the recording's first event");
    return 0;
}

static int find_debts(const struct vt_correlator *c, const struct vt_guest *guest,
                      const struct vt_benchmark *b, struct report_debts *ret)
{
    struct vt_snapshot *s = vt_correlate_blame(c, &b->window, guest->vm.id, NULL);
    if (!s)
        return 0; /* the window holds nothing to tell: not known */
    *ret = (struct report_debts){ .known = true, .n = s->nr_blame, .rows = s->blame };
    s->blame = NULL;
    vt_snapshot_free(s);
    return 0;
}

static int find_all_debts(const struct vt_correlator *c, struct report_view *v)
{
    const struct vt_snapshot *s = v->snapshot;
    v->debts = calloc(s->nr_guests ? s->nr_guests : 1, sizeof(*v->debts));
    if (!v->debts)
        return -ENOMEM;
    for (size_t g = 0; g < s->nr_guests; g++) {
        const struct vt_guest *guest = &s->guests[g];
        if (!guest->nr_benchmarks)
            continue;
        v->debts[g] = calloc(guest->nr_benchmarks, sizeof(**v->debts));
        if (!v->debts[g])
            return -ENOMEM;
        for (size_t i = 0; i < guest->nr_benchmarks && i < REPORT_MAX_DETAIL; i++) {
            const struct vt_benchmark *b = &guest->benchmarks[i];
            int r = b->from_host_process ? 0 : find_debts(c, guest, b, &v->debts[g][i]);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct vt_guest *x = a, *y = b;
    int order = strverscmp(x->vm.name, y->vm.name); /* guest-2 before guest-10 */
    return order ? order : (x->vm.id > y->vm.id) - (x->vm.id < y->vm.id);
}

/* All that is recorded; *ret is the caller's to free, also on failure. */
static int feed(const char *path, struct vt_correlator **ret, host_ns *ret_epoch, struct vt_err *err)
{
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = NULL;
    struct vt_host host = { 0 };
    *ret = vt_correlator_new();
    int r = *ret ? vt_store_open(path, &store, err) : vt_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        r = vt_feed(*ret, store, &cursor, err);
    if (r == 0)
        r = vt_store_get_host(store, &host, err);
    *ret_epoch = host.begin;
    vt_store_close(store);
    return r;
}

int report_load(const char *path, const struct report_choice *choice, struct report_view *ret,
                struct vt_err *err)
{
    struct report_view v = { .path = path };
    struct vt_window window;
    struct vt_correlator *c;
    int r = feed(path, &c, &v.epoch, err);
    if (r == 0)
        r = choose_window(c, choice, v.epoch, &window, err);
    if (r == 0) {
        v.snapshot = vt_correlate(c, &window, err);
        if (v.snapshot && v.snapshot->nr_guests)
            qsort(v.snapshot->guests, v.snapshot->nr_guests, sizeof(*v.snapshot->guests), by_name);
        r = v.snapshot ? find_all_debts(c, &v) : -ENODATA;
        if (r == -ENOMEM)
            vt_fail(err, ENOMEM, "out of memory");
    }
    vt_correlator_free(c);
    if (r < 0) {
        report_view_release(&v);
        return r;
    }
    *ret = v;
    return 0;
}

int report_load_timeline(const char *path, uint64_t width_ns, struct vt_snapshot **ret, struct vt_err *err)
{
    struct vt_correlator *c;
    host_ns epoch;
    int r = feed(path, &c, &epoch, err);
    struct vt_snapshot *s = r ? NULL : vt_correlate_timeline(c, NULL, width_ns, err);
    vt_correlator_free(c);
    if (!s)
        return r ? r : -ENODATA;
    *ret = s;
    return 0;
}

void report_view_release(struct report_view *v)
{
    if (v->debts && v->snapshot)
        for (size_t g = 0; g < v->snapshot->nr_guests; g++) {
            for (size_t i = 0; v->debts[g] && i < v->snapshot->guests[g].nr_benchmarks; i++)
                free(v->debts[g][i].rows);
            free(v->debts[g]);
        }
    free(v->debts);
    vt_snapshot_free(v->snapshot);
    *v = (struct report_view){ 0 };
}

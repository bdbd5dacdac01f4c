/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/messagemap.h"

#include <errno.h>
#include <stdlib.h>

typedef __int128 swide;

/* Lengths of segments, seconds of y; each begins in the middle of the one before. */
static const uint64_t spans[VT_MAP_LEVELS] = { 10, 60 };

#define WINDOW_S     10u /* steps are looked for in stretches of this length... */
#define WINDOW_LEAST 8u  /* ...and of so many exchanges at least */
#define WINDOW_MOST  2048u
#define MAX_EPOCHS   512u /* a TSC that steps more often is no clock */

struct pass {
    const struct vt_message_input *in;
    struct vt_message_map *map;
    struct vt_fix *low, *high; /* those that make sense */
    size_t n, room_epochs;
    struct vt_fix *a, *b; /* scratch: n + n_extra each */
};

/* ---- points of a stretch, sorted as a segment wants them ---- */

static int by_x(const void *a, const void *b)
{
    const struct vt_fix *x = a, *y = b;
    const int64_t d = (int64_t)(x->x - y->x);
    return (d > 0) - (d < 0);
}

static void copy_sorted(struct vt_fix *to, const struct vt_fix *from, size_t n)
{
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        sorted &= i == 0 || by_x(&to[i - 1], &to[i]) <= 0;
    }
    if (!sorted)
        qsort(to, n, sizeof(*to), by_x);
}

static const struct vt_slopes any_slope = { VT_SLOPE_LEAST, VT_SLOPE_MOST };

/* Does any line at all fit exchanges [i, j)? */
static int fits(struct pass *p, size_t i, size_t j, bool *ret)
{
    struct vt_corridor s;
    const struct vt_fix origin = p->low[i + (j - i) / 2];
    copy_sorted(p->a, p->low + i, j - i);
    copy_sorted(p->b, p->high + i, j - i);
    int r = vt_corridor_build(&s, origin, p->a, j - i, p->b, j - i, any_slope, p->in->y_hz);
    *ret = !r && !s.empty;
    if (!r)
        vt_corridor_release(&s);
    return r;
}

/* ---- epochs ---- */

static struct vt_message_epoch *add_epoch(struct pass *p, const char *reason)
{
    struct vt_message_map *m = p->map;
    if (m->n == MAX_EPOCHS) {
        m->overrun = true;
        return NULL;
    }
    if (m->n == p->room_epochs) {
        const size_t room = m->n ? 2 * m->n : 4;
        struct vt_message_epoch *more = realloc(m->epochs, room * sizeof(*more));
        if (!more)
            return NULL;
        m->epochs = more;
        p->room_epochs = room;
    }
    m->epochs[m->n] = (struct vt_message_epoch){ .reason = reason };
    return &m->epochs[m->n++];
}

/* Where the window that begins at i ends. */
static size_t window_end(const struct pass *p, size_t i, size_t end)
{
    size_t j = i + 1;
    while (j < end && j - i < WINDOW_MOST &&
           (j - i < WINDOW_LEAST || p->low[j].y - p->low[i].y <= WINDOW_S * p->in->y_hz) &&
           p->low[j].y - p->low[i].y < (uint64_t)VT_REACH / 2)
        j++;
    return j;
}

/* The longest run from i on, up to `end`, through which a line fits: where it ends. */
static int forward(struct pass *p, size_t i, size_t end, size_t *ret)
{
    size_t good = i + 1, bad = end + 1;
    bool fit;
    for (size_t step = 1; good < end && bad > end; step *= 2) {
        const size_t next = end - good < step ? end : good + step;
        int r = fits(p, i, next, &fit);
        if (r)
            return r;
        if (fit)
            good = next;
        else
            bad = next;
    }
    while (bad <= end && bad - good > 1) {
        const size_t middle = good + (bad - good) / 2;
        int r = fits(p, i, middle, &fit);
        if (r)
            return r;
        *(fit ? &good : &bad) = middle;
    }
    *ret = good;
    return 0;
}

/* The same backwards, of what ends at `end`: where it begins. */
static int backward(struct pass *p, size_t i, size_t end, size_t *ret)
{
    size_t bad = i, good = end - 1; /* i on is known not to fit */
    bool fit;
    while (good - bad > 1) {
        const size_t middle = bad + (good - bad) / 2;
        int r = fits(p, middle, end, &fit);
        if (r)
            return r;
        *(fit ? &good : &bad) = middle;
    }
    *ret = good;
    return 0;
}

/*
 * The first step in exchanges [i, end): those before *ret_last are surely before it, those
 * from *ret_next on surely after.  Both are `end` if there is none.
 */
static int find_step(struct pass *p, size_t i, size_t end, size_t *ret_last, size_t *ret_next)
{
    while (i < end) {
        const size_t to = window_end(p, i, end);
        size_t stop, begin = i;
        int r = forward(p, i, to, &stop);
        if (r)
            return r;
        if (stop < to) {
            /* how far back a line fits what comes right after: no further than one step */
            size_t after = stop + (stop - i) + WINDOW_LEAST / 2;
            after = after < to ? after : to;
            r = forward(p, stop, after, &after);
            r = r ? r : backward(p, i, after, &begin);
            *ret_last = begin < stop ? begin : stop;
            *ret_next = stop;
            if (*ret_last == i) /* at least one is before it */
                *ret_last = i + 1;
            return r;
        }
        if (to == end)
            break;
        i += to - i > 1 ? (to - i) / 2 : 1;
    }
    *ret_last = *ret_next = end;
    return 0;
}

/* ---- segments ---- */

static uint64_t round_trip(const struct pass *p, size_t i)
{
    return p->high[i].y - p->low[i].y - (p->high[i].x - p->low[i].x);
}

static int64_t chord(const struct vt_fix *from, const struct vt_fix *to, const struct vt_slopes *otherwise,
                     bool most)
{
    const int64_t run = (int64_t)(to->x - from->x), rise = (int64_t)(to->y - from->y);
    const int64_t fallback = most ? otherwise->most : otherwise->least;
    if (run <= 0 || rise <= 0)
        return fallback;
    const swide slope = (swide)rise * VT_SLOPE_ONE / run;
    const swide eased = slope + (most ? 1 : -1) * (slope * VT_DRIFT_PPM / 1000000 + 1);
    if (eased < any_slope.least || eased > any_slope.most)
        return fallback;
    return (int64_t)eased;
}

/*
 * Bounds of the slope in exchanges [i, j): of the mean between the quickest of the first
 * third and of the last, and how far from its mean it may be.
 */
static struct vt_slopes slopes_of(const struct pass *p, size_t i, size_t j)
{
    const size_t third = (j - i + 2) / 3;
    size_t a = i, b = j - 1;
    struct vt_slopes s = any_slope;
    if (j - i > 1) {
        for (size_t k = i; k < i + third; k++)
            a = round_trip(p, k) < round_trip(p, a) ? k : a;
        for (size_t k = j - third; k < j; k++)
            b = round_trip(p, k) < round_trip(p, b) ? k : b;
        s.most = chord(&p->low[a], &p->high[b], &any_slope, true);
        s.least = chord(&p->high[a], &p->low[b], &any_slope, false);
    }
    const struct vt_slopes nominal = p->in->nominal;
    if (nominal.most && nominal.most >= s.least && nominal.least <= s.most) {
        s.least = nominal.least > s.least ? nominal.least : s.least;
        s.most = nominal.most < s.most ? nominal.most : s.most;
    }
    return s.least <= s.most ? s : any_slope;
}

/* First index whose y is not below. */
static size_t place(const struct vt_fix *f, size_t low, size_t high, uint64_t y)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (f[middle].y >= y)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct stretch { /* of one epoch: exchanges and extra bounds */
    size_t from, to, extra_from, extra_to;
};

/* 1: *ret is a segment; 0: there is nothing to make it of; -ENOMEM. */
static int make_segment(struct pass *p, const struct stretch *w, const struct vt_slopes *slopes,
                        uint64_t centre, struct vt_corridor *ret)
{
    const struct vt_message_input *in = p->in;
    const size_t n = w->to - w->from, more = w->extra_to - w->extra_from;
    if (n + more == 0)
        return 0;
    struct vt_fix origin = { 0, centre };
    size_t near = place(p->low, w->from, w->to, centre);
    if (n)
        origin.x = p->low[near < w->to ? near : w->to - 1].x;
    else
        origin.x = in->extra[w->extra_from + more / 2].x;
    copy_sorted(p->a, p->low + w->from, n);
    struct vt_fix *high = p->b;
    for (size_t i = 0; i < n + more; i++)
        high[i] = i < n ? p->high[w->from + i] : in->extra[w->extra_from + i - n];
    if (n + more) /* in place: two lists, each nearly sorted */
        qsort(high, n + more, sizeof(*high), by_x);
    int r = vt_corridor_build(ret, origin, p->a, n, high, n + more, *slopes, in->y_hz);
    if (r || !ret->empty)
        return r ? r : 1;
    vt_corridor_release(ret);
    if (!n)
        return 0;
    p->map->ignored += more; /* what comes from elsewhere has to bow to the exchanges */
    copy_sorted(high, p->high + w->from, n);
    r = vt_corridor_build(ret, origin, p->a, n, high, n, *slopes, in->y_hz);
    if (!r && ret->empty) {
        vt_corridor_release(ret);
        r = vt_corridor_build(ret, origin, p->a, n, high, n, any_slope, in->y_hz);
    }
    if (!r && ret->empty) {
        vt_corridor_release(ret);
        return 0;
    }
    return r ? r : 1;
}

static int fill_level(struct pass *p, const struct stretch *all, const struct vt_slopes *slopes,
                      uint64_t first, uint64_t last, uint64_t span, struct vt_map_level *level)
{
    const uint64_t hop = span / 2;
    size_t room = 0;
    /* from where there is something on: gaps are passed over */
    for (uint64_t from = first;; from += hop) {
        struct stretch w = { place(p->low, all->from, all->to, from),
                             place(p->low, all->from, all->to, from + span),
                             place(p->in->extra, all->extra_from, all->extra_to, from),
                             place(p->in->extra, all->extra_from, all->extra_to, from + span) };
        if (w.from == all->to && w.extra_from == all->extra_to)
            break;
        if (w.from == w.to && w.extra_from == w.extra_to) {
            uint64_t next = w.from < all->to ? p->low[w.from].y : UINT64_MAX;
            if (w.extra_from < all->extra_to && p->in->extra[w.extra_from].y < next)
                next = p->in->extra[w.extra_from].y;
            from += (next - from) / hop * hop - hop; /* at least one: next >= from + span */
            continue;
        }
        if (level->n == room) {
            room = room ? 2 * room : 4;
            struct vt_corridor *more = realloc(level->segment, room * sizeof(*more));
            if (!more)
                return -ENOMEM;
            level->segment = more;
        }
        int r = make_segment(p, &w, slopes, from + span / 2, &level->segment[level->n]);
        if (r < 0)
            return r;
        level->n += (size_t)r;
        if (from + span > last)
            break;
    }
    return 0;
}

static int fill_epoch(struct pass *p, struct vt_message_epoch *e, const struct stretch *s)
{
    const struct vt_message_input *in = p->in;
    uint64_t first = UINT64_MAX, last = 0;
    if (s->from < s->to) {
        first = p->low[s->from].y;
        last = p->high[s->to - 1].y;
        e->base_x = p->low[s->from].x;
    }
    if (s->extra_from < s->extra_to) {
        if (s->from == s->to)
            e->base_x = in->extra[s->extra_from].x;
        first = in->extra[s->extra_from].y < first ? in->extra[s->extra_from].y : first;
        last = in->extra[s->extra_to - 1].y > last ? in->extra[s->extra_to - 1].y : last;
    }
    e->exchanges = s->to - s->from;
    e->slopes = slopes_of(p, s->from, s->to);
    for (size_t i = 0; i < VT_MAP_LEVELS && first <= last; i++) {
        int r = fill_level(p, s, &e->slopes, first, last, spans[i] * in->y_hz, &e->level[i]);
        if (r)
            return r;
    }
    return 0;
}

/* ---- building ---- */

static int keep_sensible(struct pass *p)
{
    const struct vt_message_input *in = p->in;
    const size_t all = in->n + in->n_extra + 1;
    p->low = calloc(in->n + 1, sizeof(*p->low));
    p->high = calloc(in->n + 1, sizeof(*p->high));
    p->a = calloc(all, sizeof(*p->a));
    p->b = calloc(all, sizeof(*p->b));
    if (!p->low || !p->high || !p->a || !p->b)
        return -ENOMEM;
    for (size_t i = 0; i < in->n; i++) {
        const int64_t inside = (int64_t)(in->high[i].x - in->low[i].x);
        if (in->high[i].y < in->low[i].y || inside < 0 || (p->n && in->low[i].y < p->low[p->n - 1].y)) {
            p->map->absurd++;
            continue;
        }
        p->low[p->n] = in->low[i];
        p->high[p->n++] = in->high[i];
    }
    return 0;
}

/* One epoch of exchanges [i, last); the next begins with `next` and is certain from there. */
static int close_epoch(struct pass *p, struct stretch s, size_t next, uint64_t from, uint64_t sure_from,
                       uint64_t until, const char *reason)
{
    const struct vt_message_input *in = p->in;
    struct vt_message_epoch *e = add_epoch(p, reason);
    if (!e)
        return p->map->overrun ? 0 : -ENOMEM;
    e->from = from;
    e->sure_from = sure_from;
    e->to = next < p->n && p->low[next].y < until ? p->high[next].y : until;
    e->sure_to = s.to > s.from && e->to != until ? p->high[s.to - 1].y : until;
    s.extra_from = place(in->extra, 0, in->n_extra, sure_from);
    s.extra_to = place(in->extra, s.extra_from, in->n_extra, e->sure_to);
    return fill_epoch(p, e, &s);
}

/* Exchanges [i, end) lie in [from, until), between two breaks that are known. */
static int split(struct pass *p, size_t i, size_t end, uint64_t from, uint64_t until, const char *reason)
{
    uint64_t sure = from;
    for (;;) {
        size_t last = end, next = end;
        int r = i < end ? find_step(p, i, end, &last, &next) : 0;
        if (!r)
            r = close_epoch(p, (struct stretch){ .from = i, .to = last }, next < end ? next : p->n, from,
                            sure, until, reason);
        if (r || next >= end || p->map->overrun)
            return r;
        from = p->low[last - 1].y; /* it stepped after this one was asked for */
        sure = p->low[next].y;
        reason = p->in->step_reason;
        i = next;
    }
}

int vt_message_map_build(struct vt_message_map *map, const struct vt_message_input *in)
{
    *map = (struct vt_message_map){ .y_hz = in->y_hz };
    struct pass p = { .in = in, .map = map };
    int r = in->y_hz < 1000000 ? 0 : keep_sensible(&p);
    uint64_t from = 0;
    const char *reason = NULL;
    for (size_t b = 0, i = 0; b <= in->nr_breaks && !r && p.low; b++) {
        const uint64_t until = b < in->nr_breaks ? in->breaks[b].y : UINT64_MAX;
        size_t end = place(p.low, i, p.n, until);
        size_t whole = end; /* one that was under way at the break says nothing */
        while (whole > i && p.high[whole - 1].y > until)
            whole--;
        r = split(&p, i, whole, from, until, reason);
        i = end;
        from = until;
        reason = b < in->nr_breaks ? in->breaks[b].reason : NULL;
    }
    free(p.low);
    free(p.high);
    free(p.a);
    free(p.b);
    return r;
}

void vt_message_map_release(struct vt_message_map *map)
{
    for (size_t i = 0; i < map->n; i++)
        for (size_t l = 0; l < VT_MAP_LEVELS; l++) {
            for (size_t j = 0; j < map->epochs[i].level[l].n; j++)
                vt_corridor_release(&map->epochs[i].level[l].segment[j]);
            free(map->epochs[i].level[l].segment);
        }
    free(map->epochs);
    *map = (struct vt_message_map){ 0 };
}

/* ---- asking ---- */

struct range { /* of y */
    swide low, high;
    bool has_low, has_high;
};

static void narrow_by(struct range *r, const struct vt_corridor *s, uint64_t x)
{
    struct vt_interval v;
    if (!vt_corridor_at(s, x, &v))
        return;
    if (v.has_high && (!r->has_high || (swide)s->origin.y + v.high < r->high)) {
        r->high = (swide)s->origin.y + v.high;
        r->has_high = true;
    }
    if (v.has_low && (!r->has_low || (swide)s->origin.y + v.low > r->low)) {
        r->low = (swide)s->origin.y + v.low;
        r->has_low = true;
    }
}

/* The last segment whose middle is not after x, or the first. */
static size_t nearest(const struct vt_map_level *level, uint64_t base, uint64_t x)
{
    size_t low = 0, high = level->n - 1;
    while (low < high) {
        const size_t middle = low + (high - low + 1) / 2;
        if ((int64_t)(level->segment[middle].origin.x - base) <= (int64_t)(x - base))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

bool vt_message_epoch_at(const struct vt_message_epoch *e, uint64_t x, uint64_t *ret, uint64_t *ret_bound)
{
    struct range all = { 0 };
    for (size_t l = 0; l < VT_MAP_LEVELS; l++) {
        const struct vt_map_level *level = &e->level[l];
        if (!level->n)
            continue;
        const size_t i = nearest(level, e->base_x, x);
        struct range before = all;
        for (size_t j = i; j <= i + 1 && j < level->n; j++)
            narrow_by(&all, &level->segment[j], x);
        if (all.has_low && all.has_high && all.low > all.high)
            all = before; /* it wanders more than is declared: the shorter segments are right */
    }
    if (!all.has_high || all.high < 0 || all.high > (swide)UINT64_MAX)
        return false;
    if (!all.has_low) {
        *ret = (uint64_t)all.high;
        *ret_bound = 0;
        return true;
    }
    if (all.low < 0)
        all.low = 0;
    if (all.low > all.high)
        return false;
    *ret = (uint64_t)(all.low + (all.high - all.low) / 2);
    *ret_bound = (uint64_t)((all.high - all.low + 1) / 2) + 1;
    return true;
}

/* Is y of this epoch, and not later than the host had it? */
static bool possible(const struct vt_message_epoch *e, uint64_t y, uint64_t bound, uint64_t not_after)
{
    return (swide)y + bound >= e->from && (swide)y - bound <= e->to && (swide)y - bound <= not_after;
}

static swide least(swide a, swide b)
{
    return a < b ? a : b;
}

bool vt_message_map_at(const struct vt_message_map *map, uint64_t x, uint64_t not_after, uint64_t *ret,
                       uint64_t *ret_bound)
{
    for (size_t i = map->n; i-- > 0;) {
        const struct vt_message_epoch *e = &map->epochs[i];
        uint64_t y, bound, other, wide;
        if (!vt_message_epoch_at(e, x, &y, &bound) || !possible(e, y, bound, not_after))
            continue;
        *ret = y;
        *ret_bound = bound;
        /* where it may still have been before the step: both */
        if (i > 0 && y < e->sure_from && vt_message_epoch_at(e - 1, x, &other, &wide) &&
            possible(e - 1, other, wide, not_after)) {
            const swide low = least((swide)y - bound, (swide)other - wide);
            const swide high = -least(-(swide)y - bound, -(swide)other - wide);
            *ret = (uint64_t)(low + (high - low) / 2);
            *ret_bound = (uint64_t)((high - low + 1) / 2);
        }
        return true;
    }
    return false;
}

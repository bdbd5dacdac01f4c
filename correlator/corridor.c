/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/corridor.h"

#include <errno.h>
#include <stdlib.h>

typedef __int128 swide;

static int64_t floor_div(swide a, swide b) /* b > 0 */
{
    return (int64_t)(a >= 0 ? a / b : -((-a + b - 1) / b));
}

static int64_t ceil_div(swide a, swide b)
{
    return -floor_div(-a, b);
}

int64_t vt_wander(int64_t d, uint64_t y_hz)
{
    /* rate * d^2 / 2, d in seconds: d^2 / hz * ppb / 2e9 ticks */
    return ceil_div((swide)d * d * VT_WANDER_PPB, (swide)y_hz * 2000000000 + !y_hz);
}

/* ---- hulls: the lower one of points by x ---- */

/* b is not below the line from a to c: it bounds nothing that they don't. */
static bool needless(const struct vt_vertex *a, const struct vt_vertex *b, const struct vt_vertex *c)
{
    return (swide)(b->y - a->y) * (c->x - a->x) >= (swide)(c->y - a->y) * (b->x - a->x);
}

static void hull_add(struct vt_hull *h, struct vt_vertex p)
{
    if (h->n && h->v[h->n - 1].x == p.x) {
        if (h->v[h->n - 1].y <= p.y)
            return;
        h->n--;
    }
    while (h->n > 1 && needless(&h->v[h->n - 2], &h->v[h->n - 1], &p))
        h->n--;
    h->v[h->n++] = p;
}

/* Index of the point that bounds lines of this slope: where y - slope * x is least. */
static size_t touching(const struct vt_hull *h, int64_t slope)
{
    size_t low = 0, high = h->n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct vt_vertex *a = &h->v[middle], *b = a + 1;
        /* the edge from here on rises less than the lines do: the point is further on */
        if ((swide)(b->y - a->y) * VT_SLOPE_ONE < (swide)slope * (b->x - a->x))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static swide height(const struct vt_vertex *p, int64_t slope)
{
    return (swide)p->y * VT_SLOPE_ONE - (swide)slope * p->x;
}

/* The line of this slope through the hull's touching point, at x; rounded up. */
static int64_t line_at(const struct vt_hull *h, int64_t slope, int64_t x)
{
    return ceil_div(height(&h->v[touching(h, slope)], slope) + (swide)slope * x, VT_SLOPE_ONE);
}

/* The highest that a line below the hull, of a slope between the two, can be at x; rounded up. */
static int64_t highest(const struct vt_hull *h, int64_t least, int64_t most, int64_t x)
{
    if (x <= h->v[0].x)
        return line_at(h, least, x);
    if (x >= h->v[h->n - 1].x)
        return line_at(h, most, x);
    size_t low = 0, high = h->n - 2;
    while (low < high) { /* the edge above x */
        size_t middle = low + (high - low + 1) / 2;
        if (h->v[middle].x <= x)
            low = middle;
        else
            high = middle - 1;
    }
    const struct vt_vertex *a = &h->v[low], *b = a + 1;
    const swide rise = (swide)(b->y - a->y) * VT_SLOPE_ONE, run = b->x - a->x;
    if (rise > (swide)most * run)
        return line_at(h, most, x);
    if (rise < (swide)least * run)
        return line_at(h, least, x);
    return a->y + ceil_div((swide)(b->y - a->y) * (x - a->x), run);
}

/* ---- slopes that fit between the two hulls ---- */

/*
 * Room between the hulls for lines of this slope is concave in the slope, so Newton's
 * steps from outside never pass the edge of what fits.  The step is to the slope of the
 * line through the two touching points.
 */
static bool step(const struct vt_corridor *s, int64_t slope, bool down, int64_t *ret)
{
    const struct vt_vertex *u = &s->high.v[touching(&s->high, slope)],
                           *l = &s->low.v[touching(&s->low, -slope)];
    *ret = slope;
    if (height(u, slope) + height(l, -slope) >= 0)
        return true;                                        /* there is room */
    const swide rise = ((swide)u->y + l->y) * VT_SLOPE_ONE; /* l is kept with -y */
    const int64_t run = u->x - l->x;
    if (down ? run <= 0 : run >= 0)
        return false; /* less room on the way that is left: there is none at all */
    *ret = down ? ceil_div(rise, run) : floor_div(-rise, -run);
    return true;
}

#define MAX_STEPS 200 /* a handful do; each leaves a slope that is certain, only wider */

/*
 * With upper bounds only nothing is certain below: the likeliest line is the one along
 * the hull's edge in the middle, which most messages can't be quicker than.
 */
static void guess(struct vt_corridor *s)
{
    const struct vt_hull *h = &s->high;
    size_t i = 0;
    int64_t slope = s->slope_least + (s->slope_most - s->slope_least) / 2;
    while (i + 2 < h->n && h->v[i + 1].x <= 0)
        i++;
    if (h->n > 1)
        slope = floor_div((swide)(h->v[i + 1].y - h->v[i].y) * VT_SLOPE_ONE, h->v[i + 1].x - h->v[i].x);
    slope = slope < s->slope_least ? s->slope_least : slope > s->slope_most ? s->slope_most : slope;
    s->slope_least = s->slope_most = slope;
}

static void narrow(struct vt_corridor *s)
{
    if (!s->low.n && s->high.n)
        guess(s);
    if (!s->low.n || !s->high.n)
        return;
    for (int i = 0; i < MAX_STEPS && !s->empty; i++) {
        int64_t most, least;
        if (!step(s, s->slope_most, true, &most) || !step(s, s->slope_least, false, &least)) {
            s->empty = true;
            return;
        }
        const bool moved = most < s->slope_most || least > s->slope_least;
        s->slope_most = most < s->slope_most ? most : s->slope_most;
        s->slope_least = least > s->slope_least ? least : s->slope_least;
        s->empty = s->slope_least > s->slope_most;
        if (!moved)
            return;
    }
}

/* ---- a segment ---- */

/* The distance modulo 2^64; false: out of reach. */
static bool distance(uint64_t from, uint64_t to, int64_t *ret)
{
    *ret = (int64_t)(to - from);
    return *ret<VT_REACH && * ret> - VT_REACH;
}

static int fill_hull(struct vt_corridor *s, struct vt_hull *h, const struct vt_fix *p, size_t n, int sign)
{
    h->v = calloc(n + 1, sizeof(*h->v));
    if (!h->v)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct vt_vertex v;
        if (!distance(s->origin.x, p[i].x, &v.x) || !distance(s->origin.y, p[i].y, &v.y)) {
            s->empty = true;
            continue;
        }
        v.y = sign * v.y + vt_wander(v.y, s->y_hz);
        s->from = v.x < s->from ? v.x : s->from;
        s->to = v.x > s->to ? v.x : s->to;
        hull_add(h, v);
    }
    if (h->n) { /* the rest is not needed: hulls are short */
        struct vt_vertex *less = realloc(h->v, h->n * sizeof(*h->v));
        h->v = less ? less : h->v;
    }
    return 0;
}

int vt_corridor_build(struct vt_corridor *s, struct vt_fix origin, const struct vt_fix *low, size_t n_low,
                      const struct vt_fix *high, size_t n_high, struct vt_slopes limits, uint64_t y_hz)
{
    *s = (struct vt_corridor){ .origin = origin,
                               .slope_least = limits.least,
                               .slope_most = limits.most,
                               .from = VT_REACH,
                               .to = -VT_REACH,
                               .y_hz = y_hz };
    int r = fill_hull(s, &s->low, low, n_low, -1);
    if (!r)
        r = fill_hull(s, &s->high, high, n_high, 1);
    if (r) {
        vt_corridor_release(s);
        return r;
    }
    s->empty |= !s->low.n && !s->high.n;
    narrow(s);
    return 0;
}

void vt_corridor_release(struct vt_corridor *s)
{
    free(s->low.v);
    free(s->high.v);
    s->low = s->high = (struct vt_hull){ 0 };
}

bool vt_corridor_at(const struct vt_corridor *s, uint64_t x, struct vt_interval *ret)
{
    int64_t d;
    if (s->empty || !distance(s->origin.x, x, &d))
        return false;
    *ret = (struct vt_interval){ .has_low = s->low.n > 0, .has_high = s->high.n > 0 };
    /* slopes are at most 2^6: the products fit, and what comes out is below 2^53 */
    if (ret->has_high)
        ret->high = highest(&s->high, s->slope_least, s->slope_most, d);
    if (ret->has_low)
        ret->low = -highest(&s->low, -s->slope_most, -s->slope_least, d);
    /* from the widest y: no less wander than at the true one */
    int64_t far = ret->has_high ? ret->high : ret->low;
    if (ret->has_low && (ret->low < 0 ? -ret->low : ret->low) > (far < 0 ? -far : far))
        far = ret->low;
    const int64_t wander = ret->has_low ? vt_wander(far, s->y_hz) : 0; /* a guess is not widened */
    ret->high += wander;
    ret->low -= wander;
    return true;
}

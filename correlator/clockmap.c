/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/clockmap.h"

#include <errno.h>

typedef unsigned __int128 wide;
typedef __int128 swide;

void vt_clockmap_init(struct vt_clockmap *map, const struct vt_host *host, const struct vt_clock_pair *pairs,
                      size_t n)
{
    *map = (struct vt_clockmap){ .pairs = pairs, .n = n };
    if (!host->tsc_stable)
        map->refused = "the host's TSC is not its clock source: it may be unstable";
    else if (n < 2)
        map->refused = "fewer than two paired readings of TSC and clock";
}

static uint64_t clamp(wide v)
{
    return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* The line through pairs i and i + 1, at tsc: may lie outside of them. */
static swide line(const struct vt_clockmap *map, size_t i, host_tsc tsc)
{
    const struct vt_clock_pair *a = &map->pairs[i], *b = a + 1;
    swide rise = (swide)(b->ns.v - a->ns.v), run = (swide)(b->tsc.v - a->tsc.v);
    swide d = (swide)tsc.v - (swide)a->tsc.v;
    swide v = d * rise;
    /* rounds down for negative distances too */
    return (swide)a->ns.v + (v >= 0 ? v / run : -((-v + run - 1) / run));
}

static uint64_t apart(swide a, swide b)
{
    return clamp((wide)(a > b ? a - b : b - a));
}

/* The stretch that holds tsc, or the outermost one on its side. */
static size_t find(const struct vt_clockmap *map, host_tsc tsc)
{
    size_t low = 0, high = map->n - 2;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (map->pairs[middle].tsc.v <= tsc.v)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Outside [a, b]: the readings' own bounds tilt the line in proportion to the distance. */
static uint64_t tilt(const struct vt_clock_pair *a, host_tsc tsc)
{
    const struct vt_clock_pair *b = a + 1;
    uint64_t run = b->tsc.v - a->tsc.v;
    uint64_t beyond = tsc.v < a->tsc.v ? a->tsc.v - tsc.v : tsc.v > b->tsc.v ? tsc.v - b->tsc.v : 0;
    return clamp(((wide)a->bound_ns + b->bound_ns) * beyond / run + (beyond ? 1 : 0));
}

int vt_clockmap_to_ns(const struct vt_clockmap *map, host_tsc tsc, host_ns *ret, uint64_t *ret_bound)
{
    if (map->refused)
        return -ENODATA;
    size_t i = find(map, tsc);
    const struct vt_clock_pair *a = &map->pairs[i], *b = a + 1;
    uint64_t run = b->tsc.v - a->tsc.v;
    if ((tsc.v < a->tsc.v && a->tsc.v - tsc.v > run) || (tsc.v > b->tsc.v && tsc.v - b->tsc.v > run))
        return -ERANGE;
    swide here = line(map, i, tsc);
    if (here < 0 || here > (swide)UINT64_MAX)
        return -ERANGE;
    uint64_t bow = 0;
    if (i > 0)
        bow = apart(here, line(map, i - 1, tsc));
    if (i + 2 < map->n) {
        uint64_t right = apart(here, line(map, i + 1, tsc));
        bow = right > bow ? right : bow;
    }
    if (map->n == 2) /* no neighbour to disagree: both readings' bounds */
        bow = a->bound_ns < b->bound_ns ? a->bound_ns : b->bound_ns;
    uint64_t own = a->bound_ns > b->bound_ns ? a->bound_ns : b->bound_ns;
    ret->v = (uint64_t)here;
    *ret_bound = clamp((wide)own + bow + tilt(a, tsc) + 1);
    return 0;
}

/* The stretch that holds ns, or the outermost one on its side. */
static size_t find_ns(const struct vt_clockmap *map, host_ns ns)
{
    size_t low = 0, high = map->n - 2;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (map->pairs[middle].ns.v <= ns.v)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int vt_clockmap_to_tsc(const struct vt_clockmap *map, host_ns ns, host_tsc *ret, uint64_t *ret_bound)
{
    if (map->refused)
        return -ENODATA;
    const struct vt_clock_pair *a = &map->pairs[find_ns(map, ns)], *b = a + 1;
    const swide run = (swide)(b->tsc.v - a->tsc.v), rise = (swide)(b->ns.v - a->ns.v);
    const swide tsc = (swide)a->tsc.v + ((swide)ns.v - (swide)a->ns.v) * run / rise;
    host_ns back;
    uint64_t bound;
    if (ns.v >> 62 || tsc < 0 || tsc > (swide)UINT64_MAX)
        return -ERANGE;
    host_tsc found = { (uint64_t)tsc };
    int r = vt_clockmap_to_ns(map, found, &back, &bound);
    if (r)
        return r;
    /* how wrong it may be, and one for what the division cut off */
    *ret_bound = clamp(((wide)bound + apart((swide)back.v, (swide)ns.v)) * (wide)run / (wide)rise + 2);
    *ret = found;
    return 0;
}

uint64_t vt_clockmap_length_ns(const struct vt_clockmap *map, uint64_t ticks)
{
    if (map->refused)
        return 0;
    const struct vt_clock_pair *a = &map->pairs[0], *b = &map->pairs[map->n - 1];
    return clamp((wide)ticks * (b->ns.v - a->ns.v) / (b->tsc.v - a->tsc.v));
}

double vt_clockmap_khz(const struct vt_clockmap *map)
{
    if (map->refused)
        return 0;
    const struct vt_clock_pair *a = &map->pairs[0], *b = &map->pairs[map->n - 1];
    return (double)(b->tsc.v - a->tsc.v) * 1e6 / (double)(b->ns.v - a->ns.v);
}

/*
 * KVM (arch/x86/kvm/x86.c, kvm_scale_tsc): guest = offset + (host * ratio >> frac).
 * The hosts with (host * ratio >> frac) == g are [g << frac, (g + 1) << frac) / ratio.
 */
static bool invert_offset(const struct vt_tsc_epoch *e, guest_tsc tsc, host_tsc *ret, uint64_t *ret_span)
{
    uint64_t g = tsc.v - e->offset;
    *ret_span = 0;
    ret->v = g;
    if (e->ratio == 0 || (e->frac < 64 && e->ratio == UINT64_C(1) << e->frac))
        return true;
    if (e->frac > 62)
        return false;
    wide low = (((wide)g << e->frac) + e->ratio - 1) / e->ratio;
    wide high = ((((wide)g + 1) << e->frac) - 1) / e->ratio;
    if (high > UINT64_MAX || high < low)
        return false;
    ret->v = (uint64_t)low;
    *ret_span = (uint64_t)(high - low);
    return true;
}

static bool invert_identity(const struct vt_tsc_epoch *e, guest_tsc tsc, host_tsc *ret, uint64_t *ret_span)
{
    (void)e;
    ret->v = tsc.v;
    *ret_span = 0;
    return true;
}

const struct vt_tsc_method vt_tsc_methods[] = {
    { "kvm-offset", invert_offset, true },
    { "identity", invert_identity, false },
};
const size_t vt_nr_tsc_methods = sizeof(vt_tsc_methods) / sizeof(*vt_tsc_methods);

static int to_ns_under(const struct vt_guest_clock *clock, const struct vt_tsc_epoch *e, guest_tsc tsc,
                       host_ns *ret, uint64_t *ret_bound)
{
    host_tsc host;
    uint64_t span, bound;
    if (!clock->method->invert(e, tsc, &host, &span))
        return -ERANGE;
    int r = vt_clockmap_to_ns(clock->map, host, ret, &bound);
    if (r)
        return r;
    uint64_t extra = vt_clockmap_length_ns(clock->map, span);
    *ret_bound = bound > UINT64_MAX - extra ? UINT64_MAX : bound + extra;
    return 0;
}

int vt_guest_clock_to_ns(const struct vt_guest_clock *clock, guest_tsc tsc, host_ns not_after, host_ns *ret,
                         uint64_t *ret_bound)
{
    host_ns ns;
    uint64_t bound;
    if (!clock->method || clock->map->refused)
        return -ENODATA;
    if (!clock->method->needs_epochs) {
        int r = to_ns_under(clock, NULL, tsc, &ns, &bound);
        if (r)
            return r;
        if (ns.v > not_after.v && ns.v - not_after.v > bound)
            return -ERANGE;
        *ret = ns;
        *ret_bound = bound;
        return 0;
    }
    if (clock->nr_epochs == 0)
        return -ENODATA;
    for (size_t i = clock->nr_epochs; i-- > 0;) {
        if (to_ns_under(clock, &clock->epochs[i], tsc, &ns, &bound))
            continue;
        /* the first epoch holds from the vCPU's creation: it was read a little later */
        if (i > 0 && ns.v + bound < clock->epochs[i].at.v)
            continue;
        if (i + 1 < clock->nr_epochs && ns.v > clock->epochs[i + 1].at.v + bound)
            continue;
        if (ns.v > not_after.v && ns.v - not_after.v > bound)
            continue;
        *ret = ns;
        *ret_bound = bound;
        return 0;
    }
    return -ERANGE;
}

bool vt_pvclock_length_ns(uint32_t mul, int32_t shift, uint64_t ticks, uint64_t *ret)
{
    if (mul == 0 || shift > 31 || shift < -31)
        return false;
    wide v = shift >= 0 ? (wide)ticks << shift : (wide)ticks >> -shift;
    if (v >> 95)
        return false;
    v = v * mul >> 32;
    if (v > UINT64_MAX)
        return false;
    *ret = (uint64_t)v;
    return true;
}

double vt_pvclock_khz(uint32_t mul, int32_t shift)
{
    if (mul == 0 || shift > 31 || shift < -31)
        return 0;
    double scale = shift >= 0 ? (double)(UINT32_C(1) << shift) : 1.0 / (double)(UINT32_C(1) << -shift);
    return 1e6 * 4294967296.0 / ((double)mul * scale);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/machineclock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/guestclock.h"

const char *const vt_clock_method_names[VT_NR_CLOCK_METHODS] = {
    [VT_CLOCK_KVM] = "kvm-offset",  [VT_CLOCK_IDENTITY] = "identity", [VT_CLOCK_MESSAGES] = "messages",
    [VT_CLOCK_PVCLOCK] = "pvclock", [VT_CLOCK_ARRIVALS] = "arrivals",
};

/* Of so many exchanges one may contradict a map that is read from KVM a moment after it changed. */
#define TOLERANCE 100u
/* Agreement of so many with an exact map is no chance. */
#define ENOUGH_EXCHANGES 4u

/* Where only the guest's word tells its frequency: kernels calibrate to some hundred ppm. */
#define NOMINAL_PPM 1000
/* The host's CLOCK_MONOTONIC against the pace that KVM tells the guest: NTP slews by 500 ppm at most. */
#define PVCLOCK_PPM 500

const struct vtg_system *vt_machine_system_at(const struct vt_machine *m, host_ns at)
{
    const struct vtg_system *found = NULL;
    for (size_t i = 0; i < m->said.nr_systems; i++)
        if (!found || m->said.systems[i].host.v <= at.v)
            found = &m->said.systems[i].system;
    return found;
}

/* ---- exact maps ---- */

static const struct vt_life *life_of(const struct vt_machine_clock *k, uint32_t index, host_ns host)
{
    const struct vt_life *found = NULL, *any = NULL;
    size_t i, to;
    vt_lives_around(k->c, k->m, &i, &to);
    for (; i < to; i++) {
        const struct vt_life *life = &k->c->lives[i];
        if (life->row.vm != k->m->row.id || !life->nr_epochs)
            continue;
        if (!any || life->start <= host.v)
            any = life;
        if (life->row.index == index && (!found || life->start <= host.v))
            found = life;
    }
    return found ? found : any; /* normal guests keep all their TSCs the same */
}

static int by_kvm(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host, host_ns *ret,
                  uint64_t *ret_bound)
{
    const struct vt_life *life = life_of(k, cpu, host);
    struct vt_guest_clock g = { .map = k->map, .method = &vt_tsc_methods[0] };
    if (life) {
        g.epochs = life->epochs;
        g.nr_epochs = life->nr_epochs;
    }
    return vt_guest_clock_to_ns(&g, tsc, host, ret, ret_bound);
}

static int by_identity(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                       host_ns *ret, uint64_t *ret_bound)
{
    const struct vt_guest_clock g = { .map = k->map, .method = &vt_tsc_methods[1] };
    (void)cpu;
    return vt_guest_clock_to_ns(&g, tsc, host, ret, ret_bound);
}

/* Offsets that differ by more than KVM's own matching of TSCs lets pass: a microsecond's worth of ticks. */
static bool offsets_differ(const struct vt_machine_clock *k)
{
    const struct vt_tsc_epoch *first = NULL;
    const uint64_t most = (uint64_t)(vt_clockmap_khz(k->map) / 1000) + 1;
    size_t i, to;
    vt_lives_around(k->c, k->m, &i, &to);
    for (; i < to; i++) {
        const struct vt_life *life = &k->c->lives[i];
        if (life->row.vm != k->m->row.id || !life->nr_epochs)
            continue;
        const struct vt_tsc_epoch *e = &life->epochs[life->nr_epochs - 1];
        const uint64_t d = first ? e->offset - first->offset : 0;
        if (d > most && UINT64_MAX - d >= most)
            return true;
        first = first ? first : e;
    }
    return false;
}

/* ---- maps from bounds ---- */

static int from_tsc(const struct vt_machine_clock *k, uint64_t tsc, uint64_t width, host_ns *ret,
                    uint64_t *ret_bound)
{
    uint64_t bound;
    int r = vt_clockmap_to_ns(k->map, (host_tsc){ tsc }, ret, &bound);
    if (r)
        return r;
    const uint64_t extra = vt_clockmap_length_ns(k->map, width);
    *ret_bound = bound > UINT64_MAX - extra ? UINT64_MAX : bound + extra;
    return 0;
}

static int by_map(const struct vt_machine_clock *k, const struct vt_message_map *map, guest_tsc tsc,
                  host_ns host, host_ns *ret, uint64_t *ret_bound)
{
    host_tsc latest;
    uint64_t y, width, ease;
    if (vt_clockmap_to_tsc(k->map, host, &latest, &ease))
        return -ERANGE;
    if (!vt_message_map_at(map, tsc.v, latest.v > UINT64_MAX - ease ? UINT64_MAX : latest.v + ease, &y,
                           &width))
        return -ERANGE;
    return from_tsc(k, y, width, ret, ret_bound);
}

static int by_messages(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                       host_ns *ret, uint64_t *ret_bound)
{
    (void)cpu;
    return by_map(k, &k->messages, tsc, host, ret, ret_bound);
}

/* An estimate's middle: between the latest that it can have been and the typical delay before. */
static int earlier(const struct vt_machine_clock *k, enum vt_clock_method method, host_ns *ns,
                   uint64_t *bound)
{
    const uint64_t half = k->late_ns[method] / 2;
    ns->v = ns->v > half ? ns->v - half : 0;
    *bound += half;
    return 0;
}

static int by_arrivals(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                       host_ns *ret, uint64_t *ret_bound)
{
    (void)cpu;
    int r = by_map(k, &k->arrivals, tsc, host, ret, ret_bound);
    return r ? r : earlier(k, VT_CLOCK_ARRIVALS, ret, ret_bound);
}

#define PAGE_NEAR 64u /* records among which a page is looked for */

/* The guest's kvmclock at this TSC, by the page that it showed next to that time. */
static bool kvmclock_at(const struct vt_machine *m, guest_tsc tsc, host_ns host, uint64_t *ret)
{
    const struct vtg_clocks *page = NULL;
    size_t low = 0, high = m->nr_samples;
    while (low < high) { /* the last that came not after */
        const size_t middle = low + (high - low) / 2;
        if (m->samples[middle].host.v <= host.v)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i-- > 0 && low - i <= PAGE_NEAR && !page;)
        page = m->samples[i].clocks.pv_mul ? &m->samples[i].clocks : NULL;
    for (size_t i = low; i < m->nr_samples && i - low < PAGE_NEAR && !page; i++)
        page = m->samples[i].clocks.pv_mul ? &m->samples[i].clocks : NULL;
    uint64_t ns;
    if (!page)
        return false;
    const bool before = (int64_t)(tsc.v - page->pv_tsc_timestamp) < 0;
    const uint64_t ticks = before ? page->pv_tsc_timestamp - tsc.v : tsc.v - page->pv_tsc_timestamp;
    if (!vt_pvclock_length_ns(page->pv_mul, page->pv_shift, ticks, &ns))
        return false;
    *ret = before ? page->pv_system_time - ns : page->pv_system_time + ns;
    return true;
}

static int by_pvclock(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                      host_ns *ret, uint64_t *ret_bound)
{
    uint64_t x;
    (void)cpu;
    if (!kvmclock_at(k->m, tsc, host, &x) || !vt_message_map_at(&k->pvclock, x, host.v, &ret->v, ret_bound))
        return -ERANGE;
    return vt_clock_method_is_bounded(k, VT_CLOCK_PVCLOCK) ? 0 : earlier(k, VT_CLOCK_PVCLOCK, ret, ret_bound);
}

static int (*const to_ns[VT_NR_CLOCK_METHODS])(const struct vt_machine_clock *, uint32_t, guest_tsc, host_ns,
                                               host_ns *, uint64_t *) = {
    [VT_CLOCK_KVM] = by_kvm,         [VT_CLOCK_IDENTITY] = by_identity, [VT_CLOCK_MESSAGES] = by_messages,
    [VT_CLOCK_PVCLOCK] = by_pvclock, [VT_CLOCK_ARRIVALS] = by_arrivals,
};

int vt_machine_clock_by(const struct vt_machine_clock *k, enum vt_clock_method method, uint32_t cpu,
                        guest_tsc tsc, host_ns host, host_ns *ret, uint64_t *ret_bound)
{
    host_ns ns;
    uint64_t bound;
    if (method >= VT_NR_CLOCK_METHODS || !k->usable[method])
        return -ENODATA;
    int r = to_ns[method](k, cpu, tsc, host, &ns, &bound);
    if (r)
        return r;
    *ret = ns;
    *ret_bound = bound;
    return 0;
}

int vt_machine_clock_to_ns(const struct vt_machine_clock *k, uint32_t cpu, guest_tsc tsc, host_ns host,
                           host_ns *ret, uint64_t *ret_bound)
{
    return vt_machine_clock_by(k, k->method, cpu, tsc, host, ret, ret_bound);
}

bool vt_clock_method_is_bounded(const struct vt_machine_clock *k, enum vt_clock_method method)
{
    if (method == VT_CLOCK_PVCLOCK)
        return k->m->said.nr_exchanges > 0;
    return method < VT_CLOCK_ARRIVALS;
}

/* ---- against causality ---- */

/* The host's own map reaches so far: what is older than its first reading can't be judged. */
static bool judgeable(const struct vt_machine_clock *k, host_ns at)
{
    host_tsc tsc;
    uint64_t bound;
    return vt_clockmap_to_tsc(k->map, at, &tsc, &bound) == 0;
}

/* An exchange whose readings can't have been made between question and answer. */
static bool contradicts(const struct vt_machine_clock *k, enum vt_clock_method method,
                        const struct vt_exchange *e)
{
    host_ns in, out;
    uint64_t a, b;
    if (!judgeable(k, e->sent) || !judgeable(k, e->received))
        return false;
    if (to_ns[method](k, 0, e->tsc_received, e->received, &in, &a) ||
        to_ns[method](k, 0, e->tsc_sent, e->received, &out, &b))
        return true;
    return (in.v < e->sent.v && e->sent.v - in.v > a) || (out.v > e->received.v && out.v - e->received.v > b);
}

#define FUTURE VT_NSEC_PER_SEC /* how far a reading is looked for */

/* A record that came before it was written. */
static bool comes_early(const struct vt_machine_clock *k, enum vt_clock_method method,
                        const struct vt_arrival *x)
{
    host_ns at;
    uint64_t bound;
    const host_ns later = { x->host.v + FUTURE };
    /* one that can't be placed was kept since before the recording, or lies in the future */
    if (!judgeable(k, x->host) || to_ns[method](k, 0, x->tsc, x->host, &at, &bound) == 0 ||
        to_ns[method](k, 0, x->tsc, later, &at, &bound))
        return false;
    return at.v > x->host.v && at.v - x->host.v > bound;
}

/* *ret_most: so many may be, for reasons told at TOLERANCE. */
static uint64_t violations_of(const struct vt_machine_clock *k, enum vt_clock_method method,
                              uint64_t *ret_most)
{
    const struct vt_view_log *log = &k->m->said;
    uint64_t n = 0, judged = log->nr_exchanges;
    for (size_t i = 0; i < log->nr_exchanges; i++)
        n += contradicts(k, method, &log->exchanges[i]);
    for (size_t i = 0; i < log->nr_arrivals; i++) {
        const struct vt_arrival *x = &log->arrivals[i];
        if (vt_is_imported(k->c, x->host, x->host_tsc))
            continue;
        judged++;
        n += comes_early(k, method, x);
    }
    *ret_most = judged / TOLERANCE;
    return n;
}

static void try_kvm(struct vt_machine_clock *k)
{
    uint64_t most = 0;
    if (!life_of(k, 0, (host_ns){ UINT64_MAX })) {
        k->reason[VT_CLOCK_KVM] =
            k->m->row.kind == VT_VM_KVM ? "KVM's TSC offset was not read" : "it is not a guest of KVM";
        return;
    }
    k->apart = offsets_differ(k);
    k->violations[VT_CLOCK_KVM] = k->apart ? 0 : violations_of(k, VT_CLOCK_KVM, &most);
    k->usable[VT_CLOCK_KVM] = k->violations[VT_CLOCK_KVM] <= most;
    if (!k->usable[VT_CLOCK_KVM])
        k->reason[VT_CLOCK_KVM] = "KVM's offset contradicts causality";
}

static void try_identity(struct vt_machine_clock *k)
{
    uint64_t most;
    if (k->m->said.nr_exchanges < ENOUGH_EXCHANGES) {
        k->reason[VT_CLOCK_IDENTITY] = "too few exchanges to show it";
        return;
    }
    k->violations[VT_CLOCK_IDENTITY] = violations_of(k, VT_CLOCK_IDENTITY, &most);
    k->usable[VT_CLOCK_IDENTITY] = k->violations[VT_CLOCK_IDENTITY] == 0;
    if (!k->usable[VT_CLOCK_IDENTITY])
        k->reason[VT_CLOCK_IDENTITY] = "exchanges contradict it: its TSC is its own";
}

/* ---- building maps from bounds ---- */

struct points {
    struct vt_fix *low, *high, *extra;
    size_t n, n_extra;
    struct vt_map_break *breaks;
    size_t nr_breaks;
};

static void release_points(struct points *p)
{
    free(p->low);
    free(p->high);
    free(p->extra);
    free(p->breaks);
}

/* When the host had it: the trusted TSC beside it, else the TSC of its time, on the late side. False:
 * unknown. */
static bool arrival_tsc(const struct vt_machine_clock *k, host_ns host, host_tsc trusted, uint64_t *ret)
{
    host_tsc tsc;
    uint64_t bound;
    if (trusted.v) {
        *ret = trusted.v;
        return true;
    }
    if (vt_is_imported(k->c, host, trusted) || vt_clockmap_to_tsc(k->map, host, &tsc, &bound) ||
        tsc.v > UINT64_MAX - bound)
        return false;
    *ret = tsc.v + bound;
    return true;
}

static int by_y(const void *a, const void *b)
{
    const struct vt_fix *x = a, *y = b;
    return (x->y > y->y) - (x->y < y->y);
}

static int by_break(const void *a, const void *b)
{
    const struct vt_map_break *x = a, *y = b;
    return (x->y > y->y) - (x->y < y->y);
}

static void add_break(const struct vt_machine_clock *k, struct points *p, host_ns at, const char *reason)
{
    host_tsc tsc;
    uint64_t bound;
    if (vt_clockmap_to_tsc(k->map, at, &tsc, &bound) == 0)
        p->breaks[p->nr_breaks++] = (struct vt_map_break){ tsc.v, reason };
}

static bool other_boot(const struct vtg_system *a, const struct vtg_system *b)
{
    return a->boot_id[0] != b->boot_id[0] || a->boot_id[1] != b->boot_id[1];
}

/* KVM's offset or ratio changed, of the vCPU that has most epochs. */
static const struct vt_life *most_epochs(const struct vt_machine_clock *k)
{
    const struct vt_life *found = NULL;
    size_t i, to;
    vt_lives_around(k->c, k->m, &i, &to);
    for (; i < to; i++) {
        const struct vt_life *life = &k->c->lives[i];
        if (life->row.vm == k->m->row.id && (!found || life->nr_epochs > found->nr_epochs))
            found = life;
    }
    return found;
}

host_ns vt_machine_heard(const struct vt_view_log *log, const struct vt_system_row *s)
{
    for (size_t i = 0; i < log->nr_exchanges; i++)
        if (log->exchanges[i].session == s->system.session)
            return log->exchanges[i].sent.v < s->host.v ? log->exchanges[i].sent : s->host;
    return s->host;
}

static int find_breaks(const struct vt_machine_clock *k, struct points *p)
{
    const struct vt_view_log *log = &k->m->said;
    const struct vt_life *life = most_epochs(k);
    const size_t epochs = life ? life->nr_epochs : 0;
    p->breaks = calloc(log->nr_systems + epochs + 1, sizeof(*p->breaks));
    if (!p->breaks)
        return -ENOMEM;
    for (size_t i = 1; i < log->nr_systems; i++)
        if (other_boot(&log->systems[i - 1].system, &log->systems[i].system))
            add_break(k, p, vt_machine_heard(log, &log->systems[i]), "the guest booted anew");
    for (size_t i = 1; i < epochs; i++) {
        const struct vt_tsc_epoch *e = &life->epochs[i];
        if (e->offset != e[-1].offset || e->ratio != e[-1].ratio)
            add_break(k, p, e->at, "KVM's TSC offset or ratio changed");
    }
    qsort(p->breaks, p->nr_breaks, sizeof(*p->breaks), by_break);
    return 0;
}

/* An exchange, so that both its bounds move together. */
struct pair {
    struct vt_fix low, high;
};

static int by_question(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return (x->low.y > y->low.y) - (x->low.y < y->low.y);
}

/* Answers may come in another order than questions were asked. */
static int find_exchanges(const struct vt_view_log *log, struct points *p)
{
    struct pair *pairs = calloc(log->nr_exchanges + 1, sizeof(*pairs));
    if (!pairs)
        return -ENOMEM;
    for (size_t i = 0; i < log->nr_exchanges; i++) {
        const struct vt_exchange *e = &log->exchanges[i];
        pairs[i] =
            (struct pair){ { e->tsc_received.v, e->sent_tsc.v }, { e->tsc_sent.v, e->received_tsc.v } };
    }
    qsort(pairs, log->nr_exchanges, sizeof(*pairs), by_question);
    for (size_t i = 0; i < log->nr_exchanges; i++, p->n++) {
        p->low[p->n] = pairs[i].low;
        p->high[p->n] = pairs[i].high;
    }
    free(pairs);
    return 0;
}

static int find_points(const struct vt_machine_clock *k, struct points *p)
{
    const struct vt_view_log *log = &k->m->said;
    const struct vt_machine *m = k->m;
    p->low = calloc(log->nr_exchanges + 1, sizeof(*p->low));
    p->high = calloc(log->nr_exchanges + 1, sizeof(*p->high));
    p->extra = calloc(log->nr_arrivals + m->nr_samples + 1, sizeof(*p->extra));
    if (!p->low || !p->high || !p->extra)
        return -ENOMEM;
    if (find_exchanges(log, p))
        return -ENOMEM;
    for (size_t i = 0; i < log->nr_arrivals; i++)
        if (arrival_tsc(k, log->arrivals[i].host, log->arrivals[i].host_tsc, &p->extra[p->n_extra].y))
            p->extra[p->n_extra++].x = log->arrivals[i].tsc.v;
    for (size_t i = 0; i < m->nr_samples; i++)
        if (m->samples[i].clocks.have & VTG_HAVE_TSC &&
            arrival_tsc(k, m->samples[i].host, m->samples[i].host_tsc, &p->extra[p->n_extra].y))
            p->extra[p->n_extra++].x = m->samples[i].clocks.tsc_after;
    qsort(p->extra, p->n_extra, sizeof(*p->extra), by_y);
    return find_breaks(k, p);
}

static struct vt_slopes around(double slope, int ppm)
{
    const double one = slope * (double)VT_SLOPE_ONE;
    if (!(slope > 1.0 / 64 && slope < 64))
        return (struct vt_slopes){ 0, 0 };
    return (struct vt_slopes){ (int64_t)(one * (1 - ppm * 1e-6)), (int64_t)(one * (1 + ppm * 1e-6)) };
}

/* Host ticks per guest tick, as far as the guest's own word on its frequency goes. */
static struct vt_slopes nominal_of(const struct vt_machine_clock *k)
{
    const struct vtg_system *system = vt_machine_system_at(k->m, (host_ns){ UINT64_MAX });
    double khz = system ? (double)system->tsc_khz : 0;
    for (size_t i = 0; i < k->m->nr_samples && khz <= 0; i++)
        khz = vt_pvclock_khz(k->m->samples[i].clocks.pv_mul, k->m->samples[i].clocks.pv_shift);
    if (khz <= 0)
        return (struct vt_slopes){ 0, 0 };
    return around(vt_clockmap_khz(k->map) / khz, NOMINAL_PPM);
}

/* Upper bounds only can't show a step; a TSC that went back did. */
static int breaks_of_arrivals(struct points *p, uint64_t y_hz)
{
    size_t n = 0;
    for (size_t i = 1; i < p->n_extra; i++)
        n += (int64_t)(p->extra[i].x - p->extra[i - 1].x) < -(int64_t)y_hz;
    struct vt_map_break *all = calloc(p->nr_breaks + n + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    if (p->nr_breaks)
        memcpy(all, p->breaks, p->nr_breaks * sizeof(*all));
    for (size_t i = 1; i < p->n_extra; i++)
        if ((int64_t)(p->extra[i].x - p->extra[i - 1].x) < -(int64_t)y_hz)
            all[p->nr_breaks++] = (struct vt_map_break){ p->extra[i].y, "the guest's TSC went backwards" };
    free(p->breaks);
    p->breaks = all;
    qsort(p->breaks, p->nr_breaks, sizeof(*p->breaks), by_break);
    return 0;
}

static int build_tsc_maps(struct vt_machine_clock *k, struct points *p)
{
    struct vt_message_input in = { .low = p->low,
                                   .high = p->high,
                                   .n = p->n,
                                   .extra = p->extra,
                                   .n_extra = p->n_extra,
                                   .breaks = p->breaks,
                                   .nr_breaks = p->nr_breaks,
                                   .nominal = nominal_of(k),
                                   .y_hz = (uint64_t)(vt_clockmap_khz(k->map) * 1000),
                                   .step_reason = "the guest's TSC stepped" };
    if (in.n)
        return vt_message_map_build(&k->messages, &in);
    int r = breaks_of_arrivals(p, in.y_hz);
    in.breaks = p->breaks;
    in.nr_breaks = p->nr_breaks;
    return r ? r : vt_message_map_build(&k->arrivals, &in);
}

/* The same with the guest's kvmclock in place of its TSC, and the host's clock in place of its TSC. */
static int build_pvclock(struct vt_machine_clock *k)
{
    const struct vt_view_log *log = &k->m->said;
    struct points p = { 0 };
    bool any = false;
    for (size_t i = 0; i < k->m->nr_samples && !any; i++)
        any = k->m->samples[i].clocks.pv_mul != 0;
    if (!any) {
        k->reason[VT_CLOCK_PVCLOCK] = "no record has a pvclock page";
        return 0;
    }
    p.low = calloc(log->nr_exchanges + 1, sizeof(*p.low));
    p.high = calloc(log->nr_exchanges + 1, sizeof(*p.high));
    p.extra = calloc(k->m->nr_samples + 1, sizeof(*p.extra));
    int r = p.low && p.high && p.extra ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < log->nr_exchanges; i++) {
        const struct vt_exchange *e = &log->exchanges[i];
        if (kvmclock_at(k->m, e->tsc_received, e->received, &p.low[p.n].x) &&
            kvmclock_at(k->m, e->tsc_sent, e->received, &p.high[p.n].x)) {
            p.low[p.n].y = e->sent.v;
            p.high[p.n++].y = e->received.v;
        }
    }
    for (size_t i = 0; !r && i < k->m->nr_samples; i++) {
        const struct vt_sample *s = &k->m->samples[i];
        const guest_tsc tsc = { s->clocks.tsc_after };
        if (s->clocks.have & VTG_HAVE_TSC && !vt_is_imported(k->c, s->host, s->host_tsc) &&
            kvmclock_at(k->m, tsc, s->host, &p.extra[p.n_extra].x))
            p.extra[p.n_extra++].y = s->host.v;
    }
    if (!r)
        r = breaks_of_arrivals(&p, VT_NSEC_PER_SEC);
    const struct vt_message_input in = { .low = p.low,
                                         .high = p.high,
                                         .n = p.n,
                                         .extra = p.extra,
                                         .n_extra = p.n_extra,
                                         .breaks = p.breaks,
                                         .nr_breaks = p.nr_breaks,
                                         .nominal = around(1, PVCLOCK_PPM),
                                         .y_hz = VT_NSEC_PER_SEC,
                                         .step_reason = "the guest's kvmclock stepped" };
    if (!r)
        r = vt_message_map_build(&k->pvclock, &in);
    release_points(&p);
    k->usable[VT_CLOCK_PVCLOCK] = !r && k->pvclock.n;
    return r;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* How long after the latest possible instant records come: the median. */
static int measure_delay(struct vt_machine_clock *k, enum vt_clock_method method)
{
    const struct vt_view_log *log = &k->m->said;
    const struct vt_machine *m = k->m;
    uint64_t *late = calloc(log->nr_arrivals + m->nr_samples + 1, sizeof(*late)), bound;
    size_t n = 0;
    host_ns at;
    if (!late)
        return -ENOMEM;
    for (size_t i = 0; i < log->nr_arrivals; i++)
        if (!vt_is_imported(k->c, log->arrivals[i].host, log->arrivals[i].host_tsc) &&
            !to_ns[method](k, 0, log->arrivals[i].tsc, log->arrivals[i].host, &at, &bound))
            late[n++] = log->arrivals[i].host.v > at.v ? log->arrivals[i].host.v - at.v : 0;
    for (size_t i = 0; i < m->nr_samples; i++)
        if (!vt_is_imported(k->c, m->samples[i].host, m->samples[i].host_tsc) &&
            !to_ns[method](k, 0, (guest_tsc){ m->samples[i].clocks.tsc_after }, m->samples[i].host, &at,
                           &bound))
            late[n++] = m->samples[i].host.v > at.v ? m->samples[i].host.v - at.v : 0;
    qsort(late, n, sizeof(*late), by_value);
    k->late_ns[method] = n ? late[n / 2] : 0;
    free(late);
    return 0;
}

static int build_maps(struct vt_machine_clock *k)
{
    struct points p = { 0 };
    int r = find_points(k, &p);
    if (!r)
        r = build_tsc_maps(k, &p);
    release_points(&p);
    if (!r)
        r = build_pvclock(k);
    k->usable[VT_CLOCK_MESSAGES] = !r && p.n && k->messages.n;
    k->usable[VT_CLOCK_ARRIVALS] = !r && !p.n && p.n_extra;
    if (!p.n)
        k->reason[VT_CLOCK_MESSAGES] = "no exchange with an agent";
    else
        k->reason[VT_CLOCK_ARRIVALS] = "not needed: there are exchanges";
    if (!p.n_extra && !p.n)
        k->reason[VT_CLOCK_ARRIVALS] = "no record holds a TSC, or all are from a file";
    if (!r && k->usable[VT_CLOCK_ARRIVALS])
        r = measure_delay(k, VT_CLOCK_ARRIVALS);
    if (!r && k->usable[VT_CLOCK_PVCLOCK] && !vt_clock_method_is_bounded(k, VT_CLOCK_PVCLOCK))
        r = measure_delay(k, VT_CLOCK_PVCLOCK);
    return r;
}

int vt_machine_clock_init(struct vt_machine_clock *k, const struct vt_correlator *c,
                          const struct vt_machine *m, const struct vt_clockmap *map)
{
    *k = (struct vt_machine_clock){ .c = c, .m = m, .map = map, .method = VT_NR_CLOCK_METHODS };
    for (size_t i = 0; i < VT_NR_CLOCK_METHODS; i++)
        k->reason[i] = "";
    k->refused = map->refused;
    if (k->refused || vt_view_log_is_empty(&m->said))
        return 0;
    int r = build_maps(k);
    if (r)
        return r;
    try_kvm(k);
    try_identity(k);
    for (unsigned int i = 0; i < VT_NR_CLOCK_METHODS && k->method == VT_NR_CLOCK_METHODS; i++)
        if (k->usable[i])
            k->method = (enum vt_clock_method)i;
    return 0;
}

void vt_machine_clock_release(struct vt_machine_clock *k)
{
    vt_message_map_release(&k->messages);
    vt_message_map_release(&k->arrivals);
    vt_message_map_release(&k->pvclock);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A snapshot: what every part has to say of one window. */
#include <errno.h>
#include <stdlib.h>

#include "correlator/agentclocks.h"
#include "correlator/internal.h"

/* Whose lives are whose: machine i's are those of life[first[i]] to life[first[i + 1] - 1], by id. */
struct grouping {
    size_t *first, *life;
};

static void ungroup(struct grouping *by)
{
    free(by->first);
    free(by->life);
}

static int group_lives(const struct vt_correlator *c, struct grouping *by)
{
    by->first = calloc(c->nr_machines + 2, sizeof(*by->first));
    by->life = calloc(c->nr_lives + 1, sizeof(*by->life));
    if (!by->first || !by->life)
        return -ENOMEM;
    size_t *end = by->first + 1; /* of each machine's, once all are in place; before, where its next goes */
    for (size_t i = 0; i < c->nr_lives; i++)
        end[vt_find_machine(c, c->lives[i].row.vm) - c->machines + 1]++;
    for (size_t i = 1; i <= c->nr_machines; i++)
        end[i] += end[i - 1];
    for (size_t i = 0; i < c->nr_lives; i++)
        by->life[end[vt_find_machine(c, c->lives[i].row.vm) - c->machines]++] = i;
    return 0;
}

static int fill_guest(const struct vt_correlator *c, const struct grouping *by, const struct vt_machine *m,
                      struct vt_window window, struct vt_guest *g)
{
    const size_t *first = &by->first[m - c->machines];
    struct vt_sums all = { 0 };
    g->vm = m->row;
    g->vcpus = calloc(first[1] - first[0] + 1, sizeof(*g->vcpus));
    if (!g->vcpus)
        return -ENOMEM;
    for (size_t i = first[0]; i < first[1]; i++) {
        const struct vt_life *life = &c->lives[by->life[i]];
        struct vt_sums sums = { 0 };
        if (!vt_is_vcpu(c, life))
            continue;
        struct vt_vcpu_figures *f = &g->vcpus[g->nr_vcpus++];
        vt_account_vcpu(c, life, window, f, &sums);
        vt_sums_add(&all, &sums);
        if (vt_exits_fill(c, life, window, f) || vt_kvm_counts_fill(c, life, window, f) ||
            vt_addresses_fill(life, window, f))
            return -ENOMEM;
    }
    vt_account_fill(&g->account, &all, window.to.v - window.from.v, &c->host,
                    vt_is_pro_rated(&c->host, window));
    if (vt_helpers_fill(c, window, g))
        return -ENOMEM;
    int r = vt_joint_fill(c, window, g);
    return r ? r : vt_bench_fill(c, m, window, g);
}

static void fill_losses(const struct vt_correlator *c, struct vt_snapshot *s)
{
    for (size_t i = 0; i < c->nr_losses; i++)
        s->lost[c->losses[i].reason] += c->losses[i].count;
    if (c->nr_observers) /* cumulated since the start by the collector */
        s->observer = c->observers[c->nr_observers - 1];
}

static int fill_counter_events(const struct vt_correlator *c, struct vt_snapshot *s)
{
    s->counter_events = calloc(c->nr_counter_events + 1, sizeof(*s->counter_events));
    if (!s->counter_events)
        return -ENOMEM;
    s->nr_counter_events = c->nr_counter_events;
    for (size_t i = 0; i < c->nr_counter_events; i++)
        s->counter_events[i] = c->counter_events[i];
    return 0;
}

static bool is_outlived(const struct vt_correlator *c, const struct grouping *by, size_t machine)
{
    return c->machines[machine].outlived && by->first[machine] == by->first[machine + 1];
}

static int fill(const struct vt_correlator *c, const struct grouping *by, struct vt_snapshot *s)
{
    fill_losses(c, s);
    if (fill_counter_events(c, s) || vt_kvm_stats_fill(c, s))
        return -ENOMEM;
    s->guests = calloc(c->nr_machines + 1, sizeof(*s->guests));
    if (!s->guests)
        return -ENOMEM;
    for (size_t i = 0; i < c->nr_machines; i++) {
        if (is_outlived(c, by, i))
            continue;
        if (!vt_machine_shown(c, &c->machines[i])) {
            s->nr_hidden++;
            continue;
        }
        int r = fill_guest(c, by, &c->machines[i], s->window, &s->guests[s->nr_guests++]);
        if (r)
            return r;
    }
    int r = vt_siblings_fill(c, s);
    return r ? r : vt_blame_fill(c, s, 0);
}

/* An empty one, of the window as far as it is recorded. */
static struct vt_snapshot *new_snapshot(const struct vt_correlator *c, const struct vt_window *window,
                                        struct vt_err *err)
{
    struct vt_window extent = vt_correlator_extent(c);
    struct vt_snapshot *s = calloc(1, sizeof(*s));
    if (!s) {
        vt_fail(err, ENOMEM, "out of memory");
        return NULL;
    }
    s->window = extent;
    if (window) {
        s->window.from.v = vt_max(window->from.v, extent.from.v);
        s->window.to.v = vt_min(window->to.v, extent.to.v);
    }
    s->host = c->host;
    s->cut_off = c->host.end.v == 0;
    if (s->window.from.v >= s->window.to.v) {
        vt_fail(err, ENODATA, "nothing is recorded in this window");
        vt_snapshot_free(s);
        return NULL;
    }
    return s;
}

/* s, or NULL if filling it failed. */
static struct vt_snapshot *filled(struct vt_snapshot *s, int r, struct vt_err *err)
{
    if (!r)
        return s;
    vt_fail(err, -r, "out of memory while correlating");
    vt_snapshot_free(s);
    return NULL;
}

struct vt_snapshot *vt_correlate(const struct vt_correlator *c, const struct vt_window *window,
                                 struct vt_err *err)
{
    struct vt_snapshot *s = new_snapshot(c, window, err);
    struct grouping by = { 0 };
    if (!s)
        return NULL;
    int r = group_lives(c, &by);
    if (!r)
        r = fill(c, &by, s);
    ungroup(&by);
    return filled(s, r, err);
}

struct vt_snapshot *vt_correlate_blame(const struct vt_correlator *c, const struct vt_window *window,
                                       int64_t victim, struct vt_err *err)
{
    struct vt_snapshot *s = new_snapshot(c, window, err);
    return s ? filled(s, vt_blame_fill(c, s, victim), err) : NULL;
}

struct vt_snapshot *vt_correlate_timeline(const struct vt_correlator *c, const struct vt_window *window,
                                          uint64_t width_ns, struct vt_err *err)
{
    struct vt_snapshot *s = new_snapshot(c, window, err);
    if (!s)
        return NULL;
    s->interval_ns = width_ns;
    if (!width_ns || (s->window.to.v - s->window.from.v - 1) / width_ns >= VT_MAX_INTERVALS) {
        vt_fail(err, EINVAL, "that would be more than %u intervals", VT_MAX_INTERVALS);
        vt_snapshot_free(s);
        return NULL;
    }
    return filled(s, vt_blame_fill(c, s, 0), err);
}

void vt_snapshot_free(struct vt_snapshot *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->guests && i < s->nr_guests; i++) {
        for (size_t j = 0; s->guests[i].vcpus && j < s->guests[i].nr_vcpus; j++) {
            free(s->guests[i].vcpus[j].exits_by);
            free(s->guests[i].vcpus[j].kvm_stats);
            free(s->guests[i].vcpus[j].addresses);
        }
        free(s->guests[i].vcpus);
        for (size_t k = 0; k < s->guests[i].nr_benchmarks; k++)
            free(s->guests[i].benchmarks[k].processes);
        free(s->guests[i].benchmarks);
        free(s->guests[i].clocks);
        free(s->guests[i].marks);
        free(s->guests[i].helpers);
        vt_agent_clocks_free(s->guests[i].agent_clocks);
    }
    free(s->guests);
    free(s->counter_events);
    free(s->kvm_stats);
    free(s->blame);
    free(s->blame_cells);
    free(s->cpus);
    free(s);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest switches tasks and takes interrupts only while its vCPU is on a CPU.  Of a guest
 * that the host held often, this tells where its stretches lie on the host's clock to some
 * 10 us, where a map by messages leaves some 100 us open: of all shifts that the map's bound
 * allows, few or one alone puts none of a thousand edges into a time in which the vCPU was
 * off the CPU.
 */
#include <errno.h>
#include <stdlib.h>

#include "correlator/internal.h"
#include "vt/task_pack.h"

#define STEP_NS   UINT64_C(10000)
#define MAX_STEPS 100 /* to either side: 1 ms; a map with a wider bound is not mended here */
#define MAX_EDGES 2048u
/* Of so many edges one may be a stray: a probe that was late, a slice that was mended. */
#define STRAY_PARTS      500u
#define MOST_STRAY_PARTS 20u /* the map itself may drift in a long window */
#define CHANCE_PARTS     4u  /* and of as many as at any other shift: few are astray of a guest hardly held */
#define MOST_WIDE        10  /* steps between shifts that are about as good: else nothing was learnt */
#define LEAST_EDGES      64u
/* What an agent told of the window has mostly come by then. */
#define ARRIVAL_NS UINT64_C(1000000000)

struct run {
    uint64_t from, to;
};

struct runs {
    uint32_t cpu;
    struct run *run;
    size_t nr, room;
    int error;
};

struct fit {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    struct vt_window window;
    struct runs *runs; /* by vCPU */
    size_t nr_runs, room_runs;
    struct edge {
        uint64_t at;
        uint32_t cpu; /* into runs[] */
    } * edge;
    size_t nr_edge, room_edge;
    uint64_t bound; /* the map's, at most */
};

static void add_run(void *context, const struct vt_piece *p)
{
    struct runs *r = context;
    if (!p->on_cpu || r->error)
        return;
    if (r->nr && r->run[r->nr - 1].to == p->from) {
        r->run[r->nr - 1].to = p->to;
        return;
    }
    r->error = vt_grow((void **)&r->run, &r->room, r->nr, sizeof(*r->run));
    if (!r->error)
        r->run[r->nr++] = (struct run){ p->from, p->to };
}

static struct runs *runs_of(const struct fit *f, uint32_t cpu)
{
    for (size_t i = 0; i < f->nr_runs; i++)
        if (f->runs[i].cpu == cpu)
            return &f->runs[i];
    return NULL;
}

static int find_runs(struct fit *f)
{
    size_t from, to;
    const uint64_t slack = STEP_NS * MAX_STEPS;
    const struct vt_window around = { { f->window.from.v - vt_min(slack, f->window.from.v) },
                                      { f->window.to.v + slack } };
    vt_lives_around(f->c, f->m, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct vt_life *life = &f->c->lives[i];
        if (!vt_is_vcpu_of(f->c, f->m, life))
            continue;
        struct runs *r = runs_of(f, life->row.index);
        if (!r) {
            int e = vt_grow((void **)&f->runs, &f->room_runs, f->nr_runs, sizeof(*f->runs));
            if (e)
                return e;
            r = &f->runs[f->nr_runs++];
            *r = (struct runs){ .cpu = life->row.index };
        }
        vt_walk(f->c, life, around, add_run, r, NULL);
        if (r->error)
            return r->error;
    }
    return 0;
}

/*
 * The begin of a stretch on the host's clock, where something happened on that very vCPU: that
 * a task runs on at a drain, another vCPU said.
 */
static int add_edge(struct fit *f, const struct vt_guest_time *time, const struct vt_task_batch *batch,
                    uint32_t n)
{
    const struct vt_task_stretch *s = &f->m->tasks.stretch[batch->first + n];
    const struct runs *r = runs_of(f, batch->cpu);
    const guest_tsc tsc = { s->from };
    host_ns at;
    uint64_t bound;
    if (!r || batch->first + n == 0 || s[-1].end == VTG_TASK_UNKNOWN || s[-1].to != s->from ||
        time->to_ns(time->context, batch->cpu, tsc, batch->host, &at, &bound) || at.v <= f->window.from.v ||
        at.v >= f->window.to.v)
        return 0;
    f->bound = vt_max(f->bound, bound);
    int e = vt_grow((void **)&f->edge, &f->room_edge, f->nr_edge, sizeof(*f->edge));
    if (!e)
        f->edge[f->nr_edge++] = (struct edge){ at.v, (uint32_t)(r - f->runs) };
    return e;
}

/* Evenly from all of the window: about MAX_EDGES, fewer than twice as many. */
static int find_edges(struct fit *f, const struct vt_guest_time *time, uint64_t *budget)
{
    const struct vt_task_log *log = &f->m->tasks;
    uint64_t total = 0, seen = 0;
    int e = 0;
    for (size_t i = 0; i < log->nr_batch; i++)
        if (log->batch[i].host.v >= f->window.from.v && log->batch[i].host.v <= f->window.to.v + ARRIVAL_NS &&
            log->batch[i].source != VTG_TASKS_SAMPLED)
            total += log->batch[i].nr;
    const uint64_t every = total / MAX_EDGES + 1;
    for (size_t i = 0; i < log->nr_batch && !e && *budget && f->nr_edge < 2 * MAX_EDGES; i++) {
        const struct vt_task_batch *batch = &log->batch[i];
        if (batch->source == VTG_TASKS_SAMPLED || !vt_task_batch_touches(log, batch, time, f->window, budget))
            continue;
        for (uint32_t n = 0; n < batch->nr && !e && *budget && f->nr_edge < 2 * MAX_EDGES; n++, --*budget)
            if (seen++ % every == 0)
                e = add_edge(f, time, batch, n);
    }
    return e;
}

static bool is_running(const struct runs *r, uint64_t at)
{
    size_t low = 0, high = r->nr;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r->run[middle].from <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low && at <= r->run[low - 1].to;
}

/* Edges that so many steps put where the vCPU did not run. */
static size_t strays(const struct fit *f, int steps)
{
    size_t n = 0;
    const int64_t shift = steps * (int64_t)STEP_NS;
    for (size_t i = 0; i < f->nr_edge; i++)
        n += !is_running(&f->runs[f->edge[i].cpu], f->edge[i].at + (uint64_t)shift);
    return n;
}

/* The first and the last of the shifts with no more strays than `good`. */
static void extremes(const size_t found[], int n, size_t good, int *ret_low, int *ret_high)
{
    for (*ret_low = 0; found[*ret_low] > good; ++*ret_low)
        ;
    for (*ret_high = n - 1; found[*ret_high] > good; --*ret_high)
        ;
}

/* Between the shifts with the fewest strays, if they are near each other, and not all that there are. */
static void choose(const struct fit *f, uint64_t *budget, struct vt_fit *ret)
{
    const int most = (int)(vt_min(f->bound, STEP_NS * MAX_STEPS) / STEP_NS), n = 2 * most + 1;
    size_t found[2 * MAX_STEPS + 1] = { 0 };
    size_t sum = 0;
    int best = 0, low, high;
    if (f->bound > STEP_NS * MAX_STEPS)
        return;
    for (int i = 0; i < n; i++) {
        found[i] = strays(f, i - most);
        sum += found[i];
        if (found[i] < found[best])
            best = i;
    }
    vt_spend(budget, (uint64_t)n * f->nr_edge / 4);
    extremes(found, n, found[best] + 1 + f->nr_edge / STRAY_PARTS, &low, &high);
    if (low == 0 || high == n - 1 || high - low > MOST_WIDE || found[best] > f->nr_edge / MOST_STRAY_PARTS ||
        found[best] > sum / (size_t)n / CHANCE_PARTS)
        return;
    *ret = (struct vt_fit){ .found = true,
                            .shift_ns = (low + high - 2 * most) * (int64_t)STEP_NS / 2,
                            .bound_ns = STEP_NS * (uint64_t)(high - low + 2) / 2 };
}

int vt_fit_tasks(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_guest_time *time,
                 struct vt_window window, uint64_t *budget, struct vt_fit *ret)
{
    struct fit f = { .c = c, .m = m, .window = window };
    *ret = (struct vt_fit){ 0 };
    int e = c->host.ledger_only || !*budget ? 0 : find_runs(&f);
    if (!e && f.nr_runs)
        e = find_edges(&f, time, budget);
    if (!e && f.nr_edge >= LEAST_EDGES && f.bound >= 2 * STEP_NS)
        choose(&f, budget, ret);
    for (size_t i = 0; i < f.nr_runs; i++)
        free(f.runs[i].run);
    free(f.runs);
    free(f.edge);
    return e;
}

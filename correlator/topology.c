/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where CPUs are: how far a vCPU went, and what sibling hardware threads did meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

/* Index of the first row whose CPU is not below cpu. */
static size_t place_of(const struct vt_correlator *c, uint32_t cpu)
{
    size_t low = 0, high = c->nr_topology;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->topology[middle].cpu >= cpu)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int vt_correlator_cpu(void *context, const struct vt_cpu *row)
{
    struct vt_correlator *c = context;
    const size_t i = place_of(c, row->cpu);
    if (row->cpu >= VT_MAX_CPUS || row->sibling > row->cpu)
        return -EUCLEAN;
    if (i < c->nr_topology && c->topology[i].cpu == row->cpu)
        return -EUCLEAN;
    int r = vt_grow((void **)&c->topology, &c->room_topology, c->nr_topology, sizeof(*c->topology));
    if (r)
        return r;
    memmove(&c->topology[i + 1], &c->topology[i], (c->nr_topology - i) * sizeof(*c->topology));
    c->topology[i] = *row;
    c->nr_topology++;
    c->has_siblings |= row->sibling != row->cpu;
    return 0;
}

static const struct vt_cpu *find_cpu(const struct vt_correlator *c, uint32_t cpu)
{
    const size_t i = place_of(c, cpu);
    return i < c->nr_topology && c->topology[i].cpu == cpu ? &c->topology[i] : NULL;
}

enum vt_hop vt_hop_of(const struct vt_correlator *c, uint32_t from, uint32_t to)
{
    const struct vt_cpu *a = find_cpu(c, from), *b = find_cpu(c, to);
    if (!a || !b)
        return VT_HOP_UNKNOWN;
    if (a->node != b->node)
        return VT_HOP_OTHER_NODE;
    return a->sibling == b->sibling ? VT_HOP_SAME_CORE : VT_HOP_OTHER_CORE;
}

/* ---- sibling hardware threads ---- */

/* A vCPU comes to a CPU, or leaves it. */
struct edge {
    uint64_t at;
    uint32_t core, cpu; /* core: as vt_cpu.sibling names it */
    uint32_t life;
    bool comes;
};

struct edges {
    struct edge *edge;
    size_t nr_edge, room_edge;
    int error;
};

static void put(struct edges *e, const struct edge *edge)
{
    if (!e->error)
        e->error = vt_grow((void **)&e->edge, &e->room_edge, e->nr_edge, sizeof(*e->edge));
    if (!e->error)
        e->edge[e->nr_edge++] = *edge;
}

static void collect(struct edges *e, const struct vt_stays *stays)
{
    e->nr_edge = 0;
    for (size_t i = 0; i < stays->nr_stay; i++) {
        const struct vt_stay *s = &stays->stay[i];
        const struct vt_cpu *cpu = find_cpu(stays->c, s->cpu);
        if (!cpu)
            continue;
        put(e, &(struct edge){ s->from, cpu->sibling, s->cpu, s->who, true });
        put(e, &(struct edge){ s->to, cpu->sibling, s->cpu, s->who, false });
    }
}

static int by_core_and_time(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    if (x->core != y->core)
        return x->core < y->core ? -1 : 1;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (int)x->comes - (int)y->comes; /* who leaves goes first */
}

/* One hardware thread of the core that is being swept. */
struct thread {
    uint32_t cpu;
    size_t vcpus;         /* on it now; more than one only if the recording contradicts itself */
    uint64_t others_busy; /* time so far in which another thread of the core had a vCPU */
};

struct core {
    struct thread *thread;
    size_t nr_thread, room_thread;
    size_t busy; /* threads with a vCPU */
    uint64_t at;
};

static struct thread *thread_of(struct core *core, uint32_t cpu, int *ret_error)
{
    for (size_t i = 0; i < core->nr_thread; i++)
        if (core->thread[i].cpu == cpu)
            return &core->thread[i];
    *ret_error = vt_grow((void **)&core->thread, &core->room_thread, core->nr_thread, sizeof(*core->thread));
    if (*ret_error)
        return NULL;
    struct thread *t = &core->thread[core->nr_thread++];
    *t = (struct thread){ .cpu = cpu };
    return t;
}

/* Threads of a core: 2, 4 or 8; all of them are brought up to `at`. */
static void advance(struct core *core, uint64_t at)
{
    for (size_t i = 0; i < core->nr_thread; i++)
        if (core->busy > (core->thread[i].vcpus > 0))
            core->thread[i].others_busy += at - core->at;
    core->at = at;
}

/* A stay adds what its thread's sum has grown by: subtracted when it comes, added when it leaves. */
static int sweep(const struct edges *e, uint64_t *busy)
{
    struct core core = { 0 };
    int error = 0;
    for (size_t i = 0; i < e->nr_edge && !error; i++) {
        const struct edge *edge = &e->edge[i];
        if (i == 0 || edge->core != edge[-1].core) {
            core.nr_thread = core.busy = 0;
            core.at = edge->at;
        }
        advance(&core, edge->at);
        struct thread *t = thread_of(&core, edge->cpu, &error);
        if (!t)
            break;
        if (edge->comes) {
            core.busy += t->vcpus++ == 0;
            busy[edge->life] -= t->others_busy;
        } else {
            core.busy -= --t->vcpus == 0;
            busy[edge->life] += t->others_busy;
        }
    }
    free(core.thread);
    return error;
}

static void fill_guest(const struct vt_correlator *c, const uint64_t *busy, struct vt_guest *g)
{
    for (size_t i = 0; i < g->nr_vcpus; i++) {
        struct vt_vcpu_figures *f = &g->vcpus[i];
        const struct vt_life *life = vt_find_life(c, f->vcpu.id);
        uint64_t ns = 0, on_cpu = 0;
        for (const struct vt_life *l = vt_next_member(c, life, NULL); l; l = vt_next_member(c, life, l))
            ns += busy[l - c->lives];
        for (unsigned int s = 0; s < VT_NR_ON_CPU; s++)
            if (vt_on_cpu_state[s] != VT_LOST)
                on_cpu += f->account.state[vt_on_cpu_state[s]].ns;
        f->has_siblings = true;
        f->sibling_busy = (struct vt_figure){ ns, on_cpu - vt_min(ns, on_cpu), VT_BOUNDED };
    }
}

static int sweep_all(const struct vt_correlator *c, struct vt_window w, uint64_t *busy)
{
    struct vt_stays stays;
    struct edges e = { 0 };
    int r = vt_stays_begin(&stays, c, w, false);
    while (!r && (r = vt_stays_next(&stays)) > 0) {
        collect(&e, &stays);
        if (e.nr_edge && !e.error)
            qsort(e.edge, e.nr_edge, sizeof(*e.edge), by_core_and_time);
        r = e.error ? e.error : sweep(&e, busy);
    }
    vt_stays_release(&stays);
    free(e.edge);
    return r;
}

int vt_siblings_fill(const struct vt_correlator *c, struct vt_snapshot *s)
{
    if (!c->has_siblings || c->host.ledger_only)
        return 0;
    uint64_t *busy = calloc(c->nr_lives + 1, sizeof(*busy));
    if (!busy)
        return -ENOMEM;
    int r = sweep_all(c, s->window, busy);
    for (size_t i = 0; i < s->nr_guests && !r; i++)
        fill_guest(c, busy, &s->guests[i]);
    free(busy);
    return r;
}

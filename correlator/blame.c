/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Double entry: every stolen nanosecond of a victim has one debtor, the
 * occupant of the CPU on whose run queue it then sat: a vCPU by its slices, any
 * other by what was recorded of that CPU while a vCPU waited there.  A victim
 * that was moved while it waited is followed.  What nothing recorded tells
 * (before the first switch after the recording began, or lost) falls to "host".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

#define NO_LIFE UINT32_MAX

struct stay {                /* of somebody on a CPU */
    uint32_t cpu, who, life; /* who: index of a machine; from nr_machines on, of an occupant */
    uint64_t from, to;
};

struct stays {
    struct stay *stay;
    size_t nr_stay, room_stay;
    size_t *first; /* by CPU, into stay[] sorted; nr_cpus + 1 */
    uint32_t nr_cpus;
    uint32_t guest, life; /* being collected */
    int error;
};

static void put_stay(struct stays *all, const struct stay *s)
{
    if (!all->error)
        all->error = vt_grow((void **)&all->stay, &all->room_stay, all->nr_stay, sizeof(*all->stay));
    if (all->error)
        return;
    all->stay[all->nr_stay++] = *s;
    if (s->cpu >= all->nr_cpus)
        all->nr_cpus = s->cpu + 1;
}

static void collect(void *context, const struct vt_piece *p)
{
    struct stays *all = context;
    if (!p->on_cpu || p->cpu == VT_NO_CPU || p->from == p->to)
        return;
    if (all->nr_stay) { /* a slice cut in pieces is one stay */
        struct stay *last = &all->stay[all->nr_stay - 1];
        if (last->life == all->life && last->cpu == p->cpu && last->to == p->from) {
            last->to = p->to;
            return;
        }
    }
    put_stay(all, &(struct stay){ p->cpu, all->guest, all->life, p->from, p->to });
}

static void collect_occupants(struct stays *all, const struct vt_correlator *c, struct vt_window w)
{
    const uint32_t first = (uint32_t)c->nr_machines;
    for (size_t i = 0; i < c->nr_stretches; i++) {
        const struct vt_stretch *s = &c->stretches[i];
        uint64_t from = vt_max(s->from, w.from.v), to = vt_min(s->to, w.to.v);
        if (from < to)
            put_stay(all, &(struct stay){ s->cpu, first + s->who, NO_LIFE, from, to });
    }
}

static int by_cpu_and_time(const void *a, const void *b)
{
    const struct stay *x = a, *y = b;
    if (x->cpu != y->cpu)
        return x->cpu < y->cpu ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->life > y->life) - (x->life < y->life);
}

static int sort_stays(struct stays *all)
{
    if (all->nr_stay)
        qsort(all->stay, all->nr_stay, sizeof(*all->stay), by_cpu_and_time);
    all->first = calloc((size_t)all->nr_cpus + 1, sizeof(*all->first));
    if (!all->first)
        return -ENOMEM;
    size_t i = 0;
    for (uint32_t cpu = 0; cpu <= all->nr_cpus; cpu++) {
        while (i < all->nr_stay && all->stay[i].cpu < cpu)
            i++;
        all->first[cpu] = i;
    }
    return 0;
}

/* What a victim owes its stolen time to. */
struct charge {
    const struct vt_correlator *c;
    const struct stays *all;
    const struct vt_life *victim;
    uint32_t guest, life;
    uint64_t *by_who; /* machines, then occupants */
    uint64_t own, quota, irq, idle_cpu, host;
    size_t *next;      /* by CPU: where to go on, as a vCPU's waits come in order */
    size_t next_move;  /* the same of the victim's moves */
    uint32_t last_cpu; /* on which it ran; VT_NO_CPU */
};

/* The stays on the CPU that overlap [from, to), which come in order. Returns what they took. */
static uint64_t charge_occupants(struct charge *ch, uint32_t cpu, uint64_t begin, uint64_t end)
{
    const struct stays *all = ch->all;
    if (cpu >= all->nr_cpus)
        return 0;
    size_t i = ch->next[cpu], last = all->first[cpu + 1];
    uint64_t at = begin, charged = 0;
    while (i < last && all->stay[i].to <= begin)
        i++;
    ch->next[cpu] = i;
    for (; i < last && all->stay[i].from < end; i++) {
        const struct stay *o = &all->stay[i];
        uint64_t from = vt_max(at, o->from), to = vt_min(end, o->to);
        if (from >= to || o->life == ch->life)
            continue;
        if (o->who == ch->guest)
            ch->own += to - from;
        else
            ch->by_who[o->who] += to - from;
        charged += to - from;
        at = to;
    }
    return charged;
}

/* A wait, on one run queue after the other. */
static void charge_wait(struct charge *ch, const struct vt_piece *p)
{
    const struct vt_life *v = ch->victim;
    uint64_t at = p->from, charged = 0;
    while (ch->next_move < v->nr_moves && v->moves[ch->next_move].at.v <= p->from)
        ch->next_move++;
    size_t i = ch->next_move;
    for (; i < v->nr_moves && v->moves[i].at.v < p->to; i++) {
        charged += charge_occupants(ch, v->moves[i].from_cpu, at, v->moves[i].at.v);
        at = v->moves[i].at.v;
    }
    uint32_t cpu = p->cpu;
    bool waits_still = p->slice && !p->slice->t_in;
    if (i < v->nr_moves && p->slice && (waits_still || v->moves[i].at.v <= p->slice->t_in)) /* moved later */
        cpu = v->moves[i].from_cpu;
    else if (i > ch->next_move)
        cpu = v->moves[i - 1].to_cpu;
    else if (cpu == VT_NO_CPU && p->state == VT_PREEMPTED) /* still waiting, where it last ran */
        cpu = ch->last_cpu;
    charged += charge_occupants(ch, cpu, at, p->to);
    uint64_t rest = p->to - p->from - charged;
    if (p->wake_idle) /* the CPU was idle when it came: that stretch is not recorded apart */
        ch->idle_cpu += rest;
    else
        ch->host += rest;
}

static void charge_piece(void *context, const struct vt_piece *p)
{
    struct charge *ch = context;
    if (p->on_cpu) {
        ch->irq += p->split[VT_ON_IRQ];
        ch->last_cpu = p->cpu;
    } else if (p->state == VT_THROTTLED) {
        ch->quota += p->to - p->from;
    } else if (p->state == VT_PREEMPTED || p->state == VT_WAKING) {
        charge_wait(ch, p);
    }
}

/* ---- rows of the matrix ---- */

struct rows {
    const struct vt_correlator *c;
    struct vt_snapshot *s;
    size_t room;
    size_t first; /* of the present victim */
    const char *victim;
    int error;
};

/* One row for each debtor: different threads of one name are one. */
static void put(struct rows *rows, enum vt_culprit_kind kind, const char *culprit, uint64_t ns)
{
    struct vt_snapshot *s = rows->s;
    if (ns == 0 || rows->error)
        return;
    for (size_t i = rows->first; i < s->nr_blame; i++) {
        if (s->blame[i].kind == kind && strcmp(s->blame[i].culprit, culprit) == 0) {
            s->blame[i].ns += ns;
            return;
        }
    }
    rows->error = vt_grow((void **)&s->blame, &rows->room, s->nr_blame, sizeof(*s->blame));
    if (rows->error)
        return;
    struct vt_blame *b = &s->blame[s->nr_blame++];
    *b = (struct vt_blame){ .kind = kind, .ns = ns };
    memcpy(b->victim, rows->victim, strnlen(rows->victim, sizeof(b->victim) - 1));
    memcpy(b->culprit, culprit, strnlen(culprit, sizeof(b->culprit) - 1));
}

/* The VM whose thread it is: of its process, or a vhost worker, which is named after it. */
static const struct vt_machine *helped_by(const struct vt_correlator *c, const struct vt_occupant_id *id)
{
    static const char vhost[] = "vhost-";
    unsigned long tgid = id->tgid;
    if (id->kind == VT_OCCUPANT_IDLE)
        return NULL;
    if (id->kind == VT_OCCUPANT_KTHREAD) {
        if (strncmp(id->comm, vhost, sizeof(vhost) - 1) != 0)
            return NULL;
        tgid = strtoul(id->comm + sizeof(vhost) - 1, NULL, 10);
    }
    for (size_t i = c->nr_machines; i-- > 0;) /* pids come again: the newest */
        if (c->machines[i].row.tgid == tgid)
            return &c->machines[i];
    return NULL;
}

static void put_occupant(struct rows *rows, const struct vt_machine *victim, const struct vt_occupant_id *id,
                         uint64_t ns)
{
    const struct vt_machine *vm = ns ? helped_by(rows->c, id) : NULL;
    if (vm)
        put(rows, vm == victim ? VT_CULPRIT_OWN_HELPER : VT_CULPRIT_VM_HELPER, vm->row.name, ns);
    else if (id->kind == VT_OCCUPANT_IDLE)
        put(rows, VT_CULPRIT_IDLE_CPU, "idle CPU", ns);
    else
        put(rows, id->kind == VT_OCCUPANT_KTHREAD ? VT_CULPRIT_KTHREAD : VT_CULPRIT_PROCESS, id->comm, ns);
}

static int by_debt(const void *a, const void *b)
{
    const struct vt_blame *x = a, *y = b;
    if (x->ns != y->ns)
        return x->ns < y->ns ? 1 : -1;
    return strcmp(x->culprit, y->culprit);
}

/* The greatest debtor first. */
static void put_victim(struct rows *rows, const struct charge *ch)
{
    const struct vt_correlator *c = ch->c;
    const struct vt_machine *victim = &c->machines[ch->guest];
    rows->first = rows->s->nr_blame;
    rows->victim = victim->row.name;
    put(rows, VT_CULPRIT_OWN, victim->row.name, ch->own);
    for (size_t i = 0; i < c->nr_machines; i++)
        put(rows, VT_CULPRIT_VM, c->machines[i].row.name, ch->by_who[i]);
    for (size_t i = 0; i < c->occupants.nr_id; i++)
        put_occupant(rows, victim, &c->occupants.id[i], ch->by_who[c->nr_machines + i]);
    put(rows, VT_CULPRIT_QUOTA, "quota", ch->quota);
    put(rows, VT_CULPRIT_IRQ, "interrupts", ch->irq);
    put(rows, VT_CULPRIT_IDLE_CPU, "idle CPU", ch->idle_cpu);
    put(rows, VT_CULPRIT_HOST, "host", ch->host);
    if (rows->s->nr_blame > rows->first)
        qsort(&rows->s->blame[rows->first], rows->s->nr_blame - rows->first, sizeof(*rows->s->blame),
              by_debt);
}

static int charge_guest(struct rows *rows, const struct stays *all, uint32_t guest)
{
    const struct vt_correlator *c = rows->c;
    struct charge ch = { .c = c, .all = all, .guest = guest };
    ch.by_who = calloc(c->nr_machines + c->occupants.nr_id, sizeof(*ch.by_who));
    ch.next = calloc((size_t)all->nr_cpus + 1, sizeof(*ch.next));
    if (!ch.by_who || !ch.next)
        rows->error = -ENOMEM;
    for (uint32_t i = 0; i < c->nr_lives && !rows->error; i++) {
        if (c->lives[i].row.vm != c->machines[guest].row.id)
            continue;
        ch.life = i;
        ch.victim = &c->lives[i];
        ch.next_move = 0;
        ch.last_cpu = VT_NO_CPU;
        memcpy(ch.next, all->first, all->nr_cpus * sizeof(*ch.next));
        vt_walk(c, &c->lives[i], rows->s->window, charge_piece, &ch, NULL);
    }
    if (!rows->error)
        put_victim(rows, &ch);
    free(ch.by_who);
    free(ch.next);
    return rows->error;
}

static uint64_t *figure_of(const struct vt_correlator *c, struct vt_cpu_figures *f, const struct stay *s)
{
    if (s->life != NO_LIFE)
        return &f->vcpu_ns;
    const struct vt_occupant_id *id = &c->occupants.id[s->who - c->nr_machines];
    if (id->kind == VT_OCCUPANT_IDLE)
        return &f->idle_ns;
    if (helped_by(c, id))
        return &f->helper_ns;
    return id->kind == VT_OCCUPANT_KTHREAD ? &f->kthread_ns : &f->process_ns;
}

/* The stays of one CPU, in order: what is between them is unwatched, what they share is booked twice. */
static void sum_cpu(const struct vt_correlator *c, struct vt_window w, const struct stays *all, uint32_t cpu,
                    struct vt_cpu_figures *f)
{
    uint64_t at = w.from.v;
    for (size_t i = all->first[cpu]; i < all->first[cpu + 1]; i++) {
        const struct stay *s = &all->stay[i];
        *figure_of(c, f, s) += s->to - s->from;
        if (s->from > at)
            f->unwatched_ns += s->from - at;
        else
            f->overlap_ns += vt_min(at, s->to) - s->from;
        at = vt_max(at, s->to);
    }
    f->unwatched_ns += w.to.v - at;
}

static int fill_cpus(const struct vt_correlator *c, struct vt_snapshot *s, const struct stays *all)
{
    uint32_t n = c->host.nr_cpus < VT_MAX_CPUS ? c->host.nr_cpus : VT_MAX_CPUS;
    n = all->nr_cpus > n ? all->nr_cpus : n;
    s->cpus = calloc((size_t)n + 1, sizeof(*s->cpus));
    if (!s->cpus)
        return -ENOMEM;
    s->nr_cpus = n;
    for (uint32_t i = 0; i < n; i++) {
        s->cpus[i].cpu = i;
        if (i < all->nr_cpus)
            sum_cpu(c, s->window, all, i, &s->cpus[i]);
        else
            s->cpus[i].unwatched_ns = s->window.to.v - s->window.from.v;
    }
    return 0;
}

int vt_blame_fill(const struct vt_correlator *c, struct vt_snapshot *s, int64_t victim)
{
    struct stays all = { 0 };
    struct rows rows = { .c = c, .s = s };
    for (uint32_t i = 0; i < c->nr_lives; i++) {
        all.guest = (uint32_t)(vt_find_machine(c, c->lives[i].row.vm) - c->machines);
        all.life = i;
        vt_walk(c, &c->lives[i], s->window, collect, &all, NULL);
    }
    collect_occupants(&all, c, s->window);
    int r = all.error ? all.error : sort_stays(&all);
    if (!r)
        r = fill_cpus(c, s, &all);
    for (uint32_t i = 0; i < c->nr_machines && !r; i++)
        if (victim ? c->machines[i].row.id == victim : vt_machine_shown(c, &c->machines[i]))
            r = charge_guest(&rows, &all, i);
    free(all.stay);
    free(all.first);
    return r;
}

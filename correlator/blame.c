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

#define NOBODY UINT32_MAX

/*
 * Debtors, by `who`: kinds that need no name (enum vt_culprit_kind), then
 * machines, then the helpers of each, then occupants.
 */
struct debtor {
    enum vt_culprit_kind kind;
    uint32_t helps;   /* an occupant: the machine whose helper it is; NOBODY */
    uint32_t same_as; /* `who` stands for all of that kind and name; NOBODY: not yet asked for */
    const char *name; /* NULL: the victim's */
};

struct sum {
    uint64_t ns, elsewhere_ns; /* the latter of the former: see struct vt_blame */
};

struct debt {
    uint32_t victim, who, interval; /* victim: a machine */
    struct sum sum;
};

struct ledger {
    struct debt *debt; /* by interval, victim and debtor up to `settled`: once each */
    size_t nr_debt, room_debt, settled;
};

/* What a life's walk needs from one part of the window to the next. */
struct place {
    uint32_t machine;  /* whose it is */
    uint32_t last_cpu; /* on which it ran; VT_NO_CPU */
    size_t next_move;
};

struct books {
    const struct vt_correlator *c;
    struct vt_intervals intervals;
    struct debtor *debtors; /* by who */
    size_t nr_debtors;
    struct vt_occupants names; /* of occupants that were asked for, and ... */
    uint32_t *named;           /* ... who was the first of that name */
    struct place *places;      /* by life */
    struct ledger all, each;   /* the whole window's matrix; that of each interval, if they are told */
    /* what the present victim owes in the present interval */
    struct sum *owed;  /* by who */
    uint32_t *touched; /* those of it that are not 0 */
    size_t nr_touched;
    int error;
};

/* ---- debtors ---- */

static uint32_t of_machine(size_t machine)
{
    return VT_NR_CULPRIT_KINDS + (uint32_t)machine;
}

static uint32_t of_helpers(const struct books *b, size_t machine)
{
    return of_machine(b->c->nr_machines + machine);
}

static uint32_t of_occupant(const struct books *b, size_t occupant)
{
    return of_helpers(b, b->c->nr_machines + occupant);
}

static uint32_t of_stay(const struct books *b, const struct vt_stay *s)
{
    const uint32_t lives = (uint32_t)b->c->nr_lives;
    return s->who < lives ? of_machine(b->places[s->who].machine) : of_occupant(b, s->who - lives);
}

/* The VM whose thread it is: of its process, or a vhost worker, which is named after it. */
static uint32_t helped_by(const struct vt_correlator *c, const struct vt_occupant_id *id)
{
    static const char vhost[] = "vhost-";
    unsigned long tgid = id->tgid;
    if (id->kind == VT_OCCUPANT_IDLE || id->kind == VT_OCCUPANT_FORCED_IDLE)
        return NOBODY;
    if (id->kind == VT_OCCUPANT_KTHREAD) {
        if (strncmp(id->comm, vhost, sizeof(vhost) - 1) != 0)
            return NOBODY;
        tgid = strtoul(id->comm + sizeof(vhost) - 1, NULL, 10);
    }
    if (!tgid) /* as a cgroup has */
        return NOBODY;
    for (size_t i = c->nr_machines; i-- > 0;) /* pids come again: the newest */
        if (c->machines[i].row.tgid == tgid)
            return (uint32_t)i;
    return NOBODY;
}

static void add_kinds(struct books *b)
{
    static const char *const names[VT_NR_CULPRIT_KINDS] = {
        [VT_CULPRIT_QUOTA] = "quota",
        [VT_CULPRIT_IDLE_CPU] = "idle CPU",
        [VT_CULPRIT_FORCED_IDLE] = "forced idle",
        [VT_CULPRIT_IRQ] = "interrupts",
        [VT_CULPRIT_HOST] = "host",
    };
    for (uint32_t i = 0; i < VT_NR_CULPRIT_KINDS; i++)
        b->debtors[i] = (struct debtor){ (enum vt_culprit_kind)i, NOBODY, i, names[i] };
}

static int by_name(const void *a, const void *b)
{
    const struct debtor *x = *(struct debtor *const *)a, *y = *(struct debtor *const *)b;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x > y) - (x < y);
}

/* Machines, and their helpers; those of one name (of VMs one after the other) are one. */
static int add_machines(struct books *b)
{
    const size_t n = b->c->nr_machines;
    struct debtor **order = calloc(n + 1, sizeof(*order));
    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *name = b->c->machines[i].row.name;
        b->debtors[of_machine(i)] = (struct debtor){ VT_CULPRIT_VM, NOBODY, of_machine(i), name };
        b->debtors[of_helpers(b, i)] =
            (struct debtor){ VT_CULPRIT_VM_HELPER, NOBODY, of_helpers(b, i), name };
        order[i] = &b->debtors[of_machine(i)];
    }
    if (n)
        qsort(order, n, sizeof(struct debtor *), by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(order[i]->name, order[i - 1]->name) == 0) {
            order[i]->same_as = order[i - 1]->same_as;
            order[i][n].same_as = order[i - 1][n].same_as; /* the helpers' */
        }
    free(order);
    return 0;
}

/* Different threads of one name are one debtor. */
static uint32_t first_named(struct books *b, uint32_t who, const struct vt_occupant_id *id)
{
    struct vt_occupant_id name = { .kind = id->kind };
    uint32_t index;
    memcpy(name.comm, id->comm, sizeof(name.comm));
    const size_t known = b->names.nr_id;
    const int r = vt_occupants_add(&b->names, &name, &index);
    if (r) {
        b->error = r;
        return who;
    }
    if (index == known)
        b->named[index] = who;
    return b->named[index];
}

/* Found out when it is first asked for: most occupants are not in the window. */
static void know_occupant(struct books *b, uint32_t who)
{
    const struct vt_occupant_id *id = &b->c->occupants.id[who - of_occupant(b, 0)];
    struct debtor *d = &b->debtors[who];
    *d = (struct debtor){ VT_CULPRIT_PROCESS, helped_by(b->c, id), who, id->comm };
    if (id->kind == VT_OCCUPANT_IDLE)
        d->same_as = VT_CULPRIT_IDLE_CPU;
    else if (id->kind == VT_OCCUPANT_FORCED_IDLE)
        d->same_as = VT_CULPRIT_FORCED_IDLE;
    else if (d->helps != NOBODY)
        d->same_as = b->debtors[of_helpers(b, d->helps)].same_as;
    else
        d->same_as = first_named(b, who, id);
    if (id->kind == VT_OCCUPANT_KTHREAD)
        d->kind = VT_CULPRIT_KTHREAD;
}

static const struct debtor *debtor_of(struct books *b, uint32_t who)
{
    if (b->debtors[who].same_as == NOBODY)
        know_occupant(b, who);
    return &b->debtors[who];
}

/* ---- debts ---- */

static int by_interval_and_parties(const void *a, const void *b)
{
    const struct debt *x = a, *y = b;
    if (x->interval != y->interval)
        return x->interval < y->interval ? -1 : 1;
    if (x->victim != y->victim)
        return x->victim < y->victim ? -1 : 1;
    return (x->who > y->who) - (x->who < y->who);
}

static void add_sum(struct sum *to, struct sum more)
{
    to->ns += more.ns;
    to->elsewhere_ns += more.elsewhere_ns;
}

static int put_debt(struct ledger *l, const struct debt *d)
{
    int r = vt_grow((void **)&l->debt, &l->room_debt, l->nr_debt, sizeof(*l->debt));
    if (!r)
        l->debt[l->nr_debt++] = *d;
    return r;
}

/* The debts that are not settled are sorted and summed; those of intervals before `open` are so for good. */
static void settle(struct ledger *l, uint32_t open)
{
    const size_t first = l->settled;
    size_t n = first;
    if (l->nr_debt > first)
        qsort(&l->debt[first], l->nr_debt - first, sizeof(*l->debt), by_interval_and_parties);
    for (size_t i = first; i < l->nr_debt; i++) {
        if (n > first && by_interval_and_parties(&l->debt[n - 1], &l->debt[i]) == 0)
            add_sum(&l->debt[n - 1].sum, l->debt[i].sum);
        else
            l->debt[n++] = l->debt[i];
    }
    l->nr_debt = n;
    while (l->settled < n && l->debt[l->settled].interval < open)
        l->settled++;
}

/* A part of the window is done: no more will come for intervals before `open`. */
static int settle_part(struct books *b, uint32_t open)
{
    struct ledger *each = &b->each;
    size_t i = each->settled;
    int r = 0;
    settle(each, open);
    for (; i < each->settled && !r; i++) {
        struct debt d = each->debt[i];
        d.interval = 0;
        r = put_debt(&b->all, &d);
    }
    settle(&b->all, 0);
    return r;
}

/* ---- what a victim owes its stolen time to ---- */

struct charge {
    struct books *b;
    const struct vt_stays *stays;
    const struct vt_life *victim;
    struct place *place;
    uint32_t cpu; /* whose stays were looked at last, and where; VT_NO_CPU */
    size_t at;
    uint32_t interval; /* the pieces are in it */
    uint64_t until;    /* its end */
    bool elsewhere;    /* of the wait under way: when it began, another permitted CPU was idle */
};

static void owe(struct charge *ch, uint32_t who, uint64_t ns)
{
    struct books *b = ch->b;
    if (!ns)
        return;
    if (!b->owed[who].ns)
        b->touched[b->nr_touched++] = who;
    add_sum(&b->owed[who], (struct sum){ ns, ch->elsewhere ? ns : 0 });
}

/* The interval is over. */
static void close_interval(struct charge *ch)
{
    struct books *b = ch->b;
    struct ledger *ledger = b->intervals.width ? &b->each : &b->all;
    for (size_t i = 0; i < b->nr_touched; i++) {
        const uint32_t who = b->touched[i];
        const struct debt d = { ch->place->machine, who, ch->interval, b->owed[who] };
        b->owed[who] = (struct sum){ 0 };
        if (!b->error)
            b->error = put_debt(ledger, &d);
    }
    b->nr_touched = 0;
}

static uint32_t interval_of(const struct vt_intervals *i, uint64_t at)
{
    return i->width ? (uint32_t)((at - i->origin) / i->width) : 0;
}

static void open_interval(struct charge *ch, uint64_t at)
{
    const struct vt_intervals *i = &ch->b->intervals;
    ch->interval = interval_of(i, at);
    ch->until = vt_interval_end(i, at, UINT64_MAX);
}

/*
 * The CPU's first stay that ends after `at`, which is later than the last time,
 * and mostly by little.
 */
static size_t seek(struct charge *ch, uint32_t cpu, uint64_t at)
{
    const struct vt_stay *stay = ch->stays->stay;
    const size_t end = ch->stays->first[cpu + 1];
    size_t low = ch->cpu == cpu ? ch->at : ch->stays->first[cpu], high = low;
    for (size_t step = 1; high < end && stay[high].to <= at; step *= 2) {
        low = high + 1;
        high += step;
    }
    high = high < end ? high : end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (stay[middle].to > at)
            high = middle;
        else
            low = middle + 1;
    }
    ch->cpu = cpu;
    ch->at = low;
    return low;
}

/* To those who were on the CPU from begin to end. Returns what they took. */
static uint64_t charge_occupants(struct charge *ch, uint32_t cpu, uint64_t begin, uint64_t end)
{
    const struct vt_stays *all = ch->stays;
    const uint32_t victim = ch->place->machine;
    uint64_t charged = 0;
    if (cpu >= all->nr_cpus)
        return 0;
    for (size_t i = seek(ch, cpu, begin); i < all->first[cpu + 1] && all->stay[i].from < end; i++) {
        const uint32_t who = of_stay(ch->b, &all->stay[i]);
        const struct debtor *d = debtor_of(ch->b, who);
        const uint64_t from = vt_max(begin, all->stay[i].from), to = vt_min(end, all->stay[i].to);
        if (who == of_machine(victim))
            owe(ch, VT_CULPRIT_OWN, to - from);
        else
            owe(ch, d->helps == victim ? VT_CULPRIT_OWN_HELPER : d->same_as, to - from);
        charged += to - from;
    }
    return charged;
}

/* A wait, on one run queue after the other. */
static void charge_wait(struct charge *ch, const struct vt_piece *p)
{
    const struct vt_life *v = p->life ? p->life : ch->victim;
    struct place *place = &ch->b->places[v - ch->b->c->lives];
    uint64_t at = p->from, charged = 0;
    size_t i = place->next_move;
    while (i < v->nr_moves && v->moves[i].at.v <= p->from)
        i++;
    place->next_move = i;
    for (; i < v->nr_moves && v->moves[i].at.v < p->to; i++) {
        charged += charge_occupants(ch, v->moves[i].from_cpu, at, v->moves[i].at.v);
        at = v->moves[i].at.v;
    }
    uint32_t cpu = p->cpu;
    bool waits_still = p->slice && !p->slice->t_in;
    if (i < v->nr_moves && p->slice && (waits_still || v->moves[i].at.v <= p->slice->t_in)) /* moved later */
        cpu = v->moves[i].from_cpu;
    else if (i > 0 && v->moves[i - 1].at.v > (p->slice ? p->slice->t_wake : p->from)) /* earlier */
        cpu = v->moves[i - 1].to_cpu;
    else if (cpu == VT_NO_CPU && p->state == VT_PREEMPTED) /* still waiting, where it last ran */
        cpu = place->last_cpu;
    charged += charge_occupants(ch, cpu, at, p->to);
    /* the CPU was idle when it came: that stretch is not recorded apart */
    owe(ch, p->wake_idle ? VT_CULPRIT_IDLE_CPU : VT_CULPRIT_HOST, p->to - p->from - charged);
}

static void charge_piece(void *context, const struct vt_piece *p)
{
    struct charge *ch = context;
    if (p->from >= ch->until) {
        close_interval(ch);
        open_interval(ch, p->from);
    }
    if (p->on_cpu) {
        owe(ch, VT_CULPRIT_IRQ, p->split[VT_ON_IRQ]);
        ch->b->places[(p->life ? p->life : ch->victim) - ch->b->c->lives].last_cpu = p->cpu;
    } else if (p->state == VT_THROTTLED) {
        owe(ch, VT_CULPRIT_QUOTA, p->to - p->from);
    } else if (p->state == VT_PREEMPTED || p->state == VT_WAKING) {
        ch->elsewhere = p->slice && p->slice->flags & VT_SLICE_ELSEWHERE;
        charge_wait(ch, p);
        ch->elsewhere = false;
    }
}

static void charge_life(struct books *b, const struct vt_stays *stays, size_t life)
{
    struct charge ch = { .b = b, .stays = stays, .victim = &b->c->lives[life], .cpu = VT_NO_CPU };
    ch.place = &b->places[life];
    open_interval(&ch, stays->part.from.v);
    vt_walk_intervals(b->c, ch.victim, stays->part, b->intervals, charge_piece, &ch);
    close_interval(&ch);
}

/* ---- physical CPUs ---- */

static uint64_t *figure_of(struct books *b, struct vt_cpu_figures *f, const struct vt_stay *s)
{
    switch (b->debtors[debtor_of(b, of_stay(b, s))->same_as].kind) {
    case VT_CULPRIT_VM:
        return &f->vcpu_ns;
    case VT_CULPRIT_IDLE_CPU:
    case VT_CULPRIT_FORCED_IDLE:
        return &f->idle_ns;
    case VT_CULPRIT_VM_HELPER:
        return &f->helper_ns;
    case VT_CULPRIT_KTHREAD:
        return &f->kthread_ns;
    default:
        return &f->process_ns;
    }
}

/*
 * The stays of one CPU, in order: what is between them is unwatched, what they
 * share is booked twice, and left to who came first, so that they can be searched.
 */
static void sum_cpu(struct books *b, struct vt_stays *stays, uint32_t cpu, struct vt_cpu_figures *f)
{
    uint64_t at = stays->part.from.v;
    for (size_t i = stays->first[cpu]; i < stays->first[cpu + 1]; i++) {
        struct vt_stay *s = &stays->stay[i];
        *figure_of(b, f, s) += s->to - s->from;
        if (s->from > at)
            f->unwatched_ns += s->from - at;
        else
            f->overlap_ns += vt_min(at, s->to) - s->from;
        s->from = vt_max(s->from, at);
        at = s->to = vt_max(s->to, at);
    }
    f->unwatched_ns += stays->part.to.v - at;
}

/* CPUs up to n are told of; those that are new were unwatched until now. */
static int reach_cpus(struct vt_snapshot *s, uint32_t n, uint64_t until)
{
    if (s->cpus && n <= s->nr_cpus)
        return 0;
    struct vt_cpu_figures *more = realloc(s->cpus, ((size_t)n + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->cpus = more;
    for (size_t i = s->nr_cpus; i < n; i++)
        more[i] = (struct vt_cpu_figures){ .cpu = (uint32_t)i, .unwatched_ns = until - s->window.from.v };
    s->nr_cpus = n;
    return 0;
}

static int sum_cpus(struct books *b, struct vt_stays *stays, struct vt_snapshot *s)
{
    int r = reach_cpus(s, stays->nr_cpus, stays->part.from.v);
    for (uint32_t i = 0; i < s->nr_cpus && !r; i++)
        if (i < stays->nr_cpus)
            sum_cpu(b, stays, i, &s->cpus[i]);
        else
            s->cpus[i].unwatched_ns += stays->part.to.v - stays->part.from.v;
    return r;
}

/* ---- rows of the matrix, and their cells by interval ---- */

struct line {
    const struct debt *debt;
    const struct debtor *debtor;
};

static int by_debt(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->debt->victim != y->debt->victim)
        return x->debt->victim < y->debt->victim ? -1 : 1;
    if (x->debt->sum.ns != y->debt->sum.ns)
        return x->debt->sum.ns < y->debt->sum.ns ? 1 : -1;
    if (x->debtor->kind != y->debtor->kind)
        return x->debtor->kind < y->debtor->kind ? -1 : 1;
    return x->debtor->name && y->debtor->name ? strcmp(x->debtor->name, y->debtor->name) : 0;
}

static void put_row(const struct books *b, const struct line *l, struct vt_blame *row)
{
    const char *victim = b->c->machines[l->debt->victim].row.name;
    const char *culprit = l->debtor->name ? l->debtor->name : victim;
    *row = (struct vt_blame){ .kind = l->debtor->kind };
    row->ns = l->debt->sum.ns;
    row->elsewhere_ns = l->debt->sum.elsewhere_ns;
    memcpy(row->victim, victim, strnlen(victim, sizeof(row->victim) - 1));
    memcpy(row->culprit, culprit, strnlen(culprit, sizeof(row->culprit) - 1));
}

/* The greatest debtor of each victim first; row_of[]: of the debts of all. */
static int put_rows(const struct books *b, struct vt_snapshot *s, uint32_t *row_of)
{
    const struct ledger *all = &b->all;
    struct line *lines = calloc(all->nr_debt + 1, sizeof(*lines));
    s->blame = calloc(all->nr_debt + 1, sizeof(*s->blame));
    if (!lines || !s->blame) {
        free(lines);
        return -ENOMEM;
    }
    for (size_t i = 0; i < all->nr_debt; i++)
        lines[i] = (struct line){ &all->debt[i], &b->debtors[all->debt[i].who] };
    if (all->nr_debt)
        qsort(lines, all->nr_debt, sizeof(*lines), by_debt);
    for (size_t i = 0; i < all->nr_debt; i++) {
        put_row(b, &lines[i], &s->blame[i]);
        row_of[lines[i].debt - all->debt] = (uint32_t)i;
    }
    s->nr_blame = all->nr_debt;
    free(lines);
    return 0;
}

static int by_row(const void *a, const void *b)
{
    const struct vt_blame_cell *x = a, *y = b;
    return (x->row > y->row) - (x->row < y->row);
}

static uint32_t row_of_debt(const struct ledger *all, const uint32_t *row_of, const struct debt *d)
{
    const struct debt key = { d->victim, d->who, 0, { 0 } };
    const struct debt *found =
        bsearch(&key, all->debt, all->nr_debt, sizeof(*all->debt), by_interval_and_parties);
    return row_of[found - all->debt];
}

static int put_cells(const struct books *b, struct vt_snapshot *s, const uint32_t *row_of)
{
    const struct ledger *each = &b->each;
    struct vt_blame_cell *cells = s->blame_cells = calloc(each->nr_debt + 1, sizeof(*cells));
    size_t first = 0; /* of the interval */
    if (!cells)
        return -ENOMEM;
    for (size_t i = 0; i < each->nr_debt; i++) {
        const struct debt *d = &each->debt[i];
        cells[i] = (struct vt_blame_cell){ d->interval, row_of_debt(&b->all, row_of, d), d->sum.ns,
                                           d->sum.elsewhere_ns };
        if (i + 1 == each->nr_debt || d[1].interval != d->interval) {
            qsort(&cells[first], i + 1 - first, sizeof(*cells), by_row);
            first = i + 1;
        }
    }
    s->nr_blame_cells = each->nr_debt;
    return 0;
}

static int put_matrix(struct books *b, struct vt_snapshot *s)
{
    int r = settle_part(b, UINT32_MAX);
    if (r)
        return r;
    uint32_t *row_of = calloc(b->all.nr_debt + 1, sizeof(*row_of));
    r = row_of ? put_rows(b, s, row_of) : -ENOMEM;
    if (!r)
        r = put_cells(b, s, row_of);
    free(row_of);
    return r;
}

/* ---- the whole ---- */

static int open_books(struct books *b, const struct vt_correlator *c, const struct vt_snapshot *s)
{
    *b = (struct books){ .c = c, .intervals = { s->window.from.v, s->interval_ns } };
    b->nr_debtors = of_occupant(b, c->occupants.nr_id);
    b->debtors = calloc(b->nr_debtors, sizeof(*b->debtors));
    b->owed = calloc(b->nr_debtors, sizeof(*b->owed));
    b->touched = calloc(b->nr_debtors, sizeof(*b->touched));
    b->named = calloc(c->occupants.nr_id + 1, sizeof(*b->named));
    b->places = calloc(c->nr_lives + 1, sizeof(*b->places));
    if (!b->debtors || !b->owed || !b->touched || !b->named || !b->places)
        return -ENOMEM;
    for (size_t i = 0; i < c->nr_lives; i++) {
        b->places[i].machine = (uint32_t)(vt_find_machine(c, c->lives[i].row.vm) - c->machines);
        b->places[i].last_cpu = VT_NO_CPU;
    }
    for (size_t i = of_occupant(b, 0); i < b->nr_debtors; i++)
        b->debtors[i].same_as = NOBODY;
    add_kinds(b);
    return add_machines(b);
}

static void close_books(struct books *b)
{
    free(b->debtors);
    free(b->owed);
    free(b->touched);
    free(b->named);
    free(b->places);
    free(b->all.debt);
    free(b->each.debt);
    vt_occupants_release(&b->names);
}

static bool is_victim(const struct vt_correlator *c, const struct vt_machine *m, int64_t victim)
{
    return victim ? m->row.id == victim : vt_machine_shown(c, m);
}

static int charge_part(struct books *b, struct vt_stays *stays, struct vt_snapshot *s, int64_t victim)
{
    const struct vt_correlator *c = b->c;
    int r = sum_cpus(b, stays, s);
    for (size_t i = 0; i < c->nr_lives && !r; i++) {
        if (is_victim(c, &c->machines[b->places[i].machine], victim) && vt_is_vcpu(c, &c->lives[i]))
            charge_life(b, stays, i);
        r = b->error;
    }
    return r ? r : settle_part(b, interval_of(&b->intervals, stays->part.to.v));
}

int vt_blame_fill(const struct vt_correlator *c, struct vt_snapshot *s, int64_t victim)
{
    struct books b;
    struct vt_stays stays = { 0 };
    const uint32_t cpus = c->host.nr_cpus < VT_MAX_CPUS ? c->host.nr_cpus : VT_MAX_CPUS;
    int r = open_books(&b, c, s);
    if (!r)
        r = reach_cpus(s, cpus, s->window.from.v);
    if (!r)
        r = vt_stays_begin(&stays, c, s->window, true);
    while (!r && (r = vt_stays_next(&stays)) > 0)
        r = charge_part(&b, &stays, s, victim);
    if (!r)
        r = put_matrix(&b, s);
    vt_stays_release(&stays);
    close_books(&b);
    return r;
}

enum vt_accuracy vt_elsewhere_accuracy(const struct vt_host *host)
{
    return host->nr_cpus <= host->elsewhere_cpus + 1 ? VT_EXACT : VT_ESTIMATED;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processes of a guest in a benchmark.  Where its agent told the stretches in
 * which tasks were on its vCPUs, the host's states are laid under them: stolen time
 * lands on the very process that lost it.  Else the host's time is shared out by what
 * the guest's system charged, which is an estimate with a bound.  Where the guest's CPUs
 * take turns on one thread of the host, they share that thread's time while several of
 * them have a task: any of it may be each one's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/state.h"
#include "correlator/internal.h"
#include "vt/task_pack.h"

/* Of one benchmark: those with the most time are told. */
#define MAX_PROCESSES 4096u
#define NO_ROOM       SIZE_MAX
#define MAX_TURNS     512u /* CPUs of a guest that share a thread; its own word */

/* A process while its time is summed. */
struct process {
    uint32_t tgid, mark;
    char comm[VT_COMM_LEN]; /* the newest */
    bool has_charged;
    uint64_t user_ns, sys_ns;
    struct vt_sums sums;
    uint64_t blur_ns; /* what its edges may misplace */
    uint64_t on_vcpu_ns, waited_ns, stretches;
    uint32_t source;
    bool pro_rated;
};

struct pass {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    const struct vt_guest_time *time;
    const struct vt_benchmark *b;
    uint32_t mark;
    struct process *process;
    size_t nr_process, room_process;
    uint64_t *budget;
    size_t *of_task; /* by task of the log: 1 + index into process[]; NO_ROOM: there is none for it */
    const struct vt_life **vcpu;
    size_t nr_vcpu;
    bool takes_turns; /* all CPUs of the guest are the one that the host has */
    struct vt_turns turns;
    struct vt_sums whole; /* of all vCPUs in the window, as wide as it may be */
    bool knows_whole;
    uint64_t told_ns, strangers_ns, unplaced_ns;
};

/* By tgid: few, and asked for once for each task. */
static int find_process(struct pass *p, uint32_t tgid, struct process **ret)
{
    vt_spend(p->budget, 1 + p->nr_process / 16);
    for (size_t i = 0; i < p->nr_process; i++)
        if (p->process[i].tgid == tgid) {
            *ret = &p->process[i];
            return 0;
        }
    *ret = NULL;
    if (p->nr_process >= MAX_PROCESSES)
        return 0;
    int r = vt_grow((void **)&p->process, &p->room_process, p->nr_process, sizeof(*p->process));
    if (r)
        return r;
    *ret = &p->process[p->nr_process++];
    **ret = (struct process){ .tgid = tgid };
    return 0;
}

static int process_of_task(struct pass *p, uint32_t who, struct process **ret)
{
    *ret = NULL;
    if (who >= p->m->tasks.nr_task || p->of_task[who] == NO_ROOM)
        return 0;
    const struct vt_guest_task *task = &p->m->tasks.task[who];
    if (p->of_task[who]) {
        *ret = &p->process[p->of_task[who] - 1];
    } else {
        int r = find_process(p, task->tgid, ret);
        if (!*ret)
            p->of_task[who] = NO_ROOM;
        if (r || !*ret)
            return r;
        p->of_task[who] = (size_t)(*ret - p->process) + 1;
    }
    if (task->mark)
        (*ret)->mark = task->mark;
    if (task->tid == task->tgid || !(*ret)->comm[0])
        memcpy((*ret)->comm, task->comm, sizeof((*ret)->comm));
    return 0;
}

/* ---- by stretches ---- */

/* The window's part of a stretch on the host's clock. False: none, or it can't be placed. */
static bool place(const struct pass *p, const struct vt_task_batch *batch, uint64_t from, uint64_t to,
                  struct vt_window *ret, uint64_t *ret_bound)
{
    const guest_tsc a = { from }, z = { to };
    uint64_t bound[2];
    if (p->time->to_ns(p->time->context, batch->cpu, a, batch->host, &ret->from, &bound[0]) ||
        p->time->to_ns(p->time->context, batch->cpu, z, batch->host, &ret->to, &bound[1]))
        return false;
    ret->from.v = vt_max(ret->from.v, p->b->window.from.v);
    ret->to.v = vt_min(ret->to.v, p->b->window.to.v);
    *ret_bound = vt_max(bound[0], bound[1]);
    return ret->from.v < ret->to.v;
}

/* Of one vCPU of the guest's, or of ANY_CPU. */
#define ANY_CPU UINT64_MAX
static void walk_cpu(const struct pass *p, uint64_t cpu, struct vt_window w, struct vt_sums *sums)
{
    for (size_t i = 0; i < p->nr_vcpu && *p->budget; i++) {
        const struct vt_life *life = p->vcpu[i];
        if (cpu != ANY_CPU && !p->takes_turns && life->row.index != cpu)
            continue;
        vt_spend(p->budget, 1 + vt_slices_in(life, w));
        vt_walk(p->c, life, w, vt_sums_add_piece, sums, NULL);
    }
}

/*
 * The clock map's error is the same at both ends of a stretch, and a guest switches tasks
 * only while it runs: what one end takes off the other adds, unless the host held the
 * vCPU so close to an end that it may have been on either side.
 */
static uint64_t blur_of(const struct pass *p, uint32_t cpu, host_ns edge, uint64_t bound)
{
    const struct vt_window around = { { edge.v - vt_min(edge.v, bound) },
                                      { edge.v + vt_min(UINT64_MAX - edge.v, bound) } };
    struct vt_sums sums = { 0 };
    walk_cpu(p, cpu, around, &sums);
    const uint64_t length = around.to.v - around.from.v;
    return vt_min(bound, length - vt_min(length, sums.on_cpu_ns));
}

static bool has_vcpu(const struct pass *p, uint32_t cpu)
{
    for (size_t i = 0; i < p->nr_vcpu && !p->takes_turns; i++)
        if (p->vcpu[i]->row.index == cpu)
            return true;
    return p->takes_turns;
}

/* Of what is shared a process may have had all, or nothing. */
static void share_turns(const struct pass *p, struct vt_window w, struct vt_sums *sums)
{
    struct vt_sums shared = { 0 };
    for (size_t i = vt_turns_after(&p->turns, w.from);
         i < p->turns.nr && p->turns.shared[i].from.v < w.to.v && *p->budget; i++) {
        const struct vt_window both = { { vt_max(w.from.v, p->turns.shared[i].from.v) },
                                        { vt_min(w.to.v, p->turns.shared[i].to.v) } };
        walk_cpu(p, ANY_CPU, both, &shared);
    }
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        const uint64_t half = vt_min(shared.state[i], sums->state[i]) / 2, rest = shared.state[i] - half;
        sums->state[i] -= half;
        sums->bound[i] += rest;
        sums->class_bound[vt_states[i].class] += rest;
    }
}

static void lay_under(const struct pass *p, uint32_t cpu, struct vt_window w, struct vt_sums *ret)
{
    struct vt_sums sums = { .window_ns = w.to.v - w.from.v };
    walk_cpu(p, cpu, w, &sums);
    if (p->takes_turns)
        share_turns(p, w, &sums);
    vt_sums_add(ret, &sums);
}

/* True: whose it is, and what the host did meanwhile, is known. */
static bool counts(struct pass *p, const struct vt_task_batch *batch, const struct vt_task_stretch *s,
                   uint64_t length)
{
    if (s->who == VT_TASK_STRANGER)
        p->strangers_ns += length;
    else
        p->told_ns += length;
    if (has_vcpu(p, batch->cpu))
        return s->who != VT_TASK_STRANGER;
    p->unplaced_ns += s->who == VT_TASK_IDLE ? 0 : length;
    return false;
}

/* When the vCPU came back from what it did not want; 0: it was on the CPU, or idle. */
static void note_resumption(void *context, const struct vt_piece *piece)
{
    uint64_t *at = context;
    if (piece->on_cpu)
        return;
    const enum vt_class class = vt_states[piece->state].class;
    *at = class == VT_CLASS_STOLEN || class == VT_CLASS_STALLED || class == VT_CLASS_PAUSED ? piece->to : 0;
}

/* The i-th is an interrupt, which hit what stands before it: when was its vCPU resumed and began the way to
 * it? 0: it was not pending. */
static uint64_t pending_since(const struct pass *p, const struct vt_task_batch *batch, size_t i)
{
    const struct vt_task_stretch *s = &p->m->tasks.stretch[i];
    struct vt_window hit, w;
    uint64_t bound, at = 0;
    if (!place(p, batch, s[-1].from, s[-1].to, &hit, &bound) || bound > VT_PENDING_NS / 2)
        return 0;
    w = (struct vt_window){ { vt_max(hit.from.v, hit.to.v - vt_min(hit.to.v, VT_PENDING_NS)) }, hit.to };
    for (size_t v = 0; v < p->nr_vcpu && *p->budget; v++) {
        if (p->vcpu[v]->row.index != batch->cpu)
            continue;
        vt_spend(p->budget, 1 + vt_slices_in(p->vcpu[v], w));
        vt_walk(p->c, p->vcpu[v], w, note_resumption, &at, NULL);
    }
    return at;
}

/*
 * Is the i-th of all that was told an interrupt, and the one before it what that hit?  Ticks of the TSC
 * that are the same are no chance: one ends where the other begins, in this batch or from one to the next.
 */
static bool is_hit(const struct pass *p, size_t i)
{
    const struct vt_task_log *log = &p->m->tasks;
    const struct vt_task_stretch *s = &log->stretch[i];
    return i > 0 && i < log->nr_stretch && s->who < log->nr_task &&
           log->task[s->who].tid == VTG_TID_INTERRUPTS && s[-1].to == s->from;
}

static bool place_nth(const struct pass *p, const struct vt_task_batch *batch, uint32_t n,
                      struct vt_window *ret, uint64_t *ret_bound)
{
    const size_t i = batch->first + n;
    const struct vt_task_stretch *s = &p->m->tasks.stretch[i];
    uint64_t at;
    if (!place(p, batch, s->from, s->to, ret, ret_bound))
        return false;
    if (is_hit(p, i) && (at = pending_since(p, batch, i)))
        ret->from.v = vt_min(at, ret->from.v);
    if (is_hit(p, i + 1) && (at = pending_since(p, batch, i + 1)))
        ret->to.v = vt_max(ret->from.v, at);
    return ret->from.v < ret->to.v;
}

static int add_stretch(struct pass *p, const struct vt_task_batch *batch, uint32_t n)
{
    const struct vt_task_stretch *s = &p->m->tasks.stretch[batch->first + n];
    struct vt_window w, before;
    struct process *process;
    uint64_t bound, unused;
    if (!place_nth(p, batch, n, &w, &bound) || !counts(p, batch, s, w.to.v - w.from.v))
        return 0;
    int r = process_of_task(p, s->who, &process);
    if (r || !process)
        return r;
    process->source = batch->source;
    process->stretches++;
    process->on_vcpu_ns += w.to.v - w.from.v;
    process->blur_ns += blur_of(p, batch->cpu, w.from, bound) + blur_of(p, batch->cpu, w.to, bound);
    lay_under(p, batch->cpu, w, &process->sums);
    if (s->waited && s->waited <= s->from && place(p, batch, s->from - s->waited, s->from, &before, &unused))
        process->waited_ns += before.to.v - before.from.v;
    return 0;
}

typedef int visit_stretch(struct pass *p, const struct vt_task_batch *batch, uint32_t n);

static int each_stretch(struct pass *p, visit_stretch *visit)
{
    const struct vt_task_log *log = &p->m->tasks;
    int r = 0;
    for (size_t i = 0; i < log->nr_batch && !r && *p->budget; i++) {
        const struct vt_task_batch *batch = &log->batch[i];
        if (!vt_task_batch_touches(log, batch, p->time, p->b->window, p->budget))
            continue;
        for (uint32_t n = 0; n < batch->nr && !r && *p->budget; n++) {
            vt_spend(p->budget, 1);
            r = visit(p, batch, n);
        }
    }
    return r;
}

/* The idle task of a CPU leaves the thread to the others. */
static int find_turn(struct pass *p, const struct vt_task_batch *batch, uint32_t n)
{
    const struct vt_task_stretch *s = &p->m->tasks.stretch[batch->first + n];
    struct vt_window w;
    uint64_t bound;
    if (s->who == VT_TASK_IDLE || !place(p, batch, s->from, s->to, &w, &bound))
        return 0;
    return vt_turns_add(&p->turns, w);
}

static int add_stretches(struct pass *p)
{
    int r = p->takes_turns ? each_stretch(p, find_turn) : 0;
    vt_turns_settle(&p->turns);
    return r ? r : each_stretch(p, add_stretch);
}

/* ---- by what the guest charged ---- */

/*
 * The guest can't tell running from waiting: what it charged is a share of all its
 * vCPUs' demand.  Of one state's time the process may have had all that it was charged,
 * or only what the others' time leaves of that.
 */
static void add_share(struct process *process, const struct vt_sums *all, uint64_t charged)
{
    const uint64_t demand = vt_sums_demand(all), mine = vt_min(charged, demand);
    if (demand == 0)
        return;
    process->sums.window_ns += mine;
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        const enum vt_class class = vt_states[i].class;
        if (!vt_is_demand(class))
            continue;
        const uint64_t state = all->state[i], most = vt_min(state, mine),
                       share = (uint64_t)((unsigned __int128)state * mine / demand),
                       least = mine > demand - state ? mine - (demand - state) : 0;
        const uint64_t bound = vt_max(most - share, share - vt_min(least, share));
        process->sums.state[i] += share;
        process->sums.bound[i] += bound;
        process->sums.class_bound[class] += bound;
    }
}

/* The reading's instant on the host's clock. */
static bool when(const struct pass *p, const struct vt_process_reading *r, host_ns *ret)
{
    const guest_tsc tsc = { r->process.tsc_after };
    uint64_t bound;
    return p->time->to_ns(p->time->context, p->b->vcpu_index, tsc, r->host, ret, &bound) == 0;
}

static bool in_window(const struct pass *p, const struct vt_process_reading *r, host_ns at)
{
    /* the agent reads just before the begin mark and just after the end mark */
    const uint64_t slack = VT_NSEC_PER_SEC / 100;
    return (r->process.mark == p->mark || r->process.mark == 0) && at.v + slack >= p->b->window.from.v &&
           at.v <= p->b->window.to.v + slack;
}

static void share_out(struct pass *p, struct process *process, struct vt_window w, uint64_t charged)
{
    struct vt_sums all = { 0 };
    walk_cpu(p, ANY_CPU, w, &all);
    add_share(process, &all, charged);
}

/* A reading in the window, on the host's clock. */
struct dated {
    host_ns at;
    const struct vtg_process *process;
};

static int by_process_and_time(const void *a, const void *b)
{
    const struct dated *x = a, *y = b;
    if (x->process->pid != y->process->pid)
        return x->process->pid < y->process->pid ? -1 : 1;
    if (x->process->start_ticks != y->process->start_ticks)
        return x->process->start_ticks < y->process->start_ticks ? -1 : 1;
    return (x->at.v > y->at.v) - (x->at.v < y->at.v);
}

/* From one reading of a process to its next. */
static int charge(struct pass *p, const struct dated *last, const struct dated *now)
{
    const struct vtg_process *a = last->process, *b = now->process;
    struct process *process;
    if (b->utime_ns < a->utime_ns || b->stime_ns < a->stime_ns || now->at.v <= last->at.v)
        return 0;
    int r = find_process(p, b->pid, &process);
    if (r || !process)
        return r;
    memcpy(process->comm, b->comm, sizeof(process->comm));
    process->mark = b->mark ? b->mark : process->mark;
    process->has_charged = true;
    process->user_ns += b->utime_ns - a->utime_ns;
    process->sys_ns += b->stime_ns - a->stime_ns;
    process->pro_rated = process->stretches == 0;
    if (process->pro_rated)
        share_out(p, process, (struct vt_window){ last->at, now->at },
                  b->utime_ns - a->utime_ns + b->stime_ns - a->stime_ns);
    return 0;
}

static int add_charges(struct pass *p)
{
    const struct vt_task_log *log = &p->m->tasks;
    struct dated *dated = *p->budget ? calloc(log->nr_reading + 1, sizeof(*dated)) : NULL;
    size_t n = 0;
    int r = dated || !*p->budget ? 0 : -ENOMEM;
    for (size_t i = 0; i < log->nr_reading && dated && !r; i++)
        if (when(p, &log->reading[i], &dated[n].at) && in_window(p, &log->reading[i], dated[n].at))
            dated[n++].process = &log->reading[i].process;
    if (n)
        qsort(dated, n, sizeof(*dated), by_process_and_time);
    vt_spend(p->budget, log->nr_reading);
    for (size_t i = 1; i < n && !r && *p->budget; i++)
        if (dated[i].process->pid == dated[i - 1].process->pid &&
            dated[i].process->start_ticks == dated[i - 1].process->start_ticks)
            r = charge(p, &dated[i - 1], &dated[i]);
    free(dated);
    return r;
}

/*
 * Where the guest's programs are processes of the host's, what those of the benchmark ran is known; of one
 * among several, by its part of what the command was charged. Each holds what it waited for, as its charge
 * does.
 */
static void share_out_begun(struct pass *p)
{
    const struct vt_figure *begun = &p->b->begun;
    const uint64_t charged = p->b->run.user_ns + p->b->run.sys_ns;
    for (size_t i = 0; i < p->nr_process; i++) {
        struct process *of = &p->process[i];
        const uint64_t mine = of->user_ns + of->sys_ns, all = vt_max(charged, mine);
        if (!of->pro_rated || of->mark != p->mark || all == 0)
            continue;
        const uint64_t run = (uint64_t)((unsigned __int128)begun->ns * mine / all);
        of->sums.window_ns += run - of->sums.state[VT_RUN];
        of->sums.state[VT_RUN] = run;
        of->sums.bound[VT_RUN] = begun->bound_ns + vt_min(begun->ns - run, run);
        of->sums.class_bound[VT_CLASS_USED] = of->sums.bound[VT_RUN];
    }
}

/* ---- figures ---- */

/* A process had no more of a state than it had of its CPUs, nor than all had of it: so far may it be off. */
static uint64_t clamp(uint64_t bound, uint64_t ns, uint64_t own, uint64_t of_all)
{
    const uint64_t most = vt_min(own, of_all);
    return vt_min(bound, vt_max(ns, most > ns ? most - ns : 0));
}

/* An edge moves time between two states, of those that there were. */
static void bound_states(const struct pass *p, struct process *of)
{
    const uint64_t own = of->sums.window_ns;
    uint64_t sum[VT_NR_CLASSES] = { 0 }, all[VT_NR_CLASSES] = { 0 };
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        const uint64_t whole = p->knows_whole ? p->whole.state[i] + p->whole.bound[i] : own;
        of->sums.bound[i] = clamp(of->sums.bound[i] + of->blur_ns, of->sums.state[i], own, whole);
        sum[vt_states[i].class] += of->sums.state[i];
        all[vt_states[i].class] += whole;
    }
    for (unsigned int i = 0; i < VT_NR_CLASSES; i++)
        of->sums.class_bound[i] = clamp(of->sums.class_bound[i] + of->blur_ns, sum[i], own, all[i]);
}

static void fill_one(const struct pass *p, struct process *from, struct vt_guest_process *to)
{
    *to = (struct vt_guest_process){ .tgid = from->tgid, .source = (enum vtg_task_source)from->source };
    vt_name_clean(to->name, sizeof(to->name), from->comm, sizeof(from->comm));
    to->of_benchmark = from->mark == p->mark;
    to->has_charged = from->has_charged;
    to->user_ns = from->user_ns;
    to->sys_ns = from->sys_ns;
    to->on_vcpu_ns = from->on_vcpu_ns;
    to->waited_ns = from->waited_ns;
    to->stretches = from->stretches;
    bound_states(p, from);
    vt_account_fill(&to->truth, &from->sums, p->b->elapsed.ns, &p->c->host, from->pro_rated);
}

static uint64_t time_of(const struct vt_guest_process *p)
{
    return p->on_vcpu_ns ? p->on_vcpu_ns : p->user_ns + p->sys_ns;
}

static int by_time(const void *a, const void *b)
{
    const uint64_t x = time_of(a), y = time_of(b);
    return (x < y) - (x > y);
}

/* vCPU time of the window: what stretches could tell of. */
static uint64_t vcpu_time(const struct pass *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->nr_vcpu; i++)
        if (p->vcpu[i]->start < p->b->window.to.v)
            sum += p->b->window.to.v - vt_max(p->vcpu[i]->start, p->b->window.from.v);
    return p->takes_turns ? sum * vt_min(p->m->hello.nr_vcpus, MAX_TURNS) : sum;
}

static int fill(struct pass *p, struct vt_benchmark *b)
{
    const uint64_t all = vcpu_time(p);
    b->untold_ns = all > p->told_ns ? all - p->told_ns : 0;
    b->strangers_ns = p->strangers_ns;
    b->unplaced_ns = p->unplaced_ns;
    b->takes_turns = p->takes_turns;
    if (p->nr_process == 0)
        return 0;
    b->processes = calloc(p->nr_process, sizeof(*b->processes));
    if (!b->processes)
        return -ENOMEM;
    for (size_t i = 0; i < p->nr_process; i++)
        if (p->process[i].stretches || p->process[i].has_charged)
            fill_one(p, &p->process[i], &b->processes[b->nr_processes++]);
    qsort(b->processes, b->nr_processes, sizeof(*b->processes), by_time);
    return 0;
}

/* Once: of some guests each of very many processes of the host is a part of one vCPU. */
static int find_vcpus(struct pass *p)
{
    size_t from, to;
    vt_lives_around(p->c, p->m, &from, &to);
    p->vcpu = calloc(to - from + 1, sizeof(*p->vcpu));
    if (!p->vcpu)
        return -ENOMEM;
    for (size_t i = from; i < to; i++)
        if (vt_is_vcpu_of(p->c, p->m, &p->c->lives[i]))
            p->vcpu[p->nr_vcpu++] = &p->c->lives[i];
    p->takes_turns = vt_takes_turns(p->m, p->vcpu, p->nr_vcpu);
    return 0;
}

/* The window's edges are as sure as the elapsed time. */
static void find_whole(struct pass *p)
{
    const uint64_t edge = p->b->elapsed.bound_ns;
    const struct vt_window w = { { p->b->window.from.v - vt_min(p->b->window.from.v, edge) },
                                 { p->b->window.to.v + vt_min(UINT64_MAX - p->b->window.to.v, edge) } };
    walk_cpu(p, ANY_CPU, w, &p->whole);
    p->knows_whole = *p->budget > 0;
}

int vt_processes_fill(const struct vt_correlator *c, const struct vt_machine *m,
                      const struct vt_guest_time *time, uint32_t mark, uint64_t *budget,
                      struct vt_benchmark *b)
{
    struct pass p = { .c = c, .m = m, .time = time, .b = b, .mark = mark, .budget = budget };
    p.of_task = calloc(m->tasks.nr_task + 1, sizeof(*p.of_task));
    int r = p.of_task ? find_vcpus(&p) : -ENOMEM;
    if (!r)
        find_whole(&p);
    if (!r)
        r = add_stretches(&p);
    if (!r)
        r = add_charges(&p);
    if (!r && b->knows_begun)
        share_out_begun(&p);
    if (!r)
        r = fill(&p, b);
    vt_turns_release(&p.turns);
    free(p.of_task);
    free(p.vcpu);
    free(p.process);
    return r;
}

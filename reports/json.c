/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The report as JSON, schema 1. Every figure is {"ns","accuracy","bound_ns"};
 * what a guest cannot tell, or is not built yet, is null or an empty list.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/counter.h"
#include "base/joint.h"
#include "base/state.h"
#include "view.h"

/* One flag for all that cJSON could not allocate. */
struct builder {
    const struct report_view *view;
    bool failed;
};

static cJSON *keep(struct builder *b, cJSON *item)
{
    b->failed |= !item;
    return item;
}

/* cJSON's numbers are doubles: an integer beyond 2^53 would lose its last digits. */
static void add_u64(struct builder *b, cJSON *o, const char *key, uint64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    keep(b, cJSON_AddRawToObject(o, key, text));
}

static void add_i64(struct builder *b, cJSON *o, const char *key, int64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, n);
    keep(b, cJSON_AddRawToObject(o, key, text));
}

static void add_name(struct builder *b, cJSON *o, const char *key, const char *raw)
{
    char name[REPORT_NAME_LEN];
    keep(b, cJSON_AddStringToObject(o, key, report_name(name, raw)));
}

static void add_text(struct builder *b, cJSON *o, const char *key, const char *text)
{
    keep(b, text ? cJSON_AddStringToObject(o, key, text) : cJSON_AddNullToObject(o, key));
}

static cJSON *add_object(struct builder *b, cJSON *o, const char *key)
{
    return keep(b, cJSON_AddObjectToObject(o, key));
}

static cJSON *add_array(struct builder *b, cJSON *o, const char *key)
{
    return keep(b, cJSON_AddArrayToObject(o, key));
}

static cJSON *add_row(struct builder *b, cJSON *array)
{
    cJSON *row = keep(b, cJSON_CreateObject());
    if (row && !cJSON_AddItemToArray(array, row)) {
        cJSON_Delete(row);
        b->failed = true;
        return NULL;
    }
    return row;
}

static void add_accuracy(struct builder *b, cJSON *o, enum vt_accuracy accuracy)
{
    static const char *const names[] = {
        [VT_EXACT] = "exact", [VT_BOUNDED] = "bounded", [VT_ESTIMATED] = "estimated"
    };
    add_text(b, o, "accuracy", names[accuracy]);
}

static void put_figure(struct builder *b, cJSON *o, struct vt_figure f)
{
    add_u64(b, o, "ns", f.ns);
    add_accuracy(b, o, f.accuracy);
    add_u64(b, o, "bound_ns", f.bound_ns);
}

static void add_figure(struct builder *b, cJSON *o, const char *key, struct vt_figure f)
{
    put_figure(b, add_object(b, o, key), f);
}

static void add_exact(struct builder *b, cJSON *o, const char *key, uint64_t ns)
{
    add_figure(b, o, key, (struct vt_figure){ .ns = ns, .accuracy = VT_EXACT });
}

/* KEY and KEY_bound: numbers, or null where the ratio says nothing. */
static void add_ratio(struct builder *b, cJSON *o, const char *key, struct vt_ratio r)
{
    char bound[64];
    snprintf(bound, sizeof(bound), "%s_bound", key);
    keep(b, r.known ? cJSON_AddNumberToObject(o, key, r.value) : cJSON_AddNullToObject(o, key));
    keep(b, r.known ? cJSON_AddNumberToObject(o, bound, r.bound) : cJSON_AddNullToObject(o, bound));
}

/* ---- head ---- */

static void add_host(struct builder *b, cJSON *root)
{
    const struct vt_host *h = &b->view->snapshot->host;
    cJSON *o = add_object(b, root, "host");
    add_name(b, o, "name", h->hostname);
    add_name(b, o, "only", h->only);
    add_name(b, o, "kernel", h->kernel);
    add_name(b, o, "cpu", h->cpu);
    add_name(b, o, "hypervisor", h->hypervisor);
    add_name(b, o, "clocksource", h->clocksource);
    keep(b, cJSON_AddBoolToObject(o, "tsc_stable", h->tsc_stable));
    keep(b, cJSON_AddBoolToObject(o, "entry_exit", h->has_entry_exit));
    keep(b, cJSON_AddBoolToObject(o, "ledger_only", h->ledger_only));
    keep(b, cJSON_AddBoolToObject(o, "exit_addresses", h->exit_addresses));
    add_u64(b, o, "nr_cpus", h->nr_cpus);
    if (h->elsewhere_cpus)
        add_u64(b, o, "elsewhere_cpus", h->elsewhere_cpus);
    else
        add_text(b, o, "elsewhere_cpus", NULL);
    add_u64(b, o, "tick_ns", h->tick_ns);
    add_u64(b, o, "realtime_offset_ns", h->realtime_offset_ns);
    keep(b, cJSON_AddBoolToObject(o, "tells_outer_steal", h->tells_outer_steal));
    keep(b, cJSON_AddBoolToObject(o, "stays_awake", h->stays_awake));
    cJSON *off = add_array(b, o, "probes_off");
    for (int p = 0; p < VT_NR_PROBE_CLASSES; p++)
        if (h->probes_off & (1u << p)) {
            cJSON *name = keep(b, cJSON_CreateString(report_probe_class((enum vt_probe_class)p)));
            if (!cJSON_AddItemToArray(off, name))
                cJSON_Delete(name);
        }
}

static void add_costs(struct builder *b, cJSON *root)
{
    const struct vt_snapshot *s = b->view->snapshot;
    const struct vt_observer *observer = &s->observer;
    cJSON *lost = add_object(b, root, "lost");
    for (int r = 0; r < VT_NR_LOST_REASONS; r++)
        add_u64(b, lost, report_lost_reason((enum vt_lost_reason)r), s->lost[r]);
    cJSON *o = add_object(b, root, "observer");
    add_exact(b, o, "cpu", observer->cpu_ns);
    if (observer->bpf_runs)
        /* timed in one tick of several and scaled: see collector/recorder.c */
        add_figure(b, o, "bpf", (struct vt_figure){ .ns = observer->bpf_ns, .accuracy = VT_ESTIMATED });
    else
        add_text(b, o, "bpf", NULL); /* the kernel was not asked to count it */
    add_u64(b, o, "bpf_runs", observer->bpf_runs);
    add_u64(b, o, "rss_bytes", observer->rss_bytes);
    /* /proc/stat counts in ticks of USER_HZ */
    struct vt_figure steal = { .ns = observer->host_steal_ns, .bound_ns = 10000000, .accuracy = VT_BOUNDED };
    struct vt_figure irq = { .ns = observer->host_irq_ns, .bound_ns = 10000000, .accuracy = VT_BOUNDED };
    add_figure(b, o, "host_steal", steal);
    add_figure(b, o, "host_irq", irq);
}

/* What was tried on the collector itself (life null), and what of a vCPU failed. */
static void add_counter_events(struct builder *b, cJSON *root)
{
    const struct vt_snapshot *s = b->view->snapshot;
    cJSON *list = add_array(b, root, "counter_events");
    for (size_t i = 0; i < s->nr_counter_events; i++) {
        const struct vt_counter_event *e = &s->counter_events[i];
        cJSON *row = add_row(b, list);
        add_text(b, row, "event", vt_counters[e->event].name);
        add_text(b, row, "side", vt_counter_side_name(e->side));
        if (e->vcpu)
            add_i64(b, row, "life", e->vcpu);
        else
            add_text(b, row, "life", NULL);
        keep(b, cJSON_AddBoolToObject(row, "present", !e->error));
        if (e->error)
            add_name(b, row, "reason", e->reason);
        else
            add_text(b, row, "reason", NULL);
    }
}

/* ---- a guest ---- */

static cJSON *add_account(struct builder *b, cJSON *o, const char *key, const struct vt_account *a)
{
    cJSON *account = add_object(b, o, key);
    add_figure(b, account, "used", a->used);
    add_figure(b, account, "overhead", a->overhead);
    add_figure(b, account, "stolen", a->stolen);
    add_figure(b, account, "stalled", a->stalled);
    add_figure(b, account, "idle", a->idle);
    add_figure(b, account, "paused", a->paused);
    add_figure(b, account, "lost", a->unknown);
    add_figure(b, account, "demand", report_demand(a));
    if (b->view->snapshot->host.tells_outer_steal)
        add_figure(b, account, "outer_steal", a->outer);
    else
        add_text(b, account, "outer_steal", NULL);
    cJSON *states = add_object(b, account, "states");
    for (int s = 0; s < VT_NR_STATES; s++)
        add_figure(b, states, vt_states[s].name, a->state[s]);
    return account;
}

/* The guest's words as it said them: exact as a quotation, whatever their truth. */
static void add_belief(struct builder *b, cJSON *o, const char *key, const struct vt_belief *belief)
{
    cJSON *believed = add_object(b, o, key);
    for (size_t i = 0; i < REPORT_NR_CLOCKS; i++) {
        uint64_t ns;
        if (report_belief(belief, &report_clocks[i], &ns))
            add_exact(b, believed, report_clocks[i].key, ns);
        else
            add_text(b, believed, report_clocks[i].key, NULL);
    }
    if (belief->have & VTG_HAVE_TICKS) {
        add_u64(b, believed, "ticks", belief->ticks);
        add_u64(b, believed, "ticks_expected", belief->ticks_expected);
    } else {
        add_text(b, believed, "ticks", NULL);
        add_text(b, believed, "ticks_expected", NULL);
    }
}

static void put_debt(struct builder *b, cJSON *row, const struct vt_blame *blame, const char *victim_key)
{
    if (victim_key)
        add_name(b, row, victim_key, blame->victim);
    add_name(b, row, "culprit", blame->culprit);
    add_text(b, row, "kind", report_culprit_kind(blame->kind));
    put_figure(b, row, (struct vt_figure){ .ns = blame->ns, .accuracy = VT_EXACT });
    struct vt_figure elsewhere;
    if (report_elsewhere(&b->view->snapshot->host, blame->elsewhere_ns, &elsewhere))
        add_figure(b, row, "idle_elsewhere", elsewhere);
    else
        add_text(b, row, "idle_elsewhere", NULL);
}

static void add_truth(struct builder *b, cJSON *o, const struct vt_benchmark *bench,
                      const struct report_debts *debts)
{
    cJSON *truth;
    if (bench->from_host_process) {
        truth = add_object(b, o, "true");
        add_text(b, truth, "elapsed", NULL);
        return;
    }
    truth = add_account(b, o, "true", &bench->truth);
    add_figure(b, truth, "elapsed", bench->elapsed);
    struct vt_figure own;
    if (report_own_cpu(bench, &own))
        add_figure(b, truth, "own_used", own);
    else
        add_text(b, truth, "own_used", NULL);
    add_u64(b, truth, "from_ns", bench->window.from.v - b->view->epoch.v);
    add_u64(b, truth, "to_ns", bench->window.to.v - b->view->epoch.v);
    add_i64(b, truth, "residual_ns", bench->residual_ns);
    cJSON *by = debts ? add_array(b, truth, "stolen_by") : NULL;
    if (!debts)
        add_text(b, truth, "stolen_by", NULL);
    for (size_t i = 0; debts && i < debts->n; i++)
        put_debt(b, add_row(b, by), &debts->rows[i], NULL);
}

/* Null where its command's end was not told. */
static void add_run(struct builder *b, cJSON *row, const struct vt_run_belief *r)
{
    if (!r->known) {
        add_text(b, row, "run", NULL);
        return;
    }
    cJSON *o = add_object(b, row, "run");
    add_u64(b, o, "repeat", r->repeat);
    add_u64(b, o, "of", r->of);
    add_i64(b, o, "status", r->status);
    add_u64(b, o, "elapsed_ns", r->elapsed_ns);
    add_u64(b, o, "user_ns", r->user_ns);
    add_u64(b, o, "system_ns", r->sys_ns);
}

static void add_process(struct builder *b, cJSON *row, const struct vt_guest_process *p)
{
    static const char *const sources[] = { "pro-rated", "bpf", "perf", "sampled" };
    add_name(b, row, "name", p->name);
    add_u64(b, row, "pid", p->tgid);
    keep(b, cJSON_AddBoolToObject(row, "of_benchmark", p->of_benchmark));
    add_text(b, row, "by", p->source <= VTG_TASKS_SAMPLED ? sources[p->source] : NULL);
    if (p->has_charged) {
        add_u64(b, row, "user_ns", p->user_ns);
        add_u64(b, row, "system_ns", p->sys_ns);
    } else {
        add_text(b, row, "user_ns", NULL);
        add_text(b, row, "system_ns", NULL);
    }
    add_u64(b, row, "on_vcpu_ns", p->on_vcpu_ns);
    add_u64(b, row, "waited_ns", p->waited_ns);
    add_u64(b, row, "stretches", p->stretches);
    add_account(b, row, "true", &p->truth);
    add_ratio(b, row, "dilation", p->truth.dilation);
}

static void add_benchmark(struct builder *b, cJSON *row, const struct vt_benchmark *bench,
                          const struct report_debts *debts)
{
    const struct vt_undilated *u = &bench->undilated;
    add_name(b, row, "name", bench->name);
    add_u64(b, row, "vcpu", bench->vcpu_index);
    keep(b, cJSON_AddBoolToObject(row, "host_process", bench->from_host_process));
    add_u64(b, row, "work_done", bench->work_done);
    add_ratio(b, row, "dilation", bench->truth.dilation);
    add_ratio(b, row, "contention_dilation", bench->truth.contention_dilation);
    add_ratio(b, row, "stretch", report_stretch(bench));
    add_belief(b, row, "believed", &bench->believed);
    add_truth(b, row, bench, debts);
    cJSON *undilated = add_object(b, row, "undilated");
    if (u->known) {
        add_u64(b, undilated, "low_ns", u->low_ns);
        add_u64(b, undilated, "outer_steal_ns", u->outer_ns);
        add_u64(b, undilated, "high_ns", u->high_ns);
    } else {
        add_text(b, undilated, "low_ns", NULL);
        add_text(b, undilated, "high_ns", NULL);
    }
    add_text(b, undilated, "assumptions", u->assumptions);
    add_text(b, undilated, "unplayed", u->unplayed);
    add_run(b, row, &bench->run);
    add_u64(b, row, "untold_ns", bench->untold_ns);
    if (bench->has_guest_kernel)
        add_u64(b, row, "guest_kernel_ns", bench->guest_kernel_ns);
    else
        add_text(b, row, "guest_kernel_ns", NULL);
    add_u64(b, row, "strangers_ns", bench->strangers_ns);
    add_u64(b, row, "unplaced_ns", bench->unplaced_ns);
    keep(b, cJSON_AddBoolToObject(row, "takes_turns", bench->takes_turns));
    cJSON *processes = add_array(b, row, "processes");
    for (size_t i = 0; i < bench->nr_processes; i++)
        add_process(b, add_row(b, processes), &bench->processes[i]);
    cJSON *gaps = add_object(b, row, "gaps");
    add_u64(b, gaps, "count", bench->gap_count);
    add_u64(b, gaps, "sum_ns", bench->gap_sum_ns);
    add_u64(b, gaps, "threshold_ns", bench->gap_threshold_ns);
}

static void add_counter(struct builder *b, cJSON *row, const struct vt_counter_figure *f)
{
    add_text(b, row, "event", vt_counters[f->event].name);
    add_text(b, row, "side", vt_counter_side_name(f->side));
    if (f->known)
        add_u64(b, row, "count", f->count);
    else
        add_text(b, row, "count", NULL);
    add_accuracy(b, row, f->accuracy);
    add_u64(b, row, "raw", f->raw);
    add_u64(b, row, "enabled_ns", f->enabled_ns);
    add_u64(b, row, "running_ns", f->running_ns);
}

/* Never part of the account: null where nothing was counted in the window. */
static void add_counters(struct builder *b, cJSON *o, const struct vt_counter_set *set)
{
    if (!set->nr) {
        add_text(b, o, "counters", NULL);
        return;
    }
    cJSON *counters = add_object(b, o, "counters");
    add_i64(b, counters, "from_ns", (int64_t)(set->stretch.from.v - b->view->epoch.v));
    add_i64(b, counters, "to_ns", (int64_t)(set->stretch.to.v - b->view->epoch.v));
    add_u64(b, counters, "our_on_cpu_ns", set->on_cpu_ns);
    if (set->has_capacity) {
        add_figure(b, counters, "capacity", set->capacity);
        keep(b, cJSON_AddNumberToObject(counters, "nominal_khz", set->nominal_khz));
    } else {
        add_text(b, counters, "capacity", NULL);
        add_text(b, counters, "nominal_khz", NULL);
    }
    cJSON *events = add_array(b, counters, "events");
    for (size_t i = 0; i < set->nr; i++)
        add_counter(b, add_row(b, events), &set->of[i]);
}

/* Between two readings of the kernel's sums: exact as sums, bounded by when they were read. */
static void add_exit(struct builder *b, cJSON *row, const struct vt_exit_figure *e)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", e->reason);
    add_text(b, row, "reason", e->name ? e->name : number);
    add_u64(b, row, "count", e->count);
    if (e->reason == VT_EXIT_UNSUMMED) { /* counted, but not timed */
        add_text(b, row, "kernel", NULL);
        add_text(b, row, "user", NULL);
        add_text(b, row, "kernel_ns_log2", NULL);
        return;
    }
    add_exact(b, row, "kernel", e->kernel_ns);
    add_exact(b, row, "user", e->user_ns);
    cJSON *log2 = add_array(b, row, "kernel_ns_log2");
    unsigned last = VT_EXIT_BUCKETS;
    while (last && !e->log2[last - 1])
        last--;
    for (unsigned i = 0; i < last && log2; i++)
        if (!cJSON_AddItemToArray(log2, cJSON_CreateNumber((double)e->log2[i])))
            b->failed = true;
}

/* Each by the kernel's name, all that grew by nothing too; null: none was read of this vCPU. */
static void add_kvm_stats(struct builder *b, cJSON *row, const struct vt_vcpu_figures *c)
{
    const struct vt_snapshot *s = b->view->snapshot;
    if (!c->kvm_stats) {
        add_text(b, row, "kvm_stats", NULL);
        return;
    }
    cJSON *stats = add_object(b, row, "kvm_stats");
    for (size_t i = 0; i < s->nr_kvm_stats; i++) {
        char name[REPORT_NAME_LEN];
        cJSON *stat = add_object(b, stats, report_name(name, s->kvm_stats[i].name));
        add_u64(b, stat, "count", c->kvm_stats[i].count);
        add_name(b, stat, "unit", s->kvm_stats[i].unit);
        add_accuracy(b, stat, c->kvm_stats[i].accuracy);
        add_u64(b, stat, "bound", c->kvm_stats[i].bound);
    }
}

/* Null where the recording was made without --exit-addresses. */
static void add_addresses(struct builder *b, cJSON *o, const struct vt_vcpu_figures *c)
{
    if (!b->view->snapshot->host.exit_addresses) {
        add_text(b, o, "addresses", NULL);
        add_text(b, o, "addresses_unsummed", NULL);
        return;
    }
    cJSON *addresses = add_array(b, o, "addresses");
    for (size_t i = 0; i < c->nr_addresses; i++) {
        const struct vt_address_figure *a = &c->addresses[i];
        cJSON *row = add_row(b, addresses);
        char hex[24];
        snprintf(hex, sizeof(hex), "%#" PRIx64, a->address);
        add_text(b, row, "kind", vt_access_name(a->kind));
        add_u64(b, row, "address", a->address);
        add_text(b, row, "hex", hex);
        add_text(b, row, "access", a->is_write ? "write" : "read");
        add_u64(b, row, "count", a->count);
        add_text(b, row, "name", vt_address_name(a->kind, a->address));
    }
    add_u64(b, o, "addresses_unsummed", c->addresses_unsummed);
}

static void add_vcpu(struct builder *b, cJSON *row, const struct vt_vcpu_figures *c)
{
    const struct vt_account *a = &c->account;
    add_u64(b, row, "id", c->vcpu.index);
    add_u64(b, row, "tid", c->vcpu.tid);
    add_i64(b, row, "life", c->vcpu.id);
    add_u64(b, row, "window_ns", c->window_ns);
    add_i64(b, row, "residual_ns", c->residual_ns);
    add_i64(b, row, "ledger_residual_ns", c->ledger_residual_ns);
    cJSON *states = add_object(b, row, "states");
    for (int s = 0; s < VT_NR_STATES; s++)
        add_figure(b, states, vt_states[s].name, a->state[s]);
    cJSON *blocked = add_object(b, row, "blocked_by");
    for (int i = 0; i < VT_NR_CAUSES; i++)
        add_u64(b, blocked, report_off_cause((enum vt_off_cause)i), c->blocked_by[i]);
    cJSON *exits = add_array(b, row, "exits");
    for (size_t i = 0; i < c->nr_exits; i++)
        add_exit(b, add_row(b, exits), &c->exits_by[i]);
    add_kvm_stats(b, row, c);
    add_u64(b, row, "exits_total", c->exits);
    add_u64(b, row, "user_exits", c->user_exits);
    add_addresses(b, row, c);
    add_u64(b, row, "switches", c->switches);
    add_u64(b, row, "migrations", c->migrations);
    cJSON *hops = c->has_hops ? add_object(b, row, "migrations_by") : NULL;
    if (!hops)
        add_text(b, row, "migrations_by", NULL);
    for (int h = 0; hops && h < VT_NR_HOPS; h++)
        add_u64(b, hops, vt_hops[h].key, c->hops[h]);
    if (c->has_siblings)
        add_figure(b, row, "sibling_busy", c->sibling_busy);
    else
        add_text(b, row, "sibling_busy", NULL);
    add_u64(b, row, "halts", c->halts);
    add_u64(b, row, "desync", c->desync);
    add_u64(b, row, "first_cpu", c->first_cpu);
    add_u64(b, row, "last_cpu", c->last_cpu);
    add_text(b, row, "now", vt_states[c->now].name);
    add_ratio(b, row, "dilation", a->dilation);
    add_ratio(b, row, "contention_dilation", a->contention_dilation);
    cJSON *check = add_object(b, row, "schedstat");
    add_u64(b, check, "run_ns", c->proc_run_ns);
    add_u64(b, check, "run_delay_ns", c->proc_run_delay_ns);
    add_u64(b, check, "our_on_cpu_ns", c->on_cpu_ns);
    add_u64(b, check, "our_run_delay_ns", c->run_delay_ns);
    add_counters(b, row, &c->counters);
}

static void add_clock(struct builder *b, cJSON *row, const struct vt_clock_report *c)
{
    add_u64(b, row, "vcpu", c->vcpu_index);
    add_text(b, row, "method", c->method ? c->method : "none");
    add_u64(b, row, "bound_ns", c->bound_ns);
    keep(b, cJSON_AddNumberToObject(row, "guest_tsc_khz", c->guest_tsc_khz));
    add_u64(b, row, "violations", c->violations);
    add_text(b, row, "reason", c->reason);
}

static void add_helper(struct builder *b, cJSON *row, const struct vt_helper_figures *h)
{
    add_text(b, row, "name", h->row.comm);
    add_u64(b, row, "tid", h->row.tid);
    add_figure(b, row, "on_cpu", h->on_cpu);
    add_figure(b, row, "waited", h->waited);
    add_figure(b, row, "blocked", h->blocked);
}

static void add_events(struct builder *b, cJSON *row, const struct vt_guest *g)
{
    struct report_event *events = NULL;
    size_t n = 0;
    b->failed |= report_guest_events(g, b->view->utf8, &events, &n) != 0;
    cJSON *list = add_array(b, row, "events");
    for (size_t i = 0; i < n; i++) {
        cJSON *o = add_row(b, list);
        add_i64(b, o, "at_ns", (int64_t)(events[i].at.v - b->view->epoch.v));
        add_text(b, o, "kind", events[i].kind);
        add_i64(b, o, "a", events[i].a);
        add_i64(b, o, "b", events[i].b);
        add_text(b, o, "says", events[i].text);
    }
    free(events);
}

static void add_joint(struct builder *b, cJSON *row, const struct vt_joint_figures *joint)
{
    if (!joint->known) {
        add_text(b, row, "vm_states", NULL);
        return;
    }
    cJSON *o = add_object(b, row, "vm_states");
    for (int i = 0; i < VT_NR_JOINTS; i++)
        add_figure(b, o, vt_joints[i].key, joint->state[i]);
    add_i64(b, o, "residual_ns", joint->residual_ns);
}

static void add_guest(struct builder *b, cJSON *row, size_t index)
{
    const struct vt_guest *g = &b->view->snapshot->guests[index];
    struct report_dilation d = report_guest_dilation(g);
    add_name(b, row, "name", g->vm.name);
    add_text(b, row, "kind", report_vm_kind(g));
    add_text(b, row, "note", report_vm_note(g));
    add_u64(b, row, "pid", g->vm.tgid);
    add_ratio(b, row, "dilation", d.dilation);
    add_ratio(b, row, "contention_dilation", d.contention);
    add_text(b, row, "dilation_of", d.from_marks ? "marks" : "window");
    add_belief(b, row, "perceived", &g->perceived);
    add_account(b, row, "account", &g->account);
    add_joint(b, row, &g->joint);
    cJSON *list = add_array(b, row, "benchmarks");
    for (size_t i = 0; i < g->nr_benchmarks; i++)
        add_benchmark(b, add_row(b, list), &g->benchmarks[i], report_debts_of(b->view, index, i));
    b->failed |= !row || !report_json_marks(row, g, b->view);
    list = add_array(b, row, "clocks");
    for (size_t i = 0; i < g->nr_clocks; i++)
        add_clock(b, add_row(b, list), &g->clocks[i]);
    if (g->agent_clocks)
        b->failed |= !report_json_agent_clocks(list, g->agent_clocks, b->view);
    add_events(b, row, g);
    cJSON *helpers = add_array(b, row, "helpers");
    for (size_t i = 0; i < g->nr_helpers; i++)
        add_helper(b, add_row(b, helpers), &g->helpers[i]);
    list = add_array(b, row, "vcpus");
    for (size_t i = 0; i < g->nr_vcpus; i++)
        add_vcpu(b, add_row(b, list), &g->vcpus[i]);
}

static void build(struct builder *b, cJSON *root)
{
    const struct vt_snapshot *s = b->view->snapshot;
    add_u64(b, root, "schema", 1);
    add_u64(b, root, "window_ns", s->window.to.v - s->window.from.v);
    add_i64(b, root, "window_from_ns", (int64_t)(s->window.from.v - b->view->epoch.v));
    keep(b, cJSON_AddBoolToObject(root, "cut_off", s->cut_off));
    add_host(b, root);
    add_costs(b, root);
    add_counter_events(b, root);
    cJSON *list = add_array(b, root, "cpus");
    for (size_t i = 0; i < s->nr_cpus; i++) {
        cJSON *row = add_row(b, list);
        add_u64(b, row, "cpu", s->cpus[i].cpu);
        add_exact(b, row, "vcpus", s->cpus[i].vcpu_ns);
        add_exact(b, row, "helpers", s->cpus[i].helper_ns);
        add_exact(b, row, "processes", s->cpus[i].process_ns);
        add_exact(b, row, "kernel_threads", s->cpus[i].kthread_ns);
        add_exact(b, row, "idle", s->cpus[i].idle_ns);
        add_exact(b, row, "unwatched", s->cpus[i].unwatched_ns);
        add_u64(b, row, "overlap_ns", s->cpus[i].overlap_ns);
    }
    list = add_array(b, root, "guests");
    for (size_t i = 0; i < s->nr_guests; i++)
        add_guest(b, add_row(b, list), i);
    list = add_array(b, root, "blame");
    for (size_t i = 0; i < s->nr_blame; i++)
        put_debt(b, add_row(b, list), &s->blame[i], "victim");
}

int report_json(const struct report_view *v, FILE *out, struct vt_err *err)
{
    struct builder b = { .view = v };
    char *text = NULL;
    cJSON *root = keep(&b, cJSON_CreateObject());
    build(&b, root);
    if (!b.failed)
        text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text)
        return vt_fail(err, ENOMEM, "out of memory for the JSON report");
    fputs(text, out);
    fputc('\n', out);
    cJSON_free(text);
    return 0;
}

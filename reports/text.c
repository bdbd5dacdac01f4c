/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report as text: at most FORMAT_WIDTH columns, every figure with its accuracy. */
#include <inttypes.h>
#include <string.h>

#include "base/state.h"
#include "format.h"
#include "view.h"

#define LABEL 11 /* columns of the labels at the left */

static void cell_figure(struct table *t, struct vt_figure f, bool utf8)
{
    char text[FORMAT_LEN];
    table_cell(t, format_figure(text, f, utf8));
}

static void cell_number(struct table *t, uint64_t n)
{
    char text[FORMAT_LEN];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    table_cell(t, text);
}

static void cell_signed(struct table *t, int64_t ns, bool utf8)
{
    char text[FORMAT_LEN];
    format_signed_ns(text, ns, utf8);
    table_cell(t, ns ? text : "0 ns"); /* never dropped as empty: the law's own figure */
}

static void cell_name(struct table *t, const char *raw)
{
    char name[REPORT_NAME_LEN];
    table_cell(t, report_name(name, raw));
}

static void title(FILE *out, const char *text)
{
    fprintf(out, "\n%s\n", text);
}

/* ---- head ---- */

static void put_host(const struct report_view *v, FILE *out)
{
    const struct vt_host *h = &v->snapshot->host;
    struct wrap w = wrap_begin(out, "host", LABEL);
    char clean[4][REPORT_NAME_LEN];
    wrap_item(&w, "%s", report_name(clean[0], h->hostname));
    wrap_item(&w, "Linux %s", report_name(clean[1], h->kernel));
    wrap_item(&w, "%u CPU%s", h->nr_cpus, h->nr_cpus == 1 ? "" : "s");
    if (h->cpu[0])
        wrap_item(&w, "%s", report_name(clean[2], h->cpu));
    if (h->hypervisor[0])
        wrap_item(&w, "itself under %s", report_name(clean[3], h->hypervisor));
    if (h->stays_awake)
        wrap_item(&w, "idle CPUs do not sleep");
    wrap_end(&w);
}

static void put_window(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    char length[FORMAT_LEN];
    struct wrap w = wrap_begin(out, "window", LABEL);
    double from = ((double)s->window.from.v - (double)v->epoch.v) / 1e9;
    double to = ((double)s->window.to.v - (double)v->epoch.v) / 1e9;
    wrap_item(&w, "%s", format_ns(length, s->window.to.v - s->window.from.v, v->utf8));
    wrap_item(&w, "from %.3f s to %.3f s of the recording", from, to);
    if (s->cut_off)
        wrap_item(&w, "which was cut off: its end is its last checkpoint");
    wrap_end(&w);
}

/* record --vm: what is not shown, and that nothing is if so. */
static void put_only(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    char clean[REPORT_NAME_LEN];
    if (!s->host.only[0])
        return;
    struct wrap w = wrap_begin(out, "only", LABEL);
    wrap_item(&w, s->nr_guests ? "VM %s" : "VM %s, and none of that name or pid was recorded",
              report_name(clean, s->host.only));
    wrap_item(&w, "%zu other%s not shown, but as debtors", s->nr_hidden, s->nr_hidden == 1 ? "" : "s");
    wrap_end(&w);
}

static void put_observed(const struct report_view *v, FILE *out)
{
    const struct vt_host *h = &v->snapshot->host;
    struct wrap w = wrap_begin(out, "observed", LABEL);
    wrap_item(&w, h->has_entry_exit
                      ? "guest entry and exit"
                      : "no guest entry and exit on this host: GUEST and KVM are one state, RUN");
    if (h->ledger_only)
        wrap_item(&w, "without slices: sums at each checkpoint, blame by class only");
    wrap_item(&w, "clocks by %s%s", h->clocksource[0] ? h->clocksource : "an unknown source",
              h->tsc_stable ? "" : " (TSC not stable: no clock map)");
    for (int p = 0; p < VT_NR_PROBE_CLASSES; p++)
        if (h->probes_off & (1u << p) && !(p == VT_PROBE_ENTRY_EXIT && !h->has_entry_exit))
            wrap_item(&w, "probe %s is off", report_probe_class((enum vt_probe_class)p));
    report_text_absent_counters(v, &w);
    wrap_end(&w);
}

static void put_lost(const struct report_view *v, FILE *out)
{
    struct wrap w = wrap_begin(out, "lost", LABEL);
    for (int r = 0; r < VT_NR_LOST_REASONS; r++)
        if (v->snapshot->lost[r])
            wrap_item(&w, "%" PRIu64 " by %s", v->snapshot->lost[r],
                      report_lost_reason((enum vt_lost_reason)r));
    if (w.empty)
        wrap_item(&w, "no record");
    wrap_end(&w);
}

static void put_observer(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    const struct vt_observer *o = &s->observer;
    double window = (double)(s->window.to.v - s->window.from.v);
    char text[FORMAT_LEN];
    struct wrap w = wrap_begin(out, "observer", LABEL);
    wrap_item(&w, "collector %s of CPU (%.2f %% of one)", format_ns(text, o->cpu_ns, v->utf8),
              window > 0 ? 100 * (double)o->cpu_ns / window : 0);
    if (o->bpf_runs)
        wrap_item(&w, "its probes ran ~%" PRIu64 " times for ~%s (%.0f ns each)", o->bpf_runs,
                  format_ns(text, o->bpf_ns, v->utf8), (double)o->bpf_ns / (double)o->bpf_runs);
    else
        wrap_item(&w, "run time of its probes not counted");
    wrap_item(&w, "%.1f MiB", (double)o->rss_bytes / 1048576);
    wrap_end(&w);
    w = wrap_begin(out, "outer", LABEL);
    wrap_item(&w, "%s stolen from this host itself, all CPUs",
              o->host_steal_ns ? format_ns(text, o->host_steal_ns, v->utf8) : "nothing");
    wrap_item(&w, "%s of its own interrupts", format_ns(text, o->host_irq_ns, v->utf8));
    wrap_end(&w);
}

/* ---- guests and vCPUs ---- */

static void row_guest(struct table *t, const struct vt_guest *g, bool utf8)
{
    static const enum vt_state stolen[] = { VT_PREEMPTED, VT_WAKING, VT_THROTTLED, VT_IRQ };
    const struct vt_account *a = &g->account;
    struct report_dilation d = report_guest_dilation(g);
    char text[FORMAT_LEN];
    cell_name(t, g->vm.name);
    cell_number(t, g->nr_vcpus);
    cell_figure(t, a->used, utf8);
    cell_figure(t, a->overhead, utf8);
    cell_figure(t, a->stolen, utf8);
    for (size_t i = 0; i < sizeof(stolen) / sizeof(stolen[0]); i++)
        cell_figure(t, a->state[stolen[i]], utf8);
    cell_figure(t, a->stalled, utf8);
    cell_figure(t, a->idle, utf8);
    cell_figure(t, a->paused, utf8);
    cell_figure(t, a->unknown, utf8);
    table_cell(t, format_ratio(text, d.dilation, utf8));
    table_cell(t, format_ratio(text, d.contention, utf8));
}

/* What is to be said of those that are not KVM's; and what this host did not have itself. */
static void put_notes(const struct vt_snapshot *s, bool utf8, FILE *out)
{
    char clean[REPORT_NAME_LEN], text[FORMAT_LEN];
    for (size_t g = 0; g < s->nr_guests; g++) {
        const char *note = report_vm_note(&s->guests[g]);
        const struct vt_figure outer = s->guests[g].account.outer;
        if ((!note && !outer.ns) || report_is_bare(&s->guests[g]))
            continue;
        struct wrap w = wrap_begin(out, "", 2);
        report_name(clean, s->guests[g].vm.name);
        if (outer.ns)
            wrap_item(&w, "%s: of its time on CPU, %s were stolen from this host itself", clean,
                      format_figure(text, outer, utf8));
        else
            wrap_item(&w, "%s:", clean);
        if (note)
            wrap_text(&w, note);
        wrap_end(&w);
    }
}

static void put_guests(const struct report_view *v, FILE *out)
{
    static const struct {
        const char *head;
        bool droppable;
    } columns[] = { { "vCPUs", false },    { "used", false },     { "overhead", false }, { "stolen", false },
                    { "PREEMPTED", true }, { "WAKING", true },    { "THROTTLED", true }, { "IRQ", true },
                    { "stalled", true },   { "idle", true },      { "paused", true },    { "LOST", true },
                    { "dilation", false }, { "by others", false } };
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    if (t)
        table_column(t, "guest", true, false);
    for (size_t i = 0; t && i < sizeof(columns) / sizeof(columns[0]); i++)
        table_column(t, columns[i].head, false, columns[i].droppable);
    bool marks = false, any = false;
    for (size_t g = 0; g < s->nr_guests; g++) {
        if (report_is_bare(&s->guests[g]))
            continue;
        any = true;
        marks |= report_guest_dilation(&s->guests[g]).from_marks;
        row_guest(t, &s->guests[g], v->utf8);
    }
    title(
        out,
        v->utf8
            ? "Guests: time of all their vCPUs in the window, boot included; stolen = its parts to the right"
            : "Guests: time of all their vCPUs in the window, boot included; stolen = its parts to the "
              "right");
    if (any)
        table_print(t, 1, "  ", out);
    else
        fputs(s->nr_hidden ? "  the VM that --vm asked for did not run; others did\n"
                           : "  no virtual machine ran in this window\n",
              out);
    if (any)
        fprintf(out,
                "  dilation = (used + overhead + stolen + stalled) / (used + overhead)%s\n"
                "  by others = without wake-ups onto an idle CPU; what is 0 in all guests is left out\n",
                marks ? ", mark to mark where there are marks" : "");
    put_notes(s, v->utf8, out);
    table_free(t);
}

static void row_vcpu(struct table *t, const struct vt_guest *g, const struct vt_vcpu_figures *c, bool utf8)
{
    char text[FORMAT_LEN];
    cell_name(t, g->vm.name);
    cell_number(t, c->vcpu.index);
    cell_signed(t, c->residual_ns, utf8);
    cell_signed(t, c->ledger_residual_ns, utf8);
    for (int s = VT_NR_STATES - 1; s >= 0; s--)
        cell_figure(t, c->account.state[s], utf8);
    snprintf(text, sizeof(text), "%" PRIu64, c->desync);
    table_cell(t, text);
    cell_number(t, c->switches);
    cell_number(t, c->migrations);
    cell_number(t, c->exits + c->user_exits);
}

static uint64_t wanted_ns(const struct vt_account *a)
{
    return a->used.ns + a->overhead.ns + a->stolen.ns + a->stalled.ns;
}

/* Of a cgroup's many threads those that make up 1 % of it at least. */
static bool is_worth_a_row(const struct vt_guest *g, const struct vt_vcpu_figures *c)
{
    enum { MANY = 16 };
    return g->vm.kind != VT_VM_CGROUP || g->nr_vcpus <= MANY ||
           (wanted_ns(&c->account) && wanted_ns(&c->account) >= wanted_ns(&g->account) / 100);
}

static void put_vcpus(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    if (t) {
        table_column(t, "guest", true, false);
        table_column(t, "vCPU", false, false);
        table_column(t, "residual", false, false);
        table_column(t, "vs kernel", false, false);
    }
    for (int i = VT_NR_STATES - 1; t && i >= 0; i--)
        table_column(t, vt_states[i].name, false, true);
    for (size_t i = 0; t && i < 4; i++)
        table_column(t, (const char *const[]){ "refused", "switches", "migrations", "exits" }[i], false,
                     i != 1);
    size_t rows = 0, left_out = 0;
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++) {
            if (!is_worth_a_row(&s->guests[g], &s->guests[g].vcpus[i])) {
                left_out++;
                continue;
            }
            row_vcpu(t, &s->guests[g], &s->guests[g].vcpus[i], v->utf8);
            rows++;
        }
    if (rows) {
        title(out,
              "vCPUs: time by state; residual = window - sum of the states, vs kernel = states against the "
              "kernel's own sums");
        table_print(t, 2, "  ", out);
    }
    if (left_out)
        fprintf(out, "  %zu threads of cgroups, each with less than 1 %% of its cgroup's, are left out\n",
                left_out);
    table_free(t);
}

/* Threads of one name are one row: a monitor may have many workers. */
static size_t same_name(const struct vt_guest *g, const char *comm, struct vt_helper_figures *sum)
{
    size_t n = 0;
    *sum = (struct vt_helper_figures){ 0 };
    for (size_t i = 0; i < g->nr_helpers; i++) {
        if (strcmp(g->helpers[i].row.comm, comm) != 0)
            continue;
        sum->on_cpu.ns += g->helpers[i].on_cpu.ns;
        sum->on_cpu.bound_ns += g->helpers[i].on_cpu.bound_ns;
        sum->waited.ns += g->helpers[i].waited.ns;
        n++;
    }
    return n;
}

static bool is_first_of_name(const struct vt_guest *g, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(g->helpers[j].row.comm, g->helpers[i].row.comm) == 0)
            return false;
    return true;
}

static size_t helper_rows(struct table *t, const struct vt_guest *g, bool utf8)
{
    size_t rows = 0;
    for (size_t i = 0; i < g->nr_helpers; i++) {
        struct vt_helper_figures sum;
        char text[FORMAT_LEN];
        if (!is_first_of_name(g, i))
            continue;
        size_t n = same_name(g, g->helpers[i].row.comm, &sum);
        if (!sum.on_cpu.ns && !sum.waited.ns)
            continue;
        cell_name(t, rows++ ? "" : g->vm.name);
        cell_name(t, g->helpers[i].row.comm);
        cell_number(t, n);
        table_cell(t, format_ns(text, sum.on_cpu.ns, utf8));
        table_cell(t, format_ns(text, sum.waited.ns, utf8));
    }
    return rows;
}

static void put_helpers(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    size_t rows = 0;
    if (t) {
        table_column(t, "guest", true, false);
        table_column(t, "thread", true, false);
        table_column(t, "threads", false, false);
        table_column(t, "on CPU", false, false);
        table_column(t, "waited for a CPU", false, false);
    }
    for (size_t g = 0; t && g < s->nr_guests; g++)
        rows += helper_rows(t, &s->guests[g], v->utf8);
    if (rows) {
        title(out, "Helpers: threads of a guest's monitor that are no vCPUs, and vhost workers");
        table_print(t, 2, "  ", out);
    }
    table_free(t);
}

/* Upper edges of the log2 buckets in which half, and 99 % of the exits are reached. */
static void spread_of(const struct vt_exit_figure *e, char *text, size_t n, bool utf8)
{
    static const double shares[] = { 0.5, 0.99 };
    char part[2][FORMAT_LEN];
    for (size_t i = 0; i < 2; i++) {
        uint64_t sum = 0;
        unsigned bucket = 0;
        while (bucket + 1 < VT_EXIT_BUCKETS &&
               (double)(sum += e->log2[bucket]) < shares[i] * (double)e->count)
            bucket++;
        format_ns(part[i], UINT64_C(2) << bucket, utf8);
    }
    snprintf(text, n, "< %s, < %s", part[0], part[1]);
}

static void row_exit(struct table *t, const char *guest, uint32_t vcpu, const struct vt_exit_figure *e,
                     bool utf8)
{
    char text[3 * FORMAT_LEN];
    cell_name(t, guest);
    snprintf(text, sizeof(text), "%u", e->reason);
    table_cell(t, e->name ? e->name : text);
    cell_number(t, vcpu);
    cell_number(t, e->count);
    if (e->reason == VT_EXIT_UNSUMMED) { /* counted, but not timed */
        for (int i = 0; i < 4; i++)
            table_cell(t, "-");
        return;
    }
    table_cell(t, format_ns(text, e->kernel_ns, utf8));
    table_cell(t, format_ns(text, e->count ? e->kernel_ns / e->count : 0, utf8));
    spread_of(e, text, sizeof(text), utf8);
    table_cell(t, text);
    table_cell(t, format_ns(text, e->user_ns, utf8));
}

static void put_exits(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    static const char *const heads[] = { "vCPU",          "exits", "in KVM", "each", "half, 99 % of them",
                                         "in the monitor" };
    struct table *t = table_new(v->utf8);
    bool any = false;
    if (t) {
        table_column(t, "guest", true, false);
        table_column(t, "reason", true, false);
    }
    for (size_t i = 0; t && i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], false, false);
    for (size_t g = 0; g < s->nr_guests; g++) {
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++) {
            const struct vt_vcpu_figures *f = &s->guests[g].vcpus[i];
            for (size_t j = 0; j < f->nr_exits; j++) {
                row_exit(t, j ? "" : s->guests[g].vm.name, f->vcpu.index, &f->exits_by[j], v->utf8);
                any = true;
            }
        }
    }
    if (any) {
        title(out, "Exits: time that an exit took, without sleep, polling, pre-emption and interrupts in it");
        table_print(t, 2, "  ", out);
    }
    table_free(t);
}

/* The scheduler's own account, read from /proc: what others would print. */
static void put_check(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    static const char *const heads[] = { "vCPU",   "on CPU",    "schedstat", "differs",
                                         "waited", "run_delay", "differs" };
    if (t)
        table_column(t, "guest", true, false);
    for (size_t i = 0; t && i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], false, false);
    bool any = false;
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++) {
            const struct vt_vcpu_figures *c = &s->guests[g].vcpus[i];
            char text[FORMAT_LEN];
            if (!c->proc_run_ns && !c->proc_run_delay_ns)
                continue;
            any = true;
            cell_name(t, s->guests[g].vm.name);
            cell_number(t, c->vcpu.index);
            table_cell(t, format_ns(text, c->on_cpu_ns, v->utf8));
            table_cell(t, format_ns(text, c->proc_run_ns, v->utf8));
            cell_signed(t, (int64_t)(c->on_cpu_ns - c->proc_run_ns), v->utf8);
            table_cell(t, format_ns(text, c->run_delay_ns, v->utf8));
            table_cell(t, format_ns(text, c->proc_run_delay_ns, v->utf8));
            cell_signed(t, (int64_t)(c->run_delay_ns - c->proc_run_delay_ns), v->utf8);
        }
    if (any) {
        title(out, "Check: the same vCPUs in /proc/PID/task/TID/schedstat, between the readings taken in the "
                   "window");
        table_print(t, 2, "  ", out);
    }
    table_free(t);
}

/* ---- benchmarks ---- */

static void put_beliefs(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    struct table *t = table_new(utf8);
    bool truth = !b->from_host_process;
    if (t) {
        table_column(t, "", true, false);
        table_column(t, "by its", true, false);
        table_column(t, "believed", false, false);
        table_column(t, "true", false, !truth);
        table_column(t, "error", false, !truth);
    }
    bool any = false;
    for (size_t i = 0, last = SIZE_MAX; i < REPORT_NR_CLOCKS; i++) {
        const struct report_clock *clock = &report_clocks[i];
        char text[FORMAT_LEN];
        uint64_t ns;
        if (!report_belief(&b->believed, clock, &ns))
            continue;
        any = true;
        struct vt_figure should = report_truth(b, clock);
        table_cell(t, clock->claim == last ? "" : report_claim_names[clock->claim]);
        table_cell(t, clock->label);
        table_cell(t, format_ns(text, ns, utf8));
        table_cell(t, truth ? format_figure(text, should, utf8) : "");
        table_cell(t, truth ? format_error(text, ns, should.ns, utf8) : "");
        last = clock->claim;
    }
    if (any)
        table_print(t, 0, "    ", out);
    else
        fputs("    it logged no clock\n", out);
    table_free(t);
}

/* Its word is for some processes; without their tasks the truth is known of all together only. */
static void put_whose_cpu(const struct vt_benchmark *b, FILE *out)
{
    struct vt_figure own;
    if (!b->of_system || b->from_host_process || !(b->believed.have & VTG_HAVE_CPUTIME) ||
        report_own_cpu(b, &own))
        return;
    struct wrap w = wrap_begin(out, "    CPU used", LABEL + 4);
    wrap_text(&w, "believed is of the benchmark's processes, true is of all that its vCPUs did: with the "
                  "agent's --tasks the same processes would be compared");
    wrap_end(&w);
}

static void put_ticks(const struct vt_benchmark *b, FILE *out)
{
    const struct vt_belief *p = &b->believed;
    if (!(p->have & VTG_HAVE_TICKS) || !p->ticks_expected || b->from_host_process)
        return;
    fprintf(out,
            "    %-*s%" PRIu64 " timer ticks taken of %" PRIu64
            " due: the rest were merged into others while it "
            "was held\n",
            LABEL, "ticks", p->ticks, p->ticks_expected);
}

/* used 2.5 s, overhead 1 ms, stolen 7.5 s (PREEMPTED 7.4 s, ...), ... */
static void put_truth(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    const struct vt_account *a = &b->truth;
    const struct {
        const char *name;
        struct vt_figure f;
    } sums[] = { { "used", a->used }, { "overhead", a->overhead }, { "stalled", a->stalled },
                 { "idle", a->idle }, { "paused", a->paused },     { "LOST", a->unknown } };
    char text[FORMAT_LEN];
    struct wrap w = wrap_begin(out, "    true", LABEL + 4);
    for (size_t i = 0; i < 2; i++)
        wrap_item(&w, "%s %s", sums[i].name, format_figure(text, sums[i].f, utf8));
    if (b->has_guest_kernel)
        wrap_item(&w, "of used, the guest's kernel %s", format_ns(text, b->guest_kernel_ns, utf8));
    if (b->knows_begun)
        wrap_item(&w, "programs that began within it %s", format_figure(text, b->begun, utf8));
    if (a->outer.ns)
        wrap_item(&w, "of its time on CPU %s stolen from this host itself",
                  format_figure(text, a->outer, utf8));
    char parts[256] = "";
    size_t n = 0;
    for (int s = 0; s < VT_NR_STATES; s++)
        if (vt_states[s].class == VT_CLASS_STOLEN && a->state[s].ns && n < sizeof(parts))
            n += (size_t)snprintf(parts + n, sizeof(parts) - n, "%s%s %s", n ? " + " : "", vt_states[s].name,
                                  format_figure(text, a->state[s], utf8));
    wrap_item(&w, "stolen %s%s%s%s", format_figure(text, a->stolen, utf8), n ? " (" : "", parts,
              n ? ")" : "");
    for (size_t i = 2; i < sizeof(sums) / sizeof(sums[0]); i++)
        if (sums[i].f.ns || i == 3)
            wrap_item(&w, "%s %s", sums[i].name, format_figure(text, sums[i].f, utf8));
    wrap_item(&w, "residual %s%s", format_signed_ns(text, b->residual_ns, utf8), b->residual_ns ? "" : " ns");
    wrap_end(&w);
}

/* How many of n debtors are named; one more is named rather than called another. */
static size_t named_debtors(size_t n)
{
    enum { NAMED = 8 };
    return n > NAMED + 1 ? NAMED : n;
}

/* Two of one name may be of two kinds. */
static void put_debt(struct wrap *w, const struct vt_blame *row, bool utf8)
{
    char text[FORMAT_LEN], name[REPORT_NAME_LEN];
    const char *kind = report_culprit_kind(row->kind);
    report_name(name, row->culprit);
    format_ns(text, row->ns, utf8);
    if (strcmp(name, kind) == 0)
        wrap_item(w, "%s %s", name, text);
    else
        wrap_item(w, "%s (%s) %s", name, kind, text);
}

static void put_debts(const struct report_debts *d, struct vt_figure stolen, bool utf8, FILE *out)
{
    char text[FORMAT_LEN];
    uint64_t sum = 0, rest = 0;
    if (!d || (!d->n && !stolen.ns))
        return;
    const size_t named = named_debtors(d->n);
    struct wrap w = wrap_begin(out, "    by", LABEL + 4);
    for (size_t i = 0; i < d->n; i++) {
        sum += d->rows[i].ns;
        if (i < named)
            put_debt(&w, &d->rows[i], utf8);
        else
            rest += d->rows[i].ns;
    }
    if (named < d->n)
        wrap_item(&w, "%zu others %s", d->n - named, format_ns(text, rest, utf8));
    if (sum != stolen.ns)
        wrap_item(&w, "without a debtor %s", format_signed_ns(text, (int64_t)(stolen.ns - sum), utf8));
    wrap_end(&w);
}

static void put_undilated(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    char low[FORMAT_LEN], high[FORMAT_LEN], ratio[3][FORMAT_LEN];
    fprintf(out, "    %-*s%s, by others %s, stretch %s\n", LABEL, "dilation",
            format_ratio(ratio[0], b->truth.dilation, utf8),
            format_ratio(ratio[1], b->truth.contention_dilation, utf8),
            format_ratio(ratio[2], report_stretch(b), utf8));
    struct wrap w = wrap_begin(out, "    undilated", LABEL + 4);
    if (b->undilated.known) {
        char text[3 * FORMAT_LEN];
        double middle = ((double)b->undilated.low_ns + (double)b->undilated.high_ns) / 2;
        double half = ((double)b->undilated.high_ns - (double)b->undilated.low_ns) / 2;
        snprintf(text, sizeof(text), "%s %s %s (%s%.2f %%), if", format_ns(low, b->undilated.low_ns, utf8),
                 utf8 ? "…" : "to", format_ns(high, b->undilated.high_ns, utf8), utf8 ? "±" : "+-",
                 middle > 0 ? 100 * half / middle : 0);
        wrap_text(&w, text);
        wrap_text(&w, b->undilated.assumptions ? b->undilated.assumptions : "nothing else changes");
        if (b->undilated.unplayed) {
            char why[256];
            snprintf(why, sizeof(why), "(its tasks do not narrow it: %s)", b->undilated.unplayed);
            wrap_text(&w, why);
        }
    } else {
        wrap_text(&w, "not to be told");
        if (b->undilated.assumptions)
            wrap_text(&w, b->undilated.assumptions);
    }
    wrap_end(&w);
}

static void put_gaps(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    char sum[FORMAT_LEN], threshold[FORMAT_LEN], error[FORMAT_LEN];
    if (!b->gap_count)
        return;
    fprintf(out, "    %-*sit saw %" PRIu64 " gaps over %s, together %s (%s against stolen)\n", LABEL, "gaps",
            b->gap_count, format_ns(threshold, b->gap_threshold_ns, utf8),
            format_ns(sum, b->gap_sum_ns, utf8),
            format_error(error, b->gap_sum_ns, b->truth.stolen.ns, utf8));
}

void report_text_benchmark(const struct report_view *v, size_t guest, size_t bench, FILE *out)
{
    const struct vt_guest *g = &v->snapshot->guests[guest];
    const struct vt_benchmark *b = &g->benchmarks[bench];
    char name[REPORT_NAME_LEN], mark[REPORT_NAME_LEN], text[FORMAT_LEN];
    report_name(name, g->vm.name);
    report_name(mark, b->name);
    if (b->from_host_process) {
        fprintf(out, "\n  %s: %s, an ordinary process of the host: its own clocks are all there is\n", name,
                mark);
        put_beliefs(b, v->utf8, out);
        return;
    }
    char vcpu[32] = "";
    if (!b->of_system)
        snprintf(vcpu, sizeof(vcpu), " on vCPU %u", b->vcpu_index);
    fprintf(out, "\n  %s: %s%s, truly %s, begun %.3f s into the recording\n", name, mark, vcpu,
            format_figure(text, b->elapsed, v->utf8), ((double)b->window.from.v - (double)v->epoch.v) / 1e9);
    report_text_run(b, v->utf8, out);
    put_beliefs(b, v->utf8, out);
    put_whose_cpu(b, out);
    put_truth(b, v->utf8, out);
    put_debts(report_debts_of(v, guest, bench), b->truth.stolen, v->utf8, out);
    put_undilated(b, v->utf8, out);
    put_ticks(b, out);
    put_gaps(b, v->utf8, out);
    report_text_processes(b, v->utf8, out);
}

static void put_benchmarks(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    bool any = false;
    for (size_t g = 0; g < s->nr_guests; g++) {
        size_t n = s->guests[g].nr_benchmarks;
        if (n && !any)
            title(out, "Benchmarks: what the guest believed, mark to mark, beside what was true");
        any |= n > 0;
        for (size_t i = 0; i < n && i < REPORT_MAX_DETAIL; i++)
            report_text_benchmark(v, g, i, out);
        if (n > REPORT_MAX_DETAIL)
            fprintf(out, "\n  and %zu more of this guest: see --json, or choose one with --mark\n",
                    n - REPORT_MAX_DETAIL);
        report_text_repeats(&s->guests[g], v->utf8, out);
    }
}

/* ---- blame and clocks ---- */

static uint64_t stolen_of(const struct vt_snapshot *s, const char *victim)
{
    uint64_t ns = 0;
    for (size_t g = 0; g < s->nr_guests; g++)
        if (strcmp(s->guests[g].vm.name, victim) == 0)
            ns += s->guests[g].account.stolen.ns;
    return ns;
}

/* Of a victim's debts, or of some of them. */
struct debt_sum {
    uint64_t ns, elsewhere_ns;
};

static struct debt_sum sum_debts(const struct vt_blame *b, size_t n)
{
    struct debt_sum sum = { 0 };
    for (size_t i = 0; i < n; i++) {
        sum.ns += b[i].ns;
        sum.elsewhere_ns += b[i].elsewhere_ns;
    }
    return sum;
}

static const char *share_text(char text[FORMAT_LEN], uint64_t part, uint64_t whole)
{
    snprintf(text, FORMAT_LEN, "%.2f %%", whole ? 100 * (double)part / (double)whole : 0);
    return text;
}

static void blame_row(const struct report_view *v, struct table *t, const char *victim, const char *culprit,
                      const char *kind, struct debt_sum sum, uint64_t stolen)
{
    struct vt_figure elsewhere;
    char text[FORMAT_LEN];
    cell_name(t, victim);
    cell_name(t, culprit);
    table_cell(t, kind);
    table_cell(t, format_ns(text, sum.ns, v->utf8));
    table_cell(t, share_text(text, sum.ns, stolen));
    table_cell(t, report_elsewhere(&v->snapshot->host, sum.elsewhere_ns, &elsewhere)
                      ? format_figure(text, elsewhere, v->utf8)
                      : "-");
}

/* How many of the first n debts have the first one's victim. */
static size_t debts_of_one(const struct vt_blame *b, size_t n)
{
    size_t same = 1;
    while (same < n && strcmp(b[same].victim, b->victim) == 0)
        same++;
    return same;
}

/* The greatest debtors of one victim by name, the small ones in one row. Returns how many there are. */
static size_t blame_rows(const struct report_view *v, struct table *t, const struct vt_blame *b, size_t left)
{
    const size_t n = debts_of_one(b, left), named = named_debtors(n);
    const uint64_t stolen = stolen_of(v->snapshot, b->victim);
    char text[FORMAT_LEN];
    for (size_t i = 0; i < named; i++)
        blame_row(v, t, i ? "" : b->victim, b[i].culprit, report_culprit_kind(b[i].kind), sum_debts(&b[i], 1),
                  stolen);
    snprintf(text, sizeof(text), "%zu others", n - named);
    if (named < n)
        blame_row(v, t, "", text, "", sum_debts(&b[named], n - named), stolen);
    return n;
}

/* What the last column says, and how much of it each victim has; the column is left out if none has any. */
static void put_elsewhere(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    const uint32_t cpus = s->host.elsewhere_cpus;
    char text[FORMAT_LEN], share[FORMAT_LEN], name[REPORT_NAME_LEN];
    struct vt_figure f;
    struct wrap w = wrap_begin(out, "  idle elsewhere", LABEL + 6);
    if (!cpus)
        wrap_text(&w, "not recorded: whether another CPU was idle when a wait began");
    else
        wrap_text(&w, "waits that began while another CPU that the vCPU may use was idle");
    if (cpus && s->host.nr_cpus > cpus + 1)
        wrap_item(&w, "of %u CPUs looked at, so at least", cpus);
    for (size_t i = 0, n; i < s->nr_blame; i += n) {
        n = debts_of_one(&s->blame[i], s->nr_blame - i);
        const struct debt_sum sum = sum_debts(&s->blame[i], n);
        if (sum.elsewhere_ns && report_elsewhere(&s->host, sum.elsewhere_ns, &f))
            wrap_item(&w, "%s %s (%s)", report_name(name, s->blame[i].victim),
                      format_figure(text, f, v->utf8), share_text(share, sum.elsewhere_ns, sum.ns));
    }
    wrap_end(&w);
}

static void put_blame(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    if (!s->nr_blame)
        return;
    struct table *t = table_new(v->utf8);
    if (t) {
        table_column(t, "victim", true, false);
        table_column(t, "culprit", true, false);
        table_column(t, "kind", true, false);
        table_column(t, "time", false, false);
        table_column(t, "of its stolen time", false, false);
        table_column(t, "idle elsewhere", false, true);
    }
    for (size_t i = 0; i < s->nr_blame;)
        i += blame_rows(v, t, &s->blame[i], s->nr_blame - i);
    title(out, "Blame: who had the CPU for which a guest waited, in the whole window");
    table_print(t, 2, "  ", out);
    table_free(t);
    put_elsewhere(v, out);
}

static void put_clocks(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    static const char *const heads[] = {
        "vCPU", "method", "bound", "guest TSC", "violations", "why no better"
    };
    if (t)
        table_column(t, "guest", true, false);
    for (size_t i = 0; t && i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], i == 1 || i == 5, i == 5);
    bool any = false;
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_clocks; i++) {
            const struct vt_clock_report *c = &s->guests[g].clocks[i];
            char text[FORMAT_LEN];
            any = true;
            cell_name(t, s->guests[g].vm.name);
            cell_number(t, c->vcpu_index);
            table_cell(t, c->method ? c->method : "none");
            snprintf(text, sizeof(text), "%s", v->utf8 ? "±" : "+-");
            format_ns(text + strlen(text), c->bound_ns, v->utf8);
            table_cell(t, c->bound_ns ? text : "-");
            snprintf(text, sizeof(text), "%.3f MHz", c->guest_tsc_khz / 1000);
            table_cell(t, text);
            cell_number(t, c->violations);
            table_cell(t, c->reason ? c->reason : "");
        }
    if (any) {
        title(out, "Clock map: how guest time became host time; a violation is a record that comes before "
                   "its cause");
        table_print(t, 2, "  ", out);
    }
    table_free(t);
}

static void put_head(const struct report_view *v, FILE *out)
{
    char path[REPORT_NAME_LEN];
    if (v->path)
        fprintf(out, "%-*s%s\n", LABEL, "recording", report_name(path, v->path));
    put_host(v, out);
    put_window(v, out);
    put_only(v, out);
    put_observed(v, out);
}

void report_text_clocks(const struct report_view *v, FILE *out)
{
    put_head(v, out);
    put_clocks(v, out);
    report_text_agent_clocks(v, out);
}

void report_text(const struct report_view *v, FILE *out)
{
    put_head(v, out);
    put_lost(v, out);
    put_observer(v, out);
    put_guests(v, out);
    put_benchmarks(v, out);
    report_text_events(v, out);
    report_text_marks(v, out);
    put_blame(v, out);
    report_text_joint(v, out);
    put_vcpus(v, out);
    report_text_hops(v, out);
    put_helpers(v, out);
    put_exits(v, out);
    report_text_kvm_stats(v, out);
    report_text_addresses(v, out);
    put_check(v, out);
    report_text_counters(v, out);
    put_clocks(v, out);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Benchmarks in a guest's operating system: runs, processes, repeats. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "format.h"
#include "view.h"

enum { LABEL = 14, MOST_PROCESSES = 12, MAX_REPEATS = 1024 };

static const char *ended(char out[FORMAT_LEN], int32_t status)
{
    if (WIFEXITED(status))
        snprintf(out, FORMAT_LEN, "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(out, FORMAT_LEN, "ended by signal %d", WTERMSIG(status));
    else
        snprintf(out, FORMAT_LEN, "status %#x", (unsigned int)status);
    return out;
}

void report_text_run(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    const struct vt_run_belief *r = &b->run;
    char elapsed[FORMAT_LEN], user[FORMAT_LEN], sys[FORMAT_LEN], how[FORMAT_LEN], which[FORMAT_LEN] = "";
    if (!r->known)
        return;
    if (r->of > 1)
        snprintf(which, sizeof(which), "run %" PRIu32 " of %" PRIu32 ": ", r->repeat, r->of);
    const double busy =
        r->elapsed_ns ? 100 * ((double)r->user_ns + (double)r->sys_ns) / (double)r->elapsed_ns : 0;
    fprintf(out, "    %-*s%s%s elapsed, %s user, %s system, %.1f %% CPU, %s\n", LABEL, "it was told", which,
            format_ns(elapsed, r->elapsed_ns, utf8), format_ns(user, r->user_ns, utf8),
            format_ns(sys, r->sys_ns, utf8), busy, ended(how, r->status));
}

/* ---- processes ---- */

static const char *source_name(enum vtg_task_source source)
{
    switch (source) {
    case VTG_TASKS_BPF:
        return "task switches, by BPF";
    case VTG_TASKS_PERF:
        return "task switches, by perf_event";
    case VTG_TASKS_SAMPLED:
        return "samples";
    case VTG_TASKS_NONE:
        break;
    }
    return "pro-rated";
}

static struct vt_figure demand_of(const struct vt_guest_process *p)
{
    return report_demand(&p->truth);
}

static void process_row(struct table *t, const struct vt_guest_process *p, bool utf8)
{
    const struct vt_account *a = &p->truth;
    char name[REPORT_NAME_LEN], text[FORMAT_LEN];
    snprintf(text, sizeof(text), "%" PRIu32, p->tgid);
    table_cell(t, report_name(name, p->name));
    table_cell(t, text);
    table_cell(t, p->has_charged ? format_ns(text, p->user_ns + p->sys_ns, utf8) : "");
    table_cell(t, p->on_vcpu_ns ? format_ns(text, p->on_vcpu_ns, utf8) : "");
    table_cell(t, format_figure(text, report_figure_sum(a->used, a->overhead), utf8));
    table_cell(t, format_figure(text, a->stolen, utf8));
    table_cell(t, format_figure(text, a->stalled, utf8));
    table_cell(t, format_figure(text, a->paused, utf8));
    table_cell(t, format_ns(text, p->waited_ns, utf8));
    table_cell(t, demand_of(p).ns ? format_ratio(text, a->dilation, utf8) : "");
    table_cell(t, source_name(p->source));
}

/* What the table above does not have, or shares out. */
static void put_missing(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    char text[FORMAT_LEN];
    const bool told = b->nr_processes && b->processes[0].source != VTG_TASKS_NONE;
    if (told && b->untold_ns > b->elapsed.ns / 100)
        fprintf(out, "    of %s of its vCPUs' time no task was told: that much may be missing above\n",
                format_ns(text, b->untold_ns, utf8));
    if (b->strangers_ns)
        fprintf(out, "    for %s of that tasks ran of which nobody told who they are\n",
                format_ns(text, b->strangers_ns, utf8));
    if (b->unplaced_ns)
        fprintf(out, "    for %s tasks ran on CPUs of which the host saw no vCPU\n",
                format_ns(text, b->unplaced_ns, utf8));
    if (told && b->takes_turns)
        fputs("    its CPUs take turns on one thread of the host: where several had a task, each is given "
              "half, and may\n    have had all or nothing\n",
              out);
}

void report_text_processes(const struct vt_benchmark *b, bool utf8, FILE *out)
{
    static const char *const heads[] = { "process", "pid",    "charged", "on vCPU",  "truly used", "stolen",
                                         "stalled", "paused", "waited",  "dilation", "by" };
    if (!b->nr_processes) {
        put_missing(b, utf8, out);
        return;
    }
    struct table *t = table_new(utf8);
    if (!t)
        return;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], i == 0 || i == 10, i > 1 && i != 4 && i != 5 && i != 10);
    for (size_t i = 0; i < b->nr_processes && i < MOST_PROCESSES; i++)
        process_row(t, &b->processes[i], utf8);
    table_print(t, 2, "    ", out);
    table_free(t);
    if (b->nr_processes > MOST_PROCESSES)
        fprintf(out, "    and %zu more: see --json\n", b->nr_processes - MOST_PROCESSES);
    put_missing(b, utf8, out);
}

/* ---- repeats ---- */

/* Of several figures: the middle one, and half of what is between the least and the most, in per cent of it.
 */
struct spread {
    double median, percent;
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct spread spread_of(double *v, size_t n)
{
    qsort(v, n, sizeof(*v), by_value);
    struct spread s = { .median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2 };
    s.percent = s.median > 0 ? 50 * (v[n - 1] - v[0]) / s.median : 0;
    return s;
}

static bool is_repeat_of(const struct vt_benchmark *b, const struct vt_benchmark *first)
{
    return b->run.known && b->run.of > 1 && b->undilated.known && strcmp(b->name, first->name) == 0;
}

static void put_spread(struct wrap *w, const char *what, double *v, size_t n, bool utf8)
{
    char text[FORMAT_LEN];
    const struct spread s = spread_of(v, n);
    wrap_item(w, "%s %s %s%.2f %%", what, format_ns(text, (uint64_t)s.median, utf8), utf8 ? "±" : "+-",
              s.percent);
}

/* Of every repeat it is told what the processes used that the guest's word is of. */
static bool all_have_own(const struct vt_guest *g, size_t first)
{
    struct vt_figure f;
    for (size_t i = first; i < g->nr_benchmarks; i++)
        if (is_repeat_of(&g->benchmarks[i], &g->benchmarks[first]) && !report_own_cpu(&g->benchmarks[i], &f))
            return false;
    return true;
}

/* Else what all did is taken, and so it is said. */
static double used_by(const struct vt_benchmark *b, bool own)
{
    struct vt_figure f = report_figure_sum(b->truth.used, b->truth.overhead);
    if (own)
        report_own_cpu(b, &f);
    return (double)f.ns;
}

static void put_group(const struct vt_guest *g, size_t first, bool utf8, FILE *out)
{
    static double elapsed[MAX_REPEATS], charged[MAX_REPEATS], used[MAX_REPEATS], low[MAX_REPEATS],
        high[MAX_REPEATS];
    char guest[REPORT_NAME_LEN], name[REPORT_NAME_LEN];
    size_t n = 0;
    const bool own = all_have_own(g, first);
    for (size_t i = first; i < g->nr_benchmarks && n < MAX_REPEATS; i++) {
        const struct vt_benchmark *b = &g->benchmarks[i];
        if (!is_repeat_of(b, &g->benchmarks[first]))
            continue;
        elapsed[n] = (double)b->run.elapsed_ns;
        charged[n] = (double)b->run.user_ns + (double)b->run.sys_ns;
        used[n] = used_by(b, own);
        low[n] = (double)b->undilated.low_ns;
        high[n++] = (double)b->undilated.high_ns;
    }
    if (n < 2)
        return;
    fprintf(out, "\n  %s: %s, %zu runs: median and half of the spread\n", report_name(guest, g->vm.name),
            report_name(name, g->benchmarks[first].name), n);
    struct wrap w = wrap_begin(out, "    believed", LABEL + 4);
    put_spread(&w, "elapsed", elapsed, n, utf8);
    put_spread(&w, "CPU", charged, n, utf8);
    wrap_end(&w);
    w = wrap_begin(out, "    corrected", LABEL + 4);
    put_spread(&w, "undilated elapsed from", low, n, utf8);
    put_spread(&w, "to", high, n, utf8);
    put_spread(&w, own ? "CPU" : "CPU of all that its vCPUs did", used, n, utf8);
    wrap_end(&w);
}

void report_text_repeats(const struct vt_guest *g, bool utf8, FILE *out)
{
    for (size_t i = 0; i < g->nr_benchmarks; i++) {
        bool first = is_repeat_of(&g->benchmarks[i], &g->benchmarks[i]);
        for (size_t k = 0; k < i && first; k++)
            first = !is_repeat_of(&g->benchmarks[k], &g->benchmarks[i]);
        if (first)
            put_group(g, i, utf8, out);
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* perf_event's counters in the text report: what a vCPU got done, beside its time. */
#include <inttypes.h>
#include <string.h>

#include "base/counter.h"
#include "correlator/correlate.h"
#include "format.h"
#include "view.h"

static void cell_count(struct table *t, const struct vt_counter_set *set, enum vt_counter event,
                       enum vt_counter_side side, bool utf8)
{
    const struct vt_counter_figure *f = vt_counter_find(set, event, side);
    char text[FORMAT_LEN] = "-";
    if (f && !f->known)
        snprintf(text, sizeof(text), "never");
    else if (f && event == VT_COUNTER_TASK_CLOCK)
        format_ns(text, f->count, utf8);
    else if (f)
        snprintf(text, sizeof(text), "%s%" PRIu64, f->accuracy == VT_ESTIMATED ? "~" : "", f->count);
    table_cell(t, text);
}

static void cell_per_cycle(struct table *t, const struct vt_counter_set *set, enum vt_counter_side side)
{
    const struct vt_counter_figure *cycles = vt_counter_find(set, VT_COUNTER_CYCLES, side);
    const struct vt_counter_figure *instructions = vt_counter_find(set, VT_COUNTER_INSTRUCTIONS, side);
    char text[FORMAT_LEN] = "-";
    if (cycles && instructions && cycles->known && instructions->known && cycles->count)
        snprintf(text, sizeof(text), "%.2f", (double)instructions->count / (double)cycles->count);
    table_cell(t, text);
}

/* The least of them: of 100 % nothing was scaled. */
static void cell_on_pmu(struct table *t, const struct vt_counter_set *set, enum vt_counter_side side)
{
    double least = 2;
    char text[FORMAT_LEN] = "-";
    for (size_t i = 0; i < set->nr; i++)
        if (set->of[i].side == side && set->of[i].accuracy == VT_ESTIMATED && set->of[i].known) {
            const double share = (double)set->of[i].running_ns / (double)set->of[i].enabled_ns;
            least = share < least ? share : least;
        }
    if (least <= 1)
        snprintf(text, sizeof(text), "%.1f %%", 100 * least);
    table_cell(t, text);
}

static bool has_side(const struct vt_counter_set *set, enum vt_counter_side side)
{
    for (size_t i = 0; i < set->nr; i++)
        if (set->of[i].side == side)
            return true;
    return false;
}

static size_t rows_of(struct table *t, const struct vt_guest *g, const struct vt_vcpu_figures *c, bool utf8)
{
    const struct vt_counter_set *set = &c->counters;
    char text[REPORT_NAME_LEN];
    size_t rows = 0;
    for (unsigned int i = 0; i < VT_NR_SIDES; i++) {
        const enum vt_counter_side side = (enum vt_counter_side)i;
        if (!has_side(set, side))
            continue;
        table_cell(t, report_name(text, g->vm.name));
        snprintf(text, sizeof(text), "%" PRIu32, c->vcpu.index);
        table_cell(t, text);
        table_cell(t, vt_counter_side_name(side));
        for (unsigned int event = 0; event < VT_NR_COUNTERS; event++) {
            cell_count(t, set, (enum vt_counter)event, side, utf8);
            if (event == VT_COUNTER_INSTRUCTIONS)
                cell_per_cycle(t, set, side);
        }
        cell_on_pmu(t, set, side);
        table_cell(t, rows ? "-" : format_ns(text, set->on_cpu_ns, utf8));
        table_cell(t, rows || !set->has_capacity ? "-" : format_figure(text, set->capacity, utf8));
        rows++;
    }
    return rows;
}

void report_text_counters(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    size_t rows = 0;
    if (t) {
        table_column(t, "guest", true, false);
        table_column(t, "vCPU", false, false);
        table_column(t, "side", true, false);
    }
    for (unsigned int event = 0; t && event < VT_NR_COUNTERS; event++) {
        table_column(t, vt_counters[event].name, false, true);
        if (event == VT_COUNTER_INSTRUCTIONS)
            table_column(t, "per cycle", false, true);
    }
    for (size_t i = 0; t && i < 3; i++)
        table_column(t, (const char *const[]){ "on PMU", "on CPU", "at nominal" }[i], false, true);
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++)
            rows += rows_of(t, &s->guests[g], &s->guests[g].vcpus[i], v->utf8);
    if (rows) {
        fputs("\nCounters: perf_event on the vCPUs' threads, between the readings taken in the window\n",
              out);
        table_print(t, 3, "  ", out);
        fputs(
            "  on CPU = the ledger's time between the same readings; at nominal = the cycles as time at the "
            "TSC's\n  rate; ~ = events took turns on the PMU and are scaled: on PMU = the least share, never "
            "= not at all\n",
            out);
    }
    table_free(t);
}

static bool is_first_of_its_reason(const struct vt_snapshot *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!s->counter_events[k].vcpu && s->counter_events[k].error &&
            strcmp(s->counter_events[k].reason, s->counter_events[i].reason) == 0)
            return false;
    return true;
}

/* "not counted: cycles, guest's instructions (ENOENT: ...)" */
static void put_absent(const struct vt_snapshot *s, size_t first, struct wrap *w)
{
    char list[256] = "", reason[REPORT_NAME_LEN];
    for (size_t i = first; i < s->nr_counter_events; i++) {
        const struct vt_counter_event *e = &s->counter_events[i];
        const size_t n = strlen(list);
        if (e->vcpu || !e->error || strcmp(e->reason, s->counter_events[first].reason) != 0)
            continue;
        snprintf(list + n, sizeof(list) - n, "%s%s%s%s", n ? ", " : "",
                 e->side == VT_SIDE_BOTH ? "" : vt_counter_side_name(e->side),
                 e->side == VT_SIDE_BOTH ? "" : " ", vt_counters[e->event].name);
    }
    wrap_item(w, "not counted: %s (%s)", list, report_name(reason, s->counter_events[first].reason));
}

void report_text_absent_counters(const struct report_view *v, struct wrap *w)
{
    const struct vt_snapshot *s = v->snapshot;
    size_t failed = 0;
    int64_t last = 0;
    for (size_t i = 0; i < s->nr_counter_events; i++) {
        const struct vt_counter_event *e = &s->counter_events[i];
        if (!e->vcpu && e->error && is_first_of_its_reason(s, i))
            put_absent(s, i, w);
        failed += e->vcpu && e->vcpu != last; /* a vCPU's stand together */
        last = e->vcpu ? e->vcpu : last;
    }
    if (failed)
        wrap_item(w, "%zu vCPU%s not counted, or not all of it (counter_events in --json)", failed,
                  failed == 1 ? "" : "s");
}

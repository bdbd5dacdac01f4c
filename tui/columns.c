/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/columns.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/state.h"
#include "tui/mix.h"
#include "tui/text.h"

#define STARVED_MIN_NS UINT64_C(10000000)

enum { NAME_CELLS_MIN = 10, NAME_CELLS_MAX = 32, MIX_CELLS_MIN = 10, MIX_CELLS_MAX = 40, DILATION_CELLS = 9 };

/*
 * Where planners draw their lines for a vCPU's ready time (VMware's %RDY: 2.5,
 * 5 and 10 % of the time it wants): kept from running for the share r of its
 * demand, a guest is dilated to 1 / (1 - r).
 */
const struct vtop_level_info vtop_levels[] = {
    { VTOP_LEVEL_FINE, 0.0, "", "undisturbed: less than 2.5 % of its demand is kept from it" },
    { VTOP_LEVEL_WATCH, 1.0 / 0.975, "!", "watch: 2.5 to 5 %" },
    { VTOP_LEVEL_SIGNIFICANT, 1.0 / 0.95, "!!", "significant: 5 to 10 %" },
    { VTOP_LEVEL_BAD, 1.0 / 0.90, "!!!", "bad: more than 10 %" },
};
const size_t vtop_nr_levels = sizeof(vtop_levels) / sizeof(vtop_levels[0]);

const struct vtop_level_info *vtop_level_of(const struct vt_ratio *ratio)
{
    const struct vtop_level_info *found = &vtop_levels[0];
    for (size_t i = 1; i < vtop_nr_levels; i++)
        if (ratio->known && ratio->value >= vtop_levels[i].from)
            found = &vtop_levels[i];
    return found;
}

/* ---- what the cells say ---- */

static const struct vt_figure *figure_of(const struct vtop_column *column, const struct vtop_row *row)
{
    return (const struct vt_figure *)(const void *)((const char *)&row->account + column->figure);
}

static void fill_name(const struct vtop_column *column, const struct vtop_row *row,
                      const struct vtop_style *style, struct vtop_cell *ret)
{
    char text[64];
    (void)column;
    if (row->is_vcpu)
        snprintf(text, sizeof(text), "%s vCPU %u", style->utf8 ? " └" : " `", row->index);
    vtop_fit(ret->text, sizeof(ret->text), row->is_vcpu ? text : row->name, style->name_cells, style->utf8);
}

static void fill_vcpus(const struct vtop_column *column, const struct vtop_row *row,
                       const struct vtop_style *style, struct vtop_cell *ret)
{
    (void)style;
    if (row->is_vcpu)
        snprintf(ret->text, sizeof(ret->text), "%*s", (int)column->cells, "");
    else
        snprintf(ret->text, sizeof(ret->text), "%*u", (int)column->cells, row->vcpus);
}

static void fill_percent(const struct vtop_column *column, const struct vtop_row *row,
                         const struct vtop_style *style, struct vtop_cell *ret)
{
    const struct vt_figure *f = figure_of(column, row);
    snprintf(ret->text, sizeof(ret->text), "%*.1f%s", (int)column->cells - 1,
             vtop_percent(f->ns, row->whole_ns), vtop_figure_mark(f, row->whole_ns, style->utf8));
    ret->quiet = f->ns == 0;
}

/* Only a guest of several vCPUs can have it. */
static void fill_hazard(const struct vtop_column *column, const struct vtop_row *row,
                        const struct vtop_style *style, struct vtop_cell *ret)
{
    const struct vt_figure *f = &row->hazard;
    const int cells = (int)column->cells;
    ret->quiet = f->ns == 0;
    if (!row->has_hazard)
        snprintf(ret->text, sizeof(ret->text), "%*s", cells, "");
    else
        snprintf(ret->text, sizeof(ret->text), "%*.1f%s", cells - 1, vtop_percent(f->ns, row->window_ns),
                 vtop_figure_mark(f, row->window_ns, style->utf8));
}

static const struct vt_ratio *ratio_of(const struct vtop_column *column, const struct vtop_row *row)
{
    return (const struct vt_ratio *)(const void *)((const char *)&row->account + column->figure);
}

/*
 * It wished to run and did not run at all: the ratio has no bottom, and the
 * guest is held back more than any other.  The limits are those of a ratio.
 */
static bool is_starved(const struct vtop_row *row)
{
    const struct vt_account *a = &row->account;
    const uint64_t kept = a->stolen.ns + a->stalled.ns;
    return a->used.ns + a->overhead.ns == 0 && kept >= STARVED_MIN_NS && kept >= row->whole_ns / 100;
}

static void fill_ratio(const struct vtop_column *column, const struct vtop_row *row,
                       const struct vtop_style *style, struct vtop_cell *ret)
{
    const struct vt_ratio *r = ratio_of(column, row);
    const bool marked = column->cells >= DILATION_CELLS; /* has room for the level */
    const bool starved = is_starved(row);
    const struct vtop_level_info *level = starved ? &vtop_levels[vtop_nr_levels - 1] : vtop_level_of(r);
    char number[32];
    if (starved)
        snprintf(number, sizeof(number), "%s", style->utf8 ? "    ∞" : "  inf");
    else if (r->known)
        snprintf(number, sizeof(number), r->value < 100.0 ? "%5.2f" : "%5.0f", r->value);
    else
        snprintf(number, sizeof(number), "%s", style->utf8 ? "    –" : "    -");
    snprintf(ret->text, sizeof(ret->text), "%s%s%-*s", number, vtop_ratio_mark(r, style->utf8),
             marked ? 3 : 0, marked ? level->mark : "");
    ret->level = marked && (r->known || starved) ? level->level : VTOP_LEVEL_NONE;
    ret->quiet = !r->known && !starved;
}

static void fill_residual(const struct vtop_column *column, const struct vtop_row *row,
                          const struct vtop_style *style, struct vtop_cell *ret)
{
    (void)column;
    const bool bad = row->residual_ns != 0 || row->ledger_residual_ns != 0;
    snprintf(ret->text, sizeof(ret->text), "%s", !bad ? " " : style->utf8 ? "≠" : "E");
    ret->level = bad ? VTOP_LEVEL_BAD : VTOP_LEVEL_NONE;
}

static void fill_mix(const struct vtop_column *column, const struct vtop_row *row,
                     const struct vtop_style *style, struct vtop_cell *ret)
{
    (void)column;
    vtop_mix_text(ret->text, sizeof(ret->text), &row->account, row->whole_ns, style->mix_cells, style->utf8);
}

/* ---- what they sort by ---- */

static double value_percent(const struct vtop_column *column, const struct vtop_row *row)
{
    return vtop_percent(figure_of(column, row)->ns, row->whole_ns);
}

static double value_hazard(const struct vtop_column *column, const struct vtop_row *row)
{
    (void)column;
    return !row->has_hazard ? NAN : vtop_percent(row->hazard.ns, row->window_ns);
}

static double value_ratio(const struct vtop_column *column, const struct vtop_row *row)
{
    const struct vt_ratio *r = ratio_of(column, row);
    if (is_starved(row))
        return INFINITY;
    return r->known ? r->value : NAN;
}

static double value_vcpus(const struct vtop_column *column, const struct vtop_row *row)
{
    (void)column;
    return row->vcpus;
}

static double value_residual(const struct vtop_column *column, const struct vtop_row *row)
{
    (void)column;
    return fabs((double)row->residual_ns) + (double)row->ledger_residual_ns;
}

#define FIGURE(member) offsetof(struct vt_account, member)
#define PERCENT(id, title, letter, rank, member, help)                                                       \
    {                                                                                                        \
        id, title, letter, 6, rank, false, false, FIGURE(member), fill_percent, value_percent, help          \
    }

const struct vtop_column vtop_columns[] = {
    { "name", "NAME", 'N', 0, 0, true, true, 0, fill_name, NULL, "the guest; its vCPUs below it (t)" },
    { "vcpus", "VCPU", 'V', 4, 0, false, false, 0, fill_vcpus, value_vcpus,
      "vCPUs it had: 100 % is all of them, all the window" },
    { "residual", " ", 'R', 1, 0, false, false, 0, fill_residual, value_residual,
      "marks rows where time is missing or counted twice" },
    { "contention", "C-DIL", 'C', DILATION_CELLS, 0, false, false, FIGURE(contention_dilation), fill_ratio,
      value_ratio, "contention dilation: DILAT without wake latency" },
    { "dilation", "DILAT", 'D', 6, 9, false, false, FIGURE(dilation), fill_ratio, value_ratio,
      "dilation: demand / (used + overhead); undisturbed: 1.00" },
    PERCENT("used", "%USED", 'U', 1, used, "ran the guest (~: KVM's own work merged in)"),
    PERCENT("overhead", "%OVHD", 'O', 7, overhead, "ran KVM or the monitor for it"),
    PERCENT("stolen", "%STOL", 'S', 10, stolen, "wished to run and did not: the next four together"),
    PERCENT("preempted", "%PREE", 'P', 2, state[VT_PREEMPTED], "runnable, had lost the CPU to another"),
    PERCENT("waking", "%WAKE", 'W', 4, state[VT_WAKING], "woken, not yet on a CPU"),
    PERCENT("throttled", "%THRO", 'T', 6, state[VT_THROTTLED], "runnable, held by a CPU quota"),
    PERCENT("irq", "%IRQ", 'Q', 11, state[VT_IRQ],
            "on CPU, but the host served interrupts there, or one was due"),
    PERCENT("stalled", "%STAL", 'B', 5, stalled, "blocked in the host: page-in, lock, I/O"),
    PERCENT("idle", "%IDLE", 'I', 3, idle, "the guest had nothing to run"),
    PERCENT("paused", "%PAUS", 'Z', 12, paused, "stopped, frozen, or saved"),
    PERCENT("lost", "%LOST", 'L', 8, unknown, "not known: records were lost"),
    { "hazard", "%HAZD", 'H', 6, 13, false, false, 0, fill_hazard, value_hazard,
      "some of its vCPUs ran while others waited, and one that waits may hold a lock" },
    { "states", "STATES", 0, 0, 0, true, false, 0, fill_mix, NULL, "the same as a bar: see the legend" },
};
const size_t vtop_nr_columns = sizeof(vtop_columns) / sizeof(vtop_columns[0]);

const struct vtop_column *vtop_column_by_letter(char letter)
{
    for (size_t i = 0; letter && i < vtop_nr_columns; i++)
        if (vtop_columns[i].letter == letter)
            return &vtop_columns[i];
    return NULL;
}

const struct vtop_column *vtop_column_by_id(const char *id)
{
    for (size_t i = 0; i < vtop_nr_columns; i++)
        if (vtop_columns[i].letter && strcmp(vtop_columns[i].id, id) == 0)
            return &vtop_columns[i];
    return NULL;
}

static int by_name(const struct vtop_row *a, const struct vtop_row *b)
{
    int order = strverscmp(a->name, b->name);
    if (order == 0)
        order = (a->key.start_time > b->key.start_time) - (a->key.start_time < b->key.start_time);
    if (order == 0)
        order = (a->key.tgid > b->key.tgid) - (a->key.tgid < b->key.tgid);
    return order;
}

int vtop_compare_rows(const void *context, const struct vtop_row *a, const struct vtop_row *b)
{
    const struct vtop_sort *sort = context;
    const struct vtop_column *column = sort->column;
    const bool ascending = column->ascending != sort->reverse;
    if (!column->value)
        return ascending ? by_name(a, b) : by_name(b, a);
    const double x = column->value(column, a), y = column->value(column, b);
    if (isnan(x) || isnan(y) || x == y)
        return isnan(x) != isnan(y) ? isnan(x) - isnan(y) : by_name(a, b);
    return (x < y) == ascending ? -1 : 1;
}

/* ---- lines ---- */

size_t vtop_column_cells(const struct vtop_column *column, const struct vtop_style *style)
{
    if (column->fill == fill_name)
        return style->name_cells;
    return column->fill == fill_mix ? style->mix_cells : column->cells;
}

/* A percent's last cell is its mark, a blank for most: no further blank after it. */
size_t vtop_column_gap(const struct vtop_column *column)
{
    return column->fill == fill_percent || column->fill == fill_hazard ? 0 : 1;
}

static size_t line_cells(const bool *shown, const struct vtop_style *style)
{
    size_t cells = 0;
    for (size_t i = 0; i < vtop_nr_columns; i++)
        if (shown[i])
            cells += vtop_column_cells(&vtop_columns[i], style) + vtop_column_gap(&vtop_columns[i]);
    return cells - 1; /* the last has no gap */
}

static bool drop_one(bool *shown)
{
    size_t worst = vtop_nr_columns;
    for (size_t i = 0; i < vtop_nr_columns; i++)
        if (shown[i] && vtop_columns[i].rank > 0 &&
            (worst == vtop_nr_columns || vtop_columns[i].rank > vtop_columns[worst].rank))
            worst = i;
    if (worst == vtop_nr_columns)
        return false;
    shown[worst] = false;
    return true;
}

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

void vtop_columns_fit(size_t width, size_t name_need, bool *shown, struct vtop_style *style)
{
    for (size_t i = 0; i < vtop_nr_columns; i++)
        shown[i] = true;
    style->name_cells = NAME_CELLS_MIN;
    style->mix_cells = MIX_CELLS_MIN;
    while (line_cells(shown, style) > width && drop_one(shown))
        ;
    const size_t used = line_cells(shown, style);
    size_t rest = width > used ? width - used : 0;
    /* names first as far as a name needs, but half of what there is stays for the bar */
    const size_t want = at_most(name_need, NAME_CELLS_MAX);
    const size_t more = want > NAME_CELLS_MIN ? at_most(want - NAME_CELLS_MIN, (rest + 1) / 2) : 0;
    style->name_cells += more;
    rest -= more;
    style->mix_cells += at_most(rest, MIX_CELLS_MAX - MIX_CELLS_MIN);
}

static size_t append(char *out, size_t size, size_t at, const char *text)
{
    const size_t n = strlen(text);
    if (at + n >= size)
        return at;
    memcpy(out + at, text, n + 1);
    return at + n;
}

/* Lines carry no trailing blanks. */
static char *trim(char *out, size_t at)
{
    while (at > 0 && out[at - 1] == ' ')
        at--;
    out[at] = '\0';
    return out;
}

char *vtop_title_line(char *out, size_t size, const bool *shown, const struct vtop_style *style)
{
    char cell[256];
    size_t at = 0;
    for (size_t i = 0; i < vtop_nr_columns; i++) {
        const struct vtop_column *c = &vtop_columns[i];
        const int cells = (int)vtop_column_cells(c, style);
        if (shown && !shown[i])
            continue;
        /* numbers leave their last cells to marks: titles stand over the digits */
        const int marks = c->fill == fill_ratio ? cells - 5 : vtop_column_gap(c) ? 0 : 1;
        if (c->left || (int)strlen(c->title) > cells - marks)
            snprintf(cell, sizeof(cell), "%-*s%s", cells, c->title, vtop_column_gap(c) ? " " : "");
        else
            snprintf(cell, sizeof(cell), "%*s%*s%s", cells - marks, c->title, marks, "",
                     vtop_column_gap(c) ? " " : "");
        at = append(out, size, at, cell);
    }
    return trim(out, at);
}

char *vtop_row_line(char *out, size_t size, const struct vtop_row *row, const bool *shown,
                    const struct vtop_style *style)
{
    size_t at = 0;
    for (size_t i = 0; i < vtop_nr_columns; i++) {
        struct vtop_cell cell = { .text = "" };
        if (shown && !shown[i])
            continue;
        vtop_columns[i].fill(&vtop_columns[i], row, style, &cell);
        at = append(out, size, at, cell.text);
        at = append(out, size, at, vtop_column_gap(&vtop_columns[i]) ? " " : "");
    }
    return trim(out, at);
}

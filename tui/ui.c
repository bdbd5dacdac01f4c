/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/ui.h"

#include <errno.h>
#include <stdlib.h>

static bool is_open(const void *context, struct vtop_key key)
{
    const struct vtop_ui *ui = context;
    for (size_t i = 0; i < ui->nr_except; i++)
        if (vtop_key_equal(ui->except[i], key))
            return !ui->all_open;
    return ui->all_open;
}

static bool is_selected(const struct vtop_ui *ui, const struct vtop_row *row)
{
    return vtop_key_equal(ui->selected_key, row->key) && ui->selected_is_vcpu == row->is_vcpu &&
           (!row->is_vcpu || row->index == ui->selected_index);
}

static bool still_there(const struct vtop_model *model, struct vtop_key key)
{
    for (size_t i = 0; i < model->nr_rows; i++)
        if (vtop_key_equal(model->rows[i].key, key))
            return true;
    return false;
}

/* Guests that are gone do not come back: a process has one start time. */
static void forget_gone(struct vtop_ui *ui)
{
    size_t kept = 0;
    for (size_t i = 0; i < ui->nr_except; i++)
        if (still_there(ui->model, ui->except[i]))
            ui->except[kept++] = ui->except[i];
    ui->nr_except = kept;
}

int vtop_ui_arrange(struct vtop_ui *ui)
{
    const struct vtop_row **rows = NULL;
    size_t n = 0;
    forget_gone(ui);
    const int e = vtop_model_arrange(ui->model, vtop_compare_rows, &ui->sort, is_open, ui, &rows, &n);
    if (e)
        return e;
    free(ui->rows);
    ui->rows = rows;
    ui->nr_rows = n;
    size_t at = n ? (ui->selected < n ? ui->selected : n - 1) : 0;
    for (size_t i = 0; i < n; i++)
        if (is_selected(ui, rows[i]))
            at = i;
    vtop_ui_select(ui, at);
    return 0;
}

void vtop_ui_release(struct vtop_ui *ui)
{
    free(ui->rows);
    free(ui->except);
    ui->rows = NULL;
    ui->except = NULL;
    ui->nr_rows = ui->nr_except = 0;
}

const struct vtop_row *vtop_ui_selected(const struct vtop_ui *ui)
{
    return ui->selected < ui->nr_rows ? ui->rows[ui->selected] : NULL;
}

void vtop_ui_select(struct vtop_ui *ui, size_t row)
{
    if (ui->nr_rows == 0)
        row = 0;
    else if (row >= ui->nr_rows)
        row = ui->nr_rows - 1;
    ui->selected = row;
    if (ui->nr_rows == 0)
        return;
    ui->selected_key = ui->rows[row]->key;
    ui->selected_is_vcpu = ui->rows[row]->is_vcpu;
    ui->selected_index = ui->rows[row]->index;
}

int vtop_ui_toggle(struct vtop_ui *ui, struct vtop_key key)
{
    for (size_t i = 0; i < ui->nr_except; i++)
        if (vtop_key_equal(ui->except[i], key)) {
            ui->except[i] = ui->except[--ui->nr_except];
            return 0;
        }
    struct vtop_key *grown = realloc(ui->except, (ui->nr_except + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    ui->except = grown;
    ui->except[ui->nr_except++] = key;
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/actions.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int quit(struct vtop_ui *ui, int key)
{
    (void)ui;
    (void)key;
    return VTOP_QUIT;
}

static unsigned int show_help(struct vtop_ui *ui, int key)
{
    (void)key;
    ui->help = true;
    ui->help_top = 0;
    return VTOP_DRAW;
}

static unsigned int move(struct vtop_ui *ui, int key)
{
    const size_t page = ui->page > 1 ? ui->page - 1 : 1, at = ui->selected;
    switch (key) {
    case VTOP_KEY_UP:
    case 'k':
        vtop_ui_select(ui, at > 0 ? at - 1 : 0);
        break;
    case VTOP_KEY_DOWN:
    case 'j':
        vtop_ui_select(ui, at + 1);
        break;
    case VTOP_KEY_PAGE_UP:
        vtop_ui_select(ui, at > page ? at - page : 0);
        break;
    case VTOP_KEY_PAGE_DOWN:
        vtop_ui_select(ui, at + page);
        break;
    case VTOP_KEY_HOME:
        vtop_ui_select(ui, 0);
        break;
    default:
        vtop_ui_select(ui, ui->nr_rows);
        break;
    }
    return VTOP_DRAW;
}

static unsigned int toggle(struct vtop_ui *ui, int key)
{
    const struct vtop_row *row = vtop_ui_selected(ui);
    (void)key;
    if (!row)
        return VTOP_NOTHING;
    ui->selected_is_vcpu = false; /* a closing guest takes the selection of its vCPU */
    if (vtop_ui_toggle(ui, row->key))
        snprintf(ui->message, sizeof(ui->message), "out of memory");
    return VTOP_ARRANGE;
}

static unsigned int toggle_all(struct vtop_ui *ui, int key)
{
    (void)key;
    ui->all_open = !ui->all_open;
    ui->nr_except = 0;
    ui->selected_is_vcpu = ui->selected_is_vcpu && ui->all_open;
    return VTOP_ARRANGE;
}

static unsigned int sort_next(struct vtop_ui *ui, int key)
{
    size_t at = (size_t)(ui->sort.column - vtop_columns);
    do
        at = (at + (key == '<' ? vtop_nr_columns - 1 : 1)) % vtop_nr_columns;
    while (!vtop_columns[at].letter);
    ui->sort = (struct vtop_sort){ &vtop_columns[at], false };
    snprintf(ui->message, sizeof(ui->message), "sorted by %s", vtop_columns[at].id);
    return VTOP_ARRANGE;
}

static unsigned int reverse(struct vtop_ui *ui, int key)
{
    (void)key;
    ui->sort.reverse = !ui->sort.reverse;
    return VTOP_ARRANGE;
}

static unsigned int pause_or_go(struct vtop_ui *ui, int key)
{
    (void)key;
    ui->paused = !ui->paused;
    return VTOP_DRAW | (ui->paused ? 0 : VTOP_FETCH);
}

static unsigned int ask_delay(struct vtop_ui *ui, int key)
{
    (void)key;
    ui->prompting = true;
    ui->prompt[0] = '\0';
    return VTOP_DRAW;
}

const struct vtop_action vtop_actions[] = {
    { { 'h', '?' }, "h ?", "this help", show_help },
    { { VTOP_KEY_UP, VTOP_KEY_DOWN, 'k', 'j' }, "Up Down k j", "select a row; its details show below", move },
    { { VTOP_KEY_PAGE_UP, VTOP_KEY_PAGE_DOWN, VTOP_KEY_HOME, VTOP_KEY_END },
      "PgUp PgDn Home End",
      "select",
      move },
    { { '\n', '\r', 't' }, "Enter t", "show or hide the guest's vCPUs", toggle },
    { { 'a' }, "a", "show or hide all guests' vCPUs", toggle_all },
    { { '<', '>' }, "< >", "sort by the column before or after", sort_next },
    { { 'r' }, "r", "reverse the order", reverse },
    { { ' ' }, "Space", "pause; live, what happens meanwhile is skipped", pause_or_go },
    { { 'd', 's' }, "d s", "change the delay", ask_delay },
    { { 'q', 3 }, "q Ctrl-C", "quit", quit },
};
const size_t vtop_nr_actions = sizeof(vtop_actions) / sizeof(vtop_actions[0]);

static unsigned int take_delay(struct vtop_ui *ui)
{
    char *end;
    const double v = strtod(ui->prompt, &end);
    ui->prompting = false;
    if (end == ui->prompt || *end || !(v >= VTOP_DELAY_MIN && v <= VTOP_DELAY_MAX)) {
        snprintf(ui->message, sizeof(ui->message), "a delay is %.1f to %.0f seconds: unchanged",
                 VTOP_DELAY_MIN, VTOP_DELAY_MAX);
        return VTOP_DRAW;
    }
    ui->delay = v;
    return VTOP_DRAW | VTOP_FETCH;
}

static unsigned int type_delay(struct vtop_ui *ui, int key)
{
    const size_t n = strlen(ui->prompt);
    if (key == '\n' || key == '\r')
        return take_delay(ui);
    if (key == VTOP_KEY_ESC || key == 3) {
        ui->prompting = false;
    } else if ((key == VTOP_KEY_BACKSPACE || key == 127 || key == '\b') && n > 0) {
        ui->prompt[n - 1] = '\0';
    } else if (((key >= '0' && key <= '9') || key == '.') && n + 1 < sizeof(ui->prompt)) {
        ui->prompt[n] = (char)key;
        ui->prompt[n + 1] = '\0';
    }
    return VTOP_DRAW;
}

static const struct vtop_action *find(int key)
{
    for (size_t i = 0; i < vtop_nr_actions; i++)
        for (size_t k = 0; k < 4 && vtop_actions[i].keys[k]; k++)
            if (vtop_actions[i].keys[k] == key)
                return &vtop_actions[i];
    return NULL;
}

/* Movement scrolls, any other key closes; Ctrl-C ends vtop here too. */
static unsigned int read_help(struct vtop_ui *ui, int key, const struct vtop_action *action)
{
    const size_t page = ui->page > 0 ? ui->page : 1, up = ui->help_top < page ? ui->help_top : page;
    if (!action || action->act != move) {
        ui->help = false;
        return action && action->act == quit && key != 'q' ? VTOP_QUIT : VTOP_DRAW;
    }
    if (key == VTOP_KEY_DOWN || key == 'j')
        ui->help_top++;
    else if (key == VTOP_KEY_PAGE_DOWN)
        ui->help_top += page;
    else if (key == VTOP_KEY_END)
        ui->help_top = SIZE_MAX / 2; /* the screen knows where it is */
    else if (key == VTOP_KEY_HOME)
        ui->help_top = 0;
    else if (key == VTOP_KEY_PAGE_UP)
        ui->help_top -= up;
    else
        ui->help_top -= ui->help_top > 0;
    return VTOP_DRAW;
}

unsigned int vtop_act(struct vtop_ui *ui, int key)
{
    ui->message[0] = '\0';
    if (key == VTOP_KEY_RESIZE)
        return VTOP_DRAW;
    if (ui->prompting)
        return type_delay(ui, key);
    const struct vtop_action *action = find(key);
    if (ui->help)
        return read_help(ui, key, action);
    if (action)
        return action->act(ui, key);
    const struct vtop_column *column = key > 0 && key < 128 ? vtop_column_by_letter((char)key) : NULL;
    if (!column)
        return VTOP_DRAW; /* the message is gone */
    ui->sort.reverse = ui->sort.column == column && !ui->sort.reverse;
    ui->sort.column = column;
    return VTOP_ARRANGE;
}

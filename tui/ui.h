/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person has chosen: sort, selection, opened guests, pause. No curses types, no output. */
#ifndef VT_TUI_UI_H
#define VT_TUI_UI_H

#include "tui/columns.h"

/* Keys beyond ASCII, as the screen hands them over. */
enum vtop_key_code {
    VTOP_KEY_NONE = -1,
    VTOP_KEY_ESC = 27,
    VTOP_KEY_UP = 256,
    VTOP_KEY_DOWN,
    VTOP_KEY_PAGE_UP,
    VTOP_KEY_PAGE_DOWN,
    VTOP_KEY_HOME,
    VTOP_KEY_END,
    VTOP_KEY_BACKSPACE,
    VTOP_KEY_RESIZE,
    VTOP_KEY_OTHER
};

#define VTOP_DELAY_MIN 0.1
#define VTOP_DELAY_MAX 3600.0

struct vtop_ui {
    const struct vtop_model *model;
    struct vtop_sort sort;
    /* rows as shown; pointers into the model: arranged anew after each update */
    const struct vtop_row **rows;
    size_t nr_rows;
    size_t selected, top; /* indices into rows */
    struct vtop_key selected_key;
    bool selected_is_vcpu;
    uint32_t selected_index;
    bool all_open;           /* guests show their vCPUs */
    struct vtop_key *except; /* all but these, or none but these */
    size_t nr_except;
    size_t page; /* rows that fit, as last drawn */
    bool paused, over, help;
    size_t help_top; /* first line of the help seen */
    double delay;
    bool prompting;
    char prompt[16];
    char message[512];  /* one line, until the next key */
    const char *source; /* "live", or the recording's name */
    bool utf8;
};

/** After the model changed, or the sort: the rows to show; the selection stays with its row. */
int vtop_ui_arrange(struct vtop_ui *ui);
void vtop_ui_release(struct vtop_ui *ui);

/** The selected row, or NULL. */
const struct vtop_row *vtop_ui_selected(const struct vtop_ui *ui);

void vtop_ui_select(struct vtop_ui *ui, size_t row);
/** Opens or closes a guest's vCPUs. */
int vtop_ui_toggle(struct vtop_ui *ui, struct vtop_key key);

#endif

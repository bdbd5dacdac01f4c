/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the keys do, as a table: key, function, help. The function says what must follow. Pure. */
#ifndef VT_TUI_ACTIONS_H
#define VT_TUI_ACTIONS_H

#include "tui/ui.h"

enum vtop_follow {
    VTOP_NOTHING = 0,
    VTOP_DRAW = 1 << 0,    /* the same rows look different */
    VTOP_ARRANGE = 1 << 1, /* rows come or go or move: arrange, then draw */
    VTOP_FETCH = 1 << 2,   /* the clock changed: the next refresh is due now */
    VTOP_QUIT = 1 << 3,
};

struct vtop_action {
    int keys[4];       /* enum vtop_key_code or ASCII; 0 ends */
    const char *label; /* of the keys, in the help */
    const char *help;
    unsigned int (*act)(struct vtop_ui *ui, int key);
};

extern const struct vtop_action vtop_actions[];
extern const size_t vtop_nr_actions;

/** Does what the key says; enum vtop_follow bits. */
unsigned int vtop_act(struct vtop_ui *ui, int key);

#endif

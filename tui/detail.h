/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is to say of the selected row, as lines of text. Pure. */
#ifndef VT_TUI_DETAIL_H
#define VT_TUI_DETAIL_H

#include "tui/model.h"

enum { VTOP_DETAIL_LINES = 4, VTOP_DETAIL_BYTES = 512 };

struct vtop_detail {
    char line[VTOP_DETAIL_LINES][VTOP_DETAIL_BYTES]; /* who, states, held back by whom, books */
};

void vtop_detail_fill(struct vtop_detail *detail, const struct vtop_model *model, const struct vtop_row *row,
                      bool utf8);

#endif

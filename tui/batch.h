/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A refresh as plain text or as a line of JSON. */
#ifndef VT_TUI_BATCH_H
#define VT_TUI_BATCH_H

#include <stdio.h>

#include "tui/columns.h"

/** Time of day at the end of the window, by this machine's time zone: "2026-11-21 07:00:01.250". */
void vtop_format_time(char *out, size_t size, const struct vtop_head *head);

/** The head's figures in a line: lost events, own cost, host's steal. */
void vtop_format_bill(char *out, size_t size, const struct vtop_head *head);

/** One block: a line of facts, the head, all columns of every row, a blank line. */
int vtop_batch_text(FILE *out, const struct vtop_model *model, const struct vtop_sort *sort, bool vcpus,
                    bool utf8);

/** One object in one line: every figure with its accuracy, as in the report's JSON. */
int vtop_batch_json(FILE *out, const struct vtop_model *model, const struct vtop_sort *sort, bool vcpus);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text measured in terminal cells, and the numbers of a table cell. Pure. */
#ifndef VT_TUI_TEXT_H
#define VT_TUI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/snapshot.h"

/**
 * Copies `in` (UTF-8) to out as exactly `cells` terminal cells: cut with an
 * ellipsis or padded with blanks.  Characters without width are left out, and
 * without utf8 whatever is not ASCII shows as '?'.  Returns the bytes written.
 */
size_t vtop_fit(char *out, size_t size, const char *in, size_t cells, bool utf8);

/** Terminal cells that the UTF-8 text takes. */
size_t vtop_cells(const char *text);

/** part / whole in per cent; 0 where there is no whole. */
double vtop_percent(uint64_t part, uint64_t whole);

/**
 * How sure a figure is, as one character beside it: "~" estimated, "±" ("^"
 * without utf8) bounded by more than half of a shown digit (0.1 % of whole),
 * " " exact as far as shown.
 */
const char *vtop_figure_mark(const struct vt_figure *figure, uint64_t whole_ns, bool utf8);
const char *vtop_ratio_mark(const struct vt_ratio *ratio, bool utf8);

/** A time with a unit that suits it: "12.3 ms". */
void vtop_format_ns(char *out, size_t size, uint64_t ns);

#endif

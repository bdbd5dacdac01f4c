/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bar that shows at a glance in which states the time went. Pure. */
#ifndef VT_TUI_MIX_H
#define VT_TUI_MIX_H

#include <stddef.h>

#include "vt/snapshot.h"

/** A part of the bar: glyph and, on a screen with colours, colour say the same. */
struct vtop_part {
    const char *utf8, *ascii; /* one cell each */
    enum vt_class class;
    const char *name; /* in the legend */
    uint32_t states;  /* bit per enum vt_state */
};

extern const struct vtop_part vtop_parts[];
extern const size_t vtop_nr_parts;
#define VTOP_PARTS_MAX 16

/**
 * Shares `cells` among the parts so that they sum to `cells` exactly (largest
 * remainder); ret[vtop_nr_parts].  What is missing to `whole` is absent.
 */
void vtop_mix(const struct vt_account *account, uint64_t whole_ns, size_t cells, size_t *ret);

/** The bar as text of exactly `cells` cells. */
void vtop_mix_text(char *out, size_t size, const struct vt_account *account, uint64_t whole_ns, size_t cells,
                   bool utf8);

/** Index of the part that this glyph of a bar shows, its bytes in *ret_bytes; vtop_nr_parts: none. */
size_t vtop_part_of_glyph(const char *text, bool utf8, size_t *ret_bytes);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times for people, and tables that know their width. */
#ifndef VT_REPORTS_FORMAT_H
#define VT_REPORTS_FORMAT_H

#include <stdio.h>

#include "vt/snapshot.h"

#define FORMAT_LEN   64
#define FORMAT_WIDTH 110

/** "10.003 s", "1.250 ms", "3.400 us" (µs in UTF-8), "12 ns"; "0" for none. */
const char *format_ns(char out[FORMAT_LEN], uint64_t ns, bool utf8);
const char *format_signed_ns(char out[FORMAT_LEN], int64_t ns, bool utf8);
/** With its accuracy: exact as it is, "10.003 s ±2.000 µs", "~10.003 s". */
const char *format_figure(char out[FORMAT_LEN], struct vt_figure figure, bool utf8);
/** "4.00", "4.00 ±0.02", or a dash. */
const char *format_ratio(char out[FORMAT_LEN], struct vt_ratio ratio, bool utf8);
/** "+298.8 %": by how much `is` differs from `should`; a dash if should is 0. */
const char *format_error(char out[FORMAT_LEN], uint64_t is, uint64_t should, bool utf8);
/** True if the locale's character set is UTF-8 (after setlocale). */
bool format_locale_is_utf8(void);
/** Columns that s takes. */
size_t format_columns(const char *s);

/*
 * A table: head cells, then rows of as many cells. Columns are as wide as they
 * must be; one that holds nothing but "0" and dashes may be left out, and a
 * table that is too wide goes on below, its key columns repeated.
 */
struct table;
struct table *table_new(bool utf8);
void table_free(struct table *t); /* NULL is fine */
void table_column(struct table *t, const char *head, bool left, bool droppable);
void table_cell(struct table *t, const char *text); /* fills row by row */
/** Prints; `keys` columns are repeated when it is split. Out of memory is said in its place. */
void table_print(const struct table *t, size_t keys, const char *indent, FILE *out);

/** Words separated by ", " over as many lines as need be, with a hanging label. */
struct wrap {
    FILE *out;
    size_t indent, column;
    bool empty;
};
struct wrap wrap_begin(FILE *out, const char *label, size_t indent);
void wrap_item(struct wrap *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A sentence, broken at blanks. */
void wrap_text(struct wrap *w, const char *text);
void wrap_end(struct wrap *w);

#endif

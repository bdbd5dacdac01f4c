/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "format.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *format_ns(char out[FORMAT_LEN], uint64_t ns, bool utf8)
{
    /* thresholds lie where rounding to three places would show 1000 of the smaller unit */
    if (ns >= UINT64_C(999999500))
        snprintf(out, FORMAT_LEN, "%" PRIu64 ".%03" PRIu64 " s", (ns + 500000) / VT_NSEC_PER_SEC,
                 (ns + 500000) % VT_NSEC_PER_SEC / 1000000);
    else if (ns >= 1000000 - 500)
        snprintf(out, FORMAT_LEN, "%" PRIu64 ".%03" PRIu64 " ms", (ns + 500) / 1000000,
                 (ns + 500) % 1000000 / 1000);
    else if (ns >= 1000)
        snprintf(out, FORMAT_LEN, "%" PRIu64 ".%03" PRIu64 " %s", ns / 1000, ns % 1000, utf8 ? "µs" : "us");
    else if (ns)
        snprintf(out, FORMAT_LEN, "%" PRIu64 " ns", ns);
    else
        snprintf(out, FORMAT_LEN, "0");
    return out;
}

const char *format_signed_ns(char out[FORMAT_LEN], int64_t ns, bool utf8)
{
    char magnitude[FORMAT_LEN];
    format_ns(magnitude, ns < 0 ? -(uint64_t)ns : (uint64_t)ns, utf8);
    snprintf(out, FORMAT_LEN, "%s%.40s", ns < 0 ? (utf8 ? "−" : "-") : ns > 0 ? "+" : "", magnitude);
    return out;
}

/* A bound needs no more than two figures. */
static const char *format_bound(char out[FORMAT_LEN], uint64_t ns, bool utf8)
{
    static const struct {
        uint64_t unit;
        const char *utf8, *plain;
    } units[] = { { VT_NSEC_PER_SEC, "s", "s" }, { 1000000, "ms", "ms" }, { 1000, "µs", "us" } };
    for (size_t i = 0; i < 3; i++) {
        if (ns < units[i].unit)
            continue;
        double value = (double)ns / (double)units[i].unit;
        snprintf(out, FORMAT_LEN, value < 9.95 ? "%.1f %s" : "%.0f %s", value,
                 utf8 ? units[i].utf8 : units[i].plain);
        return out;
    }
    snprintf(out, FORMAT_LEN, "%" PRIu64 " ns", ns);
    return out;
}

const char *format_figure(char out[FORMAT_LEN], struct vt_figure figure, bool utf8)
{
    char value[FORMAT_LEN], bound[FORMAT_LEN];
    format_ns(value, figure.ns, utf8);
    format_bound(bound, figure.bound_ns, utf8);
    if (figure.accuracy == VT_ESTIMATED && figure.bound_ns)
        snprintf(out, FORMAT_LEN, "~%.24s %s%.24s", value, utf8 ? "±" : "+-", bound);
    else if (figure.accuracy == VT_ESTIMATED)
        snprintf(out, FORMAT_LEN, "~%.60s", value);
    else if (figure.accuracy == VT_BOUNDED)
        snprintf(out, FORMAT_LEN, "%.24s %s%.24s", value, utf8 ? "±" : "+-", bound);
    else
        snprintf(out, FORMAT_LEN, "%s", value);
    return out;
}

const char *format_ratio(char out[FORMAT_LEN], struct vt_ratio ratio, bool utf8)
{
    if (!ratio.known)
        snprintf(out, FORMAT_LEN, "%s", utf8 ? "–" : "-");
    else if (ratio.bound >= 0.005)
        snprintf(out, FORMAT_LEN, "%.2f %s%.2f", ratio.value, utf8 ? "±" : "+-", ratio.bound);
    else
        snprintf(out, FORMAT_LEN, "%.2f", ratio.value);
    return out;
}

const char *format_error(char out[FORMAT_LEN], uint64_t is, uint64_t should, bool utf8)
{
    if (should == 0) {
        snprintf(out, FORMAT_LEN, "%s", utf8 ? "–" : "-");
        return out;
    }
    double percent = 100.0 * ((double)is - (double)should) / (double)should;
    bool none = percent < 0.05 && percent > -0.05;
    snprintf(out, FORMAT_LEN, "%s%.1f %%",
             none          ? ""
             : percent < 0 ? (utf8 ? "−" : "-")
                           : "+",
             none          ? 0.0
             : percent < 0 ? -percent
                           : percent);
    return out;
}

bool format_locale_is_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

size_t format_columns(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* ---- tables ---- */

struct column {
    const char *head;
    bool left, droppable;
    bool used; /* some cell says something */
    size_t width;
};

#define TABLE_COLUMNS 32
struct table {
    struct column column[TABLE_COLUMNS];
    size_t columns, cells, room;
    char **cell;
    bool utf8, failed;
};

struct table *table_new(bool utf8)
{
    struct table *t = calloc(1, sizeof(*t));
    if (t)
        t->utf8 = utf8;
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    free(t->cell);
    free(t);
}

void table_column(struct table *t, const char *head, bool left, bool droppable)
{
    if (!t || t->columns == TABLE_COLUMNS)
        return;
    t->column[t->columns++] =
        (struct column){ .head = head, .left = left, .droppable = droppable, .width = format_columns(head) };
}

static bool says_nothing(const char *text)
{
    text += *text == '~'; /* an estimate of nothing */
    return !*text || strcmp(text, "0") == 0 || strcmp(text, "-") == 0 || strcmp(text, "–") == 0;
}

void table_cell(struct table *t, const char *text)
{
    if (!t || t->failed)
        return;
    if (t->cells == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        char **cell = realloc(t->cell, room * sizeof(*cell));
        if (!cell) {
            t->failed = true;
            return;
        }
        t->cell = cell;
        t->room = room;
    }
    struct column *c = &t->column[t->cells % t->columns];
    char *copy = strdup(text);
    if (!copy) {
        t->failed = true;
        return;
    }
    t->cell[t->cells++] = copy;
    size_t width = format_columns(text);
    c->width = width > c->width ? width : c->width;
    c->used |= !says_nothing(text);
}

static void put_cell(const struct column *c, const char *text, bool last, FILE *out)
{
    size_t pad = c->width - format_columns(text);
    if (!c->left)
        fprintf(out, "%*s", (int)pad, "");
    fputs(text, out);
    if (c->left && !last)
        fprintf(out, "%*s", (int)pad, "");
}

static bool shown(const struct table *t, size_t column)
{
    return t->column[column].used || !t->column[column].droppable;
}

/* One line of the columns chosen; row SIZE_MAX is the head. */
static void put_line(const struct table *t, size_t row, const bool *chosen, const char *indent, FILE *out)
{
    size_t last = 0;
    for (size_t i = 0; i < t->columns; i++)
        if (chosen[i])
            last = i;
    fputs(indent, out);
    for (size_t i = 0, n = 0; i <= last; i++) {
        if (!chosen[i])
            continue;
        if (n++)
            fputs("  ", out);
        put_cell(&t->column[i], row == SIZE_MAX ? t->column[i].head : t->cell[row * t->columns + i],
                 i == last, out);
    }
    fputc('\n', out);
}

/* Chooses the keys and as many columns from *next on as fit; false when none is left. */
static bool choose(const struct table *t, size_t keys, size_t room, size_t *next, bool *chosen)
{
    size_t width = 0;
    bool any = false;
    memset(chosen, 0, t->columns * sizeof(*chosen));
    for (size_t i = 0; i < keys; i++) {
        chosen[i] = shown(t, i);
        width += chosen[i] ? t->column[i].width + 2 : 0;
    }
    for (; *next < t->columns; ++*next) {
        if (!shown(t, *next))
            continue;
        width += t->column[*next].width + 2;
        if (any && width > room + 2)
            return true;
        chosen[*next] = any = true;
    }
    return any;
}

void table_print(const struct table *t, size_t keys, const char *indent, FILE *out)
{
    if (!t || t->failed || t->columns == 0) {
        fprintf(out, "%s(this table could not be made: out of memory)\n", indent);
        return;
    }
    bool chosen[TABLE_COLUMNS];
    size_t next = keys, room = FORMAT_WIDTH - format_columns(indent);
    for (bool first = true; choose(t, keys, room, &next, chosen); first = false) {
        if (!first)
            fputc('\n', out);
        put_line(t, SIZE_MAX, chosen, indent, out);
        for (size_t row = 0; row < t->cells / t->columns; row++)
            put_line(t, row, chosen, indent, out);
    }
}

/* ---- running text ---- */

struct wrap wrap_begin(FILE *out, const char *label, size_t indent)
{
    size_t width = format_columns(label);
    size_t pad = width < indent ? indent - width : 1;
    fprintf(out, "%s%*s", label, (int)pad, "");
    return (struct wrap){ .out = out, .indent = indent, .column = width + pad, .empty = true };
}

static void wrap_word(struct wrap *w, const char *separator, const char *word)
{
    size_t width = format_columns(word);
    if (w->empty) {
        w->empty = false;
    } else if (w->column + format_columns(separator) + 1 + width > FORMAT_WIDTH) {
        fprintf(w->out, "%s\n%*s", separator, (int)w->indent, "");
        w->column = w->indent;
    } else {
        fprintf(w->out, "%s ", separator);
        w->column += format_columns(separator) + 1;
    }
    fputs(word, w->out);
    w->column += width;
}

void wrap_item(struct wrap *w, const char *format, ...)
{
    char word[512];
    va_list args;
    va_start(args, format);
    vsnprintf(word, sizeof(word), format, args);
    va_end(args);
    wrap_word(w, ",", word);
}

void wrap_text(struct wrap *w, const char *text)
{
    char word[256];
    while (*text) {
        text += strspn(text, " ");
        size_t n = strcspn(text, " ");
        if (n == 0)
            break;
        snprintf(word, sizeof(word), "%.*s", (int)n, text);
        wrap_word(w, "", word);
        text += n;
    }
}

void wrap_end(struct wrap *w)
{
    fputc('\n', w->out);
}

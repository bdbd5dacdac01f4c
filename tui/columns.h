/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The columns of the table, as data: adding one is adding a line. Pure. */
#ifndef VT_TUI_COLUMNS_H
#define VT_TUI_COLUMNS_H

#include "tui/model.h"

/** How far a guest is held back; shown by mark and by colour. */
enum vtop_level {
    VTOP_LEVEL_NONE,
    VTOP_LEVEL_FINE,
    VTOP_LEVEL_WATCH,
    VTOP_LEVEL_SIGNIFICANT,
    VTOP_LEVEL_BAD
};

struct vtop_level_info {
    enum vtop_level level;
    double from; /* contention dilation at which it begins */
    const char *mark;
    const char *meaning;
};

extern const struct vtop_level_info vtop_levels[];
extern const size_t vtop_nr_levels;

const struct vtop_level_info *vtop_level_of(const struct vt_ratio *contention_dilation);

/** What stands in a cell. */
struct vtop_cell {
    char text[256];
    enum vtop_level level; /* colours the cell */
    bool quiet;            /* nothing there: shown dimmed */
};

/** What a cell's text depends on besides its row. */
struct vtop_style {
    bool utf8;
    size_t name_cells; /* width of the column NAME */
    size_t mix_cells;  /* width of the column STATES */
};

struct vtop_column {
    const char *id;     /* as --sort and JSON name it */
    const char *title;  /* at most `cells` long */
    char letter;        /* key that sorts by it, 0: none */
    unsigned int cells; /* 0: NAME and STATES, by the style */
    unsigned int rank;  /* the highest goes first where the screen is too narrow; 0: stays */
    bool left;          /* title on the left */
    bool ascending;     /* the natural order of its sort */
    size_t figure;      /* offset of its struct vt_figure in struct vt_account */
    void (*fill)(const struct vtop_column *column, const struct vtop_row *row, const struct vtop_style *style,
                 struct vtop_cell *ret); /* exactly the column's width */
    /* what it sorts by; NAN (unknown) comes last. NULL: by name */
    double (*value)(const struct vtop_column *column, const struct vtop_row *row);
    const char *help;
};

extern const struct vtop_column vtop_columns[];
extern const size_t vtop_nr_columns;

/** By its letter or its id; NULL: none. */
const struct vtop_column *vtop_column_by_letter(char letter);
const struct vtop_column *vtop_column_by_id(const char *id);

struct vtop_sort {
    const struct vtop_column *column;
    bool reverse; /* of the column's natural order */
};

/** context: struct vtop_sort. Equal rows go by name, then by process: nothing flickers. */
vtop_compare vtop_compare_rows;

/** How wide a column is under the style. */
size_t vtop_column_cells(const struct vtop_column *column, const struct vtop_style *style);
/** Blanks after it. */
size_t vtop_column_gap(const struct vtop_column *column);

/**
 * Which columns fit `width` cells: shown[vtop_nr_columns].  What is left over
 * goes to the states' bar, then to the names (up to the longest, name_need).
 */
void vtop_columns_fit(size_t width, size_t name_need, bool *shown, struct vtop_style *style);

/** Writes the table's head or a row: shown columns (NULL: all), one blank between. Returns out. */
char *vtop_title_line(char *out, size_t size, const bool *shown, const struct vtop_style *style);
char *vtop_row_line(char *out, size_t size, const struct vtop_row *row, const bool *shown,
                    const struct vtop_style *style);

#endif

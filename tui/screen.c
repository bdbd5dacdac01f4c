/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/screen.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curses.h>

#include "tui/actions.h"
#include "tui/batch.h"
#include "tui/detail.h"
#include "tui/mix.h"
#include "tui/text.h"

/* What a colour stands for; also the number of its pair. */
enum ink { INK_PLAIN, INK_GOOD, INK_WORK, INK_WATCH, INK_BAD, INK_STALLED, INK_QUIET, INK_PAUSED, INK_BAR };

struct vtop_screen {
    SCREEN *terminal;
    bool colours;
};

static void open_colours(void)
{
    start_color();
    use_default_colors();
    init_pair(INK_GOOD, COLOR_GREEN, -1);
    init_pair(INK_WORK, COLOR_CYAN, -1);
    init_pair(INK_WATCH, COLOR_YELLOW, -1);
    init_pair(INK_BAD, COLOR_RED, -1);
    init_pair(INK_STALLED, COLOR_MAGENTA, -1);
    init_pair(INK_QUIET, -1, -1);
    init_pair(INK_PAUSED, COLOR_BLUE, -1);
    init_pair(INK_BAR, COLOR_BLACK, COLOR_CYAN);
}

int vtop_screen_open(bool colours, struct vtop_screen **ret, struct vt_err *err)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return vt_fail(err, ENOTTY, "this is not a terminal; -b prints plain text");
    struct vtop_screen *s = calloc(1, sizeof(*s));
    if (!s)
        return vt_fail(err, ENOMEM, "out of memory");
    /* initscr() would end the program */
    s->terminal = newterm(NULL, stdout, stdin);
    if (!s->terminal) {
        free(s);
        return vt_fail(err, EINVAL, "the terminal type %s is not known; set TERM, or -b prints plain text",
                       term && *term ? term : "(none)");
    }
    set_term(s->terminal);
    raw(); /* Ctrl-C is a key: the way out is one */
    noecho();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    set_escdelay(50);
    curs_set(0);
    s->colours = colours && has_colors();
    if (s->colours)
        open_colours();
    *ret = s;
    return 0;
}

void vtop_screen_close(struct vtop_screen *s)
{
    if (!s)
        return;
    endwin();
    delscreen(s->terminal);
    free(s);
}

int vtop_screen_key(struct vtop_screen *s)
{
    static const struct {
        int curses;
        enum vtop_key_code code;
    } codes[] = {
        { ERR, VTOP_KEY_NONE },
        { KEY_UP, VTOP_KEY_UP },
        { KEY_DOWN, VTOP_KEY_DOWN },
        { KEY_PPAGE, VTOP_KEY_PAGE_UP },
        { KEY_NPAGE, VTOP_KEY_PAGE_DOWN },
        { KEY_HOME, VTOP_KEY_HOME },
        { KEY_END, VTOP_KEY_END },
        { KEY_BACKSPACE, VTOP_KEY_BACKSPACE },
        { KEY_RESIZE, VTOP_KEY_RESIZE },
        { KEY_ENTER, '\n' },
        { KEY_F(1), 'h' },
        { KEY_F(10), 'q' },
    };
    (void)s;
    const int key = getch();
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].curses == key)
            return codes[i].code;
    return key >= 0 && key < 128 ? key : VTOP_KEY_OTHER;
}

/* ---- pieces ---- */

static void ink_on(const struct vtop_screen *s, enum ink ink, attr_t extra)
{
    attr_t attributes = extra;
    if (ink == INK_QUIET)
        attributes |= A_DIM;
    if (!s->colours && (ink == INK_BAD || ink == INK_WATCH))
        attributes |= A_BOLD;
    if (!s->colours && ink == INK_BAR)
        attributes |= A_REVERSE;
    attr_set(attributes, s->colours ? (short)ink : 0, NULL);
}

static void ink_off(void)
{
    attr_set(A_NORMAL, 0, NULL);
}

static enum ink ink_of_class(enum vt_class class)
{
    switch (class) {
    case VT_CLASS_USED:
        return INK_GOOD;
    case VT_CLASS_OVERHEAD:
        return INK_WORK;
    case VT_CLASS_STOLEN:
        return INK_BAD;
    case VT_CLASS_STALLED:
        return INK_STALLED;
    case VT_CLASS_PAUSED:
        return INK_PAUSED;
    case VT_CLASS_UNKNOWN:
        return INK_WATCH;
    case VT_CLASS_IDLE:
    case VT_CLASS_NONE:
    case VT_NR_CLASSES:
        break;
    }
    return INK_QUIET;
}

static enum ink ink_of_level(enum vtop_level level)
{
    switch (level) {
    case VTOP_LEVEL_FINE:
        return INK_GOOD;
    case VTOP_LEVEL_WATCH:
    case VTOP_LEVEL_SIGNIFICANT:
        return INK_WATCH;
    case VTOP_LEVEL_BAD:
        return INK_BAD;
    case VTOP_LEVEL_NONE:
        break;
    }
    return INK_PLAIN;
}

static size_t width(void)
{
    return COLS > 0 ? (size_t)COLS : 1;
}

/* A line of text over the whole width. */
static void put_line(const struct vtop_ui *ui, int y, const char *text)
{
    char line[2048];
    vtop_fit(line, sizeof(line), text, width(), ui->utf8);
    mvaddstr(y, 0, line);
}

/* `right` ends at the edge, if there is room for it beside `left`. */
static void put_both(const struct vtop_ui *ui, int y, const char *left, const char *right)
{
    const size_t cells = vtop_cells(right);
    put_line(ui, y, left);
    if (vtop_cells(left) + cells + 1 <= width())
        mvaddstr(y, (int)(width() - cells), right);
}

static void put_mix(const struct vtop_screen *s, const struct vtop_ui *ui, const char *bar)
{
    size_t bytes = 0;
    for (const char *p = bar; *p; p += bytes) {
        const size_t part = vtop_part_of_glyph(p, ui->utf8, &bytes);
        ink_on(s, part < vtop_nr_parts ? ink_of_class(vtop_parts[part].class) : INK_PLAIN, 0);
        addnstr(p, (int)bytes);
    }
    ink_off();
}

/* ---- the head ---- */

static void draw_title(const struct vtop_screen *s, const struct vtop_ui *ui)
{
    const struct vtop_head *h = &ui->model->head;
    char left[256], right[128], time[48] = "";
    snprintf(left, sizeof(left), " vtop  %s  %u CPUs  Linux %.*s%s%s", h->host.hostname, h->host.nr_cpus,
             (int)strcspn(h->host.kernel, "-"), h->host.kernel, ui->source ? "  replay of " : "",
             ui->source ? ui->source : "");
    if (ui->model->filled)
        vtop_format_time(time, sizeof(time), h);
    /* tenths are enough for a person: HH:MM:SS.s */
    snprintf(right, sizeof(right), "%s%.10s  window %.2f s  delay %g s ",
             ui->paused ? "[PAUSED]  "
             : ui->over ? "[END]  "
                        : "",
             time[0] ? time + 11 : "", (double)(h->window.to.v - h->window.from.v) / 1e9, ui->delay);
    ink_on(s, INK_BAR, 0);
    put_both(ui, 0, left, right);
    ink_off();
}

static void draw_bill(const struct vtop_screen *s, const struct vtop_ui *ui)
{
    const struct vtop_head *h = &ui->model->head;
    char text[512];
    vtop_format_bill(text, sizeof(text), h);
    if (h->lost_events)
        ink_on(s, INK_BAD, A_BOLD);
    else if (h->steal_share >= 0.01)
        ink_on(s, INK_WATCH, 0);
    move(1, 1);
    char line[1024];
    vtop_fit(line, sizeof(line), text, width() - 1, ui->utf8);
    addstr(line);
    ink_off();
}

static void draw_sum(const struct vtop_screen *s, const struct vtop_ui *ui)
{
    const struct vtop_head *h = &ui->model->head;
    char text[256], bar[1024];
    snprintf(text, sizeof(text),
             " %u guests, %u vCPUs: used %.1f overhead %.1f stolen %.1f stalled %.1f idle %.1f%% ", h->guests,
             h->vcpus, vtop_percent(h->all.used.ns, h->whole_ns),
             vtop_percent(h->all.overhead.ns, h->whole_ns), vtop_percent(h->all.stolen.ns, h->whole_ns),
             vtop_percent(h->all.stalled.ns, h->whole_ns), vtop_percent(h->all.idle.ns, h->whole_ns));
    put_line(ui, 2, text);
    const size_t at = vtop_cells(text);
    if (at + 12 > width() || h->whole_ns == 0)
        return;
    size_t cells = width() - at - 1;
    vtop_mix_text(bar, sizeof(bar), &h->all, h->whole_ns, cells < 60 ? cells : 60, ui->utf8);
    mvaddstr(2, (int)at, "");
    put_mix(s, ui, bar);
}

static void draw_legend(const struct vtop_screen *s, const struct vtop_ui *ui)
{
    size_t at = 1;
    move(3, 1);
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        const struct vtop_part *p = &vtop_parts[i];
        const size_t cells = strlen(p->name) + 3;
        if (p->class == VT_CLASS_NONE || at + cells > width())
            continue;
        ink_on(s, ink_of_class(p->class), 0);
        addstr(ui->utf8 ? p->utf8 : p->ascii);
        ink_on(s, INK_QUIET, 0);
        printw(" %s ", p->name);
        at += cells;
    }
    ink_off();
}

/* ---- the table ---- */

static void draw_titles(const struct vtop_screen *s, const struct vtop_ui *ui, int y, const bool *shown,
                        const struct vtop_style *style)
{
    char line[1024];
    vtop_title_line(line, sizeof(line), shown, style);
    ink_on(s, INK_BAR, A_BOLD);
    put_line(ui, y, line);
    /* the sorted column: underlined, and an arrow in the cell after or before its title */
    const char *title = ui->sort.column->title;
    const char *found = *title != ' ' ? strstr(line, title) : NULL;
    if (found) {
        const bool up = ui->sort.column->ascending != ui->sort.reverse;
        const int x = (int)(found - line);
        ink_on(s, INK_BAR, A_BOLD | A_UNDERLINE);
        mvaddstr(y, x, title);
        ink_on(s, INK_BAR, A_BOLD);
        mvaddstr(y, x + (int)strlen(title), up ? (ui->utf8 ? "▲" : "^") : (ui->utf8 ? "▼" : "v"));
    }
    ink_off();
}

static void draw_row(const struct vtop_screen *s, const struct vtop_ui *ui, int y, size_t index,
                     const bool *shown, const struct vtop_style *style)
{
    const struct vtop_row *row = ui->rows[index];
    const attr_t selected = index == ui->selected ? A_REVERSE : 0;
    int x = 0;
    for (size_t i = 0; i < vtop_nr_columns; i++) {
        const struct vtop_column *c = &vtop_columns[i];
        struct vtop_cell cell = { .text = "" };
        if (!shown[i])
            continue;
        c->fill(c, row, style, &cell);
        move(y, x);
        if (!c->letter) {
            put_mix(s, ui, cell.text);
        } else {
            const enum ink ink = cell.quiet && !selected ? INK_QUIET : ink_of_level(cell.level);
            ink_on(s, ink, selected | (cell.level == VTOP_LEVEL_BAD ? A_BOLD : 0));
            addstr(cell.text);
            if (vtop_column_gap(c))
                addch(' ');
        }
        x += (int)(vtop_column_cells(c, style) + vtop_column_gap(c));
    }
    ink_off();
}

static size_t longest_name(const struct vtop_ui *ui)
{
    size_t longest = 0;
    for (size_t i = 0; i < ui->nr_rows; i++) {
        const size_t cells = ui->rows[i]->is_vcpu ? 11 : vtop_cells(ui->rows[i]->name);
        longest = cells > longest ? cells : longest;
    }
    return longest;
}

static void draw_nothing(const struct vtop_ui *ui, int y)
{
    if (!ui->model->filled)
        put_line(ui, y, ui->source ? " reading ..." : " starting the recorder ...");
    else
        put_line(ui, y, " no virtual machine runs; guests appear here as soon as they start");
}

static void draw_table(const struct vtop_screen *s, struct vtop_ui *ui, int y, int lines)
{
    struct vtop_style style = { .utf8 = ui->utf8 };
    bool shown[64];
    vtop_columns_fit(width(), longest_name(ui), shown, &style);
    draw_titles(s, ui, y, shown, &style);
    ui->page = lines > 1 ? (size_t)(lines - 1) : 1;
    if (ui->selected < ui->top)
        ui->top = ui->selected;
    if (ui->selected >= ui->top + ui->page)
        ui->top = ui->selected + 1 - ui->page;
    if (ui->top + ui->page > ui->nr_rows)
        ui->top = ui->nr_rows > ui->page ? ui->nr_rows - ui->page : 0;
    for (size_t i = 0; i < ui->page && ui->top + i < ui->nr_rows; i++)
        draw_row(s, ui, y + 1 + (int)i, ui->top + i, shown, &style);
    if (ui->nr_rows == 0)
        draw_nothing(ui, y + 2);
}

static void draw_detail(const struct vtop_screen *s, const struct vtop_ui *ui, int y)
{
    const struct vtop_row *row = vtop_ui_selected(ui);
    struct vtop_detail detail;
    if (!row)
        return;
    vtop_detail_fill(&detail, ui->model, row, ui->utf8);
    for (int i = 0; i < VTOP_DETAIL_LINES; i++) {
        ink_on(s, i == 0 ? INK_BAR : INK_PLAIN, i == 0 ? A_BOLD : 0);
        char line[VTOP_DETAIL_BYTES + 2] = " ";
        memcpy(line + 1, detail.line[i], VTOP_DETAIL_BYTES);
        put_line(ui, y + i, line);
    }
    ink_off();
}

static void draw_keys(const struct vtop_screen *s, const struct vtop_ui *ui, int y)
{
    char text[600];
    if (ui->prompting)
        snprintf(text, sizeof(text), " delay in seconds: %s_", ui->prompt);
    else if (ui->message[0])
        snprintf(text, sizeof(text), " %s", ui->message);
    else
        snprintf(text, sizeof(text),
                 " h Help  %s Select  Enter vCPUs  <> Sort  r Rev  Space Pause  d Delay  q Quit",
                 ui->utf8 ? "↑↓" : "jk");
    ink_on(s, INK_BAR, 0);
    put_line(ui, y, text);
    ink_off();
}

/* ---- the help ---- */

/* Lines of the help, of which those from `top` on are seen. */
struct help {
    const struct vtop_ui *ui;
    size_t line, top;
};

static void help_line(struct help *help, const char *left, const char *text)
{
    char line[256];
    const size_t at = help->line++;
    if (at < help->top || at - help->top + 2 >= (size_t)LINES)
        return;
    if (*left)
        snprintf(line, sizeof(line), "  %-*s %s", 18 + (int)(strlen(left) - vtop_cells(left)), left, text);
    else
        snprintf(line, sizeof(line), " %s", text);
    put_line(help->ui, 1 + (int)(at - help->top), line);
}

static void help_table(struct help *help)
{
    char left[32];
    help_line(help, "", "");
    help_line(help, "", "Columns, with the key that sorts by them:");
    for (size_t i = 0; i < vtop_nr_columns; i++) {
        const struct vtop_column *c = &vtop_columns[i];
        snprintf(left, sizeof(left), "%c  %s", c->letter ? c->letter : ' ',
                 *c->title == ' ' ? "(mark)" : c->title);
        help_line(help, left, c->help);
    }
    help_line(help, "", "");
    help_line(help, "", "How far a guest is held back, by C-DIL; mark and colour say the same:");
    for (size_t i = 0; i < vtop_nr_levels; i++) {
        if (vtop_levels[i].from > 0.0)
            snprintf(left, sizeof(left), "%-4s from %.3f", vtop_levels[i].mark, vtop_levels[i].from);
        else
            snprintf(left, sizeof(left), "no mark");
        help_line(help, left, vtop_levels[i].meaning);
    }
}

static void help_text(struct help *help)
{
    help_line(help, "", "Per cents are of the guest's vCPUs x the window: the states of a row sum to");
    help_line(help, "", "100, less the time in which a vCPU was not there.");
    help_line(help, "~", "estimated, or merged with another state");
    help_line(help, help->ui->utf8 ? "±" : "^", "bounded, by at least half of the last digit shown");
    help_line(help, help->ui->utf8 ? "≠" : "E", "the books do not balance: see the row's details");
    help_line(help, "", "");
    for (size_t i = 0; i < vtop_nr_actions; i++)
        help_line(help, vtop_actions[i].label, vtop_actions[i].help);
    help_table(help);
}

static void draw_help(const struct vtop_screen *s, struct vtop_ui *ui)
{
    const size_t seen = LINES > 2 ? (size_t)LINES - 2 : 1;
    struct help count = { .ui = ui, .top = SIZE_MAX };
    help_text(&count);
    const size_t last = count.line > seen ? count.line - seen : 0;
    ui->help_top = ui->help_top < last ? ui->help_top : last;
    struct help help = { .ui = ui, .top = ui->help_top };
    help_text(&help);
    ink_on(s, INK_BAR, A_BOLD);
    put_line(ui, 0, " vtop: which guest is held back, by how much, and by what");
    ink_on(s, INK_BAR, 0);
    put_line(ui, LINES - 1,
             last ? " arrows and pages scroll, any other key goes back" : " any key goes back");
    ink_off();
}

void vtop_screen_draw(struct vtop_screen *s, struct vtop_ui *ui)
{
    const int head = 4, detail = LINES >= 16 ? VTOP_DETAIL_LINES : 0, keys = 1;
    erase();
    if (ui->help) {
        draw_help(s, ui);
    } else {
        draw_title(s, ui);
        draw_bill(s, ui);
        draw_sum(s, ui);
        draw_legend(s, ui);
        draw_table(s, ui, head, LINES - head - detail - keys);
        if (detail)
            draw_detail(s, ui, LINES - keys - detail);
        draw_keys(s, ui, LINES - 1);
    }
    refresh();
}

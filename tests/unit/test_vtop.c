/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtop's model, columns, bar, batch and keys, fed with snapshots made by hand. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "tui/actions.h"
#include "tui/batch.h"
#include "tui/detail.h"
#include "tui/mix.h"
#include "tui/text.h"

#define S       VT_NSEC_PER_SEC
#define PERCENT (S / 100)

enum { GUESTS = 3, VCPUS = 3 };

struct made {
    struct vt_snapshot snapshot;
    struct vt_guest guest[GUESTS];
    struct vt_vcpu_figures vcpu[GUESTS][VCPUS];
    struct vt_blame blame[3];
    struct vtop_model model;
    struct vtop_ui ui;
};

static struct vt_figure exact(uint64_t ns)
{
    return (struct vt_figure){ .ns = ns };
}

static struct vt_ratio ratio(double v)
{
    return (struct vt_ratio){ .known = true, .value = v };
}

static struct vt_account account_of(uint64_t run, uint64_t preempted, uint64_t halted, uint64_t absent)
{
    struct vt_account a = { 0 };
    a.state[VT_RUN] = a.used = exact(run);
    a.used.accuracy = run ? VT_ESTIMATED : VT_EXACT;
    a.state[VT_PREEMPTED] = a.stolen = exact(preempted);
    a.state[VT_HALTED] = a.idle = exact(halted);
    a.state[VT_ABSENT] = exact(absent);
    if (run)
        a.dilation = a.contention_dilation = ratio((double)(run + preempted) / (double)run);
    return a;
}

static void make_guest(struct made *m, size_t i, const char *name, size_t nr_vcpus, struct vt_account each)
{
    struct vt_guest *g = &m->guest[i];
    memcpy(g->vm.name, name, strlen(name) + 1);
    g->vm.tgid = 1000 + (uint32_t)i;
    g->vm.start_time.v = 77 + i;
    g->nr_vcpus = nr_vcpus;
    g->vcpus = m->vcpu[i];
    g->joint.known = true;
    g->account = each;
    for (size_t s = 0; s < VT_NR_STATES; s++)
        g->account.state[s].ns *= nr_vcpus;
    g->account.used.ns *= nr_vcpus;
    g->account.stolen.ns *= nr_vcpus;
    g->account.idle.ns *= nr_vcpus;
    for (size_t v = 0; v < nr_vcpus; v++) {
        m->vcpu[i][v] = (struct vt_vcpu_figures){ .window_ns = S, .account = each, .now = VT_PREEMPTED };
        m->vcpu[i][v].vcpu.index = (uint32_t)(nr_vcpus - 1 - v); /* not in order */
        m->vcpu[i][v].vcpu.tid = 5000 + (uint32_t)v;
    }
}

static int setup(void **state)
{
    struct made *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    make_guest(m, 0, "web", 1, account_of(25 * PERCENT, 75 * PERCENT, 0, 0));
    make_guest(m, 1, "db", 2, account_of(50 * PERCENT, 5 * PERCENT, 45 * PERCENT, 0));
    make_guest(m, 2, "idle", 1, account_of(0, 0, S, 0));
    m->guest[1].joint.state[VT_JOINT_HAZARD] = exact(125 * PERCENT / 10);
    m->blame[0] = (struct vt_blame){ "web", "db", VT_CULPRIT_VM, 25 * PERCENT, 0 };
    m->blame[1] = (struct vt_blame){ "web", "host", VT_CULPRIT_HOST, 50 * PERCENT, 0 };
    m->snapshot = (struct vt_snapshot){ .window = { { 9 * S }, { 10 * S } },
                                        .nr_guests = GUESTS,
                                        .guests = m->guest,
                                        .nr_blame = 2,
                                        .blame = m->blame };
    m->snapshot.host = (struct vt_host){ .begin = { S }, .nr_cpus = 2, .realtime_offset_ns = 1000 * S };
    strcpy(m->snapshot.host.hostname, "box");
    m->snapshot.observer = (struct vt_observer){ .at = { 9 * S }, .cpu_ns = S / 10, .host_steal_ns = S };
    m->ui.model = &m->model;
    m->ui.sort.column = vtop_column_by_id("contention");
    m->ui.delay = 1.0;
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct made *m = *state;
    vtop_ui_release(&m->ui);
    vtop_model_release(&m->model);
    free(m);
    return 0;
}

static void update(struct made *m)
{
    assert_int_equal(vtop_model_update(&m->model, &m->snapshot, (struct vtop_own_cost){ 0 }), 0);
    assert_int_equal(vtop_ui_arrange(&m->ui), 0);
}

static const struct vtop_row *find_row(const struct made *m, const char *name)
{
    for (size_t i = 0; i < m->model.nr_rows; i++)
        if (!m->model.rows[i].is_vcpu && strcmp(m->model.rows[i].name, name) == 0)
            return &m->model.rows[i];
    fail_msg("no row %s", name);
    return NULL;
}

static void assert_order(const struct made *m, const char *names)
{
    char got[256] = "";
    for (size_t i = 0; i < m->ui.nr_rows; i++) {
        const struct vtop_row *r = m->ui.rows[i];
        const size_t at = strlen(got);
        if (r->is_vcpu)
            snprintf(got + at, sizeof(got) - at, "/%u ", r->index);
        else
            snprintf(got + at, sizeof(got) - at, "%s ", r->name);
    }
    assert_string_equal(got, names);
}

/* ---- the model ---- */

static void a_guest_is_measured_against_its_vcpus_times_the_window(void **state)
{
    struct made *m = *state;
    update(m);
    const struct vtop_row *db = find_row(m, "db");
    assert_int_equal(db->vcpus, 2);
    assert_int_equal(db->whole_ns, 2 * S);
    assert_true(fabs(vtop_percent(db->account.used.ns, db->whole_ns) - 50.0) < 1e-9);
    assert_int_equal(m->model.head.whole_ns, 4 * S);
    assert_int_equal(m->model.head.all.stolen.ns, 85 * PERCENT);
}

static void a_vcpu_absent_all_the_window_is_no_row_and_no_part_of_the_hundred(void **state)
{
    struct made *m = *state;
    m->vcpu[1][0].account = account_of(0, 0, 0, S);
    m->vcpu[2][0].account = account_of(0, 0, 0, S);
    update(m);
    assert_int_equal(find_row(m, "db")->vcpus, 1);
    assert_int_equal(find_row(m, "db")->whole_ns, S);
    assert_int_equal(m->model.head.guests, 2); /* "idle" is gone */
}

static void two_lives_of_a_vcpu_are_one_vcpu(void **state)
{
    struct made *m = *state;
    m->vcpu[1][0].vcpu.index = m->vcpu[1][1].vcpu.index = 0;
    m->vcpu[1][0].account = account_of(30 * PERCENT, 0, 0, 70 * PERCENT);
    m->vcpu[1][1].account = account_of(60 * PERCENT, 0, 0, 40 * PERCENT);
    update(m);
    assert_int_equal(find_row(m, "db")->vcpus, 1);
    assert_int_equal(find_row(m, "db")->whole_ns, S);
}

static void residuals_of_opposite_sign_do_not_hide_each_other(void **state)
{
    struct made *m = *state;
    m->vcpu[1][0].residual_ns = 7;
    m->vcpu[1][1].residual_ns = -7;
    m->vcpu[0][0].ledger_residual_ns = -3;
    update(m);
    assert_int_equal(find_row(m, "db")->residual_ns, 14);
    assert_int_equal(find_row(m, "web")->ledger_residual_ns, 3);
}

static void shares_come_from_the_growth_between_readings(void **state)
{
    struct made *m = *state;
    update(m); /* the first: since the recording began, 8 s */
    assert_true(fabs(m->model.head.recorder_share - 0.1 / 8) < 1e-9);
    assert_true(fabs(m->model.head.steal_share - 1.0 / 16) < 1e-9);
    m->snapshot.observer = (struct vt_observer){ .at = { 11 * S }, .cpu_ns = S / 10 + S, .host_steal_ns = S };
    update(m);
    assert_true(fabs(m->model.head.recorder_share - 0.5) < 1e-9);
    assert_true(m->model.head.steal_share == 0.0);
    update(m); /* no new reading: it stays */
    assert_true(fabs(m->model.head.recorder_share - 0.5) < 1e-9);
}

static void hostile_names_come_out_printable(void **state)
{
    struct made *m = *state;
    make_guest(m, 0, "\x1b]0;owned\x07\xff\n", 1, account_of(S, 0, 0, 0));
    memset(m->guest[2].vm.name, 'x', sizeof(m->guest[2].vm.name)); /* no end */
    update(m);
    for (size_t i = 0; i < m->model.nr_rows; i++)
        for (const char *p = m->model.rows[i].name; *p; p++)
            assert_true(*p >= ' ' && *p < 0x7f);
    find_row(m, "\\x1b]0;owned\\x07\\xff\\x0a");
}

static void an_empty_snapshot_is_an_empty_table(void **state)
{
    struct made *m = *state;
    m->snapshot.nr_guests = m->snapshot.nr_blame = 0;
    update(m);
    assert_int_equal(m->ui.nr_rows, 0);
    assert_null(vtop_ui_selected(&m->ui));
    assert_int_equal(vtop_act(&m->ui, 't'), VTOP_NOTHING);
    assert_int_equal(vtop_act(&m->ui, VTOP_KEY_DOWN), VTOP_DRAW);
}

/* ---- sorting and keys ---- */

static void press(struct made *m, int key)
{
    if (vtop_act(&m->ui, key) & VTOP_ARRANGE)
        assert_int_equal(vtop_ui_arrange(&m->ui), 0);
}

static void unknown_dilation_sorts_last_either_way(void **state)
{
    struct made *m = *state;
    update(m);
    assert_order(m, "web db idle ");
    press(m, 'r');
    assert_order(m, "db web idle ");
}

static void a_guest_that_never_ran_though_it_wished_to_is_the_worst_of_all(void **state)
{
    struct made *m = *state;
    const struct vtop_style style = { .utf8 = false, .name_cells = 12, .mix_cells = 20 };
    struct vtop_cell cell = { .text = "" };
    make_guest(m, 2, "starved", 1, account_of(0, S, 0, 0));
    update(m);
    assert_order(m, "starved web db ");
    const struct vtop_column *c = vtop_column_by_id("contention");
    c->fill(c, m->ui.rows[0], &style, &cell);
    assert_string_equal(cell.text, "  inf !!!");
    assert_int_equal(cell.level, VTOP_LEVEL_BAD);
}

static void keys_sort_by_their_column(void **state)
{
    struct made *m = *state;
    update(m);
    press(m, 'N');
    assert_order(m, "db idle web ");
    press(m, 'N'); /* again: the other way */
    assert_order(m, "web idle db ");
    press(m, 'I');
    assert_order(m, "idle db web ");
    press(m, 'U');
    assert_order(m, "db web idle ");
    press(m, '>');
    assert_string_equal(m->ui.sort.column->id, "overhead");
    press(m, '<');
    press(m, '<');
    assert_string_equal(m->ui.sort.column->id, "dilation");
}

static void every_letter_is_one_key_and_no_action(void **state)
{
    (void)state;
    for (size_t i = 0; i < vtop_nr_columns; i++) {
        if (vtop_columns[i].letter)
            assert_ptr_equal(vtop_column_by_letter(vtop_columns[i].letter), &vtop_columns[i]);
        for (size_t a = 0; a < vtop_nr_actions; a++)
            for (size_t k = 0; k < 4 && vtop_actions[a].keys[k]; k++)
                assert_int_not_equal(vtop_actions[a].keys[k], vtop_columns[i].letter);
    }
}

static void vcpus_open_under_their_guest_by_index(void **state)
{
    struct made *m = *state;
    update(m);
    press(m, VTOP_KEY_DOWN);
    press(m, '\n');
    assert_order(m, "web db /0 /1 idle ");
    press(m, 'r');
    assert_order(m, "db /0 /1 web idle ");
    press(m, 't');
    assert_order(m, "db web idle ");
    press(m, 'a');
    assert_order(m, "db /0 /1 web /0 idle /0 ");
    press(m, 'a');
    assert_order(m, "db web idle ");
}

static void the_selection_stays_with_its_row(void **state)
{
    struct made *m = *state;
    update(m);
    press(m, VTOP_KEY_DOWN);
    assert_string_equal(vtop_ui_selected(&m->ui)->name, "db");
    press(m, 'r');
    assert_string_equal(vtop_ui_selected(&m->ui)->name, "db");
    m->snapshot.nr_guests = 1; /* it ends */
    update(m);
    assert_string_equal(vtop_ui_selected(&m->ui)->name, "web");
}

static void the_delay_is_asked_for_and_checked(void **state)
{
    struct made *m = *state;
    update(m);
    press(m, 'd');
    press(m, '2');
    press(m, '.');
    press(m, '5');
    press(m, 'q'); /* not a digit: not a quit either */
    assert_int_equal(vtop_act(&m->ui, '\n'), VTOP_DRAW | VTOP_FETCH);
    assert_true(m->ui.delay == 2.5);
    press(m, 'd');
    press(m, '0');
    press(m, '\n');
    assert_true(m->ui.delay == 2.5);
    assert_true(m->ui.message[0] != '\0');
    assert_int_equal(vtop_act(&m->ui, 'q'), VTOP_QUIT);
}

static void help_scrolls_and_any_other_key_closes_it(void **state)
{
    struct made *m = *state;
    update(m);
    press(m, 'h');
    assert_true(m->ui.help);
    press(m, VTOP_KEY_DOWN);
    press(m, VTOP_KEY_UP);
    press(m, VTOP_KEY_UP);
    assert_int_equal(m->ui.help_top, 0);
    assert_true(m->ui.help);
    assert_int_equal(vtop_act(&m->ui, 'q'), VTOP_DRAW);
    assert_false(m->ui.help);
}

/* ---- cells ---- */

static void levels_follow_the_planners_lines(void **state)
{
    (void)state;
    const struct {
        double dilation;
        enum vtop_level level;
    } cases[] = { { 1.0, VTOP_LEVEL_FINE },         { 1.025, VTOP_LEVEL_FINE }, { 1.03, VTOP_LEVEL_WATCH },
                  { 1.06, VTOP_LEVEL_SIGNIFICANT }, { 1.12, VTOP_LEVEL_BAD },   { 4.0, VTOP_LEVEL_BAD } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(vtop_level_of(&(struct vt_ratio){ true, cases[i].dilation, 0 })->level,
                         cases[i].level);
    assert_int_equal(vtop_level_of(&(struct vt_ratio){ 0 })->level, VTOP_LEVEL_FINE);
}

static void marks_say_how_sure_a_figure_is(void **state)
{
    (void)state;
    const struct vt_figure small = { .ns = S / 2, .bound_ns = 1000, .accuracy = VT_BOUNDED };
    const struct vt_figure large = { .ns = S / 2, .bound_ns = S / 1000, .accuracy = VT_BOUNDED };
    const struct vt_figure guessed = { .ns = S / 2, .accuracy = VT_ESTIMATED };
    assert_string_equal(vtop_figure_mark(&small, S, true), " ");
    assert_string_equal(vtop_figure_mark(&large, S, true), "±");
    assert_string_equal(vtop_figure_mark(&large, S, false), "^");
    assert_string_equal(vtop_figure_mark(&guessed, S, true), "~");
}

static void a_row_is_as_wide_as_its_columns(void **state)
{
    struct made *m = *state;
    struct vtop_style style = { .utf8 = true, .name_cells = 12, .mix_cells = 20 };
    m->vcpu[0][0].residual_ns = 1;
    m->guest[1].account.dilation.value = 123456.0;
    update(m);
    for (size_t i = 0; i < m->model.nr_rows; i++)
        for (size_t c = 0; c < vtop_nr_columns; c++) {
            struct vtop_cell cell = { .text = "" };
            vtop_columns[c].fill(&vtop_columns[c], &m->model.rows[i], &style, &cell);
            if (c == 4 && m->model.rows[i].account.dilation.value > 99999.0)
                continue; /* a number is not cut */
            assert_int_equal(vtop_cells(cell.text), vtop_column_cells(&vtop_columns[c], &style));
        }
}

static void columns_fit_whatever_the_width(void **state)
{
    (void)state;
    bool shown[64];
    char line[1024];
    for (size_t width = 36; width < 260; width++) {
        struct vtop_style style = { .utf8 = true };
        vtop_columns_fit(width, 40, shown, &style);
        assert_true(strlen(vtop_title_line(line, sizeof(line), shown, &style)) <= width);
        for (size_t i = 0; width >= 80 && i < vtop_nr_columns; i++) /* what 80 columns must show */
            if (strchr("NCUPWTBI", vtop_columns[i].letter))
                assert_true(shown[i]);
        if (width >= 140)
            for (size_t i = 0; i < vtop_nr_columns; i++)
                assert_true(shown[i]);
    }
}

static void text_fits_its_cells_in_any_script(void **state)
{
    (void)state;
    const char *const names[] = {
        "plain", "", "日本語のゲスト", "ünïcødé-guest", "e\u0301e\u0301e\u0301", "a-very-long-name"
    };
    char out[256];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (size_t cells = 0; cells < 20; cells++) {
            vtop_fit(out, sizeof(out), names[i], cells, true);
            assert_int_equal(vtop_cells(out), cells);
            vtop_fit(out, sizeof(out), names[i], cells, false);
            assert_int_equal(strlen(out), cells);
        }
    vtop_fit(out, sizeof(out), "a-very-long-name", 6, true);
    assert_string_equal(out, "a-ver…");
}

/* ---- the bar ---- */

static void a_bar_has_exactly_its_cells(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 2000; round++) {
        struct vt_account a = { 0 };
        uint64_t sum = 0;
        size_t got[VTOP_PARTS_MAX], total = 0;
        for (size_t s = 0; s < VT_NR_STATES; s++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            sum += a.state[s].ns = seed % 3 ? seed % S : 0;
        }
        const size_t cells = seed % 50;
        vtop_mix(&a, sum + seed % 2 * S, cells, got);
        for (size_t i = 0; i < vtop_nr_parts; i++)
            total += got[i];
        assert_int_equal(total, cells);
    }
}

static void every_state_has_one_part(void **state)
{
    (void)state;
    uint32_t all = 0;
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        assert_int_equal(all & vtop_parts[i].states, 0);
        all |= vtop_parts[i].states;
    }
    assert_int_equal(all, (1u << VT_NR_STATES) - 1);
}

static void a_bar_is_read_at_a_glance(void **state)
{
    struct made *m = *state;
    char text[128];
    update(m);
    vtop_mix_text(text, sizeof(text), &find_row(m, "web")->account, S, 8, false);
    assert_string_equal(text, "##PPPPPP");
    vtop_mix_text(text, sizeof(text), &find_row(m, "db")->account, 2 * S, 20, true);
    assert_string_equal(text, "██████████P·········");
}

/* ---- batch ---- */

static char *batch(const struct made *m, bool json, bool vcpus)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    if (json)
        assert_int_equal(vtop_batch_json(f, &m->model, &m->ui.sort, vcpus), 0);
    else
        assert_int_equal(vtop_batch_text(f, &m->model, &m->ui.sort, vcpus, false), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void batch_text_is_as_agreed(void **state)
{
    static const char golden[] = "vtop 1970-01-01 00:16:50.000  host box  window 1.000 s  guests 3  vCPUs 4\n"
                                 "lost 0 events  host steal 6.25%  cost in %CPU: recorder 1.25\n"
                                 "NAME                 VCPU   C-DIL     DILAT  %USED %OVHD %STOL %PREE %WAKE "
                                 "%THRO  %IRQ %STAL %IDLE %PAUS"
                                 " %LOST %HAZD STATES\n"
                                 "web                     1    4.00 !!!  4.00   25.0~  0.0  75.0  75.0   0.0 "
                                 "  0.0   0.0   0.0   0.0   0.0 "
                                 "  0.0       ######PPPPPPPPPPPPPPPPPP\n"
                                 "db                      2    1.10 !!   1.10   50.0~  0.0   5.0   5.0   0.0 "
                                 "  0.0   0.0   0.0  45.0   0.0 "
                                 "  0.0  12.5 ############P...........\n"
                                 "idle                    1       -         -    0.0   0.0   0.0   0.0   0.0 "
                                 "  0.0   0.0   0.0 100.0   0.0 "
                                 "  0.0       ........................\n\n";
    struct made *m = *state;
    update(m);
    char *text = batch(m, false, false);
    assert_string_equal(text, golden);
    free(text);
}

static void batch_text_says_by_how_much_the_books_are_off(void **state)
{
    struct made *m = *state;
    m->vcpu[0][0].residual_ns = -12;
    update(m);
    char *text = batch(m, false, false);
    assert_non_null(strstr(text, "web                     1 E  4.00 !!!"));
    assert_non_null(strstr(text, "web: residual 12 ns, ledger's residual 0 ns\n"));
    free(text);
}

/* Of the window, not of all vCPUs' time; one vCPU alone cannot have it. */
static void hazard_is_a_share_of_the_window(void **state)
{
    struct made *m = *state;
    const struct vtop_column *column = vtop_column_by_id("hazard");
    const struct vtop_style style = { .utf8 = true };
    struct vtop_cell cell = { .text = "" };
    assert_non_null(column);
    m->guest[0].joint.state[VT_JOINT_HAZARD] = exact(S);
    update(m);
    column->fill(column, find_row(m, "db"), &style, &cell);
    assert_string_equal(cell.text, " 12.5 ");
    assert_true(column->value(column, find_row(m, "db")) == 12.5);
    column->fill(column, find_row(m, "web"), &style, &cell);
    assert_string_equal(cell.text, "      ");
    assert_true(isnan(column->value(column, find_row(m, "web"))));
    m->ui.sort.column = column; /* those that cannot have it come last */
    update(m);
    assert_order(m, "db idle web ");
    m->guest[1].joint.known = false; /* recorded without slices */
    update(m);
    column->fill(column, find_row(m, "db"), &style, &cell);
    assert_string_equal(cell.text, "      ");
}

static void batch_json_is_a_line_with_accuracies(void **state)
{
    struct made *m = *state;
    update(m);
    char *text = batch(m, true, true);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    cJSON *block = cJSON_Parse(text);
    assert_non_null(block);
    const cJSON *web = cJSON_GetArrayItem(cJSON_GetObjectItem(block, "guests"), 0);
    assert_string_equal(cJSON_GetObjectItem(web, "name")->valuestring, "web");
    assert_true(cJSON_GetObjectItem(cJSON_GetObjectItem(web, "dilation"), "value")->valuedouble == 4.0);
    assert_string_equal(cJSON_GetObjectItem(cJSON_GetObjectItem(web, "used"), "accuracy")->valuestring,
                        "estimated");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(web, "vcpus")), 1);
    assert_non_null(cJSON_GetObjectItem(web, "concurrency_hazard"));
    cJSON_Delete(block);
    free(text);
}

/* ---- details ---- */

static void details_name_the_debtors_the_greatest_first(void **state)
{
    struct made *m = *state;
    struct vtop_detail d;
    update(m);
    vtop_detail_fill(&d, &m->model, find_row(m, "web"), false);
    assert_string_equal(d.line[0], "web: process 1000, 1 vCPU");
    assert_string_equal(d.line[1], "PREEMPTED 75.0% 750.0 ms  RUN 25.0% 250.0 ms");
    assert_string_equal(d.line[2], "stolen by: host 66.7%  db 33.3%");
    m->blame[0].elsewhere_ns = 15 * PERCENT;
    m->snapshot.host.elsewhere_cpus = 8;
    update(m);
    vtop_detail_fill(&d, &m->model, find_row(m, "web"), false);
    assert_string_equal(d.line[2], "stolen by: host 66.7%  db 33.3%  (a CPU idle elsewhere: 20.0%)");
    m->snapshot.host.nr_cpus = 10; /* one may have been missed */
    update(m);
    vtop_detail_fill(&d, &m->model, find_row(m, "web"), false);
    assert_string_equal(d.line[2], "stolen by: host 66.7%  db 33.3%  (a CPU idle elsewhere: ~20.0%)");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    setenv("TZ", "UTC", 1);
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        TEST(a_guest_is_measured_against_its_vcpus_times_the_window),
        TEST(a_vcpu_absent_all_the_window_is_no_row_and_no_part_of_the_hundred),
        TEST(two_lives_of_a_vcpu_are_one_vcpu),
        TEST(residuals_of_opposite_sign_do_not_hide_each_other),
        TEST(shares_come_from_the_growth_between_readings),
        TEST(hostile_names_come_out_printable),
        TEST(an_empty_snapshot_is_an_empty_table),
        TEST(unknown_dilation_sorts_last_either_way),
        TEST(a_guest_that_never_ran_though_it_wished_to_is_the_worst_of_all),
        TEST(keys_sort_by_their_column),
        TEST(every_letter_is_one_key_and_no_action),
        TEST(vcpus_open_under_their_guest_by_index),
        TEST(the_selection_stays_with_its_row),
        TEST(the_delay_is_asked_for_and_checked),
        TEST(help_scrolls_and_any_other_key_closes_it),
        TEST(levels_follow_the_planners_lines),
        TEST(marks_say_how_sure_a_figure_is),
        TEST(a_row_is_as_wide_as_its_columns),
        TEST(columns_fit_whatever_the_width),
        TEST(text_fits_its_cells_in_any_script),
        TEST(a_bar_has_exactly_its_cells),
        TEST(every_state_has_one_part),
        TEST(a_bar_is_read_at_a_glance),
        TEST(batch_text_is_as_agreed),
        TEST(batch_text_says_by_how_much_the_books_are_off),
        TEST(hazard_is_a_share_of_the_window),
        TEST(batch_json_is_a_line_with_accuracies),
        TEST(details_name_the_debtors_the_greatest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Marks that are part of no benchmark: points, and those of benchmarks that can't be told. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <string.h>

#include "format.h"
#include "view.h"

static const struct {
    const char *key; /* in JSON */
    const char *why;
} lacks[VT_NR_MARK_LACKS] = {
    [VT_MARK_LACKS_NOTHING] = { NULL, "" },
    [VT_MARK_LACKS_BEGIN] = { "begin", "its begin is not in this recording" },
    [VT_MARK_LACKS_END] = { "end", "under way at the end, or its end was never told" },
    [VT_MARK_LACKS_CLOCK] = { "clock", "no map tells when it was made" },
    [VT_MARK_OUTSIDE] = { "recording", "it or its other mark is not within the recording" },
    [VT_MARK_BACKWARDS] = { "order", "its end does not come after its begin" },
};

const char *report_mark_lack(const struct vt_lone_mark *mark)
{
    return lacks[mark->lack].why;
}

static const char *kind_of(const struct vt_lone_mark *mark)
{
    return mark->kind == VTG_MARK_BEGIN ? "begin" : mark->kind == VTG_MARK_END ? "end" : "point";
}

/* ---- text ---- */

static struct table *new_table(const struct report_view *v)
{
    struct table *t = table_new(v->utf8);
    if (!t)
        return NULL;
    table_column(t, "guest", true, false);
    table_column(t, "mark", true, false);
    table_column(t, "kind", true, false);
    table_column(t, "set at", false, false);
    table_column(t, "within", false, false);
    table_column(t, "so far", false, true);
    table_column(t, "why it is of no benchmark", true, true);
    return t;
}

static void put_row(struct table *t, const struct report_view *v, const struct vt_guest *g,
                    const struct vt_lone_mark *mark)
{
    char name[REPORT_NAME_LEN], text[FORMAT_LEN];
    table_cell(t, report_name(name, g->vm.name));
    table_cell(t, mark->name[0] ? report_name(name, mark->name) : "(no name)");
    table_cell(t, kind_of(mark));
    snprintf(text, sizeof(text), "%.6f s", ((double)mark->at.v - (double)v->epoch.v) / 1e9);
    table_cell(t, mark->placed ? text : "?");
    snprintf(text, sizeof(text), "%s", v->utf8 ? "±" : "+-");
    format_ns(text + strlen(text), mark->bound_ns, v->utf8);
    if (mark->accuracy == VT_ESTIMATED)
        snprintf(text, sizeof(text), "estimated");
    table_cell(t, mark->placed ? text : "");
    table_cell(t, mark->so_far_ns ? format_ns(text, mark->so_far_ns, v->utf8) : "");
    table_cell(t, report_mark_lack(mark));
}

/* The newest, as the benchmarks before them. */
static void put_rows(struct table *t, const struct report_view *v, const struct vt_guest *g)
{
    const size_t first = g->nr_marks > REPORT_MAX_DETAIL ? g->nr_marks - REPORT_MAX_DETAIL : 0;
    for (size_t i = first; i < g->nr_marks; i++)
        put_row(t, v, g, &g->marks[i]);
}

static void put_left_out(const struct vt_guest *g, FILE *out)
{
    char name[REPORT_NAME_LEN];
    if (g->nr_marks > REPORT_MAX_DETAIL)
        fprintf(out, "  %zu older ones of %s: see --json\n", g->nr_marks - REPORT_MAX_DETAIL,
                report_name(name, g->vm.name));
    if (g->marks_left_out)
        fprintf(out, "  %" PRIu64 " of %s left out: it set too many\n", g->marks_left_out,
                report_name(name, g->vm.name));
}

void report_text_marks(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = new_table(v);
    bool any = false;
    for (size_t i = 0; i < s->nr_guests; i++) {
        any |= s->guests[i].nr_marks || s->guests[i].marks_left_out;
        put_rows(t, v, &s->guests[i]);
    }
    if (any) {
        fputs("\nMarks: points, and what became no benchmark; seconds of the recording\n", out);
        table_print(t, 3, "  ", out);
        for (size_t i = 0; i < s->nr_guests; i++)
            put_left_out(&s->guests[i], out);
    }
    table_free(t);
}

/* ---- JSON ---- */

static bool add_raw(cJSON *o, const char *key, bool known, int64_t n)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, n); /* a double would lose digits */
    return known ? cJSON_AddRawToObject(o, key, text) != NULL : cJSON_AddNullToObject(o, key) != NULL;
}

static bool add_text(cJSON *o, const char *key, const char *text)
{
    return text && *text ? cJSON_AddStringToObject(o, key, text) != NULL
                         : cJSON_AddNullToObject(o, key) != NULL;
}

static bool add_mark(cJSON *list, const struct report_view *v, const struct vt_lone_mark *mark)
{
    static const char *const accuracy[] = { "exact", "bounded", "estimated" };
    char name[REPORT_NAME_LEN];
    cJSON *row = cJSON_CreateObject();
    if (!row || !cJSON_AddItemToArray(list, row)) {
        cJSON_Delete(row);
        return false;
    }
    return cJSON_AddStringToObject(row, "name", report_name(name, mark->name)) &&
           add_text(row, "kind", kind_of(mark)) && add_raw(row, "vcpu", true, mark->vcpu_index) &&
           add_raw(row, "at_ns", mark->placed, (int64_t)(mark->at.v - v->epoch.v)) &&
           add_raw(row, "bound_ns", mark->placed, (int64_t)mark->bound_ns) &&
           add_text(row, "accuracy", mark->placed ? accuracy[mark->accuracy] : NULL) &&
           add_raw(row, "so_far_ns", mark->so_far_ns > 0, (int64_t)mark->so_far_ns) &&
           add_text(row, "lacks", lacks[mark->lack].key) && add_text(row, "why", lacks[mark->lack].why);
}

bool report_json_marks(struct cJSON *guest, const struct vt_guest *g, const struct report_view *v)
{
    cJSON *list = cJSON_AddArrayToObject(guest, "marks");
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < g->nr_marks; i++)
        ok = add_mark(list, v, &g->marks[i]);
    return ok && add_raw(guest, "marks_left_out", true, (int64_t)g->marks_left_out);
}

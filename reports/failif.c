/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --fail-if 'stolen>1%': a benchmark harness's question, put to every
 * benchmark, or to every guest where nobody set marks.
 *
 * Judged on the safe side: "more than" conditions take the figure with its
 * bound on top, and time that is LOST counts as whatever was asked about.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/state.h"
#include "format.h"
#include "view.h"

struct subject {
    const char *guest, *mark; /* mark NULL: the whole window */
    const struct vt_account *account;
    struct vt_ratio dilation, contention;
    int64_t residual_ns;
    bool utf8;
};

enum metric_kind { METRIC_TIME, METRIC_RATIO, METRIC_RESIDUAL };
struct metric {
    const char *name;
    enum metric_kind kind;
    size_t offset;       /* METRIC_TIME: of a figure in struct vt_account; METRIC_RATIO: in struct subject */
    bool hidden_in_lost; /* lost time may have been this */
};

#define SUM(name, member, hidden)                                                                            \
    {                                                                                                        \
        name, METRIC_TIME, offsetof(struct vt_account, member), hidden                                       \
    }
static const struct metric metrics[] = {
    SUM("used", used, true),
    SUM("overhead", overhead, true),
    SUM("stolen", stolen, true),
    SUM("stalled", stalled, true),
    SUM("idle", idle, true),
    SUM("paused", paused, true),
    SUM("lost", unknown, false),
    { "dilation", METRIC_RATIO, offsetof(struct subject, dilation), false },
    { "contention_dilation", METRIC_RATIO, offsetof(struct subject, contention), false },
    { "residual", METRIC_RESIDUAL, 0, false },
};
#define NR_METRICS (sizeof(metrics) / sizeof(metrics[0]))

/* Numbers from NR_METRICS on are states. */
static bool find_metric(const char *name, size_t length, size_t *ret)
{
    for (size_t i = 0; i < NR_METRICS; i++)
        if (strlen(metrics[i].name) == length && strncasecmp(metrics[i].name, name, length) == 0) {
            *ret = i;
            return true;
        }
    for (size_t s = 0; s < VT_NR_STATES; s++)
        if (strlen(vt_states[s].name) == length && strncasecmp(vt_states[s].name, name, length) == 0) {
            *ret = NR_METRICS + s;
            return true;
        }
    return false;
}

static struct metric metric_of(size_t number)
{
    if (number < NR_METRICS)
        return metrics[number];
    size_t s = number - NR_METRICS;
    return (struct metric){ vt_states[s].name, METRIC_TIME,
                            offsetof(struct vt_account, state) + s * sizeof(struct vt_figure), s != VT_LOST };
}

static int bad_condition(const char *text, const char *why, struct vt_err *err)
{
    char clean[REPORT_NAME_LEN];
    return vt_fail(
        err, EINVAL,
        "--fail-if '%s': %s; it is METRIC>VALUE (or >= < <=), METRIC one of used, overhead, stolen, "
        "stalled, idle, paused, lost, a state's name, dilation, contention_dilation, residual; VALUE with "
        "%%, s, ms, us or ns, or a plain ratio: 'stolen>1%%'",
        report_name(clean, text), why);
}

static const char *parse_operator(const char *s, struct report_condition *c)
{
    bool more = *s == '>';
    if (*s != '>' && *s != '<')
        return NULL;
    if (s[1] == '=') {
        c->op = more ? REPORT_GE : REPORT_LE;
        return s + 2;
    }
    c->op = more ? REPORT_GT : REPORT_LT;
    return s + 1;
}

/* Digits with at most one point: strtod() alone would take "nan", "0x1p3" and "1e999". */
static const char *parse_number(const char *s, double *ret)
{
    size_t digits = strspn(s, "0123456789");
    size_t length = digits;
    if (s[length] == '.') {
        size_t more = strspn(s + length + 1, "0123456789");
        digits += more;
        length += 1 + more;
    }
    if (digits == 0 || length > 18)
        return NULL;
    *ret = strtod(s, NULL);
    return s + length;
}

static bool parse_unit(const char *s, struct report_condition *c)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = { { "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 }, { "µs", 1e3 }, { "ns", 1 } };
    if (!*s || strcmp(s, "%") == 0) {
        c->unit = *s ? REPORT_UNIT_PERCENT : REPORT_UNIT_PLAIN;
        return true;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(s, units[i].name) == 0) {
            c->unit = REPORT_UNIT_NS;
            c->value *= units[i].ns;
            return true;
        }
    return false;
}

int report_parse_condition(const char *text, struct report_condition *ret, struct vt_err *err)
{
    struct report_condition c = { .text = text };
    const char *s = text + strspn(text, " ");
    size_t length = strcspn(s, "<>= ");
    if (!find_metric(s, length, &c.metric))
        return bad_condition(text, "no such metric", err);
    s += length;
    s = parse_operator(s + strspn(s, " "), &c);
    if (!s)
        return bad_condition(text, "no comparison", err);
    s = parse_number(s + strspn(s, " "), &c.value);
    if (!s)
        return bad_condition(text, "no number", err);
    if (!parse_unit(s + strspn(s, " "), &c))
        return bad_condition(text, "unknown unit", err);
    enum metric_kind kind = metric_of(c.metric).kind;
    if (kind == METRIC_RATIO && c.unit != REPORT_UNIT_PLAIN)
        return bad_condition(text, "a ratio has no unit", err);
    if (kind == METRIC_TIME && c.unit == REPORT_UNIT_PLAIN)
        return bad_condition(text, "a time needs a unit", err);
    if (kind == METRIC_RESIDUAL && c.unit != REPORT_UNIT_NS)
        return bad_condition(text, "the residual is a time", err);
    *ret = c;
    return 0;
}

/* The figure's least and most, in the condition's unit. False: nothing to compare. */
static bool measure(const struct subject *s, const struct report_condition *c, double *least, double *most)
{
    struct metric m = metric_of(c->metric);
    if (m.kind == METRIC_RESIDUAL) {
        *least = *most = fabs((double)s->residual_ns);
        return true;
    }
    if (m.kind == METRIC_RATIO) {
        struct vt_ratio r;
        memcpy(&r, (const char *)s + m.offset, sizeof(r));
        *least = r.value - r.bound;
        *most = r.value + r.bound;
        return r.known;
    }
    struct vt_figure f;
    memcpy(&f, (const char *)s->account + m.offset, sizeof(f));
    double lost = m.hidden_in_lost ? (double)s->account->unknown.ns : 0;
    *least = (double)f.ns - (double)f.bound_ns;
    *most = (double)f.ns + (double)f.bound_ns + lost;
    if (c->unit == REPORT_UNIT_NS)
        return true;
    double total = (double)report_account_total(s->account);
    *least *= 100 / (total > 0 ? total : 1);
    *most *= 100 / (total > 0 ? total : 1);
    return total > 0;
}

static bool is_met(const struct report_condition *c, double least, double most)
{
    switch (c->op) {
    case REPORT_GT:
        return most > c->value;
    case REPORT_GE:
        return most >= c->value;
    case REPORT_LT:
        return least < c->value;
    case REPORT_LE:
        break;
    }
    return least <= c->value;
}

static void put_bounds(const struct report_condition *c, double value, bool utf8, char out[FORMAT_LEN])
{
    if (c->unit == REPORT_UNIT_PERCENT)
        snprintf(out, FORMAT_LEN, "%.3f %%", value);
    else if (c->unit == REPORT_UNIT_PLAIN)
        snprintf(out, FORMAT_LEN, "%.3f", value);
    else
        format_ns(out, value > 0 ? (uint64_t)value : 0, utf8);
}

/* 1 if met, 0 if not, -ENODATA if it cannot be told. */
static int judge(const struct subject *s, const struct report_condition *c, FILE *out)
{
    double least, most;
    if (!measure(s, c, &least, &most))
        return -ENODATA;
    if (!is_met(c, least, most))
        return 0;
    char guest[REPORT_NAME_LEN], mark[REPORT_NAME_LEN], text[REPORT_NAME_LEN], low[FORMAT_LEN],
        high[FORMAT_LEN];
    put_bounds(c, least, s->utf8, low);
    put_bounds(c, most, s->utf8, high);
    fprintf(out, "vtime: --fail-if '%s': %s%s%s: %s is ", report_name(text, c->text),
            report_name(guest, s->guest), s->mark ? "/" : "", s->mark ? report_name(mark, s->mark) : "",
            metric_of(c->metric).name);
    if (strcmp(low, high) == 0)
        fprintf(out, "%s\n", high);
    else
        fprintf(out, "between %s and %s\n", low, high);
    return 1;
}

static struct subject subject_of_window(const struct vt_guest *g, bool utf8)
{
    int64_t residual = 0;
    for (size_t i = 0; i < g->nr_vcpus; i++) {
        int64_t r = g->vcpus[i].residual_ns;
        residual = llabs(r) > llabs(residual) ? r : residual;
    }
    return (struct subject){ .guest = g->vm.name,
                             .account = &g->account,
                             .dilation = g->account.dilation,
                             .contention = g->account.contention_dilation,
                             .residual_ns = residual,
                             .utf8 = utf8 };
}

static struct subject subject_of_benchmark(const struct vt_guest *g, const struct vt_benchmark *b, bool utf8)
{
    return (struct subject){ .guest = g->vm.name,
                             .mark = b->name,
                             .account = &b->truth,
                             .dilation = b->truth.dilation,
                             .contention = b->truth.contention_dilation,
                             .residual_ns = b->residual_ns,
                             .utf8 = utf8 };
}

/* It marked benchmarks, and none of them can be told: that none met it is not known. */
static bool is_untold(const struct vt_guest *g, const struct report_condition *c, FILE *out)
{
    char text[REPORT_NAME_LEN], guest[REPORT_NAME_LEN], name[REPORT_NAME_LEN];
    const struct vt_lone_mark *first = NULL;
    if (g->nr_benchmarks || !g->marks_lacking)
        return false;
    for (size_t i = 0; i < g->nr_marks && !first; i++)
        if (g->marks[i].kind != VTG_MARK_POINT)
            first = &g->marks[i];
    fprintf(out, "vtime: --fail-if '%s': %s marked benchmarks, and none can be judged",
            report_name(text, c->text), report_name(guest, g->vm.name));
    if (first)
        fprintf(out, ": %s: %s", first->name[0] ? report_name(name, first->name) : "(no name)",
                report_mark_lack(first));
    fputc('\n', out);
    return true;
}

int report_judge(const struct report_view *v, const struct report_condition *c, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    int met = 0, judged = 0;
    bool marks = false;
    for (size_t g = 0; g < s->nr_guests; g++)
        marks |= s->guests[g].nr_benchmarks > 0 && !report_is_bare(&s->guests[g]);
    for (size_t g = 0; g < s->nr_guests; g++) {
        const struct vt_guest *guest = &s->guests[g];
        size_t n = marks ? guest->nr_benchmarks : 1;
        if (is_untold(guest, c, out)) {
            judged++;
            met++;
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (report_is_bare(guest) || (marks && guest->benchmarks[i].from_host_process))
                continue;
            struct subject subject = marks ? subject_of_benchmark(guest, &guest->benchmarks[i], v->utf8)
                                           : subject_of_window(guest, v->utf8);
            int r = judge(&subject, c, out);
            judged += r >= 0;
            met += r > 0;
        }
    }
    return judged ? met : -ENODATA;
}

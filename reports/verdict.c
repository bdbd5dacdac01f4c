/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The demo's findings: a table, each guest's figures, and a sentence. */
#include <string.h>

#include "demo.h"
#include "format.h"

static bool is_demo_guest(const struct vt_guest *g)
{
    return strncmp(g->vm.name, "guest-", 6) == 0 && g->nr_benchmarks && !g->benchmarks[0].from_host_process;
}

static const struct vt_benchmark *benchmark_of(const struct vt_snapshot *s, const char *name)
{
    size_t length = strlen(name);
    for (size_t g = 0; g < s->nr_guests; g++)
        /* the recorder adds "/PID" to a name that another guest has already */
        if (strncmp(s->guests[g].vm.name, name, length) == 0 && s->guests[g].nr_benchmarks &&
            (s->guests[g].vm.name[length] == '\0' || s->guests[g].vm.name[length] == '/'))
            return &s->guests[g].benchmarks[0];
    return NULL;
}

static void cell_believed(struct table *t, const struct vt_benchmark *b, const char *key, bool utf8)
{
    char text[FORMAT_LEN];
    uint64_t ns;
    for (size_t i = 0; i < REPORT_NR_CLOCKS; i++)
        if (strcmp(report_clocks[i].key, key) == 0 && report_belief(&b->believed, &report_clocks[i], &ns)) {
            table_cell(t, format_ns(text, ns, utf8));
            return;
        }
    table_cell(t, "-");
}

static void row(struct table *t, const struct vt_guest *g, bool utf8)
{
    const struct vt_benchmark *b = &g->benchmarks[0];
    char text[FORMAT_LEN], low[FORMAT_LEN], high[FORMAT_LEN], both[2 * FORMAT_LEN + 8];
    bool bare = b->from_host_process;
    table_cell(t, report_name((char[REPORT_NAME_LEN]){ 0 }, g->vm.name));
    cell_believed(t, b, "tsc", utf8);
    cell_believed(t, b, bare ? "monotonic" : "kvmclock", utf8);
    cell_believed(t, b, "tick_clock", utf8);
    cell_believed(t, b, bare ? "cputime" : "charged", utf8);
    table_cell(t, bare ? "-" : format_ns(text, b->elapsed.ns, utf8));
    table_cell(t, bare ? "-" : format_ns(text, b->truth.used.ns, utf8));
    table_cell(t, bare ? "-" : format_ns(text, b->truth.stolen.ns, utf8));
    table_cell(t, format_ratio(text, b->truth.dilation, utf8));
    snprintf(both, sizeof(both), "%s %s %s", format_ns(low, b->undilated.low_ns, utf8), utf8 ? "…" : "to",
             format_ns(high, b->undilated.high_ns, utf8));
    table_cell(t, b->undilated.known && !bare ? both : "-");
}

static void put_table(const struct report_view *v, FILE *out)
{
    static const char *const heads[] = { "TSC",  "kvmclock", "ticks",    "CPU",        "elapsed",
                                         "used", "stolen",   "dilation", "undisturbed" };
    struct table *t = table_new(v->utf8);
    if (t)
        table_column(t, "who", true, false);
    for (size_t i = 0; t && i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], false, false);
    for (size_t g = 0; g < v->snapshot->nr_guests; g++)
        if (v->snapshot->guests[g].nr_benchmarks)
            row(t, &v->snapshot->guests[g], v->utf8);
    fputs("What each believed (TSC, kvmclock - MONOTONIC for bare -, its tick count, CPU charged), then what "
          "was true\n"
          "(elapsed, used, stolen), and what it would have taken undisturbed:\n\n",
          out);
    table_print(t, 1, "  ", out);
    table_free(t);
}

/* Least and most of a figure over the guests that ran together. */
struct range {
    uint64_t low, high;
};

static void stretch_range(struct range *r, uint64_t low, uint64_t high)
{
    r->low = low < r->low ? low : r->low;
    r->high = high > r->high ? high : r->high;
}

static const char *put_range(char out[2 * FORMAT_LEN], struct range r)
{
    if ((double)(r.high - r.low) < 0.005 * (double)r.high)
        snprintf(out, FORMAT_LEN, "%.2f s", ((double)r.low + (double)r.high) / 2e9);
    else
        snprintf(out, FORMAT_LEN, "%.2f to %.2f s", (double)r.low / 1e9, (double)r.high / 1e9);
    return out;
}

/* A run alone, and what of it others had: no machine is as quiet as one wishes. */
static size_t put_alone(char *out, size_t size, const struct vt_benchmark *b, const char *words, bool utf8)
{
    char text[2 * FORMAT_LEN];
    if (!b)
        return 0;
    size_t n = (size_t)snprintf(out, size, "%.2f s %s", (double)b->elapsed.ns / 1e9, words);
    if (b->truth.stolen.ns > b->elapsed.ns / 200)
        n += (size_t)snprintf(out + n, size - n, " (%s of it stolen)",
                              format_ns(text, b->truth.stolen.ns, utf8));
    return n;
}

/* What was measured undisturbed: before the four and after them, for a machine's pace changes. */
static void put_measured(char out[4 * FORMAT_LEN], const struct vt_snapshot *s, bool utf8)
{
    const struct vt_benchmark *bare = report_bare(s);
    char text[2][2 * FORMAT_LEN];
    out[0] = '\0';
    size_t n = put_alone(out, 4 * FORMAT_LEN, benchmark_of(s, "alone"), "alone in a guest", utf8);
    if (n && benchmark_of(s, "again")) {
        n += (size_t)snprintf(out + n, 4 * FORMAT_LEN - n, ", ");
        n += put_alone(out + n, 4 * FORMAT_LEN - n, benchmark_of(s, "again"), "once more afterwards", utf8);
    }
    if (bare) {
        uint64_t elapsed = report_bare_elapsed(bare), cpu = bare->believed.cputime_ns;
        n += (size_t)snprintf(out + n, 4 * FORMAT_LEN - n, "%s%.2f s as a bare process", n ? ", " : "",
                              (double)elapsed / 1e9);
        if (bare->believed.have & VTG_HAVE_CPUTIME && elapsed > cpu + elapsed / 200)
            snprintf(out + n, 4 * FORMAT_LEN - n, " (%s of it without a CPU)",
                     format_ns(text[1], elapsed - cpu, utf8));
    }
}

struct ranges {
    unsigned n;
    struct range clock, cpu, used, stolen, alone;
};

static struct ranges range_over_guests(const struct vt_snapshot *s)
{
    const struct range none = { UINT64_MAX, 0 };
    struct ranges r = { 0, none, none, none, none, none };
    for (size_t g = 0; g < s->nr_guests; g++) {
        if (!is_demo_guest(&s->guests[g]))
            continue;
        const struct vt_benchmark *b = &s->guests[g].benchmarks[0];
        r.n++;
        stretch_range(&r.clock, b->believed.kvmclock_ns, b->believed.kvmclock_ns);
        stretch_range(&r.cpu, b->believed.charged_ns, b->believed.charged_ns);
        stretch_range(&r.used, b->truth.used.ns, b->truth.used.ns);
        stretch_range(&r.stolen, b->truth.stolen.ns, b->truth.stolen.ns);
        stretch_range(&r.alone, b->undilated.low_ns, b->undilated.high_ns);
    }
    return r;
}

static void put_sentence(const struct report_view *v, FILE *out)
{
    struct ranges r = range_over_guests(v->snapshot);
    if (!r.n) {
        fputs("\nNo guest told the host of its benchmark: there is no verdict.\n", out);
        return;
    }
    char text[5][2 * FORMAT_LEN], measured[4 * FORMAT_LEN], words[1024];
    put_measured(measured, v->snapshot, v->utf8);
    fputc('\n', out);
    struct wrap w = wrap_begin(out, "Verdict:", 9);
    snprintf(words, sizeof(words),
             "each of the %u guests believed that its work took %s, %s of it CPU time; in truth it used %s "
             "of CPU, and "
             "others had the CPU for %s. Undisturbed it would have taken %s; measured: %s.",
             r.n, put_range(text[0], r.clock), put_range(text[1], r.cpu), put_range(text[2], r.used),
             put_range(text[3], r.stolen), put_range(text[4], r.alone), measured);
    wrap_text(&w, words);
    wrap_end(&w);
}

void demo_verdict(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    put_table(v, out);
    for (size_t g = 0; g < s->nr_guests; g++)
        if (is_demo_guest(&s->guests[g]))
            report_text_benchmark(v, g, 0, out);
    char text[FORMAT_LEN];
    fprintf(out, "\nThis host itself was denied %s by its own host meanwhile; ",
            format_ns(text, s->observer.host_steal_ns, v->utf8));
    fprintf(out, "the measurement cost %s of CPU.\n", format_ns(text, s->observer.cpu_ns, v->utf8));
    put_sentence(v, out);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time ledger as a picture, drawn by gnuplot: a bar per benchmark, made of
 * where its time really went, and beneath it what the guest believed.
 *
 * Guests choose their names: those reach gnuplot only as quoted words of a
 * data block, stripped of every character that means something to it, in
 * terminals without "enhanced" text. No shell takes part.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/state.h"
#include "view.h"

extern char **environ;

#define MAX_BARS 40

/* Okabe and Ito's palette, told apart by all common kinds of colour vision; greys for time nobody wanted. */
struct band {
    const char *title, *colour;
    enum vt_class class;
    enum vt_state state; /* VT_NR_STATES: the class as a whole */
};
static const struct band bands[] = {
    { "used", "#0072B2", VT_CLASS_USED, VT_NR_STATES },
    { "overhead", "#56B4E9", VT_CLASS_OVERHEAD, VT_NR_STATES },
    { "stolen: pre-empted", "#D55E00", VT_CLASS_STOLEN, VT_PREEMPTED },
    { "stolen: waking", "#E69F00", VT_CLASS_STOLEN, VT_WAKING },
    { "stolen: quota", "#CC79A7", VT_CLASS_STOLEN, VT_THROTTLED },
    { "stolen: interrupts", "#7A1F5C", VT_CLASS_STOLEN, VT_IRQ },
    { "stalled", "#F0E442", VT_CLASS_STALLED, VT_NR_STATES },
    { "idle", "#D9D9D9", VT_CLASS_IDLE, VT_NR_STATES },
    { "paused", "#8C8C8C", VT_CLASS_PAUSED, VT_NR_STATES },
    { "lost", "#000000", VT_CLASS_UNKNOWN, VT_NR_STATES },
};
#define NR_BANDS (sizeof(bands) / sizeof(bands[0]))

struct bar {
    char label[REPORT_NAME_LEN];
    double length[NR_BANDS];   /* s */
    double elapsed, low, high; /* s; low 0: no undilated interval */
    double clock, ticks, cpu;  /* believed, s; NAN: no such clock */
    struct vt_ratio dilation;
    bool bare;
};

struct chart {
    size_t n;
    struct bar bar[MAX_BARS];
    bool marks;  /* bars are benchmarks; else windows */
    bool shared; /* some bar is the mean of several vCPUs */
    bool cut;    /* more bars than room */
    double bare; /* what a bare run took of CPU, s: it may have been disturbed as well */
    double longest;
};

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* What gnuplot could take for more than a letter becomes '?'. */
static void make_label(char out[REPORT_NAME_LEN], const char *raw)
{
    report_name(out, raw);
    for (char *s = out; *s; s++)
        if (strchr("\"'`\\$@%{}#", *s) || (unsigned char)*s < 0x20)
            *s = '?';
}

/* The account's bands, scaled to `length` seconds: the mean of the vCPUs it sums. */
static void fill_bands(struct bar *bar, const struct vt_account *a, double length)
{
    double total = seconds(report_account_total(a));
    double scale = total > 0 && length > 0 ? length / total : 1;
    for (size_t i = 0; i < NR_BANDS; i++) {
        uint64_t ns = 0;
        for (int s = 0; s < VT_NR_STATES; s++)
            if (bands[i].state == VT_NR_STATES ? vt_states[s].class == bands[i].class
                                               : s == (int)bands[i].state)
                ns += a->state[s].ns;
        bar->length[i] = scale * seconds(ns);
    }
}

static void fill_beliefs(struct bar *bar, const struct vt_belief *b)
{
    bar->clock = b->have & VTG_HAVE_KVMCLOCK    ? seconds(b->kvmclock_ns)
                 : b->have & VTG_HAVE_TSC       ? seconds(b->tsc_ns)
                 : b->have & VTG_HAVE_MONOTONIC ? seconds(b->monotonic_ns)
                                                : (double)NAN;
    bar->ticks = b->have & VTG_HAVE_TICKS ? seconds(b->tick_clock_ns) : (double)NAN;
    bar->cpu = b->have & VTG_HAVE_CHARGED   ? seconds(b->charged_ns)
               : b->have & VTG_HAVE_CPUTIME ? seconds(b->cputime_ns)
                                            : (double)NAN;
}

static void add_bar(struct chart *c, const struct bar *bar)
{
    if (c->n == MAX_BARS) {
        c->cut = true;
        return;
    }
    const double ends[] = { bar->elapsed, bar->clock, bar->ticks, bar->cpu };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (ends[i] > c->longest)
            c->longest = ends[i];
    c->bar[c->n++] = *bar;
}

static void add_benchmark(struct chart *c, const struct vt_guest *g, const struct vt_benchmark *b)
{
    struct bar bar = { .bare = b->from_host_process, .elapsed = seconds(b->elapsed.ns) };
    make_label(bar.label, g->vm.name);
    if (g->nr_benchmarks > 1) {
        size_t n = strlen(bar.label);
        char mark[REPORT_NAME_LEN];
        make_label(mark, b->name);
        snprintf(bar.label + n, sizeof(bar.label) - n, " %s", mark);
    }
    fill_beliefs(&bar, &b->believed);
    if (bar.bare) {
        bar.elapsed = seconds(report_bare_elapsed(b));
        bar.length[0] = isnan(bar.cpu) ? bar.elapsed : bar.cpu;
        c->bare = c->bare > 0 ? c->bare : bar.length[0];
    } else {
        fill_bands(&bar, &b->truth, bar.elapsed);
        c->shared |= report_account_total(&b->truth) > b->elapsed.ns + b->elapsed.ns / 2;
        bar.dilation = b->truth.dilation;
        bar.low = b->undilated.known ? seconds(b->undilated.low_ns) : 0;
        bar.high = b->undilated.known ? seconds(b->undilated.high_ns) : 0;
    }
    add_bar(c, &bar);
}

static void add_window(struct chart *c, const struct vt_guest *g)
{
    struct bar bar = { .dilation = g->account.dilation };
    make_label(bar.label, g->vm.name);
    double total = seconds(report_account_total(&g->account));
    bar.elapsed = g->nr_vcpus ? total / (double)g->nr_vcpus : total;
    fill_bands(&bar, &g->account, bar.elapsed);
    fill_beliefs(&bar, &g->perceived);
    c->shared |= g->nr_vcpus > 1;
    add_bar(c, &bar);
}

static void make_chart(struct chart *c, const struct vt_snapshot *s)
{
    for (size_t g = 0; g < s->nr_guests; g++)
        c->marks |= s->guests[g].nr_benchmarks > 0;
    for (size_t g = 0; g < s->nr_guests; g++) {
        if (!c->marks)
            add_window(c, &s->guests[g]);
        for (size_t i = 0; i < s->guests[g].nr_benchmarks; i++)
            add_benchmark(c, &s->guests[g], &s->guests[g].benchmarks[i]);
    }
}

/* ---- the gnuplot program ---- */

/* The first bar stands at the top. */
static double level(const struct chart *c, size_t i)
{
    return (double)(c->n - i);
}

static bool band_exceeds(const struct chart *c, size_t band, double length)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->bar[i].length[band] > length)
            return true;
    return false;
}

static void put_data(const struct chart *c, FILE *out)
{
    fputs("$rows << EOD\n", out);
    for (size_t i = 0; i < c->n; i++)
        fprintf(out, "0 %g \"%s\"\n", level(c, i), c->bar[i].label);
    fputs("EOD\n", out);
    for (size_t b = 0; b < NR_BANDS; b++) {
        if (!band_exceeds(c, b, 0))
            continue;
        fprintf(out, "$band%zu << EOD\n", b);
        for (size_t i = 0; i < c->n; i++) {
            double from = 0;
            for (size_t before = 0; before < b; before++)
                from += c->bar[i].length[before];
            fprintf(out, "%.6f %.6f %g\n", from, from + c->bar[i].length[b], level(c, i));
        }
        fputs("EOD\n", out);
    }
    fputs("$believed << EOD\n", out); /* ours, missing ones as NaN */
    for (size_t i = 0; i < c->n; i++)
        fprintf(out, "%.6f %.6f %.6f %g\n", c->bar[i].clock, c->bar[i].ticks, c->bar[i].cpu, level(c, i));
    fputs("EOD\n$undilated << EOD\nNaN NaN NaN 0\n", out);
    for (size_t i = 0; i < c->n; i++)
        if (c->bar[i].low > 0)
            fprintf(out, "%.6f %.6f %.6f %g\n", (c->bar[i].low + c->bar[i].high) / 2, c->bar[i].low,
                    c->bar[i].high, level(c, i));
    fputs("EOD\n$dilation << EOD\nNaN 0 \"\"\n", out);
    for (size_t i = 0; i < c->n; i++)
        if (c->bar[i].dilation.known)
            fprintf(out, "%.6f %g \"× %.2f\"\n", c->bar[i].elapsed, level(c, i), c->bar[i].dilation.value);
    fputs("EOD\n", out);
}

static void put_setup(const struct chart *c, bool svg, FILE *out)
{
    size_t height = 240 + 58 * c->n;
    fprintf(out,
            svg ? "set terminal svg noenhanced size 1040,%zu font 'Helvetica,14' background 'white'\n"
                : "set terminal pngcairo noenhanced size 1040,%zu font 'Helvetica,11' background 'white'\n",
            height);
    fputs("set encoding utf8\n"
          "set datafile separator whitespace\n"
          "set border 1 lc rgb '#404040'\n"
          "set tics nomirror out scale 0.6 textcolor rgb '#202020'\n"
          "set ytics scale 0 offset 0,0.35\n"
          "set grid xtics lt 1 lc rgb '#E4E4E4'\n"
          "set key outside bottom center Left reverse horizontal maxcols 3 samplen 1.6 spacing 1.3 width 2\n"
          "set style fill solid 1 noborder\n",
          out);
    fprintf(out, "set title '%s' offset 0,0.9\n",
            c->marks
                ? "Where the time of each benchmark went (bar), and what the guest believed (marks beneath)"
                : "Where the time of each guest went (bar), and what it believed (marks beneath)");
    fprintf(out, "set xlabel \"%s%s%s\\n \"\n", c->marks ? "seconds since the begin mark" : "seconds",
            c->shared ? " (several vCPUs: their mean)" : "", c->cut ? "; more bars than are shown here" : "");
    fprintf(out, "set xrange [0:%.6f]\nset yrange [0.35:%g]\n", c->longest > 0 ? c->longest * 1.09 : 1,
            (double)c->n + 0.65);
    fprintf(out, "set label 'dilation' at graph 1,graph 1 right offset 0,0.5 textcolor rgb '#202020'\n");
    if (c->bare > 0)
        fprintf(out,
                "set arrow from %.6f,graph 0 to %.6f,graph 1 nohead front lc rgb '#000000' lw 1.4 dt (6,4)\n"
                "set label 'bare run: %.2f s of CPU' at %.6f,graph 1 offset 0.4,0.5 front textcolor rgb "
                "'#000000'\n",
                c->bare, c->bare, c->bare, c->bare);
}

static void put_plot(const struct chart *c, FILE *out)
{
    fputs("plot $rows using 1:2:ytic(3) with points ps 0 notitle", out);
    for (size_t b = 0; b < NR_BANDS; b++) {
        if (!band_exceeds(c, b, 0))
            continue;
        fprintf(out, ", \\\n  $band%zu using 1:3:1:2:($3-0.14):($3+0.34) with boxxyerror lc rgb '%s'", b,
                bands[b].colour);
        /* what no eye can find in the bars needs no entry in the legend */
        if (band_exceeds(c, b, c->longest / 400))
            fprintf(out, " title '%s'", bands[b].title);
        else
            fputs(" notitle", out);
    }
    fputs(", \\\n  $undilated using 1:($4+0.10):2:3:($4-0.14):($4+0.34) with boxxyerror fs solid 1 border lc "
          "rgb "
          "'#FFFFFF' lc rgb '#FFFFFF' lw 3 notitle"
          ", \\\n  $undilated using 1:($4+0.10):2:3:($4-0.14):($4+0.34) with boxxyerror fs solid 1 border lc "
          "rgb "
          "'#000000' lc rgb '#000000' title 'undisturbed it would have taken'",
          out);
    static const struct {
        int column, point;
        const char *colour, *title;
        double size;
    } marks[] = {
        { 1, 12, "#000000", "believed elapsed (clock)", 2.1 },
        { 2, 8, "#000000", "believed elapsed (tick count)", 1.7 },
        { 3, 7, "#009E73", "believed CPU time", 1.1 },
    };
    for (size_t m = 0; m < sizeof(marks) / sizeof(marks[0]); m++) {
        bool any = false;
        for (size_t i = 0; i < c->n; i++) {
            const double values[] = { c->bar[i].clock, c->bar[i].ticks, c->bar[i].cpu };
            any |= !isnan(values[m]);
        }
        if (any)
            fprintf(
                out,
                ", \\\n  $believed using %d:($4-0.29) with points pt %d ps %g lw 1.8 lc rgb '%s' title '%s'",
                marks[m].column, marks[m].point, marks[m].size, marks[m].colour, marks[m].title);
    }
    fputs(", \\\n  $dilation using 1:($2+0.10):3 with labels left offset 0.6,0 textcolor rgb '#202020' "
          "notitle\n",
          out);
}

int report_chart_script(const struct report_view *v, bool svg, FILE *out, struct vt_err *err)
{
    struct chart *c = calloc(1, sizeof(*c));
    if (!c)
        return vt_fail(err, ENOMEM, "out of memory for the chart");
    make_chart(c, v->snapshot);
    int r = c->n ? 0 : vt_fail(err, ENODATA, "no guest to draw in this window");
    if (r == 0) {
        put_setup(c, svg, out);
        put_data(c, out);
        put_plot(c, out);
    }
    free(c);
    if (r == 0 && (fflush(out) || ferror(out)))
        r = vt_fail(err, EIO, "the chart's data could not be written: %m");
    return r;
}

/* ---- running gnuplot ---- */

/* Its complaints go to `complaints`, an unlinked file; 0 or -errno. */
static int run_gnuplot(int script, int picture, int complaints, struct vt_err *err)
{
    char *const argv[] = { "gnuplot", "-d", NULL };
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = posix_spawn_file_actions_adddup2(&actions, script, STDIN_FILENO);
        r = r ? r : posix_spawn_file_actions_adddup2(&actions, picture, STDOUT_FILENO);
        r = r ? r : posix_spawn_file_actions_adddup2(&actions, complaints, STDERR_FILENO);
        r = r ? r : posix_spawnp(&pid, "gnuplot", &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (r == ENOENT)
        return vt_fail(err, ENOENT, "the chart needs gnuplot: apt install gnuplot-nox");
    if (r)
        return vt_fail(err, r, "gnuplot could not be started: %s", strerror(r));
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return vt_fail(err, errno, "gnuplot was lost: %m");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char text[256] = "";
    ssize_t n = pread(complaints, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    char clean[REPORT_NAME_LEN];
    return vt_fail(err, EIO, "gnuplot could not draw the chart: %s", report_name(clean, text));
}

static int open_script(const struct report_view *v, bool svg, int *ret, struct vt_err *err)
{
    int fd = memfd_create("vtime-chart", MFD_CLOEXEC);
    FILE *f = fd < 0 ? NULL : fdopen(dup(fd), "w");
    if (!f) {
        int r = vt_fail(err, errno, "no room for the chart's data: %m");
        if (fd >= 0)
            close(fd);
        return r;
    }
    int r = report_chart_script(v, svg, f, err);
    if (fclose(f) && r == 0)
        r = vt_fail(err, EIO, "the chart's data could not be written: %m");
    if (r < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return r < 0 ? r : vt_fail(err, errno, "the chart's data could not be read: %m");
    }
    *ret = fd;
    return 0;
}

/* Drawn beside the target and renamed: a failure leaves no half picture, nor spoils an old one. */
static int draw(int script, const char *path, struct vt_err *err)
{
    char part[4096];
    int n = snprintf(part, sizeof(part), "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof(part))
        return vt_fail(err, ENAMETOOLONG, "the chart's path is too long");
    int picture = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (picture < 0)
        return vt_fail(err, errno, "%s: %m", path);
    int complaints = memfd_create("vtime-gnuplot", MFD_CLOEXEC);
    int r = complaints < 0 ? vt_fail(err, errno, "no room for gnuplot's messages: %m")
                           : run_gnuplot(script, picture, complaints, err);
    struct stat st;
    if (r == 0 && (fstat(picture, &st) < 0 || st.st_size == 0))
        r = vt_fail(err, EIO, "gnuplot drew nothing");
    if (close(picture) < 0 && r == 0)
        r = vt_fail(err, errno, "%s: %m", path);
    if (r == 0 && rename(part, path) < 0)
        r = vt_fail(err, errno, "%s: %m", path);
    if (r < 0)
        unlink(part);
    if (complaints >= 0)
        close(complaints);
    return r;
}

int report_chart_kind(const char *path, bool *ret_svg, struct vt_err *err)
{
    const char *dot = strrchr(path, '.');
    *ret_svg = dot && strcmp(dot, ".svg") == 0;
    if (*ret_svg || (dot && strcmp(dot, ".png") == 0))
        return 0;
    return vt_fail(err, EINVAL, "a chart is a .svg or a .png, not '%s'", path);
}

int report_chart(const struct report_view *v, const char *path, struct vt_err *err)
{
    bool svg;
    int script = -1;
    int r = report_chart_kind(path, &svg, err);
    if (r == 0)
        r = open_script(v, svg, &script, err);
    if (r < 0)
        return r;
    r = draw(script, path, err);
    close(script);
    return r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime report: a recording, correlated and shown. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <string.h>

#include "cli/command.h"
#include "format.h"
#include "view.h"

#define MAX_CONDITIONS 16

struct options {
    const char *path, *chart;
    struct report_choice choice;
    bool json, clocks, help;
    size_t nr_conditions;
    struct report_condition condition[MAX_CONDITIONS];
};

static const char help_text[] =
    "usage: vtime report [OPTION…] RUN.vt\n"
    "\n"
    "Says what was true in a recording, beside what the guests believed.\n"
    "\n"
    "  --json           as JSON: every figure with its accuracy\n"
    "  --clocks         only how guests' clocks became host time, with which bound,\n"
    "                   and what the clocks of guests with an agent said\n"
    "  --window A,B     only from A to B, in seconds since the recording's begin\n"
    "                   (either may be left out)\n"
    "  --mark NAME      only from begin to end of the benchmark NAME; of all guests\n"
    "                   that marked one, or of one: GUEST/NAME\n"
    "  --chart FILE     also draw the time ledger to FILE (.svg or .png)\n"
    "  --fail-if COND   exit 1 if a benchmark (a guest, where there are no marks)\n"
    "                   meets COND: 'stolen>1%', 'preempted>5ms', 'dilation>1.1';\n"
    "                   may be repeated\n"
    "  --help           this\n";

static int parse_one(int option, struct options *o)
{
    struct vt_err err;
    bool svg;
    switch (option) {
    case 'j':
        o->json = true;
        return 0;
    case 'k':
        o->clocks = true;
        return 0;
    case 'w':
        if (report_parse_window(optarg, &o->choice, &err) < 0)
            break;
        return 0;
    case 'm':
        o->choice.mark = optarg;
        return 0;
    case 'c':
        if (report_chart_kind(optarg, &svg, &err) < 0)
            break;
        o->chart = optarg;
        return 0;
    case 'f':
        if (o->nr_conditions == MAX_CONDITIONS) {
            vt_complain("more than %d conditions", MAX_CONDITIONS);
            return VT_EXIT_USAGE;
        }
        if (report_parse_condition(optarg, &o->condition[o->nr_conditions], &err) < 0)
            break;
        o->nr_conditions++;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    default:
        return vt_usage_error("report");
    }
    vt_complain("%s", err.text);
    return VT_EXIT_USAGE;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        { "json", no_argument, NULL, 'j' },         { "clocks", no_argument, NULL, 'k' },
        { "window", required_argument, NULL, 'w' }, { "mark", required_argument, NULL, 'm' },
        { "chart", required_argument, NULL, 'c' },  { "fail-if", required_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },         { 0 }
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        int r = parse_one(option, o);
        if (r)
            return r;
    }
    if (o->help)
        return 0;
    if (o->choice.mark && o->choice.has_window) {
        vt_complain("--window and --mark exclude each other");
        return vt_usage_error("report");
    }
    if (optind + 1 != argc) {
        vt_complain(optind == argc ? "which recording?" : "one recording at a time");
        return vt_usage_error("report");
    }
    o->path = argv[optind];
    return 0;
}

static int judge_all(const struct report_view *v, const struct options *o)
{
    int code = VT_EXIT_OK;
    fflush(stdout); /* the verdict comes after the report it is about */
    for (size_t i = 0; i < o->nr_conditions; i++) {
        int r = report_judge(v, &o->condition[i], stderr);
        if (r < 0)
            vt_complain("--fail-if '%s' can't be judged: no guest had enough time in this window",
                        o->condition[i].text);
        if (r)
            code = VT_EXIT_FAILURE;
    }
    return code;
}

static int show(const struct report_view *v, const struct options *o)
{
    struct vt_err err;
    int r = 0;
    if (o->json)
        r = report_json(v, stdout, &err);
    else if (o->clocks)
        report_text_clocks(v, stdout);
    else
        report_text(v, stdout);
    if (r == 0 && o->chart)
        r = report_chart(v, o->chart, &err);
    if (r < 0)
        vt_complain("%s", err.text);
    int code = judge_all(v, o);
    return r < 0 ? VT_EXIT_FAILURE : code;
}

static int report_main(int argc, char **argv)
{
    struct options o = { 0 };
    struct report_view view;
    struct vt_err err;
    setlocale(LC_CTYPE, "");
    int code = parse(argc, argv, &o);
    if (code)
        return code;
    if (o.help) {
        fputs(help_text, stdout);
        return VT_EXIT_OK;
    }
    if (report_load(o.path, &o.choice, &view, &err) < 0) {
        vt_complain("%s", err.text);
        return VT_EXIT_FAILURE;
    }
    view.utf8 = format_locale_is_utf8();
    code = show(&view, &o);
    report_view_release(&view);
    return code;
}

VT_COMMAND(report, 30, "report", "say what was true in a recording, beside what the guests believed",
           report_main);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the views of reports/ share: the snapshot with each benchmark's own
 * blame beside it, and the questions that text, JSON and chart all ask of it.
 */
#ifndef VT_REPORTS_VIEW_H
#define VT_REPORTS_VIEW_H

#include <stdio.h>

#include "base/err.h"
#include "vt/snapshot.h"

struct vt_correlator;

/** Who stole from one benchmark, mark to mark. Rows of its guest only. */
struct report_debts {
    bool known; /* false: not asked for (too many benchmarks), or not to be told */
    size_t n;
    struct vt_blame *rows;
};

struct report_view {
    const char *path; /* of the recording; NULL in tests */
    struct vt_snapshot *snapshot;
    struct report_debts **debts; /* [guest][benchmark]; NULL: none known */
    host_ns epoch;               /* begin of the recording: what "seconds into it" counts from */
    bool utf8;
};

/* A guest chooses how many marks it sets: what is worked out for each is bounded. */
#define REPORT_MAX_DETAIL 64

/* ---- load.c ---- */

/** Which part of the recording: none set = all of it. */
struct report_choice {
    bool has_window;
    uint64_t from_ns, to_ns; /* since the recording's begin; to_ns UINT64_MAX: its end */
    const char *mark;        /* NAME or GUEST/NAME */
};

/** Decimal seconds, exact to the ns. What follows them, or NULL. */
const char *report_parse_seconds(const char *s, uint64_t *ret_ns);
/** "A,B" in seconds, either side may be empty. 0 or -EINVAL. */
int report_parse_window(const char *text, struct report_choice *ret, struct vt_err *err);

/** Reads and correlates; release with report_view_release(). 0 or -errno. */
int report_load(const char *path, const struct report_choice *choice, struct report_view *ret,
                struct vt_err *err);
/** The blame of the whole recording by interval (vt_correlate_timeline()). 0 or -errno. */
int report_load_timeline(const char *path, uint64_t width_ns, struct vt_snapshot **ret, struct vt_err *err);
void report_view_release(struct report_view *view); /* a zeroed view is fine */

/* ---- model.c ---- */

/** One clock of a guest: where it stands in struct vt_belief, what it claims to tell. */
enum report_claim { REPORT_ELAPSED, REPORT_CPU, REPORT_STOLEN };
struct report_clock {
    const char *key;   /* in JSON */
    const char *label; /* in text */
    uint32_t have;     /* enum vtg_have */
    enum report_claim claim;
    size_t offset;
};
#define REPORT_NR_CLOCKS 7
extern const struct report_clock report_clocks[REPORT_NR_CLOCKS];
extern const char *const report_claim_names[];

/** False where the guest has no such clock. */
bool report_belief(const struct vt_belief *belief, const struct report_clock *clock, uint64_t *ret_ns);

/** What that clock ought to have said. */
struct vt_figure report_truth(const struct vt_benchmark *b, const struct report_clock *clock);
/** What the benchmark's own processes truly used. False: its tasks were not told. */
bool report_own_cpu(const struct vt_benchmark *b, struct vt_figure *ret);

struct vt_figure report_figure_sum(struct vt_figure a, struct vt_figure b);
/** Time of all states but ABSENT. */
uint64_t report_account_total(const struct vt_account *a);
struct vt_figure report_demand(const struct vt_account *a);

/** The guest's dilation from mark to mark where marks exist, else of the window. */
struct report_dilation {
    struct vt_ratio dilation, contention;
    bool from_marks;
};
struct report_dilation report_guest_dilation(const struct vt_guest *guest);

/** true elapsed / undilated elapsed; unknown without an undilated interval. */
struct vt_ratio report_stretch(const struct vt_benchmark *b);

/** A bare run: the work done by an ordinary host process. NULL if none was recorded. */
const struct vt_benchmark *report_bare(const struct vt_snapshot *s);
/** What it took, by its own clocks. 0 if it has none. */
uint64_t report_bare_elapsed(const struct vt_benchmark *bare);

/** A guest's string made harmless for a terminal, a file and a person. */
#define REPORT_NAME_LEN 128
const char *report_name(char out[REPORT_NAME_LEN], const char *raw);

/** The debts of s.guests[guest].benchmarks[bench]; NULL if not known. */
const struct report_debts *report_debts_of(const struct report_view *v, size_t guest, size_t bench);
const char *report_off_cause(enum vt_off_cause cause);
const char *report_culprit_kind(enum vt_culprit_kind kind);
/**
 * Time of waits that began while another permitted CPU was idle: exact where all other CPUs were looked at,
 * else at least that much. False: it was not recorded.
 */
bool report_elsewhere(const struct vt_host *host, uint64_t ns, struct vt_figure *ret);
const char *report_vm_kind(const struct vt_guest *guest);
/** What to know of the figures of a guest that is not KVM's; NULL: of KVM's. Static. */
const char *report_vm_note(const struct vt_guest *guest);
const char *report_lost_reason(enum vt_lost_reason reason);
const char *report_probe_class(enum vt_probe_class class);
/** True if the guest is a mere host process that kept a log (a bare run). */
bool report_is_bare(const struct vt_guest *guest);

/* ---- text.c, json.c, chart.c ---- */

void report_text(const struct report_view *v, FILE *out);
/** One benchmark: believed beside true. */
void report_text_benchmark(const struct report_view *v, size_t guest, size_t bench, FILE *out);
/** A JSON document and a newline. 0 or -ENOMEM. */
int report_json(const struct report_view *v, FILE *out, struct vt_err *err);
/** Whether a chart of this name can be drawn, and how. 0 or -EINVAL. */
int report_chart_kind(const char *path, bool *ret_svg, struct vt_err *err);
/** Draws path (.svg or .png) by gnuplot. 0 or -errno. */
int report_chart(const struct report_view *v, const char *path, struct vt_err *err);
/** The gnuplot program that report_chart() pipes; for tests. */
int report_chart_script(const struct report_view *v, bool svg, FILE *out, struct vt_err *err);

/* ---- kvmstats.c ---- */

/** Exits and more by KVM's own counters: in the place of its exit events where those do not fire. */
void report_text_kvm_stats(const struct report_view *v, FILE *out);

/* ---- joint.c ---- */

/** What the vCPUs of VMs that have several did together. */
void report_text_joint(const struct report_view *v, FILE *out);
/** Where vCPUs changed their CPU, or a sibling hardware thread was there to be busy. */
void report_text_hops(const struct report_view *v, FILE *out);

/* ---- addresses.c ---- */

/** The busiest addresses of each VM, where they were counted. */
void report_text_addresses(const struct report_view *v, FILE *out);

/* ---- processes.c: benchmarks in a guest's operating system ---- */

/** What wait4 told the guest. Nothing where it told nothing. */
void report_text_run(const struct vt_benchmark *b, bool utf8, FILE *out);
/** Each process: charged beside true. */
void report_text_processes(const struct vt_benchmark *b, bool utf8, FILE *out);
/** Benchmarks that were run several times: medians and spread, before and after. */
void report_text_repeats(const struct vt_guest *g, bool utf8, FILE *out);

/* ---- marks.c ---- */

/** Marks that are part of no benchmark. Nothing where there are none. */
void report_text_marks(const struct report_view *v, FILE *out);
struct cJSON;
/** The guest's "marks". False: out of memory. */
bool report_json_marks(struct cJSON *guest, const struct vt_guest *g, const struct report_view *v);
/** Why it is of no benchmark: static text, "" for a point in its place. */
const char *report_mark_lack(const struct vt_lone_mark *mark);

/* ---- counters.c ---- */

struct wrap;
/** A table, where anything was counted. */
void report_text_counters(const struct report_view *v, FILE *out);
/** What was to be counted and is not there, with the kernel's reason. */
void report_text_absent_counters(const struct report_view *v, struct wrap *w);

/* ---- clocks.c, clocks_json.c: guests with an agent ---- */

extern const char *const report_clock_methods[VT_NR_CLOCK_METHODS];
extern const char *const report_os_clocks[VTG_NR_OS_CLOCKS];
extern const char *const report_agent_events[VTG_NR_EVENTS];
extern const char *const report_channel_events[VT_NR_CHANNEL_EVENTS];
/** What befell a channel n times, or counts n, in words; of SILENT n is ns. Returns out. */
const char *report_channel_words(char out[REPORT_NAME_LEN], unsigned int kind, uint64_t n, bool utf8);

extern const char *const report_os_titles[VTG_NR_OS_CLOCKS];

/* ---- events.c ---- */

/** What happened, as a line; the guest's words in it are made harmless. */
const char *report_clock_event(char *out, size_t n, const struct vt_clock_event *e, bool utf8);
/** Its name, static. */
const char *report_clock_event_kind(const struct vt_clock_event *e);

struct report_event {
    host_ns at;
    const char *kind; /* static */
    int64_t a, b;     /* of a stop: ns; of a channel's: count, times; else as of struct vt_clock_event */
    char text[320];
};
/**
 * What is worth telling, by time: each thing once, however many told of it. *ret is to be freed.
 * 0 or -ENOMEM.
 */
int report_guest_events(const struct vt_guest *g, bool utf8, struct report_event **ret, size_t *ret_n);
void report_text_events(const struct report_view *v, FILE *out);
/** All events of a guest with an agent. */
void report_text_clock_events(const struct report_view *v, const struct vt_guest *g, FILE *out);

/* ---- clocks.c ---- */

void report_text_agent_clocks(const struct report_view *v, FILE *out);
/** `vtime report --clocks`: the head of the report and all that is known of clocks. */
void report_text_clocks(const struct report_view *v, FILE *out);
/** Adds a row to the guest's "clocks". False: out of memory. */
bool report_json_agent_clocks(struct cJSON *list, const struct vt_agent_clocks *k,
                              const struct report_view *v);

/* ---- failif.c ---- */

struct report_condition {
    size_t metric;
    enum { REPORT_GT, REPORT_GE, REPORT_LT, REPORT_LE } op;
    enum { REPORT_UNIT_PERCENT, REPORT_UNIT_NS, REPORT_UNIT_PLAIN } unit;
    double value; /* per cent, ns, or a ratio */
    const char *text;
};
/** "stolen>1%". 0 or -EINVAL with a line that says what is accepted. */
int report_parse_condition(const char *text, struct report_condition *ret, struct vt_err *err);
/**
 * How many benchmarks (guests, where there are no marks) meet it, each said in
 * a line on `out`; a guest whose benchmarks can all not be told counts as one
 * that does. -ENODATA: there was nothing to judge.
 */
int report_judge(const struct report_view *v, const struct report_condition *c, FILE *out);

#endif

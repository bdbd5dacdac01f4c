/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime export: every slice of a recording, or the blame by interval, as CSV for any other tool. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/escape.h"
#include "base/state.h"
#include "cli/command.h"
#include "correlator/correlate.h"
#include "store/store.h"
#include "view.h"

static const char help_text[] =
    "usage: vtime export [--blame[=WIDTH]] RUN.vt\n\n"
    "Writes every slice (one wait-then-run cycle of a vCPU) as a line of CSV. Times\n"
    "are CLOCK_MONOTONIC of the recorded host, in ns: off the CPU from out to wake in\n"
    "off_state, runnable from wake to in in wait_state, on the CPU from in to end.\n\n"
    "  --blame[=WIDTH]  instead, who owes whom how much stolen time in each interval\n"
    "                   of WIDTH seconds (default: 1)\n"
    "  -h, --help       this text\n";

struct names {
    char (*vm)[4 * VT_VM_NAME_LEN]; /* by vm id */
    size_t nr_vms;
    struct vt_vcpu *vcpu; /* by vcpu id */
    size_t nr_vcpus;
};

/* Grows an array of `size`-byte items so that [id] exists; new items are zero. */
static void *reach(void *array, size_t *n, size_t id, size_t size)
{
    if (id < *n)
        return array;
    char *more = realloc(array, (id + 1) * size);
    if (!more)
        return NULL;
    memset(more + *n * size, 0, (id + 1 - *n) * size);
    *n = id + 1;
    return more;
}

static int on_vm(void *context, const struct vt_vm *row)
{
    struct names *n = context;
    void *more = reach(n->vm, &n->nr_vms, (size_t)row->id, sizeof(*n->vm));

    if (!more)
        return -ENOMEM;
    n->vm = more;
    vt_name_clean(n->vm[row->id], sizeof(n->vm[row->id]), row->name, strnlen(row->name, sizeof(row->name)));
    return 0;
}

static int on_vcpu(void *context, const struct vt_vcpu *row)
{
    struct names *n = context;
    void *more = reach(n->vcpu, &n->nr_vcpus, (size_t)row->id, sizeof(*n->vcpu));

    if (!more)
        return -ENOMEM;
    n->vcpu = more;
    n->vcpu[row->id] = *row;
    return 0;
}

/* CSV: quotes doubled, so that a name can't end its field. */
static void put_name(const char *name)
{
    putchar('"');
    for (; *name; name++) {
        if (*name == '"')
            putchar('"');
        putchar(*name);
    }
    putchar('"');
}

static void put_slice(const struct names *n, int64_t vcpu, const struct vt_slice *s)
{
    const struct vt_vcpu *v = (size_t)vcpu < n->nr_vcpus ? &n->vcpu[vcpu] : NULL;

    put_name(v && (size_t)v->vm < n->nr_vms ? n->vm[v->vm] : "?");
    printf(",%u,%u,%" PRIu64, v ? v->index : 0, v ? v->tid : 0, (uint64_t)s->seq);
    printf(",%" PRIu64 ",%s,%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64 ",%u", (uint64_t)s->t_out,
           s->off_state < VT_NR_STATES ? vt_states[s->off_state].name : "?", (uint64_t)s->t_wake,
           s->wait_state < VT_NR_STATES ? vt_states[s->wait_state].name : "?", (uint64_t)s->t_in,
           (uint64_t)s->t_end, s->cpu);
    for (unsigned i = 0; i < VT_NR_ON_CPU; i++)
        printf(",%" PRIu64, (uint64_t)s->on_cpu[i]);
    printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%u,%u,%u\n", (uint64_t)s->throttled_ns,
           (uint64_t)s->tail_poll_ns, (uint64_t)s->tail_back_ns, s->exits, s->user_exits, s->migrations,
           s->flags);
}

static int on_slices(void *context, int64_t vcpu, const struct vt_slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_slice(context, vcpu, &slices[i]);
    return 0;
}

static int export_slices(const char *path)
{
    struct names names = { 0 };
    struct vt_store_reader reader = { .context = &names, .vm = on_vm, .vcpu = on_vcpu, .slices = on_slices };
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = NULL;
    struct vt_err err = { "out of memory" };
    int e = vt_store_open(path, &store, &err);

    if (!e) {
        puts("guest,vcpu,tid,seq,out_ns,off_state,wake_ns,wait_state,in_ns,end_ns,cpu,guest_ns,kvm_ns,vmm_ns,"
             "run_ns,poll_ns,lost_ns,irq_ns,throttled_ns,tail_poll_ns,tail_back_ns,exits,user_exits,"
             "migrations,"
             "flags");
        e = vt_store_read(store, &cursor, &reader, &err);
    }
    if (e)
        vt_complain("export: %s", err.text);
    vt_store_close(store);
    free(names.vm);
    free(names.vcpu);
    return e ? VT_EXIT_FAILURE : VT_EXIT_OK;
}

static void put_cell(const struct vt_snapshot *s, const struct vt_blame_cell *cell)
{
    const struct vt_blame *row = &s->blame[cell->row];
    const uint64_t begin = s->window.from.v + cell->interval * s->interval_ns, left = s->window.to.v - begin;
    char name[REPORT_NAME_LEN];

    printf("%" PRIu64 ",%" PRIu64 ",", begin, begin + (left < s->interval_ns ? left : s->interval_ns));
    put_name(report_name(name, row->victim));
    printf(",%s,", report_culprit_kind(row->kind));
    put_name(report_name(name, row->culprit));
    printf(",%" PRIu64 ",", cell->ns);
    if (s->host.elsewhere_cpus)
        printf("%" PRIu64, cell->elsewhere_ns);
    putchar('\n');
}

static int export_blame(const char *path, uint64_t width_ns)
{
    struct vt_snapshot *s = NULL;
    struct vt_err err = { "out of memory" };

    if (report_load_timeline(path, width_ns, &s, &err) < 0) {
        vt_complain("export: %s", err.text);
        return VT_EXIT_FAILURE;
    }
    puts("begin_ns,end_ns,victim,kind,culprit,ns,elsewhere_ns");
    for (size_t i = 0; i < s->nr_blame_cells; i++)
        put_cell(s, &s->blame_cells[i]);
    vt_snapshot_free(s);
    return VT_EXIT_OK;
}

/* Seconds, more than none. */
static bool parse_width(const char *text, uint64_t *ret_ns)
{
    const char *end = report_parse_seconds(text, ret_ns);
    return end && !*end && *ret_ns;
}

static int main_export(int argc, char **argv)
{
    static const struct option options[] = { { "blame", optional_argument, NULL, 'b' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    uint64_t width_ns = 0; /* 0: slices */
    int option;

    optind = 1;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
        switch (option) {
        case 'b':
            if (parse_width(optarg ? optarg : "1", &width_ns))
                break;
            vt_complain("export: a width is in seconds, such as 0.1; not '%s'", optarg);
            return VT_EXIT_USAGE;
        case 'h':
            fputs(help_text, stdout);
            return VT_EXIT_OK;
        default:
            return vt_usage_error("export");
        }
    if (argc - optind != 1) {
        vt_complain("export: name one recording");
        return vt_usage_error("export");
    }
    return width_ns ? export_blame(argv[optind], width_ns) : export_slices(argv[optind]);
}

VT_COMMAND(export, 60, "export", "write a recording's slices, or who held whom back when, as CSV",
           main_export);

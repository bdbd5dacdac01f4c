/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's own statistics in the text report: all there is of exits where its exit events do not fire. */
#include <inttypes.h>
#include <string.h>

#include "format.h"
#include "view.h"

enum { INDENT = 18 }; /* of the figures, beside guest and vCPU */

/* "io_exits 400", "exits ~512", "halt_wait_ns 1.2 s ±3.000 ms" */
static void put_stat(struct wrap *w, const struct vt_kvm_stat *stat, const struct vt_kvm_figure *f, bool utf8)
{
    const bool time = strcmp(stat->unit, "ns") == 0;
    char name[REPORT_NAME_LEN], unit[REPORT_NAME_LEN], count[FORMAT_LEN], bound[FORMAT_LEN];
    if (time) {
        format_ns(count, f->count, utf8);
        format_ns(bound, f->bound, utf8);
    } else {
        snprintf(count, sizeof(count), "%" PRIu64, f->count);
        snprintf(bound, sizeof(bound), "%" PRIu64, f->bound);
    }
    report_name(unit, stat->unit);
    wrap_item(w, "%s %s%s%s%s%s%s%s", report_name(name, stat->name), f->accuracy == VT_ESTIMATED ? "~" : "",
              count, f->bound ? " " : "", f->bound ? (utf8 ? "±" : "+-") : "", f->bound ? bound : "",
              time || !unit[0] ? "" : " ", time ? "" : unit);
}

static void put_vcpu(const struct report_view *v, const struct vt_guest *g, const struct vt_vcpu_figures *c,
                     FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    char name[REPORT_NAME_LEN], label[REPORT_NAME_LEN + 32];
    snprintf(label, sizeof(label), "  %s %" PRIu32, report_name(name, g->vm.name), c->vcpu.index);
    struct wrap w = wrap_begin(out, label, INDENT);
    for (size_t i = 0; i < s->nr_kvm_stats; i++)
        if (c->kvm_stats[i].count || c->kvm_stats[i].bound)
            put_stat(&w, &s->kvm_stats[i], &c->kvm_stats[i], v->utf8);
    if (w.empty)
        wrap_item(&w, "none of them grew");
    wrap_end(&w);
}

static size_t count_vcpus(const struct vt_snapshot *s, bool with_stats)
{
    size_t n = 0;
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++)
            n += !with_stats || s->guests[g].vcpus[i].kvm_stats;
    return n;
}

void report_text_kvm_stats(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    const bool events = s->host.has_entry_exit;
    if (!count_vcpus(s, true)) {
        if (!events && count_vcpus(s, false))
            fputs("\nExits: not known; KVM's exit events do not fire here, and its own counters were not "
                  "read\n",
                  out);
        return;
    }
    fputs(events
              ? "\nKVM's own counters of the same vCPUs, by the kernel's names\n"
              : "\nExits by KVM's own counters, for its exit events do not fire here: no reasons, no times\n",
          out);
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++)
            if (s->guests[g].vcpus[i].kvm_stats)
                put_vcpu(v, &s->guests[g], &s->guests[g].vcpus[i], out);
}

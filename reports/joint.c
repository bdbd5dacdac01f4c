/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the vCPUs of a VM did together, and where they went, as text. */
#include <inttypes.h>
#include <string.h>

#include "base/joint.h"
#include "format.h"
#include "view.h"

static void cell_figure(struct table *t, struct vt_figure f, bool utf8)
{
    char text[FORMAT_LEN];
    table_cell(t, f.ns ? format_figure(text, f, utf8) : "0"); /* so that a column of them can be left out */
}

static void cell_number(struct table *t, uint64_t n)
{
    char text[FORMAT_LEN];
    snprintf(text, sizeof(text), "%" PRIu64, n);
    table_cell(t, text);
}

static void cell_name(struct table *t, const char *raw)
{
    char name[REPORT_NAME_LEN];
    table_cell(t, report_name(name, raw));
}

/* Two lives of one vCPU (its thread was replaced) are one vCPU. */
static bool has_several(const struct vt_guest *g)
{
    for (size_t i = 1; i < g->nr_vcpus; i++)
        if (g->vcpus[i].vcpu.index != g->vcpus[0].vcpu.index)
            return true;
    return false;
}

static void row_joint(struct table *t, const struct vt_guest *g, bool utf8)
{
    char text[FORMAT_LEN];
    uint64_t bound = 0;
    cell_name(t, g->vm.name);
    for (unsigned int i = 0; i < VT_NR_JOINTS; i++) {
        struct vt_figure f = g->joint.state[i];
        bound = f.bound_ns > bound ? f.bound_ns : bound;
        if (f.accuracy == VT_BOUNDED) /* said once, at the end */
            f.accuracy = VT_EXACT;
        f.bound_ns = 0;
        cell_figure(t, f, utf8);
    }
    snprintf(text, sizeof(text), "%s", utf8 ? "±" : "+-");
    format_ns(text + strlen(text), bound, utf8);
    table_cell(t, bound ? text : "0");
    format_signed_ns(text, g->joint.residual_ns, utf8);
    table_cell(t, g->joint.residual_ns ? text : "0 ns");
}

void report_text_joint(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    bool any = false;
    if (t)
        table_column(t, "guest", true, false);
    for (unsigned int i = 0; t && i < VT_NR_JOINTS; i++)
        table_column(t, vt_joints[i].title, false, true);
    if (t) {
        table_column(t, "each", false, true);
        table_column(t, "residual", false, false);
    }
    for (size_t g = 0; g < s->nr_guests; g++) {
        if (!s->guests[g].joint.known || !has_several(&s->guests[g]))
            continue;
        any = true;
        row_joint(t, &s->guests[g], v->utf8);
    }
    if (any) {
        fputs("\nTogether: the vCPUs of a guest that has several; hazard = some run while some wait\n", out);
        table_print(t, 1, "  ", out);
        fputs("  stolen or stalled, a vCPU waits; full: all of those that were not idle throughout; each: "
              "how far\n"
              "  wrong each may be, as interrupts and polls have no place in time within a stretch on CPU\n",
              out);
    }
    table_free(t);
}

static bool moved(const struct vt_vcpu_figures *f)
{
    uint64_t n = 0;
    for (unsigned int i = 0; i < VT_NR_HOPS; i++)
        n += f->hops[i];
    return n > 0;
}

static void row_hops(struct table *t, const struct vt_guest *g, const struct vt_vcpu_figures *f, bool utf8)
{
    char text[FORMAT_LEN];
    struct vt_figure most = f->sibling_busy;
    cell_name(t, g->vm.name);
    cell_number(t, f->vcpu.index);
    for (unsigned int i = 0; i < VT_NR_HOPS; i++)
        cell_number(t, f->hops[i]);
    table_cell(t, format_ns(text, most.ns, utf8));
    table_cell(t, format_ns(text, most.ns + most.bound_ns, utf8));
}

void report_text_hops(const struct report_view *v, FILE *out)
{
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = table_new(v->utf8);
    bool any = false, siblings = false;
    if (t) {
        table_column(t, "guest", true, false);
        table_column(t, "vCPU", false, false);
    }
    for (unsigned int i = 0; t && i < VT_NR_HOPS; i++)
        table_column(t, vt_hops[i].title, false, true);
    if (t) {
        table_column(t, "sibling busy", false, true);
        table_column(t, "at most", false, true);
    }
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t i = 0; i < s->guests[g].nr_vcpus; i++) {
            const struct vt_vcpu_figures *f = &s->guests[g].vcpus[i];
            if (!moved(f) && !f->has_siblings)
                continue;
            any = true;
            siblings |= f->has_siblings;
            row_hops(t, &s->guests[g], f, v->utf8);
        }
    if (any) {
        fputs("\nPlaces: how often a vCPU went on on another CPU, by how far that is\n", out);
        table_print(t, 2, "  ", out);
    }
    if (siblings)
        fputs("  sibling busy = on CPU while a hardware thread of the same core ran another vCPU of this "
              "recording;\n"
              "  what else ran there is not recorded, so that it may be as much as all the time on CPU\n",
              out);
    table_free(t);
}

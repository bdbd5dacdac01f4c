/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/detail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/state.h"
#include "correlator/correlate.h"
#include "tui/text.h"

/* Appends to a line of VTOP_DETAIL_BYTES. */
__attribute__((format(printf, 2, 3))) static void say(char *line, const char *format, ...)
{
    const size_t at = strlen(line);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, VTOP_DETAIL_BYTES - at, format, args);
    va_end(args);
}

static void say_who(char *line, const struct vtop_row *row)
{
    if (row->is_vcpu)
        say(line, "%s vCPU %u: thread %u, last on CPU %llu, now %s", row->name, row->index, row->tid,
            (unsigned long long)row->cpu, vt_states[row->now].name);
    else if (row->kind == VT_VM_CGROUP)
        say(line, "%s: cgroup, %u thread%s", row->name, row->vcpus, row->vcpus == 1 ? "" : "s");
    else
        say(line, "%s: %s%sprocess %u, %u vCPU%s%s", row->name,
            row->kind == VT_VM_KVM ? "" : vt_vm_kinds[row->kind].name, row->kind == VT_VM_KVM ? "" : ", ",
            row->key.tgid, row->vcpus, row->vcpus == 1 ? "" : "s",
            row->found == VT_FOUND_BY_USE ? " (a guess: its threads have no names)" : "");
}

/* The states that have time, the longest first. */
static void say_states(char *line, const struct vtop_row *row, bool utf8)
{
    bool said[VT_NR_STATES] = { false };
    for (unsigned int n = 0; n < VT_NR_STATES; n++) {
        const struct vt_figure *f = NULL;
        unsigned int best = 0;
        char time[32];
        for (unsigned int s = 0; s < VT_NR_STATES; s++)
            if (!said[s] && row->account.state[s].ns && (!f || row->account.state[s].ns > f->ns)) {
                f = &row->account.state[s];
                best = s;
            }
        if (!f)
            return;
        said[best] = true;
        vtop_format_ns(time, sizeof(time), f->ns);
        const char *mark = vtop_figure_mark(f, row->whole_ns, utf8);
        say(line, "%s%s %.1f%%%s %s", n ? "  " : "", vt_states[best].name, vtop_percent(f->ns, row->whole_ns),
            *mark == ' ' ? "" : mark, time);
    }
}

static const char *culprit_name(const struct vt_blame *b)
{
    switch (b->kind) {
    case VT_CULPRIT_OWN:
        return "itself";
    case VT_CULPRIT_QUOTA:
        return "quota";
    case VT_CULPRIT_IDLE_CPU:
        return "wake latency";
    case VT_CULPRIT_OWN_HELPER:
        return "own helpers";
    default:
        break;
    }
    return b->culprit;
}

static void say_blame(char *line, const struct vtop_model *model, const struct vtop_row *row)
{
    const uint64_t stolen = row->account.stolen.ns;
    const bool all = vt_elsewhere_accuracy(&model->head.host) == VT_EXACT; /* CPUs are looked at */
    uint64_t elsewhere = 0;
    bool any = false;
    for (size_t i = 0; i < model->nr_blame && !row->is_vcpu; i++) {
        const struct vt_blame *b = &model->blame[i];
        if (strcmp(b->victim, row->name) != 0)
            continue;
        elsewhere += b->elsewhere_ns;
        if (vtop_percent(b->ns, stolen) < 0.05)
            continue;
        say(line, "%s%s %.1f%%", any ? "  " : "stolen by: ", culprit_name(b), vtop_percent(b->ns, stolen));
        any = true;
    }
    if (!any)
        say(line, "%s",
            row->is_vcpu ? "who stole is told for the guest as a whole"
                         : "stolen by: nobody, as far as is told");
    if (vtop_percent(elsewhere, stolen) >= 0.05)
        say(line, "  (a CPU idle elsewhere: %s%.1f%%)", all ? "" : "~", vtop_percent(elsewhere, stolen));
}

static void say_books(char *line, const struct vtop_row *row)
{
    say(line,
        "books: residual %lld ns, ledger %llu ns, refused %llu  switches %llu exits %llu "
        "halts %llu",
        (long long)row->residual_ns, (unsigned long long)row->ledger_residual_ns,
        (unsigned long long)row->desync, (unsigned long long)row->switches, (unsigned long long)row->exits,
        (unsigned long long)row->halts);
}

void vtop_detail_fill(struct vtop_detail *detail, const struct vtop_model *model, const struct vtop_row *row,
                      bool utf8)
{
    memset(detail, 0, sizeof(*detail));
    say_who(detail->line[0], row);
    say_states(detail->line[1], row, utf8);
    say_blame(detail->line[2], model, row);
    say_books(detail->line[3], row);
}

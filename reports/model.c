/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "view.h"

#include <string.h>

#include "base/escape.h"
#include "base/state.h"
#include "correlator/correlate.h"

const struct report_clock report_clocks[REPORT_NR_CLOCKS] = {
    { "tsc", "TSC", VTG_HAVE_TSC, REPORT_ELAPSED, offsetof(struct vt_belief, tsc_ns) },
    { "kvmclock", "kvmclock", VTG_HAVE_KVMCLOCK, REPORT_ELAPSED, offsetof(struct vt_belief, kvmclock_ns) },
    { "monotonic", "MONOTONIC", VTG_HAVE_MONOTONIC, REPORT_ELAPSED,
      offsetof(struct vt_belief, monotonic_ns) },
    { "tick_clock", "tick count", VTG_HAVE_TICKS, REPORT_ELAPSED, offsetof(struct vt_belief, tick_clock_ns) },
    { "charged", "charged by its clock", VTG_HAVE_CHARGED, REPORT_CPU,
      offsetof(struct vt_belief, charged_ns) },
    { "cputime", "process CPU time", VTG_HAVE_CPUTIME, REPORT_CPU, offsetof(struct vt_belief, cputime_ns) },
    { "steal", "steal counter", VTG_HAVE_STEAL, REPORT_STOLEN, offsetof(struct vt_belief, steal_ns) },
};

const char *const report_claim_names[] = {
    [REPORT_ELAPSED] = "elapsed",
    [REPORT_CPU] = "CPU used",
    [REPORT_STOLEN] = "stolen",
};

bool report_belief(const struct vt_belief *belief, const struct report_clock *clock, uint64_t *ret_ns)
{
    if (!(belief->have & clock->have))
        return false;
    memcpy(ret_ns, (const char *)belief + clock->offset, sizeof(*ret_ns));
    return true;
}

bool report_own_cpu(const struct vt_benchmark *b, struct vt_figure *ret)
{
    struct vt_figure sum = { 0 };
    bool any = false;
    if (b->has_guest_kernel) {
        *ret = b->begun;
        return b->knows_begun;
    }
    for (size_t i = 0; i < b->nr_processes; i++) {
        const struct vt_guest_process *p = &b->processes[i];
        if (p->of_benchmark && p->source == VTG_TASKS_NONE && p->has_charged && p->user_ns + p->sys_ns)
            return false; /* one of whose stretches nothing was told: all is compared with all */
        if (!p->of_benchmark || p->source == VTG_TASKS_NONE)
            continue;
        const struct vt_figure on = report_figure_sum(p->truth.used, p->truth.overhead);
        sum = any ? report_figure_sum(sum, on) : on;
        any = true;
    }
    if (!any)
        return false;
    sum.bound_ns += b->untold_ns;
    /* each may have had all of what several shared, together they had no more than all vCPUs */
    const struct vt_figure all = report_figure_sum(b->truth.used, b->truth.overhead);
    const uint64_t most = all.ns + all.bound_ns, above = most > sum.ns ? most - sum.ns : 0;
    if (sum.bound_ns > above && sum.bound_ns > sum.ns)
        sum.bound_ns = above > sum.ns ? above : sum.ns;
    *ret = sum;
    return true;
}

struct vt_figure report_truth(const struct vt_benchmark *b, const struct report_clock *clock)
{
    struct vt_figure own;
    switch (clock->claim) {
    case REPORT_ELAPSED:
        return b->elapsed;
    case REPORT_CPU:
        return clock->have == VTG_HAVE_CPUTIME && report_own_cpu(b, &own) ? own : b->truth.used;
    case REPORT_STOLEN:
        break;
    }
    return b->truth.stolen;
}

struct vt_figure report_figure_sum(struct vt_figure a, struct vt_figure b)
{
    /* a sum is as weak as its weakest part; a part of nothing weakens nothing */
    enum vt_accuracy worse = a.accuracy > b.accuracy ? a.accuracy : b.accuracy;
    if (a.ns == 0 && a.bound_ns == 0)
        worse = b.accuracy;
    if (b.ns == 0 && b.bound_ns == 0)
        worse = a.accuracy;
    return (struct vt_figure){ .ns = a.ns + b.ns, .bound_ns = a.bound_ns + b.bound_ns, .accuracy = worse };
}

uint64_t report_account_total(const struct vt_account *a)
{
    uint64_t total = 0;
    for (int s = 0; s < VT_NR_STATES; s++)
        total += s == VT_ABSENT ? 0 : a->state[s].ns;
    return total;
}

struct vt_figure report_demand(const struct vt_account *a)
{
    struct vt_figure on = report_figure_sum(a->used, a->overhead);
    return report_figure_sum(on, report_figure_sum(a->stolen, a->stalled));
}

/* Mean of ratios, weighted by their denominators: the ratio of the sums. */
static struct vt_ratio mean_ratio(const struct vt_guest *g, size_t offset)
{
    double value = 0, bound = 0, weight = 0;
    for (size_t i = 0; i < g->nr_benchmarks; i++) {
        const struct vt_benchmark *b = &g->benchmarks[i];
        struct vt_ratio r;
        memcpy(&r, (const char *)&b->truth + offset, sizeof(r));
        if (b->from_host_process || !r.known)
            continue;
        double w = (double)b->truth.used.ns + (double)b->truth.overhead.ns;
        value += w * r.value;
        bound += w * r.bound;
        weight += w;
    }
    if (weight <= 0)
        return (struct vt_ratio){ .known = false };
    return (struct vt_ratio){ .known = true, .value = value / weight, .bound = bound / weight };
}

struct report_dilation report_guest_dilation(const struct vt_guest *guest)
{
    struct report_dilation d = {
        .dilation = mean_ratio(guest, offsetof(struct vt_account, dilation)),
        .contention = mean_ratio(guest, offsetof(struct vt_account, contention_dilation)),
        .from_marks = true,
    };
    if (d.dilation.known)
        return d;
    return (struct report_dilation){ .dilation = guest->account.dilation,
                                     .contention = guest->account.contention_dilation };
}

struct vt_ratio report_stretch(const struct vt_benchmark *b)
{
    if (!b->undilated.known || b->undilated.low_ns == 0)
        return (struct vt_ratio){ .known = false };
    double most = (double)b->elapsed.ns / (double)b->undilated.low_ns;
    double least = (double)b->elapsed.ns / (double)b->undilated.high_ns;
    return (struct vt_ratio){ .known = true, .value = (most + least) / 2, .bound = (most - least) / 2 };
}

const struct vt_benchmark *report_bare(const struct vt_snapshot *s)
{
    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t b = 0; b < s->guests[g].nr_benchmarks; b++)
            if (s->guests[g].benchmarks[b].from_host_process)
                return &s->guests[g].benchmarks[b];
    return NULL;
}

uint64_t report_bare_elapsed(const struct vt_benchmark *bare)
{
    if (!bare)
        return 0;
    if (bare->elapsed.ns)
        return bare->elapsed.ns;
    return bare->believed.have & VTG_HAVE_MONOTONIC ? bare->believed.monotonic_ns : bare->believed.tsc_ns;
}

const char *report_name(char out[REPORT_NAME_LEN], const char *raw)
{
    vt_name_clean(out, REPORT_NAME_LEN, raw, strlen(raw));
    return out;
}

bool report_elsewhere(const struct vt_host *host, uint64_t ns, struct vt_figure *ret)
{
    if (!host->elsewhere_cpus)
        return false;
    *ret = (struct vt_figure){ .ns = ns, .accuracy = vt_elsewhere_accuracy(host) };
    return true;
}

const struct report_debts *report_debts_of(const struct report_view *v, size_t guest, size_t bench)
{
    if (!v->debts || !v->debts[guest] || !v->debts[guest][bench].known)
        return NULL;
    return &v->debts[guest][bench];
}

const char *report_off_cause(enum vt_off_cause cause)
{
    static const char *const names[VT_NR_CAUSES] = {
        [VT_CAUSE_NONE] = "not_told", [VT_CAUSE_IO] = "io",           [VT_CAUSE_KERNEL] = "kernel",
        [VT_CAUSE_KVM] = "kvm",       [VT_CAUSE_MONITOR] = "monitor",
    };
    return names[cause];
}

const char *report_culprit_kind(enum vt_culprit_kind kind)
{
    static const char *const names[VT_NR_CULPRIT_KINDS] = {
        [VT_CULPRIT_VM] = "vm",
        [VT_CULPRIT_OWN] = "own",
        [VT_CULPRIT_QUOTA] = "quota",
        [VT_CULPRIT_IDLE_CPU] = "idle",
        [VT_CULPRIT_FORCED_IDLE] = "forced-idle",
        [VT_CULPRIT_VM_HELPER] = "vm-helper",
        [VT_CULPRIT_OWN_HELPER] = "own-helper",
        [VT_CULPRIT_PROCESS] = "process",
        [VT_CULPRIT_KTHREAD] = "kernel-thread",
        [VT_CULPRIT_IRQ] = "interrupts",
        [VT_CULPRIT_HOST] = "host",
    };
    return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

bool report_is_bare(const struct vt_guest *guest)
{
    if (guest->nr_vcpus || !guest->nr_benchmarks)
        return false;
    for (size_t b = 0; b < guest->nr_benchmarks; b++)
        if (!guest->benchmarks[b].from_host_process)
            return false;
    return true;
}

const char *report_vm_kind(const struct vt_guest *guest)
{
    if (report_is_bare(guest))
        return "process";
    return (size_t)guest->vm.kind < VT_NR_VM_KINDS ? vt_vm_kinds[guest->vm.kind].key : "unknown";
}

#define SLEEPS "IDLE? is any interruptible sleep"
const char *report_vm_note(const struct vt_guest *guest)
{
    switch (guest->vm.kind) {
    case VT_VM_TCG:
        if (guest->vm.found == VT_FOUND_BY_USE)
            return "QEMU/TCG without thread names: which threads are its vCPUs is a guess by the CPU time "
                   "used "
                   "(-name NAME,debug-threads=on tells); RUN is the guest and its emulator, " SLEEPS;
        return "QEMU/TCG; RUN is the guest and its emulator, " SLEEPS;
    case VT_VM_UML:
        return "User Mode Linux; one vCPU, of the main process and those that it traces; RUN is the guest "
               "and "
               "its kernel, " SLEEPS;
    case VT_VM_CGROUP:
        return "a cgroup; each of its threads counts as a vCPU; RUN is all its time on CPU, " SLEEPS;
    case VT_VM_KVM:
    case VT_NR_VM_KINDS:
        break;
    }
    return NULL;
}

const char *report_lost_reason(enum vt_lost_reason reason)
{
    static const char *const names[VT_NR_LOST_REASONS] = {
        [VT_LOST_RING_FULL] = "ring_full", [VT_LOST_NO_SLOT] = "no_slot", [VT_LOST_NO_STORAGE] = "no_storage",
        [VT_LOST_RECURSION] = "recursion", [VT_LOST_AGENT] = "agent",     [VT_LOST_STORE] = "store",
    };
    return names[reason];
}

const char *report_probe_class(enum vt_probe_class class)
{
    static const char *const names[VT_NR_PROBE_CLASSES] = {
        [VT_PROBE_SWITCH] = "switch", [VT_PROBE_WAKEUP] = "wakeup",   [VT_PROBE_MIGRATE] = "migrate",
        [VT_PROBE_EXIT] = "exit",     [VT_PROBE_KVM_RUN] = "kvm_run", [VT_PROBE_ENTRY_EXIT] = "entry_exit",
        [VT_PROBE_HALT] = "halt",     [VT_PROBE_IRQ] = "irq",         [VT_PROBE_ADDRESSES] = "addresses",
    };
    return names[class];
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime doctor: what BPF may see. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define INSN(op, reg, value)                                                                                 \
    (struct bpf_insn)                                                                                        \
    {                                                                                                        \
        .code = (op), .dst_reg = (reg), .imm = (value)                                                       \
    }
/* r0 = 0; exit */
static const struct bpf_insn nothing[] = {
    INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0),
    INSN(BPF_JMP | BPF_EXIT, 0, 0),
};
enum { NR_NOTHING = sizeof(nothing) / sizeof(*nothing) };

/* ---- what the checks share ---- */

static void load_btf(struct doctor *d)
{
    static const char *const modules[] = { "kvm", "kvm_intel", "kvm_amd" };
    struct btf *base = btf__load_vmlinux_btf();

    if (!base)
        return;
    d->btf[d->nr_btf++] = base;
    for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
        struct btf *m = btf__load_module_btf(modules[i], base);
        if (m)
            d->btf[d->nr_btf++] = m;
    }
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    (void)level;
    (void)format;
    (void)args;
    return 0;
}

void doctor_open(struct doctor *d)
{
    const struct vt_probes_options options = { .addresses = true };

    libbpf_set_print(quiet);
    load_btf(d);
    d->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
    d->probes_errno = -vt_probes_open(&options, &d->probes, &d->probes_error);
    if (!d->probes)
        return;
    d->seed_errno = -vt_probes_seed(d->probes, &d->seed_error);
    for (uint32_t i = 0; i < vt_probes_slots(d->probes); i++) {
        struct vt_slot s;
        d->vcpus_found += vt_probes_read(d->probes, i, &s) && s.tid;
    }
    doctor_try_guest(d);
}

void doctor_close(struct doctor *d)
{
    vt_probes_close(d->probes);
    if (d->stats_fd >= 0)
        close(d->stats_fd);
    while (d->nr_btf > 0)
        btf__free(d->btf[--d->nr_btf]);
}

/* Looks into anonymous members too. */
static bool type_has(const struct btf *btf, const struct btf_type *t, const char *field)
{
    const struct btf_member *m = btf_members(t);

    for (unsigned i = 0; i < btf_vlen(t); i++, m++) {
        const char *name = btf__name_by_offset(btf, m->name_off);
        const struct btf_type *inner = btf__type_by_id(btf, m->type);
        if (name && strcmp(name, field) == 0)
            return true;
        if ((!name || !*name) && inner && btf_is_composite(inner) && type_has(btf, inner, field))
            return true;
    }
    return false;
}

bool doctor_has_field(const struct doctor *d, const char *type, const char *field)
{
    for (size_t i = 0; i < d->nr_btf; i++) {
        int id = btf__find_by_name_kind(d->btf[i], type, BTF_KIND_STRUCT);
        if (id > 0 && type_has(d->btf[i], btf__type_by_id(d->btf[i], (uint32_t)id), field))
            return true;
    }
    return false;
}

/* ---- checks ---- */

static uint64_t effective_capabilities(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    unsigned long long caps = 0;
    char line[128];

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "CapEff: %llx", &caps) == 1)
            break;
    if (f)
        fclose(f);
    return caps;
}

void doctor_privilege(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t caps = effective_capabilities();
    bool admin = caps >> CAP_SYS_ADMIN & 1;
    int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, NULL, "GPL", nothing, NR_NOTHING, NULL);
    int error = fd < 0 ? errno : 0;

    (void)d;
    if (fd >= 0)
        close(fd);
    doctor_advise(f, "nothing can be recorded, and what needs BPF below could not be tried.",
                  "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.");
    if (error)
        doctor_found(f, DOCTOR_MISSING, "user id %u%s%s%s; a BPF tracing program is refused: %s", geteuid(),
                     admin ? ", CAP_SYS_ADMIN" : "", caps >> CAP_BPF & 1 ? ", CAP_BPF" : "",
                     caps >> CAP_PERFMON & 1 ? ", CAP_PERFMON" : "", strerror(error));
    else
        doctor_found(f, DOCTOR_OK, "user id %u%s%s%s; a BPF tracing program loads", geteuid(),
                     admin ? ", CAP_SYS_ADMIN" : "", caps >> CAP_BPF & 1 ? ", CAP_BPF" : "",
                     caps >> CAP_PERFMON & 1 ? ", CAP_PERFMON" : "");
}

void doctor_btf(const struct doctor *d, struct doctor_finding *f)
{
    bool kvm = doctor_has_field(d, "kvm_vcpu", "vcpu_id");

    if (!d->nr_btf) {
        doctor_found(f, DOCTOR_MISSING, "no /sys/kernel/btf/vmlinux that can be read");
        doctor_advise(f, "nothing can be recorded: the ledger finds its fields by it.",
                      "a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian, Fedora, Ubuntu and SUSE have it).");
        return;
    }
    doctor_found(f, kvm ? DOCTOR_OK : DOCTOR_LIMITED, "%u types of the kernel; KVM's types %s",
                 btf__type_cnt(d->btf[0]) - 1,
                 !kvm             ? "are missing"
                 : d->nr_btf == 1 ? "are among them"
                                  : "from its modules");
    doctor_advise(f, "vCPUs can't be told from other threads.",
                  "load the module (modprobe kvm_intel or kvm_amd); it needs "
                  "CONFIG_DEBUG_INFO_BTF_MODULES=y.");
}

void doctor_ledger(const struct doctor *d, struct doctor_finding *f)
{
    const struct vt_slot *s = &d->trial.slot;
    uint64_t sum = 0;

    doctor_advise(f, "nothing can be recorded.", d->probes_error.text[0] ? d->probes_error.text : NULL);
    if (!d->probes) {
        doctor_found(f, DOCTOR_MISSING, "does not load: %s", d->probes_error.text);
        doctor_advise(f, "nothing can be recorded.",
                      d->probes_errno == EPERM || d->probes_errno == ENOENT ? "see above."
                      : d->probes_errno == ENODEV
                          ? "modprobe kvm_intel or kvm_amd."
                          : "VTIME_DEBUG=1 vtime record shows the kernel's words: please report them.");
        return;
    }
    if (!d->trial.seen) {
        doctor_found(f, DOCTOR_OK, "loads and attaches; no test guest to account");
        return;
    }
    for (unsigned i = 0; i < VT_NR_STATES; i++)
        sum += s->ns[i];
    doctor_found(f, sum == s->last - s->born ? DOCTOR_OK : DOCTOR_LIMITED,
                 "loads, attaches, and accounts %.1f ms of a test guest: residual %lld ns, lost %llu ns",
                 (double)(s->last - s->born) / 1e6, (long long)(s->last - s->born - sum),
                 (unsigned long long)s->ns[VT_LOST]);
    doctor_advise(f, "time of a vCPU went unaccounted: a fault of vtime.", "please report it.");
}

/* What is lost with a class: where its tracepoint is not there, or never reached. */
static const char *const without_probe[VT_NR_PROBE_CLASSES] = {
    [VT_PROBE_SWITCH] = "nothing can be recorded.",
    [VT_PROBE_WAKEUP] = "WAKING can't be told: a wake-up shows as LOST until the next edge.",
    [VT_PROBE_MIGRATE] = "migrations are not counted, and a wait that changed its run queue may name the "
                         "wrong debtor.",
    [VT_PROBE_EXIT] = "a dying vCPU's last moments keep the mode they were in.",
    [VT_PROBE_KVM_RUN] = "time in the monitor (VMM) merges into KVM, or RUN.",
    [VT_PROBE_ENTRY_EXIT] = "GUEST and KVM merge into RUN, class used: KVM's own overhead can't be shown, "
                            "nor exits by reason: KVM's own counters tell how many there were.",
    [VT_PROBE_HALT] = "POLL is not told: polling after HLT counts as KVM, or RUN.",
    [VT_PROBE_ADDRESSES] = "record --exit-addresses tells nothing: which port, MMIO address or MSR makes the "
                           "exits.",
    [VT_PROBE_IRQ] = "host interrupts are not carved out: their time counts as KVM, VMM or RUN.",
};

static bool of_kvm(unsigned class)
{
    return class == VT_PROBE_KVM_RUN || class == VT_PROBE_ENTRY_EXIT || class == VT_PROBE_HALT ||
           class == VT_PROBE_ADDRESSES;
}

void doctor_probe(const struct doctor *d, unsigned class, struct doctor_finding *f)
{
    unsigned long long runs = d->tried ? d->trial.runs[class] : 0;

    doctor_advise(f, without_probe[class],
                  "a newer kernel (5.15 or later), with kvm loaded before recording.");
    if (!d->probes) {
        doctor_found(f, DOCTOR_UNTRIED, "the ledger does not load");
        doctor_advise(f, without_probe[class], NULL);
    } else if (vt_probes_off(d->probes) & 1u << class) {
        doctor_found(f, class == VT_PROBE_SWITCH ? DOCTOR_MISSING : DOCTOR_LIMITED,
                     "this kernel lacks the tracepoint");
    } else if (d->stats_fd < 0) {
        doctor_found(f, DOCTOR_OK, "attached; runs can't be counted here, so not known to fire");
    } else if (runs) {
        doctor_found(f, DOCTOR_OK, "attached, fires: %llu times in the trial", runs);
    } else if (of_kvm(class) && d->trial.kvm_error) {
        doctor_found(f, DOCTOR_UNTRIED, "attached; without a test guest not known to fire");
        doctor_advise(f, without_probe[class], "see /dev/kvm.");
    } else {
        doctor_found(f, DOCTOR_LIMITED, "attached, but never fires, though a test guest ran");
        doctor_advise(f, without_probe[class],
                      of_kvm(class) ? "a KVM back end that reaches it: VMX or SVM hardware."
                                    : "no way known: please report this kernel.");
    }
}

void doctor_running_vms(const struct doctor *d, struct doctor_finding *f)
{
    doctor_advise(f, "a guest that started before the recording shows from its next KVM_RUN on only.",
                  "a kernel with BPF task iterators (5.8 or later).");
    if (!d->probes)
        doctor_found(f, DOCTOR_UNTRIED, "the ledger does not load");
    else if (d->seed_errno)
        doctor_found(f, DOCTOR_LIMITED, "%s", d->seed_error.text);
    else
        doctor_found(f, DOCTOR_OK, "BPF iterators work: %u vCPUs on this host now", d->vcpus_found);
}

void doctor_cost(const struct doctor *d, struct doctor_finding *f)
{
    uint64_t ns = 0, runs = 0;

    doctor_advise(f, "reports state what the collector's process cost, not what its BPF programs did.",
                  "run as root, on 5.8 or later.");
    if (d->stats_fd < 0) {
        doctor_found(f, geteuid() ? DOCTOR_UNTRIED : DOCTOR_LIMITED, "bpf_enable_stats: %s",
                     strerror(-d->stats_fd));
        return;
    }
    if (d->probes)
        vt_probes_cost(d->probes, &ns, &runs);
    if (runs)
        doctor_found(f, DOCTOR_OK, "counted: %.0f ns each in %llu runs, counting included",
                     (double)ns / (double)runs, (unsigned long long)runs);
    else
        doctor_found(f, DOCTOR_LIMITED, "can be switched on, and counts nothing");
}

/* bpf_fentry_test1() is the kernel's own function for trying this: a test run calls it. */
static int try_fentry(const struct doctor *d, const char **ret_step)
{
    struct bpf_prog_load_opts load = { .sz = sizeof(load), .expected_attach_type = BPF_TRACE_FENTRY };
    struct bpf_test_run_opts run = { .sz = sizeof(run) };
    struct bpf_prog_info info = { 0 };
    uint32_t len = sizeof(info);
    int id = btf__find_by_name_kind(d->btf[0], "bpf_fentry_test1", BTF_KIND_FUNC), prog, link = -1, r = 0;

    *ret_step = "find a function";
    if (id < 0)
        return id;
    load.attach_btf_id = (uint32_t)id;
    *ret_step = "load";
    prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, "vt_fentry", "GPL", nothing, NR_NOTHING, &load);
    if (prog < 0)
        return prog;
    *ret_step = "attach";
    link = bpf_raw_tracepoint_open(NULL, prog);
    if (link < 0) {
        r = link;
    } else {
        *ret_step = "fire";
        r = bpf_prog_test_run_opts(prog, &run);
        if (!r && d->stats_fd >= 0 && !bpf_obj_get_info_by_fd(prog, &info, &len) && !info.run_cnt)
            r = -ENODATA;
        close(link);
    }
    close(prog);
    return r;
}

void doctor_fentry(const struct doctor *d, struct doctor_finding *f)
{
    const char *step = "";
    int r;

    doctor_advise(
        f,
        "no figure depends on it: the ledger uses tracepoints only. Extras that would (forced "
        "idle of core scheduling, quota edges) stay out.",
        "a kernel with CONFIG_FUNCTION_TRACER and BPF trampolines, whose security policy allows it.");
    if (!d->nr_btf) {
        doctor_found(f, DOCTOR_UNTRIED, "no BTF");
        return;
    }
    r = try_fentry(d, &step);
    if (!r)
        doctor_found(f, DOCTOR_OK, "loads, attaches and fires");
    else if (r == -EPERM && geteuid())
        doctor_found(f, DOCTOR_UNTRIED, "not allowed to load one");
    else
        doctor_found(f, DOCTOR_LIMITED, "does not %s: %s", step, strerror(-r));
}

void doctor_quota(const struct doctor *d, struct doctor_finding *f)
{
    bool amount = doctor_has_field(d, "cfs_rq", "throttled_clock_self_time");

    doctor_advise(f, "THROTTLED can't be told from PREEMPTED: a quota's share looks like stolen time.",
                  "a kernel with CONFIG_CFS_BANDWIDTH=y.");
    if (!d->nr_btf)
        doctor_found(f, DOCTOR_UNTRIED, "no BTF");
    else if (doctor_has_field(d, "task_struct", "throttled"))
        doctor_found(f, DOCTOR_OK, "told per task (task_struct.throttled)%s",
                     amount ? ", amount from cfs_rq.throttled_clock_self_time" : "");
    else if (doctor_has_field(d, "cfs_rq", "throttle_count"))
        doctor_found(f, DOCTOR_OK, "told per run queue (cfs_rq.throttle_count)%s",
                     amount ? ", amount from throttled_clock_self_time" : "");
    else
        doctor_found(f, DOCTOR_LIMITED, "no field tells");
}

void doctor_guest_tsc(const struct doctor *d, struct doctor_finding *f)
{
    const struct vt_slot *s = &d->trial.slot;
    bool fields = doctor_has_field(d, "kvm_vcpu_arch", "l1_tsc_offset") &&
                  doctor_has_field(d, "kvm_vcpu_arch", "l1_tsc_scaling_ratio");

    doctor_advise(f, "a guest's clocks are fitted from its messages, with bounds of the messages' delay.",
                  "a kernel of 5.14 or later with KVM's BTF.");
    if (d->nr_btf && !fields)
        doctor_found(f, DOCTOR_LIMITED, "kvm_vcpu_arch has no l1_tsc_offset and l1_tsc_scaling_ratio");
    else if (!d->trial.seen)
        doctor_found(f, DOCTOR_UNTRIED, "%s; no test guest to read it from",
                     fields ? "KVM has the fields" : "no BTF");
    else if (!s->tsc_ratio)
        doctor_found(f, DOCTOR_LIMITED, "KVM has the fields, but a test guest's ratio reads 0");
    else
        doctor_found(f, DOCTOR_OK, "read: offset %lld, ratio %llu of a test guest", (long long)s->tsc_offset,
                     (unsigned long long)s->tsc_ratio);
}

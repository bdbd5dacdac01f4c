/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The correlator against readable text traces (tests/traces/, format in its
 * README): each trace is a recording, windows of it, and what must be shown.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <glob.h>

#include "base/joint.h"
#include "base/state.h"
#include "correlator/internal.h"
#include "vt/task_pack.h"

/* One line: a verb and its words. */
struct line {
    const char *file;
    int number;
    char verb[32];
    char *word[64]; /* "key=value" */
    unsigned int nr;
    uint64_t used; /* bit per word that was asked for */
};

/* Says where and what, and fails. */
__attribute__((format(printf, 2, 3), noreturn)) static void die(const struct line *l, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    print_error("%s:%d: %s\n", l->file, l->number, what);
    fail();
    abort(); /* not reached: cmocka jumps out */
}

static const char *text(struct line *l, const char *key)
{
    size_t n = strlen(key);
    for (unsigned int i = 0; i < l->nr; i++)
        if (strncmp(l->word[i], key, n) == 0 && l->word[i][n] == '=') {
            l->used |= UINT64_C(1) << i;
            return l->word[i] + n + 1;
        }
    return NULL;
}

/* 12, 12ns, 3us, 4ms, 1s, and sums of them: 1s+4ms. */
static uint64_t parse(struct line *l, const char *s)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 }, { "", 1 } };
    uint64_t sum = 0;
    while (s) {
        char *end;
        uint64_t v = strtoull(s, &end, 0);
        const char *plus = strchr(end, '+');
        size_t n = plus ? (size_t)(plus - end) : strlen(end);
        size_t u = 0;
        while (u < 5 && (strlen(units[u].name) != n || strncmp(units[u].name, end, n) != 0))
            u++;
        if (end == s || u == 5)
            die(l, "not a number: %s", s);
        sum += v * units[u].ns;
        s = plus ? plus + 1 : NULL;
    }
    return sum;
}

static uint64_t number(struct line *l, const char *key)
{
    const char *s = text(l, key);
    return s ? parse(l, s) : 0;
}

static enum vt_state state_named(struct line *l, const char *name)
{
    for (unsigned int i = 0; name && i < VT_NR_STATES; i++)
        if (strcmp(vt_states[i].name, name) == 0)
            return (enum vt_state)i;
    if (name)
        die(l, "no such state: %s", name);
    return VT_LOST;
}

static void finish(struct line *l)
{
    for (unsigned int i = 0; i < l->nr; i++)
        if (!(l->used & UINT64_C(1) << i))
            die(l, "not understood: %s", l->word[i]);
}

/* ---- rows ---- */

static struct vt_slice slice_of(struct line *l)
{
    static const char *const on[VT_NR_ON_CPU] = { "GUEST", "KVM", "VMM", "RUN", "POLL", "LOST", "IRQ" };
    struct vt_slice s = { .seq = number(l, "seq"), .t_out = number(l, "out"), .t_wake = number(l, "wake") };
    s.t_in = number(l, "in");
    s.t_end = number(l, "end");
    s.off_state = (uint8_t)state_named(l, text(l, "off"));
    s.off_cause = (uint8_t)number(l, "cause");
    s.wait_state = (uint8_t)state_named(l, text(l, "wait"));
    s.throttled_ns = number(l, "throttled");
    s.tail_poll_ns = number(l, "poll");
    s.tail_back_ns = number(l, "back");
    if (s.tail_poll_ns)
        s.tail_state = (uint8_t)state_named(l, text(l, "tail"));
    s.cpu = (uint16_t)number(l, "cpu");
    s.exits = (uint32_t)number(l, "exits");
    s.user_exits = (uint32_t)number(l, "user_exits");
    s.migrations = (uint8_t)number(l, "migrations");
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++)
        s.on_cpu[i] = number(l, on[i]);
    const char *flags = text(l, "flags");
    s.flags = (uint8_t)((flags && strstr(flags, "FIRST") ? VT_SLICE_FIRST : 0) |
                        (flags && strstr(flags, "LAST") ? VT_SLICE_LAST : 0) |
                        (flags && strstr(flags, "RECOVERED") ? VT_SLICE_RECOVERED : 0) |
                        (flags && strstr(flags, "WAKE_IDLE") ? VT_SLICE_WAKE_IDLE : 0) |
                        (flags && strstr(flags, "WAITS") ? VT_SLICE_WAITS : 0) |
                        (flags && strstr(flags, "ELSEWHERE") ? VT_SLICE_ELSEWHERE : 0));
    return s;
}

static int add_slice(struct vt_correlator *c, struct line *l)
{
    struct vt_slice s = slice_of(l);
    return vt_correlator_slices(c, (int64_t)number(l, "vcpu"), &s, 1);
}

static int add_checkpoint(struct vt_correlator *c, struct line *l)
{
    struct vt_checkpoint cp = { .vcpu = (int64_t)number(l, "vcpu") };
    cp.at.v = number(l, "at");
    cp.last.v = number(l, "last");
    cp.state = state_named(l, text(l, "state"));
    cp.open = slice_of(l);
    cp.open.flags |= VT_SLICE_OPEN;
    cp.desync[VT_DESYNC_IN_NO_WAKE] = (uint32_t)number(l, "desync");
    cp.proc_run_ns = number(l, "proc_run");
    cp.proc_run_delay_ns = number(l, "proc_delay");
    cp.proc_at.v = number(l, "proc_at");
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        char key[32];
        snprintf(key, sizeof(key), "sum.%s", vt_states[i].name);
        cp.ns[i] = number(l, key);
    }
    return vt_correlator_checkpoint(c, &cp);
}

static int add_host(struct vt_correlator *c, struct line *l)
{
    static const char *const classes[VT_NR_PROBE_CLASSES] = { "switch", "wakeup",  "migrate",
                                                              "exit",   "kvm-run", "entry-exit",
                                                              "halt",   "irq",     "addresses" };
    struct vt_host host = { .begin = { number(l, "begin") }, .end = { number(l, "end") }, .nr_cpus = 2 };
    const char *off = text(l, "off"), *only = text(l, "only");
    if (only)
        snprintf(host.only, sizeof(host.only), "%s", only);
    host.helper_wait_ns = number(l, "helper_wait");
    host.tsc_stable = !text(l, "tsc_unstable");
    host.tells_outer_steal = text(l, "outer") != NULL;
    host.stays_awake = text(l, "awake") != NULL;
    host.ledger_only = text(l, "ledger_only") != NULL;
    for (unsigned int i = 0; off && i < VT_NR_PROBE_CLASSES; i++)
        host.probes_off |= strcmp(off, classes[i]) == 0 ? 1u << i : 0;
    return vt_correlator_host(c, &host);
}

static int add_vm(struct vt_correlator *c, struct line *l)
{
    struct vt_vm vm = { .id = (int64_t)number(l, "id") };
    static const char *const kinds[VT_NR_VM_KINDS] = { "kvm", "tcg", "uml", "cgroup" };
    const char *kind = text(l, "kind");
    for (unsigned int i = 0; kind && i < VT_NR_VM_KINDS; i++)
        if (strcmp(kind, kinds[i]) == 0)
            vm.kind = (enum vt_vm_kind)i;
    vm.tgid = (uint32_t)number(l, "pid");
    if (text(l, "kind"))
        vm.kind = strcmp(text(l, "kind"), "tcg") == 0 ? VT_VM_TCG : VT_VM_UML;
    snprintf(vm.name, sizeof(vm.name), "%s", text(l, "name"));
    return vt_correlator_vm(c, &vm);
}

static int add_vcpu(struct vt_correlator *c, struct line *l)
{
    struct vt_vcpu row = { .id = (int64_t)number(l, "id"), .vm = (int64_t)number(l, "vm") };
    row.index = (uint32_t)number(l, "index");
    row.tid = (uint32_t)number(l, "tid");
    row.born.v = number(l, "born");
    row.start_time.v = number(l, "started");
    return vt_correlator_vcpu(c, &row);
}

static int add_epoch(struct vt_correlator *c, struct line *l)
{
    struct vt_tsc_epoch e = { .vcpu = (int64_t)number(l, "vcpu"), .at = { number(l, "at") } };
    const char *offset = text(l, "offset");
    e.offset = offset && offset[0] == '-' ? 0 - parse(l, offset + 1) : offset ? parse(l, offset) : 0;
    e.ratio = number(l, "ratio");
    e.frac = (uint32_t)number(l, "frac");
    return vt_correlator_tsc_epoch(c, &e);
}

static int add_pair(struct vt_correlator *c, struct line *l)
{
    struct vt_clock_pair p = { { number(l, "ns") }, { number(l, "tsc") }, number(l, "bound") };
    return vt_correlator_clock_pair(c, &p);
}

static int add_observer(struct vt_correlator *c, struct line *l)
{
    struct vt_observer o = { .at = { number(l, "at") }, .host_steal_ns = number(l, "steal") };
    return vt_correlator_observer(c, &o);
}

static int add_occupancy(struct vt_correlator *c, struct line *l)
{
    static const char *const kinds[VT_NR_OCCUPANTS] = { "idle", "task", "kthread", "forced" };
    struct vt_occupancy o = { .from = { number(l, "from") }, .to = { number(l, "to") } };
    const char *kind = text(l, "kind"), *comm = text(l, "comm");
    while (kind && o.kind < VT_NR_OCCUPANTS && strcmp(kinds[o.kind], kind) != 0)
        o.kind++;
    o.cpu = (uint32_t)number(l, "cpu");
    o.tgid = o.tid = (uint32_t)number(l, "tgid");
    snprintf(o.comm, sizeof(o.comm), "%s", comm ? comm : "");
    return vt_correlator_occupancy(c, &o);
}

static int add_helper(struct vt_correlator *c, struct line *l)
{
    struct vt_helper h = { .id = (int64_t)number(l, "id"), .vm = (int64_t)number(l, "vm") };
    return vt_correlator_helper(c, &h);
}

static int add_sums(struct vt_correlator *c, struct line *l)
{
    struct vt_helper_time t = { .helper = (int64_t)number(l, "helper"), .at = { number(l, "at") } };
    t.waited_ns = number(l, "waited");
    return vt_correlator_helper_time(c, &t);
}

static int add_wait(struct vt_correlator *c, struct line *l)
{
    struct vt_helper_wait w = { (int64_t)number(l, "helper"), { number(l, "from") }, { number(l, "to") } };
    return vt_correlator_helper_wait(c, &w);
}

static int add_outer(struct vt_correlator *c, struct line *l)
{
    struct vt_outer_steal o = {
        (int64_t)number(l, "vcpu"), { number(l, "from") }, { number(l, "to") }, number(l, "ns")
    };
    return vt_correlator_outer_steal(c, &o);
}

static int add_loss(struct vt_correlator *c, struct line *l)
{
    struct vt_loss row = { { number(l, "at") }, VT_LOST_RING_FULL, number(l, "count") };
    return vt_correlator_loss(c, &row);
}

static int add_move(struct vt_correlator *c, struct line *l)
{
    struct vt_vcpu_move m = { (int64_t)number(l, "vcpu"), { number(l, "at") }, 0, 0 };
    m.from_cpu = (uint32_t)number(l, "from");
    m.to_cpu = (uint32_t)number(l, "to");
    return vt_correlator_move(c, &m);
}

static int add_cpu(struct vt_correlator *c, struct line *l)
{
    struct vt_cpu row = { .cpu = (uint32_t)number(l, "id"), .node = (int32_t)number(l, "node") };
    row.core_id = (int32_t)number(l, "core");
    row.package = (int32_t)number(l, "package");
    row.sibling = (uint32_t)number(l, "sibling");
    return vt_correlator_cpu(c, &row);
}

/* An agent in the guest's system: its clocks and its channel. */

static int add_exchange(struct vt_correlator *c, struct line *l)
{
    struct vt_exchange e = { .vm = (int64_t)number(l, "vm"), .session = number(l, "session") };
    e.sent.v = e.sent_tsc.v = number(l, "sent");
    e.received.v = e.received_tsc.v = number(l, "received");
    if (text(l, "sent_tsc"))
        e.sent_tsc.v = number(l, "sent_tsc");
    if (text(l, "received_tsc"))
        e.received_tsc.v = number(l, "received_tsc");
    e.tsc_received.v = number(l, "in");
    e.tsc_sent.v = number(l, "out");
    return vt_correlator_exchange(c, &e);
}

static int add_system(struct vt_correlator *c, struct line *l)
{
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    r.type = VTG_SYSTEM;
    r.system.session = number(l, "session");
    r.system.boot_id[0] = number(l, "boot");
    r.system.tsc_khz = number(l, "khz");
    return vt_correlator_guest_record(c, &r);
}

static int add_view(struct vt_correlator *c, struct line *l)
{
    static const char *const keys[VTG_NR_OS_CLOCKS] = { "mono", "raw", "real", "boot", "tai" };
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    r.type = VTG_VIEW;
    r.view.cpu = (uint32_t)number(l, "cpu");
    for (unsigned int i = 0; i <= VTG_NR_OS_CLOCKS; i++)
        r.view.tsc[i] = number(l, "tsc") + 20 * i;
    for (unsigned int i = 0; i < VTG_NR_OS_CLOCKS; i++) {
        r.view.ns[i] = number(l, keys[i]);
        r.view.have |= text(l, keys[i]) ? 1u << i : 0;
    }
    return vt_correlator_guest_record(c, &r);
}

static int add_stat(struct vt_correlator *c, struct line *l)
{
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    r.type = VTG_CPUS;
    r.cpus.nr = text(l, "nr") ? (uint32_t)number(l, "nr") : 1;
    r.cpus.tsc_before = r.cpus.tsc_after = number(l, "tsc");
    r.cpus.cpus[0].cpu = (uint32_t)number(l, "cpu");
    r.cpus.cpus[0].user = number(l, "user");
    r.cpus.cpus[0].steal = number(l, "steal");
    r.cpus.cpus[0].idle = number(l, "idle");
    return vt_correlator_guest_record(c, &r);
}

static int add_event(struct vt_correlator *c, struct line *l)
{
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    r.type = VTG_EVENT;
    r.event.tsc = number(l, "tsc");
    r.event.kind = (uint32_t)number(l, "kind");
    r.event.a = (int64_t)number(l, "a");
    r.event.b = (int64_t)number(l, "b");
    return vt_correlator_guest_record(c, &r);
}

static int add_channel(struct vt_correlator *c, struct line *l)
{
    struct vt_channel_event e = { .vm = (int64_t)number(l, "vm"), .at = { number(l, "at") } };
    e.kind = (enum vt_channel_event_kind)number(l, "kind");
    e.count = number(l, "count");
    return vt_correlator_channel_event(c, &e);
}

static struct vtg_clocks clocks_of(struct line *l)
{
    static const struct {
        const char *key;
        uint32_t bit;
        size_t at;
    } fields[] = {
        { "tsc", VTG_HAVE_TSC, offsetof(struct vtg_clocks, tsc_before) },
        { "kvmclock", VTG_HAVE_KVMCLOCK, offsetof(struct vtg_clocks, kvmclock_ns) },
        { "steal", VTG_HAVE_STEAL, offsetof(struct vtg_clocks, steal_ns) },
        { "ticks", VTG_HAVE_TICKS, offsetof(struct vtg_clocks, ticks) },
        { "charged", VTG_HAVE_CHARGED, offsetof(struct vtg_clocks, charged_ns) },
        { "monotonic", VTG_HAVE_MONOTONIC, offsetof(struct vtg_clocks, monotonic_ns) },
        { "cputime", VTG_HAVE_CPUTIME, offsetof(struct vtg_clocks, cputime_ns) },
        { "tick", 0, offsetof(struct vtg_clocks, tick_ns) },
        { "work", 0, offsetof(struct vtg_clocks, work_done) },
    };
    struct vtg_clocks k = { .vcpu = (uint32_t)number(l, "vcpu") };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        const char *s = text(l, fields[i].key);
        uint64_t v = s ? parse(l, s) : 0;
        if (s)
            k.have |= fields[i].bit;
        memcpy((char *)&k + fields[i].at, &v, sizeof(v));
    }
    k.tsc_after = k.tsc_before;
    k.pv_mul = (uint32_t)number(l, "pv_mul");
    k.pv_shift = text(l, "pv_shift") ? atoi(text(l, "pv_shift")) : 0;
    return k;
}

static int add_record(struct vt_correlator *c, struct line *l)
{
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    r.host_tsc.v = text(l, "relay") ? number(l, "relay") : 0;
    if (strcmp(l->verb, "hello") == 0) {
        r.type = VTG_HELLO;
        r.hello.kind = text(l, "bare") ? VTG_KIND_BARE : text(l, "linux") ? VTG_KIND_LINUX : VTG_KIND_PAYLOAD;
        r.hello.nr_vcpus = (uint32_t)number(l, "cpus");
    } else if (strcmp(l->verb, "clocks") == 0) {
        r.type = VTG_CLOCKS;
        r.clocks = clocks_of(l);
    } else if (strcmp(l->verb, "gaps") == 0) {
        r.type = VTG_GAPS;
        r.gaps = (struct vtg_gaps){ .vcpu = (uint32_t)number(l, "vcpu"), .count = number(l, "count") };
        r.gaps.sum = number(l, "sum");
        r.gaps.threshold = number(l, "threshold");
    } else {
        const char *name = text(l, "name");
        r.type = VTG_MARK;
        r.mark.clocks = clocks_of(l);
        r.mark.kind = strcmp(l->verb, "begin") == 0 ? VTG_MARK_BEGIN
                      : strcmp(l->verb, "end") == 0 ? VTG_MARK_END
                                                    : VTG_MARK_POINT;
        r.mark.id = (uint32_t)number(l, "id");
        if (name)
            memcpy(r.mark.name, name, strnlen(name, VTG_NAME_LEN));
    }
    return vt_correlator_guest_record(c, &r);
}

static enum vtg_wake wake_named(struct line *l, const char *name)
{
    static const char *const wakes[VTG_NR_WAKES] = { "unknown",  "none", "relative",
                                                     "absolute", "task", "device" };
    for (unsigned int i = 0; name && i < VTG_NR_WAKES; i++)
        if (strcmp(wakes[i], name) == 0)
            return (enum vtg_wake)i;
    if (name)
        die(l, "no such wake-up: %s", name);
    return VTG_WAKE_UNKNOWN;
}

/* What an agent says of a system's tasks. */
static int add_agent_record(struct vt_correlator *c, struct line *l)
{
    struct vt_guest_record r = { .vm = (int64_t)number(l, "vm"), .host = { number(l, "host") } };
    const char *comm = text(l, "comm");
    if (strcmp(l->verb, "task") == 0) {
        r.type = VTG_TASK;
        r.task = (struct vtg_task){ .tid = (uint32_t)number(l, "tid"), .tgid = (uint32_t)number(l, "tgid") };
        r.task.mark = (uint32_t)number(l, "mark");
        memcpy(r.task.comm, comm, strnlen(comm, sizeof(r.task.comm)));
    } else if (strcmp(l->verb, "ran") == 0) { /* a frame of one stretch */
        struct vtg_stretch s = { .from = number(l, "from"), .to = number(l, "to") };
        r.type = VTG_TASKS;
        r.tasks = (struct vtg_tasks){ .base_tsc = s.from, .source = VTG_TASKS_BPF };
        r.tasks.cpu = (uint32_t)number(l, "cpu");
        r.tasks.lost = (uint32_t)number(l, "lost");
        s.waited = number(l, "waited");
        s.tid = (uint32_t)number(l, "tid");
        s.wake = wake_named(l, text(l, "wake"));
        s.waker = (uint32_t)number(l, "waker");
        s.late = text(l, "late") ? number(l, "late") + 1 : 0;
        struct vtg_task_cursor at = vtg_task_begin(&r.tasks);
        if (!vtg_pack_stretch(&r.tasks, &at, &s))
            die(l, "no room");
    } else if (strcmp(l->verb, "process") == 0) {
        r.type = VTG_PROCESS;
        r.process = (struct vtg_process){ .tsc_before = number(l, "tsc"), .pid = (uint32_t)number(l, "pid") };
        r.process.tsc_after = r.process.tsc_before;
        r.process.mark = (uint32_t)number(l, "mark");
        r.process.utime_ns = number(l, "user");
        r.process.stime_ns = number(l, "system");
        memcpy(r.process.comm, comm, strnlen(comm, sizeof(r.process.comm)));
    } else {
        r.type = VTG_RUN;
        r.run = (struct vtg_run){ .mark = (uint32_t)number(l, "mark"), .utime_ns = number(l, "user") };
        r.run.stime_ns = number(l, "system");
        r.run.elapsed_ns = number(l, "elapsed");
        r.run.status = (int32_t)number(l, "status");
    }
    return vt_correlator_guest_record(c, &r);
}

/* ---- what must be shown ---- */

static void expect_number(struct line *l, const char *key, int64_t value)
{
    const char *s = text(l, key);
    if (!s)
        return;
    int64_t want = s[0] == '-' ? -(int64_t)parse(l, s + 1) : (int64_t)parse(l, s);
    if (want != value)
        die(l, "%s is %lld, not %lld", key, (long long)value, (long long)want);
}

static void expect_figure(struct line *l, const char *name, const struct vt_figure *f)
{
    static const char *const accuracies[] = { "exact", "bounded", "estimated" };
    char key[48];
    expect_number(l, name, (int64_t)f->ns);
    snprintf(key, sizeof(key), "bound.%s", name);
    expect_number(l, key, (int64_t)f->bound_ns);
    snprintf(key, sizeof(key), "accuracy.%s", name);
    const char *s = text(l, key);
    if (s && strcmp(s, accuracies[f->accuracy]) != 0)
        die(l, "%s is %s, not %s", name, accuracies[f->accuracy], s);
}

static void expect_ratio(struct line *l, const char *key, const struct vt_ratio *r)
{
    char seen[32] = "-";
    const char *s = text(l, key);
    if (r->known)
        snprintf(seen, sizeof(seen), "%.2f", r->value);
    if (s && strcmp(s, seen) != 0)
        die(l, "%s is %s, not %s", key, seen, s);
}

static void expect_account(struct line *l, const struct vt_account *a)
{
    for (unsigned int i = 0; i < VT_NR_STATES; i++)
        expect_figure(l, vt_states[i].name, &a->state[i]);
    expect_figure(l, "used", &a->used);
    expect_figure(l, "overhead", &a->overhead);
    expect_figure(l, "stolen", &a->stolen);
    expect_figure(l, "stalled", &a->stalled);
    expect_figure(l, "idle", &a->idle);
    expect_figure(l, "paused", &a->paused);
    expect_figure(l, "unknown", &a->unknown);
    expect_ratio(l, "dilation", &a->dilation);
    expect_ratio(l, "contention", &a->contention_dilation);
}

static void expect_hops(struct line *l, const struct vt_vcpu_figures *f)
{
    for (unsigned int i = 0; i < VT_NR_HOPS; i++) {
        char key[32];
        snprintf(key, sizeof(key), "hops.%s", vt_hops[i].key);
        expect_number(l, key, (int64_t)f->hops[i]);
    }
    expect_number(l, "has_siblings", f->has_siblings);
    expect_figure(l, "sibling_busy", &f->sibling_busy);
}

/* All of them: what the line does not name is 0. */
static void expect_joint(struct line *l, const struct vt_joint_figures *j)
{
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_JOINTS; i++) {
        expect_figure(l, vt_joints[i].key, &j->state[i]);
        if (!text(l, vt_joints[i].key) && j->state[i].ns)
            die(l, "%s is %lld", vt_joints[i].key, (long long)j->state[i].ns);
        sum += j->state[i].ns;
    }
    expect_number(l, "sum", (int64_t)sum);
    expect_number(l, "known", j->known);
    expect_number(l, "residual", j->residual_ns);
}

static void expect_vcpu(struct line *l, const struct vt_snapshot *s, int64_t id)
{
    for (size_t i = 0; i < s->nr_guests; i++)
        for (size_t j = 0; j < s->guests[i].nr_vcpus; j++) {
            const struct vt_vcpu_figures *f = &s->guests[i].vcpus[j];
            if (f->vcpu.id != id)
                continue;
            expect_account(l, &f->account);
            expect_number(l, "residual", f->residual_ns);
            expect_number(l, "ledger", f->ledger_residual_ns);
            expect_number(l, "desync", (int64_t)f->desync);
            expect_number(l, "switches", (int64_t)f->switches);
            expect_number(l, "exits", (int64_t)f->exits);
            expect_number(l, "stops", (int64_t)f->nr_stops);
            if (text(l, "stop"))
                expect_number(l, "stop", f->nr_stops ? (int64_t)(f->stops[0].to.v - f->stops[0].from.v) : -1);
            expect_number(l, "on_cpu", (int64_t)f->on_cpu_ns);
            expect_number(l, "run_delay", (int64_t)f->run_delay_ns);
            expect_hops(l, f);
            if (text(l, "now") && state_named(l, text(l, "now")) != f->now)
                die(l, "now is %s", vt_states[f->now].name);
            return;
        }
    die(l, "there is no such vCPU");
}

static void expect_belief(struct line *l, const struct vt_belief *b)
{
    expect_number(l, "believed.tsc", (int64_t)b->tsc_ns);
    expect_number(l, "believed.kvmclock", (int64_t)b->kvmclock_ns);
    expect_number(l, "believed.tick_clock", (int64_t)b->tick_clock_ns);
    expect_number(l, "believed.charged", (int64_t)b->charged_ns);
    expect_number(l, "believed.steal", (int64_t)b->steal_ns);
    expect_number(l, "believed.monotonic", (int64_t)b->monotonic_ns);
    expect_number(l, "believed.cputime", (int64_t)b->cputime_ns);
    expect_number(l, "believed.ticks", (int64_t)b->ticks);
    expect_number(l, "believed.ticks_expected", (int64_t)b->ticks_expected);
    expect_number(l, "believed.have", (int64_t)b->have);
}

static void expect_process(struct line *l, const struct vt_benchmark *b, const char *name)
{
    for (size_t i = 0; i < b->nr_processes; i++) {
        const struct vt_guest_process *p = &b->processes[i];
        if (strcmp(p->name, name) != 0)
            continue;
        expect_account(l, &p->truth);
        expect_number(l, "pid", p->tgid);
        expect_number(l, "user", (int64_t)p->user_ns);
        expect_number(l, "system", (int64_t)p->sys_ns);
        expect_number(l, "on_vcpu", (int64_t)p->on_vcpu_ns);
        expect_number(l, "waited", (int64_t)p->waited_ns);
        expect_number(l, "stretches", (int64_t)p->stretches);
        expect_number(l, "of_benchmark", p->of_benchmark);
        return;
    }
    die(l, "there is no process '%s'", name);
}

static void expect_bench(struct line *l, const struct vt_snapshot *s, const char *name)
{
    for (size_t i = 0; i < s->nr_guests; i++)
        for (size_t j = 0; j < s->guests[i].nr_benchmarks; j++) {
            const struct vt_benchmark *b = &s->guests[i].benchmarks[j];
            if (strcmp(b->name, name) != 0)
                continue;
            const char *process = text(l, "process");
            if (process) {
                expect_process(l, b, process);
                return;
            }
            expect_account(l, &b->truth);
            expect_belief(l, &b->believed);
            expect_number(l, "played", b->undilated.played);
            expect_number(l, "processes", (int64_t)b->nr_processes);
            expect_number(l, "untold", (int64_t)b->untold_ns);
            expect_number(l, "strangers", (int64_t)b->strangers_ns);
            expect_number(l, "unplaced", (int64_t)b->unplaced_ns);
            expect_number(l, "takes_turns", b->takes_turns);
            expect_number(l, "unplayed", b->undilated.unplayed != NULL);
            expect_number(l, "kernel", (int64_t)b->guest_kernel_ns);
            expect_number(l, "knows_begun", b->knows_begun);
            expect_figure(l, "begun", &b->begun);
            expect_number(l, "run.user", (int64_t)b->run.user_ns);
            expect_number(l, "run.elapsed", (int64_t)b->run.elapsed_ns);
            expect_figure(l, "elapsed", &b->elapsed);
            expect_number(l, "from", (int64_t)b->window.from.v);
            expect_figure(l, "outer", &b->truth.outer);
            expect_number(l, "low", (int64_t)b->undilated.low_ns);
            expect_number(l, "high", (int64_t)b->undilated.high_ns);
            expect_number(l, "residual", b->residual_ns);
            expect_number(l, "gap_sum", (int64_t)b->gap_sum_ns);
            expect_number(l, "gap_count", (int64_t)b->gap_count);
            expect_number(l, "work", (int64_t)b->work_done);
            expect_number(l, "host_process", b->from_host_process);
            const char *assumes = text(l, "assumes");
            if (assumes && (!b->undilated.known || !strstr(b->undilated.assumptions, assumes)))
                die(l, "'%s' is not assumed", assumes);
            return;
        }
    die(l, "there is no benchmark '%s'", name);
}

static const struct vt_guest *guest_named(const struct vt_snapshot *s, const char *name)
{
    for (size_t i = 0; i < s->nr_guests; i++)
        if (strcmp(s->guests[i].vm.name, name) == 0)
            return &s->guests[i];
    return NULL;
}

static void expect_clock(struct line *l, const struct vt_guest *g)
{
    uint32_t index = (uint32_t)number(l, "vcpu");
    const char *method = text(l, "method"), *reason = text(l, "reason");
    for (size_t i = 0; i < g->nr_clocks; i++) {
        const struct vt_clock_report *r = &g->clocks[i];
        if (r->vcpu_index != index)
            continue;
        if (method && strcmp(method, r->method) != 0)
            die(l, "method is %s (%s)", r->method, r->reason);
        if (reason && !strstr(r->reason, reason))
            die(l, "reason is '%s'", r->reason);
        expect_number(l, "violations", (int64_t)r->violations);
        expect_number(l, "bound", (int64_t)r->bound_ns);
        expect_number(l, "khz", (int64_t)(r->guest_tsc_khz + 0.5));
        return;
    }
    die(l, "no such clock");
}

/* key=N: no more than that. */
static void expect_most(struct line *l, const char *key, uint64_t value)
{
    const char *s = text(l, key);
    if (s && value > parse(l, s))
        die(l, "%s: %llu", key, (unsigned long long)value);
}

static void expect_os_clock(struct line *l, const struct vt_agent_clocks *k, unsigned int clock,
                            const char *name)
{
    const struct vt_os_clock_figures *f = &k->os[clock];
    char key[32];
    snprintf(key, sizeof(key), "%s.steps", name);
    expect_number(l, key, (int64_t)f->steps);
    snprintf(key, sizeof(key), "%s.views", name);
    expect_number(l, key, (int64_t)f->views);
    snprintf(key, sizeof(key), "%s.stepped", name);
    const char *s = text(l, key); /* in ms: what a bound of microseconds doesn't change */
    if (s && atoll(s) != (f->stepped_ns + (f->stepped_ns < 0 ? -500000 : 500000)) / 1000000)
        die(l, "%s is %lld ns", key, (long long)f->stepped_ns);
    snprintf(key, sizeof(key), "%s.ppm", name);
    s = text(l, key); /* within its own bound, which isn't wide */
    if (s && (!f->has_drift || f->drift_ppm > atof(s) + f->drift_bound_ppm ||
              f->drift_ppm < atof(s) - f->drift_bound_ppm || f->drift_bound_ppm > 100))
        die(l, "%s is %.3f +- %.3f", key, f->drift_ppm, f->drift_bound_ppm);
}

/* How many there are of a source and kind; the last one's amounts. */
static size_t count_events(const struct vt_agent_clocks *k, enum vt_clock_event_source source, uint32_t kind,
                           struct vt_clock_event *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < k->nr_events; i++)
        if (k->events[i].source == source && k->events[i].kind == kind) {
            *ret = k->events[i];
            n++;
        }
    return n;
}

static void expect_events(struct line *l, const struct vt_agent_clocks *k)
{
    struct vt_clock_event e = { 0 };
    expect_number(l, "booted", (int64_t)count_events(k, VT_CLOCK_EVENT_SYSTEM, VT_SYSTEM_BOOTED, &e));
    expect_number(l, "restarted", (int64_t)count_events(k, VT_CLOCK_EVENT_SYSTEM, VT_SYSTEM_RESTARTED, &e));
    expect_number(l, "overlaps", count_events(k, VT_CLOCK_EVENT_SYSTEM, VT_SYSTEM_OVERLAPS, &e) ? e.a : 0);
    expect_number(l, "slews", (int64_t)count_events(k, VT_CLOCK_EVENT_SLEW, VTG_OS_MONOTONIC, &e));
    const char *ppm = text(l, "slew");
    const double off = ppm ? atof(ppm) - (double)e.a / 1e3 : 0;
    if (ppm && (off > (double)e.b / 1e3 || off < (double)-e.b / 1e3 || e.b > 1000))
        die(l, "slewed by %.3f +- %.3f ppm", (double)e.a / 1e3, (double)e.b / 1e3);
    expect_number(l, "away", count_events(k, VT_CLOCK_EVENT_AGENT, VTG_EVENT_AWAY, &e) ? e.a : 0);
    if (text(l, "away.kept"))
        expect_number(l, "away.kept", e.b);
    if (text(l, "away.dropped"))
        expect_number(l, "away.dropped", e.c);
}

static void expect_agent(struct line *l, const struct vt_guest *g)
{
    static const char *const names[VT_NR_CLOCK_METHODS + 1] = { "kvm-offset", "identity", "messages",
                                                                "pvclock",    "arrivals", "none" };
    const struct vt_agent_clocks *k = g->agent_clocks;
    const char *method = text(l, "method"), *event = text(l, "event"), *because = text(l, "because");
    if (!k)
        die(l, "no agent spoke");
    if (method && strcmp(method, names[k->method]) != 0)
        die(l, "method is %s", names[k->method]);
    if (because && !strstr(k->methods[VT_CLOCK_KVM].reason, because) && !strstr(k->refused, because))
        die(l, "because %s%s", k->methods[VT_CLOCK_KVM].reason, k->refused);
    expect_number(l, "exchanges", (int64_t)k->exchanges);
    expect_number(l, "absurd", (int64_t)k->absurd);
    expect_number(l, "ignored", (int64_t)k->ignored);
    expect_number(l, "epochs", (int64_t)k->nr_epochs);
    expect_number(l, "boots", (int64_t)k->boots);
    expect_number(l, "sessions", (int64_t)k->sessions);
    expect_number(l, "unmapped", (int64_t)k->unmapped);
    expect_number(l, "missed", (int64_t)k->missed_views);
    expect_number(l, "stat.user", (int64_t)k->stat.user);
    expect_number(l, "stat.steal", (int64_t)k->stat.steal);
    expect_number(l, "stat.cpus", k->stat_cpus);
    expect_number(l, "damaged", (int64_t)k->channel_counts[VT_CHANNEL_DAMAGED]);
    expect_number(l, "residual", (int64_t)k->residual.samples);
    expect_number(l, "residual.inside", (int64_t)k->residual.inside);
    if (k->method != VT_NR_CLOCK_METHODS)
        expect_most(l, "most.bound", k->methods[k->method].max_ns);
    expect_events(l, k);
    expect_os_clock(l, k, VTG_OS_MONOTONIC, "mono");
    expect_os_clock(l, k, VTG_OS_REALTIME, "real");
    for (size_t i = 0; event && i <= k->nr_events; i++) {
        if (i == k->nr_events)
            die(l, "no event '%s'", event);
        if (strstr(k->events[i].text, event))
            break;
    }
}

static void expect_mark(struct line *l, const struct vt_snapshot *s, const char *name)
{
    static const char *const lacks[VT_NR_MARK_LACKS] = { "nothing", "begin",     "end",
                                                         "clock",   "recording", "order" };
    static const char *const accuracies[] = { "exact", "bounded", "estimated" };
    const char *lack = text(l, "lacks"), *accuracy = text(l, "accuracy");
    for (size_t i = 0; i < s->nr_guests; i++)
        for (size_t j = 0; j < s->guests[i].nr_marks; j++) {
            const struct vt_lone_mark *m = &s->guests[i].marks[j];
            if (strcmp(m->name, name) != 0)
                continue;
            if (lack && strcmp(lack, lacks[m->lack]) != 0)
                die(l, "it lacks %s", lacks[m->lack]);
            if (accuracy && strcmp(accuracy, accuracies[m->accuracy]) != 0)
                die(l, "it is %s", accuracies[m->accuracy]);
            expect_number(l, "placed", m->placed);
            expect_number(l, "at", (int64_t)m->at.v);
            expect_number(l, "bound", (int64_t)m->bound_ns);
            expect_number(l, "so_far", (int64_t)m->so_far_ns);
            return;
        }
    die(l, "there is no mark '%s' alone", name);
}

static void expect_blame(struct line *l, const struct vt_snapshot *s)
{
    const char *victim = text(l, "victim"), *word = text(l, "culprit");
    char culprit[VT_VM_NAME_LEN];
    uint64_t sum = 0, elsewhere = 0;
    snprintf(culprit, sizeof(culprit), "%s", word ? word : "");
    for (char *p = culprit; *p; p++) /* a trace's words hold no blanks */
        *p = *p == '_' ? ' ' : *p;
    for (size_t i = 0; i < s->nr_blame; i++)
        if (strcmp(s->blame[i].victim, victim) == 0 && strcmp(s->blame[i].culprit, culprit) == 0) {
            sum += s->blame[i].ns;
            elsewhere += s->blame[i].elsewhere_ns;
        }
    expect_number(l, "ns", (int64_t)sum);
    expect_number(l, "elsewhere", (int64_t)elsewhere);
}

static void expect(struct line *l, const struct vt_snapshot *s)
{
    const char *guest = text(l, "guest"), *bench = text(l, "bench"), *clock = text(l, "clock");
    const char *joint = text(l, "joint"), *agent = text(l, "agent");
    if (!s)
        die(l, "there is no window");
    if (text(l, "victim")) {
        expect_blame(l, s);
    } else if (bench) {
        expect_bench(l, s, bench);
    } else if (text(l, "mark")) {
        expect_mark(l, s, text(l, "mark"));
    } else if (guest || clock) {
        const struct vt_guest *g = guest_named(s, guest ? guest : clock);
        if (!g)
            die(l, "there is no such guest");
        if (clock) {
            expect_clock(l, g);
        } else {
            expect_account(l, &g->account);
            expect_belief(l, &g->perceived);
            expect_number(l, "benchmarks", (int64_t)g->nr_benchmarks);
            expect_number(l, "marks", (int64_t)g->nr_marks);
            expect_number(l, "marks.lacking", (int64_t)g->marks_lacking);
        }
    } else if (agent) {
        const struct vt_guest *g = guest_named(s, agent);
        if (!g)
            die(l, "there is no such guest");
        expect_agent(l, g);
    } else if (joint) {
        const struct vt_guest *g = guest_named(s, joint);
        if (!g)
            die(l, "there is no such guest");
        expect_joint(l, &g->joint);
    } else if (text(l, "vcpu")) {
        expect_vcpu(l, s, (int64_t)number(l, "vcpu"));
    } else {
        expect_number(l, "from", (int64_t)s->window.from.v);
        expect_number(l, "to", (int64_t)s->window.to.v);
        expect_number(l, "cut_off", s->cut_off);
        expect_number(l, "cpu0", (int64_t)s->cpus[0].vcpu_ns);
        expect_number(l, "unwatched0", (int64_t)s->cpus[0].unwatched_ns);
        expect_number(l, "processes0", (int64_t)s->cpus[0].process_ns);
        expect_number(l, "helpers0", (int64_t)s->cpus[0].helper_ns);
        expect_number(l, "overlap0", (int64_t)s->cpus[0].overlap_ns);
        expect_number(l, "cpu1", (int64_t)s->cpus[1].vcpu_ns);
    }
}

/* ---- a trace ---- */

static const struct {
    const char *verb;
    int (*add)(struct vt_correlator *, struct line *);
} verbs[] = {
    { "host", add_host },
    { "vm", add_vm },
    { "vcpu", add_vcpu },
    { "slice", add_slice },
    { "checkpoint", add_checkpoint },
    { "epoch", add_epoch },
    { "pair", add_pair },
    { "observer", add_observer },
    { "occupancy", add_occupancy },
    { "move", add_move },
    { "loss", add_loss },
    { "outer", add_outer },
    { "helper", add_helper },
    { "sums", add_sums },
    { "waits", add_wait },
    { "cpu", add_cpu },
    { "exchange", add_exchange },
    { "system", add_system },
    { "view", add_view },
    { "stat", add_stat },
    { "event", add_event },
    { "channel", add_channel },
    { "hello", add_record },
    { "clocks", add_record },
    { "gaps", add_record },
    { "begin", add_record },
    { "task", add_agent_record },
    { "ran", add_agent_record },
    { "process", add_agent_record },
    { "run", add_agent_record },
    { "end", add_record },
    { "point", add_record },
};

static struct vt_snapshot *new_window(struct vt_correlator *c, struct line *l, struct vt_snapshot *old)
{
    struct vt_window w = { { number(l, "from") }, { number(l, "to") } };
    struct vt_err err = { "" };
    vt_snapshot_free(old);
    struct vt_snapshot *s = vt_correlate(c, l->nr ? &w : NULL, &err);
    if (!s)
        die(l, "%s", err.text);
    return s;
}

static struct vt_snapshot *run_line(struct vt_correlator *c, struct line *l, struct vt_snapshot *s)
{
    bool refused = text(l, "refused");
    if (strcmp(l->verb, "window") == 0) {
        s = new_window(c, l, s);
    } else if (strcmp(l->verb, "forget") == 0) {
        vt_correlator_forget(c, (host_ns){ number(l, "before") });
    } else if (strcmp(l->verb, "expect") == 0) {
        expect(l, s);
    } else {
        size_t i = 0, n = sizeof(verbs) / sizeof(*verbs);
        while (i < n && strcmp(verbs[i].verb, l->verb) != 0)
            i++;
        if (i == n)
            die(l, "no such verb: %s", l->verb);
        if ((verbs[i].add(c, l) != 0) != refused)
            die(l, "%s", refused ? "was not refused" : "was refused");
    }
    finish(l);
    return s;
}

static void run_trace(const char *path)
{
    char buf[2048], *save = NULL;
    FILE *f = fopen(path, "r");
    struct vt_correlator *c = vt_correlator_new();
    struct vt_snapshot *s = NULL;
    struct line l = { .file = path };
    unsigned int expected = 0;
    assert_non_null(f);
    while (fgets(buf, sizeof(buf), f)) {
        l.number++;
        l.nr = 0;
        l.used = 0;
        buf[strcspn(buf, "#\n")] = 0;
        char *word = strtok_r(buf, " ", &save);
        if (!word)
            continue;
        snprintf(l.verb, sizeof(l.verb), "%s", word);
        while ((word = strtok_r(NULL, " ", &save)) && l.nr < 64)
            l.word[l.nr++] = word;
        expected += strcmp(l.verb, "expect") == 0;
        s = run_line(c, &l, s);
    }
    if (expected == 0)
        fail_msg("%s expects nothing", path);
    vt_snapshot_free(s);
    vt_correlator_free(c);
    fclose(f);
}

static void shows_what_it_expects(void **state)
{
    run_trace(*state);
}

static int run_traces(void)
{
    glob_t g;
    if (glob("tests/traces/*.trace", 0, NULL, &g) != 0) {
        print_error("no traces: run me from the top of the tree\n");
        return 1;
    }
    struct CMUnitTest *tests = calloc(g.gl_pathc, sizeof(*tests));
    if (!tests)
        return 1;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        tests[i].name = g.gl_pathv[i];
        tests[i].test_func = shows_what_it_expects;
        tests[i].initial_state = g.gl_pathv[i];
    }
    int failed = _cmocka_run_group_tests("traces", tests, g.gl_pathc, NULL, NULL);
    free(tests);
    globfree(&g);
    return failed;
}

/* ---- memory ---- */

static struct vt_slice spin_slice(uint64_t seq)
{
    struct vt_slice s = { .seq = seq, .t_out = 1000 + seq * 1000, .wait_state = VT_PREEMPTED };
    s.flags = seq == 0 ? VT_SLICE_FIRST : 0;
    s.t_wake = s.t_out;
    s.t_in = s.t_out + 600;
    s.t_end = s.t_out + 1000;
    s.on_cpu[VT_ON_RUN] = 400 - seq % 7;
    s.on_cpu[VT_ON_VMM] = seq % 7;
    return s;
}

static void forgetting_changes_nothing_after_the_limit(void **state)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { 1000 } };
    struct vt_vm vm = { .id = 1, .name = "a" };
    struct vt_vcpu vcpu = { .id = 1, .vm = 1, .born = { 1000 } };
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    vt_correlator_vcpu(c, &vcpu);
    for (uint64_t i = 0; i < 5000; i++) {
        struct vt_slice s = spin_slice(i);
        assert_int_equal(vt_correlator_slices(c, 1, &s, 1), 0);
    }
    struct vt_window w = { { 2000333 }, { 4000777 } };
    struct vt_snapshot *a = vt_correlate(c, &w, NULL);
    vt_correlator_forget(c, (host_ns){ 2000000 });
    struct vt_snapshot *b = vt_correlate(c, &w, NULL);
    assert_non_null(a);
    assert_non_null(b);
    for (unsigned int i = 0; i < VT_NR_STATES; i++) {
        const struct vt_figure *x = &a->guests[0].vcpus[0].account.state[i],
                               *y = &b->guests[0].vcpus[0].account.state[i];
        assert_int_equal(x->ns, y->ns);
        assert_int_equal(x->bound_ns, y->bound_ns);
    }
    assert_int_equal(a->guests[0].vcpus[0].switches, b->guests[0].vcpus[0].switches);
    assert_int_equal(b->guests[0].vcpus[0].residual_ns, 0);
    assert_int_equal(b->guests[0].vcpus[0].account.unknown.ns, 0);
    assert_int_equal(vt_correlator_extent(c).from.v, 2000000);
    vt_snapshot_free(a);
    vt_snapshot_free(b);
    vt_correlator_free(c);
}

/* Two that take turns on a CPU, 600 ns and 400 ns, over more slices than are swept at once. */
static void a_long_window_is_swept_in_parts_without_a_seam(void **state)
{
    enum { SLICES = 150000 };
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { 1000 }, .end = { 1000 + SLICES * UINT64_C(1000) } };
    struct vt_vm vm = { .id = 1, .name = "a" };
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    for (int64_t id = 1; id <= 2; id++) {
        struct vt_vcpu vcpu = { .id = id, .vm = 1, .index = (uint32_t)id, .born = { 1000 } };
        vt_correlator_vcpu(c, &vcpu);
        for (uint64_t i = 0; i < SLICES; i++) {
            struct vt_slice s = spin_slice(i);
            if (id == 2) { /* runs when the other waits: its own wait comes after */
                s.t_out = s.t_wake = i ? s.t_out - 400 : s.t_out;
                s.t_in = 1000 + i * 1000;
                s.t_end = s.t_in + 600;
                s.on_cpu[VT_ON_RUN] = 600 - s.on_cpu[VT_ON_VMM];
            }
            assert_int_equal(vt_correlator_slices(c, id, &s, 1), 0);
        }
    }
    struct vt_window w = { { 1000 },
                           { SLICES * UINT64_C(1000) } }; /* the second one's last slice ends after */
    struct vt_snapshot *s = vt_correlate(c, &w, NULL);
    assert_non_null(s);
    assert_true(c->lives[0].slices.nr_slices + c->lives[1].slices.nr_slices > 4 * 65536);
    assert_int_equal(s->guests[0].joint.state[VT_JOINT_HAZARD].ns, w.to.v - w.from.v);
    assert_int_equal(s->guests[0].joint.state[VT_JOINT_HAZARD].accuracy, VT_EXACT);
    assert_int_equal(s->guests[0].joint.residual_ns, 0);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* A guest that floods its channel, and says of each record that it is another vCPU's. */
static void a_flood_of_records_is_thinned(void **state)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { 1 }, .end = { 10000000 }, .only = "shown" };
    struct vt_vm vm = { .id = 1, .name = "shown" }, other = { .id = 2, .name = "other" };
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    vt_correlator_vm(c, &other);
    for (uint32_t i = 1; i <= 300000; i++) {
        struct vt_guest_record r = { .vm = 1, .host = { 10 * i }, .type = VTG_CLOCKS };
        r.clocks.have = VTG_HAVE_KVMCLOCK;
        r.clocks.vcpu = i > 1 && i < 300000 ? i * 2654435761u : 0;
        r.clocks.kvmclock_ns = 10 * i;
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
    }
    assert_in_range(c->machines[0].nr_samples, 30000, 65536);
    struct vt_snapshot *s = vt_correlate(c, NULL, NULL);
    assert_non_null(s);
    assert_int_equal(s->nr_guests, 1); /* the other is hidden */
    assert_int_equal(s->nr_hidden, 1);
    assert_int_equal(s->guests[0].perceived.kvmclock_ns, 10 * 299999); /* first to last are kept */
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* An agent that says far more than is kept, and answers; what is old is forgotten. */
/* A frame of no stretches says nothing; one that says that some were lost is kept, and not for ever. */
static void empty_frames_of_tasks_are_not_kept(void **state)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { 1 }, .end = { VT_NSEC_PER_SEC } };
    struct vt_vm vm = { .id = 1, .name = "a", .kind = VT_VM_TCG };
    struct vt_guest_record r = { .vm = 1, .type = VTG_TASKS, .tasks = { .source = VTG_TASKS_BPF } };
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    for (r.host.v = 1; r.host.v < 1000; r.host.v++)
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
    assert_int_equal(c->machines[0].tasks.nr_batch, 0);
    r.tasks.lost = 1;
    for (r.host.v = 1; r.host.v < 1500000; r.host.v++)
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
    assert_in_range(c->machines[0].tasks.nr_batch, 1 << 19, 1 << 20);
    vt_correlator_free(c);
}

static void a_flood_of_an_agents_words_is_thinned_and_forgotten(void **state)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_host host = { .begin = { 1 }, .end = { 400 * VT_NSEC_PER_SEC }, .tsc_stable = true };
    struct vt_vm vm = { .id = 1, .name = "a", .kind = VT_VM_TCG };
    const uint64_t tick = VT_NSEC_PER_SEC / 500;
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    for (uint64_t s = 0; s <= 400; s += 10) {
        struct vt_clock_pair p = { { 1 + s * VT_NSEC_PER_SEC }, { 1 + 2 * s * VT_NSEC_PER_SEC }, 10 };
        assert_int_equal(vt_correlator_clock_pair(c, &p), 0);
    }
    for (uint64_t i = 1; i <= 200000; i++) {
        const uint64_t at = 1000000 + i * tick;
        struct vt_guest_record r = { .vm = 1, .host = { at + 50000 }, .type = VTG_VIEW };
        struct vt_exchange e = { .vm = 1, .session = 1, .sent = { at }, .received = { at + 100000 } };
        struct vt_channel_event ev = { .vm = 1, .at = { at }, .kind = VT_CHANNEL_REPLAYED, .count = 1 };
        if (i % 2 == 0) /* queued: these are the ones to go */
            e.received.v += 1500000;
        e.sent_tsc.v = 2 * e.sent.v;
        e.received_tsc.v = 2 * e.received.v;
        e.tsc_received.v = e.tsc_sent.v = 2 * (at + 50000);
        for (unsigned int k = 0; k <= VTG_NR_OS_CLOCKS; k++)
            r.view.tsc[k] = 2 * at;
        r.view.have = 1u << VTG_OS_MONOTONIC;
        r.view.ns[VTG_OS_MONOTONIC] = at;
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
        r.type = VTG_EVENT;
        r.event = (struct vtg_event){ .tsc = 2 * at, .kind = VTG_EVENT_NTP };
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
        r.type = VTG_CPUS;
        r.cpus = (struct vtg_cpus){ .tsc_after = 2 * at, .nr = UINT32_MAX };
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
        r.type = VTG_SYSTEM;
        r.system = (struct vtg_system){ .session = i };
        assert_int_equal(vt_correlator_guest_record(c, &r), 0);
        assert_int_equal(vt_correlator_exchange(c, &e), 0);
        assert_int_equal(vt_correlator_channel_event(c, &ev), 0);
    }
    const struct vt_view_log *log = &c->machines[0].said;
    assert_in_range(log->nr_exchanges, 10000, 32768);
    assert_in_range(log->nr_views, 5000, 16384);
    assert_in_range(log->nr_arrivals, 20000, 65536);
    assert_in_range(log->nr_cpus, 5000, 16384);
    assert_in_range(log->nr_events, 2000, 4096);
    assert_in_range(log->nr_channel, 2000, 4096);
    assert_in_range(log->nr_systems, 100, 256);
    struct vt_snapshot *s = vt_correlate(c, NULL, NULL);
    assert_non_null(s);
    const struct vt_agent_clocks *k = s->guests[0].agent_clocks;
    assert_non_null(k);
    assert_int_equal(k->method, VT_CLOCK_IDENTITY); /* its TSC is the host's, each exchange agrees */
    assert_int_equal(k->os[VTG_OS_MONOTONIC].steps, 0);
    assert_true(k->nr_events <= VT_MAX_CLOCK_EVENTS);
    vt_snapshot_free(s);
    vt_correlator_forget(c, (host_ns){ 390 * VT_NSEC_PER_SEC });
    assert_true(log->nr_views <= 5000 && log->nr_views > 0 && log->views[0].host.v >= 390 * VT_NSEC_PER_SEC);
    assert_true(log->exchanges[0].sent.v >= 330 * VT_NSEC_PER_SEC); /* a map's reach before */
    s = vt_correlate(c, NULL, NULL);
    assert_non_null(s);
    assert_int_equal(s->guests[0].agent_clocks->method, VT_CLOCK_IDENTITY);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* A whole life in one slice. */
static void live_once(struct vt_correlator *c, int64_t id, uint64_t from, uint64_t to)
{
    const struct vt_vm vm = { .id = id, .name = "short" };
    const struct vt_vcpu vcpu = { .id = id, .vm = id, .born = { from } };
    struct vt_slice s = { .t_out = from, .t_wake = from, .t_in = from, .t_end = to };
    struct vt_checkpoint cp = { .vcpu = id, .at = { to }, .last = { to }, .state = VT_ABSENT };

    s.flags = VT_SLICE_FIRST | VT_SLICE_LAST;
    s.on_cpu[VT_ON_RUN] = to - from;
    cp.open.seq = 1;
    assert_int_equal(vt_correlator_vm(c, &vm), 0);
    assert_int_equal(vt_correlator_vcpu(c, &vcpu), 0);
    assert_int_equal(vt_correlator_slices(c, id, &s, 1), 0);
    assert_int_equal(vt_correlator_checkpoint(c, &cp), 0);
}

/* A VM that stays, and one a second that comes and goes. */
static void the_dead_are_forgotten_and_the_living_are_not(void **state)
{
    enum { STAYS = 1, LIVES = 2000 };
    const uint64_t second = VT_NSEC_PER_SEC;
    struct vt_correlator *c = vt_correlator_new();
    const struct vt_host host = { .begin = { second } };
    const struct vt_vm vm = { .id = STAYS, .name = "stays" };
    const struct vt_vcpu vcpu = { .id = STAYS, .vm = STAYS, .born = { second } };
    (void)state;
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    vt_correlator_vcpu(c, &vcpu);
    for (uint64_t i = 1; i <= LIVES; i++) {
        struct vt_slice s = { .seq = i - 1, .t_out = i * second, .t_wake = i * second, .t_in = i * second };
        s.t_end = s.t_out + second;
        s.flags = i == 1 ? VT_SLICE_FIRST : 0;
        s.on_cpu[VT_ON_RUN] = second;
        assert_int_equal(vt_correlator_slices(c, STAYS, &s, 1), 0);
        live_once(c, (int64_t)i + STAYS, i * second + 7, (i + 1) * second - 7);
        const struct vt_loss loss = { { i * second }, i % 2 ? VT_LOST_RING_FULL : VT_LOST_AGENT, 3 };
        const struct vt_observer bill = { .at = { i * second }, .cpu_ns = i };
        assert_int_equal(vt_correlator_loss(c, &loss), 0);
        assert_int_equal(vt_correlator_observer(c, &bill), 0);
        if (i > 10)
            vt_correlator_forget(c, (host_ns){ (i - 10) * second });
        assert_true(c->nr_lives < 150 && c->nr_losses < 20 && c->nr_observers < 20);
    }
    const struct vt_window w = { { LIVES * second }, { (LIVES + 1) * second } };
    struct vt_snapshot *s = vt_correlate(c, &w, NULL);
    assert_non_null(s);
    assert_int_equal(s->guests[0].vm.id, STAYS);
    assert_int_equal(s->lost[VT_LOST_RING_FULL], 3 * LIVES / 2);
    assert_int_equal(s->lost[VT_LOST_AGENT], 3 * LIVES / 2);
    assert_int_equal(s->observer.cpu_ns, LIVES);
    assert_int_equal(s->guests[0].vcpus[0].account.state[VT_RUN].ns, second);
    assert_in_range(s->nr_guests, 2, 150);
    const struct vt_guest *last = &s->guests[s->nr_guests - 1];
    assert_int_equal(last->vm.id, LIVES + STAYS);
    assert_int_equal(last->vcpus[0].account.state[VT_RUN].ns, second - 14);
    for (size_t i = 0; i < s->nr_guests; i++)
        assert_int_equal(s->guests[i].nr_vcpus, 1);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

/* ---- exits and what they accessed ---- */

/* One vCPU in the window 1000 to 10000. */
static struct vt_correlator *one_vcpu(void)
{
    const struct vt_host host = { .begin = { 1000 }, .end = { 10000 }, .exit_addresses = true };
    const struct vt_vm vm = { .id = 1, .name = "guest" };
    const struct vt_vcpu vcpu = { .id = 1, .vm = 1, .born = { 500 } };
    struct vt_correlator *c = vt_correlator_new();
    vt_correlator_host(c, &host);
    vt_correlator_vm(c, &vm);
    vt_correlator_vcpu(c, &vcpu);
    return c;
}

static void tell_address(struct vt_correlator *c, uint64_t at, uint32_t kind, uint64_t address, bool is_write,
                         uint64_t count)
{
    const struct vt_exit_address row = { 1, { at }, kind, is_write, address, count };
    assert_int_equal(vt_correlator_exit_address(c, &row), 0);
}

static void tell_exits(struct vt_correlator *c, uint64_t at, uint32_t reason, uint64_t count)
{
    struct vt_exit_row row = { .vcpu = 1, .at = { at }, .reason = reason, .count = count };
    row.kernel_ns = reason == VT_EXIT_UNSUMMED ? 0 : 10 * count;
    assert_int_equal(vt_correlator_exits(c, &row), 0);
}

/* The address and the reason say the same: only the window decides. */
static void tell_all(struct vt_correlator *c)
{
    tell_address(c, 1000, VT_ACCESS_PORT, 0x80, true, 100); /* before the recording */
    tell_address(c, 1000, VT_ACCESS_UNSUMMED, 0, false, 7);
    tell_address(c, 3000, VT_ACCESS_PORT, 0x80, true, 130);
    tell_address(c, 3000, VT_ACCESS_MSR, 0x80, true, 3);
    tell_address(c, 3000, VT_ACCESS_PORT, 0x80, false, 4);
    tell_address(c, 6000, VT_ACCESS_MMIO, 0xfee000b0, true, 900);
    tell_address(c, 6000, VT_ACCESS_PORT, 0x80, true, 135);
    tell_address(c, 9000, VT_ACCESS_UNSUMMED, 0, false, 18);
    tell_address(c, 9000, VT_ACCESS_MMIO, 0xfee000b0, true, 901);
    tell_exits(c, 1000, 10, 50);
    tell_exits(c, 1000, VT_EXIT_UNSUMMED, 2);
    tell_exits(c, 9000, 10, 80);
    tell_exits(c, 9000, VT_EXIT_UNSUMMED, 12);
}

static const struct vt_address_figure *find_address(const struct vt_vcpu_figures *f, uint32_t kind,
                                                    uint64_t address, bool is_write)
{
    for (size_t i = 0; i < f->nr_addresses; i++)
        if (f->addresses[i].kind == kind && f->addresses[i].address == address &&
            f->addresses[i].is_write == is_write)
            return &f->addresses[i];
    return NULL;
}

static void addresses_grow_within_the_window_and_none_is_dropped(void **state)
{
    struct vt_correlator *c = one_vcpu();
    const struct vt_exit_address bad = { .vcpu = 1, .kind = VT_ACCESS_UNSUMMED + 1 };
    (void)state;
    tell_all(c);
    assert_int_equal(vt_correlator_exit_address(c, &bad), -EUCLEAN);
    struct vt_snapshot *s = vt_correlate(c, NULL, NULL);
    assert_non_null(s);
    const struct vt_vcpu_figures *f = &s->guests[0].vcpus[0];
    assert_int_equal(f->nr_addresses, 4);
    assert_int_equal(f->addresses[0].address, 0xfee000b0); /* the busiest first */
    assert_int_equal(f->addresses[0].count, 901);
    assert_int_equal(find_address(f, VT_ACCESS_PORT, 0x80, true)->count, 35);
    assert_int_equal(find_address(f, VT_ACCESS_PORT, 0x80, false)->count, 4);
    assert_int_equal(find_address(f, VT_ACCESS_MSR, 0x80, true)->count, 3);
    assert_int_equal(f->addresses_unsummed, 11);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

static void what_is_forgotten_changes_no_later_count(void **state)
{
    const struct vt_window late = { { 5000 }, { 10000 } };
    (void)state;
    for (int forget = 0; forget < 2; forget++) {
        struct vt_correlator *c = one_vcpu();
        tell_all(c);
        const size_t all = c->lives[0].nr_addresses;
        if (forget)
            vt_correlator_forget(c, late.from);
        assert_int_equal(c->lives[0].nr_addresses, forget ? all - 1 : all);
        struct vt_snapshot *s = vt_correlate(c, &late, NULL);
        assert_non_null(s);
        const struct vt_vcpu_figures *f = &s->guests[0].vcpus[0];
        assert_int_equal(f->nr_addresses, 2);
        assert_int_equal(find_address(f, VT_ACCESS_PORT, 0x80, true)->count, 5);
        assert_int_equal(find_address(f, VT_ACCESS_MMIO, 0xfee000b0, true)->count, 901);
        assert_int_equal(f->addresses_unsummed, 11);
        vt_snapshot_free(s);
        vt_correlator_free(c);
    }
}

static void exits_without_a_sum_are_told_beside_the_others(void **state)
{
    struct vt_correlator *c = one_vcpu();
    (void)state;
    tell_all(c);
    struct vt_snapshot *s = vt_correlate(c, NULL, NULL);
    assert_non_null(s);
    const struct vt_vcpu_figures *f = &s->guests[0].vcpus[0];
    assert_int_equal(f->nr_exits, 2);
    assert_int_equal(f->exits_by[0].count, 30);
    assert_int_equal(f->exits_by[1].reason, VT_EXIT_UNSUMMED);
    assert_string_equal(f->exits_by[1].name, "unsummed");
    assert_int_equal(f->exits_by[1].count, 10);
    vt_snapshot_free(s);
    vt_correlator_free(c);
}

static void an_empty_recording_tells_nothing_and_says_so(void **state)
{
    struct vt_correlator *c = vt_correlator_new();
    struct vt_err err = { "" };
    (void)state;
    assert_null(vt_correlate(c, NULL, &err));
    assert_string_equal(err.text, "nothing is recorded in this window");
    vt_correlator_free(c);
    vt_correlator_free(NULL);
    vt_snapshot_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forgetting_changes_nothing_after_the_limit),
        cmocka_unit_test(a_long_window_is_swept_in_parts_without_a_seam),
        cmocka_unit_test(a_flood_of_records_is_thinned),
        cmocka_unit_test(empty_frames_of_tasks_are_not_kept),
        cmocka_unit_test(a_flood_of_an_agents_words_is_thinned_and_forgotten),
        cmocka_unit_test(the_dead_are_forgotten_and_the_living_are_not),
        cmocka_unit_test(addresses_grow_within_the_window_and_none_is_dropped),
        cmocka_unit_test(what_is_forgotten_changes_no_later_count),
        cmocka_unit_test(exits_without_a_sum_are_told_beside_the_others),
        cmocka_unit_test(an_empty_recording_tells_nothing_and_says_so),
    };
    int failed = run_traces();
    return cmocka_run_group_tests(tests, NULL, NULL) + failed;
}

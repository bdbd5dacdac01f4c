/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows: one table of fields per structure, in the order of the columns of
 * schema.sql, read by one writer and one reader.
 */
#include "store/db.h"

#include <errno.h>
#include <string.h>

#include "base/escape.h"
#include "vt/task_pack.h"

enum kind {
    KIND_AUTO,  /* the row's own number, not in the structure */
    KIND_KEY,   /* int64_t, from 1 */
    KIND_COUNT, /* uint64_t below 2^63: times, durations, counters of this host */
    KIND_BITS,  /* uint64_t of a guest, or modulo 2^64: stored as the same 64 bits */
    KIND_U32,   /* uint32_t up to limit */
    KIND_I32,
    KIND_BOOL,
    KIND_TEXT,  /* char[limit], kept printable */
    KIND_NAME,  /* char[limit] of a guest, not terminated: two columns, text and hex */
    KIND_SLICE, /* struct vt_slice as a chunk of one */
    KIND_TASKS, /* the bytes of a struct vtg_tasks whose other fields come before */
};

struct field {
    enum kind kind;
    size_t offset;
    uint64_t limit; /* U32: greatest value; TEXT, NAME: size */
    int repeat;     /* elements of an array, one column each */
};

struct table {
    const char *name, *verb;
    const struct field *fields;
    size_t nr;
};

/* clang-format off */
#define AT(type, member, kind)        { kind, offsetof(type, member), 0, 1 }
#define U32(type, member, limit)      { KIND_U32, offsetof(type, member), limit, 1 }
#define STRING(type, member, kind)    { kind, offsetof(type, member), sizeof(((type *)0)->member), 1 }
#define ARRAY(type, member, kind, l)  { kind, offsetof(type, member), l, sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]) }
/* An enum is kept as U32. */
_Static_assert(sizeof(enum vt_counter) == 4 && sizeof(enum vt_counter_side) == 4, "enums");
_Static_assert(sizeof(enum vt_state) == 4 && sizeof(enum vt_vm_kind) == 4 && sizeof(enum vt_lost_reason) == 4, "enums");

static const struct field cpu_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    U32(struct vt_cpu, cpu, VT_MAX_CPUS - 1),
    AT(struct vt_cpu, core_id, KIND_I32),
    AT(struct vt_cpu, package, KIND_I32),
    AT(struct vt_cpu, node, KIND_I32),
    U32(struct vt_cpu, capacity, UINT32_MAX),
    U32(struct vt_cpu, sibling, VT_MAX_CPUS - 1),
};

static const struct field vm_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_vm, id, KIND_KEY),
    U32(struct vt_vm, kind, VT_NR_VM_KINDS - 1),
    U32(struct vt_vm, tgid, UINT32_MAX),
    AT(struct vt_vm, start_time, KIND_COUNT),
    STRING(struct vt_vm, name, KIND_TEXT),
};

static const struct field vm_found_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_vm_how, vm, KIND_KEY),
    U32(struct vt_vm_how, found, VT_NR_VM_FOUND - 1),
};

static const struct field vcpu_fields[] = {
    AT(struct vt_vcpu, id, KIND_KEY),
    AT(struct vt_vcpu, vm, KIND_KEY),
    U32(struct vt_vcpu, index, UINT32_MAX),
    U32(struct vt_vcpu, tid, UINT32_MAX),
    AT(struct vt_vcpu, start_time, KIND_COUNT),
    AT(struct vt_vcpu, born, KIND_COUNT),
};

static const struct field tsc_epoch_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_tsc_epoch, vcpu, KIND_KEY),
    AT(struct vt_tsc_epoch, at, KIND_COUNT),
    AT(struct vt_tsc_epoch, offset, KIND_BITS),
    AT(struct vt_tsc_epoch, ratio, KIND_BITS),
    U32(struct vt_tsc_epoch, frac, 63),
};

static const struct field clock_pair_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_clock_pair, ns, KIND_COUNT),
    AT(struct vt_clock_pair, tsc, KIND_BITS),
    AT(struct vt_clock_pair, bound_ns, KIND_COUNT),
};

static const struct field loss_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_loss, at, KIND_COUNT),
    U32(struct vt_loss, reason, VT_NR_LOST_REASONS - 1),
    AT(struct vt_loss, count, KIND_COUNT),
};

static const struct field observer_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_observer, at, KIND_COUNT),
    AT(struct vt_observer, cpu_ns, KIND_COUNT),
    AT(struct vt_observer, bpf_ns, KIND_COUNT),
    AT(struct vt_observer, bpf_runs, KIND_COUNT),
    AT(struct vt_observer, rss_bytes, KIND_COUNT),
    AT(struct vt_observer, host_steal_ns, KIND_COUNT),
    AT(struct vt_observer, host_irq_ns, KIND_COUNT),
};

static const struct field occupancy_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_occupancy, from, KIND_COUNT),
    AT(struct vt_occupancy, to, KIND_COUNT),
    U32(struct vt_occupancy, cpu, VT_MAX_CPUS - 1),
    U32(struct vt_occupancy, kind, VT_NR_OCCUPANTS - 1),
    U32(struct vt_occupancy, tid, UINT32_MAX),
    U32(struct vt_occupancy, tgid, UINT32_MAX),
    STRING(struct vt_occupancy, comm, KIND_TEXT),
};

static const struct field move_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_vcpu_move, vcpu, KIND_KEY),
    AT(struct vt_vcpu_move, at, KIND_COUNT),
    U32(struct vt_vcpu_move, from_cpu, VT_MAX_CPUS - 1),
    U32(struct vt_vcpu_move, to_cpu, VT_MAX_CPUS - 1),
};

static const struct field exits_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_exit_row, vcpu, KIND_KEY),
    AT(struct vt_exit_row, at, KIND_COUNT),
    U32(struct vt_exit_row, reason, VT_EXIT_UNSUMMED),
    AT(struct vt_exit_row, count, KIND_COUNT),
    AT(struct vt_exit_row, kernel_ns, KIND_COUNT),
    AT(struct vt_exit_row, user_ns, KIND_COUNT),
    ARRAY(struct vt_exit_row, log2, KIND_U32, UINT32_MAX),
};

static const struct field kvm_stat_fields[] = {
    AT(struct vt_kvm_stat, id, KIND_KEY),
    STRING(struct vt_kvm_stat, name, KIND_TEXT),
    STRING(struct vt_kvm_stat, unit, KIND_TEXT),
};

static const struct field kvm_count_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_kvm_count, vcpu, KIND_KEY),
    AT(struct vt_kvm_count, at, KIND_COUNT),
    AT(struct vt_kvm_count, stat, KIND_KEY),
    AT(struct vt_kvm_count, count, KIND_COUNT),
};

static const struct field exit_address_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_exit_address, vcpu, KIND_KEY),
    AT(struct vt_exit_address, at, KIND_COUNT),
    U32(struct vt_exit_address, kind, VT_ACCESS_UNSUMMED),
    AT(struct vt_exit_address, is_write, KIND_BOOL),
    AT(struct vt_exit_address, address, KIND_BITS),
    AT(struct vt_exit_address, count, KIND_COUNT),
};

static const struct field helper_fields[] = {
    AT(struct vt_helper, id, KIND_KEY),
    AT(struct vt_helper, vm, KIND_KEY),
    U32(struct vt_helper, tid, UINT32_MAX),
    AT(struct vt_helper, start_time, KIND_COUNT),
    AT(struct vt_helper, born, KIND_COUNT),
    STRING(struct vt_helper, comm, KIND_TEXT),
};

static const struct field helper_time_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_helper_time, helper, KIND_KEY),
    AT(struct vt_helper_time, at, KIND_COUNT),
    AT(struct vt_helper_time, on_cpu_ns, KIND_COUNT),
    AT(struct vt_helper_time, waited_ns, KIND_COUNT),
    AT(struct vt_helper_time, blocked_ns, KIND_COUNT),
    AT(struct vt_helper_time, stopped_ns, KIND_COUNT),
    AT(struct vt_helper_time, lost_ns, KIND_COUNT),
};

static const struct field helper_wait_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_helper_wait, helper, KIND_KEY),
    AT(struct vt_helper_wait, from, KIND_COUNT),
    AT(struct vt_helper_wait, to, KIND_COUNT),
};

static const struct field outer_steal_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_outer_steal, vcpu, KIND_KEY),
    AT(struct vt_outer_steal, from, KIND_COUNT),
    AT(struct vt_outer_steal, to, KIND_COUNT),
    AT(struct vt_outer_steal, ns, KIND_COUNT),
};

#define RECORD_FIELDS                                   \
    { .kind = KIND_AUTO, .repeat = 1 },                 \
    AT(struct vt_guest_record, vm, KIND_KEY),           \
    AT(struct vt_guest_record, host, KIND_COUNT),       \
    AT(struct vt_guest_record, host_tsc, KIND_BITS)

#define CLOCK_FIELDS(clocks)                                        \
    U32(struct vt_guest_record, clocks.vcpu, UINT32_MAX),           \
    U32(struct vt_guest_record, clocks.have, UINT32_MAX),           \
    AT(struct vt_guest_record, clocks.tsc_before, KIND_BITS),       \
    AT(struct vt_guest_record, clocks.tsc_after, KIND_BITS),        \
    AT(struct vt_guest_record, clocks.kvmclock_ns, KIND_BITS),      \
    AT(struct vt_guest_record, clocks.steal_ns, KIND_BITS),         \
    AT(struct vt_guest_record, clocks.ticks, KIND_BITS),            \
    AT(struct vt_guest_record, clocks.tick_ns, KIND_BITS),          \
    AT(struct vt_guest_record, clocks.charged_ns, KIND_BITS),       \
    AT(struct vt_guest_record, clocks.monotonic_ns, KIND_BITS),     \
    AT(struct vt_guest_record, clocks.cputime_ns, KIND_BITS),       \
    AT(struct vt_guest_record, clocks.work_done, KIND_BITS),        \
    AT(struct vt_guest_record, clocks.pv_tsc_timestamp, KIND_BITS), \
    AT(struct vt_guest_record, clocks.pv_system_time, KIND_BITS),   \
    U32(struct vt_guest_record, clocks.pv_mul, UINT32_MAX),         \
    AT(struct vt_guest_record, clocks.pv_shift, KIND_I32)

static const struct field hello_fields[] = {
    RECORD_FIELDS,
    U32(struct vt_guest_record, hello.kind, UINT32_MAX),
    U32(struct vt_guest_record, hello.nr_vcpus, UINT32_MAX),
    AT(struct vt_guest_record, hello.tick_ns, KIND_BITS),
    STRING(struct vt_guest_record, hello.name, KIND_NAME),
};

static const struct field clock_view_fields[] = { RECORD_FIELDS, CLOCK_FIELDS(clocks) };

static const struct field mark_fields[] = {
    RECORD_FIELDS,
    CLOCK_FIELDS(mark.clocks),
    U32(struct vt_guest_record, mark.kind, UINT32_MAX),
    U32(struct vt_guest_record, mark.id, UINT32_MAX),
    STRING(struct vt_guest_record, mark.name, KIND_NAME),
};

static const struct field gaps_fields[] = {
    RECORD_FIELDS,
    U32(struct vt_guest_record, gaps.vcpu, UINT32_MAX),
    U32(struct vt_guest_record, gaps.nr, VTG_GAPS_MAX),
    AT(struct vt_guest_record, gaps.threshold, KIND_BITS),
    AT(struct vt_guest_record, gaps.count, KIND_BITS),
    AT(struct vt_guest_record, gaps.sum, KIND_BITS),
    AT(struct vt_guest_record, gaps.longest, KIND_BITS),
};

static const struct field system_fields[] = {
    RECORD_FIELDS,
    AT(struct vt_guest_record, system.session, KIND_BITS),
    ARRAY(struct vt_guest_record, system.boot_id, KIND_BITS, 0),
    AT(struct vt_guest_record, system.tsc_khz, KIND_BITS),
    U32(struct vt_guest_record, system.nr_online, UINT32_MAX),
    U32(struct vt_guest_record, system.nr_possible, UINT32_MAX),
    U32(struct vt_guest_record, system.user_hz, UINT32_MAX),
    U32(struct vt_guest_record, system.view_mhz, UINT32_MAX),
    U32(struct vt_guest_record, system.task_source, UINT32_MAX),
    U32(struct vt_guest_record, system.release, UINT32_MAX),
    STRING(struct vt_guest_record, system.kernel, KIND_NAME),
    STRING(struct vt_guest_record, system.clocksource, KIND_NAME),
    STRING(struct vt_guest_record, system.hypervisor, KIND_NAME),
};

static const struct field os_view_fields[] = {
    RECORD_FIELDS,
    U32(struct vt_guest_record, view.cpu, UINT32_MAX),
    U32(struct vt_guest_record, view.have, UINT32_MAX),
    ARRAY(struct vt_guest_record, view.tsc, KIND_BITS, 0),
    ARRAY(struct vt_guest_record, view.ns, KIND_BITS, 0),
    AT(struct vt_guest_record, view.uptime_ns, KIND_BITS),
    AT(struct vt_guest_record, view.idle_ns, KIND_BITS),
    AT(struct vt_guest_record, view.ntp_offset_ns, KIND_BITS),
    AT(struct vt_guest_record, view.ntp_freq, KIND_BITS),
    AT(struct vt_guest_record, view.ntp_maxerror_ns, KIND_BITS),
    AT(struct vt_guest_record, view.ntp_esterror_ns, KIND_BITS),
    U32(struct vt_guest_record, view.ntp_status, UINT32_MAX),
    U32(struct vt_guest_record, view.ntp_state, UINT32_MAX),
    U32(struct vt_guest_record, view.ntp_tick_us, UINT32_MAX),
    AT(struct vt_guest_record, view.tai_offset_s, KIND_I32),
};

static const struct field cpus_fields[] = {
    RECORD_FIELDS,
    AT(struct vt_guest_record, cpus.tsc_before, KIND_BITS),
    AT(struct vt_guest_record, cpus.tsc_after, KIND_BITS),
    U32(struct vt_guest_record, cpus.nr, VTG_CPUS_MAX),
};

static const struct field process_fields[] = {
    RECORD_FIELDS,
    AT(struct vt_guest_record, process.tsc_before, KIND_BITS),
    AT(struct vt_guest_record, process.tsc_after, KIND_BITS),
    AT(struct vt_guest_record, process.start_ticks, KIND_BITS),
    U32(struct vt_guest_record, process.pid, UINT32_MAX),
    U32(struct vt_guest_record, process.ppid, UINT32_MAX),
    U32(struct vt_guest_record, process.threads, UINT32_MAX),
    U32(struct vt_guest_record, process.mark, UINT32_MAX),
    AT(struct vt_guest_record, process.utime_ns, KIND_BITS),
    AT(struct vt_guest_record, process.stime_ns, KIND_BITS),
    AT(struct vt_guest_record, process.run_ns, KIND_BITS),
    AT(struct vt_guest_record, process.delay_ns, KIND_BITS),
    STRING(struct vt_guest_record, process.comm, KIND_NAME),
};

static const struct field run_fields[] = {
    RECORD_FIELDS,
    U32(struct vt_guest_record, run.mark, UINT32_MAX),
    U32(struct vt_guest_record, run.repeat, UINT32_MAX),
    U32(struct vt_guest_record, run.of, UINT32_MAX),
    AT(struct vt_guest_record, run.status, KIND_I32),
    U32(struct vt_guest_record, run.pid, UINT32_MAX),
    AT(struct vt_guest_record, run.elapsed_ns, KIND_BITS),
    AT(struct vt_guest_record, run.utime_ns, KIND_BITS),
    AT(struct vt_guest_record, run.stime_ns, KIND_BITS),
    AT(struct vt_guest_record, run.maxrss_kib, KIND_BITS),
    AT(struct vt_guest_record, run.minor_faults, KIND_BITS),
    AT(struct vt_guest_record, run.major_faults, KIND_BITS),
    AT(struct vt_guest_record, run.voluntary, KIND_BITS),
    AT(struct vt_guest_record, run.involuntary, KIND_BITS),
};

static const struct field task_fields[] = {
    RECORD_FIELDS,
    U32(struct vt_guest_record, task.tid, UINT32_MAX),
    U32(struct vt_guest_record, task.tgid, UINT32_MAX),
    U32(struct vt_guest_record, task.mark, UINT32_MAX),
    STRING(struct vt_guest_record, task.comm, KIND_NAME),
};

static const struct field tasks_fields[] = {
    RECORD_FIELDS,
    AT(struct vt_guest_record, tasks.base_tsc, KIND_BITS),
    U32(struct vt_guest_record, tasks.cpu, UINT32_MAX),
    U32(struct vt_guest_record, tasks.source, UINT32_MAX),
    U32(struct vt_guest_record, tasks.nr, UINT32_MAX),
    U32(struct vt_guest_record, tasks.lost, UINT32_MAX),
    AT(struct vt_guest_record, tasks, KIND_TASKS),
};

static const struct field event_fields[] = {
    RECORD_FIELDS,
    AT(struct vt_guest_record, event.tsc, KIND_BITS),
    U32(struct vt_guest_record, event.kind, UINT32_MAX),
    U32(struct vt_guest_record, event.cpu, UINT32_MAX),
    AT(struct vt_guest_record, event.a, KIND_BITS),
    AT(struct vt_guest_record, event.b, KIND_BITS),
    STRING(struct vt_guest_record, event.text, KIND_NAME),
};

static const struct field exchange_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_exchange, vm, KIND_KEY),
    AT(struct vt_exchange, session, KIND_BITS),
    AT(struct vt_exchange, sent, KIND_COUNT),
    AT(struct vt_exchange, received, KIND_COUNT),
    AT(struct vt_exchange, sent_tsc, KIND_BITS),
    AT(struct vt_exchange, received_tsc, KIND_BITS),
    AT(struct vt_exchange, tsc_received, KIND_BITS),
    AT(struct vt_exchange, tsc_sent, KIND_BITS),
};

_Static_assert(sizeof(enum vt_channel_event_kind) == 4, "enums");
static const struct field channel_event_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_channel_event, vm, KIND_KEY),
    AT(struct vt_channel_event, at, KIND_COUNT),
    U32(struct vt_channel_event, kind, VT_NR_CHANNEL_EVENTS - 1),
    AT(struct vt_channel_event, count, KIND_COUNT),
    STRING(struct vt_channel_event, text, KIND_NAME),
};

static const struct field checkpoint_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_checkpoint, vcpu, KIND_KEY),
    AT(struct vt_checkpoint, at, KIND_COUNT),
    AT(struct vt_checkpoint, last, KIND_COUNT),
    U32(struct vt_checkpoint, state, VT_NR_STATES - 1),
    ARRAY(struct vt_checkpoint, ns, KIND_COUNT, 0),
    AT(struct vt_checkpoint, switches, KIND_COUNT),
    AT(struct vt_checkpoint, migrations, KIND_COUNT),
    AT(struct vt_checkpoint, exits, KIND_COUNT),
    AT(struct vt_checkpoint, user_exits, KIND_COUNT),
    AT(struct vt_checkpoint, halts, KIND_COUNT),
    AT(struct vt_checkpoint, wake_idle_ns, KIND_COUNT),
    ARRAY(struct vt_checkpoint, desync, KIND_U32, UINT32_MAX),
    AT(struct vt_checkpoint, open, KIND_SLICE),
    AT(struct vt_checkpoint, proc_run_ns, KIND_COUNT),
    AT(struct vt_checkpoint, proc_run_delay_ns, KIND_COUNT),
    AT(struct vt_checkpoint, proc_at, KIND_COUNT),
};

static const struct field counter_event_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_counter_event, vcpu, KIND_COUNT), /* 0: none */
    AT(struct vt_counter_event, at, KIND_COUNT),
    U32(struct vt_counter_event, event, VT_NR_COUNTERS - 1),
    U32(struct vt_counter_event, side, VT_NR_SIDES - 1),
    U32(struct vt_counter_event, error, INT32_MAX),
    STRING(struct vt_counter_event, reason, KIND_TEXT),
};

static const struct field counter_fields[] = {
    { .kind = KIND_AUTO, .repeat = 1 },
    AT(struct vt_counter_reading, vcpu, KIND_KEY),
    AT(struct vt_counter_reading, at, KIND_COUNT),
    U32(struct vt_counter_reading, event, VT_NR_COUNTERS - 1),
    U32(struct vt_counter_reading, side, VT_NR_SIDES - 1),
    AT(struct vt_counter_reading, count, KIND_COUNT),
    AT(struct vt_counter_reading, enabled_ns, KIND_COUNT),
    AT(struct vt_counter_reading, running_ns, KIND_COUNT),
};

#define TABLE(name, verb, fields) { name, verb, fields, sizeof(fields) / sizeof((fields)[0]) }
static const struct table tables[VT_NR_TABLES] = {
    [VT_TABLE_CPU] = TABLE("cpu", "INSERT", cpu_fields),
    [VT_TABLE_VM] = TABLE("vm", "INSERT OR REPLACE", vm_fields), /* a new rev */
    [VT_TABLE_VM_FOUND] = TABLE("vm_found", "INSERT", vm_found_fields),
    [VT_TABLE_VCPU] = TABLE("vcpu", "INSERT", vcpu_fields),
    [VT_TABLE_TSC_EPOCH] = TABLE("tsc_epoch", "INSERT", tsc_epoch_fields),
    [VT_TABLE_CLOCK_PAIR] = TABLE("clock_pair", "INSERT", clock_pair_fields),
    [VT_TABLE_LOSS] = TABLE("loss", "INSERT", loss_fields),
    [VT_TABLE_OBSERVER] = TABLE("observer", "INSERT", observer_fields),
    [VT_TABLE_OCCUPANCY] = TABLE("occupancy", "INSERT", occupancy_fields),
    [VT_TABLE_MOVE] = TABLE("move", "INSERT", move_fields),
    [VT_TABLE_EXITS] = TABLE("exits", "INSERT", exits_fields),
    [VT_TABLE_KVM_STAT] = TABLE("kvm_stat", "INSERT", kvm_stat_fields),
    [VT_TABLE_KVM_COUNT] = TABLE("kvm_count", "INSERT", kvm_count_fields),
    [VT_TABLE_EXIT_ADDRESS] = TABLE("exit_address", "INSERT", exit_address_fields),
    [VT_TABLE_HELPER] = TABLE("helper", "INSERT", helper_fields),
    [VT_TABLE_HELPER_TIME] = TABLE("helper_time", "INSERT", helper_time_fields),
    [VT_TABLE_HELPER_WAIT] = TABLE("helper_wait", "INSERT", helper_wait_fields),
    [VT_TABLE_OUTER_STEAL] = TABLE("outer_steal", "INSERT", outer_steal_fields),
    [VT_TABLE_HELLO] = TABLE("hello", "INSERT", hello_fields),
    [VT_TABLE_CLOCK_VIEW] = TABLE("clock_view", "INSERT", clock_view_fields),
    [VT_TABLE_MARK] = TABLE("mark", "INSERT", mark_fields),
    [VT_TABLE_GAPS] = TABLE("gaps", "INSERT", gaps_fields),
    [VT_TABLE_SYSTEM] = TABLE("system", "INSERT", system_fields),
    [VT_TABLE_OS_VIEW] = TABLE("os_view", "INSERT", os_view_fields),
    [VT_TABLE_CPUS] = TABLE("cpus", "INSERT", cpus_fields),
    [VT_TABLE_PROCESS] = TABLE("process", "INSERT", process_fields),
    [VT_TABLE_RUN] = TABLE("run", "INSERT", run_fields),
    [VT_TABLE_TASK] = TABLE("task", "INSERT", task_fields),
    [VT_TABLE_TASKS] = TABLE("tasks", "INSERT", tasks_fields),
    [VT_TABLE_EVENT] = TABLE("event", "INSERT", event_fields),
    [VT_TABLE_EXCHANGE] = TABLE("exchange", "INSERT", exchange_fields),
    [VT_TABLE_CHANNEL_EVENT] = TABLE("channel_event", "INSERT", channel_event_fields),
    [VT_TABLE_CHECKPOINT] = TABLE("checkpoint", "INSERT", checkpoint_fields),
    [VT_TABLE_COUNTER_EVENT] = TABLE("counter_event", "INSERT", counter_event_fields),
    [VT_TABLE_COUNTER] = TABLE("counter", "INSERT", counter_fields),
};

/* Facts of the host: key in `meta`, and field. */
static const struct {
    const char *key;
    struct field field;
} host_fields[] = {
    { "begin_ns", AT(struct vt_host, begin, KIND_COUNT) },
    { "end_ns", AT(struct vt_host, end, KIND_COUNT) },
    { "realtime_offset_ns", AT(struct vt_host, realtime_offset_ns, KIND_BITS) },
    { "tick_ns", AT(struct vt_host, tick_ns, KIND_COUNT) },
    { "nr_cpus", U32(struct vt_host, nr_cpus, VT_MAX_CPUS) },
    { "tsc_stable", AT(struct vt_host, tsc_stable, KIND_BOOL) },
    { "has_entry_exit", AT(struct vt_host, has_entry_exit, KIND_BOOL) },
    { "ledger_only", AT(struct vt_host, ledger_only, KIND_BOOL) },
    { "probes_off", U32(struct vt_host, probes_off, UINT32_MAX) },
    { "exit_addresses", AT(struct vt_host, exit_addresses, KIND_BOOL) },
    { "exit_isa", U32(struct vt_host, exit_isa, VT_NR_ISAS - 1) },
    { "kernel", STRING(struct vt_host, kernel, KIND_TEXT) },
    { "hostname", STRING(struct vt_host, hostname, KIND_TEXT) },
    { "cpu", STRING(struct vt_host, cpu, KIND_TEXT) },
    { "clocksource", STRING(struct vt_host, clocksource, KIND_TEXT) },
    { "hypervisor", STRING(struct vt_host, hypervisor, KIND_TEXT) },
    { "only", STRING(struct vt_host, only, KIND_TEXT) },
    { "elsewhere_cpus", U32(struct vt_host, elsewhere_cpus, VT_MAX_CPUS) },
    { "helper_wait_ns", AT(struct vt_host, helper_wait_ns, KIND_COUNT) },
    { "tells_outer_steal", AT(struct vt_host, tells_outer_steal, KIND_BOOL) },
    { "stays_awake", AT(struct vt_host, stays_awake, KIND_BOOL) },
};
/* clang-format on */
enum {
    NR_HOST_FIELDS = sizeof(host_fields) / sizeof(host_fields[0]),
    NR_FIRST_FIELDS = NR_HOST_FIELDS - 4, /* those after them came later: where they lack they are 0 */
};

const struct vt_record_table vt_record_tables[VT_NR_RECORD_TABLES] = {
    { VTG_HELLO, VT_TABLE_HELLO }, { VTG_CLOCKS, VT_TABLE_CLOCK_VIEW }, { VTG_MARK, VT_TABLE_MARK },
    { VTG_GAPS, VT_TABLE_GAPS },   { VTG_SYSTEM, VT_TABLE_SYSTEM },     { VTG_VIEW, VT_TABLE_OS_VIEW },
    { VTG_CPUS, VT_TABLE_CPUS },   { VTG_PROCESS, VT_TABLE_PROCESS },   { VTG_RUN, VT_TABLE_RUN },
    { VTG_TASK, VT_TABLE_TASK },   { VTG_TASKS, VT_TABLE_TASKS },       { VTG_EVENT, VT_TABLE_EVENT },
};

const char *vt_table_name(enum vt_table table)
{
    return tables[table].name;
}

bool vt_slice_is_sane(const struct vt_slice *slice)
{
    return slice->off_state < VT_NR_STATES && slice->wait_state < VT_NR_STATES &&
           slice->tail_state < VT_NR_STATES;
}

static int columns_of(const struct field *field)
{
    return field->kind == KIND_NAME ? 2 : field->repeat;
}

static size_t size_of(enum kind kind)
{
    return kind == KIND_U32 || kind == KIND_I32 ? 4 : 8;
}

/* ---- structure to row ---- */

/* A value that no reader would accept is refused before it is written. */
static int bind_count(sqlite3_stmt *stmt, int column, uint64_t value)
{
    return value > INT64_MAX ? SQLITE_RANGE : sqlite3_bind_int64(stmt, column, (int64_t)value);
}

static int bind_text(sqlite3_stmt *stmt, int column, const char *text, size_t size)
{
    char clean[256];
    vt_name_clean(clean, size < sizeof(clean) ? size : sizeof(clean), text, size);
    return sqlite3_bind_text(stmt, column, clean, -1, SQLITE_TRANSIENT);
}

enum { MAX_NAME = 64 };
_Static_assert(sizeof(((struct vtg_system *)0)->kernel) <= MAX_NAME, "names");
_Static_assert(sizeof(((struct vtg_event *)0)->text) <= MAX_NAME, "names");
_Static_assert(sizeof(((struct vt_channel_event *)0)->text) <= MAX_NAME, "names");

/* As hex, not as a BLOB: clients print a BLOB's bytes to the terminal as they are. */
static int bind_hex(sqlite3_stmt *stmt, int column, const char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * MAX_NAME];
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = digits[(uint8_t)bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    return sqlite3_bind_text(stmt, column, hex, (int)(2 * size), SQLITE_TRANSIENT);
}

static int bind_name(sqlite3_stmt *stmt, int column, const char *name, size_t size)
{
    char clean[4 * MAX_NAME + 1], back[sizeof(clean)] = "";
    vt_name_clean(clean, sizeof(clean), name, size);
    const int rc = sqlite3_bind_text(stmt, column, clean, -1, SQLITE_TRANSIENT);
    if (rc != SQLITE_OK)
        return rc;
    memcpy(back, clean, strlen(clean));
    if (strlen(clean) <= size && memcmp(back, name, size) == 0)
        return sqlite3_bind_null(stmt, column + 1);
    return bind_hex(stmt, column + 1, name, size);
}

/* As many stretches as it says, and not a byte more. */
static bool unpacks(const struct vtg_tasks *tasks)
{
    struct vtg_task_cursor cursor = vtg_task_begin(tasks);
    struct vtg_stretch stretch;
    for (uint32_t i = 0; i < tasks->nr; i++)
        if (!vtg_unpack_stretch(tasks, &cursor, &stretch))
            return false;
    return cursor.at == tasks->bytes;
}

static int bind_tasks(sqlite3_stmt *stmt, int column, const struct vtg_tasks *tasks)
{
    if (!unpacks(tasks))
        return SQLITE_RANGE;
    return sqlite3_bind_blob(stmt, column, tasks->data, (int)tasks->bytes, SQLITE_TRANSIENT);
}

static int bind_slice(sqlite3_stmt *stmt, int column, const struct vt_slice *slice)
{
    struct vt_chunk chunk = { 0 };
    size_t size;
    if (!vt_slice_is_sane(slice))
        return SQLITE_RANGE;
    if (vt_chunk_add(&chunk, slice) < 0)
        return SQLITE_NOMEM;
    const uint8_t *data = vt_chunk_finish(&chunk, &size);
    const int rc = sqlite3_bind_blob(stmt, column, data, (int)size, SQLITE_TRANSIENT);
    vt_chunk_release(&chunk);
    return rc;
}

/* SQLITE_RANGE: the value may not be stored. */
static int bind_value(sqlite3_stmt *stmt, int column, const struct field *field, const void *at)
{
    uint64_t wide;
    uint32_t narrow;
    switch (field->kind) {
    case KIND_AUTO:
        return sqlite3_bind_null(stmt, column);
    case KIND_KEY:
        memcpy(&wide, at, 8);
        return (int64_t)wide < 1 ? SQLITE_RANGE : sqlite3_bind_int64(stmt, column, (int64_t)wide);
    case KIND_COUNT:
        memcpy(&wide, at, 8);
        return bind_count(stmt, column, wide);
    case KIND_BITS:
        memcpy(&wide, at, 8);
        return sqlite3_bind_int64(stmt, column, (int64_t)wide);
    case KIND_U32:
        memcpy(&narrow, at, 4);
        return narrow > field->limit ? SQLITE_RANGE : sqlite3_bind_int64(stmt, column, narrow);
    case KIND_I32:
        memcpy(&narrow, at, 4);
        return sqlite3_bind_int(stmt, column, (int32_t)narrow);
    case KIND_BOOL:
        return sqlite3_bind_int(stmt, column, *(const bool *)at);
    case KIND_TEXT:
        return bind_text(stmt, column, at, field->limit);
    case KIND_NAME:
        return bind_name(stmt, column, at, field->limit);
    case KIND_SLICE:
        return bind_slice(stmt, column, at);
    case KIND_TASKS:
        return bind_tasks(stmt, column, at);
    }
    return SQLITE_RANGE;
}

static int bind_row(sqlite3_stmt *stmt, const struct table *table, const void *row)
{
    int column = 1;
    for (size_t i = 0; i < table->nr; i++) {
        const struct field *field = &table->fields[i];
        const char *at = (const char *)row + field->offset;
        for (int k = 0; k < field->repeat; k++) {
            const int rc = bind_value(stmt, column + k, field, at + (size_t)k * size_of(field->kind));
            if (rc != SQLITE_OK)
                return rc;
        }
        column += columns_of(field);
    }
    return SQLITE_OK;
}

static int prepare_insert(struct vt_store *store, enum vt_table table, struct vt_err *err)
{
    if (store->insert[table])
        return 0;
    sqlite3_str *sql = sqlite3_str_new(store->db);
    sqlite3_str_appendf(sql, "%s INTO %s VALUES (", tables[table].verb, tables[table].name);
    int columns = 0;
    for (size_t i = 0; i < tables[table].nr; i++)
        columns += columns_of(&tables[table].fields[i]);
    for (int i = 0; i < columns; i++)
        sqlite3_str_appendall(sql, i ? ", ?" : "?");
    sqlite3_str_appendall(sql, ")");
    char *text = sqlite3_str_finish(sql);
    const int r = vt_db_prepare(store, text, &store->insert[table], err);
    sqlite3_free(text);
    return r;
}

int vt_row_insert(struct vt_store *store, enum vt_table table, const void *row, int64_t id,
                  struct vt_err *err)
{
    int r = prepare_insert(store, table, err);
    if (r < 0)
        return r;
    sqlite3_stmt *stmt = store->insert[table];
    int rc = bind_row(stmt, &tables[table], row);
    if (rc == SQLITE_OK && id)
        rc = sqlite3_bind_int64(stmt, 1, id);
    if (rc == SQLITE_RANGE)
        r = vt_fail(err, EINVAL, "a row of table %s has a value out of range; it was not written",
                    tables[table].name);
    else if (rc != SQLITE_OK)
        r = vt_db_fail(store, rc, "write", err);
    else
        r = vt_db_step(store, stmt, err);
    sqlite3_reset(stmt);
    return r;
}

int vt_meta_insert(struct vt_store *store, const struct vt_host *host, struct vt_err *err)
{
    static const char sql[] = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
    int r = store->insert_meta ? 0 : vt_db_prepare(store, sql, &store->insert_meta, err);
    for (size_t i = 0; i < NR_HOST_FIELDS && r == 0; i++) {
        const struct field *field = &host_fields[i].field;
        int rc = sqlite3_bind_text(store->insert_meta, 1, host_fields[i].key, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = bind_value(store->insert_meta, 2, field, (const char *)host + field->offset);
        if (rc == SQLITE_RANGE)
            r = vt_fail(err, EINVAL, "the host's %s is out of range; it was not written", host_fields[i].key);
        else if (rc != SQLITE_OK)
            r = vt_db_fail(store, rc, "write", err);
        else
            r = vt_db_step(store, store->insert_meta, err);
        sqlite3_reset(store->insert_meta);
    }
    return r;
}

/* ---- row to structure: bytes of a file, not trusted ---- */

static bool fetch_text(sqlite3_stmt *stmt, int column, char *ret, size_t size)
{
    char clean[256];
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    const size_t length = (size_t)sqlite3_column_bytes(stmt, column);
    if (!text || length >= size)
        return false;
    vt_name_clean(clean, sizeof(clean), text, length);
    if (strlen(clean) != length || memcmp(clean, text, length) != 0)
        return false; /* we only store what is printable */
    memcpy(ret, clean, length + 1);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool fetch_hex(sqlite3_stmt *stmt, int column, char *ret, size_t size)
{
    const char *hex = (const char *)sqlite3_column_text(stmt, column);
    if (!hex || (size_t)sqlite3_column_bytes(stmt, column) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        const int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (char)(high << 4 | low);
    }
    return true;
}

static bool fetch_name(sqlite3_stmt *stmt, int column, char *ret, size_t size)
{
    if (sqlite3_column_type(stmt, column + 1) != SQLITE_NULL)
        return fetch_hex(stmt, column + 1, ret, size);
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    const size_t length = (size_t)sqlite3_column_bytes(stmt, column);
    if (!text || length > size)
        return false;
    memcpy(ret, text, length);
    return true;
}

static bool fetch_slice(sqlite3_stmt *stmt, int column, struct vt_slice *ret)
{
    const void *data = sqlite3_column_blob(stmt, column);
    const int size = sqlite3_column_bytes(stmt, column);
    return sqlite3_column_type(stmt, column) == SQLITE_BLOB && size > 0 &&
           vt_chunk_decode(data, (size_t)size, ret, 1) == 1 && vt_slice_is_sane(ret);
}

static bool fetch_tasks(sqlite3_stmt *stmt, int column, struct vtg_tasks *ret)
{
    const void *data = sqlite3_column_blob(stmt, column);
    const int size = sqlite3_column_bytes(stmt, column);
    if (sqlite3_column_type(stmt, column) != SQLITE_BLOB || size < 0 || size > (int)VTG_TASKS_BYTES)
        return false;
    if (size)
        memcpy(ret->data, data, (size_t)size);
    ret->bytes = (uint32_t)size;
    return unpacks(ret);
}

static bool fetch_value(sqlite3_stmt *stmt, int column, const struct field *field, void *at)
{
    const int64_t value = sqlite3_column_int64(stmt, column);
    const uint32_t narrow = (uint32_t)value;
    switch (field->kind) {
    case KIND_AUTO:
        return true;
    case KIND_TEXT:
        return sqlite3_column_type(stmt, column) == SQLITE_TEXT && fetch_text(stmt, column, at, field->limit);
    case KIND_NAME:
        return fetch_name(stmt, column, at, field->limit);
    case KIND_SLICE:
        return fetch_slice(stmt, column, at);
    case KIND_TASKS:
        return fetch_tasks(stmt, column, at);
    default:
        break;
    }
    if (sqlite3_column_type(stmt, column) != SQLITE_INTEGER)
        return false;
    switch (field->kind) {
    case KIND_U32:
        memcpy(at, &narrow, 4);
        return value >= 0 && (uint64_t)value <= field->limit;
    case KIND_I32:
        memcpy(at, &narrow, 4);
        return value >= INT32_MIN && value <= INT32_MAX;
    case KIND_BOOL:
        *(bool *)at = value == 1;
        return value == 0 || value == 1;
    default:
        memcpy(at, &value, 8);
        return field->kind == KIND_BITS || value >= (field->kind == KIND_KEY);
    }
}

static int complain(struct vt_store *store, enum vt_table table, sqlite3_stmt *stmt, int column,
                    struct vt_err *err)
{
    return vt_fail(err, EUCLEAN, "%s is damaged: table %s, row %lld has an impossible %s", store->path,
                   tables[table].name, (long long)sqlite3_column_int64(stmt, 0),
                   sqlite3_column_name(stmt, column));
}

int vt_row_fetch(struct vt_store *store, enum vt_table table, sqlite3_stmt *stmt, union vt_row *ret,
                 struct vt_err *err)
{
    int column = 0;
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < tables[table].nr; i++) {
        const struct field *field = &tables[table].fields[i];
        char *at = (char *)ret + field->offset;
        for (int k = 0; k < field->repeat; k++)
            if (!fetch_value(stmt, column + k, field, at + (size_t)k * size_of(field->kind)))
                return complain(store, table, stmt, column + k, err);
        column += columns_of(field);
    }
    return 0;
}

static int fetch_fact(struct vt_store *store, sqlite3_stmt *stmt, size_t i, struct vt_host *host,
                      struct vt_err *err)
{
    const struct field *field = &host_fields[i].field;
    int rc = sqlite3_bind_text(stmt, 1, host_fields[i].key, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        return vt_db_fail(store, rc, "read", err);
    int r = vt_db_step(store, stmt, err);
    if (r == 0 && i < NR_FIRST_FIELDS)
        r = vt_fail(err, i ? EUCLEAN : ENODATA, "%s has no %s: %s", store->path, host_fields[i].key,
                    i ? "it is damaged" : "its recording was cut off before it began");
    else if (r == 1)
        r = fetch_value(stmt, 0, field, (char *)host + field->offset)
                ? 0
                : vt_fail(err, EUCLEAN, "%s is damaged: the host's %s is impossible", store->path,
                          host_fields[i].key);
    sqlite3_reset(stmt);
    return r;
}

int vt_meta_fetch(struct vt_store *store, struct vt_host *ret, struct vt_err *err)
{
    struct vt_host host;
    sqlite3_stmt *stmt = NULL;
    memset(&host, 0, sizeof(host));
    int r = vt_db_prepare(store, "SELECT value FROM meta WHERE key = ?1", &stmt, err);
    /* one transaction: the writer may be updating them */
    if (r == 0)
        r = vt_db_exec(store, "BEGIN", err);
    if (r == 0) {
        for (size_t i = 0; i < NR_HOST_FIELDS && r == 0; i++)
            r = fetch_fact(store, stmt, i, &host, err);
        sqlite3_finalize(stmt);
        stmt = NULL;
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    sqlite3_finalize(stmt);
    if (r == 0)
        *ret = host;
    return r;
}

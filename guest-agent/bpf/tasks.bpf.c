/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who has which vCPU when: each switch of a CPU goes into a ring of its own,
 * stamped with the guest's TSC.  O(1) work per event, no allocation, no lock
 * that another CPU takes for long; the reader is woken when a ring is half full.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tasks.h"

char LICENSE[] SEC("license") = "GPL";

/* ---- settings, fixed before loading ---- */

const volatile __u32 ring_size = 512;  /* switches for each CPU, a power of two */
const volatile __u64 ticks_per_ns_q20; /* of stamps, << 20 */
const volatile bool stamp_ns;          /* stamps are CLOCK_MONOTONIC, ns: there is no counter of the TSC */

/* ---- shared with user space ---- */

__u64 names_lost, waits_lost;
volatile __u64 events_map; /* address of tsc_events */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* user space: CPUs */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vta_cpu);
} cpus SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* user space: CPUs * ring_size */
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vta_switch);
} switches SEC(".maps");

/* The event msr/tsc/ of each CPU. */
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(max_entries, 1); /* user space: CPUs */
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(__u32));
} tsc_events SEC(".maps");

/* Since when a task is runnable and not on a CPU; 0: it is not. Preallocated: it is used under run queue
 * locks. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, __u32);
    __type(value, __u64);
} runnable SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, VTA_NAMES_BYTES);
} names SEC(".maps");

/* Holds nothing of interest: to be polled. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, VTA_BELL_BYTES);
} bell SEC(".maps");

static __always_inline void ring_bell(void)
{
    __u64 nothing = 0;

    bpf_ringbuf_output(&bell, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP);
}

static __always_inline struct vta_cpu *this_cpu(__u32 *ret)
{
    *ret = bpf_get_smp_processor_id();
    return bpf_map_lookup_elem(&cpus, ret);
}

/*
 * BPF cannot read the TSC.  The perf event msr/tsc/ can, at the price of a call:
 * its count leaves out the ticks in which the event was scheduled out, but the
 * reading from which it was counted stays in hw.prev_count, raw.
 * 0: this CPU has no event, it has just come online.
 */
static __always_inline __u64 stamp(const struct vta_cpu *c)
{
    __u64 tsc = 0;

    if (stamp_ns)
        return bpf_ktime_get_ns();
    if (!c->tsc_at || (__s64)bpf_perf_event_read(&tsc_events, BPF_F_CURRENT_CPU) < 0 ||
        bpf_probe_read_kernel(&tsc, sizeof(tsc), (void *)c->tsc_at))
        return 0;
    return tsc;
}

/* ---- since when a task waits ---- */

static __always_inline void wait_begins(__u32 tid, __u64 now, bool anew)
{
    __u64 *since = bpf_map_lookup_elem(&runnable, &tid);

    if (since) {
        if (anew || !*since)
            *since = now;
    } else if (bpf_map_update_elem(&runnable, &tid, &now, BPF_ANY)) {
        __sync_fetch_and_add(&waits_lost, 1);
    }
}

/* How long it has waited; 0: not known. */
static __always_inline __u64 wait_ends(__u32 tid, __u64 now)
{
    __u64 *since = tid ? bpf_map_lookup_elem(&runnable, &tid) : 0;
    __u64 waited;

    if (!since || !*since)
        return 0;
    waited = now > *since ? now - *since : 0;
    *since = 0;
    return waited;
}

/* A sleeper is no longer queued, or its dequeue is delayed; one whom a signal kept runnable is. */
static __always_inline bool is_queued(struct task_struct *task)
{
    struct sched_entity___delayed *se = (void *)&task->se;

    if (bpf_core_field_exists(se->sched_delayed) && se->sched_delayed)
        return false;
    return task->on_rq != 0;
}

enum { PREEMPTED, SLEPT, EXITED }; /* enum vtg_task_end */

static __always_inline __u32 leave(struct task_struct *prev, __u64 now)
{
    __u32 tid = (__u32)prev->pid;

    if (prev->__state & TASK_DEAD_BIT) {
        bpf_map_delete_elem(&runnable, &tid);
        return EXITED;
    }
    if (!is_queued(prev))
        return SLEPT;
    if (tid)
        wait_begins(tid, now, true);
    return PREEMPTED;
}

/* ---- rings ---- */

static __always_inline bool push(struct vta_cpu *c, __u32 cpu, __u64 at, __u32 tid, __u64 end, __u64 waited)
{
    __u64 head = c->head, used = head - *(volatile __u64 *)&c->tail;
    __u32 index = cpu * ring_size + (head & (ring_size - 1));
    struct vta_switch *s = bpf_map_lookup_elem(&switches, &index);

    if (!s || used >= ring_size)
        return false;
    s->at = at;
    s->word = tid | end << VTA_TID_BITS |
              (waited < VTA_MAX_WAITED ? waited : VTA_MAX_WAITED) << (VTA_TID_BITS + VTA_END_BITS);
    *(volatile __u64 *)&c->head = head + 1; /* x86 stores in order */
    if (used + 1 == ring_size / 2)
        ring_bell();
    return true;
}

/* Who came when is not known.  Before the first event nothing is missed. */
static __always_inline void lose_track(struct vta_cpu *c)
{
    if (c->task)
        c->missed++;
    c->told = 0;
    c->since = 0;
}

/*
 * Some kernels have switches that no probe sees (docs/ARCHITECTURE.md, "Events that never
 * came"): prev leaves who is not known to have come.  When he came the scheduler knows,
 * by its own clock (its stamp is a few us from ours): 0, if that makes no sense.
 */
static __always_inline __u64 arrival(const struct vta_cpu *c, struct task_struct *prev, __u64 now)
{
    __u64 ns, at;

    if (!bpf_core_field_exists(prev->sched_info.last_arrival) || !prev->pid || !c->pair_ns)
        return 0;
    ns = prev->sched_info.last_arrival;
    if (ns < c->pair_ns || ns - c->pair_ns >= 1ull << 32)
        return 0;
    at = c->pair_at + ((ns - c->pair_ns) * ticks_per_ns_q20 >> 20);
    return at > c->since && at < now ? at : 0;
}

static __always_inline void find_track(struct vta_cpu *c, struct task_struct *prev, __u64 now)
{
    __u64 at = arrival(c, prev, now);

    lose_track(c);
    c->since = at;
    c->late_wait = wait_ends((__u32)prev->pid, at);
    if (at)
        c->repaired++;
}

/* prev came at c->since: what did the scheduler's clock say then? It has no account of the idle task. */
static __always_inline void note_arrival(struct vta_cpu *c, struct task_struct *prev)
{
    if (!bpf_core_field_exists(prev->sched_info.last_arrival) || !prev->pid || !c->since)
        return;
    c->pair_at = c->since;
    c->pair_ns = prev->sched_info.last_arrival;
}

/* What is missing, and who has had the CPU since when. */
static __always_inline bool resume(struct vta_cpu *c, __u32 cpu, __u32 tid)
{
    if (c->missed && !push(c, cpu, c->missed, VTA_NOBODY, VTA_RESUME, 0))
        return false;
    c->missed = 0;
    return push(c, cpu, c->since, tid, VTA_RESUME, c->late_wait);
}

static __always_inline void tell_switch(struct vta_cpu *c, __u32 cpu, __u64 now, struct task_struct *prev,
                                        struct task_struct *next)
{
    __u64 end, waited;

    if (c->task != (__u64)prev)
        find_track(c, prev, now);
    else
        note_arrival(c, prev);
    end = leave(prev, now);
    waited = wait_ends((__u32)next->pid, now);
    if (!c->told)
        c->told = resume(c, cpu, (__u32)prev->pid);
    if (!c->told || !push(c, cpu, now, (__u32)next->pid, end, waited)) {
        c->told = 0;
        c->missed++;
        c->late_wait = waited;
    }
    c->since = now;
    c->task = (__u64)next;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);
    __u64 now;

    (void)preempt;
    if (!c)
        return 0;
    __sync_fetch_and_add(&c->seq, 1);
    now = stamp(c);
    if (now) {
        tell_switch(c, cpu, now, prev, next);
    } else {
        lose_track(c);
        c->task = (__u64)next;
    }
    *(volatile __u64 *)&c->seq = c->seq + 1;
    return 0;
}

/* One that is on a CPU does not wait: its sleep is called off. */
static __always_inline int wakeup(struct task_struct *task)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);
    __u64 now;

    if (!c || !task->pid || task->on_cpu)
        return 0;
    now = stamp(c);
    if (now)
        wait_begins((__u32)task->pid, now, false);
    return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
    return wakeup(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
    return wakeup(task);
}

/* ---- names ---- */

enum { NAME_ROOM = 48 }; /* of a name in the ring: with its head of 8 bytes, a multiple of 8 */

static __always_inline void submit_name(struct vta_name *name)
{
    __u64 waiting = bpf_ringbuf_query(&names, BPF_RB_AVAIL_DATA);

    bpf_ringbuf_submit(name, BPF_RB_NO_WAKEUP);
    if (waiting / NAME_ROOM == VTA_NAMES_BYTES / 2 / NAME_ROOM) /* the one that reaches the half */
        ring_bell();
}

static __always_inline struct vta_name *reserve_name(struct task_struct *task, __u32 kind)
{
    struct vta_name *name = bpf_ringbuf_reserve(&names, sizeof(*name), 0);

    if (!name) {
        __sync_fetch_and_add(&names_lost, 1);
        return 0;
    }
    name->kind = kind;
    name->tid = (__u32)task->pid;
    name->tgid = (__u32)task->tgid;
    name->parent_tid = 0;
    name->parent_tgid = 0;
    return name;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
    struct vta_name *name = reserve_name(child, VTA_NAME_FORK);

    if (!name)
        return 0;
    name->parent_tid = (__u32)parent->pid;
    name->parent_tgid = (__u32)parent->tgid;
    bpf_probe_read_kernel(name->comm, sizeof(name->comm), child->comm);
    submit_name(name);
    return 0;
}

/* Comes with exec, too. The task has its old name still. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *comm)
{
    struct vta_name *name = reserve_name(task, VTA_NAME_RENAME);

    if (!name)
        return 0;
    __builtin_memset(name->comm, 0, sizeof(name->comm));
    bpf_probe_read_kernel_str(name->comm, sizeof(name->comm), comm);
    submit_name(name);
    return 0;
}

/*
 * Run by user space on one CPU: finds the counter of its event, and reads it, so
 * that the reader can hold the stamp against its own readings of the TSC.
 */
SEC("raw_tp/tell_stamp") /* a name that no tracepoint has: bpftool 7.1 falls over one without */
int tell_stamp(void *ctx)
{
    __u64 entry = 0, event = 0;
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    (void)ctx;
    if (!c)
        return 0;
    if (!stamp_ns) {
        events_map = (__u64)&tsc_events;
        bpf_probe_read_kernel(
            &entry, sizeof(entry),
            (void *)(events_map + bpf_core_field_offset(struct bpf_array, ptrs) + 8ull * cpu));
        if (entry)
            bpf_probe_read_kernel(&event, sizeof(event),
                                  (void *)(entry + bpf_core_field_offset(struct bpf_event_entry, event)));
        c->tsc_at = event ? event + bpf_core_field_offset(struct perf_event, hw.prev_count) : 0;
    }
    c->probe = stamp(c);
    return 0;
}

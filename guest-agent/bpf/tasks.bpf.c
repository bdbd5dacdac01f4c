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

/* What is known of a task that does not run. Preallocated: it is used under run queue locks. */
struct rest {
    __u64 preempted_at; /* it is runnable since; 0: it sleeps, or runs */
    __u64 came_at;      /* it got a CPU last; 0: it never did */
    __u64 left_at;      /* it fell asleep last */
    __u64 woken_at;     /* somebody set out to wake it last */
    __u64 wake;         /* see struct vta_switch */
};
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, __u32);
    __type(value, struct rest);
} rests SEC(".maps");

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

/* ---- since when a task waits, and what woke it ---- */

enum { WAKE_UNKNOWN, WAKE_NONE, WAKE_RELATIVE, WAKE_ABSOLUTE, WAKE_TASK, WAKE_DEVICE }; /* enum vtg_wake */

static __always_inline struct rest *rest_of(__u32 tid)
{
    struct rest none = {}, *r = bpf_map_lookup_elem(&rests, &tid);

    if (r)
        return r;
    if (bpf_map_update_elem(&rests, &tid, &none, BPF_NOEXIST))
        __sync_fetch_and_add(&waits_lost, 1);
    return bpf_map_lookup_elem(&rests, &tid);
}

struct coming {
    __u64 waited, wake;
};

/*
 * Since when was it runnable; 0: not known.  One who is woken on his way to sleep, while
 * he runs yet, is runnable as soon as he has left the CPU.  If nobody woke him while he slept
 * nor while he ran before, that was not seen.
 */
static __always_inline __u64 runnable_since(const struct rest *r)
{
    if (r->preempted_at)
        return r->preempted_at;
    if (r->woken_at > r->left_at)
        return r->woken_at;
    return r->woken_at > r->came_at ? r->left_at : 0;
}

/* It gets a CPU: how long it has waited (0: not known), and what for. */
static __always_inline struct coming wait_ends(__u32 tid, __u64 now)
{
    struct rest *r = tid ? rest_of(tid) : 0;
    struct coming c = {};
    __u64 since;

    if (!r)
        return c;
    since = runnable_since(r);
    if (since) {
        c.waited = now > since ? now - since : 0;
        c.wake = r->preempted_at ? WAKE_NONE : r->wake;
    }
    r->preempted_at = 0;
    r->came_at = now;
    return c;
}

/*
 * A timer woke it. Was it set to go off so long after now, or at an instant?  The system
 * call in which the task sleeps tells (asm/unistd_64.h); what it is that timerfd_settime() or
 * setitimer() did before, it does not.
 */
static __always_inline __u32 kind_of_timer(struct task_struct *task)
{
    struct entry_regs regs;

    if (task->flags & PF_KTHREAD ||
        bpf_probe_read_kernel(&regs, sizeof(regs), (void *)(bpf_task_pt_regs(task) + ENTRY_REGS_AT)) ||
        regs.cs != USER_CS)
        return WAKE_UNKNOWN;
    switch (regs.orig_ax) {
    case 230: /* clock_nanosleep: TIMER_ABSTIME */
        return regs.si & 1 ? WAKE_ABSOLUTE : WAKE_RELATIVE;
    case 202: /* futex: FUTEX_WAIT is relative, _LOCK_PI, _WAIT_BITSET and _WAIT_REQUEUE_PI are not */
        return (regs.si & 0x7f) == 0 ? WAKE_RELATIVE : WAKE_ABSOLUTE;
    case 242: /* mq_timedsend */
    case 243: /* mq_timedreceive */
        return WAKE_ABSOLUTE;
    case 35:  /* nanosleep */
    case 7:   /* poll */
    case 271: /* ppoll */
    case 23:  /* select */
    case 270: /* pselect6 */
    case 232: /* epoll_wait */
    case 281: /* epoll_pwait */
    case 441: /* epoll_pwait2 */
    case 128: /* rt_sigtimedwait */
    case 220: /* semtimedop */
    case 208: /* io_getevents */
        return WAKE_RELATIVE;
    default:
        return WAKE_UNKNOWN;
    }
}

/*
 * Who wakes is the task that runs here, unless an interrupt does in its stead.  What the
 * network brings may come from a device or from this very machine: only where the CPU was
 * idle it is known.  (An irq_work, of perf_event's readers, passes for the task that it hit.)
 */
static __always_inline __u64 cause_of_wake(const struct vta_cpu *c, struct task_struct *task)
{
    __u32 current = (__u32)bpf_get_current_pid_tgid(), soft = c->in_softirq - 1;

    if (c->in_timer)
        return kind_of_timer(task) | c->timer_late << 32;
    if (c->in_softirq && !c->in_irq && (soft == TIMER_SOFTIRQ || soft == HRTIMER_SOFTIRQ))
        return kind_of_timer(task);
    if (c->in_irq || (c->in_softirq && soft == BLOCK_SOFTIRQ))
        return WAKE_DEVICE;
    if (c->in_softirq)
        return !current && (soft == NET_RX_SOFTIRQ || soft == NET_TX_SOFTIRQ) ? WAKE_DEVICE : WAKE_UNKNOWN;
    return current ? WAKE_TASK | (__u64)current << 32 : WAKE_UNKNOWN;
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
    bool queued = is_queued(prev);
    struct rest *r;

    if (prev->__state & TASK_DEAD_BIT) {
        bpf_map_delete_elem(&rests, &tid);
        return EXITED;
    }
    r = tid ? rest_of(tid) : 0;
    if (r && queued) {
        r->preempted_at = now;
    } else if (r) {
        r->preempted_at = 0;
        r->left_at = now;
    }
    return queued ? PREEMPTED : SLEPT;
}

/* ---- rings ---- */

static __always_inline bool push(struct vta_cpu *c, __u32 cpu, __u64 at, __u32 tid, __u64 end,
                                 const struct coming *coming)
{
    __u64 head = c->head, used = head - *(volatile __u64 *)&c->tail;
    __u32 index = cpu * ring_size + (head & (ring_size - 1));
    struct vta_switch *s = bpf_map_lookup_elem(&switches, &index);

    if (!s || used >= ring_size)
        return false;
    s->at = at;
    s->word = tid | end << VTA_TID_BITS |
              (coming->waited < VTA_MAX_WAITED ? coming->waited : VTA_MAX_WAITED)
                  << (VTA_TID_BITS + VTA_END_BITS);
    s->wake = coming->wake;
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

static __always_inline void note_coming(struct vta_cpu *c, struct coming coming)
{
    c->late_wait = coming.waited;
    c->late_wake = coming.wake;
}

static __always_inline void find_track(struct vta_cpu *c, struct task_struct *prev, __u64 now)
{
    __u64 at = arrival(c, prev, now);

    lose_track(c);
    c->since = at;
    note_coming(c, wait_ends((__u32)prev->pid, at ? at : now));
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
    struct coming nobody = {}, late = { .waited = c->late_wait, .wake = c->late_wake };

    if (c->missed && !push(c, cpu, c->missed, VTA_NOBODY, VTA_RESUME, &nobody))
        return false;
    c->missed = 0;
    return push(c, cpu, c->since, tid, VTA_RESUME, &late);
}

/*
 * ---- interrupts: who is hit does not work meanwhile ----
 *
 * A timer's or device's interrupt and what comes on its heels are one stretch of VTA_INTERRUPTS.
 * Its end goes into the ring with what follows: a softirq may.
 */

/* From the end of an interrupt's handler to the softirq that it raised, or to the next interrupt where
 * several were pending; more: the task ran between. */
#define ON_ITS_HEELS_NS 50000ull

static __always_inline void tell_hit(struct vta_cpu *c, __u32 cpu, __u64 at, __u32 tid)
{
    struct coming coming = { .wake = WAKE_NONE };

    if (!c->told || push(c, cpu, at, tid, PREEMPTED, &coming))
        return;
    c->told = 0;
    c->missed++;
    note_coming(c, coming);
}

static __always_inline void settle_hit(struct vta_cpu *c, __u32 cpu)
{
    __u64 end = c->hit_end;

    c->hit_end = 0;
    if (end)
        tell_hit(c, cpu, end, c->hit_tid);
}

static __always_inline bool is_on_its_heels(const struct vta_cpu *c, __u64 now)
{
    return c->hit_end && now - c->hit_end <= ON_ITS_HEELS_NS * ticks_per_ns_q20 >> 20;
}

static __always_inline void begin_hit(struct vta_cpu *c, __u32 cpu)
{
    __u32 tid = (__u32)bpf_get_current_pid_tgid();
    __u64 now;

    if (c->hit_depth++)
        return;
    if (!tid || !c->told ||
        c->task != bpf_get_current_task()) { /* a switch that was hidden: it is no more he */
        c->hit_tid = 0;
        c->hit_end = 0;
        return;
    }
    __sync_fetch_and_add(&c->seq, 1);
    now = stamp(c);
    if (!is_on_its_heels(c, now)) {
        settle_hit(c, cpu);
        tell_hit(c, cpu, now, VTA_INTERRUPTS);
    }
    c->hit_end = 0;
    c->hit_tid = tid;
    *(volatile __u64 *)&c->seq = c->seq + 1;
}

static __always_inline void end_hit(struct vta_cpu *c)
{
    if (!c->hit_depth)
        return;
    if (c->hit_depth == 1 && c->hit_tid) {
        __sync_fetch_and_add(&c->seq, 1);
        c->hit_end = stamp(c);
        *(volatile __u64 *)&c->seq = c->seq + 1;
    }
    c->hit_depth--;
}

/*
 * Before a switch is told.  Whom the interrupt woke may take the CPU from whom it hit, who then did
 * nothing since.  Of a real-time kernel a softirq may go on afterwards.
 */
static __always_inline void leave_hit(struct vta_cpu *c, __u32 cpu, __u64 now, bool preempted)
{
    if ((c->hit_depth && c->hit_tid) || (preempted && is_on_its_heels(c, now)))
        c->hit_end = now;
    settle_hit(c, cpu);
    c->hit_depth = 0;
    c->hit_tid = 0;
}

static __always_inline void tell_switch(struct vta_cpu *c, __u32 cpu, __u64 now, struct task_struct *prev,
                                        struct task_struct *next)
{
    struct coming coming;
    __u64 end;

    leave_hit(c, cpu, now, is_queued(prev));
    if (c->task != (__u64)prev)
        find_track(c, prev, now);
    else
        note_arrival(c, prev);
    end = leave(prev, now);
    coming = wait_ends((__u32)next->pid, now);
    if (!c->told)
        c->told = resume(c, cpu, (__u32)prev->pid);
    if (!c->told || !push(c, cpu, now, (__u32)next->pid, end, &coming)) {
        c->told = 0;
        c->missed++;
        note_coming(c, coming);
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

/*
 * Somebody sets out to wake it, here: if it sleeps, it is runnable from now on, even if its
 * CPU has yet to hear of it.  Whether it does shows when it gets a CPU: then it has left
 * one before, or its sleep was called off.
 */
static __always_inline int wake(struct task_struct *task)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);
    struct rest *r;

    if (!c || !task->pid)
        return 0;
    r = rest_of((__u32)task->pid);
    if (!r)
        return 0;
    r->woken_at = stamp(c);
    r->wake = cause_of_wake(c, task);
    return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
    return wake(task);
}

/* Of a newborn, sched_waking tells nothing. */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
    return wake(task);
}

/* ---- in whose stead a CPU works ---- */

/* What the timer's own clock says now, against the instant that it was set to. */
static __always_inline __u64 lateness(const struct hrtimer *timer, const __s64 *now)
{
    __s64 at = 0, late;

    if (bpf_probe_read_kernel(&at, sizeof(at), now))
        return 0;
    late = at - timer->_softexpires;
    if (late < 0 || late >= 1ll << 40) /* 18 minutes: no overflow below */
        return 0;
    return VTA_LATE((__u64)late * ticks_per_ns_q20 >> 20);
}

SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(on_timer, struct hrtimer *timer, __s64 *now)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c) {
        c->timer_late = lateness(timer, now);
        c->in_timer = 1;
    }
    return 0;
}

SEC("tp_btf/hrtimer_expire_exit")
int BPF_PROG(on_timer_end)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c)
        c->in_timer = 0;
    return 0;
}

/* The tick and all that hrtimers do. */
SEC("tp_btf/local_timer_entry")
int BPF_PROG(on_tick)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c)
        begin_hit(c, cpu);
    return 0;
}

SEC("tp_btf/local_timer_exit")
int BPF_PROG(on_tick_end)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c)
        end_hit(c);
    return 0;
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(on_irq)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c) {
        c->in_irq = 1;
        begin_hit(c, cpu);
    }
    return 0;
}

SEC("tp_btf/irq_handler_exit")
int BPF_PROG(on_irq_end)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c) {
        c->in_irq = 0;
        end_hit(c);
    }
    return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(on_softirq, unsigned int vector)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c) {
        c->in_softirq = vector + 1;
        begin_hit(c, cpu);
    }
    return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(on_softirq_end)
{
    __u32 cpu;
    struct vta_cpu *c = this_cpu(&cpu);

    if (c) {
        c->in_softirq = 0;
        end_hit(c);
    }
    return 0;
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

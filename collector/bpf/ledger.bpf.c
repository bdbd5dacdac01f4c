/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger: where every nanosecond of every vCPU goes, kept in the kernel.
 * Thin programs around collector/bpf/machine.h; O(1) work per event, and for
 * threads that are not vCPUs one failed look-up.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "machine.h"
#include "permitted.h"
#include "vt/cells.h"
#include "vt/slice_pack.h"

char LICENSE[] SEC("license") = "GPL";

#define TSC_EVERY_NS 100000000
#define PF_KTHREAD   0x00200000u /* include/linux/sched.h */

/* What hardly ever happens stays out of the way of what does: see MACHINE_COLD. */
#define __cold __attribute__((noinline, cold, section(".text"))) /* libbpf knows no .text.unlikely */

#define seldom(condition) __builtin_expect(!!(condition), 0)

/* ---- settings, fixed before loading ---- */

const volatile __u32 own_tgid;       /* the collector's own test guest is not a guest */
const volatile __u32 exit_isa;       /* enum vt_exit_isa: whose exit reasons */
const volatile bool ledger_only;     /* integrals only: no slices, nobody's occupancy */
const volatile bool tells_outer;     /* what is stolen from this host itself, KVM's guest */
const volatile __u32 elsewhere_cpus; /* how many others are looked at when a wait begins; 0: none */
const volatile __u32 mask_words = 1; /* of 64 CPUs, that have bits of CPUs that are online */
const volatile __u64 online_cpus[VT_MAX_RUNNING / 64]; /* as they were when it was loaded */
const volatile bool without_run_edges;                 /* kvm_fpu is off: VMM can't be told from KVM_RUN */
const volatile __u32 cell_bits;                        /* there are 2^cell_bits of them */
const volatile __u64 cells_room, cells_call; /* how many may wait; at how many the reader is called */

/* ---- shared with user space ---- */

bool armed; /* every program is attached: lives may begin */
bool split; /* kvm_entry and kvm_exit are known to fire: GUEST and KVM, not RUN */
__u64 lost[VT_NR_LOST_REASONS];
__u64 self_entries, self_runs; /* the collector's own test guest: does the event fire? */
__s32 members;                 /* slots taken by processes of UML instances and tasks of cgroups */
__u32 slots_used;              /* the highest slot ever taken, plus 1: a reader need look no further */
struct vt_cells told;          /* of `cells` */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VT_MAX_SLOTS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vt_slot);
} slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK); /* the last one back goes first: its sums of exits are there already */
    __uint(max_entries, VT_MAX_SLOTS);
    __uint(value_size, sizeof(__u32));
} free_slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1 << 16);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vt_cell);
} cells SEC(".maps");

/* Calls the reader, if cells wait in plenty; nothing of worth is in it. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} bell SEC(".maps");

/* Never looked up from user space: on kernels before 6.2 that makes BPF's own look-ups fail. */
struct binding {
    __u32 slot, generation;
};
struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct binding);
} bindings SEC(".maps");

/* Slot and generation that were last found in `bindings`, by the thread's id: a hint, told by one store. */
#define REMEMBERED (2 * VT_MAX_SLOTS) /* a power of two */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, REMEMBERED);
    __type(key, __u32);
    __type(value, __u64);
} remembered SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VT_MAX_RUNNING);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vt_running);
} running SEC(".maps");

/* Each CPU's, as far as it was looked at: kernel addresses, which never change. */
struct run_queue {
    __u64 rq, idle; /* struct rq *, and its idle task's struct task_struct *; 0: not yet */
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VT_MAX_RUNNING);
    __type(key, __u32);
    __type(value, struct run_queue);
} run_queues SEC(".maps");

/* vCPU descriptors found by the first iterator, by the thread that runs them. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_SLOTS);
    __type(key, __u32);
    __type(value, __u64);
} found SEC(".maps");

/* Processes with vCPUs, or of a UML instance: their other threads are helpers. */
struct vm_process {
    __u64 start_time, vm_start_time; /* of the process, and of its VM's */
    __u64 cgroup;
    __u32 vm_tgid;
    __u32 vm_kind, vm_found;
    __u32 pad_;
};
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_SLOTS);
    __type(key, __u32);
    __type(value, struct vm_process);
} vm_processes SEC(".maps");

/*
 * Threads that have a slot, by their start: the iterator, which is run again and
 * again with interrupts on, must not look into task storage for them (see
 * binding_of()).
 */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 2 * VT_MAX_SLOTS);
    __type(key, __u32);
    __type(value, __u64);
} bound_threads SEC(".maps");

/* Threads that shall have a life: filled by user space before it runs the iterator. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_SLOTS);
    __type(key, __u32);
    __type(value, struct vt_wanted);
} wanted SEC(".maps");

/* The ids of cgroups that are guests. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_CGROUPS);
    __type(key, __u64);
    __type(value, __u32);
} cgroups SEC(".maps");

/* Processes that began a program: user space looks whether they are VMs. */
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 4096);
    __uint(value_size, sizeof(__u32));
} execs SEC(".maps");

/* vCPU -> its present slot: tells a vCPU that moved to another thread. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_SLOTS);
    __type(key, __u64);
    __type(value, struct binding);
} slot_of_vcpu SEC(".maps");

/* Of exits, by slot and reason: taken as reasons come up, and kept by the slot. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VT_MAX_EXIT_SUMS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vt_exit_sum);
} exit_sums SEC(".maps");
__u32 exit_sums_taken;

/* Of each slot's life: KVM's statistics at its begin and end. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VT_MAX_SLOTS);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct vt_kvm_life);
} kvm_lives SEC(".maps");
__u32 nr_kvm_stats;                    /* 0: they are not read */
__u32 kvm_stat_at[VT_KVM_STATS_MAX];   /* where in struct kvm_vcpu_stat each is */
__u64 kvm_stats_now[VT_KVM_STATS_MAX]; /* what read_kvm_stats() found */

/* Only there if asked for: see --exit-addresses. Its thread alone writes a vCPU's counts. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, VT_MAX_ADDRESSES);
    __type(key, struct vt_address_key);
    __type(value, __u64);
} addresses SEC(".maps");

static __always_inline void count_lost(enum vt_lost_reason reason)
{
    __sync_fetch_and_add(&lost[reason], 1);
}

static __cold void ring_bell(void)
{
    __u64 nothing = 0;

    told.rung = 1;
    if (bpf_ringbuf_output(&bell, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP))
        told.rung = 0;
}

static __always_inline struct vt_cell *cell_at(__u64 count)
{
    __u32 i = (__u32)count & ((1u << cell_bits) - 1);

    return bpf_map_lookup_elem(&cells, &i);
}

/* The count of the first of nr cells, to be filled and told; or VT_NO_CELL. */
static __always_inline __u64 take_cells(__u32 nr)
{
    __u64 at = vt_cells_take(&told, nr, cells_room);

    if (seldom(at == VT_NO_CELL))
        count_lost(VT_LOST_RING_FULL);
    else if (seldom(at - told.read > cells_call && !told.rung))
        ring_bell();
    return at;
}

static __always_inline struct vt_cell *take_cell(__u8 *round)
{
    __u64 at = take_cells(1);

    *round = vt_cell_round(at, cell_bits);
    return at == VT_NO_CELL ? 0 : cell_at(at);
}

static __cold void emit_whole(struct vt_slot *s)
{
    const __u64 *from = (const __u64 *)&s->open;
    __u64 at = take_cells(VT_SLICE_CELLS);

    if (at == VT_NO_CELL)
        return;
    for (__u32 c = 0, w = 0; c < VT_SLICE_CELLS; c++) {
        struct vt_cell *cell = cell_at(at + c);
        if (!cell)
            return;
        for (__u32 i = 0; i < VT_CELL_WORDS && w < sizeof(s->open) / sizeof(*from); i++)
            cell->words[i] = from[w++];
        vt_cell_tell(cell, c ? VT_CELL_MORE : VT_CELL_SLICE, vt_cell_round(at + c, cell_bits), s->index,
                     s->generation);
    }
}

static __always_inline void emit(struct vt_slot *s)
{
    struct vt_cell *cell;
    __u8 round;

    if (s->kind == VT_SLOT_HELPER || ledger_only)
        return;
    if (seldom(!vt_slice_is_short(&s->open))) {
        emit_whole(s);
        return;
    }
    cell = take_cell(&round);
    if (!cell)
        return;
    vt_slice_pack((struct vt_slice_short *)cell->words, &s->open);
    vt_cell_tell(cell, VT_CELL_SHORT, round, s->index, s->generation);
}

/* ---- who has a CPU while a vCPU waits for it ---- */

static __always_inline struct vt_running *running_on(__u32 cpu)
{
    return bpf_map_lookup_elem(&running, &cpu);
}

/* Else they are not looked at: user space knows, see collector/probes.c. */
static __always_inline bool knows_run_queues(const struct task_struct *task)
{
    const struct task_group *group = 0;
    const struct cfs_rq *part = 0;
    const struct rq *rq = 0;

    return bpf_core_field_exists(task->sched_task_group) && bpf_core_field_exists(group->cfs_rq) &&
           bpf_core_field_exists(part->rq) && bpf_core_field_exists(rq->online);
}

/*
 * The CPU's run queue is found by way of any task group's part of it, once: `runqueues` itself is known to
 * kernels with CONFIG_KALLSYMS_ALL only. cpu is one of some task's mask, so there is one.
 */
static __cold void find_run_queue(struct run_queue *q, const struct task_group *group, __u32 cpu)
{
    const struct cfs_rq *part = 0;
    const __u64 all = (__u64)BPF_CORE_READ(group, cfs_rq);

    if (bpf_probe_read_kernel(&part, sizeof(part), (void *)(all + cpu * sizeof(part))))
        return;
    const struct rq *rq = BPF_CORE_READ(part, rq);
    q->idle = (__u64)BPF_CORE_READ(rq, idle);
    q->rq = (__u64)rq;
}

/* As idle_cpu() has it, kernel/sched/syscalls.c. Read without its lock: it was so just now. */
static __always_inline bool is_idle(__u64 group, __u32 cpu)
{
    struct run_queue *q = bpf_map_lookup_elem(&run_queues, &cpu);

    if (!q)
        return false;
    if (seldom(!q->rq))
        find_run_queue(q, (const struct task_group *)group, cpu);
    const struct rq *rq = (const struct rq *)q->rq;
    if (!rq || BPF_CORE_READ(rq, nr_running) || (__u64)BPF_CORE_READ(rq, curr) != q->idle)
        return false;
    if (bpf_core_field_exists(rq->ttwu_pending) && BPF_CORE_READ(rq, ttwu_pending))
        return false;
    return BPF_CORE_READ(rq, online);
}

/* Is one of these CPUs, from `first` on, idle? No more than *left are looked at. */
static __always_inline bool has_idle(__u64 group, __u64 mask, __u32 first, __u32 *left)
{
    for (__u32 i = 0; i < VT_ELSEWHERE_CPUS && mask && *left; i++) {
        if (is_idle(group, first + permitted_lowest(mask)))
            return true;
        mask &= mask - 1;
        --*left;
    }
    return false;
}

/*
 * Of a task that may use more than one CPU and waits for this one: is another idle?  Its mask and its group
 * are kernel addresses. A global function, which the verifier goes through once, not for each call.
 */
__noinline int is_idle_elsewhere(__u64 mask, __u64 group, __u32 cpu)
{
    const __u32 words = mask_words;
    __u32 left = elsewhere_cpus;
    __u64 own = 0, word = 0;

    for (__u32 step = 0; step <= VT_ELSEWHERE_WORDS && step <= words && left; step++) {
        __u32 at = permitted_word(cpu, step, words);
        if (step == words)
            word = own;
        else if (bpf_probe_read_kernel(&word, sizeof(word), (void *)(mask + at * sizeof(word))))
            break;
        machine_check_again(at);
        if (at >= VT_MAX_RUNNING / 64)
            break;
        word &= online_cpus[at];
        if (step == 0)
            own = word;
        if (has_idle(group, permitted_part(word, cpu, step, words), at * 64, &left))
            return true;
    }
    return false;
}

static __always_inline bool is_throttled(struct task_struct *task)
{
    struct task_struct___throttled *t = (void *)task;

    if (bpf_core_field_exists(t->throttled))
        return t->throttled;
    return task->se.cfs_rq && task->se.cfs_rq->throttle_count > 0;
}

static __cold void mark_elsewhere(struct vt_slot *s, struct task_struct *task, __u32 cpu)
{
    if (s->state == VT_THROTTLED || is_throttled(task) ||
        !is_idle_elsewhere((__u64)BPF_CORE_READ(task, cpus_ptr), (__u64)BPF_CORE_READ(task, sched_task_group),
                           cpu))
        return;
    machine_lock(s);
    s->open.flags |= VT_SLICE_ELSEWHERE;
    machine_unlock(s);
}

/*
 * A vCPU waits on a run queue.  Its lock is held, but for a move, where only the
 * lock of the queue that it leaves is: hence the atomic count, which is also the
 * barrier between the count and `since` (see occupants_at_switch()).
 */
static __always_inline void wait_begins(struct vt_slot *s, __u32 cpu, __u64 now)
{
    struct vt_running *r = running_on(cpu);

    if (ledger_only || !r || s->waits_on || s->kind == VT_SLOT_HELPER)
        return;
    s->waits_on = cpu + 1;
    __sync_fetch_and_add(&r->waiters, 1);
    if (!r->since)
        r->since = now;
}

/* A wait that begins, not one that is moved. */
static __always_inline void new_wait_begins(struct vt_slot *s, struct task_struct *task, __u32 cpu, __u64 now)
{
    wait_begins(s, cpu, now);
    if (seldom(task->nr_cpus_allowed > 1) && elsewhere_cpus && knows_run_queues(task) &&
        s->kind != VT_SLOT_HELPER)
        mark_elsewhere(s, task, cpu);
}

static __always_inline void wait_ends(struct vt_slot *s)
{
    struct vt_running *r;

    if (!s->waits_on)
        return;
    r = running_on(s->waits_on - 1);
    s->waits_on = 0;
    if (r)
        __sync_fetch_and_add(&r->waiters, -1);
}

/*
 * Idle is chosen though tasks are runnable there only to keep a sibling's cookie apart (core
 * scheduling): quota and real-time throttling take theirs out of nr_running.
 */
static __always_inline bool is_forced_idle(const struct vt_running *r, const struct task_struct *next)
{
    struct cfs_rq *root = next->se.cfs_rq; /* the idle task is in the root group */

    if (next->pid != 0 || r->waiters <= 0 || !bpf_core_field_exists(root->rq))
        return false;
    return root->rq->nr_running > 0;
}

static __always_inline void emit_segment(const struct vt_running *on, __u64 to, struct task_struct *task)
{
    __u8 round;
    struct vt_cell *cell = take_cell(&round);
    struct vt_segment *to_tell;

    if (!cell)
        return;
    to_tell = (struct vt_segment *)cell->words;
    to_tell->from = on->since;
    to_tell->to = to;
    to_tell->tid = (__u32)task->pid;
    to_tell->tgid = (__u32)task->tgid;
    to_tell->cpu = (__u16)bpf_get_smp_processor_id();
    to_tell->kind = task->pid == 0             ? on->forced_idle ? VT_OCCUPANT_FORCED_IDLE : VT_OCCUPANT_IDLE
                    : task->flags & PF_KTHREAD ? VT_OCCUPANT_KTHREAD
                                               : VT_OCCUPANT_TASK;
    to_tell->pad_ = 0;
    __builtin_memcpy(to_tell->comm, task->comm, VT_COMM_LEN);
    vt_cell_tell(cell, VT_CELL_SEGMENT, round, 0, 0);
}

/*
 * prev leaves the CPU; of a vCPU its slice tells what it had.  `since` is
 * cleared before the waiters are looked at, and one who comes adds himself
 * before he looks at `since`: none comes unseen.
 */
static __always_inline void occupants_at_switch(struct vt_running *r, struct task_struct *prev,
                                                struct task_struct *next, bool told, __u64 now)
{
    if (!told && r->since && r->since < now)
        emit_segment(r, now, prev);
    r->since = 0;
    if (__sync_fetch_and_add(&r->waiters, 0) > 0)
        r->since = now;
    r->forced_idle = is_forced_idle(r, next);
}

/*
 * Run by user space on one CPU: who has it just now while a vCPU waits there is
 * told up to now, and from now on at his next switch. The IPI is on that CPU
 * what a switch is: none comes in between.
 */
SEC("raw_tp")
int tell_occupant(void *ctx)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    __u64 now = bpf_ktime_get_ns();

    (void)ctx;
    if (!r || r->tid || r->waiters <= 0 || !r->since || r->since >= now)
        return 0;
    emit_segment(r, now, bpf_get_current_task_btf());
    r->since = now;
    return 0;
}

/* ---- finding a thread's slot ---- */

static __always_inline struct vt_slot *slot_at(__u32 index)
{
    return bpf_map_lookup_elem(&slots, &index);
}

static __cold void end_life(struct vt_slot *s, __u64 at)
{
    if (s->sched == VT_SCHED_GONE)
        return;
    wait_ends(s);
    machine_lock(s);
    machine_end_life(s, at);
    s->open.flags |= VT_SLICE_LAST;
    emit(s);
    machine_unlock(s);
}

/* The slot, unless the thread's life with that vCPU is over, or another life has the slot. */
static __always_inline struct vt_slot *live_slot(__u32 index, __u32 generation)
{
    struct vt_slot *s = slot_at(index);

    if (!s || s->generation != generation || s->sched == VT_SCHED_GONE)
        return 0;
    if (seldom(s->moved_at)) {
        end_life(s, s->moved_at);
        return 0;
    }
    return s;
}

static __always_inline struct vt_slot *slot_of_binding(const struct binding *b)
{
    return b ? live_slot(b->slot, b->generation) : 0;
}

/* What every other thread pays: one load instead of a call. */
static __always_inline bool has_no_storage(struct task_struct *task)
{
    struct task_struct___storage *t = (void *)task;

    return bpf_core_field_exists(t->bpf_storage) && !t->bpf_storage;
}

/*
 * Look-ups of task storage may fail when they nest on a CPU (before 6.2 it has
 * one busy flag a CPU): an interrupt that wakes a vCPU in the middle of one
 * would be lost.  So they are made with interrupts off (the sched events), and
 * the KVM events, which are all of the running thread, use what the last
 * switch on this CPU has noted.
 */
static __always_inline struct binding *binding_of(struct task_struct *task)
{
    return has_no_storage(task) ? 0 : bpf_task_storage_get(&bindings, task, 0, 0);
}

static __noinline struct vt_slot *slot_from_storage(struct task_struct *task, __u64 *remember)
{
    struct binding *b = bpf_task_storage_get(&bindings, task, 0, 0);
    struct vt_slot *s = slot_of_binding(b);

    if (s && remember)
        *(volatile __u64 *)remember = b->slot | (__u64)b->generation << 32;
    return s;
}

/* The slot that was found for it last is still its own, if both say so. */
static __always_inline struct vt_slot *slot_remembered(struct task_struct *task, __u64 found)
{
    struct vt_slot *s = slot_at((__u32)found);

    if (!s || s->tid != (__u32)task->pid || s->start_time != task->start_time)
        return 0;
    return live_slot((__u32)found, found >> 32);
}

static __always_inline struct vt_slot *slot_of(struct task_struct *task)
{
    __u32 hash = (__u32)task->pid % REMEMBERED;
    struct vt_slot *s;
    __u64 *found;

    if (has_no_storage(task))
        return 0;
    found = bpf_map_lookup_elem(&remembered, &hash);
    s = found ? slot_remembered(task, *(volatile __u64 *)found) : 0;
    return s ? s : slot_from_storage(task, found);
}

/*
 * What was stolen of the task's CPU from this host itself, ns since its boot: of what the hypervisor below
 * tells, what the run queue's clock left out.  That is brought up to date at the tick and at a switch, but
 * for one that follows a wake-up at once (rq_clock_skip_update()): what was stolen in between is told of who
 * comes next.
 */
static __always_inline __u64 outer_steal(struct task_struct *task)
{
    const struct cfs_rq *part = 0;
    const struct rq *rq = 0;

    if (!tells_outer || !bpf_core_field_exists(task->se.cfs_rq) || !bpf_core_field_exists(part->rq) ||
        !bpf_core_field_exists(rq->prev_steal_time_rq))
        return 0;
    return task->se.cfs_rq->rq->prev_steal_time_rq;
}

static __always_inline void note_running(struct vt_running *r, const struct vt_slot *s)
{
    r->irq_depth = 0;
    if (!s) {
        if (r->tid)
            r->tid = 0;
        return;
    }
    r->slot = s->index;
    r->generation = s->generation;
    r->tid = s->tid;
}

/* The ring being full, it is told with what comes next. */
static __cold void tell_outer(struct vt_slot *s, __u64 now)
{
    struct vt_outer *outer;
    struct vt_cell *cell;
    __u8 round;

    if (!(cell = take_cell(&round)))
        return;
    outer = (struct vt_outer *)cell->words;
    outer->from = s->outer_from;
    outer->to = now;
    outer->ns = s->outer_ns;
    vt_cell_tell(cell, VT_CELL_OUTER, round, s->index, s->generation);
    s->outer_ns = 0;
}

/* From here on, in the thread that has the CPU. */
static __always_inline void outer_begins(struct vt_running *r, __u64 outer, __u64 now)
{
    if (!tells_outer)
        return;
    r->outer = outer;
    r->outer_at = now;
}

/*
 * In the thread that runs there; by its slot's writer.  The counter may not have been brought up to date:
 * what did not grow tells nothing, and the stretch goes on.  What it grew by beyond the stretch is not of it.
 */
static __always_inline void look_at_outer(struct vt_slot *s, struct vt_running *r, __u64 outer, __u64 now)
{
    const __s64 stolen = (__s64)(outer - r->outer), most = (__s64)(now - r->outer_at);

    if (!tells_outer || !seldom(stolen > 0))
        return;
    if (!s->outer_ns)
        s->outer_from = r->outer_at;
    s->outer_ns += stolen < most ? stolen : most;
    outer_begins(r, outer, now);
    if (s->outer_ns >= VT_OUTER_NS)
        tell_outer(s, now);
}

/* A thread that became a vCPU while it runs here. Whoever comes between looks at its own. */
static __always_inline void begins_here(struct vt_slot *s, struct task_struct *task, __u64 now)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());

    if (!r)
        return;
    outer_begins(r, outer_steal(task), now);
    note_running(r, s);
}

static __always_inline struct vt_slot *current_slot(void)
{
    __u32 tid = (__u32)bpf_get_current_pid_tgid();
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    struct vt_slot *s;

    if (r && r->tid == tid)
        return live_slot(r->slot, r->generation);
    s = slot_of_binding(bpf_task_storage_get(&bindings, bpf_get_current_task_btf(), 0, 0));
    if (s)
        begins_here(s, bpf_get_current_task_btf(), bpf_ktime_get_ns());
    return s;
}

/*
 * The vCPU that a thread has loaded, or 0: vcpu_load() registers the vCPU's
 * preempt notifier with the thread (virt/kvm/kvm_main.c), and KVM is the only
 * user of those notifiers.
 */
static __always_inline __u64 loaded_vcpu(struct task_struct *task)
{
    __u64 node = (__u64)BPF_CORE_READ(task, preempt_notifiers.first);

    return node ? node - bpf_core_field_offset(struct kvm_vcpu, preempt_notifier) : 0;
}

static __always_inline __u32 mode_in_kvm(void)
{
    return split ? VT_KVM : VT_RUN;
}

static __always_inline __u32 mode_outside(void)
{
    return without_run_edges ? mode_in_kvm() : VT_VMM;
}

/* Of a thread that acts, or is found. */
static __always_inline __u32 mode_of(struct task_struct *task, __u32 kind)
{
    if (kind == VT_SLOT_THREAD)
        return VT_RUN;
    return loaded_vcpu(task) ? mode_in_kvm() : mode_outside();
}

/* vcpu->stat.generic.blocking is set around kvm_vcpu_block(), 5.17+. */
static __always_inline bool in_vcpu_block(__u64 vcpu)
{
    struct kvm_vcpu *v = (struct kvm_vcpu *)vcpu;

    return bpf_core_field_exists(v->stat.generic.blocking) && BPF_CORE_READ(v, stat.generic.blocking);
}

/*
 * vcpu->mode is OUTSIDE_GUEST_MODE (0) from right after the exit on, before
 * interrupts are let in.  On SVM before 6.10 kvm_exit fires only later, in the
 * exit handler: a pre-emption may come first.
 */
static __always_inline bool exited_already(__u64 vcpu)
{
    return BPF_CORE_READ((struct kvm_vcpu *)vcpu, mode) == 0;
}

/*
 * Does it run or wait?  Before 6.12 a pending signal leaves a task runnable after prev_state was read;
 * since then a sleeper may stay on its run queue, with its dequeue delayed.
 */
static __always_inline bool is_queued(struct task_struct *task)
{
    struct sched_entity___delayed *se = (void *)&task->se;

    if (bpf_core_field_exists(se->sched_delayed) && se->sched_delayed)
        return false;
    return task->on_rq != 0;
}

static __always_inline struct machine_sched_info sched_info_of(struct task_struct *task)
{
    struct machine_sched_info info = {
        .last_arrival = task->sched_info.last_arrival,
        .last_queued = task->sched_info.last_queued,
        .run_delay = task->sched_info.run_delay,
        .cpu = bpf_get_smp_processor_id(),
    };
    return info;
}

/* ---- KVM's own statistics ---- */

/* No other thread's life of this vCPU has begun. */
static __always_inline bool is_bound_here(const struct vt_slot *s)
{
    __u64 vcpu = s->vcpu;
    struct binding *b = bpf_map_lookup_elem(&slot_of_vcpu, &vcpu);

    return b && b->slot == s->index && b->generation == s->generation;
}

/*
 * Elsewhere than in the thread itself a vCPU may be gone, and its memory
 * another's: a VM's users are none before its vCPUs are given back, and
 * kvm_vcpu.pid is who ran it last.  When another thread takes it over, KVM_RUN
 * sets the pid and then waits for RCU, for milliseconds, before that thread's
 * life begins: until then KVM's counts are still of ours (virt/kvm/kvm_main.c).
 */
static __always_inline bool has_vcpu(const struct vt_slot *s)
{
    struct kvm_vcpu *v = (struct kvm_vcpu *)s->vcpu;
    __u32 ran_last;

    if (!v || BPF_CORE_READ(v, kvm, users_count.refs.counter) <= 0 ||
        (__u64)BPF_CORE_READ(v, kvm) != s->kvm || (__u32)BPF_CORE_READ(v, vcpu_id) != s->vcpu_id)
        return false;
    ran_last = (__u32)BPF_CORE_READ(v, pid, numbers[0].nr);
    return ran_last == s->tid || (ran_last && is_bound_here(s));
}

/* False: it was no more that thread's vCPU while they were copied; they are not to be used. */
static __noinline bool copy_kvm_stats(const struct vt_slot *s, __u64 *to)
{
    __u64 stat = s->vcpu + bpf_core_field_offset(struct kvm_vcpu, stat);
    __u32 bytes = bpf_core_field_size(struct kvm_vcpu, stat);

    for (__u32 i = 0; i < VT_KVM_STATS_MAX && i < nr_kvm_stats; i++) {
        __u32 at = kvm_stat_at[i];
        if (at + sizeof(*to) <= bytes)
            bpf_probe_read_kernel(&to[i], sizeof(*to), (void *)(stat + at));
    }
    return has_vcpu(s);
}

static __always_inline struct vt_kvm_life *kvm_life_of(__u32 slot)
{
    return nr_kvm_stats ? bpf_map_lookup_elem(&kvm_lives, &slot) : 0;
}

static __always_inline void kvm_life_begins(const struct vt_slot *s, __u32 slot)
{
    struct vt_kvm_life *l = kvm_life_of(slot);

    if (l && has_vcpu(s) && copy_kvm_stats(s, l->birth))
        l->begun = s->generation;
}

/* In its thread. */
static __always_inline void kvm_life_ends(const struct vt_slot *s, __u32 slot)
{
    struct vt_kvm_life *l = kvm_life_of(slot);

    if (l && s->kind == VT_SLOT_VCPU && has_vcpu(s))
        l->ended = copy_kvm_stats(s, l->end) ? s->generation : 0;
}

/* What the vCPU's next life counts from, its last one counts up to. */
static __always_inline void kvm_life_moves(__u32 from, __u32 from_generation, __u32 to, __u32 to_generation)
{
    struct vt_kvm_life *old = kvm_life_of(from), *new = kvm_life_of(to);

    if (!old || !new || new->begun != to_generation)
        return;
    __builtin_memcpy(old->end, new->birth, sizeof(old->end));
    old->ended = from_generation;
}

/* The same, of the running thread. */
static __always_inline void own_kvm_life_ends(const struct vt_slot *s)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());

    if (r && r->tid == s->tid && r->generation == s->generation)
        kvm_life_ends(s, r->slot);
}

/* Run by user space: a slot's, into kvm_stats_now. 1: done; 0: the vCPU is no more, or another thread's. */
SEC("raw_tp")
int read_kvm_stats(__u64 *ctx)
{
    struct vt_slot *s = slot_at((__u32)ctx[0]);

    if (!s || s->generation != (__u32)ctx[1] || s->kind != VT_SLOT_VCPU)
        return 0;
    return has_vcpu(s) && copy_kvm_stats(s, kvm_stats_now);
}

/* ---- birth ---- */

/* It changes seldom, and is asked for at checkpoints only. */
static __always_inline void read_tsc(struct vt_slot *s, __u64 now)
{
    struct kvm_vcpu *v = (struct kvm_vcpu *)s->vcpu;

    if (!v || now - s->tsc_at < TSC_EVERY_NS || !bpf_core_field_exists(v->arch.l1_tsc_offset))
        return;
    s->tsc_at = now;
    s->tsc_offset = BPF_CORE_READ(v, arch.l1_tsc_offset);
    s->tsc_ratio = BPF_CORE_READ(v, arch.l1_tsc_scaling_ratio);
}

static __always_inline void identify(struct vt_slot *s, struct task_struct *task, __u64 vcpu)
{
    struct kvm_vcpu *v = (struct kvm_vcpu *)vcpu;

    s->vcpu = vcpu;
    s->kvm = (__u64)BPF_CORE_READ(v, kvm);
    s->vcpu_id = (__u32)BPF_CORE_READ(v, vcpu_id);
    s->tid = (__u32)BPF_CORE_READ(task, pid);
    s->tgid = (__u32)BPF_CORE_READ(task, tgid);
    s->start_time = BPF_CORE_READ(task, start_time);
    s->vm_start_time = BPF_CORE_READ(task, group_leader, start_time);
    BPF_CORE_READ_INTO(&s->comm, task, group_leader, comm);
    read_tsc(s, bpf_ktime_get_ns());
}

/* Two CPUs may take slots at once. Should it fail that often, the slot is seen once another is taken. */
static __always_inline void note_used(__u32 nr)
{
    for (int tries = 0; tries < 4; tries++) {
        __u32 seen = *(volatile __u32 *)&slots_used;
        if (seen >= nr || __sync_val_compare_and_swap(&slots_used, seen, nr) == seen)
            return;
    }
}

/* A free slot, emptied but for its generation, or 0. */
static __always_inline struct vt_slot *take_slot(__u32 *index)
{
    struct vt_slot *s;
    __u32 generation;

    if (bpf_map_pop_elem(&free_slots, index) || !(s = slot_at(*index))) {
        count_lost(VT_LOST_NO_SLOT);
        return 0;
    }
    note_used(*index + 1);
    generation = s->generation + 1;
    machine_lock(s);
    __builtin_memset((char *)s + __builtin_offsetof(struct vt_slot, tid), 0,
                     __builtin_offsetof(struct vt_slot, exit_sums) - __builtin_offsetof(struct vt_slot, tid));
    s->generation = generation;
    s->index = *index;
    s->exit_reason = VT_EXIT_REASONS;
    machine_unlock(s);
    return s;
}

/* The vCPU ran in another thread until now; that one ends its life itself, at its next event. */
static __always_inline void leave_old_thread(__u64 vcpu, __u32 tid, const struct binding *is, __u64 now)
{
    struct binding *b = bpf_map_lookup_elem(&slot_of_vcpu, &vcpu);
    struct vt_slot *old = b ? slot_at(b->slot) : 0;

    if (old && old->generation == b->generation && old->sched != VT_SCHED_GONE && old->tid != tid) {
        kvm_life_moves(b->slot, b->generation, is->slot, is->generation);
        old->moved_at = now;
    }
}

/* A slot that nobody will use after all. */
static __always_inline void waste_slot(struct vt_slot *s)
{
    s->tid = 0;
    s->sched = VT_SCHED_GONE;
    s->state = VT_ABSENT;
}

static __always_inline void note_bound(const struct vt_slot *s)
{
    __u32 tid = s->tid;
    __u64 start_time = s->start_time;

    bpf_map_update_elem(&bound_threads, &tid, &start_time, BPF_ANY);
}

/* Its process is a VM. */
static __always_inline void note_vm(const struct vt_slot *s)
{
    struct vm_process vm = {
        .start_time = s->vm_start_time,
        .vm_start_time = s->vm_start_time,
        .vm_tgid = s->tgid,
        .vm_kind = s->vm_kind,
        .vm_found = s->vm_found,
    };
    __u32 tgid = s->tgid;

    bpf_map_update_elem(&vm_processes, &tgid, &vm, BPF_ANY);
}

/* Gives the thread a slot for the vCPU; sched is ON_CPU for the thread itself, SEED from the iterator. */
static __always_inline struct vt_slot *bind(struct task_struct *task, __u64 vcpu, __u64 now, __u32 sched,
                                            __u32 mode, __u32 cpu)
{
    struct binding b = {}, *stored;
    struct vt_slot *s = take_slot(&b.slot);

    if (!s)
        return 0;
    machine_lock(s);
    identify(s, task, vcpu);
    machine_init(s, now, sched, mode);
    s->open.cpu = (vt_u16)cpu;
    machine_unlock(s);
    b.generation = s->generation;
    stored = bpf_task_storage_get(&bindings, task, &b, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!stored) {
        count_lost(VT_LOST_NO_STORAGE);
        waste_slot(s);
        return 0;
    }
    if (sched == VT_SCHED_SEED && stored->slot != b.slot) { /* the thread itself was faster */
        waste_slot(s);
        return 0;
    }
    kvm_life_begins(s, b.slot);
    leave_old_thread(vcpu, s->tid, &b, now);
    *stored = b; /* another is there when the thread takes over another vCPU */
    if (bpf_map_update_elem(&slot_of_vcpu, &vcpu, &b, BPF_ANY))
        count_lost(VT_LOST_NO_SLOT);
    note_bound(s);
    note_vm(s);
    if (sched == VT_SCHED_ON_CPU)
        begins_here(s, task, now);
    return s;
}

/* Guests whose processes may become very many. */
static __always_inline bool is_many(__u32 vm_kind)
{
    return vm_kind == VT_VM_UML || vm_kind == VT_VM_CGROUP;
}

/* Is there a slot for one more? User space gives it back: vt_probes_release(). */
static __always_inline bool may_take(const struct vm_process *vm)
{
    if (!is_many(vm->vm_kind))
        return true;
    if (__sync_fetch_and_add(&members, 1) < VT_MAX_MEMBERS)
        return true;
    __sync_fetch_and_add(&members, -1);
    count_lost(VT_LOST_NO_SLOT);
    return false;
}

/* A slot for a thread that is no vCPU of KVM's. */
static __always_inline struct vt_slot *fill_slot(struct task_struct *task, const struct vm_process *vm,
                                                 __u32 kind, __u64 now, struct binding *ret)
{
    struct vt_slot *s;

    if (!may_take(vm))
        return 0;
    s = take_slot(&ret->slot);
    if (!s) {
        if (is_many(vm->vm_kind))
            __sync_fetch_and_add(&members, -1);
        return 0;
    }
    machine_lock(s);
    s->kind = kind;
    s->vm_kind = vm->vm_kind;
    s->vm_found = vm->vm_found;
    s->tid = (__u32)task->pid;
    s->tgid = vm->vm_tgid;
    s->start_time = task->start_time;
    s->vm_start_time = vm->vm_start_time;
    s->kvm = vm->cgroup;
    __builtin_memcpy(s->comm, task->comm, VT_COMM_LEN);
    machine_init(s, now, VT_SCHED_SEED, kind == VT_SLOT_THREAD ? VT_RUN : VT_VMM);
    machine_unlock(s);
    ret->generation = s->generation;
    return s;
}

/* Gives a slot to a thread that helps a VM; its first event will tell its state. */
static __always_inline struct vt_slot *bind_helper(struct task_struct *task, const struct vm_process *vm,
                                                   __u64 now)
{
    struct binding b = {}, *stored;
    struct vt_slot *s = fill_slot(task, vm, VT_SLOT_HELPER, now, &b);

    if (!s)
        return 0;
    stored = bpf_task_storage_get(&bindings, task, &b, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!stored)
        count_lost(VT_LOST_NO_STORAGE);
    if (!stored || stored->slot != b.slot) {
        waste_slot(s);
        return 0;
    }
    note_bound(s);
    return s;
}

/*
 * Gives a slot to a thread that is a vCPU without KVM, or a part of one.  sched: as
 * of bind().  A thread that has a life keeps it, but for a helper that is here itself.
 */
static __always_inline struct vt_slot *bind_thread(struct task_struct *task, const struct vm_process *vm,
                                                   __u32 index, __u64 now, __u32 sched)
{
    struct binding b = {}, *stored = binding_of(task);
    struct vt_slot *s, *before = stored ? slot_at(stored->slot) : 0;

    if (before && before->generation == stored->generation && before->sched != VT_SCHED_GONE) {
        if (before->kind != VT_SLOT_HELPER || sched == VT_SCHED_SEED)
            return 0;
        end_life(before, now);
    }
    s = fill_slot(task, vm, VT_SLOT_THREAD, now, &b);
    if (!s)
        return 0;
    s->vcpu_id = index;
    if (sched == VT_SCHED_ON_CPU) {
        machine_lock(s);
        machine_init(s, now, sched, VT_RUN);
        s->open.cpu = (__u16)bpf_get_smp_processor_id();
        machine_unlock(s);
    }
    stored = bpf_task_storage_get(&bindings, task, &b, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!stored) {
        count_lost(VT_LOST_NO_STORAGE);
        waste_slot(s);
        return 0;
    }
    *stored = b;
    note_bound(s);
    if (sched == VT_SCHED_ON_CPU)
        begins_here(s, task, now);
    return s;
}

/* The first event of a thread that the iterator found, acting on its CPU. */
static __always_inline void resolve_acting(struct vt_slot *s, __u32 mode)
{
    if (seldom(s->sched == VT_SCHED_SEED))
        machine_seed_on_cpu(s, mode, bpf_get_smp_processor_id());
}

/* The kernel's account of the running thread, if a switch-in was missed: only then it is needed. */
static __always_inline struct machine_sched_info own_sched_info(struct vt_slot *s)
{
    struct machine_sched_info none = {};

    if (s->sched == VT_SCHED_ON_CPU)
        return none;
    wait_ends(s);
    return sched_info_of(bpf_get_current_task_btf());
}

/* An edge of the mode, of the running thread. */
static __always_inline void mode_edge(struct vt_slot *s, __u64 now, __u32 from, __u32 or_from, __u32 to)
{
    struct machine_sched_info info = own_sched_info(s);

    machine_mode(s, now, from, or_from, to, &info);
}

/* ---- scheduling edges ---- */

/*
 * How long the task's cfs_rq was throttled so far, by the kernel's own account,
 * the present time included; its clock is sched_info's.  A task waits on after
 * its quota is back: the `throttled` of its switch-out says when THROTTLED
 * began, and this when it ended.
 */
static __always_inline __u64 quota_held(const struct vt_slot *s, struct task_struct *task, __u64 now)
{
    struct cfs_rq___self *self = (void *)BPF_CORE_READ(task, se.cfs_rq);
    __u64 since = BPF_CORE_READ(self, throttled_clock_self), clock = now - s->skew;

    return BPF_CORE_READ(self, throttled_clock_self_time) + (since && clock > since ? clock - since : 0);
}

static __always_inline bool tells_quota_held(void)
{
    struct cfs_rq___self *self = 0;

    return bpf_core_field_exists(self->throttled_clock_self_time);
}

static __cold void quota_begins(struct vt_slot *s, struct task_struct *task, __u64 now)
{
    s->quota_rq = 0;
    if (!tells_quota_held() || !s->skew_known)
        return;
    s->quota_rq = (__u64)BPF_CORE_READ(task, se.cfs_rq);
    s->quota_ns = quota_held(s, task, now);
}

/* Moved to another CPU's cfs_rq meanwhile, all of the wait stays THROTTLED. */
static __cold void quota_ends(struct vt_slot *s, struct task_struct *task, __u64 now)
{
    if (tells_quota_held() && s->quota_rq == (__u64)BPF_CORE_READ(task, se.cfs_rq))
        machine_unthrottled(s, now, quota_held(s, task, now) - s->quota_ns);
}

static __always_inline __u32 off_state(struct task_struct *prev, bool preempt, __u32 prev_state,
                                       const struct vt_slot *s)
{
    if (prev_state & TASK_DEAD_BIT)
        return VT_ABSENT;
    if (preempt || !prev_state || is_queued(prev))
        return is_throttled(prev) ? VT_THROTTLED : VT_PREEMPTED;
    if (prev_state & TASK_HELD_BITS)
        return VT_STOPPED;
    if (s->kind == VT_SLOT_THREAD)
        return prev_state & TASK_INTERRUPTIBLE_BIT ? VT_IDLEQ : VT_BLOCKED;
    return s->mode != VT_VMM && in_vcpu_block(s->vcpu) ? VT_HALTED : VT_BLOCKED;
}

static __always_inline __u32 off_cause(struct task_struct *prev, __u32 prev_state, __u32 mode)
{
    if (BPF_CORE_READ_BITFIELD(prev, in_iowait))
        return VT_CAUSE_IO;
    if (!(prev_state & TASK_INTERRUPTIBLE_BIT))
        return VT_CAUSE_KERNEL;
    return mode == VT_VMM ? VT_CAUSE_MONITOR : VT_CAUSE_KVM;
}

/*
 * A process of a UML instance stops for the first time for its kernel, which
 * traces it: it runs the guest's own code from now on.  So it was a helper, and
 * is a part of the vCPU.  (Not in bind_thread(): the run queue's lock is held.)
 */
static __cold void become_traced(struct vt_slot *s, struct task_struct *task, __u64 now)
{
    struct binding *b = binding_of(task);
    const struct vm_process vm = {
        .vm_start_time = s->vm_start_time,
        .vm_tgid = s->tgid,
        .vm_kind = VT_VM_UML,
        .vm_found = VT_FOUND_BY_TRACE,
    };
    struct binding next = {};

    if (!b) /* it was being looked up just now: at its next stop */
        return;
    end_life(s, now);
    s = fill_slot(task, &vm, VT_SLOT_THREAD, now, &next);
    if (!s)
        return;
    machine_lock(s);
    machine_seed_off(s, VT_RUN, VT_STOPPED);
    machine_unlock(s);
    *b = next;
}

static __always_inline bool is_traced_by_uml(const struct vt_slot *s, struct task_struct *task,
                                             __u32 prev_state)
{
    return s->kind == VT_SLOT_HELPER && s->vm_kind == VT_VM_UML && prev_state & TASK_TRACED_BIT &&
           (__u32)BPF_CORE_READ(task, parent, tgid) == s->tgid;
}

static __always_inline void switch_out(struct vt_slot *s, struct task_struct *prev, bool preempt,
                                       __u32 prev_state, __u64 now)
{
    struct machine_sched_info info = sched_info_of(prev);
    __u32 off;

    wait_ends(s); /* its switch-in was missed */
    machine_lock(s);
    if (seldom(s->sched == VT_SCHED_SEED)) /* the mode costs a call */
        machine_seed_on_cpu(s, mode_of(prev, s->kind), bpf_get_smp_processor_id());
    if (s->mode == VT_GUEST && s->sched == VT_SCHED_ON_CPU && exited_already(s->vcpu))
        machine_late_exit(s, now);
    now = machine_close_slice(s, now, &info);
    off = off_state(prev, preempt, prev_state, s);
    if (off == VT_ABSENT)
        s->open.flags |= VT_SLICE_LAST;
    emit(s);
    machine_open_slice(s, now, off);
    if (off == VT_BLOCKED)
        s->open.off_cause = (__u8)off_cause(prev, prev_state, s->mode);
    if (seldom(off == VT_THROTTLED))
        quota_begins(s, prev, now);
    machine_unlock(s);
    if (s->sched == VT_SCHED_WAITING)
        new_wait_begins(s, prev, bpf_get_smp_processor_id(), now);
    else if (off == VT_STOPPED && is_traced_by_uml(s, prev, prev_state))
        become_traced(s, prev, now);
}

/* A helper has a CPU again. */
static __always_inline void emit_wait(const struct vt_slot *s)
{
    const __u64 from = s->open.t_wake, to = s->open.t_in;
    struct vt_cell *cell;
    struct vt_wait *wait;
    __u8 round;

    if (ledger_only || to < from + VT_HELPER_WAIT_NS)
        return;
    cell = take_cell(&round);
    if (!cell)
        return;
    wait = (struct vt_wait *)cell->words;
    wait->from = from;
    wait->to = to;
    vt_cell_tell(cell, VT_CELL_WAIT, round, s->index, s->generation);
}

/* True: it was woken onto an idle CPU at `since`: its slice tells of that idle stretch. */
static __always_inline bool switch_in(struct vt_slot *s, struct task_struct *next, bool cpu_was_idle,
                                      __u64 now, __u64 since)
{
    struct machine_sched_info info = sched_info_of(next);
    bool was_off = s->sched != VT_SCHED_ON_CPU; /* else its switch-out was missed */

    wait_ends(s);
    machine_lock(s);
    if (seldom(s->sched == VT_SCHED_SEED))
        machine_seed_waiting(s, mode_of(next, s->kind));
    if (seldom(s->state == VT_THROTTLED))
        quota_ends(s, next, now);
    machine_switch_in(s, now, bpf_get_smp_processor_id(), cpu_was_idle, &info);
    if (s->kind == VT_SLOT_HELPER) {
        __builtin_memcpy(s->comm, next->comm, VT_COMM_LEN); /* it may have got its name after its birth */
        if (was_off)
            emit_wait(s);
    }
    read_tsc(s, now);
    machine_unlock(s);
    return s->open.flags & VT_SLICE_WAKE_IDLE && s->open.t_wake == since;
}

/* Who leaves is who the last switch here brought, mostly; no helper is noted there. */
static __always_inline struct vt_slot *leaving(const struct vt_running *r, struct task_struct *prev)
{
    struct vt_slot *s = r->tid && r->tid == (__u32)prev->pid ? live_slot(r->slot, r->generation) : 0;

    return s ? s : slot_of(prev);
}

/* What every other switch pays. (The verifier refuses one test of both pointers, which the compiler would
 * make.) */
static __always_inline bool concerns_nobody(struct vt_running *r, const struct vt_slot *was,
                                            const struct vt_slot *is)
{
    if (was)
        return false;
    machine_barrier();
    if (is)
        return false;
    if (r->tid)
        note_running(r, 0);
    return !r->since;
}

static __always_inline int sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next,
                                        __u32 prev_state)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    struct vt_slot *was, *is;
    bool told; /* by a slice who had the CPU */
    __u64 now; /* the same instant for all: on its CPU one ends where the other begins */
    __u64 outer;

    if (!r)
        return 0;
    was = leaving(r, prev);
    is = slot_of(next);
    if (concerns_nobody(r, was, is))
        return 0;
    told = was && was->kind != VT_SLOT_HELPER;
    now = bpf_ktime_get_ns();
    outer = outer_steal(next);
    if (was && r->tid == (__u32)prev->pid) {
        look_at_outer(was, r, outer, now);
        if (seldom(was->outer_ns)) /* no stretch goes on over a switch */
            tell_outer(was, now);
    }
    if (was)
        switch_out(was, prev, preempt, prev_state, now);
    if (is && switch_in(is, next, prev->pid == 0, now, r->since) && r->waiters <= 0)
        told = true;
    occupants_at_switch(r, prev, next, told, now);
    note_running(r, is && is->kind != VT_SLOT_HELPER ? is : 0);
    outer_begins(r, outer, now);
    return 0;
}

/* One of the three is loaded: see kernel.h. */
SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
             __u32 prev_state)
{
    return sched_switch(preempt, prev, next, prev_state);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch_stateless, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    return sched_switch(preempt, prev, next, prev->__state);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch_state_second, bool preempt, __u32 prev_state, struct task_struct *prev,
             struct task_struct *next)
{
    return sched_switch(preempt, prev, next, prev_state);
}

static __always_inline __u32 cpu_of(struct task_struct *task)
{
    struct task_struct___before_516 *t = (void *)task;

    if (bpf_core_field_exists(t->cpu))
        return BPF_CORE_READ(t, cpu);
    return task->thread_info.cpu;
}

/* A thread that the iterator found asleep is woken; the kernel has forgotten its sleep by now. */
static __always_inline __u32 slept_in(const struct vt_slot *s)
{
    if (s->kind == VT_SLOT_THREAD)
        return s->seed_state == VT_IDLEQ || s->seed_state == VT_STOPPED ? s->seed_state : VT_BLOCKED;
    return in_vcpu_block(s->vcpu) ? VT_HALTED : VT_BLOCKED;
}

static __always_inline int wakeup(struct task_struct *task)
{
    struct vt_slot *s = slot_of(task);
    __u64 now;

    if (!s)
        return 0;
    if (seldom(s->sched == VT_SCHED_SEED)) {
        if (task->on_cpu) /* a wake-up of a running thread tells nothing */
            return 0;
        machine_lock(s);
        machine_seed_off(s, mode_of(task, s->kind), slept_in(s));
        machine_unlock(s);
    }
    if (s->sched != VT_SCHED_OFF)
        return 0;
    now = bpf_ktime_get_ns();
    machine_lock(s);
    machine_wakeup(s, now, task->on_cpu != 0);
    machine_unlock(s);
    if (s->sched == VT_SCHED_WAITING)
        new_wait_begins(s, task, cpu_of(task), now);
    return 0;
}

static __always_inline struct vm_process cgroup_vm(__u64 cgroup)
{
    const struct vm_process vm = {
        .vm_start_time = cgroup,
        .cgroup = cgroup,
        .vm_kind = VT_VM_CGROUP,
        .vm_found = VT_FOUND_BY_CGROUP,
    };

    return vm;
}

/*
 * A child is in its parent's cgroup (that it was made in another one user space will see).
 * A new thread of a VM's process helps it, until it runs a vCPU; a new process of a
 * UML instance too, until it is traced.  Not at its first wake-up: to make task storage allocates, and the
 * run queue's lock is held there.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
    __u32 tgid = (__u32)child->tgid, parent_tgid = (__u32)parent->tgid;
    struct vt_slot *of_parent = slot_of(parent);
    struct vm_process *vm, its;

    if (of_parent && of_parent->vm_kind == VT_VM_CGROUP) {
        its = cgroup_vm(of_parent->kvm);
        bind_thread(child, &its, (__u32)child->pid, bpf_ktime_get_ns(), VT_SCHED_SEED);
        return 0;
    }
    vm = bpf_map_lookup_elem(&vm_processes, tgid == parent_tgid ? &tgid : &parent_tgid);
    if (!vm || vm->start_time != BPF_CORE_READ(parent, group_leader, start_time)) /* a pid may come again */
        return 0;
    if (tgid != parent_tgid) {
        if (vm->vm_kind != VT_VM_UML)
            return 0;
        its = *vm;
        its.start_time = child->start_time;
        bpf_map_update_elem(&vm_processes, &tgid, &its, BPF_ANY);
    }
    bind_helper(child, vm, bpf_ktime_get_ns());
    return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_sched_wakeup, struct task_struct *task)
{
    return wakeup(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_sched_wakeup_new, struct task_struct *task)
{
    return wakeup(task);
}

static __always_inline void wait_moves(struct vt_slot *s, __u32 to_cpu)
{
    __u64 now = bpf_ktime_get_ns();
    __u8 round;
    struct vt_cell *cell = take_cell(&round);
    struct vt_move *move;

    if (cell) {
        move = (struct vt_move *)cell->words;
        move->at = now;
        move->from_cpu = (__u16)(s->waits_on - 1);
        move->to_cpu = (__u16)to_cpu;
        move->pad_ = 0;
        vt_cell_tell(cell, VT_CELL_MOVE, round, s->index, s->generation);
    }
    wait_ends(s);
    wait_begins(s, to_cpu, now);
}

SEC("tp_btf/sched_migrate_task")
int BPF_PROG(on_sched_migrate_task, struct task_struct *task, int to_cpu)
{
    struct vt_slot *s = slot_of(task);

    if (!s)
        return 0;
    machine_lock(s);
    machine_migrate(s);
    machine_unlock(s);
    if (s->waits_on)
        wait_moves(s, (__u32)to_cpu);
    return 0;
}

/* The vCPU's entry goes with the thread that has it. */
static __always_inline void forget_vcpu(struct vt_slot *s)
{
    __u64 vcpu = s->vcpu;

    if (is_bound_here(s))
        bpf_map_delete_elem(&slot_of_vcpu, &vcpu);
}

/* From here on the thread only ends: whatever it still does is the monitor's. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_sched_process_exit, struct task_struct *task)
{
    struct vt_slot *s = slot_of(task);
    __u32 tgid = (__u32)task->tgid, tid = (__u32)task->pid;

    if (tid == tgid)
        bpf_map_delete_elem(&vm_processes, &tgid);
    if (s) {
        bpf_map_delete_elem(&bound_threads, &tid);
        __u32 mode = s->kind == VT_SLOT_THREAD ? VT_RUN : mode_outside();
        machine_lock(s);
        resolve_acting(s, mode);
        mode_edge(s, bpf_ktime_get_ns(), VT_VMM, s->mode, mode);
        machine_unlock(s);
        kvm_life_ends(s, s->index);
        forget_vcpu(s);
    }
    return 0;
}

/* ---- edges of KVM: all in the vCPU's own thread ---- */

static __always_inline void run_begins(struct task_struct *task)
{
    __u64 vcpu = loaded_vcpu(task), now;
    struct vt_slot *s = current_slot();

    if (!vcpu)
        return;
    if (s && s->vcpu == vcpu) {
        machine_lock(s); /* from here on no interrupt gets ahead of our look at the clock */
        resolve_acting(s, mode_outside());
        mode_edge(s, bpf_ktime_get_ns(), VT_VMM, VT_VMM, mode_in_kvm());
        machine_unlock(s);
        return;
    }
    now = bpf_ktime_get_ns();
    if (s) { /* it ran another vCPU until now */
        own_kvm_life_ends(s);
        s->moved_at = now;
        forget_vcpu(s);
    }
    current_slot(); /* ends that life */
    if (own_tgid == (__u32)task->tgid)
        __sync_fetch_and_add(&self_runs, 1);
    else if (armed && !bind(task, vcpu, now, VT_SCHED_ON_CPU, mode_in_kvm(), bpf_get_smp_processor_id()))
        bpf_map_delete_elem(&slot_of_vcpu, &vcpu); /* who had it until now has it no more */
}

SEC("tp_btf/kvm_fpu")
int BPF_PROG(on_kvm_fpu, int load)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct vt_slot *s;

    if (load) {
        run_begins(task);
        return 0;
    }
    s = current_slot();
    if (!s)
        return 0;
    machine_lock(s);
    resolve_acting(s, mode_in_kvm());
    mode_edge(s, bpf_ktime_get_ns(), VT_KVM, VT_RUN, mode_outside());
    s->user_exits++;
    s->open.user_exits++;
    machine_unlock(s);
    return 0;
}

/* arm64: kvm_exit(int ret, unsigned int esr_ec, ...), arch/arm64/kvm/trace_arm.h; of a trap its class. */
static __always_inline __u32 arm64_reason(__u32 ret, __u32 class)
{
    ret &= ~VT_EXIT_ARM64_SERROR_BIT;
    if (ret == VT_EXIT_ARM64_TRAP)
        return class < VT_EXIT_ARM64_RET ? class : VT_EXIT_OTHER;
    return ret < 4 ? VT_EXIT_ARM64_RET + ret : VT_EXIT_OTHER;
}

/* The hardware's number for why the guest left, see ledger.h. */
static __always_inline __u32 exit_reason_of(__u64 vcpu)
{
    struct vcpu_vmx *vmx = (void *)vcpu; /* both begin with the kvm_vcpu */
    struct vcpu_vmx___616 *vmx_new = (void *)vcpu;
    struct vcpu_svm *svm = (void *)vcpu;
    __u64 code;

    if (exit_isa == VT_ISA_SVM && bpf_core_field_exists(svm->vmcb)) {
        code = BPF_CORE_READ(svm, vmcb, control.exit_code);
        if (code >= 0x400 && code - 0x400 < VT_EXIT_REASONS - VT_EXIT_SVM_400)
            return (__u32)code - 0x400 + VT_EXIT_SVM_400;
    } else if (bpf_core_field_exists(vmx->exit_reason)) {
        code = BPF_CORE_READ(vmx, exit_reason.full) & 0xffff;
    } else if (bpf_core_field_exists(vmx_new->vt)) {
        code = BPF_CORE_READ(vmx_new, vt.exit_reason.full) & 0xffff;
    } else {
        return VT_EXIT_OTHER;
    }
    return code < VT_EXIT_OTHER ? (__u32)code : VT_EXIT_OTHER;
}

/* The sum of that reason in the slot, or 0: no room is left. */
static __always_inline struct vt_exit_sum *exit_sum_of(struct vt_slot *s, __u32 reason)
{
    __u32 index;

    machine_check_again(reason);
    if (reason >= VT_EXIT_REASONS)
        return 0;
    index = s->exit_sums[reason];
    if (!index) {
        if (exit_sums_taken >= VT_MAX_EXIT_SUMS)
            return 0;
        index = __sync_fetch_and_add(&exit_sums_taken, 1) + 1;
        if (index > VT_MAX_EXIT_SUMS)
            return 0;
        s->exit_sums[reason] = (__u16)index;
    }
    index--;
    return bpf_map_lookup_elem(&exit_sums, &index);
}

static __always_inline void exit_over(struct vt_slot *s)
{
    if (s->exit_reason < VT_EXIT_REASONS)
        machine_exit_over(s, exit_sum_of(s, s->exit_reason));
}

static __always_inline int entry_edge(void)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct vt_slot *s = current_slot();

    if (s && s->kind != VT_SLOT_VCPU) { /* KVM_RUN's begin was not seen: it runs a vCPU now */
        s->moved_at = bpf_ktime_get_ns();
        s = current_slot(); /* ends that life */
    }
    if (!s) {
        if (own_tgid == (__u32)task->tgid)
            __sync_fetch_and_add(&self_entries, 1);
        else if (armed && without_run_edges && loaded_vcpu(task))
            bind(task, loaded_vcpu(task), bpf_ktime_get_ns(), VT_SCHED_ON_CPU, VT_GUEST,
                 bpf_get_smp_processor_id());
        return 0;
    }
    machine_lock(s);
    resolve_acting(s, VT_KVM);
    mode_edge(s, bpf_ktime_get_ns(), VT_KVM, VT_RUN, VT_GUEST);
    exit_over(s);
    machine_unlock(s);
    return 0;
}

static __always_inline int exit_edge(const __u64 *ctx)
{
    struct vt_slot *s = current_slot();

    if (!s)
        return 0;
    machine_lock(s);
    resolve_acting(s, VT_GUEST);
    if (!s->exit_due)
        mode_edge(s, bpf_ktime_get_ns(), VT_GUEST, VT_RUN, VT_KVM);
    machine_exit(s, exit_isa == VT_ISA_ARM64 ? arm64_reason((__u32)ctx[0], (__u32)ctx[1])
                                             : exit_reason_of(s->vcpu));
    machine_unlock(s);
    return 0;
}

SEC("tp_btf/kvm_entry")
int on_kvm_entry(__u64 *ctx)
{
    (void)ctx;
    return entry_edge();
}

SEC("tp_btf/kvm_exit")
int on_kvm_exit(__u64 *ctx)
{
    return exit_edge(ctx);
}

/* Their twins, which user space can run where no guest exits: for the bench alone, else not loaded. */
SEC("raw_tp")
int twin_kvm_entry(void *ctx)
{
    (void)ctx;
    return entry_edge();
}

SEC("raw_tp")
int twin_kvm_exit(__u64 *ctx)
{
    return exit_edge(ctx);
}

SEC("tp_btf/kvm_vcpu_wakeup")
int BPF_PROG(on_kvm_vcpu_wakeup, __u64 halted_ns)
{
    struct vt_slot *s = current_slot();
    struct machine_sched_info info;

    if (!s)
        return 0;
    machine_lock(s);
    resolve_acting(s, mode_in_kvm());
    info = own_sched_info(s);
    machine_halt_over(s, bpf_ktime_get_ns(), halted_ns, &info);
    machine_unlock(s);
    return 0;
}

/* ---- what the guest accessed; arguments as in include/trace/events/kvm.h and arch/x86/kvm/trace.h ---- */

/* The first access to an address: there is room for so many, and none is dropped in silence. */
static __always_inline void first_access(struct vt_slot *s, const struct vt_address_key *key, __u32 kind)
{
    __u64 one = 1;

    machine_lock(s);
    if (s->addresses[kind] < VT_SLOT_ADDRESSES && !bpf_map_update_elem(&addresses, key, &one, BPF_NOEXIST))
        s->addresses[kind]++;
    else
        s->addresses_unsummed++;
    machine_unlock(s);
}

static __always_inline int count_access(__u32 kind, __u64 address, bool is_write)
{
    struct vt_slot *s = current_slot();
    struct vt_address_key key = {};
    __u64 *count;

    if (!s || s->kind != VT_SLOT_VCPU)
        return 0;
    key.slot = s->index;
    key.generation = s->generation;
    key.address = address;
    key.kind = kind;
    key.is_write = is_write;
    count = bpf_map_lookup_elem(&addresses, &key);
    if (count)
        (*count)++;
    else
        first_access(s, &key, kind);
    return 0;
}

/* One for each that KVM serves or hands on: a string instruction's elements come `count` at a time. */
SEC("tp_btf/kvm_pio")
int BPF_PROG(on_kvm_pio, unsigned int is_out, unsigned int port)
{
    return count_access(VT_ACCESS_PORT, port, is_out);
}

/* A read that the monitor serves is told twice: UNSATISFIED when it is handed on, READ when it has its value.
 */
enum { MMIO_READ_UNSATISFIED, MMIO_READ, MMIO_WRITE }; /* KVM_TRACE_MMIO_…, include/trace/events/kvm.h */

SEC("tp_btf/kvm_mmio")
int BPF_PROG(on_kvm_mmio, int type, int len, __u64 gpa)
{
    return type == MMIO_READ_UNSATISFIED ? 0 : count_access(VT_ACCESS_MMIO, gpa, type == MMIO_WRITE);
}

/* A write to an ioeventfd that needs no decoding (VMX): there is no kvm_mmio of it. */
SEC("tp_btf/kvm_fast_mmio")
int BPF_PROG(on_kvm_fast_mmio, __u64 gpa)
{
    return count_access(VT_ACCESS_MMIO, gpa, true);
}

SEC("tp_btf/kvm_msr")
int BPF_PROG(on_kvm_msr, unsigned int is_write, __u32 msr)
{
    return count_access(VT_ACCESS_MSR, msr, is_write);
}

/* ---- host interrupts in a vCPU's stretch on CPU ---- */

/*
 * Its slot, unless a program that works on it was interrupted: what the
 * interrupt takes then stays with the state that it interrupted.
 */
static __always_inline struct vt_slot *interrupted_slot(const struct vt_running *r)
{
    struct vt_slot *s = slot_at(r->slot);

    if (!s || s->generation != r->generation || s->moved_at || s->sequence & 1)
        return 0;
    return s;
}

static __always_inline int irq_begins(bool of_timer)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    struct vt_slot *s;
    __u64 now;

    if (!r || !r->tid || r->irq_depth++)
        return 0;
    s = interrupted_slot(r);
    if (!s)
        return 0;
    now = bpf_ktime_get_ns();
    machine_lock(s);
    if (s->mode == VT_GUEST && s->sched == VT_SCHED_ON_CPU)
        machine_late_exit(s, now); /* an interrupt makes the guest exit; its event may be yet to come */
    machine_irq_begin(s, now, of_timer);
    machine_unlock(s);
    return 0;
}

static __always_inline int irq_ends(void)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    struct vt_slot *s;
    __u64 now;

    if (!r || !r->irq_depth || --r->irq_depth)
        return 0;
    s = interrupted_slot(r);
    if (!s)
        return 0;
    now = bpf_ktime_get_ns();
    look_at_outer(s, r, outer_steal(bpf_get_current_task_btf()), now);
    machine_lock(s);
    machine_irq_end(s, now);
    machine_unlock(s);
    return 0;
}

#define IRQ(name, of_timer)                                                                                  \
    SEC("tp_btf/" #name "_entry") int on_##name##_entry(void *ctx)                                           \
    {                                                                                                        \
        return irq_begins(of_timer);                                                                         \
    }                                                                                                        \
    SEC("tp_btf/" #name "_exit") int on_##name##_exit(void *ctx)                                             \
    {                                                                                                        \
        return irq_ends();                                                                                   \
    }

/* The timer, IPIs and irq_work are no device interrupts: they have tracepoints of their own (arch/x86). */
IRQ(irq_handler, false)
IRQ(softirq, false)
IRQ(local_timer, true)
IRQ(reschedule, false)
IRQ(call_function, false)
IRQ(call_function_single, false)
IRQ(irq_work, false)

/* Not where timers go off at the next tick, or the kernel has other ones. */
static __always_inline bool is_armed_exactly(const struct hrtimer *timer)
{
    const struct hrtimer_clock_base *clock = 0;
    const struct hrtimer_cpu_base *base = 0;

    if (!bpf_core_field_exists(timer->node.expires) || !bpf_core_field_exists(timer->base) ||
        !bpf_core_field_exists(clock->offset) || !bpf_core_field_exists(clock->cpu_base) ||
        !bpf_core_field_exists(base->hres_active))
        return false;
    base = timer->base->cpu_base;
    return BPF_CORE_READ_BITFIELD(base, hres_active);
}

/* By CLOCK_MONOTONIC. */
static __always_inline __u64 due_at(const struct hrtimer *timer)
{
    return (__u64)(timer->node.expires - timer->base->offset);
}

/*
 * What is armed for a time that is over goes off at once: nothing was on its way before.  Where entry and
 * exit are seen it does not matter, and there KVM arms one for each time that its guest does.
 */
SEC("tp_btf/hrtimer_start")
int BPF_PROG(on_hrtimer_start, struct hrtimer *timer)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    const struct vt_slot *s = r && r->tid ? slot_at(r->slot) : 0;
    __u64 now;

    if (!s || (s->mode != VT_RUN && s->mode != VT_IRQ) || !is_armed_exactly(timer))
        return 0;
    now = bpf_ktime_get_ns();
    if (due_at(timer) < now)
        r->armed_late = now;
    return 0;
}

/*
 * What an interrupt takes of a CPU begins before its handler does: under a hypervisor, which has to take the
 * CPU from the guest that we are and to give it back, by some 10 us.  When a timer's was due is known, of
 * each that goes off in it.  Neither this program nor the one before has work to do where it hits itself.
 */
SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(on_hrtimer_expire_entry, struct hrtimer *timer)
{
    struct vt_running *r = running_on(bpf_get_smp_processor_id());
    struct vt_slot *s;
    __u64 due;

    if (!r || !r->tid || r->irq_depth != 1)
        return 0;
    s = interrupted_slot(r);
    if (!s || !is_armed_exactly(timer))
        return 0;
    due = due_at(timer);
    machine_lock(s);
    machine_irq_was_due(s, due > r->armed_late ? due : r->armed_late);
    machine_unlock(s);
    return 0;
}

/* ---- what is there already when the recording begins ---- */

static __always_inline bool is_vcpu_file(struct file *file)
{
    static const char want[8] = "kvm-vcpu";
    char name[8] = {};
    const unsigned char *p = BPF_CORE_READ(file, f_path.dentry, d_name.name);

    bpf_probe_read_kernel(name, sizeof(name), p);
    for (unsigned int i = 0; i < sizeof(want); i++)
        if (name[i] != want[i])
            return false;
    return true;
}

/* First: the vCPU descriptors, and which thread last ran each (kvm_vcpu.pid). */
SEC("iter/task_file")
int find_vcpu_files(struct bpf_iter__task_file *ctx)
{
    struct file *file = ctx->file;
    __u64 vcpu;
    __u32 tid;

    if (!file || !is_vcpu_file(file))
        return 0;
    vcpu = (__u64)BPF_CORE_READ(file, private_data);
    tid = (__u32)BPF_CORE_READ((struct kvm_vcpu *)vcpu, pid, numbers[0].nr);
    if (vcpu && tid)
        bpf_map_update_elem(&found, &tid, &vcpu, BPF_ANY);
    return 0;
}

/* What the task is in, should no event ever tell. vcpu: 0 of others than KVM's. */
static __always_inline __u8 state_seen(struct task_struct *task, __u32 mode, __u64 vcpu)
{
    if (task->on_cpu)
        return (__u8)mode;
    if (is_queued(task))
        return VT_PREEMPTED;
    if (vcpu && in_vcpu_block(vcpu))
        return VT_HALTED;
    if (task->__state & TASK_HELD_BITS)
        return VT_STOPPED;
    return mode == VT_RUN && !vcpu && task->__state & TASK_INTERRUPTIBLE_BIT ? VT_IDLEQ : VT_BLOCKED;
}

/* Then: their threads. The probes are attached already; the first event tells the state. */
SEC("iter/task")
int seed_vcpu_threads(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    __u64 vcpu, *known, now;
    struct vt_slot *s;
    __u32 tid, mode;

    if (!task || (__u32)task->tgid == own_tgid)
        return 0;
    tid = (__u32)task->pid;
    vcpu = loaded_vcpu(task);
    if (!vcpu) {
        known = bpf_map_lookup_elem(&found, &tid);
        if (!known)
            return 0;
        vcpu = *known;
    }
    if (bpf_task_storage_get(&bindings, task, 0, 0))
        return 0; /* it acted already */
    mode = mode_of(task, VT_SLOT_VCPU);
    now = bpf_ktime_get_ns();
    s = bind(task, vcpu, now, VT_SCHED_SEED, mode, 0);
    if (!s)
        return 0;
    s->seed_state = state_seen(task, mode, vcpu);
    return 0;
}

/* ---- guests that are not KVM's ---- */

/* A QEMU thread that emulates vCPUs is called "CPU n/TCG", or "ALL CPUs/TCG" where one does all in turn. */
static __always_inline bool is_tcg(const char name[VT_COMM_LEN], __u32 *ret_index)
{
    static const char all[] = "ALL CPUs/TCG", cpu[] = "CPU ", tcg[] = "/TCG";
    __u32 index = 0, at = sizeof(cpu) - 1;

    for (__u32 i = 0; i < sizeof(all) && name[i] == all[i]; i++)
        if (!all[i]) {
            *ret_index = 0;
            return true;
        }
    for (__u32 i = 0; i < sizeof(cpu) - 1; i++)
        if (name[i] != cpu[i])
            return false;
    for (; at < VT_COMM_LEN - sizeof(tcg) && name[at] >= '0' && name[at] <= '9'; at++)
        index = 10 * index + (__u32)(name[at] - '0');
    if (at == sizeof(cpu) - 1)
        return false;
    for (__u32 i = 0; i < sizeof(tcg); i++)
        if (name[(at + i) % VT_COMM_LEN] != tcg[i])
            return false;
    *ret_index = index;
    return true;
}

/* It has left its cgroup: its life is over, though it may notice later. */
static __always_inline void leave_cgroup(struct task_struct *task, __u64 cgroup, __u64 now)
{
    struct binding *b = binding_of(task);
    struct vt_slot *s = b ? slot_at(b->slot) : 0;

    if (s && s->generation == b->generation && s->sched != VT_SCHED_GONE && !s->moved_at &&
        s->vm_kind == VT_VM_CGROUP && s->kvm == cgroup)
        s->moved_at = now;
}

static __always_inline struct vt_slot *bind_wanted(struct task_struct *task, const struct vt_wanted *w)
{
    const __u64 start_time = BPF_CORE_READ(task, group_leader, start_time);
    const struct vm_process vm = {
        .start_time = start_time,
        .vm_start_time = w->vm_tgid == w->tgid ? start_time : w->vm_start_time,
        .cgroup = w->cgroup,
        .vm_tgid = w->vm_tgid,
        .vm_kind = w->vm_kind,
        .vm_found = w->vm_found,
    };
    const __u64 now = bpf_ktime_get_ns();
    __u32 tgid = w->tgid;
    struct vt_slot *s;

    s = w->kind == VT_SLOT_HELPER ? bind_helper(task, &vm, now)
                                  : bind_thread(task, &vm, w->index, now, VT_SCHED_SEED);

    if (s && w->vm_kind != VT_VM_CGROUP)
        bpf_map_update_elem(&vm_processes, &tgid, &vm, BPF_ANY);
    return s;
}

static __always_inline struct vt_slot *bind_tcg(struct task_struct *task, __u32 index, __u32 sched)
{
    const __u64 start_time = BPF_CORE_READ(task, group_leader, start_time);
    const struct vm_process vm = {
        .start_time = start_time,
        .vm_start_time = start_time,
        .vm_tgid = (__u32)BPF_CORE_READ(task, tgid),
        .vm_kind = VT_VM_TCG,
        .vm_found = VT_FOUND_BY_NAME,
    };
    struct vt_slot *s = bind_thread(task, &vm, index, bpf_ktime_get_ns(), sched);

    if (s)
        note_vm(s);
    return s;
}

/* A thread of QEMU's names itself just before it begins to run its vCPU. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_task_rename, struct task_struct *task, const char *comm)
{
    char name[VT_COMM_LEN] = {};
    __u32 index;

    if (!armed || task->pid != (int)(__u32)bpf_get_current_pid_tgid())
        return 0;
    bpf_probe_read_kernel_str(name, sizeof(name), comm);
    if (is_tcg(name, &index))
        bind_tcg(bpf_get_current_task_btf(), index, VT_SCHED_ON_CPU);
    return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_sched_process_exec, struct task_struct *task)
{
    __u32 tgid = (__u32)task->tgid;

    bpf_map_push_elem(&execs, &tgid, BPF_EXIST); /* full: the oldest goes */
    return 0;
}

/* A task comes into one of the cgroups that are guests; if it is a whole process, with its other threads. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_cgroup_attach_task, struct cgroup *to, const char *path, struct task_struct *task)
{
    __u64 id = BPF_CORE_READ(to, kn, id);
    struct vm_process vm = cgroup_vm(id);
    __u32 *is_guest = bpf_map_lookup_elem(&cgroups, &id);
    bool acts = task->pid == (int)(__u32)bpf_get_current_pid_tgid();
    struct vt_slot *s;

    if (!is_guest || !armed)
        return 0;
    s = bind_thread(task, &vm, (__u32)task->pid, bpf_ktime_get_ns(), acts ? VT_SCHED_ON_CPU : VT_SCHED_SEED);
    if (s && !acts)
        s->seed_state = state_seen(task, VT_RUN, 0);
    return 0;
}

/* Those that are there already, and those that user space wants. */
SEC("iter/task")
int seed_threads(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    struct vt_wanted *w;
    struct vt_slot *s = 0;
    char name[VT_COMM_LEN];
    __u32 tid, index;
    __u64 *known;

    if (!task || (__u32)task->tgid == own_tgid || task->flags & PF_KTHREAD)
        return 0;
    tid = (__u32)task->pid;
    w = bpf_map_lookup_elem(&wanted, &tid);
    if (w && w->kind == VT_WANTED_OUT) {
        leave_cgroup(task, w->cgroup, bpf_ktime_get_ns());
        return 0;
    }
    known = bpf_map_lookup_elem(&bound_threads, &tid);
    __builtin_memcpy(name, task->comm, sizeof(name));
    if (w && w->tgid == (__u32)task->tgid && !loaded_vcpu(task))
        s = bind_wanted(task, w);
    else if ((!known || *known != task->start_time) && is_tcg(name, &index))
        s = bind_tcg(task, index, VT_SCHED_SEED);
    if (s)
        s->seed_state = state_seen(task, s->kind == VT_SLOT_THREAD ? VT_RUN : VT_VMM, 0);
    return 0;
}

/* A vhost worker of older kernels is a kernel thread, named after the VM's process: vhost-PID. */
static __always_inline __u32 helped_by_vhost(struct task_struct *task)
{
    static const char want[6] = "vhost-";
    __u32 tgid = 0;

    if (!(task->flags & PF_KTHREAD))
        return 0;
    for (unsigned int i = 0; i < sizeof(want); i++)
        if (task->comm[i] != want[i])
            return 0;
    for (unsigned int i = sizeof(want); i < VT_COMM_LEN; i++) {
        if (task->comm[i] < '0' || task->comm[i] > '9')
            break;
        tgid = 10 * tgid + (__u32)(task->comm[i] - '0');
    }
    return tgid;
}

/* The helpers that are there already; run again when a VM was found. */
SEC("iter/task")
int seed_helpers(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    struct vm_process *vm;
    struct vt_slot *s;
    __u32 tgid, tid;
    __u64 *known;

    if (!task)
        return 0;
    tgid = (__u32)task->tgid;
    vm = bpf_map_lookup_elem(&vm_processes, &tgid);
    if (vm && vm->start_time != BPF_CORE_READ(task, group_leader, start_time)) /* a pid may come again */
        return 0;
    if (!vm) {
        tgid = helped_by_vhost(task);
        vm = bpf_map_lookup_elem(&vm_processes, &tgid);
    }
    tid = (__u32)task->pid;
    known = bpf_map_lookup_elem(&bound_threads, &tid);
    if (!vm || (known && *known == task->start_time) || bpf_task_storage_get(&bindings, task, 0, 0))
        return 0;
    s = bind_helper(task, vm, bpf_ktime_get_ns());
    if (!s)
        return 0;
    s->seed_state = state_seen(task, VT_VMM, 0);
    return 0;
}

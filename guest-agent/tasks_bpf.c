/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source: the BPF program of guest-agent/bpf/tasks.bpf.c, loaded by a light skeleton. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tasks.lskel.h"

#include "guest-agent/bpf/tasks.h"
#include "guest-agent/readtext.h"
#include "guest-agent/task_source.h"
#include "guest-agent/task_time.h"

enum {
    RING_MOST = 16384,      /* switches of a CPU: 0.2 s at 80 000/s */
    RING_LEAST = 512,       /* and where CPUs are many */
    SWITCHES_MOST = 1 << 18 /* in all: 6 MiB */
};

/* A BPF ring buffer, without libbpf: linux/bpf.h, BPF_RINGBUF_*. */
struct ring {
    _Atomic uint64_t *consumer;
    const _Atomic uint64_t *producer; /* a page, then the data */
    size_t size;
    struct vta_name wrapped; /* of the names: begins at the data's end and goes on at its begin */
};

/* What is known of a CPU beside what the program shares. */
struct cpu {
    struct vta_line line;
    int event; /* msr/tsc/; -1: none */
    /* of the present drain */
    uint64_t at, head;
    uint64_t hit_end; /* of an interrupt that hit hit_tid; 0: it is told in the ring */
    uint32_t hit_tid;
    bool quiet; /* every switch before `at` is told up to head, but for hit_end */
};

struct reader {
    struct tasks_bpf *skel;
    uint32_t nr_cpus, ring_size;
    struct vta_cpu *shared;
    const struct vta_switch *switches;
    struct cpu *cpus;
    struct ring names, bell;
    uint64_t names_lost; /* as seen last */
    char online[256];    /* list of CPUs */
    bool stamp_ns;
    struct vta_span span, span_before; /* stamp_ns: from the last drain to this one */
    uint64_t bound;
};

static uint64_t ring_size_for(uint32_t nr_cpus)
{
    uint32_t size = RING_MOST;
    while (size > RING_LEAST && (uint64_t)size * nr_cpus > SWITCHES_MOST)
        size /= 2;
    return size;
}

static void *map(int fd, size_t size, int protection, long offset)
{
    void *p = mmap(NULL, size, protection, MAP_SHARED, fd, offset);
    return p == MAP_FAILED ? NULL : p;
}

static size_t whole_pages(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

/* ---- ring buffers ---- */

static int ring_open(struct ring *r, int fd, size_t size)
{
    const long page = sysconf(_SC_PAGESIZE);
    r->size = size;
    r->consumer = map(fd, (size_t)page, PROT_READ | PROT_WRITE, 0);
    r->producer = map(fd, (size_t)page + size, PROT_READ, page);
    return r->consumer && r->producer ? 0 : -errno;
}

static void ring_close(struct ring *r)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (r->consumer)
        munmap((void *)r->consumer, page);
    if (r->producer)
        munmap((void *)(uintptr_t)r->producer, page + r->size);
}

/* Whatever it holds is taken. */
static void ring_empty(struct ring *r)
{
    atomic_store_explicit(r->consumer, atomic_load_explicit(r->producer, memory_order_acquire),
                          memory_order_release);
}

/*
 * The record that begins there.  The kernel would map the data twice in a row, which spares this, and would
 * be counted as ours twice.
 */
static const void *record_at(struct ring *r, const uint8_t *data, size_t at, size_t len)
{
    const size_t left = r->size - at;
    if (len <= left)
        return data + at;
    if (len > sizeof(r->wrapped))
        len = sizeof(r->wrapped);
    memcpy(&r->wrapped, data + at, left < len ? left : len);
    if (left < len)
        memcpy((uint8_t *)&r->wrapped + left, data, len - left);
    return &r->wrapped;
}

/* The next record, or NULL; *at goes behind it.  It holds until the next call, or the consumer moves on. */
static const void *ring_next(struct ring *r, uint64_t *at)
{
    const uint8_t *data = (const uint8_t *)r->producer + sysconf(_SC_PAGESIZE);
    while (*at < atomic_load_explicit(r->producer, memory_order_acquire)) {
        const _Atomic uint32_t *head = (const _Atomic uint32_t *)(data + (*at & (r->size - 1)));
        const uint32_t len = atomic_load_explicit(head, memory_order_acquire);
        if (len & BPF_RINGBUF_BUSY_BIT)
            return NULL;
        const uint32_t discarded = (uint32_t)BPF_RINGBUF_DISCARD_BIT;
        const uint64_t begin = *at + BPF_RINGBUF_HDR_SZ;
        *at += ((len & ~discarded) + BPF_RINGBUF_HDR_SZ + 7) & ~UINT64_C(7);
        if (!(len & discarded))
            return record_at(r, data, begin & (r->size - 1), len);
    }
    return NULL;
}

/* ---- stamps ---- */

/* The event that counts a CPU's TSC (arch/x86/events/msr.c), or -errno. */
static int open_tsc_event(uint32_t cpu)
{
    char type[16];
    if (vta_read_text("/sys/bus/event_source/devices/msr/type", type, sizeof(type)) <= 0)
        return -ENOENT;
    struct perf_event_attr attr = { .size = sizeof(attr),
                                    .type = (uint32_t)strtoul(type, NULL, 10),
                                    .config = 0,   /* events/tsc */
                                    .pinned = 1 }; /* stays when others come and go */
    const long fd = syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

/* Runs tell_stamp on that CPU. */
static int run_tell_stamp(const struct reader *r, uint32_t cpu)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof(attr));
    attr.test.prog_fd = (uint32_t)r->skel->progs.tell_stamp.prog_fd;
    attr.test.flags = BPF_F_TEST_RUN_ON_CPU;
    attr.test.cpu = cpu;
    return skel_sys_bpf(BPF_PROG_RUN, &attr, offsetofend(union bpf_attr, test)) < 0 ? -errno : 0;
}

/* From now on that CPU stamps: 0 if a stamp lies between two of our own readings of the TSC. */
static int start_stamps(struct reader *r, uint32_t cpu)
{
    struct cpu *c = &r->cpus[cpu];
    c->event = open_tsc_event(cpu);
    if (c->event < 0)
        return c->event;
    if (skel_map_update_elem(r->skel->maps.tsc_events.map_fd, &cpu, &c->event, 0) < 0)
        return -errno;
    const uint64_t before = vta_tsc();
    const int err = run_tell_stamp(r, cpu);
    if (err)
        return err;
    const uint64_t stamp = r->shared[cpu].probe;
    return stamp < before || stamp > vta_tsc() ? -EILSEQ : 0;
}

static void stop_stamps(struct reader *r, uint32_t cpu)
{
    r->shared[cpu].tsc_at = 0;
    if (r->cpus[cpu].event >= 0)
        close(r->cpus[cpu].event);
    r->cpus[cpu].event = -1;
}

/* CPUs come and go: an event does not outlive its CPU's absence. 0, or why an online CPU has no stamps. */
static int follow_cpus(struct reader *r)
{
    char online[sizeof(r->online)];
    int result = 0;
    if (r->stamp_ns || vta_read_text("/sys/devices/system/cpu/online", online, sizeof(online)) <= 0 ||
        strcmp(online, r->online) == 0)
        return 0;
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++) {
        const bool is = vta_in_list(online, cpu), has = r->cpus[cpu].event >= 0;
        const int err = is && !has ? start_stamps(r, cpu) : 0;
        if (err || (has && !is))
            stop_stamps(r, cpu);
        if (err)
            result = err;
    }
    memcpy(r->online, online, sizeof(online));
    return result;
}

static uint64_t now(const struct reader *r)
{
    struct timespec ts;
    if (!r->stamp_ns)
        return vta_tsc();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- opening ---- */

static void unload(struct reader *r)
{
    if (r->shared)
        munmap(r->shared, whole_pages(r->nr_cpus * sizeof(*r->shared)));
    if (r->switches)
        munmap((void *)(uintptr_t)r->switches, whole_pages(r->nr_cpus * r->ring_size * sizeof(*r->switches)));
    ring_close(&r->names);
    ring_close(&r->bell);
    for (uint32_t cpu = 0; r->cpus && cpu < r->nr_cpus; cpu++)
        if (r->cpus[cpu].event >= 0)
            close(r->cpus[cpu].event);
    if (r->skel)
        tasks_bpf__destroy(r->skel);
    free(r->cpus);
}

static void bpf_close(void *state)
{
    struct reader *r = state;
    if (r)
        unload(r);
    free(r);
}

/* To some ppm: it bridges some ms at a repair. */
static uint64_t ticks_per_ns_q20(void)
{
    struct vta_span s = { .before = vta_pair_read(CLOCK_MONOTONIC) };
    usleep(5000);
    s.after = vta_pair_read(CLOCK_MONOTONIC);
    return vta_span_ticks(&s, 1 << 20);
}

static int share(struct reader *r)
{
    const size_t switches = r->nr_cpus * r->ring_size * sizeof(*r->switches);
    r->shared = map(r->skel->maps.cpus.map_fd, whole_pages(r->nr_cpus * sizeof(*r->shared)),
                    PROT_READ | PROT_WRITE, 0);
    if (!r->shared)
        return -errno;
    r->switches = map(r->skel->maps.switches.map_fd, whole_pages(switches), PROT_READ, 0);
    if (!r->switches)
        return -errno;
    const int err = ring_open(&r->names, r->skel->maps.names.map_fd, VTA_NAMES_BYTES);
    return err ? err : ring_open(&r->bell, r->skel->maps.bell.map_fd, VTA_BELL_BYTES);
}

/* Loads the programs, maps what they share, and starts the stamps. */
static int load(struct reader *r, bool stamp_ns, const char **step)
{
    r->stamp_ns = stamp_ns;
    r->cpus = calloc(r->nr_cpus, sizeof(*r->cpus));
    *step = "open";
    r->skel = r->cpus ? tasks_bpf__open() : NULL;
    if (!r->skel)
        return -ENOMEM;
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        r->cpus[cpu].event = -1;
    r->skel->rodata->ring_size = r->ring_size;
    r->skel->rodata->stamp_ns = stamp_ns;
    r->skel->rodata->ticks_per_ns_q20 = stamp_ns ? 1 << 20 : ticks_per_ns_q20();
    r->skel->maps.cpus.max_entries = r->skel->maps.tsc_events.max_entries = r->nr_cpus;
    r->skel->maps.switches.max_entries = r->nr_cpus * r->ring_size;
    *step = "load";
    int err = tasks_bpf__load(r->skel);
    if (err)
        return err < 0 ? err : -EIO;
    *step = "map";
    err = share(r);
    *step = "stamp";
    return err ? err : follow_cpus(r);
}

/* A failed try leaves nothing. */
static int try_load(struct reader *r, uint32_t nr_cpus, bool stamp_ns, const char **step)
{
    *r = (struct reader){ .nr_cpus = nr_cpus, .ring_size = (uint32_t)ring_size_for(nr_cpus) };
    const int err = load(r, stamp_ns, step);
    if (err)
        unload(r);
    return err;
}

/* Births and wake-ups first: what the first switch tells needs them. */
static int attach(struct reader *r)
{
    struct tasks_bpf *s = r->skel;
    if (tasks_bpf__on_timer__attach(s) < 0 || tasks_bpf__on_timer_end__attach(s) < 0 ||
        tasks_bpf__on_tick__attach(s) < 0 || tasks_bpf__on_tick_end__attach(s) < 0 ||
        tasks_bpf__on_irq__attach(s) < 0 || tasks_bpf__on_irq_end__attach(s) < 0 ||
        tasks_bpf__on_softirq__attach(s) < 0 || tasks_bpf__on_softirq_end__attach(s) < 0 ||
        tasks_bpf__on_fork__attach(s) < 0 || tasks_bpf__on_rename__attach(s) < 0 ||
        tasks_bpf__on_waking__attach(s) < 0 || tasks_bpf__on_wakeup_new__attach(s) < 0 ||
        tasks_bpf__on_switch__attach(s) < 0)
        return -errno;
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        vta_line_begin(&r->cpus[cpu].line, vta_tsc());
    r->span.after = vta_pair_read(CLOCK_MONOTONIC);
    return 0;
}

/*
 * CLOCK_MONOTONIC is near enough where it is the TSC, and a third cheaper; where the
 * clock is a device, reading it at each switch would be dear, and it does not keep
 * step with the TSC.  VTIME_TASKS_STAMPS=tsc|ns asks for one.
 */
static bool clock_will_do(void)
{
    char source[32];
    const char *wanted = getenv("VTIME_TASKS_STAMPS");
    if (wanted && *wanted)
        return strcmp(wanted, "ns") == 0;
    return vta_read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
                         sizeof(source)) > 0 &&
           (strcmp(source, "tsc\n") == 0 || strcmp(source, "kvm-clock\n") == 0);
}

static int bpf_open(void **ret, struct vta_out *out, char *err, size_t n)
{
    struct reader *r = calloc(1, sizeof(*r));
    const char *step = "memory";
    int result = -ENOMEM;
    (void)out;
    if (!r)
        goto fail;
    const bool ns = clock_will_do();
    result = try_load(r, vta_nr_cpus(), ns, &step);
    if (result && !ns && strcmp(step, "stamp") == 0)
        result = try_load(r, vta_nr_cpus(), true, &step);
    if (result)
        goto fail;
    result = attach(r);
    if (result == 0) {
        *ret = r;
        return 0;
    }
    step = "attach";
    unload(r);
fail:
    snprintf(err, n, "%s: %s", step, strerror(-result));
    free(r);
    return result;
}

/* ---- draining ---- */

/*
 * A program at work on the CPU has made seq odd before it took its stamp: if seq is even,
 * whoever takes one later takes it after `at`.
 */
static void look(struct reader *r, uint32_t cpu)
{
    struct cpu *c = &r->cpus[cpu];
    const volatile struct vta_cpu *shared = &r->shared[cpu];
    c->at = now(r);
    atomic_thread_fence(memory_order_seq_cst);
    const uint64_t seq = shared->seq;
    atomic_thread_fence(memory_order_acquire);
    c->head = shared->head;
    c->hit_end = shared->hit_end;
    c->hit_tid = shared->hit_tid;
    const bool told = shared->told;
    atomic_thread_fence(memory_order_acquire);
    c->quiet = seq % 2 == 0 && told && shared->seq == seq;
}

static void take_names(struct reader *r, struct vta_whos *whos)
{
    uint64_t at = atomic_load_explicit(r->names.consumer, memory_order_relaxed);
    const struct vta_name *name;
    while ((name = ring_next(&r->names, &at))) {
        struct vta_who who = { .tid = name->tid,
                               .tgid = name->tgid,
                               .parent_tid = name->parent_tid,
                               .parent_tgid = name->parent_tgid };
        memcpy(who.comm, name->comm, sizeof(who.comm));
        if (name->kind == VTA_NAME_FORK)
            vta_who_add(whos, &who);
        else
            vta_who_rename(whos, name->tid, who.comm);
        atomic_store_explicit(r->names.consumer, at, memory_order_release);
    }
}

static uint64_t to_tsc(const struct reader *r, uint64_t at)
{
    return r->stamp_ns && at ? vta_span_tsc(&r->span, at) : at;
}

/* A duration in units of stamps, as the programs tell it. */
static uint64_t to_ticks(const struct reader *r, uint64_t n)
{
    return r->stamp_ns ? vta_span_ticks(&r->span, n) : n;
}

/* What the programs tell of a wake-up beside its kind. */
static void take_wake(const struct reader *r, uint64_t wake, struct vta_coming *ret)
{
    const uint32_t what = (uint32_t)(wake >> 32);
    ret->wake = (enum vtg_wake)(wake & 0xff);
    if (ret->wake == VTG_WAKE_TASK)
        ret->waker = what;
    else if (what)
        ret->late = to_ticks(r, (uint64_t)(what - 1) << VTA_LATE_SHIFT) + 1;
}

/* As the wire has it. */
static uint32_t tid_of(const struct vta_switch *s)
{
    const uint32_t tid = (uint32_t)(s->word & ((1u << VTA_TID_BITS) - 1));
    return tid == VTA_INTERRUPTS ? VTG_TID_INTERRUPTS : tid;
}

static void take_switch(struct reader *r, struct vta_out *out, uint32_t cpu, const struct vta_switch *s)
{
    struct vta_line *line = &r->cpus[cpu].line;
    const uint32_t tid = tid_of(s);
    const uint32_t end = (uint32_t)(s->word >> VTA_TID_BITS) & ((1u << VTA_END_BITS) - 1);
    const uint64_t waited = s->word >> (VTA_TID_BITS + VTA_END_BITS), at = to_tsc(r, s->at);
    struct vta_coming coming = { .tid = tid, .waited = to_ticks(r, waited) };
    struct vtg_stretch stretch;
    take_wake(r, s->wake, &coming);
    if (end == VTA_RESUME && tid == VTA_NOBODY) {
        vta_line_lose(line, (uint32_t)s->at);
        return;
    }
    if (end == VTA_RESUME) {
        vta_line_resume(line, at, &coming);
        return;
    }
    const uint32_t prev = line->who.tid;
    if (vta_line_switch(line, at, (enum vtg_task_end)end, &coming, &stretch))
        vta_tell(out, cpu, &line->lost, &stretch);
    if (end == VTG_TASK_EXITED)
        vta_who_remove(&out->whos, prev);
}

/* What the CPU will put into its ring with the next event; taken twice, it is nothing the second time. */
static void take_hit_end(struct reader *r, struct vta_out *out, uint32_t cpu)
{
    struct cpu *c = &r->cpus[cpu];
    const struct vta_coming back = { .tid = c->hit_tid, .wake = VTG_WAKE_NONE };
    struct vtg_stretch stretch;
    if (c->hit_end && vta_line_switch(&c->line, to_tsc(r, c->hit_end), VTG_TASK_PREEMPTED, &back, &stretch))
        vta_tell(out, cpu, &c->line.lost, &stretch);
}

static void take_switches(struct reader *r, struct vta_out *out, uint32_t cpu)
{
    struct cpu *c = &r->cpus[cpu];
    struct vtg_stretch so_far;
    const struct vta_switch *ring = r->switches + (size_t)cpu * r->ring_size;
    volatile uint64_t *tail = (volatile uint64_t *)&r->shared[cpu].tail;
    for (uint64_t at = *tail; at != c->head; at++)
        take_switch(r, out, cpu, &ring[at & (r->ring_size - 1)]);
    atomic_thread_fence(memory_order_release);
    *tail = c->head;
    if (c->quiet)
        take_hit_end(r, out, cpu);
    if (c->quiet && vta_line_cut(&c->line, to_tsc(r, c->at), &so_far))
        vta_tell(out, cpu, &c->line.lost, &so_far);
}

static void next_span(struct reader *r)
{
    if (!r->stamp_ns)
        return;
    const struct vta_span before = r->span;
    r->span.before = before.after;
    r->span.after = vta_pair_read(CLOCK_MONOTONIC);
    const uint64_t bound = vta_span_bound(&r->span, &before);
    if (bound > r->bound)
        r->bound = bound;
}

/*
 * The rings' heads first, the names then: whoever is in a ring up to its head was born
 * before, and is told.
 */
static void bpf_drain(void *state, struct vta_out *out)
{
    struct reader *r = state;
    ring_empty(&r->bell);
    follow_cpus(r);
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        look(r, cpu);
    next_span(r);
    take_names(r, &out->whos);
    for (uint32_t cpu = 0; cpu < r->nr_cpus; cpu++)
        take_switches(r, out, cpu);
}

static int bpf_fd(const void *state)
{
    const struct reader *r = state;
    return r->skel->maps.bell.map_fd;
}

static uint64_t bpf_bound(const void *state)
{
    const struct reader *r = state;
    return r->bound;
}

const struct vta_source vta_source_bpf = { .name = "bpf",
                                           .source = VTG_TASKS_BPF,
                                           .open = bpf_open,
                                           .fd = bpf_fd,
                                           .drain = bpf_drain,
                                           .bound = bpf_bound,
                                           .close = bpf_close };

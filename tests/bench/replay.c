/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-replay record FILE VCPUS CPUS SECONDS [RATE]
 *     the recorder, its roster and the store as they are, on a synthetic ledger: VCPUS
 *     vCPUs take turns on CPUS CPUs, RATE (1 000 000) slices a second, in real time
 * bench-replay view FILE
 *     what vtop does with it: feeds the correlator, then a snapshot for every second
 *
 * Prints lines "key value". Exits 1 if anything is lost, or a book doesn't balance.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collector/hostinfo.h"
#include "collector/recorder.h"
#include "correlator/feed.h"

enum { TICKS_PER_SECOND = 2, DRAINS_PER_TICK = 20, VCPUS_PER_VM = 4, MAX_CPUS = 4096 };

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void must(int r, const struct vt_err *err)
{
    if (r < 0) {
        fprintf(stderr, "bench-replay: %s (%d)\n", err->text, r);
        exit(1);
    }
}

static uint64_t rss_kib(void)
{
    struct vt_observer o = { 0 };

    vt_observer_read(&o);
    return o.rss_bytes / 1024;
}

static uint64_t bytes_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : (uint64_t)st.st_size;
}

/* ---- a ledger without a kernel: what probes.h promises ---- */

struct vt_probes {
    struct vt_slot slots[VT_MAX_SLOTS];
    uint32_t vcpus, cpus;
    uint64_t clock[MAX_CPUS]; /* by CPU: where its time has come to */
    uint32_t turn[MAX_CPUS];  /* whose turn is next there */
    uint64_t mean_ns;         /* of a stretch on CPU */
    uint64_t random;
    struct told {
        uint32_t slot;
        struct vt_slice slice;
    } * ring;
    size_t waiting, room;
    uint64_t made;
};

static uint64_t next_random(struct vt_probes *p, uint64_t below)
{
    uint64_t z = (p->random += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

/* Switched out at t: pre-empted, or two times of five halted. */
static void switch_out(struct vt_probes *p, struct vt_slot *s, uint64_t t)
{
    const bool halts = next_random(p, 5) < 2;
    const uint64_t seq = s->open.seq + 1;
    const uint16_t cpu = s->open.cpu;

    s->last = t;
    s->sched = halts ? VT_SCHED_OFF : VT_SCHED_WAITING;
    s->state = halts ? VT_HALTED : VT_PREEMPTED;
    s->open = (struct vt_slice){ .seq = seq, .t_out = t, .t_wake = t, .t_in = t, .cpu = cpu };
    s->open.off_state = halts ? VT_HALTED : VT_BLOCKED;
    s->open.wait_state = halts ? VT_WAKING : VT_PREEMPTED;
}

/* Switched in at t_in for a while: the slice that the kernel would have sent at its end. */
static uint64_t run_once(struct vt_probes *p, struct vt_slot *s, uint64_t t_in)
{
    struct vt_slice *o = &s->open;
    const uint64_t wait = next_random(p, 20000), run = p->mean_ns / 2 + next_random(p, p->mean_ns);

    o->t_in = t_in;
    if (s->sched == VT_SCHED_OFF)
        o->t_wake = t_in - o->t_out > wait ? t_in - wait : o->t_out;
    o->on_cpu[VT_ON_KVM] = 1500 + next_random(p, 3000);
    o->on_cpu[VT_ON_VMM] = next_random(p, 8) ? 0 : 7000;
    o->on_cpu[VT_ON_GUEST] = run - o->on_cpu[VT_ON_KVM] - o->on_cpu[VT_ON_VMM];
    o->t_end = t_in + run;
    o->exits = 1 + (uint32_t)next_random(p, 30);
    o->user_exits = o->on_cpu[VT_ON_VMM] ? 1 : 0;
    s->ns[o->off_state] += o->t_wake - o->t_out;
    s->ns[o->wait_state] += o->t_in - o->t_wake;
    s->ns[VT_GUEST] += o->on_cpu[VT_ON_GUEST];
    s->ns[VT_KVM] += o->on_cpu[VT_ON_KVM];
    s->ns[VT_VMM] += o->on_cpu[VT_ON_VMM];
    s->switches++;
    s->exits += o->exits;
    s->user_exits += o->user_exits;
    return o->t_end;
}

/* The ring takes n more slices: a round of all CPUs after the other, so that time goes on everywhere. */
static void make_slices(struct vt_probes *p, size_t n)
{
    if (n > p->room) {
        free(p->ring);
        p->ring = malloc(n * sizeof(*p->ring));
        if (!p->ring)
            exit(1);
        p->room = n;
    }
    for (p->waiting = 0; p->waiting < n; p->made++) {
        const uint32_t cpu = (uint32_t)(p->made % p->cpus), of_cpu = p->vcpus / p->cpus;
        const uint32_t slot = cpu * of_cpu + p->turn[cpu]++ % of_cpu;
        struct vt_slot *s = &p->slots[slot];
        struct told *r = &p->ring[p->waiting++];

        p->clock[cpu] = run_once(p, s, p->clock[cpu] + 1200); /* the switch itself */
        r->slot = slot;
        r->slice = s->open;
        switch_out(p, s, p->clock[cpu]);
    }
}

static struct vt_probes *make_probes(uint32_t vcpus, uint32_t cpus, uint64_t rate)
{
    struct vt_probes *p = calloc(1, sizeof(*p));
    const uint64_t begin = now_ns(CLOCK_MONOTONIC) + VT_NSEC_PER_SEC / 10; /* once it is recorded */

    if (!p)
        exit(1);
    p->vcpus = vcpus;
    p->cpus = cpus;
    p->mean_ns = VT_NSEC_PER_SEC * cpus / rate - 1200;
    for (uint32_t i = 0; i < cpus; i++)
        p->clock[i] = begin;
    for (uint32_t i = 0; i < vcpus; i++) {
        struct vt_slot *s = &p->slots[i];
        /* our own thread: what reading its schedstat costs is part of a tick */
        s->generation = 1;
        s->tid = s->tgid = (uint32_t)getpid();
        s->vcpu_id = i % VCPUS_PER_VM;
        s->born = begin;
        s->start_time = begin;
        s->vm_start_time = VT_NSEC_PER_SEC * (1 + i / VCPUS_PER_VM); /* tells the VMs apart */
        snprintf(s->comm, sizeof(s->comm), "vm%u", i / VCPUS_PER_VM);
        s->open.seq = UINT64_MAX;
        s->open.cpu = (uint16_t)(i / (vcpus / cpus));
        switch_out(p, s, begin);
    }
    return p;
}

uint32_t vt_probes_off(const struct vt_probes *p)
{
    (void)p;
    return 0;
}

bool vt_probes_ledger_only(const struct vt_probes *p)
{
    (void)p;
    return false;
}

int vt_probes_find_helpers(struct vt_probes *p, struct vt_err *err)
{
    (void)p;
    (void)err;
    return 0;
}

bool vt_probes_split(const struct vt_probes *p)
{
    (void)p;
    return true;
}

uint32_t vt_probes_slots(const struct vt_probes *p)
{
    return p->vcpus;
}

uint32_t vt_probes_generation(const struct vt_probes *p, uint32_t slot)
{
    return p->slots[slot].generation;
}

bool vt_probes_read(const struct vt_probes *p, uint32_t slot, struct vt_slot *ret)
{
    memcpy(ret, &p->slots[slot], sizeof(*ret));
    return true;
}

bool vt_probes_exits(const struct vt_probes *p, uint32_t slot, uint32_t index, struct vt_exit_sum *ret)
{
    (void)p;
    (void)slot;
    (void)index;
    memset(ret, 0, sizeof(*ret));
    return true;
}

bool vt_probes_addresses_on(const struct vt_probes *p)
{
    (void)p;
    return false;
}

int vt_probes_addresses(struct vt_probes *p, const struct vt_address **ret, struct vt_err *err)
{
    (void)p;
    (void)ret;
    (void)err;
    return 0;
}

void vt_probes_forget_address(const struct vt_probes *p, const struct vt_address_key *key)
{
    (void)p;
    (void)key;
}

int vt_address_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct vt_address_key));
}

void vt_probes_tell_occupants(const struct vt_probes *p)
{
    (void)p;
}

int vt_probes_release(struct vt_probes *p, uint32_t slot)
{
    (void)p;
    (void)slot;
    return 0;
}

int vt_probes_drain(struct vt_probes *p, const struct vt_cell_sinks *sinks)
{
    int r = 0;

    for (size_t i = 0; i < p->waiting && r >= 0; i++)
        r = sinks->slice(sinks->context, p->ring[i].slot, 1, &p->ring[i].slice);
    p->waiting = 0;
    return r < 0 ? r : 0;
}

void vt_probes_lost(const struct vt_probes *p, uint64_t ret_lost[VT_NR_LOST_REASONS])
{
    (void)p;
    memset(ret_lost, 0, VT_NR_LOST_REASONS * sizeof(*ret_lost));
}

void vt_probes_cost(const struct vt_probes *p, uint64_t *ret_ns, uint64_t *ret_runs)
{
    (void)p;
    *ret_ns = *ret_runs = 0;
}

int vt_probes_time(const struct vt_probes *p)
{
    (void)p;
    return -1;
}

uint32_t vt_probes_elsewhere_cpus(const struct vt_probes *p)
{
    (void)p;
    return 0;
}

bool vt_probes_tell_outer_steal(const struct vt_probes *p)
{
    (void)p;
    return false;
}

const struct vt_kvm_stat_list *vt_probes_kvm_stats(const struct vt_probes *p)
{
    static const struct vt_kvm_stat_list none;
    (void)p;
    return &none;
}

struct vt_kvm_look vt_probes_kvm_look(struct vt_probes *p, uint32_t slot, const struct vt_slot *s)
{
    (void)p;
    (void)slot;
    (void)s;
    return (struct vt_kvm_look){ 0 };
}

int vt_probes_want(struct vt_probes *p, const uint32_t *tids, const struct vt_wanted *wanted, size_t n,
                   struct vt_err *err)
{
    (void)p;
    (void)tids;
    (void)wanted;
    (void)n;
    (void)err;
    return 0;
}

int vt_probes_cgroup(const struct vt_probes *p, uint64_t id, struct vt_err *err)
{
    (void)p;
    (void)id;
    (void)err;
    return 0;
}

bool vt_probes_next_exec(const struct vt_probes *p, uint32_t *ret_tgid)
{
    (void)p;
    (void)ret_tgid;
    return false;
}

/* ---- recording ---- */

/* Time that the code under test took, the generator's left out. */
struct bill {
    uint64_t cpu, wall, since_cpu, since_wall;
};

static void begin_bill(struct bill *b)
{
    b->since_wall = now_ns(CLOCK_MONOTONIC);
    b->since_cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void end_bill(struct bill *b)
{
    b->cpu += now_ns(CLOCK_PROCESS_CPUTIME_ID) - b->since_cpu;
    b->wall += now_ns(CLOCK_MONOTONIC) - b->since_wall;
}

static double rate_of(uint64_t n, uint64_t ns)
{
    return ns ? (double)n * 1e9 / (double)ns : 0;
}

/* Not before its time. Returns how late it is. */
static uint64_t wait_until(uint64_t at)
{
    const struct timespec t = { (time_t)(at / VT_NSEC_PER_SEC), (long)(at % VT_NSEC_PER_SEC) };
    const uint64_t now = now_ns(CLOCK_MONOTONIC);

    if (now >= at)
        return now - at;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    return 0;
}

/* Returns how late the recorder was with it. */
static uint64_t replay_second(struct vt_probes *p, struct vt_recorder *r, uint64_t rate, struct bill *drain,
                              struct bill *tick)
{
    struct vt_err err = { "" };
    uint64_t late = 0;

    for (int t = 0; t < TICKS_PER_SECOND; t++) {
        for (int d = 0; d < DRAINS_PER_TICK; d++) {
            make_slices(p, rate / TICKS_PER_SECOND / DRAINS_PER_TICK);
            late = wait_until(p->clock[0]);
            begin_bill(drain);
            must(vt_recorder_drain(r, &err), &err);
            end_bill(drain);
        }
        begin_bill(tick);
        must(vt_recorder_tick(r, 0, &err), &err);
        end_bill(tick);
    }
    return late;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* "key median", and what it ranges over */
static void print_spread(const char *key, double *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    printf("%s %.3f\n%s-low %.3f\n%s-high %.3f\n", key, values[n / 2], key, values[0], key, values[n - 1]);
}

/* A tick in which nothing happened but that every slot is read and written: ms of CPU. */
static void measure_ticks(struct vt_recorder *r)
{
    double ms[15];
    struct vt_err err = { "" };

    for (size_t i = 0; i < sizeof(ms) / sizeof(*ms); i++) {
        struct bill tick = { 0 };
        begin_bill(&tick);
        must(vt_recorder_tick(r, 0, &err), &err);
        end_bill(&tick);
        ms[i] = (double)tick.cpu / 1e6;
    }
    print_spread("tick-ms", ms, sizeof(ms) / sizeof(*ms));
}

static int record(const char *path, uint32_t vcpus, uint32_t cpus, uint64_t seconds, uint64_t rate)
{
    struct vt_probes *p = make_probes(vcpus, cpus, rate);
    struct vt_store *store = NULL;
    struct vt_err err = { "" };
    struct bill drain = { 0 }, tick = { 0 };
    uint64_t warm = 0, slices = 0, bytes = 0, late = 0;

    must(vt_store_create(path, true, &store, &err), &err);
    struct vt_roster *roster = vt_roster_new(store);
    struct vt_recorder *r = roster ? vt_recorder_new(p, store, roster) : NULL;
    if (!r)
        return 1;
    must(vt_recorder_begin(r, NULL, &err), &err);
    for (uint64_t s = 0; s < seconds; s++) {
        late = replay_second(p, r, rate, &drain, &tick);
        if (s == seconds / 3)
            warm = rss_kib();
    }
    const uint64_t end = rss_kib(), made = p->made;
    printf("record-rate %.0f\n", rate_of(made, drain.cpu + tick.cpu));
    printf("record-rate-elapsed %.0f\n", rate_of(made, drain.wall + tick.wall));
    printf("record-late-ms %.1f\n", (double)late / 1e6);
    printf("drain-ns %.1f\ncommit-ns %.1f\n", (double)drain.cpu / (double)made,
           (double)tick.cpu / (double)made);
    measure_ticks(r);
    must(vt_recorder_end(r, 0, &err), &err);
    must(vt_store_slice_size(store, &slices, &bytes, &err), &err);
    vt_recorder_free(r);
    vt_roster_free(roster);
    vt_store_close(store);
    printf("record-lost %" PRIu64 "\nrecord-rss-kib %" PRIu64 "\n", made - slices, end);
    printf("record-growth-kib %" PRId64 "\n", (int64_t)(end - warm));
    printf("record-bytes %.2f\nfile-bytes %.2f\n", (double)bytes / (double)made,
           (double)bytes_of(path) / (double)made);
    free(p->ring);
    free(p);
    return made != slices;
}

/* ---- viewing ---- */

struct count {
    uint64_t slices;
};

static int count_slices(void *context, int64_t vcpu, const struct vt_slice *slices, size_t n)
{
    struct count *c = context;

    (void)vcpu;
    (void)slices;
    c->slices += n;
    return 0;
}

static int unbalanced(const struct vt_snapshot *s)
{
    int n = 0;

    for (size_t g = 0; g < s->nr_guests; g++)
        for (size_t v = 0; v < s->guests[g].nr_vcpus; v++)
            n += s->guests[g].vcpus[v].residual_ns || s->guests[g].vcpus[v].ledger_residual_ns;
    return n;
}

/* A snapshot for every second, as vtop asks for; then one of all. */
static int look(const struct vt_correlator *c)
{
    double ms[64];
    size_t n = 0;
    int bad = 0;
    struct vt_err err = { "" };
    const struct vt_window all = vt_correlator_extent(c);

    for (uint64_t from = all.from.v; from + VT_NSEC_PER_SEC <= all.to.v && n < 64; from += VT_NSEC_PER_SEC) {
        const struct vt_window w = { { from }, { from + VT_NSEC_PER_SEC } };
        const uint64_t start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        struct vt_snapshot *s = vt_correlate(c, &w, &err);
        ms[n++] = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / 1e6;
        must(s ? 0 : -1, &err);
        bad += unbalanced(s);
        vt_snapshot_free(s);
    }
    if (n)
        print_spread("refresh-ms", ms, n);
    const uint64_t start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    struct vt_snapshot *s = vt_correlate(c, NULL, &err);
    must(s ? 0 : -1, &err);
    printf("report-ms %.1f\n", (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / 1e6);
    bad += unbalanced(s);
    vt_snapshot_free(s);
    return bad;
}

static int view(const char *path)
{
    struct count count = { 0 };
    const struct vt_store_reader counter = { .context = &count, .slices = count_slices };
    struct vt_store_cursor fed = { 0 }, counted = { 0 };
    struct vt_store *store = NULL;
    struct vt_err err = { "" };
    struct vt_correlator *c = vt_correlator_new();
    uint64_t before, start;

    must(vt_store_open(path, &store, &err), &err);
    start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    must(vt_store_read(store, &counted, &counter, &err), &err);
    printf("read-rate %.0f\n", rate_of(count.slices, now_ns(CLOCK_PROCESS_CPUTIME_ID) - start));
    before = rss_kib();
    start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    must(vt_feed(c, store, &fed, &err), &err);
    printf("feed-rate %.0f\n", rate_of(count.slices, now_ns(CLOCK_PROCESS_CPUTIME_ID) - start));
    printf("view-bytes %.2f\n", (double)(rss_kib() - before) * 1024 / (double)count.slices);
    const int bad = look(c);
    printf("view-rss-kib %" PRIu64 "\nview-unbalanced %d\n", rss_kib(), bad);
    vt_correlator_free(c);
    vt_store_close(store);
    return bad != 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "view") == 0)
        return view(argv[2]);
    const uint32_t vcpus = argc > 3 ? (uint32_t)atoi(argv[3]) : 0,
                   cpus = argc > 4 ? (uint32_t)atoi(argv[4]) : 0;
    if (argc < 6 || strcmp(argv[1], "record") != 0 || !cpus || cpus > MAX_CPUS || vcpus < cpus ||
        vcpus > VT_MAX_SLOTS) {
        fprintf(stderr, "usage: bench-replay record FILE VCPUS CPUS SECONDS [RATE] | view FILE\n");
        return 2;
    }
    return record(argv[2], vcpus / cpus * cpus, cpus, (uint64_t)atoi(argv[5]),
                  argc > 6 ? (uint64_t)atoi(argv[6]) : 1000000);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <perf/evlist.h>
#include <perf/evsel.h>
#include <perf/threadmap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "hostinfo.h"

/* perf_event_open(2). The cache event is a read miss of the last level; where there is none it is ENOENT. */
static const struct {
    uint32_t type;
    uint64_t config;
} kernel_events[VT_NR_COUNTERS] = {
    [VT_COUNTER_CYCLES] = { PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES },
    [VT_COUNTER_INSTRUCTIONS] = { PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS },
    [VT_COUNTER_REF_CYCLES] = { PERF_TYPE_HARDWARE, PERF_COUNT_HW_REF_CPU_CYCLES },
    [VT_COUNTER_LLC_MISSES] = { PERF_TYPE_HW_CACHE, PERF_COUNT_HW_CACHE_LL |
                                                        PERF_COUNT_HW_CACHE_OP_READ << 8 |
                                                        PERF_COUNT_HW_CACHE_RESULT_MISS << 16 },
    [VT_COUNTER_TASK_CLOCK] = { PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK },
    [VT_COUNTER_CONTEXT_SWITCHES] = { PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES },
    [VT_COUNTER_CPU_MIGRATIONS] = { PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS },
    [VT_COUNTER_PAGE_FAULTS] = { PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS },
};

/* Descriptors left to the rest of the collector: guests' channels, the store, the probes. */
enum { RESERVED_FILES = 512 };
#define TRIAL_NS UINT64_C(100000)
/* A round takes some microseconds, and an interrupt to the CPU where the thread runs. */
#define ROUND_NS UINT64_C(100000)

/* Events that are on the PMU together, or not at all. */
struct group {
    enum vt_counter_side side;
    unsigned nr;
    enum vt_counter events[VT_NR_COUNTERS];
};

struct value {
    uint64_t count, enabled, running;
};

struct open_event {
    enum vt_counter event;
    enum vt_counter_side side;
    struct perf_evsel *evsel; /* its list's */
    struct value last;
};

/* The counters of one life of a vCPU. */
struct life {
    uint32_t generation;
    int64_t vcpu;
    host_ns read_at, written_at; /* the last reading, and the last that is in the store; 0: none */
    bool off_cpu;                /* then, by the ledger */
    uint64_t switches;
    unsigned nr, nr_lists;
    struct open_event events[VT_MAX_TRIALS];
    struct perf_evlist *lists[VT_MAX_TRIALS];
    unsigned nr_failed;
    struct vt_counter_trial failed[VT_MAX_TRIALS];
};

struct vt_counters {
    struct vt_store *store;
    struct vt_counter_trial trials[VT_MAX_TRIALS];
    size_t nr_trials;
    struct group groups[VT_MAX_TRIALS];
    unsigned nr_groups, nr_events;
    struct life **lives; /* VT_MAX_SLOTS */
    uint64_t files, most_files;
    struct rlimit limit; /* as it was */
    bool raised;
    unsigned short_of_files;
};

/* ---- what is wanted ---- */

static uint32_t wanted_by(const char *word)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } sets[] = { { "all", VT_COUNTERS_ALL },
                 { "hardware", VT_COUNTERS_HARDWARE },
                 { "software", VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE } };

    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
        if (strcmp(word, sets[i].name) == 0)
            return sets[i].bits;
    for (unsigned i = 0; i < VT_NR_COUNTERS; i++)
        if (strcmp(word, vt_counters[i].name) == 0)
            return 1u << i;
    return 0;
}

int vt_counters_parse(const char *list, uint32_t *ret_wanted, struct vt_err *err)
{
    char copy[256], known[256] = "", *save = NULL;
    uint32_t wanted = 0;

    if (strcmp(list, "none") == 0) {
        *ret_wanted = 0;
        return 0;
    }
    for (unsigned i = 0; i < VT_NR_COUNTERS; i++) {
        const size_t n = strlen(known);
        snprintf(known + n, sizeof(known) - n, "%s, ", vt_counters[i].name);
    }
    snprintf(copy, sizeof(copy), "%s", list);
    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        const uint32_t bits = wanted_by(word);
        if (!bits)
            return vt_fail(err, EINVAL, "--counters %s: '%s' is none of %sall, hardware, software", list,
                           word, known);
        wanted |= bits;
    }
    if (!wanted)
        return vt_fail(err, EINVAL, "--counters '%s': name some of %sall, hardware, software, or none", list,
                       known);
    *ret_wanted = wanted;
    return 0;
}

/* ---- libperf ---- */

/*
 * A group counts from the moment its leader is enabled. No exclude_kernel: it
 * would take the software events away, which happen in the kernel.
 */
static struct perf_event_attr attr_of(enum vt_counter event, enum vt_counter_side side, bool leads)
{
    return (struct perf_event_attr){
        .type = kernel_events[event].type,
        .size = sizeof(struct perf_event_attr),
        .config = kernel_events[event].config,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
        .disabled = leads,
        .exclude_host = side == VT_SIDE_GUEST,
        .exclude_guest = side == VT_SIDE_HOST,
    };
}

/*
 * tid 0: this thread. 0 or -errno; ret_evsels belong to the list.  Opened one by
 * one: perf_evlist__open() wants the thread map in each event, whose reference
 * nobody drops.
 */
static int open_list(const struct group *g, pid_t tid, struct perf_evlist **ret,
                     struct perf_evsel **ret_evsels)
{
    struct perf_thread_map *thread = perf_thread_map__new_dummy();
    struct perf_evlist *list = perf_evlist__new();
    int e = thread && list ? 0 : -ENOMEM;

    for (unsigned i = 0; i < g->nr && !e; i++) {
        struct perf_event_attr attr = attr_of(g->events[i], g->side, i == 0);
        ret_evsels[i] = perf_evsel__new(&attr);
        if (ret_evsels[i])
            perf_evlist__add(list, ret_evsels[i]);
        else
            e = -ENOMEM;
    }
    if (!e) {
        perf_thread_map__set_pid(thread, 0, tid);
        perf_evlist__set_leader(list);
    }
    for (unsigned i = 0; i < g->nr && !e; i++) /* the leader first; on any CPU */
        e = perf_evsel__open(ret_evsels[i], NULL, thread);
    if (!e)
        perf_evlist__enable(list);
    perf_thread_map__put(thread);
    if (e)
        perf_evlist__delete(list);
    else
        *ret = list;
    return e;
}

/*
 * libperf reads a group's leader only (tools/lib/perf/evsel.c), so members are
 * read one by one.  At the end of file, where the kernel gave the event up,
 * errno is not set.
 */
static int read_event(struct perf_evsel *evsel, struct value *ret)
{
    struct perf_counts_values v;

    errno = 0;
    const int e = perf_evsel__read(evsel, 0, 0, &v);
    if (e)
        return e;
    *ret = (struct value){ v.val, v.ena, v.run };
    return 0;
}

/* ---- trials ---- */

static bool must_count(enum vt_counter event, enum vt_counter_side side)
{
    return side != VT_SIDE_GUEST && (event == VT_COUNTER_CYCLES || event == VT_COUNTER_INSTRUCTIONS ||
                                     event == VT_COUNTER_REF_CYCLES || event == VT_COUNTER_TASK_CLOCK);
}

static int try_event(enum vt_counter event, enum vt_counter_side side)
{
    const struct group g = { .side = side, .nr = 1, .events = { event } };
    struct perf_evlist *list;
    struct perf_evsel *evsel;
    struct value v = { 0 };
    int e = open_list(&g, 0, &list, &evsel);

    if (e)
        return -e;
    const uint64_t end = vt_host_now().v + TRIAL_NS;
    while (vt_host_now().v < end)
        ;
    e = -read_event(evsel, &v);
    /* some virtual PMUs open all, and count nothing */
    if (!e && must_count(event, side) && !v.count)
        e = ENODATA;
    perf_evlist__delete(list);
    return e;
}

size_t vt_counters_try(uint32_t wanted, struct vt_counter_trial ret[VT_MAX_TRIALS])
{
    size_t n = 0;

    for (unsigned i = 0; i < VT_NR_COUNTERS; i++) {
        const enum vt_counter event = (enum vt_counter)i;
        if (!(wanted & 1u << i))
            continue;
        if (vt_counters[i].hardware) {
            const int host = try_event(event, VT_SIDE_HOST);
            const int guest = host == ENODATA ? ENODATA : try_event(event, VT_SIDE_GUEST);
            if (!host || !guest) {
                ret[n++] = (struct vt_counter_trial){ event, VT_SIDE_GUEST, guest };
                ret[n++] = (struct vt_counter_trial){ event, VT_SIDE_HOST, host };
                continue;
            }
        }
        ret[n++] = (struct vt_counter_trial){ event, VT_SIDE_BOTH, try_event(event, VT_SIDE_BOTH) };
    }
    return n;
}

const char *vt_counter_reason(int error, char ret[VT_COUNTER_REASON_LEN])
{
    const char *name = strerrorname_np(error);

    if (!error)
        ret[0] = 0;
    else if (error == ENODATA)
        snprintf(ret, VT_COUNTER_REASON_LEN, "it opens, and stands still");
    else
        snprintf(ret, VT_COUNTER_REASON_LEN, "%s: %s", name ? name : "?", strerror(error));
    return ret;
}

/* ---- the plan: which events go together ---- */

static void add_group(struct vt_counters *c, enum vt_counter_side side, uint32_t members)
{
    struct group g = { .side = side };

    for (size_t i = 0; i < c->nr_trials; i++)
        if (!c->trials[i].error && c->trials[i].side == side && members & 1u << c->trials[i].event)
            g.events[g.nr++] = c->trials[i].event;
    if (!g.nr)
        return;
    c->groups[c->nr_groups++] = g;
    c->nr_events += g.nr;
}

/*
 * What is divided by one another is counted together.  Reference cycles have
 * but one counter on many CPUs: they must not keep the rest off the PMU.
 */
static void make_groups(struct vt_counters *c)
{
    const uint32_t ref = 1u << VT_COUNTER_REF_CYCLES;

    for (unsigned side = 0; side < VT_NR_SIDES; side++) {
        add_group(c, (enum vt_counter_side)side, VT_COUNTERS_HARDWARE & ~ref);
        add_group(c, (enum vt_counter_side)side, ref);
        add_group(c, (enum vt_counter_side)side, VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE);
    }
}

/* The hard limit too, where we may. */
static void raise_limit(struct vt_counters *c)
{
    const rlim_t want = (rlim_t)VT_MAX_SLOTS * c->nr_events + RESERVED_FILES;
    struct rlimit now;

    if (getrlimit(RLIMIT_NOFILE, &c->limit))
        return;
    now = c->limit;
    if (now.rlim_cur < want) {
        const struct rlimit most = { want, now.rlim_max > want ? now.rlim_max : want };
        const struct rlimit soft = { now.rlim_max, now.rlim_max };
        c->raised = !setrlimit(RLIMIT_NOFILE, &most) || !setrlimit(RLIMIT_NOFILE, &soft);
        getrlimit(RLIMIT_NOFILE, &now);
    }
    c->most_files = now.rlim_cur > RESERVED_FILES ? now.rlim_cur - RESERVED_FILES : 0;
}

static int note(struct vt_counters *c, int64_t vcpu, enum vt_counter event, enum vt_counter_side side,
                int error, struct vt_err *err)
{
    struct vt_counter_event row = { vcpu, vt_host_now(), event, side, (uint32_t)error, "" };

    _Static_assert(sizeof(row.reason) == VT_COUNTER_REASON_LEN, "room for the reason");
    vt_counter_reason(error, row.reason);
    return vt_store_put_counter_event(c->store, &row, err);
}

static int note_trials(struct vt_counters *c, struct vt_err *err)
{
    int e = 0;

    for (size_t i = 0; i < c->nr_trials && !e; i++)
        e = note(c, 0, c->trials[i].event, c->trials[i].side, c->trials[i].error, err);
    return e;
}

int vt_counters_open_tried(const struct vt_counter_trial *trials, size_t n, struct vt_store *store,
                           struct vt_counters **ret, struct vt_err *err)
{
    struct vt_counters *c = calloc(1, sizeof(*c));
    int e;

    if (!c || !(c->lives = calloc(VT_MAX_SLOTS, sizeof(*c->lives)))) {
        free(c);
        return vt_fail(err, ENOMEM, "out of memory");
    }
    c->store = store;
    c->nr_trials = n;
    memcpy(c->trials, trials, n * sizeof(*trials));
    make_groups(c);
    if (c->nr_groups)
        raise_limit(c);
    e = note_trials(c, err);
    if (e)
        vt_counters_close(c);
    else
        *ret = c;
    return e;
}

int vt_counters_open(uint32_t wanted, struct vt_store *store, struct vt_counters **ret, struct vt_err *err)
{
    struct vt_counter_trial trials[VT_MAX_TRIALS];
    const size_t n = vt_counters_try(wanted, trials);

    return vt_counters_open_tried(trials, n, store, ret, err);
}

size_t vt_counters_trials(const struct vt_counters *c, const struct vt_counter_trial **ret)
{
    *ret = c->trials;
    return c->nr_trials;
}

/* ---- a life ---- */

static void close_life(struct vt_counters *c, struct life *life)
{
    if (!life)
        return;
    for (unsigned i = 0; i < life->nr_lists; i++)
        perf_evlist__delete(life->lists[i]);
    c->files -= life->nr;
    free(life);
}

/* 0 or -errno: then none of the group is open. */
static int open_group(struct vt_counters *c, struct life *life, const struct group *g, uint32_t tid)
{
    struct perf_evsel *evsels[VT_NR_COUNTERS];
    const int e = open_list(g, (pid_t)tid, &life->lists[life->nr_lists], evsels);

    if (e)
        return e;
    life->nr_lists++;
    for (unsigned i = 0; i < g->nr; i++)
        life->events[life->nr++] =
            (struct open_event){ .event = g->events[i], .side = g->side, .evsel = evsels[i] };
    c->files += g->nr;
    return 0;
}

/* A failure that every other event of this thread would have too. */
static bool is_hopeless(int e)
{
    return e == -ESRCH || e == -EMFILE || e == -ENFILE || e == -ENOMEM;
}

static void fails(struct life *life, enum vt_counter event, enum vt_counter_side side, int error)
{
    life->failed[life->nr_failed++] = (struct vt_counter_trial){ event, side, error };
}

/* A group that the PMU can't take as a whole is opened event by event. Returns a hopeless error, or 0. */
static int open_groups(struct vt_counters *c, struct life *life, uint32_t tid)
{
    for (unsigned i = 0; i < c->nr_groups; i++) {
        const struct group *g = &c->groups[i];
        const int e = open_group(c, life, g, tid);
        if (is_hopeless(e))
            return e;
        for (unsigned k = 0; e && k < g->nr; k++) {
            const struct group alone = { .side = g->side, .nr = 1, .events = { g->events[k] } };
            const int one = g->nr > 1 ? open_group(c, life, &alone, tid) : e;
            if (is_hopeless(one))
                return one;
            if (one)
                fails(life, g->events[k], g->side, -one);
        }
    }
    return 0;
}

/* None of its events. */
static void give_up(struct vt_counters *c, struct life *life, int error)
{
    for (unsigned i = 0; i < life->nr_lists; i++)
        perf_evlist__delete(life->lists[i]);
    c->files -= life->nr;
    life->nr = life->nr_lists = life->nr_failed = 0;
    c->short_of_files += error == EMFILE || error == ENFILE;
    for (unsigned i = 0; i < c->nr_groups; i++)
        for (unsigned k = 0; k < c->groups[i].nr; k++)
            fails(life, c->groups[i].events[k], c->groups[i].side, error);
}

static int note_failures(struct vt_counters *c, const struct life *life, struct vt_err *err)
{
    int e = 0;

    for (unsigned i = 0; i < life->nr_failed && !e; i++)
        e = note(c, life->vcpu, life->failed[i].event, life->failed[i].side, life->failed[i].error, err);
    return e;
}

/* The tid may be another thread's by now. */
static bool is_same_thread(const struct vt_slot *s)
{
    const uint64_t start = vt_thread_start(s->tid, s->tid); /* its process may not be its VM's */

    return start && vt_same_start(start, s->start_time);
}

/* A life that can't be counted is kept without events: it is not tried again. */
static int open_life(struct vt_counters *c, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
                     struct vt_err *err)
{
    struct life *life = calloc(1, sizeof(*life));
    int hopeless = -EMFILE;

    if (!life)
        return vt_fail(err, ENOMEM, "out of memory");
    life->generation = s->generation;
    life->vcpu = vcpu;
    c->lives[slot] = life;
    if (c->files + c->nr_events <= c->most_files)
        hopeless = open_groups(c, life, s->tid);
    if (!hopeless && !is_same_thread(s))
        hopeless = -ESRCH;
    if (hopeless)
        give_up(c, life, -hopeless);
    return note_failures(c, life, err);
}

static int write_round(struct vt_counters *c, struct life *life, struct vt_err *err)
{
    int e = 0;

    for (unsigned i = 0; i < life->nr && !e; i++) {
        const struct open_event *o = &life->events[i];
        const struct vt_counter_reading row = {
            .vcpu = life->vcpu,
            .at = life->read_at,
            .event = o->event,
            .side = o->side,
            .count = o->last.count,
            .enabled_ns = o->last.enabled,
            .running_ns = o->last.running,
        };
        e = vt_store_put_counter(c->store, &row, err);
    }
    life->written_at = life->read_at;
    return e;
}

/*
 * All events at one time, as nearly as may be: a round that was interrupted is
 * repeated.  Returns when it was read.
 */
static host_ns read_round(const struct life *life, struct value now[VT_MAX_TRIALS])
{
    host_ns before, after;
    int tries = 3;

    do {
        before = vt_host_now();
        for (unsigned i = 0; i < life->nr; i++) {
            const struct value *last = &life->events[i].last;
            /* what can't be read any more, or runs backwards, stays what it was */
            if (read_event(life->events[i].evsel, &now[i]) || now[i].count < last->count ||
                now[i].enabled < last->enabled || now[i].running < last->running)
                now[i] = *last;
        }
        after = vt_host_now();
    } while (--tries && after.v - before.v > ROUND_NS);
    return (host_ns){ before.v + (after.v - before.v) / 2 };
}

/* Only what has changed is written, and before it the end of the standstill. */
static int read_life(struct vt_counters *c, struct life *life, struct vt_err *err)
{
    struct value now[VT_MAX_TRIALS] = { 0 };
    const host_ns at = read_round(life, now);
    bool changed = !life->read_at.v;
    int e = 0;

    for (unsigned i = 0; i < life->nr; i++)
        changed |= memcmp(&now[i], &life->events[i].last, sizeof(now[i])) != 0;
    if (changed && life->written_at.v != life->read_at.v)
        e = write_round(c, life, err);
    for (unsigned i = 0; i < life->nr; i++)
        life->events[i].last = now[i];
    life->read_at = at;
    return changed && !e ? write_round(c, life, err) : e;
}

/*
 * A thread that has been off the CPU since its last reading has counted
 * nothing: that reading still holds at the ledger's last edge.  So an idle
 * vCPU costs no system call.
 */
static bool stood_still(struct life *life, const struct vt_slot *s)
{
    const bool off = s->sched == VT_SCHED_OFF || s->sched == VT_SCHED_WAITING;
    const bool still = off && life->off_cpu && life->switches == s->switches && life->read_at.v;

    life->off_cpu = off;
    life->switches = s->switches;
    if (still && s->last > life->read_at.v)
        life->read_at.v = s->last;
    return still;
}

int vt_counters_follow(struct vt_counters *c, uint32_t slot, const struct vt_slot *s, int64_t vcpu,
                       struct vt_err *err)
{
    const bool over = s->sched == VT_SCHED_GONE || s->moved_at;
    struct life *life = c->lives[slot];
    int e = 0;

    if (!c->nr_groups)
        return 0;
    if (life && life->generation != s->generation) { /* its last look was missed */
        e = life->vcpu ? read_life(c, life, err) : 0;
        close_life(c, life);
        life = c->lives[slot] = NULL;
    }
    if (!life && !over && !e)
        e = open_life(c, slot, s, vcpu, err);
    life = c->lives[slot];
    if (life && !life->vcpu && !e) { /* the first look into this recording */
        life->vcpu = vcpu;
        e = note_failures(c, life, err);
        if (life->read_at.v && !e)
            e = write_round(c, life, err);
    }
    if (life && life->nr && !stood_still(life, s) && !e)
        e = read_life(c, life, err); /* of a thread that ended: what it had counted */
    if (life && over) {
        close_life(c, life);
        c->lives[slot] = NULL;
    }
    return e;
}

int vt_counters_move(struct vt_counters *c, struct vt_store *store, struct vt_err *err)
{
    c->store = store;
    for (unsigned i = 0; i < VT_MAX_SLOTS; i++)
        if (c->lives[i])
            c->lives[i]->vcpu = 0; /* an id of the other recording */
    return note_trials(c, err);
}

unsigned vt_counters_short_of_files(const struct vt_counters *c)
{
    return c->short_of_files;
}

void vt_counters_close(struct vt_counters *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < VT_MAX_SLOTS; i++)
        close_life(c, c->lives[i]);
    if (c->raised)
        setrlimit(RLIMIT_NOFILE, &c->limit);
    free(c->lives);
    free(c);
}

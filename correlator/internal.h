/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the correlator keeps of a recording; private to this folder. */
#ifndef VT_CORRELATOR_INTERNAL_H
#define VT_CORRELATOR_INTERNAL_H

#include "correlator/clockmap.h"
#include "correlator/correlate.h"
#include "correlator/slicelog.h"
#include "correlator/tasklog.h"
#include "correlator/viewlog.h"

/** A stretch of an earlier slice that turned out to be polling. */
struct vt_poll {
    uint64_t from, to;
    enum vt_on_cpu was;
};

/** Who was no vCPU and had a CPU: each once, however often he had it. */
struct vt_occupant_id {
    uint32_t kind, tgid; /* enum vt_occupant */
    char comm[VT_COMM_LEN];
};

struct vt_occupants {
    struct vt_occupant_id *id;
    size_t nr_id, room_id;
    uint32_t *table; /* hash: 1 + index, 0: free; a power of two, never more than half full */
    size_t slots;
};

struct vt_stretch { /* of an occupant on a CPU */
    uint64_t from, to;
    uint32_t cpu, who; /* into id[] */
};

/** Readings of a life's counters, in rounds of one `at`. */
struct vt_readings {
    struct vt_counter_reading *rows;
    size_t nr, room;
    size_t newest;          /* where the newest round begins */
    uint64_t round, stride; /* the newest's number; all others kept are multiples of stride */
    struct vt_counter_reading last[VT_NR_COUNTERS][VT_NR_SIDES];
};

/** Of this stretch so much was stolen from this host itself; before: of all earlier ones. */
struct vt_outer_stretch {
    uint64_t from, to, ns, before;
};

/** One life of one vCPU and all that was recorded of it. */
struct vt_life {
    struct vt_vcpu row;
    uint64_t start; /* ABSENT before */
    bool ended;     /* a slice said LAST: ABSENT after its t_end */
    struct vt_slicelog slices;
    struct vt_poll *polls; /* in the order of their ends */
    size_t nr_polls, room_polls;
    struct vt_checkpoint *checkpoints; /* by `at` */
    size_t nr_checkpoints, room_checkpoints;
    struct vt_vcpu_move *moves; /* by `at` */
    size_t nr_moves, room_moves;
    struct vt_outer_stretch *outer; /* in order, apart */
    size_t nr_outer, room_outer;
    struct vt_exit_row *exits; /* of one reason by `at` */
    size_t nr_exits, room_exits;
    struct vt_kvm_count *kvm_counts; /* of one stat by `at` */
    size_t nr_kvm_counts, room_kvm_counts;
    struct vt_exit_address *addresses; /* of one address by `at` */
    size_t nr_addresses, room_addresses;
    struct vt_tsc_epoch *epochs; /* by `at` */
    size_t nr_epochs, room_epochs;
    struct vt_readings readings;
};

/** A guest's clocks as they came: CLOCKS and MARK records. */
struct vt_sample {
    host_ns host;
    host_tsc host_tsc; /* 0: no trusted relay */
    struct vtg_clocks clocks;
};

struct vt_mark {
    struct vt_sample sample;
    uint32_t kind, id;
    char name[VTG_NAME_LEN];
};

struct vt_gap_sum {
    host_ns host;
    uint32_t vcpu;
    uint64_t threshold, count, sum;
};

struct vt_helper_log {
    struct vt_helper row;
    struct vt_helper_time *times; /* by `at`, but for the first */
    size_t nr_times, room_times;
    struct vt_window *waits; /* for a CPU: the longer ones, in order, apart */
    size_t nr_waits, room_waits;
};

/** One VM and what its guest said. */
struct vt_machine {
    struct vt_vm row;
    struct vtg_hello hello;
    bool has_hello;
    int64_t first_life, last_life; /* ids between which its vCPUs' are; 0: it has none */
    bool outlived;                 /* lives of it were forgotten: without others it isn't told of */
    struct vt_view_log said;       /* by an agent, of its system's clocks */
    struct vt_sample *samples;
    size_t nr_samples, room_samples;
    struct vt_mark *marks;
    size_t nr_marks, room_marks;
    uint64_t marks_dropped; /* the oldest: there were too many */
    struct vt_gap_sum *gaps;
    size_t nr_gaps, room_gaps;
    struct vt_task_log tasks;
};

struct vt_correlator {
    struct vt_host host;
    bool has_host;
    uint64_t forgotten;          /* nothing is told about time before */
    struct vt_machine *machines; /* by id */
    size_t nr_machines, room_machines;
    struct vt_life *lives; /* by id */
    size_t nr_lives, room_lives;
    struct vt_clock_pair *pairs; /* by tsc */
    size_t nr_pairs, room_pairs;
    uint64_t bad_pairs; /* went backwards: not used */
    struct vt_loss *losses;
    size_t nr_losses, room_losses;
    struct vt_observer *observers; /* by `at` */
    size_t nr_observers, room_observers;
    struct vt_helper_log *helpers; /* by id */
    size_t nr_helpers, room_helpers;
    struct vt_occupants occupants;
    struct vt_stretch *stretches; /* in order of arrival: of one CPU by time */
    size_t nr_stretches, room_stretches;
    struct vt_counter_event *counter_events;
    size_t nr_counter_events, room_counter_events;
    struct vt_kvm_stat *kvm_stats; /* the one of id n is at n - 1 */
    size_t nr_kvm_stats, room_kvm_stats;
    struct vt_cpu *topology; /* by cpu */
    size_t nr_topology, room_topology;
    bool has_siblings; /* a CPU of it has */
};

/** Makes room for one more element in *array. 0 or -ENOMEM. */
int vt_grow(void **array, size_t *room, size_t n, size_t size);

/** False: host.only asks for another VM, and this one is told of as a debtor only. */
bool vt_machine_shown(const struct vt_correlator *c, const struct vt_machine *m);

struct vt_life *vt_find_life(const struct vt_correlator *c, int64_t id);
const struct vt_machine *vt_find_machine(const struct vt_correlator *c, int64_t id);

/**
 * What `vtime import` took from a file comes as at the recording's end, without a host TSC: when the
 * host had it is not known, so that nothing follows from it.
 */
bool vt_is_imported(const struct vt_correlator *c, host_ns host, host_tsc relay);

/** The machine's lives, and others' among them, are lives[*ret_from] to lives[*ret_to - 1]; m may be NULL. */
void vt_lives_around(const struct vt_correlator *c, const struct vt_machine *m, size_t *ret_from,
                     size_t *ret_to);

/** The index of that occupant, who is added if he is new; comm is padded with zeros. 0 or -ENOMEM. */
int vt_occupants_add(struct vt_occupants *o, const struct vt_occupant_id *id, uint32_t *ret);
void vt_occupants_release(struct vt_occupants *o);

/** The earlier stretch that s says was polling: 1, 0 if it says nothing, -EUCLEAN if it can't be. */
int vt_poll_of(const struct vt_slice *s, struct vt_poll *ret);

/** Its thread ended, by a slice or by the newest checkpoint. */
bool vt_life_is_over(const struct vt_life *life);

/** How far the life's rows tell of it without a gap. */
uint64_t vt_life_known_to(const struct vt_life *life);

static inline uint64_t vt_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/** So many looks at what a guest told are paid for, as far as the budget goes. */
static inline void vt_spend(uint64_t *budget, uint64_t looks)
{
    *budget -= vt_min(*budget, looks);
}

/* No more than there is room for. */
static inline uint64_t vt_sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t vt_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- walk.c: the one place where rows become states ---- */

#define VT_NO_CPU UINT32_MAX

extern const enum vt_state vt_on_cpu_state[VT_NR_ON_CPU];

/** What was stolen from this host itself, of CPUs that a vCPU had: between the two. */
struct vt_outer_range {
    uint64_t least, most;
};

/**
 * One stretch of a vCPU's time, clipped to the window.  Pieces come in order
 * and cover the window without gap or overlap.  On CPU, the stretch's states
 * are split[], which need not add up to it: then the recording contradicts
 * itself, and the residual must show it.
 */
struct vt_piece {
    uint64_t from, to;
    bool on_cpu;
    enum vt_state state;          /* off the CPU; on it, the state that lasted longest */
    uint32_t cpu;                 /* on it; waiting: where it then ran; VT_NO_CPU if not known */
    bool resumed;                 /* on CPU, begins here after PREEMPTED */
    bool wake_idle;               /* WAKING onto an idle CPU: wake latency */
    uint64_t split[VT_NR_ON_CPU]; /* if on_cpu */
    uint64_t bound[VT_NR_ON_CPU]; /* of split[]: what pro-rating at an edge may have misplaced */
    uint64_t class_bound[VT_NR_CLASSES];
    struct vt_outer_range outer;  /* if on_cpu */
    const struct vt_slice *slice; /* it is a part of, NULL: none */
    const struct vt_life *life;   /* of a composed vCPU: the member whose piece it is; else NULL */
};

typedef void vt_piece_visitor(void *context, const struct vt_piece *piece);

struct vt_walk_counts {
    uint64_t slices;     /* that end in the window, the open one included */
    uint64_t violations; /* slices refused: backwards, overlapping, or impossible */
    uint64_t switches, migrations, exits, user_exits, halts;
};

/** While the life was on a CPU in from..to; see struct vt_outer_steal. */
struct vt_outer_range vt_outer_in(const struct vt_life *life, uint64_t from, uint64_t to);
void vt_outer_forget(struct vt_life *life, uint64_t before);

/** Visits the pieces in window of the life's vCPU: see compose.c for what may be one. counts may be NULL. */
void vt_walk(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
             vt_piece_visitor *visitor, void *context, struct vt_walk_counts *counts);

/** Consecutive stretches of `width` from `origin` on; width 0: all is one. */
struct vt_intervals {
    uint64_t origin, width;
};

/** The end of the interval that holds `at`, or `to` if that comes first; origin <= at < to. */
uint64_t vt_interval_end(const struct vt_intervals *intervals, uint64_t at, uint64_t to);

/**
 * As vt_walk(); each piece lies in one interval, and is what a walk of that
 * interval alone would show.  Pieces of a cut add up to the piece that was cut.
 */
void vt_walk_intervals(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                       struct vt_intervals intervals, vt_piece_visitor *visitor, void *context);

/** Visits the life's own pieces, whatever it is a part of. */
void vt_walk_member(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                    vt_piece_visitor *visitor, void *context, struct vt_walk_counts *counts);

/** The same step by step; not of a recording without slices. NULL: out of memory. */
struct vt_walker *vt_walker_new(const struct vt_correlator *c, const struct vt_life *life,
                                struct vt_window window, struct vt_intervals intervals,
                                vt_piece_visitor *visitor, void *context);
/** Visits some pieces more, perhaps none; false: that was all. A piece's slice lasts until the next step. */
bool vt_walker_step(struct vt_walker *w);
const struct vt_walk_counts *vt_walker_counts(const struct vt_walker *w);

/** What of a piece lies in [from, to), which is in it; cuts side by side add up. */
void vt_cut_piece(const struct vt_piece *whole, uint64_t from, uint64_t to, struct vt_piece *ret);

/** The same from checkpoints only: a recording without slices. */
void vt_walk_ledger(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                    struct vt_intervals intervals, vt_piece_visitor *visitor, void *context,
                    struct vt_walk_counts *counts);

/**
 * What of each part lies in [from, to) of a stretch `whole` long (not 0), if each is
 * spread evenly over what those before it leave.  Shares of cuts side by side add
 * up to the share of both, and the shares of a cut to its length; if the parts do
 * not add up to `whole`, they miss it by at least 1 in every cut.
 */
void vt_share(const uint64_t part[], size_t n, uint64_t from, uint64_t to, uint64_t whole, uint64_t ret[]);

/** Adds what a slice holds up to `last` (its end: UINT64_MAX) to ns[], as the kernel's integrals would. */
void vt_slice_sum(const struct vt_slice *s, uint64_t last, uint64_t ns[VT_NR_STATES]);

/* ---- compose.c: vCPUs that several threads make up ---- */

/** Is the life a part of a vCPU that several make up? */
bool vt_is_composed(const struct vt_correlator *c, const struct vt_life *life);
/** Of a composed vCPU: is the member the guest's kernel (the others run its programs)? */
bool vt_is_guest_kernel(const struct vt_machine *m, const struct vt_life *member);
/** Does the life stand for a vCPU: of a composed one, only one of its members does. */
bool vt_is_vcpu(const struct vt_correlator *c, const struct vt_life *life);
/** The same, and it is one of this machine's. */
bool vt_is_vcpu_of(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_life *life);
/** The next member, by id, of the vCPU that `life` is of, itself included; NULL: none after `last` (NULL: the
 * first). */
const struct vt_life *vt_next_member(const struct vt_correlator *c, const struct vt_life *life,
                                     const struct vt_life *last);
/** As vt_walk() and vt_walk_intervals(), of the vCPU that the life is a part of. */
void vt_walk_composed(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                      struct vt_intervals intervals, vt_piece_visitor *visitor, void *context,
                      struct vt_walk_counts *counts);

/* ---- account.c ---- */

/** Sums of pieces. */
struct vt_sums {
    uint64_t window_ns; /* of all the windows added */
    uint64_t state[VT_NR_STATES];
    uint64_t bound[VT_NR_STATES];
    uint64_t class_bound[VT_NR_CLASSES];
    uint64_t wake_idle_ns;
    uint64_t on_cpu_ns;
    struct vt_outer_range outer;
    uint64_t resumptions; /* switch-ins after PREEMPTED */
};

vt_piece_visitor vt_sums_add_piece; /* context: struct vt_sums */
void vt_sums_add(struct vt_sums *to, const struct vt_sums *from);
/** window - sum of states. */
int64_t vt_sums_residual(const struct vt_sums *sums);
/** Time of this class is demand: used, overhead, stolen or stalled. */
bool vt_is_demand(enum vt_class class);
uint64_t vt_sums_demand(const struct vt_sums *sums);
/** Demand of a length worth talking about: at least 1 % of the window and 10 ms. */
bool vt_sums_has_demand(const struct vt_sums *sums, uint64_t window_ns);
/** Figures, classes and ratios; `estimated` lowers all to that. */
void vt_account_fill(struct vt_account *a, const struct vt_sums *sums, uint64_t window_ns,
                     const struct vt_host *host, bool estimated);
/** Adds to sums' bounds what an edge known to ± edge_ns may misplace. */
void vt_sums_blur_edge(struct vt_sums *sums, const struct vt_correlator *c, const struct vt_life *life,
                       host_ns edge, uint64_t edge_ns);
/** Its states are estimates: the recording has no slices, and the window is not the whole of it. */
bool vt_is_pro_rated(const struct vt_host *host, struct vt_window w);
void vt_account_vcpu(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                     struct vt_vcpu_figures *f, struct vt_sums *sums);

/* ---- counters.c ---- */

/** 0, -ENOMEM, or -EUCLEAN for one that goes backwards. */
int vt_readings_add(struct vt_readings *r, const struct vt_counter_reading *row);
void vt_readings_forget(struct vt_readings *r, uint64_t before);
void vt_readings_release(struct vt_readings *r);
void vt_counters_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                      struct vt_counter_set *ret);

/* ---- exits.c ---- */

/** Drops what only a window before `before` would need. */
void vt_exits_forget(struct vt_life *life, uint64_t before);
/** 0 or -ENOMEM; f->exits_by is the caller's to free. */
int vt_exits_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                  struct vt_vcpu_figures *f);

/* ---- kvmstats.c ---- */

void vt_kvm_counts_forget(struct vt_life *life, uint64_t before);
/** 0 or -ENOMEM; s->kvm_stats is the caller's to free. */
int vt_kvm_stats_fill(const struct vt_correlator *c, struct vt_snapshot *s);
/** 0 or -ENOMEM; f->kvm_stats is the caller's to free. */
int vt_kvm_counts_fill(const struct vt_correlator *c, const struct vt_life *life, struct vt_window window,
                       struct vt_vcpu_figures *f);

/* ---- addresses.c ---- */

/** Drops what only a window before `before` would need. */
void vt_addresses_forget(struct vt_life *life, uint64_t before);
/** 0 or -ENOMEM; f->addresses is the caller's to free. */
int vt_addresses_fill(const struct vt_life *life, struct vt_window window, struct vt_vcpu_figures *f);

/* ---- helpers.c ---- */

/** 0 or -ENOMEM; g->helpers is the caller's to free. */
int vt_helpers_fill(const struct vt_correlator *c, struct vt_window window, struct vt_guest *g);
/** What a VM's helpers waited for CPUs in the window, all of them together, at most. */
uint64_t vt_helpers_waited(const struct vt_correlator *c, int64_t vm, struct vt_window window);
/** The waits of a VM's helpers for CPUs, as far as each was told. */
struct vt_helper_waits {
    struct vt_window *wait; /* that touch the window, by their begin */
    size_t nr;
    uint64_t untold_ns; /* if records were lost: they waited so much more about then, short waits among it */
};
/** 0 or -ENOMEM; ret->wait is the caller's to free either way. */
int vt_helpers_waits(const struct vt_correlator *c, int64_t vm, struct vt_window window,
                     struct vt_helper_waits *ret);
void vt_helpers_forget(struct vt_correlator *c, uint64_t before);
void vt_helpers_release(struct vt_correlator *c);

/* ---- stays.c: who had which CPU ---- */

#define VT_SLICES_AT_ONCE 65536u /* about: what a sweep over all vCPUs holds in memory */

/** How long a part of w is, if it is swept in parts and has that many slices. */
uint64_t vt_part_of(struct vt_window w, uint64_t slices);
/** About how many of the life's slices are in w. */
uint64_t vt_slices_in(const struct vt_life *life, struct vt_window w);

struct vt_stay {
    uint64_t from, to;
    uint32_t cpu, who; /* who: index of a life; from nr_lives on, of an occupant */
};

struct vt_stays {
    const struct vt_correlator *c;
    struct vt_window window, part; /* the stays are those of this part, cut at its edges */
    struct vt_stay *stay;          /* by CPU and begin */
    size_t nr_stay, room_stay;
    size_t *first; /* by CPU, into stay[]; nr_cpus + 1 */
    uint32_t nr_cpus;
    /* private */
    uint64_t step;
    size_t *come;      /* by part, into stretch[]: where those begin that come in it; NULL: not asked for */
    uint32_t *stretch; /* of an occupant, by the part in which it comes */
    uint32_t *open;    /* that go on from one part to the next */
    size_t nr_open, room_open;
    uint32_t life;
    int error;
};

/** occupants: others than vCPUs as well. 0 or -ENOMEM; s is to be released either way. */
int vt_stays_begin(struct vt_stays *s, const struct vt_correlator *c, struct vt_window w, bool occupants);
/** The next part of the window. 1; 0: there is none; -ENOMEM. */
int vt_stays_next(struct vt_stays *s);
void vt_stays_release(struct vt_stays *s);

/* ---- topology.c ---- */

enum vt_hop vt_hop_of(const struct vt_correlator *c, uint32_t from, uint32_t to);
/** The vCPUs' sibling_busy, where any CPU has siblings. 0 or -ENOMEM. */
int vt_siblings_fill(const struct vt_correlator *c, struct vt_snapshot *s);

/* ---- vmstate.c ---- */

/** guest->joint; the figures of its vCPUs are there. 0 or -ENOMEM. */
int vt_joint_fill(const struct vt_correlator *c, struct vt_window window, struct vt_guest *guest);

/* ---- blame.c, bench.c: parts of the snapshot; 0 or -ENOMEM ---- */

/** victim: of this VM only; 0: of all shown. s->interval_ns != 0: by interval, too. */
int vt_blame_fill(const struct vt_correlator *c, struct vt_snapshot *s, int64_t victim);
int vt_bench_fill(const struct vt_correlator *c, const struct vt_machine *m, struct vt_window window,
                  struct vt_guest *guest);

/* ---- marks.c: marks that are part of no benchmark ---- */

struct vt_vcpu_clock;
struct vt_marks {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    struct vt_window window;
    /* the clock of a vCPU, or NULL; context first */
    const struct vt_vcpu_clock *(*clock_of)(const void *context, uint32_t index);
    const void *context;
    bool bare;
    bool by_vcpu; /* marks of one id on two vCPUs are two benchmarks' */
    uint64_t end; /* of the recording; 0: not asked for yet */
    struct vt_lone_mark *list;
    size_t nr, room;
    uint64_t left_out;
};

/** Where in time a mark counts: when the host had it, or, from a file, when it was made as far as that is
 * known. */
host_ns vt_mark_time(const struct vt_marks *in, const struct vt_mark *mark);
/** One more that is told alone; `instead` (may be NULL) has a place in time if mark has none. 0 or -ENOMEM.
 */
int vt_marks_add(struct vt_marks *in, const struct vt_mark *mark, const struct vt_mark *instead,
                 enum vt_mark_lack lack);
/** Adds points, and begins that nothing ended; then fills guest->marks. 0 or -ENOMEM. */
int vt_marks_fill(struct vt_marks *in, struct vt_guest *guest);

/* ---- processes.c: a guest's processes in a benchmark ---- */

/** Guest TSC of one of the guest's CPUs to host time; `host`: the host had the record then. -ENODATA,
 * -ERANGE. */
struct vt_guest_time {
    int (*to_ns)(const void *context, uint32_t cpu, guest_tsc tsc, host_ns host, host_ns *ret,
                 uint64_t *ret_bound);
    const void *context;
};

/*
 * An interrupt that comes so soon after its vCPU was resumed was pending then: what the vCPU did in
 * between was on the way to it, and no work of the task that was hit (20 to 100 us of QEMU's emulation,
 * below 1 us of KVM).
 */
#define VT_PENDING_NS UINT64_C(200000)

/* ---- fit.c ---- */

/** By how much the guest's stretches are to be moved on the host's clock, so that none begins while its vCPU
 * is off the CPU; and by how much that may be off. */
struct vt_fit {
    bool found;
    int64_t shift_ns;
    uint64_t bound_ns;
};

/** Not found: what is told fits a map as it is, or several shifts, or none. budget as below. 0 or -ENOMEM. */
int vt_fit_tasks(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_guest_time *time,
                 struct vt_window window, uint64_t *budget, struct vt_fit *ret);

/**
 * b->window and b->elapsed are there; b->processes is the caller's to free. *budget is how many
 * of what the guest said, and slices beneath it, may yet be looked at: a guest may say that all
 * its tasks ran all the time, in many benchmarks at once, and what goes beyond is untold.
 * 0 or -ENOMEM.
 */
int vt_processes_fill(const struct vt_correlator *c, const struct vt_machine *m,
                      const struct vt_guest_time *time, uint32_t mark, uint64_t *budget,
                      struct vt_benchmark *b);

/* ---- turns.c: CPUs of a guest that take turns on one thread of the host ---- */

/* In which more than one of them had a task; in order of time, apart. */
struct vt_turns {
    struct vt_window *shared;
    size_t nr, room;
};

/** Of the n vCPUs that the host has of it. */
bool vt_takes_turns(const struct vt_machine *m, const struct vt_life *const *vcpu, size_t n);

/** What a task was told to run in, of one CPU of the guest's; 0 or -ENOMEM. */
int vt_turns_add(struct vt_turns *t, struct vt_window stretch);
/** After all were added: those that overlap are left. */
void vt_turns_settle(struct vt_turns *t);
/** The first that ends after `at`; t->nr: there is none. */
size_t vt_turns_after(const struct vt_turns *t, host_ns at);
void vt_turns_release(struct vt_turns *t);

/* ---- replay.c ---- */

/** Others ran on its CPU, and what the task had near is theirs: half a megabyte of the second-level cache, to
 * be had again at some 10 GB/s.  (Where interrupts are told apart: they are in the play.) */
#define VT_COLD_NS UINT64_C(50000)

/** What the window would have taken without the host's delays; known only if the tasks were told of in full.
 */
struct vt_replayed {
    bool known;
    uint64_t low_ns, high_ns; /* low: without what resuming cost */
    uint64_t waits_ns;   /* in low_ns: waits for devices that may have been the monitor's threads' delay */
    const char *why_not; /* static */
};

/** What is to be played. */
struct vt_play {
    struct vt_window window; /* the benchmark's, where its vt_guest_time puts its marks */
    uint32_t mark;
    uint64_t resume_ns;      /* what each resumption may have cost */
    uint64_t helpers_waited; /* the monitor's threads, for a CPU, all together */
};

/** What vt_processes_fill() tells of b is there; budget as above. 0 or -ENOMEM. */
int vt_replay(const struct vt_correlator *c, const struct vt_machine *m, const struct vt_guest_time *time,
              const struct vt_play *play, const struct vt_benchmark *b, uint64_t *budget,
              struct vt_replayed *ret);

#endif

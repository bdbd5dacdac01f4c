/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the correlator says of a window: the one structure that the report,
 * vtop, the chart and the exporters show.  Pure data; vt_snapshot_free()
 * (correlator/correlate.h) releases it.
 */
#ifndef VT_SNAPSHOT_H
#define VT_SNAPSHOT_H

#include <stddef.h>

#include "vt/clocks.h"
#include "vt/counter.h"
#include "vt/record.h"
#include "vt/topology.h"

enum vt_accuracy { VT_EXACT, VT_BOUNDED, VT_ESTIMATED };

/** A figure: ns is within ± bound_ns; bound_ns is 0 where exact. */
struct vt_figure {
    uint64_t ns;
    uint64_t bound_ns;
    enum vt_accuracy accuracy;
};

/** A ratio: valid only if `known` (demand >= 1 % and >= 10 ms). */
struct vt_ratio {
    bool known;
    double value;
    double bound;
};

/** Time by state, and the sums DESIGN.md section 2 makes of it. */
struct vt_account {
    struct vt_figure state[VT_NR_STATES];
    struct vt_figure used, overhead, stolen, stalled, idle, paused, unknown;
    /* What was stolen from this host itself of CPUs that it had: within its time on CPU, whatever the state.
     * Only where host.tells_outer_steal. */
    struct vt_figure outer;
    struct vt_ratio dilation, contention_dilation;
};

/** One event's growth between two readings. */
struct vt_counter_figure {
    enum vt_counter event;
    enum vt_counter_side side;
    bool known;     /* false: it was not once on the PMU */
    uint64_t count; /* what it would have been had it always been on the PMU */
    uint64_t raw;   /* what was counted */
    uint64_t enabled_ns, running_ns;
    enum vt_accuracy accuracy; /* VT_ESTIMATED: scaled, for events took turns */
};

/** perf_event's word on a vCPU's thread, beside the account and never in it. */
struct vt_counter_set {
    size_t nr;
    struct vt_counter_figure of[VT_NR_COUNTERS * VT_NR_SIDES];
    struct vt_window stretch; /* from the first reading in the window to the last */
    uint64_t on_cpu_ns;       /* the ledger's, over that stretch */
    /*
     * Capacity-weighted time: its cycles, guest's and host's, at the rate of
     * the TSC, which is the CPU's nominal frequency.
     */
    bool has_capacity;
    struct vt_figure capacity;
    double nominal_khz;
};

/** Accesses to one address that KVM or the monitor had to serve; between two readings, as exits by reason. */
struct vt_address_figure {
    enum vt_access kind;
    bool is_write;
    uint64_t address;
    uint64_t count;
};

/** Exits for one reason, between two readings of the kernel's sums: the last before the window's edges. */
struct vt_exit_figure {
    uint32_t reason;  /* VT_EXIT_UNSUMMED: their time is not known */
    const char *name; /* static; NULL: the number has none */
    uint64_t count, kernel_ns, user_ns;
    uint64_t log2[VT_EXIT_BUCKETS]; /* exits by kernel_ns: 2^i and up */
};

/**
 * Growth of one of KVM's own statistics between two readings: the last before the
 * window's edges.  So the window's own growth is within ± bound of it: what grew
 * from such a reading to the next one may be on either side of the edge.
 */
struct vt_kvm_figure {
    uint64_t count, bound;
    /* VT_EXACT: nothing grew around the edges, or they are readings themselves.
     * VT_ESTIMATED: there is no reading after the window: what came since the last one is not known. */
    enum vt_accuracy accuracy;
};

/**
 * What the vCPUs of a VM do together: at every instant the first line that
 * fits.  A vCPU runs while it is on a CPU for its own or its overhead's sake; it
 * waits while its time is stolen or stalled: kept from what it wants, whatever
 * by.  One that is absent, or was idle all the window, is not counted among "the
 * rest"; a paused one counts there like an idle one.
 */
enum vt_joint {
    VT_JOINT_LOST,               /* unknown of at least one */
    VT_JOINT_HAZARD,             /* concurrency hazard: some run while some wait */
    VT_JOINT_FULL_RUN,           /* all run */
    VT_JOINT_PARTIAL_RUN,        /* some run, the rest is idle */
    VT_JOINT_FULL_CONTENTION,    /* all wait */
    VT_JOINT_PARTIAL_CONTENTION, /* some wait, none runs, the rest is idle */
    VT_JOINT_PAUSED,             /* none runs or waits, at least one is paused */
    VT_JOINT_BLOCKED,            /* none has demand: all are idle */
    VT_JOINT_ABSENT,             /* there is no vCPU */
    VT_NR_JOINTS
};

struct vt_joint_figures {
    bool known; /* false: recorded without slices, so that only sums are known and no instants */
    struct vt_figure state[VT_NR_JOINTS];
    int64_t residual_ns; /* window - sum of them: what pieces of a vCPU's time leave out or cover twice */
};

/* Stretches shorter than this are told in sums only. */
#define VT_STOP_LEAST_NS (VT_NSEC_PER_SEC / 10)
#define VT_MAX_STOPS     16
struct vt_vcpu_figures {
    struct vt_vcpu vcpu;
    uint64_t window_ns;
    int64_t residual_ns;        /* window - sum of states built from slices */
    int64_t ledger_residual_ns; /* sum over states of |slices - kernel's integrals|, over the stretch both
                                   cover */
    struct vt_account account;
    uint64_t blocked_by[VT_NR_CAUSES]; /* of BLOCKED, by enum vt_off_cause; NONE: not told */
    uint64_t switches, migrations, exits, user_exits, halts;
    uint64_t desync; /* edges refused */
    uint64_t first_cpu, last_cpu;
    /*
     * Changes of CPU between slices that follow each other in the window.
     * `migrations` counts the scheduler's moves, of which one wait may have several.
     */
    bool has_hops; /* false: recorded without slices */
    uint64_t hops[VT_NR_HOPS];
    /*
     * On CPU while a sibling hardware thread of its core ran another vCPU of this
     * recording.  What else ran there is not recorded, so that it may be all its
     * time on CPU: that is the bound.
     */
    bool has_siblings; /* a CPU of the host has; else nothing is told */
    struct vt_figure sibling_busy;
    uint64_t proc_run_ns, proc_run_delay_ns; /* schedstat's growth over the checkpoints in the window */
    uint64_t on_cpu_ns, run_delay_ns;        /* ours over that same stretch */
    enum vt_state now;                       /* at the window's end */
    /* When it was STOPPED, the first of them; none where the recording has no slices: no place is known then.
     */
    size_t nr_stops;
    struct vt_window stops[VT_MAX_STOPS];
    uint64_t more_stops; /* so many that found no room */
    struct vt_counter_set counters;
    size_t nr_exits; /* by kernel and user time, the most first */
    struct vt_exit_figure *exits_by;
    struct vt_kvm_figure *kvm_stats; /* by vt_snapshot.kvm_stats; NULL: none was read */
    size_t nr_addresses;             /* by count, the most first; none if host.exit_addresses is false */
    struct vt_address_figure *addresses;
    uint64_t addresses_unsummed; /* accesses whose address found no room */
};

/** What the guest believed between two marks, and what was true. */
struct vt_belief {
    uint32_t have;   /* enum vtg_have */
    uint64_t tsc_ns; /* by TSC, at the frequency the guest was told */
    uint64_t kvmclock_ns, tick_clock_ns, charged_ns, steal_ns, monotonic_ns, cputime_ns;
    uint64_t ticks, ticks_expected; /* expected: true elapsed / tick period */
};

struct vt_undilated {
    bool known;
    uint64_t low_ns, high_ns;
    bool played;          /* narrowed by playing the guest's tasks again without the delays */
    const char *unplayed; /* static; tasks were told, but they don't narrow it: why. NULL: nothing to say */
    uint64_t outer_ns;    /* of low_ns: so much may be this host's own steal, and not the guest's work */
    const char *assumptions; /* static text */
};

/**
 * A process of the guest between two marks: what its system believed of it, and
 * what was true.
 */
struct vt_guest_process {
    uint32_t tgid;
    char name[VT_COMM_LEN + 1]; /* printable */
    bool of_benchmark;          /* the command that was measured, or its descendant */
    /*
     * VTG_TASKS_NONE: the host's time is shared out by what the guest charged, and the
     * bound is what that may misplace.  Else the host's states are laid under the
     * stretches in which it was on a vCPU.
     */
    enum vtg_task_source source;
    bool has_charged;
    uint64_t user_ns, sys_ns; /* as its system charged, from its first reading to its last */
    uint64_t on_vcpu_ns;      /* as its system saw it on its CPUs, by stretches */
    struct vt_account truth;  /* of that time */
    uint64_t waited_ns;       /* for a CPU of the guest's, which had another task */
    uint64_t stretches;
};

/** wait4's word on a benchmark's command. */
struct vt_run_belief {
    bool known;
    uint32_t repeat, of; /* the how many-th run of how many */
    int32_t status;      /* wait(2)'s word */
    uint64_t elapsed_ns, user_ns, sys_ns;
};

struct vt_benchmark {
    char name[VTG_NAME_LEN + 1];
    uint32_t vcpu_index;
    struct vt_window window; /* true begin and end on the host's clock */
    struct vt_figure elapsed;
    struct vt_belief believed;
    struct vt_account truth; /* of the vCPUs with demand, mark to mark */
    struct vt_undilated undilated;
    int64_t residual_ns;
    uint64_t gap_sum_ns, gap_count, gap_threshold_ns; /* of the gap workload, else 0 */
    uint64_t work_done;
    bool from_host_process; /* a bare run: believed only */
    bool of_system;         /* in an operating system: its tasks may run on any vCPU */
    struct vt_run_belief run;
    /* vCPU time of the window for which no stretch of a known task was told; all of it without --tasks */
    uint64_t untold_ns;
    uint64_t strangers_ns; /* of it: a task ran, but who it is was not told */
    uint64_t unplaced_ns;  /* stretches on CPUs of the guest of which the host saw no vCPU */
    bool takes_turns;      /* several CPUs of the guest are one thread of the host */
    /* Of a guest whose kernel and programs are processes of the host's (User Mode Linux): what of truth's
     * `used` its kernel used; and the programs that began within the benchmark, with what that did for them.
     * These are its own if it is one of a command whose begin is not placed by an arrival alone. */
    bool has_guest_kernel, knows_begun;
    uint64_t guest_kernel_ns;
    struct vt_figure begun;
    size_t nr_processes; /* by time on vCPUs, the most first */
    struct vt_guest_process *processes;
};

/** Why a mark is part of no benchmark that is told. */
enum vt_mark_lack {
    VT_MARK_LACKS_NOTHING, /* a point: it has no other */
    VT_MARK_LACKS_BEGIN,   /* an end, its begin was not recorded */
    VT_MARK_LACKS_END,     /* a begin: under way at the recording's end, or its end was never told */
    VT_MARK_LACKS_CLOCK,   /* it came from a file, and no map tells when it was made */
    VT_MARK_OUTSIDE,       /* it came from a file, and one of the two was not made within the recording */
    VT_MARK_BACKWARDS,     /* its end does not come after its begin */
    VT_NR_MARK_LACKS
};

struct vt_lone_mark {
    char name[VTG_NAME_LEN + 1];
    uint32_t vcpu_index, id;
    enum vtg_mark_kind kind;
    enum vt_mark_lack lack;
    bool placed; /* at, bound_ns and accuracy are known */
    host_ns at;
    uint64_t bound_ns;
    enum vt_accuracy accuracy;
    uint64_t so_far_ns; /* of a begin: from there to the recording's end */
};

/** How guest TSC was mapped to host time for one vCPU, or why not. */
struct vt_clock_report {
    uint32_t vcpu_index;
    const char *method; /* static: "kvm-offset", "identity", "none"; of a guest with an agent others, too */
    uint64_t bound_ns;
    double guest_tsc_khz;
    uint64_t violations; /* records that contradict causality */
    const char *reason;  /* static; why a better method was refused */
};

/** A thread of the VM that is no vCPU, in the window. */
struct vt_helper_figures {
    struct vt_helper row;
    struct vt_figure on_cpu;  /* not in the VM's account: beside it */
    struct vt_figure waited;  /* for a CPU */
    struct vt_figure blocked; /* waiting for anything else */
};

struct vt_guest {
    struct vt_vm vm;
    struct vt_account account; /* sum over its vCPUs in the window */
    struct vt_joint_figures joint;
    struct vt_belief perceived; /* first to last clock record in the window */
    size_t nr_vcpus, nr_benchmarks, nr_clocks;
    struct vt_vcpu_figures *vcpus;
    struct vt_benchmark *benchmarks;
    struct vt_clock_report *clocks;
    struct vt_agent_clocks *agent_clocks; /* NULL: no agent spoke in it */
    size_t nr_marks;                      /* by time, those without one first */
    struct vt_lone_mark *marks;           /* that are part of no benchmark above, the newest */
    uint64_t marks_left_out;              /* that found no room there, or among the benchmarks */
    uint64_t marks_lacking;               /* of all of them: that are no points */
    size_t nr_helpers;                    /* by CPU time, the most first */
    struct vt_helper_figures *helpers;
};

enum vt_culprit_kind {
    VT_CULPRIT_VM,          /* another VM's vCPU */
    VT_CULPRIT_OWN,         /* another vCPU of the same VM */
    VT_CULPRIT_QUOTA,       /* a CPU quota held it */
    VT_CULPRIT_IDLE_CPU,    /* nobody: the CPU was idle, and not yet given to it */
    VT_CULPRIT_FORCED_IDLE, /* nobody: core scheduling kept it apart from who had the sibling */
    VT_CULPRIT_VM_HELPER,   /* a thread of another VM that is no vCPU */
    VT_CULPRIT_OWN_HELPER,  /* a thread of its own VM that is no vCPU */
    VT_CULPRIT_PROCESS,     /* a process of this host */
    VT_CULPRIT_KTHREAD,     /* a kernel thread */
    VT_CULPRIT_IRQ,         /* interrupts, inside its time on CPU */
    VT_CULPRIT_HOST,        /* not seen who: nothing recorded tells */
    VT_NR_CULPRIT_KINDS
};

struct vt_blame {
    char victim[VT_VM_NAME_LEN];
    char culprit[VT_VM_NAME_LEN]; /* VM's name, a thread's comm, or a word for the kind */
    enum vt_culprit_kind kind;
    uint64_t ns; /* victim-nanoseconds */
    /* of it, in waits that began while another CPU that the victim may use was idle; always 0 of quota and
     * interrupts, and where host.elsewhere_cpus is 0: not recorded */
    uint64_t elsewhere_ns;
};

/** Of one row of the matrix, what one interval has; intervals of which it has nothing have none. */
struct vt_blame_cell {
    uint32_t interval; /* from window.from + interval * interval_ns on */
    uint32_t row;      /* into blame[] */
    uint64_t ns, elsewhere_ns;
};

/**
 * Occupancy of a physical CPU: vCPUs all the time, others only while a vCPU
 * waited there.  These and unwatched_ns sum to the window, unless stays
 * overlap: then the recording says twice who had the CPU.
 */
struct vt_cpu_figures {
    uint32_t cpu;
    uint64_t vcpu_ns, helper_ns, process_ns, kthread_ns, idle_ns;
    uint64_t unwatched_ns; /* nobody waited, no vCPU ran: not recorded who did */
    uint64_t overlap_ns;   /* 0, or the books are wrong */
};

struct vt_snapshot {
    struct vt_window window;
    bool cut_off; /* the recording did not end by itself */
    struct vt_host host;
    uint64_t lost[VT_NR_LOST_REASONS];
    struct vt_observer observer; /* growth over the recording */
    size_t nr_guests, nr_blame, nr_cpus;
    size_t nr_hidden; /* VMs that are not host.only: debtors, but not guests[] */
    size_t nr_counter_events;
    struct vt_counter_event *counter_events; /* what was tried, and which vCPU's failed */
    size_t nr_kvm_stats;
    struct vt_kvm_stat *kvm_stats; /* KVM's own statistics that were read, in the kernel's order */
    struct vt_guest *guests;
    struct vt_blame *blame; /* by victim, the greatest debtor first */
    uint64_t interval_ns;   /* 0: the blame is not told by interval */
    size_t nr_blame_cells;
    struct vt_blame_cell *blame_cells; /* by interval, then as blame[]; of a row they sum to it */
    struct vt_cpu_figures *cpus;
};

#endif

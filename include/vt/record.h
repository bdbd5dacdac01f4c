/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a recording holds, as structures: the collector fills them, lib/store
 * keeps them, the correlator consumes them.  Strings are NUL-terminated.
 */
#ifndef VT_RECORD_H
#define VT_RECORD_H

#include <stdbool.h>

#include "vt/guest_wire.h"
#include "vt/ledger.h"
#include "vt/time.h"

#define VT_VM_NAME_LEN 64
#define VT_MAX_CPUS    65536u /* a slice tells its CPU in 16 bits */

struct vt_vm {
    int64_t id; /* key in the recording, from 1 */
    enum vt_vm_kind kind;
    uint32_t tgid;      /* 0: a cgroup */
    host_ns start_time; /* of the process: with tgid a unique key; of a cgroup its id */
    char name[VT_VM_NAME_LEN];
    enum vt_vm_found found; /* how its vCPUs were told from its other threads */
};

/** How a VM's vCPUs were told from its other threads: a row of its own where not KVM tells. */
struct vt_vm_how {
    int64_t vm;
    enum vt_vm_found found;
};

/** One life of one vCPU: bound to a thread; a new thread is a new row. */
struct vt_vcpu {
    int64_t id;     /* key in the recording, from 1 */
    int64_t vm;     /* vt_vm.id */
    uint32_t index; /* KVM's vcpu_id */
    uint32_t tid;
    host_ns start_time; /* of the thread */
    host_ns born;       /* first instant accounted */
};

/** The vCPU's guest TSC from `at` on: guest = offset + (host * ratio >> frac), modulo 2^64. */
struct vt_tsc_epoch {
    int64_t vcpu;
    host_ns at;
    uint64_t offset;
    uint64_t ratio; /* 0: unscaled */
    uint32_t frac;  /* kvm_caps.tsc_scaling_ratio_frac_bits: 48 on VMX, 32 on SVM */
};

/** Host TSC and CLOCK_MONOTONIC read together: at `tsc`, the clock was within ns ± bound_ns. */
struct vt_clock_pair {
    host_ns ns;
    host_tsc tsc;
    uint64_t bound_ns;
};

/**
 * The kernel's integrals of one vCPU at a reading, and its open slice closed
 * at `at`.  ns[] sums to last - born; [last, at) is in `state`.
 */
struct vt_checkpoint {
    int64_t vcpu;
    host_ns at;   /* when it was read */
    host_ns last; /* last edge in ns[] */
    enum vt_state state;
    uint64_t ns[VT_NR_STATES];
    uint64_t switches, migrations, exits, user_exits, halts, wake_idle_ns;
    uint32_t desync[VT_NR_DESYNC];
    struct vt_slice open; /* as in the slot at `last`; t_end is 0 */
    /* /proc/PID/task/TID/schedstat read beside it, 0 if it could not be read */
    uint64_t proc_run_ns, proc_run_delay_ns;
    host_ns proc_at;
};

/** One frame from a guest, decoded; `host` is when the host had it. */
struct vt_guest_record {
    int64_t vm; /* bound by the channel it came through, never by its words */
    host_ns host;
    host_tsc host_tsc; /* 0 if the channel has no trusted relay */
    enum vtg_type type;
    union {
        struct vtg_hello hello;
        struct vtg_clocks clocks;
        struct vtg_mark mark;
        struct vtg_gaps gaps;
        struct vtg_system system;
        struct vtg_view view;
        struct vtg_cpus cpus;
        struct vtg_process process;
        struct vtg_run run;
        struct vtg_task task;
        struct vtg_tasks tasks;
        struct vtg_event event;
    };
};

/**
 * A question to a guest's agent and its answer.  Causality: the guest read tsc_received
 * not before `sent`, and tsc_sent not after `received`.  The host's word, but for the
 * guest's TSCs.
 */
struct vt_exchange {
    int64_t vm;
    uint64_t session; /* vtg_system.session: of one agent's life */
    host_ns sent, received;
    host_tsc sent_tsc, received_tsc; /* read just before sending, just after receiving */
    guest_tsc tsc_received, tsc_sent;
};

/** What befell an agent's channel, as the host saw it. */
enum vt_channel_event_kind {
    VT_CHANNEL_OPENED,   /* text: where to */
    VT_CHANNEL_CLOSED,   /* by the other side */
    VT_CHANNEL_FAILED,   /* could not be opened; text: why */
    VT_CHANNEL_SESSION,  /* another agent, or the same anew; count: frames it had sent before us */
    VT_CHANNEL_SILENT,   /* no answer; count: for ns */
    VT_CHANNEL_DAMAGED,  /* count: frames of bad CRC, length or type */
    VT_CHANNEL_GARBAGE,  /* count: bytes that belong to no frame */
    VT_CHANNEL_REPLAYED, /* count: frames had already */
    VT_CHANNEL_MISSING,  /* count: frames that never came */
    VT_CHANNEL_FLOODED,  /* count: times its allowance was spent */
    VT_CHANNEL_CLAIMED,  /* it claims another VM's name; text: which */
    VT_CHANNEL_ABSURD,   /* count: answers to nothing asked, or before it was asked */
    VT_CHANNEL_HELD,     /* another is connected to the agent's port: nothing of it comes here */
    VT_CHANNEL_PACED,    /* what it may say in the long run is spent; count: times it had to wait for more */
    VT_NR_CHANNEL_EVENTS
};

struct vt_channel_event {
    int64_t vm;
    host_ns at;
    enum vt_channel_event_kind kind;
    uint64_t count;
    char text[64]; /* not terminated if full; hostile where it is the guest's */
};

/** Loss, counted; `at` is when the counter was found to have grown. */
struct vt_loss {
    host_ns at;
    enum vt_lost_reason reason;
    uint64_t count;
};

/** Who had a CPU while a vCPU waited on its run queue, and was no vCPU himself. */
struct vt_occupancy {
    host_ns from, to;
    uint32_t cpu;
    uint32_t kind; /* enum vt_occupant */
    uint32_t tid, tgid;
    char comm[VT_COMM_LEN]; /* of the thread, when it left the CPU */
};

/** A vCPU that waited was moved to another CPU's run queue. */
struct vt_vcpu_move {
    int64_t vcpu;
    host_ns at;
    uint32_t from_cpu, to_cpu;
};

/** Exits of one vCPU for one reason, cumulated since it was born. */
struct vt_exit_row {
    int64_t vcpu;
    host_ns at;
    uint32_t reason; /* see ledger.h; what it means depends on vt_host.exit_isa. Or VT_EXIT_UNSUMMED. */
    uint64_t count;
    uint64_t kernel_ns, user_ns;
    uint32_t log2[VT_EXIT_BUCKETS];
};

/** In place of a reason: exits that are in no sum. Their time is not known: 0 and no bucket. */
#define VT_EXIT_UNSUMMED VT_EXIT_REASONS

/** Accesses of one vCPU to one address, cumulated since it was born. */
struct vt_exit_address {
    int64_t vcpu;
    host_ns at;
    uint32_t kind; /* enum vt_access, or VT_ACCESS_UNSUMMED */
    bool is_write;
    uint64_t address;
    uint64_t count;
};
/** In place of a kind: accesses whose address found no room; address and direction are 0. */
#define VT_ACCESS_UNSUMMED VT_NR_ACCESSES

/** One of KVM's own statistics of a vCPU, as the kernel describes it (struct kvm_stats_desc). */
#define VT_KVM_STAT_NAME_LEN 48
#define VT_KVM_STAT_UNIT_LEN 16
struct vt_kvm_stat {
    int64_t id; /* key in the recording, from 1 */
    char name[VT_KVM_STAT_NAME_LEN];
    char unit[VT_KVM_STAT_UNIT_LEN]; /* "ns", "bytes", …; empty: a plain count */
};

/** What it had grown by since the vCPU's life began. */
struct vt_kvm_count {
    int64_t vcpu;
    host_ns at;
    int64_t stat; /* vt_kvm_stat.id */
    uint64_t count;
};

/** A thread that helps a VM and is no vCPU. */
struct vt_helper {
    int64_t id, vm;
    uint32_t tid;
    host_ns start_time, born;
    char comm[VT_COMM_LEN];
};

/** A helper's time by state, cumulated since it was born. */
struct vt_helper_time {
    int64_t helper;
    host_ns at;
    uint64_t on_cpu_ns;
    uint64_t waited_ns; /* for a CPU: PREEMPTED, WAKING, THROTTLED */
    uint64_t blocked_ns, stopped_ns, lost_ns;
};

/** A helper waited for a CPU, for no less than host.helper_wait_ns. */
struct vt_helper_wait {
    int64_t helper;
    host_ns from, to;
};

/**
 * Of from..to, in which the vCPU was on a CPU, so much was stolen of that CPU from this host itself:
 * what the hypervisor below tells it (struct kvm_steal_time.steal, Documentation/virt/kvm/x86/msr.rst) and
 * the clock of the CPU's run queue left out (rq.prev_steal_time_rq, update_rq_clock_task(),
 * kernel/sched/core.c), looked at when the vCPU is switched in and out and after interrupts. What is less
 * than VT_OUTER_NS is told when it is switched out.
 */
struct vt_outer_steal {
    int64_t vcpu;
    host_ns from, to;
    uint64_t ns;
};

/** What the measurement itself cost, cumulated since the start. */
struct vt_observer {
    host_ns at;
    uint64_t cpu_ns;   /* of the collector's process */
    uint64_t bpf_ns;   /* run time of its BPF programs, 0 if not enabled */
    uint64_t bpf_runs; /* how often they ran, 0 if not enabled */
    uint64_t rss_bytes;
    uint64_t host_steal_ns; /* this host's own steal, /proc/stat, all CPUs */
    uint64_t host_irq_ns;   /* this host's irq + softirq, /proc/stat */
};

/** Facts of the host and of the recording. */
struct vt_host {
    host_ns begin;               /* all probes attached and seeded */
    host_ns end;                 /* 0 while the recording goes on, or if it was cut off */
    uint64_t realtime_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC at begin */
    uint64_t tick_ns;            /* of the host's scheduler */
    uint32_t nr_cpus;
    bool tsc_stable;         /* clocksource is tsc: the clock map may be used */
    bool has_entry_exit;     /* kvm_entry and kvm_exit were seen to fire */
    bool ledger_only;        /* recorded without slices (record --mode ledger) */
    uint32_t probes_off;     /* bit per enum vt_probe_class that is not attached */
    bool exit_addresses;     /* what exits accessed is counted (record --exit-addresses) */
    uint64_t helper_wait_ns; /* each wait of a helper for a CPU that took so long is told; 0: none is */
    uint32_t exit_isa;       /* enum vt_exit_isa: whose numbers the exits' reasons are */
    /* among how many other CPUs an idle one was looked for when a wait began (VT_SLICE_ELSEWHERE); 0: that
     * was not recorded */
    uint32_t elsewhere_cpus;
    bool tells_outer_steal; /* this host's own steal is told of each vCPU (struct vt_outer_steal) */
    bool stays_awake;       /* no idle CPU might sleep at begin, nor at any tick since */
    char kernel[64], hostname[64], cpu[64], clocksource[32], hypervisor[32];
    char only[VT_VM_NAME_LEN]; /* the VM to be shown, by name or pid; empty: all. All are recorded. */
};

/** Probe classes that can be missing or switched off (vtime record --without). */
enum vt_probe_class {
    VT_PROBE_SWITCH,     /* sched_switch */
    VT_PROBE_WAKEUP,     /* sched_wakeup, sched_wakeup_new */
    VT_PROBE_MIGRATE,    /* sched_migrate_task */
    VT_PROBE_EXIT,       /* sched_process_exit */
    VT_PROBE_KVM_RUN,    /* kvm_fpu: begin and end of KVM_RUN */
    VT_PROBE_ENTRY_EXIT, /* kvm_entry, kvm_exit */
    VT_PROBE_HALT,       /* kvm_vcpu_wakeup */
    VT_PROBE_IRQ,        /* irq_handler, softirq, irq_vectors: begin and end; hrtimer: expiry */
    VT_PROBE_ADDRESSES,  /* kvm_pio, kvm_mmio, kvm_fast_mmio, kvm_msr: only if asked for */
    VT_NR_PROBE_CLASSES
};

#endif

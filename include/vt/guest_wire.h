/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-to-host wire protocol, and the host's few words back.  One self-contained,
 * versioned ABI header for the payload, the monitor's agent device, vtime-agent and
 * the collector.
 * Little-endian, fixed width, no holes, every record zeroed whole.  All of it
 * is hostile input to the host: only lib/wire decodes it.
 */
#ifndef VT_GUEST_WIRE_H
#define VT_GUEST_WIRE_H

#include <stdint.h>

#define VTG_MAGIC       0x7674u /* "tv" in memory */
#define VTG_VERSION     1
#define VTG_MAX_PAYLOAD 1024u
#define VTG_NAME_LEN    32

/*
 * A frame: this header, then `len` bytes.  crc = CRC-32C (Castagnoli, RFC 3720
 * B.4; reflected 0x82F63B78, init and final xor ~0) over the header with
 * crc = 0, then the payload.  seq counts the guest's frames on one channel: a
 * gap is loss and is reported.  RELAY, PING and PONG are not counted (seq 0).
 * A type that the decoder does not know is counted and passed over.
 */
struct vtg_frame {
    uint16_t magic;
    uint8_t version;
    uint8_t type; /* enum vtg_type */
    uint32_t len;
    uint32_t seq;
    uint32_t crc;
};

enum vtg_type {
    VTG_HELLO = 1,
    VTG_CLOCKS = 2, /* struct vtg_clocks */
    VTG_MARK = 3,   /* struct vtg_mark */
    VTG_GAPS = 4,   /* struct vtg_gaps */
    VTG_RELAY = 5,  /* struct vtg_relay: put before a frame by a trusted monitor */
    /* Of vtime-agent, in an operating system */
    VTG_SYSTEM = 6,  /* struct vtg_system: after HELLO, and again when it changed */
    VTG_VIEW = 7,    /* struct vtg_view */
    VTG_CPUS = 8,    /* struct vtg_cpus, cut after its last row */
    VTG_PROCESS = 9, /* struct vtg_process */
    VTG_RUN = 10,    /* struct vtg_run: just before the END mark of a `bench` */
    VTG_TASK = 11,   /* struct vtg_task: who a tid is, before its first stretch */
    VTG_TASKS = 12,  /* struct vtg_tasks, cut after its last byte */
    VTG_EVENT = 13,  /* struct vtg_event */
    VTG_PONG = 14,   /* struct vtg_pong */
    /* Host to guest */
    VTG_PING = 15, /* struct vtg_ping */
};

enum vtg_kind { VTG_KIND_PAYLOAD = 1, VTG_KIND_BARE = 2, VTG_KIND_LINUX = 3 };

struct vtg_hello {
    uint32_t kind; /* enum vtg_kind */
    uint32_t nr_vcpus;
    uint64_t tick_ns; /* nominal period of the tick clock, 0: tickless */
    char name[VTG_NAME_LEN];
};

/* Which of the readings below are valid. */
enum vtg_have {
    VTG_HAVE_TSC = 1 << 0,
    VTG_HAVE_KVMCLOCK = 1 << 1,
    VTG_HAVE_STEAL = 1 << 2,
    VTG_HAVE_TICKS = 1 << 3,
    VTG_HAVE_CHARGED = 1 << 4,
    VTG_HAVE_MONOTONIC = 1 << 5, /* bare: CLOCK_MONOTONIC */
    VTG_HAVE_CPUTIME = 1 << 6,   /* bare: thread CPU clock */
};

/*
 * The guest's clocks, read between two reads of its TSC.
 */
struct vtg_clocks {
    uint32_t vcpu;
    uint32_t have; /* enum vtg_have */
    uint64_t tsc_before, tsc_after;
    uint64_t kvmclock_ns; /* pvclock page, KVM ABI Documentation/virt/kvm/x86/msr.rst */
    uint64_t steal_ns;    /* struct kvm_steal_time.steal */
    uint64_t ticks;       /* timer interrupts taken so far */
    uint64_t tick_ns;     /* nominal tick period */
    uint64_t charged_ns;  /* CPU charged to the running task: now - last tick, by kvmclock or TSC */
    uint64_t monotonic_ns;
    uint64_t cputime_ns;
    uint64_t work_done;                        /* units of the workload */
    uint64_t pv_tsc_timestamp, pv_system_time; /* the pvclock page as read */
    uint32_t pv_mul;
    int32_t pv_shift;
};

enum vtg_mark_kind { VTG_MARK_BEGIN = 1, VTG_MARK_END = 2, VTG_MARK_POINT = 3 };

struct vtg_mark {
    struct vtg_clocks clocks;
    uint32_t kind;           /* enum vtg_mark_kind */
    uint32_t id;             /* pairs a BEGIN with its END */
    char name[VTG_NAME_LEN]; /* not necessarily terminated; hostile */
};

#define VTG_GAPS_MAX 32
struct vtg_gap {
    uint64_t at;  /* guest TSC of the last read before the gap */
    uint64_t len; /* ticks until the next read */
};
/* What the gap workload saw since it began; `gaps` are the newest nr of them. */
struct vtg_gaps {
    uint32_t vcpu;
    uint32_t nr;                  /* <= VTG_GAPS_MAX */
    uint64_t threshold;           /* ticks */
    uint64_t count, sum, longest; /* over threshold, since the begin mark */
    struct vtg_gap gaps[VTG_GAPS_MAX];
};

/* ---- an agent in an operating system ---- */

/* The clocks of the system, in the order in which a view reads them: clock_gettime(2). */
enum vtg_os_clock {
    VTG_OS_MONOTONIC,
    VTG_OS_RAW,
    VTG_OS_REALTIME,
    VTG_OS_BOOTTIME,
    VTG_OS_TAI,
    VTG_NR_OS_CLOCKS
};

/* How stretches of tasks on a vCPU are known: what an agent can say of itself. */
enum vtg_task_source { VTG_TASKS_NONE, VTG_TASKS_BPF, VTG_TASKS_PERF, VTG_TASKS_SAMPLED };

struct vtg_system {
    uint64_t session;    /* drawn at random when the agent started; never 0 */
    uint64_t boot_id[2]; /* /proc/sys/kernel/random/boot_id */
    uint64_t tsc_khz;    /* as the CPU (leaf 15h, 40000010h) or the kernel tells; 0: neither */
    uint32_t nr_online, nr_possible;
    uint32_t user_hz;     /* of the units of /proc/stat, whose readings are ns here already */
    uint32_t view_mhz;    /* views each 1000 s */
    uint32_t task_source; /* enum vtg_task_source */
    uint32_t release;     /* the agent's: major << 16 | minor */
    char kernel[64];      /* uname -r */
    char clocksource[32];
    char hypervisor[16]; /* CPUID leaf 40000000h, or "UserModeLinux"; empty: none */
};

/*
 * The system's clocks: tsc[i] <= the reading of clock i <= tsc[i + 1], all read on
 * one CPU without a switch between them that the agent saw.  From uptime_ns on: as it was
 * 10 ms ago at most.
 */
struct vtg_view {
    uint32_t cpu;
    uint32_t have; /* bit per enum vtg_os_clock */
    uint64_t tsc[VTG_NR_OS_CLOCKS + 1];
    uint64_t ns[VTG_NR_OS_CLOCKS];
    uint64_t uptime_ns, idle_ns;     /* /proc/uptime */
    int64_t ntp_offset_ns, ntp_freq; /* adjtimex(2); freq: ppm * 2^16 */
    uint64_t ntp_maxerror_ns, ntp_esterror_ns;
    uint32_t ntp_status, ntp_state, ntp_tick_us;
    int32_t tai_offset_s;
};

/* Of /proc/stat, in ns. */
struct vtg_cpu_time {
    uint32_t cpu, online;
    uint64_t user, nice, system, idle, iowait, irq, softirq, steal, guest;
};
#define VTG_CPUS_MAX 12
struct vtg_cpus {
    uint64_t tsc_before, tsc_after;
    uint32_t nr, pad; /* <= VTG_CPUS_MAX; a guest with more sends more frames */
    struct vtg_cpu_time cpus[VTG_CPUS_MAX];
};

/* /proc/PID/stat and schedstat of one process (all its threads). */
struct vtg_process {
    uint64_t tsc_before, tsc_after;
    uint64_t start_ticks; /* since the guest's boot, user_hz: with pid, a unique key */
    uint32_t pid, ppid, threads;
    uint32_t mark;               /* of the `bench` that it belongs to; 0: chosen by name or pid */
    uint64_t utime_ns, stime_ns; /* its own and those of children waited for */
    uint64_t run_ns, delay_ns;   /* schedstat of its threads; 0, 0: the kernel has none */
    char comm[16];
};

/* What wait4(2) said of a benchmark's command. */
struct vtg_run {
    uint32_t mark;   /* its marks' id */
    uint32_t repeat; /* which of `of` runs, from 1 */
    uint32_t of;
    int32_t status; /* wait(2)'s word */
    uint32_t pid, pad;
    uint64_t elapsed_ns; /* CLOCK_MONOTONIC */
    uint64_t utime_ns, stime_ns;
    uint64_t maxrss_kib, minor_faults, major_faults, voluntary, involuntary;
};

struct vtg_task {
    uint32_t tid, tgid;
    uint32_t mark; /* of the `bench` whose command it descends from; 0: none */
    uint32_t pad;
    char comm[16];
};

/*
 * Stretches of tasks on one vCPU, in order of time, packed by include/vt/task_pack.h.
 * `tid` 0 is the idle task, VTG_TID_INTERRUPTS (task_pack.h) an interrupt.
 */
#define VTG_TASKS_BYTES 992
struct vtg_tasks {
    uint64_t base_tsc; /* before the first stretch */
    uint32_t cpu;
    uint32_t source; /* enum vtg_task_source */
    uint32_t nr;     /* stretches */
    uint32_t lost;   /* stretches missing before the first */
    uint32_t bytes;  /* <= VTG_TASKS_BYTES */
    uint32_t pad;
    uint8_t data[VTG_TASKS_BYTES];
};

enum vtg_event_kind {
    VTG_EVENT_START = 1,       /* the agent began */
    VTG_EVENT_STOP = 2,        /* and ends */
    VTG_EVENT_CLOCKSOURCE = 3, /* text: old and new */
    VTG_EVENT_STEP = 4,        /* CLOCK_REALTIME was set; a: by ns */
    VTG_EVENT_SUSPEND = 5,     /* the guest was suspended; a: for ns (BOOTTIME - MONOTONIC grew) */
    VTG_EVENT_CPU = 6,         /* cpu went online (a = 1) or offline (0) */
    VTG_EVENT_DROPPED = 7,     /* a: frames for which there was no room while the host was away */
    VTG_EVENT_AWAY = 8,        /* the host was away; a: for ns, b: frames kept for it */
    VTG_EVENT_NTP = 9,         /* adjtimex changed; a, b: status, freq; text: the tick's length in us */
    VTG_EVENT_MISSED = 10,     /* a: views that were due and not made: the agent did not run */
    VTG_EVENT_REFUSED = 11,    /* of more processes than a, the agent's room, nothing is told */
    VTG_NR_EVENTS
};
struct vtg_event {
    uint64_t tsc;
    uint32_t kind; /* enum vtg_event_kind */
    uint32_t cpu;
    int64_t a, b;
    char text[64];
};

/*
 * The host asks, the agent answers as soon as it can: each answer bounds the
 * guest's TSC from two sides.  A PING also acknowledges: an agent keeps its frames,
 * with the seq they have, until one says that they arrived; what does not find room
 * in it gets no seq.  Where `next_seq` falls behind, the agent sends again from
 * there; a frame that the host has already is not taken twice.
 */
struct vtg_ping {
    uint64_t host;    /* drawn at random by who asks: another one is another recorder */
    uint64_t id;      /* grows */
    uint64_t session; /* the agent's as known; 0: not yet, let it say HELLO and SYSTEM */
    uint32_t next_seq;
    uint32_t have_seq; /* 0: next_seq is not known, begin with the oldest */
};

struct vtg_pong {
    uint64_t session, id;
    uint64_t tsc_received, tsc_sent;
    uint32_t queued; /* bytes that the agent still keeps */
    uint32_t pad;
};

/*
 * Written by a monitor that the host trusts (own vmm-core) before each guest
 * frame: when the doorbell was served.  Causality: nothing in the frame can
 * be later than that.
 */
struct vtg_relay {
    uint64_t host_ns;  /* CLOCK_MONOTONIC */
    uint64_t host_tsc; /* read right after */
};

/*
 * Agent device: a ring in guest RAM and two I/O ports.
 *   outl(VTG_PORT_RING, gpa >> 12)  where the ring is
 *   outl(VTG_PORT_DOORBELL, 0)      look at it
 * The ring is one header page and `size` bytes (a power of two, at most
 * VTG_RING_MAX).  head and tail run freely modulo 2^32; the guest writes head,
 * the host writes tail.  Frames are packed back to back, wrapping.
 */
#define VTG_PORT_EXIT     0xf4u
#define VTG_PORT_RING     0x5650u
#define VTG_PORT_DOORBELL 0x5654u
#define VTG_PORT_WORK     0x5658u     /* `io` workload: served after a settable time */
#define VTG_RING_MAGIC    0x474e5256u /* "VRNG" */
#define VTG_RING_MAX      (1u << 20)

struct vtg_ring {
    uint32_t magic, version;
    uint32_t size;
    uint32_t reserved;
    volatile uint32_t head;
    volatile uint32_t tail;
    uint32_t dropped; /* frames the guest could not place */
    uint32_t pad;
};

#if !defined(__cplusplus)
_Static_assert(sizeof(struct vtg_frame) == 16, "wire");
_Static_assert(sizeof(struct vtg_hello) == 48, "wire");
_Static_assert(sizeof(struct vtg_clocks) == 112, "wire");
_Static_assert(sizeof(struct vtg_mark) == 152, "wire");
_Static_assert(sizeof(struct vtg_gaps) == 40 + 16 * VTG_GAPS_MAX, "wire");
_Static_assert(sizeof(struct vtg_relay) == 16, "wire");
_Static_assert(sizeof(struct vtg_ring) == 32, "wire");
_Static_assert(sizeof(struct vtg_system) == 168, "wire");
_Static_assert(sizeof(struct vtg_view) == 160, "wire");
_Static_assert(sizeof(struct vtg_cpus) == 24 + 80 * VTG_CPUS_MAX, "wire");
_Static_assert(sizeof(struct vtg_process) == 88, "wire");
_Static_assert(sizeof(struct vtg_run) == 88, "wire");
_Static_assert(sizeof(struct vtg_task) == 32, "wire");
_Static_assert(sizeof(struct vtg_tasks) == 32 + VTG_TASKS_BYTES, "wire");
_Static_assert(sizeof(struct vtg_event) == 96, "wire");
_Static_assert(sizeof(struct vtg_ping) == 32, "wire");
_Static_assert(sizeof(struct vtg_pong) == 40, "wire");
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-to-host wire protocol.  One self-contained, versioned ABI header for
 * the payload, the monitor's agent device, vtime-agent and the collector.
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
 * gap is loss and is reported.  RELAY frames are not counted (their seq is 0).
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
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the monitor and its payload agree on besides vt/guest_wire.h: where
 * things are in guest memory, and the parameters.  Read by C on both sides and
 * by the assembler.
 *
 * Every page is mapped with U=1 at every level: back ends that run CPL 3
 * natively and interpret CPL 0 (kvm_pvm) shadow only such mappings.  There is
 * nothing in the guest to protect from its one application.
 */
#ifndef VMM_PAYLOAD_ABI_H
#define VMM_PAYLOAD_ABI_H

/* Guest-physical layout; virtual = physical, but for the per-vCPU page. */
#define VP_PARAMS    0x1000
#define VP_IDT       0x2000
#define VP_PD_LOW    0x3000 /* RAM, 2 MiB pages */
#define VP_PD_HIGH   0x4000 /* the devices' GiB */
#define VP_IMAGE     0x100000
#define VP_IMAGE_END 0x200000
#define VP_AREAS     0x200000 /* one area per vCPU */
#define VP_AREA_SIZE 0x10000
#define VP_RAM_MAX   0x40000000
#define VP_WORK_MMIO 0xd0000000 /* `io` workload by MMIO */
#define VP_APIC      0xfee00000

/* In a vCPU's area. */
#define VP_PML4       0x0000
#define VP_PDPT       0x1000
#define VP_PD_OWN     0x2000
#define VP_PT_OWN     0x3000
#define VP_GDT        0x4000
#define VP_TSS        0x5000 /* 0x68 bytes, I/O bitmap of 8 KiB, 0xff */
#define VP_PCPU       0x8000
#define VP_KSTACK_TOP 0xb000
#define VP_USTACK_TOP 0x10000

/* The per-vCPU page, at the same virtual address for each vCPU. */
#define VP_PCPU_VA   0x40000000
#define PCPU_TICKS   0
#define PCPU_LAST    8
#define PCPU_CHARGED 16
#define PCPU_IDLE    32
#define PCPU_SEEN    40
#define PCPU_STEAL   64
#define PCPU_PVCLOCK 128

/* Selectors as Linux has them: some back ends know no others. */
#define VP_SEL_KCODE 0x10
#define VP_SEL_KDATA 0x18
#define VP_SEL_UDATA 0x2b
#define VP_SEL_UCODE 0x33
#define VP_SEL_TSS   0x40

#define VP_VEC_TIMER  0x20
#define VP_VEC_SPUR   0xff
#define VP_EXC_STRIDE 16
#define VP_MAGIC      0x31305456 /* "VT01" */

#ifndef __ASSEMBLER__
#include <stdint.h>

#include "vt/guest_wire.h"

/* At VP_IMAGE; addresses are guest-virtual. */
struct vp_image {
    uint32_t magic;
    uint32_t entry; /* CPL 0, long mode, edi = vCPU index */
    uint32_t end;   /* of what is to be loaded; bss follows, zero as fresh RAM is */
    uint32_t bss_end;
    uint32_t exceptions; /* 32 stubs, VP_EXC_STRIDE apart */
    uint32_t breakpoint; /* waits for an interrupt: from CPL 3 */
    uint32_t timer;
    uint32_t spurious;
};

struct vp_pcpu {
    uint64_t ticks;      /* timer interrupts taken */
    uint64_t last;       /* TSC up to which time was charged */
    uint64_t charged[2]; /* TSC ticks charged to the task, to idle */
    uint64_t idle;       /* which of the two */
    uint64_t seen;       /* waiting is over once ticks differs */
    uint32_t features;   /* enum vtg_have of what the monitor offers */
    uint32_t pad[3];
    struct {
        uint64_t steal;
        uint32_t version, flags, pad[12];
    } steal; /* struct kvm_steal_time */
    struct {
        uint32_t version, pad;
        uint64_t tsc_timestamp, system_time;
        uint32_t mul;
        int8_t shift;
        uint8_t flags, pad2[2];
    } pvclock; /* struct pvclock_vcpu_time_info */
};

enum vp_workload { VP_SPIN, VP_IDLE, VP_IO, VP_MIX, VP_GAP, VP_NR_WORKLOADS };
enum vp_io_kind { VP_IO_PIO, VP_IO_MMIO };

/* What the application is to do; the same for every vCPU. */
struct vp_params {
    uint32_t workload; /* enum vp_workload */
    uint32_t io_kind;  /* enum vp_io_kind */
    uint32_t nr_vcpus;
    uint32_t hostile;            /* 0: no, else which way */
    uint64_t repeat;             /* times that the work is done, each between marks of its own */
    uint64_t work;               /* units, 0: no limit; each time */
    uint64_t duration_ns;        /* 0: no limit; each time */
    uint64_t log_ns;             /* between clock records, 0: none */
    uint64_t tick_ns;            /* of the periodic timer, 0: tickless */
    uint64_t apic_ns;            /* length of a LAPIC timer tick */
    uint64_t burst_ns, sleep_ns; /* mix */
    uint64_t gap_ns;             /* gap */
    uint64_t tsc_khz;
    uint64_t memory; /* size of guest RAM */
    char name[VTG_NAME_LEN];
};

_Static_assert(__builtin_offsetof(struct vp_pcpu, ticks) == PCPU_TICKS, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, last) == PCPU_LAST, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, charged) == PCPU_CHARGED, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, idle) == PCPU_IDLE, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, seen) == PCPU_SEEN, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, steal) == PCPU_STEAL, "abi");
_Static_assert(__builtin_offsetof(struct vp_pcpu, pvclock) == PCPU_PVCLOCK, "abi");
_Static_assert(sizeof(struct vp_params) <= 4096, "abi");
#endif
#endif

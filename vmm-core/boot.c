/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware and a boot loader would do, done by the monitor in guest RAM:
 * page tables, descriptors, payload; the vCPU begins in long mode, so that it
 * is at CPL 3 within some hundred instructions.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm-core/image.h"
#include "vmm-core/vmm.h"

#define PAGE      4096u
#define HUGE_PAGE 0x200000u

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PCD = 1 << 4, PTE_A = 1 << 5, PTE_D = 1 << 6, PTE_PS = 1 << 7 };
#define TABLE (PTE_P | PTE_W | PTE_U | PTE_A)
#define LEAF  (TABLE | PTE_D)

#define CR0_LONG  0x80010033u /* PG, WP, NE, ET, MP, PE */
#define CR4_LONG  0x620u      /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_LONG 0xd01u      /* NXE, LMA, LME, SCE */

#define GATE_INTERRUPT 0x8e00u
#define GATE_DPL3      0x6000u
#define TSS_SIZE       0x68u
#define TSS_BITMAP     8192u

struct gate {
    uint16_t offset_low, selector, flags, offset_mid;
    uint32_t offset_high, reserved;
};

static uint64_t area_of(unsigned index)
{
    return VP_AREAS + (uint64_t)index * VP_AREA_SIZE;
}

/* All addresses here are ours, and within the least memory that a guest has. */
static void put(struct vmm *vm, uint64_t gpa, const void *data, size_t n)
{
    vmm_memory_write(&vm->memory, gpa, data, n);
}

static void put64(struct vmm *vm, uint64_t gpa, uint64_t value)
{
    put(vm, gpa, &value, sizeof(value));
}

static void prepare_shared_tables(struct vmm *vm)
{
    for (uint64_t at = 0; at < vm->memory.size; at += HUGE_PAGE)
        put64(vm, VP_PD_LOW + at / HUGE_PAGE * 8, at | LEAF | PTE_PS);
    const uint64_t devices[] = { VP_WORK_MMIO, VP_APIC };
    for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
        uint64_t page = devices[i] & ~(uint64_t)(HUGE_PAGE - 1);
        put64(vm, VP_PD_HIGH + (page >> 21 & 511) * 8, page | LEAF | PTE_PS | PTE_PCD);
    }
}

static void put_gate(struct vmm *vm, unsigned vector, uint32_t handler, unsigned flags)
{
    struct gate g = { .offset_low = (uint16_t)handler,
                      .selector = VP_SEL_KCODE,
                      .flags = (uint16_t)(GATE_INTERRUPT | flags),
                      .offset_mid = (uint16_t)(handler >> 16) };
    put(vm, VP_IDT + vector * sizeof(g), &g, sizeof(g));
}

static void prepare_interrupts(struct vmm *vm)
{
    const struct vp_image *image = vmm_image_header();
    for (unsigned i = 0; i < 32; i++)
        put_gate(vm, i, image->exceptions + i * VP_EXC_STRIDE, 0);
    put_gate(vm, 3, image->breakpoint, GATE_DPL3);
    put_gate(vm, VP_VEC_TIMER, image->timer, 0);
    put_gate(vm, VP_VEC_SPUR, image->spurious, 0);
}

/* Linux's order of segments, a TSS that lets CPL 3 use every port, one page of one's own. */
static void prepare_vcpu(struct vmm *vm, unsigned index)
{
    uint64_t area = area_of(index), tss = area + VP_TSS;
    put64(vm, area + VP_PML4, (area + VP_PDPT) | TABLE);
    put64(vm, area + VP_PDPT, VP_PD_LOW | TABLE);
    put64(vm, area + VP_PDPT + 8, (area + VP_PD_OWN) | TABLE);
    put64(vm, area + VP_PDPT + 3 * 8, VP_PD_HIGH | TABLE);
    put64(vm, area + VP_PD_OWN, (area + VP_PT_OWN) | TABLE);
    put64(vm, area + VP_PT_OWN, (area + VP_PCPU) | LEAF);

    put64(vm, area + VP_GDT + VP_SEL_KCODE, 0x00af9b000000ffff);
    put64(vm, area + VP_GDT + VP_SEL_KDATA, 0x00cf93000000ffff);
    put64(vm, area + VP_GDT + (VP_SEL_UDATA & ~7), 0x00cff3000000ffff);
    put64(vm, area + VP_GDT + (VP_SEL_UCODE & ~7), 0x00affb000000ffff);
    put64(vm, area + VP_GDT + VP_SEL_TSS,
          0x0000890000000000 | (TSS_SIZE + TSS_BITMAP) | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);

    uint64_t rsp0 = area + VP_KSTACK_TOP;
    uint16_t bitmap = TSS_SIZE;
    uint8_t end = 0xff;
    put(vm, tss + 4, &rsp0, sizeof(rsp0));
    put(vm, tss + 0x66, &bitmap, sizeof(bitmap));
    put(vm, tss + TSS_SIZE + TSS_BITMAP, &end, sizeof(end));
}

void boot_prepare(struct vmm *vm)
{
    struct vp_params params = vm->config->params;
    params.nr_vcpus = vm->config->nr_vcpus;
    params.tsc_khz = vm->tsc_khz;
    params.memory = vm->memory.size;
    memcpy(params.name, vm->config->name, sizeof(params.name));
    put(vm, VP_PARAMS, &params, sizeof(params));
    put(vm, VP_IMAGE, vmm_image, vmm_image_header()->end - VP_IMAGE);
    prepare_shared_tables(vm);
    prepare_interrupts(vm);
    for (unsigned i = 0; i < vm->config->nr_vcpus; i++)
        prepare_vcpu(vm, i);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t l)
{
    return (struct kvm_segment){ .limit = 0xffffffff,
                                 .selector = selector,
                                 .type = type,
                                 .present = 1,
                                 .db = !l,
                                 .s = 1,
                                 .l = l,
                                 .g = 1 };
}

int boot_vcpu(const struct vmm *vm, unsigned index, int fd, struct vt_err *err)
{
    uint64_t area = area_of(index);
    struct kvm_sregs s;
    struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
    struct kvm_regs r = {
        .rip = vmm_image_header()->entry, .rsp = area + VP_KSTACK_TOP, .rflags = 2, .rdi = index
    };

    (void)vm;
    if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
        return vt_fail(err, errno, "KVM_GET_SREGS: %s", strerror(errno));
    s.cs = segment(VP_SEL_KCODE, 0xb, 1);
    s.ss = s.ds = s.es = s.fs = s.gs = segment(VP_SEL_KDATA, 0x3, 0);
    s.tr = (struct kvm_segment){ .base = area + VP_TSS,
                                 .limit = TSS_SIZE + TSS_BITMAP,
                                 .selector = VP_SEL_TSS,
                                 .type = 0xb,
                                 .present = 1 };
    s.gdt = (struct kvm_dtable){ .base = area + VP_GDT, .limit = VP_SEL_TSS + 15 };
    s.idt = (struct kvm_dtable){ .base = VP_IDT, .limit = PAGE - 1 };
    s.cr0 = CR0_LONG;
    s.cr3 = area + VP_PML4;
    s.cr4 = CR4_LONG;
    s.efer = EFER_LONG;
    if (ioctl(fd, KVM_SET_SREGS, &s) < 0)
        return vt_fail(err, errno, "KVM_SET_SREGS: %s", strerror(errno));
    if (ioctl(fd, KVM_SET_REGS, &r) < 0)
        return vt_fail(err, errno, "KVM_SET_REGS: %s", strerror(errno));
    if (ioctl(fd, KVM_SET_MP_STATE, &runnable) < 0)
        return vt_fail(err, errno, "KVM_SET_MP_STATE: %s", strerror(errno));
    return 0;
}

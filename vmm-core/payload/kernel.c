/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The payload's kernel in C: what runs once per vCPU, and the last words. */
#include "vmm-core/payload/abi.h"
#include "vmm-core/payload/cpu.h"

/* KVM's ABI: Documentation/virt/kvm/x86/cpuid.rst and msr.rst */
#define KVM_CPUID_FEATURES      0x40000001u
#define KVM_FEATURE_CLOCK       (1u << 3)
#define KVM_FEATURE_STEAL_TIME  (1u << 5)
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_STEAL_TIME      0x4b564d03u

enum { APIC_SPURIOUS = 0xf0, APIC_LVT_TIMER = 0x320, APIC_TIMER_COUNT = 0x380, APIC_TIMER_DIVIDE = 0x3e0 };
enum { APIC_ENABLE = 0x100, APIC_PERIODIC = 1 << 17, APIC_DIVIDE_BY_1 = 0xb };

void kernel_main(uint32_t index);
void kernel_panic(const uint64_t *frame);

static void paravirtual_clocks(struct vp_pcpu *cpu, uint64_t pcpu)
{
    uint32_t reg[4];
    cpu_id(KVM_CPUID_FEATURES, reg);
    if (reg[0] & KVM_FEATURE_CLOCK) {
        cpu_wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (pcpu + PCPU_PVCLOCK) | 1);
        cpu->features |= VTG_HAVE_KVMCLOCK;
    }
    if (reg[0] & KVM_FEATURE_STEAL_TIME) {
        cpu_wrmsr(MSR_KVM_STEAL_TIME, (pcpu + PCPU_STEAL) | 1);
        cpu->features |= VTG_HAVE_STEAL;
    }
}

static void timer(const struct vp_params *params)
{
    cpu_write32(VP_APIC + APIC_SPURIOUS, APIC_ENABLE | VP_VEC_SPUR);
    cpu_write32(VP_APIC + APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
    if (!params->tick_ns) {
        cpu_write32(VP_APIC + APIC_LVT_TIMER, VP_VEC_TIMER);
        return;
    }
    cpu_write32(VP_APIC + APIC_LVT_TIMER, APIC_PERIODIC | VP_VEC_TIMER);
    cpu_write32(VP_APIC + APIC_TIMER_COUNT, (uint32_t)(params->tick_ns / params->apic_ns));
}

void kernel_main(uint32_t index)
{
    struct vp_pcpu *cpu = (struct vp_pcpu *)VP_PCPU_VA;
    paravirtual_clocks(cpu, VP_AREAS + VP_PCPU + (uint64_t)index * VP_AREA_SIZE);
    timer((const struct vp_params *)VP_PARAMS);
    cpu->last = cpu_tsc();
}

static void say(const char *text)
{
    while (*text)
        cpu_outb(0x3f8, (uint8_t)*text++);
}

static void say_hex(uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        cpu_outb(0x3f8, (uint8_t) "0123456789abcdef"[value >> shift & 15]);
}

/* frame: vector, error code, rip, ... */
void kernel_panic(const uint64_t *frame)
{
    say("payload: exception ");
    say_hex(frame[0]);
    say(" error ");
    say_hex(frame[1]);
    say(" rip ");
    say_hex(frame[2]);
    say("\n");
    cpu_outl(VTG_PORT_EXIT, 0x100 | (uint32_t)frame[0]);
}

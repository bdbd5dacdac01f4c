/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/address.h"

#include <stddef.h>

#include "vt/record.h"

static const struct range {
    enum vt_access kind;
    uint64_t from, to;
    const char *name;
} ranges[] = {
    /* Ports: Linux 6.12, arch/x86/kernel/setup.c (standard_io_resources) and as said. */
    { VT_ACCESS_PORT, 0x20, 0x21, "PIC, first" },
    { VT_ACCESS_PORT, 0x40, 0x43, "PIT timer" },
    { VT_ACCESS_PORT, 0x60, 0x60, "keyboard" },
    { VT_ACCESS_PORT, 0x61, 0x61, "PIT channel 2, speaker" }, /* arch/x86/kvm/i8254.h */
    { VT_ACCESS_PORT, 0x64, 0x64, "keyboard" },
    { VT_ACCESS_PORT, 0x70, 0x71, "RTC, CMOS" },
    { VT_ACCESS_PORT, 0x80, 0x80, "POST, I/O delay" }, /* arch/x86/kernel/io_delay.c */
    { VT_ACCESS_PORT, 0xa0, 0xa1, "PIC, second" },
    { VT_ACCESS_PORT, 0xf4, 0xf4, "exit (vtime run, QEMU)" },          /* include/vt/guest_wire.h */
    { VT_ACCESS_PORT, 0x3f8, 0x3ff, "serial, COM1" },                  /* arch/x86/include/asm/serial.h */
    { VT_ACCESS_PORT, 0x510, 0x511, "firmware configuration (QEMU)" }, /* QEMU docs/specs/fw_cfg.rst */
    { VT_ACCESS_PORT, 0x600, 0x603, "ACPI PM events (QEMU)" }, /* QEMU hw/i386: PM base 0x600, ACPI 4.8.4 */
    { VT_ACCESS_PORT, 0x604, 0x605, "ACPI PM control (QEMU)" },
    { VT_ACCESS_PORT, 0x608, 0x60b, "ACPI PM timer (QEMU)" },
    { VT_ACCESS_PORT, 0xcf8, 0xcfb, "PCI configuration, address" }, /* arch/x86/pci/direct.c */
    { VT_ACCESS_PORT, 0xcfc, 0xcff, "PCI configuration, data" },
    { VT_ACCESS_PORT, 0x5650, 0x5657, "agent (vtime run)" }, /* include/vt/guest_wire.h */
    { VT_ACCESS_PORT, 0x5658, 0x565b, "work (vtime run)" },
    /* MMIO: where the chips power up; a guest may move them. */
    { VT_ACCESS_MMIO, 0xd0000000, 0xd0000fff, "work (vtime run)" }, /* vmm-core/payload/abi.h */
    { VT_ACCESS_MMIO, 0xfec00000, 0xfec00fff, "I/O APIC" },         /* arch/x86/include/asm/apicdef.h */
    { VT_ACCESS_MMIO, 0xfed00000, 0xfed003ff, "HPET" },             /* IA-PC HPET specification 1.0a, 3.2.4 */
    { VT_ACCESS_MMIO, 0xfee00080, 0xfee0008f, "local APIC, task priority" }, /* Intel SDM 3A, table 11-1 */
    { VT_ACCESS_MMIO, 0xfee000b0, 0xfee000bf, "local APIC, end of interrupt" },
    { VT_ACCESS_MMIO, 0xfee00300, 0xfee0031f, "local APIC, interrupt command" },
    { VT_ACCESS_MMIO, 0xfee00320, 0xfee0032f, "local APIC, timer" },
    { VT_ACCESS_MMIO, 0xfee00380, 0xfee003ef, "local APIC, timer" },
    { VT_ACCESS_MMIO, 0xfee00000, 0xfee00fff, "local APIC" },
    /* MSRs: arch/x86/include/asm/msr-index.h; of KVM: arch/x86/include/uapi/asm/kvm_para.h. First fit. */
    { VT_ACCESS_MSR, 0x10, 0x10, "TSC" },
    { VT_ACCESS_MSR, 0x11, 0x11, "KVM wall clock (old)" },
    { VT_ACCESS_MSR, 0x12, 0x12, "KVM system time (old)" },
    { VT_ACCESS_MSR, 0x1b, 0x1b, "APIC base" },
    { VT_ACCESS_MSR, 0x3b, 0x3b, "TSC_ADJUST" },
    { VT_ACCESS_MSR, 0x48, 0x48, "SPEC_CTRL" },
    { VT_ACCESS_MSR, 0x49, 0x49, "PRED_CMD" },
    { VT_ACCESS_MSR, 0x8b, 0x8b, "microcode revision" },
    { VT_ACCESS_MSR, 0x1a0, 0x1a0, "MISC_ENABLE" },
    { VT_ACCESS_MSR, 0x277, 0x277, "PAT" },
    { VT_ACCESS_MSR, 0x6e0, 0x6e0, "TSC_DEADLINE" },
    { VT_ACCESS_MSR, 0x80b, 0x80b, "x2APIC, end of interrupt" },
    { VT_ACCESS_MSR, 0x830, 0x830, "x2APIC, interrupt command" },
    { VT_ACCESS_MSR, 0x838, 0x838, "x2APIC, timer" },
    { VT_ACCESS_MSR, 0x800, 0x8ff, "x2APIC" },
    { VT_ACCESS_MSR, 0xc0000080, 0xc0000080, "EFER" },
    { VT_ACCESS_MSR, 0x4b564d00, 0x4b564d00, "KVM wall clock" },
    { VT_ACCESS_MSR, 0x4b564d01, 0x4b564d01, "KVM system time" },
    { VT_ACCESS_MSR, 0x4b564d02, 0x4b564d02, "KVM async page fault" },
    { VT_ACCESS_MSR, 0x4b564d03, 0x4b564d03, "KVM steal time" },
    { VT_ACCESS_MSR, 0x4b564d04, 0x4b564d04, "KVM end of interrupt" },
    { VT_ACCESS_MSR, 0x4b564d05, 0x4b564d05, "KVM poll control" },
    { VT_ACCESS_MSR, 0x4b564d06, 0x4b564d07, "KVM async page fault" },
};

const char *vt_address_name(uint32_t kind, uint64_t address)
{
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (ranges[i].kind == kind && address >= ranges[i].from && address <= ranges[i].to)
            return ranges[i].name;
    return NULL;
}

const char *vt_access_name(uint32_t kind)
{
    static const char *const names[] = { [VT_ACCESS_PORT] = "port",
                                         [VT_ACCESS_MMIO] = "MMIO",
                                         [VT_ACCESS_MSR] = "MSR",
                                         [VT_ACCESS_UNSUMMED] = "unsummed" };
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}

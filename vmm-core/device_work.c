/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The work port: an access costs the monitor a set CPU time, so VMM time is known. */
#include "vmm-core/clock.h"
#include "vmm-core/device.h"

static enum device_result work_write(struct vmm_vcpu *vcpu, uint64_t address, const uint8_t *data,
                                     unsigned size)
{
    (void)address;
    (void)data;
    (void)size;
    vcpu->service_count++;
    if (vcpu->vm->config->service_ns) {
        uint64_t before = vmm_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        thread_busy(vcpu->vm->config->service_ns);
        vcpu->service_ns += vmm_clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    }
    return DEVICE_OK;
}

const struct device device_work = { "work", VTG_PORT_WORK, 4, VP_WORK_MMIO, work_write, NULL };

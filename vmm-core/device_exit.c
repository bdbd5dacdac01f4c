/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The exit port: a vCPU that writes to it runs no more; the first value that is not 0 is the guest's exit
 * code. */
#include <string.h>

#include "vmm-core/device.h"

static enum device_result exit_write(struct vmm_vcpu *vcpu, uint64_t address, const uint8_t *data,
                                     unsigned size)
{
    uint32_t code = 0;
    (void)address;
    memcpy(&code, data, size < sizeof(code) ? size : sizeof(code));
    if (code)
        vcpu_fail(vcpu->vm, "the guest gave up: exit code %u on vCPU %u", code, vcpu->index);
    return DEVICE_LEAVE;
}

const struct device device_exit = { "exit", VTG_PORT_EXIT, 4, 0, exit_write, NULL };

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent device: its ring's frames go to the outlet when the guest rings. */
#include <string.h>

#include "vmm-core/device.h"

static void forward(void *context, const uint8_t *frame, size_t n)
{
    outlet_put(context, frame, n);
}

static enum device_result agent_write(struct vmm_vcpu *vcpu, uint64_t address, const uint8_t *data,
                                      unsigned size)
{
    struct vmm *vm = vcpu->vm;
    uint32_t value;

    if (size != sizeof(value))
        return DEVICE_OK;
    memcpy(&value, data, sizeof(value));
    pthread_mutex_lock(&vm->lock);
    if (address == VTG_PORT_RING)
        agent_ring_set(&vm->ring, &vm->memory, value);
    else if (address == VTG_PORT_DOORBELL)
        agent_ring_drain(&vm->ring, &vm->memory, forward, vm->outlet);
    if (vm->ring.disabled && !vm->ring_warned) {
        vm->ring_warned = true;
        vt_complain("guest %s: its agent device is off for good: %s", vm->config->name, vm->ring.disabled);
    }
    pthread_mutex_unlock(&vm->lock);
    return DEVICE_OK;
}

const struct device device_agent = { "agent", VTG_PORT_RING, 8, 0, agent_write, NULL };

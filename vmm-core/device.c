/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/device.h"

#include <string.h>

static const struct device *const devices[] = {
    &device_agent,
    &device_work,
    &device_serial,
    &device_exit,
};

static enum device_result touch(const struct device *d, struct vmm_vcpu *vcpu, bool is_write,
                                uint64_t address, uint8_t *data, unsigned size)
{
    if (is_write)
        return d->write(vcpu, address, data, size);
    memset(data, 0xff, size);
    if (d->read)
        d->read(vcpu, address, data, size);
    return DEVICE_OK;
}

enum device_result device_port(struct vmm_vcpu *vcpu, bool is_write, uint16_t port, uint8_t *data,
                               unsigned size)
{
    for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
        if (port >= devices[i]->port && port - devices[i]->port < devices[i]->nr_ports)
            return touch(devices[i], vcpu, is_write, port, data, size);
    if (!is_write)
        memset(data, 0xff, size);
    return DEVICE_OK;
}

enum device_result device_mmio(struct vmm_vcpu *vcpu, bool is_write, uint64_t address, uint8_t *data,
                               unsigned size)
{
    for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
        if (devices[i]->mmio && address - devices[i]->mmio < 4096)
            return touch(devices[i], vcpu, is_write, address, data, size);
    if (!is_write)
        memset(data, 0xff, size);
    return DEVICE_OK;
}

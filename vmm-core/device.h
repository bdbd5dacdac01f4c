/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A device is one file and one word in the list of device.c. */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include "vmm-core/vmm.h"

enum device_result { DEVICE_OK, DEVICE_LEAVE /* this vCPU is to run no more */ };

struct device {
    const char *name;
    uint16_t port, nr_ports;
    uint64_t mmio; /* a page, 0: none */
    /* size is 1, 2 or 4 (8 for MMIO); data is little-endian */
    enum device_result (*write)(struct vmm_vcpu *vcpu, uint64_t address, const uint8_t *data, unsigned size);
    void (*read)(struct vmm_vcpu *vcpu, uint64_t address, uint8_t *data, unsigned size); /* NULL: all ones */
};

extern const struct device device_serial, device_exit, device_agent, device_work;

/** An access of the guest, dispatched; nobody there: reads all ones. */
enum device_result device_port(struct vmm_vcpu *vcpu, bool is_write, uint16_t port, uint8_t *data,
                               unsigned size);
enum device_result device_mmio(struct vmm_vcpu *vcpu, bool is_write, uint64_t address, uint8_t *data,
                               unsigned size);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A serial port that only sends: the guest's words, printable ones, to stderr. */
#include <stdio.h>

#include "vmm-core/device.h"

enum { COM1 = 0x3f8, LINE_STATUS = 5, TRANSMITTER_EMPTY = 0x60 };

static enum device_result serial_write(struct vmm_vcpu *vcpu, uint64_t address, const uint8_t *data,
                                       unsigned size)
{
    (void)vcpu;
    (void)size;
    if (address == COM1)
        fputc(*data == '\n' || (*data >= ' ' && *data < 0x7f) ? *data : '?', stderr);
    return DEVICE_OK;
}

static void serial_read(struct vmm_vcpu *vcpu, uint64_t address, uint8_t *data, unsigned size)
{
    (void)vcpu;
    (void)size;
    *data = address == COM1 + LINE_STATUS ? TRANSMITTER_EMPTY : 0;
}

const struct device device_serial = { "serial", COM1, 8, 0, serial_write, serial_read };

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one encoder of guest frames (vt/guest_wire.h): freestanding and pure, so
 * that the payload, which has no library, and lib/wire share it.
 */
#ifndef VT_FRAME_ENCODE_H
#define VT_FRAME_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "vt/guest_wire.h"

/** CRC-32C (Castagnoli) of n bytes, continuing from crc (0 to begin): a nibble at a time. */
static inline uint32_t vtg_crc32c(uint32_t crc, const void *data, size_t n)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *bytes = (const uint8_t *)data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

/** Fills the header of a frame for this payload. */
static inline struct vtg_frame vtg_frame_header(enum vtg_type type, uint32_t seq, const void *payload,
                                                uint32_t len)
{
    struct vtg_frame f = { 0 };
    f.magic = VTG_MAGIC;
    f.version = VTG_VERSION;
    f.type = (uint8_t)type;
    f.len = len;
    f.seq = seq;
    f.crc = vtg_crc32c(vtg_crc32c(0, &f, sizeof(f)), payload, len);
    return f;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/payload/hostile.h"

#include <stddef.h>

#include "vmm-core/payload/cpu.h"
#include "vt/frame_encode.h"

void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

static void ring_at(uint32_t page)
{
    cpu_outl(VTG_PORT_RING, page);
    cpu_outl(VTG_PORT_DOORBELL, 0);
}

static void bad_header(struct vtg_ring *r, uint32_t magic, uint32_t size, uint32_t head)
{
    r->magic = magic;
    r->version = VTG_VERSION;
    r->size = size;
    cpu_outl(VTG_PORT_RING, (uint32_t)((uintptr_t)r >> 12));
    r->head = head;
    cpu_outl(VTG_PORT_DOORBELL, 0);
}

/* A frame that claims to come from the host; then a frame that hides one behind a wrong checksum. */
static void forged_relay(struct vtg_ring *r)
{
    struct vtg_relay relay = { .host_ns = 1, .host_tsc = 1 };
    struct vtg_frame f = vtg_frame_header(VTG_RELAY, 0, &relay, sizeof(relay));
    struct vtg_frame outer = {
        .magic = VTG_MAGIC, .version = VTG_VERSION, .type = VTG_CLOCKS, .len = sizeof(f) + sizeof(relay)
    };
    uint8_t *at = (uint8_t *)r + 4096;
    memcpy(at, &f, sizeof(f));
    memcpy(at + 16, &relay, sizeof(relay));
    memcpy(at + 32, &outer, sizeof(outer));
    memcpy(at + 48, &f, sizeof(f));
    memcpy(at + 64, &relay, sizeof(relay));
    bad_header(r, VTG_RING_MAGIC, 4096, 80);
}

void hostile_ring(uint32_t way, void *ring, uint64_t ram)
{
    struct vtg_ring *r = ring;
    switch (way) {
    case 1:
        ring_at(0xffffffff);
        break;
    case 2:
        /* the last page of its RAM: a good header, and no room behind it */
        bad_header((struct vtg_ring *)(ram - 4096), VTG_RING_MAGIC, 4096, 0);
        break;
    case 3:
        bad_header(r, VTG_RING_MAGIC, 0, 0);
        break;
    case 4:
        bad_header(r, VTG_RING_MAGIC, 4097, 0);
        break;
    case 5:
        bad_header(r, VTG_RING_MAGIC, 0x80000000, 0);
        break;
    case 6:
        bad_header(r, VTG_RING_MAGIC, 4096, 0xfffffff0);
        break;
    case 7:
        bad_header(r, 0x12345678, 4096, 0);
        break;
    case 8:
        memset((uint8_t *)r + 4096, 0xa5, 4096);
        bad_header(r, VTG_RING_MAGIC, 4096, 4096);
        break;
    case 9:
        forged_relay(r);
        break;
    default:
        for (uint32_t i = 0; i < 1000; i++)
            cpu_outl((uint16_t)(VTG_PORT_RING + (i & 15)), i * 2654435761u);
        break;
    }
    memset(ring, 0, 2 * 4096);
}

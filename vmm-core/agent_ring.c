/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/agent_ring.h"

#include <string.h>

#include "vt/frame_encode.h"

#define PAGE 4096u

static void violation(struct agent_ring *r, const char *what)
{
    r->violations++;
    if (!r->disabled)
        r->disabled = what;
}

void agent_ring_set(struct agent_ring *r, const struct vmm_memory *m, uint32_t page)
{
    struct vtg_ring h;
    uint64_t gpa = (uint64_t)page * PAGE;

    if (r->disabled)
        return;
    if (!vmm_memory_read(m, gpa, &h, sizeof(h)))
        violation(r, "its ring is outside its memory");
    else if (h.magic != VTG_RING_MAGIC || h.version != VTG_VERSION)
        violation(r, "its ring has no valid header");
    else if (h.size < AGENT_RING_MIN || h.size > VTG_RING_MAX || (h.size & (h.size - 1)))
        violation(r, "its ring has an impossible size");
    else if (!vmm_memory_at(m, gpa, (uint64_t)PAGE + h.size))
        violation(r, "its ring does not fit into its memory");
    if (r->disabled)
        return;
    r->set = true;
    r->gpa = gpa;
    r->size = h.size;
    r->tail = h.tail;
}

/* Copies n <= size bytes at the free-running position `from`, over the ring's edge if need be. */
static bool copy_out(const struct agent_ring *r, const struct vmm_memory *m, uint32_t from, uint8_t *to,
                     uint32_t n)
{
    uint32_t at = from & (r->size - 1);
    uint32_t first = n < r->size - at ? n : r->size - at;
    uint64_t data = r->gpa + PAGE;
    return vmm_memory_read(m, data + at, to, first) && vmm_memory_read(m, data, to + first, n - first);
}

static bool framed(const struct vtg_frame *f)
{
    return f->magic == VTG_MAGIC && f->version == VTG_VERSION && f->len <= VTG_MAX_PAYLOAD;
}

static bool sound(const uint8_t *frame, size_t n)
{
    struct vtg_frame f;
    memcpy(&f, frame, sizeof(f));
    uint32_t crc = f.crc;
    f.crc = 0;
    crc ^= vtg_crc32c(vtg_crc32c(0, &f, sizeof(f)), frame + sizeof(f), n - sizeof(f));
    return crc == 0 && f.type != VTG_RELAY;
}

/* One frame at the tail. false: no whole frame is there. */
static bool take_frame(struct agent_ring *r, const struct vmm_memory *m, uint32_t head, agent_ring_sink *sink,
                       void *context)
{
    uint8_t buf[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    struct vtg_frame f;
    uint32_t there = head - r->tail;

    if (there < sizeof(f) || !copy_out(r, m, r->tail, buf, sizeof(f)))
        return false;
    memcpy(&f, buf, sizeof(f));
    if (!framed(&f)) {
        r->unframed_bytes += there;
        r->tail = head;
        return false;
    }
    uint32_t n = (uint32_t)sizeof(f) + f.len;
    /* the header is not copied twice: the guest may change it meanwhile */
    if (there < n || !copy_out(r, m, r->tail + (uint32_t)sizeof(f), buf + sizeof(f), f.len))
        return false;
    r->tail += n;
    if (sound(buf, n)) {
        r->frames++;
        sink(context, buf, n);
    } else {
        r->bad_frames++;
    }
    return true;
}

void agent_ring_drain(struct agent_ring *r, const struct vmm_memory *m, agent_ring_sink *sink, void *context)
{
    struct vtg_ring h;

    if (r->disabled || !r->set)
        return;
    if (!vmm_memory_read(m, r->gpa, &h, sizeof(h))) {
        violation(r, "its ring is outside its memory");
        return;
    }
    if (h.head - r->tail > r->size) {
        violation(r, "its ring's head is further ahead than the ring is long");
        return;
    }
    while (take_frame(r, m, h.head, sink, context))
        ;
    vmm_memory_write(m, r->gpa + offsetof(struct vtg_ring, tail), &r->tail, sizeof(r->tail));
}

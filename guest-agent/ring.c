/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/ring.h"

#include <string.h>

#include "wire/frame.h"

#define FRAME_MAX (sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD)

void vta_ring_init(struct vta_ring *r, void *bytes, size_t size)
{
    *r = (struct vta_ring){ .bytes = bytes, .size = size };
}

/* bytes <-> ring at a running position, over the wrap */
static void copy_in(struct vta_ring *r, uint64_t at, const uint8_t *from, size_t n)
{
    const size_t begin = (size_t)(at % r->size);
    const size_t first = n < r->size - begin ? n : r->size - begin;
    memcpy(r->bytes + begin, from, first);
    memcpy(r->bytes, from + first, n - first);
}

static void copy_out(const struct vta_ring *r, uint64_t at, uint8_t *to, size_t n)
{
    const size_t begin = (size_t)(at % r->size);
    const size_t first = n < r->size - begin ? n : r->size - begin;
    memcpy(to, r->bytes + begin, first);
    memcpy(to + first, r->bytes, n - first);
}

static size_t frame_bytes(const struct vta_ring *r, uint64_t at)
{
    struct vtg_frame frame;
    uint8_t raw[sizeof(frame)];
    copy_out(r, at, raw, sizeof(raw));
    memcpy(&frame, raw, sizeof(frame));
    return sizeof(frame) + frame.len;
}

static void place(struct vta_ring *r, enum vtg_type type, const void *payload, uint32_t len)
{
    uint8_t encoded[FRAME_MAX];
    const size_t n = vt_frame_encode(encoded, type, r->head_seq, payload, len);
    copy_in(r, r->head, encoded, n);
    r->head += n;
    r->head_seq++;
}

/* HELLO and SYSTEM, after what is told of dropped frames: without them a new host acknowledges nothing. */
#define GREETING_BYTES 512u

/* What comes all the time may not take the room of what comes once. */
static bool is_frequent(const struct vtg_event *event)
{
    return event->kind == VTG_EVENT_NTP || event->kind == VTG_EVENT_MISSED;
}

/* Up to where the ring may be filled: what comes again at the next turn gives way to what does not. */
static size_t limit_of(const struct vta_ring *r, enum vtg_type type, const void *payload)
{
    if (type == VTG_EVENT && payload && is_frequent(payload))
        type = VTG_VIEW;
    switch (type) {
    case VTG_CLOCKS:
    case VTG_VIEW:
    case VTG_CPUS:
    case VTG_PROCESS:
    case VTG_TASK:
    case VTG_TASKS:
        return r->size - r->size / 8;
    case VTG_HELLO:
    case VTG_SYSTEM:
        return r->size;
    default:
        return r->size - GREETING_BYTES;
    }
}

static bool has_room(const struct vta_ring *r, size_t n, size_t limit)
{
    return vta_ring_kept(r) + n <= limit;
}

static size_t untold_bytes(const struct vta_ring *r)
{
    return r->untold ? sizeof(struct vtg_frame) + sizeof(struct vtg_event) : 0;
}

static void place_untold(struct vta_ring *r, uint64_t tsc)
{
    const struct vtg_event event = { .tsc = tsc, .kind = VTG_EVENT_DROPPED, .a = (int64_t)r->untold };
    if (!r->untold)
        return;
    place(r, VTG_EVENT, &event, sizeof(event));
    r->untold = 0;
}

bool vta_ring_is_tight(const struct vta_ring *r)
{
    return !has_room(r, untold_bytes(r) + FRAME_MAX, limit_of(r, VTG_VIEW, NULL));
}

bool vta_ring_put(struct vta_ring *r, enum vtg_type type, const void *payload, uint32_t len, uint64_t tsc)
{
    const size_t n = untold_bytes(r) + sizeof(struct vtg_frame) + len;
    r->made++;
    if (len > VTG_MAX_PAYLOAD || !has_room(r, n, limit_of(r, type, payload))) {
        r->dropped++;
        r->untold++;
        return false;
    }
    place_untold(r, tsc);
    place(r, type, payload, len);
    return true;
}

void vta_ring_tell(struct vta_ring *r, uint64_t tsc)
{
    if (has_room(r, untold_bytes(r), limit_of(r, VTG_VIEW, NULL)))
        place_untold(r, tsc);
}

size_t vta_ring_take(struct vta_ring *r, uint8_t *out, size_t room)
{
    size_t taken = 0;
    while (r->sent != r->head) {
        const size_t n = frame_bytes(r, r->sent);
        if (n > room - taken)
            break;
        copy_out(r, r->sent, out + taken, n);
        taken += n;
        r->sent += n;
        r->sent_seq++;
    }
    if (r->sent_seq - r->tail_seq > r->high_seq - r->tail_seq)
        r->high_seq = r->sent_seq;
    return taken;
}

bool vta_ring_acknowledge(struct vta_ring *r, uint32_t next_seq)
{
    const uint32_t arrived = next_seq - r->tail_seq;
    if (arrived == 0 || arrived > r->high_seq - r->tail_seq)
        return false;
    while (r->tail_seq != next_seq) {
        r->tail += frame_bytes(r, r->tail);
        r->tail_seq++;
    }
    if (r->sent < r->tail) {
        r->sent = r->tail;
        r->sent_seq = r->tail_seq;
    }
    return true;
}

void vta_ring_rewind(struct vta_ring *r)
{
    r->sent = r->tail;
    r->sent_seq = r->tail_seq;
}

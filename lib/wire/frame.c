/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire/frame.h"

#include <stdbool.h>
#include <string.h>

/* CRC-32C of a half byte: RFC 3720 B.4, polynomial 0x82F63B78 reflected. */
static const uint32_t crc_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t crc_table(uint32_t crc, const uint8_t *p, size_t n)
{
    for (; n; n--, p++) {
        crc ^= *p;
        crc = crc_nibble[crc & 15] ^ crc >> 4;
        crc = crc_nibble[crc & 15] ^ crc >> 4;
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; n; n--, p++)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}
#endif

uint32_t vt_crc32c(uint32_t crc, const void *data, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, data, n);
#endif
    return ~crc_table(~crc, data, n);
}

uint32_t vt_crc32c_portable(uint32_t crc, const void *data, size_t n)
{
    return ~crc_table(~crc, data, n);
}

/* What a type's payload may be long; all: 0 where we don't know it. */
struct body_size {
    uint32_t least, most;
};

#define ONE_SIZE(body)                                                                                       \
    {                                                                                                        \
        sizeof(body), sizeof(body)                                                                           \
    }
static const struct body_size body_sizes[] = {
    [VTG_HELLO] = ONE_SIZE(struct vtg_hello),
    [VTG_CLOCKS] = ONE_SIZE(struct vtg_clocks),
    [VTG_MARK] = ONE_SIZE(struct vtg_mark),
    [VTG_GAPS] = ONE_SIZE(struct vtg_gaps),
    [VTG_RELAY] = ONE_SIZE(struct vtg_relay),
    [VTG_SYSTEM] = ONE_SIZE(struct vtg_system),
    [VTG_VIEW] = ONE_SIZE(struct vtg_view),
    [VTG_CPUS] = { offsetof(struct vtg_cpus, cpus), sizeof(struct vtg_cpus) },
    [VTG_PROCESS] = ONE_SIZE(struct vtg_process),
    [VTG_RUN] = ONE_SIZE(struct vtg_run),
    [VTG_TASK] = ONE_SIZE(struct vtg_task),
    [VTG_TASKS] = { offsetof(struct vtg_tasks, data), sizeof(struct vtg_tasks) },
    [VTG_EVENT] = ONE_SIZE(struct vtg_event),
    [VTG_PONG] = ONE_SIZE(struct vtg_pong),
    [VTG_PING] = ONE_SIZE(struct vtg_ping),
};

static bool is_known(uint8_t type)
{
    return type < sizeof(body_sizes) / sizeof(*body_sizes) && body_sizes[type].most;
}

/* Only frames of guests that may be missed have a place in the sequence. */
static bool is_counted(uint8_t type)
{
    return type != VTG_RELAY && type != VTG_PING && type != VTG_PONG;
}

/* A body that was cut after its last row says how many it has: as many as there are. */
static bool fits(uint8_t type, const union vt_frame_body *body, uint32_t len)
{
    switch (type) {
    case VTG_GAPS:
        return body->gaps.nr <= VTG_GAPS_MAX;
    case VTG_CPUS:
        return body->cpus.nr <= VTG_CPUS_MAX &&
               len == offsetof(struct vtg_cpus, cpus) + body->cpus.nr * sizeof(struct vtg_cpu_time);
    case VTG_TASKS:
        return body->tasks.bytes <= VTG_TASKS_BYTES && body->tasks.nr <= VTG_TASKS_BYTES &&
               len == offsetof(struct vtg_tasks, data) + body->tasks.bytes;
    default:
        return true;
    }
}

static uint32_t frame_crc(const struct vtg_frame *frame, const void *payload)
{
    struct vtg_frame bare = *frame;
    bare.crc = 0;
    return vt_crc32c(vt_crc32c(0, &bare, sizeof(bare)), payload, frame->len);
}

/* In the order of a sender that sends again: is this frame due? */
static bool is_due(struct vt_frame_decoder *d, const struct vtg_frame *frame)
{
    const uint32_t ahead = frame->seq - d->next_seq;
    if (!d->synced || ahead == 0)
        return true;
    if (ahead < UINT32_MAX / 2)
        d->early++;
    else if (d->has_acked && d->acked - frame->seq - 1 < UINT32_MAX / 2)
        d->replayed++;
    else
        d->repeated++;
    return false;
}

static void count_seq(struct vt_frame_decoder *d, const struct vtg_frame *frame)
{
    const uint32_t ahead = frame->seq - d->next_seq;
    if (d->synced && ahead != 0) {
        if (ahead < UINT32_MAX / 2)
            d->lost_frames += ahead;
        else if (frame->type != VTG_HELLO)
            d->lost_frames++; /* it went back: a repeat, or a restart whose hello was lost */
    }
    d->synced = 1;
    d->next_seq = frame->seq + 1;
}

static void take_frame(struct vt_frame_decoder *d, const struct vtg_frame *frame, const uint8_t *payload,
                       vt_frame_sink *sink, void *context)
{
    if (is_counted(frame->type)) {
        if (d->in_order && !is_due(d, frame))
            return;
        count_seq(d, frame);
    }
    if (!is_known(frame->type)) {
        d->unknown++;
        return;
    }
    const struct body_size *size = &body_sizes[frame->type];
    union vt_frame_body body;
    memset(&body, 0, sizeof(body));
    if (frame->len < size->least || frame->len > size->most) {
        d->bad_length++;
        return;
    }
    memcpy(&body, payload, frame->len);
    if (!fits(frame->type, &body, frame->len)) {
        d->bad_length++;
        return;
    }
    sink(context, (enum vtg_type)frame->type, &body);
}

/*
 * Looks at buf[at, have): returns how many bytes are done with, 0 if more are
 * needed.  After a bad CRC the search goes on one byte further: the header may
 * have been the garbage, and a good frame may begin inside what it claimed.
 */
static size_t step(struct vt_frame_decoder *d, size_t at, vt_frame_sink *sink, void *context)
{
    struct vtg_frame frame;
    const size_t left = d->have - at;
    const uint8_t magic[2] = { VTG_MAGIC & 0xff, VTG_MAGIC >> 8 };
    if (left == 0)
        return 0;
    if (memcmp(d->buf + at, magic, left < 2 ? left : 2) != 0)
        goto garbage;
    if (left < sizeof(frame))
        return 0;
    memcpy(&frame, d->buf + at, sizeof(frame));
    if (frame.version != VTG_VERSION || frame.len > VTG_MAX_PAYLOAD)
        goto garbage;
    if (left < sizeof(frame) + frame.len)
        return 0;
    if (frame_crc(&frame, d->buf + at + sizeof(frame)) != frame.crc) {
        d->bad_crc++;
        goto garbage;
    }
    take_frame(d, &frame, d->buf + at + sizeof(frame), sink, context);
    return sizeof(frame) + frame.len;
garbage:
    d->skipped_bytes++;
    return 1;
}

void vt_frame_decode(struct vt_frame_decoder *d, const void *data, size_t n, vt_frame_sink *sink,
                     void *context)
{
    const uint8_t *p = data;
    while (n) {
        /* A full buffer always moves: it holds a whole frame, or garbage in front. */
        const size_t room = sizeof(d->buf) - d->have;
        const size_t take = n < room ? n : room;
        memcpy(d->buf + d->have, p, take);
        d->have += take;
        p += take;
        n -= take;

        size_t at = 0, done;
        while ((done = step(d, at, sink, context)) > 0)
            at += done;
        d->have -= at;
        memmove(d->buf, d->buf + at, d->have);
    }
}

size_t vt_frame_encode(void *out, enum vtg_type type, uint32_t seq, const void *payload, uint32_t len)
{
    struct vtg_frame frame = {
        .magic = VTG_MAGIC, .version = VTG_VERSION, .type = (uint8_t)type, .len = len, .seq = seq
    };
    if (len > VTG_MAX_PAYLOAD)
        return 0;
    frame.crc = frame_crc(&frame, payload);
    memcpy(out, &frame, sizeof(frame));
    if (len)
        memcpy((uint8_t *)out + sizeof(frame), payload, len);
    return sizeof(frame) + len;
}

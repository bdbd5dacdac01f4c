/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

/* Presence bits. The order of the bits is the order of the fields. */
enum {
    HAS_OFF = 1 << 0,
    HAS_WAIT = 1 << 1,
    HAS_ON_CPU = 1 << 2, /* seven bits */
    HAS_STATES = 1 << 9,
    HAS_CPU = 1 << 10,
    HAS_EXITS = 1 << 11,
    HAS_USER_EXITS = 1 << 12,
    HAS_DETAIL = 1 << 13, /* throttled, polled before */
    HAS_RARE = 1 << 14,
    HAS_RESIDUE = 1 << 15,
};
_Static_assert(HAS_ON_CPU << VT_NR_ON_CPU == HAS_STATES, "an on-CPU part was added: a new chunk version");

enum { VARINT_MAX = 10, RARE_BYTES = 6 };
/* No slice is longer: bits, 9 durations, states, cpu, 2 counts, throttled, tail, rare, residue. */
enum { SLICE_MAX = 2 + 9 * VARINT_MAX + 1 + 3 + 2 * 5 + 3 * VARINT_MAX + RARE_BYTES + VARINT_MAX };

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static void put_fixed(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_fixed(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t zigzag(uint64_t v)
{
    return (v << 1) ^ (0 - (v >> 63));
}

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

static uint64_t on_cpu_sum(const struct vt_slice *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < VT_NR_ON_CPU; i++)
        sum += s->on_cpu[i];
    return sum;
}

static bool is_rare(const struct vt_slice *s, const struct vt_slice *prev)
{
    return s->flags || s->off_cause || s->migrations != (s->cpu != prev->cpu) ||
           s->tail_state != prev->tail_state || s->off_state > 15 || s->wait_state > 15;
}

static unsigned presence(const struct vt_slice *s, const struct vt_slice *prev)
{
    unsigned has = 0;
    has |= s->t_wake != s->t_out ? HAS_OFF : 0;
    has |= s->t_in != s->t_wake ? HAS_WAIT : 0;
    for (int i = 0; i < VT_NR_ON_CPU; i++)
        has |= s->on_cpu[i] ? (unsigned)HAS_ON_CPU << i : 0;
    has |= s->off_state != prev->off_state || s->wait_state != prev->wait_state ? HAS_STATES : 0;
    has |= s->cpu != prev->cpu ? HAS_CPU : 0;
    has |= s->exits ? HAS_EXITS : 0;
    has |= s->user_exits ? HAS_USER_EXITS : 0;
    has |= s->throttled_ns || s->tail_poll_ns || s->tail_back_ns ? HAS_DETAIL : 0;
    has |= is_rare(s, prev) ? HAS_RARE : 0;
    has |= s->t_end - s->t_in != on_cpu_sum(s) ? HAS_RESIDUE : 0;
    return has;
}

static uint8_t *put_slice(uint8_t *p, const struct vt_slice *s, const struct vt_slice *prev)
{
    const unsigned has = presence(s, prev);
    put_fixed(p, has, 2);
    p += 2;
    if (has & HAS_OFF)
        p = put_varint(p, s->t_wake - s->t_out);
    if (has & HAS_WAIT)
        p = put_varint(p, s->t_in - s->t_wake);
    for (int i = 0; i < VT_NR_ON_CPU; i++)
        if (has & (unsigned)HAS_ON_CPU << i)
            p = put_varint(p, s->on_cpu[i]);
    if (has & HAS_STATES)
        *p++ = (uint8_t)(s->off_state << 4 | (s->wait_state & 15));
    if (has & HAS_CPU)
        p = put_varint(p, s->cpu);
    if (has & HAS_EXITS)
        p = put_varint(p, s->exits);
    if (has & HAS_USER_EXITS)
        p = put_varint(p, s->user_exits);
    if (has & HAS_DETAIL)
        p = put_varint(put_varint(put_varint(p, s->throttled_ns), s->tail_poll_ns), s->tail_back_ns);
    if (has & HAS_RARE) {
        const uint8_t rare[RARE_BYTES] = { s->flags,     s->migrations, s->tail_state,
                                           s->off_cause, s->off_state,  s->wait_state };
        memcpy(p, rare, sizeof(rare));
        p += sizeof(rare);
    }
    if (has & HAS_RESIDUE)
        p = put_varint(p, zigzag(s->t_end - s->t_in - on_cpu_sum(s)));
    return p;
}

bool vt_chunk_takes(const struct vt_chunk *chunk, const struct vt_slice *slice)
{
    if (chunk->count == 0)
        return true;
    return chunk->count < VT_CHUNK_SLICES && chunk->size + SLICE_MAX <= VT_CHUNK_BYTES &&
           slice->seq == chunk->prev.seq + 1 && slice->t_out == chunk->prev.t_end;
}

static int make_room(struct vt_chunk *chunk)
{
    if (chunk->count == 0)
        chunk->size = VT_CHUNK_HEADER;
    if (chunk->capacity - chunk->size >= SLICE_MAX && chunk->data)
        return 0;
    const size_t capacity = chunk->capacity ? 2 * chunk->capacity : 512;
    uint8_t *data = realloc(chunk->data, capacity);
    if (!data)
        return -ENOMEM;
    chunk->data = data;
    chunk->capacity = capacity;
    return 0;
}

int vt_chunk_add(struct vt_chunk *chunk, const struct vt_slice *slice)
{
    if (!vt_chunk_takes(chunk, slice))
        return -EINVAL;
    const int r = make_room(chunk);
    if (r < 0)
        return r;
    if (chunk->count == 0) {
        chunk->prev = (struct vt_slice){ 0 };
        chunk->first_seq = slice->seq;
        chunk->begin = slice->t_out;
    }
    uint8_t *end = put_slice(chunk->data + chunk->size, slice, &chunk->prev);
    chunk->size = (size_t)(end - chunk->data);
    chunk->count++;
    chunk->prev = *slice;
    return 0;
}

const uint8_t *vt_chunk_finish(struct vt_chunk *chunk, size_t *ret_size)
{
    put_fixed(chunk->data + 4, VT_CHUNK_VERSION, 2);
    put_fixed(chunk->data + 6, chunk->count, 2);
    put_fixed(chunk->data + 8, chunk->first_seq, 8);
    put_fixed(chunk->data + 16, chunk->begin, 8);
    put_fixed(chunk->data + 24, chunk->prev.t_end, 8);
    put_fixed(chunk->data, vt_crc32c(0, chunk->data + 4, chunk->size - 4), 4);
    *ret_size = chunk->size;
    return chunk->data;
}

void vt_chunk_reset(struct vt_chunk *chunk)
{
    chunk->count = 0;
    chunk->size = 0;
}

void vt_chunk_release(struct vt_chunk *chunk)
{
    if (!chunk)
        return;
    free(chunk->data);
    *chunk = (struct vt_chunk){ 0 };
}

/* Reading: `bad` sticks, so that a slice is checked once at its end. */
struct source {
    const uint8_t *p, *end;
    bool bad;
};

static uint8_t get_byte(struct source *src)
{
    if (src->p == src->end) {
        src->bad = true;
        return 0;
    }
    return *src->p++;
}

static uint64_t get_varint(struct source *src)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 7 * VARINT_MAX; shift += 7) {
        const uint8_t b = get_byte(src);
        if (shift == 63 && b > 1)
            break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    src->bad = true;
    return 0;
}

static uint64_t get_limited(struct source *src, uint64_t limit)
{
    const uint64_t v = get_varint(src);
    if (v > limit)
        src->bad = true;
    return v;
}

static void get_rare(struct source *src, struct vt_slice *s)
{
    s->flags = get_byte(src);
    s->migrations = get_byte(src);
    s->tail_state = get_byte(src);
    s->off_cause = get_byte(src);
    s->off_state = get_byte(src);
    s->wait_state = get_byte(src);
}

static void get_slice(struct source *src, struct vt_slice *s, const struct vt_slice *prev)
{
    unsigned has = get_byte(src);
    has |= (unsigned)get_byte(src) << 8;
    *s = (struct vt_slice){ .seq = prev->seq + 1,
                            .t_out = prev->t_end,
                            .cpu = prev->cpu,
                            .off_state = prev->off_state,
                            .wait_state = prev->wait_state,
                            .tail_state = prev->tail_state };
    s->t_wake = s->t_out + (has & HAS_OFF ? get_varint(src) : 0);
    s->t_in = s->t_wake + (has & HAS_WAIT ? get_varint(src) : 0);
    for (int i = 0; i < VT_NR_ON_CPU; i++)
        if (has & (unsigned)HAS_ON_CPU << i)
            s->on_cpu[i] = get_varint(src);
    if (has & HAS_STATES) {
        const uint8_t states = get_byte(src);
        s->off_state = states >> 4;
        s->wait_state = states & 15;
    }
    if (has & HAS_CPU) {
        s->cpu = (uint16_t)get_limited(src, UINT16_MAX);
        s->migrations = 1;
    }
    if (has & HAS_EXITS)
        s->exits = (uint32_t)get_limited(src, UINT32_MAX);
    if (has & HAS_USER_EXITS)
        s->user_exits = (uint32_t)get_limited(src, UINT32_MAX);
    if (has & HAS_DETAIL) {
        s->throttled_ns = get_varint(src);
        s->tail_poll_ns = get_varint(src);
        s->tail_back_ns = get_varint(src);
    }
    if (has & HAS_RARE)
        get_rare(src, s);
    s->t_end = s->t_in + on_cpu_sum(s) + (has & HAS_RESIDUE ? unzigzag(get_varint(src)) : 0);
}

int vt_chunk_peek(const void *data, size_t size, struct vt_chunk_info *ret)
{
    const uint8_t *p = data;
    if (size < VT_CHUNK_HEADER || size > VT_CHUNK_BYTES || get_fixed(p + 4, 2) != VT_CHUNK_VERSION)
        return -EUCLEAN;
    if (get_fixed(p, 4) != vt_crc32c(0, p + 4, size - 4))
        return -EUCLEAN;
    const uint32_t count = (uint32_t)get_fixed(p + 6, 2);
    /* A slice takes two bytes at least: no count can ask for more memory than that. */
    if (count == 0 || count > VT_CHUNK_SLICES || count > (size - VT_CHUNK_HEADER) / 2)
        return -EUCLEAN;
    *ret = (struct vt_chunk_info){ .first_seq = get_fixed(p + 8, 8),
                                   .begin = get_fixed(p + 16, 8),
                                   .end = get_fixed(p + 24, 8),
                                   .count = count };
    return 0;
}

int vt_chunk_decode(const void *data, size_t size, struct vt_slice *out, size_t room)
{
    struct vt_chunk_info info;
    const int r = vt_chunk_peek(data, size, &info);
    if (r < 0)
        return r;
    if (info.count > room)
        return -EUCLEAN;
    struct source src = { .p = (const uint8_t *)data + VT_CHUNK_HEADER, .end = (const uint8_t *)data + size };
    struct vt_slice prev = { .seq = info.first_seq - 1, .t_end = info.begin };
    for (uint32_t i = 0; i < info.count; i++) {
        get_slice(&src, &out[i], &prev);
        if (src.bad)
            return -EUCLEAN;
        prev = out[i];
    }
    if (src.p != src.end || prev.t_end != info.end)
        return -EUCLEAN;
    return (int)info.count;
}

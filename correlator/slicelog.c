/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/slicelog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Upper bound of one coded slice: 16 varints of at most 10 bytes, and 6 bytes. */
#define SLICE_MAX 176u

/* The bit of the first mask byte above the on_cpu[] bits, and one that no slice's flags use. */
enum { ON_WHOLE = 1 << 7, HAS_EXTRA = 1 << 7 };
_Static_assert(VT_NR_ON_CPU <= 7 && (int)VT_SLICE_WAITS < (int)HAS_EXTRA, "no bit is left");
/* Bits of the second mask byte. */
enum {
    X_THROTTLED = 1,
    X_POLL = 2,
    X_BACK = 4,
    X_EXITS = 8,
    X_USER = 16,
    X_MIGRATIONS = 32,
    X_TAIL = 64,
    X_CAUSE = 128
};

static uint8_t *put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static const uint8_t *get(const uint8_t *p, uint64_t *v)
{
    uint64_t r = *p & 0x7f;
    for (unsigned int shift = 7; *p++ & 0x80; shift += 7)
        r |= (uint64_t)(*p & 0x7f) << shift;
    *v = r;
    return p;
}

/* Differences may go backwards in a damaged recording: coded modulo 2^64. */
static uint8_t *put_delta(uint8_t *p, uint64_t to, uint64_t from)
{
    uint64_t d = to - from;
    return put(p, d << 1 ^ (0 - (d >> 63)));
}

static const uint8_t *get_delta(const uint8_t *p, uint64_t *to, uint64_t from)
{
    uint64_t v;
    p = get(p, &v);
    *to = from + (v >> 1 ^ (0 - (v & 1)));
    return p;
}

static uint8_t *put_on_cpu(uint8_t *p, const struct vt_slice *s)
{
    unsigned int mask = 0, bits = 0;
    uint64_t sum = 0;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        if (!s->on_cpu[i])
            continue;
        mask |= 1u << i;
        bits++;
        sum += s->on_cpu[i];
    }
    bool whole = bits == 1 && sum == s->t_end - s->t_in;
    *p++ = (uint8_t)(mask | (whole ? ON_WHOLE : 0u));
    for (unsigned int i = 0; i < VT_NR_ON_CPU && !whole; i++)
        if (s->on_cpu[i])
            p = put(p, s->on_cpu[i]);
    return p;
}

static uint8_t *put_slice(uint8_t *p, const struct vt_slice *s, uint64_t prev_seq, uint64_t prev_end)
{
    uint8_t extra = (uint8_t)((s->throttled_ns ? X_THROTTLED : 0) | (s->tail_poll_ns ? X_POLL : 0) |
                              (s->tail_back_ns ? X_BACK : 0) | (s->exits ? X_EXITS : 0) |
                              (s->user_exits ? X_USER : 0) | (s->migrations ? X_MIGRATIONS : 0) |
                              (s->tail_state ? X_TAIL : 0) | (s->off_cause ? X_CAUSE : 0));
    p = put_delta(p, s->seq, prev_seq + 1);
    p = put_delta(p, s->t_out, prev_end);
    p = put_delta(p, s->t_wake, s->t_out);
    p = put_delta(p, s->t_in, s->t_wake);
    p = put_delta(p, s->t_end, s->t_in);
    *p++ = (uint8_t)(s->off_state << 4 | (s->wait_state & 15));
    *p++ = (uint8_t)((s->flags & ~HAS_EXTRA) | (extra ? HAS_EXTRA : 0));
    p = put(p, s->cpu);
    p = put_on_cpu(p, s);
    if (!extra)
        return p;
    *p++ = extra;
    if (s->throttled_ns)
        p = put(p, s->throttled_ns);
    if (s->tail_poll_ns)
        p = put(p, s->tail_poll_ns);
    if (s->tail_back_ns)
        p = put(p, s->tail_back_ns);
    if (s->exits)
        p = put(p, s->exits);
    if (s->user_exits)
        p = put(p, s->user_exits);
    if (s->migrations)
        *p++ = s->migrations;
    if (s->tail_state)
        *p++ = s->tail_state;
    if (s->off_cause)
        *p++ = s->off_cause;
    return p;
}

static const uint8_t *get_on_cpu(const uint8_t *p, struct vt_slice *s)
{
    unsigned int mask = *p++;
    for (unsigned int i = 0; i < VT_NR_ON_CPU; i++) {
        if (!(mask & 1u << i))
            continue;
        if (mask & ON_WHOLE)
            s->on_cpu[i] = s->t_end - s->t_in;
        else
            p = get(p, &s->on_cpu[i]);
    }
    return p;
}

static const uint8_t *get_extra(const uint8_t *p, struct vt_slice *s)
{
    unsigned int mask = *p++;
    uint64_t v;
    if (mask & X_THROTTLED)
        p = get(p, &s->throttled_ns);
    if (mask & X_POLL)
        p = get(p, &s->tail_poll_ns);
    if (mask & X_BACK)
        p = get(p, &s->tail_back_ns);
    if (mask & X_EXITS) {
        p = get(p, &v);
        s->exits = (uint32_t)v;
    }
    if (mask & X_USER) {
        p = get(p, &v);
        s->user_exits = (uint32_t)v;
    }
    if (mask & X_MIGRATIONS)
        s->migrations = *p++;
    if (mask & X_TAIL)
        s->tail_state = *p++;
    if (mask & X_CAUSE)
        s->off_cause = *p++;
    return p;
}

static const uint8_t *get_slice(const uint8_t *p, struct vt_slice *s, uint64_t prev_seq, uint64_t prev_end)
{
    bool extra;
    uint64_t cpu;
    memset(s, 0, sizeof(*s));
    p = get_delta(p, &s->seq, prev_seq + 1);
    p = get_delta(p, &s->t_out, prev_end);
    p = get_delta(p, &s->t_wake, s->t_out);
    p = get_delta(p, &s->t_in, s->t_wake);
    p = get_delta(p, &s->t_end, s->t_in);
    s->off_state = *p >> 4;
    s->wait_state = *p++ & 15;
    extra = *p & HAS_EXTRA;
    s->flags = (uint8_t)(*p++ & ~HAS_EXTRA);
    p = get(p, &cpu);
    s->cpu = (uint16_t)cpu;
    p = get_on_cpu(p, s);
    return extra ? get_extra(p, s) : p;
}

static int add_chunk(struct vt_slicelog *log)
{
    if (log->nr_chunks == log->room) {
        size_t room = log->room ? 2 * log->room : 8;
        struct vt_slice_chunk *chunks = realloc(log->chunks, room * sizeof(*chunks));
        if (!chunks)
            return -ENOMEM;
        log->chunks = chunks;
        log->room = room;
    }
    if (log->nr_chunks) { /* the full one keeps only what it needs */
        struct vt_slice_chunk *full = &log->chunks[log->nr_chunks - 1];
        uint8_t *data = realloc(full->data, full->bytes);
        if (data) {
            full->data = data;
            full->room = full->bytes;
        }
    }
    log->chunks[log->nr_chunks++] = (struct vt_slice_chunk){
        .prev_end = log->last_end,
        .prev_seq = log->last_seq,
        .prev_latest = log->latest,
        .has_prev = log->has_last,
    };
    return 0;
}

int vt_slicelog_append(struct vt_slicelog *log, const struct vt_slice *slice)
{
    struct vt_slice_chunk *c = log->nr_chunks ? &log->chunks[log->nr_chunks - 1] : NULL;
    if (!c || c->n == VT_SLICELOG_CHUNK) {
        int r = add_chunk(log);
        if (r)
            return r;
        c = &log->chunks[log->nr_chunks - 1];
    }
    if (c->room - c->bytes < SLICE_MAX) {
        uint32_t room = c->room + 2 * SLICE_MAX;
        uint8_t *data = realloc(c->data, room);
        if (!data)
            return -ENOMEM;
        c->data = data;
        c->room = room;
    }
    c->bytes = (uint32_t)(put_slice(c->data + c->bytes, slice, log->last_seq, log->last_end) - c->data);
    c->n++;
    log->nr_slices++;
    log->has_last = true;
    log->last_seq = slice->seq;
    log->last_end = slice->t_end;
    if (slice->t_end > log->latest)
        log->latest = slice->t_end;
    c->to = log->latest;
    return 0;
}

void vt_slicelog_forget(struct vt_slicelog *log, uint64_t before)
{
    size_t n = 0;
    while (n < log->nr_chunks && log->chunks[n].n == VT_SLICELOG_CHUNK && log->chunks[n].to <= before) {
        log->nr_slices -= log->chunks[n].n;
        free(log->chunks[n++].data);
    }
    log->nr_chunks -= n;
    if (n)
        memmove(log->chunks, log->chunks + n, log->nr_chunks * sizeof(*log->chunks));
}

void vt_slicelog_release(struct vt_slicelog *log)
{
    for (size_t i = 0; i < log->nr_chunks; i++)
        free(log->chunks[i].data);
    free(log->chunks);
    *log = (struct vt_slicelog){ 0 };
}

static void enter(struct vt_slicelog_place *place)
{
    const struct vt_slicelog *log = place->log;
    place->index = place->offset = 0;
    if (place->chunk >= log->nr_chunks) {
        place->has_prev = log->has_last;
        place->prev_end = log->last_end;
        place->prev_seq = log->last_seq;
        place->latest = log->latest;
        return;
    }
    place->has_prev = log->chunks[place->chunk].has_prev;
    place->prev_end = log->chunks[place->chunk].prev_end;
    place->prev_seq = log->chunks[place->chunk].prev_seq;
    place->latest = log->chunks[place->chunk].prev_latest;
}

struct vt_slicelog_place vt_slicelog_seek(const struct vt_slicelog *log, uint64_t from)
{
    size_t low = 0, high = log->nr_chunks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->chunks[middle].to > from)
            high = middle;
        else
            low = middle + 1;
    }
    struct vt_slicelog_place place = { .log = log, .chunk = low };
    enter(&place);
    return place;
}

bool vt_slicelog_next(struct vt_slicelog_place *place, struct vt_slice *ret)
{
    const struct vt_slicelog *log = place->log;
    if (place->chunk < log->nr_chunks && place->index == log->chunks[place->chunk].n) {
        place->chunk++;
        enter(place);
    }
    if (place->chunk >= log->nr_chunks)
        return false;
    const uint8_t *data = log->chunks[place->chunk].data;
    const uint8_t *next = get_slice(data + place->offset, ret, place->prev_seq, place->prev_end);
    place->offset = (uint32_t)(next - data);
    place->index++;
    place->has_prev = true;
    place->prev_seq = ret->seq;
    place->prev_end = ret->t_end;
    return true;
}

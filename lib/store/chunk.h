/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Codec of slice chunks: struct vt_slice <-> bytes, pure.  A chunk holds
 * contiguous slices of one vCPU (t_out is the previous t_end, seq the previous
 * seq + 1), so that only durations are stored.  Lossless for every struct
 * vt_slice, absurd ones included: differences are taken modulo 2^64.
 *
 * Bytes, little-endian:
 *   u32 crc      CRC-32C of all that follows
 *   u16 version  VT_CHUNK_VERSION
 *   u16 count    slices, 1 … VT_CHUNK_SLICES
 *   u64 seq      of the first slice
 *   u64 t_out    of the first slice, ns
 *   u64 t_end    of the last slice, ns: what the durations must add up to
 * then each slice: two bytes of presence bits (enum in chunk.c) and, for each
 * bit set, in the order of the bits, its field as LEB128 varint:
 *   off      t_wake - t_out
 *   wait     t_in - t_wake
 *   on_cpu   six parts; t_end is t_in + their sum + residue
 *   states   one byte off_state << 4 | wait_state; absent: as the slice before
 *   cpu      absent: as the slice before
 *   exits, user_exits, throttled_ns
 *   tail     tail_poll_ns, tail_back_ns
 *   rare     six bytes: flags, migrations, tail_state, pad_, off_state,
 *            wait_state; absent: 0, 1 if cpu is present else 0, as before, 0
 *   residue  t_end - t_in - sum of on_cpu, zigzag: law 1's check stays a check
 */
#ifndef VT_STORE_CHUNK_H
#define VT_STORE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/ledger.h"

#define VT_CHUNK_VERSION 2
#define VT_CHUNK_SLICES  4096u
#define VT_CHUNK_BYTES   65536u
#define VT_CHUNK_HEADER  32u

/** A chunk being built; start zeroed, release at the end, reset to begin the next. */
struct vt_chunk {
    uint8_t *data; /* header space first */
    size_t size, capacity;
    uint32_t count;
    uint64_t first_seq, begin;
    struct vt_slice prev; /* the last slice added */
};

struct vt_chunk_info {
    uint64_t first_seq, begin, end; /* end: t_end of the last slice */
    uint32_t count;
};

/** Can slice go into this chunk: is it the next in line, and is there room? */
bool vt_chunk_takes(const struct vt_chunk *chunk, const struct vt_slice *slice);

/** 0, -ENOMEM (the chunk is as before), -EINVAL if the chunk does not take it. */
int vt_chunk_add(struct vt_chunk *chunk, const struct vt_slice *slice);

/** Completes the header; the bytes stay the chunk's until reset or release. */
const uint8_t *vt_chunk_finish(struct vt_chunk *chunk, size_t *ret_size);

void vt_chunk_reset(struct vt_chunk *chunk); /* keeps the memory */
void vt_chunk_release(struct vt_chunk *chunk);

/** Header of foreign bytes: 0 or -EUCLEAN. Checks the CRC too. */
int vt_chunk_peek(const void *data, size_t size, struct vt_chunk_info *ret);

/**
 * Decodes foreign bytes into out[room]: the number of slices, or -EUCLEAN if
 * they are damaged, or do not fit. Never reads past size; out is unspecified
 * on failure.
 */
int vt_chunk_decode(const void *data, size_t size, struct vt_slice *out, size_t room);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the ledger tells as it happens, from kernel to user space: one ring of cells for all
 * CPUs, so that what befalls a vCPU comes in the order in which it befell it, wherever it ran.
 *
 * A writer takes cells by one atomic addition, fills them, and writes the head of each last, with the
 * number of the round: by it the reader, who writes no cell, knows those of this round.  There is no
 * lock and no call: BPF's own ring buffer (kernel/bpf/ringbuf.c, 6.18) takes a spin lock and
 * makes two calls for each record, which was a quarter of what a switch cost.  A cell is a
 * cache line, since what is dear about a record is to have the line that the reader had last.
 *
 * A writer who finds room may be overtaken, between looking and taking, by interrupts on
 * its CPU and by all other CPUs: VT_CELLS_SPARE of them for each CPU are kept free for that.
 *
 * Pure, without libc: the BPF programs and user space compile the same.
 */
#ifndef VT_CELLS_H
#define VT_CELLS_H

#include "vt/ledger.h"

#define VT_CELL_WORDS 7
#define VT_CELL_BYTES 64
/* Of a CPU: a slice, of the most cells, from a task, a softirq, an interrupt and an NMI. */
#define VT_CELLS_SPARE 12

/* Slot + generation name the vCPU. */
enum vt_cell_type {
    VT_CELL_SHORT,   /* a slice that fits: struct vt_slice_short */
    VT_CELL_SLICE,   /* a slice as it is: as many cells as it takes */
    VT_CELL_MORE,    /* of the slice before */
    VT_CELL_SEGMENT, /* struct vt_segment; slot 0 */
    VT_CELL_MOVE,    /* struct vt_move */
    VT_CELL_WAIT,    /* struct vt_wait, of a helper */
    VT_CELL_OUTER,   /* struct vt_outer */
};

struct vt_cell {
    vt_u8 type;  /* enum vt_cell_type */
    vt_u8 round; /* vt_cell_round() */
    vt_u16 slot;
    vt_u32 generation;
    vt_u64 words[VT_CELL_WORDS];
} __attribute__((aligned(VT_CELL_BYTES)));

#define VT_SLICE_CELLS ((sizeof(struct vt_slice) + 8 * VT_CELL_WORDS - 1) / (8 * VT_CELL_WORDS))

_Static_assert(sizeof(struct vt_cell) == VT_CELL_BYTES, "a cell is a cache line");
_Static_assert(sizeof(struct vt_segment) <= 8 * VT_CELL_WORDS &&
                   sizeof(struct vt_move) <= 8 * VT_CELL_WORDS &&
                   sizeof(struct vt_wait) <= 8 * VT_CELL_WORDS &&
                   sizeof(struct vt_outer) <= 8 * VT_CELL_WORDS,
               "in one cell");
_Static_assert(4 * VT_SLICE_CELLS <= VT_CELLS_SPARE, "see VT_CELLS_SPARE");

/* Counts of cells since the begin; a cell's place is its count modulo their number, a power of two. */
struct vt_cells {
    vt_u64 taken __attribute__((aligned(VT_CELL_BYTES))); /* by writers */
    vt_u64 read __attribute__((aligned(VT_CELL_BYTES)));  /* by the reader, who alone writes it */
    vt_u32 rung;                                          /* the reader was called, and did not come yet */
};

#define VT_NO_CELL (~0ull)

/** The first of nr cells in a row, or VT_NO_CELL; room: all but those kept spare. */
static inline __attribute__((always_inline)) vt_u64 vt_cells_take(struct vt_cells *c, vt_u32 nr, vt_u64 room)
{
    const vt_u64 read = *(volatile vt_u64 *)&c->read;

    /* signed: where loads may change places `taken` may be the older one */
    if (__builtin_expect((vt_s64)(*(volatile vt_u64 *)&c->taken + nr - read) > (vt_s64)room, 0))
        return VT_NO_CELL;
    return __sync_fetch_and_add(&c->taken, nr);
}

/** How often the ring was gone through, of 2^bits cells, by the cell of that count; from 1 on: a cell begins
 * as 0. */
static inline __attribute__((always_inline)) vt_u8 vt_cell_round(vt_u64 count, vt_u32 bits)
{
    return (vt_u8)((count >> bits) + 1);
}

/** It is filled: the reader may have it. */
static inline __attribute__((always_inline)) void vt_cell_tell(struct vt_cell *cell, vt_u32 type, vt_u8 round,
                                                               vt_u32 slot, vt_u32 generation)
{
    const vt_u64 head = /* little-endian */
        type | (vt_u64)round << 8 | (vt_u64)slot << 16 | (vt_u64)generation << 32;

#ifdef __bpf__ /* has no store that releases before 6.15; of x86 every store is seen in its order */
#ifdef __TARGET_ARCH_x86
    __asm__ volatile("" ::: "memory");
    *(volatile vt_u64 *)cell = head;
#else
    __sync_lock_test_and_set((vt_u64 *)cell, head); /* BPF's exchange is a full barrier */
#endif
#else
    __atomic_store_n((vt_u64 *)(void *)cell, head, __ATOMIC_RELEASE);
#endif
}

#endif

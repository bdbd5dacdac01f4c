/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cells.h"

#include <string.h>

#include "vt/slice_pack.h"

/* Cells are given back by so many: each time costs the writers a line. */
enum { GIVE_BACK = 128 };

/* The spare ones are at most half of all. */
enum { TIMES_SPARE = 2 };

uint32_t vt_cells_bits(uint64_t bytes, uint32_t nr_cpus)
{
    const uint64_t least = (uint64_t)nr_cpus * VT_CELLS_SPARE * TIMES_SPARE;
    uint32_t bits = 0;

    while (bits < 30 && (UINT64_C(1) << bits < bytes / sizeof(struct vt_cell) || UINT64_C(1) << bits < least))
        bits++;
    return bits;
}

uint64_t vt_cells_room(uint32_t bits, uint32_t nr_cpus)
{
    return (UINT64_C(1) << bits) - (uint64_t)nr_cpus * VT_CELLS_SPARE;
}

static const struct vt_cell *cell_at(const struct vt_cells_reader *r, uint64_t count)
{
    return &r->cells[count & ((UINT64_C(1) << r->bits) - 1)];
}

/* False while it is being written: its head is of the round before. */
static bool is_told(const struct vt_cells_reader *r, uint64_t count)
{
    const uint64_t *word = (const uint64_t *)(const void *)cell_at(r, count);
    const uint64_t head = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    return (uint8_t)(head >> 8) == vt_cell_round(count, r->bits);
}

static uint32_t length_of(const struct vt_cell *first)
{
    return first->type == VT_CELL_SLICE ? VT_SLICE_CELLS : 1;
}

/* Are all cells of the record that begins there told? */
static bool is_whole(const struct vt_cells_reader *r, uint64_t at, uint32_t nr)
{
    for (uint32_t i = 0; i < nr; i++)
        if (!is_told(r, at + i))
            return false;
    return true;
}

static struct vt_slice whole_slice(const struct vt_cells_reader *r, uint64_t at)
{
    uint64_t words[VT_SLICE_CELLS * VT_CELL_WORDS];
    struct vt_slice s;

    for (uint32_t i = 0; i < VT_SLICE_CELLS; i++)
        memcpy(words + (size_t)i * VT_CELL_WORDS, cell_at(r, at + i)->words, sizeof(r->cells->words));
    memcpy(&s, words, sizeof(s));
    return s;
}

static int tell(const struct vt_cells_reader *r, uint64_t at, const struct vt_cell_sinks *to)
{
    const struct vt_cell *c = cell_at(r, at);
    struct vt_slice s;

    switch (c->type) {
    case VT_CELL_SHORT:
    case VT_CELL_SLICE:
        if (!to->slice)
            return 0;
        s = c->type == VT_CELL_SLICE ? whole_slice(r, at) : vt_slice_unpack((const void *)c->words);
        return to->slice(to->context, c->slot, c->generation, &s);
    case VT_CELL_SEGMENT:
        return to->segment ? to->segment(to->context, (const void *)c->words) : 0;
    case VT_CELL_MOVE:
        return to->move ? to->move(to->context, c->slot, c->generation, (const void *)c->words) : 0;
    case VT_CELL_WAIT:
        return to->wait ? to->wait(to->context, c->slot, c->generation, (const void *)c->words) : 0;
    case VT_CELL_OUTER:
        return to->outer ? to->outer(to->context, c->slot, c->generation, (const void *)c->words) : 0;
    default:
        return 0;
    }
}

int vt_cells_read(struct vt_cells_reader *r, const struct vt_cell_sinks *sinks)
{
    struct vt_cells *counts = r->counts;
    uint64_t at = counts->read;
    int e = 0;

    /* who finds it so full that the reader is wanted calls again: what he tells may come after `end` */
    __atomic_store_n(&counts->rung, 0, __ATOMIC_SEQ_CST);
    const uint64_t end = __atomic_load_n(&counts->taken, __ATOMIC_SEQ_CST);

    while (at != end && !e && is_told(r, at)) {
        const uint32_t nr = length_of(cell_at(r, at));
        if (!is_whole(r, at, nr))
            break;
        e = tell(r, at, sinks);
        at += nr;
        if (at - counts->read >= GIVE_BACK)
            __atomic_store_n(&counts->read, at, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&counts->read, at, __ATOMIC_RELEASE);
    return e;
}

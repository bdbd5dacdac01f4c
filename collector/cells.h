/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader's end of include/vt/cells.h. */
#ifndef VT_COLLECTOR_CELLS_H
#define VT_COLLECTOR_CELLS_H

#include <stdbool.h>
#include <stddef.h>

#include "vt/cells.h"

/** What to do with each record, NULL: nothing; a negative return stops and is returned. */
struct vt_cell_sinks {
    void *context;
    int (*slice)(void *context, uint32_t slot, uint32_t generation, const struct vt_slice *slice);
    int (*segment)(void *context, const struct vt_segment *segment);
    int (*move)(void *context, uint32_t slot, uint32_t generation, const struct vt_move *move);
    int (*wait)(void *context, uint32_t slot, uint32_t generation, const struct vt_wait *wait);
    int (*outer)(void *context, uint32_t slot, uint32_t generation, const struct vt_outer *outer);
};

/** Cells that are mapped, and their counts: both are its maker's. */
struct vt_cells_reader {
    const struct vt_cell *cells;
    uint32_t bits; /* there are 2^bits */
    struct vt_cells *counts;
};

/** A ring of so many bytes has 2^that many cells, and no less than it needs on so many CPUs. */
uint32_t vt_cells_bits(uint64_t bytes, uint32_t nr_cpus);

/** Of those, how many may wait for the reader. */
uint64_t vt_cells_room(uint32_t bits, uint32_t nr_cpus);

/**
 * Takes what waits as it begins, in its order, and gives the cells back; it ends before
 * one that is being written.  The record whose sink fails is taken, too.
 */
int vt_cells_read(struct vt_cells_reader *r, const struct vt_cell_sinks *sinks);

#endif

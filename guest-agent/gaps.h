/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a sleeper's lateness, or a tight loop's, says about time that a CPU was not there.  Pure. */
#ifndef VTA_GAPS_H
#define VTA_GAPS_H

#include <stdint.h>

struct vta_gap_sum {
    uint64_t period_ns;    /* between two looks; 0: a tight loop */
    uint64_t threshold_ns; /* less is no gap: a wake-up, an interrupt */
    uint64_t looks, count, longest_ns;
    uint64_t least_ns, most_ns; /* of all gaps together */
};

/**
 * A look that was due, and made late_ns after; waited_ns of it the sleeper sat on a run queue
 * of this system, as that tells.  The gap began up to a period before the look was due, and
 * what the system tells as waiting may have been the gap: least leaves both out, most not.
 */
void vta_gap_look(struct vta_gap_sum *g, uint64_t late_ns, uint64_t waited_ns);

struct vta_estimate {
    uint64_t least_ns, most_ns;
};

/** From both sources: the gaps, and the steal counter (in units of granule_ns); neither is believed alone. */
struct vta_estimate vta_gap_estimate(const struct vta_gap_sum *g, uint64_t steal_ns, uint64_t granule_ns,
                                     uint64_t window_ns);

#endif

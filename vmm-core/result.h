/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said at the end of a run. */
#ifndef VMM_RESULT_H
#define VMM_RESULT_H

#include "vmm-core/vmm.h"

struct run_result {
    const struct vmm_config *config;
    const struct outlet *outlet;
    bool bare;
    enum vmm_end end;
    uint64_t tsc_khz;
    uint64_t boot_ns;          /* from main() to the guest's first frame, 0: none came */
    uint64_t rss, ram_touched; /* bytes */
    uint64_t service_count, service_ns, exits;
    struct agent_ring ring; /* its counters */
};

void result_text(const struct run_result *r, bool stats);
int result_json(const struct run_result *r, struct vt_err *err);

#endif

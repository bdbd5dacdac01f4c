/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The application: does the work and logs its clocks.  The same object file is
 * linked into the payload, where guest.c serves it at CPL 3, and into vtime,
 * where bare.c serves it in a host process.
 */
#ifndef VMM_PAYLOAD_APP_H
#define VMM_PAYLOAD_APP_H

#include "vmm-core/payload/abi.h"

struct vt_app {
    const struct vp_params *params;
    void *platform;
    uint32_t vcpu;
    uint64_t work_done, work_end; /* units, and at which to stop, ~0: never */
    uint64_t next_log, log_tsc;   /* TSC of the next clock record; between two, 0: none */
    uint64_t deadline;            /* TSC at which to stop, ~0: never */
    uint64_t sink;                /* the work's result: keeps the compiler from dropping it */
};

/** Runs the workload between its marks. */
void vt_app_run(struct vt_app *app);

/* What the platform provides. */

/** Reads every clock there is; c is zeroed; vcpu and work_done are the caller's. */
void vt_plat_clocks(struct vt_app *app, struct vtg_clocks *c);
/** Sends a frame. May drop it (counted) if it is not important. */
void vt_plat_emit(struct vt_app *app, enum vtg_type type, const void *payload, uint32_t len, int important);
/** Sleeps, without using the CPU, until that TSC; with a periodic tick, until the first tick from then on. */
void vt_plat_sleep(struct vt_app *app, uint64_t until);
/** One access to the work port. */
void vt_plat_io(struct vt_app *app);
/** Non-zero: the platform wants the work to end early. */
int vt_plat_stop(struct vt_app *app);

#endif

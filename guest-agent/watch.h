/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What befalls the system's clocks and CPUs: found by comparing views and files. */
#ifndef VTA_WATCH_H
#define VTA_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-agent/procfs.h"
#include "vt/guest_wire.h"

typedef void vta_event_sink(void *context, const struct vtg_event *event);

struct vta_watch {
    struct vtg_view first, last; /* the rate of the TSC, and what views are compared with */
    bool has_view;
    int64_t unsaid; /* of the last view: a step of which the kernel had not spoken yet; 0: none */
    uint32_t ntp_status;
    int64_t ntp_freq;
    struct vta_cpu_set online;
    char clocksource[32];
};

/** Fills in what holds now; no events. */
void vta_watch_begin(struct vta_watch *w);

/** After a view: REALTIME was set (was_set: the kernel says so), or the guest suspended; NTP's state changed.
 */
bool vta_watch_view(struct vta_watch *w, const struct vtg_view *view, bool was_set, vta_event_sink *sink,
                    void *context);

/** Before vta_watch_view(): does it look, or did it in the last view, as if REALTIME had been set?  Then it
 * is worth asking the kernel. */
bool vta_watch_may_be_set(const struct vta_watch *w, const struct vtg_view *view);

/** Once a second: clocksource and CPUs.  True: SYSTEM is no longer what it was. */
bool vta_watch_files(struct vta_watch *w, vta_event_sink *sink, void *context);

/** How far the difference of two clocks grew from a to b, in ns; *ret_bound: and how well that is known. */
int64_t vta_watch_growth(const struct vta_watch *w, const struct vtg_view *a, const struct vtg_view *b,
                         enum vtg_os_clock fast, enum vtg_os_clock slow, uint64_t *ret_bound);

#endif

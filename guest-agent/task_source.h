/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between tasks.c and the sources. */
#ifndef VTA_TASK_SOURCE_H
#define VTA_TASK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-agent/task_line.h"
#include "guest-agent/task_who.h"
#include "guest-agent/tasks.h"

/* Where stretches go: who they are of is told first. */
struct vta_out {
    enum vtg_task_source source;
    struct vta_whos whos;
    struct vta_packer packer;
    vta_frame_sink *frame; /* while draining */
    void *context;
    bool is_full; /* of this drain a name found no room: no other is tried */
};

/** Tells s; takes over *lost. */
void vta_tell(struct vta_out *out, uint32_t cpu, uint32_t *lost, const struct vtg_stretch *s);

/** A source: state is its own; -errno and a reason in err, or 0. */
struct vta_source {
    const char *name;
    enum vtg_task_source source;
    int (*open)(void **ret, struct vta_out *out, char *err, size_t n);
    int (*fd)(const void *state);
    void (*drain)(void *state, struct vta_out *out);
    void (*mark)(void *state, uint32_t pid, uint32_t mark); /* may be NULL */
    uint64_t (*bound)(const void *state);
    void (*close)(void *state); /* accepts NULL */
};

extern const struct vta_source vta_source_bpf, vta_source_perf, vta_source_sampled;

/* ---- /proc and /sys ---- */

/** What /proc/TID/status says. False: there is no such task. */
bool vta_proc_who(uint32_t tid, struct vta_who *ret);

/** Calls see for each task that there is. */
void vta_proc_each(void (*see)(void *context, const struct vta_who *who), void *context);

/** CPUs that may ever be: one more than the greatest number. */
uint32_t vta_nr_cpus(void);

/** Is cpu in a list such as "0-3,5"? */
bool vta_in_list(const char *list, uint32_t cpu);

#endif

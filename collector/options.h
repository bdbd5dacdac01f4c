/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `vtime record` was asked to do. */
#ifndef VT_RECORD_OPTIONS_H
#define VT_RECORD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "connect.h"
#include "probes.h"

/** Where a service keeps its recordings if not told. */
#define VT_SERVICE_DIR "/var/lib/vtime"

/** When the service begins a new recording, and which it keeps; 0: no limit. */
struct vt_service_options {
    uint64_t rotate_ns, rotate_bytes;
    unsigned keep;       /* recordings, the present one included */
    uint64_t keep_bytes; /* of all together */
    const char *group;   /* who may read them; NULL: root only */
};

enum { VT_MAX_AGENTS = 64 };

/** Agents that were named; freed with the process. */
struct vt_agents_options {
    struct vt_agent_address *named;
    size_t nr;
    bool dont_find; /* --agent none: leave QEMUs' ports alone */
};

struct vt_record_options {
    const char *output; /* a file; with daemon, a directory */
    const char *vm, *agent_socket;
    bool force, quiet, daemon;
    bool not_first; /* --no-realtime */
    uint64_t for_ns, interval_ns;
    int ready_fd;
    struct vt_probes_options probes;
    uint32_t counters;   /* bit per enum vt_counter */
    bool named_counters; /* they were asked for */
    struct vt_service_options service;
    struct vt_agents_options agents;
    const char *cgroups[VT_MAX_CGROUPS]; /* folders of those that are guests */
    size_t nr_cgroups;
    char **command; /* NULL: none */
};

/** Returns -1 to go on, else the exit code; what is to be said was said. */
int vt_record_options_parse(int argc, char **argv, struct vt_record_options *ret);

void vt_record_options_release(struct vt_record_options *o);

#endif

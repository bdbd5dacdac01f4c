/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent: reads clocks and processes, keeps what it says until it arrived, serves the
 * programs of its system.  A process of its own, so that whatever the host or a channel
 * does, nobody else waits.
 */
#ifndef VTA_AGENT_H
#define VTA_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-agent/channel.h"
#include "guest-agent/clocks.h"
#include "guest-agent/local.h"
#include "guest-agent/process.h"
#include "guest-agent/ring.h"
#include "guest-agent/watch.h"

#include "guest-agent/tasks.h"

struct vta_options {
    struct vta_spec to;
    uint32_t rate_mhz; /* views each 1000 s */
    uint32_t buffer;   /* bytes */
    bool one_way, tasks;
    char name[VTG_NAME_LEN + 1]; /* of HELLO */
    const char *socket;          /* NULL: private, `adopt` is its only client */
    int adopt;
};

struct vta_agent {
    const struct vta_options *options;
    struct vta_ring ring;
    struct vta_channel channel;
    struct vta_local local;
    struct vta_processes processes;
    struct vta_viewer viewer;
    struct vta_watch watch;
    struct vtg_system system;
    struct vta_tasks *tasks;
    struct vtg_cpus cpus; /* the frame that is being filled */
    int view_timer, step_timer, signals;
    bool stopping;
    uint64_t missed;     /* views, of which no event told yet */
    unsigned was_set;    /* REALTIME: in so many views to come the step may show */
    bool is_urgent;      /* something was said that does not wait for company */
    uint64_t written_ns; /* when the channel last had its turn */
    uint64_t second_ns;  /* when the next slow round is due */
    uint64_t process_ns; /* and the next look at processes */
    uint64_t finish_ns;  /* a private client waits so long for delivery; 0: none does */
    int finisher;        /* which */
    uint32_t finish_seq; /* the first frame that it need not wait for */
    int error_told;      /* of the channel's errors, the last that stderr was told, errno */
    bool refused_said;
};

/** processes: chosen ones are there already.  0, or an exit code after saying why. */
int vta_agent_open(struct vta_agent *a, const struct vta_options *options);
/** Until a signal, or a private client left. */
int vta_agent_run(struct vta_agent *a);
void vta_agent_close(struct vta_agent *a);

/* A private agent delivers within this time after its client's last word. */
#define VTA_FINISH_NS UINT64_C(2000000000)

#define VTA_RATE_MOST_HZ     1000
#define VTA_BUFFER_USUAL_KIB 256u
#define VTA_RATE_USUAL_MHZ   10000u

#endif

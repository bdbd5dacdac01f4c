/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a recording under way holds open, and the loop around it. */
#ifndef VT_SESSION_H
#define VT_SESSION_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>

#include "agents.h"
#include "command.h"
#include "guests.h"
#include "options.h"
#include "recorder.h"

struct vt_service;

/** One file, and who writes it. */
struct vt_recording {
    char path[PATH_MAX];
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_recorder *recorder;
};

/** before: the recording that it follows, whose names VMs keep; or NULL. */
int vt_recording_create(struct vt_recording *ret, const char *path, bool replace, struct vt_probes *probes,
                        const struct vt_recording *before, struct vt_err *err);
/** unwanted: it holds nothing, and the file goes too. */
void vt_recording_close(struct vt_recording *r, bool unwanted);

struct vt_session {
    const struct vt_record_options *options;
    int epoll_fd, signal_fd, timer_fd;
    sigset_t old_mask;
    bool stop, stopped_by_signal;
    bool hangup; /* a service was asked to begin a new recording */
    bool begun;  /* the recording holds something */
    char temp_dir[64];
    char agent_path[128];
    struct vt_child child;
    struct vt_probes *probes;
    struct vt_agents *agents;
    struct vt_guests *guests;
    struct vt_counters *counters; /* NULL: none */
    struct vt_recording now;
    struct vt_service *service; /* NULL without --daemon */
};

/** Records until the end; 0 or -errno. */
int vt_session_run(struct vt_session *s, const struct vt_record_options *options, struct vt_err *err);
void vt_session_close(struct vt_session *s);

#endif

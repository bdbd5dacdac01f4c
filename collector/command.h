/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The COMMAND that `vtime record -- COMMAND` runs and records. */
#ifndef VT_RECORD_COMMAND_H
#define VT_RECORD_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "counters.h"

struct vt_child {
    char **argv; /* NULL: there is no command */
    pid_t pid;   /* 0: it does not run */
    int status;  /* of waitpid(), once it has ended */
    int asked;   /* the signal that we ended it with, 0: it ended by itself */
};

/** As execvp looks for it. A mistyped COMMAND must not cost the old recording that --force replaces. */
int vt_child_find(char *const *argv, struct vt_err *err);

/**
 * Returns once the command runs with this mask and $VTIME_AGENT, and without the
 * descriptors of counters, or it is known why it does not.
 */
int vt_child_start(struct vt_child *child, const char *agent_path, struct vt_counters *counters,
                   const sigset_t *mask, struct vt_err *err);

/** True if it has ended by now; flags are waitpid()'s. */
bool vt_child_reap(struct vt_child *child, int flags);

/** If it still runs it is asked to end, for nobody records it any more; after 5 s it is made to. */
void vt_child_end(struct vt_child *child);

#endif

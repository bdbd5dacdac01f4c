/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The recorder that a live view starts, and the files that are its own. */
#ifndef VT_TUI_RECORDER_H
#define VT_TUI_RECORDER_H

#include <signal.h>
#include <sys/types.h>

#include "base/err.h"

struct vtop_recorder {
    pid_t pid;    /* 0: none */
    int ready_fd; /* one byte once it records */
    int talk_fd;  /* its stderr */
    char dir[256];
    char path[288]; /* of its recording */
    char talk[512]; /* the last that it said */
    size_t nr_talk;
};

/** -1 in the descriptors: nothing open. */
#define VTOP_RECORDER_NONE                                                                                   \
    {                                                                                                        \
        .ready_fd = -1, .talk_fd = -1                                                                        \
    }

int vtop_recorder_start(struct vtop_recorder *recorder, unsigned int interval_ms, const sigset_t *child_mask,
                        struct vt_err *err);

/** 1: it records; 0: not yet; -errno with its own words in err: it has ended. */
int vtop_recorder_check(struct vtop_recorder *recorder, struct vt_err *err);

/** SIGINT, then SIGKILL if that does not end it; reaps it and removes the directory. */
void vtop_recorder_stop(struct vtop_recorder *recorder);

#endif

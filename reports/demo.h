/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime demo: shared by its parts. */
#ifndef VT_REPORTS_DEMO_H
#define VT_REPORTS_DEMO_H

#include <signal.h>
#include <sys/types.h>

#include "view.h"

#define DEMO_MAX_GUESTS 64

struct demo_options {
    double work_seconds;
    unsigned guests;
    unsigned cpu;
    bool json, help;
    const char *keep, *chart;
};

/* ---- children.c: processes of this same program, never left behind ---- */

#define DEMO_MAX_ARGS 24
struct demo_child {
    pid_t pid; /* 0: none */
    char what[64];
    int complaints;     /* an unlinked file with its stderr, -1: none */
    double cpu_seconds; /* once it ended */
};

/** Blocks the signals that the calls below wait for; the old mask is for the children. */
void demo_block_signals(sigset_t *ret_old);

/**
 * Starts `vtime ARGS…` in a session of its own, so that autogroup gives each
 * the same share. The descriptors of keep (each may be -1) stay open in it;
 * agent (or NULL) becomes its VTIME_AGENT. 0 or -errno.
 */
int demo_spawn(struct demo_child *child, const char *what, const char *const *args, const int keep[2],
               const char *agent, const sigset_t *mask, struct vt_err *err);

/**
 * Waits until all n ended with exit code 0. Fails at the first that did not,
 * if `other` (or NULL) ends meanwhile, at a signal, and after `seconds`.
 */
int demo_wait(struct demo_child *children, size_t n, struct demo_child *other, double seconds,
              struct vt_err *err);

/** Ends it with `signal`, at last with SIGKILL, and reaps it. Nothing to do if it has ended. */
void demo_end(struct demo_child *child, int signal);

/* ---- testbed.c ---- */

/** No /dev/kvm: runs the same inside the testbed. The exit code. */
int demo_in_testbed(const struct demo_options *o, const sigset_t *mask);

/* ---- verdict.c ---- */

/** What the demo found, in a table and in words. */
void demo_verdict(const struct report_view *v, FILE *out);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VT_BASE_CHILD_H
#define VT_BASE_CHILD_H

#include <sys/types.h>

/**
 * Ends a child of ours and reaps it: by `signal`, and by SIGKILL if it still
 * runs after 5 seconds.  meanwhile, if not NULL, is called while it is waited
 * for (a pipe of ours that is full would hold it up).  Returns the signal that
 * it took, 0 if it had ended before; *ret_status, if not NULL, as by waitpid().
 */
int vt_stop_process(pid_t pid, int signal, void (*meanwhile)(void *context), void *context, int *ret_status);

#endif

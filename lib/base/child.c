/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>

enum { PATIENCE_MS = 5000, LOOK_MS = 10 };

int vt_stop_process(pid_t pid, int signal, void (*meanwhile)(void *context), void *context, int *ret_status)
{
    if (waitpid(pid, ret_status, WNOHANG) != 0)
        return 0;
    kill(pid, signal);
    for (int ms = 0; ms < PATIENCE_MS; ms += LOOK_MS) {
        poll(NULL, 0, LOOK_MS);
        if (waitpid(pid, ret_status, WNOHANG) != 0)
            return signal;
        if (meanwhile)
            meanwhile(context);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        ;
    return SIGKILL;
}

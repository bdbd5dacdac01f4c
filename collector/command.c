/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"

int vt_child_find(char *const *argv, struct vt_err *err)
{
    const char *name = argv ? argv[0] : "", *dirs = getenv("PATH");
    char path[PATH_MAX];
    int number = ENOENT;

    if (!argv || !dirs || (strchr(name, '/') && access(name, X_OK) == 0))
        return 0;
    if (strchr(name, '/'))
        return vt_fail(err, errno, "cannot start %s: %s", name, strerror(errno));
    for (const char *at = dirs; *name && at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
        const int n = (int)strcspn(at, ":");
        snprintf(path, sizeof(path), "%.*s%s%s", n, at, n ? "/" : "", name);
        if (access(path, X_OK) == 0)
            return 0;
        if (errno == EACCES)
            number = EACCES;
    }
    return vt_fail(err, number, "cannot start %s: %s", name, strerror(number));
}

static _Noreturn void become_command(char **argv, const char *agent_path, struct vt_counters *counters,
                                     const sigset_t *mask, pid_t parent, int tell_fd)
{
    char value[128];
    int number;

    /* it must not run on unrecorded should we be killed */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* we were, before that */
        _exit(127);
    snprintf(value, sizeof(value), "unix:%s", agent_path);
    setenv("VTIME_AGENT", value, 1);
    sigprocmask(SIG_SETMASK, mask, NULL);
    vt_counters_close(counters); /* ours stay open */
    execvp(argv[0], argv);
    number = errno;
    while (write(tell_fd, &number, sizeof(number)) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* The pipe closes with its exec. */
int vt_child_start(struct vt_child *child, const char *agent_path, struct vt_counters *counters,
                   const sigset_t *mask, struct vt_err *err)
{
    char **argv = child->argv;
    const pid_t parent = getpid();
    int tell[2], number = 0;
    ssize_t n;

    if (!argv)
        return 0;
    if (pipe2(tell, O_CLOEXEC) < 0)
        return vt_fail(err, errno, "cannot start %s: %s", argv[0], strerror(errno));
    child->pid = fork();
    if (child->pid == 0)
        become_command(argv, agent_path, counters, mask, parent, tell[1]);
    if (child->pid < 0)
        number = errno;
    close(tell[1]);
    while (child->pid > 0 && (n = read(tell[0], &number, sizeof(number))) < 0 && errno == EINTR)
        ;
    close(tell[0]);
    if (!number)
        return 0;
    vt_child_reap(child, 0);
    return vt_fail(err, number, "cannot start %s: %s", argv[0], strerror(number));
}

bool vt_child_reap(struct vt_child *child, int flags)
{
    if (child->pid <= 0 || waitpid(child->pid, &child->status, flags) != child->pid)
        return false;
    child->pid = 0;
    return true;
}

void vt_child_end(struct vt_child *child)
{
    if (child->pid <= 0)
        return;
    child->asked = vt_stop_process(child->pid, SIGTERM, NULL, NULL, &child->status);
    child->pid = 0;
}

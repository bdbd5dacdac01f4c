/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "demo.h"

static void awaited(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void demo_block_signals(sigset_t *ret_old)
{
    sigset_t set;
    awaited(&set);
    sigprocmask(SIG_BLOCK, &set, ret_old);
}

/* In the child: never returns. */
static void become(const char *const *args, int complaints, const int keep[2], const char *agent,
                   const sigset_t *mask, pid_t parent)
{
    char *argv[DEMO_MAX_ARGS + 2] = { (char *)"vtime" };
    for (size_t i = 0; i < DEMO_MAX_ARGS && args[i]; i++)
        argv[i + 1] = (char *)args[i];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    setsid();
    /* whatever ends the demo ends its children; it may have ended already */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(complaints, STDERR_FILENO) < 0)
        _exit(127);
    for (int i = 0; i < 2; i++)
        if (keep[i] >= 0)
            fcntl(keep[i], F_SETFD, 0);
    if (agent)
        setenv("VTIME_AGENT", agent, 1);
    else
        unsetenv("VTIME_AGENT");
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

int demo_spawn(struct demo_child *child, const char *what, const char *const *args, const int keep[2],
               const char *agent, const sigset_t *mask, struct vt_err *err)
{
    int complaints = memfd_create("vtime-child", MFD_CLOEXEC);
    if (complaints < 0)
        return vt_fail(err, errno, "%s could not be started: %m", what);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(args, complaints, keep, agent, mask, parent);
    if (pid < 0) {
        int number = errno;
        close(complaints);
        return vt_fail(err, number, "%s could not be started: %s", what, strerror(number));
    }
    *child = (struct demo_child){ .pid = pid, .complaints = complaints };
    snprintf(child->what, sizeof(child->what), "%s", what);
    return 0;
}

/* Its last words, on one line. */
static int failed(const struct demo_child *child, int status, struct vt_err *err)
{
    char text[400] = "", clean[REPORT_NAME_LEN];
    ssize_t n = child->complaints >= 0 ? pread(child->complaints, text, sizeof(text) - 1, 0) : 0;
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    report_name(clean, strncmp(text, "vtime: ", 7) == 0 ? text + 7 : text);
    if (WIFSIGNALED(status))
        return vt_fail(err, ECHILD, "%s was ended by signal %d; %s", child->what, WTERMSIG(status), clean);
    return vt_fail(err, ECHILD, "%s failed with code %d: %s", child->what, WEXITSTATUS(status), clean);
}

static void forget(struct demo_child *child)
{
    if (child->complaints >= 0)
        close(child->complaints);
    child->complaints = -1;
    child->pid = 0;
}

/* 1 if it has ended well, 0 if it still runs, -ECHILD if it has failed. */
static int look(struct demo_child *child, struct vt_err *err)
{
    int status;
    struct rusage usage;
    if (child->pid == 0)
        return 1;
    pid_t r = wait4(child->pid, &status, WNOHANG, &usage);
    if (r == 0)
        return 0;
    if (r < 0)
        return vt_fail(err, errno, "%s was lost: %m", child->what);
    child->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    int code = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : failed(child, status, err);
    forget(child);
    return code;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Until a child changes or the time has come: 0, -EINTR at a signal, -ETIMEDOUT. */
static int await(double deadline, struct vt_err *err)
{
    sigset_t set;
    awaited(&set);
    double left = deadline - now();
    if (left <= 0)
        return -ETIMEDOUT;
    struct timespec t = { (time_t)left, (long)((left - (double)(time_t)left) * 1e9) };
    int signal = sigtimedwait(&set, NULL, &t);
    if (signal == SIGCHLD || (signal < 0 && errno == EINTR))
        return 0;
    if (signal < 0)
        return -ETIMEDOUT;
    return vt_fail(err, EINTR, "stopped by %s", strsignal(signal));
}

int demo_wait(struct demo_child *children, size_t n, struct demo_child *other, double seconds,
              struct vt_err *err)
{
    double deadline = now() + seconds;
    for (;;) {
        size_t ended = 0;
        for (size_t i = 0; i < n; i++) {
            int r = look(&children[i], err);
            if (r < 0)
                return r;
            ended += r > 0;
        }
        if (ended == n)
            return 0;
        if (other) {
            int r = look(other, err);
            if (r)
                return r < 0 ? r : vt_fail(err, ECHILD, "%s ended too early", other->what);
        }
        int r = await(deadline, err);
        if (r == -ETIMEDOUT)
            return vt_fail(err, ETIMEDOUT, "%s did not end within %.0f s", children[0].what, seconds);
        if (r < 0)
            return r;
    }
}

void demo_end(struct demo_child *child, int signal)
{
    if (child->pid <= 0)
        return;
    vt_stop_process(child->pid, signal, NULL, NULL, NULL);
    forget(child);
}

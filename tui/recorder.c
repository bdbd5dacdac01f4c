/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"

/* ---- its directory ---- */

static int make_dir(struct vtop_recorder *r, struct vt_err *err)
{
    const char *tmp = getenv("TMPDIR");
    if (!tmp || tmp[0] != '/')
        tmp = "/tmp";
    const int n = snprintf(r->dir, sizeof(r->dir), "%s/vtop-XXXXXX", tmp);
    if (n >= (int)sizeof(r->dir)) {
        r->dir[0] = '\0';
        return vt_fail(err, ENAMETOOLONG, "the name of the temporary directory is too long: %s", tmp);
    }
    if (!mkdtemp(r->dir)) {
        const int number = errno;
        r->dir[0] = '\0';
        return vt_fail(err, number, "cannot make a temporary directory under %s: %s", tmp, strerror(number));
    }
    snprintf(r->path, sizeof(r->path), "%s/live.vt", r->dir);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    remove(path);
    return 0;
}

static void remove_dir(struct vtop_recorder *r)
{
    if (r->dir[0])
        nftw(r->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    r->dir[0] = '\0';
}

/* ---- its process ---- */

static _Noreturn void become_recorder(const struct vtop_recorder *r, unsigned int interval_ms, int ready,
                                      int talk, const sigset_t *mask, pid_t parent)
{
    char interval[16], fd[16], agent[288];
    const int null = open("/dev/null", O_RDWR);
    snprintf(interval, sizeof(interval), "%u", interval_ms);
    snprintf(fd, sizeof(fd), "%d", ready);
    snprintf(agent, sizeof(agent), "%s/agent", r->dir);
    char *const argv[] = { "vtime", "record",        "--interval",     interval, "--quiet",    "-f",
                           "-o",    (char *)r->path, "--agent-socket", agent,    "--ready-fd", fd,
                           NULL };
    /* a session of its own: the terminal's Ctrl-C is for vtop, which ends its recorder itself */
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGINT);
    if (getppid() != parent) /* it was gone before that */
        _exit(1);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(talk, 2) < 0)
        _exit(1);
    fcntl(ready, F_SETFD, 0);
    execv("/proc/self/exe", argv);
    dprintf(2, "vtime: record: cannot start: %s\n", strerror(errno));
    _exit(127);
}

static int spawn(struct vtop_recorder *r, unsigned int interval_ms, const sigset_t *mask, struct vt_err *err)
{
    int ready[2] = { -1, -1 }, talk[2] = { -1, -1 }, number = 0;
    const pid_t parent = getpid();
    if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(talk, O_CLOEXEC | O_NONBLOCK) < 0)
        number = errno;
    if (number == 0 && (r->pid = fork()) < 0) {
        number = errno;
        r->pid = 0;
    }
    if (number == 0 && r->pid == 0)
        become_recorder(r, interval_ms, ready[1], talk[1], mask, parent);
    if (ready[1] >= 0)
        close(ready[1]);
    if (talk[1] >= 0)
        close(talk[1]);
    r->ready_fd = ready[0];
    r->talk_fd = talk[0];
    return number ? vt_fail(err, number, "cannot start the recorder: %s", strerror(number)) : 0;
}

int vtop_recorder_start(struct vtop_recorder *r, unsigned int interval_ms, const sigset_t *mask,
                        struct vt_err *err)
{
    *r = (struct vtop_recorder)VTOP_RECORDER_NONE;
    int e = make_dir(r, err);
    if (!e)
        e = spawn(r, interval_ms, mask, err);
    if (e)
        vtop_recorder_stop(r);
    return e;
}

/* Its words: the last of them, should there be many. */
static void listen_to(struct vtop_recorder *r)
{
    char part[128];
    ssize_t n;
    while ((n = read(r->talk_fd, part, sizeof(part))) > 0) {
        const size_t got = (size_t)n, room = sizeof(r->talk) - 1;
        const size_t excess = r->nr_talk + got > room ? r->nr_talk + got - room : 0;
        memmove(r->talk, r->talk + excess, r->nr_talk - excess);
        r->nr_talk -= excess;
        memcpy(r->talk + r->nr_talk, part, got);
        r->nr_talk += got;
        r->talk[r->nr_talk] = '\0';
    }
}

/* One line of it, without "vtime: record: " before. */
static const char *last_words(struct vtop_recorder *r)
{
    static const char prefix[] = "vtime: record: ";
    char *line;
    while (r->nr_talk > 0 && r->talk[r->nr_talk - 1] == '\n')
        r->talk[--r->nr_talk] = '\0';
    line = strrchr(r->talk, '\n');
    line = line ? line + 1 : r->talk;
    return strncmp(line, prefix, strlen(prefix)) == 0 ? line + strlen(prefix) : line;
}

int vtop_recorder_check(struct vtop_recorder *r, struct vt_err *err)
{
    char byte;
    int status = 0;
    listen_to(r);
    if (r->pid > 0 && waitpid(r->pid, &status, WNOHANG) == r->pid) {
        r->pid = 0;
        listen_to(r);
        const char *words = last_words(r);
        if (*words)
            return vt_fail(err, ECHILD, "the recorder ended: %s", words);
        return vt_fail(err, ECHILD,
                       WIFSIGNALED(status) ? "the recorder was ended by signal %d"
                                           : "the recorder ended with status %d",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    if (r->ready_fd >= 0 && read(r->ready_fd, &byte, 1) == 1) {
        close(r->ready_fd);
        r->ready_fd = -1;
    }
    return r->ready_fd < 0;
}

/* A full pipe would hold it up. */
static void listen_meanwhile(void *context)
{
    listen_to(context);
}

static void end_process(struct vtop_recorder *r)
{
    if (r->pid <= 0)
        return;
    vt_stop_process(r->pid, SIGINT, listen_meanwhile, r, NULL);
    r->pid = 0;
}

void vtop_recorder_stop(struct vtop_recorder *r)
{
    end_process(r);
    if (r->ready_fd >= 0)
        close(r->ready_fd);
    if (r->talk_fd >= 0)
        close(r->talk_fd);
    r->ready_fd = r->talk_fd = -1;
    remove_dir(r);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime demo on a host without /dev/kvm: the same, inside the testbed. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"
#include "demo.h"

#define INSIDE "VTIME_IN_TESTBED"

struct call {
    char self[PATH_MAX], script[PATH_MAX], out[PATH_MAX], keep[PATH_MAX], chart[PATH_MAX];
    char work[32], guests[16], cpu[16], timeout[32];
    const char *argv[32];
    size_t n;
};

static void add(struct call *c, const char *word)
{
    c->argv[c->n++] = word;
}

/* Files come out of the testbed through one directory: where the caller wants them. */
static int place(struct call *c, const char *path, char inside[PATH_MAX])
{
    char copy[PATH_MAX], base[PATH_MAX];
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    snprintf(base, sizeof(base), "%s", path);
    const char *dir = dirname(copy);
    if (c->out[0] && strcmp(c->out, dir) != 0)
        return -EXDEV;
    snprintf(c->out, sizeof(c->out), "%s", dir);
    if (snprintf(inside, PATH_MAX, "/out/%s", basename(base)) >= PATH_MAX)
        return -ENAMETOOLONG;
    return 0;
}

static bool find_script(struct call *c)
{
    ssize_t n = readlink("/proc/self/exe", c->self, sizeof(c->self) - 1);
    if (n <= 0)
        return false;
    c->self[n] = '\0';
    char dir[PATH_MAX];
    snprintf(dir, sizeof(dir), "%s", c->self);
    const char *beside = dirname(dir);
    int length = snprintf(c->script, sizeof(c->script), "%s/../../tests/testbed/testbed.sh", beside);
    return length > 0 && (size_t)length < sizeof(c->script) && access(c->script, X_OK) == 0;
}

static int compose(struct call *c, const struct demo_options *o)
{
    int r = 0;
    if (o->keep)
        r = place(c, o->keep, c->keep);
    if (r == 0 && o->chart)
        r = place(c, o->chart, c->chart);
    snprintf(c->work, sizeof(c->work), "%g", o->work_seconds);
    snprintf(c->guests, sizeof(c->guests), "%u", o->guests);
    snprintf(c->timeout, sizeof(c->timeout), "%.0f", 180 + 20 * o->work_seconds * (o->guests + 3));
    const char *const head[] = { c->script, "run", "--timeout", c->timeout };
    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        add(c, head[i]);
    if (c->out[0]) {
        add(c, "--out");
        add(c, c->out);
    }
    const char *const tail[] = { "--",    "env",      INSIDE "=1", c->self, "demo", "--work-seconds",
                                 c->work, "--guests", c->guests };
    for (size_t i = 0; i < sizeof(tail) / sizeof(tail[0]); i++)
        add(c, tail[i]);
    if (o->json)
        add(c, "--json");
    if (o->keep) {
        add(c, "--keep");
        add(c, c->keep);
    }
    if (o->chart) {
        add(c, "--chart");
        add(c, c->chart);
    }
    add(c, NULL);
    return r;
}

static int run(struct call *c, const sigset_t *mask)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, mask, NULL);
        execv(c->script, (char *const *)c->argv);
        _exit(127);
    }
    if (pid < 0) {
        vt_complain("the testbed could not be started: %m");
        return VT_EXIT_FAILURE;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return VT_EXIT_OK;
    vt_complain("demo: the experiment failed inside the testbed");
    return VT_EXIT_FAILURE;
}

int demo_in_testbed(const struct demo_options *o, const sigset_t *mask)
{
    if (getenv(INSIDE)) {
        vt_complain("demo: no /dev/kvm in the testbed either");
        return VT_EXIT_FAILURE;
    }
    struct call *c = calloc(1, sizeof(*c));
    int code = VT_EXIT_FAILURE;
    if (!c) {
        vt_complain("out of memory");
        return code;
    }
    if (!find_script(c))
        vt_complain("demo: no /dev/kvm on this host, and the testbed that could stand in for it is not there "
                    "(tests/testbed/testbed.sh of vtime's sources)");
    else if (compose(c, o) < 0)
        vt_complain("demo: inside the testbed --keep and --chart must name files of one directory");
    else {
        fputs("vtime demo: no /dev/kvm on this host: running the same inside the testbed, an emulated KVM "
              "host\n",
              stderr);
        code = run(c, mask);
    }
    free(c);
    return code;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The front door: vtime COMMAND …, or a program named for its command (vtop). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/command.h"

extern const struct vt_command *const __start_vt_commands[];
extern const struct vt_command *const __stop_vt_commands[];

#ifndef VT_RELEASE
#define VT_RELEASE "0"
#endif

static const struct vt_command *find(const char *name)
{
    for (const struct vt_command *const *c = __start_vt_commands; c < __stop_vt_commands; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

static int by_rank(const void *a, const void *b)
{
    const struct vt_command *const *x = a, *const *y = b;
    return ((*x)->rank > (*y)->rank) - ((*x)->rank < (*y)->rank);
}

static void help(FILE *out)
{
    size_t n = (size_t)(__stop_vt_commands - __start_vt_commands);
    const struct vt_command **sorted = calloc(n, sizeof(*sorted));
    if (!sorted)
        return;
    memcpy(sorted, __start_vt_commands, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_rank);
    fputs("vtime - what time a virtual machine really had\n\nusage: vtime COMMAND [OPTION…]\n\n", out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-8s %s\n", sorted[i]->name, sorted[i]->summary);
    fputs("\n`vtime COMMAND --help` tells more. Exit codes: 0 ok, 1 failure, 2 usage.\n", out);
    free(sorted);
}

static int finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    vt_complain("the output could not be written: %m");
    return code ? code : VT_EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const char *self = strrchr(argv[0], '/');
    self = self ? self + 1 : argv[0];
    if (strcmp(self, "vtop") == 0) {
        const struct vt_command *top = find("top");
        return top ? finish(top->main(argc, argv)) : VT_EXIT_FAILURE;
    }
    if (argc < 2) {
        help(stderr);
        return VT_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return finish(VT_EXIT_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("vtime " VT_RELEASE);
        return finish(VT_EXIT_OK);
    }
    const struct vt_command *command = find(argv[1]);
    if (!command) {
        vt_complain("there is no command '%s'; `vtime --help` lists them", argv[1]);
        return VT_EXIT_USAGE;
    }
    return finish(command->main(argc - 1, argv + 1));
}

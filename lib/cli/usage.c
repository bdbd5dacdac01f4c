/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "cli/command.h"

int vt_usage_error(const char *command)
{
    fprintf(stderr, "try `vtime %s --help`\n", command);
    return VT_EXIT_USAGE;
}

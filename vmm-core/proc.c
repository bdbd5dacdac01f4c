/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/proc.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

static const char *next_number(const char *at, uint64_t *ret)
{
    while (*at == ' ')
        at++;
    if (*at < '0' || *at > '9')
        return NULL;
    for (*ret = 0; *at >= '0' && *at <= '9'; at++)
        *ret = *ret * 10 + (uint64_t)(*at - '0');
    return at;
}

bool proc_numbers(const char *path, uint64_t *out, unsigned n)
{
    char text[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got < 0 ? 0 : got] = 0;
    const char *at = text;
    for (unsigned i = 0; i < n; i++)
        if (!(at = next_number(at, &out[i])))
            return false;
    return true;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/readtext.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

long vta_read_text(const char *path, char *out, size_t n)
{
    size_t have = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (have < n - 1) {
        const ssize_t r = read(fd, out + have, n - 1 - have);
        if (r <= 0)
            break;
        have += (size_t)r;
    }
    close(fd);
    out[have] = 0;
    return (long)have;
}

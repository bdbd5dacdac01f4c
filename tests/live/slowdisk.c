/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOADed: a disk on which every write to a file takes $SLOW_US
 * microseconds longer, and that has no room left from $FULL_AFTER writes on.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long setting(const char *name)
{
    const char *value = getenv(name);

    return value ? atol(value) : 0;
}

static ssize_t write_slowly(const char *as, int fd, const void *data, size_t size, off_t at)
{
    ssize_t (*next)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, as);
    const long us = setting("SLOW_US"), full_after = setting("FULL_AFTER");
    const struct timespec pause = { us / 1000000, us % 1000000 * 1000 };
    static long writes;

    nanosleep(&pause, NULL);
    if (full_after && __atomic_add_fetch(&writes, 1, __ATOMIC_RELAXED) > full_after) {
        errno = ENOSPC;
        return -1;
    }
    return next(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return write_slowly("pwrite", fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at)
{
    return write_slowly("pwrite64", fd, data, size, at);
}

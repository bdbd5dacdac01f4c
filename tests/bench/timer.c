/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench-timer HZ: wakes so often and does nothing: what of a clock's reader's cost is the machine's own. */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const long hz = argc == 2 ? atol(argv[1]) : 0;
    if (hz < 2) {
        fputs("usage: timer HZ\n", stderr);
        return 2;
    }
    const struct timespec period = { .tv_nsec = 1000000000 / hz };
    const struct itimerspec spec = { .it_interval = period, .it_value = period };
    struct pollfd p = { .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), .events = POLLIN };
    uint64_t due;
    if (p.fd < 0 || timerfd_settime(p.fd, 0, &spec, NULL) < 0) {
        perror("timer");
        return 1;
    }
    while (poll(&p, 1, -1) == 1 && read(p.fd, &due, sizeof(due)) == (ssize_t)sizeof(due))
        ;
    return 1;
}

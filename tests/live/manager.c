/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * manager SOCKET: what a service manager hears there (sd_notify(3)), a line for
 * each word: milliseconds since the start, then the word.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const long long start = now_ms();
    char text[1024], *save = NULL;
    ssize_t n;

    if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path))
        return 2;
    strcpy(addr.sun_path, argv[1]);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        fprintf(stderr, "manager: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((n = recv(fd, text, sizeof(text) - 1, 0)) >= 0) {
        text[n] = 0;
        for (char *word = strtok_r(text, "\n", &save); word; word = strtok_r(NULL, "\n", &save))
            printf("%lld %s\n", now_ms() - start, word);
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs that switch between tasks and do little else, for what it costs to watch the
 * switches: two processes that hand a byte to and fro, as `perf bench sched pipe` does, and
 * crowds of senders and receivers, as hackbench does. Prints nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SIDE = 10,     /* senders of a crowd, and receivers; hackbench has 20 */
    MESSAGE = 100, /* bytes, as hackbench's */
};

static void die(const char *what)
{
    fprintf(stderr, "chatter: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t r = write(fd, bytes, n);

        if (r <= 0)
            die("write");
        bytes += r;
        n -= (size_t)r;
    }
}

static void take(int fd, char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t r = read(fd, bytes, n);

        if (r <= 0)
            die("read");
        n -= (size_t)r;
    }
}

static void await_children(unsigned int n)
{
    for (int status; n > 0; n--)
        if (wait(&status) < 0 || status != 0)
            die("a child");
}

/* begin: 0 in the new process */
static pid_t begin(void)
{
    const pid_t pid = fork();

    if (pid < 0)
        die("fork");
    return pid;
}

static void to_and_fro(uint64_t rounds)
{
    int there[2], back[2];
    char byte = 0;

    if (pipe(there) != 0 || pipe(back) != 0)
        die("pipe");
    if (begin() == 0) {
        for (uint64_t i = 0; i < rounds; i++) {
            take(there[0], &byte, 1);
            put(back[1], &byte, 1);
        }
        _exit(0);
    }
    for (uint64_t i = 0; i < rounds; i++) {
        put(there[1], &byte, 1);
        take(back[0], &byte, 1);
    }
    await_children(1);
}

/* Each sender tells each receiver so many messages; a receiver has one socket for all senders. */
static void crowd(uint64_t messages)
{
    char message[MESSAGE] = { 0 };
    int line[SIDE][2];

    for (int i = 0; i < SIDE; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, line[i]) != 0)
            die("socketpair");
        if (begin() == 0) {
            for (uint64_t n = 0; n < messages * SIDE; n++)
                take(line[i][0], message, sizeof(message));
            _exit(0);
        }
    }
    for (int i = 0; i < SIDE; i++)
        if (begin() == 0) {
            for (uint64_t n = 0; n < messages; n++)
                for (int to = 0; to < SIDE; to++)
                    put(line[to][1], message, sizeof(message));
            _exit(0);
        }
    for (int i = 0; i < SIDE; i++) {
        close(line[i][0]);
        close(line[i][1]);
    }
    await_children(2 * SIDE);
}

static int usage(void)
{
    fputs("usage: chatter pipe ROUNDS\n"
          "       chatter crowd MESSAGES\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    char *end;

    if (argc != 3 || *argv[2] < '0' || *argv[2] > '9')
        return usage();
    const uint64_t n = strtoumax(argv[2], &end, 10);
    if (*end != '\0')
        return usage();
    if (strcmp(argv[1], "pipe") == 0)
        to_and_fro(n);
    else if (strcmp(argv[1], "crowd") == 0)
        crowd(n);
    else
        return usage();
    return 0;
}

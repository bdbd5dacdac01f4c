/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * By how much a guest's TSC is ahead of the host's, by memory that both see: the truth
 * beside a clock map that goes by messages. Of guests whose TSC is the host's and a
 * constant, as QEMU's emulation makes it, and whose memory is a file (--shared).
 *
 *   tscpage SECONDS           in the guest: answers so long
 *   tscpage SECONDS MEMORY    on the host: asks so long, then prints the least and the most
 *                             ticks by which the guest's may be ahead, and how often it asked
 *
 * The guest reads its TSC between the host's question and the host's sight of the answer:
 * a fraction of a microsecond when both spin on CPUs of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum {
    PAGE = 4096,
    WORDS = 8,
    /* Ticks, some 100 ns: what a CPU may read its TSC too early, and two CPUs' may differ. */
    SKEW = 300
};

struct page {
    uint64_t name[WORDS]; /* by which the host finds it */
    volatile uint64_t question, answer, tsc;
};

static void die(const char *what)
{
    fprintf(stderr, "tscpage: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Made when it runs: the program's own file holds no such page. */
static void make_name(uint64_t name[WORDS])
{
    volatile uint64_t x = 88172645463325252u;

    for (int i = 0; i < WORDS; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        name[i] = x;
    }
}

static uint64_t read_tsc(void)
{
    _mm_lfence();
    const uint64_t tsc = __rdtsc();
    _mm_lfence();
    return tsc;
}

static time_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void answer(time_t seconds)
{
    struct page *p =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    const time_t end = now() + seconds;

    if (p == MAP_FAILED || mlock(p, PAGE) != 0)
        die("memory");
    make_name(p->name);
    while (now() < end)
        for (int i = 0; i < 100000; i++)
            if (p->answer != p->question) {
                p->tsc = read_tsc();
                p->answer = p->question;
            }
    memset(p->name, 0, sizeof(p->name)); /* another run's page is to be found, not this one */
}

/* find: its offset in the file; false: not there */
static bool find(int fd, off_t *ret)
{
    uint64_t name[WORDS], there[WORDS];
    struct stat st;

    make_name(name);
    if (fstat(fd, &st) != 0)
        die("memory");
    for (off_t at = 0; at < st.st_size; at += PAGE) /* read, not mapped: holes stay holes */
        if (pread(fd, there, sizeof(there), at) == sizeof(there) && memcmp(name, there, sizeof(name)) == 0) {
            *ret = at;
            return true;
        }
    return false;
}

static struct page *open_page(const char *file, time_t end)
{
    const int fd = open(file, O_RDWR | O_CLOEXEC);
    off_t at;

    if (fd < 0)
        die(file);
    while (!find(fd, &at)) {
        if (now() >= end) {
            errno = ENOENT;
            die("no guest answers");
        }
        usleep(100000);
    }
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
    if (p == MAP_FAILED)
        die(file);
    close(fd);
    return p;
}

static void ask(time_t seconds, const char *file)
{
    const time_t end = now() + seconds;
    struct page *p = open_page(file, end);
    int64_t least = INT64_MIN, most = INT64_MAX;
    uint64_t n = 0;

    while (now() < end) {
        const uint64_t before = read_tsc(), question = p->question + 1;

        p->question = question;
        for (int spins = 0; p->answer != question; spins++)
            if (spins > 1000000 && now() >= end)
                break;
        const uint64_t tsc = p->tsc, after = read_tsc();
        if (p->answer != question)
            break;
        const int64_t low = (int64_t)(tsc - after), high = (int64_t)(tsc - before);
        least = low > least ? low : least;
        most = high < most ? high : most;
        n++;
    }
    printf("%" PRId64 " %" PRId64 " %" PRIu64 "\n", least, most, n);
    if (n == 0 || least - most > SKEW) {
        fputs("tscpage: the guest's TSC is not the host's and a constant\n", stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

    if (argc < 2 || argc > 3 || seconds < 1) {
        fputs("usage: tscpage SECONDS [MEMORY]\n", stderr);
        return 2;
    }
    if (argc == 2)
        answer(seconds);
    else
        ask(seconds, argv[2]);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's side of vtime-agent for tests, on the agent's own machine: both have the
 * same TSC and the same clocks, so that what the agent says can be held to the truth.
 *   agentpeer unix:PATH|tcp:PORT|pty:LINK|file:PATH [PING_MS]
 * prints a line for each frame and obeys words on its standard input:
 *   cut, join       close the channel and refuse it; take it again
 *   deaf, hear      do not read, but keep the channel
 *   mute, speak     do not ask
 *   forget          be another recorder, which knows nothing
 *   damage N        flip a bit in each of the next N reads
 *   sum             say the sums up to here
 * At the end of its input it says the sums and ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "wire/frame.h"

enum { MAX_QUESTIONS = 256 };

struct pair {
    uint64_t tsc, ns;
};

struct question {
    uint64_t id, asked_tsc;
};

struct peer {
    const char *address;
    int listener, channel, master;
    bool cut, deaf, mute;
    unsigned damage;
    uint64_t ping_ns, next_ping_ns, timed_id;
    bool again; /* as the recorder does: an answer is followed by one question at once */
    struct vt_frame_decoder decoder;
    uint64_t host, session, last_id;
    struct question questions[MAX_QUESTIONS];
    struct pair begin; /* with now: this machine's TSC against its CLOCK_MONOTONIC */
    struct vtg_view last_view;
    bool has_view;
    /* sums */
    uint64_t frames, views, pongs, sessions, dropped, missed, refilled;
    uint64_t wrong_order, wrong_clock, wrong_answer, connections;
    uint64_t stretches, untold; /* of tasks; those that found no room in the guest */
    uint64_t worst_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A narrow one: the best of some tries. */
static struct pair read_pair(void)
{
    struct pair best = { 0, 0 };
    uint64_t width = UINT64_MAX;
    for (int i = 0; i < 16; i++) {
        const uint64_t a = __rdtsc(), ns = now_ns(), b = __rdtsc();
        if (b - a < width) {
            width = b - a;
            best = (struct pair){ a + (b - a) / 2, ns };
        }
    }
    return best;
}

/* ---- what the agent says, held to what is so ---- */

/* CLOCK_MONOTONIC of this machine at tsc, by two pairs: before and now. */
static double mono_at(const struct peer *p, const struct pair *now, uint64_t tsc)
{
    const double rate = (double)(now->ns - p->begin.ns) / (double)(now->tsc - p->begin.tsc);
    return (double)(int64_t)(tsc - p->begin.tsc) * rate;
}

static void check_view(struct peer *p, const struct vtg_view *v)
{
    const struct pair now = read_pair();
    for (int i = 0; i < VTG_NR_OS_CLOCKS; i++)
        if (v->tsc[i] > v->tsc[i + 1])
            p->wrong_order++;
    if (p->has_view) {
        p->wrong_order += v->tsc[0] < p->last_view.tsc[VTG_NR_OS_CLOCKS];
        p->wrong_order += v->ns[VTG_OS_MONOTONIC] < p->last_view.ns[VTG_OS_MONOTONIC];
        p->wrong_order += v->ns[VTG_OS_RAW] < p->last_view.ns[VTG_OS_RAW];
        p->wrong_order += v->ns[VTG_OS_BOOTTIME] < p->last_view.ns[VTG_OS_BOOTTIME];
    }
    /* The rate between the pairs may differ from that at the view by slewing: some ppm. */
    const double said = (double)(int64_t)(v->ns[VTG_OS_MONOTONIC] - p->begin.ns);
    const double low = mono_at(p, &now, v->tsc[0]) - said, high = said - mono_at(p, &now, v->tsc[1]);
    const double off = low > high ? low : high;
    if (off > 5000 + 20e-6 * (double)(now.ns - p->begin.ns))
        p->wrong_clock++;
    if (off > (double)p->worst_ns)
        p->worst_ns = (uint64_t)off;
    p->last_view = *v;
    p->has_view = true;
    p->views++;
}

static void check_pong(struct peer *p, const struct vtg_pong *pong)
{
    const uint64_t now = __rdtsc();
    const struct question *q = &p->questions[pong->id % MAX_QUESTIONS];
    p->pongs++;
    if (pong->session != p->session) {
        printf("session %016llx\n", (unsigned long long)pong->session);
        p->session = pong->session;
        p->sessions++;
        p->has_view = false;
        p->decoder.synced = 0;
    }
    if (q->id != pong->id || pong->tsc_received < q->asked_tsc || pong->tsc_sent < pong->tsc_received ||
        now < pong->tsc_sent)
        p->wrong_answer++;
    p->again = pong->id == p->timed_id;
}

static void print_event(struct peer *p, const struct vtg_event *e)
{
    if (e->kind == VTG_EVENT_DROPPED)
        p->dropped += (uint64_t)e->a;
    if (e->kind == VTG_EVENT_MISSED)
        p->missed += (uint64_t)e->a;
    printf("event %u a %lld b %lld cpu %u text %.64s\n", e->kind, (long long)e->a, (long long)e->b, e->cpu,
           e->text);
}

static void print_mark(const struct vtg_mark *m)
{
    printf("mark %u id %08x name %.32s mono %llu cpu %llu steal %llu have %x bracket %llu\n", m->kind, m->id,
           m->name, (unsigned long long)m->clocks.monotonic_ns, (unsigned long long)m->clocks.cputime_ns,
           (unsigned long long)m->clocks.steal_ns, m->clocks.have,
           (unsigned long long)(m->clocks.tsc_after - m->clocks.tsc_before));
}

static void print_run(const struct vtg_run *r)
{
    printf("run %u of %u mark %08x status %d pid %u elapsed %llu user %llu sys %llu maxrss %llu minor %llu "
           "voluntary %llu involuntary %llu\n",
           r->repeat, r->of, r->mark, r->status, r->pid, (unsigned long long)r->elapsed_ns,
           (unsigned long long)r->utime_ns, (unsigned long long)r->stime_ns,
           (unsigned long long)r->maxrss_kib, (unsigned long long)r->minor_faults,
           (unsigned long long)r->voluntary, (unsigned long long)r->involuntary);
}

static void print_system(const struct vtg_system *s)
{
    printf("system session %016llx khz %llu online %u possible %u hz %u rate %u tasks %u kernel %.64s "
           "clocksource %.32s hypervisor %.16s boot %016llx%016llx\n",
           (unsigned long long)s->session, (unsigned long long)s->tsc_khz, s->nr_online, s->nr_possible,
           s->user_hz, s->view_mhz, s->task_source, s->kernel, s->clocksource, s->hypervisor,
           (unsigned long long)s->boot_id[0], (unsigned long long)s->boot_id[1]);
}

static void take(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct peer *p = context;
    if (type == VTG_PONG) {
        check_pong(p, &body->pong);
        return;
    }
    p->frames++;
    switch (type) {
    case VTG_HELLO:
        printf("hello kind %u vcpus %u name %.32s\n", body->hello.kind, body->hello.nr_vcpus,
               body->hello.name);
        break;
    case VTG_SYSTEM:
        print_system(&body->system);
        break;
    case VTG_VIEW:
        check_view(p, &body->view);
        break;
    case VTG_CPUS:
        printf("cpus %u user %llu steal %llu\n", body->cpus.nr, (unsigned long long)body->cpus.cpus[0].user,
               (unsigned long long)body->cpus.cpus[0].steal);
        break;
    case VTG_PROCESS:
        printf("process %u ppid %u threads %u mark %08x user %llu sys %llu run %llu delay %llu comm %.16s\n",
               body->process.pid, body->process.ppid, body->process.threads, body->process.mark,
               (unsigned long long)body->process.utime_ns, (unsigned long long)body->process.stime_ns,
               (unsigned long long)body->process.run_ns, (unsigned long long)body->process.delay_ns,
               body->process.comm);
        break;
    case VTG_TASK:
        printf("task %u tgid %u mark %08x comm %.16s\n", body->task.tid, body->task.tgid, body->task.mark,
               body->task.comm);
        break;
    case VTG_MARK:
        print_mark(&body->mark);
        break;
    case VTG_RUN:
        print_run(&body->run);
        break;
    case VTG_EVENT:
        print_event(p, &body->event);
        break;
    case VTG_TASKS:
        p->stretches += body->tasks.nr;
        p->untold += body->tasks.lost;
        break;
    default:
        printf("type %u\n", (unsigned)type);
    }
}

static void print_sums(const struct peer *p)
{
    const struct vt_frame_decoder *d = &p->decoder;
    printf(
        "sum frames %llu views %llu pongs %llu sessions %llu dropped %llu missed %llu lost %llu replayed "
        "%llu "
        "early %llu bad %llu skipped %llu wrong-order %llu wrong-clock %llu wrong-answer %llu worst-ns %llu "
        "connections %llu stretches %llu untold %llu\n",
        (unsigned long long)p->frames, (unsigned long long)p->views, (unsigned long long)p->pongs,
        (unsigned long long)p->sessions, (unsigned long long)p->dropped, (unsigned long long)p->missed,
        (unsigned long long)d->lost_frames, (unsigned long long)d->replayed, (unsigned long long)d->early,
        (unsigned long long)d->bad_crc, (unsigned long long)d->skipped_bytes,
        (unsigned long long)p->wrong_order, (unsigned long long)p->wrong_clock,
        (unsigned long long)p->wrong_answer, (unsigned long long)p->worst_ns,
        (unsigned long long)p->connections, (unsigned long long)p->stretches, (unsigned long long)p->untold);
}

/* ---- the channel ---- */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
        die(path);
    return fd;
}

static int listen_tcp(const char *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
        die(port);
    return fd;
}

/* A line: its device is the link's target. */
static int open_pty(const char *link)
{
    const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || tcgetattr(fd, &t) < 0)
        die("pty");
    cfmakeraw(&t);
    tcsetattr(fd, TCSANOW, &t);
    unlink(link);
    if (symlink(ptsname(fd), link) < 0 || open(ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC) < 0)
        die(link);
    return fd;
}

static void open_address(struct peer *p)
{
    const char *rest = strchr(p->address, ':');
    p->listener = p->channel = p->master = -1;
    if (!rest)
        exit(2);
    rest++;
    if (strncmp(p->address, "unix", 4) == 0)
        p->listener = listen_unix(rest);
    else if (strncmp(p->address, "tcp", 3) == 0)
        p->listener = listen_tcp(rest);
    else if (strncmp(p->address, "pty", 3) == 0)
        p->channel = p->master = open_pty(rest);
    else
        p->channel = open(rest, O_RDONLY | O_CLOEXEC);
}

static void hang_up(struct peer *p)
{
    if (p->channel >= 0 && p->channel != p->master)
        close(p->channel);
    p->channel = -1;
    p->decoder.have = 0; /* half a frame */
}

static void accept_one(struct peer *p)
{
    const int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (p->cut) {
        close(fd);
        return;
    }
    hang_up(p);
    p->channel = fd;
    p->connections++;
    p->next_ping_ns = 0;
}

static void ask(struct peer *p)
{
    uint8_t out[64];
    struct vtg_ping ping = { .host = p->host,
                             .id = ++p->last_id,
                             .session = p->session,
                             .next_seq = p->decoder.next_seq,
                             .have_seq = p->session && p->decoder.synced };
    const size_t n = vt_frame_encode(out, VTG_PING, 0, &ping, sizeof(ping));
    p->questions[ping.id % MAX_QUESTIONS] = (struct question){ ping.id, __rdtsc() };
    if (write(p->channel, out, n) < 0 && errno != EAGAIN)
        hang_up(p);
}

static void listen_on(struct peer *p)
{
    uint8_t bytes[4096];
    const ssize_t n = read(p->channel, bytes, sizeof(bytes));
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            hang_up(p);
        return;
    }
    if (p->damage) {
        p->damage--;
        bytes[(size_t)n / 2] ^= 0x10;
    }
    vt_frame_decode(&p->decoder, bytes, (size_t)n, take, p);
}

static void forget(struct peer *p)
{
    memset(&p->decoder, 0, sizeof(p->decoder));
    p->decoder.in_order = true;
    p->session = 0;
    p->has_view = false;
    p->host = now_ns();
}

static void obey(struct peer *p, const char *word)
{
    if (strcmp(word, "cut") == 0) {
        p->cut = true;
        hang_up(p);
    } else if (strcmp(word, "join") == 0) {
        p->cut = false;
        p->channel = p->master;
    } else if (strcmp(word, "deaf") == 0) {
        p->deaf = true;
    } else if (strcmp(word, "hear") == 0) {
        p->deaf = false;
    } else if (strcmp(word, "mute") == 0) {
        p->mute = true;
    } else if (strcmp(word, "speak") == 0) {
        p->mute = false;
    } else if (strcmp(word, "forget") == 0) {
        forget(p);
    } else if (strncmp(word, "damage ", 7) == 0) {
        p->damage = (unsigned)atoi(word + 7);
    } else if (strcmp(word, "sum") == 0) {
        print_sums(p);
    }
}

/* False: the input ended. */
static bool take_words(struct peer *p)
{
    char text[256];
    const ssize_t n = read(0, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = 0;
    for (char *word = strtok(text, "\n"); word; word = strtok(NULL, "\n"))
        obey(p, word);
    return true;
}

static void serve(struct peer *p)
{
    for (bool more = true; more;) {
        const uint64_t now = now_ns();
        struct pollfd fds[3] = { { .fd = 0, .events = POLLIN },
                                 { .fd = p->listener, .events = POLLIN },
                                 { .fd = p->deaf ? -1 : p->channel, .events = POLLIN } };
        if (p->channel >= 0 && !p->mute && now >= p->next_ping_ns) {
            ask(p);
            p->timed_id = p->last_id;
            p->next_ping_ns = now + p->ping_ns;
        }
        if (poll(fds, 3, 10) <= 0)
            continue;
        if (fds[2].revents)
            listen_on(p);
        if (p->again && p->channel >= 0 && !p->mute)
            ask(p);
        p->again = false;
        if (fds[1].revents)
            accept_one(p);
        if (fds[0].revents)
            more = take_words(p);
        fflush(stdout);
    }
}

/* Nobody asks, nothing comes again. */
static void read_file(struct peer *p)
{
    p->decoder.in_order = false;
    while (p->channel >= 0)
        listen_on(p);
}

int main(int argc, char **argv)
{
    static struct peer p;
    if (argc < 2)
        return 2;
    signal(SIGPIPE, SIG_IGN); /* an agent may be gone when it is asked */
    p.address = argv[1];
    p.ping_ns = (argc > 2 ? (uint64_t)atoi(argv[2]) : 50) * 1000000u;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    forget(&p);
    p.begin = read_pair();
    usleep(20000); /* a rate needs some length */
    open_address(&p);
    puts("ready");
    fflush(stdout);
    if (strncmp(p.address, "file", 4) == 0)
        read_file(&p);
    else
        serve(&p);
    print_sums(&p);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's end of an agent's channel, scripted: what an honest agent does, and what a hostile one might.
 *   agentsim WHERE SECONDS [WHAT…]
 * WHERE: unix:PATH (we connect), unix-listen:PATH, tcp:HOST:PORT, tcp-listen:HOST:PORT, pty:LINK (a
 * terminal, whose other side LINK is made to point to), file:PATH (nobody asks).  It prints its pid, then
 * what it counted. WHAT: see below; none: honest.  offset=TICKS: its TSC is the host's plus that, modulo
 * 2^64; tail=SECONDS: it goes on so long after its benchmark, and has another one in that time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "collector/connect.h"
#include "vt/task_pack.h"
#include "wire/frame.h"

enum { KEEP = 4096, VIEW_EVERY_MS = 100 };

enum what {
    LENGTHS = 1 << 0,   /* frames longer than any, and than their type */
    CRC = 1 << 1,       /* damaged frames */
    REPLAY = 1 << 2,    /* what was acknowledged, again */
    BACKWARDS = 1 << 3, /* clocks that run backwards */
    GARBAGE = 1 << 4,   /* bytes, as many as go out, up to 1 GB */
    ESCAPES = 1 << 5,   /* terminal escapes in every name */
    UNASKED = 1 << 6,   /* answers to nothing asked, and twice */
    DEAF = 1 << 7,      /* answers nothing */
    ANEW = 1 << 8,      /* another session every half second */
    TASKS = 1 << 9,     /* stretches of tasks that don't unpack */
    FUTURE = 1 << 10,   /* answers from the future, and some to questions that are yet to be asked */
    OVERLAPS = 1 << 11, /* two tasks on one vCPU at a time, and stretches beyond the counter's end */
    RATE = 1 << 12,     /* sound frames, as many as go out */
    NOREAD = 1 << 13,   /* reads nothing after the first questions */
    CONNECTS = 1 << 14, /* comes and goes a thousand times before */
    KNOWN = 1 << 15,    /* a session and a boot id that others have too */
};
static const struct {
    const char *name;
    enum what what;
} whats[] = { { "lengths", LENGTHS },     { "crc", CRC },         { "replay", REPLAY },
              { "backwards", BACKWARDS }, { "garbage", GARBAGE }, { "escapes", ESCAPES },
              { "unasked", UNASKED },     { "deaf", DEAF },       { "anew", ANEW },
              { "tasks", TASKS },         { "future", FUTURE },   { "overlaps", OVERLAPS },
              { "rate", RATE },           { "noread", NOREAD },   { "connects", CONNECTS },
              { "known", KNOWN } };

struct sim {
    int fd;
    unsigned what;
    const char *name;
    uint64_t boot;
    uint64_t session, last_id, task_tsc;
    uint32_t first, next; /* seq of the oldest kept, and of the next new one */
    uint32_t sent;        /* next to be sent */
    uint8_t kept[KEEP][sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    size_t length[KEEP];
    uint64_t pings, garbage, frames;
    struct vt_frame_decoder decoder;
    uint64_t offset; /* of its TSC */
    double tail;
    uint64_t marked, begun; /* the last mark, and the first, by the host's clock */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t tsc(const struct sim *s)
{
    const uint64_t t = __rdtsc() + s->offset;
    return s->what & BACKWARDS ? (UINT64_C(1) << 62) - t : t;
}

/* All of it, however long the host makes us wait; false: it is gone, or the time is up. */
static bool put(const struct sim *s, const void *data, size_t n)
{
    for (const uint8_t *p = data; n;) {
        const ssize_t done = write(s->fd, p, n);
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            struct pollfd wait = { .fd = s->fd, .events = POLLOUT };
            if (poll(&wait, 1, 2000) <= 0)
                return false;
        } else {
            return false;
        }
    }
    return true;
}

static void keep(struct sim *s, enum vtg_type type, const void *body, uint32_t len)
{
    if (s->next - s->first == KEEP)
        return; /* no room: it gets no number */
    s->length[s->next % KEEP] = vt_frame_encode(s->kept[s->next % KEEP], type, s->next, body, len);
    s->next++;
}

static void name_it(const struct sim *s, char *to, size_t n)
{
    static const char hostile[] = "\033]0;owned\007\033[2J\xff\xc3(";

    memset(to, 0, n);
    if (s->what & ESCAPES)
        memcpy(to, hostile, n < sizeof(hostile) ? n : sizeof(hostile));
    else
        memcpy(to, s->name, strnlen(s->name, n));
}

static void introduce(struct sim *s)
{
    struct vtg_hello hello = { .kind = VTG_KIND_LINUX, .nr_vcpus = 1 };
    struct vtg_system system = { .session = s->session, .nr_online = 1, .nr_possible = 1, .user_hz = 100 };

    system.boot_id[0] = system.boot_id[1] = s->what & KNOWN ? 0xb007 : s->boot;

    name_it(s, hello.name, sizeof(hello.name));
    name_it(s, system.kernel, sizeof(system.kernel));
    name_it(s, system.clocksource, sizeof(system.clocksource));
    keep(s, VTG_HELLO, &hello, sizeof(hello));
    keep(s, VTG_SYSTEM, &system, sizeof(system));
}

static void begin_session(struct sim *s)
{
    if (getrandom(&s->session, sizeof(s->session), 0) != sizeof(s->session))
        fail("getrandom");
    s->session = s->what & KNOWN ? 0x5e55 : s->session | 1;
    s->first = s->next = s->sent = 0;
    introduce(s);
}

static void view(struct sim *s)
{
    struct vtg_view v = { .have = (1 << VTG_NR_OS_CLOCKS) - 1 };
    static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME, CLOCK_BOOTTIME,
                                        CLOCK_TAI };
    struct timespec t;

    for (int i = 0; i < VTG_NR_OS_CLOCKS; i++) {
        v.tsc[i] = tsc(s);
        clock_gettime(clocks[i], &t);
        v.ns[i] = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    v.tsc[VTG_NR_OS_CLOCKS] = tsc(s);
    keep(s, VTG_VIEW, &v, sizeof(v));
}

static void mark(struct sim *s, enum vtg_mark_kind kind)
{
    struct vtg_mark m = { .kind = kind, .id = 1 };

    name_it(s, m.name, sizeof(m.name));
    m.clocks.have = VTG_HAVE_TSC | VTG_HAVE_MONOTONIC;
    m.clocks.tsc_before = tsc(s);
    m.clocks.monotonic_ns = now_ns();
    m.clocks.tsc_after = tsc(s);
    s->marked = m.clocks.monotonic_ns;
    s->begun = s->begun ? s->begun : s->marked;
    keep(s, VTG_MARK, &m, sizeof(m));
}

static void stretch(struct sim *s, uint64_t from, uint64_t to, uint32_t more)
{
    struct vtg_tasks t = { .base_tsc = from, .source = VTG_TASKS_BPF };
    struct vtg_task_cursor c = vtg_task_begin(&t);
    const struct vtg_stretch one = { .from = from, .to = to, .tid = 7, .end = VTG_TASK_SLEPT };

    vtg_pack_stretch(&t, &c, &one);
    t.nr += more;
    keep(s, VTG_TASKS, &t, (uint32_t)offsetof(struct vtg_tasks, data) + t.bytes);
}

static void stretches(struct sim *s)
{
    const uint64_t now = tsc(s), last = s->task_tsc && s->task_tsc < now ? s->task_tsc : now - 1000;

    s->task_tsc = now;
    stretch(s, last, now, s->what & TASKS ? 5 : 0);
    if (s->what & OVERLAPS) {
        stretch(s, last - (now - last) / 2, now - (now - last) / 2, 0);
        stretch(s, UINT64_MAX - 500, 500, 0);
        stretch(s, 0, UINT64_MAX, 0);
    }
}

/* ---- what a hostile one adds, at each view ---- */

static void be_hostile(struct sim *s)
{
    uint8_t frame[sizeof(struct vtg_frame) + 4096] = { 0 };
    struct vtg_frame head;
    struct vtg_hello hello = { .kind = VTG_KIND_LINUX };
    struct vtg_pong pong = { .session = s->session, .id = s->last_id, .tsc_received = 5, .tsc_sent = 6 };
    size_t n;

    if (s->what & CRC) {
        n = vt_frame_encode(frame, VTG_HELLO, s->next, &hello, sizeof(hello));
        frame[n - 1] ^= 1;
        put(s, frame, n);
    }
    if (s->what & LENGTHS) {
        n = vt_frame_encode(frame, VTG_MARK, s->sent, &hello, sizeof(hello)); /* not of that type's size */
        put(s, frame, n);
        memcpy(&head, frame, sizeof(head));
        head.len = UINT32_MAX;
        put(s, &head, sizeof(head));
        head.len = 65536;
        put(s, &head, sizeof(head));
    }
    if (s->what & REPLAY && s->first)
        for (uint32_t seq = 0; seq < s->first && seq < 8; seq++)
            put(s, s->kept[seq], s->length[seq]);
    if (s->what & UNASKED) {
        n = vt_frame_encode(frame, VTG_PONG, 0, &pong, sizeof(pong)); /* answered already */
        put(s, frame, n);
        pong.id = UINT64_MAX - 3;
        n = vt_frame_encode(frame, VTG_PONG, 0, &pong, sizeof(pong));
        put(s, frame, n);
    }
}

/* What is kept, again and again: each frame is sound, and all of them together are too many. */
static void pour_frames(struct sim *s, uint64_t until)
{
    while (s->next - s->first < KEEP)
        view(s);
    while (s->garbage < UINT64_C(1) << 30 && now_ns() < until)
        for (uint32_t i = s->first; i != s->next && now_ns() < until; i++, s->frames++) {
            if (!put(s, s->kept[i % KEEP], s->length[i % KEEP]))
                return;
            s->garbage += s->length[i % KEEP];
        }
    s->sent = s->next;
}

static void pour_garbage(struct sim *s, uint64_t until)
{
    static uint8_t junk[65536];

    if (getrandom(junk, sizeof(junk), 0) < 0)
        fail("getrandom");
    for (size_t i = 0; i + 40 < sizeof(junk); i += 512) /* some that look like frames */
        vt_frame_encode(junk + i, VTG_HELLO, 0, junk, 16);
    while (s->garbage < UINT64_C(1) << 30 && now_ns() < until) {
        const ssize_t n = write(s->fd, junk, sizeof(junk));
        struct pollfd wait = { .fd = s->fd, .events = POLLOUT };
        if (n > 0)
            s->garbage += (uint64_t)n;
        else if (errno != EAGAIN || poll(&wait, 1, 100) < 0)
            return;
    }
}

/* ---- the agent's side ---- */

static void on_frame(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct sim *s = context;
    struct vtg_pong pong = { .session = s->session, .id = body->ping.id, .tsc_received = tsc(s) };
    uint8_t frame[sizeof(struct vtg_frame) + sizeof(pong)];

    if (type != VTG_PING)
        return;
    s->pings++;
    if (s->what & DEAF)
        return;
    s->last_id = body->ping.id;
    if (body->ping.session == 0 && s->sent > 1)
        introduce(s);
    if (body->ping.session == s->session && body->ping.have_seq &&
        body->ping.next_seq - s->first <= s->next - s->first)
        s->first = body->ping.next_seq; /* those before have arrived */
    if (body->ping.session != s->session || !body->ping.have_seq)
        s->sent = s->first;
    pong.tsc_sent = tsc(s);
    if (s->what & FUTURE && s->pings > 3) {
        pong.tsc_received += s->pings << 33; /* some seconds more each time */
        pong.tsc_sent += s->pings << 33;
    }
    put(s, frame, vt_frame_encode(frame, VTG_PONG, 0, &pong, sizeof(pong)));
    if (s->what & FUTURE) { /* the same again, and one that guesses what will be asked */
        put(s, frame, vt_frame_encode(frame, VTG_PONG, 0, &pong, sizeof(pong)));
        pong.id++;
        put(s, frame, vt_frame_encode(frame, VTG_PONG, 0, &pong, sizeof(pong)));
    }
}

static void serve(struct sim *s, int wait_ms)
{
    struct pollfd wait = { .fd = s->fd, .events = POLLIN };
    uint8_t buf[4096];

    if (s->what & NOREAD && s->pings > 5)
        usleep(1000 * (useconds_t)wait_ms);
    else if (poll(&wait, 1, wait_ms) > 0) {
        const ssize_t n = read(s->fd, buf, sizeof(buf));
        if (n > 0)
            vt_frame_decode(&s->decoder, buf, (size_t)n, on_frame, s);
        else if (n == 0 || errno != EAGAIN)
            usleep(1000);
    }
    for (; s->sent != s->next; s->sent++, s->frames++)
        if (!put(s, s->kept[s->sent % KEEP], s->length[s->sent % KEEP]))
            return;
}

static int open_pty(const char *link)
{
    const int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 || grantpt(fd) || unlockpt(fd) || symlink(ptsname(fd), link))
        fail("pty");
    return fd;
}

static int open_channel(const char *where)
{
    struct vt_agent_address a;
    struct vt_err err = { "" };
    char named[320];
    bool pending;

    if (strncmp(where, "pty:", 4) == 0)
        return open_pty(where + 4);
    snprintf(named, sizeof(named), "x=%s", where);
    if (vt_agent_address_parse(named, &a, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    if (a.way == VT_WAY_FILE) {
        const int fd = open(vt_agent_path(&a), O_WRONLY | O_CREAT | O_EXCL, 0600);
        return fd < 0 ? (fail("open"), fd) : fd;
    }
    if (!a.listens) {
        int fd;
        while ((fd = vt_agent_connect(&a, &pending)) == -EAGAIN)
            usleep(1000); /* so many wait to be let in already */
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        if (fd < 0 || (pending && (poll(&wait, 1, 5000) <= 0 || vt_agent_connected(fd))))
            fail("connect");
        return fd;
    }
    const int listening = vt_agent_listen(&a, &err);
    struct pollfd wait = { .fd = listening, .events = POLLIN };
    if (listening < 0 || poll(&wait, 1, 20000) <= 0)
        fail(err.text[0] ? err.text : "nobody came");
    const int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
    vt_agent_unlisten(&a, listening);
    return fd;
}

/* Some say nothing, some half a frame, some their name. */
static void come_and_go(struct sim *s, const char *where)
{
    uint8_t frame[sizeof(struct vtg_frame) + sizeof(struct vtg_hello)];
    struct vtg_hello hello = { .kind = VTG_KIND_LINUX, .nr_vcpus = 1 };

    for (unsigned i = 0; i < 1000; i++) {
        s->fd = open_channel(where);
        name_it(s, hello.name, sizeof(hello.name));
        const size_t n = vt_frame_encode(frame, VTG_HELLO, i, &hello, sizeof(hello));
        put(s, frame, i % 3 == 0 ? 0 : i % 3 == 1 ? n / 2 : n);
        close(s->fd);
    }
}

static void parse_whats(struct sim *s, char **words)
{
    for (; *words; words++) {
        bool known = strncmp(*words, "claim=", 6) == 0;
        if (known)
            s->name = *words + 6;
        if (strncmp(*words, "offset=", 7) == 0) {
            s->offset = (uint64_t)strtoll(*words + 7, NULL, 10);
            continue;
        }
        if (strncmp(*words, "tail=", 5) == 0) {
            s->tail = atof(*words + 5);
            continue;
        }
        for (size_t i = 0; i < sizeof(whats) / sizeof(*whats); i++)
            if (strcmp(*words, whats[i].name) == 0) {
                s->what |= whats[i].what;
                known = true;
            }
        if (!known) {
            fprintf(stderr, "agentsim: what is '%s'?\n", *words);
            exit(2);
        }
    }
}

static void talk_until(struct sim *s, uint64_t end)
{
    while (now_ns() < end) {
        view(s);
        serve(s, VIEW_EVERY_MS);
        usleep(VIEW_EVERY_MS * 1000);
    }
}

/* And a benchmark at the end of it. */
static void go_on(struct sim *s)
{
    const uint64_t from = s->marked;

    s->name = "tail";
    talk_until(s, from + (uint64_t)(s->tail * 0.9e9));
    mark(s, VTG_MARK_BEGIN);
    talk_until(s, from + (uint64_t)(s->tail * 1e9));
    mark(s, VTG_MARK_END);
}

int main(int argc, char **argv)
{
    static struct sim s = { .name = "inside" };

    if (argc < 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    parse_whats(&s, argv + 3);
    printf("%d\n", (int)getpid());
    fflush(stdout);
    if (getrandom(&s.boot, sizeof(s.boot), 0) != sizeof(s.boot))
        fail("getrandom");
    if (s.what & CONNECTS)
        come_and_go(&s, argv[1]);
    s.fd = open_channel(argv[1]);
    const uint64_t begin = now_ns(), end = begin + (uint64_t)(atof(argv[2]) * 1e9);
    begin_session(&s);
    mark(&s, VTG_MARK_BEGIN);
    for (uint64_t due = begin, anew = begin; now_ns() < end;) {
        if (s.what & ANEW && now_ns() - anew > 500000000u) {
            begin_session(&s);
            anew = now_ns();
        }
        if (now_ns() >= due) {
            view(&s);
            stretches(&s);
            be_hostile(&s);
            due += VIEW_EVERY_MS * UINT64_C(1000000);
        }
        if (s.what & GARBAGE)
            pour_garbage(&s, now_ns() + 20000000u);
        if (s.what & RATE && s.pings > 2)
            pour_frames(&s, now_ns() + 20000000u);
        serve(&s, 5);
    }
    mark(&s, VTG_MARK_END);
    printf("benchmark %llu ns\n", (unsigned long long)(s.marked - s.begun));
    if (s.tail > 0)
        go_on(&s);
    for (const uint64_t last = now_ns() + 1000000000u; s.first != s.next && now_ns() < last;)
        serve(&s, 50); /* until the host has it all */
    printf("pings %llu frames %llu garbage %llu\n", (unsigned long long)s.pings, (unsigned long long)s.frames,
           (unsigned long long)s.garbage);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <x86intrin.h>

#include "connect.h"
#include "hostinfo.h"

enum {
    BYTES_PER_READ = 65536,
    READS_PER_EVENT = 16,
    /* A channel's allowances: when one is spent, nothing is read until the next tick, and the sender waits.
     */
    BYTES_PER_TICK = 1 << 20,
    FRAMES_PER_TICK = 4096,
    /* More losses than frames allowed are not believed. */
    LOSSES_PER_TICK = FRAMES_PER_TICK,
};

#define MS           UINT64_C(1000000)
#define ASK_EVERY    (200 * MS)
#define ASK_FIRST    (100 * MS)  /* in the first second: a clock map is wanted soon */
#define ASK_SILENT   (1000 * MS) /* who does not answer is not to find a heap when he wakes */
#define ASK_AFTER    (300 * MS)
#define SILENT_AFTER (1000 * MS)  /* five questions */
#define GIVE_UP      (20000 * MS) /* a frame that is due and does not come, though later ones do */

/* ---- begin and end ---- */

static uint64_t random_seed(void)
{
    uint64_t seed = 0;

    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
        seed = __rdtsc();
    return seed;
}

static void renew(struct vt_channel *c)
{
    const host_ns now = vt_host_now();

    if (c->sink->budgets) /* anew: one that is full may have been given to another VM */
        c->budget = vt_budget_of(c->sink->budgets, c->tgid, c->start_ns, now);
    const uint64_t budget = c->sink->budgets ? vt_budget_left(c->budget, now) : UINT64_MAX;

    c->paced = budget < BYTES_PER_TICK;
    c->bytes_left = c->paced ? (size_t)budget : BYTES_PER_TICK;
    c->frames_left = FRAMES_PER_TICK;
    c->losses_left = LOSSES_PER_TICK;
}

void vt_channel_init(struct vt_channel *c, struct vt_channel_sink *sink, int fd, uint32_t tgid,
                     uint64_t start_ns, const char *where)
{
    *c = (struct vt_channel){ .sink = sink, .fd = fd, .tgid = tgid, .start_ns = start_ns };
    snprintf(c->where, sizeof(c->where), "%s", where);
    c->opened = c->answered = vt_host_now();
    renew(c);
}

void vt_channel_ask(struct vt_channel *c)
{
    if (c->asks)
        return;
    c->asks = true;
    c->decoder.in_order = true;
    c->answered = vt_host_now();
    vt_pings_init(&c->pings, random_seed());
}

/* Out of the epoll set, not its events cleared: a hangup would be told all the same, and again at once. */
bool vt_channel_arm(struct vt_channel *c)
{
    struct epoll_event ev = { .events = c->connecting ? EPOLLOUT : EPOLLIN, .data.ptr = c };

    if (!c->armed)
        c->armed = epoll_ctl(c->sink->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) == 0;
    return c->armed;
}

static void disarm(struct vt_channel *c)
{
    if (c->armed)
        epoll_ctl(c->sink->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    c->armed = false;
}

void vt_channel_drop(struct vt_channel *c)
{
    vt_names_release(&c->names);
    close(c->fd);
    c->fd = -1;
}

void vt_channel_close(struct vt_channel *c)
{
    vt_channel_flush(c, true);
    c->sink->lost_elsewhere += c->lost;
    vt_channel_drop(c);
}

/* ---- who it is ---- */

/* Whoever connects is a VM only once it has sent a good frame. False: its frames are not kept. */
static bool bind_vm(struct vt_channel *c)
{
    struct vt_channel_sink *s = c->sink;

    if (c->vm == 0) {
        int64_t vm = vt_roster_process(s->roster, c->tgid, c->start_ns, s->err);
        if (vm < 0)
            s->error = (int)vm;
        else
            c->vm = vm;
    }
    return c->vm > 0;
}

/* ---- what befalls it ---- */

void vt_channel_happens(struct vt_channel *c, enum vt_channel_event_kind kind, uint64_t count,
                        const char *text)
{
    struct vt_channel_happened *h = &c->happened[kind];

    if (!h->any)
        *h = (struct vt_channel_happened){ .any = true, .first = vt_host_now() };
    h->count += count;
    if (text && !h->text[0])
        memcpy(h->text, text, strnlen(text, sizeof(h->text)));
}

static void note_silence(struct vt_channel *c, host_ns until)
{
    struct vt_channel_happened *h = &c->happened[VT_CHANNEL_SILENT];

    vt_channel_happens(c, VT_CHANNEL_SILENT, until.v - c->answered.v, NULL);
    if (h->count == until.v - c->answered.v)
        h->first = c->answered;
}

static int put_happened(struct vt_channel *c, enum vt_channel_event_kind kind)
{
    struct vt_channel_happened *h = &c->happened[kind];
    struct vt_channel_event row = { .vm = c->vm, .at = h->first, .kind = kind, .count = h->count };

    if (!h->any)
        return 0;
    memcpy(row.text, h->text, sizeof(row.text));
    h->any = false;
    h->text[0] = 0;
    return vt_store_put_channel_event(c->sink->store, &row, c->sink->err);
}

void vt_channel_flush(struct vt_channel *c, bool last)
{
    struct vt_channel_sink *s = c->sink;
    int e = 0;

    if (!s->store || (c->vm == 0 && !c->of) || !bind_vm(c))
        return;
    if (last && c->silent) {
        const host_ns now = vt_host_now();
        note_silence(c, now);
        c->answered = now;
    }
    for (int kind = 0; kind < VT_NR_CHANNEL_EVENTS && !e; kind++)
        e = put_happened(c, (enum vt_channel_event_kind)kind);
    if (e)
        s->error = e;
}

/* ---- frames ---- */

/* A relay's time is believed only where it is possible: not ahead of us, not long ago. */
static host_ns relayed_time(const struct vt_channel *c, host_ns now)
{
    const host_ns t = { c->relay.host_ns };

    return t.v && t.v <= now.v && now.v - t.v < 10 * VT_NSEC_PER_SEC ? t : now;
}

bool vt_record_of_frame(enum vtg_type type, const union vt_frame_body *body, struct vt_guest_record *ret)
{
    struct vt_guest_record rec = { .type = type };

    switch (type) {
    case VTG_HELLO:
        rec.hello = body->hello;
        break;
    case VTG_CLOCKS:
        rec.clocks = body->clocks;
        break;
    case VTG_MARK:
        rec.mark = body->mark;
        break;
    case VTG_GAPS:
        rec.gaps = body->gaps;
        break;
    case VTG_SYSTEM:
        rec.system = body->system;
        break;
    case VTG_VIEW:
        rec.view = body->view;
        break;
    case VTG_CPUS:
        rec.cpus = body->cpus;
        break;
    case VTG_PROCESS:
        rec.process = body->process;
        break;
    case VTG_RUN:
        rec.run = body->run;
        break;
    case VTG_TASK:
        rec.task = body->task;
        break;
    case VTG_TASKS:
        rec.tasks = body->tasks;
        break;
    case VTG_EVENT:
        rec.event = body->event;
        break;
    default:
        return false;
    }
    *ret = rec;
    return true;
}

static void put_record(struct vt_channel *c, struct vt_guest_record *rec)
{
    struct vt_channel_sink *s = c->sink;

    if (!s->store) {
        s->lost_elsewhere++;
        return;
    }
    if (!bind_vm(c))
        return;
    rec->vm = c->vm;
    const int r = vt_store_put_guest_record(s->store, rec, s->err);
    if (r == -EINVAL) { /* stretches that don't unpack */
        vt_channel_happens(c, VT_CHANNEL_DAMAGED, 1, NULL);
        c->lost++;
    } else if (r) {
        s->error = r;
    }
}

/* The name is only shown; but who bears another VM's name is told. */
static void note_hello(struct vt_channel *c, const struct vtg_hello *hello)
{
    const char *other;

    c->hello = *hello;
    c->has_hello = true;
    if (c->sink->store && bind_vm(c) &&
        (other = vt_roster_namesake(c->sink->roster, c->vm, hello->name, sizeof(hello->name))))
        vt_channel_happens(c, VT_CHANNEL_CLAIMED, 1, other);
    if (hello->kind == VTG_KIND_LINUX && c->trusted && !c->relayed)
        vt_channel_ask(c);
}

/* Its own word for the place in its sequence: what came before is not ours, or did not come. */
static void note_place(struct vt_channel *c)
{
    const uint32_t seq = c->decoder.next_seq - 1;

    if (c->session_new)
        vt_channel_happens(c, VT_CHANNEL_SESSION, seq, NULL);
    if (c->resync) {
        vt_channel_happens(c, VT_CHANNEL_MISSING, seq - c->stuck_seq, NULL);
        c->lost++;
    }
    c->session_new = c->resync = false;
}

/* Another agent than before, or the first: nothing is known of its sequence. */
static void begin_session(struct vt_channel *c, uint64_t session)
{
    c->session = session;
    c->session_new = true;
    vt_names_release(&c->names);
    c->has_system = c->resync = false;
    c->decoder.synced = 0;
    c->decoder.acked = 0;
    c->decoder.has_acked = false;
    c->stuck_since.v = 0;
}

static void put_exchange(struct vt_channel *c, struct vt_exchange *row)
{
    if (!c->sink->store || !bind_vm(c))
        return;
    row->vm = c->vm;
    const int e = vt_store_put_exchange(c->sink->store, row, c->sink->err);
    if (e)
        c->sink->error = e;
}

/* Somebody is there, and which frames he knows to have arrived. */
static void note_answer(struct vt_channel *c, uint64_t session, const struct vt_asked *asked)
{
    if (c->silent)
        note_silence(c, c->read_at);
    c->silent = false;
    c->answered = c->read_at;
    if (!c->settled || session != c->session) {
        begin_session(c, session);
    } else if (asked->have_seq) {
        c->decoder.acked = asked->next_seq;
        c->decoder.has_acked = true;
    }
    c->settled = true;
}

static void on_pong(struct vt_channel *c, const struct vtg_pong *pong)
{
    struct vt_exchange row;
    struct vt_asked asked;
    const enum vt_answer answer =
        c->asks ? vt_pings_answer(&c->pings, pong, c->read_at, c->read_tsc, &row, &asked) : VT_ANSWER_ABSURD;

    if (answer == VT_ANSWER_ABSURD || answer == VT_ANSWER_BACKWARDS)
        vt_channel_happens(c, VT_CHANNEL_ABSURD, 1, NULL);
    if (answer == VT_ANSWER_GOOD || answer == VT_ANSWER_BACKWARDS)
        note_answer(c, pong->session, &asked);
    if (answer != VT_ANSWER_GOOD)
        return;
    put_exchange(c, &row);
    /* who sleeps on the way is awake now: asked once more at once it answers sooner */
    c->again = asked.have_seq && !c->followed;
}

/* What a guest has no business to say. */
static bool is_out_of_place(const struct vt_channel *c, enum vtg_type type)
{
    return type == VTG_PING || (type == VTG_RELAY && !c->trusted);
}

/*
 * Until an agent has answered, its frames may be what an earlier one left in the channel, and
 * come again. Guests that don't answer say so in their first.
 */
static bool is_too_early(struct vt_channel *c, enum vtg_type type, const union vt_frame_body *body)
{
    if (!c->asks || c->settled)
        return false;
    if (type == VTG_HELLO && (body->hello.kind == VTG_KIND_PAYLOAD || body->hello.kind == VTG_KIND_BARE)) {
        c->asks = c->decoder.in_order = false;
        return false;
    }
    c->decoder.synced = 0;
    return true;
}

static void on_frame(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct vt_channel *c = context;
    struct vt_guest_record rec;

    if (c->frames_left)
        c->frames_left -= type != VTG_RELAY; /* what one read brings beyond the allowance is still taken */
    if (is_out_of_place(c, type)) {
        vt_channel_happens(c, VT_CHANNEL_ABSURD, 1, NULL);
        return;
    }
    if (type == VTG_RELAY) {
        c->relay = body->relay;
        c->relayed = true;
        c->asks = c->decoder.in_order = false;
        return;
    }
    if (type == VTG_PONG) {
        on_pong(c, &body->pong);
        return;
    }
    if (is_too_early(c, type, body) || !vt_record_of_frame(type, body, &rec))
        return;
    rec.host = relayed_time(c, c->read_at);
    rec.host_tsc.v = rec.host.v == c->relay.host_ns ? c->relay.host_tsc : 0;
    c->relay.host_ns = 0;
    note_place(c);
    if (type == VTG_HELLO)
        note_hello(c, &body->hello);
    if (type == VTG_SYSTEM) {
        c->system = body->system;
        c->has_system = true;
    }
    if (type == VTG_TASK)
        vt_names_note(&c->names, &body->task);
    put_record(c, &rec);
}

/* ---- bytes ---- */

static uint64_t grown(uint64_t now, uint64_t *told)
{
    const uint64_t fresh = now - *told;

    *told = now;
    return fresh;
}

static void tell(struct vt_channel *c, enum vt_channel_event_kind kind, uint64_t count)
{
    if (count)
        vt_channel_happens(c, kind, count, NULL);
}

/*
 * The decoder's counters are the sender's word: one frame may claim 2^31 lost
 * before it.  What n bytes tell is believed up to one loss per smallest frame,
 * so that one liar cannot deface a recording of many.
 */
static void count_losses(struct vt_channel *c, size_t n)
{
    const struct vt_frame_decoder *d = &c->decoder;
    const uint64_t room = (n + sizeof(struct vtg_frame) - 1) / sizeof(struct vtg_frame);
    const uint64_t damaged = grown(d->bad_crc + d->bad_length, &c->told.damaged);
    uint64_t missing = grown(d->lost_frames, &c->told.missing), fresh;

    if (missing > room)
        missing = room;
    fresh = damaged + missing < room ? damaged + missing : room;
    if (fresh > c->losses_left)
        fresh = c->losses_left;
    c->losses_left -= (unsigned)fresh;
    c->lost += fresh;
    tell(c, VT_CHANNEL_DAMAGED, damaged);
    tell(c, VT_CHANNEL_MISSING, missing);
    tell(c, VT_CHANNEL_GARBAGE, grown(d->skipped_bytes, &c->told.garbage));
    tell(c, VT_CHANNEL_REPLAYED, grown(d->replayed, &c->told.replayed));
}

static void hang_up(struct vt_channel *c, int number)
{
    if (c->of || c->settled) /* of an agent: a payload's life is its monitor's */
        vt_channel_happens(c, VT_CHANNEL_CLOSED, 1, number ? strerror(number) : NULL);
    vt_channel_close(c);
}

/* The connection that was under way is there, or will not be. */
static bool finish_connecting(struct vt_channel *c)
{
    const int e = vt_agent_connected(c->fd);

    disarm(c);
    c->connecting = false;
    if (!e && vt_channel_arm(c)) {
        vt_channel_happens(c, VT_CHANNEL_OPENED, 1, c->where);
        c->opened = c->answered = vt_host_now();
        return true;
    }
    c->failed = e ? -e : ENOMEM; /* its owner tells, once */
    vt_channel_close(c);
    return false;
}

static bool may_read(struct vt_channel *c)
{
    if (c->asks && !c->sink->store) { /* who sends again what was not received keeps it meanwhile */
        disarm(c);
        return false;
    }
    if (c->bytes_left && c->frames_left)
        return true;
    vt_channel_happens(c, c->paced && !c->bytes_left ? VT_CHANNEL_PACED : VT_CHANNEL_FLOODED, 1, NULL);
    disarm(c);
    return false;
}

static void read_all(struct vt_channel *c)
{
    char buf[BYTES_PER_READ];

    if (c->connecting && !finish_connecting(c))
        return;
    for (int i = 0; i < READS_PER_EVENT; i++) {
        if (!may_read(c))
            return;
        ssize_t n = read(c->fd, buf, c->bytes_left < sizeof(buf) ? c->bytes_left : sizeof(buf));
        c->read_tsc.v = __rdtsc();
        c->read_at = vt_host_now();
        if (n > 0) {
            c->heard = true;
            c->bytes_left -= (size_t)n;
            if (c->sink->budgets)
                vt_budget_spend(c->budget, (size_t)n);
            vt_frame_decode(&c->decoder, buf, (size_t)n, on_frame, c);
            count_losses(c, (size_t)n);
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            hang_up(c, n == 0 ? 0 : errno);
        return;
    }
}

/* ---- questions ---- */

uint64_t vt_channel_wants(const struct vt_channel *c, host_ns now)
{
    uint64_t every = now.v - c->opened.v < VT_NSEC_PER_SEC ? ASK_FIRST : ASK_EVERY;

    if (c->fd < 0 || !c->asks || c->connecting || !c->sink->store)
        return UINT64_MAX;
    if (c->silent)
        every = ASK_SILENT;
    return now.v - c->asked.v >= every ? 0 : c->asked.v + every - now.v;
}

/* To a socket whose other end is gone, without a signal; to a terminal. */
static ssize_t put_bytes(int fd, const void *data, size_t n)
{
    const ssize_t done = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return done < 0 && errno == ENOTSOCK ? write(fd, data, n) : done;
}

/* The rest of a question that went out in part: nothing may come between. False: there is no room yet. */
static bool write_rest(struct vt_channel *c)
{
    while (c->out_at < c->out_len) {
        const ssize_t n = put_bytes(c->fd, c->out + c->out_at, c->out_len - c->out_at);
        if (n <= 0)
            return false;
        c->out_at += (size_t)n;
    }
    return true;
}

static void ask(struct vt_channel *c)
{
    const struct vt_frame_decoder *d = &c->decoder;
    const bool have_seq = c->settled && d->synced;
    const host_ns at = vt_host_now();
    const host_tsc tsc = { __rdtsc() };
    const uint64_t session = c->settled && c->has_system ? c->session : 0;
    const struct vtg_ping ping = vt_pings_ask(&c->pings, at, tsc, session, d->next_seq, have_seq);

    c->out_len = vt_frame_encode(c->out, VTG_PING, 0, &ping, sizeof(ping));
    c->out_at = 0;
    if (!write_rest(c) && c->out_at == 0) { /* full, and not a byte of it went */
        vt_pings_unask(&c->pings);
        c->out_len = 0;
    }
}

void vt_channel_time(struct vt_channel *c, host_ns now)
{
    /* a timer may come a moment early */
    if (vt_channel_wants(c, (host_ns){ now.v + MS }) > 0)
        return;
    c->asked = now;
    c->followed = false;
    if (!c->armed) /* it is we who do not listen */
        c->answered = now;
    if (!c->silent && now.v - c->answered.v > SILENT_AFTER)
        c->silent = true;
    if (c->out_at < c->out_len && !write_rest(c))
        return;
    ask(c);
}

static void ask_again(struct vt_channel *c)
{
    if (c->again && c->fd >= 0 && c->out_at == c->out_len) {
        c->followed = true;
        ask(c);
    }
    c->again = false;
}

void vt_channel_read(struct vt_channel *c)
{
    read_all(c);
    ask_again(c);
}

/* ---- ticks ---- */

/* Frames come, but never the one that is due: the sender no longer has it. */
static void look_if_stuck(struct vt_channel *c)
{
    struct vt_frame_decoder *d = &c->decoder;
    const bool early = grown(d->early, &c->told.early);
    const host_ns now = vt_host_now();

    if (!c->settled || !d->synced || !early) {
        if (c->stuck_since.v && c->stuck_seq != d->next_seq)
            c->stuck_since.v = 0;
        return;
    }
    if (c->stuck_since.v == 0 || c->stuck_seq != d->next_seq) {
        c->stuck_since = now;
        c->stuck_seq = d->next_seq;
    } else if (now.v - c->stuck_since.v > GIVE_UP) {
        d->synced = 0;
        c->resync = true;
        c->stuck_since.v = 0;
    }
}

/* An agent says nothing before it is asked; a monitor of ours does, and does not listen. */
static void look_if_waiting(struct vt_channel *c)
{
    if (c->trusted && !c->heard && vt_host_now().v - c->opened.v > ASK_AFTER)
        vt_channel_ask(c);
}

void vt_channel_tick(struct vt_channel *c)
{
    renew(c);
    look_if_waiting(c);
    if (vt_channel_arm(c)) {
        if (!c->connecting)
            vt_channel_read(c);
    } else {
        c->lost++;
        vt_channel_close(c);
    }
    if (c->fd < 0)
        return;
    look_if_stuck(c);
    vt_channel_flush(c, false);
}

/* ---- another recording ---- */

/* Those that gave way its agent tells again, once it is asked by who seems not to know it. */
static void name_again(struct vt_channel *c, host_ns now)
{
    struct vt_guest_record row = { .type = VTG_TASK, .host = now };
    const struct vtg_task *task;
    size_t at = 0;

    while (!c->sink->error && (task = vt_names_next(&c->names, &at))) {
        row.task = *task;
        put_record(c, &row);
    }
    if (c->names.displaced)
        c->has_system = false;
    c->names.displaced = false;
}

void vt_channel_say_again(struct vt_channel *c)
{
    struct vt_guest_record hello = { .type = VTG_HELLO, .host = vt_host_now(), .hello = c->hello };
    struct vt_guest_record system = { .type = VTG_SYSTEM, .host = hello.host, .system = c->system };

    if (c->asks && !c->connecting)
        vt_channel_happens(c, VT_CHANNEL_OPENED, 1, c->where);
    if (c->has_hello)
        put_record(c, &hello);
    if (c->has_system)
        put_record(c, &system);
    name_again(c, hello.host);
}

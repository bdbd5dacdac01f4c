/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A named agent's channel: sessions, order, replays, events; the test plays the guest. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "collector/agents.h"
#include "collector/channel.h"
#include "collector/hostinfo.h"
#include "wire/frame.h"

enum { FIRST = 0x1111, SECOND = 0x2222 };

struct site {
    char folder[32], own[48], path[48];
    int epoll_fd, listening, guest; /* the guest's end */
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_agents *agents;
    struct vt_frame_decoder heard;
    struct vtg_ping ping; /* the newest that came */
    unsigned pings;
};

/* What is in the recording. */
struct rows {
    int views, hellos, systems, exchanges;
    uint64_t last_view; /* uptime_ns of the newest view: numbers them */
    int event_rows[VT_NR_CHANNEL_EVENTS];
    uint64_t events[VT_NR_CHANNEL_EVENTS];
    char text[VT_NR_CHANNEL_EVENTS][65];
    struct vt_exchange exchange;
};

static struct vt_err err;

#define ok(call)                                                                                             \
    do {                                                                                                     \
        const int ok_r = (call);                                                                             \
        if (ok_r != 0)                                                                                       \
            fail_msg("%s: %d, %s", #call, ok_r, err.text);                                                   \
    } while (0)

/* ---- the recorder's side ---- */

static int set_up(void **state)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct vt_agent_address address;
    struct site *s = calloc(1, sizeof(*s));
    char text[96];

    assert_non_null(s);
    strcpy(s->folder, "/tmp/vt-agents-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->own, sizeof(s->own), "%s/own", s->folder);
    snprintf(s->path, sizeof(s->path), "%s/guest", s->folder);
    s->guest = -1;
    strcpy(at.sun_path, s->path);
    s->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listening, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listening, 4), 0);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    ok(vt_store_create(":memory:", false, &s->store, &err));
    s->roster = vt_roster_new(s->store);
    assert_non_null(s->roster);
    ok(vt_agents_open(s->own, s->epoll_fd, s->store, s->roster, &s->agents, &err));
    snprintf(text, sizeof(text), "%d=unix:%s", (int)getpid(), s->path); /* the VM is we */
    ok(vt_agent_address_parse(text, &address, &err));
    ok(vt_agents_name(s->agents, &address, 1, &err));
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    vt_agents_close(s->agents);
    vt_roster_free(s->roster);
    vt_store_close(s->store);
    close(s->epoll_fd);
    close(s->listening);
    if (s->guest >= 0)
        close(s->guest);
    unlink(s->path);
    rmdir(s->folder);
    free(s);
    return 0;
}

static void serve(struct site *s, int wait_ms)
{
    struct epoll_event events[16];
    int n;
    while ((n = epoll_wait(s->epoll_fd, events, 16, wait_ms)) > 0) {
        wait_ms = 0;
        for (int i = 0; i < n; i++) {
            int e = -1;
            assert_true(vt_agents_event(s->agents, events[i].data.ptr, &e, &err));
            assert_int_equal(e, 0);
        }
    }
}

static void tick(struct site *s)
{
    ok(vt_agents_tick(s->agents, &err));
    ok(vt_store_commit(s->store, &err));
}

static int see_record(void *context, const struct vt_guest_record *row)
{
    struct rows *r = context;
    r->views += row->type == VTG_VIEW;
    r->hellos += row->type == VTG_HELLO;
    r->systems += row->type == VTG_SYSTEM;
    if (row->type == VTG_VIEW)
        r->last_view = row->view.uptime_ns;
    return 0;
}

static int see_exchange(void *context, const struct vt_exchange *row)
{
    struct rows *r = context;
    r->exchanges++;
    r->exchange = *row;
    return 0;
}

static int see_event(void *context, const struct vt_channel_event *row)
{
    struct rows *r = context;
    r->event_rows[row->kind]++;
    r->events[row->kind] += row->count;
    memcpy(r->text[row->kind], row->text, sizeof(row->text));
    return 0;
}

static struct rows rows_of(struct vt_store *store)
{
    struct rows r = { 0 };
    struct vt_store_cursor cursor = { 0 };
    const struct vt_store_reader reader = {
        .context = &r, .guest_record = see_record, .exchange = see_exchange, .channel_event = see_event
    };
    ok(vt_store_commit(store, &err));
    ok(vt_store_read(store, &cursor, &reader, &err));
    return r;
}

/* ---- the guest's side ---- */

static void send_frame(struct site *s, enum vtg_type type, uint32_t seq, const void *body, uint32_t len)
{
    uint8_t out[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    const size_t n = vt_frame_encode(out, type, seq, body, len);
    assert_int_equal(send(s->guest, out, n, MSG_NOSIGNAL), n);
}

static void send_view(struct site *s, uint32_t seq)
{
    const struct vtg_view view = { .uptime_ns = seq };
    send_frame(s, VTG_VIEW, seq, &view, sizeof(view));
    serve(s, 0);
}

static void send_pong(struct site *s, uint64_t session, uint64_t id)
{
    const struct vtg_pong pong = { .session = session, .id = id, .tsc_received = 100, .tsc_sent = 101 };
    send_frame(s, VTG_PONG, 0, &pong, sizeof(pong));
    serve(s, 0);
}

static void hear(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct site *s = context;
    assert_int_equal(type, VTG_PING);
    assert_true(s->pings == 0 || body->ping.id > s->ping.id);
    assert_true(s->pings == 0 || body->ping.host == s->ping.host);
    s->ping = body->ping;
    s->pings++;
}

static void hear_pings(struct site *s)
{
    uint8_t buf[512];
    const ssize_t n = recv(s->guest, buf, sizeof(buf), MSG_DONTWAIT);
    if (n > 0)
        vt_frame_decode(&s->heard, buf, (size_t)n, hear, s);
}

/* Waits for the next question, however long the machine takes. */
static void next_ping(struct site *s)
{
    const unsigned before = s->pings;
    for (int i = 0; i < 3000 && s->pings == before; i++) {
        serve(s, 10);
        hear_pings(s);
    }
    assert_true(s->pings > before);
}

static void let_in(struct site *s)
{
    tick(s);
    s->guest = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(s->guest >= 0);
    serve(s, 0);
}

/* The agent answers until it is known. */
static void settle(struct site *s, uint64_t session)
{
    let_in(s);
    next_ping(s);
    send_pong(s, session, s->ping.id);
}

/* ---- tests ---- */

static void an_answer_to_a_question_is_an_exchange(void **state)
{
    struct site *s = *state;

    let_in(s);
    next_ping(s);
    assert_int_equal(s->ping.session, 0); /* who are you? */
    assert_int_equal(s->ping.have_seq, 0);
    send_pong(s, FIRST, s->ping.id);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.exchanges, 1);
    assert_int_equal(r.exchange.vm, 1);
    assert_int_equal(r.exchange.session, FIRST);
    assert_int_equal(r.exchange.tsc_received.v, 100);
    assert_int_equal(r.exchange.tsc_sent.v, 101);
    assert_true(r.exchange.sent.v && r.exchange.sent.v <= r.exchange.received.v);
    assert_true(r.exchange.sent_tsc.v && r.exchange.sent_tsc.v < r.exchange.received_tsc.v);
    assert_int_equal(r.event_rows[VT_CHANNEL_OPENED], 1);
    assert_non_null(strstr(r.text[VT_CHANNEL_OPENED], "unix:"));
}

static void an_answer_is_followed_by_a_question_at_once(void **state)
{
    struct site *s = *state;

    settle(s, FIRST);
    send_view(s, 0);
    next_ping(s);
    hear_pings(s); /* of those that the timer asked meanwhile the newest */
    const unsigned before = s->pings;
    send_pong(s, FIRST, s->ping.id);
    hear_pings(s);
    assert_true(s->pings > before);
    assert_int_equal(s->ping.session, 0);
    assert_int_equal(s->ping.next_seq, 1);
    send_pong(s, FIRST, s->ping.id);
    tick(s);
    assert_int_equal(rows_of(s->store).exchanges, 3);
}

static void answers_to_nothing_asked_are_told_and_make_no_exchange(void **state)
{
    struct site *s = *state;

    settle(s, FIRST);
    send_pong(s, FIRST, s->ping.id); /* again */
    send_pong(s, FIRST, s->ping.id + 1);
    send_pong(s, FIRST, UINT64_MAX);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.exchanges, 1);
    assert_int_equal(r.events[VT_CHANNEL_ABSURD], 3);
    assert_int_equal(r.event_rows[VT_CHANNEL_ABSURD], 1); /* one row a tick */
}

static void what_came_before_the_first_answer_is_taken_when_it_comes_again(void **state)
{
    struct site *s = *state;

    let_in(s);
    send_view(s, 57); /* what was left in the channel */
    send_view(s, 58);
    next_ping(s);
    send_pong(s, FIRST, s->ping.id);
    for (uint32_t seq = 50; seq < 60; seq++)
        send_view(s, seq);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.views, 10);
    assert_int_equal(r.last_view, 59);
    assert_int_equal(r.events[VT_CHANNEL_SESSION], 50); /* sent before us */
    assert_int_equal(r.event_rows[VT_CHANNEL_MISSING] + r.event_rows[VT_CHANNEL_REPLAYED], 0);
    next_ping(s);
    assert_int_equal(s->ping.have_seq, 1);
    assert_int_equal(s->ping.next_seq, 60);
}

static void a_frame_sent_again_is_taken_once_and_only_a_replay_is_told(void **state)
{
    struct site *s = *state;

    settle(s, FIRST);
    for (uint32_t seq = 0; seq < 5; seq++)
        send_view(s, seq);
    send_view(s, 3); /* the word of it had not come: no offence */
    tick(s);
    assert_int_equal(rows_of(s->store).event_rows[VT_CHANNEL_REPLAYED], 0);
    next_ping(s);
    assert_int_equal(s->ping.next_seq, 5);
    send_pong(s, FIRST, s->ping.id); /* it knows now */
    send_view(s, 4);
    send_view(s, 0);
    send_view(s, 5);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.views, 6);
    assert_int_equal(r.events[VT_CHANNEL_REPLAYED], 2);
}

static void a_gap_is_waited_for_not_lost(void **state)
{
    struct site *s = *state;

    settle(s, FIRST);
    send_view(s, 0);
    send_view(s, 2);
    next_ping(s);
    assert_int_equal(s->ping.next_seq, 1);
    send_view(s, 1);
    send_view(s, 2);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.views, 3);
    assert_int_equal(r.event_rows[VT_CHANNEL_MISSING], 0);
    assert_int_equal(vt_agents_lost(s->agents), 0);
}

static void another_session_begins_anew(void **state)
{
    struct site *s = *state;
    const struct vtg_system system = { .session = FIRST };

    settle(s, FIRST);
    send_frame(s, VTG_SYSTEM, 0, &system, sizeof(system));
    for (uint32_t seq = 1; seq < 4; seq++)
        send_view(s, seq);
    next_ping(s);
    assert_int_equal(s->ping.session, FIRST);
    send_pong(s, SECOND, s->ping.id);
    next_ping(s);
    assert_int_equal(s->ping.session, 0); /* it has not said who it is */
    assert_int_equal(s->ping.have_seq, 0);
    send_view(s, 0);
    send_view(s, 1);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.views, 5);
    assert_int_equal(r.event_rows[VT_CHANNEL_SESSION], 1); /* of a tick */
    assert_int_equal(r.event_rows[VT_CHANNEL_REPLAYED], 0);
    assert_int_equal(r.exchanges, 2);
}

static void a_guest_has_no_relay_and_asks_nothing(void **state)
{
    struct site *s = *state;
    const struct vtg_relay relay = { .host_ns = 1, .host_tsc = 1 };
    const struct vtg_ping ping = { .host = 1, .id = 1 };

    settle(s, FIRST);
    send_frame(s, VTG_RELAY, 0, &relay, sizeof(relay));
    send_frame(s, VTG_PING, 0, &ping, sizeof(ping));
    send_view(s, 0);
    tick(s);
    assert_int_equal(rows_of(s->store).events[VT_CHANNEL_ABSURD], 2);
    next_ping(s); /* and is asked as before */
}

static void each_kind_of_damage_is_one_row_a_tick(void **state)
{
    struct site *s = *state;
    uint8_t frame[sizeof(struct vtg_frame) + sizeof(struct vtg_view)];
    const struct vtg_view view = { 0 };

    settle(s, FIRST);
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < 50; i++) {
            const size_t n = vt_frame_encode(frame, VTG_VIEW, 0, &view, sizeof(view));
            frame[n - 1] ^= 1;
            assert_int_equal(send(s->guest, frame, n, MSG_NOSIGNAL), n);
            serve(s, 0);
        }
        tick(s);
    }
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.event_rows[VT_CHANNEL_DAMAGED], 2);
    assert_int_equal(r.events[VT_CHANNEL_DAMAGED], 100);
    assert_int_equal(r.event_rows[VT_CHANNEL_GARBAGE], 2);
    assert_int_equal(r.events[VT_CHANNEL_GARBAGE], 100 * sizeof(frame));
    assert_true(vt_agents_lost(s->agents) > 0);
}

static void a_name_that_another_vm_bears_is_told(void **state)
{
    struct site *s = *state;
    struct vtg_hello hello = { .kind = VTG_KIND_LINUX, .name = "inside" };

    assert_true(vt_roster_guest(s->roster, 1, 1, VT_VM_KVM, "victim", &err) > 0);
    settle(s, FIRST);
    send_frame(s, VTG_HELLO, 0, &hello, sizeof(hello));
    serve(s, 0);
    tick(s);
    assert_int_equal(rows_of(s->store).event_rows[VT_CHANNEL_CLAIMED], 0);
    strcpy(hello.name, "victim");
    send_frame(s, VTG_HELLO, 1, &hello, sizeof(hello));
    serve(s, 0);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.event_rows[VT_CHANNEL_CLAIMED], 1);
    assert_string_equal(r.text[VT_CHANNEL_CLAIMED], "victim");
    assert_int_equal(r.exchange.vm, 2); /* it is who its channel says */
}

static void a_channel_goes_on_in_the_next_recording(void **state)
{
    struct site *s = *state;
    const struct vtg_hello hello = { .kind = VTG_KIND_LINUX, .name = "inside" };
    const struct vtg_system system = { .session = FIRST };
    struct vt_store *next = NULL, *first = s->store;
    struct vt_roster *roster;

    settle(s, FIRST);
    send_frame(s, VTG_HELLO, 0, &hello, sizeof(hello));
    send_frame(s, VTG_SYSTEM, 1, &system, sizeof(system));
    send_view(s, 2);
    ok(vt_agents_move(s->agents, NULL, NULL, &err)); /* nothing can be written: it waits */
    send_view(s, 3);
    serve(s, 0);
    ok(vt_store_create(":memory:", false, &next, &err));
    roster = vt_roster_next(s->roster, next);
    ok(vt_agents_move(s->agents, next, roster, &err));
    vt_roster_free(s->roster);
    s->roster = roster;
    s->store = next;
    tick(s);
    struct rows r = rows_of(next);
    assert_int_equal(r.hellos, 1);
    assert_int_equal(r.systems, 1);
    assert_int_equal(r.views, 1);
    assert_int_equal(r.last_view, 3);
    assert_int_equal(vt_agents_lost(s->agents), 0);
    r = rows_of(first);
    assert_int_equal(r.views, 1);
    vt_store_close(first);
}

static void a_guest_that_goes_is_told_and_comes_back(void **state)
{
    struct site *s = *state;

    settle(s, FIRST);
    close(s->guest);
    serve(s, 0);
    s->pings = 0; /* another asker: the channel is another */
    let_in(s);
    next_ping(s);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.events[VT_CHANNEL_CLOSED], 1);
    assert_int_equal(r.events[VT_CHANNEL_OPENED], 2);
}

/* Sends garbage until no more is taken in this tick; what went, in bytes. */
static uint64_t flood(struct site *s)
{
    static const uint8_t garbage[64 << 10];
    uint64_t all = 0;
    ssize_t sent;

    while ((sent = send(s->guest, garbage, sizeof(garbage), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
        all += (uint64_t)sent;
        serve(s, 0);
    }
    return all;
}

/* What is still to be read of the old channel comes first. */
static void come_again(struct site *s)
{
    struct pollfd p = { .fd = s->listening, .events = POLLIN };

    close(s->guest);
    while (poll(&p, 1, 0) == 0)
        tick(s);
    s->guest = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(s->guest >= 0);
}

/* A channel that was always full, and then another of the same VM: they share what a VM may say. */
static void what_a_vm_may_say_in_the_long_run_is_bounded(void **state)
{
    struct site *s = *state;
    const uint64_t ticks = VT_BUDGET_MOST >> 20;
    const host_ns begin = vt_host_now();
    uint64_t all = 0;

    let_in(s);
    for (uint64_t i = 0; i < 2 * ticks; i++) {
        if (i == ticks / 2)
            come_again(s);
        all += flood(s);
        tick(s);
    }
    const uint64_t ns = vt_host_now().v - begin.v, held = 2 << 20; /* in the two sockets */
    const struct rows r = rows_of(s->store);
    assert_true(all >= VT_BUDGET_MOST / 2);
    assert_true(all <= VT_BUDGET_MOST + VT_BUDGET_RATE * (ns / VT_NSEC_PER_SEC + 1) + held);
    assert_true(r.event_rows[VT_CHANNEL_PACED] > 0);
    assert_true(r.event_rows[VT_CHANNEL_FLOODED] > 0); /* before */
}

static void a_budget_is_saved_and_spent(void **state)
{
    static struct vt_budgets all;
    const host_ns at = { 1000 * VT_NSEC_PER_SEC };
    const host_ns later = { at.v + VT_NSEC_PER_SEC / 2 }, much_later = { at.v + 3600 * VT_NSEC_PER_SEC };
    struct vt_budget *b = vt_budget_of(&all, 7, at.v, at);

    (void)state;
    assert_int_equal(vt_budget_left(b, at), VT_BUDGET_MOST);
    vt_budget_spend(b, VT_BUDGET_MOST + 1);
    assert_int_equal(vt_budget_left(b, at), 0);
    assert_ptr_equal(vt_budget_of(&all, 7, at.v + 9000000, at), b); /* a start is known to 10 ms */
    for (uint64_t us = 0; us <= 500000; us++)                       /* often asked, nothing is forgotten */
        vt_budget_left(b, (host_ns){ at.v + 1000 * us });
    assert_in_range(vt_budget_left(b, later), VT_BUDGET_RATE / 2 - 40, VT_BUDGET_RATE / 2);
    for (uint32_t vm = 100; vm < 100 + 2 * VT_BUDGETS; vm++) /* a crowd: who spent all is not forgotten */
        vt_budget_of(&all, vm, at.v, later);
    assert_ptr_equal(vt_budget_of(&all, 7, at.v, later), b);
    assert_true(vt_budget_left(b, later) <= VT_BUDGET_RATE / 2);
    assert_int_equal(vt_budget_left(b, much_later), VT_BUDGET_MOST);
}

/* A question goes whole or in parts, never half of one before another; and nothing waits. */
static void a_full_channel_holds_up_nobody(void **state)
{
    struct site *s = *state;
    struct vt_channel_sink sink = { .epoll_fd = s->epoll_fd, .store = s->store, .roster = s->roster };
    struct vt_channel *c = calloc(1, sizeof(*c));
    const int guest = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct vt_agent_address tty;
    char text[64];
    uint8_t buf[4096];
    bool pending;
    ssize_t n;

    assert_non_null(c);
    assert_true(guest >= 0 && grantpt(guest) == 0 && unlockpt(guest) == 0);
    snprintf(text, sizeof(text), "x=tty:%s", ptsname(guest));
    ok(vt_agent_address_parse(text, &tty, &err));
    const int fd = vt_agent_connect(&tty, &pending);
    assert_true(fd >= 0);
    vt_channel_init(c, &sink, fd, (uint32_t)getpid(), 1, "here");
    vt_channel_ask(c);
    host_ns now = c->opened;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++, now.v += 2 * VT_NSEC_PER_SEC) /* far more than it holds */
            vt_channel_time(c, now);
        while ((n = read(guest, buf, 777)) > 0)
            vt_frame_decode(&s->heard, buf, (size_t)n, hear, s);
    }
    for (int i = 0; i < 3; i++, now.v += 2 * VT_NSEC_PER_SEC)
        vt_channel_time(c, now);
    while ((n = read(guest, buf, sizeof(buf))) > 0)
        vt_frame_decode(&s->heard, buf, (size_t)n, hear, s);
    assert_in_range(s->pings, 30, 2000);
    assert_int_equal(s->heard.skipped_bytes + s->heard.bad_crc, 0);
    vt_channel_close(c);
    close(guest);
    free(c);
}

/* The other end goes between two looks: the write must not end us. */
static void a_guest_that_went_takes_nobody_with_it(void **state)
{
    struct site *s = *state;
    struct vt_channel_sink sink = { .epoll_fd = s->epoll_fd, .store = s->store, .roster = s->roster };
    struct vt_channel *c = calloc(1, sizeof(*c));
    int pair[2];

    assert_non_null(c);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    vt_channel_init(c, &sink, pair[0], (uint32_t)getpid(), 1, "here");
    vt_channel_ask(c);
    close(pair[1]);
    vt_channel_time(c, (host_ns){ c->opened.v + VT_NSEC_PER_SEC });
    vt_channel_read(c);
    assert_int_equal(c->fd, -1);
    free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_is_saved_and_spent),
        TEST(what_a_vm_may_say_in_the_long_run_is_bounded),
        TEST(an_answer_to_a_question_is_an_exchange),
        TEST(an_answer_is_followed_by_a_question_at_once),
        TEST(answers_to_nothing_asked_are_told_and_make_no_exchange),
        TEST(what_came_before_the_first_answer_is_taken_when_it_comes_again),
        TEST(a_frame_sent_again_is_taken_once_and_only_a_replay_is_told),
        TEST(a_gap_is_waited_for_not_lost),
        TEST(another_session_begins_anew),
        TEST(a_guest_has_no_relay_and_asks_nothing),
        TEST(each_kind_of_damage_is_one_row_a_tick),
        TEST(a_name_that_another_vm_bears_is_told),
        TEST(a_channel_goes_on_in_the_next_recording),
        TEST(a_guest_that_goes_is_told_and_comes_back),
        TEST(a_full_channel_holds_up_nobody),
        TEST(a_guest_that_went_takes_nobody_with_it),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent says and heeds: guest-agent/link.c, with times that the test makes. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <string.h>

#include "guest-agent/link.h"

enum { SIZE = 16384 };
#define SESSION UINT64_C(0x1122334455667788)
#define SECOND  UINT64_C(1000000000)

static uint8_t bytes[SIZE];

struct host {
    struct vt_frame_decoder decoder;
    struct vtg_pong pong;
    unsigned pongs, marks, away, systems;
    int64_t away_ns;
    uint64_t id;
};

struct pair {
    struct vta_ring ring;
    struct vta_link link;
    struct host host;
    uint64_t now, tsc;
};

static void note(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct host *h = context;
    if (type == VTG_PONG) {
        h->pong = body->pong;
        h->pongs++;
    } else if (type == VTG_MARK) {
        h->marks++;
    } else if (type == VTG_EVENT && body->event.kind == VTG_EVENT_AWAY) {
        h->away++;
        h->away_ns = body->event.a;
    }
}

static void begin(struct pair *p, bool one_way, bool lossy)
{
    memset(p, 0, sizeof(*p));
    vta_ring_init(&p->ring, bytes, SIZE);
    vta_link_init(&p->link, &p->ring, SESSION, one_way, lossy);
    p->host.decoder.in_order = true;
    p->now = 100 * SECOND;
    p->tsc = 5000;
    vta_link_begin(&p->link);
}

static void mark(struct pair *p)
{
    const struct vtg_mark m = { .kind = VTG_MARK_POINT };
    vta_ring_put(&p->ring, VTG_MARK, &m, sizeof(m), p->tsc);
}

/* Takes at most `room` bytes of what is to be written; heard: they arrive. */
static size_t flow(struct pair *p, size_t room, bool heard)
{
    size_t all = 0;
    while (room) {
        const uint8_t *out;
        size_t n = vta_link_output(&p->link, p->now, p->tsc, &out);
        if (n > room)
            n = room;
        if (!n)
            break;
        if (heard)
            vt_frame_decode(&p->host.decoder, out, n, note, &p->host);
        vta_link_wrote(&p->link, n);
        room -= n;
        all += n;
    }
    return all;
}

static void ask_as(struct pair *p, uint64_t host, uint64_t session, bool have_seq)
{
    uint8_t out[64];
    const struct vtg_ping ping = { .host = host,
                                   .id = ++p->host.id,
                                   .session = session,
                                   .next_seq = p->host.decoder.next_seq,
                                   .have_seq = have_seq };
    const size_t n = vt_frame_encode(out, VTG_PING, 0, &ping, sizeof(ping));
    vta_link_received(&p->link, out, n, p->now, p->tsc);
}

static void ask(struct pair *p)
{
    ask_as(p, 1, p->host.pong.session, p->host.decoder.synced);
}

static void a_ping_is_answered_with_both_readings(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    p.tsc = 1000;
    ask(&p);
    p.tsc = 1234;
    flow(&p, SIZE, true);
    assert_int_equal(p.host.pongs, 1);
    assert_int_equal(p.host.pong.session, SESSION);
    assert_int_equal(p.host.pong.id, 1);
    assert_int_equal(p.host.pong.tsc_received, 1000);
    assert_int_equal(p.host.pong.tsc_sent, 1234);
}

/* A full channel takes nothing: the answer's reading is that of the write which succeeds. */
static void an_answer_that_waits_is_made_anew(void **state)
{
    struct pair p;
    const uint8_t *out;
    (void)state;
    begin(&p, false, false);
    ask(&p);
    p.tsc = 6000;
    assert_int_not_equal(vta_link_output(&p.link, p.now, p.tsc, &out), 0);
    p.tsc = 7000;
    flow(&p, SIZE, true);
    assert_int_equal(p.host.pongs, 1);
    assert_int_equal(p.host.pong.tsc_sent, 7000);
}

static void an_answer_goes_before_what_is_kept(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    for (int i = 0; i < 20; i++)
        mark(&p);
    ask(&p);
    flow(&p, sizeof(struct vtg_frame) + sizeof(struct vtg_pong), true);
    assert_int_equal(p.host.pongs, 1);
    assert_int_equal(p.host.marks, 0);
    flow(&p, 200, true); /* a frame is under way */
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.pongs, 2);
    assert_int_equal(p.host.marks, 20);
    assert_int_equal(p.host.decoder.bad_crc + p.host.decoder.skipped_bytes, 0);
}

static void nothing_is_said_before_the_host_asks(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, true);
    mark(&p);
    assert_int_equal(flow(&p, SIZE, true), 0);
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 1);
}

static void one_way_is_said_at_once_and_not_kept(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, true, true);
    for (int i = 0; i < 50; i++)
        mark(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 50);
    assert_true(vta_link_is_done(&p.link));
    ask(&p); /* whoever asks is answered all the same */
    flow(&p, SIZE, true);
    assert_int_equal(p.host.pongs, 1);
}

static void what_did_not_arrive_is_sent_again_after_a_while(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    mark(&p);
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 1);
    mark(&p);
    flow(&p, SIZE, false); /* lost */
    ask(&p);
    assert_int_equal(flow(&p, SIZE, true), sizeof(struct vtg_frame) + sizeof(struct vtg_pong));
    p.now += VTA_PATIENCE_NS + 1;
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 2);
    assert_int_equal(p.link.resent, 2); /* the first: when the host came */
    ask(&p);
    assert_true(vta_ring_kept(&p.ring) == 0);
    assert_int_equal(p.host.decoder.replayed, 0);
}

static void patience_grows_while_nothing_arrives(void **state)
{
    struct pair p;
    unsigned times = 0;
    (void)state;
    begin(&p, false, false);
    mark(&p);
    ask(&p);
    flow(&p, SIZE, true);
    mark(&p);
    flow(&p, SIZE, false);
    const uint64_t before = p.link.resent;
    for (int i = 0; i < 600; i++) { /* a minute of questions */
        p.now += SECOND / 10;
        ask(&p);
        times += flow(&p, SIZE, false) > sizeof(struct vtg_frame) + sizeof(struct vtg_pong);
    }
    assert_int_equal(p.link.resent - before, times);
    assert_in_range(times, 8, 14); /* at 0.5, 1.5, 3.5, 7.5, 15.5 s and each 8 s */
}

static void a_channel_cut_in_the_middle_of_a_frame_loses_nothing(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    for (int i = 0; i < 30; i++)
        mark(&p);
    ask(&p);
    flow(&p, 1000, true);
    p.host.decoder.have = 0; /* the host's half frame goes with the channel */
    vta_link_begin(&p.link);
    p.now += 2 * SECOND;
    assert_int_equal(flow(&p, SIZE, true), 0);
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 30);
    assert_int_equal(p.host.away, 1);
    assert_int_equal(p.host.away_ns, 2 * SECOND);
    assert_int_equal(p.host.decoder.bad_crc + p.host.decoder.skipped_bytes + p.host.decoder.lost_frames, 0);
}

static void a_silent_line_is_not_spoken_to(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, true);
    ask(&p);
    flow(&p, SIZE, true);
    p.now += VTA_SILENCE_NS;
    vta_link_tick(&p.link, p.now);
    mark(&p);
    flow(&p, SIZE, false); /* just swallowed */
    p.now += 1;
    vta_link_tick(&p.link, p.now);
    mark(&p);
    assert_int_equal(flow(&p, SIZE, true), 0);
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 2);
    assert_int_equal(p.host.away, 1);
}

static void another_recorder_gets_the_oldest_first(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    for (int i = 0; i < 3; i++)
        mark(&p);
    ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 3);
    memset(&p.host, 0, sizeof(p.host));
    p.host.decoder.in_order = true;
    ask_as(&p, 2, 0, false);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.marks, 3);
}

static void a_stranger_is_greeted_once(void **state)
{
    struct pair p;
    const struct vtg_hello hello = { .kind = VTG_KIND_LINUX };
    (void)state;
    begin(&p, false, false);
    vta_link_greeted(&p.link, p.now);
    vta_ring_put(&p.ring, VTG_HELLO, &hello, sizeof(hello), 1);
    ask(&p);
    assert_false(p.link.greeting_wanted); /* the first is still kept */
    flow(&p, SIZE, true);
    ask(&p);
    assert_int_equal(vta_ring_kept(&p.ring), 0);
    ask_as(&p, 2, 0, false);
    assert_true(p.link.greeting_wanted);
    vta_link_greeted(&p.link, p.now);
    vta_ring_put(&p.ring, VTG_HELLO, &hello, sizeof(hello), 1);
    ask_as(&p, 2, 0, false); /* asked before our answer was there */
    assert_false(p.link.greeting_wanted);
}

static void a_number_of_another_session_acknowledges_nothing(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    mark(&p);
    ask(&p);
    flow(&p, SIZE, true);
    ask_as(&p, 1, SESSION + 1, true);
    assert_int_not_equal(vta_ring_kept(&p.ring), 0);
    ask_as(&p, 1, SESSION, true);
    assert_int_equal(vta_ring_kept(&p.ring), 0);
}

static void many_questions_are_bounded(void **state)
{
    struct pair p;
    (void)state;
    begin(&p, false, false);
    for (int i = 0; i < 1000; i++)
        ask(&p);
    flow(&p, SIZE, true);
    assert_int_equal(p.host.pongs, VTA_QUESTIONS);
    assert_int_equal(p.host.pong.id, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ping_is_answered_with_both_readings),
        cmocka_unit_test(an_answer_that_waits_is_made_anew),
        cmocka_unit_test(an_answer_goes_before_what_is_kept),
        cmocka_unit_test(nothing_is_said_before_the_host_asks),
        cmocka_unit_test(one_way_is_said_at_once_and_not_kept),
        cmocka_unit_test(what_did_not_arrive_is_sent_again_after_a_while),
        cmocka_unit_test(patience_grows_while_nothing_arrives),
        cmocka_unit_test(a_channel_cut_in_the_middle_of_a_frame_loses_nothing),
        cmocka_unit_test(a_silent_line_is_not_spoken_to),
        cmocka_unit_test(another_recorder_gets_the_oldest_first),
        cmocka_unit_test(a_stranger_is_greeted_once),
        cmocka_unit_test(a_number_of_another_session_acknowledges_nothing),
        cmocka_unit_test(many_questions_are_bounded),
    };
    return cmocka_run_group_tests_name("agent: link", tests, NULL, NULL);
}

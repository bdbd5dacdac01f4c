/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent keeps until it arrived: guest-agent/ring.c. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>
#include <string.h>

#include "guest-agent/ring.h"
#include "wire/frame.h"

enum { SIZE = 8192 };

struct host {
    struct vt_frame_decoder decoder;
    uint64_t marks, views, last_id, told;
};

static void note(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct host *host = context;
    if (type == VTG_MARK) {
        host->marks++;
        host->last_id = body->mark.id;
    } else if (type == VTG_VIEW) {
        host->views++;
    } else if (type == VTG_EVENT && body->event.kind == VTG_EVENT_DROPPED) {
        host->told += (uint64_t)body->event.a;
    }
}

static uint8_t bytes[SIZE];

static bool put_mark(struct vta_ring *r, uint32_t id)
{
    const struct vtg_mark mark = { .kind = VTG_MARK_POINT, .id = id };
    return vta_ring_put(r, VTG_MARK, &mark, sizeof(mark), 7);
}

static bool put_view(struct vta_ring *r)
{
    const struct vtg_view view = { .cpu = 1 };
    return vta_ring_put(r, VTG_VIEW, &view, sizeof(view), 7);
}

/* All that is to be sent arrives; the bytes. */
static size_t deliver(struct vta_ring *r, struct host *host)
{
    uint8_t out[2048];
    size_t n, all = 0;
    while ((n = vta_ring_take(r, out, sizeof(out))) > 0) {
        vt_frame_decode(&host->decoder, out, n, note, host);
        all += n;
    }
    return all;
}

static void frames_arrive_in_order_over_many_wraps(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    for (uint32_t i = 1; i <= 1000; i++) {
        assert_true(put_mark(&r, i));
        if (i % 7)
            continue;
        deliver(&r, &host);
        assert_int_equal(host.last_id, i);
        assert_true(vta_ring_acknowledge(&r, host.decoder.next_seq));
        assert_int_equal(vta_ring_kept(&r), 0);
    }
    deliver(&r, &host);
    assert_int_equal(host.marks, 1000);
    assert_int_equal(host.decoder.lost_frames + host.decoder.bad_crc + host.decoder.skipped_bytes, 0);
    assert_int_equal(r.made, 1000);
    assert_int_equal(r.dropped, 0);
}

static void a_frame_is_kept_until_it_is_acknowledged(void **state)
{
    struct vta_ring r;
    struct host lost = { 0 }, host = { .decoder.in_order = true };
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    for (uint32_t i = 0; i < 5; i++)
        put_mark(&r, i);
    const size_t n = deliver(&r, &lost); /* it went out and never came */
    assert_int_equal(deliver(&r, &host), 0);
    vta_ring_rewind(&r);
    assert_int_equal(deliver(&r, &host), n);
    assert_int_equal(host.marks, 5);
    vta_ring_acknowledge(&r, 3);
    vta_ring_rewind(&r);
    deliver(&r, &host);
    assert_int_equal(host.marks, 5);
    assert_int_equal(host.decoder.replayed, 0); /* that the sender knew, it was not told */
}

static void nothing_is_acknowledged_that_was_not_sent(void **state)
{
    struct vta_ring r;
    struct host host = { 0 };
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    for (uint32_t i = 0; i < 5; i++)
        put_mark(&r, i);
    assert_false(vta_ring_acknowledge(&r, 1));
    deliver(&r, &host);
    put_mark(&r, 5);
    assert_false(vta_ring_acknowledge(&r, 6));
    assert_false(vta_ring_acknowledge(&r, 0x80000000u));
    assert_false(vta_ring_acknowledge(&r, UINT32_MAX));
    assert_true(vta_ring_acknowledge(&r, 5));
    assert_int_equal(r.tail_seq, 5);
    assert_false(vta_ring_acknowledge(&r, 5));
}

static void an_acknowledgement_may_overtake_what_is_sent_again(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    uint8_t out[256];
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    for (uint32_t i = 0; i < 10; i++)
        put_mark(&r, i);
    deliver(&r, &host);
    vta_ring_rewind(&r);
    assert_int_equal(vta_ring_take(&r, out, sizeof(out)), sizeof(struct vtg_frame) + sizeof(struct vtg_mark));
    assert_true(vta_ring_acknowledge(&r, 8));
    assert_int_equal(r.sent_seq, 8);
    deliver(&r, &host);
    assert_int_equal(host.marks, 10);
    assert_int_equal(host.decoder.replayed, 0); /* that the sender knew, it was not told */
}

static void what_finds_no_room_is_counted_and_told_before_what_follows(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    uint64_t taken = 0;
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    for (int i = 0; i < 200; i++)
        taken += put_view(&r);
    assert_int_equal(r.dropped, 200 - taken);
    assert_in_range(taken, 1, 199);
    deliver(&r, &host);
    assert_int_equal(host.views, taken);
    assert_int_equal(host.told, 0); /* none had come after the dropped ones */
    vta_ring_acknowledge(&r, host.decoder.next_seq);
    assert_true(put_view(&r));
    deliver(&r, &host);
    assert_int_equal(host.views, taken + 1);
    assert_int_equal(host.told, 200 - taken);
    assert_int_equal(r.made, 201);
    assert_int_equal(host.decoder.lost_frames, 0); /* what was dropped had no seq */
}

static void it_is_told_also_if_nothing_follows(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    while (put_view(&r))
        ;
    deliver(&r, &host);
    vta_ring_acknowledge(&r, host.decoder.next_seq);
    vta_ring_tell(&r, 9);
    vta_ring_tell(&r, 9);
    deliver(&r, &host);
    assert_int_equal(host.told, 1);
}

static void marks_have_room_where_views_have_none(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    while (put_view(&r))
        ;
    assert_true(vta_ring_is_tight(&r));
    const struct vtg_event missed = { .kind = VTG_EVENT_MISSED };
    for (int i = 0; i < 100; i++)
        vta_ring_put(&r, VTG_EVENT, &missed, sizeof(missed), 7);
    const uint64_t dropped = r.dropped;
    assert_true(put_mark(&r, 1));
    assert_true(put_mark(&r, 2));
    assert_false(put_view(&r));
    deliver(&r, &host);
    assert_int_equal(host.marks, 2);
    assert_int_equal(host.told, dropped);
}

static void a_full_ring_holds_all_that_it_took(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    uint64_t marks = 0;
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    while (put_mark(&r, 1))
        marks++;
    assert_in_range(vta_ring_kept(&r), SIZE - 1000, SIZE);
    const struct vtg_hello hello = { .kind = VTG_KIND_LINUX };
    const struct vtg_system system = { .session = 1 };
    assert_true(vta_ring_put(&r, VTG_HELLO, &hello, sizeof(hello), 7)); /* a new host waits for these */
    assert_true(vta_ring_put(&r, VTG_SYSTEM, &system, sizeof(system), 7));
    assert_false(put_mark(&r, 1));
    deliver(&r, &host);
    assert_int_equal(host.marks, marks);
    assert_int_equal(host.decoder.skipped_bytes, 0);
}

static void too_long_a_payload_is_dropped(void **state)
{
    struct vta_ring r;
    static const uint8_t payload[VTG_MAX_PAYLOAD + 1];
    (void)state;
    vta_ring_init(&r, bytes, SIZE);
    assert_false(vta_ring_put(&r, VTG_TASKS, payload, sizeof(payload), 1));
    assert_int_equal(r.dropped, 1);
    assert_true(vta_ring_put(&r, VTG_TASKS, payload, sizeof(payload) - 1, 1));
}

/* Random puts, losses, acknowledgements: what arrives and what is told of are all there was. */
static void nothing_is_lost_untold_over_a_random_life(void **state)
{
    struct vta_ring r;
    struct host host = { .decoder.in_order = true };
    uint64_t said = 0;
    (void)state;
    srand(1);
    vta_ring_init(&r, bytes, SIZE);
    for (int i = 0; i < 200000; i++) {
        uint8_t out[1500];
        switch (rand() % 4) {
        case 0:
        case 1:
            said++;
            if (rand() % 2)
                put_view(&r);
            else
                put_mark(&r, 0);
            break;
        case 2: {
            const size_t n = vta_ring_take(&r, out, (size_t)(rand() % 1500));
            if (rand() % 10) /* else it is lost on its way */
                vt_frame_decode(&host.decoder, out, n, note, &host);
            break;
        }
        default:
            if (host.decoder.synced)
                vta_ring_acknowledge(&r, host.decoder.next_seq);
            if (rand() % 8 == 0)
                vta_ring_rewind(&r);
        }
    }
    for (int i = 0; i < 3; i++) {
        vta_ring_rewind(&r);
        deliver(&r, &host);
        vta_ring_acknowledge(&r, host.decoder.next_seq);
        vta_ring_tell(&r, 1);
    }
    assert_true(r.dropped > 0);
    assert_int_equal(r.made, said);
    assert_int_equal(host.told, r.dropped);
    assert_int_equal(host.views + host.marks + host.told, said);
    assert_int_equal(vta_ring_kept(&r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_in_order_over_many_wraps),
        cmocka_unit_test(a_frame_is_kept_until_it_is_acknowledged),
        cmocka_unit_test(nothing_is_acknowledged_that_was_not_sent),
        cmocka_unit_test(an_acknowledgement_may_overtake_what_is_sent_again),
        cmocka_unit_test(what_finds_no_room_is_counted_and_told_before_what_follows),
        cmocka_unit_test(it_is_told_also_if_nothing_follows),
        cmocka_unit_test(marks_have_room_where_views_have_none),
        cmocka_unit_test(a_full_ring_holds_all_that_it_took),
        cmocka_unit_test(too_long_a_payload_is_dropped),
        cmocka_unit_test(nothing_is_lost_untold_over_a_random_life),
    };
    return cmocka_run_group_tests_name("agent: ring", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

enum { MAX_SEEN = 64, MAX_STREAM = 1 << 16 };

struct seen {
    int nr;
    enum vtg_type type[MAX_SEEN];
    union vt_frame_body body[MAX_SEEN];
};

static void note(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct seen *seen = context;
    assert_true(seen->nr < MAX_SEEN);
    seen->type[seen->nr] = type;
    seen->body[seen->nr++] = *body;
}

struct stream {
    size_t size;
    uint8_t bytes[MAX_STREAM];
};

static void add(struct stream *s, enum vtg_type type, uint32_t seq, const void *payload, uint32_t len)
{
    s->size += vt_frame_encode(s->bytes + s->size, type, seq, payload, len);
}

static void add_mark(struct stream *s, uint32_t seq)
{
    struct vtg_mark mark = { .kind = VTG_MARK_POINT, .id = seq };
    add(s, VTG_MARK, seq, &mark, sizeof(mark));
}

/* Decodes s in pieces of `piece` bytes, each in memory of its own exact size. */
static struct vt_frame_decoder decode(const struct stream *s, size_t piece, struct seen *seen)
{
    struct vt_frame_decoder d = { 0 };
    memset(seen, 0, sizeof(*seen));
    for (size_t at = 0; at < s->size; at += piece) {
        const size_t n = s->size - at < piece ? s->size - at : piece;
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, s->bytes + at, n);
        vt_frame_decode(&d, copy, n, note, seen);
        free(copy);
    }
    return d;
}

static void crc_is_castagnoli_by_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[300];
    assert_int_equal(vt_crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720's check value */
    assert_int_equal(vt_crc32c(vt_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(vt_crc32c(0, bytes, 32), 0x8a9136aa); /* RFC 3720 B.4: 32 zeroes */
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37);
        assert_int_equal(vt_crc32c(1, bytes, i), vt_crc32c_portable(1, bytes, i));
    }
}

static void frames_arrive_whatever_pieces_they_come_in(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    struct vtg_hello hello = { .kind = VTG_KIND_PAYLOAD, .nr_vcpus = 2, .name = "one" };
    struct vtg_gaps gaps = { .vcpu = 1, .nr = VTG_GAPS_MAX, .longest = 9 };
    s.size = 0;
    add(&s, VTG_HELLO, 0, &hello, sizeof(hello));
    add_mark(&s, 1);
    add(&s, VTG_GAPS, 2, &gaps, sizeof(gaps));
    for (size_t piece = 1; piece <= s.size; piece++) {
        const struct vt_frame_decoder d = decode(&s, piece, &seen);
        assert_int_equal(seen.nr, 3);
        assert_memory_equal(&seen.body[0].hello, &hello, sizeof(hello));
        assert_int_equal(seen.body[1].mark.id, 1);
        assert_memory_equal(&seen.body[2].gaps, &gaps, sizeof(gaps));
        assert_int_equal(d.have + d.skipped_bytes + d.bad_crc + d.lost_frames + d.bad_length, 0);
    }
}

static void the_body_is_zero_beyond_its_payload(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    static const uint8_t zero[sizeof(union vt_frame_body)];
    struct vtg_relay relay = { .host_ns = UINT64_MAX, .host_tsc = UINT64_MAX };
    s.size = 0;
    add(&s, VTG_RELAY, 0, &relay, sizeof(relay));
    decode(&s, s.size, &seen);
    assert_int_equal(seen.nr, 1);
    assert_memory_equal((uint8_t *)&seen.body[0] + sizeof(relay), zero, sizeof(zero) - sizeof(relay));
}

static void a_gap_in_seq_is_counted_and_relays_are_not(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    struct vtg_relay relay = { 1, 2 };
    struct vtg_hello hello = { .kind = VTG_KIND_PAYLOAD };
    s.size = 0;
    add_mark(&s, UINT32_MAX - 1);
    add(&s, VTG_RELAY, 0, &relay, sizeof(relay));
    add_mark(&s, UINT32_MAX); /* next in line, across the relay */
    add_mark(&s, 3);          /* 0, 1 and 2 are gone */
    struct vt_frame_decoder d = decode(&s, 1000, &seen);
    assert_int_equal(seen.nr, 4);
    assert_int_equal(d.lost_frames, 3);
    add_mark(&s, 1); /* goes back: something is amiss, but not four thousand million frames */
    d = decode(&s, 1000, &seen);
    assert_int_equal(d.lost_frames, 4);
    add(&s, VTG_HELLO, 0, &hello, sizeof(hello)); /* a guest that starts again says hello */
    add_mark(&s, 1);
    d = decode(&s, 1000, &seen);
    assert_int_equal(d.lost_frames, 4);
}

static void good_frames_are_found_again_after_garbage(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    const uint8_t magic[] = { VTG_MAGIC & 0xff, VTG_MAGIC >> 8 };
    s.size = 0;
    memset(s.bytes, 0xaa, 100);
    s.size = 100;
    add_mark(&s, 0);
    const size_t broken = s.size;
    add_mark(&s, 1); /* its payload is hit */
    s.bytes[broken + 40] ^= 1;
    add_mark(&s, 2);
    const size_t long_one = s.size;
    add_mark(&s, 3); /* its length is hit: it claims the frame behind it */
    s.bytes[long_one + 4] = 200;
    add_mark(&s, 4);
    memcpy(s.bytes + s.size, magic, 2); /* half a header that goes nowhere */
    s.size += 2;
    add_mark(&s, 5);
    for (size_t piece = 1; piece < 400; piece += 7) {
        const struct vt_frame_decoder d = decode(&s, piece, &seen);
        assert_int_equal(seen.nr, 4);
        assert_int_equal(seen.body[1].mark.id, 2);
        assert_int_equal(seen.body[2].mark.id, 4);
        assert_int_equal(seen.body[3].mark.id, 5);
        assert_int_equal(d.bad_crc, 2);
        assert_int_equal(d.lost_frames, 2);
        assert_int_equal(d.skipped_bytes, 100 + 2 + 2 * (sizeof(struct vtg_frame) + sizeof(struct vtg_mark)));
    }
}

static void a_payload_that_does_not_fit_its_type_is_refused(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    uint8_t payload[VTG_MAX_PAYLOAD] = { 0 };
    struct vtg_gaps gaps = { .nr = VTG_GAPS_MAX + 1 };
    s.size = 0;
    add(&s, VTG_MARK, 0, payload, sizeof(struct vtg_mark) - 1);
    add(&s, VTG_MARK, 1, payload, sizeof(struct vtg_mark) + 1);
    add(&s, VTG_CLOCKS, 2, payload, 0);
    add(&s, VTG_GAPS, 3, &gaps, sizeof(gaps));
    add(&s, (enum vtg_type)77, 4, payload, sizeof(payload)); /* from a newer guest */
    add_mark(&s, 5);
    const struct vt_frame_decoder d = decode(&s, 333, &seen);
    assert_int_equal(seen.nr, 1);
    assert_int_equal(seen.body[0].mark.id, 5);
    assert_int_equal(d.bad_length, 4);
    assert_int_equal(d.lost_frames + d.skipped_bytes + d.bad_crc, 0);
    assert_int_equal(vt_frame_encode(s.bytes, VTG_MARK, 0, payload, VTG_MAX_PAYLOAD + 1), 0);
}

/* Every byte of the stream flipped in turn: at most the frames hit are lost. */
static void one_bad_byte_costs_one_frame(void **state)
{
    (void)state;
    static struct stream s;
    static struct seen seen;
    s.size = 0;
    for (uint32_t i = 0; i < 8; i++)
        add_mark(&s, i);
    for (size_t at = 0; at < s.size - (sizeof(struct vtg_frame) + sizeof(struct vtg_mark)); at++) {
        s.bytes[at] ^= 0x21;
        const struct vt_frame_decoder d = decode(&s, 97, &seen);
        s.bytes[at] ^= 0x21;
        assert_int_equal(seen.nr, 7);
        /* what the first frame of a stream was cannot be known */
        assert_int_equal(d.lost_frames, at < sizeof(struct vtg_frame) + sizeof(struct vtg_mark) ? 0 : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnoli_by_both_ways),
        cmocka_unit_test(frames_arrive_whatever_pieces_they_come_in),
        cmocka_unit_test(the_body_is_zero_beyond_its_payload),
        cmocka_unit_test(a_gap_in_seq_is_counted_and_relays_are_not),
        cmocka_unit_test(good_frames_are_found_again_after_garbage),
        cmocka_unit_test(a_payload_that_does_not_fit_its_type_is_refused),
        cmocka_unit_test(one_bad_byte_costs_one_frame),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}

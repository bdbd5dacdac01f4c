/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>
#include <string.h>

#include "vmm-core/agent_ring.h"
#include "vt/frame_encode.h"
#include "wire/frame.h"

enum { RAM = 64 * 1024, PAGE = 4096, RING_PAGE = 2, RING = RING_PAGE * PAGE, SIZE = 8192 };

/* A guest's memory of exactly its size: a sanitizer sees a byte too far. */
struct fixture {
    struct vmm_memory memory;
    struct agent_ring ring;
    uint32_t head, seq;
    struct vt_frame_decoder decoder; /* what would have reached the collector */
    unsigned decoded, sunk;
    uint32_t last_vcpu;
};

static void decoded(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct fixture *f = context;
    assert_int_not_equal(type, VTG_RELAY);
    f->decoded++;
    if (type == VTG_CLOCKS)
        f->last_vcpu = body->clocks.vcpu;
}

static void sink(void *context, const uint8_t *frame, size_t n)
{
    struct fixture *f = context;
    f->sunk++;
    vt_frame_decode(&f->decoder, frame, n, decoded, f);
}

static struct vtg_ring *header(struct fixture *f)
{
    return (struct vtg_ring *)(void *)(f->memory.base + RING);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->memory.base = calloc(1, RAM);
    f->memory.size = RAM;
    header(f)->magic = VTG_RING_MAGIC;
    header(f)->version = VTG_VERSION;
    header(f)->size = SIZE;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    free(f->memory.base);
    free(f);
    return 0;
}

static void put(struct fixture *f, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        f->memory.base[RING + PAGE + (f->head++ & (SIZE - 1))] = ((const uint8_t *)data)[i];
    header(f)->head = f->head;
}

static void put_clocks(struct fixture *f, uint32_t vcpu)
{
    uint8_t frame[sizeof(struct vtg_frame) + sizeof(struct vtg_clocks)];
    struct vtg_clocks c = { .vcpu = vcpu };
    put(f, frame, vt_frame_encode(frame, VTG_CLOCKS, f->seq++, &c, sizeof(c)));
}

static void ring_bell(struct fixture *f)
{
    agent_ring_drain(&f->ring, &f->memory, sink, f);
}

static void a_frame_reaches_the_decoder_and_the_tail_follows(void **state)
{
    struct fixture *f = *state;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    put_clocks(f, 7);
    ring_bell(f);
    assert_int_equal(f->decoded, 1);
    assert_int_equal(f->last_vcpu, 7);
    assert_int_equal(header(f)->tail, f->head);
    ring_bell(f);
    assert_int_equal(f->sunk, 1);
}

static void frames_wrap_round_the_ring_and_the_counters_round_32_bits(void **state)
{
    struct fixture *f = *state;
    f->head = header(f)->head = header(f)->tail = 0xffffff80;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    for (uint32_t i = 0; i < 1000; i++) {
        put_clocks(f, i);
        ring_bell(f);
        assert_int_equal(f->last_vcpu, i);
    }
    assert_int_equal(f->decoded, 1000);
    assert_int_equal(f->decoder.lost_frames + f->decoder.skipped_bytes + f->decoder.bad_crc, 0);
}

static void half_a_frame_waits_for_its_other_half(void **state)
{
    struct fixture *f = *state;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    put_clocks(f, 3);
    header(f)->head = f->head - 1;
    ring_bell(f);
    assert_int_equal(f->sunk, 0);
    header(f)->head = f->head;
    ring_bell(f);
    assert_int_equal(f->decoded, 1);
}

static void a_guest_cannot_speak_for_the_host(void **state)
{
    struct fixture *f = *state;
    struct vtg_relay relay = { .host_ns = 1, .host_tsc = 2 };
    uint8_t inner[64], outer[128];
    size_t n = vt_frame_encode(inner, VTG_RELAY, 0, &relay, sizeof(relay));
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    put(f, inner, n); /* as it is */
    size_t m = vt_frame_encode(outer, VTG_CLOCKS, 0, inner, (uint32_t)n);
    outer[12] ^= 1;
    put(f, outer, m); /* behind a wrong checksum */
    put_clocks(f, 1);
    put(f, "not a frame at all", 18);
    put(f, inner, n); /* behind garbage */
    ring_bell(f);
    assert_int_equal(f->ring.bad_frames, 2);
    assert_int_equal(f->ring.unframed_bytes, 18 + n);
    assert_int_equal(f->decoded, 1);
    assert_null(f->ring.disabled);
}

static void expect_refused(struct fixture *f, uint32_t page)
{
    struct agent_ring ring = { 0 };
    agent_ring_set(&ring, &f->memory, page);
    assert_int_equal(ring.violations, 1);
    assert_non_null(ring.disabled);
    agent_ring_drain(&ring, &f->memory, sink, f);
    assert_int_equal(f->sunk, 0);
}

static void a_ring_that_cannot_be_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint32_t sizes[] = {
        0, 1, 2048, 4097, 12288, 65536, VTG_RING_MAX, 2 * VTG_RING_MAX, 1u << 31
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        header(f)->size = sizes[i];
        expect_refused(f, RING_PAGE);
    }
    header(f)->size = SIZE;
    expect_refused(f, 0xffffffff);
    expect_refused(f, RAM / PAGE);
    expect_refused(f, RING_PAGE + 1);
    memcpy(f->memory.base + RAM - PAGE, header(f), sizeof(struct vtg_ring));
    expect_refused(f, RAM / PAGE - 1);
}

static void a_head_beyond_the_ring_switches_it_off_for_good(void **state)
{
    struct fixture *f = *state;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    put_clocks(f, 1);
    header(f)->head = SIZE + 1;
    ring_bell(f);
    assert_non_null(f->ring.disabled);
    header(f)->head = f->head;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    ring_bell(f);
    assert_int_equal(f->sunk, 0);
    assert_int_equal(f->ring.violations, 1);
}

static void a_size_changed_afterwards_counts_for_nothing(void **state)
{
    struct fixture *f = *state;
    agent_ring_set(&f->ring, &f->memory, RING_PAGE);
    header(f)->size = 1u << 31;
    header(f)->tail = 0x12345678;
    put_clocks(f, 9);
    ring_bell(f);
    assert_int_equal(f->last_vcpu, 9);
    header(f)->head += 1u << 30;
    ring_bell(f);
    assert_non_null(f->ring.disabled);
}

static void memory_ends_where_it_ends(void **state)
{
    struct fixture *f = *state;
    assert_non_null(vmm_memory_at(&f->memory, RAM - 1, 1));
    assert_null(vmm_memory_at(&f->memory, RAM - 1, 2));
    assert_null(vmm_memory_at(&f->memory, UINT64_MAX, 2));
    assert_null(vmm_memory_at(&f->memory, 1, UINT64_MAX));
    assert_null(vmm_memory_at(&f->memory, RAM + 1, 0));
}

static void both_encoders_agree(void **state)
{
    uint8_t frame[sizeof(struct vtg_frame) + sizeof(struct vtg_gaps)];
    struct vtg_gaps g = { .vcpu = 3, .count = UINT64_MAX };
    (void)state;
    vt_frame_encode(frame, VTG_GAPS, 77, &g, sizeof(g));
    struct vtg_frame h = vtg_frame_header(VTG_GAPS, 77, &g, sizeof(g));
    assert_memory_equal(frame, &h, sizeof(h));
    assert_int_equal(vtg_crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720's check value */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_reaches_the_decoder_and_the_tail_follows),
        TEST(frames_wrap_round_the_ring_and_the_counters_round_32_bits),
        TEST(half_a_frame_waits_for_its_other_half),
        TEST(a_guest_cannot_speak_for_the_host),
        TEST(a_ring_that_cannot_be_is_refused),
        TEST(a_head_beyond_the_ring_switches_it_off_for_good),
        TEST(a_size_changed_afterwards_counts_for_nothing),
        TEST(memory_ends_where_it_ends),
        TEST(both_encoders_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/chunk.h"
#include "vt/state.h"
#include "wire/frame.h"

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Of any magnitude, often zero, sometimes the greatest. */
static uint64_t any_value(uint64_t *seed)
{
    const uint64_t choice = next_random(seed) % 80;
    return choice < 12 ? 0 : choice == 79 ? UINT64_MAX : next_random(seed) >> (choice % 64);
}

/* Every field random; half of them continue prev, some with a sum that does not fit. */
static struct vt_slice any_slice(const struct vt_slice *prev, uint64_t *seed)
{
    struct vt_slice s;
    uint8_t bytes[8];
    memset(&s, 0, sizeof(s));
    const bool continues = next_random(seed) % 16 != 0;
    s.seq = continues ? prev->seq + 1 : any_value(seed);
    s.t_out = continues ? prev->t_end : any_value(seed);
    s.t_wake = s.t_out + any_value(seed);
    s.t_in = s.t_wake + any_value(seed);
    s.t_end = s.t_in;
    for (int i = 0; i < VT_NR_ON_CPU; i++)
        s.t_end += s.on_cpu[i] = any_value(seed);
    if (next_random(seed) % 4 == 0)
        s.t_end = any_value(seed);
    s.throttled_ns = any_value(seed);
    s.tail_poll_ns = any_value(seed);
    s.tail_back_ns = any_value(seed);
    s.exits = (uint32_t)any_value(seed);
    s.user_exits = (uint32_t)any_value(seed);
    s.cpu = next_random(seed) % 3 ? prev->cpu : (uint16_t)any_value(seed);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)any_value(seed);
    s.off_state = bytes[6] & 1 ? bytes[0] & 15 : bytes[0];
    s.wait_state = bytes[6] & 1 ? bytes[1] & 15 : bytes[1];
    s.tail_state = bytes[6] & 2 ? prev->tail_state : bytes[2];
    s.flags = bytes[6] & 4 ? 0 : bytes[3];
    s.migrations = bytes[6] & 8 ? s.cpu != prev->cpu : bytes[4];
    s.off_cause = bytes[6] & 16 ? 0 : bytes[5];
    return s;
}

static void check_round_trip(struct vt_chunk *chunk, const struct vt_slice *wanted)
{
    static struct vt_slice got[VT_CHUNK_SLICES];
    struct vt_chunk_info info;
    size_t size;
    const uint8_t *data = vt_chunk_finish(chunk, &size);
    assert_true(size <= VT_CHUNK_BYTES);
    /* a copy of its exact size, so that a sanitizer sees a read beyond it */
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, data, size);
    assert_int_equal(vt_chunk_decode(copy, size, got, VT_CHUNK_SLICES), chunk->count);
    assert_memory_equal(got, wanted, chunk->count * sizeof(got[0]));
    assert_int_equal(vt_chunk_peek(copy, size, &info), 0);
    assert_int_equal(info.first_seq, wanted[0].seq);
    assert_int_equal(info.begin, wanted[0].t_out);
    assert_int_equal(info.end, wanted[chunk->count - 1].t_end);
    assert_int_equal(info.count, chunk->count);
    if (chunk->count > 1)
        assert_int_equal(vt_chunk_decode(copy, size, got, chunk->count - 1), -EUCLEAN);
    free(copy);
}

static void any_slice_comes_back_as_it_went_in(void **state)
{
    (void)state;
    static struct vt_slice wanted[VT_CHUNK_SLICES];
    struct vt_chunk chunk = { 0 };
    struct vt_slice prev = { 0 };
    uint64_t seed = 1;
    int chunks = 0;
    for (int i = 0; i < 200000; i++) {
        const struct vt_slice s = any_slice(&prev, &seed);
        if (!vt_chunk_takes(&chunk, &s)) {
            assert_int_equal(vt_chunk_add(&chunk, &s), -EINVAL);
            check_round_trip(&chunk, wanted);
            vt_chunk_reset(&chunk);
            chunks++;
        }
        assert_int_equal(vt_chunk_add(&chunk, &s), 0);
        wanted[chunk.count - 1] = prev = s;
    }
    check_round_trip(&chunk, wanted);
    assert_true(chunks > 1000);
    vt_chunk_release(&chunk);
}

static struct vt_slice plain_slice(const struct vt_slice *prev)
{
    return (struct vt_slice){ .seq = prev->seq + 1,
                              .t_out = prev->t_end,
                              .t_wake = prev->t_end,
                              .t_in = prev->t_end + 12000000,
                              .t_end = prev->t_end + 16000000,
                              .on_cpu = { [VT_ON_RUN] = 4000000 },
                              .wait_state = VT_PREEMPTED };
}

static void a_chunk_ends_at_a_gap_and_at_its_limits(void **state)
{
    (void)state;
    static struct vt_slice wanted[VT_CHUNK_SLICES];
    struct vt_chunk chunk = { 0 };
    struct vt_slice s = { 0 }, gap;
    for (uint32_t i = 0; i < VT_CHUNK_SLICES; i++) {
        s = plain_slice(&s);
        assert_true(vt_chunk_takes(&chunk, &s));
        gap = s;
        gap.seq++;
        assert_int_equal(vt_chunk_takes(&chunk, &gap), i == 0);
        gap = s;
        gap.t_out++;
        assert_int_equal(vt_chunk_takes(&chunk, &gap), i == 0);
        assert_int_equal(vt_chunk_add(&chunk, &s), 0);
        wanted[i] = s;
    }
    s = plain_slice(&s);
    assert_false(vt_chunk_takes(&chunk, &s));
    check_round_trip(&chunk, wanted);
    vt_chunk_release(&chunk);
}

static void a_sum_that_misses_its_interval_stays_visible(void **state)
{
    (void)state;
    struct vt_slice s = plain_slice(&(struct vt_slice){ 0 }), got;
    struct vt_chunk chunk = { 0 };
    size_t size;
    s.on_cpu[VT_ON_RUN] -= 3; /* law 1: three ns that nobody accounts for */
    assert_int_equal(vt_chunk_add(&chunk, &s), 0);
    const uint8_t *data = vt_chunk_finish(&chunk, &size);
    assert_int_equal(vt_chunk_decode(data, size, &got, 1), 1);
    assert_int_equal(got.t_end - got.t_in - got.on_cpu[VT_ON_RUN], 3);
    vt_chunk_release(&chunk);
}

/* With the CRC made right again, the decoder itself has to hold. */
static void damaged_bytes_are_refused_without_harm(void **state)
{
    (void)state;
    static struct vt_slice got[VT_CHUNK_SLICES];
    struct vt_chunk chunk = { 0 };
    struct vt_slice prev = { 0 };
    uint64_t seed = 7;
    size_t size;
    for (int i = 0; i < 40; i++) {
        struct vt_slice s = plain_slice(&prev);
        s.exits = (uint32_t)i;
        assert_int_equal(vt_chunk_add(&chunk, &s), 0);
        prev = s;
    }
    const uint8_t *data = vt_chunk_finish(&chunk, &size);
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        memcpy(copy, data, size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(vt_chunk_decode(copy, size, got, VT_CHUNK_SLICES), -EUCLEAN);
    }
    free(copy);
    for (size_t cut = 0; cut < size; cut++) {
        copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, data, cut);
        assert_int_equal(vt_chunk_decode(copy, cut, got, VT_CHUNK_SLICES), -EUCLEAN);
        free(copy);
    }
    for (int i = 0; i < 100000; i++) {
        copy = malloc(size);
        assert_non_null(copy);
        memcpy(copy, data, size);
        for (int k = 0; k < 3; k++)
            copy[4 + next_random(&seed) % (size - 4)] = (uint8_t)next_random(&seed);
        const uint32_t crc = vt_crc32c(0, copy + 4, size - 4);
        memcpy(copy, &crc, 4);
        const int r = vt_chunk_decode(copy, size, got, VT_CHUNK_SLICES);
        assert_true(r == -EUCLEAN || r == 40);
        free(copy);
    }
    vt_chunk_release(&chunk);
}

static void an_empty_chunk_and_nothing_at_all_are_released(void **state)
{
    (void)state;
    struct vt_chunk chunk = { 0 };
    vt_chunk_release(&chunk);
    vt_chunk_release(NULL);
    assert_int_equal(vt_chunk_decode("", 0, NULL, 0), -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_slice_comes_back_as_it_went_in),
        cmocka_unit_test(a_chunk_ends_at_a_gap_and_at_its_limits),
        cmocka_unit_test(a_sum_that_misses_its_interval_stays_visible),
        cmocka_unit_test(damaged_bytes_are_refused_without_harm),
        cmocka_unit_test(an_empty_chunk_and_nothing_at_all_are_released),
    };
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which CPUs of a mask come next after one: held against counting up from it, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "collector/bpf/permitted.h"

enum { MOST_WORDS = 8, MOST = 64 * MOST_WORDS };

static uint64_t draw(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static bool has(const uint64_t mask[], uint32_t cpu)
{
    return mask[cpu / 64] >> (cpu % 64) & 1;
}

static size_t count_up(const uint64_t mask[], uint32_t words, uint32_t cpu, uint32_t next[MOST])
{
    size_t n = 0;
    for (uint32_t i = 1; i < 64 * words; i++)
        if (has(mask, (cpu + i) % (64 * words)))
            next[n++] = (cpu + i) % (64 * words);
    return n;
}

static size_t by_words(const uint64_t mask[], uint32_t words, uint32_t cpu, uint32_t next[MOST])
{
    size_t n = 0;
    for (uint32_t step = 0; step <= words; step++) {
        const uint32_t at = permitted_word(cpu, step, words);
        for (uint64_t part = permitted_part(mask[at], cpu, step, words); part; part &= part - 1)
            next[n++] = at * 64 + permitted_lowest(part);
    }
    return n;
}

static void the_lowest_bit_has_its_number(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 64; bit++) {
        assert_int_equal(permitted_lowest(UINT64_C(1) << bit), bit);
        assert_int_equal(permitted_lowest(UINT64_MAX << bit), bit);
    }
}

static void permitted_cpus_come_in_order_from_the_next_one_on_each_once_and_never_the_cpu_itself(void **state)
{
    uint64_t x = 88172645463325252u, mask[MOST_WORDS];
    uint32_t want[MOST], got[MOST];
    size_t seen = 0;
    (void)state;
    for (unsigned int round = 0; round < 20000; round++) {
        const uint32_t words = 1 + (uint32_t)(draw(&x) % MOST_WORDS),
                       cpu = (uint32_t)(draw(&x) % (64 * words));
        for (uint32_t i = 0; i < words; i++) { /* full, dense, sparse or empty ones */
            mask[i] = round % 4 ? draw(&x) : UINT64_MAX;
            for (unsigned int k = round % 4; k > 1; k--)
                mask[i] &= draw(&x) & draw(&x);
        }
        const size_t n = count_up(mask, words, cpu, want);
        assert_int_equal(by_words(mask, words, cpu, got), n);
        assert_memory_equal(got, want, n * sizeof(*want));
        seen += n;
    }
    assert_true(seen > 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_bit_has_its_number),
        cmocka_unit_test(
            permitted_cpus_come_in_order_from_the_next_one_on_each_once_and_never_the_cpu_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

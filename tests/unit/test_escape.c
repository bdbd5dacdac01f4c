/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdint.h>
#include <string.h>

#include "base/escape.h"

static const char *clean(const char *in, size_t n)
{
    static char out[256];
    vt_name_clean(out, sizeof(out), in, n);
    return out;
}

#define CLEAN(literal) clean(literal, sizeof(literal) - 1)

static void printable_text_stays_as_it_is(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("web-01 (spin)"), "web-01 (spin)");
    assert_string_equal(CLEAN("gr\xc3\xbc\xc3\x9f \xe6\x97\xa5 \xf0\x9f\x90\x94"),
                        "gr\xc3\xbc\xc3\x9f \xe6\x97\xa5 \xf0\x9f\x90\x94");
    assert_string_equal(CLEAN("a\\b"), "a\\b");
    assert_string_equal(CLEAN(""), "");
}

static void controls_and_escape_sequences_become_visible(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\x1b[2Jboo\r\n"), "\\x1b[2Jboo\\x0d\\x0a");
    assert_string_equal(CLEAN("\x7f"), "\\x7f");
    assert_string_equal(CLEAN("\xc2\x9b"
                              "31m"),
                        "\\xc2\\x9b31m"); /* CSI as one C1 character */
    assert_string_equal(CLEAN("\xe2\x80\xae"
                              "evil"),
                        "\\xe2\\x80\\xaeevil"); /* right-to-left override */
}

static void bytes_that_are_not_utf8_become_visible(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\xff\x80"), "\\xff\\x80");
    assert_string_equal(CLEAN("\xc0\xaf"), "\\xc0\\xaf");                   /* overlong */
    assert_string_equal(CLEAN("\xed\xa0\x80"), "\\xed\\xa0\\x80");          /* surrogate */
    assert_string_equal(CLEAN("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"); /* beyond Unicode */
    assert_string_equal(CLEAN("\xe6\x97"), "\\xe6\\x97");                   /* cut */
}

static void a_name_ends_at_its_nul_or_at_its_length(void **state)
{
    (void)state;
    assert_string_equal(clean("ab\0cd", 5), "ab");
    assert_string_equal(clean("abcdef", 3), "abc");
}

static void what_does_not_fit_is_cut_between_characters(void **state)
{
    (void)state;
    char out[8] = "zzzzzzz";
    vt_name_clean(out, 6, "abc\x1b", 4);
    assert_string_equal(out, "abc"); /* no half escape */
    vt_name_clean(out, 3, "a\xc3\xbc", 3);
    assert_string_equal(out, "a");
    vt_name_clean(out, 4, "a\xc3\xbc", 3);
    assert_string_equal(out, "a\xc3\xbc");
    vt_name_clean(out, 1, "a", 1);
    assert_string_equal(out, "");
    out[0] = 'q';
    vt_name_clean(out, 0, "a", 1);
    assert_int_equal(out[0], 'q');
}

static void cleaning_twice_changes_nothing_and_leaves_nothing_hostile(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 50000; round++) {
        char in[24], once[128], twice[128];
        for (size_t i = 0; i < sizeof(in); i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            in[i] = (char)(seed >> (33 + seed % 7));
        }
        const size_t room = 1 + (size_t)(seed >> 40) % sizeof(once);
        vt_name_clean(once, room, in, sizeof(in));
        assert_true(strlen(once) < room);
        vt_name_clean(twice, sizeof(twice), once, sizeof(once));
        assert_string_equal(once, twice);
        for (const char *p = once; *p; p++)
            assert_true((uint8_t)*p >= 0x20 && *p != 0x7f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_text_stays_as_it_is),
        cmocka_unit_test(controls_and_escape_sequences_become_visible),
        cmocka_unit_test(bytes_that_are_not_utf8_become_visible),
        cmocka_unit_test(a_name_ends_at_its_nul_or_at_its_length),
        cmocka_unit_test(what_does_not_fit_is_cut_between_characters),
        cmocka_unit_test(cleaning_twice_changes_nothing_and_leaves_nothing_hostile),
    };
    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}

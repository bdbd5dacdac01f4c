/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 character at p (n bytes left), its code point in *ret; 0: not UTF-8. */
static size_t decode_char(const uint8_t *p, size_t n, uint32_t *ret)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    const size_t length = p[0] < 0x80       ? 1
                          : p[0] >> 5 == 6  ? 2
                          : p[0] >> 4 == 14 ? 3
                          : p[0] >> 3 == 30 ? 4
                                            : 0;
    if (length == 0 || length > n)
        return 0;
    uint32_t code = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    /* overlong, surrogate, or beyond Unicode */
    if (code < least[length] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
        return 0;
    *ret = code;
    return length;
}

/* Characters that do not show, or that make the rest of the line show otherwise. */
static bool is_hidden(uint32_t code)
{
    static const uint32_t ranges[][2] = {
        { 0x00, 0x1f },        { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x61c, 0x61c },
        { 0x200b, 0x200f },    { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff },
        { 0xfff9, 0xfffb },    { 0xe000, 0xf8ff }, { 0xfdd0, 0xfdef }, { 0xe0000, 0xe0fff },
        { 0xf0000, 0x10ffff },
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    return (code & 0xfffe) == 0xfffe;
}

void vt_name_clean(char *out, size_t outsize, const char *in, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = (const uint8_t *)in;
    size_t used = 0;
    if (outsize == 0)
        return;
    for (size_t at = 0; at < n && p[at];) {
        uint32_t code = 0;
        size_t length = decode_char(p + at, n - at, &code);
        const bool shown = length > 0 && !is_hidden(code);
        const size_t wanted = shown ? length : 4;
        if (outsize - used <= wanted)
            break;
        if (shown) {
            memcpy(out + used, p + at, length);
        } else {
            const char escape[4] = { '\\', 'x', hex[p[at] >> 4], hex[p[at] & 15] };
            memcpy(out + used, escape, sizeof(escape));
            length = 1;
        }
        used += wanted;
        at += length;
    }
    out[used] = '\0';
}

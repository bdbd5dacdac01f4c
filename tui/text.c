/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/text.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>

/*
 * One character of UTF-8 and its cells, without regard to the locale's
 * encoding: names were cleaned (base/escape.h), so the lead byte can be
 * believed as far as the text reaches.
 */
static size_t next_char(const char *p, size_t *ret_cells)
{
    const unsigned char lead = (unsigned char)*p;
    const size_t want = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    unsigned int code = want == 1 ? lead : lead & (0x7fu >> want);
    size_t n = 1;
    while (n < want && ((unsigned char)p[n] & 0xc0) == 0x80)
        code = code << 6 | ((unsigned char)p[n++] & 0x3fu);
    const int width = code < 0x80 ? 1 : wcwidth((wchar_t)code);
    *ret_cells = width > 0 ? (size_t)width : 0;
    /* the C locale knows no width beyond ASCII */
    if (width < 0)
        *ret_cells = 1;
    return n;
}

size_t vtop_cells(const char *text)
{
    size_t cells = 0, width = 0;
    for (const char *p = text; *p; cells += width)
        p += next_char(p, &width);
    return cells;
}

static size_t shown_cells(const char *text, bool utf8)
{
    size_t cells = 0, width = 0;
    for (const char *p = text; *p;) {
        p += next_char(p, &width);
        cells += utf8 || width == 0 ? width : 1;
    }
    return cells;
}

size_t vtop_fit(char *out, size_t size, const char *in, size_t cells, bool utf8)
{
    const char *ellipsis = utf8 ? "…" : "~";
    const bool cut = shown_cells(in, utf8) > cells;
    const size_t room = cut && cells > 0 ? cells - 1 : cells;
    size_t used = 0, bytes = 0, width = 0;
    if (size == 0)
        return 0;
    for (const char *p = in; *p;) {
        const size_t n = next_char(p, &width);
        const bool plain = (unsigned char)*p < 0x80;
        const size_t take = utf8 || plain ? n : 1;
        width = width && !utf8 ? 1 : width;
        if (used + width > room || bytes + take >= size)
            break;
        if (width > 0) {
            memcpy(out + bytes, utf8 || plain ? p : "?", take);
            bytes += take;
        }
        used += width;
        p += n;
    }
    if (cut && used < cells && bytes + strlen(ellipsis) < size) {
        memcpy(out + bytes, ellipsis, strlen(ellipsis));
        bytes += strlen(ellipsis);
        used++;
    }
    for (; used < cells && bytes + 1 < size; used++)
        out[bytes++] = ' ';
    out[bytes] = '\0';
    return bytes;
}

double vtop_percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

const char *vtop_figure_mark(const struct vt_figure *figure, uint64_t whole_ns, bool utf8)
{
    if (figure->accuracy == VT_ESTIMATED)
        return "~";
    if (figure->accuracy == VT_BOUNDED && vtop_percent(figure->bound_ns, whole_ns) >= 0.05)
        return utf8 ? "±" : "^";
    return " ";
}

const char *vtop_ratio_mark(const struct vt_ratio *ratio, bool utf8)
{
    if (ratio->known && ratio->bound >= 0.005)
        return utf8 ? "±" : "^";
    return " ";
}

void vtop_format_ns(char *out, size_t size, uint64_t ns)
{
    const double v = (double)ns;
    if (ns < 1000)
        snprintf(out, size, "%u ns", (unsigned int)ns);
    else if (ns < 1000000)
        snprintf(out, size, "%.1f us", v / 1e3);
    else if (ns < VT_NSEC_PER_SEC)
        snprintf(out, size, "%.1f ms", v / 1e6);
    else
        snprintf(out, size, "%.2f s", v / 1e9);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostile bytes made fit to print, to store and to compare. */
#ifndef VT_BASE_ESCAPE_H
#define VT_BASE_ESCAPE_H

#include <stddef.h>

/**
 * Copies in[0, n), or up to its first NUL, to out as printable, NUL-terminated
 * UTF-8.  Control characters (C0, DEL, C1), characters that reorder or hide
 * text, and bytes that are not UTF-8 become \xHH, byte by byte; all else, the
 * backslash too, stays: cleaning twice changes nothing.  What does not fit
 * outsize is cut, never inside a character or an escape.
 */
void vt_name_clean(char *out, size_t outsize, const char *in, size_t n);

#endif

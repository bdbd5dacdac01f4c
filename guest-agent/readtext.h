/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files of /proc and /sys, whole. */
#ifndef VTA_READTEXT_H
#define VTA_READTEXT_H

#include <stddef.h>

/** A file's text, cut at n - 1 bytes, NUL-terminated; bytes or -errno. */
long vta_read_text(const char *path, char *out, size_t n);

#endif

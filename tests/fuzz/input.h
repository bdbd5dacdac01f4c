/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fuzzer's bytes, taken piece by piece: what is missing at the end is 0. */
#ifndef VT_FUZZ_INPUT_H
#define VT_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *at;
    size_t left;
};

static inline void take(struct input *in, void *out, size_t n)
{
    const size_t have = n < in->left ? n : in->left;
    memset(out, 0, n);
    memcpy(out, in->at, have);
    in->at += have;
    in->left -= have;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VT_CLI_NUMBER_H
#define VT_CLI_NUMBER_H

#include <stdint.h>

#include "base/err.h"

/** The number in text, within [low, high]; else -EINVAL, and err says what --option wants. */
int vt_parse_number(const char *option, const char *text, double low, double high, double *ret,
                    struct vt_err *err);

/** "45s", "30m", "6h", "1d", "1.5h"; without a unit, seconds. At least low, at most 1000 days. */
int vt_parse_duration(const char *option, const char *text, uint64_t low_ns, uint64_t *ret_ns,
                      struct vt_err *err);

/** "500K", "64M", "2G", "1T": powers of 1024; without a unit, bytes. At least low, at most 1024T. */
int vt_parse_bytes(const char *option, const char *text, uint64_t low, uint64_t *ret, struct vt_err *err);

#endif

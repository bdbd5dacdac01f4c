/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of the hardware's exit reasons: one table per architecture extension. */
#ifndef VT_BASE_EXITS_H
#define VT_BASE_EXITS_H

#include <stdint.h>

/** The reason's name as perf(1) and the manuals have it, or NULL: it has none. isa: enum vt_exit_isa. */
const char *vt_exit_name(uint32_t isa, uint32_t reason);

#endif

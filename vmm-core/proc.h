/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_PROC_H
#define VMM_PROC_H

#include <stdbool.h>
#include <stdint.h>

/**
 * The first n numbers of a small file in /proc.  Without stdio: a vCPU's
 * thread reads one at a mark, and what it touches is the monitor's footprint.
 */
bool proc_numbers(const char *path, uint64_t *out, unsigned n);

#endif

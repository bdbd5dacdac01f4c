/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of what guests access: ports, MMIO addresses and MSRs that are the same everywhere, or nearly so. */
#ifndef VT_BASE_ADDRESS_H
#define VT_BASE_ADDRESS_H

#include <stdint.h>

/** What is usually there, or NULL: not known. kind: enum vt_access. Static text. */
const char *vt_address_name(uint32_t kind, uint64_t address);

/** "port", "MMIO", "MSR", "unsummed". */
const char *vt_access_name(uint32_t kind);

#endif

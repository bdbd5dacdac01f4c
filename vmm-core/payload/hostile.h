/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways to abuse the agent device, for tests: `vtime run --hostile`. */
#ifndef VMM_PAYLOAD_HOSTILE_H
#define VMM_PAYLOAD_HOSTILE_H

#include <stdint.h>

#define HOSTILE_WAYS 10

/** Abuses the device in one way, 1 … HOSTILE_WAYS. ring: a page and more that may be spoilt, zero again
 * after. */
void hostile_ring(uint32_t way, void *ring, uint64_t ram);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory.  The guest names addresses; nothing it says is believed:
 * everything that the monitor reads or writes there goes through
 * vmm_memory_at(), and is copied before it is looked at.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmm_memory {
    uint8_t *base;
    uint64_t size;
};

/** Where [gpa, gpa + len) is, or NULL if any of it is outside the guest's RAM. */
void *vmm_memory_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len);

/** false: outside; nothing was copied. */
bool vmm_memory_read(const struct vmm_memory *m, uint64_t gpa, void *to, uint64_t len);
bool vmm_memory_write(const struct vmm_memory *m, uint64_t gpa, const void *from, uint64_t len);

#endif

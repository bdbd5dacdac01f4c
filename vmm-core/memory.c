/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/memory.h"

#include <string.h>

void *vmm_memory_at(const struct vmm_memory *m, uint64_t gpa, uint64_t len)
{
    if (gpa > m->size || len > m->size - gpa)
        return NULL;
    return m->base + gpa;
}

bool vmm_memory_read(const struct vmm_memory *m, uint64_t gpa, void *to, uint64_t len)
{
    const void *at = vmm_memory_at(m, gpa, len);
    if (at)
        memcpy(to, at, len);
    return at != NULL;
}

bool vmm_memory_write(const struct vmm_memory *m, uint64_t gpa, const void *from, uint64_t len)
{
    void *at = vmm_memory_at(m, gpa, len);
    if (at)
        memcpy(at, from, len);
    return at != NULL;
}

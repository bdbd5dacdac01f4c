/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/footprint.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only segments that were never writable: relocated data would be lost. */
static int drop_object(struct dl_phdr_info *info, size_t size, void *context)
{
    const uintptr_t page = *(const uintptr_t *)context;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W) || !info->dlpi_addr)
            continue;
        uintptr_t from = info->dlpi_addr + p->p_vaddr, to = from + p->p_memsz;
        from &= ~(page - 1);
        to = (to + page - 1) & ~(page - 1);
        madvise((char *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void footprint_shrink(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    dl_iterate_phdr(drop_object, &page);
}

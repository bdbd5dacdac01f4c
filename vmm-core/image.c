/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/image.h"

__asm__(".section .rodata\n"
        ".balign 16\n"
        ".global vmm_image\n"
        "vmm_image: .incbin \"" VMM_PAYLOAD "\"\n"
        ".previous\n");

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The payload, embedded: see payload/payload.mk. */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm-core/payload/abi.h"

extern const uint8_t vmm_image[];

/** The header at its begin. */
static inline const struct vp_image *vmm_image_header(void)
{
    return (const struct vp_image *)vmm_image;
}

#endif

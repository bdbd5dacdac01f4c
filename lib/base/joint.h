/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of what the vCPUs of a VM do together, and of how far a vCPU went. */
#ifndef VT_BASE_JOINT_H
#define VT_BASE_JOINT_H

#include "vt/snapshot.h"

struct vt_joint_info {
    const char *key;     /* in JSON */
    const char *title;   /* in text */
    const char *meaning; /* a line */
};

extern const struct vt_joint_info vt_joints[VT_NR_JOINTS];

struct vt_hop_info {
    const char *key;
    const char *title;
};

extern const struct vt_hop_info vt_hops[VT_NR_HOPS];

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a CPU of the host is: recorded at a recording's begin, of the CPUs that are online then. */
#ifndef VT_TOPOLOGY_H
#define VT_TOPOLOGY_H

#include <stdint.h>

/** One CPU, a hardware thread. -1: not told. */
struct vt_cpu {
    uint32_t cpu;
    int32_t core_id;   /* the platform's number: unique within a package only */
    int32_t package;   /* the socket */
    int32_t node;      /* of NUMA */
    uint32_t capacity; /* of 1024, which the host's fastest CPU has; 0: not told */
    uint32_t sibling;  /* the least CPU of its core: sibling hardware threads have the same */
};

/** How far a vCPU went that changed its CPU: the first line that fits. */
enum vt_hop {
    VT_HOP_OTHER_NODE, /* to another NUMA node */
    VT_HOP_OTHER_CORE,
    VT_HOP_SAME_CORE, /* to a sibling hardware thread */
    VT_HOP_UNKNOWN,   /* one of the CPUs was not there when the recording began */
    VT_NR_HOPS
};

#endif

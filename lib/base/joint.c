/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/joint.h"

const struct vt_joint_info vt_joints[VT_NR_JOINTS] = {
    [VT_JOINT_LOST] = { "lost", "LOST", "unknown of at least one vCPU" },
    [VT_JOINT_HAZARD] = { "concurrency_hazard", "hazard", "some run while some wait" },
    [VT_JOINT_FULL_RUN] = { "full_run", "full run", "all run" },
    [VT_JOINT_PARTIAL_RUN] = { "partial_run", "partial run", "some run, the rest is idle" },
    [VT_JOINT_FULL_CONTENTION] = { "full_contention", "all wait", "all wait" },
    [VT_JOINT_PARTIAL_CONTENTION] = { "partial_contention", "some wait",
                                      "some wait, none runs, the rest is idle" },
    [VT_JOINT_PAUSED] = { "paused", "paused", "none runs or waits, at least one is paused" },
    [VT_JOINT_BLOCKED] = { "blocked", "blocked", "none has demand" },
    [VT_JOINT_ABSENT] = { "absent", "absent", "there is no vCPU" },
};

const struct vt_hop_info vt_hops[VT_NR_HOPS] = {
    [VT_HOP_OTHER_NODE] = { "other_node", "to another node" },
    [VT_HOP_OTHER_CORE] = { "other_core", "to another core" },
    [VT_HOP_SAME_CORE] = { "same_core", "within a core" },
    [VT_HOP_UNKNOWN] = { "unknown", "unknown how far" },
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VT_PRIVILEGES_H
#define VT_PRIVILEGES_H

#include "base/err.h"

/**
 * Gives up, for good, all but what recording goes on to need once its programs
 * are loaded and attached: CAP_BPF (its maps), CAP_PERFMON and CAP_SYS_PTRACE
 * (counters and /proc of new VMs' processes, where /proc hides them).
 */
int vt_privileges_drop(struct vt_err *err);

#endif

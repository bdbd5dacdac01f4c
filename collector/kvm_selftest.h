/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VT_KVM_SELFTEST_H
#define VT_KVM_SELFTEST_H

#include "kvmstats.h"

/**
 * Runs one instruction in a guest of our own, so that the probes show whether
 * KVM's events really fire here: some back ends have the tracepoints and never
 * reach them; ret_stats is what KVM says of its statistics of that guest's vCPU,
 * empty if it says nothing.  0, or -errno of the step that failed.
 */
int vt_kvm_selftest(struct vt_kvm_stat_list *ret_stats);

#endif

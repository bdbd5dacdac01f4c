/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts and clocks of this host. */
#ifndef VT_HOSTINFO_H
#define VT_HOSTINFO_H

#include <stddef.h>

#include "vt/record.h"
#include "vt/topology.h"

#define VT_CPU_FOLDER "/sys/devices/system/cpu"

host_ns vt_host_now(void);

/** Up to size - 1 bytes of a file, terminated: how many, 0 if it can't be read. */
size_t vt_slurp(const char *path, char *buf, size_t size);

/** Whose KVM module is loaded: the exits' reasons are its numbers. */
enum vt_exit_isa vt_exit_isa_here(void);
/** Is this host KVM's guest, and told what is stolen of its CPUs? */
bool vt_host_is_told_steal(void);

/** Fills the facts that do not change; begin, end and probes are the caller's. */
void vt_host_describe(struct vt_host *ret);

/**
 * Where a CPU is, as /sys/devices/system/cpu tells; sys: that folder, NULL: the
 * host's.  False: it is not online, or not there.
 */
bool vt_cpu_describe(const char *sys, uint32_t cpu, struct vt_cpu *ret);

/** PM QoS asks that a CPU wakes in no time. latency: its file, NULL: the host's. False: it can't be read,
 * too. */
bool vt_host_bars_sleep(const char *latency);

/**
 * No idle CPU of this host may sleep now: PM QoS bars it, the governor heeds that, and there is a state to
 * poll in.  sys, latency: as above.  False: some may, or it is not known.
 */
bool vt_host_stays_awake(const char *sys, const char *latency);

/** Greater than any CPU that may come online. */
uint32_t vt_cpu_limit(const char *sys);

/** CLOCK_MONOTONIC and TSC together: the tightest of several brackets. */
struct vt_clock_pair vt_clock_pair_read(void);

/** Fractional bits of kvm_vcpu_arch.l1_tsc_scaling_ratio: 48 on VMX, 32 on SVM (arch/x86/kvm/{vmx,svm}). */
uint32_t vt_tsc_ratio_frac(uint64_t ratio);

/** This process's own cost and the host's steal and interrupt time; BPF's part is the caller's. */
void vt_observer_read(struct vt_observer *ret);

/** When a process started, CLOCK_MONOTONIC ns, as exact as /proc tells (10 ms); 0 if it is gone. */
uint64_t vt_process_start(uint32_t tgid);

/** Two such readings, or one and the kernel's own word: are they of one process? Two of one pid are further
 * apart. */
static inline bool vt_same_start(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) < 2 * 10000000;
}

/** The same of a thread. */
uint64_t vt_thread_start(uint32_t tgid, uint32_t tid);

/** A thread's schedstat: CPU time and run-queue wait. 0 or -errno. */
int vt_schedstat_read(uint32_t tgid, uint32_t tid, uint64_t *ret_run_ns, uint64_t *ret_delay_ns);

/** The name that a monitor's arguments give: --name, QEMU's -name guest=. False: none. */
bool vt_name_from_arguments(const char *args, size_t n, char ret[VT_VM_NAME_LEN]);

/** What a VM is called: own monitor's --name, QEMU's -name guest=, else "comm/pid". */
void vt_vm_name(uint32_t tgid, const char *fallback_comm, char ret[VT_VM_NAME_LEN]);

#endif

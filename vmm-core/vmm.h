/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A minimal KVM monitor for x86-64: guest RAM, vCPUs (a thread each), the
 * in-kernel interrupt controller and timer, and the devices of device.c.
 */
#ifndef VMM_H
#define VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "vmm-core/agent_ring.h"
#include "vmm-core/outlet.h"
#include "vmm-core/payload/abi.h"

#define VMM_MAX_VCPUS 64u

/* What a run is to be. */
struct vmm_config {
    char name[VTG_NAME_LEN];
    unsigned nr_vcpus;
    uint64_t memory;
    unsigned nr_cpus; /* entries of cpus: vCPU i is pinned to cpus[i % nr_cpus]; 0: not pinned */
    unsigned cpus[VMM_MAX_VCPUS];
    struct vp_params params; /* tsc_khz and apic_ns are found out */
    uint64_t service_ns;     /* of an access to the work port */
    const char *agent;       /* channel.h, or NULL */
    int start_fd, ready_fd;  /* -1: none */
};

/* How it ended. */
enum vmm_end { VMM_END_FINISHED, VMM_END_SIGNAL, VMM_END_FAILED };

struct vmm_vcpu {
    struct vmm *vm;
    unsigned index;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    bool started;
    uint64_t service_count, service_ns; /* work port: accesses, thread CPU time spent on them */
    uint64_t exits;                     /* returns of KVM_RUN */
};

struct vmm {
    const struct vmm_config *config;
    struct outlet *outlet;
    int kvm, fd;
    int done; /* eventfd: the last vCPU finished, or something failed */
    struct vmm_memory memory;
    size_t run_size;
    uint64_t tsc_khz;
    struct vmm_vcpu *vcpus;
    pthread_mutex_t lock; /* gate, failure, ring */
    pthread_cond_t gate;
    bool gate_open;
    unsigned running; /* vCPUs whose threads have not ended */
    atomic_bool stop;
    bool failed;
    struct vt_err failure;
    struct agent_ring ring;
    bool ring_warned;
};

/* vm.c */
/** Makes the machine, ready to run; vm is zeroed first. */
int vmm_create(struct vmm *vm, const struct vmm_config *config, struct outlet *outlet, struct vt_err *err);
/** Accepts a half-made machine. */
void vmm_release(struct vmm *vm);
/** Bytes of guest RAM that are resident. */
uint64_t vmm_resident_ram(const struct vmm *vm);

/* boot.c */
/** Writes tables, parameters and payload into guest RAM. */
void boot_prepare(struct vmm *vm);
/** Puts a vCPU at the payload's entry, in long mode. */
int boot_vcpu(const struct vmm *vm, unsigned index, int fd, struct vt_err *err);

/* vcpu.c */
/** Starts the threads; they wait at the gate. */
int vcpu_start_all(struct vmm *vm, struct vt_err *err);
void vcpu_open_gate(struct vmm *vm);
/** Makes all threads leave; returns when they have. */
void vcpu_stop_all(struct vmm *vm);
/** The first failure of a run: kept, and everything stops. */
void vcpu_fail(struct vmm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* threads of a run, virtual or bare: thread.c */
/** "vt:NAME/vcpu0", in 15 characters. */
void thread_name(char out[16], const char *name, const char *what, unsigned index);
int thread_start(pthread_t *thread, const struct vmm_config *config, unsigned index, void *(*main)(void *),
                 void *context, struct vt_err *err);
void thread_busy(uint64_t cpu_ns);

/* bare.c */
/** The same work in ordinary threads of this process. */
int bare_run(const struct vmm_config *config, struct outlet *outlet, uint64_t *ret_tsc_khz,
             enum vmm_end *ret_end, struct vt_err *err);

/* machine.c */
/** Boots the guest and waits for its end, SIGINT, SIGTERM or SIGHUP. */
int machine_run(struct vmm *vm, enum vmm_end *ret_end, struct vt_err *err);
/** Blocks those signals and returns a descriptor that tells of them. */
int machine_signals(void);
/** Says that all is ready and waits at the start gate; 1: a signal came instead. */
int machine_wait_start(const struct vmm_config *config, int signals);
/** Until `done` is readable; 1: a signal came instead. Meanwhile offers waiting frames again. */
int machine_wait_end(struct outlet *outlet, int done, int signals);

#endif

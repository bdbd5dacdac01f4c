/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm-core/vmm.h"

#define MAX_CPUID 256u
#define TSS_ADDR  0xfffbd000u /* three pages that VMX wants for real mode: out of the guest's way */

static int open_kvm(struct vmm *vm, struct vt_err *err)
{
    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm < 0 && (errno == ENOENT || errno == ENXIO || errno == ENODEV))
        return vt_fail(err, errno,
                       "there is no usable /dev/kvm: load kvm-intel or kvm-amd, enable "
                       "virtualization in the firmware, or use `vtime run --bare`");
    if (vm->kvm < 0)
        return vt_fail(err, errno, "/dev/kvm: %s: be root or in the group that owns it", strerror(errno));
    if (ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return vt_fail(err, ENOTSUP, "/dev/kvm speaks another API version than %d", KVM_API_VERSION);
    return 0;
}

static int make_memory(struct vmm *vm, struct vt_err *err)
{
    uint64_t size = vm->config->memory;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return vt_fail(err, errno, "guest memory: %s", strerror(errno));
    vm->memory = (struct vmm_memory){ .base = base, .size = size };
    /* a few pages are touched: huge ones would only cost their zeroing */
    madvise(base, size, MADV_NOHUGEPAGE);
    struct kvm_userspace_memory_region region = { .memory_size = size, .userspace_addr = (uintptr_t)base };
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return vt_fail(err, errno, "KVM_SET_USER_MEMORY_REGION: %s", strerror(errno));
    return 0;
}

static int make_vm(struct vmm *vm, struct vt_err *err)
{
    do
        vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
    while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0)
        return vt_fail(err, errno, "KVM_CREATE_VM: %s", strerror(errno));
    if (ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_SET_TSS_ADDR) > 0)
        ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDR); /* only VMX needs it */
    /* memory first: after the irqchip's devices it would wait for a grace period, some 6 ms */
    int rc = make_memory(vm, err);
    if (rc == 0 && ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        rc = vt_fail(err, errno, "KVM_CREATE_IRQCHIP: %s", strerror(errno));
    return rc;
}

/* What the host supports, with this vCPU's APIC id in it. */
static int set_cpuid(const struct vmm *vm, const struct vmm_vcpu *vcpu, struct vt_err *err)
{
    struct kvm_cpuid2 *id = calloc(1, sizeof(*id) + MAX_CPUID * sizeof(id->entries[0]));
    int rc = 0;

    if (!id)
        return vt_fail(err, ENOMEM, "out of memory");
    id->nent = MAX_CPUID;
    if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, id) < 0)
        rc = vt_fail(err, errno, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
    for (uint32_t i = 0; rc == 0 && i < id->nent; i++) {
        struct kvm_cpuid_entry2 *e = &id->entries[i];
        if (e->function == 1)
            e->ebx = (e->ebx & 0xffffff) | vcpu->index << 24;
        if (e->function == 0xb || e->function == 0x1f)
            e->edx = vcpu->index;
    }
    if (rc == 0 && ioctl(vcpu->fd, KVM_SET_CPUID2, id) < 0)
        rc = vt_fail(err, errno, "KVM_SET_CPUID2: %s", strerror(errno));
    free(id);
    return rc;
}

static int make_vcpu(struct vmm *vm, unsigned index, struct vt_err *err)
{
    struct vmm_vcpu *v = &vm->vcpus[index];
    v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
    if (v->fd < 0)
        return vt_fail(err, errno, "KVM_CREATE_VCPU %u: %s", index, strerror(errno));
    v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return vt_fail(err, errno, "kvm_run of vCPU %u: %s", index, strerror(errno));
    }
    int rc = set_cpuid(vm, v, err);
    return rc ? rc : boot_vcpu(vm, index, v->fd, err);
}

static int make_vcpus(struct vmm *vm, struct vt_err *err)
{
    unsigned n = vm->config->nr_vcpus;
    int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return vt_fail(err, EIO, "KVM_GET_VCPU_MMAP_SIZE says %d", size);
    vm->run_size = (size_t)size;
    vm->vcpus = calloc(n, sizeof(*vm->vcpus));
    if (!vm->vcpus)
        return vt_fail(err, ENOMEM, "out of memory");
    for (unsigned i = 0; i < n; i++) {
        vm->vcpus[i].vm = vm;
        vm->vcpus[i].index = i;
        vm->vcpus[i].fd = -1;
    }
    for (unsigned i = 0; i < n; i++) {
        int rc = make_vcpu(vm, i, err);
        if (rc)
            return rc;
    }
    int khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return vt_fail(err, ENOTSUP, "KVM does not know the frequency of this host's TSC");
    vm->tsc_khz = (uint64_t)khz;
    return 0;
}

int vmm_create(struct vmm *vm, const struct vmm_config *config, struct outlet *outlet, struct vt_err *err)
{
    *vm = (struct vmm){ .config = config,
                        .outlet = outlet,
                        .kvm = -1,
                        .fd = -1,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .gate = PTHREAD_COND_INITIALIZER };
    vm->done = eventfd(0, EFD_CLOEXEC);
    if (vm->done < 0)
        return vt_fail(err, errno, "eventfd: %s", strerror(errno));
    int rc = open_kvm(vm, err);
    if (rc == 0)
        rc = make_vm(vm, err);
    if (rc == 0)
        rc = make_vcpus(vm, err);
    if (rc == 0)
        boot_prepare(vm);
    return rc;
}

uint64_t vmm_resident_ram(const struct vmm *vm)
{
    uint64_t pages = vm->memory.size / 4096, resident = 0;
    unsigned char *map = malloc(pages);
    if (map && mincore(vm->memory.base, vm->memory.size, map) == 0)
        for (uint64_t i = 0; i < pages; i++)
            resident += map[i] & 1;
    free(map);
    return resident * 4096;
}

void vmm_release(struct vmm *vm)
{
    for (unsigned i = 0; vm->vcpus && i < vm->config->nr_vcpus; i++) {
        if (vm->vcpus[i].run)
            munmap(vm->vcpus[i].run, vm->run_size);
        if (vm->vcpus[i].fd >= 0)
            close(vm->vcpus[i].fd);
    }
    free(vm->vcpus);
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->memory.base)
        munmap(vm->memory.base, vm->memory.size);
    if (vm->kvm >= 0)
        close(vm->kvm);
    if (vm->done >= 0)
        close(vm->done);
    *vm = (struct vmm){ .kvm = -1, .fd = -1, .done = -1 };
}

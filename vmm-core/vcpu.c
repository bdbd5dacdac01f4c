/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU's thread: KVM_RUN, and what it comes back for. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm-core/device.h"

void vcpu_fail(struct vmm *vm, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&vm->lock);
    if (!vm->failed)
        vsnprintf(vm->failure.text, sizeof(vm->failure.text), format, args);
    vm->failed = true;
    pthread_mutex_unlock(&vm->lock);
    va_end(args);
    eventfd_write(vm->done, 1);
}

static enum device_result serve_io(struct vmm_vcpu *v)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        bool out = run->io.direction == KVM_EXIT_IO_OUT;
        if (device_port(v, out, run->io.port, data, run->io.size) == DEVICE_LEAVE)
            return DEVICE_LEAVE;
    }
    return DEVICE_OK;
}

static enum device_result serve_failure(struct vmm_vcpu *v)
{
    struct kvm_run *run = v->run;
    struct kvm_regs regs = { 0 };
    ioctl(v->fd, KVM_GET_REGS, &regs);
    unsigned long long rip = regs.rip;
    if (run->exit_reason == KVM_EXIT_SHUTDOWN)
        vcpu_fail(v->vm, "vCPU %u shut down at %#llx: a triple fault", v->index, rip);
    else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        vcpu_fail(v->vm, "vCPU %u could not be entered at %#llx: hardware reason %#llx", v->index, rip,
                  (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
    else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        vcpu_fail(v->vm, "KVM failed to run vCPU %u at %#llx: internal error %u", v->index, rip,
                  run->internal.suberror);
    else
        vcpu_fail(v->vm, "vCPU %u at %#llx left KVM for an unexpected reason: %u", v->index, rip,
                  run->exit_reason);
    return DEVICE_LEAVE;
}

static enum device_result serve(struct vmm_vcpu *v)
{
    struct kvm_run *run = v->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return serve_io(v);
    case KVM_EXIT_MMIO:
        return device_mmio(v, run->mmio.is_write, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    case KVM_EXIT_INTR:
        return DEVICE_OK;
    default:
        return serve_failure(v);
    }
}

static void wait_at_gate(struct vmm *vm)
{
    pthread_mutex_lock(&vm->lock);
    while (!vm->gate_open)
        pthread_cond_wait(&vm->gate, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
}

static void *vcpu_main(void *context)
{
    struct vmm_vcpu *v = context;
    struct vmm *vm = v->vm;
    char name[16];

    thread_name(name, vm->config->name, "vcpu", v->index);
    pthread_setname_np(pthread_self(), name);
    vm->outlet->vcpus[v->index].tid = gettid();
    wait_at_gate(vm);
    while (!atomic_load(&vm->stop)) {
        int rc = ioctl(v->fd, KVM_RUN, 0);
        v->exits++;
        if (rc < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (rc < 0) {
            vcpu_fail(vm, "KVM_RUN of vCPU %u: %s", v->index, strerror(errno));
            break;
        }
        if (serve(v) == DEVICE_LEAVE)
            break;
    }
    pthread_mutex_lock(&vm->lock);
    bool last = --vm->running == 0;
    pthread_mutex_unlock(&vm->lock);
    if (last)
        eventfd_write(vm->done, 1);
    return NULL;
}

static void interrupt(int number)
{
    (void)number; /* its only use is that KVM_RUN returns */
}

int vcpu_start_all(struct vmm *vm, struct vt_err *err)
{
    struct sigaction action = { .sa_handler = interrupt };
    sigaction(SIGUSR1, &action, NULL);
    for (unsigned i = 0; i < vm->config->nr_vcpus; i++) {
        struct vmm_vcpu *v = &vm->vcpus[i];
        pthread_mutex_lock(&vm->lock);
        vm->running++;
        pthread_mutex_unlock(&vm->lock);
        int rc = thread_start(&v->thread, vm->config, i, vcpu_main, v, err);
        if (rc)
            return rc;
        v->started = true;
    }
    return 0;
}

void vcpu_open_gate(struct vmm *vm)
{
    pthread_mutex_lock(&vm->lock);
    vm->gate_open = true;
    pthread_cond_broadcast(&vm->gate);
    pthread_mutex_unlock(&vm->lock);
}

void vcpu_stop_all(struct vmm *vm)
{
    atomic_store(&vm->stop, true);
    vcpu_open_gate(vm);
    for (unsigned i = 0; vm->vcpus && i < vm->config->nr_vcpus; i++) {
        struct vmm_vcpu *v = &vm->vcpus[i];
        if (!v->started)
            continue;
        /* the flag catches a thread that is just about to enter KVM_RUN */
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(v->thread, SIGUSR1);
        pthread_join(v->thread, NULL);
        v->started = false;
    }
}

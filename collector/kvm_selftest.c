/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvm_selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* real mode: out %al, $0x80; hlt */
static const unsigned char code[] = { 0xe6, 0x80, 0xf4 };
enum { PAGE = 4096, CODE_AT = 0x1000 };

static int enter(int vcpu, int run_bytes)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    void *run;
    int r = 0;

    if (run_bytes <= 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs))
        return -errno;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
        return -errno;
    run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        return -errno;
    if (ioctl(vcpu, KVM_RUN, 0))
        r = -errno;
    munmap(run, (size_t)run_bytes);
    return r;
}

static int run_guest(struct vt_kvm_stat_list *ret_stats)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1, vcpu = -1, r;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (kvm < 0 || page == MAP_FAILED || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0) {
        r = -errno;
        goto out;
    }
    memcpy(page, code, sizeof(code));
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = CODE_AT,
        .memory_size = PAGE,
        .userspace_addr = (unsigned long)page,
    };
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) || (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0)
        r = -errno;
    else if (vt_kvm_stats_describe(vcpu, ret_stats) == -ENOMEM)
        r = -ENOMEM;
    else
        r = enter(vcpu, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
out:
    if (vcpu >= 0)
        close(vcpu);
    if (vm >= 0)
        close(vm);
    if (kvm >= 0)
        close(kvm);
    if (page != MAP_FAILED)
        munmap(page, PAGE);
    return r;
}

struct trial {
    struct vt_kvm_stat_list *stats;
    int r;
};

static void *run_guest_thread(void *arg)
{
    struct trial *t = arg;

    t->r = run_guest(t->stats);
    return NULL;
}

/* In a thread that ends with it: to another recorder this is a guest that came and went. */
int vt_kvm_selftest(struct vt_kvm_stat_list *ret_stats)
{
    struct trial trial = { ret_stats, 0 };
    pthread_t thread;
    int e;

    ret_stats->nr = 0;
    e = pthread_create(&thread, NULL, run_guest_thread, &trial);
    if (e)
        return -e;
    pthread_join(thread, NULL);
    return trial.r;
}

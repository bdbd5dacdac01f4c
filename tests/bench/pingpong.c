/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-pingpong [--vcpu] CPU ROUNDS: two threads on one CPU pass a byte to and
 * fro through pipes, as `perf bench sched pipe` does: two switches and two
 * wake-ups a round.  --vcpu: each thread first runs a vCPU of its own, so that
 * the ledger accounts every switch of it from then on, slices included; the
 * dearest case there is.  Prints nanoseconds per switch.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CODE_AT = 0x1000 };

struct player {
    pthread_t thread;
    size_t cpu;
    long rounds;
    int vm, vcpu; /* -1: none */
    int from, to;
    bool first, failed;
    uint64_t ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* real mode: hlt, which leaves KVM_RUN at once where no interrupt controller is in the kernel */
static int make_vm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = { .guest_phys_addr = CODE_AT, .memory_size = PAGE };

    if (vm < 0 || page == MAP_FAILED)
        return -1;
    memset(page, 0xf4, PAGE);
    region.userspace_addr = (unsigned long)page;
    return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) ? -1 : vm;
}

static bool become_vcpu(int vcpu)
{
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    struct kvm_sregs sregs;

    if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
        return false;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    return !ioctl(vcpu, KVM_SET_SREGS, &sregs) && !ioctl(vcpu, KVM_SET_REGS, &regs) &&
           !ioctl(vcpu, KVM_RUN, 0);
}

static bool pass(const struct player *p, bool give, bool take)
{
    char c = 0;

    return (!give || write(p->to, &c, 1) == 1) && (!take || read(p->from, &c, 1) == 1);
}

static void *play(void *context)
{
    struct player *p = context;
    cpu_set_t one;
    uint64_t begin;

    CPU_ZERO(&one);
    CPU_SET(p->cpu, &one);
    p->failed = sched_setaffinity(0, sizeof(one), &one) || (p->vcpu >= 0 && !become_vcpu(p->vcpu));
    /* once round, so that both are there */
    p->failed |= p->first ? !pass(p, true, true) : !pass(p, false, true) || !pass(p, true, false);
    begin = now_ns();
    for (long i = 0; i < p->rounds && !p->failed; i++)
        p->failed = p->first ? !pass(p, true, true) : !pass(p, false, true) || !pass(p, true, false);
    p->ns = now_ns() - begin;
    return NULL;
}

int main(int argc, char **argv)
{
    bool vcpus = argc > 1 && strcmp(argv[1], "--vcpu") == 0;
    struct player p[2] = { 0 };
    int there[2], back[2], vm = vcpus ? make_vm() : -1;

    if (argc != 3 + vcpus || (vcpus && vm < 0) || pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC)) {
        fprintf(stderr, "usage: bench-pingpong [--vcpu] CPU ROUNDS (%s)\n", strerror(errno));
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        p[i] = (struct player){ .cpu = (size_t)atoi(argv[1 + vcpus]), .rounds = atol(argv[2 + vcpus]) };
        p[i].first = i == 0;
        p[i].vm = vm;
        p[i].vcpu = vcpus ? ioctl(vm, KVM_CREATE_VCPU, i) : -1;
        p[i].from = i ? there[0] : back[0];
        p[i].to = i ? back[1] : there[1];
        if (pthread_create(&p[i].thread, NULL, play, &p[i]))
            return 1;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(p[i].thread, NULL);
    if (p[0].failed || p[1].failed) {
        fprintf(stderr, "bench-pingpong: a thread failed\n");
        return 1;
    }
    printf("%.1f\n", (double)p[0].ns / (double)p[0].rounds / 2);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stall CPU ROUNDS MS: a monitor whose vCPU, pinned to CPU, is held ROUNDS times
 * for MS milliseconds by a page that its pager is slow to bring (userfaultfd),
 * as by swap or by post-copy migration.  Prints the time between the
 * pager's word of each fault and the page, in ns, all together.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CODE_AT = 0x1000, DATA_AT = 0x2000 };

struct stall {
    int vcpu, pager;
    char *data; /* the page that is missing */
    int rounds;
    long ms;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *page(void)
{
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        fail("stall: mmap");
    return p;
}

static void give_memory(int vm, unsigned int slot, uint64_t at, const void *page_of_it)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .guest_phys_addr = at,
        .memory_size = PAGE,
        .userspace_addr = (uintptr_t)page_of_it,
    };

    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
        fail("stall: KVM_SET_USER_MEMORY_REGION");
}

/* In real mode: mov [DATA_AT], al; out 0x80, al; and again. */
static void make_vcpu(struct stall *s)
{
    static const unsigned char code[] = { 0xa2, DATA_AT & 0xff, DATA_AT >> 8, 0xe6, 0x80, 0xeb, 0xf9 };
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    struct kvm_sregs sregs;
    char *text = page();

    if (vm < 0)
        fail("stall: /dev/kvm");
    memcpy(text, code, sizeof(code));
    give_memory(vm, 0, CODE_AT, text);
    give_memory(vm, 1, DATA_AT, s->data);
    s->vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (s->vcpu < 0 || ioctl(s->vcpu, KVM_GET_SREGS, &sregs))
        fail("stall: vCPU");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(s->vcpu, KVM_SET_SREGS, &sregs) || ioctl(s->vcpu, KVM_SET_REGS, &regs))
        fail("stall: registers");
}

static void make_pager(struct stall *s)
{
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register all = { .range = { (uintptr_t)s->data, PAGE },
                                   .mode = UFFDIO_REGISTER_MODE_MISSING };

    s->pager = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (s->pager < 0 || ioctl(s->pager, UFFDIO_API, &api) || ioctl(s->pager, UFFDIO_REGISTER, &all))
        fail("stall: userfaultfd");
}

/* The vCPU runs to its port, finds the page gone, runs to its port, … */
static void *run_vcpu(void *context)
{
    const struct stall *s = context;

    for (int i = 0; i <= s->rounds; i++) {
        if (ioctl(s->vcpu, KVM_RUN, 0))
            fail("stall: KVM_RUN");
        if (madvise(s->data, PAGE, MADV_DONTNEED))
            fail("stall: madvise");
    }
    return NULL;
}

/* Returns what the vCPU had to wait. */
static uint64_t bring_page(const struct stall *s)
{
    const struct timespec t = { s->ms / 1000, s->ms % 1000 * 1000000 };
    struct uffdio_zeropage zero = { .range = { (uintptr_t)s->data, PAGE } };
    struct uffd_msg msg;
    uint64_t begin;

    if (read(s->pager, &msg, sizeof(msg)) != sizeof(msg))
        fail("stall: pager");
    begin = now_ns();
    nanosleep(&t, NULL);
    if (ioctl(s->pager, UFFDIO_ZEROPAGE, &zero))
        fail("stall: UFFDIO_ZEROPAGE");
    return now_ns() - begin;
}

int main(int argc, char **argv)
{
    struct stall s = { 0 };
    pthread_t thread;
    uint64_t waited = 0;
    cpu_set_t set;

    if (argc != 4) {
        fputs("usage: stall CPU ROUNDS MS\n", stderr);
        return 2;
    }
    s.rounds = atoi(argv[2]);
    s.ms = atol(argv[3]);
    s.data = page();
    make_vcpu(&s);
    make_pager(&s);
    CPU_ZERO(&set);
    CPU_SET((size_t)atoi(argv[1]), &set);
    if (pthread_create(&thread, NULL, run_vcpu, &s) || pthread_setaffinity_np(thread, sizeof(set), &set))
        fail("stall: thread");
    for (int i = 0; i <= s.rounds; i++)
        waited += bring_page(&s);
    pthread_join(thread, NULL);
    printf("%" PRIu64 "\n", waited);
    return 0;
}

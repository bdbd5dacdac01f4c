/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A monitor with odd habits, for what the collector must survive:
 *   oddvmm seq      one thread runs one vCPU for 0.4 s, then another
 *   oddvmm back     a vCPU runs in one thread, in another, and in the first again
 *   oddvmm alt N    one thread runs two vCPUs in turn, N times
 *   oddvmm wait FILE  the vCPU's own thread sleeps for 0.3 s between two runs, and then
 *                   writes to FILE until that has kept it from running for 20 ms, or often
 *   oddvmm again N  N VMs one after the other, each gone before the next is made, in one thread;
 *                   then 0.3 s of nothing
 *   oddvmm helper   beside a vCPU a thread works, and tells what schedstat has of it:
 *                   "run delay", once at its beginning and once at its end
 *   oddvmm ports    the guest writes once to each of all 65536 ports
 *   oddvmm reads    it reads port 0x80 and address 0x3000, 1000 times each
 * With ODDVMM_STATS=FILE the kernel's statistics of these vCPUs since they were set up are written
 * there, summed up, as their own process may have them: "NAME SUM", one a line.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
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

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what the kernel says of its own vCPUs ---- */

enum { MOST_STATS = 128 };

struct sum {
    char name[64];
    uint64_t value;
};
static struct sum sums[MOST_STATS];

static void add_to(const char *name, uint64_t value)
{
    size_t i = 0;

    while (i < MOST_STATS - 1 && sums[i].name[0] && strcmp(sums[i].name, name) != 0)
        i++;
    snprintf(sums[i].name, sizeof(sums[i].name), "%.63s", name);
    sums[i].value += value;
}

/* Those of one value: histograms are left out. times -1: what it has already is not to be counted. */
static void add_stats(int vcpu, int times)
{
    int fd = ioctl(vcpu, KVM_GET_STATS_FD, 0);
    struct kvm_stats_header h;

    if (fd < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h))
        return;
    for (uint32_t i = 0; i < h.num_desc; i++) {
        char room[256] = "";
        struct kvm_stats_desc *d = (void *)room;
        size_t bytes = sizeof(*d) + h.name_size;
        uint64_t value = 0;
        if (pread(fd, d, bytes, h.desc_offset + i * (off_t)bytes) == (ssize_t)bytes && d->size == 1 &&
            pread(fd, &value, sizeof(value), h.data_offset + d->offset) == sizeof(value))
            add_to(d->name, value * (uint64_t)times);
    }
    close(fd);
}

static void write_stats(void)
{
    const char *path = getenv("ODDVMM_STATS");
    FILE *f = path ? fopen(path, "w") : NULL;

    for (size_t i = 0; f && i < MOST_STATS && sums[i].name[0]; i++)
        fprintf(f, "%s %llu\n", sums[i].name, (unsigned long long)sums[i].value);
    if (f)
        fclose(f);
}

/* A VM of one vCPU in real mode that runs n bytes of code. Returns the vCPU's descriptor. */
static int make_vcpu_with(int kvm, const unsigned char *code, size_t n)
{
    int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu = -1;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = CODE_AT,
        .memory_size = PAGE,
        .userspace_addr = (uintptr_t)page,
    };
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    struct kvm_sregs sregs;

    if (vm < 0 || page == MAP_FAILED)
        goto fail;
    memcpy(page, code, n);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) || (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0 ||
        ioctl(vcpu, KVM_GET_SREGS, &sregs))
        goto fail;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
        goto fail;
    close(vm); /* the vCPU keeps it */
    add_stats(vcpu, -1);
    return vcpu;
fail:
    perror("oddvmm");
    exit(1);
}

/* out %al, $0x80 for ever */
static int make_vcpu(int kvm)
{
    static const unsigned char code[] = { 0xe6, 0x80, 0xeb, 0xfc };

    return make_vcpu_with(kvm, code, sizeof(code));
}

/* Runs n bytes of code whose ports and addresses are all the monitor's, to its HLT: false if it ends
 * otherwise.
 */
static bool run_to_halt(int kvm, const unsigned char *code, size_t n)
{
    const int vcpu = make_vcpu_with(kvm, code, n), size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    const struct kvm_run *run =
        size > 0 ? mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, vcpu, 0) : MAP_FAILED;

    if (run == MAP_FAILED)
        return false;
    while (ioctl(vcpu, KVM_RUN, 0) == 0)
        if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_MMIO)
            return run->exit_reason == KVM_EXIT_HLT;
    return false;
}

/* xor %dx, %dx; 1: out %al, (%dx); inc %dx; jnz 1b; hlt */
static const unsigned char all_ports[] = { 0x31, 0xd2, 0xee, 0x42, 0x75, 0xfc, 0xf4 };
/* mov $1000, %cx; 1: in $0x80, %al; mov 0x3000, %al; loop 1b; hlt */
static const unsigned char reads[] = { 0xb9, 0xe8, 0x03, 0xe4, 0x80, 0xa0, 0x00, 0x30, 0xe2, 0xf9, 0xf4 };

static void run_for(int vcpu, double seconds)
{
    double end = now() + seconds;

    while (now() < end && ioctl(vcpu, KVM_RUN, 0) == 0)
        ;
}

static void *run_elsewhere(void *vcpu)
{
    run_for(*(int *)vcpu, 0.4);
    return NULL;
}

static void tell_schedstat(void)
{
    char path[64], line[128] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)gettid());
    f = fopen(path, "r");
    if (f && fgets(line, sizeof(line), f))
        fputs(line, stdout);
    if (f)
        fclose(f);
    fflush(stdout);
}

static void sleep_ms(long ms)
{
    const struct timespec t = { 0, ms * 1000000 };

    nanosleep(&t, NULL);
}

static void wait_in_monitor(int vcpu, const char *path)
{
    static char block[1 << 16];
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    run_for(vcpu, 0.1);
    sleep_ms(300);
    run_for(vcpu, 0.1);
    for (int i = 0; i < 200 && fd >= 0; i++)
        if (write(fd, block, sizeof(block)) != sizeof(block) || fdatasync(fd))
            break;
    run_for(vcpu, 0.1);
}

/* Works for 5 ms and sleeps for 5 ms, in turn; the CPU is that of the vCPU's. */
static void *help(void *unused)
{
    const double end = now() + 1.5;

    pthread_setname_np(pthread_self(), "worker");
    sleep_ms(1); /* so that the kernel's figures are brought up to date */
    tell_schedstat();
    while (now() < end) {
        const double rest = now() + 0.005;
        while (now() < rest)
            ;
        sleep_ms(5);
    }
    tell_schedstat();
    return unused;
}

static void with_helper(int vcpu)
{
    pthread_t helper;

    run_for(vcpu, 0.1);
    if (pthread_create(&helper, NULL, help, NULL))
        exit(1);
    run_for(vcpu, 1.8);
    pthread_join(helper, NULL);
}

static void again(int kvm, int n)
{
    for (; n > 0; n--) {
        const int vcpu = make_vcpu(kvm);
        run_for(vcpu, 1);
        add_stats(vcpu, 1);
        close(vcpu);
    }
    sleep_ms(300);
}

int main(int argc, char **argv)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), a = make_vcpu(kvm), b = make_vcpu(kvm);
    pthread_t thread;

    if (argc == 2 && strcmp(argv[1], "seq") == 0) {
        run_for(a, 0.4);
        run_for(b, 0.4);
    } else if (argc == 2 && strcmp(argv[1], "back") == 0) {
        run_for(a, 0.4);
        if (pthread_create(&thread, NULL, run_elsewhere, &a))
            return 1;
        pthread_join(thread, NULL);
        run_for(a, 0.4);
    } else if (argc == 2 && strcmp(argv[1], "helper") == 0) {
        with_helper(make_vcpu(kvm));
    } else if (argc == 3 && strcmp(argv[1], "wait") == 0) {
        wait_in_monitor(make_vcpu(kvm), argv[2]);
    } else if (argc == 3 && strcmp(argv[1], "alt") == 0) {
        for (int n = atoi(argv[2]); n > 0; n--)
            if (ioctl(a, KVM_RUN, 0) || ioctl(b, KVM_RUN, 0))
                return 1;
    } else if (argc == 3 && strcmp(argv[1], "again") == 0) {
        again(kvm, atoi(argv[2]));
    } else if (argc == 2 && strcmp(argv[1], "ports") == 0) {
        return !run_to_halt(kvm, all_ports, sizeof(all_ports));
    } else if (argc == 2 && strcmp(argv[1], "reads") == 0) {
        return !run_to_halt(kvm, reads, sizeof(reads));
    } else {
        fputs("usage: oddvmm seq | back | alt N | again N | wait FILE | helper | ports | reads\n", stderr);
        return 2;
    }
    add_stats(a, 1);
    add_stats(b, 1);
    write_stats();
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hostinfo.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * VT_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

host_ns vt_host_now(void)
{
    return (host_ns){ clock_ns(CLOCK_MONOTONIC) };
}

/* Reads a whole small file; returns its length, 0 if it can't be read. Always terminated. */
size_t vt_slurp(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t n;

    while (fd >= 0 && have < size - 1 && (n = read(fd, buf + have, size - 1 - have)) > 0)
        have += (size_t)n;
    if (fd >= 0)
        close(fd);
    buf[have] = 0;
    return have;
}

static void cpu_model(char *out, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];

    while (f && fgets(line, sizeof(line), f)) {
        char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && value) {
            value[strcspn(value, "\n")] = 0;
            snprintf(out, size, "%s", value + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

/* CPUID 0x40000000: the signature of a hypervisor below this host, if any. */
static void hypervisor(char *out, size_t size)
{
    unsigned a, b, c, d;
    char text[13] = { 0 };

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 31))
        return;
    __cpuid(0x40000000, a, b, c, d);
    memcpy(text, &b, 4);
    memcpy(text + 4, &c, 4);
    memcpy(text + 8, &d, 4);
    for (char *p = text; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    snprintf(out, size, "%s", text);
}

/* CPUID 0x40000001 of KVM, bit 5: KVM_FEATURE_STEAL_TIME (Documentation/virt/kvm/x86/cpuid.rst). */
bool vt_host_is_told_steal(void)
{
    char name[32] = { 0 }, line[4096];
    unsigned a, b, c, d;

    hypervisor(name, sizeof(name));
    if (strncmp(name, "KVMKVMKVM", 9) != 0 ||
        (vt_slurp("/proc/cmdline", line, sizeof(line)) && strstr(line, "no-steal-acc")))
        return false;
    __cpuid(0x40000001, a, b, c, d);
    return a & 1u << 5;
}

enum vt_exit_isa vt_exit_isa_here(void)
{
    struct utsname u;

    if (uname(&u) == 0 && strcmp(u.machine, "aarch64") == 0) /* KVM is built in there */
        return VT_ISA_ARM64;
    if (access("/sys/module/kvm_amd", F_OK) == 0)
        return VT_ISA_SVM;
    return access("/sys/module/kvm_intel", F_OK) == 0 ? VT_ISA_VMX : VT_ISA_NONE;
}

void vt_host_describe(struct vt_host *ret)
{
    struct utsname u;
    struct timespec tick;

    if (uname(&u) == 0) {
        snprintf(ret->kernel, sizeof(ret->kernel), "%.63s", u.release);
        snprintf(ret->hostname, sizeof(ret->hostname), "%.63s", u.nodename);
    }
    cpu_model(ret->cpu, sizeof(ret->cpu));
    hypervisor(ret->hypervisor, sizeof(ret->hypervisor));
    vt_slurp("/sys/devices/system/clocksource/clocksource0/current_clocksource", ret->clocksource,
             sizeof(ret->clocksource));
    ret->clocksource[strcspn(ret->clocksource, "\n")] = 0;
    ret->tsc_stable = strcmp(ret->clocksource, "tsc") == 0;
    ret->exit_isa = vt_exit_isa_here();
    ret->nr_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0) /* its resolution is one tick */
        ret->tick_ns = (uint64_t)tick.tv_nsec;
    ret->realtime_offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
}

/* ---- CPUs ---- */

/* A number in a file of this CPU's; -1 if it isn't there. */
static long cpu_number(const char *sys, uint32_t cpu, const char *file)
{
    char path[256], buf[64];

    snprintf(path, sizeof(path), "%s/cpu%u/%s", sys, cpu, file);
    if (!vt_slurp(path, buf, sizeof(buf)))
        return -1;
    const long n = strtol(buf, NULL, 10); /* of a list "3,7" or "3-4": the first, which is the least */
    return n >= INT32_MIN && n <= INT32_MAX ? n : -1;
}

/* A CPU's folder has a link to that of its node. */
static int32_t cpu_node(const char *sys, uint32_t cpu)
{
    char path[256];
    int32_t node = -1;
    const struct dirent *e;

    snprintf(path, sizeof(path), "%s/cpu%u", sys, cpu);
    DIR *dir = opendir(path);
    while (dir && node < 0 && (e = readdir(dir)))
        if (sscanf(e->d_name, "node%d", &node) != 1)
            node = -1;
    if (dir)
        closedir(dir);
    return node;
}

bool vt_cpu_describe(const char *sys, uint32_t cpu, struct vt_cpu *ret)
{
    long sibling, capacity;

    sys = sys ? sys : VT_CPU_FOLDER;
    if (cpu_number(sys, cpu, "online") == 0) /* CPU 0 may have no such file */
        return false;
    if ((sibling = cpu_number(sys, cpu, "topology/core_cpus_list")) < 0)
        sibling = cpu_number(sys, cpu, "topology/thread_siblings_list"); /* before 5.3 */
    if (sibling < 0)                                                     /* an offline CPU has no topology */
        return false;
    capacity = cpu_number(sys, cpu, "cpu_capacity");
    *ret = (struct vt_cpu){
        .cpu = cpu,
        .core_id = (int32_t)cpu_number(sys, cpu, "topology/core_id"),
        .package = (int32_t)cpu_number(sys, cpu, "topology/physical_package_id"),
        .node = cpu_node(sys, cpu),
        .capacity = capacity > 0 ? (uint32_t)capacity : 0,
        .sibling = (uint32_t)sibling,
    };
    return sibling <= (long)cpu;
}

uint32_t vt_cpu_limit(const char *sys)
{
    char path[256], buf[1024];
    uint32_t limit = 0;

    snprintf(path, sizeof(path), "%s/possible", sys ? sys : VT_CPU_FOLDER);
    vt_slurp(path, buf, sizeof(buf));
    for (char *p = buf, *end; *p >= '0' && *p <= '9'; p = *end ? end + 1 : end) { /* 0-3,8-11 */
        const unsigned long cpu = strtoul(p, &end, 10);
        limit = cpu < VT_MAX_CPUS ? (uint32_t)cpu + 1 : VT_MAX_CPUS;
    }
    return limit;
}

struct vt_clock_pair vt_clock_pair_read(void)
{
    struct vt_clock_pair best = { .bound_ns = UINT64_MAX };

    for (int i = 0; i < 8; i++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC);
        _mm_lfence();
        uint64_t tsc = __rdtsc();
        _mm_lfence();
        uint64_t after = clock_ns(CLOCK_MONOTONIC);
        uint64_t bound = (after - before + 1) / 2;
        if (bound < best.bound_ns)
            best = (struct vt_clock_pair){ { before + (after - before) / 2 }, { tsc }, bound };
    }
    return best;
}

uint32_t vt_tsc_ratio_frac(uint64_t ratio)
{
    if (ratio <= 1) /* a back end without TSC scaling: 1 << 0 (kvm_caps.default_tsc_scaling_ratio) */
        return 0;
    if (ratio == UINT64_C(1) << 48 || vt_exit_isa_here() == VT_ISA_VMX)
        return 48;
    return 32;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
    long hz = sysconf(_SC_CLK_TCK);

    return hz > 0 ? ticks * (VT_NSEC_PER_SEC / (uint64_t)hz) : 0;
}

void vt_observer_read(struct vt_observer *ret)
{
    char buf[4096];
    unsigned long long f[8] = { 0 };
    unsigned long pages = 0;

    ret->at = vt_host_now();
    ret->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (vt_slurp("/proc/self/statm", buf, sizeof(buf)) && sscanf(buf, "%*u %lu", &pages) == 1)
        ret->rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    if (vt_slurp("/proc/stat", buf, sizeof(buf)) && /* cpu user nice system idle iowait irq softirq steal */
        sscanf(buf, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &f[0], &f[1], &f[2], &f[3], &f[4], &f[5],
               &f[6], &f[7]) == 8) {
        ret->host_irq_ns = ticks_to_ns(f[5] + f[6]);
        ret->host_steal_ns = ticks_to_ns(f[7]);
    }
}

/* CLOCK_BOOTTIME - CLOCK_MONOTONIC: time suspended. The tightest of several, for we may lose the CPU in
 * between. */
static uint64_t suspended_ns(void)
{
    uint64_t best = UINT64_MAX, offset = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC), boot = clock_ns(CLOCK_BOOTTIME);
        uint64_t after = clock_ns(CLOCK_MONOTONIC);
        if (after - before < best) {
            best = after - before;
            offset = boot - before - best / 2;
        }
    }
    return offset;
}

static uint64_t start_of(const char *path)
{
    char buf[1024];
    unsigned long long ticks = 0;

    if (!vt_slurp(path, buf, sizeof(buf)))
        return 0;
    char *rest = strrchr(buf, ')'); /* comm may hold anything, parentheses too */
    if (!rest ||
        sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ticks) != 1)
        return 0;
    /* field 22 counts from boot, suspend included */
    return ticks_to_ns(ticks) - suspended_ns();
}

uint64_t vt_process_start(uint32_t tgid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%u/stat", tgid);
    return start_of(path);
}

uint64_t vt_thread_start(uint32_t tgid, uint32_t tid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", tgid, tid);
    return start_of(path);
}

int vt_schedstat_read(uint32_t tgid, uint32_t tid, uint64_t *ret_run_ns, uint64_t *ret_delay_ns)
{
    char path[64], buf[128];
    unsigned long long run, delay;

    snprintf(path, sizeof(path), "/proc/%u/task/%u/schedstat", tgid, tid);
    if (!vt_slurp(path, buf, sizeof(buf)) || sscanf(buf, "%llu %llu", &run, &delay) != 2)
        return -ESRCH;
    *ret_run_ns = run;
    *ret_delay_ns = delay;
    return 0;
}

static void copy_name(char out[VT_VM_NAME_LEN], const char *from, size_t n)
{
    if (n >= VT_VM_NAME_LEN)
        n = VT_VM_NAME_LEN - 1;
    memcpy(out, from, n);
    out[n] = 0;
}

/* QEMU: -name guest=foo,debug-threads=on or -name foo,process=bar */
static bool qemu_name(const char *value, char out[VT_VM_NAME_LEN])
{
    const char *guest = strstr(value, "guest=");

    if (guest)
        value = guest + strlen("guest=");
    copy_name(out, value, strcspn(value, ","));
    return out[0] != 0;
}

bool vt_name_from_arguments(const char *args, size_t n, char out[VT_VM_NAME_LEN])
{
    for (const char *a = args; a < args + n; a += strlen(a) + 1) {
        const char *next = a + strlen(a) + 1;
        if (strncmp(a, "--name=", 7) == 0 || strncmp(a, "umid=", 5) == 0) { /* umid: User Mode Linux */
            const char *name = strchr(a, '=') + 1;
            copy_name(out, name, strlen(name));
            return out[0] != 0;
        }
        if (next >= args + n)
            return false;
        if (strcmp(a, "--name") == 0) {
            copy_name(out, next, strlen(next));
            return out[0] != 0;
        }
        if (strcmp(a, "-name") == 0)
            return qemu_name(next, out);
    }
    return false;
}

void vt_vm_name(uint32_t tgid, const char *fallback_comm, char ret[VT_VM_NAME_LEN])
{
    char path[64], args[8192], comm[32] = { 0 };

    snprintf(path, sizeof(path), "/proc/%u/cmdline", tgid);
    size_t n = vt_slurp(path, args, sizeof(args));
    if (n && vt_name_from_arguments(args, n, ret))
        return;
    snprintf(path, sizeof(path), "/proc/%u/comm", tgid);
    if (vt_slurp(path, comm, sizeof(comm)))
        comm[strcspn(comm, "\n")] = 0;
    else
        snprintf(comm, sizeof(comm), "%s", fallback_comm);
    snprintf(ret, VT_VM_NAME_LEN, "%s/%u", comm, tgid);
}

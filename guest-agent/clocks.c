/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/clocks.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest-agent/procfs.h"
#include "guest-agent/readtext.h"

/*
 * /proc/uptime counts in 10 ms, and NTP's state changes once a second or when it is set: they are not read
 * more often than that.  Slightly less, for views that come each 10 ms.
 */
#define COARSE_NS UINT64_C(9500000)

#ifndef CLOCK_TAI
#define CLOCK_TAI 11
#endif

uint64_t vta_clock_ns(clockid_t clock)
{
    struct timespec t = { 0 };
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void vta_viewer_open(struct vta_viewer *v)
{
    v->uptime_fd = open("/proc/uptime", O_RDONLY | O_CLOEXEC);
    v->narrowest = UINT64_MAX;
}

static const clockid_t clock_ids[VTG_NR_OS_CLOCKS] = {
    [VTG_OS_MONOTONIC] = CLOCK_MONOTONIC,
    [VTG_OS_RAW] = CLOCK_MONOTONIC_RAW,
    [VTG_OS_REALTIME] = CLOCK_REALTIME,
    [VTG_OS_BOOTTIME] = CLOCK_BOOTTIME,
    [VTG_OS_TAI] = CLOCK_TAI,
};

/* False: the thread was moved meanwhile. */
static bool read_clocks(struct vtg_view *view)
{
    struct timespec t[VTG_NR_OS_CLOCKS];
    uint32_t have = 0;
    const int cpu = sched_getcpu();
    view->tsc[0] = vta_tsc();
    for (int i = 0; i < VTG_NR_OS_CLOCKS; i++) {
        t[i] = (struct timespec){ 0 };
        if (clock_gettime(clock_ids[i], &t[i]) == 0)
            have |= 1u << i;
        view->tsc[i + 1] = vta_tsc();
    }
    const bool moved = sched_getcpu() != cpu;
    for (int i = 0; i < VTG_NR_OS_CLOCKS; i++)
        view->ns[i] = (uint64_t)t[i].tv_sec * 1000000000u + (uint64_t)t[i].tv_nsec;
    view->cpu = cpu < 0 ? 0 : (uint32_t)cpu;
    view->have = have;
    return !moved;
}

static void read_ntp(struct vtg_view *view)
{
    struct timex t = { .modes = 0 };
    const int state = adjtimex(&t);
    if (state < 0)
        return;
    view->ntp_offset_ns = t.status & STA_NANO ? t.offset : t.offset * 1000;
    view->ntp_freq = t.freq;
    view->ntp_maxerror_ns = (uint64_t)t.maxerror * 1000;
    view->ntp_esterror_ns = (uint64_t)t.esterror * 1000;
    view->ntp_status = (uint32_t)t.status;
    view->ntp_state = (uint32_t)state;
    view->ntp_tick_us = (uint32_t)t.tick;
    view->tai_offset_s = t.tai;
}

static void read_uptime(const struct vta_viewer *v, struct vtg_view *view)
{
    char text[64];
    const ssize_t n = pread(v->uptime_fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return;
    text[n] = 0;
    vta_parse_uptime(text, &view->uptime_ns, &view->idle_ns);
}

/* In a suspend, too, where the kernel has a clock that does. */
static uint64_t since_boot(const struct vtg_view *view)
{
    return view->ns[vta_view_has(view, VTG_OS_BOOTTIME) ? VTG_OS_BOOTTIME : VTG_OS_MONOTONIC];
}

void vta_viewer_forget(struct vta_viewer *v)
{
    v->coarse.have = 0;
}

/* The last part of a view: what is as it was a moment ago. */
static void read_coarse(struct vta_viewer *v, struct vtg_view *ret)
{
    const size_t head = offsetof(struct vtg_view, uptime_ns);
    if (v->coarse.have && since_boot(ret) - since_boot(&v->coarse) < COARSE_NS) {
        memcpy((char *)ret + head, (const char *)&v->coarse + head, sizeof(*ret) - head);
        return;
    }
    read_ntp(ret);
    read_uptime(v, ret);
    v->coarse = *ret;
}

/*
 * A view during which the vCPU or the thread was set aside is wide: it is read again,
 * twice at most.  Four times the narrowest passes: caches differ from time to time.
 */
void vta_viewer_read(struct vta_viewer *v, struct vtg_view *ret)
{
    uint64_t best = UINT64_MAX;
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < 3; i++) {
        struct vtg_view view = { 0 };
        const bool whole = read_clocks(&view);
        const uint64_t width = view.tsc[VTG_NR_OS_CLOCKS] - view.tsc[0];
        if (i == 0 || (whole && width < best))
            *ret = view;
        if (whole && width < best)
            best = width;
        if (whole && width < v->narrowest)
            v->narrowest = width;
        if (best / 4 <= v->narrowest && best != UINT64_MAX)
            break;
    }
    read_coarse(v, ret);
}

void vta_clocks_read(struct vtg_clocks *ret)
{
    const int cpu = sched_getcpu();
    memset(ret, 0, sizeof(*ret));
    ret->vcpu = cpu < 0 ? 0 : (uint32_t)cpu;
    ret->have = VTG_HAVE_TSC | VTG_HAVE_MONOTONIC;
    ret->tsc_before = vta_tsc();
    ret->monotonic_ns = vta_now_ns();
    ret->tsc_after = vta_tsc();
}

int vta_each_cpu_time(void (*row)(void *context, const struct vtg_cpu_time *cpu), void *context)
{
    char text[4096];
    size_t have = 0;
    const uint32_t hz = vta_user_hz();
    const int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (bool more = true; more;) {
        const ssize_t n = read(fd, text + have, sizeof(text) - 1 - have);
        if (n <= 0)
            break;
        have += (size_t)n;
        text[have] = 0;
        char *line = text, *end;
        for (; more && (end = strchr(line, '\n')); line = end + 1) {
            struct vtg_cpu_time cpu;
            *end = 0;
            more = vta_parse_cpu_time(line, hz, &cpu);
            if (more)
                row(context, &cpu);
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    close(fd);
    return 0;
}

static void take_sum(void *context, const struct vtg_cpu_time *cpu)
{
    if (cpu->cpu == UINT32_MAX)
        *(uint64_t *)context = cpu->steal;
}

uint64_t vta_steal_ns(uint32_t *have)
{
    uint64_t steal = UINT64_MAX;
    if (vta_each_cpu_time(take_sum, &steal) || steal == UINT64_MAX)
        return 0;
    *have |= VTG_HAVE_STEAL;
    return steal;
}

uint32_t vta_user_hz(void)
{
    const unsigned long hz = getauxval(AT_CLKTCK); /* sysconf() of musl says 100 whatever it is */
    return hz ? (uint32_t)hz : 100;
}

/* Leaf 15h: crystal Hz * numerator / denominator; 40000010h: what hypervisors tell, kHz. */
static uint64_t cpuid_tsc_khz(void)
{
    uint32_t a, b, c, d;
    if (__get_cpuid_max(0, NULL) >= 0x15) {
        __cpuid(0x15, a, b, c, d);
        if (a && b && c)
            return (uint64_t)c * b / a / 1000;
    }
    __cpuid(1, a, b, c, d);
    if (!(c >> 31))
        return 0;
    __cpuid(0x40000000, a, b, c, d);
    if (a < 0x40000010)
        return 0;
    __cpuid(0x40000010, a, b, c, d);
    return a;
}

/* perf's own conversion of the TSC, ns = ticks * mult >> shift: offered to whoever counts himself. */
static uint64_t perf_tsc_khz(void)
{
    struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
                                    .size = PERF_ATTR_SIZE_VER0,
                                    .config = PERF_COUNT_SW_DUMMY,
                                    .exclude_kernel = 1,
                                    .exclude_hv = 1 };
    uint64_t khz = 0;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0UL);
    if (fd < 0)
        return 0;
    const struct perf_event_mmap_page *p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) {
        if (p->cap_user_time && p->time_mult)
            khz = (uint64_t)(1e6 * (double)(UINT64_C(1) << p->time_shift) / p->time_mult + 0.5);
        munmap((void *)(uintptr_t)p, page);
    }
    close(fd);
    return khz;
}

/* The CPUID that User Mode Linux sees is its host's, whatever that runs on. */
static bool is_user_mode_linux(void)
{
    char text[256];
    return vta_read_text("/proc/cpuinfo", text, sizeof(text)) > 0 && strstr(text, "User Mode Linux");
}

static void read_hypervisor(char out[16])
{
    uint32_t a, b, c, d;
    if (is_user_mode_linux()) {
        memcpy(out, "UserModeLinux", 14);
        return;
    }
    __cpuid(1, a, b, c, d);
    if (!(c >> 31))
        return;
    __cpuid(0x40000000, a, b, c, d);
    memcpy(out, &b, 4);
    memcpy(out + 4, &c, 4);
    memcpy(out + 8, &d, 4);
}

static uint32_t count_cpus(const char *path)
{
    char text[1024];
    struct vta_cpu_set set;
    if (vta_read_text(path, text, sizeof(text)) <= 0 || !vta_parse_cpu_list(text, &set))
        return 0;
    return vta_cpu_count(&set);
}

static uint32_t or_else(uint32_t n, long other)
{
    return n ? n : other > 0 ? (uint32_t)other : 1;
}

static uint32_t release_number(void)
{
    uint32_t part[2] = { 0, 0 };
    int i = 0;
    for (const char *p = VT_RELEASE; *p && i < 2; p++) {
        if (*p == '.')
            i++;
        else if (*p >= '0' && *p <= '9')
            part[i] = part[i] * 10 + (uint32_t)(*p - '0');
    }
    return part[0] << 16 | part[1];
}

void vta_system_read(struct vtg_system *ret)
{
    struct utsname name;
    char text[64];
    memset(ret, 0, sizeof(*ret));
    if (vta_read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)) > 0)
        vta_parse_uuid(text, ret->boot_id);
    ret->tsc_khz = cpuid_tsc_khz();
    if (!ret->tsc_khz)
        ret->tsc_khz = perf_tsc_khz();
    ret->nr_online = or_else(count_cpus("/sys/devices/system/cpu/online"), sysconf(_SC_NPROCESSORS_ONLN));
    ret->nr_possible = or_else(count_cpus("/sys/devices/system/cpu/possible"), sysconf(_SC_NPROCESSORS_CONF));
    ret->user_hz = vta_user_hz();
    ret->release = release_number();
    if (uname(&name) == 0)
        memcpy(ret->kernel, name.release, strnlen(name.release, sizeof(ret->kernel)));
    const long n = vta_read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                                 ret->clocksource, sizeof(ret->clocksource));
    if (n > 0)
        ret->clocksource[strcspn(ret->clocksource, "\n")] = 0;
    read_hypervisor(ret->hypervisor);
}

uint64_t vta_random(void)
{
    uint64_t v = 0;
    /* GRND_NONBLOCK: early in boot, and before 3.17, the device does */
    if (syscall(SYS_getrandom, &v, sizeof(v), 1) != (long)sizeof(v)) {
        const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, &v, sizeof(v)) != (ssize_t)sizeof(v))
                v = 0;
            close(fd);
        }
    }
    v ^= vta_tsc();
    return v ? v : 1;
}

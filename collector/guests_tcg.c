/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU without KVM whose threads have no names: see guests.h for the rule. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guests_internal.h"
#include "hostinfo.h"

/* What it must have used before it is told which: QEMU's own threads take some milliseconds at the start. */
#define ENOUGH_NS UINT64_C(50000000)

enum { MAX_VCPUS = 4096 };

bool guests_is_qemu(const char *exe)
{
    static const char *const names[] = { "qemu-kvm", "kvm" };
    const char *slash = strrchr(exe, '/'), *name = slash ? slash + 1 : exe;

    if (strncmp(name, "qemu-system-", strlen("qemu-system-")) == 0)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* ---- how many ---- */

/* The number behind "KEY=" in a list "a=1,b=2"; 0: it isn't there. */
static unsigned long number_of(const char *list, const char *key)
{
    const size_t length = strlen(key);

    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, key, length) == 0 && p[length] == '=')
            return strtoul(p + length + 1, NULL, 10);
    return 0;
}

/* -smp [cpus=]N or -smp sockets=S,dies=D,clusters=L,cores=C,threads=T */
static unsigned smp(const char *value)
{
    static const char *const parts[] = { "sockets", "dies", "clusters", "modules", "cores", "threads" };
    unsigned long n = *value >= '0' && *value <= '9' ? strtoul(value, NULL, 10) : number_of(value, "cpus");

    if (!n) {
        n = 1;
        for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
            const unsigned long part = number_of(value, parts[i]);
            n *= part > 0 && part <= MAX_VCPUS ? part : 1;
            n = n <= MAX_VCPUS ? n : MAX_VCPUS;
        }
    }
    return n <= MAX_VCPUS ? (unsigned)n : MAX_VCPUS;
}

unsigned guests_tcg_vcpus(const char *args, size_t n)
{
    unsigned vcpus = 1;
    bool one_thread = false;

    for (const char *a = args; a < args + n; a += strlen(a) + 1) {
        const char *next = a + strlen(a) + 1, *value = next < args + n ? next : "";
        const char *option = a[0] == '-' && a[1] == '-' ? a + 1 : a; /* QEMU takes both */
        if (strcmp(option, "-smp") == 0)
            vcpus = smp(value);
        else if (strcmp(option, "-icount") == 0)
            one_thread = true;
        else if (strcmp(option, "-accel") == 0 && strstr(value, "thread=single"))
            one_thread = true;
    }
    return one_thread || !vcpus ? 1 : vcpus;
}

/* ---- which ---- */

int guests_tcg_choose(const struct guests_thread *threads, size_t n, unsigned *vcpus)
{
    enum { ITS_OWN = 2 };
    uint64_t sum = 0, most = 0;
    int best = -1;

    if (n <= ITS_OWN)
        return -1;
    if (*vcpus > n - ITS_OWN) /* it turns one thread from vCPU to vCPU, or has not made all of them yet */
        *vcpus = 1;
    for (size_t i = ITS_OWN; i < n; i++) {
        sum += threads[i].run_ns;
        if (i + 1 < ITS_OWN + *vcpus)
            continue;
        if (sum > most) {
            most = sum;
            best = (int)(i + 1 - *vcpus);
        }
        sum -= threads[i + 1 - *vcpus].run_ns;
    }
    return most >= ENOUGH_NS ? best : -1;
}

/* ---- a process ---- */

static int by_tid(const void *a, const void *b)
{
    const struct guests_thread *x = a, *y = b;

    return (x->tid > y->tid) - (x->tid < y->tid);
}

/* Its threads in the order of their making. named: one of them has a vCPU's name. */
static size_t read_threads(uint32_t tgid, struct guests_thread *ret, bool *ret_named)
{
    char path[64], comm[32];
    const struct dirent *e;
    size_t n = 0;

    snprintf(path, sizeof(path), "/proc/%u/task", tgid);
    DIR *dir = opendir(path);
    while (dir && n < GUESTS_MAX_THREADS && (e = readdir(dir))) {
        const uint32_t tid = (uint32_t)strtoul(e->d_name, NULL, 10);
        uint64_t delay;
        if (!tid || vt_schedstat_read(tgid, tid, &ret[n].run_ns, &delay))
            continue;
        ret[n++].tid = tid;
        snprintf(path, sizeof(path), "/proc/%u/task/%u/comm", tgid, tid);
        vt_slurp(path, comm, sizeof(comm));
        *ret_named = *ret_named || strstr(comm, "/TCG") || strstr(comm, "/KVM");
    }
    if (dir)
        closedir(dir);
    if (n && tgid <= INT32_MAX)
        qsort(ret, n, sizeof(*ret), by_tid);
    return n;
}

static bool has_kvm(uint32_t tgid)
{
    char path[64], link[512];
    const struct dirent *e;
    bool has = false;

    snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
    DIR *dir = opendir(path);
    while (dir && !has && (e = readdir(dir))) {
        snprintf(link, sizeof(link), "%.32s/%.255s", path, e->d_name);
        char to[64];
        const ssize_t n = readlink(link, to, sizeof(to) - 1);
        to[n > 0 ? n : 0] = 0;
        has = strcmp(to, "/dev/kvm") == 0 || strcmp(to, "anon_inode:kvm-vm") == 0;
    }
    if (dir)
        closedir(dir);
    return has;
}

/* The main thread has not necessarily the least tid: ids wrap around. */
static void main_first(struct guests_thread *threads, size_t n, uint32_t tgid)
{
    size_t at = 0;

    while (at < n && threads[at].tid != tgid)
        at++;
    if (at == 0 || at == n)
        return;
    struct guests_thread first[GUESTS_MAX_THREADS];
    memcpy(first, threads, at * sizeof(*threads)); /* those that wrapped come last */
    memmove(threads, threads + at, (n - at) * sizeof(*threads));
    memcpy(threads + n - at, first, at * sizeof(*threads));
}

int guests_tcg_look(uint32_t tgid, struct guests_list *list)
{
    struct guests_thread threads[GUESTS_MAX_THREADS];
    char path[64], args[16384];
    bool named = false;

    if (has_kvm(tgid))
        return GUESTS_DONE;
    const size_t n = read_threads(tgid, threads, &named);
    if (named || !n || n == GUESTS_MAX_THREADS)
        return GUESTS_DONE;
    main_first(threads, n, tgid);
    snprintf(path, sizeof(path), "/proc/%u/cmdline", tgid);
    unsigned vcpus = guests_tcg_vcpus(args, vt_slurp(path, args, sizeof(args)));
    const int first = guests_tcg_choose(threads, n, &vcpus);
    for (unsigned i = 0; first >= 0 && i < vcpus; i++) {
        const struct vt_wanted w = {
            .tgid = tgid,
            .vm_tgid = tgid,
            .vm_kind = VT_VM_TCG,
            .vm_found = VT_FOUND_BY_USE,
            .index = i,
            .kind = VT_SLOT_THREAD,
        };
        const int e = guests_want(list, threads[(unsigned)first + i].tid, &w);
        if (e)
            return e;
    }
    return first >= 0 ? GUESTS_DONE : GUESTS_NOT_YET;
}

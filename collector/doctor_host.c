/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime doctor: what the host itself tells, and what skews it. */
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "doctor.h"
#include "hostinfo.h"
#include "store/store.h"

void doctor_clock(const struct doctor *d, struct doctor_finding *f)
{
    struct vt_host host = { 0 };
    struct vt_clock_pair pair = vt_clock_pair_read();

    (void)d;
    vt_host_describe(&host);
    doctor_advise(f, "the clock map is refused: guests' TSC and kvmclock can't be set beside true time.",
                  "boot with tsc=reliable if the TSC is known to be good; dmesg | grep -i tsc tells why the "
                  "kernel thinks otherwise.");
    if (host.tsc_stable)
        doctor_found(f, DOCTOR_OK, "the TSC, stable; read together with CLOCK_MONOTONIC within ± %llu ns",
                     (unsigned long long)pair.bound_ns);
    else
        doctor_found(f, DOCTOR_LIMITED, "%s: the kernel does not trust the TSC",
                     host.clocksource[0] ? host.clocksource : "unknown");
}

void doctor_outer_host(const struct doctor *d, struct doctor_finding *f)
{
    struct vt_host host = { 0 };
    struct vt_observer o = { 0 };

    (void)d;
    vt_host_describe(&host);
    vt_observer_read(&o);
    if (!host.hypervisor[0] && !o.host_steal_ns) {
        doctor_found(f, DOCTOR_OK, "no hypervisor below this host");
        return;
    }
    doctor_found(f, DOCTOR_LIMITED, "this host is itself a VM (%s); stolen from it since boot: %.2f s%s",
                 host.hypervisor[0] ? host.hypervisor : "it reports steal", (double)o.host_steal_ns / 1e9,
                 o.host_steal_ns || vt_host_is_told_steal() ? "" : ", which it may not be told");
    doctor_advise(
        f,
        o.host_steal_ns || vt_host_is_told_steal()
            ? "what the outer host takes lies inside used; it is told of each vCPU where this kernel "
              "has CONFIG_PARAVIRT_TIME_ACCOUNTING, else as a sum that widens the bounds."
            : "what the outer host takes can't be known: it lies inside used, unseen.",
        "record on the outer host, or keep it quiet.");
}

static void burn(uint64_t ns)
{
    uint64_t end = vt_host_now().v + ns;

    while (vt_host_now().v < end)
        ;
}

void doctor_schedstat(const struct doctor *d, struct doctor_finding *f)
{
    uint32_t pid = (uint32_t)getpid();
    uint64_t run[2] = { 0 }, delay[2] = { 0 };

    (void)d;
    doctor_advise(
        f, "the independent check of the ledger (run time, run_delay) is left out.",
        "a kernel with CONFIG_SCHED_INFO=y (CONFIG_SCHEDSTATS or CONFIG_TASK_DELAY_ACCT bring it).");
    if (vt_schedstat_read(pid, pid, &run[0], &delay[0])) {
        doctor_found(f, DOCTOR_LIMITED, "/proc/PID/task/TID/schedstat can't be read");
        return;
    }
    burn(2000000);
    sched_yield(); /* the figures are brought up to date at a switch or a tick */
    burn(10000000);
    vt_schedstat_read(pid, pid, &run[1], &delay[1]);
    if (run[1] == run[0])
        doctor_found(f, DOCTOR_LIMITED, "run time stands still: the kernel does not keep it");
    else
        doctor_found(f, DOCTOR_OK, "run time and run_delay are kept, for an independent check");
}

/* ---- what shapes the guests' shares ---- */

/* Where a hierarchy's cpu controller is mounted: "v1 /path", "v2 /path". */
static bool find_cpu_controller(char *where, size_t size)
{
    FILE *file = fopen("/proc/self/mounts", "re");
    char dir[256], type[32], options[512], path[300], controllers[256];
    bool found = false;

    while (file && !found && fscanf(file, "%*s %255s %31s %511s %*d %*d", dir, type, options) == 3) {
        if (strcmp(type, "cgroup") == 0 &&
            (strstr(options, ",cpu,") ||
             (strlen(options) > 4 && strcmp(options + strlen(options) - 4, ",cpu") == 0))) {
            snprintf(where, size, "v1 at %s", dir);
            found = true;
        }
        snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
        if (strcmp(type, "cgroup2") == 0 && doctor_read_line(path, controllers, sizeof(controllers)) &&
            (strncmp(controllers, "cpu ", 4) == 0 || strstr(controllers, " cpu ") ||
             strcmp(controllers, "cpu") == 0)) {
            snprintf(where, size, "v2 at %s", dir);
            found = true;
        }
    }
    if (file)
        fclose(file);
    return found;
}

void doctor_cgroup(const struct doctor *d, struct doctor_finding *f)
{
    char where[300];

    (void)d;
    doctor_advise(f, "no quota can be set here, so THROTTLED will not appear, nor be compared with cpu.stat.",
                  "mount -t cgroup2 cgroup2 /sys/fs/cgroup, and echo +cpu > cgroup.subtree_control.");
    if (find_cpu_controller(where, sizeof(where)))
        doctor_found(f, DOCTOR_OK, "%s", where);
    else
        doctor_found(f, DOCTOR_LIMITED, "no mounted hierarchy has it");
}

void doctor_autogroup(const struct doctor *d, struct doctor_finding *f)
{
    char value[16];

    (void)d;
    doctor_advise(f,
                  "CPU is shared by session, not by thread: of four guests on a CPU, those started from one "
                  "terminal share one part. True, but not what an experiment expects.",
                  "sysctl kernel.sched_autogroup_enabled=0, or start each guest with setsid.");
    if (!doctor_read_line("/proc/sys/kernel/sched_autogroup_enabled", value, sizeof(value)))
        doctor_found(f, DOCTOR_OK, "not in this kernel");
    else if (strcmp(value, "0") == 0)
        doctor_found(f, DOCTOR_OK, "off");
    else
        doctor_found(f, DOCTOR_LIMITED, "on");
}

void doctor_smt(const struct doctor *d, struct doctor_finding *f)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    unsigned shared = 0, known = 0;
    char path[128], list[128];

    (void)d;
    for (long i = 0; i < cpus; i++) {
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list", i);
        if (!doctor_read_line(path, list, sizeof(list)))
            continue;
        known++;
        shared += strpbrk(list, ",-") != NULL;
    }
    doctor_advise(f,
                  "a vCPU whose sibling is busy runs slower while it counts as used: that part of a delay "
                  "is not stolen time and not corrected.",
                  "pin guests to one CPU of each core, or echo off > /sys/devices/system/cpu/smt/control.");
    if (!known)
        doctor_found(f, DOCTOR_UNTRIED, "the topology can't be read");
    else if (shared)
        doctor_found(f, DOCTOR_LIMITED, "%u of %u CPUs share a core with another", shared, known);
    else
        doctor_found(f, DOCTOR_OK, "none of %u CPUs shares a core, as far as this host is told", known);
}

/* ---- room ---- */

void doctor_files(const struct doctor *d, struct doctor_finding *f)
{
    enum { ENOUGH = 512 };
    struct rlimit r;

    (void)d;
    doctor_advise(f, "agents of guests beyond the limit are turned away.", "ulimit -n 4096.");
    if (getrlimit(RLIMIT_NOFILE, &r))
        doctor_found(f, DOCTOR_UNTRIED, "%s", strerror(errno));
    else
        doctor_found(f, r.rlim_cur >= ENOUGH ? DOCTOR_OK : DOCTOR_LIMITED, "%llu at once",
                     (unsigned long long)r.rlim_cur);
}

/* Creates, commits and removes a recording. */
static int try_store(struct vt_err *err)
{
    static const char *const suffixes[] = { "", "-wal", "-shm" };
    struct vt_store *store = NULL;
    char path[64], name[80];
    int r;

    snprintf(path, sizeof(path), ".vtime-doctor-%d.vt", (int)getpid());
    r = vt_store_create(path, false, &store, err);
    if (!r) {
        struct vt_clock_pair pair = vt_clock_pair_read();
        r = vt_store_put_clock_pair(store, &pair, err);
        r = r ? r : vt_store_commit(store, err);
    }
    vt_store_close(store);
    for (size_t i = 0; r != -EEXIST && i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
    return r;
}

void doctor_storage(const struct doctor *d, struct doctor_finding *f)
{
    enum { ENOUGH_MIB = 1024 };
    struct vt_err err = { "" };
    struct statvfs v = { 0 };
    double mib = statvfs(".", &v) ? 0 : (double)v.f_bavail * (double)v.f_frsize / 1048576.;

    (void)d;
    if (try_store(&err)) {
        doctor_found(f, DOCTOR_LIMITED, "%s", err.text);
        doctor_advise(f, "nothing can be recorded into this directory.", "vtime record -o ELSEWHERE.vt.");
        return;
    }
    doctor_found(f, mib >= ENOUGH_MIB ? DOCTOR_OK : DOCTOR_LIMITED,
                 "a recording can be made here; %.1f GiB are free", mib / 1024.);
    doctor_advise(f, "a long recording may fill the disk; it then ends, and keeps what it has.",
                  "vtime record -o ELSEWHERE.vt, or make room.");
}

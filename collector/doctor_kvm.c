/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime doctor: what KVM offers, and a test guest of our own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "doctor.h"

enum { PAGE = 4096, CODE_AT = 0x1000, TRIAL_MS = 400, STEP_MS = 5 };

/*
 * Real mode: a port (out %al, $0x80), an address without memory (mov %al, 0x3000), an
 * MSR (mov $0x1b, %ecx; rdmsr: the APIC's base, which is never passed through); then hlt,
 * and a jump back to that.
 */
static const unsigned char code[] = { 0xe6, 0x80, 0xa2, 0x00, 0x30, 0x66, 0xb9, 0x1b,
                                      0x00, 0x00, 0x00, 0x0f, 0x32, 0xf4, 0xeb, 0xfd };

/* How a failed step of the child travels to its parent. */
struct report {
    int error;
    char step[48];
};

static void sleep_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

/* ---- the child: a thread that moves about, then a vCPU that halts ---- */

static void visit_cpus(void)
{
    cpu_set_t all, one;

    if (sched_getaffinity(0, sizeof(all), &all))
        return;
    for (size_t cpu = 0, left = 4; cpu < CPU_SETSIZE && left > 0; cpu++) {
        if (!CPU_ISSET(cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof(one), &one);
        left--;
    }
    sched_setaffinity(0, sizeof(all), &all);
}

static int set_registers(int vcpu)
{
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    struct kvm_sregs sregs;

    if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
        return -1;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    return ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs) ? -1 : 0;
}

/* Returns the step that failed, errno telling why; does not return once the guest halts. */
static const char *run_guest(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = { .guest_phys_addr = CODE_AT, .memory_size = PAGE };

    if (kvm < 0)
        return "open /dev/kvm";
    if ((vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
        return "KVM_CREATE_VM";
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0)) /* so that HLT blocks in the kernel */
        return "KVM_CREATE_IRQCHIP";
    if (page == MAP_FAILED)
        return "mmap";
    memcpy(page, code, sizeof(code));
    region.userspace_addr = (unsigned long)page;
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
        return "KVM_SET_USER_MEMORY_REGION";
    if ((vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0)
        return "KVM_CREATE_VCPU";
    if (set_registers(vcpu))
        return "KVM_SET_SREGS";
    for (;;)
        if (ioctl(vcpu, KVM_RUN, 0))
            return "KVM_RUN";
}

static _Noreturn void child(int report_fd, pid_t parent)
{
    struct report r = { 0 };
    const char *step;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    visit_cpus();
    sleep_ms(1);
    step = run_guest();
    r.error = errno ? errno : EIO;
    snprintf(r.step, sizeof(r.step), "%s", step);
    _exit(write(report_fd, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
}

/* ---- the parent: watches it as the ledger does ---- */

static bool find_slot(const struct doctor *d, pid_t pid, struct vt_slot *ret)
{
    for (uint32_t i = 0; i < vt_probes_slots(d->probes); i++) {
        struct vt_slot s;
        if (vt_probes_read(d->probes, i, &s) && s.tgid == (uint32_t)pid) {
            *ret = s;
            return true;
        }
    }
    return false;
}

static void watch(struct doctor *d, pid_t pid, int report_fd)
{
    struct doctor_trial *t = &d->trial;
    struct report r;

    for (int ms = 0; ms < TRIAL_MS && !t->halted; ms += STEP_MS) {
        sleep_ms(STEP_MS);
        if (read(report_fd, &r, sizeof(r)) == sizeof(r)) {
            t->kvm_error = r.error;
            snprintf(t->failed, sizeof(t->failed), "%.47s", r.step);
            return;
        }
        t->halted = find_slot(d, pid, &t->slot) && t->slot.state == VT_HALTED;
    }
    sleep_ms(STEP_MS);
}

void doctor_try_guest(struct doctor *d)
{
    struct doctor_trial *t = &d->trial;
    pid_t parent = getpid(), pid;
    int report[2];

    if (pipe2(report, O_CLOEXEC | O_NONBLOCK))
        return;
    pid = fork();
    if (pid == 0)
        child(report[1], parent);
    if (pid > 0) {
        watch(d, pid, report[0]);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        sleep_ms(1); /* its last switch comes after it can be waited for */
        t->seen = find_slot(d, pid, &t->slot);
        for (unsigned c = 0; c < VT_NR_PROBE_CLASSES; c++)
            t->runs[c] = vt_probes_class_runs(d->probes, c);
        d->tried = true;
    }
    close(report[0]);
    close(report[1]);
}

/* ---- checks ---- */

void doctor_kvm(const struct doctor *d, struct doctor_finding *f)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1, error = errno;

    doctor_advise(f, "no KVM guest runs here and none of our own: vtime demo runs in the testbed instead.",
                  error == EACCES   ? "run as root, or join the group kvm."
                  : error == ENOENT ? "switch virtualization on in the firmware and modprobe kvm_intel or "
                                      "kvm_amd; in a VM, have its host allow nesting."
                                    : "dmesg | grep -i kvm tells why.");
    if (kvm < 0) {
        doctor_found(f, error == EACCES ? DOCTOR_UNTRIED : DOCTOR_MISSING, "cannot be opened: %s",
                     strerror(error));
        return;
    }
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        doctor_found(f, DOCTOR_MISSING, "opens, but creates no VM: %s", strerror(errno));
    else if (d->trial.kvm_error)
        doctor_found(f, DOCTOR_LIMITED, "creates a VM, but a test guest did not run: %s: %s", d->trial.failed,
                     strerror(d->trial.kvm_error));
    else
        doctor_found(f, DOCTOR_OK, "API %d, creates a VM%s", ioctl(kvm, KVM_GET_API_VERSION, 0),
                     d->tried ? ", runs a test guest" : "");
    if (vm >= 0)
        close(vm);
    close(kvm);
}

/* "kvm_intel", "kvm_amd" or another vendor part that is there besides kvm itself. */
static bool back_end_module(char *name, size_t size)
{
    DIR *dir = opendir("/sys/module");
    const struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir)))
        if (strncmp(e->d_name, "kvm_", 4) == 0 || strncmp(e->d_name, "kvm-", 4) == 0) {
            snprintf(name, size, "%.60s", e->d_name);
            found = true;
        }
    if (dir)
        closedir(dir);
    return found;
}

static bool cpu_has(const char *flag)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char *line = NULL;
    size_t size = 0;
    bool has = false;

    while (file && getline(&line, &size, file) > 0) {
        if (strncmp(line, "flags", 5) != 0)
            continue;
        for (const char *at = line; !has && (at = strstr(at, flag)); at++)
            has = at[-1] == ' ' && (at[strlen(flag)] == ' ' || at[strlen(flag)] == '\n');
        break;
    }
    free(line);
    if (file)
        fclose(file);
    return has;
}

void doctor_back_end(const struct doctor *d, struct doctor_finding *f)
{
    const char *hardware = cpu_has("vmx") ? "VMX" : cpu_has("svm") ? "SVM" : NULL;
    char module[64] = "";
    bool there = back_end_module(module, sizeof(module));

    (void)d;
    doctor_advise(f,
                  "guests enter and leave by another path: events, exits and TSC scaling may differ, see "
                  "the probes; code at CPL 0 may be slow.",
                  "a host with VMX or SVM, or, in a VM, nesting allowed by its host.");
    if (access("/dev/kvm", F_OK))
        doctor_found(f, DOCTOR_UNTRIED, "%s of this CPU, no /dev/kvm",
                     hardware ? hardware : "neither VMX nor SVM");
    else if (hardware && (!there || strcmp(module, "kvm_intel") == 0 || strcmp(module, "kvm_amd") == 0))
        doctor_found(f, DOCTOR_OK, "%s%s%s", hardware, there ? ", " : "", module);
    else
        doctor_found(f, DOCTOR_LIMITED, "%s; the CPU offers %s", there ? module : "unknown",
                     hardware ? hardware : "neither VMX nor SVM");
}

void doctor_halted(const struct doctor *d, struct doctor_finding *f)
{
    doctor_advise(f, "an idle guest shows BLOCKED (stalled), not HALTED (idle).",
                  "a kernel of 5.17 or later, with KVM's BTF (vcpu->stat.generic.blocking).");
    if (!d->trial.seen)
        doctor_found(f, DOCTOR_UNTRIED, "no test guest that the ledger saw");
    else if (d->trial.kvm_error)
        doctor_found(f, DOCTOR_UNTRIED, "the test guest failed at %s", d->trial.failed);
    else if (d->trial.halted)
        doctor_found(f, DOCTOR_OK, "told: a test guest in HLT was seen HALTED for %.1f ms",
                     (double)d->trial.slot.ns[VT_HALTED] / 1e6);
    else
        doctor_found(f, DOCTOR_LIMITED, "a test guest in HLT was not seen HALTED");
}

void doctor_halt_poll(const struct doctor *d, struct doctor_finding *f)
{
    char value[32];
    bool poll_known = d->tried && d->trial.runs[VT_PROBE_HALT];

    doctor_advise(f, "up to so much of each idle period is spent on CPU.", NULL);
    if (!doctor_read_line("/sys/module/kvm/parameters/halt_poll_ns", value, sizeof(value)))
        doctor_found(f, DOCTOR_UNTRIED, "no /sys/module/kvm/parameters/halt_poll_ns: is kvm loaded?");
    else if (poll_known || strcmp(value, "0") == 0)
        doctor_found(f, DOCTOR_OK, "%s ns at most%s", value, poll_known ? ", told as POLL" : "");
    else if (!d->tried)
        doctor_found(f, DOCTOR_UNTRIED, "%s ns at most; whether POLL is told was not tried", value);
    else {
        doctor_found(f, DOCTOR_LIMITED, "%s ns at most, and not known to be told as POLL", value);
        doctor_advise(f, "up to so much of each idle period may count as used or overhead.",
                      "echo 0 > /sys/module/kvm/parameters/halt_poll_ns ends polling.");
    }
}

void doctor_kvm_stats(const struct doctor *d, struct doctor_finding *f)
{
    const size_t nr = d->probes ? vt_probes_kvm_stats(d->probes)->nr : 0;

    doctor_advise(f, "KVM's own counters are not recorded: no exits at all where exit events do not fire.",
                  "a kernel of 5.14 or later.");
    if (!d->probes)
        doctor_found(f, DOCTOR_UNTRIED, "the ledger does not load");
    else if (!nr)
        doctor_found(f, DOCTOR_LIMITED,
                     "KVM does not describe them (KVM_GET_STATS_FD), or they can't be read");
    else
        doctor_found(f, DOCTOR_OK, "%zu counters of each vCPU are read", nr);
}

void doctor_kvm_debugfs(const struct doctor *d, struct doctor_finding *f)
{
    DIR *dir = opendir("/sys/kernel/debug/kvm");
    unsigned files = 0;

    (void)d;
    doctor_advise(f, "no figure depends on it; KVM's counters of other monitors' VMs can't be compared.",
                  "mount -t debugfs debugfs /sys/kernel/debug, as root.");
    if (!dir) {
        doctor_found(f, errno == EACCES ? DOCTOR_UNTRIED : DOCTOR_LIMITED, "/sys/kernel/debug/kvm: %s",
                     strerror(errno));
        return;
    }
    for (const struct dirent *e; (e = readdir(dir));)
        files += e->d_name[0] != '.';
    closedir(dir);
    doctor_found(f, DOCTOR_OK, "/sys/kernel/debug/kvm has %u entries", files);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-exitcost ROUNDS: what the ledger costs an exit of a guest and its entry,
 * also where these events don't fire: this thread runs a vCPU, so that the
 * ledger has it, and then the programs' twins are run in it in turn.  Prints a
 * line a round: nanoseconds of a pair, by the kernel's own count of run time
 * (bpf_enable_stats), less that of a program that does nothing, which is the
 * counting's.  Where KVM has neither VMX nor SVM, the hardware's reason of the
 * exit is not read, which it is elsewhere.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/cells.h"
#include "ledger.skel.h"
#include "vt/ledger.h"

enum { PAIRS = 20000 };

static struct vt_slot *slot;

static int fail(const char *what)
{
    fprintf(stderr, "bench-exitcost: %s: %s\n", what, strerror(errno));
    return 1;
}

static struct ledger_bpf *load(void)
{
    static const char *const wanted[] = { "on_kvm_fpu", "twin_kvm_entry", "twin_kvm_exit" };
    struct ledger_bpf *bpf = ledger_bpf__open();
    struct bpf_program *prog;
    const uint32_t first = 0;

    if (!bpf)
        return NULL;
    bpf_object__for_each_program(prog, bpf->obj)
    {
        bool is_wanted = false;
        for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
            is_wanted = is_wanted || strcmp(bpf_program__name(prog), wanted[i]) == 0;
        bpf_program__set_autoload(prog, is_wanted);
    }
    if (ledger_bpf__load(bpf) ||
        bpf_map_update_elem(bpf_map__fd(bpf->maps.free_slots), NULL, &first, BPF_ANY))
        return NULL;
    bpf->bss->armed = bpf->bss->split = true;
    void *slots = mmap(NULL, sizeof(*slot) * VT_MAX_SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED,
                       bpf_map__fd(bpf->maps.slots), 0);
    if (slots == MAP_FAILED)
        return NULL;
    slot = slots;
    return bpf;
}

/* KVM_RUN that returns at once: the ledger sees its begin, and that this thread has a vCPU. */
static bool run_vcpu(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
    int bytes = vcpu < 0 ? -1 : ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run =
        bytes < 0 ? MAP_FAILED : mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

    if (run == MAP_FAILED)
        return false;
    run->immediate_exit = 1;
    return ioctl(vcpu, KVM_RUN, 0) < 0 && errno == EINTR; /* the vCPU stays: its programs read in it */
}

static int empty_program(void)
{
    static const struct bpf_insn insns[] = {
        { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
        { .code = BPF_JMP | BPF_EXIT },
    };

    return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "nothing", "GPL", insns, 2, NULL);
}

/* Run time of a program so far, as the kernel counts it. */
static double run_ns(int prog)
{
    struct bpf_prog_info info = { 0 };
    uint32_t len = sizeof(info);

    return bpf_obj_get_info_by_fd(prog, &info, &len) ? 0 : (double)info.run_time_ns;
}

static double pair_ns(int exit, int entry, int nothing)
{
    LIBBPF_OPTS(bpf_test_run_opts, o);
    double before = run_ns(exit) + run_ns(entry) - 2 * run_ns(nothing);

    for (int i = 0; i < PAIRS; i++)
        if (bpf_prog_test_run_opts(exit, &o) || bpf_prog_test_run_opts(entry, &o) ||
            bpf_prog_test_run_opts(nothing, &o))
            return -1;
    return (run_ns(exit) + run_ns(entry) - 2 * run_ns(nothing) - before) / PAIRS;
}

int main(int argc, char **argv)
{
    const long rounds = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    struct ledger_bpf *bpf;
    cpu_set_t set;
    int nothing;

    if (rounds < 1) {
        fputs("usage: bench-exitcost ROUNDS\n", stderr);
        return 2;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    if (sched_setaffinity(0, sizeof(set), &set) || !(bpf = load()) || (nothing = empty_program()) < 0)
        return fail("the ledger's programs were refused");
    struct bpf_link *link = bpf_program__attach(bpf->progs.on_kvm_fpu);
    if (!link || !run_vcpu() || slot->tid != (uint32_t)gettid())
        return fail("no vCPU of our own");
    bpf_link__destroy(link);
    if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
        return fail("bpf_enable_stats");
    slot->mode = slot->state = VT_GUEST; /* as if it were inside KVM_RUN still, and had entered */
    const uint64_t exits = slot->exits;
    for (long i = 0; i < rounds; i++)
        printf("%.1f\n", pair_ns(bpf_program__fd(bpf->progs.twin_kvm_exit),
                                 bpf_program__fd(bpf->progs.twin_kvm_entry), nothing));
    for (unsigned i = 0; i < VT_NR_DESYNC; i++)
        if (slot->desync[i]) /* then it was not the way of a sound exit that was timed */
            return fail("the ledger refused an edge");
    return slot->exits - exits == (uint64_t)rounds * PAIRS ? 0 : fail("exits are missing");
}

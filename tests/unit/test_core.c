/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger's CO-RE relocations against the kernels of tests/core/: libbpf
 * itself relocates the programs for each, without root and without that kernel.
 * Its bpf() calls end in this file, where the finished instructions are read: a
 * relocation that found no field left an invalid instruction, which must not be
 * reachable (behind bpf_core_field_exists() it is not).
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/cells.h"
#include "ledger.skel.h"

/* Helper number that libbpf's relocation puts where there is no field. */
#define BAD_RELOCATION 195896080

enum { NR_REGS = 11, MAX_PROGRAMS = 64 };

/* What the bpf() below saw; one load at a time. */
static struct {
    int programs;          /* loaded with instructions of ours */
    int refused;           /* of them: a bad relocation can be reached */
    char wanted[128];      /* field or type of the relocation under way */
    char missing[32][128]; /* those that found nothing, once each */
    size_t nr_missing;
    char complaint[1024]; /* for who reads the test's failure */
} seen;

/* ---- which instructions can be reached ---- */

/* What is known of the registers before an instruction. */
struct known {
    bool reached;
    bool is[NR_REGS];
    uint64_t value[NR_REGS];
};

struct reach {
    const struct bpf_insn *insns;
    int count;
    struct known *at;
    bool changed;
};

static void flow(struct reach *r, int to, const struct known *from)
{
    if (to < 0 || to >= r->count)
        return;
    struct known *k = &r->at[to];
    if (!k->reached) {
        *k = *from;
        k->reached = r->changed = true;
        return;
    }
    for (int i = 0; i < NR_REGS; i++)
        if (k->is[i] && (!from->is[i] || from->value[i] != k->value[i])) {
            k->is[i] = false;
            r->changed = true;
        }
}

/* A function's first instruction: nothing is known there. */
static void flow_to_function(struct reach *r, int to)
{
    const struct known nothing = { .reached = true };

    flow(r, to, &nothing);
}

static bool operand(const struct bpf_insn *i, const struct known *k, uint64_t *ret)
{
    *ret = (uint64_t)(int64_t)i->imm;
    if (BPF_SRC(i->code) == BPF_K)
        return true;
    *ret = k->value[i->src_reg];
    return k->is[i->src_reg];
}

static bool compute(uint8_t op, uint64_t a, uint64_t b, uint64_t *ret)
{
    switch (op) {
    case BPF_MOV:
        *ret = b;
        return true;
    case BPF_ADD:
        *ret = a + b;
        return true;
    case BPF_AND:
        *ret = a & b;
        return true;
    case BPF_OR:
        *ret = a | b;
        return true;
    case BPF_XOR:
        *ret = a ^ b;
        return true;
    default:
        return false;
    }
}

static void step_alu(const struct bpf_insn *i, struct known *k)
{
    const uint8_t op = BPF_OP(i->code);
    const bool wide = BPF_CLASS(i->code) == BPF_ALU64;
    uint64_t b, result = 0;
    bool known = operand(i, k, &b) && (op == BPF_MOV || k->is[i->dst_reg]);

    known = known && compute(op, k->value[i->dst_reg], b, &result);
    k->is[i->dst_reg] = known;
    k->value[i->dst_reg] = known ? (wide ? result : (uint32_t)result) : 0;
}

/* 1 the jump is taken, 0 it is not, -1 it may be */
static int taken(const struct bpf_insn *i, const struct known *k)
{
    uint64_t b, a = k->value[i->dst_reg];

    if (!operand(i, k, &b) || !k->is[i->dst_reg])
        return -1;
    if (BPF_CLASS(i->code) == BPF_JMP32) {
        a = (uint32_t)a;
        b = (uint32_t)b;
    }
    switch (BPF_OP(i->code)) {
    case BPF_JEQ:
        return a == b;
    case BPF_JNE:
        return a != b;
    case BPF_JSET:
        return (a & b) != 0;
    case BPF_JGT:
        return a > b;
    case BPF_JLT:
        return a < b;
    default:
        return -1;
    }
}

static void step_jump(struct reach *r, int at, struct known *k)
{
    const struct bpf_insn *i = &r->insns[at];

    if (BPF_OP(i->code) == BPF_EXIT)
        return;
    if (BPF_OP(i->code) == BPF_CALL) {
        if (i->src_reg == BPF_PSEUDO_CALL)
            flow_to_function(r, at + 1 + i->imm);
        memset(k->is, 0, 6 * sizeof(k->is[0])); /* r0 to r5 */
        flow(r, at + 1, k);
        return;
    }
    const int t = BPF_OP(i->code) == BPF_JA ? 1 : taken(i, k);
    if (t != 0)
        flow(r, at + 1 + i->off, k);
    if (t != 1)
        flow(r, at + 1, k);
}

static void step(struct reach *r, int at)
{
    const struct bpf_insn *i = &r->insns[at];
    struct known k = r->at[at];

    switch (BPF_CLASS(i->code)) {
    case BPF_JMP:
    case BPF_JMP32:
        step_jump(r, at, &k);
        return;
    case BPF_ALU:
    case BPF_ALU64:
        step_alu(i, &k);
        break;
    case BPF_LDX:
        k.is[i->dst_reg] = false;
        break;
    case BPF_LD:
        k.is[i->dst_reg] = false;
        if (i->src_reg == BPF_PSEUDO_FUNC)
            flow_to_function(r, at + 1 + i->imm);
        flow(r, at + 2, &k);
        return;
    case BPF_STX: /* an atomic one may fetch */
        k.is[0] = k.is[i->src_reg] = BPF_MODE(i->code) == BPF_ATOMIC ? false : k.is[i->src_reg];
        break;
    }
    flow(r, at + 1, &k);
}

/* The first instruction that can be reached and is a relocation that found nothing; -1: none. */
static int reachable_bad(const struct bpf_insn *insns, int count)
{
    struct reach r = { .insns = insns, .count = count, .at = calloc((size_t)count, sizeof(struct known)) };
    int bad = -1;

    assert_non_null(r.at);
    flow_to_function(&r, 0);
    while (r.changed) {
        r.changed = false;
        for (int i = 0; i < count; i++)
            if (r.at[i].reached)
                step(&r, i);
    }
    for (int i = count; i-- > 0;)
        if (r.at[i].reached && insns[i].code == (BPF_JMP | BPF_CALL) && !insns[i].src_reg &&
            insns[i].imm >= BAD_RELOCATION && insns[i].imm < BAD_RELOCATION + 100000)
            bad = i;
    free(r.at);
    return bad;
}

/* ---- the kernel that libbpf sees ---- */

static void judge(const union bpf_attr *attr)
{
    const struct bpf_insn *insns = (const struct bpf_insn *)(uintptr_t)attr->insns;
    const int bad = reachable_bad(insns, (int)attr->insn_cnt);
    const size_t used = strlen(seen.complaint);

    seen.programs++;
    if (bad < 0)
        return;
    seen.refused++;
    snprintf(seen.complaint + used, sizeof(seen.complaint) - used, "%s: instruction %d\n", attr->prog_name,
             bad);
}

static long fake_bpf(int command, const union bpf_attr *attr)
{
    switch (command) {
    case BPF_PROG_LOAD:
        if (strncmp(attr->prog_name, "on_", 3) == 0 || attr->insn_cnt > 16)
            judge(attr);
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    case BPF_MAP_CREATE:
    case BPF_BTF_LOAD:
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    default:
        return 0;
    }
}

/* Stands before libc's: libbpf calls bpf() by it. */
long syscall(long number, ...)
{
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_bpf)
        return fake_bpf((int)a[0], (const union bpf_attr *)a[1]);
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void note_missing(void)
{
    for (size_t i = 0; i < seen.nr_missing; i++)
        if (strcmp(seen.missing[i], seen.wanted) == 0)
            return;
    assert_true(seen.nr_missing < sizeof(seen.missing) / sizeof(*seen.missing));
    memcpy(seen.missing[seen.nr_missing++], seen.wanted, sizeof(seen.wanted));
}

/*
 * What libbpf says of a relocation: "…relo #1: <byte_off> [12] struct a.b.c (0:1 @ offset 8)",
 * then "…relo #1: no matching targets found", or of its candidates.
 */
static int hear(enum libbpf_print_level level, const char *format, va_list args)
{
    char line[512];
    const char *kind, *name;

    (void)level;
    vsnprintf(line, sizeof(line), format, args);
    kind = strstr(line, ": <");
    name = kind ? strstr(kind, "] ") : NULL;
    if (name && strstr(line, " relo #") && !strstr(line, "candidate")) {
        name = strchr(name + 2, ' ') ? strchr(name + 2, ' ') + 1 : name + 2; /* behind "struct" */
        snprintf(seen.wanted, sizeof(seen.wanted), "%.*s", (int)strcspn(name, " \n"), name);
    }
    if (strstr(line, "no matching targets found"))
        note_missing();
    return 0;
}

/* ---- kernels ---- */

struct kernel {
    const char *path;
    const char *const *lacks; /* what the programs ask for and do without, NULL-ended */
};

static const char *const lacks_6_1[] = {
    "cfs_rq___self.throttled_clock_self",
    "cfs_rq___self.throttled_clock_self_time",
    "sched_entity___delayed.sched_delayed",
    "task_struct___throttled.throttled",
    "task_struct___before_516.cpu",
    "vcpu_vmx___616.vt",
    "vcpu_vmx___616.vt.exit_reason.full",
    "rq.prev_steal_time_rq",
    NULL,
};
static const char *const lacks_6_12[] = {
    "task_struct___throttled.throttled",  "task_struct___before_516.cpu", "vcpu_vmx___616.vt",
    "vcpu_vmx___616.vt.exit_reason.full", "rq.prev_steal_time_rq",        NULL,
};
static const char *const lacks_6_18[] = {
    /* it has neither VMX nor SVM */
    "task_struct___before_516.cpu",
    "vcpu_svm.vmcb",
    "vmcb.control.exit_code",
    "vcpu_vmx.exit_reason",
    "vcpu_vmx.exit_reason.full",
    "vcpu_vmx___616.vt",
    "vcpu_vmx___616.vt.exit_reason.full",
    NULL,
};
static const struct kernel kernels[] = {
    { "tests/core/linux-6.1-debian.btf", lacks_6_1 },
    { "tests/core/linux-6.12-debian.btf", lacks_6_12 },
    { "tests/core/linux-6.18.btf", lacks_6_18 },
};
enum { NR_KERNELS = sizeof(kernels) / sizeof(*kernels) };

/* Relocates and "loads" every program for the kernel at path: how many can't run there. */
static int load_for(const char *path)
{
    size_t size;
    const void *elf = ledger_bpf__elf_bytes(&size);
    const struct bpf_object_open_opts options = { .sz = sizeof(options), .btf_custom_path = path };
    struct bpf_object *object = bpf_object__open_mem(elf, size, &options);
    struct bpf_program *p;
    int programs = 0;

    assert_non_null(object);
    memset(&seen, 0, sizeof(seen));
    bpf_object__for_each_program(p, object) programs += bpf_program__type(p) == BPF_PROG_TYPE_RAW_TRACEPOINT;
    assert_int_equal(bpf_object__load(object), 0);
    assert_int_equal(seen.programs, programs);
    bpf_object__close(object);
    return seen.refused;
}

static bool is_in(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static void test_every_program_finds_its_fields_in_every_kernel(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_KERNELS; i++)
        if (load_for(kernels[i].path))
            fail_msg("%s:\n%s", kernels[i].path, seen.complaint);
}

static void test_each_kernel_lacks_what_it_is_known_to_lack_and_no_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_KERNELS; i++) {
        size_t known = 0;
        load_for(kernels[i].path);
        for (; kernels[i].lacks[known]; known++)
            ;
        for (size_t j = 0; j < seen.nr_missing; j++)
            if (!is_in(kernels[i].lacks, seen.missing[j]))
                fail_msg("%s has no %s", kernels[i].path, seen.missing[j]);
        assert_int_equal(seen.nr_missing, known);
    }
}

/* ---- tracepoints ---- */

/* The form that collector/probes.c and the programs count on; arguments after the context. */
static const struct {
    const char *name;
    int least;
    int pointers; /* a bit per argument that must be a pointer */
} tracepoints[] = {
    { "sched_switch", 4, 1 << 1 | 1 << 2 },
    { "sched_wakeup", 1, 1 },
    { "sched_wakeup_new", 1, 1 },
    { "sched_migrate_task", 2, 1 },
    { "sched_process_exit", 1, 1 },
    { "sched_process_fork", 2, 1 | 1 << 1 },
    { "sched_process_exec", 1, 1 },
    { "task_rename", 2, 1 | 1 << 1 },
    { "cgroup_attach_task", 4, 1 | 1 << 1 | 1 << 2 }, /* to, path, task, all threads */
    { "hrtimer_expire_entry", 1, 1 },
    { "hrtimer_start", 1, 1 },
    { "kvm_fpu", 1, 0 },
    { "kvm_entry", 1, 1 },
    { "kvm_exit", 1, 1 },
    { "kvm_vcpu_wakeup", 2, 0 },
    { "kvm_pio", 5, 1 << 4 },  /* is_out, port, size, count, data */
    { "kvm_mmio", 4, 1 << 3 }, /* type, length, address, data */
    { "kvm_fast_mmio", 1, 0 }, /* address */
    { "kvm_msr", 4, 0 },       /* is_write, msr, data, exception */
};

static const struct btf_type *proto_of(const struct btf *btf, const char *tracepoint)
{
    char name[64];

    snprintf(name, sizeof(name), "btf_trace_%s", tracepoint);
    int id = btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF);
    const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
    t = t ? btf__type_by_id(btf, t->type) : NULL;
    return t ? btf__type_by_id(btf, t->type) : NULL;
}

static void test_every_tracepoint_has_the_form_that_its_program_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_KERNELS; i++) {
        struct btf *btf = btf__parse(kernels[i].path, NULL);
        assert_non_null(btf);
        for (size_t j = 0; j < sizeof(tracepoints) / sizeof(*tracepoints); j++) {
            const struct btf_type *proto = proto_of(btf, tracepoints[j].name);
            if (!proto || btf_vlen(proto) < 1 + tracepoints[j].least)
                fail_msg("%s: %s is not as expected", kernels[i].path, tracepoints[j].name);
            for (int a = 0; a < tracepoints[j].least; a++)
                if (tracepoints[j].pointers & 1 << a)
                    assert_true(btf_is_ptr(btf__type_by_id(btf, btf_params(proto)[1 + a].type)));
        }
        btf__free(btf);
    }
}

/* ---- control: a kernel without a field ---- */

/* Is this type the one before the dot, or without a name, as a part of it may be? */
static bool may_have(const struct btf *btf, const struct btf_type *t, const char *field)
{
    const char *name = btf__name_by_offset(btf, t->name_off);
    const size_t length = strlen(name);

    return btf_is_composite(t) && (!length || (strncmp(field, name, length) == 0 && field[length] == '.'));
}

/* Renames the field ("structure.member") in the BTF at path; false: it has none. */
static bool write_without(const char *path, const char *field, const char *to)
{
    struct btf *btf = btf__parse(path, NULL);
    assert_non_null(btf);
    int other = btf__add_str(btf, "gone_"), found = 0;
    assert_true(other > 0);
    for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
        struct btf_type *t = (struct btf_type *)(uintptr_t)btf__type_by_id(btf, id);
        for (int i = 0; may_have(btf, t, field) && i < btf_vlen(t); i++)
            if (strcmp(btf__name_by_offset(btf, btf_members(t)[i].name_off), strchr(field, '.') + 1) == 0) {
                btf_members(t)[i].name_off = (uint32_t)other;
                found++;
            }
    }
    uint32_t size;
    const void *data = btf__raw_data(btf, &size);
    FILE *f = fopen(to, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    btf__free(btf);
    return found > 0;
}

/* A temporary kernel without the field: how many programs can't run there. -1: it has none. */
static int refused_without(const struct kernel *kernel, const char *field)
{
    char path[] = "/tmp/vtime-core.XXXXXX";
    int fd = mkstemp(path), refused = -1;

    assert_true(fd >= 0);
    close(fd);
    if (write_without(kernel->path, field, path))
        refused = load_for(path);
    unlink(path);
    return refused;
}

static void test_a_kernel_without_a_needed_field_is_found_out(void **state)
{
    static const char *const needed[] = {
        "task_struct.__state",
        "task_struct.on_rq",
        "task_struct.on_cpu",
        "task_struct.nr_cpus_allowed",
        "task_struct.cpus_ptr",
        "task_struct.sched_info",
        "task_struct.pid",
        "task_struct.tgid",
        "task_struct.group_leader",
        "task_struct.parent",
        "cgroup.kn",
        "kernfs_node.id",
        "task_struct.start_time",
        "task_struct.preempt_notifiers",
        "task_struct.comm",
        "sched_info.last_arrival",
        "sched_info.last_queued",
        "sched_info.run_delay",
        "kvm_vcpu.kvm",
        "kvm_vcpu.vcpu_id",
        "kvm_vcpu.preempt_notifier",
        "kvm_vcpu.mode",
        "file.private_data",
        "file.f_path",
        "dentry.d_name",
    };
    (void)state;
    for (size_t i = 0; i < NR_KERNELS; i++)
        for (size_t j = 0; j < sizeof(needed) / sizeof(*needed); j++)
            if (refused_without(&kernels[i], needed[j]) < 1)
                fail_msg("%s without %s was not found out", kernels[i].path, needed[j]);
}

static void test_a_field_that_a_kernel_may_lack_is_done_without(void **state)
{
    static const char *const optional[] = {
        "task_struct.throttled",
        "task_struct.bpf_storage",
        "sched_entity.sched_delayed",
        "vcpu_svm.vmcb",
        "kvm_vcpu_stat_generic.blocking",
        "kvm_vcpu_arch.l1_tsc_offset",
        "vcpu_vmx.exit_reason",
        "task_struct.sched_task_group",
        "task_group.cfs_rq",
        "cfs_rq.rq",
        "rq.online",
        "rq.prev_steal_time_rq",
        "rq.ttwu_pending",
        "timerqueue_node.expires",
        "hrtimer.node",
        "hrtimer.base",
        "hrtimer_clock_base.cpu_base",
        "hrtimer_clock_base.offset",
        "hrtimer_cpu_base.hres_active",
    };
    int had = 0;
    (void)state;
    for (size_t i = 0; i < NR_KERNELS; i++)
        for (size_t j = 0; j < sizeof(optional) / sizeof(*optional); j++) {
            int refused = refused_without(&kernels[i], optional[j]);
            had += refused >= 0;
            if (refused > 0)
                fail_msg("%s without %s: %d refused\n%s", kernels[i].path, optional[j], refused,
                         seen.complaint);
        }
    assert_true(had > 2 * NR_KERNELS);
}

int main(void)
{
    static const char *const sections[] = { "tp_btf+", "iter+", "fentry+", "fexit+" };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_program_finds_its_fields_in_every_kernel),
        cmocka_unit_test(test_each_kernel_lacks_what_it_is_known_to_lack_and_no_more),
        cmocka_unit_test(test_every_tracepoint_has_the_form_that_its_program_reads),
        cmocka_unit_test(test_a_kernel_without_a_needed_field_is_found_out),
        cmocka_unit_test(test_a_field_that_a_kernel_may_lack_is_done_without),
    };
    libbpf_set_print(hear);
    /* taken for programs of a type that asks for no id of the running kernel's BTF */
    for (size_t i = 0; i < sizeof(sections) / sizeof(*sections); i++)
        if (libbpf_register_prog_handler(sections[i], BPF_PROG_TYPE_RAW_TRACEPOINT, 0, NULL) < 0)
            return 1;
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}

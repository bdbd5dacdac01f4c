/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "probes.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cells.h"
#include "hostinfo.h"
#include "kvm_selftest.h"
#include "ledger.skel.h"
#include "timing.h"

#define SLOTS_BYTES     (sizeof(struct vt_slot) * VT_MAX_SLOTS)
#define EXIT_SUMS_BYTES (sizeof(struct vt_exit_sum) * VT_MAX_EXIT_SUMS)
#define RUNNING_BYTES   (sizeof(struct vt_running) * VT_MAX_RUNNING)
#define RING_BYTES      (4u << 20)

struct vt_probes {
    struct ledger_bpf *bpf;
    struct ring_buffer *bell;     /* readable: the ring of cells wants reading */
    struct vt_cells_reader cells; /* mapped; bits is set when it is loaded */
    const struct vt_slot *slots;
    const struct vt_running *running; /* by CPU */
    uint32_t nr_cpus;
    const struct vt_exit_sum *exit_sums;
    uint32_t off;
    struct vt_kvm_stat_list kvm_stats;
    struct vt_kvm_reader *kvm_reader; /* NULL: there are none */
    bool addresses;                   /* their class is loaded */
    struct address_room *all;         /* NULL: it is not */
    struct vt_timing timing;
};

/* What a look at the addresses takes; those without room come last. */
struct address_room {
    struct vt_address_key keys[VT_MAX_ADDRESSES];
    uint64_t counts[VT_MAX_ADDRESSES];
    struct vt_address sorted[VT_MAX_ADDRESSES + VT_MAX_SLOTS];
};

enum { MOST_PROGRAMS = 16 }; /* in a class */

/* Which programs make up a class; a class is in use if its first tracepoint exists. */
struct class_programs {
    const char *name;
    const char *tracepoints[MOST_PROGRAMS];
    const char *programs[MOST_PROGRAMS];
};

static const struct class_programs classes[VT_NR_PROBE_CLASSES] = {
    [VT_PROBE_SWITCH] = { "switch",
                          { "sched_switch" },
                          { "on_sched_switch", "on_sched_switch_stateless",
                            "on_sched_switch_state_second" } },
    [VT_PROBE_WAKEUP] = { "wakeup",
                          { "sched_wakeup", "sched_wakeup_new" },
                          { "on_sched_wakeup", "on_sched_wakeup_new" } },
    [VT_PROBE_MIGRATE] = { "migrate", { "sched_migrate_task" }, { "on_sched_migrate_task" } },
    [VT_PROBE_EXIT] = { "exit", { "sched_process_exit" }, { "on_sched_process_exit" } },
    [VT_PROBE_KVM_RUN] = { "kvm-run", { "kvm_fpu" }, { "on_kvm_fpu" } },
    [VT_PROBE_ENTRY_EXIT] = { "entry-exit", { "kvm_entry", "kvm_exit" }, { "on_kvm_entry", "on_kvm_exit" } },
    [VT_PROBE_HALT] = { "halt", { "kvm_vcpu_wakeup" }, { "on_kvm_vcpu_wakeup" } },
    [VT_PROBE_IRQ] = { "irq",
                       { "irq_handler_entry", "irq_handler_exit", "softirq_entry", "softirq_exit",
                         "local_timer_entry", "local_timer_exit", "reschedule_entry", "reschedule_exit",
                         "call_function_entry", "call_function_exit", "call_function_single_entry",
                         "call_function_single_exit", "irq_work_entry", "irq_work_exit",
                         "hrtimer_expire_entry", "hrtimer_start" },
                       { "on_irq_handler_entry", "on_irq_handler_exit", "on_softirq_entry", "on_softirq_exit",
                         "on_local_timer_entry", "on_local_timer_exit", "on_reschedule_entry",
                         "on_reschedule_exit", "on_call_function_entry", "on_call_function_exit",
                         "on_call_function_single_entry", "on_call_function_single_exit", "on_irq_work_entry",
                         "on_irq_work_exit", "on_hrtimer_expire_entry", "on_hrtimer_start" } },
    [VT_PROBE_ADDRESSES] = { "addresses",
                             { "kvm_pio", "kvm_mmio", "kvm_msr", "kvm_fast_mmio" },
                             { "on_kvm_pio", "on_kvm_mmio", "on_kvm_msr", "on_kvm_fast_mmio" } },
};

const char *vt_probe_class_name(unsigned class)
{
    return class < VT_NR_PROBE_CLASSES ? classes[class].name : NULL;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    if (level == LIBBPF_DEBUG || !getenv("VTIME_DEBUG"))
        return 0;
    return vfprintf(stderr, format, args);
}

/* The BTFs that may describe a tracepoint: the kernel's and those of the KVM modules. */
struct btfs {
    struct btf *btf[4];
    size_t n;
};

static void btfs_release(struct btfs *b)
{
    while (b->n > 0)
        btf__free(b->btf[--b->n]);
}

static int btfs_load(struct btfs *b, struct vt_err *err)
{
    static const char *const modules[] = { "kvm", "kvm_intel", "kvm_amd" };
    struct btf *base = btf__load_vmlinux_btf();

    if (!base)
        return vt_fail(err, ENOENT,
                       "this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_DEBUG_INFO_BTF=y");
    b->btf[b->n++] = base;
    for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
        struct btf *m = btf__load_module_btf(modules[i], base);
        if (m)
            b->btf[b->n++] = m;
    }
    return 0;
}

/* The function prototype of a tracepoint (typedef btf_trace_NAME), or NULL if there is none. */
static const struct btf_type *tracepoint_proto(const struct btfs *b, const char *name, const struct btf **ret)
{
    char typedef_name[80];

    snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
    for (size_t i = 0; i < b->n; i++) {
        int id = btf__find_by_name_kind(b->btf[i], typedef_name, BTF_KIND_TYPEDEF);
        const struct btf_type *t = id > 0 ? btf__type_by_id(b->btf[i], (uint32_t)id) : NULL;

        t = t ? btf__type_by_id(b->btf[i], t->type) : NULL; /* pointer */
        t = t ? btf__type_by_id(b->btf[i], t->type) : NULL; /* prototype */
        if (t && btf_is_func_proto(t)) {
            *ret = b->btf[i];
            return t;
        }
    }
    return NULL;
}

/* Which of the three sched_switch programs fits (see kernel.h): by the prototype's arguments. */
static const char *switch_program(const struct btfs *b)
{
    const struct btf *btf = NULL;
    const struct btf_type *proto = tracepoint_proto(b, "sched_switch", &btf);

    if (!proto || btf_vlen(proto) < 4)
        return NULL;
    if (btf_vlen(proto) == 4) /* context, preempt, prev, next */
        return "on_sched_switch_stateless";
    const struct btf_type *third = btf__type_by_id(btf, btf_params(proto)[2].type);
    return third && btf_is_ptr(third) ? "on_sched_switch" : "on_sched_switch_state_second";
}

static bool class_exists(const struct btfs *b, const struct class_programs *c)
{
    const struct btf *btf;

    for (size_t i = 0; i < MOST_PROGRAMS && c->tracepoints[i]; i++)
        if (!tracepoint_proto(b, c->tracepoints[i], &btf))
            return false;
    return true;
}

static void leave_out(struct vt_probes *p, const char *program)
{
    struct bpf_program *prog = bpf_object__find_program_by_name(p->bpf->obj, program);

    if (prog)
        bpf_program__set_autoload(prog, false);
}

/* Not asked for is not missing: programs and counts are left out. */
static void choose_addresses(struct vt_probes *p)
{
    const struct class_programs *c = &classes[VT_PROBE_ADDRESSES];

    if (p->addresses && !(p->off & 1u << VT_PROBE_ADDRESSES))
        return;
    if (!p->addresses)
        p->off &= ~(1u << VT_PROBE_ADDRESSES);
    p->addresses = false;
    for (size_t i = 0; i < MOST_PROGRAMS && c->programs[i]; i++)
        leave_out(p, c->programs[i]);
    bpf_map__set_autocreate(p->bpf->maps.addresses, false);
}

/* The type of a structure's member, also of one in a part of it that has no name; NULL: it has none so
 * called. */
static const struct btf_type *member_type(const struct btf *btf, const struct btf_type *t, const char *name)
{
    for (uint32_t i = 0; t && btf_is_composite(t) && i < btf_vlen(t); i++) {
        const struct btf_member *m = &btf_members(t)[i];
        const char *is = btf__name_by_offset(btf, m->name_off);
        const struct btf_type *type = btf__type_by_id(btf, m->type);
        const struct btf_type *found = !is || *is ? NULL : member_type(btf, type, name);

        if (is && strcmp(is, name) == 0)
            return type;
        if (found)
            return found;
    }
    return NULL;
}

/* A member of one of the kernel's structures; NULL: it has none. */
static const struct btf_type *kernel_member(const struct btf *btf, const char *structure, const char *name)
{
    const int id = btf__find_by_name_kind(btf, structure, BTF_KIND_STRUCT);

    return id > 0 ? member_type(btf, btf__type_by_id(btf, (uint32_t)id), name) : NULL;
}

/* Has a group of tasks its part of each CPU's run queue in an array of pointers? And what else is_idle()
 * needs. */
static bool tells_run_queues(const struct btf *btf)
{
    const struct btf_type *array = kernel_member(btf, "task_group", "cfs_rq");

    return array && btf_is_ptr(array) && btf_is_ptr(btf__type_by_id(btf, array->type)) &&
           kernel_member(btf, "task_struct", "sched_task_group") && kernel_member(btf, "cfs_rq", "rq") &&
           kernel_member(btf, "rq", "online");
}

/* Whether another CPU is idle is read from the kernel's run queues. */
static void choose_elsewhere(struct vt_probes *p, const struct btfs *b, bool ledger_only)
{
    struct ledger_bpf__rodata *to = p->bpf->rodata;
    const uint32_t limit = vt_cpu_limit(NULL);
    struct vt_cpu unused;

    if (ledger_only || !tells_run_queues(b->btf[0]))
        return;
    to->elsewhere_cpus = VT_ELSEWHERE_CPUS;
    for (uint32_t cpu = 0; cpu < limit && cpu < VT_MAX_RUNNING; cpu++) {
        if (!vt_cpu_describe(NULL, cpu, &unused))
            continue;
        to->online_cpus[cpu / 64] |= UINT64_C(1) << cpu % 64;
        to->mask_words = cpu / 64 + 1;
    }
}

/* The run queues' clocks leave out what is stolen of their CPUs (CONFIG_PARAVIRT_TIME_ACCOUNTING). */
static void choose_outer(struct vt_probes *p, const struct btf *btf, bool ledger_only)
{
    p->bpf->rodata->tells_outer =
        !ledger_only && vt_host_is_told_steal() && kernel_member(btf, "sched_entity", "cfs_rq") &&
        kernel_member(btf, "cfs_rq", "rq") && kernel_member(btf, "rq", "prev_steal_time_rq");
}

static int choose_programs(struct vt_probes *p, bool ledger_only, struct vt_err *err)
{
    struct btfs b = { 0 };
    int r = btfs_load(&b, err);

    if (r)
        return r;
    const char *fitting = switch_program(&b);
    bool has_kvm = class_exists(&b, &classes[VT_PROBE_KVM_RUN]);
    for (unsigned c = 0; c < VT_NR_PROBE_CLASSES; c++) {
        if (!class_exists(&b, &classes[c]))
            p->off |= 1u << c;
        for (size_t i = 0; i < MOST_PROGRAMS && classes[c].programs[i]; i++) {
            const char *name = classes[c].programs[i];
            bool other = c == VT_PROBE_SWITCH && fitting && strcmp(name, fitting) != 0;
            if (other || (p->off & 1u << c))
                leave_out(p, name);
        }
    }
    choose_addresses(p);
    choose_elsewhere(p, &b, ledger_only);
    choose_outer(p, b.btf[0], ledger_only);
    btfs_release(&b);
    if (!fitting)
        return vt_fail(err, ENOTSUP, "this kernel's sched_switch tracepoint has an unknown form");
    if (!has_kvm)
        return vt_fail(err, ENODEV,
                       "this kernel has no KVM, or its module is not loaded: modprobe kvm_intel or kvm_amd");
    return 0;
}

/* The reader is called when a quarter of it waits. */
static void size_cells(struct vt_probes *p, uint32_t bytes)
{
    p->cells.bits = vt_cells_bits(bytes, p->nr_cpus);
    bpf_map__set_max_entries(p->bpf->maps.cells, 1u << p->cells.bits);
    p->bpf->rodata->cell_bits = p->cells.bits;
    p->bpf->rodata->cells_room = vt_cells_room(p->cells.bits, p->nr_cpus);
    p->bpf->rodata->cells_call = p->bpf->rodata->cells_room / 4;
}

static uint32_t possible_cpus(void)
{
    const int cpus = libbpf_num_possible_cpus();

    return cpus <= 0 ? 0 : cpus < VT_MAX_RUNNING ? (uint32_t)cpus : VT_MAX_RUNNING;
}

static int load(struct vt_probes *p, const struct vt_probes_options *o, struct vt_err *err)
{
    struct ledger_bpf *bpf = ledger_bpf__open();

    if (!bpf)
        return vt_fail(err, errno, "the BPF object could not be opened: %s", strerror(errno));
    p->bpf = bpf;
    int r = choose_programs(p, o->ledger_only, err);
    if (r)
        return r;
    if (!o->cgroups)
        leave_out(p, "on_cgroup_attach_task");
    leave_out(p, "twin_kvm_entry");
    leave_out(p, "twin_kvm_exit");
    bpf->rodata->own_tgid = (uint32_t)getpid();
    bpf->rodata->ledger_only = o->ledger_only;
    bpf->rodata->exit_isa = vt_exit_isa_here();
    bpf->rodata->without_run_edges = p->off & 1u << VT_PROBE_KVM_RUN;
    size_cells(p, o->ring_bytes ? o->ring_bytes : RING_BYTES);
    r = ledger_bpf__load(bpf);
    if (r == -EPERM)
        return vt_fail(err, EPERM, "loading BPF programs was refused: run as root (CAP_BPF and CAP_PERFMON)");
    if (r)
        return vt_fail(err, -r, "the kernel refused the BPF programs (%s); VTIME_DEBUG=1 shows its words",
                       strerror(-r));
    return 0;
}

/* NULL: it failed. */
static const void *map(const struct bpf_map *map, size_t bytes, struct vt_err *err)
{
    void *m = mmap(NULL, bytes, PROT_READ, MAP_SHARED, bpf_map__fd(map), 0);

    if (m != MAP_FAILED)
        return m;
    vt_fail(err, errno, "the ledger's %s could not be mapped: %s", bpf_map__name(map), strerror(errno));
    return NULL;
}

static int map_slots(struct vt_probes *p, struct vt_err *err)
{
    if (!(p->slots = map(p->bpf->maps.slots, SLOTS_BYTES, err)) ||
        !(p->exit_sums = map(p->bpf->maps.exit_sums, EXIT_SUMS_BYTES, err)) ||
        !(p->running = map(p->bpf->maps.running, RUNNING_BYTES, err)))
        return -ENOMEM;
    if (p->addresses && !(p->all = malloc(sizeof(*p->all))))
        return vt_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = VT_MAX_SLOTS; i-- > 0;)
        if (bpf_map_update_elem(bpf_map__fd(p->bpf->maps.free_slots), NULL, &i, BPF_ANY))
            return vt_fail(err, errno, "the ledger's slots could not be set up: %s", strerror(errno));
    return 0;
}

static int on_bell(void *context, void *data, size_t size)
{
    (void)context;
    (void)data;
    (void)size;
    return 0;
}

static size_t cells_bytes(const struct vt_probes *p)
{
    return sizeof(struct vt_cell) << p->cells.bits;
}

static int open_cells(struct vt_probes *p, struct vt_err *err)
{
    if (!(p->cells.cells = map(p->bpf->maps.cells, cells_bytes(p), err)))
        return -ENOMEM;
    p->cells.counts = &p->bpf->bss->told;
    p->bell = ring_buffer__new(bpf_map__fd(p->bpf->maps.bell), on_bell, NULL, NULL);
    if (!p->bell)
        return vt_fail(err, errno, "the ledger's ring could not be opened: %s", strerror(errno));
    return 0;
}

/* Where they can't be had, none are listed. */
static void open_kvm_stats(struct vt_probes *p)
{
    const struct vt_kvm_source source = {
        .lives_fd = bpf_map__fd(p->bpf->maps.kvm_lives),
        .reader_fd = bpf_program__fd(p->bpf->progs.read_kvm_stats),
        .now = (const uint64_t *)p->bpf->bss->kvm_stats_now,
    };

    p->kvm_reader = vt_kvm_reader_new(&p->kvm_stats, &source);
    if (!p->kvm_reader)
        p->kvm_stats.nr = 0;
    memcpy(p->bpf->bss->kvm_stat_at, p->kvm_stats.at, sizeof(p->kvm_stats.at));
    p->bpf->bss->nr_kvm_stats = (uint32_t)p->kvm_stats.nr;
}

int vt_probes_open(const struct vt_probes_options *options, struct vt_probes **ret, struct vt_err *err)
{
    struct vt_probes *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return vt_fail(err, ENOMEM, "out of memory");
    libbpf_set_print(quiet);
    p->off = options->off;
    p->nr_cpus = possible_cpus();
    p->addresses = options->addresses;
    p->timing = VT_TIMING_OWN;
    if ((r = load(p, options, err)) || (r = map_slots(p, err)) || (r = open_cells(p, err)))
        goto fail;
    r = ledger_bpf__attach(p->bpf);
    if (r) {
        vt_fail(err, -r, "the BPF programs could not be attached: %s", strerror(-r));
        goto fail;
    }
    vt_kvm_selftest(&p->kvm_stats);
    p->bpf->bss->split = p->bpf->bss->self_entries > 0;
    open_kvm_stats(p);
    __atomic_store_n(&p->bpf->bss->armed, true, __ATOMIC_RELEASE);
    *ret = p;
    return 0;
fail:
    vt_probes_close(p);
    return r;
}

static int run_iterator(const struct bpf_program *prog, struct vt_err *err)
{
    struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
    int fd, r = 0;
    char buf[64];
    ssize_t n;

    if (!link)
        return vt_fail(err, errno, "a BPF iterator could not be attached: %s", strerror(errno));
    fd = bpf_iter_create(bpf_link__fd(link));
    if (fd < 0)
        r = vt_fail(err, errno, "a BPF iterator could not be started: %s", strerror(errno));
    while (fd >= 0 && ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN)))
        ;
    if (fd >= 0)
        close(fd);
    bpf_link__destroy(link);
    return r;
}

int vt_probes_seed(struct vt_probes *p, struct vt_err *err)
{
    int r = run_iterator(p->bpf->progs.find_vcpu_files, err);

    if (!r)
        r = run_iterator(p->bpf->progs.seed_vcpu_threads, err);
    if (!r)
        r = run_iterator(p->bpf->progs.seed_threads, err);
    return r ? r : vt_probes_find_helpers(p, err);
}

int vt_probes_cgroup(const struct vt_probes *p, uint64_t id, struct vt_err *err)
{
    const uint32_t one = 1;

    if (bpf_map_update_elem(bpf_map__fd(p->bpf->maps.cgroups), &id, &one, BPF_ANY))
        return vt_fail(err, errno, "a cgroup could not be told to the ledger: %s", strerror(errno));
    return 0;
}

bool vt_probes_next_exec(const struct vt_probes *p, uint32_t *ret_tgid)
{
    return bpf_map_lookup_and_delete_elem(bpf_map__fd(p->bpf->maps.execs), NULL, ret_tgid) == 0;
}

/* As many as the map holds. */
static int want_some(struct vt_probes *p, const uint32_t *tids, const struct vt_wanted *wanted, size_t n,
                     struct vt_err *err)
{
    const int fd = bpf_map__fd(p->bpf->maps.wanted);
    int r = 0;

    for (size_t i = 0; i < n && !r; i++)
        if (bpf_map_update_elem(fd, &tids[i], &wanted[i], BPF_ANY))
            r = vt_fail(err, errno, "a thread could not be told to the ledger: %s", strerror(errno));
    if (!r)
        r = run_iterator(p->bpf->progs.seed_threads, err);
    for (size_t i = 0; i < n; i++)
        bpf_map_delete_elem(fd, &tids[i]);
    return r;
}

int vt_probes_find_helpers(struct vt_probes *p, struct vt_err *err)
{
    return run_iterator(p->bpf->progs.seed_helpers, err);
}

uint32_t vt_probes_off(const struct vt_probes *p)
{
    return p->off;
}

int vt_probes_want(struct vt_probes *p, const uint32_t *tids, const struct vt_wanted *wanted, size_t n,
                   struct vt_err *err)
{
    int r = 0;

    for (size_t i = 0; i < n && !r; i += VT_MAX_SLOTS)
        r = want_some(p, tids + i, wanted + i, n - i < VT_MAX_SLOTS ? n - i : VT_MAX_SLOTS, err);
    return r;
}

bool vt_probes_ledger_only(const struct vt_probes *p)
{
    return p->bpf->rodata->ledger_only;
}

bool vt_probes_split(const struct vt_probes *p)
{
    return p->bpf->bss->split;
}

uint32_t vt_probes_slots(const struct vt_probes *p)
{
    return __atomic_load_n(&p->bpf->bss->slots_used, __ATOMIC_ACQUIRE);
}

uint32_t vt_probes_generation(const struct vt_probes *p, uint32_t slot)
{
    return __atomic_load_n(&p->slots[slot].generation, __ATOMIC_RELAXED);
}

/* n bytes that are written under the slot's sequence: false if it kept changing. */
static bool copy_settled(const struct vt_slot *s, void *to, const void *from, size_t n)
{
    for (int tries = 0; tries < 1000000; tries++) {
        uint32_t before = __atomic_load_n(&s->sequence, __ATOMIC_ACQUIRE);
        if (before & 1)
            continue;
        memcpy(to, from, n);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&s->sequence, __ATOMIC_RELAXED) == before)
            return true;
    }
    return false;
}

bool vt_probes_read(const struct vt_probes *p, uint32_t slot, struct vt_slot *ret)
{
    return copy_settled(&p->slots[slot], ret, &p->slots[slot], sizeof(*ret));
}

bool vt_probes_exits(const struct vt_probes *p, uint32_t slot, uint32_t index, struct vt_exit_sum *ret)
{
    return index < VT_MAX_EXIT_SUMS && copy_settled(&p->slots[slot], ret, &p->exit_sums[index], sizeof(*ret));
}

const struct vt_kvm_stat_list *vt_probes_kvm_stats(const struct vt_probes *p)
{
    return &p->kvm_stats;
}

struct vt_kvm_look vt_probes_kvm_look(struct vt_probes *p, uint32_t slot, const struct vt_slot *s)
{
    return p->kvm_reader ? vt_kvm_reader_look(p->kvm_reader, slot, s) : (struct vt_kvm_look){ 0 };
}

bool vt_probes_addresses_on(const struct vt_probes *p)
{
    return p->addresses;
}

bool vt_probes_tell_outer_steal(const struct vt_probes *p)
{
    return p->bpf->rodata->tells_outer;
}

uint32_t vt_probes_elsewhere_cpus(const struct vt_probes *p)
{
    return p->bpf->rodata->elsewhere_cpus;
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int vt_address_order(const void *a, const void *b)
{
    const struct vt_address_key *x = &((const struct vt_address *)a)->key;
    const struct vt_address_key *y = &((const struct vt_address *)b)->key;
    int order = compare(x->slot, y->slot);

    order = order ? order : compare(x->generation, y->generation);
    order = order ? order : compare(x->kind, y->kind);
    order = order ? order : compare(x->address, y->address);
    return order ? order : compare(x->is_write, y->is_write);
}

/* The whole of the map: how many, or -errno. */
static int read_addresses(const struct vt_probes *p)
{
    const int fd = bpf_map__fd(p->bpf->maps.addresses);
    uint32_t n = 0, token = 0, *from = NULL;

    while (n < VT_MAX_ADDRESSES) {
        uint32_t count = VT_MAX_ADDRESSES - n;
        int r = bpf_map_lookup_batch(fd, from, &token, p->all->keys + n, p->all->counts + n, &count, NULL);
        if (r && r != -ENOENT)
            return r;
        n += count;
        if (r) /* that was all */
            break;
        from = &token;
    }
    return (int)n;
}

int vt_probes_addresses(struct vt_probes *p, const struct vt_address **ret, struct vt_err *err)
{
    const uint32_t slots = vt_probes_slots(p);
    struct vt_address *to = p->all->sorted;
    int n = read_addresses(p);

    if (n < 0)
        return vt_fail(err, -n, "the ledger's addresses could not be read: %s", strerror(-n));
    for (int i = 0; i < n; i++)
        to[i] = (struct vt_address){ p->all->keys[i], p->all->counts[i] };
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct vt_slot s;
        if (__atomic_load_n(&p->slots[slot].addresses_unsummed, __ATOMIC_RELAXED) &&
            vt_probes_read(p, slot, &s) && s.addresses_unsummed)
            to[n++] =
                (struct vt_address){ { slot, s.generation, 0, VT_ACCESS_UNSUMMED, 0 }, s.addresses_unsummed };
    }
    qsort(to, (size_t)n, sizeof(*to), vt_address_order);
    *ret = to;
    return n;
}

void vt_probes_forget_address(const struct vt_probes *p, const struct vt_address_key *key)
{
    if (key->kind < VT_NR_ACCESSES)
        bpf_map_delete_elem(bpf_map__fd(p->bpf->maps.addresses), key);
}

void vt_probes_tell_occupants(const struct vt_probes *p)
{
    for (uint32_t cpu = 0; cpu < p->nr_cpus; cpu++) {
        const struct vt_running *r = &p->running[cpu];
        if (__atomic_load_n(&r->waiters, __ATOMIC_RELAXED) <= 0 || __atomic_load_n(&r->tid, __ATOMIC_RELAXED))
            continue;
        struct bpf_test_run_opts o = { .sz = sizeof(o), .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu };
        bpf_prog_test_run_opts(bpf_program__fd(p->bpf->progs.tell_occupant), &o); /* or at his next switch */
    }
}

int vt_probes_release(struct vt_probes *p, uint32_t slot)
{
    const uint32_t kind = p->slots[slot].vm_kind;

    if (kind == VT_VM_UML || kind == VT_VM_CGROUP)
        __atomic_sub_fetch(&p->bpf->bss->members, 1, __ATOMIC_RELAXED);
    return bpf_map_update_elem(bpf_map__fd(p->bpf->maps.free_slots), NULL, &slot, BPF_ANY) ? -errno : 0;
}

int vt_probes_fd(const struct vt_probes *p)
{
    return ring_buffer__epoll_fd(p->bell);
}

int vt_probes_drain(struct vt_probes *p, const struct vt_cell_sinks *sinks)
{
    const int r = ring_buffer__consume(p->bell);

    return r < 0 ? r : vt_cells_read(&p->cells, sinks);
}

/* Hit by itself it has nothing to do (soft timers go off with interrupts on): nothing is lost. */
static bool may_be_missed(const struct bpf_program *prog)
{
    return strncmp(bpf_program__name(prog), "on_hrtimer_", strlen("on_hrtimer_")) == 0;
}

void vt_probes_lost(const struct vt_probes *p, uint64_t ret_lost[VT_NR_LOST_REASONS])
{
    struct bpf_program *prog;

    for (unsigned i = 0; i < VT_NR_LOST_REASONS; i++)
        ret_lost[i] = __atomic_load_n(&p->bpf->bss->lost[i], __ATOMIC_RELAXED);
    bpf_object__for_each_program(prog, p->bpf->obj)
    {
        struct bpf_prog_info info = { 0 };
        uint32_t len = sizeof(info);
        int fd = bpf_program__fd(prog);
        if (fd >= 0 && !may_be_missed(prog) && !bpf_obj_get_info_by_fd(fd, &info, &len))
            ret_lost[VT_LOST_RECURSION] += info.recursion_misses;
    }
}

void vt_probes_cost(const struct vt_probes *p, uint64_t *ret_ns, uint64_t *ret_runs)
{
    struct bpf_program *prog;

    *ret_ns = *ret_runs = 0;
    bpf_object__for_each_program(prog, p->bpf->obj)
    {
        struct bpf_prog_info info = { 0 };
        uint32_t len = sizeof(info);
        int fd = bpf_program__fd(prog);
        if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len)) {
            *ret_ns += info.run_time_ns;
            *ret_runs += info.run_cnt;
        }
    }
}

int vt_probes_time(const struct vt_probes *p)
{
    return vt_timing_on(&p->timing);
}

void vt_probes_keep_timing(struct vt_probes *p)
{
    vt_timing_start(&p->timing);
}

uint64_t vt_probes_class_runs(const struct vt_probes *p, unsigned class)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (size_t i = 0; i < MOST_PROGRAMS && classes[class].programs[i]; i++) {
        struct bpf_prog_info info = { 0 };
        uint32_t len = sizeof(info);
        struct bpf_program *prog = bpf_object__find_program_by_name(p->bpf->obj, classes[class].programs[i]);
        if (prog == p->bpf->progs.on_kvm_fast_mmio) /* only VMX has it, for ioeventfds of some monitors */
            continue;
        int fd = prog ? bpf_program__fd(prog) : -1;
        if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
            continue;
        least = info.run_cnt < least ? info.run_cnt : least;
        most = info.run_cnt > most ? info.run_cnt : most;
    }
    return class == VT_PROBE_IRQ ? most : most ? least : 0; /* some interrupts a host never has */
}

void vt_probes_close(struct vt_probes *p)
{
    if (!p)
        return;
    vt_timing_stop(&p->timing);
    vt_kvm_reader_free(p->kvm_reader);
    ring_buffer__free(p->bell);
    if (p->cells.cells)
        munmap((void *)(uintptr_t)p->cells.cells, cells_bytes(p));
    if (p->slots)
        munmap((void *)(uintptr_t)p->slots, SLOTS_BYTES);
    if (p->exit_sums)
        munmap((void *)(uintptr_t)p->exit_sums, EXIT_SUMS_BYTES);
    if (p->running)
        munmap((void *)(uintptr_t)p->running, RUNNING_BYTES);
    ledger_bpf__destroy(p->bpf);
    free(p->all);
    free(p);
}

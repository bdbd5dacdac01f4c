/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The views of reports/, fed with a snapshot made by hand. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/state.h"
#include "reports/format.h"
#include "reports/view.h"

#define S       VT_NSEC_PER_SEC
#define HOSTILE "\x1b]0;owned\x07\"`touch owned`$(id)\nEOD\n%s\xff"

/* Two guests of four-to-one shape and a bare run; all that a test may change. */
struct made {
    struct vt_snapshot snapshot;
    struct vt_guest guest[3];
    struct vt_vcpu_figures vcpu[2];
    struct vt_benchmark bench[3];
    struct vt_clock_report clock[2];
    struct vt_blame blame[3];
    struct report_debts debt[2], *debts[3];
    struct report_view view;
};

static struct vt_figure exact(uint64_t ns)
{
    return (struct vt_figure){ .ns = ns, .accuracy = VT_EXACT };
}

static struct vt_account account_of(uint64_t run, uint64_t vmm, uint64_t preempted, uint64_t waking,
                                    uint64_t halted)
{
    struct vt_account a = { 0 };
    a.state[VT_RUN] = a.used = exact(run);
    a.state[VT_VMM] = a.overhead = exact(vmm);
    a.state[VT_PREEMPTED] = exact(preempted);
    a.state[VT_WAKING] = exact(waking);
    a.stolen = exact(preempted + waking);
    a.state[VT_HALTED] = a.idle = exact(halted);
    a.dilation = (struct vt_ratio){ .known = true,
                                    .value = (double)(run + vmm + preempted + waking) / (double)(run + vmm) };
    a.contention_dilation = a.dilation;
    return a;
}

static struct vt_benchmark benchmark_of(uint64_t from)
{
    struct vt_benchmark b = { .name = "spin", .elapsed = { 10 * S, 2000, VT_BOUNDED }, .work_done = 1000 };
    b.window = (struct vt_window){ { from }, { from + 10 * S } };
    b.truth = account_of(2500000000, 1000000, 7490000000, 4000000, 5000000);
    b.believed = (struct vt_belief){ .have = VTG_HAVE_TSC | VTG_HAVE_KVMCLOCK | VTG_HAVE_STEAL |
                                             VTG_HAVE_TICKS | VTG_HAVE_CHARGED,
                                     .tsc_ns = 10 * S,
                                     .kvmclock_ns = 10 * S + 1000,
                                     .tick_clock_ns = 2600000000,
                                     .charged_ns = 9900000000,
                                     .steal_ns = 7494000000,
                                     .ticks = 650,
                                     .ticks_expected = 2500 };
    b.undilated = (struct vt_undilated){
        .known = true, .low_ns = 2501000000, .high_ns = 2506000000, .assumptions = "the caches were as warm"
    };
    return b;
}

static void make_guest(struct made *m, size_t i, const char *name)
{
    struct vt_guest *g = &m->guest[i];
    snprintf(g->vm.name, sizeof(g->vm.name), "%s", name);
    g->vm.id = (int64_t)i + 1;
    g->account = account_of(2510000000, 2000000, 7490000000, 4000000, 994000000);
    m->vcpu[i] = (struct vt_vcpu_figures){
        .window_ns = 11 * S, .account = g->account, .switches = 2400, .now = VT_HALTED
    };
    m->bench[i] = benchmark_of(5 * S);
    m->clock[i] = (struct vt_clock_report){ .method = "identity", .bound_ns = 150, .guest_tsc_khz = 2.1e6 };
    g->nr_vcpus = g->nr_benchmarks = g->nr_clocks = 1;
    g->joint.known = m->vcpu[i].has_hops = true;
    g->vcpus = &m->vcpu[i];
    g->benchmarks = &m->bench[i];
    g->clocks = &m->clock[i];
    m->debt[i] = (struct report_debts){ .known = true, .n = 1, .rows = &m->blame[i] };
    m->debts[i] = &m->debt[i];
}

static void make_blame(struct vt_blame *b, const char *victim, const char *culprit, enum vt_culprit_kind kind,
                       uint64_t ns)
{
    *b = (struct vt_blame){ .kind = kind, .ns = ns };
    snprintf(b->victim, sizeof(b->victim), "%s", victim);
    snprintf(b->culprit, sizeof(b->culprit), "%s", culprit);
}

static int setup(void **state)
{
    struct made *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    make_guest(m, 0, "guest-1");
    make_guest(m, 1, "guest-2");
    m->guest[2] = (struct vt_guest){ .nr_benchmarks = 1, .benchmarks = &m->bench[2] };
    strcpy(m->guest[2].vm.name, "bare");
    m->bench[2] = (struct vt_benchmark){ .name = "spin", .from_host_process = true };
    m->bench[2].believed = (struct vt_belief){ .have = VTG_HAVE_MONOTONIC | VTG_HAVE_CPUTIME,
                                               .monotonic_ns = 2490000000,
                                               .cputime_ns = 2480000000 };
    make_blame(&m->blame[0], "guest-1", "guest-2", VT_CULPRIT_VM, 7494000000);
    make_blame(&m->blame[1], "guest-2", "guest-1", VT_CULPRIT_VM, 7490000000);
    make_blame(&m->blame[2], "guest-2", "host", VT_CULPRIT_HOST, 4000000);
    m->snapshot = (struct vt_snapshot){ .window = { { S }, { 12 * S } },
                                        .nr_guests = 3,
                                        .guests = m->guest,
                                        .nr_blame = 3,
                                        .blame = m->blame,
                                        .observer = { .cpu_ns = 22000000, .rss_bytes = 8 << 20 } };
    m->snapshot.host = (struct vt_host){ .begin = { S }, .nr_cpus = 2, .tsc_stable = true };
    strcpy(m->snapshot.host.hostname, "box");
    strcpy(m->snapshot.host.kernel, "6.18.5");
    strcpy(m->snapshot.host.clocksource, "tsc");
    m->view = (struct report_view){ .snapshot = &m->snapshot, .debts = m->debts, .epoch = { S } };
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static char *text_of(const struct report_view *v)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    report_text(v, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static char *json_text_of(const struct report_view *v)
{
    char *text = NULL;
    size_t n;
    struct vt_err err;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    assert_int_equal(report_json(v, f, &err), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

static cJSON *json_of(const struct report_view *v)
{
    char *text = json_text_of(v);
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    free(text);
    return root;
}

/* "guests.0.benchmarks.0.true": NULL if there is no such thing. */
static const cJSON *at(const cJSON *o, const char *path)
{
    char word[64];
    while (o && *path) {
        size_t n = strcspn(path, ".");
        snprintf(word, sizeof(word), "%.*s", (int)n, path);
        o = cJSON_IsArray(o) ? cJSON_GetArrayItem(o, atoi(word)) : cJSON_GetObjectItemCaseSensitive(o, word);
        path += n + (path[n] == '.');
    }
    return o;
}

static void json_has_every_key_of_the_schema(void **state)
{
    static const char *const keys[] = {
        "schema",
        "window_ns",
        "host",
        "lost",
        "observer",
        "cpus",
        "guests",
        "blame",
        "guests.0.name",
        "guests.0.kind",
        "guests.0.dilation",
        "guests.0.contention_dilation",
        "guests.0.perceived",
        "guests.0.vm_states.full_run.ns",
        "guests.0.vm_states.concurrency_hazard.accuracy",
        "guests.0.vm_states.residual_ns",
        "guests.0.vcpus.0.migrations_by.other_node",
        "guests.0.vcpus.0.sibling_busy",
        "guests.0.benchmarks.0.name",
        "guests.0.benchmarks.0.believed.tsc.ns",
        "guests.0.benchmarks.0.true.used.ns",
        "guests.0.benchmarks.0.undilated.low_ns",
        "guests.0.benchmarks.0.undilated.high_ns",
        "guests.0.benchmarks.0.undilated.assumptions",
        "guests.0.clocks.0.method",
        "guests.0.helpers",
        "guests.0.vcpus.0.id",
        "guests.0.vcpus.0.window_ns",
        "guests.0.vcpus.0.residual_ns",
        "guests.0.vcpus.0.states.RUN.accuracy",
        "guests.0.vcpus.0.states.LOST.bound_ns",
        "guests.0.vcpus.0.exits",
        "guests.0.vcpus.0.kvm_stats",
        "guests.0.vcpus.0.addresses",
        "guests.0.vcpus.0.addresses_unsummed",
        "blame.0.victim",
        "blame.0.culprit",
        "blame.0.kind",
        "blame.0.ns",
    };
    struct made *m = *state;
    cJSON *root = json_of(&m->view);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!at(root, keys[i]))
            fail_msg("no %s", keys[i]);
    assert_string_equal(at(root, "guests.2.kind")->valuestring, "process");
    assert_true(cJSON_IsNull(at(root, "guests.2.benchmarks.0.believed.kvmclock")));
    cJSON_Delete(root);
}

static void json_figures_carry_their_accuracy(void **state)
{
    struct made *m = *state;
    m->bench[0].truth.used = (struct vt_figure){ 2500000000, 77, VT_ESTIMATED };
    cJSON *root = json_of(&m->view);
    assert_string_equal(at(root, "guests.0.benchmarks.0.true.elapsed.accuracy")->valuestring, "bounded");
    assert_int_equal(at(root, "guests.0.benchmarks.0.true.elapsed.bound_ns")->valuedouble, 2000);
    assert_string_equal(at(root, "guests.0.benchmarks.0.true.used.accuracy")->valuestring, "estimated");
    assert_string_equal(at(root, "guests.0.benchmarks.0.true.stolen.accuracy")->valuestring, "exact");
    /* demand = 2.5 + 0.001 + 7.494 s, no better than its weakest part */
    assert_int_equal(at(root, "guests.0.benchmarks.0.true.demand.ns")->valuedouble, 9995000000);
    assert_string_equal(at(root, "guests.0.benchmarks.0.true.demand.accuracy")->valuestring, "estimated");
    cJSON_Delete(root);
}

/* Without exit events they stand in their place; with them, beside. Names are the kernel's. */
static void kvms_own_counters_are_told_by_the_kernels_names(void **state)
{
    struct vt_kvm_stat stats[] = { { 1, "exits", "" }, { 2, "halt_wait_ns", "ns" }, { 3, "l1d_flush", "" } };
    struct vt_kvm_figure figures[] = { { 1234, 5, VT_BOUNDED },
                                       { 1200000000, 0, VT_EXACT },
                                       { 0, 0, VT_EXACT } };
    struct made *m = *state;
    char *text = text_of(&m->view);
    assert_non_null(strstr(text, "Exits: not known; KVM's exit events do not fire here"));
    free(text);
    m->snapshot.nr_kvm_stats = 3;
    m->snapshot.kvm_stats = stats;
    m->vcpu[0].kvm_stats = figures;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "\nExits by KVM's own counters, for its exit events do not fire here"));
    assert_non_null(strstr(text, "  guest-1 0       exits 1234 +-5, halt_wait_ns 1.200 s\n"));
    free(text);
    figures[1].accuracy = VT_ESTIMATED;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "exits 1234 +-5, halt_wait_ns ~1.200 s\n"));
    free(text);
    m->snapshot.host.has_entry_exit = true;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "\nKVM's own counters of the same vCPUs"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_int_equal(at(root, "guests.0.vcpus.0.kvm_stats.exits.count")->valuedouble, 1234);
    assert_int_equal(at(root, "guests.0.vcpus.0.kvm_stats.exits.bound")->valuedouble, 5);
    assert_string_equal(at(root, "guests.0.vcpus.0.kvm_stats.exits.accuracy")->valuestring, "bounded");
    assert_string_equal(at(root, "guests.0.vcpus.0.kvm_stats.halt_wait_ns.unit")->valuestring, "ns");
    assert_int_equal(at(root, "guests.0.vcpus.0.kvm_stats.l1d_flush.count")->valuedouble, 0);
    assert_true(cJSON_IsNull(at(root, "guests.1.vcpus.0.kvm_stats")));
    cJSON_Delete(root);
    m->vcpu[0].kvm_stats = NULL;
}

static void json_keeps_all_digits_of_an_integer(void **state)
{
    struct made *m = *state;
    m->vcpu[0].account.state[VT_RUN].ns = UINT64_C(18446744073709551557);
    m->vcpu[0].residual_ns = INT64_MIN + 1;
    char *text = json_text_of(&m->view);
    assert_non_null(strstr(text, "18446744073709551557"));
    assert_non_null(strstr(text, "-9223372036854775807"));
    free(text);
}

static void json_dilation_is_taken_from_mark_to_mark(void **state)
{
    struct made *m = *state;
    cJSON *root = json_of(&m->view);
    double is = at(root, "guests.0.dilation")->valuedouble, should = 9995.0 / 2501.0;
    assert_true(fabs(is - should) < 1e-9);
    assert_string_equal(at(root, "guests.0.dilation_of")->valuestring, "marks");
    cJSON_Delete(root);
    m->guest[0].nr_benchmarks = 0;
    root = json_of(&m->view);
    assert_true(fabs(at(root, "guests.0.dilation")->valuedouble - 10006.0 / 2512.0) < 1e-9);
    assert_string_equal(at(root, "guests.0.dilation_of")->valuestring, "window");
    cJSON_Delete(root);
    m->guest[0].account.dilation.known = false;
    root = json_of(&m->view);
    assert_true(cJSON_IsNull(at(root, "guests.0.dilation")));
    cJSON_Delete(root);
}

static bool is_harmless(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t')
            return false;
    return true;
}

static void hostile_names_stay_words(void **state)
{
    struct made *m = *state;
    strcpy(m->guest[0].vm.name, HOSTILE);
    strcpy(m->bench[0].name, "\x1b[2J\nEOD");
    strcpy(m->blame[0].culprit, HOSTILE);
    strcpy(m->snapshot.host.hostname, "\x1b[2J");
    char *text = text_of(&m->view);
    assert_true(is_harmless(text));
    assert_null(strstr(text, "owned\x07"));
    free(text);
    text = json_text_of(&m->view);
    assert_true(is_harmless(text));
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    assert_non_null(strstr(at(root, "guests.0.name")->valuestring, "\\x1b"));
    cJSON_Delete(root);
    free(text);
}

/* Three runs of one benchmark in a guest's system, and a process of the second. */
static void a_system_tells_runs_and_processes(void **state)
{
    struct made *m = *state;
    struct vt_benchmark runs[3];
    struct vt_guest_process process = { .tgid = 4711, .of_benchmark = true, .source = VTG_TASKS_BPF };
    for (uint32_t i = 0; i < 3; i++) {
        runs[i] = benchmark_of((5 + 10 * i) * S);
        runs[i].of_system = true;
        runs[i].run =
            (struct vt_run_belief){ .known = true, .repeat = i + 1, .of = 3, .elapsed_ns = (10 + i) * S };
        runs[i].run.user_ns = runs[i].run.elapsed_ns - S;
        runs[i].run.sys_ns = S / 2;
    }
    runs[1].run.status = 3 << 8;
    strcpy(process.name, "\\x1bjob");
    process.has_charged = true;
    process.user_ns = 9 * S;
    process.on_vcpu_ns = 10 * S;
    process.truth = account_of(2 * S, 0, 7 * S, 0, 0);
    runs[1].processes = &process;
    runs[1].nr_processes = 1;
    runs[1].untold_ns = 3 * S;
    runs[1].strangers_ns = 2 * S;
    runs[1].undilated.unplayed = "of too much";
    runs[1].takes_turns = true;
    for (uint32_t i = 0; i < 3; i++) {
        runs[i].believed.have |= VTG_HAVE_CPUTIME;
        runs[i].believed.cputime_ns = 4 * S;
        runs[i].undilated.low_ns = (2 + i) * S;
        runs[i].undilated.high_ns = (4 + i) * S;
    }
    m->guest[0].benchmarks = runs;
    m->guest[0].nr_benchmarks = 3;
    m->view.debts = NULL;
    char *text = text_of(&m->view);
    assert_non_null(strstr(
        text, "run 2 of 3: 11.000 s elapsed, 10.000 s user, 500.000 ms system, 95.5 % CPU, exit status 3"));
    assert_non_null(strstr(text, "task switches, by BPF"));
    assert_non_null(strstr(text, "of 3.000 s of its vCPUs' time no task was told"));
    assert_non_null(strstr(text, "guest-1: spin, 3 runs"));
    assert_non_null(strstr(text, "elapsed 11.000 s +-9.09 %, CPU 10.500 s +-9.52 %"));
    /* the middle of an interval is nobody's: the work may have taken as long as its high end */
    assert_non_null(strstr(text, "undilated elapsed from 3.000 s +-33.33 %, to 5.000 s +-20.00 %"));
    /* of two runs no task was told: of none it is taken */
    assert_non_null(strstr(text, "CPU of all that its vCPUs did 2.501 s +-0.00 %"));
    assert_non_null(strstr(text, "for 2.000 s of that tasks ran of which nobody told who they are"));
    assert_non_null(strstr(text, "(its tasks do not narrow it: of"));
    assert_non_null(strstr(text, "take turns on one thread"));
    /* 4 s of its processes: of the second run beside their 2 s, of the others beside all, which is said */
    assert_non_null(strstr(text, "process CPU time       4.000 s            2.000 s  +100.0 %"));
    assert_non_null(strstr(text, "true is of all that its vCPUs did"));
    assert_null(strstr(text, "guest-1: spin on vCPU")); /* of a system, the vCPU says nothing */
    free(text);
    cJSON *root = json_of(&m->view);
    assert_int_equal(at(root, "guests.0.benchmarks.1.run.status")->valuedouble, 3 << 8);
    assert_int_equal(at(root, "guests.0.benchmarks.1.processes.0.pid")->valuedouble, 4711);
    assert_int_equal(at(root, "guests.0.benchmarks.1.processes.0.true.stolen.ns")->valuedouble, 7 * S);
    assert_string_equal(at(root, "guests.0.benchmarks.1.processes.0.by")->valuestring, "bpf");
    assert_int_equal(at(root, "guests.0.benchmarks.1.true.own_used.ns")->valuedouble, 2 * S);
    assert_true(cJSON_IsNull(at(root, "guests.0.benchmarks.0.true.own_used")));
    assert_true(cJSON_IsNull(at(root, "guests.1.benchmarks.0.run")));
    cJSON_Delete(root);
}

/* A CPU idle elsewhere: none, some of what is owed, at least that much, and not recorded, which is not none.
 */
static void waits_with_a_cpu_idle_elsewhere_are_told_beside_what_is_owed(void **state)
{
    struct made *m = *state;
    char *text = text_of(&m->view);
    assert_non_null(strstr(text, "  idle elsewhere not recorded"));
    assert_null(strstr(text, "of its stolen time  idle elsewhere"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_true(cJSON_IsNull(at(root, "blame.0.idle_elsewhere")));
    assert_true(cJSON_IsNull(at(root, "host.elsewhere_cpus")));
    cJSON_Delete(root);

    m->snapshot.host.elsewhere_cpus = 8;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "  idle elsewhere waits that began while another CPU"));
    assert_null(strstr(text, "not recorded: whether"));
    assert_null(strstr(text, "of its stolen time  idle elsewhere")); /* a column of nothing */
    free(text);

    m->blame[1].elsewhere_ns = 4 * S;
    m->blame[2].elsewhere_ns = S / 1000;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "of its stolen time  idle elsewhere"));
    assert_non_null(strstr(text, "guest-2 4.001 s (53.39 %)")); /* of 7.494 s */
    assert_null(strstr(text, "CPUs looked at"));
    free(text);
    root = json_of(&m->view);
    assert_int_equal(at(root, "host.elsewhere_cpus")->valuedouble, 8);
    assert_int_equal(at(root, "blame.1.idle_elsewhere.ns")->valuedouble, 4 * S);
    assert_int_equal(at(root, "blame.1.ns")->valuedouble, 7490000000);
    assert_string_equal(at(root, "blame.1.idle_elsewhere.accuracy")->valuestring, "exact");
    assert_int_equal(at(root, "blame.0.idle_elsewhere.ns")->valuedouble, 0);
    cJSON_Delete(root);

    m->snapshot.host.nr_cpus = 10; /* one more than are looked at, and its own */
    text = text_of(&m->view);
    assert_non_null(strstr(text, "of 8 CPUs looked at, so at least"));
    assert_non_null(strstr(text, "guest-2 ~4.001 s"));
    free(text);
    root = json_of(&m->view);
    assert_string_equal(at(root, "blame.1.idle_elsewhere.accuracy")->valuestring, "estimated");
    cJSON_Delete(root);
}

/* "one" may be a VM and this guest's own helper; a host has more processes than a line may hold. */
static void debtors_of_a_benchmark_have_a_kind_and_the_small_ones_are_one(void **state)
{
    struct made *m = *state;
    struct vt_blame rows[12];
    struct report_debts debts = { .known = true, .n = 12, .rows = rows }, *of_guests[3] = { &debts };
    for (unsigned i = 0; i < 12; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%u", i);
        make_blame(&rows[i], "guest-1", name, VT_CULPRIT_PROCESS, (12 - i) * S / 100);
    }
    make_blame(&rows[0], "guest-1", "one", VT_CULPRIT_VM, S);
    make_blame(&rows[1], "guest-1", "one", VT_CULPRIT_OWN_HELPER, S / 2);
    make_blame(&rows[2], "guest-1", "interrupts", VT_CULPRIT_IRQ, S / 4);
    m->guest[0].nr_benchmarks = 1;
    m->guest[1].nr_benchmarks = m->guest[2].nr_benchmarks = 0;
    m->view.debts = of_guests;
    char *text = text_of(&m->view);
    assert_non_null(
        strstr(text, "by         one (vm) 1.000 s, one (own-helper) 500.000 ms, interrupts 250.000 ms,"));
    assert_non_null(strstr(text, "p7 (process)"));
    assert_null(strstr(text, "p8 (process)"));
    assert_non_null(strstr(text, "4 others 100.000 ms")); /* 40 + 30 + 20 + 10 */
    free(text);
    rows[8].ns += S; /* nine are named: the ninth is no shorter as "another" */
    debts.n = 9;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "p8 (process)"));
    assert_null(strstr(text, "1 others"));
    free(text);
}

static void a_hostile_name_does_not_command_gnuplot(void **state)
{
    struct made *m = *state;
    char directory[] = "/tmp/vtime-test-XXXXXX", path[64];
    struct vt_err err;
    strcpy(m->guest[0].vm.name, "\"\nEOD\nsystem(\"touch owned\")\n`touch owned`@x$(touch owned)");
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chdir(directory), 0);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "chart.%s", i ? "svg" : "png");
        if (report_chart(&m->view, path, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(access(path, R_OK), 0);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(access("owned", F_OK), -1);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(directory), 0); /* nothing else was left there */
}

/* A guest with an agent, stepped and with words that are no words. */
struct spoken {
    struct vt_agent_clocks clocks;
    struct vt_clock_epoch epoch[2];
    struct vt_clock_interval interval[1];
    struct vt_clock_event event[4];
};

static void speak(struct made *m, struct spoken *s)
{
    struct vt_agent_clocks *k = &s->clocks;
    *s = (struct spoken){ 0 };
    k->method = VT_CLOCK_MESSAGES;
    k->refused = "";
    for (unsigned int i = 0; i < VT_NR_CLOCK_METHODS; i++)
        k->methods[i].reason = "it is not a guest of KVM";
    k->methods[VT_CLOCK_MESSAGES] = (struct vt_clock_method_report){
        .usable = true, .bounded = true, .reason = "", .samples = 100, .median_ns = 52000, .max_ns = 110000
    };
    k->system = (struct vtg_system){ .session = 5, .nr_online = 2, .nr_possible = 4, .tsc_khz = 2100000 };
    memcpy(k->system.kernel, "\x1b[2J6.1", 7);
    memset(k->system.clocksource, '\x07', sizeof(k->system.clocksource)); /* not terminated */
    k->exchanges = 600;
    k->views = 100;
    k->os[VTG_OS_REALTIME] =
        (struct vt_os_clock_figures){ .views = 100, .first_ns = 5, .last_ns = 2000000000 };
    k->os[VTG_OS_REALTIME].steps = 1;
    k->os[VTG_OS_REALTIME].stepped_ns = 2000000000;
    k->os[VTG_OS_REALTIME].has_drift = true;
    k->os[VTG_OS_REALTIME].drift_ppm = 12.5;
    k->missed_views = 12;
    k->channel_events[VT_CHANNEL_REPLAYED] = 2;
    k->channel_counts[VT_CHANNEL_REPLAYED] = 77;
    k->channel_events[VT_CHANNEL_SILENT] = 3;
    k->channel_counts[VT_CHANNEL_SILENT] = 9201656653;
    k->channel_events[VT_CHANNEL_SESSION] = 2; /* the sum of their places is no figure */
    k->channel_counts[VT_CHANNEL_SESSION] = 30;
    k->channel_events[VT_CHANNEL_GARBAGE] = 5;
    k->channel_counts[VT_CHANNEL_GARBAGE] = 944993;
    k->channel_events[VT_CHANNEL_HELD] = k->channel_counts[VT_CHANNEL_HELD] = 1;
    k->stat = (struct vtg_cpu_time){ .user = 3 * S, .steal = UINT64_MAX };
    k->stat_ns = 8 * S;
    k->stat_cpus = 2;
    s->epoch[0] = (struct vt_clock_epoch){ .window = { { S }, { 5 * S } }, .reason = "" };
    s->epoch[1] =
        (struct vt_clock_epoch){ .window = { { 5 * S }, { 12 * S } }, .reason = "the guest booted anew" };
    s->epoch[1].has_offset = s->epoch[1].has_rate = true;
    s->epoch[1].offset_ticks = INT64_MIN;
    s->epoch[1].drift_ppm = -3.25;
    s->interval[0] =
        (struct vt_clock_interval){ .window = { { S }, { 12 * S } }, .samples = 100, .max_ns = 110000 };
    s->event[0] =
        (struct vt_clock_event){ { 2 * S }, VT_CLOCK_EVENT_CHANNEL, VT_CHANNEL_CLAIMED, 1, 0, 0, "" };
    memset(s->event[0].text, 0x9b, 64);
    s->event[1] =
        (struct vt_clock_event){ { 3 * S }, VT_CLOCK_EVENT_AGENT, UINT32_MAX, INT64_MIN, -1, 0, HOSTILE };
    s->event[2] =
        (struct vt_clock_event){ { 4 * S }, VT_CLOCK_EVENT_VIEW, VTG_OS_REALTIME, 2000000000, 100, 0, "" };
    s->event[3] =
        (struct vt_clock_event){ { 5 * S }, VT_CLOCK_EVENT_MAP, 0, 0, 0, 0, "the guest booted anew" };
    k->epochs = s->epoch;
    k->nr_epochs = 2;
    k->intervals = s->interval;
    k->nr_intervals = 1;
    k->events = s->event;
    k->nr_events = 4;
    m->guest[0].agent_clocks = k;
}

static void clocks_of_a_system_are_told_and_hostile_words_stay_words(void **state)
{
    static const char *const told[] = { "messages",
                                        "+-52.000 us in the median",
                                        "600 exchanges",
                                        "the guest booted anew",
                                        "REALTIME stepped by +2.000 s",
                                        "+12.500 ppm",
                                        "-3.250 ppm",
                                        "12 due and not made",
                                        "77 frames replayed",
                                        "silent for 9.202 s",
                                        "2 sessions of agents began",
                                        "944993 bytes of garbage",
                                        "held by another once",
                                        "channel: claimed",
                                        "-9223372036854775808",
                                        "\\x1b[2J6.1",
                                        "it is not a guest of KVM" };
    struct made *m = *state;
    struct spoken s;
    char *text = NULL;
    size_t n;
    speak(m, &s);
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    report_text_clocks(&m->view, f);
    assert_int_equal(fclose(f), 0);
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        if (!strstr(text, told[i]))
            fail_msg("'%s' is not in:\n%s", told[i], text);
    assert_true(is_harmless(text));
    free(text);
}

static void what_befell_a_guest_is_named_once(void **state)
{
    static const char *const told[] = {
        "Events: what befell",
        "STOPPED 3.000 s",
        "REALTIME stepped by +2.000 s",
        "channel: 77 frames replayed, told 2 times in 4.000 s",
        "channel was away 10.000 s; 12 frames buffered, 5 dropped",
        "agent restarted, nothing from the old one for 1.000 s",
        "the guest booted again",
        "frequency slewed by +498.400 ppm +-0.100",
        "clocksource tsc -> \\x1b[2J",
        "MONOTONIC stepped 5 times in 400.000 ms, by +5.000 s in all",
    };
    static const char *const once[] = { "TAI stepped", "agent: REALTIME", "away 3.000 s", "agent: 5 frames" };
    struct made *m = *state;
    struct spoken s;
    struct vt_clock_event e[] = {
        { { 2 * S }, VT_CLOCK_EVENT_VIEW, VTG_OS_REALTIME, 2 * (int64_t)S, 100, 0, "" },
        { { 2 * S }, VT_CLOCK_EVENT_VIEW, VTG_OS_TAI, 2 * (int64_t)S, 100, 0, "" },
        { { 2 * S + 9 }, VT_CLOCK_EVENT_AGENT, VTG_EVENT_STEP, 2 * (int64_t)S, 0, 0, "" },
        { { 3 * S }, VT_CLOCK_EVENT_CHANNEL, VT_CHANNEL_REPLAYED, 70, 0, 0, "" },
        { { 6 * S }, VT_CLOCK_EVENT_AGENT, VTG_EVENT_AWAY, 3 * (int64_t)S, 1, 0, "" }, /* it was stopped */
        { { 7 * S }, VT_CLOCK_EVENT_CHANNEL, VT_CHANNEL_REPLAYED, 7, 0, 0, "" },
        { { 7 * S }, VT_CLOCK_EVENT_SYSTEM, VT_SYSTEM_RESTARTED, (int64_t)S, 0, 0, "" },
        { { 7 * S }, VT_CLOCK_EVENT_SYSTEM, VT_SYSTEM_BOOTED, 0, 0, 0, "" },
        { { 8 * S }, VT_CLOCK_EVENT_SLEW, VTG_OS_MONOTONIC, 498400, 100, 0, "" },
        { { 8 * S }, VT_CLOCK_EVENT_AGENT, VTG_EVENT_CLOCKSOURCE, 0, 0, 0, "tsc \x1b[2J" },
        { { 12 * S }, VT_CLOCK_EVENT_AGENT, VTG_EVENT_AWAY, 10 * (int64_t)S, 12, 5, "" },
        { { 12 * S }, VT_CLOCK_EVENT_AGENT, VTG_EVENT_DROPPED, 5, 0, 0, "" },
        { { 13 * S }, VT_CLOCK_EVENT_VIEW, VTG_OS_MONOTONIC, (int64_t)S, 9, 0, "" },
        { { 13 * S + S / 10 }, VT_CLOCK_EVENT_VIEW, VTG_OS_MONOTONIC, (int64_t)S, 9, 0, "" },
        { { 13 * S + S / 5 }, VT_CLOCK_EVENT_VIEW, VTG_OS_MONOTONIC, (int64_t)S, 9, 0, "" },
        { { 13 * S + 3 * S / 10 }, VT_CLOCK_EVENT_VIEW, VTG_OS_MONOTONIC, (int64_t)S, 9, 0, "" },
        { { 13 * S + 2 * S / 5 }, VT_CLOCK_EVENT_VIEW, VTG_OS_MONOTONIC, (int64_t)S, 9, 0, "" },
    };
    char *text = NULL;
    size_t n;
    speak(m, &s);
    s.clocks.events = e;
    s.clocks.nr_events = sizeof(e) / sizeof(*e);
    m->vcpu[0].nr_stops = 2; /* those that overlap, of several vCPUs too, are one */
    m->vcpu[0].stops[0] = (struct vt_window){ { 3 * S }, { 5 * S } };
    m->vcpu[0].stops[1] = (struct vt_window){ { 4 * S }, { 6 * S } };
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    report_text_events(&m->view, f);
    assert_int_equal(fclose(f), 0);
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        if (!strstr(text, told[i]))
            fail_msg("'%s' is not in:\n%s", told[i], text);
    for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++)
        if (strstr(text, once[i]))
            fail_msg("'%s' is in:\n%s", once[i], text);
    assert_true(is_harmless(text));
    free(text);
}

static void clocks_of_a_system_are_a_row_of_its_clocks_in_json(void **state)
{
    struct made *m = *state;
    struct spoken s;
    speak(m, &s);
    char *text = json_text_of(&m->view);
    assert_true(is_harmless(text));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_string_equal(at(root, "guests.0.clocks.0.method")->valuestring,
                        "identity"); /* the vCPU's, as before */
    assert_true(cJSON_IsNull(at(root, "guests.0.clocks.1.vcpu")));
    assert_string_equal(at(root, "guests.0.clocks.1.method")->valuestring, "messages");
    assert_int_equal(at(root, "guests.0.clocks.1.bound_median_ns")->valuedouble, 52000);
    assert_string_equal(at(root, "guests.0.clocks.1.epochs.1.reason")->valuestring, "the guest booted anew");
    assert_true(at(root, "guests.0.clocks.1.system_clocks.realtime.drift_ppm")->valuedouble == 12.5);
    assert_true(cJSON_IsNull(at(root, "guests.0.clocks.1.system_clocks.tai")));
    assert_int_equal(at(root, "guests.0.clocks.1.channel.replayed.count")->valuedouble, 77);
    assert_string_equal(at(root, "guests.0.clocks.1.events.2.kind")->valuestring, "realtime");
    assert_true(cJSON_IsNull(at(root, "guests.0.clocks.1.residual")));
    assert_null(at(root, "guests.1.clocks.1"));
    cJSON_Delete(root);
}

static void a_chart_that_cannot_be_made_says_why(void **state)
{
    struct made *m = *state;
    struct vt_err err = { "" };
    assert_true(report_chart(&m->view, "/nonexistent/chart.svg", &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent/chart.svg"));
    assert_true(report_chart(&m->view, "chart.gif", &err) < 0);
    assert_non_null(strstr(err.text, ".svg"));
    bool svg;
    assert_int_equal(report_chart_kind("x.bmp", &svg, &err), -EINVAL); /* known before there is a recording */
    assert_int_equal(report_chart_kind("a.b/x", &svg, &err), -EINVAL);
    assert_int_equal(report_chart_kind("x.svg", &svg, &err), 0);
    assert_true(svg);
    m->snapshot.nr_guests = 0;
    assert_true(report_chart(&m->view, "/tmp/vtime-none.svg", &err) < 0);
    assert_int_equal(access("/tmp/vtime-none.svg", F_OK), -1);
}

static char *script_of(const struct report_view *v)
{
    char *text = NULL;
    size_t n;
    struct vt_err err;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    assert_int_equal(report_chart_script(v, true, f, &err), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void the_chart_draws_the_ledger(void **state)
{
    struct made *m = *state;
    char *text = script_of(&m->view);
    /* used is drawn from 0; pre-empted follows the overhead; three rows, the first at the top */
    assert_non_null(strstr(text, "$band0 << EOD\n0.000000 2.500000 3\n"));
    assert_non_null(strstr(text, "$band2 << EOD\n2.501000 9.991000 3\n"));
    assert_non_null(strstr(text, "bare run: 2.48 s of CPU"));
    assert_non_null(strstr(text, "10.000001 2.600000 9.900000 3\n"));
    assert_null(strstr(text, "stolen: quota")); /* nothing of it: no entry in the legend */
    free(text);
}

static void text_fits_and_shows_belief_beside_truth(void **state)
{
    struct made *m = *state;
    char *text = text_of(&m->view);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
        if (end - line > 120)
            fail_msg("%d columns: %.*s", (int)(end - line), (int)(end - line), line);
    static const char *const lines[] = {
        "    elapsed   TSC                   10.000 s  10.000 s +-2.0 us     0.0 %\n",
        "              tick count             2.600 s  10.000 s +-2.0 us   -74.0 %\n",
        "    CPU used  charged by its clock   9.900 s            2.500 s  +296.0 %\n",
        "    dilation   4.00, by others 4.00, stretch 3.99\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (!strstr(text, lines[i]))
            fail_msg("missing: %s", lines[i]);
    if (getenv("VT_SHOW"))
        fputs(text, stdout);
    free(text);
}

static void in_the_c_locale_text_is_ascii(void **state)
{
    struct made *m = *state;
    char *text = text_of(&m->view);
    for (const char *s = text; *s; s++)
        assert_in_range((unsigned char)*s, 1, 0x7e);
    free(text);
}

static void a_residual_is_always_printed(void **state)
{
    struct made *m = *state;
    char *text = text_of(&m->view);
    assert_non_null(strstr(text, "residual 0 ns"));
    free(text);
    m->bench[0].residual_ns = -1234;
    m->vcpu[0].residual_ns = 42;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "residual -1.234 us"));
    assert_non_null(strstr(text, "+42 ns"));
    free(text);
}

/* A second vCPU for the first guest. */
static struct vt_vcpu_figures *add_vcpu(struct made *m, struct vt_vcpu_figures both[2])
{
    both[0] = both[1] = m->vcpu[0];
    both[1].vcpu.index = 1;
    m->guest[0].vcpus = both;
    m->guest[0].nr_vcpus = 2;
    m->guest[0].joint.state[VT_JOINT_HAZARD] = (struct vt_figure){ 8 * S, 2000, VT_BOUNDED };
    m->guest[0].joint.state[VT_JOINT_FULL_RUN] = (struct vt_figure){ 3 * S, 2000, VT_BOUNDED };
    return both;
}

static void vcpus_are_told_of_together_where_there_are_several(void **state)
{
    struct made *m = *state;
    struct vt_vcpu_figures both[2];
    char *text = text_of(&m->view);
    assert_null(strstr(text, "Together"));
    assert_null(strstr(text, "Places"));
    free(text);
    add_vcpu(m, both);
    m->guest[0].joint.residual_ns = 7;
    text = text_of(&m->view);
    const char *table = strstr(text, "Together");
    assert_non_null(table);
    assert_non_null(strstr(table, "guest-1  8.000 s   3.000 s  +-2.000 us     +7 ns"));
    assert_null(strstr(table, "blocked")); /* nobody was: the column is left out */
    free(text);
    both[1].vcpu.index = 0; /* another life of the same vCPU */
    text = text_of(&m->view);
    assert_null(strstr(text, "Together"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_int_equal(at(root, "guests.0.vm_states.concurrency_hazard.bound_ns")->valueint, 2000);
    assert_int_equal(at(root, "guests.0.vm_states.residual_ns")->valueint, 7);
    cJSON_Delete(root);
    both[1].vcpu.index = 1;
    m->guest[0].joint.known = both[0].has_hops = false; /* recorded without slices */
    text = text_of(&m->view);
    assert_null(strstr(text, "Together"));
    free(text);
    root = json_of(&m->view);
    assert_true(cJSON_IsNull(at(root, "guests.0.vm_states")));
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.0.migrations_by")));
    cJSON_Delete(root);
}

static void places_are_told_where_vcpus_moved_or_have_siblings(void **state)
{
    struct made *m = *state;
    m->vcpu[0].hops[VT_HOP_OTHER_NODE] = 5;
    char *text = text_of(&m->view);
    const char *table = strstr(text, "Places");
    assert_non_null(table);
    assert_non_null(strstr(table, "to another node"));
    assert_null(strstr(table, "within a core"));
    assert_null(strstr(text, "sibling busy"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_int_equal(at(root, "guests.0.vcpus.0.migrations_by.other_node")->valueint, 5);
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.0.sibling_busy")));
    cJSON_Delete(root);
    m->vcpu[1].has_siblings = true;
    m->vcpu[1].sibling_busy = (struct vt_figure){ S, 2 * S, VT_BOUNDED };
    text = text_of(&m->view);
    table = strstr(text, "Places");
    assert_non_null(strstr(table, "sibling busy"));
    assert_non_null(strstr(table, "1.000 s  3.000 s"));
    free(text);
    root = json_of(&m->view);
    assert_string_equal(at(root, "guests.1.vcpus.0.sibling_busy.accuracy")->valuestring, "bounded");
    cJSON_Delete(root);
}

static void conditions_that_make_no_sense_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        ">",
        "stolen",
        "stolen>",
        "stolen>1",
        "stolen>nan%",
        "stolen>inf%",
        "stolen>0x10%",
        "stolen>1e3%",
        "stolen>-1%",
        "stolen>1.%.",
        "stolen>1 %%",
        "stolen==1%",
        "stolen=1%",
        "stolen>1%x",
        "stole>1%",
        "stolens>1%",
        "dilation>1%",
        "dilation>1s",
        "residual>1%",
        "residual>0",
        "stolen>1 h",
        "stolen>.%",
        "stolen>99999999999999999999%",
        "\x1b[2J>1%",
        "1%<stolen",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct report_condition c;
        struct vt_err err = { "" };
        if (report_parse_condition(bad[i], &c, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(strstr(err.text, "--fail-if"));
        assert_null(strchr(err.text, '\x1b'));
    }
}

static int judge(const struct report_view *v, const char *text)
{
    struct report_condition c;
    struct vt_err err;
    char *said = NULL;
    size_t n;
    if (report_parse_condition(text, &c, &err) < 0)
        fail_msg("%s", err.text);
    FILE *f = open_memstream(&said, &n);
    assert_non_null(f);
    int r = report_judge(v, &c, f);
    fclose(f);
    size_t lines = 0;
    for (char *s = said; (s = strchr(s, '\n')); s++)
        lines++;
    assert_int_equal(lines, r > 0 ? r : 0); /* each said in a line */
    free(said);
    return r;
}

static void conditions_are_judged_per_benchmark(void **state)
{
    struct made *m = *state;
    m->bench[1].truth = account_of(10 * S, 0, 5000000, 0, 0);
    assert_int_equal(judge(&m->view, "stolen>1%"), 1); /* 74.94 % and 0.05 % */
    assert_int_equal(judge(&m->view, "stolen > 0.01 %"), 2);
    assert_int_equal(judge(&m->view, "stolen>75%"), 0);
    assert_int_equal(judge(&m->view, "PREEMPTED>=5ms"), 2);
    assert_int_equal(judge(&m->view, "preempted>5ms"), 1);
    assert_int_equal(judge(&m->view, "dilation>1.1"), 1);
    assert_int_equal(judge(&m->view, "contention_dilation<=4"), 2);
    assert_int_equal(judge(&m->view, "used<3s"), 1);
    assert_int_equal(judge(&m->view, "lost>0%"), 0);
    assert_int_equal(judge(&m->view, "residual>0ns"), 0);
    m->bench[0].residual_ns = -1;
    assert_int_equal(judge(&m->view, "residual>0ns"), 1);
}

/* Two marks of guest-1: a point, and a begin without an end; the others have none. */
static void set_marks(struct made *m, struct vt_lone_mark marks[2])
{
    marks[0] = (struct vt_lone_mark){ .name = "hello", .kind = VTG_MARK_POINT, .placed = true };
    marks[0].at.v = 3 * S + 500000000;
    marks[0].bound_ns = 40;
    marks[0].accuracy = VT_BOUNDED;
    marks[1] = (struct vt_lone_mark){ .name = "cut", .kind = VTG_MARK_BEGIN, .lack = VT_MARK_LACKS_END };
    marks[1].placed = true;
    marks[1].at.v = 10 * S;
    marks[1].accuracy = VT_ESTIMATED;
    marks[1].so_far_ns = 2 * S;
    m->guest[0].nr_marks = 2;
    m->guest[0].marks = marks;
    m->guest[0].marks_lacking = 1;
}

static void marks_of_no_benchmark_are_told(void **state)
{
    struct made *m = *state;
    struct vt_lone_mark marks[2];
    char *text = text_of(&m->view);
    assert_null(strstr(text, "Marks: "));
    free(text);
    set_marks(m, marks);
    m->guest[0].marks_left_out = 7;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "Marks: "));
    assert_non_null(strstr(text, "hello  point  2.500000 s"));
    assert_non_null(strstr(text, "cut    begin  9.000000 s  estimated"));
    assert_non_null(strstr(text, "under way at the end, or"));
    assert_non_null(strstr(text, "7 of guest-1 left out"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_string_equal(at(root, "guests.0.marks.0.name")->valuestring, "hello");
    assert_true(at(root, "guests.0.marks.0.at_ns")->valuedouble == 2500000000);
    assert_true(at(root, "guests.0.marks.0.bound_ns")->valuedouble == 40);
    assert_true(cJSON_IsNull(at(root, "guests.0.marks.0.lacks")));
    assert_string_equal(at(root, "guests.0.marks.1.lacks")->valuestring, "end");
    assert_true(at(root, "guests.0.marks.1.so_far_ns")->valuedouble == 2000000000);
    assert_int_equal(at(root, "guests.0.marks_left_out")->valueint, 7);
    cJSON_Delete(root);
}

/* That no benchmark met it is not known where a guest's can't be told. */
static void benchmarks_that_cannot_be_told_fail(void **state)
{
    struct made *m = *state;
    struct vt_lone_mark marks[2];
    set_marks(m, marks);
    assert_int_equal(judge(&m->view, "stolen>99%"), 0); /* its other benchmark is judged */
    m->guest[0].nr_benchmarks = 0;
    assert_int_equal(judge(&m->view, "stolen>99%"), 1);
    m->guest[1].nr_benchmarks = 0;
    assert_int_equal(judge(&m->view, "stolen>99%"), 1);
    m->guest[0].marks_lacking = 0; /* points ask for nothing */
    m->guest[0].nr_marks = 1;
    assert_int_equal(judge(&m->view, "stolen>99%"), 0);
}

static void conditions_are_judged_on_the_safe_side(void **state)
{
    struct made *m = *state;
    m->guest[1].nr_benchmarks = 0;
    m->bench[0].truth = account_of(10 * S, 0, 50000000, 0, 0); /* 0.4975 % stolen */
    assert_int_equal(judge(&m->view, "stolen>1%"), 0);
    m->bench[0].truth.stolen.bound_ns = 100000000;
    assert_int_equal(judge(&m->view, "stolen>1%"), 1); /* it may have been 1.49 % */
    m->bench[0].truth.stolen.bound_ns = 0;
    m->bench[0].truth.state[VT_LOST] = m->bench[0].truth.unknown = exact(S);
    assert_int_equal(judge(&m->view, "stolen>1%"), 1); /* what is lost may have been stolen */
    assert_int_equal(judge(&m->view, "lost>10%"), 0);
    assert_int_equal(judge(&m->view, "lost>9%"), 1);
}

static void without_marks_guests_are_judged(void **state)
{
    struct made *m = *state;
    m->guest[0].nr_benchmarks = m->guest[1].nr_benchmarks = 0;
    assert_int_equal(judge(&m->view, "stolen>1%"), 2);
    m->snapshot.nr_guests = 0;
    assert_int_equal(judge(&m->view, "stolen>1%"), -61); /* ENODATA: nothing is no success */
}

static void windows_are_parsed_to_the_nanosecond(void **state)
{
    struct report_choice c = { 0 };
    struct vt_err err;
    (void)state;
    assert_int_equal(report_parse_window("1.5,2.000000001", &c, &err), 0);
    assert_int_equal(c.from_ns, 1500000000);
    assert_int_equal(c.to_ns, 2000000001);
    assert_int_equal(report_parse_window(",3", &c, &err), 0);
    assert_int_equal(c.from_ns, 0);
    assert_int_equal(report_parse_window("3,", &c, &err), 0);
    assert_true(c.to_ns == UINT64_MAX);
    static const char *const bad[] = { "",     "1",   "2,1", "1,1",          "a,b", "1,2,3",
                                       "-1,2", ".,1", "1;2", "99999999999,", "1,2x" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (report_parse_window(bad[i], &c, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
}

/* Two vCPUs and twelve ports: ten are named, and the rows add up to all accesses. */
static void the_busiest_addresses_are_told_and_none_is_dropped(void **state)
{
    struct made *m = *state;
    struct vt_vcpu_figures both[2];
    struct vt_address_figure of[2][12] = { 0 };
    add_vcpu(m, both);
    for (size_t v = 0; v < 2; v++) {
        for (uint32_t i = 0; i < 12; i++)
            of[v][i] = (struct vt_address_figure){ VT_ACCESS_PORT, true, 0x3f8 + i, 1000 - i };
        both[v].addresses = of[v];
        both[v].nr_addresses = 12;
        both[v].addresses_unsummed = 5;
    }
    char *text = text_of(&m->view);
    assert_null(strstr(text, "Busiest addresses")); /* it was not asked for */
    free(text);
    cJSON *root = json_of(&m->view);
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.0.addresses")));
    cJSON_Delete(root);
    m->snapshot.host.exit_addresses = true;
    text = text_of(&m->view);
    assert_non_null(strstr(text, "Busiest addresses"));
    assert_non_null(strstr(text, "0x3f8  write       2000   8.38 %  serial, COM1"));
    assert_null(strstr(text, "0x402 "));
    assert_non_null(strstr(text, "2 others"));
    assert_non_null(strstr(text, " 3958 ")); /* 2 * (1000 - 10) + 2 * (1000 - 11) */
    assert_non_null(strstr(text, "unsummed"));
    assert_non_null(strstr(text, "their addresses found no room"));
    free(text);
    root = json_of(&m->view);
    assert_int_equal(cJSON_GetArraySize(at(root, "guests.0.vcpus.1.addresses")), 12);
    assert_string_equal(at(root, "guests.0.vcpus.1.addresses.0.kind")->valuestring, "port");
    assert_string_equal(at(root, "guests.0.vcpus.1.addresses.0.hex")->valuestring, "0x3f8");
    assert_string_equal(at(root, "guests.0.vcpus.1.addresses.0.access")->valuestring, "write");
    assert_string_equal(at(root, "guests.0.vcpus.1.addresses.0.name")->valuestring, "serial, COM1");
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.1.addresses.8.name")));
    assert_int_equal(at(root, "guests.0.vcpus.1.addresses_unsummed")->valuedouble, 5);
    cJSON_Delete(root);
}

/* They are counted, and their time is not known: no zero stands for it. */
static void exits_without_a_sum_have_no_time(void **state)
{
    struct made *m = *state;
    struct vt_exit_figure exits[2] = { { .reason = 10, .name = "CPUID", .count = 30, .kernel_ns = 3000 },
                                       { .reason = VT_EXIT_UNSUMMED, .name = "unsummed", .count = 10 } };
    exits[0].log2[6] = 30;
    m->vcpu[0].exits_by = exits;
    m->vcpu[0].nr_exits = 2;
    char *text = text_of(&m->view);
    assert_non_null(strstr(text, "unsummed     0     10"));
    free(text);
    cJSON *root = json_of(&m->view);
    assert_string_equal(at(root, "guests.0.vcpus.0.exits.1.reason")->valuestring, "unsummed");
    assert_int_equal(at(root, "guests.0.vcpus.0.exits.1.count")->valuedouble, 10);
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.0.exits.1.kernel")));
    assert_true(cJSON_IsNull(at(root, "guests.0.vcpus.0.exits.1.kernel_ns_log2")));
    cJSON_Delete(root);
}

static void times_are_printed_in_the_unit_a_person_would_take(void **state)
{
    char text[FORMAT_LEN];
    (void)state;
    assert_string_equal(format_ns(text, 0, true), "0");
    assert_string_equal(format_ns(text, 999, true), "999 ns");
    assert_string_equal(format_ns(text, 1000, true), "1.000 µs");
    assert_string_equal(format_ns(text, 999499, false), "999.499 us");
    assert_string_equal(format_ns(text, 999500, true), "1.000 ms");
    assert_string_equal(format_ns(text, 999999499, true), "999.999 ms");
    assert_string_equal(format_ns(text, 999999500, true), "1.000 s");
    assert_string_equal(format_ns(text, 10003214567, true), "10.003 s");
    assert_string_equal(format_signed_ns(text, -1500000, false), "-1.500 ms");
    assert_string_equal(format_signed_ns(text, INT64_MIN, false), "-9223372036.855 s");
    assert_string_equal(format_figure(text, (struct vt_figure){ S, 2000, VT_BOUNDED }, true),
                        "1.000 s ±2.0 µs");
    assert_string_equal(format_figure(text, (struct vt_figure){ S, 0, VT_ESTIMATED }, true), "~1.000 s");
    assert_string_equal(format_error(text, 4, 1, true), "+300.0 %");
    assert_string_equal(format_error(text, 0, 0, false), "-");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(json_has_every_key_of_the_schema),
        T(json_figures_carry_their_accuracy),
        T(kvms_own_counters_are_told_by_the_kernels_names),
        T(json_keeps_all_digits_of_an_integer),
        T(json_dilation_is_taken_from_mark_to_mark),
        T(hostile_names_stay_words),
        T(a_system_tells_runs_and_processes),
        T(waits_with_a_cpu_idle_elsewhere_are_told_beside_what_is_owed),
        T(debtors_of_a_benchmark_have_a_kind_and_the_small_ones_are_one),
        T(a_hostile_name_does_not_command_gnuplot),
        T(clocks_of_a_system_are_told_and_hostile_words_stay_words),
        T(what_befell_a_guest_is_named_once),
        T(clocks_of_a_system_are_a_row_of_its_clocks_in_json),
        T(a_chart_that_cannot_be_made_says_why),
        T(the_chart_draws_the_ledger),
        T(text_fits_and_shows_belief_beside_truth),
        T(in_the_c_locale_text_is_ascii),
        T(a_residual_is_always_printed),
        T(vcpus_are_told_of_together_where_there_are_several),
        T(places_are_told_where_vcpus_moved_or_have_siblings),
        T(the_busiest_addresses_are_told_and_none_is_dropped),
        T(exits_without_a_sum_have_no_time),
        T(conditions_that_make_no_sense_are_refused),
        T(conditions_are_judged_per_benchmark),
        T(marks_of_no_benchmark_are_told),
        T(benchmarks_that_cannot_be_told_fail),
        T(conditions_are_judged_on_the_safe_side),
        T(without_marks_guests_are_judged),
        T(windows_are_parsed_to_the_nanosecond),
        T(times_are_printed_in_the_unit_a_person_would_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

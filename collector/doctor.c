/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime doctor: the table of checks, and how it is told. */
#include "doctor.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"

static const char help_text[] =
    "usage: vtime doctor [--json]\n\n"
    "Tries each thing that the kernel may or may not offer, and tells what follows\n"
    "for the figures and how to mend it. Runs without root, and then says what it\n"
    "could not try. Exit code 0 if recording is possible, 1 if it is not.\n\n"
    "      --json   the same, as JSON\n"
    "  -h, --help   this text\n";

/* One row: a check, or a probe class (check NULL). Without a needed one nothing is recorded. */
struct row {
    const char *name, *about;
    bool needed;
    doctor_check *check;
    unsigned probe;
};

static const struct row rows[] = {
    { "privilege", "loading BPF programs, reading other processes", true, doctor_privilege, 0 },
    { "BTF", "the kernel's description of its own types", true, doctor_btf, 0 },
    { "ledger", "the BPF programs that account each vCPU's time", true, doctor_ledger, 0 },
    { "probe switch", "sched_switch: on CPU or not", true, NULL, VT_PROBE_SWITCH },
    { "probe wakeup", "sched_wakeup: blocked or waiting for a CPU", false, NULL, VT_PROBE_WAKEUP },
    { "probe migrate", "sched_migrate_task: on whose run queue", false, NULL, VT_PROBE_MIGRATE },
    { "probe exit", "sched_process_exit: the end of a vCPU's thread", false, NULL, VT_PROBE_EXIT },
    { "probe kvm-run", "kvm_fpu: inside KVM_RUN or in the monitor", false, NULL, VT_PROBE_KVM_RUN },
    { "probe entry-exit", "kvm_entry, kvm_exit: in the guest or in KVM", false, NULL, VT_PROBE_ENTRY_EXIT },
    { "probe halt", "kvm_vcpu_wakeup: how long a HLT was polled", false, NULL, VT_PROBE_HALT },
    { "probe irq", "host interrupts inside a vCPU's time", false, NULL, VT_PROBE_IRQ },
    { "probe addresses", "kvm_pio, kvm_mmio, kvm_msr: what exits access", false, NULL, VT_PROBE_ADDRESSES },
    { "halted vCPUs", "blocked by HLT or by anything else", false, doctor_halted, 0 },
    { "quota", "runnable but held by a CPU quota", false, doctor_quota, 0 },
    { "running VMs", "finding guests that started earlier", false, doctor_running_vms, 0 },
    { "own cost", "run time of the BPF programs", false, doctor_cost, 0 },
    { "fentry", "BPF at kernel functions", false, doctor_fentry, 0 },
    { "/dev/kvm", "own guests: vtime run, demo, sweep", false, doctor_kvm, 0 },
    { "KVM back end", "how KVM enters guests", false, doctor_back_end, 0 },
    { "guest TSC", "KVM's own TSC offset and ratio of a vCPU", false, doctor_guest_tsc, 0 },
    { "host clock", "TSC and CLOCK_MONOTONIC, read together", false, doctor_clock, 0 },
    { "halt polling", "KVM's halt_poll_ns", false, doctor_halt_poll, 0 },
    { "KVM statistics", "KVM_GET_STATS_FD", false, doctor_kvm_stats, 0 },
    { "KVM debugfs", "counters of every VM on the host", false, doctor_kvm_debugfs, 0 },
    { "schedstat", "the scheduler's own account of a thread", false, doctor_schedstat, 0 },
    { "cgroup cpu", "quotas and shares", false, doctor_cgroup, 0 },
    { "hardware events", "perf_event: cycles, instructions, …", false, doctor_perf_hardware, 0 },
    { "software events", "perf_event: task-clock, switches, …", false, doctor_perf_software, 0 },
    { "outer host", "is this host itself a VM?", false, doctor_outer_host, 0 },
    { "autogroup", "shares per session", false, doctor_autogroup, 0 },
    { "SMT", "CPUs that share a core", false, doctor_smt, 0 },
    { "open files", "one for each guest's agent", false, doctor_files, 0 },
    { "storage", "a recording in this directory", false, doctor_storage, 0 },
};
enum { NR_ROWS = sizeof(rows) / sizeof(*rows) };

static const char *const status_names[] = {
    [DOCTOR_OK] = "ok",
    [DOCTOR_LIMITED] = "limited",
    [DOCTOR_MISSING] = "missing",
    [DOCTOR_UNTRIED] = "untried",
};

void doctor_found(struct doctor_finding *f, enum doctor_status status, const char *format, ...)
{
    va_list args;

    f->status = status;
    va_start(args, format);
    vsnprintf(f->found, sizeof(f->found), format, args);
    va_end(args);
}

void doctor_advise(struct doctor_finding *f, const char *means, const char *mend)
{
    snprintf(f->means, sizeof(f->means), "%s", means ? means : "");
    snprintf(f->mend, sizeof(f->mend), "%s", mend ? mend : "");
}

bool doctor_read_line(const char *path, char *buf, size_t size)
{
    FILE *file = fopen(path, "re");
    bool read = file && fgets(buf, (int)size, file);

    if (file)
        fclose(file);
    if (read)
        buf[strcspn(buf, "\n")] = 0;
    return read;
}

/* ---- telling ---- */

enum { COLUMNS = 100, STATUS_WIDTH = 9, NAME_WIDTH = 18, LABEL_WIDTH = 7 };

/* Columns of n bytes of UTF-8. */
static size_t width_of(const char *text, size_t n)
{
    size_t width = 0;

    for (size_t i = 0; i < n; i++)
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

/* Words from column `indent` on, broken before COLUMNS. */
static void print_wrapped(const char *text, size_t indent)
{
    size_t column = indent;

    while (*text) {
        size_t n = strcspn(text, " "), width = width_of(text, n);
        if (column > indent && column + 1 + width > COLUMNS) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        fwrite(text, 1, n, stdout);
        column += width;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_advice(const char *label, const char *text)
{
    if (!*text)
        return;
    printf("%*s%-*s", STATUS_WIDTH + NAME_WIDTH, "", LABEL_WIDTH, label);
    print_wrapped(text, STATUS_WIDTH + NAME_WIDTH + LABEL_WIDTH);
}

/* What was not tried may be there: no advice until it was. */
static bool advised(const struct doctor_finding *f)
{
    return f->status == DOCTOR_LIMITED || f->status == DOCTOR_MISSING;
}

static const char *blocker(const struct doctor_finding *findings)
{
    for (size_t i = 0; i < NR_ROWS; i++)
        if (rows[i].needed && findings[i].status >= DOCTOR_MISSING)
            return rows[i].name;
    return NULL;
}

static void print_text(const struct doctor_finding *findings)
{
    unsigned count[4] = { 0 };
    const char *why = blocker(findings);

    for (size_t i = 0; i < NR_ROWS; i++) {
        const struct doctor_finding *f = &findings[i];
        count[f->status]++;
        printf("%-*s%-*s", STATUS_WIDTH, status_names[f->status], NAME_WIDTH, rows[i].name);
        print_wrapped(f->found, STATUS_WIDTH + NAME_WIDTH);
        if (advised(f)) {
            print_advice("means:", f->means);
            print_advice("mend:", f->mend);
        }
    }
    printf("\n%u ok, %u limited, %u missing, %u untried: ", count[DOCTOR_OK], count[DOCTOR_LIMITED],
           count[DOCTOR_MISSING], count[DOCTOR_UNTRIED]);
    if (why)
        printf("recording is not possible, see \"%s\"\n", why);
    else
        puts("recording is possible");
}

static cJSON *json_of(const struct row *row, const struct doctor_finding *f)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "name", row->name);
    cJSON_AddStringToObject(o, "about", row->about);
    cJSON_AddStringToObject(o, "status", status_names[f->status]);
    cJSON_AddBoolToObject(o, "needed", row->needed);
    cJSON_AddStringToObject(o, "found", f->found);
    if (advised(f)) {
        cJSON_AddStringToObject(o, "means", f->means);
        cJSON_AddStringToObject(o, "mend", f->mend);
    }
    return o;
}

static void print_json(const struct doctor_finding *findings)
{
    cJSON *root = cJSON_CreateObject(), *checks;
    char *text;

    cJSON_AddNumberToObject(root, "schema", 1);
    cJSON_AddBoolToObject(root, "recording_possible", !blocker(findings));
    checks = cJSON_AddArrayToObject(root, "checks");
    for (size_t i = 0; i < NR_ROWS; i++)
        cJSON_AddItemToArray(checks, json_of(&rows[i], &findings[i]));
    text = cJSON_Print(root);
    if (text)
        puts(text);
    free(text);
    cJSON_Delete(root);
}

/* Returns -1 to go on, else the exit code. */
static int parse_options(int argc, char **argv, bool *ret_json)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return VT_EXIT_OK;
        }
        if (c == '?')
            return vt_usage_error("doctor");
        *ret_json = true;
    }
    if (optind < argc) {
        vt_complain("doctor: '%s' is not expected", argv[optind]);
        return vt_usage_error("doctor");
    }
    return -1;
}

static int main_doctor(int argc, char **argv)
{
    struct doctor_finding *findings;
    struct doctor d = { 0 };
    bool json = false;
    int code = parse_options(argc, argv, &json);

    if (code >= 0)
        return code;
    findings = calloc(NR_ROWS, sizeof(*findings));
    if (!findings) {
        vt_complain("doctor: out of memory");
        return VT_EXIT_FAILURE;
    }
    doctor_open(&d);
    for (size_t i = 0; i < NR_ROWS; i++) {
        if (rows[i].check)
            rows[i].check(&d, &findings[i]);
        else
            doctor_probe(&d, rows[i].probe, &findings[i]);
    }
    doctor_close(&d);
    if (json)
        print_json(findings);
    else
        print_text(findings);
    code = blocker(findings) ? VT_EXIT_FAILURE : VT_EXIT_OK;
    free(findings);
    return code;
}

VT_COMMAND(doctor, 10, "doctor", "what this host lets us observe, and how to mend it", main_doctor);

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/db.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/counter.h"
#include "base/exits.h"
#include "base/state.h"
#include "schema.sql.h"

/* What the numbers in the columns mean, for whoever reads with plain SQL. */
static const struct {
    const char *kind;
    int value;
    const char *name, *meaning;
} codes[] = {
    { "vm", VT_VM_KVM, "KVM", "a KVM guest" },
    { "vm", VT_VM_TCG, "TCG", "an emulated guest" },
    { "vm", VT_VM_UML, "UML", "User Mode Linux" },
    { "vm", VT_VM_CGROUP, "CGROUP", "a container" },
    { "found", VT_FOUND_BY_KVM, "KVM", "the kernel's structures tell which threads are its vCPUs" },
    { "found", VT_FOUND_BY_NAME, "NAME", "its vCPUs' threads have names" },
    { "found", VT_FOUND_BY_USE, "USE", "a guess: its threads have no names; those that used most CPU time" },
    { "found", VT_FOUND_BY_TRACE, "TRACE", "the process that traces, and those that it traces" },
    { "found", VT_FOUND_BY_CGROUP, "CGROUP", "every task of the cgroup" },
    { "occupant", VT_OCCUPANT_IDLE, "IDLE", "nobody: the CPU was idle" },
    { "occupant", VT_OCCUPANT_TASK, "TASK", "a thread of a process" },
    { "occupant", VT_OCCUPANT_KTHREAD, "KTHREAD", "a kernel thread" },
    { "occupant", VT_OCCUPANT_FORCED_IDLE, "FORCED_IDLE",
      "nobody: idle was chosen though tasks could run there (core scheduling)" },
    { "loss", VT_LOST_RING_FULL, "RING_FULL",
      "slices, occupancies, moves, waits or outer steal dropped: the ring was full" },
    { "loss", VT_LOST_NO_SLOT, "NO_SLOT", "more vCPUs than the ledger has slots" },
    { "loss", VT_LOST_NO_STORAGE, "NO_STORAGE", "task storage could not be had" },
    { "loss", VT_LOST_RECURSION, "RECURSION", "events missed while a BPF program ran" },
    { "loss", VT_LOST_AGENT, "AGENT", "guest frames dropped: bad, or over the rate limit" },
    { "loss", VT_LOST_STORE, "STORE", "slices dropped: the recording could not be written" },
    { "desync", VT_DESYNC_IN_NO_WAKE, "in_no_wake", "switched in while blocked, no wake-up was seen" },
    { "desync", VT_DESYNC_IN_ON_CPU, "in_on_cpu", "switched in while on a CPU" },
    { "desync", VT_DESYNC_OUT_OFF_CPU, "out_off_cpu", "switched out while not on a CPU" },
    { "desync", VT_DESYNC_OUT_GUEST, "out_guest", "switched out in guest mode: an exit was missed" },
    { "desync", VT_DESYNC_MODE, "mode", "entry, exit or KVM_RUN edge in the wrong mode" },
    { "desync", VT_DESYNC_BACKWARDS, "backwards", "the host's clock went backwards between two edges" },
    { "access", VT_ACCESS_PORT, "port", "I/O port" },
    { "access", VT_ACCESS_MMIO, "MMIO", "guest-physical address without memory behind it" },
    { "access", VT_ACCESS_MSR, "MSR", "model-specific register" },
    { "access", VT_ACCESS_UNSUMMED, "unsummed", "accesses whose address found no room" },
    { "side", VT_SIDE_BOTH, "both", "guest and host are not told apart" },
    { "side", VT_SIDE_GUEST, "guest", "counted in guest mode" },
    { "side", VT_SIDE_HOST, "host", "counted in the kernel and the monitor" },
    { "guest", VTG_KIND_PAYLOAD, "PAYLOAD", "vtime's own payload" },
    { "guest", VTG_KIND_BARE, "BARE", "the payload's work as a process of the host" },
    { "guest", VTG_KIND_LINUX, "LINUX", "Linux with vtime-agent" },
    { "mark", VTG_MARK_BEGIN, "BEGIN", "a benchmark begins" },
    { "mark", VTG_MARK_END, "END", "a benchmark ends" },
    { "mark", VTG_MARK_POINT, "POINT", "an instant" },
    { "tasks", VTG_TASKS_NONE, "NONE", "no stretches of tasks" },
    { "tasks", VTG_TASKS_BPF, "BPF", "exact, by a BPF program in the guest" },
    { "tasks", VTG_TASKS_PERF, "PERF", "exact, by perf_event's records of context switches" },
    { "tasks", VTG_TASKS_SAMPLED, "SAMPLED", "by samples" },
    { "event", VTG_EVENT_START, "START", "the agent began" },
    { "event", VTG_EVENT_STOP, "STOP", "the agent ends" },
    { "event", VTG_EVENT_CLOCKSOURCE, "CLOCKSOURCE", "text: the old clocksource and the new" },
    { "event", VTG_EVENT_STEP, "STEP", "CLOCK_REALTIME was set; a: by ns" },
    { "event", VTG_EVENT_SUSPEND, "SUSPEND", "the guest was suspended; a: for ns" },
    { "event", VTG_EVENT_CPU, "CPU", "cpu went online (a = 1) or offline (0)" },
    { "event", VTG_EVENT_DROPPED, "DROPPED",
      "a: frames for which there was no room while the host was away" },
    { "event", VTG_EVENT_AWAY, "AWAY", "the host was away; a: for ns, b: frames kept for it" },
    { "event", VTG_EVENT_NTP, "NTP", "adjtimex changed; a, b: status, freq; text: the tick in us" },
    { "event", VTG_EVENT_MISSED, "MISSED", "a: views that were due and not made" },
    { "event", VTG_EVENT_REFUSED, "REFUSED", "of more processes than a nothing is told" },
    { "channel", VT_CHANNEL_OPENED, "OPENED", "text: where to" },
    { "channel", VT_CHANNEL_CLOSED, "CLOSED", "by the other side" },
    { "channel", VT_CHANNEL_FAILED, "FAILED", "could not be opened; text: why" },
    { "channel", VT_CHANNEL_SESSION, "SESSION", "an agent begins; count: frames it had sent before" },
    { "channel", VT_CHANNEL_SILENT, "SILENT", "no answer; count: for ns" },
    { "channel", VT_CHANNEL_DAMAGED, "DAMAGED", "count: frames of bad CRC, length or type" },
    { "channel", VT_CHANNEL_GARBAGE, "GARBAGE", "count: bytes that belong to no frame" },
    { "channel", VT_CHANNEL_REPLAYED, "REPLAYED", "count: frames that were had already" },
    { "channel", VT_CHANNEL_MISSING, "MISSING", "count: frames that never came" },
    { "channel", VT_CHANNEL_FLOODED, "FLOODED", "count: times its allowance was spent" },
    { "channel", VT_CHANNEL_CLAIMED, "CLAIMED", "text: another VM's name, which it claims" },
    { "channel", VT_CHANNEL_ABSURD, "ABSURD", "count: answers to nothing asked" },
    { "channel", VT_CHANNEL_HELD, "HELD", "another is connected to the agent's port; text: where" },
    { "channel", VT_CHANNEL_PACED, "PACED", "its long-run budget was spent; count: times it had to wait" },
    { "have", VTG_HAVE_TSC, "TSC", "tsc_before and tsc_after are valid" },
    { "have", VTG_HAVE_KVMCLOCK, "KVMCLOCK", "kvmclock_ns is valid" },
    { "have", VTG_HAVE_STEAL, "STEAL", "steal_ns is valid" },
    { "have", VTG_HAVE_TICKS, "TICKS", "ticks is valid" },
    { "have", VTG_HAVE_CHARGED, "CHARGED", "charged_ns is valid" },
    { "have", VTG_HAVE_MONOTONIC, "MONOTONIC", "monotonic_ns is valid" },
    { "have", VTG_HAVE_CPUTIME, "CPUTIME", "cputime_ns is valid" },
};

static int insert_code(struct vt_store *store, sqlite3_stmt *stmt, const char *kind, int value,
                       const char *name, const char *meaning, struct vt_err *err)
{
    int rc = sqlite3_bind_text(stmt, 1, kind, -1, SQLITE_STATIC);
    rc = rc ? rc : sqlite3_bind_int(stmt, 2, value);
    rc = rc ? rc : sqlite3_bind_text(stmt, 3, name, -1, SQLITE_STATIC);
    rc = rc ? rc : sqlite3_bind_text(stmt, 4, meaning, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        return vt_db_fail(store, rc, "write", err);
    const int r = vt_db_step(store, stmt, err);
    sqlite3_reset(stmt);
    return r;
}

static int insert_exit_codes(struct vt_store *store, sqlite3_stmt *stmt, int reason, struct vt_err *err)
{
    static const struct {
        enum vt_exit_isa isa;
        const char *kind, *meaning;
    } kinds[] = {
        { VT_ISA_VMX, "exit-vmx", "the guest left, VMX" },
        { VT_ISA_SVM, "exit-svm", "the guest left, SVM" },
        { VT_ISA_ARM64, "exit-arm64", "the guest left, arm64" },
    };
    int r = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && r == 0; i++) {
        const char *name = vt_exit_name(kinds[i].isa, (uint32_t)reason);
        if (name)
            r = insert_code(store, stmt, kinds[i].kind, reason, name, kinds[i].meaning, err);
    }
    return r;
}

static int insert_codes(struct vt_store *store, struct vt_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = vt_db_prepare(store, "INSERT OR IGNORE INTO code VALUES (?1, ?2, ?3, ?4)", &stmt, err);
    for (int i = 0; i < VT_NR_STATES && r == 0; i++)
        r = insert_code(store, stmt, "state", i, vt_states[i].name, vt_states[i].meaning, err);
    for (int i = 0; i < VT_NR_COUNTERS && r == 0; i++)
        r = insert_code(store, stmt, "counter", i, vt_counters[i].name, vt_counters[i].meaning, err);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]) && r == 0; i++)
        r = insert_code(store, stmt, codes[i].kind, codes[i].value, codes[i].name, codes[i].meaning, err);
    for (int i = 0; i <= VT_EXIT_UNSUMMED && r == 0; i++)
        r = insert_exit_codes(store, stmt, i, err);
    sqlite3_finalize(stmt);
    return r;
}

static int set_pragma(struct vt_store *store, const char *name, int value, struct vt_err *err)
{
    char *sql = sqlite3_mprintf("PRAGMA %s = %d", name, value);
    const int r = sql ? vt_db_exec(store, sql, err) : vt_fail(err, ENOMEM, "out of memory");
    sqlite3_free(sql);
    return r;
}

int vt_schema_create(struct vt_store *store, struct vt_err *err)
{
    int r = vt_db_exec(store, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = vt_db_exec(store, vt_schema_sql, err);
    if (r == 0)
        r = insert_codes(store, err);
    if (r == 0)
        r = set_pragma(store, "application_id", VT_STORE_APPLICATION_ID, err);
    if (r == 0)
        r = set_pragma(store, "user_version", VT_STORE_VERSION, err);
    if (r == 0)
        r = vt_db_exec(store, "COMMIT", err);
    return r;
}

static int check_version(struct vt_store *store, int64_t *ret, struct vt_err *err)
{
    int64_t id = 0, version = 0;
    int r = vt_db_integer(store, "PRAGMA application_id", &id, err);
    if (r == 0)
        r = vt_db_integer(store, "PRAGMA user_version", &version, err);
    if (r < 0)
        return r;
    if (id != VT_STORE_APPLICATION_ID)
        return vt_fail(err, EUCLEAN, "%s is not a vtime recording", store->path);
    if (version > VT_STORE_VERSION)
        return vt_fail(err, ENOTSUP,
                       "%s was written by a newer vtime (schema %lld, this one reads %d); update vtime",
                       store->path, (long long)version, VT_STORE_VERSION);
    if (version > 0 && version < VT_STORE_OLDEST)
        return vt_fail(
            err, ENOTSUP,
            "%s was written by an older vtime (schema %lld, this one reads %d to %d): read it with that one",
            store->path, (long long)version, VT_STORE_OLDEST, VT_STORE_VERSION);
    if (version < VT_STORE_OLDEST)
        return vt_fail(err, EUCLEAN, "%s is damaged: it has no schema %d", store->path, VT_STORE_VERSION);
    *ret = version;
    return 0;
}

/* What a later schema brought: an older recording lacks it, and has no such rows. */
static const struct {
    int version;
    const char *table;
} additions[] = {
    { 4, "kvm_stat" }, { 4, "kvm_count" },     { 4, "vm_found" },    { 4, "system" },
    { 4, "os_view" },  { 4, "cpus" },          { 4, "cpu_time" },    { 4, "process" },
    { 4, "run" },      { 4, "task" },          { 4, "tasks" },       { 4, "event" },
    { 4, "exchange" }, { 4, "channel_event" }, { 5, "helper_wait" }, { 6, "outer_steal" },
};

static bool is_later(const char *table, int64_t version)
{
    for (size_t i = 0; i < sizeof(additions) / sizeof(additions[0]); i++)
        if (strcmp(additions[i].table, table) == 0)
            return additions[i].version > version;
    return false;
}

/* The next character of a statement outside quotes: blanks and comments are one blank. */
static char next_of(const char **at, char quote)
{
    const char *p = *at;
    while (!quote && (isspace((unsigned char)*p) || strncmp(p, "--", 2) == 0))
        p += *p == '-' ? strcspn(p, "\n") : 1;
    const bool blank = p != *at;
    *at = blank || !*p ? p : p + 1;
    return blank ? ' ' : *p;
}

bool vt_schema_same_words(const char *a, const char *b)
{
    char quote = 0, c;
    do {
        c = next_of(&a, quote);
        if (c != next_of(&b, quote))
            return false;
        if (quote ? c == quote : c == '\'' || c == '"')
            quote = quote ? 0 : c;
    } while (c);
    return true;
}

/*
 * Every table of the model must be in the file, with the same words but for comments: no view, trigger
 * or column of another's.
 */
static int compare_tables(struct vt_store *store, struct vt_store *model, int64_t version, struct vt_err *err)
{
    static const char list[] = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND "
                               "name NOT LIKE 'sqlite_%' AND type = 'table'";
    static const char find[] = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    sqlite3_stmt *wanted = NULL, *found = NULL;
    int r = vt_db_prepare(model, list, &wanted, err);
    if (r == 0)
        r = vt_db_prepare(store, find, &found, err);
    while (r == 0 && (r = vt_db_step(model, wanted, err)) == 1) {
        if (is_later((const char *)sqlite3_column_text(wanted, 0), version)) {
            r = 0;
            continue;
        }
        sqlite3_bind_value(found, 1, sqlite3_column_value(wanted, 0));
        r = vt_db_step(store, found, err);
        const char *sql = r == 1 ? (const char *)sqlite3_column_text(found, 0) : NULL;
        if (r == 1 && (!sql || !vt_schema_same_words(sql, (const char *)sqlite3_column_text(wanted, 1))))
            r = 0;
        if (r == 0)
            r = vt_fail(err, EUCLEAN, "%s is damaged: its table %s is missing or another", store->path,
                        (const char *)sqlite3_column_text(wanted, 0));
        else if (r == 1)
            r = 0;
        sqlite3_reset(found);
    }
    sqlite3_finalize(wanted);
    sqlite3_finalize(found);
    return r;
}

static int open_model(struct vt_store *model, struct vt_err *err)
{
    if (sqlite3_open_v2(":memory:", &model->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return vt_fail(err, ENOMEM, "out of memory");
    return vt_db_exec(model, vt_schema_sql, err);
}

int vt_schema_check(struct vt_store *store, struct vt_err *err)
{
    struct vt_store model = { .path = store->path };
    int64_t version = 0;
    int r = check_version(store, &version, err);
    if (r < 0)
        return r;
    r = open_model(&model, err);
    if (r == 0)
        r = compare_tables(store, &model, version, err);
    sqlite3_close(model.db);
    for (int i = 0; i < VT_NR_TABLES; i++)
        store->absent[i] = is_later(vt_table_name((enum vt_table)i), version);
    return r;
}

/* The words that make a table, as the model has them. */
static int add_table(struct vt_store *store, struct vt_store *model, const char *table, struct vt_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = vt_db_prepare(model, "SELECT sql FROM sqlite_schema WHERE name = ?1", &stmt, err);
    if (r == 0)
        sqlite3_bind_text(stmt, 1, table, -1, SQLITE_STATIC);
    if (r == 0 && (r = vt_db_step(model, stmt, err)) == 1)
        r = vt_db_exec(store, (const char *)sqlite3_column_text(stmt, 0), err);
    sqlite3_finalize(stmt);
    return r;
}

int vt_schema_bring_up(struct vt_store *store, struct vt_err *err)
{
    struct vt_store model = { .path = store->path };
    int64_t version = 0;
    int r = check_version(store, &version, err);
    if (r < 0 || version == VT_STORE_VERSION)
        return r;
    r = open_model(&model, err);
    for (size_t i = 0; i < sizeof(additions) / sizeof(additions[0]) && r == 0; i++)
        if (additions[i].version > version)
            r = add_table(store, &model, additions[i].table, err);
    sqlite3_close(model.db);
    if (r == 0)
        r = insert_codes(store, err);
    if (r == 0)
        r = set_pragma(store, "user_version", VT_STORE_VERSION, err);
    if (r == 0)
        memset(store->absent, 0, sizeof(store->absent));
    return r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading: one transaction over all that is new; every row is foreign. */
#include "store/db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One walk: what it reads for whom, and how far it came. */
struct walk {
    struct vt_store *store;
    const struct vt_store_reader *reader;
    struct vt_store_cursor *cursor;
    struct vt_err *err;
};

static bool is_wanted(const struct vt_store_reader *reader, enum vt_table table)
{
    switch (table) {
    case VT_TABLE_CPU:
        return reader->cpu;
    case VT_TABLE_VM:
        return reader->vm;
    case VT_TABLE_VM_FOUND:
        return reader->vm_found;
    case VT_TABLE_VCPU:
        return reader->vcpu;
    case VT_TABLE_TSC_EPOCH:
        return reader->tsc_epoch;
    case VT_TABLE_CLOCK_PAIR:
        return reader->clock_pair;
    case VT_TABLE_LOSS:
        return reader->loss;
    case VT_TABLE_OBSERVER:
        return reader->observer;
    case VT_TABLE_OCCUPANCY:
        return reader->occupancy;
    case VT_TABLE_MOVE:
        return reader->move;
    case VT_TABLE_EXITS:
        return reader->exits;
    case VT_TABLE_KVM_STAT:
        return reader->kvm_stat;
    case VT_TABLE_KVM_COUNT:
        return reader->kvm_count;
    case VT_TABLE_EXIT_ADDRESS:
        return reader->exit_address;
    case VT_TABLE_HELPER:
        return reader->helper;
    case VT_TABLE_HELPER_TIME:
        return reader->helper_time;
    case VT_TABLE_HELPER_WAIT:
        return reader->helper_wait;
    case VT_TABLE_OUTER_STEAL:
        return reader->outer_steal;
    case VT_TABLE_HELLO:
    case VT_TABLE_CLOCK_VIEW:
    case VT_TABLE_MARK:
    case VT_TABLE_GAPS:
    case VT_TABLE_SYSTEM:
    case VT_TABLE_OS_VIEW:
    case VT_TABLE_CPUS:
    case VT_TABLE_PROCESS:
    case VT_TABLE_RUN:
    case VT_TABLE_TASK:
    case VT_TABLE_TASKS:
    case VT_TABLE_EVENT:
        return reader->guest_record;
    case VT_TABLE_EXCHANGE:
        return reader->exchange;
    case VT_TABLE_CHANNEL_EVENT:
        return reader->channel_event;
    case VT_TABLE_CHECKPOINT:
        return reader->checkpoint;
    case VT_TABLE_COUNTER_EVENT:
        return reader->counter_event;
    case VT_TABLE_COUNTER:
        return reader->counter;
    case VT_NR_TABLES:
        break;
    }
    return false;
}

static int deliver(const struct vt_store_reader *reader, enum vt_table table, const union vt_row *row)
{
    void *context = reader->context;
    switch (table) {
    case VT_TABLE_CPU:
        return reader->cpu(context, &row->cpu);
    case VT_TABLE_VM:
        return reader->vm(context, &row->vm);
    case VT_TABLE_VM_FOUND:
        return reader->vm_found(context, &row->vm_found);
    case VT_TABLE_VCPU:
        return reader->vcpu(context, &row->vcpu);
    case VT_TABLE_TSC_EPOCH:
        return reader->tsc_epoch(context, &row->tsc_epoch);
    case VT_TABLE_CLOCK_PAIR:
        return reader->clock_pair(context, &row->clock_pair);
    case VT_TABLE_LOSS:
        return reader->loss(context, &row->loss);
    case VT_TABLE_OBSERVER:
        return reader->observer(context, &row->observer);
    case VT_TABLE_OCCUPANCY:
        return reader->occupancy(context, &row->occupancy);
    case VT_TABLE_MOVE:
        return reader->move(context, &row->move);
    case VT_TABLE_EXITS:
        return reader->exits(context, &row->exits);
    case VT_TABLE_KVM_STAT:
        return reader->kvm_stat(context, &row->kvm_stat);
    case VT_TABLE_KVM_COUNT:
        return reader->kvm_count(context, &row->kvm_count);
    case VT_TABLE_EXIT_ADDRESS:
        return reader->exit_address(context, &row->exit_address);
    case VT_TABLE_HELPER:
        return reader->helper(context, &row->helper);
    case VT_TABLE_HELPER_TIME:
        return reader->helper_time(context, &row->helper_time);
    case VT_TABLE_HELPER_WAIT:
        return reader->helper_wait(context, &row->helper_wait);
    case VT_TABLE_OUTER_STEAL:
        return reader->outer_steal(context, &row->outer_steal);
    case VT_TABLE_HELLO:
    case VT_TABLE_CLOCK_VIEW:
    case VT_TABLE_MARK:
    case VT_TABLE_GAPS:
    case VT_TABLE_SYSTEM:
    case VT_TABLE_OS_VIEW:
    case VT_TABLE_CPUS:
    case VT_TABLE_PROCESS:
    case VT_TABLE_RUN:
    case VT_TABLE_TASK:
    case VT_TABLE_TASKS:
    case VT_TABLE_EVENT:
        return reader->guest_record(context, &row->guest_record);
    case VT_TABLE_EXCHANGE:
        return reader->exchange(context, &row->exchange);
    case VT_TABLE_CHANNEL_EVENT:
        return reader->channel_event(context, &row->channel_event);
    case VT_TABLE_CHECKPOINT:
        return reader->checkpoint(context, &row->checkpoint);
    case VT_TABLE_COUNTER_EVENT:
        return reader->counter_event(context, &row->counter_event);
    case VT_TABLE_COUNTER:
        return reader->counter(context, &row->counter);
    case VT_NR_TABLES:
        break;
    }
    return -EINVAL;
}

static int select_rows(struct walk *walk, enum vt_table table, const char *key, const char *order,
                       int64_t after, sqlite3_stmt **ret)
{
    char *sql =
        sqlite3_mprintf("SELECT * FROM %s WHERE %s > ?1 ORDER BY %s", vt_table_name(table), key, order);
    int r = vt_db_prepare(walk->store, sql, ret, walk->err);
    sqlite3_free(sql);
    if (r == 0 && sqlite3_bind_int64(*ret, 1, after) != SQLITE_OK)
        r = vt_fail(walk->err, ENOMEM, "out of memory");
    return r;
}

/* Rows after *position; the position is that of the greatest key. */
static int walk_table(struct walk *walk, enum vt_table table, const char *key, const char *order,
                      int64_t *position)
{
    sqlite3_stmt *stmt = NULL;
    union vt_row row;
    if (!is_wanted(walk->reader, table) || walk->store->absent[table])
        return 0;
    int64_t newest = *position;
    int r = select_rows(walk, table, key, order, *position, &stmt);
    while (r == 0 && (r = vt_db_step(walk->store, stmt, walk->err)) == 1) {
        const int64_t id = sqlite3_column_int64(stmt, 0);
        newest = id > newest ? id : newest;
        r = vt_row_fetch(walk->store, table, stmt, &row, walk->err);
        if (r == 0)
            r = deliver(walk->reader, table, &row);
    }
    sqlite3_finalize(stmt);
    *position = newest;
    return r;
}

/* ---- guest records: a table for each type, one order of arrival ---- */

struct merge {
    sqlite3_stmt *stmt[VT_NR_RECORD_TABLES];
    bool has_row[VT_NR_RECORD_TABLES];
    sqlite3_stmt *gaps, *cpus;
};

static int advance(struct walk *walk, struct merge *merge, size_t i)
{
    const int r = vt_db_step(walk->store, merge->stmt[i], walk->err);
    merge->has_row[i] = r == 1;
    return r < 0 ? r : 0;
}

static int open_merge(struct walk *walk, struct merge *merge)
{
    int r = vt_db_prepare(walk->store, "SELECT nr, at_tsc, len_ticks FROM gap WHERE gaps = ?1 ORDER BY nr",
                          &merge->gaps, walk->err);
    if (r == 0 && !walk->store->absent[VT_TABLE_CPUS])
        r = vt_db_prepare(walk->store, "SELECT * FROM cpu_time WHERE cpus = ?1 ORDER BY nr", &merge->cpus,
                          walk->err);
    for (size_t i = 0; i < VT_NR_RECORD_TABLES && r == 0; i++) {
        const enum vt_table table = vt_record_tables[i].table;
        if (walk->store->absent[table])
            continue;
        r = select_rows(walk, table, "id", "id", walk->cursor->guest_record, &merge->stmt[i]);
        if (r == 0)
            r = advance(walk, merge, i);
    }
    return r;
}

static void close_merge(struct merge *merge)
{
    for (size_t i = 0; i < VT_NR_RECORD_TABLES; i++)
        sqlite3_finalize(merge->stmt[i]);
    sqlite3_finalize(merge->gaps);
    sqlite3_finalize(merge->cpus);
}

static int wrong_rows(struct walk *walk, const char *table, const char *rows, int64_t id)
{
    return vt_fail(walk->err, EUCLEAN, "%s is damaged: %s row %lld has other rows in %s than it says",
                   walk->store->path, table, (long long)id, rows);
}

static int fetch_gaps(struct walk *walk, struct merge *merge, int64_t id, struct vtg_gaps *gaps)
{
    uint32_t seen = 0;
    int r = 0;
    if (sqlite3_bind_int64(merge->gaps, 1, id) != SQLITE_OK)
        return vt_fail(walk->err, ENOMEM, "out of memory");
    while (seen < VTG_GAPS_MAX && (r = vt_db_step(walk->store, merge->gaps, walk->err)) == 1) {
        if (sqlite3_column_int64(merge->gaps, 0) != seen)
            break;
        gaps->gaps[seen].at = (uint64_t)sqlite3_column_int64(merge->gaps, 1);
        gaps->gaps[seen].len = (uint64_t)sqlite3_column_int64(merge->gaps, 2);
        seen++;
    }
    sqlite3_reset(merge->gaps);
    if (r < 0)
        return r;
    if (seen != gaps->nr)
        return wrong_rows(walk, "gaps", "gap", id);
    return 0;
}

/* Of cpu_time's columns, from the third on. */
static struct vtg_cpu_time cpu_time_of(sqlite3_stmt *stmt)
{
    struct vtg_cpu_time t = { .cpu = (uint32_t)sqlite3_column_int64(stmt, 2),
                              .online = (uint32_t)sqlite3_column_int64(stmt, 3) };
    uint64_t *const ns[] = { &t.user, &t.nice,    &t.system, &t.idle, &t.iowait,
                             &t.irq,  &t.softirq, &t.steal,  &t.guest };
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
        *ns[i] = (uint64_t)sqlite3_column_int64(stmt, 4 + (int)i);
    return t;
}

static int fetch_cpus(struct walk *walk, struct merge *merge, int64_t id, struct vtg_cpus *cpus)
{
    uint32_t seen = 0;
    int r = 0;
    if (sqlite3_bind_int64(merge->cpus, 1, id) != SQLITE_OK)
        return vt_fail(walk->err, ENOMEM, "out of memory");
    while (seen < VTG_CPUS_MAX && (r = vt_db_step(walk->store, merge->cpus, walk->err)) == 1) {
        if (sqlite3_column_int64(merge->cpus, 1) != seen)
            break;
        cpus->cpus[seen++] = cpu_time_of(merge->cpus);
    }
    sqlite3_reset(merge->cpus);
    if (r < 0)
        return r;
    return seen == cpus->nr ? 0 : wrong_rows(walk, "cpus", "cpu_time", id);
}

static int next_record(struct walk *walk, struct merge *merge, size_t i)
{
    union vt_row row;
    const int64_t id = sqlite3_column_int64(merge->stmt[i], 0);
    const struct vt_record_table *source = &vt_record_tables[i];
    int r = vt_row_fetch(walk->store, source->table, merge->stmt[i], &row, walk->err);
    row.guest_record.type = source->type;
    if (r == 0 && source->type == VTG_GAPS)
        r = fetch_gaps(walk, merge, id, &row.guest_record.gaps);
    if (r == 0 && source->type == VTG_CPUS)
        r = fetch_cpus(walk, merge, id, &row.guest_record.cpus);
    if (r == 0)
        r = deliver(walk->reader, source->table, &row);
    walk->cursor->guest_record = id;
    return r ? r : advance(walk, merge, i);
}

static int walk_guest_records(struct walk *walk)
{
    struct merge merge = { 0 };
    if (!walk->reader->guest_record)
        return 0;
    int r = open_merge(walk, &merge);
    while (r == 0) {
        size_t least = VT_NR_RECORD_TABLES;
        for (size_t i = 0; i < VT_NR_RECORD_TABLES; i++)
            if (merge.has_row[i] &&
                (least == VT_NR_RECORD_TABLES ||
                 sqlite3_column_int64(merge.stmt[i], 0) < sqlite3_column_int64(merge.stmt[least], 0)))
                least = i;
        if (least == VT_NR_RECORD_TABLES)
            break;
        r = next_record(walk, &merge, least);
    }
    close_merge(&merge);
    return r;
}

/* ---- slices ---- */

/* The columns repeat the chunk's own header: they must agree. */
static bool agrees(sqlite3_stmt *stmt, const struct vt_slice *slices, int n)
{
    for (int i = 0; i < n; i++)
        if (!vt_slice_is_sane(&slices[i]))
            return false;
    return (uint64_t)sqlite3_column_int64(stmt, 2) == slices[0].seq &&
           (uint64_t)sqlite3_column_int64(stmt, 3) == slices[0].t_out &&
           (uint64_t)sqlite3_column_int64(stmt, 4) == slices[n - 1].t_end &&
           sqlite3_column_int64(stmt, 5) == n && slices[0].seq <= INT64_MAX;
}

static int next_chunk(struct walk *walk, sqlite3_stmt *stmt, struct vt_slice *slices)
{
    const int64_t id = sqlite3_column_int64(stmt, 0), vcpu = sqlite3_column_int64(stmt, 1);
    const void *data = sqlite3_column_blob(stmt, 6);
    const int size = sqlite3_column_bytes(stmt, 6);
    const int n = data ? vt_chunk_decode(data, (size_t)size, slices, VT_CHUNK_SLICES) : -EUCLEAN;
    if (n < 0 || vcpu < 1 || !agrees(stmt, slices, n))
        return vt_fail(walk->err, EUCLEAN, "%s is damaged: chunk %lld of vCPU %lld does not decode",
                       walk->store->path, (long long)id, (long long)vcpu);
    if (id > walk->cursor->chunk)
        walk->cursor->chunk = id;
    return walk->reader->slices(walk->reader->context, vcpu, slices, (size_t)n);
}

/* By vCPU, then seq: a vCPU's chunks were written in order. Only the keys are sorted, not the BLOBs. */
static int walk_chunks(struct walk *walk)
{
    static const char keys[] = "SELECT id FROM chunk WHERE id > ?1 ORDER BY vcpu, id";
    sqlite3_stmt *key = NULL, *row = NULL;
    struct vt_slice *slices = NULL;
    if (!walk->reader->slices)
        return 0;
    int r = vt_db_prepare(walk->store, keys, &key, walk->err);
    if (r == 0)
        r = vt_db_prepare(walk->store, "SELECT * FROM chunk WHERE id = ?1", &row, walk->err);
    if (r == 0 && (!(slices = malloc(VT_CHUNK_SLICES * sizeof(*slices))) ||
                   sqlite3_bind_int64(key, 1, walk->cursor->chunk) != SQLITE_OK))
        r = vt_fail(walk->err, ENOMEM, "out of memory");
    while (r == 0 && (r = vt_db_step(walk->store, key, walk->err)) == 1) {
        sqlite3_bind_int64(row, 1, sqlite3_column_int64(key, 0));
        r = vt_db_step(walk->store, row, walk->err);
        if (r == 1)
            r = next_chunk(walk, row, slices);
        else if (r == 0)
            r = vt_fail(walk->err, EUCLEAN, "%s is damaged: a chunk is gone", walk->store->path);
        sqlite3_reset(row);
    }
    free(slices);
    sqlite3_finalize(row);
    sqlite3_finalize(key);
    return r;
}

/* ---- all of it ---- */

static int walk_all(struct walk *walk)
{
    struct vt_store_cursor *at = walk->cursor;
    int r = walk_table(walk, VT_TABLE_CPU, "id", "id", &at->cpu);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_VM, "rev", "rev", &at->vm);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_VM_FOUND, "id", "id", &at->vm_found);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_VCPU, "id", "id", &at->vcpu);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_TSC_EPOCH, "id", "id", &at->tsc_epoch);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_CLOCK_PAIR, "id", "id", &at->clock_pair);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_LOSS, "id", "id", &at->loss);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_OBSERVER, "id", "id", &at->observer);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_OCCUPANCY, "id", "id", &at->occupancy);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_MOVE, "id", "id", &at->move);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_EXITS, "id", "id", &at->exits);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_EXIT_ADDRESS, "id", "id", &at->exit_address);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_KVM_STAT, "id", "id", &at->kvm_stat);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_KVM_COUNT, "id", "id", &at->kvm_count);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_HELPER, "id", "id", &at->helper);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_HELPER_TIME, "id", "id", &at->helper_time);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_HELPER_WAIT, "id", "id", &at->helper_wait);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_OUTER_STEAL, "id", "id", &at->outer_steal);
    if (r == 0)
        r = walk_guest_records(walk);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_EXCHANGE, "id", "id", &at->exchange);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_CHANNEL_EVENT, "id", "id", &at->channel_event);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_CHECKPOINT, "id", "at_ns, id", &at->checkpoint);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_COUNTER_EVENT, "id", "id", &at->counter_event);
    if (r == 0)
        r = walk_table(walk, VT_TABLE_COUNTER, "id", "id", &at->counter);
    if (r == 0)
        r = walk_chunks(walk);
    return r;
}

static int refuse_uncommitted(const struct vt_store *store, struct vt_err *err)
{
    if (!store->in_transaction && !store->failed)
        return 0;
    return vt_fail(err, EBUSY, "%s has rows that are not committed; commit before reading", store->path);
}

int vt_store_read(struct vt_store *store, struct vt_store_cursor *cursor,
                  const struct vt_store_reader *reader, struct vt_err *err)
{
    struct vt_store_cursor at = *cursor;
    struct walk walk = { .store = store, .reader = reader, .cursor = &at, .err = err };
    int r = refuse_uncommitted(store, err);
    if (r == 0)
        r = vt_db_exec(store, "BEGIN", err);
    if (r < 0)
        return r;
    r = walk_all(&walk);
    sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    if (r == 0)
        *cursor = at;
    return r;
}

int vt_store_get_host(struct vt_store *store, struct vt_host *ret, struct vt_err *err)
{
    const int r = refuse_uncommitted(store, err);
    return r < 0 ? r : vt_meta_fetch(store, ret, err);
}

int vt_store_slice_size(struct vt_store *store, uint64_t *ret_slices, uint64_t *ret_bytes, struct vt_err *err)
{
    int64_t slices = 0, bytes = 0;
    int r = refuse_uncommitted(store, err);
    if (r == 0)
        r = vt_db_integer(store, "SELECT coalesce(sum(slices), 0) FROM chunk", &slices, err);
    if (r == 0)
        r = vt_db_integer(store, "SELECT coalesce(sum(length(data)), 0) FROM chunk", &bytes, err);
    if (r < 0)
        return r;
    *ret_slices = (uint64_t)slices;
    *ret_bytes = (uint64_t)bytes;
    return 0;
}

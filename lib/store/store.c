/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening, writing, committing. */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_MS = 2000, MAX_VCPU_ID = 1 << 24, MAX_VALUE_BYTES = 1 << 20 };

static const char in_memory[] = ":memory:";

/* ---- opening ---- */

static int new_store(const char *path, bool writer, struct vt_store **ret, struct vt_err *err)
{
    struct vt_store *store = calloc(1, sizeof(*store));
    if (!store || !(store->path = strdup(path))) {
        free(store);
        return vt_fail(err, ENOMEM, "out of memory");
    }
    store->writer = writer;
    *ret = store;
    return 0;
}

static int file_failure(int number, const char *doing, const char *path, struct vt_err *err)
{
    return vt_fail(err, number, "cannot %s %s: %s", doing, path, strerror(number));
}

/* Is the file at fd empty, or does its SQLite header name us? */
static bool is_ours(int fd)
{
    uint8_t head[100];
    const ssize_t n = pread(fd, head, sizeof(head), 0);
    if (n == 0)
        return true;
    if (n != (ssize_t)sizeof(head) || memcmp(head, "SQLite format 3", 16) != 0)
        return false;
    const uint32_t id =
        (uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 | (uint32_t)head[70] << 8 | head[71];
    return id == VT_STORE_APPLICATION_ID;
}

static int remove_file(const char *path, const char *suffix, struct vt_err *err)
{
    char *name = sqlite3_mprintf("%s%s", path, suffix);
    if (!name)
        return vt_fail(err, ENOMEM, "out of memory");
    const int r = unlink(name) < 0 && errno != ENOENT ? file_failure(errno, "replace", name, err) : 0;
    sqlite3_free(name);
    return r;
}

/* Nothing but an old recording is ever removed. */
static int remove_old(const char *path, struct vt_err *err)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? 0 : file_failure(errno, "replace", path, err);
    const bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_ours(fd);
    close(fd);
    if (!ours)
        return vt_fail(err, EEXIST, "%s is not a vtime recording and is not replaced; choose another name",
                       path);
    int r = remove_file(path, "", err);
    if (r == 0)
        r = remove_file(path, "-journal", err);
    if (r == 0)
        r = remove_file(path, "-wal", err);
    if (r == 0)
        r = remove_file(path, "-shm", err);
    return r;
}

static int create_file(const char *path, bool replace, struct vt_err *err)
{
    int r = replace ? remove_old(path, err) : 0;
    if (r < 0)
        return r;
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return vt_fail(err, EEXIST, "%s exists; choose another name, or replace it", path);
    if (fd < 0)
        return file_failure(errno, "create", path, err);
    close(fd);
    return 0;
}

/* uri: see https://www.sqlite.org/uri.html; NULL: the path itself */
static int connect_db(struct vt_store *store, const char *uri, int flags, struct vt_err *err)
{
    const int all = flags | SQLITE_OPEN_NOMUTEX | (uri ? SQLITE_OPEN_URI : 0);
    int rc = sqlite3_open_v2(uri ? uri : store->path, &store->db, all, NULL);
    if (rc != SQLITE_OK)
        return vt_db_fail(store, rc, "open", err);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, BUSY_MS);
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (!store->writer)
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return 0;
}

int vt_store_create(const char *path, bool replace, struct vt_store **ret, struct vt_err *err)
{
    struct vt_store *store = NULL;
    const bool memory = strcmp(path, in_memory) == 0;
    int r = new_store(path, true, &store, err);
    if (r < 0)
        return r;
    r = memory ? 0 : create_file(path, replace, err);
    const bool created = r == 0 && !memory;
    if (r == 0)
        r = connect_db(store, NULL, SQLITE_OPEN_READWRITE, err);
    /* Small pages: a chunk of 0.5–2 KiB would leave a third of a large page empty. */
    if (r == 0)
        r = vt_db_exec(store, "PRAGMA page_size = 512; PRAGMA wal_autocheckpoint = 8000", err);
    /* The schema goes in before WAL: the file alone says what it is, whatever happens to its -wal. */
    if (r == 0)
        r = vt_schema_create(store, err);
    if (r == 0)
        r = vt_db_exec(store,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                       "PRAGMA journal_size_limit = 16777216",
                       err);
    if (r < 0) {
        vt_store_close(store);
        if (created) /* it holds nothing yet */
            unlink(path);
        return r;
    }
    *ret = store;
    return 0;
}

static int check_file(const char *path, struct vt_err *err)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return file_failure(errno, "open", path, err);
    int r = 0;
    if (fstat(fd, &st) < 0)
        r = file_failure(errno, "open", path, err);
    else if (!S_ISREG(st.st_mode))
        r = vt_fail(err, EUCLEAN, "%s is not a vtime recording: it is not a file", path);
    else if (!is_ours(fd) || st.st_size == 0)
        r = vt_fail(err, EUCLEAN, "%s is not a vtime recording", path);
    close(fd);
    return r;
}

/* ASCII letters, digits and /._- stay; the rest is written %HH. */
static char *make_uri(const char *path, const char *parameters)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    sqlite3_str *uri = sqlite3_str_new(NULL);
    sqlite3_str_appendall(uri, "file:");
    for (const char *p = path; *p; p++) {
        if (strchr(plain, *p))
            sqlite3_str_appendchar(uri, 1, *p);
        else
            sqlite3_str_appendf(uri, "%%%02X", (unsigned char)*p);
    }
    sqlite3_str_appendf(uri, "?%s", parameters);
    return sqlite3_str_finish(uri);
}

static bool has_wal(const char *path)
{
    struct stat st;
    char *name = sqlite3_mprintf("%s-wal", path);
    const bool found = name && stat(name, &st) == 0 && st.st_size > 0;
    sqlite3_free(name);
    return found;
}

/*
 * Where -shm can't be had (read-only folder or file system, full disk).  With a -wal left
 * over, immutable=1 would miss what stands in it: "unix-none" with exclusive
 * locking reads it by an index in our own memory.  No writer can be at work.
 */
static int open_frozen(struct vt_store *store, struct vt_err *err)
{
    const bool wal = has_wal(store->path);
    char *uri = make_uri(store->path, wal ? "vfs=unix-none&mode=ro" : "immutable=1&mode=ro");
    if (!uri)
        return vt_fail(err, ENOMEM, "out of memory");
    sqlite3_close(store->db);
    store->db = NULL;
    int r = connect_db(store, uri, SQLITE_OPEN_READONLY, err);
    if (r == 0 && wal)
        r = vt_db_exec(store, "PRAGMA locking_mode = EXCLUSIVE", err);
    if (r == 0)
        r = vt_schema_check(store, err);
    store->note = "nothing can be written beside it: read as it stands, without regard to a writer";
    sqlite3_free(uri);
    return r;
}

int vt_store_open(const char *path, struct vt_store **ret, struct vt_err *err)
{
    struct vt_store *store = NULL;
    int r = check_file(path, err);
    if (r == 0)
        r = new_store(path, false, &store, err);
    if (r < 0)
        return r;
    r = connect_db(store, NULL, SQLITE_OPEN_READONLY, err);
    if (r == 0)
        r = vt_schema_check(store, err);
    if (r == -EROFS || r == -EACCES || r == -ENOENT || r == -ENOSPC)
        r = open_frozen(store, err);
    if (r < 0) {
        vt_store_close(store);
        return r;
    }
    *ret = store;
    return 0;
}

/* The number of the newest guest record: the next one goes on from there. */
static int find_newest_record(struct vt_store *store, struct vt_err *err)
{
    int r = 0;
    for (size_t i = 0; i < VT_NR_RECORD_TABLES && r == 0; i++) {
        int64_t id = 0;
        char *sql =
            sqlite3_mprintf("SELECT coalesce(max(id), 0) FROM %s", vt_table_name(vt_record_tables[i].table));
        r = sql ? vt_db_integer(store, sql, &id, err) : vt_fail(err, ENOMEM, "out of memory");
        sqlite3_free(sql);
        if (id > store->guest_records)
            store->guest_records = id;
    }
    return r;
}

/* SQLite itself says no more than that it could not open something. */
static int check_writable(const char *path, struct vt_err *err)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return file_failure(errno, "write", path, err);
    close(fd);
    return 0;
}

int vt_store_append(const char *path, struct vt_store **ret, struct vt_err *err)
{
    struct vt_store *store = NULL;
    int r = check_file(path, err);
    if (r == 0)
        r = check_writable(path, err);
    if (r == 0)
        r = new_store(path, true, &store, err);
    if (r < 0)
        return r;
    r = connect_db(store, NULL, SQLITE_OPEN_READWRITE, err);
    /* Nobody else may have it open: a recorder's numbers are in its memory. */
    if (r == 0)
        r = vt_db_exec(store, "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE", err);
    if (r == 0)
        r = vt_schema_check(store, err);
    if (r == 0)
        r = vt_schema_bring_up(store, err);
    if (r == 0)
        r = vt_db_exec(store, "COMMIT", err);
    if (r == 0)
        r = find_newest_record(store, err);
    if (r < 0) {
        vt_store_close(store);
        return r;
    }
    *ret = store;
    return 0;
}

const char *vt_store_note(const struct vt_store *store)
{
    return store->note;
}

int vt_store_bytes(struct vt_store *store, uint64_t *ret, struct vt_err *err)
{
    int64_t pages = 0, size = 0;
    int r = vt_db_integer(store, "PRAGMA page_count", &pages, err);
    if (r == 0)
        r = vt_db_integer(store, "PRAGMA page_size", &size, err);
    if (r == 0)
        *ret = (uint64_t)pages * (uint64_t)size;
    return r;
}

static void free_stream(struct vt_stream *stream)
{
    if (stream)
        vt_chunk_release(&stream->chunk);
    free(stream);
}

static void release_streams(struct vt_store *store)
{
    for (size_t i = 0; i < store->room_streams; i++)
        free_stream(store->streams[i]);
    free(store->streams);
}

void vt_store_close(struct vt_store *store)
{
    if (!store)
        return;
    for (int i = 0; i < VT_NR_TABLES; i++)
        sqlite3_finalize(store->insert[i]);
    sqlite3_finalize(store->insert_gap);
    sqlite3_finalize(store->insert_cpu_time);
    sqlite3_finalize(store->insert_chunk);
    sqlite3_finalize(store->insert_meta);
    release_streams(store);
    if (store->in_transaction)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    /* closing does this only if no reader is there: who copies the file alone shall have it all */
    if (store->writer && store->db)
        sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}

/* ---- writing ---- */

static int begin(struct vt_store *store, struct vt_err *err)
{
    if (!store->writer)
        return vt_fail(err, EBADF, "%s is open for reading only", store->path);
    if (store->failed) {
        if (err)
            *err = store->failure;
        return store->failed;
    }
    if (store->in_transaction)
        return 0;
    const int r = vt_db_exec(store, "BEGIN IMMEDIATE", err);
    store->in_transaction = r == 0;
    return r;
}

/*
 * A put that failed in SQLite may have taken the transaction with it: from
 * then on every put fails as it did, until a commit has said so too.  A row
 * that was refused (out of range, there already, no writer) has touched nothing.
 */
static int settle(struct vt_store *store, int r, const struct vt_err *failure, struct vt_err *err)
{
    const bool refused = r == -EINVAL || r == -EEXIST || r == -EBADF;
    if (r < 0 && !refused && !store->failed) {
        store->failed = r;
        store->failure = *failure;
    }
    if (r < 0 && err)
        *err = *failure;
    return r;
}

static int put_row(struct vt_store *store, enum vt_table table, const void *row, struct vt_err *err)
{
    struct vt_err failure;
    int r = begin(store, &failure);
    if (r == 0)
        r = vt_row_insert(store, table, row, 0, &failure);
    return settle(store, r, &failure, err);
}

int vt_store_put_host(struct vt_store *store, const struct vt_host *host, struct vt_err *err)
{
    struct vt_err failure;
    int r = begin(store, &failure);
    if (r == 0)
        r = vt_meta_insert(store, host, &failure);
    return settle(store, r, &failure, err);
}

int vt_store_put_cpu(struct vt_store *store, const struct vt_cpu *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_CPU, row, err);
}

int vt_store_put_vm(struct vt_store *store, const struct vt_vm *vm, struct vt_err *err)
{
    const struct vt_vm_how how = { vm->id, vm->found };
    int r = put_row(store, VT_TABLE_VM, vm, err);
    return r || vm->found == VT_FOUND_BY_KVM ? r : put_row(store, VT_TABLE_VM_FOUND, &how, err);
}

int vt_store_put_vcpu(struct vt_store *store, const struct vt_vcpu *vcpu, struct vt_err *err)
{
    return put_row(store, VT_TABLE_VCPU, vcpu, err);
}

int vt_store_put_tsc_epoch(struct vt_store *store, const struct vt_tsc_epoch *epoch, struct vt_err *err)
{
    return put_row(store, VT_TABLE_TSC_EPOCH, epoch, err);
}

int vt_store_put_clock_pair(struct vt_store *store, const struct vt_clock_pair *pair, struct vt_err *err)
{
    return put_row(store, VT_TABLE_CLOCK_PAIR, pair, err);
}

int vt_store_put_checkpoint(struct vt_store *store, const struct vt_checkpoint *cp, struct vt_err *err)
{
    return put_row(store, VT_TABLE_CHECKPOINT, cp, err);
}

int vt_store_put_loss(struct vt_store *store, const struct vt_loss *loss, struct vt_err *err)
{
    return put_row(store, VT_TABLE_LOSS, loss, err);
}

int vt_store_put_observer(struct vt_store *store, const struct vt_observer *obs, struct vt_err *err)
{
    return put_row(store, VT_TABLE_OBSERVER, obs, err);
}

int vt_store_put_occupancy(struct vt_store *store, const struct vt_occupancy *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_OCCUPANCY, row, err);
}

int vt_store_put_move(struct vt_store *store, const struct vt_vcpu_move *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_MOVE, row, err);
}

int vt_store_put_counter_event(struct vt_store *store, const struct vt_counter_event *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_COUNTER_EVENT, row, err);
}

int vt_store_put_counter(struct vt_store *store, const struct vt_counter_reading *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_COUNTER, row, err);
}

int vt_store_put_exits(struct vt_store *store, const struct vt_exit_row *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_EXITS, row, err);
}

int vt_store_put_kvm_stat(struct vt_store *store, const struct vt_kvm_stat *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_KVM_STAT, row, err);
}

int vt_store_put_kvm_count(struct vt_store *store, const struct vt_kvm_count *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_KVM_COUNT, row, err);
}

int vt_store_put_exit_address(struct vt_store *store, const struct vt_exit_address *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_EXIT_ADDRESS, row, err);
}

int vt_store_put_helper(struct vt_store *store, const struct vt_helper *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_HELPER, row, err);
}

int vt_store_put_helper_time(struct vt_store *store, const struct vt_helper_time *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_HELPER_TIME, row, err);
}

int vt_store_put_helper_wait(struct vt_store *store, const struct vt_helper_wait *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_HELPER_WAIT, row, err);
}

int vt_store_put_outer_steal(struct vt_store *store, const struct vt_outer_steal *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_OUTER_STEAL, row, err);
}

static int insert_gaps(struct vt_store *store, int64_t id, const struct vtg_gaps *gaps, struct vt_err *err)
{
    static const char sql[] = "INSERT INTO gap VALUES (?1, ?2, ?3, ?4)";
    int r = store->insert_gap ? 0 : vt_db_prepare(store, sql, &store->insert_gap, err);
    for (uint32_t i = 0; i < gaps->nr && r == 0; i++) {
        sqlite3_stmt *stmt = store->insert_gap;
        int rc = sqlite3_bind_int64(stmt, 1, id);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 2, i);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 3, (int64_t)gaps->gaps[i].at);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 4, (int64_t)gaps->gaps[i].len);
        r = rc ? vt_db_fail(store, rc, "write", err) : vt_db_step(store, stmt, err);
        sqlite3_reset(stmt);
    }
    return r;
}

static int insert_cpu_times(struct vt_store *store, int64_t id, const struct vtg_cpus *cpus,
                            struct vt_err *err)
{
    static const char sql[] =
        "INSERT INTO cpu_time VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    int r = store->insert_cpu_time ? 0 : vt_db_prepare(store, sql, &store->insert_cpu_time, err);
    for (uint32_t i = 0; i < cpus->nr && r == 0; i++) {
        sqlite3_stmt *stmt = store->insert_cpu_time;
        const struct vtg_cpu_time *t = &cpus->cpus[i];
        const uint64_t ns[] = { t->user, t->nice,    t->system, t->idle, t->iowait,
                                t->irq,  t->softirq, t->steal,  t->guest };
        int rc = sqlite3_bind_int64(stmt, 1, id);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 2, i);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 3, t->cpu);
        rc = rc ? rc : sqlite3_bind_int64(stmt, 4, t->online);
        for (int k = 0; k < (int)(sizeof(ns) / sizeof(ns[0])); k++)
            rc = rc ? rc : sqlite3_bind_int64(stmt, 5 + k, (int64_t)ns[k]);
        r = rc ? vt_db_fail(store, rc, "write", err) : vt_db_step(store, stmt, err);
        sqlite3_reset(stmt);
    }
    return r;
}

static const struct vt_record_table *table_of(enum vtg_type type)
{
    for (size_t i = 0; i < VT_NR_RECORD_TABLES; i++)
        if (vt_record_tables[i].type == type)
            return &vt_record_tables[i];
    return NULL;
}

int vt_store_put_guest_record(struct vt_store *store, const struct vt_guest_record *rec, struct vt_err *err)
{
    const struct vt_record_table *t = table_of(rec->type);
    struct vt_err failure;
    if (!t)
        return vt_fail(err, EINVAL, "a guest record of type %d is not kept", (int)rec->type);
    int r = begin(store, &failure);
    if (r == 0)
        r = vt_row_insert(store, t->table, rec, store->guest_records + 1, &failure);
    if (r == 0) {
        store->guest_records++;
        if (rec->type == VTG_GAPS)
            r = insert_gaps(store, store->guest_records, &rec->gaps, &failure);
        else if (rec->type == VTG_CPUS)
            r = insert_cpu_times(store, store->guest_records, &rec->cpus, &failure);
    }
    return settle(store, r, &failure, err);
}

int vt_store_put_exchange(struct vt_store *store, const struct vt_exchange *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_EXCHANGE, row, err);
}

int vt_store_put_channel_event(struct vt_store *store, const struct vt_channel_event *row, struct vt_err *err)
{
    return put_row(store, VT_TABLE_CHANNEL_EVENT, row, err);
}

/* ---- slices ---- */

static int insert_chunk(struct vt_store *store, int64_t vcpu, struct vt_chunk *chunk, struct vt_err *err)
{
    static const char sql[] = "INSERT INTO chunk VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6)";
    int r = store->insert_chunk ? 0 : vt_db_prepare(store, sql, &store->insert_chunk, err);
    if (r < 0)
        return r;
    sqlite3_stmt *stmt = store->insert_chunk;
    size_t size;
    const uint8_t *data = vt_chunk_finish(chunk, &size);
    int rc = sqlite3_bind_int64(stmt, 1, vcpu);
    rc = rc ? rc : sqlite3_bind_int64(stmt, 2, (int64_t)chunk->first_seq);
    rc = rc ? rc : sqlite3_bind_int64(stmt, 3, (int64_t)chunk->begin);
    rc = rc ? rc : sqlite3_bind_int64(stmt, 4, (int64_t)chunk->prev.t_end);
    rc = rc ? rc : sqlite3_bind_int64(stmt, 5, chunk->count);
    rc = rc ? rc : sqlite3_bind_blob(stmt, 6, data, (int)size, SQLITE_STATIC);
    r = rc ? vt_db_fail(store, rc, "write", err) : vt_db_step(store, stmt, err);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    vt_chunk_reset(chunk);
    return r;
}

/* Where the vCPU's stream is, or would be. Ids follow each other: so do their places. */
static struct vt_stream **place_of(const struct vt_store *store, int64_t vcpu)
{
    size_t i = (size_t)vcpu & (store->room_streams - 1);
    while (store->streams[i] && store->streams[i]->vcpu != vcpu)
        i = (i + 1) & (store->room_streams - 1);
    return &store->streams[i];
}

/* Every stream to its place in a table of that size; false: no memory, and nothing changed. */
static bool resize_streams(struct vt_store *store, size_t room)
{
    struct vt_stream **old = store->streams;
    const size_t old_room = store->room_streams;
    struct vt_stream **streams = calloc(room, sizeof(struct vt_stream *));
    if (!streams)
        return false;
    store->streams = streams;
    store->room_streams = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i])
            *place_of(store, old[i]->vcpu) = old[i];
    free(old);
    return true;
}

static struct vt_stream *stream_of(struct vt_store *store, int64_t vcpu)
{
    if (2 * store->nr_streams >= store->room_streams &&
        !resize_streams(store, store->room_streams ? 2 * store->room_streams : 64))
        return NULL;
    struct vt_stream **place = place_of(store, vcpu);
    if (!*place && (*place = calloc(1, sizeof(struct vt_stream)))) {
        (*place)->vcpu = vcpu;
        store->nr_streams++;
    }
    return *place;
}

/* Takes out a stream; those behind it move up, as linear probing wants it. */
static void forget_stream(struct vt_store *store, size_t at)
{
    const size_t mask = store->room_streams - 1;
    free_stream(store->streams[at]);
    store->streams[at] = NULL;
    store->nr_streams--;
    for (size_t i = (at + 1) & mask; store->streams[i]; i = (i + 1) & mask) {
        struct vt_stream *stream = store->streams[i];
        store->streams[i] = NULL;
        *place_of(store, stream->vcpu) = stream;
    }
}

static int check_slices(const struct vt_stream *stream, int64_t vcpu, const struct vt_slice *slices, size_t n,
                        struct vt_err *err)
{
    bool begun = stream->begun;
    uint64_t last = stream->last_seq;
    for (size_t i = 0; i < n; i++) {
        if (begun && slices[i].seq <= last)
            return vt_fail(err, EINVAL, "slice %llu of vCPU %lld came after slice %llu; not written",
                           (unsigned long long)slices[i].seq, (long long)vcpu, (unsigned long long)last);
        if (!vt_slice_is_sane(&slices[i]) || slices[i].seq > INT64_MAX)
            return vt_fail(err, EINVAL, "slice %llu of vCPU %lld is in no known state; not written",
                           (unsigned long long)slices[i].seq, (long long)vcpu);
        begun = true;
        last = slices[i].seq;
    }
    return 0;
}

int vt_store_put_slices(struct vt_store *store, int64_t vcpu, const struct vt_slice *slices, size_t n,
                        struct vt_err *err)
{
    struct vt_err failure;
    if (vcpu < 1 || vcpu > MAX_VCPU_ID)
        return vt_fail(err, EINVAL, "there is no vCPU %lld", (long long)vcpu);
    int r = begin(store, &failure);
    if (r < 0)
        return settle(store, r, &failure, err);
    struct vt_stream *stream = stream_of(store, vcpu);
    if (!stream)
        r = vt_fail(&failure, ENOMEM, "out of memory");
    else
        r = check_slices(stream, vcpu, slices, n, &failure);
    for (size_t i = 0; i < n && r == 0; i++) {
        if (!vt_chunk_takes(&stream->chunk, &slices[i]))
            r = insert_chunk(store, vcpu, &stream->chunk, &failure);
        if (r == 0 && vt_chunk_add(&stream->chunk, &slices[i]) < 0)
            r = vt_fail(&failure, ENOMEM, "out of memory");
        if (r == 0) {
            stream->begun = true;
            stream->last_seq = slices[i].seq;
            stream->ended = slices[i].flags & VT_SLICE_LAST;
        }
    }
    return settle(store, r, &failure, err);
}

/* A vCPU that had no slice since the last commit gives its buffer back; one whose life is over, all. */
static int flush_chunks(struct vt_store *store, struct vt_err *err)
{
    int r = 0;
    for (size_t i = 0; i < store->room_streams && r == 0; i++) {
        struct vt_stream *stream = store->streams[i];
        if (!stream)
            continue;
        if (stream->chunk.count)
            r = insert_chunk(store, stream->vcpu, &stream->chunk, err);
        else
            vt_chunk_release(&stream->chunk);
    }
    return r;
}

static void forget_ended(struct vt_store *store)
{
    for (size_t i = 0; i < store->room_streams;)
        if (store->streams[i] && store->streams[i]->ended)
            forget_stream(store, i); /* another may have come here */
        else
            i++;
}

static void drop_uncommitted(struct vt_store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->in_transaction = false;
    for (size_t i = 0; i < store->room_streams; i++)
        if (store->streams[i])
            vt_chunk_reset(&store->streams[i]->chunk);
}

int vt_store_commit(struct vt_store *store, struct vt_err *err)
{
    int r = store->failed;
    if (r < 0 && err)
        *err = store->failure;
    if (r == 0 && !store->in_transaction)
        return 0;
    if (r == 0)
        r = flush_chunks(store, err);
    if (r == 0)
        r = vt_db_exec(store, "COMMIT", err);
    if (r < 0)
        drop_uncommitted(store);
    forget_ended(store);
    store->failed = 0;
    store->in_transaction = false;
    return r;
}

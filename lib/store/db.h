/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the store: the only code that speaks SQLite. */
#ifndef VT_STORE_DB_H
#define VT_STORE_DB_H

#include <sqlite3.h>

#include "store/chunk.h"
#include "store/store.h"

#define VT_STORE_APPLICATION_ID 0x7674696d /* "vtim" */
#define VT_STORE_VERSION        6
#define VT_STORE_OLDEST         3 /* older ones are not read; those since are brought up */

/* The tables whose rows are structures, in the order in which a reader has them. */
enum vt_table {
    VT_TABLE_CPU,
    VT_TABLE_VM,
    VT_TABLE_VM_FOUND,
    VT_TABLE_VCPU,
    VT_TABLE_TSC_EPOCH,
    VT_TABLE_CLOCK_PAIR,
    VT_TABLE_LOSS,
    VT_TABLE_OBSERVER,
    VT_TABLE_OCCUPANCY,
    VT_TABLE_MOVE,
    VT_TABLE_EXITS,
    VT_TABLE_KVM_STAT,
    VT_TABLE_KVM_COUNT,
    VT_TABLE_EXIT_ADDRESS,
    VT_TABLE_HELPER,
    VT_TABLE_HELPER_TIME,
    VT_TABLE_HELPER_WAIT,
    VT_TABLE_OUTER_STEAL,
    VT_TABLE_HELLO,
    VT_TABLE_CLOCK_VIEW,
    VT_TABLE_MARK,
    VT_TABLE_GAPS,
    VT_TABLE_SYSTEM,
    VT_TABLE_OS_VIEW,
    VT_TABLE_CPUS,
    VT_TABLE_PROCESS,
    VT_TABLE_RUN,
    VT_TABLE_TASK,
    VT_TABLE_TASKS,
    VT_TABLE_EVENT,
    VT_TABLE_EXCHANGE,
    VT_TABLE_CHANNEL_EVENT,
    VT_TABLE_CHECKPOINT,
    VT_TABLE_COUNTER_EVENT,
    VT_TABLE_COUNTER,
    VT_NR_TABLES
};

union vt_row {
    struct vt_cpu cpu;
    struct vt_vm vm;
    struct vt_vm_how vm_found;
    struct vt_vcpu vcpu;
    struct vt_tsc_epoch tsc_epoch;
    struct vt_clock_pair clock_pair;
    struct vt_loss loss;
    struct vt_observer observer;
    struct vt_occupancy occupancy;
    struct vt_vcpu_move move;
    struct vt_exit_row exits;
    struct vt_kvm_stat kvm_stat;
    struct vt_kvm_count kvm_count;
    struct vt_exit_address exit_address;
    struct vt_helper helper;
    struct vt_helper_time helper_time;
    struct vt_helper_wait helper_wait;
    struct vt_outer_steal outer_steal;
    struct vt_guest_record guest_record;
    struct vt_exchange exchange;
    struct vt_channel_event channel_event;
    struct vt_checkpoint checkpoint;
    struct vt_counter_event counter_event;
    struct vt_counter_reading counter;
};

/* The slices of one vCPU since the last commit. */
struct vt_stream {
    int64_t vcpu;
    struct vt_chunk chunk;
    bool ended; /* its last slice came: forgotten at the commit */
    bool begun; /* last_seq holds */
    uint64_t last_seq;
};

struct vt_store {
    sqlite3 *db;
    char *path;
    bool writer;
    bool in_transaction;
    int failed; /* -errno of a put that the coming commit must fail for */
    struct vt_err failure;
    const char *note;
    int64_t guest_records;     /* id of the newest */
    bool absent[VT_NR_TABLES]; /* in an older recording */
    /* of living vCPUs: a hash table by id, a power of two, never full */
    struct vt_stream **streams;
    size_t room_streams, nr_streams;
    sqlite3_stmt *insert[VT_NR_TABLES];
    sqlite3_stmt *insert_gap, *insert_cpu_time, *insert_chunk, *insert_meta;
};

/* ---- db.c: connections, statements, errors ---- */

/** Says what SQLite's result code means here; returns -errno. doing: "write", "read". */
int vt_db_fail(const struct vt_store *store, int rc, const char *doing, struct vt_err *err);
int vt_db_exec(struct vt_store *store, const char *sql, struct vt_err *err);
int vt_db_prepare(struct vt_store *store, const char *sql, sqlite3_stmt **ret, struct vt_err *err);
/** 1 a row, 0 done, or -errno. */
int vt_db_step(struct vt_store *store, sqlite3_stmt *stmt, struct vt_err *err);
/** One integer; -EUCLEAN if there is none. */
int vt_db_integer(struct vt_store *store, const char *sql, int64_t *ret, struct vt_err *err);

/* ---- schema.c ---- */

int vt_schema_create(struct vt_store *store, struct vt_err *err);
/** Is this database a recording, of our version or an older one that we read, table by table? */
int vt_schema_check(struct vt_store *store, struct vt_err *err);
/** Are two statements of SQL the same but for blanks and comments? */
bool vt_schema_same_words(const char *a, const char *b);
/** An older one, checked: gets what it lacks. */
int vt_schema_bring_up(struct vt_store *store, struct vt_err *err);

/* ---- rows.c: structures to rows and back, by one table of fields ---- */

const char *vt_table_name(enum vt_table table);

/** Which table keeps a type of guest records: they have one numbering, in order of arrival. */
struct vt_record_table {
    enum vtg_type type;
    enum vt_table table;
};
enum { VT_NR_RECORD_TABLES = 12 };
extern const struct vt_record_table vt_record_tables[VT_NR_RECORD_TABLES];
int vt_row_insert(struct vt_store *store, enum vt_table table, const void *row, int64_t id,
                  struct vt_err *err);
/** Bounds of every value are checked: -EUCLEAN. The first column is left to the caller. */
int vt_row_fetch(struct vt_store *store, enum vt_table table, sqlite3_stmt *stmt, union vt_row *ret,
                 struct vt_err *err);
int vt_meta_insert(struct vt_store *store, const struct vt_host *host, struct vt_err *err);
int vt_meta_fetch(struct vt_store *store, struct vt_host *ret, struct vt_err *err);

/** States of a slice that the world knows. */
bool vt_slice_is_sane(const struct vt_slice *slice);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What agents in operating systems say, in the recording; and recordings of the schema before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/db.h"
#include "store/store.h"
#include "vt/task_pack.h"

enum { MOST = 16 };

struct place {
    char folder[32], path[48];
    struct vt_store *store;
};

struct heard {
    int records, exchanges, events;
    struct vt_guest_record record[MOST];
    struct vt_exchange exchange;
    struct vt_channel_event event;
};

static struct vt_err err;

#define ok(call)                                                                                             \
    do {                                                                                                     \
        const int ok_r = (call);                                                                             \
        if (ok_r != 0)                                                                                       \
            fail_msg("%s: %d, %s", #call, ok_r, err.text);                                                   \
    } while (0)

static const struct vt_host host = { .begin = { 1000 }, .end = { 9000 }, .nr_cpus = 2 };
static const struct vt_vm vm = { .id = 1, .tgid = 77, .name = "guest" };

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    strcpy(p->folder, "/tmp/vt-agents-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->path, sizeof(p->path), "%s/run.vt", p->folder);
    ok(vt_store_create(p->path, false, &p->store, &err));
    ok(vt_store_put_host(p->store, &host, &err));
    ok(vt_store_put_vm(p->store, &vm, &err));
    ok(vt_store_commit(p->store, &err));
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    vt_store_close(p->store);
    unlink(p->path);
    rmdir(p->folder);
    free(p);
    return 0;
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int hear_record(void *c, const struct vt_guest_record *row)
{
    struct heard *h = c;
    assert_in_range(h->records, 0, MOST - 1);
    h->record[h->records++] = *row;
    return 0;
}

static int hear_exchange(void *c, const struct vt_exchange *row)
{
    struct heard *h = c;
    h->exchange = *row;
    h->exchanges++;
    return 0;
}

static int hear_event(void *c, const struct vt_channel_event *row)
{
    struct heard *h = c;
    h->event = *row;
    h->events++;
    return 0;
}

static int try_reading(const char *path, struct heard *ret)
{
    struct vt_store *store = NULL;
    struct vt_store_cursor cursor = { 0 };
    const struct vt_store_reader reader = {
        .context = ret, .guest_record = hear_record, .exchange = hear_exchange, .channel_event = hear_event
    };
    memset(ret, 0, sizeof(*ret));
    int r = vt_store_open(path, &store, &err);
    if (r == 0)
        r = vt_store_read(store, &cursor, &reader, &err);
    vt_store_close(store);
    return r;
}

/* Bytes of any kind, so that a field that is forgotten or swapped is seen; but for what must fit. */
static void fill(void *to, size_t n)
{
    static uint8_t next = 0x91;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = next = (uint8_t)(next * 13 + 7);
}

static void pack_some(struct vtg_tasks *t)
{
    struct vtg_task_cursor c = { 0 };
    memset(t, 0, sizeof(*t));
    t->base_tsc = UINT64_MAX - 100000;
    t->cpu = UINT32_MAX;
    t->source = 77;
    t->lost = 5;
    c = vtg_task_begin(t);
    for (uint32_t i = 0; i < 20; i++) {
        const struct vtg_stretch s = { .from = c.tsc + 10, .to = c.tsc + 100, .tid = i * 3, .end = i % 4 };
        assert_true(vtg_pack_stretch(t, &c, &s));
    }
}

static struct vt_guest_record a_record(enum vtg_type type)
{
    struct vt_guest_record r;
    memset(&r, 0, sizeof(r));
    r.vm = 1;
    r.host.v = 2000;
    r.type = type;
    switch (type) {
    case VTG_SYSTEM:
        fill(&r.system, sizeof(r.system));
        memset(r.system.hypervisor, 0, sizeof(r.system.hypervisor));
        memcpy(r.system.clocksource, "kvm-clock", 9);
        break;
    case VTG_VIEW:
        fill(&r.view, sizeof(r.view));
        break;
    case VTG_CPUS:
        fill(&r.cpus, sizeof(r.cpus));
        r.cpus.nr = VTG_CPUS_MAX;
        r.cpus.pad = 0;
        break;
    case VTG_PROCESS:
        fill(&r.process, sizeof(r.process));
        break;
    case VTG_RUN:
        fill(&r.run, sizeof(r.run));
        r.run.pad = 0;
        break;
    case VTG_TASK:
        fill(&r.task, sizeof(r.task));
        r.task.pad = 0;
        break;
    case VTG_TASKS:
        pack_some(&r.tasks);
        break;
    default:
        fill(&r.event, sizeof(r.event));
        break;
    }
    return r;
}

static const enum vtg_type types[] = { VTG_EVENT, VTG_TASKS,   VTG_SYSTEM, VTG_CPUS,
                                       VTG_RUN,   VTG_PROCESS, VTG_VIEW,   VTG_TASK };
enum { NR_TYPES = sizeof(types) / sizeof(types[0]) };

static void every_record_comes_back_in_order(void **state)
{
    struct place *p = *state;
    struct vt_guest_record put[NR_TYPES];
    struct vt_exchange exchange = { .vm = 1, .session = UINT64_MAX, .sent = { 3 }, .received = { 4 } };
    struct vt_channel_event event = { .vm = 1, .at = { 5 }, .kind = VT_CHANNEL_CLAIMED, .count = 6 };
    struct heard h;

    fill(&exchange.sent_tsc, 8);
    fill(&exchange.received_tsc, 8);
    fill(&exchange.tsc_received, 8);
    fill(&exchange.tsc_sent, 8);
    memset(event.text, '\x1b', sizeof(event.text)); /* hostile, and not terminated */
    for (size_t i = 0; i < NR_TYPES; i++) {
        put[i] = a_record(types[i]);
        ok(vt_store_put_guest_record(p->store, &put[i], &err));
    }
    ok(vt_store_put_exchange(p->store, &exchange, &err));
    ok(vt_store_put_channel_event(p->store, &event, &err));
    ok(vt_store_commit(p->store, &err));
    ok(try_reading(p->path, &h));
    assert_int_equal(h.records, NR_TYPES);
    assert_memory_equal(h.record, put, sizeof(put));
    assert_memory_equal(&h.exchange, &exchange, sizeof(exchange));
    assert_memory_equal(&h.event, &event, sizeof(event));
}

static void nothing_hostile_is_shown_by_a_client(void **state)
{
    struct place *p = *state;
    const struct vt_guest_record put = a_record(VTG_EVENT);
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;

    ok(vt_store_put_guest_record(p->store, &put, &err));
    ok(vt_store_commit(p->store, &err));
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT text, text_hex FROM event", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    for (const uint8_t *c = sqlite3_column_text(stmt, 0); *c; c++)
        assert_true(*c >= 0x20 && *c != 0x7f);
    assert_int_equal(sqlite3_column_bytes(stmt, 1), 128);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void stretches_that_do_not_unpack_are_refused(void **state)
{
    struct place *p = *state;
    struct vt_guest_record r = a_record(VTG_TASKS);
    struct heard h;

    r.tasks.nr++;
    assert_int_equal(vt_store_put_guest_record(p->store, &r, &err), -EINVAL);
    r.tasks.nr -= 2; /* bytes left over */
    assert_int_equal(vt_store_put_guest_record(p->store, &r, &err), -EINVAL);
    r.tasks.nr++;
    ok(vt_store_put_guest_record(p->store, &r, &err));
    ok(vt_store_commit(p->store, &err));
    ok(try_reading(p->path, &h));
    assert_int_equal(h.records, 1);

    run_sql(p->path, "UPDATE tasks SET nr = nr + 1"); /* a file may come from anywhere */
    assert_int_equal(try_reading(p->path, &h), -EUCLEAN);
    run_sql(p->path, "UPDATE tasks SET nr = nr - 1, data = zeroblob(2000)");
    assert_int_equal(try_reading(p->path, &h), -EUCLEAN);
}

static void cpu_times_that_are_missing_are_seen(void **state)
{
    struct place *p = *state;
    const struct vt_guest_record r = a_record(VTG_CPUS);
    struct heard h;

    ok(vt_store_put_guest_record(p->store, &r, &err));
    ok(vt_store_commit(p->store, &err));
    run_sql(p->path, "DELETE FROM cpu_time WHERE nr = 5");
    assert_int_equal(try_reading(p->path, &h), -EUCLEAN);
    assert_non_null(strstr(err.text, "cpu_time"));
}

/* As vtime 0.1 wrote them, before there were such tables. */
static void make_version_3(const char *path)
{
    run_sql(path,
            "DROP TABLE vm_found; DROP TABLE kvm_count; DROP TABLE kvm_stat; DROP TABLE system; DROP TABLE "
            "os_view; DROP TABLE cpu_time; DROP TABLE cpus;"
            "DROP TABLE process; DROP TABLE run; DROP TABLE task; DROP TABLE tasks; DROP TABLE event;"
            "DROP TABLE exchange; DROP TABLE channel_event; DROP TABLE helper_wait; DROP TABLE outer_steal;"
            "DELETE FROM meta WHERE key IN ('helper_wait_ns', 'tells_outer_steal', 'stays_awake');"
            "DELETE FROM code WHERE kind IN ('found', 'tasks', 'event', 'channel'); PRAGMA user_version = 3");
}

static struct vt_guest_record a_hello(uint32_t vcpus)
{
    return (struct vt_guest_record){
        .vm = 1, .host = { 2000 }, .type = VTG_HELLO, .hello = { .nr_vcpus = vcpus }
    };
}

static void a_recording_of_schema_3_is_read_and_brought_up(void **state)
{
    struct place *p = *state;
    const struct vt_guest_record first = a_hello(1), second = a_record(VTG_VIEW);
    struct heard h;

    ok(vt_store_put_guest_record(p->store, &first, &err));
    ok(vt_store_commit(p->store, &err));
    vt_store_close(p->store);
    p->store = NULL;
    make_version_3(p->path);
    ok(try_reading(p->path, &h));
    assert_int_equal(h.records, 1);

    ok(vt_store_append(p->path, &p->store, &err));
    ok(vt_store_put_guest_record(p->store, &second, &err));
    ok(vt_store_commit(p->store, &err));
    vt_store_close(p->store);
    p->store = NULL;
    ok(try_reading(p->path, &h));
    assert_int_equal(h.records, 2); /* numbered after the first */
    assert_int_equal(h.record[1].type, VTG_VIEW);

    ok(vt_store_create(":memory:", false, &p->store, &err)); /* the same words as a new one has */
    run_sql(p->path, "INSERT INTO exchange VALUES (1, 1, 1, 1, 1, 1, 1, 1, 1)");
    ok(try_reading(p->path, &h));
    assert_int_equal(h.exchanges, 1);
}

static void a_table_that_schema_3_had_is_missed_there_too(void **state)
{
    struct place *p = *state;
    struct heard h;

    make_version_3(p->path);
    run_sql(p->path, "DROP TABLE gaps");
    assert_int_equal(try_reading(p->path, &h), -EUCLEAN);
    assert_non_null(strstr(err.text, "gaps"));
}

static void nothing_is_appended_to_what_others_have_open(void **state)
{
    struct place *p = *state;
    struct vt_store *store = NULL;

    assert_int_equal(vt_store_append(p->path, &store, &err), -EBUSY); /* its recorder is at work */
    assert_null(store);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_record_comes_back_in_order),
        TEST(nothing_hostile_is_shown_by_a_client),
        TEST(stretches_that_do_not_unpack_are_refused),
        TEST(cpu_times_that_are_missing_are_seen),
        TEST(a_recording_of_schema_3_is_read_and_brought_up),
        TEST(a_table_that_schema_3_had_is_missed_there_too),
        TEST(nothing_is_appended_to_what_others_have_open),
    };
    return cmocka_run_group_tests_name("store-agents", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/state.h"
#include "store/db.h"
#include "store/store.h"

/* ---- a folder for each test ---- */

struct place {
    char folder[64];
    char path[96], wal[104], shm[104];
};

static void name_files(struct place *p)
{
    snprintf(p->path, sizeof(p->path), "%s/run one?.vt", p->folder); /* characters that a URI must quote */
    snprintf(p->wal, sizeof(p->wal), "%s-wal", p->path);
    snprintf(p->shm, sizeof(p->shm), "%s-shm", p->path);
}

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    if (!p)
        return -1;
    strcpy(p->folder, "/tmp/vt-store-XXXXXX");
    if (!mkdtemp(p->folder)) {
        free(p);
        return -1;
    }
    name_files(p);
    *state = p;
    return 0;
}

static int drop_place(void **state)
{
    struct place *p = *state;
    unlink(p->path);
    unlink(p->wal);
    unlink(p->shm);
    rmdir(p->folder);
    free(p);
    return 0;
}

#define ok(call)                                                                                             \
    do {                                                                                                     \
        struct vt_err err = { "" };                                                                          \
        const int ok_r = (call);                                                                             \
        if (ok_r != 0)                                                                                       \
            fail_msg("%s: %d, %s", #call, ok_r, err.text);                                                   \
    } while (0)

#define fails(number, words, call)                                                                           \
    do {                                                                                                     \
        struct vt_err err = { "" };                                                                          \
        const int fails_r = (call);                                                                          \
        if (fails_r != -(number) || !strstr(err.text, words))                                                \
            fail_msg("%s: %d, '%s'", #call, fails_r, err.text);                                              \
        assert_null(strchr(err.text, '\n'));                                                                 \
    } while (0)

/* Plain SQL, as any user could run it. */
static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* ---- what is put and what comes back ---- */

enum { MANY = 20000 };

struct heard {
    int vms, vcpus, epochs, pairs, losses, observers, records, checkpoints, batches;
    size_t slices;
    struct vt_vm vm;
    struct vt_vcpu vcpu;
    struct vt_tsc_epoch epoch;
    struct vt_clock_pair pair;
    struct vt_loss loss;
    struct vt_observer observer;
    struct vt_guest_record record[4];
    struct vt_checkpoint checkpoint;
    int64_t last_vcpu;
    struct vt_slice first, last;
    bool broken; /* slices out of order, or not contiguous */
    int stop_at_vcpu;
};

static int hear_vm(void *c, const struct vt_vm *row)
{
    struct heard *h = c;
    h->vm = *row;
    h->vms++;
    return 0;
}

static int hear_vcpu(void *c, const struct vt_vcpu *row)
{
    struct heard *h = c;
    h->vcpu = *row;
    h->vcpus++;
    return h->stop_at_vcpu;
}

static int hear_epoch(void *c, const struct vt_tsc_epoch *row)
{
    struct heard *h = c;
    h->epoch = *row;
    h->epochs++;
    return 0;
}

static int hear_pair(void *c, const struct vt_clock_pair *row)
{
    struct heard *h = c;
    h->pair = *row;
    h->pairs++;
    return 0;
}

static int hear_loss(void *c, const struct vt_loss *row)
{
    struct heard *h = c;
    h->loss = *row;
    h->losses++;
    return 0;
}

static int hear_observer(void *c, const struct vt_observer *row)
{
    struct heard *h = c;
    h->observer = *row;
    h->observers++;
    return 0;
}

static int hear_record(void *c, const struct vt_guest_record *row)
{
    struct heard *h = c;
    h->record[h->records++ % 4] = *row;
    return 0;
}

static int hear_checkpoint(void *c, const struct vt_checkpoint *row)
{
    struct heard *h = c;
    h->checkpoint = *row;
    h->checkpoints++;
    return 0;
}

static int hear_slices(void *c, int64_t vcpu, const struct vt_slice *slices, size_t n)
{
    struct heard *h = c;
    if (h->batches == 0)
        h->first = slices[0];
    else if (vcpu < h->last_vcpu || (vcpu == h->last_vcpu && slices[0].seq <= h->last.seq))
        h->broken = true;
    for (size_t i = 1; i < n; i++)
        if (slices[i].seq != slices[i - 1].seq + 1 || slices[i].t_out != slices[i - 1].t_end)
            h->broken = true;
    h->last_vcpu = vcpu;
    h->last = slices[n - 1];
    h->slices += n;
    h->batches++;
    return 0;
}

static struct vt_store_reader reader_of(struct heard *h)
{
    return (struct vt_store_reader){ .context = h,
                                     .vm = hear_vm,
                                     .vcpu = hear_vcpu,
                                     .tsc_epoch = hear_epoch,
                                     .clock_pair = hear_pair,
                                     .loss = hear_loss,
                                     .observer = hear_observer,
                                     .guest_record = hear_record,
                                     .checkpoint = hear_checkpoint,
                                     .slices = hear_slices };
}

static struct heard read_new(struct vt_store *store, struct vt_store_cursor *cursor)
{
    struct heard h = { 0 };
    const struct vt_store_reader reader = reader_of(&h);
    ok(vt_store_read(store, cursor, &reader, &err));
    assert_false(h.broken);
    return h;
}

static struct heard read_file(const char *path)
{
    struct vt_store *store = NULL;
    struct vt_store_cursor cursor = { 0 };
    ok(vt_store_open(path, &store, &err));
    const struct heard h = read_new(store, &cursor);
    vt_store_close(store);
    return h;
}

/* 0, or the first failure of opening and reading it all. */
static int try_reading(const char *path, struct vt_err *err)
{
    struct vt_store *store = NULL;
    struct vt_store_cursor cursor = { 0 };
    struct vt_host host;
    struct heard h = { 0 };
    const struct vt_store_reader reader = reader_of(&h);
    int r = vt_store_open(path, &store, err);
    if (r == 0)
        r = vt_store_get_host(store, &host, err);
    if (r == 0)
        r = vt_store_read(store, &cursor, &reader, err);
    vt_store_close(store);
    return r;
}

static struct vt_vm a_vm(void)
{
    return (struct vt_vm){ .id = 1, .kind = VT_VM_KVM, .tgid = 77, .start_time = { 5 }, .name = "guest-1" };
}

static struct vt_vcpu a_vcpu(int64_t id)
{
    return (struct vt_vcpu){ .id = id, .vm = 1, .index = (uint32_t)id - 1, .tid = 78, .born = { 1000 } };
}

static struct vt_host a_host(void)
{
    return (struct vt_host){ .begin = { 1000 },
                             .realtime_offset_ns = UINT64_MAX - 5, /* a clock set before 1970 */
                             .tick_ns = 4000000,
                             .nr_cpus = 2,
                             .tsc_stable = true,
                             .probes_off = 3,
                             .elsewhere_cpus = 8,
                             .kernel = "6.1.0",
                             .hostname = "h",
                             .cpu = "A CPU",
                             .clocksource = "tsc" };
}

static struct vt_checkpoint a_checkpoint(int64_t vcpu)
{
    struct vt_checkpoint c = { .vcpu = vcpu, .last = { 100000 }, .state = VT_HALTED, .proc_run_ns = 3 };
    for (int i = 0; i < VT_NR_STATES; i++)
        c.ns[i] = 1000 + (uint64_t)i;
    for (int i = 0; i < VT_NR_DESYNC; i++)
        c.desync[i] = 50 + (uint32_t)i;
    c.at.v = 100007;
    c.open = (struct vt_slice){ .seq = 9, .t_out = 99000, .t_wake = 0, .flags = VT_SLICE_OPEN, .cpu = 1 };
    return c;
}

/* A preempted slice of the four-to-one kind, or a halted one; times wander as real ones do. */
static struct vt_slice next_slice(const struct vt_slice *prev, bool halts)
{
    const uint64_t wander = (prev->seq * 2654435761u) % 60000;
    struct vt_slice s = { .seq = prev->seq + 1, .t_out = prev->t_end, .tail_state = VT_RUN };
    const bool blocks = halts && s.seq % 2;
    s.off_state = blocks ? VT_HALTED : VT_LOST;
    s.wait_state = blocks ? VT_WAKING : VT_PREEMPTED;
    s.t_wake = s.t_out + (blocks ? 3500000 + 7 * wander : 0);
    s.t_in = s.t_wake + (blocks ? 4000 + wander : 12000000 + 3 * wander);
    s.on_cpu[VT_ON_RUN] = blocks ? 90000 + wander : 4000000 + wander;
    s.on_cpu[VT_ON_VMM] = s.seq % 8 ? 0 : 2000 + wander;
    s.user_exits = s.seq % 8 ? 0 : 1;
    s.t_end = s.t_in + s.on_cpu[VT_ON_RUN] + s.on_cpu[VT_ON_VMM];
    return s;
}

static struct vt_store *create(const char *path)
{
    struct vt_store *store = NULL;
    const struct vt_host host = a_host();
    const struct vt_vm vm = a_vm();
    const struct vt_vcpu vcpu = a_vcpu(1);
    ok(vt_store_create(path, false, &store, &err));
    ok(vt_store_put_host(store, &host, &err));
    ok(vt_store_put_vm(store, &vm, &err));
    ok(vt_store_put_vcpu(store, &vcpu, &err));
    ok(vt_store_commit(store, &err));
    return store;
}

static struct vt_guest_record a_record(enum vtg_type type)
{
    struct vt_guest_record r;
    memset(&r, 0, sizeof(r));
    r.vm = 1;
    r.host.v = 2000;
    r.host_tsc.v = UINT64_MAX; /* guests' and TSC values use all 64 bits */
    r.type = type;
    if (type == VTG_HELLO) {
        r.hello = (struct vtg_hello){ .kind = 99, .nr_vcpus = UINT32_MAX, .tick_ns = UINT64_MAX };
        memset(r.hello.name, '\x1b', sizeof(r.hello.name)); /* hostile, unterminated */
    } else if (type == VTG_GAPS) {
        r.gaps = (struct vtg_gaps){ .vcpu = 3, .nr = VTG_GAPS_MAX, .sum = UINT64_MAX };
        for (uint32_t i = 0; i < VTG_GAPS_MAX; i++)
            r.gaps.gaps[i] = (struct vtg_gap){ .at = UINT64_MAX - i, .len = i };
    } else {
        r.clocks =
            (struct vtg_clocks){ .vcpu = 1, .have = 127, .tsc_after = UINT64_MAX, .pv_shift = INT32_MIN };
    }
    if (type == VTG_MARK) {
        r.mark.kind = VTG_MARK_END;
        r.mark.id = 12;
        memcpy(r.mark.name, "exactly thirty-two letters long.", VTG_NAME_LEN);
    }
    return r;
}

static void every_row_comes_back_as_it_was_put(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = create(p->path);
    const struct vt_tsc_epoch epoch = {
        .vcpu = 1, .at = { 3 }, .offset = UINT64_MAX - 9, .ratio = 1, .frac = 48
    };
    const struct vt_clock_pair pair = { { 4 }, { UINT64_MAX }, 6 };
    const struct vt_loss loss = { { 7 }, VT_LOST_AGENT, 8 };
    const struct vt_observer observer = { { 1 }, 2, 3, 4, 5, 6, 7 };
    const struct vt_checkpoint checkpoint = a_checkpoint(1);
    struct vt_host host = a_host(), got;
    struct vt_guest_record record[4];
    struct vt_slice s = { .t_end = 1000 };
    for (int i = 0; i < 4; i++)
        record[i] = a_record((enum vtg_type[]){ VTG_MARK, VTG_HELLO, VTG_GAPS, VTG_CLOCKS }[i]);

    ok(vt_store_put_tsc_epoch(store, &epoch, &err));
    ok(vt_store_put_clock_pair(store, &pair, &err));
    ok(vt_store_put_loss(store, &loss, &err));
    ok(vt_store_put_observer(store, &observer, &err));
    ok(vt_store_put_checkpoint(store, &checkpoint, &err));
    for (int i = 0; i < 4; i++)
        ok(vt_store_put_guest_record(store, &record[i], &err));
    s = next_slice(&s, false);
    ok(vt_store_put_slices(store, 1, &s, 1, &err));
    host.end.v = 9000;
    ok(vt_store_put_host(store, &host, &err));
    ok(vt_store_commit(store, &err));
    vt_store_close(store);

    const struct heard h = read_file(p->path);
    ok(vt_store_open(p->path, &store, &err));
    ok(vt_store_get_host(store, &got, &err));
    vt_store_close(store);
    const struct vt_vm vm = a_vm();
    const struct vt_vcpu vcpu = a_vcpu(1);
    assert_memory_equal(&got, &host, sizeof(host));
    assert_memory_equal(&h.vm, &vm, sizeof(vm));
    assert_memory_equal(&h.vcpu, &vcpu, sizeof(vcpu));
    assert_memory_equal(&h.epoch, &epoch, sizeof(epoch));
    assert_memory_equal(&h.pair, &pair, sizeof(pair));
    assert_memory_equal(&h.loss, &loss, sizeof(loss));
    assert_memory_equal(&h.observer, &observer, sizeof(observer));
    assert_memory_equal(&h.checkpoint, &checkpoint, sizeof(checkpoint));
    assert_int_equal(h.records, 4);
    assert_memory_equal(h.record, record, sizeof(record)); /* in their order of arrival */
    assert_memory_equal(&h.last, &s, sizeof(s));
}

static void what_is_not_committed_is_not_seen(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = create(p->path), *view = NULL;
    struct vt_store_cursor cursor = { 0 };
    struct vt_slice s = { .t_end = 1000 };
    ok(vt_store_open(p->path, &view, &err));
    assert_int_equal(read_new(view, &cursor).vcpus, 1);

    const struct vt_checkpoint cp = a_checkpoint(1);
    s = next_slice(&s, false);
    ok(vt_store_put_slices(store, 1, &s, 1, &err));
    ok(vt_store_put_checkpoint(store, &cp, &err));
    struct heard h = read_new(view, &cursor);
    assert_int_equal(h.slices + (size_t)h.checkpoints, 0);
    fails(EBUSY, "commit", vt_store_read(store, &cursor, &(struct vt_store_reader){ 0 }, &err));
    ok(vt_store_commit(store, &err));
    h = read_new(view, &cursor);
    assert_int_equal(h.slices, 1);
    assert_int_equal(h.checkpoints, 1);

    s = next_slice(&s, false);
    ok(vt_store_put_slices(store, 1, &s, 1, &err));
    vt_store_close(store); /* drops it */
    assert_int_equal(read_new(view, &cursor).slices, 0);
    vt_store_close(view);
}

static void a_cursor_delivers_each_row_once_and_a_renamed_vm_again(void **state)
{
    (void)state;
    struct vt_store *store = create(":memory:");
    struct vt_store_cursor cursor = { 0 }, before;
    struct vt_vm vm = a_vm();
    const struct vt_vcpu vcpu = a_vcpu(2);
    struct heard h = read_new(store, &cursor);
    assert_int_equal(h.vms + h.vcpus, 2);
    h = read_new(store, &cursor);
    assert_int_equal(h.vms + h.vcpus, 0);
    strcpy(vm.name, "its right name");
    ok(vt_store_put_vm(store, &vm, &err));
    ok(vt_store_put_vcpu(store, &vcpu, &err));
    ok(vt_store_commit(store, &err));
    struct heard stopped = { .stop_at_vcpu = -ECANCELED };
    const struct vt_store_reader reader = reader_of(&stopped);
    before = cursor;
    assert_int_equal(vt_store_read(store, &cursor, &reader, NULL), -ECANCELED);
    assert_memory_equal(&cursor, &before, sizeof(before)); /* a walk that was stopped is taken again whole */
    h = read_new(store, &cursor);
    assert_int_equal(h.vms, 1);
    assert_int_equal(h.vcpus, 1);
    assert_string_equal(h.vm.name, "its right name");
    vt_store_close(store);
}

static void slices_of_several_vcpus_come_by_vcpu_then_seq(void **state)
{
    (void)state;
    struct vt_store *store = create(":memory:");
    struct vt_store_cursor cursor = { 0 };
    struct vt_slice s[3] = { 0 };
    uint64_t slices, bytes;
    for (int i = 0; i < MANY; i++) {
        const int k = i * 7 % 3;
        s[k] = next_slice(&s[k], k == 1);
        if (i == 500)
            s[k].seq += 5; /* slices were lost */
        ok(vt_store_put_slices(store, 3 - k, &s[k], 1, &err));
        if (i % 5000 == 0)
            ok(vt_store_commit(store, &err));
    }
    ok(vt_store_commit(store, &err));
    const struct heard h = read_new(store, &cursor);
    assert_int_equal(h.slices, MANY);
    assert_int_equal(h.last_vcpu, 3);
    ok(vt_store_slice_size(store, &slices, &bytes, &err));
    assert_int_equal(slices, MANY);
    assert_true(bytes > MANY && bytes < 16 * MANY);
    vt_store_close(store);
}

/* Forty vCPUs at a time, a thousand lives in all, born and over at different places of the table. */
static void what_is_kept_of_a_vcpu_in_memory_goes_with_its_life(void **state)
{
    (void)state;
    enum { LIVING = 40, LIVES = 1000, SLICES = 5 };
    struct vt_store *store = create(":memory:");
    struct vt_store_cursor cursor = { 0 };
    struct vt_slice s[LIVING] = { 0 };
    int64_t id[LIVING] = { 0 }, born = 0;
    unsigned put = 0;
    for (unsigned i = 0; put < LIVES * SLICES; i = (i + 1 + i % 3) % LIVING) {
        if (!id[i] && born < LIVES) {
            id[i] = ++born;
            s[i] = (struct vt_slice){ .seq = UINT64_MAX };
        }
        if (!id[i])
            continue;
        s[i] = next_slice(&s[i], false);
        const bool is_last = s[i].seq + 1 == SLICES;
        s[i].flags = is_last ? VT_SLICE_LAST : 0;
        ok(vt_store_put_slices(store, id[i], &s[i], 1, &err));
        id[i] = is_last ? 0 : id[i];
        if (++put % 170 == 0)
            ok(vt_store_commit(store, &err));
        assert_true(store->nr_streams <= LIVING + 170);
    }
    ok(vt_store_commit(store, &err));
    assert_int_equal(store->nr_streams, 0);
    assert_true(store->room_streams <= 512);
    const struct heard h = read_new(store, &cursor);
    assert_int_equal(h.slices, LIVES * SLICES);
    assert_int_equal(h.last_vcpu, LIVES);
    assert_false(h.broken);
    vt_store_close(store);
}

static void rows_without_sense_are_refused_when_put(void **state)
{
    (void)state;
    struct vt_store *store = create(":memory:");
    struct vt_vm vm = a_vm();
    const struct vt_vcpu vcpu = a_vcpu(1);
    struct vt_checkpoint cp = a_checkpoint(1);
    struct vt_slice s = { .seq = 4, .t_end = 1000 };
    struct vt_guest_record rec = a_record(VTG_GAPS);
    vm.id = 0;
    fails(EINVAL, "table vm", vt_store_put_vm(store, &vm, &err));
    fails(EEXIST, "already", vt_store_put_vcpu(store, &vcpu, &err));
    cp.state = VT_NR_STATES;
    fails(EINVAL, "table checkpoint", vt_store_put_checkpoint(store, &cp, &err));
    rec.gaps.nr = VTG_GAPS_MAX + 1;
    fails(EINVAL, "table gaps", vt_store_put_guest_record(store, &rec, &err));
    rec.type = VTG_RELAY;
    fails(EINVAL, "type 5", vt_store_put_guest_record(store, &rec, &err));
    fails(EINVAL, "no vCPU", vt_store_put_slices(store, -1, &s, 1, &err));
    ok(vt_store_put_slices(store, 1, &s, 1, &err));
    fails(EINVAL, "after slice 4", vt_store_put_slices(store, 1, &s, 1, &err));
    s.seq = 5;
    s.wait_state = VT_NR_STATES;
    fails(EINVAL, "no known state", vt_store_put_slices(store, 1, &s, 1, &err));
    ok(vt_store_commit(store, &err)); /* what was refused does not stand in the way */
    vt_store_close(store);
}

static void only_a_recording_is_replaced(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = NULL;
    vt_store_close(create(p->path));
    fails(EEXIST, "exists", vt_store_create(p->path, false, &store, &err));
    ok(vt_store_create(p->path, true, &store, &err));
    vt_store_close(store);
    FILE *f = fopen(p->path, "w");
    assert_non_null(f);
    fputs("my only letter", f);
    fclose(f);
    fails(EEXIST, "not a vtime recording", vt_store_create(p->path, true, &store, &err));
    fails(EEXIST, "not a vtime recording", vt_store_create("/dev/null", true, &store, &err));
    fails(ENOENT, "No such file", vt_store_create("/nowhere/at/all.vt", false, &store, &err));
    vt_store_close(NULL);
}

/* ---- another process ---- */

/* Waits for a child that reports by its exit code. */
static int reap(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Each commit has one observer row that says how many slices there are up to then. */
static int write_steadily(const char *path, int rounds)
{
    struct vt_store *store = NULL;
    struct vt_slice s = { .t_end = 1000 };
    struct vt_observer observer = { 0 };
    int r = vt_store_create(path, false, &store, NULL);
    for (int i = 0; i < rounds && r == 0; i++) {
        for (int k = 0; k <= i % 40 && r == 0; k++) {
            s = next_slice(&s, true);
            r = vt_store_put_slices(store, 1, &s, 1, NULL);
        }
        observer.bpf_runs = s.seq;
        r = r ? r : vt_store_put_observer(store, &observer, NULL);
        r = r ? r : vt_store_commit(store, NULL);
    }
    vt_store_close(store);
    return -r;
}

static void a_reader_sees_whole_commits_while_a_writer_works(void **state)
{
    const struct place *p = *state;
    const int rounds = 1500;
    struct vt_store *store = NULL;
    struct vt_store_cursor cursor = { 0 };
    size_t slices = 0;
    int observers = 0, reads = 0;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(write_steadily(p->path, rounds));
    const time_t limit = time(NULL) + 60;
    while (vt_store_open(p->path, &store, NULL) < 0 && time(NULL) < limit)
        usleep(1000);
    assert_non_null(store);
    while (observers < rounds && time(NULL) < limit) {
        const struct heard h = read_new(store, &cursor);
        slices += h.slices;
        observers += h.observers;
        reads += h.observers > 0;
        if (h.observers)
            assert_int_equal(slices, h.observer.bpf_runs);
    }
    assert_int_equal(reap(pid), 0);
    assert_int_equal(observers, rounds);
    assert_true(reads > 1);
    vt_store_close(store);
}

/* A writer that is killed with rows committed (in -wal) and rows not. */
static void leave_behind(const struct place *p)
{
    int fd[2];
    char byte;
    assert_int_equal(pipe(fd), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct vt_store *store = create(p->path);
        struct vt_slice s = { .t_end = 1000 };
        for (int i = 0; i < 200; i++) {
            s = next_slice(&s, false);
            if (vt_store_put_slices(store, 1, &s, 1, NULL) < 0 ||
                (i == 99 && vt_store_commit(store, NULL) < 0))
                _exit(1);
        }
        if (write(fd[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(1);
    }
    close(fd[1]);
    assert_int_equal(read(fd[0], &byte, 1), 1);
    close(fd[0]);
    kill(pid, SIGKILL);
    assert_int_equal(reap(pid), 128 + SIGKILL);
}

static uint64_t sum_of(const char *path)
{
    uint64_t sum = 1469598103934665603u; /* FNV-1a */
    FILE *f = fopen(path, "r");
    for (int c; f && (c = getc(f)) != EOF;)
        sum = (sum ^ (uint64_t)c) * 1099511628211u;
    if (f)
        fclose(f);
    return sum;
}

static void a_killed_writer_leaves_what_it_had_committed(void **state)
{
    const struct place *p = *state;
    leave_behind(p);
    assert_int_equal(access(p->wal, F_OK), 0);
    const uint64_t before = sum_of(p->path), wal_before = sum_of(p->wal);
    assert_int_equal(read_file(p->path).slices, 100);
    assert_int_equal(unlink(p->shm), 0); /* as in a copy of the two files */
    assert_int_equal(read_file(p->path).slices, 100);
    assert_true(sum_of(p->path) == before);
    assert_true(sum_of(p->wal) == wal_before);
}

/* ---- places that don't let us write: in a mount namespace of the child's own ---- */

enum { CHILD_OK, CHILD_SKIP = 77 };

/* A tmpfs that nobody else sees. */
static bool mount_own(const char *folder, const char *size)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("vt", folder, "tmpfs", 0, size) == 0;
}

static void run_apart(const struct place *p, const char *tmpfs_size, void (*test)(const struct place *))
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!mount_own(p->folder, tmpfs_size))
            _exit(CHILD_SKIP);
        test(p);
        fflush(NULL);
        _exit(CHILD_OK);
    }
    const int code = reap(pid);
    if (code == CHILD_SKIP) {
        print_message("skipped: needs root, to mount a tmpfs in a namespace of its own\n");
        skip();
    }
    assert_int_equal(code, CHILD_OK);
}

/* cmocka's asserts would go on with the parent's tests: in a child they end it. */
#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                          \
            fflush(NULL);                                                                                    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static size_t count_slices(const char *path, bool noted)
{
    struct vt_store *store = NULL;
    struct vt_store_cursor cursor = { 0 };
    struct heard h = { 0 };
    struct vt_err err = { "" };
    const struct vt_store_reader reader = reader_of(&h);
    if (vt_store_open(path, &store, &err) < 0 || vt_store_read(store, &cursor, &reader, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    must(store && (vt_store_note(store) != NULL) == noted);
    vt_store_close(store);
    return h.slices;
}

static void read_on_read_only(const struct place *p)
{
    const unsigned long ro = MS_REMOUNT | MS_RDONLY;
    leave_behind(p);
    must(mount(NULL, p->folder, NULL, ro, NULL) == 0);
    must(count_slices(p->path, false) == 100); /* -shm is there and serves */
    must(mount(NULL, p->folder, NULL, MS_REMOUNT, NULL) == 0 && unlink(p->shm) == 0);
    must(mount(NULL, p->folder, NULL, ro, NULL) == 0);
    must(count_slices(p->path, true) == 100); /* -wal alone */
    must(mount(NULL, p->folder, NULL, MS_REMOUNT, NULL) == 0);
    run_sql(p->path, "PRAGMA wal_checkpoint(TRUNCATE)");
    must(mount(NULL, p->folder, NULL, ro, NULL) == 0);
    must(access(p->wal, F_OK) < 0);
    must(count_slices(p->path, true) == 100); /* closed in order */
    struct vt_store *store = NULL;
    struct vt_err err = { "" };
    must(vt_store_create(p->path, true, &store, &err) == -EROFS);
    must(strstr(err.text, "Read-only"));
}

static void a_recording_on_a_read_only_file_system_is_read(void **state)
{
    run_apart(*state, "size=4m", read_on_read_only);
}

/* Fills until it fails; returns how many slices were committed. */
static uint64_t fill(struct vt_store *store, int *ret_failure, struct vt_err *err)
{
    struct vt_slice s = { .t_end = 1000 };
    uint64_t committed = 0;
    int r = 0;
    while (r == 0 && s.seq < 4000000) {
        for (int i = 0; i < 500 && r == 0; i++) {
            s = next_slice(&s, true);
            r = vt_store_put_slices(store, 1, &s, 1, err);
        }
        const int c = vt_store_commit(store, err);
        must(r == 0 || c == r); /* a put that failed is not forgotten */
        r = c;
        committed = r ? committed : s.seq;
    }
    *ret_failure = r;
    return committed;
}

static void fill_the_disk(const struct place *p)
{
    struct vt_store *store = NULL;
    struct vt_err err = { "" };
    struct vt_vm vm = a_vm();
    int failure = 0;
    must(vt_store_create(p->path, false, &store, &err) == 0);
    const uint64_t committed = fill(store, &failure, &err);
    if (failure != -ENOSPC || committed == 0)
        fprintf(stderr, "%d after %llu slices: %s\n", failure, (unsigned long long)committed, err.text);
    must(failure == -ENOSPC && committed > 0);
    must(strncmp(err.text, "disk full", 9) == 0);
    /* still full: it says so again, and does not crash */
    for (int i = 0; i < 3; i++) {
        vt_store_put_vm(store, &vm, &err);
        vt_store_commit(store, &err);
    }
    must(count_slices(p->path, false) == committed);
    vt_store_close(store);
    must(count_slices(p->path, false) == committed);
}

static void a_full_disk_fails_the_commit_and_keeps_the_earlier_ones(void **state)
{
    run_apart(*state, "size=600k", fill_the_disk);
}

static void a_limit_on_file_size_is_a_full_disk_too(void **state)
{
    const struct place *p = *state;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit limit = { 300000, 300000 };
        signal(SIGXFSZ, SIG_IGN);
        must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        fill_the_disk(p);
        _exit(CHILD_OK);
    }
    assert_int_equal(reap(pid), CHILD_OK);
    assert_true(read_file(p->path).slices > 0);
}

static void without_permission_it_says_so(void **state)
{
    const struct place *p = *state;
    vt_store_close(create(p->path));
    if (geteuid() != 0) {
        print_message("skipped: needs root, to become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(p->path, 0600), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct vt_store *store = NULL;
        struct vt_err err = { "" };
        must(setuid(65534) == 0);
        must(vt_store_open(p->path, &store, &err) == -EACCES && strstr(err.text, "Permission denied"));
        char other[128];
        snprintf(other, sizeof(other), "%s/other.vt", p->folder);
        must(vt_store_create(other, false, &store, &err) == -EACCES && strstr(err.text, "Permission denied"));
        _exit(CHILD_OK);
    }
    assert_int_equal(reap(pid), CHILD_OK);
    /* readable file, folder not writable, no -shm */
    assert_int_equal(chmod(p->path, 0644), 0);
    assert_int_equal(chmod(p->folder, 0755), 0);
    const pid_t second = fork();
    assert_true(second >= 0);
    if (second == 0) {
        must(setuid(65534) == 0);
        must(count_slices(p->path, true) == 0);
        _exit(CHILD_OK);
    }
    assert_int_equal(reap(second), CHILD_OK);
}

/* ---- foreign and damaged files ---- */

static void a_file_that_is_no_recording_is_refused(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = NULL;
    fails(ENOENT, "No such file", vt_store_open(p->path, &store, &err));
    fails(EUCLEAN, "not a vtime recording", vt_store_open(p->folder, &store, &err));
    FILE *f = fopen(p->path, "w");
    assert_non_null(f);
    fails(EUCLEAN, "not a vtime recording", vt_store_open(p->path, &store, &err));
    fputs("something else, and more than a hundred bytes of it, so that the header can be looked at: "
          "this is not SQLite's",
          f);
    fclose(f);
    fails(EUCLEAN, "not a vtime recording", vt_store_open(p->path, &store, &err));
    unlink(p->path);
    run_sql(p->path, "CREATE TABLE vm (id)");
    fails(EUCLEAN, "not a vtime recording", vt_store_open(p->path, &store, &err));
    assert_null(store);
}

static void another_schema_is_refused(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = NULL;
    vt_store_close(create(p->path));
    run_sql(p->path, "PRAGMA user_version = 7");
    fails(ENOTSUP, "newer vtime", vt_store_open(p->path, &store, &err));
    run_sql(p->path, "PRAGMA user_version = 2");
    fails(ENOTSUP, "older vtime", vt_store_open(p->path, &store, &err));
    run_sql(p->path, "PRAGMA user_version = 6; DROP VIEW integral; DROP TABLE loss;"
                     "CREATE VIEW loss AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                     "SELECT i AS id, i AS at_ns, 0 AS reason, 1 AS count FROM n");
    fails(EUCLEAN, "its table loss", vt_store_open(p->path, &store, &err));
}

/* Comments are for who reads the schema; a word of another table's is another table. */
static void tables_are_known_by_their_words(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = NULL;
    assert_true(vt_schema_same_words("CREATE TABLE a (b INTEGER, -- one\n  c TEXT -- 'two\n)",
                                     "CREATE TABLE a (b INTEGER,\n\tc TEXT\n)"));
    assert_false(vt_schema_same_words("CREATE TABLE a (b INTEGER)", "CREATE TABLE a (b INTEGER, c)"));
    assert_false(vt_schema_same_words("a CHECK (b != '--x')", "a CHECK (b != '--y')"));
    assert_false(vt_schema_same_words("a 'b -- c'", "a 'b '"));
    assert_false(vt_schema_same_words("a", "ab"));
    vt_store_close(create(p->path));
    run_sql(p->path, "PRAGMA writable_schema = ON;"
                     "UPDATE sqlite_schema SET sql = replace(sql, '--', '-- then:') WHERE name = 'exits'");
    struct vt_err unsaid = { "" };
    assert_int_equal(vt_store_open(p->path, &store, &unsaid), 0);
    vt_store_close(store);
    run_sql(p->path, "PRAGMA writable_schema = ON;"
                     "UPDATE sqlite_schema SET sql = replace(sql, 'count ', 'number ') WHERE name = 'exits'");
    fails(EUCLEAN, "its table exits", vt_store_open(p->path, &store, &err));
}

/* One of everything, for the tests that damage it. */
static void write_one_of_each(const char *path)
{
    struct vt_store *store = create(path);
    const struct vt_tsc_epoch epoch = { .vcpu = 1, .at = { 3 } };
    const struct vt_clock_pair pair = { { 4 }, { 5 }, 6 };
    const struct vt_loss loss = { { 7 }, VT_LOST_AGENT, 8 };
    const struct vt_observer observer = { .cpu_ns = 2 };
    const struct vt_checkpoint checkpoint = a_checkpoint(1);
    struct vt_slice s = { .t_end = 1000 };
    ok(vt_store_put_tsc_epoch(store, &epoch, &err));
    ok(vt_store_put_clock_pair(store, &pair, &err));
    ok(vt_store_put_loss(store, &loss, &err));
    ok(vt_store_put_observer(store, &observer, &err));
    ok(vt_store_put_checkpoint(store, &checkpoint, &err));
    for (enum vtg_type type = VTG_HELLO; type <= VTG_GAPS; type++) {
        const struct vt_guest_record record = a_record(type);
        ok(vt_store_put_guest_record(store, &record, &err));
    }
    for (int i = 0; i < 50; i++) {
        s = next_slice(&s, true);
        ok(vt_store_put_slices(store, 1, &s, 1, &err));
    }
    ok(vt_store_commit(store, &err));
    vt_store_close(store);
}

static void a_row_with_nonsense_is_refused(void **state)
{
    const struct place *p = *state;
    static const char *const nonsense[] = {
        "UPDATE vm SET id = -1",
        "UPDATE vm SET kind = 4",
        "UPDATE vm SET name = name || char(27) || '[2J'",
        "UPDATE vm SET name = hex(zeroblob(40))",
        "UPDATE vcpu SET vm = 0",
        "UPDATE vcpu SET tid = 4294967296",
        "UPDATE tsc_epoch SET frac_bits = 64",
        "UPDATE clock_pair SET bound_ns = -1",
        "UPDATE loss SET reason = 6",
        "UPDATE observer SET at_ns = -1",
        "UPDATE checkpoint SET state = 15",
        "UPDATE checkpoint SET preempted_ns = -1",
        "UPDATE checkpoint SET open_slice = x''",
        "UPDATE checkpoint SET open_slice = (SELECT data FROM chunk)",
        "UPDATE hello SET nr_vcpus = -1",
        "UPDATE hello SET name_hex = 'zz'",
        "UPDATE mark SET name = hex(zeroblob(40)), name_hex = NULL",
        "UPDATE mark SET pv_shift = 2147483648",
        "UPDATE gaps SET nr = 1000000000",
        "UPDATE gaps SET nr = 3",
        "DELETE FROM gap WHERE nr = 4",
        "UPDATE chunk SET vcpu = -5",
        "UPDATE chunk SET slices = 1000000000",
        "UPDATE chunk SET first_seq = 2",
        "UPDATE chunk SET end_ns = end_ns + 1",
        "UPDATE chunk SET data = x'00'",
        "UPDATE chunk SET data = zeroblob(900000)",
        "UPDATE chunk SET data = (SELECT open_slice FROM checkpoint)",
        "UPDATE meta SET value = 'two' WHERE key = 'nr_cpus'",
        "UPDATE meta SET value = 4294967295 WHERE key = 'nr_cpus'", /* would be allocated by */
        "UPDATE meta SET value = 2 WHERE key = 'tsc_stable'",
        "DELETE FROM meta WHERE key = 'hypervisor'",
        "UPDATE meta SET value = -1 WHERE key = 'elsewhere_cpus'",
    };
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct vt_err why = { "" };
        unlink(p->path);
        write_one_of_each(p->path);
        ok(try_reading(p->path, &err));
        run_sql(p->path, nonsense[i]);
        if (try_reading(p->path, &why) != -EUCLEAN || !strstr(why.text, "damaged"))
            fail_msg("%s: read; '%s'", nonsense[i], why.text);
    }
}

/* Of a recording that is older than the mark it isn't said that no wait has it. */
static void a_fact_that_came_later_may_lack(void **state)
{
    const struct place *p = *state;
    struct vt_store *store = NULL;
    struct vt_host host;
    write_one_of_each(p->path);
    run_sql(p->path, "DELETE FROM meta WHERE key = 'elsewhere_cpus'");
    ok(vt_store_open(p->path, &store, &err));
    ok(vt_store_get_host(store, &host, &err));
    vt_store_close(store);
    assert_int_equal(host.elsewhere_cpus, 0);
    assert_int_equal(host.nr_cpus, 2);
}

/* Whatever is hit, it is read or refused; under a sanitizer, without a sound. */
static void a_damaged_file_does_no_harm(void **state)
{
    const struct place *p = *state;
    int refused = 0;
    unsigned seed = 11;
    write_one_of_each(p->path);
    struct stat st;
    assert_int_equal(stat(p->path, &st), 0);
    char *good = malloc((size_t)st.st_size);
    assert_non_null(good);
    const int fd = open(p->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(read(fd, good, (size_t)st.st_size), st.st_size);
    for (int round = 0; round < 400; round++) {
        assert_int_equal(pwrite(fd, good, (size_t)st.st_size, 0), st.st_size);
        for (int i = 0; i < 20; i++) {
            const char byte = (char)rand_r(&seed);
            assert_int_equal(pwrite(fd, &byte, 1, 100 + (off_t)rand_r(&seed) % (st.st_size - 100)), 1);
        }
        if (round % 10 == 0)
            assert_int_equal(ftruncate(fd, (off_t)rand_r(&seed) % st.st_size), 0);
        struct vt_err err = { "" };
        const int r = try_reading(p->path, &err);
        assert_true(r == 0 || r == -EUCLEAN || r == -ENODATA);
        refused += r != 0;
    }
    close(fd);
    free(good);
    assert_true(refused > 100);
}

/* ---- CPUs ---- */

static int hear_cpu(void *c, const struct vt_cpu *row)
{
    struct vt_cpu *heard = c;
    heard[row->cpu % 4] = *row;
    return 0;
}

static void cpus_come_back_and_each_is_there_once(void **state)
{
    const struct place *p = *state;
    const struct vt_cpu first = {
        .cpu = 2, .core_id = 7, .package = 1, .node = 3, .capacity = 512, .sibling = 2
    };
    const struct vt_cpu second = { .cpu = 3, .core_id = -1, .package = -1, .node = -1, .sibling = 2 };
    struct vt_cpu heard[4] = { 0 };
    const struct vt_store_reader reader = { .context = heard, .cpu = hear_cpu };
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = create(p->path);
    ok(vt_store_put_cpu(store, &first, &err));
    ok(vt_store_put_cpu(store, &second, &err));
    ok(vt_store_commit(store, &err));
    ok(vt_store_read(store, &cursor, &reader, &err));
    assert_memory_equal(&heard[2], &first, sizeof(first));
    assert_memory_equal(&heard[3], &second, sizeof(second));
    memset(heard, 0, sizeof(heard));
    ok(vt_store_read(store, &cursor, &reader, &err)); /* nothing new */
    assert_int_equal(heard[2].cpu, 0);
    vt_store_close(store);
    run_sql(p->path, "UPDATE cpu SET sibling = 65536 WHERE cpu = 3");
    store = NULL;
    ok(vt_store_open(p->path, &store, &err));
    cursor = (struct vt_store_cursor){ 0 };
    fails(EUCLEAN, "damaged", vt_store_read(store, &cursor, &reader, &err));
    vt_store_close(store);
}

/* ---- what exits accessed, and exits without a sum ---- */

struct heard_exits {
    struct vt_exit_row exits[4];
    struct vt_exit_address addresses[4];
    size_t nr_exits, nr_addresses;
};

static int hear_exits(void *c, const struct vt_exit_row *row)
{
    struct heard_exits *h = c;
    h->exits[h->nr_exits++ % 4] = *row;
    return 0;
}

static int hear_address(void *c, const struct vt_exit_address *row)
{
    struct heard_exits *h = c;
    h->addresses[h->nr_addresses++ % 4] = *row;
    return 0;
}

static int read_exits(const char *path, struct heard_exits *h)
{
    const struct vt_store_reader reader = { .context = h, .exits = hear_exits, .exit_address = hear_address };
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = NULL;
    struct vt_err why = { "" };
    ok(vt_store_open(path, &store, &err));
    const int r = vt_store_read(store, &cursor, &reader, &why);
    assert_true(r == 0 || (r == -EUCLEAN && strstr(why.text, "damaged")));
    vt_store_close(store);
    return r;
}

static void addresses_and_exits_without_a_sum_come_back_and_nonsense_does_not(void **state)
{
    const struct place *p = *state;
    static const char *const nonsense[] = {
        "UPDATE exit_address SET kind = 4",   "UPDATE exit_address SET is_write = 2",
        "UPDATE exit_address SET count = -1", "UPDATE exit_address SET vcpu = 0",
        "UPDATE exits SET reason = 193",
    };
    const struct vt_exit_row row = { .vcpu = 1, .at = { 7 }, .reason = VT_EXIT_UNSUMMED, .count = 5 };
    struct vt_exit_row beyond = row;
    const struct vt_exit_address mmio = { 1, { 8 }, VT_ACCESS_MMIO, true, UINT64_MAX - 4095, 11 };
    const struct vt_exit_address none = { 1, { 9 }, VT_ACCESS_UNSUMMED, false, 0, 12 };
    struct vt_exit_address other = none;
    beyond.reason++;
    other.kind++;
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct heard_exits heard = { 0 };
        unlink(p->path);
        struct vt_store *store = create(p->path);
        ok(vt_store_put_exits(store, &row, &err));
        ok(vt_store_put_exit_address(store, &mmio, &err));
        ok(vt_store_put_exit_address(store, &none, &err));
        fails(EINVAL, "out of range", vt_store_put_exits(store, &beyond, &err));
        fails(EINVAL, "out of range", vt_store_put_exit_address(store, &other, &err));
        ok(vt_store_commit(store, &err));
        vt_store_close(store);
        ok(read_exits(p->path, &heard));
        assert_int_equal(heard.nr_exits, 1);
        assert_int_equal(heard.nr_addresses, 2);
        assert_memory_equal(&heard.exits[0], &row, sizeof(row));
        assert_true(heard.addresses[0].address == mmio.address && heard.addresses[0].is_write);
        assert_true(heard.addresses[0].count == 11 && heard.addresses[0].kind == VT_ACCESS_MMIO);
        assert_true(heard.addresses[1].count == 12 && heard.addresses[1].kind == VT_ACCESS_UNSUMMED);
        run_sql(p->path, nonsense[i]);
        assert_int_equal(read_exits(p->path, &heard), -EUCLEAN);
    }
}

/* ---- KVM's own statistics ---- */

struct heard_stats {
    struct vt_kvm_stat stats[2];
    struct vt_kvm_count counts[2];
    size_t nr_stats, nr_counts;
};

static int hear_stat(void *c, const struct vt_kvm_stat *row)
{
    struct heard_stats *h = c;
    h->stats[h->nr_stats++ % 2] = *row;
    return 0;
}

static int hear_count(void *c, const struct vt_kvm_count *row)
{
    struct heard_stats *h = c;
    h->counts[h->nr_counts++ % 2] = *row;
    return 0;
}

static int read_stats(const char *path, struct heard_stats *h)
{
    const struct vt_store_reader reader = { .context = h, .kvm_stat = hear_stat, .kvm_count = hear_count };
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = NULL;
    struct vt_err why = { "" };
    ok(vt_store_open(path, &store, &err));
    const int r = vt_store_read(store, &cursor, &reader, &why);
    assert_true(r == 0 || (r == -EUCLEAN && strstr(why.text, "damaged")));
    vt_store_close(store);
    return r;
}

static void kvms_statistics_come_back_and_nonsense_does_not(void **state)
{
    const struct place *p = *state;
    static const char *const nonsense[] = {
        "UPDATE kvm_stat SET name = hex(zeroblob(40))",
        "UPDATE kvm_stat SET unit = hex(zeroblob(9))",
        "UPDATE kvm_count SET vcpu = 0",
        "UPDATE kvm_count SET stat = 0",
        "UPDATE kvm_count SET at_ns = -1",
        "UPDATE kvm_count SET count = -1",
    };
    const struct vt_kvm_stat stat = { 1, "halt_wait_ns", "ns" };
    const struct vt_kvm_count count = { 1, { 7 }, 1, 11 };
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct heard_stats heard = { 0 };
        unlink(p->path);
        struct vt_store *store = create(p->path);
        ok(vt_store_put_kvm_stat(store, &stat, &err));
        ok(vt_store_put_kvm_count(store, &count, &err));
        ok(vt_store_commit(store, &err));
        vt_store_close(store);
        ok(read_stats(p->path, &heard));
        assert_int_equal(heard.nr_stats, 1);
        assert_int_equal(heard.nr_counts, 1);
        assert_memory_equal(&heard.stats[0], &stat, sizeof(stat));
        assert_memory_equal(&heard.counts[0], &count, sizeof(count));
        run_sql(p->path, nonsense[i]);
        if (read_stats(p->path, &heard) != -EUCLEAN)
            fail_msg("%s: read", nonsense[i]);
    }
}

/* ---- what later schemas brought: when helpers waited, this host's own steal ---- */

static const struct vt_helper_wait a_wait = { 3, { 70000 }, { 130000 } };
static const struct vt_outer_steal a_steal = { 4, { 80000 }, { 140000 }, 50000 };

struct heard_later {
    struct vt_helper_wait wait;
    struct vt_outer_steal steal;
    size_t waits, steals;
    struct vt_host host;
};

static int hear_wait(void *c, const struct vt_helper_wait *row)
{
    struct heard_later *h = c;
    h->wait = *row;
    h->waits++;
    return 0;
}

static int hear_steal(void *c, const struct vt_outer_steal *row)
{
    struct heard_later *h = c;
    h->steal = *row;
    h->steals++;
    return 0;
}

static int read_later(const char *path, struct heard_later *h)
{
    const struct vt_store_reader reader = { .context = h,
                                            .helper_wait = hear_wait,
                                            .outer_steal = hear_steal };
    struct vt_store_cursor cursor = { 0 };
    struct vt_store *store = NULL;
    struct vt_err why = { "" };
    ok(vt_store_open(path, &store, &err));
    int r = vt_store_get_host(store, &h->host, &why);
    if (!r)
        r = vt_store_read(store, &cursor, &reader, &why);
    vt_store_close(store);
    return r;
}

static void write_later(const char *path)
{
    const struct vt_host host = {
        .begin = { 1 }, .nr_cpus = 1, .helper_wait_ns = 50000, .tells_outer_steal = true, .stays_awake = true
    };
    struct vt_store *store;
    unlink(path);
    store = create(path);
    ok(vt_store_put_host(store, &host, &err));
    ok(vt_store_put_helper_wait(store, &a_wait, &err));
    ok(vt_store_put_outer_steal(store, &a_steal, &err));
    ok(vt_store_commit(store, &err));
    vt_store_close(store);
}

static void what_later_schemas_brought_comes_back_and_nonsense_does_not(void **state)
{
    const struct place *p = *state;
    static const char *const nonsense[] = { "UPDATE helper_wait SET helper = 0",
                                            "UPDATE helper_wait SET from_ns = -1",
                                            "UPDATE helper_wait SET to_ns = -1",
                                            "UPDATE meta SET value = -1 WHERE key = 'helper_wait_ns'",
                                            "UPDATE outer_steal SET vcpu = 0",
                                            "UPDATE outer_steal SET from_ns = -1",
                                            "UPDATE outer_steal SET to_ns = -1",
                                            "UPDATE outer_steal SET steal_ns = -1",
                                            "UPDATE meta SET value = 2 WHERE key = 'tells_outer_steal'",
                                            "UPDATE meta SET value = -1 WHERE key = 'stays_awake'" };
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct heard_later heard = { 0 };
        write_later(p->path);
        ok(read_later(p->path, &heard));
        assert_int_equal(heard.waits, 1);
        assert_memory_equal(&heard.wait, &a_wait, sizeof(a_wait));
        assert_int_equal(heard.host.helper_wait_ns, 50000);
        assert_int_equal(heard.steals, 1);
        assert_memory_equal(&heard.steal, &a_steal, sizeof(a_steal));
        assert_true(heard.host.tells_outer_steal);
        assert_true(heard.host.stays_awake);
        run_sql(p->path, nonsense[i]);
        if (read_later(p->path, &heard) != -EUCLEAN)
            fail_msg("%s: read", nonsense[i]);
    }
}

static void before_schemas_5_and_6_it_was_not_told(void **state)
{
    const struct place *p = *state;
    struct heard_later heard = { 0 };
    struct vt_store *store = NULL;
    write_later(p->path);
    run_sql(p->path,
            "DROP TABLE outer_steal; DELETE FROM meta WHERE key IN ('tells_outer_steal', 'stays_awake');"
            "PRAGMA user_version = 5");
    ok(read_later(p->path, &heard));
    assert_int_equal(heard.waits, 1);
    assert_int_equal(heard.steals, 0);
    assert_false(heard.host.tells_outer_steal);
    assert_false(heard.host.stays_awake);
    run_sql(p->path, "DROP TABLE helper_wait; DELETE FROM meta WHERE key = 'helper_wait_ns';"
                     "PRAGMA user_version = 4");
    heard = (struct heard_later){ 0 };
    ok(read_later(p->path, &heard));
    assert_int_equal(heard.waits, 0);
    assert_int_equal(heard.host.helper_wait_ns, 0);
    ok(vt_store_append(p->path, &store, &err)); /* brought up, as `vtime import` does */
    vt_store_close(store);
    ok(read_later(p->path, &heard));
    assert_int_equal(heard.waits + heard.steals, 0);
    assert_int_equal(heard.host.helper_wait_ns, 0);
}

/* ---- the documented schema ---- */

static void state_columns_are_named_for_the_states(void **state)
{
    const struct place *p = *state;
    write_one_of_each(p->path);
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
    for (int i = 0; i < VT_NR_STATES; i++) {
        char column[32] = "", *sql;
        size_t n = 0;
        for (const char *c = vt_states[i].name; *c; c++)
            column[n++] = (char)(*c == '?' ? 'q' : *c | 0x20);
        for (int view = 0; view < 2; view++) {
            sql = sqlite3_mprintf("SELECT %s_ns FROM %s", column, view ? "integral" : "checkpoint");
            assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
            assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
            /* the view adds the open 7 ns to the state that it is in */
            assert_int_equal(sqlite3_column_int64(stmt, 0), 1000 + i + (view && i == VT_HALTED ? 7 : 0));
            sqlite3_finalize(stmt);
            sqlite3_free(sql);
        }
    }
    sqlite3_close(db);
}

/* Every ```sql block of the document; the tests run where the sources are. */
static void the_documented_queries_run(void **state)
{
    const struct place *p = *state;
    char *sql = NULL, line[512];
    size_t size = 0;
    int blocks = 0;
    FILE *doc = fopen("docs/SCHEMA.md", "r"), *block = NULL;
    if (!doc) {
        print_message("skipped: docs/SCHEMA.md is not below the current folder\n");
        skip();
    }
    write_one_of_each(p->path);
    while (fgets(line, sizeof(line), doc)) {
        if (block && strncmp(line, "```", 3) == 0) {
            assert_int_equal(fclose(block), 0);
            block = NULL;
            run_sql(p->path, sql);
            free(sql);
            blocks++;
        } else if (block) {
            fputs(line, block);
        } else if (strcmp(line, "```sql\n") == 0) {
            block = open_memstream(&sql, &size);
            assert_non_null(block);
        }
    }
    fclose(doc);
    assert_null(block);
    assert_true(blocks >= 6);
}

/* ---- cost ---- */

static double seconds_since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + 1e-9 * (double)(now.tv_nsec - begin->tv_nsec);
}

/* Four vCPUs at four to one, a commit each second: 62 slices of each in a chunk. */
static double bytes_per_slice(const struct place *p, bool halts, int commits, int per_commit)
{
    struct vt_store *store = create(p->path);
    struct vt_slice s[4] = { 0 };
    struct stat before, after;
    struct timespec begin;
    for (int i = 0; i < 4; i++)
        s[i].t_end = UINT64_C(864000) * 1000000000; /* ten days up */
    vt_store_close(store);
    assert_int_equal(stat(p->path, &before), 0);
    unlink(p->path);
    store = create(p->path);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int c = 0; c < commits; c++) {
        for (int i = 0; i < 4 * per_commit; i++) {
            s[i % 4] = next_slice(&s[i % 4], halts);
            ok(vt_store_put_slices(store, 1 + i % 4, &s[i % 4], 1, &err));
        }
        ok(vt_store_commit(store, &err));
    }
    const double wrote = seconds_since(&begin);
    vt_store_close(store);
    assert_int_equal(stat(p->path, &after), 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    const size_t n = read_file(p->path).slices;
    const double took = seconds_since(&begin);
    assert_int_equal(n, 4 * per_commit * commits);
    unlink(p->path);
    const double bytes = (double)(after.st_size - before.st_size) / (double)n;
    print_message("%s, %d per chunk: %.2f bytes per slice on disk; %.2f M/s in, %.2f M/s out\n",
                  halts ? "halting and pre-empted in turn" : "pre-empted", per_commit, bytes,
                  1e-6 * (double)n / wrote, 1e-6 * (double)n / took);
    return bytes;
}

static void a_typical_slice_takes_no_more_than_sixteen_bytes(void **state)
{
    assert_true(bytes_per_slice(*state, false, 300, 62) <= 16);
    assert_true(bytes_per_slice(*state, true, 300, 124) <= 16);
    assert_true(bytes_per_slice(*state, true, 20, 20000) <= 16);
}

#define test_in_place(name) cmocka_unit_test_setup_teardown(name, make_place, drop_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_place(every_row_comes_back_as_it_was_put),
        test_in_place(what_is_not_committed_is_not_seen),
        cmocka_unit_test(a_cursor_delivers_each_row_once_and_a_renamed_vm_again),
        cmocka_unit_test(slices_of_several_vcpus_come_by_vcpu_then_seq),
        cmocka_unit_test(what_is_kept_of_a_vcpu_in_memory_goes_with_its_life),
        cmocka_unit_test(rows_without_sense_are_refused_when_put),
        test_in_place(only_a_recording_is_replaced),
        test_in_place(a_reader_sees_whole_commits_while_a_writer_works),
        test_in_place(a_killed_writer_leaves_what_it_had_committed),
        test_in_place(a_recording_on_a_read_only_file_system_is_read),
        test_in_place(a_full_disk_fails_the_commit_and_keeps_the_earlier_ones),
        test_in_place(a_limit_on_file_size_is_a_full_disk_too),
        test_in_place(without_permission_it_says_so),
        test_in_place(a_file_that_is_no_recording_is_refused),
        test_in_place(another_schema_is_refused),
        test_in_place(tables_are_known_by_their_words),
        test_in_place(cpus_come_back_and_each_is_there_once),
        test_in_place(addresses_and_exits_without_a_sum_come_back_and_nonsense_does_not),
        test_in_place(kvms_statistics_come_back_and_nonsense_does_not),
        test_in_place(what_later_schemas_brought_comes_back_and_nonsense_does_not),
        test_in_place(before_schemas_5_and_6_it_was_not_told),
        test_in_place(a_row_with_nonsense_is_refused),
        test_in_place(a_fact_that_came_later_may_lack),
        test_in_place(a_damaged_file_does_no_harm),
        test_in_place(state_columns_are_named_for_the_states),
        test_in_place(the_documented_queries_run),
        test_in_place(a_typical_slice_takes_no_more_than_sixteen_bytes),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}

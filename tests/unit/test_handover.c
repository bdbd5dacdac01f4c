/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From one recording to the next: VMs keep their names, guests' words are said again, ids are new. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "collector/agents.h"
#include "collector/names.h"
#include "vt/frame_encode.h"
#include "wire/frame.h"

static struct vt_err err;

/* What a reader finds in a recording. */
struct found {
    size_t nr_vms, nr_hellos, nr_marks;
    struct vt_vm vms[4];
    char hello[VTG_NAME_LEN];
    int64_t hello_vm;
    size_t nr_tasks;
    struct vtg_task task; /* the newest row's */
};

static int on_vm(void *context, const struct vt_vm *row)
{
    struct found *f = context;
    assert_true(f->nr_vms < 4);
    f->vms[f->nr_vms++] = *row;
    return 0;
}

static int on_record(void *context, const struct vt_guest_record *row)
{
    struct found *f = context;
    f->nr_marks += row->type == VTG_MARK;
    if (row->type == VTG_HELLO) {
        f->nr_hellos++;
        f->hello_vm = row->vm;
        memcpy(f->hello, row->hello.name, sizeof(f->hello));
    }
    if (row->type == VTG_TASK) {
        f->nr_tasks++;
        f->task = row->task;
    }
    return 0;
}

static struct found look(struct vt_store *store)
{
    struct found f = { 0 };
    struct vt_store_cursor cursor = { 0 };
    const struct vt_store_reader reader = { .context = &f, .vm = on_vm, .guest_record = on_record };
    assert_int_equal(vt_store_commit(store, &err), 0);
    assert_int_equal(vt_store_read(store, &cursor, &reader, &err), 0);
    return f;
}

static struct vt_store *new_store(void)
{
    struct vt_store *store = NULL;
    assert_int_equal(vt_store_create(":memory:", false, &store, &err), 0);
    return store;
}

/* Processes that are not there: their names are made of the pid. */
enum { FIRST = 0x7ffffff0, SECOND, THIRD };

static void vms_keep_their_names_and_get_new_ids_as_they_are_heard_of(void **state)
{
    struct vt_store *a = new_store(), *b = new_store(), *c = new_store();
    struct vt_roster *one = vt_roster_new(a), *two, *three;
    (void)state;
    assert_int_equal(vt_roster_process(one, FIRST, 1000, &err), 1);
    assert_int_equal(vt_roster_process(one, SECOND, 1000, &err), 2);
    two = vt_roster_next(one, b);
    assert_non_null(two);
    assert_int_equal(vt_roster_vms(two), 0);
    assert_int_equal(vt_roster_process(two, SECOND, 1000, &err), 1);
    assert_int_equal(vt_roster_process(two, THIRD, 1000, &err), 2);
    assert_int_equal(vt_roster_process(two, SECOND, 1000, &err), 1);
    const struct found first = look(a), second = look(b);
    assert_int_equal(first.nr_vms, 2);
    assert_int_equal(second.nr_vms, 2);
    assert_string_equal(second.vms[0].name, first.vms[1].name);
    assert_int_equal(second.vms[0].tgid, SECOND);
    /* what was not heard of in one recording is forgotten in the next: no growth without end */
    three = vt_roster_next(two, c);
    assert_int_equal(vt_roster_process(three, FIRST, 1000, &err), 1);
    assert_int_equal(look(c).nr_vms, 1);
    vt_roster_free(one);
    vt_roster_free(two);
    vt_roster_free(three);
    vt_store_close(a);
    vt_store_close(b);
    vt_store_close(c);
}

static void say(int fd, uint32_t seq, enum vtg_type type, const void *payload, uint32_t len)
{
    char bytes[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    const struct vtg_frame frame = vtg_frame_header(type, seq, payload, len);
    memcpy(bytes, &frame, sizeof(frame));
    memcpy(bytes + sizeof(frame), payload, len);
    assert_int_equal(write(fd, bytes, sizeof(frame) + len), sizeof(frame) + len);
}

static void serve(struct vt_agents *agents, int epoll_fd)
{
    struct epoll_event events[8];
    int n, e = 0;
    while ((n = epoll_wait(epoll_fd, events, 8, 20)) > 0)
        for (int i = 0; i < n; i++) {
            assert_true(vt_agents_event(agents, events[i].data.ptr, &e, &err));
            assert_int_equal(e, 0);
        }
}

static int connect_to(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(addr.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* A guest that speaks to a recorder which is about to turn to its next recording. */
struct site {
    struct vt_store *a, *b;
    struct vt_roster *one, *two; /* two: the test's to make */
    struct vt_agents *agents;
    int epoll_fd, fd;
};

static struct site begin_site(void)
{
    const struct vtg_hello hello = { .kind = VTG_KIND_PAYLOAD, .nr_vcpus = 1, .name = "guest" };
    struct site s = { .a = new_store(), .b = new_store(), .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
    char path[64];
    s.one = vt_roster_new(s.a);
    snprintf(path, sizeof(path), "/tmp/vt-handover-%d", getpid());
    assert_int_equal(vt_agents_open(path, s.epoll_fd, s.a, s.one, &s.agents, &err), 0);
    s.fd = connect_to(path);
    say(s.fd, 0, VTG_HELLO, &hello, sizeof(hello));
    return s;
}

static void end_site(struct site *s)
{
    close(s->fd);
    vt_agents_close(s->agents);
    vt_roster_free(s->one);
    vt_roster_free(s->two);
    vt_store_close(s->a);
    vt_store_close(s->b);
    close(s->epoll_fd);
}

static void a_guest_is_known_in_the_next_recording_and_lost_where_there_is_none(void **state)
{
    struct site s = begin_site();
    const struct vtg_mark mark = { .kind = VTG_MARK_POINT };
    (void)state;
    say(s.fd, 1, VTG_MARK, &mark, sizeof(mark));
    serve(s.agents, s.epoll_fd);
    s.two = vt_roster_next(s.one, s.b);
    assert_int_equal(vt_roster_process(s.two, FIRST, 1000, &err), 1); /* so that ids differ */
    assert_int_equal(vt_agents_move(s.agents, s.b, s.two, &err), 0);
    say(s.fd, 2, VTG_MARK, &mark, sizeof(mark));
    serve(s.agents, s.epoll_fd);
    const struct found first = look(s.a), second = look(s.b);
    assert_int_equal(first.nr_hellos, 1);
    assert_int_equal(first.nr_marks, 1);
    assert_int_equal(second.nr_hellos, 1);
    assert_int_equal(second.nr_marks, 1);
    assert_string_equal(second.hello, "guest");
    assert_int_equal(second.hello_vm, 2);
    /* the disk is full: what comes is lost, and counted */
    assert_int_equal(vt_agents_lost(s.agents), 0);
    assert_int_equal(vt_agents_move(s.agents, NULL, NULL, &err), 0);
    say(s.fd, 3, VTG_MARK, &mark, sizeof(mark));
    serve(s.agents, s.epoll_fd);
    assert_int_equal(vt_agents_lost(s.agents), 1);
    end_site(&s);
}

/* Its agent tells a name once: the next recording would not know whose stretches those are. */
static void who_a_guests_tasks_are_is_known_in_the_next_recording(void **state)
{
    struct site s = begin_site();
    struct vtg_task task = { .tid = 11, .tgid = 10, .comm = "sh" };
    (void)state;
    say(s.fd, 1, VTG_TASK, &task, sizeof(task));
    strcpy(task.comm, "loop");
    task.mark = 7;
    say(s.fd, 2, VTG_TASK, &task, sizeof(task));
    serve(s.agents, s.epoll_fd);
    s.two = vt_roster_next(s.one, s.b);
    assert_int_equal(vt_agents_move(s.agents, s.b, s.two, &err), 0);
    const struct found first = look(s.a), second = look(s.b);
    assert_int_equal(first.nr_tasks, 2);
    assert_int_equal(second.nr_tasks, 1);
    assert_memory_equal(&second.task, &task, sizeof(task));
    end_site(&s);
}

/* A guest may say names without end: the newest are kept, and that some are not is known. */
static void names_are_bounded(void **state)
{
    struct vt_names n = { 0 };
    struct vtg_task task = { .tid = 0 };
    size_t at = 0, nr = 0;
    (void)state;
    vt_names_note(&n, &task); /* of nobody */
    assert_null(vt_names_next(&n, &at));
    for (task.tid = 1; task.tid <= VT_NAMES; task.tid++)
        vt_names_note(&n, &task);
    assert_false(n.displaced);
    for (; task.tid <= 3 * VT_NAMES; task.tid++)
        vt_names_note(&n, &task);
    assert_true(n.displaced);
    for (const struct vtg_task *t; (t = vt_names_next(&n, &at)); nr++)
        assert_true(t->tid > 2 * VT_NAMES);
    assert_int_equal(nr, VT_NAMES);
    vt_names_release(&n);
    at = 0;
    assert_null(vt_names_next(&n, &at));
    assert_false(n.displaced);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vms_keep_their_names_and_get_new_ids_as_they_are_heard_of),
        cmocka_unit_test(a_guest_is_known_in_the_next_recording_and_lost_where_there_is_none),
        cmocka_unit_test(who_a_guests_tasks_are_is_known_in_the_next_recording),
        cmocka_unit_test(names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Agents' ports that are found, and guests that come to one socket; QEMU is this program, started anew. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/agents.h"
#include "collector/hostinfo.h"
#include "collector/qemu.h"

struct site {
    char folder[32], own[48], path[48], other[48];
    int epoll_fd, listening; /* of a socket that is not QEMU's */
    pid_t qemu;
    uint64_t start_ns;
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_agents *agents;
};

struct rows {
    int events[VT_NR_CHANNEL_EVENTS];
    char text[VT_NR_CHANNEL_EVENTS][65];
};

static struct vt_err err;

#define ok(call)                                                                                             \
    do {                                                                                                     \
        const int ok_r = (call);                                                                             \
        if (ok_r != 0)                                                                                       \
            fail_msg("%s: %d, %s", #call, ok_r, err.text);                                                   \
    } while (0)

static int listen_at(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(at.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int dial(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(at.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* As QEMU: listens where its command line says, has one client at a time, ends with its parent. */
static int be_qemu(const char *path)
{
    const int listener = listen_at(path);
    int client = -1;
    char buf[256];

    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    for (;;) {
        struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                              { .fd = client < 0 ? listener : client, .events = POLLIN } };
        if (poll(p, 2, -1) < 0 || p[0].revents)
            return 0;
        if (client < 0) {
            client = accept(listener, NULL, NULL);
        } else if (p[1].revents && read(client, buf, sizeof(buf)) <= 0) {
            close(client);
            client = -1;
        }
    }
}

static void start_qemu(struct site *s)
{
    int to[2], from[2];
    char chardev[96], byte;

    snprintf(chardev, sizeof(chardev), "socket,id=c,path=%s,server=on", s->path);
    assert_int_equal(pipe(to) | pipe(from), 0);
    s->qemu = fork();
    if (s->qemu == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        close(to[1]);
        execl("/proc/self/exe", "qemu", "-chardev", chardev, "-device",
              "virtserialport,chardev=c,name=org.vtime.agent.0", s->path, NULL);
        _exit(1);
    }
    close(to[0]);
    close(from[1]);
    assert_int_equal(read(from[0], &byte, 1), 1);
    close(from[0]); /* to[1] stays open as long as we live */
    s->start_ns = vt_process_start((uint32_t)s->qemu);
    assert_true(s->start_ns);
}

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    strcpy(s->folder, "/tmp/vt-found-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->own, sizeof(s->own), "%s/own", s->folder);
    snprintf(s->path, sizeof(s->path), "%s/port", s->folder);
    snprintf(s->other, sizeof(s->other), "%s/other", s->folder);
    s->listening = listen_at(s->other);
    start_qemu(s);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    ok(vt_store_create(":memory:", false, &s->store, &err));
    s->roster = vt_roster_new(s->store);
    assert_non_null(s->roster);
    ok(vt_agents_open(s->own, s->epoll_fd, s->store, s->roster, &s->agents, &err));
    assert_int_equal(vt_roster_guest(s->roster, (uint32_t)s->qemu, s->start_ns, VT_VM_KVM, "web", &err), 1);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;

    vt_agents_close(s->agents);
    vt_roster_free(s->roster);
    vt_store_close(s->store);
    kill(s->qemu, SIGKILL);
    waitpid(s->qemu, NULL, 0);
    close(s->epoll_fd);
    close(s->listening);
    unlink(s->path);
    unlink(s->other);
    rmdir(s->folder);
    free(s);
    return 0;
}

static int see_event(void *context, const struct vt_channel_event *row)
{
    struct rows *r = context;
    r->events[row->kind]++;
    memcpy(r->text[row->kind], row->text, sizeof(row->text));
    return 0;
}

static struct rows rows_of(struct vt_store *store)
{
    struct rows r = { 0 };
    struct vt_store_cursor cursor = { 0 };
    const struct vt_store_reader reader = { .context = &r, .channel_event = see_event };

    ok(vt_store_commit(store, &err));
    ok(vt_store_read(store, &cursor, &reader, &err));
    return r;
}

static void serve(struct site *s)
{
    struct epoll_event events[16];
    const int n = epoll_wait(s->epoll_fd, events, 16, 0);

    for (int i = 0; i < n; i++) {
        int e = -1;
        assert_true(vt_agents_event(s->agents, events[i].data.ptr, &e, &err));
        assert_int_equal(e, 0);
    }
}

static void tick(struct site *s)
{
    ok(vt_agents_tick(s->agents, &err));
    serve(s);
}

/* Until it has looked again, which it does every two seconds, so many times. */
static void look_again(struct site *s, int times)
{
    for (int i = 0; i < 22 * times; i++) {
        tick(s);
        usleep(100000);
    }
}

static bool is_held(struct site *s)
{
    struct vt_qemu_port port;
    const int r = vt_qemu_open_port((uint32_t)s->qemu, &port);

    if (r == 0)
        vt_qemu_close_port(&port);
    return r == -EBUSY;
}

/* ---- ports ---- */

static void a_port_is_found_and_taken(void **state)
{
    struct site *s = *state;

    vt_agents_find(s->agents, "web");
    tick(s);
    tick(s);
    assert_true(is_held(s));
    assert_null(vt_agents_held(s->agents, 0));
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.events[VT_CHANNEL_OPENED], 1);
    assert_non_null(strstr(r.text[VT_CHANNEL_OPENED], s->path));
}

static void a_port_that_another_holds_is_told_once_and_taken_when_it_is_free(void **state)
{
    struct site *s = *state;
    const int before = dial(s->path);

    vt_agents_find(s->agents, NULL);
    look_again(s, 2);
    struct rows r = rows_of(s->store);
    assert_int_equal(r.events[VT_CHANNEL_HELD], 1);
    assert_non_null(strstr(r.text[VT_CHANNEL_HELD], s->path));
    assert_int_equal(r.events[VT_CHANNEL_OPENED], 0);
    assert_string_equal(vt_agents_held(s->agents, 0), "web");
    assert_null(vt_agents_held(s->agents, 1));
    close(before);
    look_again(s, 1);
    assert_null(vt_agents_held(s->agents, 0));
    r = rows_of(s->store);
    assert_int_equal(r.events[VT_CHANNEL_HELD], 1);
    assert_int_equal(r.events[VT_CHANNEL_OPENED], 1);
}

static void only_the_vm_that_was_asked_for_is_gone_to(void **state)
{
    struct site *s = *state;

    vt_agents_find(s->agents, "db");
    tick(s);
    tick(s);
    assert_false(is_held(s));
    assert_int_equal(rows_of(s->store).events[VT_CHANNEL_OPENED], 0);
    assert_true(vt_roster_saw(s->roster, "web"));
    assert_false(vt_roster_saw(s->roster, "db"));
}

static void a_path_that_leads_to_another_process_is_not_believed(void **state)
{
    struct site *s = *state;
    char aside[64];

    snprintf(aside, sizeof(aside), "%s/aside", s->folder);
    assert_int_equal(rename(s->path, aside), 0);
    assert_int_equal(link(s->other, s->path), 0); /* a socket, but ours */
    vt_agents_find(s->agents, NULL);
    tick(s);
    tick(s);
    const struct rows r = rows_of(s->store);
    assert_int_equal(r.events[VT_CHANNEL_OPENED], 0);
    assert_int_equal(r.events[VT_CHANNEL_FAILED], 1);
    assert_string_equal(r.text[VT_CHANNEL_FAILED], "another process listens there");
    unlink(aside);
}

static void a_path_that_is_a_link_or_no_socket_is_not_opened(void **state)
{
    struct site *s = *state;
    struct vt_qemu_port port;
    char aside[64];

    snprintf(aside, sizeof(aside), "%s/aside", s->folder);
    assert_int_equal(rename(s->path, aside), 0);
    assert_int_equal(symlink(s->other, s->path), 0);
    assert_int_equal(vt_qemu_open_port((uint32_t)s->qemu, &port), -ENOTSOCK);
    unlink(s->path);
    fclose(fopen(s->path, "w"));
    assert_int_equal(vt_qemu_open_port((uint32_t)s->qemu, &port), -ENOTSOCK);
    unlink(s->path);
    assert_int_equal(rename(aside, s->path), 0);
    assert_int_equal(vt_qemu_open_port((uint32_t)s->qemu, &port), 0);
    vt_qemu_close_port(&port);
}

/* ---- where all guests may come ---- */

static void open_to_all(struct site *s, char path[64])
{
    struct vt_agent_address address;
    char text[96];

    snprintf(path, 64, "%s/all", s->folder);
    snprintf(text, sizeof(text), "unix-listen:%s", path);
    ok(vt_agent_address_parse(text, &address, &err));
    ok(vt_agents_name(s->agents, &address, 1, &err));
    tick(s);
}

/* Is the other side still there? */
static bool is_let_in(int fd)
{
    char buf[256];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        ;
    return n < 0 && errno == EAGAIN;
}

/* Another guest: a process that calls, tells whether it was let in, and stays until it is told to go. */
static pid_t call_as_another(const char *path, int *ret_go, int *ret_fd)
{
    int go[2], came[2];
    char byte;

    assert_int_equal(pipe(go) | pipe(came), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        const int fd = dial(path);
        close(go[1]);
        if (fd >= 0 && write(came[1], "c", 1) == 1 && read(go[0], &byte, 1) == 1)
            _exit(is_let_in(fd) ? 0 : 1);
        _exit(2);
    }
    close(go[0]);
    close(came[1]);
    assert_int_equal(read(came[0], &byte, 1), 1);
    *ret_go = go[1];
    *ret_fd = came[0];
    return pid;
}

static void one_guest_has_one_channel_and_leaves_room_for_others(void **state)
{
    struct site *s = *state;
    char path[64];
    int fds[40], in = 0, go, came, status = -1;

    open_to_all(s, path);
    for (int i = 0; i < 40; i++) {
        fds[i] = dial(path);
        tick(s);
    }
    const pid_t other = call_as_another(path, &go, &came);
    for (int i = 0; i < 100; i++)
        tick(s);
    for (int i = 0; i < 40; i++)
        in += is_let_in(fds[i]);
    assert_int_equal(in, 1);
    if (rows_of(s->store).events[VT_CHANNEL_SILENT] == 0) { /* else this machine was slow: a new one came */
        assert_true(is_let_in(fds[0]));
        assert_int_equal(vt_agents_lost(s->agents), 39);
    }
    assert_int_equal(write(go, "g", 1), 1);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    tick(s);
    assert_true(rows_of(s->store).events[VT_CHANNEL_OPENED] >= 2);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    close(go);
    close(came);
}

static void a_new_channel_takes_the_place_of_a_silent_one(void **state)
{
    struct site *s = *state;
    char path[64];

    open_to_all(s, path);
    const int deaf = dial(path);
    for (int i = 0; i < 300 && rows_of(s->store).events[VT_CHANNEL_SILENT] == 0; i++) {
        tick(s);
        if (i > 15) { /* it was silent for a second by now */
            const int fresh = dial(path);
            tick(s);
            tick(s);
            if (is_let_in(fresh)) {
                assert_false(is_let_in(deaf));
                close(fresh);
                close(deaf);
                return;
            }
            close(fresh);
        }
        usleep(100000);
    }
    fail_msg("a silent channel kept its place");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_port_is_found_and_taken),
        TEST(a_port_that_another_holds_is_told_once_and_taken_when_it_is_free),
        TEST(only_the_vm_that_was_asked_for_is_gone_to),
        TEST(a_path_that_leads_to_another_process_is_not_believed),
        TEST(a_path_that_is_a_link_or_no_socket_is_not_opened),
        TEST(one_guest_has_one_channel_and_leaves_room_for_others),
        TEST(a_new_channel_takes_the_place_of_a_silent_one),
    };

    if (strcmp(argv[0], "qemu") == 0)
        return be_qemu(argv[argc - 1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

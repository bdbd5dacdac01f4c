/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guests' channels: who becomes a VM, what a channel may cost, what is believed of its losses. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "collector/agents.h"
#include "wire/frame.h"

struct site {
    char folder[32], socket[48];
    int epoll_fd;
    struct vt_store *store;
    struct vt_roster *roster;
    struct vt_agents *agents;
};

static struct vt_err err;

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    strcpy(s->folder, "/tmp/vt-agents-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->socket, sizeof(s->socket), "%s/agent", s->folder);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(vt_store_create(":memory:", false, &s->store, &err), 0);
    s->roster = vt_roster_new(s->store);
    assert_non_null(s->roster);
    assert_int_equal(vt_agents_open(s->socket, s->epoll_fd, s->store, s->roster, &s->agents, &err), 0);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    vt_agents_close(s->agents);
    vt_roster_free(s->roster);
    vt_store_close(s->store);
    close(s->epoll_fd);
    rmdir(s->folder);
    free(s);
    return 0;
}

/* Handles what there is to handle; returns the number of events. */
static int serve(struct site *s)
{
    int done = 0, n;
    struct epoll_event events[16];
    while ((n = epoll_wait(s->epoll_fd, events, 16, 0)) > 0) {
        for (int i = 0; i < n; i++) {
            int e = -1;
            assert_true(vt_agents_event(s->agents, events[i].data.ptr, &e, &err));
            assert_int_equal(e, 0);
        }
        done += n;
        assert_true(done < 10000); /* it would spin for ever */
    }
    return done;
}

static int dial(struct site *s)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(to.sun_path, s->socket);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void send_frame(int fd, enum vtg_type type, uint32_t seq, const void *body, uint32_t len)
{
    uint8_t out[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    size_t n = vt_frame_encode(out, type, seq, body, len);
    assert_int_equal(write(fd, out, n), n);
}

static void send_mark(int fd, uint32_t seq)
{
    struct vtg_mark mark = { .kind = VTG_MARK_POINT, .name = "x" };
    send_frame(fd, VTG_MARK, seq, &mark, sizeof(mark));
}

/* Sends pieces, served between, until the sender has to wait or `most` went through. */
static size_t push(struct site *s, int fd, const void *piece, size_t len, size_t most)
{
    size_t sent = 0;
    while (sent < most) {
        ssize_t n = send(fd, piece, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return sent;
        sent += (size_t)n;
        serve(s);
    }
    return sent;
}

static void test_vm_is_who_sent_a_good_frame(void **state)
{
    struct site *s = *state;
    struct vtg_relay relay = { .host_ns = 1 };
    int fd = dial(s);

    serve(s);
    assert_int_equal(write(fd, "garbage", 7), 7);
    send_frame(fd, VTG_RELAY, 0, &relay, sizeof(relay));
    serve(s);
    assert_int_equal(vt_roster_vms(s->roster), 0);
    send_mark(fd, 0);
    send_mark(fd, 1);
    serve(s);
    assert_int_equal(vt_roster_vms(s->roster), 1);
    assert_int_equal(vt_agents_lost(s->agents), 0);
    close(fd);
    serve(s);
}

/* Whatever the bytes are, a tick lets only so many through; the sender waits, and nothing spins. */
static void check_bounded(struct site *s, const void *piece, size_t len)
{
    const size_t most = 16u << 20, tick = 1u << 20, socket_room = 1u << 20;
    int fd = dial(s);
    size_t first = push(s, fd, piece, len, most), second;

    assert_in_range(first, tick, tick + socket_room);
    assert_int_equal(serve(s), 0);
    assert_int_equal(vt_agents_tick(s->agents, &err), 0);
    second = push(s, fd, piece, len, most);
    assert_in_range(second, tick / 2, tick + socket_room);
    close(fd); /* the hangup of a channel that waits must not be told again and again */
    assert_int_equal(serve(s), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(vt_agents_tick(s->agents, &err), 0);
    assert_int_equal(serve(s), 0);
}

static void test_garbage_is_bounded(void **state)
{
    uint8_t piece[4096];
    memset(piece, 0x55, sizeof(piece));
    check_bounded(*state, piece, sizeof(piece));
}

static void test_relay_and_unknown_frames_are_bounded(void **state)
{
    uint8_t piece[4096];
    const struct vtg_relay relay = { .host_ns = 1 };
    size_t n = 0;
    while (n + 64 <= sizeof(piece)) {
        n += vt_frame_encode(piece + n, VTG_RELAY, 0, &relay, sizeof(relay));
        n += vt_frame_encode(piece + n, (enum vtg_type)200, 0, &relay, sizeof(relay));
    }
    check_bounded(*state, piece, n);
}

static void test_frames_are_bounded_without_loss(void **state)
{
    struct site *s = *state;
    int fd = dial(s);
    uint8_t out[256];
    const struct vtg_hello hello = { .kind = VTG_KIND_BARE };
    uint32_t seq = 0;

    for (int tick = 0; tick < 3; tick++) {
        uint32_t before = seq;
        for (; seq - before < 100000; seq++) {
            size_t n = vt_frame_encode(out, VTG_HELLO, seq, &hello, sizeof(hello));
            if (send(fd, out, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n)
                break;
            serve(s);
        }
        assert_in_range(seq - before, 1000, 20000);
        assert_int_equal(vt_agents_tick(s->agents, &err), 0);
    }
    close(fd);
    for (int i = 0; i < 4; i++)
        assert_int_equal(vt_agents_tick(s->agents, &err), 0);
    assert_int_equal(vt_agents_lost(s->agents), 0);
}

static void test_a_liars_losses_are_not_believed(void **state)
{
    struct site *s = *state;
    int fd = dial(s);

    send_mark(fd, 0);
    send_mark(fd, 2); /* one is missing: that is said */
    serve(s);
    assert_int_equal(vt_agents_lost(s->agents), 1);
    send_mark(fd, 1u << 30); /* two billion at once: no more than these bytes could have been */
    serve(s);
    const uint64_t room = (sizeof(struct vtg_frame) + sizeof(struct vtg_mark) + 15) / 16;
    assert_in_range(vt_agents_lost(s->agents), 2, 1 + room);
    for (uint32_t i = 1; i < 4000; i++) { /* and so again: no more than a tick's frames */
        send_mark(fd, (1u << 30) * (1 + i % 2) + i);
        serve(s);
    }
    assert_int_equal(vt_agents_lost(s->agents), 4096);
    close(fd);
}

static void test_refused_channels_count_as_lost(void **state)
{
    struct site *s = *state;
    int fds[258];

    for (int i = 0; i < 258; i++) {
        if (i == 250)
            assert_int_equal(vt_agents_tick(s->agents, &err), 0);
        fds[i] = dial(s);
        serve(s);
    }
    assert_int_equal(vt_agents_lost(s->agents), 2);
    for (int i = 0; i < 258; i++)
        close(fds[i]);
    serve(s);
    assert_int_equal(vt_agents_lost(s->agents), 2);
    int again = dial(s);
    serve(s);
    send_mark(again, 0);
    serve(s);
    assert_int_equal(vt_roster_vms(s->roster), 1);
    close(again);
}

static void test_only_an_abandoned_socket_is_replaced(void **state)
{
    struct site *s = *state;
    struct vt_agents *other = NULL;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int r = vt_agents_open(s->socket, s->epoll_fd, s->store, s->roster, &other, &err);

    assert_int_equal(r, -EADDRINUSE); /* somebody listens there */
    close(dial(s));
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/left", s->folder);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(dead, 1), 0);
    close(dead); /* as a kill would */
    assert_int_equal(vt_agents_open(at.sun_path, s->epoll_fd, s->store, s->roster, &other, &err), 0);
    vt_agents_close(other);

    FILE *f = fopen(at.sun_path, "w");
    assert_non_null(f);
    fclose(f);
    r = vt_agents_open(at.sun_path, s->epoll_fd, s->store, s->roster, &other, &err);
    assert_int_equal(r, -EADDRINUSE);
    assert_int_equal(unlink(at.sun_path), 0); /* it is still there */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_vm_is_who_sent_a_good_frame),          TEST(test_garbage_is_bounded),
        TEST(test_relay_and_unknown_frames_are_bounded), TEST(test_frames_are_bounded_without_loss),
        TEST(test_a_liars_losses_are_not_believed),      TEST(test_refused_channels_count_as_lost),
        TEST(test_only_an_abandoned_socket_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where agents are to be had, and what is asked of them: addresses, QEMU's command lines, questions. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
/* after sys/socket.h */
#include <linux/vm_sockets.h>

#include "collector/connect.h"
#include "collector/monitor.h"
#include "collector/pings.h"
#include "collector/qemu.h"

static struct vt_err err;

/* ---- addresses ---- */

static void an_address_has_a_vm_a_way_and_a_place(void **state)
{
    struct vt_agent_address a;
    struct sockaddr_vm vm;
    struct sockaddr_un un;

    (void)state;
    assert_int_equal(vt_agent_address_parse("web 1=unix:/run/a=b.sock", &a, &err), 0);
    memcpy(&un, &a.to, sizeof(un));
    assert_string_equal(a.name, "web 1");
    assert_string_equal(un.sun_path, "/run/a=b.sock");
    assert_string_equal(a.where, "unix:/run/a=b.sock");
    assert_string_equal(vt_agent_path(&a), "/run/a=b.sock");
    assert_false(a.listens);

    assert_int_equal(vt_agent_address_parse("a=b=vsock:3:1024", &a, &err), 0); /* a name may hold a = */
    memcpy(&vm, &a.to, sizeof(vm));
    assert_string_equal(a.name, "a=b");
    assert_int_equal(vm.svm_cid, 3);
    assert_int_equal(vm.svm_port, 1024);

    assert_int_equal(vt_agent_address_parse("vsock-listen:1024", &a, &err), 0); /* the CID tells the VM */
    memcpy(&vm, &a.to, sizeof(vm));
    assert_string_equal(a.name, "");
    assert_int_equal(vm.svm_cid, VMADDR_CID_ANY);
    assert_true(a.listens);

    assert_int_equal(vt_agent_address_parse("unix-listen:/run/all", &a, &err), 0); /* the process tells */
    assert_string_equal(a.name, "");
    assert_int_equal(vt_agent_address_parse("42=tcp-listen:[::1]:7000", &a, &err), 0);
    assert_int_equal(a.to.ss_family, AF_INET6);
    assert_true(a.listens);
    assert_int_equal(vt_agent_address_parse("x=tty:/dev/pts/3", &a, &err), 0);
    assert_string_equal(vt_agent_path(&a), "/dev/pts/3");
    assert_int_equal(vt_agent_address_parse("x=file:run.agent", &a, &err), 0);
    assert_int_equal(a.way, VT_WAY_FILE);
}

static void an_address_that_makes_no_sense_is_refused_and_says_why(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "x=",
        "x=/run/a",
        "x=udp:h:1",
        "unix:/a",
        "=unix:/a",
        "x=unix:",
        "tcp-listen:127.0.0.1:7000", /* whose would it be? */
        "x=tcp:",
        "x=tcp:h",
        "x=tcp:h:0",
        "x=tcp:h:65536",
        "x=tcp:h:1x",
        "x=tcp:127.0.0.1:-1",
        "x=vsock:3",
        "x=vsock::5",
        "x=vsock:a:5",
        "x=vsock:3:",
        "x=vsock:99999999999:5",
        "x=vsock-listen:",
        "x=tty:",
    };
    char longest[600];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vt_agent_address a = { .name = "untouched" };
        err.text[0] = 0;
        if (vt_agent_address_parse(bad[i], &a, &err) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
        assert_string_equal(a.name, "untouched");
        assert_non_null(strstr(err.text, "--agent"));
    }
    for (size_t n = 60; n < sizeof(longest); n += 13) { /* too long a name, then too long a place */
        struct vt_agent_address a;
        memset(longest, 'n', n);
        strcpy(longest + n - 10, "=unix:/a");
        assert_int_equal(vt_agent_address_parse(longest, &a, &err), n - 10 < VT_VM_NAME_LEN ? 0 : -EINVAL);
        snprintf(longest, sizeof(longest), "x=unix:%0*d", (int)n, 1);
        assert_int_equal(vt_agent_address_parse(longest, &a, &err), n < 108 ? 0 : -EINVAL);
    }
}

/* ---- command lines ---- */

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static size_t join(const char *const *words, char *out, size_t size)
{
    size_t n = 0;
    for (; *words; words++) {
        assert_true(n + strlen(*words) + 1 < size);
        strcpy(out + n, *words);
        n += strlen(*words) + 1;
    }
    return n;
}

static bool find(const char *const *words, struct vt_qemu_socket *ret)
{
    char args[4096];
    return vt_qemu_find_socket(args, join(words, args, sizeof(args)), ret);
}

#define DEVICE "virtserialport,chardev=ch0,name=org.vtime.agent.0"

static void a_port_with_a_listening_socket_is_found(void **state)
{
    struct vt_qemu_socket s;

    (void)state;
    assert_true(
        find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/run/a.sock,server=on,wait=off", "-device", DEVICE),
             &s));
    assert_string_equal(s.path, "/run/a.sock");
    assert_true(
        find(ARGS("qemu", "--device", DEVICE, "--chardev", "socket,path=/a,,b,server,nowait,id=ch0"), &s));
    assert_string_equal(s.path, "/a,b"); /* a comma is doubled; words without a value are old spelling */
    assert_true(
        find(ARGS("qemu", "-chardev", "socket,id=other,path=/x,server=on", "-chardev",
                  "socket,id=ch0,path=rel,server=on", "-device",
                  "{\"driver\":\"virtserialport\",\"bus\":\"s.0\",\"nr\":1,\"chardev\":\"ch0\",\"id\":\"c\","
                  "\"name\":\"org.vtime.agent.0\"}"),
             &s));
    assert_string_equal(s.path, "rel");
    assert_true(find(ARGS("qemu", "-chardev", "socket,id=ch0,fd=33,server=on", "-device", DEVICE), &s));
    assert_string_equal(s.path, "");
    assert_int_equal(s.fd, 33);
}

static void what_is_no_such_port_is_not_taken_for_one(void **state)
{
    struct vt_qemu_socket s;
    char path[400], chardev[500];

    (void)state;
    assert_false(
        find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a", "-device", DEVICE), &s)); /* QEMU connects */
    assert_false(find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a,server=off", "-device", DEVICE), &s));
    assert_false(find(ARGS("qemu", "-chardev", "pty,id=ch0,path=/a,server=on", "-device", DEVICE), &s));
    assert_false(find(ARGS("qemu", "-chardev", "socket,id=ch1,path=/a,server=on", "-device", DEVICE), &s));
    assert_false(
        find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a,server=on,abstract=on", "-device", DEVICE), &s));
    assert_false(
        find(ARGS("qemu", "-chardev", "socket,id=ch0,host=h,port=1,server=on", "-device", DEVICE), &s));
    assert_false(find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a,server=on", "-device",
                           "virtconsole,chardev=ch0,name=org.vtime.agent.0"),
                      &s));
    assert_false(find(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a,server=on", "-device",
                           "virtserialport,chardev=ch0,name=org.qemu.guest_agent.0"),
                      &s));
    assert_false(find(ARGS("qemu", "-name", DEVICE, "-chardev", "socket,id=ch0,path=/a,server=on"), &s));
    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = 0;
    snprintf(chardev, sizeof(chardev), "socket,id=ch0,path=/%s,server=on", path);
    assert_false(find(ARGS("qemu", "-chardev", chardev, "-device", DEVICE), &s));
    assert_false(find(ARGS("qemu", "-device", DEVICE, "-chardev"), &s)); /* cut off */
    assert_false(find(ARGS("qemu", "-chardev", "socket,id=ch0,fd=-1,server=on", "-device", DEVICE), &s));
    assert_false(find(
        ARGS("qemu", "-device", "{\"driver\":[[[[{\"virtserialport\"", "-device", "{", "-device", ""), &s));
}

/* Any bytes, and any cut of good ones: no reads beyond them (the sanitized build sees). */
static void hostile_command_lines_do_no_harm(void **state)
{
    char good[512], *args;
    struct vt_qemu_socket s;
    size_t n = join(ARGS("qemu", "-chardev", "socket,id=ch0,path=/a,,,,b,server=on", "-device", DEVICE,
                         "-device", "vhost-vsock-pci,guest-cid=7", "-accel", "kvm"),
                    good, sizeof(good));

    (void)state;
    assert_true(vt_qemu_asks_kvm(good, n));
    assert_int_equal(vt_qemu_find_cid(good, n), 7);
    srandom(7);
    for (int i = 0; i < 20000; i++) {
        const size_t cut = (size_t)random() % (n + 1);
        args = malloc(cut + 1); /* as vt_command_line() makes it: what was cut has an end, too */
        assert_non_null(args);
        memcpy(args, good, cut);
        for (int k = 0; cut && k < (int)(random() % 8); k++)
            args[(size_t)random() % cut] = (char)("\0,=-{[x\xff"[random() % 8]);
        args[cut] = 0;
        vt_qemu_find_socket(args, cut, &s);
        vt_qemu_find_cid(args, cut);
        vt_qemu_asks_kvm(args, cut);
        free(args);
    }
}

static bool asks_kvm(const char *const *words)
{
    char args[512];
    return vt_qemu_asks_kvm(args, join(words, args, sizeof(args)));
}

static void kvm_is_asked_for_in_many_ways(void **state)
{
    (void)state;
    assert_true(asks_kvm(ARGS("qemu", "-enable-kvm")));
    assert_true(asks_kvm(ARGS("qemu", "-accel", "kvm,kernel-irqchip=split")));
    assert_true(asks_kvm(ARGS("qemu", "--accel", "accel=kvm")));
    assert_true(asks_kvm(ARGS("qemu", "-machine", "q35,accel=kvm")));
    assert_true(asks_kvm(ARGS("qemu", "-M", "q35,accel=kvm")));
    assert_true(asks_kvm(ARGS("qemu", "-M", "accel=kvm:tcg")));
    assert_true(asks_kvm(ARGS("qemu", "-machine", "pc,accel=xen:kvm:tcg")));
    assert_true(asks_kvm(ARGS("qemu", "-M", "q35", "-machine", "accel=kvm")));
    assert_false(asks_kvm(ARGS("qemu", "-machine", "q35,accel=tcg")));
    assert_false(asks_kvm(ARGS("qemu", "-M", "accel=tcg:kvm"))); /* TCG is always there */
    assert_false(asks_kvm(ARGS("qemu", "-accel", "tcg", "-accel", "kvm")));
    assert_false(asks_kvm(ARGS("qemu", "-M", "q35", "-accel", "tcg,thread=multi")));
    assert_false(asks_kvm(ARGS("qemu", "-M", "accel=")));
    assert_false(asks_kvm(ARGS("qemu", "-M", "accel=kvmx:")));
    assert_false(asks_kvm(ARGS("qemu", "-name", "kvm")));
}

static void a_monitor_is_known_by_its_own_name(void **state)
{
    char args[256];
    enum vt_vm_kind kind = VT_VM_CGROUP;
    size_t n =
        join(ARGS("/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", "-accel", "tcg"),
             args, sizeof(args));

    (void)state;
    assert_true(vt_monitor_is(args, n, "web", &kind));
    assert_int_equal(kind, VT_VM_TCG);
    assert_false(vt_monitor_is(args, n, "we", &kind));
    n = join(ARGS("qemu-kvm", "-enable-kvm", "-name", "web"), args, sizeof(args));
    assert_true(vt_monitor_is(args, n, "web", &kind));
    assert_int_equal(kind, VT_VM_KVM);
    n = join(ARGS("./linux", "mem=64M", "umid=foo"), args, sizeof(args));
    assert_true(vt_monitor_is(args, n, "foo", &kind));
    assert_int_equal(kind, VT_VM_UML);
    assert_false(vt_monitor_is(args, n, "linux", &kind));
}

/* ---- /proc/net/unix ---- */

static void a_listening_socket_is_found_and_whether_it_is_held(void **state)
{
    char table[] = "Num       RefCount Protocol Flags    Type St Inode Path\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/free\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 222 /run/held one\n"
                   "0000000000000000: 00000003 00000000 00000000 0001 03 333 /run/held one\n"
                   "0000000000000000: 00000003 00000000 00000000 0001 03 444\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 666 /run/queued\n"
                   "0000000000000000: 00000003 00000000 00000000 0001 02     0 /run/queued\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 555 @abstract\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 777 agent.sock\n"
                   "0000000000000000: 00000002 00000000 00010000 0001 01 888 agent.sock\n"
                   "0000000000000000: 00000003 00000000 00000000 0001 03 889 agent.sock\n"
                   "garbage\n";
    FILE *f = fmemopen(table, sizeof(table) - 1, "r");
    const uint64_t inodes[] = { 111, 222, 333, 555, 666 };
    const struct vt_inodes own = { inodes, sizeof(inodes) / sizeof(*inodes) };
    struct vt_unix_place p;

    (void)state;
    assert_non_null(f);
    assert_true(vt_unix_find(f, "/run/free", 0, &own, &p));
    assert_int_equal(p.inode, 111);
    assert_false(p.held);
    assert_true(vt_unix_find(f, "", 222, &own, &p));
    assert_string_equal(p.path, "/run/held one");
    assert_true(p.held);
    assert_true(vt_unix_find(f, "/run/queued", 0, &own, &p)); /* it is not accepted yet, and will be */
    assert_int_equal(p.inode, 666);
    assert_true(p.held);
    assert_false(vt_unix_find(f, "", 333, &own, &p)); /* a connection, not a listener */
    assert_false(vt_unix_find(f, "@abstract", 0, &own, &p));
    assert_false(vt_unix_find(f, "/run/none", 0, &own, &p));
    assert_false(vt_unix_find(f, "agent.sock", 0, &own, &p)); /* others', each in its own folder */
    assert_true(vt_unix_find(f, "agent.sock", 0, &(struct vt_inodes){ (uint64_t[]){ 777 }, 1 }, &p));
    assert_int_equal(p.inode, 777);
    assert_false(p.held);
    assert_true(vt_unix_find(f, "agent.sock", 0, &(struct vt_inodes){ (uint64_t[]){ 888, 889 }, 2 }, &p));
    assert_int_equal(p.inode, 888);
    assert_true(p.held);
    fclose(f);
}

/* ---- questions ---- */

struct table {
    struct vt_pings pings;
    struct vt_exchange row;
    struct vt_asked asked;
};

static struct vtg_ping ask(struct table *t, uint64_t at)
{
    return vt_pings_ask(&t->pings, (host_ns){ at }, (host_tsc){ 10 * at }, 0, 5, true);
}

static enum vt_answer answer(struct table *t, uint64_t id, uint64_t at)
{
    const struct vtg_pong pong = { .session = 9, .id = id, .tsc_received = 100, .tsc_sent = 200 };
    return vt_pings_answer(&t->pings, &pong, (host_ns){ at }, (host_tsc){ 10 * at }, &t->row, &t->asked);
}

static void an_answer_is_worth_what_the_table_says_of_its_question(void **state)
{
    struct table t;

    (void)state;
    vt_pings_init(&t.pings, 1);
    const struct vtg_ping a = ask(&t, 1000), b = ask(&t, 2000);
    assert_true(b.id > a.id);
    assert_int_equal(a.host, b.host);
    assert_int_equal(answer(&t, b.id, 3000), VT_ANSWER_GOOD); /* in any order */
    assert_int_equal(t.row.sent.v, 2000);
    assert_int_equal(t.row.sent_tsc.v, 20000);
    assert_int_equal(t.row.received.v, 3000);
    assert_int_equal(t.row.tsc_received.v, 100);
    assert_int_equal(t.asked.next_seq, 5);
    assert_int_equal(answer(&t, a.id, 3500), VT_ANSWER_GOOD);
    assert_int_equal(t.row.sent.v, 1000);
}

static void what_was_not_asked_is_absurd(void **state)
{
    struct table t;
    struct vtg_pong pong = { .session = 9, .tsc_received = 200, .tsc_sent = 100 };

    (void)state;
    vt_pings_init(&t.pings, 1);
    assert_int_equal(answer(&t, 0, 5), VT_ANSWER_ABSURD);
    assert_int_equal(answer(&t, 1, 5), VT_ANSWER_ABSURD);
    const struct vtg_ping a = ask(&t, 10);
    assert_int_equal(answer(&t, a.id + 1, 20), VT_ANSWER_ABSURD); /* the next id can't be guessed */
    assert_int_equal(answer(&t, UINT64_MAX, 20), VT_ANSWER_ABSURD);
    assert_int_equal(answer(&t, a.id, 20), VT_ANSWER_GOOD);
    assert_int_equal(answer(&t, a.id, 20), VT_ANSWER_ABSURD); /* twice */
    pong.id = ask(&t, 30).id;
    assert_int_equal(vt_pings_answer(&t.pings, &pong, (host_ns){ 40 }, (host_tsc){ 40 }, &t.row, &t.asked),
                     VT_ANSWER_BACKWARDS);
    pong.id = ask(&t, 50).id;
    pong.session = 0;
    assert_int_equal(vt_pings_answer(&t.pings, &pong, (host_ns){ 60 }, (host_tsc){ 60 }, &t.row, &t.asked),
                     VT_ANSWER_ABSURD);
}

static void the_oldest_question_is_forgotten_and_its_answer_late(void **state)
{
    struct table t;

    (void)state;
    vt_pings_init(&t.pings, 1);
    const uint64_t first = ask(&t, 1).id, second = ask(&t, 2).id;
    for (uint64_t i = 3; i <= VT_PINGS_MAX + 1; i++)
        ask(&t, i);
    assert_int_equal(answer(&t, first, 1000), VT_ANSWER_LATE);
    assert_int_equal(answer(&t, second, 1000), VT_ANSWER_GOOD);
    const uint64_t unsent = ask(&t, 1001).id;
    vt_pings_unask(&t.pings);
    assert_int_equal(answer(&t, unsent, 1002), VT_ANSWER_ABSURD);
    assert_true(ask(&t, 1003).id > unsent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_a_vm_a_way_and_a_place),
        cmocka_unit_test(an_address_that_makes_no_sense_is_refused_and_says_why),
        cmocka_unit_test(a_port_with_a_listening_socket_is_found),
        cmocka_unit_test(what_is_no_such_port_is_not_taken_for_one),
        cmocka_unit_test(hostile_command_lines_do_no_harm),
        cmocka_unit_test(kvm_is_asked_for_in_many_ways),
        cmocka_unit_test(a_monitor_is_known_by_its_own_name),
        cmocka_unit_test(a_listening_socket_is_found_and_whether_it_is_held),
        cmocka_unit_test(an_answer_is_worth_what_the_table_says_of_its_question),
        cmocka_unit_test(what_was_not_asked_is_absurd),
        cmocka_unit_test(the_oldest_question_is_forgotten_and_its_answer_late),
    };
    return cmocka_run_group_tests_name("channels", tests, NULL, NULL);
}

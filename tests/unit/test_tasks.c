/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest-agent/task_line.h"
#include "guest-agent/task_time.h"
#include "guest-agent/task_who.h"
#include "vt/task_pack.h"

/* ---- packing ---- */

static bool same(const struct vtg_stretch *a, const struct vtg_stretch *b)
{
    return a->from == b->from && a->to == b->to && a->waited == b->waited && a->tid == b->tid &&
           a->end == b->end;
}

static void stretches_come_out_as_they_went_in(void **state)
{
    (void)state;
    const struct vtg_stretch in[] = {
        { .from = 1000, .to = 1000, .waited = 0, .tid = 0, .end = VTG_TASK_SLEPT },
        { .from = 1000,
          .to = 4000,
          .waited = 127,
          .tid = UINT32_MAX,
          .end = VTG_TASK_PREEMPTED,
          .wake = VTG_WAKE_TASK,
          .waker = 1 },
        { .from = 4128,
          .to = UINT64_MAX / 2,
          .waited = 128,
          .tid = 1,
          .end = VTG_TASK_EXITED,
          .wake = VTG_WAKE_TASK,
          .waker = UINT32_MAX },
        { .from = UINT64_MAX / 2,
          .to = UINT64_MAX,
          .waited = UINT64_MAX,
          .tid = 4194303,
          .end = VTG_TASK_UNKNOWN },
    };
    struct vtg_tasks t = { .base_tsc = 7 };
    struct vtg_task_cursor c = vtg_task_begin(&t);
    struct vtg_stretch out;
    for (size_t i = 0; i < 4; i++)
        assert_true(vtg_pack_stretch(&t, &c, &in[i]));
    assert_int_equal(t.nr, 4);
    c = vtg_task_begin(&t);
    for (size_t i = 0; i < 4; i++) {
        assert_true(vtg_unpack_stretch(&t, &c, &out));
        assert_true(same(&in[i], &out));
    }
    assert_int_equal(c.at, t.bytes);
    assert_false(vtg_unpack_stretch(&t, &c, &out)); /* no fifth */
}

static void the_widest_stretch_fits_its_declared_room(void **state)
{
    (void)state;
    struct vtg_tasks t = { 0 };
    struct vtg_task_cursor c = vtg_task_begin(&t);
    const struct vtg_stretch wide = { .from = UINT64_MAX,
                                      .to = UINT64_MAX,
                                      .waited = UINT64_MAX,
                                      .tid = UINT32_MAX,
                                      .end = VTG_TASK_UNKNOWN,
                                      .wake = VTG_WAKE_TASK,
                                      .waker = 0 };
    const struct vtg_stretch long_one = {
        .to = UINT64_MAX, .waited = UINT64_MAX, .tid = UINT32_MAX, .wake = VTG_WAKE_TASK
    };
    assert_true(vtg_pack_stretch(&t, &c, &wide));
    assert_true(t.bytes <= VTG_STRETCH_MAX);
    memset(&t, 0, sizeof(t));
    c = vtg_task_begin(&t);
    assert_true(vtg_pack_stretch(&t, &c, &long_one));
    assert_true(t.bytes <= VTG_STRETCH_MAX);
}

/* Filled to the last byte that may be used, and never beyond. */
static void a_full_frame_refuses_and_stays_whole(void **state)
{
    (void)state;
    struct {
        struct vtg_tasks t;
        uint8_t guard[64];
    } room = { 0 };
    struct vtg_task_cursor c = vtg_task_begin(&room.t);
    struct vtg_stretch s = { 0 }, out;
    uint32_t nr = 0;
    memset(room.guard, 0xa5, sizeof(room.guard));
    for (uint64_t at = 0;; at += 3, nr++) {
        s = (struct vtg_stretch){ .from = at, .to = at + 2, .tid = nr * 2654435761u };
        if (!vtg_pack_stretch(&room.t, &c, &s))
            break;
    }
    assert_int_equal(room.t.nr, nr);
    assert_true(room.t.bytes <= VTG_TASKS_BYTES && room.t.bytes + VTG_STRETCH_MAX > VTG_TASKS_BYTES);
    for (size_t i = 0; i < sizeof(room.guard); i++)
        assert_int_equal(room.guard[i], 0xa5);
    c = vtg_task_begin(&room.t);
    for (uint32_t i = 0; i < nr; i++) {
        assert_true(vtg_unpack_stretch(&room.t, &c, &out));
        assert_int_equal(out.from, i * 3u);
        assert_int_equal(out.tid, i * 2654435761u);
    }
}

static void hostile_bytes_are_refused(void **state)
{
    (void)state;
    struct vtg_stretch out;
    struct vtg_task_cursor c;
    /* a number cut off; one of more than 64 bits; a length beyond the end of time; an unknown end; a wild tid
     */
    const struct {
        uint64_t base;
        uint32_t bytes;
        uint8_t data[16];
    } bad[] = {
        { 0, 1, { 0x80 } },
        { 0, 11, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0 } },
        { UINT64_MAX, 6, { 1, 0, 0, 0, 0, 0 } },
        { UINT64_MAX - 1, 6, { 1, 1, 0, 0, 0, 0 } },
        { 0, 6, { 0, 0, 0, 0, VTG_TASK_UNKNOWN + 1, 0 } },
        { 0, 6, { 0, 0, 0, 0, 0, VTG_NR_WAKES } },
        { 0, 6, { 0, 0, 0, 0, 0, VTG_WAKE_TASK } }, /* and the waker? */
        { 0, 10, { 0, 0, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0, 0 } },
        { 0, VTG_TASKS_BYTES + 1, { 0 } },
    };
    struct vtg_tasks same_length = { .nr = 1, .bytes = 6 };
    c = vtg_task_begin(&same_length);
    assert_true(vtg_unpack_stretch(&same_length, &c, &out)); /* else what follows shows nothing */
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct vtg_tasks t = { .base_tsc = bad[i].base, .nr = 1, .bytes = bad[i].bytes };
        memcpy(t.data, bad[i].data, sizeof(bad[i].data));
        c = vtg_task_begin(&t);
        assert_false(vtg_unpack_stretch(&t, &c, &out));
    }
}

static void the_packer_begins_a_frame_where_something_is_missing(void **state)
{
    (void)state;
    struct vta_packer p = { 0 };
    struct vtg_stretch s = { .from = 100, .to = 200, .tid = 5 };
    uint32_t lost = 3;
    assert_true(vta_pack(&p, VTG_TASKS_BPF, 1, &lost, &s)); /* before the first: the frame tells it */
    assert_int_equal(lost, 0);
    assert_int_equal(p.frame.lost, 3);
    s = (struct vtg_stretch){ .from = 300, .to = 400, .tid = 6 };
    lost = 2;
    assert_false(vta_pack(&p, VTG_TASKS_BPF, 1, &lost, &s));
    assert_int_equal(lost, 2);
    lost = 0;
    assert_false(vta_pack(&p, VTG_TASKS_BPF, 2, &lost, &s)); /* another vCPU */
    assert_true(vta_pack(&p, VTG_TASKS_BPF, 1, &lost, &s));
    assert_int_equal(p.frame.nr, 2);
    assert_int_equal(vta_pack_size(&p), offsetof(struct vtg_tasks, data) + p.frame.bytes);
    vta_pack_clear(&p);
    lost = 2;
    assert_true(vta_pack(&p, VTG_TASKS_BPF, 2, &lost, &s));
    assert_int_equal(p.frame.lost, 2);
    assert_int_equal(p.frame.base_tsc, 300);
}

/* ---- switches to stretches ---- */

static struct vta_line line_at(uint64_t at)
{
    struct vta_line l;
    vta_line_begin(&l, at);
    return l;
}

static void resumed(struct vta_line *l, uint64_t at, uint32_t tid, uint64_t waited)
{
    const struct vta_coming who = { .tid = tid, .waited = waited };
    vta_line_resume(l, at, &who);
}

/* Whoever comes was woken by task 77. */
static bool switched(struct vta_line *l, uint64_t at, enum vtg_task_end end, uint32_t next, uint64_t waited,
                     struct vtg_stretch *ret)
{
    const struct vta_coming coming = { .tid = next, .waker = 77, .wake = VTG_WAKE_TASK, .waited = waited };
    return vta_line_switch(l, at, end, &coming, ret);
}

static void assert_stretch(const struct vtg_stretch *s, uint64_t from, uint64_t to, uint32_t tid,
                           uint64_t waited, enum vtg_task_end end)
{
    assert_int_equal(s->from, from);
    assert_int_equal(s->to, to);
    assert_int_equal(s->waited, waited);
    assert_int_equal(s->tid, tid);
    assert_int_equal(s->end, end);
}

static void who_ran_at_the_start_is_told_from_the_start(void **state)
{
    (void)state;
    struct vta_line l = line_at(1000);
    struct vtg_stretch s;
    assert_false(vta_line_cut(&l, 1500, &s)); /* nobody knows yet who it is */
    resumed(&l, 0, 42, 0);
    assert_true(switched(&l, 3000, VTG_TASK_PREEMPTED, 43, 7, &s));
    assert_stretch(&s, 1000, 3000, 42, 0, VTG_TASK_PREEMPTED);
    assert_true(switched(&l, 3500, VTG_TASK_EXITED, 0, 0, &s));
    assert_stretch(&s, 3000, 3500, 43, 7, VTG_TASK_EXITED);
    assert_int_equal(l.lost, 0);
}

static void what_was_before_the_start_is_no_loss(void **state)
{
    (void)state;
    struct vta_line l = line_at(1000);
    struct vtg_stretch s;
    resumed(&l, 0, 42, 0);
    assert_false(switched(&l, 900, VTG_TASK_SLEPT, 43, 0, &s)); /* a probe was there before it was said */
    assert_true(switched(&l, 1100, VTG_TASK_SLEPT, 44, 0, &s));
    assert_stretch(&s, 1000, 1100, 43, 0, VTG_TASK_SLEPT);
    assert_int_equal(l.lost, 0);
}

static void a_cut_splits_and_the_wait_is_told_once(void **state)
{
    (void)state;
    struct vta_line l = line_at(0);
    struct vtg_stretch s;
    resumed(&l, 0, 1, 0);
    assert_true(switched(&l, 10, VTG_TASK_SLEPT, 2, 5, &s));
    assert_true(vta_line_cut(&l, 20, &s));
    assert_stretch(&s, 10, 20, 2, 5, VTG_TASK_UNKNOWN);
    assert_int_equal(s.wake, VTG_WAKE_TASK);
    assert_int_equal(s.waker, 77);
    assert_false(vta_line_cut(&l, 20, &s)); /* nothing since */
    assert_true(switched(&l, 30, VTG_TASK_EXITED, 3, 0, &s));
    assert_stretch(&s, 20, 30, 2, 0, VTG_TASK_EXITED);
    assert_int_equal(s.wake, VTG_WAKE_NONE); /* it has not slept since */
    assert_int_equal(s.waker, 0);
    assert_true(vta_line_cut(&l, 40, &s));
    assert_false(switched(&l, 40, VTG_TASK_SLEPT, 0, 0, &s)); /* it ended with the cut: no loss */
    assert_int_equal(l.lost, 0);
}

static void after_a_loss_only_what_is_known_is_told(void **state)
{
    (void)state;
    struct vta_line l = line_at(0);
    struct vtg_stretch s;
    resumed(&l, 0, 1, 0);
    switched(&l, 10, VTG_TASK_SLEPT, 2, 0, &s);
    vta_line_lose(&l, 4); /* 2's end and three more; 9 came at 50 */
    assert_false(vta_line_cut(&l, 49, &s));
    resumed(&l, 50, 9, 11);
    assert_int_equal(l.lost, 4);
    assert_true(switched(&l, 60, VTG_TASK_SLEPT, 3, 1, &s));
    assert_stretch(&s, 50, 60, 9, 11, VTG_TASK_SLEPT);
    l.lost = 0; /* the packer took it */
    vta_line_lose(&l, 1);
    resumed(&l, 0, 8, 0); /* who, but not since when */
    assert_false(vta_line_cut(&l, 70, &s));
    assert_false(switched(&l, 80, VTG_TASK_SLEPT, 4, 0, &s));
    assert_int_equal(l.lost, 2);
    assert_true(switched(&l, 90, VTG_TASK_SLEPT, 5, 0, &s));
    assert_stretch(&s, 80, 90, 4, 0, VTG_TASK_SLEPT);
}

static void a_stamp_that_goes_back_makes_no_overlap(void **state)
{
    (void)state;
    struct vta_line l = line_at(0);
    struct vtg_stretch s;
    resumed(&l, 0, 1, 0);
    assert_true(vta_line_cut(&l, 100, &s));
    assert_false(switched(&l, 90, VTG_TASK_SLEPT, 2, 0, &s));
    assert_true(switched(&l, 120, VTG_TASK_SLEPT, 3, 0, &s));
    assert_stretch(&s, 100, 120, 2, 0, VTG_TASK_SLEPT);
    vta_line_lose(&l, 1);
    resumed(&l, 110, 7, 0); /* cannot be: somebody else had it until 120 */
    assert_false(switched(&l, 130, VTG_TASK_SLEPT, 8, 0, &s));
    assert_true(switched(&l, 140, VTG_TASK_SLEPT, 9, 0, &s));
    assert_stretch(&s, 130, 140, 8, 0, VTG_TASK_SLEPT);
}

/*
 * Against an oracle: random switches, of which runs are withheld and told as a resume,
 * with cuts in between.  What comes out never overlaps, is never wrong about who had the
 * vCPU, and what does not come out is counted.
 */
static void random_lives_are_told_truly(void **state)
{
    (void)state;
    enum { LIVES = 2000, SWITCHES = 60 };
    srand(4);
    for (int life = 0; life < LIVES; life++) {
        struct vta_line l = line_at(1);
        uint64_t at = 1, end = 1, since[SWITCHES + 1] = { 1 };
        uint32_t who[SWITCHES + 1] = { 1 }, missed = 0, told = 0, whole = 0;
        struct vtg_stretch s;
        resumed(&l, 0, who[0], 0);
        for (int i = 1; i <= SWITCHES; i++) {
            at += 1 + (uint64_t)rand() % 50;
            since[i] = at;
            who[i] = 1 + (uint32_t)rand() % 9;
            if (rand() % 5 == 0) {
                missed++;
                continue;
            }
            if (missed) {
                vta_line_lose(&l, missed);
                resumed(&l, since[i - 1], who[i - 1], 0);
                told += missed; /* as lost */
                missed = 0;
            }
            if (switched(&l, at, VTG_TASK_SLEPT, who[i], 0, &s)) {
                assert_int_equal(s.tid, who[i - 1]);
                assert_true(s.from >= end && s.from >= since[i - 1] && s.to == at);
                end = s.to;
                whole++;
            }
            if (rand() % 3 == 0 && vta_line_cut(&l, at + 1, &s)) {
                assert_true(s.from >= end);
                end = s.to;
                assert_int_equal(s.tid, who[i]);
                at++;
            }
        }
        assert_int_equal(l.lost, told);
        assert_int_equal(whole + told + missed, SWITCHES);
    }
}

/* ---- who ---- */

static void born(struct vta_whos *w, uint32_t tid, uint32_t tgid, uint32_t parent)
{
    const struct vta_who who = {
        .tid = tid, .tgid = tgid, .parent_tid = parent, .parent_tgid = parent, .comm = "child"
    };
    assert_non_null(vta_who_add(w, &who));
}

static uint32_t mark_of(const struct vta_whos *w, uint32_t tid)
{
    const struct vta_who *who = vta_who_find(w, tid);
    assert_non_null(who);
    return who->mark;
}

static void a_mark_goes_to_all_descendants(void **state)
{
    (void)state;
    struct vta_whos w = { 0 };
    born(&w, 10, 10, 1);
    born(&w, 11, 10, 10); /* a thread */
    born(&w, 20, 20, 11); /* a child that was there before the mark, and its child */
    born(&w, 30, 30, 20);
    born(&w, 40, 40, 1); /* a stranger */
    vta_who_mark(&w, 10, 7);
    born(&w, 50, 50, 30);
    assert_int_equal(mark_of(&w, 11), 7);
    assert_int_equal(mark_of(&w, 30), 7);
    assert_int_equal(mark_of(&w, 50), 7);
    assert_int_equal(mark_of(&w, 40), 0);
    vta_who_mark(&w, 10, 0);
    assert_int_equal(mark_of(&w, 50), 0);
    vta_who_release(&w);
}

static void a_mark_that_comes_before_the_birth_is_told_stays(void **state)
{
    (void)state;
    struct vta_whos w = { 0 };
    born(&w, 10, 10, 1); /* found in /proc, marked, and then its fork is read */
    vta_who_mark(&w, 10, 3);
    born(&w, 10, 10, 1);
    assert_int_equal(mark_of(&w, 10), 3);
    vta_who_remove(&w, 10);
    born(&w, 10, 10, 1); /* another one with the same id */
    assert_int_equal(mark_of(&w, 10), 0);
    vta_who_release(&w);
}

static void a_thread_that_is_found_belongs_to_its_process(void **state)
{
    (void)state;
    struct vta_whos w = { 0 };
    const struct vta_who thread = { .tid = 12, .tgid = 10, .parent_tgid = 1 };
    born(&w, 1, 1, 0);
    born(&w, 10, 10, 1);
    vta_who_mark(&w, 10, 3);
    assert_non_null(vta_who_add(&w, &thread));
    assert_int_equal(mark_of(&w, 12), 3);
    vta_who_release(&w);
}

static void a_new_name_is_to_be_told_again(void **state)
{
    (void)state;
    struct vta_whos w = { 0 };
    born(&w, 10, 10, 1);
    vta_who_find(&w, 10)->told = true;
    vta_who_rename(&w, 10, "child\0         ");
    assert_true(vta_who_find(&w, 10)->told);
    vta_who_rename(&w, 10, "ls\0            ");
    assert_false(vta_who_find(&w, 10)->told);
    vta_who_release(&w);
}

/* Thousands come and go: each is found as long as it lives, and only then; memory stays bounded. */
static void a_new_listener_is_told_all_again(void **state)
{
    struct vta_whos w = { 0 };
    (void)state;
    born(&w, 10, 10, 1);
    born(&w, 11, 10, 10);
    vta_who_find(&w, 10)->told = vta_who_find(&w, 11)->told = true;
    vta_who_tell_again(&w);
    assert_false(vta_who_find(&w, 10)->told);
    assert_false(vta_who_find(&w, 11)->told);
    vta_who_release(&w);
    vta_who_tell_again(&w); /* nobody is there */
}

static void the_table_holds_who_lives(void **state)
{
    (void)state;
    enum { IDS = 5000, STEPS = 200000 };
    static bool lives[IDS + 1];
    struct vta_whos w = { 0 };
    size_t nr = 0;
    srand(1);
    for (int i = 0; i < STEPS; i++) {
        const uint32_t tid = 1 + (uint32_t)rand() % IDS;
        if (lives[tid])
            vta_who_remove(&w, tid);
        else
            born(&w, tid, tid, 0);
        lives[tid] = !lives[tid];
        nr += lives[tid] ? 1u : (size_t)-1;
        assert_int_equal(w.nr, nr);
        const uint32_t other = 1 + (uint32_t)rand() % IDS;
        assert_int_equal(vta_who_find(&w, other) != NULL, lives[other]);
    }
    vta_who_release(&w);
}

static void a_full_table_forgets_who_has_no_mark(void **state)
{
    (void)state;
    struct vta_whos w = { 0 };
    born(&w, 1, 1, 0);
    vta_who_mark(&w, 1, 9);
    for (uint32_t tid = 2; tid < 2 * VTA_WHO_MAX; tid++)
        born(&w, tid, tid, 0);
    assert_true(w.room <= VTA_WHO_MAX);
    assert_int_equal(mark_of(&w, 1), 9);
    vta_who_release(&w);
}

/* ---- time ---- */

static void stamps_lie_on_the_line_between_two_pairs(void **state)
{
    (void)state;
    const struct vta_span s = { .before = { .tsc = 5000000000000, .ns = 1000, .slack = 40 },
                                .after = { .tsc = 5000000300000, .ns = 101000, .slack = 60 } };
    struct vta_span steady = s, bent = s;
    assert_int_equal(vta_span_tsc(&s, 1000), s.before.tsc);
    assert_int_equal(vta_span_tsc(&s, 51000), s.before.tsc + 150000);
    assert_int_equal(vta_span_tsc(&s, 101000), s.after.tsc);
    assert_int_equal(vta_span_tsc(&s, 102000), s.after.tsc + 3000); /* a switch just after the last pair */
    assert_int_equal(vta_span_tsc(&s, 900), s.before.tsc - 300);
    assert_int_equal(vta_span_ticks(&s, 7), 21);
    steady.before = s.after;
    steady.after.tsc = s.after.tsc + 300000;
    steady.after.ns = s.after.ns + 100000;
    assert_int_equal(vta_span_bound(&steady, &s), 60 + 6 + 1);
    bent.before = s.after;
    bent.after.tsc = s.after.tsc + 300400; /* the clock was slowed down by some 1300 ppm */
    bent.after.ns = s.after.ns + 100000;
    assert_int_equal(vta_span_bound(&bent, &s), 60 + 6 + 1 + 100);
    assert_int_equal(vta_span_bound(&s, &(struct vta_span){ .after = s.before }), 60 + 6 + 1); /* the first */
}

static void a_pair_has_the_clock_between_two_readings_of_the_tsc(void **state)
{
    (void)state;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    const uint64_t low = vta_tsc();
    const struct vta_pair p = vta_pair_read(CLOCK_MONOTONIC);
    const uint64_t high = vta_tsc();
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(p.tsc - p.slack + 1 >= low && p.tsc + p.slack <= high + 2);
    assert_true(p.ns >= (uint64_t)before.tv_sec * 1000000000u + (uint64_t)before.tv_nsec);
    assert_true(p.ns <= (uint64_t)after.tv_sec * 1000000000u + (uint64_t)after.tv_nsec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stretches_come_out_as_they_went_in),
        cmocka_unit_test(the_widest_stretch_fits_its_declared_room),
        cmocka_unit_test(a_full_frame_refuses_and_stays_whole),
        cmocka_unit_test(hostile_bytes_are_refused),
        cmocka_unit_test(the_packer_begins_a_frame_where_something_is_missing),
        cmocka_unit_test(who_ran_at_the_start_is_told_from_the_start),
        cmocka_unit_test(what_was_before_the_start_is_no_loss),
        cmocka_unit_test(a_cut_splits_and_the_wait_is_told_once),
        cmocka_unit_test(after_a_loss_only_what_is_known_is_told),
        cmocka_unit_test(a_stamp_that_goes_back_makes_no_overlap),
        cmocka_unit_test(random_lives_are_told_truly),
        cmocka_unit_test(a_mark_goes_to_all_descendants),
        cmocka_unit_test(a_mark_that_comes_before_the_birth_is_told_stays),
        cmocka_unit_test(a_thread_that_is_found_belongs_to_its_process),
        cmocka_unit_test(a_new_name_is_to_be_told_again),
        cmocka_unit_test(a_new_listener_is_told_all_again),
        cmocka_unit_test(the_table_holds_who_lives),
        cmocka_unit_test(a_full_table_forgets_who_has_no_mark),
        cmocka_unit_test(stamps_lie_on_the_line_between_two_pairs),
        cmocka_unit_test(a_pair_has_the_clock_between_two_readings_of_the_tsc),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}

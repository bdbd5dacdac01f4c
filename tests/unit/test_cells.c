/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring from kernel to recorder: include/vt/cells.h as the BPF programs write it, collector/cells.c reads.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "collector/cells.h"
#include "vt/slice_pack.h"

enum {
    BITS = 8,
    NR = 1 << BITS,
    CPUS = 2,
    ROOM = NR - CPUS * VT_CELLS_SPARE,
    WRITERS = 3,
    EACH = 60000,
    ROUNDS = 600 * NR /* their number comes again */
};

struct fixture {
    struct vt_cells counts;
    struct vt_cell cells[NR];
    struct vt_cells_reader reader;
    uint64_t refused[WRITERS];                              /* by the writer */
    uint64_t next[WRITERS], got[WRITERS], missing[WRITERS]; /* of slices, by slot; of the reader */
    uint64_t segments, moves, waits, outers;
    struct vt_slice last;
    int fail_at; /* the sink fails at that many more */
};

static struct fixture *fixture(void)
{
    struct fixture *f = aligned_alloc(VT_CELL_BYTES, sizeof(*f));

    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    f->reader = (struct vt_cells_reader){ f->cells, BITS, &f->counts };
    return f;
}

static struct vt_cell *at(struct fixture *f, uint64_t count)
{
    return &f->cells[count & (NR - 1)];
}

/* Every number that a slice has follows from its seq, so that a torn one is seen. */
static struct vt_slice slice(uint64_t seq, bool is_long)
{
    const uint64_t begin = (seq + 1) * 1000000;
    struct vt_slice s = { .seq = seq,
                          .t_out = begin,
                          .t_wake = begin + seq % 7,
                          .t_in = begin + seq % 7 + seq % 11,
                          .t_end = begin + seq % 7 + seq % 11 + seq % 997,
                          .exits = (uint32_t)seq % 1000,
                          .cpu = (uint16_t)seq,
                          .flags = (uint8_t)seq };

    s.on_cpu[VT_ON_RUN] = seq % 997;
    if (is_long)
        s.throttled_ns = s.tail_poll_ns = s.tail_back_ns = seq + 1;
    return s;
}

/* As ledger.bpf.c does: false, and nothing changed, if there is no room. */
static bool write_slice(struct fixture *f, uint32_t slot, const struct vt_slice *s)
{
    const bool is_short = vt_slice_is_short(s);
    const uint32_t nr = is_short ? 1 : VT_SLICE_CELLS;
    const uint64_t count = vt_cells_take(&f->counts, nr, ROOM);
    uint64_t words[VT_SLICE_CELLS * VT_CELL_WORDS] = { 0 };

    if (count == VT_NO_CELL)
        return false;
    memcpy(words, s, sizeof(*s));
    for (uint32_t i = 0; i < nr; i++) {
        if (is_short)
            vt_slice_pack((void *)at(f, count)->words, s);
        else
            memcpy(at(f, count + i)->words, words + (size_t)i * VT_CELL_WORDS, sizeof(f->cells->words));
        vt_cell_tell(at(f, count + i),
                     is_short ? VT_CELL_SHORT
                     : i      ? VT_CELL_MORE
                              : VT_CELL_SLICE,
                     vt_cell_round(count + i, BITS), slot, slot + 7);
    }
    return true;
}

static int on_slice(void *context, uint32_t slot, uint32_t generation, const struct vt_slice *s)
{
    struct fixture *f = context;
    const struct vt_slice expected = slice(s->seq, s->throttled_ns != 0);

    assert_true(slot < WRITERS);
    assert_int_equal(generation, slot + 7);
    assert_memory_equal(s, &expected, sizeof(*s));
    assert_true(s->seq >= f->next[slot]); /* of a vCPU they come in order */
    f->missing[slot] += s->seq - f->next[slot];
    f->next[slot] = s->seq + 1;
    f->got[slot]++;
    f->last = *s;
    return f->fail_at && --f->fail_at == 0 ? -5 : 0;
}

static int on_segment(void *context, const struct vt_segment *s)
{
    struct fixture *f = context;

    assert_string_equal(s->comm, "occupant");
    assert_int_equal(s->to - s->from, 5);
    f->segments++;
    return 0;
}

static int on_move(void *context, uint32_t slot, uint32_t generation, const struct vt_move *m)
{
    struct fixture *f = context;

    assert_int_equal(slot, 1);
    assert_int_equal(generation, 3);
    assert_int_equal(m->at, 77);
    assert_int_equal(m->to_cpu, 2);
    f->moves++;
    return 0;
}

static int on_wait(void *context, uint32_t slot, uint32_t generation, const struct vt_wait *w)
{
    struct fixture *f = context;

    assert_int_equal(slot, 2);
    assert_int_equal(generation, 4);
    assert_int_equal(w->to - w->from, 60000);
    f->waits++;
    return 0;
}

static int on_outer(void *context, uint32_t slot, uint32_t generation, const struct vt_outer *o)
{
    struct fixture *f = context;

    assert_int_equal(slot, 7);
    assert_int_equal(generation, 8);
    assert_int_equal(o->to - o->from, 4000);
    assert_int_equal(o->ns, 1500);
    f->outers++;
    return 0;
}

static int drain(struct fixture *f)
{
    const struct vt_cell_sinks sinks = { f, on_slice, on_segment, on_move, on_wait, on_outer };

    return vt_cells_read(&f->reader, &sinks);
}

static void each_kind_comes_as_it_was_told(void **state)
{
    struct fixture *f = fixture();
    const struct vt_segment segment = { .from = 10, .to = 15, .tid = 4, .comm = "occupant" };
    const struct vt_move move = { .at = 77, .from_cpu = 1, .to_cpu = 2 };
    const struct vt_wait wait = { .from = 1, .to = 60001 };
    const struct vt_outer outer = { .from = 1000, .to = 5000, .ns = 1500 };
    struct vt_slice s = slice(3, false);
    uint64_t c;

    (void)state;
    assert_true(write_slice(f, 0, &s));
    c = vt_cells_take(&f->counts, 1, ROOM);
    memcpy(at(f, c)->words, &segment, sizeof(segment));
    vt_cell_tell(at(f, c), VT_CELL_SEGMENT, vt_cell_round(c, BITS), 0, 0);
    c = vt_cells_take(&f->counts, 1, ROOM);
    memcpy(at(f, c)->words, &move, sizeof(move));
    vt_cell_tell(at(f, c), VT_CELL_MOVE, vt_cell_round(c, BITS), 1, 3);
    c = vt_cells_take(&f->counts, 1, ROOM);
    memcpy(at(f, c)->words, &wait, sizeof(wait));
    vt_cell_tell(at(f, c), VT_CELL_WAIT, vt_cell_round(c, BITS), 2, 4);
    c = vt_cells_take(&f->counts, 1, ROOM);
    memcpy(at(f, c)->words, &outer, sizeof(outer));
    vt_cell_tell(at(f, c), VT_CELL_OUTER, vt_cell_round(c, BITS), 7, 8);
    s = slice(9, true);
    assert_true(write_slice(f, 0, &s));
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 2);
    assert_int_equal(f->outers, 1);
    assert_int_equal(f->segments, 1);
    assert_int_equal(f->moves, 1);
    assert_int_equal(f->waits, 1);
    assert_int_equal(f->last.throttled_ns, 10);
    assert_int_equal(f->counts.read, f->counts.taken);
    free(f);
}

static void records_go_on_where_the_ring_begins_again(void **state)
{
    struct fixture *f = fixture();

    (void)state;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const struct vt_slice s = slice(i, i % 3 == 0);
        assert_true(write_slice(f, 0, &s));
        if (i % 5 == 0)
            assert_int_equal(drain(f), 0);
    }
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], ROUNDS);
    assert_int_equal(f->missing[0], 0);
    free(f);
}

static void a_full_ring_refuses_and_keeps_what_it_has(void **state)
{
    struct fixture *f = fixture();
    uint64_t written = 0;

    (void)state;
    for (uint64_t i = 0; i < 2 * NR; i++) {
        const struct vt_slice s = slice(i, false);
        written += write_slice(f, 0, &s);
    }
    assert_int_equal(written, ROOM);
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], ROOM);
    assert_int_equal(f->next[0], ROOM); /* the first ones */
    const struct vt_slice s = slice(2 * NR, false);
    assert_true(write_slice(f, 0, &s));
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->missing[0], NR + NR - ROOM);
    free(f);
}

/* Interrupts on each CPU, each in the middle of another, come between looking for room and taking it. */
static void those_who_looked_before_it_was_full_find_room(void **state)
{
    struct fixture *f = fixture();
    uint64_t taken = 0;

    (void)state;
    while (vt_cells_take(&f->counts, 1, ROOM) != VT_NO_CELL)
        taken++;
    for (unsigned i = 0; i < CPUS * 4; i++)
        taken += VT_SLICE_CELLS;
    assert_true(taken <= NR);
    free(f);
}

static void the_reader_stops_before_what_is_being_written(void **state)
{
    struct fixture *f = fixture();
    const struct vt_slice first = slice(0, false), second = slice(1, false), third = slice(2, true);

    (void)state;
    assert_true(write_slice(f, 0, &first));
    const uint64_t open = vt_cells_take(&f->counts, 1, ROOM);
    assert_true(write_slice(f, 0, &third));
    const uint64_t last_of_third = f->counts.taken - 1;
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 1);
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 1);

    vt_slice_pack((void *)at(f, open)->words, &second);
    vt_cell_tell(at(f, open), VT_CELL_SHORT, vt_cell_round(open, BITS), 0, 7);
    at(f, last_of_third)->round--; /* and that is not yet told */
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 2);
    vt_cell_tell(at(f, last_of_third), VT_CELL_MORE, vt_cell_round(last_of_third, BITS), 0, 7);
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 3);
    free(f);
}

static void a_sink_that_fails_stops_it_and_the_rest_stays(void **state)
{
    struct fixture *f = fixture();

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        const struct vt_slice s = slice(i, false);
        assert_true(write_slice(f, 0, &s));
    }
    f->fail_at = 2;
    assert_int_equal(drain(f), -5);
    assert_int_equal(f->got[0], 2);
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->got[0], 5);
    free(f);
}

static void a_ring_of_any_size_has_room_on_any_host(void **state)
{
    static const uint64_t sizes[] = { 4096, 16384, 4u << 20, 1u << 30 };
    static const uint32_t hosts[] = { 1, 2, 256, 4096 };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (size_t j = 0; j < sizeof(hosts) / sizeof(*hosts); j++) {
            const uint32_t bits = vt_cells_bits(sizes[i], hosts[j]);
            const uint64_t nr = UINT64_C(1) << bits;
            assert_true(nr * sizeof(struct vt_cell) >= sizes[i]);
            assert_true(vt_cells_room(bits, hosts[j]) >= nr / 2);
        }
    }
    assert_int_equal(vt_cells_bits(4u << 20, 2), 16);
}

struct writer {
    struct fixture *f;
    uint32_t slot;
    pthread_t thread;
};

static void *write_many(void *context)
{
    const struct writer *w = context;

    for (uint64_t i = 0; i < EACH; i++) {
        const struct vt_slice s = slice(i, i % 50 == w->slot);
        w->f->refused[w->slot] += !write_slice(w->f, w->slot, &s);
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void writers_at_once_lose_nothing_untold(void **state)
{
    struct fixture *f = fixture();
    struct writer writers[WRITERS];
    uint64_t told = 0, got = 0;

    (void)state;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ f, i, 0 };
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS * EACH && __atomic_load_n(&f->counts.taken, __ATOMIC_RELAXED) < EACH;
         i++) {
        assert_int_equal(drain(f), 0);
        sched_yield();
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        while (pthread_tryjoin_np(writers[i].thread, NULL) != 0)
            assert_int_equal(drain(f), 0);
    }
    assert_int_equal(drain(f), 0);
    assert_int_equal(f->counts.read, f->counts.taken);
    for (uint32_t i = 0; i < WRITERS; i++) {
        told += EACH - f->refused[i];
        got += f->got[i];
    }
    assert_int_equal(got, told);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_comes_as_it_was_told),
        cmocka_unit_test(records_go_on_where_the_ring_begins_again),
        cmocka_unit_test(a_full_ring_refuses_and_keeps_what_it_has),
        cmocka_unit_test(those_who_looked_before_it_was_full_find_room),
        cmocka_unit_test(the_reader_stops_before_what_is_being_written),
        cmocka_unit_test(a_sink_that_fails_stops_it_and_the_rest_stays),
        cmocka_unit_test(a_ring_of_any_size_has_room_on_any_host),
        cmocka_unit_test(writers_at_once_lose_nothing_untold),
    };

    return cmocka_run_group_tests_name("collector: cells", tests, NULL, NULL);
}

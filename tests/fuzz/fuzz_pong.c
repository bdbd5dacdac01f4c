/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: lib/wire/frame.c collector/pings.c */
/*
 * What the host does with any PONGs of a guest, among its own questions.  Each step is a byte
 * that chooses and what it needs.  Beside the table of questions stands a model of all that was
 * ever asked: an answer is good only for a question that went out, was not answered before and
 * is among the newest that the table holds, and the row says of it what was asked, whatever the
 * guest says.
 */
#include <stdlib.h>
#include <string.h>

#include "collector/pings.h"
#include "tests/fuzz/input.h"
#include "wire/frame.h"

enum { MAX_MODEL = 512 };

struct question {
    uint64_t id;
    host_ns at;
    uint32_t next_seq;
    bool have_seq, answered, unsent;
};

struct world {
    struct vt_pings pings;
    struct vt_frame_decoder decoder;
    struct question asked[MAX_MODEL];
    size_t n;
    uint64_t now;
};

static void ask(struct world *w, struct input *in)
{
    struct {
        uint64_t session;
        uint32_t next_seq;
        uint32_t have_seq;
    } arg;
    take(in, &arg, sizeof(arg));
    if (w->n == MAX_MODEL)
        return;
    const struct vtg_ping p = vt_pings_ask(&w->pings, (host_ns){ w->now }, (host_tsc){ 3 * w->now },
                                           arg.session, arg.next_seq, arg.have_seq & 1);
    if (!p.id || (w->n && p.id <= w->asked[w->n - 1].id) || p.host != w->pings.host ||
        (!p.have_seq && p.next_seq))
        abort();
    w->asked[w->n++] = (struct question){ p.id, { w->now }, arg.next_seq, arg.have_seq & 1, false, false };
}

static void unask(struct world *w)
{
    if (!w->n || w->asked[w->n - 1].unsent || w->asked[w->n - 1].answered)
        return;
    vt_pings_unask(&w->pings);
    w->asked[w->n - 1].unsent = true;
}

static struct question *find(struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->asked[i].id == id)
            return &w->asked[i];
    return NULL;
}

/* What the model says of an answer, and that the row tells of the question and not of the guest's wish. */
static void on_frame(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct world *w = context;
    struct vt_exchange row;
    struct vt_asked asked;
    if (type != VTG_PONG)
        return;
    struct question *q = find(w, body->pong.id);
    const enum vt_answer a =
        vt_pings_answer(&w->pings, &body->pong, (host_ns){ w->now }, (host_tsc){ 3 * w->now }, &row, &asked);
    const bool good = a == VT_ANSWER_GOOD || a == VT_ANSWER_BACKWARDS;
    if (!good) { /* one of the newest, sent and not answered, must be taken */
        if (q && body->pong.session && !q->answered && !q->unsent && (size_t)(w->asked + w->n - q) <= 32)
            abort();
        return;
    }
    if (!q || q->answered || q->unsent || !body->pong.session)
        abort();
    q->answered = true;
    if (asked.id != q->id || asked.at.v != q->at.v || asked.next_seq != q->next_seq ||
        asked.have_seq != q->have_seq)
        abort();
    if (a == VT_ANSWER_GOOD &&
        (row.sent.v != q->at.v || row.received.v != w->now || row.sent.v > row.received.v ||
         row.tsc_received.v > row.tsc_sent.v || row.session != body->pong.session))
        abort();
}

static void pong(struct world *w, struct input *in)
{
    struct vtg_pong p;
    uint8_t frame[64], which, small;
    take(in, &small, 1);
    take(in, &which, 1);
    take(in, &p, sizeof(p));
    if (small & 1 && w->n) /* near what was asked, or nothing but the first branch is ever seen */
        p.id = w->asked[w->n - 1 - which % w->n].id + (small >> 6);
    if (small & 2)
        p.session = 0x5e55;
    const size_t n = vt_frame_encode(frame, VTG_PONG, 0, &p, sizeof(p));
    vt_frame_decode(&w->decoder, frame, n, on_frame, w);
    if (small & 4) /* a second time */
        vt_frame_decode(&w->decoder, frame, n, on_frame, w);
}

static void raw(struct world *w, struct input *in)
{
    uint8_t bytes[256], n;
    take(in, &n, 1);
    take(in, bytes, n);
    vt_frame_decode(&w->decoder, bytes, n, on_frame, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct input in = { data, size };
    uint64_t seed;
    uint8_t choice;
    memset(&w, 0, sizeof(w));
    take(&in, &seed, sizeof(seed));
    vt_pings_init(&w.pings, seed | 1);
    while (in.left) {
        take(&in, &choice, 1);
        w.now += (uint64_t)(choice >> 3) * 10000000u;
        switch (choice & 7) {
        case 0:
        case 1:
        case 2:
            ask(&w, &in);
            break;
        case 3:
            unask(&w);
            break;
        case 4:
            raw(&w, &in);
            break;
        default:
            pong(&w, &in);
        }
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: lib/wire/frame.c guest-agent/link.c guest-agent/ring.c */
/*
 * What the agent does with any bytes of a host: PINGs above all, whose CRC is made right.
 * Between them the agent says things and writes some of it.  Each step is a byte that
 * chooses and what it needs; whatever comes, what is kept stays in its bounds, and what is
 * written are whole frames.
 */
#include <stdlib.h>
#include <string.h>

#include "guest-agent/link.h"
#include "tests/fuzz/input.h"
#include "wire/frame.h"

enum { SIZE = 8192 };

struct world {
    struct vta_ring ring;
    struct vta_link link;
    struct vt_frame_decoder host;
    uint64_t now, pongs;
    uint8_t bytes[SIZE];
};

static void note(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct world *w = context;
    if (type == VTG_PONG && body->pong.tsc_sent < body->pong.tsc_received)
        abort();
    w->pongs += type == VTG_PONG;
}

static void check(const struct world *w)
{
    const struct vta_ring *r = &w->ring;
    if (r->tail > r->sent || r->sent > r->head || r->head - r->tail > SIZE)
        abort();
    if (r->sent_seq - r->tail_seq > r->head_seq - r->tail_seq || w->link.nr_questions > VTA_QUESTIONS)
        abort();
}

static void ping(struct world *w, struct input *in)
{
    uint8_t frame[64], small;
    struct vtg_ping p;
    take(in, &p, sizeof(p));
    take(in, &small, 1);
    if (small & 1) /* near what is known, else nothing but the first branch is ever seen */
        p.session = w->link.session;
    if (small & 2)
        p.next_seq = w->ring.tail_seq + (p.next_seq & 31);
    const size_t n = vt_frame_encode(frame, VTG_PING, 0, &p, sizeof(p));
    vta_link_received(&w->link, frame, n, w->now, w->now);
}

static void raw(struct world *w, struct input *in)
{
    uint8_t bytes[256], n;
    take(in, &n, 1);
    take(in, bytes, n);
    vta_link_received(&w->link, bytes, n, w->now, w->now);
}

static void say(struct world *w, struct input *in)
{
    uint8_t payload[VTG_MAX_PAYLOAD] = { 0 }, choice[2];
    take(in, choice, sizeof(choice));
    vta_ring_put(&w->ring, (enum vtg_type)(choice[0] % 15 + 1), payload, choice[1] * 4u, w->now);
}

static void write_some(struct world *w, struct input *in)
{
    const uint8_t *out;
    uint16_t room;
    take(in, &room, sizeof(room));
    size_t n = vta_link_output(&w->link, w->now, w->now, &out);
    if (n > room)
        n = room;
    vt_frame_decode(&w->host, out, n, note, w);
    vta_link_wrote(&w->link, n);
}

static void cut(struct world *w)
{
    vta_link_begin(&w->link);
    w->host.have = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct input in = { data, size };
    uint8_t choice;
    memset(&w, 0, sizeof(w));
    take(&in, &choice, 1);
    vta_ring_init(&w.ring, w.bytes, SIZE);
    vta_link_init(&w.link, &w.ring, 0x5e55, choice & 1, choice & 2);
    vta_link_begin(&w.link);
    while (in.left) {
        take(&in, &choice, 1);
        w.now += (uint64_t)(choice >> 3) * 100000000u;
        switch (choice & 7) {
        case 0:
        case 1:
            ping(&w, &in);
            break;
        case 2:
            raw(&w, &in);
            break;
        case 3:
        case 4:
            say(&w, &in);
            break;
        case 5:
            cut(&w);
            break;
        case 6:
            vta_link_tick(&w.link, w.now);
            break;
        default:
            write_some(&w, &in);
        }
        check(&w);
    }
    if (w.host.bad_crc || w.host.skipped_bytes)
        abort();
    return 0;
}

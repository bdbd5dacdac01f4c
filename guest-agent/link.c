/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/link.h"

#include <string.h>

/* The same recorder may ask again whom it talks to, not more often than this. */
#define GREET_AGAIN_NS UINT64_C(2000000000)

/* Bytes that came, with the moment at which they did. */
struct arrival {
    struct vta_link *link;
    uint64_t now_ns, tsc;
};

void vta_link_init(struct vta_link *l, struct vta_ring *ring, uint64_t session, bool one_way, bool lossy)
{
    memset(l, 0, sizeof(*l));
    l->ring = ring;
    l->session = session;
    l->one_way = one_way;
    l->lossy = lossy;
    l->patience_ns = VTA_PATIENCE_NS;
}

void vta_link_begin(struct vta_link *l)
{
    memset(&l->decoder, 0, sizeof(l->decoder));
    l->open = false;
    l->nr_questions = 0;
    l->out_at = l->out_n = 0;
    l->out_is_answer = false;
    vta_ring_rewind(l->ring);
}

/* The newest are kept: an answer that comes late bounds little. */
static void note_question(struct vta_link *l, uint64_t id, uint64_t tsc)
{
    if (l->nr_questions == VTA_QUESTIONS) {
        memmove(l->questions, l->questions + 1, sizeof(l->questions) - sizeof(*l->questions));
        l->nr_questions--;
    }
    l->questions[l->nr_questions++] = (struct vta_question){ id, tsc };
}

static void note_absence(struct vta_link *l, uint64_t now_ns, uint64_t tsc)
{
    const uint64_t away = now_ns - l->last_ping_ns;
    const struct vtg_event event = { .tsc = tsc, .kind = VTG_EVENT_AWAY, .a = (int64_t)away };
    if (l->met && (!l->open || away > VTA_SILENCE_NS))
        vta_ring_put(l->ring, VTG_EVENT, &event, sizeof(event), tsc);
}

/* A greeting that is still kept will come by itself. */
static void note_stranger(struct vta_link *l, const struct vtg_ping *ping, uint64_t now_ns)
{
    const struct vta_ring *r = l->ring;
    const bool kept = l->greeting_seq - r->tail_seq < r->head_seq - r->tail_seq;
    const bool same = l->met && ping->host == l->host;
    if (ping->session != l->session && !kept && (!same || now_ns - l->greeted_ns > GREET_AGAIN_NS))
        l->greeting_wanted = true;
}

static void send_again(struct vta_link *l, uint64_t now_ns)
{
    vta_ring_rewind(l->ring);
    l->stalled_ns = now_ns;
    l->resent++;
}

/* A host that does not know where we are has taken none of what was sent. */
static void heed_acknowledgement(struct vta_link *l, const struct vtg_ping *ping, uint64_t now_ns)
{
    const bool known = ping->have_seq && ping->session == l->session;
    const bool progress = known && vta_ring_acknowledge(l->ring, ping->next_seq);
    if (!l->open || ping->host != l->host) {
        send_again(l, now_ns);
        l->patience_ns = VTA_PATIENCE_NS;
    } else if (progress) {
        l->stalled_ns = now_ns;
        l->patience_ns = VTA_PATIENCE_NS;
    } else if ((known || !ping->have_seq) && l->ring->sent != l->ring->tail &&
               now_ns - l->stalled_ns > l->patience_ns) {
        send_again(l, now_ns);
        if (l->patience_ns < VTA_PATIENCE_MOST_NS)
            l->patience_ns *= 2;
    }
}

static void hear(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    const struct arrival *arrival = context;
    struct vta_link *l = arrival->link;
    if (type != VTG_PING)
        return;
    if (!l->one_way) {
        heed_acknowledgement(l, &body->ping, arrival->now_ns);
        note_absence(l, arrival->now_ns, arrival->tsc);
        vta_ring_tell(l->ring, arrival->tsc);
    }
    note_stranger(l, &body->ping, arrival->now_ns);
    note_question(l, body->ping.id, arrival->tsc);
    l->open = true;
    l->met = true;
    l->host = body->ping.host;
    l->last_ping_ns = arrival->now_ns;
}

void vta_link_received(struct vta_link *l, const void *bytes, size_t n, uint64_t now_ns, uint64_t tsc)
{
    struct arrival arrival = { l, now_ns, tsc };
    vt_frame_decode(&l->decoder, bytes, n, hear, &arrival);
}

static void answer(struct vta_link *l, uint64_t tsc)
{
    const struct vtg_pong pong = {
        .session = l->session,
        .id = l->questions[0].id,
        .tsc_received = l->questions[0].tsc_received,
        .tsc_sent = tsc,
        .queued = (uint32_t)vta_ring_kept(l->ring),
    };
    l->out_n = vt_frame_encode(l->out, VTG_PONG, 0, &pong, sizeof(pong));
    l->out_is_answer = true;
}

static void send_kept(struct vta_link *l, uint64_t now_ns)
{
    if (!l->one_way && !l->open)
        return;
    if (l->ring->sent == l->ring->tail)
        l->stalled_ns = now_ns;
    l->out_n = vta_ring_take(l->ring, l->out, sizeof(l->out));
}

size_t vta_link_output(struct vta_link *l, uint64_t now_ns, uint64_t tsc, const uint8_t **ret)
{
    if (l->out_at == l->out_n) {
        l->out_at = l->out_n = 0;
        l->out_is_answer = false;
        if (!l->nr_questions)
            send_kept(l, now_ns);
    }
    /* An answer of which nothing is written yet is made anew: its TSC is that of the write. */
    if (l->out_at == 0 && l->nr_questions && (l->out_n == 0 || l->out_is_answer))
        answer(l, tsc);
    *ret = l->out + l->out_at;
    return l->out_n - l->out_at;
}

void vta_link_wrote(struct vta_link *l, size_t n)
{
    if (l->out_is_answer && l->out_at == 0 && n) {
        l->nr_questions--;
        memmove(l->questions, l->questions + 1, l->nr_questions * sizeof(*l->questions));
    }
    l->out_at += n;
    if (l->one_way && l->out_at == l->out_n)
        vta_ring_acknowledge(l->ring, l->ring->sent_seq);
}

void vta_link_tick(struct vta_link *l, uint64_t now_ns)
{
    if (l->lossy && l->open && now_ns > l->last_ping_ns + VTA_SILENCE_NS)
        l->open = false;
}

void vta_link_greeted(struct vta_link *l, uint64_t now_ns)
{
    l->greeting_wanted = false;
    l->greeting_seq = l->ring->head_seq;
    l->greeted_ns = now_ns;
}

bool vta_link_is_done(const struct vta_link *l)
{
    return vta_ring_kept(l->ring) == 0 && l->out_at == l->out_n;
}

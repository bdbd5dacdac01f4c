/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pings.h"

#include <stddef.h>

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void vt_pings_init(struct vt_pings *p, uint64_t seed)
{
    *p = (struct vt_pings){ .state = seed };
    p->host = draw(&p->state) | 1;
}

struct vtg_ping vt_pings_ask(struct vt_pings *p, host_ns at, host_tsc tsc, uint64_t session,
                             uint32_t next_seq, bool have_seq)
{
    struct vt_asked *slot = &p->asked[p->next];

    p->next = (p->next + 1) % VT_PINGS_MAX;
    if (slot->id)
        p->forgotten = slot->id; /* the oldest: ids grow around the ring */
    p->last += 1 + (draw(&p->state) & 0xfffff);
    *slot = (struct vt_asked){ p->last, at, tsc, next_seq, have_seq };
    return (struct vtg_ping){ .host = p->host,
                              .id = p->last,
                              .session = session,
                              .next_seq = have_seq ? next_seq : 0,
                              .have_seq = have_seq };
}

void vt_pings_unask(struct vt_pings *p)
{
    p->next = (p->next + VT_PINGS_MAX - 1) % VT_PINGS_MAX;
    p->asked[p->next] = (struct vt_asked){ 0 };
}

enum vt_answer vt_pings_answer(struct vt_pings *p, const struct vtg_pong *pong, host_ns at, host_tsc tsc,
                               struct vt_exchange *ret, struct vt_asked *ret_asked)
{
    struct vt_asked *asked = NULL;

    for (unsigned i = 0; i < VT_PINGS_MAX && !asked; i++)
        if (pong->id && p->asked[i].id == pong->id)
            asked = &p->asked[i];
    if (!asked || !pong->session)
        return pong->session && pong->id && pong->id <= p->forgotten ? VT_ANSWER_LATE : VT_ANSWER_ABSURD;
    *ret_asked = *asked;
    *asked = (struct vt_asked){ 0 };
    if (pong->tsc_received > pong->tsc_sent)
        return VT_ANSWER_BACKWARDS;
    *ret = (struct vt_exchange){ .session = pong->session,
                                 .sent = ret_asked->at,
                                 .received = at,
                                 .sent_tsc = ret_asked->tsc,
                                 .received_tsc = tsc,
                                 .tsc_received = { pong->tsc_received },
                                 .tsc_sent = { pong->tsc_sent } };
    return VT_ANSWER_GOOD;
}

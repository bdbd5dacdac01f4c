/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Questions asked of an agent and not yet answered.  An answer is worth what the table says
 * of its question; nothing that comes back is believed but the guest's own two readings.
 * Pure: time is handed in.
 */
#ifndef VT_PINGS_H
#define VT_PINGS_H

#include <stdbool.h>

#include "vt/guest_wire.h"
#include "vt/record.h"

enum { VT_PINGS_MAX = 64 };

struct vt_pings {
    uint64_t host;      /* drawn at random: who asks */
    uint64_t state;     /* of the steps between ids, which nobody is to guess */
    uint64_t last;      /* id of the newest question */
    uint64_t forgotten; /* of the newest for which there was no room any more */
    struct vt_asked {
        uint64_t id; /* 0: answered, or free */
        host_ns at;
        host_tsc tsc;
        uint32_t next_seq;
        bool have_seq;
    } asked[VT_PINGS_MAX]; /* a ring */
    unsigned next;
};

/** seed: random; not 0. */
void vt_pings_init(struct vt_pings *p, uint64_t seed);

/** The next question, as it goes out; the readings were taken just before. */
struct vtg_ping vt_pings_ask(struct vt_pings *p, host_ns at, host_tsc tsc, uint64_t session,
                             uint32_t next_seq, bool have_seq);
/** The newest one could not be sent after all. */
void vt_pings_unask(struct vt_pings *p);

enum vt_answer {
    VT_ANSWER_GOOD,
    VT_ANSWER_LATE,      /* to a question that is forgotten */
    VT_ANSWER_ABSURD,    /* to nothing asked, a second time, or by nobody (session 0) */
    VT_ANSWER_BACKWARDS, /* to what was asked, but sent before the question was received */
};

/**
 * An answer that came at these readings, taken just after.  Good: *ret has all but the VM.  Good or
 * backwards: *ret_asked is the question.
 */
enum vt_answer vt_pings_answer(struct vt_pings *p, const struct vtg_pong *pong, host_ns at, host_tsc tsc,
                               struct vt_exchange *ret, struct vt_asked *ret_asked);

#endif

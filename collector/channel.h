/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest's channel: its bytes become rows.  They are hostile; memory and rates are bounded:
 * what is too much waits in the descriptor until the next tick.
 */
#ifndef VT_CHANNEL_H
#define VT_CHANNEL_H

#include "budget.h"
#include "names.h"
#include "pings.h"
#include "roster.h"
#include "wire/frame.h"

/** Where all channels' rows go, and what happened meanwhile. */
struct vt_channel_sink {
    int epoll_fd;
    struct vt_store *store; /* NULL: nothing can be kept for now */
    struct vt_roster *roster;
    struct vt_budgets *budgets; /* of VMs, in the long run; NULL: unbounded */
    struct vt_err *err;         /* of the call under way */
    int error;
    uint64_t lost_elsewhere; /* by channels closed since, or refused */
};

/* What befell it since the last row of each kind. */
struct vt_channel_happened {
    uint64_t count;
    host_ns first;
    bool any;
    char text[64];
};

struct vt_channel {
    struct vt_channel_sink *sink;
    const void *of;  /* what it was opened for; NULL: who connected to our own socket */
    int fd;          /* -1: free */
    bool armed;      /* in the epoll set */
    bool connecting; /* what is waited for is that it can be written */
    int failed;      /* why it could not be, an errno; 0: it could, or that was told */
    bool trusted;    /* a monitor of ours may be at the other end: RELAY is believed */
    bool relayed;    /* it is: then nobody there answers */
    bool asks;       /* PINGs are sent */
    bool settled;    /* an agent answered: from here on its frames come in order */
    bool has_system; /* said in this session */
    bool has_hello, silent, resync, heard;
    uint32_t tgid; /* the VM */
    uint64_t start_ns;
    int64_t vm; /* in the recording; 0 until the first good frame */
    char where[64];
    struct vtg_hello hello;
    struct vtg_system system;
    struct vt_names names; /* said in this session */
    struct vt_frame_decoder decoder;
    struct vtg_relay relay; /* of the next frame; host_ns 0 if none */
    host_ns read_at;        /* the read that brought what is being decoded */
    host_tsc read_tsc;
    struct vt_budget *budget; /* of its VM */
    /* allowances */
    size_t bytes_left;
    bool paced; /* the budget gave less than a tick's */
    unsigned frames_left, losses_left;
    /* of the decoder's counters, what was told so far */
    struct vt_channel_told {
        uint64_t damaged, missing, garbage, replayed, early;
    } told;
    uint64_t lost; /* believed */
    /* questions */
    struct vt_pings pings;
    uint64_t session;
    bool session_new; /* its first frame is to come */
    host_ns opened, asked, answered;
    uint8_t out[sizeof(struct vtg_frame) + sizeof(struct vtg_ping)];
    size_t out_at, out_len; /* of a question that went out in part */
    bool again, followed;   /* an answer is to be followed by a question at once; one was */
    host_ns stuck_since;    /* the frame that is due does not come; 0: it does */
    uint32_t stuck_seq;
    struct vt_channel_happened happened[VT_NR_CHANNEL_EVENTS];
};

/** Begins with fd, which it takes over. where: to be shown. */
void vt_channel_init(struct vt_channel *c, struct vt_channel_sink *sink, int fd, uint32_t tgid,
                     uint64_t start_ns, const char *where);
/** From now on it is asked. */
void vt_channel_ask(struct vt_channel *c);

/** Into the epoll set, for what it waits for. False: it can't be watched. */
bool vt_channel_arm(struct vt_channel *c);

/** Something came. Bytes without end of one channel give way to the others' after a while. */
void vt_channel_read(struct vt_channel *c);

/** Renews the allowances, reads what it still holds, and writes what befell it. */
void vt_channel_tick(struct vt_channel *c);

/** Asks if it is time to. */
void vt_channel_time(struct vt_channel *c, host_ns now);
/** How soon it wants to be asked, ns from now; UINT64_MAX: never. */
uint64_t vt_channel_wants(const struct vt_channel *c, host_ns now);

/** What befell it, into the recording. last: a silence under way is told too. */
void vt_channel_flush(struct vt_channel *c, bool last);

void vt_channel_happens(struct vt_channel *c, enum vt_channel_event_kind kind, uint64_t count,
                        const char *text);

/** What it said of itself and of its tasks, once more: into another recording. */
void vt_channel_say_again(struct vt_channel *c);

/** Closes; there is no recording any more. */
void vt_channel_drop(struct vt_channel *c);

/** Writes what befell it and closes. */
void vt_channel_close(struct vt_channel *c);

/** A record of a decoded frame, all but vm, host and host_tsc. False: it is none to be kept. */
bool vt_record_of_frame(enum vtg_type type, const union vt_frame_body *body, struct vt_guest_record *ret);

#endif

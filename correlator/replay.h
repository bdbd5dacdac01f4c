/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A benchmark played again: what its parts (replay*.c) share. See replay.c. */
#ifndef VT_REPLAY_H
#define VT_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "correlator/internal.h"

#define NONE      SIZE_MAX
#define NOT_KNOWN UINT64_MAX
#define SCALE_ONE UINT64_C(1048576)

static inline uint64_t vt_scaled(uint64_t ns, uint64_t scale)
{
    return (uint64_t)((unsigned __int128)ns * scale / SCALE_ONE);
}

static inline uint64_t vt_scale_of(uint64_t part, uint64_t whole)
{
    return (uint64_t)((unsigned __int128)part * SCALE_ONE / whole);
}

/* A wake-up's time stamp and the switch to who then woke are not one instant: so far after a delay it is due
 * to it. */
#define TAIL_SLACK_NS UINT64_C(200000)
/* To wake an idle CPU takes up to so much, on a host that does nothing else as well (measured on a virtual
 * one: 0.1 to 0.2 ms; among rivals it does not sleep, and wakes at once). */
#define WAKE_NS UINT64_C(200000)
/* Who was held for so long is cold: others ran meanwhile. */
#define HOLD_NS UINT64_C(100000)
/* A vCPU that was held serves its pending interrupts before it releases what it had locked (seen: 0.4 ms). */
#define RELEASE_NS UINT64_C(500000)
/* In so long it does not even that. */
#define MOMENT_NS UINT64_C(100000)
/* No more holds of another vCPU are looked at for one step. */
#define MOST_HOLDS 64u

enum play { EARLIEST, LATEST, NR_PLAYS };

/* What makes a step as long as it is: the benchmark itself, or else... */
enum driver { BY_BENCHMARK, BY_ITS_WAKING, BY_TIME, BY_INTERRUPT };

/* What kept a vCPU from running, in order of time; sum: of those before it. */
struct delay {
    uint64_t from, to, sum;
    uint64_t holds; /* of those before it that were long enough to matter */
};

struct vcpu_delays {
    uint32_t cpu;
    struct delay *delay;
    size_t nr, room;
    struct vt_window
        *sleep; /* its thread's on the host, as far as they are told apart from delays; in order */
    size_t nr_sleep, room_sleep;
    uint64_t waited_ns;         /* for a CPU */
    uint64_t worked_until;      /* for the benchmark, in the latest play as far as it is */
    const struct vt_life *life; /* whose own steal of this host's is left out; NULL: nobody's */
    int error;
};

/* A stretch of a task on the host's clock. */
struct step {
    uint64_t from, to, ready;
    uint64_t late;            /* the timer that woke it went off so long after it was due; NOT_KNOWN */
    uint64_t begin[NR_PLAYS]; /* when it is played */
    uint64_t usual[NR_PLAYS]; /* what others like it took, a part of what its vCPU ran, of SCALE_ONE; 0: there
                                 are too few */
    uint32_t cpu, thread;     /* thread: into replay.thread[] */
    uint32_t waker;           /* thread, or UINT32_MAX */
    uint32_t wake;            /* enum vtg_wake */
    bool is_own;              /* of the benchmark */
    bool is_cold;             /* it slept longer than it would have, by the earliest play */
    bool is_hit;              /* an interrupt */
    bool is_late;             /* which was pending when the vCPU was resumed */
    uint64_t wake_ns;         /* latest, of a CPU that others kept awake */
    struct vt_window spun;    /* it may have waited, running, for what a held vCPU had locked; empty: none */
    enum driver driver;
    struct vcpu_delays *delays; /* of its vCPU; NULL: none is known */
    size_t on_thread;           /* the step of the same thread before it, NONE: the first */
    size_t on_cpu;              /* the same of its vCPU */
};

/* A thread's steps are order[first] to order[first + nr - 1]. */
struct thread {
    uint32_t tid;
    size_t first, nr;
};

/* What the benchmark's waits and ways took where nothing was held; 0: it is not known. */
struct usual {
    bool knows_waits;    /* for devices, in the mean... */
    uint64_t short_wait; /* ...but for the longest quarter (0: even those may have been the host's doing) */
    uint64_t long_wait;  /* ...but for the shortest; where idle CPUs do not sleep, of all */
    uint64_t offset;     /* of the others: see replay_usual.c */
    bool knows_ways_in;  /* there are enough before which nothing was held */
    uint64_t way_in;     /* from a wake-up to an idle vCPU at most */
    uint64_t late;       /* timers went off so late at most for reasons that are not the host's */
};

struct replay {
    const struct vt_correlator *c;
    const struct vt_machine *m;
    const struct vt_guest_time *time;
    struct vt_window window;
    uint32_t mark;
    struct step *step; /* by `from` */
    size_t nr_step, room_step;
    struct thread *thread; /* by tid */
    size_t nr_thread;
    size_t *order;
    struct vcpu_delays *vcpu;
    size_t nr_vcpu, room_vcpu;
    struct vcpu_delays any; /* where any vCPU was kept from running, or any of the monitor's threads, if... */
    struct vcpu_delays helpers; /* where any of these was, if... */
    bool places_helpers;        /* ...it was told when */
    bool tells_interrupts;      /* the guest does */
    uint64_t resume_ns;         /* what a resumption cost at most */
    uint64_t helpers_waited;    /* for a CPU: all together; if told when, what was not placed */
    struct usual usual;
    uint64_t bound;           /* of the steps' place on the host's clock, at most */
    uint64_t scale[NR_PLAYS]; /* what the play takes of what it really took, SCALE_ONE: all of it */
};

/* ---- replay_delays.c ---- */

/** Held for so long others ran on its CPU, and it is cold. */
static inline bool vt_is_hold(const struct delay *d)
{
    return d->to - d->from >= HOLD_NS;
}

/** r->vcpu, r->helpers and r->any. 0 or -ENOMEM. */
int vt_replay_find_delays(struct replay *r, uint64_t *budget);
/** NULL: there is no such vCPU. */
struct vcpu_delays *vt_replay_delays_of(const struct replay *r, uint32_t cpu);
/** Delay of the vCPU (NULL: none) before `at`; ret_last: the last that began before it, or NULL. */
uint64_t vt_delay_before(const struct vcpu_delays *v, uint64_t at, const struct delay **ret_last);
uint64_t vt_delay_in(const struct vcpu_delays *v, uint64_t from, uint64_t to);
/** Of any: who serves a device, or is asked, may sit on another vCPU than who waits, or be a thread of the
 * monitor's.  What waits makes no less headway while none of them is kept from running. */
uint64_t vt_delay_of_any(const struct replay *r, uint64_t from, uint64_t to);
/** What this host itself was kept from the vCPU's CPU, at most (earliest) or at least. */
uint64_t vt_outer_steal_in(const struct vcpu_delays *v, enum play play, uint64_t from, uint64_t to);
uint64_t vt_holds_in(const struct vcpu_delays *v, uint64_t from, uint64_t to);
/** Puts its delays in order and apart: before anything is asked of what was added. */
void vt_unite_delays(struct vcpu_delays *v);
/** 0 or -ENOMEM. */
int vt_add_delay(struct vcpu_delays *v, uint64_t from, uint64_t to);
/** From which delay on it has been held, but for moments, at its n-th; MOST_HOLDS back at most. */
size_t vt_held_since(const struct vcpu_delays *v, size_t n);
/** The delay that ended just before `at`, and not before `from`: what was then due came so much later. */
uint64_t vt_tail_delay(const struct vcpu_delays *v, uint64_t from, uint64_t at);

/* ---- replay_steps.c ---- */

/** r->step; ret_whole: all that the guest's tasks did was told, and looked at. 0 or -ENOMEM. */
int vt_replay_find_steps(struct replay *r, uint64_t *budget, bool *ret_whole);
/** Each step's thread and vCPU, and the steps before it there. 0 or -ENOMEM. */
int vt_replay_link_steps(struct replay *r);
/** What makes them as long as they are: interrupts that were pending, spinning, drivers. */
void vt_replay_judge_steps(struct replay *r, uint64_t *budget);
/** The step in which the end mark was set: the last of its vCPU. NONE: it was not told. */
size_t vt_replay_last_step(const struct replay *r, uint32_t cpu);
/** The thread's step that was under way at `at`, or the last before it. NONE: there is none. */
size_t vt_step_at(const struct replay *r, uint32_t thread, uint64_t at);
/** Who woke it, as vt_step_at(); NONE: no task, or none that is known. */
size_t vt_waker_of(const struct replay *r, const struct step *s);
/** What of the step until `at` its vCPU ran, and may have spun. */
uint64_t vt_spun_until(const struct step *s, uint64_t at);
/** The benchmark's slept until no task of it and no timer that told woke it: from when on? */
bool vt_is_device_wait(const struct replay *r, const struct step *s, uint64_t *ret_since);
bool vt_is_timer_wait(const struct step *s);

/* ---- replay_stalls.c ---- */

/** Adds to r->vcpu what a vCPU waited in the monitor for a thread of it that was held. 0 or -ENOMEM. */
int vt_replay_find_stalls(struct replay *r, uint64_t *budget);

/* ---- replay_usual.c ---- */

/** r->usual, and that of each step; ret_longer: by how much waits for devices may be too long, earliest.
 * 0 or -ENOMEM. */
int vt_replay_find_usual(struct replay *r, uint64_t *ret_longer);
/** How long it waits in the play for a device, for which it waited from `end` to `ready`. */
uint64_t vt_device_wait(const struct replay *r, const struct step *s, enum play play, uint64_t end,
                        uint64_t ready);
/** From its wake-up to its first instruction on a vCPU that was idle, in the play. */
uint64_t vt_way_in(const struct replay *r, const struct step *s, enum play play);
/** The timer that woke it was due, and the vCPU was kept from serving it. */
uint64_t vt_late_by_host(const struct step *s);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the switches of a vCPU to the stretches of its tasks, and from these to
 * frames.  Pure: no clock, no file.
 */
#ifndef VTA_TASK_LINE_H
#define VTA_TASK_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "vt/guest_wire.h"
#include "vt/task_pack.h"

/* A task comes to a vCPU. */
struct vta_coming {
    uint32_t tid;
    uint32_t waker; /* of VTG_WAKE_TASK */
    enum vtg_wake wake;
    uint64_t waited; /* ticks; 0: not known */
    uint64_t late;   /* see struct vtg_stretch */
};

/* Where a vCPU stands.  Zeroed, then vta_line_begin(). */
struct vta_line {
    uint64_t since;        /* who has the vCPU came then, or what was told of him ends then */
    uint64_t told_to;      /* the end of the last stretch that was told */
    struct vta_coming who; /* who has it; his wait is told with his first stretch */
    uint32_t lost;         /* stretches that are missing since the last that was told */
    bool knows_who, knows_since;
};

/** From `at` on every switch is told: who has the vCPU then shows at his first one. */
void vta_line_begin(struct vta_line *l, uint64_t at);

/** `missed` switches were not told: what had the vCPU since the last one is not known. */
void vta_line_lose(struct vta_line *l, uint32_t missed);

/** `who` has had the vCPU since `at`; 0: since before the first event, or the loss. */
void vta_line_resume(struct vta_line *l, uint64_t at, const struct vta_coming *who);

/**
 * Who has the vCPU leaves it, and `next` comes.  True: *ret is the stretch that ended.
 * False: nothing is to be told of it; where that is a loss, it is counted.
 */
bool vta_line_switch(struct vta_line *l, uint64_t at, enum vtg_task_end end, const struct vta_coming *next,
                     struct vtg_stretch *ret);

/** No switch that is yet to be told was before `at`. True: *ret is what the task that has the vCPU had so
 * far. */
bool vta_line_cut(struct vta_line *l, uint64_t at, struct vtg_stretch *ret);

/* Stretches of one vCPU on their way into frames. */
struct vta_packer {
    struct vtg_tasks frame; /* nr = 0: empty */
    struct vtg_task_cursor cursor;
};

/** False: there is no room (or *lost stretches are missing before it): send the frame, empty it, try again.
 * Takes *lost over. */
bool vta_pack(struct vta_packer *p, enum vtg_task_source source, uint32_t cpu, uint32_t *lost,
              const struct vtg_stretch *s);

/** The frame is sent: empties it. */
void vta_pack_clear(struct vta_packer *p);

/** Bytes of the frame's payload. */
uint32_t vta_pack_size(const struct vta_packer *p);

#endif

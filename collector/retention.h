/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The service's recordings in its directory: their names, and which have to go. */
#ifndef VT_RETENTION_H
#define VT_RETENTION_H

#include <stddef.h>

#include "options.h"

enum { VT_RECORDING_NAME_LEN = 40 };

/** "vtime-20261121T093015.123Z.vt": when it begins, UTC. */
void vt_recording_name(uint64_t realtime_ns, char ret[VT_RECORDING_NAME_LEN]);

/** The time in such a name, to the millisecond; 0 if it is no such name. */
uint64_t vt_recording_time(const char *name);

struct vt_kept {
    char name[VT_RECORDING_NAME_LEN];
    uint64_t bytes; /* with what SQLite keeps beside it */
};

/** How many of the oldest have to go; files: oldest first, the newest is the present one, which stays. */
size_t vt_retention_choose(const struct vt_kept *files, size_t n, const struct vt_service_options *o);

/**
 * Removes what has to go: recordings in dir that the service made (by name, and
 * by what they say of themselves) and that are no more written to.  press: the
 * disk is full: one more than the options ask for, if they ask for anything.
 * Returns how many went, or -errno; err then says what could not go and why.
 */
int vt_retention_apply(const char *dir, const char *present, const struct vt_service_options *o, bool press,
                       struct vt_err *err);

#endif

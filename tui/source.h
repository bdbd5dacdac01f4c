/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where snapshots come from: a recording read from a file, or one that a
 * recorder of our own writes while we look.  vtop loads no BPF itself.
 */
#ifndef VT_TUI_SOURCE_H
#define VT_TUI_SOURCE_H

#include <signal.h>

#include "base/err.h"
#include "vt/snapshot.h"

struct vtop_source;

/**
 * Starts `vtime record` in a temporary directory of our own.  step_ns: how
 * often snapshots will be asked for.  child_mask: signals blocked in it.
 */
int vtop_source_open_live(uint64_t step_ns, const sigset_t *child_mask, struct vtop_source **ret,
                          struct vt_err *err);

/** Replays a recording from its begin, and follows it while it grows. */
int vtop_source_open_file(const char *path, struct vtop_source **ret, struct vt_err *err);

/**
 * The next window: 1 with *ret (free with vt_snapshot_free()), 0 if there is
 * nothing new yet, or -errno.  Windows join: live, one reaches from the end of
 * the last to all that is known (unless nobody asked for long); in a replay
 * each is step_ns long, the last one shorter.
 */
int vtop_source_next(struct vtop_source *source, uint64_t step_ns, struct vt_snapshot **ret,
                     struct vt_err *err);

/** A replay has come to the end of a recording that does not grow any more. */
bool vtop_source_is_over(const struct vtop_source *source);
bool vtop_source_is_live(const struct vtop_source *source);
/** What a user should know of how the recording was opened, or NULL. */
const char *vtop_source_note(const struct vtop_source *source);

/** Ends the recorder, if there is one, and removes its files. NULL is fine. */
void vtop_source_close(struct vtop_source *source);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `vtime record --daemon`: one recording after the other in a directory of its
 * own, without a nanosecond between them.
 */
#ifndef VT_SERVICE_H
#define VT_SERVICE_H

#include "session.h"

/** Takes the directory, for itself alone, and looks for the service manager. */
int vt_service_open(const struct vt_record_options *options, struct vt_service **ret, struct vt_err *err);

/** The first recording. */
int vt_service_create(struct vt_service *v, struct vt_session *s, struct vt_err *err);

/** Where agents connect, if not told. */
void vt_service_agent_path(const struct vt_service *v, char *ret, size_t size);

/** The first recording has begun: gives up privileges and tells readers and the service manager. */
int vt_service_begun(struct vt_service *v, struct vt_session *s, struct vt_err *err);

/** In place of vt_recorder_tick(): turns to a new recording when it is time. */
int vt_service_tick(struct vt_service *v, struct vt_session *s, struct vt_err *err);

/** In place of vt_recorder_drain(). */
int vt_service_drain(struct vt_service *v, struct vt_session *s, struct vt_err *err);

/**
 * What to do about a failure e: 0 if it is of the store (disk full), for then
 * the ledger goes on, and a new recording begins when it can be written; else e.
 */
int vt_service_failed(struct vt_service *v, struct vt_session *s, int e, const struct vt_err *err);

/** In place of vt_recorder_end(). */
int vt_service_end(struct vt_service *v, struct vt_session *s, struct vt_err *err);

void vt_service_close(struct vt_service *v);

#endif

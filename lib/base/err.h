/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A failure is said once, where its context is known.  Functions return 0 or
 * -errno and fill the caller's struct vt_err; main reports it.
 */
#ifndef VT_BASE_ERR_H
#define VT_BASE_ERR_H

struct vt_err {
    char text[512]; /* one line: what failed, and what to do about it */
};

/** Fills err (may be NULL) printf-like and returns -number. */
int vt_fail(struct vt_err *err, int number, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** "vtime: text" on stderr. */
void vt_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

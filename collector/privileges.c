/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

int vt_privileges_drop(struct vt_err *err)
{
    static const capng_type_t sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
    int r;

    capng_clear(CAPNG_SELECT_ALL);
    r = capng_updatev(CAPNG_ADD, sets, CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, -1);
    if (r == 0) /* the bounding set goes with them; ambient and inheritable ones are none */
        r = capng_apply(CAPNG_SELECT_ALL);
    if (r)
        return vt_fail(err, EPERM, "privileges could not be given up (libcap-ng: %d)", r);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return vt_fail(err, errno, "no_new_privs could not be set: %s", strerror(errno));
    return 0;
}

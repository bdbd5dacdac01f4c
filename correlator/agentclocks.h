/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is to tell of the clocks of a guest with an agent: struct vt_agent_clocks. */
#ifndef VT_AGENTCLOCKS_H
#define VT_AGENTCLOCKS_H

#include "correlator/machineclock.h"

/** *ret is NULL where no agent spoke; else to be released. 0 or -ENOMEM. */
int vt_agent_clocks_fill(const struct vt_machine_clock *k, struct vt_window window,
                         struct vt_agent_clocks **ret);
void vt_agent_clocks_free(struct vt_agent_clocks *clocks); /* NULL is fine */

#endif

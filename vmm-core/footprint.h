/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_FOOTPRINT_H
#define VMM_FOOTPRINT_H

/**
 * Gives back what the loader touched of all the libraries that vtime is linked
 * with: a monitor needs few of them, and there may be many monitors.  What is
 * needed comes back from the page cache at its next use.
 */
void footprint_shrink(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going through a mask of CPUs, cyclically by number from the one after `cpu` on, word by word.  Plain C
 * without calls, compiled into the BPF programs and into the unit tests.
 */
#ifndef VT_BPF_PERMITTED_H
#define VT_BPF_PERMITTED_H

#include "vt/ledger.h"

#define PERMITTED static inline __attribute__((always_inline))

/* The step-th word to look at, of a mask of that many. */
PERMITTED vt_u32 permitted_word(vt_u32 cpu, vt_u32 step, vt_u32 words)
{
    return (cpu / 64 + step) % words;
}

/* What of it is new: of its own word first what follows the CPU, and when that comes round what is before. */
PERMITTED vt_u64 permitted_part(vt_u64 word, vt_u32 cpu, vt_u32 step, vt_u32 words)
{
    const vt_u64 own = 1ull << (cpu % 64);

    if (step == 0)
        return word & ~(own | (own - 1));
    return step == words ? word & (own - 1) : word;
}

/* The number of the lowest bit; word is not 0. (BPF has no instruction for it.) */
PERMITTED vt_u32 permitted_lowest(vt_u64 word)
{
    vt_u64 below = (word & (0 - word)) - 1; /* as many ones as there are bits below it */

    below -= below >> 1 & 0x5555555555555555ull;
    below = (below & 0x3333333333333333ull) + (below >> 2 & 0x3333333333333333ull);
    below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (vt_u32)(below * 0x0101010101010101ull >> 56);
}

#endif

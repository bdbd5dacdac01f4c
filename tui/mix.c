/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/mix.h"

#include <string.h>

#define BIT(state) (1u << (state))

/* In the order of the bar: what ran, what was kept from running, what had no wish to. */
const struct vtop_part vtop_parts[] = {
    { "█", "#", VT_CLASS_USED, "used", BIT(VT_GUEST) | BIT(VT_RUN) },
    { "▒", "+", VT_CLASS_OVERHEAD, "overhead", BIT(VT_KVM) | BIT(VT_VMM) },
    { "P", "P", VT_CLASS_STOLEN, "preempted", BIT(VT_PREEMPTED) },
    { "W", "W", VT_CLASS_STOLEN, "waking", BIT(VT_WAKING) },
    { "T", "T", VT_CLASS_STOLEN, "throttled", BIT(VT_THROTTLED) },
    { "I", "I", VT_CLASS_STOLEN, "irq", BIT(VT_IRQ) },
    { "B", "B", VT_CLASS_STALLED, "stalled", BIT(VT_BLOCKED) },
    { "·", ".", VT_CLASS_IDLE, "idle", BIT(VT_POLL) | BIT(VT_HALTED) | BIT(VT_IDLEQ) },
    { "Z", "Z", VT_CLASS_PAUSED, "paused", BIT(VT_STOPPED) },
    { "?", "?", VT_CLASS_UNKNOWN, "lost", BIT(VT_LOST) },
    { " ", " ", VT_CLASS_NONE, "absent", BIT(VT_ABSENT) },
};
const size_t vtop_nr_parts = sizeof(vtop_parts) / sizeof(vtop_parts[0]);
_Static_assert(sizeof(vtop_parts) / sizeof(vtop_parts[0]) <= VTOP_PARTS_MAX, "room for the parts");

static void sum_parts(const struct vt_account *account, uint64_t *ns)
{
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        ns[i] = 0;
        for (unsigned int s = 0; s < VT_NR_STATES; s++)
            if (vtop_parts[i].states & BIT(s))
                ns[i] += account->state[s].ns;
    }
}

/* The part that is shortest of a whole cell it deserves. */
static size_t most_wanting(const double *share, const size_t *cells)
{
    size_t best = 0;
    for (size_t i = 1; i < vtop_nr_parts; i++)
        if (share[i] - (double)cells[i] > share[best] - (double)cells[best])
            best = i;
    return best;
}

void vtop_mix(const struct vt_account *account, uint64_t whole_ns, size_t cells, size_t *ret)
{
    uint64_t ns[VTOP_PARTS_MAX], sum = 0;
    double share[VTOP_PARTS_MAX];
    size_t given = 0;
    sum_parts(account, ns);
    for (size_t i = 0; i < vtop_nr_parts; i++)
        sum += ns[i];
    /* a vCPU that came or went: what its lives do not cover is absent */
    if (sum < whole_ns)
        ns[vtop_nr_parts - 1] += whole_ns - sum;
    sum = sum > whole_ns ? sum : whole_ns;
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        share[i] = sum ? (double)ns[i] * (double)cells / (double)sum : 0.0;
        ret[i] = (size_t)share[i];
        given += ret[i];
    }
    for (; given < cells; given++)
        ret[most_wanting(share, ret)]++;
}

void vtop_mix_text(char *out, size_t size, const struct vt_account *account, uint64_t whole_ns, size_t cells,
                   bool utf8)
{
    size_t share[VTOP_PARTS_MAX], used = 0;
    vtop_mix(account, whole_ns, cells, share);
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        const char *glyph = utf8 ? vtop_parts[i].utf8 : vtop_parts[i].ascii;
        const size_t n = strlen(glyph);
        for (size_t k = 0; k < share[i] && used + n < size; k++, used += n)
            memcpy(out + used, glyph, n);
    }
    out[used] = '\0';
}

size_t vtop_part_of_glyph(const char *text, bool utf8, size_t *ret_bytes)
{
    for (size_t i = 0; i < vtop_nr_parts; i++) {
        const char *glyph = utf8 ? vtop_parts[i].utf8 : vtop_parts[i].ascii;
        *ret_bytes = strlen(glyph);
        if (strncmp(text, glyph, *ret_bytes) == 0)
            return i;
    }
    *ret_bytes = 1;
    return vtop_nr_parts;
}

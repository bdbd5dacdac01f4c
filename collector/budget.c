/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "budget.h"

#include "hostinfo.h"

static struct vt_budget *find(struct vt_budgets *all, uint32_t tgid, uint64_t start_ns)
{
    for (int i = 0; i < VT_BUDGETS; i++)
        if (all->of[i].tgid == tgid && vt_same_start(all->of[i].start_ns, start_ns))
            return &all->of[i];
    return NULL;
}

/* One that is full again is as good as free: forgetting it gives nobody more. */
static struct vt_budget *fullest(struct vt_budgets *all, host_ns now)
{
    struct vt_budget *best = &all->of[0];

    for (int i = 0; i < VT_BUDGETS; i++) {
        struct vt_budget *b = &all->of[i];
        if (b->tgid == 0)
            return b;
        if (vt_budget_left(b, now) > vt_budget_left(best, now))
            best = b;
    }
    return best;
}

struct vt_budget *vt_budget_of(struct vt_budgets *all, uint32_t tgid, uint64_t start_ns, host_ns now)
{
    struct vt_budget *b = find(all, tgid, start_ns);

    if (!b) {
        b = fullest(all, now);
        *b = (struct vt_budget){ tgid, start_ns, VT_BUDGET_MOST, now };
    }
    return b;
}

uint64_t vt_budget_left(struct vt_budget *b, host_ns now)
{
    const uint64_t ns = now.v > b->at.v ? now.v - b->at.v : 0;
    const uint64_t full_after = VT_BUDGET_MOST / VT_BUDGET_RATE * VT_NSEC_PER_SEC;
    const uint64_t grown = ns >= full_after ? VT_BUDGET_MOST : ns * VT_BUDGET_RATE / VT_NSEC_PER_SEC;

    if (b->left + grown >= VT_BUDGET_MOST) {
        b->left = VT_BUDGET_MOST;
        b->at = now;
    } else { /* what is less than a byte is not forgotten */
        b->left += grown;
        b->at.v += (grown * VT_NSEC_PER_SEC + VT_BUDGET_RATE - 1) / VT_BUDGET_RATE;
    }
    return b->left;
}

void vt_budget_spend(struct vt_budget *b, size_t bytes)
{
    b->left -= bytes < b->left ? bytes : b->left;
}

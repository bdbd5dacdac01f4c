/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who had a CPU: each occupant once, found by a hash of what tells him apart. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

enum { FIRST_SLOTS = 64 };

/* FNV-1a (Fowler, Noll, Vo), 64 bits */
static size_t hash_of(const struct vt_occupant_id *id)
{
    const unsigned char *p = (const unsigned char *)id;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof(*id); i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 32);
}

/* The slot that holds id, or the free one where it belongs. */
static uint32_t *slot_of(const struct vt_occupants *o, const struct vt_occupant_id *id)
{
    size_t i = hash_of(id) & (o->slots - 1);
    while (o->table[i] && memcmp(&o->id[o->table[i] - 1], id, sizeof(*id)) != 0)
        i = (i + 1) & (o->slots - 1);
    return &o->table[i];
}

static int grow_table(struct vt_occupants *o)
{
    size_t slots = o->slots ? 2 * o->slots : FIRST_SLOTS;
    uint32_t *table = calloc(slots, sizeof(*table));
    if (!table)
        return -ENOMEM;
    free(o->table);
    o->table = table;
    o->slots = slots;
    for (size_t i = 0; i < o->nr_id; i++)
        *slot_of(o, &o->id[i]) = (uint32_t)i + 1;
    return 0;
}

int vt_occupants_add(struct vt_occupants *o, const struct vt_occupant_id *id, uint32_t *ret)
{
    int r = 2 * (o->nr_id + 1) > o->slots ? grow_table(o) : 0;
    if (r)
        return r;
    uint32_t *slot = slot_of(o, id);
    if (!*slot) {
        r = vt_grow((void **)&o->id, &o->room_id, o->nr_id, sizeof(*o->id));
        if (r)
            return r;
        o->id[o->nr_id++] = *id;
        *slot = (uint32_t)o->nr_id;
    }
    *ret = *slot - 1;
    return 0;
}

void vt_occupants_release(struct vt_occupants *o)
{
    free(o->id);
    free(o->table);
    *o = (struct vt_occupants){ 0 };
}

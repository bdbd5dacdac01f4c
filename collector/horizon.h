/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Was what a guest wrote made after its recording's end?  Known where KVM's TSC offset is. */
#ifndef VT_HORIZON_H
#define VT_HORIZON_H

#include "correlator/clockmap.h"
#include "store/store.h"

struct vt_horizon {
    /* of the recording */
    host_ns end;
    struct vt_host host;
    struct vt_clock_pair *pairs;
    size_t nr_pairs, room_pairs;
    int64_t vm;
    int64_t *vcpus; /* of the VM, in order of id */
    size_t nr_vcpus, room_vcpus;
    struct vt_tsc_epoch *epochs; /* of its vCPUs, by vCPU and time once it is complete */
    size_t nr_epochs, room_epochs;
    struct vt_clockmap map;
};

/** Reads what the store, from which nothing is uncommitted, has of the VM. Release either way. 0 or -errno.
 */
int vt_horizon_init(struct vt_horizon *h, struct vt_store *store, int64_t vm, host_ns end,
                    struct vt_err *err);
void vt_horizon_release(struct vt_horizon *h);

/** Read after the end on every map there is; false, too, where that is not known. */
bool vt_horizon_is_behind(const struct vt_horizon *h, uint64_t tsc);

#endif

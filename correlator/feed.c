/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/feed.h"

int vt_feed(struct vt_correlator *c, struct vt_store *store, struct vt_store_cursor *cursor,
            struct vt_err *err)
{
    const struct vt_store_reader reader = {
        .context = c,
        .cpu = vt_correlator_cpu,
        .vm = vt_correlator_vm,
        .vm_found = vt_correlator_vm_found,
        .vcpu = vt_correlator_vcpu,
        .tsc_epoch = vt_correlator_tsc_epoch,
        .clock_pair = vt_correlator_clock_pair,
        .loss = vt_correlator_loss,
        .observer = vt_correlator_observer,
        .occupancy = vt_correlator_occupancy,
        .move = vt_correlator_move,
        .exits = vt_correlator_exits,
        .kvm_stat = vt_correlator_kvm_stat,
        .kvm_count = vt_correlator_kvm_count,
        .exit_address = vt_correlator_exit_address,
        .helper = vt_correlator_helper,
        .helper_time = vt_correlator_helper_time,
        .helper_wait = vt_correlator_helper_wait,
        .outer_steal = vt_correlator_outer_steal,
        .guest_record = vt_correlator_guest_record,
        .exchange = vt_correlator_exchange,
        .channel_event = vt_correlator_channel_event,
        .checkpoint = vt_correlator_checkpoint,
        .counter_event = vt_correlator_counter_event,
        .counter = vt_correlator_counter,
        .slices = vt_correlator_slices,
    };
    struct vt_host host;
    struct vt_err own = { "" };
    int r = vt_store_get_host(store, &host, err);
    if (r)
        return r;
    vt_correlator_host(c, &host);
    r = vt_store_read(store, cursor, &reader, &own);
    if (r && own.text[0] == 0) /* a row that the correlator refused */
        return vt_fail(err, -r, "the recording contradicts itself (or memory is short): it may be damaged");
    if (r && err)
        *err = own;
    return r;
}

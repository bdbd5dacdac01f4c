/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/outlet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm-core/clock.h"
#include "vmm-core/proc.h"

int outlet_init(struct outlet *o, unsigned nr_vcpus, const char *where, struct vt_err *err)
{
    *o = (struct outlet){ .lock = PTHREAD_MUTEX_INITIALIZER, .channel.fd = -1 };
    o->vcpus = calloc(nr_vcpus, sizeof(*o->vcpus));
    if (!o->vcpus)
        return vt_fail(err, ENOMEM, "out of memory");
    o->nr_vcpus = nr_vcpus;
    return channel_open(&o->channel, where, err);
}

static void read_schedstat(pid_t tid, struct outlet_mark *m)
{
    char path[64];
    uint64_t v[2];
    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)tid);
    if (proc_numbers(path, v, 2)) {
        m->run_ns = v[0];
        m->run_delay_ns = v[1];
    }
}

static void witness_mark(struct outlet *o, const uint8_t *payload)
{
    struct vtg_mark m;
    memcpy(&m, payload, sizeof(m));
    if (m.clocks.vcpu >= o->nr_vcpus || (m.kind != VTG_MARK_BEGIN && m.kind != VTG_MARK_END))
        return;
    struct outlet_vcpu *v = &o->vcpus[m.clocks.vcpu];
    struct outlet_mark *mark = m.kind == VTG_MARK_BEGIN ? &v->begin : &v->end;
    if (m.kind == VTG_MARK_BEGIN) {
        v->gaps_before = v->gaps;
        if (mark->seen) /* the work is repeated: its first mark counts, and its last */
            return;
    }
    mark->seen = true;
    mark->clocks = m.clocks;
    mark->host_ns = vmm_now_ns();
    read_schedstat(v->tid, mark);
}

static void witness_gaps(struct outlet *o, const uint8_t *payload)
{
    struct vtg_gaps g;
    memcpy(&g, payload, sizeof(g));
    if (g.vcpu >= o->nr_vcpus)
        return;
    const struct outlet_gaps *before = &o->vcpus[g.vcpu].gaps_before;
    o->vcpus[g.vcpu].gaps = (struct outlet_gaps){
        .count = before->count + g.count,
        .sum_tsc = before->sum_tsc + g.sum,
        .longest_tsc = g.longest > before->longest_tsc ? g.longest : before->longest_tsc,
    };
}

void outlet_put(struct outlet *o, const uint8_t *frame, size_t n)
{
    struct vtg_frame f;
    memcpy(&f, frame, sizeof(f));
    pthread_mutex_lock(&o->lock);
    channel_put(&o->channel, frame, n);
    if (!o->first_ns)
        o->first_ns = vmm_now_ns();
    if (f.type == VTG_MARK && f.len == sizeof(struct vtg_mark))
        witness_mark(o, frame + sizeof(f));
    if (f.type == VTG_GAPS && f.len == sizeof(struct vtg_gaps))
        witness_gaps(o, frame + sizeof(f));
    channel_flush(&o->channel);
    pthread_mutex_unlock(&o->lock);
}

bool outlet_flush(struct outlet *o)
{
    pthread_mutex_lock(&o->lock);
    bool more = channel_flush(&o->channel);
    pthread_mutex_unlock(&o->lock);
    return more;
}

void outlet_close(struct outlet *o)
{
    pthread_mutex_lock(&o->lock);
    channel_close(&o->channel, 1000000000u);
    pthread_mutex_unlock(&o->lock);
}

void outlet_release(struct outlet *o)
{
    channel_close(&o->channel, 0);
    free(o->vcpus);
    o->vcpus = NULL;
}

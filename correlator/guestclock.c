/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "correlator/guestclock.h"

#include <errno.h>

/*
 * rdtsc and the switch's own time stamp are not one instruction: readings this
 * close to the edge of an on-CPU stretch are inside it.
 */
#define EDGE_SLACK_NS 2000u

/* The life of this index that the host knew when the record came. */
static const struct vt_life *life_at(const struct vt_vcpu_clock *clock, host_ns host)
{
    const struct vt_life *found = NULL;
    size_t i, to;
    vt_lives_around(clock->c, vt_find_machine(clock->c, clock->vm), &i, &to);
    for (; i < to; i++) {
        const struct vt_life *life = &clock->c->lives[i];
        if (life->row.vm == clock->vm && life->row.index == clock->index && (!found || life->start <= host.v))
            found = life;
    }
    return found;
}

static int to_ns_by(const struct vt_vcpu_clock *clock, const struct vt_tsc_method *method, guest_tsc tsc,
                    host_ns host, host_ns *ret, uint64_t *ret_bound)
{
    const struct vt_life *life = life_at(clock, host);
    struct vt_guest_clock g = { .map = clock->map, .method = method };
    if (life) {
        g.epochs = life->epochs;
        g.nr_epochs = life->nr_epochs;
    }
    return vt_guest_clock_to_ns(&g, tsc, host, ret, ret_bound);
}

int vt_vcpu_clock_to_ns(const struct vt_vcpu_clock *clock, guest_tsc tsc, host_ns host, host_ns *ret,
                        uint64_t *ret_bound)
{
    if (clock->by_whole)
        return vt_machine_clock_to_ns(clock->whole, clock->index, tsc, host, ret, ret_bound);
    return clock->method ? to_ns_by(clock, clock->method, tsc, host, ret, ret_bound) : -ENODATA;
}

static void see_on_cpu(void *context, const struct vt_piece *p)
{
    bool *possible = context;
    if (p->on_cpu || p->state == VT_LOST)
        *possible = true;
}

/* Could the vCPU have executed anything around ns? Unknown time says yes. */
static bool could_run(const struct vt_vcpu_clock *clock, host_ns host, host_ns ns, uint64_t bound)
{
    const struct vt_life *life = life_at(clock, host);
    uint64_t slack = bound + EDGE_SLACK_NS;
    bool possible = clock->c->host.probes_off & 1u << VT_PROBE_SWITCH || clock->c->host.ledger_only;
    if (!life || ns.v + slack >= vt_life_known_to(life) ||
        ns.v < vt_max(life->start, clock->c->forgotten) + slack)
        return true;
    struct vt_window around = { { ns.v - slack }, { ns.v + slack } };
    vt_walk(clock->c, life, around, see_on_cpu, &possible, NULL);
    return possible;
}

static uint64_t violations_of(const struct vt_vcpu_clock *clock, const struct vt_tsc_method *method,
                              const struct vt_machine *m, struct vt_window window, uint64_t *ret_bound)
{
    uint64_t violations = 0, previous = 0;
    *ret_bound = 0;
    for (size_t i = 0; i < m->nr_samples; i++) {
        const struct vt_sample *s = &m->samples[i];
        const guest_tsc tsc = { s->clocks.tsc_after };
        host_ns ns;
        uint64_t bound;
        if (s->clocks.vcpu != clock->index || !(s->clocks.have & VTG_HAVE_TSC) || s->host.v < window.from.v ||
            s->host.v > window.to.v)
            continue;
        const bool placed = to_ns_by(clock, method, tsc, s->host, &ns, &bound) == 0;
        const bool imported = vt_is_imported(clock->c, s->host, s->host_tsc);
        if (!placed && imported)
            continue; /* of a file that goes on after the recording, or began before it */
        if (!placed || (!imported && ns.v + bound < previous) || !could_run(clock, s->host, ns, bound)) {
            violations++;
            continue;
        }
        if (!imported) /* they come after all others, whenever they were made */
            previous = ns.v;
        *ret_bound = vt_max(*ret_bound, bound);
    }
    return violations;
}

static bool has_epochs(const struct vt_vcpu_clock *clock)
{
    size_t i, to;
    vt_lives_around(clock->c, vt_find_machine(clock->c, clock->vm), &i, &to);
    for (; i < to; i++)
        if (clock->c->lives[i].row.vm == clock->vm && clock->c->lives[i].row.index == clock->index &&
            clock->c->lives[i].nr_epochs)
            return true;
    return false;
}

static void find_khz(struct vt_vcpu_clock *clock, const struct vt_machine *m)
{
    for (size_t i = 0; i < m->nr_samples && clock->report.guest_tsc_khz == 0; i++)
        if (m->samples[i].clocks.vcpu == clock->index)
            clock->report.guest_tsc_khz =
                vt_pvclock_khz(m->samples[i].clocks.pv_mul, m->samples[i].clocks.pv_shift);
    if (clock->report.guest_tsc_khz == 0)
        clock->report.guest_tsc_khz = vt_clockmap_khz(clock->map);
}

/*
 * A guest with an agent whose TSC KVM does not tell: its own map, if the bound is certain.
 * It was held against every exchange; here its records have to have a place.
 */
static bool use_whole(struct vt_vcpu_clock *clock, const struct vt_machine *m, struct vt_window window)
{
    const struct vt_machine_clock *whole = clock->whole;
    if (!whole || whole->method == VT_NR_CLOCK_METHODS || !vt_clock_method_is_bounded(whole, whole->method))
        return false;
    clock->by_whole = true;
    clock->report.method = vt_clock_method_names[whole->method];
    clock->report.bound_ns = 0;
    for (size_t i = 0; i < m->nr_samples; i++) {
        const struct vt_sample *s = &m->samples[i];
        const guest_tsc tsc = { s->clocks.tsc_after };
        host_ns ns;
        uint64_t bound;
        if (s->clocks.vcpu != clock->index || !(s->clocks.have & VTG_HAVE_TSC) || s->host.v < window.from.v ||
            s->host.v > window.to.v)
            continue;
        if (vt_machine_clock_to_ns(whole, clock->index, tsc, s->host, &ns, &bound) == 0)
            clock->report.bound_ns = vt_max(clock->report.bound_ns, bound);
        else if (!vt_is_imported(clock->c, s->host, s->host_tsc))
            clock->report.violations++;
    }
    return true;
}

static bool only_imported(const struct vt_vcpu_clock *clock, const struct vt_machine *m)
{
    for (size_t i = 0; i < m->nr_samples; i++)
        if (m->samples[i].clocks.vcpu == clock->index &&
            !vt_is_imported(clock->c, m->samples[i].host, m->samples[i].host_tsc))
            return false;
    return true;
}

void vt_vcpu_clock_choose(struct vt_vcpu_clock *clock, const struct vt_machine *m, struct vt_window window)
{
    struct vt_clock_report *r = &clock->report;
    *r = (struct vt_clock_report){ .vcpu_index = clock->index, .method = "none", .reason = "" };
    find_khz(clock, m);
    clock->method = NULL;
    clock->by_whole = false;
    if (clock->map->refused) {
        r->reason = clock->map->refused;
        return;
    }
    for (size_t i = 0; i < vt_nr_tsc_methods; i++) {
        const struct vt_tsc_method *method = &vt_tsc_methods[i];
        if (!method->needs_epochs && use_whole(clock, m, window))
            return;
        /* that a TSC is the host's is believed of payloads; a system's may be anything that lies in the past
         */
        if (!method->needs_epochs && (m->row.kind != VT_VM_KVM || !vt_view_log_is_empty(&m->said))) {
            r->reason = only_imported(clock, m)
                            ? "from a file: only KVM's TSC offset would tell when its records were made"
                            : "no exchange with an agent: when the host had its records is an estimate";
            break;
        }
        if (method->needs_epochs && !has_epochs(clock)) {
            r->reason = clock->bare                ? ""
                        : m->row.kind != VT_VM_KVM ? "it is not a guest of KVM"
                                                   : "KVM's TSC offset of this vCPU was not read";
            continue;
        }
        uint64_t violations = violations_of(clock, method, m, window, &r->bound_ns);
        if (violations == 0) {
            clock->method = method;
            r->method = method->name;
            return;
        }
        r->violations += violations;
        r->reason = method->needs_epochs
                        ? "KVM's TSC offset contradicts causality: records lie in the future, go "
                          "backwards, or come while the vCPU was off CPU"
                        : "no map fits: records lie in the future, go backwards, or come while "
                          "the vCPU was off CPU";
    }
    r->bound_ns = 0;
}

bool vt_vcpu_clock_length_ns(const struct vt_vcpu_clock *clock, const struct vtg_clocks *by, uint64_t ticks,
                             uint64_t *ret)
{
    if (vt_pvclock_length_ns(by->pv_mul, by->pv_shift, ticks, ret))
        return true;
    *ret = vt_clockmap_length_ns(clock->map, ticks);
    return !clock->map->refused;
}

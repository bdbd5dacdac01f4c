/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/result.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "vmm-core/options.h"

/* From mark to mark, by each clock of the guest; and the host's schedstat beside it. */
struct belief {
    uint32_t have;
    uint64_t tsc_ns, kvmclock_ns, tick_clock_ns, ticks, charged_ns, steal_ns, monotonic_ns, cputime_ns, work;
    uint64_t host_ns, host_run_ns, host_run_delay_ns;
};

static uint64_t tsc_to_ns(uint64_t ticks, uint64_t khz)
{
    return khz ? (uint64_t)((unsigned __int128)ticks * 1000000 / khz) : 0;
}

/* The guest's figures are its own affair: differences are modulo 2^64 and may be nonsense. */
static bool believe(const struct run_result *r, unsigned vcpu, struct belief *b)
{
    const struct outlet_vcpu *v = &r->outlet->vcpus[vcpu];
    const struct vtg_clocks *x = &v->begin.clocks, *y = &v->end.clocks;
    if (!v->begin.seen || !v->end.seen)
        return false;
    *b = (struct belief){
        .have = x->have & y->have,
        .tsc_ns = tsc_to_ns(y->tsc_before - x->tsc_before, r->tsc_khz),
        .kvmclock_ns = y->kvmclock_ns - x->kvmclock_ns,
        .tick_clock_ns = (y->ticks - x->ticks) * y->tick_ns,
        .ticks = y->ticks - x->ticks,
        .charged_ns = y->charged_ns - x->charged_ns,
        .steal_ns = y->steal_ns - x->steal_ns,
        .monotonic_ns = y->monotonic_ns - x->monotonic_ns,
        .cputime_ns = y->cputime_ns - x->cputime_ns,
        .work = y->work_done - x->work_done,
        .host_ns = v->end.host_ns - v->begin.host_ns,
        .host_run_ns = v->end.run_ns - v->begin.run_ns,
        .host_run_delay_ns = v->end.run_delay_ns - v->begin.run_delay_ns,
    };
    return true;
}

static const struct clock_row {
    uint32_t have;
    const char *key, *label;
    size_t offset;
} clock_rows[] = {
    { VTG_HAVE_TSC, "tsc_ns", "elapsed by TSC", offsetof(struct belief, tsc_ns) },
    { VTG_HAVE_KVMCLOCK, "kvmclock_ns", "elapsed by kvmclock", offsetof(struct belief, kvmclock_ns) },
    { VTG_HAVE_MONOTONIC, "monotonic_ns", "elapsed by MONOTONIC", offsetof(struct belief, monotonic_ns) },
    { VTG_HAVE_TICKS, "tick_clock_ns", "elapsed by ticks", offsetof(struct belief, tick_clock_ns) },
    { VTG_HAVE_CHARGED, "charged_ns", "CPU as charged", offsetof(struct belief, charged_ns) },
    { VTG_HAVE_CPUTIME, "cputime_ns", "CPU by thread clock", offsetof(struct belief, cputime_ns) },
    { VTG_HAVE_STEAL, "steal_ns", "steal", offsetof(struct belief, steal_ns) },
};
#define NR_CLOCK_ROWS (sizeof(clock_rows) / sizeof(*clock_rows))

static uint64_t clock_value(const struct belief *b, const struct clock_row *row)
{
    return *(const uint64_t *)((const char *)b + row->offset);
}

static const char *end_name(enum vmm_end end)
{
    return end == VMM_END_FINISHED ? "finished" : end == VMM_END_SIGNAL ? "signal" : "failed";
}

static void text_vcpu(const struct run_result *r, unsigned vcpu)
{
    const struct outlet_vcpu *v = &r->outlet->vcpus[vcpu];
    struct belief b;

    printf("%s %s %u\n", r->config->name, r->bare ? "thread" : "vCPU", vcpu);
    if (!believe(r, vcpu, &b)) {
        printf("  no begin and end mark came from it\n");
        return;
    }
    for (size_t i = 0; i < NR_CLOCK_ROWS; i++)
        if (b.have & clock_rows[i].have)
            printf("  %-22s %14.6f s\n", clock_rows[i].label, (double)clock_value(&b, &clock_rows[i]) / 1e9);
    printf("  %-22s %14" PRIu64 "\n", "work done", b.work);
    if (v->gaps.count || r->config->params.workload == VP_GAP)
        printf("  %-22s %14.6f s in %" PRIu64 "\n", "gaps",
               (double)tsc_to_ns(v->gaps.sum_tsc, r->tsc_khz) / 1e9, v->gaps.count);
}

void result_text(const struct run_result *r, bool stats)
{
    printf("%s: %s, %s%s\n", r->config->name, options_workload(r->config->params.workload),
           r->bare ? "bare, " : "", r->end == VMM_END_SIGNAL ? "ended by a signal" : "finished");
    for (unsigned i = 0; i < r->config->nr_vcpus; i++)
        text_vcpu(r, i);
    if (r->service_count)
        printf("served %" PRIu64 " accesses in %.6f s of CPU\n", r->service_count,
               (double)r->service_ns / 1e9);
    if (r->outlet->channel.dropped)
        printf("agent channel: %" PRIu64 " records dropped\n", r->outlet->channel.dropped);
    if (!stats || r->bare)
        return;
    printf("main() to the first mark at CPL 3: %.3f ms\n", (double)r->boot_ns / 1e6);
    printf("monitor resident beyond guest RAM: %.2f MiB (guest RAM touched: %.2f MiB)\n",
           (double)(r->rss - r->ram_touched) / 1048576, (double)r->ram_touched / 1048576);
}

static void add(cJSON *o, const char *key, uint64_t value)
{
    cJSON_AddNumberToObject(o, key, (double)value);
}

static cJSON *json_vcpu(const struct run_result *r, unsigned vcpu)
{
    const struct outlet_vcpu *v = &r->outlet->vcpus[vcpu];
    cJSON *o = cJSON_CreateObject();
    struct belief b;

    add(o, "vcpu", vcpu);
    if (!believe(r, vcpu, &b))
        return o;
    cJSON *believed = cJSON_AddObjectToObject(o, "believed");
    for (size_t i = 0; i < NR_CLOCK_ROWS; i++)
        if (b.have & clock_rows[i].have)
            add(believed, clock_rows[i].key, clock_value(&b, &clock_rows[i]));
    if (b.have & VTG_HAVE_TICKS)
        add(believed, "ticks", b.ticks);
    add(o, "work_done", b.work);
    cJSON *host = cJSON_AddObjectToObject(o, "host");
    add(host, "elapsed_ns", b.host_ns);
    add(host, "run_ns", b.host_run_ns);
    add(host, "run_delay_ns", b.host_run_delay_ns);
    if (r->config->params.workload == VP_GAP) {
        cJSON *gaps = cJSON_AddObjectToObject(o, "gaps");
        add(gaps, "count", v->gaps.count);
        add(gaps, "sum_ns", tsc_to_ns(v->gaps.sum_tsc, r->tsc_khz));
        add(gaps, "longest_ns", tsc_to_ns(v->gaps.longest_tsc, r->tsc_khz));
    }
    return o;
}

static void json_monitor(const struct run_result *r, cJSON *top)
{
    cJSON *m = cJSON_AddObjectToObject(top, "monitor");
    add(m, "boot_to_cpl3_ns", r->boot_ns);
    add(m, "rss_bytes", r->rss);
    add(m, "guest_ram_touched_bytes", r->ram_touched);
    add(m, "beyond_guest_ram_bytes", r->rss - r->ram_touched);
    add(m, "exits", r->exits);
    add(m, "service_count", r->service_count);
    add(m, "service_ns", r->service_ns);
}

static void json_agent(const struct run_result *r, cJSON *top)
{
    cJSON *a = cJSON_AddObjectToObject(top, "agent");
    add(a, "frames", r->ring.frames);
    add(a, "queued", r->outlet->channel.units);
    add(a, "dropped", r->outlet->channel.dropped);
    add(a, "violations", r->ring.violations);
    add(a, "bad_frames", r->ring.bad_frames);
    add(a, "unframed_bytes", r->ring.unframed_bytes);
    if (r->ring.disabled)
        cJSON_AddStringToObject(a, "disabled", r->ring.disabled);
    else
        cJSON_AddNullToObject(a, "disabled");
}

int result_json(const struct run_result *r, struct vt_err *err)
{
    cJSON *top = cJSON_CreateObject();
    cJSON_AddNumberToObject(top, "schema", 1);
    cJSON_AddStringToObject(top, "name", r->config->name);
    cJSON_AddStringToObject(top, "kind", r->bare ? "bare" : "payload");
    cJSON_AddStringToObject(top, "workload", options_workload(r->config->params.workload));
    cJSON_AddStringToObject(top, "end", end_name(r->end));
    add(top, "tsc_khz", r->tsc_khz);
    add(top, "tick_ns", r->bare ? 0 : r->config->params.tick_ns);
    cJSON *vcpus = cJSON_AddArrayToObject(top, "vcpus");
    for (unsigned i = 0; i < r->config->nr_vcpus; i++)
        cJSON_AddItemToArray(vcpus, json_vcpu(r, i));
    if (!r->bare)
        json_monitor(r, top);
    json_agent(r, top);
    char *text = cJSON_Print(top);
    cJSON_Delete(top);
    if (!text)
        return vt_fail(err, ENOMEM, "out of memory");
    puts(text);
    cJSON_free(text);
    return 0;
}

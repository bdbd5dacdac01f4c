/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/number.h"
#include "vmm-core/payload/hostile.h"

#define SECOND_NS  1e9
#define MEMORY_MIN (UINT64_C(4) << 20)

enum {
    OPT_NAME = 256,
    OPT_VCPUS,
    OPT_MEMORY,
    OPT_CPU,
    OPT_WORKLOAD,
    OPT_WORK,
    OPT_SECONDS,
    OPT_REPEAT,
    OPT_TICK,
    OPT_LOG_HZ,
    OPT_IO_KIND,
    OPT_SERVICE,
    OPT_BURST,
    OPT_SLEEP,
    OPT_GAP,
    OPT_START_FD,
    OPT_READY_FD,
    OPT_AGENT,
    OPT_HOSTILE,
    OPT_BARE,
    OPT_JSON,
    OPT_STATS,
    OPT_HELP
};

static const struct option long_options[] = {
    { "name", required_argument, NULL, OPT_NAME },
    { "vcpus", required_argument, NULL, OPT_VCPUS },
    { "memory", required_argument, NULL, OPT_MEMORY },
    { "cpu", required_argument, NULL, OPT_CPU },
    { "workload", required_argument, NULL, OPT_WORKLOAD },
    { "work", required_argument, NULL, OPT_WORK },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "repeat", required_argument, NULL, OPT_REPEAT },
    { "tick", required_argument, NULL, OPT_TICK },
    { "log-hz", required_argument, NULL, OPT_LOG_HZ },
    { "io-kind", required_argument, NULL, OPT_IO_KIND },
    { "service-us", required_argument, NULL, OPT_SERVICE },
    { "burst-us", required_argument, NULL, OPT_BURST },
    { "sleep-us", required_argument, NULL, OPT_SLEEP },
    { "gap-us", required_argument, NULL, OPT_GAP },
    { "start-fd", required_argument, NULL, OPT_START_FD },
    { "ready-fd", required_argument, NULL, OPT_READY_FD },
    { "agent", required_argument, NULL, OPT_AGENT },
    { "hostile", required_argument, NULL, OPT_HOSTILE },
    { "bare", no_argument, NULL, OPT_BARE },
    { "json", no_argument, NULL, OPT_JSON },
    { "stats", no_argument, NULL, OPT_STATS },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

/* What a workload does unless told otherwise. */
static const struct workload {
    const char *name;
    uint64_t work; /* if neither work nor seconds are given */
    double seconds;
    unsigned tick_hz; /* timed sleeps and gaps are exact only without ticks */
} workloads[VP_NR_WORKLOADS] = {
    [VP_SPIN] = { "spin", 1000000000, 0, 100 },
    [VP_IDLE] = { "idle", 0, 10, 100 },
    [VP_IO] = { "io", 0, 10, 100 },
    [VP_MIX] = { "mix", 0, 10, 0 },
    [VP_GAP] = { "gap", 0, 10, 0 },
};

const char *options_workload(uint32_t workload)
{
    return workloads[workload].name;
}

static int parse_memory(const char *text, uint64_t *ret, struct vt_err *err)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (end == text || *text == '-' || (*end && (!shift || end[1])) || v > VP_RAM_MAX ||
        (v << shift) < MEMORY_MIN || (v << shift) > VP_RAM_MAX || ((v << shift) & 4095))
        return vt_fail(err, EINVAL, "--memory %s: from 4M to 1G, in whole pages", text);
    *ret = v << shift;
    return 0;
}

/* "0,2-3": in that order, as vCPUs are dealt out to them. */
static int parse_cpus(const char *text, struct vmm_config *c, struct vt_err *err)
{
    const char *at = text;
    c->nr_cpus = 0;
    do {
        char *end;
        unsigned long from = strtoul(at, &end, 10), to = from;
        bool good = end != at && *at != '-' && *at != '+';
        if (good && *end == '-') {
            at = end + 1;
            to = strtoul(at, &end, 10);
            good = end != at && *at != '-' && *at != '+';
        }
        if (!good || from > to || to >= CPU_SETSIZE || (*end && *end != ',') || (*end && !end[1]) ||
            c->nr_cpus + (to - from) >= VMM_MAX_VCPUS)
            return vt_fail(err, EINVAL, "--cpu %s: a list of CPUs is wanted, like 1 or 0,2-3", text);
        while (from <= to)
            c->cpus[c->nr_cpus++] = (unsigned)from++;
        at = *end ? end + 1 : end;
    } while (*at);
    return 0;
}

static int parse_workload(const char *text, uint32_t *ret, struct vt_err *err)
{
    for (uint32_t i = 0; i < VP_NR_WORKLOADS; i++) {
        if (strcmp(text, workloads[i].name) == 0) {
            *ret = i;
            return 0;
        }
    }
    return vt_fail(err, EINVAL, "--workload %s: it must be spin, idle, io, mix or gap", text);
}

static int parse_name(const char *text, struct vmm_config *c, struct vt_err *err)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '/')
            return vt_fail(err, EINVAL, "--name: printable characters without spaces and slashes");
    if (n == 0 || n >= sizeof(c->name))
        return vt_fail(err, EINVAL, "--name: 1 to %zu characters", sizeof(c->name) - 1);
    memset(c->name, 0, sizeof(c->name));
    memcpy(c->name, text, n);
    return 0;
}

/* Numeric options: where they go and in which unit. */
struct numeric {
    int option;
    double low, high, scale;
    size_t offset; /* of a uint64_t in struct vmm_config */
};
#define PARAM(field) (offsetof(struct vmm_config, params) + offsetof(struct vp_params, field))
static const struct numeric numerics[] = {
    { OPT_WORK, 1, 1e18, 1, PARAM(work) },
    { OPT_SECONDS, 0.001, 1e6, SECOND_NS, PARAM(duration_ns) },
    { OPT_REPEAT, 1, 1e6, 1, PARAM(repeat) },
    { OPT_SERVICE, 0, 1e7, 1e3, offsetof(struct vmm_config, service_ns) },
    { OPT_BURST, 1, 1e9, 1e3, PARAM(burst_ns) },
    { OPT_SLEEP, 1, 1e9, 1e3, PARAM(sleep_ns) },
    { OPT_GAP, 1, 1e7, 1e3, PARAM(gap_ns) },
};

static int parse_numeric(int option, const char *name, const char *text, struct vmm_config *c,
                         struct vt_err *err)
{
    for (size_t i = 0; i < sizeof(numerics) / sizeof(*numerics); i++) {
        const struct numeric *n = &numerics[i];
        double v = 0;
        if (n->option != option)
            continue;
        int rc = vt_parse_number(name, text, n->low, n->high, &v, err);
        uint64_t value = (uint64_t)(v * n->scale + 0.5);
        if (rc == 0)
            memcpy((char *)c + n->offset, &value, sizeof(value));
        return rc;
    }
    return vt_fail(err, EINVAL, "--%s: not handled", name);
}

static int parse_rate(const char *name, const char *text, double high, uint64_t *ret_ns, struct vt_err *err)
{
    double hz = 0;
    int rc = vt_parse_number(name, text, 0, high, &hz, err);
    if (rc == 0 && hz != 0 && hz < 0.001)
        rc = vt_fail(err, EINVAL, "--%s %s: 0, or at least 0.001", name, text);
    if (rc == 0)
        *ret_ns = hz != 0 ? (uint64_t)(SECOND_NS / hz + 0.5) : 0;
    return rc;
}

static int parse_count(const char *name, const char *text, double low, double high, unsigned *ret,
                       struct vt_err *err)
{
    double v = 0;
    int rc = vt_parse_number(name, text, low, high, &v, err);
    if (rc == 0 && v != (double)(unsigned)v)
        rc = vt_fail(err, EINVAL, "--%s %s: a whole number is wanted", name, text);
    if (rc == 0)
        *ret = (unsigned)v;
    return rc;
}

static int parse_one(int option, const char *name, const char *text, struct run_options *o,
                     struct vt_err *err)
{
    struct vmm_config *c = &o->config;
    unsigned n = 0;
    int rc;
    switch (option) {
    case OPT_NAME:
        return parse_name(text, c, err);
    case OPT_VCPUS:
        return parse_count(name, text, 1, VMM_MAX_VCPUS, &c->nr_vcpus, err);
    case OPT_MEMORY:
        return parse_memory(text, &c->memory, err);
    case OPT_CPU:
        return parse_cpus(text, c, err);
    case OPT_WORKLOAD:
        return parse_workload(text, &c->params.workload, err);
    case OPT_TICK:
        rc = parse_rate(name, text, 1000, &c->params.tick_ns, err);
        if (rc == 0 && c->params.tick_ns > UINT64_C(4000000000))
            rc = vt_fail(err, EINVAL, "--tick %s: 0, or 0.25 to 1000", text);
        return rc;
    case OPT_LOG_HZ:
        return parse_rate(name, text, 10000, &c->params.log_ns, err);
    case OPT_IO_KIND:
        if (strcmp(text, "pio") != 0 && strcmp(text, "mmio") != 0)
            return vt_fail(err, EINVAL, "--io-kind %s: it must be pio or mmio", text);
        c->params.io_kind = text[0] == 'm' ? VP_IO_MMIO : VP_IO_PIO;
        return 0;
    case OPT_START_FD:
    case OPT_READY_FD:
        rc = parse_count(name, text, 0, 1 << 20, &n, err);
        *(option == OPT_START_FD ? &c->start_fd : &c->ready_fd) = (int)n;
        return rc;
    case OPT_HOSTILE:
        return parse_count(name, text, 1, HOSTILE_WAYS, &c->params.hostile, err);
    case OPT_AGENT:
        c->agent = text;
        return 0;
    case OPT_BARE:
        o->bare = true;
        return 0;
    case OPT_JSON:
        o->json = true;
        return 0;
    case OPT_STATS:
        o->stats = true;
        return 0;
    case OPT_HELP:
        o->help = true;
        return 0;
    default:
        return parse_numeric(option, name, text, c, err);
    }
}

static int complete(struct run_options *o, bool tick_given, struct vt_err *err)
{
    struct vmm_config *c = &o->config;
    const struct workload *w = &workloads[c->params.workload];
    if (!tick_given && w->tick_hz)
        c->params.tick_ns = (uint64_t)(SECOND_NS / w->tick_hz);
    if (!c->params.work && !c->params.duration_ns) {
        c->params.work = w->work;
        c->params.duration_ns = (uint64_t)(w->seconds * SECOND_NS);
    }
    if (c->params.workload == VP_IDLE && !c->params.duration_ns)
        return vt_fail(err, EINVAL, "--workload idle has no work to count: give --seconds");
    uint64_t least = VP_AREAS + (uint64_t)c->nr_vcpus * VP_AREA_SIZE;
    if (c->memory < least)
        return vt_fail(err, EINVAL, "--memory: %u vCPUs need at least %lluM", c->nr_vcpus,
                       (unsigned long long)(least + 0xfffff) >> 20);
    if (o->bare && c->params.hostile)
        return vt_fail(err, EINVAL, "--hostile abuses a device, and --bare has none");
    return 0;
}

int options_parse(int argc, char **argv, struct run_options *o, struct vt_err *err)
{
    bool tick_given = false;
    int option, index = 0;

    *o = (struct run_options){ .config = { .name = "guest",
                                           .nr_vcpus = 1,
                                           .memory = UINT64_C(8) << 20,
                                           .start_fd = -1,
                                           .ready_fd = -1,
                                           .agent = getenv("VTIME_AGENT") } };
    o->config.params.repeat = 1;
    o->config.params.log_ns = 100000000;
    o->config.params.burst_ns = 2000000;
    o->config.params.sleep_ns = 8000000;
    o->config.params.gap_ns = 100000;
    o->config.params.apic_ns = 1;
    err->text[0] = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == '?')
            return -EINVAL;
        int rc = parse_one(option, long_options[index].name, optarg, o, err);
        if (rc)
            return rc;
        tick_given |= option == OPT_TICK;
    }
    if (optind < argc)
        return vt_fail(err, EINVAL, "'%s' is not understood", argv[optind]);
    return o->help ? 0 : complete(o, tick_given, err);
}

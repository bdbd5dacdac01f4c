/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm-core/payload/app.h"

#include "vmm-core/payload/cpu.h"

#define FOREVER    (~UINT64_C(0))
#define SPIN_CHUNK 8192u /* iterations between two looks at the clock: some 15 us */

static uint64_t to_tsc(const struct vt_app *app, uint64_t ns)
{
    uint64_t khz = app->params->tsc_khz;
    return ns / 1000000 * khz + ns % 1000000 * khz / 1000000;
}

static void read_clocks(struct vt_app *app, struct vtg_clocks *c)
{
    vt_plat_clocks(app, c);
    c->vcpu = app->vcpu;
    c->work_done = app->work_done;
}

static int log_due(const struct vt_app *app, uint64_t now)
{
    return app->log_tsc && now >= app->next_log;
}

static void log_clocks(struct vt_app *app, uint64_t now)
{
    struct vtg_clocks c = { 0 };
    while (app->next_log <= now)
        app->next_log += app->log_tsc;
    read_clocks(app, &c);
    vt_plat_emit(app, VTG_CLOCKS, &c, sizeof(c), 0);
}

static void log_if_due(struct vt_app *app, uint64_t now)
{
    if (log_due(app, now))
        log_clocks(app, now);
}

static void mark(struct vt_app *app, enum vtg_mark_kind kind, const char *name)
{
    struct vtg_mark m = { 0 };
    m.kind = kind;
    m.id = app->vcpu + 1;
    for (unsigned i = 0; i < VTG_NAME_LEN && name[i]; i++)
        m.name[i] = name[i];
    read_clocks(app, &m.clocks);
    vt_plat_emit(app, VTG_MARK, &m, sizeof(m), 1);
}

static int finished(struct vt_app *app, uint64_t now)
{
    return now >= app->deadline || app->work_done >= app->work_end || vt_plat_stop(app);
}

/* n iterations of a chain of dependent shifts: registers only, no memory, no branch but the loop's. */
__attribute__((noinline, aligned(64))) static uint64_t churn(uint64_t x, uint64_t n)
{
    while (n--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}

static void churn_chunk(struct vt_app *app)
{
    uint64_t n = SPIN_CHUNK;
    if (app->work_end - app->work_done < n)
        n = app->work_end - app->work_done;
    app->sink = churn(app->sink, n);
    app->work_done += n;
}

static void spin(struct vt_app *app)
{
    uint64_t now = cpu_tsc();
    while (!finished(app, now)) {
        churn_chunk(app);
        now = cpu_tsc();
        log_if_due(app, now);
    }
}

/* The earliest of what the workload waits for, its deadline and the next log. */
static uint64_t earliest(const struct vt_app *app, uint64_t until)
{
    if (until > app->deadline)
        until = app->deadline;
    return app->log_tsc && app->next_log < until ? app->next_log : until;
}

static void idle(struct vt_app *app)
{
    uint64_t now = cpu_tsc();
    while (!finished(app, now)) {
        vt_plat_sleep(app, earliest(app, FOREVER));
        now = cpu_tsc();
        log_if_due(app, now);
    }
}

static void io(struct vt_app *app)
{
    uint64_t now = cpu_tsc();
    while (!finished(app, now)) {
        vt_plat_io(app);
        app->work_done++;
        now = cpu_tsc();
        log_if_due(app, now);
    }
}

/* A unit is an iteration, as for spin; the deadline counts in bursts too. */
static void mix(struct vt_app *app)
{
    uint64_t burst = to_tsc(app, app->params->burst_ns), pause = to_tsc(app, app->params->sleep_ns);
    uint64_t now = cpu_tsc();
    while (!finished(app, now)) {
        uint64_t end = now + burst;
        while (now < end && !finished(app, now)) {
            churn_chunk(app);
            now = cpu_tsc();
            log_if_due(app, now);
        }
        end = now + pause;
        while (now < end && !finished(app, now)) {
            vt_plat_sleep(app, earliest(app, end));
            now = cpu_tsc();
            log_if_due(app, now);
        }
    }
}

static void gap_seen(struct vtg_gaps *g, uint64_t at, uint64_t len)
{
    if (g->nr == VTG_GAPS_MAX) {
        for (unsigned i = 1; i < VTG_GAPS_MAX; i++)
            g->gaps[i - 1] = g->gaps[i];
        g->nr--;
    }
    g->gaps[g->nr].at = at;
    g->gaps[g->nr++].len = len;
    g->count++;
    g->sum += len;
    if (len > g->longest)
        g->longest = len;
}

/*
 * Emitting takes time of its own, which is no gap.  But the CPU may be lost in
 * there too: what goes beyond the shortest emission so far is a gap, if it
 * exceeds the threshold.
 */
static uint64_t gap_emit(struct vt_app *app, struct vtg_gaps *g, uint64_t now, uint64_t *usual)
{
    log_clocks(app, now);
    vt_plat_emit(app, VTG_GAPS, g, sizeof(*g), 0);
    g->nr = 0;
    uint64_t after = cpu_tsc(), took = after - now;
    if (took < *usual)
        *usual = took;
    if (took - *usual > g->threshold)
        gap_seen(g, now, took - *usual);
    return after;
}

/* A unit is a reading of the TSC. */
static void gap(struct vt_app *app)
{
    struct vtg_gaps g = { 0 };
    g.vcpu = app->vcpu;
    g.threshold = to_tsc(app, app->params->gap_ns);
    uint64_t usual = FOREVER, last = cpu_tsc();
    for (;;) {
        uint64_t now = cpu_tsc();
        app->work_done++;
        if (now - last > g.threshold)
            gap_seen(&g, last, now - last);
        if (log_due(app, now))
            now = gap_emit(app, &g, now, &usual);
        if (finished(app, now))
            break;
        last = now;
    }
    vt_plat_emit(app, VTG_GAPS, &g, sizeof(g), 1);
}

static const struct {
    const char *name;
    void (*run)(struct vt_app *app);
} workloads[VP_NR_WORKLOADS] = {
    [VP_SPIN] = { "spin", spin }, [VP_IDLE] = { "idle", idle }, [VP_IO] = { "io", io },
    [VP_MIX] = { "mix", mix },    [VP_GAP] = { "gap", gap },
};

static void run_once(struct vt_app *app, uint32_t which)
{
    const struct vp_params *p = app->params;
    mark(app, VTG_MARK_BEGIN, workloads[which].name);
    uint64_t now = cpu_tsc();
    app->log_tsc = to_tsc(app, p->log_ns);
    app->next_log = now + app->log_tsc;
    app->deadline = p->duration_ns ? now + to_tsc(app, p->duration_ns) : FOREVER;
    app->work_end = p->work ? app->work_done + p->work : FOREVER;
    workloads[which].run(app);
    mark(app, VTG_MARK_END, workloads[which].name);
}

void vt_app_run(struct vt_app *app)
{
    const struct vp_params *p = app->params;
    uint32_t which = p->workload < VP_NR_WORKLOADS ? p->workload : VP_SPIN;
    app->sink = 0x9e3779b97f4a7c15 + app->vcpu;
    uint64_t i = 0;
    do
        run_once(app, which);
    while (++i < p->repeat && !vt_plat_stop(app));
}

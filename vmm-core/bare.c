/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bare-metal baseline: the payload's application part in ordinary threads. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm-core/clock.h"
#include "vmm-core/payload/app.h"
#include "vmm-core/payload/cpu.h"
#include "vmm-core/vmm.h"
#include "vt/frame_encode.h"

#define CALIBRATE_NS 20000000
#define SECOND_NS    1000000000u

struct bare {
    const struct vmm_config *config;
    struct vp_params params;
    struct outlet *outlet;
    pthread_mutex_t lock; /* seq, running; frames leave in the order of seq */
    pthread_cond_t gate;
    bool gate_open;
    uint32_t seq;
    unsigned running;
    int done;
    atomic_bool stop;
    struct bare_thread {
        struct bare *bare;
        unsigned index;
        pthread_t thread;
        bool started;
    } threads[VMM_MAX_VCPUS];
};

void vt_plat_clocks(struct vt_app *app, struct vtg_clocks *c)
{
    (void)app;
    c->have = VTG_HAVE_TSC | VTG_HAVE_MONOTONIC | VTG_HAVE_CPUTIME;
    c->tsc_before = cpu_tsc();
    c->monotonic_ns = vmm_now_ns();
    c->cputime_ns = vmm_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    c->tsc_after = cpu_tsc();
}

static void emit(struct bare *b, enum vtg_type type, const void *payload, uint32_t len)
{
    uint8_t frame[sizeof(struct vtg_frame) + VTG_MAX_PAYLOAD];
    pthread_mutex_lock(&b->lock);
    struct vtg_frame f = vtg_frame_header(type, b->seq++, payload, len);
    memcpy(frame, &f, sizeof(f));
    memcpy(frame + sizeof(f), payload, len);
    outlet_put(b->outlet, frame, sizeof(f) + len);
    pthread_mutex_unlock(&b->lock);
}

void vt_plat_emit(struct vt_app *app, enum vtg_type type, const void *payload, uint32_t len, int important)
{
    struct bare_thread *t = app->platform;
    (void)important;
    emit(t->bare, type, payload, len);
}

void vt_plat_sleep(struct vt_app *app, uint64_t until)
{
    struct bare_thread *t = app->platform;
    uint64_t now = cpu_tsc();
    /* a second at most: then the workload looks whether it is to stop */
    while (now < until && !atomic_load(&t->bare->stop)) {
        uint64_t ticks = until - now, second = app->params->tsc_khz * 1000;
        uint64_t ns = ticks < second ? ticks * 1000000 / app->params->tsc_khz : SECOND_NS;
        struct timespec span = { .tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS) };
        nanosleep(&span, NULL);
        now = cpu_tsc();
    }
}

void vt_plat_io(struct vt_app *app)
{
    struct bare_thread *t = app->platform;
    thread_busy(t->bare->config->service_ns);
}

int vt_plat_stop(struct vt_app *app)
{
    struct bare_thread *t = app->platform;
    return atomic_load_explicit(&t->bare->stop, memory_order_relaxed);
}

static void *bare_main(void *context)
{
    struct bare_thread *t = context;
    struct bare *b = t->bare;
    struct vt_app app = { .params = &b->params, .platform = t, .vcpu = t->index };
    char name[16];

    thread_name(name, b->config->name, "bare", t->index);
    pthread_setname_np(pthread_self(), name);
    b->outlet->vcpus[t->index].tid = gettid();
    pthread_mutex_lock(&b->lock);
    while (!b->gate_open)
        pthread_cond_wait(&b->gate, &b->lock);
    pthread_mutex_unlock(&b->lock);
    vt_app_run(&app);
    pthread_mutex_lock(&b->lock);
    bool last = --b->running == 0;
    pthread_mutex_unlock(&b->lock);
    if (last)
        eventfd_write(b->done, 1);
    return NULL;
}

/* TSC and clock together: the tightest of some readings. */
static uint64_t pair(uint64_t *ret_tsc)
{
    uint64_t best = ~UINT64_C(0), ns = 0;
    for (int i = 0; i < 16; i++) {
        uint64_t before = cpu_tsc(), now = vmm_now_ns(), after = cpu_tsc();
        if (after - before < best) {
            best = after - before;
            *ret_tsc = before + best / 2;
            ns = now;
        }
    }
    return ns;
}

static uint64_t measure_tsc_khz(void)
{
    struct timespec span = { .tv_nsec = CALIBRATE_NS };
    uint64_t tsc0, tsc1, ns0 = pair(&tsc0);
    nanosleep(&span, NULL);
    uint64_t ns1 = pair(&tsc1);
    return (tsc1 - tsc0) * 1000000 / (ns1 - ns0);
}

static void say_hello(struct bare *b)
{
    struct vtg_hello hello = { .kind = VTG_KIND_BARE, .nr_vcpus = b->config->nr_vcpus };
    memcpy(hello.name, b->config->name, sizeof(hello.name));
    emit(b, VTG_HELLO, &hello, sizeof(hello));
}

static void open_gate(struct bare *b)
{
    pthread_mutex_lock(&b->lock);
    b->gate_open = true;
    pthread_cond_broadcast(&b->gate);
    pthread_mutex_unlock(&b->lock);
}

static int start_all(struct bare *b, struct vt_err *err)
{
    for (unsigned i = 0; i < b->config->nr_vcpus; i++) {
        struct bare_thread *t = &b->threads[i];
        t->bare = b;
        t->index = i;
        pthread_mutex_lock(&b->lock);
        b->running++;
        pthread_mutex_unlock(&b->lock);
        int rc = thread_start(&t->thread, b->config, i, bare_main, t, err);
        if (rc)
            return rc;
        t->started = true;
    }
    return 0;
}

static void stop_all(struct bare *b)
{
    atomic_store(&b->stop, true);
    open_gate(b);
    for (unsigned i = 0; i < b->config->nr_vcpus; i++)
        if (b->threads[i].started)
            pthread_join(b->threads[i].thread, NULL);
}

int bare_run(const struct vmm_config *config, struct outlet *outlet, uint64_t *ret_tsc_khz,
             enum vmm_end *ret_end, struct vt_err *err)
{
    struct bare *b = calloc(1, sizeof(*b));
    int signalled = 0, signals = machine_signals();

    if (!b || signals < 0)
        return vt_fail(err, ENOMEM, "out of memory");
    b->config = config;
    b->params = config->params;
    b->params.tsc_khz = *ret_tsc_khz = measure_tsc_khz();
    b->outlet = outlet;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->gate, NULL);
    b->done = eventfd(0, EFD_CLOEXEC);
    int rc = b->done < 0 ? vt_fail(err, errno, "eventfd: %s", strerror(errno)) : start_all(b, err);
    if (rc == 0) {
        signalled = machine_wait_start(config, signals);
        if (!signalled) {
            say_hello(b);
            open_gate(b);
            signalled = machine_wait_end(outlet, b->done, signals);
        }
    }
    stop_all(b);
    *ret_end = signalled ? VMM_END_SIGNAL : VMM_END_FINISHED;
    if (b->done >= 0)
        close(b->done);
    close(signals);
    free(b);
    return rc;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The application's platform inside the guest: CPL 3, without a library. */
#include "vmm-core/payload/app.h"
#include "vmm-core/payload/cpu.h"
#include "vmm-core/payload/hostile.h"
#include "vt/frame_encode.h"

#define APIC_TIMER_COUNT (VP_APIC + 0x380)
#define RING_SIZE        16384u

void guest_main(uint32_t index);

/* One ring for all vCPUs, as the frames' seq counts one channel. */
static struct {
    struct vtg_ring header;
    uint8_t pad[4096 - sizeof(struct vtg_ring)];
    uint8_t data[RING_SIZE];
} ring __attribute__((aligned(4096)));
static struct {
    volatile uint32_t lock;
    uint32_t seq;
    uint32_t registered;
} channel;

/* The compiler calls these on its own account. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
    return to;
}

static struct vp_pcpu *this_cpu(void)
{
    return (struct vp_pcpu *)VP_PCPU_VA;
}

/*
 * Charges the time since the last charge.  The tick may interrupt anywhere:
 * the exchange makes all charges telescope to now - begin, whichever comes
 * first (a difference may be "negative": sums are modulo 2^64).
 */
static void charge(void)
{
    struct vp_pcpu *cpu = this_cpu();
    uint64_t now = cpu_tsc(), last = now;
    __asm__ volatile("xchg %0, %1" : "+r"(last), "+m"(cpu->last)::"memory");
    __asm__ volatile("add %1, %0" : "+m"(cpu->charged[cpu->idle]) : "r"(now - last) : "memory", "cc");
}

static uint64_t scale(uint64_t ticks, uint32_t mul, int shift)
{
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (uint64_t)((unsigned __int128)ticks * mul >> 32);
}

static void read_kvmclock(struct vtg_clocks *c)
{
    const volatile __typeof__(this_cpu()->pvclock) *pv = &this_cpu()->pvclock;
    uint32_t version;
    do {
        version = pv->version & ~1u;
        __asm__ volatile("" ::: "memory");
        c->pv_tsc_timestamp = pv->tsc_timestamp;
        c->pv_system_time = pv->system_time;
        c->pv_mul = pv->mul;
        c->pv_shift = pv->shift;
        c->kvmclock_ns = c->pv_system_time + scale(cpu_tsc() - c->pv_tsc_timestamp, c->pv_mul, c->pv_shift);
        __asm__ volatile("" ::: "memory");
    } while (version != pv->version);
}

static uint64_t read_steal(void)
{
    const volatile __typeof__(this_cpu()->steal) *s = &this_cpu()->steal;
    uint32_t version;
    uint64_t steal;
    do {
        version = s->version & ~1u;
        __asm__ volatile("" ::: "memory");
        steal = s->steal;
        __asm__ volatile("" ::: "memory");
    } while (version != s->version);
    return steal;
}

void vt_plat_clocks(struct vt_app *app, struct vtg_clocks *c)
{
    const struct vp_pcpu *cpu = this_cpu();
    c->have = cpu->features | VTG_HAVE_TSC;
    c->tsc_before = cpu_tsc();
    if (c->have & VTG_HAVE_KVMCLOCK)
        read_kvmclock(c);
    if (c->have & VTG_HAVE_STEAL)
        c->steal_ns = read_steal();
    charge();
    if (app->params->tick_ns) {
        c->have |= VTG_HAVE_TICKS;
        c->ticks = *(const volatile uint64_t *)&cpu->ticks;
        c->tick_ns = app->params->tick_ns;
    }
    if (c->have & VTG_HAVE_KVMCLOCK) {
        c->have |= VTG_HAVE_CHARGED;
        c->charged_ns = scale(*(const volatile uint64_t *)&cpu->charged[0], c->pv_mul, c->pv_shift);
    }
    c->tsc_after = cpu_tsc();
}

static void ring_put(uint32_t at, const void *data, uint32_t n)
{
    const uint8_t *from = data;
    at &= RING_SIZE - 1;
    uint32_t first = n < RING_SIZE - at ? n : RING_SIZE - at;
    memcpy(ring.data + at, from, first);
    memcpy(ring.data, from + first, n - first);
}

static void ring_frame(enum vtg_type type, const void *payload, uint32_t len)
{
    struct vtg_frame f = vtg_frame_header(type, channel.seq++, payload, len);
    uint32_t head = ring.header.head, used = head - ring.header.tail;
    if (used > RING_SIZE || RING_SIZE - used < sizeof(f) + len) {
        ring.header.dropped++;
        return;
    }
    ring_put(head, &f, sizeof(f));
    ring_put(head + (uint32_t)sizeof(f), payload, len);
    __asm__ volatile("" ::: "memory");
    ring.header.head = head + (uint32_t)sizeof(f) + len;
}

/* The first to have something to say opens the channel. */
static void ring_open(const struct vp_params *p)
{
    struct vtg_hello hello = { 0 };
    ring.header.magic = VTG_RING_MAGIC;
    ring.header.version = VTG_VERSION;
    ring.header.size = RING_SIZE;
    cpu_outl(VTG_PORT_RING, (uint32_t)((uintptr_t)&ring >> 12));
    hello.kind = VTG_KIND_PAYLOAD;
    hello.nr_vcpus = p->nr_vcpus;
    hello.tick_ns = p->tick_ns;
    memcpy(hello.name, p->name, sizeof(hello.name));
    ring_frame(VTG_HELLO, &hello, sizeof(hello));
    channel.registered = 1;
}

/* A vCPU must not wait for one that the host has set aside, unless it has to. */
static int channel_lock(int wait)
{
    while (__atomic_exchange_n(&channel.lock, 1, __ATOMIC_ACQUIRE)) {
        if (!wait)
            return 0;
        __builtin_ia32_pause();
    }
    return 1;
}

void vt_plat_emit(struct vt_app *app, enum vtg_type type, const void *payload, uint32_t len, int important)
{
    if (!channel_lock(important))
        return; /* no seq was taken: the log is a little thinner, nothing is lost */
    if (!channel.registered)
        ring_open(app->params);
    ring_frame(type, payload, len);
    __atomic_store_n(&channel.lock, 0, __ATOMIC_RELEASE);
    cpu_outl(VTG_PORT_DOORBELL, 0);
}

/* Time that passes here is charged to idle. */
static void wait_for_interrupt(void)
{
    struct vp_pcpu *cpu = this_cpu();
    charge();
    *(volatile uint64_t *)&cpu->idle = 1;
    __asm__ volatile("int3" ::: "rax", "memory", "cc");
    charge();
    *(volatile uint64_t *)&cpu->idle = 0;
}

/* LAPIC timer ticks until then, in what its 32 bits hold. */
static uint32_t apic_count(const struct vp_params *p, uint64_t ticks)
{
    uint64_t limit = UINT64_C(1000000) * p->tsc_khz / 1000; /* a second of TSC */
    if (ticks > limit)
        ticks = limit;
    uint64_t count = ticks * 1000000 / p->tsc_khz / p->apic_ns;
    return count ? (uint32_t)count : 1;
}

void vt_plat_sleep(struct vt_app *app, uint64_t until)
{
    const struct vp_params *p = app->params;
    struct vp_pcpu *cpu = this_cpu();
    for (;;) {
        cpu->seen = *(volatile uint64_t *)&cpu->ticks;
        uint64_t now = cpu_tsc();
        if (now >= until)
            return;
        if (!p->tick_ns)
            cpu_write32(APIC_TIMER_COUNT, apic_count(p, until - now));
        wait_for_interrupt();
    }
}

void vt_plat_io(struct vt_app *app)
{
    if (app->params->io_kind == VP_IO_MMIO)
        cpu_write32(VP_WORK_MMIO, 0);
    else
        cpu_outl(VTG_PORT_WORK, 0);
}

int vt_plat_stop(struct vt_app *app)
{
    (void)app;
    return 0;
}

void guest_main(uint32_t index)
{
    struct vt_app app = { 0 };
    app.params = (const struct vp_params *)VP_PARAMS;
    app.vcpu = index;
    if (app.params->hostile && index == 0)
        hostile_ring(app.params->hostile, &ring, app.params->memory);
    vt_app_run(&app);
    cpu_outl(VTG_PORT_EXIT, 0);
    for (;;)
        wait_for_interrupt();
}

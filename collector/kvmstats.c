/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvmstats.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostinfo.h"

#define LIVES_BYTES (sizeof(struct vt_kvm_life) * VT_MAX_SLOTS)
/* Our clock and the vCPU's are the same; a reading takes some microseconds. */
#define SLACK_NS UINT64_C(1000000)

/* ---- what there is ---- */

static void unit_of(const struct kvm_stats_desc *d, char ret[VT_KVM_STAT_UNIT_LEN])
{
    static const struct {
        uint32_t unit;
        int16_t exponent;
        const char *name;
    } names[] = {
        { KVM_STATS_UNIT_NONE, 0, "" },         { KVM_STATS_UNIT_BYTES, 0, "bytes" },
        { KVM_STATS_UNIT_SECONDS, -9, "ns" },   { KVM_STATS_UNIT_SECONDS, -6, "us" },
        { KVM_STATS_UNIT_SECONDS, -3, "ms" },   { KVM_STATS_UNIT_SECONDS, 0, "s" },
        { KVM_STATS_UNIT_CYCLES, 0, "cycles" },
    };
    const uint32_t unit = d->flags & KVM_STATS_UNIT_MASK;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (names[i].unit == unit && names[i].exponent == d->exponent) {
            snprintf(ret, VT_KVM_STAT_UNIT_LEN, "%s", names[i].name);
            return;
        }
    snprintf(ret, VT_KVM_STAT_UNIT_LEN, "%u*%d^%d", unit >> KVM_STATS_UNIT_SHIFT,
             (d->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2 ? 2 : 10, d->exponent);
}

static bool counts_up(const struct kvm_stats_desc *d)
{
    return (d->flags & KVM_STATS_TYPE_MASK) == KVM_STATS_TYPE_CUMULATIVE && d->size == 1;
}

static void add_stat(struct vt_kvm_stat_list *list, const struct kvm_stats_desc *d)
{
    struct vt_kvm_stat *stat = &list->of[list->nr];

    memset(stat, 0, sizeof(*stat));
    stat->id = (int64_t)list->nr + 1;
    snprintf(stat->name, sizeof(stat->name), "%s", d->name);
    unit_of(d, stat->unit);
    list->at[list->nr++] = d->offset;
}

/* A descriptor is followed by its name, of a length that the header tells (KVM_STATS_NAME_SIZE: 48). */
static int read_descriptors(int fd, struct vt_kvm_stat_list *list)
{
    struct kvm_stats_header h;

    if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || !h.name_size || h.name_size > VT_KVM_STAT_NAME_LEN)
        return -EOPNOTSUPP;
    const size_t bytes = sizeof(struct kvm_stats_desc) + h.name_size;
    struct kvm_stats_desc *d = calloc(1, bytes + 1); /* and the end of the name */
    if (!d)
        return -ENOMEM;
    for (uint32_t i = 0; i < h.num_desc && list->nr < VT_KVM_STATS_MAX; i++) {
        if (pread(fd, d, bytes, (off_t)(h.desc_offset + i * bytes)) != (ssize_t)bytes)
            break;
        if (counts_up(d))
            add_stat(list, d);
    }
    free(d);
    return list->nr ? 0 : -EOPNOTSUPP;
}

int vt_kvm_stats_describe(int vcpu_fd, struct vt_kvm_stat_list *ret)
{
    const int fd = ioctl(vcpu_fd, KVM_GET_STATS_FD, 0);
    int e;

    ret->nr = 0;
    if (fd < 0)
        return errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : -errno;
    e = read_descriptors(fd, ret);
    close(fd);
    return e;
}

/* ---- sums ---- */

void vt_kvm_sums_begin(struct vt_kvm_sums *s, uint32_t generation, host_ns at,
                       const uint64_t first[VT_KVM_STATS_MAX])
{
    memset(s->sum, 0, sizeof(s->sum));
    memcpy(s->last, first, sizeof(s->last));
    s->generation = generation;
    s->at = at;
}

static uint64_t growth(uint64_t last, uint64_t now)
{
    return now >= last ? now - last : now;
}

bool vt_kvm_sums_add(struct vt_kvm_sums *s, size_t nr, const uint64_t now[VT_KVM_STATS_MAX], host_ns at)
{
    const uint64_t most = (at.v > s->at.v ? at.v - s->at.v : 0) + SLACK_NS;

    for (size_t i = 0; i < nr; i++)
        if (growth(s->last[i], now[i]) > most)
            return false;
    for (size_t i = 0; i < nr; i++) {
        s->sum[i] += growth(s->last[i], now[i]);
        s->last[i] = now[i];
    }
    s->at = at;
    return true;
}

/* ---- reading ---- */

struct vt_kvm_reader {
    size_t nr;
    struct vt_kvm_source source;
    const struct vt_kvm_life *lives; /* by slot */
    struct vt_kvm_sums **sums;       /* by slot; NULL: it had no vCPU yet */
};

/* 1: source.now has them; 0: the vCPU is no more; -errno. */
static int run_reader(const struct vt_kvm_source *source, uint32_t slot, uint32_t generation)
{
    const uint64_t args[2] = { slot, generation };
    struct bpf_test_run_opts o = { .sz = sizeof(o), .ctx_in = args, .ctx_size_in = sizeof(args) };

    return bpf_prog_test_run_opts(source->reader_fd, &o) ? -errno : (int)o.retval;
}

struct vt_kvm_reader *vt_kvm_reader_new(const struct vt_kvm_stat_list *list,
                                        const struct vt_kvm_source *source)
{
    struct vt_kvm_reader *r;

    if (!list->nr || run_reader(source, VT_MAX_SLOTS, 0) < 0 || !(r = calloc(1, sizeof(*r))))
        return NULL;
    r->nr = list->nr;
    r->source = *source;
    r->sums = calloc(VT_MAX_SLOTS, sizeof(*r->sums));
    r->lives = mmap(NULL, LIVES_BYTES, PROT_READ, MAP_SHARED, source->lives_fd, 0);
    if (r->lives == MAP_FAILED)
        r->lives = NULL;
    if (!r->sums || !r->lives) {
        vt_kvm_reader_free(r);
        return NULL;
    }
    return r;
}

void vt_kvm_reader_free(struct vt_kvm_reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->sums && i < VT_MAX_SLOTS; i++)
        free(r->sums[i]);
    free(r->sums);
    if (r->lives)
        munmap((void *)(uintptr_t)r->lives, LIVES_BYTES);
    free(r);
}

/* What the vCPU has now, or had when its life in this thread ended; NULL: that is not to be had. */
static const uint64_t *reading(const struct vt_kvm_reader *r, uint32_t slot, const struct vt_slot *s)
{
    const struct vt_kvm_life *life = &r->lives[slot];

    if (__atomic_load_n(&life->ended, __ATOMIC_ACQUIRE) == s->generation)
        return life->end;
    return run_reader(&r->source, slot, s->generation) == 1 ? r->source.now : NULL;
}

/* The slot's sums, begun for this life if they are another's. NULL: out of memory, or no reading at all. */
static struct vt_kvm_sums *sums_of(struct vt_kvm_reader *r, uint32_t slot, const struct vt_slot *s,
                                   const uint64_t *now)
{
    const struct vt_kvm_life *life = &r->lives[slot];
    const bool begun = __atomic_load_n(&life->begun, __ATOMIC_ACQUIRE) == s->generation;

    if (!r->sums[slot] && !(r->sums[slot] = calloc(1, sizeof(*r->sums[slot]))))
        return NULL;
    if (r->sums[slot]->generation == s->generation)
        return r->sums[slot];
    if (!begun && !now)
        return NULL;
    const host_ns born = { s->born };
    vt_kvm_sums_begin(r->sums[slot], s->generation, begun ? born : vt_host_now(), begun ? life->birth : now);
    return r->sums[slot];
}

struct vt_kvm_look vt_kvm_reader_look(struct vt_kvm_reader *r, uint32_t slot, const struct vt_slot *s)
{
    const uint64_t *now = reading(r, slot, s);
    struct vt_kvm_sums *sums = sums_of(r, slot, s, now);
    struct vt_kvm_look look = { .sums = sums ? sums->sum : NULL };

    look.is_new = sums && now && vt_kvm_sums_add(sums, r->nr, now, vt_host_now());
    return look;
}

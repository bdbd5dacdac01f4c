/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "roster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostinfo.h"

/* What this roster knows of a slot's present life. */
struct seat {
    uint32_t generation;
    int64_t id; /* of the vCPU or helper */
    uint64_t tsc_offset, tsc_ratio;
    bool tsc_known;
};

struct vm {
    uint32_t tgid;
    uint64_t start_ns;
    int64_t id; /* in this recording; 0: not in it yet, known from the one before */
    enum vt_vm_kind kind;
    enum vt_vm_found found;
    char name[VT_VM_NAME_LEN];
};

struct vt_roster {
    struct vt_store *store;
    struct seat *seats; /* VT_MAX_SLOTS */
    struct vm *vms;
    size_t nr_vms, room;
    int64_t last_vm, last_vcpu, last_helper;
    const struct vt_guests *guests; /* NULL: no cgroups */
};

struct vt_roster *vt_roster_new(struct vt_store *store)
{
    struct vt_roster *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->store = store;
    r->seats = calloc(VT_MAX_SLOTS, sizeof(*r->seats));
    if (!r->seats) {
        free(r);
        return NULL;
    }
    return r;
}

struct vt_roster *vt_roster_next(const struct vt_roster *before, struct vt_store *store)
{
    struct vt_roster *r = vt_roster_new(store);

    if (r)
        r->guests = before->guests;
    if (!r || !before->nr_vms)
        return r;
    r->vms = calloc(before->nr_vms, sizeof(*r->vms));
    if (!r->vms) {
        vt_roster_free(r);
        return NULL;
    }
    r->room = before->nr_vms;
    for (size_t i = 0; i < before->nr_vms; i++) {
        if (!before->vms[i].id) /* it isn't heard of any more */
            continue;
        r->vms[r->nr_vms] = before->vms[i];
        r->vms[r->nr_vms++].id = 0;
    }
    return r;
}

void vt_roster_free(struct vt_roster *r)
{
    if (!r)
        return;
    free(r->seats);
    free(r->vms);
    free(r);
}

void vt_roster_name_cgroups(struct vt_roster *r, const struct vt_guests *guests)
{
    r->guests = guests;
}

/* A cgroup has no process: its id is in place of the start. */
static bool is_vm(const struct vm *vm, uint32_t tgid, uint64_t start_ns)
{
    if (vm->tgid != tgid)
        return false;
    return tgid ? vt_same_start(vm->start_ns, start_ns) : vm->start_ns == start_ns; /* 0: a cgroup's id */
}

static void name_vm(const struct vt_roster *r, struct vm *vm, const char *comm)
{
    const char *name = vm->tgid || !r->guests ? NULL : vt_guests_cgroup(r->guests, vm->start_ns);

    if (name)
        memcpy(vm->name, name, strlen(name) + 1);
    else
        vt_vm_name(vm->tgid, comm, vm->name);
}

/* Two VMs of one name are told apart by their pids, cgroups by their ids. */
static void make_unique(const struct vt_roster *r, struct vm *vm)
{
    for (size_t i = 0; i < r->nr_vms; i++)
        if (strcmp(r->vms[i].name, vm->name) == 0) {
            char tail[24];
            int n = snprintf(tail, sizeof(tail), "/%" PRIu64, vm->tgid ? vm->tgid : vm->start_ns);
            size_t keep = strnlen(vm->name, VT_VM_NAME_LEN - 1 - (size_t)n);
            snprintf(vm->name + keep, VT_VM_NAME_LEN - keep, "%s", tail);
            return;
        }
}

/* Into the recording, as it is known now. */
static int64_t put_vm(struct vt_roster *r, struct vm *vm, struct vt_err *err)
{
    struct vt_vm row = {
        .id = vm->id ? vm->id : r->last_vm + 1,
        .kind = vm->kind,
        .tgid = vm->tgid,
        .start_time = { vm->start_ns },
        .found = vm->found,
    };

    memcpy(row.name, vm->name, sizeof(row.name));
    int e = vt_store_put_vm(r->store, &row, err);
    if (e)
        return e;
    if (!vm->id)
        r->last_vm = row.id;
    return vm->id = row.id;
}

/* An agent may have told of it before it was known what it is: like is as a slot of it tells, NULL: none. */
static int64_t enter(struct vt_roster *r, struct vm *vm, const struct vt_slot *like, struct vt_err *err)
{
    if (like &&
        (vm->kind != (enum vt_vm_kind)like->vm_kind || vm->found != (enum vt_vm_found)like->vm_found)) {
        vm->kind = (enum vt_vm_kind)like->vm_kind;
        vm->found = (enum vt_vm_found)like->vm_found;
        return put_vm(r, vm, err);
    }
    return vm->id ? vm->id : put_vm(r, vm, err);
}

static struct vm *find_process(const struct vt_roster *r, uint32_t tgid, uint64_t start_ns)
{
    for (size_t i = r->nr_vms; i-- > 0;)
        if (is_vm(&r->vms[i], tgid, start_ns))
            return &r->vms[i];
    return NULL;
}

static int64_t add_vm(struct vt_roster *r, struct vm *vm, const struct vt_slot *like, struct vt_err *err)
{
    if (r->nr_vms == r->room) {
        size_t room = r->room ? 2 * r->room : 16;
        struct vm *more = realloc(r->vms, room * sizeof(*more));
        if (!more)
            return vt_fail(err, ENOMEM, "out of memory");
        r->vms = more;
        r->room = room;
    }
    make_unique(r, vm);
    int64_t id = enter(r, vm, like, err);
    if (id > 0)
        r->vms[r->nr_vms++] = *vm;
    return id;
}

static int64_t vm_of(struct vt_roster *r, uint32_t tgid, uint64_t start_ns, const char *comm,
                     const struct vt_slot *like, struct vt_err *err)
{
    struct vm *known = find_process(r, tgid, start_ns);
    struct vm vm = { .tgid = tgid, .start_ns = start_ns, .kind = VT_VM_KVM };

    if (known)
        return enter(r, known, like, err);
    name_vm(r, &vm, comm);
    return add_vm(r, &vm, like, err);
}

int64_t vt_roster_guest(struct vt_roster *r, uint32_t tgid, uint64_t start_ns, enum vt_vm_kind kind,
                        const char *name, struct vt_err *err)
{
    struct vm *known = find_process(r, tgid, start_ns);
    struct vm vm = { .tgid = tgid, .start_ns = start_ns, .kind = kind };

    if (known)
        return enter(r, known, NULL, err);
    if (name)
        snprintf(vm.name, sizeof(vm.name), "%s", name);
    else
        vt_vm_name(tgid, "?", vm.name);
    return add_vm(r, &vm, NULL, err);
}

/* Is it called so, also where make_unique() added the pid? */
static bool is_called(const struct vm *vm, const char *name, size_t n)
{
    char tail[16];

    if (strncmp(vm->name, name, n) != 0)
        return false;
    snprintf(tail, sizeof(tail), "/%u", vm->tgid);
    return vm->name[n] == 0 || strcmp(vm->name + n, tail) == 0;
}

static bool is_exactly(const struct vm *vm, const char *name, size_t n)
{
    return is_called(vm, name, n) && vm->name[n] == 0;
}

static bool is_pid(const struct vm *vm, const char *text)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%u", vm->tgid);
    return strcmp(pid, text) == 0;
}

static bool lives(const struct vm *vm)
{
    const uint64_t start = vt_process_start(vm->tgid);

    return start && is_vm(vm, vm->tgid, start);
}

bool vt_roster_find(const struct vt_roster *r, const char *name, struct vt_known_vm *ret)
{
    const size_t n = strlen(name);

    /* another that took the name of one that lives does not get its agent */
    for (size_t i = r->nr_vms; i-- > 0;)
        if ((is_exactly(&r->vms[i], name, n) || is_pid(&r->vms[i], name)) && lives(&r->vms[i]))
            return vt_roster_at(r, i, ret);
    for (size_t i = r->nr_vms; i-- > 0;)
        if (is_called(&r->vms[i], name, n) && lives(&r->vms[i]))
            return vt_roster_at(r, i, ret);
    return false;
}

static bool is_meant(const struct vm *vm, const char *name)
{
    return is_called(vm, name, strlen(name)) || is_pid(vm, name);
}

bool vt_roster_saw(const struct vt_roster *r, const char *name)
{
    for (size_t i = 0; i < r->nr_vms; i++)
        if (r->vms[i].id && is_meant(&r->vms[i], name))
            return true;
    return false;
}

const char *vt_roster_name(const struct vt_roster *r, uint32_t tgid, uint64_t start_ns)
{
    const struct vm *vm = find_process(r, tgid, start_ns);

    return vm ? vm->name : NULL;
}

bool vt_roster_means(const struct vt_roster *r, const char *name, uint32_t tgid, uint64_t start_ns)
{
    const struct vm *vm = find_process(r, tgid, start_ns);

    return vm && is_meant(vm, name);
}

bool vt_roster_at(const struct vt_roster *r, size_t i, struct vt_known_vm *ret)
{
    if (i >= r->nr_vms)
        return false;
    *ret = (struct vt_known_vm){ r->vms[i].tgid, r->vms[i].start_ns, r->vms[i].id };
    return true;
}

const char *vt_roster_namesake(const struct vt_roster *r, int64_t vm, const char *name, size_t n)
{
    const char *other = NULL;

    n = strnlen(name, n);
    for (size_t i = 0; i < r->nr_vms && n; i++)
        if (is_called(&r->vms[i], name, n)) {
            if (r->vms[i].id == vm)
                return NULL;
            other = r->vms[i].name;
        }
    return other;
}

int64_t vt_roster_known(const struct vt_roster *r, uint32_t slot, uint32_t generation)
{
    return r->seats[slot].generation == generation ? r->seats[slot].id : 0;
}

static int64_t enter_vcpu(struct vt_roster *r, int64_t vm, const struct vt_slot *s, struct vt_err *err)
{
    struct vt_vcpu row = {
        .id = r->last_vcpu + 1,
        .vm = vm,
        .index = s->vcpu_id,
        .tid = s->tid,
        .start_time = { s->start_time },
        .born = { s->born },
    };
    int e = vt_store_put_vcpu(r->store, &row, err);

    return e ? e : (r->last_vcpu = row.id);
}

static int64_t enter_helper(struct vt_roster *r, int64_t vm, const struct vt_slot *s, struct vt_err *err)
{
    struct vt_helper row = { r->last_helper + 1, vm, s->tid, { s->start_time }, { s->born }, "" };

    memcpy(row.comm, s->comm, strnlen(s->comm, sizeof(row.comm) - 1));
    int e = vt_store_put_helper(r->store, &row, err);
    return e ? e : (r->last_helper = row.id);
}

int64_t vt_roster_life(struct vt_roster *r, uint32_t slot, const struct vt_slot *s, struct vt_err *err)
{
    struct seat *seat = &r->seats[slot];

    if (seat->generation == s->generation)
        return seat->id;
    int64_t vm = vm_of(r, s->tgid, s->vm_start_time, s->comm, s, err);
    if (vm < 0)
        return vm;
    int64_t id = s->kind == VT_SLOT_HELPER ? enter_helper(r, vm, s, err) : enter_vcpu(r, vm, s, err);
    if (id > 0)
        *seat = (struct seat){ .generation = s->generation, .id = id };
    return id;
}

int64_t vt_roster_process(struct vt_roster *r, uint32_t tgid, uint64_t start_ns, struct vt_err *err)
{
    return vm_of(r, tgid, start_ns, "?", NULL, err);
}

int vt_roster_tsc(struct vt_roster *r, uint32_t slot, const struct vt_slot *s, host_ns at, struct vt_err *err)
{
    struct seat *seat = &r->seats[slot];

    if (!seat->id ||
        (seat->tsc_known && seat->tsc_offset == s->tsc_offset && seat->tsc_ratio == s->tsc_ratio))
        return 0;
    struct vt_tsc_epoch row = {
        .vcpu = seat->id,
        .at = seat->tsc_known ? at : (host_ns){ s->born },
        .offset = s->tsc_offset,
        .ratio = s->tsc_ratio,
        .frac = vt_tsc_ratio_frac(s->tsc_ratio),
    };
    seat->tsc_known = true;
    seat->tsc_offset = s->tsc_offset;
    seat->tsc_ratio = s->tsc_ratio;
    return vt_store_put_tsc_epoch(r->store, &row, err);
}

unsigned vt_roster_vms(const struct vt_roster *r)
{
    return (unsigned)r->last_vm;
}

unsigned vt_roster_vcpus(const struct vt_roster *r)
{
    return (unsigned)r->last_vcpu;
}

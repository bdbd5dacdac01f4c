/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kinds of guests that are not KVM's share: guests.c, guests_tcg.c, guests_uml.c. */
#ifndef VT_GUESTS_INTERNAL_H
#define VT_GUESTS_INTERNAL_H

#include "guests.h"

/* Threads to be told to the ledger. */
struct guests_list {
    uint32_t *tids;
    struct vt_wanted *wanted;
    size_t n, room;
};

/** 0 or -ENOMEM. */
int guests_want(struct guests_list *list, uint32_t tid, const struct vt_wanted *wanted);

/* ---- guests_tcg.c ---- */

/** A thread and the CPU time that it has used. */
struct guests_thread {
    uint32_t tid;
    uint64_t run_ns;
};

enum { GUESTS_MAX_THREADS = 1024 }; /* of one process: one with more is let be */

/** Is that what QEMU's programs are called? exe: a path. */
bool guests_is_qemu(const char *exe);

/** How many threads a QEMU with these arguments (n bytes, each ends in 0) has for its vCPUs. */
unsigned guests_tcg_vcpus(const char *args, size_t n);

/**
 * By the rule of guests.h: index of the first of its vCPUs' threads; -1: it can't be
 * told yet.  *vcpus becomes less where there are not so many.
 */
int guests_tcg_choose(const struct guests_thread *threads, size_t n, unsigned *vcpus);

enum guests_answer { GUESTS_NOT_YET, GUESTS_DONE };

/** Looks at a QEMU process: DONE if it need not be looked at again; -errno. */
int guests_tcg_look(uint32_t tgid, struct guests_list *list);

/* ---- guests_uml.c ---- */

/** Is the program in this file a UML kernel? */
bool guests_is_uml(const char *path);

struct guests_status {
    uint32_t tgid, parent, tracer; /* pids, 0: none */
};

/** Of the text of /proc/PID/status; false: it is not that. */
bool guests_status(const char *text, struct guests_status *ret);
bool guests_read_status(uint32_t pid, struct guests_status *ret);

/** Does it trace a child? One that lost its kernel (a helper of its) does not. */
bool guests_uml_traces(uint32_t tgid);

/** Wants the kernel's process; then, once it has a life, those that it made before. 0 or -errno. */
int guests_uml_main(uint32_t tgid, struct guests_list *list);
int guests_uml_children(uint32_t tgid, struct guests_list *list);

/* ---- guests_cgroup.c ---- */

struct guests_tids {
    uint32_t *tid;
    size_t n, room;
};

struct guests_cgroup {
    const char *path; /* borrowed */
    uint64_t id;
    char name[VT_VM_NAME_LEN];
    struct guests_tids told; /* had no life at the last look */
};

/** 0, or -errno: it is no cgroup. */
int guests_cgroup_open(const char *path, struct guests_cgroup *ret, struct vt_err *err);

/** Wants those of its tasks that have no life, and no more those that are out. 0 or -ENOMEM. */
int guests_cgroup_look(struct guests_cgroup *g, const struct vt_probes *p, struct guests_list *list);

/** What it is called: the last folder of its path. */
void guests_cgroup_name(const char *path, char ret[VT_VM_NAME_LEN]);

#endif

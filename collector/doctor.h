/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtime doctor: what this host lets us observe, found by trying.  A check is
 * one row of the table in doctor.c and one function; it changes nothing that
 * outlives the program.
 */
#ifndef VT_DOCTOR_H
#define VT_DOCTOR_H

#include <bpf/btf.h>
#include <stdarg.h>
#include <stdbool.h>

#include "probes.h"

enum doctor_status {
    DOCTOR_OK,
    DOCTOR_LIMITED, /* works, and some figure is merged, wider or absent */
    DOCTOR_MISSING,
    DOCTOR_UNTRIED, /* another thing that is missing kept us from trying */
};

/* What a check found; means and mend are for what is not ok. */
struct doctor_finding {
    enum doctor_status status;
    char found[400], means[400], mend[400];
};

/* A test guest in a process of its own, seen by the ledger as any guest is. */
struct doctor_trial {
    int kvm_error;                      /* errno of the guest's step that failed, 0: it ran */
    char failed[48];                    /* that step */
    bool seen;                          /* the ledger bound it to a slot */
    bool halted;                        /* and saw it HALTED while it was */
    struct vt_slot slot;                /* its last state */
    uint64_t runs[VT_NR_PROBE_CLASSES]; /* of the class's programs during the trial */
};

/* What the checks share: acquired once, in order, before the first of them. */
struct doctor {
    struct btf *btf[4]; /* the kernel's, then the KVM modules' */
    size_t nr_btf;
    int stats_fd; /* BPF run counts are on while it is open; -errno */
    struct vt_probes *probes;
    struct vt_err probes_error; /* why there are none */
    int probes_errno;
    struct vt_err seed_error;
    int seed_errno;
    uint32_t vcpus_found; /* by the iterators, before the trial */
    bool tried;
    struct doctor_trial trial;
};

typedef void doctor_check(const struct doctor *d, struct doctor_finding *f);

/* doctor_bpf.c: what BPF may see */
doctor_check doctor_privilege, doctor_btf, doctor_ledger, doctor_running_vms, doctor_cost, doctor_fentry,
    doctor_quota, doctor_guest_tsc;
/** One of the probe classes: not in the table, which has a row for each. */
void doctor_probe(const struct doctor *d, unsigned class, struct doctor_finding *f);
void doctor_open(struct doctor *d);
void doctor_close(struct doctor *d);
bool doctor_has_field(const struct doctor *d, const char *type, const char *field);

/* doctor_kvm.c: what KVM offers */
doctor_check doctor_kvm, doctor_back_end, doctor_halted, doctor_halt_poll, doctor_kvm_stats,
    doctor_kvm_debugfs;
/** Runs the test guest under the probes; d->trial tells. */
void doctor_try_guest(struct doctor *d);

/* doctor_host.c: what the host itself tells, and what skews it */
doctor_check doctor_clock, doctor_outer_host, doctor_schedstat, doctor_cgroup, doctor_autogroup, doctor_smt,
    doctor_files, doctor_storage;

/* doctor_perf.c: perf_event's counters */
doctor_check doctor_perf_hardware, doctor_perf_software;

/* helpers of the checks: doctor.c */
void doctor_found(struct doctor_finding *f, enum doctor_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void doctor_advise(struct doctor_finding *f, const char *means, const char *mend);
/** First line of a small file, without its newline; false if it can't be read. */
bool doctor_read_line(const char *path, char *buf, size_t size);

#endif

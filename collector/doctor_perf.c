/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime doctor: perf_event's counters, each tried alone, as the recorder tries them. */
#include <stdio.h>
#include <string.h>

#include "counters.h"
#include "doctor.h"

/* "cycles (guest), cycles (host), …" of those with this error */
static void list(const struct vt_counter_trial *trials, size_t n, int error, char *text, size_t size)
{
    text[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t used = strlen(text);
        const bool split = trials[i].side != VT_SIDE_BOTH;
        if (trials[i].error == error)
            snprintf(text + used, size - used, "%s%s%s%s%s", used ? ", " : "",
                     vt_counters[trials[i].event].name, split ? " (" : "",
                     split ? vt_counter_side_name(trials[i].side) : "", split ? ")" : "");
    }
}

static void told(struct doctor_finding *f, uint32_t wanted)
{
    struct vt_counter_trial trials[VT_MAX_TRIALS];
    char all[400], names[300], reason[VT_COUNTER_REASON_LEN];
    const size_t n = vt_counters_try(wanted, trials);
    size_t good = 0;

    for (size_t i = 0; i < n; i++)
        good += !trials[i].error;
    list(trials, n, 0, names, sizeof(names));
    snprintf(all, sizeof(all), "present: %s", good ? names : "none");
    for (size_t i = 0; i < n; i++) {
        const size_t used = strlen(all);
        bool told = !trials[i].error;
        for (size_t k = 0; k < i; k++)
            told |= trials[k].error == trials[i].error;
        if (told)
            continue;
        list(trials, n, trials[i].error, names, sizeof(names));
        snprintf(all + used, sizeof(all) - used, "; absent: %s (%s)", names,
                 vt_counter_reason(trials[i].error, reason));
    }
    doctor_found(f, good == n ? DOCTOR_OK : good ? DOCTOR_LIMITED : DOCTOR_MISSING, "%s", all);
}

void doctor_perf_hardware(const struct doctor *d, struct doctor_finding *f)
{
    (void)d;
    told(f, VT_COUNTERS_HARDWARE);
    doctor_advise(f,
                  "what is absent is not counted; no time figure needs it, but that used time was slowed by "
                  "frequency or caches can't be shown.",
                  "ENOENT, EOPNOTSUPP: a host with a PMU that has the event; in a VM, have its host offer a "
                  "virtual one. EACCES, EPERM: run as root, or lower kernel.perf_event_paranoid.");
}

void doctor_perf_software(const struct doctor *d, struct doctor_finding *f)
{
    (void)d;
    told(f, VT_COUNTERS_ALL & ~VT_COUNTERS_HARDWARE);
    doctor_advise(f, "counts per thread to compare with stay out; no figure needs them.",
                  "run as root, or lower kernel.perf_event_paranoid.");
}

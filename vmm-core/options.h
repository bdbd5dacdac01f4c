/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of `vtime run`. */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include "vmm-core/vmm.h"

struct run_options {
    struct vmm_config config;
    bool bare, json, stats, help;
};

/** Fills o. -EINVAL: err says what is wrong, or is empty if getopt has said it. */
int options_parse(int argc, char **argv, struct run_options *o, struct vt_err *err);

/** Name of a workload, for the summary. */
const char *options_workload(uint32_t workload);

#endif

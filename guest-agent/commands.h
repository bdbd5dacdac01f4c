/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of vtime-agent; exit codes 0 ok, 1 failure, 2 usage. */
#ifndef VTA_COMMANDS_H
#define VTA_COMMANDS_H

#include "guest-agent/agent.h"

int vta_run_main(int argc, char **argv);
int vta_bench_main(int argc, char **argv);
int vta_mark_main(int argc, char **argv);
int vta_report_main(int argc, char **argv);

/* Options that several of them take: 0, or 2 after saying what is wanted. */
void vta_usual_options(struct vta_options *o);
const char *vta_usual_socket(void);
int vta_take_spec(const char *text, struct vta_spec *ret);
int vta_take_rate(const char *text, uint32_t *ret_mhz);
int vta_take_count(const char *option, const char *text, uint32_t least, uint32_t most, uint32_t *ret);

#endif

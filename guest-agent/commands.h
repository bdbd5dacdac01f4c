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
/** Options of those that speak by the daemon or an agent of their own: bench and mark. */
struct vta_speaker {
    const char *socket, *to; /* to: NULL, the daemon is tried first */
    struct vta_options own;  /* of its own agent */
};
enum { VTA_OPT_TO = 2000, VTA_OPT_ONE_WAY, VTA_OPT_SOCKET, VTA_OPT_HELP };
#define VTA_SPEAKER_OPTIONS                                                                                  \
    { "to", required_argument, NULL, VTA_OPT_TO }, { "one-way", no_argument, NULL, VTA_OPT_ONE_WAY },        \
        { "socket", required_argument, NULL, VTA_OPT_SOCKET }, { "help", no_argument, NULL, VTA_OPT_HELP },  \
    {                                                                                                        \
        0                                                                                                    \
    }

struct option;
/**
 * Takes all options; `take` those that are the command's own: 0, or an exit code after saying what is wrong.
 * Returns -1: go on at optind; else an exit code, --help's included.
 */
int vta_take_speaker(int argc, char **argv, const char *flags, const struct option *options,
                     struct vta_speaker *s, int (*take)(void *context, int c, const char *arg), void *context,
                     const char *help);
int vta_take_count(const char *option, const char *text, uint32_t least, uint32_t most, uint32_t *ret);

#endif

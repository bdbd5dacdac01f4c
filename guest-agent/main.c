/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest-agent/commands.h"

struct command {
    const char *name, *summary;
    int (*main)(int argc, char **argv);
};

static const struct command commands[] = {
    { "run", "tell the host this system's clocks, until stopped", vta_run_main },
    { "bench", "run a command between two marks", vta_bench_main },
    { "mark", "mark this moment", vta_mark_main },
    { "report", "estimate what was stolen, without a host", vta_report_main },
};

static void usage(FILE *to)
{
    fputs("usage: vtime-agent COMMAND [OPTION...]\n"
          "In a guest: tells vtime on the host what this system believes of time.\n",
          to);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
}

void vta_usual_options(struct vta_options *o)
{
    memset(o, 0, sizeof(*o));
    o->rate_mhz = VTA_RATE_USUAL_MHZ;
    o->buffer = VTA_BUFFER_USUAL_KIB << 10;
    o->socket = vta_usual_socket();
    gethostname(o->name, sizeof(o->name) - 1);
}

const char *vta_usual_socket(void)
{
    const char *name = getenv("VTIME_AGENT_SOCKET");
    return name && *name ? name : VTA_LOCAL_NAME;
}

int vta_take_spec(const char *text, struct vta_spec *ret)
{
    char err[256];
    if (vta_spec_parse(ret, text, err, sizeof(err)) == 0)
        return 0;
    fprintf(stderr, "vtime-agent: --to %s\n", err);
    return 2;
}

int vta_take_rate(const char *text, uint32_t *ret_mhz)
{
    char *end;
    const double hz = strtod(text, &end);
    if (end == text || *end || !(hz >= 0.1 && hz <= VTA_RATE_MOST_HZ)) {
        fprintf(stderr, "vtime-agent: --rate %s: a number from 0.1 to %d is wanted\n", text,
                VTA_RATE_MOST_HZ);
        return 2;
    }
    *ret_mhz = (uint32_t)(hz * 1000 + 0.5);
    return 0;
}

int vta_take_count(const char *option, const char *text, uint32_t least, uint32_t most, uint32_t *ret)
{
    char *end;
    const unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end || text[0] == '-' || v < least || v > most) {
        fprintf(stderr, "vtime-agent: --%s %s: a number from %u to %u is wanted\n", option, text, least,
                most);
        return 2;
    }
    *ret = (uint32_t)v;
    return 0;
}

static int take_common(struct vta_speaker *s, int c)
{
    switch (c) {
    case VTA_OPT_TO:
        s->to = optarg;
        return vta_take_spec(optarg, &s->own.to);
    case VTA_OPT_ONE_WAY:
        s->own.one_way = true;
        return 0;
    case VTA_OPT_SOCKET:
        s->socket = optarg;
        return 0;
    default:
        return 2;
    }
}

int vta_take_speaker(int argc, char **argv, const char *flags, const struct option *options,
                     struct vta_speaker *s, int (*take)(void *context, int c, const char *arg), void *context,
                     const char *help)
{
    int c, r = 0;
    s->socket = vta_usual_socket();
    s->to = NULL;
    vta_usual_options(&s->own);
    while (!r && (c = getopt_long(argc, argv, flags, options, NULL)) != -1) {
        if (c == VTA_OPT_HELP) {
            fputs(help, stdout);
            return 0;
        }
        r = c > VTA_OPT_HELP || c < VTA_OPT_TO ? take(context, c, optarg) : take_common(s, c);
    }
    if (!r)
        return -1;
    fprintf(stderr, "vtime-agent %s --help tells more\n", argv[0]);
    return r;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("vtime-agent " VT_RELEASE);
        return 0;
    }
    fprintf(stderr, "vtime-agent: no command %s\n", argv[1]);
    usage(stderr);
    return 2;
}

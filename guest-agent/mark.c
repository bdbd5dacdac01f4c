/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/commands.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "guest-agent/client.h"
#include "guest-agent/clocks.h"
#include "guest-agent/procfs.h"

static const char help[] =
    "usage: vtime-agent mark NAME [--begin|--end|--point] [OPTION...]\n"
    "Marks this moment for the host. A begin and an end of the same name belong together.\n"
    "  --to TRANSPORT  by an agent of its own, not by the daemon\n"
    "  --one-way       the host does not acknowledge\n"
    "  --socket NAME   of the daemon (@vtime-agent)\n";

static int say_mark(const struct vtg_mark *mark, const struct vta_speaker *s)
{
    static struct vta_client client;
    vta_client_open(&client, s->socket, s->to, &s->own);
    vta_client_say(&client, VTG_MARK, mark, sizeof(*mark));
    if (vta_client_finish(&client) != VTA_UNHEARD)
        return 0;
    fprintf(stderr, "vtime-agent: mark not delivered: %s\n", client.why);
    return 1;
}

enum { BEGIN = 1000, END, POINT };

static int take_kind(void *context, int c, const char *arg)
{
    struct vtg_mark *mark = context;
    (void)arg;
    if (c < BEGIN || c > POINT)
        return 2;
    if (mark->kind) {
        fputs("vtime-agent: a mark is one of --begin, --end and --point\n", stderr);
        return 2;
    }
    mark->kind = c == BEGIN ? VTG_MARK_BEGIN : c == END ? VTG_MARK_END : VTG_MARK_POINT;
    return 0;
}

int vta_mark_main(int argc, char **argv)
{
    static const struct option options[] = { { "begin", no_argument, NULL, BEGIN },
                                             { "end", no_argument, NULL, END },
                                             { "point", no_argument, NULL, POINT },
                                             VTA_SPEAKER_OPTIONS };
    struct vtg_mark mark = { .kind = 0 };
    struct vta_speaker s;
    vta_clocks_read(&mark.clocks); /* before all else: this is the moment */
    const int r = vta_take_speaker(argc, argv, "", options, &s, take_kind, &mark, help);
    if (r >= 0)
        return r;
    if (optind != argc - 1) {
        fputs(help, stderr);
        return 2;
    }
    if (!mark.kind)
        mark.kind = VTG_MARK_POINT;
    mark.clocks.steal_ns = vta_steal_ns(&mark.clocks.have);
    mark.id = vta_name_id(argv[optind]);
    memcpy(mark.name, argv[optind], strnlen(argv[optind], sizeof(mark.name)));
    return say_mark(&mark, &s);
}

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

static int say_mark(const struct vtg_mark *mark, const char *socket, const char *to,
                    const struct vta_options *o)
{
    static struct vta_client client;
    vta_client_open(&client, socket, to, o);
    vta_client_say(&client, VTG_MARK, mark, sizeof(*mark));
    if (vta_client_finish(&client))
        return 0;
    fprintf(stderr, "vtime-agent: mark not delivered: %s\n", client.why);
    return 1;
}

int vta_mark_main(int argc, char **argv)
{
    enum { BEGIN = 1000, END, POINT, TO, ONE_WAY, SOCKET, HELP };
    static const struct option options[] = {
        { "begin", no_argument, NULL, BEGIN },     { "end", no_argument, NULL, END },
        { "point", no_argument, NULL, POINT },     { "to", required_argument, NULL, TO },
        { "one-way", no_argument, NULL, ONE_WAY }, { "socket", required_argument, NULL, SOCKET },
        { "help", no_argument, NULL, HELP },       { 0 }
    };
    struct vtg_mark mark = { .kind = VTG_MARK_POINT };
    struct vta_options o;
    const char *socket = vta_usual_socket(), *to = NULL;
    int c, r = 0;
    vta_clocks_read(&mark.clocks); /* before all else: this is the moment */
    vta_usual_options(&o);
    while (!r && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case BEGIN:
            mark.kind = VTG_MARK_BEGIN;
            break;
        case END:
            mark.kind = VTG_MARK_END;
            break;
        case POINT:
            mark.kind = VTG_MARK_POINT;
            break;
        case TO:
            to = optarg;
            r = vta_take_spec(optarg, &o.to);
            break;
        case ONE_WAY:
            o.one_way = true;
            break;
        case SOCKET:
            socket = optarg;
            break;
        case HELP:
            fputs(help, stdout);
            return 0;
        default:
            r = 2;
        }
    }
    if (r || optind != argc - 1) {
        fputs(r ? "vtime-agent mark --help tells more\n" : help, stderr);
        return 2;
    }
    mark.clocks.steal_ns = vta_steal_ns(&mark.clocks.have);
    mark.id = vta_name_id(argv[optind]);
    memcpy(mark.name, argv[optind], strnlen(argv[optind], sizeof(mark.name)));
    return say_mark(&mark, socket, to, &o);
}

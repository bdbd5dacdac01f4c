/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "guest-agent/transport.h"

static const char help[] =
    "usage: vtime-agent run [OPTION...]\n"
    "Tells the host this system's clocks and processes until it is stopped.\n"
    "  --to TRANSPORT  virtio[:PORTNAME], vsock[:PORT], tcp:ADDRESS:PORT, unix:PATH, tty:PATH,\n"
    "                  fd:N or file:PATH (a virtio port " VTA_PORT_NAME ", else vsock)\n"
    "  --rate HZ       views of the clocks each second, 0.1 to 1000 (10)\n"
    "  --name NAME     of this guest (its host name)\n"
    "  --pid PID       look at this process, too\n"
    "  --comm NAME     and at those of this name\n"
    "  --cgroup PATH   and at those in this cgroup's directory\n"
    "  --tasks         tell which task was on which CPU when (root)\n"
    "  --one-way       the host does not acknowledge: nothing is sent twice\n"
    "  --buffer KIB    keep so much while the host is away (256)\n"
    "  --socket NAME   where marks of programs come in: @NAME or a path (@vtime-agent)\n";

static struct vta_agent agent;

static int add_choice(const char *option, const char **choices, unsigned *nr, const char *value)
{
    if (*nr == VTA_CHOICES) {
        fprintf(stderr, "vtime-agent: --%s: %d at most\n", option, VTA_CHOICES);
        return 2;
    }
    choices[(*nr)++] = value;
    return 0;
}

static int add_pid(const char *text)
{
    uint32_t pid;
    if (vta_take_count("pid", text, 1, INT32_MAX, &pid))
        return 2;
    const int r = vta_processes_add(&agent.processes, pid, 0);
    if (r)
        fprintf(stderr, "vtime-agent: --pid %u: %s\n", pid, strerror(-r));
    return r ? 1 : 0;
}

enum { TO = 1000, RATE, NAME, PID, COMM, CGROUP, TASKS, ONE_WAY, BUFFER, SOCKET, HELP };
static const struct option long_options[] = {
    { "to", required_argument, NULL, TO },         { "rate", required_argument, NULL, RATE },
    { "name", required_argument, NULL, NAME },     { "pid", required_argument, NULL, PID },
    { "comm", required_argument, NULL, COMM },     { "cgroup", required_argument, NULL, CGROUP },
    { "tasks", no_argument, NULL, TASKS },         { "one-way", no_argument, NULL, ONE_WAY },
    { "buffer", required_argument, NULL, BUFFER }, { "socket", required_argument, NULL, SOCKET },
    { "help", no_argument, NULL, HELP },           { 0 }
};

static int take_buffer(const char *text, uint32_t *ret)
{
    uint32_t kib;
    const int r = vta_take_count("buffer", text, VTA_RING_LEAST >> 10, 1u << 20, &kib);
    if (!r)
        *ret = kib << 10;
    return r;
}

static int take_option(int c, struct vta_options *o, bool *has_to)
{
    struct vta_processes *p = &agent.processes;
    switch (c) {
    case TO:
        *has_to = true;
        return vta_take_spec(optarg, &o->to);
    case RATE:
        return vta_take_rate(optarg, &o->rate_mhz);
    case NAME:
        snprintf(o->name, sizeof(o->name), "%s", optarg);
        return 0;
    case PID:
        return add_pid(optarg);
    case COMM:
        return add_choice("comm", p->comms, &p->nr_comms, optarg);
    case CGROUP:
        return add_choice("cgroup", p->cgroups, &p->nr_cgroups, optarg);
    case TASKS:
        o->tasks = true;
        return 0;
    case ONE_WAY:
        o->one_way = true;
        return 0;
    case BUFFER:
        return take_buffer(optarg, &o->buffer);
    case SOCKET:
        o->socket = optarg;
        return 0;
    default:
        return 2;
    }
}

static int run_agent(const struct vta_options *o)
{
    char to[160];
    int r = vta_agent_open(&agent, o);
    if (!r) {
        vta_spec_print(&o->to, to, sizeof(to));
        fprintf(stderr, "vtime-agent: session %016llx, to %s\n", (unsigned long long)agent.system.session,
                to);
        r = vta_agent_run(&agent);
        fprintf(stderr, "vtime-agent: %llu frames, %llu dropped, %llu bytes not delivered\n",
                (unsigned long long)agent.ring.made, (unsigned long long)agent.ring.dropped,
                (unsigned long long)vta_ring_kept(&agent.ring));
    }
    vta_agent_close(&agent);
    return r;
}

int vta_run_main(int argc, char **argv)
{
    struct vta_options o;
    bool has_to = false;
    char err[256];
    int c, r = 0;
    vta_usual_options(&o);
    vta_processes_init(&agent.processes);
    while (!r && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == HELP) {
            fputs(help, stdout);
            return 0;
        }
        r = take_option(c, &o, &has_to);
    }
    if (!r && optind != argc)
        r = 2;
    if (r) {
        if (r == 2)
            fputs("vtime-agent run --help tells more\n", stderr);
        return r;
    }
    if (!has_to && vta_transport_default(&o.to, err, sizeof(err))) {
        fprintf(stderr, "vtime-agent: %s\n", err);
        return 1;
    }
    return run_agent(&o);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/number.h"
#include "counters.h"

static const char help_text[] =
    "usage: vtime record [OPTION…] [-- COMMAND [ARG…]]\n"
    "       vtime record --daemon [OPTION…]\n\n"
    "Records what every vCPU of this host really gets, until COMMAND ends, the time\n"
    "is up, or Ctrl-C. Needs root.\n\n"
    "  -o, --output FILE        the recording (default: vtime.vt)\n"
    "  -f, --force              replace FILE if it exists\n"
    "      --for SECONDS        stop by itself\n"
    "      --vm NAME|PID        show only this VM; the others are recorded too, as those\n"
    "                           who may hold it back\n"
    "      --cgroup FOLDER      a cgroup as a guest: its threads are the vCPUs; may be repeated\n"
    "      --interval MS        how often to write (default: 500)\n"
    "      --agent-socket PATH  where guests' agents connect (default: a temporary\n"
    "                           one, told to COMMAND by $VTIME_AGENT)\n"
    "      --agent NAME=WHERE   the agent of the VM called NAME (or its pid): unix:PATH,\n"
    "                           tcp:HOST:PORT, vsock:CID:PORT, tty:PATH; or it connects:\n"
    "                           unix-listen:PATH, tcp-listen:HOST:PORT, vsock-listen:PORT\n"
    "                           (of the first and the last NAME= may be left out:\n"
    "                           each guest has one channel). QEMUs' ports named\n"
    "                           org.vtime.agent.0 are found; --agent none: they are not\n"
    "      --mode MODE          slices: every wait and run (default); ledger: only sums at\n"
    "                           each writing, cheap enough to leave on: no names of debtors\n"
    "      --without CLASS,…    leave out a class of probes: switch, wakeup, migrate,\n"
    "                           exit, kvm-run, entry-exit, halt, irq, addresses\n"
    "      --exit-addresses     count which ports, MMIO addresses and MSRs guests access\n"
    "      --counters LIST      count by perf_event: none, hardware (default), software, all,\n"
    "                           or events by name: cycles, instructions, ref-cycles,\n"
    "                           LLC-load-misses, task-clock, context-switches,\n"
    "                           cpu-migrations, page-faults\n"
    "      --ring-kib N         size of the slice ring, a power of two (default: 4096)\n"
    "      --no-realtime        run like everybody else: what all CPUs are too busy for is lost\n"
    "      --ready-fd FD        write one byte to FD once recording\n"
    "  -q, --quiet              no summary at the end\n"
    "  -h, --help               this text\n\n"
    "As a service, in the foreground, under systemd or by itself:\n"
    "      --daemon             write one recording after the other into a directory,\n"
    "                           which --output names (default: " VT_SERVICE_DIR ");\n"
    "                           live.vt there is the present one; SIGHUP begins a new one\n"
    "      --rotate-every TIME  begin a new one after so long: 45s, 30m, 6h, 1d\n"
    "      --rotate-size BYTES  begin a new one when it is so large: 500K, 64M, 2G\n"
    "      --keep N             keep so many, the present one included\n"
    "      --keep-size BYTES    keep so much, all together\n"
    "      --group NAME         let this group read them (default: root only)\n";

static int parse_ring(const char *text, uint32_t *ret_bytes, struct vt_err *err)
{
    double v = 0;
    int e = vt_parse_number("ring-kib", text, 4, 1 << 20, &v, err);

    if (e)
        return e;
    const uint32_t kib = (uint32_t)v;
    if (kib != v || (kib & (kib - 1)) != 0)
        return vt_fail(err, EINVAL, "--ring-kib %s: it must be a power of two, from 4 to 1048576", text);
    *ret_bytes = kib * 1024u;
    return 0;
}

static int parse_classes(const char *text, uint32_t *ret_off, struct vt_err *err)
{
    char copy[256], known[256] = "", *save = NULL;
    unsigned c;

    for (c = 0; vt_probe_class_name(c); c++) {
        const size_t n = strlen(known);
        snprintf(known + n, sizeof(known) - n, "%s%s", c ? ", " : "", vt_probe_class_name(c));
    }
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        c = 0;
        while (vt_probe_class_name(c) && strcmp(vt_probe_class_name(c), word) != 0)
            c++;
        if (!vt_probe_class_name(c))
            return vt_fail(err, EINVAL, "--without %s: '%s' is none of %s", text, word, known);
        *ret_off |= 1u << c;
    }
    return 0;
}

/* The recording is a file: a name that SQLite takes for "in memory" or "temporary" would be lost. */
static int parse_output(const char *text, const char **ret, struct vt_err *err)
{
    if (!*text || *text == ':')
        return vt_fail(err, EINVAL, "--output '%s': the name of a file is wanted", text);
    *ret = text;
    return 0;
}

static int parse_mode(const char *text, bool *ret_ledger_only, struct vt_err *err)
{
    *ret_ledger_only = strcmp(text, "ledger") == 0;
    return *ret_ledger_only || strcmp(text, "slices") == 0
               ? 0
               : vt_fail(err, EINVAL, "--mode %s: it must be slices or ledger", text);
}

static int parse_keep(const char *text, unsigned *ret, struct vt_err *err)
{
    double v = 0;
    int e = vt_parse_number("keep", text, 1, 1e6, &v, err);

    if (!e && v != (unsigned)v)
        return vt_fail(err, EINVAL, "--keep %s: a whole number is wanted", text);
    *ret = (unsigned)v;
    return e;
}

static int parse_agent(const char *text, struct vt_agents_options *o, struct vt_err *err)
{
    struct vt_agent_address address;

    o->dont_find |= strcmp(text, "none") == 0;
    if (strcmp(text, "none") == 0)
        return 0;
    const int e = vt_agent_address_parse(text, &address, err);
    if (e)
        return e;
    if (address.way == VT_WAY_FILE)
        return vt_fail(err, EINVAL, "--agent %s: a file is put into a recording by `vtime import`", text);
    if (o->nr == VT_MAX_AGENTS)
        return vt_fail(err, EINVAL, "--agent %s: there are %d already", text, VT_MAX_AGENTS);
    struct vt_agent_address *more = realloc(o->named, (o->nr + 1) * sizeof(*more));
    if (!more)
        return vt_fail(err, ENOMEM, "out of memory");
    o->named = more;
    o->named[o->nr++] = address;
    return 0;
}

enum {
    OPT_FOR = 256,
    OPT_VM,
    OPT_INTERVAL,
    OPT_AGENT_SOCKET,
    OPT_AGENT,
    OPT_WITHOUT,
    OPT_EXIT_ADDRESSES,
    OPT_CGROUP,
    OPT_COUNTERS,
    OPT_MODE,
    OPT_RING,
    OPT_NO_REALTIME,
    OPT_READY,
    OPT_DAEMON,
    OPT_ROTATE_EVERY,
    OPT_ROTATE_SIZE,
    OPT_KEEP,
    OPT_KEEP_SIZE,
    OPT_GROUP
};

static const struct option long_options[] = {
    { "output", required_argument, NULL, 'o' },
    { "force", no_argument, NULL, 'f' },
    { "for", required_argument, NULL, OPT_FOR },
    { "vm", required_argument, NULL, OPT_VM },
    { "interval", required_argument, NULL, OPT_INTERVAL },
    { "agent-socket", required_argument, NULL, OPT_AGENT_SOCKET },
    { "agent", required_argument, NULL, OPT_AGENT },
    { "without", required_argument, NULL, OPT_WITHOUT },
    { "exit-addresses", no_argument, NULL, OPT_EXIT_ADDRESSES },
    { "cgroup", required_argument, NULL, OPT_CGROUP },
    { "counters", required_argument, NULL, OPT_COUNTERS },
    { "mode", required_argument, NULL, OPT_MODE },
    { "ring-kib", required_argument, NULL, OPT_RING },
    { "no-realtime", no_argument, NULL, OPT_NO_REALTIME },
    { "ready-fd", required_argument, NULL, OPT_READY },
    { "daemon", no_argument, NULL, OPT_DAEMON },
    { "rotate-every", required_argument, NULL, OPT_ROTATE_EVERY },
    { "rotate-size", required_argument, NULL, OPT_ROTATE_SIZE },
    { "keep", required_argument, NULL, OPT_KEEP },
    { "keep-size", required_argument, NULL, OPT_KEEP_SIZE },
    { "group", required_argument, NULL, OPT_GROUP },
    { "quiet", no_argument, NULL, 'q' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

static int parse_service_option(int c, const char *arg, struct vt_service_options *o, struct vt_err *err)
{
    switch (c) {
    case OPT_ROTATE_EVERY: /* each recording costs a file, and one interval in which two are written */
        return vt_parse_duration("rotate-every", arg, VT_NSEC_PER_SEC, &o->rotate_ns, err);
    case OPT_ROTATE_SIZE:
        return vt_parse_bytes("rotate-size", arg, 100 * 1024, &o->rotate_bytes, err);
    case OPT_KEEP:
        return parse_keep(arg, &o->keep, err);
    case OPT_KEEP_SIZE:
        return vt_parse_bytes("keep-size", arg, 100 * 1024, &o->keep_bytes, err);
    case OPT_GROUP:
        o->group = arg;
        break;
    }
    return 0;
}

/* What is recorded, and by which means. */
static int parse_probe_option(int c, const char *arg, struct vt_record_options *o, struct vt_err *err)
{
    switch (c) {
    case OPT_MODE:
        return parse_mode(arg, &o->probes.ledger_only, err);
    case OPT_WITHOUT:
        return parse_classes(arg, &o->probes.off, err);
    case OPT_EXIT_ADDRESSES:
        o->probes.addresses = true;
        break;
    case OPT_CGROUP:
        if (o->nr_cgroups == VT_MAX_CGROUPS)
            return vt_fail(err, EINVAL, "--cgroup: at most %d", VT_MAX_CGROUPS);
        o->cgroups[o->nr_cgroups++] = arg;
        o->probes.cgroups = true;
        break;
    case OPT_COUNTERS:
        o->named_counters = true;
        return vt_counters_parse(arg, &o->counters, err);
    case OPT_RING:
        return parse_ring(arg, &o->probes.ring_bytes, err);
    default:
        return parse_service_option(c, arg, &o->service, err);
    }
    return 0;
}

static int parse_option(int c, const char *arg, struct vt_record_options *o, struct vt_err *err)
{
    double v = 0;
    int e = 0;

    switch (c) {
    case 'o':
        return parse_output(arg, &o->output, err);
    case 'f':
        o->force = true;
        break;
    case 'q':
        o->quiet = true;
        break;
    case OPT_VM:
        o->vm = arg;
        break;
    case OPT_AGENT_SOCKET:
        o->agent_socket = arg;
        break;
    case OPT_AGENT:
        return parse_agent(arg, &o->agents, err);
    case OPT_FOR:
        e = vt_parse_number("for", arg, 0.001, 1e7, &v, err);
        o->for_ns = (uint64_t)(v * 1e9);
        break;
    case OPT_INTERVAL:
        e = vt_parse_number("interval", arg, 10, 60000, &v, err);
        o->interval_ns = (uint64_t)(v * 1e6);
        break;
    case OPT_NO_REALTIME:
        o->not_first = true;
        break;
    case OPT_READY:
        e = vt_parse_number("ready-fd", arg, 0, INT_MAX, &v, err);
        o->ready_fd = (int)v;
        break;
    case OPT_DAEMON:
        o->daemon = true;
        break;
    default:
        return parse_probe_option(c, arg, o, err);
    }
    return e;
}

static int check_together(const struct vt_record_options *o, struct vt_err *err)
{
    const struct vt_service_options *s = &o->service;

    if (!o->daemon && (s->rotate_ns || s->rotate_bytes || s->keep || s->keep_bytes || s->group))
        return vt_fail(err, EINVAL, "--rotate-…, --keep… and --group are for --daemon");
    if (o->daemon && (o->command || o->force))
        return vt_fail(err, EINVAL, "--daemon takes no %s", o->command ? "COMMAND" : "--force");
    if (s->rotate_ns && s->rotate_ns < 2 * o->interval_ns)
        return vt_fail(err, EINVAL, "--rotate-every: at least two times --interval is wanted");
    return 0;
}

int vt_record_options_parse(int argc, char **argv, struct vt_record_options *o)
{
    struct vt_err err = { "" };
    int c;

    *o = (struct vt_record_options){ .interval_ns = 500000000,
                                     .ready_fd = -1,
                                     .counters = VT_COUNTERS_HARDWARE };
    optind = 1;
    while ((c = getopt_long(argc, argv, "+o:fqh", long_options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return VT_EXIT_OK;
        }
        if (c == '?')
            return vt_usage_error("record");
        if (parse_option(c, optarg, o, &err)) {
            vt_complain("record: %s", err.text);
            return vt_usage_error("record");
        }
    }
    if (optind < argc)
        o->command = argv + optind;
    if (check_together(o, &err)) {
        vt_complain("record: %s", err.text);
        return vt_usage_error("record");
    }
    if (!o->output)
        o->output = o->daemon ? VT_SERVICE_DIR : "vtime.vt";
    return -1;
}

void vt_record_options_release(struct vt_record_options *o)
{
    free(o->agents.named);
    o->agents = (struct vt_agents_options){ 0 };
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vtime record: what it says at the end, and its exit code. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/command.h"
#include "session.h"

/* An end that we or the person at the terminal caused is no failure of the command. */
static int exit_code(const struct vt_session *s)
{
    const struct vt_child *c = &s->child;

    if (!c->argv || c->asked || s->stopped_by_signal || (WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0))
        return VT_EXIT_OK;
    if (WIFEXITED(c->status))
        vt_complain("record: %s ended with status %d", c->argv[0], WEXITSTATUS(c->status));
    else
        vt_complain("record: %s was ended by signal %d", c->argv[0], WTERMSIG(c->status));
    return VT_EXIT_FAILURE;
}

/* Asked for, or to be expected, and not there. */
static void tell_missing(const struct vt_session *s)
{
    const char *name, *only = s->options->vm;

    if (only && !vt_roster_saw(s->now.roster, only))
        fprintf(stderr, "vtime: --vm %s: there was no such VM\n", only);
    for (size_t i = 0; (name = vt_agents_unseen(s->agents, i)); i++)
        fprintf(stderr, "vtime: --agent %s: there was no such VM\n", name);
    for (size_t i = 0; (name = vt_agents_held(s->agents, i)); i++)
        fprintf(stderr,
                "vtime: %s: another has its agent's port (another recorder?): nothing it says is here\n",
                name);
}

static void summary(const struct vt_session *s)
{
    uint64_t lost[VT_NR_LOST_REASONS], sum = 0;

    vt_probes_lost(s->probes, lost);
    lost[VT_LOST_AGENT] = vt_agents_lost(s->agents);
    for (unsigned i = 0; i < VT_NR_LOST_REASONS; i++)
        sum += lost[i];
    fprintf(stderr, "vtime: %u VMs, %u vCPUs, %llu slices, %llu lost; `vtime report %s` tells\n",
            vt_roster_vms(s->now.roster), vt_roster_vcpus(s->now.roster),
            (unsigned long long)vt_recorder_slices(s->now.recorder), (unsigned long long)sum, s->now.path);
    tell_missing(s);
    if (s->counters && vt_counters_short_of_files(s->counters))
        fprintf(stderr,
                "vtime: %u vCPUs were not counted: no descriptors left; raise `ulimit -n`, or name fewer "
                "--counters\n",
                vt_counters_short_of_files(s->counters));
}

static int main_record(int argc, char **argv)
{
    struct vt_record_options o;
    struct vt_session s;
    struct vt_err err = { "" };
    int code = vt_record_options_parse(argc, argv, &o), e;

    if (code >= 0) {
        vt_record_options_release(&o);
        return code;
    }
    e = vt_session_run(&s, &o, &err);
    if (!e && !o.quiet && !o.daemon)
        summary(&s);
    vt_child_end(&s.child);
    if (!e && !o.quiet && s.child.asked)
        fprintf(stderr, "vtime: %s still ran and was ended by SIG%s\n", o.command[0],
                sigabbrev_np(s.child.asked));
    if (e)
        vt_complain("record: %s", err.text);
    code = e ? VT_EXIT_FAILURE : exit_code(&s);
    vt_session_close(&s);
    vt_record_options_release(&o);
    return code;
}

VT_COMMAND(record, 20, "record", "collect what every vCPU of this host really gets", main_record);

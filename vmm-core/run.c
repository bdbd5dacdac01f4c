/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vtime run`: a guest, or the same work bare, and what it believed of it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "vmm-core/clock.h"
#include "vmm-core/footprint.h"
#include "vmm-core/options.h"
#include "vmm-core/proc.h"
#include "vmm-core/result.h"

static const char usage[] =
    "usage: vtime run [OPTION...]\n"
    "\n"
    "Runs a KVM guest whose work and clocks are known, and prints what it believed.\n"
    "\n"
    "  --name NAME          name of the guest (guest)\n"
    "  --vcpus N            each does the workload (1)\n"
    "  --memory SIZE        4M to 1G (8M)\n"
    "  --cpu LIST           pin vCPU threads to these CPUs in turn, like 1 or 0,2-3\n"
    "  --workload KIND      spin  a fixed amount of work (default)\n"
    "                       idle  HLT\n"
    "                       io    accesses to a port that the monitor serves\n"
    "                       mix   bursts of work and timed sleep\n"
    "                       gap   reads the TSC and records what is missing\n"
    "  --work N             end after N units: loop iterations (spin, mix), accesses (io),\n"
    "                       readings (gap)\n"
    "  --seconds S          end after S seconds by the guest's TSC\n"
    "  --repeat N           do it N times over, each a benchmark between its own marks (1)\n"
    "  --tick HZ            the guest's periodic timer, 0: tickless (100; mix and gap: 0)\n"
    "  --log-hz HZ          clock records per second, 0: only at the marks (10)\n"
    "  --io-kind pio|mmio   how io accesses its port (pio)\n"
    "  --service-us US      CPU time that the monitor spends on an access (0)\n"
    "  --burst-us US, --sleep-us US   of mix (2000, 8000); with --tick a sleep ends at\n"
    "                       the first tick after it is due\n"
    "  --gap-us US          shortest gap that gap records (100)\n"
    "  --agent WHERE        send the guest's records to unix:PATH or file:PATH\n"
    "                       (default: $VTIME_AGENT)\n"
    "  --start-fd FD        prepare everything, then wait for end of file on FD\n"
    "  --ready-fd FD        write a byte to FD once everything is prepared\n"
    "  --bare               no guest: the same work in ordinary threads\n"
    "  --hostile WAY        the guest abuses its agent device, in one of 10 ways (a test)\n"
    "  --stats              print also what the monitor itself cost\n"
    "  --json               print a JSON object\n"
    "  --help\n"
    "\n"
    "Exit codes: 0 ok (a signal ends a run cleanly too), 1 failure, 2 usage.\n";

static uint64_t resident(void)
{
    uint64_t pages[2];
    if (!proc_numbers("/proc/self/statm", pages, 2))
        return 0;
    return pages[1] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void collect(struct run_result *r, const struct vmm *vm, uint64_t main_ns)
{
    r->rss = resident();
    r->tsc_khz = vm->tsc_khz;
    r->ram_touched = vmm_resident_ram(vm);
    r->boot_ns = r->outlet->first_ns ? r->outlet->first_ns - main_ns : 0;
    r->ring = vm->ring;
    for (unsigned i = 0; vm->vcpus && i < r->config->nr_vcpus; i++) {
        r->service_count += vm->vcpus[i].service_count;
        r->service_ns += vm->vcpus[i].service_ns;
        r->exits += vm->vcpus[i].exits;
    }
}

static int run_guest(struct run_result *r, struct outlet *outlet, uint64_t main_ns, struct vt_err *err)
{
    struct vmm vm;
    footprint_shrink();
    int rc = vmm_create(&vm, r->config, outlet, err);
    if (rc == 0) {
        rc = machine_run(&vm, &r->end, err);
        collect(r, &vm, main_ns);
    }
    vmm_release(&vm);
    return rc;
}

static int run_main(int argc, char **argv)
{
    uint64_t main_ns = vmm_now_ns();
    struct run_options o;
    struct outlet outlet;
    struct vt_err err;

    if (options_parse(argc, argv, &o, &err) < 0) {
        if (err.text[0])
            vt_complain("%s", err.text);
        return vt_usage_error("run");
    }
    if (o.help) {
        fputs(usage, stdout);
        return VT_EXIT_OK;
    }
    struct run_result r = { .config = &o.config, .outlet = &outlet, .bare = o.bare, .end = VMM_END_FAILED };
    int rc = outlet_init(&outlet, o.config.nr_vcpus, o.config.agent, &err);
    if (rc == 0)
        rc = o.bare ? bare_run(&o.config, &outlet, &r.tsc_khz, &r.end, &err)
                    : run_guest(&r, &outlet, main_ns, &err);
    outlet_close(&outlet);
    if (rc == 0 && o.json)
        rc = result_json(&r, &err);
    else if (rc == 0)
        result_text(&r, o.stats);
    outlet_release(&outlet);
    if (rc)
        vt_complain("%s", err.text);
    return rc ? VT_EXIT_FAILURE : VT_EXIT_OK;
}

VT_COMMAND(run, 60, "run", "run a guest (or bare threads) with known work and clocks", run_main);

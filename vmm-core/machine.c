/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The main thread of a run: start gate, signals, and the end. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm-core/vmm.h"

#define FLUSH_MS 100

int machine_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* poll() keeps returning for data; only its end counts. */
static bool at_end(int fd)
{
    char junk[64];
    ssize_t n = read(fd, junk, sizeof(junk));
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

int machine_wait_start(const struct vmm_config *config, int signals)
{
    if (config->ready_fd >= 0) {
        ssize_t told = write(config->ready_fd, "r", 1);
        (void)told; /* nobody listens: nobody needs to know */
        close(config->ready_fd);
    }
    if (config->start_fd < 0)
        return 0;
    struct pollfd wait[] = { { .fd = signals, .events = POLLIN },
                             { .fd = config->start_fd, .events = POLLIN } };
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return 0;
        if (wait[0].revents)
            return 1;
        if (wait[1].revents && at_end(config->start_fd))
            return 0;
    }
}

int machine_wait_end(struct outlet *outlet, int done, int signals)
{
    struct pollfd wait[] = { { .fd = signals, .events = POLLIN }, { .fd = done, .events = POLLIN } };
    for (;;) {
        /* what a listener would not take while the guest rang, it is offered again */
        if (poll(wait, 2, outlet_flush(outlet) ? FLUSH_MS : 10 * FLUSH_MS) < 0 && errno != EINTR)
            return 0;
        if (wait[0].revents)
            return 1;
        if (wait[1].revents)
            return 0;
    }
}

int machine_run(struct vmm *vm, enum vmm_end *ret_end, struct vt_err *err)
{
    int signals = machine_signals();
    if (signals < 0)
        return vt_fail(err, errno, "signalfd: %s", strerror(errno));
    int rc = vcpu_start_all(vm, err), signalled = 0;
    if (rc == 0) {
        signalled = machine_wait_start(vm->config, signals);
        if (!signalled) {
            vcpu_open_gate(vm);
            signalled = machine_wait_end(vm->outlet, vm->done, signals);
        }
    }
    vcpu_stop_all(vm);
    close(signals);
    if (rc)
        return rc;
    *ret_end = vm->failed ? VMM_END_FAILED : signalled ? VMM_END_SIGNAL : VMM_END_FINISHED;
    return vm->failed ? vt_fail(err, EIO, "guest %s: %s", vm->config->name, vm->failure.text) : 0;
}

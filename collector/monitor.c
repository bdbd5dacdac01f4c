/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "hostinfo.h"
#include "qemu.h"

static bool is_qemu(const char *args)
{
    const char *slash = strrchr(args, '/');

    return strncmp(slash ? slash + 1 : args, "qemu", 4) == 0;
}

static const char *umid_of(const char *args, size_t n)
{
    for (const char *a = args; a < args + n; a += strlen(a) + 1)
        if (strncmp(a, "umid=", 5) == 0)
            return a + 5;
    return NULL;
}

static enum vt_vm_kind kind_of(const char *args, size_t n)
{
    if (umid_of(args, n) && !is_qemu(args))
        return VT_VM_UML;
    return is_qemu(args) && !vt_qemu_asks_kvm(args, n) ? VT_VM_TCG : VT_VM_KVM;
}

bool vt_monitor_is(const char *args, size_t n, const char *name, enum vt_vm_kind *ret)
{
    char called[VT_VM_NAME_LEN];
    const char *umid = is_qemu(args) ? NULL : umid_of(args, n);

    if (umid ? strcmp(umid, name) != 0
             : !vt_name_from_arguments(args, n, called) || strcmp(called, name) != 0)
        return false;
    *ret = kind_of(args, n);
    return true;
}

/* Its own arguments only: a monitor, not a shell or editor that names one. */
static bool look_at(uint32_t pid, const char *name, bool by_pid, struct vt_monitor *ret)
{
    enum vt_vm_kind kind;
    size_t n;
    char *args = vt_command_line(pid, &n);
    bool found = false;

    if (args && by_pid) {
        kind = kind_of(args, n);
        found = true;
    } else if (args) {
        found = (is_qemu(args) || umid_of(args, n)) && vt_monitor_is(args, n, name, &kind);
    }
    free(args);
    if (found)
        *ret = (struct vt_monitor){ pid, vt_process_start(pid), kind, by_pid };
    return found && ret->start_ns;
}

static bool parse_pid(const char *text, uint32_t *ret)
{
    char *end;
    const unsigned long v = strtoul(text, &end, 10);

    *ret = (uint32_t)v;
    return *text >= '1' && *text <= '9' && !*end && v <= UINT32_MAX;
}

bool vt_monitor_find(const char *name, struct vt_monitor *ret)
{
    struct vt_monitor found = { 0 }, p;
    uint32_t pid;

    if (parse_pid(name, &pid) && look_at(pid, name, true, ret))
        return true;
    DIR *d = opendir("/proc");
    for (const struct dirent *e; d && (e = readdir(d));)
        if (parse_pid(e->d_name, &pid) && look_at(pid, name, false, &p) &&
            (!found.start_ns || p.start_ns < found.start_ns))
            found = p;
    if (d)
        closedir(d);
    if (found.start_ns)
        *ret = found;
    return found.start_ns != 0;
}

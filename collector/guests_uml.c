/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User Mode Linux: a kernel that is a process, and traces others that run its guest's programs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guests_internal.h"
#include "hostinfo.h"

/* Every UML kernel has it, whatever its file is called (arch/um/include/asm/common.lds.S). */
static const char its_section[] = ".uml.setup.init";

bool guests_is_uml(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf_Scn *section = NULL;
    size_t names;
    bool is = false;

    if (fd < 0 || elf_version(EV_CURRENT) == EV_NONE) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf && elf_getshdrstrndx(elf, &names) == 0)
        while (!is && (section = elf_nextscn(elf, section))) {
            GElf_Shdr header;
            const char *name = gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
            is = name && strcmp(name, its_section) == 0;
        }
    elf_end(elf);
    close(fd);
    return is;
}

bool guests_status(const char *text, struct guests_status *ret)
{
    const char *tgid = strstr(text, "\nTgid:"), *parent = strstr(text, "\nPPid:");
    const char *tracer = strstr(text, "\nTracerPid:");

    if (!tgid || !parent || !tracer)
        return false;
    ret->tgid = (uint32_t)strtoul(tgid + strlen("\nTgid:"), NULL, 10);
    ret->parent = (uint32_t)strtoul(parent + strlen("\nPPid:"), NULL, 10);
    ret->tracer = (uint32_t)strtoul(tracer + strlen("\nTracerPid:"), NULL, 10);
    return true;
}

bool guests_read_status(uint32_t pid, struct guests_status *ret)
{
    char path[64], text[4096];

    snprintf(path, sizeof(path), "/proc/%u/status", pid);
    return vt_slurp(path, text, sizeof(text)) && guests_status(text, ret);
}

static int want(struct guests_list *list, uint32_t pid, uint32_t vm, uint32_t kind)
{
    const struct vt_wanted w = {
        .vm_start_time = vt_process_start(vm),
        .tgid = pid,
        .vm_tgid = vm,
        .vm_kind = VT_VM_UML,
        .vm_found = VT_FOUND_BY_TRACE,
        .kind = kind,
    };

    return guests_want(list, pid, &w);
}

int guests_uml_main(uint32_t tgid, struct guests_list *list)
{
    return want(list, tgid, tgid, VT_SLOT_THREAD);
}

typedef int child_visitor(void *context, uint32_t tgid, uint32_t child, bool traced);

/* Each process whose parent it is; ends where the visitor does not return 0, and returns that. */
static int visit_children(uint32_t tgid, child_visitor *visitor, void *context)
{
    DIR *dir = opendir("/proc");
    const struct dirent *e;
    struct guests_status s;
    int r = dir ? 0 : -errno;

    while (!r && (e = readdir(dir))) {
        const unsigned long pid = strtoul(e->d_name, NULL, 10);
        if (pid && pid <= INT32_MAX && guests_read_status((uint32_t)pid, &s) && s.parent == tgid)
            r = visitor(context, tgid, (uint32_t)pid, s.tracer == tgid);
    }
    if (dir)
        closedir(dir);
    return r;
}

static int want_child(void *context, uint32_t tgid, uint32_t child, bool traced)
{
    return want(context, child, tgid, traced ? VT_SLOT_THREAD : VT_SLOT_HELPER);
}

int guests_uml_children(uint32_t tgid, struct guests_list *list)
{
    return visit_children(tgid, want_child, list);
}

static int is_traced(void *context, uint32_t tgid, uint32_t child, bool traced)
{
    (void)context;
    (void)tgid;
    (void)child;
    return traced;
}

bool guests_uml_traces(uint32_t tgid)
{
    return visit_children(tgid, is_traced, NULL) > 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/readtext.h"
#include "guest-agent/task_source.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number behind "\nKEY:" of a status file; 0: there is none. */
static uint32_t number_of(const char *status, const char *key)
{
    const char *at = strstr(status, key);
    return at ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : 0;
}

bool vta_proc_who(uint32_t tid, struct vta_who *ret)
{
    char path[40], status[1024];
    snprintf(path, sizeof(path), "/proc/%u/status", tid);
    if (vta_read_text(path, status, sizeof(status)) <= 0 || strncmp(status, "Name:\t", 6) != 0)
        return false;
    *ret = (struct vta_who){ .tid = tid,
                             .tgid = number_of(status, "\nTgid:"),
                             .parent_tgid = number_of(status, "\nPPid:") };
    for (size_t i = 0; i + 1 < sizeof(ret->comm) && status[6 + i] && status[6 + i] != '\n'; i++)
        ret->comm[i] = status[6 + i];
    return ret->tgid != 0;
}

/* The next entry of a folder that is a number; 0: no more. */
static uint32_t next_number(DIR *folder)
{
    const struct dirent *entry;
    while ((entry = readdir(folder)))
        if (isdigit((unsigned char)entry->d_name[0]))
            return (uint32_t)strtoul(entry->d_name, NULL, 10);
    return 0;
}

static void each_thread(uint32_t pid, void (*see)(void *, const struct vta_who *), void *context)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    DIR *folder = opendir(path);
    uint32_t tid;
    while (folder && (tid = next_number(folder))) {
        struct vta_who who;
        if (vta_proc_who(tid, &who))
            see(context, &who);
    }
    if (folder)
        closedir(folder);
}

void vta_proc_each(void (*see)(void *context, const struct vta_who *who), void *context)
{
    DIR *folder = opendir("/proc");
    uint32_t pid;
    while (folder && (pid = next_number(folder)))
        each_thread(pid, see, context);
    if (folder)
        closedir(folder);
}

uint32_t vta_nr_cpus(void)
{
    char list[256];
    if (vta_read_text("/sys/devices/system/cpu/possible", list, sizeof(list)) <= 0)
        return (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
    const char *last = list;
    for (const char *p = list; *p; p++)
        if (*p == '-' || *p == ',')
            last = p + 1;
    return (uint32_t)strtoul(last, NULL, 10) + 1;
}

bool vta_in_list(const char *list, uint32_t cpu)
{
    while (isdigit((unsigned char)*list)) {
        char *end;
        const unsigned long first = strtoul(list, &end, 10);
        const unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
        if (cpu >= first && cpu <= last)
            return true;
        if (*end != ',')
            return false;
        list = end + 1;
    }
    return false;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chooses a source, and turns its stretches into frames. */
#include "guest-agent/tasks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest-agent/task_source.h"

struct vta_tasks {
    const struct vta_source *source;
    void *state;
    struct vta_out out;
};

/* Best first. */
static const struct vta_source *const sources[] = { &vta_source_bpf, &vta_source_perf, &vta_source_sampled };
enum { NR_SOURCES = sizeof(sources) / sizeof(sources[0]) };

static void see(void *context, const struct vta_who *who)
{
    struct vta_tasks *t = context;
    /* who was born meanwhile is known better from his fork */
    if (!vta_who_find(&t->out.whos, who->tid))
        vta_who_add(&t->out.whos, who);
}

static void reason(char *err, size_t n, const char *name, const char *why)
{
    const size_t have = strnlen(err, n);
    if (have < n)
        snprintf(err + have, n - have, "%s%s: %s", have ? "; " : "", name, why);
}

/* The first that opens, of those asked for. */
static int open_source(struct vta_tasks *t, char *err, size_t n)
{
    const char *wanted = getenv("VTIME_TASKS");
    int result = -EINVAL;
    for (int i = 0; i < NR_SOURCES; i++) {
        char why[160] = "";
        if (wanted && *wanted && strcmp(wanted, sources[i]->name) != 0)
            continue;
        t->out.source = sources[i]->source;
        result = sources[i]->open(&t->state, &t->out, why, sizeof(why));
        if (result == 0) {
            t->source = sources[i];
            return 0;
        }
        reason(err, n, sources[i]->name, why);
    }
    if (result == -EINVAL && n && !*err)
        reason(err, n, "VTIME_TASKS", "neither bpf, perf nor sampled");
    return result;
}

int vta_tasks_open(struct vta_tasks **ret, enum vtg_task_source *ret_source, char *err, size_t n)
{
    struct vta_tasks *t = calloc(1, sizeof(*t));
    if (n)
        *err = 0;
    if (!t)
        return -ENOMEM;
    const int result = open_source(t, err, n);
    if (result) {
        vta_tasks_close(t);
        return result;
    }
    /* the source tells births already: between it and this nobody comes unseen */
    if (t->source->source != VTG_TASKS_SAMPLED)
        vta_proc_each(see, t);
    *ret = t;
    *ret_source = t->source->source;
    return 0;
}

int vta_tasks_fd(const struct vta_tasks *t)
{
    return t->source->fd(t->state);
}

uint64_t vta_tasks_bound(const struct vta_tasks *t)
{
    return t->source->bound(t->state);
}

static void flush(struct vta_out *out)
{
    if (out->packer.frame.nr)
        out->frame(out->context, VTG_TASKS, &out->packer.frame, vta_pack_size(&out->packer));
    vta_pack_clear(&out->packer);
}

/* Its birth was not told, or is forgotten; interrupts have none. */
static bool find_who(uint32_t tid, struct vta_who *ret)
{
    if (tid != VTG_TID_INTERRUPTS)
        return vta_proc_who(tid, ret);
    *ret = (struct vta_who){ .tid = tid, .tgid = tid, .comm = "interrupts" };
    return true;
}

static void tell_who(struct vta_out *out, uint32_t tid)
{
    struct vta_who found, *who = vta_who_find(&out->whos, tid);
    if (tid == 0 || out->is_full || (who && who->told))
        return;
    if (!who && find_who(tid, &found))
        who = vta_who_add(&out->whos, &found);
    if (!who)
        return;
    struct vtg_task task = { .tid = tid, .tgid = who->tgid, .mark = who->mark };
    memcpy(task.comm, who->comm, sizeof(task.comm));
    who->told = out->frame(out->context, VTG_TASK, &task, sizeof(task));
    out->is_full = !who->told; /* it is told with a stretch of the next drain */
}

void vta_tell(struct vta_out *out, uint32_t cpu, uint32_t *lost, const struct vtg_stretch *s)
{
    tell_who(out, s->tid);
    if (!vta_pack(&out->packer, out->source, cpu, lost, s)) {
        flush(out);
        vta_pack(&out->packer, out->source, cpu, lost, s);
    }
}

void vta_tasks_drain(struct vta_tasks *t, vta_frame_sink *frame, void *context)
{
    t->out.frame = frame;
    t->out.context = context;
    t->out.is_full = false;
    t->source->drain(t->state, &t->out);
    flush(&t->out);
}

void vta_tasks_tell_again(struct vta_tasks *t)
{
    vta_who_tell_again(&t->out.whos);
}

void vta_tasks_mark(struct vta_tasks *t, uint32_t pid, uint32_t mark)
{
    struct vta_who who;
    if (!vta_who_find(&t->out.whos, pid) && vta_proc_who(pid, &who))
        vta_who_add(&t->out.whos, &who);
    vta_who_mark(&t->out.whos, pid, mark);
    if (t->source->mark)
        t->source->mark(t->state, pid, mark);
}

void vta_tasks_close(struct vta_tasks *t)
{
    if (!t)
        return;
    if (t->source)
        t->source->close(t->state);
    vta_who_release(&t->out.whos);
    free(t);
}

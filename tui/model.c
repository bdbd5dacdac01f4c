/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"

bool vtop_key_equal(struct vtop_key a, struct vtop_key b)
{
    return a.tgid == b.tgid && a.start_time == b.start_time;
}

void vtop_model_release(struct vtop_model *model)
{
    free(model->rows);
    free(model->blame);
    *model = (struct vtop_model){ 0 };
}

/* ---- rows ---- */

/* A vCPU that was not there in any part of the window is no row. */
static bool is_present(const struct vt_vcpu_figures *v)
{
    return v->window_ns > 0 && v->account.state[VT_ABSENT].ns < v->window_ns;
}

static void name_row(struct vtop_row *row, const struct vt_vm *vm)
{
    row->key = (struct vtop_key){ vm->tgid, vm->start_time.v };
    row->kind = vm->kind;
    row->found = vm->found;
    vt_name_clean(row->name, sizeof(row->name), vm->name, sizeof(vm->name));
}

static uint64_t magnitude(int64_t v)
{
    return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

static void fill_vcpu(struct vtop_row *row, const struct vt_vm *vm, const struct vt_vcpu_figures *v)
{
    *row = (struct vtop_row){ .is_vcpu = true,
                              .index = v->vcpu.index,
                              .tid = v->vcpu.tid,
                              .vcpus = 1,
                              .whole_ns = v->window_ns,
                              .account = v->account,
                              .residual_ns = v->residual_ns,
                              .ledger_residual_ns = magnitude(v->ledger_residual_ns),
                              .switches = v->switches,
                              .migrations = v->migrations,
                              .exits = v->exits,
                              .halts = v->halts,
                              .desync = v->desync,
                              .now = v->now,
                              .cpu = v->last_cpu };
    name_row(row, vm);
}

static int by_index(const void *a, const void *b)
{
    const struct vtop_row *x = a, *y = b;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return (x->tid > y->tid) - (x->tid < y->tid);
}

/* Residuals of opposite sign must not hide each other. */
static void add_vcpu(struct vtop_row *guest, const struct vtop_row *v)
{
    guest->residual_ns += (int64_t)magnitude(v->residual_ns);
    guest->ledger_residual_ns += v->ledger_residual_ns;
    guest->switches += v->switches;
    guest->migrations += v->migrations;
    guest->exits += v->exits;
    guest->halts += v->halts;
    guest->desync += v->desync;
}

/*
 * rows[0] is the guest, its vCPUs follow; the number of rows, 0 if it is not
 * there.  Two lives of one vCPU (its thread was replaced) are one vCPU of the
 * guest's hundred per cent.
 */
static size_t fill_guest(struct vtop_row *rows, const struct vt_guest *g, uint64_t window_ns)
{
    struct vtop_row *guest = &rows[0];
    size_t n = 0;
    *guest = (struct vtop_row){ .account = g->account,
                                .hazard = g->joint.state[VT_JOINT_HAZARD],
                                .window_ns = window_ns };
    name_row(guest, &g->vm);
    for (size_t i = 0; i < g->nr_vcpus; i++)
        if (is_present(&g->vcpus[i]))
            fill_vcpu(&rows[++n], &g->vm, &g->vcpus[i]);
    if (n == 0)
        return 0;
    qsort(rows + 1, n, sizeof(*rows), by_index);
    for (size_t i = 1; i <= n; i++) {
        add_vcpu(guest, &rows[i]);
        guest->vcpus += i == 1 || rows[i].index != rows[i - 1].index;
    }
    guest->whole_ns = guest->vcpus * window_ns;
    guest->has_hazard = g->joint.known && guest->vcpus > 1;
    return n + 1;
}

static void add_figure(struct vt_figure *to, const struct vt_figure *from)
{
    to->ns += from->ns;
    to->bound_ns += from->bound_ns;
    if (from->ns && to->accuracy < from->accuracy)
        to->accuracy = from->accuracy;
}

static void add_to_head(struct vtop_head *head, const struct vtop_row *guest)
{
    const struct vt_account *a = &guest->account;
    struct vt_account *all = &head->all;
    for (size_t i = 0; i < VT_NR_STATES; i++)
        add_figure(&all->state[i], &a->state[i]);
    add_figure(&all->used, &a->used);
    add_figure(&all->overhead, &a->overhead);
    add_figure(&all->stolen, &a->stolen);
    add_figure(&all->stalled, &a->stalled);
    add_figure(&all->idle, &a->idle);
    add_figure(&all->paused, &a->paused);
    add_figure(&all->unknown, &a->unknown);
    head->guests++;
    head->vcpus += guest->vcpus;
    head->whole_ns += guest->whole_ns;
}

/* ---- the head ---- */

static double share(uint64_t now, uint64_t before, uint64_t span_ns)
{
    return span_ns && now > before ? (double)(now - before) / (double)span_ns : 0.0;
}

/* Readings are cumulated since the recording began: a new one tells of the time since the one before. */
static void fill_shares(struct vtop_model *m, const struct vt_snapshot *s, struct vtop_own_cost own)
{
    const struct vt_observer *o = &s->observer;
    struct vt_observer *b = &m->before;
    struct vtop_head *h = &m->head;
    if (o->at.v && (b->at.v == 0 || b->at.v > o->at.v)) /* the first, or another recording */
        *b = (struct vt_observer){ .at = s->host.begin };
    if (o->at.v > b->at.v) {
        const uint64_t span = o->at.v - b->at.v;
        h->recorder_share = share(o->cpu_ns, b->cpu_ns, span);
        h->bpf_share = share(o->bpf_ns, b->bpf_ns, span);
        h->steal_share = share(o->host_steal_ns, b->host_steal_ns, span * s->host.nr_cpus);
        *b = *o;
    }
    if (m->at_before && own.at_ns > m->at_before)
        h->own_share = share(own.cpu_ns, m->own_ns_before, own.at_ns - m->at_before);
    m->own_ns_before = own.cpu_ns;
    m->at_before = own.at_ns;
}

static void fill_head(struct vtop_model *m, const struct vt_snapshot *s, struct vtop_own_cost own)
{
    struct vtop_head *h = &m->head;
    /* shares stay until there is a new reading */
    *h = (struct vtop_head){ .window = s->window,
                             .host = s->host,
                             .cut_off = s->cut_off,
                             .recorder_share = h->recorder_share,
                             .bpf_share = h->bpf_share,
                             .own_share = h->own_share,
                             .steal_share = h->steal_share };
    for (size_t i = 0; i < VT_NR_LOST_REASONS; i++)
        if (i != VT_LOST_AGENT)
            h->lost_events += s->lost[i];
    h->lost_agent = s->lost[VT_LOST_AGENT];
    fill_shares(m, s, own);
}

static int by_victim(const void *a, const void *b)
{
    const struct vt_blame *x = a, *y = b;
    const int order = strcmp(x->victim, y->victim);
    return order ? order : (x->ns < y->ns) - (x->ns > y->ns);
}

int vtop_model_update(struct vtop_model *model, const struct vt_snapshot *s, struct vtop_own_cost own)
{
    size_t room = 1;
    for (size_t i = 0; i < s->nr_guests; i++)
        room += s->guests[i].nr_vcpus + 1;
    struct vtop_row *rows = calloc(room, sizeof(*rows));
    struct vt_blame *blame = calloc(s->nr_blame + 1, sizeof(*blame));
    if (!rows || !blame) {
        free(rows);
        free(blame);
        return -ENOMEM;
    }
    free(model->rows);
    free(model->blame);
    model->rows = rows;
    model->blame = blame;
    model->nr_rows = 0;
    fill_head(model, s, own);
    for (size_t i = 0; i < s->nr_guests; i++) {
        struct vtop_row *guest = rows + model->nr_rows;
        const size_t n = fill_guest(guest, &s->guests[i], s->window.to.v - s->window.from.v);
        if (n > 0)
            add_to_head(&model->head, guest);
        model->nr_rows += n;
    }
    for (size_t i = 0; i < s->nr_blame; i++) {
        blame[i] = s->blame[i];
        vt_name_clean(blame[i].victim, sizeof(blame[i].victim), s->blame[i].victim, VT_VM_NAME_LEN);
        vt_name_clean(blame[i].culprit, sizeof(blame[i].culprit), s->blame[i].culprit, VT_VM_NAME_LEN);
    }
    model->nr_blame = s->nr_blame;
    qsort(blame, s->nr_blame, sizeof(*blame), by_victim);
    model->filled = true;
    return 0;
}

/* ---- what to show ---- */

struct order {
    vtop_compare *compare;
    const void *context;
};

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct order *order = context;
    return order->compare(order->context, *(const struct vtop_row *const *)a,
                          *(const struct vtop_row *const *)b);
}

int vtop_model_arrange(const struct vtop_model *model, vtop_compare *compare, const void *compare_context,
                       vtop_is_open *is_open, const void *open_context, const struct vtop_row ***ret,
                       size_t *ret_n)
{
    struct order order = { compare, compare_context };
    const struct vtop_row *end = model->rows + model->nr_rows;
    const struct vtop_row **guests = calloc(model->nr_rows + 1, sizeof(*guests)), **out;
    size_t nr = 0, n = 0;
    if (!guests)
        return -ENOMEM;
    for (const struct vtop_row *r = model->rows; r < end; r++)
        if (!r->is_vcpu)
            guests[nr++] = r;
    qsort_r(guests, nr, sizeof(*guests), compare_rows, &order);
    out = calloc(model->nr_rows + 1, sizeof(*out));
    for (size_t i = 0; out && i < nr; i++) {
        out[n++] = guests[i];
        for (const struct vtop_row *r = guests[i] + 1; r < end && r->is_vcpu; r++)
            if (is_open(open_context, guests[i]->key))
                out[n++] = r;
    }
    free(guests);
    if (!out)
        return -ENOMEM;
    *ret = out;
    *ret_n = n;
    return 0;
}

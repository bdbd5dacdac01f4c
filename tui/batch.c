/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tui/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "base/state.h"
#include "tui/text.h"

enum { BATCH_NAME_CELLS = 20, BATCH_MIX_CELLS = 24 };

void vtop_format_time(char *out, size_t size, const struct vtop_head *head)
{
    const uint64_t at = head->window.to.v + head->host.realtime_offset_ns;
    const time_t seconds = (time_t)(at / VT_NSEC_PER_SEC);
    char text[32] = "";
    struct tm tm;
    if (localtime_r(&seconds, &tm))
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(out, size, "%s.%03u", text, (unsigned int)(at % VT_NSEC_PER_SEC / 1000000));
}

void vtop_format_bill(char *out, size_t size, const struct vtop_head *head)
{
    char agent[48] = "", bpf[48] = "", own[48] = "";
    if (head->lost_agent)
        snprintf(agent, sizeof(agent), " (+%llu guest frames)", (unsigned long long)head->lost_agent);
    if (head->bpf_share > 0.0)
        snprintf(bpf, sizeof(bpf), ", BPF %.2f", 100.0 * head->bpf_share);
    if (head->own_share > 0.0)
        snprintf(own, sizeof(own), ", vtop %.2f", 100.0 * head->own_share);
    snprintf(out, size, "lost %llu events%s  host steal %.2f%%  cost in %%CPU: recorder %.2f%s%s",
             (unsigned long long)head->lost_events, agent, 100.0 * head->steal_share,
             100.0 * head->recorder_share, bpf, own);
}

static bool all_open(const void *context, struct vtop_key key)
{
    (void)key;
    return *(const bool *)context;
}

static void print_residuals(FILE *out, const struct vtop_row *row)
{
    if (row->residual_ns || row->ledger_residual_ns)
        fprintf(out, "%s%s: residual %lld ns, ledger's residual %llu ns\n", row->is_vcpu ? "  vCPU of " : "",
                row->name, (long long)row->residual_ns, (unsigned long long)row->ledger_residual_ns);
}

int vtop_batch_text(FILE *out, const struct vtop_model *model, const struct vtop_sort *sort, bool vcpus,
                    bool utf8)
{
    const struct vtop_style style = { utf8, BATCH_NAME_CELLS, BATCH_MIX_CELLS };
    const struct vtop_head *head = &model->head;
    const struct vtop_row **rows = NULL;
    char line[1024];
    size_t n = 0;
    const int e = vtop_model_arrange(model, vtop_compare_rows, sort, all_open, &vcpus, &rows, &n);
    if (e)
        return e;
    vtop_format_time(line, sizeof(line), head);
    fprintf(out, "vtop %s  host %s  window %.3f s  guests %u  vCPUs %u\n", line, head->host.hostname,
            (double)(head->window.to.v - head->window.from.v) / 1e9, head->guests, head->vcpus);
    vtop_format_bill(line, sizeof(line), head);
    fprintf(out, "%s\n%s\n", line, vtop_title_line((char[1024]){ "" }, 1024, NULL, &style));
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s\n", vtop_row_line(line, sizeof(line), rows[i], NULL, &style));
    for (size_t i = 0; i < n; i++)
        print_residuals(out, rows[i]);
    fputc('\n', out);
    free(rows);
    return fflush(out) == 0 ? 0 : -errno;
}

/* ---- JSON ---- */

static const char *const accuracy_names[] = {
    [VT_EXACT] = "exact", [VT_BOUNDED] = "bounded", [VT_ESTIMATED] = "estimated"
};

static void add_figure(cJSON *to, const char *name, const struct vt_figure *f)
{
    cJSON *figure = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(figure, "ns", (double)f->ns);
    cJSON_AddStringToObject(figure, "accuracy", accuracy_names[f->accuracy]);
    cJSON_AddNumberToObject(figure, "bound_ns", (double)f->bound_ns);
}

static void add_ratio(cJSON *to, const char *name, const struct vt_ratio *r)
{
    if (!r->known) {
        cJSON_AddNullToObject(to, name);
        return;
    }
    cJSON *ratio = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(ratio, "value", r->value);
    cJSON_AddNumberToObject(ratio, "bound", r->bound);
}

static void add_account(cJSON *to, const struct vt_account *a)
{
    add_ratio(to, "dilation", &a->dilation);
    add_ratio(to, "contention_dilation", &a->contention_dilation);
    add_figure(to, "used", &a->used);
    add_figure(to, "overhead", &a->overhead);
    add_figure(to, "stolen", &a->stolen);
    add_figure(to, "stalled", &a->stalled);
    add_figure(to, "idle", &a->idle);
    add_figure(to, "paused", &a->paused);
    add_figure(to, "unknown", &a->unknown);
    cJSON *states = cJSON_AddObjectToObject(to, "states");
    for (size_t i = 0; i < VT_NR_STATES; i++)
        if (a->state[i].ns)
            add_figure(states, vt_states[i].name, &a->state[i]);
}

static cJSON *row_object(const struct vtop_row *row)
{
    cJSON *o = cJSON_CreateObject();
    if (row->is_vcpu) {
        cJSON_AddNumberToObject(o, "id", row->index);
        cJSON_AddNumberToObject(o, "tid", row->tid);
        cJSON_AddStringToObject(o, "now", vt_states[row->now].name);
    } else {
        cJSON_AddStringToObject(o, "name", row->name);
        cJSON_AddNumberToObject(o, "pid", row->key.tgid);
        cJSON_AddStringToObject(o, "kind", vt_vm_kinds[row->kind].key);
        cJSON_AddNumberToObject(o, "nr_vcpus", row->vcpus);
        if (row->has_hazard)
            add_figure(o, "concurrency_hazard", &row->hazard);
        else
            cJSON_AddNullToObject(o, "concurrency_hazard");
    }
    cJSON_AddNumberToObject(o, "whole_ns", (double)row->whole_ns);
    cJSON_AddNumberToObject(o, "residual_ns", (double)row->residual_ns);
    cJSON_AddNumberToObject(o, "ledger_residual_ns", (double)row->ledger_residual_ns);
    add_account(o, &row->account);
    return o;
}

static cJSON *block_object(const struct vtop_head *h)
{
    char time[48];
    cJSON *o = cJSON_CreateObject();
    vtop_format_time(time, sizeof(time), h);
    cJSON_AddNumberToObject(o, "schema", 1);
    cJSON_AddStringToObject(o, "time", time);
    cJSON_AddStringToObject(o, "host", h->host.hostname);
    cJSON_AddNumberToObject(o, "window_ns", (double)(h->window.to.v - h->window.from.v));
    cJSON_AddNumberToObject(o, "lost_events", (double)h->lost_events);
    cJSON_AddNumberToObject(o, "lost_guest_frames", (double)h->lost_agent);
    cJSON *observer = cJSON_AddObjectToObject(o, "observer_cpus");
    cJSON_AddNumberToObject(observer, "recorder", h->recorder_share);
    cJSON_AddNumberToObject(observer, "bpf", h->bpf_share);
    cJSON_AddNumberToObject(observer, "vtop", h->own_share);
    cJSON_AddNumberToObject(o, "host_steal_share", h->steal_share);
    return o;
}

int vtop_batch_json(FILE *out, const struct vtop_model *model, const struct vtop_sort *sort, bool vcpus)
{
    const struct vtop_row **rows = NULL;
    size_t n = 0;
    int e = vtop_model_arrange(model, vtop_compare_rows, sort, all_open, &vcpus, &rows, &n);
    if (e)
        return e;
    cJSON *block = block_object(&model->head), *guests = cJSON_AddArrayToObject(block, "guests"), *of = NULL;
    for (size_t i = 0; i < n; i++) {
        cJSON *row = row_object(rows[i]);
        cJSON_AddItemToArray(rows[i]->is_vcpu ? of : guests, row);
        if (!rows[i]->is_vcpu && vcpus)
            of = cJSON_AddArrayToObject(row, "vcpus");
    }
    free(rows);
    char *text = cJSON_PrintUnformatted(block);
    cJSON_Delete(block);
    if (!text)
        return -ENOMEM;
    e = fprintf(out, "%s\n", text) < 0 || fflush(out) ? -errno : 0;
    cJSON_free(text);
    return e;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows in: kept sorted, bounded, and checked for what later code relies on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "correlator/internal.h"

/* Of one VM: a guest that floods its channel hurts its own rows only. */
#define MAX_MARKS   4096u
#define MAX_GAPS    4096u
#define MAX_SAMPLES 65536u

int vt_grow(void **array, size_t *room, size_t n, size_t size)
{
    if (n < *room)
        return 0;
    size_t more = *room ? 2 * *room : 8;
    void *p = realloc(*array, more * size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *room = more;
    return 0;
}

/* vt_grow() for an array in a structure whose fields are x, nr_x and room_x. */
#define GROW(s, x) vt_grow((void **)&(s)->x, &(s)->room_##x, (s)->nr_##x, sizeof(*(s)->x))

struct vt_correlator *vt_correlator_new(void)
{
    return calloc(1, sizeof(struct vt_correlator));
}

static void release_life(struct vt_life *life)
{
    vt_slicelog_release(&life->slices);
    free(life->polls);
    free(life->checkpoints);
    free(life->epochs);
    free(life->moves);
    free(life->outer);
    free(life->exits);
    free(life->kvm_counts);
    free(life->addresses);
    vt_readings_release(&life->readings);
}

/* What its guest said; not the machine itself. */
static void release_machine(struct vt_machine *m)
{
    vt_view_log_release(&m->said);
    free(m->samples);
    free(m->marks);
    free(m->gaps);
    vt_task_log_release(&m->tasks);
    m->samples = NULL;
    m->marks = NULL;
    m->gaps = NULL;
    m->nr_samples = m->room_samples = m->nr_marks = m->room_marks = m->nr_gaps = m->room_gaps = 0;
}

void vt_correlator_free(struct vt_correlator *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->nr_lives; i++)
        release_life(&c->lives[i]);
    for (size_t i = 0; i < c->nr_machines; i++)
        release_machine(&c->machines[i]);
    free(c->lives);
    free(c->machines);
    free(c->pairs);
    free(c->losses);
    free(c->observers);
    free(c->stretches);
    vt_occupants_release(&c->occupants);
    vt_helpers_release(c);
    free(c->counter_events);
    free(c->kvm_stats);
    free(c->topology);
    free(c);
}

/* Index of the first machine (life) whose id is not below id. */
static size_t machine_place(const struct vt_correlator *c, int64_t id)
{
    size_t low = 0, high = c->nr_machines;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->machines[middle].row.id >= id)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static size_t life_place(const struct vt_correlator *c, int64_t id)
{
    size_t low = 0, high = c->nr_lives;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->lives[middle].row.id >= id)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

const struct vt_machine *vt_find_machine(const struct vt_correlator *c, int64_t id)
{
    size_t i = machine_place(c, id);
    return i < c->nr_machines && c->machines[i].row.id == id ? &c->machines[i] : NULL;
}

void vt_lives_around(const struct vt_correlator *c, const struct vt_machine *m, size_t *ret_from,
                     size_t *ret_to)
{
    const bool has = m && m->first_life;
    *ret_from = has ? life_place(c, m->first_life) : 0;
    *ret_to = has ? life_place(c, m->last_life + 1) : 0;
}

/* Is text this number, and nothing else? */
static bool is_number(const char *text, uint32_t number)
{
    char *end;
    return *text >= '0' && *text <= '9' && strtoul(text, &end, 10) == number && !*end;
}

/* By name, by pid, or by the name before the collector told it from another's by its pid. */
bool vt_machine_shown(const struct vt_correlator *c, const struct vt_machine *m)
{
    const char *only = c->host.only, *name = m->row.name, *tail = strrchr(name, '/');
    if (!only[0] || strcmp(only, name) == 0 || is_number(only, m->row.tgid))
        return true;
    if (!tail || !is_number(tail + 1, m->row.tgid))
        return false;
    size_t head = (size_t)(tail - name); /* may have been cut to make room for the pid */
    return strncmp(only, name, head) == 0 && (strlen(only) == head || strlen(name) == VT_VM_NAME_LEN - 1);
}

struct vt_life *vt_find_life(const struct vt_correlator *c, int64_t id)
{
    size_t i = life_place(c, id);
    return i < c->nr_lives && c->lives[i].row.id == id ? &c->lives[i] : NULL;
}

int vt_correlator_host(void *context, const struct vt_host *row)
{
    struct vt_correlator *c = context;
    c->host = *row;
    c->has_host = true;
    return 0;
}

int vt_correlator_vm(void *context, const struct vt_vm *row)
{
    struct vt_correlator *c = context;
    size_t i = machine_place(c, row->id);
    if (i < c->nr_machines && c->machines[i].row.id == row->id) {
        const enum vt_vm_found found = c->machines[i].row.found;
        c->machines[i].row = *row;
        c->machines[i].row.found = found;
        return 0;
    }
    int r = GROW(c, machines);
    if (r)
        return r;
    memmove(&c->machines[i + 1], &c->machines[i], (c->nr_machines - i) * sizeof(*c->machines));
    c->machines[i] = (struct vt_machine){ .row = *row };
    c->nr_machines++;
    return 0;
}

int vt_correlator_vm_found(void *context, const struct vt_vm_how *row)
{
    struct vt_correlator *c = context;
    size_t i = machine_place(c, row->vm);
    if (i == c->nr_machines || c->machines[i].row.id != row->vm)
        return -EUCLEAN;
    c->machines[i].row.found = row->found;
    return 0;
}

int vt_correlator_vcpu(void *context, const struct vt_vcpu *row)
{
    struct vt_correlator *c = context;
    size_t i = life_place(c, row->id), at = machine_place(c, row->vm);
    if (at == c->nr_machines || c->machines[at].row.id != row->vm)
        return -EUCLEAN;
    struct vt_machine *m = &c->machines[at];
    if (!m->first_life || row->id < m->first_life)
        m->first_life = row->id;
    m->last_life = row->id > m->last_life ? row->id : m->last_life;
    if (i < c->nr_lives && c->lives[i].row.id == row->id) {
        c->lives[i].row = *row;
        return 0;
    }
    int r = GROW(c, lives);
    if (r)
        return r;
    memmove(&c->lives[i + 1], &c->lives[i], (c->nr_lives - i) * sizeof(*c->lives));
    c->lives[i] = (struct vt_life){ .row = *row, .start = row->born.v };
    c->nr_lives++;
    return 0;
}

int vt_correlator_tsc_epoch(void *context, const struct vt_tsc_epoch *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || (life->nr_epochs && life->epochs[life->nr_epochs - 1].at.v > row->at.v))
        return -EUCLEAN;
    int r = GROW(life, epochs);
    if (!r)
        life->epochs[life->nr_epochs++] = *row;
    return r;
}

int vt_correlator_clock_pair(void *context, const struct vt_clock_pair *row)
{
    struct vt_correlator *c = context;
    /* far below what 128-bit products of two differences bear */
    if (row->ns.v >> 62 || row->tsc.v >> 62)
        return -EUCLEAN;
    if (c->nr_pairs &&
        (row->tsc.v <= c->pairs[c->nr_pairs - 1].tsc.v || row->ns.v <= c->pairs[c->nr_pairs - 1].ns.v)) {
        c->bad_pairs++;
        return 0;
    }
    int r = GROW(c, pairs);
    if (!r)
        c->pairs[c->nr_pairs++] = *row;
    return r;
}

int vt_correlator_loss(void *context, const struct vt_loss *row)
{
    struct vt_correlator *c = context;
    if ((unsigned int)row->reason >= VT_NR_LOST_REASONS)
        return -EUCLEAN;
    int r = GROW(c, losses);
    if (!r)
        c->losses[c->nr_losses++] = *row;
    return r;
}

int vt_correlator_observer(void *context, const struct vt_observer *row)
{
    struct vt_correlator *c = context;
    int r = GROW(c, observers);
    if (!r)
        c->observers[c->nr_observers++] = *row;
    return r;
}

int vt_correlator_occupancy(void *context, const struct vt_occupancy *row)
{
    struct vt_correlator *c = context;
    struct vt_stretch s = { .from = row->from.v, .to = row->to.v, .cpu = row->cpu };
    if (s.from > s.to || row->kind >= VT_NR_OCCUPANTS || row->cpu >= VT_MAX_CPUS)
        return -EUCLEAN;
    struct vt_occupant_id id = { .kind = row->kind, .tgid = row->tgid };
    memcpy(id.comm, row->comm, strnlen(row->comm, sizeof(id.comm) - 1));
    int r = vt_occupants_add(&c->occupants, &id, &s.who);
    if (!r)
        r = GROW(c, stretches);
    if (!r)
        c->stretches[c->nr_stretches++] = s;
    return r;
}

int vt_correlator_move(void *context, const struct vt_vcpu_move *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || (life->nr_moves && life->moves[life->nr_moves - 1].at.v > row->at.v))
        return -EUCLEAN;
    int r = GROW(life, moves);
    if (!r)
        life->moves[life->nr_moves++] = *row;
    return r;
}

bool vt_is_imported(const struct vt_correlator *c, host_ns host, host_tsc relay)
{
    host_ns end = c->host.end;
    if (!end.v) /* cut off: as find_end() in collector/import.c has it */
        end = c->nr_observers ? c->observers[c->nr_observers - 1].at : c->host.begin;
    return relay.v == 0 && host.v == end.v;
}

/*
 * Every second one of each vCPU is dropped, its first is kept: the longer ago,
 * the thinner.  The vCPU's number is the guest's word: those that share a bit
 * are thinned together, so that about half is dropped whatever it says.
 */
static void thin_samples(struct vt_machine *m)
{
    bool drop_next[1024] = { false };
    size_t kept = 0;
    for (size_t i = 0; i < m->nr_samples; i++) {
        bool *dropped = &drop_next[m->samples[i].clocks.vcpu % 1024];
        if (!*dropped)
            m->samples[kept++] = m->samples[i];
        *dropped = !*dropped;
    }
    m->nr_samples = kept;
}

static int keep_sample(struct vt_machine *m, const struct vt_sample *sample)
{
    if (m->nr_samples >= MAX_SAMPLES)
        thin_samples(m);
    int r = GROW(m, samples);
    if (!r)
        m->samples[m->nr_samples++] = *sample;
    return r;
}

static int keep_mark(struct vt_machine *m, const struct vt_sample *sample, const struct vtg_mark *mark)
{
    if (m->nr_marks >= MAX_MARKS) { /* the newest are the ones asked for */
        memmove(m->marks, m->marks + MAX_MARKS / 2, (m->nr_marks - MAX_MARKS / 2) * sizeof(*m->marks));
        m->nr_marks -= MAX_MARKS / 2;
        m->marks_dropped += MAX_MARKS / 2;
    }
    int r = GROW(m, marks);
    if (r)
        return r;
    struct vt_mark *to = &m->marks[m->nr_marks++];
    *to = (struct vt_mark){ .sample = *sample, .kind = mark->kind, .id = mark->id };
    memcpy(to->name, mark->name, sizeof(to->name));
    return 0;
}

static int keep_gaps(struct vt_machine *m, host_ns host, const struct vtg_gaps *gaps)
{
    if (m->nr_gaps >= MAX_GAPS) {
        memmove(m->gaps, m->gaps + MAX_GAPS / 2, (m->nr_gaps - MAX_GAPS / 2) * sizeof(*m->gaps));
        m->nr_gaps -= MAX_GAPS / 2;
    }
    int r = GROW(m, gaps);
    if (!r)
        m->gaps[m->nr_gaps++] =
            (struct vt_gap_sum){ host, gaps->vcpu, gaps->threshold, gaps->count, gaps->sum };
    return r;
}

int vt_correlator_guest_record(void *context, const struct vt_guest_record *row)
{
    struct vt_correlator *c = context;
    size_t i = machine_place(c, row->vm);
    if (i == c->nr_machines || c->machines[i].row.id != row->vm)
        return -EUCLEAN;
    struct vt_machine *m = &c->machines[i];
    struct vt_sample sample = { .host = row->host, .host_tsc = row->host_tsc };
    int r;
    switch (row->type) {
    case VTG_SYSTEM:
    case VTG_VIEW:
    case VTG_CPUS:
    case VTG_EVENT:
        return vt_view_log_record(&m->said, row);
    case VTG_HELLO:
        m->hello = row->hello;
        m->has_hello = true;
        return 0;
    case VTG_CLOCKS:
        sample.clocks = row->clocks;
        return keep_sample(m, &sample);
    case VTG_MARK:
        sample.clocks = row->mark.clocks;
        r = keep_sample(m, &sample);
        return r ? r : keep_mark(m, &sample, &row->mark);
    case VTG_GAPS:
        return keep_gaps(m, row->host, &row->gaps);
    default:
        return vt_task_log_add(&m->tasks, row);
    }
}

int vt_correlator_exchange(void *context, const struct vt_exchange *row)
{
    struct vt_correlator *c = context;
    size_t i = machine_place(c, row->vm);
    if (i == c->nr_machines || c->machines[i].row.id != row->vm)
        return -EUCLEAN;
    return vt_view_log_exchange(&c->machines[i].said, row);
}

int vt_correlator_channel_event(void *context, const struct vt_channel_event *row)
{
    struct vt_correlator *c = context;
    size_t i = machine_place(c, row->vm);
    if (i == c->nr_machines || c->machines[i].row.id != row->vm)
        return -EUCLEAN;
    return vt_view_log_channel_event(&c->machines[i].said, row);
}

int vt_correlator_checkpoint(void *context, const struct vt_checkpoint *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    const struct vt_checkpoint *last =
        life && life->nr_checkpoints ? &life->checkpoints[life->nr_checkpoints - 1] : NULL;
    if (!life || (unsigned int)row->state >= VT_NR_STATES || row->open.off_state >= VT_NR_STATES ||
        row->open.wait_state >= VT_NR_STATES || row->last.v > row->at.v)
        return -EUCLEAN;
    if (last && (last->at.v > row->at.v || last->open.seq > row->open.seq))
        return -EUCLEAN;
    int r = GROW(life, checkpoints);
    if (!r)
        life->checkpoints[life->nr_checkpoints++] = *row;
    return r;
}

int vt_correlator_counter_event(void *context, const struct vt_counter_event *row)
{
    struct vt_correlator *c = context;
    if ((unsigned int)row->event >= VT_NR_COUNTERS || (unsigned int)row->side >= VT_NR_SIDES ||
        (row->vcpu && !vt_find_life(c, row->vcpu)))
        return -EUCLEAN;
    int r = GROW(c, counter_events);
    if (!r)
        c->counter_events[c->nr_counter_events++] = *row;
    return r;
}

int vt_correlator_counter(void *context, const struct vt_counter_reading *row)
{
    struct vt_life *life = vt_find_life(context, row->vcpu);
    if (!life || (unsigned int)row->event >= VT_NR_COUNTERS || (unsigned int)row->side >= VT_NR_SIDES)
        return -EUCLEAN;
    return vt_readings_add(&life->readings, row);
}

int vt_poll_of(const struct vt_slice *s, struct vt_poll *ret)
{
    if (s->tail_poll_ns == 0)
        return 0;
    if (s->tail_back_ns > s->t_out || s->tail_poll_ns > s->t_out - s->tail_back_ns ||
        (s->tail_state != VT_KVM && s->tail_state != VT_RUN))
        return -EUCLEAN;
    ret->to = s->t_out - s->tail_back_ns;
    ret->from = ret->to - s->tail_poll_ns;
    ret->was = s->tail_state == VT_KVM ? VT_ON_KVM : VT_ON_RUN;
    return 1;
}

static int keep_poll(struct vt_life *life, const struct vt_slice *s)
{
    struct vt_poll poll;
    int r = vt_poll_of(s, &poll);
    if (r <= 0)
        return r;
    if (life->nr_polls && life->polls[life->nr_polls - 1].to > poll.to)
        return -EUCLEAN;
    r = GROW(life, polls);
    if (!r)
        life->polls[life->nr_polls++] = poll;
    return r;
}

int vt_correlator_slices(void *context, int64_t vcpu, const struct vt_slice *slices, size_t n)
{
    struct vt_life *life = vt_find_life(context, vcpu);
    if (!life)
        return -EUCLEAN;
    for (size_t i = 0; i < n; i++) {
        const struct vt_slice *s = &slices[i];
        if (s->off_state >= VT_NR_STATES || s->wait_state >= VT_NR_STATES)
            return -EUCLEAN;
        if (!life->slices.has_last && s->flags & VT_SLICE_FIRST && s->t_out < life->start)
            life->start = s->t_out;
        int r = keep_poll(life, s);
        if (!r)
            r = vt_slicelog_append(&life->slices, s);
        if (r)
            return r;
        life->ended = s->flags & VT_SLICE_LAST;
    }
    return 0;
}

/* ---- what the rows can tell ---- */

uint64_t vt_life_known_to(const struct vt_life *life)
{
    const struct vt_slicelog *log = &life->slices;
    uint64_t known = log->has_last ? log->latest : 0;
    for (size_t i = life->nr_checkpoints; i-- > 0;) {
        const struct vt_checkpoint *cp = &life->checkpoints[i];
        if (log->has_last && cp->open.seq <= log->last_seq)
            break;
        if (!log->has_last || cp->open.seq == log->last_seq + 1)
            return vt_max(known, cp->at.v);
    }
    return known;
}

bool vt_life_is_over(const struct vt_life *life)
{
    return life->ended ||
           (life->nr_checkpoints && life->checkpoints[life->nr_checkpoints - 1].state == VT_ABSENT);
}

/*
 * The collector reads each vCPU once a round, a moment after it has drained the
 * slices: a vCPU's slices may be a round behind its checkpoints.  One that is
 * further behind (its rows were lost) does not hold the others back: its time
 * is LOST.  What is later than every third newest checkpoint is not behind.
 */
static uint64_t extent_end(const struct vt_correlator *c)
{
    uint64_t newest = 0, before = 0, end = UINT64_MAX, most = 0;
    for (size_t i = 0; i < c->nr_lives; i++) {
        const struct vt_life *life = &c->lives[i];
        size_t n = life->nr_checkpoints;
        newest = vt_max(newest, n ? life->checkpoints[n - 1].at.v : 0);
        before = vt_max(before, n > 2 ? life->checkpoints[n - 3].at.v : 0);
    }
    for (size_t i = 0; i < c->nr_lives; i++) {
        uint64_t known = vt_life_known_to(&c->lives[i]);
        most = vt_max(most, known);
        if (!vt_life_is_over(&c->lives[i]) && c->lives[i].nr_checkpoints && known > before)
            end = vt_min(end, known);
    }
    if (end == UINT64_MAX) /* no living vCPU was read: up to the last word on any */
        end = c->host.end.v ? c->host.end.v : vt_max(most, newest);
    return c->host.end.v ? vt_min(c->host.end.v, end) : end;
}

struct vt_window vt_correlator_extent(const struct vt_correlator *c)
{
    struct vt_window w = { { c->host.begin.v }, { extent_end(c) } };
    if (!c->has_host && c->nr_lives) {
        w.from.v = UINT64_MAX;
        for (size_t i = 0; i < c->nr_lives; i++)
            w.from.v = vt_min(w.from.v, c->lives[i].start);
    }
    w.from.v = vt_max(w.from.v, c->forgotten);
    return w;
}

/* ---- forgetting ---- */

/* How much later than what it tells of a row may come: two of the collector's longest intervals. */
#define LATEST_ROW (120 * VT_NSEC_PER_SEC)

static void drop(void *array, size_t *n, size_t first, size_t size)
{
    *n -= first;
    if (first)
        memmove(array, (char *)array + first * size, *n * size);
}

static void forget_life(struct vt_life *life, uint64_t before)
{
    size_t n = 0;
    vt_slicelog_forget(&life->slices, before);
    while (n < life->nr_polls && life->polls[n].to <= before)
        n++;
    drop(life->polls, &life->nr_polls, n, sizeof(*life->polls));
    n = 0;
    while (n < life->nr_moves && life->moves[n].at.v < before)
        n++;
    drop(life->moves, &life->nr_moves, n, sizeof(*life->moves));
    vt_outer_forget(life, before);
    vt_readings_forget(&life->readings, before);
    vt_exits_forget(life, before);
    vt_kvm_counts_forget(life, before);
    vt_addresses_forget(life, before);
    /* the newest one before the limit is what growth is counted from */
    n = 0;
    while (n + 1 < life->nr_checkpoints && life->checkpoints[n + 1].at.v <= before)
        n++;
    drop(life->checkpoints, &life->nr_checkpoints, n, sizeof(*life->checkpoints));
}

/* Over for so long that no row can tell of it any more: the collector ticks once a minute at least. */
static bool is_past(const struct vt_life *life, uint64_t before)
{
    const size_t n = life->nr_checkpoints;
    const uint64_t last = vt_max(life->slices.latest, n ? life->checkpoints[n - 1].at.v : life->start);
    return vt_life_is_over(life) && last + LATEST_ROW < before;
}

static void forget_past_lives(struct vt_correlator *c, uint64_t before)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->nr_lives; i++) {
        struct vt_life *life = &c->lives[i];
        if (!is_past(life, before)) {
            if (kept != i)
                c->lives[kept] = *life;
            kept++;
            continue;
        }
        c->machines[machine_place(c, life->row.vm)].outlived = true;
        release_life(life);
    }
    c->nr_lives = kept;
}

static void forget_machine(struct vt_machine *m, uint64_t before)
{
    size_t n = 0, kept = 0;
    vt_view_log_forget(&m->said, before);
    while (n < m->nr_samples && m->samples[n].host.v < before)
        n++;
    drop(m->samples, &m->nr_samples, n, sizeof(*m->samples));
    n = 0;
    while (n < m->nr_gaps && m->gaps[n].host.v < before)
        n++;
    drop(m->gaps, &m->nr_gaps, n, sizeof(*m->gaps));
    vt_task_log_forget(&m->tasks, before);
    for (size_t i = 0; i < m->nr_marks; i++) /* a benchmark that begins before can't be told any more */
        if (m->marks[i].sample.host.v >= before)
            m->marks[kept++] = m->marks[i];
    m->nr_marks = kept;
    if (m->outlived && !m->nr_samples && !m->nr_gaps && !m->nr_marks && !m->tasks.nr_batch)
        release_machine(m);
}

/* Those who are in no stretch any more, once they are many. Short of memory they stay. */
static void forget_occupants(struct vt_correlator *c)
{
    struct vt_occupants kept = { 0 };
    if (c->occupants.nr_id < 1024 || c->occupants.nr_id < 2 * c->nr_stretches)
        return;
    uint32_t *who = calloc(c->nr_stretches + 1, sizeof(*who));
    bool all = who != NULL;
    for (size_t i = 0; i < c->nr_stretches && all; i++)
        all = vt_occupants_add(&kept, &c->occupants.id[c->stretches[i].who], &who[i]) == 0;
    for (size_t i = 0; i < c->nr_stretches && all; i++)
        c->stretches[i].who = who[i];
    free(who);
    vt_occupants_release(all ? &c->occupants : &kept);
    if (all)
        c->occupants = kept;
}

/* Losses are told as sums since the begin: the old ones become one row per reason. */
static void forget_losses(struct vt_correlator *c, uint64_t before)
{
    size_t kept = 0, sum_of[VT_NR_LOST_REASONS] = { 0 }; /* 1 + index, 0: none yet */
    for (size_t i = 0; i < c->nr_losses; i++) {
        const struct vt_loss *l = &c->losses[i];
        if (l->at.v < before && sum_of[l->reason]) {
            c->losses[sum_of[l->reason] - 1].count += l->count;
            continue;
        }
        c->losses[kept++] = *l;
        if (l->at.v < before)
            sum_of[l->reason] = kept;
    }
    c->nr_losses = kept;
}

void vt_correlator_forget(struct vt_correlator *c, host_ns before)
{
    size_t n = 0;
    if (before.v <= c->forgotten)
        return;
    c->forgotten = before.v;
    for (size_t i = 0; i < c->nr_lives; i++)
        forget_life(&c->lives[i], before.v);
    forget_past_lives(c, before.v);
    for (size_t i = 0; i < c->nr_machines; i++)
        forget_machine(&c->machines[i], before.v);
    while (n + 3 < c->nr_pairs && c->pairs[n + 2].ns.v <= before.v)
        n++;
    drop(c->pairs, &c->nr_pairs, n, sizeof(*c->pairs));
    n = 0;
    while (n + 1 < c->nr_observers && c->observers[n + 1].at.v <= before.v)
        n++;
    drop(c->observers, &c->nr_observers, n, sizeof(*c->observers));
    forget_losses(c, before.v);
    n = 0;
    while (n < c->nr_stretches && c->stretches[n].to <= before.v)
        n++;
    drop(c->stretches, &c->nr_stretches, n, sizeof(*c->stretches));
    forget_occupants(c);
    vt_helpers_forget(c, before.v);
}

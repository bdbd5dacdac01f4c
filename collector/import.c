/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtime import: what an agent wrote to a file, into a recording that has ended.  When the host
 * had each record is not known, only that it was not before it was made: they come as at the
 * recording's end, without a host TSC.  Their own TSCs place them: what was made after the end,
 * as far as KVM's TSC offset tells, is left out.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "cli/command.h"
#include "connect.h"
#include "horizon.h"

static const char help_text[] =
    "usage: vtime import RUN.vt --agent NAME=file:PATH…\n\n"
    "Puts what vtime-agent wrote in a guest (--to file:PATH) into the recording RUN.vt,\n"
    "which has ended, as the words of the VM called NAME there (or of that pid).\n\n"
    "  --agent NAME=file:PATH   may be given several times\n"
    "  -q, --quiet              no summary\n"
    "  -h, --help               this text\n";

enum { MAX_FILES = 64, MAX_SESSIONS = 256 };

/* One agent's life, as a file has it. */
struct session {
    uint64_t number;
    uint32_t next_seq; /* what is before it was taken */
};

struct file {
    struct vt_agent_address address;
    int64_t vm;
    struct vt_horizon horizon;
    struct session sessions[MAX_SESSIONS];
    size_t nr_sessions;
    struct vt_frame_decoder decoder;
    uint64_t records, refused, repeated, behind;
};

struct import {
    const char *recording;
    bool quiet;
    size_t nr;
    struct file files[MAX_FILES];
    struct vt_store *store;
    host_ns end;
    /* of the file under way */
    struct file *file;
    struct session *session;      /* whose words come; NULL: its SYSTEM is still to come */
    struct vt_guest_record hello; /* said before its SYSTEM; type 0: none */
    bool was_behind;              /* the last record with a TSC was made after the end */
    uint64_t boot_id[2];          /* of the last SYSTEM */
    bool has_boot, is_over;       /* over: the guest booted after the end, and its TSC began anew */
    int error;
    struct vt_err *err;
};

/* ---- what the recording has ---- */

static bool is_named(const struct vt_vm *vm, const char *name)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%u", vm->tgid);
    return strcmp(vm->name, name) == 0 || strcmp(pid, name) == 0;
}

static int see_vm(void *context, const struct vt_vm *row)
{
    struct import *in = context;

    if (is_named(row, in->file->address.name))
        in->file->vm = row->id;
    return 0;
}

static int see_observer(void *context, const struct vt_observer *row)
{
    struct import *in = context;

    if (row->at.v > in->end.v)
        in->end = row->at;
    return 0;
}

/* One that was cut off ends with what was written last. */
static int find_end(struct import *in)
{
    const struct vt_store_reader reader = { .context = in, .observer = see_observer };
    struct vt_store_cursor cursor = { 0 };
    struct vt_host host;
    int e = vt_store_get_host(in->store, &host, in->err);

    if (e)
        return e;
    in->end = host.end.v ? host.end : host.begin; /* as vt_is_imported() of the correlator has it */
    return host.end.v ? 0 : vt_store_read(in->store, &cursor, &reader, in->err);
}

static int find_vm(struct import *in)
{
    const struct vt_store_reader reader = { .context = in, .vm = see_vm };
    struct vt_store_cursor cursor = { 0 };

    const int e = vt_store_read(in->store, &cursor, &reader, in->err);
    if (e || in->file->vm)
        return e;
    return vt_fail(in->err, ENOENT, "%s has no VM called %s: `vtime report %s` lists them", in->recording,
                   in->file->address.name, in->recording);
}

/* ---- is it there already? ---- */

struct look {
    const struct file *file;
    bool found;
};

static const struct session *session_of(const struct file *file, uint64_t number)
{
    for (size_t i = 0; i < file->nr_sessions; i++)
        if (file->sessions[i].number == number)
            return &file->sessions[i];
    return NULL;
}

static int see_record(void *context, const struct vt_guest_record *row)
{
    struct look *look = context;

    look->found |=
        row->type == VTG_SYSTEM && row->vm == look->file->vm && session_of(look->file, row->system.session);
    return 0;
}

static int refuse_twice(struct import *in)
{
    struct look look = { .file = in->file };
    const struct vt_store_reader reader = { .context = &look, .guest_record = see_record };
    struct vt_store_cursor cursor = { 0 };
    const int e = vt_store_read(in->store, &cursor, &reader, in->err);
    const char *path = vt_agent_path(&in->file->address);

    if (!e && look.found)
        return vt_fail(in->err, EEXIST,
                       "an agent's words of %s are in %s already: imported, or heard live; what is there is "
                       "never replaced: take a copy of the recording from before",
                       path, in->recording);
    for (const struct file *other = in->files; !e && other < in->file; other++)
        for (size_t i = 0; i < other->nr_sessions; i++)
            if (other->vm == in->file->vm && session_of(in->file, other->sessions[i].number))
                return vt_fail(in->err, EEXIST, "%s has words of the same agent as %s", path,
                               vt_agent_path(&other->address));
    return e;
}

/* ---- files ---- */

static int decode_file(struct import *in, vt_frame_sink *sink)
{
    static char buf[65536];
    const char *path = vt_agent_path(&in->file->address);
    FILE *f = fopen(path, "re");
    size_t n;

    if (!f)
        return vt_fail(in->err, errno, "cannot read %s: %s", path, strerror(errno));
    memset(&in->file->decoder, 0, sizeof(in->file->decoder));
    while (!in->error && (n = fread(buf, 1, sizeof(buf), f)) > 0)
        vt_frame_decode(&in->file->decoder, buf, n, sink, in);
    if (ferror(f) && !in->error)
        in->error = vt_fail(in->err, EIO, "cannot read all of %s", path);
    fclose(f);
    return in->error;
}

static void find_session(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct import *in = context;
    struct file *file = in->file;

    if (type != VTG_SYSTEM || in->error || session_of(file, body->system.session))
        return;
    if (file->nr_sessions == MAX_SESSIONS) {
        in->error = vt_fail(in->err, E2BIG, "%s has the words of more than %d agents: split it",
                            vt_agent_path(&file->address), MAX_SESSIONS);
        return;
    }
    file->sessions[file->nr_sessions++].number = body->system.session;
}

/* Whose words are these?  Said by SYSTEM; what is before the first one is of that one. */
static struct session *session_at(struct import *in, enum vtg_type type, const union vt_frame_body *body)
{
    struct file *file = in->file;

    if (type == VTG_SYSTEM)
        for (size_t i = 0; i < file->nr_sessions; i++)
            if (file->sessions[i].number == body->system.session)
                in->session = &file->sessions[i];
    return in->session ? in->session : &file->sessions[0];
}

/* A file may hold the same words twice. */
static bool is_repeated(struct session *session, uint32_t seq)
{
    if (seq - session->next_seq >= UINT32_MAX / 2)
        return true;
    session->next_seq = seq + 1;
    return false;
}

/* When it was made by the guest's TSC; 0: it does not say. */
static uint64_t tsc_of(const struct vt_guest_record *rec)
{
    switch (rec->type) {
    case VTG_CLOCKS:
        return rec->clocks.have & VTG_HAVE_TSC ? rec->clocks.tsc_after : 0;
    case VTG_MARK:
        return rec->mark.clocks.have & VTG_HAVE_TSC ? rec->mark.clocks.tsc_after : 0;
    case VTG_VIEW:
        return rec->view.tsc[VTG_NR_OS_CLOCKS];
    case VTG_CPUS:
        return rec->cpus.tsc_after;
    case VTG_PROCESS:
        return rec->process.tsc_after;
    case VTG_TASKS:
        return rec->tasks.base_tsc;
    case VTG_EVENT:
        return rec->event.tsc;
    default:
        return 0;
    }
}

/* Marks stay, for the report to tell of; who a task is may be wanted by stretches that come later. */
static bool is_left_out(struct import *in, const struct vt_guest_record *rec)
{
    const uint64_t tsc = tsc_of(rec);

    if (tsc)
        in->was_behind = vt_horizon_is_behind(&in->file->horizon, tsc);
    if (in->is_over)
        return true;
    return in->was_behind && rec->type != VTG_MARK && rec->type != VTG_TASK;
}

/* Who boots after the recording's end has a TSC that would be laid into it. */
static void look_at_boot(struct import *in, const struct vtg_system *system)
{
    in->is_over |=
        in->has_boot && in->was_behind && memcmp(in->boot_id, system->boot_id, sizeof(in->boot_id)) != 0;
    memcpy(in->boot_id, system->boot_id, sizeof(in->boot_id));
    in->has_boot = true;
}

static void put(struct import *in, struct vt_guest_record *rec)
{
    rec->vm = in->file->vm;
    rec->host = in->end;
    const int e = vt_store_put_guest_record(in->store, rec, in->err);
    if (e == -EINVAL) /* stretches that don't unpack */
        in->file->refused++;
    else if (e)
        in->error = e;
    else
        in->file->records++;
}

static void take(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct import *in = context;
    const uint32_t seq = in->file->decoder.next_seq - 1;
    struct vt_guest_record rec;

    if (in->error || !vt_record_of_frame(type, body, &rec))
        return;
    if (type == VTG_HELLO) { /* of the agent whose SYSTEM comes next */
        in->hello = rec;
        return;
    }
    struct session *session = session_at(in, type, body);
    const bool has_hello = in->hello.type == VTG_HELLO;
    if (is_repeated(session, seq)) {
        in->file->repeated += 1 + (uint64_t)has_hello;
        in->hello.type = 0;
        return;
    }
    if (type == VTG_SYSTEM)
        look_at_boot(in, &body->system);
    if (is_left_out(in, &rec)) {
        in->file->behind += 1 + (uint64_t)has_hello;
        in->hello.type = 0;
        return;
    }
    if (has_hello)
        put(in, &in->hello);
    in->hello.type = 0;
    if (!in->error)
        put(in, &rec);
}

static int tell(struct import *in, enum vt_channel_event_kind kind, uint64_t count)
{
    struct vt_channel_event row = { .vm = in->file->vm, .at = in->end, .kind = kind, .count = count };

    if (!count)
        return 0;
    snprintf(row.text, sizeof(row.text), "imported");
    return vt_store_put_channel_event(in->store, &row, in->err);
}

static int tell_all(struct import *in)
{
    const struct vt_frame_decoder *d = &in->file->decoder;
    int e = tell(in, VT_CHANNEL_DAMAGED, d->bad_crc + d->bad_length + in->file->refused);

    if (!e)
        e = tell(in, VT_CHANNEL_GARBAGE, d->skipped_bytes);
    if (!e)
        e = tell(in, VT_CHANNEL_REPLAYED, in->file->repeated);
    return e ? e : tell(in, VT_CHANNEL_MISSING, d->lost_frames);
}

static void summary(const struct import *in, const struct file *file)
{
    const struct vt_frame_decoder *d = &file->decoder;
    const char *name = file->address.name;

    fprintf(stderr, "vtime: %llu records of %s, %llu frames missing, %llu damaged, %llu bytes of garbage\n",
            (unsigned long long)file->records, name, (unsigned long long)d->lost_frames,
            (unsigned long long)(d->bad_crc + d->bad_length + file->refused),
            (unsigned long long)d->skipped_bytes);
    if (file->repeated)
        fprintf(stderr, "vtime: %llu records of %s left out: the file has them twice\n",
                (unsigned long long)file->repeated, name);
    if (file->behind)
        fprintf(stderr, "vtime: %llu records of %s left out: made after the end of %s\n",
                (unsigned long long)file->behind, name, in->recording);
    if (!file->horizon.nr_epochs)
        fprintf(stderr,
                "vtime: of %s no TSC offset of KVM's is recorded: nothing tells when what it wrote was made, "
                "and its benchmarks can't be told\n",
                name);
}

/* All that needs to be known before anything is written. */
static int look_at(struct import *in, struct file *file)
{
    int e;

    in->file = file;
    if ((e = find_vm(in)) || (e = decode_file(in, find_session)))
        return e;
    if (!file->nr_sessions)
        return vt_fail(in->err, EINVAL, "%s holds no agent's words", vt_agent_path(&file->address));
    e = refuse_twice(in);
    return e ? e : vt_horizon_init(&file->horizon, in->store, file->vm, in->end, in->err);
}

static int import_file(struct import *in, struct file *file)
{
    in->file = file;
    in->session = NULL;
    in->hello.type = 0;
    in->was_behind = in->has_boot = in->is_over = false;
    const int e = decode_file(in, take);
    return e ? e : tell_all(in);
}

/* Of all the files all that can be taken, or nothing. */
static int import_all(struct import *in)
{
    int e = find_end(in);

    for (size_t i = 0; i < in->nr && !e; i++)
        e = look_at(in, &in->files[i]);
    for (size_t i = 0; i < in->nr && !e; i++)
        e = import_file(in, &in->files[i]);
    if (!e)
        e = vt_store_commit(in->store, in->err);
    for (size_t i = 0; i < in->nr && !e && !in->quiet; i++)
        summary(in, &in->files[i]);
    return e;
}

/* ---- the command ---- */

static int add_file(struct import *in, const char *text, struct vt_err *err)
{
    if (in->nr == MAX_FILES)
        return vt_fail(err, EINVAL, "--agent %s: there are %d already", text, MAX_FILES);
    const int e = vt_agent_address_parse(text, &in->files[in->nr].address, err);
    if (e)
        return e;
    if (in->files[in->nr].address.way != VT_WAY_FILE)
        return vt_fail(err, EINVAL, "--agent %s: NAME=file:PATH is wanted; `vtime record` takes the others",
                       text);
    in->nr++;
    return 0;
}

/* -1 to go on, else the exit code. */
static int parse(int argc, char **argv, struct import *in)
{
    static const struct option options[] = { { "agent", required_argument, NULL, 'a' },
                                             { "quiet", no_argument, NULL, 'q' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct vt_err err = { "" };
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
        if (c == 'h') {
            fputs(help_text, stdout);
            return VT_EXIT_OK;
        }
        if (c == '?')
            return vt_usage_error("import");
        in->quiet |= c == 'q';
        if (c == 'a' && add_file(in, optarg, &err)) {
            vt_complain("import: %s", err.text);
            return vt_usage_error("import");
        }
    }
    if (optind + 1 != argc || !in->nr) {
        vt_complain("import: a recording and --agent NAME=file:PATH are wanted");
        return vt_usage_error("import");
    }
    in->recording = argv[optind];
    return -1;
}

static int main_import(int argc, char **argv)
{
    struct vt_err err = { "" };
    struct import *in = calloc(1, sizeof(*in));

    if (!in)
        return VT_EXIT_FAILURE;
    in->err = &err;
    int code = parse(argc, argv, in);
    if (code < 0) {
        int e = vt_store_append(in->recording, &in->store, &err);
        if (!e)
            e = import_all(in);
        if (e)
            vt_complain("import: %s", err.text);
        for (size_t i = 0; i < in->nr; i++)
            vt_horizon_release(&in->files[i].horizon);
        vt_store_close(in->store);
        code = e ? VT_EXIT_FAILURE : VT_EXIT_OK;
    }
    free(in);
    return code;
}

VT_COMMAND(import, 25, "import", "put what an agent wrote to a file into a recording", main_import);

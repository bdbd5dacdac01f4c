/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtime import: what an agent wrote to a file, into a recording that has ended.  When the host
 * had each record is not known, only that it was not before it was made: they come as at the
 * recording's end, without a host TSC.  Their own TSCs place them.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "cli/command.h"
#include "connect.h"

static const char help_text[] =
    "usage: vtime import RUN.vt --agent NAME=file:PATH…\n\n"
    "Puts what vtime-agent wrote in a guest (--to file:PATH) into the recording RUN.vt,\n"
    "which has ended, as the words of the VM called NAME there (or of that pid).\n\n"
    "  --agent NAME=file:PATH   may be given several times\n"
    "  -q, --quiet              no summary\n"
    "  -h, --help               this text\n";

enum { MAX_FILES = 64 };

struct import {
    const char *recording;
    bool quiet;
    size_t nr;
    struct vt_agent_address files[MAX_FILES];
    struct vt_store *store;
    host_ns end;
    /* of the file under way */
    const struct vt_agent_address *file;
    int64_t vm;
    struct vt_frame_decoder decoder;
    uint64_t records, refused;
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

    if (is_named(row, in->file->name))
        in->vm = row->id;
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
    in->end = host.end.v ? host.end : host.begin;
    return host.end.v ? 0 : vt_store_read(in->store, &cursor, &reader, in->err);
}

static int find_vm(struct import *in)
{
    const struct vt_store_reader reader = { .context = in, .vm = see_vm };
    struct vt_store_cursor cursor = { 0 };

    in->vm = 0;
    const int e = vt_store_read(in->store, &cursor, &reader, in->err);
    if (e || in->vm)
        return e;
    return vt_fail(in->err, ENOENT, "%s has no VM called %s: `vtime report %s` lists them", in->recording,
                   in->file->name, in->recording);
}

/* ---- is it there already? ---- */

struct look {
    int64_t vm;
    uint64_t session;
    bool found;
};

static int see_record(void *context, const struct vt_guest_record *row)
{
    struct look *look = context;

    look->found |= row->type == VTG_SYSTEM && row->vm == look->vm && row->system.session == look->session;
    return 0;
}

static int refuse_twice(struct import *in, uint64_t session)
{
    struct look look = { in->vm, session, false };
    const struct vt_store_reader reader = { .context = &look, .guest_record = see_record };
    struct vt_store_cursor cursor = { 0 };
    const int e = vt_store_read(in->store, &cursor, &reader, in->err);

    if (e || !look.found)
        return e;
    return vt_fail(in->err, EEXIST, "%s is in %s already, or was heard live", vt_agent_path(in->file),
                   in->recording);
}

static void look_for_session(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    uint64_t *session = context;

    if (type == VTG_SYSTEM && !*session)
        *session = body->system.session;
}

/* ---- files ---- */

static void take(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct import *in = context;
    struct vt_guest_record rec;

    if (in->error || !vt_record_of_frame(type, body, &rec))
        return;
    rec.vm = in->vm;
    rec.host = in->end;
    const int e = vt_store_put_guest_record(in->store, &rec, in->err);
    if (e == -EINVAL) /* stretches that don't unpack */
        in->refused++;
    else if (e)
        in->error = e;
    else
        in->records++;
}

static int decode_file(struct import *in, vt_frame_sink *sink, void *context)
{
    static char buf[65536];
    FILE *f = fopen(vt_agent_path(in->file), "re");
    size_t n;

    if (!f)
        return vt_fail(in->err, errno, "cannot read %s: %s", vt_agent_path(in->file), strerror(errno));
    memset(&in->decoder, 0, sizeof(in->decoder));
    while (!in->error && (n = fread(buf, 1, sizeof(buf), f)) > 0)
        vt_frame_decode(&in->decoder, buf, n, sink, context);
    if (ferror(f) && !in->error)
        in->error = vt_fail(in->err, EIO, "cannot read all of %s", vt_agent_path(in->file));
    fclose(f);
    return in->error;
}

static int tell(struct import *in, enum vt_channel_event_kind kind, uint64_t count)
{
    struct vt_channel_event row = { .vm = in->vm, .at = in->end, .kind = kind, .count = count };

    if (!count)
        return 0;
    snprintf(row.text, sizeof(row.text), "imported");
    return vt_store_put_channel_event(in->store, &row, in->err);
}

static int tell_all(struct import *in)
{
    const struct vt_frame_decoder *d = &in->decoder;
    int e = tell(in, VT_CHANNEL_DAMAGED, d->bad_crc + d->bad_length + in->refused);

    if (!e)
        e = tell(in, VT_CHANNEL_GARBAGE, d->skipped_bytes);
    return e ? e : tell(in, VT_CHANNEL_MISSING, d->lost_frames);
}

static void summary(const struct import *in)
{
    const struct vt_frame_decoder *d = &in->decoder;

    fprintf(stderr, "vtime: %llu records of %s, %llu frames missing, %llu damaged, %llu bytes of garbage\n",
            (unsigned long long)in->records, in->file->name, (unsigned long long)d->lost_frames,
            (unsigned long long)(d->bad_crc + d->bad_length + in->refused),
            (unsigned long long)d->skipped_bytes);
}

static int import_file(struct import *in, const struct vt_agent_address *file)
{
    uint64_t session = 0;
    int e;

    in->file = file;
    in->records = in->refused = 0;
    if ((e = find_vm(in)) || (e = decode_file(in, look_for_session, &session)))
        return e;
    if (!session)
        return vt_fail(in->err, EINVAL, "%s holds no agent's words", vt_agent_path(file));
    if ((e = refuse_twice(in, session)) || (e = decode_file(in, take, in)) || (e = tell_all(in)) ||
        (e = vt_store_commit(in->store, in->err)))
        return e;
    if (!in->quiet)
        summary(in);
    return 0;
}

/* ---- the command ---- */

static int add_file(struct import *in, const char *text, struct vt_err *err)
{
    if (in->nr == MAX_FILES)
        return vt_fail(err, EINVAL, "--agent %s: there are %d already", text, MAX_FILES);
    const int e = vt_agent_address_parse(text, &in->files[in->nr], err);
    if (e)
        return e;
    if (in->files[in->nr].way != VT_WAY_FILE)
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
            e = find_end(in);
        for (size_t i = 0; i < in->nr && !e; i++)
            e = import_file(in, &in->files[i]);
        if (e)
            vt_complain("import: %s", err.text);
        vt_store_close(in->store);
        code = e ? VT_EXIT_FAILURE : VT_EXIT_OK;
    }
    free(in);
    return code;
}

VT_COMMAND(import, 25, "import", "put what an agent wrote to a file into a recording", main_import);

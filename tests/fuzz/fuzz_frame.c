/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: lib/wire/frame.c */
/*
 * The decoder of guest frames on any bytes: in one piece and in pieces it must
 * say the same. The first byte is the size of the pieces. CRCs are made right
 * where a header stands, else a fuzzer would never get past them.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

struct tally {
    uint32_t crc;
    uint64_t frames;
};

static void note(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    struct tally *tally = context;
    const uint8_t kind = (uint8_t)type;
    if (type == VTG_GAPS && body->gaps.nr > VTG_GAPS_MAX)
        abort();
    tally->crc = vt_crc32c(vt_crc32c(tally->crc, &kind, 1), body, sizeof(*body));
    tally->frames++;
}

static void mend(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + sizeof(struct vtg_frame) <= size;) {
        struct vtg_frame frame;
        memcpy(&frame, bytes + at, sizeof(frame));
        const size_t left = size - at - sizeof(frame);
        /* an odd crc field asks to be left wrong */
        if (frame.magic != VTG_MAGIC || frame.len > VTG_MAX_PAYLOAD || frame.len > left || frame.crc & 1) {
            at++;
            continue;
        }
        frame.crc = 0;
        frame.crc = vt_crc32c(vt_crc32c(0, &frame, sizeof(frame)), bytes + at + sizeof(frame), frame.len);
        memcpy(bytes + at, &frame, sizeof(frame));
        at += sizeof(frame) + frame.len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vt_frame_decoder whole = { 0 }, pieces = { 0 };
    struct tally a = { 0 }, b = { 0 };
    if (size < 2)
        return 0;
    whole.in_order = pieces.in_order = size % 2; /* of a sender that sends again */
    whole.has_acked = pieces.has_acked = size % 4 == 1;
    const size_t piece = data[0] ? data[0] : 1;
    const size_t n = size - 1;
    uint8_t *bytes = malloc(n);
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, n);
    mend(bytes, n);
    vt_frame_decode(&whole, bytes, n, note, &a);
    for (size_t at = 0; at < n; at += piece)
        vt_frame_decode(&pieces, bytes + at, n - at < piece ? n - at : piece, note, &b);
    free(bytes);
    if (a.crc != b.crc || a.frames != b.frames || whole.have != pieces.have ||
        whole.skipped_bytes != pieces.skipped_bytes || whole.lost_frames != pieces.lost_frames ||
        whole.bad_crc != pieces.bad_crc || whole.bad_length != pieces.bad_length ||
        whole.replayed != pieces.replayed || whole.repeated != pieces.repeated || whole.early != pieces.early)
        abort();
    return 0;
}

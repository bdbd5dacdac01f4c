/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: vmm-core/agent_ring.c vmm-core/memory.c lib/wire/frame.c */
/*
 * The agent ring on any guest memory and any sequence of doorbells.  Each step
 * is an operation byte and a word; whatever comes out must decode to as many
 * frames as were passed on, with nothing skipped and no word of a host's.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm-core/agent_ring.h"
#include "wire/frame.h"

enum { RAM = 5 * 4096, PAGE = 4096 };

struct seen {
    struct vt_frame_decoder decoder;
    uint64_t passed;
};

static void decoded(void *context, enum vtg_type type, const union vt_frame_body *body)
{
    (void)body;
    if (type == VTG_RELAY)
        abort();
    (void)context;
}

static void sink(void *context, const uint8_t *frame, size_t n)
{
    struct seen *seen = context;
    seen->passed++;
    vt_frame_decode(&seen->decoder, frame, n, decoded, seen);
    if (seen->decoder.skipped_bytes || seen->decoder.bad_crc || seen->decoder.have)
        abort();
}

static void header(uint8_t *ram, uint32_t head)
{
    struct vtg_ring h = { .magic = VTG_RING_MAGIC, .version = VTG_VERSION, .size = PAGE };
    memcpy(ram + PAGE, &h, offsetof(struct vtg_ring, head));
    memcpy(ram + PAGE + offsetof(struct vtg_ring, head), &head, sizeof(head));
}

/* A frame with a right checksum at the ring's begin: a fuzzer would not find one. */
static void sound_frame(uint8_t *ram, uint32_t word)
{
    uint8_t payload[VTG_MAX_PAYLOAD];
    memcpy(payload, ram + 3 * PAGE, sizeof(payload));
    vt_frame_encode(ram + 2 * PAGE + (word >> 16 & 2047), (enum vtg_type)(word & 7), word, payload,
                    word & 1023);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmm_memory memory = { .base = calloc(1, RAM), .size = RAM };
    struct agent_ring ring = { 0 };
    struct seen seen = { 0 };
    uint32_t word;

    for (; size >= 5; data += 5, size -= 5) {
        memcpy(&word, data + 1, sizeof(word));
        switch (data[0] & 7) {
        case 0:
            agent_ring_set(&ring, &memory, word);
            break;
        case 1:
            header(memory.base, word);
            agent_ring_set(&ring, &memory, 1);
            break;
        case 2:
            memcpy(memory.base + PAGE + offsetof(struct vtg_ring, head), &word, sizeof(word));
            break;
        case 3:
            sound_frame(memory.base, word);
            break;
        case 4:
            memory.base[word % RAM] = data[0] >> 3;
            break;
        case 5:
            ring = (struct agent_ring){ 0 };
            break;
        default:
            agent_ring_drain(&ring, &memory, sink, &seen);
        }
        if (seen.passed < ring.frames || (ring.violations != 0) != (ring.disabled != NULL))
            abort();
    }
    free(memory.base);
    return 0;
}

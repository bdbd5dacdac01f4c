/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz-sources: lib/store/chunk.c lib/wire/frame.c */
/* The chunk codec on any bytes: what decodes must come back the same when coded again. */
#include <stdlib.h>
#include <string.h>

#include "store/chunk.h"
#include "wire/frame.h"

static void code_again(const struct vt_slice *slices, int n)
{
    static struct vt_slice again[VT_CHUNK_SLICES];
    struct vt_chunk chunk = { 0 };
    size_t size;
    for (int i = 0; i < n; i++) {
        if (!vt_chunk_takes(&chunk, &slices[i])) /* coded wastefully: it is longer than we would write */
            break;
        if (vt_chunk_add(&chunk, &slices[i]) < 0)
            abort();
    }
    const int count = (int)chunk.count;
    const uint8_t *data = vt_chunk_finish(&chunk, &size);
    if (vt_chunk_decode(data, size, again, VT_CHUNK_SLICES) != count ||
        memcmp(again, slices, (size_t)count * sizeof(again[0])) != 0)
        abort();
    vt_chunk_release(&chunk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vt_slice slices[VT_CHUNK_SLICES];
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    vt_chunk_decode(bytes, size, slices, VT_CHUNK_SLICES);
    /* header and CRC made right, or a fuzzer would never see what is behind them */
    if (size >= VT_CHUNK_HEADER) {
        const uint16_t version = VT_CHUNK_VERSION;
        memcpy(bytes + 4, &version, sizeof(version));
        const uint32_t crc = vt_crc32c(0, bytes + 4, size - 4);
        memcpy(bytes, &crc, sizeof(crc));
        const int n = vt_chunk_decode(bytes, size, slices, VT_CHUNK_SLICES);
        if (n > 0)
            code_again(slices, n);
    }
    free(bytes);
    return 0;
}

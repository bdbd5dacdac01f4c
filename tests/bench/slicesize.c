/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench-slicesize RUN.vt: "slices bytes", as stored in chunks. */
#include <inttypes.h>
#include <stdio.h>

#include "store/store.h"

int main(int argc, char **argv)
{
    struct vt_store *store = NULL;
    struct vt_err err = { "" };
    uint64_t slices = 0, bytes = 0;
    int r;

    if (argc != 2) {
        fprintf(stderr, "usage: bench-slicesize RUN.vt\n");
        return 2;
    }
    r = vt_store_open(argv[1], &store, &err);
    r = r ? r : vt_store_slice_size(store, &slices, &bytes, &err);
    vt_store_close(store);
    if (r) {
        fprintf(stderr, "bench-slicesize: %s\n", err.text);
        return 1;
    }
    printf("%" PRIu64 " %" PRIu64 "\n", slices, bytes);
    return 0;
}

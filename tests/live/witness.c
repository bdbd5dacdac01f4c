/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * witness OBJECT WHOM: runs a BPF witness (X.bpf.c here) over one process, thread or
 * CPU, as it asks; "ready" once it is attached, and at the end of standard input its
 * first three sums.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int attach_all(struct bpf_object *o)
{
    struct bpf_program *prog;

    bpf_object__for_each_program(prog, o) if (!bpf_program__attach(prog)) return -1;
    return 0;
}

int main(int argc, char **argv)
{
    const uint32_t key = 0, whom = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    struct bpf_object *o = whom ? bpf_object__open_file(argv[1], NULL) : NULL;
    struct bpf_map *settings = o ? bpf_object__find_map_by_name(o, ".rodata") : NULL;
    uint64_t sums[16] = { 0 }; /* not smaller than any witness's .bss */

    if (!settings || bpf_map__set_initial_value(settings, &whom, sizeof(whom)) || bpf_object__load(o) ||
        attach_all(o)) {
        fprintf(stderr, "usage: witness OBJECT WHOM, as root\n");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    if (bpf_map_lookup_elem(bpf_map__fd(bpf_object__find_map_by_name(o, ".bss")), &key, sums))
        return 1;
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sums[0], sums[1], sums[2]);
    bpf_object__close(o);
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-empty OBJECT: attaches empty.bpf.o, writes the names of what could not
 * be attached and then a line "ready"; detaches at end of file on its input.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    (void)level;
    (void)format;
    (void)args;
    return 0;
}

/* A tracepoint that this kernel lacks fails the whole object: found out one by one. */
static bool loads_alone(const char *path, const char *name)
{
    struct bpf_object *o = bpf_object__open_file(path, NULL);
    struct bpf_program *p;
    bool good;

    if (!o)
        return false;
    bpf_object__for_each_program(p, o) bpf_program__set_autoload(p, strcmp(bpf_program__name(p), name) == 0);
    good = bpf_object__load(o) == 0;
    bpf_object__close(o);
    return good;
}

int main(int argc, char **argv)
{
    struct bpf_object *o;
    struct bpf_program *p;
    int attached = 0;
    char c;

    libbpf_set_print(quiet);
    if (argc != 2 || !(o = bpf_object__open_file(argv[1], NULL))) {
        fprintf(stderr, "usage: bench-empty OBJECT\n");
        return 2;
    }
    bpf_object__for_each_program(p, o)
    {
        if (!loads_alone(argv[1], bpf_program__name(p))) {
            fprintf(stderr, "bench-empty: no %s here\n", bpf_program__name(p));
            bpf_program__set_autoload(p, false);
        }
    }
    if (bpf_object__load(o)) {
        fprintf(stderr, "bench-empty: %s\n", strerror(errno));
        return 1;
    }
    bpf_object__for_each_program(p, o) if (bpf_program__autoload(p)) attached +=
        bpf_program__attach(p) != NULL; /* the links end with the process */
    printf("ready %d\n", attached);
    fflush(stdout);
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
    return attached ? 0 : 1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * btfcut OUT NAMES VMLINUX [MODULE…]: cuts a kernel's BTF down to the structures
 * and tracepoints that NAMES lists, one a line, and joins its modules' BTF to it.
 *
 * Structures stay whole, with all that they hold by value, so that a fixture
 * outlives a change of the BPF programs.  Pointers become void *: CO-RE doesn't
 * look at what they point to.
 */
#include <bpf/btf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One kernel image or module: what each of its types became. */
struct source {
    struct btf *btf;
    int *became; /* by type id; 0: not yet */
};

struct cut {
    struct btf *out;
    int pointer; /* void * */
    struct source sources[8];
    size_t nr_sources;
};

static void die(const char *what, const char *of)
{
    fprintf(stderr, "btfcut: %s: %s (%s)\n", of, what, strerror(errno));
    exit(1);
}

static int must(int id, const char *of)
{
    if (id < 0) {
        errno = -id;
        die("can't be written", of);
    }
    return id;
}

static const char *name_of(const struct source *s, uint32_t offset)
{
    return btf__name_by_offset(s->btf, offset);
}

static int copy(struct cut *cut, struct source *s, uint32_t id);

static int copy_members(struct cut *cut, struct source *s, const struct btf_type *t)
{
    const char *name = name_of(s, t->name_off);
    const struct btf_member *m = btf_members(t);
    int id;

    for (int i = 0; i < btf_vlen(t); i++)
        copy(cut, s, m[i].type);
    id =
        btf_is_struct(t) ? btf__add_struct(cut->out, name, t->size) : btf__add_union(cut->out, name, t->size);
    must(id, name);
    for (int i = 0; i < btf_vlen(t); i++)
        must(btf__add_field(cut->out, name_of(s, m[i].name_off), copy(cut, s, m[i].type),
                            btf_member_bit_offset(t, (uint32_t)i), btf_member_bitfield_size(t, (uint32_t)i)),
             name);
    return id;
}

static int copy_array(struct cut *cut, struct source *s, const struct btf_type *t)
{
    const struct btf_array *a = btf_array(t);
    int index = copy(cut, s, a->index_type), element = copy(cut, s, a->type);

    return btf__add_array(cut->out, index, element, a->nelems);
}

/* The arguments' kinds and number are what tells one form of a tracepoint from another. */
static int copy_proto(struct cut *cut, struct source *s, const struct btf_type *t)
{
    const struct btf_param *p = btf_params(t);
    int id;

    for (int i = 0; i < btf_vlen(t); i++)
        copy(cut, s, p[i].type);
    id = must(btf__add_func_proto(cut->out, copy(cut, s, t->type)), "prototype");
    for (int i = 0; i < btf_vlen(t); i++)
        must(btf__add_func_param(cut->out, name_of(s, p[i].name_off), copy(cut, s, p[i].type)), "prototype");
    return id;
}

static int copy_new(struct cut *cut, struct source *s, const struct btf_type *t)
{
    const char *name = name_of(s, t->name_off);

    switch (btf_kind(t)) {
    case BTF_KIND_INT:
        return btf__add_int(cut->out, name, t->size, btf_int_encoding(t));
    case BTF_KIND_FLOAT:
        return btf__add_float(cut->out, name, t->size);
    case BTF_KIND_PTR:
        return cut->pointer;
    case BTF_KIND_ARRAY:
        return copy_array(cut, s, t);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return copy_members(cut, s, t);
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64: /* its values are left out */
        return btf__add_enum(cut->out, name, t->size);
    case BTF_KIND_FUNC_PROTO:
        return copy_proto(cut, s, t);
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_CONST:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_TYPE_TAG:
        return copy(cut, s, t->type);
    default:
        errno = ENOTSUP;
        die("a kind of type that is not known", name);
        return 0;
    }
}

static int copy(struct cut *cut, struct source *s, uint32_t id)
{
    if (id && !s->became[id])
        s->became[id] = must(copy_new(cut, s, btf__type_by_id(s->btf, id)), "type");
    return id ? s->became[id] : 0;
}

/* The first source that has it: the kernel itself, then the modules. */
static bool add_struct(struct cut *cut, const char *name)
{
    for (size_t i = 0; i < cut->nr_sources; i++) {
        struct source *s = &cut->sources[i];
        int id = btf__find_by_name_kind(s->btf, name, BTF_KIND_STRUCT);
        if (id <= 0)
            id = btf__find_by_name_kind(s->btf, name, BTF_KIND_UNION);
        if (id > 0)
            return copy(cut, s, (uint32_t)id) > 0;
    }
    return false;
}

static bool add_tracepoint(struct cut *cut, const char *name)
{
    for (size_t i = 0; i < cut->nr_sources; i++) {
        struct source *s = &cut->sources[i];
        int id = btf__find_by_name_kind(s->btf, name, BTF_KIND_TYPEDEF);
        if (id <= 0)
            continue;
        const struct btf_type *t = btf__type_by_id(s->btf, (uint32_t)id);
        t = btf__type_by_id(s->btf, t->type); /* pointer */
        int proto = copy(cut, s, t->type), pointer = must(btf__add_ptr(cut->out, proto), name);
        return must(btf__add_typedef(cut->out, name, pointer), name) > 0;
    }
    return false;
}

static void add_names(struct cut *cut, const char *path)
{
    char line[128];
    FILE *f = fopen(path, "r");

    if (!f)
        die("can't be read", path);
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n#")] = 0;
        bool is_tracepoint = strncmp(line, "btf_trace_", 10) == 0;
        if (line[0] && !(is_tracepoint ? add_tracepoint(cut, line) : add_struct(cut, line)))
            fprintf(stderr, "btfcut: this kernel has no %s\n", line);
    }
    fclose(f);
}

static void add_source(struct cut *cut, const char *path)
{
    struct btf *base = cut->nr_sources ? cut->sources[0].btf : NULL;
    struct source *s = &cut->sources[cut->nr_sources];

    if (cut->nr_sources == sizeof(cut->sources) / sizeof(*cut->sources))
        die("too many modules", path);
    s->btf = base ? btf__parse_split(path, base) : btf__parse(path, NULL);
    if (!s->btf)
        die("no BTF can be read from it", path);
    s->became = calloc(btf__type_cnt(s->btf), sizeof(int));
    if (!s->became)
        die("out of memory", path);
    cut->nr_sources++;
}

static void write_out(const struct cut *cut, const char *path)
{
    uint32_t size;
    const void *data = btf__raw_data(cut->out, &size);
    FILE *f = fopen(path, "w");

    if (!data || !f || fwrite(data, 1, size, f) != size || fclose(f))
        die("can't be written", path);
}

int main(int argc, char **argv)
{
    struct cut cut = { .out = btf__new_empty() };

    if (argc < 4 || !cut.out) {
        fprintf(stderr, "usage: btfcut OUT NAMES VMLINUX [MODULE...]\n");
        return 2;
    }
    cut.pointer = btf__add_ptr(cut.out, 0);
    for (int i = 3; i < argc; i++)
        add_source(&cut, argv[i]);
    add_names(&cut, argv[2]);
    write_out(&cut, argv[1]);
    while (cut.nr_sources) {
        struct source *s = &cut.sources[--cut.nr_sources];
        free(s->became);
        btf__free(s->btf);
    }
    btf__free(cut.out);
    return 0;
}

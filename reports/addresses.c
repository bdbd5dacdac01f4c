/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The busiest addresses of each VM: which device makes the exits. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/address.h"
#include "format.h"
#include "view.h"

enum { BUSIEST = 10 };

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_address(const void *a, const void *b)
{
    const struct vt_address_figure *x = a, *y = b;
    int order = compare(x->kind, y->kind);
    order = order ? order : compare(x->address, y->address);
    return order ? order : compare(x->is_write, y->is_write);
}

static int by_count(const void *a, const void *b)
{
    const struct vt_address_figure *x = a, *y = b;
    return x->count != y->count ? compare(y->count, x->count) : by_address(a, b);
}

/* All vCPUs' counts, summed by address, the most first; free it. NULL: out of memory. */
static struct vt_address_figure *sum_guest(const struct vt_guest *g, size_t *ret_n)
{
    size_t all = 0, n = 0;
    for (size_t i = 0; i < g->nr_vcpus; i++)
        all += g->vcpus[i].nr_addresses;
    struct vt_address_figure *sums = calloc(all + 1, sizeof(*sums));
    if (!sums)
        return NULL;
    for (size_t i = 0, k = 0; i < g->nr_vcpus; i++)
        for (size_t j = 0; j < g->vcpus[i].nr_addresses; j++)
            sums[k++] = g->vcpus[i].addresses[j];
    qsort(sums, all, sizeof(*sums), by_address);
    for (size_t i = 0; i < all; i++) {
        if (n && by_address(&sums[n - 1], &sums[i]) == 0)
            sums[n - 1].count += sums[i].count;
        else
            sums[n++] = sums[i];
    }
    qsort(sums, n, sizeof(*sums), by_count);
    *ret_n = n;
    return sums;
}

static void row(struct table *t, const char *guest, const char *what, const char *access, const char *address,
                const char *name, uint64_t count, uint64_t total)
{
    char clean[REPORT_NAME_LEN], text[FORMAT_LEN];
    table_cell(t, report_name(clean, guest));
    table_cell(t, what);
    table_cell(t, address);
    table_cell(t, access);
    snprintf(text, sizeof(text), "%" PRIu64, count);
    table_cell(t, text);
    snprintf(text, sizeof(text), "%.2f %%", total ? 100 * (double)count / (double)total : 0);
    table_cell(t, text);
    table_cell(t, name ? name : "");
}

/* Its rows add up to all its accesses. Returns how many there are. */
static size_t guest_rows(struct table *t, const struct vt_guest *g)
{
    size_t n = 0, rows = 0;
    struct vt_address_figure *sums = sum_guest(g, &n);
    uint64_t unsummed = 0, total, rest = 0;
    char text[FORMAT_LEN];
    for (size_t i = 0; i < g->nr_vcpus; i++)
        unsummed += g->vcpus[i].addresses_unsummed;
    total = unsummed;
    for (size_t i = 0; sums && i < n; i++)
        total += sums[i].count;
    for (size_t i = 0; sums && i < n; i++) {
        if (i >= BUSIEST) {
            rest += sums[i].count;
            continue;
        }
        snprintf(text, sizeof(text), "%#" PRIx64, sums[i].address);
        row(t, rows++ ? "" : g->vm.name, vt_access_name(sums[i].kind), sums[i].is_write ? "write" : "read",
            text, vt_address_name(sums[i].kind, sums[i].address), sums[i].count, total);
    }
    snprintf(text, sizeof(text), "%zu other%s", n > BUSIEST ? n - BUSIEST : 0, n == BUSIEST + 1 ? "" : "s");
    if (rest)
        row(t, "", text, "", "", NULL, rest, total);
    if (unsummed)
        row(t, rows++ ? "" : g->vm.name, "unsummed", "", "", "their addresses found no room", unsummed,
            total);
    free(sums);
    return rows;
}

void report_text_addresses(const struct report_view *v, FILE *out)
{
    static const char *const heads[] = { "accesses", "share", "usually" };
    const struct vt_snapshot *s = v->snapshot;
    struct table *t = s->host.exit_addresses ? table_new(v->utf8) : NULL;
    size_t rows = 0;
    if (!t)
        return;
    for (size_t i = 0; i < 4; i++)
        table_column(t, (const char *const[]){ "guest", "kind", "address", "access" }[i], i != 2, false);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        table_column(t, heads[i], i == 2, i == 2);
    for (size_t g = 0; g < s->nr_guests; g++)
        rows += guest_rows(t, &s->guests[g]);
    fputs("\nBusiest addresses: what guests accessed that KVM or the monitor had to serve\n", out);
    if (rows) {
        table_print(t, 3, "  ", out);
        fputs("  ports and MSRs by number, MMIO by its exact guest-physical address\n", out);
    } else {
        fputs("  none in this window\n", out);
    }
    table_free(t);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int vt_parse_number(const char *option, const char *text, double low, double high, double *ret,
                    struct vt_err *err)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !(v >= low && v <= high))
        return vt_fail(err, EINVAL, "--%s %s: a number from %.10g to %.10g is wanted", option, text, low,
                       high);
    *ret = v;
    return 0;
}

struct unit {
    char letter;
    double factor;
};

/* A number and perhaps one letter. */
static int parse_with_unit(const char *text, const struct unit *units, double *ret)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || !isfinite(v))
        return -EINVAL;
    if (*end) {
        while (units->letter && units->letter != *end)
            units++;
        if (!units->letter || end[1])
            return -EINVAL;
        v *= units->factor;
    }
    *ret = v;
    return 0;
}

int vt_parse_duration(const char *option, const char *text, uint64_t low_ns, uint64_t *ret_ns,
                      struct vt_err *err)
{
    static const struct unit units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 0, 0 } };
    const double most = 1000 * 86400.0, low = (double)low_ns / 1e9;
    double v = 0;

    if (parse_with_unit(text, units, &v) || v < low || v > most)
        return vt_fail(err, EINVAL, "--%s %s: a time such as 45s, 30m, 6h or 1d is wanted, at least %.10gs",
                       option, text, low);
    *ret_ns = (uint64_t)(v * 1e9);
    return 0;
}

int vt_parse_bytes(const char *option, const char *text, uint64_t low, uint64_t *ret, struct vt_err *err)
{
    static const struct unit units[] = {
        { 'K', 0x1p10 }, { 'M', 0x1p20 }, { 'G', 0x1p30 }, { 'T', 0x1p40 }, { 0, 0 }
    };
    double v = 0;

    if (parse_with_unit(text, units, &v) || v < (double)low || v > 0x1p50)
        return vt_fail(err, EINVAL, "--%s %s: a size such as 500K, 64M or 2G is wanted, at least %llu bytes",
                       option, text, (unsigned long long)low);
    *ret = (uint64_t)v;
    return 0;
}

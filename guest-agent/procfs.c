/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/procfs.h"

#include <string.h>

/* Numbers of this text never have a sign where we read one. */
static bool number(const char **at, uint64_t *ret)
{
    const char *p = *at;
    uint64_t v = 0;
    while (*p == ' ')
        p++;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *at = p;
    *ret = v;
    return true;
}

static uint64_t ticks_to_ns(uint64_t ticks, uint32_t user_hz)
{
    return user_hz ? ticks / user_hz * 1000000000u + ticks % user_hz * 1000000000u / user_hz : 0;
}

bool vta_parse_cpu_time(const char *line, uint32_t user_hz, struct vtg_cpu_time *ret)
{
    uint64_t ns[9] = { 0 }, cpu = UINT32_MAX; /* a kernel without steal or guest has fewer */
    size_t i = 0;
    if (strncmp(line, "cpu", 3) != 0)
        return false;
    line += 3;
    if (*line != ' ' && (!number(&line, &cpu) || cpu >= UINT32_MAX))
        return false;
    for (; i < 9 && number(&line, &ns[i]); i++)
        ns[i] = ticks_to_ns(ns[i], user_hz);
    if (i < 4)
        return false;
    *ret = (struct vtg_cpu_time){ (uint32_t)cpu, 1,     ns[0], ns[1], ns[2], ns[3],
                                  ns[4],         ns[5], ns[6], ns[7], ns[8] };
    return true;
}

/* Seconds with two decimals. */
static bool seconds(const char **at, uint64_t *ret_ns)
{
    uint64_t whole, hundredth;
    if (!number(at, &whole) || **at != '.')
        return false;
    (*at)++;
    if (!number(at, &hundredth) || hundredth > 99)
        return false;
    *ret_ns = whole * 1000000000u + hundredth * 10000000u;
    return true;
}

bool vta_parse_uptime(const char *text, uint64_t *ret_uptime_ns, uint64_t *ret_idle_ns)
{
    uint64_t uptime, idle;
    if (!seconds(&text, &uptime) || !seconds(&text, &idle))
        return false;
    *ret_uptime_ns = uptime;
    *ret_idle_ns = idle;
    return true;
}

/* The next field, of any kind. */
static const char *skip_field(const char *p)
{
    p += strspn(p, " ");
    return p + strcspn(p, " ");
}

bool vta_parse_process(const char *text, uint32_t user_hz, struct vtg_process *ret)
{
    const char *open = strchr(text, '('), *close = strrchr(text, ')'), *p = text;
    uint64_t pid, ppid, times[4], threads, start;
    if (!open || !close || close < open || !number(&p, &pid))
        return false;
    p = skip_field(close + 1); /* state; then the fields by their number in proc(5) */
    if (!number(&p, &ppid))
        return false;
    for (int field = 5; field <= 13; field++)
        p = skip_field(p);
    for (int i = 0; i < 4; i++)
        if (!number(&p, &times[i]))
            return false;
    p = skip_field(skip_field(p)); /* priority, nice */
    if (!number(&p, &threads))
        return false;
    p = skip_field(p);
    if (!number(&p, &start))
        return false;
    ret->pid = (uint32_t)pid;
    ret->ppid = (uint32_t)ppid;
    ret->threads = (uint32_t)threads;
    ret->start_ticks = start;
    ret->utime_ns = ticks_to_ns(times[0], user_hz) + ticks_to_ns(times[2], user_hz);
    ret->stime_ns = ticks_to_ns(times[1], user_hz) + ticks_to_ns(times[3], user_hz);
    const size_t n = (size_t)(close - open - 1);
    memset(ret->comm, 0, sizeof(ret->comm));
    memcpy(ret->comm, open + 1, n < sizeof(ret->comm) ? n : sizeof(ret->comm));
    return true;
}

bool vta_parse_schedstat(const char *text, uint64_t *ret_run_ns, uint64_t *ret_delay_ns)
{
    uint64_t run, delay;
    if (!number(&text, &run) || !number(&text, &delay))
        return false;
    *ret_run_ns = run;
    *ret_delay_ns = delay;
    return true;
}

bool vta_parse_cpu_list(const char *text, struct vta_cpu_set *ret)
{
    struct vta_cpu_set set = { { 0 } };
    while (*text && *text != '\n') {
        uint64_t from, to;
        if (!number(&text, &from))
            return false;
        to = from;
        if (*text == '-') {
            text++;
            if (!number(&text, &to) || to < from)
                return false;
        }
        for (uint64_t cpu = from; cpu <= to && cpu < VTA_CPUS_MOST; cpu++)
            set.bits[cpu / 64] |= UINT64_C(1) << cpu % 64;
        if (*text == ',')
            text++;
        else if (*text && *text != '\n')
            return false;
    }
    *ret = set;
    return true;
}

uint32_t vta_cpu_count(const struct vta_cpu_set *set)
{
    uint32_t n = 0;
    for (size_t i = 0; i < VTA_CPUS_MOST / 64; i++)
        n += (uint32_t)__builtin_popcountll(set->bits[i]);
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool vta_parse_uuid(const char *text, uint64_t ret[2])
{
    uint64_t v[2] = { 0, 0 };
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20) {
            if (*text++ != '-')
                return false;
        }
        const int digit = hex_digit(*text++);
        if (digit < 0)
            return false;
        v[i / 16] = v[i / 16] << 4 | (uint64_t)digit;
    }
    ret[0] = v[0];
    ret[1] = v[1];
    return true;
}

uint32_t vta_name_id(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h ? h : 1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-agent/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct kind_name {
    const char *name;
    int (*parse)(struct vta_spec *spec, const char *address); /* address: NULL, or after the colon */
    const char *wanted;
};

/* Digits only, within most. */
static int parse_number(const char *text, size_t n, uint32_t most, uint32_t *ret)
{
    uint64_t v = 0;
    if (n == 0 || n > 10)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    if (v > most)
        return -EINVAL;
    *ret = (uint32_t)v;
    return 0;
}

static int copy_address(struct vta_spec *spec, const char *text, size_t n)
{
    if (n == 0 || n >= sizeof(spec->address))
        return -EINVAL;
    memcpy(spec->address, text, n);
    spec->address[n] = 0;
    return 0;
}

static int parse_virtio(struct vta_spec *spec, const char *address)
{
    const char *name = address ? address : VTA_PORT_NAME;
    return strchr(name, '/') ? -EINVAL : copy_address(spec, name, strlen(name));
}

static int parse_vsock(struct vta_spec *spec, const char *address)
{
    spec->number = VTA_VSOCK_PORT;
    /* the largest is VMADDR_PORT_ANY */
    return address ? parse_number(address, strlen(address), UINT32_MAX - 1, &spec->number) : 0;
}

static int parse_tcp(struct vta_spec *spec, const char *address)
{
    const char *colon = address ? strrchr(address, ':') : NULL;
    if (!colon || parse_number(colon + 1, strlen(colon + 1), UINT16_MAX, &spec->number) || !spec->number)
        return -EINVAL;
    const size_t n = (size_t)(colon - address);
    uint8_t binary[16];
    const bool bracketed = n > 2 && address[0] == '[' && address[n - 1] == ']';
    if (bracketed ? copy_address(spec, address + 1, n - 2) : copy_address(spec, address, n))
        return -EINVAL;
    return inet_pton(bracketed ? AF_INET6 : AF_INET, spec->address, binary) == 1 ? 0 : -EINVAL;
}

static int parse_path(struct vta_spec *spec, const char *address)
{
    return address ? copy_address(spec, address, strlen(address)) : -EINVAL;
}

static int parse_fd(struct vta_spec *spec, const char *address)
{
    return address ? parse_number(address, strlen(address), INT32_MAX, &spec->number) : -EINVAL;
}

static const struct kind_name kinds[VTA_NR_KINDS] = {
    [VTA_VIRTIO] = { "virtio", parse_virtio, "virtio or virtio:PORTNAME" },
    [VTA_VSOCK] = { "vsock", parse_vsock, "vsock or vsock:PORT" },
    [VTA_TCP] = { "tcp", parse_tcp, "tcp:ADDRESS:PORT, the address in digits" },
    [VTA_UNIX] = { "unix", parse_path, "unix:PATH, at most 107 bytes" },
    [VTA_TTY] = { "tty", parse_path, "tty:PATH" },
    [VTA_FD] = { "fd", parse_fd, "fd:NUMBER" },
    [VTA_FILE] = { "file", parse_path, "file:PATH, at most 107 bytes" },
};

int vta_spec_parse(struct vta_spec *ret, const char *text, char *err, size_t n)
{
    const size_t length = strcspn(text, ":");
    const char *address = text[length] ? text + length + 1 : NULL;
    for (size_t i = 0; i < VTA_NR_KINDS; i++) {
        struct vta_spec spec = { .kind = (enum vta_kind)i };
        if (strlen(kinds[i].name) != length || memcmp(kinds[i].name, text, length) != 0)
            continue;
        if (kinds[i].parse(&spec, address)) {
            snprintf(err, n, "%s: %s is wanted", text, kinds[i].wanted);
            return -EINVAL;
        }
        *ret = spec;
        return 0;
    }
    snprintf(err, n,
             "%s: virtio, vsock:PORT, tcp:ADDRESS:PORT, unix:PATH, tty:PATH, fd:N or file:PATH is wanted",
             text);
    return -EINVAL;
}

void vta_spec_print(const struct vta_spec *spec, char *out, size_t n)
{
    const char *name = kinds[spec->kind].name;
    switch (spec->kind) {
    case VTA_VSOCK:
    case VTA_FD:
        snprintf(out, n, "%s:%u", name, spec->number);
        break;
    case VTA_TCP:
        snprintf(out, n, strchr(spec->address, ':') ? "%s:[%s]:%u" : "%s:%s:%u", name, spec->address,
                 spec->number);
        break;
    default:
        snprintf(out, n, "%s:%s", name, spec->address);
    }
}

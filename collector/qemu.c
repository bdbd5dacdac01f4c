/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 256 << 10, MAX_VALUE = 256, MAX_SOCKETS = 4096 };

/* ---- options: word,key=value,key=value; a comma in a value is doubled ---- */

/* The next piece up to a single comma, unescaped; false at the end, or where it is too long for any we want.
 */
static bool next_piece(const char **at, char ret[MAX_VALUE])
{
    const char *p = *at;
    size_t n = 0;

    if (!p || !*p)
        return false;
    for (; *p && !(p[0] == ',' && p[1] != ','); p++) {
        p += *p == ',';
        if (n < MAX_VALUE)
            ret[n++] = *p;
    }
    *at = *p ? p + 1 : p;
    if (n == MAX_VALUE)
        n = 0; /* nothing of ours */
    ret[n] = 0;
    return true;
}

/* The value of a key, or of its bare name ("server": on). word: what the first piece is a value of. */
static bool option(const char *text, const char *word, const char *key, char ret[MAX_VALUE])
{
    char piece[MAX_VALUE];
    bool first = true;

    for (const char *at = text; next_piece(&at, piece); first = false) {
        char *eq = strchr(piece, '=');
        if (eq)
            *eq++ = 0;
        const char *name = eq ? piece : first ? word : piece;
        if (strcmp(name, key) != 0)
            continue;
        strcpy(ret, eq ? eq : first ? piece : "on");
        return true;
    }
    return false;
}

static bool option_is(const char *text, const char *word, const char *key, const char *value)
{
    char got[MAX_VALUE];

    return option(text, word, key, got) && strcmp(got, value) == 0;
}

static bool is_on(const char *text, const char *key)
{
    char got[MAX_VALUE];

    return option(text, "", key, got) && (strcmp(got, "on") == 0 || strcmp(got, "yes") == 0 ||
                                          strcmp(got, "true") == 0 || strcmp(got, "y") == 0);
}

/* -device takes JSON, too: {"driver":"virtserialport",…} */
static bool json_option(const char *text, const char *key, char ret[MAX_VALUE])
{
    cJSON *all = cJSON_Parse(text);
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(all, key);
    bool found = false;

    if (cJSON_IsString(value) && strlen(value->valuestring) < MAX_VALUE) {
        strcpy(ret, value->valuestring);
        found = true;
    } else if (cJSON_IsNumber(value)) {
        snprintf(ret, MAX_VALUE, "%.0f", value->valuedouble);
        found = true;
    }
    cJSON_Delete(all);
    return found;
}

static bool device_option(const char *text, const char *key, char ret[MAX_VALUE])
{
    return *text == '{' ? json_option(text, key, ret) : option(text, "driver", key, ret);
}

static bool device_is(const char *text, const char *key, const char *value)
{
    char got[MAX_VALUE];

    return device_option(text, key, got) && strcmp(got, value) == 0;
}

/* ---- the command line ---- */

/* The value of the next such option after *at (NULL: from the begin); -x and --x are the same. */
static const char *next_option(const char *args, size_t n, const char *name, const char *at)
{
    const char *const end = args + n;

    for (const char *a = at ? at : args; a < end;) {
        const size_t len = strnlen(a, (size_t)(end - a));
        const char *value = a + len + 1;
        const char *word = a + (len > 0 && a[0] == '-') + (len > 1 && a[0] == '-' && a[1] == '-');
        if (value >= end || !memchr(value, 0, (size_t)(end - value)))
            return NULL;
        if (word > a && strcmp(word, name) == 0)
            return value;
        a = value;
    }
    return NULL;
}

/* The chardev of our port. */
static bool find_port(const char *args, size_t n, char ret[MAX_VALUE])
{
    for (const char *d = NULL; (d = next_option(args, n, "device", d));)
        if (device_is(d, "driver", "virtserialport") && device_is(d, "name", VT_AGENT_PORT) &&
            device_option(d, "chardev", ret))
            return true;
    return false;
}

static bool socket_of_chardev(const char *text, struct vt_qemu_socket *ret)
{
    char value[MAX_VALUE], *end;

    if (!option_is(text, "backend", "backend", "socket") || !is_on(text, "server") || is_on(text, "abstract"))
        return false;
    if (option(text, "", "path", value) && *value && strlen(value) < sizeof(ret->path)) {
        strcpy(ret->path, value);
        ret->fd = -1;
        return true;
    }
    if (!option(text, "", "fd", value))
        return false;
    const long fd = strtol(value, &end, 10);
    ret->path[0] = 0;
    ret->fd = (int)fd;
    return end != value && !*end && fd >= 0 && fd < 1 << 20;
}

bool vt_qemu_find_socket(const char *args, size_t n, struct vt_qemu_socket *ret)
{
    char chardev[MAX_VALUE];

    if (!find_port(args, n, chardev))
        return false;
    for (const char *c = NULL; (c = next_option(args, n, "chardev", c));)
        if (option_is(c, "backend", "id", chardev))
            return socket_of_chardev(c, ret);
    return false;
}

uint32_t vt_qemu_find_cid(const char *args, size_t n)
{
    char value[MAX_VALUE], *end;

    for (const char *d = NULL; (d = next_option(args, n, "device", d));) {
        if (!device_option(d, "guest-cid", value))
            continue;
        const unsigned long long cid = strtoull(value, &end, 10);
        return end != value && !*end && cid < UINT32_MAX ? (uint32_t)cid : 0;
    }
    return 0;
}

/* Of "kvm:tcg" the first that there is: TCG always is. */
static bool prefers_kvm(const char *list)
{
    for (const char *at = list;; at++) {
        const size_t n = strcspn(at, ":");
        if (n == 3 && memcmp(at, "kvm", n) == 0)
            return true;
        if (n == 3 && memcmp(at, "tcg", n) == 0)
            return false;
        at += n;
        if (!*at)
            return false;
    }
}

static bool machine_asks_kvm(const char *args, size_t n, const char *name)
{
    char list[MAX_VALUE];

    for (const char *m = NULL; (m = next_option(args, n, name, m));)
        if (option(m, "type", "accel", list) && prefers_kvm(list))
            return true;
    return false;
}

bool vt_qemu_asks_kvm(const char *args, size_t n)
{
    char list[MAX_VALUE];

    for (const char *a = args; a < args + n; a += strnlen(a, (size_t)(args + n - a)) + 1)
        if (strcmp(a, "-enable-kvm") == 0 || strcmp(a, "--enable-kvm") == 0)
            return true;
    for (const char *a = NULL; (a = next_option(args, n, "accel", a));)
        if (option(a, "accel", "accel", list)) /* several: the first that there is */
            return prefers_kvm(list);
    return machine_asks_kvm(args, n, "machine") || machine_asks_kvm(args, n, "M");
}

/* ---- /proc/net/unix ---- */

#define LISTENS 0x10000u                /* __SO_ACCEPTCON */
enum { CONNECTING = 2, CONNECTED = 3 }; /* SS_…: a socket to be accepted bears its listener's path */

/* Num: RefCount Protocol Flags Type St Inode Path. Pads what is read beyond the path's room: it is no
 * other's. */
static bool parse_unix_line(const char *line, unsigned *ret_flags, unsigned *ret_state,
                            struct vt_unix_place *ret)
{
    unsigned long long inode;
    int at = 0;

    if (sscanf(line, "%*x: %*x %*x %x %*x %x %llu %n", ret_flags, ret_state, &inode, &at) != 3 || !at)
        return false;
    const char *path = line + at;
    const size_t n = strcspn(path, "\n");
    if (n == 0 || n >= sizeof(ret->path) || path[0] == '@')
        return false;
    memcpy(ret->path, path, n);
    ret->path[n] = 0;
    ret->inode = inode;
    return true;
}

static bool is_own(const struct vt_inodes *own, uint64_t inode)
{
    for (size_t i = 0; i < own->n; i++)
        if (own->at[i] == inode)
            return true;
    return false;
}

/* A connection that is not accepted yet has no inode, and may be to any that listens at that path. */
static bool may_be_to(const struct vt_inodes *own, unsigned state, uint64_t inode)
{
    return inode == 0 ? state == CONNECTING || state == CONNECTED : state == CONNECTED && is_own(own, inode);
}

bool vt_unix_find(FILE *table, const char *path, uint64_t inode, const struct vt_inodes *own,
                  struct vt_unix_place *ret)
{
    char line[512];
    struct vt_unix_place row = { .held = false };
    unsigned flags, state;
    bool found = false;

    rewind(table);
    while (!found && fgets(line, sizeof(line), table)) {
        found = parse_unix_line(line, &flags, &state, &row) && flags & LISTENS &&
                (*path ? strcmp(row.path, path) == 0 : row.inode == inode) && is_own(own, row.inode);
        if (found)
            *ret = row;
    }
    if (!found)
        return false;
    ret->held = false;
    rewind(table);
    while (fgets(line, sizeof(line), table))
        if (parse_unix_line(line, &flags, &state, &row) && may_be_to(own, state, row.inode) &&
            strcmp(row.path, ret->path) == 0)
            ret->held = true;
    return true;
}

/* ---- a process ---- */

char *vt_command_line(uint32_t tgid, size_t *ret_n)
{
    char path[64], *args = malloc(MAX_ARGUMENTS);
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%u/cmdline", tgid);
    f = args ? fopen(path, "re") : NULL;
    *ret_n = f ? fread(args, 1, MAX_ARGUMENTS - 1, f) : 0;
    if (f)
        fclose(f);
    if (*ret_n == 0) {
        free(args);
        return NULL;
    }
    args[*ret_n] = 0; /* the last argument ends, whatever was cut */
    return args;
}

static uint64_t socket_inode(uint32_t tgid, const char *fd)
{
    char path[64], link[64];
    unsigned long long inode;

    snprintf(path, sizeof(path), "/proc/%u/fd/%s", tgid, fd);
    const ssize_t n = readlink(path, link, sizeof(link) - 1);
    link[n > 0 ? n : 0] = 0;
    return sscanf(link, "socket:[%llu]", &inode) == 1 ? inode : 0;
}

/* The kernel's word which sockets the process itself has; of very many the first. To be freed. */
static struct vt_inodes own_sockets(uint32_t tgid)
{
    char path[64];
    uint64_t *at = calloc(MAX_SOCKETS, sizeof(*at)), inode;
    struct vt_inodes own = { .at = at };

    snprintf(path, sizeof(path), "/proc/%u/fd", tgid);
    DIR *d = at ? opendir(path) : NULL;
    for (const struct dirent *e; d && own.n < MAX_SOCKETS && (e = readdir(d));)
        if (strlen(e->d_name) < 16 && (inode = socket_inode(tgid, e->d_name)))
            at[own.n++] = inode;
    if (d)
        closedir(d);
    return own;
}

static int find_listener(uint32_t tgid, const struct vt_qemu_socket *s, struct vt_unix_place *ret)
{
    char path[64], fd[16];
    uint64_t inode = 0;

    if (s->fd >= 0) {
        snprintf(fd, sizeof(fd), "%d", s->fd);
        if (!(inode = socket_inode(tgid, fd)))
            return -ENOENT;
    }
    snprintf(path, sizeof(path), "/proc/%u/net/unix", tgid);
    FILE *table = fopen(path, "re");
    if (!table)
        return -ENOENT;
    const struct vt_inodes own = own_sockets(tgid);
    const bool found = vt_unix_find(table, s->path, inode, &own, ret);
    fclose(table);
    free((void *)own.at);
    return found ? 0 : -ENOENT;
}

static int open_folder(uint32_t tgid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%u/%s", tgid, what);
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/*
 * A process's path is foreign: an absolute one is walked as if its root were ours, links included; a
 * relative one from its working directory, where a link could lead out of its root, without any.
 */
static int open_inside(uint32_t tgid, const char *path)
{
    const bool absolute = path[0] == '/';
    const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                                  .resolve = RESOLVE_NO_MAGICLINKS |
                                             (absolute ? RESOLVE_IN_ROOT : RESOLVE_NO_SYMLINKS) };
    const int folder = open_folder(tgid, absolute ? "root" : "cwd");
    const long fd = folder < 0 ? -1 : syscall(SYS_openat2, folder, path, &how, sizeof(how));
    struct stat st;

    const int number = errno;

    if (folder >= 0)
        close(folder);
    if (fd < 0)
        return -number;
    if (fstat((int)fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return (int)fd;
    close((int)fd);
    return -ENOTSOCK; /* a link, too */
}

int vt_qemu_open_port(uint32_t tgid, struct vt_qemu_port *ret)
{
    struct vt_qemu_socket s;
    struct vt_qemu_port port = { .fd = -1 };
    size_t n;
    char *args = vt_command_line(tgid, &n);
    const bool named = args && vt_qemu_find_socket(args, n, &s);

    free(args);
    if (!named || find_listener(tgid, &s, &port.place))
        return -ENODEV;
    port.handed = s.fd >= 0;
    if (!port.place.held)
        port.fd = open_inside(tgid, port.place.path);
    *ret = port;
    return port.place.held ? -EBUSY : port.fd < 0 ? port.fd : 0;
}

void vt_qemu_close_port(struct vt_qemu_port *port)
{
    close(port->fd);
    port->fd = -1;
}

void vt_qemu_port_path(const struct vt_qemu_port *port, char ret[VT_UNIX_PATH])
{
    snprintf(ret, VT_UNIX_PATH, "/proc/self/fd/%d", port->fd);
}

static bool is_user_of(uint32_t tgid, uid_t uid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%u", tgid);
    return uid == 0 || (stat(path, &st) == 0 && st.st_uid == uid);
}

bool vt_qemu_serves(const struct vt_qemu_port *port, uint32_t tgid, int fd)
{
    struct ucred who = { 0 };
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.pid <= 0)
        return false;
    return (uint32_t)who.pid == tgid || (port->handed && is_user_of(tgid, who.uid));
}

uint32_t vt_qemu_cid_of(uint32_t tgid)
{
    size_t n;
    char *args = vt_command_line(tgid, &n);
    const uint32_t cid = args ? vt_qemu_find_cid(args, n) : 0;

    free(args);
    return cid;
}

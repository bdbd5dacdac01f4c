/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store/db.h"

#include <errno.h>
#include <string.h>

static int last_number(sqlite3 *db, int which)
{
    sqlite3_file *file = NULL;
    int number = 0;
    if (sqlite3_file_control(db, "main", which, &file) != SQLITE_OK || !file || !file->pMethods ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number) != SQLITE_OK)
        return 0;
    return number;
}

/* The system's own word where SQLite only says that I/O failed: of -wal, of the file, of the last call. */
static int system_number(sqlite3 *db, int otherwise)
{
    if (!db)
        return otherwise;
    int number = last_number(db, SQLITE_FCNTL_JOURNAL_POINTER);
    if (number <= 0)
        number = last_number(db, SQLITE_FCNTL_FILE_POINTER);
    if (number <= 0)
        number = sqlite3_system_errno(db);
    return number > 0 ? number : otherwise;
}

static int number_of(sqlite3 *db, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_IOERR: {
        if (rc == SQLITE_IOERR_NOMEM)
            return ENOMEM;
        const int number = system_number(db, EIO);
        /* a quota or a limit on file size is a full disk to whoever writes */
        return number == EDQUOT || number == EFBIG ? ENOSPC : number;
    }
    case SQLITE_CANTOPEN:
        return db && sqlite3_system_errno(db) > 0 ? sqlite3_system_errno(db) : EACCES;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* our SQL is fixed: it fails only on tables that are not ours */
        return EUCLEAN;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_CONSTRAINT:
        return EEXIST;
    default:
        return EIO;
    }
}

int vt_db_fail(const struct vt_store *store, int rc, const char *doing, struct vt_err *err)
{
    const char *path = store->path;
    const int number = number_of(store->db, rc);
    switch (number) {
    case ENOSPC:
        return vt_fail(err, number, "disk full: %s; what was committed before stays; free some space", path);
    case EROFS:
        return vt_fail(err, number, "cannot %s %s: it or its file system is read-only", doing, path);
    case EACCES:
    case EPERM:
        return vt_fail(err, EACCES, "cannot %s %s: permission denied, to it or to its folder", doing, path);
    case EUCLEAN:
        return vt_fail(err, number, "%s is damaged or not a vtime recording (%s)", path,
                       sqlite3_errmsg(store->db));
    case EBUSY:
        return vt_fail(err, number, "cannot %s %s: another program holds it; try again", doing, path);
    case EEXIST:
        return vt_fail(err, number, "cannot %s %s: a row is there already (%s)", doing, path,
                       sqlite3_errmsg(store->db));
    default:
        return vt_fail(err, number, "cannot %s %s: %s", doing, path, strerror(number));
    }
}

int vt_db_exec(struct vt_store *store, const char *sql, struct vt_err *err)
{
    const int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : vt_db_fail(store, rc, store->writer ? "write" : "read", err);
}

int vt_db_prepare(struct vt_store *store, const char *sql, sqlite3_stmt **ret, struct vt_err *err)
{
    if (!sql)
        return vt_fail(err, ENOMEM, "out of memory");
    const int rc = sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    return rc == SQLITE_OK ? 0 : vt_db_fail(store, rc, store->writer ? "write" : "read", err);
}

int vt_db_step(struct vt_store *store, sqlite3_stmt *stmt, struct vt_err *err)
{
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return vt_db_fail(store, rc, sqlite3_stmt_readonly(stmt) ? "read" : "write", err);
}

int vt_db_integer(struct vt_store *store, const char *sql, int64_t *ret, struct vt_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = vt_db_prepare(store, sql, &stmt, err);
    if (r == 0)
        r = vt_db_step(store, stmt, err);
    if (r == 1) {
        *ret = sqlite3_column_int64(stmt, 0);
        r = 0;
    } else if (r == 0) {
        r = vt_fail(err, EUCLEAN, "%s is damaged: a query that has a row gave none", store->path);
    }
    sqlite3_finalize(stmt);
    return r;
}

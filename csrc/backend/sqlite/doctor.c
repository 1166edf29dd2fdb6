/* doctor.c - what is wrong with a file, or will be. */
#include <string.h>

#include "backend/sqlite/sqlite.h"

typedef struct consultation {
    cs_sqlite *b;
    cs_advice_visit visit;
    void *ctx;
} consultation;

static int say(const consultation *d, const char *level, const char *subject, const char *text,
               const char *help, csync_error *err)
{
    cs_advice advice = {level, subject, text, help};

    return d->visit(d->ctx, &advice, err);
}

typedef int (*row_work)(const consultation *d, sqlite3_stmt *row, csync_error *err);

static int each_row(const consultation *d, const char *sql, row_work work, csync_error *err)
{
    SQ_API(d->b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(d->b, sql, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(d->b, stmt, err)) == 1) {
        rc = work(d, stmt, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static const char *text_of(const consultation *d, sqlite3_stmt *row, int column)
{
    SQ_API(d->b);
    const char *text = (const char *)sqlite3_column_text(row, column);

    return text ? text : "";
}

static int say_damage(const consultation *d, sqlite3_stmt *row, csync_error *err)
{
    return strcmp(text_of(d, row, 0), "ok") == 0
               ? CSYNC_OK
               : say(d, "error", "integrity", text_of(d, row, 0),
                     "restore a backup, or recover the file with the sqlite3 shell's .recover", err);
}

static int say_journal(const consultation *d, sqlite3_stmt *row, csync_error *err)
{
    return strcmp(text_of(d, row, 0), "wal") == 0 || strcmp(text_of(d, row, 0), "memory") == 0
               ? CSYNC_OK
               : say(d, "info", "journal_mode",
                     "readers wait for writers, and writers for readers, in this journal mode",
                     "PRAGMA journal_mode = WAL", err);
}

static int say_orphans(const consultation *d, sqlite3_stmt *row, csync_error *err)
{
    cs_buf subject = {0}, text = {0};
    int rc;

    cs_buf_printf(&subject, "table %s", text_of(d, row, 0));
    cs_buf_printf(
        &text, "%s rows refer to a row of %s that is not there; replicas that check will park them",
        text_of(d, row, 2), text_of(d, row, 1));
    rc = cs_buf_check(&subject, err);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&text, err);
    if (rc == CSYNC_OK)
        rc = say(d, "warning", subject.data, text.data,
                 "write with PRAGMA foreign_keys = ON, and mend or delete these rows", err);
    cs_buf_free(&subject);
    cs_buf_free(&text);
    return rc;
}

static int say_gone(const consultation *d, sqlite3_stmt *row, csync_error *err)
{
    return say(d, "error", text_of(d, row, 0), "it is tracked, but it is gone",
               "untrack it, or create it again", err);
}

static int say_parked(const consultation *d, sqlite3_stmt *row, csync_error *err)
{
    return say(d, "warning", "parked", text_of(d, row, 0),
               "Replica.parked() lists them, each with its reason", err);
}

int sq_doctor(cs_backend *base, cs_advice_visit visit, void *ctx, csync_error *err)
{
    consultation d = {(cs_sqlite *)base, visit, ctx};
    SQ_API(d.b);
    cs_buf version = {0};
    int rc;

    cs_buf_printf(&version, "SQLite %s", sqlite3_libversion());
    rc = cs_buf_check(&version, err);
    if (rc == CSYNC_OK)
        rc = say(&d, "info", "library", version.data, "", err);
    cs_buf_free(&version);
    if (rc == CSYNC_OK)
        rc = each_row(&d, "PRAGMA quick_check(5)", say_damage, err);
    if (rc == CSYNC_OK)
        rc = each_row(&d, "PRAGMA main.journal_mode", say_journal, err);
    if (rc == CSYNC_OK)
        rc = each_row(&d,
                      "SELECT 'table '||name FROM _sync_tables WHERE name NOT IN (SELECT name FROM "
                      "sqlite_master WHERE type='table')",
                      say_gone, err);
    if (rc == CSYNC_OK)
        rc = each_row(&d,
                      "SELECT count(*)||' changes that won wait to enter their table' FROM _sync_parked "
                      "HAVING count(*)>0",
                      say_parked, err);
    return rc == CSYNC_OK
               ? each_row(&d,
                          "SELECT \"table\",parent,count(*) FROM pragma_foreign_key_check "
                          "WHERE \"table\" IN (SELECT name FROM _sync_tables) GROUP BY 1,2",
                          say_orphans, err)
               : rc;
}

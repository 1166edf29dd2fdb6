/* row.c - writing one row, and what it means when SQLite refuses. */
#include <string.h>

#include "backend/sqlite/sqlite.h"

int sq_violated(cs_sqlite *b)
{
    SQ_API(b);
    int now = 0, high = 0;

    return sqlite3_db_status(b->db, SQLITE_DBSTATUS_DEFERRED_FKS, &now, &high, 0) == SQLITE_OK && now;
}

int sq_defer(cs_sqlite *b, int on, csync_error *err)
{
    return sq_exec(b, on ? "PRAGMA defer_foreign_keys=ON" : "PRAGMA defer_foreign_keys=OFF", err);
}

void sq_touch(cs_table *t)
{
    sq_prepared *p = t->prepared;

    if (p)
        p->untouched = 0;
}

/* Why a row was refused, in a word; NULL when it is no matter of the row. */
static const char *refusal(int native)
{
    switch (native) {
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return "foreign key";
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return "unique";
    case SQLITE_CONSTRAINT_CHECK:
        return "check";
    case SQLITE_CONSTRAINT_NOTNULL:
        return "not null";
    case SQLITE_CONSTRAINT_TRIGGER:
        return "trigger";
    case SQLITE_CONSTRAINT_DATATYPE:
        return "type";
    }
    switch (native & 0xff) {
    case SQLITE_MISMATCH:
        return "type";
    case SQLITE_TOOBIG:
        return "too big";
    case SQLITE_CONSTRAINT:
        return "constraint";
    case SQLITE_ERROR: /* a parent table that is not there, a trigger that does not compile */
        return "schema";
    default:
        return NULL;
    }
}

/* After a failure: fills *reason when the transaction can go on. */
static int refused(cs_sqlite *b, int rc, const char **reason, csync_error *err)
{
    SQ_API(b);

    if (rc != CSYNC_EDB)
        return rc;
    if (sqlite3_get_autocommit(b->db))
        return cs_fail(err, CSYNC_EDB, "a trigger rolled csync's transaction back: %s",
                       sqlite3_errmsg(b->db));
    *reason = refusal(b->native);
    return *reason ? CSYNC_OK : rc;
}

static int last_version(cs_sqlite *b, int64_t *out, csync_error *err)
{
    return sq_log_top(&b->base, out, err);
}

static int drop_own_entry(cs_sqlite *b, const cs_table *t, int64_t after, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_DROP_AFTER, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, after);
    sq_bind_text(b, stmt, 2, t->name);
    return sq_run(b, stmt, err);
}

/* Capture on for one statement: what foreign keys do to other rows is this replica's own doing and must
 * reach the others (a suppressed cascade would diverge for ever). */
static int capture(cs_sqlite *b, int on, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc;

    if (!b->flag_set)
        return sq_set_triggers(b, on, err);
    rc = sq_fixed(b, SQ_SUPPRESS, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int(stmt, 1, !on);
    return sq_run(b, stmt, err);
}

/* Runs the statement with capture on. The row's own entry is the last one (its AFTER trigger fires when
 * the foreign keys have acted) and goes: the change already has an entry. */
static int run_captured(cs_sqlite *b, const cs_table *t, sqlite3_stmt *stmt, csync_error *err)
{
    int64_t before = 0, after = 0;
    int rc = last_version(b, &before, err), off;

    if (rc == CSYNC_OK)
        rc = capture(b, 1, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = sq_run(b, stmt, err);
    off = capture(b, 0, rc == CSYNC_OK ? err : NULL);
    if (rc == CSYNC_OK)
        rc = off;
    if (rc == CSYNC_OK)
        rc = drop_own_entry(b, t, before, err);
    if (rc == CSYNC_OK)
        rc = last_version(b, &after, err);
    if (rc != CSYNC_OK)
        return rc;
    b->next_version = after + 1;
    b->captured = 1;
    return CSYNC_OK;
}

int sq_put_cells(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err)
{
    sqlite3_stmt *stmt;
    int whole = 1;
    int rc;

    for (size_t i = 0; i < t->count; i++)
        whole &= b->present[i];
    rc = whole ? sq_table_stmt(b, t, SQT_ROW_PUT, &stmt, err) : sq_partial_put(b, t, &stmt, err);
    if (rc == CSYNC_OK) {
        for (size_t i = 0; i < t->count; i++)
            if (b->present[i])
                sq_bind(b, stmt, (int)i + 1, &b->cells[i]);
        rc = t->acts_on_update && b->foreign_keys ? run_captured(b, t, stmt, err)
                                                  : sq_run(b, stmt, err);
    }
    sq_touch(t);
    return rc == CSYNC_OK ? rc : refused(b, rc, reason, err);
}

int sq_delete_row(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_ROW_DELETE, &stmt, err);

    if (rc == CSYNC_OK) {
        sq_bind_key(b, stmt, t);
        rc = t->acts_on_delete && b->foreign_keys ? run_captured(b, t, stmt, err)
                                                  : sq_run(b, stmt, err);
    }
    sq_touch(t);
    return rc == CSYNC_OK ? rc : refused(b, rc, reason, err);
}

int sq_write_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    int rc;

    *reason = NULL;
    if (change->operation == CSYNC_DELETE)
        return sq_delete_row(b, t, reason, err);
    rc = sq_read_payload(b, t, change->payload, strlen(change->payload), err);
    if (rc == CSYNC_ESCHEMA)
        *reason = "unknown column";
    return rc == CSYNC_OK ? sq_put_cells(b, t, reason, err) : *reason ? CSYNC_OK : rc;
}

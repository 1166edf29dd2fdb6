/* row.c - writing one row, and what it means when SQLite refuses. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

int sq_violated(cs_sqlite *b)
{
    SQ_API(b);
    int now = 0, high = 0;

    return sqlite3_db_status(b->db, SQLITE_DBSTATUS_DEFERRED_FKS, &now, &high, 0) == SQLITE_OK && now;
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

int sq_refused(cs_sqlite *b, int rc, const char **reason, csync_error *err)
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

static int drop_entry(cs_sqlite *b, int64_t version, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_DROP, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, version);
    return sq_run(b, stmt, err);
}

/* The row's own entries go: the change already has one. (The application's triggers may have made more.) */
static int drop_own_entries(cs_sqlite *b, const cs_table *t, int64_t after, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_AFTER, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, after);
    sq_bind_text(b, stmt, 2, t->name);
    while ((rc = sq_step(b, stmt, err)) == 1) {
        rc = CSYNC_OK;
        if (sq_is_key(b, t, sq_column_text(b, stmt, 1)))
            rc = drop_entry(b, sqlite3_column_int64(stmt, 0), err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_drop_acted(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    return b->acted ? drop_own_entries(b, t, b->merge_start, err) : CSYNC_OK;
}

/* What was captured is read from its row when it is sent: where a key is deferred, a change of the same batch may still
 * write it. */
static int blank_payloads(cs_sqlite *b, int64_t after, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_BLANK, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, after);
    rc = sq_run(b, stmt, err);
    b->acted |= rc == CSYNC_OK && sqlite3_changes(b->db) > 0;
    return rc;
}

/* Capture on for one statement: what foreign keys do to other rows is this replica's own doing and must
 * reach the others (a suppressed cascade would diverge for ever). */
int sq_capture(cs_sqlite *b, int on, csync_error *err)
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

/* Runs the statement and keeps how many rows it wrote: a trigger with RAISE(IGNORE) writes none, silently. */
static int run_counted(cs_sqlite *b, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);
    int rc = sq_run(b, stmt, err);

    b->row_changes = rc == CSYNC_OK ? sqlite3_changes(b->db) : 0;
    return rc;
}

static int run_captured(cs_sqlite *b, const cs_table *t, sqlite3_stmt *stmt, csync_error *err)
{
    int64_t before = 0;
    int rc = last_version(b, &before, err), off;

    if (rc == CSYNC_OK)
        rc = sq_capture(b, CS_RULE(ACTIONS), err);
    if (rc != CSYNC_OK)
        return rc;
    rc = run_counted(b, stmt, err);
    off = sq_capture(b, 0, rc == CSYNC_OK ? err : NULL);
    if (rc == CSYNC_OK)
        rc = off;
    if (rc == CSYNC_OK)
        rc = drop_own_entries(b, t, before, err);
    if (rc == CSYNC_OK)
        rc = blank_payloads(b, before, err);
    b->captured |= b->acted;
    return rc;
}

static int run_fixed(cs_sqlite *b, enum sq_fixed which, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, which, &stmt, err);

    return rc == CSYNC_OK ? sq_run(b, stmt, err) : rc;
}

int sq_attempt(cs_sqlite *b, csync_error *err)
{
    return run_fixed(b, SQ_SAVEPOINT, err);
}

int sq_attempt_end(cs_sqlite *b, int undo, csync_error *err)
{
    int rc = undo ? run_fixed(b, SQ_UNDO, err) : CSYNC_OK;

    return rc == CSYNC_OK ? run_fixed(b, SQ_RELEASE, err) : rc;
}

/* With keys checked late SQLite refuses nothing by itself: a row that leaves a key unsatisfied is undone, so
 * that the count of open violations is right again. (Switching the pragma within a transaction is not a
 * way: SQLite counts deferred and immediate violations apart.) */
static int run_checked(cs_sqlite *b, const cs_table *t, sqlite3_stmt *stmt, int acts, csync_error *err)
{
    int violated = 0;
    int rc = sq_attempt(b, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = acts ? run_captured(b, t, stmt, err) : run_counted(b, stmt, err);
    violated = rc == CSYNC_OK && sq_violated(b);
    if (rc != CSYNC_OK || violated) {
        int native = violated ? SQLITE_CONSTRAINT_FOREIGNKEY : b->native;
        int undone = sq_attempt_end(b, 1, rc == CSYNC_OK ? err : NULL);

        b->native = native;
        if (undone != CSYNC_OK || !violated)
            return rc != CSYNC_OK ? rc : undone;
        return cs_fail(err, CSYNC_EDB, "FOREIGN KEY constraint failed");
    }
    return sq_attempt_end(b, 0, err);
}

static int run_row(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, int acts, csync_error *err)
{
    int64_t top = 0;
    int rc;

    acts = acts && b->foreign_keys;
    if (b->deferred && !b->lenient)
        rc = run_checked(b, t, stmt, acts, err);
    else
        rc = acts ? run_captured(b, t, stmt, err) : run_counted(b, stmt, err);
    if (rc == CSYNC_OK)
        sq_touch(t);
    if (rc == CSYNC_OK && acts) {
        rc = last_version(b, &top, err);
        b->next_version = top + 1;
    }
    return rc;
}

/* An upsert of nothing but a key does nothing to a row that is there. */
static int may_write_none(const cs_sqlite *b, const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (b->present[i] && !t->columns[i].key)
            return 0;
    return 1;
}

/* The row's present state becomes a change of this replica. */
static int log_row(cs_sqlite *b, cs_table *t, const char *pk, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    int64_t now = 0;
    int rc = sq_stamp_now(&b->base, &now, err);

    cs_time_format(now, timestamp);
    if (rc == CSYNC_OK)
        rc = sq_log_local(b, t, pk, "update", timestamp, err);
    if (rc == CSYNC_OK)
        rc = last_version(b, &b->next_version, err);
    b->next_version++;
    b->captured |= rc == CSYNC_OK;
    return rc;
}

/* A change from another schema leaves the columns alone that it lacks. Where they hold more than what everybody would put
 * there, the row is what no other replica can make of the change: all of it becomes one of this replica. */
static int log_kept(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    cs_buf pk = {0};
    int rc = sq_partial_kept(b, t, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, stmt, t);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        sq_put_key(b, stmt, 0, t, &pk);
        rc = cs_buf_check(&pk, err);
        if (rc == CSYNC_OK)
            rc = log_row(b, t, pk.data, err);
    }
    sqlite3_reset(stmt);
    cs_buf_free(&pk);
    return rc;
}

int sq_put_cells(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err)
{
    int whole = sq_is_whole(b, t);
    const cs_column *misfit = sq_misfit(b, t);
    sqlite3_stmt *stmt;
    int rc;

    if (misfit) {
        *reason = "type";
        (void)cs_fail(err, CSYNC_EDB, "column \"%.40s\" (%.40s) would hold another value",
                      misfit->name, misfit->type);
        return CSYNC_OK;
    }
    rc = whole ? sq_table_stmt(b, t, SQT_ROW_PUT, &stmt, err) : sq_partial_put(b, t, &stmt, err);

    if (rc == CSYNC_OK) {
        for (size_t i = 0; i < t->count; i++)
            if (b->present[i])
                sq_bind(b, stmt, (int)i + 1, &b->cells[i]);
        rc = run_row(b, t, stmt, t->acts_on_update, err);
    }
    if (rc == CSYNC_OK && !b->row_changes && !may_write_none(b, t)) {
        *reason = "trigger";
        (void)cs_fail(err, CSYNC_EDB, "a trigger of the table ignored the row");
        return CSYNC_OK;
    }
    if (rc != CSYNC_OK)
        return sq_refused(b, rc, reason, err);
    return whole ? CSYNC_OK : log_kept(b, t, err);
}

int sq_put_rows(cs_sqlite *b, cs_table *t, sqlite3_stmt *stmt, const char **reason, csync_error *err)
{
    int rc = sq_run(b, stmt, err);

    if (rc == CSYNC_OK)
        sq_touch(t);
    return rc == CSYNC_OK ? rc : sq_refused(b, rc, reason, err);
}

int sq_delete_row(cs_sqlite *b, cs_table *t, const char **reason, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_ROW_DELETE, &stmt, err);

    if (rc == CSYNC_OK) {
        sq_bind_key(b, stmt, t);
        rc = run_row(b, t, stmt, t->acts_on_delete, err);
    }
    return rc == CSYNC_OK ? rc : sq_refused(b, rc, reason, err);
}

/* Parks the children and deletes again. */
static int delete_after_children(cs_sqlite *b, cs_table *t, const csync_change *change, int all,
                                 const char **reason, csync_error *err)
{
    int rc = sq_park_children(b, t, all, err);

    *reason = NULL;
    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
    return rc == CSYNC_OK ? sq_delete_row(b, t, reason, err) : rc;
}

/* The row is gone everywhere. Rows that forbid it are parked first; if an action of a foreign key is itself
 * refused (SET NULL on NOT NULL, a cascade onto rows that forbid it), all that refer to it are. */
static int leave(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    int rc;

    if (!b->foreign_keys || (!t->blocks_delete && !t->acts_on_delete))
        return sq_delete_row(b, t, reason, err);
    if (t->blocks_delete)
        rc = delete_after_children(b, t, change, 0, reason, err);
    else
        rc = sq_delete_row(b, t, reason, err);
    if (rc != CSYNC_OK || !*reason)
        return rc;
    rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
    return rc == CSYNC_OK ? delete_after_children(b, t, change, 1, reason, err) : rc;
}

int sq_write_row(cs_sqlite *b, cs_table *t, const csync_change *change, const char **reason,
                 csync_error *err)
{
    int rc;

    *reason = NULL;
    if (change->operation == CSYNC_DELETE)
        return leave(b, t, change, reason, err);
    rc = sq_read_payload(b, t, change->payload, strlen(change->payload), err);
    if (rc == CSYNC_ESCHEMA)
        *reason = "unknown column";
    return rc == CSYNC_OK ? sq_put_cells(b, t, reason, err) : *reason ? CSYNC_OK : rc;
}

/* suppress.c - writes that are not captured.
 *
 * Where csync's triggers are the only ones, they are switched off for the connection: nothing in the file
 * changes, and it is three times cheaper. Switching makes SQLite prepare every statement again, so an
 * owned connection is left switched off until its user writes through it. Else the flag in _sync_session
 * is set and cleared inside the transaction: a crash rolls it back and nobody else ever sees it. */
#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

int sq_set_triggers(cs_sqlite *b, int on, csync_error *err)
{
    SQ_API(b);

    if (b->triggers_off == !on)
        return CSYNC_OK;
    if (sqlite3_db_config(b->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, on, NULL) != SQLITE_OK)
        return sq_fail(b, err, "cannot switch triggers");
    b->triggers_off = !on;
    return CSYNC_OK;
}

static int set_flag(cs_sqlite *b, int on, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc;

    if (b->flag_set == on)
        return CSYNC_OK;
    rc = sq_fixed(b, SQ_SUPPRESS, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int(stmt, 1, on);
    rc = sq_run(b, stmt, err);
    if (rc == CSYNC_OK)
        b->flag_set = on;
    return rc;
}

static int may_switch(cs_sqlite *b)
{
    int64_t temporary = 0;

    if (!b->owned || !b->only_our_triggers)
        return 0;
    return sq_fixed_int(b, SQ_TEMP_TRIGGERS, &temporary, NULL) == CSYNC_OK && temporary == 0;
}

int sq_suppress(cs_backend *base, int on, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int rc = CSYNC_OK;

    if (!on && b->suppressed_writes)
        rc = sq_hide_vanished(b, err);
    b->suppressed_writes = 0;
    if (rc != CSYNC_OK)
        return rc;
    on = on && CS_RULE(SUPPRESS);
    b->suppressed = on;
    if (b->flag_set)
        return set_flag(b, on, err);
    if (!on)
        return CSYNC_OK;
    if (may_switch(b))
        return sq_set_triggers(b, 0, err);
    rc = sq_set_triggers(b, 1, err);
    return rc == CSYNC_OK ? set_flag(b, 1, err) : rc;
}

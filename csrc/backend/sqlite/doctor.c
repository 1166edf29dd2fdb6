/* doctor.c - what is wrong with a file, or will be. */
#include "backend/sqlite/sqlite.h"

/* Columns: level, subject, text, help. Each SELECT gives a row where something is to be said. */
static const char doctor_sql[] =
    "SELECT 'info','library','SQLite '||sqlite_version(),'' "
    "UNION ALL SELECT 'error','integrity',quick_check,'restore a backup, or recover the file with the sqlite3 shell''s "
    ".recover' FROM pragma_quick_check(5) WHERE quick_check<>'ok' "
    "UNION ALL SELECT 'info','journal_mode','readers wait for writers, and writers for readers, in this journal mode',"
    "'PRAGMA journal_mode = WAL' FROM pragma_journal_mode WHERE journal_mode NOT IN ('wal','memory') "
    "UNION ALL SELECT 'error','table '||name,'it is tracked, but it is gone','untrack it, or create it again' FROM "
    "main._sync_tables WHERE name NOT IN (SELECT name FROM main.sqlite_master WHERE type='table') "
    "UNION ALL SELECT 'warning','parked',count(*)||' changes that won wait to enter their table','Replica.parked() lists "
    "them, each with its reason' FROM main._sync_parked HAVING count(*)>0 "
    "UNION ALL SELECT 'warning','table '||\"table\",count(*)||' rows refer to a row of '||parent||' that is not there; "
    "replicas that check will park them','write with PRAGMA foreign_keys = ON, and mend or delete these rows' FROM "
    "pragma_foreign_key_check WHERE \"table\" IN (SELECT name FROM main._sync_tables) GROUP BY \"table\",parent";

int sq_doctor(cs_backend *base, cs_advice_visit visit, void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b, doctor_sql, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const cs_advice advice = {sq_column_text(b, stmt, 0), sq_column_text(b, stmt, 1),
                                  sq_column_text(b, stmt, 2), sq_column_text(b, stmt, 3)};

        rc = visit(ctx, &advice, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* doctor.c - what the server and this role lack, and the statements that help. Only the catalogue is asked, which anybody may
 * read, so that a lack of rights cannot hide itself. */
#include "backend/postgres/postgres.h"

/* Columns: level, subject, text, help. Each SELECT gives a row where something is to be said. */
static const char server_sql[] =
    "SELECT 'info','server','PostgreSQL '||current_setting('server_version')||', database '||current_database()||"
    "', role '||current_user,'' "
    "UNION ALL SELECT 'error','server','this is a standby: it cannot be written','open the primary' WHERE "
    "pg_is_in_recovery() "
    "UNION ALL SELECT 'error','encoding','the database has the encoding '||current_setting('server_encoding')||"
    "', in which not every text can be stored','a database with ENCODING ''UTF8''' WHERE "
    "current_setting('server_encoding')<>'UTF8' "
    "UNION ALL SELECT 'warning','synchronous_commit','it is off: after a crash of the server commits may be gone that "
    "peers have been given','ALTER DATABASE '||quote_ident(current_database())||' SET synchronous_commit = on' WHERE "
    "current_setting('synchronous_commit')='off' "
    "UNION ALL SELECT 'warning','fsync','it is off: a crash of the machine may destroy the database','fsync = on in "
    "postgresql.conf' WHERE current_setting('fsync')='off' "
    "UNION ALL SELECT 'info','idle_in_transaction_session_timeout','it is off: a transaction that is forgotten open holds "
    "changes back for as long as it is open','ALTER DATABASE '||quote_ident(current_database())||' SET "
    "idle_in_transaction_session_timeout = ''5min''' WHERE "
    "current_setting('idle_in_transaction_session_timeout')='0' "
    "UNION ALL SELECT 'error','session_replication_role','it is set to replica for this role or database: what is written "
    "so is not captured','ALTER ROLE '||quote_ident(current_user)||' RESET session_replication_role; ALTER DATABASE '||"
    "quote_ident(current_database())||' RESET session_replication_role' WHERE "
    "current_setting('session_replication_role')='replica'";

static const char tables_sql[] =
    "SELECT 'error','table '||t.name,'it is tracked, but it is gone','untrack it, or create it again' FROM "
    "csync._sync_tables t WHERE NOT EXISTS(SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace WHERE "
    "t.name=" PG_WIRE_NAME ") "
    "UNION ALL SELECT 'error','table '||t.name,'its trigger '||g.tgname||' is switched off: its writes are not captured',"
    "'ALTER TABLE '||c.oid::regclass||' ENABLE TRIGGER '||quote_ident(g.tgname) FROM csync._sync_tables t JOIN pg_class c "
    "ON true JOIN pg_namespace n ON n.oid=c.relnamespace AND t.name=" PG_WIRE_NAME
    " JOIN pg_trigger g ON "
    "g.tgrelid=c.oid AND g.tgname LIKE '\\_sync\\_%' AND g.tgenabled='D' "
    "UNION ALL SELECT 'warning','table '||t.name,'rows come to it by logical replication, which is not captured',"
    "'track it in the database that they come from' FROM csync._sync_tables t JOIN pg_class c ON true JOIN pg_namespace n "
    "ON n.oid=c.relnamespace AND t.name=" PG_WIRE_NAME
    " JOIN pg_subscription_rel s ON s.srrelid=c.oid "
    "UNION ALL SELECT 'warning','parked',count(*)||' changes that won wait to enter their table',"
    "'Replica.parked() lists them, each with its reason' FROM csync._sync_parked HAVING count(*)>0";

static const char names_sql[] =
    "SELECT t.name,quote_ident(n.nspname)||'.'||quote_ident(c.relname) FROM csync._sync_tables t JOIN pg_class c ON true "
    "JOIN pg_namespace n ON n.oid=c.relnamespace AND t.name=" PG_WIRE_NAME " ORDER BY 1";

typedef struct consultation {
    cs_pg *b;
    cs_advice_visit visit;
    void *ctx;
} consultation;

static int say(const consultation *d, const char *level, const char *subject, const char *text,
               const char *help, csync_error *err)
{
    cs_advice advice = {level, subject, text, help};

    return d->visit(d->ctx, &advice, err);
}

static int say_rows(const consultation *d, const char *sql, csync_error *err)
{
    cs_pg *b = d->b;
    PGresult *r;
    int rc = pg_run(b, sql, NULL, &r, err);

    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++)
        rc = say(d, pg_cell(b, r, i, 0), pg_cell(b, r, i, 1), pg_cell(b, r, i, 2),
                 pg_cell(b, r, i, 3), err);
    pg_clear(b, r);
    return rc;
}

/* `rc` and `why` are a check's answer. *lacks 1: rights are missing. */
static int say_refusal(const consultation *d, int rc, const char *subject, const csync_error *why,
                       int *lacks, csync_error *err)
{
    *lacks = rc == CSYNC_EDB && !d->b->sqlstate[0];
    if (*lacks)
        return say(d, "error", subject, why->message, "", err);
    if (rc != CSYNC_OK)
        cs_error_copy(err, why);
    return rc;
}

static int say_tables(const consultation *d, csync_error *err)
{
    cs_pg *b = d->b;
    PGresult *r;
    int rc = pg_run(b, names_sql, NULL, &r, err), lacks = 0;

    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        csync_error why = CSYNC_ERROR_INIT;
        cs_buf subject = {0};
        int checked;

        b->sqlstate[0] = 0;
        checked = pg_check_rights(b, pg_cell(b, r, i, 1), &why);
        cs_buf_printf(&subject, "table %s", pg_cell(b, r, i, 0));
        rc = cs_buf_check(&subject, err);
        if (rc == CSYNC_OK)
            rc = say_refusal(d, checked, subject.data, &why, &lacks, err);
        cs_buf_free(&subject);
    }
    pg_clear(b, r);
    return rc == CSYNC_OK ? say_rows(d, tables_sql, err) : rc;
}

/* Most are open for a moment. */
static int say_holder(void *ctx, const cs_holder *h, csync_error *err)
{
    const consultation *d = ctx;
    const char *level = h->seconds >= 0 && h->seconds < 60 ? "info" : "warning";
    cs_buf text = {0}, help = {0};
    int rc;

    cs_buf_printf(&text, "%s %lld of %s is open for %lld s and holds %lld versions back",
                  h->pid ? "the transaction of process" : "a prepared transaction,",
                  (long long)h->pid, h->user ? h->user : "another role", (long long)h->seconds,
                  (long long)h->waiting);
    if (h->pid)
        cs_buf_printf(&help, "SELECT pg_terminate_backend(%lld)", (long long)h->pid);
    else
        cs_buf_printf(&help, "COMMIT PREPARED or ROLLBACK PREPARED '%s'",
                      h->application ? h->application : "its name");
    rc = cs_buf_check(&text, err);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&help, err);
    if (rc == CSYNC_OK)
        rc = say(d, level, "held back", text.data, help.data, err);
    cs_buf_free(&text);
    cs_buf_free(&help);
    return rc;
}

int pg_doctor(cs_backend *base, cs_advice_visit visit, void *ctx, csync_error *err)
{
    consultation d = {(cs_pg *)base, visit, ctx};
    csync_error why = CSYNC_ERROR_INIT;
    int lacks = 0;
    int rc = say_rows(&d, server_sql, err);

    if (rc != CSYNC_OK)
        return rc;
    d.b->sqlstate[0] = 0;
    rc = say_refusal(&d, pg_check_rights_to_use(d.b, &why), "schema csync", &why, &lacks, err);
    if (rc != CSYNC_OK || lacks)
        return rc;
    rc = say_tables(&d, err);
    return rc == CSYNC_OK ? pg_lag(base, say_holder, &d, err) : rc;
}

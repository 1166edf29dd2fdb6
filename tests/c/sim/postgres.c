/* postgres.c - PostgreSQL databases for replicas: one of a private server's for each replica number and process, which is
 * emptied for each run.
 *
 * What production code takes from outside is injected here too. Its calls of libpq go through a table of functions, and
 * two of them count: at the nth statement the replica's process dies, before the statement reaches the server or
 * before the answer comes back. csync's function that reads the wall clock is replaced by one that reads a sequence.
 * Nothing else in these databases differs from production. */
#include "backend/postgres/postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

enum { MAX_CONNECTIONS = 2 * MAX_REPLICAS };

typedef struct slot {
    PGconn *app; /* the application's connection, kept from run to run */
    int action, cycle, follows, capture; /* as it was made */
    int has_column;
    int64_t clock;
} slot;

static const char *server; /* libpq's keywords; NULL: there is none */
static slot slots[MAX_REPLICAS];
static pid_t owner; /* of the slots' connections */
static struct {
    PGconn *conn;
    int replica;
} connections[MAX_CONNECTIONS];
static char why[200];

/* ---- what production code calls ---- */

static PGconn *sim_connect(const char *info)
{
    const char *name = strstr(info, "dbname=sim_");
    PGconn *conn = PQconnectdb(info);

    for (int i = 0; name && i < MAX_CONNECTIONS; i++)
        if (!connections[i].conn) {
            connections[i].conn = conn;
            connections[i].replica = atoi(strchr(name + 11, '_') + 1);
            break;
        }
    return conn;
}

static int replica_of(const PGconn *conn)
{
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        if (connections[i].conn == conn)
            return connections[i].replica;
    return -1;
}

static void sim_finish(PGconn *conn)
{
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        if (connections[i].conn == conn)
            connections[i].conn = NULL;
    PQfinish(conn);
}

/* The server notices that its client is gone: nothing that was not committed has happened. */
static void abandon(int replica)
{
    for (int i = 0; i < MAX_CONNECTIONS; i++)
        if (connections[i].conn && connections[i].replica == replica &&
            PQtransactionStatus(connections[i].conn) != PQTRANS_IDLE)
            PQclear(PQexec(connections[i].conn, "ROLLBACK"));
}

/* 1: the process lives, and the statement is to be sent. It may be answered and the answer never read. */
static int lives(PGconn *conn, int *answered)
{
    int replica = replica_of(conn);

    *answered = 1;
    if (replica < 0)
        return 1;
    if (disk_dead(replica))
        return 0;
    if (disk_operation(replica))
        return 1;
    *answered = 0;
    if (disk_power(replica))
        return 1;
    abandon(replica);
    return 0;
}

static PGresult *answer(PGconn *conn, PGresult *result, int answered)
{
    if (answered)
        return result;
    PQclear(result);
    abandon(replica_of(conn));
    return NULL;
}

static PGresult *sim_exec(PGconn *conn, const char *sql)
{
    int answered;

    return lives(conn, &answered) ? answer(conn, PQexec(conn, sql), answered) : NULL;
}

static PGresult *sim_exec_params(PGconn *conn, const char *sql, int count, const Oid *types,
                                 const char *const *values, const int *lengths, const int *formats,
                                 int format)
{
    int answered;

    return lives(conn, &answered)
               ? answer(conn, PQexecParams(conn, sql, count, types, values, lengths, formats, format),
                        answered)
               : NULL;
}

static ConnStatusType sim_status(const PGconn *conn)
{
    int replica = replica_of(conn);

    return replica >= 0 && disk_dead(replica) ? CONNECTION_BAD : PQstatus(conn);
}

static PGTransactionStatusType sim_transaction_status(const PGconn *conn)
{
    int replica = replica_of(conn);

    return replica >= 0 && disk_dead(replica) ? PQTRANS_UNKNOWN : PQtransactionStatus(conn);
}

/* Instead of csrc/backend/postgres/libpq.c: what a process does when it dies is done to its connections. */
int pg_libpq(void *library, pg_libpq_table *out, csync_error *err)
{
#define ENTRY(name) .name = name,
    static const pg_libpq_table real = {PG_FUNCTIONS(ENTRY)};
#undef ENTRY

    (void)library;
    (void)err;
    *out = real;
    out->PQconnectdb = sim_connect;
    out->PQfinish = sim_finish;
    out->PQexec = sim_exec;
    out->PQexecParams = sim_exec_params;
    out->PQstatus = sim_status;
    out->PQtransactionStatus = sim_transaction_status;
    return CSYNC_OK;
}

void postgres_init(const char *keywords)
{
    server = keywords;
}

/* ---- the application's connection ---- */

static PGconn *app_of(const replica *r)
{
    return slots[r->index].app;
}

static int note(PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    snprintf(why, sizeof why, "%s", text ? text : "the connection is lost");
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return SQL_DONE;
    return state && strncmp(state, "23", 2) == 0 ? SQL_REFUSED : SQL_FAILED;
}

int postgres_sql(replica *r, const char *sql)
{
    PGresult *result = sim_exec(app_of(r), sql);
    int rc = note(result);

    PQclear(result);
    return rc;
}

const char *postgres_why(const replica *r)
{
    (void)r;
    return why;
}

int postgres_in_transaction(const replica *r)
{
    return !disk_dead(r->index) && PQtransactionStatus(app_of(r)) != PQTRANS_IDLE;
}

/* The oracle's questions do not count as statements of the replica's. */
PGresult *postgres_ask(world *w, replica *r, const char *sql, const char *param)
{
    PGresult *result = PQexecParams(app_of(r), sql, param != NULL, NULL, &param, NULL, NULL, 0);

    if (note(result) != SQL_DONE)
        finding(w, "error", "replica %d: %s: %s", r->index, sql, why);
    return result;
}

void postgres_clock(const replica *r, int64_t ms)
{
    slot *s = &slots[r->index];
    char sql[80];

    if (!s->app || s->clock == ms)
        return;
    s->clock = ms;
    snprintf(sql, sizeof sql, "SELECT setval('sim.clock',%lld)", (long long)ms);
    PQclear(PQexec(s->app, sql));
}

/* ---- making databases ---- */

static void database_name(int index, char *out, size_t size)
{
    snprintf(out, size, "sim_%d_%d", (int)getpid(), index);
}

void postgres_url(const replica *r, char *out, size_t size)
{
    char name[40];

    database_name(r->index, name, sizeof name);
    snprintf(out, size, "postgresql:%s dbname=%s", server, name);
}

static int run(world *w, PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    int rc = note(result);

    if (rc != SQL_DONE)
        finding(w, "error", "%.200s: %s", sql, why);
    PQclear(result);
    return rc;
}

static PGconn *connect_to(world *w, const char *database)
{
    char info[200];
    PGconn *conn;

    snprintf(info, sizeof info, "%s dbname=%s", server, database);
    conn = sim_connect(info);
    if (PQstatus(conn) != CONNECTION_OK)
        finding(w, "error", "%s: %s", info, PQerrorMessage(conn));
    (void)run(w, conn, "SET client_min_messages=warning");
    return conn;
}

static void make_database(world *w, const char *name)
{
    PGconn *conn = connect_to(w, "postgres");
    char sql[100];

    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    (void)run(w, conn, sql);
    sim_finish(conn);
}

/* sim.reset() makes of csync's tables what they were before the first use, and leaves what is tracked alone. */
static const char helpers[] =
    "CREATE SCHEMA sim;"
    "CREATE SEQUENCE sim.clock;"
    "CREATE OR REPLACE FUNCTION csync._sync_wall() RETURNS bigint LANGUAGE sql VOLATILE AS $$"
    " SELECT last_value FROM sim.clock $$;"
    "CREATE FUNCTION sim.json_extract(text, text) RETURNS bigint LANGUAGE sql AS $$"
    " SELECT ($1::json->>substr($2,3))::bigint $$;"
    "DELETE FROM csync._sync_state WHERE key='origin_id'; DELETE FROM csync._sync_epochs;"
    "DO $$ DECLARE t text; BEGIN"
    " FOR t IN SELECT tablename FROM pg_tables WHERE schemaname='csync' LOOP"
    "  EXECUTE format('CREATE TABLE sim.%1$I AS TABLE csync.%1$I', t); END LOOP; END $$;"
    "CREATE FUNCTION sim.reset() RETURNS void LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN"
    " PERFORM set_config('csync.sync_active','1',true);"
    " DELETE FROM doc; DELETE FROM folder; DELETE FROM note; DELETE FROM tag; DELETE FROM pair;"
    " FOR t IN SELECT tablename FROM pg_tables WHERE schemaname='csync' AND tablename<>'_sync_tables' LOOP"
    "  EXECUTE format('DELETE FROM csync.%I', t);"
    "  EXECUTE format('INSERT INTO csync.%1$I SELECT * FROM sim.%1$I', t); END LOOP;"
    " PERFORM setval(oid::regclass,1,false) FROM pg_class WHERE relkind='S' AND"
    "  relnamespace='csync'::regnamespace AND relname<>'_sync_tables_id_seq'; END $$;";

/* A backup of all content, and its way back, in place: PostgreSQL copies a database only when nobody is in it. That goes
 * for copies too, which get all content but what says which tables are tracked. */
static const char backups[] =
    "CREATE FUNCTION sim.save() RETURNS void LANGUAGE plpgsql AS $$ DECLARE t record; BEGIN"
    " DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup;"
    " FOR t IN SELECT * FROM pg_tables WHERE schemaname IN ('csync','public') LOOP"
    "  EXECUTE format('CREATE TABLE backup.%2$I AS TABLE %1$I.%2$I', t.schemaname, t.tablename); END LOOP;"
    " CREATE TABLE backup.sequences AS SELECT sequencename s, last_value v FROM pg_sequences"
    "  WHERE schemaname='csync'; END $$;"
    "CREATE FUNCTION sim.restore() RETURNS void LANGUAGE plpgsql AS $$ DECLARE t record; BEGIN"
    " SET LOCAL session_replication_role=replica;"
    " FOR t IN SELECT * FROM pg_tables WHERE schemaname IN ('csync','public') LOOP"
    "  EXECUTE format('DELETE FROM %I.%I', t.schemaname, t.tablename);"
    "  EXECUTE format('INSERT INTO %1$I.%2$I SELECT * FROM backup.%2$I', t.schemaname, t.tablename); END LOOP;"
    " PERFORM setval(format('csync.%I',s)::regclass,coalesce(v,1),v IS NOT NULL) FROM backup.sequences;"
    " END $$;";

static void track_all(world *w, replica *r)
{
    csync_track_options options = {sizeof options, r->capture};
    csync_error err = CSYNC_ERROR_INIT;

    for (int t = 0; t < TABLES; t++)
        if (csync_track(r->handle, table_names[t], &options, &err) != CSYNC_OK)
            finding(w, "error", "csync_track of %s: %s", table_names[t], err.message);
    slots[r->index].capture = r->capture;
}

static void fill_database(world *w, slot *s, int index)
{
    static const config plain = {.tables = 31};
    replica r = {.index = index, .postgres = 1, .capture = CSYNC_CAPTURE_FULL};
    csync_error err = CSYNC_ERROR_INIT;
    char sql[300], url[200];

    for (int t = 0; t < TABLES; t++) {
        table_sql(&plain, &r, t, sql, sizeof sql);
        (void)run(w, s->app, sql);
    }
    postgres_url(&r, url, sizeof url);
    if (csync_open(&r.handle, url, NULL, &err) != CSYNC_OK)
        finding(w, "error", "csync_open of %s: %s", url, err.message);
    else
        track_all(w, &r);
    csync_close(r.handle);
    (void)run(w, s->app, helpers);
    (void)run(w, s->app, backups);
    (void)run(w, s->app, "SET search_path=public,csync,sim");
}

/* A process that was forked makes its own. */
static slot *slot_of(world *w, int index)
{
    slot *s = &slots[index];
    char name[40];

    if (owner != getpid()) {
        memset(slots, 0, sizeof slots);
        memset(connections, 0, sizeof connections);
        owner = getpid();
    }
    if (!s->app) {
        database_name(index, name, sizeof name);
        make_database(w, name);
        s->app = connect_to(w, name);
        fill_database(w, s, index);
    }
    return s;
}

/* ---- a database for a run ---- */

/* Both are made anew, in one order: by their numbers PostgreSQL decides which of two keys is checked first, and so which
 * one says no. */
static void set_keys(world *w, slot *s)
{
    const config *c = &w->config;
    char sql[500];

    if (s->action == c->action && s->cycle == c->cycle && s->follows == c->follows)
        return;
    snprintf(
        sql, sizeof sql,
        "ALTER TABLE doc DROP CONSTRAINT doc_folder_fkey; ALTER TABLE folder DROP CONSTRAINT IF "
        "EXISTS folder_up_fkey; ALTER TABLE doc DROP COLUMN IF EXISTS u; ALTER TABLE doc ADD FOREIGN "
        "KEY(folder) REFERENCES folder(id) %s;%s%s%s",
        action_sql(c),
        c->cycle ? "ALTER TABLE folder ADD FOREIGN KEY(up) REFERENCES folder(id) DEFERRABLE;" : "",
        c->follows ? "ALTER TABLE doc ADD COLUMN " : "", c->follows ? follows_sql(c) + 1 : "");
    (void)run(w, s->app, sql);
    s->action = c->action;
    s->cycle = c->cycle;
    s->follows = c->follows;
}

/* Emptied, and so that rows come to lie in the order in which they are written, whatever was there before. */
static void empty(world *w, slot *s)
{
    (void)run(w, s->app, "SELECT sim.reset()");
    (void)run(w, s->app,
              "VACUUM note,tag,folder,doc,pair,csync._sync_log,csync._sync_rows,csync._sync_parked");
}

/* Without the column that the last run added, with rows that are there before track; its number stays 1. */
static void make_note_anew(world *w, slot *s, replica *r)
{
    csync_error err = CSYNC_ERROR_INIT;
    char sql[300];

    if (csync_untrack(r->handle, "note", &err) != CSYNC_OK)
        finding(w, "error", "csync_untrack: %s", err.message);
    table_sql(&w->config, r, 0, sql, sizeof sql);
    (void)run(w, s->app, "DROP TABLE note; SELECT setval('csync._sync_tables_id_seq',1,false)");
    (void)run(w, s->app, sql);
    if (w->config.rows_before)
        (void)run(w, s->app, "INSERT INTO note VALUES(1,1,'old'),(2,1,'old')");
    s->has_column = 0;
}

int postgres_create(world *w, replica *r)
{
    slot *s = slot_of(w, r->index);
    int renew;

    empty(w, s);
    set_keys(w, s);
    s->clock = 0;
    if (replica_open(w, r) != CSYNC_OK)
        return -1;
    renew = s->has_column || w->config.rows_before;
    if (renew)
        make_note_anew(w, s, r);
    if (renew || s->capture != r->capture)
        track_all(w, r);
    return 0;
}

void postgres_has_column(const replica *r)
{
    slots[r->index].has_column = 1;
}

void postgres_save(world *w, const replica *r)
{
    (void)run(w, app_of(r), "SELECT sim.save()");
}

void postgres_restore(world *w, const replica *r)
{
    (void)run(w, app_of(r), "SELECT sim.restore()");
}

/* ---- copies ---- */

/* Rows go from one connection to the other as COPY writes them. */
static void pump(world *w, PGconn *from, PGconn *to)
{
    char *row;
    int len;

    while ((len = PQgetCopyData(from, &row, 0)) > 0) {
        if (PQputCopyData(to, row, len) != 1)
            finding(w, "error", "COPY FROM STDIN: %s", PQerrorMessage(to));
        PQfreemem(row);
    }
    if (len != -1 || PQputCopyEnd(to, NULL) != 1)
        finding(w, "error", "COPY TO STDOUT: %s", PQerrorMessage(from));
}

/* What is left on the connection, which is to be "done" alone. */
static void finish_copy(world *w, PGconn *conn)
{
    PGresult *result;

    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            finding(w, "error", "COPY: %s", PQresultErrorMessage(result));
        PQclear(result);
    }
}

static void copy_table(world *w, PGconn *from, PGconn *to, const char *table)
{
    char sql[200];

    snprintf(sql, sizeof sql, "DELETE FROM %s", table);
    (void)run(w, to, sql);
    snprintf(sql, sizeof sql, "COPY %s TO STDOUT", table);
    PQclear(PQexec(from, sql));
    snprintf(sql, sizeof sql, "COPY %s FROM STDIN", table);
    PQclear(PQexec(to, sql));
    pump(w, from, to);
    finish_copy(w, from);
    finish_copy(w, to);
}

/* The first column of each row, which is a text. */
static void each_text(world *w, PGconn *from, const char *sql, PGconn *to,
                      void (*visit)(world *, PGconn *, PGconn *, const char *))
{
    PGresult *result = PQexec(from, sql);

    if (note(result) != SQL_DONE)
        finding(w, "error", "%.100s: %s", sql, why);
    for (int i = 0; i < PQntuples(result); i++)
        visit(w, from, to, PQgetvalue(result, i, 0));
    PQclear(result);
}

static void run_there(world *w, PGconn *from, PGconn *to, const char *sql)
{
    (void)from;
    (void)run(w, to, sql);
}

int postgres_copy(world *w, const replica *r, replica *copy)
{
    PGconn *from = app_of(r), *to;

    if (postgres_create(w, copy) != CSYNC_OK)
        return -1;
    replica_close(w, copy);
    to = app_of(copy);
    (void)run(w, to, "BEGIN; SET LOCAL session_replication_role=replica");
    each_text(w, from,
              "SELECT format('%I.%I',schemaname,tablename) FROM pg_tables WHERE schemaname IN "
              "('csync','public') AND tablename<>'_sync_tables' ORDER BY 1",
              to, copy_table);
    each_text(w, from,
              "SELECT format('SELECT setval(%L,%s,%L)','csync.'||sequencename,coalesce(last_value,1),"
              "last_value IS NOT NULL) FROM pg_sequences WHERE schemaname='csync' ORDER BY 1",
              to, run_there);
    (void)run(w, to, "COMMIT");
    copy->copied = 1;
    return replica_open(w, copy);
}

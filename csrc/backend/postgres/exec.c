/* exec.c - running statements, and what PostgreSQL's failures mean. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"

void pg_text(pg_args *a, const char *text)
{
    a->values[a->count++] = text;
}

void pg_int(pg_args *a, int64_t value)
{
    snprintf(a->digits[a->count], sizeof a->digits[0], "%lld", (long long)value);
    a->values[a->count] = a->digits[a->count];
    a->count++;
}

static int starts(const char *state, const char *prefix)
{
    return strncmp(state, prefix, strlen(prefix)) == 0;
}

static int code_of(const char *state)
{
    if (strcmp(state, "57014") == 0)
        return CSYNC_ECANCELED;
    if (strcmp(state, "55P03") == 0 || starts(state, "40"))
        return CSYNC_EBUSY;
    return strcmp(state, "53200") == 0 ? CSYNC_ENOMEM : CSYNC_EDB;
}

/* As MAKE_SQLSTATE of PostgreSQL's own sources: six bits a character. */
static int native_code(const char *state)
{
    int code = 0;

    for (int i = 0; state[i]; i++)
        code |= ((state[i] - '0') & 0x3f) << (6 * i);
    return code;
}

static void note_constraint(cs_pg *b, const PGresult *result)
{
    const char *schema = result ? b->pq->PQresultErrorField(result, PG_DIAG_SCHEMA_NAME) : NULL;
    const char *name = result ? b->pq->PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) : NULL;

    cs_buf_clear(&b->constraint);
    if (!schema || !name)
        return;
    cs_put_ident(&b->constraint, schema);
    cs_buf_putc(&b->constraint, '.');
    cs_put_ident(&b->constraint, name);
}

int pg_fail(cs_pg *b, const PGresult *result, csync_error *err)
{
    const char *state = result ? b->pq->PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *text = result ? b->pq->PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    int code;

    snprintf(b->sqlstate, sizeof b->sqlstate, "%s", state ? state : "08006");
    note_constraint(b, result);
    if (cs_error_writable(err))
        err->native_code = native_code(b->sqlstate);
    code = code_of(b->sqlstate);
    if (code == CSYNC_ENOMEM)
        return cs_fail_nomem(err);
    if (code == CSYNC_ECANCELED)
        return cs_fail(err, code, "cancelled");
    return cs_fail(err, code, "PostgreSQL %s: %s", b->sqlstate,
                   text ? text : b->pq->PQerrorMessage(b->conn));
}

static int take(cs_pg *b, PGresult *result, PGresult **out, csync_error *err)
{
    ExecStatusType status = b->pq->PQresultStatus(result);
    int rc = CSYNC_OK;

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        rc = pg_fail(b, result, err);
    if (rc == CSYNC_OK && out) {
        *out = result;
        return CSYNC_OK;
    }
    b->pq->PQclear(result);
    return rc;
}

int pg_run_many(cs_pg *b, const char *sql, const char *const *params, int count, PGresult **out,
                csync_error *err)
{
    if (out)
        *out = NULL;
    return take(b, b->pq->PQexecParams(b->conn, sql, count, NULL, params, NULL, NULL, 0), out, err);
}

int pg_run(cs_pg *b, const char *sql, const pg_args *args, PGresult **out, csync_error *err)
{
    return pg_run_many(b, sql, args ? args->values : NULL, args ? args->count : 0, out, err);
}

int pg_exec_last(cs_pg *b, const char *sql, PGresult **out, csync_error *err)
{
    if (out)
        *out = NULL;
    return take(b, b->pq->PQexec(b->conn, sql), out, err);
}

int pg_exec(cs_pg *b, const char *sql, csync_error *err)
{
    return pg_exec_last(b, sql, NULL, err);
}

int pg_exec_buf(cs_pg *b, cs_buf *sql, csync_error *err)
{
    int rc = cs_buf_check(sql, err);

    if (rc == CSYNC_OK)
        rc = pg_exec(b, sql->data, err);
    cs_buf_free(sql);
    return rc;
}

int pg_rows(const cs_pg *b, const PGresult *r)
{
    return b->pq->PQntuples(r);
}

const char *pg_cell(const cs_pg *b, const PGresult *r, int row, int column)
{
    return b->pq->PQgetisnull(r, row, column) ? NULL : b->pq->PQgetvalue(r, row, column);
}

int64_t pg_cell_int(const cs_pg *b, const PGresult *r, int row, int column)
{
    const char *text = pg_cell(b, r, row, column);

    return text ? strtoll(text, NULL, 10) : 0;
}

int64_t pg_affected(const cs_pg *b, PGresult *r)
{
    return strtoll(b->pq->PQcmdTuples(r), NULL, 10);
}

void pg_clear(const cs_pg *b, PGresult *r)
{
    b->pq->PQclear(r);
}

int pg_query_int(cs_pg *b, const char *sql, const pg_args *args, int64_t *out, int *found,
                 csync_error *err)
{
    PGresult *r;
    int rc = pg_run(b, sql, args, &r, err);
    int any = rc == CSYNC_OK && pg_rows(b, r) > 0 && pg_cell(b, r, 0, 0);

    *out = any ? pg_cell_int(b, r, 0, 0) : 0;
    if (found)
        *found = any;
    pg_clear(b, r);
    return rc;
}

int pg_check_now(cs_pg *b, csync_error *err)
{
    return pg_exec(b, "SET CONSTRAINTS ALL IMMEDIATE", err);
}

int pg_savepoint(cs_pg *b, csync_error *err)
{
    return pg_exec(b, "SAVEPOINT csync", err);
}

int pg_savepoint_end(cs_pg *b, int undo, csync_error *err)
{
    return pg_exec(
        b, undo ? "ROLLBACK TO SAVEPOINT csync; RELEASE SAVEPOINT csync" : "RELEASE SAVEPOINT csync",
        err);
}

const char *pg_reason(const cs_pg *b)
{
    static const char *const reasons[][2] = {
        {"23503", "foreign key"}, {"23001", "foreign key"}, {"23505", "unique"},
        {"23P01", "unique"},      {"23514", "check"},       {"23502", "not null"},
        {"22", "type"},           {"23", "constraint"},     {"P0001", "trigger"},
        {"42804", "type"},        {"428C9", "type"}};

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (starts(b->sqlstate, reasons[i][0]))
            return reasons[i][1];
    return NULL;
}

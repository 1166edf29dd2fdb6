/* query.c - the application's own SQL on csync's connection. */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"
#include "codec/hex.h"

/* Types of columns (pg_type.h); what is not here is text. */
enum {
    BOOL_OID = 16,
    BYTEA_OID = 17,
    INT8_OID = 20,
    INT2_OID = 21,
    INT4_OID = 23,
    FLOAT4_OID = 700,
    FLOAT8_OID = 701
};

static void put_param(cs_buf *s, const csync_value *v)
{
    char *room;

    switch (v->type) {
    case CSYNC_INTEGER:
        cs_buf_put_int(s, v->integer);
        break;
    case CSYNC_REAL:
        cs_put_real(s, v->real);
        break;
    case CSYNC_TEXT:
        cs_buf_put(s, v->data, v->length);
        break;
    case CSYNC_BLOB:
        cs_buf_puts(s, "\\x");
        room = cs_buf_reserve(s, 2 * v->length + 1);
        if (room) {
            cs_hex_encode(room, v->data, v->length);
            s->len += 2 * v->length;
        }
        break;
    default:
        break;
    }
    cs_buf_putc(s, 0);
}

static void read_value(cs_pg *b, PGresult *r, int row, int column, csync_value *v)
{
    char *text = b->pq->PQgetvalue(r, row, column);
    size_t len = (size_t)b->pq->PQgetlength(r, row, column);

    *v = (csync_value){CSYNC_TEXT, 0, 0, text, len};
    if (b->pq->PQgetisnull(r, row, column)) {
        *v = (csync_value){.type = CSYNC_NULL};
        return;
    }
    switch (b->pq->PQftype(r, column)) {
    case BOOL_OID:
        *v = (csync_value){.type = CSYNC_INTEGER, .integer = text[0] == 't'};
        break;
    case INT2_OID:
    case INT4_OID:
    case INT8_OID:
        *v = (csync_value){.type = CSYNC_INTEGER, .integer = strtoll(text, NULL, 10)};
        break;
    case FLOAT4_OID:
    case FLOAT8_OID:
        *v = (csync_value){.type = CSYNC_REAL, .real = cs_parse_double(text, len)};
        break;
    case BYTEA_OID: /* the session writes it as \xHEX */
        if (len >= 2 && cs_hex_decode(text, text + 2, len - 2) == 0)
            *v = (csync_value){CSYNC_BLOB, 0, 0, text, (len - 2) / 2};
        break;
    default:
        break;
    }
}

static int give_rows(cs_pg *b, PGresult *r, csync_row_fn fn, void *user_data, csync_error *err)
{
    int columns = b->pq->PQnfields(r), rows = pg_rows(b, r);
    csync_value *values = cs_calloc((size_t)columns + 1, sizeof *values);
    const char **names = cs_calloc((size_t)columns + 1, sizeof *names);
    int rc = values && names ? CSYNC_OK : cs_fail_nomem(err);

    for (int c = 0; rc == CSYNC_OK && c < columns; c++)
        names[c] = b->pq->PQfname(r, c);
    for (int i = 0; rc == CSYNC_OK && i < rows; i++) {
        for (int c = 0; c < columns; c++)
            read_value(b, r, i, c, &values[c]);
        if (fn(user_data, columns, names, values) != CSYNC_OK)
            rc = cs_fail(err, CSYNC_ECALLBACK, "the row callback stopped the statement");
    }
    cs_free(values);
    cs_free(names);
    return rc;
}

/* The application's transaction, if any, survives a statement that fails. */
static int run(cs_pg *b, const char *sql, const char *const *params, int count, PGresult **r,
               csync_error *err)
{
    int rc = b->in_tx ? pg_savepoint(b, err) : CSYNC_OK;

    if (rc == CSYNC_OK)
        rc = pg_run_many(b, sql, params, count, r, err);
    if (b->in_tx && b->pq->PQtransactionStatus(b->conn) == PQTRANS_INERROR)
        (void)pg_savepoint_end(b, 1, NULL);
    else if (rc == CSYNC_OK && b->in_tx)
        rc = pg_savepoint_end(b, 0, err);
    if (rc == CSYNC_EDB && strcmp(b->sqlstate, "08P01") == 0)
        rc = cs_fail(err, CSYNC_EINVAL,
                     "the statement has another number of parameters ($1, $2, ...)");
    return rc;
}

static int changes_rows(const char *status)
{
    static const char *const words[] = {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(status, words[i], strlen(words[i])) == 0)
            return 1;
    return 0;
}

int pg_execute(cs_backend *base, const char *sql, const csync_value *params, size_t count,
               csync_row_fn fn, void *user_data, int64_t *changes, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    const char **texts = cs_calloc(count + 1, sizeof *texts);
    PGresult *r = NULL;
    cs_buf text = {0};
    size_t at = 0;
    int rc = texts ? CSYNC_OK : cs_fail_nomem(err);

    for (size_t i = 0; i < count; i++)
        put_param(&text, &params[i]);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&text, err);
    for (size_t i = 0; rc == CSYNC_OK && i < count; i++) {
        texts[i] = params[i].type == CSYNC_NULL ? NULL : text.data + at;
        at += strlen(text.data + at) + 1;
    }
    if (rc == CSYNC_OK)
        rc = run(b, sql, texts, (int)count, &r, err);
    if (rc == CSYNC_OK && changes)
        *changes = changes_rows(b->pq->PQcmdStatus(r)) ? pg_affected(b, r) : 0;
    if (rc == CSYNC_OK && fn)
        rc = give_rows(b, r, fn, user_data, err);
    pg_clear(b, r);
    cs_free(texts);
    cs_buf_free(&text);
    return rc;
}

/* value.c - columns as JSON, made by PostgreSQL; and JSON as parameters.
 *
 * Numbers keep their digits, booleans are true and false, bytea is {"$b":HEX}; a timestamp with time zone is in
 * UTC with a Z; every other type is the text that PostgreSQL itself writes, as a string. */
#include <math.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"
#include "codec/hex.h"
#include "codec/number.h"

#define OUTSIDE                                                                                    \
    "WHEN 'NaN' THEN '{\"$f\":\"NaN\"}' WHEN 'Infinity' THEN '9e999' WHEN '-Infinity' THEN '-9e999' "
#define AS_TEXT "coalesce(to_json(@::text)::text,'null')"

/* What a row costs is mostly what these cost: none calls a regular expression for common values.
 * An integer beyond int64 is a double, with a point; and a numeric that is no double exactly is a string: a reader that has
 * doubles only would change it. What a double cannot hold at all must not be cast to one: the writer's statement fails. */
static const char *const value_sql[] = {
    [PG_OTHER] = AS_TEXT,
    [PG_INT] = "coalesce(@::text,'null')",
    [PG_NUMERIC] =
        "CASE @::text " OUTSIDE
        "ELSE CASE WHEN @ IS NULL THEN 'null' WHEN min_scale(@)=0 AND @ BETWEEN "
        "-9223372036854775808 AND 9223372036854775807 THEN trim_scale(@)::text WHEN abs(@) BETWEEN 2.3e-308 AND "
        "1.79e308 AND length(btrim(translate(@::text,'-.',''),'0'))<=17 THEN CASE WHEN @::float8::text::numeric=@ "
        "THEN trim_scale(@)::text||CASE WHEN min_scale(@)=0 THEN '.0' ELSE '' END ELSE "
        "to_json(trim_scale(@)::text)::text END ELSE to_json(trim_scale(@)::text)::text END END",
    [PG_FLOAT] =
        "CASE WHEN @-@=0 AND @<>trunc(@) THEN @::text ELSE CASE @::text " OUTSIDE
        "ELSE coalesce(CASE WHEN @::text ~ '[.e]' THEN @::text ELSE @::text||'.0' END,'null') END END",
    [PG_BOOL] = "coalesce(@::text,'null')",
    [PG_TEXT] = AS_TEXT,
    [PG_UUID] = AS_TEXT,
    [PG_JSONB] = AS_TEXT,
    [PG_INET] = "CASE WHEN @ IS NULL THEN 'null' ELSE to_json(format('%s',@))::text END",
    [PG_TIMESTAMP] = AS_TEXT,
    [PG_DATE] = AS_TEXT,
    [PG_TIME] = AS_TEXT,
    [PG_WIDE] = "coalesce(to_json(trim_scale(@)::text)::text,'null')",
    [PG_BYTEA] = "coalesce('{\"$b\":\"'||upper(encode(@,'hex'))||'\"}','null')",
    [PG_TIMESTAMPTZ] =
        "CASE WHEN @ IS NULL THEN 'null' WHEN NOT isfinite(@) THEN to_json(@)::text WHEN @<'0001-01-01 "
        "00:00:00Z' THEN replace(to_json(@ AT TIME ZONE 'UTC')::text,' BC\"','Z BC\"') ELSE "
        "left(to_json(@ AT TIME ZONE 'UTC')::text,-1)||'Z\"' END",
};

void pg_put_value_sql(cs_buf *s, enum pg_kind kind, const char *prefix, const char *column)
{
    cs_buf_putc(s, '(');
    for (const char *p = value_sql[kind]; *p; p++) {
        if (*p == '@') {
            cs_buf_puts(s, prefix);
            cs_put_ident(s, column);
        } else {
            cs_buf_putc(s, *p);
        }
    }
    cs_buf_putc(s, ')');
}

static void put_member(cs_buf *s, const char *name, int first)
{
    cs_buf json = {0};

    cs_buf_putc(&json, first ? '{' : ',');
    cs_put_string(&json, name, strlen(name));
    cs_buf_puts(&json, ":");
    if (cs_buf_check(&json, NULL) == CSYNC_OK)
        cs_put_literal(s, json.data);
    else
        s->failed = json.failed;
    cs_buf_free(&json);
}

void pg_put_row_sql(cs_buf *s, const cs_table *t, const enum pg_kind *kinds, int only_key)
{
    size_t n = only_key ? t->key_count : t->count;

    for (size_t i = 0; i < n; i++) {
        size_t at = only_key ? t->key[i] : i;

        cs_buf_puts(s, i ? "||" : "");
        put_member(s, t->columns[at].name, i == 0);
        cs_buf_puts(s, "||");
        pg_put_value_sql(s, kinds[at], "x.", t->columns[at].name);
    }
    cs_buf_puts(s, "||'}'");
}

/* ---- parameters ---- */

static void put_blob(cs_buf *s, const cs_value *v)
{
    char *room;

    cs_buf_puts(s, "\\x");
    room = cs_buf_reserve(s, 2 * v->len + 1);
    if (!room)
        return;
    cs_hex_encode(room, v->text, v->len);
    s->len += 2 * v->len;
}

/* A JSON number with a fraction is a double, whatever its digits: a numeric that is none travels as a string. */
static void put_number(cs_buf *s, enum pg_kind kind, const cs_value *v)
{
    double real = cs_value_real(v);

    if (isnan(real))
        cs_buf_puts(s, "NaN");
    else if (isinf(real))
        cs_buf_puts(s, real > 0 ? "Infinity" : "-Infinity");
    else if (v->text && kind != PG_NUMERIC)
        cs_buf_put(s, v->text, v->len);
    else
        cs_put_number_es6(s, real);
}

void pg_put_param(cs_buf *s, enum pg_kind kind, const cs_value *v, const char **reason)
{
    if ((v->type == CS_BLOB) != (kind == PG_BYTEA) && v->type != CS_NULL)
        *reason = "type";
    switch (v->type) {
    case CS_NULL:
        break;
    case CS_BOOL:
        cs_buf_puts(s, kind == PG_BOOL ? (v->integer ? "true" : "false") : v->integer ? "1" : "0");
        break;
    case CS_INT:
        cs_buf_put_int(s, v->integer);
        break;
    case CS_REAL:
        put_number(s, kind, v);
        break;
    case CS_BLOB:
        put_blob(s, v);
        break;
    case CS_NUMBER:
    case CS_TEXT:
    case CS_JSON:
        if (memchr(v->text, 0, v->len) || !cs_utf8_valid(v->text, v->len))
            *reason = "type";
        else
            cs_buf_put(s, v->text, v->len);
        break;
    }
    cs_buf_putc(s, 0);
}

/* ---- decoding ---- */

const char *pg_param_type(enum pg_kind kind)
{
    static const char *const types[] = {
        [PG_INT] = "bigint", [PG_NUMERIC] = "numeric", [PG_FLOAT] = "float8",
        [PG_BOOL] = "bool",  [PG_TEXT] = "text",       [PG_BYTEA] = "bytea"};

    return kind < PG_OTHER ? types[kind] : "text";
}

int pg_reserve_cells(cs_pg *b, csync_error *err)
{
    size_t need = 1;

    for (size_t i = 0; i < b->base.table_count; i++)
        if (need < b->base.tables[i]->count)
            need = b->base.tables[i]->count;
    if (need <= b->cell_cap)
        return CSYNC_OK;
    cs_free(b->key);
    cs_free(b->cells);
    cs_free(b->present);
    b->key = cs_calloc(need, sizeof *b->key);
    b->cells = cs_calloc(need, sizeof *b->cells);
    b->present = cs_calloc(need, 1);
    b->cell_cap = b->key && b->cells && b->present ? need : 0;
    return b->cell_cap ? CSYNC_OK : cs_fail_nomem(err);
}

static int read_key_members(cs_pg *b, const cs_table *t, const char *pk, csync_error *err)
{
    const char *name;
    cs_value value;
    size_t len, seen = 0;
    int rc = cs_row_open(&b->key_row, pk, strlen(pk), err);

    memset(b->present, 0, b->cell_cap);
    while (rc == CSYNC_OK && (rc = cs_row_next(&b->key_row, &name, &len, &value, err)) == 1) {
        const cs_column *c = cs_table_column(t, name, len);

        if (!c || !c->key || b->present[c->key - 1] || value.type == CS_NULL)
            return cs_fail(err, CSYNC_EINVAL,
                           "the key does not have exactly the key columns of \"%s\"", t->name);
        b->key[c->key - 1] = value;
        b->present[c->key - 1] = 1;
        seen++;
        rc = CSYNC_OK;
    }
    if (rc == CSYNC_OK && seen != t->key_count)
        rc = cs_fail(err, CSYNC_EINVAL, "the key does not have exactly the key columns of \"%s\"",
                     t->name);
    return rc;
}

/* As PostgreSQL writes it. */
int pg_is_uuid(const cs_value *v)
{
    for (size_t i = 0; i < v->len; i++) {
        int dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (!v->text[i] || !strchr(dash ? "-" : "0123456789abcdef", v->text[i]))
            return 0;
    }
    return v->len == 36;
}

static int is_plain(enum pg_kind kind, const cs_value *v)
{
    switch (kind) {
    case PG_INT:
        return v->type == CS_INT;
    case PG_TEXT:
        return v->type == CS_TEXT && !memchr(v->text, 0, v->len) && cs_utf8_valid(v->text, v->len);
    case PG_UUID:
        return v->type == CS_TEXT && pg_is_uuid(v);
    default:
        return 0;
    }
}

/* The spelling that capture gives the key, where it can be told without asking. */
static int spell_key(cs_pg *b, const cs_table *t)
{
    const pg_table *p = t->prepared;

    for (size_t i = 0; i < t->key_count; i++)
        if (!is_plain(p->kinds[t->key[i]], &b->key[i]))
            return 0;
    for (size_t i = 0; i < t->key_count; i++) {
        const char *name = t->columns[t->key[i]].name;

        cs_buf_putc(&b->pk, i ? ',' : '{');
        cs_put_string(&b->pk, name, strlen(name));
        cs_buf_putc(&b->pk, ':');
        cs_put_value(&b->pk, &b->key[i]);
    }
    cs_buf_putc(&b->pk, '}');
    return 1;
}

static int ask_spelling(cs_pg *b, const cs_table *t, const char **reason, csync_error *err)
{
    const pg_table *p = t->prepared;
    csync_error why = CSYNC_ERROR_INIT;
    PGresult *r = NULL;
    cs_buf sql = {0};
    int rc;

    cs_buf_printf(&sql, "SELECT %s FROM (SELECT ", p->key_sql);
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_printf(&sql, "%s$%zu::%s AS ", i ? "," : "", i + 1, t->columns[t->key[i]].type);
        cs_put_ident(&sql, t->columns[t->key[i]].name);
    }
    cs_buf_puts(&sql, ") x");
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_savepoint(b, err);
    if (rc == CSYNC_OK) {
        int run = pg_run_key(b, t, sql.data, &r, &why);

        if (run == CSYNC_OK)
            cs_buf_puts(&b->pk, pg_cell(b, r, 0, 0));
        else if (pg_reason(b))
            *reason = "type";
        else
            cs_error_copy(err, &why);
        rc = run != CSYNC_OK && !*reason ? run : pg_savepoint_end(b, run != CSYNC_OK, err);
    }
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&b->pk, err);
    if (rc == CSYNC_OK && !*reason)
        rc = pg_check_key(b, t, reason, err);
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

int pg_read_key(cs_pg *b, const cs_table *t, const char *pk, const char **reason, csync_error *err)
{
    int rc = read_key_members(b, t, pk, err);

    *reason = NULL;
    cs_buf_clear(&b->pk);
    if (rc == CSYNC_OK && !spell_key(b, t))
        rc = ask_spelling(b, t, reason, err);
    return rc == CSYNC_OK ? cs_buf_check(&b->pk, err) : rc;
}

int pg_read_payload(cs_pg *b, const cs_table *t, const char *payload, size_t len, csync_error *err)
{
    const char *name;
    cs_value value;
    size_t name_len;
    int rc = cs_row_open(&b->payload_row, payload, len, err);

    memset(b->present, 0, b->cell_cap);
    while (rc == CSYNC_OK && (rc = cs_row_next(&b->payload_row, &name, &name_len, &value, err)) == 1) {
        const cs_column *c = cs_table_column(t, name, name_len);

        if (!c)
            return cs_fail(err, CSYNC_ESCHEMA, "table \"%s\" has no column \"%.*s\"", t->name,
                           (int)(name_len < 100 ? name_len : 100), name);
        b->cells[c - t->columns] = value;
        b->present[c - t->columns] = 1;
        rc = CSYNC_OK;
    }
    return rc;
}

int pg_run_key(cs_pg *b, const cs_table *t, const char *sql, PGresult **out, csync_error *err)
{
    const pg_table *p = t->prepared;
    const char **params = cs_calloc(t->key_count, sizeof *params), *reason = NULL;
    cs_buf text = {0};
    size_t at = 0;
    int rc;

    *out = NULL;
    if (!params)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < t->key_count; i++)
        pg_put_param(&text, p->kinds[t->key[i]], &b->key[i], &reason);
    rc = cs_buf_check(&text, err);
    for (size_t i = 0; rc == CSYNC_OK && i < t->key_count; i++) {
        params[i] = text.data + at;
        at += strlen(params[i]) + 1;
    }
    if (rc == CSYNC_OK && reason) {
        memcpy(b->sqlstate, "22000", PG_STATE_SIZE);
        rc = cs_fail(err, CSYNC_EDB, "a value of the key is of a type that its column cannot hold");
    }
    if (rc == CSYNC_OK)
        rc = pg_run_many(b, sql, params, (int)t->key_count, out, err);
    cs_free(params);
    cs_buf_free(&text);
    return rc;
}

int pg_run_cells(cs_pg *b, const cs_table *t, const char *sql, const cs_buf *text, const char *last,
                 PGresult **out, csync_error *err)
{
    const char **params = cs_calloc(t->count + 2, sizeof *params);
    size_t at = 0;
    int n = 0, rc;

    *out = NULL;
    if (!params)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < t->count; i++) {
        if (!b->present[i])
            continue;
        params[n++] = b->cells[i].type == CS_NULL ? NULL : text->data + at;
        at += strlen(text->data + at) + 1;
    }
    if (last)
        params[n++] = last;
    rc = pg_run_many(b, sql, params, n, out, err);
    cs_free(params);
    return rc;
}

void pg_put_key_where(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? " AND x." : " WHERE x.");
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_printf(s, "=$%zu", i + 1);
    }
}

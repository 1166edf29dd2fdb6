/* cells.c - a row's values between JSON, bound parameters and result columns. */
#include <math.h>
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "codec/number.h"

int sq_reserve_cells(cs_sqlite *b, csync_error *err)
{
    size_t need = 0;

    for (size_t i = 0; i < b->base.table_count; i++)
        if (b->base.tables[i]->count > need)
            need = b->base.tables[i]->count;
    if (need <= b->cell_cap)
        return CSYNC_OK;
    b->cell_cap = 0;
    cs_free(b->key);
    cs_free(b->cells);
    cs_free(b->present);
    b->key = cs_calloc(need, sizeof *b->key);
    b->cells = cs_calloc(need, sizeof *b->cells);
    b->present = cs_calloc(need, 1);
    if (!b->key || !b->cells || !b->present)
        return cs_fail_nomem(err);
    b->cell_cap = need;
    return CSYNC_OK;
}

static void note(cs_sqlite *b, int native)
{
    if (native != SQLITE_OK)
        b->bind_failed = native;
}

void sq_bind_text(cs_sqlite *b, sqlite3_stmt *stmt, int at, const char *text)
{
    SQ_API(b);

    if (text)
        note(b, sqlite3_bind_text64(stmt, at, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8));
    else
        sqlite3_bind_null(stmt, at);
}

void sq_bind_int(cs_sqlite *b, sqlite3_stmt *stmt, int at, int64_t value)
{
    SQ_API(b);

    sqlite3_bind_int64(stmt, at, value);
}

void sq_bind(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_value *value)
{
    SQ_API(b);

    switch (value->type) {
    case CS_NULL:
        sqlite3_bind_null(stmt, at);
        break;
    case CS_BOOL:
    case CS_INT:
        sqlite3_bind_int64(stmt, at, value->integer);
        break;
    case CS_REAL:
        sqlite3_bind_double(stmt, at, cs_value_real(value));
        break;
    case CS_BLOB: /* a NULL pointer would bind NULL, and an empty blob has no bytes to point at */
        if (value->len)
            note(b, sqlite3_bind_blob64(stmt, at, value->text, value->len, SQLITE_STATIC));
        else
            sqlite3_bind_zeroblob(stmt, at, 0);
        break;
    case CS_NUMBER: /* beyond int64: its digits are exact where the column keeps text */
    case CS_TEXT:
    case CS_JSON:
        note(b, sqlite3_bind_text64(stmt, at, value->len ? value->text : "", value->len,
                                    SQLITE_STATIC, SQLITE_UTF8));
        break;
    }
}

/* A column of numbers makes a double of text that looks like one. */
static int is_kept(const cs_column *c, const cs_value *v)
{
    if (v->type == CS_REAL)
        return v->text || !isnan(v->real); /* SQLite makes NULL of NaN */
    if ((v->type != CS_TEXT && v->type != CS_NUMBER) || c->affinity == CS_AFF_TEXT ||
        c->affinity == CS_AFF_BLOB)
        return 1;
    return cs_fits_double(v->text, v->len) ||
           (c->affinity != CS_AFF_REAL && cs_fits_int64(v->text, v->len));
}

const cs_column *sq_misfit(const cs_sqlite *b, const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (b->present[i] && !is_kept(&t->columns[i], &b->cells[i]))
            return &t->columns[i];
    return NULL;
}

static int is_inside(const char *text, const cs_row *row)
{
    return row->scratch && text >= row->scratch && text < row->scratch + row->scratch_cap;
}

/* Only what had to be decoded is not in the JSON text itself. */
void sq_bind_passing(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_value *value)
{
    SQ_API(b);

    if (!value->len ||
        (!is_inside(value->text, &b->payload_row) && !is_inside(value->text, &b->key_row)))
        sq_bind(b, stmt, at, value);
    else if (value->type == CS_BLOB)
        note(b, sqlite3_bind_blob64(stmt, at, value->text, value->len, SQLITE_TRANSIENT));
    else
        note(b,
             sqlite3_bind_text64(stmt, at, value->text, value->len, SQLITE_TRANSIENT, SQLITE_UTF8));
}

int sq_bind_key(cs_sqlite *b, sqlite3_stmt *stmt, const cs_table *t)
{
    for (size_t i = 0; i < t->key_count; i++)
        sq_bind(b, stmt, (int)i + 1, &b->key[i]);
    return (int)t->key_count + 1;
}

void sq_column(cs_sqlite *b, sqlite3_stmt *stmt, int at, cs_value *out)
{
    SQ_API(b);

    memset(out, 0, sizeof *out);
    switch (sqlite3_column_type(stmt, at)) {
    case SQLITE_INTEGER:
        out->type = CS_INT;
        out->integer = sqlite3_column_int64(stmt, at);
        break;
    case SQLITE_FLOAT:
        out->type = CS_REAL;
        out->real = sqlite3_column_double(stmt, at);
        break;
    case SQLITE_TEXT:
        out->type = CS_TEXT;
        out->text = (const char *)sqlite3_column_text(stmt, at);
        out->len = (size_t)sqlite3_column_bytes(stmt, at);
        break;
    case SQLITE_BLOB:
        out->type = CS_BLOB;
        out->text = sqlite3_column_blob(stmt, at);
        out->len = (size_t)sqlite3_column_bytes(stmt, at);
        break;
    default:
        out->type = CS_NULL;
    }
}

const char *sq_column_text(cs_sqlite *b, sqlite3_stmt *stmt, int at)
{
    SQ_API(b);

    return (const char *)sqlite3_column_text(stmt, at);
}

/* Members usually come in the order in which we wrote them, so the next one is tried first. */
static ptrdiff_t find_key(const cs_table *t, size_t hint, const char *name, size_t len)
{
    for (size_t n = 0; n < t->key_count; n++) {
        size_t i = (hint + n) % t->key_count;
        const char *have = t->columns[t->key[i]].name;

        if (strncmp(have, name, len) == 0 && have[len] == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}

int sq_read_key(cs_sqlite *b, const cs_table *t, const char *pk, size_t len, csync_error *err)
{
    const char *name;
    size_t name_len, seen = 0;
    cs_value value;
    int rc;

    b->key_row.any_bytes = 1; /* a trigger logs text as it is, UTF-8 or not */
    rc = cs_row_open(&b->key_row, pk, len, err);

    if (rc != CSYNC_OK)
        return rc;
    for (size_t i = 0; i < t->key_count; i++)
        b->key[i].type = CS_NULL;
    while ((rc = cs_row_next(&b->key_row, &name, &name_len, &value, err)) == 1) {
        ptrdiff_t at = find_key(t, seen, name, name_len);

        if (at < 0 || b->key[at].type != CS_NULL || value.type == CS_NULL)
            return cs_fail(err, CSYNC_EINVAL, "\"%.*s\" in the key of table \"%s\" is %s",
                           (int)name_len, name, t->name,
                           at < 0                  ? "no key column"
                           : value.type == CS_NULL ? "null"
                                                   : "given twice");
        b->key[at] = value;
        seen++;
    }
    if (rc != CSYNC_OK)
        return rc;
    if (seen != t->key_count)
        return cs_fail(err, CSYNC_EINVAL, "the key of table \"%s\" lacks a column: %.*s", t->name,
                       (int)(len > 200 ? 200 : len), pk);
    return CSYNC_OK;
}

static ptrdiff_t find_column(const cs_table *t, size_t hint, const char *name, size_t len)
{
    for (size_t n = 0; n < t->count; n++) {
        size_t i = hint + n < t->count ? hint + n : hint + n - t->count;
        const char *have = t->columns[i].name;

        if (strncmp(have, name, len) == 0 && have[len] == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}

static int same_value(const cs_value *a, const cs_value *b)
{
    if (a->type == CS_REAL && b->type == CS_REAL)
        return cs_value_real(a) == cs_value_real(b);
    if (a->type != b->type)
        return 0;
    if (a->type == CS_INT || a->type == CS_BOOL)
        return a->integer == b->integer;
    return a->len == b->len && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

int sq_is_key(cs_sqlite *b, const cs_table *t, const char *pk)
{
    cs_row row = {.any_bytes = 1};
    const char *name;
    size_t name_len, same = 0, seen = 0;
    cs_value value;
    int rc = cs_row_open(&row, pk, strlen(pk), NULL);

    while (rc == CSYNC_OK && (rc = cs_row_next(&row, &name, &name_len, &value, NULL)) == 1) {
        ptrdiff_t at = find_key(t, seen++, name, name_len);

        same += at >= 0 && same_value(&value, &b->key[at]);
        rc = CSYNC_OK;
    }
    cs_row_close(&row);
    return rc == CSYNC_OK && same == t->key_count;
}

int sq_is_whole(const cs_sqlite *b, const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!b->present[i])
            return 0;
    return 1;
}

/* The payload's key is the change's key; a payload may leave its key out. */
static int check_payload_key(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    for (size_t i = 0; i < t->key_count; i++) {
        size_t at = t->key[i];

        if (!b->present[at]) {
            b->cells[at] = b->key[i];
            b->present[at] = 1;
        } else if (!same_value(&b->cells[at], &b->key[i])) {
            return cs_fail(err, CSYNC_EINVAL,
                           "payload and key of a change to table \"%s\" differ in \"%s\"", t->name,
                           t->columns[at].name);
        }
    }
    return CSYNC_OK;
}

int sq_read_payload(cs_sqlite *b, const cs_table *t, const char *payload, size_t len, csync_error *err)
{
    const char *name;
    size_t name_len, hint = 0;
    cs_value value;
    int rc = cs_row_open(&b->payload_row, payload, len, err);

    if (rc != CSYNC_OK)
        return rc;
    memset(b->present, 0, t->count);
    while ((rc = cs_row_next(&b->payload_row, &name, &name_len, &value, err)) == 1) {
        ptrdiff_t at = find_column(t, hint, name, name_len);

        if (at < 0)
            return cs_fail(err, CSYNC_ESCHEMA, "table \"%s\" has no column \"%.*s\"", t->name,
                           (int)name_len, name);
        if (b->present[at])
            return cs_fail(err, CSYNC_EINVAL, "\"%.*s\" stands twice in a payload for table \"%s\"",
                           (int)name_len, name, t->name);
        b->cells[at] = value;
        b->present[at] = 1;
        hint = (size_t)at + 1;
    }
    return rc == CSYNC_OK ? check_payload_key(b, t, err) : rc;
}

static void put_member(cs_sqlite *b, sqlite3_stmt *stmt, int at, const char *name, size_t n,
                       cs_buf *out)
{
    cs_value value;

    cs_buf_putc(out, n ? ',' : '{');
    cs_put_string(out, name, strlen(name));
    cs_buf_putc(out, ':');
    sq_column(b, stmt, at, &value);
    cs_put_value(out, &value);
}

void sq_put_key(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_table *t, cs_buf *out)
{
    for (size_t i = 0; i < t->key_count; i++)
        put_member(b, stmt, at + (int)i, t->columns[t->key[i]].name, i, out);
    cs_buf_putc(out, '}');
}

void sq_put_key_of_row(cs_sqlite *b, sqlite3_stmt *stmt, const cs_table *t, cs_buf *out)
{
    for (size_t i = 0; i < t->key_count; i++)
        put_member(b, stmt, (int)t->key[i], t->columns[t->key[i]].name, i, out);
    cs_buf_putc(out, '}');
}

void sq_put_key_values(cs_sqlite *b, const cs_table *t, cs_buf *out)
{
    for (size_t i = 0; i < t->key_count; i++) {
        const char *name = t->columns[t->key[i]].name;

        cs_buf_putc(out, i ? ',' : '{');
        cs_put_string(out, name, strlen(name));
        cs_buf_putc(out, ':');
        cs_put_value(out, &b->key[i]);
    }
    cs_buf_putc(out, '}');
}

void sq_put_row(cs_sqlite *b, sqlite3_stmt *stmt, int at, const cs_table *t, cs_buf *out)
{
    for (size_t i = 0; i < t->count; i++)
        put_member(b, stmt, at + (int)i, t->columns[i].name, i, out);
    cs_buf_putc(out, '}');
}

int sq_row_payload(cs_sqlite *b, cs_table *t, cs_buf *out, int *found, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_table_stmt(b, t, SQT_ROW_GET, &stmt, err);

    *found = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_key(b, stmt, t);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        *found = 1;
        sq_put_row(b, stmt, 0, t, out);
        rc = cs_buf_check(out, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

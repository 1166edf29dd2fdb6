/* trigger.c - the SQL of capture: plain SQL, so that every program that writes the database is captured.
 *
 * What costs in a trigger was measured one piece at a time (docs/architecture.md): string concatenation and
 * one printf beat json_object, which also raises on a BLOB and writes doubles with 15 digits; the time is
 * made once a millisecond, not once a row. A payload that SQL cannot write exactly (the sign of -0.0) becomes
 * NULL, and the row is read when it is sent. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

#define MAX_REAL "1.7976931348623157e308"
#define PRINTF_COLUMNS 100 /* a function takes at most 127 arguments */
#define CHUNK 50 /* columns between parentheses: an expression may be 1000 deep */

enum trigger { ON_INSERT, ON_UPDATE, ON_REKEY, ON_DELETE, TRIGGERS };
static const char *const suffixes[TRIGGERS] = {"insert", "update", "rekey", "delete"};

/* `name` as JSON inside an SQL literal, without the outer quotes of either; for a printf format % is
 * doubled. */
static void put_name(cs_buf *s, const char *name, int format)
{
    cs_buf json = {0};

    cs_put_string(&json, name, strlen(name));
    for (size_t i = 0; i < json.len; i++) {
        char c = json.data[i];

        if (c == '\'' || (c == '%' && format))
            cs_buf_putc(s, c);
        cs_buf_putc(s, c);
    }
    if (json.failed)
        s->failed = json.failed;
    cs_buf_free(&json);
}

/* x, as in NEW."name" */
static void put_x(cs_buf *s, const char *prefix, const cs_column *c)
{
    cs_buf_puts(s, prefix);
    cs_put_ident(s, c->name);
}

/* Copies a template in which x stands for the column. */
static void put_expression(cs_buf *s, const char *text, const char *prefix, const cs_column *c)
{
    for (; *text; text++) {
        if (*text == '@')
            put_x(s, prefix, c);
        else
            cs_buf_putc(s, *text);
    }
}

/* ||'' takes a JSON subtype away, with which the text would become nested JSON. */
#define AS_TEXT "json_quote(@||'')"
#define AS_BLOB "'{\"$b\":\"'||hex(@)||'\"}'"
#define AS_REAL                                                                                    \
    "CASE WHEN @ BETWEEN -" MAX_REAL " AND " MAX_REAL                                              \
    " THEN printf('%!.18g',@) WHEN @>0 THEN '9e999' "                                              \
    "ELSE '-9e999' END"

/* By affinity (sqlite.org/datatype3.html): what the column holds most often is tried first. Any column may
 * hold a BLOB; only a column without affinity keeps the sign of -0.0. Text sorts above every number and
 * below every BLOB. */
static const char *const value_sql[] = {
    [CS_AFF_BLOB] =
        "CASE typeof(@) WHEN 'text' THEN " AS_TEXT " WHEN 'integer' THEN @ WHEN 'null' THEN "
        "'null' WHEN 'blob' THEN " AS_BLOB " ELSE CASE WHEN @=0 THEN NULL ELSE " AS_REAL " END END",
    [CS_AFF_TEXT] = "CASE WHEN @>=x'' THEN " AS_BLOB " ELSE " AS_TEXT " END",
    [CS_AFF_NUMERIC] =
        "CASE typeof(@) WHEN 'integer' THEN @ WHEN 'null' THEN 'null' WHEN 'text' THEN " AS_TEXT
        " WHEN 'real' THEN " AS_REAL " ELSE " AS_BLOB " END",
    [CS_AFF_INTEGER] =
        "CASE typeof(@) WHEN 'integer' THEN @ WHEN 'null' THEN 'null' WHEN 'text' THEN " AS_TEXT
        " WHEN 'real' THEN " AS_REAL " ELSE " AS_BLOB " END",
    [CS_AFF_REAL] = "CASE WHEN @ IS NULL THEN 'null' WHEN @>=x'' THEN " AS_BLOB
                    " WHEN @>='' THEN " AS_TEXT " ELSE " AS_REAL " END",
};
/* -0.0 equals 0.0 as a key, so a key may lose the sign. */
static const char any_key_sql[] =
    "CASE typeof(@) WHEN 'text' THEN " AS_TEXT " WHEN 'integer' THEN @ WHEN "
    "'null' THEN 'null' WHEN 'blob' THEN " AS_BLOB " ELSE " AS_REAL " END";

static int is_rowid(const cs_table *t, const cs_column *c)
{
    return c->key && t->rowid_key;
}

static void put_value(cs_buf *s, const cs_table *t, const cs_column *c, const char *prefix, int key)
{
    if (is_rowid(t, c)) {
        put_x(s, prefix, c);
        return;
    }
    cs_buf_putc(s, '(');
    put_expression(s, key && c->affinity == CS_AFF_BLOB ? any_key_sql : value_sql[c->affinity],
                   prefix, c);
    cs_buf_putc(s, ')');
}

void sq_put_key_sql(cs_buf *s, const cs_table *t, const char *prefix)
{
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        cs_buf_puts(s, i ? "||'," : "'{");
        put_name(s, c->name, 0);
        cs_buf_puts(s, ":'||");
        put_value(s, t, c, prefix, 1);
    }
    cs_buf_puts(s, "||'}'");
}

/* ---- the payload ---- */

static void put_concatenation(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if (i % CHUNK == 0)
            cs_buf_puts(s, i ? ")||(" : "(");
        else
            cs_buf_puts(s, "||");
        cs_buf_puts(s, i ? "'," : "'{");
        put_name(s, t->columns[i].name, 0);
        cs_buf_puts(s, ":'||");
        put_value(s, t, &t->columns[i], "NEW.", 0);
    }
    cs_buf_puts(s, ")||'}'");
}

/* The usual case of a column, what it looks like in a printf format, and how it is given to printf. */
static const struct {
    const char *test, *format, *argument;
} usual[] = {
    [CS_AFF_TEXT] = {"@<x''", "%s", AS_TEXT},
    [CS_AFF_NUMERIC] = {"typeof(@)='integer'", "%d", "@"},
    [CS_AFF_INTEGER] = {"typeof(@)='integer'", "%d", "@"},
    [CS_AFF_REAL] = {"@ BETWEEN -" MAX_REAL " AND " MAX_REAL, "%!.18g", "@"},
};

static int has_usual_case(const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->columns[i].affinity == CS_AFF_BLOB)
            return 0;
    return t->count <= PRINTF_COLUMNS;
}

static void put_tests(cs_buf *s, const cs_table *t)
{
    const char *separator = "";

    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (is_rowid(t, c))
            continue;
        cs_buf_puts(s, separator);
        put_expression(s, usual[c->affinity].test, "NEW.", c);
        separator = " AND ";
    }
    cs_buf_puts(s, *separator ? "" : "1");
}

static void put_printf(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "printf('");
    for (size_t i = 0; i < t->count; i++) {
        cs_buf_puts(s, i ? "," : "{");
        put_name(s, t->columns[i].name, 1);
        cs_buf_printf(s, ":%s", usual[t->columns[i].affinity].format);
    }
    cs_buf_puts(s, "}'");
    for (size_t i = 0; i < t->count; i++) {
        cs_buf_putc(s, ',');
        put_expression(s, usual[t->columns[i].affinity].argument, "NEW.", &t->columns[i]);
    }
    cs_buf_putc(s, ')');
}

static void put_payload(cs_buf *s, const cs_table *t)
{
    if (!has_usual_case(t)) {
        put_concatenation(s, t);
        return;
    }
    cs_buf_puts(s, "CASE WHEN ");
    put_tests(s, t);
    cs_buf_puts(s, " THEN ");
    put_printf(s, t);
    cs_buf_puts(s, " ELSE ");
    put_concatenation(s, t);
    cs_buf_puts(s, " END");
}

/* ---- the triggers ---- */

/* The clock of the session row moves on once a millisecond and never back: an edit is stamped above every
 * change that this replica has seen, whatever the wall clock does. */
static void put_tick(cs_buf *s)
{
    cs_buf_puts(s, CS_RULE(TICK)
                       ? " UPDATE _sync_session SET clock=max(clock,strftime('%Y-%m-%dT%H:%M:%fZ')),"
                         "ticked=julianday() WHERE rowid=1 AND sync_active=0 AND ticked<julianday();"
                       : " UPDATE _sync_session SET clock=strftime('%Y-%m-%dT%H:%M:%fZ');");
}

static void put_insert(cs_buf *s, const cs_table *t, const char *operation, const char *prefix)
{
    int payload = t->capture == CSYNC_CAPTURE_FULL && strcmp(operation, "delete") != 0;

    cs_buf_printf(s, " INSERT INTO _sync_log(table_name,pk_value,operation,%stimestamp) SELECT ",
                  payload ? "payload," : "");
    cs_put_literal(s, t->name);
    cs_buf_putc(s, ',');
    sq_put_key_sql(s, t, prefix);
    cs_buf_printf(s, ",'%s',", operation);
    if (payload) {
        put_payload(s, t);
        cs_buf_putc(s, ',');
    }
    cs_buf_puts(s, "clock FROM _sync_session WHERE rowid=1 AND sync_active=0;");
}

/* Column against column: the key's own collation says whether it is another key. */
static void put_key_test(cs_buf *s, const cs_table *t, const char *comparison, const char *joint)
{
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        cs_buf_puts(s, i ? joint : " WHEN ");
        put_x(s, "OLD.", c);
        cs_buf_puts(s, comparison);
        put_x(s, "NEW.", c);
        if (strcmp(c->collation, "BINARY") != 0) {
            cs_buf_puts(s, " COLLATE ");
            cs_put_ident(s, c->collation);
        }
    }
}

/* The rowid's other names change an INTEGER PRIMARY KEY too. */
static void put_event(cs_buf *s, const cs_table *t, enum trigger which)
{
    static const char *const events[] = {" AFTER INSERT", " AFTER UPDATE", " AFTER UPDATE OF ",
                                         " AFTER DELETE"};

    cs_buf_puts(s, events[which]);
    if (which == ON_REKEY) {
        cs_put_key_list(s, t, "");
        if (t->rowid_key)
            cs_buf_puts(s, ",rowid,oid,_rowid_");
    }
    cs_buf_puts(s, " ON ");
    cs_put_ident(s, t->name);
    if (which == ON_UPDATE)
        put_key_test(s, t, " IS ", " AND ");
    if (which == ON_REKEY)
        put_key_test(s, t, " IS NOT ", " OR ");
}

static void put_trigger_name(cs_buf *s, const char *table, enum trigger which)
{
    cs_buf name = {0};

    cs_buf_printf(&name, "%s_sync_%s", table, suffixes[which]);
    if (cs_buf_check(&name, NULL) == CSYNC_OK)
        cs_put_ident(s, name.data);
    else
        s->failed = name.failed;
    cs_buf_free(&name);
}

static void put_trigger(cs_buf *s, const cs_table *t, enum trigger which)
{
    cs_buf_puts(s, "CREATE TRIGGER ");
    put_trigger_name(s, t->name, which);
    put_event(s, t, which);
    cs_buf_puts(s, " BEGIN");
    put_tick(s);
    if (which == ON_REKEY || which == ON_DELETE)
        put_insert(s, t, "delete", "OLD.");
    if (which == ON_REKEY || which == ON_INSERT)
        put_insert(s, t, "insert", "NEW.");
    if (which == ON_UPDATE)
        put_insert(s, t, "update", "NEW.");
    cs_buf_puts(s, " END");
}

void sq_trigger_sql(cs_buf *out, const cs_table *t)
{
    for (int i = 0; i < TRIGGERS; i++) {
        put_trigger(out, t, (enum trigger)i);
        cs_buf_puts(out, ";\n");
    }
}

void sq_drop_trigger_sql(cs_buf *out, const char *table)
{
    for (int i = 0; i < TRIGGERS; i++) {
        cs_buf_puts(out, "DROP TRIGGER IF EXISTS main.");
        put_trigger_name(out, table, (enum trigger)i);
        cs_buf_puts(out, ";\n");
    }
}

int sq_trigger_sql_of(cs_backend *base, const char *table, int capture, cs_buf *out, csync_error *err)
{
    cs_table *t;
    int rc = sq_describe((cs_sqlite *)base, table, capture, &t, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_trigger_sql(out, t);
    cs_table_destroy(t);
    return cs_buf_check(out, err);
}

static int trigger_intact(cs_sqlite *b, const cs_table *t, enum trigger which, int *intact,
                          csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0}, name = {0};
    int rc;

    put_trigger(&sql, t, which);
    cs_buf_printf(&name, "%s_sync_%s", t->name, suffixes[which]);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&name, err);
    if (rc == CSYNC_OK)
        rc = sq_prepare(b,
                        "SELECT 1 FROM main.sqlite_master WHERE type='trigger' AND name=?1 AND "
                        "tbl_name=?2 AND sql=?3",
                        &stmt, err);
    if (rc == CSYNC_OK) {
        sq_bind_text(b, stmt, 1, name.data);
        sq_bind_text(b, stmt, 2, t->name);
        sq_bind_text(b, stmt, 3, sql.data);
        rc = sq_step(b, stmt, err);
        *intact &= rc == 1;
    }
    sqlite3_finalize(stmt);
    cs_buf_free(&sql);
    cs_buf_free(&name);
    return rc < 0 ? rc : CSYNC_OK;
}

int sq_triggers_intact(cs_sqlite *b, const cs_table *t, int *intact, csync_error *err)
{
    int rc = CSYNC_OK;

    *intact = 1;
    for (int i = 0; rc == CSYNC_OK && i < TRIGGERS; i++)
        rc = trigger_intact(b, t, (enum trigger)i, intact, err);
    return rc;
}

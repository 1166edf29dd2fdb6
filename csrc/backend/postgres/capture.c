/* capture.c - the SQL of capture: one function for each table, and its statement triggers on the table and its partitions.
 *
 * The function runs with the rights of whoever tracked the table, so that an application needs none on the log;
 * and with settings of its own, because the texts of values depend on the session's.
 *
 * Where rows are what the function was made for, their payloads are taken from the statement. Where they are not, because a
 * column was changed since or because a trigger of the application's has written to the table within the statement,
 * an entry has no payload (the row is read when the entry is sent), and whether it deletes is asked of the table. */
#include <string.h>

#include "backend/postgres/postgres.h"

static const char *const events[] = {"insert", "update", "delete", "truncate"};
enum { EVENTS = 4, TRUNCATE = 3 };

#define COLUMNS "WHERE attrelid=%s AND attnum>0 AND NOT attisdropped"

static void put_function_name(cs_buf *s, int64_t id)
{
    cs_buf_printf(s, "csync._sync_capture_%lld()", (long long)id);
}

void pg_put_shape_sql(cs_buf *s, const char *oid)
{
    cs_buf_printf(
        s,
        "(SELECT format('count(*)=%%s AND bool_and(CASE attname %%s ELSE false END)',count(*),"
        "string_agg(format('WHEN %%L THEN atttypid=%%s AND atttypmod=%%s AND attgenerated=%%L',"
        "attname,atttypid,atttypmod,attgenerated),' ' ORDER BY attname)) FROM pg_attribute " COLUMNS
        ")",
        oid);
}

/* An entry of a row with alias x, up to its operation. */
static void put_entry(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(
        s, "INSERT INTO csync._sync_log(table_name,pk_value,operation,payload,timestamp,ts) SELECT ");
    cs_put_literal(s, t->name);
    cs_buf_puts(s, ",");
    cs_buf_puts(s, ((pg_table *)t->prepared)->key_sql);
    cs_buf_puts(s, ",");
}

/* Entries of the rows in `from`. */
static void put_entries(cs_buf *s, const cs_table *t, const char *operation, const char *from)
{
    const pg_table *p = t->prepared;
    int payload = t->capture == CSYNC_CAPTURE_FULL && strcmp(operation, "delete") != 0;

    put_entry(s, t);
    cs_buf_printf(s, "'%s',", operation);
    cs_buf_puts(s, payload ? p->row_sql : "NULL");
    cs_buf_printf(s, ",v_time,v_ts FROM %s x", from);
}

/* By their text where the type's own operator may not be in pg_catalog. */
static void put_same_key(cs_buf *s, const cs_table *t, const char *other)
{
    const pg_table *p = t->prepared;

    for (size_t i = 0; i < t->key_count; i++) {
        const char *cast = p->kinds[t->key[i]] == PG_OTHER ? "::text" : "";

        cs_buf_printf(s, "%s%s.", i ? " AND " : "", other);
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_printf(s, "%s=x.", cast);
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_puts(s, cast);
    }
}

/* Text that is a literal of the function's, which runs it as a statement. */
static void put_quoted(cs_buf *s, cs_buf *text)
{
    if (cs_buf_check(text, NULL) == CSYNC_OK)
        cs_put_literal(s, text->data);
    else
        s->failed = CSYNC_ENOMEM;
    cs_buf_clear(text);
}

static void put_truncate(cs_buf *s, const cs_table *t)
{
    cs_buf sql = {0};

    put_entry(&sql, t);
    cs_buf_puts(&sql, "'delete',NULL,$1,$2 FROM ");
    cs_buf_puts(s, "  EXECUTE ");
    put_quoted(s, &sql);
    cs_buf_puts(s, "||TG_RELID::regclass||' x' USING v_time,v_ts;\n");
    cs_buf_free(&sql);
}

/* Of each row that the statement touched: whether it is there now. */
static void put_by_presence(cs_buf *s, const cs_table *t)
{
    cs_buf sql = {0}, keys = {0};

    cs_put_key_list(&keys, t, "");
    put_entry(&sql, t);
    cs_buf_puts(&sql, "CASE WHEN EXISTS(SELECT 1 FROM ");
    cs_buf_puts(s, "  EXECUTE ");
    put_quoted(s, &sql);
    cs_buf_puts(s, "||coalesce(pg_partition_root(TG_RELID),TG_RELID)::regclass||");
    cs_buf_puts(&sql, " y WHERE ");
    put_same_key(&sql, t, "y");
    cs_buf_puts(&sql, ") THEN 'update' ELSE 'delete' END,NULL,$1,$2 FROM (");
    put_quoted(s, &sql);
    if (cs_buf_check(&keys, NULL) == CSYNC_OK) {
        cs_buf_puts(s, "||CASE TG_OP WHEN 'INSERT' THEN ");
        cs_buf_printf(&sql, "SELECT %s FROM new_rows", keys.data);
        put_quoted(s, &sql);
        cs_buf_puts(s, " WHEN 'DELETE' THEN ");
        cs_buf_printf(&sql, "SELECT %s FROM old_rows", keys.data);
        put_quoted(s, &sql);
        cs_buf_puts(s, " ELSE ");
        cs_buf_printf(&sql, "SELECT %s FROM old_rows UNION SELECT %s FROM new_rows", keys.data,
                      keys.data);
        put_quoted(s, &sql);
    }
    cs_buf_puts(s, " END||') x' USING v_time,v_ts;\n");
    cs_buf_free(&keys);
    cs_buf_free(&sql);
}

static void put_from_statement(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "  IF TG_OP='INSERT' THEN\n   ");
    put_entries(s, t, "insert", "new_rows");
    cs_buf_puts(s, ";\n  ELSIF TG_OP='DELETE' THEN\n   ");
    put_entries(s, t, "delete", "old_rows");
    cs_buf_puts(s, ";\n  ELSE\n   ");
    put_entries(s, t, "delete", "old_rows");
    cs_buf_puts(s, " WHERE NOT EXISTS(SELECT 1 FROM new_rows n WHERE ");
    put_same_key(s, t, "n");
    cs_buf_puts(s, ");\n   ");
    put_entries(s, t, "update", "new_rows");
    cs_buf_puts(s, ";\n  END IF;\n");
}

/* Without them no entry can be made, and a write that is not captured would be lost to everybody else. */
static void put_key_check(cs_buf *s, const cs_table *t)
{
    cs_buf_printf(s, "  IF (SELECT count(*) FROM pg_attribute " COLUMNS " AND attname::text IN (",
                  "TG_RELID");
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? "," : "");
        cs_put_literal(s, t->columns[t->key[i]].name);
    }
    cs_buf_printf(
        s,
        "))<>%zu THEN\n   RAISE EXCEPTION USING ERRCODE='55000',MESSAGE='csync: table '||TG_RELID::"
        "regclass||' has lost a column of the key that it is tracked by; untrack it first';\n  END IF;\n",
        t->key_count);
}

/* A partition that was detached has nothing to do with the table any more. */
static void put_part_check(cs_buf *s, const cs_table *t)
{
    if (((pg_table *)t->prepared)->holds_rows[0])
        return;
    cs_buf_puts(s, " IF NOT EXISTS(SELECT 1 FROM pg_trigger WHERE tgrelid=pg_partition_root(TG_RELID) AND "
                   "tgname='_sync_insert' AND tgfoid='");
    put_function_name(s, t->id);
    cs_buf_puts(s, "'::regprocedure) THEN RETURN NULL; END IF;\n");
}

static void put_body(cs_buf *s, const cs_table *t)
{
    const pg_table *p = t->prepared;
    long long id = (long long)t->id;

    cs_buf_puts(s, "DECLARE v_ts bigint; v_time text; v_mixed boolean; BEGIN\n"
                   " IF coalesce(current_setting('csync.sync_active',true),'')='1' THEN RETURN NULL; "
                   "END IF;\n");
    put_part_check(s, t);
    cs_buf_printf(
        s,
        " v_ts := csync._sync_enter();\n v_time := csync._sync_time(v_ts);\n"
        " v_mixed := coalesce(current_setting('csync.within_%lld',true),'')='1';\n IF TG_OP='TRUNCATE' THEN\n",
        id);
    put_key_check(s, t);
    put_truncate(s, t);
    cs_buf_printf(s, " ELSIF v_mixed OR NOT (SELECT %s FROM pg_attribute " COLUMNS ") THEN\n",
                  p->shape, "TG_RELID");
    put_key_check(s, t);
    put_by_presence(s, t);
    cs_buf_puts(s, " ELSE\n");
    put_from_statement(s, t);
    cs_buf_printf(s,
                  " END IF;\n IF v_mixed<>(pg_trigger_depth()>1) THEN\n  PERFORM set_config("
                  "'csync.within_%lld',CASE WHEN v_mixed THEN '' ELSE '1' END,true);\n END IF;\n"
                  " RETURN NULL; END",
                  id);
}

/* Each costs a single-row write; only those that the texts of these columns depend on. */
static void put_settings(cs_buf *s, const cs_table *t, const char *body)
{
    const pg_table *p = t->prepared;
    unsigned kinds = 0;

    for (size_t i = 0; i < t->count; i++)
        kinds |= 1U << p->kinds[i];
    if (kinds & (1U << PG_OTHER | 1U << PG_TIMESTAMP | 1U << PG_DATE))
        cs_buf_puts(s, " SET datestyle='ISO, YMD'");
    if (kinds & (1U << PG_OTHER | 1U << PG_FLOAT | 1U << PG_NUMERIC))
        cs_buf_puts(s, " SET extra_float_digits=1");
    if (kinds & 1U << PG_OTHER)
        cs_buf_puts(s, " SET timezone='UTC' SET intervalstyle='iso_8601' SET bytea_output='hex'");
    if (strchr(body, '\\'))
        cs_buf_puts(s, " SET standard_conforming_strings=on");
}

static void put_function(cs_buf *s, const cs_table *t)
{
    cs_buf body = {0}, tag = {0};

    put_body(&body, t);
    cs_buf_puts(&tag, "$csync");
    while (cs_buf_check(&body, NULL) == CSYNC_OK && cs_buf_check(&tag, NULL) == CSYNC_OK &&
           strstr(body.data, tag.data))
        cs_buf_putc(&tag, '_'); /* a name that holds it would end the body */
    cs_buf_puts(s, "CREATE FUNCTION ");
    put_function_name(s, t->id);
    cs_buf_puts(
        s, " RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path=pg_catalog,pg_temp");
    if (cs_buf_check(&body, NULL) == CSYNC_OK && cs_buf_check(&tag, NULL) == CSYNC_OK) {
        put_settings(s, t, body.data);
        cs_buf_printf(s, " AS %s$\n%s %s$;\n", tag.data, body.data, tag.data);
    } else {
        s->failed = CSYNC_ENOMEM;
    }
    cs_buf_free(&body);
    cs_buf_free(&tag);
}

static void put_trigger(cs_buf *s, const cs_table *t, const char *part, int event)
{
    static const char *const heads[] = {"AFTER INSERT", "AFTER UPDATE", "AFTER DELETE",
                                        "BEFORE TRUNCATE"};
    static const char *const tables[] = {" REFERENCING NEW TABLE AS new_rows",
                                         " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                                         " REFERENCING OLD TABLE AS old_rows", ""};

    cs_buf_printf(s, "CREATE TRIGGER _sync_%s %s ON %s%s", events[event], heads[event], part,
                  tables[event]);
    cs_buf_puts(s, " FOR EACH STATEMENT EXECUTE FUNCTION ");
    put_function_name(s, t->id);
    cs_buf_puts(s, ";\n");
}

/* The triggers go with their function, whatever has become of the table; who made the function need not own the table. */
void pg_drop_trigger_sql(cs_buf *s, int64_t id)
{
    cs_buf_puts(s, "DROP FUNCTION IF EXISTS ");
    put_function_name(s, id);
    cs_buf_puts(s, " CASCADE");
}

/* DML fires the triggers of the table that it names, TRUNCATE those of every partition. */
void pg_trigger_sql(cs_buf *s, const cs_table *t)
{
    const pg_table *p = t->prepared;

    pg_drop_trigger_sql(s, t->id);
    cs_buf_puts(s, ";\n");
    put_function(s, t);
    for (size_t i = 0; i < p->part_count; i++)
        for (int event = 0; event < EVENTS; event++)
            if (event != TRUNCATE || p->holds_rows[i])
                put_trigger(s, t, p->parts[i], event);
}

int pg_trigger_sql_of(cs_backend *base, const char *table, int capture, cs_buf *sql, csync_error *err)
{
    cs_table *known = cs_backend_table(base, table, strlen(table)), *t;
    int rc = pg_describe((cs_pg *)base, table,
                         capture ? capture
                         : known ? known->capture
                                 : 0,
                         &t, err);

    if (rc != CSYNC_OK)
        return rc;
    t->id = known ? known->id : 0;
    pg_trigger_sql(sql, t);
    pg_forget_table(t);
    return cs_buf_check(sql, err);
}

/* capture.c - the SQL of capture: one function and four statement triggers for each table.
 *
 * The function runs with the rights of whoever tracked the table, so that an application needs none on the log;
 * and with settings of its own, because the texts of values depend on the session's. */
#include <string.h>

#include "backend/postgres/postgres.h"

static const char *const events[] = {"insert", "update", "delete", "truncate"};

static void put_function_name(cs_buf *s, int64_t id)
{
    cs_buf_printf(s, "csync._sync_capture_%lld()", (long long)id);
}

/* Entries of the rows in `from` (with alias x). */
static void put_entries(cs_buf *s, const cs_table *t, const char *operation, const char *from)
{
    const pg_table *p = t->prepared;
    int payload = t->capture == CSYNC_CAPTURE_FULL && strcmp(operation, "delete") != 0;

    cs_buf_puts(s, "INSERT INTO csync._sync_log(table_name,pk_value,operation,payload,timestamp,ts)"
                   " SELECT ");
    cs_put_literal(s, t->name);
    cs_buf_puts(s, ",");
    cs_buf_puts(s, p->key_sql);
    cs_buf_printf(s, ",'%s',", operation);
    cs_buf_puts(s, payload ? p->row_sql : "NULL");
    cs_buf_printf(s, ",csync._sync_time(v_ts),v_ts FROM %s x", from);
}

static void put_function(cs_buf *s, const cs_table *t)
{
    const pg_table *p = t->prepared;

    cs_buf_puts(s, "CREATE OR REPLACE FUNCTION ");
    put_function_name(s, t->id);
    cs_buf_puts(
        s, " RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path=pg_catalog,pg_temp SET "
           "timezone='UTC' SET datestyle='ISO, YMD' SET intervalstyle='iso_8601' SET "
           "extra_float_digits=1 SET bytea_output='hex' SET standard_conforming_strings=on "
           "AS $csync$\nDECLARE v_ts bigint; BEGIN\n"
           " IF coalesce(current_setting('csync.sync_active',true),'')='1' THEN RETURN NULL; "
           "END IF;\n v_ts := csync._sync_enter();\n IF TG_OP='INSERT' THEN\n  ");
    put_entries(s, t, "insert", "new_rows");
    cs_buf_puts(s, ";\n ELSIF TG_OP='UPDATE' THEN\n  ");
    put_entries(s, t, "delete", "old_rows");
    cs_buf_printf(s, " WHERE NOT EXISTS(SELECT 1 FROM new_rows n WHERE ");
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? " AND n." : "n.");
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_puts(s, "=x.");
        cs_put_ident(s, t->columns[t->key[i]].name);
    }
    cs_buf_puts(s, ");\n  ");
    put_entries(s, t, "update", "new_rows");
    cs_buf_puts(s, ";\n ELSIF TG_OP='DELETE' THEN\n  ");
    put_entries(s, t, "delete", "old_rows");
    cs_buf_puts(s, ";\n ELSE\n  ");
    put_entries(s, t, "delete", p->name);
    cs_buf_puts(s, ";\n END IF;\n RETURN NULL; END $csync$;\n");
}

static void put_trigger(cs_buf *s, const cs_table *t, int event)
{
    static const char *const heads[] = {"AFTER INSERT", "AFTER UPDATE", "AFTER DELETE",
                                        "BEFORE TRUNCATE"};
    static const char *const tables[] = {" REFERENCING NEW TABLE AS new_rows",
                                         " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                                         " REFERENCING OLD TABLE AS old_rows", ""};
    const pg_table *p = t->prepared;

    cs_buf_printf(s, "CREATE TRIGGER _sync_%s %s ON ", events[event], heads[event]);
    cs_buf_puts(s, p->name);
    cs_buf_printf(s, "%s FOR EACH STATEMENT EXECUTE FUNCTION ", tables[event]);
    put_function_name(s, t->id);
    cs_buf_puts(s, ";\n");
}

void pg_trigger_sql(cs_buf *s, const cs_table *t)
{
    const pg_table *p = t->prepared;

    put_function(s, t);
    for (int i = 0; i < 4; i++) {
        cs_buf_printf(s, "DROP TRIGGER IF EXISTS _sync_%s ON ", events[i]);
        cs_buf_puts(s, p->name);
        cs_buf_puts(s, ";\n");
    }
    for (int i = 0; i < 4; i++)
        put_trigger(s, t, i);
}

/* The triggers go with their function, whatever has become of the table. */
void pg_drop_trigger_sql(cs_buf *s, int64_t id)
{
    cs_buf_puts(s, "DROP FUNCTION IF EXISTS ");
    put_function_name(s, id);
    cs_buf_puts(s, " CASCADE");
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

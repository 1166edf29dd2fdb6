/* rights.c - what this role may not do, and the statements that would help. Asked before anything is begun, because a
 * refusal of the server names the thing but not the right that is missing. */
#include "backend/postgres/postgres.h"

#define ME "quote_ident(current_user)"

/* `sql` gives one text: NULL when nothing is missing. */
static int check(cs_pg *b, const char *sql, const char *thing, const char *to_do, csync_error *err)
{
    pg_args a = {.count = 0};
    const char *missing;
    PGresult *r;
    int rc;

    pg_text(&a, thing);
    rc = pg_run(b, sql, &a, &r, err);
    missing = rc == CSYNC_OK && pg_rows(b, r) ? pg_cell(b, r, 0, 0) : NULL;
    if (missing)
        rc = cs_fail(err, CSYNC_EDB, "this role may not %s; what helps: %s", to_do, missing);
    pg_clear(b, r);
    return rc;
}

int pg_check_rights_to_create(cs_pg *b, csync_error *err)
{
    return check(
        b,
        "SELECT 'GRANT CREATE ON DATABASE '||quote_ident(current_database())||' TO '||" ME
        " WHERE $1::text<>'' AND NOT has_database_privilege(current_database(),'CREATE') AND NOT "
        "EXISTS(SELECT 1 FROM pg_namespace WHERE nspname='csync' AND has_schema_privilege(oid,'CREATE'))",
        "csync", "create the schema csync", err);
}

int pg_check_rights_to_use(cs_pg *b, csync_error *err)
{
    return check(
        b,
        "SELECT string_agg(g,'; ') FROM (SELECT 'GRANT USAGE ON SCHEMA csync TO '||" ME
        " WHERE NOT has_schema_privilege($1::text,'USAGE') UNION ALL SELECT 'GRANT SELECT, INSERT, UPDATE, "
        "DELETE ON ALL TABLES IN SCHEMA csync TO '||" ME " WHERE EXISTS(SELECT 1 FROM pg_class c,"
        "unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p WHERE c.relnamespace=(SELECT oid FROM pg_namespace "
        "WHERE nspname=$1) AND (c.relkind='r' OR c.relkind='v' AND p='SELECT') AND NOT "
        "has_table_privilege(c.oid,p)) UNION ALL SELECT 'GRANT ALL ON ALL SEQUENCES IN SCHEMA csync TO '||" ME
        " WHERE EXISTS(SELECT 1 FROM pg_class c WHERE c.relnamespace=(SELECT oid FROM pg_namespace WHERE "
        "nspname=$1) AND CASE c.relkind WHEN 'S' THEN NOT (has_sequence_privilege(c.oid,'USAGE') AND "
        "has_sequence_privilege(c.oid,'SELECT')) END)) x(g)",
        "csync", "use csync's tables", err);
}

int pg_check_rights(cs_pg *b, const char *name, csync_error *err)
{
    return check(
        b,
        "WITH c AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON "
        "n.oid=c.relnamespace WHERE quote_ident(n.nspname)||'.'||quote_ident(c.relname)=$1) "
        "SELECT string_agg(g,'; ') FROM (SELECT 'GRANT '||string_agg(p,', ')||' ON "
        "'||$1||' TO '||" ME
        " FROM c,unnest('{SELECT,INSERT,UPDATE,DELETE,TRIGGER}'::text[]) p WHERE NOT "
        "has_table_privilege(oid,p) HAVING count(*)>0 UNION ALL SELECT 'GRANT UPDATE ON SEQUENCE '||"
        "quote_ident(n.nspname)||'.'||quote_ident(s.relname)||' TO '||" ME
        " FROM c JOIN pg_depend d ON d.refobjid=c.oid AND d.classid='pg_class'::regclass AND d.deptype IN ('a',"
        "'i') JOIN pg_class s ON s.oid=d.objid AND s.relkind='S' JOIN pg_namespace n ON n.oid=s.relnamespace "
        "WHERE CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid,'UPDATE') END UNION ALL SELECT "
        "'GRANT CREATE ON SCHEMA csync TO '||" ME
        " WHERE NOT has_schema_privilege('csync','CREATE')) x(g)",
        name, "track this table", err);
}

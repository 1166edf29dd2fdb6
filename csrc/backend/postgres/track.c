/* track.c - tracking tables, and the check that what is tracked still is as it was. */
#include <stdio.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/log.h"
#include "base/mem.h"

static int read_catalogue(cs_pg *b, char out[40], csync_error *err)
{
    PGresult *r;
    int rc = pg_run(b, "SELECT print,relay FROM csync._sync_catalogue()", NULL, &r, err);

    if (rc == CSYNC_OK) {
        snprintf(out, 40, "%s", pg_cell(b, r, 0, 0));
        b->base.relay = pg_cell_int(b, r, 0, 1) != 0;
    }
    pg_clear(b, r);
    return rc;
}

int pg_schema_changed(cs_backend *base, int *changed, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    char now[40] = "";
    int rc = read_catalogue(b, now, err);

    *changed = strcmp(now, b->schema) != 0;
    return rc;
}

static int load_one(cs_pg *b, const PGresult *r, int row, csync_error *err)
{
    const char *name = pg_cell(b, r, row, 1);
    csync_error why = CSYNC_ERROR_INIT;
    cs_table *t;
    int rc = pg_describe(b, name, (int)pg_cell_int(b, r, row, 2), &t, &why);

    if (rc == CSYNC_ENOTFOUND) {
        cs_log(CSYNC_LOG_WARNING,
               "tracked table \"%s\" is gone; its changes are kept until it is back", name);
        return CSYNC_OK;
    }
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    t->id = pg_cell_int(b, r, row, 0);
    b->base.tables[b->base.table_count++] = t;
    return CSYNC_OK;
}

static int load_tables(cs_pg *b, csync_error *err)
{
    PGresult *r;
    int rc, n;

    pg_forget_all(b);
    rc = pg_run(b, "SELECT id,name,capture FROM csync._sync_tables ORDER BY name", NULL, &r, err);
    n = rc == CSYNC_OK ? pg_rows(b, r) : 0;
    b->base.tables = cs_calloc((size_t)n + 1, sizeof *b->base.tables);
    if (!b->base.tables)
        rc = cs_fail_nomem(err);
    for (int i = 0; rc == CSYNC_OK && i < n; i++)
        rc = load_one(b, r, i, err);
    pg_clear(b, r);
    if (rc == CSYNC_OK)
        cs_tables_rank(b->base.tables, b->base.table_count);
    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++)
        rc = pg_describe_moving(b, b->base.tables[i], err);
    if (rc == CSYNC_OK)
        rc = pg_reserve_cells(b, err);
    return rc == CSYNC_OK ? read_catalogue(b, b->schema, err) : rc;
}

static int create_triggers(cs_pg *b, const cs_table *t, csync_error *err)
{
    cs_buf sql = {0};

    pg_trigger_sql(&sql, t);
    return pg_exec_buf(b, &sql, err);
}

/* Rows that were there before take part as changes older than any edit (stamp 0). */
static int backfill(cs_pg *b, const cs_table *t, csync_error *err)
{
    const pg_table *p = t->prepared;
    pg_args a = {.count = 0};
    PGresult *r;
    cs_buf sql = {0};
    int64_t n = 0;
    int rc;

    pg_int(&a, t->id);
    pg_text(&a, b->base.origin);
    cs_buf_puts(&sql,
                "INSERT INTO csync._sync_rows(table_id,pk,version,ts,origin,seq,state,via) SELECT "
                "$1::bigint,");
    cs_buf_puts(&sql, p->key_sql);
    cs_buf_puts(&sql, ",0,0,$2::text,0,0,0 FROM ");
    cs_buf_puts(&sql, p->name);
    cs_buf_puts(&sql, " x");
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, sql.data, &a, &r, err);
    if (rc == CSYNC_OK) {
        n = pg_affected(b, r);
        pg_clear(b, r);
    }
    cs_buf_free(&sql);
    return rc == CSYNC_OK && n ? pg_state_put(b, "unlogged", "1", err) : rc;
}

static int store_table(cs_pg *b, cs_table *t, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, t->name);
    pg_int(&a, t->capture);
    pg_text(&a, t->fingerprint);
    return pg_query_int(b,
                        "INSERT INTO csync._sync_tables(name,capture,fingerprint) VALUES($1,$2,$3) ON "
                        "CONFLICT(name) DO UPDATE SET capture=excluded.capture,"
                        "fingerprint=excluded.fingerprint RETURNING id",
                        &a, &t->id, NULL, err);
}

/* Parked changes that came before their table was tracked are merged as if they came now. */
static int adopt(cs_pg *b, const char *table, csync_error *err)
{
    static const cs_merge how = {.passes = 3, .relay = 1};
    csync_batch *batch = cs_batch_create();
    cs_item *items = NULL;
    pg_args a = {.count = 0};
    PGresult *r = NULL;
    int rc = batch ? CSYNC_OK : cs_fail_nomem(err);

    pg_text(&a, table);
    if (rc == CSYNC_OK)
        rc = pg_run(b,
                    "DELETE FROM csync._sync_parked WHERE table_name=$1 RETURNING table_name,pk_value,"
                    "operation,payload,origin,timestamp,seq",
                    &a, &r, err);
    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        const char *operation = pg_cell(b, r, i, 2);
        csync_change c = {.struct_size = sizeof c, .table = pg_cell(b, r, i, 0)};

        c.pk = pg_cell(b, r, i, 1);
        c.operation = cs_operation_parse(operation, strlen(operation));
        c.payload = pg_cell(b, r, i, 3);
        c.origin = pg_cell(b, r, i, 4);
        c.timestamp = pg_cell(b, r, i, 5);
        c.seq = pg_cell_int(b, r, i, 6);
        rc = cs_batch_add(batch, &c, err);
    }
    pg_clear(b, r);
    if (rc == CSYNC_OK && batch->count && !(items = cs_calloc(batch->count, sizeof *items)))
        rc = cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < batch->count; i++) {
        items[i].change = &batch->items[i];
        items[i].table = cs_backend_table(&b->base, table, strlen(table));
    }
    if (rc == CSYNC_OK && items)
        rc = b->base.ops->suppress(&b->base, 1, err);
    if (rc == CSYNC_OK && items)
        rc = pg_merge(&b->base, items, batch->count, &how, err);
    if (rc == CSYNC_OK && items)
        rc = b->base.ops->suppress(&b->base, 0, err);
    cs_free(items);
    cs_batch_destroy(batch);
    return rc;
}

int pg_track(cs_backend *base, const char *table, int capture, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    const cs_table *old = cs_backend_table(base, table, strlen(table));
    int had = old != NULL;
    cs_table *t;
    int rc;

    if (old && (!capture || capture == old->capture))
        return CSYNC_OK;
    rc = pg_describe(b, table, capture, &t, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = pg_check_rights(b, ((pg_table *)t->prepared)->name, err);
    if (rc == CSYNC_OK)
        rc = store_table(b, t, err);
    if (rc == CSYNC_OK)
        rc = create_triggers(b, t, err); /* its lock keeps writers out until the rows are taken in */
    if (rc == CSYNC_OK && !had)
        rc = backfill(b, t, err);
    pg_forget_table(t);
    if (rc == CSYNC_OK)
        rc = load_tables(b, err);
    if (rc == CSYNC_OK && base->relay)
        rc = pg_complete_log(base, 1, err);
    return rc == CSYNC_OK && !had ? adopt(b, table, err) : rc;
}

/* By what csync has stored, not by the catalogue: this is the way out when the table is not what it was. */
int pg_untrack(cs_backend *base, const char *table, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    cs_buf sql = {0};
    pg_args a = {.count = 0};
    int64_t id = 0;
    int found = 0;
    int rc;

    pg_text(&a, table);
    rc = pg_query_int(b, "DELETE FROM csync._sync_tables WHERE name=$1 RETURNING id", &a, &id,
                      &found, err);
    if (rc == CSYNC_OK && !found)
        return cs_fail(err, CSYNC_ENOTFOUND, "table \"%s\" is not tracked", table);
    pg_drop_trigger_sql(&sql, id);
    cs_buf_printf(&sql, ";DELETE FROM csync._sync_rows WHERE table_id=%lld", (long long)id);
    pg_forget_all(b);
    if (rc == CSYNC_OK)
        rc = pg_exec_buf(b, &sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, "DELETE FROM csync._sync_parked WHERE table_name=$1", &a, NULL, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, "DELETE FROM csync._sync_log WHERE table_name=$1", &a, NULL, err);
    cs_buf_free(&sql);
    return rc;
}

/* ---- checking ---- */

/* Rows of `part` that may have changed while its triggers were gone are logged unless the log has them as they are. */
static int recapture_rows(cs_pg *b, const cs_table *t, const char *part, csync_error *err)
{
    const pg_table *p = t->prepared;
    cs_buf sql = {0};

    cs_buf_puts(&sql, "WITH n AS MATERIALIZED (SELECT csync._sync_enter() AS ts), r AS MATERIALIZED "
                      "(SELECT ");
    cs_buf_puts(&sql, p->key_sql);
    cs_buf_puts(&sql, " AS pk,");
    cs_buf_puts(&sql, p->row_sql);
    cs_buf_puts(&sql, " AS payload FROM ");
    cs_buf_puts(&sql, part);
    cs_buf_puts(
        &sql,
        " x) INSERT INTO csync._sync_log(table_name,pk_value,operation,payload,timestamp,ts) SELECT ");
    cs_put_literal(&sql, t->name);
    cs_buf_printf(
        &sql,
        ",r.pk,'update',r.payload,csync._sync_time(n.ts),n.ts FROM n,r LEFT JOIN "
        "csync._sync_rows h ON h.table_id=%lld AND h.pk=r.pk LEFT JOIN csync._sync_log l ON "
        "l.version=h.version WHERE h.pk IS NULL OR h.state&1<>0 OR l.payload IS DISTINCT FROM "
        "r.payload",
        (long long)t->id);
    return pg_exec_buf(b, &sql, err);
}

/* Rows that vanished meanwhile, also with a partition that was dropped or detached. */
static int recapture_deletes(cs_pg *b, const cs_table *t, csync_error *err)
{
    const pg_table *p = t->prepared;
    cs_buf sql = {0};

    cs_buf_puts(&sql,
                "WITH n AS MATERIALIZED (SELECT csync._sync_enter() AS ts) INSERT INTO csync._sync_log("
                "table_name,pk_value,operation,timestamp,ts) SELECT ");
    cs_put_literal(&sql, t->name);
    cs_buf_printf(
        &sql,
        ",h.pk,'delete',csync._sync_time(n.ts),n.ts FROM n,csync._sync_rows h WHERE "
        "h.state&1=0 AND h.parked=0 AND h.table_id=%lld AND NOT EXISTS(SELECT 1 FROM (SELECT ",
        (long long)t->id);
    cs_buf_puts(&sql, p->key_sql);
    cs_buf_puts(&sql, " AS pk FROM ");
    cs_buf_puts(&sql, p->name);
    cs_buf_puts(&sql, " x) r WHERE r.pk=h.pk)");
    return pg_exec_buf(b, &sql, err);
}

/* Relations that lack a trigger, or have one in excess because they are no partitions any more. */
static const char triggers_sql[] =
    "WITH part AS (SELECT c.oid,c.relkind FROM pg_class c WHERE c.oid=$2::regclass OR c.oid IN (SELECT relid "
    "FROM pg_partition_tree($2::regclass))), want AS (SELECT p.oid AS rel,'_sync_'||e AS name FROM part p,"
    "unnest('{insert,update,delete,truncate}'::text[]) e WHERE e<>'truncate' OR p.relkind='r'), have AS ("
    "SELECT g.tgrelid AS rel,g.tgname::text AS name FROM pg_trigger g JOIN pg_proc f ON f.oid=g.tgfoid WHERE "
    "g.tgenabled='O' AND f.pronamespace='csync'::regnamespace AND f.proname='_sync_capture_'||$1) "
    "SELECT quote_ident(n.nspname)||'.'||quote_ident(c.relname),bool_or(have.rel IS NULL) FROM want FULL JOIN "
    "have ON have.rel=want.rel AND have.name=want.name JOIN pg_class c ON c.oid=coalesce(want.rel,have.rel) "
    "JOIN pg_namespace n ON n.oid=c.relnamespace WHERE have.rel IS NULL OR want.rel IS NULL GROUP BY 1";

/* `r`: what triggers_sql found before the triggers were made again. */
static int recapture(cs_pg *b, const cs_table *t, const PGresult *r, csync_error *err)
{
    const pg_table *p = t->prepared;
    int any = p->part_count > 1 || !p->holds_rows[0];
    int rc = pg_fold(&b->base, err);

    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        int lost = pg_cell(b, r, i, 1)[0] == 't';

        any |= lost;
        for (size_t k = 0; rc == CSYNC_OK && lost && k < p->part_count; k++)
            if (p->holds_rows[k] && strcmp(p->parts[k], pg_cell(b, r, i, 0)) == 0)
                rc = recapture_rows(b, t, p->parts[k], err);
    }
    return rc == CSYNC_OK && any ? recapture_deletes(b, t, err) : rc;
}

static int check_table(cs_pg *b, cs_table *t, int64_t *repaired, csync_error *err)
{
    pg_args a = {.count = 0}, known = {.count = 0};
    PGresult *r;
    int64_t same = 0;
    int rc;

    pg_int(&a, t->id);
    pg_text(&a, ((pg_table *)t->prepared)->name);
    rc = pg_run(b, triggers_sql, &a, &r, err);
    pg_int(&known, t->id);
    pg_text(&known, t->fingerprint);
    if (rc == CSYNC_OK)
        rc = pg_query_int(b, "SELECT count(*) FROM csync._sync_tables WHERE id=$1 AND fingerprint=$2",
                          &known, &same, NULL, err);
    if (rc == CSYNC_OK && (pg_rows(b, r) || !same)) {
        ++*repaired;
        rc = store_table(b, t, err);
        if (rc == CSYNC_OK)
            rc = create_triggers(b, t, err);
        if (rc == CSYNC_OK)
            rc = recapture(b, t, r, err);
    }
    pg_clear(b, r);
    return rc;
}

int pg_check_schema(cs_backend *base, int64_t *repaired, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int64_t before = *repaired;
    int changed = 0;
    int rc = pg_schema_changed(base, &changed, err);

    if (rc != CSYNC_OK || !changed)
        return rc;
    rc = load_tables(b, err);
    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++)
        rc = check_table(b, base->tables[i], repaired, err);
    if (rc == CSYNC_OK && *repaired > before)
        rc = load_tables(b, err);
    if (rc != CSYNC_OK)
        b->schema[0] = 0;
    return rc;
}

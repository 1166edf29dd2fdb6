/* track.c - tracking tables, and the check that what is tracked still is as it was. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/log.h"
#include "base/mem.h"

static int schema_version(cs_sqlite *b, int64_t *out, csync_error *err)
{
    return sq_fixed_int(b, SQ_SCHEMA_VERSION, out, err);
}

/* Asked in every transaction, so what other processes may have switched on is read here too. */
int sq_schema_changed(cs_backend *base, int *changed, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int64_t now = 0, relay = 0;
    int rc = schema_version(b, &now, err);

    *changed = now != b->schema_version;
    if (rc == CSYNC_OK)
        rc = sq_state_int(b, "relay", &relay, err);
    base->relay = relay != 0;
    return rc;
}

/* The heads table has the row's own key, so that looking a head up costs what looking a row up costs. */
static void put_heads_sql(cs_buf *sql, const cs_table *t)
{
    static const char *const types[] = {"", " TEXT", " NUMERIC", " INT", " REAL"};

    cs_buf_printf(sql, "_sync_rows_%lld(", (long long)t->id);
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        if (t->rowid_key) {
            cs_buf_puts(sql, "k1 INTEGER PRIMARY KEY,");
            continue;
        }
        cs_buf_printf(sql, "k%zu%s COLLATE ", i + 1, types[c->affinity]);
        cs_put_ident(sql, c->collation);
        cs_buf_puts(sql, ",");
    }
    cs_buf_puts(sql, "version INTEGER NOT NULL,ts INTEGER NOT NULL,origin INTEGER NOT NULL,"
                     "seq INTEGER NOT NULL,state INTEGER NOT NULL,via INTEGER NOT NULL,"
                     "parked INTEGER NOT NULL DEFAULT 0,base_version INTEGER NOT NULL DEFAULT 0,"
                     "base_ts INTEGER NOT NULL DEFAULT 0,base_origin INTEGER NOT NULL DEFAULT 0,"
                     "base_seq INTEGER NOT NULL DEFAULT 0,seen INTEGER NOT NULL DEFAULT 0");
    if (!t->rowid_key) {
        for (size_t i = 0; i < t->key_count; i++)
            cs_buf_printf(sql, "%sk%zu", i ? "," : ",PRIMARY KEY(", i + 1);
        cs_buf_puts(sql, ")");
    }
    cs_buf_puts(sql, t->rowid_key ? ")" : ") WITHOUT ROWID");
}

int sq_create_heads(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    cs_buf sql = {0};

    cs_buf_puts(&sql, "CREATE TABLE main.");
    put_heads_sql(&sql, t);
    if (t->evicts) /* it costs a tenth of a head's upsert; without it finding evicted rows costs a scan */
        cs_buf_printf(&sql,
                      ";CREATE INDEX main._sync_gone_%lld ON _sync_rows_%lld(state) WHERE " SQ_GONE,
                      (long long)t->id, (long long)t->id);
    return sq_exec_buf(b, &sql, err);
}

static int create_triggers(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    cs_buf sql = {0};

    sq_drop_trigger_sql(&sql, t->name);
    sq_trigger_sql(&sql, t);
    return sq_exec_buf(b, &sql, err);
}

static int store_table(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b,
                        "INSERT INTO main._sync_tables(name,capture,fingerprint) VALUES(?1,?2,?3) "
                        "ON CONFLICT(name) DO UPDATE SET capture=excluded.capture,"
                        "fingerprint=excluded.fingerprint RETURNING id",
                        &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, t->name);
    sqlite3_bind_int(stmt, 2, t->capture);
    sq_bind_text(b, stmt, 3, t->fingerprint);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        t->id = sqlite3_column_int64(stmt, 0);
        rc = sq_run(b, stmt, err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* A NULL in a key tells rows apart for SQLite (sqlite.org/lang_createtable.html) but for nobody else. */
static int check_null_keys(cs_sqlite *b, const cs_table *t, csync_error *err)
{
    cs_buf sql = {0};
    int64_t n = 0;
    int rc;

    cs_buf_puts(&sql, "SELECT count(*) FROM main.");
    cs_put_ident(&sql, t->name);
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(&sql, i ? " OR " : " WHERE ");
        cs_put_ident(&sql, t->columns[t->key[i]].name);
        cs_buf_puts(&sql, " IS NULL");
    }
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_query_int(b, sql.data, &n, err);
    cs_buf_free(&sql);
    if (rc == CSYNC_OK && n)
        rc = cs_fail(err, CSYNC_ESCHEMA,
                     "%lld rows of table \"%s\" have NULL in their primary key; give them a key first",
                     (long long)n, t->name);
    return rc;
}

static int track_new(cs_sqlite *b, cs_table *t, csync_error *err)
{
    int rc = check_null_keys(b, t, err);

    if (rc == CSYNC_OK)
        rc = store_table(b, t, err);
    if (rc == CSYNC_OK)
        rc = sq_create_heads(b, t, err);
    if (rc == CSYNC_OK)
        rc = sq_backfill(b, t, err);
    return rc == CSYNC_OK ? create_triggers(b, t, err) : rc;
}

static int finish_load(cs_sqlite *b, csync_error *err);

/* Adds the table to those in memory, in order of name. Takes `t` over. */
static int insert_table(cs_sqlite *b, cs_table *t, csync_error *err)
{
    size_t n = b->base.table_count, at = n;
    cs_table **tables = cs_realloc(b->base.tables, (n + 1) * sizeof *tables);

    if (!tables) {
        cs_table_destroy(t);
        return cs_fail_nomem(err);
    }
    for (; at > 0 && strcmp(tables[at - 1]->name, t->name) > 0; at--)
        tables[at] = tables[at - 1];
    tables[at] = t;
    b->base.tables = tables;
    b->base.table_count = n + 1;
    return finish_load(b, err);
}

static int change_capture(cs_sqlite *b, cs_table *t, csync_error *err)
{
    int rc = store_table(b, t, err);

    if (rc == CSYNC_OK)
        rc = create_triggers(b, t, err);
    return rc == CSYNC_OK ? sq_load_tables(b, err) : rc;
}

int sq_track(cs_backend *base, const char *table, int capture, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    const cs_table *old = cs_backend_table(base, table, strlen(table));
    cs_table *t;
    int rc;

    if (old && (!capture || capture == old->capture))
        return CSYNC_OK;
    rc = sq_describe(b, table, capture, &t, err);
    if (rc != CSYNC_OK)
        return rc;
    if (old) {
        rc = change_capture(b, t, err);
        cs_table_destroy(t);
        return rc;
    }
    rc = track_new(b, t, err);
    if (rc == CSYNC_OK)
        rc = insert_table(b, t, err);
    else
        cs_table_destroy(t);
    if (rc == CSYNC_OK && base->relay)
        rc = sq_complete_log(base, 1, err);
    return rc == CSYNC_OK ? sq_adopt(b, table, err) : rc;
}

/* Runs `sql` with one text parameter. */
static int exec_text(cs_sqlite *b, const char *sql, const char *text, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b, sql, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, text);
    rc = sq_run(b, stmt, err);
    sqlite3_finalize(stmt);
    return rc;
}

static int stored_id(cs_sqlite *b, const char *table, int64_t *id, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b, "SELECT id FROM main._sync_tables WHERE name=?1", &stmt, err);

    *id = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, table);
    rc = sq_step(b, stmt, err);
    *id = rc == 1 ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_finalize(stmt);
    if (rc == 0)
        return cs_fail(err, CSYNC_ENOTFOUND, "table \"%s\" is not tracked", table);
    return rc < 0 ? rc : CSYNC_OK;
}

/* By what csync has stored, not by the catalogue: this is the way out when the table is not what it was. */
int sq_untrack(cs_backend *base, const char *table, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    cs_buf sql = {0};
    int64_t id = 0;
    int rc = stored_id(b, table, &id, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_drop_trigger_sql(&sql, table);
    cs_buf_printf(&sql, "DROP TABLE main._sync_rows_%lld", (long long)id);
    sq_forget_all(b); /* its statements hold the table that is dropped */
    rc = sq_exec_buf(b, &sql, err);
    if (rc == CSYNC_OK)
        rc = exec_text(b, "DELETE FROM main._sync_tables WHERE name=?1", table, err);
    if (rc == CSYNC_OK)
        rc = exec_text(b, "DELETE FROM main._sync_parked WHERE table_name=?1", table, err);
    if (rc == CSYNC_OK)
        rc = exec_text(b, "DELETE FROM main._sync_log WHERE table_name=?1", table, err);
    return rc;
}

/* ---- loading and checking ---- */

/* Triggers besides csync's own: with them there, triggers cannot be switched off for a connection. */
static int check_other_triggers(cs_sqlite *b, csync_error *err)
{
    int64_t others = 0;
    int rc =
        sq_query_int(b,
                     "SELECT count(*) FROM main.sqlite_master m WHERE type='trigger' AND NOT "
                     "EXISTS(SELECT 1 FROM main._sync_tables t WHERE t.name=m.tbl_name AND m.name "
                     "IN (t.name||'_sync_insert',t.name||'_sync_update',t.name||'_sync_delete',"
                     "t.name||'_sync_rekey'))",
                     &others, err);

    b->only_our_triggers = others == 0;
    return rc;
}

static int append_table(cs_sqlite *b, cs_table *t, size_t *cap, csync_error *err)
{
    if (cs_grow(&b->base.tables, cap, b->base.table_count + 1, sizeof *b->base.tables) != CSYNC_OK)
        return cs_fail_nomem(err);
    b->base.tables[b->base.table_count++] = t;
    return CSYNC_OK;
}

/* When it comes back it has to be compared with its heads, even if it comes with its triggers. */
static int mark_gone(cs_sqlite *b, int64_t id, csync_error *err)
{
    cs_buf sql = {0};

    cs_buf_printf(&sql,
                  "UPDATE main._sync_tables SET fingerprint='' WHERE id=%lld AND fingerprint<>''",
                  (long long)id);
    return sq_exec_buf(b, &sql, err);
}

/* A table that is gone is left out: what arrives for it is parked until it is back. */
static int load_one(cs_sqlite *b, sqlite3_stmt *stmt, size_t *cap, csync_error *err)
{
    SQ_API(b);
    const char *name = sq_column_text(b, stmt, 1);
    cs_table *t;
    int rc = sq_describe(b, name, sqlite3_column_int(stmt, 2), &t, err);

    if (rc == CSYNC_ENOTFOUND) {
        rc = mark_gone(b, sqlite3_column_int64(stmt, 0), err);
        cs_log(CSYNC_LOG_WARNING,
               "tracked table \"%s\" is gone; its changes are kept until it is back", name);
        return rc;
    }
    if (rc != CSYNC_OK)
        return rc;
    t->id = sqlite3_column_int64(stmt, 0);
    rc = append_table(b, t, cap, err);
    if (rc != CSYNC_OK)
        cs_table_destroy(t);
    return rc;
}

/* Rows of untracked tables cannot be parked: where they would go with a row of ours, ours stays. */
static int mark_untracked_acts(cs_sqlite *b, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b,
                        "SELECT DISTINCT p.name FROM main.sqlite_master m CROSS JOIN "
                        "pragma_foreign_key_list(m.name,'main') f CROSS JOIN main._sync_tables p "
                        "WHERE m.type='table' AND m.name NOT LIKE '\\_sync\\_%' ESCAPE '\\' AND "
                        "m.name NOT IN (SELECT name FROM main._sync_tables) AND f.on_delete IN "
                        "('CASCADE','SET NULL','SET DEFAULT') AND f.\"table\"=p.name COLLATE NOCASE",
                        &stmt, err);
    SQ_API(b);

    if (rc != CSYNC_OK)
        return rc;
    for (size_t i = 0; i < b->base.table_count; i++)
        b->base.tables[i]->untracked_acts = 0;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const char *name = sq_column_text(b, stmt, 0);
        cs_table *t = cs_backend_table(&b->base, name, strlen(name));

        if (t)
            t->untracked_acts = 1;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* What depends on all tables together. */
static int finish_load(cs_sqlite *b, csync_error *err)
{
    int64_t version = -1;
    int rc = check_other_triggers(b, err);

    if (rc == CSYNC_OK)
        rc = mark_untracked_acts(b, err);
    if (rc == CSYNC_OK)
        rc = schema_version(b, &version, err);
    if (rc == CSYNC_OK)
        rc = sq_reserve_cells(b, err);
    cs_tables_rank(b->base.tables, b->base.table_count);
    b->schema_version = rc == CSYNC_OK ? version : -1;
    return rc;
}

int sq_load_tables(cs_sqlite *b, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    size_t cap = 0;
    int rc;

    sq_forget_all(b);
    rc = sq_prepare(b, "SELECT id,name,capture FROM main._sync_tables ORDER BY name", &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1 && (rc = load_one(b, stmt, &cap, err)) == CSYNC_OK)
        ;
    sqlite3_finalize(stmt);
    return rc == CSYNC_OK ? finish_load(b, err) : rc;
}

enum { CHANGED, SAME, WAS_GONE };

/* What became of the table's schema since its fingerprint was stored. */
static int compare_fingerprint(cs_sqlite *b, const cs_table *t, int *state, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b,
                        "SELECT CASE fingerprint WHEN ?2 THEN 1 WHEN '' THEN 2 ELSE 0 END FROM "
                        "main._sync_tables WHERE name=?1",
                        &stmt, err);

    *state = CHANGED;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, t->name);
    sq_bind_text(b, stmt, 2, t->fingerprint);
    rc = sq_step(b, stmt, err);
    if (rc == 1)
        *state = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

/* How many triggers of ours the table still has, whatever they say. */
static int count_triggers(cs_sqlite *b, const cs_table *t, int64_t *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b,
                        "SELECT count(*) FROM main.sqlite_master WHERE type='trigger' AND tbl_name=?1 "
                        "AND name IN (?1||'_sync_insert',?1||'_sync_update',?1||'_sync_delete',"
                        "?1||'_sync_rekey')",
                        &stmt, err);

    *out = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, t->name);
    if ((rc = sq_step(b, stmt, err)) == 1) {
        *out = sqlite3_column_int64(stmt, 0);
        rc = CSYNC_OK;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int heads_as_declared(cs_sqlite *b, const cs_table *t, int *same, csync_error *err)
{
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0};
    int rc;

    cs_buf_puts(&sql, "CREATE TABLE ");
    put_heads_sql(&sql, t);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_prepare(b, "SELECT 1 FROM main.sqlite_master WHERE type='table' AND sql=?1", &stmt,
                        err);
    if (rc == CSYNC_OK) {
        SQ_API(b);
        sq_bind_text(b, stmt, 1, sql.data);
        rc = sq_step(b, stmt, err);
        *same = rc == 1;
        sqlite3_finalize(stmt);
    }
    cs_buf_free(&sql);
    return rc < 0 ? rc : CSYNC_OK;
}

/* The same key columns with another type or collation: the heads get them too. */
static int rebuild_heads(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    long long id = (long long)t->id;
    sq_prepared *p = t->prepared;
    cs_buf sql = {0};
    int rc;

    for (int i = 0; p && i < SQT_COUNT; i++) { /* they hold the table that is dropped */
        sqlite3_finalize(p->stmts[i]);
        p->stmts[i] = NULL;
    }
    cs_buf_printf(&sql,
                  "CREATE TABLE main._sync_heads AS SELECT * FROM main._sync_rows_%lld;"
                  "DROP TABLE main._sync_rows_%lld",
                  id, id);
    rc = sq_exec_buf(b, &sql, err);
    if (rc == CSYNC_OK)
        rc = sq_create_heads(b, t, err);
    cs_buf_printf(&sql,
                  "INSERT INTO main._sync_rows_%lld SELECT * FROM main._sync_heads;"
                  "DROP TABLE main._sync_heads",
                  id);
    if (rc == CSYNC_OK)
        return sq_exec_buf(b, &sql, err);
    cs_buf_free(&sql);
    return rc;
}

static int count_head_keys(cs_sqlite *b, const cs_table *t, int64_t *count, csync_error *err)
{
    cs_buf sql = {0};
    int rc;

    cs_buf_printf(
        &sql,
        "SELECT count(*) FROM pragma_table_info('_sync_rows_%lld','main') WHERE name GLOB 'k[0-9]*'",
        (long long)t->id);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_query_int(b, sql.data, count, err);
    cs_buf_free(&sql);
    return rc;
}

/* The heads table must have the row's key; a new key makes every head meaningless. */
static int check_heads_key(cs_sqlite *b, cs_table *t, csync_error *err)
{
    int64_t keys = 0;
    int same = 0;
    int rc = heads_as_declared(b, t, &same, err);

    if (rc != CSYNC_OK || same)
        return rc;
    rc = count_head_keys(b, t, &keys, err);
    if (rc == CSYNC_OK && keys == (int64_t)t->key_count)
        rc = rebuild_heads(b, t, err);
    else if (rc == CSYNC_OK)
        rc = CSYNC_EDB;
    if (rc != CSYNC_EDB)
        return rc;
    return cs_fail(err, CSYNC_ESCHEMA,
                   "the primary key of tracked table \"%s\" has changed; untrack it and track it again",
                   t->name);
}

/* Log entries written by triggers of an older schema lack columns: the rows are read when they are sent.
 * Where triggers were not what they have to be for a while, the table is compared with its heads. */
static int repair(cs_sqlite *b, cs_table *t, int state, csync_error *err)
{
    int64_t have = 0;
    int lost;
    int rc = count_triggers(b, t, &have, err);

    lost = state != CHANGED || have < 4;
    if (rc == CSYNC_OK)
        rc = check_heads_key(b, t, err);
    if (rc == CSYNC_OK && lost)
        rc = sq_recapture(b, t, err);
    if (rc == CSYNC_OK && state != SAME)
        rc = exec_text(
            b, "UPDATE main._sync_log SET payload=NULL WHERE table_name=?1 AND origin IS NULL",
            t->name, err);
    if (rc == CSYNC_OK)
        rc = create_triggers(b, t, err);
    if (rc == CSYNC_OK)
        rc = store_table(b, t, err);
    if (rc == CSYNC_OK)
        rc = sq_adopt(b, t->name, err);
    if (rc == CSYNC_OK)
        cs_log(CSYNC_LOG_WARNING, "table \"%s\": %s; capture is repaired", t->name,
               lost ? "its triggers were gone" : "its schema had changed");
    return rc;
}

static int check_table(cs_sqlite *b, cs_table *t, int64_t *repaired, csync_error *err)
{
    int state = SAME, intact = 0;
    int rc = compare_fingerprint(b, t, &state, err);

    if (rc == CSYNC_OK)
        rc = sq_triggers_intact(b, t, &intact, err);
    if (rc != CSYNC_OK || (state == SAME && intact))
        return rc;
    ++*repaired;
    return repair(b, t, state, err);
}

int sq_check_schema(cs_backend *base, int64_t *repaired, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int64_t before = *repaired;
    int changed = 0;
    int rc = sq_schema_changed(base, &changed, err);

    if (rc != CSYNC_OK || !changed)
        return rc;
    rc = sq_load_tables(b, err);
    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++)
        rc = check_table(b, base->tables[i], repaired, err);
    if (rc == CSYNC_OK && *repaired > before)
        rc = sq_load_tables(b, err);
    if (rc != CSYNC_OK)
        b->schema_version = -1;
    return rc;
}

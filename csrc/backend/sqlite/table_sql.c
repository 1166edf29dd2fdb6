/* table_sql.c - the statements of a tracked table: on its rows, and on the heads table beside it. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "base/rules.h"

static void put_params(cs_buf *s, size_t from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cs_buf_printf(s, "%s?%zu", i ? "," : "", from + i);
}

/* An upsert's clauses name their table without its schema. */
static void put_heads_bare(cs_buf *s, const cs_table *t)
{
    cs_buf_printf(s, "_sync_rows_%lld", (long long)t->id);
}

static void put_heads_name(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "main.");
    put_heads_bare(s, t);
}

static void put_head_keys(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(s, "%sk%zu", i ? "," : "", i + 1);
}

static void put_head_where(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->key_count; i++)
        cs_buf_printf(s, "%sk%zu=?%zu", i ? " AND " : " WHERE ", i + 1, i + 1);
}

/* The key's index has its own collation, which is what makes two keys one. */
static void put_row_where(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->key_count; i++) {
        const cs_column *c = &t->columns[t->key[i]];

        cs_buf_puts(s, i ? " AND " : " WHERE ");
        cs_put_ident(s, c->name);
        cs_buf_printf(s, "=?%zu", i + 1);
        if (strcmp(c->collation, "BINARY") != 0) {
            cs_buf_puts(s, " COLLATE ");
            cs_put_ident(s, c->collation);
        }
    }
}

static void put_main_table(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "main.");
    cs_put_ident(s, t->name);
}

static void put_columns(cs_buf *s, const cs_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        cs_buf_puts(s, i ? "," : "");
        cs_put_ident(s, t->columns[i].name);
    }
}

static void head_get(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT version,ts,origin,seq,state,via,parked,base_version,base_ts,base_origin,"
                   "base_seq FROM ");
    put_heads_name(s, t);
    put_head_where(s, t);
}

/* A key column whose equal values may differ in content (1 and 1.0, 'a' and 'A') is written as well. */
static int key_may_vary(const cs_column *c)
{
    return c->affinity == CS_AFF_BLOB || strcmp(c->collation, "BINARY") != 0;
}

/* INSERT ... ON CONFLICT DO UPDATE up to and with the plain assignments. */
static void head_upsert(cs_buf *s, const cs_table *t, size_t rows)
{
    size_t params = t->key_count + SQ_HEAD_PARAMS;

    cs_buf_puts(s, "INSERT INTO ");
    put_heads_name(s, t);
    cs_buf_puts(s, "(");
    put_head_keys(s, t);
    cs_buf_puts(s, ",version,ts,origin,seq,state,via) VALUES");
    for (size_t i = 0; i < rows; i++) {
        cs_buf_puts(s, i ? ",(" : "(");
        put_params(s, 1 + i * params, params);
        cs_buf_putc(s, ')');
    }
    cs_buf_puts(s, " ON CONFLICT(");
    put_head_keys(s, t);
    cs_buf_puts(s, ") DO UPDATE SET version=excluded.version,ts=excluded.ts,origin=excluded.origin,"
                   "seq=excluded.seq,state=excluded.state,via=excluded.via");
    for (size_t i = 0; i < t->key_count; i++)
        if (key_may_vary(&t->columns[t->key[i]]))
            cs_buf_printf(s, ",k%zu=excluded.k%zu", i + 1, i + 1);
}

static const char clear_base[] = ",base_version=0,base_ts=0,base_origin=0,base_seq=0";

static void head_force(cs_buf *s, const cs_table *t)
{
    head_upsert(s, t, 1);
    cs_buf_puts(s, clear_base);
}

/* The order of stamps: timestamp, then the origin's text, then seq. Equal stamps are not taken. */
static void heads_take_many(cs_buf *s, const cs_table *t, size_t rows)
{
    head_upsert(s, t, rows);
    cs_buf_puts(s, clear_base);
    if (!CS_RULE(TIE)) {
        cs_buf_puts(s, " WHERE excluded.ts>ts");
        return;
    }
    cs_buf_puts(s, " WHERE excluded.ts>ts OR excluded.ts=ts AND CASE WHEN excluded.origin=origin "
                   "THEN excluded.seq>seq ELSE (SELECT o.origin FROM main._sync_origins o WHERE "
                   "o.id=excluded.origin)>(SELECT o.origin FROM main._sync_origins o WHERE o.id=");
    put_heads_bare(s, t);
    cs_buf_puts(s, ".origin) END");
}

static void head_take(cs_buf *s, const cs_table *t)
{
    heads_take_many(s, t, 1);
}

static void heads_take(cs_buf *s, const cs_table *t)
{
    heads_take_many(s, t, SQ_BULK);
}

/* What a peer has becomes the base, and what somebody else made: an edit here has seen it. In a copied file what
 * was pending before it was copied is nobody else's, although its origin is another (cs_head.own). */
static void head_fold(cs_buf *s, const cs_table *t)
{
    static const char *const names[] = {"version", "ts", "origin", "seq"};

    head_upsert(s, t, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cs_buf_printf(s,
                      ",base_%s=CASE WHEN state&%d OR origin<>excluded.origin AND NOT(via=0 AND "
                      "version>0 AND version<=coalesce((SELECT value+0 FROM main._sync_state WHERE "
                      "key='copied_at'),0)) THEN %s ELSE base_%s END",
                      names[i], SQ_AGREED, names[i], names[i]);
}

/* An older change that the peer has cannot make an agreed head less agreed. */
static void head_agree(cs_buf *s, const cs_table *t)
{
    static const char *const names[] = {"ts", "origin", "seq"};
    size_t n = t->key_count;

    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s,
                  " SET state=CASE WHEN ts=?%zu AND origin=?%zu AND seq=?%zu THEN state|%d ELSE "
                  "state END,base_version=0",
                  n + 1, n + 2, n + 3, SQ_AGREED);
    for (size_t i = 0; i < 3; i++)
        cs_buf_printf(s,
                      ",base_%s=CASE WHEN state&%d OR (ts=?%zu AND origin=?%zu AND seq=?%zu) THEN 0 "
                      "ELSE ?%zu END",
                      names[i], SQ_AGREED, n + 1, n + 2, n + 3, n + 1 + i);
    put_head_where(s, t);
}

static void head_park(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s, " SET parked=?%zu", t->key_count + 1);
    put_head_where(s, t);
}

static void head_version(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s, " SET version=?%zu", t->key_count + 1);
    put_head_where(s, t);
}

static void head_offer(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s, " SET via=0,version=?%zu", t->key_count + 1);
    put_head_where(s, t);
}

static void head_seen(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s, " SET seen=?%zu", t->key_count + 1);
    put_head_where(s, t);
}

static void head_show(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "UPDATE ");
    put_heads_name(s, t);
    cs_buf_printf(s, " SET state=state&~%d", SQ_HIDDEN);
    put_head_where(s, t);
}

static void select_keys(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT ");
    put_head_keys(s, t);
    cs_buf_puts(s, " FROM ");
    put_heads_name(s, t);
}

static void heads_all(cs_buf *s, const cs_table *t)
{
    select_keys(s, t);
    cs_buf_puts(s, " ORDER BY ");
    put_head_keys(s, t);
}

static void heads_after(cs_buf *s, const cs_table *t)
{
    select_keys(s, t);
    cs_buf_puts(s, " WHERE (");
    put_head_keys(s, t);
    cs_buf_puts(s, ")>(");
    put_params(s, 1, t->key_count);
    cs_buf_puts(s, ") ORDER BY ");
    put_head_keys(s, t);
}

static void heads_unseen(cs_buf *s, const cs_table *t)
{
    select_keys(s, t);
    cs_buf_printf(s,
                  " WHERE seen<>?1 AND NOT state&%d AND ts<=?2 AND (state&%d OR base_origin<>0 OR "
                  "origin<>?3 OR version>0 AND version<=?4)",
                  SQ_DELETED, SQ_AGREED);
}

static void heads_ahead(cs_buf *s, const cs_table *t)
{
    select_keys(s, t);
    cs_buf_printf(s, " WHERE origin=?1 AND NOT state&%d AND ts>?2 ORDER BY ts,seq", SQ_AGREED);
}

static void heads_latest(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT coalesce(max(ts),0) FROM ");
    put_heads_name(s, t);
}

/* A delete that could not be carried out is still to be done. Of one that is not in the log no position says who has
 * seen it. */
static void put_tombstones_where(cs_buf *s, const cs_table *t)
{
    put_heads_name(s, t);
    cs_buf_printf(s, " WHERE state&%d AND parked=0 AND version>0 AND version<=?1", SQ_DELETED);
}

static void tombstones(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT count(*),coalesce(max(ts),0) FROM ");
    put_tombstones_where(s, t);
}

static void tombstones_forget(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "DELETE FROM ");
    put_tombstones_where(s, t);
}

static void head_unlogged(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT ");
    put_head_keys(s, t);
    cs_buf_puts(s, ",ts,origin,seq,state FROM ");
    put_heads_name(s, t);
    cs_buf_puts(s, " WHERE version=0 AND (?1 OR via=0) ORDER BY ts,origin,seq");
}

static void row_get(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT ");
    put_columns(s, t);
    cs_buf_puts(s, " FROM ");
    put_main_table(s, t);
    put_row_where(s, t);
}

static void put_upsert(cs_buf *s, const cs_table *t, const unsigned char *mask, size_t rows)
{
    size_t written = 0;

    cs_buf_puts(s, "INSERT INTO ");
    put_main_table(s, t);
    cs_buf_puts(s, "(");
    for (size_t i = 0, n = 0; i < t->count; i++) {
        if (!mask || mask[i]) {
            cs_buf_puts(s, n++ ? "," : "");
            cs_put_ident(s, t->columns[i].name);
        }
    }
    cs_buf_puts(s, ") VALUES");
    for (size_t row = 0; row < rows; row++) {
        cs_buf_puts(s, row ? ",(" : "(");
        for (size_t i = 0, n = 0; i < t->count; i++)
            if (!mask || mask[i])
                cs_buf_printf(s, "%s?%zu", n++ ? "," : "", row * t->count + i + 1);
        cs_buf_putc(s, ')');
    }
    cs_buf_puts(s, " ON CONFLICT(");
    cs_put_key_list(s, t, "");
    cs_buf_puts(s, ") DO ");
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if ((mask && !mask[i]) || (c->key && !key_may_vary(c)))
            continue;
        cs_buf_puts(s, written++ ? "," : "UPDATE SET ");
        cs_put_ident(s, c->name);
        cs_buf_puts(s, "=excluded.");
        cs_put_ident(s, c->name);
    }
    if (!written)
        cs_buf_puts(s, "NOTHING");
}

static void row_put(cs_buf *s, const cs_table *t)
{
    put_upsert(s, t, NULL, 1);
}

static void rows_put(cs_buf *s, const cs_table *t)
{
    put_upsert(s, t, NULL, SQ_BULK);
}

static void row_delete(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "DELETE FROM ");
    put_main_table(s, t);
    put_row_where(s, t);
}

/* In the order of UTF-8 bytes, whatever the database's encoding is: hashes depend on it. */
static void row_scan(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT ");
    put_columns(s, t);
    cs_buf_puts(s, " FROM ");
    put_main_table(s, t);
    cs_buf_puts(s, " ORDER BY ");
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? "," : "");
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_puts(s, t->utf16 ? " COLLATE csync_utf8" : " COLLATE BINARY");
    }
}

/* True where row "c" has all columns of the foreign key and no parent has them. The parent's column stands
 * first: its collation and affinity decide (sqlite.org/foreignkeys.html, section 3). */
static void put_orphan_test(cs_buf *s, const cs_foreign_key *fk)
{
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, i ? " AND c." : "(c.");
        cs_put_ident(s, fk->columns[i]);
        cs_buf_puts(s, " IS NOT NULL");
    }
    cs_buf_puts(s, " AND NOT EXISTS(SELECT 1 FROM main.");
    cs_put_ident(s, fk->parent);
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, i ? " AND p." : " p WHERE p.");
        cs_put_ident(s, fk->parent_columns[i]);
        cs_buf_puts(s, "=c.");
        cs_put_ident(s, fk->columns[i]);
    }
    cs_buf_puts(s, "))");
}

static void orphans(cs_buf *s, const cs_table *t)
{
    cs_buf_puts(s, "SELECT ");
    cs_put_key_list(s, t, "c.");
    cs_buf_puts(s, " FROM main.");
    cs_put_ident(s, t->name);
    cs_buf_puts(s, " c WHERE ");
    for (size_t i = 0; i < t->fk_count; i++) {
        cs_buf_puts(s, i ? " OR " : "");
        put_orphan_test(s, &t->fks[i]);
    }
    cs_buf_puts(s, t->fk_count ? "" : "0");
}

static void (*const builders[SQT_COUNT])(cs_buf *, const cs_table *) = {
    [SQT_HEAD_GET] = head_get,
    [SQT_HEAD_TAKE] = head_take,
    [SQT_HEAD_FORCE] = head_force,
    [SQT_HEAD_FOLD] = head_fold,
    [SQT_HEAD_AGREE] = head_agree,
    [SQT_HEAD_PARK] = head_park,
    [SQT_HEAD_VERSION] = head_version,
    [SQT_HEAD_OFFER] = head_offer,
    [SQT_HEAD_UNLOGGED] = head_unlogged,
    [SQT_ROW_GET] = row_get,
    [SQT_ROW_PUT] = row_put,
    [SQT_ROW_DELETE] = row_delete,
    [SQT_ROW_SCAN] = row_scan,
    [SQT_ORPHANS] = orphans,
    [SQT_HEADS_TAKE] = heads_take,
    [SQT_ROWS_PUT] = rows_put,
    [SQT_HEAD_SEEN] = head_seen,
    [SQT_HEADS_ALL] = heads_all,
    [SQT_HEADS_AFTER] = heads_after,
    [SQT_HEADS_UNSEEN] = heads_unseen,
    [SQT_HEADS_AHEAD] = heads_ahead,
    [SQT_HEADS_LATEST] = heads_latest,
    [SQT_TOMBSTONES] = tombstones,
    [SQT_TOMBSTONES_FORGET] = tombstones_forget,
    [SQT_HEAD_SHOW] = head_show,
};

static sq_prepared *prepared_of(cs_table *t)
{
    if (!t->prepared)
        t->prepared = cs_calloc(1, sizeof(sq_prepared));
    return t->prepared;
}

static int prepare_buf(cs_sqlite *b, cs_buf *sql, sqlite3_stmt **out, csync_error *err)
{
    int rc = cs_buf_check(sql, err);

    if (rc == CSYNC_OK)
        rc = sq_prepare(b, sql->data, out, err);
    cs_buf_free(sql);
    return rc;
}

int sq_table_stmt(cs_sqlite *b, cs_table *t, enum sq_per_table which, sqlite3_stmt **out,
                  csync_error *err)
{
    SQ_API(b);
    sq_prepared *p = prepared_of(t);
    cs_buf sql = {0};
    int rc;

    *out = NULL;
    if (!p)
        return cs_fail_nomem(err);
    if (p->stmts[which]) {
        *out = p->stmts[which];
        sqlite3_reset(*out);
        return CSYNC_OK;
    }
    builders[which](&sql, t);
    rc = prepare_buf(b, &sql, &p->stmts[which], err);
    *out = p->stmts[which];
    return rc;
}

/* Of a default that is no expression in a query (a bare word stands for a text) nothing is known. */
static void put_kept(cs_buf *s, const cs_table *t, const unsigned char *mask, int defaults)
{
    size_t n = 0;

    cs_buf_puts(s, "SELECT ");
    cs_put_key_list(s, t, "");
    cs_buf_puts(s, " FROM ");
    put_main_table(s, t);
    put_row_where(s, t);
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        if (mask[i])
            continue;
        cs_buf_puts(s, n++ ? " OR " : " AND (");
        cs_put_ident(s, c->name);
        cs_buf_printf(s, " IS NOT (%s)", defaults && c->fallback ? c->fallback : "NULL");
    }
    cs_buf_puts(s, n ? ")" : " AND 0");
}

int sq_partial_kept(cs_sqlite *b, cs_table *t, sqlite3_stmt **out, csync_error *err)
{
    SQ_API(b);
    sq_prepared *p = t->prepared;
    cs_buf sql = {0};
    csync_error why = CSYNC_ERROR_INIT;
    int rc = CSYNC_OK;

    if (!p->partial_kept) {
        put_kept(&sql, t, p->partial_mask, 1);
        rc = prepare_buf(b, &sql, &p->partial_kept, &why);
    }
    if (rc == CSYNC_EDB) {
        put_kept(&sql, t, p->partial_mask, 0);
        rc = prepare_buf(b, &sql, &p->partial_kept, &why);
    }
    if (rc != CSYNC_OK)
        cs_error_copy(err, &why);
    *out = p->partial_kept;
    sqlite3_reset(*out);
    return rc;
}

int sq_partial_put(cs_sqlite *b, cs_table *t, sqlite3_stmt **out, csync_error *err)
{
    SQ_API(b);
    sq_prepared *p = prepared_of(t);
    cs_buf sql = {0};

    *out = NULL;
    if (!p || (!p->partial_mask && !(p->partial_mask = cs_calloc(t->count, 1))))
        return cs_fail_nomem(err);
    if (!p->partial || memcmp(p->partial_mask, b->present, t->count) != 0) {
        sqlite3_finalize(p->partial);
        sqlite3_finalize(p->partial_kept);
        p->partial = p->partial_kept = NULL;
        memcpy(p->partial_mask, b->present, t->count);
        put_upsert(&sql, t, b->present, 1);
        int rc = prepare_buf(b, &sql, &p->partial, err);
        if (rc != CSYNC_OK)
            return rc;
    }
    *out = p->partial;
    sqlite3_reset(*out);
    return CSYNC_OK;
}

void sq_forget_table(cs_sqlite *b, cs_table *t)
{
    SQ_API(b);
    sq_prepared *p = t ? t->prepared : NULL;

    if (p) {
        for (int i = 0; i < SQT_COUNT; i++)
            sqlite3_finalize(p->stmts[i]);
        sqlite3_finalize(p->partial);
        sqlite3_finalize(p->partial_kept);
        cs_free(p->partial_mask);
        cs_free(p);
    }
    cs_table_destroy(t);
}

void sq_forget_all(cs_sqlite *b)
{
    for (size_t i = 0; i < b->base.table_count; i++)
        sq_forget_table(b, b->base.tables[i]);
    cs_free(b->base.tables);
    b->base.tables = NULL;
    b->base.table_count = 0;
    b->schema_version = -1;
    b->tables_are_new = 1;
}

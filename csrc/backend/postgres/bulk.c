/* bulk.c - many changes in one statement: heads, log entries and rows of all tables, so that foreign keys may be satisfied
 * in any order.
 *
 * Only the usual case is handled here. A row that is refused, a value that its column may not hold as it is, an edit of a
 * local writer meanwhile: then nothing has happened, and merge.c looks for the change and treats it singly. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"
#include "codec/row.h"

enum { MAX_GROUPS = 16 };
enum { KEY, TS, ORIGIN, SEQ, OPERATION, PAYLOAD, TIME, FIXED };

/* Changes to one table that have the same columns. Its arrays are in the order of `items`. */
typedef struct group {
    cs_table *table;
    unsigned char *present;
    cs_buf fixed[FIXED];
    cs_buf *columns;
    cs_item **items;
    size_t count;
    int reads_back; /* the rows are read again: a column may have made something else of its value */
    int whole; /* the changes have every column */
    int force; /* they win whatever the heads are */
} group;

typedef struct bulk {
    cs_pg *b;
    const cs_merge *how;
    int deletes, rows_only;
    size_t limit; /* of changes */
    group groups[MAX_GROUPS];
    size_t group_count;
    cs_buf sql, text;
    const char **params;
    int param_count;
    int refused; /* what PostgreSQL has refused is the fault of a row */
    PGresult *seen; /* local edits before the statement */
} bulk;

/* ---- what goes along ------------------------------------------------------------------------------------ */

/* A text in exponent form has an unknown number of digits. */
static int fits_scale(const cs_value *v, long scale)
{
    const char *point;

    if (scale < 0 || v->type == CS_INT)
        return scale >= -1;
    if (!v->text || memchr(v->text, 'e', v->len) || memchr(v->text, 'E', v->len))
        return 0;
    point = memchr(v->text, '.', v->len);
    return !point || v->text + v->len - point - 1 <= scale;
}

/* Whether the column holds the value as it is, or refuses it. 0: it has to be looked at. */
static int is_exact(enum pg_kind kind, const pg_column *c, const cs_value *v)
{
    static const int64_t whole_doubles = INT64_C(1) << 53;

    if (v->type == CS_NULL)
        return 1;
    switch (kind) {
    case PG_INT:
    case PG_BOOL:
        return v->type == CS_INT || v->type == CS_BOOL;
    case PG_FLOAT:
        return !c->single &&
               (v->type == CS_REAL ||
                (v->type == CS_INT && v->integer <= whole_doubles && v->integer >= -whole_doubles));
    case PG_NUMERIC:
        return (v->type == CS_INT || v->type == CS_REAL) && fits_scale(v, c->scale);
    case PG_TEXT: /* spaces beyond the length are cut off without a word */
        return v->type == CS_TEXT &&
               (c->length < 0 || !v->len || v->text[v->len - 1] != ' ' || (long)v->len <= c->length);
    case PG_BYTEA:
        return v->type == CS_BLOB;
    case PG_TIMESTAMPTZ:
    case PG_TIMESTAMP:
    case PG_DATE:
    case PG_UUID:
        return v->type == CS_TEXT && !c->rounds && pg_is_own_spelling(kind, v);
    default: /* PostgreSQL may spell it otherwise */
        return 0;
    }
}

static void free_group(group *g)
{
    for (int i = 0; i < FIXED; i++)
        cs_buf_free(&g->fixed[i]);
    for (size_t i = 0; g->columns && i < g->table->count; i++)
        cs_buf_free(&g->columns[i]);
    cs_free(g->columns);
    cs_free(g->present);
    cs_free(g->items);
}

/* A delete has the columns of the key. */
static void set_present(bulk *k, const cs_table *t)
{
    if (!k->deletes)
        return;
    memset(k->b->present, 0, t->count);
    for (size_t i = 0; i < t->key_count; i++) {
        k->b->present[t->key[i]] = 1;
        k->b->cells[t->key[i]] = k->b->key[i];
    }
}

static int start_group(bulk *k, cs_table *t, int force, group **out, csync_error *err)
{
    group *g = &k->groups[k->group_count];

    g->table = t;
    g->force = force;
    g->columns = cs_calloc(t->count, sizeof *g->columns);
    g->present = cs_calloc(t->count, 1);
    g->items = cs_calloc(k->limit, sizeof(cs_item *));
    k->group_count++;
    if (!g->columns || !g->present || !g->items)
        return cs_fail_nomem(err);
    memcpy(g->present, k->b->present, t->count);
    g->reads_back = ((pg_table *)t->prepared)->reads_back && !k->deletes;
    g->whole = memchr(g->present, 0, t->count) == NULL;
    *out = g;
    return CSYNC_OK;
}

/* *out NULL: there are too many. */
static int find_group(bulk *k, cs_table *t, int force, group **out, csync_error *err)
{
    *out = NULL;
    for (size_t i = k->group_count; i > 0 && !*out; i--)
        if (k->groups[i - 1].table == t && k->groups[i - 1].force == force &&
            memcmp(k->groups[i - 1].present, k->b->present, t->count) == 0)
            *out = &k->groups[i - 1];
    return *out || k->group_count == MAX_GROUPS ? CSYNC_OK : start_group(k, t, force, out, err);
}

static void add_fixed(bulk *k, group *g, const cs_change *c)
{
    pg_array_add(&g->fixed[KEY], k->b->pk.data);
    pg_array_add_int(&g->fixed[TS], c->ts);
    pg_array_add(&g->fixed[ORIGIN], c->pub.origin);
    pg_array_add_int(&g->fixed[SEQ], c->pub.seq);
    if (!k->how->relay)
        return;
    pg_array_add(&g->fixed[OPERATION], cs_operation_name(c->pub.operation));
    pg_array_add(&g->fixed[PAYLOAD], c->pub.payload);
    pg_array_add(&g->fixed[TIME], c->pub.timestamp);
}

static void add_columns(bulk *k, group *g)
{
    cs_pg *b = k->b;
    const pg_table *p = g->table->prepared;
    const char *ignored;

    for (size_t i = 0; i < g->table->count; i++) {
        if (!g->present[i])
            continue;
        cs_buf_clear(&k->text);
        pg_put_param(&k->text, p->kinds[i], &b->cells[i], &ignored);
        if (k->text.failed)
            g->columns[i].failed = k->text.failed;
        else
            pg_array_add(&g->columns[i], b->cells[i].type == CS_NULL ? NULL : k->text.data);
        g->reads_back |= !is_exact(p->kinds[i], &p->columns[i], &b->cells[i]);
    }
}

/* *fits 0: the change is none of the usual ones. */
static int decode(bulk *k, const cs_item *item, int *fits, csync_error *err)
{
    cs_pg *b = k->b;
    cs_table *t = item->table;
    const cs_change *c = item->change;
    const pg_table *p;
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    int rc;

    *fits = 0;
    if (!t || item->local || (c->pub.operation == CSYNC_DELETE) != k->deletes)
        return CSYNC_OK;
    p = t->prepared;
    if (k->deletes && t->acts_on_delete)
        return CSYNC_OK;
    rc = pg_read_key(b, t, c->pub.pk, &reason, &why);
    if (rc == CSYNC_OK && !reason && !k->deletes)
        rc = cs_row_check(c->pub.payload, c->payload_len, 1, &why);
    if (rc == CSYNC_OK && !reason && !k->deletes)
        rc = pg_read_payload(b, t, c->pub.payload, c->payload_len, &why);
    if (rc == CSYNC_EINVAL || rc == CSYNC_ESCHEMA || reason)
        return CSYNC_OK;
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    set_present(k, t);
    cs_buf_clear(&k->text);
    for (size_t i = 0; i < t->count && !reason; i++)
        if (b->present[i])
            pg_put_param(&k->text, p->kinds[i], &b->cells[i], &reason);
    *fits = !reason;
    return cs_buf_check(&k->text, err);
}

static int add_change(bulk *k, cs_item *item, int *fits, csync_error *err)
{
    group *g = NULL;
    int rc = decode(k, item, fits, err);

    if (rc != CSYNC_OK || !*fits)
        return rc;
    rc = find_group(k, item->table, item->force, &g, err);
    *fits = g != NULL;
    if (rc != CSYNC_OK || !g)
        return rc;
    if (!k->deletes)
        pg_note_sequences(k->b, g->table);
    add_fixed(k, g, item->change);
    add_columns(k, g);
    g->items[g->count++] = item;
    return CSYNC_OK;
}

/* ---- the statement -------------------------------------------------------------------------------------- */

static void put_array(bulk *k, const char *type, cs_buf *array)
{
    const char *text = pg_array_text(array);
    int first = !k->sql.failed && k->sql.data[k->sql.len - 1] == '(';

    if (!text)
        k->sql.failed = array->failed;
    k->params[k->param_count++] = text;
    cs_buf_printf(&k->sql, "%s$%d::%s[]", first ? "" : ",", k->param_count, type);
}

/* g: the changes as they came, n: which. Versions are given out group after group: whoever reads the log finds parents
 * first. */
static void put_given(bulk *k, size_t at)
{
    static const char *const types[FIXED] = {"text", "bigint", "text", "bigint",
                                             "text", "text",   "text"};
    static const char *const names[FIXED] = {"k", "t", "o", "s", "w", "y", "z"};
    group *g = &k->groups[at];
    const pg_table *p = g->table->prepared;
    int last = k->how->relay ? FIXED : OPERATION;

    cs_buf_printf(&k->sql, "%sg%zu AS MATERIALIZED (SELECT u.*,%s AS v FROM unnest(",
                  at ? "," : "WITH ", at,
                  k->how->relay && !k->rows_only ? "nextval('csync._sync_log_version_seq')" : "0");
    for (int i = 0; i < last; i++)
        put_array(k, types[i], &g->fixed[i]);
    for (size_t i = 0; i < g->table->count; i++)
        if (g->present[i])
            put_array(k, pg_param_type(p->kinds[i]), &g->columns[i]);
    cs_buf_puts(&k->sql, ") WITH ORDINALITY u(k");
    for (int i = 1; i < last; i++)
        cs_buf_printf(&k->sql, ",%s", names[i]);
    for (size_t i = 0; i < g->table->count; i++)
        if (g->present[i])
            cs_buf_printf(&k->sql, ",c%zu", i);
    cs_buf_puts(&k->sql, ",n)");
    if (at)
        cs_buf_printf(&k->sql, " WHERE (SELECT count(*) FROM g%zu)>=0", at - 1);
    cs_buf_puts(&k->sql, ")");
}

/* h: the heads that were taken. */
static void put_heads(bulk *k, size_t at)
{
    int state = (k->deletes ? PG_DELETED : 0) | (k->how->agreed ? PG_AGREED : 0);

    cs_buf_printf(&k->sql, ",h%zu AS (" PG_TAKE_HEAD "SELECT %lld,k,v,t,o,s,%d,%lld FROM g%zu", at,
                  (long long)k->groups[at].table->id, state, (long long)k->how->via, at);
    cs_buf_puts(&k->sql, PG_TAKE_CONFLICT);
    cs_buf_puts(&k->sql, k->groups[at].force ? "true" : PG_BEATS);
    cs_buf_puts(&k->sql, " RETURNING r.pk,r.parked)");
}

static void put_winners(bulk *k, size_t at)
{
    cs_buf_printf(&k->sql, " FROM g%zu g", at);
    if (!k->rows_only)
        cs_buf_printf(&k->sql, " WHERE k IN (SELECT pk FROM h%zu)", at);
}

static void put_log(bulk *k, size_t at)
{
    cs_buf_printf(&k->sql,
                  ",l%zu AS (INSERT INTO csync._sync_log(version,table_name,pk_value,operation,payload,"
                  "origin,timestamp,seq,ts) SELECT v,",
                  at);
    cs_put_literal(&k->sql, k->groups[at].table->name);
    cs_buf_puts(&k->sql, ",k,w,y,o,z,s,t");
    put_winners(k, at);
    cs_buf_puts(&k->sql, ")");
}

static void put_rows(bulk *k, size_t at)
{
    const group *g = &k->groups[at];
    const pg_table *p = g->table->prepared;
    int n = 0;

    memcpy(k->b->present, g->present, g->table->count);
    cs_buf_printf(&k->sql, ",w%zu AS (", at);
    pg_put_insert(k->b, g->table, &k->sql);
    cs_buf_puts(&k->sql, " SELECT ");
    for (size_t i = 0; i < g->table->count; i++) {
        if (!g->present[i])
            continue;
        cs_buf_printf(&k->sql, "%sc%zu", n++ ? "," : "", i);
        if (p->kinds[i] >= PG_OTHER)
            cs_buf_printf(&k->sql, "::%s", p->columns[i].cast);
    }
    put_winners(k, at);
    pg_put_conflict(k->b, g->table, &k->sql);
    if (g->reads_back || !g->whole || p->moving_sql) {
        cs_buf_printf(&k->sql, " RETURNING %s AS k,%s AS row,%s AS moving,", p->key_sql,
                      g->reads_back ? p->row_sql : "NULL", p->moving_sql ? p->moving_sql : "NULL");
        pg_put_kept(k->b, g->table, &k->sql);
        cs_buf_puts(&k->sql, " AS kept");
    }
    cs_buf_puts(&k->sql, ")");
}

/* x is the row of the change g. */
static void put_same_key(bulk *k, const group *g)
{
    const pg_table *p = g->table->prepared;

    for (size_t i = 0; i < g->table->key_count; i++) {
        size_t column = g->table->key[i];

        cs_buf_puts(&k->sql, i ? " AND x." : "x.");
        cs_put_ident(&k->sql, g->table->columns[column].name);
        cs_buf_printf(&k->sql, "=g.c%zu", column);
        if (p->kinds[column] >= PG_OTHER)
            cs_buf_printf(&k->sql, "::%s", p->columns[column].cast);
    }
}

static void put_deletes(bulk *k, size_t at)
{
    const group *g = &k->groups[at];
    const pg_table *p = g->table->prepared;

    cs_buf_printf(&k->sql,
                  ",w%zu AS (DELETE FROM %s x USING g%zu g WHERE g.k IN (SELECT pk FROM h%zu) AND ",
                  at, p->name, at, at);
    put_same_key(k, g);
    cs_buf_puts(&k->sql, ")");
}

/* Rows of the statement that others follow, and that were otherwise before it: it sees them as they were. Looked up by the
 * index (LATERAL, LIMIT), as in rows.c. */
static void put_moving(bulk *k, size_t at)
{
    const group *g = &k->groups[at];
    const pg_table *p = g->table->prepared;

    cs_buf_printf(&k->sql,
                  " UNION ALL SELECT 'm',%zu,'',NULL,false FROM g%zu g CROSS JOIN LATERAL (SELECT %s AS "
                  "moving FROM %s x WHERE ",
                  at, at, p->moving_sql, p->name);
    put_same_key(k, g);
    cs_buf_printf(&k->sql, " LIMIT 1) o JOIN w%zu w ON w.k=g.k WHERE w.moving<>o.moving", at);
}

/* What is not as usual comes back: l: a change that has lost, p: a head whose row is parked, r: a row as it is now, m: one
 * that others follow. */
static void put_answer(bulk *k)
{
    const char *join = " ";

    for (size_t at = 0; at < k->group_count; at++) {
        const group *g = &k->groups[at];

        if (!k->rows_only)
            cs_buf_printf(
                &k->sql,
                "%sSELECT 'l',%zu,n::text,NULL::text,false FROM g%zu WHERE k NOT IN (SELECT pk FROM "
                "h%zu) UNION ALL SELECT 'p',%zu,pk,NULL,false FROM h%zu WHERE parked<>0",
                join, at, at, at, at, at);
        else
            cs_buf_printf(&k->sql, "%sSELECT 'n',%zu,'',NULL::text,false WHERE false", join, at);
        if (!k->deletes && (g->reads_back || !g->whole))
            cs_buf_printf(&k->sql, " UNION ALL SELECT 'r',%zu,k,row,kept FROM w%zu", at, at);
        if (!k->deletes && ((pg_table *)g->table->prepared)->moving_sql)
            put_moving(k, at);
        join = " UNION ALL ";
    }
}

static int put_statement(bulk *k, csync_error *err)
{
    size_t most = 0;

    for (size_t at = 0; at < k->group_count; at++)
        most += FIXED + k->groups[at].table->count;
    k->params = cs_calloc(most, sizeof *k->params);
    if (!k->params)
        return cs_fail_nomem(err);
    for (size_t at = 0; at < k->group_count; at++)
        put_given(k, at);
    for (size_t at = 0; at < k->group_count; at++) {
        if (!k->rows_only)
            put_heads(k, at);
        if (k->how->relay && !k->rows_only)
            put_log(k, at);
        if (k->deletes)
            put_deletes(k, at);
        else
            put_rows(k, at);
    }
    put_answer(k);
    return cs_buf_check(&k->sql, err);
}

/* ---- local writers -------------------------------------------------------------------------------------- */

/* The newest local edits, beyond the horizon, of the rows: group, number and version. */
static int edits(bulk *k, PGresult **out, csync_error *err)
{
    static const char sql[] =
        "SELECT u.n,max(l.version) FROM unnest($1::text[],$2::text[]) WITH ORDINALITY u(t,k,n) JOIN LATERAL "
        "(SELECT version FROM csync._sync_log e WHERE e.pk_value=u.k AND e.table_name=u.t AND "
        "e.version>$3::bigint AND e.origin IS NULL ORDER BY e.version DESC LIMIT 1) l ON true GROUP BY u.n "
        "ORDER BY u.n";
    cs_buf tables = {0}, keys = {0};
    pg_args a = {.count = 0};
    int rc = CSYNC_OK;

    for (size_t at = 0; at < k->group_count; at++)
        for (size_t i = 0; i < k->groups[at].count && rc == CSYNC_OK; i++) {
            const char *ignored;

            rc = pg_read_key(k->b, k->groups[at].table, k->groups[at].items[i]->change->pub.pk,
                             &ignored, err);
            pg_array_add(&tables, k->groups[at].table->name);
            pg_array_add(&keys, k->b->pk.data);
        }
    pg_text(&a, pg_array_text(&tables));
    pg_text(&a, pg_array_text(&keys));
    pg_int(&a, k->b->top);
    if (rc == CSYNC_OK && (!a.values[0] || !a.values[1]))
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK)
        rc = pg_run(k->b, sql, &a, out, err);
    cs_buf_free(&tables);
    cs_buf_free(&keys);
    return rc;
}

/* *any: there are local edits beyond the horizon. They are of writers that are at work now. */
static int any_edits(cs_pg *b, int *any, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t one;

    pg_int(&a, b->top);
    return pg_query_int(b,
                        "SELECT 1 FROM csync._sync_log WHERE version>$1 AND origin IS NULL ORDER BY "
                        "version LIMIT 1",
                        &a, &one, any, err);
}

/* The heads know of every edit that is there now. */
static int know_edits(bulk *k, csync_error *err)
{
    int any = 0;
    int rc = any_edits(k->b, &any, err);

    if (rc != CSYNC_OK || !any)
        return rc;
    rc = edits(k, &k->seen, err);
    return rc == CSYNC_OK ? pg_fold(&k->b->base, err) : rc;
}

/* *raced 1: somebody has edited one of the rows since. */
static int find_race(bulk *k, int *raced, csync_error *err)
{
    cs_pg *b = k->b;
    PGresult *now = NULL;
    int rc = any_edits(b, raced, err), known = k->seen ? pg_rows(b, k->seen) : 0, i = 0;

    if (rc != CSYNC_OK || !*raced)
        return rc;
    *raced = 0;
    rc = edits(k, &now, err);
    for (int n = 0; rc == CSYNC_OK && n < pg_rows(b, now); n++) {
        while (i < known && pg_cell_int(b, k->seen, i, 0) < pg_cell_int(b, now, n, 0))
            i++;
        *raced |= i == known || pg_cell_int(b, k->seen, i, 0) != pg_cell_int(b, now, n, 0) ||
                  pg_cell_int(b, k->seen, i, 1) != pg_cell_int(b, now, n, 1);
    }
    pg_clear(b, now);
    return rc;
}

/* ---- the answer ----------------------------------------------------------------------------------------- */

/* The change of that key: rows come back in the order in which they were given, or nearly. */
static cs_item *item_of(bulk *k, const group *g, const char *pk, size_t *from, csync_error *err)
{
    for (size_t i = 0; i < g->count; i++) {
        cs_item *item = g->items[(*from + i) % g->count];
        const char *ignored;

        if (pg_read_key(k->b, g->table, item->change->pub.pk, &ignored, err) != CSYNC_OK)
            return NULL;
        if (strcmp(k->b->pk.data, pk) == 0) {
            *from = *from + i + 1;
            return item;
        }
    }
    return NULL;
}

/* *same 0: a column has made another value of what it was given. */
static int look_at_row(bulk *k, const group *g, const PGresult *r, int row, size_t *from, int *same,
                       csync_error *err)
{
    cs_pg *b = k->b;
    const char *pk = pg_cell(b, r, row, 2), *payload = pg_cell(b, r, row, 3);
    cs_item *item = item_of(k, g, pk, from, err);
    csync_error ignored = CSYNC_ERROR_INIT;
    int rc = CSYNC_OK, ours = pg_cell(b, r, row, 4)[0] == 't';
    const char *reason = NULL;

    *same = item != NULL;
    if (item && payload) {
        rc = pg_read_payload(b, g->table, item->change->pub.payload, item->change->payload_len, err);
        if (rc == CSYNC_OK)
            rc = pg_check_row(b, g->table, payload, &ours, &reason, &ignored);
        *same = reason == NULL;
    }
    if (rc == CSYNC_OK && *same && ours)
        rc = pg_own_add(b, g->table, pk, err);
    return rc;
}

static int look_at_rows(bulk *k, const PGresult *r, csync_error *err)
{
    size_t from = 0;
    int rc = CSYNC_OK, same = 1;

    for (int i = 0; rc == CSYNC_OK && same && i < pg_rows(k->b, r); i++)
        if (pg_cell(k->b, r, i, 0)[0] == 'r')
            rc = look_at_row(k, &k->groups[pg_cell_int(k->b, r, i, 1)], r, i, &from, &same, err);
        else
            same = pg_cell(k->b, r, i, 0)[0] != 'm'; /* merge.c notes who follows */
    k->refused |= rc == CSYNC_OK && !same;
    return rc;
}

/* Every change has won, but for those of the answer, whose status stays 0. A head's row that was parked is in its table. */
static int take_answer(bulk *k, const PGresult *r, csync_error *err)
{
    cs_pg *b = k->b;
    const char *reason;
    int rc = CSYNC_OK;

    for (size_t at = 0; at < k->group_count; at++)
        for (size_t i = 0; i < k->groups[at].count; i++)
            k->groups[at].items[i]->status = CSYNC_APPLIED;
    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        group *g = &k->groups[pg_cell_int(b, r, i, 1)];

        if (pg_cell(b, r, i, 0)[0] == 'l')
            g->items[pg_cell_int(b, r, i, 2) - 1]->status = 0;
        if (pg_cell(b, r, i, 0)[0] != 'p')
            continue;
        rc = pg_read_key(b, g->table, pg_cell(b, r, i, 2), &reason, err);
        if (rc == CSYNC_OK)
            rc = pg_park_supersede(b, g->table, err);
    }
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------------------ */

/* 21000: two changes to one row. 54: more columns than a statement takes. */
static int is_rows_fault(const cs_pg *b)
{
    return pg_reason(b) || strcmp(b->sqlstate, "21000") == 0 || strncmp(b->sqlstate, "54", 2) == 0;
}

static int run(bulk *k, PGresult **r, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc;

    k->b->sqlstate[0] = 0;
    rc = pg_run_many(k->b, k->sql.data, k->params, k->param_count, r, &why);
    k->refused = rc == CSYNC_EDB && is_rows_fault(k->b);
    if (rc != CSYNC_OK && !k->refused)
        cs_error_copy(err, &why);
    return k->refused ? CSYNC_OK : rc;
}

/* A resolver's decision has not seen the edits that were just found: merge.c looks which of the rows they are of. */
static int has_blind_decision(const bulk *k)
{
    int forced = 0;

    for (size_t i = 0; i < k->group_count; i++)
        forced |= k->groups[i].force;
    return forced && k->seen && pg_rows(k->b, k->seen) > 0;
}

static int attempt(bulk *k, csync_error *err)
{
    PGresult *r = NULL;
    int rc = pg_exec(k->b, "SAVEPOINT csync_bulk", err), raced = 0;
    size_t own = k->b->own_count;

    if (rc == CSYNC_OK && !k->rows_only)
        rc = know_edits(k, err);
    k->refused = has_blind_decision(k);
    if (rc == CSYNC_OK && !k->refused && k->how->relay)
        rc = pg_enter_log(k->b, err);
    if (rc == CSYNC_OK && !k->refused)
        rc = run(k, &r, err);
    if (rc == CSYNC_OK && !k->refused)
        rc = look_at_rows(k, r, err);
    if (rc == CSYNC_OK && !k->refused && !k->rows_only)
        rc = find_race(k, &raced, err);
    k->refused |= raced;
    if (rc == CSYNC_OK && !k->refused)
        rc = take_answer(k, r, err);
    if (k->refused)
        pg_own_cut(k->b, own);
    if (rc == CSYNC_OK && k->refused)
        rc = pg_exec(k->b, "ROLLBACK TO SAVEPOINT csync_bulk", err);
    pg_clear(k->b, r);
    return rc == CSYNC_OK ? pg_exec(k->b, "RELEASE SAVEPOINT csync_bulk", err) : rc;
}

int pg_bulk(cs_pg *b, cs_item *items, const size_t *order, size_t count, const cs_merge *how,
            int rows_only, size_t *tried, int *done, csync_error *err)
{
    bulk k = {.b = b, .how = how, .limit = count, .rows_only = rows_only};
    int fits = 1;
    int rc = CSYNC_OK;

    k.deletes = items[order[0]].change->pub.operation == CSYNC_DELETE;
    *done = 0;
    for (*tried = 0; rc == CSYNC_OK && fits && *tried < count; *tried += fits)
        rc = add_change(&k, &items[order[*tried]], &fits, err);
    if (rc == CSYNC_OK && *tried > 1 && (!rows_only || *tried == count)) {
        rc = put_statement(&k, err);
        if (rc == CSYNC_OK)
            rc = attempt(&k, err);
        *done = rc == CSYNC_OK && !k.refused;
    }
    for (size_t i = 0; i < k.group_count; i++)
        free_group(&k.groups[i]);
    pg_clear(b, k.seen);
    cs_free(k.params);
    cs_buf_free(&k.sql);
    cs_buf_free(&k.text);
    return rc;
}

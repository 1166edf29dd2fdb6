/* describe.c - the catalogue. Names are exact; a table outside the schema public is named SCHEMA.TABLE. */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

void pg_forget_table(cs_table *t)
{
    pg_table *p = t ? t->prepared : NULL;

    if (p) {
        for (size_t i = 0; i < t->count; i++) {
            cs_free(p->columns[i].cast);
            cs_free(p->columns[i].sequence);
        }
        cs_free(p->columns);
        cs_free(p->kinds);
        cs_free(p->name);
        for (size_t i = 0; i < p->part_count; i++)
            cs_free(p->parts[i]);
        cs_free(p->parts);
        cs_free(p->holds_rows);
        cs_free(p->shape);
        cs_free(p->row_sql);
        cs_free(p->key_sql);
        cs_free(p->order_sql);
        cs_free(p->moving_sql);
        cs_free(p);
    }
    cs_table_destroy(t);
}

void pg_forget_all(cs_pg *b)
{
    for (size_t i = 0; i < b->base.table_count; i++)
        pg_forget_table(b->base.tables[i]);
    cs_free(b->base.tables);
    b->base.tables = NULL;
    b->base.table_count = 0;
    b->schema[0] = 0;
    b->tables_are_new = 1;
}

/* Why it cannot be tracked; columns: oid, kind, root of the partition, persistence, whether rows are inherited, name, the
 * GRANT without which its schema is closed to this role. */
static int check_kind(cs_pg *b, const PGresult *r, const char *table, csync_error *err)
{
    const char *root = pg_cell(b, r, 0, 2);

    if (root)
        return cs_fail(err, CSYNC_ESCHEMA, "\"%s\" is a partition; track \"%s\"", table, root);
    if (!strchr("rp", pg_cell(b, r, 0, 1)[0]))
        return cs_fail(err, CSYNC_ESCHEMA, "\"%s\" is no table", table);
    if (pg_cell(b, r, 0, 3)[0] == 't')
        return cs_fail(err, CSYNC_ESCHEMA, "\"%s\" is temporary", table);
    if (pg_cell(b, r, 0, 4)[0] == 't')
        return cs_fail(err, CSYNC_ESCHEMA,
                       "\"%s\" inherits or is inherited from, so its rows have no one key; use "
                       "partitions",
                       table);
    if (pg_cell(b, r, 0, 6))
        return cs_fail(err, CSYNC_EDB, "this role may not track this table; what helps: %s",
                       pg_cell(b, r, 0, 6));
    return CSYNC_OK;
}

static int find(cs_pg *b, const char *table, char oid[24], cs_buf *name, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_text(&a, table);
    rc = pg_run(
        b,
        "SELECT c.oid,c.relkind,CASE WHEN c.relispartition THEN (SELECT " PG_WIRE_NAME_OF(
            "q", "m") " FROM pg_class q JOIN pg_namespace m ON m.oid=q.relnamespace WHERE "
                      "q.oid=pg_partition_root(c.oid)) END,c.relpersistence,c.relkind='r' AND NOT "
                      "c.relispartition AND EXISTS(SELECT 1 FROM pg_inherits i WHERE c.oid IN "
                      "(i.inhrelid,i.inhparent)),quote_ident(n.nspname)||'.'||quote_ident(c.relname),"
                      "CASE WHEN NOT has_schema_privilege(n.oid,'USAGE') THEN 'GRANT USAGE ON SCHEMA '||"
                      "quote_ident(n.nspname)||' TO '||quote_ident(current_user) END FROM "
                      "pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace WHERE c.relkind IN "
                      "('r','p','v','m','f') AND n.nspname<>'csync' AND " PG_WIRE_NAME
                      "=$1 ORDER BY n.nspname='public' DESC LIMIT 1",
        &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r) == 0)
        rc = cs_fail(err, CSYNC_ENOTFOUND,
                     "there is no table \"%s\" (outside the schema public: SCHEMA.TABLE)", table);
    if (rc == CSYNC_OK)
        rc = check_kind(b, r, table, err);
    if (rc == CSYNC_OK) {
        const char *text = pg_cell(b, r, 0, 0);

        memcpy(oid, text, strlen(text) + 1);
        cs_buf_puts(name, pg_cell(b, r, 0, 5));
    }
    pg_clear(b, r);
    return rc;
}

/* A numeric that is declared wider than a double is text on every side. */
static int is_wide(const char *declared)
{
    const char *digits = strchr(declared, '('), *scale = strchr(declared, ',');

    return digits && scale && strtol(digits + 1, NULL, 10) > 15 && strtol(scale + 1, NULL, 10) > 0;
}

static enum pg_kind kind_of(const char *type, const char *declared)
{
    static const struct {
        const char *type;
        enum pg_kind kind;
    } kinds[] = {{"int2", PG_INT},
                 {"int4", PG_INT},
                 {"int8", PG_INT},
                 {"numeric", PG_NUMERIC},
                 {"float4", PG_FLOAT},
                 {"float8", PG_FLOAT},
                 {"bool", PG_BOOL},
                 {"text", PG_TEXT},
                 {"varchar", PG_TEXT},
                 {"bytea", PG_BYTEA},
                 {"uuid", PG_UUID},
                 {"inet", PG_INET},
                 {"jsonb", PG_JSONB},
                 {"timestamptz", PG_TIMESTAMPTZ},
                 {"timestamp", PG_TIMESTAMP},
                 {"date", PG_DATE},
                 {"time", PG_TIME}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].kind == PG_NUMERIC && is_wide(declared) ? PG_WIDE : kinds[i].kind;
    return PG_OTHER;
}

static enum cs_affinity affinity_of(enum pg_kind kind)
{
    static const enum cs_affinity affinities[] = {
        [PG_INT] = CS_AFF_INTEGER,  [PG_NUMERIC] = CS_AFF_NUMERIC, [PG_FLOAT] = CS_AFF_REAL,
        [PG_BOOL] = CS_AFF_NUMERIC, [PG_TEXT] = CS_AFF_TEXT,       [PG_BYTEA] = CS_AFF_BLOB};

    return kind < PG_OTHER ? affinities[kind] : CS_AFF_TEXT;
}

/* Their texts are the locale's or the search path's. */
static int has_no_text_of_its_own(const char *type)
{
    type += *type == '_'; /* an array of them */
    return strcmp(type, "money") == 0 || strncmp(type, "reg", 3) == 0;
}

/* How much of a value the column keeps. */
static void read_limits(pg_column *c, enum pg_kind kind, const char *type, const char *declared)
{
    const char *open = strchr(declared, '('), *comma = strchr(declared, ',');

    c->single = strcmp(type, "float4") == 0;
    c->rounds = kind >= PG_TIMESTAMPTZ && open;
    c->length = kind == PG_TEXT && open ? strtol(open + 1, NULL, 10) : -1;
    c->scale = kind == PG_NUMERIC && open ? (comma ? strtol(comma + 1, NULL, 10) : 0) : -1;
}

static int add_column(cs_pg *b, cs_table *t, const PGresult *r, int row, csync_error *err)
{
    pg_table *p = t->prepared;
    cs_column *c = &t->columns[t->count];
    pg_column *more = &p->columns[t->count];
    const char *type = pg_cell(b, r, row, 2);

    if (has_no_text_of_its_own(type))
        return cs_fail(
            err, CSYNC_ESCHEMA,
            "column \"%s\" of \"%s\" is %s, whose text depends on settings; use another type",
            pg_cell(b, r, row, 0), t->name, pg_cell(b, r, row, 1));
    c->name = cs_strdup(pg_cell(b, r, row, 0));
    c->type = cs_strdup(pg_cell(b, r, row, 1));
    c->collation = cs_strdup("C");
    p->kinds[t->count] = kind_of(type, pg_cell(b, r, row, 6));
    c->affinity = affinity_of(p->kinds[t->count]);
    c->key = (size_t)pg_cell_int(b, r, row, 3);
    c->fallback = pg_cell(b, r, row, 5) ? cs_strdup(pg_cell(b, r, row, 5)) : NULL;
    more->cast = cs_strdup(pg_cell(b, r, row, 7));
    more->sequence = pg_cell(b, r, row, 4) ? cs_strdup(pg_cell(b, r, row, 4)) : NULL;
    p->has_sequence |= pg_cell(b, r, row, 4) != NULL;
    p->reads_back |= pg_cell(b, r, row, 8)[0] == 't';
    read_limits(more, p->kinds[t->count], type, pg_cell(b, r, row, 6));
    t->count++;
    if (!c->name || !c->type || !c->collation || !more->cast ||
        (pg_cell(b, r, row, 5) && !c->fallback) || (pg_cell(b, r, row, 4) && !more->sequence))
        return cs_fail_nomem(err);
    if (c->key)
        t->key_count++;
    return CSYNC_OK;
}

static int read_columns(cs_pg *b, cs_table *t, const char *oid, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc, n;

    pg_text(&a, oid);
    rc = pg_run(
        b,
        "SELECT a.attname,format_type(a.atttypid,a.atttypmod),CASE WHEN y.typnamespace="
        "'pg_catalog'::regnamespace THEN y.typname ELSE '' END,"
        "coalesce(array_position(i.indkey::int[],a.attnum::int)+1,0),"
        "pg_get_serial_sequence(c.oid::regclass::text,a.attname),"
        /* what calls a function is no constant */
        "CASE WHEN strpos(d.text,'(')=0 THEN d.text END,format_type(y.oid,y.typmod),"
        "format_type(y.oid,-1),EXISTS(SELECT 1 FROM pg_trigger g WHERE g.tgrelid=c.oid AND " PG_CHANGES_ROWS
        ") "
        "FROM pg_attribute a JOIN pg_class c ON c.oid=a.attrelid "
        "LEFT JOIN LATERAL (SELECT pg_get_expr(f.adbin,f.adrelid) AS text FROM pg_attrdef f WHERE "
        "f.adrelid=a.attrelid AND f.adnum=a.attnum) d ON true "
        /* what a domain is made of */
        "CROSS JOIN LATERAL (WITH RECURSIVE u AS (SELECT oid,typname,typnamespace,typtype,typbasetype,"
        "a.atttypmod AS typmod,typtypmod FROM pg_type WHERE oid=a.atttypid UNION ALL SELECT y.oid,y.typname,"
        "y.typnamespace,y.typtype,y.typbasetype,u.typtypmod,y.typtypmod FROM u JOIN pg_type y ON "
        "u.typtype='d' AND y.oid=u.typbasetype) SELECT * FROM u WHERE typtype<>'d') y "
        "LEFT JOIN pg_index i ON i.indrelid=a.attrelid AND i.indisprimary "
        "WHERE a.attrelid=$1::oid AND a.attnum>0 AND NOT a.attisdropped AND "
        "a.attgenerated='' ORDER BY a.attnum",
        &a, &r, err);
    n = rc == CSYNC_OK ? pg_rows(b, r) : 0;
    t->columns = cs_calloc((size_t)n + 1, sizeof *t->columns);
    ((pg_table *)t->prepared)->kinds = cs_calloc((size_t)n + 1, sizeof(enum pg_kind));
    ((pg_table *)t->prepared)->columns = cs_calloc((size_t)n + 1, sizeof(pg_column));
    if (!t->columns || !((pg_table *)t->prepared)->kinds || !((pg_table *)t->prepared)->columns)
        rc = cs_fail_nomem(err);
    for (int i = 0; rc == CSYNC_OK && i < n; i++)
        rc = add_column(b, t, r, i, err);
    pg_clear(b, r);
    if (rc == CSYNC_OK && !t->key_count)
        rc = cs_fail(err, CSYNC_ESCHEMA, "table \"%s\" has no primary key", t->name);
    t->key = cs_calloc(t->key_count + 1, sizeof *t->key);
    if (rc == CSYNC_OK && !t->key)
        rc = cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < t->count; i++)
        if (t->columns[i].key)
            t->key[t->columns[i].key - 1] = i;
    return rc;
}

/* The table first, then its partitions; and the shape that all of them have. */
static int read_parts(cs_pg *b, cs_table *t, const char *oid, csync_error *err)
{
    pg_table *p = t->prepared;
    pg_args a = {.count = 0};
    cs_buf sql = {0};
    PGresult *r = NULL;
    int rc, n;

    pg_text(&a, oid);
    cs_buf_puts(&sql, "SELECT quote_ident(n.nspname)||'.'||quote_ident(c.relname),c.relkind='r',");
    pg_put_shape_sql(&sql, "$1::oid");
    cs_buf_puts(&sql,
                " FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace WHERE c.oid=$1::oid OR "
                "c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass)) ORDER BY "
                "c.oid<>$1::oid,1");
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = pg_run(b, sql.data, &a, &r, err);
    n = rc == CSYNC_OK ? pg_rows(b, r) : 0;
    p->parts = cs_calloc((size_t)n + 1, sizeof *p->parts);
    p->holds_rows = cs_calloc((size_t)n + 1, 1);
    p->shape = n ? cs_strdup(pg_cell(b, r, 0, 2)) : NULL;
    if (rc == CSYNC_OK && (!p->parts || !p->holds_rows || !p->shape))
        rc = cs_fail_nomem(err);
    for (int i = 0; rc == CSYNC_OK && i < n; i++) {
        p->parts[i] = cs_strdup(pg_cell(b, r, i, 0));
        p->holds_rows[i] = pg_cell(b, r, i, 1)[0] == 't';
        p->part_count++;
        rc = p->parts[i] ? CSYNC_OK : cs_fail_nomem(err);
    }
    pg_clear(b, r);
    cs_buf_free(&sql);
    return rc;
}

static enum cs_fk_action action_of(char c)
{
    switch (c) {
    case 'r':
        return CS_FK_RESTRICT;
    case 'c':
        return CS_FK_CASCADE;
    case 'n':
        return CS_FK_SET_NULL;
    case 'd':
        return CS_FK_SET_DEFAULT;
    default:
        return CS_FK_NO_ACTION;
    }
}

/* Rows of a result come as constraint, parent, actions, column, parent's column. */
static int add_fk_column(cs_pg *b, cs_table *t, const PGresult *r, int row, csync_error *err)
{
    int new_one = row == 0 || strcmp(pg_cell(b, r, row, 0), pg_cell(b, r, row - 1, 0)) != 0;
    cs_foreign_key *fk;
    size_t n;

    if (new_one) {
        fk = &t->fks[t->fk_count++];
        n = (size_t)pg_cell_int(b, r, row, 6);
        fk->parent = cs_strdup(pg_cell(b, r, row, 1));
        fk->on_delete = action_of(pg_cell(b, r, row, 2)[0]);
        fk->on_update = action_of(pg_cell(b, r, row, 3)[0]);
        fk->columns = cs_calloc(n, sizeof *fk->columns);
        fk->parent_columns = cs_calloc(n, sizeof *fk->parent_columns);
        if (!fk->parent || !fk->columns || !fk->parent_columns)
            return cs_fail_nomem(err);
    }
    fk = &t->fks[t->fk_count - 1];
    fk->columns[fk->count] = cs_strdup(pg_cell(b, r, row, 4));
    fk->parent_columns[fk->count] = cs_strdup(pg_cell(b, r, row, 5));
    if (!fk->columns[fk->count] || !fk->parent_columns[fk->count])
        return cs_fail_nomem(err);
    fk->count++;
    return CSYNC_OK;
}

/* Look-ups, not joins: to plan a join of so many tables takes four times as long as all of it. */
static int read_foreign_keys(cs_pg *b, cs_table *t, const char *oid, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc, n;

    pg_text(&a, oid);
    rc = pg_run(b,
                "SELECT k.oid,(SELECT " PG_WIRE_NAME " FROM pg_class c JOIN pg_namespace n ON "
                "n.oid=c.relnamespace WHERE c.oid=k.confrelid),k.confdeltype,k.confupdtype,"
                "(SELECT attname FROM pg_attribute WHERE attrelid=k.conrelid AND attnum=u.mine),"
                "(SELECT attname FROM pg_attribute WHERE attrelid=k.confrelid AND attnum=u.theirs),"
                "array_length(k.conkey,1) FROM pg_constraint k,"
                "unnest(k.conkey,k.confkey) WITH ORDINALITY u(mine,theirs,at) WHERE k.contype='f' AND "
                "k.conparentid=0 AND k.conrelid=$1::oid ORDER BY k.oid,u.at",
                &a, &r, err);
    n = rc == CSYNC_OK ? pg_rows(b, r) : 0;
    t->fks = cs_calloc((size_t)n + 1, sizeof *t->fks);
    if (!t->fks)
        rc = cs_fail_nomem(err);
    for (int i = 0; rc == CSYNC_OK && i < n; i++)
        rc = add_fk_column(b, t, r, i, err);
    pg_clear(b, r);
    return rc;
}

/* What a neutral form that is text sorts by is its bytes, as on every replica. */
static void put_order(cs_buf *s, const cs_table *t, const enum pg_kind *kinds)
{
    for (size_t i = 0; i < t->key_count; i++) {
        enum pg_kind kind = kinds[t->key[i]];
        const char *name = t->columns[t->key[i]].name;

        cs_buf_puts(s, i ? "," : "");
        if (kind == PG_NUMERIC) { /* numbers come before those that are strings */
            cs_buf_puts(s, "left(");
            pg_put_value_sql(s, kind, "x.", name);
            cs_buf_puts(s, ",1)='\"',CASE left(");
            pg_put_value_sql(s, kind, "x.", name);
            cs_buf_puts(s, ",1) WHEN '\"' THEN NULL ELSE x.");
            cs_put_ident(s, name);
            cs_buf_puts(s, " END,");
        }
        if (kind == PG_TIMESTAMPTZ || kind == PG_WIDE || kind == PG_NUMERIC || kind == PG_INET) {
            pg_put_value_sql(s, kind, "x.", name);
        } else {
            cs_buf_puts(s, "x.");
            cs_put_ident(s, name);
            cs_buf_puts(s, kind >= PG_OTHER ? "::text" : "");
        }
        if (kind >= PG_OTHER || kind == PG_TEXT || kind == PG_NUMERIC)
            cs_buf_puts(s, " COLLATE \"C\"");
    }
}

static int make_sql(cs_table *t, cs_buf *name, csync_error *err)
{
    pg_table *p = t->prepared;
    cs_buf row = {0}, key = {0}, order = {0}, print = {0};

    pg_put_row_sql(&row, t, p->kinds, 0);
    pg_put_row_sql(&key, t, p->kinds, 1);
    put_order(&order, t, p->kinds);
    for (size_t i = 0; i < t->count; i++)
        cs_buf_printf(&print, "%s %s %zu,", t->columns[i].name, t->columns[i].type,
                      t->columns[i].key);
    cs_buf_printf(&print, "%d %s", t->capture, p->shape);
    for (size_t i = 0; i < p->part_count; i++) {
        cs_buf_putc(&print, ' ');
        cs_buf_puts(&print, p->parts[i]);
    }
    p->name = cs_buf_take(name, err);
    p->row_sql = cs_buf_take(&row, err);
    p->key_sql = cs_buf_take(&key, err);
    p->order_sql = cs_buf_take(&order, err);
    t->fingerprint = cs_buf_take(&print, err);
    return p->name && p->row_sql && p->key_sql && p->order_sql && t->fingerprint ? CSYNC_OK
                                                                                 : CSYNC_ENOMEM;
}

int pg_describe(cs_pg *b, const char *table, int capture, cs_table **out, csync_error *err)
{
    cs_table *t = NULL;
    cs_buf name = {0};
    char oid[24];
    int rc = find(b, table, oid, &name, err);

    *out = NULL;
    if (rc == CSYNC_OK &&
        (!(t = cs_table_create(table)) || !(t->prepared = cs_calloc(1, sizeof(pg_table)))))
        rc = cs_fail_nomem(err);
    if (rc == CSYNC_OK) {
        t->capture = capture ? capture : CSYNC_CAPTURE_FULL;
        rc = read_columns(b, t, oid, err);
    }
    if (rc == CSYNC_OK)
        rc = read_parts(b, t, oid, err);
    if (rc == CSYNC_OK)
        rc = read_foreign_keys(b, t, oid, err);
    if (rc == CSYNC_OK)
        rc = make_sql(t, &name, err);
    cs_buf_free(&name);
    if (rc == CSYNC_OK)
        *out = t;
    else
        pg_forget_table(t);
    return rc;
}

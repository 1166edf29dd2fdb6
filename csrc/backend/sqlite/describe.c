/* describe.c - reading a table's description from SQLite's catalogue. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

static int has_word(const char *type, const char *word)
{
    size_t len = strlen(word);

    for (; *type; type++)
        if (strncasecmp(type, word, len) == 0)
            return 1;
    return 0;
}

/* sqlite.org/datatype3.html, section 3.1 */
static enum cs_affinity affinity_of(const char *type, int strict)
{
    if (strict && strcasecmp(type, "ANY") == 0)
        return CS_AFF_BLOB;
    if (has_word(type, "INT"))
        return CS_AFF_INTEGER;
    if (has_word(type, "CHAR") || has_word(type, "CLOB") || has_word(type, "TEXT"))
        return CS_AFF_TEXT;
    if (!*type || has_word(type, "BLOB"))
        return CS_AFF_BLOB;
    if (has_word(type, "REAL") || has_word(type, "FLOA") || has_word(type, "DOUB"))
        return CS_AFF_REAL;
    return CS_AFF_NUMERIC;
}

/* Prepares a catalogue query with one text parameter. */
static int catalogue(cs_sqlite *b, const char *sql, const char *name, sqlite3_stmt **stmt,
                     csync_error *err)
{
    int rc = sq_prepare(b, sql, stmt, err);

    if (rc == CSYNC_OK)
        sq_bind_text(b, *stmt, 1, name);
    return rc;
}

/* The name in the catalogue's own spelling, so that a message can help. */
static int not_found(cs_sqlite *b, const char *name, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = catalogue(
        b, "SELECT name FROM pragma_table_list WHERE schema='main' AND name=?1 COLLATE NOCASE",
        name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    if (sq_step(b, stmt, err) == 1)
        rc = cs_fail(err, CSYNC_ENOTFOUND,
                     "there is no table \"%s\"; names are exact: did you mean \"%s\"?", name,
                     sq_column_text(b, stmt, 0));
    else
        rc = cs_fail(err, CSYNC_ENOTFOUND, "there is no table \"%s\" in the database", name);
    sqlite3_finalize(stmt);
    return rc;
}

static int check_kind(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc;

    if (strncasecmp(t->name, "_sync_", 6) == 0 || strncasecmp(t->name, "sqlite_", 7) == 0)
        return cs_fail(err, CSYNC_ESCHEMA, "\"%s\" belongs to %s and cannot be tracked", t->name,
                       t->name[0] == '_' ? "csync" : "SQLite");
    rc = catalogue(b, "SELECT type,strict FROM pragma_table_list WHERE schema='main' AND name=?1",
                   t->name, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = sq_step(b, stmt, err);
    if (rc == 0) {
        rc = not_found(b, t->name, err);
    } else if (rc == 1) {
        const char *kind = sq_column_text(b, stmt, 0);

        t->strict = sqlite3_column_int(stmt, 1);
        rc = strcmp(kind, "table") == 0
                 ? CSYNC_OK
                 : cs_fail(err, CSYNC_ESCHEMA,
                           "\"%s\" is a %s%s; only ordinary tables can be tracked", t->name, kind,
                           strcmp(kind, "view") == 0 ? "" : " table");
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int add_column(cs_sqlite *b, cs_table *t, size_t *cap, sqlite3_stmt *stmt, csync_error *err)
{
    SQ_API(b);
    cs_column *c;
    const char *type = sq_column_text(b, stmt, 1), *fallback = sq_column_text(b, stmt, 3);

    if (cs_grow(&t->columns, cap, t->count + 1, sizeof *t->columns) != CSYNC_OK)
        return cs_fail_nomem(err);
    c = &t->columns[t->count++];
    memset(c, 0, sizeof *c);
    c->name = cs_strdup(sq_column_text(b, stmt, 0));
    c->type = cs_strdup(type ? type : "");
    c->collation = cs_strdup("BINARY");
    c->key = (size_t)sqlite3_column_int(stmt, 2);
    c->fallback = fallback ? cs_strdup(fallback) : NULL;
    if (!c->name || !c->type || !c->collation || (fallback && !c->fallback))
        return cs_fail_nomem(err);
    if (!*c->name)
        return cs_fail(err, CSYNC_ESCHEMA,
                       "table \"%s\" has a column with an empty name; rename it first", t->name);
    c->affinity = affinity_of(c->type, t->strict);
    t->key_count += c->key != 0;
    return CSYNC_OK;
}

static int read_columns(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    size_t cap = 0;
    int rc = catalogue(
        b, "SELECT name,type,pk,dflt_value FROM pragma_table_xinfo(?1,'main') WHERE hidden=0",
        t->name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        rc = add_column(b, t, &cap, stmt, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int order_key(cs_table *t, csync_error *err)
{
    if (t->key_count == 0)
        return cs_fail(
            err, CSYNC_ESCHEMA,
            "table \"%s\" has no primary key; rows need one to be told apart on other replicas",
            t->name);
    t->key = cs_calloc(t->key_count, sizeof *t->key);
    if (!t->key)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < t->count; i++)
        if (t->columns[i].key)
            t->key[t->columns[i].key - 1] = i;
    return CSYNC_OK;
}

/* The collations of the key's index. No index: the key is the rowid. */
static int read_key_index(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = catalogue(b,
                       "SELECT x.name, x.coll FROM pragma_index_list(?1,'main') l, "
                       "pragma_index_xinfo(l.name,'main') x WHERE l.origin='pk' AND x.key",
                       t->name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    t->rowid_key = 1;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const char *name = sq_column_text(b, stmt, 0);
        cs_column *c = (cs_column *)cs_table_column(t, name, strlen(name));
        char *collation = cs_strdup(sq_column_text(b, stmt, 1));

        t->rowid_key = 0;
        if (!collation) {
            rc = cs_fail_nomem(err);
            break;
        }
        if (c) {
            cs_free(c->collation);
            c->collation = collation;
        } else {
            cs_free(collation);
        }
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- UNIQUE indexes ---- */

static int add_unique(cs_table *t, size_t *cap, csync_error *err)
{
    if (cs_grow(&t->uniques, cap, t->unique_count + 1, sizeof *t->uniques) != CSYNC_OK)
        return cs_fail_nomem(err);
    memset(&t->uniques[t->unique_count++], 0, sizeof *t->uniques);
    return CSYNC_OK;
}

static int add_unique_column(cs_unique *u, size_t column, const char *collation, csync_error *err)
{
    size_t *columns = cs_realloc(u->columns, (u->count + 1) * sizeof *columns);
    char **collations;

    if (!columns)
        return cs_fail_nomem(err);
    u->columns = columns;
    collations = cs_realloc(u->collations, (u->count + 1) * sizeof *collations);
    if (!collations)
        return cs_fail_nomem(err);
    u->collations = collations;
    u->columns[u->count] = column;
    u->collations[u->count] = cs_strdup(collation);
    if (!u->collations[u->count])
        return cs_fail_nomem(err);
    u->count++;
    return CSYNC_OK;
}

/* An index on an expression or a generated column has a column that we do not know: it is left out. */
static const char unique_sql[] =
    "SELECT x.seqno, x.name, x.coll FROM pragma_index_list(?1,'main') l, "
    "pragma_index_xinfo(l.name,'main') x WHERE l.\"unique\" AND NOT l.partial AND l.origin<>'pk' AND x.key "
    "AND NOT EXISTS(SELECT 1 FROM pragma_index_xinfo(l.name,'main') e WHERE e.key AND e.name NOT IN "
    "(SELECT name FROM pragma_table_xinfo(?1,'main') WHERE hidden=0)) AND NOT EXISTS(SELECT 1 FROM "
    "pragma_index_xinfo(l.name,'main') e WHERE e.key AND e.name IS NULL) ORDER BY l.seq, x.seqno";

static int read_uniques(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    size_t cap = 0;
    int rc = catalogue(b, unique_sql, t->name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const char *name = sq_column_text(b, stmt, 1);
        const cs_column *c = cs_table_column(t, name, strlen(name));

        rc = sqlite3_column_int(stmt, 0) == 0 ? add_unique(t, &cap, err) : CSYNC_OK;
        if (rc == CSYNC_OK && c)
            rc = add_unique_column(&t->uniques[t->unique_count - 1], (size_t)(c - t->columns),
                                   sq_column_text(b, stmt, 2), err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int read_evicts(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = catalogue(
        b, "SELECT count(*) FROM pragma_index_list(?1,'main') WHERE \"unique\" AND origin<>'pk'",
        t->name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = sq_step(b, stmt, err);
    t->evicts = rc == 1 ? sqlite3_column_int(stmt, 0) : 0;
    sqlite3_finalize(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

/* ---- foreign keys ---- */

static enum cs_fk_action action_of(const char *text)
{
    static const char *const names[] = {"NO ACTION", "RESTRICT", "SET NULL", "SET DEFAULT",
                                        "CASCADE"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum cs_fk_action)i;
    return CS_FK_NO_ACTION;
}

static int add_foreign_key(cs_sqlite *b, cs_table *t, size_t *cap, sqlite3_stmt *stmt,
                           csync_error *err)
{
    cs_foreign_key *fk;

    if (cs_grow(&t->fks, cap, t->fk_count + 1, sizeof *t->fks) != CSYNC_OK)
        return cs_fail_nomem(err);
    fk = &t->fks[t->fk_count++];
    memset(fk, 0, sizeof *fk);
    fk->parent = cs_strdup(sq_column_text(b, stmt, 2));
    fk->on_update = action_of(sq_column_text(b, stmt, 5));
    fk->on_delete = action_of(sq_column_text(b, stmt, 6));
    return fk->parent ? CSYNC_OK : cs_fail_nomem(err);
}

static int add_fk_column(cs_foreign_key *fk, const char *from, const char *to, csync_error *err)
{
    char **columns = cs_realloc(fk->columns, (fk->count + 1) * sizeof *columns);
    char **parents;

    if (!columns)
        return cs_fail_nomem(err);
    fk->columns = columns;
    parents = cs_realloc(fk->parent_columns, (fk->count + 1) * sizeof *parents);
    if (!parents)
        return cs_fail_nomem(err);
    fk->parent_columns = parents;
    fk->columns[fk->count] = cs_strdup(from);
    fk->parent_columns[fk->count] = cs_strdup(to);
    fk->count++;
    return fk->columns[fk->count - 1] && fk->parent_columns[fk->count - 1] ? CSYNC_OK
                                                                           : cs_fail_nomem(err);
}

/* A foreign key that names no columns means the parent's primary key. The parent's name comes back in the
 * catalogue's spelling. */
static const char fk_sql[] =
    "SELECT f.id, f.seq, coalesce((SELECT name FROM pragma_table_list WHERE schema='main' AND "
    "name=f.\"table\" COLLATE NOCASE), f.\"table\"), f.\"from\", "
    "coalesce(f.\"to\", (SELECT name FROM pragma_table_xinfo(f.\"table\",'main') WHERE pk=f.seq+1), 'rowid'),"
    " f.on_update, f.on_delete FROM pragma_foreign_key_list(?1,'main') f ORDER BY f.id, f.seq";

static int read_foreign_keys(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    size_t cap = 0;
    int rc = catalogue(b, fk_sql, t->name, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        if (sqlite3_column_int(stmt, 1) == 0)
            rc = add_foreign_key(b, t, &cap, stmt, err);
        else
            rc = CSYNC_OK;
        if (rc == CSYNC_OK)
            rc = add_fk_column(&t->fks[t->fk_count - 1], sq_column_text(b, stmt, 3),
                               sq_column_text(b, stmt, 4), err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* The catalogue has no better word for it than the statement's own text. */
static int read_deferred(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = catalogue(b,
                       "SELECT sql LIKE '%deferred%' FROM main.sqlite_master WHERE type='table' AND "
                       "name=?1",
                       t->name, &stmt, err);

    if (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        t->deferred = sqlite3_column_int(stmt, 0);
        rc = CSYNC_OK;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int read_encoding(cs_sqlite *b, cs_table *t, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_prepare(b, "PRAGMA main.encoding", &stmt, err);

    if (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        t->utf16 = strcmp(sq_column_text(b, stmt, 0), "UTF-8") != 0;
        rc = CSYNC_OK;
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int make_fingerprint(cs_table *t, csync_error *err)
{
    cs_buf b = {0};

    cs_buf_printf(&b, "%d %d", t->rowid_key, t->strict);
    for (size_t i = 0; i < t->count; i++) {
        const cs_column *c = &t->columns[i];

        cs_buf_puts(&b, ",");
        cs_put_ident(&b, c->name);
        cs_buf_printf(&b, " %s %s %zu", c->type, c->collation, c->key);
    }
    t->fingerprint = cs_buf_take(&b, err);
    return t->fingerprint ? CSYNC_OK : CSYNC_ENOMEM;
}

int sq_describe(cs_sqlite *b, const char *table, int capture, cs_table **out, csync_error *err)
{
    cs_table *t = cs_table_create(table);
    int rc;

    *out = NULL;
    if (!t)
        return cs_fail_nomem(err);
    t->capture = capture ? capture : CSYNC_CAPTURE_FULL;
    rc = check_kind(b, t, err);
    if (rc == CSYNC_OK)
        rc = read_columns(b, t, err);
    if (rc == CSYNC_OK)
        rc = order_key(t, err);
    if (rc == CSYNC_OK)
        rc = read_key_index(b, t, err);
    if (rc == CSYNC_OK)
        rc = read_uniques(b, t, err);
    if (rc == CSYNC_OK)
        rc = read_evicts(b, t, err);
    if (rc == CSYNC_OK)
        rc = read_foreign_keys(b, t, err);
    if (rc == CSYNC_OK && t->fk_count)
        rc = read_deferred(b, t, err);
    if (rc == CSYNC_OK)
        rc = read_encoding(b, t, err);
    if (rc == CSYNC_OK)
        rc = make_fingerprint(t, err);
    if (rc != CSYNC_OK) {
        cs_table_destroy(t);
        return rc;
    }
    *out = t;
    return CSYNC_OK;
}

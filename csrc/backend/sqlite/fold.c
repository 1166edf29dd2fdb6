/* fold.c - bringing the heads up to the top of the log: writers never pay for them. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/log.h"
#include "base/rules.h"

static int folded_version(cs_sqlite *b, int64_t *out, csync_error *err)
{
    return sq_state_int(b, "folded_version", out, err);
}

/* What was parked may fit into tables that have changed: the transaction that noticed need not have tried. What was
 * written since this call has folded is folded too: rows and heads are read together. */
int sq_needs_fold(cs_backend *base, int has_folded, int *needed, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int64_t folded = 0, top = 0;
    int rc = folded_version(b, &folded, err);

    (void)has_folded;
    if (rc == CSYNC_OK)
        rc = sq_log_top(base, &top, err);
    *needed = top > folded;
    if (rc == CSYNC_OK && !*needed && b->tables_are_new && CS_RULE(SCHEMA_RETRY))
        rc = sq_any_parked(b, needed, err);
    return rc;
}

/* A foreign key's action has deleted a row that somebody had written without knowing that its parent would go. */
static int audit_cascade(cs_sqlite *b, cs_table *t, const csync_change *deleted, csync_error *err)
{
    csync_batch *lost = cs_batch_create();
    cs_conflict conflict = {0, NULL, "foreign key", "deleted", NULL, deleted};
    cs_head head;
    int rc = lost ? sq_head_get(b, t, &head, NULL, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK && head.found && !head.deleted && !head.agreed && head.version)
        rc = sq_log_change(&b->base, head.version, lost, err);
    conflict.loser = cs_batch_get(lost, 0);
    if (rc == CSYNC_OK && conflict.loser)
        rc = sq_conflict_add(&b->base, &conflict, err);
    cs_batch_destroy(lost);
    return rc;
}

/* One local log entry (columns of SQ_LOG_LOCAL_SCAN) becomes its row's head. */
static int fold_entry(cs_sqlite *b, cs_table *t, sqlite3_stmt *entry, int any_parked, csync_error *err)
{
    SQ_API(b);
    int64_t version = sqlite3_column_int64(entry, 0), ts = 0;
    const char *timestamp = sq_column_text(b, entry, 4);
    int deleted = strcmp(sq_column_text(b, entry, 3), "delete") == 0;
    sqlite3_stmt *stmt;
    int at;
    int rc = any_parked ? sq_park_supersede(b, t, err) : CSYNC_OK;

    if (rc != CSYNC_OK)
        return rc;
    if (cs_time_parse(timestamp, strlen(timestamp), &ts) != 0)
        return cs_fail(err, CSYNC_EDB, "entry %lld of _sync_log has a damaged timestamp: %.40s",
                       (long long)version, timestamp);
    rc = sq_table_stmt(b, t, SQT_HEAD_FOLD, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    at = sq_bind_key(b, stmt, t);
    sqlite3_bind_int64(stmt, at, version);
    sqlite3_bind_int64(stmt, at + 1, ts);
    sqlite3_bind_int64(stmt, at + 2, b->me);
    sqlite3_bind_int64(stmt, at + 3, version);
    sqlite3_bind_int64(stmt, at + 4, deleted ? SQ_DELETED : 0);
    sqlite3_bind_int64(stmt, at + 5, 0);
    return sq_run(b, stmt, err);
}

typedef struct fold_state {
    int64_t latest; /* timestamp */
    int any_parked;
    int cascading; /* the entries are what foreign keys did during a merge */
} fold_state;

static int fold_row(cs_sqlite *b, sqlite3_stmt *entry, fold_state *f, csync_error *err)
{
    SQ_API(b);
    const char *name = sq_column_text(b, entry, 1), *pk = sq_column_text(b, entry, 2);
    const char *timestamp = sq_column_text(b, entry, 4);
    cs_table *t = cs_backend_table(&b->base, name, strlen(name));
    int64_t ts = 0;
    int rc;

    if (!t || !sqlite3_column_int(entry, 5))
        return CSYNC_OK; /* untracked since, or folded by the apply that logged it */
    rc = sq_read_key(b, t, pk, strlen(pk), err);
    if (rc == CSYNC_EINVAL) { /* SQLite lets NULL into a key; such a row cannot be told apart elsewhere */
        cs_log(CSYNC_LOG_WARNING,
               "a row of table \"%s\" has no usable key and is not synced: %.200s", name, pk);
        return sq_surplus_unknown(b, t, err);
    }
    if (rc == CSYNC_OK && f->cascading && strcmp(sq_column_text(b, entry, 3), "delete") == 0) {
        csync_change deleted = {.struct_size = sizeof deleted, .operation = CSYNC_DELETE};

        deleted.table = name;
        deleted.pk = pk;
        deleted.origin = b->base.origin;
        deleted.timestamp = timestamp;
        deleted.seq = sqlite3_column_int64(entry, 0);
        rc = audit_cascade(b, t, &deleted, err);
    }
    if (rc == CSYNC_OK)
        rc = fold_entry(b, t, entry, f->any_parked, err);
    sq_touch(t);
    if (rc == CSYNC_OK && strcmp(sq_column_text(b, entry, 3), "delete") != 0)
        ((sq_prepared *)t->prepared)->written = 1;
    if (cs_time_parse(timestamp, strlen(timestamp), &ts) == 0 && ts > f->latest)
        f->latest = ts;
    return rc;
}

static int fold_after(cs_sqlite *b, int64_t version, fold_state *f, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *entry;
    int rc = sq_fixed(b, SQ_LOG_LOCAL_SCAN, &entry, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(entry, 1, version);
    while ((rc = sq_step(b, entry, err)) == 1 && (rc = fold_row(b, entry, f, err)) == CSYNC_OK)
        ;
    sqlite3_reset(entry);
    return rc;
}

/* Rows that REPLACE has evicted get their deletes logged, and folded. */
static int fold_evicted(cs_sqlite *b, int64_t folded, int64_t *top, fold_state *f, csync_error *err)
{
    int64_t before = *top;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        cs_table *t = b->base.tables[i];
        sq_prepared *p = t->prepared;

        if (p && p->written && t->evicts)
            rc = sq_find_evicted(b, t, folded, err);
        if (p)
            p->written = 0;
    }
    if (rc == CSYNC_OK)
        rc = sq_log_top(&b->base, top, err);
    return rc == CSYNC_OK && *top > before ? fold_after(b, before, f, err) : rc;
}

static int fold(cs_sqlite *b, int cascading, csync_error *err)
{
    fold_state f = {.cascading = cascading};
    int64_t folded = 0, top = 0;
    int rc = folded_version(b, &folded, err);

    if (rc == CSYNC_OK)
        rc = sq_log_top(&b->base, &top, err);
    if (rc != CSYNC_OK || top <= folded)
        return rc;
    rc = sq_any_parked(b, &f.any_parked, err);
    if (rc == CSYNC_OK)
        rc = fold_after(b, folded, &f, err);
    if (rc == CSYNC_OK)
        rc = fold_evicted(b, folded, &top, &f, err);
    if (rc == CSYNC_OK)
        rc = sq_state_put_int(b, "folded_version", top, err);
    if (rc == CSYNC_OK && f.latest)
        rc = sq_raise_clock(&b->base, f.latest, err);
    return rc;
}

int sq_fold(cs_backend *base, csync_error *err)
{
    return fold((cs_sqlite *)base, 0, err);
}

int sq_fold_captured(cs_sqlite *b, csync_error *err)
{
    return fold(b, 1, err);
}

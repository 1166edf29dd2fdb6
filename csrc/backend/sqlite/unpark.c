/* unpark.c - trying parked changes again. Only those whose table, or a table that they refer to, was
 * written since the last time have a chance; a row that enters may let others in. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "base/rules.h"

typedef struct waiting {
    int64_t *ids;
    size_t ids_cap;
    csync_batch *changes; /* copies, as many as ids */
} waiting;

static int touched(const cs_table *t)
{
    const sq_prepared *p = t->prepared;

    return !p || !p->untouched;
}

static int has_chance(const cs_sqlite *b, const cs_table *t)
{
    if (touched(t))
        return 1;
    for (size_t i = 0; i < t->fk_count; i++) {
        const char *parent = t->fks[i].parent;
        const cs_table *p = cs_backend_table(&b->base, parent, strlen(parent));

        if (!p || touched(p))
            return 1;
    }
    return 0;
}

static int load_entry(cs_sqlite *b, sqlite3_stmt *stmt, waiting *w, csync_error *err)
{
    SQ_API(b);
    csync_change change;

    sq_read_parked(b, stmt, &change);
    if (cs_grow(&w->ids, &w->ids_cap, w->changes->count + 1, sizeof *w->ids) != CSYNC_OK)
        return cs_fail_nomem(err);
    w->ids[w->changes->count] = sqlite3_column_int64(stmt, 0);
    return cs_batch_add(w->changes, &change, err);
}

/* The newest come first: of rows that exclude each other the higher stamp is the visible one. */
static int load_table(cs_sqlite *b, const char *table, waiting *w, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_OF, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, table);
    while ((rc = sq_step(b, stmt, err)) == 1 && (rc = load_entry(b, stmt, w, err)) == CSYNC_OK)
        ;
    sqlite3_reset(stmt);
    return rc;
}

static void mark_untouched(cs_sqlite *b)
{
    for (size_t i = 0; i < b->base.table_count; i++)
        if (b->base.tables[i]->prepared)
            ((sq_prepared *)b->base.tables[i]->prepared)->untouched = 1;
}

static int load(cs_sqlite *b, waiting *w, csync_error *err)
{
    int rc = CSYNC_OK;

    memset(w, 0, sizeof *w);
    w->changes = cs_batch_create();
    if (!w->changes)
        return cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++)
        if (has_chance(b, b->base.tables[i]))
            rc = load_table(b, b->base.tables[i]->name, w, err);
    mark_untouched(b);
    return rc;
}

static void unload(waiting *w)
{
    cs_free(w->ids);
    cs_batch_destroy(w->changes);
}

/* *entered 1: the row is in its table; its entry is gone. *keys 1: a foreign key stood in the way. */
static int try_entry(cs_sqlite *b, int64_t id, const csync_change *change, int *entered, int *keys,
                     csync_error *err)
{
    cs_table *t = cs_backend_table(&b->base, change->table, strlen(change->table));
    csync_error why = CSYNC_ERROR_INIT;
    const char *reason = NULL;
    cs_head head;
    int64_t parked = 0;
    int rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);

    *entered = *keys = 0;
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, &parked, err);
    if (rc != CSYNC_OK || parked != id || head.deleted != (change->operation == CSYNC_DELETE))
        return rc;
    rc = sq_enter_row(b, t, change, &reason, &why);
    if (rc != CSYNC_OK) {
        cs_error_copy(err, &why);
        return rc;
    }
    *keys = reason && strcmp(reason, "foreign key") == 0 && t->in_cycle;
    *entered = !reason;
    if (reason)
        return CSYNC_OK;
    rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
    return rc == CSYNC_OK ? sq_park_drop(b, t, id, err) : rc;
}

static int try_all(cs_sqlite *b, waiting *w, int *entered, int *cycle, csync_error *err)
{
    *entered = *cycle = 0;
    for (size_t i = 0; i < w->changes->count; i++) {
        int in = 0, keys = 0;
        int rc = try_entry(b, w->ids[i], &w->changes->items[i].pub, &in, &keys, err);

        if (rc != CSYNC_OK)
            return rc;
        *entered |= in;
        *cycle |= keys;
    }
    return CSYNC_OK;
}

int sq_parked_count(cs_backend *base, int64_t *out, csync_error *err)
{
    return sq_fixed_int((cs_sqlite *)base, SQ_PARK_COUNT, out, err);
}

/* Rows of a cycle let each other in: all at once, then those without a parent go out again. Should that
 * leave a key unsatisfied, nothing has happened. */
static int try_cycle(cs_sqlite *b, waiting *w, int *entered, csync_error *err)
{
    int64_t before = 0, after = 0;
    int ignored, undo = 0;
    int rc = sq_parked_count(&b->base, &before, err);

    *entered = 0;
    if (rc == CSYNC_OK)
        rc = sq_attempt(b, err);
    if (rc != CSYNC_OK)
        return rc;
    b->lenient = 1;
    rc = try_all(b, w, &ignored, &ignored, err);
    b->lenient = 0;
    if (rc == CSYNC_OK && sq_violated(b))
        rc = sq_park_orphans(b, err);
    if (rc == CSYNC_OK)
        rc = sq_parked_count(&b->base, &after, err);
    if (rc != CSYNC_OK)
        return rc;
    undo = sq_violated(b) || after >= before;
    *entered = !undo;
    return sq_attempt_end(b, undo, err);
}

int sq_unpark(cs_sqlite *b, csync_error *err)
{
    int rc = CSYNC_OK, entered = CS_RULE(PARK_RETRY), cycle = 0;

    b->tables_are_new = 0;
    while (rc == CSYNC_OK && entered) {
        waiting w;
        int more = 0;

        rc = load(b, &w, err);
        if (rc == CSYNC_OK)
            rc = try_all(b, &w, &entered, &cycle, err);
        if (rc == CSYNC_OK && cycle)
            rc = try_cycle(b, &w, &more, err);
        entered |= more;
        unload(&w);
    }
    return rc;
}

int sq_retry_parked(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int any = 0;
    int rc = sq_any_parked(b, &any, err);

    if (rc != CSYNC_OK || !any)
        return rc;
    rc = sq_merge_begin(b, err);
    if (rc == CSYNC_OK)
        rc = sq_unpark(b, err);
    return rc == CSYNC_OK && b->captured ? sq_fold_captured(b, err) : rc;
}

/* ---- a table that is tracked at last ---- */

static int merge_batch(cs_sqlite *b, cs_table *t, const csync_batch *batch, csync_error *err)
{
    static const cs_merge how = {.passes = 3, .relay = 1};
    cs_item *items = cs_calloc(batch->count, sizeof *items);
    int rc;

    if (!items)
        return cs_fail_nomem(err);
    for (size_t i = 0; i < batch->count; i++) {
        items[i].change = &batch->items[i];
        items[i].table = t;
    }
    rc = sq_merge(&b->base, items, batch->count, &how, err);
    cs_free(items);
    return rc;
}

/* Takes entry `i` over into `out` unless a head knows of it. */
static int take_unlinked(cs_sqlite *b, cs_table *t, const waiting *w, size_t i, csync_batch *out,
                         csync_error *err)
{
    const cs_change *c = &w->changes->items[i];
    sqlite3_stmt *stmt;
    cs_head head;
    int64_t parked = 0;
    int rc = sq_read_key(b, t, c->pub.pk, c->pk_len, err);

    if (rc == CSYNC_EINVAL)
        return CSYNC_OK; /* not a row of this table */
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, t, &head, &parked, err);
    if (rc != CSYNC_OK || parked == w->ids[i])
        return rc;
    rc = sq_fixed(b, SQ_PARK_DROP, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, w->ids[i]);
    rc = sq_run(b, stmt, err);
    return rc == CSYNC_OK ? cs_batch_append(out, &c->pub, c->ts, err) : rc;
}

int sq_adopt(cs_sqlite *b, const char *table, csync_error *err)
{
    waiting w = {.changes = cs_batch_create()};
    csync_batch *out = cs_batch_create();
    cs_table *t = cs_backend_table(&b->base, table, strlen(table));
    int rc = w.changes && out ? load_table(b, table, &w, err) : cs_fail_nomem(err);

    for (size_t i = 0; rc == CSYNC_OK && i < w.changes->count; i++)
        rc = take_unlinked(b, t, &w, i, out, err);
    if (rc == CSYNC_OK && out->count) {
        rc = sq_suppress(&b->base, 1, err);
        if (rc == CSYNC_OK)
            rc = sq_fold(&b->base, err); /* merge takes what is in the log for folded */
        if (rc == CSYNC_OK)
            rc = merge_batch(b, t, out, err);
        if (rc == CSYNC_OK)
            rc = sq_suppress(&b->base, 0, err);
    }
    cs_batch_destroy(out);
    unload(&w);
    return rc;
}

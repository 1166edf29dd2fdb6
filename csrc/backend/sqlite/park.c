/* park.c - changes that have won but cannot enter their table.
 *
 * Such a change stays the row's head and travels on; its row is kept in _sync_parked, and the older state of
 * the row leaves the table together with all rows that refer to it: a child is visible only if its parent
 * is. So what a table shows is a function of the heads, equal on every replica. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

/* ---- entries of _sync_parked ---- */

static int add_entry(cs_sqlite *b, const csync_change *c, const char *reason, const char *message,
                     int64_t *id, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_ADD, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, c->table);
    sq_bind_text(b, stmt, 2, c->pk);
    sq_bind_text(b, stmt, 3, cs_operation_name(c->operation));
    sq_bind_text(b, stmt, 4, c->payload);
    sq_bind_text(b, stmt, 5, c->origin);
    sq_bind_text(b, stmt, 6, c->timestamp);
    sqlite3_bind_int64(stmt, 7, c->seq);
    sq_bind_text(b, stmt, 8, reason);
    sq_bind_text(b, stmt, 9, message);
    rc = sq_run(b, stmt, err);
    *id = sqlite3_last_insert_rowid(b->db);
    return rc;
}

static int drop_entry(cs_sqlite *b, int64_t id, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_DROP, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, id);
    return sq_run(b, stmt, err);
}

int sq_park_drop(cs_sqlite *b, cs_table *t, int64_t parked, csync_error *err)
{
    int rc = sq_head_set_parked(b, t, 0, err);

    return rc == CSYNC_OK ? drop_entry(b, parked, err) : rc;
}

int sq_any_parked(cs_sqlite *b, int *any, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_ANY, &stmt, err);

    if (rc == CSYNC_OK)
        rc = sq_step(b, stmt, err);
    *any = rc == 1;
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

/* ---- the rows that refer to a row ---- */

/* Rows on their way out: parents before the rows that refer to them. */
typedef struct victim {
    cs_table *table;
    char *pk;
} victim;

typedef struct victims {
    victim *list;
    size_t count, cap;
} victims;

static void victims_free(victims *v)
{
    for (size_t i = 0; i < v->count; i++)
        cs_free(v->list[i].pk);
    cs_free(v->list);
}

static int victims_add(victims *v, cs_table *t, const char *pk, csync_error *err)
{
    char *copy = cs_strdup(pk);

    if (!copy || cs_grow(&v->list, &v->cap, v->count + 1, sizeof *v->list) != CSYNC_OK) {
        cs_free(copy);
        return cs_fail_nomem(err);
    }
    v->list[v->count].table = t;
    v->list[v->count++].pk = copy;
    return CSYNC_OK;
}

/* SELECT of the keys of `child`'s rows that refer through `fk` to the row of `t` with key ?1... */
static void children_sql(cs_buf *s, const cs_table *t, const cs_table *child, const cs_foreign_key *fk)
{
    cs_buf_puts(s, "SELECT ");
    cs_put_key_list(s, child, "c.");
    cs_buf_puts(s, " FROM main.");
    cs_put_ident(s, t->name);
    cs_buf_puts(s, " p JOIN main.");
    cs_put_ident(s, child->name);
    for (size_t i = 0; i < fk->count; i++) {
        cs_buf_puts(s, i ? " AND p." : " c ON p.");
        cs_put_ident(s, fk->parent_columns[i]);
        cs_buf_puts(s, "=c.");
        cs_put_ident(s, fk->columns[i]);
    }
    for (size_t i = 0; i < t->key_count; i++) {
        cs_buf_puts(s, i ? " AND p." : " WHERE p.");
        cs_put_ident(s, t->columns[t->key[i]].name);
        cs_buf_printf(s, "=?%zu", i + 1);
    }
}

/* Runs a query that gives key columns of `t` and adds each row to the list. */
static int collect(cs_sqlite *b, sqlite3_stmt *stmt, cs_table *t, victims *out, csync_error *err)
{
    cs_buf pk = {0};
    int rc;

    while ((rc = sq_step(b, stmt, err)) == 1) {
        cs_buf_clear(&pk);
        sq_put_key(b, stmt, 0, t, &pk);
        rc = cs_buf_check(&pk, err);
        if (rc == CSYNC_OK)
            rc = victims_add(out, t, pk.data, err);
        if (rc != CSYNC_OK)
            break;
    }
    cs_buf_free(&pk);
    return rc;
}

static int collect_through(cs_sqlite *b, cs_table *t, cs_table *child, const cs_foreign_key *fk,
                           victims *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt = NULL;
    cs_buf sql = {0};
    int rc;

    children_sql(&sql, t, child, fk);
    rc = cs_buf_check(&sql, err);
    if (rc == CSYNC_OK)
        rc = sq_prepare(b, sql.data, &stmt, err);
    cs_buf_free(&sql);
    if (rc == CSYNC_OK) {
        sq_bind_key(b, stmt, t);
        rc = collect(b, stmt, child, out, err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int forbids(const cs_foreign_key *fk)
{
    return fk->on_delete == CS_FK_NO_ACTION || fk->on_delete == CS_FK_RESTRICT;
}

/* Adds the rows that refer to the row in b->key. */
static int collect_children(cs_sqlite *b, cs_table *t, int all, victims *out, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = 0; i < b->base.table_count; i++) {
        cs_table *child = b->base.tables[i];

        for (size_t k = 0; rc == CSYNC_OK && k < child->fk_count; k++) {
            const cs_foreign_key *fk = &child->fks[k];

            if (strcmp(fk->parent, t->name) == 0 && (all || forbids(fk)))
                rc = collect_through(b, t, child, fk, out, err);
        }
    }
    return rc;
}

/* The row's head goes to _sync_parked as a change of its own. *parked 0: it is there already, or the row
 * was never captured and so has no head. */
static int park_head(cs_sqlite *b, const victim *v, int *parked, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    csync_change c = {.struct_size = sizeof c, .operation = CSYNC_UPDATE};
    cs_buf payload = {0};
    cs_head head;
    int64_t id = 0;
    int found = 0;
    int rc = sq_head_get(b, v->table, &head, NULL, &id, err);

    *parked = 0;
    if (rc != CSYNC_OK || !head.found || head.deleted || id)
        return rc;
    rc = sq_row_payload(b, v->table, &payload, &found, err);
    cs_time_format(head.stamp.ts, timestamp);
    c.table = v->table->name;
    c.pk = v->pk;
    c.payload = payload.data;
    c.origin = head.stamp.origin;
    c.timestamp = timestamp;
    c.seq = head.stamp.seq;
    if (rc == CSYNC_OK && found) {
        rc = add_entry(b, &c, "foreign key", "the row that it refers to is not there", &id, err);
        if (rc == CSYNC_OK)
            rc = sq_head_set_parked(b, v->table, id, err);
        *parked = 1;
    }
    cs_buf_free(&payload);
    return rc;
}

/* Parks the heads of the listed rows and of all rows below them; what is parked already drops out. */
static int park_heads(cs_sqlite *b, victims *v, csync_error *err)
{
    size_t kept = 0;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < v->count; i++) {
        victim one = v->list[i];
        int parked = 0;

        rc = sq_read_key(b, one.table, one.pk, strlen(one.pk), err);
        if (rc == CSYNC_OK)
            rc = park_head(b, &one, &parked, err);
        if (rc == CSYNC_OK && parked)
            rc = collect_children(b, one.table, 1, v, err);
        if (rc == CSYNC_OK && parked) {
            v->list[i].pk = v->list[kept].pk; /* so that every text stays in the list, once */
            v->list[i].table = v->list[kept].table;
            v->list[kept++] = one;
        }
    }
    for (size_t i = kept; i < v->count; i++)
        cs_free(v->list[i].pk);
    v->count = kept;
    return rc;
}

/* Rows below first. What is still refused then hangs on a table that is not tracked and stays. */
static int delete_rows(cs_sqlite *b, const victims *v, csync_error *err)
{
    for (size_t i = v->count; i > 0; i--) {
        const victim *one = &v->list[i - 1];
        sqlite3_stmt *stmt;
        int rc = sq_read_key(b, one->table, one->pk, strlen(one->pk), err);

        if (rc == CSYNC_OK)
            rc = sq_table_stmt(b, one->table, SQT_ROW_DELETE, &stmt, err);
        if (rc != CSYNC_OK)
            return rc;
        sq_bind_key(b, stmt, one->table);
        rc = sq_run(b, stmt, err);
        sq_touch(one->table);
        if (rc != CSYNC_OK && rc != CSYNC_EDB)
            return rc;
    }
    return CSYNC_OK;
}

static int park_victims(cs_sqlite *b, victims *v, csync_error *err)
{
    int rc = park_heads(b, v, err);

    if (rc != CSYNC_OK || !v->count)
        return rc;
    rc = sq_defer(b, 1, err); /* rows of a cycle refer to each other until all are gone */
    if (rc == CSYNC_OK)
        rc = delete_rows(b, v, err);
    return rc == CSYNC_OK && !sq_violated(b) ? sq_defer(b, 0, err) : rc;
}

int sq_park_children(cs_sqlite *b, cs_table *t, int all, csync_error *err)
{
    victims v = {NULL, 0, 0};
    int rc = collect_children(b, t, all, &v, err);

    if (rc == CSYNC_OK)
        rc = park_victims(b, &v, err);
    victims_free(&v);
    return rc;
}

int sq_park_orphans(cs_sqlite *b, csync_error *err)
{
    victims v = {NULL, 0, 0};
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        cs_table *t = b->base.tables[i];
        sqlite3_stmt *stmt;

        if (!t->fk_count)
            continue;
        rc = sq_table_stmt(b, t, SQT_ORPHANS, &stmt, err);
        if (rc == CSYNC_OK)
            rc = collect(b, stmt, t, &v, err);
    }
    if (rc == CSYNC_OK)
        rc = park_victims(b, &v, err);
    victims_free(&v);
    return rc;
}

/* ---- parking a change ---- */

/* Takes the row's older state out of the table. What refuses to go (a row of an untracked table refers to
 * it) stays. */
static int remove_row(cs_sqlite *b, cs_table *t, const csync_change *change, csync_error *err)
{
    const char *reason = NULL;
    int rc = b->foreign_keys ? sq_park_children(b, t, 1, err) : CSYNC_OK;

    if (rc == CSYNC_OK)
        rc = sq_read_key(b, t, change->pk, strlen(change->pk), err);
    return rc == CSYNC_OK ? sq_delete_row(b, t, &reason, err) : rc;
}

int sq_park(cs_sqlite *b, cs_table *t, const csync_change *change, const char *reason,
            const char *message, csync_error *err)
{
    cs_head head;
    int64_t old = 0, id = 0;
    int rc = sq_head_get(b, t, &head, NULL, &old, err);

    if (rc == CSYNC_OK && old)
        rc = drop_entry(b, old, err);
    if (rc == CSYNC_OK && change->operation != CSYNC_DELETE)
        rc = remove_row(b, t, change, err);
    if (rc == CSYNC_OK)
        rc = add_entry(b, change, reason, message, &id, err);
    return rc == CSYNC_OK ? sq_head_set_parked(b, t, id, err) : rc;
}

/* Compares with what is parked for that row: *status is 0 when the change is the newest. */
static int judge_unknown(cs_sqlite *b, const cs_change *change, int *status, csync_error *err)
{
    SQ_API(b);
    cs_stamp theirs = cs_change_stamp(change), ours;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_FIND, &stmt, err);

    *status = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, change->pub.table);
    sq_bind_text(b, stmt, 2, change->pub.pk);
    while ((rc = sq_step(b, stmt, err)) == 1) {
        const char *timestamp = sq_column_text(b, stmt, 1);
        int order;

        cs_time_parse(timestamp, strlen(timestamp), &ours.ts);
        ours.origin = sq_column_text(b, stmt, 2);
        ours.seq = sqlite3_column_int64(stmt, 3);
        order = cs_stamp_compare(&theirs, &ours);
        if (order <= 0)
            *status = order < 0 ? CSYNC_LOST : CSYNC_DUPLICATE;
    }
    return rc;
}

int sq_park_unknown(cs_sqlite *b, const cs_change *change, const char *reason, int relay,
                    int *status, csync_error *err)
{
    sqlite3_stmt *stmt;
    int64_t id;
    int rc = judge_unknown(b, change, status, err);

    if (rc != CSYNC_OK || *status)
        return rc;
    *status = CSYNC_PARKED;
    rc = sq_fixed(b, SQ_PARK_FORGET, &stmt, err);
    if (rc == CSYNC_OK) {
        sq_bind_text(b, stmt, 1, change->pub.table);
        sq_bind_text(b, stmt, 2, change->pub.pk);
        rc = sq_run(b, stmt, err);
    }
    if (rc == CSYNC_OK)
        rc = add_entry(b, &change->pub, reason, "no table that is tracked here can hold the row",
                       &id, err);
    if (rc == CSYNC_OK && relay)
        rc = sq_log_append(b, b->next_version++, &change->pub, change->pub.seq, err);
    return rc;
}

/* ---- listing ---- */

void sq_read_parked(cs_sqlite *b, sqlite3_stmt *stmt, csync_change *out)
{
    SQ_API(b);
    const char *operation = sq_column_text(b, stmt, 3);

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    out->table = sq_column_text(b, stmt, 1);
    out->pk = sq_column_text(b, stmt, 2);
    out->operation = cs_operation_parse(operation, strlen(operation));
    out->payload = sq_column_text(b, stmt, 4);
    out->origin = sq_column_text(b, stmt, 5);
    out->timestamp = sq_column_text(b, stmt, 6);
    out->seq = sqlite3_column_int64(stmt, 7);
}

int sq_parked(cs_backend *base, cs_parked_visit visit, void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    csync_change change;
    cs_parked parked = {&change, NULL, NULL, NULL};
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_LIST, &stmt, err);

    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        sq_read_parked(b, stmt, &change);
        parked.reason = sq_column_text(b, stmt, 8);
        parked.message = sq_column_text(b, stmt, 9);
        parked.since = sq_column_text(b, stmt, 10);
        rc = visit(ctx, &parked, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

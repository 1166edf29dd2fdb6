/* victims.c - rows that leave their table because another row does, or must. Their heads go to _sync_parked,
 * and so do the rows that refer to them: a child is visible only if its parent is. A row whose head is
 * deleted already is on its way out anyway and needs no entry. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "base/rules.h"

static const char no_parent[] = "the row that it refers to is not there";

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
int sq_victims_collect(cs_sqlite *b, sqlite3_stmt *stmt, cs_table *t, cs_row_list *out,
                       csync_error *err)
{
    cs_buf pk = {0};
    int rc;

    while ((rc = sq_step(b, stmt, err)) == 1) {
        cs_buf_clear(&pk);
        sq_put_key(b, stmt, 0, t, &pk);
        rc = cs_buf_check(&pk, err);
        if (rc == CSYNC_OK)
            rc = cs_row_list_add(out, t, pk.data, err);
        if (rc != CSYNC_OK)
            break;
    }
    cs_buf_free(&pk);
    return rc;
}

static int collect_through(cs_backend *base, cs_table *t, cs_table *child, const cs_foreign_key *fk,
                           cs_row_list *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
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
        rc = sq_victims_collect(b, stmt, child, out, err);
    }
    sqlite3_finalize(stmt);
    return rc;
}

/* Adds the rows that refer to the row in b->key. */
static int collect_children(cs_sqlite *b, cs_table *t, int all, cs_row_list *out, csync_error *err)
{
    return cs_row_list_children(&b->base, t, all, collect_through, out, err);
}

enum { STAYS, PARKED, LEAVING }; /* what becomes of a row */

/* The row's head goes to _sync_parked as a change of its own. STAYS: it is there already, or the row was
 * never captured and so has no head. LEAVING: its head deletes it. */
static int park_head(cs_sqlite *b, const cs_row_name *v, const char *reason, const char *message,
                     int *fate, csync_error *err)
{
    char timestamp[CS_TIME_SIZE];
    csync_change c = {.struct_size = sizeof c, .operation = CSYNC_UPDATE};
    cs_buf payload = {0};
    cs_head head;
    int64_t id = 0;
    int found = 0;
    int rc = sq_head_get(b, v->table, &head, &id, err);

    *fate = rc == CSYNC_OK && head.found && head.deleted && !id ? LEAVING : STAYS;
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
        rc = sq_park_add(b, &c, reason, message, &id, err);
        if (rc == CSYNC_OK)
            rc = sq_head_set_parked(b, v->table, id, err);
        *fate = PARKED;
    }
    cs_buf_free(&payload);
    return rc;
}

/* Parks the heads of the listed rows and of all rows below them; what is parked already drops out. The
 * reason is that of the rows listed first; rows below them have lost their parent. */
static int park_heads(cs_sqlite *b, cs_row_list *v, const char *reason, const char *message,
                      csync_error *err)
{
    size_t kept = 0, first = v->count;
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < v->count; i++) {
        cs_row_name one = v->list[i];
        int fate = STAYS;

        rc = sq_read_key(b, one.table, one.pk, strlen(one.pk), err);
        if (rc == CSYNC_OK)
            rc = i < first ? park_head(b, &one, reason, message, &fate, err)
                           : park_head(b, &one, "foreign key", no_parent, &fate, err);
        if (fate == LEAVING && cs_row_list_has(v, kept, &one))
            fate = STAYS; /* nothing in the database says that it was met before */
        if (rc == CSYNC_OK && fate != STAYS)
            rc = collect_children(b, one.table, 1, v, err);
        if (rc == CSYNC_OK && fate != STAYS) {
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

/* A row that a row of an untracked table holds, or would take along, stays where it is. */
static int delete_victim(cs_sqlite *b, const cs_row_name *one, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_read_key(b, one->table, one->pk, strlen(one->pk), err);

    if (rc == CSYNC_OK)
        rc = sq_table_stmt(b, one->table, SQT_ROW_DELETE, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    if (one->table->untracked_acts)
        return sq_park_supersede(b, one->table, err);
    sq_bind_key(b, stmt, one->table);
    rc = sq_run(b, stmt, err);
    if (rc == CSYNC_OK)
        sq_touch(one->table);
    return rc == CSYNC_EDB ? sq_park_supersede(b, one->table, err) : rc;
}

/* Rows below first. */
static int delete_rows(cs_sqlite *b, const cs_row_list *v, csync_error *err)
{
    int rc = CSYNC_OK;

    for (size_t i = v->count; rc == CSYNC_OK && i > 0; i--)
        rc = delete_victim(b, &v->list[i - 1], err);
    return rc;
}

/* With keys checked late, rows of a cycle may go one by one; what is unsatisfied at the end (a row of an
 * untracked table) undoes it all, and whoever wanted the rows gone is refused. */
int sq_victims_park(cs_sqlite *b, cs_row_list *v, const char *reason, const char *message,
                    csync_error *err)
{
    int before = b->deferred && sq_violated(b);
    int rc = v->count ? sq_attempt(b, err) : CSYNC_OK;

    if (rc != CSYNC_OK || !v->count)
        return rc;
    rc = park_heads(b, v, reason, message, err);
    if (rc == CSYNC_OK)
        rc = delete_rows(b, v, err);
    return rc == CSYNC_OK ? sq_attempt_end(b, b->deferred && !before && sq_violated(b), err) : rc;
}

int sq_park_children(cs_sqlite *b, cs_table *t, int all, csync_error *err)
{
    cs_row_list v = {NULL, 0, 0};
    int rc = CS_RULE(PARK_CHILDREN) ? collect_children(b, t, all, &v, err) : CSYNC_OK;

    if (rc == CSYNC_OK)
        rc = sq_victims_park(b, &v, "foreign key", no_parent, err);
    cs_row_list_free(&v);
    return rc;
}

int sq_park_orphans(cs_sqlite *b, csync_error *err)
{
    cs_row_list v = {NULL, 0, 0};
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        cs_table *t = b->base.tables[i];
        sqlite3_stmt *stmt;

        if (!t->fk_count)
            continue;
        rc = sq_table_stmt(b, t, SQT_ORPHANS, &stmt, err);
        if (rc == CSYNC_OK)
            rc = sq_victims_collect(b, stmt, t, &v, err);
    }
    if (rc == CSYNC_OK)
        rc = sq_victims_park(b, &v, "foreign key", no_parent, err);
    cs_row_list_free(&v);
    return rc;
}

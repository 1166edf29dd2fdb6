/* park.c - changes that have won but cannot enter their table.
 *
 * Such a change stays the row's head and travels on; its row is kept in _sync_parked, and the older state of
 * the row leaves the table together with all rows that refer to it: a child is visible only if its parent
 * is. So what a table shows is a function of the heads, equal on every replica. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"
#include "base/rules.h"

/* ---- entries of _sync_parked ---- */

int sq_park_add(cs_sqlite *b, const csync_change *c, const char *reason, const char *message,
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
    b->any_parked = 1;
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

int sq_park_supersede(cs_sqlite *b, cs_table *t, csync_error *err)
{
    cs_head head;
    int64_t parked = 0;
    int rc = sq_head_get(b, t, &head, &parked, err);

    return rc == CSYNC_OK && parked && CS_RULE(SUPERSEDE) ? sq_park_drop(b, t, parked, err) : rc;
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
    csync_change winner = *change;
    cs_head head;
    int64_t old = 0, id = 0;
    int rc = sq_head_get(b, t, &head, &old, err);

    winner.seq = head.stamp.seq; /* a decision has none of its own until it is logged */
    if (rc == CSYNC_OK && old)
        rc = drop_entry(b, old, err);
    if (rc == CSYNC_OK && change->operation != CSYNC_DELETE)
        rc = remove_row(b, t, change, err);
    if (rc == CSYNC_OK)
        rc = sq_park_add(b, &winner, reason, message, &id, err);
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
        rc = sq_park_add(b, &change->pub, reason, "no table that is tracked here can hold the row",
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

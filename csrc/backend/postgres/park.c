/* park.c - changes that have won but cannot enter their table: they stay their row's head and travel on. */
#include <string.h>

#include "backend/postgres/postgres.h"

int pg_park_add(cs_pg *b, const csync_change *c, const char *pk, const char *reason,
                const char *message, int64_t *id, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, c->table);
    pg_text(&a, pk);
    pg_text(&a, cs_operation_name(c->operation));
    pg_text(&a, c->payload);
    pg_text(&a, c->origin);
    pg_text(&a, c->timestamp);
    pg_int(&a, c->seq);
    pg_text(&a, reason);
    pg_text(&a, message);
    return pg_query_int(b,
                        "INSERT INTO csync._sync_parked(table_name,pk_value,operation,payload,origin,"
                        "timestamp,seq,reason,message,since) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,"
                        "csync._sync_time(csync._sync_wall())) RETURNING id",
                        &a, id, NULL, err);
}

static int drop(cs_pg *b, int64_t id, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, id);
    return pg_run(b, "DELETE FROM csync._sync_parked WHERE id=$1", &a, NULL, err);
}

/* The row's older state leaves the table, with the rows that refer to it. What refuses to go (a row of an untracked
 * table refers to it) stays. */
static int remove_row(cs_pg *b, cs_table *t, const csync_change *change, csync_error *err)
{
    csync_change gone = *change;
    const char *reason = NULL;
    int held = 0;
    int rc = pg_park_children(b, t, 1, err);

    gone.operation = CSYNC_DELETE;
    gone.payload = NULL;
    if (rc == CSYNC_OK)
        rc = pg_read_key(b, t, change->pk, &reason, err);
    if (rc == CSYNC_OK)
        rc = pg_is_referred_to(b, t, &held, err);
    if (rc == CSYNC_OK)
        rc = pg_read_key(b, t, change->pk, &reason, err);
    return rc == CSYNC_OK && !held ? pg_write_row(b, t, &gone, &reason, err) : rc;
}

int pg_park(cs_pg *b, cs_table *t, const csync_change *change, const char *reason,
            const char *message, csync_error *err)
{
    csync_change winner = *change;
    cs_head head;
    int64_t id = 0;
    int rc = pg_head_get(b, t, &head, NULL, err);

    winner.seq = head.stamp.seq; /* a decision has none of its own until it is logged */
    if (rc == CSYNC_OK)
        rc = pg_park_supersede(b, t, err);
    if (rc == CSYNC_OK && change->operation != CSYNC_DELETE)
        rc = remove_row(b, t, change, err);
    if (rc == CSYNC_OK)
        rc = pg_park_add(b, &winner, b->pk.data, reason, message, &id, err);
    return rc == CSYNC_OK ? pg_head_set_parked(b, t, id, err) : rc;
}

int pg_park_supersede(cs_pg *b, const cs_table *t, csync_error *err)
{
    cs_head head;
    int64_t parked = 0;
    int rc = pg_head_get(b, t, &head, &parked, err);

    if (rc != CSYNC_OK || !parked)
        return rc;
    rc = pg_head_set_parked(b, t, 0, err);
    return rc == CSYNC_OK ? drop(b, parked, err) : rc;
}

/* Compares with what is parked for that row: *status is 0 when the change is the newest. */
static int judge_unknown(cs_pg *b, const cs_change *change, int *status, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t order = 0;
    int found = 0;
    int rc;

    pg_text(&a, change->pub.table);
    pg_text(&a, change->pub.pk);
    pg_text(&a, change->pub.timestamp);
    pg_text(&a, change->pub.origin);
    pg_int(&a, change->pub.seq);
    rc = pg_query_int(
        b,
        "SELECT max(CASE WHEN (timestamp COLLATE \"C\",origin,seq)>($3,$4,$5::bigint) THEN 2 "
        "WHEN (timestamp,origin,seq)=($3,$4,$5::bigint) THEN 1 ELSE 0 END) FROM "
        "csync._sync_parked WHERE table_name=$1 AND pk_value=$2",
        &a, &order, &found, err);
    *status = order == 2 ? CSYNC_LOST : order == 1 ? CSYNC_DUPLICATE : 0;
    return rc;
}

int pg_park_unknown(cs_pg *b, const cs_change *change, const char *reason, int relay, int *status,
                    csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t id = 0;
    int rc = judge_unknown(b, change, status, err);

    if (rc != CSYNC_OK || *status)
        return rc;
    *status = CSYNC_PARKED;
    pg_text(&a, change->pub.table);
    pg_text(&a, change->pub.pk);
    rc = pg_run(b, "DELETE FROM csync._sync_parked WHERE table_name=$1 AND pk_value=$2", &a, NULL,
                err);
    if (rc == CSYNC_OK)
        rc = pg_park_add(b, &change->pub, change->pub.pk, reason,
                         strcmp(reason, "type") == 0
                             ? "the key's columns hold no such value, or spell it otherwise"
                             : "no table that is tracked here can hold the row",
                         &id, err);
    if (rc == CSYNC_OK && relay)
        rc = pg_log_append(b, &change->pub, 0, &id, err);
    return rc;
}

int pg_parked_count(cs_backend *base, int64_t *count, csync_error *err)
{
    return pg_query_int((cs_pg *)base, "SELECT count(*) FROM csync._sync_parked", NULL, count, NULL,
                        err);
}

int pg_any_parked(cs_pg *b, int *any, csync_error *err)
{
    int64_t one;

    return pg_query_int(b, "SELECT 1 FROM csync._sync_parked LIMIT 1", NULL, &one, any, err);
}

/* ---- listing, and trying again ---- */

static const char list_sql[] =
    "SELECT id,table_name,pk_value,operation,payload,origin,timestamp,seq,reason,message,since FROM "
    "csync._sync_parked ORDER BY timestamp COLLATE \"C\" DESC,origin DESC,seq DESC,id DESC";

static void read_parked(cs_pg *b, const PGresult *r, int row, csync_change *out)
{
    const char *operation = pg_cell(b, r, row, 3);

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    out->table = pg_cell(b, r, row, 1);
    out->pk = pg_cell(b, r, row, 2);
    out->operation = cs_operation_parse(operation, strlen(operation));
    out->payload = pg_cell(b, r, row, 4);
    out->origin = pg_cell(b, r, row, 5);
    out->timestamp = pg_cell(b, r, row, 6);
    out->seq = pg_cell_int(b, r, row, 7);
}

int pg_parked(cs_backend *base, cs_parked_visit visit, void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    csync_change change;
    cs_parked parked = {&change, NULL, NULL, NULL};
    PGresult *r;
    int rc = pg_run(b, list_sql, NULL, &r, err);

    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        read_parked(b, r, i, &change);
        parked.reason = pg_cell(b, r, i, 8);
        parked.message = pg_cell(b, r, i, 9);
        parked.since = pg_cell(b, r, i, 10);
        rc = visit(ctx, &parked, err);
    }
    pg_clear(b, r);
    return rc;
}

/* *entered 1: the row is in its table; its entry is gone. */
static int try_entry(cs_pg *b, int64_t id, const csync_change *change, int *entered, csync_error *err)
{
    cs_table *t = cs_backend_table(&b->base, change->table, strlen(change->table));
    const char *reason = NULL;
    cs_head head;
    int64_t parked = 0;
    int rc = t ? pg_read_key(b, t, change->pk, &reason, err) : CSYNC_OK;

    if (rc != CSYNC_OK || !t || reason)
        return rc;
    rc = pg_head_get(b, t, &head, &parked, err);
    if (rc != CSYNC_OK || parked != id)
        return rc;
    rc = pg_enter_row(b, t, change, &reason, err);
    if (rc != CSYNC_OK || reason)
        return rc;
    *entered = 1;
    rc = pg_read_key(b, t, change->pk, &reason, err);
    return rc == CSYNC_OK ? pg_park_supersede(b, t, err) : rc;
}

static int try_all(cs_pg *b, int *entered, csync_error *err)
{
    csync_change change;
    PGresult *r;
    int rc = pg_run(b, list_sql, NULL, &r, err);

    *entered = 0;
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        read_parked(b, r, i, &change);
        rc = try_entry(b, pg_cell_int(b, r, i, 0), &change, entered, err);
    }
    pg_clear(b, r);
    return rc;
}

static int any_cycle(const cs_pg *b)
{
    for (size_t i = 0; i < b->base.table_count; i++)
        if (b->base.tables[i]->in_cycle)
            return 1;
    return 0;
}

/* Rows of a cycle let each other in, where their keys can be checked late: all at once, then those without a parent go out
 * again. Should that leave a key unsatisfied, or no row more than before, nothing has happened. */
static int try_cycle(cs_pg *b, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int64_t before = 0, after = 0;
    size_t own = b->own_count;
    int ignored;
    int rc = pg_parked_count(&b->base, &before, err);

    if (rc != CSYNC_OK || !before || !any_cycle(b))
        return rc;
    rc = pg_exec(b, "SAVEPOINT csync_cycle; SET CONSTRAINTS ALL DEFERRED", err);
    if (rc == CSYNC_OK)
        rc = try_all(b, &ignored, err);
    if (rc == CSYNC_OK)
        rc = pg_park_orphans(b, err);
    if (rc == CSYNC_OK)
        rc = pg_parked_count(&b->base, &after, err);
    if (rc != CSYNC_OK)
        return rc;
    rc = after < before ? pg_exec(b, "SET CONSTRAINTS ALL IMMEDIATE", &why) : CSYNC_EDB;
    if (rc != CSYNC_OK && after < before && !pg_reason(b)) {
        cs_error_copy(err, &why);
        return rc;
    }
    if (rc != CSYNC_OK) {
        pg_own_cut(b, own);
        rc = pg_exec(b, "ROLLBACK TO SAVEPOINT csync_cycle; SET CONSTRAINTS ALL IMMEDIATE", err);
    }
    return rc == CSYNC_OK ? pg_exec(b, "RELEASE SAVEPOINT csync_cycle", err) : rc;
}

int pg_retry_parked(cs_backend *base, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int entered = 1;
    int rc = pg_any_parked(b, &entered, err);

    b->tables_are_new = 0;
    if (rc == CSYNC_OK && entered)
        rc = pg_check_now(b, err);
    while (rc == CSYNC_OK && entered)
        rc = try_all(b, &entered, err);
    if (rc == CSYNC_OK)
        rc = try_cycle(b, err);
    return rc == CSYNC_OK ? pg_own_log(b, err) : rc;
}

/* restamp.c - changes that were stamped by a clock far ahead, and that nobody has taken, are stamped again. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/mem.h"

/* Appends the heads of `t` with a timestamp above `ts` that are this replica's own and that no peer has; each
 * gets a timestamp of `ts`, or one just above its base. */
static int collect(cs_sqlite *b, cs_table *t, int64_t ts, csync_batch *out, csync_error *err)
{
    SQ_API(b);
    char text[CS_STAMP_SIZE];
    sqlite3_stmt *stmt;
    cs_head head;
    cs_buf pk = {0};
    int rc = sq_table_stmt(b, t, SQT_HEADS_AHEAD, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, b->me);
    sq_bind_int(b, stmt, 2, ts);
    while (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
        cs_change about = {.pub = {.struct_size = sizeof about.pub}};
        cs_item item = {.change = &about, .table = t};
        cs_change *c;

        cs_buf_clear(&pk);
        rc = sq_head_key(b, t, stmt, &pk, err);
        about.pub.pk = pk.data;
        about.pk_len = pk.len;
        if (rc == CSYNC_OK)
            rc = sq_head_change(&b->base, &item, out, err);
        if (rc == CSYNC_OK)
            rc = sq_read_key(b, t, pk.data, pk.len, err);
        if (rc == CSYNC_OK)
            rc = sq_head_get(b, t, &head, NULL, err);
        if (rc != CSYNC_OK)
            break;
        c = &out->items[out->count - 1];
        rc = cs_batch_text(out, sq_base_text(&head, text), &c->pub.base, err);
        if (rc == CSYNC_OK &&
            cs_batch_set_time(out, c, head.has_base && head.base.ts >= ts ? head.base.ts + 1 : ts) !=
                CSYNC_OK)
            rc = cs_fail_nomem(err);
    }
    sqlite3_reset(stmt);
    cs_buf_free(&pk);
    return rc;
}

/* Taking a head over forgets its base. */
static int restore_base(cs_sqlite *b, cs_table *t, const cs_change *c, csync_error *err)
{
    char text[CS_STAMP_SIZE], timestamp[CS_TIME_SIZE];
    csync_change base = c->pub;
    cs_stamp stamp;

    if (!cs_change_base(&c->pub, &stamp, text))
        return CSYNC_OK;
    cs_time_format(stamp.ts, timestamp);
    base.timestamp = timestamp;
    base.origin = stamp.origin;
    base.seq = stamp.seq;
    return sq_agree(&b->base, t, &base, err);
}

static int stamp_table(cs_sqlite *b, cs_table *t, int64_t ts, int64_t *count, csync_error *err)
{
    static const cs_merge how = {.relay = 1};
    csync_batch *batch = cs_batch_create();
    cs_item *items = NULL;
    int rc = batch ? collect(b, t, ts, batch, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK && !(items = cs_calloc(batch->count + 1, sizeof *items)))
        rc = cs_fail_nomem(err);
    for (size_t i = 0; rc == CSYNC_OK && i < batch->count; i++) {
        items[i].change = &batch->items[i];
        items[i].table = t;
        items[i].force = items[i].local = 1;
    }
    if (rc == CSYNC_OK && batch->count)
        rc = sq_merge(&b->base, items, batch->count, &how, err);
    for (size_t i = 0; rc == CSYNC_OK && i < batch->count; i++)
        rc = restore_base(b, t, &batch->items[i], err);
    *count += rc == CSYNC_OK ? (int64_t)batch->count : 0;
    cs_free(items);
    cs_batch_destroy(batch);
    return rc;
}

/* The clock must stay above every stamp that is still in use. */
static int turn_clock_back(cs_sqlite *b, int64_t ts, csync_error *err)
{
    SQ_API(b);
    char text[CS_TIME_SIZE];
    cs_floors floors;
    sqlite3_stmt *stmt;
    int rc = sq_floors(&b->base, &floors, err);

    if (rc == CSYNC_OK && floors.tombstone_ts > ts)
        ts = floors.tombstone_ts;
    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++) {
        rc = sq_table_stmt(b, b->base.tables[i], SQT_HEADS_LATEST, &stmt, err);
        if (rc == CSYNC_OK && (rc = sq_step(b, stmt, err)) == 1) {
            if (sqlite3_column_int64(stmt, 0) > ts)
                ts = sqlite3_column_int64(stmt, 0);
            rc = sq_run(b, stmt, err);
        }
    }
    if (rc == CSYNC_OK)
        rc = sq_fixed(b, SQ_CLOCK_SET, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    cs_time_format(ts + 1, text);
    sq_bind_text(b, stmt, 1, text);
    return sq_run(b, stmt, err);
}

int sq_stamp_again(cs_backend *base, int64_t ts, int64_t *count, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int rc = CSYNC_OK;

    *count = 0;
    for (size_t i = 0; rc == CSYNC_OK && i < base->table_count; i++)
        rc = stamp_table(b, base->tables[i], ts, count, err);
    return rc == CSYNC_OK && *count ? turn_clock_back(b, ts, err) : rc;
}

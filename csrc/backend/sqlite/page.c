/* page.c - the heads after a version, in order of version, as a batch. */
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

/* The log entry at hand, and what its head says of it. */
typedef struct entry {
    csync_change change;
    cs_table *table;
    int64_t parked; /* id, 0: not parked */
    char base[CS_STAMP_SIZE];
    cs_buf payload; /* where it was not in the log */
    cs_buf pk; /* where the log has text that is not UTF-8 */
} entry;

static void read_entry(cs_sqlite *b, sqlite3_stmt *stmt, entry *e)
{
    SQ_API(b);
    const char *operation = sq_column_text(b, stmt, 3), *origin = sq_column_text(b, stmt, 5);
    csync_change *c = &e->change;

    c->struct_size = sizeof *c;
    c->base = NULL;
    c->version = sqlite3_column_int64(stmt, 0);
    c->table = sq_column_text(b, stmt, 1);
    c->pk = sq_column_text(b, stmt, 2);
    c->operation = cs_operation_parse(operation, strlen(operation));
    c->payload = sq_column_text(b, stmt, 4);
    c->origin = origin ? origin : b->base.origin;
    c->timestamp = sq_column_text(b, stmt, 6);
    c->seq = origin ? sqlite3_column_int64(stmt, 7) : c->version;
    e->table = cs_backend_table(&b->base, c->table, strlen(c->table));
    e->parked = 0;
    cs_buf_clear(&e->payload);
    cs_buf_clear(&e->pk);
}

/* A change that no table here can hold is its row's head as long as it is parked. */
static int is_parked_head(cs_sqlite *b, entry *e, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int current = 0;
    int rc = sq_fixed(b, SQ_PARK_FIND, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, e->change.table);
    sq_bind_text(b, stmt, 2, e->change.pk);
    while ((rc = sq_step(b, stmt, err)) == 1)
        current |= strcmp(sq_column_text(b, stmt, 1), e->change.timestamp) == 0 &&
                   strcmp(sq_column_text(b, stmt, 2), e->change.origin) == 0 &&
                   sqlite3_column_int64(stmt, 3) == e->change.seq;
    return rc < 0 ? rc : current;
}

/* 1 when the entry is its row's head and did not come from request->skip_via. */
static int is_head(cs_sqlite *b, entry *e, const cs_page_request *request, csync_error *err)
{
    cs_head head;
    int rc = sq_read_key(b, e->table, e->change.pk, strlen(e->change.pk), err);

    if (rc == CSYNC_EINVAL)
        return 0; /* a row without a usable key has no head */
    if (rc == CSYNC_OK)
        rc = sq_head_get(b, e->table, &head, &e->parked, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!head.found)
        return is_parked_head(b, e, err);
    if (request->bases)
        e->change.base = sq_base_text(&head, e->base);
    return (head.version == e->change.version || !CS_RULE(HEADS_ONLY)) &&
           (!request->skip_via || head.via != request->skip_via);
}

static int read_parked_payload(cs_sqlite *b, entry *e, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PARK_GET, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, e->parked);
    if ((rc = sq_step(b, stmt, err)) == 1) {
        cs_buf_puts(&e->payload, sq_column_text(b, stmt, 4));
        rc = cs_buf_check(&e->payload, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

/* A key with text that is not UTF-8 is written again from its values, in b->key. */
static int mend_key(cs_sqlite *b, entry *e, csync_error *err)
{
    if (cs_utf8_valid(e->change.pk, strlen(e->change.pk)))
        return CSYNC_OK;
    sq_put_key_values(b, e->table, &e->pk);
    e->change.pk = e->pk.data;
    return cs_buf_check(&e->pk, err);
}

/* What the log does not hold (capture by keys, values that SQL cannot write) is what the row holds now: the
 * entry is the head. Text that is not UTF-8 went into the log as it was; the row gives it exactly.
 * 0: the row is gone without a trace in the log. */
static int complete(cs_sqlite *b, entry *e, csync_error *err)
{
    int found = 1;
    int rc;

    rc = mend_key(b, e, err);
    if (rc != CSYNC_OK || e->change.operation == CSYNC_DELETE)
        return rc == CSYNC_OK ? 1 : rc;
    if (e->change.payload && cs_utf8_valid(e->change.payload, strlen(e->change.payload)))
        return 1;
    rc = e->parked ? read_parked_payload(b, e, err)
                   : sq_row_payload(b, e->table, &e->payload, &found, err);
    e->change.payload = e->payload.data;
    return rc != CSYNC_OK ? rc : found;
}

static int append(csync_batch *batch, const csync_change *change, csync_error *err)
{
    int64_t ms;

    if (cs_time_parse(change->timestamp, strlen(change->timestamp), &ms) != 0)
        return cs_fail(err, CSYNC_EDB, "entry %lld of _sync_log has a damaged timestamp: %.40s",
                       (long long)change->version, change->timestamp);
    return cs_batch_append(batch, change, ms, err);
}

static int add_entry(cs_sqlite *b, sqlite3_stmt *stmt, entry *e, const cs_page_request *request,
                     csync_batch *batch, csync_error *err)
{
    int rc;

    if (!cs_scope_has(&request->scope, sq_column_text(b, stmt, 1)))
        return CSYNC_OK;
    read_entry(b, stmt, e);
    rc = e->table ? is_head(b, e, request, err) : is_parked_head(b, e, err);
    if (rc == 1 && e->table)
        rc = complete(b, e, err);
    return rc == 1 ? append(batch, &e->change, err) : rc;
}

static int full(const cs_page_request *request, const csync_batch *batch)
{
    return batch->count >= (size_t)request->limit ||
           (batch->count > 0 && batch->bytes >= request->max_bytes) ||
           (request->scope.count && batch->to_version - request->since >= CS_PAGE_SPAN);
}

int sq_page(cs_backend *base, const cs_page_request *request, csync_batch *batch, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    entry e = {.parked = 0};
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_SCAN, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, request->since);
    batch->from_version = batch->to_version = request->since;
    batch->has_info = 1;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        if (full(request, batch)) {
            batch->has_more = 1;
            rc = CSYNC_OK;
            break;
        }
        rc = add_entry(b, stmt, &e, request, batch, err);
        if (rc != CSYNC_OK)
            break;
        batch->to_version = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_reset(stmt);
    cs_buf_free(&e.payload);
    cs_buf_free(&e.pk);
    return rc;
}

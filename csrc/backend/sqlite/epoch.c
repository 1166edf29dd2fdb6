/* epoch.c - whether a position belongs to this log (model/epoch.h). */
#include <stdio.h>

#include "backend/sqlite/sqlite.h"
#include "base/rules.h"

/* Older than what any peer's position names, an epoch is forgotten; but a peer says where it stands when it comes the next
 * time, and another handle may have begun one since: so not the newest 100. And there are at most 1000. */
static const char prune_sql[] =
    "DELETE FROM main._sync_epochs WHERE id<=(SELECT max(id)-1000 FROM main._sync_epochs) OR "
    "(id<=(SELECT max(id)-100 FROM main._sync_epochs) AND id<(SELECT min(e.id) FROM "
    "main._sync_epochs e JOIN main._sync_peers p ON e.epoch=substr(p.pushed_epoch,1,16)))";

int sq_settle(cs_backend *base, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int64_t top = 0;
    int settled = 0;
    int rc = sq_settled(base, &settled, err);

    if (rc != CSYNC_OK || settled)
        return rc;
    rc = cs_epoch_new_id(b->epoch, err);
    if (rc == CSYNC_OK)
        rc = sq_log_top(base, &top, err);
    if (rc == CSYNC_OK)
        rc = sq_fixed(b, SQ_EPOCH_ADD, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, b->epoch);
    sq_bind_int(b, stmt, 2, top);
    b->epoch_new = 1;
    rc = sq_run(b, stmt, err);
    return rc == CSYNC_OK ? sq_exec(b, prune_sql, err) : rc;
}

/* Columns of SQ_EPOCH_GET: *end is the version at which the next epoch began. */
static int get_epoch(cs_sqlite *b, const char *id, int *found, int64_t *end, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_EPOCH_GET, &stmt, err);

    *found = 0;
    *end = INT64_MAX;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, id);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        *found = 1;
        if (sqlite3_column_type(stmt, 0) != SQLITE_NULL)
            *end = sqlite3_column_int64(stmt, 0);
        rc = CSYNC_OK;
    }
    sqlite3_reset(stmt);
    return rc;
}

/* A backup may have been restored under an open handle. */
int sq_settled(cs_backend *base, int *settled, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    int64_t end;

    *settled = 0;
    return b->epoch[0] ? get_epoch(b, b->epoch, settled, &end, err) : CSYNC_OK;
}

int sq_last_entry(cs_sqlite *b, int64_t version, sq_entry *out, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_LOG_LAST, &stmt, err);

    *out = (sq_entry){0, 0};
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, version);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        out->version = sqlite3_column_int64(stmt, 0);
        out->mark = cs_epoch_mark(sq_column_text(b, stmt, 1), sq_column_text(b, stmt, 2),
                                  sq_column_text(b, stmt, 3), sq_column_text(b, stmt, 6));
    }
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

static int newest_epoch(cs_sqlite *b, char out[CS_EPOCH_ID_SIZE], csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_EPOCH_NEWEST, &stmt, err);

    out[0] = 0;
    if (rc != CSYNC_OK)
        return rc;
    rc = sq_step(b, stmt, err);
    if (rc == 1)
        snprintf(out, CS_EPOCH_ID_SIZE, "%s", sq_column_text(b, stmt, 0));
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

int sq_position(cs_backend *base, cs_position *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    cs_epoch e = {.asof = 0};
    sq_entry last = {0, 0};
    int rc = sq_log_top(base, &e.asof, err);

    if (rc == CSYNC_OK)
        rc = newest_epoch(b, e.id, err);
    if (rc == CSYNC_OK)
        rc = sq_last_entry(b, e.asof, &last, err);
    e.mark = last.mark;
    out->version = e.asof;
    cs_epoch_format(&e, out->epoch);
    return rc;
}

/* *same 1: the log still is what it was when the text was given out. */
static int check_epoch(cs_sqlite *b, const cs_epoch *e, int64_t top, int *same, csync_error *err)
{
    sq_entry last = {0, 0};
    int64_t end = 0;
    int rc = get_epoch(b, e->id, same, &end, err);

    if (rc != CSYNC_OK || !*same)
        return rc;
    *same = e->asof <= end && e->asof <= top;
    if (*same)
        rc = sq_last_entry(b, e->asof, &last, err);
    *same &= !last.mark || last.mark == e->mark;
    return rc;
}

int sq_judge(cs_backend *base, const cs_position *position, cs_verdict *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    cs_floors floors;
    cs_epoch e = {.asof = INT64_MAX};
    int64_t top = 0;
    int same = 1;
    int rc = sq_log_top(base, &top, err);

    *out = CS_FALSE;
    if (rc == CSYNC_OK && position->epoch[0] && CS_RULE(EPOCH)) {
        if (cs_epoch_parse(position->epoch, &e) != 0 || e.asof < position->version)
            return CSYNC_OK;
        if (!CS_RULE(ASOF)) {
            e.asof = position->version;
            e.mark = 0;
        }
        rc = check_epoch(b, &e, top, &same, err);
    } else if (rc == CSYNC_OK) {
        same = position->version <= top;
    }
    if (rc == CSYNC_OK)
        rc = sq_floors(base, &floors, err);
    if (rc == CSYNC_OK)
        *out = cs_position_judge(position, same, e.asof, &floors);
    return rc;
}

/* epoch.c - whether a position belongs to this log (model/epoch.h). The horizon may go back a little while a
 * transaction begins, so what is compared with it is the last version that was given out. */
#include "backend/postgres/postgres.h"
#include "base/text.h"

/* Older than what any peer's position names, an epoch is forgotten; but a peer says where it stands when it comes the next
 * time, and another handle may have begun one since: so not the newest 100. And there are at most 1000. */
static const char prune_sql[] =
    "DELETE FROM csync._sync_epochs WHERE id<=(SELECT max(id)-1000 FROM csync._sync_epochs) OR "
    "(id<=(SELECT max(id)-100 FROM csync._sync_epochs) AND id<(SELECT min(e.id) FROM "
    "csync._sync_epochs e JOIN csync._sync_peers p ON e.epoch=substr(p.pushed_epoch,1,16)))";

int pg_settle(cs_backend *base, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int settled = 0;
    int rc = pg_settled(base, &settled, err);

    if (rc != CSYNC_OK || settled)
        return rc;
    rc = cs_epoch_new_id(b->epoch, err);
    b->epoch_new = 1;
    pg_text(&a, b->epoch);
    if (rc == CSYNC_OK)
        rc = pg_run(
            b, "INSERT INTO csync._sync_epochs(epoch,first_version) VALUES($1,csync._sync_last())",
            &a, NULL, err);
    return rc == CSYNC_OK ? pg_exec(b, prune_sql, err) : rc;
}

/* *end is the version at which the next epoch began. */
static int get_epoch(cs_pg *b, const char *id, int *found, int64_t *end, csync_error *err)
{
    pg_args a = {.count = 0};
    int rc;

    pg_text(&a, id);
    rc = pg_query_int(b,
                      "SELECT coalesce((SELECT min(n.first_version) FROM csync._sync_epochs n WHERE "
                      "n.id>e.id),9223372036854775807) FROM csync._sync_epochs e WHERE e.epoch=$1",
                      &a, end, found, err);
    return rc;
}

int pg_settled(cs_backend *base, int *settled, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int64_t end;

    *settled = 0;
    return b->epoch[0] ? get_epoch(b, b->epoch, settled, &end, err) : CSYNC_OK;
}

/* The check sum of the log's last entry up to `version` (what was rolled back leaves holes); 0: there is none (any
 * more). */
static int mark_of(cs_pg *b, int64_t version, uint32_t *mark, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    *mark = 0;
    pg_int(&a, version);
    rc = pg_run(b,
                "SELECT table_name,pk_value,operation,timestamp FROM csync._sync_log WHERE version<=$1 "
                "ORDER BY version DESC LIMIT 1",
                &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r))
        *mark = cs_epoch_mark(pg_cell(b, r, 0, 0), pg_cell(b, r, 0, 1), pg_cell(b, r, 0, 2),
                              pg_cell(b, r, 0, 3));
    pg_clear(b, r);
    return rc;
}

int pg_position(cs_backend *base, cs_position *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    cs_epoch e = {.asof = b->top};
    PGresult *r;
    int rc = mark_of(b, e.asof, &e.mark, err);

    if (rc != CSYNC_OK)
        return rc;
    rc = pg_run(b, "SELECT epoch FROM csync._sync_epochs ORDER BY id DESC LIMIT 1", NULL, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r))
        cs_text_copy(e.id, sizeof e.id, pg_cell(b, r, 0, 0));
    pg_clear(b, r);
    out->version = e.asof;
    cs_epoch_format(&e, out->epoch);
    return rc;
}

/* *same 1: the log still is what it was when the text was given out. */
static int check_epoch(cs_pg *b, const cs_epoch *e, int64_t last, int *same, csync_error *err)
{
    uint32_t mark = 0;
    int64_t end = 0;
    int rc = get_epoch(b, e->id, same, &end, err);

    if (rc != CSYNC_OK || !*same)
        return rc;
    *same = e->asof <= end && e->asof <= last;
    if (*same)
        rc = mark_of(b, e->asof, &mark, err);
    *same &= !mark || mark == e->mark;
    return rc;
}

int pg_judge(cs_backend *base, const cs_position *position, cs_verdict *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    cs_floors floors;
    cs_epoch e = {.asof = INT64_MAX};
    int64_t last = 0;
    int same = 1;
    int rc = pg_last_version(b, &last, err);

    *out = CS_FALSE;
    if (rc == CSYNC_OK && position->epoch[0]) {
        if (cs_epoch_parse(position->epoch, &e) != 0 || e.asof < position->version)
            return CSYNC_OK;
        rc = check_epoch(b, &e, last, &same, err);
    } else if (rc == CSYNC_OK) {
        same = position->version <= last;
    }
    if (rc == CSYNC_OK)
        rc = pg_floors(base, &floors, err);
    if (rc == CSYNC_OK)
        *out = cs_position_judge(position, same, e.asof, &floors);
    return rc;
}

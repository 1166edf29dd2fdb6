/* restamp.c - changes that were stamped by a clock far ahead, and that nobody has taken, are stamped again. */
#include "backend/postgres/postgres.h"

/* Heads with a timestamp above $2 that are this replica's own and that no peer has get a new entry with the timestamp
 * $2, or one just above their base; the row is read when it is sent. */
static const char stamp_sql[] =
    "WITH a AS (SELECT r.table_id,r.pk,r.version,r.state,t.name,CASE WHEN r.base_origin IS NOT NULL AND "
    "r.base_ts>=$2::bigint THEN r.base_ts+1 ELSE $2::bigint END AS ts FROM csync._sync_rows r JOIN "
    "csync._sync_tables t ON t.id=r.table_id WHERE r.origin=$1 AND r.ts>$2::bigint AND r.state&2=0),"
    "n AS (INSERT INTO csync._sync_log(table_name,pk_value,operation,timestamp,ts) SELECT name,pk,"
    "CASE WHEN state&1<>0 THEN 'delete' ELSE 'update' END,csync._sync_time(ts),ts FROM a ORDER BY version "
    "RETURNING version,table_name,pk_value,ts) UPDATE csync._sync_rows r SET version=n.version,"
    "seq=n.version,ts=n.ts FROM n JOIN csync._sync_tables t ON t.name=n.table_name WHERE "
    "r.table_id=t.id AND r.pk=n.pk_value";

static const char parked_sql[] =
    "UPDATE csync._sync_parked p SET timestamp=csync._sync_time(r.ts),seq=r.seq FROM csync._sync_rows r "
    "WHERE r.parked=p.id AND r.origin=$1 AND r.ts<=$2::bigint AND p.seq<>r.seq";

/* The clock must stay above every stamp that is still in use. */
static int turn_clock_back(cs_pg *b, int64_t ts, csync_error *err)
{
    pg_args a = {.count = 0};
    cs_floors floors;
    int rc = pg_floors(&b->base, &floors, err);

    pg_int(&a, rc == CSYNC_OK && floors.tombstone_ts > ts ? floors.tombstone_ts : ts);
    return rc == CSYNC_OK
               ? pg_run(b,
                        "UPDATE csync._sync_session SET clock=1+greatest($1::bigint,(SELECT "
                        "max(ts) FROM csync._sync_rows))",
                        &a, NULL, err)
               : rc;
}

int pg_stamp_again(cs_backend *base, int64_t ts, int64_t *count, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r = NULL;
    int rc = pg_enter_log(b, err);

    *count = 0;
    pg_text(&a, base->origin);
    pg_int(&a, ts);
    if (rc == CSYNC_OK)
        rc = pg_run(b, stamp_sql, &a, &r, err);
    if (rc == CSYNC_OK)
        *count = pg_affected(b, r);
    pg_clear(b, r);
    if (rc == CSYNC_OK && *count)
        rc = pg_run(b, parked_sql, &a, NULL, err);
    return rc == CSYNC_OK && *count ? turn_clock_back(b, ts, err) : rc;
}

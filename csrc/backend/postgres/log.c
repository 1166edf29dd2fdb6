/* log.c - the log: folding it into the heads, completing it for others, and its pages. */
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/mem.h"

#define PAGE_ENTRIES 2000

int pg_log_top(cs_backend *base, int64_t *version, csync_error *err)
{
    (void)err;
    *version = ((cs_pg *)base)->top;
    return CSYNC_OK;
}

int pg_last_version(cs_pg *b, int64_t *version, csync_error *err)
{
    return pg_query_int(b, "SELECT csync._sync_last()", NULL, version, NULL, err);
}

int pg_enter_log(cs_pg *b, csync_error *err)
{
    return pg_exec(b, "SELECT csync._sync_enter()", err);
}

/* What was applied has its heads: only local edits need folding. */
static int has_unfolded(cs_pg *b, int64_t folded, int *found, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t one;

    *found = 0;
    pg_int(&a, folded);
    pg_int(&a, b->top);
    return b->top > folded
               ? pg_query_int(b,
                              "SELECT 1 FROM csync._sync_log WHERE version>$1 AND version<=$2 AND "
                              "origin IS NULL ORDER BY version LIMIT 1",
                              &a, &one, found, err)
               : CSYNC_OK;
}

int pg_needs_fold(cs_backend *base, int has_folded, int *needed, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int64_t folded = 0;
    int rc = pg_state_int(b, "folded_version", &folded, err);

    *needed = 0;
    if (rc == CSYNC_OK)
        rc = has_unfolded(b, folded, needed, err);
    if (rc == CSYNC_OK && has_folded && *needed) {
        b->top = folded;
        *needed = 0;
    }
    if (rc == CSYNC_OK && !*needed && b->tables_are_new)
        rc = pg_any_parked(b, needed, err);
    return rc;
}

/* The last local entry of each row becomes its head, unless what was applied since has beaten it; entries that
 * were folded before change nothing. A head that a peer has becomes the base. */
static const char fold_sql[] =
    "INSERT INTO csync._sync_rows AS r(table_id,pk,version,ts,origin,seq,state,via) "
    "SELECT t.id,l.pk_value,l.version,l.ts,$1::text,l.version,(l.operation='delete')::int,0 FROM (SELECT "
    "DISTINCT ON (table_name,pk_value) * FROM csync._sync_log WHERE version>$2::bigint AND origin IS NULL "
    "ORDER BY table_name,pk_value,version DESC) l JOIN csync._sync_tables t ON t.name=l.table_name "
    "ON CONFLICT(table_id,pk) DO UPDATE SET version=excluded.version,ts=excluded.ts,"
    "origin=excluded.origin,seq=excluded.seq,state=excluded.state,via=0,parked=0,"
    "base_version=CASE WHEN r.state&2<>0 THEN r.version ELSE r.base_version END,"
    "base_ts=CASE WHEN r.state&2<>0 THEN r.ts ELSE r.base_ts END,"
    "base_origin=CASE WHEN r.state&2<>0 THEN r.origin ELSE r.base_origin END,"
    "base_seq=CASE WHEN r.state&2<>0 THEN r.seq ELSE r.base_seq END "
    "WHERE CASE WHEN r.origin=$1 THEN r.version<excluded.version ELSE "
    "(excluded.ts,excluded.origin)>(r.ts,r.origin) END";

static int drop_superseded(cs_pg *b, csync_error *err)
{
    return pg_exec(b,
                   "DELETE FROM csync._sync_parked p USING csync._sync_tables t,csync._sync_rows r WHERE "
                   "t.name=p.table_name AND r.table_id=t.id AND r.pk=p.pk_value AND r.parked<>p.id",
                   err);
}

/* In a merge: a foreign key's action has deleted, in this transaction, a row that somebody had written without knowing that its parent
 * would go. What is visible and still in progress is this transaction's own, whichever savepoint it was under. */
static const char audit_cascades_sql[] =
    "INSERT INTO csync._sync_conflicts(at,table_name,pk_value,strategy,decision,loser_operation,loser_payload,"
    "loser_origin,loser_timestamp,loser_seq,winner_operation,winner_origin,winner_timestamp,winner_seq) SELECT "
    "csync._sync_time(csync._sync_wall()),d.table_name,d.pk_value,'foreign key','deleted',l.operation,l.payload,"
    "r.origin,csync._sync_time(r.ts),r.seq,'delete',$1::text,d.timestamp,d.version FROM csync._sync_log d JOIN "
    "csync._sync_tables t ON t.name=d.table_name JOIN csync._sync_rows r ON r.table_id=t.id AND r.pk=d.pk_value "
    "JOIN csync._sync_log l ON l.version=r.version WHERE d.version>$2::bigint AND d.origin IS NULL AND "
    "d.operation='delete' AND r.version<d.version AND r.state&3=0 AND l.payload IS NOT NULL AND "
    "pg_xact_status(((pg_current_xact_id()::text::bigint>>32<<32)|d.xmin::text::bigint)::text::xid8)="
    "'in progress' ORDER BY d.version";

int pg_fold(cs_backend *base, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int64_t folded = 0, latest = 0;
    int rc = pg_state_int(b, "folded_version", &folded, err);

    if (rc != CSYNC_OK)
        return rc;
    pg_text(&a, base->origin);
    pg_int(&a, folded);
    rc = b->merging ? pg_run(b, audit_cascades_sql, &a, NULL, err) : CSYNC_OK;
    if (rc == CSYNC_OK)
        rc = pg_run(b, fold_sql, &a, NULL, err);
    if (rc == CSYNC_OK)
        rc = drop_superseded(b, err);
    if (rc == CSYNC_OK)
        rc = pg_query_int(b,
                          "SELECT max(ts) FROM csync._sync_log WHERE version>$2::bigint AND origin IS "
                          "NULL AND $1::text<>''",
                          &a, &latest, NULL, err);
    if (rc == CSYNC_OK && latest)
        rc = pg_raise_clock(base, latest, err);
    return rc == CSYNC_OK && b->top > folded ? pg_state_put_int(b, "folded_version", b->top, err)
                                             : rc;
}

int pg_pending(cs_backend *base, int64_t since, int *found, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int64_t last = 0, unlogged = 0;
    int rc = pg_last_version(b, &last, err);

    *found = since < base->copied_at;
    if (rc != CSYNC_OK || *found)
        return rc;
    pg_int(&a, since > last ? 0 : since); /* beyond: of the log before this replica was restored */
    pg_text(&a, base->origin);
    pg_int(&a, b->top);
    rc = pg_query_int(b,
                      "SELECT 1 FROM csync._sync_log WHERE version>$1::bigint AND "
                      "version<=$3::bigint AND (origin IS NULL OR origin=$2) ORDER BY version LIMIT 1",
                      &a, &last, found, err);
    if (rc == CSYNC_OK && !*found)
        rc = pg_state_int(b, "unlogged", &unlogged, err);
    *found |= unlogged != 0;
    return rc;
}

int pg_log_append(cs_pg *b, const csync_change *c, int local, int64_t *version, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t ts = 0;
    int rc = pg_enter_log(b, err);

    if (rc == CSYNC_OK && cs_time_parse(c->timestamp, strlen(c->timestamp), &ts) != 0)
        return cs_fail(err, CSYNC_EINVAL, "\"%.40s\" is no timestamp", c->timestamp);
    pg_text(&a, c->table);
    pg_text(&a, c->pk);
    pg_text(&a, cs_operation_name(c->operation));
    pg_text(&a, c->payload);
    pg_text(&a, local ? NULL : c->origin);
    pg_text(&a, c->timestamp);
    if (local)
        pg_text(&a, NULL);
    else
        pg_int(&a, c->seq);
    pg_int(&a, ts);
    return rc == CSYNC_OK
               ? pg_query_int(b,
                              "INSERT INTO csync._sync_log(table_name,pk_value,operation,payload,origin,"
                              "timestamp,seq,ts) VALUES($1,$2,$3,$4,$5,$6,$7,$8) RETURNING version",
                              &a, version, NULL, err)
               : rc;
}

/* ---- completing the log ---- */

/* Heads of one table without an entry get one, without payload: the row is read when it is sent. */
static const char log_heads_sql[] =
    "WITH n AS (INSERT INTO csync._sync_log(table_name,pk_value,operation,origin,timestamp,seq,ts) SELECT "
    "$2::text,pk,CASE WHEN state&1<>0 THEN 'delete' ELSE 'insert' END,origin,csync._sync_time(ts),seq,ts "
    "FROM csync._sync_rows WHERE table_id=$1::bigint AND version=0 AND ($3::int<>0 OR via=0) ORDER BY "
    "ts,origin,seq RETURNING version,pk_value) UPDATE csync._sync_rows r SET version=n.version FROM n WHERE "
    "r.table_id=$1::bigint AND r.pk=n.pk_value";

static int log_heads(cs_pg *b, const cs_table *t, int all, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, t->id);
    pg_text(&a, t->name);
    pg_int(&a, all);
    return pg_run(b, log_heads_sql, &a, NULL, err);
}

int pg_offer(cs_backend *base, const cs_item *item, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    const char *reason = NULL;
    int rc = pg_read_key(b, item->table, item->change->pub.pk, &reason, err);

    if (rc == CSYNC_OK)
        rc = pg_enter_log(b, err);
    pg_int(&a, item->table->id);
    pg_text(&a, item->table->name);
    pg_text(&a, b->pk.data);
    return rc == CSYNC_OK
               ? pg_run(b,
                        "WITH n AS (INSERT INTO csync._sync_log(table_name,pk_value,operation,origin,"
                        "timestamp,seq,ts) SELECT $2::text,pk,CASE WHEN state&1<>0 THEN 'delete' ELSE "
                        "'insert' END,origin,csync._sync_time(ts),seq,ts FROM csync._sync_rows WHERE "
                        "table_id=$1::bigint AND pk=$3::text RETURNING version,pk_value) UPDATE "
                        "csync._sync_rows r SET version=n.version,via=0 FROM n WHERE "
                        "r.table_id=$1::bigint AND r.pk=n.pk_value",
                        &a, NULL, err)
               : rc;
}

/* Tables in order of rank: whoever reads the log finds parents first. */
static int log_all_heads(cs_pg *b, int all, csync_error *err)
{
    cs_table **order;
    int rc = cs_backend_ranked(&b->base, &order, err);

    for (size_t i = 0; rc == CSYNC_OK && i < b->base.table_count; i++)
        rc = log_heads(b, order[i], all, err);
    cs_free(order);
    return rc;
}

int pg_complete_log(cs_backend *base, int all, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int64_t unlogged = 0;
    int rc = pg_state_int(b, "unlogged", &unlogged, err);

    if (rc != CSYNC_OK || (!unlogged && !all))
        return rc;
    rc = pg_fold(base, err);
    if (rc == CSYNC_OK)
        rc = pg_enter_log(b, err);
    if (rc == CSYNC_OK)
        rc = log_all_heads(b, all, err);
    if (rc == CSYNC_OK && all && !base->relay) /* changes that no table here can hold are heads too */
        rc = pg_exec(
            b,
            "INSERT INTO csync._sync_log(table_name,pk_value,operation,payload,origin,timestamp,"
            "seq,ts) SELECT p.table_name,p.pk_value,p.operation,p.payload,p.origin,p.timestamp,"
            "p.seq,(extract(epoch FROM p.timestamp::timestamptz)*1000)::bigint FROM "
            "csync._sync_parked p WHERE NOT EXISTS(SELECT 1 FROM csync._sync_tables t WHERE "
            "t.name=p.table_name)",
            err);
    return rc == CSYNC_OK ? pg_state_put(b, "unlogged", "0", err) : rc;
}

int pg_start_relay(cs_backend *base, csync_error *err)
{
    int rc;

    if (base->relay)
        return CSYNC_OK;
    rc = pg_complete_log(base, 1, err);
    if (rc == CSYNC_OK)
        rc = pg_state_put((cs_pg *)base, "relay", "1", err);
    base->relay = rc == CSYNC_OK;
    return rc;
}

/* ---- entries ---- */

/* Columns of an entry: version, table, key, operation, payload, origin, timestamp, seq. */
static void read_entry(cs_pg *b, const PGresult *r, int row, csync_change *c)
{
    const char *operation = pg_cell(b, r, row, 3), *origin = pg_cell(b, r, row, 5);

    memset(c, 0, sizeof *c);
    c->struct_size = sizeof *c;
    c->version = pg_cell_int(b, r, row, 0);
    c->table = pg_cell(b, r, row, 1);
    c->pk = pg_cell(b, r, row, 2);
    c->operation = cs_operation_parse(operation, strlen(operation));
    c->payload = pg_cell(b, r, row, 4);
    c->origin = origin ? origin : b->base.origin;
    c->timestamp = pg_cell(b, r, row, 6);
    c->seq = origin ? pg_cell_int(b, r, row, 7) : c->version;
}

int pg_log_change(cs_backend *base, int64_t version, csync_batch *batch, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    csync_change c;
    PGresult *r;
    int rc;

    pg_int(&a, version);
    rc = pg_run(b,
                "SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq FROM "
                "csync._sync_log WHERE version=$1 AND payload IS NOT NULL",
                &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r)) {
        read_entry(b, r, 0, &c);
        rc = cs_batch_add(batch, &c, err);
    }
    pg_clear(b, r);
    return rc;
}

/* The entries that are heads say so in column 8; 9: via; 10: base; 11: payload of the parked change; 12: parked. A
 * change that no table here can hold is its row's head as long as it is parked. Each entry looks its head up by the
 * whole key (LATERAL): a plan that the statistics of a new database suggest reads all heads for each entry. */
static const char page_sql[] =
    "SELECT l.version,l.table_name,l.pk_value,l.operation,l.payload,l.origin,l.timestamp,l.seq,"
    "CASE WHEN r.pk IS NOT NULL THEN r.version=l.version ELSE p.id IS NOT NULL END,coalesce(r.via,0),"
    "CASE WHEN r.state&2<>0 THEN csync._sync_time(r.ts)||' '||r.origin||' '||r.seq WHEN r.base_origin IS "
    "NOT NULL THEN csync._sync_time(r.base_ts)||' '||r.base_origin||' '||r.base_seq END,p.payload,"
    "coalesce(r.parked,0) FROM (SELECT * FROM csync._sync_log WHERE version>$1::bigint AND version<=$2::bigint "
    "ORDER BY version LIMIT $3::bigint) l LEFT JOIN csync._sync_tables t ON t.name=l.table_name LEFT JOIN LATERAL "
    "(SELECT * FROM csync._sync_rows WHERE table_id=t.id AND pk=l.pk_value LIMIT 1) r ON true LEFT JOIN LATERAL "
    "(SELECT * FROM csync._sync_parked q WHERE (r.pk IS NULL OR r.parked<>0) AND q.pk_value=l.pk_value AND q.table_name=l.table_name AND "
    "(q.id=r.parked OR r.pk IS NULL AND q.timestamp=l.timestamp AND q.origin=l.origin AND q.seq=l.seq) LIMIT 1) p "
    "ON true ORDER BY l.version";

static int is_wanted(cs_pg *b, const PGresult *r, int row, const cs_page_request *request)
{
    const char *head = pg_cell(b, r, row, 8);

    return head && head[0] == 't' && cs_scope_has(&request->scope, pg_cell(b, r, row, 1)) &&
           !(request->skip_via && pg_cell_int(b, r, row, 9) == request->skip_via);
}

/* What the log does not hold is what the rows hold now. */
static int read_rows(cs_pg *b, const PGresult *r, const cs_page_request *request, pg_wanted **out,
                     csync_error *err)
{
    int rows = pg_rows(b, r), any = 0;
    csync_change c;

    *out = cs_calloc((size_t)rows + 1, sizeof **out);
    for (int i = 0; *out && i < rows; i++) {
        read_entry(b, r, i, &c);
        if (!is_wanted(b, r, i, request) || c.payload || c.operation == CSYNC_DELETE ||
            (pg_cell_int(b, r, i, 12) && pg_cell(b, r, i, 11)))
            continue;
        (*out)[i].table = cs_backend_table(&b->base, c.table, strlen(c.table));
        (*out)[i].pk = c.pk;
        any |= (*out)[i].table != NULL;
    }
    if (!*out)
        return cs_fail_nomem(err);
    return any ? pg_read_rows(b, *out, (size_t)rows, err) : CSYNC_OK;
}

static int add_entry(cs_pg *b, const PGresult *r, int row, const char *payload,
                     const cs_page_request *request, csync_batch *batch, csync_error *err)
{
    csync_change c;
    int64_t ms = 0;

    if (!is_wanted(b, r, row, request))
        return CSYNC_OK;
    read_entry(b, r, row, &c);
    if (request->bases)
        c.base = pg_cell(b, r, row, 10);
    if (!c.payload && c.operation != CSYNC_DELETE)
        c.payload =
            pg_cell_int(b, r, row, 12) && pg_cell(b, r, row, 11) ? pg_cell(b, r, row, 11) : payload;
    if (!c.payload && c.operation != CSYNC_DELETE)
        return CSYNC_OK; /* the row is gone without a trace */
    if (cs_time_parse(c.timestamp, strlen(c.timestamp), &ms) != 0)
        return cs_fail(err, CSYNC_EDB, "entry %lld of _sync_log has a damaged timestamp: %.40s",
                       (long long)c.version, c.timestamp);
    return cs_batch_append(batch, &c, ms, err);
}

static int full(const cs_page_request *request, const csync_batch *batch)
{
    return batch->count >= (size_t)request->limit ||
           (batch->count > 0 && batch->bytes >= request->max_bytes) ||
           (request->scope.count && batch->to_version - request->since >= CS_PAGE_SPAN);
}

static int add_entries(cs_pg *b, const PGresult *r, const cs_page_request *request,
                       csync_batch *batch, csync_error *err)
{
    pg_wanted *wanted = NULL;
    int rows = pg_rows(b, r);
    int rc = read_rows(b, r, request, &wanted, err);

    for (int i = 0; rc == CSYNC_OK && i < rows && !batch->has_more; i++) {
        batch->has_more = full(request, batch);
        if (batch->has_more)
            break;
        rc = add_entry(b, r, i, wanted[i].payload, request, batch, err);
        if (rc == CSYNC_OK)
            batch->to_version = pg_cell_int(b, r, i, 0);
    }
    pg_wanted_free(wanted, (size_t)rows);
    return rc;
}

/* One stretch of the log: first as many entries as the page takes, and one that tells that there are more; then, because
 * many were passed over, long ones. *whole 0: they are not all that there are. */
static int add_stretch(cs_pg *b, const cs_page_request *request, csync_batch *batch, int *whole,
                       csync_error *err)
{
    int64_t most = batch->to_version == request->since ? request->limit + 1 : PAGE_ENTRIES;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    if (most > PAGE_ENTRIES)
        most = PAGE_ENTRIES;
    pg_int(&a, batch->to_version);
    pg_int(&a, b->top);
    pg_int(&a, most);
    rc = pg_run(b, page_sql, &a, &r, err);
    *whole = rc == CSYNC_OK && pg_rows(b, r) < most;
    if (rc == CSYNC_OK)
        rc = add_entries(b, r, request, batch, err);
    pg_clear(b, r);
    return rc;
}

int pg_page(cs_backend *base, const cs_page_request *request, csync_batch *batch, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int whole = 0;
    int rc = CSYNC_OK;

    batch->from_version = batch->to_version = request->since;
    batch->has_info = 1;
    while (rc == CSYNC_OK && !whole && !batch->has_more)
        rc = add_stretch(b, request, batch, &whole, err);
    if (rc == CSYNC_OK && !batch->has_more && batch->to_version < b->top)
        batch->to_version = b->top; /* versions of what was rolled back are nobody's */
    return rc;
}

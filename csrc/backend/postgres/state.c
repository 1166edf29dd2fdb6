/* state.c - csync's small tables: state, clock, peers, answers, conflicts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/text.h"

int pg_state_text(cs_pg *b, const char *key, char *out, size_t size, csync_error *err)
{
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_text(&a, key);
    rc = pg_run(b, "SELECT value FROM csync._sync_state WHERE key=$1", &a, &r, err);
    snprintf(out, size, "%s", rc == CSYNC_OK && pg_rows(b, r) ? pg_cell(b, r, 0, 0) : "");
    pg_clear(b, r);
    return rc;
}

int pg_state_int(cs_pg *b, const char *key, int64_t *out, csync_error *err)
{
    char text[32];
    int rc = pg_state_text(b, key, text, sizeof text, err);

    *out = rc == CSYNC_OK ? strtoll(text, NULL, 10) : 0;
    return rc;
}

int pg_state_put(cs_pg *b, const char *key, const char *value, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, key);
    pg_text(&a, value);
    return pg_run(b,
                  "INSERT INTO csync._sync_state(key,value) VALUES($1,$2) ON CONFLICT(key) DO UPDATE SET "
                  "value=excluded.value",
                  &a, NULL, err);
}

int pg_state_put_int(cs_pg *b, const char *key, int64_t value, csync_error *err)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)value);
    return pg_state_put(b, key, text, err);
}

/* ---- the clock ---- */

/* Writers read it without a lock; it moves only under the lock of csync's own writers. */
int pg_raise_clock(cs_backend *base, int64_t ts, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, ts);
    return pg_run((cs_pg *)base, "UPDATE csync._sync_session SET clock=$1 WHERE id=1 AND clock<$1",
                  &a, NULL, err);
}

int pg_stamp_now(cs_backend *base, int64_t *ts, csync_error *err)
{
    return pg_query_int((cs_pg *)base, "SELECT csync._sync_now()", NULL, ts, NULL, err);
}

int pg_wall_clock(cs_backend *base, int64_t *ts, csync_error *err)
{
    return pg_query_int((cs_pg *)base, "SELECT csync._sync_wall()", NULL, ts, NULL, err);
}

/* ---- what was answered to the last push ---- */

int pg_reply_get(cs_backend *base, int64_t peer, const char *key, cs_buf *reply, int *found,
                 csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_int(&a, peer);
    pg_text(&a, key);
    rc = pg_run(b, "SELECT reply FROM csync._sync_replies WHERE peer=$1 AND idempotency_key=$2", &a,
                &r, err);
    *found = rc == CSYNC_OK && pg_rows(b, r) > 0;
    if (*found) {
        cs_buf_puts(reply, pg_cell(b, r, 0, 0));
        rc = cs_buf_check(reply, err);
    }
    pg_clear(b, r);
    return rc;
}

int pg_reply_put(cs_backend *base, int64_t peer, const char *key, const char *reply, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_int(&a, peer);
    pg_text(&a, key);
    pg_text(&a, reply);
    return pg_run((cs_pg *)base,
                  "INSERT INTO csync._sync_replies(peer,idempotency_key,reply) VALUES($1,$2,$3) ON "
                  "CONFLICT(peer) DO UPDATE SET idempotency_key=excluded.idempotency_key,"
                  "reply=excluded.reply",
                  &a, NULL, err);
}

/* ---- peers ---- */

int pg_peer_get(cs_backend *base, const char *peer, cs_peer *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    memset(out, 0, sizeof *out);
    pg_text(&a, peer);
    rc = pg_run(
        b,
        "SELECT id,pulled,pulled_epoch,pushed,pushed_epoch,unheard,heard,asked,heard_ts FROM csync._sync_peers "
        "WHERE peer=$1",
        &a, &r, err);
    if (rc == CSYNC_OK && pg_rows(b, r)) {
        out->id = pg_cell_int(b, r, 0, 0);
        out->pulled = cs_position_make(pg_cell_int(b, r, 0, 1), pg_cell(b, r, 0, 2));
        out->pushed = cs_position_make(pg_cell_int(b, r, 0, 3), pg_cell(b, r, 0, 4));
        out->unheard = (int)pg_cell_int(b, r, 0, 5);
        out->heard = pg_cell_int(b, r, 0, 6);
        out->asked = (int)pg_cell_int(b, r, 0, 7);
        out->heard_ts = pg_cell_int(b, r, 0, 8);
    }
    pg_clear(b, r);
    return rc;
}

int pg_peer_put(cs_backend *base, const char *peer, cs_peer *value, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    pg_args a = {.count = 0};
    int rc;

    pg_text(&a, peer);
    pg_int(&a, value->pulled.version);
    pg_text(&a, value->pulled.epoch);
    pg_int(&a, value->pushed.version);
    pg_text(&a, value->pushed.epoch);
    pg_int(&a, value->unheard);
    pg_int(&a, value->heard);
    pg_int(&a, value->asked);
    pg_int(&a, value->heard_ts);
    rc = pg_query_int(
        b,
        "INSERT INTO csync._sync_peers(peer,pulled,pulled_epoch,pushed,pushed_epoch,"
        "unheard,heard,asked,heard_ts,last_seen) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,"
        "csync._sync_time(csync._sync_wall())) ON CONFLICT(peer) DO UPDATE SET pulled=excluded.pulled,"
        "pulled_epoch=excluded.pulled_epoch,pushed=excluded.pushed,"
        "pushed_epoch=excluded.pushed_epoch,unheard=excluded.unheard,heard=excluded.heard,asked=excluded.asked,"
        "heard_ts=excluded.heard_ts,"
        "last_seen=excluded.last_seen RETURNING id",
        &a, &value->id, NULL, err);
    a.count = 0;
    pg_int(&a, value->pulled.version);
    pg_int(&a, value->pushed.version);
    return rc == CSYNC_OK
               ? pg_run(b,
                        "INSERT INTO csync._sync_state(key,value) VALUES('last_server_version',$1),"
                        "('last_push_version',$2) ON CONFLICT(key) DO UPDATE SET value=excluded.value",
                        &a, NULL, err)
               : rc;
}

int pg_heard(cs_backend *base, cs_heard_visit visit, void *ctx, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    PGresult *r;
    int rc =
        pg_run(b,
               "SELECT origin,version,ts FROM csync._sync_heard UNION ALL "
               "SELECT peer,heard,0 FROM csync._sync_peers WHERE asked<>0 AND heard>0 ORDER BY 1,2",
               NULL, &r, err);

    for (int i = 0; rc == CSYNC_OK && i < pg_rows(b, r); i++) {
        cs_heard heard = {.version = pg_cell_int(b, r, i, 1), .ts = pg_cell_int(b, r, i, 2)};

        cs_text_copy(heard.origin, sizeof heard.origin, pg_cell(b, r, i, 0));
        rc = visit(ctx, &heard, err);
    }
    pg_clear(b, r);
    return rc;
}

int pg_heard_put(cs_backend *base, const cs_heard *heard, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, heard->origin);
    pg_int(&a, heard->version);
    pg_int(&a, heard->ts);
    return pg_run(
        (cs_pg *)base,
        "INSERT INTO csync._sync_heard(origin,version,ts) VALUES($1,$2,$3) ON CONFLICT(origin) DO "
        "UPDATE SET version=excluded.version,ts=greatest(_sync_heard.ts,excluded.ts)",
        &a, NULL, err);
}

int pg_other_peers(cs_backend *base, const char *peer, int *found, csync_error *err)
{
    pg_args a = {.count = 0};
    int64_t one;

    pg_text(&a, peer);
    return pg_query_int((cs_pg *)base, "SELECT 1 FROM csync._sync_peers WHERE peer<>$1 LIMIT 1", &a,
                        &one, found, err);
}

int pg_state(cs_backend *base, csync_state *out, csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    int rc = pg_state_int(b, "last_server_version", &out->last_server_version, err);

    out->max_version = b->top;
    snprintf(out->origin, sizeof out->origin, "%s", base->origin);
    out->tables = (int64_t)base->table_count;
    if (rc == CSYNC_OK)
        rc = pg_state_int(b, "last_push_version", &out->last_push_version, err);
    if (rc == CSYNC_OK)
        rc = pg_parked_count(base, &out->parked, err);
    if (rc == CSYNC_OK)
        rc = pg_query_int(b, "SELECT count(*) FROM csync._sync_conflicts", NULL, &out->conflicts,
                          NULL, err);
    return rc;
}

/* ---- the conflict audit ---- */

static void put_side(pg_args *a, const csync_change *c)
{
    pg_text(a, cs_operation_name(c->operation));
    pg_text(a, c->payload);
    pg_text(a, c->origin);
    pg_text(a, c->timestamp);
    pg_int(a, c->seq);
}

int pg_conflict_add(cs_backend *base, const cs_conflict *conflict, csync_error *err)
{
    pg_args a = {.count = 0};

    pg_text(&a, conflict->loser->table);
    pg_text(&a, conflict->loser->pk);
    pg_text(&a, conflict->strategy);
    pg_text(&a, conflict->decision);
    put_side(&a, conflict->loser);
    put_side(&a, conflict->winner);
    return pg_run(
        (cs_pg *)base,
        "INSERT INTO csync._sync_conflicts(at,table_name,pk_value,strategy,decision,"
        "loser_operation,loser_payload,loser_origin,loser_timestamp,loser_seq,"
        "winner_operation,winner_payload,winner_origin,winner_timestamp,winner_seq) VALUES("
        "csync._sync_time(csync._sync_wall()),$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)",
        &a, NULL, err);
}

static void read_side(cs_pg *b, const PGresult *r, int row, int at, csync_change *c)
{
    const char *operation = pg_cell(b, r, row, at);

    memset(c, 0, sizeof *c);
    c->struct_size = sizeof *c;
    c->table = pg_cell(b, r, row, 2);
    c->pk = pg_cell(b, r, row, 3);
    c->operation = operation ? cs_operation_parse(operation, strlen(operation)) : 0;
    c->payload = pg_cell(b, r, row, at + 1);
    c->origin = pg_cell(b, r, row, at + 2);
    c->timestamp = pg_cell(b, r, row, at + 3);
    c->seq = pg_cell_int(b, r, row, at + 4);
}

int pg_conflicts(cs_backend *base, int64_t since, int limit, cs_conflict_visit visit, void *ctx,
                 csync_error *err)
{
    cs_pg *b = (cs_pg *)base;
    csync_change loser, winner;
    cs_conflict conflict = {0, NULL, NULL, NULL, &loser, &winner};
    pg_args a = {.count = 0};
    PGresult *r;
    int rc;

    pg_int(&a, since);
    pg_int(&a, limit);
    rc = pg_run(
        b,
        "SELECT id,at,table_name,pk_value,strategy,decision,loser_operation,loser_payload,"
        "loser_origin,loser_timestamp,loser_seq,winner_operation,winner_payload,winner_origin,"
        "winner_timestamp,winner_seq FROM csync._sync_conflicts WHERE id>$1 ORDER BY id LIMIT $2",
        &a, &r, err);
    for (int i = 0, n = rc == CSYNC_OK ? pg_rows(b, r) : 0; rc == CSYNC_OK && i < n; i++) {
        conflict.id = pg_cell_int(b, r, i, 0);
        conflict.at = pg_cell(b, r, i, 1);
        conflict.strategy = pg_cell(b, r, i, 4);
        conflict.decision = pg_cell(b, r, i, 5);
        read_side(b, r, i, 6, &loser);
        read_side(b, r, i, 11, &winner);
        rc = visit(ctx, &conflict, err);
    }
    pg_clear(b, r);
    return rc;
}

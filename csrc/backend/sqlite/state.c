/* state.c - csync's small tables: state, clock, origins, peers, conflicts. */
#include <stdlib.h>
#include <string.h>

#include "backend/sqlite/sqlite.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rules.h"
#include "base/text.h"

int sq_state_text(cs_sqlite *b, const char *key, char *out, size_t size, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_STATE_GET, &stmt, err);

    out[0] = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, key);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        const char *text = sq_column_text(b, stmt, 0);

        sqlite3_snprintf((int)size, out, "%s", text ? text : "");
        rc = CSYNC_OK;
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_state_int(cs_sqlite *b, const char *key, int64_t *out, csync_error *err)
{
    char text[32];
    int rc = sq_state_text(b, key, text, sizeof text, err);

    *out = rc == CSYNC_OK ? strtoll(text, NULL, 10) : 0;
    return rc;
}

int sq_state_put_text(cs_sqlite *b, const char *key, const char *value, csync_error *err)
{
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_STATE_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, key);
    sq_bind_text(b, stmt, 2, value);
    return sq_run(b, stmt, err);
}

int sq_state_put_int(cs_sqlite *b, const char *key, int64_t value, csync_error *err)
{
    SQ_API(b);
    char text[32];

    sqlite3_snprintf(sizeof text, text, "%lld", (long long)value);
    return sq_state_put_text(b, key, text, err);
}

/* ---- origins: stamps hold a small number instead of the text ---- */

static int remember_origin(cs_sqlite *b, const char *origin, int64_t id, csync_error *err)
{
    char *copy = cs_strdup(origin);

    if (!copy)
        return cs_fail_nomem(err);
    cs_free(b->last_origin);
    b->last_origin = copy;
    b->last_origin_id = id;
    return CSYNC_OK;
}

static int add_origin(cs_sqlite *b, const char *origin, int64_t *id, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_ORIGIN_ADD, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, origin);
    rc = sq_run(b, stmt, err);
    *id = sqlite3_last_insert_rowid(b->db);
    return rc;
}

int sq_origin_id(cs_sqlite *b, const char *origin, int64_t *id, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc;

    if (b->last_origin && strcmp(b->last_origin, origin) == 0) {
        *id = b->last_origin_id;
        return CSYNC_OK;
    }
    *id = 0;
    rc = sq_fixed(b, SQ_ORIGIN_ID, &stmt, err);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, origin);
    rc = sq_step(b, stmt, err);
    if (rc == 1)
        *id = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (rc == 0)
        rc = add_origin(b, origin, id, err);
    return rc < 0 ? rc : remember_origin(b, origin, *id, err);
}

static int load_origin(cs_sqlite *b, int64_t id, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_ORIGIN_TEXT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, id);
    rc = sq_step(b, stmt, err);
    if (rc == 0)
        return cs_fail(err, CSYNC_EDB, "csync's tables are damaged: origin %lld is missing",
                       (long long)id);
    if (rc == 1) {
        b->origin_texts[id] = cs_strdup(sq_column_text(b, stmt, 0));
        rc = b->origin_texts[id] ? CSYNC_OK : cs_fail_nomem(err);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_origin_text(cs_sqlite *b, int64_t id, const char **out, csync_error *err)
{
    size_t had = b->origin_cap;

    *out = "";
    if (id <= 0 || id > INT32_MAX)
        return cs_fail(err, CSYNC_EDB, "csync's tables are damaged: origin %lld", (long long)id);
    if (cs_grow(&b->origin_texts, &b->origin_cap, (size_t)id + 1, sizeof *b->origin_texts) != CSYNC_OK)
        return cs_fail_nomem(err);
    if (b->origin_cap > had)
        memset(b->origin_texts + had, 0, (b->origin_cap - had) * sizeof *b->origin_texts);
    if (!b->origin_texts[id]) {
        int rc = load_origin(b, id, err);
        if (rc != CSYNC_OK)
            return rc;
    }
    *out = b->origin_texts[id];
    return CSYNC_OK;
}

/* ---- the clock ---- */

int sq_raise_clock(cs_backend *base, int64_t ts, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    char text[CS_TIME_SIZE];
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CLOCK_PUT, &stmt, err);

    if (rc != CSYNC_OK || !CS_RULE(RAISE_CLOCK))
        return rc;
    cs_time_format(ts, text);
    sq_bind_text(b, stmt, 1, text);
    return sq_run(b, stmt, err);
}

static int read_clock(cs_sqlite *b, enum sq_fixed which, int64_t *ts, csync_error *err)
{
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, which, &stmt, err);

    *ts = 0;
    if (rc != CSYNC_OK)
        return rc;
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        const char *text = sq_column_text(b, stmt, 0);

        rc = text && cs_time_parse(text, strlen(text), ts) == 0
                 ? CSYNC_OK
                 : cs_fail(err, CSYNC_EDB, "csync's tables are damaged: the clock is no time");
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_stamp_now(cs_backend *base, int64_t *ts, csync_error *err)
{
    int rc = read_clock((cs_sqlite *)base, SQ_CLOCK_GET, ts, err);

    /* the next edit has to be stamped above this one, even if the wall clock steps back between them */
    return rc == CSYNC_OK && CS_RULE(OWN_STAMPS) ? sq_raise_clock(base, *ts, err) : rc;
}

int sq_wall_clock(cs_backend *base, int64_t *ts, csync_error *err)
{
    return read_clock((cs_sqlite *)base, SQ_WALL_CLOCK, ts, err);
}

/* ---- what was answered to the last push ---- */

int sq_reply_get(cs_backend *base, int64_t peer, const char *key, cs_buf *reply, int *found,
                 csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_REPLY_GET, &stmt, err);

    *found = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, peer);
    sq_bind_text(b, stmt, 2, key);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        *found = 1;
        cs_buf_puts(reply, sq_column_text(b, stmt, 0));
        rc = cs_buf_check(reply, err);
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_reply_put(cs_backend *base, int64_t peer, const char *key, const char *reply, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_REPLY_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_int(b, stmt, 1, peer);
    sq_bind_text(b, stmt, 2, key);
    sq_bind_text(b, stmt, 3, reply);
    return sq_run(b, stmt, err);
}

/* ---- peers ---- */

int sq_peer_get(cs_backend *base, const char *peer, cs_peer *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PEER_GET, &stmt, err);

    memset(out, 0, sizeof *out);
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, CS_RULE(PEER) ? peer : "*");
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        out->id = sqlite3_column_int64(stmt, 0);
        out->pulled = cs_position_make(sqlite3_column_int64(stmt, 1), sq_column_text(b, stmt, 2));
        out->pushed = cs_position_make(sqlite3_column_int64(stmt, 3), sq_column_text(b, stmt, 4));
        out->unheard = sqlite3_column_int(stmt, 5);
        out->heard = sqlite3_column_int64(stmt, 6);
        out->asked = sqlite3_column_int(stmt, 7);
        out->heard_ts = sqlite3_column_int64(stmt, 8);
        rc = CSYNC_OK;
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_peer_put(cs_backend *base, const char *peer, cs_peer *value, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PEER_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, CS_RULE(PEER) ? peer : "*");
    sqlite3_bind_int64(stmt, 2, value->pulled.version);
    sq_bind_text(b, stmt, 3, value->pulled.epoch);
    sqlite3_bind_int64(stmt, 4, value->pushed.version);
    sq_bind_text(b, stmt, 5, value->pushed.epoch);
    sqlite3_bind_int(stmt, 6, value->unheard);
    sqlite3_bind_int64(stmt, 7, value->heard);
    sqlite3_bind_int(stmt, 8, value->asked);
    sqlite3_bind_int64(stmt, 9, value->heard_ts);
    rc = sq_step(b, stmt, err);
    if (rc == 1) {
        value->id = sqlite3_column_int64(stmt, 0);
        rc = sq_run(b, stmt, err);
    }
    if (rc == CSYNC_OK)
        rc = sq_state_put_int(b, "last_server_version", value->pulled.version, err);
    return rc == CSYNC_OK ? sq_state_put_int(b, "last_push_version", value->pushed.version, err) : rc;
}

int sq_heard(cs_backend *base, cs_heard_visit visit, void *ctx, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_HEARD, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    while ((rc = sq_step(b, stmt, err)) == 1) {
        cs_heard heard = {.version = sqlite3_column_int64(stmt, 1),
                          .ts = sqlite3_column_int64(stmt, 2)};

        cs_text_copy(heard.origin, sizeof heard.origin, sq_column_text(b, stmt, 0));
        rc = visit(ctx, &heard, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

int sq_heard_put(cs_backend *base, const cs_heard *heard, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_HEARD_PUT, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, heard->origin);
    sq_bind_int(b, stmt, 2, heard->version);
    sq_bind_int(b, stmt, 3, heard->ts);
    return sq_run(b, stmt, err);
}

int sq_other_peers(cs_backend *base, const char *peer, int *found, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_PEER_OTHER, &stmt, err);

    *found = 0;
    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, peer);
    rc = sq_step(b, stmt, err);
    *found = rc == 1;
    sqlite3_reset(stmt);
    return rc < 0 ? rc : CSYNC_OK;
}

int sq_state(cs_backend *base, csync_state *out, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    int rc = sq_log_top(base, &out->max_version, err);

    sqlite3_snprintf(sizeof out->origin, out->origin, "%s", base->origin);
    out->tables = (int64_t)base->table_count;
    if (rc == CSYNC_OK)
        rc = sq_state_int(b, "last_server_version", &out->last_server_version, err);
    if (rc == CSYNC_OK)
        rc = sq_state_int(b, "last_push_version", &out->last_push_version, err);
    if (rc == CSYNC_OK)
        rc = sq_fixed_int(b, SQ_PARK_COUNT, &out->parked, err);
    if (rc == CSYNC_OK)
        rc = sq_fixed_int(b, SQ_CONFLICT_COUNT, &out->conflicts, err);
    return rc;
}

/* ---- the conflict audit ---- */

static int bind_side(cs_sqlite *b, sqlite3_stmt *stmt, int at, const csync_change *c)
{
    sq_bind_text(b, stmt, at, cs_operation_name(c->operation));
    sq_bind_text(b, stmt, at + 1, c->payload);
    sq_bind_text(b, stmt, at + 2, c->origin);
    sq_bind_text(b, stmt, at + 3, c->timestamp);
    sq_bind_int(b, stmt, at + 4, c->seq);
    return at + 5;
}

int sq_conflict_add(cs_backend *base, const cs_conflict *conflict, csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CONFLICT_ADD, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sq_bind_text(b, stmt, 1, conflict->loser->table);
    sq_bind_text(b, stmt, 2, conflict->loser->pk);
    sq_bind_text(b, stmt, 3, conflict->strategy);
    sq_bind_text(b, stmt, 4, conflict->decision);
    bind_side(b, stmt, bind_side(b, stmt, 5, conflict->loser), conflict->winner);
    return sq_run(b, stmt, err);
}

static void read_side(cs_sqlite *b, sqlite3_stmt *stmt, int at, csync_change *c)
{
    SQ_API(b);
    const char *operation = sq_column_text(b, stmt, at);

    memset(c, 0, sizeof *c);
    c->struct_size = sizeof *c;
    c->table = sq_column_text(b, stmt, 2);
    c->pk = sq_column_text(b, stmt, 3);
    c->operation = operation ? cs_operation_parse(operation, strlen(operation)) : 0;
    c->payload = sq_column_text(b, stmt, at + 1);
    c->origin = sq_column_text(b, stmt, at + 2);
    c->timestamp = sq_column_text(b, stmt, at + 3);
    c->seq = sqlite3_column_int64(stmt, at + 4);
}

int sq_conflicts(cs_backend *base, int64_t since, int limit, cs_conflict_visit visit, void *ctx,
                 csync_error *err)
{
    cs_sqlite *b = (cs_sqlite *)base;
    SQ_API(b);
    csync_change loser, winner;
    cs_conflict conflict = {0, NULL, NULL, NULL, &loser, &winner};
    sqlite3_stmt *stmt;
    int rc = sq_fixed(b, SQ_CONFLICT_LIST, &stmt, err);

    if (rc != CSYNC_OK)
        return rc;
    sqlite3_bind_int64(stmt, 1, since);
    sqlite3_bind_int(stmt, 2, limit);
    while ((rc = sq_step(b, stmt, err)) == 1) {
        conflict.id = sqlite3_column_int64(stmt, 0);
        conflict.at = sq_column_text(b, stmt, 1);
        conflict.strategy = sq_column_text(b, stmt, 4);
        conflict.decision = sq_column_text(b, stmt, 5);
        read_side(b, stmt, 6, &loser);
        read_side(b, stmt, 11, &winner);
        rc = visit(ctx, &conflict, err);
        if (rc != CSYNC_OK)
            break;
    }
    sqlite3_reset(stmt);
    return rc;
}

/* oracle.c - knows every committed change, and what each replica must have made of those that it received.
 *
 * The model is that of the protocol: a replica's heads are a map from row to the greatest change received, by the
 * total order (timestamp, origin, seq, delete before row). The production code's heads have to agree with it
 * after every step. Where a strategy decides, the head may instead be the remote change or a decision, which
 * is a new change that has seen both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim.h"

/* ---- changes ---- */

static int origin_of(world *w, const char *origin)
{
    for (int i = 0; i < w->origin_count; i++)
        if (strcmp(w->origins[i], origin) == 0)
            return i;
    if (w->origin_count == MAX_ORIGINS)
        return -1;
    snprintf(w->origins[w->origin_count], CSYNC_ORIGIN_SIZE, "%s", origin);
    return w->origin_count++;
}

/* v -1: any. A replica that was restored may give a stamp a second time; then the content tells. */
static int find(const world *w, int key, int64_t ts, int origin, int64_t seq, int deleted, int64_t v)
{
    for (int i = w->change_count - 1; i >= 0; i--) {
        const change *c = &w->changes[i];

        if (c->key == key && c->ts == ts && c->origin == origin && c->seq == seq &&
            c->deleted == deleted && (v < 0 || c->v == v))
            return i;
    }
    return -1;
}

static int same_stamp(const world *w, int a, int b)
{
    const change *x, *y;

    if (a < 0 || b < 0)
        return a == b;
    x = &w->changes[a];
    y = &w->changes[b];
    return x->ts == y->ts && x->origin == y->origin && x->seq == y->seq;
}

static void descend(world *w, int child, int parent)
{
    change *c = &w->changes[child];

    if (parent < 0 || parent == child)
        return;
    for (size_t i = 0; i < sizeof c->ancestors; i++)
        c->ancestors[i] |= w->changes[parent].ancestors[i];
    c->ancestors[parent / 8] |= (unsigned char)(1 << parent % 8);
}

static int add(world *w, int key, int64_t ts, int origin, int64_t seq, int deleted, int64_t v)
{
    change *c = &w->changes[w->change_count];

    if (w->change_count == MAX_CHANGES || origin < 0) {
        finding(w, "error", "more changes than the oracle can hold");
        return 0;
    }
    memset(c, 0, sizeof *c);
    c->key = key;
    c->ts = ts;
    c->origin = origin;
    c->seq = seq;
    c->deleted = deleted;
    c->v = v;
    c->returns = w->forgotten[key];
    c->step = w->at;
    return w->change_count++;
}

int oracle_beats(const world *w, int a, int b)
{
    const change *x, *y;
    int order;

    if (a < 0 || b < 0)
        return a >= 0;
    x = &w->changes[a];
    y = &w->changes[b];
    if (x->ts != y->ts)
        return x->ts > y->ts;
    order = strcmp(w->origins[x->origin], w->origins[y->origin]);
    if (order != 0)
        return order > 0;
    if (x->seq != y->seq)
        return x->seq > y->seq;
    return x->deleted < y->deleted; /* delete before row */
}

static int64_t ms_of(const char *timestamp)
{
    int64_t ms = -1;

    (void)cs_time_parse(timestamp, strlen(timestamp), &ms);
    return ms;
}

/* The value of "v" in a payload; -1: there is none. */
static int64_t v_of(const char *payload)
{
    const char *at = payload ? strstr(payload, "\"v\":") : NULL;

    return at ? strtoll(at + 4, NULL, 10) : -1;
}

static int64_t v_of_row(world *w, replica *r, int key)
{
    char where[40], sql[100];

    key_where(key / KEYS, key % KEYS + 1, where, sizeof where);
    snprintf(sql, sizeof sql, "SELECT v FROM %s WHERE %s", table_names[key / KEYS], where);
    return ask_number(w, r, sql);
}

static int find_public(world *w, const csync_change *c)
{
    int key = key_of(c->table, c->pk);

    int deleted = c->operation == CSYNC_DELETE, origin = origin_of(w, c->origin);
    int found = find(w, key, ms_of(c->timestamp), origin, c->seq, deleted, v_of(c->payload));

    return found >= 0 ? found : find(w, key, ms_of(c->timestamp), origin, c->seq, deleted, -1);
}

/* What somebody received has to be what somebody committed. */
static int known(world *w, const csync_change *c, const char *where)
{
    int id = find_public(w, c);

    if (id < 0)
        finding(w, "phantom", "%s: nobody committed %s %s, %s %s %lld", where, c->table, c->pk,
                c->timestamp, c->origin, (long long)c->seq);
    else if (c->payload && !w->twins[w->changes[id].key] && v_of(c->payload) != w->changes[id].v)
        finding(w, "content", "%s: %s holds v %lld, its author wrote %lld (change %d)", where,
                key_text(w->changes[id].key), (long long)v_of(c->payload),
                (long long)w->changes[id].v, id);
    return id;
}

/* ---- what the database says ---- */

void oracle_close(replica *r)
{
    sqlite3_finalize(r->log);
    sqlite3_finalize(r->unfolded);
    sqlite3_finalize(r->position);
    r->log = r->unfolded = r->position = NULL;
    for (int t = 0; t < TABLES; t++) {
        sqlite3_finalize(r->heads[t]);
        r->heads[t] = NULL;
    }
}

static const char *text(rows *q, int at)
{
    const char *out = row_text(q, at);

    return out ? out : "";
}

/* A restored replica may give a stamp to another change too (its clock was raised by the same peer again): the
 * content decides between the two, which the model does not know. */
static void note_twins(world *w, int key, int64_t ts, int origin, int64_t seq)
{
    if (find(w, key, ts, origin, seq, 0, -1) >= 0 || find(w, key, ts, origin, seq, 1, -1) >= 0)
        w->twins[key] = 1;
}

/* Columns of an entry: version, table, key, operation, payload, origin, timestamp, seq. */
static void read_entry(world *w, replica *r, rows *q, const int *incoming)
{
    int64_t version = row_number(q, 0), v;
    int given = row_text(q, 5) != NULL;
    int64_t seq = given ? row_number(q, 7) : version, ts = ms_of(text(q, 6));
    int key = key_of(text(q, 1), text(q, 2)), deleted = strcmp(text(q, 3), "delete") == 0;
    int origin = origin_of(w, given ? text(q, 5) : r->origin), id;

    r->seen = version;
    if (key < 0 || strcmp(w->origins[origin], r->origin) != 0)
        return;
    v = v_of(row_text(q, 4));
    if (v < 0 && !deleted)
        v = v_of_row(w, r, key);
    id = find(w, key, ts, origin, seq, deleted, v);
    if (id >= 0 && given)
        return; /* it has come back */
    if (id < 0) {
        note_twins(w, key, ts, origin, seq);
        id = add(w, key, ts, origin, seq, deleted, v);
    }
    descend(w, id, r->head[key]);
    descend(w, id, incoming[key]);
    event(w, "    change %d: %s %s v %lld by %d at %lld seq %lld, after %d", id, key_text(key),
          deleted ? "deleted" : "is", (long long)v, r->index, (long long)ts % 1000000,
          (long long)seq, r->head[key]);
    r->head[key] = id;
}

/* Edits, decisions, and what foreign keys did: whatever the log holds of this replica's own that is new. */
static void read_own(world *w, replica *r, const int *incoming)
{
    char seen[24];
    rows q;

    snprintf(seen, sizeof seen, "%lld", (long long)r->seen);
    q = ask(w, r, &r->log,
            "SELECT version,table_name,pk_value,operation,payload,origin,timestamp,seq "
            "FROM _sync_log WHERE version>$1 ORDER BY version",
            seen);
    while (next_row(&q))
        read_entry(w, r, &q, incoming);
    end_rows(&q);
}

/* Columns of a head: key, timestamp, origin, seq, deleted. */
static void read_head(world *w, replica *r, const char *table, rows *q, int *real)
{
    int key = key_of(table, text(q, 0));
    int found = find(w, key, row_number(q, 1), origin_of(w, text(q, 2)), row_number(q, 3),
                     (int)row_number(q, 4), -1);

    if (found < 0)
        finding(w, "phantom", "replica %d: the head of %s is no change that anybody committed",
                r->index, key_text(key));
    real[key] = found;
}

/* Tables were tracked in their order. */
static void read_sqlite_heads(world *w, replica *r, int t, int *real)
{
    long long id = 0;
    char sql[300];
    rows q;

    for (int i = 0; i <= t; i++)
        id += w->config.made >> i & 1;
    snprintf(sql, sizeof sql,
             "SELECT k1,h.ts,o.origin,h.seq,h.state&1 FROM _sync_rows_%lld h "
             "JOIN _sync_origins o ON o.id=h.origin",
             id);
    q = ask(w, r, &r->heads[t], sql, NULL);
    while (next_row(&q))
        read_head(w, r, table_names[t], &q, real);
    end_rows(&q);
}

static void read_heads(world *w, replica *r, int *real)
{
    rows q;

    for (int i = 0; i < ALL_KEYS; i++)
        real[i] = -1;
    for (int t = 0; t < TABLES && !r->postgres; t++)
        if (w->config.tables >> t & 1)
            read_sqlite_heads(w, r, t, real);
    if (!r->postgres)
        return;
    q = ask(w, r, NULL,
            "SELECT pk,ts,origin,seq,state&1,name FROM _sync_rows JOIN _sync_tables ON id=table_id",
            NULL);
    while (next_row(&q))
        read_head(w, r, text(&q, 5), &q, real);
    end_rows(&q);
}

/* Local edits become heads when they are folded; until then the log alone knows them. */
static void read_unfolded(world *w, replica *r, int *real)
{
    rows q = ask(
        w, r, &r->unfolded,
        "SELECT version,table_name,pk_value,operation,timestamp FROM _sync_log WHERE origin IS NULL AND "
        "version>(SELECT CAST(value AS bigint) FROM _sync_state WHERE key='folded_version') "
        "ORDER BY version",
        NULL);

    while (next_row(&q)) {
        int key = key_of(text(&q, 1), text(&q, 2));

        real[key] = find(w, key, ms_of(text(&q, 4)), origin_of(w, r->origin), row_number(&q, 0),
                         strcmp(text(&q, 3), "delete") == 0, -1);
    }
    end_rows(&q);
}

void oracle_rows_before(world *w, replica *r)
{
    rows q;

    if (!w->config.rows_before || !(w->config.tables & 1))
        return;
    q = ask(w, r, NULL, "SELECT id,v FROM note ORDER BY id", NULL);
    while (next_row(&q)) {
        int key = key_of("note", text(&q, 0));

        r->head[key] = add(w, key, 0, origin_of(w, r->origin), 0, 0, row_number(&q, 1));
    }
    end_rows(&q);
}

/* ---- the model ---- */

/* The strategy's session has left `real` instead of the greater one: is that a decision? */
static int decided(world *w, const int *incoming, int key, int head, int real, int strategy)
{
    if (strategy == CSYNC_LAST_WRITE_WINS || real != incoming[key] || real < 0)
        return 0;
    if (strategy == CSYNC_CLIENT_WINS && w->changes[real].v != w->changes[head].v)
        return 0; /* only where both did the same */
    w->changes[head].decided = 1;
    return 1;
}

/* Where both did the same, one of the two stamps is enough. */
static void same_content(world *w, int a, int b)
{
    if (a >= 0 && b >= 0 && a != b && w->changes[a].v == w->changes[b].v &&
        w->changes[a].deleted == w->changes[b].deleted)
        w->changes[oracle_beats(w, a, b) ? b : a].decided = 1;
}

static void compare(world *w, replica *r, const int *incoming, int strategy, const int *real)
{
    for (int key = 0; key < ALL_KEYS; key++) {
        int head = r->head[key], real_head;

        same_content(w, head, incoming[key]);
        if (oracle_beats(w, incoming[key], head))
            head = incoming[key];
        if (real[key] != head && decided(w, incoming, key, head, real[key], strategy))
            head = real[key];
        if (real[key] != head && real[key] == r->head[key] && strategy != CSYNC_LAST_WRITE_WINS)
            head = real[key]; /* kept, under its own stamp */
        if (same_stamp(w, real[key], head))
            head = head >= 0 && w->changes[head].deleted != w->changes[real[key]].deleted ? real[key]
                                                                                          : head;
        real_head = same_stamp(w, real[key], head) ? head : real[key];
        if (w->twins[key])
            real_head = head = real[key];
        if (real_head != head)
            finding(w, "model", "replica %d has change %d of %s as head, the model %d", r->index,
                    real[key], key_text(key), head);
        r->head[key] = head;
    }
}

static int same_heads(const world *w, const replica *r, const int *real)
{
    for (int key = 0; key < ALL_KEYS; key++)
        if (!same_stamp(w, r->head[key], real[key]))
            return 0;
    return 1;
}

static void observe(world *w, replica *r, const int *incoming, int taken, int strategy)
{
    int real[ALL_KEYS], none[ALL_KEYS];

    if (w->finding[0])
        return;
    for (int i = 0; i < ALL_KEYS; i++)
        none[i] = -1;
    read_own(w, r, taken ? incoming : none);
    read_heads(w, r, real);
    read_unfolded(w, r, real);
    if (taken == PERHAPS && same_heads(w, r, real))
        taken = 0;
    compare(w, r, taken ? incoming : none, strategy, real);
}

static void receive(world *w, int *incoming, const csync_change *c, const char *where)
{
    int id = known(w, c, where);

    if (id >= 0)
        w->changes[id].shared = 1;
    if (id >= 0 && oracle_beats(w, id, incoming[w->changes[id].key]))
        incoming[w->changes[id].key] = id;
}

void oracle_observe(world *w, replica *r, const csync_batch *batch, const csync_outcome *outcome,
                    int taken, int strategy)
{
    csync_outcome_entry e = {.struct_size = sizeof e};
    int incoming[ALL_KEYS];

    for (int i = 0; i < ALL_KEYS; i++)
        incoming[i] = -1;
    for (size_t i = 0; taken && i < csync_batch_count(batch); i++) {
        int refused = outcome && csync_outcome_at(outcome, i, &e) == CSYNC_OK &&
                      (e.status == CSYNC_CONFLICT || e.status == CSYNC_REJECTED);

        if (!refused)
            receive(w, incoming, csync_batch_at(batch, i), "a batch");
    }
    observe(w, r, incoming, taken, strategy);
}

void oracle_winners(world *w, replica *r, const csync_outcome *outcome, int taken, int strategy)
{
    csync_outcome_entry e = {.struct_size = sizeof e};
    int incoming[ALL_KEYS];

    for (int i = 0; i < ALL_KEYS; i++)
        incoming[i] = -1;
    for (size_t i = 0; taken && i < csync_outcome_count(outcome); i++)
        if (csync_outcome_at(outcome, i, &e) == CSYNC_OK && e.winner)
            receive(w, incoming, e.winner, "an outcome");
    observe(w, r, incoming, taken, strategy);
}

/* How far the replica has the log of the batch's maker. */
int64_t oracle_position(world *w, replica *r, const csync_batch *batch)
{
    csync_batch_info info = {.struct_size = sizeof info};
    int64_t position;
    rows q;

    (void)csync_batch_get_info(batch, &info);
    q = ask(w, r, &r->position, "SELECT pulled FROM _sync_peers WHERE peer=$1", info.origin);
    position = next_row(&q) ? row_number(&q, 0) : 0;
    end_rows(&q);
    return position;
}

void oracle_continues(world *w, replica *r, const csync_batch *batch, int64_t position)
{
    csync_batch_info info = {.struct_size = sizeof info};

    (void)csync_batch_get_info(batch, &info);
    if (!info.from_cursor && info.from_version != position)
        finding(w, "gap", "replica %d stands at %lld of %s and takes a batch after %lld", r->index,
                (long long)position, info.origin, (long long)info.from_version);
}

static void mark_returning(world *w, int key)
{
    w->forgotten[key] = 1;
    for (int i = 0; i < w->change_count; i++)
        w->changes[i].returns |= w->changes[i].key == key && !w->changes[i].shared;
}

/* Deleted rows are forgotten, none other. */
void oracle_forgot(world *w, replica *r)
{
    int real[ALL_KEYS];

    read_heads(w, r, real);
    for (int key = 0; key < ALL_KEYS; key++)
        if (real[key] < 0 && r->head[key] >= 0 && w->changes[r->head[key]].deleted) {
            r->head[key] = -1;
            mark_returning(w, key);
        }
}

void oracle_decided(world *w, const csync_change *loser)
{
    int id = find_public(w, loser);

    if (id >= 0)
        w->changes[id].decided = 1;
}

/* Whoever edits what he has seen is in no conflict with it. */
void oracle_conflict(world *w, const csync_change *local, const csync_change *remote)
{
    int ours = find_public(w, local), theirs = find_public(w, remote);

    if (ours >= 0 && theirs >= 0 && !w->restored &&
        w->changes[ours].ancestors[theirs / 8] >> theirs % 8 & 1)
        finding(w, "false conflict", "change %d of %s has seen change %d", ours,
                key_text(w->changes[ours].key), theirs);
}

void oracle_hold(world *w)
{
    for (int key = 0; key < ALL_KEYS; key++) {
        w->held[key] = -1;
        for (int i = 0; i < w->count; i++)
            if (oracle_beats(w, w->replicas[i].head[key], w->held[key]))
                w->held[key] = w->replicas[i].head[key];
    }
}

/* Sent late, a change that another has replaced may bring back a row that is forgotten. */
void oracle_page(world *w, replica *r, const csync_batch *batch, const char *what)
{
    for (size_t i = 0; i < csync_batch_count(batch); i++) {
        const csync_change *c = csync_batch_at(batch, i);
        int id = known(w, c, what);

        if (id >= 0 && !w->twins[w->changes[id].key] &&
            !same_stamp(w, id, r->head[w->changes[id].key]))
            finding(w, "superseded", "replica %d sends change %d of %s, but its head is %d",
                    r->index, id, key_text(w->changes[id].key), r->head[w->changes[id].key]);
    }
}

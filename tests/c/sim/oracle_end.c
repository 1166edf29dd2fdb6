/* oracle_end.c - what has to hold when the faults have stopped and nothing moves any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static uint64_t mix(uint64_t hash, const char *text)
{
    for (; text && *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash * 31 + 1;
}

/* Everything in the peers' table but when they were seen, and the top of the log. */
uint64_t oracle_positions(world *w)
{
    uint64_t hash = 1;

    for (int i = 0; i < w->count; i++) {
        replica *r = &w->replicas[i];
        rows q = ask(w, r, NULL, "SELECT * FROM _sync_peers ORDER BY id", NULL);

        while (next_row(&q))
            for (int k = 0; k < row_columns(&q); k++)
                if (strcmp(row_column_name(&q, k), "last_seen") != 0)
                    hash = mix(hash, row_text(&q, k));
        end_rows(&q);
        hash = hash * 31 + (uint64_t)ask_number(w, r, "SELECT max(version) FROM _sync_log");
    }
    return hash;
}

/* ---- all equal ---- */

/* A deleted row and one that is forgotten are the same. */
static int present(const world *w, const replica *r, int key)
{
    int head = r->head[key];

    return head >= 0 && w->purged && w->changes[head].deleted ? -1 : head;
}

static void check_equal(world *w)
{
    char first[CSYNC_HASH_SIZE] = "", other[CSYNC_HASH_SIZE];
    csync_error err = CSYNC_ERROR_INIT;

    for (int i = 0; i < w->count; i++) {
        replica *r = &w->replicas[i];

        replica_clock(w, r);
        if (csync_hash(r->handle, i ? other : first, &err) != CSYNC_OK)
            finding(w, "error", "csync_hash on replica %d: %s", i, err.message);
        for (int key = 0; key < ALL_KEYS; key++)
            if (!w->twins[key] && present(w, r, key) != present(w, &w->replicas[0], key))
                finding(w, "diverged", "replicas 0 and %d have changes %d and %d of %s", i,
                        w->replicas[0].head[key], r->head[key], key_text(key));
        if (i && strcmp(first, other) != 0)
            finding(w, "diverged", "replicas 0 and %d have the same heads and other rows", i);
    }
}

/* ---- nothing lost ---- */

static int saw(const world *w, int child, int parent)
{
    return child >= 0 && w->changes[child].ancestors[parent / 8] >> parent % 8 & 1;
}

/* 1: change i is replaced by one that its author, or a strategy, has chosen. */
static int is_replaced(const world *w, int i, int head)
{
    if (head == i || (head >= 0 && saw(w, head, i)) || w->changes[i].decided)
        return 1;
    for (int d = 0; d < w->change_count; d++)
        if (w->changes[d].decided && w->changes[d].key == w->changes[i].key && saw(w, d, i))
            return 1;
    return 0;
}

/* 1: change i deletes the row, or a greater one does. */
static int is_deleted(const world *w, int i)
{
    for (int d = 0; d < w->change_count; d++)
        if (w->changes[d].deleted && w->changes[d].key == w->changes[i].key &&
            (d == i || oracle_beats(w, d, i)))
            return 1;
    return 0;
}

/* Deletes that are forgotten: whichever of them is still known says the same, and a row that nobody had seen when the
 * last of them was forgotten is back. */
static int is_gone(const world *w, int head)
{
    return w->purged && (head < 0 || w->changes[head].deleted || w->changes[head].returns);
}

static int survivor(const world *w, int key)
{
    int head = -1;

    for (int i = 0; i < w->count; i++)
        if (oracle_beats(w, w->replicas[i].head[key], head))
            head = w->replicas[i].head[key];
    return head;
}

/* A restore takes back what its replica alone had; then the survivor is measured against what somebody had when
 * the faults stopped. */
static void check_held(world *w)
{
    for (int key = 0; key < ALL_KEYS; key++) {
        int head = survivor(w, key), held = w->held[key];

        if (held >= 0 && !w->twins[key] && oracle_beats(w, held, head) &&
            !(w->purged && w->changes[held].deleted))
            finding(w, "lost", "somebody had change %d of %s, which beats the survivor %d", held,
                    key_text(key), head);
    }
}

/* Last-write-wins: the survivor is the greatest of all changes to the row that were committed, so none that a later
 * one has replaced. Client-wins and custom: every edit was seen by the survivor, or decided on. With server-wins or
 * last-write-wins beside them edits lose, as their users want it. */
static void check_lost(world *w)
{
    for (int i = 0; i < w->change_count && !w->restored; i++) {
        const change *c = &w->changes[i];
        int head = survivor(w, c->key);

        if (head == i || c->ts == 0 || (is_gone(w, head) && is_deleted(w, i)))
            continue;
        if (!w->config.strategies && (oracle_beats(w, i, head) || saw(w, i, head)))
            finding(w, "lost", "change %d of %s beats the survivor %d", i, key_text(c->key), head);
        else if (w->config.strategies == EVERY_EDIT && !w->purged && !is_replaced(w, i, head))
            finding(w, "lost", "change %d of %s: nobody decided between it and the survivor %d", i,
                    key_text(c->key), head);
    }
    if (!w->config.strategies)
        check_held(w);
}

/* ---- tables are what their heads say ---- */

static int is_parked(world *w, replica *r, int key)
{
    char sql[160];

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM _sync_parked WHERE table_name='%s' AND pk_value LIKE '%%%d%%'",
             table_names[key / KEYS], key % KEYS + 1);
    return ask_number(w, r, sql) > 0;
}

static void check_rows(world *w, replica *r)
{
    for (int key = 0; key < ALL_KEYS; key++) {
        int head = r->head[key], t = key / KEYS;
        char sql[100], test[40];
        int64_t v;

        if (!(w->config.tables >> t & 1) || w->twins[key])
            continue;
        key_where(t, key % KEYS + 1, test, sizeof test);
        snprintf(sql, sizeof sql, "SELECT v FROM %s WHERE %s", table_names[t], test);
        v = ask_number(w, r, sql);
        if (head < 0 || w->changes[head].deleted) {
            if (v >= 0)
                finding(w, "rows", "replica %d shows %s, which is deleted", r->index, key_text(key));
        } else if (is_parked(w, r, key)) {
            if (v >= 0)
                finding(w, "rows", "replica %d shows %s, which is parked", r->index, key_text(key));
        } else if (v != w->changes[head].v) {
            finding(w, "rows", "replica %d shows v %lld of %s, its head (change %d) wrote %lld",
                    r->index, (long long)v, key_text(key), head, (long long)w->changes[head].v);
        }
    }
}

#define REFERS_TO(table, key, column)                                                              \
    " AND (json_extract(p.payload,'$." column "') IS NULL OR EXISTS(SELECT 1 FROM " table          \
    " WHERE " key "=json_extract(p.payload,'$." column "')))"
#define HAS_FOLDER                                                                                 \
    "SELECT count(*) FROM _sync_parked p WHERE table_name='doc'" REFERS_TO("folder", "id", "folder")
#define HAS_TAG REFERS_TO("tag", "u", "u")

/* Whoever is parked has a reason, and it holds. */
static void check_parked(world *w, replica *r)
{
    const struct {
        int tables;
        const char *sql;
    } idle[] = {
        {2, "SELECT count(*) FROM _sync_parked p WHERE table_name='tag' AND NOT EXISTS"
            "(SELECT 1 FROM tag WHERE u=json_extract(p.payload,'$.u'))"},
        {8, w->config.follows ? HAS_FOLDER HAS_TAG : HAS_FOLDER},
        {1, "SELECT count(*) FROM _sync_parked WHERE table_name NOT IN ('tag','doc','folder')"},
        {1, "SELECT count(*) FROM _sync_parked WHERE reason='' OR operation='delete'"},
    };

    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (idle[i].tables == 1 || w->config.tables & idle[i].tables)
            if (ask_number(w, r, idle[i].sql) > 0)
                finding(w, "parked", "replica %d keeps rows parked whose reason is gone: %s",
                        r->index, idle[i].sql);
}

/* Where everybody is known and nobody is stale, no row is taken for one whose delete is forgotten. */
static void check_killed(world *w, replica *r)
{
    if (w->config.events == EVENT_PURGE &&
        ask_number(w, r, "SELECT count(*) FROM _sync_conflicts WHERE strategy='forgotten delete'") > 0)
        finding(w, "killed", "replica %d deleted a row because its delete might be forgotten",
                r->index);
}

/* The setting that switches capture off lives in csync's session. */
static int captures(world *w, replica *r)
{
    csync_error err = CSYNC_ERROR_INIT;

    if (!r->postgres)
        return ask_number(w, r, "SELECT sync_active FROM _sync_session") == 0;
    return csync_execute(r->handle,
                         "DO $$ BEGIN ASSERT coalesce(current_setting('csync.sync_active',true),'')=''; "
                         "END $$",
                         NULL, 0, NULL, NULL, NULL, &err) == CSYNC_OK;
}

static void check_integrity(world *w, replica *r)
{
    static const char orphans[] =
        "SELECT (SELECT count(*) FROM doc d WHERE folder IS NOT NULL AND NOT EXISTS(SELECT 1 FROM folder f "
        "WHERE f.id=d.folder))+(SELECT count(*) FROM folder c WHERE up IS NOT NULL AND NOT EXISTS(SELECT 1 "
        "FROM folder f WHERE f.id=c.up))";
    static const char check[] = "SELECT count(*) FROM pragma_foreign_key_check";

    if ((!r->postgres && ask_number(w, r, check) != 0) ||
        (r->postgres && w->config.cycle && ask_number(w, r, orphans) != 0))
        finding(w, "foreign key", "replica %d has rows without a parent", r->index);
    if (!r->postgres &&
        ask_number(w, r,
                   "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check<>'ok'") != 0)
        finding(w, "damaged", "the database of replica %d is damaged", r->index);
    if (!captures(w, r))
        finding(w, "session", "replica %d no longer captures", r->index);
}

void oracle_end(world *w)
{
    check_equal(w);
    check_lost(w);
    for (int i = 0; i < w->count; i++) {
        check_rows(w, &w->replicas[i]);
        check_parked(w, &w->replicas[i]);
        check_killed(w, &w->replicas[i]);
        check_integrity(w, &w->replicas[i]);
    }
}

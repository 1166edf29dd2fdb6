/* memory_world.c - replicas with everything in them that a call may meet, and an allocator that fails when armed. */
#include "memory_world.h"

#include <stdlib.h>

#include "support.h"

/* ---- allocations that fail when armed ---- */

void arm(long n, int and_after)
{
    failing_malloc.count = 0;
    failing_malloc.fail_at = n;
    failing_malloc.and_after = and_after;
    failing_malloc.has_failed = 0;
}

void disarm(void)
{
    failing_malloc.fail_at = 0;
}

int memory_hook(void **state)
{
    (void)state;
    failing_malloc_begin(0, 0);
    return 0;
}

int memory_unhook(void **state)
{
    (void)state;
    (void)failing_malloc_end();
    return 0;
}

void others_turn(int begins)
{
    static long count, fail_at;

    if (begins) {
        count = failing_malloc.count;
        fail_at = failing_malloc.fail_at;
        failing_malloc.fail_at = 0;
    } else {
        failing_malloc.count = count;
        failing_malloc.fail_at = fail_at;
    }
}

/* ---- two replicas with everything in them that a call may meet ---- */

const char memory_schema[] =
    "CREATE TABLE site(id INTEGER PRIMARY KEY, name TEXT UNIQUE);\n"
    "CREATE TABLE visit(id INTEGER PRIMARY KEY, site INTEGER REFERENCES site, note TEXT CHECK(note<>'bad'));\n"
    "CREATE TABLE person(id TEXT PRIMARY KEY, name TEXT, votes REAL) WITHOUT ROWID;\n"
    "CREATE TABLE stop(id INTEGER PRIMARY KEY, site TEXT REFERENCES site(name) ON UPDATE CASCADE);\n"
    "INSERT INTO site VALUES(1,'A'),(2,'B');\n"
    "INSERT INTO visit VALUES(1,1,'x'),(2,1,'y'),(3,2,'z');\n"
    "INSERT INTO person VALUES('a','Ada',1.5),('b','Bob',2.5);\n"
    "INSERT INTO stop VALUES(1,'B'),(2,'B')";

/* Children before parents, a parent that never comes, a broken check, a freed name, a conflict, a parent that
 * goes while children stay, a name that other rows follow, an unknown table and column. */
static const char page_json[] =
    "{\"changes\":["
    "{\"version\":1,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":10}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":10,\\\"site\\\":10,\\\"note\\\":\\\"n\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":2,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":10}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":10,\\\"name\\\":\\\"J\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":3,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":11}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":11,\\\"site\\\":99}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":4,\"tableName\":\"visit\",\"pkValue\":\"{\\\"id\\\":12}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":12,\\\"site\\\":1,\\\"note\\\":\\\"bad\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":5,\"tableName\":\"person\",\"pkValue\":\"{\\\"id\\\":\\\"a\\\"}\",\"operation\":\"update\","
    "\"payload\":\"{\\\"id\\\":\\\"a\\\",\\\"name\\\":\\\"theirs\\\",\\\"votes\\\":9}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":6,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":1}\",\"operation\":\"delete\","
    "\"origin\":\"gamma\",\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":7,\"tableName\":\"nowhere\",\"pkValue\":\"{\\\"id\\\":1}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":1}\",\"origin\":\"gamma\",\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":8,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":11}\",\"operation\":\"insert\","
    "\"payload\":\"{\\\"id\\\":11,\\\"name\\\":\\\"A\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"},"
    "{\"version\":9,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":2}\",\"operation\":\"update\","
    "\"payload\":\"{\\\"id\\\":2,\\\"name\\\":\\\"C\\\"}\",\"origin\":\"gamma\","
    "\"timestamp\":\"2090-01-01T00:00:00.000Z\"}"
    "],\"fromVersion\":0,\"toVersion\":9,\"hasMore\":false}";

csync *c, *peer;
csync_batch *page;

csync *memory_replica(const char *origin)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = origin};
    csync *made = NULL;

    OK(csync_open(&made, ":memory:", &o, err));
    run(made, memory_schema);
    run(made, "CREATE TABLE extra(id INTEGER PRIMARY KEY, v)");
    run(made, "INSERT INTO extra VALUES(1,'e'),(2,x'00ff')");
    OK(csync_track(made, "site", NULL, err));
    OK(csync_track(made, "visit", NULL, err));
    OK(csync_track(made, "person", NULL, err));
    OK(csync_track(made, "stop", NULL, err));
    return made;
}

void build(int with_peer)
{
    c = memory_replica("alpha");
    run(c, "UPDATE person SET name='ours' WHERE id='a'");
    OK(csync_batch_from_json(&page, page_json, sizeof page_json - 1, err));
    run(c, "DELETE FROM visit WHERE id=3");
    OK(csync_register_client(c, "reader", number(c, "SELECT max(version) FROM _sync_log"), err));
    peer = NULL;
    if (!with_peer)
        return;
    peer = memory_replica("beta");
    OK(csync_apply(peer, page, NULL, NULL, NULL, err));
    run(peer, "INSERT INTO visit VALUES(20,2,'q')");
    run(c, "INSERT INTO visit VALUES(30,2,'r')");
}

void unbuild(void)
{
    csync_batch_free(page);
    csync_close(c);
    csync_close(peer);
    assert_int_equal(failing_malloc.live, 0);
}

/* Merges persons. Its own allocation does not fail: what a callback does is its own business. */
int merge(void *user_data, const csync_change *local, const csync_change *remote,
          const csync_change *base, csync_decision *d)
{
    static const char merged[] = "{\"id\":\"a\",\"name\":\"both\"}";

    (void)user_data;
    (void)remote;
    (void)base;
    d->kind = CSYNC_TAKE_REMOTE;
    if (strcmp(local->table, "person") != 0)
        return CSYNC_OK;
    others_turn(1);
    d->kind = CSYNC_MERGE;
    d->payload = csync_malloc(sizeof merged);
    memcpy(d->payload, merged, sizeof merged);
    others_turn(0);
    return CSYNC_OK;
}

int sync_both(csync_error *err)
{
    csync_sync_options o = {.struct_size = sizeof o, .strategy = CSYNC_CUSTOM, .on_conflict = merge};

    return csync_sync(c, peer, &o, NULL, err);
}

void check_synced(void)
{
    csync_result r = {.struct_size = sizeof r};
    csync_state ours = {.struct_size = sizeof ours}, theirs = ours;

    assert_equal(c, peer);
    assert_string_equal(text(c, "SELECT name FROM person WHERE id='a'"), "both");
    OK(csync_get_state(c, &ours, err));
    OK(csync_get_state(peer, &theirs, err));
    assert_int_equal(ours.parked, theirs.parked);
    OK(csync_sync(c, peer, NULL, &r, err));
    assert_int_equal(r.pulled + r.pushed + r.lost + r.conflicts, 0);
}

/* *has_failed 0: there are no more allocations. */
static void fail_one(const failing_sync *f, long n, int *has_failed)
{
    csync_error e = CSYNC_ERROR_INIT;
    int rc;

    arm(n, 0);
    rc = sync_both(&e);
    *has_failed = failing_malloc.has_failed;
    disarm();
    if (rc != CSYNC_OK && (rc != CSYNC_ENOMEM || !*has_failed))
        fail_msg("allocation %ld failed, the answer was %s: %s", n, csync_code_name(rc), e.message);
    run(c, f->begin);
    run(c, "ROLLBACK");
    run(peer, "BEGIN IMMEDIATE;\nROLLBACK");
}

void fail_each_of_a_sync(const failing_sync *f)
{
    int has_failed = 1;

    for (long n = 1; has_failed; n += f->tries * f->stride) {
        f->make();
        for (long i = 0; i < f->tries; i++)
            fail_one(f, n + i * f->stride, &has_failed);
        OK(sync_both(err));
        f->check();
        unbuild();
    }
}

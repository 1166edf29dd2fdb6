/* links: pq */
/* test_postgres_out_of_memory.c - allocations fail while a PostgreSQL replica is opened, asked and synced: what is complete
 * stays, and the next try completes the rest. The short form fails each 31st, CSYNC_TEST_PROFILE=long every one. */
#include <libpq-fe.h>
#include <stdlib.h>

#include "memory_world.h"
#include "pg_server.h"
#include "support.h"

static PGconn *app;
static char url[200];
static long stride = 31;

static void on_app(const char *sql)
{
    PGresult *r = PQexec(app, sql);

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(app));
    PQclear(r);
}

static void make_tables(void)
{
    on_app("SET client_min_messages=warning;DROP SCHEMA IF EXISTS csync CASCADE;"
           "DROP TABLE IF EXISTS visit,site,person,stop;"
           "CREATE TABLE site(id int PRIMARY KEY, name text UNIQUE);"
           "CREATE TABLE visit(id int PRIMARY KEY, site int REFERENCES site, note text CHECK(note<>'bad'));"
           "CREATE TABLE person(id text PRIMARY KEY, name text, votes float8);"
           "CREATE TABLE stop(id int PRIMARY KEY, site text REFERENCES site(name) ON UPDATE CASCADE);"
           "INSERT INTO site VALUES(1,'A'),(2,'B');"
           "INSERT INTO visit VALUES(1,1,'x'),(2,1,'y'),(3,2,'z');"
           "INSERT INTO person VALUES('a','Ada',1.5),('b','Bob',2.5);"
           "INSERT INTO stop VALUES(1,'B'),(2,'B')");
}

static int open_and_track(csync **out, csync_error *err)
{
    csync_open_options o = {.struct_size = sizeof o, .origin = "alpha"};
    static const char *const tables[] = {"site", "visit", "person", "stop"};
    int rc = csync_open(out, url, &o, err);

    for (size_t i = 0; rc == CSYNC_OK && i < sizeof tables / sizeof *tables; i++)
        rc = csync_track(*out, tables[i], NULL, err);
    return rc;
}

static void must_be_memory(int rc, long n, const csync_error *e)
{
    if (rc != CSYNC_OK && (rc != CSYNC_ENOMEM || !failing_malloc.has_failed))
        fail_msg("allocation %ld failed, the answer was %s: %s", n, csync_code_name(rc), e->message);
}

static void an_opening_fails_cleanly_and_the_next_succeeds(void **state)
{
    int has_failed = 1;

    (void)state;
    for (long n = 1; has_failed; n += stride) {
        csync_error e = CSYNC_ERROR_INIT;
        csync *opened = NULL;
        int rc;

        make_tables();
        arm(n, 0);
        rc = open_and_track(&opened, &e);
        has_failed = failing_malloc.has_failed;
        disarm();
        must_be_memory(rc, n, &e);
        csync_close(opened);
        assert_int_equal(failing_malloc.live, 0);
        OK(open_and_track(&opened, err));
        assert_int_equal(number(opened, "SELECT count(*) FROM csync._sync_tables"), 4);
        csync_close(opened);
        assert_int_equal(failing_malloc.live, 0);
    }
}

/* Conflicts, parked rows and a parent that goes, in both directions. */
static void build_world(void)
{
    csync *sqlite;

    build(1);
    sqlite = c;
    csync_close(sqlite);
    make_tables();
    OK(open_and_track(&c, err));
    run(c, "UPDATE person SET name='ours' WHERE id='a'");
    run(c, "DELETE FROM visit WHERE id=3");
    run(c, "INSERT INTO visit VALUES(30,2,'r')");
}

static void a_sync_fails_cleanly_and_the_next_completes(void **state)
{
    (void)state;
    fail_each_of_a_sync(&(failing_sync){build_world, check_synced, 20, stride, "BEGIN"});
}

static int ask_everything(csync_error *err)
{
    static int (*const asks[])(csync *, char **, csync_error *) = {csync_tables, csync_parked,
                                                                   csync_lag, csync_doctor};
    csync_fetch fetch = {.struct_size = sizeof fetch};
    csync_state state = {.struct_size = sizeof state};
    csync_batch *changes = NULL;
    char hash[CSYNC_HASH_SIZE];
    int rc = CSYNC_OK;

    for (size_t i = 0; rc == CSYNC_OK && i < sizeof asks / sizeof *asks; i++) {
        char *json = NULL;

        rc = asks[i](c, &json, err);
        csync_free(json);
    }
    if (rc == CSYNC_OK)
        rc = csync_get_state(c, &state, err);
    if (rc == CSYNC_OK)
        rc = csync_hash(c, hash, err);
    if (rc == CSYNC_OK)
        rc = csync_changes(c, &fetch, &changes, err);
    csync_batch_free(changes);
    return rc;
}

static void what_is_asked_fails_cleanly(void **state)
{
    int has_failed = 1;

    (void)state;
    build_world();
    OK(sync_both(err));
    OK(ask_everything(err));
    for (long n = 1; has_failed; n += stride) {
        csync_error e = CSYNC_ERROR_INIT;
        int rc;

        arm(n, 0);
        rc = ask_everything(&e);
        has_failed = failing_malloc.has_failed;
        disarm();
        must_be_memory(rc, n, &e);
        OK(ask_everything(err));
    }
    unbuild();
}

static int hook(void **state)
{
    snprintf(url, sizeof url, "postgresql:%s", pg_server_address());
    app = PQconnectdb(pg_server_address());
    return memory_hook(state);
}

static int unhook(void **state)
{
    PQfinish(app);
    return memory_unhook(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_opening_fails_cleanly_and_the_next_succeeds),
        cmocka_unit_test(a_sync_fails_cleanly_and_the_next_completes),
        cmocka_unit_test(what_is_asked_fails_cleanly),
    };
    const char *profile = getenv("CSYNC_TEST_PROFILE");

    if (profile && strcmp(profile, "long") == 0)
        stride = 1;
    if (pg_server_start() != 0) {
        fprintf(stderr, "PostgreSQL is not installed: NOTHING is tested\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, hook, unhook);
}

/* links: pq */
/* test_open_postgres.c - csync on the application's own connection to PostgreSQL: what it asks of it, and what it
 * leaves as it was. */
#include <dlfcn.h>
#include <libpq-fe.h>

#include "pg_server.h"
#include "refused.h"
#include "support.h"

static PGconn *app; /* the application's connection */
static csync *c;

static void on_app(const char *sql)
{
    PGresult *r = PQexec(app, sql);
    ExecStatusType status = PQresultStatus(r);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(app));
    PQclear(r);
}

/* The first value as text, of all rows. Valid until the next call. */
static const char *ask_app(const char *sql)
{
    static char out[2000];
    PGresult *r = PQexec(app, sql);
    size_t used = 0;

    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(app));
    out[0] = 0;
    for (int i = 0; i < PQntuples(r); i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s\n", PQgetvalue(r, i, 0));
    assert_true(used < sizeof out);
    PQclear(r);
    return out;
}

static void open_replica(void)
{
    OK(csync_open_postgres(&c, app, NULL, NULL, err));
    OK(csync_track(c, "note", NULL, err));
}

static int setup(void **state)
{
    (void)state;
    app = PQconnectdb(pg_server_address());
    c = NULL;
    on_app(
        "SET client_min_messages=warning;DROP SCHEMA IF EXISTS csync CASCADE;DROP TABLE IF EXISTS note;"
        "CREATE TABLE note(id int PRIMARY KEY, body text, at timestamptz);RESET client_min_messages");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csync_close(c);
    PQfinish(app);
    return 0;
}

/* ---- what it does ---- */

static void it_works_and_the_connection_stays_open(void **state)
{
    csync *peer = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, at TEXT)");

    (void)state;
    open_replica();
    on_app("INSERT INTO note VALUES(1,'of the application','2020-01-01 12:00:00+00')");
    run(peer, "INSERT INTO note VALUES(2,'of the peer','2020-01-01T12:00:00Z')");
    sync_all(peer, c);
    assert_equal(peer, c);
    csync_close(c);
    c = NULL;
    assert_string_equal(ask_app("SELECT body FROM note ORDER BY id"),
                        "of the application\nof the peer\n");
    csync_close(peer);
}

static void a_library_may_be_named(void **state)
{
    void *library = dlopen("libpq.so.5", RTLD_NOW);

    (void)state;
    OK(csync_open_postgres(&c, app, library, NULL, err));
    csync_close(c);
    c = NULL;
    dlclose(library);
    library = dlopen("libc.so.6", RTLD_NOW);
    FAILS(CSYNC_EUNSUPPORTED, "this libpq has no", csync_open_postgres(&c, app, library, NULL, err));
    dlclose(library);
}

#define LODZ                                                                                       \
    "\xc5\x81\xc3\xb3"                                                                             \
    "d\xc5\xba" /* in UTF-8; LATIN1 has no such letters */

/* Settings that would change texts, isolation or rights if csync did not see to it. */
static const char odd_settings[] =
    "SET timezone='Asia/Kathmandu';SET datestyle='SQL, DMY';SET intervalstyle='postgres_verbose';"
    "SET extra_float_digits=-5;SET bytea_output='escape';SET standard_conforming_strings=off;"
    "SET client_encoding='LATIN1';SET default_transaction_isolation='serializable';"
    "SET default_transaction_read_only=on;SET search_path='';SET client_min_messages=notice;"
    "SET lock_timeout=1234;SET check_function_bodies=on";

/* What was ever set in the session. Variables of csync's own are empty outside of its transactions. */
static const char all_settings[] =
    "SELECT name||'='||setting FROM pg_catalog.pg_settings WHERE source='session' AND "
    "(name NOT LIKE 'csync.%' OR setting<>'')";

static void notice(void *unused, const char *message)
{
    (void)unused;
    fail_msg("csync is heard on the application's connection: %s", message);
}

static void settings_are_what_they_were_and_do_not_matter(void **state)
{
    csync *peer = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, at TEXT)");
    csync_subscription *feed = NULL;
    csync_batch *batch = NULL;
    char before[2000];

    (void)state;
    on_app(odd_settings);
    (void)PQsetNoticeProcessor(app, notice, NULL);
    snprintf(before, sizeof before, "%s", ask_app(all_settings));
    open_replica();
    OK(csync_subscribe(&feed, c, NULL, err));
    run(peer, "INSERT INTO note VALUES(1,'" LODZ "','2020-01-01T12:00:00Z')");
    sync_all(peer, c);
    OK(csync_subscription_next(feed, 5000, &batch, err));
    assert_non_null(strstr(csync_batch_at(batch, 0)->payload, "\"body\":\"" LODZ "\""));
    assert_non_null(strstr(csync_batch_at(batch, 0)->payload, "\"at\":\"2020-01-01T12:00:00Z\""));
    assert_equal(peer, c);
    FAILS(CSYNC_ENOTFOUND, "nothing", csync_track(c, "nothing", NULL, err)); /* also after a rollback */
    assert_string_equal(ask_app(all_settings), before);
    assert_string_equal(ask_app("SELECT count(*) FROM pg_catalog.pg_prepared_statements"), "0\n");
    assert_int_equal(PQtransactionStatus(app), PQTRANS_IDLE);
    csync_batch_free(batch);
    csync_subscription_close(feed);
    csync_close(peer);
}

/* ---- what it asks ---- */

static void a_connection_with_a_transaction_is_refused(void **state)
{
    csync_state s = {.struct_size = sizeof s};
    csync *early = NULL;

    (void)state;
    open_replica();
    on_app("BEGIN;INSERT INTO note VALUES(1,'a',NULL)");
    FAILS(CSYNC_EBUSY, "open transaction", csync_open_postgres(&early, app, NULL, NULL, err));
    assert_null(early);
    FAILS(CSYNC_EBUSY, "commit it or roll it back", csync_get_state(c, &s, err));
    PQclear(PQexec(app, "SELECT 1/0"));
    FAILS(CSYNC_EBUSY, "has failed", csync_open_postgres(&early, app, NULL, NULL, err));
    FAILS(CSYNC_EBUSY, "has failed; roll it back", csync_get_state(c, &s, err));
    assert_int_equal(PQtransactionStatus(app), PQTRANS_INERROR); /* and it is not csync that ends it */
    on_app("ROLLBACK;INSERT INTO note VALUES(2,'b',NULL)");
    OK(csync_get_state(c, &s, err));
    assert_int_equal(s.max_version, 2); /* version 1 was rolled back */
}

static void a_query_under_way_is_not_disturbed(void **state)
{
    csync_state s = {.struct_size = sizeof s};
    PGresult *r;

    (void)state;
    open_replica();
    assert_int_equal(PQsendQuery(app, "SELECT 42"), 1);
    FAILS(CSYNC_EBUSY, "under way", csync_get_state(c, &s, err));
    r = PQgetResult(app);
    assert_string_equal(PQgetvalue(r, 0, 0), "42");
    PQclear(r);
    assert_null(PQgetResult(app));
    OK(csync_get_state(c, &s, err));
}

static void a_wait_for_changes_leaves_a_transaction_alone(void **state)
{
    csync_subscription *feed = NULL;
    csync_batch *batch = NULL;

    (void)state;
    open_replica();
    OK(csync_subscribe(&feed, c, NULL, err));
    on_app("BEGIN;INSERT INTO note VALUES(1,'a',NULL)");
    FAILS(CSYNC_EBUSY, "open transaction", csync_subscription_next(feed, 0, &batch, err));
    on_app("COMMIT");
    OK(csync_subscription_next(feed, 5000, &batch, err));
    assert_int_equal(csync_batch_count(batch), 1);
    csync_batch_free(batch);
    csync_subscription_close(feed);
}

static void what_is_no_connection_is_refused(void **state)
{
    PGconn *nowhere = PQconnectdb("host=/nonexistent");
    int not_null = 0;

    (void)state;
    FAILS(CSYNC_EDB, "no connection", csync_open_postgres(&c, nowhere, NULL, NULL, err));
    PQfinish(nowhere);
    REFUSED(CSYNC_EMISUSE, "out", csync_open_postgres(NULL, &not_null, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "conn", csync_open_postgres(&c, NULL, NULL, NULL, err));
}

#define WITH_APP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_APP(it_works_and_the_connection_stays_open),
        WITH_APP(a_library_may_be_named),
        WITH_APP(settings_are_what_they_were_and_do_not_matter),
        WITH_APP(a_connection_with_a_transaction_is_refused),
        WITH_APP(a_query_under_way_is_not_disturbed),
        WITH_APP(a_wait_for_changes_leaves_a_transaction_alone),
        WITH_APP(what_is_no_connection_is_refused),
    };

    if (pg_server_start() != 0) {
        fprintf(stderr, "PostgreSQL is not installed: NOTHING of csync_open_postgres is tested\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

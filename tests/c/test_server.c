/* test_server.c - the server and its tokens from C: what they refuse to be called with, and every allocation on the way up and
 * down. What requests are answered is tested over sockets (tests/python/test_server.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory_world.h"
#include "refused.h"

#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char folder[] = "/tmp/csync-server-XXXXXX";
static char database_path[64], tokens_path[64], config_path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(database_path, sizeof database_path, "%s/notes.db", folder);
    snprintf(tokens_path, sizeof tokens_path, "%s/tokens.json", folder);
    snprintf(config_path, sizeof config_path, "%s/server.json", folder);
    return 0;
}

static int drop_folder(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[80];

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", database_path, ends[i]);
        (void)unlink(path);
    }
    (void)unlink(tokens_path);
    (void)unlink(config_path);
    return rmdir(folder);
}

static csync_server_options options_of(const csync_served *database)
{
    return (csync_server_options){.struct_size = sizeof(csync_server_options),
                                  .listen = "127.0.0.1:0",
                                  .databases = database,
                                  .database_count = 1,
                                  .readers = 1};
}

static void a_server_starts_names_itself_and_stops(void **state)
{
    const csync_served database = {"main", database_path};
    csync_server_options options = options_of(&database);
    csync_server *server;

    (void)state;
    OK(csync_server_start(&server, &options, err));
    assert_memory_equal(csync_server_url(server), "http://127.0.0.1:", 17);
    OK(csync_server_reload(server, err));
    csync_server_stop(server);
    csync_server_stop(NULL);
    assert_null(csync_server_url(NULL));
}

static void calls_without_their_arguments_are_misuse(void **state)
{
    const csync_served database = {"main", database_path}, nameless = {NULL, database_path};
    csync_server_options options = options_of(&database), o = options;
    csync_server *none = GARBAGE;
    char *text = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_server_start(NULL, &options, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_server_start(&none, NULL, err));
    assert_null(none);
    o.databases = &nameless;
    REFUSED(CSYNC_EMISUSE, "name or url", csync_server_start(&none, &o, err));
    o = options;
    o.grant_count = 1;
    REFUSED(CSYNC_EMISUSE, "grants", csync_server_start(&none, &o, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_server_reload(NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_add(NULL, NULL, &text, err));
    assert_null(text);
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_add(tokens_path, NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_list(NULL, &text, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_list(tokens_path, NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_revoke(NULL, "x", err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_token_revoke(tokens_path, NULL, err));
}

static void settings_that_mean_nothing_are_refused(void **state)
{
    const csync_served database = {"main", database_path}, odd = {"a/b", database_path};
    const char *const nothing = "";
    const csync_grant bad = {
        .struct_size = sizeof bad, .token_hash = HASH64, .may = 1, .expires_ms = -1};
    const csync_token_options tokens[] = {
        {.struct_size = sizeof *tokens, .client = "a b"},
        {.struct_size = sizeof *tokens, .database = "a/b"},
        {.struct_size = sizeof *tokens, .may = 4},
        {.struct_size = sizeof *tokens, .expires_ms = -1},
        {.struct_size = sizeof *tokens, .tables = &nothing, .table_count = 1},
    };
    csync_server_options options = options_of(&database), o = options;
    csync_server *none = GARBAGE;
    char *text = GARBAGE;

    (void)state;
    o.database_count = 0;
    REFUSED(CSYNC_EINVAL, "no database", csync_server_start(&none, &o, err));
    o = options;
    o.queue = -1;
    REFUSED(CSYNC_EINVAL, "negative", csync_server_start(&none, &o, err));
    o = options;
    o.rate = -2;
    REFUSED(CSYNC_EINVAL, "negative", csync_server_start(&none, &o, err));
    o = options;
    o.tls_cert = "cert.pem";
    REFUSED(CSYNC_EINVAL, "key", csync_server_start(&none, &o, err));
    o = options;
    o.databases = &odd;
    REFUSED(CSYNC_EINVAL, "no name", csync_server_start(&none, &o, err));
    o = options;
    o.grants = &bad;
    o.grant_count = 1;
    REFUSED(CSYNC_EINVAL, "expires_ms", csync_server_start(&none, &o, err));
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        REFUSED(CSYNC_EINVAL, "", csync_token_add(tokens_path, &tokens[i], &text, err));
    REFUSED(CSYNC_ENOTFOUND, "no token", csync_token_revoke(tokens_path, "x", err));
}

static void an_id_of_a_subscription_is_forgotten(void **state)
{
    csync *replica = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY)");
    csync_subscribe_options options = {.struct_size = sizeof options, .id = "mine"};
    csync_subscription *subscription;
    int64_t version;

    (void)state;
    OK(csync_subscribe(&subscription, replica, &options, err));
    csync_subscription_close(subscription);
    OK(csync_execute(replica, "INSERT INTO note VALUES (1)", NULL, 0, NULL, NULL, NULL, err));
    OK(csync_unsubscribe(replica, "mine", err));
    OK(csync_unsubscribe(replica, "nobody's", err));
    OK(csync_subscribe(&subscription, replica, &options, err));
    version = csync_subscription_version(subscription);
    assert_int_equal(version, 1); /* from now on, not from where it was */
    csync_subscription_close(subscription);
    REFUSED(CSYNC_EMISUSE, "NULL", csync_unsubscribe(replica, NULL, err));
    REFUSED(CSYNC_EMISUSE, "", csync_unsubscribe(NULL, "x", err));
    REFUSED(CSYNC_EINVAL, "1 to 64", csync_unsubscribe(replica, "", err));
    csync_close(replica);
}

static void the_program_says_how_it_is_used(void **state)
{
    char name[] = "csync", bogus[] = "bogus", *none[] = {name, NULL}, *odd[] = {name, bogus, NULL};

    (void)state;
    assert_int_equal(csync_program(1, none), 2);
    assert_int_equal(csync_program(2, odd), 2);
}

/* ---- memory ---- */

static void write_config(void)
{
    FILE *file = fopen(config_path, "w");

    assert_non_null(file);
    fprintf(file,
            "{\"listen\":\"127.0.0.1:0\",\"databases\":{\"main\":\"%s\"},\"tokens\":\"%s\",\"readers\":1,"
            "\"origins\":[\"https://app.example\"],\"behindProxy\":false,\"maxBody\":1000}",
            database_path, tokens_path);
    fclose(file);
}

static int start_and_stop(void)
{
    csync_server_options options = {.struct_size = sizeof options, .config = config_path};
    csync_server *server = NULL;
    int rc = csync_server_start(&server, &options, NULL);

    if (rc == CSYNC_OK)
        rc = csync_server_reload(server, NULL);
    csync_server_stop(server);
    return rc;
}

static int add_list_revoke(void)
{
    const char *const tables[] = {"note", "tag"};
    const csync_token_options options = {
        .struct_size = sizeof options, .client = "phone", .tables = tables, .table_count = 2};
    char id[9] = "", *token = NULL, *json = NULL;
    int rc;

    (void)unlink(tokens_path); /* what a failure left there */
    rc = csync_token_add(tokens_path, &options, &token, NULL);

    if (rc == CSYNC_OK)
        rc = csync_token_list(tokens_path, &json, NULL);
    if (rc == CSYNC_OK) {
        memcpy(id, token + 6, 8);
        rc = csync_token_revoke(tokens_path, id, NULL);
    }
    csync_free(token);
    csync_free(json);
    return rc;
}

/* `stride`: opening databases allocates much, which is tested elsewhere one by one. */
static void fail_each(int (*call)(void), long stride)
{
    long n = 0, used = 1;

    while (n <= used) { /* a run that nothing fails ends it */
        int rc;

        n += n < 150 ? 1 : stride;
        arm(n, 0);
        rc = call();
        used = failing_malloc.count;
        disarm();
        assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && n <= used));
    }
}

static void every_allocation_of_a_start_may_fail(void **state)
{
    (void)state;
    write_config();
    (void)start_and_stop(); /* the database is there */
    fail_each(start_and_stop, 23);
}

static void every_allocation_of_tokens_may_fail(void **state)
{
    (void)state;
    fail_each(add_list_revoke, 1);
}

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(a_server_starts_names_itself_and_stops),
        cmocka_unit_test(calls_without_their_arguments_are_misuse),
        cmocka_unit_test(settings_that_mean_nothing_are_refused),
        cmocka_unit_test(an_id_of_a_subscription_is_forgotten),
        cmocka_unit_test(the_program_says_how_it_is_used),
    };
    const struct CMUnitTest failing[] = {
        cmocka_unit_test(every_allocation_of_tokens_may_fail),
        cmocka_unit_test(every_allocation_of_a_start_may_fail),
    };

    return cmocka_run_group_tests(plain, make_folder, NULL) +
           cmocka_run_group_tests(failing, memory_hook, memory_unhook) + drop_folder(NULL);
}

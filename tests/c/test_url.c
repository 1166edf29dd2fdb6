/* test_url.c - the client of a server from C: what it refuses to be called with, and every allocation of a conversation. How it
 * stands bad networks and other servers is tested over sockets (tests/python/test_url.py). */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "csync_url.h"
#include "failing_malloc.h"
#include "refused.h"

static char folder[] = "/tmp/csync-url-XXXXXX";
static char database_path[64], url[64];
static int life; /* the server lives until it is closed */
static pid_t server_process;

/* ---- a server in a process of its own, whose allocations neither fail nor count ---- */

static void serve(int says, int lives)
{
    const csync_served database = {"main", database_path};
    const csync_server_options options = {.struct_size = sizeof options,
                                          .listen = "127.0.0.1:0",
                                          .databases = &database,
                                          .database_count = 1,
                                          .rate = -1};
    csync_server *server = NULL;
    csync *replica = NULL;
    char byte;
    int rc = csync_open(&replica, database_path, NULL, NULL);

    if (rc == CSYNC_OK)
        rc = csync_execute(replica, "CREATE TABLE note(id INTEGER PRIMARY KEY, body)", NULL, 0,
                           NULL, NULL, NULL, NULL);
    if (rc == CSYNC_OK)
        rc = csync_track(replica, "note", NULL, NULL);
    csync_close(replica);
    if (rc == CSYNC_OK)
        rc = csync_server_start(&server, &options, NULL);
    if (rc == CSYNC_OK && write(says, csync_server_url(server), strlen(csync_server_url(server))) > 0)
        rc = read(lives, &byte, 1) == 0 ? CSYNC_OK : CSYNC_ERROR;
    csync_server_stop(server);
    _exit(rc != CSYNC_OK);
}

static int start(void **state)
{
    int says[2], lives[2];

    (void)state;
    if (!mkdtemp(folder) || pipe(says) != 0 || pipe(lives) != 0)
        return -1;
    snprintf(database_path, sizeof database_path, "%s/notes.db", folder);
    server_process = fork();
    if (server_process == 0) {
        close(lives[1]);
        serve(says[1], lives[0]);
    }
    close(says[1]);
    close(lives[0]);
    life = lives[1];
    return server_process > 0 && read(says[0], url, sizeof url - 1) > 0 ? close(says[0]) : -1;
}

static int stop(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char path[80];
    int status = 1;

    (void)state;
    close(life);
    if (waitpid(server_process, &status, 0) != server_process || status != 0)
        return -1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s%s", database_path, ends[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static csync_url_options options_once(void)
{
    return (csync_url_options){.struct_size = sizeof(csync_url_options), .tries = 1};
}

/* ---- tests ---- */

static void two_replicas_come_together(void **state)
{
    csync *replica = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY, body)");
    csync_result result = {.struct_size = sizeof result};
    const csync_remote *remote;
    csync_url *peer;
    char *report;

    (void)state;
    run(replica, "INSERT INTO note VALUES(1, 'milk')");
    OK(csync_url_open(&peer, url, NULL, err));
    remote = csync_url_remote(peer);
    assert_int_equal(strlen(remote->name), 36);
    OK(csync_sync_remote(replica, remote, NULL, &result, err));
    assert_int_equal(result.pushed, 1);
    OK(csync_verify_remote(replica, remote, NULL, &report, err));
    assert_non_null(strstr(report, "{\"equal\":true,"));
    csync_free(report);
    csync_url_close(peer);
    csync_close(replica);
}

static void calls_without_their_arguments_are_misuse(void **state)
{
    csync_url_options options = {0};
    csync_url *none = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_url_open(NULL, url, NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_url_open(&none, NULL, NULL, err));
    assert_null(none);
    none = GARBAGE;
    REFUSED(CSYNC_EMISUSE, "struct_size", csync_url_open(&none, url, &options, err));
    assert_null(none);
    assert_null(csync_url_remote(NULL));
    csync_url_cancel(NULL);
    csync_url_close(NULL);
}

static void settings_that_mean_nothing_are_refused(void **state)
{
    const csync_url_options all[] = {{.struct_size = sizeof *all, .connect_ms = -1},
                                     {.struct_size = sizeof *all, .silence_ms = -1},
                                     {.struct_size = sizeof *all, .tries = -1},
                                     {.struct_size = sizeof *all, .wait_ms = -1},
                                     {.struct_size = sizeof *all, .max_answer = -1},
                                     {.struct_size = sizeof *all, .max_answer = INT64_MAX},
                                     {.struct_size = sizeof *all, .token = "two words"}};
    const csync_url_options lost = {.struct_size = sizeof lost, .ca_file = "/nowhere/ca.pem"};
    csync_url *none = GARBAGE;

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        REFUSED(CSYNC_EINVAL, "", csync_url_open(&none, url, &all[i], err));
    REFUSED(CSYNC_ENOTFOUND, "/nowhere/ca.pem cannot be read",
            csync_url_open(&none, url, &lost, err));
    REFUSED(CSYNC_EINVAL, "no http://", csync_url_open(&none, "notes.db", NULL, err));
    assert_null(none);
}

static void what_cannot_be_asked_of_a_server_is_refused(void **state)
{
    const char *const tables[] = {"note"};
    const csync_fetch some = {.struct_size = sizeof some, .tables = tables, .table_count = 1};
    const csync_fetch beyond = {.struct_size = sizeof beyond, .since = 1000000};
    const csync_remote *remote;
    csync_batch *page = GARBAGE;
    csync_url *peer;
    char *answer = GARBAGE;

    (void)state;
    OK(csync_url_open(&peer, url, NULL, err));
    remote = csync_url_remote(peer);
    REFUSED(CSYNC_EUNSUPPORTED, "every table", remote->fetch(remote->user_data, &some, &page, err));
    assert_null(page);
    FAILS(CSYNC_EFULLRESYNC, "answered 410", remote->fetch(remote->user_data, &beyond, &page, err));
    REFUSED(CSYNC_EINVAL, "answered 400", remote->digest(remote->user_data, "[", &answer, err));
    assert_null(answer);
    csync_url_close(peer);
}

static void a_cancel_ends_the_next_request_alone(void **state)
{
    const csync_fetch fetch = {.struct_size = sizeof fetch};
    const csync_remote *remote;
    csync_batch *page;
    csync_url *peer;

    (void)state;
    OK(csync_url_open(&peer, url, NULL, err));
    remote = csync_url_remote(peer);
    csync_url_cancel(peer);
    FAILS(CSYNC_ECANCELED, "cancelled", remote->fetch(remote->user_data, &fetch, &page, err));
    OK(remote->fetch(remote->user_data, &fetch, &page, err));
    csync_batch_free(page);
    csync_url_close(peer);
}

static void a_child_process_opens_its_own(void **state)
{
    const csync_fetch fetch = {.struct_size = sizeof fetch};
    const csync_remote *remote;
    csync_batch *page;
    csync_url *peer;
    pid_t child;
    int status;

    (void)state;
    OK(csync_url_open(&peer, url, NULL, err));
    remote = csync_url_remote(peer);
    child = fork();
    if (child == 0) {
        int rc = remote->fetch(remote->user_data, &fetch, &page, NULL);

        csync_url_cancel(peer);
        csync_url_close(peer);
        _exit(rc == CSYNC_EMISUSE ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    OK(remote->fetch(remote->user_data, &fetch, &page, err)); /* over the same connection */
    csync_batch_free(page);
    csync_url_close(peer);
}

/* ---- memory ---- */

/* Long enough to be sent in a coding. */
static csync_batch *long_batch(void)
{
    char payload[2100] = "{\"id\":7,\"body\":\"";
    const csync_change change = {.struct_size = sizeof change,
                                 .version = 1,
                                 .operation = CSYNC_INSERT,
                                 .table = "note",
                                 .pk = "{\"id\":7}",
                                 .payload = payload,
                                 .origin = "elsewhere",
                                 .timestamp = "2024-05-01T12:00:00.000Z"};
    csync_batch *batch;

    memset(payload + strlen(payload), 'x', 2000);
    memcpy(payload + strlen(payload), "\"}", 3);
    OK(csync_batch_new(&batch, err));
    OK(csync_batch_add(batch, &change, err));
    return batch;
}

static int converse(void *batch)
{
    const csync_fetch fetch = {.struct_size = sizeof fetch, .origin = "phone", .limit = 10};
    const csync_url_options options = options_once();
    const csync_remote *remote;
    csync_batch *page = NULL;
    csync_outcome *outcome = NULL;
    csync_url *peer;
    char *answer = NULL;
    int rc = csync_url_open(&peer, url, &options, NULL);

    remote = csync_url_remote(peer);
    if (rc == CSYNC_OK)
        rc = remote->fetch(remote->user_data, &fetch, &page, NULL);
    if (rc == CSYNC_OK)
        rc = remote->send(remote->user_data, batch, &outcome, NULL);
    if (rc == CSYNC_OK)
        rc = remote->digest(remote->user_data, "{}", &answer, NULL);
    csync_batch_free(page);
    csync_outcome_free(outcome);
    csync_free(answer);
    csync_url_close(peer);
    return rc;
}

static int be_refused(void *ctx)
{
    const csync_url_options options = {
        .struct_size = sizeof options, .tries = 1, .token = "a", .proxy = "", .ca_file = "/dev/null"};
    csync_url *peer;
    char path[80];
    int rc;

    (void)ctx;
    snprintf(path, sizeof path, "%s/nowhere?db=main", url);
    rc = csync_url_open(&peer, path, &options, NULL);
    csync_url_close(peer);
    return rc == CSYNC_EPROTO ? CSYNC_OK : rc;
}

static void every_allocation_of_a_conversation_may_fail(void **state)
{
    csync_batch *batch = long_batch();

    (void)state;
    assert_int_equal(converse(batch), CSYNC_OK);
    failing_malloc_each(converse, batch, FAILING_STRICT);
    csync_batch_free(batch);
}

static void every_allocation_of_a_refusal_may_fail(void **state)
{
    (void)state;
    failing_malloc_each(be_refused, NULL, FAILING_STRICT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_replicas_come_together),
        cmocka_unit_test(calls_without_their_arguments_are_misuse),
        cmocka_unit_test(settings_that_mean_nothing_are_refused),
        cmocka_unit_test(what_cannot_be_asked_of_a_server_is_refused),
        cmocka_unit_test(a_cancel_ends_the_next_request_alone),
        cmocka_unit_test(a_child_process_opens_its_own),
        cmocka_unit_test(every_allocation_of_a_conversation_may_fail),
        cmocka_unit_test(every_allocation_of_a_refusal_may_fail),
    };

    return cmocka_run_group_tests(tests, start, stop);
}

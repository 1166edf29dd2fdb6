/* test_http_api.c - the REST API as a function: what it refuses to be called with, and every allocation of every route.
 * What requests are answered is tested over HTTP (tests/python/test_http.py). */
#include <stdlib.h>

#include "memory_world.h"
#include "refused.h"

/* of "secret" */
#define SECRET_HASH "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static csync_api *api_of(csync *replica)
{
    csync_api *api;

    OK(csync_api_new(&api, NULL, err));
    OK(csync_api_add(api, "main", replica, err));
    return api;
}

/* ---- misuse ---- */

static void calls_without_their_arguments_are_misuse(void **state)
{
    csync *replica = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY)");
    csync_api *api = api_of(replica), *none = GARBAGE;
    csync_api_options too_small = {.struct_size = 1};
    csync_grant grant = {.struct_size = sizeof grant, .token_hash = HASH64, .may = CSYNC_MAY_READ};
    csync_header nameless = {NULL, "x"};
    csync_request whole = {.struct_size = sizeof whole, .method = "GET", .path = "/health"};
    csync_request request = whole;
    csync_response *response = GARBAGE;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "out", csync_api_new(NULL, NULL, err));
    REFUSED(CSYNC_EMISUSE, "struct_size", csync_api_new(&none, &too_small, err));
    assert_null(none);
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_add(NULL, "a", replica, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_add(api, NULL, replica, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_add(api, "a", NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_grant(NULL, &grant, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_grant(api, NULL, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(NULL, &whole, &response, err));
    assert_null(response);
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, NULL, &response, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, &whole, NULL, err));
    request.method = NULL;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, &request, &response, err));
    request = whole;
    request.path = NULL;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, &request, &response, err));
    request = whole;
    request.body_length = 1;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, &request, &response, err));
    request = whole;
    request.headers = &nameless;
    request.header_count = 1;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_api_handle(api, &request, &response, err));
    csync_response_free(NULL);
    csync_api_free(NULL);
    csync_api_free(api);
    csync_close(replica);
}

static void tables_have_names_and_are_not_for_a_sync(void **state)
{
    static const char *const nameless[] = {"note", NULL};
    const csync_grant grant = {.struct_size = sizeof grant,
                               .token_hash = HASH64,
                               .may = CSYNC_MAY_READ,
                               .tables = nameless,
                               .table_count = 2};
    const csync_fetch fetch = {.struct_size = sizeof fetch, .tables = nameless, .table_count = 2};
    const csync_fetch counted = {.struct_size = sizeof counted, .table_count = 1};
    csync_sync_options options = {.struct_size = sizeof options, .tables = nameless, .table_count = 2};
    csync *replica = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY)");
    csync_api *api = api_of(replica);
    csync_batch *batch, *page = GARBAGE;
    csync_session *session = GARBAGE;

    (void)state;
    OK(csync_batch_new(&batch, err));
    REFUSED(CSYNC_EMISUSE, "a table is NULL", csync_api_grant(api, &grant, err));
    REFUSED(CSYNC_EMISUSE, "a table is NULL", csync_changes(replica, &fetch, &page, err));
    assert_null(page);
    REFUSED(CSYNC_EMISUSE, "tables is NULL", csync_changes(replica, &counted, &page, err));
    REFUSED(CSYNC_EMISUSE, "a table is NULL", csync_apply(replica, batch, &options, NULL, NULL, err));
    options.table_count = 1;
    REFUSED(CSYNC_EUNSUPPORTED, "csync_apply",
            csync_session_new(&session, replica, "peer", &options, err));
    assert_null(session);
    csync_batch_free(batch);
    csync_api_free(api);
    csync_close(replica);
}

static void settings_that_mean_nothing_are_refused(void **state)
{
    const char *const nothing = "";
    const csync_grant grants[] = {
        {.struct_size = sizeof *grants, .token_hash = NULL, .may = 1},
        {.struct_size = sizeof *grants, .token_hash = "abc", .may = 1},
        {.struct_size = sizeof *grants, .token_hash = HASH64 "0", .may = 1},
        {.struct_size = sizeof *grants, .token_hash = HASH64, .may = 0},
        {.struct_size = sizeof *grants, .token_hash = HASH64, .may = 4},
        {.struct_size = sizeof *grants, .token_hash = HASH64, .may = 1, .client = "a b"},
        {.struct_size = sizeof *grants, .token_hash = HASH64, .may = 1, .database = ""},
        {.struct_size = sizeof *grants,
         .token_hash = HASH64,
         .may = 1,
         .tables = &nothing,
         .table_count = 1},
    };
    csync *replica = replica_new("CREATE TABLE note(id INTEGER PRIMARY KEY)");
    csync_api *api = api_of(replica), *none = GARBAGE;
    csync_api_options negative = {.struct_size = sizeof negative, .max_body = -1};

    (void)state;
    REFUSED(CSYNC_EINVAL, "max_body", csync_api_new(&none, &negative, err));
    REFUSED(CSYNC_EINVAL, "already", csync_api_add(api, "main", replica, err));
    REFUSED(CSYNC_EINVAL, "no name", csync_api_add(api, "a/b", replica, err));
    for (size_t i = 0; i < sizeof grants / sizeof *grants; i++)
        REFUSED(CSYNC_EINVAL, "", csync_api_grant(api, &grants[i], err));
    csync_api_free(api);
    csync_close(replica);
}

/* ---- memory ---- */

static const char push_text[] =
    "{\"originId\":\"device\",\"changes\":[{\"version\":1,\"tableName\":\"site\",\"pkValue\":\"{\\\"id\\\":77}\","
    "\"operation\":\"Delete\",\"payload\":null,\"origin\":\"device\",\"timestamp\":\"2025-01-01T00:00:00Z\"}]}";

static const struct {
    const char *method, *path, *query, *body;
    int status;
    const char *accepts, *coding;
} requests[] = {
    {"GET", "/", NULL, NULL, 200, NULL, NULL},
    {"GET", "/openapi.json", NULL, NULL, 200, NULL, NULL},
    {"GET", "/health", NULL, NULL, 200, NULL, NULL},
    {"GET", "/sync/databases", NULL, NULL, 200, NULL, NULL},
    {"GET", "/sync/clients", NULL, NULL, 200, NULL, NULL},
    {"GET", "/sync/state", "db=main", NULL, 200, NULL, NULL},
    {"GET", "/sync/changes", "fromVersion=0&batchSize=2&origin=device", NULL, 200, NULL, NULL},
    {"GET", "/sync/changes", "fromVersion=%31e", NULL, 400, NULL, NULL},
    {"GET", "/sync/snapshot", "", NULL, 200, NULL, NULL},
    {"POST", "/sync/digest", "", "{}", 200, NULL, NULL},
    {"POST", "/sync/clients", "", "{\"originId\":\"device\",\"lastSyncVersion\":1}", 200, NULL, NULL},
    {"POST", "/sync/changes", "", push_text, 200, NULL, NULL},
    {"PUT", "/sync/changes", "", "x", 405, NULL, NULL},
    {"GET", "/sync/subscribe", "", NULL, 501, NULL, NULL},
    {"DELETE", "/sync/subscribe/x", "", NULL, 501, NULL, NULL},
    {"GET", "/metrics", "", NULL, 501, NULL, NULL},
    {"GET", "/sync/state", "", NULL, 200, "gzip, identity;q=0", NULL},
    {"GET", "/sync/state", "", NULL, 200, "zstd, identity;q=0", NULL},
    {"GET", "/sync/state", "", NULL, 406, "*;q=0", NULL},
    {"POST", "/sync/digest", "", "{}", 400, NULL, "gzip"},
    {"POST", "/sync/digest", "", "{}", 400, NULL, "zstd"},
    {"POST", "/sync/digest", "", "{}", 415, NULL, "br"},
};

/* Makes an API and asks request number *ctx. */
static int ask(void *ctx)
{
    size_t i = *(size_t *)ctx;
    csync_header headers[] = {{"Content-Type", "application/json"},
                              {"authorization", "bearer secret"},
                              {"Accept-Encoding", requests[i].accepts ? requests[i].accepts : ""},
                              {"Content-Encoding", requests[i].coding ? requests[i].coding : ""}};
    const char *const tables[] = {"site"};
    csync_grant grant = {.struct_size = sizeof grant,
                         .token_hash = SECRET_HASH,
                         .may = CSYNC_MAY_READ | CSYNC_MAY_WRITE,
                         .tables = tables,
                         .table_count = 1};
    csync_request request = {.struct_size = sizeof request,
                             .method = requests[i].method,
                             .path = requests[i].path,
                             .query = requests[i].query,
                             .headers = headers,
                             .header_count = 4,
                             .body = requests[i].body,
                             .body_length = requests[i].body ? strlen(requests[i].body) : 0};
    csync_response *response = NULL;
    csync_api *api = NULL;
    int rc = csync_api_new(&api, NULL, NULL);

    if (rc == CSYNC_OK)
        rc = csync_api_add(api, "main", c, NULL);
    if (rc == CSYNC_OK)
        rc = csync_api_grant(api, &grant, NULL);
    if (rc == CSYNC_OK)
        rc = csync_api_handle(api, &request, &response, NULL);
    if (rc == CSYNC_OK)
        assert_int_equal(response->status, requests[i].status);
    csync_response_free(response);
    csync_api_free(api);
    return rc;
}

static void every_allocation_of_every_route_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        long n = 0, used = 1;

        build(0);
        while (n <= used) { /* a run that nothing fails ends it */
            int rc;

            arm(++n, 0);
            rc = ask(&i);
            used = failing_malloc.count;
            disarm();
            /* that it could not be noted who has read the log is no failure */
            assert_true(rc == CSYNC_OK || (rc == CSYNC_ENOMEM && n <= used));
        }
        unbuild();
    }
}

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(calls_without_their_arguments_are_misuse),
        cmocka_unit_test(tables_have_names_and_are_not_for_a_sync),
        cmocka_unit_test(settings_that_mean_nothing_are_refused),
    };
    const struct CMUnitTest failing[] = {
        cmocka_unit_test(every_allocation_of_every_route_may_fail),
    };

    return cmocka_run_group_tests(plain, NULL, NULL) +
           cmocka_run_group_tests(failing, memory_hook, memory_unhook);
}

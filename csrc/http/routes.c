/* routes.c - which request is answered by what. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "codec/digest.h"
#include "codec/text_list.h"
#include "codec/value.h"
#include "codec/wire_reader.h"
#include "http/exchange.h"

enum { PAGE = 1000, PAGE_MAX = 5000, PUSH_MAX = 10000 };

static int refuse(cs_exchange *x, int status, const char *type, const char *detail, csync_error *err)
{
    return cs_reply_problem(x->reply, status, type, detail, NULL, err);
}

/* Takes over a text that a csync function has given. */
static void put_text(cs_exchange *x, char *text)
{
    cs_buf_puts(&x->reply->body, text);
    csync_free(text);
}

static int state_of(const cs_exchange *x, csync_state *state, csync_error *err)
{
    *state = (csync_state){.struct_size = sizeof *state};
    return csync_get_state(x->database->replica, state, err);
}

/* ---- reading ---- */

static int get_health(cs_exchange *x, csync_error *err)
{
    char now[CS_TIME_SIZE];

    cs_time_format(cs_time_now(), now);
    cs_buf_printf(&x->reply->body, "{\"status\":\"Healthy\",\"timestamp\":\"%s\"}", now);
    return cs_reply_json(x->reply, 200, err);
}

static int get_openapi(cs_exchange *x, csync_error *err)
{
    cs_buf_puts(&x->reply->body, cs_openapi_json);
    return cs_reply_json(x->reply, 200, err);
}

/* Its own script and style are in it, by their hashes; nothing else runs, and it speaks to nobody but this server. */
static int get_page(cs_exchange *x, csync_error *err)
{
    int rc = cs_reply_header(x->reply, "Content-Security-Policy", cs_page_policy, err);

    if (rc == CSYNC_OK)
        rc = cs_reply_header(x->reply, "Referrer-Policy", "no-referrer", err);
    cs_buf_puts(&x->reply->body, cs_page_html);
    return rc == CSYNC_OK ? cs_reply_text(x->reply, 200, "text/html; charset=utf-8", err) : rc;
}

/* Those that whoever asks may read. */
static int get_databases(cs_exchange *x, csync_error *err)
{
    const csync_api *api = x->api;
    cs_buf list = {0};
    int rc = CSYNC_OK, may = 0;

    for (size_t i = 0; rc == CSYNC_OK && i < api->database_count; i++) {
        rc = cs_exchange_covers(x, &api->databases[i], CSYNC_MAY_READ, &may, err);
        if (may)
            cs_text_list_add(&list, api->databases[i].name);
    }
    cs_buf_puts(&list, list.len ? "]}" : "[]}");
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&list, err);
    if (rc == CSYNC_OK) {
        cs_buf_puts(&x->reply->body, "{\"databases\":");
        cs_buf_put(&x->reply->body, list.data, list.len);
    }
    cs_buf_free(&list);
    return rc == CSYNC_OK ? cs_reply_json(x->reply, 200, err) : rc;
}

/* What is counted is of all tables, so that whoever sees but some is not told. */
static int get_state(cs_exchange *x, csync_error *err)
{
    csync_state state;
    char now[CS_TIME_SIZE];
    int rc = state_of(x, &state, err);

    if (rc != CSYNC_OK)
        return rc;
    cs_time_format(cs_time_now(), now);
    cs_buf_printf(&x->reply->body, "{\"maxVersion\":%lld,\"timestamp\":\"%s\",\"origin\":\"%s\"",
                  (long long)state.max_version, now, state.origin);
    if (!cs_exchange_scope(x)->count)
        cs_buf_printf(&x->reply->body, ",\"tables\":%lld,\"parked\":%lld,\"conflicts\":%lld",
                      (long long)state.tables, (long long)state.parked, (long long)state.conflicts);
    cs_buf_puts(&x->reply->body, "}");
    return cs_reply_json(x->reply, 200, err);
}

/* Reads what both kinds of pages are asked by; *forbidden: the token is another client's. */
static int read_fetch(const cs_exchange *x, csync_fetch *fetch, int *forbidden, csync_error *err)
{
    int64_t limit = PAGE;
    int rc = cs_exchange_count(x, "batchSize", PAGE, &limit, err);

    fetch->struct_size = sizeof *fetch;
    fetch->origin = cs_exchange_param(x, "origin");
    fetch->epoch = cs_exchange_param(x, "epoch");
    fetch->tables = cs_exchange_scope(x)->tables;
    fetch->table_count = cs_exchange_scope(x)->count;
    fetch->limit = limit > PAGE_MAX ? PAGE_MAX : (int)limit;
    *forbidden = fetch->origin && !cs_exchange_may_be(x, fetch->origin);
    if (rc == CSYNC_OK && fetch->origin)
        rc = cs_origin_check(fetch->origin, err);
    if (rc == CSYNC_OK && limit == 0)
        return cs_fail(err, CSYNC_EINVAL, "batchSize is 0; it must be 1 to %d", PAGE_MAX);
    return rc;
}

static int put_page(cs_exchange *x, const csync_fetch *fetch, csync_error *err)
{
    csync_batch *page = NULL;
    char *json = NULL;
    int rc = csync_changes(x->database->replica, fetch, &page, err);

    if (rc == CSYNC_OK)
        rc = csync_batch_to_json(page, &json, NULL, err);
    csync_batch_free(page);
    if (rc != CSYNC_OK)
        return rc;
    put_text(x, json);
    return cs_reply_json(x->reply, 200, err);
}

static int another_client(cs_exchange *x, csync_error *err)
{
    return refuse(x, 403, "another-client", "the token is of another client than origin says", err);
}

static int get_changes(cs_exchange *x, csync_error *err)
{
    csync_fetch fetch = {.struct_size = 0};
    int forbidden = 0;
    int rc = read_fetch(x, &fetch, &forbidden, err);

    if (rc == CSYNC_OK && !cs_exchange_param(x, "fromVersion"))
        rc = cs_fail(err, CSYNC_EINVAL,
                     "fromVersion is missing: the version to read after, 0 at first");
    if (rc == CSYNC_OK)
        rc = cs_exchange_count(x, "fromVersion", 0, &fetch.since, err);
    if (rc != CSYNC_OK)
        return rc;
    return forbidden ? another_client(x, err) : put_page(x, &fetch, err);
}

static int get_snapshot(cs_exchange *x, csync_error *err)
{
    csync_fetch fetch = {.struct_size = 0};
    int forbidden = 0;
    int rc = read_fetch(x, &fetch, &forbidden, err);

    if (rc != CSYNC_OK)
        return rc;
    fetch.cursor = cs_exchange_param(x, "cursor");
    fetch.cursor = fetch.cursor ? fetch.cursor : "";
    fetch.epoch = NULL;
    return forbidden ? another_client(x, err) : put_page(x, &fetch, err);
}

/* ---- bodies ---- */

/* *refused 1: the body is none that this route reads, and the reply says so. */
static int check_body(cs_exchange *x, int *refused, csync_error *err)
{
    const csync_request *r = x->request;
    const char *type = cs_exchange_header(x, "Content-Type");
    size_t len = type ? strcspn(type, "; \t") : 0;

    *refused = 1;
    if (len != 16 || strncasecmp(type, "application/json", 16) != 0)
        return refuse(x, 415, "media-type", "Content-Type must be application/json", err);
    if ((int64_t)r->body_length > x->api->options.max_body)
        return refuse(x, 413, "too-large", "the body is larger than this server takes", err);
    *refused = 0;
    return CSYNC_OK;
}

/* What may be answered of what a request asks that may not see every table: all tables are those that it may see. */
static int bound_question(const cs_exchange *x, cs_buf *question, csync_error *err)
{
    const cs_scope *scope = cs_exchange_scope(x);
    cs_digest_request q = {0};
    int rc = cs_digest_request_read(&q, x->request->body, x->request->body_length, err);

    if (rc == CSYNC_OK)
        rc = cs_exchange_may_see(x, q.table, err);
    for (size_t i = 0; rc == CSYNC_OK && i < q.table_count; i++)
        rc = cs_exchange_may_see(x, q.tables[i], err);
    if (rc == CSYNC_OK && q.kind == CS_ASK_TABLES && !q.table_count)
        cs_digest_put_tables(question, scope->tables, scope->count);
    else if (rc == CSYNC_OK)
        cs_buf_put(question, x->request->body, x->request->body_length);
    cs_digest_request_free(&q);
    return rc;
}

static int post_digest(cs_exchange *x, csync_error *err)
{
    cs_buf question = {0};
    char *answer = NULL;
    int refused = 0;
    int rc = check_body(x, &refused, err);

    if (rc != CSYNC_OK || refused)
        return rc;
    if (cs_exchange_scope(x)->count)
        rc = bound_question(x, &question, err);
    else
        cs_buf_put(&question, x->request->body, x->request->body_length);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&question, err);
    if (rc == CSYNC_OK)
        rc = csync_digest(x->database->replica, question.data, &answer, err);
    cs_buf_free(&question);
    if (rc != CSYNC_OK)
        return rc;
    put_text(x, answer);
    return cs_reply_json(x->reply, 200, err);
}

/* ---- pushes ---- */

/* Whose changes alone the bearer may push; NULL: anybody's. */
static const char *bound_to(const cs_exchange *x)
{
    return x->grant && *x->grant->client ? x->grant->client : NULL;
}

static int is_its_own(const cs_exchange *x, const csync_batch *batch)
{
    for (size_t i = 0; i < csync_batch_count(batch); i++)
        if (!cs_exchange_may_be(x, csync_batch_at(batch, i)->origin))
            return 0;
    return 1;
}

static int sender_is_another(const cs_exchange *x, const csync_batch *batch)
{
    csync_batch_info info = {.struct_size = sizeof info};

    (void)csync_batch_get_info(batch, &info);
    return info.origin && !cs_exchange_may_be(x, info.origin);
}

static int refuse_others(cs_exchange *x, csync_error *err)
{
    return refuse(x, 403, "another-client", "the token may push only the changes of its own client",
                  err);
}

static int put_outcome(cs_exchange *x, const csync_outcome *outcome, csync_error *err)
{
    csync_outcome_entry e = {.struct_size = sizeof e};
    char now[CS_TIME_SIZE], *json = NULL;
    size_t applied = 0;
    int rc = csync_outcome_to_json(outcome, &json, err);

    if (rc != CSYNC_OK)
        return rc;
    for (size_t i = 0; i < csync_outcome_count(outcome); i++)
        if (csync_outcome_at(outcome, i, &e) == CSYNC_OK)
            applied += e.status == CSYNC_APPLIED;
    cs_time_format(cs_time_now(), now);
    cs_buf_printf(&x->reply->body, "{\"applied\":%zu,\"timestamp\":\"%s\",", applied, now);
    cs_buf_puts(&x->reply->body, json + 1); /* behind its brace */
    csync_free(json);
    return cs_reply_json(x->reply, 200, err);
}

static int apply(cs_exchange *x, const csync_batch *batch, csync_error *err)
{
    const csync_sync_options options = {.struct_size = sizeof options,
                                        .tables = cs_exchange_scope(x)->tables,
                                        .table_count = cs_exchange_scope(x)->count,
                                        .only_origin = bound_to(x)};
    csync_outcome *outcome = NULL;
    int rc;

    if (csync_batch_count(batch) > PUSH_MAX)
        return refuse(x, 413, "too-large", "a push has at most 10000 changes", err);
    if (sender_is_another(x, batch))
        return refuse_others(x, err);
    rc = csync_apply(x->database->replica, batch, &options, &outcome, NULL, err);
    if (rc == CSYNC_OK)
        rc = put_outcome(x, outcome, err);
    csync_outcome_free(outcome);
    return rc == CSYNC_EAUTH && !is_its_own(x, batch) ? refuse_others(x, err) : rc;
}

static int post_changes(cs_exchange *x, csync_error *err)
{
    csync_batch *batch = NULL;
    int refused = 0;
    int rc = check_body(x, &refused, err);

    if (rc != CSYNC_OK || refused)
        return rc;
    rc = csync_batch_from_json(&batch, x->request->body, x->request->body_length, err);
    if (rc == CSYNC_OK)
        rc = apply(x, batch, err);
    csync_batch_free(batch);
    return rc;
}

/* ---- clients ---- */

/* How far others are is not one client's business. */
static int get_clients(cs_exchange *x, csync_error *err)
{
    char *json = NULL;
    int rc;

    if (x->grant && x->grant->client[0])
        return refuse(x, 403, "another-client",
                      "the token is one client's; it does not show others", err);
    rc = csync_clients(x->database->replica, 0, &json, err);
    if (rc != CSYNC_OK)
        return rc;
    cs_buf_printf(&x->reply->body, "{\"clients\":%s}", json);
    csync_free(json);
    return cs_reply_json(x->reply, 200, err);
}

enum { ORIGIN, VERSION, FIELDS };
static const cs_field client_fields[FIELDS] = {{"\"originId\":", 11}, {"\"lastSyncVersion\":", 18}};

static int read_client(cs_reader *r, const char **origin, int64_t *version)
{
    int more = cs_reader_enter(r, '{'), expected = 0, rc;
    unsigned seen = 0;
    size_t len;

    while (more == 1) {
        int field = cs_reader_field(r, client_fields, FIELDS, &expected, &seen, 1);

        rc = field == -2 ? CSYNC_EINVAL : CSYNC_OK;
        if (field == ORIGIN)
            rc = (*origin = cs_reader_text(r, &len)) ? CSYNC_OK : CSYNC_EINVAL;
        else if (field == VERSION)
            rc = cs_reader_count(r, version);
        if (rc != CSYNC_OK)
            return rc;
        more = cs_reader_next(r, '}');
    }
    return more == 0 ? cs_scan_finish(&r->s) : more;
}

static int post_clients(cs_exchange *x, csync_error *err)
{
    csync_batch *texts = NULL;
    const char *origin = NULL;
    char now[CS_TIME_SIZE];
    int64_t version = 0;
    int refused = 0;
    cs_reader r;
    int rc = check_body(x, &refused, err);

    if (rc != CSYNC_OK || refused)
        return rc;
    rc = csync_batch_new(&texts, err);
    if (rc == CSYNC_OK)
        rc = cs_reader_open(&r, texts, x->request->body, x->request->body_length, err);
    if (rc == CSYNC_OK && (rc = read_client(&r, &origin, &version)) != CSYNC_OK)
        rc = cs_reader_fail(&r, "client", err);
    if (rc == CSYNC_OK && !origin)
        rc = cs_fail(err, CSYNC_EINVAL, "originId is missing");
    if (rc == CSYNC_OK && !cs_exchange_may_be(x, origin))
        rc = another_client(x, err);
    else if (rc == CSYNC_OK)
        rc = csync_register_client(x->database->replica, origin, version, err);
    if (rc == CSYNC_OK && !x->reply->pub.status) {
        cs_time_format(cs_time_now(), now);
        cs_buf_puts(&x->reply->body, "{\"registered\":true,\"client\":{\"originId\":");
        cs_put_text(&x->reply->body, origin, strlen(origin));
        cs_buf_printf(&x->reply->body, ",\"lastSyncVersion\":%lld,\"lastSyncTimestamp\":\"%s\"}}",
                      (long long)version, now);
        rc = cs_reply_json(x->reply, 200, err);
    }
    csync_batch_free(texts);
    return rc;
}

/* ---- the table ---- */

/* What only a server with sockets of its own can answer. */
static int not_here(cs_exchange *x, csync_error *err)
{
    return refuse(x, 501, "unsupported", "this server does not have it; csync serve has", err);
}

static const cs_route routes[] = {
    {"GET", "/", 0, CS_AT_ONCE, get_page},
    {"GET", "/openapi.json", 0, CS_AT_ONCE, get_openapi},
    {"GET", "/health", 0, CS_AT_ONCE, get_health},
    {"GET", "/sync/databases", CSYNC_MAY_READ, CS_AT_ONCE, get_databases},
    {"GET", "/sync/changes", CSYNC_MAY_READ, CS_READS, get_changes},
    {"POST", "/sync/changes", CSYNC_MAY_WRITE, CS_WRITES, post_changes},
    {"GET", "/sync/snapshot", CSYNC_MAY_READ, CS_READS, get_snapshot},
    {"POST", "/sync/digest", CSYNC_MAY_READ, CS_READS, post_digest},
    {"GET", "/sync/clients", CSYNC_MAY_READ, CS_READS, get_clients},
    {"POST", "/sync/clients", CSYNC_MAY_READ, CS_WRITES, post_clients},
    {"GET", "/sync/state", CSYNC_MAY_READ, CS_READS, get_state},
    {"GET", "/sync/subscribe", CSYNC_MAY_READ, CS_STREAMS, not_here},
    {"DELETE", "/sync/subscribe/", CSYNC_MAY_READ, CS_ENDS_STREAM, not_here},
    {"GET", "/metrics", CSYNC_MAY_READ, CS_COUNTS, not_here},
};

/* A route that ends in '/' is followed by an id, but for the root. */
static int is_path(const cs_route *route, const char *path)
{
    size_t len = strlen(route->path);

    if (len == 1 || route->path[len - 1] != '/')
        return strcmp(route->path, path) == 0;
    return strncmp(route->path, path, len) == 0 && path[len] && !strchr(path + len, '/');
}

/* The route; NULL: *allowed has the methods that there are for the path. */
static const cs_route *find_route(const csync_request *r, char *allowed, size_t size)
{
    const cs_route *found = NULL;

    *allowed = 0;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t used = strlen(allowed);

        if (!is_path(&routes[i], r->path))
            continue;
        snprintf(allowed + used, size - used, "%s%s", used ? ", " : "", routes[i].method);
        if (strcmp(routes[i].method, r->method) == 0)
            found = &routes[i];
    }
    return found;
}

static void find_database(cs_exchange *x)
{
    const char *name = cs_exchange_param(x, "db");

    for (size_t i = 0; i < x->api->database_count; i++)
        if (name ? strcmp(x->api->databases[i].name, name) == 0 : x->api->database_count == 1)
            x->database = &x->api->databases[i];
}

static int refuse_permission(cs_exchange *x, int status, csync_error *err)
{
    int rc;

    if (status == 403)
        return refuse(x, 403, "forbidden", "the token is not for this", err);
    rc = cs_reply_header(x->reply, "WWW-Authenticate", "Bearer", err);
    return rc == CSYNC_OK ? refuse(x, 401, "unauthorized", "a valid bearer token is needed", err)
                          : rc;
}

/* *refused 1: it may not, and the reply says why. */
static int permit(cs_exchange *x, const cs_route *route, int *refused, csync_error *err)
{
    int status = 0, rc;

    *refused = 1;
    if (cs_exchange_param(x, "connectionString")) /* it would let anybody open any file or host */
        return refuse(x, 400, "connection-string-refused",
                      "databases are named on the server; say db=NAME instead of connectionString",
                      err);
    find_database(x);
    rc = cs_exchange_permit(x, route->may, &status, err);
    if (rc != CSYNC_OK)
        return rc;
    if (status)
        return refuse_permission(x, status, err);
    if (!x->database && route->kind != CS_COUNTS && route->kind != CS_AT_ONCE)
        return cs_exchange_param(x, "db")
                   ? refuse(x, 404, "no-such-database", "there is no database of that name", err)
                   : refuse(x, 400, "which-database", "say which database: db=NAME", err);
    *refused = 0;
    return CSYNC_OK;
}

int cs_exchange_find(cs_exchange *x, const cs_route **route, csync_error *err)
{
    char allowed[40];
    const cs_route *found = find_route(x->request, allowed, sizeof allowed);
    int refused = 0, rc;

    *route = NULL;
    if (!found && !*allowed)
        return refuse(x, 404, "no-such-route", "there is nothing at this path", err);
    if (!found) {
        rc = cs_reply_header(x->reply, "Allow", allowed, err);
        return rc == CSYNC_OK ? refuse(x, 405, "method", "the path has other methods", err) : rc;
    }
    rc = cs_exchange_query(x, err);
    if (rc == CSYNC_OK && found->may)
        rc = permit(x, found, &refused, err);
    if (rc == CSYNC_OK && !refused)
        *route = found;
    return rc;
}

int cs_exchange_run(cs_exchange *x, csync_error *err)
{
    const cs_route *route;
    int rc = cs_exchange_find(x, &route, err);

    return rc == CSYNC_OK && route ? cs_exchange_answer(x, route, err) : rc;
}

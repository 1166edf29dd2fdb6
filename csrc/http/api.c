/* api.c - the REST API as a function: the public entry points. It stands on csync.h, as any program could. */
#include <string.h>

#include "base/mem.h"
#include "base/options.h"
#include "base/text.h"
#include "http/exchange.h"
#include "model/change.h"

#define MAX_BODY (INT64_C(16) << 20)

int csync_api_new(csync_api **out, const csync_api_options *options, csync_error *err)
{
    csync_api_options o;
    csync_api *api;
    int rc = CSYNC_OK;

    cs_error_clear(err);
    if (!out)
        return cs_fail(err, CSYNC_EMISUSE, "out is NULL");
    *out = NULL;
    rc = CS_OPTIONS_IN(&o, options, err);
    if (rc == CSYNC_OK && o.max_body < 0)
        rc = cs_fail(err, CSYNC_EINVAL, "max_body is negative");
    if (rc != CSYNC_OK)
        return rc;
    api = cs_calloc(1, sizeof *api);
    if (!api)
        return cs_fail_nomem(err);
    api->options = o;
    if (!o.max_body)
        api->options.max_body = MAX_BODY;
    *out = api;
    return CSYNC_OK;
}

void csync_api_free(csync_api *api)
{
    if (!api)
        return;
    cs_free(api->databases);
    cs_free(api->grants);
    cs_arena_free(&api->texts);
    cs_free(api);
}

/* Names have the form of origins, so that they need no encoding. */
static int check_name(const csync_api *api, const char *name, csync_error *err)
{
    if (cs_origin_check(name, NULL) != CSYNC_OK)
        return cs_fail(err, CSYNC_EINVAL,
                       "\"%.70s\" is no name of a database: 1 to %d characters of A-Z a-z 0-9 _ . -",
                       name, CS_ORIGIN_MAX);
    for (size_t i = 0; i < api->database_count; i++)
        if (strcmp(api->databases[i].name, name) == 0)
            return cs_fail(err, CSYNC_EINVAL, "there is a database \"%s\" already", name);
    return CSYNC_OK;
}

int cs_api_add(csync_api *api, const char *name, csync *replica, csync_error *err)
{
    cs_database *grown;
    int rc = check_name(api, name, err);

    if (rc != CSYNC_OK)
        return rc;
    grown = cs_realloc(api->databases, (api->database_count + 1) * sizeof *grown);
    if (!grown)
        return cs_fail_nomem(err);
    api->databases = grown;
    grown += api->database_count++;
    cs_text_copy(grown->name, sizeof grown->name, name);
    grown->replica = replica;
    return CSYNC_OK;
}

int csync_api_add(csync_api *api, const char *name, csync *replica, csync_error *err)
{
    cs_error_clear(err);
    if (!api || !name || !replica)
        return cs_fail(err, CSYNC_EMISUSE, "api, name or replica is NULL");
    return cs_api_add(api, name, replica, err);
}

static int check_grant(const csync_grant *g, csync_error *err)
{
    const int all = CSYNC_MAY_READ | CSYNC_MAY_WRITE;

    if (!g->token_hash || strlen(g->token_hash) != CSYNC_HASH_SIZE - 1 ||
        strspn(g->token_hash, "0123456789abcdef") != CSYNC_HASH_SIZE - 1)
        return cs_fail(err, CSYNC_EINVAL, "token_hash is no SHA-256 in lower-case hex");
    if (g->client && cs_origin_check(g->client, err) != CSYNC_OK)
        return CSYNC_EINVAL;
    if (g->database && cs_origin_check(g->database, NULL) != CSYNC_OK)
        return cs_fail(err, CSYNC_EINVAL, "\"%.70s\" is no name of a database", g->database);
    if (g->may <= 0 || g->may & ~all)
        return cs_fail(err, CSYNC_EINVAL, "may is %d; it must be a sum of CSYNC_MAY_...", g->may);
    if (g->expires_ms < 0)
        return cs_fail(err, CSYNC_EINVAL, "expires_ms is negative");
    return cs_scope_check(&(cs_scope){g->tables, g->table_count}, err);
}

int csync_api_grant(csync_api *api, const csync_grant *grant, csync_error *err)
{
    csync_grant g;
    cs_scope scope;
    cs_grant *grown;
    int rc;

    cs_error_clear(err);
    if (!api || !grant)
        return cs_fail(err, CSYNC_EMISUSE, "api or grant is NULL");
    rc = CS_OPTIONS_IN(&g, grant, err);
    if (rc == CSYNC_OK)
        rc = check_grant(&g, err);
    if (rc == CSYNC_OK)
        rc = cs_scope_copy(&scope, &(cs_scope){g.tables, g.table_count}, &api->texts, err);
    if (rc != CSYNC_OK)
        return rc;
    grown = cs_realloc(api->grants, (api->grant_count + 1) * sizeof *grown);
    if (!grown)
        return cs_fail_nomem(err);
    api->grants = grown;
    grown += api->grant_count++;
    memset(grown, 0, sizeof *grown);
    cs_text_copy(grown->hash, sizeof grown->hash, g.token_hash);
    cs_text_copy(grown->client, sizeof grown->client, g.client ? g.client : "");
    cs_text_copy(grown->database, sizeof grown->database, g.database ? g.database : "");
    grown->may = g.may;
    grown->expires = g.expires_ms;
    grown->scope = scope;
    return CSYNC_OK;
}

static int check_request(const csync_request *r, csync_error *err)
{
    if (!r->method || !r->path || (r->header_count && !r->headers) || (r->body_length && !r->body))
        return cs_fail(err, CSYNC_EMISUSE, "method, path, headers or body is NULL");
    for (size_t i = 0; i < r->header_count; i++)
        if (!r->headers[i].name || !r->headers[i].value)
            return cs_fail(err, CSYNC_EMISUSE, "a header's name or value is NULL");
    return CSYNC_OK;
}

/* Whatever fails for the request's sake is the response; only memory is ours to complain of. */
static int run(cs_exchange *x, csync_error *err)
{
    csync_error why = CSYNC_ERROR_INIT;
    int rc = cs_exchange_run(x, &why);

    if (rc == CSYNC_OK || rc == CSYNC_ENOMEM || rc == CSYNC_EMISUSE) {
        if (rc != CSYNC_OK)
            cs_error_copy(err, &why);
        return rc;
    }
    return cs_reply_failure(x->reply, &why, err);
}

int csync_api_handle(const csync_api *api, const csync_request *request, csync_response **out,
                     csync_error *err)
{
    csync_request r;
    cs_exchange x = {.api = api, .request = &r};
    int rc;

    cs_error_clear(err);
    if (out)
        *out = NULL;
    if (!api || !request || !out)
        return cs_fail(err, CSYNC_EMISUSE, "api, request or out is NULL");
    rc = CS_OPTIONS_IN(&r, request, err);
    if (rc == CSYNC_OK)
        rc = check_request(&r, err);
    if (rc != CSYNC_OK)
        return rc;
    if (!r.body)
        r.body = "";
    x.reply = cs_reply_create();
    rc = x.reply ? run(&x, err) : cs_fail_nomem(err);
    cs_arena_free(&x.texts);
    if (rc == CSYNC_OK)
        *out = &x.reply->pub;
    else
        cs_reply_destroy(x.reply);
    return rc;
}

void csync_response_free(csync_response *response)
{
    cs_reply_destroy((cs_reply *)response);
}

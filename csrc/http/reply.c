/* reply.c - responses, and the problem documents (RFC 9457) that failures become. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/value.h"
#include "http/exchange.h"

cs_reply *cs_reply_create(void)
{
    cs_reply *reply = cs_calloc(1, sizeof *reply);

    if (reply)
        reply->pub.struct_size = sizeof reply->pub;
    return reply;
}

void cs_reply_destroy(cs_reply *reply)
{
    if (!reply)
        return;
    cs_buf_free(&reply->body);
    cs_arena_free(&reply->texts);
    cs_free(reply);
}

int cs_reply_header(cs_reply *reply, const char *name, const char *value, csync_error *err)
{
    char *copy = cs_arena_copy(&reply->texts, value, strlen(value));

    if (!copy)
        return cs_fail_nomem(err);
    if (reply->pub.header_count == CS_HEADERS_MAX)
        return cs_fail(err, CSYNC_EMISUSE, "a reply has more than %d headers", CS_HEADERS_MAX);
    reply->headers[reply->pub.header_count++] = (csync_header){name, copy};
    reply->pub.headers = reply->headers;
    return CSYNC_OK;
}

static int finish(cs_reply *reply, int status, const char *type, csync_error *err)
{
    int rc = cs_buf_check(&reply->body, err);

    reply->pub.status = status;
    reply->pub.body = reply->body.data;
    reply->pub.body_length = reply->body.len;
    if (rc == CSYNC_OK)
        rc = cs_reply_header(reply, "Content-Type", type, err);
    if (rc == CSYNC_OK)
        rc = cs_reply_header(reply, "Cache-Control", "no-store", err);
    return rc == CSYNC_OK ? cs_reply_header(reply, "X-Content-Type-Options", "nosniff", err) : rc;
}

int cs_reply_json(cs_reply *reply, int status, csync_error *err)
{
    return finish(reply, status, "application/json", err);
}

int cs_reply_text(cs_reply *reply, int status, const char *type, csync_error *err)
{
    return finish(reply, status, type, err);
}

static const char *title_of(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {{400, "Bad Request"},
                  {401, "Unauthorized"},
                  {403, "Forbidden"},
                  {404, "Not Found"},
                  {405, "Method Not Allowed"},
                  {406, "Not Acceptable"},
                  {409, "Conflict"},
                  {410, "Gone"},
                  {413, "Content Too Large"},
                  {415, "Unsupported Media Type"},
                  {422, "Unprocessable Content"},
                  {429, "Too Many Requests"},
                  {431, "Request Header Fields Too Large"},
                  {500, "Internal Server Error"},
                  {501, "Not Implemented"},
                  {503, "Service Unavailable"},
                  {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (titles[i].status == status)
            return titles[i].title;
    return "Error";
}

static void put_member(cs_buf *s, const char *name, const char *text)
{
    cs_buf_printf(s, ",\"%s\":", name);
    cs_put_text(s, text, strlen(text));
}

int cs_reply_problem(cs_reply *reply, int status, const char *type, const char *detail,
                     const csync_error *why, csync_error *err)
{
    cs_buf *s = &reply->body;

    cs_buf_clear(s);
    cs_buf_printf(s, "{\"type\":\"urn:csync:%s\",\"title\":\"%s\",\"status\":%d", type,
                  title_of(status), status);
    put_member(s, "detail", detail);
    if (why) {
        put_member(s, "code", csync_code_name(why->code));
        if (why->version) {
            cs_buf_puts(s, ",\"version\":");
            cs_buf_put_int(s, why->version);
        }
        if (why->expected[0])
            put_member(s, "expected", why->expected);
        if (why->actual[0])
            put_member(s, "actual", why->actual);
    }
    cs_buf_putc(s, '}');
    return finish(reply, status, "application/problem+json", err);
}

/* What a failure is to whoever asked. What the database itself says may tell of more than he may know. */
static const struct {
    int code, status;
    const char *type, *detail; /* detail NULL: the error's own text */
} failures[] = {
    {CSYNC_EINVAL, 400, "invalid", NULL},
    {CSYNC_EAUTH, 403, "forbidden", NULL},
    {CSYNC_ENOTFOUND, 404, "not-found", NULL},
    {CSYNC_EHASH, 409, "hash-mismatch", NULL},
    {CSYNC_ECLOCK, 409, "clock-skew", NULL},
    {CSYNC_EFULLRESYNC, 410, "full-resync-required", NULL},
    {CSYNC_ESCHEMA, 422, "schema", NULL},
    {CSYNC_EFOREIGNKEY, 422, "foreign-key", NULL},
    {CSYNC_EUNSUPPORTED, 501, "unsupported", NULL},
    {CSYNC_EBUSY, 503, "busy", "the database is busy; try again"},
    {CSYNC_ECANCELED, 503, "busy", "the call was cancelled; try again"},
    {0, 500, "internal", "the database failed; its server's log says why"},
};

int cs_reply_failure(cs_reply *reply, const csync_error *why, csync_error *err)
{
    size_t i = 0;
    int rc = CSYNC_OK;

    while (failures[i].code && failures[i].code != why->code)
        i++;
    if (failures[i].status == 503)
        rc = cs_reply_header(reply, "Retry-After", "1", err);
    return rc == CSYNC_OK
               ? cs_reply_problem(reply, failures[i].status, failures[i].type,
                                  failures[i].detail ? failures[i].detail : why->message, why, err)
               : rc;
}

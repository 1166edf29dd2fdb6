/* strict.c - requests that libmicrohttpd reads and that somebody else might read in another way. What two programs read
 * differently lets one client speak in the name of another (RFC 9112, 11.2), so it is refused. */
#include <string.h>
#include <strings.h>

#include "http/server.h"

typedef struct reading {
    cs_ask *ask;
    const char *expected; /* where the next header begins if nothing was folded or cut */
    const char *detail;
    int status;
} reading;

static int refuse(reading *r, int status, const char *detail)
{
    r->status = status;
    r->detail = detail;
    return MHD_NO;
}

static int is_token(const char *text, size_t len)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        int is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

        if (!is_letter && !(c >= '0' && c <= '9') && !(c && strchr(extra, c)))
            return 0;
    }
    return len > 0;
}

static int is_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
            return 0;
    return 1;
}

/* libmicrohttpd 0.9.75 parses the header in place: behind a value stand the two bytes of its CRLF and then the next name. A
 * folded line was moved elsewhere, a value with a NUL ends too early, and behind a bare LF there is one byte. Later
 * versions lay it out in other ways and refuse these themselves. (It overwrites the CRLF with NULs, so NUL LF in its place
 * cannot be told from it; proxies refuse a NUL.) */
static int is_in_place(const reading *r, const char *name)
{
    return !r->ask->server->checks_layout || r->expected == name;
}

/* The target is all that stands between the method and the version: MHD's copy may end at a NUL. */
static int is_line_whole(const cs_ask *ask, const char *method, size_t target_len, const char *version)
{
    return !ask->server->checks_layout || method + strlen(method) + 1 + target_len + 1 == version;
}

/* Behind the last header there is an empty line and nothing else. */
static int is_end(const reading *r, const char *method)
{
    cs_ask *ask = r->ask;
    const union MHD_ConnectionInfo *info;

    if (!ask->server->checks_layout)
        return 1;
    info = ask->server->mhd.MHD_get_connection_info(ask->connection,
                                                    MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info && r->expected + 2 == method + info->header_size;
}

/* White space behind a value is not part of it. NULL: out of memory. */
static const char *without_blanks(cs_ask *ask, const char *value, size_t len)
{
    size_t kept = len;

    while (kept && (value[kept - 1] == ' ' || value[kept - 1] == '\t'))
        kept--;
    return kept == len ? value : cs_arena_copy(&ask->x.texts, value, kept);
}

static enum MHD_Result read_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    reading *r = cls;
    csync_request *request = &r->ask->request;

    (void)kind;
    if (request->header_count == CS_ASK_HEADERS)
        return refuse(r, 431, "a request has at most 64 headers");
    if (!value || !is_token(name, name_len))
        return refuse(r, 400, "a header's name has a character that it must not have");
    if (!is_value(value, value_len) || strlen(value) != value_len)
        return refuse(r, 400, "a header's value has a character that it must not have");
    if (!is_in_place(r, name))
        return refuse(r, 400, "each header has one line, which ends in CRLF");
    r->expected = value + value_len + 2;
    value = without_blanks(r->ask, value, value_len);
    if (!value)
        return refuse(r, 503, "out of memory");
    r->ask->headers[request->header_count++] = (csync_header){name, value};
    return MHD_YES;
}

const char *cs_ask_header(const cs_ask *ask, const char *name)
{
    for (size_t i = 0; i < ask->request.header_count; i++)
        if (strcasecmp(ask->headers[i].name, name) == 0)
            return ask->headers[i].value;
    return NULL;
}

static int count_of(const cs_ask *ask, const char *name)
{
    int count = 0;

    for (size_t i = 0; i < ask->request.header_count; i++)
        count += strcasecmp(ask->headers[i].name, name) == 0;
    return count;
}

static int check_length(const cs_ask *ask, reading *r)
{
    const char *length = cs_ask_header(ask, "Content-Length");
    const char *coding = cs_ask_header(ask, "Transfer-Encoding");
    size_t digits = length ? strspn(length, "0123456789") : 0;
    int64_t value = 0;

    if (length && coding)
        return refuse(r, 400, "a request has Content-Length or Transfer-Encoding, not both");
    if (coding && strcasecmp(coding, "chunked") != 0)
        return refuse(r, 501, "the only Transfer-Encoding that is read here is chunked");
    if (!length)
        return MHD_YES;
    if (!digits || length[digits] || digits > 18)
        return refuse(r, 400, "Content-Length is no number");
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (length[i] - '0');
    if (value > ask->server->options.max_body)
        return refuse(r, 413, "the body is larger than this server takes");
    return MHD_YES;
}

static int check_single(const cs_ask *ask, reading *r)
{
    static const char *const once[] = {"Content-Length", "Transfer-Encoding",
                                       "Authorization",  "Content-Type",
                                       "Origin",         "Last-Event-ID"};

    if (count_of(ask, "Host") != 1)
        return refuse(r, 400, "a request has exactly one Host");
    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        if (count_of(ask, once[i]) > 1)
            return refuse(r, 400, "a header that must be there once is there twice");
    return MHD_YES;
}

/* Only what a URL may hold; what it means is the routes' business. */
static int check_target(const cs_ask *ask, reading *r)
{
    const char *parts[] = {ask->request.path, ask->request.query};

    for (size_t i = 0; i < 2; i++)
        for (const char *p = parts[i]; p && *p; p++)
            if (*p <= ' ' || *p >= 0x7f || strchr("\"<>\\^`{|}#", *p))
                return refuse(r, 400, "the target has a character that must be percent-encoded");
    return *ask->request.path == '/' ? MHD_YES : refuse(r, 400, "the target is no path");
}

static int check_body(const cs_ask *ask, reading *r)
{
    const char *length = cs_ask_header(ask, "Content-Length");
    int has_body = cs_ask_header(ask, "Transfer-Encoding") ||
                   (length && strspn(length, "0") != strlen(length));

    if (has_body && strcmp(ask->request.method, "POST") != 0)
        return refuse(r, 400, "only a POST has a body");
    return MHD_YES;
}

/* Their number comes from the same reader, so there is room for all, or for as many as are taken. */
static void read_headers(cs_ask *ask, reading *r)
{
    const cs_mhd *mhd = &ask->server->mhd;
    int count = mhd->MHD_get_connection_values_n(ask->connection, MHD_HEADER_KIND, NULL, NULL);

    if (count > CS_ASK_HEADERS)
        count = CS_ASK_HEADERS;
    if (count <= 0)
        return;
    ask->headers = cs_arena_alloc(&ask->x.texts, (size_t)count * sizeof *ask->headers);
    ask->request.headers = ask->headers;
    if (ask->headers)
        mhd->MHD_get_connection_values_n(ask->connection, MHD_HEADER_KIND, read_header, r);
    else
        refuse(r, 503, "out of memory");
}

int cs_ask_read_headers(cs_ask *ask, const char *version, const char **detail)
{
    const csync_request *request = &ask->request;
    size_t target_len = strlen(request->path);
    reading r = {ask, version + strlen(version) + 2, NULL, 0};

    if (request->query)
        target_len += 1 + strlen(request->query);
    read_headers(ask, &r);
    if (!r.status && !is_line_whole(ask, request->method, target_len, version))
        refuse(&r, 400, "the request's first line is malformed");
    if (!r.status && !is_end(&r, request->method))
        refuse(&r, 400, "each header has one line, which ends in CRLF");
    if (!r.status)
        (void)(check_target(ask, &r) && check_single(ask, &r) && check_length(ask, &r) &&
               check_body(ask, &r));
    *detail = r.detail;
    return r.status;
}

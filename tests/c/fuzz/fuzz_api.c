/* links: sqlite3 - fuzz_api.c - whole requests to the REST API: queries, headers and bodies of every route, on a real
 * replica. The input is a request as it stands on the wire, with bare LF: "POST /sync/digest?db=main", headers, an empty line,
 * the body. Whatever it is, the answer is one of those that docs/openapi.yaml knows, and a document. */
#include <stdlib.h>
#include <string.h>

#include "csync.h"

enum { HEADERS = 8 };

static csync_api *api;

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

static void execute(csync *replica, const char *sql)
{
    must(csync_execute(replica, sql, NULL, 0, NULL, NULL, NULL, NULL) == CSYNC_OK);
}

static void make_world(void)
{
    csync *replica;

    must(csync_open(&replica, ":memory:", NULL, NULL) == CSYNC_OK);
    execute(replica, "CREATE TABLE note(id INTEGER PRIMARY KEY, body, votes INTEGER)");
    must(csync_track(replica, "note", NULL, NULL) == CSYNC_OK);
    execute(replica, "INSERT INTO note VALUES (1, 'a', 1), (2, x'00ff', NULL)");
    must(csync_api_new(&api, NULL, NULL) == CSYNC_OK);
    must(csync_api_add(api, "main", replica, NULL) == CSYNC_OK);
}

/* Cuts the line that begins at *text off, without its end; NULL: the text is over. */
static char *take_line(char **text)
{
    char *line = *text, *end = line ? strchr(line, '\n') : NULL;

    if (end)
        *end = 0;
    *text = end ? end + 1 : NULL;
    return line;
}

static size_t read_headers(char **text, csync_header *headers)
{
    size_t count = 0;
    char *line;

    while ((line = take_line(text)) != NULL && *line) {
        char *colon = strstr(line, ": ");

        if (!colon || count == HEADERS)
            continue;
        *colon = 0;
        headers[count++] = (csync_header){line, colon + 2};
    }
    return count;
}

static const char *header(const csync_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strcmp(response->headers[i].name, name) == 0)
            return response->headers[i].value;
    return NULL;
}

/* What the body is without its content coding; csync_free. */
static char *content(const csync_response *response, size_t *len)
{
    const char *coding = header(response, "Content-Encoding");
    char *plain = NULL;

    if (coding) {
        must(csync_decode(coding, response->body, response->body_length, 64 << 20, &plain, len,
                          NULL) == CSYNC_OK);
        return plain;
    }
    plain = csync_malloc(response->body_length + 1);
    must(plain != NULL);
    if (response->body_length)
        memcpy(plain, response->body, response->body_length);
    *len = response->body_length;
    return plain;
}

static void check(const csync_response *response)
{
    static const int known[] = {200, 400, 401, 403, 404, 405, 406,
                                409, 410, 413, 415, 422, 501, 503};
    const char *type = header(response, "Content-Type");
    char *canonical = NULL, *body;
    size_t len = 0;
    int is_known = 0;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= response->status == known[i];
    must(is_known);
    must(type != NULL);
    must(response->status == 200 || strcmp(type, "application/problem+json") == 0);
    body = content(response, &len);
    if (strstr(type, "json"))
        must(csync_canonical_json(body, len, &canonical, NULL) == CSYNC_OK);
    csync_free(canonical);
    csync_free(body);
}

static void ask(char *method, char *text, const char *end)
{
    csync_header headers[HEADERS];
    csync_request request = {.struct_size = sizeof request, .headers = headers, .local = 1};
    csync_response *response;
    char *path = strchr(method, ' '), *query;

    if (!path)
        return;
    *path++ = 0;
    query = strchr(path, '?');
    if (query)
        *query++ = 0;
    request.method = method;
    request.path = path;
    request.query = query;
    request.header_count = read_headers(&text, headers);
    request.body = text;
    request.body_length = text ? (size_t)(end - text) : 0;
    must(csync_api_handle(api, &request, &response, NULL) == CSYNC_OK);
    check(response);
    csync_response_free(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1), *text = copy, *line;

    if (!api)
        make_world();
    must(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = 0;
    line = take_line(&text);
    ask(line, text, copy + size);
    free(copy);
    return 0;
}

/* place.c - where a URL leads. libcurl reads it, so that it is read as it will be asked. */
#include "client/place.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"

/* A part of the URL, from curl_free; NULL: it is not there. */
static char *part_of(const cs_curl *curl, CURLU *url, CURLUPart part)
{
    char *text = NULL;

    return curl->curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

/* Scheme, host, port and path. */
static int put_base(cs_buf *out, const cs_curl *curl, CURLU *url, csync_error *err)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT,
                                      CURLUPART_PATH};
    static const char *const before[] = {"", "://", ":", ""};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *text = part_of(curl, url, parts[i]);

        if (text) {
            cs_buf_puts(out, before[i]);
            cs_buf_puts(out, text);
        }
        curl->curl_free(text);
    }
    while (out->len && out->data[out->len - 1] == '/')
        out->len--;
    return cs_buf_check(out, err);
}

static int no_server(const char *what, csync_error *err)
{
    return cs_fail(err, CSYNC_EINVAL,
                   "%s is no http:// or https:// URL of a server; csync_open opens a database that "
                   "can be reached from here",
                   what);
}

static int parse(const cs_curl *curl, CURLU *url, const char *text, csync_error *err)
{
    switch (curl->curl_url_set(url, CURLUPART_URL, text, CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME)) {
    case CURLUE_OK:
        return CSYNC_OK;
    case CURLUE_OUT_OF_MEMORY:
        return cs_fail_nomem(err);
    case CURLUE_BAD_SCHEME:
        return no_server("this", err);
    default:
        return cs_fail(err, CSYNC_EINVAL, "the URL's host or port is malformed");
    }
}

static int is(const char *text, const char *other)
{
    return text && strcasecmp(text, other) == 0;
}

static int check(const cs_curl *curl, CURLU *url, cs_place *place, csync_error *err)
{
    char *scheme = part_of(curl, url, CURLUPART_SCHEME), *host = part_of(curl, url, CURLUPART_HOST);
    char *user = part_of(curl, url, CURLUPART_USER);
    char *password = part_of(curl, url, CURLUPART_PASSWORD);
    int rc = CSYNC_OK;

    place->is_tls = is(scheme, "https");
    place->is_local = is(host, "localhost") || is(host, "127.0.0.1") || is(host, "[::1]");
    if (!place->is_tls && !is(scheme, "http"))
        rc = no_server(place->base, err);
    else if (user || password)
        rc = cs_fail(err, CSYNC_EINVAL, "%s: say who you are with a token, not in the URL",
                     place->base);
    curl->curl_free(scheme);
    curl->curl_free(host);
    curl->curl_free(user);
    curl->curl_free(password);
    return rc;
}

static int read_query(const cs_curl *curl, CURLU *url, cs_place *place, csync_error *err)
{
    char *query = part_of(curl, url, CURLUPART_QUERY);
    int is_there = query && *query;

    if (is_there)
        place->query = cs_strdup(query);
    curl->curl_free(query);
    return is_there && !place->query ? cs_fail_nomem(err) : CSYNC_OK;
}

int cs_place_read(cs_place *out, const cs_curl *curl, const char *url, csync_error *err)
{
    CURLU *parsed = curl->curl_url();
    cs_buf base = {0};
    int rc = parsed ? parse(curl, parsed, url, err) : cs_fail_nomem(err);

    if (rc == CSYNC_OK)
        rc = put_base(&base, curl, parsed, err);
    if (rc == CSYNC_OK) {
        out->base = base.data;
        base = (cs_buf){0};
        rc = check(curl, parsed, out, err);
    }
    if (rc == CSYNC_OK)
        rc = read_query(curl, parsed, out, err);
    cs_buf_free(&base);
    if (parsed)
        curl->curl_url_cleanup(parsed);
    return rc;
}

void cs_place_free(cs_place *place)
{
    cs_free(place->base);
    cs_free(place->query);
    *place = (cs_place){0};
}

int cs_place_show(const cs_curl *curl, const char *url, char **out)
{
    CURLU *parsed = curl->curl_url();
    cs_buf base = {0};
    int rc = parsed ? parse(curl, parsed, url, NULL) : CSYNC_ENOMEM;

    *out = NULL;
    if (rc == CSYNC_OK)
        rc = put_base(&base, curl, parsed, NULL);
    if (rc == CSYNC_OK)
        *out = base.data;
    else
        cs_buf_free(&base);
    if (parsed)
        curl->curl_url_cleanup(parsed);
    return rc;
}

static int is_plain(unsigned char c)
{
    int is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

    return is_letter || (c >= '0' && c <= '9') || strchr("-._~", c);
}

static void put_escaped(cs_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (is_plain(c))
            cs_buf_putc(out, (char)c);
        else
            cs_buf_printf(out, "%%%02X", c);
    }
}

void cs_place_target(cs_buf *out, const cs_place *place, const char *path, const cs_pair *pairs,
                     size_t count)
{
    const char *before = "?";

    cs_buf_puts(out, place->base);
    cs_buf_puts(out, path);
    if (place->query) {
        cs_buf_puts(out, before);
        cs_buf_puts(out, place->query);
        before = "&";
    }
    for (size_t i = 0; i < count; i++) {
        if (!pairs[i].value)
            continue;
        cs_buf_printf(out, "%s%s=", before, pairs[i].name);
        put_escaped(out, pairs[i].value);
        before = "&";
    }
}

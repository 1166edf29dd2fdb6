/* request.c - what a request says: its query and its headers. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "codec/scan.h"
#include "codec/value.h"
#include "http/exchange.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes in place (RFC 3986, 2.1), '+' as a blank (HTML forms). -1: malformed, not UTF-8, or a NUL. */
static int decode(char *text)
{
    char *w = text;

    for (const char *p = text; *p; p++) {
        int high, low;

        if (*p != '%') {
            *w++ = *p == '+' ? ' ' : *p;
            continue;
        }
        high = hex_digit(p[1]);
        low = high < 0 ? -1 : hex_digit(p[2]);
        if (low < 0 || high + low == 0)
            return -1;
        *w++ = (char)(high * 16 + low);
        p += 2;
    }
    *w = 0;
    return cs_utf8_valid(text, (size_t)(w - text)) ? 0 : -1;
}

static int add_param(cs_exchange *x, const char *text, size_t len, csync_error *err)
{
    char *name = cs_arena_copy(&x->texts, text, len), *value;

    if (!name)
        return cs_fail_nomem(err);
    value = strchr(name, '=');
    if (value)
        *value++ = 0;
    else
        value = name + len;
    if (decode(name) != 0 || decode(value) != 0)
        return cs_fail(err, CSYNC_EINVAL, "the query's parameter %zu is not percent-encoded UTF-8",
                       x->param_count + 1);
    if (cs_exchange_param(x, name))
        return cs_fail(err, CSYNC_EINVAL, "the query has \"%.40s\" twice", name);
    if (x->param_count == CS_PARAMS_MAX)
        return cs_fail(err, CSYNC_EINVAL, "the query has more than %d parameters", CS_PARAMS_MAX);
    x->params[x->param_count++] = (cs_param){name, value};
    return CSYNC_OK;
}

static int make_room(cs_exchange *x, const char *query, csync_error *err)
{
    size_t count = 1;

    for (const char *p = query; *p && count < CS_PARAMS_MAX; p++)
        count += *p == '&';
    x->params = cs_arena_alloc(&x->texts, count * sizeof *x->params);
    return x->params ? CSYNC_OK : cs_fail_nomem(err);
}

int cs_exchange_query(cs_exchange *x, csync_error *err)
{
    const char *p = x->request->query ? x->request->query : "";
    int rc = *p ? make_room(x, p, err) : CSYNC_OK;

    while (*p && rc == CSYNC_OK) {
        size_t len = strcspn(p, "&");

        rc = len ? add_param(x, p, len, err) : CSYNC_OK;
        p += len + (p[len] == '&');
    }
    return rc;
}

const char *cs_exchange_param(const cs_exchange *x, const char *name)
{
    for (size_t i = 0; i < x->param_count; i++)
        if (strcmp(x->params[i].name, name) == 0)
            return x->params[i].value;
    return NULL;
}

int cs_exchange_count(const cs_exchange *x, const char *name, int64_t fallback, int64_t *out,
                      csync_error *err)
{
    const char *text = cs_exchange_param(x, name);
    size_t len = text ? strspn(text, "0123456789") : 0;

    *out = fallback;
    if (!text)
        return CSYNC_OK;
    if (len && !text[len] && cs_int_parse(text, len, out) == 0)
        return CSYNC_OK;
    return cs_fail(err, CSYNC_EINVAL, "%s is \"%.40s\"; it must be an integer from 0 to %lld", name,
                   text, (long long)INT64_MAX);
}

const char *cs_exchange_header(const cs_exchange *x, const char *name)
{
    for (size_t i = 0; i < x->request->header_count; i++)
        if (strcasecmp(x->request->headers[i].name, name) == 0)
            return x->request->headers[i].value;
    return NULL;
}

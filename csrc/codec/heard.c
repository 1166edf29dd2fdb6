/* heard.c - which deletes of others a replica has heard of, as JSON. */
#include "codec/heard.h"

#include <stdio.h>
#include <string.h>

#include "codec/scan.h"
#include "codec/text_list.h"
#include "model/change.h"

typedef struct reading {
    cs_heard_visit visit;
    void *ctx;
} reading;

void cs_heard_put(cs_buf *out, const cs_heard *heard)
{
    char text[CSYNC_ORIGIN_SIZE + 48];

    snprintf(text, sizeof text, "%s %lld %lld", heard->origin, (long long)heard->version,
             (long long)heard->ts);
    cs_text_list_add(out, text);
}

/* The number behind a blank; NULL: there is none. */
static const char *read_count(const char *text, int64_t *out)
{
    size_t len = *text == ' ' ? strspn(text + 1, "0123456789") : 0;

    return len && cs_int_parse(text + 1, len, out) == 0 ? text + 1 + len : NULL;
}

static int read_entry(void *ctx, const char *text, csync_error *err)
{
    reading *r = ctx;
    size_t len = strcspn(text, " ");
    cs_heard heard = {.version = 0};
    const char *rest;

    if (len < sizeof heard.origin) {
        memcpy(heard.origin, text, len);
        heard.origin[len] = 0;
    }
    rest = read_count(text + len, &heard.version);
    rest = rest ? read_count(rest, &heard.ts) : NULL;
    if (!rest || *rest || cs_origin_check(heard.origin, NULL) != CSYNC_OK)
        return cs_fail(err, CSYNC_EINVAL, "\"%.120s\" is not ORIGIN VERSION TS", text);
    return r->visit ? r->visit(r->ctx, &heard, err) : CSYNC_OK;
}

int cs_heard_each(const char *json, cs_heard_visit visit, void *ctx, csync_error *err)
{
    reading r = {visit, ctx};

    return cs_text_list_each(json, read_entry, &r, err);
}

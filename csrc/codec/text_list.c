/* text_list.c - a JSON array of strings. */
#include "codec/text_list.h"

#include <string.h>

#include "base/mem.h"
#include "codec/scan.h"
#include "codec/value.h"

void cs_text_list_add(cs_buf *out, const char *text)
{
    cs_buf_putc(out, out->len ? ',' : '[');
    cs_put_string(out, text, strlen(text));
}

/* Decodes the next string into `room`. */
static int next_string(cs_scan *s, char *room)
{
    cs_token token;
    size_t len;

    if (cs_scan_peek(s) != '"')
        return cs_scan_fault(s, "a string is expected");
    if (cs_scan_string(s, &token) != CSYNC_OK)
        return CSYNC_EINVAL;
    len = cs_scan_decode(room, token.text, token.len);
    room[len] = 0;
    return strlen(room) == len ? CSYNC_OK : cs_scan_fault(s, "a string holds a NUL");
}

int cs_text_list_each(const char *json, cs_text_visit visit, void *ctx, csync_error *err)
{
    size_t len = strlen(json);
    char *room = cs_malloc(len + 1);
    int more, rc = CSYNC_OK;
    cs_scan s;

    if (!room)
        return cs_fail_nomem(err);
    cs_scan_init(&s, json, len);
    more = cs_scan_expect(&s, '[', "an array is expected") == CSYNC_OK ? 1 : CSYNC_EINVAL;
    if (more == 1 && cs_scan_peek(&s) == ']') {
        s.p++;
        more = 0;
    }
    while (more == 1 && rc == CSYNC_OK) {
        more = next_string(&s, room);
        if (more == CSYNC_OK)
            rc = visit(ctx, room, err);
        if (more == CSYNC_OK && rc == CSYNC_OK)
            more = cs_scan_next(&s, ']');
    }
    if (more == 0 && rc == CSYNC_OK)
        more = cs_scan_finish(&s);
    cs_free(room);
    return rc != CSYNC_OK || more == CSYNC_OK ? rc : cs_scan_fail(&s, err, "list of texts");
}

typedef struct looking {
    const char *text;
    int *has;
} looking;

static int look(void *ctx, const char *text, csync_error *err)
{
    const looking *l = ctx;

    (void)err;
    *l->has |= l->text && strcmp(l->text, text) == 0;
    return CSYNC_OK;
}

int cs_text_list_has(const char *json, const char *text, int *has, csync_error *err)
{
    looking l = {text, has};

    *has = 0;
    return cs_text_list_each(json, look, &l, err);
}

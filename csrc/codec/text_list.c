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

static int next_string(cs_scan *s, const char *text, char *room, int *has)
{
    cs_token token;
    size_t len;

    if (cs_scan_peek(s) != '"')
        return cs_scan_fault(s, "a string is expected");
    if (cs_scan_string(s, &token) != CSYNC_OK)
        return CSYNC_EINVAL;
    len = cs_scan_decode(room, token.text, token.len);
    *has |= text && len == strlen(text) && memcmp(room, text, len) == 0;
    return cs_scan_next(s, ']');
}

int cs_text_list_has(const char *json, const char *text, int *has, csync_error *err)
{
    size_t len = strlen(json);
    char *room = cs_malloc(len + 1);
    cs_scan s;
    int more;

    *has = 0;
    if (!room)
        return cs_fail_nomem(err);
    cs_scan_init(&s, json, len);
    more = cs_scan_expect(&s, '[', "an array is expected") == CSYNC_OK ? 1 : CSYNC_EINVAL;
    if (more == 1 && cs_scan_peek(&s) == ']') {
        s.p++;
        more = 0;
    }
    while (more == 1)
        more = next_string(&s, text, room, has);
    if (more == 0)
        more = cs_scan_finish(&s);
    cs_free(room);
    return more == CSYNC_OK ? more : cs_scan_fail(&s, err, "list of tables");
}

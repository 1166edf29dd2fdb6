/* wire_reader.c - what the readers of batches and of outcomes share. */
#include <string.h>

#include "codec/chunk.h"
#include "codec/wire_reader.h"

#define LARGEST ((size_t)1 << 30)

/* Every decoded string, with its NUL, is shorter than the source with its quotes. */
int cs_reader_open(cs_reader *r, csync_batch *batch, const char *json, size_t len, csync_error *err)
{
    memset(r, 0, offsetof(cs_reader, pk));
    r->pk.count = r->payload.count = 0;
    if (len > LARGEST)
        return cs_fail(err, CSYNC_EINVAL, "a JSON text of %zu bytes is larger than the %zu allowed",
                       len, LARGEST);
    r->batch = batch;
    r->w = cs_arena_alloc(&batch->arena, len + CS_SHAPE_NAME_MAX + CS_CHUNK);
    if (!r->w)
        return cs_fail_nomem(err);
    cs_scan_init(&r->s, json, len);
    return CSYNC_OK;
}

int cs_reader_nomem(cs_reader *r)
{
    r->has_no_memory = 1;
    return CSYNC_ENOMEM;
}

int cs_reader_fail(const cs_reader *r, const char *what, csync_error *err)
{
    const char *field = r->field ? r->field : "", *colon = r->field ? ": " : "";
    size_t at = (size_t)(r->s.p - r->s.start);

    if (r->has_no_memory)
        return cs_fail_nomem(err);
    if (r->item)
        return cs_fail(err, CSYNC_EINVAL, "%s %zu, byte %zu: %s%s%s", r->item, r->index, at, field,
                       colon, r->s.fault);
    return cs_fail(err, CSYNC_EINVAL, "%s, byte %zu: %s%s%s", what, at, field, colon, r->s.fault);
}

/* `name` is what stands between the quotes. */
static int is_field(const cs_field *field, const char *name, size_t len)
{
    const char *own = field->quoted + 1;

    return len == field->len - 3 && (name[0] == own[0] || name[0] == own[0] - 32) &&
           memcmp(name + 1, own + 1, len - 1) == 0;
}

static int find_field(const cs_field *fields, int count, const cs_token *name)
{
    for (int i = 0; i < count && name->len; i++)
        if (is_field(&fields[i], name->text, name->len))
            return i;
    return -1;
}

static int meet(cs_reader *r, int found, int *expected, unsigned *seen)
{
    if (*seen & 1u << found) {
        cs_scan_fault(&r->s, "a field is there twice");
        return -2;
    }
    *seen |= 1u << found;
    *expected = found + 1;
    return found;
}

int cs_reader_field(cs_reader *r, const cs_field *fields, int count, int *expected, unsigned *seen,
                    unsigned depth)
{
    const cs_field *guess = &fields[*expected];
    cs_token name;
    int found;

    if (*expected < count && guess->len <= CS_CHUNK && r->s.end - r->s.p > CS_CHUNK &&
        cs_chunk_begins(r->s.p, guess->quoted, guess->len)) {
        r->s.p += guess->len;
        if ((unsigned char)*r->s.p <= ' ')
            cs_scan_peek(&r->s);
        return meet(r, *expected, expected, seen);
    }
    if (cs_scan_name(&r->s, &name) != CSYNC_OK)
        return -2;
    found = find_field(fields, count, &name);
    if (found >= 0)
        return meet(r, found, expected, seen);
    return cs_scan_value(&r->s, depth) == CSYNC_OK ? -1 : -2;
}

int cs_reader_enter(cs_reader *r, char open)
{
    int rc = cs_scan_expect(&r->s, open,
                            open == '{' ? "an object is needed here" : "an array is needed here");

    if (rc != CSYNC_OK)
        return rc;
    if (cs_scan_peek(&r->s) != (open == '{' ? '}' : ']'))
        return 1;
    r->s.p++;
    return 0;
}

int cs_reader_null(cs_reader *r)
{
    if (r->s.end - r->s.p < 4 || memcmp(r->s.p, "null", 4) != 0)
        return 0;
    r->s.p += 4;
    return 1;
}

int cs_reader_count(cs_reader *r, int64_t *out)
{
    const char *from = r->s.p;
    cs_token token;
    int rc = cs_scan_number(&r->s, &token);

    if (rc != CSYNC_OK)
        return rc;
    if (token.is_integer && cs_int_parse(token.text, token.len, out) == 0 && *out >= 0)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no integer from 0 to 9223372036854775807");
}

const char *cs_reader_text(cs_reader *r, size_t *len)
{
    const char *from = r->s.p;
    char *text = r->w, *end = cs_scan_copy(&r->s, text);

    if (!end)
        return NULL;
    *len = (size_t)(end - text);
    if (memchr(text, 0, *len)) {
        r->s.p = from;
        cs_scan_fault(&r->s, "the text holds a NUL");
        return NULL;
    }
    *end = 0;
    r->w = end + 1;
    return text;
}

/* wire_change.c - reads a change of the wire form. */
#include <string.h>

#include "codec/chunk.h"
#include "codec/wire_object.h"
#include "codec/wire_reader.h"

enum { VERSION, TABLE, PK, OPERATION, PAYLOAD, ORIGIN, TIMESTAMP, SEQ, BASE, FIELDS };

static const cs_field fields[FIELDS] = {
    {"\"version\":", 10},   {"\"tableName\":", 12}, {"\"pkValue\":", 10},
    {"\"operation\":", 12}, {"\"payload\":", 10},   {"\"origin\":", 9},
    {"\"timestamp\":", 12}, {"\"seq\":", 6},        {"\"base\":", 7},
};
static const char *const field_names[FIELDS] = {
    "version", "tableName", "pkValue", "operation", "payload", "origin", "timestamp", "seq", "base",
};

/* The string at p is the text of the change before: skips it. */
static int is_again(cs_reader *r, const cs_again *before)
{
    const char *p = r->s.p;

    if (!before->text || (size_t)(r->s.end - p) < before->len + 2 || *p != '"' ||
        p[before->len + 1] != '"' || memcmp(p + 1, before->text, before->len) != 0)
        return 0;
    r->s.p = p + before->len + 2;
    return 1;
}

/* A text that may be the one of the change before. */
static const char *repeated_text(cs_reader *r, cs_again *before, size_t *len, int *is_new)
{
    const char *from = r->s.p, *text;

    *is_new = !is_again(r, before);
    if (!*is_new) {
        *len = before->len;
        return before->text;
    }
    *len = 0;
    text = cs_reader_text(r, len);
    if (text && *len == 0) {
        r->s.p = from;
        cs_scan_fault(&r->s, "the text is empty");
        return NULL;
    }
    before->len = *len;
    before->text = text && (size_t)(r->s.p - from) == *len + 2 ? text : NULL; /* no escapes */
    return text;
}

static int read_table(cs_reader *r, cs_change *c)
{
    int is_new;

    c->pub.table = repeated_text(r, &r->table, &c->table_len, &is_new);
    return c->pub.table ? CSYNC_OK : CSYNC_EINVAL;
}

static int read_origin(cs_reader *r, cs_change *c)
{
    const char *from = r->s.p;
    size_t len;
    int is_new;

    c->pub.origin = repeated_text(r, &r->origin, &len, &is_new);
    if (!c->pub.origin)
        return CSYNC_EINVAL;
    if (!is_new || cs_origin_check(c->pub.origin, NULL) == CSYNC_OK)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "not 1 to 64 characters of A-Z a-z 0-9 _ . -");
}

static int read_object(cs_reader *r, const char **out, size_t *len, cs_shape *shape,
                       size_t min_members)
{
    char *text = r->w, *end;
    int rc;

    end = cs_wire_object(&r->s, text, shape, min_members, &rc);
    if (!end)
        return rc == CSYNC_ENOMEM ? cs_reader_nomem(r) : rc;
    *end = 0;
    r->w = end + 1;
    *out = text;
    *len = (size_t)(end - text);
    return CSYNC_OK;
}

static int read_operation(cs_reader *r, cs_change *c)
{
    const char *from = r->s.p;
    cs_token token;
    int rc = *from == '"' ? cs_scan_string(&r->s, &token) : cs_scan_number(&r->s, &token);

    if (rc != CSYNC_OK)
        return rc;
    c->pub.operation = cs_operation_parse(token.text, token.len);
    if (c->pub.operation != 0)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "neither Insert, Update, Delete nor 0, 1, 2");
}

/* 24 bytes that, if they are a time, are one in the very form that csync writes. */
static int is_normal_time(const char *text)
{
    return text[10] == 'T' && text[17] != '6' && text[19] == '.' && text[23] == 'Z';
}

/* A string of 24 bytes seems to be at p. */
static int is_quoted_time(const cs_reader *r)
{
    return r->s.end - r->s.p > CS_TIME_SIZE && r->s.p[0] == '"' && r->s.p[CS_TIME_SIZE] == '"';
}

/* The time at p, if it is in that form: copied. 0: it is not. */
static int quick_time(cs_reader *r, cs_change *c)
{
    const char *text = r->s.p + 1;

    if (!is_quoted_time(r) || !is_normal_time(text) ||
        cs_time_parse(text, CS_TIME_SIZE - 1, &c->ts) != 0)
        return 0;
    c->pub.timestamp = memcpy(r->w, text, CS_TIME_SIZE - 1);
    r->w[CS_TIME_SIZE - 1] = 0;
    r->w += CS_TIME_SIZE;
    r->s.p += CS_TIME_SIZE + 1;
    return 1;
}

static int any_time(cs_reader *r, cs_change *c)
{
    const char *from = r->s.p, *text;
    size_t len;

    text = cs_reader_text(r, &len);
    if (!text)
        return CSYNC_EINVAL;
    if (cs_time_parse(text, len, &c->ts) == 0)
        return cs_batch_set_time(r->batch, c, c->ts) == CSYNC_OK ? CSYNC_OK : cs_reader_nomem(r);
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no RFC 3339 time from 1970 to 9999");
}

static int read_timestamp(cs_reader *r, cs_change *c)
{
    int rc = CSYNC_OK;

    if (r->timestamp && is_quoted_time(r) && memcmp(r->s.p + 1, r->timestamp, CS_TIME_SIZE - 1) == 0) {
        r->s.p += CS_TIME_SIZE + 1;
        c->pub.timestamp = r->timestamp;
        c->ts = r->ts;
        return CSYNC_OK;
    }
    if (!quick_time(r, c))
        rc = any_time(r, c);
    r->timestamp = rc == CSYNC_OK ? c->pub.timestamp : NULL;
    r->ts = c->ts;
    return rc;
}

/* ---- The form that csync writes ------------------------------------------------------------------- */

/* The longest fixed text, and a number or time behind it. */
enum { AHEAD = 64 };

#define SKIP(r, text)                                                                              \
    ((r)->s.end - (r)->s.p > AHEAD && memcmp((r)->s.p, text, sizeof(text) - 1) == 0 &&             \
     ((r)->s.p += sizeof(text) - 1, 1))

/* Up to 18 digits. 0: not that. */
static inline int quick_count(cs_reader *r, int64_t *out)
{
    const char *p = r->s.p, *from = p;
    int64_t value = 0;

    while ((unsigned char)(*p - '0') < 10 && p - from < 18)
        value = value * 10 + (*p++ - '0');
    if (p == from || (*from == '0' && p - from > 1))
        return 0;
    *out = value;
    r->s.p = p;
    return 1;
}

static inline int quick_operation(cs_reader *r, cs_change *c)
{
    if (SKIP(r, "Insert\","))
        c->pub.operation = CSYNC_INSERT;
    else if (SKIP(r, "Update\","))
        c->pub.operation = CSYNC_UPDATE;
    else if (SKIP(r, "Delete\","))
        c->pub.operation = CSYNC_DELETE;
    return c->pub.operation != 0;
}

static inline int quick_payload(cs_reader *r, cs_change *c)
{
    if (c->pub.operation == CSYNC_DELETE)
        return SKIP(r, "null");
    return read_object(r, &c->pub.payload, &c->payload_len, &r->payload, 0) == CSYNC_OK;
}

static int read_base(cs_reader *r, cs_change *c)
{
    const char *from = r->s.p;
    char text[CS_STAMP_SIZE];
    cs_stamp base;
    size_t len;

    c->pub.base = cs_reader_text(r, &len);
    if (!c->pub.base)
        return CSYNC_EINVAL;
    if (cs_stamp_parse(c->pub.base, &base, text) == 0)
        return CSYNC_OK;
    r->s.p = from;
    return cs_scan_fault(&r->s, "this is no stamp");
}

/* A change as cs_change_write has it, white space and all. 0: it is another, or has a fault, and must be read
 * from its start. */
static int quick_change(cs_reader *r, cs_change *c)
{
    return SKIP(r, "{\"version\":") && quick_count(r, &c->pub.version) &&
           SKIP(r, ",\"tableName\":") && read_table(r, c) == CSYNC_OK && SKIP(r, ",\"pkValue\":") &&
           read_object(r, &c->pub.pk, &c->pk_len, &r->pk, 1) == CSYNC_OK &&
           SKIP(r, ",\"operation\":\"") && quick_operation(r, c) && SKIP(r, "\"payload\":") &&
           quick_payload(r, c) && SKIP(r, ",\"origin\":") && read_origin(r, c) == CSYNC_OK &&
           SKIP(r, ",\"timestamp\":") && read_timestamp(r, c) == CSYNC_OK && SKIP(r, ",\"seq\":") &&
           quick_count(r, &c->pub.seq) &&
           (*r->s.p == '}' || (SKIP(r, ",\"base\":") && read_base(r, c) == CSYNC_OK)) &&
           *r->s.p++ == '}';
}

/* ---- Any form -------------------------------------------------------------------------------------- */

static int read_field(cs_reader *r, cs_change *c, int field)
{
    switch (field) {
    case VERSION:
        return cs_reader_count(r, &c->pub.version);
    case TABLE:
        return read_table(r, c);
    case PK:
        return read_object(r, &c->pub.pk, &c->pk_len, &r->pk, 1);
    case OPERATION:
        return read_operation(r, c);
    case PAYLOAD:
        return read_object(r, &c->pub.payload, &c->payload_len, &r->payload, 0);
    case ORIGIN:
        return read_origin(r, c);
    case TIMESTAMP:
        return read_timestamp(r, c);
    case BASE:
        return read_base(r, c);
    default:
        return cs_reader_count(r, &c->pub.seq);
    }
}

static int missing(cs_reader *r, const char *field)
{
    r->field = field;
    return cs_scan_fault(&r->s, "missing");
}

static int finish_change(cs_reader *r, cs_change *c)
{
    if (!c->pub.table)
        return missing(r, "tableName");
    if (!c->pub.pk)
        return missing(r, "pkValue");
    if (!c->pub.operation)
        return missing(r, "operation");
    if (!c->pub.origin)
        return missing(r, "origin");
    if (!c->pub.timestamp)
        return missing(r, "timestamp");
    if (c->pub.operation == CSYNC_DELETE) {
        c->pub.payload = NULL; /* what a deleted row held is nobody's business */
        c->payload_len = 0;
    } else if (!c->pub.payload) {
        return missing(r, "payload of an insert or update");
    }
    r->batch->bytes += c->table_len + c->pk_len + c->payload_len;
    return CSYNC_OK;
}

static int any_change(cs_reader *r, cs_change *c, unsigned depth)
{
    int expected = 0, field, more = cs_reader_enter(r, '{'), rc;
    unsigned seen = 0;

    while (more == 1) {
        field = cs_reader_field(r, fields, FIELDS, &expected, &seen, depth + 1);
        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0 && !cs_reader_null(r)) {
            r->field = field_names[field];
            rc = r->s.p < r->s.end ? read_field(r, c, field)
                                   : cs_scan_fault(&r->s, "the text ends too early");
            if (rc != CSYNC_OK)
                return rc;
            r->field = NULL;
        }
        more = cs_reader_next(r, '}');
    }
    return more < 0 ? more : finish_change(r, c);
}

int cs_reader_change(cs_reader *r, unsigned depth)
{
    cs_change *c = cs_batch_push(r->batch);
    const char *from = r->s.p;
    char *w = r->w;

    if (!c)
        return cs_reader_nomem(r);
    if (quick_change(r, c)) {
        r->batch->bytes += c->table_len + c->pk_len + c->payload_len;
        return CSYNC_OK;
    }
    if (r->has_no_memory)
        return CSYNC_ENOMEM;
    r->s.p = from;
    r->s.fault = NULL;
    r->w = w; /* what is borrowed from behind it must be forgotten */
    r->table.text = r->origin.text = r->timestamp = NULL;
    r->pk.count = r->payload.count = 0;
    memset(c, 0, sizeof *c);
    c->pub.struct_size = sizeof c->pub;
    return any_change(r, c, depth);
}

/* wire_change.c - reads a change of the wire form. */
#include <string.h>

#include "codec/chunk.h"
#include "codec/wire_object.h"
#include "codec/wire_reader.h"

enum { VERSION, TABLE, PK, OPERATION, PAYLOAD, ORIGIN, TIMESTAMP, SEQ, FIELDS };

static const cs_field fields[FIELDS] = {
    {"\"version\":", 10}, {"\"tableName\":", 12}, {"\"pkValue\":", 10},   {"\"operation\":", 12},
    {"\"payload\":", 10}, {"\"origin\":", 9},     {"\"timestamp\":", 12}, {"\"seq\":", 6},
};
static const char *const field_names[FIELDS] = {
    "version", "tableName", "pkValue", "operation", "payload", "origin", "timestamp", "seq",
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

static int read_object(cs_reader *r, const char **out, size_t *len, size_t min_members)
{
    char *text = r->w, *end;
    int rc;

    end = cs_wire_object(&r->s, text, min_members, &rc);
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

/* A text in the very form that csync writes may stay as it is. */
static int is_normal_time(const char *text, size_t len)
{
    return len == CS_TIME_SIZE - 1 && text[10] == 'T' && text[17] != '6' && text[19] == '.' &&
           text[23] == 'Z';
}

static int read_timestamp(cs_reader *r, cs_change *c)
{
    const char *from = r->s.p, *text;
    size_t len;

    if (r->timestamp && r->s.end - from > CS_TIME_SIZE && from[0] == '"' && from[25] == '"' &&
        memcmp(from + 1, r->timestamp, CS_TIME_SIZE - 1) == 0) {
        r->s.p += CS_TIME_SIZE + 1;
        c->pub.timestamp = r->timestamp;
        c->ts = r->ts;
        return CSYNC_OK;
    }
    text = cs_reader_text(r, &len);
    if (!text)
        return CSYNC_EINVAL;
    if (cs_time_parse(text, len, &c->ts) != 0) {
        r->s.p = from;
        return cs_scan_fault(&r->s, "this is no RFC 3339 time from 1970 to 9999");
    }
    c->pub.timestamp = text;
    if (!is_normal_time(text, len) && cs_batch_set_time(r->batch, c, c->ts) != CSYNC_OK)
        return cs_reader_nomem(r);
    r->timestamp = c->pub.timestamp;
    r->ts = c->ts;
    return CSYNC_OK;
}

static int read_field(cs_reader *r, cs_change *c, int field)
{
    switch (field) {
    case VERSION:
        return cs_reader_count(r, &c->pub.version);
    case TABLE:
        return read_table(r, c);
    case PK:
        return read_object(r, &c->pub.pk, &c->pk_len, 1);
    case OPERATION:
        return read_operation(r, c);
    case PAYLOAD:
        return read_object(r, &c->pub.payload, &c->payload_len, 0);
    case ORIGIN:
        return read_origin(r, c);
    case TIMESTAMP:
        return read_timestamp(r, c);
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

int cs_reader_change(cs_reader *r, unsigned depth)
{
    cs_change *c = cs_batch_push(r->batch);
    int expected = 0, field, more, rc;
    unsigned seen = 0;

    if (!c)
        return cs_reader_nomem(r);
    more = cs_reader_enter(r, '{');
    while (more == 1) {
        field = cs_reader_field(r, fields, FIELDS, &expected, &seen, depth + 1);
        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0 && !(r->s.p < r->s.end && *r->s.p == 'n' && cs_reader_null(r))) {
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

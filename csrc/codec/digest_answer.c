/* digest_answer.c - what a replica answers who is compared <-> JSON. */
#include <string.h>

#include "base/mem.h"
#include "codec/digest.h"
#include "codec/value.h"
#include "codec/wire_reader.h"

static const char *const lists[] = {
    [CS_ASK_TABLES] = "tables", [CS_ASK_BUCKETS] = "buckets", [CS_ASK_ROWS] = "rows", [CS_ASK_STATES] = "states"};
static const char *const head_names[] = {"none", "live", "deleted", "parked"};

/* ---- Writing ------------------------------------------------------------------------------------- */

static void put_text(cs_buf *out, const char *name, const char *text)
{
    cs_buf_printf(out, "\"%s\":", name);
    cs_put_string(out, text, strlen(text));
}

void cs_digest_put_table(cs_buf *out, const cs_table_digest *t)
{
    cs_buf_putc(out, '{');
    put_text(out, "table", t->table);
    cs_buf_printf(out, ",\"rows\":%lld,\"digest\":\"%s\",\"shape\":\"%s\"}", (long long)t->rows,
                  t->digest, t->shape);
}

void cs_digest_put_bucket(cs_buf *out, const cs_bucket *b, size_t width)
{
    cs_buf_printf(out, "\"%0*llx\":\"%016llx\"", (int)width, (unsigned long long)b->prefix,
                  (unsigned long long)b->sum);
}

void cs_digest_put_row(cs_buf *out, const cs_row_digest *row)
{
    cs_put_string(out, row->pk, strlen(row->pk));
    cs_buf_printf(out, ":\"%.*s\"", CS_ROW_HEX, row->digest);
}

void cs_digest_put_state(cs_buf *out, const cs_row_state *s)
{
    cs_buf_printf(out, "{\"head\":\"%s\"", head_names[s->head]);
    if (s->head != CS_HEAD_NONE) {
        cs_buf_putc(out, ',');
        put_text(out, "timestamp", s->timestamp);
        cs_buf_putc(out, ',');
        put_text(out, "origin", s->origin);
        cs_buf_printf(out, ",\"seq\":%lld", (long long)s->seq);
    }
    if (s->digest)
        cs_buf_printf(out, ",\"digest\":\"%.*s\"", CS_ROW_HEX, s->digest);
    if (s->payload) {
        cs_buf_putc(out, ',');
        put_text(out, "payload", s->payload);
    }
    cs_buf_putc(out, '}');
}

/* ---- Reading ------------------------------------------------------------------------------------- */

static int read_text(cs_reader *r, const char **out)
{
    size_t len;

    *out = cs_reader_text(r, &len);
    return *out ? CSYNC_OK : CSYNC_EINVAL;
}

/* A text of exactly `digits` hex digits. */
static int read_hex(cs_reader *r, size_t digits, const char **out)
{
    uint64_t part;
    int rc = read_text(r, out);

    if (rc != CSYNC_OK)
        return rc;
    for (size_t i = 0; i < digits; i += 16)
        if (strlen(*out) != digits || cs_prefix_parse(*out + i, 16, &part) != 0)
            return cs_scan_fault(&r->s, "this digest is malformed");
    return CSYNC_OK;
}

enum { TABLE, ROWS, DIGEST, SHAPE, TABLE_FIELDS };
static const cs_field table_fields[TABLE_FIELDS] = {
    {"\"table\":", 8}, {"\"rows\":", 7}, {"\"digest\":", 9}, {"\"shape\":", 8}};

static int read_table_field(cs_reader *r, int field, cs_table_digest *t)
{
    switch (field) {
    case TABLE:
        return read_text(r, &t->table);
    case ROWS:
        return cs_reader_count(r, &t->rows);
    case DIGEST:
        return read_hex(r, 64, &t->digest);
    default:
        return read_hex(r, 64, &t->shape);
    }
}

enum { HEAD, TIMESTAMP, ORIGIN, SEQ, ROW, PAYLOAD, STATE_FIELDS };
static const cs_field state_fields[STATE_FIELDS] = {{"\"head\":", 7},   {"\"timestamp\":", 12},
                                                    {"\"origin\":", 9}, {"\"seq\":", 6},
                                                    {"\"digest\":", 9}, {"\"payload\":", 10}};

static int read_head(cs_reader *r, enum cs_head_state *out)
{
    const char *text;
    int rc = read_text(r, &text);

    for (int i = CS_HEAD_NONE; rc == CSYNC_OK && i <= CS_HEAD_PARKED; i++) {
        if (strcmp(text, head_names[i]) == 0) {
            *out = (enum cs_head_state)i;
            return CSYNC_OK;
        }
    }
    return rc == CSYNC_OK ? cs_scan_fault(&r->s, "this is no state of a head") : rc;
}

static int read_state_field(cs_reader *r, int field, cs_row_state *s)
{
    switch (field) {
    case HEAD:
        return read_head(r, &s->head);
    case TIMESTAMP:
        return read_text(r, &s->timestamp);
    case ORIGIN:
        return read_text(r, &s->origin);
    case SEQ:
        return cs_reader_count(r, &s->seq);
    case ROW:
        return read_hex(r, CS_ROW_HEX, &s->digest);
    default:
        return read_text(r, &s->payload);
    }
}

/* An object of known fields; `item` is a cs_table_digest or a cs_row_state. */
static int read_object(cs_reader *r, int is_state, void *item, unsigned *seen)
{
    int more = cs_reader_enter(r, '{'), expected = 0, rc = CSYNC_OK;

    *seen = 0;
    while (more == 1) {
        int field =
            cs_reader_field(r, is_state ? state_fields : table_fields,
                            is_state ? (int)STATE_FIELDS : (int)TABLE_FIELDS, &expected, seen, 3);

        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0)
            rc = is_state ? read_state_field(r, field, item) : read_table_field(r, field, item);
        if (rc != CSYNC_OK)
            return rc;
        more = cs_reader_next(r, '}');
    }
    return more;
}

static int read_table(cs_reader *r, cs_digest_answer *a)
{
    cs_table_digest *t;
    unsigned seen;
    int rc;

    if (cs_grow(&a->tables, &a->cap, a->count + 1, sizeof *t) != CSYNC_OK)
        return cs_reader_nomem(r);
    t = &a->tables[a->count];
    memset(t, 0, sizeof *t);
    rc = read_object(r, 0, t, &seen);
    if (rc != CSYNC_OK)
        return rc;
    if (seen != (1u << TABLE_FIELDS) - 1)
        return cs_scan_fault(&r->s, "a table lacks a field");
    if (a->count && strcmp(t[-1].table, t->table) >= 0)
        return cs_scan_fault(&r->s, "tables must ascend by name");
    a->count++;
    return CSYNC_OK;
}

static int read_state(cs_reader *r, cs_digest_answer *a)
{
    unsigned seen, stamp = 1u << TIMESTAMP | 1u << ORIGIN | 1u << SEQ;
    cs_row_state *s;
    int64_t ts;
    int rc;

    if (cs_grow(&a->states, &a->cap, a->count + 1, sizeof *s) != CSYNC_OK)
        return cs_reader_nomem(r);
    s = &a->states[a->count];
    memset(s, 0, sizeof *s);
    rc = read_object(r, 1, s, &seen);
    if (rc != CSYNC_OK)
        return rc;
    if (!(seen & 1u << HEAD) || (s->head != CS_HEAD_NONE && (seen & stamp) != stamp))
        return cs_scan_fault(&r->s, "a state lacks a field");
    if (s->timestamp && cs_time_parse(s->timestamp, strlen(s->timestamp), &ts) != 0)
        return cs_scan_fault(&r->s, "this is no timestamp");
    a->count++;
    return CSYNC_OK;
}

static int read_bucket(cs_reader *r, cs_digest_answer *a)
{
    cs_token name, digest;
    cs_bucket *b;
    int rc;

    if (cs_grow(&a->buckets, &a->cap, a->count + 1, sizeof *b) != CSYNC_OK)
        return cs_reader_nomem(r);
    b = &a->buckets[a->count];
    rc = cs_scan_name(&r->s, &name);
    if (rc == CSYNC_OK)
        rc = cs_scan_string(&r->s, &digest);
    if (rc != CSYNC_OK)
        return rc;
    if (cs_prefix_parse(name.text, name.len, &b->prefix) != 0 || digest.len != CS_BUCKET_HEX ||
        cs_prefix_parse(digest.text, digest.len, &b->sum) != 0)
        return cs_scan_fault(&r->s, "this bucket is malformed");
    if (a->count && b[-1].prefix >= b->prefix)
        return cs_scan_fault(&r->s, "buckets must ascend");
    a->count++;
    return CSYNC_OK;
}

static int read_row(cs_reader *r, cs_digest_answer *a)
{
    int rc;

    if (cs_grow(&a->rows, &a->cap, a->count + 1, sizeof *a->rows) != CSYNC_OK)
        return cs_reader_nomem(r);
    rc = read_text(r, &a->rows[a->count].pk);
    if (rc == CSYNC_OK)
        rc = cs_scan_expect(&r->s, ':', "a colon is needed here");
    if (rc != CSYNC_OK)
        return rc;
    cs_scan_peek(&r->s);
    rc = read_hex(r, CS_ROW_HEX, &a->rows[a->count].digest);
    a->count += rc == CSYNC_OK;
    return rc;
}

static int (*const items[])(cs_reader *r, cs_digest_answer *a) = {
    [CS_ASK_TABLES] = read_table, [CS_ASK_BUCKETS] = read_bucket, [CS_ASK_ROWS] = read_row, [CS_ASK_STATES] = read_state};

static int read_list(cs_reader *r, cs_digest_answer *a, enum cs_digest_kind kind)
{
    int is_object = kind == CS_ASK_BUCKETS || kind == CS_ASK_ROWS, more;

    for (more = cs_reader_enter(r, is_object ? '{' : '['); more == 1;
         more = cs_reader_next(r, is_object ? '}' : ']')) {
        int rc = items[kind](r, a);

        if (rc != CSYNC_OK)
            return rc;
    }
    return more;
}

static int read_answer(cs_reader *r, cs_digest_answer *a, enum cs_digest_kind kind)
{
    int more = cs_reader_enter(r, '{'), found = 0;

    while (more == 1) {
        size_t len = strlen(lists[kind]);
        cs_token name;
        int rc = cs_scan_name(&r->s, &name);

        if (rc != CSYNC_OK)
            return rc;
        if (name.len != len || memcmp(name.text, lists[kind], len) != 0)
            rc = cs_scan_value(&r->s, 1);
        else
            rc = found++ ? cs_scan_fault(&r->s, "the list is there twice") : read_list(r, a, kind);
        if (rc != CSYNC_OK)
            return rc;
        more = cs_reader_next(r, '}');
    }
    if (more < 0)
        return more;
    return found ? cs_scan_finish(&r->s)
                 : cs_scan_fault(&r->s, "the list that was asked for is missing");
}

int cs_digest_answer_read(cs_digest_answer *out, enum cs_digest_kind kind, const char *json,
                          size_t len, csync_error *err)
{
    cs_reader r;
    int rc;

    out->texts = cs_batch_create();
    if (!out->texts)
        return cs_fail_nomem(err);
    rc = cs_reader_open(&r, out->texts, json, len, err);
    if (rc != CSYNC_OK)
        return rc;
    return read_answer(&r, out, kind) == CSYNC_OK ? CSYNC_OK
                                                  : cs_reader_fail(&r, "digest answer", err);
}

void cs_digest_answer_free(cs_digest_answer *a)
{
    cs_batch_destroy(a->texts);
    cs_free(a->tables);
    cs_free(a->buckets);
    cs_free(a->rows);
    cs_free(a->states);
    memset(a, 0, sizeof *a);
}

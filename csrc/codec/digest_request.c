/* digest_request.c - what is asked of a peer that compares its tables with ours <-> JSON. */
#include <string.h>

#include "base/mem.h"
#include "codec/digest.h"
#include "codec/value.h"
#include "codec/wire_reader.h"

/* ---- Writing ------------------------------------------------------------------------------------- */

static void begin(cs_buf *out, const char *table, const char *list)
{
    cs_buf_puts(out, "{\"table\":");
    cs_put_string(out, table, strlen(table));
    cs_buf_printf(out, ",\"%s\":[", list);
}

void cs_digest_put_prefixes(cs_buf *out, const char *table, const uint64_t *prefixes, size_t count,
                            size_t width, int digits)
{
    begin(out, table, "prefixes");
    for (size_t i = 0; i < count; i++) {
        if (width)
            cs_buf_printf(out, "%s\"%0*llx\"", i ? "," : "", (int)width,
                          (unsigned long long)prefixes[i]);
        else
            cs_buf_puts(out, "\"\"");
    }
    cs_buf_putc(out, ']');
    if (digits)
        cs_buf_printf(out, ",\"digits\":%d", digits);
    cs_buf_putc(out, '}');
}

void cs_digest_put_keys(cs_buf *out, const char *table, const char *const *keys, size_t count,
                        int payload)
{
    begin(out, table, "keys");
    for (size_t i = 0; i < count; i++) {
        cs_buf_puts(out, i ? "," : "");
        cs_put_string(out, keys[i], strlen(keys[i]));
    }
    cs_buf_puts(out, payload ? "],\"payload\":true}" : "]}");
}

void cs_digest_put_tables(cs_buf *out, const char *const *tables, size_t count)
{
    cs_buf_puts(out, "{\"tables\":[");
    for (size_t i = 0; i < count; i++) {
        cs_buf_puts(out, i ? "," : "");
        cs_put_string(out, tables[i], strlen(tables[i]));
    }
    cs_buf_puts(out, "]}");
}

/* ---- Reading ------------------------------------------------------------------------------------- */

enum { TABLE, PREFIXES, DIGITS, KEYS, PAYLOAD, TABLES, FIELDS };
static const cs_field fields[FIELDS] = {{"\"table\":", 8},    {"\"prefixes\":", 11},
                                        {"\"digits\":", 9},   {"\"keys\":", 7},
                                        {"\"payload\":", 10}, {"\"tables\":", 9}};

int cs_prefix_parse(const char *hex, size_t len, uint64_t *out)
{
    *out = 0;
    if (len > 16)
        return -1;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)hex[i] - '0';

        if (digit > 9)
            digit = (unsigned)(unsigned char)hex[i] - 'a' + 10;
        if (digit > 15 || (digit > 9 && hex[i] < 'a'))
            return -1;
        *out = *out << 4 | digit;
    }
    return 0;
}

static int add_prefix(cs_reader *r, cs_digest_request *q, const char *text, size_t len)
{
    uint64_t prefix;

    if (len > CS_PREFIX_MAX || cs_prefix_parse(text, len, &prefix) != 0)
        return cs_scan_fault(&r->s, "a prefix is at most 14 digits of lower-case hex");
    if (q->count && len != q->width)
        return cs_scan_fault(&r->s, "all prefixes must be equally long");
    if (q->count && prefix <= q->prefixes[q->count - 1])
        return cs_scan_fault(&r->s, "prefixes must ascend");
    if (q->count == CS_PREFIXES_MAX)
        return cs_scan_fault(&r->s, "these are more than 4096 prefixes");
    if (cs_grow(&q->prefixes, &q->cap, q->count + 1, sizeof *q->prefixes) != CSYNC_OK)
        return cs_reader_nomem(r);
    q->width = len;
    q->prefixes[q->count++] = prefix;
    return CSYNC_OK;
}

static int add_key(cs_reader *r, cs_digest_request *q, const char *text, size_t len)
{
    (void)len;
    if (q->count == CS_KEYS_MAX)
        return cs_scan_fault(&r->s, "these are more than 1000 keys");
    if (cs_grow(&q->keys, &q->cap, q->count + 1, sizeof *q->keys) != CSYNC_OK)
        return cs_reader_nomem(r);
    q->keys[q->count++] = text;
    return CSYNC_OK;
}

static int add_name(cs_reader *r, cs_digest_request *q, const char *text, size_t len)
{
    (void)len;
    if (cs_grow(&q->tables, &q->table_cap, q->table_count + 1, sizeof *q->tables) != CSYNC_OK)
        return cs_reader_nomem(r);
    q->tables[q->table_count++] = text;
    return CSYNC_OK;
}

static int read_list(cs_reader *r, cs_digest_request *q, int field)
{
    int more, rc;

    if (q->count || q->table_count)
        return cs_scan_fault(&r->s, "prefixes, keys and tables exclude each other");
    for (more = cs_reader_enter(r, '['); more == 1; more = cs_reader_next(r, ']')) {
        size_t len;
        const char *text = cs_reader_text(r, &len);

        if (!text)
            return CSYNC_EINVAL;
        rc = field == KEYS     ? add_key(r, q, text, len)
             : field == TABLES ? add_name(r, q, text, len)
                               : add_prefix(r, q, text, len);
        if (rc != CSYNC_OK)
            return rc;
    }
    return more;
}

static int read_digits(cs_reader *r, cs_digest_request *q)
{
    int64_t digits = 0;
    int rc = cs_reader_count(r, &digits);

    if (rc == CSYNC_OK && digits > CS_DIGITS_MAX)
        return cs_scan_fault(&r->s, "digits is 1 or 2; 0 asks for rows");
    q->digits = (int)digits;
    return rc;
}

static int read_flag(cs_reader *r, int *out)
{
    *out = r->s.p < r->s.end && *r->s.p == 't';
    return cs_scan_word(&r->s, *out ? "true" : "false");
}

static int read_field(cs_reader *r, cs_digest_request *q, int field)
{
    size_t len;

    switch (field) {
    case TABLE:
        q->table = cs_reader_text(r, &len);
        return q->table ? CSYNC_OK : CSYNC_EINVAL;
    case PREFIXES:
    case KEYS:
    case TABLES:
        return read_list(r, q, field);
    case DIGITS:
        return read_digits(r, q);
    default:
        return read_flag(r, &q->payload);
    }
}

/* What the fields are together. */
static int settle(cs_reader *r, cs_digest_request *q, unsigned seen)
{
    int has_list = (seen & (1u << PREFIXES | 1u << KEYS)) != 0;

    if (!q->table != !has_list)
        return cs_scan_fault(&r->s, "a table and its prefixes or keys go together");
    if (q->table && q->table_count)
        return cs_scan_fault(&r->s, "table and tables exclude each other");
    if ((has_list && !q->count) || (seen & 1u << TABLES && !q->table_count))
        return cs_scan_fault(&r->s, "the list of prefixes, keys or tables is empty");
    if (q->count << (4 * q->digits) > CS_BUCKETS_MAX)
        return cs_scan_fault(&r->s, "the answer would have more than 262144 buckets");
    if (!has_list)
        q->kind = CS_ASK_TABLES;
    else if (q->keys)
        q->kind = CS_ASK_STATES;
    else
        q->kind = q->digits ? CS_ASK_BUCKETS : CS_ASK_ROWS;
    return cs_scan_finish(&r->s);
}

static int read_request(cs_reader *r, cs_digest_request *q)
{
    int more = cs_reader_enter(r, '{'), expected = 0, rc = CSYNC_OK;
    unsigned seen = 0;

    while (more == 1) {
        int field = cs_reader_field(r, fields, FIELDS, &expected, &seen, 1);

        if (field == -2)
            return CSYNC_EINVAL;
        if (field >= 0)
            rc = read_field(r, q, field);
        if (rc != CSYNC_OK)
            return rc;
        more = cs_reader_next(r, '}');
    }
    return more < 0 ? more : settle(r, q, seen);
}

int cs_digest_request_read(cs_digest_request *out, const char *json, size_t len, csync_error *err)
{
    cs_reader r;
    int rc;

    out->texts = cs_batch_create();
    if (!out->texts)
        return cs_fail_nomem(err);
    rc = cs_reader_open(&r, out->texts, json, len, err);
    if (rc != CSYNC_OK)
        return rc;
    return read_request(&r, out) == CSYNC_OK ? CSYNC_OK : cs_reader_fail(&r, "digest request", err);
}

void cs_digest_request_free(cs_digest_request *q)
{
    cs_batch_destroy(q->texts);
    cs_free(q->prefixes);
    cs_free(q->keys);
    cs_free(q->tables);
    memset(q, 0, sizeof *q);
}

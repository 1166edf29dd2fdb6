/* digest.c - digests of this replica's tables.
 *
 * The digest of many rows is the sum of the SHA-256 of each, word by word and modulo 2^64: rows may come in any order
 * and need no memory. Sums are no proof against somebody who makes up rows to fit, but they find accidents. */
#include "sync/digest.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/digest.h"
#include "codec/sha256.h"
#include "sync/form.h"

#define ROWS_MAX (1 << 18) /* of one answer */
#define STATES_BYTES ((size_t)4 << 20) /* an answer with more than this ends early */

enum { WORDS = 4 };

/* A bucket that is being summed. */
typedef struct sum {
    uint64_t sum;
    int64_t rows;
} sum;

typedef struct serving {
    csync *replica;
    const cs_digest_request *request;
    const cs_table *table; /* at hand */
    cs_buf out, text, pk;
    cs_sha256 *sha;
    cs_form row, key;
    int64_t rows; /* seen */
    int64_t listed; /* of them answered */
    uint64_t words[WORDS]; /* of a whole table */
    sum *sums; /* of the buckets that were asked for */
    char row_hex[CSYNC_HASH_SIZE];
    int is_there; /* a row was looked at */
} serving;

/* SHA-256 of what `form` makes of the values. */
static int hash_of(serving *s, const cs_form *form, const cs_value *values,
                   char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    int rc;

    cs_buf_clear(&s->text);
    cs_form_put(form, values, &s->text);
    rc = cs_buf_check(&s->text, err);
    if (rc != CSYNC_OK)
        return rc;
    cs_sha256_update(s->sha, s->text.data, s->text.len);
    return cs_sha256_final(s->sha, hex, err);
}

static uint64_t word(const char *hex)
{
    uint64_t value = 0;

    (void)cs_prefix_parse(hex, 16, &value);
    return value;
}

static int count_row(serving *s, csync_error *err)
{
    return ++s->rows % 1000 == 0 ? cs_replica_cancelled(s->replica, err) : CSYNC_OK;
}

static int open_forms(serving *s, const cs_table *t, csync_error *err)
{
    int rc = cs_form_open(&s->row, t, 0, err);

    s->table = t;
    return rc == CSYNC_OK ? cs_form_open(&s->key, t, 1, err) : rc;
}

static void close_forms(serving *s)
{
    cs_form_close(&s->row);
    cs_form_close(&s->key);
}

/* ---- whole tables ---- */

static int add_to_table(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    serving *s = ctx;
    int rc = hash_of(s, &s->row, values, s->row_hex, err);

    (void)count;
    for (int i = 0; rc == CSYNC_OK && i < WORDS; i++)
        s->words[i] += word(s->row_hex + 16 * i);
    return rc == CSYNC_OK ? count_row(s, err) : rc;
}

static int shape_of(serving *s, char hex[CSYNC_HASH_SIZE], csync_error *err)
{
    for (int only_key = 0; only_key <= 1; only_key++) {
        const cs_form *f = only_key ? &s->key : &s->row;

        for (size_t i = 0; i < f->count; i++)
            cs_sha256_update(s->sha, f->names[i].data, f->names[i].len);
        cs_sha256_update(s->sha, "\n", 1);
    }
    return cs_sha256_final(s->sha, hex, err);
}

static int put_table(serving *s, csync_error *err)
{
    cs_table_digest d = {.table = s->table->name, .rows = s->rows};
    char digest[CSYNC_HASH_SIZE], shape[CSYNC_HASH_SIZE];
    int rc = shape_of(s, shape, err);

    for (int i = 0; i < WORDS; i++)
        snprintf(digest + 16 * i, 17, "%016llx", (unsigned long long)s->words[i]);
    d.digest = digest;
    d.shape = shape;
    if (rc == CSYNC_OK)
        cs_digest_put_table(&s->out, &d);
    return rc;
}

static int serve_tables(serving *s, csync_error *err)
{
    const cs_scope scope = {s->request->tables, s->request->table_count};
    cs_backend *b = s->replica->backend;
    const char *comma = "";
    int rc = CSYNC_OK;

    cs_buf_puts(&s->out, "{\"tables\":[");
    for (size_t i = 0; rc == CSYNC_OK && i < b->table_count; i++) {
        if (!cs_scope_has(&scope, b->tables[i]->name))
            continue;
        cs_buf_puts(&s->out, comma);
        comma = ",";
        s->rows = 0;
        memset(s->words, 0, sizeof s->words);
        rc = open_forms(s, b->tables[i], err);
        if (rc == CSYNC_OK)
            rc = b->ops->scan(b, b->tables[i], add_to_table, s, err);
        if (rc == CSYNC_OK)
            rc = put_table(s, err);
        close_forms(s);
    }
    cs_buf_puts(&s->out, "]}");
    return rc;
}

/* ---- buckets and their rows ---- */

/* The place of the row's prefix among those asked for; -1: not asked for. `hex`: SHA-256 of its key. */
static ptrdiff_t find_prefix(const cs_digest_request *q, const char *hex)
{
    size_t low = 0, high = q->count;
    uint64_t prefix;

    (void)cs_prefix_parse(hex, q->width, &prefix);
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (q->prefixes[mid] == prefix)
            return (ptrdiff_t)mid;
        if (q->prefixes[mid] < prefix)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

static int add_to_bucket(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    serving *s = ctx;
    const cs_digest_request *q = s->request;
    char key[CSYNC_HASH_SIZE];
    ptrdiff_t at = -1;
    uint64_t rest;
    int rc = hash_of(s, &s->key, values, key, err);

    (void)count;
    if (rc == CSYNC_OK)
        at = find_prefix(q, key);
    if (at >= 0)
        rc = hash_of(s, &s->row, values, s->row_hex, err);
    if (rc == CSYNC_OK && at >= 0) {
        sum *bucket;

        (void)cs_prefix_parse(key + q->width, (size_t)q->digits, &rest);
        bucket = &s->sums[((size_t)at << (4 * q->digits)) + rest];
        bucket->sum += word(s->row_hex);
        bucket->rows++;
    }
    return rc == CSYNC_OK ? count_row(s, err) : rc;
}

static void put_buckets(serving *s)
{
    const cs_digest_request *q = s->request;
    size_t each = (size_t)1 << (4 * q->digits), listed = 0;

    cs_buf_puts(&s->out, "{\"buckets\":{");
    for (size_t i = 0; i < q->count * each; i++) {
        cs_bucket b = {(q->prefixes[i / each] << (4 * q->digits)) + i % each, s->sums[i].sum};

        if (!s->sums[i].rows)
            continue;
        cs_buf_puts(&s->out, listed++ ? "," : "");
        cs_digest_put_bucket(&s->out, &b, q->width + (size_t)q->digits);
    }
    cs_buf_puts(&s->out, "}}");
}

static int serve_buckets(serving *s, csync_error *err)
{
    const cs_digest_request *q = s->request;
    cs_backend *b = s->replica->backend;
    int rc;

    cs_free(s->sums);
    s->sums = cs_calloc(q->count << (4 * q->digits), sizeof *s->sums);
    if (!s->sums)
        return cs_fail_nomem(err);
    rc = b->ops->scan(b, s->table, add_to_bucket, s, err);
    if (rc == CSYNC_OK)
        put_buckets(s);
    return rc;
}

/* The key exactly, as changes name it. */
static int put_pk(serving *s, const cs_value *values, csync_error *err)
{
    const cs_table *t = s->table;

    cs_buf_clear(&s->pk);
    for (size_t i = 0; i < t->key_count; i++) {
        const char *name = t->columns[t->key[i]].name;

        cs_buf_putc(&s->pk, i ? ',' : '{');
        cs_put_string(&s->pk, name, strlen(name));
        cs_buf_putc(&s->pk, ':');
        cs_put_value(&s->pk, &values[t->key[i]]);
    }
    cs_buf_putc(&s->pk, '}');
    return cs_buf_check(&s->pk, err);
}

static int list_row(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    serving *s = ctx;
    char key[CSYNC_HASH_SIZE];
    cs_row_digest row = {NULL, s->row_hex};
    int rc = hash_of(s, &s->key, values, key, err);

    (void)count;
    if (rc != CSYNC_OK || find_prefix(s->request, key) < 0)
        return rc == CSYNC_OK ? count_row(s, err) : rc;
    if (s->listed == ROWS_MAX)
        return cs_fail(err, CSYNC_EINVAL,
                       "the buckets of table \"%s\" hold more than %d rows; ask for narrower ones",
                       s->table->name, ROWS_MAX);
    rc = hash_of(s, &s->row, values, s->row_hex, err);
    if (rc == CSYNC_OK)
        rc = put_pk(s, values, err);
    if (rc != CSYNC_OK)
        return rc;
    row.pk = s->pk.data;
    cs_buf_puts(&s->out, s->listed++ ? "," : "");
    cs_digest_put_row(&s->out, &row);
    return count_row(s, err);
}

static int serve_rows(serving *s, csync_error *err)
{
    cs_backend *b = s->replica->backend;
    int rc;

    cs_buf_puts(&s->out, "{\"rows\":{");
    rc = b->ops->scan(b, s->table, list_row, s, err);
    cs_buf_puts(&s->out, "}}");
    return rc;
}

/* ---- rows by key ---- */

static int look_at_row(void *ctx, const cs_value *values, size_t count, csync_error *err)
{
    serving *s = ctx;

    s->is_there = 1;
    cs_buf_clear(&s->pk); /* takes the payload */
    for (size_t i = 0; s->request->payload && i < count; i++) {
        const char *name = s->table->columns[i].name;

        cs_buf_putc(&s->pk, i ? ',' : '{');
        cs_put_string(&s->pk, name, strlen(name));
        cs_buf_putc(&s->pk, ':');
        cs_put_value(&s->pk, &values[i]);
    }
    cs_buf_putc(&s->pk, '}');
    if (cs_buf_check(&s->pk, err) != CSYNC_OK)
        return CSYNC_ENOMEM;
    return hash_of(s, &s->row, values, s->row_hex, err);
}

static enum cs_head_state state_of(const cs_head *head)
{
    if (!head->found)
        return CS_HEAD_NONE;
    if (head->parked)
        return CS_HEAD_PARKED;
    return head->deleted ? CS_HEAD_DELETED : CS_HEAD_LIVE;
}

static int put_state(serving *s, const char *pk, csync_error *err)
{
    cs_backend *b = s->replica->backend;
    char timestamp[CS_TIME_SIZE];
    cs_row_state state = {.timestamp = timestamp};
    cs_head head;
    int rc;

    s->is_there = 0;
    rc = b->ops->look(b, (cs_table *)s->table, pk, &head, look_at_row, s, err);
    if (rc != CSYNC_OK)
        return rc;
    state.head = state_of(&head);
    if (head.found)
        cs_time_format(head.stamp.ts, timestamp);
    state.origin = head.stamp.origin;
    state.seq = head.stamp.seq;
    state.digest = s->is_there ? s->row_hex : NULL;
    state.payload = s->is_there && s->request->payload ? s->pk.data : NULL;
    cs_digest_put_state(&s->out, &state);
    return CSYNC_OK;
}

static int serve_states(serving *s, csync_error *err)
{
    int rc = CSYNC_OK;

    cs_buf_puts(&s->out, "{\"states\":[");
    for (size_t i = 0; rc == CSYNC_OK && i < s->request->count && s->out.len < STATES_BYTES; i++) {
        cs_buf_puts(&s->out, i ? "," : "");
        rc = put_state(s, s->request->keys[i], err);
    }
    cs_buf_puts(&s->out, "]}");
    return rc;
}

/* ---- any of them ---- */

static int serve_table(serving *s, csync_error *err)
{
    const char *name = s->request->table;
    cs_table *t = cs_backend_table(s->replica->backend, name, strlen(name));
    int rc;

    if (!t)
        return cs_fail(err, CSYNC_ENOTFOUND, "table \"%.100s\" is not tracked", name);
    rc = open_forms(s, t, err);
    if (rc == CSYNC_OK && s->request->kind == CS_ASK_BUCKETS)
        rc = serve_buckets(s, err);
    else if (rc == CSYNC_OK && s->request->kind == CS_ASK_ROWS)
        rc = serve_rows(s, err);
    else if (rc == CSYNC_OK)
        rc = serve_states(s, err);
    close_forms(s);
    return rc;
}

static int serve(csync *c, void *ctx, csync_error *err)
{
    serving *s = ctx;

    (void)c;
    cs_buf_clear(&s->out);
    return s->request->kind == CS_ASK_TABLES ? serve_tables(s, err) : serve_table(s, err);
}

int cs_digest_serve(csync *c, const char *request, char **answer, csync_error *err)
{
    cs_digest_request q = {.kind = CS_ASK_TABLES};
    serving s = {.replica = c, .request = &q};
    int rc = cs_digest_request_read(&q, request, strlen(request), err);

    if (rc == CSYNC_OK)
        rc = cs_sha256_new(&s.sha, err);
    if (rc == CSYNC_OK)
        rc = cs_replica_read(c, serve, &s, err);
    if (rc == CSYNC_OK)
        rc = cs_buf_check(&s.out, err);
    if (rc == CSYNC_OK)
        *answer = cs_buf_take(&s.out, err);
    cs_buf_free(&s.out);
    cs_buf_free(&s.text);
    cs_buf_free(&s.pk);
    cs_free(s.sums);
    cs_sha256_free(s.sha);
    cs_digest_request_free(&q);
    return rc;
}

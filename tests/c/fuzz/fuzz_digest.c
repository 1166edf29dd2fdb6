/* fuzz_digest.c - digest requests and answers: what is accepted holds what its readers promise. */
#include <string.h>

#include "codec/digest.h"

static void must(int is_true)
{
    if (!is_true)
        __builtin_trap();
}

static void check_request(const cs_digest_request *q)
{
    must(!q->table == (q->kind == CS_ASK_TABLES));
    must(q->count << (4 * q->digits) <= CS_BUCKETS_MAX);
    must(q->width <= CS_PREFIX_MAX);
    for (size_t i = 0; i < q->count; i++) {
        if (q->kind == CS_ASK_STATES)
            must(strlen(q->keys[i]) < (size_t)1 << 30);
        else
            must(q->prefixes[i] >> (4 * q->width) == 0 && (!i || q->prefixes[i] > q->prefixes[i - 1]));
    }
}

/* Written again and read again, a request is the same. */
static void check_again(const cs_digest_request *q)
{
    cs_digest_request again = {.kind = CS_ASK_TABLES};
    cs_buf json = {0};

    if (q->kind == CS_ASK_TABLES && !q->table_count)
        return;
    if (q->kind == CS_ASK_TABLES)
        cs_digest_put_tables(&json, q->tables, q->table_count);
    else if (q->kind == CS_ASK_STATES)
        cs_digest_put_keys(&json, q->table, q->keys, q->count, q->payload);
    else
        cs_digest_put_prefixes(&json, q->table, q->prefixes, q->count, q->width, q->digits);
    must(cs_digest_request_read(&again, json.data, json.len, NULL) == CSYNC_OK);
    must(again.kind == q->kind && again.count == q->count && again.table_count == q->table_count);
    must(!q->table || strcmp(again.table, q->table) == 0);
    cs_digest_request_free(&again);
    cs_buf_free(&json);
}

static void check_answer(const cs_digest_answer *a, enum cs_digest_kind kind)
{
    for (size_t i = 0; i < a->count; i++) {
        if (kind == CS_ASK_TABLES)
            must(strlen(a->tables[i].digest) == 64 && strlen(a->tables[i].shape) == 64);
        if (kind == CS_ASK_BUCKETS)
            must(!i || a->buckets[i].prefix > a->buckets[i - 1].prefix);
        if (kind == CS_ASK_ROWS)
            must(strlen(a->rows[i].digest) == CS_ROW_HEX && a->rows[i].pk);
        if (kind == CS_ASK_STATES)
            must(a->states[i].head == CS_HEAD_NONE ||
                 (a->states[i].timestamp && a->states[i].origin));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cs_digest_request q = {.kind = CS_ASK_TABLES};
    csync_error err = CSYNC_ERROR_INIT;

    if (cs_digest_request_read(&q, (const char *)data, size, &err) == CSYNC_OK) {
        check_request(&q);
        check_again(&q);
    } else {
        must(err.message[0]);
    }
    cs_digest_request_free(&q);
    for (int kind = CS_ASK_TABLES; kind <= CS_ASK_STATES; kind++) {
        cs_digest_answer a = {0};

        if (cs_digest_answer_read(&a, (enum cs_digest_kind)kind, (const char *)data, size, NULL) ==
            CSYNC_OK)
            check_answer(&a, (enum cs_digest_kind)kind);
        cs_digest_answer_free(&a);
    }
    return 0;
}

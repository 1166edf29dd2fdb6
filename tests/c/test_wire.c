/* test_wire.c - batches in memory and in the wire form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/value.h"
#include "codec/wire.h"
#include "failing_malloc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HASH64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const csync_change sample = {
    .struct_size = sizeof sample,
    .version = 7,
    .operation = CSYNC_INSERT,
    .table = "Person",
    .pk = "{\"Id\":\"1\"}",
    .payload =
        "{\"Id\":\"1\",\"Name\":\"Zo\xC3\xAB \\\"q\\\"\\n\",\"Age\":42,\"Ok\":true,\"R\":-1.5e3}",
    .origin = "550e8400-e29b-41d4-a716-446655440000",
    .timestamp = "2025-01-01T00:00:00.123Z",
    .seq = 9,
};

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static csync_batch *batch_of(const csync_change *change)
{
    csync_batch *batch;

    assert_int_equal(csync_batch_new(&batch, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_add(batch, change, NULL), CSYNC_OK);
    return batch;
}

static char *json_of(const csync_batch *batch)
{
    char *json;
    size_t len;

    assert_int_equal(csync_batch_to_json(batch, &json, &len, NULL), CSYNC_OK);
    assert_int_equal(strlen(json), len);
    return json;
}

/* From memory that ends where the text ends. */
static int read_exact(csync_batch **out, const char *json, csync_error *err)
{
    size_t len = strlen(json);
    char *exact = cs_malloc(len);
    int rc;

    memcpy(exact, json, len);
    rc = csync_batch_from_json(out, exact, len, err);
    cs_free(exact);
    return rc;
}

static csync_batch *read_ok(const char *json)
{
    csync_error err = CSYNC_ERROR_INIT;
    csync_batch *batch;

    if (read_exact(&batch, json, &err) != CSYNC_OK)
        fail_msg("%s: %s", json, err.message);
    return batch;
}

static void same_text(const char *a, const char *b)
{
    assert_true((a == NULL) == (b == NULL));
    if (a)
        assert_string_equal(a, b);
}

static void same_change(const csync_change *a, const csync_change *b)
{
    assert_true(a->version == b->version && a->seq == b->seq);
    assert_int_equal(a->operation, b->operation);
    same_text(a->table, b->table);
    same_text(a->pk, b->pk);
    same_text(a->payload, b->payload);
    same_text(a->origin, b->origin);
    same_text(a->timestamp, b->timestamp);
}

static void same_batch(const csync_batch *a, const csync_batch *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->bytes, b->bytes);
    for (size_t i = 0; i < a->count; i++) {
        const cs_change *x = &a->items[i], *y = &b->items[i];

        same_change(&x->pub, &y->pub);
        assert_true(x->ts == y->ts && x->table_len == y->table_len && x->pk_len == y->pk_len &&
                    x->payload_len == y->payload_len);
    }
    same_text(a->origin, b->origin);
    assert_true(a->from_version == b->from_version && a->to_version == b->to_version &&
                a->has_more == b->has_more && a->has_info == b->has_info);
    assert_string_equal(a->hash, b->hash);
}

/* ---- Changes in memory ----------------------------------------------------------------------------- */

static void batch_add__copies_and_normalises(void **state)
{
    csync_change c = sample;
    csync_batch *batch;

    (void)state;
    c.timestamp = "2025-01-01T01:00:00.1239+01:00";
    batch = batch_of(&c);
    same_change(csync_batch_at(batch, 0), &sample);
    assert_int_equal(csync_batch_count(batch), 1);
    assert_null(csync_batch_at(batch, 1));
    assert_ptr_not_equal(csync_batch_at(batch, 0)->table, sample.table);
    csync_batch_free(batch);
}

static void batch_add__drops_the_payload_of_a_delete(void **state)
{
    csync_change c = sample;
    csync_batch *batch;

    (void)state;
    c.operation = CSYNC_DELETE;
    batch = batch_of(&c);
    assert_null(csync_batch_at(batch, 0)->payload);
    csync_batch_free(batch);
}

static void batch_add__refuses_what_is_malformed(void **state)
{
    csync_change bad[24];
    csync_batch *batch;
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = sample;
    bad[n++].operation = 0;
    bad[n++].operation = 4;
    bad[n++].table = NULL;
    bad[n++].table = "";
    bad[n++].table = "\xFF";
    bad[n++].pk = NULL;
    bad[n++].pk = "{}";
    bad[n++].pk = "1";
    bad[n++].pk = "{\"a\":1,\"a\":2}";
    bad[n++].payload = NULL;
    bad[n++].payload = "[]";
    bad[n++].payload = "{\"a\":1}x";
    bad[n++].origin = NULL;
    bad[n++].origin = "";
    bad[n++].origin = "a b";
    bad[n++].origin = "12345678901234567890123456789012345678901234567890123456789012345";
    bad[n++].timestamp = NULL;
    bad[n++].timestamp = "yesterday";
    bad[n++].version = -1;
    bad[n++].seq = -1;
    assert_int_equal(csync_batch_new(&batch, NULL), CSYNC_OK);
    for (size_t i = 0; i < n; i++) {
        csync_error err = CSYNC_ERROR_INIT;

        if (csync_batch_add(batch, &bad[i], &err) != CSYNC_EINVAL || !err.message[0])
            fail_msg("change %zu was taken", i);
        assert_int_equal(csync_batch_add(batch, &bad[i], NULL), CSYNC_EINVAL);
    }
    assert_int_equal(csync_batch_count(batch), 0);
    csync_batch_free(batch);
}

static void operation__is_read_in_any_case_and_as_a_number(void **state)
{
    (void)state;
    assert_int_equal(cs_operation_parse("Insert", 6), CSYNC_INSERT);
    assert_int_equal(cs_operation_parse("uPDATE", 6), CSYNC_UPDATE);
    assert_int_equal(cs_operation_parse("delete", 6), CSYNC_DELETE);
    assert_int_equal(cs_operation_parse("0", 1), CSYNC_INSERT);
    assert_int_equal(cs_operation_parse("2", 1), CSYNC_DELETE);
    assert_int_equal(cs_operation_parse("3", 1), 0);
    assert_int_equal(cs_operation_parse("inser", 5), 0);
    assert_int_equal(cs_operation_parse("inserts", 7), 0);
    assert_int_equal(cs_operation_parse("", 0), 0);
    assert_null(cs_operation_name(0));
    assert_null(cs_operation_name(4));
}

static void stamp__orders_by_time_origin_seq(void **state)
{
    cs_stamp a = {1, "a", 5}, b = {2, "a", 1}, c = {1, "b", 1}, d = {1, "a", 6};

    (void)state;
    assert_true(cs_stamp_compare(&a, &b) < 0 && cs_stamp_compare(&b, &a) > 0);
    assert_true(cs_stamp_compare(&a, &c) < 0 && cs_stamp_compare(&c, &a) > 0);
    assert_true(cs_stamp_compare(&a, &d) < 0 && cs_stamp_compare(&d, &a) > 0);
    assert_int_equal(cs_stamp_compare(&a, &a), 0);
}

/* ---- Arguments --------------------------------------------------------------------------------------- */

static void api__refuses_null(void **state)
{
    csync_batch *batch = batch_of(&sample), *out;
    csync_batch_info info = {.struct_size = sizeof info};
    csync_outcome *outcome;
    csync_outcome_entry entry = {.struct_size = sizeof entry};
    char hex[CSYNC_HASH_SIZE], *text;
    csync_error err = CSYNC_ERROR_INIT;

    (void)state;
    assert_int_equal(csync_batch_new(NULL, &err), CSYNC_EMISUSE);
    assert_non_null(strstr(err.message, "NULL"));
    assert_int_equal(csync_batch_add(NULL, &sample, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_add(batch, NULL, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_count(NULL), 0);
    assert_null(csync_batch_at(NULL, 0));
    assert_int_equal(csync_batch_get_info(NULL, &info), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_get_info(batch, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_set_info(NULL, &info, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_set_info(batch, NULL, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_hash(NULL, hex, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_hash(batch, NULL, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_to_json(NULL, &text, NULL, NULL), CSYNC_EMISUSE);
    assert_null(text);
    assert_int_equal(csync_batch_to_json(batch, NULL, NULL, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_from_json(NULL, "{}", 2, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_from_json(&out, NULL, 2, NULL), CSYNC_EMISUSE);
    assert_null(out);
    assert_int_equal(csync_outcome_from_json(&outcome, NULL, 0, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_outcome_from_json(NULL, "{}", 2, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_outcome_to_json(NULL, &text, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_outcome_at(NULL, 0, &entry), CSYNC_EMISUSE);
    assert_int_equal(csync_outcome_count(NULL), 0);
    assert_int_equal(csync_outcome_position(NULL), 0);
    assert_int_equal(csync_verify_hash(NULL, "a", NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_verify_hash("a", NULL, NULL), CSYNC_EMISUSE);
    csync_batch_free(NULL);
    csync_outcome_free(NULL);
    csync_batch_free(batch);
}

static void api__refuses_a_struct_size_that_cannot_be(void **state)
{
    csync_change c = sample;
    csync_batch *batch = batch_of(&sample);
    csync_batch_info info = {.struct_size = 0};

    (void)state;
    c.struct_size = 0;
    assert_int_equal(csync_batch_add(batch, &c, NULL), CSYNC_EMISUSE);
    c.struct_size = SIZE_MAX;
    assert_int_equal(csync_batch_add(batch, &c, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EMISUSE);
    assert_int_equal(csync_batch_get_info(batch, &info), CSYNC_EMISUSE);
    csync_batch_free(batch);
}

/* A caller built against an older or a newer header. */
static void api__takes_smaller_and_larger_structs(void **state)
{
    struct {
        csync_batch_info info;
        int64_t newer;
    } large = {.info.struct_size = sizeof large, .newer = 5};
    csync_batch_info small = {.struct_size = offsetof(csync_batch_info, has_more), .has_more = 77};
    csync_change no_seq = sample;
    csync_batch *batch = batch_of(&sample);

    (void)state;
    no_seq.struct_size = offsetof(csync_change, seq);
    assert_int_equal(csync_batch_add(batch, &no_seq, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_at(batch, 1)->seq, 0);
    large.info.to_version = 5;
    large.info.has_more = 1;
    assert_int_equal(csync_batch_set_info(batch, &large.info, NULL), CSYNC_EUNSUPPORTED);
    large.newer = 0;
    assert_int_equal(csync_batch_set_info(batch, &large.info, NULL), CSYNC_OK);
    large.newer = 5;
    assert_int_equal(csync_batch_get_info(batch, &small), CSYNC_OK);
    assert_true(small.to_version == 5 && small.has_more == 77);
    assert_int_equal(csync_batch_get_info(batch, &large.info), CSYNC_OK);
    assert_true(large.newer == 0 && large.info.has_more == 1);
    csync_batch_free(batch);
}

static void set_info__checks_what_it_gets(void **state)
{
    csync_batch *batch = batch_of(&sample);
    csync_batch_info info = {.struct_size = sizeof info,
                             .origin = "me",
                             .from_version = 3,
                             .to_version = 9,
                             .has_more = 5,
                             .hash = HASH64};
    csync_batch_info got = {.struct_size = sizeof got};

    (void)state;
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_get_info(batch, &got), CSYNC_OK);
    assert_string_equal(got.origin, "me");
    assert_string_equal(got.hash, HASH64);
    assert_true(got.from_version == 3 && got.to_version == 9 && got.has_more == 1);
    info.to_version = 2;
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EINVAL);
    info.to_version = 9;
    info.origin = "no origin";
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EINVAL);
    info.origin = NULL;
    info.hash[10] = 'x';
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EINVAL);
    memset(info.hash, 'a', sizeof info.hash);
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EINVAL);
    info.hash[0] = 0;
    info.heard = "[\"me 1 0\"]";
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_get_info(batch, &got), CSYNC_OK);
    assert_string_equal(got.heard, info.heard);
    info.heard = "[\"me\"]";
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_EINVAL);
    csync_batch_free(batch);
}

/* ---- Writing and reading batches --------------------------------------------------------------------- */

static void to_json__has_the_documented_form(void **state)
{
    csync_batch *batch = batch_of(&sample);
    csync_batch_info info = {
        .struct_size = sizeof info, .origin = "me", .to_version = 7, .hash = HASH64};
    csync_change gone = sample;
    char *json;

    (void)state;
    gone.operation = CSYNC_DELETE;
    gone.table = "a\"b\x01";
    gone.seq = INT64_MAX;
    assert_int_equal(csync_batch_add(batch, &gone, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_OK);
    json = json_of(batch);
    assert_string_equal(
        json,
        "{\"changes\":[{\"version\":7,\"tableName\":\"Person\",\"pkValue\":\"{\\\"Id\\\":\\\"1\\\"}\","
        "\"operation\":\"Insert\",\"payload\":\"{\\\"Id\\\":\\\"1\\\",\\\"Name\\\":\\\"Zo\xC3\xAB "
        "\\\\\\\"q\\\\\\\"\\\\n\\\",\\\"Age\\\":42,\\\"Ok\\\":true,\\\"R\\\":-1.5e3}\","
        "\"origin\":\"550e8400-e29b-41d4-a716-446655440000\",\"timestamp\":\"2025-01-01T00:00:00.123Z\","
        "\"seq\":9},{\"version\":7,\"tableName\":\"a\\\"b\\u0001\",\"pkValue\":\"{\\\"Id\\\":\\\"1\\\"}\","
        "\"operation\":\"Delete\",\"payload\":null,"
        "\"origin\":\"550e8400-e29b-41d4-a716-446655440000\",\"timestamp\":\"2025-01-01T00:00:00.123Z\","
        "\"seq\":9223372036854775807}],\"fromVersion\":0,\"toVersion\":7,\"hasMore\":false,"
        "\"hash\":\"" HASH64 "\",\"origin\":\"me\"}");
    csync_free(json);
    csync_batch_free(batch);
}

static void from_json__takes_either_spelling_in_any_order(void **state)
{
    csync_batch *want = batch_of(&sample), *batch;
    static const char *const forms[] = {
        "{\"Changes\":[{\"Seq\":9,\"Timestamp\":\"2025-01-01T00:00:00.123Z\",\"Payload\":%s,"
        "\"Origin\":\"550e8400-e29b-41d4-a716-446655440000\",\"Operation\":0,\"PkValue\":%s,"
        "\"TableName\":\"Person\",\"Version\":7}]}",
        " { \"changes\" : [ { \"version\" : 7 , \"tableName\" : \"Pers\\u006fn\" , \"payload\" : %s ,"
        "\"pkValue\" : %s , \"operation\" : \"INSERT\" , \"seq\":9, \"extra\":{\"a\":[1,{}]},"
        "\"origin\":\"550e8400-e29b-41d4-a716-446655440000\","
        "\"timestamp\":\"2024-12-31T23:00:00.123999-01:00\" } ] , \"more\":null } \n",
        "{\"hash\":null,\"origin\":null,\"fromVersion\":null,\"changes\":[{\"version\":7,\"extra\":1,"
        "\"tableName\":\"Person\",\"operation\":\"0\",\"payload\":%s,\"pkValue\":%s,"
        "\"origin\":\"550e8400-e29b-41d4-a716-446655440000\",\"timestamp\":"
        "\"2025-01-01T00:00:00.123Z\",\"seq\":9}]}",
    };
    cs_buf payload = {0}, pk = {0}, json = {0};

    (void)state;
    cs_put_string(&payload, sample.payload, strlen(sample.payload));
    cs_put_string(&pk, sample.pk, strlen(sample.pk));
    assert_int_equal(cs_buf_check(&payload, NULL) | cs_buf_check(&pk, NULL), CSYNC_OK);
    for (size_t i = 0; i < COUNT(forms); i++) {
        const char *at = strstr(forms[i], "%s"), *next = strstr(at + 2, "%s");

        cs_buf_clear(&json);
        cs_buf_printf(&json, "%.*s%s%.*s%s%s", (int)(at - forms[i]), forms[i], payload.data,
                      (int)(next - at - 2), at + 2, pk.data, next + 2);
        batch = read_ok(json.data);
        same_batch(batch, want);
        csync_batch_free(batch);
    }
    cs_buf_free(&json);
    cs_buf_free(&payload);
    cs_buf_free(&pk);
    csync_batch_free(want);
}

static void from_json__reads_the_info(void **state)
{
    csync_batch *batch = read_ok("{\"OriginId\":\"me\",\"Changes\":[]}");
    char *json;

    (void)state;
    assert_string_equal(batch->origin, "me");
    assert_int_equal(batch->has_info, 0);
    csync_batch_free(batch);
    batch =
        read_ok("{\"changes\":[],\"fromVersion\":3,\"toVersion\":8,\"hasMore\":true,\"hash\":\"\"}");
    assert_true(batch->from_version == 3 && batch->to_version == 8 && batch->has_more == 1);
    assert_int_equal(batch->has_info, 1);
    assert_null(batch->origin);
    csync_batch_free(batch);
    batch = read_ok("{\"changes\":[],\"hash\":"
                    "\"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\"}");
    assert_string_equal(batch->hash, HASH64);
    csync_batch_free(batch);
    batch = read_ok("{\"changes\":[],\"tables\":[\"a\"],\"heard\":[\"me 7 0\",\"you 9 12\"]}");
    assert_string_equal(batch->heard, "[\"me 7 0\",\"you 9 12\"]");
    json = json_of(batch);
    assert_non_null(strstr(json, ",\"tables\":[\"a\"],\"heard\":[\"me 7 0\",\"you 9 12\"]}"));
    csync_free(json);
    csync_batch_free(batch);
}

#define PK "\"pkValue\":\"{\\\"a\\\":1}\""
#define REST "\"origin\":\"o\",\"timestamp\":\"2025-01-01T00:00:00Z\",\"version\":1"
#define ONE(members) "{\"changes\":[{" members "}]}"
#define WHOLE "\"tableName\":\"T\"," PK ",\"operation\":\"Insert\",\"payload\":\"{}\"," REST

static const struct {
    const char *json, *message;
} refused[] = {
    {"", "byte 0: the text ends too early"},
    {"[]", "byte 0: an object is needed here"},
    {"{}", "\"changes\" is missing"},
    {"{\"changes\":null}", "\"changes\" is missing"},
    {"{\"changes\":{}}", "an array is needed here"},
    {"{\"changes\":[]}x", "something follows"},
    {"{\"changes\":[],\"Changes\":[]}", "twice"},
    {"{\"changes\":[],\"origin\":\"a\",\"originId\":\"a\"}", "twice"},
    {"{\"changes\":[],\"origin\":\"a b\"}", "origin: not 1 to 64"},
    {"{\"changes\":[],\"hash\":\"12\"}", "hash: this is no SHA-256"},
    {"{\"changes\":[],\"hash\":\"" HASH64 "0\"}", "hash: this is no SHA-256"},
    {"{\"changes\":[],\"hasMore\":1}", "hasMore: "},
    {"{\"changes\":[],\"tables\":[1]}", "tables: this is no list of names"},
    {"{\"changes\":[],\"heard\":\"me 1 0\"}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\"me 1\"]}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\"me 1 0 \"]}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\"me -1 0\"]}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\"me 9223372036854775808 0\"]}",
     "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\" 1 0\"]}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"heard\":[\"" HASH64 "0 1 0\"]}", "heard: this is no list of what was heard"},
    {"{\"changes\":[],\"fromVersion\":-1}", "fromVersion: this is no integer"},
    {"{\"changes\":[],\"fromVersion\":1.0}", "fromVersion: this is no integer"},
    {"{\"changes\":[],\"fromVersion\":9223372036854775808}", "fromVersion: this is no integer"},
    {"{\"changes\":[],\"fromVersion\":2,\"toVersion\":1}", "toVersion is below"},
    {"{\"changes\":[1]}", "change 0, byte 12: an object"},
    {"{\"changes\":[{}]}", "change 0, byte 14: tableName: missing"},
    {ONE("\"tableName\":\"T\""), "pkValue: missing"},
    {ONE("\"tableName\":\"T\"," PK), "operation: missing"},
    {ONE("\"tableName\":\"T\"," PK ",\"operation\":1"), "origin: missing"},
    {ONE("\"tableName\":\"T\"," PK ",\"operation\":1,\"origin\":\"o\""), "timestamp: missing"},
    {ONE("\"tableName\":\"T\"," PK ",\"operation\":1," REST),
     "payload of an insert or update: missing"},
    {ONE("\"tableName\":\"T\"," PK ",\"operation\":1,\"payload\":null," REST),
     "payload of an insert or update: missing"},
    {"{\"changes\":[{" WHOLE "},{" WHOLE ",\"seq\":-1}]}", "change 1, byte "},
    {ONE(WHOLE ",\"version\":1"), "twice"},
    {ONE(WHOLE ",\"Version\":1"), "twice"},
    {ONE(WHOLE ",\"seq\":1.5"), "seq: this is no integer"},
    {ONE("\"tableName\":\"\""), "tableName: the text is empty"},
    {ONE("\"tableName\":\"a\\u0000b\""), "tableName: the text holds a NUL"},
    {ONE("\"tableName\":5"), "tableName: a string"},
    {ONE("\"origin\":\"a\\u0000\""), "origin: the text holds a NUL"},
    {ONE("\"pkValue\":\"{}\""), "pkValue: the object is empty"},
    {ONE("\"pkValue\":\"[1]\""), "pkValue: a JSON object"},
    {ONE("\"pkValue\":{\"a\":1}"), "pkValue: a string"},
    {ONE("\"pkValue\":\"{\\\"a\\\":1,\\\"a\\\":2}\""), "pkValue: a name is there twice"},
    {ONE("\"pkValue\":\"{\\\"a\\\":01}\""), "pkValue: this is no number"},
    {ONE("\"pkValue\":\"{\\\"a\\\":1}\\u0000\""), "pkValue: something follows"},
    {ONE("\"pkValue\":\"{\\\"\\\":1}\""), "pkValue: a name is empty"},
    {ONE("\"pkValue\":\"{\\\"a\\\":\\\"\\\\ud800\\\"}\""), "pkValue: half of a surrogate pair"},
    {ONE("\"payload\":\"{\\\"a\\\":\\\"\\n\\\"}\""), "payload: a control character"},
    {ONE("\"payload\":\"{\\\"a\\\":\xFF}\""), "payload: invalid UTF-8"},
    {ONE("\"payload\":\"\""), "payload: the text ends too early"},
    {ONE("\"operation\":3"), "operation: neither"},
    {ONE("\"operation\":\"upsert\""), "operation: neither"},
    {ONE("\"operation\":true"), "operation: this is no number"},
    {ONE("\"timestamp\":\"2025-02-30T00:00:00.000Z\""), "timestamp: this is no RFC 3339 time"},
    {ONE("\"timestamp\":0"), "timestamp: a string"},
    {ONE("\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["), "nested too deep"},
    {"{\"changes\":[{" WHOLE "},]}", "an object is needed"},
    {"{\"changes\":[{" WHOLE ",}]}", "a string is needed"},
    {"{\"changes\":[{" WHOLE "}", "the text ends too early"},
    {"{\"changes\":[{\"version\":", "the text ends too early"},
};

static void from_json__says_what_it_refuses_and_where(void **state)
{
    csync_batch *batch = read_ok(ONE(WHOLE));

    (void)state;
    csync_batch_free(batch);
    for (size_t i = 0; i < COUNT(refused); i++) {
        csync_error err = CSYNC_ERROR_INIT;

        if (read_exact(&batch, refused[i].json, &err) != CSYNC_EINVAL)
            fail_msg("%s was read", refused[i].json);
        assert_null(batch);
        if (!strstr(err.message, refused[i].message))
            fail_msg("%s: \"%s\" lacks \"%s\"", refused[i].json, err.message, refused[i].message);
        assert_int_equal(read_exact(&batch, refused[i].json, NULL), CSYNC_EINVAL);
    }
}

/* Text that reads as a quoted time where the next key begins. */
static void from_json__is_not_fooled_by_a_short_time(void **state)
{
    csync_batch *batch =
        read_ok(ONE("\"timestamp\":\"2025-01-01T00:00:00Z\",\"s\":1,\"tableName\":\"T\"," PK
                    ",\"operation\":2,\"origin\":\"o\""));

    (void)state;
    assert_string_equal(csync_batch_at(batch, 0)->timestamp, "2025-01-01T00:00:00.000Z");
    csync_batch_free(batch);
}

/* Every cut of a document is refused, read from memory that ends there. */
static void from_json__refuses_every_cut(void **state)
{
    csync_batch *batch = batch_of(&sample), *out;
    csync_batch_info info = {
        .struct_size = sizeof info, .origin = "me", .to_version = 7, .hash = HASH64};
    char *json;

    (void)state;
    assert_int_equal(csync_batch_add(batch, &sample, NULL), CSYNC_OK);
    assert_int_equal(csync_batch_set_info(batch, &info, NULL), CSYNC_OK);
    json = json_of(batch);
    for (size_t len = strlen(json); len > 0; len--) {
        json[len - 1] = 0;
        assert_int_equal(read_exact(&out, json, NULL), CSYNC_EINVAL);
    }
    csync_free(json);
    csync_batch_free(batch);
}

/* ---- The quick way and the thorough way agree ---------------------------------------------------------- */

static void put_random_text(cs_buf *b)
{
    static const char *const bits[] = {"a",
                                       "Zo\xC3\xAB",
                                       "\"",
                                       "\\",
                                       "\n",
                                       "\x01",
                                       "/",
                                       " ",
                                       "longer words here",
                                       "\xF0\x9F\x98\x80",
                                       "{\"x\":1}",
                                       "\xE2\x82\xAC",
                                       "\t",
                                       "\x7F"};
    cs_buf text = {0};

    for (uint64_t n = next_random() % 6; n > 0; n--)
        cs_buf_puts(&text, bits[next_random() % COUNT(bits)]);
    cs_put_string(b, text.len ? text.data : "", text.len);
    cs_buf_free(&text);
}

static void put_random_value(cs_buf *b)
{
    static const char *const odd[] = {"null",
                                      "true",
                                      "false",
                                      "0",
                                      "-0",
                                      "-0.0",
                                      "1.5e-7",
                                      "9e999",
                                      "[1,[2]]",
                                      "{\"$b\":\"00FF\"}",
                                      "123456789012345678901234567890",
                                      "\"\\u00e9\\/\\b\\f\"",
                                      "{\"a\" : [ ] }",
                                      "0.100000000000000006"};

    if (next_random() % 3 == 0)
        cs_buf_puts(b, odd[next_random() % COUNT(odd)]);
    else if (next_random() % 2)
        put_random_text(b);
    else
        cs_buf_put_int(b, (int64_t)next_random() >> next_random() % 64);
}

static const char *random_row(cs_buf *b, int columns, int is_odd)
{
    cs_buf_clear(b);
    for (int i = 0; i < columns; i++) {
        cs_buf_printf(b, "%c\"%.*s%d\":%s", i ? ',' : '{', (int)(next_random() % 40 == 0 ? 30 : 3),
                      "column_of_a_long_name_column_of_a", i, is_odd ? " " : "");
        put_random_value(b);
    }
    cs_buf_puts(b, columns ? "}" : "{}");
    assert_int_equal(cs_buf_check(b, NULL), CSYNC_OK);
    return b->data;
}

static csync_batch *random_batch(int count)
{
    static const char *const tables[] = {"T", "Person", "t\"able\n", "\xC3\xA9t\xC3\xA9"};
    csync_batch *batch;
    cs_buf pk = {0}, payload = {0};

    assert_int_equal(csync_batch_new(&batch, NULL), CSYNC_OK);
    for (int i = 0; i < count; i++) {
        csync_change c = sample;
        char when[CS_TIME_SIZE];
        int columns = next_random() % 50 == 0 ? 100 : (int)(next_random() % 7);

        cs_time_format((int64_t)(next_random() % (uint64_t)CS_TIME_MAX), when);
        c.version = (int64_t)(next_random() >> (next_random() % 63 + 1));
        c.seq = (int64_t)(next_random() >> (next_random() % 63 + 1));
        c.operation = CSYNC_INSERT + (int)(next_random() % 3);
        c.table = tables[next_random() % 8 ? 1 : next_random() % COUNT(tables)];
        c.pk = random_row(&pk, 1 + (int)(next_random() % 2), 0);
        c.payload = random_row(&payload, columns, next_random() % 8 == 0);
        c.timestamp = next_random() % 2 ? when : sample.timestamp;
        c.origin = next_random() % 4 ? sample.origin : "other.origin-1";
        assert_int_equal(csync_batch_add(batch, &c, NULL), CSYNC_OK);
    }
    cs_buf_free(&pk);
    cs_buf_free(&payload);
    return batch;
}

/* The same document with white space before each key of a change, which only the thorough way reads. */
static void put_spaced(cs_buf *out, const char *json)
{
    static const char *const keys[] = {"\"version\":", "\"payload\":", "\"seq\":"};

    for (const char *p = json; *p; p++) {
        for (size_t i = 0; i < COUNT(keys); i++)
            if (strncmp(p, keys[i], strlen(keys[i])) == 0 && (p[-1] == ',' || p[-1] == '{'))
                cs_buf_puts(out, "\r\n ");
        cs_buf_putc(out, *p);
    }
    assert_int_equal(cs_buf_check(out, NULL), CSYNC_OK);
}

static void from_json__reads_back_whatever_was_written(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        csync_batch *batch = random_batch(round % 40), *again, *spaced;
        cs_buf b = {0};
        char *json = json_of(batch);

        again = read_ok(json);
        same_batch(again, batch);
        put_spaced(&b, json);
        spaced = read_ok(b.data);
        same_batch(spaced, batch);
        cs_buf_free(&b);
        csync_free(json);
        csync_batch_free(batch);
        csync_batch_free(again);
        csync_batch_free(spaced);
    }
}

/* One byte of a document changed: both ways answer alike. */
static void from_json__judges_damage_alike_both_ways(void **state)
{
    (void)state;
    for (int round = 0; round < 6000; round++) {
        csync_batch *batch = random_batch(2), *quick, *thorough;
        char *json = json_of(batch), *at = strstr(json, "tableName");
        cs_buf b = {0};
        int rc;

        at += next_random() % strlen(at);
        *at = "\"\\{}:,0a\x01\xC3 "[next_random() % 11];
        put_spaced(&b, json);
        rc = read_exact(&quick, json, NULL);
        assert_int_equal(read_exact(&thorough, b.data, NULL), rc);
        if (rc == CSYNC_OK)
            same_batch(quick, thorough);
        cs_buf_free(&b);
        csync_free(json);
        csync_batch_free(quick);
        csync_batch_free(thorough);
        csync_batch_free(batch);
    }
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

static int run_batch(void *ctx)
{
    csync_batch *batch = NULL, *again = NULL;
    char *json = NULL, hex[CSYNC_HASH_SIZE];
    size_t len;
    int rc = csync_batch_new(&batch, NULL);

    (void)ctx;
    for (int i = 0; i < 20 && rc == CSYNC_OK; i++)
        rc = csync_batch_add(batch, &sample, NULL);
    if (rc == CSYNC_OK)
        rc = csync_batch_hash(batch, hex, NULL);
    if (rc == CSYNC_OK)
        rc = csync_batch_to_json(batch, &json, &len, NULL);
    if (rc == CSYNC_OK)
        rc = csync_batch_from_json(&again, json, len, NULL);
    csync_free(json);
    csync_batch_free(batch);
    csync_batch_free(again);
    return rc;
}

/* Many changes, odd times, many and escaped names. */
static int run_odd_json(void *ctx)
{
    csync_batch *batch;
    int rc = csync_batch_from_json(&batch, ctx, strlen(ctx), NULL);

    csync_batch_free(batch);
    return rc;
}

static void memory_failure__is_reported_and_leaves_nothing(void **state)
{
    cs_buf b = {0};

    (void)state;
    assert_true(failing_malloc_each(run_batch, NULL, FAILING_STRICT) > 10);
    for (int i = 0; i < 100; i++) {
        cs_buf_printf(
            &b, "%s\"tableName\":\"T\",\"operation\":0," REST ",\"pkValue\":\"{\\\"\\\\u0061\\\":1",
            i ? "},{" : "{\"changes\":[{");
        for (int k = 0; k < i; k++)
            cs_buf_printf(&b, ",\\\"%d\\\":1", k);
        cs_buf_puts(&b, "}\",\"payload\":\"{}\"");
    }
    cs_buf_puts(&b, "}]}");
    assert_int_equal(cs_buf_check(&b, NULL), CSYNC_OK);
    assert_true(failing_malloc_each(run_odd_json, b.data, FAILING_STRICT) > 10);
    cs_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_add__copies_and_normalises),
        cmocka_unit_test(batch_add__drops_the_payload_of_a_delete),
        cmocka_unit_test(batch_add__refuses_what_is_malformed),
        cmocka_unit_test(operation__is_read_in_any_case_and_as_a_number),
        cmocka_unit_test(stamp__orders_by_time_origin_seq),
        cmocka_unit_test(api__refuses_null),
        cmocka_unit_test(api__refuses_a_struct_size_that_cannot_be),
        cmocka_unit_test(api__takes_smaller_and_larger_structs),
        cmocka_unit_test(set_info__checks_what_it_gets),
        cmocka_unit_test(to_json__has_the_documented_form),
        cmocka_unit_test(from_json__takes_either_spelling_in_any_order),
        cmocka_unit_test(from_json__reads_the_info),
        cmocka_unit_test(from_json__says_what_it_refuses_and_where),
        cmocka_unit_test(from_json__is_not_fooled_by_a_short_time),
        cmocka_unit_test(from_json__refuses_every_cut),
        cmocka_unit_test(from_json__reads_back_whatever_was_written),
        cmocka_unit_test(from_json__judges_damage_alike_both_ways),
        cmocka_unit_test(memory_failure__is_reported_and_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

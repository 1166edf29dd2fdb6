/* test_hash_vectors.c - the reference's vectors: batch hash, canonical JSON, payload hash, verify. They lie in
 * $CSYNC_TEST_DATA/vectors/reference.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "codec/sha256.h"
#include "codec/wire.h"
#include "csync.h"

static cJSON *document;

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = f ? calloc(1, 8 << 20) : NULL;

    if (text && fread(text, 1, (8 << 20) - 1, f) == 0)
        text[0] = 0;
    if (f)
        fclose(f);
    return text;
}

static int open_vectors(void **state)
{
    const char *folder = getenv("CSYNC_TEST_DATA");
    char path[1024], *text;

    (void)state;
    if (!folder)
        return 0;
    snprintf(path, sizeof path, "%s/vectors/reference.json", folder);
    text = read_file(path);
    document = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!document)
        fprintf(stderr, "cannot read %s\n", path);
    return document ? 0 : -1;
}

static int close_vectors(void **state)
{
    (void)state;
    cJSON_Delete(document);
    return 0;
}

/* The list of that name, or the test ends here. */
static const cJSON *vectors(const char *name)
{
    const cJSON *list;

    if (!document) {
        print_message(
            "SKIPPED: set CSYNC_TEST_DATA to the folder that holds vectors/reference.json\n");
        skip();
    }
    list = cJSON_GetObjectItem(cJSON_GetObjectItem(document, "vectors"), name);
    assert_true(cJSON_GetArraySize(list) > 0);
    return list;
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void sha256_of(const char *text, char hex[CSYNC_HASH_SIZE])
{
    cs_sha256 *h;

    assert_int_equal(cs_sha256_new(&h, NULL), CSYNC_OK);
    cs_sha256_update(h, text, strlen(text));
    assert_int_equal(cs_sha256_final(h, hex, NULL), CSYNC_OK);
    cs_sha256_free(h);
}

/* cJSON keeps numbers as doubles; only one version of the vectors is too large for that. */
static int64_t version_of(const cJSON *entry)
{
    double value = cJSON_GetObjectItem(entry, "version")->valuedouble;

    return value >= 9e18 ? INT64_MAX : (int64_t)value;
}

/* By hand, because pk_value is not always JSON here. */
static void add_entry(csync_batch *batch, const cJSON *entry)
{
    cs_change *c = cs_batch_push(batch);
    const char *operation = text_of(entry, "operation");

    assert_non_null(c);
    c->pub.version = version_of(entry);
    c->pub.operation = cs_operation_parse(operation, strlen(operation));
    c->pub.table = text_of(entry, "table_name");
    c->pub.pk = text_of(entry, "pk_value");
    c->pub.payload = text_of(entry, "payload");
    c->table_len = strlen(c->pub.table);
    c->pk_len = strlen(c->pub.pk);
    c->payload_len = c->pub.payload ? strlen(c->pub.payload) : 0;
}

static void batch_hash__is_the_reference_s(void **state)
{
    const cJSON *list = vectors("batch_hash"), *vector, *entry;

    (void)state;
    cJSON_ArrayForEach(vector, list)
    {
        csync_batch *batch = cs_batch_create();
        char hex[CSYNC_HASH_SIZE];

        cJSON_ArrayForEach(entry, cJSON_GetObjectItem(vector, "entries")) add_entry(batch, entry);
        assert_int_equal(csync_batch_hash(batch, hex, NULL), CSYNC_OK);
        assert_string_equal(hex, text_of(vector, "sha256"));
        csync_batch_free(batch);
    }
}

static void check_canonical(const char *json, const char *want, const char *want_sha256)
{
    char *text, hex[CSYNC_HASH_SIZE];

    assert_int_equal(csync_canonical_json(json, strlen(json), &text, NULL), CSYNC_OK);
    assert_string_equal(text, want);
    sha256_of(text, hex);
    assert_string_equal(hex, want_sha256);
    csync_free(text);
}

static void canonical_json__is_that_of_rfc_8785(void **state)
{
    const cJSON *list = vectors("canonical_json"), *vector;

    (void)state;
    cJSON_ArrayForEach(vector, list)
    {
        char *input = cJSON_Print(cJSON_GetObjectItem(vector, "input"));

        check_canonical(input, text_of(vector, "rfc8785"), text_of(vector, "rfc8785_sha256"));
        free(input);
    }
}

static void payload_hash__does_not_depend_on_spelling(void **state)
{
    const cJSON *list = vectors("payload_hash");

    (void)state;
    for (int i = 0; i < 2; i++) { /* the others are weaknesses of the reference */
        const cJSON *vector = cJSON_GetArrayItem(list, i);

        check_canonical(text_of(vector, "payload"), text_of(vector, "canonical"),
                        text_of(vector, "sha256"));
    }
}

static void verify_hash__ignores_case_only(void **state)
{
    const cJSON *list = vectors("verify_hash"), *vector;

    (void)state;
    cJSON_ArrayForEach(vector, list)
    {
        const char *expected = text_of(vector, "expected"), *actual = text_of(vector, "actual");
        csync_error err = CSYNC_ERROR_INIT;
        int is_ok = cJSON_IsTrue(cJSON_GetObjectItem(vector, "ok"));

        if (!expected)
            continue; /* a batch without a hash: apply does not ask */
        assert_int_equal(csync_verify_hash(expected, actual, &err), is_ok ? CSYNC_OK : CSYNC_EHASH);
        assert_string_equal(err.expected, is_ok ? "" : expected);
        assert_string_equal(err.actual, is_ok ? "" : actual);
    }
}

static void sha256__is_the_same_in_pieces_of_any_size(void **state)
{
    static char text[100000];
    char whole[CSYNC_HASH_SIZE], pieces[CSYNC_HASH_SIZE];
    cs_sha256 *h;

    (void)state;
    sha256_of("abc", whole);
    assert_string_equal(whole, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(text, 'x', sizeof text - 1);
    sha256_of(text, whole);
    assert_int_equal(cs_sha256_new(&h, NULL), CSYNC_OK);
    for (int round = 0; round < 2; round++) {
        size_t at = 0, size = 1;

        for (; at < sizeof text - 1; at += size, size = size * 3 + 1) {
            size = size < sizeof text - 1 - at ? size : sizeof text - 1 - at;
            cs_sha256_update(h, text + at, size);
        }
        assert_int_equal(cs_sha256_final(h, pieces, NULL), CSYNC_OK);
        assert_string_equal(pieces, whole);
    }
    cs_sha256_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_hash__is_the_reference_s),
        cmocka_unit_test(canonical_json__is_that_of_rfc_8785),
        cmocka_unit_test(payload_hash__does_not_depend_on_spelling),
        cmocka_unit_test(verify_hash__ignores_case_only),
        cmocka_unit_test(sha256__is_the_same_in_pieces_of_any_size),
    };

    return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}

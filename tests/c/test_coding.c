/* links: sqlite3 */
/* test_coding.c - content codings: csync_encode and csync_decode. */
#include <string.h>

#include "failing_malloc.h"
#include "refused.h"

enum { LONG = 200000 };
static const char *const codings[] = {"zstd", "gzip"};
static char sample[LONG];

static void fill_sample(void)
{
    for (size_t i = 0; i < LONG; i++)
        sample[i] = (char)('a' + i * i % 17);
}

static void whatever_is_encoded_comes_back(void **state)
{
    const size_t lengths[] = {0, 1, 5000, LONG};

    (void)state;
    assert_string_equal(csync_codings(), "zstd, gzip");
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            char *coded, *plain;
            size_t coded_length, length;

            assert_int_equal(
                csync_encode(codings[i], sample, lengths[k], &coded, &coded_length, NULL), CSYNC_OK);
            assert_int_equal(
                csync_decode(codings[i], coded, coded_length, lengths[k], &plain, &length, NULL),
                CSYNC_OK);
            assert_int_equal(length, lengths[k]);
            assert_memory_equal(plain, sample, length);
            csync_free(plain);
            csync_free(coded);
        }
}

static void what_cannot_be_done_is_refused(void **state)
{
    char *out = NULL, *coded = NULL;
    size_t length = 0, coded_length = 0;

    (void)state;
    REFUSED(CSYNC_EMISUSE, "NULL", csync_encode(NULL, sample, 1, &out, &length, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_encode("gzip", NULL, 1, &out, &length, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_encode("gzip", sample, 1, NULL, &length, err));
    REFUSED(CSYNC_EMISUSE, "NULL", csync_decode("gzip", sample, 1, 1, &out, NULL, err));
    REFUSED(CSYNC_EUNSUPPORTED, "\"br\"", csync_encode("br", sample, 1, &out, &length, err));
    REFUSED(CSYNC_EUNSUPPORTED, "\"\"", csync_decode("", sample, 1, 1, &out, &length, err));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(csync_encode(codings[i], sample, LONG, &coded, &coded_length, NULL),
                         CSYNC_OK);
        REFUSED(CSYNC_EINVAL, "more than 199999 bytes",
                csync_decode(codings[i], coded, coded_length, LONG - 1, &out, &length, err));
        assert_null(out);
        REFUSED(CSYNC_EINVAL, "not the whole",
                csync_decode(codings[i], coded, coded_length - 1, LONG, &out, &length, err));
        REFUSED(CSYNC_EINVAL, "no ", csync_decode(codings[i], sample, 9, LONG, &out, &length, err));
        REFUSED(CSYNC_EINVAL, "no ", csync_decode(codings[i], NULL, 0, LONG, &out, &length, err));
        csync_free(coded);
    }
}

static int there_and_back(void *coding)
{
    char *coded = NULL, *plain = NULL;
    size_t coded_length, length;
    int rc = csync_encode(coding, sample, LONG, &coded, &coded_length, NULL);

    if (rc == CSYNC_OK)
        rc = csync_decode(coding, coded, coded_length, LONG, &plain, &length, NULL);
    csync_free(plain);
    csync_free(coded);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_true(
            failing_malloc_each(there_and_back, (void *)(uintptr_t)codings[i], FAILING_STRICT) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_encoded_comes_back),
        cmocka_unit_test(what_cannot_be_done_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };

    fill_sample();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

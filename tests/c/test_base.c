/* test_base.c - memory, buffers, arena, errors, clock, UUIDs, lock, log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "failing_malloc.h"

static void version__is_that_of_the_header(void **state)
{
    char want[32];

    (void)state;
    snprintf(want, sizeof want, "%d.%d.%d", CSYNC_VERSION_MAJOR, CSYNC_VERSION_MINOR,
             CSYNC_VERSION_PATCH);
    assert_string_equal(csync_version(), want);
}

static void code_name__knows_every_code(void **state)
{
    (void)state;
    assert_string_equal(csync_code_name(CSYNC_OK), "CSYNC_OK");
    assert_string_equal(csync_code_name(CSYNC_EBUSY), "CSYNC_EBUSY");
    assert_string_equal(csync_code_name(CSYNC_EUNSUPPORTED), "CSYNC_EUNSUPPORTED");
    assert_string_equal(csync_code_name(CSYNC_ECLOCK), "CSYNC_ECLOCK");
    assert_string_equal(csync_code_name(CSYNC_ECLOCK - 1), "CSYNC_ERROR");
    assert_string_equal(csync_code_name(1), "CSYNC_ERROR");
    assert_string_equal(csync_code_name(INT32_MIN), "CSYNC_ERROR");
}

static void allocator__is_refused_when_incomplete(void **state)
{
    csync_allocator none = {.struct_size = sizeof none};

    (void)state;
    assert_int_equal(csync_set_allocator(&none), CSYNC_EMISUSE);
    assert_int_equal(csync_set_allocator(NULL), CSYNC_OK);
}

static void memory__refuses_sizes_that_overflow(void **state)
{
    void *p = NULL;
    size_t cap = 0;

    (void)state;
    assert_null(cs_malloc(SIZE_MAX));
    assert_null(cs_calloc(SIZE_MAX / 2, 4));
    assert_int_equal(cs_grow(&p, &cap, SIZE_MAX / 2, 16), CSYNC_ENOMEM);
    assert_null(p);
    p = cs_malloc(0);
    assert_non_null(p);
    cs_free(p);
    cs_free(NULL);
    csync_free(NULL);
    assert_null(cs_strdup(NULL));
}

static void grow__keeps_what_is_there(void **state)
{
    int *p = NULL;
    size_t cap = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(cs_grow(&p, &cap, (size_t)i + 1, sizeof *p), CSYNC_OK);
        p[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(p[i], i);
    cs_free(p);
}

static void arena__gives_aligned_and_separate_pieces(void **state)
{
    cs_arena arena = {0};
    char *kept[300];

    (void)state;
    for (int i = 0; i < 300; i++) {
        size_t size = (size_t)(i % 7 == 0 ? i * 400 : i);

        kept[i] = cs_arena_alloc(&arena, size);
        assert_non_null(kept[i]);
        assert_int_equal((uintptr_t)kept[i] % 8, 0);
        memset(kept[i], i & 0xFF, size);
    }
    for (int i = 1; i < 300; i++)
        assert_int_equal((unsigned char)kept[i][0], i & 0xFF);
    assert_string_equal(cs_arena_copy(&arena, "abcdef", 3), "abc");
    assert_null(cs_arena_alloc(&arena, SIZE_MAX));
    assert_null(cs_arena_copy(&arena, "", SIZE_MAX));
    cs_arena_free(&arena);
    cs_arena_free(&arena);
}

static void buf__appends_and_gives_its_text_away(void **state)
{
    cs_buf b = {0};
    char *text;

    (void)state;
    cs_buf_puts(&b, "a");
    cs_buf_putc(&b, '-');
    cs_buf_put_int(&b, INT64_MIN);
    cs_buf_printf(&b, "%s%d", ":", 7);
    text = cs_buf_take(&b, NULL);
    assert_string_equal(text, "a--9223372036854775808:7");
    cs_free(text);
    text = cs_buf_take(&b, NULL);
    assert_string_equal(text, "");
    cs_free(text);
}

static void buf__stops_at_its_maximum_and_says_so(void **state)
{
    cs_buf b = {.max = 10};
    csync_error err = CSYNC_ERROR_INIT;

    (void)state;
    cs_buf_puts(&b, "0123456789");
    assert_int_equal(cs_buf_check(&b, &err), CSYNC_OK);
    cs_buf_putc(&b, 'x');
    cs_buf_puts(&b, "");
    assert_int_equal(b.len, 10);
    assert_int_equal(cs_buf_check(&b, &err), CSYNC_EINVAL);
    assert_non_null(strstr(err.message, "10 bytes"));
    cs_buf_clear(&b);
    assert_int_equal(cs_buf_check(&b, &err), CSYNC_OK);
    assert_null(cs_buf_reserve(&b, SIZE_MAX));
    assert_null(cs_buf_take(&b, &err));
}

static int run_buf(void *ctx)
{
    cs_buf b = {0};
    csync_error err = CSYNC_ERROR_INIT;
    char *text;

    (void)ctx;
    for (int i = 0; i < 200; i++)
        cs_buf_printf(&b, "%d,", i);
    text = cs_buf_take(&b, &err);
    cs_free(text);
    return text ? CSYNC_OK : err.code;
}

static int run_arena(void *ctx)
{
    cs_arena arena = {0};
    int rc = CSYNC_OK;

    (void)ctx;
    for (size_t i = 0; i < 200 && rc == CSYNC_OK; i++)
        rc = cs_arena_alloc(&arena, i * 31) ? CSYNC_OK : CSYNC_ENOMEM;
    cs_arena_free(&arena);
    return rc;
}

static void memory_failure__leaves_nothing_behind(void **state)
{
    (void)state;
    assert_true(failing_malloc_each(run_buf, NULL, FAILING_STRICT) > 2);
    assert_true(failing_malloc_each(run_arena, NULL, FAILING_STRICT) > 2);
}

static void fail__fills_what_it_should_and_keeps_the_rest(void **state)
{
    csync_error err = CSYNC_ERROR_INIT;

    (void)state;
    err.native_code = 19;
    assert_int_equal(cs_fail(&err, CSYNC_EDB, "no \"%s\"\n", "x"), CSYNC_EDB);
    assert_string_equal(err.message, "no \"x\" ");
    assert_int_equal(err.code, CSYNC_EDB);
    assert_int_equal(err.native_code, 19);
    cs_error_clear(&err);
    assert_int_equal(err.native_code, 0);
    assert_string_equal(err.message, "");
    assert_int_equal(err.struct_size, sizeof err);
    assert_int_equal(cs_fail(NULL, CSYNC_EDB, "x"), CSYNC_EDB);
    assert_int_equal(cs_fail_nomem(NULL), CSYNC_ENOMEM);
    cs_error_clear(NULL);
}

static void fail__does_not_touch_a_struct_of_unknown_size(void **state)
{
    csync_error err = CSYNC_ERROR_INIT;

    (void)state;
    err.struct_size = 0;
    assert_int_equal(cs_fail(&err, CSYNC_EDB, "x"), CSYNC_EDB);
    assert_string_equal(err.message, "");
    cs_error_clear(&err);
    assert_int_equal(err.struct_size, 0);
}

static void fail__cuts_between_characters(void **state)
{
    csync_error err = CSYNC_ERROR_INIT;
    char text[600];

    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        size_t len;

        memset(text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xF0\x9F\x98\x80", 5);
        cs_fail(&err, CSYNC_ERROR, "%s", text);
        len = strlen(err.message);
        assert_int_equal((len - shift) % 4, 0);
        assert_true(len > sizeof err.message - 5 && len < sizeof err.message);
    }
}

static void text_cut__splits_no_character(void **state)
{
    (void)state;
    assert_int_equal(cs_text_cut("abc", 3), 3);
    assert_int_equal(cs_text_cut("a\xC3\xA9", 3), 3);
    assert_int_equal(cs_text_cut("a\xC3\xA9", 2), 1);
    assert_int_equal(cs_text_cut("a\xE2\x82\xAC", 3), 1);
    assert_int_equal(cs_text_cut("", 0), 0);
}

typedef struct time_case {
    const char *text, *want; /* NULL: refused */
} time_case;

static const time_case times[] = {
    {"2025-01-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z"},
    {"2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000Z"},
    {"2025-01-01t00:00:00.1z", "2025-01-01T00:00:00.100Z"},
    {"2025-01-01 00:00:00.123456789Z", "2025-01-01T00:00:00.123Z"},
    {"2025-01-01T00:00:00.99999999999999999999Z", "2025-01-01T00:00:00.999Z"},
    {"2025-01-01T02:30:00+02:30", "2025-01-01T00:00:00.000Z"},
    {"2024-12-31T23:00:00-01:00", "2025-01-01T00:00:00.000Z"},
    {"2024-02-29T12:00:00-00:00", "2024-02-29T12:00:00.000Z"},
    {"2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z"},
    {"1990-12-31T23:59:60Z", "1990-12-31T23:59:59.999Z"},
    {"1990-12-31T15:59:60.5-08:00", "1990-12-31T23:59:59.999Z"},
    {"1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"},
    {"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
    {"1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"},
    {"1969-12-31T23:59:59.999Z", NULL},
    {"1970-01-01T00:00:00+01:00", NULL},
    {"9999-12-31T23:59:59-00:01", NULL},
    {"0000-01-01T00:00:00Z", NULL},
    {"2023-02-29T00:00:00Z", NULL},
    {"1900-02-29T00:00:00Z", NULL},
    {"2025-13-01T00:00:00Z", NULL},
    {"2025-00-01T00:00:00Z", NULL},
    {"2025-01-00T00:00:00Z", NULL},
    {"2025-04-31T00:00:00Z", NULL},
    {"2025-01-01T24:00:00Z", NULL},
    {"2025-01-01T00:60:00Z", NULL},
    {"2025-01-01T00:00:61Z", NULL},
    {"2025-01-01T00:00:00", NULL},
    {"2025-01-01T00:00:00.Z", NULL},
    {"2025-01-01T00:00:00,5Z", NULL},
    {"2025-01-01T00:00:00Zx", NULL},
    {"2025-01-01T00:00:00+0100", NULL},
    {"2025-01-01T00:00:00+24:00", NULL},
    {"2025-01-01T00:00:00+01:60", NULL},
    {"2025-1-01T00:00:00.00Z", NULL},
    {"+2025-01-01T00:00:00Z", NULL},
    {" 025-01-01T00:00:00Z", NULL},
    {"", NULL},
};

static void time_parse__reads_rfc_3339_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[CS_TIME_SIZE];
        int64_t ms;
        int rc = cs_time_parse(times[i].text, strlen(times[i].text), &ms);

        if ((rc == 0) != (times[i].want != NULL))
            fail_msg("\"%s\" was %s", times[i].text, rc == 0 ? "read" : "refused");
        cs_time_format(ms, text);
        if (rc == 0)
            assert_string_equal(text, times[i].want);
    }
}

static void time_format__agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t ms = 0; ms <= CS_TIME_MAX; ms += INT64_C(86400000) * 3 + 3723457) {
        char text[CS_TIME_SIZE], want[40];
        time_t seconds = (time_t)(ms / 1000);
        struct tm tm;
        int64_t again;
        size_t n;

        gmtime_r(&seconds, &tm);
        n = strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(want + n, sizeof want - n, ".%03dZ", (int)(ms % 1000));
        cs_time_format(ms, text);
        assert_string_equal(text, want);
        assert_int_equal(cs_time_parse(text, strlen(text), &again), 0);
        assert_true(again == ms);
    }
}

static void time_format__stays_in_its_range(void **state)
{
    char text[CS_TIME_SIZE];

    (void)state;
    cs_time_format(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    cs_time_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void uuid__is_version_4_and_new_each_time(void **state)
{
    char a[CS_UUID_SIZE], b[CS_UUID_SIZE];

    (void)state;
    assert_int_equal(cs_uuid4(a, NULL), CSYNC_OK);
    assert_int_equal(cs_uuid4(b, NULL), CSYNC_OK);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_int_equal(strspn(a, "0123456789abcdef-"), 36);
    assert_true(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
}

typedef struct shared {
    cs_lock lock;
    int count;
} shared;

static void *count_up(void *user_data)
{
    shared *s = user_data;

    for (int i = 0; i < 10000; i++) {
        if (cs_lock_enter(&s->lock) != CSYNC_OK)
            return NULL;
        s->count++;
        cs_lock_leave(&s->lock);
    }
    return NULL;
}

static void lock__waits_for_others_and_refuses_itself(void **state)
{
    shared s = {.count = 0};
    pthread_t thread;

    (void)state;
    assert_int_equal(cs_lock_init(&s.lock), CSYNC_OK);
    assert_int_equal(pthread_create(&thread, NULL, count_up, &s), 0);
    count_up(&s);
    pthread_join(thread, NULL);
    assert_int_equal(s.count, 20000);
    assert_int_equal(cs_lock_enter(&s.lock), CSYNC_OK);
    assert_int_equal(cs_lock_enter(&s.lock), CSYNC_EBUSY);
    cs_lock_leave(&s.lock);
    assert_int_equal(cs_lock_enter(&s.lock), CSYNC_OK);
    cs_lock_leave(&s.lock);
    cs_lock_destroy(&s.lock);
}

static void keep_line(void *user_data, int level, const char *message)
{
    snprintf(user_data, 64, "%d %s", level, message);
}

static void log__passes_on_what_is_important_enough(void **state)
{
    char line[64] = "";

    (void)state;
    cs_log(CSYNC_LOG_ERROR, "to nobody");
    csync_set_log(keep_line, line, CSYNC_LOG_WARNING);
    cs_log(CSYNC_LOG_INFO, "too little");
    assert_string_equal(line, "");
    cs_log(CSYNC_LOG_WARNING, "a\n%d", 1);
    assert_string_equal(line, "3 a 1");
    csync_set_log(NULL, NULL, 0);
    cs_log(CSYNC_LOG_ERROR, "to nobody");
    assert_string_equal(line, "3 a 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version__is_that_of_the_header),
        cmocka_unit_test(code_name__knows_every_code),
        cmocka_unit_test(allocator__is_refused_when_incomplete),
        cmocka_unit_test(memory__refuses_sizes_that_overflow),
        cmocka_unit_test(grow__keeps_what_is_there),
        cmocka_unit_test(arena__gives_aligned_and_separate_pieces),
        cmocka_unit_test(buf__appends_and_gives_its_text_away),
        cmocka_unit_test(buf__stops_at_its_maximum_and_says_so),
        cmocka_unit_test(memory_failure__leaves_nothing_behind),
        cmocka_unit_test(fail__fills_what_it_should_and_keeps_the_rest),
        cmocka_unit_test(fail__does_not_touch_a_struct_of_unknown_size),
        cmocka_unit_test(fail__cuts_between_characters),
        cmocka_unit_test(text_cut__splits_no_character),
        cmocka_unit_test(time_parse__reads_rfc_3339_and_nothing_else),
        cmocka_unit_test(time_format__agrees_with_the_c_library),
        cmocka_unit_test(time_format__stays_in_its_range),
        cmocka_unit_test(uuid__is_version_4_and_new_each_time),
        cmocka_unit_test(lock__waits_for_others_and_refuses_itself),
        cmocka_unit_test(log__passes_on_what_is_important_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
